/* The rows that wait in the database: chains by key, in the order of positions, and what people do to them. */
#include "sim_store.h"

uint64_t
sim_lane_of_key(int32_t key)
{
	/* Lanes that differ in few bits: what the engine makes of them must not depend on luck. */
	return key == SIM_NO_KEY ? 0 : ((uint64_t)(key % 7) << 40 | (uint64_t)key << 3) + 8;
}

int
sim_chain_of(const struct sim_store *store, uint32_t message)
{
	int32_t key = store->plot->messages[message].key;

	return key == SIM_NO_KEY ? SIM_CHAIN_KEYLESS : (int)key;
}

void
sim_chain_add(struct sim_store *store, uint32_t message, int chain)
{
	struct sim_parked *row = &store->parked[message];
	int16_t *at = &store->chain_first[chain];
	int64_t position = store->plot->messages[message].position;

	while (*at >= 0 && store->plot->messages[*at].position < position)
		at = &store->parked[*at].next;
	row->next = *at;
	row->chain = (int8_t)chain;
	row->out = false;
	*at = (int16_t)message;
	store->chain_rows[chain]++;
	if (chain == SIM_CHAIN_SCHEDULED)
		store->scheduled_rows++;
	else
		store->parked_rows++;
}

/* The next one of its key becomes its head, due at once. */
void
sim_chain_remove(struct sim_store *store, uint32_t message)
{
	struct sim_parked *row = &store->parked[message];
	int chain = row->chain;
	int16_t *at = &store->chain_first[chain];
	bool was_head = *at == (int16_t)message;

	while (*at != (int16_t)message)
		at = &store->parked[*at].next;
	*at = row->next;
	if (was_head && *at >= 0 && chain < SIM_KEYS_MAX)
		store->parked[*at].due_us = 0;
	store->chain_rows[chain]--;
	if (row->out)
		store->chain_out[chain]--;
	if (chain == SIM_CHAIN_SCHEDULED)
		store->scheduled_rows--;
	else
		store->parked_rows--;
	*row = (struct sim_parked){.chain = -1, .next = -1};
}

static void
hand_out(struct sim_store *store, struct ob_batch *batch, uint32_t message)
{
	struct sim_parked *parked = &store->parked[message];
	struct ob_row *row = ob_batch_add(batch);

	sim_store_row(store, message, row);
	row->attempts = parked->attempts;
	row->lane = parked->chain >= SIM_CHAIN_KEYLESS ? 0 : row->lane;
	row->scheduled = parked->chain == SIM_CHAIN_SCHEDULED;
	if (parked->first_try_us != 0)
		row->age_ms = (store->now_us - parked->first_try_us) / 1000;
	batch->bytes += row->bytes;
	parked->out = true;
	store->chain_out[parked->chain]++;
}

/* A key: its head when it is due, and the rows behind it that are due too. */
static void
hand_out_run(struct sim_store *store, const struct ob_fetch *fetch, struct ob_batch *batch, int key)
{
	uint32_t count = 0;

	if (store->holder[key] >= 0 || store->chain_out[key] > 0)
		return;
	for (int16_t at = store->chain_first[key]; at >= 0; at = store->parked[at].next) {
		if (count == fetch->run_max || batch->count == fetch->parked_max ||
		    store->parked[at].due_us > store->now_us)
			break;
		if (batch->count > 0 && batch->bytes > fetch->bytes_max)
			break;
		hand_out(store, batch, (uint32_t)at);
		count++;
	}
}

static void
hand_out_each(struct sim_store *store, const struct ob_fetch *fetch, struct ob_batch *batch,
	      int chain)
{
	for (int16_t at = store->chain_first[chain]; at >= 0; at = store->parked[at].next) {
		if (batch->count == fetch->parked_max)
			break;
		if (batch->count > 0 && batch->bytes > fetch->bytes_max)
			break;
		if (!store->parked[at].out && store->parked[at].due_us <= store->now_us)
			hand_out(store, batch, (uint32_t)at);
	}
}

void
sim_parked_hand_out(struct sim_store *store, const struct ob_fetch *fetch, struct ob_batch *batch)
{
	int start = (int)(store->now_us / 1000 % SIM_CHAINS);

	if (store->parked_rows + store->scheduled_rows == 0 || fetch->parked_max == 0)
		return;
	for (int i = 0; i < SIM_CHAINS; i++) {
		int chain = (start + i) % SIM_CHAINS;

		if (chain < SIM_KEYS_MAX)
			hand_out_run(store, fetch, batch, chain);
		else
			hand_out_each(store, fetch, batch, chain);
	}
}

int64_t
sim_parked_next_due(const struct sim_store *store)
{
	int64_t due_us = INT64_MAX;

	if (store->parked_rows + store->scheduled_rows == 0)
		return INT64_MAX;
	for (int chain = 0; chain < SIM_CHAINS; chain++) {
		int16_t at = store->chain_first[chain];

		if (at < 0)
			continue;
		if (chain < SIM_KEYS_MAX) {
			bool waits = store->holder[chain] < 0 && store->chain_out[chain] == 0;

			if (waits && store->parked[at].due_us < due_us)
				due_us = store->parked[at].due_us;
			continue;
		}
		for (; at >= 0; at = store->parked[at].next)
			if (!store->parked[at].out && store->parked[at].due_us < due_us)
				due_us = store->parked[at].due_us;
	}
	return due_us;
}

/* ---- people ---- */

static void
changed(struct sim_store *store)
{
	store->epoch++;
	store->ledger->changes++;
}

void
sim_store_pause(struct sim_store *store, bool paused)
{
	store->paused = paused;
	changed(store);
}

static void
revive(struct sim_store *store, uint32_t message)
{
	int chain = sim_chain_of(store, message);
	bool is_parked = store->parked[message].chain >= 0; /* by a replay */

	store->dead[message] = false;
	store->dead_rows--;
	if (chain < SIM_KEYS_MAX && store->holder[chain] == (int16_t)message)
		store->holder[chain] = -1;
	if (!is_parked) {
		store->parked[message] = (struct sim_parked){0};
		sim_chain_add(store, message, chain);
	}
	store->parked[message].due_us = 0;
	store->excess++;
	store->counts.revived++;
	sim_ledger_revived(store->ledger, message);
}

static uint32_t
keys_parked(const struct sim_store *store)
{
	uint32_t count = 0;

	for (int key = 0; key < SIM_KEYS_MAX; key++)
		count += store->chain_rows[key] > 0 || store->holder[key] >= 0;
	return count;
}

uint32_t
sim_store_retry(struct sim_store *store, bool parked, bool dead, uint32_t most)
{
	uint32_t count = 0;

	for (int chain = 0; parked && chain < SIM_KEYS_MAX + 1; chain++) {
		int16_t at = store->chain_first[chain];

		for (; at >= 0; at = store->parked[at].next) {
			store->parked[at].due_us = 0;
			count++;
			if (chain < SIM_KEYS_MAX)
				break;
		}
	}
	for (uint32_t i = 0; dead && i < store->plot->message_count && most > 0; i++) {
		/* What is too large stays so. */
		if (!store->dead[i] || store->plot->messages[i].oversize)
			continue;
		if (keys_parked(store) >= store->plot->config.quotas.parked_keys &&
		    store->holder[store->plot->messages[i].key == SIM_NO_KEY
				      ? 0
				      : store->plot->messages[i].key] != (int16_t)i)
			continue;
		revive(store, i);
		count++;
		most--;
	}
	changed(store);
	return count;
}

uint32_t
sim_store_discard(struct sim_store *store, bool parked, bool only_oversize, uint32_t most)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < store->plot->message_count && count < most; i++) {
		int32_t key = store->plot->messages[i].key;

		if (only_oversize && !store->plot->messages[i].oversize)
			continue;
		if (store->dead[i]) {
			store->dead[i] = false;
			store->dead_rows--;
			if (key != SIM_NO_KEY && store->holder[key] == (int16_t)i) {
				store->holder[key] = -1;
				if (store->chain_first[key] >= 0)
					store->parked[store->chain_first[key]].due_us = 0;
			}
		} else if (parked && store->parked[i].chain >= 0) {
			sim_chain_remove(store, i);
		} else {
			continue;
		}
		sim_ledger_discarded(store->ledger, i);
		/* One that is sent, but not yet settled so, counts as gone twice until the counts are read anew. */
		store->excess++;
		store->counts.discarded++;
		count++;
	}
	changed(store);
	return count;
}

uint32_t
sim_store_replay(struct sim_store *store, int32_t from)
{
	uint32_t count = 0;

	if (store->replay_from < store->replay_to && store->replay_from < from)
		from = store->replay_from;
	store->replay++;
	store->replay_from = from;
	store->replay_to = store->checkpoint;
	for (int32_t at = from; at < store->checkpoint; at++) {
		uint32_t message = store->order[at];

		if (!store->plot->messages[message].matches)
			continue;
		sim_ledger_replayed(store->ledger, message,
				    store->dead[message] || store->parked[message].chain >= 0);
		count++;
	}
	store->counts.replays++;
	changed(store);
	return count;
}
