/* A database in memory with the columns that producers fill. The real table is made by `outbox init` and met in tests/system. */
#ifndef OB_TEST_PRODUCER_TABLE_H
#define OB_TEST_PRODUCER_TABLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sqlite3.h>

static inline void
sql_run(sqlite3 *db, const char *sql)
{
	char *text = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &text) != SQLITE_OK)
		fail_msg("%s: %s", sql, text);
}

static inline sqlite3 *
database_make(void)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	sql_run(db, "CREATE TABLE outbox_message (seq INTEGER PRIMARY KEY AUTOINCREMENT,"
		    " id TEXT NOT NULL, topic TEXT NOT NULL CHECK (topic <> 'refused'),"
		    " partition_key TEXT, type TEXT, payload, content_type TEXT, headers TEXT,"
		    " deliver_after TEXT)");
	return db;
}

/* The first column of the first row; -1 when it is NULL. */
static inline int64_t
sql_number(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *statement;
	int64_t number = -1;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	if (sqlite3_column_type(statement, 0) != SQLITE_NULL)
		number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return number;
}

/* The first column of the first row is this text. */
static inline void
sql_expect(sqlite3 *db, const char *sql, const char *expected)
{
	sqlite3_stmt *statement;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(statement, 0), expected);
	sqlite3_finalize(statement);
}

#endif
