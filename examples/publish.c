/*
 * An application that writes an order and its message in one transaction, with liboutbox-sqlite on its own
 * connection. usage: publish DATABASE CUSTOMER TOTAL
 *
 * The database must have an outbox: outbox init sqlite:DATABASE
 *
 *     cc publish.c $(pkg-config --cflags --libs liboutbox-sqlite sqlite3)
 */
#include <outbox/sqlite.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs one statement of the application's own. */
static int
run(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	fprintf(stderr, "publish: %s\n", sqlite3_errmsg(db));
	return 1;
}

static int
order_insert(sqlite3 *db, const char *customer, int total)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(db, "INSERT INTO orders (customer, total) VALUES (?1, ?2)", -1,
				    &statement, NULL);

	if (rc == SQLITE_OK) {
		sqlite3_bind_text(statement, 1, customer, -1, SQLITE_STATIC);
		sqlite3_bind_int(statement, 2, total);
		rc = sqlite3_step(statement);
	}
	sqlite3_finalize(statement);
	if (rc == SQLITE_DONE)
		return 0;
	fprintf(stderr, "publish: %s\n", sqlite3_errmsg(db));
	return 1;
}

/* Within the transaction that the caller has begun. */
static int
message_publish(sqlite3 *db, const char *customer, int total)
{
	struct ob_message_id id;
	struct ob_error error;
	char payload[128];

	snprintf(payload, sizeof(payload), "{\"order\":%lld,\"total\":%d}",
		 (long long)sqlite3_last_insert_rowid(db), total);
	const struct ob_new_message message = {
	    .topic = "orders.placed",
	    .key = customer,
	    .content_type = "application/json",
	    .payload = payload,
	    .payload_size = strlen(payload),
	};
	if (ob_sqlite_publish(db, &message, 1, &id, &error) != OB_OK) {
		fprintf(stderr, "publish: %s\n", error.text);
		return 1;
	}
	printf("%s\n", id.text);
	return 0;
}

static int
order_place(sqlite3 *db, const char *customer, int total)
{
	int failed = run(db, "BEGIN IMMEDIATE");

	if (failed)
		return 1;
	failed = order_insert(db, customer, total);
	if (!failed)
		failed = message_publish(db, customer, total);
	/* Both or neither. */
	if (!failed)
		failed = run(db, "COMMIT");
	if (failed)
		run(db, "ROLLBACK");
	return failed;
}

int
main(int argc, char **argv)
{
	sqlite3 *db = NULL;
	int failed;

	if (argc != 4) {
		fprintf(stderr, "usage: publish DATABASE CUSTOMER TOTAL\n");
		return 2;
	}
	failed = sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK;
	if (failed)
		fprintf(stderr, "publish: %s: %s\n", argv[1], sqlite3_errmsg(db));
	sqlite3_busy_timeout(db, 5000);
	if (!failed)
		failed = run(db, "CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY,"
				 " customer TEXT NOT NULL, total INTEGER NOT NULL)");
	if (!failed)
		failed = order_place(db, argv[2], (int)strtol(argv[3], NULL, 10));
	sqlite3_close(db);
	return failed;
}
