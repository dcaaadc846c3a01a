#include "json.h"

#include "utf8.h"

/* The escape of a character that must not stand in a string, or NULL. */
static const char *
short_escape(unsigned char c)
{
	switch (c) {
	case '"':
		return "\\\"";
	case '\\':
		return "\\\\";
	case '\n':
		return "\\n";
	case '\r':
		return "\\r";
	case '\t':
		return "\\t";
	default:
		return NULL;
	}
}

/* Appends valid UTF-8: runs that need no escape at once. */
static bool
append_escaped(struct ob_buf *out, const unsigned char *bytes, size_t size)
{
	size_t from = 0;

	for (size_t at = 0; at < size; at++) {
		const char *escape = short_escape(bytes[at]);

		if (escape == NULL && bytes[at] >= 0x20 && bytes[at] != 0x7f)
			continue;
		if (!ob_buf_append(out, bytes + from, at - from))
			return false;
		if (escape != NULL ? !ob_buf_append_text(out, escape)
				   : !ob_buf_appendf(out, "\\u%04x", bytes[at]))
			return false;
		from = at + 1;
	}
	return size == from || ob_buf_append(out, bytes + from, size - from);
}

bool
ob_json_append_string(struct ob_buf *out, const void *data, size_t size)
{
	const unsigned char *bytes = data;
	size_t at = 0;

	if (!ob_buf_append_byte(out, '"'))
		return false;
	while (at < size) {
		size_t valid = ob_utf8_valid_prefix(bytes + at, size - at);

		if (!append_escaped(out, bytes + at, valid))
			return false;
		at += valid;
		if (at == size)
			break;
		if (!ob_buf_append_text(out, "\xef\xbf\xbd"))
			return false;
		at++;
	}
	return ob_buf_append_byte(out, '"');
}
