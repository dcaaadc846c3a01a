#include "sim_store.h"

#include <string.h>

void
sim_store_begin(struct sim_store *store, const struct sim_plot *plot, struct sim_ledger *ledger)
{
	memset(store, 0, sizeof(*store));
	store->plot = plot;
	store->ledger = ledger;
	for (uint32_t i = 0; i < SIM_MESSAGES_MAX; i++)
		store->parked[i].chain = -1;
	for (uint32_t i = 0; i < SIM_CHAINS; i++)
		store->chain_first[i] = -1;
	for (uint32_t i = 0; i < SIM_KEYS_MAX; i++)
		store->holder[i] = -1;
}

void
sim_session_begin(struct sim_session *session, uint64_t token)
{
	memset(session, 0, offsetof(struct sim_session, entries));
	session->token = token;
}

void
sim_store_commit(struct sim_store *store, uint32_t message)
{
	store->pending[store->pending_count++] = (uint16_t)message;
	sim_ledger_commit(store->ledger, message);
}

/* ---- the lease ---- */

/* What lies beyond the checkpoint's interval was read by a snapshot that nobody has any more. */
static void
forget_intervals(struct sim_store *store)
{
	int32_t end = store->checkpoint;

	if (!store->plot->by_intervals)
		return;
	if (store->checkpoint < store->order_count && store->checkpoint > 0 &&
	    store->interval_end[store->checkpoint - 1] > store->checkpoint)
		end = store->interval_end[store->checkpoint - 1];
	while (store->order_count > end)
		store->pending[store->pending_count++] = store->order[--store->order_count];
}

static void
start_reading(struct sim_store *store, struct sim_session *session, bool goes_on)
{
	for (int chain = 0; chain < SIM_CHAINS; chain++) {
		for (int16_t at = store->chain_first[chain]; at >= 0; at = store->parked[at].next)
			store->parked[at].out = false;
		store->chain_out[chain] = 0;
	}
	if (!goes_on) {
		forget_intervals(store);
		session->number = ++store->sessions;
		sim_ledger_session(store->ledger, store->now_us);
		session->ordinals = 0;
		session->settled = 0;
		session->cursor = store->checkpoint;
		session->replay = 0;
	}
	if (session->replay != store->replay) {
		session->replay = store->replay;
		session->replay_cursor = store->replay_from;
		session->replay_done = UINT64_MAX;
	}
}

static void
list_lanes(const struct sim_store *store, struct ob_lease_request *request,
	   struct ob_acquired *acquired)
{
	for (int32_t key = 0; key < SIM_KEYS_MAX; key++) {
		bool held = store->holder[key] >= 0;

		if (store->chain_rows[key] == 0 && !held)
			continue;
		if (acquired->lane_count < request->lanes_max)
			request->lanes[acquired->lane_count] = (struct ob_parked_lane){
			    .lane = sim_lane_of_key(key),
			    .rows = store->chain_rows[key],
			    .held = held,
			};
		acquired->lane_count++;
	}
}

enum ob_code
sim_store_acquire(struct sim_store *store, struct sim_session *session,
		  struct ob_lease_request *request, struct ob_acquired *acquired)
{
	bool is_ours = store->lease_token == session->token;

	*acquired = (struct ob_acquired){0};
	if (!is_ours && store->now_us < store->lease_expires_us) {
		acquired->retry_in_ms = (store->lease_expires_us - store->now_us) / 1000 + 1;
		memcpy(acquired->owner, "other", 6);
		return OB_OK;
	}
	acquired->held = true;
	acquired->goes_on = is_ours && session->acquired && !session->doubt;
	store->lease_token = session->token;
	store->lease_expires_us = store->now_us + request->lease_ms * 1000;
	session->epoch = ++store->epoch;
	session->acquired = true;
	session->doubt = false;
	start_reading(store, session, acquired->goes_on);
	acquired->epoch = session->epoch;
	acquired->paused = store->paused;
	acquired->parked_rows = store->parked_rows;
	acquired->scheduled_rows = store->scheduled_rows;
	acquired->dead_rows = store->dead_rows;
	list_lanes(store, request, acquired);
	return acquired->lane_count > request->lanes_max ? OB_LIMIT : OB_OK;
}

static enum ob_code
check_epoch(const struct sim_store *store, const struct sim_session *session)
{
	if (store->lease_token != session->token)
		return OB_STALE;
	return store->epoch == session->epoch ? OB_OK : OB_CHANGED;
}

enum ob_code
sim_store_renew(struct sim_store *store, struct sim_session *session, int64_t lease_ms)
{
	enum ob_code code = check_epoch(store, session);

	if (code == OB_OK)
		store->lease_expires_us = store->now_us + lease_ms * 1000;
	return code;
}

void
sim_store_release(struct sim_store *store, struct sim_session *session)
{
	if (store->lease_token != session->token)
		return;
	store->lease_token = 0;
	store->lease_expires_us = 0;
	session->acquired = false;
}

/* ---- reading ---- */

void
sim_store_row(const struct sim_store *store, uint32_t message, struct ob_row *row)
{
	const struct sim_message *it = &store->plot->messages[message];
	static const char key_bytes[SIM_KEYS_MAX];
	static const char payload[1];

	row->message.id = (struct ob_bytes){.data = it->id, .size = 7};
	row->message.topic = (struct ob_bytes){.data = "topic", .size = 5};
	if (it->key != SIM_NO_KEY)
		row->message.key = (struct ob_bytes){.data = &key_bytes[it->key], .size = 1};
	row->message.payload = (struct ob_bytes){.data = payload, .size = it->payload_bytes};
	row->position = it->position;
	row->lane = sim_lane_of_key(it->key);
	row->bytes = it->bytes;
	if (it->oversize)
		row->oversize_bytes = UINT64_C(1) << 30;
}

/* All that is committed by now, as one snapshot sees it. */
static void
open_interval(struct sim_store *store)
{
	int32_t end = store->order_count + (int32_t)store->pending_count;

	for (uint32_t i = 1; i < store->pending_count; i++) {
		uint16_t moved = store->pending[i];
		uint32_t at = i;

		for (; at > 0; at--) {
			uint16_t other = store->pending[at - 1];
			bool is_before = store->plot->by_intervals
					     ? store->plot->messages[moved].position <
						   store->plot->messages[other].position
					     : moved < other;

			if (!is_before)
				break;
			store->pending[at] = other;
		}
		store->pending[at] = moved;
	}
	for (uint32_t i = 0; i < store->pending_count; i++) {
		store->order[store->order_count] = store->pending[i];
		store->interval_end[store->order_count++] = (uint16_t)end;
	}
	store->pending_count = 0;
}

/* One row of the log into the batch; false when it is too much for this fetch. */
static bool
read_row(struct sim_store *store, struct sim_session *session, const struct ob_fetch *fetch,
	 struct ob_batch *batch, int32_t at, uint8_t replay, uint64_t *bytes, uint32_t *count)
{
	uint32_t message = store->order[at];
	const struct sim_message *it = &store->plot->messages[message];
	struct ob_row *row;
	bool first_is_given = *count == 0 && fetch->oversize_ok;

	if (*count == fetch->count_max || session->ordinals + 2 >= SIM_ORDINALS_MAX)
		return false;
	if (*bytes + it->bytes > fetch->bytes_max && !first_is_given)
		return false;
	row = ob_batch_add(batch);
	if (row == NULL)
		return false;
	sim_store_row(store, message, row);
	row->ordinal = ++session->ordinals;
	row->replayed = replay != 0;
	if (it->deliver_at_us > store->now_us)
		row->due_in_ms = (it->deliver_at_us - store->now_us) / 1000 + 1;
	*bytes += it->bytes;
	batch->bytes += it->bytes;
	(*count)++;
	return true;
}

static bool
read_until(struct sim_store *store, struct sim_session *session, const struct ob_fetch *fetch,
	   struct ob_batch *batch, int32_t *cursor, int32_t end, uint8_t replay, uint64_t *bytes,
	   uint32_t *count)
{
	while (*cursor < end) {
		if (!store->plot->messages[store->order[*cursor]].matches) {
			batch->passed = true;
			(*cursor)++;
			continue;
		}
		if (!read_row(store, session, fetch, batch, *cursor, replay, bytes, count))
			return false;
		session->entries[session->ordinals] =
		    (struct sim_entry){.at = (uint16_t)*cursor, .replay = replay};
		(*cursor)++;
	}
	return true;
}

static bool
is_replaying(const struct sim_store *store, const struct sim_session *session)
{
	return session->replay == store->replay && store->replay_from < store->replay_to &&
	       session->replay_done == UINT64_MAX;
}

enum ob_code
sim_store_fetch(struct sim_store *store, struct sim_session *session, const struct ob_fetch *fetch,
		struct ob_batch *batch)
{
	uint64_t bytes = 0;
	uint32_t count = 0;
	int64_t due_us;
	enum ob_code code = check_epoch(store, session);

	if (code != OB_OK)
		return code;
	sim_parked_hand_out(store, fetch, batch);
	due_us = sim_parked_next_due(store);
	if (due_us != INT64_MAX)
		batch->next_due_ms =
		    due_us <= store->now_us ? 0 : (due_us - store->now_us) / 1000 + 1;
	if (fetch->count_max == 0)
		return OB_OK;
	if (is_replaying(store, session)) {
		if (!read_until(store, session, fetch, batch, &session->replay_cursor,
				store->replay_to, store->replay, &bytes, &count)) {
			batch->more = true;
			return OB_OK;
		}
		session->replay_done = session->ordinals;
	}
	if (session->cursor == store->order_count)
		open_interval(store);
	batch->more = !read_until(store, session, fetch, batch, &session->cursor,
				  store->order_count, 0, &bytes, &count) ||
		      store->pending_count > 0;
	return OB_OK;
}

bool
sim_store_has_news(const struct sim_store *store, const struct sim_session *session,
		   const struct ob_fetch *fetch, int64_t *due_us)
{
	*due_us = fetch->parked_max > 0 ? sim_parked_next_due(store) : INT64_MAX;
	if (check_epoch(store, session) != OB_OK || *due_us <= store->now_us)
		return true;
	if (fetch->count_max == 0)
		return false;
	return session->cursor < store->order_count || store->pending_count > 0 ||
	       is_replaying(store, session);
}

bool
sim_store_is_empty(const struct sim_store *store)
{
	return store->parked_rows + store->scheduled_rows == 0 && store->pending_count == 0 &&
	       store->checkpoint == store->order_count && store->replay_from >= store->replay_to;
}
