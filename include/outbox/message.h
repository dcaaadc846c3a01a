/*
 * A message as a store reads it and a sink sends it.
 *
 * The struct only points: the bytes belong to whoever made it (for fetched messages the batch, see
 * store.h) and are never changed. No field is NUL-terminated and each may hold any byte.
 */
#ifndef OUTBOX_MESSAGE_H
#define OUTBOX_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A run of bytes. `data == NULL`: absent (SQL NULL). `data != NULL` and `size == 0`: empty. */
struct ob_bytes {
	const void *data;
	size_t size;
};

struct ob_message {
	struct ob_bytes
	    id; /* stable over all tries; a UUID in text form unless the application chose otherwise */
	struct ob_bytes topic;   /* never absent or empty */
	struct ob_bytes key;     /* absent: no order with any other message */
	struct ob_bytes type;    /* absent: the topic serves as type */
	struct ob_bytes payload; /* absent: a tombstone; the bytes arrive as they were written */
	struct ob_bytes content_type; /* absent: the format's default */
	struct ob_bytes
	    headers; /* absent, or a JSON object of strings, in UTF-8 as stored, unchecked */
	int64_t
	    created_at_us; /* microseconds since 1970 UTC, by the database's clock; for display only */
};

/* Which messages must keep their order with each other. */
enum ob_order_by {
	OB_ORDER_BY_KEY = 0,
	OB_ORDER_BY_TOPIC_AND_KEY,
};

#ifdef __cplusplus
}
#endif
#endif
