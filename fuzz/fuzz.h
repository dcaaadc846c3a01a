/*
 * What a fuzz target implements: reads `size` bytes that may be anything, checks with FUZZ_CHECK what must
 * hold of the result, frees all, and returns 0. Built twice: with libFuzzer, and over its corpus alone.
 */
#ifndef OB_FUZZ_H
#define OB_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_CHECK(condition) ((condition) ? (void)0 : abort())

int ob_fuzz(const uint8_t *data, size_t size);

/* The input as a C string, to be freed by the caller; it ends at the first NUL. */
static inline char *
fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	FUZZ_CHECK(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

#endif
