#include "json_check.h"

#include <string.h>

#include "hex.h"
#include "utf8.h"

struct json_text {
	const char *at, *end;
	size_t depth;
	unsigned char is_object[OB_JSON_DEPTH_MAX / 8]; /* a bit for each open bracket */
};

static void
skip_space(struct json_text *text)
{
	while (text->at < text->end &&
	       (*text->at == ' ' || *text->at == '\n' || *text->at == '\t' || *text->at == '\r'))
		text->at++;
}

static bool
take(struct json_text *text, char c)
{
	if (text->at == text->end || *text->at != c)
		return false;
	text->at++;
	return true;
}

static bool
take_word(struct json_text *text, const char *word)
{
	size_t size = strlen(word);

	if ((size_t)(text->end - text->at) < size || memcmp(text->at, word, size) != 0)
		return false;
	text->at += size;
	return true;
}

static bool
take_escape(struct json_text *text)
{
	if (text->at == text->end)
		return false;
	if (*text->at != 'u')
		return strchr("\"\\/bfnrt", *text->at++) != NULL && text->at[-1] != '\0';
	if (text->end - text->at < 5)
		return false;
	for (int i = 1; i <= 4; i++)
		if (ob_hex_digit(text->at[i]) < 0)
			return false;
	text->at += 5;
	return true;
}

static bool
take_string(struct json_text *text)
{
	if (!take(text, '"'))
		return false;
	while (text->at < text->end) {
		unsigned char c = (unsigned char)*text->at++;

		if (c == '"')
			return true;
		if (c < 0x20 || (c == '\\' && !take_escape(text)))
			return false;
	}
	return false;
}

static size_t
take_digits(struct json_text *text)
{
	const char *from = text->at;

	while (text->at < text->end && *text->at >= '0' && *text->at <= '9')
		text->at++;
	return (size_t)(text->at - from);
}

static bool
take_number(struct json_text *text)
{
	take(text, '-');
	if (!take(text, '0') && take_digits(text) == 0)
		return false;
	if (take(text, '.') && take_digits(text) == 0)
		return false;
	if (take(text, 'e') || take(text, 'E')) {
		if (!take(text, '+'))
			take(text, '-');
		return take_digits(text) > 0;
	}
	return true;
}

static bool
take_scalar(struct json_text *text)
{
	if (text->at == text->end)
		return false;
	switch (*text->at) {
	case '"':
		return take_string(text);
	case 't':
		return take_word(text, "true");
	case 'f':
		return take_word(text, "false");
	case 'n':
		return take_word(text, "null");
	default:
		return take_number(text);
	}
}

static bool
in_object(const struct json_text *text)
{
	size_t bit = text->depth - 1;

	return (text->is_object[bit / 8] >> (bit % 8) & 1) != 0;
}

static bool
push(struct json_text *text, bool is_object)
{
	size_t bit = text->depth;
	unsigned char mask = (unsigned char)(1U << (bit % 8));

	if (bit == OB_JSON_DEPTH_MAX)
		return false;
	if (is_object)
		text->is_object[bit / 8] |= mask;
	else
		text->is_object[bit / 8] &= (unsigned char)~mask;
	text->depth++;
	return true;
}

/* The name of a member and its colon, in an object; nothing in an array. */
static bool
take_name(struct json_text *text)
{
	if (text->depth == 0 || !in_object(text))
		return true;
	if (!take_string(text))
		return false;
	skip_space(text);
	if (!take(text, ':'))
		return false;
	skip_space(text);
	return true;
}

/* Behind a value: closes brackets, or goes past the comma. `*is_done` at the end of the whole text. */
static bool
take_behind(struct json_text *text, bool *is_done)
{
	for (;;) {
		skip_space(text);
		if (text->depth == 0) {
			*is_done = true;
			return text->at == text->end;
		}
		if (take(text, ',')) {
			skip_space(text);
			return take_name(text);
		}
		if (!take(text, in_object(text) ? '}' : ']'))
			return false;
		text->depth--;
	}
}

bool
ob_json_is_valid(const void *data, size_t size)
{
	struct json_text text = {.at = data, .end = (const char *)data + size};
	bool is_done = false;

	if (size == 0 || !ob_utf8_valid(data, size))
		return false;
	skip_space(&text);
	while (!is_done) {
		bool is_object = take(&text, '{');

		if (is_object || take(&text, '[')) {
			if (!push(&text, is_object))
				return false;
			skip_space(&text);
			if (text.at < text.end && *text.at == (is_object ? '}' : ']')) {
				if (!take_behind(&text, &is_done))
					return false;
			} else if (!take_name(&text)) {
				return false;
			}
			continue;
		}
		if (!take_scalar(&text) || !take_behind(&text, &is_done))
			return false;
	}
	return true;
}
