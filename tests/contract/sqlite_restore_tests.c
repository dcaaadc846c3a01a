/* Databases that go back in time, or become others, under a relay: until a person adopts them they are refused. */
#include <unistd.h>

#include "sqlite_tests.h"

#include "skip.h"

static int
fetch_code(struct world *world)
{
	ob_batch_reset(world->at[0].batch);
	return world->kind->ops->fetch(world->at[0].store, &world_fetch_all, world->at[0].batch,
				       &world->error);
}

static int
settle_code(struct world *world, uint64_t through)
{
	struct ob_settle settle = {.through = through};

	return world->kind->ops->settle(world->at[0].store, &settle, &world->error);
}

static int
acquire_code(struct world *world, unsigned i, const char *subscription)
{
	struct world_instance *at = &world->at[i];
	struct ob_lease_request request = {.subscription = subscription,
					   .owner = "relay",
					   .lease_ms = 60000,
					   .lanes = at->lanes,
					   .lanes_max = WORLD_LANES};

	return world->kind->ops->acquire(at->store, &request, &at->acquired, &world->error);
}

/* By an instance of its own, as the command does it. Returns its code. */
static int
adopt_with(struct world *world, struct ob_change change, uint64_t *count)
{
	int code;

	change.kind = OB_CHANGE_ADOPT;
	change.since_ms = -1;
	world_open(world, 2);
	code = world->kind->ops->change(world->at[2].store, &change, count, &world->error);
	world_close(world, 2);
	return code;
}

static void
adopt(struct world *world, bool from_now)
{
	uint64_t count = 0;

	expect_ok(world, adopt_with(world, (struct ob_change){.from_now = from_now}, &count));
	assert_int_equal(count, 1);
}

static const char *
file_path(const struct world *world, const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", world->directory, name);
	return path;
}

static sqlite3 *
file_open(const struct world *world, const char *name)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(file_path(world, name), &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	return db;
}

/* Copies a database as a backup does, into what is there: `to` is written in one transaction. */
static void
backup(struct world *world, const char *from, const char *to)
{
	sqlite3 *a = file_open(world, from), *b = file_open(world, to);
	sqlite3_backup *copy = sqlite3_backup_init(b, "main", a, "main");

	assert_non_null(copy);
	assert_int_equal(sqlite3_backup_step(copy, -1), SQLITE_DONE);
	sqlite3_backup_finish(copy);
	sqlite3_close(a);
	sqlite3_close(b);
}

static void
copies_remove(struct world *world)
{
	static const char *const names[] = {"copy",         "copy-wal", "copy-shm",
					    "copy-journal", "old",      "other"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(file_path(world, names[i]));
}

static void
side_files_remove(struct world *world)
{
	unlink(file_path(world, "shop.db-wal"));
	unlink(file_path(world, "shop.db-shm"));
}

/* What `cp` does: the bytes of one file into the other, past SQLite. */
static void
bytes_copy(struct world *world, const char *from, const char *to)
{
	FILE *in = fopen(file_path(world, from), "rb"), *out;
	static char bytes[1 << 20];
	size_t size;

	assert_non_null(in);
	out = fopen(file_path(world, to), "wb");
	assert_non_null(out);
	while ((size = fread(bytes, 1, sizeof(bytes), in)) > 0)
		assert_int_equal(fwrite(bytes, 1, size, out), size);
	fclose(in);
	fclose(out);
}

/* A relay has settled 2 of 4 messages when the backup is made, and all of them when it is put back. */
static void
relay_until_backup(struct world *world)
{
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 4, "t", "k");
	assert_int_equal(world_fetch(world, 0)->count, 4);
	world_settle(world, 0, 2);
	backup(world, "shop.db", "copy");
	world_settle(world, 0, 4);
	world_append(world, "t", "k", "after the backup");
	assert_int_equal(world_fetch(world, 0)->count, 1);
}

/* However often it is asked, with why and with the command to go on. */
static void
refused_expect(struct world *world, const char *why)
{
	for (int i = 0; i < 2; i++) {
		expect_code(world, OB_FOREIGN, acquire_code(world, 0, "s"));
		assert_false(world->at[0].acquired.held);
		if (strstr(world->error.text, why) == NULL)
			fail_msg("'%s' does not say '%s'", world->error.text, why);
		assert_non_null(strstr(world->error.text, "outbox adopt sqlite:"));
		assert_non_null(strstr(world->error.text, "--subscription s"));
	}
}

static void
foreign_expect(struct world *world, const char *why)
{
	/* The first call that notices says so; what it would have written is not written. */
	expect_code(world, OB_FOREIGN, settle_code(world, 5));
	assert_non_null(strstr(world->error.text, "outbox adopt sqlite:"));
	refused_expect(world, why);
}

static void
a_file_that_was_restored_in_place_stops_the_relay(void **state)
{
	struct world *world = *state;

	relay_until_backup(world);
	backup(world, "copy", "shop.db");
	foreign_expect(world, "its checkpoint is of another time");
	adopt(world, false);
	world_acquire(world, 0, "s");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1 m2 m3 m4");
	copies_remove(world);
}

static void
a_file_that_was_replaced_stops_the_relay(void **state)
{
	struct world *world = *state;
	char copy[256];

	relay_until_backup(world);
	snprintf(copy, sizeof(copy), "%s", file_path(world, "copy"));
	/* As a person does it: the old file and what belongs to it go away, the copy takes its place. */
	assert_int_equal(rename(sqlite_test_path(world), file_path(world, "old")), 0);
	side_files_remove(world);
	assert_int_equal(rename(copy, sqlite_test_path(world)), 0);
	foreign_expect(world, "its file was replaced");
	adopt(world, true);
	world_acquire(world, 0, "s");
	assert_int_equal(world_fetch(world, 0)->count, 0);
	world->appended = 10;
	world_append(world, "t", "k", "new");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m11");
	copies_remove(world);
}

static void
a_file_that_is_gone_is_no_new_one(void **state)
{
	struct world *world = *state;
	char old[256];

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append(world, "t", "k", "1");
	snprintf(old, sizeof(old), "%s", file_path(world, "old"));
	assert_int_equal(rename(sqlite_test_path(world), old), 0);
	expect_code(world, OB_FOREIGN, fetch_code(world));
	expect_code(world, OB_NOT_FOUND, acquire_code(world, 0, "s"));
	assert_int_not_equal(access(sqlite_test_path(world), F_OK), 0);
	assert_int_equal(rename(old, sqlite_test_path(world)), 0);
	/* The very same file again: it must still be adopted, since nobody knows what was done to it. */
	refused_expect(world, "its file was replaced or removed");
	adopt(world, false);
	world_acquire(world, 0, "s");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1");
}

/* The first call after it sees an error of the connection, or none at all: what was known outlives the reconnect. */
static void
a_copy_over_the_file_is_refused_after_a_reconnect(void **state)
{
	struct world *world = *state;
	int code;

	relay_until_backup(world);
	bytes_copy(world, "copy", "shop.db");
	side_files_remove(world);
	code = settle_code(world, 5);
	if (world->kind == &store_kind_sqlite_wal)
		expect_code(world, OB_AGAIN, code);
	else
		expect_code(world, OB_FOREIGN, code);
	refused_expect(world, "of an");
	adopt(world, false);
	world_acquire(world, 0, "s");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1 m2 m3 m4");
	copies_remove(world);
}

static void
a_relay_that_slept_knows_what_it_had_written(void **state)
{
	struct world *world = *state;

	relay_until_backup(world);
	expect_ok(world, world->kind->ops->renew(world->at[0].store, NULL, &world->error));
	backup(world, "copy", "shop.db");
	/* Its lease ran out meanwhile, so that it asks for a new one before anything else. */
	refused_expect(world, "its lease is of an earlier time");
	copies_remove(world);
}

static void
a_relay_that_stands_by_knows_what_it_saw(void **state)
{
	struct world *world = *state;
	sqlite3 *db;

	world_subscribe(world, "s", "*");
	world_open(world, 1);
	world_acquire(world, 1, "s");
	world_append_many(world, 2, "t", "k");
	backup(world, "shop.db", "copy");
	world_fetch(world, 1);
	world_settle(world, 1, 2);
	assert_false(world_try_acquire(world, 0, "s", 60000)->held);
	backup(world, "copy", "shop.db");
	db = sqlite_test_connect(world);
	sqlite_test_run(db, "UPDATE outbox_lease SET expires_at = 0");
	sqlite3_close(db);
	refused_expect(world, "its checkpoint is of an earlier time");
	copies_remove(world);
}

/* The clock is put forward by more than a lease. Who has seen the owner renew knows that it is alive; who has not, cannot. */
static void
a_clock_that_is_set_frees_no_lease_that_is_renewed(void **state)
{
	struct world *world = *state;
	sqlite3 *db = sqlite_test_connect(world);

	world_subscribe(world, "s", "*");
	world_open(world, 1);
	world_acquire(world, 0, "s");
	assert_false(world_try_acquire(world, 1, "s", 60000)->held);
	sqlite_test_run(db, "UPDATE outbox_lease SET expires_at = 0");
	assert_false(world_try_acquire(world, 1, "s", 60000)->held);
	expect_ok(world, world->kind->ops->renew(world->at[0].store, NULL, &world->error));
	sqlite_test_run(db, "UPDATE outbox_lease SET expires_at = 0");
	assert_false(world_try_acquire(world, 1, "s", 60000)->held);
	assert_true(world->at[1].acquired.retry_in_ms > 50000);
	world_fetch(world, 0);
	/* Nobody who has not renewed for a whole lease is alive, however far the clock was put back. */
	sqlite_test_run(db, "UPDATE outbox_lease SET expires_at = expires_at + 4000000000000000");
	world_pass_ms(60000);
	assert_true(world_try_acquire(world, 1, "s", 60000)->held);
	sqlite3_close(db);
}

/* The copy is made after the last renewal and settle, so that lease and checkpoint are the same in it. */
static void
a_number_that_was_read_is_not_given_to_another_message(void **state)
{
	struct world *world = *state;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append(world, "t", "k", "1");
	world_fetch(world, 0);
	backup(world, "shop.db", "copy");
	world_append(world, "t", "k", "2");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m2");
	backup(world, "copy", "shop.db");
	expect_code(world, OB_FOREIGN, fetch_code(world));
	assert_non_null(strstr(world->error.text, "the last message that was read is not there"));
	adopt(world, false);
	world_acquire(world, 0, "s");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1");

	world_append(world, "t", "k", "3");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m3");
	backup(world, "shop.db", "copy");
	world_append(world, "t", "k", "4");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m4");
	backup(world, "copy", "shop.db");
	world_append_many(world, 3, "t", "k");
	expect_code(world, OB_FOREIGN, fetch_code(world));
	assert_non_null(strstr(world->error.text, "another message has the number"));
	refused_expect(world, "another message has the number");
	copies_remove(world);
}

static void
another_outbox_in_its_place_is_refused(void **state)
{
	struct world *world = *state;
	sqlite3 *db;

	relay_until_backup(world);
	db = file_open(world, "copy");
	sqlite_test_run(db, "UPDATE outbox_instance SET id = 'another';"
			    "UPDATE outbox_lease SET epoch = 100, expires_at = 0");
	sqlite3_close(db);
	backup(world, "copy", "shop.db");
	expect_code(world, OB_FOREIGN, settle_code(world, 5));
	refused_expect(world, "");
	adopt(world, true);
	world_acquire(world, 0, "s");
	copies_remove(world);
}

static void
the_same_backup_is_refused_each_time(void **state)
{
	struct world *world = *state;

	world_subscribe(world, "s", "*");
	adopt(world, false);
	relay_until_backup(world);
	backup(world, "copy", "shop.db");
	foreign_expect(world, "its checkpoint is of another time");
	adopt(world, false);
	world_acquire(world, 0, "s");
	assert_int_equal(world_fetch(world, 0)->count, 4);
	world_settle(world, 0, 4);
	/* It says that it was adopted, but that was before. */
	backup(world, "copy", "shop.db");
	expect_code(world, OB_FOREIGN, fetch_code(world));
	refused_expect(world, "of an earlier time");
	copies_remove(world);
}

static void
numbers_that_begin_anew_are_refused(void **state)
{
	struct world *world = *state;
	uint64_t count, rows;
	bool again;
	sqlite3 *db;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 3, "t", "k");
	world_fetch(world, 0);
	world_settle(world, 0, 3);
	expect_ok(world, world->kind->ops->trim(world->at[0].store, &rows, &again, &world->error));
	db = sqlite_test_connect(world);
	assert_int_equal(sqlite_test_number(db, "SELECT count(*) FROM outbox_message"), 0);
	sqlite_test_run(db, "DELETE FROM sqlite_sequence");
	world_append_many(world, 2, "t", "k");
	expect_code(world, OB_FOREIGN, fetch_code(world));
	refused_expect(world, "gives out numbers again");
	assert_string_equal(world_stats(world, 0, "s").code, "log_reset");
	/* A relay that is started anew sees it, too. */
	world_close(world, 0);
	world_open(world, 0);
	refused_expect(world, "gives out numbers again");
	expect_code(world, OB_INVALID,
		    adopt_with(world, (struct ob_change){.from_checkpoint = true}, &count));
	adopt(world, false);
	world_acquire(world, 0, "s");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m4 m5");
	sqlite3_close(db);
}

static void
each_subscription_is_adopted_by_itself(void **state)
{
	struct world *world = *state;
	struct ob_change of_s = {.from_checkpoint = true, .selection = {.subscription = "s"}};
	struct ob_subscription_stats stats;
	uint64_t count = 0;

	world_subscribe(world, "other", "*");
	world_open(world, 1);
	world_acquire(world, 1, "other");
	relay_until_backup(world);
	world_fetch(world, 1);
	world_settle(world, 1, 3);
	backup(world, "copy", "shop.db");
	expect_code(world, OB_FOREIGN, fetch_code(world));
	refused_expect(world, "of another time");
	expect_code(world, OB_FOREIGN, acquire_code(world, 1, "other"));
	stats = world_stats(world, 0, "s");
	assert_false(stats.held);
	assert_string_equal(stats.state, "store_failed");
	assert_string_equal(stats.code, "foreign");
	assert_string_equal(stats.owner, "relay");
	expect_ok(world, adopt_with(world, of_s, &count));
	assert_int_equal(count, 1);
	expect_code(world, OB_FOREIGN, acquire_code(world, 1, "other"));
	world_acquire(world, 0, "s");
	/* The checkpoint of the backup: two of four were settled. */
	assert_string_equal(world_ids(world_fetch(world, 0)), "m3 m4");
	assert_string_equal(world_stats(world, 0, "s").code, "");
	assert_string_equal(world_stats(world, 0, "other").code, "foreign");
	expect_code(world, OB_FOREIGN, acquire_code(world, 1, "other"));
	adopt_with(world, (struct ob_change){.selection = {.subscription = "other"}}, &count);
	world_acquire(world, 1, "other");
	assert_int_equal(world_fetch(world, 1)->count, 4);
	world_fetch(world, 0);
	copies_remove(world);
}

/* Nobody else can have its name, so it need not wait until its own lease runs out. */
static void
after_a_doubt_the_lease_is_taken_at_once(void **state)
{
	struct world *world = *state;
	char wal[256];

	if (world->kind != &store_kind_sqlite_wal)
		OB_SKIP("rollback mode has no write-ahead log");
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 2, "t", "k");
	world_fetch(world, 0);
	world_settle(world, 0, 1);
	/* Another file with the same bytes. */
	bytes_copy(world, "shop.db-wal", "copy");
	snprintf(wal, sizeof(wal), "%s", file_path(world, "shop.db-wal"));
	assert_int_equal(rename(file_path(world, "copy"), wal), 0);
	expect_code(world, OB_AGAIN, fetch_code(world));
	world_acquire(world, 0, "s");
	assert_false(world->at[0].acquired.goes_on);
	assert_string_equal(world_ids(world_fetch(world, 0)), "m2");
}

/* Called when SQLite has opened a file. */
static int
replace_what_is_opened(sqlite3 *db, char **error, const struct sqlite3_api_routines *api)
{
	const char *path = sqlite3_db_filename(db, "main");
	char other[256];

	(void)error;
	(void)api;
	snprintf(other, sizeof(other), "%.*s/other", (int)(strrchr(path, '/') - path), path);
	(void)rename(other, path);
	return SQLITE_OK;
}

/* Else the new one would be taken for the one that is open, and nothing of it ever be read. */
static void
a_file_that_is_replaced_while_it_is_opened_is_opened_again(void **state)
{
	struct world *world = *state;
	struct world_instance *at = &world->at[0];
	struct ob_store_config config = {.url = world->url, .options = at->options};

	world_subscribe(world, "s", "*");
	backup(world, "shop.db", "other");
	world->kind->ops->close(at->store);
	memset(at->store, 0, world->kind->ops->size);
	at->store->ops = world->kind->ops;
	at->store->host = &world_host;
	assert_int_equal(sqlite3_auto_extension((void (*)(void))replace_what_is_opened), SQLITE_OK);
	expect_code(world, OB_BUSY, world->kind->ops->open(at->store, &config, &world->error));
	sqlite3_cancel_auto_extension((void (*)(void))replace_what_is_opened);
	world_close(world, 0);
	side_files_remove(world);
	world_open(world, 0);
	world_acquire(world, 0, "s");
	world_append(world, "t", "k", "in the new file");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1");
	copies_remove(world);
}

const struct store_test sqlite_restore_tests[] = {
    {"a file that was restored in place stops the relay",
     a_file_that_was_restored_in_place_stops_the_relay},
    {"a file that was replaced stops the relay", a_file_that_was_replaced_stops_the_relay},
    {"a file that is gone is no new one", a_file_that_is_gone_is_no_new_one},
    {"a file that is replaced while it is opened is opened again",
     a_file_that_is_replaced_while_it_is_opened_is_opened_again},
    {"a copy over the file is refused after a reconnect",
     a_copy_over_the_file_is_refused_after_a_reconnect},
    {"a relay that slept knows what it had written", a_relay_that_slept_knows_what_it_had_written},
    {"a relay that stands by knows what it saw", a_relay_that_stands_by_knows_what_it_saw},
    {"a clock that is set frees no lease that is renewed",
     a_clock_that_is_set_frees_no_lease_that_is_renewed},
    {"a number that was read is not given to another message",
     a_number_that_was_read_is_not_given_to_another_message},
    {"another outbox in its place is refused", another_outbox_in_its_place_is_refused},
    {"the same backup is refused each time", the_same_backup_is_refused_each_time},
    {"numbers that begin anew are refused", numbers_that_begin_anew_are_refused},
    {"each subscription is adopted by itself", each_subscription_is_adopted_by_itself},
    {"after a doubt the lease is taken at once", after_a_doubt_the_lease_is_taken_at_once},
    {NULL, NULL},
};
