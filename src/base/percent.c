#include "percent.h"

#include "hex.h"

static bool
is_unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

static bool
is_header_safe(unsigned char c)
{
	return c > 0x20 && c < 0x7f && c != '"' && c != '%';
}

static bool
percent_encode(struct ob_buf *out, const void *data, size_t size, bool (*is_safe)(unsigned char))
{
	static const char digits[] = "0123456789ABCDEF";
	const unsigned char *bytes = data;
	size_t from = 0;

	/* Runs of safe bytes are appended at once: most values are one such run. */
	for (size_t at = 0; at < size; at++) {
		char code[3] = {'%', digits[bytes[at] >> 4], digits[bytes[at] & 15]};

		if (is_safe(bytes[at]))
			continue;
		if (!ob_buf_append(out, bytes + from, at - from) ||
		    !ob_buf_append(out, code, sizeof(code)))
			return false;
		from = at + 1;
	}
	return size == from || ob_buf_append(out, bytes + from, size - from);
}

bool
ob_percent_encode(struct ob_buf *out, const void *data, size_t size)
{
	return percent_encode(out, data, size, is_unreserved);
}

bool
ob_percent_encode_header(struct ob_buf *out, const void *data, size_t size)
{
	return percent_encode(out, data, size, is_header_safe);
}

bool
ob_percent_decode(struct ob_buf *out, const void *data, size_t size)
{
	const char *text = data;

	for (size_t at = 0; at < size; at++) {
		char byte = text[at];

		if (byte == '%') {
			if (size - at < 3)
				return false;
			int high = ob_hex_digit(text[at + 1]), low = ob_hex_digit(text[at + 2]);

			if (high < 0 || low < 0)
				return false;
			byte = (char)(high << 4 | low);
			at += 2;
		}
		if (!ob_buf_append_byte(out, byte))
			return false;
	}
	return true;
}
