/*
 * Lanes: the entries of one key, in order, and which of them may go.
 *
 * A lane has two chains. `log` holds the entries of the log, `run` those that were handed out from the
 * parked table. While the key is parked in the store only the run may go: the log's entries stand behind
 * rows that are still in the store. A message without a key has no lane and may always go.
 *
 * With a sink that keeps order ALWAYS, several entries of a log chain are in flight, one behind the other.
 * When one of them fails nothing more is submitted until all have their receipts; then the chain
 * starts again from its first. With any other sink, and for runs, one is in flight at a time. A dead entry
 * stays in its chain until its settle is confirmed: after a crash before that it would be tried again,
 * and a successor that had gone meanwhile would have overtaken it.
 *
 * `ready` lists at most one entry of each lane, so a key with a long chain waits behind all others.
 */
#include <stdlib.h>

#include "core.h"

bool
ob_lanes_init(struct ob_engine *engine)
{
	struct lanes *lanes = &engine->lanes;

	lanes->size = engine->config.window_count_max + engine->config.parked_window_max;
	lanes->all = calloc(lanes->size, sizeof(*lanes->all));
	ob_list_init(&lanes->ready);
	ob_list_init(&lanes->empty);
	return lanes->all != NULL && ob_map_init(&lanes->map, lanes->size);
}

void
ob_lanes_free(struct ob_engine *engine)
{
	ob_map_free(&engine->lanes.map);
	free(engine->lanes.all);
}

struct lane *
ob_lanes_find(struct ob_engine *engine, uint64_t id)
{
	return ob_map_get(&engine->lanes.map, id);
}

/* An empty lane stays known, since its key will most probably come again; the one that has been empty for longest makes
   room for a new one. */
static struct lane *
lane_new(struct ob_engine *engine, uint64_t id)
{
	struct lanes *lanes = &engine->lanes;
	struct lane *lane;

	if (lanes->used < lanes->size) {
		lane = &lanes->all[lanes->used++];
	} else {
		struct ob_list *first = ob_list_pop_front(&lanes->empty);

		OB_CHECK(first != NULL);
		lane = OB_CONTAINER_OF(first, struct lane, empty);
		ob_map_remove(&lanes->map, lane->id);
	}
	*lane = (struct lane){.id = id};
	ob_list_init(&lane->log);
	ob_list_init(&lane->run);
	ob_list_init(&lane->empty);
	lane->parked = ob_parked_find(engine, id);
	OB_CHECK(ob_map_put(&lanes->map, id, lane));
	return lane;
}

void
ob_lanes_release(struct ob_engine *engine, struct lane *lane)
{
	if (lane->in_flight > 0 || !ob_list_is_empty(&lane->log) || !ob_list_is_empty(&lane->run) ||
	    !ob_list_is_empty(&lane->empty))
		return;
	OB_CHECK(lane->ready == NULL);
	ob_list_push_back(&engine->lanes.empty, &lane->empty);
}

void
ob_lanes_clear(struct ob_engine *engine)
{
	struct lanes *lanes = &engine->lanes;

	ob_map_clear(&lanes->map);
	ob_list_init(&lanes->ready);
	ob_list_init(&lanes->empty);
	lanes->used = 0;
}

void
ob_lanes_ready(struct ob_engine *engine, struct entry *entry)
{
	OB_CHECK(!entry->listed);
	entry->listed = true;
	ob_list_push_back(&engine->lanes.ready, &entry->link);
	if (entry->lane != NULL)
		entry->lane->ready = entry;
}

static struct entry *
chain_first(const struct ob_list *chain)
{
	struct ob_list *first = ob_list_first(chain);

	return first == NULL ? NULL : OB_CONTAINER_OF(first, struct entry, chain);
}

/* The entry behind this one in its lane's log. */
static struct entry *
chain_after(const struct lane *lane, const struct entry *entry)
{
	return entry->chain.next == &lane->log
		   ? NULL
		   : OB_CONTAINER_OF(entry->chain.next, struct entry, chain);
}

/* The entry whose turn it is, if it is anyone's. */
static struct entry *
lane_candidate(const struct ob_engine *engine, struct lane *lane)
{
	if (lane->in_flight == 0) {
		lane->failed = false;
		lane->next = chain_first(&lane->log);
	}
	if (lane->parked != NULL)
		return lane->in_flight == 0 ? chain_first(&lane->run) : NULL;
	if (lane->in_flight > 0 && (lane->failed || engine->config.sink.order != OB_ORDER_ALWAYS))
		return NULL;
	return lane->next;
}

void
ob_lanes_update(struct ob_engine *engine, struct lane *lane)
{
	struct entry *entry = lane_candidate(engine, lane);

	if (entry != NULL && entry->awaits != AWAITS_TURN)
		entry = NULL;
	/* Its predecessors must be settled or gone first, so that it dies in order. */
	if (entry != NULL && entry->too_large) {
		if (lane->in_flight == 0)
			ob_retry_too_large(engine, entry);
		return;
	}
	if (entry == lane->ready)
		return;
	if (lane->ready != NULL)
		ob_lanes_unlist(lane->ready);
	if (entry != NULL)
		ob_lanes_ready(engine, entry);
}

/* As most are: nothing else of its key is held, so that there is nothing to find out. */
static bool
is_alone(const struct lane *lane, const struct entry *entry)
{
	return lane->log.next == &entry->chain && entry->chain.next == &lane->log &&
	       lane->in_flight == 0;
}

void
ob_lanes_add(struct ob_engine *engine, struct entry *entry)
{
	uint64_t id = entry->row->lane;
	struct lane *lane;

	if (id == 0 || entry->scheduled) {
		entry->lane = NULL;
		ob_lanes_turn(engine, entry);
		return;
	}
	lane = ob_map_get(&engine->lanes.map, id);
	if (lane == NULL)
		lane = lane_new(engine, id);
	else
		ob_list_remove(&lane->empty);
	entry->lane = lane;
	if (entry->parked) {
		ob_list_push_back(&lane->run, &entry->chain);
	} else {
		ob_list_push_back(&lane->log, &entry->chain);
		if (lane->next == NULL)
			lane->next = entry;
		/* It goes behind its key, in the store. */
		if (lane->parked != NULL)
			ob_settling_soon(engine, engine->config.settle_every_ms);
		else if (is_alone(lane, entry) && entry->awaits == AWAITS_TURN &&
			 !entry->too_large) {
			lane->failed = false;
			lane->next = entry;
			ob_lanes_ready(engine, entry);
			return;
		}
	}
	ob_lanes_update(engine, lane);
}

void
ob_lanes_remove(struct ob_engine *engine, struct entry *entry)
{
	struct lane *lane = entry->lane;

	ob_lanes_unlist(entry);
	if (lane == NULL)
		return;
	if (lane->next == entry)
		lane->next = chain_after(lane, entry);
	ob_list_remove(&entry->chain);
	entry->lane = NULL;
	if (lane->log.next == &lane->log && lane->run.next == &lane->run)
		ob_lanes_release(engine, lane);
	else
		ob_lanes_update(engine, lane);
}

void
ob_lanes_turn(struct ob_engine *engine, struct entry *entry)
{
	entry->awaits = AWAITS_TURN;
	if (entry->lane != NULL)
		ob_lanes_update(engine, entry->lane);
	else if (entry->too_large)
		ob_retry_too_large(engine, entry);
	else
		ob_lanes_ready(engine, entry);
}
