/*
 * Reading the due parked rows: which ones first, without their payloads, and then those that are taken, whole. There are
 * none in most outboxes, and then nothing is asked.
 */
#include <stdlib.h>

#include "check.h"
#include "postgres_store.h"

struct parked_row {
	int64_t position, attempts, age_ms, size;
	uint64_t lane;
	bool scheduled;
};

struct parked_read {
	struct postgres_store *store;
	const struct ob_fetch *fetch;
	struct ob_batch *batch;
	struct parked_row *rows; /* that are taken */
	uint32_t count, given;
	uint64_t bytes;
};

/* 0: never tried, which a row that was tried just now must not look like. */
#define META                                                                                    \
	"m.position, m.lane, m.attempts, CASE WHEN m.first_try_at IS NULL THEN 0 ELSE"          \
	" greatest(1, (extract(epoch FROM clock_timestamp() - m.first_try_at) * 1000)::bigint)" \
	" END, coalesce(octet_length(m.payload), octet_length(m.payload_bytes), 0),"            \
	" m.scheduled::int"

static struct parked_row
meta_read(const PGresult *result, int i)
{
	return (struct parked_row){
	    .position = ob_postgres_number(result, i, 0, 0),
	    .lane = (uint64_t)ob_postgres_number(result, i, 1, 0),
	    .attempts = ob_postgres_number(result, i, 2, 0),
	    .age_ms = ob_postgres_number(result, i, 3, 0),
	    .size = ob_postgres_number(result, i, 4, 0),
	    .scheduled = ob_postgres_number(result, i, 5, 0) != 0,
	};
}

static bool
is_full(const struct parked_read *read)
{
	return read->count == read->fetch->parked_max || read->bytes >= read->fetch->bytes_max ||
	       read->batch->count + read->count == read->batch->capacity ||
	       read->store->handed.count + read->count == POSTGRES_HANDED_MAX;
}

static bool
is_handed(const struct postgres_store *store, int64_t position)
{
	return ob_map_get(&store->handed, (uint64_t)position) != NULL;
}

static void
take(struct parked_read *read, struct parked_row row)
{
	read->rows[read->count++] = row;
	read->bytes += OB_ROW_OVERHEAD;
	if (row.size <= read->store->options->message_bytes_max)
		read->bytes += (uint64_t)row.size;
}

/* The heads by the time at which they are due; one more than can be wanted tells when the next is. */
static int
heads_ask(struct parked_read *read, struct postgres_answers *answers, struct ob_error *error)
{
	struct postgres_store *store = read->store;
	int code;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "SELECT FROM %s.checkpoint AS c WHERE ", store->schema);
	ob_postgres_guard(store);
	ob_postgres_sql(
	    store,
	    ";SELECT " META ", (extract(epoch FROM m.due_at - clock_timestamp()) * 1000)::bigint"
	    " FROM %s.parked AS m WHERE m.subscription = '%s' AND m.shard = %u AND m.head"
	    " ORDER BY m.due_at LIMIT %zu;",
	    store->schema, store->subscription, store->shard,
	    read->fetch->parked_max + store->handed.count + 1);
	code = ob_postgres_commit(store, "read parked messages", answers, error);
	if (code == OB_OK && PQntuples(answers->items[0]) == 0) {
		ob_postgres_answers_free(answers);
		code = ob_postgres_unguarded(store, error);
	}
	return code;
}

/* The rows right behind the heads that are due, by their keys. */
static int
runs_ask(struct parked_read *read, const PGresult *heads, int due, struct postgres_answers *answers,
	 struct ob_error *error)
{
	struct postgres_store *store = read->store;
	bool any = false;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "SELECT " META ", h.head FROM (VALUES ");
	for (int i = 0; i < due; i++) {
		struct parked_row head = meta_read(heads, i);

		if (head.lane == 0 || is_handed(store, head.position))
			continue;
		ob_postgres_sql(store, "%s(%lld, %lld)", any ? "," : "", (long long)head.lane,
				(long long)head.position);
		any = true;
	}
	if (!any)
		return OB_OK;
	ob_postgres_sql(store,
			") AS h (lane, head), LATERAL (SELECT * FROM %s.parked AS m"
			" WHERE m.subscription = '%s' AND NOT m.scheduled AND m.lane = h.lane"
			" AND m.position > h.head ORDER BY m.position LIMIT %u) AS m"
			" ORDER BY h.head, m.position;",
			store->schema, store->subscription, read->fetch->run_max - 1);
	return ob_postgres_commit(store, "read parked messages", answers, error);
}

/* Behind a head as long as none of its run is out already. */
static void
run_take(struct parked_read *read, const PGresult *runs, int64_t head)
{
	for (int i = 0; runs != NULL && i < PQntuples(runs) && !is_full(read); i++) {
		struct parked_row row = meta_read(runs, i);

		if (ob_postgres_number(runs, i, 6, 0) != head)
			continue;
		if (is_handed(read->store, row.position))
			break;
		take(read, row);
	}
}

/* Chooses the rows that are taken, and notes when the first of the others is due. */
static int
choose(struct parked_read *read, struct ob_error *error)
{
	struct postgres_store *store = read->store;
	struct postgres_answers heads = {0}, runs = {0};
	const PGresult *head_rows;
	int due = 0, code = heads_ask(read, &heads, error);

	if (code != OB_OK)
		return code;
	head_rows = heads.items[1];
	while (due < PQntuples(head_rows) && ob_postgres_number(head_rows, due, 6, 0) <= 0)
		due++;
	if (read->fetch->parked_max > 0 && read->fetch->run_max > 1 && due > 0)
		code = runs_ask(read, head_rows, due, &runs, error);
	for (int i = 0; i < PQntuples(head_rows) && code == OB_OK; i++) {
		struct parked_row head = meta_read(head_rows, i);
		int64_t due_in_ms = ob_postgres_number(head_rows, i, 6, 0);

		if (is_handed(store, head.position))
			continue;
		if (i >= due || is_full(read)) {
			read->batch->next_due_ms = due_in_ms > 0 ? due_in_ms : 0;
			break;
		}
		take(read, head);
		run_take(read, runs.count > 0 ? runs.items[0] : NULL, head.position);
	}
	ob_postgres_answers_free(&heads);
	ob_postgres_answers_free(&runs);
	return code;
}

/* ---- the rows themselves ---- */

static int
row_copied(void *context, const char *data, size_t size, struct ob_error *error)
{
	struct parked_read *read = context;
	struct postgres_store *store = read->store;
	struct parked_row *meta;
	struct postgres_row from;
	struct ob_row *row;
	bool end;

	if (!ob_postgres_row_read(&from, data, size, &end))
		return ob_error_set(error, OB_FAILED, "%s: a parked row cannot be read",
				    store->name);
	/* They come in the order that was asked for; one that a person discarded meanwhile is missing. */
	while (!end && read->given < read->count &&
	       read->rows[read->given].position != from.position)
		read->given++;
	if (end || read->given == read->count)
		return OB_OK;
	meta = &read->rows[read->given++];
	row = ob_batch_add(read->batch);
	OB_CHECK(row != NULL);
	row->position = meta->position;
	row->lane = meta->lane;
	row->scheduled = meta->scheduled;
	row->attempts = (uint32_t)meta->attempts;
	row->age_ms = meta->age_ms;
	if (from.payload_bytes >= 0)
		row->oversize_bytes = (uint64_t)from.payload_bytes;
	if (!ob_postgres_message_copy(read->batch, &from, data, size, &row->message))
		return ob_postgres_no_memory(store, error);
	row->bytes = ob_row_bytes(&row->message);
	read->batch->bytes += row->bytes;
	ob_map_put(&store->handed, (uint64_t)row->position, store);
	return OB_OK;
}

static int
rows_ask(struct parked_read *read, struct ob_error *error)
{
	struct postgres_store *store = read->store;
	struct postgres_answers answers = {.copied = row_copied, .context = read};
	int code;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "COPY (SELECT ");
	ob_postgres_message_columns(store, "m.position", NULL, store->options->message_bytes_max,
				    "NULL::timestamptz");
	ob_postgres_sql(store, " FROM unnest('{");
	for (uint32_t i = 0; i < read->count; i++)
		ob_postgres_sql(store, "%s%lld", i > 0 ? "," : "",
				(long long)read->rows[i].position);
	ob_postgres_sql(
	    store,
	    "}'::bigint[]) WITH ORDINALITY AS chosen (position, place) JOIN %s.parked AS m"
	    " ON m.subscription = '%s' AND m.position = chosen.position"
	    " ORDER BY chosen.place) TO STDOUT (FORMAT binary);",
	    store->schema, store->subscription);
	code = ob_postgres_commit(store, "read parked messages", &answers, error);
	ob_postgres_answers_free(&answers);
	return code;
}

int
ob_postgres_parked_fetch(struct postgres_store *store, const struct ob_fetch *fetch,
			 struct ob_batch *batch, struct ob_error *error)
{
	struct parked_read read = {.store = store, .fetch = fetch, .batch = batch};
	int code;

	if (!store->may_be_parked)
		return OB_OK;
	read.rows = calloc((size_t)fetch->parked_max + 1, sizeof(read.rows[0]));
	if (read.rows == NULL)
		return ob_postgres_no_memory(store, error);
	code = choose(&read, error);
	if (code == OB_OK && read.count > 0)
		code = rows_ask(&read, error);
	free(read.rows);
	return code;
}
