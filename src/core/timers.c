/*
 * Time: the heap of entries that await their next try, and the one moment at which the engine wants
 * to be woken. The heap holds each entry at most once and has room for all of them.
 */
#include <stdlib.h>

#include "core.h"

bool
ob_tries_init(struct ob_engine *engine)
{
	size_t size = (size_t)engine->config.window_count_max + engine->config.parked_window_max;

	engine->tries.heap = calloc(size, sizeof(*engine->tries.heap));
	return engine->tries.heap != NULL;
}

static void
heap_set(struct tries *tries, uint32_t at, struct entry *entry)
{
	tries->heap[at] = entry;
	entry->heap_at = at + 1;
}

static void
heap_up(struct tries *tries, uint32_t at, struct entry *entry)
{
	while (at > 0 && tries->heap[(at - 1) / 2]->due_ms > entry->due_ms) {
		heap_set(tries, at, tries->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_set(tries, at, entry);
}

static void
heap_down(struct tries *tries, uint32_t at, struct entry *entry)
{
	for (;;) {
		uint32_t child = at * 2 + 1;

		if (child >= tries->count)
			break;
		if (child + 1 < tries->count &&
		    tries->heap[child + 1]->due_ms < tries->heap[child]->due_ms)
			child++;
		if (tries->heap[child]->due_ms >= entry->due_ms)
			break;
		heap_set(tries, at, tries->heap[child]);
		at = child;
	}
	heap_set(tries, at, entry);
}

void
ob_tries_add(struct ob_engine *engine, struct entry *entry)
{
	struct tries *tries = &engine->tries;

	OB_CHECK(entry->heap_at == 0);
	heap_up(tries, tries->count++, entry);
}

void
ob_tries_remove(struct ob_engine *engine, struct entry *entry)
{
	struct tries *tries = &engine->tries;
	uint32_t at = entry->heap_at;
	struct entry *last;

	if (at == 0)
		return;
	entry->heap_at = 0;
	last = tries->heap[--tries->count];
	if (last == entry)
		return;
	at--;
	if (at > 0 && tries->heap[(at - 1) / 2]->due_ms > last->due_ms)
		heap_up(tries, at, last);
	else
		heap_down(tries, at, last);
}

/* Tries that are due await their turn; verdicts whose time is over are given without a proof. */
void
ob_timers_run(struct ob_engine *engine)
{
	struct tries *tries = &engine->tries;
	struct ob_list *first;

	while (tries->count > 0 && tries->heap[0]->due_ms <= engine->now_ms) {
		struct entry *entry = tries->heap[0];

		ob_tries_remove(engine, entry);
		/* One that is being parked is woken only if the store refuses that. */
		if (entry->awaits == AWAITS_TRY)
			ob_lanes_turn(engine, entry);
	}
	while ((first = ob_list_first(&engine->recipient.verdicts)) != NULL) {
		struct entry *entry = OB_CONTAINER_OF(first, struct entry, link);

		if (entry->due_ms > engine->now_ms)
			break;
		ob_retry_doubt(engine, entry);
	}
}

/* What is past was done by this step, or waits for something else than time. */
static void
wake_by(const struct ob_engine *engine, int64_t *at, int64_t when)
{
	if (when > engine->now_ms && when < *at)
		*at = when;
}

static void
wake_by_recipient(const struct ob_engine *engine, int64_t *at)
{
	const struct recipient *recipient = &engine->recipient;
	struct ob_list *first = ob_list_first(&recipient->verdicts);

	if (first != NULL)
		wake_by(engine, at, OB_CONTAINER_OF(first, struct entry, link)->due_ms);
	if (ob_recipient_is_down(engine) && !recipient->probing &&
	    !ob_list_is_empty(&engine->lanes.ready))
		wake_by(engine, at, recipient->probe_at_ms);
}

static void
wake_by_store(const struct ob_engine *engine, int64_t *at)
{
	const struct settling *settling = &engine->settling;

	wake_by(engine, at, engine->session.lease_ends_ms);
	if (settling->under_way) {
		wake_by(engine, at, settling->retry_at_ms);
	} else {
		wake_by(engine, at, settling->due_ms);
		wake_by(engine, at, settling->passed_due_ms);
	}
	if (!engine->fetching.under_way && engine->session.hold == HOLD_HELD && !engine->paused &&
	    !engine->session.paused && !engine->draining) {
		wake_by(engine, at, engine->fetching.not_before_ms);
		wake_by(engine, at, engine->fetching.poll_at_ms);
		wake_by(engine, at, engine->parked.due_ms);
	}
}

void
ob_timers_wake_at(struct ob_engine *engine)
{
	int64_t at = OB_NEVER;

	if (!engine->drained) {
		if (engine->tries.count > 0)
			wake_by(engine, &at, engine->tries.heap[0]->due_ms);
		wake_by_recipient(engine, &at);
		if (engine->session.hold != HOLD_NONE)
			wake_by_store(engine, &at);
	}
	if (at == engine->wake_ms)
		return;
	engine->wake_ms = at;
	ob_core_action(engine, OB_ACTION_WAKE_AT)->wake_at_ms = at;
}
