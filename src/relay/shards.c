/* What is asked of a subscription's runners from outside, and how they begin and end. */
#include "shards.h"

#include <stdlib.h>
#include <string.h>

#include "registry.h"
#include "shards_state.h"
#include "text.h"
#include "threads.h"

/* ---- one more, and one less ---- */

static void
on_runner_changed(void *context)
{
	struct ob_shards *shards = context;

	pthread_mutex_lock(&shards->lock);
	shards->news = true;
	pthread_cond_signal(&shards->changed);
	pthread_mutex_unlock(&shards->lock);
	shards->config.changed(shards->config.context);
}

int
ob_shards_add(struct ob_shards *shards, uint32_t shard, bool start, struct ob_error *error)
{
	struct ob_runner_config config = {
	    .subscription = shards->config.subscription,
	    .shard = shard,
	    .member = shards->member,
	    .is_subscribed = start,
	    .owner = shards->config.owner,
	    .log = shards->config.log,
	    .until_idle = shards->config.until_idle,
	    .changed = on_runner_changed,
	    .context = shards,
	};
	struct ob_runner *runner = NULL;
	int code;

	if (atomic_fetch_add(shards->config.runners, 1) >= shards->config.runners_max) {
		atomic_fetch_sub(shards->config.runners, 1);
		return ob_error_set(error, OB_LIMIT, "this process runs %u shards already",
				    shards->config.runners_max);
	}
	code = ob_runner_new(&config, &runner, error);
	pthread_mutex_lock(&shards->lock);
	/* Asked to end meanwhile: as if it had come to that first. */
	if (code == OB_OK && start && !shards->draining)
		code = ob_runner_start(runner, error);
	if (code == OB_OK && (!start || !shards->draining)) {
		shards->slots[shard].runner = runner;
		runner = NULL;
	}
	pthread_mutex_unlock(&shards->lock);
	if (code != OB_OK || runner != NULL)
		atomic_fetch_sub(shards->config.runners, 1);
	ob_runner_free(runner);
	return code;
}

/* ---- life ---- */

static int
shards_check(struct ob_shards *shards, struct ob_error *error)
{
	const struct ob_relay_subscription *it = shards->config.subscription;
	int code = ob_registry_find_store(it->store_url, &shards->ops, error);

	if (code == OB_OK && it->shards > 1 && (shards->ops->capabilities & OB_STORE_SHARDS) == 0)
		code = ob_error_set(
		    error, OB_CONFIG,
		    "%s runs a subscription as a whole, so leave shards out: other relays stand by",
		    shards->ops->name);
	if (code != OB_OK)
		ob_error_prefix(error, "subscription %s", it->name);
	return code;
}

int
ob_shards_new(const struct ob_shards_config *config, struct ob_shards **out, struct ob_error *error)
{
	struct ob_shards *shards = calloc(1, sizeof(*shards));
	pthread_condattr_t attributes;
	int code;

	*out = NULL;
	if (shards == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	shards->config = *config;
	shards->count = 1;
	pthread_mutex_init(&shards->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&shards->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	ob_real_host_init(&shards->host, config->log, config->subscription->name);
	code = shards_check(shards, error);
	if (code == OB_OK) {
		shards->slots =
		    calloc(shards->ops->join == NULL ? 1 : OB_SHARDS_MAX, sizeof(shards->slots[0]));
		code =
		    shards->slots != NULL ? OB_OK : ob_error_set(error, OB_NOMEM, "out of memory");
	}
	while (shards->member == 0)
		shards->host.host.random(shards->host.host.context, &shards->member,
					 sizeof(shards->member));
	if (code == OB_OK)
		code = ob_shards_add(shards, 0, false, error);
	if (code != OB_OK) {
		ob_shards_free(shards);
		return code;
	}
	*out = shards;
	return OB_OK;
}

static void
set_phase(struct ob_shards *shards, enum ob_runner_phase phase)
{
	pthread_mutex_lock(&shards->lock);
	shards->phase = phase;
	pthread_mutex_unlock(&shards->lock);
}

int
ob_shards_start(struct ob_shards *shards, struct ob_error *error)
{
	int code;

	set_phase(shards, OB_RUNNER_STARTING);
	code = ob_runner_start(shards->slots[0].runner, error);
	if (code != OB_OK || shards->ops->join == NULL)
		return code;
	code = ob_thread_start(&shards->thread, ob_shards_main, shards, error);
	shards->started = code == OB_OK;
	return code;
}

void
ob_shards_join(struct ob_shards *shards)
{
	ob_shards_stop(shards);
	if (shards->started)
		pthread_join(shards->thread, NULL);
	shards->started = false;
	if (shards->slots[0].runner != NULL)
		ob_runner_join(shards->slots[0].runner);
}

void
ob_shards_free(struct ob_shards *shards)
{
	if (shards == NULL)
		return;
	if (shards->slots != NULL) {
		ob_shards_join(shards);
		if (shards->slots[0].runner != NULL) {
			ob_runner_free(shards->slots[0].runner);
			atomic_fetch_sub(shards->config.runners, 1);
		}
	}
	free(shards->slots);
	pthread_cond_destroy(&shards->changed);
	pthread_mutex_destroy(&shards->lock);
	free(shards);
}

/* ---- what it does ---- */

enum ob_runner_phase
ob_shards_phase(struct ob_shards *shards, struct ob_error *error)
{
	enum ob_runner_phase phase;

	if (shards->ops->join == NULL)
		return ob_runner_phase(shards->slots[0].runner, error);
	pthread_mutex_lock(&shards->lock);
	phase = shards->phase;
	if (error != NULL)
		*error = shards->error;
	pthread_mutex_unlock(&shards->lock);
	return phase;
}

uint32_t
ob_shards_count(struct ob_shards *shards)
{
	uint32_t count;

	pthread_mutex_lock(&shards->lock);
	count = shards->count;
	pthread_mutex_unlock(&shards->lock);
	return count;
}

void
ob_shards_counts_add(struct ob_relay_stats *to, const struct ob_relay_stats *from)
{
	to->fetched += from->fetched;
	to->sent += from->sent;
	to->retried += from->retried;
	to->rejected += from->rejected;
	to->unknown += from->unknown;
	to->parked += from->parked;
	to->unparked += from->unparked;
	to->scheduled += from->scheduled;
	to->dead += from->dead;
	to->settles += from->settles;
	to->late_receipts += from->late_receipts;
	to->store_errors += from->store_errors;
	to->reconnects += from->reconnects;
	to->trimmed += from->trimmed;
}

/* Under the lock. */
static void
slot_stats(struct ob_shards *shards, uint32_t shard, struct ob_relay_stats *stats)
{
	const struct ob_shard_slot *slot = &shards->slots[shard];

	*stats = (struct ob_relay_stats){.shard = shard};
	if (slot->runner != NULL)
		ob_runner_stats(slot->runner, stats);
	else
		ob_text_copy(stats->state, sizeof(stats->state),
			     slot->done || shards->phase >= OB_RUNNER_ENDED ? "ended" : "standby");
	ob_text_copy(stats->name, sizeof(stats->name), shards->config.subscription->name);
	if (shards->joined)
		stats->shards = shards->count;
	ob_shards_counts_add(stats, &slot->past);
}

void
ob_shards_stats(struct ob_shards *shards, uint32_t shard, struct ob_relay_stats *stats)
{
	pthread_mutex_lock(&shards->lock);
	slot_stats(shards, shard < shards->count ? shard : 0, stats);
	pthread_mutex_unlock(&shards->lock);
}

/* ---- what it is told ---- */

/* Under the lock. */
static void
each_runner(struct ob_shards *shards, void (*tell)(struct ob_runner *runner, int64_t value),
	    int64_t value)
{
	uint32_t count = shards->ops->join == NULL ? 1 : OB_SHARDS_MAX;

	for (uint32_t i = 0; i < count; i++)
		if (shards->slots[i].runner != NULL)
			tell(shards->slots[i].runner, value);
}

static void
tell_stop(struct ob_runner *runner, int64_t value)
{
	(void)value;
	ob_runner_stop(runner);
}

static void
tell_reopen(struct ob_runner *runner, int64_t value)
{
	(void)value;
	ob_runner_reopen(runner);
}

static void
tell_poke(struct ob_runner *runner, int64_t value)
{
	(void)value;
	ob_runner_poke(runner);
}

void
ob_shards_drain(struct ob_shards *shards, int64_t deadline_ms)
{
	pthread_mutex_lock(&shards->lock);
	shards->draining = shards->news = true;
	each_runner(shards, ob_runner_drain, deadline_ms);
	pthread_cond_signal(&shards->changed);
	pthread_mutex_unlock(&shards->lock);
}

void
ob_shards_stop(struct ob_shards *shards)
{
	pthread_mutex_lock(&shards->lock);
	shards->draining = shards->news = true;
	each_runner(shards, tell_stop, 0);
	pthread_cond_signal(&shards->changed);
	pthread_mutex_unlock(&shards->lock);
}

void
ob_shards_reopen(struct ob_shards *shards)
{
	pthread_mutex_lock(&shards->lock);
	each_runner(shards, tell_reopen, 0);
	pthread_mutex_unlock(&shards->lock);
}

void
ob_shards_poke(struct ob_shards *shards)
{
	pthread_mutex_lock(&shards->lock);
	each_runner(shards, tell_poke, 0);
	pthread_mutex_unlock(&shards->lock);
}
