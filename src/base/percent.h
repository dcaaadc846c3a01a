/*
 * Percent-encoding, in URLs (RFC 3986) and in HTTP headers (CloudEvents HTTP
 * binding 1.0.2, 3.1.3.2).
 *
 * All append to a buffer and return false, like an append, when its limit is reached; what they
 * appended up to then stays. `data` may be NULL if `size` is 0.
 */
#ifndef OB_BASE_PERCENT_H
#define OB_BASE_PERCENT_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

/* Encodes all but letters, digits and "-._~": fit for any part of a URL. */
bool ob_percent_encode(struct ob_buf *out, const void *data, size_t size);

/*
 * Encodes what a CloudEvents header value must not hold: space, double quote, percent, and all
 * outside the printable ASCII range (so every byte of a character beyond ASCII, and CR, LF and NUL
 * too).
 */
bool ob_percent_encode_header(struct ob_buf *out, const void *data, size_t size);

/*
 * Decodes %XX; everything else, '+' too, stays as it is. False also when a '%' is not followed by
 * two hexadecimal digits. The result may hold any byte, NUL too: the caller checks it.
 */
bool ob_percent_decode(struct ob_buf *out, const void *data, size_t size);

#endif
