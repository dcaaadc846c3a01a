#include "store_jobs.h"

#include <string.h>

#include "check.h"
#include "crash.h"
#include "host.h"

/* Space is given back so long after a settle that freed it, piece by piece with a pause, so that the application's
   writers are let in between. */
#define TRIM_AFTER_MS 1000
#define TRIM_PAUSE_MS 20
/* Somebody committed while nothing is to be read: what it was is looked at no more often. */
#define LOOK_EVERY_MS 50

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
		thread->held = thread->connected = false;
	}
}

static void
trim_soon(struct ob_store_thread *thread)
{
	if (thread->trim_wanted)
		return;
	thread->trim_wanted = true;
	thread->trim_at_ms = ob_now_ms() + TRIM_AFTER_MS;
}

/* ---- the jobs ---- */

int
ob_store_job_connect(struct ob_store_thread *thread, struct ob_error *error)
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

void
ob_store_job_acquire(struct ob_store_thread *thread)
{
	struct ob_store_answer answer = {.kind = OB_STORE_ACQUIRED, .asked_at_ms = ob_now_ms()};
	struct ob_lease_request request = {
	    .subscription = thread->config.subscription.name,
	    .shard = thread->config.shard,
	    .owner = thread->config.owner,
	    .member = thread->config.member,
	    .lease_ms = thread->config.lease_ms,
	    .lanes = thread->lanes,
	    .lanes_max = thread->config.lanes_max,
	};
	struct ob_error error = {0};
	int code;

	/* The instance connects anew by itself. Another one would not know what was there before, and would take a
	   database that went back in time for its own. */
	if (!thread->connected) {
		pthread_mutex_lock(&thread->lock);
		thread->stats.reconnects++;
		pthread_mutex_unlock(&thread->lock);
	}
	code =
	    thread->handle.ops->acquire(thread->handle.store, &request, &answer.acquired, &error);
	heed(thread, code);
	if (code == OB_OK) {
		thread->connected = true;
		thread->held = answer.acquired.held;
		thread->renew_at_ms = answer.asked_at_ms + thread->config.lease_ms * 3 / 10;
		thread->reported_at_ms = 0;
		pthread_mutex_lock(&thread->lock);
		thread->state_changed = true;
		pthread_mutex_unlock(&thread->lock);
		if (!answer.acquired.goes_on)
			thread->settled_through = 0;
		thread->passed_told = false;
		/* The relay before may have left something to give back. */
		if (thread->held)
			trim_soon(thread);
	}
	answer.code = (enum ob_code)code;
	memcpy(answer.text, error.text, sizeof(answer.text));
	pthread_mutex_lock(&thread->lock);
	thread->acquire = false;
	pthread_mutex_unlock(&thread->lock);
	post(thread, &answer);
}

void
ob_store_job_renew(struct ob_store_thread *thread)
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

void
ob_store_job_post_failed(struct ob_store_thread *thread, int code, const struct ob_error *error)
{
	post_code(thread, OB_STORE_RENEWED, code, error);
}

void
ob_store_job_settle(struct ob_store_thread *thread)
{
	const struct ob_settle *settle = thread->settle;
	struct ob_error error = {0};
	int code;

	if (settle->through > thread->settled_through || settle->outcome_count > 0)
		OB_CRASH_POINT("C6");
	code = thread->handle.ops->settle(thread->handle.store, settle, &error);
	heed(thread, code);
	if (code == OB_OK) {
		if (settle->through > thread->settled_through)
			trim_soon(thread);
		thread->settled_through = settle->through;
		thread->passed_told = false;
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

void
ob_store_job_hand_back(struct ob_store_thread *thread, int code, const struct ob_error *error)
{
	struct ob_store_answer answer = {.kind = OB_STORE_FETCHED, .code = (enum ob_code)code};

	if (code != OB_OK)
		memcpy(answer.text, error->text, sizeof(answer.text));
	pthread_mutex_lock(&thread->lock);
	answer.batch = thread->fetch.batch;
	thread->passed_told = thread->passed_told || answer.batch->passed;
	thread->fetch = (struct fetch_order){0};
	thread->stop_waiting = false;
	pthread_mutex_unlock(&thread->lock);
	thread->empty_fetches = answer.batch->count == 0 ? thread->empty_fetches + 1 : 0;
	post(thread, &answer);
}

/* Only this thread changes the order between its placing and its answer, so it is read without the lock. */
void
ob_store_job_fetch(struct ob_store_thread *thread)
{
	struct fetch_order *order = &thread->fetch;
	struct ob_error error = {0};
	bool patient;
	int code;

	OB_CRASH_POINT("C1");
	ob_batch_reset(order->batch);
	code = thread->handle.ops->fetch(thread->handle.store, &order->fetch, order->batch, &error);
	heed(thread, code);
	patient = order->may_wait;
	if (thread->config
		.until_idle) /* The first one is answered at once, then each after a short wait. */
		patient = patient && thread->empty_fetches > 0 && !order->found_nothing;
	if (code != OB_OK || order->batch->count > 0 ||
	    (order->batch->passed && !thread->passed_told) || !patient) {
		ob_store_job_hand_back(thread, code, &error);
		return;
	}
	order->found_nothing = true;
	order->try_at_ms =
	    order->batch->next_due_ms < 0 ? NEVER : ob_now_ms() + order->batch->next_due_ms;
}

void
ob_store_job_trim(struct ob_store_thread *thread)
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
	if (!thread->held)
		ob_store_job_post_failed(thread, code, &error);
}

/* A fetch of nothing passes the fence as any other does, and is told what the store's next wait waits for. */
void
ob_store_job_look(struct ob_store_thread *thread)
{
	static const struct ob_fetch nothing = {0};
	struct ob_error error = {0};
	int code;

	ob_batch_reset(thread->look_batch);
	code =
	    thread->handle.ops->fetch(thread->handle.store, &nothing, thread->look_batch, &error);
	heed(thread, code);
	thread->look_at_ms = ob_now_ms() + LOOK_EVERY_MS;
	if (code != OB_OK && code != OB_BUSY)
		ob_store_job_post_failed(thread, code, &error);
}

int
ob_store_job_wait(struct ob_store_thread *thread, int64_t timeout_ms, struct ob_error *error)
{
	int code = thread->handle.ops->wait(thread->handle.store, timeout_ms, error);

	heed(thread, code);
	return code;
}

void
ob_store_job_post_awaited(struct ob_store_thread *thread, int code, const struct ob_error *error)
{
	post_code(thread, OB_STORE_AWAITED, code, error);
}

void
ob_store_job_post_opened(struct ob_store_thread *thread, int code, const struct ob_error *error)
{
	post_code(thread, OB_STORE_OPENED, code, error);
}
