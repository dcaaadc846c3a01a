#include "table.h"

#include <outbox/sqlite.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
database_setup(void **state)
{
	*state = database_make();
	return 0;
}

static int
database_teardown(void **state)
{
	/* Not close_v2: nothing of ours may be left on the connection. */
	return sqlite3_close(*state);
}

static void
test_writes_all_fields(void **state)
{
	sqlite3 *db = *state;
	const struct ob_new_message message = {
	    .topic = "orders.placed",
	    .key = "alice",
	    .type = "placed",
	    .payload = "{\"n\":1}",
	    .payload_size = 7,
	    .content_type = "application/json",
	    .headers = "{\"a\":\"b\"}",
	    .deliver_after_us = 1700000000123456,
	    .id = "order-1",
	};
	struct ob_message_id id;

	assert_int_equal(ob_sqlite_publish(db, &message, 1, &id, NULL), OB_OK);
	assert_string_equal(id.text, "order-1");
	sql_expect(
	    db,
	    "SELECT concat FROM (SELECT id || '|' || topic || '|' || partition_key || '|' || type ||"
	    " '|' || payload || '|' || content_type || '|' || headers || '|' || deliver_after || '|' ||"
	    " typeof(payload) AS concat FROM outbox_message)",
	    "order-1|orders.placed|alice|placed|{\"n\":1}|application/json|{\"a\":\"b\"}|"
	    "2023-11-14T22:13:20.123Z|text");
}

static void
test_what_is_left_out_is_null_and_the_id_is_made(void **state)
{
	sqlite3 *db = *state;
	const struct ob_new_message message = {.topic = "t"};
	struct ob_message_id id;

	assert_int_equal(ob_sqlite_publish(db, &message, 1, &id, NULL), OB_OK);
	assert_int_equal(strlen(id.text), 36);
	sql_expect(db, "SELECT id FROM outbox_message", id.text);
	assert_int_equal(
	    sql_number(db, "SELECT count(*) FROM outbox_message WHERE partition_key IS NULL"
			   " AND type IS NULL AND payload IS NULL AND content_type IS NULL"
			   " AND headers IS NULL AND deliver_after IS NULL"),
	    1);
}

static void
test_bytes_stay_bytes(void **state)
{
	sqlite3 *db = *state;
	const struct ob_new_message messages[] = {
	    {.topic = "t", .payload = "", .payload_size = 0},
	    {.topic = "t", .payload = "a\0b", .payload_size = 3},
	    {.topic = "t", .payload = "\xff\xfe", .payload_size = 2},
	    {.topic = "t", .payload = "\xc3\xa9", .payload_size = 2},
	};

	assert_int_equal(ob_sqlite_publish(db, messages, 4, NULL, NULL), OB_OK);
	sql_expect(
	    db, "SELECT group_concat(typeof(payload) || ':' || hex(payload)) FROM outbox_message",
	    "text:,blob:610062,blob:FFFE,text:C3A9");
}

struct refusal {
	struct ob_new_message message;
	enum ob_code code;
	const char *says;
};

static void
test_checks_before_it_touches_the_database(void **state)
{
	static char large[OB_PAYLOAD_BYTES_MAX + 1];
	static char name[OB_NAME_BYTES_MAX + 2];
	static char headers[OB_HEADERS_BYTES_MAX + 2];
	memset(name, 'n', sizeof(name) - 1);
	memset(headers, ' ', sizeof(headers) - 1);
	const struct refusal refusals[] = {
	    {{.topic = NULL}, OB_INVALID, "topic: missing"},
	    {{.topic = ""}, OB_INVALID, "topic: empty"},
	    {{.topic = "a\nb"}, OB_INVALID, "topic: holds the control character 0x0a at byte 1"},
	    {{.topic = "\xff"}, OB_INVALID, "topic: not UTF-8 at byte 0"},
	    {{.topic = name}, OB_LIMIT, "topic: 256 bytes, of which at most 255"},
	    {{.topic = "t", .key = ""}, OB_INVALID, "key: empty"},
	    {{.topic = "t", .key = "a\xc0\x80"}, OB_INVALID, "key: not UTF-8 at byte 1"},
	    {{.topic = "t", .type = "a\rb"}, OB_INVALID, "type: holds"},
	    {{.topic = "t", .content_type = "a\x7f"}, OB_INVALID, "content_type: holds"},
	    {{.topic = "t", .id = ""}, OB_INVALID, "id: empty"},
	    {{.topic = "t", .headers = "[]"}, OB_INVALID, "headers: not a JSON object"},
	    {{.topic = "t", .headers = "{\"a\":\"\xff\"}"}, OB_INVALID, "headers: not UTF-8"},
	    {{.topic = "t", .headers = headers}, OB_LIMIT, "headers: 65537 bytes"},
	    {{.topic = "t", .payload = large, .payload_size = sizeof(large)},
	     OB_LIMIT,
	     "payload: 16777217 bytes, of which at most 16777216"},
	    {{.topic = "t", .payload_size = 1}, OB_INVALID, "payload: a size of 1 without bytes"},
	    {{.topic = "t", .deliver_after_us = -1}, OB_INVALID, "deliver_after"},
	};
	struct ob_new_message pair[2] = {{.topic = "t"}};

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct ob_error error = {0};

		pair[1] = refusals[i].message;
		/* There is no database: it must not be asked. */
		assert_int_equal(ob_sqlite_publish(NULL, pair, 2, NULL, &error), refusals[i].code);
		assert_int_equal(error.code, refusals[i].code);
		if (strncmp(error.text, "publish: message 2 of 2: ", 25) != 0 ||
		    strstr(error.text, refusals[i].says) == NULL)
			fail_msg("%s: %s", refusals[i].says, error.text);
	}
	const struct ob_new_message greatest = {
	    .topic = "t", .payload = large, .payload_size = OB_PAYLOAD_BYTES_MAX};
	assert_int_equal(ob_sqlite_publish(*state, &greatest, 1, NULL, NULL), OB_OK);
}

static void
test_an_error_leaves_the_transaction_usable(void **state)
{
	sqlite3 *db = *state;
	const struct ob_new_message messages[] = {{.topic = "one"}, {.topic = "refused"}};
	const struct ob_new_message good = {.topic = "good"};
	struct ob_error error;

	sql_run(db, "CREATE TABLE orders (n); BEGIN; INSERT INTO orders VALUES (1)");
	assert_int_equal(ob_sqlite_publish(db, &good, 1, NULL, &error), OB_OK);
	/* The first of the two must go with the second; the message before them stays. */
	assert_int_equal(ob_sqlite_publish(db, messages, 2, NULL, &error), OB_INVALID);
	assert_non_null(strstr(error.text, "message 2 of 2"));
	assert_int_equal(sqlite3_get_autocommit(db), 0);
	assert_int_equal(ob_sqlite_publish(db, messages + 1, 1, NULL, &error), OB_INVALID);
	sql_run(db, "INSERT INTO orders VALUES (2); COMMIT");
	assert_int_equal(sql_number(db, "SELECT count(*) FROM orders"), 2);
	assert_int_equal(sql_number(db, "SELECT count(*) FROM outbox_message"), 1);
}

static void
test_never_ends_the_transaction_of_the_application(void **state)
{
	sqlite3 *db = *state;
	const struct ob_new_message messages[] = {{.topic = "one"}, {.topic = "two"}};

	sql_run(db, "BEGIN");
	assert_int_equal(ob_sqlite_publish(db, messages, 2, NULL, NULL), OB_OK);
	assert_int_equal(sqlite3_get_autocommit(db), 0);
	sql_run(db, "ROLLBACK");
	assert_int_equal(sql_number(db, "SELECT count(*) FROM outbox_message"), 0);
	/* Without a transaction, several are one of their own. */
	assert_int_equal(ob_sqlite_publish(db, messages, 2, NULL, NULL), OB_OK);
	assert_int_equal(sqlite3_get_autocommit(db), 1);
	assert_int_equal(sql_number(db, "SELECT count(*) FROM outbox_message"), 2);
}

static void
test_says_how_to_mend_a_missing_table(void **state)
{
	sqlite3 *db;
	const struct ob_new_message message = {.topic = "t"};
	struct ob_sqlite_publisher *publisher;
	struct ob_error error;

	(void)state;
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_int_equal(ob_sqlite_publish(db, &message, 1, NULL, &error), OB_SCHEMA);
	assert_non_null(strstr(error.text, "outbox init"));
	assert_int_equal(ob_sqlite_publisher_new(db, &publisher, &error), OB_SCHEMA);
	assert_null(publisher);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void
test_a_publisher_is_used_again_after_errors(void **state)
{
	sqlite3 *db = *state;
	const struct ob_new_message messages[] = {{.topic = "one"}, {.topic = "refused"}};
	struct ob_sqlite_publisher *publisher;

	assert_int_equal(ob_sqlite_publisher_new(db, &publisher, NULL), OB_OK);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ob_sqlite_publisher_publish(publisher, messages, 1, NULL, NULL),
				 OB_OK);
		assert_int_equal(ob_sqlite_publisher_publish(publisher, messages, 2, NULL, NULL),
				 OB_INVALID);
	}
	ob_sqlite_publisher_free(publisher);
	ob_sqlite_publisher_free(NULL);
	assert_int_equal(sql_number(db, "SELECT count(*) FROM outbox_message"), 3);
}

static void
test_a_busy_and_a_read_only_database_say_so(void **state)
{
	char path[] = "/tmp/ob-producer-XXXXXX";
	const struct ob_new_message message = {.topic = "t"};
	struct ob_error error;
	sqlite3 *ours, *other, *reader;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(sqlite3_open(path, &ours), SQLITE_OK);
	sql_run(ours, "CREATE TABLE outbox_message (id, topic, partition_key, type, payload,"
		      " content_type, headers, deliver_after)");
	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	sql_run(other, "BEGIN IMMEDIATE");
	assert_int_equal(ob_sqlite_publish(ours, &message, 1, NULL, &error), OB_BUSY);
	assert_non_null(strstr(error.text, "busy_timeout"));
	sql_run(other, "ROLLBACK");
	assert_int_equal(ob_sqlite_publish(ours, &message, 1, NULL, &error), OB_OK);
	assert_int_equal(sqlite3_open_v2(path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(ob_sqlite_publish(reader, &message, 1, NULL, &error), OB_DENIED);
	sql_run(ours, "PRAGMA max_page_count = 1");
	const struct ob_new_message large = {.topic = "t", .payload = path, .payload_size = 10};
	int rc = OB_OK;
	for (int i = 0; rc == OB_OK && i < 10000; i++)
		rc = ob_sqlite_publish(ours, &large, 1, NULL, &error);
	assert_int_equal(rc, OB_LIMIT);
	sqlite3_close(reader);
	sqlite3_close(other);
	sqlite3_close(ours);
	unlink(path);
}

/* ---- memory that runs out ---- */

static sqlite3_mem_methods real_memory;
static int allocations_left = -1; /* below 0: never fails */

static bool
allocation_fails(void)
{
	if (allocations_left < 0)
		return false;
	return allocations_left-- == 0 || allocations_left < 0;
}

static void *
failing_malloc(int size)
{
	return allocation_fails() ? NULL : real_memory.xMalloc(size);
}

static void *
failing_realloc(void *memory, int size)
{
	return allocation_fails() ? NULL : real_memory.xRealloc(memory, size);
}

static void
test_out_of_memory_is_an_error_like_any_other(void **state)
{
	static char payload[100000];
	const struct ob_new_message messages[] = {
	    {.topic = "one"},
	    {.topic = "two", .payload = payload, .payload_size = sizeof(payload)}};
	sqlite3 *db = *state;
	int failures = 0;
	int rc = OB_NOMEM;

	for (int n = 0; rc != OB_OK; n++) {
		assert_true(n < 2000);
		/* sqlite3_db_release_memory makes each round ask the allocator as the first one did. */
		sql_run(db, "BEGIN; DELETE FROM outbox_message");
		sqlite3_db_release_memory(db);
		allocations_left = n;
		rc = ob_sqlite_publish(db, messages, 2, NULL, NULL);
		allocations_left = -1;
		if (rc != OB_OK) {
			assert_int_equal(rc, OB_NOMEM);
			failures++;
			if (sqlite3_get_autocommit(db) == 0)
				assert_int_equal(
				    sql_number(db, "SELECT count(*) FROM outbox_message"), 0);
		}
		/* Where SQLite itself has ended the transaction the application must know from SQLite. */
		if (sqlite3_get_autocommit(db) == 0)
			sql_run(db, "ROLLBACK");
		assert_int_equal(sql_number(db, "SELECT count(*) FROM outbox_message"), 0);
	}
	assert_true(failures > 5);
}

/* ---- threads ---- */

static void *
thread_publish(void *path)
{
	const struct ob_new_message message = {.topic = "t", .key = "k"};
	void *failed = path;
	sqlite3 *db;

	if (sqlite3_open(path, &db) == SQLITE_OK && sqlite3_busy_timeout(db, 20000) == SQLITE_OK) {
		int rc = OB_OK;

		for (int i = 0; rc == OB_OK && i < 50; i++)
			rc = ob_sqlite_publish(db, &message, 1, NULL, NULL);
		failed = rc == OB_OK ? NULL : path;
	}
	sqlite3_close(db);
	return failed;
}

static void
test_two_threads_with_a_connection_each(void **state)
{
	char path[] = "/tmp/ob-producer-XXXXXX";
	pthread_t threads[2];
	sqlite3 *db;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sql_run(db,
		"PRAGMA synchronous = OFF; CREATE TABLE outbox_message (id, topic, partition_key,"
		" type, payload, content_type, headers, deliver_after)");
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_publish, path), 0);
	for (int i = 0; i < 2; i++) {
		void *failed;

		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	assert_int_equal(sql_number(db, "SELECT count(DISTINCT id) FROM outbox_message"), 100);
	sqlite3_close(db);
	unlink(path);
}

int
main(void)
{
#define WITH_DATABASE(test) cmocka_unit_test_setup_teardown(test, database_setup, database_teardown)
	const struct CMUnitTest tests[] = {
	    WITH_DATABASE(test_writes_all_fields),
	    WITH_DATABASE(test_what_is_left_out_is_null_and_the_id_is_made),
	    WITH_DATABASE(test_bytes_stay_bytes),
	    WITH_DATABASE(test_checks_before_it_touches_the_database),
	    WITH_DATABASE(test_an_error_leaves_the_transaction_usable),
	    WITH_DATABASE(test_never_ends_the_transaction_of_the_application),
	    cmocka_unit_test(test_says_how_to_mend_a_missing_table),
	    WITH_DATABASE(test_a_publisher_is_used_again_after_errors),
	    cmocka_unit_test(test_a_busy_and_a_read_only_database_say_so),
	    WITH_DATABASE(test_out_of_memory_is_an_error_like_any_other),
	    cmocka_unit_test(test_two_threads_with_a_connection_each),
	};
	sqlite3_mem_methods memory;

	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory) != SQLITE_OK)
		return 1;
	memory = real_memory;
	memory.xMalloc = failing_malloc;
	memory.xRealloc = failing_realloc;
	/* No look-aside memory, or small requests would never reach the allocator. */
	if (sqlite3_config(SQLITE_CONFIG_MALLOC, &memory) != SQLITE_OK ||
	    sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK)
		return 1;
	return cmocka_run_group_tests_name("producer-sqlite", tests, NULL, NULL);
}
