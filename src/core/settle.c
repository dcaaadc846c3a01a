/*
 * The settle: when it is made, and what follows from the answer. What it says is walk.c's.
 *
 * When: `settle_every_ms` after the first thing to tell; earlier when half the window can be passed, when the fetch
 * starves for room, or when a parked run is finished and its key waits for the next.
 *
 * It is as large as the store takes in one transaction; if there is more to tell, the next one follows at once.
 *
 * What a settle does to the table of parked keys and to the counts is pending until it is confirmed. Refused
 * (CHANGED), it is taken back entry by entry. BUSY sends the same again. After any other answer nobody knows, and
 * session.c decides.
 */
#include <stdlib.h>

#include "core.h"

#define BUSY_FIRST_MS  10
#define FULL_RELOAD_MS 30000
#define BUSY_MAX_MS    1000

bool
ob_settling_init(struct ob_engine *engine)
{
	struct settling *settling = &engine->settling;
	size_t size = (size_t)engine->config.window_count_max + engine->config.parked_window_max;

	settling->outcomes_size = (uint32_t)size;
	settling->outcomes = calloc(size, sizeof(*settling->outcomes));
	/* With room for a note of the walk itself. */
	settling->tries = calloc(size * (OB_ENTRY_TRIES + 1), sizeof(*settling->tries));
	settling->due_ms = settling->passed_due_ms = settling->retry_at_ms = OB_NEVER;
	return settling->outcomes != NULL && settling->tries != NULL;
}

void
ob_settling_free(struct ob_engine *engine)
{
	free(engine->settling.outcomes);
	free(engine->settling.tries);
}

static bool
settle_make(struct ob_engine *engine)
{
	struct settling *settling = &engine->settling;
	bool passed = settling->passed_due_ms != OB_NEVER;
	const char *full = settling->full;
	bool passed_due = settling->passed_due_ms <= engine->now_ms || engine->draining;

	settling->settle = (struct ob_settle){.outcomes = settling->outcomes};
	settling->tries_count = 0;
	settling->touched = NULL;
	settling->rows = settling->scheduled = settling->dead = 0;
	settling->count = 0;
	settling->bytes = 0;
	settling->is_cut = false;
	settling->parked_due_ms = settling->due_ms = OB_NEVER;
	settling->full = NULL;
	settling->settle.through = ob_walk_make(engine);
	/* A walk that ended before it came to the row without room says nothing about the quota. */
	if (settling->full == NULL && settling->settle.through < engine->window.first &&
	    engine->window.first < engine->window.next)
		settling->full = full;
	/* A replay parks what is parked already, so that our count may be too high. Whoever ends asks once more. */
	if (settling->full != NULL) {
		int64_t again_ms = engine->draining && engine->parked.unsure
				       ? engine->now_ms
				       : ob_core_later(engine->parked.loaded_ms, FULL_RELOAD_MS);

		settling->due_ms = ob_core_max(again_ms, engine->now_ms + 1);
		settling->wants_reload = settling->wants_reload || again_ms <= engine->now_ms;
	}
	if (settling->settle.through < engine->window.first &&
	    settling->settle.outcome_count == 0 && !(passed && passed_due)) {
		if (settling->wants_reload)
			ob_session_reload(engine);
		return false;
	}
	settling->tells_passed = passed;
	settling->passed_due_ms = OB_NEVER;
	settling->under_way = true;
	settling->is_void = false;
	settling->retry_at_ms = OB_NEVER;
	settling->busy_count = 0;
	ob_core_action(engine, OB_ACTION_SETTLE)->settle = &settling->settle;
	return true;
}

/* ---- when ---- */

/* The window starves for room, and only a settle takes its first entry out of the way. */
static bool
must_be_put_away(const struct ob_engine *engine)
{
	const struct window *window = &engine->window;
	const struct entry *entry = ob_window_at(window, window->prefix);

	if (engine->settling.due_ms == OB_NEVER || window->prefix == window->next)
		return false;
	return entry->scheduled || entry->awaits == AWAITS_SETTLE ||
	       (entry->awaits == AWAITS_TURN && entry->lane != NULL && entry->lane->parked != NULL);
}

static bool
settle_is_due(const struct ob_engine *engine)
{
	const struct settling *settling = &engine->settling;
	uint64_t passable = engine->window.prefix - engine->window.first;
	uint32_t most = engine->config.window_count_max;
	uint32_t share = most / 8;

	if (settling->due_ms <= engine->now_ms || settling->passed_due_ms <= engine->now_ms)
		return true;
	if (passable > 0 && passable >= most / 2)
		return true;
	if (!settling->tight)
		return false;
	return passable > 0 && engine->window.prefix == engine->window.next
		   ? true
		   : passable > share || must_be_put_away(engine);
}

/* A drain waits for receipts, for what fills the gaps before them, and for the verdicts, a second at most. When its
   time is up it waits only for those receipts that a cancel brings. */
static bool
is_finished(const struct ob_engine *engine)
{
	if (!engine->draining || engine->session.hold != HOLD_HELD || engine->in_flight > 0)
		return false;
	return engine->abandoned ||
	       (ob_list_is_empty(&engine->recipient.verdicts) && !ob_delivery_fills_gaps(engine));
}

/* The last message that was sent and is not settled; 0: there is none. */
static uint64_t
last_sent(const struct ob_engine *engine)
{
	const struct window *window = &engine->window;
	uint64_t at = window->next - 1;

	for (; at >= window->first; at--) {
		const struct entry *entry = ob_window_at(window, at);

		if (entry->awaits == AWAITS_SETTLE && entry->end == END_SENT)
			return at;
	}
	return 0;
}

void
ob_settling_advance(struct ob_engine *engine)
{
	struct settling *settling = &engine->settling;
	bool finished = is_finished(engine);

	if (engine->drained)
		return;
	if (settling->under_way) {
		if (settling->retry_at_ms <= engine->now_ms) {
			settling->retry_at_ms = OB_NEVER;
			ob_core_action(engine, OB_ACTION_SETTLE)->settle = &settling->settle;
		}
		return;
	}
	if (engine->session.hold != HOLD_HELD)
		return;
	settling->tight = engine->draining || ob_fetching_starves(engine);
	settling->last_sent = finished ? last_sent(engine) : 0;
	if (settling->last_sent > 0)
		ob_parked_give_back(engine);
	if (finished || settle_is_due(engine)) {
		/* The walk may have found one more that may go. */
		if (!settle_make(engine) && finished && is_finished(engine)) {
			engine->drained = true;
			ob_core_action(engine, OB_ACTION_DRAINED);
		}
	}
}

/* ---- the answer ---- */

static void
outcomes_count(struct ob_engine *engine)
{
	const struct ob_settle *settle = &engine->settling.settle;
	struct ob_engine_stats *stats = &engine->stats;

	for (uint32_t i = 0; i < settle->outcome_count; i++) {
		switch (settle->outcomes[i].kind) {
		case OB_OUTCOME_PARK:
		case OB_OUTCOME_BEHIND:
			stats->parked++;
			break;
		case OB_OUTCOME_SCHEDULE:
			stats->scheduled++;
			break;
		case OB_OUTCOME_DEAD:
		case OB_OUTCOME_DEAD_HOLD:
		case OB_OUTCOME_BURY:
		case OB_OUTCOME_BURY_HOLD:
			stats->dead++;
			break;
		case OB_OUTCOME_UNPARK:
			stats->unparked++;
			break;
		case OB_OUTCOME_REPARK:
		case OB_OUTCOME_BACK:
		default:
			break;
		}
	}
}

static uint64_t
added(uint64_t count, int64_t by)
{
	return by < 0 && (uint64_t)-by > count ? 0 : count + (uint64_t)by;
}

static void
touched_confirm(struct ob_engine *engine)
{
	struct parked *parked = engine->settling.touched;

	while (parked != NULL) {
		struct parked *next = parked->next;

		parked->rows = (uint32_t)added(parked->rows, parked->pending);
		parked->pending = 0;
		parked->held = parked->held || parked->held_pending;
		parked->held_pending = false;
		parked->touched = false;
		if (parked->rows == 0 && !parked->held)
			ob_parked_delete(engine, parked);
		parked = next;
	}
	engine->settling.touched = NULL;
}

static void
settle_confirm(struct ob_engine *engine)
{
	struct settling *settling = &engine->settling;
	struct parked_table *table = &engine->parked;
	struct ob_list *it;

	engine->stats.settles++;
	engine->session.failures = 0;
	outcomes_count(engine);
	ob_window_pop(engine, settling->settle.through);
	while ((it = ob_list_pop_front(&table->settling)) != NULL)
		ob_window_free_parked(engine, OB_CONTAINER_OF(it, struct entry, link));
	table->rows = added(table->rows, settling->rows);
	table->scheduled = added(table->scheduled, settling->scheduled);
	table->dead = added(table->dead, settling->dead);
	table->unsure = table->unsure || settling->settle.outcome_count > 0;
	touched_confirm(engine);
	table->due_ms = ob_core_min(table->due_ms, settling->parked_due_ms);
	engine->fetching.settled_due_ms =
	    ob_core_min(engine->fetching.settled_due_ms, settling->parked_due_ms);
	if (settling->is_cut)
		ob_settling_soon(engine, 0);
	else if (engine->window.first < engine->window.next)
		ob_settling_soon(engine, engine->config.settle_every_ms);
	if (settling->wants_reload) {
		engine->session.retained = false;
		ob_session_reload(engine);
	}
}

void
ob_settling_undo(struct ob_engine *engine)
{
	struct settling *settling = &engine->settling;
	struct window *window = &engine->window;
	struct ob_list *it;

	for (uint64_t at = window->first; at <= settling->settle.through; at++) {
		struct entry *entry = ob_window_at(window, at);

		if (entry->awaits != AWAITS_STORE)
			continue;
		entry->awaits = entry->was;
		if (entry->awaits == AWAITS_TRY && entry->heap_at == 0 && !entry->scheduled)
			ob_tries_add(engine, entry);
	}
	/* In their order, before those that have ended since. */
	while ((it = ob_list_last(&engine->parked.settling)) != NULL) {
		OB_CONTAINER_OF(it, struct entry, link)->awaits = AWAITS_SETTLE;
		ob_list_remove(it);
		ob_list_push_front(&engine->parked.ends, it);
	}
	if (settling->tells_passed)
		settling->passed_due_ms = engine->now_ms;
	engine->stats.settles_refused++;
}

void
ob_settling_answer(struct ob_engine *engine, enum ob_code code)
{
	struct settling *settling = &engine->settling;

	OB_CHECK(settling->under_way);
	OB_CHECK(settling->retry_at_ms == OB_NEVER);
	if (code == OB_BUSY && !settling->is_void && !engine->abandoned) {
		int64_t wait = ob_core_doubled(BUSY_FIRST_MS, settling->busy_count++, BUSY_MAX_MS);

		settling->retry_at_ms =
		    ob_core_later(engine->now_ms, ob_core_jitter(engine, wait, 20));
		return;
	}
	settling->under_way = false;
	if (settling->is_void || engine->drained)
		return;
	if (code == OB_OK) {
		settle_confirm(engine);
		return;
	}
	ob_settling_undo(engine);
	if (code == OB_BUSY) { /* and the time is over: what is not written is sent again */
		engine->drained = true;
		ob_core_action(engine, OB_ACTION_DRAINED);
		return;
	}
	ob_session_failed(engine, code, "settle");
}
