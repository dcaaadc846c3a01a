#include "json_text.h"

#include <string.h>

/* Where `stop` is, or a closing bracket, outside of strings and of what is nested. */
static const char *
token_end(const char *at, char stop)
{
	bool in_string = false;
	size_t depth = 0;

	for (;; at++) {
		if (in_string && *at == '\\') {
			at++;
		} else if (*at == '"') {
			in_string = !in_string;
		} else if (!in_string) {
			bool closes = *at == '}' || *at == ']';

			if (depth == 0 && (closes || *at == stop))
				return at;
			depth += *at == '{' || *at == '[';
			depth -= closes;
		}
	}
}

struct ob_bytes
ob_json_item_next(const char **at)
{
	const char *item = *at, *end = token_end(item, ',');

	*at = end + 1;
	return (struct ob_bytes){item, (size_t)(end - item)};
}

struct ob_bytes
ob_json_member_next(const char **at)
{
	*at = token_end(*at, ':') + 1;
	return ob_json_item_next(at);
}

bool
ob_json_compact(struct ob_buf *out, struct ob_bytes json)
{
	const char *at = json.data, *end = at + json.size;
	bool in_string = false, done = true;

	for (; at < end && done; at++) {
		if (!in_string && strchr(" \t\r\n", *at) != NULL)
			continue;
		if (in_string && *at == '\\')
			done = ob_buf_append_byte(out, *at++);
		else if (*at == '"')
			in_string = !in_string;
		done = done && ob_buf_append_byte(out, *at);
	}
	return done;
}
