/*
 * Who runs a subscription.
 *
 * The lease row holds a random holder, an epoch and a beat. The holder tells owners apart, the epoch rises with
 * each owner and with each change that a person makes, and the beat rises with each renewal. A relay remembers all
 * three and the checkpoint that it wrote last, and every call compares them inside its own transaction:
 *
 *	holder   epoch    means
 *	ours     ours     go on, if beat and checkpoint are as we left them; else the file went back in time
 *	ours     higher   a person changed something: OB_CHANGED, what was fetched stands
 *	another  higher   another relay took over: OB_STALE
 *	any      lower    the file went back in time: OB_FOREIGN, until a person has adopted it (see known.c)
 *
 * A file that was replaced by rename is another inode, which is looked at before each transaction. What a
 * restored file is owed (everything since the backup again, or only what is new) no program can know.
 */
#include <stdlib.h>
#include <string.h>

#include "crash.h"
#include "sqlite_store.h"
#include "text.h"

static struct sqlite_store *
store_of(struct ob_store *base)
{
	return (struct sqlite_store *)(void *)base;
}

/* `size` - 1 random hex digits. */
static void
random_hex(struct sqlite_store *store, char *out, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	const struct ob_host *host = store->base.host;
	unsigned char byte;

	for (size_t i = 0; i + 1 < size; i++) {
		host->random(host->context, &byte, 1);
		out[i] = digits[byte & 15];
	}
	out[size - 1] = '\0';
}

void
ob_sqlite_forget(struct sqlite_store *store)
{
	store->acquired = false;
	store->durable_position = store->seen_position = 0;
	store->more = false;
	ob_map_clear(&store->handed);
}

/* ---- acquire ---- */

struct lease_row {
	struct sqlite_said said;
	char owner[OB_OWNER_NAME_MAX];
	int64_t lease_ms, expires_at, now_ms;
	struct ob_mark checkpoint;
	int64_t replay_end;
	bool paused;
	bool refused; /* by us: only a person can let us go on */
};

static int
lease_read(struct sqlite_store *store, const char *name, struct lease_row *row,
	   struct ob_error *error)
{
	static const char sql[] =
	    "SELECT l.holder, l.epoch, l.beat, l.owner, l.lease_ms, l.expires_at, c.position,"
	    " coalesce(c.replay_position, -1), coalesce(c.replay_end, 0), s.paused, s.order_by, s.topics,"
	    " l.adopted_at, CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER),"
	    " " OB_SQLITE_LOG_COLUMNS(
		"?2") " FROM outbox_subscription AS s JOIN outbox_lease AS l ON l.subscription = s.name"
		      " JOIN outbox_checkpoint AS c ON c.subscription = s.name WHERE s.name = ?1";
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare_text(store, sql, &statement, error), rc;

	if (code != OB_OK)
		return code;
	ob_sqlite_bind_string(statement, 1, name);
	sqlite3_bind_int64(statement, 2, store->known.log_end);
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW) {
		ob_sqlite_column_text_copy(statement, 0, row->said.holder,
					   sizeof(row->said.holder));
		row->said.epoch = sqlite3_column_int64(statement, 1);
		row->said.beat = sqlite3_column_int64(statement, 2);
		ob_sqlite_column_text_copy(statement, 3, row->owner, sizeof(row->owner));
		row->lease_ms = sqlite3_column_int64(statement, 4);
		row->expires_at = sqlite3_column_int64(statement, 5);
		row->checkpoint.log = row->said.position = sqlite3_column_int64(statement, 6);
		row->checkpoint.replay = sqlite3_column_int64(statement, 7);
		row->replay_end = sqlite3_column_int64(statement, 8);
		row->paused = sqlite3_column_int(statement, 9) != 0;
		store->order_by = (enum ob_order_by)sqlite3_column_int(statement, 10);
		free(store->topics);
		store->topics = strdup((const char *)sqlite3_column_text(statement, 11));
		row->said.adopted_at = sqlite3_column_int64(statement, 12);
		row->now_ms = sqlite3_column_int64(statement, 13);
		ob_sqlite_log_read(statement, 14, &row->said.log);
		if (store->topics == NULL)
			code = ob_error_set(error, OB_NOMEM, "out of memory");
		else
			store->all_topics = strcmp(store->topics, "*") == 0;
	} else if (rc == SQLITE_DONE) {
		code = ob_error_set(
		    error, OB_NOT_FOUND,
		    "%s: there is no subscription '%s' any more; a relay that is started makes it",
		    store->name, name);
	} else {
		code = ob_sqlite_fail(store, rc, "acquire", error);
	}
	sqlite3_finalize(statement);
	return code;
}

/*
 * How long the present holder may still keep it; 0: it is free. The database's clock says so once, when a renewal is
 * first seen, and from then on our own counts: a clock that is set, or a machine that slept, neither frees the lease of an
 * owner that is alive nor makes a dead one's last for ever. A renewal that was not there at our last look is no older than
 * that look, whatever the clock says.
 */
static int64_t
lease_left_ms(struct sqlite_store *store, const struct lease_row *row)
{
	const struct ob_host *host = store->base.host;
	int64_t now_us = host->monotonic_us(host->context), left = row->expires_at - row->now_ms;
	bool is_known = strcmp(store->waited_holder, row->said.holder) == 0;

	if (row->said.holder[0] == '\0')
		return 0;
	if (!is_known || store->waited_beat != row->said.beat) {
		int64_t least =
		    is_known ? row->lease_ms - (now_us - store->waited_looked_us) / 1000 : 0;

		if (left < least)
			left = least;
		if (left > row->lease_ms)
			left = row->lease_ms;
		memcpy(store->waited_holder, row->said.holder, sizeof(store->waited_holder));
		store->waited_beat = row->said.beat;
		store->waited_until_us = now_us + left * 1000;
	}
	store->waited_looked_us = now_us;
	left = (store->waited_until_us - now_us + 999) / 1000;
	return left > 0 ? left : 0;
}

static int
lease_take(struct sqlite_store *store, const struct ob_lease_request *request,
	   const struct lease_row *row, bool goes_on, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare_text(
	    store,
	    "UPDATE outbox_lease SET holder = ?2, beat = ?3, epoch = ?4, owner = ?5, lease_ms = ?6,"
	    " expires_at = ?7, state = '', code = '', text = '', state_since = ?8, refused_by = '',"
	    " refused_code = '', refused_text = '', refused_since = 0, refused_at = 0"
	    " WHERE subscription = ?1",
	    &statement, error);

	if (code != OB_OK)
		return code;
	if (!goes_on)
		random_hex(store, store->lease.holder, sizeof(store->lease.holder));
	store->lease.beat = row->said.beat + 1;
	store->lease.epoch = goes_on ? row->said.epoch : row->said.epoch + 1;
	store->lease.lease_ms = request->lease_ms;
	ob_sqlite_bind_string(statement, 1, request->subscription);
	ob_sqlite_bind_string(statement, 2, store->lease.holder);
	sqlite3_bind_int64(statement, 3, store->lease.beat);
	sqlite3_bind_int64(statement, 4, store->lease.epoch);
	ob_sqlite_bind_string(statement, 5, request->owner == NULL ? "" : request->owner);
	sqlite3_bind_int64(statement, 6, request->lease_ms);
	sqlite3_bind_int64(statement, 7, row->now_ms + request->lease_ms);
	sqlite3_bind_int64(statement, 8, row->now_ms);
	code = ob_sqlite_run(store, statement, "acquire", error);
	sqlite3_finalize(statement);
	return code;
}

/* The keys that wait: those with parked rows, and those held by a dead one that may have none. */
static int
lanes_read(struct sqlite_store *store, const struct ob_lease_request *request,
	   struct ob_acquired *acquired, struct ob_error *error)
{
	static const char sql[] =
	    "SELECT lane, sum(rows), max(held) FROM ("
	    " SELECT lane, count(*) AS rows, 0 AS held FROM outbox_parked"
	    "  WHERE subscription = ?1 AND scheduled = 0 AND lane <> 0 GROUP BY lane"
	    " UNION ALL SELECT DISTINCT lane, 0, 1 FROM outbox_dead"
	    "  WHERE subscription = ?1 AND holds_key = 1 AND lane <> 0)"
	    " GROUP BY lane";
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare_text(store, sql, &statement, error), rc;

	if (code != OB_OK)
		return code;
	ob_sqlite_bind_string(statement, 1, request->subscription);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		if (acquired->lane_count == request->lanes_max) {
			code = ob_error_set(error, OB_LIMIT,
					    "%s: subscription '%s' has more than %u parked keys",
					    store->name, request->subscription, request->lanes_max);
			break;
		}
		request->lanes[acquired->lane_count++] = (struct ob_parked_lane){
		    .lane = (uint64_t)sqlite3_column_int64(statement, 0),
		    .rows = (uint32_t)sqlite3_column_int64(statement, 1),
		    .held = sqlite3_column_int(statement, 2) != 0,
		};
	}
	if (code == OB_OK && rc != SQLITE_DONE)
		code = ob_sqlite_fail(store, rc, "acquire", error);
	sqlite3_finalize(statement);
	return code;
}

static int
rows_count(struct sqlite_store *store, const char *sql, const char *name, uint64_t *count,
	   struct ob_error *error)
{
	sqlite3_stmt *statement;
	int64_t value;
	int code = ob_sqlite_prepare_text(store, sql, &statement, error);

	if (code != OB_OK)
		return code;
	ob_sqlite_bind_string(statement, 1, name);
	code = ob_sqlite_number(store, statement, 0, &value, error);
	sqlite3_finalize(statement);
	if (code == OB_OK)
		*count = (uint64_t)value;
	return code;
}

static int
parked_read(struct sqlite_store *store, const struct ob_lease_request *request,
	    struct ob_acquired *acquired, struct ob_error *error)
{
	static const char parked[] =
	    "SELECT count(*) FROM outbox_parked WHERE subscription = ?1 AND scheduled = 0";
	static const char scheduled[] =
	    "SELECT count(*) FROM outbox_parked WHERE subscription = ?1 AND scheduled = 1";
	static const char dead[] = "SELECT count(*) FROM outbox_dead WHERE subscription = ?1";
	const char *name = request->subscription;
	int code = rows_count(store, parked, name, &acquired->parked_rows, error);

	if (code == OB_OK)
		code = rows_count(store, scheduled, name, &acquired->scheduled_rows, error);
	if (code == OB_OK)
		code = rows_count(store, dead, name, &acquired->dead_rows, error);
	if (code == OB_OK)
		code = lanes_read(store, request, acquired, error);
	return code;
}

/*
 * Says in the database that is refused that it is, for those who look into it, and gives up the lease if it is ours. It
 * may not let us, and another that runs the subscription there is not disturbed.
 */
static void
refusal_write(struct sqlite_store *store, const struct ob_lease_request *request,
	      const struct lease_row *row)
{
	const struct ob_host *host = store->base.host;
	int64_t since_ms = (host->monotonic_us(host->context) - store->refuses_since_us) / 1000;
	sqlite3_stmt *statement;

	if (ob_sqlite_prepare_text(store,
				   "UPDATE outbox_lease SET refused_by = ?2, refused_code = ?3,"
				   " refused_text = ?4, refused_since = ?5, refused_at = ?6,"
				   " expires_at = CASE WHEN holder = ?7 THEN 0 ELSE expires_at END"
				   " WHERE subscription = ?1",
				   &statement, NULL) != OB_OK)
		return;
	ob_sqlite_bind_string(statement, 1, request->subscription);
	ob_sqlite_bind_string(statement, 2, request->owner == NULL ? "" : request->owner);
	ob_sqlite_bind_string(statement, 3, ob_sqlite_refusal_code(store));
	ob_sqlite_bind_string(statement, 4, store->refuses);
	sqlite3_bind_int64(statement, 5, row->now_ms - since_ms);
	sqlite3_bind_int64(statement, 6, row->now_ms);
	ob_sqlite_bind_string(statement, 7, store->lease.holder);
	(void)ob_sqlite_run(store, statement, "refuse", NULL);
	sqlite3_finalize(statement);
}

/* Everything of acquire that is one transaction. */
static int
lease_acquire(struct sqlite_store *store, const struct ob_lease_request *request,
	      struct lease_row *row, struct ob_acquired *acquired, struct ob_error *error)
{
	int code = lease_read(store, request->subscription, row, error);
	const char *fault;
	bool ours;

	if (code != OB_OK)
		return code;
	fault = ob_sqlite_known_fault(store, &row->said);
	row->refused = fault != NULL;
	if (row->refused) {
		ob_sqlite_refuse(store, fault);
		refusal_write(store, request, row);
		return OB_OK;
	}
	/* After a doubt it may be ours still: nobody else knows its name. */
	ours = row->said.holder[0] != '\0' && strcmp(row->said.holder, store->lease.holder) == 0;
	if (!ours) {
		acquired->retry_in_ms = lease_left_ms(store, row);
		if (acquired->retry_in_ms > 0) {
			memcpy(acquired->owner, row->owner, sizeof(acquired->owner));
			return OB_OK;
		}
	}
	acquired->goes_on = ours && store->acquired && row->said.beat == store->lease.beat &&
			    !store->in_doubt && row->checkpoint.log == store->reading.settled.log;
	code = lease_take(store, request, row, acquired->goes_on, error);
	if (code == OB_OK)
		code = parked_read(store, request, acquired, error);
	acquired->held = code == OB_OK;
	return code;
}

/* The connection, the file and the tables are such that the lease can be asked for. */
static int
acquire_prepare(struct sqlite_store *store, const struct ob_lease_request *request,
		struct ob_error *error)
{
	int code = OB_OK;

	if (strcmp(store->subscription, request->subscription) != 0) {
		ob_sqlite_forget(store);
		store->known = (struct sqlite_known){0};
		store->refuses = NULL;
		ob_text_copy(store->subscription, sizeof(store->subscription),
			     request->subscription);
	}
	if (!store->in_doubt)
		(void)ob_sqlite_file_look(store, NULL);
	if (store->in_doubt || store->is_stale)
		code = ob_sqlite_reconnect(store, error);
	return code == OB_OK ? ob_sqlite_schema_check(store, error) : code;
}

/* The lease is taken, and committed. */
static void
lease_begin(struct sqlite_store *store, const struct lease_row *row, struct ob_acquired *acquired)
{
	ob_map_clear(&store->handed);
	if (acquired->goes_on)
		ob_reading_go_on(&store->reading, row->checkpoint.replay, row->replay_end);
	else
		ob_reading_start(&store->reading, row->checkpoint, row->replay_end);
	memcpy(store->known.said.holder, store->lease.holder, sizeof(store->known.said.holder));
	store->known.said.epoch = store->lease.epoch;
	store->known.said.beat = store->lease.beat;
	store->acquired = true;
	store->more = true;
	acquired->epoch = (uint64_t)store->lease.epoch;
	acquired->paused = row->paused;
}

int
ob_sqlite_acquire(struct ob_store *base, const struct ob_lease_request *request,
		  struct ob_acquired *acquired, struct ob_error *error)
{
	struct sqlite_store *store = store_of(base);
	struct sqlite_lease before = store->lease;
	struct lease_row row = {0};
	int code;

	*acquired = (struct ob_acquired){0};
	if (request->shard != 0)
		return ob_error_set(error, OB_UNSUPPORTED, "%s: SQLite runs one shard",
				    store->name);
	code = acquire_prepare(store, request, error);
	if (code == OB_OK)
		code = ob_sqlite_begin_write(store, error);
	if (code != OB_OK)
		return code;
	code = ob_sqlite_end(store, lease_acquire(store, request, &row, acquired, error), error);
	if (row.refused)
		code = ob_sqlite_foreign(store, error);
	if (code == OB_OK) {
		OB_CRASH_POINT("C2");
		ob_sqlite_known_note(store, &row.said);
	}
	if (code != OB_OK || !acquired->held) {
		store->lease = before;
		/* What could not be written now, for want of room or of a right, leaves everything as it was. */
		if (code == OB_OK || code == OB_FOREIGN)
			ob_sqlite_forget(store);
		acquired->held = false;
		return code;
	}
	lease_begin(store, &row, acquired);
	return OB_OK;
}

/* ---- while it is held ---- */

static int
fence_foreign(struct sqlite_store *store, const char *why, struct ob_error *error)
{
	ob_sqlite_forget(store);
	ob_sqlite_refuse(store, why);
	return ob_sqlite_foreign(store, error);
}

static int
fence_read(struct sqlite_store *store, struct sqlite_said *said, int64_t *now_ms, bool *found,
	   struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare(store, SQL_FENCE, &statement, error), rc;

	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, store->known.log_end);
	rc = sqlite3_step(statement);
	*found = rc == SQLITE_ROW;
	if (rc == SQLITE_ROW) {
		ob_sqlite_column_text_copy(statement, 0, said->holder, sizeof(said->holder));
		said->epoch = sqlite3_column_int64(statement, 1);
		said->beat = sqlite3_column_int64(statement, 2);
		said->position = sqlite3_column_int64(statement, 3);
		*now_ms = sqlite3_column_int64(statement, 4);
		ob_sqlite_log_read(statement, 5, &said->log);
	} else if (rc != SQLITE_DONE) {
		code = ob_sqlite_fail(store, rc, "read the lease", error);
	}
	sqlite3_reset(statement);
	return code;
}

int
ob_sqlite_fence(struct sqlite_store *store, int64_t *now_ms, struct ob_error *error)
{
	struct sqlite_said said = {0};
	const char *fault;
	bool found, ours;
	int code;

	if (!store->acquired)
		return ob_error_set(error, OB_STALE, "%s: the lease is not held", store->name);
	code = fence_read(store, &said, now_ms, &found, error);
	if (code != OB_OK)
		return code;
	if (!found)
		return fence_foreign(store, "its subscription is not there", error);
	ours = strcmp(said.holder, store->lease.holder) == 0;
	if (said.epoch < store->lease.epoch || (!ours && said.epoch == store->lease.epoch))
		return fence_foreign(store, "its lease is of an earlier time", error);
	if (!ours) {
		ob_sqlite_forget(store);
		return ob_error_set(error, OB_STALE, "%s: another relay runs subscription '%s' now",
				    store->name, store->subscription);
	}
	if (said.beat != store->lease.beat)
		return fence_foreign(store, "its lease is of an earlier time", error);
	if (said.position != store->reading.settled.log)
		return fence_foreign(store, "its checkpoint is of another time", error);
	fault = ob_sqlite_log_fault(store, &said.log, said.position);
	if (fault != NULL)
		return fence_foreign(store, fault, error);
	if (said.epoch > store->lease.epoch)
		return ob_error_set(error, OB_CHANGED,
				    "%s: subscription '%s' was changed by a person", store->name,
				    store->subscription);
	return OB_OK;
}

int
ob_sqlite_lease_look(struct sqlite_store *store, struct ob_error *error)
{
	int code = ob_sqlite_connection_look(store, error);

	if (code == OB_AGAIN)
		ob_sqlite_forget(store);
	if (code != OB_OK)
		return code;
	if (!store->acquired)
		return ob_error_set(error, OB_STALE, "%s: the lease is not held", store->name);
	return ob_sqlite_file_look(store, error);
}

static int
lease_renew(struct sqlite_store *store, const struct ob_relay_state *state, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int64_t now_ms = 0;
	int code = ob_sqlite_fence(store, &now_ms, error);

	if (code != OB_OK)
		return code;
	code = ob_sqlite_prepare_text(
	    store,
	    state == NULL
		? "UPDATE outbox_lease SET beat = ?2, expires_at = ?3 WHERE subscription = ?1"
		: "UPDATE outbox_lease SET beat = ?2, expires_at = ?3, state = ?4, code = ?5, text = ?6,"
		  " state_since = ?7, delivered = ?8 WHERE subscription = ?1",
	    &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, store->lease.beat + 1);
	sqlite3_bind_int64(statement, 3, now_ms + store->lease.lease_ms);
	if (state != NULL) {
		ob_sqlite_bind_string(statement, 4, state->state == NULL ? "" : state->state);
		ob_sqlite_bind_string(statement, 5, state->code == NULL ? "" : state->code);
		ob_sqlite_bind_string(statement, 6, state->text == NULL ? "" : state->text);
		sqlite3_bind_int64(statement, 7, now_ms - state->since_ms);
		sqlite3_bind_int64(statement, 8, (int64_t)state->delivered);
	}
	code = ob_sqlite_run(store, statement, "renew", error);
	sqlite3_finalize(statement);
	return code;
}

int
ob_sqlite_renew(struct ob_store *base, const struct ob_relay_state *state, struct ob_error *error)
{
	struct sqlite_store *store = store_of(base);
	int code = ob_sqlite_lease_look(store, error);

	if (code == OB_OK)
		code = ob_sqlite_begin_write(store, error);
	if (code != OB_OK)
		return code;
	code = ob_sqlite_end(store, lease_renew(store, state, error), error);
	if (code == OB_OK) {
		OB_CRASH_POINT("C14");
		store->known.said.beat = ++store->lease.beat;
	}
	return code;
}

int
ob_sqlite_release(struct ob_store *base, struct ob_error *error)
{
	struct sqlite_store *store = store_of(base);
	sqlite3_stmt *statement;
	int code;

	if (!store->acquired || store->in_doubt || store->is_stale)
		return OB_OK;
	code = ob_sqlite_prepare_text(
	    store,
	    "UPDATE outbox_lease SET holder = '', owner = '', expires_at = 0, state = '', code = '',"
	    " text = '' WHERE subscription = ?1 AND holder = ?2",
	    &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_text(statement, 2, store->lease.holder, -1, SQLITE_STATIC);
	code = ob_sqlite_run(store, statement, "release", error);
	sqlite3_finalize(statement);
	if (code == OB_OK)
		ob_sqlite_forget(store);
	return code;
}
