/*
 * The recipient: is it there at all?
 *
 * It is down when it says so, or when `storm_limit` lanes failed one after the other with nothing sent between: then
 * it is not the messages. While it is down one message at a time is sent as a probe, the longest waiting first;
 * one that comes back goes to the end, so probes go round the keys and a single poison cannot keep the recipient
 * looking down. Nothing is counted and nothing written. Once a probe is sent, as many are let through as were sent
 * since, which doubles with each round, so that a recipient that has just come up is not run over.
 *
 * A message whose own delivery brings the recipient down would never use up a try. It is charged with one from
 * its third such receipt on, if another message was sent since the one before (so it is not the recipient), or
 * if there is no other to ask.
 *
 * When a probe is answered by RETRY or REJECT, the recipient is there, unless it was such answers that made us
 * think it was not: then, too, only a message that is to blame by the rule above is charged.
 *
 * With fewer lanes than a storm takes it is never down by failures. But then, too, it may be the recipient that refuses
 * them all: ob_recipient_lets_die says how many messages may be given up while nothing is sent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "text.h"

#define BLAMES 3
/* So often it is charged in any case: there may be several such messages, and nothing but them in the window. */
#define BLAMES_MAX 8

bool
ob_recipient_init(struct ob_engine *engine)
{
	struct recipient *recipient = &engine->recipient;

	recipient->pause_ms = engine->config.probe_first_ms;
	recipient->probe_at_ms = OB_NEVER;
	ob_list_init(&recipient->verdicts);
	recipient->streak =
	    calloc((size_t)engine->config.storm_limit + 1, sizeof(*recipient->streak));
	return recipient->streak != NULL;
}

static uint32_t
in_flight_limit(const struct ob_engine *engine)
{
	uint32_t own = engine->config.in_flight_max;
	uint32_t sinks = engine->config.sink.in_flight_max;

	return own < sinks ? own : sinks;
}

uint32_t
ob_recipient_room(const struct ob_engine *engine)
{
	const struct recipient *recipient = &engine->recipient;
	uint32_t limit = in_flight_limit(engine);

	if (ob_recipient_is_down(engine))
		return !recipient->probing && engine->in_flight < limit &&
			       engine->now_ms >= recipient->probe_at_ms
			   ? 1
			   : 0;
	if (recipient->mood == MOOD_RAMP && recipient->ramp < limit)
		limit = recipient->ramp;
	return engine->in_flight < limit ? limit - engine->in_flight : 0;
}

/* Failures that nobody has confirmed yet may be the recipient's after all. */
void
ob_recipient_forget_verdicts(struct ob_engine *engine)
{
	struct ob_list *first;

	while ((first = ob_list_first(&engine->recipient.verdicts)) != NULL)
		ob_retry_disbelieve(engine, OB_CONTAINER_OF(first, struct entry, link));
}

static void
reason_set(struct ob_engine *engine, const struct ob_receipt *receipt)
{
	struct recipient *recipient = &engine->recipient;

	ob_text_copy(recipient->code, sizeof(recipient->code),
		     receipt->code == NULL ? ob_fate_name(receipt->fate) : receipt->code);
	ob_text_copy(recipient->text, sizeof(recipient->text),
		     receipt->text == NULL ? "" : receipt->text);
}

static void
pause_start(struct ob_engine *engine, const struct ob_receipt *receipt)
{
	struct recipient *recipient = &engine->recipient;
	int64_t asked = ob_core_min(receipt->retry_after_ms, engine->config.retry.max_ms);
	int64_t wait =
	    recipient->mood == MOOD_BLOCKED ? engine->config.probe_max_ms : recipient->pause_ms;

	wait = ob_core_jitter(engine, wait, engine->config.retry.jitter_pct);
	recipient->probe_at_ms = ob_core_later(engine->now_ms, ob_core_max(wait, asked));
}

static void
pause_double(struct ob_engine *engine)
{
	engine->recipient.pause_ms =
	    ob_core_doubled(engine->recipient.pause_ms, 1, engine->config.probe_max_ms);
}

static void
down_begin(struct ob_engine *engine, enum mood mood, const struct ob_receipt *receipt)
{
	struct recipient *recipient = &engine->recipient;

	recipient->mood = mood;
	reason_set(engine, receipt);
	pause_start(engine, receipt);
	/* If nothing is sent before it is down again, the next pause is longer. */
	pause_double(engine);
	ob_recipient_forget_verdicts(engine);
}

static void
ramp_begin(struct ob_engine *engine)
{
	struct recipient *recipient = &engine->recipient;

	recipient->mood = MOOD_RAMP;
	recipient->storm = false;
	recipient->unproven = false;
	recipient->ramp = 1;
	recipient->probe_at_ms = OB_NEVER;
	/* What could not be written while it was down. */
	ob_settling_soon(engine, engine->config.settle_every_ms);
}

static void
ramp_grow(struct ob_engine *engine)
{
	struct recipient *recipient = &engine->recipient;

	recipient->pause_ms = engine->config.probe_first_ms;
	if (++recipient->ramp >= in_flight_limit(engine))
		recipient->mood = MOOD_UP;
}

void
ob_recipient_sent(struct ob_engine *engine, bool probe)
{
	struct recipient *recipient = &engine->recipient;
	struct ob_list *first;

	recipient->sent++;
	recipient->streak_count = 0;
	recipient->deaths = 0;
	recipient->unproven = recipient->doubted = false;
	while ((first = ob_list_first(&recipient->verdicts)) != NULL)
		ob_retry_believe(engine, OB_CONTAINER_OF(first, struct entry, link));
	if (recipient->mood == MOOD_UP)
		return;
	if (recipient->mood == MOOD_RAMP) {
		ramp_grow(engine);
	} else if (probe) {
		ramp_begin(engine);
		recipient->pause_ms = engine->config.probe_first_ms;
		if (recipient->ramp >= in_flight_limit(engine))
			recipient->mood = MOOD_UP;
	}
}

/* Whether the message is itself to blame; then nothing is known against the recipient, and the next one may go. The
   message is not in `ready`, so who is there is another. */
static bool
blame(struct ob_engine *engine, struct entry *entry)
{
	struct recipient *recipient = &engine->recipient;
	bool other_sent = recipient->sent > entry->blame_mark;
	bool alone = ob_list_is_empty(&engine->lanes.ready) && engine->in_flight == 0;
	bool by_word;

	entry->blame_mark = recipient->sent;
	entry->blames++;
	if (entry->blames < BLAMES || !(other_sent || alone || entry->blames >= BLAMES_MAX))
		return false;
	entry->blames = BLAMES;
	by_word = !recipient->storm;
	ramp_begin(engine);
	recipient->unproven = by_word;
	if (by_word)
		recipient->pause_ms = engine->config.probe_first_ms;
	return true;
}

bool
ob_recipient_down(struct ob_engine *engine, struct entry *entry, const struct ob_receipt *receipt,
		  bool probe)
{
	struct recipient *recipient = &engine->recipient;
	enum mood mood = receipt->fate == OB_FATE_BLOCKED ? MOOD_BLOCKED : MOOD_DOWN;

	if (!ob_recipient_is_down(engine) || probe) {
		recipient->storm = false;
		down_begin(engine, mood, receipt);
	} else if (mood == MOOD_BLOCKED && recipient->mood != MOOD_BLOCKED) {
		recipient->mood = MOOD_BLOCKED;
		reason_set(engine, receipt);
		pause_start(engine, receipt);
	} else if (receipt->retry_after_ms > 0) {
		int64_t asked = ob_core_min(receipt->retry_after_ms, engine->config.retry.max_ms);

		recipient->probe_at_ms =
		    ob_core_max(recipient->probe_at_ms, ob_core_later(engine->now_ms, asked));
	}
	return mood == MOOD_DOWN && receipt->reached && blame(engine, entry);
}

static uint64_t
streak_name(const struct entry *entry)
{
	/* Messages without a key count one by one; their names must not meet those of lanes. */
	if (entry->row->lane != 0 && !entry->scheduled)
		return entry->row->lane;
	return ~(uint64_t)entry->row->position;
}

/* Counts the lanes that failed in a row, each once; true when that is a storm. It stays one until something is sent:
   what dies meanwhile, because it is to blame, dies one by one. */
static bool
streak_grows(struct ob_engine *engine, const struct entry *entry)
{
	struct recipient *recipient = &engine->recipient;
	uint64_t name = streak_name(entry);

	if (engine->config.storm_limit == 0)
		return false;
	if (recipient->streak_count >= engine->config.storm_limit)
		return true;
	for (uint32_t i = 0; i < recipient->streak_count; i++) {
		if (recipient->streak[i] == name)
			return false;
	}
	if (recipient->streak_count == 0 && recipient->deaths == 0)
		recipient->death_at_ms = engine->now_ms;
	recipient->streak[recipient->streak_count++] = name;
	return recipient->streak_count >= engine->config.storm_limit;
}

static void
storm_text(struct recipient *recipient, uint32_t count, const struct ob_receipt *receipt)
{
	char text[2 * OB_REASON_TEXT_MAX];

	snprintf(text, sizeof(text), "%u keys failed in a row; the last: %.*s", count,
		 OB_REASON_TEXT_MAX, receipt->text == NULL ? recipient->code : receipt->text);
	ob_text_copy(recipient->text, sizeof(recipient->text), text);
}

enum blame
ob_recipient_failed(struct ob_engine *engine, struct entry *entry, const struct ob_receipt *receipt,
		    bool probe)
{
	struct recipient *recipient = &engine->recipient;
	uint32_t count;

	if (ob_recipient_is_down(engine)) {
		if (!probe)
			return BLAME_NONE;
		if (recipient->storm || receipt->fate == OB_FATE_UNKNOWN) {
			pause_start(engine, receipt);
			pause_double(engine);
			return blame(engine, entry) ? BLAME_CHARGED : BLAME_NONE;
		}
		ramp_begin(engine);
	}
	if (receipt->fate != OB_FATE_UNKNOWN)
		recipient->unproven = false;
	if (!streak_grows(engine, entry))
		return BLAME_MESSAGE;
	count = recipient->streak_count;
	recipient->storm = true;
	down_begin(engine, MOOD_DOWN, receipt);
	storm_text(recipient, count, receipt);
	return BLAME_NONE;
}

bool
ob_recipient_lets_die(struct ob_engine *engine, const struct entry *entry)
{
	struct recipient *recipient = &engine->recipient;
	const struct ob_try *tries = &engine->window.tries[(size_t)entry->slot * OB_ENTRY_TRIES];
	uint32_t most = (engine->config.storm_limit + 1) / 2;
	bool few = recipient->streak_count <= most && recipient->deaths < most;

	if (engine->config.storm_limit == 0 || few ||
	    engine->now_ms - recipient->death_at_ms >= engine->config.retry.max_ms) {
		recipient->deaths++;
		recipient->death_at_ms = engine->now_ms;
		return true;
	}
	recipient->doubted = true;
	ob_text_copy(recipient->code, sizeof(recipient->code), tries[entry->try_count - 1].code);
	ob_text_copy(recipient->text, sizeof(recipient->text),
		     "nothing is accepted any more: messages are not given up, but tried again");
	return false;
}

void
ob_recipient_untried(struct ob_engine *engine)
{
	struct recipient *recipient = &engine->recipient;

	recipient->probing = false;
	if (ob_recipient_is_down(engine))
		recipient->probe_at_ms = ob_core_later(engine->now_ms, recipient->pause_ms);
}

void
ob_recipient_poke(struct ob_engine *engine)
{
	struct recipient *recipient = &engine->recipient;

	if (!ob_recipient_is_down(engine))
		return;
	recipient->probe_at_ms = engine->now_ms;
	recipient->pause_ms = engine->config.probe_first_ms;
}

void
ob_recipient_forget(struct ob_engine *engine)
{
	struct recipient *recipient = &engine->recipient;

	recipient->mood = MOOD_UP;
	recipient->storm = recipient->unproven = recipient->doubted = false;
	recipient->streak_count = recipient->deaths = 0;
	recipient->pause_ms = engine->config.probe_first_ms;
	recipient->probe_at_ms = OB_NEVER;
}

void
ob_recipient_note_suspect(struct ob_engine *engine, const struct entry *entry)
{
	struct recipient *recipient = &engine->recipient;

	if (entry->blames == 0)
		return;
	/* The oldest may never come again. */
	if (recipient->suspect_count == OB_SUSPECTS_MAX)
		memmove(recipient->suspects, recipient->suspects + 1,
			--recipient->suspect_count * sizeof(recipient->suspects[0]));
	recipient->suspects[recipient->suspect_count++] = (struct suspect){
	    .position = entry->row->position,
	    .mark = entry->blame_mark,
	    .blames = entry->blames,
	};
}

void
ob_recipient_recall_suspect(struct ob_engine *engine, struct entry *entry)
{
	struct recipient *recipient = &engine->recipient;

	for (uint32_t i = 0; i < recipient->suspect_count; i++) {
		const struct suspect *it = &recipient->suspects[i];

		if (it->position != entry->row->position)
			continue;
		entry->blames = it->blames;
		entry->blame_mark = it->mark;
		recipient->suspects[i] = recipient->suspects[--recipient->suspect_count];
		return;
	}
}
