/*
 * What a person changes. Each change raises the epoch in the transaction that makes it, so that no settle
 * in flight writes over it.
 *
 * Many rows are changed a short transaction at a time: the application waits for it like for any writer. A retry
 * or discard of a whole list can so end halfway; what is done is done, and the same call again does the rest.
 */
#include "sqlite_change.h"

#define CHUNK_ROWS 256
#define CHUNK_MS   10

#define COPIED \
	"id, topic, partition_key, type, content_type, headers, created_at, payload_bytes, payload"

/* One row that a person means. */
struct meant {
	int64_t rowid, position, lane;
};

int
ob_sqlite_change_run(struct sqlite_changing *c, const char *sql, int64_t a, int64_t b, int64_t d,
		     struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare_text(c->store, sql, &statement, error);

	if (code != OB_OK)
		return code;
	ob_sqlite_bind_string(statement, 1, c->change->selection.subscription);
	sqlite3_bind_int64(statement, 2, a);
	sqlite3_bind_int64(statement, 3, b);
	sqlite3_bind_int64(statement, 4, d);
	code = ob_sqlite_run(c->store, statement, "change", error);
	sqlite3_finalize(statement);
	return code;
}

int
ob_sqlite_change_number(struct sqlite_changing *c, const char *sql, const char *text, int64_t a,
			int64_t if_none, int64_t *value, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare_text(c->store, sql, &statement, error);

	if (code != OB_OK)
		return code;
	ob_sqlite_bind_string(statement, 1, text);
	sqlite3_bind_int64(statement, 2, a);
	code = ob_sqlite_number(c->store, statement, if_none, value, error);
	sqlite3_finalize(statement);
	return code;
}

int
ob_sqlite_change_epoch(struct sqlite_changing *c, struct ob_error *error)
{
	return ob_sqlite_change_run(
	    c, "UPDATE outbox_lease SET epoch = epoch + 1 WHERE subscription = ?1", 0, 0, 0, error);
}

static int
lane_promote(struct sqlite_changing *c, int64_t lane, int64_t gone, struct ob_error *error)
{
	if (lane == 0)
		return OB_OK;
	return ob_sqlite_change_run(c, ob_sqlite_statement_texts[SQL_PROMOTE], lane, gone,
				    c->now_ms, error);
}

/* ---- retry and discard ---- */

static int
parked_retry(struct sqlite_changing *c, const struct meant *row, struct ob_error *error)
{
	return ob_sqlite_change_run(
	    c, "UPDATE outbox_parked SET due_at = ?3 WHERE rowid = ?2 AND subscription = ?1",
	    row->rowid, c->now_ms, 0, error);
}

/*
 * A dead row goes back with its tries shown but not counted, or age would bury it at once. In its key it
 * takes its old place: the lowest position becomes the head.
 */
static int
dead_retry(struct sqlite_changing *c, const struct meant *row, struct ob_error *error)
{
	int limit = sqlite3_limit(c->store->db, SQLITE_LIMIT_LENGTH, INT32_MAX);
	int code = ob_sqlite_change_run(
	    c,
	    "INSERT OR IGNORE INTO outbox_parked (subscription, position, lane, scheduled, head, due_at,"
	    " attempts, first_try_at, parked_at, code, text, tries, " COPIED ")"
	    " SELECT subscription, position, lane, 0, lane = 0, ?3, 0, NULL, ?3, code, text, tries, " COPIED
	    " FROM outbox_dead WHERE rowid = ?2 AND subscription = ?1",
	    row->rowid, c->now_ms, 0, error);

	sqlite3_limit(c->store->db, SQLITE_LIMIT_LENGTH, limit);
	if (code == OB_OK)
		code = ob_sqlite_change_run(
		    c, "DELETE FROM outbox_dead WHERE rowid = ?2 AND subscription = ?1", row->rowid,
		    0, 0, error);
	if (code == OB_OK && row->lane != 0)
		code = ob_sqlite_change_run(c, ob_sqlite_statement_texts[SQL_HOLD_BACK], row->lane,
					    0, 0, error);
	return code == OB_OK ? lane_promote(c, row->lane, INT64_MAX, error) : code;
}

static int
parked_discard(struct sqlite_changing *c, const struct meant *row, struct ob_error *error)
{
	int code = ob_sqlite_change_run(
	    c, "DELETE FROM outbox_parked WHERE rowid = ?2 AND subscription = ?1", row->rowid, 0, 0,
	    error);

	return code == OB_OK ? lane_promote(c, row->lane, row->position, error) : code;
}

static int
dead_discard(struct sqlite_changing *c, const struct meant *row, struct ob_error *error)
{
	int code = ob_sqlite_change_run(
	    c, "DELETE FROM outbox_dead WHERE rowid = ?2 AND subscription = ?1", row->rowid, 0, 0,
	    error);

	return code == OB_OK ? lane_promote(c, row->lane, row->position, error) : code;
}

struct action {
	const char *select; /* rowid, position and lane of the rows that are meant */
	const char *count;
	int (*apply)(struct sqlite_changing *c, const struct meant *row, struct ob_error *error);
};

#define PARKED_WHERE \
	" FROM outbox_parked WHERE subscription = ?1 AND position > ?2 AND " OB_SQLITE_SELECTED
#define DEAD_WHERE \
	" FROM outbox_dead WHERE subscription = ?1 AND position > ?2 AND " OB_SQLITE_SELECTED
#define IN_ORDER " ORDER BY position LIMIT ?3"
#define ROW      "SELECT rowid, position, lane"

static const struct action retry_waiting = {
    ROW PARKED_WHERE " AND head = 1 AND scheduled = 0" IN_ORDER,
    "SELECT count(*)" PARKED_WHERE " AND head = 1 AND scheduled = 0", parked_retry};
static const struct action retry_scheduled = {ROW PARKED_WHERE " AND scheduled = 1" IN_ORDER,
					      "SELECT count(*)" PARKED_WHERE " AND scheduled = 1",
					      parked_retry};
static const struct action retry_dead = {ROW DEAD_WHERE IN_ORDER, "SELECT count(*)" DEAD_WHERE,
					 dead_retry};
static const struct action discard_waiting = {ROW PARKED_WHERE " AND scheduled = 0" IN_ORDER,
					      "SELECT count(*)" PARKED_WHERE " AND scheduled = 0",
					      parked_discard};
static const struct action discard_scheduled = {ROW PARKED_WHERE " AND scheduled = 1" IN_ORDER,
						"SELECT count(*)" PARKED_WHERE " AND scheduled = 1",
						parked_discard};
static const struct action discard_dead = {ROW DEAD_WHERE IN_ORDER, "SELECT count(*)" DEAD_WHERE,
					   dead_discard};

/* How many more rows the selection allows. */
static int64_t
rows_left(const struct sqlite_changing *c)
{
	uint32_t max = c->change->selection.count_max;

	return max == 0 ? INT64_MAX : (int64_t)max - (int64_t)c->count;
}

/* The next rows that are meant; read to the end before any of them is changed. */
static int
chunk_read(struct sqlite_changing *c, const struct action *action, int64_t after,
	   struct meant *rows, size_t *count, struct ob_error *error)
{
	int64_t limit = rows_left(c) < CHUNK_ROWS ? rows_left(c) : CHUNK_ROWS;
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare_text(c->store, action->select, &statement, error), rc;

	*count = 0;
	if (code != OB_OK)
		return code;
	ob_sqlite_selection_bind(statement, &c->change->selection, after, limit);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		rows[(*count)++] = (struct meant){
		    .rowid = sqlite3_column_int64(statement, 0),
		    .position = sqlite3_column_int64(statement, 1),
		    .lane = sqlite3_column_int64(statement, 2),
		};
	}
	if (rc != SQLITE_DONE)
		code = ob_sqlite_fail(c->store, rc, "change", error);
	sqlite3_finalize(statement);
	return code;
}

/* One transaction's worth. `*after` moves on; `*done` when nothing is left. */
static int
chunk_apply(struct sqlite_changing *c, const struct action *action, int64_t *after, bool *done,
	    struct ob_error *error)
{
	const struct ob_host *host = c->store->base.host;
	int64_t until_us = host->monotonic_us(host->context) + CHUNK_MS * 1000;
	struct meant rows[CHUNK_ROWS];
	size_t count, i;
	int code = ob_sqlite_now(c->store, &c->now_ms, error);

	if (code == OB_OK)
		code = chunk_read(c, action, *after, rows, &count, error);
	if (code != OB_OK)
		return code;
	*done = count < CHUNK_ROWS;
	for (i = 0; i < count && code == OB_OK; i++) {
		code = action->apply(c, &rows[i], error);
		*after = rows[i].position;
		if (host->monotonic_us(host->context) >= until_us && i + 1 < count) {
			*done = false;
			i++;
			break;
		}
	}
	if (code == OB_OK && i > 0)
		code = ob_sqlite_change_epoch(c, error);
	if (code == OB_OK)
		c->count += i;
	return code;
}

static int
action_count(struct sqlite_changing *c, const struct action *action, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int64_t count = 0;
	int code = ob_sqlite_prepare_text(c->store, action->count, &statement, error);

	if (code != OB_OK)
		return code;
	ob_sqlite_selection_bind(statement, &c->change->selection,
				 c->change->selection.position_after, 0);
	code = ob_sqlite_number(c->store, statement, 0, &count, error);
	sqlite3_finalize(statement);
	if (count > rows_left(c))
		count = rows_left(c);
	c->count += (uint64_t)count;
	return code;
}

static int
action_run(struct sqlite_changing *c, const struct action *action, struct ob_error *error)
{
	int64_t after = c->change->selection.position_after;
	bool done = false;
	int code = OB_OK;

	if (c->change->dry_run)
		return action_count(c, action, error);
	while (code == OB_OK && !done && rows_left(c) > 0) {
		code = ob_sqlite_begin_write(c->store, error);
		if (code == OB_OK)
			code = ob_sqlite_end(c->store, chunk_apply(c, action, &after, &done, error),
					     error);
	}
	return code;
}

static int
change_rows(struct sqlite_changing *c, const struct action *waiting, const struct action *scheduled,
	    const struct action *dead, struct ob_error *error)
{
	enum ob_place place = c->change->selection.place;
	int code = OB_OK;

	if (place == 0 || place == OB_PLACE_PARKED)
		code = action_run(c, waiting, error);
	if (code == OB_OK && (place == 0 || place == OB_PLACE_SCHEDULED))
		code = action_run(c, scheduled, error);
	if (code == OB_OK && (place == 0 || place == OB_PLACE_DEAD))
		code = action_run(c, dead, error);
	return code;
}

static int
change_paused(struct sqlite_changing *c, bool paused, struct ob_error *error)
{
	int code = ob_sqlite_change_run(
	    c, "UPDATE outbox_subscription SET paused = ?2 WHERE name = ?1 AND paused <> ?2",
	    paused, 0, 0, error);

	if (code != OB_OK)
		return code;
	c->count = (uint64_t)sqlite3_changes(c->store->db);
	return c->count == 0 ? OB_OK : ob_sqlite_change_epoch(c, error);
}

/* ---- the call ---- */

static int
change_write(struct sqlite_changing *c, struct ob_error *error)
{
	int code = ob_sqlite_begin_write(c->store, error);

	if (code != OB_OK)
		return code;
	switch (c->change->kind) {
	case OB_CHANGE_PAUSE:
	case OB_CHANGE_RESUME:
		code = change_paused(c, c->change->kind == OB_CHANGE_PAUSE, error);
		break;
	case OB_CHANGE_REPLAY:
		code = ob_sqlite_replay(c, error);
		break;
	case OB_CHANGE_ADOPT:
		code = ob_sqlite_adopt(c, error);
		break;
	default:
		code = ob_error_set(error, OB_INVALID, "unknown change %d", (int)c->change->kind);
	}
	if (c->change->dry_run && code == OB_OK) {
		/* Counted by doing it, and taken back. */
		return ob_sqlite_end(c->store, OB_BUSY, NULL) == OB_BUSY ? OB_OK : OB_FAILED;
	}
	return ob_sqlite_end(c->store, code, error);
}

/* The changes that are one short transaction: done, or nothing is. */
static int
change_once(struct sqlite_changing *c, struct ob_error *error)
{
	bool done;
	int code = ob_sqlite_replay_look(c, &done, error);

	if (code == OB_OK && !done)
		code = change_write(c, error);
	if (code != OB_OK)
		c->count = 0;
	return code;
}

static int
subscription_exists(struct sqlite_changing *c, struct ob_error *error)
{
	const char *name = c->change->selection.subscription;
	int64_t found = 0;
	int code;

	if (name == NULL)
		return c->change->kind == OB_CHANGE_ADOPT
			   ? OB_OK
			   : ob_error_set(error, OB_INVALID, "a subscription must be named");
	code = ob_sqlite_change_number(c, "SELECT 1 FROM outbox_subscription WHERE name = ?1", name,
				       0, 0, &found, error);
	if (code == OB_OK && found == 0)
		code = ob_error_set(error, OB_NOT_FOUND, "%s: there is no subscription '%s'",
				    c->store->name, name);
	return code;
}

int
ob_sqlite_change(struct ob_store *base, const struct ob_change *change, uint64_t *count,
		 struct ob_error *error)
{
	struct sqlite_changing c = {.store = (struct sqlite_store *)(void *)base, .change = change};
	int code = ob_sqlite_schema_check(c.store, error);

	if (code == OB_OK)
		code = ob_sqlite_selection_check(&change->selection, error);
	if (code == OB_OK)
		code = subscription_exists(&c, error);
	if (code != OB_OK)
		return code;
	if (change->kind == OB_CHANGE_RETRY)
		code = change_rows(&c, &retry_waiting, &retry_scheduled, &retry_dead, error);
	else if (change->kind == OB_CHANGE_DISCARD)
		code = change_rows(&c, &discard_waiting, &discard_scheduled, &discard_dead, error);
	else
		code = change_once(&c, error);
	*count = c.count;
	return code;
}
