/*
 * A recogniser for the one kind of JSON that headers are: an object of strings. It needs no tree and no memory, and the
 * SQLite extension no JSON library.
 */
#include "outgoing.h"

#include <stdbool.h>
#include <string.h>

#include "hex.h"

struct cursor {
	const char *at;
	const char *end;
};

static void
space_skip(struct cursor *cursor)
{
	while (cursor->at < cursor->end && strchr(" \t\n\r", *cursor->at) != NULL &&
	       *cursor->at != '\0')
		cursor->at++;
}

/* Passes `c`, after white space; false if something else stands there. */
static bool
char_take(struct cursor *cursor, char c)
{
	space_skip(cursor);
	if (cursor->at == cursor->end || *cursor->at != c)
		return false;
	cursor->at++;
	return true;
}

static bool
hex_take(struct cursor *cursor, unsigned *value)
{
	*value = 0;
	if (cursor->end - cursor->at < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		int digit = ob_hex_digit(*cursor->at++);

		if (digit < 0)
			return false;
		*value = *value << 4 | (unsigned)digit;
	}
	return true;
}

/* What follows a backslash. Half of a surrogate pair is no character, so it is refused. */
static bool
escape_take(struct cursor *cursor)
{
	unsigned high, low;

	if (cursor->at == cursor->end)
		return false;
	char c = *cursor->at++;
	if (c != 'u')
		return c != '\0' && strchr("\"\\/bfnrt", c) != NULL;
	if (!hex_take(cursor, &high))
		return false;
	if (high < 0xd800 || high > 0xdfff)
		return true;
	if (high > 0xdbff || cursor->end - cursor->at < 6 || memcmp(cursor->at, "\\u", 2) != 0)
		return false;
	cursor->at += 2;
	return hex_take(cursor, &low) && low >= 0xdc00 && low <= 0xdfff;
}

static bool
string_take(struct cursor *cursor)
{
	if (!char_take(cursor, '"'))
		return false;
	while (cursor->at < cursor->end) {
		unsigned char c = (unsigned char)*cursor->at++;

		if (c == '"')
			return true;
		if (c < 0x20 || (c == '\\' && !escape_take(cursor)))
			return false;
	}
	return false;
}

/* The members of an object, whose '{' was passed, and its '}'. Says what is wrong, or NULL. */
static const char *
members_take(struct cursor *cursor)
{
	if (char_take(cursor, '}'))
		return NULL;
	do {
		if (!string_take(cursor))
			return "a name in quotes is expected";
		if (!char_take(cursor, ':'))
			return "a colon is expected";
		space_skip(cursor);
		if (cursor->at < cursor->end && *cursor->at != '"')
			return "every value must be a string in quotes";
		if (!string_take(cursor))
			return "the value is not a proper JSON string";
	} while (char_take(cursor, ','));
	return char_take(cursor, '}') ? NULL : "a comma or the closing brace is expected";
}

int
ob_headers_check(struct ob_bytes headers, struct ob_error *error)
{
	const char *start = headers.data;
	struct cursor cursor = {start, start + headers.size};
	const char *wrong;

	if (!char_take(&cursor, '{'))
		return ob_error_set(
		    error, OB_INVALID,
		    "headers: not a JSON object; write them as {\"name\": \"value\"}");
	wrong = members_take(&cursor);
	space_skip(&cursor);
	if (wrong == NULL && cursor.at != cursor.end)
		wrong = "nothing may follow the closing brace";
	if (wrong != NULL)
		return ob_error_set(error, OB_INVALID,
				    "headers: %s at byte %zu; write them as {\"name\": \"value\"}",
				    wrong, (size_t)(cursor.at - start));
	return OB_OK;
}
