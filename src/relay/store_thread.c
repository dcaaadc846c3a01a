#include "store_jobs.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "host.h"
#include "threads.h"

/* Of a state that flickers not every turn is written. */
#define REPORT_EVERY_MS 200
/* A trim that is overdue by so much comes before fetches. */
#define TRIM_OVERDUE_MS 1000
/* How long the relay may trim when it ends by itself. */
#define TRIM_LAST_MS 2000
/* How long a store that is busy when the relay starts may be so; or, where it is waited for, is asked often. */
#define OPEN_PATIENCE_MS   5000
#define OPEN_PAUSE_MS      1000
#define UNTIL_IDLE_WAIT_MS 20

enum job {
	JOB_NONE,
	JOB_END,
	JOB_SETTLE,
	JOB_ACQUIRE,
	JOB_RENEW,
	JOB_FETCH,
	JOB_HAND_BACK,
	JOB_TRIM,
	JOB_LOOK
};

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
	/* A fetch that was asked for before belongs to the old session: done after the acquire, it would
	   hand out rows of the new one, which the engine would take for void. */
	if (thread->acquire && now >= thread->acquire_at_ms)
		return fetch->placed ? JOB_HAND_BACK : JOB_ACQUIRE;
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
static int
sleep_in_store(struct ob_store_thread *thread, int64_t timeout_ms, struct ob_error *error)
{
	int code;

	thread->in_wait = true;
	pthread_mutex_unlock(&thread->lock);
	code = ob_store_job_wait(thread, timeout_ms, error);
	pthread_mutex_lock(&thread->lock);
	thread->in_wait = false;
	return code == OB_BUSY ? OB_OK : code;
}

/* Under the lock, as above: a fetch has found nothing. */
static void
sleep_for_rows(struct ob_store_thread *thread, int64_t now, int64_t until_ms)
{
	struct ob_error error = {0};
	int64_t timeout_ms = until_ms == NEVER ? thread->config.lease_ms : until_ms - now;
	int code;

	if (thread->config.until_idle)
		timeout_ms = earlier(timeout_ms, UNTIL_IDLE_WAIT_MS);
	code = sleep_in_store(thread, timeout_ms, &error);
	if (code == OB_OK) {
		/* There may be something: the fetch looks again. */
		thread->fetch.try_at_ms = 0;
		return;
	}
	pthread_mutex_unlock(&thread->lock);
	ob_store_job_hand_back(thread, code, &error);
	pthread_mutex_lock(&thread->lock);
}

/* Under the lock, as above: there is no fetch to do, and the lease is held. True when somebody may have committed. */
static bool
sleep_for_changes(struct ob_store_thread *thread, int64_t now, int64_t until_ms)
{
	struct ob_error error = {0};
	int code;

	if (now < thread->look_at_ms) {
		sleep_for_orders(thread, earlier(until_ms, thread->look_at_ms));
		return false;
	}
	code = sleep_in_store(thread, until_ms - now, &error);
	if (code == OB_OK)
		return true;
	pthread_mutex_unlock(&thread->lock);
	ob_store_job_post_failed(thread, code, &error);
	pthread_mutex_lock(&thread->lock);
	return false;
}

static enum job
next_job(struct ob_store_thread *thread)
{
	bool news = false;
	enum job job;
	int64_t now;

	pthread_mutex_lock(&thread->lock);
	while (now = ob_now_ms(), (job = choose(thread, now)) == JOB_NONE) {
		if (thread->fetch.placed)
			sleep_for_rows(thread, now, next_job_at(thread));
		else if (!thread->held || !thread->connected)
			sleep_for_orders(thread, next_job_at(thread));
		else if (news)
			break;
		else
			news = sleep_for_changes(thread, now, next_job_at(thread));
	}
	pthread_mutex_unlock(&thread->lock);
	return job == JOB_NONE ? JOB_LOOK : job;
}

/* ---- the thread ---- */

/* A store that is busy at the start is waited for, as one that is busy later; any other failure is for the caller to show.
   Who ends by itself, or is not the first of this relay, gives up after some time: others try again. */
static int
open_patiently(struct ob_store_thread *thread, struct ob_error *error)
{
	bool gives_up = thread->config.until_idle || thread->config.subscribed, told = false;
	int64_t until = ob_now_ms() + OPEN_PATIENCE_MS;
	int code;

	while ((code = ob_store_job_connect(thread, error)) == OB_BUSY || code == OB_AGAIN) {
		int64_t now = ob_now_ms();
		bool ended;

		if (gives_up && now >= until)
			break;
		if (!gives_up && !told)
			ob_store_job_post_awaited(thread, code, error);
		told = true;
		pthread_mutex_lock(&thread->lock);
		if (!thread->end)
			sleep_for_orders(thread,
					 now + (now < until ? BUSY_PAUSE_MS : OPEN_PAUSE_MS));
		ended = thread->end;
		pthread_mutex_unlock(&thread->lock);
		if (ended)
			break;
	}
	return code;
}

/* A relay that ends when all is sent must not leave the space to one that may never be run for longer. */
static void
trim_last(struct ob_store_thread *thread)
{
	int64_t until = ob_now_ms() + TRIM_LAST_MS;

	while (thread->config.until_idle && thread->release && thread->held && thread->connected &&
	       thread->trim_wanted && ob_now_ms() < until)
		ob_store_job_trim(thread);
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

	ob_store_job_post_opened(thread, open_patiently(thread, &error), &error);
	while ((job = next_job(thread)) != JOB_END) {
		switch (job) {
		case JOB_SETTLE:
			ob_store_job_settle(thread);
			break;
		case JOB_ACQUIRE:
			ob_store_job_acquire(thread);
			break;
		case JOB_RENEW:
			ob_store_job_renew(thread);
			break;
		case JOB_FETCH:
			ob_store_job_fetch(thread);
			break;
		case JOB_HAND_BACK:
			if (!thread->fetch.found_nothing)
				ob_batch_reset(thread->fetch.batch);
			ob_store_job_hand_back(thread, OB_OK, NULL);
			break;
		case JOB_TRIM:
			ob_store_job_trim(thread);
			break;
		case JOB_LOOK:
			ob_store_job_look(thread);
			break;
		case JOB_NONE:
		case JOB_END:
			break;
		}
	}
	trim_last(thread);
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
	thread->subscribed = config->subscribed;
	thread->trim_at_ms = NEVER;
	pthread_mutex_init(&thread->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&thread->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	*out = thread;
	thread->lanes =
	    calloc(config->lanes_max > 0 ? config->lanes_max : 1, sizeof(*thread->lanes));
	thread->look_batch = ob_batch_new(1);
	code = thread->lanes == NULL || thread->look_batch == NULL
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
	int code = ob_thread_start(&thread->thread, store_thread_main, thread, error);

	thread->started = code == OB_OK;
	return code;
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
	ob_batch_free(thread->look_batch);
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

const struct ob_store_ops *
ob_store_thread_ops(const struct ob_store_thread *thread)
{
	return thread->handle.ops;
}

void
ob_store_thread_stats(struct ob_store_thread *thread, struct ob_store_thread_stats *stats)
{
	pthread_mutex_lock(&thread->lock);
	*stats = thread->stats;
	pthread_mutex_unlock(&thread->lock);
}
