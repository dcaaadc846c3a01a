/*
 * Sending statements with a deadline, and what an error of the server means to the caller.
 *
 * A call sends one message of one or more statements (the simple protocol), so a whole transaction costs one round
 * trip, keeps nothing in the session and passes through any proxy. The socket does not block; a server that
 * does not answer within the store's time-out is left, and what it made of the message is not known: OB_AGAIN.
 *
 * A statement of which the server itself says that it failed was certainly not done, with one exception: a COMMIT
 * whose wait for a synchronous standby was cut short succeeds with a warning. What it wrote may be gone after a
 * failover, so that counts as unknown, too.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "postgres_store.h"
#include "text.h"

static int64_t
now_us(const struct postgres_store *store)
{
	return store->base.host->monotonic_us(store->base.host->context);
}

static int
fail_in_doubt(struct postgres_store *store, const char *what, const char *text,
	      struct ob_error *error)
{
	store->in_doubt = true;
	return ob_error_set(error, OB_AGAIN, "%s: %s: %s", store->name, what, text);
}

/* libpq's own text, which ends with a newline and may have several lines. */
static int
fail_connection(struct postgres_store *store, const char *what, struct ob_error *error)
{
	char text[OB_ERROR_TEXT_MAX];

	ob_text_copy(text, sizeof(text), PQerrorMessage(store->conn));
	for (char *at = text; *at != '\0'; at++)
		if (*at == '\n')
			*at = at[1] == '\0' ? '\0' : ' ';
	return fail_in_doubt(store, what, text[0] == '\0' ? "the connection was lost" : text,
			     error);
}

enum ob_code
ob_postgres_code_of(const char *sqlstate)
{
	static const struct {
		const char *prefix;
		enum ob_code code;
	} codes[] = {
	    {"40003", OB_AGAIN},  /* statement_completion_unknown */
	    {"40", OB_BUSY},      /* serialization_failure, deadlock_detected */
	    {"55P03", OB_BUSY},   /* lock_not_available */
	    {"42501", OB_DENIED}, /* insufficient_privilege */
	    {"28", OB_DENIED},    /* invalid authorization */
	    {"3D", OB_NOT_FOUND}, /* no such database */
	    {"3F", OB_SCHEMA},    /* no such schema */
	    {"42", OB_SCHEMA},    /* our statements are right for our tables: these are not ours */
	    {"53300", OB_UNREACHABLE}, /* too_many_connections */
	    {"53", OB_LIMIT},          /* disk_full, out_of_memory */
	    {"54", OB_LIMIT},          /* program_limit_exceeded */
	    {"22", OB_INVALID},        {"23", OB_INVALID}, {"0A", OB_UNSUPPORTED},
	};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (ob_text_starts_with(sqlstate, codes[i].prefix))
			return codes[i].code;
	/* 08, 25006, 57, 58, XX and all others: the connection, or the server, is not what it was. */
	return OB_AGAIN;
}

/* What the server said of a statement. */
static int
fail_statement(struct postgres_store *store, const char *what, const PGresult *result,
	       struct ob_error *error)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	enum ob_code code;

	/* Made by libpq, not by the server: the connection broke. */
	if (sqlstate == NULL)
		return fail_connection(store, what, error);
	code = ob_postgres_code_of(sqlstate);
	text = text == NULL ? "" : text;
	switch (code) {
	case OB_AGAIN:
		store->in_doubt = true;
		break;
	case OB_SCHEMA:
		return ob_error_set(error, code, "%s: %s: %s; look with: outbox doctor %s",
				    store->name, what, text, store->name);
	case OB_DENIED:
		/* Who makes the tables is to own them. */
		if (strcmp(what, "migrate") == 0)
			return ob_error_set(
			    error, code,
			    "%s: %s: %s; making the outbox needs: GRANT CREATE ON DATABASE %s TO %s",
			    store->name, what, text, PQdb(store->conn), PQuser(store->conn));
		return ob_error_set(
		    error, code,
		    "%s: %s: %s; as the owner of the outbox give the right with: GRANT outbox_relay TO %s",
		    store->name, what, text, PQuser(store->conn));
	default:
		break;
	}
	return ob_error_set(error, code, "%s: %s: %s (%s)", store->name, what, text, sqlstate);
}

/* ---- sending and receiving ---- */

struct exchange {
	struct postgres_store *store;
	const char *what;
	int64_t until_us;
	struct ob_error *error;
};

static int
socket_wait(struct exchange *e, short events)
{
	struct pollfd fd = {.fd = PQsocket(e->store->conn), .events = events};
	int64_t left_us = e->until_us - now_us(e->store);
	int ready;

	if (left_us <= 0)
		return fail_in_doubt(e->store, e->what, "the server did not answer in time",
				     e->error);
	ready = poll(&fd, 1, (int)((left_us + 999) / 1000));
	if (ready < 0 && errno != EINTR)
		return fail_in_doubt(e->store, e->what, strerror(errno), e->error);
	return OB_OK;
}

static int
message_send(struct exchange *e, const char *sql)
{
	int code = OB_OK, left;

	if (PQsendQuery(e->store->conn, sql) != 1)
		return fail_connection(e->store, e->what, e->error);
	while (code == OB_OK && (left = PQflush(e->store->conn)) != 0) {
		if (left < 0)
			return fail_connection(e->store, e->what, e->error);
		code = socket_wait(e, POLLIN | POLLOUT);
		if (code == OB_OK && PQconsumeInput(e->store->conn) != 1)
			return fail_connection(e->store, e->what, e->error);
	}
	return code;
}

/* `*result` is NULL at the end of the message's results. */
static int
result_receive(struct exchange *e, PGresult **result)
{
	while (PQisBusy(e->store->conn) == 1) {
		int code = socket_wait(e, POLLIN);

		if (code != OB_OK)
			return code;
		if (PQconsumeInput(e->store->conn) != 1)
			return fail_connection(e->store, e->what, e->error);
	}
	*result = PQgetResult(e->store->conn);
	return OB_OK;
}

static int
copy_receive(struct exchange *e, struct postgres_answers *answers)
{
	char *row;
	int size, code = OB_OK;

	for (;;) {
		size = PQgetCopyData(e->store->conn, &row, 1);
		if (size > 0) {
			if (code == OB_OK && answers != NULL && answers->copied != NULL)
				code =
				    answers->copied(answers->context, row, (size_t)size, e->error);
			PQfreemem(row);
		} else if (size < 0) {
			/* -1: the end; -2: the result that follows says what went wrong. */
			return code;
		} else {
			int waited = socket_wait(e, POLLIN);

			if (waited != OB_OK)
				return waited;
			if (PQconsumeInput(e->store->conn) != 1)
				return fail_connection(e->store, e->what, e->error);
		}
	}
}

/* Takes all results of a message; the first failure counts. */
static int
results_receive(struct exchange *e, struct postgres_answers *answers)
{
	PGresult *result = NULL;
	int first = OB_OK, code;

	for (;;) {
		bool kept = false;

		code = result_receive(e, &result);
		if (code != OB_OK)
			return code;
		if (result == NULL)
			return first;
		switch (PQresultStatus(result)) {
		case PGRES_TUPLES_OK:
			kept = answers != NULL && answers->count < POSTGRES_ANSWERS_MAX;
			if (kept)
				answers->items[answers->count++] = result;
			break;
		case PGRES_COPY_OUT:
			code = copy_receive(e, answers);
			break;
		case PGRES_COMMAND_OK:
		case PGRES_EMPTY_QUERY:
			break;
		default:
			if (first == OB_OK)
				code = fail_statement(e->store, e->what, result, e->error);
		}
		if (!kept)
			PQclear(result);
		if (first == OB_OK)
			first = code;
		if (PQstatus(e->store->conn) == CONNECTION_BAD) {
			e->store->in_doubt = true;
			return first == OB_OK ? fail_connection(e->store, e->what, e->error)
					      : first;
		}
	}
}

static int64_t
timeout_ms(const struct postgres_store *store)
{
	return store->patience_ms > store->options->timeout_ms ? store->patience_ms
							       : store->options->timeout_ms;
}

void
ob_postgres_patience(struct postgres_store *store, int64_t ms)
{
	store->patience_ms = ms;
}

static int
message_run(struct postgres_store *store, const char *what, const char *sql,
	    struct postgres_answers *answers, struct ob_error *error)
{
	struct exchange e = {
	    .store = store,
	    .what = what,
	    .until_us = now_us(store) + timeout_ms(store) * 1000,
	    .error = error,
	};
	int code = message_send(&e, sql);

	return code == OB_OK ? results_receive(&e, answers) : code;
}

int
ob_postgres_run(struct postgres_store *store, const char *what, struct postgres_answers *answers,
		struct ob_error *error)
{
	int code;

	if (store->conn == NULL || store->in_doubt)
		return ob_error_set(error, OB_AGAIN, "%s: %s: not connected", store->name, what);
	if (store->sql.failed)
		return ob_postgres_rollback(store, ob_postgres_no_memory(store, error));
	store->unconfirmed = false;
	code = message_run(store, what, ob_buf_text(&store->sql), answers, error);
	if (code == OB_OK && store->unconfirmed)
		code = fail_in_doubt(store, what,
				     "the wait for the synchronous standby was cut short: what was "
				     "written may be on this server alone",
				     error);
	if (code == OB_OK)
		return OB_OK;
	if (answers != NULL)
		ob_postgres_answers_free(answers);
	return ob_postgres_rollback(store, code);
}

int
ob_postgres_commit(struct postgres_store *store, const char *what, struct postgres_answers *answers,
		   struct ob_error *error)
{
	ob_buf_append_text(&store->sql, "COMMIT");
	return ob_postgres_run(store, what, answers, error);
}

int
ob_postgres_rollback(struct postgres_store *store, int code)
{
	if (!store->in_doubt && PQtransactionStatus(store->conn) != PQTRANS_IDLE &&
	    message_run(store, "rollback", "ROLLBACK", NULL, NULL) != OB_OK)
		store->in_doubt = true;
	return code;
}

void
ob_postgres_notice(void *context, const PGresult *notice)
{
	struct postgres_store *store = context;
	const char *function = PQresultErrorField(notice, PG_DIAG_SOURCE_FUNCTION);

	if (function != NULL && strcmp(function, "SyncRepWaitForLSN") == 0)
		store->unconfirmed = true;
}

void
ob_postgres_answers_free(struct postgres_answers *answers)
{
	for (size_t i = 0; i < answers->count; i++)
		PQclear(answers->items[i]);
	answers->count = 0;
}

/* ---- transactions ---- */

void
ob_postgres_write_append(struct postgres_store *store)
{
	ob_postgres_sql(
	    store,
	    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
	    "SET LOCAL synchronous_commit = on;SET LOCAL lock_timeout = %d;"
	    "SET LOCAL idle_in_transaction_session_timeout = %d;"
	    "SET LOCAL statement_timeout = %lld;SET LOCAL search_path = pg_catalog, pg_temp;",
	    POSTGRES_LOCK_TIMEOUT_MS, POSTGRES_IDLE_TIMEOUT_MS, (long long)timeout_ms(store));
}

void
ob_postgres_begin_write(struct postgres_store *store)
{
	ob_buf_reset(&store->sql);
	ob_postgres_write_append(store);
}

void
ob_postgres_begin_read(struct postgres_store *store)
{
	ob_buf_reset(&store->sql);
	ob_buf_append_text(&store->sql, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;");
}

void
ob_postgres_sql(struct postgres_store *store, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	ob_buf_vappendf(&store->sql, format, args);
	va_end(args);
}

int
ob_postgres_no_memory(const struct postgres_store *store, struct ob_error *error)
{
	return ob_error_set(error, OB_NOMEM, "%s: out of memory", store->name);
}

/* ---- values ---- */

int64_t
ob_postgres_number(const PGresult *result, int row, int column, int64_t if_none)
{
	int64_t value = if_none;

	if (row < PQntuples(result) && PQgetisnull(result, row, column) == 0)
		(void)ob_text_to_int64(PQgetvalue(result, row, column), &value);
	return value;
}

bool
ob_postgres_bool(const PGresult *result, int row, int column)
{
	return row < PQntuples(result) && *PQgetvalue(result, row, column) == 't';
}

const char *
ob_postgres_text(const PGresult *result, int row, int column)
{
	return row < PQntuples(result) ? PQgetvalue(result, row, column) : "";
}

/* Texts of others (a recipient's answer) may be no UTF-8, which libpq refuses to quote. */
static char *
literal_of_any(PGconn *conn, const char *text)
{
	char *copy = strdup(text), *literal = NULL;

	for (char *at = copy; at != NULL && *at != '\0'; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	if (copy != NULL)
		literal = PQescapeLiteral(conn, copy, strlen(copy));
	free(copy);
	return literal;
}

void
ob_postgres_literal(struct postgres_store *store, const char *text)
{
	char *literal;

	if (text == NULL) {
		ob_buf_append_text(&store->sql, "NULL");
		return;
	}
	literal = PQescapeLiteral(store->conn, text, strlen(text));
	if (literal == NULL)
		literal = literal_of_any(store->conn, text);
	if (literal != NULL)
		ob_buf_append_text(&store->sql, literal);
	else
		store->sql.failed = true;
	PQfreemem(literal);
}
