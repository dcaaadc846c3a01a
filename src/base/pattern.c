#include "pattern.h"

#include <string.h>

#include "text.h"
#include "utf8.h"

struct ob_bytes
ob_pattern_next(const char **list)
{
	const char *start = *list;
	size_t size;

	if (start == NULL)
		return (struct ob_bytes){0};
	size = strcspn(start, ",");
	*list = start[size] == ',' ? start + size + 1 : NULL;
	return ob_bytes_trim((struct ob_bytes){.data = start, .size = size});
}

/*
 * On a mismatch only the last '*' is tried again, with one byte more: an earlier one could only
 * take bytes that the last one can take as well.
 */
static bool
pattern_match(struct ob_bytes pattern, struct ob_bytes topic)
{
	const char *p = pattern.data, *t = topic.data;
	size_t pi = 0, ti = 0, star = SIZE_MAX, star_ti = 0;

	while (ti < topic.size) {
		if (pi < pattern.size && p[pi] == '*') {
			star = pi++;
			star_ti = ti;
		} else if (pi < pattern.size && p[pi] == t[ti]) {
			pi++;
			ti++;
		} else if (star != SIZE_MAX) {
			pi = star + 1;
			ti = ++star_ti;
		} else {
			return false;
		}
	}
	while (pi < pattern.size && p[pi] == '*')
		pi++;
	return pi == pattern.size;
}

bool
ob_pattern_match(const char *list, struct ob_bytes topic)
{
	while (list != NULL)
		if (pattern_match(ob_pattern_next(&list), topic))
			return true;
	return false;
}

int
ob_pattern_check(const char *list, struct ob_error *error)
{
	const char *rest = list;

	if (strlen(list) > OB_PATTERN_LIST_SIZE_MAX)
		return ob_error_set(error, OB_CONFIG, "topic patterns: longer than %d bytes",
				    OB_PATTERN_LIST_SIZE_MAX);
	if (!ob_utf8_valid(list, strlen(list)))
		return ob_error_set(error, OB_CONFIG, "topic patterns: not valid UTF-8");
	for (const char *c = list; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return ob_error_set(error, OB_CONFIG,
					    "topic patterns: control character at byte %zu",
					    (size_t)(c - list));
	while (rest != NULL)
		if (ob_pattern_next(&rest).size == 0)
			return ob_error_set(
			    error, OB_CONFIG,
			    "topic patterns \"%s\": an empty pattern; use * for all", list);
	return OB_OK;
}
