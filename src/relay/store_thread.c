#include "store_thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "crash.h"
#include "handles.h"
#include "host.h"

/* A renewal or a trim that found the store busy is tried again so soon. */
#define BUSY_PAUSE_MS 100
/* Of a state that flickers not every turn is written. */
#define REPORT_EVERY_MS 200
/* Space is given back so long after a settle that freed it, before everything else when so much later; piece by piece with a
   pause, so that the application's writers are let in between. */
#define TRIM_AFTER_MS   1000
#define TRIM_OVERDUE_MS 2000
#define TRIM_PAUSE_MS   20
/* How long a store that is busy when the relay starts may be so. */
#define OPEN_PATIENCE_MS   5000
#define UNTIL_IDLE_WAIT_MS 20
#define NEVER              INT64_MAX

enum job {
	JOB_NONE,
	JOB_END,
	JOB_SETTLE,
	JOB_ACQUIRE,
	JOB_RENEW,
	JOB_FETCH,
	JOB_HAND_BACK,
	JOB_TRIM
};

struct fetch_order {
	bool placed;
	bool may_wait;
	bool found_nothing; /* was tried; now waits */
	int64_t try_at_ms;  /* a parked head is due then */
	struct ob_fetch fetch;
	struct ob_batch *batch;
};

struct ob_store_thread {
	struct ob_store_thread_config config;
	struct ob_store_handle handle;
	struct ob_parked_lane *lanes;
	pthread_t thread;
	bool started;

	/* The store thread's own. */
	bool connected;
	bool subscribed;
	bool held;
	int64_t renew_at_ms;
	int64_t reported_at_ms;
	int64_t trim_at_ms;
	uint64_t settled_through;
	bool trim_wanted;
	unsigned empty_fetches;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Below: under the lock. */
	bool end;
	bool release;
	bool acquire;
	int64_t acquire_at_ms;
	const struct ob_settle *settle;
	struct fetch_order fetch;
	bool stop_waiting; /* once */
	bool never_wait;   /* from now on */
	bool in_wait;      /* the thread is in the store's wait, or about to be */
	bool state_changed;
	struct ob_store_thread_state state;
	struct ob_store_answer answers[OB_STORE_ANSWERS_MAX];
	size_t answer_count;
	struct ob_store_thread_stats stats;
};

/* ---- answers ---- */

/* A second renewal that nobody took yet joins the first: the worse code counts, the later time. */
static bool
answer_joins(struct ob_store_thread *thread, const struct ob_store_answer *answer)
{
	if (answer->kind != OB_STORE_RENEWED)
		return false;
	for (size_t i = 0; i < thread->answer_count; i++) {
		struct ob_store_answer *other = &thread->answers[i];

		if (other->kind != OB_STORE_RENEWED)
			continue;
		if (other->code == OB_OK)
			*other = *answer;
		return true;
	}
	return false;
}

static void
post(struct ob_store_thread *thread, const struct ob_store_answer *answer)
{
	pthread_mutex_lock(&thread->lock);
	if (!answer_joins(thread, answer)) {
		OB_CHECK(thread->answer_count < OB_STORE_ANSWERS_MAX);
		thread->answers[thread->answer_count++] = *answer;
	}
	if (answer->code != OB_OK && answer->code != OB_BUSY)
		thread->stats.errors++;
	pthread_mutex_unlock(&thread->lock);
	thread->config.notify(thread->config.context);
}

static void
post_code(struct ob_store_thread *thread, enum ob_store_answer_kind kind, int code,
	  const struct ob_error *error)
{
	struct ob_store_answer answer = {.kind = kind, .code = (enum ob_code)code};

	if (code != OB_OK)
		memcpy(answer.text, error->text, sizeof(answer.text));
	post(thread, &answer);
}

static int
fail_not_connected(struct ob_error *error)
{
	return ob_error_set(error, OB_AGAIN, "the connection was given up");
}

/* Draws the conclusions of a code: is the lease still ours, is the connection still good? */
static void
heed(struct ob_store_thread *thread, int code)
{
	switch (code) {
	case OB_OK:
	case OB_BUSY:
	case OB_LIMIT:
	case OB_NOMEM:
	case OB_INVALID:
		return;
	case OB_STALE:
	case OB_CHANGED:
		thread->held = false;
		return;
	default:
		thread->held = false;
		thread->connected = false;
	}
}

/* ---- the jobs ---- */

static int
connect_store(struct ob_store_thread *thread, struct ob_error *error)
{
	int code = ob_store_handle_open(&thread->handle, false, false, error);

	if (code == OB_OK && !thread->subscribed) {
		code = thread->handle.ops->subscribe(thread->handle.store,
						     &thread->config.subscription, error);
		thread->subscribed = code == OB_OK;
	}
	thread->connected = code == OB_OK;
	return code;
}

static void
do_acquire(struct ob_store_thread *thread)
{
	struct ob_store_answer answer = {.kind = OB_STORE_ACQUIRED, .asked_at_ms = ob_now_ms()};
	struct ob_lease_request request = {
	    .subscription = thread->config.subscription.name,
	    .owner = thread->config.owner,
	    .lease_ms = thread->config.lease_ms,
	    .lanes = thread->lanes,
	    .lanes_max = thread->config.lanes_max,
	};
	struct ob_error error = {0};
	int code = OB_OK;

	if (!thread->connected) {
		code = connect_store(thread, &error);
		pthread_mutex_lock(&thread->lock);
		thread->stats.reconnects++;
		pthread_mutex_unlock(&thread->lock);
	}
	if (code == OB_OK)
		code = thread->handle.ops->acquire(thread->handle.store, &request, &answer.acquired,
						   &error);
	heed(thread, code);
	if (code == OB_OK) {
		thread->held = answer.acquired.held;
		thread->renew_at_ms = answer.asked_at_ms + thread->config.lease_ms * 3 / 10;
		thread->reported_at_ms = 0;
		pthread_mutex_lock(&thread->lock);
		thread->state_changed = true;
		pthread_mutex_unlock(&thread->lock);
		if (!answer.acquired.goes_on)
			thread->settled_through = 0;
	}
	answer.code = (enum ob_code)code;
	memcpy(answer.text, error.text, sizeof(answer.text));
	pthread_mutex_lock(&thread->lock);
	thread->acquire = false;
	pthread_mutex_unlock(&thread->lock);
	post(thread, &answer);
}

static void
do_renew(struct ob_store_thread *thread)
{
	struct ob_store_answer answer = {.kind = OB_STORE_RENEWED, .asked_at_ms = ob_now_ms()};
	struct ob_store_thread_state copy;
	struct ob_relay_state state;
	struct ob_error error = {0};
	int code;

	pthread_mutex_lock(&thread->lock);
	copy = thread->state;
	thread->state_changed = false;
	pthread_mutex_unlock(&thread->lock);
	state = (struct ob_relay_state){
	    .state = copy.state,
	    .code = copy.code,
	    .text = copy.text,
	    .since_ms = answer.asked_at_ms - copy.since_ms,
	    .delivered = copy.delivered,
	};
	code = thread->handle.ops->renew(thread->handle.store,
					 copy.state[0] != '\0' ? &state : NULL, &error);
	heed(thread, code);
	thread->reported_at_ms = answer.asked_at_ms;
	thread->renew_at_ms = answer.asked_at_ms +
			      (code == OB_BUSY ? BUSY_PAUSE_MS : thread->config.lease_ms * 3 / 10);
	if (code == OB_BUSY)
		return;
	answer.code = (enum ob_code)code;
	memcpy(answer.text, error.text, sizeof(answer.text));
	post(thread, &answer);
}

static void
do_settle(struct ob_store_thread *thread)
{
	const struct ob_settle *settle = thread->settle;
	struct ob_error error = {0};
	int code;

	if (settle->through > thread->settled_through || settle->outcome_count > 0)
		OB_CRASH_POINT("C6");
	code = thread->connected ? thread->handle.ops->settle(thread->handle.store, settle, &error)
				 : fail_not_connected(&error);
	heed(thread, code);
	if (code == OB_OK) {
		if (settle->through > thread->settled_through && !thread->trim_wanted) {
			thread->trim_wanted = true;
			thread->trim_at_ms = ob_now_ms() + TRIM_AFTER_MS;
		}
		thread->settled_through = settle->through;
		OB_CRASH_POINT("C8");
	}
	pthread_mutex_lock(&thread->lock);
	thread->settle = NULL;
	/* Whether to go on waiting is the engine's to say again after each settle. */
	if (thread->fetch.found_nothing)
		thread->stop_waiting = true;
	pthread_mutex_unlock(&thread->lock);
	post_code(thread, OB_STORE_SETTLED, code, &error);
}

static void
hand_back(struct ob_store_thread *thread, int code, const struct ob_error *error)
{
	struct ob_store_answer answer = {.kind = OB_STORE_FETCHED, .code = (enum ob_code)code};

	if (code != OB_OK)
		memcpy(answer.text, error->text, sizeof(answer.text));
	pthread_mutex_lock(&thread->lock);
	answer.batch = thread->fetch.batch;
	thread->fetch = (struct fetch_order){0};
	thread->stop_waiting = false;
	pthread_mutex_unlock(&thread->lock);
	thread->empty_fetches = answer.batch->count == 0 ? thread->empty_fetches + 1 : 0;
	post(thread, &answer);
}

/* Only this thread changes the order between its placing and its answer, so it is read without the lock. */
static void
do_fetch(struct ob_store_thread *thread)
{
	struct fetch_order *order = &thread->fetch;
	struct ob_error error = {0};
	bool patient;
	int code;

	OB_CRASH_POINT("C1");
	ob_batch_reset(order->batch);
	code = thread->connected ? thread->handle.ops->fetch(thread->handle.store, &order->fetch,
							     order->batch, &error)
				 : fail_not_connected(&error);
	heed(thread, code);
	patient = order->may_wait;
	if (thread->config
		.until_idle) /* The first one is answered at once, then each after a short wait. */
		patient = patient && thread->empty_fetches > 0 && !order->found_nothing;
	if (code != OB_OK || order->batch->count > 0 || order->batch->passed || !patient) {
		hand_back(thread, code, &error);
		return;
	}
	order->found_nothing = true;
	order->try_at_ms =
	    order->batch->next_due_ms < 0 ? NEVER : ob_now_ms() + order->batch->next_due_ms;
}

static void
do_trim(struct ob_store_thread *thread)
{
	struct ob_error error = {0};
	uint64_t rows = 0;
	bool again = false;
	int code = thread->handle.ops->trim(thread->handle.store, &rows, &again, &error);

	heed(thread, code);
	thread->trim_wanted = (code == OB_OK && again) || code == OB_BUSY;
	thread->trim_at_ms = ob_now_ms() + (code == OB_BUSY ? BUSY_PAUSE_MS : TRIM_PAUSE_MS);
	pthread_mutex_lock(&thread->lock);
	thread->stats.trimmed += rows;
	pthread_mutex_unlock(&thread->lock);
	/* The engine hears of a connection that is in doubt as of a renewal that failed. */
	if (!thread->held)
		post_code(thread, OB_STORE_RENEWED, code, &error);
}

/* ---- which job is next ---- */

static int64_t
renewal_due(const struct ob_store_thread *thread)
{
	if (!thread->held)
		return NEVER;
	if (thread->state_changed && thread->reported_at_ms + REPORT_EVERY_MS < thread->renew_at_ms)
		return thread->reported_at_ms + REPORT_EVERY_MS;
	return thread->renew_at_ms;
}

static int64_t
trim_due(const struct ob_store_thread *thread)
{
	return thread->held && thread->trim_wanted ? thread->trim_at_ms : NEVER;
}

/* Under the lock. */
static enum job
choose(const struct ob_store_thread *thread, int64_t now)
{
	const struct fetch_order *fetch = &thread->fetch;

	if (thread->end)
		return JOB_END;
	if (thread->settle != NULL)
		return JOB_SETTLE;
	if (thread->acquire && now >= thread->acquire_at_ms)
		return JOB_ACQUIRE;
	if (now >= renewal_due(thread))
		return JOB_RENEW;
	if (trim_due(thread) <= now - TRIM_OVERDUE_MS)
		return JOB_TRIM;
	if (fetch->placed && !fetch->found_nothing)
		return JOB_FETCH;
	if (fetch->placed &&
	    (thread->stop_waiting || thread->never_wait || thread->acquire || !thread->connected))
		return JOB_HAND_BACK;
	if (fetch->placed && now >= fetch->try_at_ms)
		return JOB_FETCH;
	return now >= trim_due(thread) ? JOB_TRIM : JOB_NONE;
}

static int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Under the lock: when there will be a job without anybody placing an order. */
static int64_t
next_job_at(const struct ob_store_thread *thread)
{
	int64_t at = earlier(renewal_due(thread), trim_due(thread));

	if (thread->acquire)
		at = earlier(at, thread->acquire_at_ms);
	if (thread->fetch.placed)
		at = earlier(at, thread->fetch.try_at_ms);
	return at;
}

/* Under the lock: sleeps until an order comes or the time has come. */
static void
sleep_for_orders(struct ob_store_thread *thread, int64_t until_ms)
{
	struct timespec at = {.tv_sec = (time_t)(until_ms / 1000),
			      .tv_nsec = (until_ms % 1000) * 1000000};

	if (until_ms == NEVER)
		pthread_cond_wait(&thread->changed, &thread->lock);
	else
		pthread_cond_timedwait(&thread->changed, &thread->lock, &at);
}

/* Under the lock, which is let go meanwhile: waits for the store to have something, or for an order, whose
   placing wakes the store. */
static void
sleep_in_store(struct ob_store_thread *thread, int64_t now, int64_t until_ms)
{
	struct ob_error error = {0};
	int64_t timeout_ms = until_ms == NEVER ? thread->config.lease_ms : until_ms - now;
	int code;

	if (thread->config.until_idle)
		timeout_ms = earlier(timeout_ms, UNTIL_IDLE_WAIT_MS);
	thread->in_wait = true;
	pthread_mutex_unlock(&thread->lock);
	code = thread->handle.ops->wait(thread->handle.store, timeout_ms, &error);
	heed(thread, code);
	pthread_mutex_lock(&thread->lock);
	thread->in_wait = false;
	if (code == OB_OK || code == OB_BUSY) {
		/* There may be something: the fetch looks again. */
		thread->fetch.try_at_ms = 0;
		return;
	}
	pthread_mutex_unlock(&thread->lock);
	hand_back(thread, code, &error);
	pthread_mutex_lock(&thread->lock);
}

static enum job
next_job(struct ob_store_thread *thread)
{
	enum job job;
	int64_t now;

	pthread_mutex_lock(&thread->lock);
	while (now = ob_now_ms(), (job = choose(thread, now)) == JOB_NONE) {
		if (thread->fetch.placed)
			sleep_in_store(thread, now, next_job_at(thread));
		else
			sleep_for_orders(thread, next_job_at(thread));
	}
	pthread_mutex_unlock(&thread->lock);
	return job;
}

/* ---- the thread ---- */

/* At the start a busy store gets some time; any other failure is for the caller to show. */
static int
open_patiently(struct ob_store_thread *thread, struct ob_error *error)
{
	int64_t until = ob_now_ms() + OPEN_PATIENCE_MS;
	int code;

	while ((code = connect_store(thread, error)) == OB_BUSY || code == OB_AGAIN) {
		bool ended;

		if (ob_now_ms() >= until)
			break;
		pthread_mutex_lock(&thread->lock);
		sleep_for_orders(thread, ob_now_ms() + BUSY_PAUSE_MS);
		ended = thread->end;
		pthread_mutex_unlock(&thread->lock);
		if (ended)
			break;
	}
	return code;
}

static void
release_lease(struct ob_store_thread *thread)
{
	struct ob_error error = {0};

	if (!thread->release || !thread->held || !thread->connected)
		return;
	if (thread->handle.ops->release(thread->handle.store, &error) != OB_OK)
		ob_host_say(thread->config.host, OB_LOG_WARN, "release: %s", error.text);
}

static void *
store_thread_main(void *argument)
{
	struct ob_store_thread *thread = argument;
	struct ob_error error = {0};
	enum job job;

	post_code(thread, OB_STORE_OPENED, open_patiently(thread, &error), &error);
	while ((job = next_job(thread)) != JOB_END) {
		switch (job) {
		case JOB_SETTLE:
			do_settle(thread);
			break;
		case JOB_ACQUIRE:
			do_acquire(thread);
			break;
		case JOB_RENEW:
			do_renew(thread);
			break;
		case JOB_FETCH:
			do_fetch(thread);
			break;
		case JOB_HAND_BACK:
			hand_back(thread, OB_OK, NULL);
			break;
		case JOB_TRIM:
			do_trim(thread);
			break;
		case JOB_NONE:
		case JOB_END:
			break;
		}
	}
	release_lease(thread);
	thread->handle.ops->close(thread->handle.store);
	thread->connected = false;
	return NULL;
}

int
ob_store_thread_new(const struct ob_store_thread_config *config, struct ob_store_thread **out,
		    struct ob_error *error)
{
	struct ob_store_thread *thread = calloc(1, sizeof(*thread));
	pthread_condattr_t attributes;
	int code;

	*out = NULL;
	if (thread == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	thread->config = *config;
	thread->trim_at_ms = NEVER;
	pthread_mutex_init(&thread->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&thread->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	*out = thread;
	thread->lanes =
	    calloc(config->lanes_max > 0 ? config->lanes_max : 1, sizeof(*thread->lanes));
	code = thread->lanes == NULL
		   ? ob_error_set(error, OB_NOMEM, "out of memory")
		   : ob_store_handle_init(&thread->handle, config->url, config->options,
					  config->option_count, config->host, error);
	if (code != OB_OK) {
		ob_store_thread_free(thread);
		*out = NULL;
	}
	return code;
}

int
ob_store_thread_start(struct ob_store_thread *thread, struct ob_error *error)
{
	sigset_t all, before;
	int failed;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&thread->thread, NULL, store_thread_main, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed != 0)
		return ob_error_set(error, OB_LIMIT, "cannot start a thread: %s", strerror(failed));
	thread->started = true;
	return OB_OK;
}

/* Under the lock, after an order was placed. `in_wait` says that the store is open and stays so. */
static void
rouse(struct ob_store_thread *thread)
{
	if (thread->in_wait)
		thread->handle.ops->wake(thread->handle.store);
	else
		pthread_cond_signal(&thread->changed);
}

void
ob_store_thread_end(struct ob_store_thread *thread, bool release)
{
	if (!thread->started)
		return;
	pthread_mutex_lock(&thread->lock);
	thread->end = true;
	thread->release = release;
	rouse(thread);
	pthread_mutex_unlock(&thread->lock);
	pthread_join(thread->thread, NULL);
	thread->started = false;
}

void
ob_store_thread_free(struct ob_store_thread *thread)
{
	if (thread == NULL)
		return;
	ob_store_thread_end(thread, false);
	ob_batch_free(thread->fetch.batch);
	for (size_t i = 0; i < thread->answer_count; i++)
		ob_batch_free(thread->answers[i].batch);
	ob_store_handle_free(&thread->handle);
	pthread_cond_destroy(&thread->changed);
	pthread_mutex_destroy(&thread->lock);
	free(thread->lanes);
	free(thread);
}

/* ---- the loop thread's side ---- */

void
ob_store_thread_acquire(struct ob_store_thread *thread, int64_t not_before_ms)
{
	pthread_mutex_lock(&thread->lock);
	OB_CHECK(!thread->acquire);
	thread->acquire = true;
	thread->acquire_at_ms = not_before_ms;
	rouse(thread);
	pthread_mutex_unlock(&thread->lock);
}

void
ob_store_thread_fetch(struct ob_store_thread *thread, const struct ob_fetch *fetch, bool may_wait,
		      struct ob_batch *batch)
{
	pthread_mutex_lock(&thread->lock);
	OB_CHECK(!thread->fetch.placed);
	thread->fetch = (struct fetch_order){
	    .placed = true,
	    .may_wait = may_wait,
	    .try_at_ms = NEVER,
	    .fetch = *fetch,
	    .batch = batch,
	};
	rouse(thread);
	pthread_mutex_unlock(&thread->lock);
}

void
ob_store_thread_settle(struct ob_store_thread *thread, const struct ob_settle *settle)
{
	pthread_mutex_lock(&thread->lock);
	OB_CHECK(thread->settle == NULL);
	thread->settle = settle;
	rouse(thread);
	pthread_mutex_unlock(&thread->lock);
}

void
ob_store_thread_stop_waiting(struct ob_store_thread *thread, bool from_now_on)
{
	pthread_mutex_lock(&thread->lock);
	if (from_now_on)
		thread->never_wait = true;
	if (thread->fetch.placed)
		thread->stop_waiting = true;
	rouse(thread);
	pthread_mutex_unlock(&thread->lock);
}

void
ob_store_thread_report(struct ob_store_thread *thread, const struct ob_store_thread_state *state)
{
	pthread_mutex_lock(&thread->lock);
	if (strcmp(thread->state.state, state->state) != 0 ||
	    strcmp(thread->state.code, state->code) != 0) {
		thread->state_changed = true;
		rouse(thread);
	}
	thread->state = *state;
	pthread_mutex_unlock(&thread->lock);
}

size_t
ob_store_thread_take(struct ob_store_thread *thread, struct ob_store_answer *answers)
{
	size_t count;

	pthread_mutex_lock(&thread->lock);
	count = thread->answer_count;
	memcpy(answers, thread->answers, count * sizeof(*answers));
	thread->answer_count = 0;
	pthread_mutex_unlock(&thread->lock);
	return count;
}

const struct ob_parked_lane *
ob_store_thread_lanes(const struct ob_store_thread *thread)
{
	return thread->lanes;
}

void
ob_store_thread_stats(struct ob_store_thread *thread, struct ob_store_thread_stats *stats)
{
	pthread_mutex_lock(&thread->lock);
	*stats = thread->stats;
	pthread_mutex_unlock(&thread->lock);
}
