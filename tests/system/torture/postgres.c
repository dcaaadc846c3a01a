/* The torture's writers on PostgreSQL. The tables are made by postgres.sql. */
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "driver.h"

#define SQL_MAX 8192

static PGconn *
connection(struct session *session)
{
	return session->handle;
}

static void
note_error(struct session *session, const char *sql)
{
	snprintf(session->error, sizeof(session->error), "%.200s: %s", sql,
		 PQerrorMessage(connection(session)));
}

/* Classes that a writer of correct SQL may meet: a conflict with others, or the server going down. */
static enum outcome
outcome_of(struct session *session, const PGresult *result, const char *sql)
{
	static const char *const conflicts[] = {"40001", "40P01", "55P03"};
	const char *state;

	switch (PQresultStatus(result)) {
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
		return OUTCOME_DONE;
	default:
		break;
	}
	note_error(session, sql);
	state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	for (size_t i = 0; state != NULL && i < sizeof(conflicts) / sizeof(conflicts[0]); i++)
		if (strcmp(state, conflicts[i]) == 0)
			return OUTCOME_REFUSED;
	/* 57P: the administrator ends the server; 08: the proxy has lost it. */
	if (PQstatus(connection(session)) != CONNECTION_OK || state == NULL ||
	    strncmp(state, "57P", 3) == 0 || strncmp(state, "08", 2) == 0)
		return OUTCOME_BROKEN;
	/* Anything else is a wrong test, which must not pass as a rollback. */
	fprintf(stderr, "torture-writers: %s\n", session->error);
	exit(3);
}

__attribute__((format(printf, 2, 3))) static enum outcome
run(struct session *session, const char *format, ...)
{
	char sql[SQL_MAX];
	va_list arguments;
	PGresult *result;
	enum outcome outcome;
	int size;

	va_start(arguments, format);
	size = vsnprintf(sql, sizeof(sql), format, arguments);
	va_end(arguments);
	if (size < 0 || (size_t)size >= sizeof(sql))
		abort();
	result = PQexec(connection(session), sql);
	outcome = outcome_of(session, result, sql);
	PQclear(result);
	return outcome;
}

static void
postgres_close(struct session *session, bool rudely)
{
	if (session->handle == NULL)
		return;
	/* Without a Terminate message the server learns of it only from the socket. */
	if (rudely && PQsocket(connection(session)) >= 0)
		shutdown(PQsocket(connection(session)), SHUT_RDWR);
	PQfinish(connection(session));
	session->handle = NULL;
}

static void
ignore_notice(void *unused, const char *text)
{
	(void)unused;
	(void)text;
}

static enum outcome
postgres_open(struct session *session)
{
	session->handle = PQconnectdb(session->url);
	if (PQstatus(connection(session)) == CONNECTION_OK) {
		PQsetNoticeProcessor(connection(session), ignore_notice, NULL);
		return OUTCOME_DONE;
	}
	note_error(session, "connect");
	postgres_close(session, false);
	return OUTCOME_BROKEN;
}

static enum outcome
postgres_begin(struct session *session, enum isolation isolation, bool lazy_commit)
{
	static const char *const names[] = {
	    [READ_COMMITTED] = "READ COMMITTED",
	    [REPEATABLE_READ] = "REPEATABLE READ",
	    [SERIALIZABLE] = "SERIALIZABLE",
	};

	return run(session, "BEGIN ISOLATION LEVEL %s%s", names[isolation],
		   lazy_commit ? "; SET LOCAL synchronous_commit = off" : "");
}

static enum outcome
postgres_number_early(struct session *session)
{
	return run(session, "INSERT INTO torture.scrap VALUES (1)");
}

static enum outcome
take_numbers(struct session *session, const struct messages *messages, int64_t *before)
{
	char sql[256];
	PGresult *result;
	enum outcome outcome;

	snprintf(sql, sizeof(sql),
		 "UPDATE torture.account SET number = number + %u, nonces = nonces # %lld"
		 " WHERE key = %u RETURNING number - %u",
		 messages->count, (long long)nonces_of(messages), messages->key, messages->count);
	result = PQexec(connection(session), sql);
	outcome = outcome_of(session, result, sql);
	if (outcome == OUTCOME_DONE)
		*before = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return outcome;
}

/* seq is given as DEFAULT, as some object mappers do. */
static enum outcome
write_values(struct session *session, const struct messages *messages, int64_t before)
{
	char sql[SQL_MAX];
	size_t used = (size_t)snprintf(
	    sql, sizeof(sql),
	    "INSERT INTO outbox.message (topic, partition_key, payload, seq) VALUES ");

	for (uint32_t i = 1; i <= messages->count; i++)
		used += (size_t)snprintf(
		    sql + used, sizeof(sql) - used,
		    "%s('torture', 'k%u', torture.payload(%u, %lld, %lld, %u), DEFAULT)",
		    i > 1 ? ", " : "", messages->key, messages->key, (long long)(before + i),
		    (long long)(messages->base + i), messages->padding);
	return run(session, "%s", sql);
}

static enum outcome
write_by_number(struct session *session, const struct messages *messages)
{
	unsigned key = messages->key;
	long long base = messages->base;
	int64_t before = 0;
	enum outcome outcome = take_numbers(session, messages, &before);

	if (outcome != OUTCOME_DONE)
		return outcome;
	if (messages->way == WAY_VALUES)
		return write_values(session, messages, before);
	if (messages->way == WAY_PUBLISH)
		return run(session,
			   "SELECT torture.publish('k%u', torture.payload(%u, %lld, %lld, %u))",
			   key, key, (long long)before + 1, base + 1, messages->padding);
	return run(session,
		   "INSERT INTO outbox.message (topic, partition_key, payload)"
		   " SELECT 'torture', 'k%u', torture.payload(%u, %lld + i, %lld + i, %u)"
		   " FROM generate_series(1, %u) i",
		   key, key, (long long)before, base, messages->padding, messages->count);
}

static enum outcome
postgres_write(struct session *session, const struct messages *messages)
{
	unsigned key = messages->key;

	switch (messages->way) {
	case WAY_ONE_STATEMENT:
		return run(session,
			   "WITH taken AS (UPDATE torture.account SET number = number + %u,"
			   " nonces = nonces # %lld WHERE key = %u RETURNING number - %u AS before)"
			   " INSERT INTO outbox.message (topic, partition_key, payload)"
			   " SELECT 'torture', 'k%u', torture.payload(%u, before + i, %lld + i, %u)"
			   " FROM taken, generate_series(1, %u) i",
			   messages->count, (long long)nonces_of(messages), key, messages->count,
			   key, key, (long long)messages->base, messages->padding, messages->count);
	case WAY_FUNCTION:
		return run(session,
			   "INSERT INTO outbox.message (topic, partition_key, payload)"
			   " VALUES ('torture', 'k%u', torture.take(%u, %lld, %u))",
			   key, key, (long long)messages->base + 1, messages->padding);
	default:
		return write_by_number(session, messages);
	}
}

static enum outcome
postgres_savepoint(struct session *session)
{
	return run(session, "SAVEPOINT torture");
}

static enum outcome
postgres_rollback_to_savepoint(struct session *session)
{
	return run(session, "ROLLBACK TO SAVEPOINT torture");
}

static enum outcome
postgres_commit(struct session *session)
{
	return run(session, "COMMIT");
}

static enum outcome
postgres_rollback(struct session *session)
{
	return run(session, "ROLLBACK");
}

static enum outcome
postgres_prepare(struct session *session, const char *name)
{
	return run(session, "PREPARE TRANSACTION 'torture-%s'", name);
}

static enum outcome
postgres_decide(struct session *session, bool commit, bool all, bool *found)
{
	char sql[256], name[128] = "";
	PGresult *result;
	enum outcome outcome;

	snprintf(sql, sizeof(sql),
		 "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'torture-%%' AND prepared <"
		 " now() - %s ORDER BY prepared LIMIT 1",
		 all ? "interval '0'" : "random() * interval '400 ms'");
	result = PQexec(connection(session), sql);
	outcome = outcome_of(session, result, sql);
	*found = outcome == OUTCOME_DONE && PQntuples(result) > 0;
	if (*found)
		snprintf(name, sizeof(name), "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	if (!*found)
		return outcome;
	return run(session, "%s PREPARED '%s'", commit ? "COMMIT" : "ROLLBACK", name);
}

const struct driver torture_postgres = {
    .scheme = "postgresql",
    .open = postgres_open,
    .close = postgres_close,
    .begin = postgres_begin,
    .number_early = postgres_number_early,
    .write = postgres_write,
    .savepoint = postgres_savepoint,
    .rollback_to_savepoint = postgres_rollback_to_savepoint,
    .commit = postgres_commit,
    .rollback = postgres_rollback,
    .prepare = postgres_prepare,
    .decide = postgres_decide,
};
