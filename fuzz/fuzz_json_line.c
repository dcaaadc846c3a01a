/*
 * A message as a line of JSON: whatever its fields hold, the line is one line, valid JSON, and holds the payload's bytes. The input's
 * first byte chooses the field that gets the rest.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "fuzz.h"
#include "json_line.h"

/* The value of a field, as text or as base64, is these bytes. */
static void
check_field(const json_t *json, const char *name, const char *coded_name, struct ob_bytes bytes)
{
	const json_t *text = json_object_get(json, name), *code = json_object_get(json, coded_name);
	struct ob_buf decoded;

	if (json_is_string(text)) {
		FUZZ_CHECK(json_string_length(text) == bytes.size);
		FUZZ_CHECK(memcmp(json_string_value(text), bytes.data, bytes.size) == 0);
		return;
	}
	FUZZ_CHECK(json_is_string(code));
	ob_buf_init(&decoded, bytes.size);
	FUZZ_CHECK(ob_base64_decode(&decoded, json_string_value(code), json_string_length(code)));
	FUZZ_CHECK(decoded.size == bytes.size);
	FUZZ_CHECK(memcmp(ob_buf_text(&decoded), bytes.data, bytes.size) == 0);
	ob_buf_free(&decoded);
}

int
ob_fuzz(const uint8_t *data, size_t size)
{
	struct ob_message message = {.id = {"1", 1}, .topic = {"t", 1}};
	struct ob_bytes *fields[] = {&message.payload, &message.headers,      &message.key,
				     &message.type,    &message.content_type, &message.id};
	struct ob_buf line, scratch;
	struct ob_bytes rest;
	json_t *json;

	if (size == 0)
		return 0;
	rest = (struct ob_bytes){data + 1, size - 1};
	*fields[data[0] % 6] = rest;
	ob_buf_init(&line, (size_t)64 << 20);
	ob_buf_init(&scratch, (size_t)64 << 20);
	FUZZ_CHECK(ob_json_line(&line, &message, &scratch));
	FUZZ_CHECK(memchr(line.data, '\n', line.size) == line.data + line.size - 1);
	json = json_loadb(line.data, line.size, JSON_ALLOW_NUL, NULL);
	/* jansson has no names with a NUL in them, which headers may have. */
	FUZZ_CHECK(json != NULL || data[0] % 6 == 1);
	if (json != NULL && data[0] % 6 == 0)
		check_field(json, "payload", "payload_base64", rest);
	if (json != NULL && data[0] % 6 == 1 && json_object_get(json, "headers") == NULL)
		check_field(json, "headers_text", "headers_text_base64", rest);
	if (json != NULL && data[0] % 6 == 2)
		check_field(json, "key", "key_base64", rest);
	json_decref(json);
	ob_buf_free(&line);
	ob_buf_free(&scratch);
	return 0;
}
