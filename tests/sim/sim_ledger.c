#include "sim_ledger.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
sim_ledger_begin(struct sim_ledger *ledger, const struct sim_plot *plot)
{
	int64_t each_us = (plot->send_us + plot->answer_us) * (1 + plot->slow / 50);
	uint32_t in_flight = plot->config.in_flight_max;

	if (in_flight > plot->config.sink.in_flight_max)
		in_flight = plot->config.sink.in_flight_max;
	memset(ledger->messages, 0, sizeof(ledger->messages[0]) * SIM_MESSAGES_MAX);
	for (uint32_t i = 0; i < SIM_KEYS_MAX; i++) {
		ledger->keys[i].count = 0;
		ledger->keys[i].done = 0;
		ledger->keys[i].open = -1;
		ledger->keys[i].twice = 0;
		ledger->keys[i].failed = false;
	}
	memset(&ledger->oldest, 0, sizeof(*ledger) - offsetof(struct sim_ledger, oldest));
	ledger->plot = plot;
	/* All of them one after another, three times over, and as many calls of the store, with a fetch and a
	   settle for each in the smallest window. */
	ledger->calm_limit_s =
	    20 + 3 * (int64_t)plot->message_count *
		     (each_us * 2 + 4 * plot->store_call_us + plot->config.settle_every_ms * 1000) /
		     1000000;
	if (in_flight > 4 && plot->config.window_count_max > 32)
		ledger->calm_limit_s = ledger->calm_limit_s / 4 + 20;
	ledger->duplicates_max = plot->config.window_count_max + plot->config.parked_window_max;
}

void
sim_ledger_fail(struct sim_ledger *ledger, const char *promise, const char *format, ...)
{
	va_list args;

	if (ledger->failed)
		return;
	ledger->failed = true;
	snprintf(ledger->promise, sizeof(ledger->promise), "%s", promise);
	va_start(args, format);
	vsnprintf(ledger->failure, sizeof(ledger->failure), format, args);
	va_end(args);
}

static const struct sim_message *
message_of(const struct sim_ledger *ledger, uint32_t message)
{
	return &ledger->plot->messages[message];
}

void
sim_ledger_commit(struct sim_ledger *ledger, uint32_t message)
{
	const struct sim_message *it = message_of(ledger, message);
	struct sim_ledger_message *state = &ledger->messages[message];

	state->committed = true;
	state->calm_at_commit = ledger->calm_s;
	if (!it->matches)
		return;
	state->owed = true;
	if (it->key != SIM_NO_KEY) {
		struct sim_ledger_key *key = &ledger->keys[it->key];

		state->at_in_key = key->count;
		key->messages[key->count++] = (uint16_t)message;
	}
}

/* ---- people ---- */

static void
forget_sent(struct sim_ledger *ledger, struct sim_ledger_message *state)
{
	state->sent_session = 0;
	state->settled_session = 0;
	ledger->asked_again++;
}

void
sim_ledger_replayed(struct sim_ledger *ledger, uint32_t message, bool kept)
{
	struct sim_ledger_message *state = &ledger->messages[message];

	forget_sent(ledger, state);
	state->owed = true;
	state->discarded = false;
	state->ever_dead |= state->dead;
	state->loose |= kept || state->replayed;
	if (message_of(ledger, message)->key != SIM_NO_KEY)
		ledger->keys[message_of(ledger, message)->key].twice++;
	state->replayed = true;
}

static void
close_open(struct sim_ledger *ledger, uint32_t message)
{
	int32_t key = message_of(ledger, message)->key;

	ledger->messages[message].open_session = 0;
	if (key != SIM_NO_KEY && ledger->keys[key].open == (int32_t)message)
		ledger->keys[key].open = -1;
}

void
sim_ledger_revived(struct sim_ledger *ledger, uint32_t message)
{
	struct sim_ledger_message *state = &ledger->messages[message];

	forget_sent(ledger, state);
	state->crashes = 0;
	state->dead = false;
}

void
sim_ledger_discarded(struct sim_ledger *ledger, uint32_t message)
{
	ledger->messages[message].dead = false;
	ledger->messages[message].discarded = true;
	ledger->messages[message].ever_discarded = true;
	close_open(ledger, message);
}

/* ---- the way to the recipient ---- */

/* Retry traffic: no sooner than the policy says, but for what people want at once; and a poison is charged. */
static void
check_retry(struct sim_ledger *ledger, int64_t now_us, uint32_t session, uint32_t message,
	    uint32_t attempt)
{
	const struct ob_retry_policy *retry = &ledger->plot->config.retry;
	struct sim_ledger_message *state = &ledger->messages[message];
	int64_t least_us = retry->first_ms * (100 - retry->jitter_pct) * 9;

	int32_t key = message_of(ledger, message)->key;
	bool is_replayed = state->replayed || (key != SIM_NO_KEY && ledger->keys[key].twice > 0);

	if (!is_replayed && attempt > state->attempt && state->attempt > 0 &&
	    state->failed_session == session && state->failed_change == ledger->changes &&
	    now_us - state->failed_us < least_us)
		sim_ledger_fail(ledger, "P6", "message %u is tried again %lld ms after it failed",
				message, (long long)((now_us - state->failed_us) / 1000));
	state->attempt = attempt;
	if (attempt > 1 || state->failed_session != session)
		state->crashes = 0;
	if (state->crashes > 16 && attempt == 1)
		sim_ledger_fail(
		    ledger, "P5",
		    "message %u took the recipient down %u times, and was never charged", message,
		    state->crashes);
}

void
sim_ledger_crashed(struct sim_ledger *ledger, uint32_t message)
{
	struct sim_ledger_message *state = &ledger->messages[message];

	state->crashes += ledger->told_sent > state->crash_mark;
	state->crash_mark = ledger->told_sent;
}

void
sim_ledger_submitted(struct sim_ledger *ledger, int64_t now_us, uint32_t session, uint32_t message,
		     uint32_t attempt)
{
	struct sim_ledger_message *state = &ledger->messages[message];

	if (state->out_session != session)
		check_retry(ledger, now_us, session, message, attempt);
	if (state->first_try_us == 0)
		state->first_try_us = now_us;
	if (state->loose)
		return;
	if (state->out_session == session)
		sim_ledger_fail(ledger, "P4", "message %u was submitted while it is in flight",
				message);
	else if (state->sent_session == session)
		sim_ledger_fail(
		    ledger, "P4",
		    "message %u was submitted again, though the same session saw its receipt \"sent\"",
		    message);
	else if (state->settled_session != 0 && state->settled_session < session)
		sim_ledger_fail(ledger, "P4",
				"message %u was submitted, though it was settled as sent before",
				message);
	state->out_session = session;
}

static bool
message_is_done(const struct sim_ledger *ledger, uint32_t message)
{
	const struct sim_ledger_message *state = &ledger->messages[message];

	if (state->accepts > 0 || state->ever_discarded)
		return true;
	if (message_of(ledger, message)->deliver_at_us != 0)
		return true;
	return !ledger->plot->config.retry.hold_key && (state->dead || state->ever_dead);
}

static void
check_order(struct sim_ledger *ledger, uint32_t session, uint32_t message)
{
	const struct sim_ledger_message *state = &ledger->messages[message];
	struct sim_ledger_key *key = &ledger->keys[message_of(ledger, message)->key];
	int32_t open = key->open;
	bool exempt =
	    state->ever_discarded || (!ledger->plot->config.retry.hold_key && state->ever_dead);

	if (exempt || message_of(ledger, message)->deliver_at_us != 0)
		return;
	while (key->done < key->count && message_is_done(ledger, key->messages[key->done]))
		key->done++;
	if (state->at_in_key > key->done) {
		sim_ledger_fail(ledger, "P3", "message %u of key %d was accepted before message %u",
				message, message_of(ledger, message)->key,
				key->messages[key->done]);
		return;
	}
	if (open < 0 || ledger->messages[open].open_session != session)
		return;
	if (ledger->messages[open].at_in_key >= state->at_in_key || ledger->messages[open].dead ||
	    ledger->messages[open].ever_dead || ledger->messages[open].ever_discarded)
		return;
	sim_ledger_fail(ledger, "P3", "message %u of key %d overtook the retry of message %d",
			message, message_of(ledger, message)->key, open);
}

void
sim_ledger_accepted(struct sim_ledger *ledger, int64_t now_us, uint32_t session, uint32_t message)
{
	struct sim_ledger_message *state;

	if (message >= ledger->plot->message_count) {
		sim_ledger_fail(ledger, "P1",
				"message %u was delivered, but its transaction rolled back",
				message);
		return;
	}
	state = &ledger->messages[message];
	if (!state->committed || message_of(ledger, message)->committed_us > now_us)
		sim_ledger_fail(ledger, "P1", "message %u was delivered before its commit",
				message);
	if (!message_of(ledger, message)->matches)
		sim_ledger_fail(ledger, "P1", "message %u was delivered, but does not match",
				message);
	if (message_of(ledger, message)->key != SIM_NO_KEY && state->accepts == 0)
		check_order(ledger, session, message);
	/* A relay's clock may run a little faster than the database's. */
	if (message_of(ledger, message)->deliver_at_us * 99 / 100 > now_us + 100000)
		sim_ledger_fail(ledger, "P3", "message %u was delivered before its time", message);
	ledger->first_accepted += state->accepts == 0;
	/* Its retry arrived; if that is not answered, its receipt opens it again. */
	close_open(ledger, message);
	ledger->accepted++;
	state->accepts++;
	state->owed = false;
}

static void
note_failure(struct sim_ledger *ledger, uint32_t session, uint32_t message)
{
	const struct sim_message *it = message_of(ledger, message);
	struct sim_ledger_message *state = &ledger->messages[message];
	struct sim_ledger_key *key;

	state->open_session = session;
	if (it->key == SIM_NO_KEY || it->deliver_at_us != 0)
		return;
	key = &ledger->keys[it->key];
	if (key->open < 0 || ledger->messages[key->open].open_session != session ||
	    ledger->messages[key->open].at_in_key > state->at_in_key)
		key->open = (int32_t)message;
}

void
sim_ledger_receipt(struct sim_ledger *ledger, int64_t now_us, uint32_t session, uint32_t message,
		   const struct ob_receipt *receipt, bool cancelled)
{
	struct sim_ledger_message *state = &ledger->messages[message];
	int32_t key = message_of(ledger, message)->key;

	if (state->out_session == session)
		state->out_session = 0;
	switch (receipt->fate) {
	case OB_FATE_SENT:
		ledger->told_sent++;
		ledger->unproven = 0;
		ledger->unproven_us = now_us;
		/* One who has lost its lease may learn of it late. */
		if (session > state->sent_session)
			state->sent_session = session;
		close_open(ledger, message);
		return;
	case OB_FATE_RETURNED:
		return;
	case OB_FATE_BLOCKED:
		break;
	case OB_FATE_DOWN:
		state->downs_reached += receipt->reached;
		ledger->unknowns += receipt->reached;
		break;
	case OB_FATE_UNKNOWN:
		ledger->unknowns++;
		state->fails++;
		break;
	case OB_FATE_REJECT:
		state->rejects++;
		state->fails++;
		break;
	case OB_FATE_RETRY:
		state->fails++;
		break;
	}
	state->failed_us = now_us;
	state->failed_session = session;
	state->failed_mark = ledger->told_sent;
	state->failed_change = ledger->changes;
	if (key != SIM_NO_KEY && state->fails > 0)
		ledger->keys[key].failed = true;
	/* What was given up together arrives in its order, if at all. */
	if (!cancelled)
		note_failure(ledger, session, message);
}

void
sim_ledger_session(struct sim_ledger *ledger, int64_t now_us)
{
	ledger->unproven = 0;
	ledger->unproven_us = now_us;
}

void
sim_ledger_incident(struct sim_ledger *ledger)
{
	ledger->incidents++;
}

/* ---- what is written down ---- */

void
sim_ledger_settled_sent(struct sim_ledger *ledger, uint32_t session, uint32_t message)
{
	struct sim_ledger_message *state = &ledger->messages[message];

	if (state->accepts == 0)
		sim_ledger_fail(ledger, "P2", "message %u was settled as sent, but never accepted",
				message);
	else if (state->owed && !state->loose)
		sim_ledger_fail(
		    ledger, "P2",
		    "message %u was settled as sent, but not accepted since a person asked for it again",
		    message);
	else if (state->sent_session != session && !state->loose)
		sim_ledger_fail(
		    ledger, "P2",
		    "message %u was settled as sent, but its session saw no such receipt", message);
	state->settled_session = session;
	close_open(ledger, message);
}

/* It died because its key has as many rows parked as it may. */
static bool
is_for_quota(const struct ob_outcome *outcome)
{
	return outcome->try_count > 0 &&
	       strcmp(outcome->tries[outcome->try_count - 1].code, "key_quota") == 0;
}

static bool
death_has_cause(const struct sim_ledger *ledger, uint32_t message, const struct ob_outcome *outcome,
		uint32_t key_rows)
{
	const struct ob_retry_policy *retry = &ledger->plot->config.retry;
	const struct sim_ledger_message *state = &ledger->messages[message];

	if (message_of(ledger, message)->oversize)
		return true;
	if (is_for_quota(outcome))
		return message_of(ledger, message)->key != SIM_NO_KEY && !retry->hold_key &&
		       key_rows >= ledger->plot->config.quotas.parked_rows_of_key;
	if (state->fails + state->downs_reached == 0)
		return false;
	if (state->rejects > 0 && !retry->reject_retries)
		return true;
	if (retry->attempts_max > 0 && outcome->attempts >= retry->attempts_max)
		return true;
	return retry->age_max_ms > 0 && outcome->age_ms >= retry->age_max_ms;
}

/* With nothing sent since it failed, it may be the recipient that is at fault: then no backlog may pour into the dead,
   however few keys there are. */
static void
count_unproven_death(struct sim_ledger *ledger, int64_t now_us, uint32_t message,
		     const struct ob_outcome *outcome)
{
	const struct ob_engine_config *config = &ledger->plot->config;
	int64_t age_max_ms = config->retry.age_max_ms;
	int64_t most;

	if (config->storm_limit == 0 || message_of(ledger, message)->oversize ||
	    is_for_quota(outcome) || (age_max_ms > 0 && outcome->age_ms >= age_max_ms) ||
	    ledger->told_sent > ledger->messages[message].failed_mark)
		return;
	most = (config->storm_limit + 1) / 2 +
	       (now_us - ledger->unproven_us) / (config->retry.max_ms * 990);
	if (++ledger->unproven > most)
		sim_ledger_fail(
		    ledger, "P5", "message %u is dead, the %uth in the %lld ms since one was sent",
		    message, ledger->unproven, (long long)((now_us - ledger->unproven_us) / 1000));
}

static void
settle_death(struct sim_ledger *ledger, int64_t now_us, uint32_t message,
	     const struct ob_outcome *outcome, uint32_t key_rows, bool has_reason)
{
	struct sim_ledger_message *state = &ledger->messages[message];
	bool holds = outcome->kind == OB_OUTCOME_DEAD_HOLD || outcome->kind == OB_OUTCOME_BURY_HOLD;
	bool must_hold = ledger->plot->config.retry.hold_key &&
			 message_of(ledger, message)->key != SIM_NO_KEY && outcome->lane != 0;

	if (!death_has_cause(ledger, message, outcome, key_rows))
		sim_ledger_fail(ledger, "P5",
				"message %u is dead without a cause: %u tries counted, "
				"%u failed, %u rejected, age %lld ms",
				message, outcome->attempts, state->fails, state->rejects,
				(long long)outcome->age_ms);
	if (!has_reason)
		sim_ledger_fail(ledger, "P2", "message %u is dead without a reason", message);
	if (holds != must_hold)
		sim_ledger_fail(ledger, "P3", "message %u is dead and its key %s", message,
				holds ? "waits, by dead_letter" : "goes on, by hold_key");
	count_unproven_death(ledger, now_us, message, outcome);
	state->dead = true;
	state->ever_dead = true;
	ledger->dead++;
	close_open(ledger, message);
}

void
sim_ledger_settled(struct sim_ledger *ledger, int64_t now_us, uint32_t message,
		   const struct ob_outcome *outcome, uint32_t key_rows, bool has_reason)
{
	const struct sim_ledger_message *state = &ledger->messages[message];
	uint32_t failed = state->fails + (state->downs_reached > 2 ? state->downs_reached - 2 : 0);
	int32_t key = message_of(ledger, message)->key;

	if (outcome->attempts > failed)
		sim_ledger_fail(ledger, "P5", "message %u: %u tries counted, but %u failed",
				message, outcome->attempts, failed);
	if (outcome->age_ms > 0 && outcome->kind != OB_OUTCOME_BACK &&
	    outcome->age_ms > (now_us - state->first_try_us) / 1000 * 102 / 100 + 100)
		sim_ledger_fail(ledger, "P5",
				"message %u is said to be %lld ms old, first tried %lld ms ago",
				message, (long long)outcome->age_ms,
				(long long)((now_us - state->first_try_us) / 1000));
	if (outcome->kind == OB_OUTCOME_PARK && outcome->attempts == 0 && !ledger->drains)
		sim_ledger_fail(ledger, "P5", "message %u is parked, but was never tried", message);
	if (key != SIM_NO_KEY && outcome->kind != OB_OUTCOME_BEHIND &&
	    outcome->kind != OB_OUTCOME_SCHEDULE)
		ledger->keys[key].failed = true;
	switch (outcome->kind) {
	case OB_OUTCOME_DEAD:
	case OB_OUTCOME_DEAD_HOLD:
	case OB_OUTCOME_BURY:
	case OB_OUTCOME_BURY_HOLD:
		settle_death(ledger, now_us, message, outcome, key_rows, has_reason);
		break;
	default:
		break;
	}
}

/* ---- now and then, and at the end ---- */

/* Poison, and what failed, waits for its tries; what waits behind it, or is scheduled, waits with it. */
static bool
latency_counts(const struct sim_ledger *ledger, uint32_t message)
{
	const struct sim_message *it = message_of(ledger, message);
	const struct sim_ledger_message *state = &ledger->messages[message];

	if (!it->matches || it->deliver_at_us != 0 || it->poison != SIM_HARMLESS || it->oversize)
		return false;
	if (state->accepts > 0 || state->dead || state->discarded || state->fails > 0)
		return false;
	return it->key == SIM_NO_KEY || !ledger->keys[it->key].failed;
}

void
sim_ledger_watch(struct sim_ledger *ledger, int64_t now_us, bool calm)
{
	const struct sim_plot *plot = ledger->plot;

	ledger->calm_s += calm;
	while (ledger->oldest < plot->message_count && ledger->messages[ledger->oldest].committed &&
	       !latency_counts(ledger, ledger->oldest))
		ledger->oldest++;
	if (ledger->oldest < plot->message_count && ledger->messages[ledger->oldest].committed &&
	    ledger->calm_s - ledger->messages[ledger->oldest].calm_at_commit > ledger->calm_limit_s)
		sim_ledger_fail(
		    ledger, "P5",
		    "message %u was not delivered in %lld s in which nothing was wrong with it",
		    ledger->oldest, (long long)ledger->calm_limit_s);
	(void)now_us;
}

void
sim_ledger_end(struct sim_ledger *ledger)
{
	uint64_t allowed =
	    ledger->unknowns + ledger->asked_again + ledger->incidents * ledger->duplicates_max;

	for (uint32_t i = 0; i < ledger->plot->message_count; i++) {
		const struct sim_ledger_message *state = &ledger->messages[i];

		if (message_of(ledger, i)->matches && state->owed && !state->dead &&
		    !state->discarded)
			sim_ledger_fail(ledger, "P2",
					"message %u was never accepted and is not dead", i);
	}
	if (ledger->accepted - ledger->first_accepted > allowed)
		sim_ledger_fail(ledger, "P4", "%llu duplicates, where %llu are explained",
				(unsigned long long)(ledger->accepted - ledger->first_accepted),
				(unsigned long long)allowed);
}
