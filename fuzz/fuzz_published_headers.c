/* The headers of a message: what the recogniser takes is what a JSON library calls an object of strings. */
#include "fuzz.h"

#include <jansson.h>
#include <stdbool.h>

#include "outgoing.h"
#include "utf8.h"

static bool
is_object_of_strings(const char *data, size_t size, size_t flags)
{
	json_t *document = json_loadb(data, size, JSON_ALLOW_NUL | flags, NULL);
	bool good = json_is_object(document);
	const char *name;
	json_t *value;

	json_object_foreach(document, name, value)
	{
		good = good && json_is_string(value);
	}
	json_decref(document);
	return good;
}

int
ob_fuzz(const uint8_t *data, size_t size)
{
	/* At the end of an allocation of its own, so that one byte read too far is seen. */
	char *bytes = malloc(size == 0 ? 1 : size);
	struct ob_error error = {0};
	bool taken;

	FUZZ_CHECK(bytes != NULL);
	if (size > 0)
		memcpy(bytes, data, size);
	taken = ob_headers_check((struct ob_bytes){bytes, size}, &error) == OB_OK;
	FUZZ_CHECK(taken || error.code == OB_INVALID);
	/* The library takes no NUL in names, which JSON allows; and it does not look for other bytes. Of a name that comes
	   twice it does not tell that the first value was no string. */
	if (ob_utf8_valid(bytes, size) && memmem(bytes, size, "\\u0000", 6) == NULL)
		FUZZ_CHECK(taken ? is_object_of_strings(bytes, size, 0)
				 : !is_object_of_strings(bytes, size, JSON_REJECT_DUPLICATES));
	free(bytes);
	return 0;
}
