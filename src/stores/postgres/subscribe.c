/*
 * Making a subscription, and changing what it is.
 *
 * A new one begins at a point of its own: a snapshot that sees nothing ("the beginning"), or one that is taken as an
 * interval is opened ("now", see interval.c), so that a transaction in progress is not missed.
 */
#include <string.h>

#include "checks.h"
#include "postgres_store.h"

/* Before the first transaction: every row is invisible in it. */
#define NOTHING "3:3:"

struct present {
	bool there, same, order_changed;
	bool ending; /* its shards, to be followed by others */
};

static int
subscription_read(struct postgres_store *store, const struct ob_subscription *subscription,
		  struct present *present, struct ob_error *error)
{
	const char *sink = subscription->sink == NULL ? "" : subscription->sink;
	struct postgres_answers answers = {0};
	const PGresult *row;
	int code;

	ob_postgres_begin_read(store);
	ob_postgres_sql(
	    store,
	    "SELECT topics, order_by, sink, hold_key FROM %s.subscription WHERE name = '%s';SELECT ",
	    store->schema, subscription->name);
	ob_postgres_ending_append(store, subscription->name);
	ob_postgres_sql(store, ";");
	code = ob_postgres_commit(store, "subscribe", &answers, error);
	if (code != OB_OK)
		return code;
	row = answers.items[0];
	*present = (struct present){.there = PQntuples(row) > 0,
				    .ending = ob_postgres_bool(answers.items[1], 0, 0)};
	if (present->there) {
		present->order_changed =
		    ob_postgres_number(row, 0, 1, 0) != (int64_t)subscription->order_by;
		present->same = !present->order_changed &&
				strcmp(ob_postgres_text(row, 0, 0), subscription->topics) == 0 &&
				strcmp(ob_postgres_text(row, 0, 2), sink) == 0 &&
				ob_postgres_bool(row, 0, 3) == subscription->hold_key;
	}
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

static void
values_append(struct postgres_store *store, const struct ob_subscription *subscription)
{
	ob_postgres_literal(store, subscription->topics);
	ob_postgres_sql(store, ", %d, ", (int)subscription->order_by);
	ob_postgres_literal(store, subscription->sink == NULL ? "" : subscription->sink);
	ob_postgres_sql(store, ", %s", subscription->hold_key ? "true" : "false");
}

/* Another relay may be making the same one: then its rows stay, and these are none. */
static int
subscription_insert(struct postgres_store *store, const struct ob_subscription *subscription,
		    struct ob_error *error)
{
	uint32_t shards = subscription->shards > 1 ? subscription->shards : 1;
	const char *snapshot = subscription->from_now ? "pg_current_snapshot()" : "'" NOTHING "'";
	struct postgres_answers answers = {0};
	int64_t drawn = 0;
	int code;

	/* What was drawn before the snapshot is asked for in a transaction before it. */
	if (subscription->from_now) {
		ob_buf_reset(&store->sql);
		ob_postgres_opening_begin(store);
		code = ob_postgres_commit(store, "subscribe", &answers, error);
		if (code != OB_OK)
			return code;
		drawn = ob_postgres_number(answers.items[0], 0, 0, 0);
		ob_postgres_answers_free(&answers);
	}
	ob_postgres_begin_write(store);
	ob_postgres_sql(
	    store,
	    "WITH made AS (INSERT INTO %s.subscription (name, topics, order_by, sink, hold_key, shards)"
	    " VALUES ('%s', ",
	    store->schema, subscription->name);
	values_append(store, subscription);
	ob_postgres_sql(
	    store,
	    ", %u) ON CONFLICT DO NOTHING RETURNING name, shards),"
	    " points AS (INSERT INTO %s.checkpoint (subscription, shard, s1, q1, system_identifier,"
	    " database_oid) SELECT made.name, n, %s, %lld, (pg_control_system()).system_identifier,"
	    " (SELECT oid FROM pg_database WHERE datname = current_database())"
	    " FROM made, generate_series(0, made.shards - 1) AS n RETURNING subscription, shard, s1),"
	    " openings AS (INSERT INTO %s.opening (subscription, shard, snapshot)"
	    " SELECT subscription, shard, s1 FROM points)"
	    " INSERT INTO %s.lease (subscription, shard) SELECT subscription, shard FROM points;",
	    shards, store->schema, snapshot, (long long)drawn, store->schema, store->schema);
	return ob_postgres_commit(store, "subscribe", NULL, error);
}

static int
subscription_update(struct postgres_store *store, const struct ob_subscription *subscription,
		    bool order_changed, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	bool parked;
	int code;

	ob_postgres_begin_write(store);
	if (order_changed) {
		ob_postgres_sql(
		    store,
		    "SELECT EXISTS (SELECT FROM %s.parked WHERE subscription = '%s' AND lane <> 0)"
		    " OR EXISTS (SELECT FROM %s.dead WHERE subscription = '%s' AND holds_key)",
		    store->schema, subscription->name, store->schema, subscription->name);
		code = ob_postgres_run(store, "subscribe", &answers, error);
		if (code != OB_OK)
			return code;
		parked = ob_postgres_bool(answers.items[0], 0, 0);
		ob_postgres_answers_free(&answers);
		if (parked)
			return ob_postgres_rollback(
			    store,
			    ob_error_set(
				error, OB_CONFIG,
				"subscription '%s': order_by cannot change while keys are parked",
				subscription->name));
		ob_buf_reset(&store->sql);
	}
	ob_postgres_sql(store, "UPDATE %s.subscription SET (topics, order_by, sink, hold_key) = (",
			store->schema);
	values_append(store, subscription);
	ob_postgres_sql(store, ") WHERE name = '%s';", subscription->name);
	return ob_postgres_commit(store, "subscribe", NULL, error);
}

int
ob_postgres_subscribe(struct ob_store *base, const struct ob_subscription *subscription,
		      struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	struct present present;
	bool followed;
	int code = ob_subscription_check(subscription, "postgres", OB_SHARDS_MAX, error);

	if (code == OB_OK)
		code = ob_postgres_schema_check(store, error);
	if (code == OB_OK)
		code = subscription_read(store, subscription, &present, error);
	if (code != OB_OK)
		return code;
	if (!present.there)
		code = subscription_insert(store, subscription, error);
	else if (!present.same)
		code = subscription_update(store, subscription, present.order_changed, error);
	if (code == OB_OK && present.ending)
		code = ob_postgres_shards_follow(store, subscription->name, NULL, &followed, error);
	if (code == OB_OK && subscription->shards != 0)
		code = ob_postgres_shards_change(store, subscription->name, subscription->shards,
						 error);
	return code;
}
