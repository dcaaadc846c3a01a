/* Strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. Pure. */
#ifndef OB_BASE_UTF8_H
#define OB_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* All `size` bytes are UTF-8. NUL is a character like any other. `data` may be NULL if `size` is 0.
 */
bool ob_utf8_valid(const void *data, size_t size);

/* How many bytes at the start are UTF-8: `size` if all are, else the offset of the first wrong
 * character. */
size_t ob_utf8_valid_prefix(const void *data, size_t size);

#endif
