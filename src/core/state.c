/*
 * What people are told: one state, why, and since when. It is worked out anew after each step, and
 * reported when it differs from the one before. Whatever keeps messages from going must show here (P8), with what
 * frees it.
 */
#include <stdio.h>
#include <string.h>

#include "core.h"
#include "text.h"

/* A settle that is busy for so many tries (some seconds) is worth telling. */
#define BUSY_SHOWN 8

struct finding {
	enum ob_state state;
	const char *code;
	const char *text;
};

static const struct {
	const char *code;
	const char *text;
} quotas[] = {
    {"parked_rows_full",
     "as many messages are parked as the quota allows; mend what they wait for"},
    {"parked_keys_full", "as many keys are parked as the quota allows; mend what they wait for"},
    {"parked_rows_of_key_full", "one key has parked as many messages as its quota allows"},
    {"scheduled_rows_full", "as many messages wait for their time as the quota allows"},
    {"dead_rows_full", "the list of the dead is full: see `outbox dead`, retry or discard them"},
};

static const char *
quota_text(const char *code)
{
	for (size_t i = 0; i < sizeof(quotas) / sizeof(quotas[0]); i++) {
		if (strcmp(quotas[i].code, code) == 0)
			return quotas[i].text;
	}
	return "";
}

static struct finding
find_of_recipient(const struct ob_engine *engine)
{
	const struct recipient *recipient = &engine->recipient;
	enum ob_state state = recipient->mood == MOOD_BLOCKED ? OB_STATE_BLOCKED : OB_STATE_DOWN;

	return (struct finding){state, recipient->code, recipient->text};
}

/* Something waits for a try; where nothing does, nobody knows how the recipient is. */
static bool
holds_any(const struct ob_engine *engine)
{
	return engine->window.first < engine->window.next ||
	       ob_window_handed(&engine->window) > 0 || engine->parked.due_ms != OB_NEVER;
}

static struct finding
find(const struct ob_engine *engine)
{
	const struct session *session = &engine->session;

	if (engine->drained)
		return (struct finding){OB_STATE_DRAINED, "", ""};
	if (engine->draining)
		return (struct finding){OB_STATE_DRAINING, "", ""};
	if (session->failed != OB_OK && session->hold != HOLD_HELD)
		return (struct finding){OB_STATE_STORE_FAILED, ob_code_name(session->failed), NULL};
	/* No acquire is tried while a settle is: that one is busy then, and tells it later. */
	if (session->hold == HOLD_CHANGING && session->cancelled)
		return (struct finding){
		    OB_STATE_STORE_FAILED, "lease_over",
		    "nothing is sent: the lease ran out, perhaps because the database is locked"};
	if (engine->settling.under_way && engine->settling.busy_count > BUSY_SHOWN)
		return (struct finding){OB_STATE_STORE_FAILED, ob_code_name(OB_BUSY),
					"the settle is refused as busy again and again"};
	if (session->hold == HOLD_NONE && session->standby)
		return (struct finding){OB_STATE_STANDBY, "lease_held", NULL};
	if (session->hold == HOLD_NONE)
		return (struct finding){OB_STATE_STARTING, "", ""};
	if (session->paused)
		return (struct finding){OB_STATE_PAUSED, "paused",
					"paused by a person; `outbox resume` goes on"};
	if (engine->paused)
		return (struct finding){OB_STATE_PAUSED, "paused_here", "paused in this relay"};
	/* Before what mends itself: this needs a person. */
	if (engine->settling.full != NULL)
		return (struct finding){OB_STATE_FULL, engine->settling.full,
					quota_text(engine->settling.full)};
	if (ob_recipient_is_down(engine) || engine->recipient.unproven ||
	    (engine->recipient.doubted && holds_any(engine)))
		return find_of_recipient(engine);
	return (struct finding){OB_STATE_RUNNING, "", ""};
}

static void
text_make(const struct ob_engine *engine, const struct finding *found, char *text, size_t size)
{
	const struct session *session = &engine->session;
	char made[OB_OWNER_NAME_MAX + 64];

	if (found->text != NULL)
		snprintf(made, sizeof(made), "%s", found->text);
	else if (found->state == OB_STATE_STANDBY)
		snprintf(made, sizeof(made), "the lease is held by %s", session->owner);
	else
		snprintf(made, sizeof(made), "%s failed: %s", session->failed_at,
			 ob_code_name(session->failed));
	/* Cut between characters. */
	ob_text_copy(text, size, made);
}

void
ob_state_update(struct ob_engine *engine)
{
	struct ob_state_report *report = &engine->report;
	struct finding found = find(engine);

	if (found.state == report->state && strcmp(found.code, report->code) == 0)
		return;
	report->state = found.state;
	report->since_ms = engine->now_ms;
	ob_text_copy(report->code, sizeof(report->code), found.code);
	text_make(engine, &found, report->text, sizeof(report->text));
	ob_core_action(engine, OB_ACTION_REPORT)->report = report;
}

const char *
ob_state_name(enum ob_state state)
{
	switch (state) {
	case OB_STATE_STARTING:
		return "starting";
	case OB_STATE_STANDBY:
		return "standby";
	case OB_STATE_RUNNING:
		return "running";
	case OB_STATE_PAUSED:
		return "paused";
	case OB_STATE_DOWN:
		return "down";
	case OB_STATE_BLOCKED:
		return "blocked";
	case OB_STATE_FULL:
		return "full";
	case OB_STATE_STORE_FAILED:
		return "store_failed";
	case OB_STATE_DRAINING:
		return "draining";
	case OB_STATE_DRAINED:
		return "drained";
	default:
		return "unknown";
	}
}
