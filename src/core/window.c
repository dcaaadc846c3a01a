/*
 * The window: what is held in memory. Rows of the log stand in a ring in ordinal order; the parked rows
 * that were handed out stand in a pool of their own. Both point into batches, which are given back whole once
 * nothing uses them: no entry, and no delivery, whose bytes the sink may still be reading.
 *
 * The window is limited in rows and in the bytes of its batches. Room is asked for in reasonable shares (an
 * eighth), or a window that is nearly full would be filled by a fetch for every message.
 */
#include <stdlib.h>

#include "core.h"

#define SHARE 8

static uint32_t
power_of_two(uint32_t at_least)
{
	uint32_t size = 1;

	while (size < at_least)
		size *= 2;
	return size;
}

bool
ob_window_init(struct ob_engine *engine)
{
	struct window *window = &engine->window;

	window->ring_size = power_of_two(engine->config.window_count_max);
	window->pool_size = engine->config.parked_window_max;
	window->ring = calloc(window->ring_size, sizeof(*window->ring));
	window->pool = calloc(window->pool_size, sizeof(*window->pool));
	window->pool_free = calloc(window->pool_size, sizeof(struct entry *));
	window->tries = calloc(((size_t)window->ring_size + window->pool_size) * OB_ENTRY_TRIES,
			       sizeof(*window->tries));
	if (window->ring == NULL || window->pool == NULL || window->pool_free == NULL ||
	    window->tries == NULL)
		return false;
	for (uint32_t i = 0; i < window->pool_size; i++)
		window->pool_free[i] = &window->pool[window->pool_size - 1 - i];
	window->pool_free_count = window->pool_size;
	for (uint16_t i = 0; i < OB_BATCHES_MAX; i++)
		window->batches_free[i] = (uint16_t)(OB_BATCHES_MAX - 1 - i);
	window->batches_free_count = OB_BATCHES_MAX;
	window->first = window->next = window->prefix = 1;
	return true;
}

void
ob_window_free(struct ob_engine *engine)
{
	struct window *window = &engine->window;

	for (uint32_t i = 0; i < OB_BATCHES_MAX; i++)
		ob_batch_free(window->batches[i].batch);
	free(window->ring);
	free(window->pool);
	free(window->pool_free);
	free(window->tries);
}

void
ob_window_give_back(struct ob_engine *engine, uint16_t at)
{
	struct window *window = &engine->window;
	struct batch_slot *slot = &window->batches[at];

	window->bytes -= slot->batch->bytes;
	ob_core_action(engine, OB_ACTION_FREE_BATCH)->batch = slot->batch;
	slot->batch = NULL;
	window->batches_free[window->batches_free_count++] = at;
	engine->fetching.need_room = false;
}

static bool
is_too_large(const struct ob_engine *engine, const struct ob_row *row)
{
	uint64_t most = engine->config.sink.message_bytes_max;

	return row->oversize_bytes > 0 || (most > 0 && row->message.payload.size > most);
}

static void
entry_init(struct ob_engine *engine, struct entry *entry, const struct ob_row *row, uint16_t batch)
{
	*entry = (struct entry){
	    .row = row,
	    .batch = batch,
	    .attempts = row->attempts,
	    .first_try_ms = engine->now_ms - row->age_ms,
	    .awaits = AWAITS_TURN,
	    .too_large = is_too_large(engine, row),
	};
	ob_list_init(&entry->chain);
	ob_list_init(&entry->link);
}

static void
log_row_add(struct ob_engine *engine, const struct ob_row *row, uint16_t batch)
{
	struct window *window = &engine->window;
	struct entry *entry = ob_window_at(window, row->ordinal);

	OB_CHECK(row->ordinal == window->next);
	OB_CHECK(ob_window_count(window) < engine->config.window_count_max);
	window->next++;
	entry_init(engine, entry, row, batch);
	entry->slot = (uint32_t)(entry - window->ring);
	if (row->due_in_ms <= 0) {
		ob_lanes_add(engine, entry);
		return;
	}
	/* It holds no key, and goes through the store, also if it is due before it got there: so there is one
	   way only for what becomes of it. */
	entry->scheduled = true;
	entry->awaits = AWAITS_TRY;
	entry->due_ms = ob_core_later(engine->now_ms, row->due_in_ms);
	ob_settling_soon(engine, engine->config.settle_every_ms);
}

static void
parked_row_add(struct ob_engine *engine, const struct ob_row *row, uint16_t batch)
{
	struct window *window = &engine->window;
	struct entry *entry;

	OB_CHECK(window->pool_free_count > 0);
	entry = window->pool_free[--window->pool_free_count];
	entry_init(engine, entry, row, batch);
	entry->slot = window->ring_size + (uint32_t)(entry - window->pool);
	entry->parked = true;
	entry->tried = row->attempts > 0;
	ob_recipient_recall_suspect(engine, entry);
	if (row->lane != 0) {
		struct parked *parked = ob_parked_find(engine, row->lane);

		OB_CHECK(parked != NULL);
		parked->handed++;
		if (parked->closed) {
			ob_parked_end(engine, entry, END_BACK);
			return;
		}
	}
	ob_lanes_add(engine, entry);
}

void
ob_window_add_batch(struct ob_engine *engine, struct ob_batch *batch, bool parked_too)
{
	struct window *window = &engine->window;
	struct batch_slot *slot;
	uint16_t at;

	OB_CHECK(window->batches_free_count > 0);
	at = window->batches_free[--window->batches_free_count];
	slot = &window->batches[at];
	slot->batch = batch;
	slot->uses = 1; /* ours, while rows are added */
	window->bytes += batch->bytes;
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct ob_row *row = &batch->rows[i];

		if (row->ordinal == 0 && !parked_too)
			continue;
		slot->uses++;
		if (row->ordinal != 0)
			log_row_add(engine, row, at);
		else
			parked_row_add(engine, row, at);
	}
	ob_window_unuse(engine, at);
}

void
ob_window_free_parked(struct ob_engine *engine, struct entry *entry)
{
	struct window *window = &engine->window;

	if (entry->listed) {
		entry->listed = false;
		ob_list_remove(&entry->link);
	}
	ob_window_unuse(engine, entry->batch);
	entry->row = NULL;
	window->pool_free[window->pool_free_count++] = entry;
	engine->fetching.poll_at_ms = 0;
}

void
ob_window_pop(struct ob_engine *engine, uint64_t through)
{
	struct window *window = &engine->window;

	OB_CHECK(through < window->next);
	while (window->first <= through) {
		struct entry *entry = ob_window_at(window, window->first++);

		if (entry->end != END_SENT) {
			ob_tries_remove(engine, entry);
			ob_lanes_remove(engine, entry);
		}
		ob_window_unuse(engine, entry->batch);
		entry->row = NULL;
	}
	if (window->prefix < window->first)
		window->prefix = window->first;
}

void
ob_window_drop(struct ob_engine *engine)
{
	struct window *window = &engine->window;

	ob_delivery_give_up_all(engine);
	ob_lanes_clear(engine);
	ob_list_init(&engine->recipient.verdicts);
	ob_list_init(&engine->parked.ends);
	ob_list_init(&engine->parked.settling);
	while (engine->tries.count > 0)
		engine->tries.heap[--engine->tries.count]->heap_at = 0;
	for (; window->first < window->next; window->first++) {
		struct entry *entry = ob_window_at(window, window->first);

		ob_window_unuse(engine, entry->batch);
		entry->row = NULL;
	}
	for (uint32_t i = 0; i < window->pool_size; i++) {
		if (window->pool[i].row == NULL)
			continue;
		window->pool[i].listed = false;
		ob_window_free_parked(engine, &window->pool[i]);
	}
	window->first = window->next = window->prefix = 1;
}

void
ob_window_rebuild(struct ob_engine *engine)
{
	struct window *window = &engine->window;

	OB_CHECK(engine->in_flight == engine->ghosts);
	ob_lanes_clear(engine);
	for (uint64_t at = window->first; at < window->next; at++) {
		struct entry *entry = ob_window_at(window, at);
		uint8_t awaits = entry->awaits;

		if (awaits == AWAITS_SETTLE && entry->end == END_SENT)
			continue;
		if (awaits != AWAITS_VERDICT)
			entry->listed = false;
		ob_list_init(&entry->chain);
		/* A scheduled or keyless one that waits stays where it waits. */
		if ((entry->row->lane == 0 || entry->scheduled) && awaits != AWAITS_TURN)
			continue;
		ob_lanes_add(engine, entry);
	}
}

void
ob_window_advance(struct ob_engine *engine)
{
	struct window *window = &engine->window;

	while (window->prefix < window->next) {
		const struct entry *entry = ob_window_at(window, window->prefix);

		if (entry->awaits != AWAITS_SETTLE || entry->end != END_SENT)
			break;
		window->prefix++;
	}
}

uint32_t
ob_window_room(const struct ob_engine *engine)
{
	const struct window *window = &engine->window;
	uint32_t most = engine->config.fetch_count_max < engine->config.window_count_max
			    ? engine->config.fetch_count_max
			    : engine->config.window_count_max;
	uint32_t room = engine->config.window_count_max - ob_window_count(window);

	/* The last slot stays free for a fetch of parked rows, which make room. */
	if (window->batches_free_count < 2)
		return 0;
	if (ob_window_count(window) > 0 && room < most / SHARE)
		return 0;
	return room < most ? room : most;
}

uint64_t
ob_window_room_bytes(const struct ob_engine *engine)
{
	uint64_t most = engine->config.window_bytes_max;
	uint64_t held = engine->window.bytes;

	if (held == 0)
		return most;
	return held > most - most / SHARE ? 0 : most - held;
}
