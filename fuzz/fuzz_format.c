/*
 * What goes over the wire. The input is headers, key, type, content type and payload, with 0x1e between them. A field is one
 * line whatever it was made of, an event is JSON, and what counts as JSON is what jansson takes for it.
 */
#include "fuzz.h"

#include <jansson.h>

#include "format.h"
#include "json_check.h"
#include "text.h"
#include "utf8.h"

static struct ob_bytes
next_part(const uint8_t **data, size_t *size)
{
	const uint8_t *end = *size > 0 ? memchr(*data, 0x1e, *size) : NULL;
	struct ob_bytes part = {*data, end == NULL ? *size : (size_t)(end - *data)};

	*data += part.size + (end != NULL);
	*size -= part.size + (end != NULL);
	if (part.size == 0)
		part.data = NULL;
	return part;
}

static void
check_fields(const struct ob_fields *fields)
{
	for (uint32_t i = 0; i < fields->count; i++) {
		const struct ob_field *field = &fields->items[i];
		const char *line = ob_fields_line(fields, i);
		size_t size = field->name_size + 2 + field->value_size;

		FUZZ_CHECK(field->name_size > 0);
		FUZZ_CHECK(memcmp(line + field->name_size, ": ", 2) == 0);
		FUZZ_CHECK(strlen(line) == size);
		FUZZ_CHECK(strpbrk(line, "\r\n") == NULL);
	}
}

static void
check_json(const void *data, size_t size)
{
	json_error_t error;
	json_t *value = json_loadb(data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	bool is_valid = ob_json_is_valid(data, size);

	/* jansson takes a NUL for the end; and it refuses numbers beyond its range, lone surrogates and NULs in names, which
	   RFC 8259 allows. */
	if (value != NULL && memchr(data, 0, size) == NULL)
		FUZZ_CHECK(is_valid);
	if (is_valid && value == NULL)
		FUZZ_CHECK(json_error_code(&error) == json_error_numeric_overflow ||
			   json_error_code(&error) == json_error_invalid_syntax ||
			   json_error_code(&error) == json_error_null_byte_in_key ||
			   json_error_code(&error) == json_error_stack_overflow);
	json_decref(value);
}

int
ob_fuzz(const uint8_t *data, size_t size)
{
	struct ob_message message = {.id = ob_bytes_of_text("m1"),
				     .topic = ob_bytes_of_text("orders"),
				     .created_at_us = INT64_C(1767225600000000)};
	struct ob_format_config config = {.source = "/outbox",
					  .content_type = "application/json",
					  .prefix = "ce-",
					  .encode = true};
	struct ob_formatted out;

	if (size > 0)
		check_json(data, size);
	message.headers = next_part(&data, &size);
	message.key = next_part(&data, &size);
	message.type = next_part(&data, &size);
	message.content_type = next_part(&data, &size);
	message.payload = next_part(&data, &size);
	ob_formatted_init(&out);
	for (int format = 0; format <= OB_FORMAT_RAW; format++) {
		config.format = (enum ob_format)format;
		if (!ob_format_message(&out, &config, &message)) {
			FUZZ_CHECK(out.code != NULL);
			FUZZ_CHECK(out.problem != NULL);
			continue;
		}
		check_fields(&out.fields);
		if (format == OB_FORMAT_CLOUDEVENTS_STRUCTURED)
			FUZZ_CHECK(ob_json_is_valid(out.body.data, out.body.size));
	}
	ob_format_batch_begin(&out);
	ob_format_batch_add(&out, &config, &message);
	FUZZ_CHECK(ob_format_batch_end(&out));
	FUZZ_CHECK(ob_json_is_valid(out.body.data, out.body.size));
	ob_formatted_free(&out);
	return 0;
}
