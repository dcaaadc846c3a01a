#include "table.h"

#include <outbox/inbox.h>
#include <stdbool.h>
#include <string.h>

enum { HOUR_MS = 60 * 60 * 1000 };

static int
database_setup(void **state)
{
	*state = database_make();
	return ob_inbox_sqlite_create(*state, NULL);
}

static int
database_teardown(void **state)
{
	return sqlite3_close(*state);
}

static void
test_tells_a_second_one_apart(void **state)
{
	sqlite3 *db = *state;
	bool first = false;

	assert_int_equal(ob_inbox_sqlite_create(db, NULL), OB_OK);
	sql_run(db, "BEGIN");
	assert_int_equal(ob_inbox_sqlite_claim(db, "billing", "a", &first, NULL), OB_OK);
	assert_true(first);
	assert_int_equal(ob_inbox_sqlite_claim(db, "billing", "a", &first, NULL), OB_OK);
	assert_false(first);
	assert_int_equal(ob_inbox_sqlite_claim(db, "shipping", "a", &first, NULL), OB_OK);
	assert_true(first);
	sql_run(db, "COMMIT; BEGIN");
	assert_int_equal(ob_inbox_sqlite_claim(db, "billing", "a", &first, NULL), OB_OK);
	assert_false(first);
	sql_run(db, "ROLLBACK");
}

static void
test_goes_with_the_transaction(void **state)
{
	sqlite3 *db = *state;
	bool first = false;

	sql_run(db, "BEGIN");
	assert_int_equal(ob_inbox_sqlite_claim(db, "billing", "a", &first, NULL), OB_OK);
	sql_run(db, "ROLLBACK; BEGIN");
	assert_int_equal(ob_inbox_sqlite_claim(db, "billing", "a", &first, NULL), OB_OK);
	assert_true(first);
	sql_run(db, "ROLLBACK");
}

static void
test_refuses_what_would_not_be_safe(void **state)
{
	struct ob_error error;
	uint64_t removed;
	bool first;

	assert_int_equal(ob_inbox_sqlite_claim(*state, "billing", "a", &first, &error), OB_USAGE);
	assert_non_null(strstr(error.text, "BEGIN IMMEDIATE"));
	assert_int_equal(ob_inbox_sqlite_claim(*state, "", "a", &first, &error), OB_INVALID);
	assert_int_equal(ob_inbox_sqlite_claim(*state, "billing", NULL, &first, &error),
			 OB_INVALID);
	assert_int_equal(ob_inbox_sqlite_claim(*state, "billing", "\xff", &first, &error),
			 OB_INVALID);
	assert_int_equal(
	    ob_inbox_sqlite_trim(*state, "billing", 24 * HOUR_MS, 0, 0, &removed, &error),
	    OB_USAGE);
	assert_int_equal(
	    ob_inbox_sqlite_trim(*state, "billing", HOUR_MS, 2 * HOUR_MS, 0, &removed, &error),
	    OB_USAGE);
	sql_run(*state, "DROP TABLE outbox_inbox; BEGIN");
	assert_int_equal(ob_inbox_sqlite_claim(*state, "billing", "a", &first, &error), OB_SCHEMA);
	assert_non_null(strstr(error.text, "ob_inbox_sqlite_create"));
	sql_run(*state, "ROLLBACK");
}

static void
test_trims_the_old_ones_in_short_pieces(void **state)
{
	sqlite3 *db = *state;
	uint64_t removed = 0;

	sql_run(
	    db,
	    "INSERT INTO outbox_inbox WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
	    " LIMIT 30) SELECT 'billing', i,"
	    " strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || i || ' hours') FROM n");
	sql_run(db,
		"INSERT INTO outbox_inbox VALUES ('shipping', 'old', '2000-01-01T00:00:00.000Z')");
	int64_t keep_ms = 25 * HOUR_MS + HOUR_MS / 2;
	assert_int_equal(ob_inbox_sqlite_trim(db, "billing", keep_ms, 0, 3, &removed, NULL), OB_OK);
	assert_int_equal(removed, 3);
	assert_int_equal(
	    sql_number(db, "SELECT count(*) FROM outbox_inbox WHERE id IN (28, 29, 30)"), 0);
	assert_int_equal(ob_inbox_sqlite_trim(db, "billing", keep_ms, 0, 3, &removed, NULL), OB_OK);
	assert_int_equal(removed, 2);
	assert_int_equal(ob_inbox_sqlite_trim(db, "billing", keep_ms, 0, 3, &removed, NULL), OB_OK);
	assert_int_equal(removed, 0);
	assert_int_equal(sql_number(db, "SELECT count(*) FROM outbox_inbox"), 26);
}

int
main(void)
{
#define WITH_DATABASE(test) cmocka_unit_test_setup_teardown(test, database_setup, database_teardown)
	const struct CMUnitTest tests[] = {
	    WITH_DATABASE(test_tells_a_second_one_apart),
	    WITH_DATABASE(test_goes_with_the_transaction),
	    WITH_DATABASE(test_refuses_what_would_not_be_safe),
	    WITH_DATABASE(test_trims_the_old_ones_in_short_pieces),
	};

	return cmocka_run_group_tests_name("producer-inbox", tests, NULL, NULL);
}
