/*
 * A row of outbox_message may hold anything: the application's connection need not enforce our constraints. The
 * input's lines are the fields of one row, of type BLOB when they begin with '#'; it is fetched, parked with a reason
 * from the input, listed, handed out again and buried, and its bytes must be the same each time.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "options.h"
#include "stores.h"

#define FIELDS 9

static char options[256];
static struct ob_store *store;
static struct ob_batch *batch;
static sqlite3 *db;
static char directory[] = "/tmp/outbox-fuzz-XXXXXX";

static int64_t
host_us(void *context)
{
	struct timespec now;

	(void)context;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
host_random(void *context, void *bytes, size_t size)
{
	(void)context;
	memset(bytes, 0x5a, size);
}

static void
host_log(void *context, enum ob_log_level level, const char *text)
{
	(void)context;
	(void)level;
	(void)text;
}

static const struct ob_host host = {
    .monotonic_us = host_us, .wall_us = host_us, .random = host_random, .log = host_log};

static void
clean_up(void)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	char path[64];

	ob_store_sqlite.close(store);
	free(store);
	ob_batch_free(batch);
	sqlite3_close(db);
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/f.db%s", directory, suffixes[i]);
		unlink(path);
	}
	rmdir(directory);
}

static void
set_up(void)
{
	struct ob_subscription subscription = {.name = "s", .topics = "a*,*"};
	struct ob_parked_lane lanes[4];
	struct ob_lease_request request = {
	    .subscription = "s", .lease_ms = 3600000, .lanes = lanes, .lanes_max = 4};
	struct ob_store_config config = {.options = options, .create = true};
	struct ob_acquired acquired;
	struct ob_options parse;
	char url[64];

	FUZZ_CHECK(mkdtemp(directory) != NULL);
	snprintf(url, sizeof(url), "sqlite:%s/f.db", directory);
	config.url = url;
	store = calloc(1, ob_store_sqlite.size);
	FUZZ_CHECK(store != NULL);
	store->ops = &ob_store_sqlite;
	store->host = &host;
	FUZZ_CHECK(ob_options_begin(&parse, "fuzz", ob_store_sqlite.options, options, NULL) ==
		   OB_OK);
	FUZZ_CHECK(ob_store_sqlite.open(store, &config, NULL) == OB_OK);
	FUZZ_CHECK(ob_store_sqlite.migrate(store, OB_MIGRATE_APPLY, NULL, NULL, NULL) == OB_OK);
	FUZZ_CHECK(ob_store_sqlite.subscribe(store, &subscription, NULL) == OB_OK);
	FUZZ_CHECK(ob_store_sqlite.acquire(store, &request, &acquired, NULL) == OB_OK);
	FUZZ_CHECK(acquired.held);
	batch = ob_batch_new(8);
	FUZZ_CHECK(batch != NULL);
	FUZZ_CHECK(sqlite3_open(url + 7, &db) == SQLITE_OK);
	FUZZ_CHECK(sqlite3_exec(db,
				"PRAGMA synchronous = OFF; PRAGMA ignore_check_constraints = ON",
				NULL, NULL, NULL) == SQLITE_OK);
	atexit(clean_up);
}

/* Binds the next line of the input; an absent one is NULL where that is allowed. */
static void
field_bind(sqlite3_stmt *statement, int at, const uint8_t **data, const uint8_t *end, bool needed)
{
	const uint8_t *line = *data, *stop;

	if (line == NULL) {
		if (needed)
			sqlite3_bind_text(statement, at, "", 0, SQLITE_STATIC);
		return;
	}
	stop = memchr(line, '\n', (size_t)(end - line));
	*data = stop == NULL ? NULL : stop + 1;
	if (stop == NULL)
		stop = end;
	if (line < stop && *line == '#')
		sqlite3_bind_blob(statement, at, line + 1, (int)(stop - line - 1), SQLITE_STATIC);
	else
		sqlite3_bind_text(statement, at, (const char *)line, (int)(stop - line),
				  SQLITE_STATIC);
}

static void
row_insert(const uint8_t *data, size_t size)
{
	static const char sql[] =
	    "INSERT INTO outbox_message (id, topic, created_at, partition_key, type, content_type, headers,"
	    " deliver_after, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
	const uint8_t *at = data, *end = data + size;
	sqlite3_stmt *statement;

	FUZZ_CHECK(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK);
	for (int i = 1; i <= FIELDS; i++)
		field_bind(statement, i, &at, end, i <= 3);
	FUZZ_CHECK(sqlite3_step(statement) == SQLITE_DONE);
	sqlite3_finalize(statement);
}

static const struct ob_row *
row_fetch(void)
{
	struct ob_fetch fetch = {.count_max = 4,
				 .bytes_max = 1 << 24,
				 .oversize_ok = true,
				 .parked_max = 2,
				 .run_max = 2};

	ob_batch_reset(batch);
	FUZZ_CHECK(ob_store_sqlite.fetch(store, &fetch, batch, NULL) == OB_OK);
	FUZZ_CHECK(batch->count <= 1);
	return batch->count == 0 ? NULL : &batch->rows[0];
}

static uint64_t through;

static void
row_settle(const struct ob_row *row, enum ob_outcome_kind kind, const struct ob_try *tried)
{
	struct ob_outcome outcome = {
	    .kind = kind,
	    .ordinal = row->ordinal,
	    .position = row->position,
	    .lane = row->lane,
	    .attempts = 1,
	    .age_ms = 1,
	    .tries = tried,
	    .try_count = 1,
	};
	struct ob_settle settle = {.outcomes = &outcome, .outcome_count = 1};

	if (row->ordinal > 0)
		through = row->ordinal;
	settle.through = through;
	FUZZ_CHECK(ob_store_sqlite.settle(store, &settle, NULL) == OB_OK);
}

static bool
listed(void *context, const struct ob_listed *row)
{
	FUZZ_CHECK(row->tries[0] == '[');
	FUZZ_CHECK(row->tries[strlen(row->tries) - 1] == ']');
	++*(unsigned *)context;
	return true;
}

static uint64_t
digest(const struct ob_message *message)
{
	const struct ob_bytes *fields = (const struct ob_bytes *)(const void *)message;
	uint64_t sum = 0;

	for (size_t i = 0; i < 7; i++) {
		sum = sum * 31 + (fields[i].data == NULL) + 7 * fields[i].size;
		for (size_t j = 0; j < fields[i].size; j++)
			sum = sum * 31 + ((const uint8_t *)fields[i].data)[j];
	}
	return sum;
}

int
ob_fuzz(const uint8_t *data, size_t size)
{
	struct ob_selection selection = {.subscription = "s", .place = OB_PLACE_PARKED};
	struct ob_try tried = {0};
	const struct ob_row *row;
	unsigned shown = 0;
	uint64_t before;

	if (store == NULL)
		set_up();
	if (size < sizeof(tried.text))
		memcpy(tried.text, data, size);
	else
		memcpy(tried.text, data, sizeof(tried.text) - 1);
	snprintf(tried.code, sizeof(tried.code), "%.31s", tried.text);
	row_insert(data, size);
	row = row_fetch();
	FUZZ_CHECK(row != NULL);
	before = digest(&row->message);
	row_settle(row, OB_OUTCOME_PARK, &tried);
	FUZZ_CHECK(ob_store_sqlite.list(store, &selection, listed, &shown, NULL) == OB_OK);
	FUZZ_CHECK(shown == 1);
	row = row_fetch();
	FUZZ_CHECK(row != NULL);
	FUZZ_CHECK(digest(&row->message) == before);
	row_settle(row, OB_OUTCOME_BURY, &tried);
	selection.place = OB_PLACE_DEAD;
	FUZZ_CHECK(ob_store_sqlite.list(store, &selection, listed, &shown, NULL) == OB_OK);
	FUZZ_CHECK(shown == 2);
	FUZZ_CHECK(sqlite3_exec(db, "DELETE FROM outbox_dead; DELETE FROM outbox_message", NULL,
				NULL, NULL) == SQLITE_OK);
	return 0;
}
