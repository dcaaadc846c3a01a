/* Bad input: each gives one clear line with what, where and how to mend it. */
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sqlite_tests.h"

#include "skip.h"

/* Opens another database with no options but the defaults; its code, and the error in the world. */
static int
open_code(struct world *world, const char *url, bool create)
{
	const struct ob_store_ops *ops = world->kind->ops;
	struct ob_store *store = calloc(1, ops->size);
	struct ob_store_config config = {
	    .url = url, .options = world->at[0].options, .create = create};
	int code;

	store->ops = ops;
	store->host = &world_host;
	world->error.text[0] = '\0';
	code = ops->open(store, &config, &world->error);
	ops->close(store);
	free(store);
	return code;
}

static void
error_expect(const struct world *world, const char *part)
{
	if (strstr(world->error.text, part) == NULL)
		fail_msg("'%s' does not say '%s'", world->error.text, part);
	assert_null(strchr(world->error.text, '\n'));
}

static void
a_path_that_is_no_database_is_said_so(void **state)
{
	struct world *world = *state;
	char url[320], path[256];
	FILE *file;

	snprintf(url, sizeof(url), "sqlite:%s/none.db", world->directory);
	expect_code(world, OB_NOT_FOUND, open_code(world, url, false));
	error_expect(world, "outbox init sqlite:");
	assert_int_not_equal(access(url + 7, F_OK), 0);
	snprintf(url, sizeof(url), "sqlite:%s/none/none.db", world->directory);
	expect_code(world, OB_NOT_FOUND, open_code(world, url, false));
	snprintf(url, sizeof(url), "sqlite:%s", world->directory);
	expect_code(world, OB_CONFIG, open_code(world, url, true));
	error_expect(world, "is a directory");
	expect_code(world, OB_CONFIG, open_code(world, "sqlite:", true));
	expect_code(world, OB_CONFIG, open_code(world, "sqlite::memory:", true));
	error_expect(world, "path of a file");
	snprintf(path, sizeof(path), "%s/text.db", world->directory);
	file = fopen(path, "w");
	assert_non_null(file);
	for (int i = 0; i < 200; i++)
		fputs("This is no database at all.\n", file);
	fclose(file);
	snprintf(url, sizeof(url), "sqlite:%s", path);
	expect_code(world, OB_CONFIG, open_code(world, url, false));
	error_expect(world, "not an SQLite database");
	unlink(path);
}

static void
a_new_database_is_made_in_a_directory_that_is_there(void **state)
{
	struct world *world = *state;
	char url[256];

	snprintf(url, sizeof(url), "sqlite:%s/no/such/new.db", world->directory);
	assert_int_not_equal(open_code(world, url, true), OB_OK);
	assert_true(strlen(world->error.text) > 0);
}

static void
a_file_that_may_not_be_written_is_refused(void **state)
{
	struct world *world = *state;
	int fd = open(sqlite_test_path(world), O_RDONLY), flags = 0, code;

	if (geteuid() != 0) {
		close(fd);
		assert_int_equal(chmod(sqlite_test_path(world), 0444), 0);
		expect_code(world, OB_DENIED, open_code(world, world->url, false));
		error_expect(world, "may not write the file");
		return;
	}
	/* Modes do not stop root; the immutable flag does, where the file system has it. */
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0 ||
	    ioctl(fd, FS_IOC_SETFLAGS, &(int){flags | FS_IMMUTABLE_FL}) != 0) {
		close(fd);
		OB_SKIP("root, on a file system without the immutable flag");
	}
	code = open_code(world, world->url, false);
	ioctl(fd, FS_IOC_SETFLAGS, &flags);
	close(fd);
	expect_code(world, OB_DENIED, code);
}

static void
schema_expect(struct world *world, const char *sql, const char *says)
{
	struct ob_acquired acquired;
	struct ob_lease_request request = {.subscription = "s", .lease_ms = 1000};
	sqlite3 *db = sqlite_test_connect(world);

	sqlite_test_run(db, sql);
	sqlite3_close(db);
	expect_code(
	    world, OB_SCHEMA,
	    world->kind->ops->acquire(world->at[0].store, &request, &acquired, &world->error));
	error_expect(world, says);
	expect_code(world, OB_SCHEMA,
		    world->kind->ops->list(world->at[0].store,
					   &(struct ob_selection){.count_max = 1}, NULL, NULL,
					   &world->error));
	expect_code(world, OB_SCHEMA,
		    world->kind->ops->stats(world->at[0].store, NULL, NULL, NULL, &world->error));
}

static void
an_older_schema_is_brought_up_to_date(void **state)
{
	struct world *world = *state;
	sqlite3 *db = sqlite_test_connect(world);

	world_subscribe(world, "s", "*");
	world_append(world, "t", "k", "old");
	sqlite_test_run(db, "ALTER TABLE outbox_lease DROP COLUMN adopted_at;"
			    "ALTER TABLE outbox_lease DROP COLUMN refused_by;"
			    "ALTER TABLE outbox_lease DROP COLUMN refused_code;"
			    "ALTER TABLE outbox_lease DROP COLUMN refused_text;"
			    "ALTER TABLE outbox_lease DROP COLUMN refused_since;"
			    "ALTER TABLE outbox_lease DROP COLUMN refused_at;");
	schema_expect(world, "DELETE FROM outbox_schema WHERE version > 1", "run: outbox migrate");
	expect_ok(world, world->kind->ops->migrate(world->at[0].store, OB_MIGRATE_APPLY, NULL, NULL,
						   &world->error));
	world_acquire(world, 0, "s");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1");
	sqlite3_close(db);
}

static void
each_of_the_tables_is_missed(void **state)
{
	static const char *const names[] = {"outbox_instance",   "outbox_subscription",
					    "outbox_checkpoint", "outbox_lease",
					    "outbox_parked",     "outbox_dead"};
	struct world *world = *state;
	char sql[96], says[96];
	sqlite3 *db = sqlite_test_connect(world);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(sql, sizeof(sql), "ALTER TABLE %s RENAME TO away", names[i]);
		snprintf(says, sizeof(says), "the table %s is not there", names[i]);
		schema_expect(world, sql, says);
		snprintf(sql, sizeof(sql), "ALTER TABLE away RENAME TO %s", names[i]);
		sqlite_test_run(db, sql);
	}
	schema_expect(world, "DELETE FROM outbox_instance", "outbox_instance, which tells");
	sqlite3_close(db);
}

/* As somebody does it who wants to free a lease. */
static void
a_subscription_that_was_deleted_in_part_is_made_whole(void **state)
{
	struct world *world = *state;
	struct ob_acquired acquired;
	struct ob_lease_request request = {.subscription = "s", .lease_ms = 1000};
	sqlite3 *db = sqlite_test_connect(world);

	world_subscribe(world, "s", "*");
	world_append(world, "t", "k", "x");
	sqlite_test_run(db, "DELETE FROM outbox_lease; DELETE FROM outbox_checkpoint");
	expect_code(
	    world, OB_NOT_FOUND,
	    world->kind->ops->acquire(world->at[0].store, &request, &acquired, &world->error));
	error_expect(world, "a relay that is started makes it");
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1");
	sqlite3_close(db);
}

static void
a_newer_schema_is_refused(void **state)
{
	schema_expect(*state, "INSERT INTO outbox_schema (version, name) VALUES (99, 'future')",
		      "use the newer program");
	{
		struct world *world = *state;

		expect_code(world, OB_SCHEMA,
			    world->kind->ops->migrate(world->at[0].store, OB_MIGRATE_APPLY, NULL,
						      NULL, &world->error));
	}
}

static void
a_column_that_is_gone_is_named(void **state)
{
	schema_expect(*state, "ALTER TABLE outbox_message RENAME COLUMN content_type TO ct",
		      "ALTER TABLE outbox_message ADD COLUMN content_type TEXT");
}

static void
a_table_that_is_gone_is_named(void **state)
{
	schema_expect(*state, "DROP TABLE outbox_message", "table outbox_message");
}

static void
a_column_of_another_type_is_named(void **state)
{
	schema_expect(
	    *state,
	    "DROP TABLE outbox_message; CREATE TABLE outbox_message (seq INTEGER PRIMARY KEY "
	    "AUTOINCREMENT, id INTEGER, topic TEXT, partition_key TEXT, type TEXT, content_type TEXT, "
	    "headers TEXT, deliver_after TEXT, created_at TEXT, payload)",
	    "column id of outbox_message has the type 'INTEGER'");
}

static void
numbers_that_may_be_given_out_again_are_refused(void **state)
{
	schema_expect(
	    *state,
	    "DROP TABLE outbox_message; CREATE TABLE outbox_message (seq INTEGER PRIMARY KEY, "
	    "id TEXT, topic TEXT, partition_key TEXT, type TEXT, content_type TEXT, headers TEXT, "
	    "deliver_after TEXT, created_at TEXT, payload)",
	    "AUTOINCREMENT");
}

static void
a_database_without_our_tables_says_how_to_make_them(void **state)
{
	struct world *world = *state;
	char url[256];
	struct ob_store *store = calloc(1, world->kind->ops->size);
	struct ob_store_config config = {.url = url, .options = world->at[0].options};
	struct ob_subscription subscription = {.name = "s", .topics = "*"};
	sqlite3 *db;

	snprintf(url, sizeof(url), "sqlite:%s/other.db", world->directory);
	assert_int_equal(sqlite3_open(url + 7, &db), SQLITE_OK);
	sqlite_test_run(db, "CREATE TABLE shop (item TEXT)");
	sqlite3_close(db);
	store->ops = world->kind->ops;
	store->host = &world_host;
	expect_ok(world, store->ops->open(store, &config, &world->error));
	expect_code(world, OB_SCHEMA, store->ops->subscribe(store, &subscription, &world->error));
	error_expect(world, "outbox init sqlite:");
	store->ops->close(store);
	free(store);
	unlink(url + 7);
}

static void
insert_expect(struct world *world, const char *values, const char *says)
{
	sqlite3 *db = sqlite_test_connect(world);
	char sql[512];
	const char *wrong;

	snprintf(sql, sizeof(sql), "INSERT INTO outbox_message %s", values);
	wrong = sqlite_test_try(db, sql);
	if (says == NULL) {
		if (wrong != NULL)
			fail_msg("%s: %s", values, wrong);
	} else if (wrong == NULL || strstr(wrong, says) == NULL) {
		fail_msg("%s: '%s', not '%s'", values, wrong == NULL ? "accepted" : wrong, says);
	}
	sqlite3_close(db);
}

static void
bad_messages_are_refused_where_they_are_written(void **state)
{
	static const char headers[] = "outbox: headers must be a JSON object";
	static const char after[] = "outbox: deliver_after must be a time";
	struct world *world = *state;

	insert_expect(world, "(topic) VALUES (NULL)",
		      "NOT NULL constraint failed: outbox_message.topic");
	insert_expect(world, "(payload) VALUES ('x')",
		      "NOT NULL constraint failed: outbox_message.topic");
	insert_expect(world, "(topic) VALUES ('')", "outbox: topic must be text of 1 to 255 bytes");
	insert_expect(world, "(topic) VALUES (x'41')", "outbox: topic must be text");
	insert_expect(world, "(topic) VALUES (printf('%.*c', 256, 'x'))",
		      "outbox: topic must be text");
	insert_expect(world, "(topic) VALUES (printf('%.*c', 255, 'x'))", NULL);
	insert_expect(world, "(topic, id) VALUES ('t', '')", "outbox: id must be text");
	insert_expect(world, "(topic, headers) VALUES ('t', '[1]')", headers);
	insert_expect(world, "(topic, headers) VALUES ('t', 'junk')", headers);
	insert_expect(world, "(topic, headers) VALUES ('t', x'7b7d')", headers);
	insert_expect(world,
		      "(topic, headers) VALUES ('t', printf('{\"a\":\"%.*c\"}', 65536, 'x'))",
		      headers);
	insert_expect(world, "(topic, headers) VALUES ('t', ' {\"a\":\"b\"}' || char(10))", NULL);
	insert_expect(world, "(topic, deliver_after) VALUES ('t', 'tomorrow')", after);
	insert_expect(world, "(topic, deliver_after) VALUES ('t', '12:00')", after);
	insert_expect(world, "(topic, deliver_after) VALUES ('t', '2030-13-01T00:00:00Z')", after);
	insert_expect(world, "(topic, deliver_after) VALUES ('t', '2030-01-31T12:00:00.000Z')",
		      NULL);
	insert_expect(world, "(topic, deliver_after) VALUES ('t', '2030-01-31 12:00:00+02:00')",
		      NULL);
}

static void
a_refused_message_leaves_the_transaction_usable(void **state)
{
	struct world *world = *state;
	sqlite3 *db = sqlite_test_connect(world);

	sqlite_test_run(db, "CREATE TABLE orders (id); BEGIN; INSERT INTO orders VALUES (1)");
	assert_non_null(sqlite_test_try(db, "INSERT INTO outbox_message (topic) VALUES ('')"));
	sqlite_test_run(db, "INSERT INTO outbox_message (topic) VALUES ('t'); COMMIT");
	assert_int_equal(sqlite_test_number(db, "SELECT count(*) FROM orders"), 1);
	assert_int_equal(sqlite_test_number(db, "SELECT count(*) FROM outbox_message"), 1);
	sqlite3_close(db);
}

static void
every_connection_may_insert(void **state)
{
	struct world *world = *state;
	sqlite3 *db = sqlite_test_connect(world);

	/* The strictest that a connection can be. */
	sqlite_test_run(db, "PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON");
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite_test_run(db, "INSERT INTO outbox_message (topic, headers, deliver_after)"
			    " VALUES ('t', '{}', '2030-01-01T00:00:00.000Z')");
	assert_int_equal(sqlite_test_number(db, "SELECT length(id) FROM outbox_message"), 36);
	/* RFC 9562: the version, the variant, and the milliseconds since 1970. */
	assert_int_equal(
	    sqlite_test_number(db, "SELECT id GLOB '*-*-7*-[89ab]*-*' AND length(id) = 36 AND"
				   " id = lower(id) AND replace(substr(id, 1, 13), '-', '') BETWEEN"
				   " printf('%012x', (strftime('%s', 'now') - 60) * 1000) AND"
				   " printf('%012x', (strftime('%s', 'now') + 60) * 1000)"
				   " FROM outbox_message"),
	    1);
	sqlite3_close(db);
}

static void
numbers_and_reals_arrive_as_their_text(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;

	insert_expect(world, "(topic, payload) VALUES ('t', 42), ('t', 1.5)", NULL);
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	batch = world_fetch(world, 0);
	assert_int_equal(batch->count, 2);
	assert_int_equal(batch->rows[0].message.payload.size, 2);
	assert_memory_equal(batch->rows[0].message.payload.data, "42", 2);
	assert_memory_equal(batch->rows[1].message.payload.data, "1.5", 3);
}

const struct store_test sqlite_input_tests[] = {
    {"a path that is no database is said so", a_path_that_is_no_database_is_said_so},
    {"a new database is made in a directory that is there",
     a_new_database_is_made_in_a_directory_that_is_there},
    {"a file that may not be written is refused", a_file_that_may_not_be_written_is_refused},
    {"an older schema is brought up to date", an_older_schema_is_brought_up_to_date},
    {"each of the tables is missed", each_of_the_tables_is_missed},
    {"a subscription that was deleted in part is made whole",
     a_subscription_that_was_deleted_in_part_is_made_whole},
    {"a newer schema is refused", a_newer_schema_is_refused},
    {"a column that is gone is named", a_column_that_is_gone_is_named},
    {"a table that is gone is named", a_table_that_is_gone_is_named},
    {"a column of another type is named", a_column_of_another_type_is_named},
    {"numbers that may be given out again are refused",
     numbers_that_may_be_given_out_again_are_refused},
    {"a database without our tables says how to make them",
     a_database_without_our_tables_says_how_to_make_them},
    {"bad messages are refused where they are written",
     bad_messages_are_refused_where_they_are_written},
    {"a refused message leaves the transaction usable",
     a_refused_message_leaves_the_transaction_usable},
    {"every connection may insert", every_connection_may_insert},
    {"numbers and reals arrive as their text", numbers_and_reals_arrive_as_their_text},
    {NULL, NULL},
};
