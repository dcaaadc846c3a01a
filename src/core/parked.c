/*
 * What the store holds besides the log: how many rows are parked of each key, and the parked rows that
 * were handed out to be tried.
 *
 * The table is what confirmed settles say, so a settle that is refused changes nothing here. A key's record stays
 * until a confirmed settle has left no row of it; as long as it stays, messages of the log go behind it. The
 * table is loaded again by every acquire, since a person may have changed it.
 *
 * Handed-out rows of a key form a run: the head and the rows right behind it. They go one after the other. When
 * one fails, it waits in the store, and the others of the run go back untried. Their ends are told by the
 * next settle in the order in which they came, which is the order of the key.
 */
#include <stdlib.h>

#include "core.h"

#define SUSPECT_MS 1000

bool
ob_parked_init(struct ob_engine *engine)
{
	struct parked_table *table = &engine->parked;

	/* A settle under way may park a window of new keys beside those that a quota allows. */
	table->size = engine->config.quotas.parked_keys + engine->config.window_count_max +
		      engine->config.parked_window_max;
	table->all = calloc(table->size, sizeof(*table->all));
	table->due_ms = OB_NEVER;
	table->shards = 1;
	ob_list_init(&table->ends);
	ob_list_init(&table->settling);
	return table->all != NULL && ob_map_init(&table->map, table->size);
}

void
ob_parked_free(struct ob_engine *engine)
{
	ob_map_free(&engine->parked.map);
	free(engine->parked.all);
}

struct parked *
ob_parked_find(struct ob_engine *engine, uint64_t lane)
{
	/* Nothing is parked nearly always. */
	if (engine->parked.map.count == 0)
		return NULL;
	return ob_map_get(&engine->parked.map, lane);
}

struct parked *
ob_parked_new(struct ob_engine *engine, uint64_t id)
{
	struct parked_table *table = &engine->parked;
	struct parked *parked = table->free;
	struct lane *lane;

	if (parked != NULL)
		table->free = parked->next;
	else
		parked = &table->all[table->used++];
	OB_CHECK(table->used <= table->size);
	*parked = (struct parked){.lane = id};
	OB_CHECK(ob_map_put(&table->map, id, parked));
	lane = ob_lanes_find(engine, id);
	if (lane != NULL)
		lane->parked = parked;
	return parked;
}

void
ob_parked_delete(struct ob_engine *engine, struct parked *parked)
{
	struct lane *lane = ob_lanes_find(engine, parked->lane);

	ob_map_remove(&engine->parked.map, parked->lane);
	parked->next = engine->parked.free;
	engine->parked.free = parked;
	if (lane != NULL) {
		lane->parked = NULL;
		ob_lanes_update(engine, lane);
	}
}

void
ob_parked_clear(struct ob_engine *engine)
{
	struct parked_table *table = &engine->parked;

	ob_map_clear(&table->map);
	table->used = 0;
	table->free = NULL;
	table->rows = 0;
	table->scheduled = 0;
	table->dead = 0;
	table->due_ms = OB_NEVER;
}

void
ob_parked_load(struct ob_engine *engine, const struct ob_acquired *acquired,
	       const struct ob_parked_lane *lanes)
{
	struct parked_table *table = &engine->parked;

	ob_parked_clear(engine);
	OB_CHECK(acquired->lane_count <= table->size);
	for (uint32_t i = 0; i < acquired->lane_count; i++) {
		struct parked *parked = ob_parked_new(engine, lanes[i].lane);

		parked->rows = lanes[i].rows;
		parked->held = lanes[i].held;
	}
	table->loaded_ms = engine->now_ms;
	table->unsure = false;
	table->shards = acquired->shards == 0 ? 1 : acquired->shards;
	table->rows = acquired->parked_rows;
	table->scheduled = acquired->scheduled_rows;
	table->dead = acquired->dead_rows;
	/* When the first is due is known only to the store. */
	if (table->rows > 0 || table->scheduled > 0)
		table->due_ms = engine->now_ms;
}

/* A row that was parked twice (a replay meets one that is parked) was counted twice, and would keep its key
   parked for ever. It does no harm but to be slow, so looking now and then is enough. */
void
ob_parked_suspect(struct ob_engine *engine)
{
	struct parked_table *table = &engine->parked;
	uint64_t lane;
	void *value;
	size_t at = 0;

	if (table->map.count == 0 || engine->now_ms - table->loaded_ms < SUSPECT_MS ||
	    engine->settling.under_way || ob_window_handed(&engine->window) > 0)
		return;
	while (ob_map_next(&table->map, &at, &lane, &value)) {
		const struct parked *parked = value;

		if (!parked->held && parked->rows > 0) {
			ob_session_reload(engine);
			return;
		}
	}
	table->loaded_ms = engine->now_ms;
}

static void
entry_end(struct ob_engine *engine, struct entry *entry, enum end end)
{
	ob_lanes_unlist(entry);
	if (entry->lane != NULL)
		ob_list_remove(&entry->chain);
	entry->awaits = AWAITS_SETTLE;
	entry->end = (uint8_t)end;
	entry->listed = true;
	ob_list_push_back(&engine->parked.ends, &entry->link);
}

void
ob_parked_end(struct ob_engine *engine, struct entry *entry, enum end end)
{
	struct lane *lane = entry->lane;
	struct ob_list *first;

	entry_end(engine, entry, end);
	entry->lane = NULL;
	if (lane == NULL) {
		ob_settling_soon(engine, engine->config.settle_every_ms);
		return;
	}
	if (end != END_SENT && lane->parked != NULL)
		lane->parked->closed = true;
	while (end != END_SENT && (first = ob_list_first(&lane->run)) != NULL) {
		struct entry *other = OB_CONTAINER_OF(first, struct entry, chain);

		entry_end(engine, other, END_BACK);
		other->lane = NULL;
	}
	/* The key's next run comes only after this one is told. */
	ob_settling_soon(engine, ob_list_is_empty(&lane->run) ? 0 : engine->config.settle_every_ms);
	ob_lanes_update(engine, lane);
	ob_lanes_release(engine, lane);
}

void
ob_parked_give_back(struct ob_engine *engine)
{
	struct window *window = &engine->window;

	for (uint32_t i = 0; i < window->pool_size; i++) {
		struct entry *entry = &window->pool[i];

		if (entry->row != NULL && entry->awaits == AWAITS_TURN)
			ob_parked_end(engine, entry, END_BACK);
	}
}
