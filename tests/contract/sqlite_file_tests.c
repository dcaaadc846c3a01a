/* The file: modes and encodings that are not ours to choose, disks that are full. */
#include <errno.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sqlite_tests.h"

#include "skip.h"

static void
the_mode_of_a_database_is_left_alone(void **state)
{
	struct world *world = *state;
	sqlite3 *db = sqlite_test_connect(world);
	sqlite3_stmt *statement;
	bool wal = world->kind == &store_kind_sqlite_wal;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 3, "t", "k");
	world_fetch(world, 0);
	world_settle(world, 0, 3);
	assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &statement, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_string_equal(sqlite3_column_text(statement, 0), wal ? "wal" : "delete");
	sqlite3_finalize(statement);
	/* The application's own table is there as it was. */
	if (!wal)
		assert_int_equal(sqlite_test_number(db, "SELECT count(*) FROM shop"), 0);
	sqlite3_close(db);
}

static void
a_database_in_utf_16_gives_utf_8(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;
	sqlite3 *db;

	world_close(world, 0);
	unlink(sqlite_test_path(world));
	db = sqlite_test_connect(world);
	sqlite_test_run(db, "PRAGMA encoding = 'UTF-16le'; CREATE TABLE shop (item TEXT)");
	sqlite3_close(db);
	world_open(world, 0);
	expect_ok(world, world->kind->ops->migrate(world->at[0].store, OB_MIGRATE_APPLY, NULL, NULL,
						   &world->error));
	world_subscribe(world, "s", "t*");
	world_acquire(world, 0, "s");
	db = sqlite_test_connect(world);
	sqlite_test_run(db, "INSERT INTO outbox_message (id, topic, partition_key, payload)"
			    " VALUES ('m1', 't\xc3\xb6pic', 'k\xe2\x82\xac', '\xf0\x9f\x98\x80'),"
			    " ('m2', 't', 'k', x'fffe00')");
	sqlite3_close(db);
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "m1 m2");
	assert_int_equal(batch->rows[0].message.topic.size, 6);
	assert_memory_equal(batch->rows[0].message.topic.data, "t\xc3\xb6pic", 6);
	assert_memory_equal(batch->rows[0].message.key.data, "k\xe2\x82\xac", 4);
	assert_int_equal(batch->rows[0].message.payload.size, 4);
	assert_memory_equal(batch->rows[0].message.payload.data, "\xf0\x9f\x98\x80", 4);
	assert_int_equal(batch->rows[1].message.payload.size, 3);
	assert_memory_equal(batch->rows[1].message.payload.data, "\xff\xfe\x00", 3);
}

static void
a_full_disk_leaves_no_half_state(void **state)
{
	struct world *world = *state;
	char mount_point[96], url[120];
	struct ob_outcome outcomes[4];
	struct ob_batch *batch;
	struct ob_settle settle = {.through = 4, .outcomes = outcomes, .outcome_count = 4};
	sqlite3 *db;
	int code;

	snprintf(mount_point, sizeof(mount_point), "%s/full", world->directory);
	assert_int_equal(mkdir(mount_point, 0700), 0);
	if (mount("tmpfs", mount_point, "tmpfs", 0, "size=2m") != 0) {
		int failed = errno;

		rmdir(mount_point);
		(void)failed;
		OB_SKIP("mounting a small tmpfs is not permitted here");
	}
	snprintf(url, sizeof(url), "sqlite:%.80s/shop.db", mount_point);
	world_close(world, 0);
	{
		char before[128];

		memcpy(before, world->url, sizeof(before));
		snprintf(world->url, sizeof(world->url), "%s", url);
		world_open(world, 0);
		expect_ok(world, world->kind->ops->migrate(world->at[0].store, OB_MIGRATE_APPLY,
							   NULL, NULL, &world->error));
		world_subscribe(world, "s", "*");
		world_acquire(world, 0, "s");
		db = sqlite_test_connect(world);
		for (int i = 0; i < 4; i++)
			sqlite_test_run(db,
					"INSERT INTO outbox_message (topic, partition_key, payload)"
					" VALUES ('t', 'k', zeroblob(100000))");
		batch = world_fetch(world, 0);
		assert_int_equal(batch->count, 4);
		for (unsigned i = 0; i < 4; i++)
			outcomes[i] = world_outcome(&batch->rows[i], OB_OUTCOME_DEAD, 0);
		/* The application fills the disk; then neither it nor the relay can write. */
		sqlite_test_run(db, "CREATE TABLE filler (x)");
		while (sqlite_test_try(db, "INSERT INTO filler VALUES (zeroblob(50000))") == NULL)
			;
		code = world->kind->ops->settle(world->at[0].store, &settle, &world->error);
		assert_true(code == OB_LIMIT || code == OB_AGAIN);
		assert_true(sqlite_test_number(db, "SELECT count(*) FROM outbox_dead") == 0);
		assert_true(sqlite_test_number(db, "SELECT position FROM outbox_checkpoint") == 0);
		/* Space again, and the same settle is done. */
		sqlite3_close(db);
		if (code == OB_AGAIN) {
			world_acquire(world, 0, "s");
			world_fetch(world, 0);
		}
		assert_int_equal(mount("tmpfs", mount_point, "tmpfs", MS_REMOUNT, "size=16m"), 0);
		expect_ok(world,
			  world->kind->ops->settle(world->at[0].store, &settle, &world->error));
		assert_int_equal(world_stats(world, 0, "s").dead_rows, 4);
		world_close(world, 0);
		memcpy(world->url, before, sizeof(before));
	}
	assert_int_equal(umount(mount_point), 0);
	assert_int_equal(rmdir(mount_point), 0);
}

/* What was read cannot be made durable: the journal and the directory cannot be opened for their sync. */
static void
without_descriptors_what_was_fetched_is_given_up(void **state)
{
	struct world *world = *state;
	struct rlimit before, none;
	int unused, code;

	if (world->kind == &store_kind_sqlite_wal)
		OB_SKIP("in WAL mode nothing is opened to be synced");
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 2, "t", "k");
	assert_int_equal(world_fetch(world, 0)->count, 2);
	world_append_many(world, 1, "t", "k");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	unused = dup(STDERR_FILENO);
	assert_true(unused >= 0);
	close(unused);
	none = before;
	none.rlim_cur = (rlim_t)unused;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	ob_batch_reset(world->at[0].batch);
	code = world->kind->ops->fetch(world->at[0].store, &world_fetch_all, world->at[0].batch,
				       &world->error);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	expect_code(world, OB_AGAIN, code);
	/* After that code the relay forgets all that it has, so it must come again. */
	world_acquire(world, 0, "s");
	assert_false(world->at[0].acquired.goes_on);
	assert_int_equal(world_fetch(world, 0)->count, 3);
	assert_int_equal(world->at[0].batch->rows[0].ordinal, 1);
}

static void
the_wal_of_a_quiet_database_is_kept_small(void **state)
{
	static const char *const pairs[] = {"wal-limit=64KiB", NULL};
	struct world *world = *state;
	struct stat st;
	uint64_t rows;
	bool again;
	sqlite3 *db;

	if (world->kind != &store_kind_sqlite_wal)
		OB_SKIP("rollback mode has no write-ahead log");
	world_options(world, pairs);
	world_close(world, 0);
	world_open(world, 0);
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	db = sqlite_test_connect(world);
	sqlite_test_run(db, "PRAGMA wal_autocheckpoint = 0");
	sqlite_test_run(
	    db, "INSERT INTO outbox_message (topic, payload) VALUES ('t', zeroblob(300000))");
	/* Somebody wrote just now: the relay leaves the log alone. */
	for (int i = 0; i < 3; i++)
		expect_ok(world,
			  world->kind->ops->trim(world->at[0].store, &rows, &again, &world->error));
	assert_int_equal(stat(sqlite_test_path(world), &st), 0);
	assert_true(st.st_size < 300000);
	world_pass_ms(4000);
	expect_ok(world, world->kind->ops->trim(world->at[0].store, &rows, &again, &world->error));
	assert_int_equal(stat(sqlite_test_path(world), &st), 0);
	assert_true(st.st_size < 300000);
	world_pass_ms(1000);
	expect_ok(world, world->kind->ops->trim(world->at[0].store, &rows, &again, &world->error));
	assert_int_equal(stat(sqlite_test_path(world), &st), 0);
	assert_true(st.st_size >= 300000);
	sqlite3_close(db);
}

const struct store_test sqlite_file_tests[] = {
    {"the mode of a database is left alone", the_mode_of_a_database_is_left_alone},
    {"a database in UTF-16 gives UTF-8", a_database_in_utf_16_gives_utf_8},
    {"a full disk leaves no half state", a_full_disk_leaves_no_half_state},
    {"without descriptors what was fetched is given up",
     without_descriptors_what_was_fetched_is_given_up},
    {"the WAL of a quiet database is kept small", the_wal_of_a_quiet_database_is_kept_small},
    {NULL, NULL},
};
