/*
 * The engine: decides what to read, what to send when, and what to write down, for one subscription shard.
 *
 * Pure: events go in, actions come out. It does no I/O, reads no clock, draws no randomness, starts no thread
 * and allocates nothing after ob_engine_new. The time is in the event; jitter comes from the seed. So the relay runs the
 * same code that the simulator runs a million times.
 *
 *            ┌────────────────────────── relay (or simulator) ─────────────────────────┐
 *   store ──▶│ ACQUIRED, FETCHED, SETTLED, RENEWED       ob_engine_step      FETCH, SETTLE, ... │──▶ store
 *    sink ──▶│ SUBMITTED, RECEIPTS                ──────▶  (engine)  ──────▶  SUBMIT, CANCEL    │──▶ sink
 *   clock ──▶│ TIMER                                                     WAKE_AT, REPORT    │
 *            └─────────────────────────────────────────────────────────────────────────┘
 *
 * The happy path: ACQUIRED → FETCH → FETCHED(batch) → SUBMIT → RECEIPTS(sent) → SETTLE(through n) →
 * SETTLED(OK) → FREE_BATCH. Reading ahead, sending and settling overlap: at most one FETCH, one SETTLE and one ACQUIRE are under way
 * at a time, any number of deliveries up to the limits.
 *
 * The window is a ring of entries in ordinal order, and the few parked rows that were handed out. A lane chains the
 * entries of one key. An entry awaits one of:
 *
 *   TURN      its predecessors in the lane, or room in flight
 *   RECEIPT   the sink's word
 *   TRY       the time of its next try (it holds its lane)
 *   VERDICT   whether it is to be given up (see below)
 *   SETTLE    sent, or dead: only its settle is missing
 *   STORE     the settle that parks or buries it is under way
 *
 * What a settle says is decided when it is made, by one walk over the window from the last settled ordinal: sent and dead
 * entries are passed; an entry that awaits TRY for longer than `park_after_ms` (or any, when the window cannot move without it) is
 * parked, and with it, by the same walk, every later entry of its lane; an entry of a lane that is parked in the store goes behind; one
 * with deliver_after is scheduled; anything else ends the walk. So parked and dead rows are written only together with a `through`
 * at or above them, and a crash never finds a parked row above its checkpoint.
 *
 * A drain leaves nothing behind that would arrive twice: what stands before a message that was sent is sent, too; and what cannot
 * be (the recipient is down, a person has paused) is parked by the last settle, due at once, with no try counted and its key behind
 * it. Only where a quota has no room for it does it stay, and what was sent behind it is sent again by the next owner.
 *
 * A lane is free again once a confirmed settle left no row of it in the store. Until then its messages go through the
 * store, behind each other; rows of it come back as parked rows, the head and a run behind it.
 *
 * The recipient:
 *   UP       deliveries flow
 *   DOWN     a DOWN receipt, or `storm_limit` failed tries (reject, retry or unknown) in a row over different lanes with nothing sent between.
 *            Nothing is written and no try is counted while it lasts. After a pause (probe_first_ms, doubled up to
 *            probe_max_ms, or what the recipient asked for) one message is sent as a probe, of another waiting lane each time; sent → RAMP
 *   RAMP     as many in flight as were sent since the probe, doubling, until the limit is reached → UP
 *   BLOCKED  as DOWN, but probed only every probe_max_ms: a person must act
 * A message is charged with a try for a DOWN receipt when it is itself to blame: `reached` was set, this is at least the third
 * such receipt of this message, and between it and the one before another message was sent (or no other lane waits, so that nobody else can be
 * asked; or it is the eighth, since a window full of such messages could ask nobody else either). Then it fails like any other: waits, is parked,
 * dies of age.
 *
 * Giving up: a message that was rejected, or whose tries are used up, may be poison, or the recipient may refuse all (a bad deployment
 * answers 400). It awaits VERDICT until something was sent after it: then it is to blame, and dead. When the storm is declared it awaits its
 * TURN again, with no try counted. When `verdict_ms` have passed and nothing was sent, nobody knows. Then it is dead only if at most
 * half as many lanes failed as make a storm, and fewer messages than that died so, since the last that was sent: so a poison is got over in a
 * second also where there is nobody else to ask, be it one key or a quiet night. Else it is not given up but tried again like any that failed,
 * whatever its number of tries: with pauses that grow, parked, its key behind it, all others free to go. One in each `retry.max_ms` is given up
 * even then, so that a long run of poison ends. As soon as anything is sent all this begins anew. So a bad deployment kills ten messages at
 * most, and then twelve an hour, however few keys there are; and with as many keys as make a storm not even those ten. Out of it are those that
 * die of age: they have waited long enough.
 *
 * A person's change (CHANGED from renew or settle): submit no more, await the receipts in flight, ACQUIRE. If it `goes_on`, the window stays:
 * parked rows that were handed out are forgotten (but those whose receipt says sent are unparked by the next settle), the parked
 * lanes are replaced by what acquire gave, and what was refused is settled anew under the new epoch. Otherwise, and after
 * STALE, AGAIN or FOREIGN, the window is emptied (CANCEL, receipts still to come are ignored by their ticket's generation), then ACQUIRE with backoff.
 *
 * Quotas (all from config): rows parked, rows parked of one key, parked keys, scheduled rows, dead rows. A full one ends the walk of the settle
 * before the row that it has no room for, so in the end stops the fetching; due parked rows still go. REPORT says which. That of one key
 * must not stop all others: past it a message of that key can neither be sent, since it would overtake those that wait (P3), nor put
 * behind them, so it is dead without a try (`key_quota`), by dead_letter; by hold_key the subscription stops.
 * They are the subscription's: of several shards (`acquired` tells how many) each has an equal share, but of the rows of one
 * key, who has one shard.
 *
 * Units: milliseconds of any clock that only rises.
 */
#ifndef OB_ENGINE_H
#define OB_ENGINE_H

#include <outbox/batch.h>
#include <outbox/sink.h>
#include <outbox/store.h>

struct ob_engine;

struct ob_retry_policy {
	int64_t first_ms;      /* 1,000 */
	int64_t max_ms;        /* 300,000: first_ms doubled at each try up to this */
	uint32_t jitter_pct;   /* 20 */
	uint32_t attempts_max; /* 0: not limited by number; more while nothing at all is sent */
	int64_t age_max_ms;    /* 86,400,000: since the first try; 0: not limited by age */
	bool hold_key; /* dead messages hold their key until a person acts; else the key goes on */
	bool
	    reject_retries; /* treat REJECT as RETRY (a recipient that rejects what it will accept later) */
};

struct ob_quotas {
	uint64_t parked_rows;        /* 100,000 */
	uint32_t parked_rows_of_key; /* 10,000 */
	uint32_t parked_keys;        /* 10,000 */
	uint64_t scheduled_rows;     /* 1,000,000 */
	uint64_t dead_rows;          /* 1,000,000 */
};

struct ob_engine_config {
	uint32_t window_count_max; /* 16,384 */
	uint64_t window_bytes_max; /* 16 MiB */
	uint32_t
	    fetch_count_max; /* 1,024: rows of one fetch, so that reading and sending overlap */
	uint32_t
	    parked_window_max; /* 512: handed-out parked rows held at once, apart from the window */
	uint32_t submit_count_max; /* 256: deliveries of one SUBMIT */
	uint32_t in_flight_max;    /* by configuration; the sink's own limit is the lower of both */
	int64_t settle_every_ms;   /* 100 */
	uint32_t settle_count_max; /* what the store takes in one settle; 0: any */
	uint64_t settle_bytes_max; /* the same */
	int64_t park_after_ms;     /* 1,000 */
	int64_t probe_first_ms;    /* 500 */
	int64_t probe_max_ms;      /* 30,000 */
	uint32_t storm_limit;      /* 20; 0: never, and every verdict is believed */
	int64_t verdict_ms;        /* 1,000 */
	int64_t
	    lease_ms; /* 10,000: the lease as asked for; the engine stops submitting when it has run out */
	struct ob_retry_policy retry;
	struct ob_quotas quotas;
	struct ob_sink_limits sink;
	uint64_t seed;
};

enum ob_event_kind {
	OB_EVENT_START = 1, /* once; the engine answers ACQUIRE */
	OB_EVENT_ACQUIRED, /* code, acquired, lanes, asked_at_ms (when the acquire was begun: the lease counts from there) */
	OB_EVENT_RENEWED,   /* code, asked_at_ms */
	OB_EVENT_FETCHED,   /* code, batch (the engine's now, also when empty or failed) */
	OB_EVENT_SUBMITTED, /* accepted: how many of the last SUBMIT the sink took */
	OB_EVENT_SINK_FREE, /* after a SUBMIT that was not wholly accepted: the sink may have room again */
	OB_EVENT_RECEIPTS, /* receipts, receipt_count */
	OB_EVENT_SETTLED,  /* code */
	OB_EVENT_TIMER,    /* only the time */
	OB_EVENT_LIMITS,   /* sink_limits: may have changed (reconnected elsewhere) */
	OB_EVENT_POKE,     /* a person says the recipient is mended: probe now */
	OB_EVENT_PAUSE,    /* local, not the store's paused */
	OB_EVENT_RESUME,
	OB_EVENT_DRAIN, /* fetch no more, finish what is in flight and what stands before it, settle, then DRAINED */
	OB_EVENT_ABANDON, /* while draining: the deadline passed. CANCEL, settle what is known by its receipts, then DRAINED */
};

struct ob_event {
	enum ob_event_kind kind;
	int64_t now_ms;
	enum ob_code code;
	int64_t asked_at_ms;
	const struct ob_acquired *acquired;
	const struct ob_parked_lane *lanes;
	struct ob_batch *batch;
	uint32_t accepted;
	const struct ob_receipt *receipts;
	uint32_t receipt_count;
	struct ob_sink_limits sink_limits;
};

enum ob_action_kind {
	/* not before not_before_ms; answer ACQUIRED. A FETCH under way is answered first, since what is fetched after an
	   acquire belongs to the new session */
	OB_ACTION_ACQUIRE = 1,
	OB_ACTION_FETCH, /* fetch; answer FETCHED. may_wait: when there is nothing, wait until there may be, or until a SETTLE comes in between */
	OB_ACTION_SUBMIT,     /* deliveries, delivery_count; answer SUBMITTED at once */
	OB_ACTION_SETTLE,     /* settle, whose memory stands until SETTLED; answer SETTLED */
	OB_ACTION_CANCEL,     /* cancel the sink; receipts still come and are given to the engine */
	OB_ACTION_FLUSH,      /* flush the sink */
	OB_ACTION_FREE_BATCH, /* batch: yours again */
	OB_ACTION_WAKE_AT, /* wake_at_ms: send TIMER then; replaces the one before; INT64_MAX: none. At most one a step, last */
	OB_ACTION_REPORT,  /* report: the state changed */
	OB_ACTION_DRAINED, /* nothing in flight, all that is known is settled: release the lease */
};

/* Why nothing, or not everything, goes out. In order of precedence. */
enum ob_state {
	OB_STATE_STARTING = 0, /* awaits the lease */
	OB_STATE_STANDBY,      /* another relay holds the lease */
	OB_STATE_RUNNING,
	OB_STATE_PAUSED,
	OB_STATE_DOWN,
	OB_STATE_BLOCKED,
	OB_STATE_FULL, /* a quota; code says which: "parked_rows_full", "dead_rows_full" ... */
	OB_STATE_STORE_FAILED, /* the store does not answer; code, text */
	OB_STATE_DRAINING,
	OB_STATE_DRAINED,
};

struct ob_state_report {
	enum ob_state state;
	int64_t since_ms; /* of the engine's clock */
	char code[OB_REASON_CODE_MAX];
	char text[OB_REASON_TEXT_MAX];
};

struct ob_action {
	enum ob_action_kind kind;
	int64_t not_before_ms;
	struct ob_fetch fetch;
	bool may_wait;
	const struct ob_delivery *deliveries;
	uint32_t delivery_count;
	const struct ob_settle *settle;
	struct ob_batch *batch;
	int64_t wake_at_ms;
	const struct ob_state_report *report;
};

struct ob_actions {
	const struct ob_action *items; /* the engine's; valid until the next step */
	uint32_t count;
};

/* Counts since ob_engine_new; they only rise but those named `_now`. */
struct ob_engine_stats {
	uint64_t retried; /* tries of what had been tried before, whatever came of either */
	uint64_t fetched, sent, rejected, unknown, down_receipts, charged_downs;
	uint64_t parked, unparked, scheduled, dead, settles, settles_refused;
	uint64_t late_receipts; /* for deliveries that were given up: counted, never guessed from */
	uint64_t window_rows_now, window_bytes_now, in_flight_now, parked_rows_now, parked_keys_now,
	    scheduled_rows_now, dead_rows_now;
	uint64_t settled_through; /* the last settled ordinal */
	uint64_t last_ordinal;    /* the last fetched ordinal */
	bool
	    idle; /* the last fetch found nothing, and nothing is held, parked-and-due or unsettled */
	bool due_later; /* a row is parked or scheduled that is due at some time */
};

/* Allocates everything that the engine will ever use. NULL when there is no memory. Config must have passed
   ob_engine_config_check. */
struct ob_engine *ob_engine_new(const struct ob_engine_config *config);
/* Frees the engine and the batches it still holds. */
void ob_engine_free(struct ob_engine *engine);
/* Fills in every default of DESIGN.md ("Defaults") where the field is zero, but fields for which zero has a meaning: for
   these use ob_engine_config_defaults first. */
void ob_engine_config_defaults(struct ob_engine_config *config);
/* OB_CONFIG with the field and its bounds when a value makes no sense. */
int ob_engine_config_check(const struct ob_engine_config *config, struct ob_error *error);

/* One event in, actions out. Events that answer an action which is not under way are a bug of the caller and end the
   process (assert); receipts for unknown tickets are not: they are counted as late. */
void ob_engine_step(struct ob_engine *engine, const struct ob_event *event,
		    struct ob_actions *actions);

void ob_engine_stats(const struct ob_engine *engine, struct ob_engine_stats *stats);
const char *ob_state_name(enum ob_state state);

#endif
