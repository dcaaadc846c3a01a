#include "utf8.h"

#include <stdint.h>
#include <string.h>

/* The length of the character at `s`, of which `left` bytes are there; 0 if it is wrong (RFC 3629,
 * 4). */
static size_t
char_length(const unsigned char *s, size_t left)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t length;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		length = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		length = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		length = 4;
	else
		return 0;
	if (length > left)
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0; /* shorter forms exist */
	else if (s[0] == 0xed)
		high = 0x9f; /* surrogates */
	else if (s[0] == 0xf0)
		low = 0x90; /* shorter forms exist */
	else if (s[0] == 0xf4)
		high = 0x8f; /* above U+10FFFF */
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

size_t
ob_utf8_valid_prefix(const void *data, size_t size)
{
	const unsigned char *s = data;
	size_t at = 0, length;
	uint64_t word;

	while (at < size) {
		/* Nearly everything is ASCII: eight bytes at a time. */
		if (size - at >= sizeof(word)) {
			memcpy(&word, s + at, sizeof(word));
			if ((word & UINT64_C(0x8080808080808080)) == 0) {
				at += sizeof(word);
				continue;
			}
		}
		length = char_length(s + at, size - at);
		if (length == 0)
			break;
		at += length;
	}
	return at;
}

bool
ob_utf8_valid(const void *data, size_t size)
{
	return ob_utf8_valid_prefix(data, size) == size;
}
