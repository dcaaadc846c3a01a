/*
 * Where a subscription is to go on by a person's word: a replay reads a stretch of the log once more, an adoption says that a database
 * that went back in time is meant.
 *
 * What the log has to be read for is found out before the transaction of the change, for which the application waits.
 */
#include <stdio.h>

#include "sqlite_change.h"

/* Of the log, read at once: some milliseconds of work. */
#define READ_ROWS 4096

/* What is found by reading the log. */
struct log_found {
	int64_t rows, position; /* of the first message with the id; 0: there is none */
};

/*
 * Reads the messages behind `after` and up to `end`, counts them, and looks for an id if there is one to be found. The log has no
 * index on ids, and may be long: so it is read outside of any transaction of ours, in short pieces, since in rollback mode the
 * application waits for a reader, too.
 */
static int
log_read(struct sqlite_changing *c, const char *id, int64_t after, int64_t end,
	 struct log_found *found, struct ob_error *error)
{
	static const char sql[] =
	    "SELECT count(*), max(seq), min(CASE WHEN id = ?1 THEN seq END) FROM (SELECT seq, id"
	    " FROM outbox_message WHERE seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4)";
	sqlite3_stmt *statement;
	int64_t rows = READ_ROWS;
	int code = ob_sqlite_prepare_text(c->store, sql, &statement, error), rc;

	if (code != OB_OK)
		return code;
	ob_sqlite_bind_string(statement, 1, id);
	sqlite3_bind_int64(statement, 3, end);
	sqlite3_bind_int64(statement, 4, READ_ROWS);
	while (code == OB_OK && rows == READ_ROWS && found->position == 0) {
		sqlite3_bind_int64(statement, 2, after);
		rc = sqlite3_step(statement);
		if (rc == SQLITE_ROW) {
			rows = sqlite3_column_int64(statement, 0);
			after = sqlite3_column_int64(statement, 1);
			found->position = sqlite3_column_int64(statement, 2);
			found->rows += rows;
		} else {
			code = ob_sqlite_fail(c->store, rc, "change", error);
		}
		sqlite3_reset(statement);
	}
	sqlite3_finalize(statement);
	return code;
}

static int
position_of_id(struct sqlite_changing *c, const char *id, int64_t *position, struct ob_error *error)
{
	struct log_found found = {0};
	int code = log_read(c, id, 0, INT64_MAX, &found, error);

	*position = found.position;
	if (code == OB_OK && found.position == 0)
		code =
		    ob_error_set(error, OB_NOT_FOUND, "%s: no message in the log has the id '%s'",
				 c->store->name, id);
	return code;
}

/*
 * The first message that was created in the last `since_ms`, found by halving: created_at rises
 * with seq, but for clocks that were set, where the answer is about right.
 */
static int
position_since(struct sqlite_changing *c, int64_t since_ms, int64_t *position,
	       struct ob_error *error)
{
	static const char young[] =
	    "SELECT created_at >= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?1) FROM outbox_message"
	    " WHERE seq >= ?2 ORDER BY seq LIMIT 1";
	int64_t low = 0, high = 0, is_young = 0;
	char age[48];
	int code = ob_sqlite_change_number(c, "SELECT min(seq) FROM outbox_message", NULL, 0, 0,
					   &low, error);

	if (code == OB_OK)
		code = ob_sqlite_change_number(c, "SELECT max(seq) + 1 FROM outbox_message", NULL,
					       0, 0, &high, error);
	snprintf(age, sizeof(age), "-%lld.%03d seconds", (long long)(since_ms / 1000),
		 (int)(since_ms % 1000));
	while (code == OB_OK && low < high) {
		int64_t middle = low + (high - low) / 2;

		code = ob_sqlite_change_number(c, young, age, middle, 1, &is_young, error);
		if (is_young != 0)
			high = middle;
		else
			low = middle + 1;
	}
	*position = low;
	return code;
}

/* From where on, and how many messages that is. */
static int
replay_look(struct sqlite_changing *c, struct ob_error *error)
{
	struct log_found found = {0};
	int64_t end;
	int code = OB_OK;

	c->from = 1;
	if (c->change->from_id != NULL)
		code = position_of_id(c, c->change->from_id, &c->from, error);
	else if (c->change->since_ms >= 0)
		code = position_since(c, c->change->since_ms, &c->from, error);
	if (code == OB_OK)
		code = ob_sqlite_change_number(
		    c, "SELECT position FROM outbox_checkpoint WHERE subscription = ?1",
		    c->change->selection.subscription, 0, 0, &end, error);
	if (code == OB_OK)
		code = log_read(c, NULL, c->from - 1, end, &found, error);
	c->count = (uint64_t)found.rows;
	return code;
}

int
ob_sqlite_replay(struct sqlite_changing *c, struct ob_error *error)
{
	/* A replay that is not over yet is taken in. */
	int code = ob_sqlite_change_run(
	    c,
	    "UPDATE outbox_checkpoint SET replay_end = position, replay_position ="
	    " CASE WHEN replay_position < ?2 THEN replay_position ELSE ?2 END"
	    " WHERE subscription = ?1",
	    c->from - 1, 0, 0, error);

	return code == OB_OK ? ob_sqlite_change_epoch(c, error) : code;
}

/* The highest number that a message of the log was ever given. */
static int
log_numbers(struct sqlite_changing *c, int64_t *numbers, struct ob_error *error)
{
	return ob_sqlite_change_number(
	    c,
	    "SELECT max((SELECT coalesce(max(seq), 0) FROM outbox_message),"
	    " (SELECT coalesce(max(seq), 0) FROM sqlite_sequence"
	    " WHERE name = 'outbox_message'))",
	    NULL, 0, 0, numbers, error);
}

/* A checkpoint behind numbers that are given out anew would pass over the messages that get them. */
static int
checkpoint_check(struct sqlite_changing *c, struct ob_error *error)
{
	int64_t numbers, beyond;
	int code = log_numbers(c, &numbers, error);

	if (code == OB_OK)
		code = ob_sqlite_change_number(
		    c,
		    "SELECT count(*) FROM outbox_checkpoint"
		    " WHERE (?1 IS NULL OR subscription = ?1) AND position > ?2",
		    c->change->selection.subscription, numbers, 0, &beyond, error);
	if (code == OB_OK && beyond > 0)
		code = ob_error_set(
		    error, OB_INVALID,
		    "%s: the log gives out numbers again that its checkpoints have passed: "
		    "go on from the beginning, from now or from an id",
		    c->store->name);
	return code;
}

/* Where to go on. */
static int
adopt_position(struct sqlite_changing *c, struct ob_error *error)
{
	int64_t position = 0;
	int code = OB_OK;

	if (c->change->from_id != NULL)
		position = c->from - 1;
	else if (c->change->from_now)
		code = log_numbers(c, &position, error);
	if (code != OB_OK)
		return code;
	return ob_sqlite_change_run(
	    c,
	    "UPDATE outbox_checkpoint SET position = ?2, replay_position = NULL,"
	    " replay_end = NULL WHERE ?1 IS NULL OR subscription = ?1",
	    position, 0, 0, error);
}

int
ob_sqlite_adopt(struct sqlite_changing *c, struct ob_error *error)
{
	int code = ob_sqlite_now(c->store, &c->now_ms, error);

	if (code == OB_OK)
		code = c->change->from_checkpoint ? checkpoint_check(c, error)
						  : adopt_position(c, error);
	if (code != OB_OK)
		return code;
	/* A clock that was set back must not make it look like an adoption of the past. */
	code = ob_sqlite_change_run(
	    c,
	    "UPDATE outbox_lease SET epoch = epoch + 1, holder = '', owner = '', expires_at = 0,"
	    " adopted_at = max(adopted_at + 1, ?2), refused_by = '', refused_code = '',"
	    " refused_text = '', refused_since = 0, refused_at = 0"
	    " WHERE ?1 IS NULL OR subscription = ?1",
	    c->now_ms, 0, 0, error);
	c->count = (uint64_t)sqlite3_changes(c->store->db);
	return code;
}

int
ob_sqlite_replay_look(struct sqlite_changing *c, bool *done, struct ob_error *error)
{
	int code = OB_OK;

	*done = false;
	if (c->change->kind == OB_CHANGE_REPLAY) {
		code = replay_look(c, error);
		*done = c->change->dry_run || c->count == 0;
	} else if (c->change->kind == OB_CHANGE_ADOPT && c->change->from_id != NULL) {
		code = position_of_id(c, c->change->from_id, &c->from, error);
	}
	return code;
}
