#include "outgoing.h"

#include <string.h>

#include "text.h"
#include "utf8.h"

void
ob_outgoing_fill(struct ob_outgoing *out, const struct ob_new_message *message,
		 char time[OB_RFC3339_SIZE])
{
	*out = (struct ob_outgoing){
	    .id = ob_bytes_of_text(message->id),
	    .topic = ob_bytes_of_text(message->topic),
	    .key = ob_bytes_of_text(message->key),
	    .type = ob_bytes_of_text(message->type),
	    .payload = {message->payload, message->payload == NULL ? 0 : message->payload_size},
	    .content_type = ob_bytes_of_text(message->content_type),
	    .headers = ob_bytes_of_text(message->headers),
	};
	if (message->deliver_after_us != 0) {
		ob_rfc3339_format(time, message->deliver_after_us);
		out->deliver_after = ob_bytes_of_text(time);
	}
}

static int
size_check(const char *field, struct ob_bytes value, size_t size_max, struct ob_error *error)
{
	if (value.size <= size_max)
		return OB_OK;
	return ob_error_set(error, OB_LIMIT, "%s: %zu bytes, of which at most %zu are allowed",
			    field, value.size, size_max);
}

/* Text that is shown, matched and sent in header lines: UTF-8, not empty when given. */
static int
text_check(const char *field, struct ob_bytes value, struct ob_error *error)
{
	const unsigned char *bytes = value.data;
	size_t valid;

	if (value.data == NULL)
		return OB_OK;
	if (value.size == 0)
		return ob_error_set(error, OB_INVALID, "%s: empty; leave it out (NULL) for none",
				    field);
	valid = ob_utf8_valid_prefix(value.data, value.size);
	if (valid != value.size)
		return ob_error_set(error, OB_INVALID, "%s: not UTF-8 at byte %zu", field, valid);
	if (memchr(bytes, 0, value.size) != NULL)
		return ob_error_set(error, OB_INVALID, "%s: holds a NUL byte", field);
	return size_check(field, value, OB_NAME_BYTES_MAX, error);
}

/* As text_check, and without anything that could end a line or move a cursor. */
static int
name_check(const char *field, struct ob_bytes value, struct ob_error *error)
{
	const unsigned char *bytes = value.data;
	int rc = text_check(field, value, error);

	for (size_t i = 0; rc == OB_OK && i < value.size; i++) {
		if (bytes[i] < 0x20 || bytes[i] == 0x7f)
			rc = ob_error_set(error, OB_INVALID,
					  "%s: holds the control character 0x%02x at byte %zu",
					  field, bytes[i], i);
	}
	return rc;
}

static int
headers_check(struct ob_bytes headers, struct ob_error *error)
{
	size_t valid;
	int rc;

	if (headers.data == NULL)
		return OB_OK;
	rc = size_check("headers", headers, OB_HEADERS_BYTES_MAX, error);
	if (rc != OB_OK)
		return rc;
	valid = ob_utf8_valid_prefix(headers.data, headers.size);
	if (valid != headers.size)
		return ob_error_set(error, OB_INVALID, "headers: not UTF-8 at byte %zu", valid);
	return ob_headers_check(headers, error);
}

int
ob_outgoing_check(const struct ob_outgoing *message, struct ob_error *error)
{
	int rc = OB_OK;

	if (message->topic.data == NULL)
		return ob_error_set(error, OB_INVALID, "topic: missing; every message needs one");
	if (message->topic.size == 0)
		return ob_error_set(error, OB_INVALID, "topic: empty; every message needs one");
	rc = name_check("topic", message->topic, error);
	if (rc == OB_OK)
		rc = name_check("id", message->id, error);
	if (rc == OB_OK)
		rc = text_check("key", message->key, error);
	if (rc == OB_OK)
		rc = name_check("type", message->type, error);
	if (rc == OB_OK)
		rc = name_check("content_type", message->content_type, error);
	if (rc == OB_OK)
		rc = size_check("payload", message->payload, OB_PAYLOAD_BYTES_MAX, error);
	if (rc == OB_OK)
		rc = headers_check(message->headers, error);
	return rc;
}

int
ob_outgoing_fail_at(struct ob_error *error, size_t index, size_t count, int rc)
{
	if (count > 1)
		ob_error_prefix(error, "message %zu of %zu", index + 1, count);
	ob_error_prefix(error, "publish");
	return rc;
}

int
ob_outgoing_check_all(const struct ob_new_message *messages, size_t count, struct ob_error *error)
{
	char time[OB_RFC3339_SIZE];
	struct ob_outgoing out;

	for (size_t i = 0; i < count; i++) {
		int rc;

		ob_outgoing_fill(&out, &messages[i], time);
		rc = ob_outgoing_check(&out, error);
		if (rc == OB_OK && messages[i].payload == NULL && messages[i].payload_size != 0)
			rc = ob_error_set(error, OB_INVALID, "payload: a size of %zu without bytes",
					  messages[i].payload_size);
		if (rc == OB_OK && messages[i].deliver_after_us < 0)
			rc = ob_error_set(error, OB_INVALID, "deliver_after: before 1970");
		if (rc != OB_OK)
			return ob_outgoing_fail_at(error, i, count, rc);
	}
	return OB_OK;
}
