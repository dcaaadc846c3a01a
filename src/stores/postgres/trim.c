/*
 * Giving back space: the ring of partitions.
 *
 * A partition that everybody has passed is truncated: no row is ever deleted, so nothing is left for a vacuum and the disk has
 * all of it back. The newest cannot be, since applications write into it; so when it is done with and has been the newest for
 * long enough, or has grown large, the ring is turned: the numbers that are left of its stretch are burnt. Both are functions
 * with the owner's rights (001_outbox.sql), which check again, under the lock, what is asked for here.
 */
#include "crash.h"
#include "postgres_store.h"

/* After one that had to wait for a lock: somebody reads the partition for long, and those behind us would wait, too. */
#define PAUSE_MS 5000

static int64_t
now_us(const struct postgres_store *store)
{
	return store->base.host->monotonic_us(store->base.host->context);
}

/* The partitions that hold rows, or did since they were emptied. */
static int
partitions_ask(struct postgres_store *store, struct postgres_answers *answers,
	       struct ob_error *error)
{
	ob_postgres_begin_read(store);
	ob_postgres_sql(
	    store,
	    "SELECT i, coalesce(pg_sequence_last_value('%s.message_seq_seq'), 0) / %d %% %d = i"
	    " FROM generate_series(0, %d) AS i WHERE pg_relation_size('%s.message_' || i) > 0;",
	    store->schema, POSTGRES_STRETCH, POSTGRES_PARTITIONS, POSTGRES_PARTITIONS - 1,
	    store->schema);
	return ob_postgres_commit(store, "trim", answers, error);
}

static int
partition_empty(struct postgres_store *store, int64_t partition, uint64_t *rows,
		struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code;

	ob_postgres_begin_write(store);
	ob_postgres_sql(store, "SELECT %s.empty(%lld, interval '%lld ms');", store->schema,
			(long long)partition, (long long)store->options->retention_ms);
	OB_CRASH_POINT("C11");
	code = ob_postgres_commit(store, "trim", &answers, error);
	if (code != OB_OK)
		return code;
	*rows = (uint64_t)ob_postgres_number(answers.items[0], 0, 0, 0);
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

static int
ring_turn(struct postgres_store *store, bool *turned, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code;

	ob_postgres_begin_write(store);
	ob_postgres_sql(store, "SELECT %s.turn(interval '%lld ms', %lld);", store->schema,
			(long long)store->options->turn_age_ms,
			(long long)store->options->turn_bytes);
	code = ob_postgres_commit(store, "trim", &answers, error);
	if (code != OB_OK)
		return code;
	*turned = ob_postgres_bool(answers.items[0], 0, 0);
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

/* One piece of work: a partition that is emptied, or a turn. */
static int
trim_piece(struct postgres_store *store, const PGresult *partitions, uint64_t *rows, bool *again,
	   struct ob_error *error)
{
	int code = OB_OK;

	for (int i = 0; i < PQntuples(partitions) && code == OB_OK && !*again; i++) {
		if (ob_postgres_bool(partitions, i, 1))
			code = ring_turn(store, again, error);
		else
			code = partition_empty(store, ob_postgres_number(partitions, i, 0, 0), rows,
					       error);
		*again = *again || *rows > 0;
	}
	return code;
}

int
ob_postgres_trim(struct ob_store *base, uint64_t *rows, bool *again, struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	struct postgres_answers answers = {0};
	int code;

	*rows = 0;
	*again = false;
	if (now_us(store) < store->trim_not_before_us)
		return OB_OK;
	code = partitions_ask(store, &answers, error);
	if (code != OB_OK)
		return code;
	code = trim_piece(store, answers.items[0], rows, again, error);
	ob_postgres_answers_free(&answers);
	if (code != OB_BUSY)
		return code;
	store->trim_not_before_us = now_us(store) + PAUSE_MS * INT64_C(1000);
	return OB_OK;
}
