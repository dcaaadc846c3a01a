/* Settling: the outcomes of messages are checked against the contract, written down, and told to the ledger. */
#include "sim_store.h"

static void
add_tries(struct sim_parked *row, const struct ob_outcome *outcome)
{
	for (uint32_t i = 0; i < outcome->try_count; i++)
		row->has_reason |= outcome->tries[i].code[0] != '\0';
}

static void
write_row(struct sim_store *store, uint32_t message, const struct ob_outcome *outcome, int chain,
	  bool due_now)
{
	struct sim_parked *row = &store->parked[message];
	bool had_reason = row->chain >= 0 && row->has_reason;

	if (row->chain >= 0 && row->chain != chain)
		sim_chain_remove(store, message);
	if (row->chain < 0) {
		*row = (struct sim_parked){0};
		sim_chain_add(store, message, chain);
	}
	row->has_reason = had_reason;
	row->due_us = due_now ? 0 : store->now_us + outcome->due_in_ms * 1000;
	row->attempts = outcome->attempts;
	row->first_try_us = outcome->age_ms > 0 ? store->now_us - outcome->age_ms * 1000 : 0;
	if (row->first_try_us == 0 && outcome->attempts > 0)
		row->first_try_us = store->now_us;
	add_tries(row, outcome);
}

static bool
write_dead(struct sim_store *store, uint32_t message, const struct ob_outcome *outcome,
	   bool had_reason)
{
	int32_t key = store->plot->messages[message].key;
	struct sim_parked tries = {.has_reason = had_reason};

	add_tries(&tries, outcome);
	if (!store->dead[message]) {
		store->dead[message] = true;
		store->dead_rows++;
	}
	if (outcome->kind == OB_OUTCOME_DEAD_HOLD || outcome->kind == OB_OUTCOME_BURY_HOLD) {
		if (key == SIM_NO_KEY || outcome->lane == 0)
			sim_ledger_fail(store->ledger, "contract", "message %u has no key to hold",
					message);
		else
			store->holder[key] = (int16_t)message;
	}
	return tries.has_reason;
}

static void
tell_ledger(struct sim_store *store, uint32_t message, const struct ob_outcome *outcome,
	    bool has_reason)
{
	sim_ledger_settled(store->ledger, store->now_us, message, outcome,
			   store->chain_rows[sim_chain_of(store, message)], has_reason);
}

static void
settle_log_row(struct sim_store *store, uint32_t message, const struct ob_outcome *outcome)
{
	struct sim_store_counts *counts = &store->counts;
	bool is_free = outcome->lane == 0 && store->plot->messages[message].deliver_at_us != 0;
	int chain = is_free ? SIM_CHAIN_KEYLESS : sim_chain_of(store, message);
	bool has_reason = true;

	if (outcome->lane != sim_lane_of_key(store->plot->messages[message].key) && !is_free)
		sim_ledger_fail(store->ledger, "contract",
				"message %u was settled under another lane", message);
	switch (outcome->kind) {
	case OB_OUTCOME_PARK:
		counts->parked++;
		write_row(store, message, outcome, chain, false);
		break;
	case OB_OUTCOME_BEHIND:
		counts->behind++;
		write_row(store, message, outcome, chain, true);
		break;
	case OB_OUTCOME_SCHEDULE:
		counts->scheduled++;
		write_row(store, message, outcome, SIM_CHAIN_SCHEDULED, false);
		break;
	case OB_OUTCOME_DEAD:
	case OB_OUTCOME_DEAD_HOLD:
		counts->dead += outcome->kind == OB_OUTCOME_DEAD;
		counts->dead_hold += outcome->kind == OB_OUTCOME_DEAD_HOLD;
		has_reason = write_dead(store, message, outcome, store->dead[message]);
		break;
	default:
		sim_ledger_fail(store->ledger, "contract", "outcome %d for a row of the log",
				outcome->kind);
		return;
	}
	tell_ledger(store, message, outcome, has_reason);
}

static int
message_at_position(const struct sim_store *store, int64_t position)
{
	if (position < 1 || position > SIM_MESSAGES_MAX)
		return -1;
	return store->plot->at_position[position];
}

static void
settle_parked_row(struct sim_store *store, struct sim_session *session,
		  const struct ob_outcome *outcome)
{
	struct sim_store_counts *counts = &store->counts;
	int message = message_at_position(store, outcome->position);
	struct sim_parked *row;
	bool has_reason = true;

	if (message < 0) {
		sim_ledger_fail(store->ledger, "contract",
				"outcome for a position that is not there");
		return;
	}
	row = &store->parked[message];
	if (outcome->kind == OB_OUTCOME_UNPARK) {
		counts->unparked++;
		if (row->chain >= 0) {
			sim_ledger_settled_sent(store->ledger, session->number, (uint32_t)message);
			sim_chain_remove(store, (uint32_t)message);
		}
		return;
	}
	if (row->chain < 0 || !row->out) {
		/* A replay may have parked it anew while it was handed out. */
		if (outcome->kind != OB_OUTCOME_BACK && !store->ledger->messages[message].loose)
			sim_ledger_fail(store->ledger, "contract",
					"outcome %d for message %d, which was not handed out",
					outcome->kind, message);
		return;
	}
	has_reason = row->has_reason;
	switch (outcome->kind) {
	case OB_OUTCOME_REPARK:
		counts->reparked++;
		if (outcome->attempts < row->attempts)
			sim_ledger_fail(store->ledger, "P5",
					"message %d: %u tries were counted, now %u", message,
					row->attempts, outcome->attempts);
		write_row(store, (uint32_t)message, outcome, row->chain, false);
		store->chain_out[row->chain]--;
		row->out = false;
		break;
	case OB_OUTCOME_BACK:
		counts->back++;
		store->chain_out[row->chain]--;
		row->out = false;
		return;
	case OB_OUTCOME_BURY:
	case OB_OUTCOME_BURY_HOLD:
		counts->buried += outcome->kind == OB_OUTCOME_BURY;
		counts->bury_hold += outcome->kind == OB_OUTCOME_BURY_HOLD;
		sim_chain_remove(store, (uint32_t)message);
		has_reason = write_dead(store, (uint32_t)message, outcome, has_reason);
		break;
	default:
		sim_ledger_fail(store->ledger, "contract", "outcome %d for a parked row",
				outcome->kind);
		return;
	}
	tell_ledger(store, (uint32_t)message, outcome, has_reason);
}

static void
pass_ordinal(struct sim_store *store, const struct sim_session *session, uint64_t ordinal)
{
	const struct sim_entry *entry = &session->entries[ordinal];

	if (entry->replay == 0)
		store->checkpoint = entry->at + 1;
	else if (entry->replay == store->replay && store->replay_from < store->replay_to)
		store->replay_from = entry->at + 1;
}

static void
settle_log(struct sim_store *store, struct sim_session *session, const struct ob_settle *settle)
{
	uint32_t next = 0;

	for (uint64_t ordinal = session->settled + 1; ordinal <= settle->through; ordinal++) {
		const struct sim_entry *entry = &session->entries[ordinal];
		uint32_t message = store->order[entry->at];
		bool is_overtaken = entry->replay != 0 && entry->replay != store->replay;

		while (next < settle->outcome_count &&
		       settle->outcomes[next].kind >= OB_OUTCOME_UNPARK)
			next++;
		if (next < settle->outcome_count && settle->outcomes[next].ordinal == ordinal)
			settle_log_row(store, message, &settle->outcomes[next++]);
		else if (!is_overtaken) /* else the next replay asks for it once more */
			sim_ledger_settled_sent(store->ledger, session->number, message);
		pass_ordinal(store, session, ordinal);
	}
	while (next < settle->outcome_count && settle->outcomes[next].kind >= OB_OUTCOME_UNPARK)
		next++;
	if (next != settle->outcome_count)
		sim_ledger_fail(store->ledger, "contract",
				"an outcome for ordinal %llu, out of order or beyond through %llu",
				(unsigned long long)settle->outcomes[next].ordinal,
				(unsigned long long)settle->through);
	if (settle->through > session->settled)
		session->settled = settle->through;
	if (session->replay == store->replay && session->settled >= session->replay_done)
		store->replay_from = store->replay_to;
	/* What does not match lies behind the last row, and was read past. */
	if (session->settled == session->ordinals)
		store->checkpoint = session->cursor;
}

static void
check_quotas(const struct sim_store *store)
{
	const struct ob_quotas *quotas = &store->plot->config.quotas;
	uint32_t keys = 0;

	for (int key = 0; key < SIM_KEYS_MAX; key++) {
		keys += store->chain_rows[key] > 0 || store->holder[key] >= 0;
		if (store->chain_rows[key] > quotas->parked_rows_of_key + store->excess)
			sim_ledger_fail(store->ledger, "P6",
					"%u rows of key %d are parked, %u may be",
					store->chain_rows[key], key, quotas->parked_rows_of_key);
	}
	if (store->parked_rows > quotas->parked_rows + store->excess)
		sim_ledger_fail(store->ledger, "P6", "%llu rows are parked, %llu may be",
				(unsigned long long)store->parked_rows,
				(unsigned long long)quotas->parked_rows);
	if (keys > quotas->parked_keys + store->excess)
		sim_ledger_fail(store->ledger, "P6", "%u keys are parked, %u may be", keys,
				quotas->parked_keys);
	if (store->scheduled_rows > quotas->scheduled_rows + store->excess)
		sim_ledger_fail(store->ledger, "P6", "%llu rows are scheduled, %llu may be",
				(unsigned long long)store->scheduled_rows,
				(unsigned long long)quotas->scheduled_rows);
	if (store->dead_rows > quotas->dead_rows + store->excess)
		sim_ledger_fail(store->ledger, "P6", "%llu rows are dead, %llu may be",
				(unsigned long long)store->dead_rows,
				(unsigned long long)quotas->dead_rows);
}

/* The store said how much it takes at once. */
static void
check_size(struct sim_store *store, const struct sim_session *session,
	   const struct ob_settle *settle)
{
	const struct ob_engine_config *config = &store->plot->config;
	uint64_t bytes = 0;
	uint32_t count = 0;

	for (uint32_t i = 0; i < settle->outcome_count; i++) {
		const struct ob_outcome *it = &settle->outcomes[i];
		int message = it->ordinal > 0 ? store->order[session->entries[it->ordinal].at]
					      : message_at_position(store, it->position);

		if (it->kind == OB_OUTCOME_BACK || message < 0)
			continue;
		count++;
		bytes += store->plot->messages[message].bytes;
	}
	if ((config->settle_count_max > 0 && count > config->settle_count_max) ||
	    (config->settle_bytes_max > 0 && count > 1 && bytes > config->settle_bytes_max))
		sim_ledger_fail(store->ledger, "contract",
				"a settle of %u outcomes and %llu bytes, %u and %llu may be", count,
				(unsigned long long)bytes, config->settle_count_max,
				(unsigned long long)config->settle_bytes_max);
}

enum ob_code
sim_store_settle(struct sim_store *store, struct sim_session *session,
		 const struct ob_settle *settle)
{
	enum ob_code code = OB_OK;

	if (store->lease_token != session->token)
		code = OB_STALE;
	else if (store->epoch != session->epoch)
		code = OB_CHANGED;
	store->counts.refused_stale += code == OB_STALE;
	store->counts.refused_changed += code == OB_CHANGED;
	if (code != OB_OK)
		return code;
	store->counts.settles++;
	store->ledger->drains = session->draining;
	if (settle->through > session->ordinals ||
	    (settle->through < session->settled && settle->through != 0)) {
		sim_ledger_fail(
		    store->ledger, "contract", "settle through %llu, of %llu read and %llu settled",
		    (unsigned long long)settle->through, (unsigned long long)session->ordinals,
		    (unsigned long long)session->settled);
		return OB_INVALID;
	}
	check_size(store, session, settle);
	for (uint32_t i = 0; i < settle->outcome_count; i++)
		if (settle->outcomes[i].kind >= OB_OUTCOME_UNPARK)
			settle_parked_row(store, session, &settle->outcomes[i]);
	settle_log(store, session, settle);
	if (settle->outcome_count > 0)
		check_quotas(store);
	return OB_OK;
}
