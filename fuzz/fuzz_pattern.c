/* The first line is a list of patterns, the rest a topic. A checked list has patterns, and '*' matches all. */
#include "fuzz.h"

#include "pattern.h"

int
ob_fuzz(const uint8_t *data, size_t size)
{
	const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
	size_t list_size = end == NULL ? size : (size_t)(end - data);
	char *list = fuzz_text(data, list_size);
	struct ob_bytes topic = {.data = data + list_size, .size = size - list_size};

	(void)ob_pattern_match(list, topic);
	if (ob_pattern_check(list, NULL) == OB_OK) {
		const char *rest = list;

		FUZZ_CHECK(ob_pattern_next(&rest).size > 0);
		if (strcmp(list, "*") == 0)
			FUZZ_CHECK(ob_pattern_match(list, topic));
	}
	free(list);
	return 0;
}
