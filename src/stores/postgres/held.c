/* While a lease is held: the guard that every call passes, and why it does not (see lease.c), renew and release. */
#include <string.h>

#include "crash.h"
#include "postgres_store.h"
#include "text.h"

void
ob_postgres_guard(struct postgres_store *store)
{
	const struct postgres_lease *lease = &store->lease;

	ob_postgres_sql(
	    store,
	    "c.ctid = '%s' AND c.subscription = '%s' AND c.shard = %u AND c.epoch = %lld"
	    " AND c.beat = %lld AND EXISTS (SELECT FROM %s.opening AS o WHERE o.ctid = '%s'"
	    " AND o.subscription = '%s' AND o.shard = %u AND o.snapshot::text = '%s')",
	    lease->checkpoint_at, store->subscription, store->shard, (long long)lease->epoch,
	    (long long)lease->beat, store->schema, lease->opening_at, store->subscription,
	    store->shard, lease->opened);
}

static int
unguarded_because(struct postgres_store *store, const PGresult *row, bool is_shard,
		  struct ob_error *error)
{
	struct postgres_lease *lease = &store->lease;
	int64_t epoch = ob_postgres_number(row, 0, 1, 0);

	if (!is_shard) {
		ob_postgres_forget(store);
		return ob_error_set(error, OB_STALE, "%s: subscription '%s' has no shard %u now",
				    store->name, store->subscription, store->shard);
	}
	if (PQntuples(row) > 0 && strcmp(ob_postgres_text(row, 0, 5), lease->holder) != 0 &&
	    epoch > lease->epoch) {
		ob_postgres_forget(store);
		return ob_error_set(error, OB_STALE, "%s: another relay runs subscription '%s' now",
				    store->name, store->subscription);
	}
	if (PQntuples(row) == 0 || epoch < lease->epoch ||
	    strcmp(ob_postgres_text(row, 0, 5), lease->holder) != 0 ||
	    ob_postgres_number(row, 0, 2, 0) != lease->beat ||
	    strcmp(ob_postgres_text(row, 0, 4), lease->opened) != 0) {
		ob_postgres_forget(store);
		return ob_error_set(
		    error, OB_AGAIN,
		    "%s: the server is not where it was: a standby took over, or it was restored",
		    store->name);
	}
	if (epoch > lease->epoch)
		return ob_error_set(error, OB_CHANGED,
				    "%s: subscription '%s' was changed by a person", store->name,
				    store->subscription);
	ob_text_copy(lease->checkpoint_at, sizeof(lease->checkpoint_at),
		     ob_postgres_text(row, 0, 0));
	ob_text_copy(lease->opening_at, sizeof(lease->opening_at), ob_postgres_text(row, 0, 3));
	return ob_error_set(error, OB_BUSY, "%s: the checkpoint's row was moved", store->name);
}

int
ob_postgres_unguarded(struct postgres_store *store, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store,
			"SELECT c.ctid, c.epoch, c.beat, o.ctid, o.snapshot::text, l.holder"
			" FROM %s.checkpoint AS c JOIN %s.opening AS o USING (subscription, shard)"
			" JOIN %s.lease AS l USING (subscription, shard)"
			" WHERE c.subscription = '%s' AND c.shard = %u;"
			"SELECT FROM %s.subscription WHERE name = '%s' AND shards <= %u;",
			store->schema, store->schema, store->schema, store->subscription,
			store->shard, store->schema, store->subscription, store->shard);
	code = ob_postgres_commit(store, "read the lease", &answers, error);
	if (code != OB_OK)
		return code;
	code = unguarded_because(store, answers.items[0], PQntuples(answers.items[1]) == 0, error);
	ob_postgres_answers_free(&answers);
	return code;
}

int
ob_postgres_lease_look(struct postgres_store *store, struct ob_error *error)
{
	if (store->in_doubt || store->conn == NULL) {
		ob_postgres_forget(store);
		return ob_error_set(error, OB_AGAIN, "%s: the lease must be taken again",
				    store->name);
	}
	if (!store->acquired)
		return ob_error_set(error, OB_STALE, "%s: the lease is not held", store->name);
	return OB_OK;
}

static void
state_append(struct postgres_store *store, const struct ob_relay_state *state)
{
	ob_postgres_sql(store, ", state = ");
	ob_postgres_literal(store, state->state == NULL ? "" : state->state);
	ob_postgres_sql(store, ", code = ");
	ob_postgres_literal(store, state->code == NULL ? "" : state->code);
	ob_postgres_sql(store, ", text = ");
	ob_postgres_literal(store, state->text == NULL ? "" : state->text);
	ob_postgres_sql(store,
			", state_since = clock_timestamp() - interval '%lld ms', delivered = %llu",
			(long long)state->since_ms, (unsigned long long)state->delivered);
}

/*
 * Pages name partitions and settles other tables, so that a log that was renamed, or of which a partition was taken out, would go
 * unnoticed: whether it is there as it was is asked with each renewal, and of the sequence what order rests on.
 */
static void
log_whole_append(struct postgres_store *store)
{
	const char *schema = store->schema;

	ob_postgres_sql(
	    store,
	    "SELECT (SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('%s.message')"
	    " AND inhrelid IN (SELECT to_regclass('%s.message_' || i) FROM generate_series(0, %d) AS i))"
	    " = %d AND EXISTS (SELECT FROM pg_sequence WHERE seqrelid ="
	    " to_regclass('%s.message_seq_seq') AND seqcache = 1 AND seqincrement = 1);",
	    schema, schema, POSTGRES_PARTITIONS - 1, POSTGRES_PARTITIONS, schema);
}

int
ob_postgres_renew(struct ob_store *base, const struct ob_relay_state *state, struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	struct postgres_answers answers = {0};
	bool renewed, whole;
	int code = ob_postgres_lease_look(store, error);

	if (code != OB_OK)
		return code;
	ob_postgres_begin_write(store);
	log_whole_append(store);
	ob_postgres_sql(store,
			"UPDATE %s.lease AS l SET beat = l.beat + 1,"
			" expires_at = clock_timestamp() + interval '%lld ms'",
			store->schema, (long long)store->lease.lease_ms);
	if (state != NULL)
		state_append(store, state);
	ob_postgres_sql(store,
			" FROM %s.checkpoint AS c WHERE l.subscription = '%s' AND l.shard = %u"
			" AND l.holder = '%s' AND ",
			store->schema, store->subscription, store->shard, store->lease.holder);
	ob_postgres_guard(store);
	ob_postgres_sql(store, " RETURNING 1;");
	code = ob_postgres_commit(store, "renew", &answers, error);
	if (code != OB_OK)
		return code;
	OB_CRASH_POINT("C14");
	whole = ob_postgres_bool(answers.items[0], 0, 0);
	renewed = PQntuples(answers.items[1]) > 0;
	ob_postgres_answers_free(&answers);
	if (!renewed)
		return ob_postgres_unguarded(store, error);
	return whole ? OB_OK : ob_postgres_schema_check(store, error);
}

int
ob_postgres_release(struct ob_store *base, struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	int code;

	if (!store->acquired || store->in_doubt || store->conn == NULL)
		return OB_OK;
	ob_postgres_begin_write(store);
	ob_postgres_sql(
	    store,
	    "UPDATE %s.lease SET holder = '', owner = '', member = 0, expires_at = 'epoch', state = '',"
	    " code = '', text = '' WHERE subscription = '%s' AND shard = %u AND holder = '%s';",
	    store->schema, store->subscription, store->shard, store->lease.holder);
	code = ob_postgres_commit(store, "release", NULL, error);
	if (code == OB_OK)
		ob_postgres_forget(store);
	return code;
}
