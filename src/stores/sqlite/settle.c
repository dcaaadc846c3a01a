/*
 * Writing outcomes: one short write transaction, fenced.
 *
 * Nothing is copied through this program: parked and dead rows take their copy of the message from the log by
 * INSERT ... SELECT. With most settles only the checkpoint's row changes.
 *
 * The order inside: rows are parked and buried first and rows that are done go; only then the lanes that
 * lost their head get a new one, so that the outcomes of one run may come in any order.
 *
 * The application waits for the write lock, so the store says how much may be in one settle: a transaction of that
 * takes some milliseconds. It is never done in parts: a message that was parked by one of them, and refused by the next, would be tried
 * from both places.
 *
 * A settle that a power cut takes back (synchronous=NORMAL in WAL mode) means duplicates of what its window
 * held, and those alone: the checkpoint and the rows that it speaks of vanish together.
 */
#include <stdio.h>
#include <string.h>

#include "checks.h"
#include "crash.h"
#include "sqlite_store.h"
#include "tries.h"

struct settling {
	struct sqlite_store *store;
	int64_t now_ms;
	struct ob_buf tries;
};

static int
tries_make(struct settling *s, const char *kept, const struct ob_outcome *outcome,
	   struct ob_error *error)
{
	if (ob_tries_append(&s->tries, kept, outcome->tries, outcome->try_count, s->now_ms * 1000))
		return OB_OK;
	return ob_error_set(error, OB_NOMEM, "%s: out of memory", s->store->name);
}

/* code, text and tries, as three parameters from `at` on. */
static void
reason_bind(struct settling *s, sqlite3_stmt *statement, int at, const struct ob_outcome *outcome)
{
	const struct ob_try *last =
	    outcome->try_count == 0 ? NULL : &outcome->tries[outcome->try_count - 1];

	ob_sqlite_bind_string(statement, at, last == NULL ? "" : last->code);
	ob_sqlite_bind_string(statement, at + 1, last == NULL ? "" : last->text);
	sqlite3_bind_text(statement, at + 2, ob_buf_text(&s->tries), (int)s->tries.size,
			  SQLITE_STATIC);
}

static void
first_try_bind(struct settling *s, sqlite3_stmt *statement, int at,
	       const struct ob_outcome *outcome)
{
	if (outcome->age_ms > 0 || outcome->attempts > 0)
		sqlite3_bind_int64(statement, at, s->now_ms - outcome->age_ms);
	else
		sqlite3_bind_null(statement, at);
}

/*
 * Copies a row of the log. A payload above the limit stays where it is, and the copy notes its size: it is
 * tried first as any other, because SQLite's own limit tells without reading it.
 */
static int
log_row_copy(struct settling *s, sqlite3_stmt *statement, int64_t position, int payload_bytes_at,
	     struct ob_error *error)
{
	struct sqlite_store *store = s->store;
	sqlite3_blob *blob = NULL;
	char text[160];
	int rc = sqlite3_step(statement);

	if (rc == SQLITE_TOOBIG) {
		sqlite3_reset(statement);
		rc = sqlite3_blob_open(store->db, "main", "outbox_message", "payload", position, 0,
				       &blob);
		if (rc == SQLITE_OK) {
			sqlite3_bind_int64(statement, payload_bytes_at, sqlite3_blob_bytes(blob));
			sqlite3_blob_close(blob);
			rc = sqlite3_step(statement);
		}
	}
	sqlite3_reset(statement);
	if (rc != SQLITE_DONE)
		return ob_sqlite_fail(store, rc, "settle", error);
	if (sqlite3_changes(store->db) == 0) {
		snprintf(text, sizeof(text),
			 "message %lld is no longer in the log, or waits already",
			 (long long)position);
		store->base.host->log(store->base.host->context, OB_LOG_DEBUG, text);
	}
	return OB_OK;
}

static int
outcome_park(struct settling *s, const struct ob_outcome *outcome, int64_t position,
	     struct ob_error *error)
{
	sqlite3_stmt *statement;
	bool behind = outcome->kind == OB_OUTCOME_BEHIND;
	bool scheduled = outcome->kind == OB_OUTCOME_SCHEDULE;
	int code = tries_make(s, NULL, outcome, error);

	if (code == OB_OK)
		code = ob_sqlite_prepare(s->store, SQL_PARK, &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, s->store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, position);
	sqlite3_bind_int64(statement, 3, scheduled ? 0 : (int64_t)outcome->lane);
	sqlite3_bind_int(statement, 4, scheduled);
	sqlite3_bind_int(statement, 5, !behind);
	if (!behind)
		sqlite3_bind_int64(statement, 6, s->now_ms + outcome->due_in_ms);
	sqlite3_bind_int64(statement, 7, outcome->attempts);
	first_try_bind(s, statement, 8, outcome);
	sqlite3_bind_int64(statement, 9, s->now_ms);
	reason_bind(s, statement, 10, outcome);
	return log_row_copy(s, statement, position, 13, error);
}

static int
outcome_die(struct settling *s, const struct ob_outcome *outcome, int64_t position,
	    struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = tries_make(s, NULL, outcome, error);

	OB_CRASH_POINT("C10");
	if (code == OB_OK)
		code = ob_sqlite_prepare(s->store, SQL_DEAD_FROM_LOG, &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, s->store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, position);
	sqlite3_bind_int64(statement, 3, (int64_t)outcome->lane);
	sqlite3_bind_int(statement, 4, outcome->kind == OB_OUTCOME_DEAD_HOLD);
	sqlite3_bind_int64(statement, 5, outcome->attempts);
	first_try_bind(s, statement, 6, outcome);
	sqlite3_bind_int64(statement, 7, s->now_ms);
	reason_bind(s, statement, 8, outcome);
	return log_row_copy(s, statement, position, 11, error);
}

/* The tries that a parked row has had; `*found` is false when a person discarded it meanwhile. */
static int
parked_tries(struct settling *s, const struct ob_outcome *outcome, bool *found,
	     struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare(s->store, SQL_PARKED_TRIES, &statement, error), rc;

	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, s->store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, outcome->position);
	rc = sqlite3_step(statement);
	*found = rc == SQLITE_ROW;
	if (rc == SQLITE_ROW)
		code =
		    tries_make(s, (const char *)sqlite3_column_text(statement, 0), outcome, error);
	else if (rc != SQLITE_DONE)
		code = ob_sqlite_fail(s->store, rc, "settle", error);
	sqlite3_reset(statement);
	return code;
}

static int
outcome_repark(struct settling *s, const struct ob_outcome *outcome, struct ob_error *error)
{
	sqlite3_stmt *statement;
	bool found;
	int code = parked_tries(s, outcome, &found, error);

	if (code != OB_OK || !found)
		return code;
	code = ob_sqlite_prepare(s->store, SQL_REPARK, &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, s->store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, outcome->position);
	sqlite3_bind_int64(statement, 3, s->now_ms + outcome->due_in_ms);
	sqlite3_bind_int64(statement, 4, outcome->attempts);
	first_try_bind(s, statement, 5, outcome);
	reason_bind(s, statement, 6, outcome);
	return ob_sqlite_run(s->store, statement, "settle", error);
}

static int
outcome_unpark(struct settling *s, const struct ob_outcome *outcome, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare(s->store, SQL_UNPARK, &statement, error);

	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, s->store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, outcome->position);
	return ob_sqlite_run(s->store, statement, "settle", error);
}

static int
outcome_bury(struct settling *s, const struct ob_outcome *outcome, struct ob_error *error)
{
	sqlite3_stmt *statement;
	bool found;
	int code = parked_tries(s, outcome, &found, error), limit;

	OB_CRASH_POINT("C10");
	if (code != OB_OK || !found)
		return code;
	code = ob_sqlite_prepare(s->store, SQL_DEAD_FROM_PARKED, &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, s->store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, outcome->position);
	sqlite3_bind_int(statement, 3, outcome->kind == OB_OUTCOME_BURY_HOLD);
	sqlite3_bind_int64(statement, 4, outcome->attempts);
	first_try_bind(s, statement, 5, outcome);
	sqlite3_bind_int64(statement, 6, s->now_ms);
	reason_bind(s, statement, 7, outcome);
	/* What is parked may have come in under a higher limit than that of today. */
	limit = sqlite3_limit(s->store->db, SQLITE_LIMIT_LENGTH, INT32_MAX);
	code = ob_sqlite_run(s->store, statement, "settle", error);
	sqlite3_limit(s->store->db, SQLITE_LIMIT_LENGTH, limit);
	return code == OB_OK ? outcome_unpark(s, outcome, error) : code;
}

static int
outcome_write(struct settling *s, const struct ob_outcome *outcome, struct ob_error *error)
{
	int64_t position = ob_reading_position(&s->store->reading, outcome->ordinal);

	/* Settled before: there is nothing more to say about it. */
	if (ob_outcome_is_of_log(outcome) && position == 0)
		return OB_OK;
	switch (outcome->kind) {
	case OB_OUTCOME_PARK:
	case OB_OUTCOME_BEHIND:
	case OB_OUTCOME_SCHEDULE:
		OB_CRASH_POINT("C9");
		return outcome_park(s, outcome, position, error);
	case OB_OUTCOME_DEAD:
	case OB_OUTCOME_DEAD_HOLD:
		return outcome_die(s, outcome, position, error);
	case OB_OUTCOME_REPARK:
		return outcome_repark(s, outcome, error);
	case OB_OUTCOME_UNPARK:
		return outcome_unpark(s, outcome, error);
	case OB_OUTCOME_BURY:
	case OB_OUTCOME_BURY_HOLD:
		return outcome_bury(s, outcome, error);
	case OB_OUTCOME_BACK:
		return OB_OK;
	}
	return ob_error_set(error, OB_INVALID, "%s: unknown outcome %d", s->store->name,
			    (int)outcome->kind);
}

static bool
outcome_takes_away(const struct ob_outcome *outcome)
{
	return outcome->kind == OB_OUTCOME_UNPARK || outcome->kind == OB_OUTCOME_BURY;
}

/* The lanes that lost a row: their next row becomes the head. */
static int
lanes_promote(struct settling *s, const struct ob_settle *settle, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = OB_OK;

	for (uint32_t i = 0; i < settle->outcome_count && code == OB_OK; i++) {
		const struct ob_outcome *outcome = &settle->outcomes[i];

		if (!outcome_takes_away(outcome) || outcome->lane == 0)
			continue;
		code = ob_sqlite_prepare(s->store, SQL_PROMOTE, &statement, error);
		if (code != OB_OK)
			return code;
		sqlite3_bind_text(statement, 1, s->store->subscription, -1, SQLITE_STATIC);
		sqlite3_bind_int64(statement, 2, (int64_t)outcome->lane);
		sqlite3_bind_int64(statement, 3, outcome->position);
		sqlite3_bind_int64(statement, 4, s->now_ms);
		code = ob_sqlite_run(s->store, statement, "settle", error);
	}
	return code;
}

static int
checkpoint_write(struct settling *s, struct ob_mark mark, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare(s->store, SQL_CHECKPOINT, &statement, error);

	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, s->store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, mark.log);
	if (mark.replay != OB_NO_REPLAY)
		sqlite3_bind_int64(statement, 3, mark.replay);
	return ob_sqlite_run(s->store, statement, "settle", error);
}

static int
settle_write(struct settling *s, const struct ob_settle *settle, struct ob_error *error)
{
	const struct ob_reading *reading = &s->store->reading;
	struct ob_mark mark = ob_reading_mark(reading, settle->through);
	int code = ob_sqlite_fence(s->store, &s->now_ms, error);

	for (uint32_t i = 0; i < settle->outcome_count && code == OB_OK; i++)
		code = outcome_write(s, &settle->outcomes[i], error);
	if (code == OB_OK)
		code = lanes_promote(s, settle, error);
	if (code == OB_OK && !ob_mark_equal(mark, reading->settled))
		code = checkpoint_write(s, mark, error);
	return code;
}

/* A settle that would write nothing takes no lock: it only passes the fence. */
static bool
settle_is_empty(const struct sqlite_store *store, const struct ob_settle *settle)
{
	struct ob_mark mark = ob_reading_mark(&store->reading, settle->through);

	for (uint32_t i = 0; i < settle->outcome_count; i++)
		if (settle->outcomes[i].kind != OB_OUTCOME_BACK)
			return false;
	return ob_mark_equal(mark, store->reading.settled);
}

int
ob_sqlite_settle(struct ob_store *base, const struct ob_settle *settle, struct ob_error *error)
{
	struct sqlite_store *store = (struct sqlite_store *)(void *)base;
	struct settling settling = {.store = store};
	int code = ob_sqlite_lease_look(store, error);

	if (code == OB_OK)
		code = ob_settle_check(base->ops, settle, &store->reading, error);
	if (code == OB_OK)
		code = settle_is_empty(store, settle) ? ob_sqlite_begin_read(store, error)
						      : ob_sqlite_begin_write(store, error);
	if (code != OB_OK)
		return code;
	ob_buf_init(&settling.tries, OB_TRIES_TEXT_MAX);
	code = ob_sqlite_end(store, settle_write(&settling, settle, error), error);
	ob_buf_free(&settling.tries);
	if (code != OB_OK)
		return code;
	OB_CRASH_POINT("C7");
	ob_reading_settled(&store->reading, settle->through);
	store->known.said.position = store->reading.settled.log;
	for (uint32_t i = 0; i < settle->outcome_count; i++)
		if (!ob_outcome_is_of_log(&settle->outcomes[i]))
			ob_map_remove(&store->handed, (uint64_t)settle->outcomes[i].position);
	return OB_OK;
}
