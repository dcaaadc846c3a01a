/*
 * Writing messages into an outbox in PostgreSQL, on the application's own connection.
 *
 *     PQexec(conn, "BEGIN");
 *     PQexec(conn, "UPDATE orders SET ... WHERE customer = 'alice'");
 *     struct ob_new_message message = {
 *         .topic = "orders.placed", .key = "alice", .payload = json, .payload_size = strlen(json)};
 *     rc = ob_postgres_publish(conn, NULL, &message, 1, NULL, &error);
 *     PQexec(conn, "COMMIT");
 *
 * The message exists if and only if that transaction commits. Nothing here begins, commits or rolls back, sets a
 * savepoint, prepares a statement or changes a setting of the connection. What is wrong with a message is found before the
 * server is asked, and then the transaction goes on. An error of the server has the effect that it has for any
 * statement: the transaction can only be rolled back, whole or to a savepoint of the application.
 *
 * Messages of one key arrive in commit order if their writers wait for each other, as they do when each first changes
 * the same row: take the key's lock in a statement before the one that writes the message, as above.
 *
 * A connection belongs to one thread at a time, and so do these calls on it; do not carry one over a fork. The server may be
 * behind a proxy that pools transactions: every call is complete in itself. libpq 14 or later, any server from 14 on.
 *
 * `schema` is the one that holds the outbox, in the connection's encoding and with the case that it has in the catalog; NULL:
 * "outbox". It is quoted here. The table is `message` in it, made by `outbox init postgresql://...`. A plain INSERT
 * into it and the SQL function `publish` do the same; these functions add the checks and ids that sort by time.
 */
#ifndef OUTBOX_POSTGRES_H
#define OUTBOX_POSTGRES_H

#include <outbox/error.h>
#include <outbox/new_message.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pg_conn;   /* PGconn of <libpq-fe.h> */
struct pg_result; /* PGresult */

/*
 * Writes `count` messages in one round trip, all or none, in their order. Outside a transaction the call is one of its own.
 * Blocks until the server has answered. Texts are UTF-8 whatever the encoding of the connection; an id must be a UUID.
 *
 * One message takes about as long as a plain INSERT that is sent the same way (90 µs on one machine), of a thousand each
 * takes 5 µs. Several messages are copied once into the statement; it may be some hundred megabytes long, but the server then needs a
 * few times as much. `ids` takes `count` ids, in lower case, and may be NULL; it is undefined on failure.
 *
 * Returns OB_OK, or
 *   OB_INVALID      a message is wrong; the text says which and how. Or the database refused it, by a constraint or a trigger
 *   OB_USAGE        the connection is in a pipeline, awaits an answer or is in a transaction that has failed
 *   OB_LIMIT        something is too large, or the server's disk or memory is full
 *   OB_BUSY         a lock was not to be had in time, a deadlock, or a conflict of serializable transactions
 *   OB_SCHEMA       there is no such table, or not as expected
 *   OB_DENIED       the user may not insert, or the server or the transaction is read only
 *   OB_UNREACHABLE  the connection was closed before; nothing was sent
 *   OB_AGAIN        the connection was lost meanwhile. The transaction is gone with it; a call that was a transaction of its own
 *                   may have been done
 *   OB_NOMEM, OB_FAILED
 */
OB_API int ob_postgres_publish(struct pg_conn *conn, const char *schema,
			       const struct ob_new_message *messages, size_t count,
			       struct ob_message_id *ids, struct ob_error *error);

/*
 * The same without waiting: queues one statement, however many messages, for which the application later gets one result by
 * PQgetResult, as for any statement that it sends itself. For a connection in pipeline mode, and for one that is not and is
 * idle (there PQgetResult must be called until it gives NULL). The messages need live only for the call. Does not flush and does
 * not put a PQpipelineSync. With a `count` of 0 nothing is queued and no result comes.
 *
 * What is wrong with a message is returned at once, nothing is queued, and the pipeline goes on. Returns as above, but for what the
 * server finds.
 */
OB_API int ob_postgres_send(struct pg_conn *conn, const char *schema,
			    const struct ob_new_message *messages, size_t count,
			    struct ob_message_id *ids, struct ob_error *error);

/*
 * What the result of a statement of ob_postgres_send says: OB_OK when the messages are written, or as ob_postgres_publish.
 * OB_USAGE when it cannot be the result of such a statement. OB_FAILED with the text "not done" when an earlier statement of the
 * pipeline failed. `result` may be NULL, as PQgetResult gives when there is none, and stays the caller's.
 */
OB_API int ob_postgres_result(const struct pg_result *result, struct ob_error *error);

/* What such calls would find wrong with a message before they ask the server: OB_INVALID, OB_LIMIT. From any thread. */
OB_API int ob_postgres_message_check(const struct ob_new_message *message, struct ob_error *error);

#ifdef __cplusplus
}
#endif
#endif
