/*
 * Reading ahead: one FETCH is always under way while there is room, so that the next rows are there before
 * the last ones are sent. It waits in the store once one came back empty.
 *
 * Due parked rows come with any fetch. When there is no room for rows of the log they are fetched alone, at
 * the time at which one is due: they make room, so they must not wait for it.
 */
#include "core.h"

#define BUSY_FIRST_MS 10
/* When the store cannot be left to wait. */
#define POLL_MS     50
#define BUSY_MAX_MS 1000
/* Rows that were read past are remembered lazily: all it saves is reading them again. */
#define PASSED_WAIT_MS 1000

bool
ob_fetching_starves(const struct ob_engine *engine)
{
	/* Whatever was asked for, it cannot be had before something is settled. */
	return engine->fetching.need_room || ob_window_room(engine) == 0 ||
	       ob_window_room_bytes(engine) == 0;
}

/* A run of one key must not fill the pool: other keys are due as well. */
static uint32_t
run_max(const struct ob_engine *engine)
{
	uint32_t share = engine->config.parked_window_max / 8;

	return share > 0 ? share : 1;
}

static uint32_t
parked_room(const struct ob_engine *engine)
{
	const struct window *window = &engine->window;
	uint64_t most = engine->config.window_bytes_max;

	/* The rows sent before a change would be handed out again. */
	if (engine->session.retained || window->batches_free_count == 0)
		return 0;
	/* Parked rows may pass the limit of bytes by a quarter, or a full window would hold them back. */
	if (window->bytes > most + most / 4 && ob_window_handed(window) > 0)
		return 0;
	return window->pool_free_count;
}

static void
fetch_begin(struct ob_engine *engine, uint32_t rows, uint32_t parked)
{
	struct fetching *fetching = &engine->fetching;
	uint64_t bytes = ob_window_room_bytes(engine);
	struct ob_action *action = ob_core_action(engine, OB_ACTION_FETCH);

	fetching->under_way = true;
	fetching->may_wait = rows > 0 && fetching->was_empty;
	fetching->session = engine->session.number;
	fetching->change = engine->changes;
	fetching->parked_asked = parked;
	fetching->bytes_asked = rows > 0 ? bytes : 0;
	fetching->settled_due_ms = OB_NEVER;
	/* One that must not bring parked rows would sleep on when there is room for them again. */
	if (parked == 0 ? engine->parked.rows + engine->parked.scheduled > 0
			: engine->parked.due_ms <= engine->now_ms)
		fetching->may_wait = false;
	action->may_wait = fetching->may_wait;
	action->fetch = (struct ob_fetch){
	    .count_max = rows,
	    .bytes_max = rows > 0 ? bytes : engine->config.window_bytes_max / 8 + 1,
	    .oversize_ok = rows > 0 && engine->window.bytes == 0,
	    .parked_max = parked,
	    .run_max = run_max(engine),
	};
}

void
ob_fetching_advance(struct ob_engine *engine)
{
	struct fetching *fetching = &engine->fetching;
	uint32_t rows, parked;

	if (fetching->under_way || engine->session.hold != HOLD_HELD || engine->session.paused ||
	    engine->paused || engine->draining ||
	    ob_core_max(fetching->not_before_ms, fetching->poll_at_ms) > engine->now_ms)
		return;
	rows = ob_fetching_starves(engine) ? 0 : ob_window_room(engine);
	parked = parked_room(engine);
	if (rows == 0 && (parked == 0 || engine->parked.due_ms > engine->now_ms))
		return;
	fetch_begin(engine, rows, parked);
}

/* When a parked row may be due next, as far as this batch tells. */
static void
parked_due_take(struct ob_engine *engine, const struct ob_batch *batch, uint32_t parked)
{
	const struct fetching *fetching = &engine->fetching;
	int64_t due = OB_NEVER;

	if (parked == fetching->parked_asked)
		due = engine->now_ms; /* there may be more than were asked for */
	else if (batch->next_due_ms >= 0)
		due = ob_core_later(engine->now_ms, ob_core_max(1, batch->next_due_ms));
	engine->parked.due_ms = ob_core_min(due, fetching->settled_due_ms);
	if (engine->parked.due_ms == OB_NEVER && parked == 0)
		ob_parked_suspect(engine);
}

/* How many rows of the batch are parked ones. `*known`: of keys that we know to be parked; otherwise a person
   changed something, of which the next settle would hear. */
static uint32_t
parked_in(struct ob_engine *engine, const struct ob_batch *batch, bool *known)
{
	uint32_t count = 0;

	*known = true;
	for (; count < batch->count && batch->rows[count].ordinal == 0; count++) {
		uint64_t lane = batch->rows[count].lane;

		if (lane != 0 && ob_parked_find(engine, lane) == NULL)
			*known = false;
	}
	OB_CHECK(count <= engine->fetching.parked_asked);
	return count;
}

static void
batch_take(struct ob_engine *engine, struct ob_batch *batch)
{
	struct fetching *fetching = &engine->fetching;
	bool ours = engine->session.hold == HOLD_HELD && fetching->change == engine->changes;
	bool known, need_room;
	uint32_t parked = parked_in(engine, batch, &known);

	engine->stats.fetched += batch->count;
	/* One for parked rows alone did not look at the log. */
	if (fetching->bytes_asked > 0)
		fetching->was_empty = batch->count == 0 && !batch->more;
	if (fetching->was_empty && !fetching->may_wait && fetching->parked_asked == 0)
		fetching->poll_at_ms = ob_core_later(engine->now_ms, POLL_MS);
	if (batch->passed)
		engine->settling.passed_due_ms = ob_core_min(
		    engine->settling.passed_due_ms, ob_core_later(engine->now_ms, PASSED_WAIT_MS));
	if (fetching->parked_asked > 0 && ours)
		parked_due_take(engine, batch, parked);
	/* Nothing of the log came though there is something: it is larger than the room that was left. If there
	   is more room by now, it is asked for again. */
	need_room = batch->count == parked && batch->more && engine->window.bytes > 0 &&
		    fetching->bytes_asked > 0 &&
		    fetching->bytes_asked >= ob_window_room_bytes(engine);
	ob_window_add_batch(engine, batch, ours && known);
	fetching->need_room = need_room;
	if (ours && !known)
		ob_session_failed(engine, OB_CHANGED, "fetch");
	if (ob_fetching_starves(engine))
		ob_settling_soon(engine, engine->config.settle_every_ms);
}

void
ob_fetching_answer(struct ob_engine *engine, enum ob_code code, struct ob_batch *batch)
{
	struct fetching *fetching = &engine->fetching;
	bool is_void = engine->drained || fetching->session != engine->session.number;

	OB_CHECK(fetching->under_way);
	fetching->under_way = false;
	if (!is_void && code == OB_OK && batch != NULL) {
		fetching->busy_count = 0;
		batch_take(engine, batch);
		return;
	}
	if (batch != NULL)
		ob_core_action(engine, OB_ACTION_FREE_BATCH)->batch = batch;
	if (is_void || code == OB_OK)
		return;
	if (code == OB_BUSY) {
		fetching->not_before_ms = ob_core_later(
		    engine->now_ms,
		    ob_core_doubled(BUSY_FIRST_MS, fetching->busy_count++, BUSY_MAX_MS));
		return;
	}
	ob_session_failed(engine, code, "fetch");
}
