/*
 * What a person changes. Each change raises the epoch in the transaction that makes it, so that no settle
 * in flight writes over it.
 *
 * Many rows are changed a short transaction at a time: the application waits for it like for any writer. A retry
 * or discard of a whole list can so end halfway; what is done is done, and the same call again does the rest.
 * What the log has to be read for is found out before the transaction.
 */
#include <stdio.h>
#include <string.h>

#include "sqlite_store.h"
#include "text.h"

#define CHUNK_ROWS 256
#define CHUNK_MS   10
/* Of the log, read at once: some milliseconds of work. */
#define READ_ROWS 4096

#define COPIED \
	"id, topic, partition_key, type, content_type, headers, created_at, payload_bytes, payload"

struct changing {
	struct sqlite_store *store;
	const struct ob_change *change;
	int64_t now_ms;
	int64_t from; /* REPLAY, ADOPT: of the message to go on with */
	uint64_t count;
};

/* One row that a person means. */
struct meant {
	int64_t rowid, position, lane;
};

/* Runs a statement with up to four numbers behind the subscription (?1). */
static int
run_numbers(struct changing *c, const char *sql, int64_t a, int64_t b, int64_t d,
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

static int
epoch_raise(struct changing *c, struct ob_error *error)
{
	return run_numbers(c, "UPDATE outbox_lease SET epoch = epoch + 1 WHERE subscription = ?1",
			   0, 0, 0, error);
}

static int
lane_promote(struct changing *c, int64_t lane, int64_t gone, struct ob_error *error)
{
	if (lane == 0)
		return OB_OK;
	return run_numbers(c, ob_sqlite_statement_texts[SQL_PROMOTE], lane, gone, c->now_ms, error);
}

/* ---- retry and discard ---- */

static int
parked_retry(struct changing *c, const struct meant *row, struct ob_error *error)
{
	return run_numbers(
	    c, "UPDATE outbox_parked SET due_at = ?3 WHERE rowid = ?2 AND subscription = ?1",
	    row->rowid, c->now_ms, 0, error);
}

/*
 * A dead row goes back with its tries shown but not counted, or age would bury it at once. In its key it
 * takes its old place: the lowest position becomes the head.
 */
static int
dead_retry(struct changing *c, const struct meant *row, struct ob_error *error)
{
	int limit = sqlite3_limit(c->store->db, SQLITE_LIMIT_LENGTH, INT32_MAX);
	int code = run_numbers(
	    c,
	    "INSERT OR IGNORE INTO outbox_parked (subscription, position, lane, scheduled, head, due_at,"
	    " attempts, first_try_at, parked_at, code, text, tries, " COPIED ")"
	    " SELECT subscription, position, lane, 0, lane = 0, ?3, 0, NULL, ?3, code, text, tries, " COPIED
	    " FROM outbox_dead WHERE rowid = ?2 AND subscription = ?1",
	    row->rowid, c->now_ms, 0, error);

	sqlite3_limit(c->store->db, SQLITE_LIMIT_LENGTH, limit);
	if (code == OB_OK)
		code =
		    run_numbers(c, "DELETE FROM outbox_dead WHERE rowid = ?2 AND subscription = ?1",
				row->rowid, 0, 0, error);
	if (code == OB_OK && row->lane != 0)
		code = run_numbers(c, ob_sqlite_statement_texts[SQL_HOLD_BACK], row->lane, 0, 0,
				   error);
	return code == OB_OK ? lane_promote(c, row->lane, INT64_MAX, error) : code;
}

static int
parked_discard(struct changing *c, const struct meant *row, struct ob_error *error)
{
	int code =
	    run_numbers(c, "DELETE FROM outbox_parked WHERE rowid = ?2 AND subscription = ?1",
			row->rowid, 0, 0, error);

	return code == OB_OK ? lane_promote(c, row->lane, row->position, error) : code;
}

static int
dead_discard(struct changing *c, const struct meant *row, struct ob_error *error)
{
	int code = run_numbers(c, "DELETE FROM outbox_dead WHERE rowid = ?2 AND subscription = ?1",
			       row->rowid, 0, 0, error);

	return code == OB_OK ? lane_promote(c, row->lane, row->position, error) : code;
}

struct action {
	const char *select; /* rowid, position and lane of the rows that are meant */
	const char *count;
	int (*apply)(struct changing *c, const struct meant *row, struct ob_error *error);
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
rows_left(const struct changing *c)
{
	uint32_t max = c->change->selection.count_max;

	return max == 0 ? INT64_MAX : (int64_t)max - (int64_t)c->count;
}

/* The next rows that are meant; read to the end before any of them is changed. */
static int
chunk_read(struct changing *c, const struct action *action, int64_t after, struct meant *rows,
	   size_t *count, struct ob_error *error)
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
chunk_apply(struct changing *c, const struct action *action, int64_t *after, bool *done,
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
		code = epoch_raise(c, error);
	if (code == OB_OK)
		c->count += i;
	return code;
}

static int
action_count(struct changing *c, const struct action *action, struct ob_error *error)
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
action_run(struct changing *c, const struct action *action, struct ob_error *error)
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
change_rows(struct changing *c, const struct action *waiting, const struct action *scheduled,
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

/* ---- pause, replay, adopt ---- */

static int
change_paused(struct changing *c, bool paused, struct ob_error *error)
{
	int code = run_numbers(
	    c, "UPDATE outbox_subscription SET paused = ?2 WHERE name = ?1 AND paused <> ?2",
	    paused, 0, 0, error);

	if (code != OB_OK)
		return code;
	c->count = (uint64_t)sqlite3_changes(c->store->db);
	return c->count == 0 ? OB_OK : epoch_raise(c, error);
}

static int
number_of(struct changing *c, const char *sql, const char *text, int64_t a, int64_t if_none,
	  int64_t *value, struct ob_error *error)
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
log_read(struct changing *c, const char *id, int64_t after, int64_t end, struct log_found *found,
	 struct ob_error *error)
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
position_of_id(struct changing *c, const char *id, int64_t *position, struct ob_error *error)
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
position_since(struct changing *c, int64_t since_ms, int64_t *position, struct ob_error *error)
{
	static const char young[] =
	    "SELECT created_at >= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?1) FROM outbox_message"
	    " WHERE seq >= ?2 ORDER BY seq LIMIT 1";
	int64_t low = 0, high = 0, is_young = 0;
	char age[48];
	int code = number_of(c, "SELECT min(seq) FROM outbox_message", NULL, 0, 0, &low, error);

	if (code == OB_OK)
		code = number_of(c, "SELECT max(seq) + 1 FROM outbox_message", NULL, 0, 0, &high,
				 error);
	snprintf(age, sizeof(age), "-%lld.%03d seconds", (long long)(since_ms / 1000),
		 (int)(since_ms % 1000));
	while (code == OB_OK && low < high) {
		int64_t middle = low + (high - low) / 2;

		code = number_of(c, young, age, middle, 1, &is_young, error);
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
replay_look(struct changing *c, struct ob_error *error)
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
		code =
		    number_of(c, "SELECT position FROM outbox_checkpoint WHERE subscription = ?1",
			      c->change->selection.subscription, 0, 0, &end, error);
	if (code == OB_OK)
		code = log_read(c, NULL, c->from - 1, end, &found, error);
	c->count = (uint64_t)found.rows;
	return code;
}

static int
change_replay(struct changing *c, struct ob_error *error)
{
	/* A replay that is not over yet is taken in. */
	int code =
	    run_numbers(c,
			"UPDATE outbox_checkpoint SET replay_end = position, replay_position ="
			" CASE WHEN replay_position < ?2 THEN replay_position ELSE ?2 END"
			" WHERE subscription = ?1",
			c->from - 1, 0, 0, error);

	return code == OB_OK ? epoch_raise(c, error) : code;
}

/* The highest number that a message of the log was ever given. */
static int
log_numbers(struct changing *c, int64_t *numbers, struct ob_error *error)
{
	return number_of(c,
			 "SELECT max((SELECT coalesce(max(seq), 0) FROM outbox_message),"
			 " (SELECT coalesce(max(seq), 0) FROM sqlite_sequence"
			 " WHERE name = 'outbox_message'))",
			 NULL, 0, 0, numbers, error);
}

/* A checkpoint behind numbers that are given out anew would pass over the messages that get them. */
static int
checkpoint_check(struct changing *c, struct ob_error *error)
{
	int64_t numbers, beyond;
	int code = log_numbers(c, &numbers, error);

	if (code == OB_OK)
		code = number_of(c,
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
adopt_position(struct changing *c, struct ob_error *error)
{
	int64_t position = 0;
	int code = OB_OK;

	if (c->change->from_id != NULL)
		position = c->from - 1;
	else if (c->change->from_now)
		code = log_numbers(c, &position, error);
	if (code != OB_OK)
		return code;
	return run_numbers(c,
			   "UPDATE outbox_checkpoint SET position = ?2, replay_position = NULL,"
			   " replay_end = NULL WHERE ?1 IS NULL OR subscription = ?1",
			   position, 0, 0, error);
}

/* Says that this database is meant, to the relay of one subscription or of each. */
static int
change_adopt(struct changing *c, struct ob_error *error)
{
	int code = ob_sqlite_now(c->store, &c->now_ms, error);

	if (code == OB_OK)
		code = c->change->from_checkpoint ? checkpoint_check(c, error)
						  : adopt_position(c, error);
	if (code != OB_OK)
		return code;
	/* A clock that was set back must not make it look like an adoption of the past. */
	code = run_numbers(
	    c,
	    "UPDATE outbox_lease SET epoch = epoch + 1, holder = '', owner = '', expires_at = 0,"
	    " adopted_at = max(adopted_at + 1, ?2), refused_by = '', refused_code = '',"
	    " refused_text = '', refused_since = 0, refused_at = 0"
	    " WHERE ?1 IS NULL OR subscription = ?1",
	    c->now_ms, 0, 0, error);
	c->count = (uint64_t)sqlite3_changes(c->store->db);
	return code;
}

/* ---- the call ---- */

/* What takes long, before the application would have to wait for it. `*done`: there is nothing to write. */
static int
change_look(struct changing *c, bool *done, struct ob_error *error)
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

static int
change_write(struct changing *c, struct ob_error *error)
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
		code = change_replay(c, error);
		break;
	case OB_CHANGE_ADOPT:
		code = change_adopt(c, error);
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
change_once(struct changing *c, struct ob_error *error)
{
	bool done;
	int code = change_look(c, &done, error);

	if (code == OB_OK && !done)
		code = change_write(c, error);
	if (code != OB_OK)
		c->count = 0;
	return code;
}

static int
subscription_exists(struct changing *c, struct ob_error *error)
{
	const char *name = c->change->selection.subscription;
	int64_t found = 0;
	int code;

	if (name == NULL)
		return c->change->kind == OB_CHANGE_ADOPT
			   ? OB_OK
			   : ob_error_set(error, OB_INVALID, "a subscription must be named");
	code = number_of(c, "SELECT 1 FROM outbox_subscription WHERE name = ?1", name, 0, 0, &found,
			 error);
	if (code == OB_OK && found == 0)
		code = ob_error_set(error, OB_NOT_FOUND, "%s: there is no subscription '%s'",
				    c->store->name, name);
	return code;
}

int
ob_sqlite_change(struct ob_store *base, const struct ob_change *change, uint64_t *count,
		 struct ob_error *error)
{
	struct changing c = {.store = (struct sqlite_store *)(void *)base, .change = change};
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
