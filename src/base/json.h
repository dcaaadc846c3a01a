/* Writing JSON by hand, where a tree of values would cost more than it helps. */
#ifndef OB_BASE_JSON_H
#define OB_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

/*
 * Appends a JSON string with its quotes (RFC 8259, 7). UTF-8 stays as it is; each byte that is none
 * becomes U+FFFD, so that what comes out is valid JSON whatever goes in. False as an append to the
 * buffer, which may hold a part then. `data` may be NULL if `size` is 0.
 */
bool ob_json_append_string(struct ob_buf *out, const void *data, size_t size);

#endif
