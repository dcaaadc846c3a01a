/*
 * Changing the number of a subscription's shards.
 *
 * The common point is a point like any other (interval.c): a snapshot, and a number that was drawn before it. It is taken
 * while the rows of `opening` are locked, so it sees all that any of the shards' points sees; and their epochs are raised
 * there and then, so that whoever was about to open an interval of its own finds that it may not. From then on the next
 * interval that a shard opens ends at the common point, and there is none after it. Nothing but that point is shared, so
 * each shard comes to it in its own time.
 *
 *	shard 0  ──┼────┼──────┤          what stands before the common point has been settled by the old shards, each its
 *	shard 1  ────┼─────────┤ common   own keys; what stands behind it goes to the new ones, whoever's the key is then
 *	shard 2  ──┼──┼────────┤
 */
#include <string.h>

#include "postgres_store.h"

/* Many parked rows may get another shard. */
#define FOLLOW_MS 300000

void
ob_postgres_shard_append(struct postgres_store *store, uint32_t shards, uint32_t shard)
{
	if (shards > 1)
		ob_postgres_sql(store, " AND %s.shard_of(m.partition_key, m.id, %u) = %u",
				store->schema, shards, shard);
}

void
ob_postgres_ending_append(struct postgres_store *store, const char *subscription)
{
	ob_postgres_sql(
	    store,
	    "EXISTS (SELECT FROM %s.subscription AS s WHERE s.shards_next > 0 AND NOT EXISTS"
	    " (SELECT FROM %s.checkpoint AS c WHERE c.subscription = s.name AND (c.s2 IS NOT NULL"
	    " OR c.s1::text <> s.common::text OR c.replay_s1 IS NOT NULL)) AND s.name = ",
	    store->schema, store->schema);
	ob_postgres_literal(store, subscription);
	ob_postgres_sql(store, ")");
}

/* ---- the change begins ---- */

/* Locks the subscription's row, and says what it has. The transaction is open then. */
static int
present_read(struct postgres_store *store, const char *subscription, int64_t *drawn,
	     uint32_t *shards, uint32_t *shards_next, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code;

	/* The number is drawn, and a transaction of ours begins and ends, before the snapshot is taken. */
	ob_buf_reset(&store->sql);
	ob_postgres_opening_begin(store);
	ob_postgres_sql(store, "COMMIT;");
	ob_postgres_write_append(store);
	ob_postgres_sql(
	    store, "SELECT shards, shards_next FROM %s.subscription WHERE name = '%s' FOR UPDATE",
	    store->schema, subscription);
	code = ob_postgres_run(store, "subscribe", &answers, error);
	if (code != OB_OK)
		return code;
	*drawn = ob_postgres_number(answers.items[0], 0, 0, 0);
	*shards = (uint32_t)ob_postgres_number(answers.items[2], 0, 0, 0);
	*shards_next = (uint32_t)ob_postgres_number(answers.items[2], 0, 1, 0);
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

int
ob_postgres_shards_change(struct postgres_store *store, const char *subscription, uint32_t shards,
			  struct ob_error *error)
{
	const char *schema = store->schema;
	uint32_t present, next;
	int64_t drawn;
	int code = present_read(store, subscription, &drawn, &present, &next, error);

	if (code != OB_OK)
		return code;
	if (present == 0 || shards == (next != 0 ? next : present))
		return ob_postgres_rollback(store, OB_OK);
	ob_buf_reset(&store->sql);
	/* Whoever runs one is to know. */
	if (next == 0 || shards == present)
		ob_postgres_sql(
		    store,
		    "UPDATE %s.checkpoint SET epoch = epoch + 1 WHERE subscription = '%s';"
		    "UPDATE %s.opening SET epoch = epoch + 1 WHERE subscription = '%s';",
		    schema, subscription, schema, subscription);
	if (shards == present)
		ob_postgres_sql(
		    store,
		    "UPDATE %s.subscription SET shards_next = 0, common = NULL, common_q = NULL"
		    " WHERE name = '%s';",
		    schema, subscription);
	else if (next != 0)
		ob_postgres_sql(store,
				"UPDATE %s.subscription SET shards_next = %u WHERE name = '%s';",
				schema, shards, subscription);
	else
		ob_postgres_sql(
		    store,
		    "UPDATE %s.subscription SET shards_next = %u, common = pg_current_snapshot(),"
		    " common_q = %lld WHERE name = '%s';",
		    schema, shards, (long long)drawn, subscription);
	return ob_postgres_commit(store, "subscribe", NULL, error);
}

/* ---- the change is made ---- */

/* Locks everything, and says whether the time has come, and above which epoch the next ones begin. The transaction is open
   then. */
static int
end_read(struct postgres_store *store, const char *subscription, const char *dead, bool *ended,
	 int64_t *epoch, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	const char *schema = store->schema;
	int code;

	ob_postgres_begin_write(store);
	ob_postgres_sql(
	    store,
	    "SELECT FROM %s.subscription WHERE name = '%s' FOR UPDATE;"
	    "SELECT FROM %s.checkpoint WHERE subscription = '%s' ORDER BY shard FOR UPDATE;"
	    "SELECT FROM %s.opening WHERE subscription = '%s' ORDER BY shard FOR UPDATE;"
	    "SELECT FROM %s.lease WHERE subscription = '%s' ORDER BY shard FOR UPDATE;"
	    "SELECT max(epoch), ",
	    schema, subscription, schema, subscription, schema, subscription, schema, subscription);
	ob_postgres_ending_append(store, subscription);
	ob_postgres_sql(
	    store,
	    " AND NOT EXISTS (SELECT FROM %s.lease WHERE subscription = '%s' AND holder <> ''"
	    " AND expires_at > clock_timestamp()",
	    schema, subscription);
	if (dead != NULL)
		ob_postgres_sql(store, " AND (holder, beat) NOT IN (VALUES %s)", dead);
	ob_postgres_sql(store, ") FROM %s.checkpoint WHERE subscription = '%s'", schema,
			subscription);
	code = ob_postgres_run(store, "make the next shards", &answers, error);
	if (code != OB_OK)
		return code;
	*epoch = ob_postgres_number(answers.items[4], 0, 0, 0);
	*ended = ob_postgres_bool(answers.items[4], 0, 1);
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

static void
rows_append(struct postgres_store *store, const char *subscription, int64_t epoch)
{
	const char *schema = store->schema;

	ob_postgres_sql(store,
			"DELETE FROM %s.checkpoint WHERE subscription = '%s';"
			"DELETE FROM %s.opening WHERE subscription = '%s';"
			"DELETE FROM %s.lease WHERE subscription = '%s';",
			schema, subscription, schema, subscription, schema, subscription);
	ob_postgres_sql(
	    store,
	    "INSERT INTO %s.checkpoint (subscription, shard, epoch, s1, q1, system_identifier,"
	    " database_oid) SELECT s.name, n, %lld, s.common, s.common_q,"
	    " (pg_control_system()).system_identifier,"
	    " (SELECT oid FROM pg_database WHERE datname = current_database())"
	    " FROM %s.subscription AS s, generate_series(0, s.shards_next - 1) AS n WHERE s.name = '%s';",
	    schema, (long long)epoch, schema, subscription);
	ob_postgres_sql(
	    store,
	    "INSERT INTO %s.opening (subscription, shard, epoch, snapshot) SELECT s.name, n, %lld,"
	    " s.common FROM %s.subscription AS s, generate_series(0, s.shards_next - 1) AS n"
	    " WHERE s.name = '%s';"
	    "INSERT INTO %s.lease (subscription, shard) SELECT s.name, n"
	    " FROM %s.subscription AS s, generate_series(0, s.shards_next - 1) AS n"
	    " WHERE s.name = '%s';",
	    schema, (long long)epoch, schema, subscription, schema, schema, subscription);
}

/* What is kept of a message goes to the shard of its key. */
static void
kept_append(struct postgres_store *store, const char *subscription, const char *table)
{
	const char *schema = store->schema;

	ob_postgres_sql(
	    store,
	    "UPDATE %s.%s AS m SET shard = %s.shard_of(m.partition_key, m.id, s.shards_next)"
	    " FROM %s.subscription AS s WHERE s.name = '%s' AND m.subscription = '%s'"
	    " AND m.shard <> %s.shard_of(m.partition_key, m.id, s.shards_next);",
	    schema, table, schema, schema, subscription, subscription, schema);
}

static int
shards_make(struct postgres_store *store, const char *subscription, int64_t epoch,
	    struct ob_error *error)
{
	ob_buf_reset(&store->sql);
	rows_append(store, subscription, epoch);
	kept_append(store, subscription, "parked");
	kept_append(store, subscription, "dead");
	ob_postgres_sql(
	    store,
	    "UPDATE %s.subscription SET shards = shards_next, shards_next = 0, common = NULL,"
	    " common_q = NULL WHERE name = '%s';",
	    store->schema, subscription);
	return ob_postgres_commit(store, "make the next shards", NULL, error);
}

int
ob_postgres_shards_follow(struct postgres_store *store, const char *subscription, const char *dead,
			  bool *followed, struct ob_error *error)
{
	bool ended = false;
	int64_t epoch = 0;
	int code;

	ob_postgres_patience(store, FOLLOW_MS);
	code = end_read(store, subscription, dead, &ended, &epoch, error);
	if (code == OB_OK)
		code = ended ? shards_make(store, subscription, epoch + 1, error)
			     : ob_postgres_rollback(store, OB_OK);
	ob_postgres_patience(store, 0);
	*followed = code == OB_OK && ended;
	return code;
}
