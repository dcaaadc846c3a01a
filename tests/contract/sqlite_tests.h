/* What only SQLite has to stand: each file of tests, and what they share. */
#ifndef SQLITE_TESTS_H
#define SQLITE_TESTS_H

#include <sqlite3.h>

#include "store_suite.h"
#include "store_world.h"

extern const struct store_test sqlite_input_tests[];
extern const struct store_test sqlite_file_tests[];
extern const struct store_test sqlite_restore_tests[];
extern const struct store_test sqlite_writer_tests[];
extern const struct store_test sqlite_power_tests[];

static inline const char *
sqlite_test_path(const struct world *world)
{
	return world->url + strlen("sqlite:");
}

/* A connection of the application's own. */
static inline sqlite3 *
sqlite_test_connect(const struct world *world)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(sqlite_test_path(world), &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	return db;
}

/* Runs statements; NULL, or SQLite's error, which lives as long as the connection. */
static inline const char *
sqlite_test_try(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? NULL : sqlite3_errmsg(db);
}

static inline void
sqlite_test_run(sqlite3 *db, const char *sql)
{
	const char *wrong = sqlite_test_try(db, sql);

	if (wrong != NULL)
		fail_msg("%s: %s", sql, wrong);
}

static inline int64_t
sqlite_test_number(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *statement;
	int64_t number;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return number;
}

#endif
