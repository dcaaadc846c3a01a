/* What is asked of a runner from outside its loop. */
#include "runner_state.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "text.h"
#include "threads.h"
#include "url.h"

#define NEVER INT64_MAX

/* Called by the store thread, and by commands: under no lock of the store thread's. */
static void
rouse(struct ob_runner *runner)
{
	pthread_mutex_lock(&runner->lock);
	if (runner->wakeable)
		runner->sink.ops->wake(runner->sink.sink);
	pthread_mutex_unlock(&runner->lock);
}

static void
on_store_answer(void *context)
{
	rouse(context);
}

/* ---- from outside ---- */

static int
store_thread_make(struct ob_runner *runner, struct ob_error *error)
{
	const struct ob_relay_subscription *it = runner->config.subscription;
	struct ob_buf shown;
	struct ob_store_thread_config config = {
	    .url = it->store_url,
	    .options = it->store_options,
	    .option_count = it->store_option_count,
	    .host = &runner->host.host,
	    .subscription = {.name = it->name,
			     .topics = it->topics,
			     .order_by = (enum ob_order_by)it->order_by,
			     .from_now = it->from_now,
			     .sink = runner->sink_shown,
			     .shards = (uint32_t)it->shards,
			     .hold_key = it->hold_key},
	    .subscribed = runner->config.is_subscribed,
	    .shard = runner->config.shard,
	    .member = runner->config.member,
	    .owner = runner->config.owner,
	    .lease_ms = it->lease_ms,
	    /* When shards become fewer, what one may keep is each one's share together, and that is rounded up. */
	    .lanes_max = (uint32_t)it->parked_keys_max + OB_SHARDS_MAX,
	    .until_idle = runner->config.until_idle,
	    .notify = on_store_answer,
	    .context = runner,
	};

	ob_buf_init(&shown, sizeof(runner->sink_shown) - 1);
	ob_text_copy(runner->sink_shown, sizeof(runner->sink_shown),
		     ob_url_redact(&shown, it->sink_url) ? ob_buf_text(&shown) : "");
	ob_buf_free(&shown);
	return ob_store_thread_new(&config, &runner->store, error);
}

int
ob_runner_new(const struct ob_runner_config *config, struct ob_runner **out, struct ob_error *error)
{
	const struct ob_relay_subscription *it = config->subscription;
	struct ob_runner *runner = calloc(1, sizeof(*runner));
	int code;

	*out = NULL;
	if (runner == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	runner->config = *config;
	runner->wake_at_ms = runner->abandon_at_ms = runner->give_up_at_ms = NEVER;
	pthread_mutex_init(&runner->lock, NULL);
	ob_real_host_init(&runner->host, config->log, it->name);
	ob_text_copy(runner->stats.name, sizeof(runner->stats.name), it->name);
	runner->stats.shard = config->shard;
	ob_text_copy(runner->stats.state, sizeof(runner->stats.state), "starting");
	runner->state_since_ms = ob_now_ms();
	code = ob_sink_handle_init(&runner->sink, it->sink_url, it->sink_options,
				   it->sink_option_count, &runner->host.host, error);
	if (code == OB_OK)
		code = store_thread_make(runner, error);
	if (code != OB_OK) {
		ob_error_prefix(error, "subscription %s", it->name);
		ob_runner_free(runner);
		return code;
	}
	*out = runner;
	return OB_OK;
}

/* A runner that was started before may look already. */
static void
set_phase(struct ob_runner *runner, enum ob_runner_phase phase)
{
	pthread_mutex_lock(&runner->lock);
	runner->phase = phase;
	pthread_mutex_unlock(&runner->lock);
}

int
ob_runner_start(struct ob_runner *runner, struct ob_error *error)
{
	int code;

	set_phase(runner, OB_RUNNER_STARTING);
	code = ob_thread_start(&runner->thread, ob_runner_main, runner, error);
	runner->started = code == OB_OK;
	if (code != OB_OK)
		set_phase(runner, OB_RUNNER_NEW);
	return code;
}

void
ob_runner_join(struct ob_runner *runner)
{
	if (!runner->started)
		return;
	ob_runner_stop(runner);
	pthread_join(runner->thread, NULL);
	runner->started = false;
}

void
ob_runner_free(struct ob_runner *runner)
{
	if (runner == NULL)
		return;
	ob_runner_join(runner);
	ob_sink_handle_free(&runner->sink);
	ob_store_thread_free(runner->store);
	pthread_mutex_destroy(&runner->lock);
	free(runner);
}

enum ob_runner_phase
ob_runner_phase(struct ob_runner *runner, struct ob_error *error)
{
	enum ob_runner_phase phase;

	pthread_mutex_lock(&runner->lock);
	phase = runner->phase;
	if (error != NULL)
		*error = runner->error;
	pthread_mutex_unlock(&runner->lock);
	return phase;
}

void
ob_runner_stats(struct ob_runner *runner, struct ob_relay_stats *stats)
{
	pthread_mutex_lock(&runner->lock);
	*stats = runner->stats;
	stats->state_since_ms = ob_now_ms() - runner->state_since_ms;
	pthread_mutex_unlock(&runner->lock);
}

uint32_t
ob_runner_shards(struct ob_runner *runner, bool *changing)
{
	uint32_t shards;

	pthread_mutex_lock(&runner->lock);
	shards = runner->stats.shards;
	*changing = runner->shards_changing;
	pthread_mutex_unlock(&runner->lock);
	return shards;
}

void
ob_runner_drain(struct ob_runner *runner, int64_t deadline_ms)
{
	int64_t at = ob_later_ms(deadline_ms);

	pthread_mutex_lock(&runner->lock);
	if (!runner->commands.drain || at < runner->commands.deadline_at_ms)
		runner->commands.deadline_at_ms = at;
	runner->commands.drain = true;
	pthread_mutex_unlock(&runner->lock);
	rouse(runner);
}

void
ob_runner_stop(struct ob_runner *runner)
{
	pthread_mutex_lock(&runner->lock);
	runner->commands.stop = true;
	pthread_mutex_unlock(&runner->lock);
	rouse(runner);
}

void
ob_runner_reopen(struct ob_runner *runner)
{
	pthread_mutex_lock(&runner->lock);
	runner->commands.reopen = true;
	pthread_mutex_unlock(&runner->lock);
	rouse(runner);
}

void
ob_runner_poke(struct ob_runner *runner)
{
	pthread_mutex_lock(&runner->lock);
	runner->commands.poke = true;
	pthread_mutex_unlock(&runner->lock);
	rouse(runner);
}
