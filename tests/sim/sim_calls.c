/*
 * A relay's thread that talks to the store: one call at a time, in the order in which they were asked for. A
 * call has two moments: what it does in the database, and the answer. Between them, and at either, things go
 * wrong: the answer is lost (a settle that was done and is answered AGAIN), nothing is done at all, or the
 * relay dies or is stopped.
 */
#include <string.h>

#include "sim_world.h"

/* A database that is busy or away is not asked more often than that in a second. */
#define FAILED_CALLS_MAX 250

struct ob_batch *
sim_batch_take(struct sim_relay *relay)
{
	const struct ob_engine_config *config = &relay->world->plot.config;

	if (relay->spare_count > 0)
		return relay->spare[--relay->spare_count];
	return ob_batch_new(config->fetch_count_max + config->parked_window_max);
}

/* Whoever still points into it finds nothing there. */
void
sim_batch_give(struct sim_relay *relay, struct ob_batch *batch)
{
	for (uint32_t i = 0; i < batch->count; i++)
		batch->rows[i] = (struct ob_row){.ordinal = UINT64_MAX};
	ob_batch_reset(batch);
	if (relay->spare_count == SIM_SPARE_MAX)
		ob_batch_free(batch);
	else
		relay->spare[relay->spare_count++] = batch;
}

static void
call_begin(struct sim_relay *relay)
{
	struct sim_world *world = relay->world;

	if (relay->in_call || relay->call_count == 0)
		return;
	relay->in_call = true;
	relay->waiting = false;
	relay->has_effect = false;
	relay->asked_at_ms = sim_relay_now_ms(relay);
	sim_relay_put(relay, SIM_STORE_EFFECT, sim_duration(world, world->plot.store_call_us, true),
		      0, 0);
}

void
sim_calls_add(struct sim_relay *relay, enum sim_call call)
{
	relay->calls[relay->call_count++] = call;
	sim_calls_wake(relay);
	call_begin(relay);
}

/* ---- what a call does ---- */

/* Decides what goes wrong. `*done`: it is done in the database all the same. */
static enum ob_code
draw_failure(struct sim_relay *relay, enum sim_call call, bool *done)
{
	struct sim_world *world = relay->world;
	const struct sim_plot *plot = &world->plot;
	uint8_t *faults = world->recipient.faults;

	*done = false;
	if (!sim_faults_last(world))
		return OB_OK;
	if (faults[SIM_FAULT_STORE_DOWN] > 0)
		return call == SIM_CALL_ACQUIRE ? OB_UNREACHABLE : OB_AGAIN;
	if (faults[SIM_FAULT_STORE_BUSY] > 0 || sim_rng_chance(&world->rng, plot->store_busy))
		return OB_BUSY;
	if (call == SIM_CALL_ACQUIRE && sim_rng_chance(&world->rng, plot->store_unreachable))
		return OB_UNREACHABLE;
	if (sim_rng_chance(&world->rng, plot->store_again)) {
		*done = sim_rng_chance(&world->rng, 500);
		return OB_AGAIN;
	}
	return OB_OK;
}

static enum ob_code
do_call(struct sim_relay *relay, enum sim_call call)
{
	struct sim_world *world = relay->world;
	struct sim_store *store = &world->store;
	struct ob_lease_request request = {
	    .subscription = "sub",
	    .owner = "sim",
	    .lease_ms = world->plot.config.lease_ms,
	    .lanes = relay->lanes,
	    .lanes_max = world->plot.config.quotas.parked_keys,
	};

	store->now_us = world->now_us;
	switch (call) {
	case SIM_CALL_ACQUIRE:
		return sim_store_acquire(store, &relay->session, &request, &relay->acquired);
	case SIM_CALL_FETCH:
		return sim_store_fetch(store, &relay->session, &relay->fetch, relay->batch);
	case SIM_CALL_SETTLE:
		return sim_store_settle(store, &relay->session, relay->settle);
	case SIM_CALL_RENEW:
		return sim_store_renew(store, &relay->session, world->plot.config.lease_ms);
	case SIM_CALL_NONE:
		break;
	}
	return OB_FAILED;
}

/* A fetch that found nothing sleeps until there may be something. */
static bool
fetch_waits(struct sim_relay *relay)
{
	struct sim_world *world = relay->world;
	int64_t due_us;

	if (!relay->fetch_may_wait || relay->batch->count > 0 || relay->call_count > 1 ||
	    relay->draining)
		return false;
	if (relay->batch->more || relay->batch->passed ||
	    sim_store_has_news(&world->store, &relay->session, &relay->fetch, &due_us))
		return false;
	relay->waiting = true;
	relay->wakes++;
	if (due_us != INT64_MAX)
		sim_relay_put(relay, SIM_STORE_WAKE, due_us - world->now_us, relay->wakes, 0);
	return true;
}

/* What is about to be written down. */
static void
tell_settle(struct sim_relay *relay)
{
	static const char *const kinds[] = {"?",    "park",      "behind",   "schedule",
					    "dead", "dead-hold", "unpark",   "repark",
					    "back", "bury",      "bury-hold"};
	const struct ob_settle *settle = relay->settle;
	char line[400] = "";
	size_t size = 0;

	for (uint32_t i = 0; i < settle->outcome_count && size < sizeof(line) - 40; i++) {
		const struct ob_outcome *it = &settle->outcomes[i];

		if (it->ordinal > 0)
			size += (size_t)snprintf(line + size, sizeof(line) - size, ", %s @%llu",
						 kinds[it->kind], (unsigned long long)it->ordinal);
		else
			size += (size_t)snprintf(line + size, sizeof(line) - size, ", %s %u",
						 kinds[it->kind],
						 relay->world->plot.at_position[it->position]);
	}
	SIM_TELL(relay->world, "relay %u settles through %llu%s", relay->index,
		 (unsigned long long)settle->through, line);
}

void
sim_calls_effect(struct sim_relay *relay)
{
	enum sim_call call = relay->calls[0];
	struct sim_world *world = relay->world;
	int64_t delay_us = sim_duration(world, world->plot.store_call_us / 4, false);
	enum ob_code failure;
	bool done;

	if (!relay->in_call)
		return;
	/* Stopped here, it goes on later as if nothing had happened, and calls; killed, it never does. */
	if (call == SIM_CALL_SETTLE && sim_world_moment(relay, SIM_BEFORE_SETTLE)) {
		if (relay->alive)
			sim_relay_put(relay, SIM_STORE_EFFECT, 1, 0, 0);
		return;
	}
	failure = draw_failure(relay, call, &done);
	if (call == SIM_CALL_FETCH && relay->batch == NULL)
		relay->batch = sim_batch_take(relay);
	if (call == SIM_CALL_ACQUIRE)
		relay->acquired = (struct ob_acquired){0};
	relay->call_code = failure;
	if (call == SIM_CALL_SETTLE && world->story != NULL)
		tell_settle(relay);
	if (failure == OB_OK || done) {
		relay->call_code = do_call(relay, call);
		if (failure != OB_OK)
			relay->call_code = failure;
	}
	relay->has_effect = done;
	if (relay->call_code == OB_AGAIN || relay->call_code == OB_STALE ||
	    relay->call_code == OB_UNREACHABLE)
		relay->session.doubt = true;
	if (call == SIM_CALL_FETCH) {
		if (relay->call_code != OB_OK)
			ob_batch_reset(relay->batch);
		else if (fetch_waits(relay))
			return;
	}
	if (call == SIM_CALL_SETTLE && sim_world_moment(relay, SIM_AFTER_SETTLE) && !relay->alive)
		return;
	sim_relay_put(relay, SIM_STORE_ANSWER, delay_us, 0, 0);
}

void
sim_calls_wake(struct sim_relay *relay)
{
	if (!relay->in_call || !relay->waiting)
		return;
	relay->waiting = false;
	relay->wakes++;
	sim_relay_put(relay, SIM_STORE_EFFECT,
		      sim_duration(relay->world, relay->world->plot.store_call_us, false), 0, 0);
}

void
sim_calls_news(struct sim_world *world)
{
	for (uint32_t i = 0; i < world->plot.relay_count; i++)
		if (world->relays[i].alive)
			sim_calls_wake(&world->relays[i]);
}

/* ---- the answer ---- */

static void
answer_acquire(struct sim_relay *relay, struct ob_event *event)
{
	struct sim_world *world = relay->world;

	event->kind = OB_EVENT_ACQUIRED;
	event->acquired = &relay->acquired;
	event->lanes = relay->lanes;
	relay->acquiring = false;
	if (event->code != OB_OK || !relay->acquired.held)
		return;
	SIM_TELL(world, "relay %u holds the lease: epoch %llu%s%s, session %u", relay->index,
		 (unsigned long long)relay->acquired.epoch,
		 relay->acquired.goes_on ? ", goes on" : "",
		 relay->acquired.paused ? ", paused" : "", relay->session.number);
	/* What was handed out and had failed is forgotten with its pause. */
	world->ledger.changes++;
	relay->holds = true;
	relay->lease_until_ms = relay->asked_at_ms + world->plot.config.lease_ms;
	if (!relay->acquired.goes_on) {
		relay->confirmed = 0;
		relay->bytes_held = 0;
		relay->down_seen = false;
		world->counts.incidents++;
		sim_ledger_incident(&world->ledger);
	}
	relay->renewals++;
	sim_relay_put(relay, SIM_RENEW, world->plot.config.lease_ms * 1000 / 3, relay->renewals, 0);
}

static void
check_window(struct sim_relay *relay)
{
	const struct ob_engine_config *config = &relay->world->plot.config;
	struct sim_ledger *ledger = &relay->world->ledger;
	uint64_t held = relay->session.ordinals - relay->confirmed;
	uint32_t out = 0;

	if (held > config->window_count_max)
		sim_ledger_fail(ledger, "P6", "%llu messages are in the window, %u may be",
				(unsigned long long)held, config->window_count_max);
	if (relay->bytes_held > config->window_bytes_max && held > 1)
		sim_ledger_fail(ledger, "P6", "%llu bytes are in the window, %llu may be",
				(unsigned long long)relay->bytes_held,
				(unsigned long long)config->window_bytes_max);
	for (int chain = 0; chain < SIM_CHAINS; chain++)
		out += relay->world->store.chain_out[chain];
	if (relay->batch->count > 0 && relay->batch->rows[0].ordinal == 0 &&
	    out > config->parked_window_max)
		sim_ledger_fail(ledger, "P6", "%u parked rows are handed out, %u may be", out,
				config->parked_window_max);
}

/* The rows of a batch as one line. */
static void
tell_rows(struct sim_relay *relay)
{
	char line[400] = "";
	size_t size = 0;

	for (uint32_t i = 0; i < relay->batch->count && size < sizeof(line) - 20; i++) {
		const struct ob_row *row = &relay->batch->rows[i];
		uint16_t message = relay->world->plot.at_position[row->position];

		size += (size_t)snprintf(line + size, sizeof(line) - size,
					 row->ordinal == 0 ? " p%u" : " %u", message);
	}
	SIM_TELL(relay->world, "relay %u fetched, to ordinal %llu:%s", relay->index,
		 (unsigned long long)relay->session.ordinals, line);
}

static void
answer_fetch(struct sim_relay *relay, struct ob_event *event)
{
	struct sim_world *world = relay->world;

	event->kind = OB_EVENT_FETCHED;
	event->batch = relay->batch;
	relay->fetching = false;
	for (uint32_t i = 0; i < relay->batch->count; i++)
		if (relay->batch->rows[i].ordinal != 0)
			relay->bytes_held += relay->batch->rows[i].bytes;
	if (event->code == OB_OK && relay->batch->count > 0) {
		if (world->story != NULL)
			tell_rows(relay);
		check_window(relay);
	}
	relay->batch = NULL;
}

static void
answer_settle(struct sim_relay *relay, struct ob_event *event)
{
	struct sim_world *world = relay->world;
	const struct ob_settle *settle = relay->settle;

	event->kind = OB_EVENT_SETTLED;
	SIM_TELL(world, "relay %u settled: %s%s; %llu parked, %llu scheduled, %llu dead",
		 relay->index, ob_code_name(event->code),
		 relay->has_effect ? " (done all the same)" : "",
		 (unsigned long long)world->store.parked_rows,
		 (unsigned long long)world->store.scheduled_rows,
		 (unsigned long long)world->store.dead_rows);
	relay->settling = false;
	relay->settle = NULL;
	relay->busy_at_end = relay->abandoned && event->code == OB_BUSY;
	if (event->code != OB_OK)
		return;
	for (; relay->confirmed < settle->through; relay->confirmed++) {
		uint16_t at = relay->session.entries[relay->confirmed + 1].at;

		relay->bytes_held -= world->plot.messages[world->store.order[at]].bytes;
	}
}

static void
answer_renew(struct sim_relay *relay, struct ob_event *event)
{
	const struct ob_engine_config *config = &relay->world->plot.config;

	event->kind = OB_EVENT_RENEWED;
	if (event->code == OB_OK)
		relay->lease_until_ms = relay->asked_at_ms + config->lease_ms;
	if (event->code == OB_OK || event->code == OB_BUSY)
		sim_relay_put(relay, SIM_RENEW,
			      event->code == OB_OK ? config->lease_ms * 1000 / 3 : 100000,
			      relay->renewals, 0);
}

void
sim_calls_answer(struct sim_relay *relay)
{
	struct ob_event event = {.code = relay->call_code, .asked_at_ms = relay->asked_at_ms};
	enum sim_call call = relay->calls[0];

	memmove(relay->calls, relay->calls + 1, (--relay->call_count) * sizeof(relay->calls[0]));
	relay->in_call = false;
	relay->failed_calls += event.code != OB_OK;
	if (relay->failed_calls > FAILED_CALLS_MAX)
		sim_ledger_fail(&relay->world->ledger, "P6",
				"relay %u made %u calls in a second that failed", relay->index,
				relay->failed_calls);
	if (event.code != OB_OK && event.code != OB_BUSY)
		SIM_TELL(relay->world, "relay %u: the store answers %s to call %d", relay->index,
			 ob_code_name(event.code), call);
	switch (call) {
	case SIM_CALL_ACQUIRE:
		answer_acquire(relay, &event);
		break;
	case SIM_CALL_FETCH:
		answer_fetch(relay, &event);
		break;
	case SIM_CALL_SETTLE:
		answer_settle(relay, &event);
		break;
	case SIM_CALL_RENEW:
		answer_renew(relay, &event);
		break;
	case SIM_CALL_NONE:
		break;
	}
	if (event.code != OB_OK && event.code != OB_BUSY) {
		/* The engine acquires again; until then there is nothing to renew. */
		relay->holds = false;
		relay->renewals++;
	}
	call_begin(relay);
	sim_relay_step(relay, &event);
}
