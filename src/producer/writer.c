#include "writer.h"

#include <string.h>

#include "utf8.h"

static const char insert_sql[] =
    "INSERT INTO main.outbox_message"
    " (id, topic, partition_key, type, payload, content_type, headers, deliver_after)"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

enum { PARAMETER_PAYLOAD = 5, PARAMETER_COUNT = 8 };

static enum ob_code
code_of(int rc, const char *text)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return OB_BUSY;
	case SQLITE_NOMEM:
		return OB_NOMEM;
	case SQLITE_FULL:
	case SQLITE_TOOBIG:
		return OB_LIMIT;
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return OB_DENIED;
	case SQLITE_CONSTRAINT:
		return OB_INVALID;
	case SQLITE_NOTADB:
		return OB_SCHEMA;
	case SQLITE_ERROR:
		/* SQLite has no code of its own for a missing table or column. */
		if (strstr(text, "no such table") != NULL || strstr(text, "has no column") != NULL)
			return OB_SCHEMA;
		return OB_FAILED;
	default:
		return OB_FAILED;
	}
}

int
ob_writer_error(sqlite3 *db, int rc, bool was_open, struct ob_error *error)
{
	const char *text = rc == SQLITE_NOMEM ? "out of memory" : sqlite3_errmsg(db);
	enum ob_code code = code_of(rc, text);
	const char *mend = "";

	if (code == OB_SCHEMA)
		mend = "; make the tables with: outbox init sqlite:PATH";
	else if (code == OB_BUSY)
		mend =
		    "; another connection writes: try again, or wait longer for it (PRAGMA busy_timeout)";
	else if (was_open && sqlite3_get_autocommit(db) != 0)
		mend = "; SQLite has rolled back the transaction";
	return ob_error_set(error, code, "%s%s", text, mend);
}

int
ob_writer_prepare(sqlite3 *db, bool kept, sqlite3_stmt **statement, struct ob_error *error)
{
	unsigned flags = kept ? SQLITE_PREPARE_PERSISTENT : 0;
	bool was_open = sqlite3_get_autocommit(db) == 0;
	int rc = sqlite3_prepare_v3(db, insert_sql, sizeof(insert_sql), flags, statement, NULL);

	if (rc != SQLITE_OK)
		return ob_writer_error(db, rc, was_open, error);
	return OB_OK;
}

static int
text_bind(sqlite3_stmt *statement, int parameter, struct ob_bytes value)
{
	if (value.data == NULL)
		return sqlite3_bind_null(statement, parameter);
	return sqlite3_bind_text64(statement, parameter, value.data, value.size, SQLITE_STATIC,
				   SQLITE_UTF8);
}

/* A payload that is text is kept as text, so that people and SQL's JSON functions can read it; the bytes are
   the same. A database in UTF-16 converts text, so what is not surely text is a BLOB. */
static int
payload_bind(sqlite3_stmt *statement, struct ob_bytes payload, sqlite3_value *value)
{
	if (value != NULL)
		return sqlite3_bind_value(statement, PARAMETER_PAYLOAD, value);
	if (payload.data == NULL)
		return sqlite3_bind_null(statement, PARAMETER_PAYLOAD);
	if (ob_utf8_valid(payload.data, payload.size) &&
	    (payload.size == 0 || memchr(payload.data, 0, payload.size) == NULL))
		return text_bind(statement, PARAMETER_PAYLOAD, payload);
	return sqlite3_bind_blob64(statement, PARAMETER_PAYLOAD, payload.data, payload.size,
				   SQLITE_STATIC);
}

int
ob_writer_insert(sqlite3_stmt *statement, const struct ob_outgoing *message,
		 sqlite3_value *payload_value, struct ob_error *error)
{
	sqlite3 *db = sqlite3_db_handle(statement);
	bool was_open = sqlite3_get_autocommit(db) == 0;
	const struct ob_bytes texts[PARAMETER_COUNT] = {
	    message->id, message->topic,        message->key,     message->type,
	    {NULL, 0},   message->content_type, message->headers, message->deliver_after};
	int rc = payload_bind(statement, message->payload, payload_value);
	int result = OB_OK;

	for (int i = 0; rc == SQLITE_OK && i < PARAMETER_COUNT; i++)
		if (i + 1 != PARAMETER_PAYLOAD)
			rc = text_bind(statement, i + 1, texts[i]);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc != SQLITE_DONE)
		result = ob_writer_error(db, rc, was_open, error);
	(void)sqlite3_reset(statement);
	(void)sqlite3_clear_bindings(statement);
	return result;
}
