/* Writing messages into PostgreSQL with liboutbox-postgres, on a real server. */
#include "postgres_world.h"

#include <outbox/postgres.h>
#include <poll.h>
#include <stdio.h>

static int
setup(void **state)
{
	*state = outbox_make();
	return 0;
}

static int
teardown(void **state)
{
	PQfinish(*state);
	return 0;
}

static struct ob_new_message
message_of(const char *topic, const char *payload)
{
	return (struct ob_new_message){
	    .topic = topic, .payload = payload, .payload_size = strlen(payload)};
}

static void
fails(int rc, int expected, const struct ob_error *error, const char *says)
{
	if (rc != expected || error->code != (enum ob_code)expected ||
	    strstr(error->text, says) == NULL)
		fail_msg("expected %s \"%s\", got %s \"%s\"", ob_code_name(expected), says,
			 ob_code_name(rc), error->text);
}

/* ---- what is written ---- */

#define ALL_FIELDS                                                                            \
	"SELECT concat_ws('|', id, topic, partition_key, type, coalesce(payload, 'NULL'), "   \
	"coalesce(payload_bytes::text, 'NULL'), content_type, headers, deliver_after AT TIME" \
	" ZONE 'UTC') FROM outbox.message"

static void
test_writes_all_fields(void **state)
{
	PGconn *conn = *state;
	const struct ob_new_message message = {
	    .topic = "orders.placed",
	    .key = "alice \xe2\x82\xac",
	    .type = "placed",
	    .payload = "{\"n\":1}",
	    .payload_size = 7,
	    .content_type = "application/json",
	    .headers = "{\"a\": \"\\u00e9\"}",
	    .deliver_after_us = 1700000000123456,
	    .id = "0190163D-8694-739B-AEA5-966C26F8AD91",
	};
	struct ob_message_id id;

	assert_int_equal(ob_postgres_publish(conn, NULL, &message, 1, &id, NULL), OB_OK);
	assert_string_equal(id.text, "0190163d-8694-739b-aea5-966c26f8ad91");
	sql_expect(
	    conn, ALL_FIELDS,
	    "0190163d-8694-739b-aea5-966c26f8ad91|orders.placed|alice \xe2\x82\xac|placed|"
	    "{\"n\":1}|NULL|application/json|{\"a\": \"\xc3\xa9\"}|2023-11-14 22:13:20.123456");
	/* Two of them take the other form of the statement. */
	const struct ob_new_message pair[] = {message, message};
	sql_run(conn, "TRUNCATE outbox.message");
	assert_int_equal(ob_postgres_publish(conn, "outbox", pair, 2, NULL, NULL), OB_OK);
	sql_expect(conn,
		   "SELECT count(DISTINCT (id, topic, partition_key, type, payload,"
		   " content_type, headers, deliver_after)) || '/' || count(*) FROM outbox.message",
		   "1/2");
	sql_expect(
	    conn, ALL_FIELDS,
	    "0190163d-8694-739b-aea5-966c26f8ad91|orders.placed|alice \xe2\x82\xac|placed|"
	    "{\"n\":1}|NULL|application/json|{\"a\": \"\xc3\xa9\"}|2023-11-14 22:13:20.123456");
}

static void
test_what_is_left_out_is_null_and_the_id_is_made(void **state)
{
	PGconn *conn = *state;
	const struct ob_new_message messages[] = {{.topic = "t"}, {.topic = "t"}, {.topic = "t"}};
	struct ob_message_id ids[3];

	assert_int_equal(ob_postgres_publish(conn, NULL, messages, 1, ids, NULL), OB_OK);
	assert_int_equal(ob_postgres_publish(conn, NULL, messages + 1, 2, ids + 1, NULL), OB_OK);
	for (int i = 0; i < 3; i++) {
		char sql[160];

		assert_int_equal(strlen(ids[i].text), 36);
		(void)snprintf(sql, sizeof(sql), "SELECT id FROM outbox.message OFFSET %d", i);
		sql_expect(conn, sql, ids[i].text);
	}
	sql_expect(conn,
		   "SELECT count(*) FROM outbox.message WHERE num_nulls(partition_key, type,"
		   " payload, payload_bytes, content_type, headers, deliver_after) = 7",
		   "3");
}

static void
test_bytes_stay_bytes(void **state)
{
	PGconn *conn = *state;
	const struct ob_new_message messages[] = {
	    {.topic = "t", .payload = "", .payload_size = 0},
	    {.topic = "t", .payload = "a\0b", .payload_size = 3},
	    {.topic = "t", .payload = "\xff\\x", .payload_size = 3},
	    {.topic = "t", .payload = "\xc3\xa9\\x", .payload_size = 4},
	};
	static const char kinds[] =
	    "SELECT string_agg(coalesce('text:' || encode(convert_to(payload, 'UTF8'), 'hex'),"
	    " 'bytes:' || encode(payload_bytes, 'hex')), ',' ORDER BY seq) FROM outbox.message";

	assert_int_equal(ob_postgres_publish(conn, NULL, messages, 4, NULL, NULL), OB_OK);
	sql_expect(conn, kinds, "text:,bytes:610062,bytes:ff5c78,text:c3a95c78");
	sql_run(conn, "TRUNCATE outbox.message");
	for (int i = 0; i < 4; i++)
		assert_int_equal(ob_postgres_publish(conn, NULL, &messages[i], 1, NULL, NULL),
				 OB_OK);
	sql_expect(conn, kinds, "text:,bytes:610062,bytes:ff5c78,text:c3a95c78");
}

static void
test_many_keep_their_order(void **state)
{
	enum { COUNT = 10000 };
	PGconn *conn = *state;
	struct ob_new_message *messages = calloc(COUNT, sizeof(*messages));
	struct ob_message_id *ids = calloc(COUNT, sizeof(*ids));
	char(*payloads)[16] = calloc(COUNT, sizeof(*payloads));

	for (int i = 0; i < COUNT; i++) {
		(void)snprintf(payloads[i], sizeof(payloads[i]), "%d", i);
		messages[i] = message_of("t", payloads[i]);
	}
	assert_int_equal(ob_postgres_publish(conn, NULL, messages, COUNT, ids, NULL), OB_OK);
	sql_expect(
	    conn,
	    "SELECT count(*) || '/' || count(*) FILTER (WHERE payload::int = at) FROM"
	    " (SELECT payload, row_number() OVER (ORDER BY seq) - 1 AS at FROM outbox.message) AS m",
	    "10000/10000");
	/* Ids that are made sort as they were made. */
	sql_expect(conn,
		   "SELECT count(*) FROM (SELECT id < lead(id) OVER (ORDER BY seq) AS up FROM"
		   " outbox.message) AS m WHERE NOT up",
		   "0");
	sql_expect(conn, "SELECT id FROM outbox.message ORDER BY seq DESC LIMIT 1",
		   ids[COUNT - 1].text);
	free(payloads);
	free(ids);
	free(messages);
}

static void
test_the_greatest_payload(void **state)
{
	PGconn *conn = *state;
	char *payload = malloc(OB_PAYLOAD_BYTES_MAX);
	struct ob_new_message pair[2];

	memset(payload, 0xff, OB_PAYLOAD_BYTES_MAX);
	pair[0] = (struct ob_new_message){
	    .topic = "t", .payload = payload, .payload_size = OB_PAYLOAD_BYTES_MAX};
	pair[1] = pair[0];
	assert_int_equal(ob_postgres_publish(conn, NULL, pair, 1, NULL, NULL), OB_OK);
	assert_int_equal(ob_postgres_publish(conn, NULL, pair, 2, NULL, NULL), OB_OK);
	sql_expect(conn,
		   "SELECT string_agg(octet_length(payload_bytes)::text, ' ') FROM outbox.message",
		   "16777216 16777216 16777216");
	/* More than a statement can hold is refused before it is built. */
	enum { COUNT = 64 };
	struct ob_new_message many[COUNT];
	struct ob_error error;
	for (int i = 0; i < COUNT; i++)
		many[i] = pair[0];
	fails(ob_postgres_publish(conn, NULL, many, COUNT, NULL, &error), OB_LIMIT, &error,
	      "write fewer messages at once");
	free(payload);
}

/* ---- the application's transaction ---- */

static void
test_never_ends_the_transaction_of_the_application(void **state)
{
	PGconn *conn = *state;
	const struct ob_new_message messages[] = {{.topic = "one"}, {.topic = "two"}};
	const struct ob_new_message refused[] = {{.topic = "one"}, {.topic = "refused"}};
	struct ob_error error;

	sql_run(conn, "BEGIN");
	assert_int_equal(ob_postgres_publish(conn, NULL, messages, 1, NULL, NULL), OB_OK);
	assert_int_equal(ob_postgres_publish(conn, NULL, messages, 2, NULL, NULL), OB_OK);
	assert_int_equal(PQtransactionStatus(conn), PQTRANS_INTRANS);
	sql_run(conn, "ROLLBACK");
	sql_expect(conn, "SELECT count(*) FROM outbox.message", "0");
	/* Without a transaction, several are one of their own: all or none. */
	fails(ob_postgres_publish(conn, NULL, refused, 2, NULL, &error), OB_INVALID, &error,
	      "outbox: refused");
	sql_expect(conn, "SELECT count(*) FROM outbox.message", "0");
	assert_int_equal(ob_postgres_publish(conn, NULL, messages, 2, NULL, NULL), OB_OK);
	assert_int_equal(PQtransactionStatus(conn), PQTRANS_IDLE);
	sql_expect(conn, "SELECT count(*) FROM outbox.message", "2");
}

static void
test_an_error_leaves_the_transaction_to_the_application(void **state)
{
	PGconn *conn = *state;
	const struct ob_new_message wrong = {.topic = ""}, refused = {.topic = "refused"},
				    good = {.topic = "good"};
	struct ob_error error;

	sql_run(conn,
		"CREATE TABLE outbox.orders (n int); BEGIN; INSERT INTO outbox.orders VALUES (1)");
	/* Found here: nothing has happened. */
	fails(ob_postgres_publish(conn, NULL, &wrong, 1, NULL, &error), OB_INVALID, &error,
	      "topic");
	assert_int_equal(PQtransactionStatus(conn), PQTRANS_INTRANS);
	/* Found by the server: a savepoint of the application saves its work. */
	sql_run(conn, "SAVEPOINT mine");
	fails(ob_postgres_publish(conn, NULL, &refused, 1, NULL, &error), OB_INVALID, &error,
	      "outbox: refused");
	assert_int_equal(PQtransactionStatus(conn), PQTRANS_INERROR);
	fails(ob_postgres_publish(conn, NULL, &good, 1, NULL, &error), OB_USAGE, &error, "aborted");
	assert_int_equal(PQtransactionStatus(conn), PQTRANS_INERROR);
	sql_run(conn, "ROLLBACK TO mine");
	assert_int_equal(ob_postgres_publish(conn, NULL, &good, 1, NULL, NULL), OB_OK);
	sql_run(conn, "COMMIT");
	sql_expect(conn, "SELECT count(*) FROM outbox.orders", "1");
	sql_expect(conn, "SELECT string_agg(topic, ' ') FROM outbox.message", "good");
}

static void
test_leaves_nothing_on_the_connection(void **state)
{
	PGconn *conn = *state;
	const struct ob_new_message messages[] = {{.topic = "one"}, {.topic = "two"}};
	static const char settings[] =
	    "SELECT md5(string_agg(name || setting, ',' ORDER BY name)) FROM pg_settings";
	PGresult *before = PQexec(conn, settings);

	assert_int_equal(ob_postgres_publish(conn, NULL, messages, 1, NULL, NULL), OB_OK);
	assert_int_equal(ob_postgres_publish(conn, NULL, messages, 2, NULL, NULL), OB_OK);
	sql_expect(conn, settings, PQgetvalue(before, 0, 0));
	sql_expect(conn, "SELECT count(*) FROM pg_prepared_statements", "0");
	sql_expect(conn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0");
	assert_int_equal(PQpipelineStatus(conn), PQ_PIPELINE_OFF);
	PQclear(before);
}

/* ---- pipelines, and connections that do not wait ---- */

static PGresult *
result_next(PGconn *conn, ExecStatusType expected)
{
	PGresult *result = PQgetResult(conn), *end;

	if (PQresultStatus(result) != expected)
		fail_msg("%s, not %s: %s", PQresStatus(PQresultStatus(result)),
			 PQresStatus(expected), PQerrorMessage(conn));
	if (expected != PGRES_PIPELINE_SYNC) {
		end = PQgetResult(conn);
		assert_null(end);
	}
	return result;
}

static void
send_sql(PGconn *conn, const char *sql)
{
	if (PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0) != 1)
		fail_msg("%s: %s", sql, PQerrorMessage(conn));
}

static void
test_goes_into_an_open_pipeline(void **state)
{
	PGconn *conn = *state;
	const struct ob_new_message messages[] = {
	    {.topic = "one"}, {.topic = "two"}, {.topic = "three"}};
	const struct ob_new_message wrong = {.topic = ""};
	struct ob_message_id ids[3];
	struct ob_error error;
	PGresult *result;

	sql_run(conn, "CREATE TABLE outbox.orders (n int)");
	assert_int_equal(PQenterPipelineMode(conn), 1);
	send_sql(conn, "BEGIN");
	send_sql(conn, "INSERT INTO outbox.orders VALUES (1)");
	assert_int_equal(ob_postgres_send(conn, NULL, messages, 1, ids, NULL), OB_OK);
	fails(ob_postgres_send(conn, NULL, &wrong, 1, NULL, &error), OB_INVALID, &error,
	      "topic: empty");
	assert_int_equal(ob_postgres_send(conn, NULL, messages + 1, 2, ids + 1, NULL), OB_OK);
	/* Waiting would not be possible, and must not harm what is open. */
	fails(ob_postgres_publish(conn, NULL, messages, 1, NULL, &error), OB_USAGE, &error,
	      "pipeline mode");
	send_sql(conn, "COMMIT");
	assert_int_equal(PQpipelineSync(conn), 1);

	PQclear(result_next(conn, PGRES_COMMAND_OK));
	PQclear(result_next(conn, PGRES_COMMAND_OK));
	for (int i = 0; i < 2; i++) {
		result = result_next(conn, PGRES_COMMAND_OK);
		assert_int_equal(ob_postgres_result(result, &error), OB_OK);
		PQclear(result);
	}
	PQclear(result_next(conn, PGRES_COMMAND_OK));
	result = result_next(conn, PGRES_PIPELINE_SYNC);
	fails(ob_postgres_result(result, &error), OB_USAGE, &error, "another statement");
	PQclear(result);
	assert_int_equal(PQexitPipelineMode(conn), 1);
	sql_expect(conn, "SELECT string_agg(topic, ' ' ORDER BY seq) FROM outbox.message",
		   "one two three");
	sql_expect(conn, "SELECT id FROM outbox.message WHERE topic = 'three'", ids[2].text);
}

static void
test_an_error_in_a_pipeline_takes_back_its_transaction(void **state)
{
	PGconn *conn = *state;
	const struct ob_new_message good = {.topic = "good"}, refused = {.topic = "refused"};
	struct ob_error error;
	PGresult *result;

	assert_int_equal(PQenterPipelineMode(conn), 1);
	assert_int_equal(ob_postgres_send(conn, NULL, &good, 1, NULL, NULL), OB_OK);
	assert_int_equal(ob_postgres_send(conn, NULL, &refused, 1, NULL, NULL), OB_OK);
	assert_int_equal(ob_postgres_send(conn, NULL, &good, 1, NULL, NULL), OB_OK);
	assert_int_equal(PQpipelineSync(conn), 1);
	assert_int_equal(ob_postgres_send(conn, NULL, &good, 1, NULL, NULL), OB_OK);
	assert_int_equal(PQpipelineSync(conn), 1);
	result = result_next(conn, PGRES_COMMAND_OK);
	assert_int_equal(ob_postgres_result(result, NULL), OB_OK);
	PQclear(result);
	result = result_next(conn, PGRES_FATAL_ERROR);
	fails(ob_postgres_result(result, &error), OB_INVALID, &error, "outbox: refused");
	PQclear(result);
	result = result_next(conn, PGRES_PIPELINE_ABORTED);
	fails(ob_postgres_result(result, &error), OB_FAILED, &error, "not done");
	PQclear(result);
	PQclear(result_next(conn, PGRES_PIPELINE_SYNC));
	result = result_next(conn, PGRES_COMMAND_OK);
	assert_int_equal(ob_postgres_result(result, NULL), OB_OK);
	PQclear(result);
	PQclear(result_next(conn, PGRES_PIPELINE_SYNC));
	assert_int_equal(PQexitPipelineMode(conn), 1);
	sql_expect(conn, "SELECT count(*) FROM outbox.message", "1");
}

static void
test_a_connection_that_does_not_wait(void **state)
{
	PGconn *conn = *state;
	const struct ob_new_message messages[] = {{.topic = "one"}, {.topic = "two"}};
	struct ob_error error;
	PGresult *result;

	assert_int_equal(PQsetnonblocking(conn, 1), 0);
	assert_int_equal(ob_postgres_send(conn, NULL, messages, 2, NULL, NULL), OB_OK);
	/* Both would have thrown its answer away. */
	fails(ob_postgres_send(conn, NULL, messages, 2, NULL, &error), OB_USAGE, &error, "awaits");
	fails(ob_postgres_publish(conn, NULL, messages, 2, NULL, &error), OB_USAGE, &error,
	      "awaits");
	while (PQflush(conn) == 1 || PQisBusy(conn)) {
		struct pollfd fd = {.fd = PQsocket(conn), .events = POLLIN};

		assert_int_equal(poll(&fd, 1, 10000), 1);
		assert_int_equal(PQconsumeInput(conn), 1);
	}
	result = result_next(conn, PGRES_COMMAND_OK);
	assert_int_equal(ob_postgres_result(result, &error), OB_OK);
	PQclear(result);
	sql_expect(conn, "SELECT count(*) FROM outbox.message", "2");
}

/* ---- schemas and encodings ---- */

static void
test_any_name_of_a_schema(void **state)
{
	static const char *const names[] = {"Order Box", "a\"b", "x; DROP SCHEMA outbox CASCADE --",
					    "caf\xc3\xa9", "select"};
	const struct ob_new_message messages[] = {{.topic = "one"}, {.topic = "two"}};
	PGconn *conn = *state;
	struct ob_error error;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *quoted = PQescapeIdentifier(conn, names[i], strlen(names[i]));
		char sql[1000];

		(void)snprintf(sql, sizeof(sql),
			       "DROP SCHEMA IF EXISTS %s CASCADE; CREATE SCHEMA %s;"
			       " CREATE TABLE %s.message " TABLE_COLUMNS,
			       quoted, quoted, quoted);
		sql_run(conn, sql);
		assert_int_equal(ob_postgres_publish(conn, names[i], messages, 1, NULL, NULL),
				 OB_OK);
		assert_int_equal(ob_postgres_publish(conn, names[i], messages, 2, NULL, NULL),
				 OB_OK);
		(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s.message", quoted);
		sql_expect(conn, sql, "3");
		(void)snprintf(sql, sizeof(sql), "DROP SCHEMA %s CASCADE", quoted);
		sql_run(conn, sql);
		PQfreemem(quoted);
	}
	fails(ob_postgres_publish(conn, "", messages, 1, NULL, &error), OB_INVALID, &error,
	      "schema");
	fails(ob_postgres_publish(conn, "\xff", messages, 1, NULL, &error), OB_INVALID, &error,
	      "schema");
	fails(ob_postgres_publish(conn, "nowhere", messages, 2, NULL, &error), OB_SCHEMA, &error,
	      "outbox init");
}

static void
test_the_search_path_of_the_application_changes_nothing(void **state)
{
	const struct ob_new_message messages[] = {{.topic = "one", .headers = "{\"a\":\"b\"}"},
						  {.topic = "two", .headers = "{\"a\":\"b\"}"}};
	PGconn *conn = *state;

	/* Another's functions and types by the names that the statement needs, in front of the server's own. */
	sql_run(conn,
		"DROP SCHEMA IF EXISTS evil CASCADE; CREATE SCHEMA evil;"
		" CREATE TABLE evil.message (n int); CREATE TYPE evil.jsonb AS (n int);"
		" CREATE FUNCTION evil.convert_from(bytea, name) RETURNS text LANGUAGE sql AS"
		" $$SELECT 'evil'$$; CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement"
		" LANGUAGE sql AS $$SELECT NULL$$; SET search_path = evil, pg_catalog;"
		" SET client_encoding = LATIN1");
	assert_int_equal(ob_postgres_publish(conn, NULL, messages, 1, NULL, NULL), OB_OK);
	assert_int_equal(ob_postgres_publish(conn, NULL, messages, 2, NULL, NULL), OB_OK);
	sql_expect(
	    conn, "SELECT string_agg(topic || headers::text, ' ' ORDER BY seq) FROM outbox.message",
	    "one{\"a\": \"b\"} one{\"a\": \"b\"} two{\"a\": \"b\"}");
	sql_run(conn, "DROP SCHEMA evil CASCADE");
}

static void
test_a_connection_in_another_encoding(void **state)
{
	const struct ob_new_message messages[] = {{.topic = "caf\xc3\xa9",
						   .key = "\xe2\x82\xac",
						   .headers = "{\"a\":\"\xc3\xa9\"}",
						   .payload = "\xc3\xa9",
						   .payload_size = 2},
						  {.topic = "t"}};
	PGconn *conn = *state;

	sql_run(conn, "SET client_encoding = LATIN1");
	assert_int_equal(ob_postgres_publish(conn, NULL, messages, 1, NULL, NULL), OB_OK);
	assert_int_equal(ob_postgres_publish(conn, NULL, messages, 2, NULL, NULL), OB_OK);
	sql_run(conn, "SET client_encoding = UTF8");
	sql_expect(conn,
		   "SELECT string_agg(concat_ws(' ', topic, partition_key, headers, payload), ',' "
		   "ORDER BY seq) FROM outbox.message",
		   "caf\xc3\xa9 \xe2\x82\xac {\"a\": \"\xc3\xa9\"} \xc3\xa9,"
		   "caf\xc3\xa9 \xe2\x82\xac {\"a\": \"\xc3\xa9\"} \xc3\xa9,t");
}

static void
test_a_database_in_another_encoding(void **state)
{
	static const char *const encodings[] = {"LATIN1", "SQL_ASCII"};
	const struct ob_new_message messages[] = {
	    {.topic = "caf\xc3\xa9", .payload = "\xc3\xa9", .payload_size = 2},
	    {.topic = "t", .payload = "ascii", .payload_size = 5}};
	struct ob_error error;

	for (int i = 0; i < 2; i++) {
		char sql[200];
		PGconn *conn;

		sql_run(*state, "DROP DATABASE IF EXISTS ob_encoding");
		(void)snprintf(
		    sql, sizeof(sql),
		    "CREATE DATABASE ob_encoding ENCODING '%s' LC_COLLATE 'C' LC_CTYPE 'C'"
		    " TEMPLATE template0",
		    encodings[i]);
		sql_run(*state, sql);
		conn = server_connect_to("ob_encoding");
		sql_run(conn, "CREATE SCHEMA outbox; CREATE TABLE outbox.message " TABLE_COLUMNS);
		sql_run(conn, "SET client_encoding = UTF8");
		if (ob_postgres_publish(conn, NULL, messages, 2, NULL, &error) != OB_OK)
			fail_msg("%s: %s", encodings[i], error.text);
		sql_expect(conn,
			   "SELECT string_agg(topic || coalesce(payload, payload_bytes::text), ',' "
			   "ORDER BY seq) FROM outbox.message",
			   "caf\xc3\xa9\\xc3a9,tascii");
		PQfinish(conn);
	}
	sql_run(*state, "DROP DATABASE ob_encoding");
}

/* ---- what errors mean ---- */

static void
test_errors_say_what_can_be_done(void **state)
{
	const struct ob_new_message message = {.topic = "t"};
	PGconn *conn = *state, *other = server_connect();
	struct ob_error error;
	char sql[100];

	sql_run(conn, "BEGIN READ ONLY");
	fails(ob_postgres_publish(conn, NULL, &message, 1, NULL, &error), OB_DENIED, &error,
	      "read only");
	sql_run(conn, "ROLLBACK");

	sql_run(other, "BEGIN; LOCK outbox.message IN ACCESS EXCLUSIVE MODE");
	sql_run(conn, "SET lock_timeout = 50");
	fails(ob_postgres_publish(conn, NULL, &message, 1, NULL, &error), OB_BUSY, &error,
	      "run the whole");
	sql_run(conn, "SET lock_timeout = 0; SET statement_timeout = 50");
	fails(ob_postgres_publish(conn, NULL, &message, 1, NULL, &error), OB_BUSY, &error,
	      "run the whole");
	sql_run(conn, "SET statement_timeout = 0");
	sql_run(other, "ROLLBACK");

	sql_run(
	    conn,
	    "DO $$BEGIN CREATE ROLE ob_stranger; EXCEPTION WHEN duplicate_object THEN NULL; END$$;"
	    " GRANT USAGE ON SCHEMA outbox TO ob_stranger; SET ROLE ob_stranger");
	fails(ob_postgres_publish(conn, NULL, &message, 1, NULL, &error), OB_DENIED, &error,
	      "GRANT outbox_app");
	sql_run(conn, "RESET ROLE; DROP OWNED BY ob_stranger; DROP ROLE ob_stranger");

	sql_run(conn, "ALTER TABLE outbox.message RENAME COLUMN headers TO head");
	fails(ob_postgres_publish(conn, NULL, &message, 1, NULL, &error), OB_SCHEMA, &error,
	      "outbox migrate");
	sql_run(conn, "ALTER TABLE outbox.message RENAME COLUMN head TO headers");

	(void)snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d, 10000)",
		       PQbackendPID(conn));
	sql_expect(other, sql, "t");
	fails(ob_postgres_publish(conn, NULL, &message, 1, NULL, &error), OB_AGAIN, &error,
	      "connection");
	fails(ob_postgres_publish(conn, NULL, &message, 1, NULL, &error), OB_UNREACHABLE, &error,
	      "closed");
	fails(ob_postgres_send(conn, NULL, &message, 1, NULL, &error), OB_UNREACHABLE, &error,
	      "closed");
	PQfinish(other);
}

/* `proxy`: what must also work where a connection is the server's for one transaction only. */
int
main(int argc, char **argv)
{
#define WITH_OUTBOX(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest anywhere[] = {
	    WITH_OUTBOX(test_writes_all_fields),
	    WITH_OUTBOX(test_what_is_left_out_is_null_and_the_id_is_made),
	    WITH_OUTBOX(test_bytes_stay_bytes),
	    WITH_OUTBOX(test_many_keep_their_order),
	    WITH_OUTBOX(test_the_greatest_payload),
	    WITH_OUTBOX(test_never_ends_the_transaction_of_the_application),
	    WITH_OUTBOX(test_an_error_leaves_the_transaction_to_the_application),
	    WITH_OUTBOX(test_goes_into_an_open_pipeline),
	    WITH_OUTBOX(test_an_error_in_a_pipeline_takes_back_its_transaction),
	    WITH_OUTBOX(test_a_connection_that_does_not_wait),
	    WITH_OUTBOX(test_any_name_of_a_schema),
	};
	const struct CMUnitTest direct[] = {
	    WITH_OUTBOX(test_leaves_nothing_on_the_connection),
	    WITH_OUTBOX(test_the_search_path_of_the_application_changes_nothing),
	    WITH_OUTBOX(test_a_connection_in_another_encoding),
	    WITH_OUTBOX(test_a_database_in_another_encoding),
	    WITH_OUTBOX(test_errors_say_what_can_be_done),
	};
	int failed = cmocka_run_group_tests_name("postgres-producer", anywhere, NULL, NULL);

	if (argc < 2 || strcmp(argv[1], "proxy") != 0)
		failed +=
		    cmocka_run_group_tests_name("postgres-producer direct", direct, NULL, NULL);
	return failed;
}
