#include "postgres_connection.h"

#include <stddef.h>
#include <string.h>

/* The longest prefix of an SQLSTATE that is listed decides (https://www.postgresql.org/docs/current/errcodes-appendix.html). */
static const struct meaning {
	const char *state;
	enum ob_code code;
	const char *mend;
} meanings[] = {
    {"08", OB_AGAIN, ""},
    {"22", OB_INVALID, ""},
    {"23", OB_INVALID, ""},
    {"25006", OB_DENIED, "; write on the primary, in a transaction that is not read only"},
    {"25P02", OB_USAGE, ""},
    {"28", OB_DENIED, ""},
    {"3F000", OB_SCHEMA, "; make the tables with: outbox init postgresql://..."},
    {"40001", OB_BUSY, "; run the whole transaction again"},
    {"40P01", OB_BUSY, "; run the whole transaction again"},
    {"42501", OB_DENIED, "; give the right with: GRANT outbox_app TO "},
    {"42703", OB_SCHEMA, "; bring the tables up to date with: outbox migrate postgresql://..."},
    {"42804", OB_SCHEMA, "; bring the tables up to date with: outbox migrate postgresql://..."},
    {"42P01", OB_SCHEMA, "; make the tables with: outbox init postgresql://..."},
    {"53", OB_LIMIT, ""},
    {"54", OB_LIMIT, ""},
    {"55P03", OB_BUSY, "; run the whole transaction again"},
    {"57014", OB_BUSY, "; run the whole transaction again"},
    {"57P", OB_AGAIN, ""},
    {"P0001", OB_INVALID, ""}, /* a trigger raised it */
};

static const struct meaning *
meaning_of(const char *state)
{
	static const struct meaning unknown = {"", OB_FAILED, ""};
	const struct meaning *found = &unknown;

	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (strncmp(state, meanings[i].state, strlen(meanings[i].state)) == 0)
			found = &meanings[i];
	return found;
}

/* libpq's own texts end with a newline and may have several lines. */
static int
error_set(struct ob_error *error, enum ob_code code, const char *text)
{
	return ob_error_set(error, code, "%.*s", (int)strcspn(text, "\n"), text);
}

static int
result_error(const PGresult *result, const char *user, struct ob_error *error)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const struct meaning *meaning;

	/* Made by libpq itself: the connection was lost. */
	if (state == NULL || text == NULL)
		return error_set(error, OB_AGAIN, PQresultErrorMessage(result));
	meaning = meaning_of(state);
	return ob_error_set(error, meaning->code, "%s%s%s", text, meaning->mend,
			    strcmp(meaning->state, "42501") == 0 ? user : "");
}

int
ob_pg_result_check(const PGresult *result, const char *user, struct ob_error *error)
{
	switch (PQresultStatus(result)) {
	case PGRES_COMMAND_OK:
		return OB_OK;
	case PGRES_PIPELINE_ABORTED:
		return ob_error_set(error, OB_FAILED,
				    "not done: an earlier statement of the pipeline failed");
	case PGRES_FATAL_ERROR:
		return result_error(result, user, error);
	default:
		return ob_error_set(error, OB_USAGE, "this is the result of another statement: %s",
				    PQresStatus(PQresultStatus(result)));
	}
}

int
ob_pg_connection_error(const PGconn *conn, struct ob_error *error)
{
	return error_set(error, PQstatus(conn) == CONNECTION_OK ? OB_FAILED : OB_AGAIN,
			 PQerrorMessage(conn));
}

int
ob_pg_send_check(const PGconn *conn, struct ob_error *error)
{
	if (PQstatus(conn) != CONNECTION_OK)
		return ob_error_set(error, OB_UNREACHABLE, "the connection is closed");
	if (PQpipelineStatus(conn) == PQ_PIPELINE_OFF &&
	    PQtransactionStatus(conn) == PQTRANS_ACTIVE)
		return ob_error_set(error, OB_USAGE,
				    "the connection awaits the answer of another statement");
	return OB_OK;
}

int
ob_pg_idle_check(const PGconn *conn, struct ob_error *error)
{
	if (PQpipelineStatus(conn) != PQ_PIPELINE_OFF)
		return ob_error_set(error, OB_USAGE, "the connection is in pipeline mode");
	return ob_pg_send_check(conn, error);
}

bool
ob_pg_takes_utf8(PGconn *conn)
{
	const char *encoding = PQparameterStatus(conn, "client_encoding");

	return encoding != NULL && strcmp(encoding, "UTF8") == 0;
}

int
ob_pg_schema_quote(PGconn *conn, const char *schema, char **quoted, struct ob_error *error)
{
	const char *name = schema == NULL ? "outbox" : schema;

	if (*name == '\0')
		return ob_error_set(error, OB_INVALID, "schema: empty");
	*quoted = PQescapeIdentifier(conn, name, strlen(name));
	if (*quoted == NULL) {
		(void)error_set(error, OB_INVALID, PQerrorMessage(conn));
		ob_error_prefix(error, "schema");
		return OB_INVALID;
	}
	return OB_OK;
}
