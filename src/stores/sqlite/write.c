/* Writing messages, for commands. The connection is like an application's: the relay's would not checkpoint the log. */
#include <outbox/sqlite.h>
#include <stdlib.h>

#include "sqlite_store.h"

enum { BUSY_TIMEOUT_MS = 10000 };

struct sqlite_writer {
	struct ob_writer base;     /* first: the contract's part */
	struct sqlite_store store; /* says in words what is wrong with a path or with our tables */
	sqlite3 *db;
	struct ob_sqlite_publisher *publisher;
};

static struct sqlite_writer *
writer_of(struct ob_writer *base)
{
	return (struct sqlite_writer *)(void *)base;
}

static int
writer_open(struct ob_writer *base, const struct ob_store_config *config, struct ob_error *error)
{
	struct sqlite_writer *writer = writer_of(base);
	struct ob_store *store = &writer->store.base;
	int code;

	store->host = base->host;
	code = ob_sqlite_open(store, config, error);
	if (code == OB_OK)
		code = ob_sqlite_schema_check(&writer->store, error);
	if (code == OB_OK && sqlite3_open_v2(writer->store.path, &writer->db, SQLITE_OPEN_READWRITE,
					     NULL) != SQLITE_OK)
		code = ob_error_set(error, OB_UNREACHABLE, "%s: %s", writer->store.name,
				    sqlite3_errmsg(writer->db));
	ob_sqlite_close(store);
	if (code != OB_OK)
		return code;
	(void)sqlite3_busy_timeout(writer->db, BUSY_TIMEOUT_MS);
	return ob_sqlite_publisher_new(writer->db, &writer->publisher, error);
}

static void
writer_close(struct ob_writer *base)
{
	struct sqlite_writer *writer = writer_of(base);

	ob_sqlite_close(&writer->store.base);
	ob_sqlite_publisher_free(writer->publisher);
	(void)sqlite3_close(writer->db);
	writer->publisher = NULL;
	writer->db = NULL;
}

static int
run_fail(sqlite3 *db, int rc, struct ob_error *error)
{
	if ((rc & 0xff) == SQLITE_BUSY)
		return ob_error_set(error, OB_BUSY,
				    "another connection writes for too long; try again");
	if ((rc & 0xff) == SQLITE_FULL)
		return ob_error_set(error, OB_LIMIT, "%s", sqlite3_errmsg(db));
	return ob_error_set(error, OB_FAILED, "%s", sqlite3_errmsg(db));
}

static int
writer_run(struct ob_writer *base, const char *sql, struct ob_error *error)
{
	sqlite3 *db = writer_of(base)->db;
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? OB_OK : run_fail(db, rc, error);
}

struct rows_read {
	void (*each)(void *context, const char *const *columns);
	void *context;
};

static int
row_pass(void *context, int count, char **columns, char **names)
{
	const struct rows_read *read = context;

	(void)count;
	(void)names;
	read->each(read->context, (const char *const *)columns);
	return 0;
}

static int
writer_rows(struct ob_writer *base, const char *sql,
	    void (*each)(void *context, const char *const *columns), void *context,
	    struct ob_error *error)
{
	struct rows_read read = {.each = each, .context = context};
	sqlite3 *db = writer_of(base)->db;
	int rc = sqlite3_exec(db, sql, row_pass, &read, NULL);

	return rc == SQLITE_OK ? OB_OK : run_fail(db, rc, error);
}

static int
writer_publish(struct ob_writer *base, const struct ob_new_message *messages, size_t count,
	       struct ob_message_id *ids, struct ob_error *error)
{
	return ob_sqlite_publisher_publish(writer_of(base)->publisher, messages, count, ids, error);
}

const struct ob_writer_ops ob_sqlite_writer = {
    .size = sizeof(struct sqlite_writer),
    /* Without IMMEDIATE a writer that has waited could be refused at its first insert. */
    .begin = "BEGIN IMMEDIATE",
    .open = writer_open,
    .close = writer_close,
    .run = writer_run,
    .rows = writer_rows,
    .check = ob_sqlite_message_check,
    .publish = writer_publish,
};
