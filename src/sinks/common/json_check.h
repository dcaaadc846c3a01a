/* Is this JSON? Reads the bytes once, allocates nothing, builds nothing. */
#ifndef OB_SINKS_JSON_CHECK_H
#define OB_SINKS_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>

/* Arrays and objects inside each other; deeper ones count as not valid, since many readers refuse them. */
#define OB_JSON_DEPTH_MAX 512

/* True if the bytes are one JSON text (RFC 8259) in UTF-8, with white space around it allowed. */
bool ob_json_is_valid(const void *data, size_t size);

#endif
