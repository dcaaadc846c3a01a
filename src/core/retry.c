/*
 * Failures of one message: tries that are counted, the pause until the next one, and death.
 *
 * An entry of the log waits for its next try in memory, holding its lane, until a settle parks it. An entry
 * that came from the parked table goes back there at once. A reject kills a message, but is believed
 * only when something was sent after it or `verdict_ms` have passed: until then it might be that everything
 * is rejected (recipient.c).
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
is_exhausted(const struct ob_engine *engine, const struct entry *entry)
{
	const struct ob_retry_policy *retry = &engine->config.retry;

	if (retry->attempts_max > 0 && entry->attempts >= retry->attempts_max)
		return true;
	return retry->age_max_ms > 0 && engine->now_ms - entry->first_try_ms >= retry->age_max_ms;
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

void
ob_retry_failed(struct ob_engine *engine, struct entry *entry, const struct ob_receipt *receipt)
{
	try_count(engine, entry, receipt);
	if (is_exhausted(engine, entry)) {
		ob_retry_dead(engine, entry);
		return;
	}
	entry->due_ms =
	    ob_core_later(engine->now_ms, retry_wait(engine, entry, receipt->retry_after_ms));
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

void
ob_retry_rejected(struct ob_engine *engine, struct entry *entry, const struct ob_receipt *receipt)
{
	try_count(engine, entry, receipt);
	entry->awaits = AWAITS_VERDICT;
	if (engine->config.storm_limit == 0) {
		ob_retry_dead(engine, entry);
		return;
	}
	entry->due_ms = ob_core_later(engine->now_ms, engine->config.verdict_ms);
	entry->listed = true;
	ob_list_push_back(&engine->recipient.verdicts, &entry->link);
	/* Its successor may be listed already. */
	if (entry->lane != NULL)
		ob_lanes_update(engine, entry->lane);
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
ob_retry_disbelieve(struct ob_engine *engine, struct entry *entry)
{
	verdict_end(entry);
	entry->attempts--;
	if (entry->try_count > 0)
		entry->try_count--;
	ob_lanes_turn(engine, entry);
}

void
ob_retry_too_large(struct ob_engine *engine, struct entry *entry)
{
	try_note(engine, entry, "too_large",
		 entry->row->oversize_bytes > 0 ? "the payload is larger than a message may be"
						: "the payload is larger than the recipient takes");
	ob_retry_dead(engine, entry);
}
