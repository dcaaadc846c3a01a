/*
 * A message to write: the same for every kind of database. How it is written stands in the database's own
 * header: <outbox/sqlite.h>, <outbox/postgres.h>.
 */
#ifndef OUTBOX_NEW_MESSAGE_H
#define OUTBOX_NEW_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OB_NAME_BYTES_MAX    255 /* of id, topic, key, type and content type */
#define OB_HEADERS_BYTES_MAX (64 * 1024)
#define OB_PAYLOAD_BYTES_MAX (16 * 1024 * 1024) /* what the relay takes by default */

/*
 * Only the topic is required; what is zero takes its default. Texts are UTF-8; id, topic, type and content type
 * hold no control characters.
 */
struct ob_new_message {
	const char *topic;   /* required, not empty */
	const char *key;     /* messages with one key keep their order; NULL: none */
	const char *type;    /* NULL: the topic serves */
	const void *payload; /* any bytes; NULL: a tombstone, "" with size 0: an empty payload */
	size_t payload_size; /* bytes */
	const char *content_type; /* NULL: the format's default, "application/json" for most */
	const char *headers;      /* a JSON object whose values are strings; NULL: none */
	int64_t deliver_after_us; /* microseconds since 1970 UTC; 0: at once */
	const char *id;           /* NULL: a new UUID of version 7 */
};

/* The id of a message that was written, NUL-terminated. */
struct ob_message_id {
	char text[OB_NAME_BYTES_MAX + 1];
};

#ifdef __cplusplus
}
#endif
#endif
