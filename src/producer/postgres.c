#include <outbox/postgres.h>

#include "postgres_connection.h"
#include "postgres_statement.h"

/* Everything that can be found wrong without the server. */
static int
messages_check(const struct ob_new_message *messages, size_t count, struct ob_error *error)
{
	int rc = ob_outgoing_check_all(messages, count, error);

	return rc == OB_OK ? ob_pg_check_all(messages, count, error) : rc;
}

int
ob_postgres_publish(PGconn *conn, const char *schema, const struct ob_new_message *messages,
		    size_t count, struct ob_message_id *ids, struct ob_error *error)
{
	struct ob_pg_statement it;
	PGresult *result = NULL;
	int rc = messages_check(messages, count, error);

	if (rc != OB_OK || count == 0)
		return rc;
	rc = ob_pg_idle_check(conn, error);
	if (rc != OB_OK)
		return ob_outgoing_fail_at(error, 0, 1, rc);
	rc = ob_pg_statement_make(&it, conn, schema, messages, count, ids, error);
	if (rc == OB_OK)
		result = PQexecParams(conn, ob_buf_text(&it.sql), OB_PG_COLUMN_COUNT, it.types,
				      it.values, it.lengths, it.formats, 1);
	if (rc == OB_OK && result == NULL)
		rc = ob_pg_connection_error(conn, error);
	else if (rc == OB_OK)
		rc = ob_pg_result_check(result, PQuser(conn), error);
	PQclear(result);
	ob_pg_statement_free(&it);
	return rc == OB_OK ? OB_OK : ob_outgoing_fail_at(error, 0, 1, rc);
}

int
ob_postgres_send(PGconn *conn, const char *schema, const struct ob_new_message *messages,
		 size_t count, struct ob_message_id *ids, struct ob_error *error)
{
	struct ob_pg_statement it;
	int rc = messages_check(messages, count, error);

	if (rc != OB_OK || count == 0)
		return rc;
	rc = ob_pg_send_check(conn, error);
	if (rc != OB_OK)
		return ob_outgoing_fail_at(error, 0, 1, rc);
	rc = ob_pg_statement_make(&it, conn, schema, messages, count, ids, error);
	if (rc == OB_OK && PQsendQueryParams(conn, ob_buf_text(&it.sql), OB_PG_COLUMN_COUNT,
					     it.types, it.values, it.lengths, it.formats, 1) != 1)
		rc = ob_pg_connection_error(conn, error);
	ob_pg_statement_free(&it);
	return rc == OB_OK ? OB_OK : ob_outgoing_fail_at(error, 0, 1, rc);
}

int
ob_postgres_result(const PGresult *result, struct ob_error *error)
{
	int rc;

	if (result == NULL)
		rc = ob_error_set(error, OB_USAGE, "there is no result");
	else
		rc = ob_pg_result_check(result, "the user", error);
	return rc == OB_OK ? OB_OK : ob_outgoing_fail_at(error, 0, 1, rc);
}

int
ob_postgres_message_check(const struct ob_new_message *message, struct ob_error *error)
{
	return messages_check(message, 1, error);
}
