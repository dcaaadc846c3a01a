#include "format_json.h"

#include <string.h>
#include <strings.h>

#include "base64.h"
#include "headers.h"
#include "json.h"
#include "json_check.h"
#include "rfc3339.h"
#include "text.h"
#include "utf8.h"

static bool
append_member(struct ob_formatted *out, const char *name, struct ob_bytes value)
{
	struct ob_buf *text = &out->text;

	if (value.size == 0)
		return true;
	/* A replacement character would be a value that nobody wrote, and two ids could become one. */
	if (!ob_utf8_valid(value.data, value.size))
		return ob_format_refuse(out, "bad_utf8",
					"its id, topic, key, type or content type is not UTF-8, "
					"which JSON needs");
	ob_buf_append_byte(text, ',');
	ob_json_append_string(text, name, strlen(name));
	ob_buf_append_byte(text, ':');
	return ob_json_append_string(text, value.data, value.size) ||
	       ob_format_refuse(out, "too_large", "the message does not fit into a JSON body");
}

/* CloudEvents 1.0, "Attribute Naming Convention"; and not one of those that stand there already. */
static const char *
extension_problem(struct ob_bytes name)
{
	static const char *const taken[] = {
	    "specversion",  "id",    "source",          "type",       "time", "subject",
	    "partitionkey", "topic", "datacontenttype", "dataschema", "data",
	};
	const char *at = name.data;

	if (name.size == 0)
		return "a header's name is empty";
	for (size_t i = 0; i < name.size; i++)
		if (!(at[i] >= 'a' && at[i] <= 'z') && !(at[i] >= '0' && at[i] <= '9'))
			return "a header's name holds more than a-z and 0-9, which a batch cannot "
			       "carry";
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (ob_bytes_equal_text(name, taken[i]))
			return "a header has the name of an attribute of the event";
	return NULL;
}

static bool
append_extensions(struct ob_formatted *out, struct ob_bytes headers)
{
	struct ob_headers_reader reader;
	struct ob_header header;

	ob_headers_start(&reader, headers, &out->scratch);
	while (ob_headers_next(&reader, &header)) {
		const char *problem = extension_problem(header.name);

		if (problem != NULL)
			return ob_format_refuse(out, "bad_header", problem);
		if (!ob_utf8_valid(header.value.data, header.value.size))
			return ob_format_refuse(out, "bad_header", "a header is not UTF-8");
		ob_buf_append_byte(&out->text, ',');
		ob_json_append_string(&out->text, header.name.data, header.name.size);
		ob_buf_append_byte(&out->text, ':');
		ob_json_append_string(&out->text, header.value.data, header.value.size);
	}
	return reader.problem == NULL || ob_format_refuse(out, "bad_headers", reader.problem);
}

/* CloudEvents JSON format 1.0.2, 3.1: "application/json" or any subtype that ends in "+json". */
static bool
is_json_type(struct ob_bytes type)
{
	const char *text = type.data, *end = memchr(text, ';', type.size);
	struct ob_bytes name =
	    ob_bytes_trim((struct ob_bytes){text, end == NULL ? type.size : (size_t)(end - text)});
	static const char *const names[] = {"application/json", "text/json"};

	for (size_t i = 0; i < 2; i++)
		if (name.size == strlen(names[i]) &&
		    strncasecmp(name.data, names[i], name.size) == 0)
			return true;
	return name.size > 5 &&
	       strncasecmp((const char *)name.data + name.size - 5, "+json", 5) == 0;
}

/*
 * JSON stands as it is; other text as a JSON string; all else, also what only claims to be JSON, as base64, which keeps
 * its bytes. A string in the place of broken JSON would be read as JSON of another meaning.
 */
static bool
append_data(struct ob_formatted *out, struct ob_bytes payload, struct ob_bytes type)
{
	struct ob_buf *text = &out->text;
	bool is_whole;

	if (is_json_type(type) && ob_json_is_valid(payload.data, payload.size)) {
		ob_buf_append_text(text, ",\"data\":");
		is_whole = ob_buf_append(text, payload.data, payload.size);
	} else if (!is_json_type(type) && ob_utf8_valid(payload.data, payload.size)) {
		ob_buf_append_text(text, ",\"data\":");
		is_whole = ob_json_append_string(text, payload.data, payload.size);
	} else {
		ob_buf_append_text(text, ",\"data_base64\":\"");
		ob_base64_encode(text, payload.data, payload.size);
		is_whole = ob_buf_append_byte(text, '"');
	}
	return is_whole && !text->failed;
}

bool
ob_format_event(struct ob_formatted *out, const struct ob_format_config *config,
		const struct ob_message *message, bool headers_too)
{
	char time[OB_RFC3339_SIZE];
	struct ob_bytes type;
	bool is_tombstone = message->payload.data == NULL;

	ob_rfc3339_format(time, message->created_at_us);
	ob_buf_append_text(&out->text, "{\"specversion\":\"1.0\"");
	if (!append_member(out, "id", message->id) ||
	    !append_member(out, "source", ob_bytes_of_text(config->source)) ||
	    !append_member(out, "type", message->type.size > 0 ? message->type : message->topic) ||
	    !append_member(out, "time", ob_bytes_of_text(time)) ||
	    !append_member(out, "subject", message->key) ||
	    !append_member(out, "partitionkey", message->key) ||
	    !append_member(out, "topic", message->topic))
		return false;
	if (headers_too && message->headers.data != NULL &&
	    !append_extensions(out, message->headers))
		return false;
	if (!is_tombstone) {
		if (!ob_format_content_type(out, config, message, &type) ||
		    !append_member(out, "datacontenttype", type))
			return false;
		append_data(out, message->payload, type);
	}
	ob_buf_append_byte(&out->text, '}');
	if (out->text.failed)
		return ob_format_refuse(out, "too_large",
					"the message does not fit into a JSON body");
	return true;
}
