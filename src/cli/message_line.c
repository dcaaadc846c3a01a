#include "message_line.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "json_text.h"
#include "rfc3339.h"
#include "text.h"

static int
text_member(const char *name, json_t *value, const char **out, struct ob_error *error)
{
	if (json_is_null(value))
		return OB_OK;
	if (!json_is_string(value))
		return ob_error_set(error, OB_INVALID, "%s: must be a string", name);
	*out = json_string_value(value);
	if (strlen(*out) != json_string_length(value))
		return ob_error_set(error, OB_INVALID, "%s: holds a NUL", name);
	return OB_OK;
}

static int
payload_member(struct ob_message_line *line, json_t *value, struct ob_bytes json,
	       struct ob_error *error)
{
	struct ob_new_message *message = &line->message;

	if (json_is_null(value))
		return OB_OK;
	if (message->payload != NULL)
		return ob_error_set(error, OB_INVALID, "give one of payload and payload_base64");
	if (json_is_string(value)) {
		message->payload = json_string_value(value);
		message->payload_size = json_string_length(value);
		return OB_OK;
	}
	if (!ob_json_compact(&line->payload, json))
		return ob_error_set(error, OB_INVALID, "payload: larger than %d bytes",
				    OB_PAYLOAD_BYTES_MAX);
	message->payload = ob_buf_text(&line->payload);
	message->payload_size = line->payload.size;
	return OB_OK;
}

static int
base64_member(struct ob_message_line *line, json_t *value, struct ob_error *error)
{
	if (line->message.payload != NULL)
		return ob_error_set(error, OB_INVALID, "give one of payload and payload_base64");
	if (!json_is_string(value) ||
	    !ob_base64_decode(&line->payload, json_string_value(value), json_string_length(value)))
		return ob_error_set(error, OB_INVALID, "payload_base64: not Base64, or too large");
	line->message.payload = ob_buf_text(&line->payload);
	line->message.payload_size = line->payload.size;
	return OB_OK;
}

static int
headers_member(struct ob_message_line *line, json_t *value, struct ob_error *error)
{
	if (json_is_null(value))
		return OB_OK;
	/* A string holds the object as text, as `tail --json` prints it. */
	if (json_is_string(value))
		return text_member("headers", value, &line->message.headers, error);
	line->headers = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	line->message.headers = line->headers;
	return line->headers == NULL ? ob_error_set(error, OB_NOMEM, "out of memory") : OB_OK;
}

static int
deliver_after_member(struct ob_message_line *line, json_t *value, struct ob_error *error)
{
	if (json_is_null(value))
		return OB_OK;
	if (!json_is_string(value) ||
	    !ob_rfc3339_parse(json_string_value(value), json_string_length(value),
			      &line->message.deliver_after_us))
		return ob_error_set(error, OB_INVALID,
				    "deliver_after: not a time such as 2030-01-31T12:00:00Z");
	return OB_OK;
}

static int
member_read(struct ob_message_line *line, const char *name, json_t *value, struct ob_bytes json,
	    struct ob_error *error)
{
	static const char *const names[] = {
	    "topic",          "key",          "partition_key", "type",          "payload",
	    "payload_base64", "content_type", "headers",       "deliver_after", "id"};
	struct ob_new_message *message = &line->message;
	const char *nearest;

	if (strcmp(name, "topic") == 0)
		return text_member(name, value, &message->topic, error);
	if (strcmp(name, "key") == 0 || strcmp(name, "partition_key") == 0) {
		if (message->key != NULL)
			return ob_error_set(error, OB_INVALID, "give one of key and partition_key");
		return text_member(name, value, &message->key, error);
	}
	if (strcmp(name, "type") == 0)
		return text_member(name, value, &message->type, error);
	if (strcmp(name, "content_type") == 0)
		return text_member(name, value, &message->content_type, error);
	if (strcmp(name, "id") == 0)
		return text_member(name, value, &message->id, error);
	if (strcmp(name, "payload") == 0)
		return payload_member(line, value, json, error);
	if (strcmp(name, "payload_base64") == 0)
		return base64_member(line, value, error);
	if (strcmp(name, "headers") == 0)
		return headers_member(line, value, error);
	if (strcmp(name, "deliver_after") == 0)
		return deliver_after_member(line, value, error);
	nearest = ob_text_nearest(name, names, sizeof(names) / sizeof(names[0]));
	return ob_error_set(error, OB_INVALID, "there is no member \"%.60s\"%s%s%s", name,
			    nearest == NULL ? "" : "; did you mean \"",
			    nearest == NULL ? "" : nearest, nearest == NULL ? "" : "\"?");
}

int
ob_message_line_read(struct ob_message_line *line, const char *text, size_t size,
		     struct ob_error *error)
{
	json_error_t where;
	const char *name, *at;
	json_t *value;
	int rc = OB_OK;

	*line = (struct ob_message_line){0};
	ob_buf_init(&line->payload, OB_PAYLOAD_BYTES_MAX);
	line->document = json_loadb(
	    text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &where);
	if (line->document == NULL)
		return ob_error_set(error, OB_INVALID, "not JSON: %s (at byte %d)", where.text,
				    where.position);
	if (!json_is_object((json_t *)line->document))
		return ob_error_set(error, OB_INVALID, "not a JSON object");
	/* Both go through the members in the order in which they stand. */
	at = (const char *)memchr(text, '{', size) + 1;
	json_object_foreach((json_t *)line->document, name, value)
	{
		struct ob_bytes json = ob_json_member_next(&at);

		if (rc == OB_OK)
			rc = member_read(line, name, value, json, error);
	}
	return rc;
}

void
ob_message_line_free(struct ob_message_line *line)
{
	json_decref(line->document);
	free(line->headers);
	ob_buf_free(&line->payload);
	*line = (struct ob_message_line){0};
}
