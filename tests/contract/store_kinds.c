/* The kinds of stores that the contract suite runs over. Adding one is its line in `store_kinds`. */
#include <sqlite3.h>
#include <unistd.h>

#include "memory.h"
#include "store_world.h"
#include "stores.h"

/* ---- memory ---- */

static void
memory_make(struct world *world)
{
	snprintf(world->url, sizeof(world->url), "memory:contract");
}

static void
memory_append(struct world *world, const struct ob_message *message, int64_t deliver_in_ms)
{
	expect_ok(world,
		  ob_memory_append("contract", &world_host, message, deliver_in_ms, &world->error));
}

static void
memory_drop(struct world *world)
{
	(void)world;
	ob_memory_drop("contract");
}

static const struct store_kind memory = {
    .name = "memory",
    .ops = &ob_store_memory,
    .make = memory_make,
    .append = memory_append,
    .drop = memory_drop,
};

/* ---- SQLite, in both of its modes ---- */

static const char *
sqlite_path(const struct world *world)
{
	return world->url + strlen("sqlite:");
}

static void
directory_make(struct world *world)
{
	const char *base = getenv("TMPDIR");

	snprintf(world->directory, sizeof(world->directory), "%s/outbox-store-XXXXXX",
		 base == NULL || strlen(base) > 32 ? "/tmp" : base);
	assert_non_null(mkdtemp(world->directory));
	snprintf(world->url, sizeof(world->url), "sqlite:%s/shop.db", world->directory);
}

static void
sqlite_exec(struct world *world, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(sqlite_path(world), &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void
sqlite_wal_make(struct world *world)
{
	directory_make(world);
}

/* A database that the application has already, in the mode that SQLite starts with. */
static void
sqlite_rollback_make(struct world *world)
{
	directory_make(world);
	sqlite_exec(world, "CREATE TABLE shop (item TEXT)");
}

static void
field_bind(sqlite3_stmt *statement, int at, struct ob_bytes bytes, bool blob)
{
	if (bytes.data == NULL)
		sqlite3_bind_null(statement, at);
	else if (blob)
		sqlite3_bind_blob(statement, at, bytes.data, (int)bytes.size, SQLITE_STATIC);
	else
		sqlite3_bind_text(statement, at, bytes.data, (int)bytes.size, SQLITE_STATIC);
}

/* The connection of a batch that is under way. */
static sqlite3 *batch_db;

static sqlite3 *
writer_open(const struct world *world)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(sqlite_path(world), &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	assert_int_equal(sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static void
sqlite_batch(struct world *world, bool begin)
{
	if (begin)
		batch_db = writer_open(world);
	assert_int_equal(
	    sqlite3_exec(batch_db, begin ? "BEGIN IMMEDIATE" : "COMMIT", NULL, NULL, NULL),
	    SQLITE_OK);
	if (begin)
		return;
	sqlite3_close(batch_db);
	batch_db = NULL;
}

static void
sqlite_append(struct world *world, const struct ob_message *message, int64_t deliver_in_ms)
{
	static const char sql[] =
	    "INSERT INTO outbox_message (id, topic, partition_key, type, payload, content_type, headers,"
	    " deliver_after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,"
	    " CASE WHEN ?8 <> 0 THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?8 || ' seconds') END)";
	sqlite3 *db = batch_db != NULL ? batch_db : writer_open(world);
	sqlite3_stmt *statement;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	field_bind(statement, 1, message->id, false);
	field_bind(statement, 2, message->topic, false);
	field_bind(statement, 3, message->key, false);
	field_bind(statement, 4, message->type, false);
	field_bind(statement, 5, message->payload, message->payload.size % 2 == 1);
	field_bind(statement, 6, message->content_type, false);
	field_bind(statement, 7, message->headers, false);
	sqlite3_bind_double(statement, 8, (double)deliver_in_ms / 1000);
	if (sqlite3_step(statement) != SQLITE_DONE)
		fail_msg("insert: %s", sqlite3_errmsg(db));
	sqlite3_finalize(statement);
	if (db != batch_db)
		sqlite3_close(db);
}

static void
sqlite_drop(struct world *world)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
	char path[160];

	for (size_t i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s%s", sqlite_path(world), suffixes[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(world->directory), 0);
}

const struct store_kind store_kind_sqlite_wal = {
    .name = "sqlite, WAL mode",
    .ops = &ob_store_sqlite,
    .make = sqlite_wal_make,
    .append = sqlite_append,
    .batch = sqlite_batch,
    .drop = sqlite_drop,
};

const struct store_kind store_kind_sqlite_rollback = {
    .name = "sqlite, rollback mode",
    .ops = &ob_store_sqlite,
    .make = sqlite_rollback_make,
    .append = sqlite_append,
    .batch = sqlite_batch,
    .drop = sqlite_drop,
};

const struct store_kind *const store_kinds[] = {
    &memory,
    &store_kind_sqlite_wal,
    &store_kind_sqlite_rollback,
    NULL,
};
