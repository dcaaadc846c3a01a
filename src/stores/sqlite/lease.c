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
 *	any      lower    the file went back in time: OB_FOREIGN, until a person has adopted it
 *
 * A file that was replaced by rename is another inode, which is looked at before each transaction. What a
 * restored file is owed (everything since the backup again, or only what is new) no program can know.
 */
#include <stdio.h>
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

void
ob_sqlite_random_hex(struct sqlite_store *store, char *out, size_t size)
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
ob_sqlite_file_stamp(const struct sqlite_store *store, char out[SQLITE_STORE_ADOPTED_SIZE])
{
	snprintf(out, SQLITE_STORE_ADOPTED_SIZE, "%ju:%ju:", (uintmax_t)store->file.device,
		 (uintmax_t)store->file.inode);
}

void
ob_sqlite_forget(struct sqlite_store *store)
{
	store->acquired = false;
	store->durable_position = 0;
	store->more = false;
	ob_map_clear(&store->handed);
}

/* ---- acquire ---- */

struct lease_row {
	char holder[SQLITE_STORE_HOLDER_SIZE];
	char owner[OB_OWNER_NAME_MAX];
	char adopted[SQLITE_STORE_ADOPTED_SIZE];
	int64_t epoch, beat, lease_ms, expires_at, now_ms;
	struct ob_mark checkpoint;
	int64_t replay_end;
	bool paused;
};

static int
lease_read(struct sqlite_store *store, const char *name, struct lease_row *row,
	   struct ob_error *error)
{
	static const char sql[] =
	    "SELECT l.holder, l.epoch, l.beat, l.owner, l.lease_ms, l.expires_at, c.position,"
	    " coalesce(c.replay_position, -1), coalesce(c.replay_end, 0), s.paused, s.order_by, s.topics,"
	    " (SELECT adopted FROM outbox_instance),"
	    " CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER)"
	    " FROM outbox_subscription AS s JOIN outbox_lease AS l ON l.subscription = s.name"
	    " JOIN outbox_checkpoint AS c ON c.subscription = s.name WHERE s.name = ?1";
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare_text(store, sql, &statement, error), rc;

	if (code != OB_OK)
		return code;
	ob_sqlite_bind_string(statement, 1, name);
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW) {
		ob_sqlite_column_text_copy(statement, 0, row->holder, sizeof(row->holder));
		row->epoch = sqlite3_column_int64(statement, 1);
		row->beat = sqlite3_column_int64(statement, 2);
		ob_sqlite_column_text_copy(statement, 3, row->owner, sizeof(row->owner));
		row->lease_ms = sqlite3_column_int64(statement, 4);
		row->expires_at = sqlite3_column_int64(statement, 5);
		row->checkpoint.log = sqlite3_column_int64(statement, 6);
		row->checkpoint.replay = sqlite3_column_int64(statement, 7);
		row->replay_end = sqlite3_column_int64(statement, 8);
		row->paused = sqlite3_column_int(statement, 9) != 0;
		store->order_by = (enum ob_order_by)sqlite3_column_int(statement, 10);
		free(store->topics);
		store->topics = strdup((const char *)sqlite3_column_text(statement, 11));
		ob_sqlite_column_text_copy(statement, 12, row->adopted, sizeof(row->adopted));
		row->now_ms = sqlite3_column_int64(statement, 13);
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
 * How long the present holder may still keep it; 0: it is free. The database's clock decides, but a
 * clock that was set back must not make a dead owner's lease last for ever: nobody who has not renewed for
 * as long as the whole lease, by our own clock, is alive.
 */
static int64_t
lease_left_ms(struct sqlite_store *store, const struct lease_row *row)
{
	const struct ob_host *host = store->base.host;
	int64_t left = row->expires_at - row->now_ms, now_us = host->monotonic_us(host->context);

	if (row->holder[0] == '\0' || left <= 0)
		return 0;
	if (strcmp(store->waited_holder, row->holder) != 0 || store->waited_beat != row->beat) {
		memcpy(store->waited_holder, row->holder, sizeof(store->waited_holder));
		store->waited_beat = row->beat;
		store->waited_since_us = now_us;
	}
	if (now_us - store->waited_since_us >= row->lease_ms * 1000)
		return 0;
	return left < row->lease_ms ? left : row->lease_ms;
}

static int
lease_take(struct sqlite_store *store, const struct ob_lease_request *request,
	   const struct lease_row *row, bool goes_on, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare_text(
	    store,
	    "UPDATE outbox_lease SET holder = ?2, beat = ?3, epoch = ?4, owner = ?5, lease_ms = ?6,"
	    " expires_at = ?7, state = '', code = '', text = '', state_since = ?8"
	    " WHERE subscription = ?1",
	    &statement, error);

	if (code != OB_OK)
		return code;
	if (!goes_on)
		ob_sqlite_random_hex(store, store->lease.holder, sizeof(store->lease.holder));
	store->lease.beat = row->beat + 1;
	store->lease.epoch = goes_on ? row->epoch : row->epoch + 1;
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

/* A file that was replaced, or went back in time, is gone on with only once a person has adopted it. */
static int
adopted_check(struct sqlite_store *store, const struct lease_row *row, struct ob_error *error)
{
	char stamp[SQLITE_STORE_ADOPTED_SIZE];

	ob_sqlite_file_stamp(store, stamp);
	if (strcmp(row->adopted, store->adopted) != 0 && ob_text_starts_with(row->adopted, stamp)) {
		store->replaced = false;
		return OB_OK;
	}
	return ob_error_set(
	    error, OB_FOREIGN,
	    "%s: the file was replaced or restored while it was in use; if that was meant, go "
	    "on with: outbox adopt %s",
	    store->name, store->name);
}

/* Everything of acquire that is one transaction. `*goes_on` as in ob_acquired. */
static int
lease_acquire(struct sqlite_store *store, const struct ob_lease_request *request,
	      struct lease_row *row, struct ob_acquired *acquired, struct ob_error *error)
{
	bool mine;
	int code = lease_read(store, request->subscription, row, error);

	if (code == OB_OK && store->replaced)
		code = adopted_check(store, row, error);
	if (code != OB_OK)
		return code;
	mine = store->acquired && strcmp(row->holder, store->lease.holder) == 0 &&
	       row->beat == store->lease.beat;
	if (!mine) {
		acquired->retry_in_ms = lease_left_ms(store, row);
		if (acquired->retry_in_ms > 0) {
			memcpy(acquired->owner, row->owner, sizeof(acquired->owner));
			return OB_OK;
		}
	}
	acquired->goes_on = mine && !store->in_doubt &&
			    row->checkpoint.log == store->reading.settled.log &&
			    strcmp(store->subscription, request->subscription) == 0;
	code = lease_take(store, request, row, acquired->goes_on, error);
	if (code == OB_OK)
		code = parked_read(store, request, acquired, error);
	acquired->held = code == OB_OK;
	return code;
}

int
ob_sqlite_acquire(struct ob_store *base, const struct ob_lease_request *request,
		  struct ob_acquired *acquired, struct ob_error *error)
{
	struct sqlite_store *store = store_of(base);
	struct sqlite_lease before = store->lease;
	struct lease_row row = {0};
	int code = OB_OK;

	*acquired = (struct ob_acquired){0};
	if (request->shard != 0)
		return ob_error_set(error, OB_UNSUPPORTED, "%s: SQLite runs one shard",
				    store->name);
	if (!store->in_doubt && store->db != NULL && ob_sqlite_file_check(store, NULL) != OB_OK) {
		store->in_doubt = true;
		/* Before the first acquire nothing rests on the file, so another one is as good. */
		store->replaced = store->replaced || store->subscription[0] != '\0';
	}
	if (store->in_doubt || store->db == NULL)
		code = ob_sqlite_reconnect(store, error);
	if (code == OB_OK)
		code = ob_sqlite_schema_check(store, error);
	if (code == OB_OK)
		code = ob_sqlite_begin_write(store, error);
	if (code != OB_OK)
		return code;
	code = ob_sqlite_end(store, lease_acquire(store, request, &row, acquired, error), error);
	if (code == OB_OK)
		OB_CRASH_POINT("C2");
	if (code != OB_OK || !acquired->held) {
		store->lease = before;
		if (code != OB_BUSY)
			ob_sqlite_forget(store);
		acquired->held = false;
		return code;
	}
	ob_text_copy(store->subscription, sizeof(store->subscription), request->subscription);
	memcpy(store->adopted, row.adopted, sizeof(store->adopted));
	ob_map_clear(&store->handed);
	if (acquired->goes_on)
		ob_reading_go_on(&store->reading, row.checkpoint.replay, row.replay_end);
	else
		ob_reading_start(&store->reading, row.checkpoint, row.replay_end);
	store->acquired = true;
	store->more = true;
	acquired->epoch = (uint64_t)store->lease.epoch;
	acquired->paused = row.paused;
	return OB_OK;
}

/* ---- while it is held ---- */

static int
fence_foreign(struct sqlite_store *store, struct ob_error *error)
{
	ob_sqlite_forget(store);
	store->replaced = true;
	return ob_error_set(
	    error, OB_FOREIGN,
	    "%s: the database is not what it was: it was restored or replaced while in use; if "
	    "that was meant, go on with: outbox adopt %s",
	    store->name, store->name);
}

int
ob_sqlite_fence(struct sqlite_store *store, int64_t *now_ms, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int64_t epoch, beat, position;
	bool ours;
	int code, rc;

	if (!store->acquired)
		return ob_error_set(error, OB_STALE, "%s: the lease is not held", store->name);
	code = ob_sqlite_prepare(store, SQL_FENCE, &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, store->subscription, -1, SQLITE_STATIC);
	rc = sqlite3_step(statement);
	if (rc != SQLITE_ROW) {
		code = rc == SQLITE_DONE ? fence_foreign(store, error)
					 : ob_sqlite_fail(store, rc, "read the lease", error);
		sqlite3_reset(statement);
		return code;
	}
	ours = strcmp((const char *)sqlite3_column_text(statement, 0), store->lease.holder) == 0;
	epoch = sqlite3_column_int64(statement, 1);
	beat = sqlite3_column_int64(statement, 2);
	position = sqlite3_column_int64(statement, 3);
	*now_ms = sqlite3_column_int64(statement, 4);
	sqlite3_reset(statement);
	if (epoch < store->lease.epoch || (!ours && epoch == store->lease.epoch))
		return fence_foreign(store, error);
	if (!ours) {
		ob_sqlite_forget(store);
		return ob_error_set(error, OB_STALE, "%s: another relay runs subscription '%s' now",
				    store->name, store->subscription);
	}
	if (beat != store->lease.beat || position != store->reading.settled.log)
		return fence_foreign(store, error);
	if (epoch > store->lease.epoch)
		return ob_error_set(error, OB_CHANGED,
				    "%s: subscription '%s' was changed by a person", store->name,
				    store->subscription);
	return OB_OK;
}

int
ob_sqlite_lease_look(struct sqlite_store *store, struct ob_error *error)
{
	int code;

	if (store->in_doubt) {
		ob_sqlite_forget(store);
		return ob_error_set(error, OB_AGAIN, "%s: the lease must be taken again",
				    store->name);
	}
	if (!store->acquired)
		return ob_error_set(error, OB_STALE, "%s: the lease is not held", store->name);
	code = ob_sqlite_file_check(store, error);
	if (code != OB_OK) {
		ob_sqlite_forget(store);
		store->in_doubt = store->replaced = true;
	}
	return code;
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
		store->lease.beat++;
	}
	return code;
}

int
ob_sqlite_release(struct ob_store *base, struct ob_error *error)
{
	struct sqlite_store *store = store_of(base);
	sqlite3_stmt *statement;
	int code;

	if (!store->acquired || store->in_doubt || store->db == NULL)
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
