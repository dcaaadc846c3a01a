#include <inttypes.h>
#include <outbox/inbox.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inbox_rules.h"
#include "postgres_connection.h"

enum { TABLE_SIZE = 512, SQL_SIZE = 4 * TABLE_SIZE, NUMBER_SIZE = 24, PARAMETERS_MAX = 3 };

enum { OID_BYTEA = 17, OID_TEXT = 25 }; /* of src/include/catalog/pg_type.dat */

/* One statement about the inbox of a schema. */
struct inbox {
	PGconn *conn;
	char table[TABLE_SIZE]; /* as it stands in statements */
	bool decode;            /* texts go as bytes, see ob_pg_takes_utf8 */
};

static int
inbox_open(struct inbox *it, PGconn *conn, const char *schema, struct ob_error *error)
{
	char *quoted = NULL;
	int rc = ob_pg_idle_check(conn, error);

	if (rc != OB_OK)
		return rc;
	*it = (struct inbox){
	    .conn = conn, .table = "outbox_inbox", .decode = !ob_pg_takes_utf8(conn)};
	if (schema == NULL)
		return OB_OK;
	rc = ob_pg_schema_quote(conn, schema, &quoted, error);
	if (rc != OB_OK)
		return rc;
	if (snprintf(it->table, sizeof(it->table), "%s.outbox_inbox", quoted) >= TABLE_SIZE)
		rc = ob_error_set(error, OB_INVALID, "schema: longer than any schema's name");
	PQfreemem(quoted);
	return rc;
}

/* How a text parameter stands in a statement. */
static const char *
parameter(const struct inbox *it, int number)
{
	static const char *const plain[] = {"$1", "$2"};
	static const char *const decoded[] = {"pg_catalog.convert_from($1, 'UTF8')",
					      "pg_catalog.convert_from($2, 'UTF8')"};

	return it->decode ? decoded[number - 1] : plain[number - 1];
}

/* Runs a statement whose first `texts` parameters are texts; the others are numbers, written out. */
static PGresult *
inbox_run(const struct inbox *it, const char *sql, const char *const *values, int count, int texts)
{
	Oid types[PARAMETERS_MAX] = {0};
	int lengths[PARAMETERS_MAX] = {0};
	int formats[PARAMETERS_MAX] = {0};

	for (int i = 0; i < texts; i++) {
		types[i] = it->decode ? OID_BYTEA : OID_TEXT;
		lengths[i] = (int)strlen(values[i]);
		formats[i] = 1;
	}
	return PQexecParams(it->conn, sql, count, types, values, lengths, formats, 0);
}

/* What the result of a statement without rows says, and how many rows it changed. Clears it. */
static int
inbox_done(const struct inbox *it, PGresult *result, uint64_t *rows, struct ob_error *error)
{
	int rc = result == NULL ? ob_pg_connection_error(it->conn, error)
				: ob_pg_result_check(result, "", error);

	/* The outbox's way to make tables is not the inbox's. */
	if (rc == OB_SCHEMA)
		rc = ob_error_set(error, OB_SCHEMA,
				  "%s; make the table with ob_inbox_postgres_create",
				  PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	else if (rc == OB_DENIED)
		rc = ob_error_set(error, OB_DENIED, "%s",
				  PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	if (rc == OB_OK && rows != NULL)
		*rows = strtoull(PQcmdTuples(result), NULL, 10);
	PQclear(result);
	return rc;
}

static int
inbox_fail(int rc, struct ob_error *error)
{
	if (rc != OB_OK)
		ob_error_prefix(error, "inbox");
	return rc;
}

static int
inbox_exists(const struct inbox *it, bool *exists, struct ob_error *error)
{
	const char *const values[] = {it->table};
	PGresult *result = PQexecParams(it->conn, "SELECT pg_catalog.to_regclass($1) IS NOT NULL",
					1, NULL, values, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		return inbox_done(it, result, NULL, error);
	*exists = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return OB_OK;
}

static int
inbox_create(const struct inbox *it, struct ob_error *error)
{
	bool alone = PQtransactionStatus(it->conn) == PQTRANS_IDLE;
	struct ob_error first;
	char sql[SQL_SIZE];
	bool exists = false;
	int rc = inbox_exists(it, &exists, error);

	/* Whoever may only use the table could not even say IF NOT EXISTS: that needs the right to make it. */
	if (rc != OB_OK || exists)
		return rc;
	(void)snprintf(sql, sizeof(sql), OB_INBOX_POSTGRES_SQL("%s"), it->table, it->table);
	rc = inbox_done(it, PQexec(it->conn, sql), NULL, &first);
	if (rc == OB_OK)
		return OB_OK;
	/* Of two that make it at once one may fail, although it says IF NOT EXISTS. */
	if (alone && inbox_exists(it, &exists, NULL) == OB_OK && exists)
		return OB_OK;
	return ob_error_set(error, first.code, "%s", first.text);
}

int
ob_inbox_postgres_create(PGconn *conn, const char *schema, struct ob_error *error)
{
	struct inbox it;
	int rc = inbox_open(&it, conn, schema, error);

	if (rc == OB_OK)
		rc = inbox_create(&it, error);
	return inbox_fail(rc, error);
}

int
ob_inbox_postgres_claim(PGconn *conn, const char *schema, const char *consumer, const char *id,
			bool *first, struct ob_error *error)
{
	const char *const values[] = {consumer, id};
	struct inbox it;
	char sql[SQL_SIZE];
	uint64_t rows = 0;
	int rc = ob_inbox_names_check(consumer, id, error);

	if (rc != OB_OK)
		return rc;
	rc = inbox_open(&it, conn, schema, error);
	if (rc == OB_OK && PQtransactionStatus(conn) == PQTRANS_IDLE)
		rc = ob_error_set(
		    error, OB_USAGE,
		    "no transaction is open; BEGIN first, and do the work before its COMMIT");
	if (rc != OB_OK)
		return inbox_fail(rc, error);
	(void)snprintf(sql, sizeof(sql),
		       "INSERT INTO %s (consumer, id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
		       it.table, parameter(&it, 1), parameter(&it, 2));
	rc = inbox_done(&it, inbox_run(&it, sql, values, 2, 2), &rows, error);
	if (rc == OB_OK)
		*first = rows == 1;
	return inbox_fail(rc, error);
}

int
ob_inbox_postgres_trim(PGconn *conn, const char *schema, const char *consumer, int64_t keep_ms,
		       int64_t retry_ms, uint32_t rows_max, uint64_t *removed,
		       struct ob_error *error)
{
	char keep[NUMBER_SIZE], limit[NUMBER_SIZE], sql[SQL_SIZE];
	const char *const values[] = {consumer, keep, limit};
	struct inbox it;
	int rc = ob_inbox_consumer_check(consumer, error);

	if (rc == OB_OK)
		rc = ob_inbox_keep_check(keep_ms, retry_ms, error);
	if (rc != OB_OK)
		return rc;
	rc = inbox_open(&it, conn, schema, error);
	if (rc != OB_OK)
		return inbox_fail(rc, error);
	(void)snprintf(keep, sizeof(keep), "%" PRId64, keep_ms);
	(void)snprintf(limit, sizeof(limit), "%" PRIu32,
		       rows_max == 0 ? OB_INBOX_ROWS_DEFAULT : rows_max);
	(void)snprintf(
	    sql, sizeof(sql),
	    "DELETE FROM %s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %s WHERE consumer = %s"
	    " AND handled_at < pg_catalog.clock_timestamp() - $2::float8 * interval '1 ms'"
	    " ORDER BY handled_at LIMIT $3::bigint))",
	    it.table, it.table, parameter(&it, 1));
	return inbox_fail(inbox_done(&it, inbox_run(&it, sql, values, 3, 1), removed, error),
			  error);
}
