/*
 * Who runs a subscription's shard.
 *
 * The lease row says who and until when, by the database's clock. The checkpoint's row has the epoch, which rises with each
 * owner and with each change that a person makes, and a beat, which rises with each settle. `opening` has the snapshot of
 * the newest interval. A relay remembers them and where their rows stand, and every call compares them inside its own
 * transaction:
 *
 *	holder   epoch    beat, snapshot   means
 *	ours     ours     ours             go on
 *	ours     higher   ours             a person changed something: OB_CHANGED, what was fetched stands
 *	another  higher   any              another relay took over: OB_STALE
 *	any      lower    any              the server went back in time: a standby was promoted that had not heard of our
 *	ours     ours     others           last transactions. An ordinary failover: OB_AGAIN, all is loaded anew
 *
 * Whether it is the database of before at all, and not a copy of it loaded elsewhere, is told at acquire by the system's
 * identifier and the database's oid.
 *
 * The order of locks is subscription, checkpoint, opening, lease.
 */
#include <stdlib.h>
#include <string.h>

#include "crash.h"
#include "postgres_store.h"
#include "text.h"

void
ob_postgres_forget(struct postgres_store *store)
{
	store->acquired = false;
	store->more = store->known_new = false;
	ob_map_clear(&store->handed);
	ob_postgres_points_clear(&store->points);
}

static void
random_hex(struct postgres_store *store, char *out, size_t size)
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

/* ---- acquire: what is there ---- */

struct lease_row {
	const PGresult *result; /* of the shard, NULL if there is none of this number */
	const PGresult *whole;  /* of the subscription */
	struct postgres_answers answers;
	bool ending; /* every shard has come to the common point */
	int64_t epoch, beat, lease_beat, lease_ms, left_ms;
	const char *holder, *owner, *s1, *s2, *opened;
	struct ob_mark mark; /* of the first interval, number 0 */
};

enum {
	ROW_CHECKPOINT_AT,
	ROW_EPOCH,
	ROW_BEAT,
	ROW_S1,
	ROW_Q1,
	ROW_S2,
	ROW_Q2,
	ROW_AT,
	ROW_REPLAY_S1,
	ROW_REPLAY_S2,
	ROW_REPLAY_AT,
	ROW_REPLAY_END,
	ROW_REPLAY_HIGH,
	ROW_IS_HERE,
	ROW_HOLDER,
	ROW_LEASE_BEAT,
	ROW_OWNER,
	ROW_LEASE_MS,
	ROW_LEFT_MS,
	ROW_OPENING_AT,
	ROW_OPENED,
};

enum {
	WHOLE_PAUSED,
	WHOLE_ORDER_BY,
	WHOLE_TOPICS,
	WHOLE_SHARDS,
	WHOLE_SHARDS_NEXT,
	WHOLE_COMMON,
	WHOLE_COMMON_Q,
};

/*
 * The subscription's row is locked, and read, by a statement before: a change that is being made must be seen with the epoch
 * that it raises, and a row that is only joined is read as it was when the statement began.
 */
static void
lease_read_append(struct postgres_store *store, const struct ob_lease_request *request)
{
	ob_postgres_begin_write(store);
	ob_postgres_sql(
	    store,
	    "SELECT paused, order_by, topics, shards, shards_next, common::text, common_q"
	    " FROM %s.subscription WHERE name = ",
	    store->schema);
	ob_postgres_literal(store, request->subscription);
	ob_postgres_sql(
	    store,
	    " FOR SHARE;SELECT c.ctid, c.epoch, c.beat, c.s1::text, c.q1, c.s2::text, c.q2, c.at, c.replay_s1::text,"
	    " c.replay_s2::text, c.replay_at, c.replay_end, c.replay_high,"
	    " c.system_identifier = i.system_identifier AND c.database_oid ="
	    " (SELECT oid FROM pg_database WHERE datname = current_database()),"
	    " l.holder, l.beat, l.owner, l.lease_ms,"
	    " (extract(epoch FROM l.expires_at - clock_timestamp()) * 1000)::bigint,"
	    " o.ctid, o.snapshot::text"
	    " FROM %s.checkpoint AS c JOIN %s.opening AS o USING (subscription, shard)"
	    " JOIN %s.lease AS l USING (subscription, shard), pg_control_system() AS i"
	    " WHERE c.subscription = ",
	    store->schema, store->schema, store->schema);
	ob_postgres_literal(store, request->subscription);
	ob_postgres_sql(store, " AND c.shard = %u FOR NO KEY UPDATE OF c, o, l;SELECT ",
			request->shard);
	ob_postgres_ending_append(store, request->subscription);
}

static int
lease_read(struct postgres_store *store, const struct ob_lease_request *request,
	   struct lease_row *row, struct ob_error *error)
{
	const PGresult *result;
	int code;

	lease_read_append(store, request);
	code = ob_postgres_run(store, "acquire", &row->answers, error);
	if (code != OB_OK)
		return code;
	row->whole = row->answers.items[0];
	result = row->answers.items[1];
	if (PQntuples(row->whole) == 0)
		return ob_error_set(
		    error, OB_NOT_FOUND,
		    "%s: there is no subscription '%s' any more; a relay that is started makes it",
		    store->name, request->subscription);
	row->ending = ob_postgres_bool(row->answers.items[2], 0, 0);
	if (PQntuples(result) == 0)
		return OB_OK;
	row->result = result;
	if (!ob_postgres_bool(result, 0, ROW_IS_HERE))
		return ob_error_set(
		    error, OB_FOREIGN,
		    "%s: the outbox was copied into this database from another one; if that was meant, go "
		    "on with: outbox adopt %s --from-checkpoint",
		    store->name, store->name);
	row->epoch = ob_postgres_number(result, 0, ROW_EPOCH, 0);
	row->beat = ob_postgres_number(result, 0, ROW_BEAT, 0);
	row->lease_beat = ob_postgres_number(result, 0, ROW_LEASE_BEAT, 0);
	row->lease_ms = ob_postgres_number(result, 0, ROW_LEASE_MS, 0);
	row->left_ms = ob_postgres_number(result, 0, ROW_LEFT_MS, 0);
	row->holder = ob_postgres_text(result, 0, ROW_HOLDER);
	row->owner = ob_postgres_text(result, 0, ROW_OWNER);
	row->s1 = ob_postgres_text(result, 0, ROW_S1);
	row->s2 = ob_postgres_text(result, 0, ROW_S2);
	row->opened = ob_postgres_text(result, 0, ROW_OPENED);
	row->mark = (struct ob_mark){
	    .log = *row->s2 == '\0' ? 0 : ob_postgres_number(result, 0, ROW_AT, 0),
	    .replay = ob_postgres_number(result, 0, ROW_REPLAY_AT, OB_NO_REPLAY),
	};
	return OB_OK;
}

/*
 * How long the present holder may still keep it; 0: it is free. The database's clock decides, but a
 * clock that was set back must not make a dead owner's lease last for ever: nobody who has not renewed for
 * as long as the whole lease, by our own clock, is alive.
 */
static int64_t
lease_left_ms(struct postgres_store *store, const struct lease_row *row)
{
	const struct ob_host *host = store->base.host;
	int64_t now_us = host->monotonic_us(host->context);

	if (row->holder[0] == '\0' || row->left_ms <= 0)
		return 0;
	if (strcmp(store->waited_holder, row->holder) != 0 ||
	    store->waited_beat != row->lease_beat) {
		ob_text_copy(store->waited_holder, sizeof(store->waited_holder), row->holder);
		store->waited_beat = row->lease_beat;
		store->waited_since_us = now_us;
	}
	if (now_us - store->waited_since_us >= row->lease_ms * 1000)
		return 0;
	return row->left_ms < row->lease_ms ? row->left_ms : row->lease_ms;
}

/* ---- acquire: taking it ---- */

static void
take_append(struct postgres_store *store, const struct ob_lease_request *request, int64_t epoch)
{
	const char *schema = store->schema, *name = request->subscription;
	unsigned shard = request->shard;

	ob_buf_reset(&store->sql);
	ob_postgres_sql(
	    store,
	    "UPDATE %s.checkpoint SET epoch = %lld WHERE subscription = '%s' AND shard = %u"
	    " RETURNING ctid;"
	    "UPDATE %s.opening SET epoch = %lld WHERE subscription = '%s' AND shard = %u"
	    " RETURNING ctid;",
	    schema, (long long)epoch, name, shard, schema, (long long)epoch, name, shard);
	ob_postgres_sql(store,
			"UPDATE %s.lease SET holder = '%s', beat = beat + 1, owner = ", schema,
			store->lease.holder);
	ob_postgres_literal(store, request->owner == NULL ? "" : request->owner);
	ob_postgres_sql(store, ", member = %lld", (long long)request->member);
	ob_postgres_sql(store,
			", lease_ms = %lld, expires_at = clock_timestamp() + interval '%lld ms',"
			" state = '', code = '', text = '', state_since = clock_timestamp()"
			" WHERE subscription = '%s' AND shard = %u;",
			(long long)request->lease_ms, (long long)request->lease_ms, name, shard);
	ob_postgres_sql(
	    store,
	    "SELECT count(*) FILTER (WHERE NOT scheduled), count(*) FILTER (WHERE scheduled),"
	    " (SELECT count(*) FROM %s.dead WHERE subscription = '%s' AND shard = %u)"
	    " FROM %s.parked WHERE subscription = '%s' AND shard = %u;",
	    schema, name, shard, schema, name, shard);
	/* The keys that wait: those with parked rows, and those held by a dead one that may have none. */
	ob_postgres_sql(
	    store,
	    "SELECT lane, sum(rows)::bigint, bool_or(held) FROM ("
	    "SELECT lane, count(*) AS rows, false AS held FROM %s.parked"
	    " WHERE subscription = '%s' AND shard = %u AND NOT scheduled AND lane <> 0 GROUP BY lane"
	    " UNION ALL SELECT DISTINCT lane, 0, true FROM %s.dead"
	    " WHERE subscription = '%s' AND shard = %u AND holds_key AND lane <> 0) AS waiting"
	    " GROUP BY lane LIMIT %u;"
	    "SELECT coalesce(pg_sequence_last_value('%s.message_seq_seq'), 0)",
	    schema, name, shard, schema, name, shard, request->lanes_max + 1, schema);
}

static int
lanes_take(struct postgres_store *store, const PGresult *result,
	   const struct ob_lease_request *request, struct ob_acquired *acquired,
	   struct ob_error *error)
{
	if ((uint32_t)PQntuples(result) > request->lanes_max)
		return ob_error_set(error, OB_LIMIT,
				    "%s: subscription '%s' has more than %u parked keys",
				    store->name, request->subscription, request->lanes_max);
	for (int i = 0; i < PQntuples(result); i++)
		request->lanes[acquired->lane_count++] = (struct ob_parked_lane){
		    .lane = (uint64_t)ob_postgres_number(result, i, 0, 0),
		    .rows = (uint32_t)ob_postgres_number(result, i, 1, 0),
		    .held = ob_postgres_bool(result, i, 2),
		};
	return OB_OK;
}

static int
matches_make(struct postgres_store *store, const char *topics, struct ob_error *error)
{
	free(store->matches);
	store->matches = NULL;
	ob_buf_reset(&store->sql);
	if (ob_postgres_topic_append(store, topics))
		return OB_OK;
	store->matches = store->sql.failed ? NULL : strdup(ob_buf_text(&store->sql));
	return store->matches == NULL ? ob_postgres_no_memory(store, error) : OB_OK;
}

static bool
text_set(char **to, const char *text)
{
	free(*to);
	*to = strdup(text);
	return *to != NULL;
}

/* The points that the checkpoint has: where everything is settled, and, within an interval, its end. */
static int
points_load(struct postgres_store *store, const struct lease_row *row, int64_t value,
	    struct ob_error *error)
{
	struct postgres_snapshot snapshot;
	int64_t q1 = ob_postgres_number(row->result, 0, ROW_Q1, 0);
	int64_t q2 = ob_postgres_number(row->result, 0, ROW_Q2, 0);
	bool good;

	ob_postgres_points_clear(&store->points);
	good = ob_postgres_snapshot_parse(&snapshot, row->s1) &&
	       ob_postgres_points_add(&store->points, &snapshot, 0, q1, value, 0);
	if (good && *row->s2 != '\0')
		good = ob_postgres_snapshot_parse(&snapshot, row->s2) &&
		       ob_postgres_points_add(&store->points, &snapshot, 1, q2, value, 0);
	if (!good)
		return ob_postgres_no_memory(store, error);
	store->begun = UINT64_MAX;
	return ob_postgres_waiting_reset(store, error);
}

static int
replay_load(struct postgres_store *store, const struct lease_row *row, struct ob_error *error)
{
	store->replay_cut = ob_postgres_number(row->result, 0, ROW_REPLAY_END, 0);
	if (text_set(&store->replay_s1, ob_postgres_text(row->result, 0, ROW_REPLAY_S1)) &&
	    text_set(&store->replay_s2, ob_postgres_text(row->result, 0, ROW_REPLAY_S2)))
		return OB_OK;
	return ob_postgres_no_memory(store, error);
}

/* What the store keeps of a lease that was taken. */
static int
lease_keep(struct postgres_store *store, const struct ob_lease_request *request,
	   const struct lease_row *row, const struct postgres_answers *taken,
	   const struct ob_acquired *acquired, struct ob_error *error)
{
	int64_t high = ob_postgres_number(row->result, 0, ROW_REPLAY_HIGH, 0);
	int code;

	ob_text_copy(store->subscription, sizeof(store->subscription), request->subscription);
	store->shard = request->shard;
	store->shards = (uint32_t)ob_postgres_number(row->whole, 0, WHOLE_SHARDS, 1);
	store->order_by = (enum ob_order_by)ob_postgres_number(row->whole, 0, WHOLE_ORDER_BY, 0);
	store->common_q = ob_postgres_number(row->whole, 0, WHOLE_COMMON_Q, 0);
	store->lease.epoch = (int64_t)acquired->epoch;
	store->lease.lease_ms = request->lease_ms;
	store->lease.beat = row->beat;
	ob_text_copy(store->lease.checkpoint_at, sizeof(store->lease.checkpoint_at),
		     ob_postgres_text(taken->items[0], 0, 0));
	ob_text_copy(store->lease.opening_at, sizeof(store->lease.opening_at),
		     ob_postgres_text(taken->items[1], 0, 0));
	if (!text_set(&store->lease.opened, row->opened) ||
	    !text_set(&store->common, ob_postgres_text(row->whole, 0, WHOLE_COMMON)))
		return ob_postgres_no_memory(store, error);
	code = replay_load(store, row, error);
	if (code == OB_OK)
		code = matches_make(store, ob_postgres_text(row->whole, 0, WHOLE_TOPICS), error);
	if (code != OB_OK)
		return code;
	ob_map_clear(&store->handed);
	store->may_be_parked = acquired->parked_rows + acquired->scheduled_rows > 0;
	store->more = true;
	store->acquired = true;
	if (acquired->goes_on) {
		ob_reading_go_on(&store->reading, row->mark.replay, high);
		return OB_OK;
	}
	ob_reading_start(&store->reading, row->mark, high);
	return points_load(store, row, ob_postgres_number(taken->items[4], 0, 0, 0), error);
}

static int
lease_take(struct postgres_store *store, const struct ob_lease_request *request,
	   struct lease_row *row, struct ob_acquired *acquired, struct ob_error *error)
{
	char before[POSTGRES_HOLDER_SIZE];
	struct postgres_answers taken = {0};
	const PGresult *counts;
	int code;

	memcpy(before, store->lease.holder, sizeof(before));
	if (!acquired->goes_on)
		random_hex(store, store->lease.holder, sizeof(store->lease.holder));
	acquired->epoch = (uint64_t)(acquired->goes_on ? row->epoch : row->epoch + 1);
	acquired->paused = ob_postgres_bool(row->whole, 0, WHOLE_PAUSED);
	take_append(store, request, (int64_t)acquired->epoch);
	code = ob_postgres_run(store, "acquire", &taken, error);
	if (code == OB_OK) {
		counts = taken.items[2];
		acquired->parked_rows = (uint64_t)ob_postgres_number(counts, 0, 0, 0);
		acquired->scheduled_rows = (uint64_t)ob_postgres_number(counts, 0, 1, 0);
		acquired->dead_rows = (uint64_t)ob_postgres_number(counts, 0, 2, 0);
		code = lanes_take(store, taken.items[3], request, acquired, error);
		ob_buf_reset(&store->sql);
		code = code == OB_OK ? ob_postgres_commit(store, "acquire", NULL, error)
				     : ob_postgres_rollback(store, code);
	}
	if (code == OB_OK) {
		OB_CRASH_POINT("C2");
		acquired->held = true;
		code = lease_keep(store, request, row, &taken, acquired, error);
	} else {
		memcpy(store->lease.holder, before, sizeof(before));
	}
	ob_postgres_answers_free(&taken);
	return code;
}

/* After a doubt it may be ours still: nobody else knows its name. */
static bool
lease_is_ours(const struct postgres_store *store, const struct lease_row *row)
{
	return row->holder[0] != '\0' && strcmp(row->holder, store->lease.holder) == 0;
}

/* It is still ours, and nobody but us has written into checkpoint and opening but for the epoch. */
static bool
lease_goes_on(const struct postgres_store *store, const struct ob_lease_request *request,
	      const struct lease_row *row)
{
	return store->acquired && lease_is_ours(store, row) &&
	       strcmp(store->subscription, request->subscription) == 0 &&
	       store->shard == request->shard && row->beat == store->lease.beat &&
	       strcmp(row->opened, store->lease.opened) == 0;
}

/* `*ending`: it is nobody's, because the next shards are to be made first. */
static int
lease_acquire(struct postgres_store *store, const struct ob_lease_request *request,
	      struct ob_acquired *acquired, bool *ending, struct ob_error *error)
{
	struct lease_row row = {0};
	int code = lease_read(store, request, &row, error);

	*ending = false;
	if (code == OB_OK) {
		acquired->shards = (uint32_t)ob_postgres_number(row.whole, 0, WHOLE_SHARDS, 1);
		acquired->changing = ob_postgres_number(row.whole, 0, WHOLE_SHARDS_NEXT, 0) != 0;
	}
	if (code == OB_OK && row.result != NULL) {
		acquired->goes_on = lease_goes_on(store, request, &row);
		/* Shards that are to be made anew are given to nobody, and made once no lease is live. */
		acquired->retry_in_ms =
		    acquired->goes_on || (lease_is_ours(store, &row) && !row.ending)
			? 0
			: lease_left_ms(store, &row);
		*ending = row.ending && !acquired->goes_on && acquired->retry_in_ms == 0;
		if (acquired->retry_in_ms > 0)
			ob_text_copy(acquired->owner, sizeof(acquired->owner), row.owner);
		else if (!*ending)
			code = lease_take(store, request, &row, acquired, error);
	}
	ob_postgres_answers_free(&row.answers);
	return ob_postgres_rollback(store, code);
}

int
ob_postgres_acquire(struct ob_store *base, const struct ob_lease_request *request,
		    struct ob_acquired *acquired, struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	bool ending = false, followed = false;
	int code = OB_OK;

	*acquired = (struct ob_acquired){0};
	if (store->in_doubt || store->conn == NULL) {
		ob_postgres_forget(store);
		code = ob_postgres_reconnect(store, error);
	}
	if (code == OB_OK)
		code = ob_postgres_schema_check(store, error);
	if (code == OB_OK)
		code = lease_acquire(store, request, acquired, &ending, error);
	if (code == OB_OK && ending)
		code =
		    ob_postgres_shards_follow(store, request->subscription, NULL, &followed, error);
	if (code == OB_OK && followed) {
		*acquired = (struct ob_acquired){0};
		code = lease_acquire(store, request, acquired, &ending, error);
	}
	if (code != OB_OK || !acquired->held) {
		if (code != OB_BUSY)
			ob_postgres_forget(store);
		acquired->held = acquired->goes_on = false;
	}
	return code;
}
