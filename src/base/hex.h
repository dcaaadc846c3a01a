/* Hexadecimal digits. Both appends return false like an append to the buffer; decode also on a
 * wrong digit. */
#ifndef OB_BASE_HEX_H
#define OB_BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

/* The value of a hexadecimal digit of either case, or -1. */
int ob_hex_digit(char c);

/* Two lower-case digits a byte. */
bool ob_hex_encode(struct ob_buf *out, const void *data, size_t size);

/* Either case, an even number of digits and nothing else; `out` is as before on failure. */
bool ob_hex_decode(struct ob_buf *out, const void *data, size_t size);

#endif
