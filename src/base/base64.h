/*
 * Base64 with the standard alphabet and padding (RFC 4648, 4).
 */
#ifndef OB_BASE_BASE64_H
#define OB_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

/* How many characters `size` bytes take. */
size_t ob_base64_size(size_t size);

/* Appends the code of `size` bytes; false, with nothing appended, as an append to the buffer. */
bool ob_base64_encode(struct ob_buf *out, const void *data, size_t size);

/*
 * Appends the bytes that the code stands for. Strict: padding where it belongs, no white space, and
 * the unused bits zero, so that each sequence of bytes has one code alone (a signature cannot be
 * written in two ways). False, with nothing appended, if it is wrong or the buffer full.
 */
bool ob_base64_decode(struct ob_buf *out, const void *data, size_t size);

#endif
