/*
 * House-keeping: giving back what every subscription has passed, and keeping the -wal from growing for
 * ever where nobody but the relay writes.
 *
 * A piece of work is one short range of the primary key in a transaction of its own, and the range shrinks
 * when a piece took long: the application waits for it like for any writer. While others write, trimming takes a
 * fiftieth of the time at most: a drained backlog is worth less than the application's transactions.
 */
#include "crash.h"
#include "sqlite_store.h"

#define TRIM_ROWS_MIN 16
#define TRIM_ROWS_MAX 2048
#define TRIM_MS_LONG  5
/* While others write, a piece of work is followed by a pause so many times as long. */
#define TRIM_PAUSES 50
#define QUIET_MS    5000

/* Below what every subscription has still to read; nothing when there is none. */
#define TRIM_LIMIT                                                                         \
	"(SELECT min(CASE WHEN replay_position IS NOT NULL AND replay_position < position" \
	" THEN replay_position ELSE position END) FROM outbox_checkpoint)"
/* Its payload was too large to copy: it is the only one. */
#define TRIM_KEPT                                                                          \
	"NOT EXISTS (SELECT 1 FROM outbox_parked AS p WHERE p.position = m.seq"            \
	" AND p.payload_bytes IS NOT NULL) AND NOT EXISTS (SELECT 1 FROM outbox_dead AS d" \
	" WHERE d.position = m.seq AND d.payload_bytes IS NOT NULL)"

/* The end of the next range; 0: nothing to do. `*full`: there may be another range behind it. */
static int
trim_end(struct sqlite_store *store, int64_t *end, bool *full, struct ob_error *error)
{
	static const char sql[] =
	    "SELECT m.seq, m.created_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?2)"
	    " FROM outbox_message AS m WHERE m.seq <= " TRIM_LIMIT " AND " TRIM_KEPT
	    " ORDER BY m.seq LIMIT ?1";
	sqlite3_stmt *statement;
	int64_t rows = 0;
	char age[48];
	int code = ob_sqlite_prepare_text(store, sql, &statement, error), rc;

	if (code != OB_OK)
		return code;
	sqlite3_snprintf(sizeof(age), age, "-%lld.%03d seconds",
			 (long long)(store->options->retention_ms / 1000),
			 (int)(store->options->retention_ms % 1000));
	sqlite3_bind_int64(statement, 1, store->trim_rows);
	ob_sqlite_bind_string(statement, 2, age);
	*end = 0;
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		/* What is too young ends the range: the rows behind it are younger still. */
		if (store->options->retention_ms > 0 && sqlite3_column_int(statement, 1) == 0)
			break;
		*end = sqlite3_column_int64(statement, 0);
		rows++;
	}
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		code = ob_sqlite_fail(store, rc, "trim", error);
	sqlite3_finalize(statement);
	*full = rows == store->trim_rows;
	return code;
}

static int
trim_range(struct sqlite_store *store, uint64_t *rows, bool *again, struct ob_error *error)
{
	static const char sql[] =
	    "DELETE FROM outbox_message AS m WHERE m.seq <= ?1 AND " TRIM_KEPT;
	sqlite3_stmt *statement;
	int64_t end;
	int code = trim_end(store, &end, again, error);

	if (code != OB_OK || end == 0)
		return code;
	code = ob_sqlite_prepare_text(store, sql, &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_int64(statement, 1, end);
	code = ob_sqlite_run(store, statement, "trim", error);
	sqlite3_finalize(statement);
	OB_CRASH_POINT("C11");
	if (code == OB_OK)
		*rows = (uint64_t)sqlite3_changes(store->db);
	return code;
}

/* Something to trim is looked for without the write lock, which most calls then need not take. */
static int
trim_is_due(struct sqlite_store *store, bool *due, struct ob_error *error)
{
	int64_t end = 0;
	bool full;
	int code = ob_sqlite_begin_read(store, error);

	if (code != OB_OK)
		return code;
	code = ob_sqlite_end(store, trim_end(store, &end, &full, error), error);
	*due = end > 0;
	return code;
}

/* Whether the pause after the last piece is still on. There is none when nobody else has written meanwhile. */
static int
trim_pauses(struct sqlite_store *store, bool *pauses, struct ob_error *error)
{
	const struct ob_host *host = store->base.host;
	int64_t since_us = host->monotonic_us(host->context) - store->trim_ended_us;
	int64_t version;
	int code;

	*pauses = false;
	if (store->trim_ended_us == 0 || since_us >= TRIM_PAUSES * store->trim_took_us)
		return OB_OK;
	code = ob_sqlite_version(store, &version, error);
	if (code == OB_OK)
		*pauses = version != store->trim_version;
	return code;
}

/* One piece of work, and what is to be remembered of it. */
static int
trim_piece(struct sqlite_store *store, uint64_t *rows, bool *again, struct ob_error *error)
{
	const struct ob_host *host = store->base.host;
	int64_t began_us;
	int code = ob_sqlite_begin_write(store, error);

	if (code != OB_OK)
		return code;
	began_us = host->monotonic_us(host->context);
	code = ob_sqlite_end(store, trim_range(store, rows, again, error), error);
	store->trim_ended_us = host->monotonic_us(host->context);
	store->trim_took_us = store->trim_ended_us - began_us;
	if (store->trim_took_us > TRIM_MS_LONG * 1000)
		store->trim_rows =
		    store->trim_rows / 2 > TRIM_ROWS_MIN ? store->trim_rows / 2 : TRIM_ROWS_MIN;
	else if (*again && store->trim_took_us < TRIM_MS_LONG * 500 &&
		 store->trim_rows < TRIM_ROWS_MAX)
		store->trim_rows *= 2;
	return code != OB_OK ? code : ob_sqlite_version(store, &store->trim_version, error);
}

/*
 * Each settle of ours adds to the -wal, and in a database that is otherwise only read nobody would ever
 * checkpoint it. So we do, when it is large and nobody else has committed for a while (SQLite before 3.51.3
 * can corrupt a database when two connections write and checkpoint at once).
 */
static int
wal_shrink(struct sqlite_store *store, struct ob_error *error)
{
	const struct ob_host *host = store->base.host;
	int64_t now_us = host->monotonic_us(host->context);
	int64_t version;
	int code, rc;

	if (!store->wal || ob_sqlite_wal_size(store) <= store->options->wal_limit_bytes)
		return OB_OK;
	code = ob_sqlite_version(store, &version, error);
	if (code != OB_OK)
		return code;
	if (version != store->quiet_version || store->quiet_since_us == 0) {
		store->quiet_version = version;
		store->quiet_since_us = now_us;
		return OB_OK;
	}
	if (now_us - store->quiet_since_us < QUIET_MS * INT64_C(1000))
		return OB_OK;
	rc = sqlite3_wal_checkpoint_v2(store->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	store->quiet_since_us = now_us;
	return rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY
		   ? OB_OK
		   : ob_sqlite_fail(store, rc, "checkpoint", error);
}

int
ob_sqlite_trim(struct ob_store *base, uint64_t *rows, bool *again, struct ob_error *error)
{
	struct sqlite_store *store = (struct sqlite_store *)(void *)base;
	bool due = false, pauses = false;
	int code;

	*rows = 0;
	*again = false;
	if (store->trim_rows == 0)
		store->trim_rows = TRIM_ROWS_MAX / 8;
	code = ob_sqlite_connection_look(store, error);
	if (code == OB_OK)
		code = ob_sqlite_file_look(store, error);
	if (code == OB_OK)
		code = trim_pauses(store, &pauses, error);
	*again = pauses;
	if (code != OB_OK || pauses)
		return code;
	code = trim_is_due(store, &due, error);
	if (code == OB_OK)
		code = due ? trim_piece(store, rows, again, error) : wal_shrink(store, error);
	if (code != OB_OK)
		*again = false;
	return code;
}
