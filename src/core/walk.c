/*
 * What a settle says. First the ends of parked rows that were handed out; then one walk over the window, from the last
 * settled ordinal to the first entry that can neither be passed nor put away, so that nothing is ever settled past
 * an entry whose fate is open (P2).
 *
 * Sent entries are passed. Dead ones are passed and told. One that waits long for its next try is parked, and every later
 * entry of its lane that the walk meets goes behind it, as do entries of a lane that is parked already. That is decided
 * here and not earlier, by the table of parked keys as it stands with this very settle: a retry is never overtaken by a
 * later message of its key (P3), since either both are in the store or neither is. While the recipient is down nothing is
 * parked that could be sent, but by the last settles of a drain, which let the checkpoint pass what was sent (P4). A quota that is
 * full ends the walk.
 */
#include "core.h"
#include "text.h"

static void
tries_tell(struct ob_engine *engine, const struct entry *entry, struct ob_outcome *outcome)
{
	struct settling *settling = &engine->settling;
	const struct ob_try *kept = &engine->window.tries[(size_t)entry->slot * OB_ENTRY_TRIES];
	struct ob_try *told = &settling->tries[settling->tries_count];

	for (uint32_t i = 0; i < entry->try_count; i++) {
		told[i] = kept[i];
		told[i].ago_ms = engine->now_ms - kept[i].ago_ms;
	}
	settling->tries_count += entry->try_count;
	outcome->tries = told;
	outcome->try_count = entry->try_count;
}

static void
outcome_add(struct ob_engine *engine, struct entry *entry, enum ob_outcome_kind kind)
{
	struct settling *settling = &engine->settling;
	struct ob_outcome *outcome = &settling->outcomes[settling->settle.outcome_count++];

	OB_CHECK(settling->settle.outcome_count <= settling->outcomes_size);
	if (kind != OB_OUTCOME_BACK) {
		settling->count++;
		settling->bytes += entry->row->bytes;
	}
	*outcome = (struct ob_outcome){
	    .kind = kind,
	    .ordinal = entry->row->ordinal,
	    .position = entry->row->position,
	    .lane = entry->scheduled ? 0 : entry->row->lane,
	    .attempts = entry->attempts,
	};
	if (entry->attempts > 0)
		outcome->age_ms = ob_core_max(1, engine->now_ms - entry->first_try_ms);
	tries_tell(engine, entry, outcome);
	entry->was = entry->awaits;
	entry->awaits = AWAITS_STORE;
}

/* The store writes it in one short transaction (P2 to P4 rest on that): what is more than fits waits for the next. */
static bool
is_cut_before(struct ob_engine *engine, const struct entry *entry)
{
	struct settling *settling = &engine->settling;
	uint32_t count_max = engine->config.settle_count_max;
	uint64_t bytes_max = engine->config.settle_bytes_max;

	if ((count_max > 0 && settling->count >= count_max) ||
	    (bytes_max > 0 && settling->count > 0 &&
	     settling->bytes + entry->row->bytes > bytes_max))
		settling->is_cut = true;
	return settling->is_cut;
}

/* Why the last outcome is as it is, where no try of the message says so. */
static void
outcome_note(struct ob_engine *engine, const char *code, const char *text)
{
	struct settling *settling = &engine->settling;
	struct ob_outcome *outcome = &settling->outcomes[settling->settle.outcome_count - 1];
	struct ob_try *told = &settling->tries[settling->tries_count++];

	told->ago_ms = 0;
	ob_text_copy(told->code, sizeof(told->code), code);
	ob_text_copy(told->text, sizeof(told->text), text);
	outcome->try_count++;
}

/* The last outcome is due again then: the engine asks for it at that time. */
static void
outcome_due(struct ob_engine *engine, int64_t due_ms)
{
	struct settling *settling = &engine->settling;
	int64_t wait = ob_core_max(0, due_ms - engine->now_ms);

	settling->outcomes[settling->settle.outcome_count - 1].due_in_ms = wait;
	settling->parked_due_ms =
	    ob_core_min(settling->parked_due_ms, ob_core_later(engine->now_ms, wait));
}

static void
touch(struct ob_engine *engine, struct parked *parked, int64_t rows)
{
	parked->pending += rows;
	if (parked->touched)
		return;
	parked->touched = true;
	parked->next = engine->settling.touched;
	engine->settling.touched = parked;
}

/* The quotas are the subscription's: each of its shards has an equal share. */
static uint64_t
quota_share(const struct ob_engine *engine, uint64_t quota)
{
	uint64_t share = quota / engine->parked.shards;

	return share == 0 && quota > 0 ? 1 : share;
}

static bool
quota_full(struct ob_engine *engine, uint64_t now, int64_t added, uint64_t quota, const char *code)
{
	if ((int64_t)now + added < (int64_t)quota_share(engine, quota))
		return false;
	engine->settling.full = code;
	return true;
}

static bool
dead_full(struct ob_engine *engine)
{
	return quota_full(engine, engine->parked.dead, engine->settling.dead,
			  engine->config.quotas.dead_rows, "dead_rows_full");
}

/* ---- parked rows that were handed out ---- */

static void
parked_count(struct ob_engine *engine, const struct entry *entry, int64_t rows)
{
	struct parked *parked;

	/* After a change such a row may be gone already: the counts are loaded again once this is told. */
	if (engine->session.retained)
		return;
	if (entry->row->scheduled) {
		engine->settling.scheduled += rows;
		return;
	}
	engine->settling.rows += rows;
	if (entry->row->lane == 0)
		return;
	parked = ob_parked_find(engine, entry->row->lane);
	OB_CHECK(parked != NULL);
	parked->handed--;
	parked->closed = false;
	touch(engine, parked, rows);
}

static void
parked_stays(struct ob_engine *engine, struct entry *entry, enum ob_outcome_kind kind)
{
	outcome_add(engine, entry, kind);
	parked_count(engine, entry, 0);
}

static void
parked_dies(struct ob_engine *engine, struct entry *entry)
{
	bool hold = engine->config.retry.hold_key && entry->row->lane != 0;

	if (dead_full(engine)) {
		parked_stays(engine, entry, OB_OUTCOME_REPARK);
		outcome_due(engine, ob_core_later(engine->now_ms, engine->config.retry.max_ms));
		return;
	}
	outcome_add(engine, entry, hold ? OB_OUTCOME_BURY_HOLD : OB_OUTCOME_BURY);
	parked_count(engine, entry, -1);
	engine->settling.dead++;
	if (hold) {
		struct parked *parked = ob_parked_find(engine, entry->row->lane);

		if (parked != NULL)
			parked->held_pending = true;
	} else {
		engine->settling.parked_due_ms = engine->now_ms;
	}
}

static void
end_tell(struct ob_engine *engine, struct entry *entry)
{
	switch ((enum end)entry->end) {
	case END_SENT:
		outcome_add(engine, entry, OB_OUTCOME_UNPARK);
		parked_count(engine, entry, -1);
		/* The next of its key is due at once. */
		if (entry->row->lane != 0)
			engine->settling.parked_due_ms = engine->now_ms;
		break;
	case END_FAILED:
		parked_stays(engine, entry, OB_OUTCOME_REPARK);
		outcome_due(engine, entry->due_ms);
		break;
	case END_BACK:
		parked_stays(engine, entry, OB_OUTCOME_BACK);
		if (entry->row->lane == 0)
			engine->settling.parked_due_ms = engine->now_ms;
		break;
	case END_DEAD:
		parked_dies(engine, entry);
		break;
	case END_NONE:
	default:
		OB_CHECK(false);
	}
}

static void
ends_tell(struct ob_engine *engine)
{
	struct ob_list *it;

	while ((it = ob_list_first(&engine->parked.ends)) != NULL) {
		struct entry *entry = OB_CONTAINER_OF(it, struct entry, link);

		/* Those that go back untried belong to the one before them, and write nothing. */
		if (entry->end != END_BACK && is_cut_before(engine, entry))
			break;
		ob_list_remove(it);
		end_tell(engine, entry);
		ob_list_push_back(&engine->parked.settling, it);
	}
	engine->settling.wants_reload = engine->session.retained &&
					!ob_list_is_empty(&engine->parked.settling) &&
					ob_list_is_empty(&engine->parked.ends);
}

/* ---- the walk ---- */

static bool
is_parked(const struct parked *parked)
{
	return parked != NULL &&
	       (ob_parked_rows_after(parked) > 0 || parked->held || parked->held_pending);
}

static struct parked *
record_of(struct ob_engine *engine, const struct lane *lane)
{
	if (lane->parked != NULL)
		return lane->parked;
	if (quota_full(engine, engine->parked.map.count, 0, engine->config.quotas.parked_keys,
		       "parked_keys_full"))
		return NULL;
	return ob_parked_new(engine, lane->id);
}

static bool
walk_rows_full(struct ob_engine *engine)
{
	return quota_full(engine, engine->parked.rows, engine->settling.rows,
			  engine->config.quotas.parked_rows, "parked_rows_full");
}

/* A replay may meet a message whose parked row is being tried: its outcome must be told first, or it would be told of
   the row that this settle writes. */
static bool
is_handed_out(const struct ob_engine *engine, const struct entry *entry)
{
	const struct window *window = &engine->window;

	if (window->pool_free_count == window->pool_size)
		return false;
	for (uint32_t i = 0; i < window->pool_size; i++) {
		const struct entry *other = &window->pool[i];

		if (other->row != NULL && other->awaits != AWAITS_STORE &&
		    other->row->position == entry->row->position)
			return true;
	}
	return false;
}

static bool
walk_schedule(struct ob_engine *engine, struct entry *entry)
{
	if (quota_full(engine, engine->parked.scheduled, engine->settling.scheduled,
		       engine->config.quotas.scheduled_rows, "scheduled_rows_full"))
		return false;
	outcome_add(engine, entry, OB_OUTCOME_SCHEDULE);
	outcome_due(engine, entry->due_ms);
	engine->settling.scheduled++;
	return true;
}

static void
row_added(struct ob_engine *engine, const struct entry *entry, struct parked *parked)
{
	touch(engine, parked, 1);
	parked->unsure = parked->unsure || entry->row->replayed;
}

static bool
walk_park(struct ob_engine *engine, struct entry *entry)
{
	struct parked *parked;

	if (walk_rows_full(engine))
		return false;
	if (entry->lane != NULL) {
		parked = record_of(engine, entry->lane);
		if (parked == NULL)
			return false;
		row_added(engine, entry, parked);
	}
	outcome_add(engine, entry, OB_OUTCOME_PARK);
	if (entry->try_count == 0)
		outcome_note(engine, "drained", "the relay ended before it could be sent");
	outcome_due(engine, entry->was == AWAITS_TRY ? entry->due_ms : engine->now_ms);
	engine->settling.rows++;
	return true;
}

/*
 * Past the quota of its key there is no place behind it. To send the message would let it overtake those that wait (P3), and
 * to wait for room would hold back all other keys (P5): so it is dead, untried, and `dead retry` brings it back into the
 * order of its key. By hold_key the order of the dead counts as well, and only a person may break it: the subscription stops.
 */
static bool
walk_past_quota(struct ob_engine *engine, struct entry *entry)
{
	const struct parked *parked = entry->lane->parked;

	/* Nothing dies for want of a recipient. */
	if (ob_recipient_is_down(engine))
		return false;
	/* A replay parks what is parked already, and is counted twice; so is what is unparked of before a change.
	   Nothing dies, and nothing stops, by a wrong count. */
	if (parked->unsure || engine->session.retained) {
		engine->settling.wants_reload = true;
		return false;
	}
	if (engine->config.retry.hold_key) {
		engine->settling.full = "parked_rows_of_key_full";
		return false;
	}
	if (dead_full(engine))
		return false;
	outcome_add(engine, entry, OB_OUTCOME_DEAD);
	outcome_note(engine, "key_quota",
		     "as many messages of its key wait as may: it was not tried");
	engine->settling.dead++;
	return true;
}

static bool
walk_behind(struct ob_engine *engine, struct entry *entry)
{
	struct parked *parked = entry->lane->parked;

	/* All that the store has of this key is being tried: perhaps it is free in a moment. */
	if (!engine->settling.tight && !parked->held && !parked->held_pending &&
	    (int64_t)parked->handed >= ob_parked_rows_after(parked))
		return false;
	if (ob_parked_rows_after(parked) >= (int64_t)engine->config.quotas.parked_rows_of_key)
		return walk_past_quota(engine, entry);
	if (walk_rows_full(engine))
		return false;
	outcome_add(engine, entry, OB_OUTCOME_BEHIND);
	row_added(engine, entry, parked);
	engine->settling.rows++;
	return true;
}

static bool
walk_dead(struct ob_engine *engine, struct entry *entry)
{
	struct parked *parked = NULL;

	if (dead_full(engine))
		return false;
	if (engine->config.retry.hold_key && entry->lane != NULL) {
		if (is_parked(entry->lane->parked))
			return walk_behind(engine, entry);
		if (entry->lane->in_flight > 0)
			return false;
		parked = record_of(engine, entry->lane);
		if (parked == NULL)
			return false;
		parked->held_pending = true;
		touch(engine, parked, 0);
	}
	outcome_add(engine, entry, parked != NULL ? OB_OUTCOME_DEAD_HOLD : OB_OUTCOME_DEAD);
	engine->settling.dead++;
	return true;
}

/* While the recipient is down nothing is parked, as long as there is somebody to probe it with: a window
   that holds only what cannot be sent must move on. */
static bool
is_frozen(const struct ob_engine *engine)
{
	return ob_recipient_is_down(engine) && (engine->in_flight > 0 || engine->tries.count > 0 ||
						!ob_list_is_empty(&engine->lanes.ready));
}

/* Whether the walk may go on past this entry, whose outcome is noted then. */
static bool
walk_entry(struct ob_engine *engine, struct entry *entry)
{
	bool waits = entry->awaits == AWAITS_TRY;
	/* What was sent behind it would arrive once more, though nothing is wrong with it (P4). */
	bool is_in_the_way = entry->row->ordinal < engine->settling.last_sent;
	bool is_long = entry->due_ms - engine->now_ms > engine->config.park_after_ms;

	if (entry->awaits == AWAITS_SETTLE)
		return walk_dead(engine, entry);
	if (!waits && entry->awaits != AWAITS_TURN)
		return false;
	if (is_handed_out(engine, entry))
		return false;
	if (entry->scheduled)
		return walk_schedule(engine, entry);
	if (!is_in_the_way && is_frozen(engine))
		return false;
	if (entry->lane != NULL && entry->lane->in_flight > 0 && entry->lane->parked == NULL)
		return false;
	if (entry->lane != NULL && is_parked(entry->lane->parked))
		return walk_behind(engine, entry);
	/* The last rows of the key leave the store with this settle: then it is free. */
	if (entry->lane != NULL && entry->lane->parked != NULL)
		return false;
	if (is_in_the_way)
		return walk_park(engine, entry);
	return waits && entry->attempts > 0 && (is_long || engine->settling.tight) &&
	       walk_park(engine, entry);
}

uint64_t
ob_walk_make(struct ob_engine *engine)
{
	struct window *window = &engine->window;
	uint64_t at = window->prefix;

	ends_tell(engine);
	for (; at < window->next; at++) {
		struct entry *entry = ob_window_at(window, at);
		bool is_sent = entry->awaits == AWAITS_SETTLE && entry->end == END_SENT;

		if (!is_sent && (is_cut_before(engine, entry) || !walk_entry(engine, entry)))
			break;
	}
	return at - 1;
}
