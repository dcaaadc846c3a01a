/*
 * The reader of message headers against jansson: what one of them takes as an object of strings, the other takes too, with
 * the same values. (Ours leaves it to its users whether the bytes are UTF-8, and tells members of one name apart.)
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "headers.h"
#include "utf8.h"

static bool
is_object_of_strings(const json_t *json)
{
	const char *name;
	json_t *value;

	if (!json_is_object(json))
		return false;
	json_object_foreach((json_t *)(size_t)json, name,
			    value) if (!json_is_string(value)) return false;
	return true;
}

/* The last member of a name counts for jansson, so it is enough that each of ours is there by name. */
static void
check_member(const json_t *json, const struct ob_header *header, bool unique)
{
	const json_t *value;
	char *name;

	/* jansson's names end at a NUL. */
	if (memchr(header->name.data, '\0', header->name.size) != NULL)
		return;
	/* Not strndup: under strict_string_checks it looks for the end of a string. */
	name = calloc(1, header->name.size + 1);
	FUZZ_CHECK(name != NULL);
	memcpy(name, header->name.data, header->name.size);
	value = json_object_get(json, name);
	free(name);
	FUZZ_CHECK(value != NULL);
	if (!unique)
		return;
	FUZZ_CHECK(json_string_length(value) == header->value.size);
	FUZZ_CHECK(memcmp(json_string_value(value), header->value.data, header->value.size) == 0);
}

int
ob_fuzz(const uint8_t *data, size_t size)
{
	json_t *json = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);
	json_t *strict =
	    json_loadb((const char *)data, size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
	struct ob_headers_reader reader;
	struct ob_header header;
	struct ob_buf scratch;
	size_t count = 0;

	ob_buf_init(&scratch, (size_t)1 << 20);
	ob_headers_start(&reader, (struct ob_bytes){data, size}, &scratch);
	while (ob_headers_next(&reader, &header)) {
		count++;
		if (json != NULL && json_is_object(json))
			check_member(json, &header, strict != NULL);
	}
	FUZZ_CHECK(!ob_headers_next(&reader, &header));
	if (is_object_of_strings(json)) {
		/* Of a name that comes twice jansson does not tell that the first value was none. */
		FUZZ_CHECK(reader.problem == NULL || strict == NULL);
		FUZZ_CHECK(count >= json_object_size(json) || strict == NULL);
	} else if (reader.problem == NULL && ob_utf8_valid(data, size)) {
		/* jansson refuses a name that holds a NUL. */
		FUZZ_CHECK(memmem(data, size, "\\u0000", 6) != NULL);
	}
	ob_buf_free(&scratch);
	json_decref(json);
	json_decref(strict);
	return 0;
}
