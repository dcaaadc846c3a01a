#include "hex.h"

int
ob_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
ob_hex_encode(struct ob_buf *out, const void *data, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *bytes = data;
	char *room;

	if (size > out->limit / 2 || (room = ob_buf_reserve(out, size * 2)) == NULL) {
		out->failed = true;
		return false;
	}
	for (size_t i = 0; i < size; i++) {
		room[2 * i] = digits[bytes[i] >> 4];
		room[2 * i + 1] = digits[bytes[i] & 15];
	}
	ob_buf_commit(out, size * 2);
	return true;
}

bool
ob_hex_decode(struct ob_buf *out, const void *data, size_t size)
{
	const char *text = data;
	char *room;

	if (size % 2 != 0)
		return false;
	room = ob_buf_reserve(out, size / 2);
	if (room == NULL)
		return false;
	for (size_t i = 0; i < size / 2; i++) {
		int high = ob_hex_digit(text[2 * i]), low = ob_hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0) {
			*room = '\0';
			return false;
		}
		room[i] = (char)(high << 4 | low);
	}
	ob_buf_commit(out, size / 2);
	return true;
}
