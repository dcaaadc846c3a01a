/*
 * Writing messages into an outbox in SQLite, on the application's own connection.
 *
 *     sqlite3_exec(db, "BEGIN", ...);
 *     sqlite3_exec(db, "INSERT INTO orders ...", ...);
 *     struct ob_sqlite_message message = {
 *         .topic = "orders.placed", .key = "alice", .payload = json, .payload_size = strlen(json)};
 *     rc = ob_sqlite_publish(db, &message, 1, NULL, &error);
 *     sqlite3_exec(db, "COMMIT", ...);
 *
 * The message exists if and only if that transaction commits. Nothing here commits, rolls back or changes the
 * connection, and an error leaves the transaction as it was before the call: the application may go on,
 * commit or roll back as it likes. (SQLite itself ends the transaction on a few errors, as with any other
 * statement: https://sqlite.org/lang_transaction.html, "Response To Errors Within A Transaction". Then the
 * text says so.)
 *
 * A connection belongs to one thread at a time, and so do these calls on it. Do not carry a connection
 * over a fork; SQLite forbids it. The functions may block for as long as the connection's busy handler does.
 *
 * The table is outbox_message in the schema "main", made by `outbox init sqlite:PATH`. A plain INSERT into it does the
 * same; these functions add the checks and ids that sort by time.
 */
#ifndef OUTBOX_SQLITE_H
#define OUTBOX_SQLITE_H

#include <outbox/error.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sqlite3;

#define OB_NAME_BYTES_MAX    255 /* of id, topic, key, type and content type */
#define OB_HEADERS_BYTES_MAX (64 * 1024)
#define OB_PAYLOAD_BYTES_MAX (16 * 1024 * 1024) /* what the relay takes by default */

/*
 * A message to write. Only the topic is required; what is zero takes its default. Texts are UTF-8; id, topic,
 * type and content type hold no control characters.
 */
struct ob_sqlite_message {
	const char *topic;   /* required, not empty */
	const char *key;     /* messages with one key keep their order; NULL or "": none */
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

/*
 * Writes `count` messages, all or none, in their order. Every message is checked before the database is touched.
 * Outside a transaction the call is one of its own.
 *
 * `ids` takes `count` ids and may be NULL; it is undefined on failure. Returns OB_OK, or
 *   OB_INVALID      a message is wrong; the text says which and how
 *   OB_LIMIT        the disk or the database is full, or something is too large
 *   OB_BUSY         another connection writes and the busy handler gave up
 *   OB_SCHEMA       there is no outbox_message, or not as expected
 *   OB_DENIED       the database is read only, or an authorizer forbids it
 *   OB_NOMEM, OB_FAILED
 */
OB_API int ob_sqlite_publish(struct sqlite3 *db, const struct ob_sqlite_message *messages,
			     size_t count, struct ob_message_id *ids, struct ob_error *error);

/*
 * The same with a prepared statement that is kept, for programs that write many messages. A call takes
 * about as long as a prepared INSERT then (10 µs), where the one above prepares the statement first
 * (50 µs more). A publisher belongs to its connection: free it before the connection is closed.
 */
struct ob_sqlite_publisher;
OB_API int ob_sqlite_publisher_new(struct sqlite3 *db, struct ob_sqlite_publisher **publisher,
				   struct ob_error *error);
OB_API int ob_sqlite_publisher_publish(struct ob_sqlite_publisher *publisher,
				       const struct ob_sqlite_message *messages, size_t count,
				       struct ob_message_id *ids, struct ob_error *error);
/* Safe with NULL. */
OB_API void ob_sqlite_publisher_free(struct ob_sqlite_publisher *publisher);

#ifdef __cplusplus
}
#endif
#endif
