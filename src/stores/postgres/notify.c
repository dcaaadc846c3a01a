/*
 * Waking a relay that sleeps, where the option notify asks for it and an application's role has SET outbox.notify = on.
 *
 * A NOTIFY makes the commits of a whole server wait for each other, so outbox.publish sends one only while a relay sleeps: a relay
 * that has found nothing for a while takes an advisory lock, shared with others that sleep, and publish tries for a moment to have it
 * alone. Who cannot have it notifies, now and then because of another publish at the same moment. Nothing rests on it: a message whose
 * transaction was open while the relay fell asleep, and one that was inserted otherwise, is found by looking, as ever.
 *
 * LISTEN and the lock belong to a session of the server's, which a proxy that pools transactions does not give. It shows by the
 * process that the connection was told of and the one that answers.
 */
#include <poll.h>
#include <stdio.h>

#include "postgres_store.h"

/* "obnt" in ASCII, as in 001_outbox.sql. Behind it the schema's hash. */
#define LOCK_CLASS 0x6f626e74

bool
ob_postgres_is_pooled(const struct postgres_store *store, int64_t pid)
{
	return pid != PQbackendPID(store->conn);
}

static void
say_pooled(struct postgres_store *store)
{
	const struct ob_host *host = store->base.host;
	char text[256];

	snprintf(
	    text, sizeof(text),
	    "a proxy stands before the server, so that no notification arrives: it is asked every %lld ms",
	    (long long)store->options->poll_max_ms);
	host->log(host->context, OB_LOG_WARN, text);
}

int
ob_postgres_fall_asleep(struct postgres_store *store, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "SELECT pg_backend_pid();");
	code = ob_postgres_commit(store, "listen", &answers, error);
	if (code != OB_OK)
		return code;
	store->pooled = ob_postgres_is_pooled(store, ob_postgres_number(answers.items[0], 0, 0, 0));
	ob_postgres_answers_free(&answers);
	if (store->pooled) {
		say_pooled(store);
		return OB_OK;
	}
	ob_buf_reset(&store->sql);
	ob_postgres_sql(store,
			"BEGIN ISOLATION LEVEL READ COMMITTED;LISTEN \"%s\";"
			"SELECT pg_try_advisory_lock_shared(%d, hashtext('%s'));",
			store->options->schema, LOCK_CLASS, store->options->schema);
	code = ob_postgres_commit(store, "listen", &answers, error);
	if (code != OB_OK)
		return code;
	/* Not now, because somebody publishes at this moment: at the next look. */
	store->asleep = ob_postgres_bool(answers.items[0], 0, 0);
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

int
ob_postgres_awake(struct postgres_store *store, struct ob_error *error)
{
	store->asleep = false;
	ob_postgres_begin_read(store);
	/* What is notified to others would be kept until the next sleep. */
	ob_postgres_sql(store,
			"UNLISTEN \"%s\";SELECT pg_advisory_unlock_shared(%d, hashtext('%s'));",
			store->options->schema, LOCK_CLASS, store->options->schema);
	return ob_postgres_commit(store, "wake", NULL, error);
}

bool
ob_postgres_notified(struct postgres_store *store)
{
	PGnotify *notify;
	bool came = false;

	/* A connection that broke shows at the next look. */
	if (PQconsumeInput(store->conn) != 1)
		return false;
	while ((notify = PQnotifies(store->conn)) != NULL) {
		PQfreemem(notify);
		came = true;
	}
	return came;
}
