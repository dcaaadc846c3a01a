/*
 * Listing messages wherever they stand, in the order of their positions.
 *
 * First the keys of a page are read with all but the messages themselves; then these, some at a time, so that no transaction is open
 * while the caller prints, however long that takes.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "postgres_store.h"

#define LIST_MAX 1000
/* Rows of one position are never torn apart, since paging is by position: so many may come on top. */
#define LIST_TIES_MAX 1000
/* How many messages, and about how many bytes of them, are read at once. */
#define CHUNK_ROWS  64
#define CHUNK_BYTES (1024 * 1024)

struct list_key {
	enum ob_place place;
	int64_t position;
	const PGresult *result; /* its row in the keys of its place */
	int row;
};

struct listing {
	struct postgres_store *store;
	const struct ob_selection *selection;
	struct postgres_answers places;
	struct list_key *keys;
	size_t key_count;
	struct ob_batch
	    *batch;   /* the messages of a chunk, each with the number of its key as position */
	size_t chunk; /* where it begins */
};

/* Columns of keys: 0 position, 1 subscription, 2 flag (passed, head or holds_key), 3 attempts, 4 due_in_ms, 5 since_ms, 6 code,
   7 text, 8 tries, 9 size, 10 age_ms. */
#define SIZE        "coalesce(octet_length(m.payload), octet_length(m.payload_bytes), 0)"
#define AGE(column) "(extract(epoch FROM clock_timestamp() - " column ") * 1000)::bigint"
#define DUE(column) "(extract(epoch FROM " column " - clock_timestamp()) * 1000)::bigint"
#define KEPT        "m.code, m.text, m.tries, " SIZE ", " AGE("m.created_at")

static void
log_append(struct listing *l, size_t limit)
{
	struct postgres_store *store = l->store;

	/* What every subscription's checkpoint is past. */
	ob_postgres_sql(
	    store,
	    "SELECT m.seq, '', EXISTS (SELECT FROM %s.checkpoint) AND NOT EXISTS"
	    " (SELECT FROM %s.checkpoint AS c JOIN %s.subscription AS s ON s.name = c.subscription"
	    " AND (s.shards = 1 OR c.shard = %s.shard_of(m.partition_key, m.id, s.shards))"
	    " WHERE NOT pg_visible_in_snapshot(m.xid, c.s1) AND"
	    " (m.seq <= c.at AND pg_visible_in_snapshot(m.xid, c.s2)) IS NOT TRUE), 0,"
	    " " DUE("m.deliver_after") ", 0, '', '', '[]', " SIZE ", " AGE(
		"m.created_at") " FROM (SELECT * FROM %s.message AS m WHERE m.seq > %lld",
	    store->schema, store->schema, store->schema, store->schema, store->schema,
	    (long long)l->selection->position_after);
	ob_postgres_selection_append(store, l->selection, true);
	ob_postgres_sql(store, " ORDER BY m.seq LIMIT %zu) AS m ORDER BY m.seq;", limit);
}

static void
parked_append(struct listing *l, bool scheduled, size_t limit)
{
	struct postgres_store *store = l->store;

	ob_postgres_sql(
	    store,
	    "SELECT m.position, m.subscription, m.head, m.attempts, " DUE("m.due_at") ", " AGE(
		"m.parked_at") ", " KEPT " FROM %s.parked AS m WHERE %s m.scheduled"
			       " AND m.position > %lld",
	    store->schema, scheduled ? "" : "NOT", (long long)l->selection->position_after);
	ob_postgres_selection_append(store, l->selection, false);
	ob_postgres_sql(store, " ORDER BY m.position, m.subscription LIMIT %zu;", limit);
}

static void
dead_append(struct listing *l, size_t limit)
{
	struct postgres_store *store = l->store;

	ob_postgres_sql(store,
			"SELECT m.position, m.subscription, m.holds_key, m.attempts, NULL,"
			" " AGE("m.dead_at") ", " KEPT " FROM %s.dead AS m WHERE m.position > %lld",
			store->schema, (long long)l->selection->position_after);
	ob_postgres_selection_append(store, l->selection, false);
	ob_postgres_sql(store, " ORDER BY m.position, m.subscription LIMIT %zu;", limit);
}

static bool
place_is_wanted(const struct ob_selection *selection, enum ob_place place)
{
	/* What is in the log belongs to no subscription. */
	if (place == OB_PLACE_LOG && selection->subscription != NULL && selection->place == 0)
		return false;
	return selection->place == 0 || selection->place == place;
}

static int
key_compare(const void *a, const void *b)
{
	const struct list_key *x = a, *y = b;

	if (x->position != y->position)
		return x->position < y->position ? -1 : 1;
	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row;
}

/* Puts the places' keys into one order, and cuts them to a page. */
static int
page_make(struct listing *l, const enum ob_place *places, size_t wanted, struct ob_error *error)
{
	size_t count = 0;

	for (size_t i = 0; i < l->places.count; i++)
		count += (size_t)PQntuples(l->places.items[i]);
	l->keys = calloc(count + 1, sizeof(l->keys[0]));
	if (l->keys == NULL)
		return ob_postgres_no_memory(l->store, error);
	for (size_t i = 0; i < l->places.count; i++)
		for (int row = 0; row < PQntuples(l->places.items[i]); row++)
			l->keys[l->key_count++] = (struct list_key){
			    .place = places[i],
			    .position = ob_postgres_number(l->places.items[i], row, 0, 0),
			    .result = l->places.items[i],
			    .row = row,
			};
	qsort(l->keys, l->key_count, sizeof(l->keys[0]), key_compare);
	if (l->key_count > wanted) {
		size_t end = wanted;

		while (end < l->key_count && l->keys[end].position == l->keys[wanted - 1].position)
			end++;
		l->key_count = end;
	}
	return OB_OK;
}

static int
page_read(struct listing *l, struct ob_error *error)
{
	enum ob_place places[4];
	size_t wanted = l->selection->count_max, count = 0, limit;
	int code;

	if (wanted == 0 || wanted > LIST_MAX)
		wanted = LIST_MAX;
	limit = wanted + LIST_TIES_MAX;
	ob_postgres_begin_read(l->store);
	for (enum ob_place place = OB_PLACE_LOG; place <= OB_PLACE_DEAD; place++) {
		if (!place_is_wanted(l->selection, place))
			continue;
		if (place == OB_PLACE_LOG)
			log_append(l, limit);
		else if (place == OB_PLACE_DEAD)
			dead_append(l, limit);
		else
			parked_append(l, place == OB_PLACE_SCHEDULED, limit);
		places[count++] = place;
	}
	code = ob_postgres_commit(l->store, "list", &l->places, error);
	return code == OB_OK ? page_make(l, places, wanted, error) : code;
}

/* ---- the messages ---- */

static int
message_copied(void *context, const char *data, size_t size, struct ob_error *error)
{
	struct listing *l = context;
	struct postgres_row from;
	struct ob_row *row;
	bool end;

	if (!ob_postgres_row_read(&from, data, size, &end))
		return ob_error_set(error, OB_FAILED, "%s: a message cannot be read",
				    l->store->name);
	if (end)
		return OB_OK;
	row = ob_batch_add(l->batch);
	OB_CHECK(row != NULL);
	row->position = from.position;
	if (!ob_postgres_message_copy(l->batch, &from, data, size, &row->message))
		return ob_postgres_no_memory(l->store, error);
	return OB_OK;
}

/* The keys of a chunk: of one place, and not too much. */
static size_t
chunk_end(const struct listing *l)
{
	int64_t bytes = 0;
	size_t end = l->chunk;

	while (end < l->key_count && end < l->chunk + CHUNK_ROWS && bytes < CHUNK_BYTES &&
	       l->keys[end].place == l->keys[l->chunk].place) {
		bytes += ob_postgres_number(l->keys[end].result, l->keys[end].row, 9, 0);
		end++;
	}
	return end;
}

static int
chunk_read(struct listing *l, size_t end, struct ob_error *error)
{
	struct postgres_store *store = l->store;
	struct postgres_answers answers = {.copied = message_copied, .context = l};
	enum ob_place place = l->keys[l->chunk].place;
	const char *table = place == OB_PLACE_LOG    ? "message"
			    : place == OB_PLACE_DEAD ? "dead"
						     : "parked";
	int code;

	ob_batch_reset(l->batch);
	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "COPY (SELECT ");
	ob_postgres_message_columns(store, "chosen.key::bigint", NULL,
				    store->options->message_bytes_max, "NULL::timestamptz");
	ob_postgres_sql(store, " FROM (VALUES ");
	for (size_t i = l->chunk; i < end; i++) {
		ob_postgres_sql(store, "%s(%zu, %lld::bigint, ", i > l->chunk ? "," : "", i,
				(long long)l->keys[i].position);
		ob_postgres_literal(store, ob_postgres_text(l->keys[i].result, l->keys[i].row, 1));
		ob_postgres_sql(store, ")");
	}
	ob_postgres_sql(store, ") AS chosen (key, position, subscription) JOIN %s.%s AS m ON",
			store->schema, table);
	if (place == OB_PLACE_LOG)
		ob_postgres_sql(store, " m.seq = chosen.position");
	else
		ob_postgres_sql(store, " m.position = chosen.position"
				       " AND m.subscription = chosen.subscription");
	ob_postgres_sql(store, " ORDER BY chosen.key) TO STDOUT (FORMAT binary);");
	code = ob_postgres_commit(store, "list", &answers, error);
	ob_postgres_answers_free(&answers);
	return code;
}

static void
row_fill(const struct list_key *key, const struct ob_message *message, struct ob_listed *row)
{
	const PGresult *result = key->result;
	bool flag = ob_postgres_bool(result, key->row, 2);
	int64_t age_ms = ob_postgres_number(result, key->row, 10, 0);
	int64_t due_in_ms = ob_postgres_number(result, key->row, 4, 0);
	int64_t since_ms = ob_postgres_number(result, key->row, 5, 0);

	*row = (struct ob_listed){
	    .subscription =
		key->place == OB_PLACE_LOG ? NULL : ob_postgres_text(result, key->row, 1),
	    .place = key->place,
	    .passed = key->place == OB_PLACE_LOG && flag,
	    .head = (key->place == OB_PLACE_PARKED || key->place == OB_PLACE_SCHEDULED) && flag,
	    .holds_key = key->place == OB_PLACE_DEAD && flag,
	    .position = key->position,
	    .message = *message,
	    .attempts = (uint32_t)ob_postgres_number(result, key->row, 3, 0),
	    .age_ms = age_ms > 0 ? age_ms : 0,
	    .due_in_ms = due_in_ms > 0 ? due_in_ms : 0,
	    .since_ms = since_ms > 0 ? since_ms : 0,
	    .code = ob_postgres_text(result, key->row, 6),
	    .text = ob_postgres_text(result, key->row, 7),
	    .tries = ob_postgres_text(result, key->row, 8),
	};
}

static int
page_show(struct listing *l, bool (*each)(void *context, const struct ob_listed *row),
	  void *context, struct ob_error *error)
{
	int code = OB_OK;

	while (l->chunk < l->key_count && code == OB_OK) {
		size_t end = chunk_end(l);

		code = chunk_read(l, end, error);
		/* What went away since the page was read is not shown. */
		for (uint32_t i = 0; i < l->batch->count && code == OB_OK; i++) {
			struct ob_row *message = &l->batch->rows[i];
			struct ob_listed row;

			row_fill(&l->keys[message->position], &message->message, &row);
			if (!each(context, &row))
				return OB_OK;
		}
		l->chunk = end;
	}
	return code;
}

int
ob_postgres_list(struct ob_store *base, const struct ob_selection *selection,
		 bool (*each)(void *context, const struct ob_listed *row), void *context,
		 struct ob_error *error)
{
	struct listing l = {.store = postgres_store_of(base), .selection = selection};
	int code = ob_postgres_schema_check(l.store, error);

	if (code == OB_OK)
		code = ob_postgres_selection_check(selection, error);
	if (code != OB_OK)
		return code;
	l.batch = ob_batch_new(CHUNK_ROWS);
	if (l.batch == NULL)
		return ob_postgres_no_memory(l.store, error);
	code = page_read(&l, error);
	if (code == OB_OK)
		code = page_show(&l, each, context, error);
	ob_postgres_answers_free(&l.places);
	free(l.keys);
	ob_batch_free(l.batch);
	return code;
}
