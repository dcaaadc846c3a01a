/* Several processes on one file: nothing is lost or reordered, and the application waits for nobody long. */
#include <sys/wait.h>
#include <unistd.h>

#include "sqlite_tests.h"

#define WRITERS      4
#define TRANSACTIONS 150
#define KEYS         7

/*
 * One writer: each transaction takes the key's next number under the write lock and writes one message;
 * every fifth is rolled back. Runs in a process of its own, which ends with 0 if all went well.
 */
static void
writer_run(const char *path, unsigned seed)
{
	sqlite3 *db;
	char sql[512];

	if (sqlite3_open(path, &db) != SQLITE_OK)
		_exit(1);
	sqlite3_busy_timeout(db, 20000);
	for (unsigned i = 0; i < TRANSACTIONS; i++) {
		unsigned key = (seed * 31 + i * 17) % KEYS;
		const char *end = i % 5 == 4 ? "ROLLBACK" : "COMMIT";

		snprintf(sql, sizeof(sql),
			 "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1 WHERE k = %u;"
			 "INSERT INTO outbox_message (topic, partition_key, payload)"
			 " SELECT 't', k, n FROM counter WHERE k = %u; %s",
			 key, key, end);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
			_exit(2);
	}
	sqlite3_close(db);
	_exit(0);
}

static void
writers_start(struct world *world, pid_t *pids, void (*run)(const char *path, unsigned seed))
{
	for (unsigned i = 0; i < WRITERS; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			run(sqlite_test_path(world), i);
	}
}

/* How many have ended; each must have ended well. */
static unsigned
writers_ended(pid_t *pids)
{
	unsigned ended = 0;

	for (unsigned i = 0; i < WRITERS; i++) {
		int status;

		if (pids[i] > 0 && waitpid(pids[i], &status, WNOHANG) == pids[i]) {
			if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
				fail_msg("a writer ended with %d", status);
			pids[i] = 0;
		}
		ended += pids[i] == 0;
	}
	return ended;
}

static void
nothing_is_lost_or_reordered_among_writers(void **state)
{
	struct world *world = *state;
	sqlite3 *db = sqlite_test_connect(world);
	int64_t seen[KEYS] = {0}, until = world_now_ms() + 60000;
	uint64_t through = 0;
	pid_t pids[WRITERS];
	bool ended = false;

	sqlite_test_run(db, "CREATE TABLE counter (k INTEGER PRIMARY KEY, n INTEGER)");
	for (unsigned i = 0; i < KEYS; i++) {
		char sql[64];

		snprintf(sql, sizeof(sql), "INSERT INTO counter VALUES (%u, 0)", i);
		sqlite_test_run(db, sql);
	}
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	writers_start(world, pids, writer_run);
	for (;;) {
		struct ob_batch *batch = world_fetch(world, 0);
		struct ob_settle settle;

		for (uint32_t i = 0; i < batch->count; i++) {
			const struct ob_message *message = &batch->rows[i].message;
			unsigned key = (unsigned)(*(const char *)message->key.data - '0');
			char number[24];

			assert_int_equal(batch->rows[i].ordinal, ++through);
			snprintf(number, sizeof(number), "%lld", (long long)++seen[key]);
			assert_int_equal(message->payload.size, strlen(number));
			assert_memory_equal(message->payload.data, number, strlen(number));
		}
		settle = (struct ob_settle){.through = through};
		/* Busy is allowed: it is settled with the next one. */
		(void)world->kind->ops->settle(world->at[0].store, &settle, &world->error);
		if (ended && batch->count == 0)
			break;
		ended = writers_ended(pids) == WRITERS;
		assert_true(world_now_ms() < until);
		if (batch->count == 0)
			expect_ok(world,
				  world->kind->ops->wait(world->at[0].store, 20, &world->error));
	}
	assert_int_equal(through, WRITERS * TRANSACTIONS * 4 / 5);
	assert_int_equal(sqlite_test_number(db, "SELECT sum(n) FROM counter"), (int64_t)through);
	sqlite3_close(db);
}

static void
a_busy_writer_makes_the_relay_try_again(void **state)
{
	static const char *const pairs[] = {"busy-timeout=50ms", NULL};
	struct world *world = *state;
	struct ob_settle settle = {.through = 2};
	struct ob_outcome outcome;
	struct ob_batch *batch;
	sqlite3 *db;
	int64_t began;

	world_options(world, pairs);
	world_close(world, 0);
	world_open(world, 0);
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 3, "t", "k");
	batch = world_fetch(world, 0);
	outcome = world_outcome(&batch->rows[0], OB_OUTCOME_PARK, 60000);
	settle.outcomes = &outcome;
	settle.outcome_count = 1;
	db = sqlite_test_connect(world);
	sqlite_test_run(db, "BEGIN IMMEDIATE; INSERT INTO outbox_message (topic) VALUES ('t')");
	began = world_now_ms();
	expect_code(world, OB_BUSY,
		    world->kind->ops->settle(world->at[0].store, &settle, &world->error));
	assert_true(world_now_ms() - began >= 45);
	assert_true(world_now_ms() - began < 2000);
	expect_code(world, OB_BUSY,
		    world->kind->ops->renew(world->at[0].store, NULL, &world->error));
	/* Reading goes on, and everything that was fetched stands. */
	assert_int_equal(world_fetch(world, 0)->count, 0);
	sqlite_test_run(db, "COMMIT");
	sqlite3_close(db);
	expect_ok(world, world->kind->ops->settle(world->at[0].store, &settle, &world->error));
	expect_ok(world, world->kind->ops->renew(world->at[0].store, NULL, &world->error));
	assert_int_equal(world_fetch(world, 0)->rows[0].ordinal, 4);
	assert_int_equal(world_stats(world, 0, "s").parked_rows, 1);
}

static int
time_compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* The sanitizer makes all that the relay does while it holds the lock several times as slow. */
#ifdef __SANITIZE_ADDRESS__
#define WAIT_US_MAX 250000
#else
#define WAIT_US_MAX 50000
#endif

/* An application that measures how long it waits for the write lock; ends with 0 if that is short. */
static void
waiter_run(const char *path, unsigned seed)
{
	static int64_t waits[200];
	sqlite3 *db;

	(void)seed;
	if (sqlite3_open(path, &db) != SQLITE_OK)
		_exit(1);
	sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
	for (unsigned i = 0; i < 200; i++) {
		int64_t began = world_host.monotonic_us(NULL);

		while (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_BUSY)
			usleep(200);
		waits[i] = world_host.monotonic_us(NULL) - began;
		if (sqlite3_exec(db,
				 "INSERT INTO outbox_message (topic, partition_key, payload)"
				 " VALUES ('t', random(), zeroblob(300)); ",
				 NULL, NULL, NULL) != SQLITE_OK)
			_exit(2);
		while (sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_BUSY)
			usleep(200);
		usleep(3000);
	}
	sqlite3_close(db);
	qsort(waits, 200, sizeof(waits[0]), time_compare);
	printf(
	    "# the application waited for the relay: p50 %.1f ms, p95 %.1f ms, at most %.1f ms\n",
	    (double)waits[100] / 1000, (double)waits[189] / 1000, (double)waits[199] / 1000);
	fflush(stdout);
	/* The last twentieth is shown and not judged: on a machine that has other work it measures that. */
	_exit(waits[189] <= WAIT_US_MAX ? 0 : 3);
}

static void
the_application_waits_no_longer_than_50_ms(void **state)
{
	static struct ob_outcome outcomes[1024];
	struct world *world = *state;
	struct ob_fetch fetch = world_fetch_all;
	int64_t until = world_now_ms() + 60000;
	pid_t pids[WRITERS] = {0};
	uint64_t through = 0, rows;
	sqlite3 *db = sqlite_test_connect(world);
	bool again;

	sqlite_test_run(
	    db, "INSERT INTO outbox_message (topic, partition_key, payload)"
		" WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)"
		" SELECT 't', i, zeroblob(1000) FROM n");
	sqlite3_close(db);
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	fflush(stdout);
	pids[0] = fork();
	assert_true(pids[0] >= 0);
	if (pids[0] == 0)
		waiter_run(sqlite_test_path(world), 0);
	/* The relay does its worst meanwhile: each message is copied, its head tried, and all is trimmed. */
	fetch.parked_max = 64;
	fetch.count_max = world->kind->ops->settle_count_max - fetch.parked_max;
	while (writers_ended(pids) < WRITERS) {
		struct ob_batch *batch = world_fetch_as(world, 0, &fetch);
		uint32_t count = 0;
		struct ob_settle settle;

		for (uint32_t i = 0; i < batch->count && count < 1024; i++) {
			const struct ob_row *row = &batch->rows[i];

			if (row->ordinal > 0)
				through = row->ordinal;
			outcomes[count++] = world_outcome(
			    row, row->ordinal > 0 ? OB_OUTCOME_PARK : OB_OUTCOME_UNPARK, 0);
		}
		settle = (struct ob_settle){
		    .through = through, .outcomes = outcomes, .outcome_count = count};
		while (world->kind->ops->settle(world->at[0].store, &settle, &world->error) ==
		       OB_BUSY)
			;
		(void)world->kind->ops->trim(world->at[0].store, &rows, &again, &world->error);
		assert_true(world_now_ms() < until);
	}
}

/* A host whose time flies, and on whose clock a person changes something as soon as a part of a settle is done. */
static sqlite3 *meddler;
static bool has_meddled;
static int64_t flown_us;

static int64_t
flying_us(void *context)
{
	flown_us += 20000;
	if (meddler != NULL && !has_meddled &&
	    sqlite_test_number(meddler, "SELECT count(*) FROM outbox_parked") > 0)
		has_meddled =
		    sqlite_test_try(meddler, "UPDATE outbox_lease SET epoch = epoch + 1") == NULL;
	return world_host.monotonic_us(context) + flown_us;
}

/* Parked in a part that is done, a message without a key would be tried from there and from the window (P4). */
static void
a_settle_is_done_as_a_whole_or_not_at_all(void **state)
{
	static struct ob_host host;
	static struct ob_outcome outcomes[1024];
	struct world *world = *state;
	struct ob_settle settle = {.outcomes = outcomes};
	struct ob_batch *batch;
	int code;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 100, "t", NULL);
	batch = world_fetch(world, 0);
	for (uint32_t i = 0; i < batch->count; i++)
		outcomes[i] = world_outcome(&batch->rows[i], OB_OUTCOME_PARK, 60000);
	settle.through = settle.outcome_count = batch->count;
	assert_true(batch->count <= world->kind->ops->settle_count_max);
	host = world_host;
	host.monotonic_us = flying_us;
	world->at[0].store->host = &host;
	meddler = sqlite_test_connect(world);
	sqlite3_busy_timeout(meddler, 0);
	has_meddled = false;
	code = world->kind->ops->settle(world->at[0].store, &settle, &world->error);
	world->at[0].store->host = &world_host;
	assert_int_equal(sqlite_test_number(meddler, "SELECT count(*) FROM outbox_parked"),
			 code == OB_OK ? 100 : 0);
	sqlite3_close(meddler);
	meddler = NULL;
	/* One that is larger than was agreed is refused, and not split. */
	settle.outcome_count = world->kind->ops->settle_count_max + 1;
	expect_code(world, OB_INVALID,
		    world->kind->ops->settle(world->at[0].store, &settle, &world->error));
}

/* How often some thousands of SQLite's steps went by while a connection held the write lock. */
static unsigned long_writes;

static int
note_long_write(void *db)
{
	if (sqlite3_txn_state(db, "main") == SQLITE_TXN_WRITE)
		long_writes++;
	return 0;
}

static int
watch_connection(sqlite3 *db, char **error, const struct sqlite3_api_routines *api)
{
	(void)error;
	(void)api;
	sqlite3_progress_handler(db, 10000, note_long_write, db);
	return SQLITE_OK;
}

/* The log has no index on ids and no count of its rows, so that to find where a replay begins takes as long as it has rows. */
static void
a_long_log_is_not_read_under_the_write_lock(void **state)
{
	struct world *world = *state;
	struct ob_change changes[] = {
	    {.kind = OB_CHANGE_REPLAY, .since_ms = -1},
	    {.kind = OB_CHANGE_REPLAY, .since_ms = 3600000},
	    {.kind = OB_CHANGE_REPLAY, .since_ms = -1, .from_id = "m19000"},
	    {.kind = OB_CHANGE_ADOPT, .since_ms = -1, .from_id = "m19000"},
	};
	const uint64_t counts[] = {20000, 20000, 1001, 1};
	sqlite3 *db = sqlite_test_connect(world);
	uint64_t count;

	world_subscribe(world, "s", "*");
	sqlite_test_run(
	    db, "INSERT INTO outbox_message (id, topic)"
		" WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
		" SELECT 'm' || i, 't' FROM n; UPDATE outbox_checkpoint SET position = 20000");
	assert_int_equal(sqlite3_auto_extension((void (*)(void))watch_connection), SQLITE_OK);
	world_open(world, 1);
	sqlite3_cancel_auto_extension((void (*)(void))watch_connection);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		changes[i].selection.subscription = "s";
		long_writes = 0;
		expect_ok(world, world->kind->ops->change(world->at[1].store, &changes[i], &count,
							  &world->error));
		assert_int_equal(count, counts[i]);
		assert_int_equal(long_writes, 0);
	}
	assert_int_equal(sqlite_test_number(db, "SELECT position FROM outbox_checkpoint"), 18999);
	/* Who only counts needs no lock at all. */
	changes[0].dry_run = true;
	sqlite_test_run(db, "BEGIN IMMEDIATE");
	expect_ok(world,
		  world->kind->ops->change(world->at[1].store, &changes[0], &count, &world->error));
	assert_int_equal(count, 18999);
	sqlite3_close(db);
}

static void
migrate_run(const char *path, unsigned seed)
{
	const struct ob_store_ops *ops = store_kind_sqlite_wal.ops;
	static char options[WORLD_OPTIONS];
	struct ob_store *store = calloc(1, ops->size);
	struct world world = {.kind = &store_kind_sqlite_wal};
	struct ob_store_config config = {.url = world.url, .options = options, .create = true};
	struct ob_error error;
	int64_t *busy_timeout_ms = (int64_t *)(void *)options + 1;

	(void)seed;
	/* retention, busy-timeout, message-bytes-max, wal-limit: the defaults. */
	*busy_timeout_ms = 20000;
	busy_timeout_ms[1] = 1 << 24;
	busy_timeout_ms[2] = 1 << 26;
	snprintf(world.url, sizeof(world.url), "sqlite:%s", path);
	store->ops = ops;
	store->host = &world_host;
	if (ops->open(store, &config, &error) != OB_OK ||
	    ops->migrate(store, OB_MIGRATE_APPLY, NULL, NULL, &error) != OB_OK) {
		printf("# %s\n", error.text);
		fflush(stdout);
		_exit(4);
	}
	ops->close(store);
	_exit(0);
}

static void
several_may_migrate_at_once(void **state)
{
	struct world *world = *state;
	int64_t until = world_now_ms() + 30000;
	pid_t pids[WRITERS];

	for (unsigned round = 0; round < 5; round++) {
		static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
		char path[160];

		world_close(world, 0);
		for (size_t i = 0; i < 4; i++) {
			snprintf(path, sizeof(path), "%s%s", sqlite_test_path(world), suffixes[i]);
			unlink(path);
		}
		fflush(stdout);
		writers_start(world, pids, migrate_run);
		while (writers_ended(pids) < WRITERS) {
			assert_true(world_now_ms() < until);
			world_sleep_ms(2);
		}
		world_open(world, 0);
		world_subscribe(world, "s", "*");
		assert_true(world_try_acquire(world, 0, "s", 1000)->held);
	}
}

const struct store_test sqlite_writer_tests[] = {
    {"nothing is lost or reordered among writers", nothing_is_lost_or_reordered_among_writers},
    {"a busy writer makes the relay try again", a_busy_writer_makes_the_relay_try_again},
    {"the application waits no longer than 50 ms", the_application_waits_no_longer_than_50_ms},
    {"a settle is done as a whole or not at all", a_settle_is_done_as_a_whole_or_not_at_all},
    {"a long log is not read under the write lock", a_long_log_is_not_read_under_the_write_lock},
    {"several may migrate at once", several_may_migrate_at_once},
    {NULL, NULL},
};
