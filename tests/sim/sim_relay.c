/* A relay: steps its engine and does what it says. Everything that an onlooker can check is checked here. */
#include "sim_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A moment in which an engine takes more steps than that is a moment that never ends. */
#define CROWD_MAX 3000

/* ---- its clock ---- */

int64_t
sim_relay_now_ms(const struct sim_relay *relay)
{
	const struct sim_plot *plot = &relay->world->plot;
	int64_t now_us = relay->world->now_us;

	return plot->relay_offset_ms[relay->index] +
	       (now_us + now_us / 1000 * plot->relay_ppm[relay->index] / 1000) / 1000;
}

static int64_t
until_ms(const struct sim_relay *relay, int64_t at_ms)
{
	int64_t delay_ms = at_ms - sim_relay_now_ms(relay);

	if (delay_ms <= 0)
		return 0;
	/* A little late, as everybody is who sleeps, but never early by its own clock. */
	return delay_ms * 1003 + 1000;
}

void
sim_relay_put(struct sim_relay *relay, enum sim_what what, int64_t delay_us, uint32_t a, uint64_t b)
{
	sim_queue_put(&relay->world->queue, (struct sim_event){
						.at_us = relay->world->now_us + delay_us,
						.what = (uint8_t)what,
						.relay = relay->index,
						.life = relay->life,
						.a = a,
						.b = b,
					    });
}

/* ---- actions ---- */

static void
check_lease(struct sim_relay *relay)
{
	if (sim_relay_now_ms(relay) > relay->lease_until_ms)
		sim_ledger_fail(&relay->world->ledger, "P4",
				"relay %u submits though its lease ran out %lld ms ago",
				relay->index,
				(long long)(sim_relay_now_ms(relay) - relay->lease_until_ms));
	if (relay->report.state == OB_STATE_PAUSED)
		sim_ledger_fail(&relay->world->ledger, "P8",
				"relay %u submits though it says \"paused\"", relay->index);
}

static void
do_acquire(struct sim_relay *relay, const struct ob_action *action)
{
	if (relay->acquiring)
		sim_ledger_fail(&relay->world->ledger, "contract", "a second acquire is asked for");
	relay->acquiring = true;
	relay->holds = false;
	relay->renewals++;
	/* A fetch that waits has nothing to wait for any more. */
	sim_calls_wake(relay);
	sim_relay_put(relay, SIM_ACQUIRE, until_ms(relay, action->not_before_ms), 0, 0);
}

static void
do_fetch(struct sim_relay *relay, const struct ob_action *action)
{
	const struct ob_engine_config *config = &relay->world->plot.config;
	const struct ob_fetch *fetch = &action->fetch;

	if (relay->fetching)
		sim_ledger_fail(&relay->world->ledger, "contract", "a second fetch is asked for");
	if (fetch->count_max > config->fetch_count_max ||
	    fetch->parked_max > config->parked_window_max ||
	    fetch->count_max + fetch->parked_max == 0)
		sim_ledger_fail(&relay->world->ledger, "P6",
				"a fetch for %u rows and %u parked ones", fetch->count_max,
				fetch->parked_max);
	relay->fetching = true;
	relay->fetch = *fetch;
	relay->fetch_may_wait = action->may_wait;
	sim_calls_add(relay, SIM_CALL_FETCH);
}

static void
do_settle(struct sim_relay *relay, const struct ob_action *action)
{
	if (relay->settling)
		sim_ledger_fail(&relay->world->ledger, "contract", "a second settle is asked for");
	relay->settling = true;
	relay->settle = action->settle;
	sim_calls_add(relay, SIM_CALL_SETTLE);
}

static void
do_report(struct sim_relay *relay, const struct ob_action *action)
{
	const struct ob_state_report *report = action->report;

	SIM_TELL(relay->world, "relay %u reports %s %s: %s", relay->index,
		 ob_state_name(report->state), report->code, report->text);
	if (report->code[0] == '\0' &&
	    (report->state == OB_STATE_DOWN || report->state == OB_STATE_BLOCKED ||
	     report->state == OB_STATE_FULL || report->state == OB_STATE_STORE_FAILED))
		sim_ledger_fail(&relay->world->ledger, "P8", "relay %u reports %s without a code",
				relay->index, ob_state_name(report->state));
	relay->report = *report;
}

/* Where there is no room to put away what stands before it, what was sent stays unsettled. */
static bool
any_quota_is_full(const struct sim_store *store)
{
	const struct ob_quotas *quotas = &store->plot->config.quotas;
	uint32_t keys = 0;

	for (int key = 0; key < SIM_KEYS_MAX; key++) {
		keys += store->chain_rows[key] > 0 || store->holder[key] >= 0;
		if (store->chain_rows[key] >= quotas->parked_rows_of_key)
			return true;
	}
	return keys >= quotas->parked_keys || store->parked_rows >= quotas->parked_rows ||
	       store->scheduled_rows >= quotas->scheduled_rows ||
	       store->dead_rows >= quotas->dead_rows;
}

/* It ended in an orderly way: all that it sent is settled, or it would be sent again by the next one. */
static void
check_all_is_settled(struct sim_relay *relay)
{
	struct sim_world *world = relay->world;

	for (uint64_t at = relay->confirmed + 1; at <= relay->session.ordinals; at++) {
		uint32_t message = world->store.order[relay->session.entries[at].at];

		if (world->ledger.messages[message].sent_session == relay->session.number &&
		    !world->ledger.messages[message].loose)
			sim_ledger_fail(
			    &world->ledger, "P4",
			    "relay %u is drained, but message %u, which was sent, is not settled",
			    relay->index, message);
	}
}

static void
do_drained(struct sim_relay *relay)
{
	struct sim_world *world = relay->world;

	if (!relay->draining)
		sim_ledger_fail(&world->ledger, "contract", "drained without being asked");
	if (relay->sink.count > relay->sink.cancelled)
		sim_ledger_fail(&world->ledger, "contract", "drained with %u in flight",
				relay->sink.count);
	if (relay->holds && !relay->busy_at_end && !any_quota_is_full(&world->store))
		check_all_is_settled(relay);
	SIM_TELL(world, "relay %u is drained", relay->index);
	world->store.now_us = world->now_us;
	sim_store_release(&world->store, &relay->session);
	sim_relay_crash(relay);
}

/* Does one action. `*accepted` is set when SUBMITTED has to follow. */
static void
do_action(struct sim_relay *relay, const struct ob_action *action, int64_t *accepted)
{
	switch (action->kind) {
	case OB_ACTION_ACQUIRE:
		do_acquire(relay, action);
		break;
	case OB_ACTION_FETCH:
		do_fetch(relay, action);
		break;
	case OB_ACTION_SUBMIT:
		if (*accepted >= 0)
			sim_ledger_fail(&relay->world->ledger, "contract",
					"two submits in one step");
		check_lease(relay);
		*accepted = sim_sink_submit(relay, action->deliveries, action->delivery_count);
		break;
	case OB_ACTION_SETTLE:
		do_settle(relay, action);
		break;
	case OB_ACTION_CANCEL:
		SIM_TELL(relay->world, "relay %u cancels", relay->index);
		sim_sink_cancel(relay);
		break;
	case OB_ACTION_FLUSH:
		break;
	case OB_ACTION_FREE_BATCH:
		sim_batch_give(relay, action->batch);
		break;
	case OB_ACTION_WAKE_AT:
		relay->timers++;
		if (action->wake_at_ms != INT64_MAX)
			sim_relay_put(relay, SIM_RELAY_TIMER, until_ms(relay, action->wake_at_ms),
				      relay->timers, 0);
		break;
	case OB_ACTION_REPORT:
		do_report(relay, action);
		break;
	case OB_ACTION_DRAINED:
		break;
	}
}

static void
check_stats(struct sim_relay *relay)
{
	const struct ob_engine_config *config = &relay->world->plot.config;
	struct ob_engine_stats stats;

	ob_engine_stats(relay->engine, &stats);
	if (stats.window_rows_now > config->window_count_max + config->parked_window_max)
		sim_ledger_fail(&relay->world->ledger, "P6", "the window says it has %llu rows",
				(unsigned long long)stats.window_rows_now);
	if (stats.in_flight_now > config->in_flight_max)
		sim_ledger_fail(&relay->world->ledger, "P6",
				"the engine says it has %llu in flight",
				(unsigned long long)stats.in_flight_now);
}

static void
count_step(struct sim_relay *relay, int64_t now_ms)
{
	relay->steps++;
	relay->world->counts.steps++;
	if (now_ms != relay->crowd_at_ms) {
		relay->crowd_at_ms = now_ms;
		relay->crowd = 0;
	}
	if (++relay->crowd > CROWD_MAX)
		sim_ledger_fail(&relay->world->ledger, "P6",
				"relay %u takes steps without end in one moment", relay->index);
}

void
sim_relay_step(struct sim_relay *relay, struct ob_event *event)
{
	struct ob_event next = *event;
	bool goes_on = true;

	while (goes_on && !relay->world->ledger.failed) {
		struct ob_actions actions;
		int64_t accepted = -1;
		bool drained = false;

		next.now_ms = sim_relay_now_ms(relay);
		count_step(relay, next.now_ms);
		sim_coverage_event(relay->world->coverage, &next, relay->report.state);
		ob_engine_step(relay->engine, &next, &actions);
		for (uint32_t i = 0; i < actions.count; i++) {
			do_action(relay, &actions.items[i], &accepted);
			drained |= actions.items[i].kind == OB_ACTION_DRAINED;
		}
		if (drained) {
			do_drained(relay);
			return;
		}
		goes_on = accepted >= 0;
		next =
		    (struct ob_event){.kind = OB_EVENT_SUBMITTED, .accepted = (uint32_t)accepted};
	}
	if (relay->steps % 16 == 0)
		check_stats(relay);
}

/* ---- its life ---- */

void
sim_relay_start(struct sim_relay *relay)
{
	struct sim_world *world = relay->world;
	struct ob_event event = {.kind = OB_EVENT_START};

	if (relay->alive)
		return;
	SIM_TELL(world, "relay %u starts", relay->index);
	relay->alive = true;
	world->counts.starts++;
	relay->life++;
	relay->draining = relay->abandoned = relay->paused_locally = false;
	relay->busy_at_end = false;
	relay->call_count = 0;
	relay->in_call = relay->waiting = false;
	relay->acquiring = relay->fetching = relay->settling = relay->holds = false;
	relay->frozen_until_us = 0;
	relay->drain_deadline_us = 0;
	relay->report = (struct ob_state_report){0};
	relay->down_seen = relay->unproven = false;
	relay->wrong_s = 0;
	relay->confirmed = relay->bytes_held = 0;
	relay->lease_until_ms = INT64_MIN;
	sim_session_begin(&relay->session, sim_rng_next(&world->rng) | 1);
	sim_sink_open(relay);
	relay->engine = ob_engine_new(&world->plot.config);
	if (relay->engine == NULL)
		abort();
	sim_relay_step(relay, &event);
}

/* Also the end of a relay that is drained: then nothing is on its way. */
void
sim_relay_crash(struct sim_relay *relay)
{
	if (!relay->alive)
		return;
	relay->alive = false;
	relay->holds = false;
	relay->life++;
	sim_sink_close(relay);
	if (relay->batch != NULL)
		sim_batch_give(relay, relay->batch);
	relay->batch = NULL;
	if (relay->engine != NULL && relay->world->coverage != NULL) {
		struct ob_engine_stats stats;

		ob_engine_stats(relay->engine, &stats);
		sim_coverage_engine(relay->world->coverage, &stats);
	}
	ob_engine_free(relay->engine);
	relay->engine = NULL;
}

void
sim_relay_free(struct sim_relay *relay)
{
	ob_engine_free(relay->engine);
	relay->engine = NULL;
	ob_batch_free(relay->batch);
	relay->batch = NULL;
	while (relay->spare_count > 0)
		ob_batch_free(relay->spare[--relay->spare_count]);
}

void
sim_relay_freeze(struct sim_relay *relay, int64_t until_us)
{
	if (relay->alive && until_us > relay->frozen_until_us)
		relay->frozen_until_us = until_us;
}

void
sim_relay_drain(struct sim_relay *relay)
{
	struct sim_world *world = relay->world;
	struct ob_event event = {.kind = OB_EVENT_DRAIN};

	if (!relay->alive || relay->draining || relay->frozen_until_us > world->now_us)
		return;
	SIM_TELL(world, "relay %u is asked to drain", relay->index);
	relay->draining = relay->session.draining = true;
	sim_relay_put(relay, SIM_ABANDON, sim_rng_spread(&world->rng, 10, 5000) * 1000, 0, 0);
	sim_calls_wake(relay);
	sim_relay_step(relay, &event);
}

bool
sim_relay_is_idle(const struct sim_relay *relay)
{
	struct ob_engine_stats stats;

	if (!relay->alive || relay->sink.count > 0)
		return false;
	ob_engine_stats(relay->engine, &stats);
	return stats.idle;
}

/* ---- what happens to it ---- */

static void
abandon(struct sim_relay *relay)
{
	struct ob_event event = {.kind = OB_EVENT_ABANDON};

	SIM_TELL(relay->world, "relay %u: the time to drain is up", relay->index);
	relay->abandoned = true;
	relay->drain_deadline_us = relay->world->now_us;
	sim_relay_step(relay, &event);
}

static void
begin_renewal(struct sim_relay *relay)
{
	for (uint32_t i = 0; i < relay->call_count; i++)
		if (relay->calls[i] == SIM_CALL_RENEW)
			return;
	if (relay->holds)
		sim_calls_add(relay, SIM_CALL_RENEW);
}

void
sim_relay_happens(struct sim_relay *relay, const struct sim_event *event)
{
	struct ob_event timer = {.kind = OB_EVENT_TIMER};
	struct ob_event free_again = {.kind = OB_EVENT_SINK_FREE};

	switch ((enum sim_what)event->what) {
	case SIM_RELAY_TIMER:
		if (event->a == relay->timers)
			sim_relay_step(relay, &timer);
		break;
	case SIM_STORE_EFFECT:
		sim_calls_effect(relay);
		break;
	case SIM_STORE_ANSWER:
		sim_calls_answer(relay);
		break;
	case SIM_STORE_WAKE:
		if (event->a == relay->wakes)
			sim_calls_wake(relay);
		break;
	case SIM_RENEW:
		if (event->a == relay->renewals)
			begin_renewal(relay);
		break;
	case SIM_ACQUIRE:
		sim_calls_add(relay, SIM_CALL_ACQUIRE);
		break;
	case SIM_ARRIVAL:
		sim_sink_arrival(relay, event->a, event->b);
		break;
	case SIM_RECEIPT:
		sim_sink_receipt(relay, event->a, event->b);
		break;
	case SIM_POLL:
		sim_sink_poll(relay);
		break;
	case SIM_SINK_FREE:
		sim_relay_step(relay, &free_again);
		break;
	case SIM_ABANDON:
		abandon(relay);
		break;
	default:
		break;
	}
}

/* Once a second: does what it says of itself agree with what an onlooker sees (P8)? */
void
sim_relay_watch(struct sim_relay *relay)
{
	struct sim_world *world = relay->world;

	relay->failed_calls = 0;
	if (!relay->alive || relay->frozen_until_us > world->now_us)
		return;
	if (relay->holds && relay->down_seen && relay->report.state == OB_STATE_RUNNING &&
	    relay->session.ordinals > relay->confirmed)
		relay->wrong_s++;
	else
		relay->wrong_s = 0;
	if (relay->wrong_s > 3)
		sim_ledger_fail(
		    &world->ledger, "P8",
		    "relay %u says \"running\", though its recipient is down and took nothing since",
		    relay->index);
	if (relay->holds && relay->acquired.paused && !relay->acquiring && !relay->draining &&
	    relay->session.epoch == world->store.epoch && world->store.paused &&
	    relay->report.state == OB_STATE_RUNNING)
		sim_ledger_fail(&world->ledger, "P8",
				"relay %u says \"running\", though it is paused", relay->index);
	if (relay->abandoned && world->faults_active == 0 &&
	    world->now_us - relay->drain_deadline_us > 60 * INT64_C(1000000) &&
	    world->now_us - world->trouble_until_us > 60 * INT64_C(1000000))
		sim_ledger_fail(&world->ledger, "P8", "relay %u never ends to drain", relay->index);
}
