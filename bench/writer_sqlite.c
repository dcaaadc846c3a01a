/* bench-writer on SQLite. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "writer.h"

static sqlite3 *db;
static sqlite3_stmt *begin, *update, *insert, *commit;

static void
die(const char *what)
{
	fprintf(stderr, "bench-writer: %s: %s\n", what, sqlite3_errmsg(db));
	exit(1);
}

static void
execute(const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		die(sql);
}

static sqlite3_stmt *
prepare(const char *sql)
{
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) !=
	    SQLITE_OK)
		die(sql);
	return statement;
}

static void
step(sqlite3_stmt *statement)
{
	if (sqlite3_step(statement) != SQLITE_DONE)
		die(sqlite3_sql(statement));
	sqlite3_reset(statement);
}

static void
open_database(const char *url, const char *synchronous)
{
	const char *path = url + strlen("sqlite:");
	char pragma[64];

	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		die(path);
	sqlite3_busy_timeout(db, 10000);
	snprintf(pragma, sizeof(pragma), "PRAGMA synchronous = %s",
		 synchronous != NULL ? synchronous : "normal");
	execute(pragma);
	execute(
	    "CREATE TABLE IF NOT EXISTS account (key INTEGER PRIMARY KEY, changes INTEGER NOT NULL)");
	begin = prepare("BEGIN IMMEDIATE");
	update = prepare("INSERT INTO account (key, changes) VALUES (?1, 1) "
			 "ON CONFLICT (key) DO UPDATE SET changes = changes + 1");
	insert = prepare("INSERT INTO outbox_message (id, topic, partition_key, payload) "
			 "VALUES (?1, 'bench', ?2, ?3)");
	commit = prepare("COMMIT");
}

static void
transaction(uint64_t account, const struct writer_message *messages, uint32_t count)
{
	step(begin);
	sqlite3_bind_int64(update, 1, (sqlite3_int64)account);
	step(update);
	for (uint32_t i = 0; i < count; i++) {
		sqlite3_bind_text(insert, 1, messages[i].id, -1, SQLITE_TRANSIENT);
		sqlite3_bind_text(insert, 2, messages[i].key, -1, SQLITE_TRANSIENT);
		sqlite3_bind_text(insert, 3, messages[i].payload, (int)messages[i].payload_size,
				  SQLITE_STATIC);
		step(insert);
	}
	step(commit);
}

static void
close_database(void)
{
	sqlite3_finalize(begin);
	sqlite3_finalize(update);
	sqlite3_finalize(insert);
	sqlite3_finalize(commit);
	sqlite3_close(db);
}

const struct writer_driver writer_sqlite = {
    .scheme = "sqlite",
    .open = open_database,
    .transaction = transaction,
    .close = close_database,
};
