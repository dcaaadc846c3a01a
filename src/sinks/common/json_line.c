#include "json_line.h"

#include "base64.h"
#include "headers.h"
#include "rfc3339.h"
#include "text.h"
#include "utf8.h"

/* What each ASCII character becomes: 0 stands for itself, 'u' for \u00XX, else the letter behind
   the backslash. DEL and all beyond stand for themselves, since the bytes were found to be UTF-8.
 */
static const char escapes[128] = {
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'b',         't',           'n', 'u',
    'f', 'r', 'u', 'u', 'u', 'u', 'u', 'u', 'u',         'u',           'u', 'u',
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', ['"'] = '"', ['\\'] = '\\',
};

static bool
append_escape(struct ob_buf *out, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";
	char text[6] = {'\\', escapes[c], '0', '0', digits[c >> 4], digits[c & 15]};

	return ob_buf_append(out, text, escapes[c] == 'u' ? 6 : 2);
}

bool
ob_json_line_string(struct ob_buf *out, struct ob_bytes bytes)
{
	const unsigned char *at = bytes.data, *end = at + bytes.size, *plain = at;
	size_t start = out->size;
	bool ok;

	if (!ob_utf8_valid(bytes.data, bytes.size))
		return false;
	ok = ob_buf_append_byte(out, '"');
	for (; ok && at < end; at++) {
		if (*at >= 128 || escapes[*at] == 0)
			continue;
		ok = ob_buf_append(out, plain, (size_t)(at - plain)) && append_escape(out, *at);
		plain = at + 1;
	}
	ok = ok && ob_buf_append(out, plain, (size_t)(end - plain)) && ob_buf_append_byte(out, '"');
	if (!ok)
		ob_buf_truncate(out, start);
	return ok;
}

/* The comma, unless the object has just begun, and `"name":`. */
static void
append_name(struct ob_buf *out, const char *name, const char *suffix)
{
	if (out->size > 0 && out->data[out->size - 1] != '{')
		ob_buf_append_byte(out, ',');
	ob_buf_append_byte(out, '"');
	ob_buf_append_text(out, name);
	ob_buf_append_text(out, suffix);
	ob_buf_append_text(out, "\":");
}

/* `"name":"value"`, or `"name_base64":"..."`; nothing when it is absent. */
static void
append_field(struct ob_buf *out, const char *name, struct ob_bytes value)
{
	size_t start = out->size;

	if (value.data == NULL)
		return;
	append_name(out, name, "");
	if (ob_json_line_string(out, value) || out->failed)
		return;
	ob_buf_truncate(out, start);
	append_name(out, name, "_base64");
	ob_buf_append_byte(out, '"');
	ob_base64_encode(out, value.data, value.size);
	ob_buf_append_byte(out, '"');
}

/* Written anew and not copied, since white space in what the application wrote may hold a newline.
 */
static bool
append_members(struct ob_buf *out, struct ob_bytes headers, struct ob_buf *scratch)
{
	struct ob_headers_reader reader;
	struct ob_header header;
	const char *separator = "";

	ob_headers_start(&reader, headers, scratch);
	while (ob_headers_next(&reader, &header)) {
		ob_buf_append_text(out, separator);
		if (!ob_json_line_string(out, header.name) || !ob_buf_append_byte(out, ':') ||
		    !ob_json_line_string(out, header.value))
			return false;
		separator = ",";
	}
	return reader.problem == NULL;
}

static void
append_headers(struct ob_buf *out, struct ob_bytes headers, struct ob_buf *scratch)
{
	size_t start = out->size;

	if (headers.data == NULL)
		return;
	append_name(out, "headers", "");
	ob_buf_append_byte(out, '{');
	if (append_members(out, headers, scratch)) {
		ob_buf_append_byte(out, '}');
		return;
	}
	if (out->failed)
		return;
	ob_buf_truncate(out, start);
	append_field(out, "headers_text", headers);
}

bool
ob_json_line(struct ob_buf *out, const struct ob_message *message, struct ob_buf *scratch)
{
	size_t start = out->size;
	char time[OB_RFC3339_SIZE];

	ob_buf_append_byte(out, '{');
	append_field(out, "id", message->id);
	append_field(out, "topic", message->topic);
	append_field(out, "key", message->key);
	append_field(out, "type", message->type);
	append_field(out, "content_type", message->content_type);
	append_headers(out, message->headers, scratch);
	ob_rfc3339_format(time, message->created_at_us);
	append_field(out, "created_at", ob_bytes_of_text(time));
	if (message->payload.data == NULL)
		ob_buf_append_text(out, ",\"payload\":null");
	else
		append_field(out, "payload", message->payload);
	if (ob_buf_append_text(out, "}\n") && !out->failed)
		return true;
	ob_buf_truncate(out, start);
	return false;
}
