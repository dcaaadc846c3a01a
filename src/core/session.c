/*
 * The lease, and what happens to the window when it is in doubt.
 *
 *   NONE ──ACQUIRED──▶ HELD ──CHANGED, lease over, a failure──▶ CHANGING ──ACQUIRED, goes on──▶ HELD
 *     ▲                 │                                          │
 *     └──STALE, AGAIN, FOREIGN: the window is dropped──────────────┴── does not go on: dropped, then HELD
 *
 * While CHANGING nothing is submitted, fetched or settled; once every delivery has its receipt, and the settle
 * under way its answer, the lease is acquired again. Only the store knows whether what was fetched still stands:
 * if its ordinals went on while we forgot the window, the messages in it would be lost; so the window is kept
 * until it says.
 *
 * When it goes on, the table of parked keys is the one that acquire gave. Handed-out parked rows are forgotten,
 * but those that were sent: they are unparked by the next settle, and nothing parked is fetched before that,
 * or they would be sent twice. A person may have deleted such a row, so afterwards the counts are
 * loaded once more.
 */
#include "core.h"
#include "text.h"

#define RETRY_FIRST_MS 100
#define RETRY_MAX_MS   5000
/* Only a person can mend it; asking now and then notices that one did. */
#define RETRY_SLOW_MS 7000
/* Another relay may give its lease up early. */
#define STANDBY_MS 750
/* When nobody knows how long it will take. */
#define STANDBY_UNKNOWN_MS 250

static bool
is_lasting(enum ob_code code)
{
	switch (code) {
	case OB_CONFIG:
	case OB_SCHEMA:
	case OB_DENIED:
	case OB_FOREIGN:
	case OB_NOT_FOUND:
	case OB_UNSUPPORTED:
	case OB_INVALID:
		return true;
	default:
		return false;
	}
}

static void
acquire_later(struct ob_engine *engine, enum ob_code code)
{
	struct session *session = &engine->session;
	int64_t wait = is_lasting(code)
			   ? RETRY_SLOW_MS
			   : ob_core_doubled(RETRY_FIRST_MS, session->failures, RETRY_MAX_MS);

	/* Losing the lease once is no failure of the store: ask at once. And a store that refuses what it found says so there when
	   it is asked. */
	if ((code == OB_STALE || code == OB_FOREIGN) && session->failures == 0)
		wait = 0;
	if (session->failures < 30)
		session->failures++;
	session->acquire_at_ms = ob_core_later(engine->now_ms, ob_core_jitter(engine, wait, 20));
}

static void
failure_note(struct ob_engine *engine, enum ob_code code, const char *at)
{
	if (code == OB_STALE || code == OB_CHANGED)
		return;
	engine->session.failed = code;
	engine->session.failed_at = at;
}

static void
window_drop(struct ob_engine *engine)
{
	if (engine->in_flight > engine->ghosts)
		ob_core_action(engine, OB_ACTION_CANCEL);
	ob_window_drop(engine);
	ob_parked_clear(engine);
	engine->settling.is_void = engine->settling.under_way;
	if (engine->settling.retry_at_ms != OB_NEVER) {
		/* BUSY: nothing is with the store. */
		engine->settling.under_way = engine->settling.is_void = false;
		engine->settling.retry_at_ms = OB_NEVER;
	}
	engine->settling.due_ms = engine->settling.passed_due_ms = OB_NEVER;
	engine->settling.full = NULL;
	engine->settling.wants_reload = false;
	engine->session.retained = false;
	engine->session.number++;
	engine->fetching.was_empty = false;
	engine->fetching.need_room = false;
	engine->fetching.not_before_ms = engine->fetching.poll_at_ms = 0;
}

static void
session_lose(struct ob_engine *engine, enum ob_code code, const char *at)
{
	failure_note(engine, code, at);
	window_drop(engine);
	engine->session.hold = HOLD_NONE;
	engine->session.lease_ends_ms = OB_NEVER;
	acquire_later(engine, code);
}

void
ob_session_failed(struct ob_engine *engine, enum ob_code code, const char *at)
{
	struct session *session = &engine->session;

	if (session->hold == HOLD_NONE)
		return;
	if (code == OB_STALE || code == OB_AGAIN || code == OB_FOREIGN) {
		session_lose(engine, code, at);
		return;
	}
	if (session->hold == HOLD_CHANGING)
		return;
	session->hold = HOLD_CHANGING;
	session->acquire_at_ms = engine->now_ms;
	if (code != OB_CHANGED) {
		failure_note(engine, code, at);
		acquire_later(engine, code);
	}
}

void
ob_session_reload(struct ob_engine *engine)
{
	ob_session_failed(engine, OB_CHANGED, "settle");
}

void
ob_session_renewed(struct ob_engine *engine, const struct ob_event *event)
{
	struct session *session = &engine->session;

	if (session->hold == HOLD_NONE || engine->drained)
		return;
	if (event->code == OB_OK) {
		int64_t ends = ob_core_later(event->asked_at_ms, engine->config.lease_ms);

		if (session->lease_ends_ms != OB_NEVER)
			session->lease_ends_ms = ob_core_max(session->lease_ends_ms, ends);
	} else if (event->code == OB_STALE || event->code == OB_AGAIN ||
		   event->code == OB_FOREIGN || event->code == OB_CHANGED) {
		ob_session_failed(engine, event->code, "renew");
	}
	/* Any other failure only brings the end of the lease nearer. */
}

/* The lease is over by our own clock: what is in flight must not go on, what is held may still stand. */
static void
lease_ended(struct ob_engine *engine)
{
	engine->session.lease_ends_ms = OB_NEVER;
	if (engine->in_flight > engine->ghosts)
		ob_core_action(engine, OB_ACTION_CANCEL);
	engine->session.cancelled = true;
	ob_session_failed(engine, OB_CHANGED, "renew");
}

void
ob_session_advance(struct ob_engine *engine)
{
	struct session *session = &engine->session;

	if (session->hold != HOLD_NONE && engine->now_ms >= session->lease_ends_ms)
		lease_ended(engine);
	if (engine->draining && !engine->drained &&
	    (session->hold == HOLD_NONE ||
	     (engine->abandoned && session->hold != HOLD_HELD && session->failed != OB_OK))) {
		engine->drained = true;
		ob_core_action(engine, OB_ACTION_DRAINED);
	}
}

void
ob_session_acquire(struct ob_engine *engine)
{
	struct session *session = &engine->session;

	if (!session->started || session->acquiring || session->hold == HOLD_HELD ||
	    engine->drained)
		return;
	if (session->hold == HOLD_CHANGING &&
	    (engine->in_flight > engine->ghosts || engine->settling.under_way))
		return;
	session->acquiring = true;
	ob_core_action(engine, OB_ACTION_ACQUIRE)->not_before_ms = session->acquire_at_ms;
}

/* Parked rows that were handed out before the change: only those sent are still of interest. */
static void
parked_forget(struct ob_engine *engine)
{
	struct window *window = &engine->window;

	for (uint32_t i = 0; i < window->pool_size; i++) {
		struct entry *entry = &window->pool[i];

		if (entry->row == NULL)
			continue;
		ob_recipient_note_suspect(engine, entry);
		if (entry->awaits == AWAITS_SETTLE && entry->end == END_SENT)
			engine->session.retained = true;
		else
			ob_window_free_parked(engine, entry);
	}
}

static void
session_begin(struct ob_engine *engine, const struct ob_event *event)
{
	struct session *session = &engine->session;
	bool goes_on = session->hold == HOLD_CHANGING && event->acquired->goes_on;

	if (session->hold == HOLD_CHANGING && !goes_on)
		window_drop(engine);
	if (goes_on)
		parked_forget(engine);
	/* Another relay sent meanwhile, and knows better. */
	if (session->standby)
		ob_recipient_forget(engine);
	engine->changes++;
	engine->fetching.was_empty = false;
	engine->fetching.not_before_ms = engine->fetching.poll_at_ms = 0;
	ob_lanes_clear(engine);
	ob_parked_load(engine, event->acquired, event->lanes);
	ob_window_rebuild(engine);
	session->hold = HOLD_HELD;
	session->standby = false;
	session->cancelled = false;
	session->failed = OB_OK;
	session->paused = event->acquired->paused;
	session->lease_ends_ms = ob_core_later(event->asked_at_ms, engine->config.lease_ms);
	ob_settling_soon(engine, 0);
}

void
ob_session_acquired(struct ob_engine *engine, const struct ob_event *event)
{
	struct session *session = &engine->session;

	OB_CHECK(session->acquiring);
	session->acquiring = false;
	if (engine->drained)
		return;
	if (event->code == OB_OK && event->acquired->held &&
	    event->acquired->lane_count <= engine->parked.size) {
		session_begin(engine, event);
		return;
	}
	if (event->code == OB_OK && !event->acquired->held) {
		int64_t retry_ms = event->acquired->retry_in_ms > 0 ? event->acquired->retry_in_ms
								    : STANDBY_UNKNOWN_MS;
		int64_t wait = ob_core_min(ob_core_max(retry_ms, 20), STANDBY_MS);

		if (session->hold != HOLD_NONE)
			window_drop(engine);
		session->hold = HOLD_NONE;
		session->lease_ends_ms = OB_NEVER;
		session->standby = true;
		session->failed = OB_OK;
		ob_text_copy(session->owner, sizeof(session->owner), event->acquired->owner);
		session->acquire_at_ms =
		    ob_core_later(engine->now_ms, ob_core_jitter(engine, wait, 20));
		return;
	}
	session->standby = false;
	if (event->code == OB_STALE || event->code == OB_AGAIN || event->code == OB_FOREIGN) {
		session_lose(engine, event->code, "acquire");
		return;
	}
	failure_note(engine, event->code == OB_OK ? OB_LIMIT : event->code, "acquire");
	acquire_later(engine, event->code);
}
