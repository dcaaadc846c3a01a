/* What a runner opens before its loop begins, and closes at the end. */
#include "runner_state.h"
#include "text.h"

#define POLL_MAX_MS 60000

static void
engine_config_fill(struct ob_engine_config *to, const struct ob_relay_subscription *from)
{
	ob_engine_config_defaults(to);
	to->window_count_max = (uint32_t)from->window_count;
	to->window_bytes_max = (uint64_t)from->window_bytes;
	if (to->fetch_count_max > to->window_count_max)
		to->fetch_count_max = to->window_count_max;
	to->in_flight_max = (uint32_t)from->in_flight;
	to->settle_every_ms = from->settle_every_ms;
	to->park_after_ms = from->park_after_ms;
	to->probe_first_ms = from->probe_first_ms;
	to->probe_max_ms = from->probe_max_ms;
	to->storm_limit = (uint32_t)from->storm_limit;
	to->lease_ms = from->lease_ms;
	to->retry = (struct ob_retry_policy){
	    .first_ms = from->retry_first_ms,
	    .max_ms = from->retry_max_ms,
	    .jitter_pct = (uint32_t)from->retry_jitter,
	    .attempts_max = (uint32_t)from->attempts_max,
	    .age_max_ms = from->age_max_ms,
	    .hold_key = from->hold_key,
	    .reject_retries = from->reject_retries,
	};
	to->quotas = (struct ob_quotas){
	    .parked_rows = (uint64_t)from->parked_max,
	    .parked_rows_of_key = (uint32_t)from->parked_of_key_max,
	    .parked_keys = (uint32_t)from->parked_keys_max,
	    .scheduled_rows = (uint64_t)from->scheduled_max,
	    .dead_rows = (uint64_t)from->dead_max,
	};
}

static int
engine_open(struct ob_runner *runner, struct ob_error *error)
{
	const struct ob_relay_subscription *from = runner->config.subscription;
	struct ob_engine_config config = {0};
	int code;

	/* In the words of the options; the engine knows its own fields only. */
	if (from->retry_max_ms < from->retry_first_ms)
		return ob_error_set(error, OB_CONFIG, "retry-max is shorter than retry-first");
	if (from->probe_max_ms < from->probe_first_ms)
		return ob_error_set(error, OB_CONFIG, "probe-max is shorter than probe-first");
	engine_config_fill(&config, from);
	config.settle_count_max = ob_store_thread_ops(runner->store)->settle_count_max;
	config.settle_bytes_max = ob_store_thread_ops(runner->store)->settle_bytes_max;
	runner->sink.ops->limits(runner->sink.sink, &config.sink);
	runner->host.host.random(runner->host.host.context, &config.seed, sizeof(config.seed));
	code = ob_engine_config_check(&config, error);
	if (code != OB_OK)
		return code;
	/* A fetch gives rows of the log and parked rows, in one batch. */
	runner->fetch_rows = config.fetch_count_max + config.parked_window_max;
	runner->engine = ob_engine_new(&config);
	return runner->engine != NULL ? OB_OK : ob_error_set(error, OB_NOMEM, "out of memory");
}

/* The relay counts as started: it has nothing to do but to wait, and can be told to end. */
static void
store_awaited(struct ob_runner *runner, const struct ob_store_answer *answer)
{
	ob_host_say(&runner->host.host, OB_LOG_WARN, "store: %s: %s; waiting for it",
		    ob_code_name(answer->code), answer->text);
	pthread_mutex_lock(&runner->lock);
	ob_text_copy(runner->stats.code, sizeof(runner->stats.code), ob_code_name(answer->code));
	ob_text_copy(runner->stats.text, sizeof(runner->stats.text), answer->text);
	pthread_mutex_unlock(&runner->lock);
	ob_runner_set_phase(runner, OB_RUNNER_RUNNING);
}

/* The store thread's answer to its start; it is woken by the sink's wake, so the wait is in the sink. */
static int
await_store(struct ob_runner *runner, struct ob_error *error)
{
	struct ob_store_answer answers[OB_STORE_ANSWERS_MAX];
	struct commands commands;
	size_t count;

	for (;;) {
		count = ob_store_thread_take(runner->store, answers);
		for (size_t i = 0; i < count; i++) {
			if (answers[i].kind == OB_STORE_AWAITED)
				store_awaited(runner, &answers[i]);
			else
				return answers[i].code == OB_OK
					   ? OB_OK
					   : ob_error_set(error, answers[i].code, "%s",
							  answers[i].text);
		}
		pthread_mutex_lock(&runner->lock);
		commands = runner->commands;
		pthread_mutex_unlock(&runner->lock);
		runner->drained = commands.stop || commands.drain;
		if (commands.stop && ob_runner_phase(runner, NULL) == OB_RUNNER_STARTING)
			return ob_error_set(error, OB_FAILED, "stopped");
		if (runner->drained)
			return OB_OK;
		runner->sink.ops->poll(runner->sink.sink, POLL_MAX_MS, runner->receipts,
				       RECEIPTS_MAX);
	}
}

int
ob_runner_open(struct ob_runner *runner, struct ob_error *error)
{
	const struct ob_relay_subscription *subscription = runner->config.subscription;
	int code =
	    ob_sink_handle_open(&runner->sink, subscription->name, &subscription->callback, error);

	if (code == OB_OK)
		code = engine_open(runner, error);
	if (code == OB_OK) {
		pthread_mutex_lock(&runner->lock);
		runner->wakeable = true;
		pthread_mutex_unlock(&runner->lock);
		code = ob_store_thread_start(runner->store, error);
	}
	return code == OB_OK ? await_store(runner, error) : code;
}

/* The sink goes first, so that nothing is sent after the lease was given up. */
void
ob_runner_close(struct ob_runner *runner)
{
	pthread_mutex_lock(&runner->lock);
	runner->wakeable = false;
	pthread_mutex_unlock(&runner->lock);
	ob_sink_handle_free(&runner->sink);
	ob_store_thread_end(runner->store, true);
	ob_store_thread_free(runner->store);
	runner->store = NULL;
	if (runner->engine != NULL)
		ob_engine_free(runner->engine);
	runner->engine = NULL;
	while (runner->kept_count > 0)
		ob_batch_free(runner->kept[--runner->kept_count]);
}
