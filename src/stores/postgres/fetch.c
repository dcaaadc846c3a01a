/*
 * Reading the log, page by page; in which order, and why, see interval.c.
 *
 * An interval is read stretch of numbers by stretch of numbers, since each stretch lies in one partition: the page's statement
 * names that one alone, and is planned in a twentieth of the time that the whole ring would take. In a stretch the two
 * branches are walks of an index that end after as many rows as are wanted.
 *
 * A page is limited in bytes as well. Payloads up to `inline_max` come with their rows, and so many rows are asked for that
 * even if all have it they fit; of a larger one only the size comes, and the next page asks for it. What the page is
 * too small for is thrown away row by row, so that memory never holds more than the batch and one row.
 *
 * A shard's rows are chosen by the server; what it does not give is passed with the rows around it.
 *
 * The planner is told to use the indexes: what it knows of a partition is of the rows that were there an hour ago.
 */
#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "postgres_store.h"

/* A fetch that found nothing yet ends after so long. */
#define READ_MS_MAX 50
/* How many rows one page asks for at most. */
#define PAGE_ROWS_MAX 16384
#define INLINE_MIN    2048

struct log_read {
	struct postgres_store *store;
	const struct ob_fetch *fetch;
	struct ob_batch *batch;
	uint32_t given;
	uint64_t bytes;
	int64_t until_us;
	/* The page at hand. */
	const struct postgres_answers *answers;
	int64_t now_us; /* the database's clock, since 1970 */
	uint32_t limit, rows;
	int64_t large;        /* the payload that stopped it was left out for its size */
	int64_t payload_seen; /* the greatest that came */
	bool stop;
};

/* ---- the rows of a page ---- */

static int
fail_row(const struct postgres_store *store, struct ob_error *error)
{
	return ob_error_set(error, OB_FAILED, "%s: a row of the log cannot be read", store->name);
}

/* Takes one row into the batch, unless a limit ends the fetch before it. */
static int
row_take(struct log_read *read, const struct postgres_row *from, const char *data, size_t size,
	 struct ob_error *error)
{
	struct postgres_store *store = read->store;
	uint32_t bytes = ob_postgres_row_bytes(from);
	struct ob_row *row;

	if (read->given == read->fetch->count_max ||
	    (read->bytes + bytes > read->fetch->bytes_max &&
	     (read->given > 0 || !read->fetch->oversize_ok))) {
		read->stop = true;
		return OB_OK;
	}
	row = ob_batch_add(read->batch);
	if (row == NULL) {
		read->stop = true;
		return OB_OK;
	}
	if (!ob_postgres_message_copy(read->batch, from, data, size, &row->message))
		return ob_postgres_no_memory(store, error);
	row->replayed = ob_reading_replays(&store->reading);
	row->ordinal = ob_reading_add(&store->reading, from->position);
	if (row->ordinal == 0)
		return ob_error_set(error, OB_LIMIT, "%s: too many messages are open", store->name);
	row->position = from->position;
	row->lane = ob_lane_of(&row->message, store->order_by);
	row->bytes = bytes;
	if (from->payload_bytes >= 0)
		row->oversize_bytes = (uint64_t)from->payload_bytes;
	/* Rounded up, or it would be handed out as due and be not. */
	if (from->scheduled && from->deliver_after_us > read->now_us)
		row->due_in_ms = (from->deliver_after_us - read->now_us + 999) / 1000;
	read->batch->bytes += bytes;
	read->bytes += bytes;
	read->given++;
	return OB_OK;
}

static int
row_copied(void *context, const char *data, size_t size, struct ob_error *error)
{
	struct log_read *read = context;
	struct postgres_row row;
	bool end;

	/* The guard's answer came before. */
	if (read->stop || PQntuples(read->answers->items[0]) == 0)
		return OB_OK;
	if (read->rows == 0)
		read->now_us = ob_postgres_number(read->answers->items[0], 0, 0, 0);
	if (!ob_postgres_row_read(&row, data, size, &end))
		return fail_row(read->store, error);
	if (end)
		return OB_OK;
	read->rows++;
	if (!row.matches) {
		ob_reading_pass(&read->store->reading, row.position);
		return OB_OK;
	}
	if (row.payload_bytes >= 0 &&
	    row.payload_bytes <= read->store->options->message_bytes_max) {
		read->stop = true;
		read->large = row.payload_bytes;
		return OB_OK;
	}
	if (row.payload_bytes < 0 && (int64_t)row.message.payload.size > read->payload_seen)
		read->payload_seen = (int64_t)row.message.payload.size;
	return row_take(read, &row, data, size, error);
}

/* ---- asking for a page ---- */

/* How many rows are asked for, and up to which size their payloads. One row more than is wanted tells whether there are more. */
static void
page_size(struct log_read *read)
{
	struct postgres_store *store = read->store;
	uint64_t left =
	    read->fetch->bytes_max > read->bytes ? read->fetch->bytes_max - read->bytes : 0;
	uint64_t most, wanted = (uint64_t)(read->fetch->count_max - read->given) + 1;

	if (store->inline_max < INLINE_MIN)
		store->inline_max = INLINE_MIN;
	most = left / ((uint64_t)store->inline_max + OB_ROW_OVERHEAD) + 2;
	if (store->matches != NULL)
		wanted = PAGE_ROWS_MAX;
	if (wanted > most)
		wanted = most;
	read->limit = wanted < PAGE_ROWS_MAX ? (uint32_t)wanted : PAGE_ROWS_MAX;
}

/* What is learnt of the payloads' sizes for the next page. */
static void
page_learn(struct log_read *read)
{
	struct postgres_store *store = read->store;

	if (read->large > store->inline_max)
		store->inline_max = read->large;
	else if (read->payload_seen < store->inline_max / 2 && read->large == 0 && read->rows > 0)
		store->inline_max /= 2;
	if (store->inline_max < INLINE_MIN)
		store->inline_max = INLINE_MIN;
}

static void
page_begin(struct postgres_store *store)
{
	ob_postgres_begin_read(store);
	ob_postgres_sql(store,
			"SET LOCAL statement_timeout = %lld;SET LOCAL jit = off;"
			"SET LOCAL max_parallel_workers_per_gather = 0;"
			"SET LOCAL enable_seqscan = off;SET LOCAL enable_bitmapscan = off;"
			"SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
			" FROM %s.checkpoint AS c WHERE ",
			(long long)store->options->timeout_ms, store->schema);
	ob_postgres_guard(store);
	ob_postgres_sql(store, ";");
}

/* The numbers of a page: behind `from`, up to `to`, all in one partition. */
struct range {
	int64_t from, to;
	unsigned partition;
};

static struct range
range_of(int64_t from, int64_t high)
{
	int64_t stretch = (from + 1) / POSTGRES_STRETCH;
	int64_t end = (stretch + 1) * POSTGRES_STRETCH - 1;

	return (struct range){
	    .from = from,
	    .to = end < high ? end : high,
	    .partition = (unsigned)(stretch % POSTGRES_PARTITIONS),
	};
}

/*
 * Runs the page whose rows `rows_append` selects from a table m: it appends what stands behind SELECT and the columns, but for
 * the order and the limit. `*guarded` false: nothing was read.
 */
static int
page_run(struct log_read *read, void (*rows_append)(struct log_read *read, struct range range),
	 struct range range, bool *guarded, struct ob_error *error)
{
	struct postgres_store *store = read->store;
	struct postgres_answers answers = {.copied = row_copied, .context = read};
	int code;

	page_size(read);
	read->answers = &answers;
	read->rows = 0;
	read->large = read->payload_seen = 0;
	page_begin(store);
	ob_postgres_sql(store, "COPY (SELECT ");
	ob_postgres_message_columns(store, "m.seq", store->matches, store->inline_max,
				    "m.deliver_after");
	rows_append(read, range);
	ob_postgres_sql(store, " ORDER BY m.seq LIMIT %u) TO STDOUT (FORMAT binary);", read->limit);
	code = ob_postgres_commit(store, "read", &answers, error);
	if (code != OB_OK)
		return code;
	*guarded = PQntuples(answers.items[0]) > 0;
	ob_postgres_answers_free(&answers);
	page_learn(read);
	return OB_OK;
}

/* ---- the log ---- */

/* What is to be known before an interval's first page: who is late in it, and where it begins. */
static int
interval_begin(struct postgres_store *store, struct ob_error *error)
{
	uint64_t number = store->reading.read.stretch;
	const struct postgres_point *from = ob_postgres_points_get(&store->points, number);
	const struct postgres_point *to = ob_postgres_points_get(&store->points, number + 1);
	struct postgres_answers answers = {0};
	int code;

	OB_CHECK(from != NULL);
	OB_CHECK(to != NULL);
	if (store->begun == number)
		return OB_OK;
	store->low = ob_postgres_points_late(&store->points, from, &to->snapshot, &store->members);
	if (store->members.failed)
		return ob_postgres_no_memory(store, error);
	if (store->low < 0) {
		ob_postgres_begin_read(store);
		ob_postgres_sql(
		    store,
		    "SELECT min(first.seq) FROM unnest('%s'::xid8[]) AS late (xid), LATERAL (SELECT m.seq"
		    " FROM %s.message AS m WHERE (m.xid, m.seq) > (late.xid, 0)"
		    " AND (m.xid, m.seq) <= (late.xid, %" PRId64 ")"
		    " ORDER BY m.xid, m.seq LIMIT 1) AS first;",
		    ob_buf_text(&store->members), store->schema, INT64_MAX);
		code = ob_postgres_commit(store, "read", &answers, error);
		if (code != OB_OK)
			return code;
		store->low = ob_postgres_number(answers.items[0], 0, 0, from->q + 1) - 1;
		ob_postgres_answers_free(&answers);
		if (store->low > from->q)
			store->low = from->q;
	}
	store->begun = number;
	return OB_OK;
}

/* What the snapshot sees; most are below all that it has in progress. */
static void
visible_append(struct postgres_store *store, const struct postgres_snapshot *snapshot)
{
	ob_postgres_sql(store, "(m.xid < '%" PRIu64 "' OR pg_visible_in_snapshot(m.xid, '%s'))",
			snapshot->xmin, snapshot->text);
}

/*
 * The two branches. In the first, what is asked of xid is no condition of an index: the walk must be that of the numbers. In the
 * second it must be that of the transaction: asked for one xid in the order of the numbers, the planner would rather walk the
 * numbers and hope to meet it soon.
 */
static void
interval_append(struct log_read *read, struct range range)
{
	struct postgres_store *store = read->store;
	uint64_t number = store->reading.read.stretch;
	const struct postgres_point *from = ob_postgres_points_get(&store->points, number);
	const struct postgres_point *to = ob_postgres_points_get(&store->points, number + 1);
	int64_t above = range.from > from->q ? range.from : from->q;
	bool late = store->members.size > strlen("{}");

	if (late)
		ob_postgres_sql(store, " FROM ((SELECT *");
	ob_postgres_sql(store,
			" FROM %s.message_%u AS m WHERE m.seq > %lld AND m.seq <= %lld"
			" AND (m.xid >= '%" PRIu64 "') IS TRUE AND ",
			store->schema, range.partition, (long long)above, (long long)range.to,
			from->snapshot.xmax);
	visible_append(store, &to->snapshot);
	ob_postgres_shard_append(store, store->shards, store->shard);
	if (!late)
		return;
	ob_postgres_sql(
	    store,
	    " ORDER BY m.seq LIMIT %u) UNION ALL (SELECT m.* FROM unnest('%s'::xid8[]) AS late (xid),"
	    " LATERAL (SELECT * FROM %s.message_%u AS m WHERE (m.xid, m.seq) > (late.xid, %lld)"
	    " AND (m.xid, m.seq) <= (late.xid, %lld)",
	    read->limit, ob_buf_text(&store->members), store->schema, range.partition,
	    (long long)range.from, (long long)range.to);
	ob_postgres_shard_append(store, store->shards, store->shard);
	ob_postgres_sql(store, " ORDER BY m.xid, m.seq LIMIT %u) AS m)) AS m", read->limit);
}

static void
replay_append(struct log_read *read, struct range range)
{
	struct postgres_store *store = read->store;

	ob_postgres_sql(store,
			" FROM %s.message_%u AS m WHERE m.seq > %lld AND m.seq <= %lld"
			" AND (pg_visible_in_snapshot(m.xid, '%s')",
			store->schema, range.partition, (long long)range.from, (long long)range.to,
			store->replay_s1);
	if (*store->replay_s2 != '\0')
		ob_postgres_sql(store,
				" OR (m.seq <= %lld AND pg_visible_in_snapshot(m.xid, '%s'))",
				(long long)store->replay_cut, store->replay_s2);
	ob_postgres_sql(store, ")");
	ob_postgres_shard_append(store, store->shards, store->shard);
}

/* Something of what was opened is not read yet. */
static bool
is_unread(const struct postgres_store *store)
{
	return ob_reading_replays(&store->reading) ||
	       store->reading.read.stretch < ob_postgres_points_last(&store->points)->number;
}

/* The ring was turned, or somebody rolled back: jumps over stretches in which there is nothing. */
static int
empty_skip(struct postgres_store *store, int64_t *to, int64_t high, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code;

	if (high - *to < 2 * (int64_t)POSTGRES_STRETCH)
		return OB_OK;
	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "SELECT seq FROM %s.message WHERE seq > %lld ORDER BY seq LIMIT 1;",
			store->schema, (long long)*to);
	code = ob_postgres_commit(store, "read", &answers, error);
	if (code != OB_OK)
		return code;
	*to = ob_postgres_number(answers.items[0], 0, 0, high + 1) - 1;
	if (*to > high)
		*to = high;
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

/* All of `range` was read, of an interval or a replay that ends at `high`. */
static int
range_end(struct log_read *read, struct range range, int64_t high, struct ob_error *error)
{
	struct postgres_store *store = read->store;
	int code = OB_OK;

	if (read->rows == 0)
		code = empty_skip(store, &range.to, high, error);
	if (code != OB_OK)
		return code;
	if (range.to < high)
		ob_reading_pass(&store->reading, range.to);
	else if (ob_reading_replays(&store->reading))
		ob_reading_end(&store->reading);
	else
		ob_reading_next_stretch(&store->reading);
	return OB_OK;
}

/* Reads one page of what is open. */
static int
page_read(struct log_read *read, struct ob_error *error)
{
	struct postgres_store *store = read->store;
	bool replaying = ob_reading_replays(&store->reading), guarded;
	int64_t from = ob_reading_from(&store->reading), high = ob_reading_to(&store->reading);
	struct range range;
	int code = OB_OK;

	if (!replaying) {
		code = interval_begin(store, error);
		if (code != OB_OK)
			return code;
		from = from > store->low ? from : store->low;
		high =
		    ob_postgres_points_get(&store->points, store->reading.read.stretch + 1)->high;
	}
	if (from >= high) {
		read->rows = 0;
		return range_end(read, (struct range){.to = high}, high, error);
	}
	range = range_of(from, high);
	code = page_run(read, replaying ? replay_append : interval_append, range, &guarded, error);
	if (code == OB_OK && !guarded)
		code = ob_postgres_unguarded(store, error);
	if (code != OB_OK)
		return code;
	if (read->rows > 0 && !replaying)
		store->fruitful = true;
	if (!read->stop && read->rows < read->limit)
		return range_end(read, range, high, error);
	return OB_OK;
}

/* All that is open was read: opens another interval if there is anything to be in it. */
static int
interval_next(struct postgres_store *store, bool *opened, struct ob_error *error)
{
	bool found = store->known_new && !ob_postgres_at_common(store), guarded = true;
	int code = OB_OK;

	*opened = false;
	if (!found)
		code = ob_postgres_look(store, &found, &guarded, error);
	if (code == OB_OK && !guarded)
		code = ob_postgres_unguarded(store, error);
	if (code != OB_OK || !found || ob_postgres_points_full(&store->points))
		return code;
	*opened = true;
	return ob_postgres_interval_open(store, error);
}

/* A payload that was left out for its size is worth another page: it is the first, and fits or may pass. */
static bool
large_is_wanted(const struct log_read *read)
{
	return read->large > 0 && read->given == 0 && read->fetch->count_max > 0 &&
	       (read->fetch->oversize_ok ||
		(uint64_t)read->large + OB_ROW_OVERHEAD <= read->fetch->bytes_max);
}

/*
 * What was opened before is read first, and then what there is beyond it. But the rows of an interval that was opened just now
 * are handed out without asking for more: they are what somebody waits for.
 */
static int
log_read(struct log_read *read, struct ob_error *error)
{
	struct postgres_store *store = read->store;
	const struct ob_host *host = store->base.host;
	bool opened = false, go_on = true;
	int code = OB_OK;

	while (code == OB_OK && go_on) {
		read->stop = false;
		if (is_unread(store)) {
			code = page_read(read, error);
			go_on = read->given == 0 || !opened;
		} else {
			code = interval_next(store, &opened, error);
			go_on = opened;
		}
		if (read->stop && !large_is_wanted(read))
			break;
		go_on = go_on && host->monotonic_us(host->context) < read->until_us;
	}
	if (code == OB_OK)
		read->batch->more = read->stop || is_unread(store);
	return code;
}

/* ---- the call ---- */

/* A fetch that failed leaves no trace: neither ordinals nor rows that count as handed out. */
static void
fetch_undo(struct postgres_store *store, struct ob_reading_point point, struct ob_batch *batch)
{
	ob_reading_undo(&store->reading, point);
	for (uint32_t i = 0; i < batch->count; i++)
		if (batch->rows[i].ordinal == 0)
			ob_map_remove(&store->handed, (uint64_t)batch->rows[i].position);
	ob_batch_reset(batch);
}

int
ob_postgres_fetch(struct ob_store *base, const struct ob_fetch *fetch, struct ob_batch *batch,
		  struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	const struct ob_host *host = base->host;
	struct ob_reading_point point = ob_reading_point(&store->reading);
	struct log_read read = {
	    .store = store,
	    .fetch = fetch,
	    .batch = batch,
	    .until_us = host->monotonic_us(host->context) + READ_MS_MAX * 1000,
	};
	int code = ob_postgres_lease_look(store, error);

	if (code != OB_OK)
		return code;
	if (fetch->count_max == 0 && fetch->parked_max == 0)
		return ob_postgres_look_away(store, error);
	ob_postgres_snapshot_free(&store->seen);
	code = ob_postgres_parked_fetch(store, fetch, batch, error);
	if (code == OB_OK && fetch->count_max > 0)
		code = log_read(&read, error);
	if (code != OB_OK) {
		fetch_undo(store, point, batch);
		return code;
	}
	if (read.given > 0 || batch->count > 0)
		store->found_us = host->monotonic_us(host->context);
	batch->passed = ob_reading_passed(&store->reading);
	store->more = batch->more;
	return OB_OK;
}
