/*
 * Writing messages into an outbox in SQLite, on the application's own connection.
 *
 *     sqlite3_exec(db, "BEGIN", ...);
 *     sqlite3_exec(db, "INSERT INTO orders ...", ...);
 *     struct ob_new_message message = {
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
#include <outbox/new_message.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sqlite3;

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
OB_API int ob_sqlite_publish(struct sqlite3 *db, const struct ob_new_message *messages,
			     size_t count, struct ob_message_id *ids, struct ob_error *error);

/* What such a call would find wrong with a message before it asks the database: OB_INVALID, OB_LIMIT. From any thread. */
OB_API int ob_sqlite_message_check(const struct ob_new_message *message, struct ob_error *error);

/*
 * The same with a prepared statement that is kept, for programs that write many messages. A call takes
 * about as long as a prepared INSERT then (10 µs), where the one above prepares the statement first
 * (50 µs more). A publisher belongs to its connection: free it before the connection is closed.
 */
struct ob_sqlite_publisher;
OB_API int ob_sqlite_publisher_new(struct sqlite3 *db, struct ob_sqlite_publisher **publisher,
				   struct ob_error *error);
OB_API int ob_sqlite_publisher_publish(struct ob_sqlite_publisher *publisher,
				       const struct ob_new_message *messages, size_t count,
				       struct ob_message_id *ids, struct ob_error *error);
/* Safe with NULL. */
OB_API void ob_sqlite_publisher_free(struct ob_sqlite_publisher *publisher);

#ifdef __cplusplus
}
#endif
#endif
