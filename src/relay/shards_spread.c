/*
 * The thread of a subscription that may have several shards.
 *
 *	alone ──a runner was told of several shards, or of a change──▶ joined
 *	  ▲                                                             │
 *	  └───────── one shard, and no change under way ────────────────┘
 *
 * Alone it sleeps: its one runner has the lease, or stands by for it. Joined it looks a few times a second, and as soon as
 * the lease or the membership of somebody else has run out, and does what share.h says. A look that fails changes
 * nothing: the runners have leases of their own.
 *
 * When a runner cannot be started (the recipient's files are gone, the server takes no more connections) the relay leaves
 * for a while, keeping what it runs, so that others take what is free.
 *
 * A relay that ends by itself when all is done never joins: it looks, and takes what nobody holds.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shards_state.h"
#include "text.h"

#define NEVER INT64_MAX

#define LOOK_EVERY_MS 500
#define PATIENCE_MS   1000
/* A drain that makes room for another relay: longer than any request takes by default. */
#define HANDOVER_MS     30000
#define START_PAUSE_MS  1000
#define START_PAUSE_MAX 60000

static int64_t
clamp(int64_t value, int64_t least, int64_t most)
{
	return value < least ? least : value > most ? most : value;
}

static void
complain(struct ob_shards *shards, const char *what, const struct ob_error *error)
{
	ob_host_say(&shards->host.host, OB_LOG_WARN, "%s: %s: %s", what, ob_code_name(error->code),
		    error->text);
}

/* ---- runners that begin ---- */

static void
start_failed(struct ob_shards *shards, uint32_t shard, const struct ob_error *error)
{
	uint32_t doublings = shards->failures < 10 ? shards->failures : 10;
	char what[32];

	(void)snprintf(what, sizeof(what), "shard %u does not start", shard);
	complain(shards, what, error);
	shards->failures++;
	shards->start_not_before_ms =
	    ob_now_ms() + clamp((int64_t)START_PAUSE_MS << doublings, 0, START_PAUSE_MAX);
}

static bool
is_draining(struct ob_shards *shards)
{
	bool draining;

	pthread_mutex_lock(&shards->lock);
	draining = shards->draining;
	pthread_mutex_unlock(&shards->lock);
	return draining;
}

static void
start(struct ob_shards *shards, uint32_t shard)
{
	struct ob_error error;

	if (ob_shards_add(shards, shard, true, &error) != OB_OK)
		start_failed(shards, shard, &error);
}

/* ---- runners that have ended ---- */

/* The first error counts. The others finish what they do. */
static void
fail(struct ob_shards *shards, const struct ob_error *error)
{
	pthread_mutex_lock(&shards->lock);
	if (shards->error.code == OB_OK)
		shards->error = *error;
	pthread_mutex_unlock(&shards->lock);
	ob_shards_drain(shards, HANDOVER_MS);
}

/* Only this thread changes what stands in the slots, so it reads them without the lock. */
static void
slot_clear(struct ob_shards *shards, struct ob_shard_slot *slot, bool done)
{
	struct ob_relay_stats stats;

	pthread_mutex_lock(&shards->lock);
	ob_runner_stats(slot->runner, &stats);
	ob_shards_counts_add(&slot->past, &stats);
	slot->runner = NULL;
	slot->gives_up = false;
	slot->done = done;
	pthread_mutex_unlock(&shards->lock);
}

static void
reap(struct ob_shards *shards, uint32_t shard)
{
	struct ob_shard_slot *slot = &shards->slots[shard];
	struct ob_runner *runner = slot->runner;
	bool gave_up = slot->gives_up;
	struct ob_error error;
	enum ob_runner_phase phase = ob_runner_phase(runner, &error);

	slot_clear(shards, slot, shards->config.until_idle && !gave_up && error.code == OB_OK);
	ob_runner_free(runner);
	atomic_fetch_sub(shards->config.runners, 1);
	if (error.code == OB_OK)
		return;
	/* Of the first one the caller of start is told. */
	if (phase == OB_RUNNER_ENDED || shards->phase == OB_RUNNER_STARTING)
		fail(shards, &error);
	else if (!gave_up && !is_draining(shards))
		start_failed(shards, shard, &error);
}

/* How many run after all that have ended were taken out. */
static uint32_t
reap_all(struct ob_shards *shards)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < OB_SHARDS_MAX; i++) {
		struct ob_runner *runner = shards->slots[i].runner;

		if (runner == NULL)
			continue;
		if (i == 0)
			shards->seen_shards = ob_runner_shards(runner, &shards->seen_changing);
		if (ob_runner_phase(runner, NULL) >= OB_RUNNER_ENDED)
			reap(shards, i);
		else
			count++;
	}
	return count;
}

/* ---- looks ---- */

static void
close_store(struct ob_shards *shards)
{
	ob_store_handle_free(&shards->handle);
	shards->is_open = false;
}

static int
open_store(struct ob_shards *shards, struct ob_error *error)
{
	const struct ob_relay_subscription *it = shards->config.subscription;
	int code;

	if (shards->is_open)
		return OB_OK;
	code = ob_store_handle_init(&shards->handle, it->store_url, it->store_options,
				    it->store_option_count, &shards->host.host, error);
	if (code == OB_OK)
		code = ob_store_handle_open(&shards->handle, false, false, error);
	shards->is_open = code == OB_OK;
	if (code != OB_OK)
		close_store(shards);
	return code;
}

/* From now on the others may have what it has not got. */
static void
leave(struct ob_shards *shards)
{
	struct ob_error error;

	if (shards->is_member && shards->is_open &&
	    shards->ops->leave(shards->handle.store, shards->config.subscription->name,
			       shards->member, &error) != OB_OK)
		complain(shards, "leave", &error);
	shards->is_member = false;
}

static int
ask(struct ob_shards *shards, struct ob_error *error)
{
	const struct ob_relay_subscription *it = shards->config.subscription;
	struct ob_member member = {
	    .subscription = it->name,
	    .member = shards->share.only_what_is_free ? 0 : shards->member,
	    .owner = shards->config.owner,
	    .live_ms = it->lease_ms,
	};
	int code = open_store(shards, error);

	if (code == OB_OK)
		code = shards->ops->join(shards->handle.store, &member, &shards->crew, error);
	if (code == OB_OK)
		shards->is_member = member.member != 0;
	return code;
}

static void
tell_crew(struct ob_shards *shards)
{
	const struct ob_crew *crew = &shards->crew;
	const struct ob_host *host = &shards->host.host;

	if (crew->shards_next != shards->told_next && crew->shards_next != 0)
		ob_host_say(host, OB_LOG_INFO, "%u shards are to become %u", crew->shards,
			    crew->shards_next);
	if (crew->shards != shards->told_shards || crew->member_count != shards->told_members ||
	    shards->share.target != shards->told_target)
		ob_host_say(host, OB_LOG_INFO, "of %u shards this relay runs %u; relays: %u",
			    crew->shards, shards->share.target, crew->member_count);
	shards->told_next = crew->shards_next;
	shards->told_shards = crew->shards;
	shards->told_members = crew->member_count;
	shards->told_target = shards->share.target;
}

/* What was done is done no more when the shards are others, or go on further. */
static void
take_crew(struct ob_shards *shards)
{
	const struct ob_crew *crew = &shards->crew;

	pthread_mutex_lock(&shards->lock);
	for (uint32_t i = 0; i < OB_SHARDS_MAX; i++)
		if (crew->shards != shards->count ||
		    (crew->shards_next == 0 && shards->told_next != 0))
			shards->slots[i].done = false;
	shards->count = crew->shards;
	pthread_mutex_unlock(&shards->lock);
}

static void
spread(struct ob_shards *shards)
{
	struct ob_share *share = &shards->share;
	bool may_start = ob_now_ms() >= shards->start_not_before_ms;

	for (uint32_t i = 0; i < OB_SHARDS_MAX; i++) {
		const struct ob_shard_slot *slot = &shards->slots[i];

		share->runs[i] = slot->runner != NULL && !slot->gives_up;
		share->gives_up[i] = slot->gives_up || slot->done;
	}
	ob_share_decide(share, &shards->crew, ob_now_ms());
	tell_crew(shards);
	for (uint32_t i = 0; i < OB_SHARDS_MAX; i++) {
		if (share->give[i]) {
			pthread_mutex_lock(&shards->lock);
			shards->slots[i].gives_up = true;
			pthread_mutex_unlock(&shards->lock);
			ob_runner_drain(shards->slots[i].runner, HANDOVER_MS);
		} else if (share->take[i] && may_start) {
			start(shards, i);
			may_start = ob_now_ms() >= shards->start_not_before_ms;
		}
	}
}

static void
set_joined(struct ob_shards *shards, bool joined)
{
	pthread_mutex_lock(&shards->lock);
	shards->joined = joined;
	pthread_mutex_unlock(&shards->lock);
	shards->look_at_ms = joined ? 0 : NEVER;
	/* What the last one was told is out of date. */
	if (shards->slots[0].runner == NULL) {
		shards->seen_shards = 0;
		shards->seen_changing = false;
	}
}

/* One shard is run as if there had never been several. */
static bool
is_alone(const struct ob_shards *shards)
{
	const struct ob_shard_slot *first = &shards->slots[0];

	if (shards->crew.shards != 1 || shards->crew.shards_next != 0 || first->gives_up ||
	    (first->runner != NULL && (shards->seen_shards > 1 || shards->seen_changing)))
		return false;
	for (uint32_t i = 1; i < OB_SHARDS_MAX; i++)
		if (shards->slots[i].runner != NULL)
			return false;
	return true;
}

static void
look(struct ob_shards *shards)
{
	int64_t lease_ms = shards->config.subscription->lease_ms, now = ob_now_ms();
	int64_t every_ms = clamp(lease_ms / 6, 20, LOOK_EVERY_MS);
	struct ob_error error;
	int code;

	shards->share.only_what_is_free =
	    shards->config.until_idle || now < shards->start_not_before_ms;
	if (shards->share.only_what_is_free)
		leave(shards);
	code = ask(shards, &error);
	ob_real_host_sum_up(&shards->host, false);
	if (code != OB_OK) {
		complain(shards, "look for other relays", &error);
		if (code != OB_BUSY)
			close_store(shards);
		shards->look_at_ms = now + clamp(lease_ms / 3, every_ms, 2 * LOOK_EVERY_MS);
		return;
	}
	take_crew(shards);
	spread(shards);
	if (shards->crew.next_end_ms >= 0 && shards->crew.next_end_ms < every_ms)
		every_ms = shards->crew.next_end_ms + 1;
	shards->look_at_ms = now + every_ms;
	if (!is_alone(shards))
		return;
	leave(shards);
	close_store(shards);
	set_joined(shards, false);
}

/* ---- the thread ---- */

static bool
all_is_done(const struct ob_shards *shards)
{
	if (!shards->joined)
		return shards->slots[0].done && shards->seen_shards <= 1 && !shards->seen_changing;
	for (uint32_t i = 0; i < shards->crew.shards; i++)
		if (!shards->slots[i].done)
			return false;
	return shards->crew.shards > 0 && shards->crew.shards_next == 0;
}

static bool
has_ended(struct ob_shards *shards)
{
	return reap_all(shards) == 0 && (is_draining(shards) || all_is_done(shards));
}

static void
sleep_for_news(struct ob_shards *shards)
{
	int64_t until_ms = is_draining(shards) ? NEVER : shards->look_at_ms;
	struct timespec at = {.tv_sec = (time_t)(until_ms / 1000),
			      .tv_nsec = (until_ms % 1000) * 1000000};

	pthread_mutex_lock(&shards->lock);
	while (!shards->news && ob_now_ms() < until_ms) {
		if (until_ms == NEVER)
			pthread_cond_wait(&shards->changed, &shards->lock);
		else
			pthread_cond_timedwait(&shards->changed, &shards->lock, &at);
	}
	shards->news = false;
	pthread_mutex_unlock(&shards->lock);
}

static void
set_phase(struct ob_shards *shards, enum ob_runner_phase phase)
{
	pthread_mutex_lock(&shards->lock);
	shards->phase = phase;
	pthread_mutex_unlock(&shards->lock);
	shards->config.changed(shards->config.context);
}

static void
turn(struct ob_shards *shards)
{
	const struct ob_shard_slot *first = &shards->slots[0];

	if (is_draining(shards)) {
		leave(shards);
		return;
	}
	if (!shards->joined && (shards->seen_shards > 1 || shards->seen_changing))
		set_joined(shards, true);
	if (shards->joined) {
		if (ob_now_ms() >= shards->look_at_ms)
			look(shards);
		if (shards->joined)
			return;
	}
	/* Alone again, perhaps by this very look: then there may be no runner that would wake us. */
	if (first->runner == NULL && !first->done && ob_now_ms() >= shards->start_not_before_ms)
		start(shards, 0);
	shards->look_at_ms = first->runner == NULL ? shards->start_not_before_ms : NEVER;
}

void *
ob_shards_main(void *argument)
{
	struct ob_shards *shards = argument;
	struct ob_runner *first = shards->slots[0].runner;
	enum ob_runner_phase phase;

	shards->look_at_ms = NEVER;
	shards->share.member = shards->member;
	shards->share.patience_ms =
	    clamp(shards->config.subscription->lease_ms / 10, 20, PATIENCE_MS);
	while ((phase = ob_runner_phase(first, NULL)) < OB_RUNNER_RUNNING)
		sleep_for_news(shards);
	if (phase != OB_RUNNER_FAILED)
		set_phase(shards, OB_RUNNER_RUNNING);
	while (!has_ended(shards)) {
		turn(shards);
		sleep_for_news(shards);
	}
	leave(shards);
	close_store(shards);
	ob_real_host_sum_up(&shards->host, true);
	set_phase(shards, phase == OB_RUNNER_FAILED ? OB_RUNNER_FAILED : OB_RUNNER_ENDED);
	return NULL;
}
