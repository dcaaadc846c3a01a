/*
 * The engine: one event in, actions out. engine.h says what it promises; here is how it is put together.
 *
 * Every step takes the event in, then asks each part in turn what is to be done now:
 *
 *   timers.c     which tries and verdicts are due
 *   session.c    do we hold the lease, and does the window stand
 *   settle.c     is there something to write down (walk.c: what)
 *   fetch.c      is there room to read ahead
 *   state.c      what are people to be told
 *   delivery.c   who may go
 *
 * and window.c (what is held), lanes.c (whose turn it is), parked.c (what the store holds back), retry.c (what a
 * failure does to a message) and recipient.c (is it the recipient rather than the message) hold what they decide by.
 *
 * The happy path: batch_take puts the rows into the ring and their lanes, ob_lanes_add lists those that may
 * go, entry_submit sends them, entry_sent resolves them and lists the next of the lane, the walk of the settle passes
 * them, settle_confirm pops them and gives their batch back. All of that is a fixed amount of work for each
 * message, whatever the window holds.
 *
 * What goes wrong, and where it is dealt with: a message fails (retry.c, then settle.c parks it), the recipient
 * fails (recipient.c), the sink is full (entry_unsubmit), the store is busy (the same settle again), the store fails
 * or somebody else or a person comes between (session.c: is the window kept or dropped), a receipt comes too late
 * (delivery.c: ghosts). Whatever was not confirmed by the store is as if it had not happened.
 */
#include <stdlib.h>

#include "core.h"

struct ob_action *
ob_core_action(struct ob_engine *engine, enum ob_action_kind kind)
{
	struct ob_action *action = &engine->actions[engine->action_count];

	OB_CHECK(engine->action_count < sizeof(engine->actions) / sizeof(engine->actions[0]));
	engine->action_count++;
	*action = (struct ob_action){.kind = kind};
	return action;
}

/* SplitMix64 (Steele, Lea and Flood, 2014): jitter need not be more. */
uint64_t
ob_core_random(struct ob_engine *engine)
{
	uint64_t z = engine->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

int64_t
ob_core_jitter(struct ob_engine *engine, int64_t ms, uint32_t pct)
{
	uint64_t span = (uint64_t)ms / 100 * 2 * pct + (uint64_t)ms % 100 * 2 * pct / 100;

	if (span == 0)
		return ms;
	return ms - (int64_t)(span / 2) + (int64_t)(ob_core_random(engine) % (span + 1));
}

int64_t
ob_core_doubled(int64_t first, uint32_t times, int64_t max)
{
	while (times-- > 0 && first < max)
		first *= 2;
	return first < max ? first : max;
}

struct ob_engine *
ob_engine_new(const struct ob_engine_config *config)
{
	struct ob_engine *engine = calloc(1, sizeof(*engine));

	if (engine == NULL)
		return NULL;
	engine->config = *config;
	engine->random = config->seed;
	engine->wake_ms = OB_NEVER;
	engine->session.lease_ends_ms = OB_NEVER;
	if (!ob_window_init(engine) || !ob_lanes_init(engine) || !ob_parked_init(engine) ||
	    !ob_tries_init(engine) || !ob_delivery_init(engine) || !ob_recipient_init(engine) ||
	    !ob_settling_init(engine)) {
		ob_engine_free(engine);
		return NULL;
	}
	return engine;
}

void
ob_engine_free(struct ob_engine *engine)
{
	if (engine == NULL)
		return;
	ob_window_free(engine);
	ob_lanes_free(engine);
	ob_parked_free(engine);
	ob_delivery_free(engine);
	ob_settling_free(engine);
	free(engine->tries.heap);
	free(engine->recipient.streak);
	free(engine);
}

static void
take_limits(struct ob_engine *engine, const struct ob_sink_limits *limits)
{
	struct lanes *lanes = &engine->lanes;

	engine->config.sink = *limits;
	if (engine->config.sink.in_flight_max == 0)
		engine->config.sink.in_flight_max = 1;
	/* Where the order is kept no longer, those listed behind others in flight wait again. */
	for (uint32_t i = 0; i < lanes->used; i++)
		ob_lanes_update(engine, &lanes->all[i]);
}

static void
take_event(struct ob_engine *engine, const struct ob_event *event)
{
	switch (event->kind) {
	case OB_EVENT_START:
		OB_CHECK(!engine->session.started);
		engine->session.started = true;
		engine->session.acquire_at_ms = event->now_ms;
		break;
	case OB_EVENT_ACQUIRED:
		ob_session_acquired(engine, event);
		break;
	case OB_EVENT_RENEWED:
		ob_session_renewed(engine, event);
		break;
	case OB_EVENT_FETCHED:
		ob_fetching_answer(engine, event->code, event->batch);
		break;
	case OB_EVENT_SUBMITTED:
		ob_delivery_submitted(engine, event->accepted);
		break;
	case OB_EVENT_SINK_FREE:
		engine->submitting.full = false;
		break;
	case OB_EVENT_RECEIPTS:
		for (uint32_t i = 0; i < event->receipt_count; i++)
			ob_delivery_receipt(engine, &event->receipts[i]);
		break;
	case OB_EVENT_SETTLED:
		ob_settling_answer(engine, event->code);
		break;
	case OB_EVENT_LIMITS:
		take_limits(engine, &event->sink_limits);
		break;
	case OB_EVENT_POKE:
		ob_recipient_poke(engine);
		break;
	case OB_EVENT_PAUSE:
		engine->paused = true;
		break;
	case OB_EVENT_RESUME:
		engine->paused = false;
		break;
	case OB_EVENT_DRAIN:
		if (!engine->draining)
			ob_delivery_drain(engine);
		engine->draining = true;
		break;
	case OB_EVENT_ABANDON:
		OB_CHECK(engine->draining);
		if (!engine->abandoned && engine->in_flight > 0)
			ob_core_action(engine, OB_ACTION_CANCEL);
		engine->abandoned = true;
		ob_recipient_forget_verdicts(engine);
		ob_settling_soon(engine, 0);
		break;
	case OB_EVENT_TIMER:
		/* The time it carries is what matters; and the one asked for is used up. */
		if (engine->wake_ms <= event->now_ms)
			engine->wake_ms = OB_NEVER;
		break;
	default:
		OB_CHECK(false);
	}
}

void
ob_engine_step(struct ob_engine *engine, const struct ob_event *event, struct ob_actions *actions)
{
	engine->action_count = 0;
	/* The clock only rises; should two threads' readings cross, the later one stands. */
	engine->now_ms = ob_core_max(engine->now_ms, event->now_ms);
	take_event(engine, event);
	ob_timers_run(engine);
	ob_session_advance(engine);
	ob_window_advance(engine);
	ob_settling_advance(engine);
	ob_fetching_advance(engine);
	ob_session_acquire(engine);
	ob_state_update(engine);
	ob_delivery_submit(engine);
	ob_timers_wake_at(engine);
	*actions = (struct ob_actions){.items = engine->actions, .count = engine->action_count};
}

static bool
is_idle(const struct ob_engine *engine)
{
	const struct window *window = &engine->window;

	return engine->session.hold == HOLD_HELD && engine->fetching.was_empty &&
	       window->first == window->next && ob_window_handed(window) == 0 &&
	       !engine->settling.under_way && engine->parked.due_ms > engine->now_ms;
}

void
ob_engine_stats(const struct ob_engine *engine, struct ob_engine_stats *stats)
{
	const struct window *window = &engine->window;

	*stats = engine->stats;
	stats->window_rows_now = ob_window_count(window) + ob_window_handed(window);
	stats->window_bytes_now = window->bytes;
	stats->in_flight_now = engine->in_flight;
	stats->parked_rows_now = engine->parked.rows;
	stats->parked_keys_now = engine->parked.map.count;
	stats->scheduled_rows_now = engine->parked.scheduled;
	stats->dead_rows_now = engine->parked.dead;
	stats->settled_through = window->first - 1;
	stats->last_ordinal = window->next - 1;
	stats->idle = is_idle(engine);
	stats->due_later = engine->parked.due_ms != OB_NEVER;
}
