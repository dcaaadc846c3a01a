/* Writing messages, for commands. */
#include <outbox/postgres.h>
#include <string.h>

#include "check.h"
#include "postgres_store.h"

/* The queries are of this program, see the demo. */
#define ROWS_COLUMNS_MAX 8

struct postgres_writer {
	struct ob_writer base;       /* first: the contract's part */
	struct postgres_store store; /* knows how to connect */
};

static struct postgres_writer *
writer_of(struct ob_writer *base)
{
	return (struct postgres_writer *)(void *)base;
}

static int
writer_open(struct ob_writer *base, const struct ob_store_config *config, struct ob_error *error)
{
	struct postgres_writer *writer = writer_of(base);

	writer->store.base.host = base->host;
	return ob_postgres_open(&writer->store.base, config, error);
}

static void
writer_close(struct ob_writer *base)
{
	ob_postgres_close(&writer_of(base)->store.base);
}

static int
run_fail(const struct postgres_store *store, const PGresult *result, struct ob_error *error)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (state == NULL)
		return ob_error_set(error, OB_AGAIN,
				    "%s: the connection was lost: what became of this is unknown",
				    store->name);
	return ob_error_set(error, ob_postgres_code_of(state), "%s: %s", store->name,
			    PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
}

static int
writer_run(struct ob_writer *base, const char *sql, struct ob_error *error)
{
	struct postgres_store *store = &writer_of(base)->store;
	PGresult *result = PQexec(store->conn, sql);
	ExecStatusType status = PQresultStatus(result);
	int code = OB_OK;

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		code = run_fail(store, result, error);
	/* A transaction in which something has failed ends so without an error. */
	else if (strcmp(sql, "COMMIT") == 0 && strcmp(PQcmdStatus(result), "COMMIT") != 0)
		code = ob_error_set(error, OB_FAILED, "%s: the transaction was rolled back",
				    store->name);
	PQclear(result);
	return code;
}

static int
writer_rows(struct ob_writer *base, const char *sql,
	    void (*each)(void *context, const char *const *columns), void *context,
	    struct ob_error *error)
{
	struct postgres_store *store = &writer_of(base)->store;
	PGresult *result = PQexec(store->conn, sql);
	const char *columns[ROWS_COLUMNS_MAX] = {NULL};
	int code = OB_OK;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		code = run_fail(store, result, error);
	OB_CHECK(PQnfields(result) <= ROWS_COLUMNS_MAX);
	for (int i = 0; code == OB_OK && i < PQntuples(result); i++) {
		for (int j = 0; j < PQnfields(result); j++)
			columns[j] = PQgetisnull(result, i, j) ? NULL : PQgetvalue(result, i, j);
		each(context, columns);
	}
	PQclear(result);
	return code;
}

static int
writer_publish(struct ob_writer *base, const struct ob_new_message *messages, size_t count,
	       struct ob_message_id *ids, struct ob_error *error)
{
	struct postgres_store *store = &writer_of(base)->store;
	int code =
	    ob_postgres_publish(store->conn, store->options->schema, messages, count, ids, error);

	if (code != OB_OK)
		ob_error_prefix(error, "%s", store->name);
	return code;
}

const struct ob_writer_ops ob_postgres_writer = {
    .size = sizeof(struct postgres_writer),
    .begin = "BEGIN",
    .open = writer_open,
    .close = writer_close,
    .run = writer_run,
    .rows = writer_rows,
    .check = ob_postgres_message_check,
    .publish = writer_publish,
};
