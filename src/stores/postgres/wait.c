/*
 * Sleeping until somebody commits: looking again and again, in steps that follow what the last looks found. After a message
 * the next look comes soon, and the longer nothing comes the longer the steps, a quarter of the silence so far: so a
 * message is late by a quarter of the silence before it at most, and an idle outbox is asked twenty times a second.
 *
 * A look costs the server some 50 microseconds and writes nothing; see interval.c. Where it is wanted, who publishes wakes a relay
 * that sleeps: see notify.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "postgres_store.h"

#define STEP_MIN_US 500
/* Who looks as rarely as that sleeps: being woken is worth something. */
#define SLEEP_STEP_US 20000
/* Who fetches nothing is told of commits of others at most so often. */
#define WATCH_US 20000

static int64_t
now_us(const struct postgres_store *store)
{
	return store->base.host->monotonic_us(store->base.host->context);
}

static int64_t
step_us(const struct postgres_store *store)
{
	int64_t step = (now_us(store) - store->found_us) / 4;
	int64_t step_max = store->options->poll_max_ms * 1000;

	if (store->found_us == 0 || step > step_max)
		return step_max;
	return step < STEP_MIN_US ? STEP_MIN_US : step;
}

/* Sleeps for at most `us`; true when it was woken by another thread. */
static bool
sleep_or_wake(struct postgres_store *store, int64_t us)
{
	struct pollfd fds[] = {{.fd = store->wake_fd, .events = POLLIN},
			       {.fd = PQsocket(store->conn), .events = POLLIN}};
	struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
	uint64_t count;

	/* What came with the answer to the look is in libpq's hands: the socket does not tell of it. */
	if (store->asleep && ob_postgres_notified(store))
		return false;
	if (ppoll(fds, store->asleep ? 2 : 1, &time, NULL) <= 0)
		return false;
	if (store->asleep && fds[1].revents != 0)
		(void)ob_postgres_notified(store);
	if (fds[0].revents == 0)
		return false;
	(void)!read(store->wake_fd, &count, sizeof(count));
	return true;
}

/* It sleeps when nothing was found for so long that looks are rare, and wakes up with the first that is found. */
static int
sleep_begin_or_end(struct postgres_store *store, int64_t step, struct ob_error *error)
{
	/* Who fetches nothing, since it is paused for instance, gains nothing by being woken. */
	bool idle = store->acquired && store->seen.text == NULL && step >= SLEEP_STEP_US;

	if (store->asleep && !idle)
		return ob_postgres_awake(store, error);
	if (store->options->notify && !store->asleep && idle && !store->pooled)
		return ob_postgres_fall_asleep(store, error);
	return OB_OK;
}

/* Whether a row is to be seen that was not when `seen` was taken. */
static int
seen_since(struct postgres_store *store, bool *found, struct ob_error *error)
{
	const struct postgres_snapshot *seen = &store->seen;
	struct postgres_answers answers = {0};
	int code;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "SELECT EXISTS (SELECT FROM %s.message WHERE xid = ANY ('{",
			store->schema);
	for (size_t i = 0; i < seen->xip_count; i++)
		ob_postgres_sql(store, "%s%" PRIu64, i > 0 ? "," : "", seen->xip[i]);
	ob_postgres_sql(store,
			"}')) OR EXISTS (SELECT FROM %s.message WHERE xid >= '%" PRIu64 "');",
			store->schema, seen->xmax);
	code = ob_postgres_commit(store, "look", &answers, error);
	if (code == OB_OK)
		*found = ob_postgres_bool(answers.items[0], 0, 0);
	ob_postgres_answers_free(&answers);
	return code;
}

/* For who fetches nothing: rows of transactions that had not ended at the last look; a change, if the lease is held. */
static int
look_for_commits(struct postgres_store *store, bool *found, bool *guarded, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	struct postgres_snapshot now;
	int code;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "SELECT pg_current_snapshot()");
	if (store->acquired) {
		ob_postgres_sql(store, ", EXISTS (SELECT FROM %s.checkpoint AS c WHERE ",
				store->schema);
		ob_postgres_guard(store);
		ob_postgres_sql(store, ")");
	}
	ob_postgres_sql(store, ";");
	code = ob_postgres_commit(store, "look", &answers, error);
	if (code != OB_OK)
		return code;
	*guarded = !store->acquired || ob_postgres_bool(answers.items[0], 0, 1);
	if (!ob_postgres_snapshot_parse(&now, ob_postgres_text(answers.items[0], 0, 0)))
		code = ob_postgres_no_memory(store, error);
	ob_postgres_answers_free(&answers);
	if (code != OB_OK)
		return code;
	*found = store->seen.text == NULL;
	if (!*found && strcmp(store->seen.text, now.text) != 0)
		code = seen_since(store, found, error);
	ob_postgres_snapshot_free(&store->seen);
	store->seen = now;
	return code;
}

int
ob_postgres_look_away(struct postgres_store *store, struct ob_error *error)
{
	bool found, guarded = true;
	int code = look_for_commits(store, &found, &guarded, error);

	if (code == OB_OK && !guarded)
		code = ob_postgres_unguarded(store, error);
	return code;
}

/* There is something to fetch, or the next call has something to say. */
static int
look_once(struct postgres_store *store, bool *found, struct ob_error *error)
{
	bool watches = !store->acquired || store->seen.text != NULL, guarded = true;
	int code = OB_OK;

	*found = false;
	if (watches)
		code = look_for_commits(store, found, &guarded, error);
	else if (store->more || store->known_new)
		*found = store->more || !ob_postgres_points_full(&store->points);
	else
		code = ob_postgres_look(store, found, &guarded, error);
	*found = *found || !guarded;
	return code == OB_BUSY ? OB_OK : code;
}

int
ob_postgres_wait(struct ob_store *base, int64_t timeout_ms, struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	int64_t until_us = now_us(store) + timeout_ms * 1000;
	bool found;

	for (;;) {
		int64_t left_us, sleep_us = store->acquired ? step_us(store) : WATCH_US;
		int code;

		if (store->in_doubt || store->conn == NULL)
			return ob_error_set(error, OB_AGAIN, "%s: not connected", store->name);
		code = sleep_begin_or_end(store, sleep_us, error);
		if (code == OB_OK)
			code = look_once(store, &found, error);
		if (code == OB_OK && found && store->asleep)
			code = ob_postgres_awake(store, error);
		if (code != OB_OK)
			return code;
		/* Not asleep yet, since somebody publishes at this very moment. */
		if (store->options->notify && !store->asleep && !store->pooled &&
		    store->seen.text == NULL && sleep_us > SLEEP_STEP_US)
			sleep_us = SLEEP_STEP_US;
		left_us = until_us - now_us(store);
		if (found || left_us <= 0 ||
		    sleep_or_wake(store, sleep_us < left_us ? sleep_us : left_us))
			return OB_OK;
	}
}

void
ob_postgres_wake(struct ob_store *base)
{
	uint64_t one = 1;

	(void)!write(postgres_store_of(base)->wake_fd, &one, sizeof(one));
}
