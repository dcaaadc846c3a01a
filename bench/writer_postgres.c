/* bench-writer on PostgreSQL. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

#include "writer.h"

static PGconn *connection;

static void
check(PGresult *result, const char *what)
{
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		fprintf(stderr, "bench-writer: %s: %s", what, PQerrorMessage(connection));
		exit(1);
	}
	PQclear(result);
}

static void
execute(const char *sql)
{
	check(PQexec(connection, sql), sql);
}

static void
prepare(const char *name, const char *sql)
{
	check(PQprepare(connection, name, sql, 0, NULL), sql);
}

static void
open_database(const char *url, const char *synchronous)
{
	char sql[64];

	connection = PQconnectdb(url);
	if (PQstatus(connection) != CONNECTION_OK) {
		fprintf(stderr, "bench-writer: %s", PQerrorMessage(connection));
		exit(1);
	}
	snprintf(sql, sizeof(sql), "SET synchronous_commit = %s",
		 synchronous != NULL ? synchronous : "on");
	execute(sql);
	execute("SET client_min_messages = error");
	execute(
	    "CREATE TABLE IF NOT EXISTS account (key bigint PRIMARY KEY, changes bigint NOT NULL)");
	prepare("change", "INSERT INTO account AS a (key, changes) VALUES ($1::text::bigint, 1)"
			  " ON CONFLICT (key) DO UPDATE SET changes = a.changes + 1");
	prepare("insert", "INSERT INTO outbox.message (id, topic, partition_key, payload)"
			  " VALUES ($1::text::uuid, 'bench', $2, $3)");
}

static void
transaction(uint64_t account, const struct writer_message *messages, uint32_t count)
{
	char key[24];
	const char *values[3] = {key};

	snprintf(key, sizeof(key), "%llu", (unsigned long long)account);
	execute("BEGIN");
	check(PQexecPrepared(connection, "change", 1, values, NULL, NULL, 0), "change");
	for (uint32_t i = 0; i < count; i++) {
		values[0] = messages[i].id;
		values[1] = messages[i].key;
		values[2] = messages[i].payload;
		check(PQexecPrepared(connection, "insert", 3, values, NULL, NULL, 0), "insert");
	}
	execute("COMMIT");
}

static void
close_database(void)
{
	PQfinish(connection);
}

const struct writer_driver writer_postgres = {
    .scheme = "postgresql",
    .open = open_database,
    .transaction = transaction,
    .close = close_database,
};
