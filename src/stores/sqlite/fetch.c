/*
 * Reading the log and the due parked rows, in one short read transaction.
 *
 * One transaction writes at a time, so the order of `seq` is the order of the commits, and nothing ever
 * appears below a number that was seen: everything behind the mark, upwards, is all there is to it.
 * In rollback mode a reader holds up the application's commit, so a fetch ends after READ_MS_MAX whatever is left.
 */
#include <limits.h>
#include <string.h>

#include "check.h"
#include "rfc3339.h"
#include "sqlite_store.h"

#define READ_MS_MAX 20
/* How many rows of no interest one fetch reads past. */
#define SCAN_MAX 16384
/* The clock is asked once in so many rows. */
#define CLOCK_ROWS 64
/* While others write, a fetch is followed by a pause so many times as long, but no longer than this. */
#define READ_PAUSES       4
#define READ_PAUSE_MAX_US 4000

struct log_read {
	struct sqlite_store *store;
	const struct ob_fetch *fetch;
	struct ob_batch *batch;
	uint32_t given, scanned;
	uint64_t bytes;
	int64_t until_us;
	bool stop;
};

static int
digits(const char *text, size_t count)
{
	int value = 0;

	for (size_t i = 0; i < count; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

/*
 * The time of day of "YYYY-MM-DDTHH:MM:SS.sssZ", as the default writes it, with the day taken from the
 * row before when it is the same; anything else goes to the full parser. Junk is 0: it is only shown.
 */
static int64_t
created_at_us(struct sqlite_store *store, struct ob_bytes text)
{
	const char *at = text.data;
	int64_t us = 0;
	int h, m, s, ms;

	if (at == NULL)
		return 0;
	if (text.size == 24 && memcmp(at, store->day, sizeof(store->day)) == 0 && at[10] == 'T' &&
	    at[13] == ':' && at[16] == ':' && at[19] == '.' && at[23] == 'Z') {
		h = digits(at + 11, 2);
		m = digits(at + 14, 2);
		s = digits(at + 17, 2);
		ms = digits(at + 20, 3);
		if ((h | m | s | ms) >= 0)
			return store->day_us +
			       (((h * INT64_C(60) + m) * 60 + s) * 1000 + ms) * 1000;
	}
	if (!ob_rfc3339_parse(at, text.size, &us))
		return 0;
	if (text.size == 24 && us >= 0) {
		memcpy(store->day, at, sizeof(store->day));
		store->day_us = us - us % INT64_C(86400000000);
	}
	return us;
}

/* The columns as they stand in SQLite's memory, valid until the next step. */
static void
message_view(struct sqlite_store *store, sqlite3_stmt *statement, int column,
	     struct ob_message *message)
{
	message->id = ob_sqlite_column(store, statement, column);
	message->topic = ob_sqlite_column(store, statement, column + 1);
	message->key = ob_sqlite_column(store, statement, column + 2);
	message->type = ob_sqlite_column(store, statement, column + 3);
	message->content_type = ob_sqlite_column(store, statement, column + 4);
	message->headers = ob_sqlite_column(store, statement, column + 5);
	message->created_at_us =
	    created_at_us(store, ob_sqlite_column(store, statement, column + 6));
	message->payload = ob_sqlite_column(store, statement, column + 7);
}

/* SQLite's own limit leaves some room above ours: what came through is looked at here. */
static void
payload_limit(const struct sqlite_store *store, struct ob_message *message,
	      uint64_t *oversize_bytes)
{
	if (message->payload.size <= (uint64_t)store->options->message_bytes_max)
		return;
	*oversize_bytes = message->payload.size;
	message->payload = (struct ob_bytes){0};
}

static bool
field_copy(struct ob_batch *batch, struct ob_bytes *bytes)
{
	return bytes->data == NULL || ob_batch_copy(batch, bytes->data, bytes->size, bytes);
}

static int
message_copy(struct sqlite_store *store, struct ob_batch *batch, struct ob_message *message,
	     struct ob_error *error)
{
	if (field_copy(batch, &message->id) && field_copy(batch, &message->topic) &&
	    field_copy(batch, &message->key) && field_copy(batch, &message->type) &&
	    field_copy(batch, &message->content_type) && field_copy(batch, &message->headers) &&
	    field_copy(batch, &message->payload))
		return OB_OK;
	return ob_error_set(error, OB_NOMEM, "%s: out of memory for a message", store->name);
}

int
ob_sqlite_read_message(struct sqlite_store *store, sqlite3_stmt *statement, int column,
		       struct ob_batch *batch, struct ob_message *message, struct ob_error *error)
{
	message_view(store, statement, column, message);
	return message_copy(store, batch, message, error);
}

/* ---- the log ---- */

/* Takes one row of the log into the batch, unless a limit ends the fetch before it. */
static int
row_take(struct log_read *read, sqlite3_stmt *statement, int64_t seq, uint64_t oversize_bytes,
	 struct ob_error *error)
{
	struct sqlite_store *store = read->store;
	struct ob_message message;
	struct ob_row *row;
	uint32_t bytes;
	int code;

	message_view(store, statement, 2, &message);
	payload_limit(store, &message, &oversize_bytes);
	bytes = ob_row_bytes(&message);
	if (read->bytes + bytes > read->fetch->bytes_max &&
	    (read->given > 0 || !read->fetch->oversize_ok)) {
		read->stop = true;
		return OB_OK;
	}
	row = ob_batch_add(read->batch);
	if (row == NULL) {
		read->stop = true;
		return OB_OK;
	}
	code = message_copy(store, read->batch, &message, error);
	if (code != OB_OK)
		return code;
	row->message = message;
	row->replayed = ob_reading_replays(&store->reading);
	row->ordinal = ob_reading_add(&store->reading, seq);
	if (row->ordinal == 0)
		return ob_error_set(error, OB_LIMIT, "%s: too many messages are open", store->name);
	row->position = seq;
	row->lane = ob_lane_of(&message, store->order_by);
	row->bytes = bytes;
	row->oversize_bytes = oversize_bytes;
	if (sqlite3_column_type(statement, 1) != SQLITE_NULL) {
		row->due_in_ms = sqlite3_column_int64(statement, 1);
		if (row->due_in_ms < 0)
			row->due_in_ms = 0;
	}
	read->batch->bytes += bytes;
	read->bytes += bytes;
	read->given++;
	return OB_OK;
}

/* Whether the row that was stepped to is of interest. */
static bool
row_matches(struct sqlite_store *store)
{
	return store->all_topics || store->matched;
}

/* True when the fetch has taken its time, or read past as much as one may. */
static bool
read_is_long(struct log_read *read)
{
	const struct ob_host *host = read->store->base.host;

	if (++read->scanned >= SCAN_MAX && !read->store->all_topics)
		return true;
	return read->scanned % CLOCK_ROWS == 0 &&
	       host->monotonic_us(host->context) >= read->until_us;
}

/*
 * The next row has a payload above the limit, and SQLite refuses to load it (SQLITE_LIMIT_LENGTH): read
 * it without, and ask for the size alone.
 */
static int
row_take_oversize(struct log_read *read, struct ob_error *error)
{
	struct sqlite_store *store = read->store;
	sqlite3_stmt *statement;
	sqlite3_blob *blob = NULL;
	int64_t seq;
	int code, rc;

	code = ob_sqlite_prepare(store, SQL_MESSAGE_WITHOUT_PAYLOAD, &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_int64(statement, 1, ob_reading_from(&store->reading));
	sqlite3_bind_int64(statement, 2, ob_reading_to(&store->reading));
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW) {
		seq = sqlite3_column_int64(statement, 0);
		rc = sqlite3_blob_open(store->db, "main", "outbox_message", "payload", seq, 0,
				       &blob);
		if (rc != SQLITE_OK)
			code = ob_sqlite_fail(store, rc, "read a large payload", error);
		else
			code = row_take(read, statement, seq, (uint64_t)sqlite3_blob_bytes(blob),
					error);
		sqlite3_blob_close(blob);
	} else {
		/* It was there a moment ago, in this very transaction. */
		code =
		    ob_sqlite_fail(store, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, "read", error);
	}
	sqlite3_reset(statement);
	return code;
}

/* Steps through the stretch that is being read. `*ended`: nothing is left of it. */
static int
stretch_read(struct log_read *read, sqlite3_stmt *statement, bool *ended, struct ob_error *error)
{
	struct sqlite_store *store = read->store;
	int code = OB_OK, rc;

	*ended = false;
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		int64_t seq = sqlite3_column_int64(statement, 0);

		if (!row_matches(store))
			ob_reading_pass(&store->reading, seq);
		else if (read->given == read->fetch->count_max)
			read->stop = true;
		else
			code = row_take(read, statement, seq, 0, error);
		if (code != OB_OK || read->stop || read_is_long(read))
			return code;
	}
	if (rc == SQLITE_TOOBIG) {
		sqlite3_reset(statement);
		if (read->given == read->fetch->count_max)
			read->stop = true;
		else
			code = row_take_oversize(read, error);
		return code;
	}
	if (rc != SQLITE_DONE)
		return ob_sqlite_fail(store, rc, "read", error);
	*ended = true;
	return OB_OK;
}

static int
log_read(struct log_read *read, struct ob_error *error)
{
	struct sqlite_store *store = read->store;
	const struct ob_host *host = store->base.host;
	sqlite3_stmt *statement;
	bool ended, more;
	int code;

	code = ob_sqlite_prepare(store, store->all_topics ? SQL_MESSAGES : SQL_MESSAGES_MATCHING,
				 &statement, error);
	if (code != OB_OK)
		return code;
	do {
		/* One row more than is wanted tells whether there are more. */
		int64_t limit = store->all_topics
				    ? (int64_t)read->fetch->count_max - read->given + 1
				    : INT64_MAX;
		uint32_t given = read->given;

		sqlite3_bind_int64(statement, 1, ob_reading_from(&store->reading));
		sqlite3_bind_int64(statement, 2, ob_reading_to(&store->reading));
		sqlite3_bind_int64(statement, 3, limit);
		code = stretch_read(read, statement, &ended, error);
		sqlite3_reset(statement);
		if (code != OB_OK)
			return code;
		/* The end of a replay is followed by the log; a large row by the rows behind it. */
		more = ended ? ob_reading_end(&store->reading) : read->given > given;
	} while (more && !read->stop && host->monotonic_us(host->context) < read->until_us &&
		 read->scanned < SCAN_MAX);
	read->batch->more = more || !ended;
	return OB_OK;
}

/* ---- parked rows ---- */

struct parked_read {
	struct sqlite_store *store;
	const struct ob_fetch *fetch;
	struct ob_batch *batch;
	int64_t now_ms;
	uint32_t given;
	uint64_t bytes;
};

static bool
parked_full(const struct parked_read *read)
{
	return read->given == read->fetch->parked_max || read->bytes >= read->fetch->bytes_max ||
	       read->batch->count == read->batch->capacity ||
	       read->store->handed.count == SQLITE_STORE_HANDED_MAX;
}

static bool
parked_is_handed(const struct sqlite_store *store, int64_t position)
{
	return ob_map_get(&store->handed, (uint64_t)position) != NULL;
}

static int
parked_take(struct parked_read *read, sqlite3_stmt *statement, struct ob_error *error)
{
	struct sqlite_store *store = read->store;
	struct ob_row *row = ob_batch_add(read->batch);
	int code;

	OB_CHECK(row != NULL);
	row->position = sqlite3_column_int64(statement, 0);
	row->lane = (uint64_t)sqlite3_column_int64(statement, 1);
	row->scheduled = sqlite3_column_int(statement, 2) != 0;
	row->attempts = (uint32_t)sqlite3_column_int64(statement, 3);
	if (sqlite3_column_type(statement, 4) != SQLITE_NULL) {
		row->age_ms = read->now_ms - sqlite3_column_int64(statement, 4);
		/* 0 would mean that it was never tried. */
		if (row->age_ms < 1)
			row->age_ms = 1;
	}
	if (sqlite3_column_type(statement, 5) != SQLITE_NULL &&
	    sqlite3_column_int64(statement, 5) > store->options->message_bytes_max)
		row->oversize_bytes = (uint64_t)sqlite3_column_int64(statement, 5);
	message_view(store, statement, 7, &row->message);
	payload_limit(store, &row->message, &row->oversize_bytes);
	code = message_copy(store, read->batch, &row->message, error);
	if (code != OB_OK)
		return code;
	row->bytes = ob_row_bytes(&row->message);
	read->batch->bytes += row->bytes;
	read->bytes += row->bytes;
	read->given++;
	ob_map_put(&store->handed, (uint64_t)row->position, store);
	return OB_OK;
}

/* The rows right behind a head, as long as none of them is out already. */
static int
parked_run(struct parked_read *read, uint64_t lane, int64_t head, struct ob_error *error)
{
	struct sqlite_store *store = read->store;
	sqlite3_stmt *statement;
	int code, rc = SQLITE_DONE;

	if (lane == 0 || read->fetch->run_max <= 1)
		return OB_OK;
	code = ob_sqlite_prepare(store, SQL_PARKED_RUN, &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, store->options->message_bytes_max);
	sqlite3_bind_int64(statement, 3, (int64_t)lane);
	sqlite3_bind_int64(statement, 4, head);
	sqlite3_bind_int64(statement, 5, (int64_t)read->fetch->run_max - 1);
	while (!parked_full(read) && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
		if (parked_is_handed(store, sqlite3_column_int64(statement, 0)))
			break;
		code = parked_take(read, statement, error);
		if (code != OB_OK)
			break;
	}
	if (code == OB_OK && rc != SQLITE_DONE && rc != SQLITE_ROW)
		code = ob_sqlite_fail(store, rc, "read parked messages", error);
	sqlite3_reset(statement);
	return code;
}

static int
parked_read_due(struct parked_read *read, struct ob_error *error)
{
	struct sqlite_store *store = read->store;
	sqlite3_stmt *statement;
	int code, rc = SQLITE_DONE;

	code = ob_sqlite_prepare(store, SQL_PARKED_DUE, &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, store->options->message_bytes_max);
	sqlite3_bind_int64(statement, 3, read->now_ms);
	sqlite3_bind_int64(statement, 4,
			   (int64_t)read->fetch->parked_max + (int64_t)store->handed.count);
	while (!parked_full(read) && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
		int64_t head = sqlite3_column_int64(statement, 0);
		uint64_t lane = (uint64_t)sqlite3_column_int64(statement, 1);

		if (parked_is_handed(store, head))
			continue;
		code = parked_take(read, statement, error);
		if (code == OB_OK)
			code = parked_run(read, lane, head, error);
		if (code != OB_OK)
			break;
	}
	if (code == OB_OK && rc != SQLITE_DONE && rc != SQLITE_ROW)
		code = ob_sqlite_fail(store, rc, "read parked messages", error);
	sqlite3_reset(statement);
	return code;
}

/* When the first head that is not out is due. */
static int
parked_next_due(struct parked_read *read, struct ob_error *error)
{
	struct sqlite_store *store = read->store;
	sqlite3_stmt *statement;
	int code, rc;

	code = ob_sqlite_prepare(store, SQL_PARKED_NEXT_DUE, &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_text(statement, 1, store->subscription, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, (int64_t)store->handed.count + 1);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		int64_t due_in = sqlite3_column_int64(statement, 1) - read->now_ms;

		if (parked_is_handed(store, sqlite3_column_int64(statement, 0)))
			continue;
		read->batch->next_due_ms = due_in < 0 ? 0 : due_in;
		break;
	}
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		code = ob_sqlite_fail(store, rc, "read parked messages", error);
	sqlite3_reset(statement);
	return code;
}

static int
parked_read(struct sqlite_store *store, const struct ob_fetch *fetch, int64_t now_ms,
	    struct ob_batch *batch, struct ob_error *error)
{
	struct parked_read read = {
	    .store = store, .fetch = fetch, .batch = batch, .now_ms = now_ms};
	int limit, code = OB_OK;

	if (fetch->parked_max > 0) {
		/* What is parked was within the limit of its time, which may have been higher. */
		limit = sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, INT_MAX);
		code = parked_read_due(&read, error);
		sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, limit);
	}
	return code == OB_OK ? parked_next_due(&read, error) : code;
}

/* ---- the call ---- */

static int
log_end_read(struct sqlite_store *store, sqlite3_stmt *statement, struct ob_error *error)
{
	int code = OB_OK, rc = sqlite3_step(statement);

	/* None is left where all that was read is trimmed. */
	store->seen_position = 0;
	if (rc == SQLITE_ROW) {
		store->seen_position = sqlite3_column_int64(statement, 0);
		store->seen_id = ob_sqlite_id_hash(statement, 1);
	} else if (rc != SQLITE_DONE) {
		code = ob_sqlite_fail(store, rc, "read", error);
	}
	sqlite3_reset(statement);
	return code;
}

static int
fetch_read(struct sqlite_store *store, const struct ob_fetch *fetch, struct ob_batch *batch,
	   struct ob_error *error)
{
	const struct ob_host *host = store->base.host;
	struct log_read read = {.store = store, .fetch = fetch, .batch = batch};
	sqlite3_stmt *statement;
	int64_t now_ms;
	int code = ob_sqlite_fence(store, &now_ms, error);

	if (code == OB_OK)
		code = ob_sqlite_version(store, &store->version_read, error);
	if (code == OB_OK)
		code = parked_read(store, fetch, now_ms, batch, error);
	if (code != OB_OK || fetch->count_max == 0)
		return code;
	read.until_us = host->monotonic_us(host->context) + READ_MS_MAX * 1000;
	code = log_read(&read, error);
	/* Everything that this transaction sees can be made durable at once. */
	if (code == OB_OK && store->reading.read.log > store->durable_position)
		code = ob_sqlite_prepare(store, SQL_LOG_END, &statement, error);
	else
		return code;
	return code == OB_OK ? log_end_read(store, statement, error) : code;
}

/* A fetch that failed leaves no trace: neither ordinals nor rows that count as handed out. */
static void
fetch_undo(struct sqlite_store *store, struct ob_reading_point point, struct ob_batch *batch)
{
	ob_reading_undo(&store->reading, point);
	for (uint32_t i = 0; i < batch->count; i++)
		if (batch->rows[i].ordinal == 0)
			ob_map_remove(&store->handed, (uint64_t)batch->rows[i].position);
	ob_batch_reset(batch);
}

/*
 * While others write, reading takes a share of the time only: a reader in the way keeps the application's
 * checkpoint from beginning the -wal anew, so that it grows and each commit checkpoints again; and every read
 * behind a fresh commit syncs what that writer is about to write. Where nobody else has committed since the
 * last fetch there is no pause.
 */
static int
read_pause(struct sqlite_store *store, struct ob_error *error)
{
	const struct ob_host *host = store->base.host;
	int64_t pause_us = READ_PAUSES * store->read_took_us;
	int64_t version;
	int code = ob_sqlite_version(store, &version, error);

	if (code != OB_OK || version == store->version_read)
		return code;
	if (pause_us > READ_PAUSE_MAX_US)
		pause_us = READ_PAUSE_MAX_US;
	ob_sqlite_sleep(pause_us - (host->monotonic_us(host->context) - store->read_ended_us));
	return OB_OK;
}

int
ob_sqlite_fetch(struct ob_store *base, const struct ob_fetch *fetch, struct ob_batch *batch,
		struct ob_error *error)
{
	struct sqlite_store *store = (struct sqlite_store *)(void *)base;
	const struct ob_host *host = base->host;
	struct ob_reading_point point = ob_reading_point(&store->reading);
	int code = ob_sqlite_lease_look(store, error);
	int64_t began_us;

	if (code == OB_OK)
		code = read_pause(store, error);
	began_us = host->monotonic_us(host->context);
	if (code == OB_OK)
		code = ob_sqlite_begin_read(store, error);
	if (code != OB_OK)
		return code;
	code = ob_sqlite_end(store, fetch_read(store, fetch, batch, error), error);
	if (code == OB_OK)
		code = ob_sqlite_make_durable(store, error);
	store->read_ended_us = host->monotonic_us(host->context);
	store->read_took_us = store->read_ended_us - began_us;
	if (code != OB_OK) {
		fetch_undo(store, point, batch);
		return code;
	}
	batch->passed = ob_reading_passed(&store->reading);
	store->more = batch->more;
	return OB_OK;
}
