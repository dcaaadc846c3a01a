/* A schema of its own on the server of OUTBOX_TEST_POSTGRES, with a table that has the columns that producers fill. The
   real one is made by `outbox init` and met in tests/system. */
#ifndef OB_TESTS_POSTGRES_WORLD_H
#define OB_TESTS_POSTGRES_WORLD_H

#include "cm.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

static inline PGconn *
server_connect_to(const char *database)
{
	const char *const names[] = {"dbname", "dbname", NULL};
	const char *const values[] = {getenv("OUTBOX_TEST_POSTGRES"), database, NULL};
	PGconn *conn = PQconnectdbParams(names, values, 1);

	if (PQstatus(conn) != CONNECTION_OK)
		fail_msg("OUTBOX_TEST_POSTGRES: %s", PQerrorMessage(conn));
	return conn;
}

static inline PGconn *
server_connect(void)
{
	return server_connect_to(NULL);
}

static inline void
sql_run(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(conn));
	PQclear(result);
}

/* The first column of the first row is this text. */
static inline void
sql_expect(PGconn *conn, const char *sql, const char *expected)
{
	PGresult *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) < 1)
		fail_msg("%s: %s", sql, PQerrorMessage(conn));
	assert_string_equal(PQgetvalue(result, 0, 0), expected);
	PQclear(result);
}

#define TABLE_COLUMNS                                                                     \
	"(xid xid8 NOT NULL DEFAULT pg_current_xact_id(),"                                \
	" id uuid NOT NULL DEFAULT gen_random_uuid(),"                                    \
	" topic text NOT NULL CONSTRAINT \"outbox: refused\" CHECK (topic <> 'refused')," \
	" partition_key text, type text, payload text, payload_bytes bytea,"              \
	" content_type text, headers jsonb, deliver_after timestamptz,"                   \
	" created_at timestamptz NOT NULL DEFAULT clock_timestamp(),"                     \
	" seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY)"

/* Connected, with a fresh schema "outbox". */
static inline PGconn *
outbox_make(void)
{
	PGconn *conn = server_connect();

	sql_run(conn, "SET client_min_messages = error; DROP SCHEMA IF EXISTS outbox CASCADE");
	sql_run(conn, "CREATE SCHEMA outbox; CREATE TABLE outbox.message " TABLE_COLUMNS);
	return conn;
}

#endif
