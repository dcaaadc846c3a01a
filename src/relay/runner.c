#include "runner_state.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "crash.h"
#include "text.h"

#define POLL_MAX_MS 60000
/* A sink that was full and has given no receipt since is asked again so often. */
#define FULL_POLL_MS 20
/* Batches out at once. Under a trickle each holds few rows, but some pages of memory; past this limit nothing more is read until
   one comes back. At 2,000 messages a second, each fetched alone, and a settle every 100 ms, 200 are out. */
#define BATCHES_MAX 512
/* A drain that nobody asked for: when all is sent, or the recipient is gone. */
#define OWN_DRAIN_MS 30000
/* Whether lines that were held back are to be summed up is looked at so often, at most. */
#define SUM_UP_EVERY_MS 1000
#define NEVER           INT64_MAX

/* ---- batches ---- */

static struct ob_batch *
batch_take(struct ob_runner *runner)
{
	if (runner->kept_count > 0)
		return runner->kept[--runner->kept_count];
	return ob_batch_new(runner->fetch_rows);
}

static void
batch_give_back(struct ob_runner *runner, struct ob_batch *batch)
{
	runner->batches_out--;
	if (runner->kept_count < BATCHES_KEPT)
		runner->kept[runner->kept_count++] = batch;
	else
		ob_batch_free(batch);
	if (runner->fetch_was_cut && runner->batches_out < BATCHES_MAX)
		ob_store_thread_stop_waiting(runner->store, false);
}

/* ---- the end ---- */

static void
set_error(struct ob_runner *runner, enum ob_code code, const char *text)
{
	pthread_mutex_lock(&runner->lock);
	ob_error_set(&runner->error, code, "%s", text);
	if (runner->stats.shards > 1)
		ob_error_prefix(&runner->error, "shard %u", runner->config.shard);
	ob_error_prefix(&runner->error, "subscription %s", runner->config.subscription->name);
	pthread_mutex_unlock(&runner->lock);
}

static void
fail(struct ob_runner *runner, enum ob_code code, const char *text)
{
	if (runner->failed)
		return;
	runner->failed = true;
	set_error(runner, code, text);
}

/* ---- what the engine wants ---- */

static void
report_state(struct ob_runner *runner)
{
	struct ob_store_thread_state state = {
	    .since_ms = runner->report.since_ms,
	    .delivered = runner->engine_stats.sent,
	};

	ob_text_copy(state.state, sizeof(state.state), ob_state_name(runner->report.state));
	ob_text_copy(state.code, sizeof(state.code), runner->report.code);
	ob_text_copy(state.text, sizeof(state.text), runner->report.text);
	ob_store_thread_report(runner->store, &state);
}

/* The engine knows the code alone. */
static void
explain_store_failure(struct ob_runner *runner)
{
	if (runner->report.state == OB_STATE_STORE_FAILED &&
	    strcmp(runner->report.code, ob_code_name(runner->store_error.code)) == 0)
		ob_text_copy(runner->report.text, sizeof(runner->report.text),
			     runner->store_error.text);
}

static void
perform_report(struct ob_runner *runner, const struct ob_state_report *report)
{
	bool changed =
	    report->state != runner->report.state || strcmp(report->code, runner->report.code) != 0;
	bool bad = report->state >= OB_STATE_DOWN && report->state <= OB_STATE_STORE_FAILED;

	runner->report = *report;
	if (changed)
		ob_host_say(&runner->host.host, bad ? OB_LOG_WARN : OB_LOG_INFO, "%s%s%s%s%s",
			    ob_state_name(report->state), report->code[0] != '\0' ? ": " : "",
			    report->code, runner->report.text[0] != '\0' ? ": " : "",
			    runner->report.text);
	explain_store_failure(runner);
	report_state(runner);
}

static void
perform_fetch(struct ob_runner *runner, const struct ob_action *action)
{
	struct ob_fetch fetch = action->fetch;
	struct ob_batch *batch = batch_take(runner);

	if (batch == NULL) {
		fail(runner, OB_NOMEM, "out of memory");
		return;
	}
	runner->fetch_was_cut = runner->batches_out >= BATCHES_MAX && fetch.count_max > 0;
	if (runner->fetch_was_cut)
		fetch.count_max = 0;
	runner->batches_out++;
	ob_store_thread_fetch(runner->store, &fetch, action->may_wait, batch);
}

static void
perform(struct ob_runner *runner, const struct ob_action *action, struct ob_event *answer)
{
	const struct ob_sink_ops *sink = runner->sink.ops;
	size_t accepted = 0;

	switch (action->kind) {
	case OB_ACTION_ACQUIRE:
		ob_store_thread_acquire(runner->store, action->not_before_ms);
		break;
	case OB_ACTION_FETCH:
		perform_fetch(runner, action);
		break;
	case OB_ACTION_SUBMIT:
		OB_CHECK(answer->kind == 0);
		sink->submit(runner->sink.sink, action->deliveries, action->delivery_count,
			     &accepted);
		runner->sink_full = accepted < action->delivery_count;
		answer->kind = OB_EVENT_SUBMITTED;
		answer->accepted = (uint32_t)accepted;
		break;
	case OB_ACTION_SETTLE:
		ob_store_thread_settle(runner->store, action->settle);
		break;
	case OB_ACTION_CANCEL:
		sink->cancel(runner->sink.sink);
		break;
	case OB_ACTION_FLUSH:
		if (sink->flush != NULL)
			sink->flush(runner->sink.sink);
		break;
	case OB_ACTION_FREE_BATCH:
		batch_give_back(runner, action->batch);
		break;
	case OB_ACTION_WAKE_AT:
		runner->wake_at_ms = action->wake_at_ms;
		break;
	case OB_ACTION_REPORT:
		perform_report(runner, action->report);
		break;
	case OB_ACTION_DRAINED:
		runner->drained = true;
		break;
	}
}

/* One event, and what follows from it until the engine has nothing more to submit. */
static void
step(struct ob_runner *runner, struct ob_event event)
{
	while (event.kind != 0) {
		struct ob_event answer = {0};
		struct ob_actions actions;

		event.now_ms = ob_now_ms();
		ob_engine_step(runner->engine, &event, &actions);
		for (uint32_t i = 0; i < actions.count; i++)
			perform(runner, &actions.items[i], &answer);
		event = answer;
	}
	ob_engine_stats(runner->engine, &runner->engine_stats);
	OB_CRASH_IN_FLIGHT(runner->engine_stats.window_rows_now);
}

static void
step_kind(struct ob_runner *runner, enum ob_event_kind kind)
{
	step(runner, (struct ob_event){.kind = kind});
}

/* ---- what the store says ---- */

static void
heed_store_error(struct ob_runner *runner, const struct ob_store_answer *answer)
{
	if (answer->code == OB_OK || answer->code == OB_BUSY || answer->code == OB_CHANGED)
		return;
	ob_error_set(&runner->store_error, answer->code, "%s", answer->text);
	explain_store_failure(runner);
	ob_host_say(&runner->host.host, OB_LOG_WARN, "store: %s: %s", ob_code_name(answer->code),
		    answer->text);
}

/* Lines name the shard where there are several. */
static void
take_shards(struct ob_runner *runner, const struct ob_acquired *acquired)
{
	const char *name = runner->config.subscription->name;
	uint32_t shards = acquired->shards == 0 ? 1 : acquired->shards;
	char shown[sizeof(runner->host.name)];
	bool news;

	pthread_mutex_lock(&runner->lock);
	news = runner->stats.shards != shards || runner->shards_changing != acquired->changing;
	runner->stats.shards = shards;
	runner->shards_changing = acquired->changing;
	pthread_mutex_unlock(&runner->lock);
	if (!news)
		return;
	if (shards > 1)
		snprintf(shown, sizeof(shown), "%s/%u", name, runner->config.shard);
	else
		ob_text_copy(shown, sizeof(shown), name);
	ob_real_host_rename(&runner->host, shown);
	runner->config.changed(runner->config.context);
}

/* With --until-idle nobody waits for a person to mend the database. */
static bool
is_final(enum ob_code code)
{
	return code == OB_SCHEMA || code == OB_FOREIGN || code == OB_CONFIG || code == OB_DENIED ||
	       code == OB_NOT_FOUND || code == OB_LIMIT;
}

static void
take_answer(struct ob_runner *runner, const struct ob_store_answer *answer)
{
	struct ob_event event = {.code = answer->code, .asked_at_ms = answer->asked_at_ms};

	heed_store_error(runner, answer);
	switch (answer->kind) {
	case OB_STORE_OPENED:
	case OB_STORE_AWAITED:
		OB_CHECK(!"the store is opened once, before the loop");
		return;
	case OB_STORE_ACQUIRED:
		event.kind = OB_EVENT_ACQUIRED;
		event.acquired = &answer->acquired;
		event.lanes = ob_store_thread_lanes(runner->store);
		if (answer->code == OB_OK)
			take_shards(runner, &answer->acquired);
		if (runner->config.until_idle && is_final(answer->code))
			fail(runner, answer->code, answer->text);
		break;
	case OB_STORE_RENEWED:
		event.kind = OB_EVENT_RENEWED;
		break;
	case OB_STORE_FETCHED:
		event.kind = OB_EVENT_FETCHED;
		event.batch = answer->batch;
		runner->log_unread = runner->fetch_was_cut;
		runner->fetch_was_cut = false;
		if (answer->batch->count > 0)
			OB_CRASH_POINT("C3");
		break;
	case OB_STORE_SETTLED:
		event.kind = OB_EVENT_SETTLED;
		break;
	}
	step(runner, event);
}

static void
take_answers(struct ob_runner *runner)
{
	struct ob_store_answer answers[OB_STORE_ANSWERS_MAX];
	size_t count = ob_store_thread_take(runner->store, answers);

	for (size_t i = 0; i < count; i++)
		take_answer(runner, &answers[i]);
}

/* ---- what people say ---- */

static void
begin_drain(struct ob_runner *runner, int64_t deadline_at_ms)
{
	int64_t now = ob_now_ms();

	/* What is in flight gets four fifths of the time; the rest is for the last settle. */
	if (!runner->draining || deadline_at_ms < runner->give_up_at_ms) {
		runner->give_up_at_ms = deadline_at_ms;
		runner->abandon_at_ms = deadline_at_ms - (deadline_at_ms - now) / 5;
	}
	if (runner->draining)
		return;
	runner->draining = true;
	ob_store_thread_stop_waiting(runner->store, true);
	step_kind(runner, OB_EVENT_DRAIN);
}

static void
take_commands(struct ob_runner *runner)
{
	struct commands commands;

	pthread_mutex_lock(&runner->lock);
	commands = runner->commands;
	runner->commands = (struct commands){0};
	pthread_mutex_unlock(&runner->lock);
	if (commands.reopen && runner->sink.ops->reopen != NULL)
		runner->sink.ops->reopen(runner->sink.sink);
	if (commands.poke)
		step_kind(runner, OB_EVENT_POKE);
	if (commands.drain)
		begin_drain(runner, commands.deadline_at_ms);
	if (commands.stop)
		runner->drained = true;
}

static void
end_when_idle(struct ob_runner *runner)
{
	const struct ob_engine_stats *stats = &runner->engine_stats;

	if (!runner->config.until_idle || runner->draining || !stats->idle || runner->log_unread)
		return;
	/* What is parked and never due awaits a person. */
	if (stats->parked_rows_now == 0 || !stats->due_later)
		begin_drain(runner, ob_now_ms() + OWN_DRAIN_MS);
}

/* ---- the loop ---- */

static void
take_time(struct ob_runner *runner)
{
	int64_t now = ob_now_ms();

	if (now >= runner->wake_at_ms) {
		runner->wake_at_ms = NEVER;
		step_kind(runner, OB_EVENT_TIMER);
	}
	if (now >= runner->sum_up_at_ms) {
		runner->sum_up_at_ms = now + SUM_UP_EVERY_MS;
		ob_real_host_sum_up(&runner->host, false);
	}
	if (runner->draining && now >= runner->abandon_at_ms) {
		runner->abandon_at_ms = NEVER;
		step_kind(runner, OB_EVENT_ABANDON);
	}
	if (runner->draining && now >= runner->give_up_at_ms) {
		ob_host_say(&runner->host.host, OB_LOG_WARN,
			    "drain: the deadline has passed, ending now");
		runner->drained = true;
	}
}

static int
poll_timeout(const struct ob_runner *runner)
{
	int64_t now = ob_now_ms(), at = runner->wake_at_ms;

	if (runner->draining && runner->abandon_at_ms < at)
		at = runner->abandon_at_ms;
	if (runner->draining && runner->give_up_at_ms < at)
		at = runner->give_up_at_ms;
	if (runner->sink_full && at > now + FULL_POLL_MS)
		return FULL_POLL_MS;
	if (at <= now)
		return 0;
	return at - now > POLL_MAX_MS ? POLL_MAX_MS : (int)(at - now);
}

#ifdef OB_CRASH_POINTS
static void
crash_between_sent_and_receipt(const struct ob_runner *runner, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (runner->receipts[i].fate == OB_FATE_SENT) {
			OB_CRASH_POINT("C5");
			return;
		}
}
#else
#define crash_between_sent_and_receipt(runner, count) ((void)0)
#endif

/* Before the engine hears of it: nothing is probed or told of a recipient that does not come back. */
static void
end_when_gone(struct ob_runner *runner)
{
	struct ob_error error = {0};

	if (runner->draining || runner->sink.ops->gone == NULL ||
	    runner->sink.ops->gone(runner->sink.sink, &error) == OB_OK)
		return;
	set_error(runner, error.code, error.text);
	begin_drain(runner, ob_now_ms() + OWN_DRAIN_MS);
}

static void
poll_sink(struct ob_runner *runner)
{
	size_t count = runner->sink.ops->poll(runner->sink.sink, poll_timeout(runner),
					      runner->receipts, RECEIPTS_MAX);

	end_when_gone(runner);
	crash_between_sent_and_receipt(runner, count);
	if (count > 0)
		step(runner, (struct ob_event){.kind = OB_EVENT_RECEIPTS,
					       .receipts = runner->receipts,
					       .receipt_count = (uint32_t)count});
	if (runner->sink_full) {
		runner->sink_full = false;
		step_kind(runner, OB_EVENT_SINK_FREE);
	}
}

static void
publish_counts(struct ob_relay_stats *to, const struct ob_engine_stats *from)
{
	to->fetched = from->fetched;
	to->sent = from->sent;
	to->retried = from->retried;
	to->rejected = from->rejected;
	to->unknown = from->unknown;
	to->parked = from->parked;
	to->unparked = from->unparked;
	to->scheduled = from->scheduled;
	to->dead = from->dead;
	to->settles = from->settles;
	to->late_receipts = from->late_receipts;
	to->window_rows = from->window_rows_now;
	to->window_bytes = from->window_bytes_now;
	to->in_flight = from->in_flight_now;
	to->parked_rows = from->parked_rows_now;
	to->scheduled_rows = from->scheduled_rows_now;
	to->dead_rows = from->dead_rows_now;
}

/* Leaves the figures where others can read them. Before each sleep, so that they are never old news. */
static void
publish(struct ob_runner *runner)
{
	struct ob_relay_stats *stats = &runner->stats;
	struct ob_store_thread_stats store;

	report_state(runner);
	ob_store_thread_stats(runner->store, &store);
	pthread_mutex_lock(&runner->lock);
	publish_counts(stats, &runner->engine_stats);
	stats->store_errors = store.errors;
	stats->reconnects = store.reconnects;
	stats->trimmed = store.trimmed;
	ob_text_copy(stats->state, sizeof(stats->state), ob_state_name(runner->report.state));
	ob_text_copy(stats->code, sizeof(stats->code), runner->report.code);
	ob_text_copy(stats->text, sizeof(stats->text), runner->report.text);
	runner->state_since_ms = runner->report.since_ms;
	pthread_mutex_unlock(&runner->lock);
}

static void
loop(struct ob_runner *runner)
{
	step_kind(runner, OB_EVENT_START);
	while (!runner->drained && !runner->failed) {
		take_commands(runner);
		take_answers(runner);
		take_time(runner);
		end_when_idle(runner);
		publish(runner);
		if (!runner->drained && !runner->failed)
			poll_sink(runner);
	}
	publish(runner);
}

/* ---- the thread ---- */

void
ob_runner_set_phase(struct ob_runner *runner, enum ob_runner_phase phase)
{
	pthread_mutex_lock(&runner->lock);
	runner->phase = phase;
	if (phase >= OB_RUNNER_ENDED)
		ob_text_copy(runner->stats.state, sizeof(runner->stats.state), "ended");
	pthread_mutex_unlock(&runner->lock);
	runner->config.changed(runner->config.context);
}

void *
ob_runner_main(void *argument)
{
	struct ob_runner *runner = argument;
	enum ob_runner_phase end;
	struct ob_error error = {0};
	int code = ob_runner_open(runner, &error);

	if (code != OB_OK)
		fail(runner, (enum ob_code)code, error.text);
	else
		ob_runner_set_phase(runner, OB_RUNNER_RUNNING);
	if (code == OB_OK && !runner->drained)
		loop(runner);
	/* Whoever waits for a busy store counts as running. */
	end =
	    ob_runner_phase(runner, NULL) == OB_RUNNER_RUNNING ? OB_RUNNER_ENDED : OB_RUNNER_FAILED;
	ob_runner_close(runner);
	ob_real_host_sum_up(&runner->host, true);
	ob_runner_set_phase(runner, end);
	return NULL;
}
