/* The application's connection: what can be done on it, and what PostgreSQL's errors mean to who publishes. */
#ifndef OB_PRODUCER_POSTGRES_CONNECTION_H
#define OB_PRODUCER_POSTGRES_CONNECTION_H

#include <libpq-fe.h>
#include <outbox/error.h>
#include <stdbool.h>

/* OB_OK for a statement without rows that was done, else what went wrong. `user` is who may lack a right. */
int ob_pg_result_check(const PGresult *result, const char *user, struct ob_error *error);

/* Fills `error` from the connection, after a call of libpq that gave no result. */
int ob_pg_connection_error(const PGconn *conn, struct ob_error *error);

/* OB_UNREACHABLE or OB_USAGE, in words, unless a statement can be sent on the connection. */
int ob_pg_send_check(const PGconn *conn, struct ob_error *error);

/* The same unless it can also be waited for: libpq would throw the answer away for which the application waits. */
int ob_pg_idle_check(const PGconn *conn, struct ob_error *error);

/*
 * A connection in another encoding would take the bytes of our UTF-8 for characters of its own. There the server gets bytes, and
 * makes text of them by convert_from(..., 'UTF8').
 */
bool ob_pg_takes_utf8(PGconn *conn);

/* The name as it stands in a statement; NULL: "outbox". OB_INVALID. To be freed by PQfreemem. */
int ob_pg_schema_quote(PGconn *conn, const char *schema, char **quoted, struct ob_error *error);

#endif
