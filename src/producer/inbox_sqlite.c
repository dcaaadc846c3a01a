#include <outbox/inbox.h>

#include "inbox_rules.h"
#include "writer.h"

static int
inbox_error(sqlite3 *db, int rc, bool was_open, struct ob_error *error)
{
	int code = ob_writer_error(db, rc, was_open, error);

	/* The outbox's way to make tables is not the inbox's. */
	if (code == OB_SCHEMA)
		code =
		    ob_error_set(error, OB_SCHEMA, "%s; make the table with ob_inbox_sqlite_create",
				 sqlite3_errmsg(db));
	ob_error_prefix(error, "inbox");
	return code;
}

int
ob_inbox_sqlite_create(sqlite3 *db, struct ob_error *error)
{
	bool was_open = sqlite3_get_autocommit(db) == 0;
	int rc = sqlite3_exec(db, OB_INBOX_SQLITE_SQL, NULL, NULL, NULL);

	return rc == SQLITE_OK ? OB_OK : inbox_error(db, rc, was_open, error);
}

int
ob_inbox_sqlite_claim(sqlite3 *db, const char *consumer, const char *id, bool *first,
		      struct ob_error *error)
{
	static const char sql[] = "INSERT INTO main.outbox_inbox (consumer, id) VALUES (?1, ?2)"
				  " ON CONFLICT (consumer, id) DO NOTHING";
	sqlite3_stmt *statement = NULL;
	int result = ob_inbox_names_check(consumer, id, error);
	int rc;

	if (result != OB_OK)
		return result;
	if (sqlite3_get_autocommit(db) != 0)
		return ob_error_set(
		    error, OB_USAGE,
		    "inbox: no transaction is open; BEGIN IMMEDIATE first, and do the work before its COMMIT");
	rc = sqlite3_prepare_v2(db, sql, sizeof(sql), &statement, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(statement, 1, consumer, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(statement, 2, id, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_DONE)
		*first = sqlite3_changes(db) == 1;
	else
		result = inbox_error(db, rc, true, error);
	(void)sqlite3_finalize(statement);
	return result;
}

int
ob_inbox_sqlite_trim(sqlite3 *db, const char *consumer, int64_t keep_ms, int64_t retry_ms,
		     uint32_t rows_max, uint64_t *removed, struct ob_error *error)
{
	static const char sql[] =
	    "DELETE FROM main.outbox_inbox WHERE (consumer, id) IN"
	    " (SELECT consumer, id FROM main.outbox_inbox WHERE consumer = ?1 AND handled_at <"
	    " strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?2 || ' seconds') ORDER BY handled_at LIMIT ?3)";
	bool was_open = sqlite3_get_autocommit(db) == 0;
	sqlite3_stmt *statement = NULL;
	int result = ob_inbox_consumer_check(consumer, error);
	int rc;

	if (result == OB_OK)
		result = ob_inbox_keep_check(keep_ms, retry_ms, error);
	if (result != OB_OK)
		return result;
	rc = sqlite3_prepare_v2(db, sql, sizeof(sql), &statement, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(statement, 1, consumer, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_double(statement, 2, -(double)keep_ms / 1000.0);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(statement, 3,
					rows_max == 0 ? OB_INBOX_ROWS_DEFAULT : rows_max);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_DONE) {
		if (removed != NULL)
			*removed = (uint64_t)sqlite3_changes(db);
	} else {
		result = inbox_error(db, rc, was_open, error);
	}
	(void)sqlite3_finalize(statement);
	return result;
}
