/*
 * Failures of one message: tries that are counted, the pause until the next one, and death.
 *
 * An entry of the log waits for its next try in memory, holding its lane, until a settle parks it. An entry
 * that came from the parked table goes back there at once. A reject kills a message, and so does the last of its
 * tries, but that is believed only when something was sent after it: until then it might be that everything
 * fails (recipient.c). When `verdict_ms` have passed few are given up all the same; the others are tried again.
 */
#include <string.h>

#include "core.h"
#include "text.h"

static void
try_note(struct ob_engine *engine, struct entry *entry, const char *code, const char *text)
{
	struct ob_try *tries = &engine->window.tries[(size_t)entry->slot * OB_ENTRY_TRIES];
	struct ob_try *note;

	if (entry->try_count == OB_ENTRY_TRIES) {
		memmove(tries, tries + 1, (OB_ENTRY_TRIES - 1) * sizeof(*tries));
		entry->try_count--;
	}
	note = &tries[entry->try_count++];
	note->ago_ms = engine->now_ms;
	ob_text_copy(note->code, sizeof(note->code), code == NULL ? "failed" : code);
	ob_text_copy(note->text, sizeof(note->text), text == NULL ? "" : text);
}

static void
try_count(struct ob_engine *engine, struct entry *entry, const struct ob_receipt *receipt)
{
	if (entry->attempts == 0)
		entry->first_try_ms = engine->now_ms;
	if (entry->attempts < UINT32_MAX)
		entry->attempts++;
	try_note(engine, entry, receipt->code, receipt->text);
}

static bool
is_used_up(const struct ob_engine *engine, const struct entry *entry)
{
	uint32_t most = engine->config.retry.attempts_max;

	return most > 0 && entry->attempts >= most;
}

static bool
is_too_old(const struct ob_engine *engine, const struct entry *entry)
{
	int64_t most_ms = engine->config.retry.age_max_ms;

	return most_ms > 0 && engine->now_ms - entry->first_try_ms >= most_ms;
}

static int64_t
retry_wait(struct ob_engine *engine, const struct entry *entry, uint32_t retry_after_ms)
{
	const struct ob_retry_policy *retry = &engine->config.retry;
	int64_t wait = ob_core_doubled(retry->first_ms, entry->attempts - 1, retry->max_ms);

	wait = ob_core_jitter(engine, wait, retry->jitter_pct);
	return ob_core_max(wait, ob_core_min(retry_after_ms, retry->max_ms));
}

void
ob_retry_dead(struct ob_engine *engine, struct entry *entry)
{
	if (entry->parked) {
		ob_parked_end(engine, entry, END_DEAD);
		return;
	}
	/* It stays in its chain and holds it until the settle is confirmed. */
	entry->awaits = AWAITS_SETTLE;
	entry->end = END_DEAD;
	ob_settling_soon(engine, engine->config.settle_every_ms);
	if (entry->lane != NULL)
		ob_lanes_update(engine, entry->lane);
}

/* It waits for its next try. */
static void
retry_later(struct ob_engine *engine, struct entry *entry, uint32_t retry_after_ms)
{
	entry->due_ms = ob_core_later(engine->now_ms, retry_wait(engine, entry, retry_after_ms));
	if (entry->parked) {
		ob_parked_end(engine, entry, END_FAILED);
		return;
	}
	entry->awaits = AWAITS_TRY;
	ob_tries_add(engine, entry);
	ob_settling_soon(engine, engine->config.settle_every_ms);
	if (entry->lane != NULL)
		ob_lanes_update(engine, entry->lane);
}

static void
try_take_back(struct ob_engine *engine, struct entry *entry)
{
	entry->attempts--;
	if (entry->try_count > 0)
		entry->try_count--;
	ob_lanes_turn(engine, entry);
}

static void
verdict_begin(struct ob_engine *engine, struct entry *entry)
{
	if (engine->abandoned) {
		try_take_back(engine, entry);
		return;
	}
	entry->awaits = AWAITS_VERDICT;
	entry->due_ms = ob_core_later(engine->now_ms, engine->config.verdict_ms);
	entry->listed = true;
	ob_list_push_back(&engine->recipient.verdicts, &entry->link);
	/* Its successor may be listed already. */
	if (entry->lane != NULL)
		ob_lanes_update(engine, entry->lane);
}

/* With nothing sent since it failed. */
static void
give_up_unproven(struct ob_engine *engine, struct entry *entry, uint32_t retry_after_ms)
{
	if (is_too_old(engine, entry) || ob_recipient_lets_die(engine, entry))
		ob_retry_dead(engine, entry);
	else
		retry_later(engine, entry, retry_after_ms);
}

void
ob_retry_failed(struct ob_engine *engine, struct entry *entry, const struct ob_receipt *receipt,
		bool charged)
{
	const struct ob_retry_policy *retry = &engine->config.retry;
	bool rejected = receipt->fate == OB_FATE_REJECT && !retry->reject_retries;

	try_count(engine, entry, receipt);
	if (!rejected && is_too_old(engine, entry))
		ob_retry_dead(engine, entry);
	else if (!rejected && !is_used_up(engine, entry))
		retry_later(engine, entry, receipt->retry_after_ms);
	else if (charged || engine->config.storm_limit == 0)
		give_up_unproven(engine, entry, receipt->retry_after_ms);
	else
		verdict_begin(engine, entry);
}

static void
verdict_end(struct entry *entry)
{
	OB_CHECK(entry->awaits == AWAITS_VERDICT);
	entry->listed = false;
	ob_list_remove(&entry->link);
}

void
ob_retry_believe(struct ob_engine *engine, struct entry *entry)
{
	verdict_end(entry);
	ob_retry_dead(engine, entry);
}

void
ob_retry_doubt(struct ob_engine *engine, struct entry *entry)
{
	verdict_end(entry);
	give_up_unproven(engine, entry, 0);
}

void
ob_retry_disbelieve(struct ob_engine *engine, struct entry *entry)
{
	verdict_end(entry);
	try_take_back(engine, entry);
}

void
ob_retry_too_large(struct ob_engine *engine, struct entry *entry)
{
	try_note(engine, entry, "too_large",
		 entry->row->oversize_bytes > 0 ? "the payload is larger than a message may be"
						: "the payload is larger than the recipient takes");
	ob_retry_dead(engine, entry);
}
