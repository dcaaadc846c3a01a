/*
 * Nothing of the product is asked here: the orders are read from the shop's table, the arrivals from the recipient's output, and
 * compared in a database of their own in memory.
 */
#include "demo_count.h"

#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t
ob_demo_lines(const char *path, const char *prefix)
{
	size_t prefix_size = strlen(prefix);
	FILE *file = fopen(path, "r");
	uint64_t count = 0;
	size_t capacity = 0;
	char *line = NULL;

	if (file == NULL)
		return 0;
	while (getline(&line, &capacity, file) >= 0)
		if (strncmp(line, prefix, prefix_size) == 0)
			count++;
	free(line);
	(void)fclose(file);
	return count;
}

static int
database_fail(sqlite3 *db, struct ob_error *error)
{
	return ob_error_set(error, OB_FAILED, "counting: %s", sqlite3_errmsg(db));
}

/* One arrival: the id is all that is needed, its place is the line's. */
static int
arrival_add(sqlite3 *db, sqlite3_stmt *insert, const char *line, size_t size,
	    struct ob_error *error)
{
	json_t *document = json_loadb(line, size, JSON_ALLOW_NUL, NULL);
	const char *id = json_string_value(json_object_get(document, "id"));
	int rc = SQLITE_DONE;

	/* Without a number it was not taken, only seen. */
	if (id != NULL && json_is_integer(json_object_get(document, "n"))) {
		(void)sqlite3_bind_text(insert, 1, id, -1, SQLITE_TRANSIENT);
		rc = sqlite3_step(insert);
		(void)sqlite3_reset(insert);
	}
	json_decref(document);
	return rc == SQLITE_DONE ? OB_OK : database_fail(db, error);
}

static int
arrivals_read(sqlite3 *db, const char *path, struct ob_error *error)
{
	FILE *file = fopen(path, "r");
	sqlite3_stmt *insert = NULL;
	size_t capacity = 0;
	char *line = NULL;
	ssize_t size;
	int rc = OB_OK;

	if (file == NULL)
		return OB_OK;
	if (sqlite3_prepare_v2(db, "INSERT INTO arrival (id) VALUES (?1)", -1, &insert, NULL) !=
	    SQLITE_OK)
		rc = database_fail(db, error);
	while (rc == OB_OK && (size = getline(&line, &capacity, file)) >= 0)
		rc = arrival_add(db, insert, line, (size_t)size, error);
	(void)sqlite3_finalize(insert);
	free(line);
	(void)fclose(file);
	return rc;
}

static int
number_read(sqlite3 *db, const char *sql, uint64_t *number, struct ob_error *error)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		*number = (uint64_t)sqlite3_column_int64(statement, 0);
	(void)sqlite3_finalize(statement);
	return rc == SQLITE_ROW ? OB_OK : database_fail(db, error);
}

static int
numbers_read(sqlite3 *db, struct ob_demo_counts *counts, struct ob_error *error)
{
	const struct {
		const char *sql;
		uint64_t *number;
	} all[] = {
	    {"SELECT count(*) FROM orders", &counts->committed},
	    {"SELECT count(*) FROM arrival", &counts->received},
	    {"SELECT count(*) FROM first JOIN orders ON message_id = id", &counts->delivered},
	    {"SELECT count(*) - count(DISTINCT id) FROM arrival", &counts->duplicates},
	    {"SELECT count(*) FROM orders WHERE message_id NOT IN (SELECT id FROM first)",
	     &counts->lost},
	    {"SELECT count(*) FROM first WHERE id NOT IN (SELECT message_id FROM orders)",
	     &counts->phantoms},
	    {"SELECT count(*) FROM (SELECT number, max(number) OVER (PARTITION BY customer ORDER BY place) AS highest"
	     " FROM first JOIN orders ON message_id = id) WHERE number < highest",
	     &counts->out_of_order},
	};
	int rc = OB_OK;

	for (size_t i = 0; rc == OB_OK && i < sizeof(all) / sizeof(all[0]); i++)
		rc = number_read(db, all[i].sql, all[i].number, error);
	return rc;
}

struct orders_read {
	sqlite3_stmt *insert;
	int rc;
};

static void
order_add(void *context, const char *const *columns)
{
	struct orders_read *read = context;

	for (int i = 0; i < 3; i++)
		(void)sqlite3_bind_text(read->insert, i + 1, columns[i], -1, SQLITE_TRANSIENT);
	if (read->rc == SQLITE_DONE)
		read->rc = sqlite3_step(read->insert);
	(void)sqlite3_reset(read->insert);
}

static int
orders_read(sqlite3 *db, struct ob_url_writer *shop, const char *orders, struct ob_error *error)
{
	struct orders_read read = {.rc = SQLITE_DONE};
	char sql[128];
	int rc = OB_OK;

	(void)snprintf(sql, sizeof(sql), "SELECT number, customer, message_id FROM %s", orders);
	if (sqlite3_prepare_v2(db, "INSERT INTO orders VALUES (?1, ?2, ?3)", -1, &read.insert,
			       NULL) != SQLITE_OK)
		rc = database_fail(db, error);
	if (rc == OB_OK)
		rc = ob_url_writer_rows(shop, sql, order_add, &read, error);
	if (rc == OB_OK && read.rc != SQLITE_DONE)
		rc = database_fail(db, error);
	(void)sqlite3_finalize(read.insert);
	return rc;
}

int
ob_demo_count(struct ob_url_writer *shop, const char *orders, const char *shop_log,
	      const char *received_log, struct ob_demo_counts *counts, struct ob_error *error)
{
	static const char tables[] =
	    "CREATE TABLE orders (number INTEGER, customer TEXT, message_id TEXT PRIMARY KEY);"
	    "CREATE TABLE arrival (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL);"
	    "CREATE INDEX arrival_id ON arrival (id);"
	    "CREATE VIEW first AS SELECT id, min(place) AS place FROM arrival GROUP BY id";
	sqlite3 *db = NULL;
	int rc = OB_OK;

	*counts = (struct ob_demo_counts){.rolled_back = ob_demo_lines(shop_log, "rolled_back ")};
	if (sqlite3_open(":memory:", &db) != SQLITE_OK ||
	    sqlite3_exec(db, tables, NULL, NULL, NULL) != SQLITE_OK)
		rc = database_fail(db, error);
	if (rc == OB_OK)
		rc = orders_read(db, shop, orders, error);
	if (rc == OB_OK)
		rc = arrivals_read(db, received_log, error);
	if (rc == OB_OK)
		rc = numbers_read(db, counts, error);
	(void)sqlite3_close(db);
	return rc;
}
