/*
 * The inbox of a consumer: a table of the message ids that were already handled, written in the consumer's own
 * transaction. With it a message that arrives twice has its effect once.
 *
 *     BEGIN (in SQLite BEGIN IMMEDIATE)
 *     ob_inbox_postgres_claim(conn, NULL, "billing", id, &first, &error);
 *     if (first)
 *         ... the consumer's own work, in the same transaction ...
 *     COMMIT, and only then answer 200
 *
 * If the consumer dies before the COMMIT, neither the id nor the work is there, and the message comes again. If
 * it dies after it and before the answer, the message comes again and `first` is false: answer 200.
 *
 * Other languages use the same table with plain SQL, see docs/inbox.md:
 *
 *     INSERT INTO outbox_inbox (consumer, id) VALUES (?, ?) ON CONFLICT DO NOTHING   -- one row changed: first
 *
 * The functions for SQLite are in liboutbox-sqlite, those for PostgreSQL in liboutbox-postgres. Threads, forks and
 * errors as in <outbox/sqlite.h> and <outbox/postgres.h>.
 */
#ifndef OUTBOX_INBOX_H
#define OUTBOX_INBOX_H

#include <outbox/error.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sqlite3;
struct pg_conn; /* PGconn of <libpq-fe.h> */

/* For how long the relay retries a message by default: 24 hours. */
#define OB_INBOX_RETRY_DEFAULT_MS ((int64_t)24 * 60 * 60 * 1000)

/* ---- SQLite ---- */

/* What ob_inbox_sqlite_create runs. */
#define OB_INBOX_SQLITE_SQL                                                             \
	"CREATE TABLE IF NOT EXISTS outbox_inbox (\n"                                   \
	"  consumer   TEXT NOT NULL,\n"                                                 \
	"  id         TEXT NOT NULL,\n"                                                 \
	"  handled_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),\n" \
	"  PRIMARY KEY (consumer, id)\n"                                                \
	") WITHOUT ROWID;\n"                                                            \
	"CREATE INDEX IF NOT EXISTS outbox_inbox_handled_at ON outbox_inbox (consumer, handled_at);\n"

/* Makes the table where it is missing. May be called at each start. */
OB_API int ob_inbox_sqlite_create(struct sqlite3 *db, struct ob_error *error);

/*
 * Records that `consumer` handles the message `id`. `*first` is true when it did not before: do the work. Must be
 * called inside a transaction (OB_USAGE otherwise), or the id would be there without the work.
 *
 * Returns OB_OK, OB_USAGE, OB_INVALID (an empty consumer or id, too long, not UTF-8), OB_SCHEMA (no table),
 * OB_BUSY, OB_LIMIT, OB_DENIED, OB_NOMEM, OB_FAILED. On failure roll back and let the message come again.
 */
OB_API int ob_inbox_sqlite_claim(struct sqlite3 *db, const char *consumer, const char *id,
				 bool *first, struct ob_error *error);

/*
 * Forgets ids that were handled longer than `keep_ms` ago, at most `rows_max` of them (0: 1,000), so that it can be
 * called again and again between messages without holding the database for long.
 *
 * `retry_ms` is the longest time for which the relay of this consumer may send a message again (its option for the age
 * at which a message is given up; 0: OB_INBOX_RETRY_DEFAULT_MS). An id must be kept for longer than that, or the
 * message could come again after its id was forgotten: a shorter `keep_ms` is OB_USAGE. A person who retries dead
 * messages or replays the log brings older ones; keep ids for as long as that is to be safe.
 */
OB_API int ob_inbox_sqlite_trim(struct sqlite3 *db, const char *consumer, int64_t keep_ms,
				int64_t retry_ms, uint32_t rows_max, uint64_t *removed,
				struct ob_error *error);

/* ---- PostgreSQL ---- */

/* What ob_inbox_postgres_create runs, for a table that is called so: OB_INBOX_POSTGRES_SQL("billing.outbox_inbox"). */
#define OB_INBOX_POSTGRES_SQL(table)                                     \
	"CREATE TABLE IF NOT EXISTS " table " (\n"                       \
	"  consumer   text NOT NULL,\n"                                  \
	"  id         text NOT NULL,\n"                                  \
	"  handled_at timestamptz NOT NULL DEFAULT clock_timestamp(),\n" \
	"  PRIMARY KEY (consumer, id)\n"                                 \
	");\n"                                                           \
	"CREATE INDEX IF NOT EXISTS outbox_inbox_handled_at ON " table   \
	" (consumer, handled_at);\n"

/*
 * The same for PostgreSQL. `schema` is the one in which the table outbox_inbox stands, NULL: where the search path finds it or
 * would make it. It is quoted here.
 *
 * Makes the table where it is missing; one that is there may belong to somebody else. May be called at each start, and by several
 * at once outside a transaction.
 */
OB_API int ob_inbox_postgres_create(struct pg_conn *conn, const char *schema,
				    struct ob_error *error);

/*
 * As above. Waits while another transaction that claims the same id is open, and says false if that one commits. (Under
 * REPEATABLE READ and SERIALIZABLE it is OB_BUSY then: roll back, and claim again.) Needs the right to INSERT.
 */
OB_API int ob_inbox_postgres_claim(struct pg_conn *conn, const char *schema, const char *consumer,
				   const char *id, bool *first, struct ob_error *error);

/* As above. Needs the rights to SELECT and DELETE. */
OB_API int ob_inbox_postgres_trim(struct pg_conn *conn, const char *schema, const char *consumer,
				  int64_t keep_ms, int64_t retry_ms, uint32_t rows_max,
				  uint64_t *removed, struct ob_error *error);

#ifdef __cplusplus
}
#endif
#endif
