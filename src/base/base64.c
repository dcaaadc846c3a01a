#include "base64.h"

#include <stdint.h>

size_t
ob_base64_size(size_t size)
{
	return (size / 3 + (size % 3 != 0)) * 4;
}

bool
ob_base64_encode(struct ob_buf *out, const void *data, size_t size)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *in = data;
	char *room;

	if (size > SIZE_MAX / 2 || (room = ob_buf_reserve(out, ob_base64_size(size))) == NULL) {
		out->failed = true;
		return false;
	}
	for (size_t at = 0; at < size; at += 3) {
		size_t left = size - at;
		uint32_t bits = (uint32_t)in[at] << 16;

		bits |= left > 1 ? (uint32_t)in[at + 1] << 8 : 0;
		bits |= left > 2 ? (uint32_t)in[at + 2] : 0;
		*room++ = alphabet[bits >> 18];
		*room++ = alphabet[bits >> 12 & 63];
		*room++ = left > 1 ? alphabet[bits >> 6 & 63] : '=';
		*room++ = left > 2 ? alphabet[bits & 63] : '=';
	}
	ob_buf_commit(out, ob_base64_size(size));
	return true;
}

/* The six bits of a character, or -1. */
static int
sextet(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes `count` characters (2 to 4) into `count` - 1 bytes. */
static bool
decode_group(const char *in, size_t count, char *out)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < 4; i++) {
		int six = i < count ? sextet(in[i]) : 0;

		if (six < 0)
			return false;
		bits = bits << 6 | (uint32_t)six;
	}
	for (size_t i = 0; i + 1 < count; i++)
		out[i] = (char)(bits >> (16 - 8 * i) & 0xff);
	return (bits & (UINT32_C(0xffffff) >> (8 * (count - 1)))) == 0;
}

bool
ob_base64_decode(struct ob_buf *out, const void *data, size_t size)
{
	const char *in = data;
	size_t padding = 0, decoded;
	char *room;

	if (size % 4 != 0)
		return false;
	while (padding < 2 && padding < size && in[size - 1 - padding] == '=')
		padding++;
	decoded = size / 4 * 3 - padding;
	room = ob_buf_reserve(out, decoded);
	if (room == NULL)
		return false;
	for (size_t at = 0; at < size; at += 4) {
		size_t count = size - at == 4 ? 4 - padding : 4;

		if (!decode_group(in + at, count, room + at / 4 * 3)) {
			*room = '\0';
			return false;
		}
	}
	ob_buf_commit(out, decoded);
	return true;
}
