/* The inbox on a real server. */
#include "postgres_world.h"

#include <outbox/inbox.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>

enum { HOUR_MS = 60 * 60 * 1000, DEADLINE_MS = 10000 };

static int
setup(void **state)
{
	PGconn *conn = server_connect();

	sql_run(conn, "SET client_min_messages = error; DROP SCHEMA IF EXISTS ob_inbox CASCADE;"
		      " CREATE SCHEMA ob_inbox; SET search_path = ob_inbox");
	*state = conn;
	return ob_inbox_postgres_create(conn, NULL, NULL);
}

static int
teardown(void **state)
{
	sql_run(*state, "DROP SCHEMA ob_inbox CASCADE");
	PQfinish(*state);
	return 0;
}

static PGconn *
another(void)
{
	PGconn *conn = server_connect();

	sql_run(conn, "SET client_min_messages = error; SET search_path = ob_inbox");
	return conn;
}

static bool
claim(PGconn *conn, const char *consumer, const char *id)
{
	struct ob_error error;
	bool first = false;

	if (ob_inbox_postgres_claim(conn, NULL, consumer, id, &first, &error) != OB_OK)
		fail_msg("%s", error.text);
	return first;
}

static void
test_tells_a_second_one_apart(void **state)
{
	PGconn *conn = *state;

	assert_int_equal(ob_inbox_postgres_create(conn, NULL, NULL), OB_OK);
	sql_run(conn, "BEGIN");
	assert_true(claim(conn, "billing", "a"));
	assert_false(claim(conn, "billing", "a"));
	assert_true(claim(conn, "shipping", "a"));
	sql_run(conn, "COMMIT; BEGIN");
	assert_false(claim(conn, "billing", "a"));
	sql_run(conn, "ROLLBACK");
}

static void
test_goes_with_the_transaction(void **state)
{
	PGconn *conn = *state;

	sql_run(conn, "BEGIN");
	assert_true(claim(conn, "billing", "a"));
	sql_run(conn, "ROLLBACK; BEGIN");
	assert_true(claim(conn, "billing", "a"));
	sql_run(conn, "ROLLBACK");
}

static void
wait_until_it_waits(const PGconn *conn, PGconn *watcher)
{
	char sql[200];

	(void)snprintf(sql, sizeof(sql),
		       "SELECT 1 FROM pg_stat_activity WHERE pid = %d AND wait_event_type = 'Lock'",
		       PQbackendPID(conn));
	for (int waited_ms = 0;; waited_ms += 10) {
		PGresult *result = PQexec(watcher, sql);
		bool waits = PQntuples(result) == 1;

		PQclear(result);
		if (waits)
			return;
		assert_true(waited_ms < DEADLINE_MS);
		(void)poll(NULL, 0, 10);
	}
}

/* Makes `conn` claim what another transaction has claimed, with plain SQL, and wait for that one. */
static void
claim_begin(PGconn *conn, PGconn *watcher)
{
	sql_run(conn, "BEGIN");
	assert_int_equal(
	    PQsendQuery(conn, "INSERT INTO outbox_inbox (consumer, id) VALUES ('billing', 'a')"
			      " ON CONFLICT DO NOTHING"),
	    1);
	wait_until_it_waits(conn, watcher);
}

static void
claim_end(PGconn *conn, const char *rows)
{
	PGresult *result = PQgetResult(conn);

	assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
	assert_string_equal(PQcmdTuples(result), rows);
	PQclear(result);
	assert_null(PQgetResult(conn));
	sql_run(conn, "ROLLBACK");
}

/* Two consumers with the same message: that of plain SQL waits for that of C. */
static void
test_two_at_once(void **state)
{
	PGconn *conn = *state, *other = another(), *watcher = another();

	sql_run(conn, "BEGIN");
	assert_true(claim(conn, "billing", "a"));
	claim_begin(other, watcher);
	sql_run(conn, "ROLLBACK");
	claim_end(other, "1");

	sql_run(conn, "BEGIN");
	assert_true(claim(conn, "billing", "a"));
	claim_begin(other, watcher);
	sql_run(conn, "COMMIT");
	claim_end(other, "0");
	PQfinish(watcher);
	PQfinish(other);
}

static void
test_a_conflict_with_an_older_snapshot_is_busy(void **state)
{
	PGconn *conn = *state, *other = another();
	struct ob_error error;
	bool first;

	sql_run(other, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox_inbox");
	sql_run(conn, "BEGIN");
	assert_true(claim(conn, "billing", "a"));
	sql_run(conn, "COMMIT");
	assert_int_equal(ob_inbox_postgres_claim(other, NULL, "billing", "a", &first, &error),
			 OB_BUSY);
	sql_run(other, "ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ");
	assert_false(claim(other, "billing", "a"));
	PQfinish(other);
}

static void
refused(PGconn *conn, const char *consumer, const char *id, enum ob_code code, const char *says)
{
	struct ob_error error;
	bool first;

	assert_int_equal(ob_inbox_postgres_claim(conn, NULL, consumer, id, &first, &error), code);
	if (strstr(error.text, says) == NULL)
		fail_msg("%s is not in: %s", says, error.text);
}

static void
test_refuses_what_would_not_be_safe(void **state)
{
	PGconn *conn = *state;
	struct ob_error error;

	refused(conn, "billing", "a", OB_USAGE, "BEGIN first");
	refused(conn, "", "a", OB_INVALID, "consumer: empty");
	refused(conn, "billing", NULL, OB_INVALID, "id: empty");
	refused(conn, "billing", "\xff", OB_INVALID, "not UTF-8");
	assert_int_equal(
	    ob_inbox_postgres_trim(conn, NULL, "billing", 24 * HOUR_MS, 0, 0, NULL, &error),
	    OB_USAGE);
	assert_int_equal(
	    ob_inbox_postgres_trim(conn, NULL, "billing", HOUR_MS, 2 * HOUR_MS, 0, NULL, &error),
	    OB_USAGE);
	sql_run(conn, "BEGIN; DROP TABLE outbox_inbox");
	refused(conn, "billing", "a", OB_SCHEMA, "ob_inbox_postgres_create");
	refused(conn, "billing", "a", OB_USAGE, "aborted");
	sql_run(conn, "ROLLBACK");
	assert_int_equal(PQenterPipelineMode(conn), 1);
	refused(conn, "billing", "a", OB_USAGE, "pipeline");
	assert_int_equal(PQexitPipelineMode(conn), 1);
}

static void
test_trims_the_old_ones_in_short_pieces(void **state)
{
	PGconn *conn = *state;
	uint64_t removed = 0;
	int64_t keep_ms = 25 * HOUR_MS + HOUR_MS / 2;

	sql_run(conn,
		"INSERT INTO outbox_inbox SELECT 'billing', i, now() - i * interval '1 hour' FROM"
		" generate_series(1, 30) AS i; INSERT INTO outbox_inbox VALUES ('shipping', 'old',"
		" '2000-01-01Z')");
	for (uint64_t expected = 3; expected > 0; expected--) {
		assert_int_equal(
		    ob_inbox_postgres_trim(conn, NULL, "billing", keep_ms, 0, 3, &removed, NULL),
		    OB_OK);
		assert_int_equal(removed, expected == 3 ? 3 : expected == 2 ? 2 : 0);
		if (expected == 3)
			sql_expect(
			    conn,
			    "SELECT count(*) FROM outbox_inbox WHERE id IN ('28', '29', '30')",
			    "0");
	}
	sql_expect(conn, "SELECT count(*) FROM outbox_inbox", "26");
	sql_run(conn, "SET client_encoding = LATIN1");
	assert_int_equal(
	    ob_inbox_postgres_trim(conn, NULL, "shipping", keep_ms, 0, 0, &removed, NULL), OB_OK);
	assert_int_equal(removed, 1);
}

static void
test_any_schema_and_encoding(void **state)
{
	PGconn *conn = *state;
	const char *consumer = "caf\xc3\xa9";
	struct ob_error error;
	char name[600];
	bool first = false;

	sql_run(conn, "DROP SCHEMA IF EXISTS \"In \"\"Box\" CASCADE; CREATE SCHEMA \"In \"\"Box\";"
		      " SET client_encoding = LATIN1");
	assert_int_equal(ob_inbox_postgres_create(conn, "In \"Box", NULL), OB_OK);
	assert_int_equal(ob_inbox_postgres_create(conn, "In \"Box", NULL), OB_OK);
	sql_run(conn, "BEGIN");
	assert_int_equal(ob_inbox_postgres_claim(conn, "In \"Box", consumer, "a", &first, NULL),
			 OB_OK);
	assert_true(first);
	sql_run(conn, "COMMIT; SET client_encoding = UTF8");
	sql_expect(conn, "SELECT consumer FROM \"In \"\"Box\".outbox_inbox", consumer);
	sql_run(conn, "DROP SCHEMA \"In \"\"Box\" CASCADE");
	assert_int_equal(ob_inbox_postgres_create(conn, "nowhere", &error), OB_SCHEMA);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(ob_inbox_postgres_create(conn, name, &error), OB_INVALID);
}

static void *
create_run(void *conn)
{
	struct ob_error error;
	int rc = ob_inbox_postgres_create(conn, NULL, &error);

	return rc == OB_OK ? NULL : strdup(error.text);
}

/* Both find nothing; one makes the table, and the other, which waits for it in the catalog, must live with that. */
static void
test_two_may_make_it_at_once(void **state)
{
	PGconn *conn = *state, *other = another(), *watcher = another();
	pthread_t thread;
	void *problem;

	sql_run(conn, "DROP TABLE outbox_inbox");
	sql_run(other, "BEGIN");
	assert_int_equal(ob_inbox_postgres_create(other, NULL, NULL), OB_OK);
	assert_int_equal(pthread_create(&thread, NULL, create_run, conn), 0);
	wait_until_it_waits(conn, watcher);
	sql_run(other, "COMMIT");
	assert_int_equal(pthread_join(thread, &problem), 0);
	if (problem != NULL)
		fail_msg("%s", (char *)problem);
	PQfinish(watcher);
	PQfinish(other);
}

static void
test_a_consumer_with_few_rights(void **state)
{
	PGconn *conn = *state;
	struct ob_error error;
	uint64_t removed;

	sql_run(
	    conn,
	    "DO $$BEGIN CREATE ROLE ob_consumer; EXCEPTION WHEN duplicate_object THEN NULL; END$$;"
	    " GRANT USAGE ON SCHEMA ob_inbox TO ob_consumer;"
	    " GRANT INSERT ON outbox_inbox TO ob_consumer; SET ROLE ob_consumer; BEGIN");
	assert_int_equal(ob_inbox_postgres_create(conn, NULL, NULL), OB_OK);
	assert_true(claim(conn, "billing", "a"));
	assert_false(claim(conn, "billing", "a"));
	sql_run(conn, "COMMIT");
	assert_int_equal(
	    ob_inbox_postgres_trim(conn, NULL, "billing", 25 * HOUR_MS, 0, 0, &removed, &error),
	    OB_DENIED);
	assert_null(strstr(error.text, "outbox_app"));
	sql_run(
	    conn,
	    "RESET ROLE; GRANT SELECT, DELETE ON outbox_inbox TO ob_consumer; SET ROLE ob_consumer");
	assert_int_equal(
	    ob_inbox_postgres_trim(conn, NULL, "billing", 25 * HOUR_MS, 0, 0, &removed, NULL),
	    OB_OK);
	sql_run(conn, "RESET ROLE; DROP OWNED BY ob_consumer; DROP ROLE ob_consumer");
}

int
main(void)
{
#define WITH_INBOX(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
	    WITH_INBOX(test_tells_a_second_one_apart),
	    WITH_INBOX(test_goes_with_the_transaction),
	    WITH_INBOX(test_two_at_once),
	    WITH_INBOX(test_a_conflict_with_an_older_snapshot_is_busy),
	    WITH_INBOX(test_refuses_what_would_not_be_safe),
	    WITH_INBOX(test_trims_the_old_ones_in_short_pieces),
	    WITH_INBOX(test_any_schema_and_encoding),
	    WITH_INBOX(test_two_may_make_it_at_once),
	    WITH_INBOX(test_a_consumer_with_few_rights),
	};

	return cmocka_run_group_tests_name("postgres-inbox", tests, NULL, NULL);
}
