/*
 * A power cut: what was delivered is still there, whatever the application's `synchronous` is.
 *
 * A VFS of our own stands between SQLite and the files and keeps for each file what it held at its last sync. A
 * cut closes everything and puts that back. (kill -9 tests none of this: the system keeps what was written.)
 */
#include <unistd.h>

#include "sqlite_tests.h"

#define FILES_MAX 8

struct kept_file {
	char path[256];
	char *bytes; /* as of the last sync; NULL: there was none */
	size_t size;
};

struct shim_file {
	sqlite3_file base;
	struct kept_file *kept; /* NULL: of no interest */
	sqlite3_file *real;     /* behind this struct */
};

static sqlite3_vfs shim, *real_vfs;
static struct kept_file files[FILES_MAX];
static struct shim_file *open_files[64];
static unsigned syncs; /* so far */

static struct shim_file *
shim_of(sqlite3_file *file)
{
	return (struct shim_file *)(void *)file;
}

static struct kept_file *
kept_get(const char *path)
{
	for (size_t i = 0; i < FILES_MAX; i++) {
		if (files[i].path[0] == '\0')
			snprintf(files[i].path, sizeof(files[i].path), "%s", path);
		if (strcmp(files[i].path, path) == 0)
			return &files[i];
	}
	return NULL;
}

/* What the file holds now is what a cut leaves of it. */
static void
shim_keep(struct shim_file *file)
{
	sqlite3_int64 size = 0;

	if (file->kept == NULL)
		return;
	file->real->pMethods->xFileSize(file->real, &size);
	file->kept->bytes = realloc(file->kept->bytes, (size_t)size + 1);
	file->kept->size = (size_t)size;
	if (size > 0)
		file->real->pMethods->xRead(file->real, file->kept->bytes, (int)size, 0);
}

static int
shim_close(sqlite3_file *file)
{
	for (size_t i = 0; i < 64; i++)
		if (open_files[i] == shim_of(file))
			open_files[i] = NULL;
	return shim_of(file)->real->pMethods->xClose(shim_of(file)->real);
}

static int
shim_sync(sqlite3_file *file, int flags)
{
	(void)flags;
	syncs++;
	shim_keep(shim_of(file));
	return SQLITE_OK;
}

#define PASS(name, ...) return shim_of(file)->real->pMethods->name(shim_of(file)->real, __VA_ARGS__)

static int
shim_read(sqlite3_file *file, void *to, int size, sqlite3_int64 at)
{
	PASS(xRead, to, size, at);
}

static int
shim_write(sqlite3_file *file, const void *from, int size, sqlite3_int64 at)
{
	PASS(xWrite, from, size, at);
}

static int
shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	PASS(xTruncate, size);
}

static int
shim_size(sqlite3_file *file, sqlite3_int64 *size)
{
	PASS(xFileSize, size);
}

static int
shim_lock(sqlite3_file *file, int level)
{
	PASS(xLock, level);
}

static int
shim_unlock(sqlite3_file *file, int level)
{
	PASS(xUnlock, level);
}

static int
shim_reserved(sqlite3_file *file, int *out)
{
	PASS(xCheckReservedLock, out);
}

static int
shim_control(sqlite3_file *file, int op, void *arg)
{
	PASS(xFileControl, op, arg);
}

static int
shim_sector(sqlite3_file *file)
{
	return shim_of(file)->real->pMethods->xSectorSize(shim_of(file)->real);
}

static int
shim_device(sqlite3_file *file)
{
	return shim_of(file)->real->pMethods->xDeviceCharacteristics(shim_of(file)->real);
}

static int
shim_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
	PASS(xShmMap, page, size, extend, out);
}

static int
shim_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
	PASS(xShmLock, offset, n, flags);
}

static void
shim_shm_barrier(sqlite3_file *file)
{
	shim_of(file)->real->pMethods->xShmBarrier(shim_of(file)->real);
}

static int
shim_shm_unmap(sqlite3_file *file, int delete_it)
{
	PASS(xShmUnmap, delete_it);
}

static const sqlite3_io_methods shim_methods = {
    .iVersion = 2,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_reserved,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_device,
    .xShmMap = shim_shm_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_shm_barrier,
    .xShmUnmap = shim_shm_unmap,
};

static int
shim_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out_flags)
{
	struct shim_file *opened = shim_of(file);
	int rc;

	(void)vfs;
	opened->real = (sqlite3_file *)(void *)(opened + 1);
	opened->kept = path != NULL && (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) != 0
			   ? kept_get(path)
			   : NULL;
	rc = real_vfs->xOpen(real_vfs, path, opened->real, flags, out_flags);
	opened->base.pMethods = opened->real->pMethods == NULL ? NULL : &shim_methods;
	for (size_t i = 0; i < 64 && rc == SQLITE_OK; i++) {
		if (open_files[i] == NULL) {
			open_files[i] = opened;
			break;
		}
	}
	return rc;
}

static void
shim_register(void)
{
	real_vfs = sqlite3_vfs_find("unix");
	shim = *real_vfs;
	shim.zName = "power";
	shim.szOsFile = (int)sizeof(struct shim_file) + real_vfs->szOsFile;
	shim.xOpen = shim_open;
	assert_int_equal(sqlite3_vfs_register(&shim, 1), SQLITE_OK);
}

/* The power fails: what was not synced is gone. Everything is closed; instance 0 is opened again. */
static void
power_cut(struct world *world, sqlite3 *db)
{
	struct kept_file cut[FILES_MAX];
	char path[160];

	for (size_t i = 0; i < FILES_MAX; i++) {
		cut[i] = files[i];
		if (files[i].bytes == NULL)
			continue;
		cut[i].bytes = malloc(files[i].size + 1);
		memcpy(cut[i].bytes, files[i].bytes, files[i].size);
	}
	sqlite3_close(db);
	world_close(world, 0);
	snprintf(path, sizeof(path), "%s-shm", sqlite_test_path(world));
	unlink(path);
	snprintf(path, sizeof(path), "%s-journal", sqlite_test_path(world));
	unlink(path);
	for (size_t i = 0; i < FILES_MAX && cut[i].path[0] != '\0'; i++) {
		FILE *file = fopen(cut[i].path, "w");

		assert_non_null(file);
		assert_int_equal(fwrite(cut[i].bytes, 1, cut[i].size, file), cut[i].size);
		fclose(file);
		free(cut[i].bytes);
	}
	world_open(world, 0);
}

/* A relay, an application that does not care for durability, and everything so far on the disk. */
static sqlite3 *
power_begin(void **state)
{
	struct world *world;
	sqlite3 *db;

	/* The world was made before the shim: open it again through the shim. */
	world = *state;
	memset(files, 0, sizeof(files));
	memset(open_files, 0, sizeof(open_files));
	shim_register();
	world_close(world, 0);
	world_open(world, 0);
	world_subscribe(world, "s", "*");
	assert_true(world_try_acquire(world, 0, "s", 1)->held);
	assert_int_equal(world_fetch(world, 0)->count, 0);
	db = sqlite_test_connect(world);
	sqlite_test_run(db, "PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 0");
	assert_int_equal(sqlite_test_number(db, "SELECT count(*) FROM outbox_message"), 0);
	for (size_t i = 0; i < 64; i++)
		if (open_files[i] != NULL)
			shim_keep(open_files[i]);
	return db;
}

static void
power_end(void **state)
{
	struct world *world = *state;

	world_close(world, 0);
	sqlite3_vfs_unregister(&shim);
	for (size_t i = 0; i < FILES_MAX; i++)
		free(files[i].bytes);
	memset(files, 0, sizeof(files));
	memset(open_files, 0, sizeof(open_files));
}

static const struct ob_selection logged = {.place = OB_PLACE_LOG};
static const char insert[] = "INSERT INTO outbox_message (id, topic) VALUES ('m1', 't')";

static void
what_nobody_read_may_vanish(void **state)
{
	struct world *world = *state;
	sqlite3 *db = power_begin(state);

	sqlite_test_run(db, insert);
	assert_string_equal(world_listing(world, 0, &logged), "m1");
	power_cut(world, db);
	/* Else this suite would prove nothing. */
	assert_string_equal(world_listing(world, 0, &logged), "");
	power_end(state);
}

static void
what_was_delivered_outlives_a_power_cut(void **state)
{
	struct world *world = *state;
	sqlite3 *db = power_begin(state);

	sqlite_test_run(db, insert);
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1");
	sqlite_test_run(db, "INSERT INTO outbox_message (id, topic) VALUES ('m2', 't')");
	power_cut(world, db);
	assert_string_equal(world_listing(world, 0, &logged), "m1");
	/* Its settle was not made: it is sent again, and its number is not given to another. */
	world_sleep_ms(5);
	world_acquire(world, 0, "s");
	db = sqlite_test_connect(world);
	sqlite_test_run(db, "INSERT INTO outbox_message (id, topic) VALUES ('m3', 't')");
	sqlite3_close(db);
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1 m3");
	power_end(state);
}

static void
what_was_delivered_outlives_a_power_cut_after_a_checkpoint(void **state)
{
	struct world *world = *state;
	sqlite3 *db = power_begin(state);

	/* With synchronous=OFF a checkpoint syncs nothing either, and then the log is begun anew. */
	sqlite_test_run(db, insert);
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1");
	sqlite_test_run(db, "INSERT INTO outbox_message (id, topic) VALUES ('m2', 't')");
	sqlite_test_run(db, "PRAGMA wal_checkpoint(RESTART)");
	sqlite_test_run(db, "INSERT INTO outbox_message (id, topic) VALUES ('m3', 't')");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m2 m3");
	sqlite_test_run(db, "INSERT INTO outbox_message (id, topic) VALUES ('m4', 't')");
	sqlite_test_run(db, "PRAGMA wal_checkpoint(TRUNCATE)");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m4");
	power_cut(world, db);
	assert_string_equal(world_listing(world, 0, &logged), "m1 m2 m3 m4");
	power_end(state);
}

static void
a_settle_that_a_power_cut_takes_back_is_whole(void **state)
{
	struct world *world = *state;
	sqlite3 *db = power_begin(state);
	const char *left;
	struct ob_outcome outcome;
	struct ob_batch *batch;

	sqlite_test_run(db, insert);
	sqlite_test_run(db, "INSERT INTO outbox_message (id, topic) VALUES ('m2', 't')");
	batch = world_fetch(world, 0);
	outcome = world_outcome(&batch->rows[0], OB_OUTCOME_DEAD, 0);
	world_settle_with(world, 0, 2, &outcome, 1);
	power_cut(world, db);
	world_sleep_ms(5);
	left = world_listing(world, 0, &(struct ob_selection){.place = OB_PLACE_DEAD});
	if (*left == '\0') {
		/* All of it is gone, */
		world_acquire(world, 0, "s");
		assert_string_equal(world_ids(world_fetch(world, 0)), "m1 m2");
	} else {
		/* or nothing. */
		assert_string_equal(left, "m1");
		world_acquire(world, 0, "s");
		assert_int_equal(world_fetch(world, 0)->count, 0);
	}
	power_end(state);
}

/* The application writes, but no messages: it waits for its own syncs alone. All that there was is trimmed. */
static void
what_is_durable_is_not_synced_again(void **state)
{
	struct world *world = *state;
	struct ob_fetch nothing = {0};
	sqlite3 *db = power_begin(state);
	uint64_t rows;
	bool again;
	unsigned before;

	sqlite_test_run(db, insert);
	world_fetch(world, 0);
	world_settle(world, 0, 1);
	expect_ok(world, world->kind->ops->trim(world->at[0].store, &rows, &again, &world->error));
	assert_int_equal(rows, 1);
	for (int round = 0; round < 2; round++) {
		world_close(world, 0);
		world_open(world, 0);
		world_sleep_ms(5);
		world_acquire(world, 0, "s");
		/* With `nothing`: a relay that is paused asks whether it still is. */
		world_fetch_as(world, 0, round == 0 ? &world_fetch_all : &nothing);
		before = syncs;
		for (int i = 0; i < 5; i++) {
			sqlite_test_run(db, "CREATE TABLE t (x); DROP TABLE t");
			world_fetch_as(world, 0, round == 0 ? &world_fetch_all : &nothing);
		}
		assert_int_equal(syncs, before);
		expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	}
	/* And what comes then is. */
	world_acquire(world, 0, "s");
	world_fetch(world, 0);
	before = syncs;
	sqlite_test_run(db, "INSERT INTO outbox_message (id, topic) VALUES ('m2', 't')");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m2");
	assert_true(syncs > before);
	power_cut(world, db);
	assert_string_equal(world_listing(world, 0, &logged), "m2");
	power_end(state);
}

const struct store_test sqlite_power_tests[] = {
    {"what nobody read may vanish", what_nobody_read_may_vanish},
    {"what was delivered outlives a power cut", what_was_delivered_outlives_a_power_cut},
    {"what was delivered outlives a power cut after a checkpoint",
     what_was_delivered_outlives_a_power_cut_after_a_checkpoint},
    {"what is durable is not synced again", what_is_durable_is_not_synced_again},
    {"a settle that a power cut takes back is whole",
     a_settle_that_a_power_cut_takes_back_is_whole},
    {NULL, NULL},
};
