#include <outbox/sqlite.h>
#include <outbox/uuid.h>
#include <stdlib.h>
#include <string.h>

#include "writer.h"

struct ob_sqlite_publisher {
	sqlite3 *db;
	sqlite3_stmt *insert;
};

static int
message_write(sqlite3_stmt *insert, const struct ob_new_message *message, struct ob_message_id *id,
	      struct ob_error *error)
{
	char time[OB_RFC3339_SIZE];
	struct ob_message_id made;
	struct ob_outgoing out;
	int rc = OB_OK;

	ob_outgoing_fill(&out, message, time);
	if (message->id == NULL) {
		rc = ob_uuid7(made.text, error);
		out.id = (struct ob_bytes){made.text, OB_UUID_TEXT_SIZE - 1};
	}
	if (rc == OB_OK)
		rc = ob_writer_insert(insert, &out, NULL, error);
	if (rc == OB_OK && id != NULL) {
		memcpy(id->text, out.id.data, out.id.size);
		id->text[out.id.size] = '\0';
	}
	return rc;
}

/*
 * Several messages are one statement to the application: a savepoint around them takes back the first ones
 * when a later one fails. Outside a transaction it is also the transaction that they share.
 */
static int
savepoint_run(sqlite3 *db, const char *sql, struct ob_error *error)
{
	bool was_open = sqlite3_get_autocommit(db) == 0;
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? OB_OK : ob_writer_error(db, rc, was_open, error);
}

static void
savepoint_undo(sqlite3 *db)
{
	/* After errors at which SQLite itself ended the transaction there is none to undo. */
	if (sqlite3_get_autocommit(db) != 0)
		return;
	(void)sqlite3_exec(db, "ROLLBACK TO outbox_publish", NULL, NULL, NULL);
	(void)sqlite3_exec(db, "RELEASE outbox_publish", NULL, NULL, NULL);
}

static int
messages_write(sqlite3 *db, sqlite3_stmt *insert, const struct ob_new_message *messages,
	       size_t count, struct ob_message_id *ids, struct ob_error *error)
{
	int rc;

	if (count == 1) {
		rc = message_write(insert, messages, ids, error);
		return rc == OB_OK ? OB_OK : ob_outgoing_fail_at(error, 0, 1, rc);
	}
	rc = savepoint_run(db, "SAVEPOINT outbox_publish", error);
	if (rc != OB_OK)
		return ob_outgoing_fail_at(error, 0, 1, rc);
	for (size_t i = 0; i < count; i++) {
		rc = message_write(insert, &messages[i], ids == NULL ? NULL : &ids[i], error);
		if (rc != OB_OK) {
			savepoint_undo(db);
			return ob_outgoing_fail_at(error, i, count, rc);
		}
	}
	rc = savepoint_run(db, "RELEASE outbox_publish", error);
	if (rc != OB_OK) {
		savepoint_undo(db);
		return ob_outgoing_fail_at(error, 0, 1, rc);
	}
	return OB_OK;
}

int
ob_sqlite_publish(sqlite3 *db, const struct ob_new_message *messages, size_t count,
		  struct ob_message_id *ids, struct ob_error *error)
{
	sqlite3_stmt *insert = NULL;
	int rc = ob_outgoing_check_all(messages, count, error);

	if (rc != OB_OK || count == 0)
		return rc;
	rc = ob_writer_prepare(db, false, &insert, error);
	if (rc != OB_OK)
		return ob_outgoing_fail_at(error, 0, 1, rc);
	rc = messages_write(db, insert, messages, count, ids, error);
	(void)sqlite3_finalize(insert);
	return rc;
}

int
ob_sqlite_publisher_new(sqlite3 *db, struct ob_sqlite_publisher **publisher, struct ob_error *error)
{
	struct ob_sqlite_publisher *made = calloc(1, sizeof(*made));
	int rc;

	*publisher = NULL;
	if (made == NULL)
		return ob_error_set(error, OB_NOMEM, "publish: out of memory");
	made->db = db;
	rc = ob_writer_prepare(db, true, &made->insert, error);
	if (rc != OB_OK) {
		ob_sqlite_publisher_free(made);
		return ob_outgoing_fail_at(error, 0, 1, rc);
	}
	*publisher = made;
	return OB_OK;
}

int
ob_sqlite_publisher_publish(struct ob_sqlite_publisher *publisher,
			    const struct ob_new_message *messages, size_t count,
			    struct ob_message_id *ids, struct ob_error *error)
{
	int rc = ob_outgoing_check_all(messages, count, error);

	if (rc != OB_OK || count == 0)
		return rc;
	return messages_write(publisher->db, publisher->insert, messages, count, ids, error);
}

void
ob_sqlite_publisher_free(struct ob_sqlite_publisher *publisher)
{
	if (publisher == NULL)
		return;
	(void)sqlite3_finalize(publisher->insert);
	free(publisher);
}

int
ob_sqlite_message_check(const struct ob_new_message *message, struct ob_error *error)
{
	return ob_outgoing_check_all(message, 1, error);
}
