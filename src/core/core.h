/*
 * What the files of the engine share: its state, and what each file does for the others. engine.c
 * tells how they work together; each struct below is explained in the file that it names.
 *
 * Every pointer leads into memory that ob_engine_new made, or into a batch that is held. Counts of
 * slots are fixed then, so "take" from a pool cannot fail: whoever takes has checked for room.
 */
#ifndef OB_CORE_CORE_H
#define OB_CORE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "engine.h"
#include "list.h"
#include "map.h"

/* The last tries of one entry that a settle can tell. Few, since an entry that fails twice is
   nearly always parked, and the store keeps the earlier ones. */
#define OB_ENTRY_TRIES 2
/* Live batches. A trickle of single messages would otherwise pin a batch each. */
#define OB_BATCHES_MAX 128
#define OB_NEVER       INT64_MAX

enum awaits {
	AWAITS_TURN = 1,
	AWAITS_RECEIPT,
	AWAITS_TRY,
	AWAITS_VERDICT,
	AWAITS_SETTLE,
	AWAITS_STORE,
};

/* What became of an entry that awaits SETTLE. */
enum end {
	END_NONE = 0,
	END_SENT,
	END_DEAD,
	END_FAILED, /* of the parked table: tried, to be tried again later */
	END_BACK,   /* of the parked table: its head failed before it had its turn */
};

/* One message that is held: of the log in the window's ring, or parked and handed out. */
struct entry {
	const struct ob_row *row;
	struct lane *lane;    /* NULL: ordered with nothing */
	struct ob_list chain; /* in its lane, in order, until it is resolved */
	struct ob_list link;  /* in `ready`, `verdicts` or a list of parked ends */
	int64_t due_ms;       /* TRY: of the next try; VERDICT: when it is believed */
	int64_t first_try_ms; /* of the first try that was counted */
	uint64_t blame_mark;  /* messages sent by the last DOWN receipt of this one */
	uint32_t heap_at;     /* place in the heap of tries, plus 1; 0: not in it */
	uint32_t slot;        /* names the entry's place for tries */
	uint32_t attempts;
	uint16_t batch;
	uint8_t awaits;
	uint8_t was; /* STORE: what it awaited before */
	uint8_t end;
	uint8_t blames;
	uint8_t try_count;
	bool parked;    /* handed out from the parked table */
	bool scheduled; /* deliver_after: holds no lane */
	bool tried;     /* before; not all tries are counted in `attempts` */
	bool too_large; /* is dead at its turn */
	bool listed;    /* `link` is in a list */
};

/* lanes.c */
struct lane {
	uint64_t id;
	struct ob_list
	    log; /* entries of the log, in order: unresolved, or dead and not yet settled */
	struct ob_list run; /* entries handed out from the parked table, in order, unresolved */
	struct entry *next; /* of the log: the first that is not in flight */
	struct entry *ready;
	struct parked *parked; /* its record when it is parked in the store */
	struct ob_list empty;  /* in the list of empty lanes, if it is one */
	uint32_t in_flight;
	bool failed; /* one in flight failed: none is submitted until all have their receipts */
};

/* parked.c: what the store holds of one key. `rows` is what confirmed settles say. */
struct parked {
	uint64_t lane;
	int64_t pending; /* rows that the settle under way adds, less those that it removes */
	uint32_t rows;
	uint32_t handed; /* handed out, and not yet told of by a settle */
	bool held;
	bool held_pending;
	bool closed; /* the head of what is handed out has failed: rows of it go back */
	bool touched;
	bool
	    unsure; /* rows of a replay were added since the count was loaded: some may have been there already */
	struct parked *next; /* of those touched by the settle under way, or free */
};

/* delivery.c */
struct flight {
	uint64_t ticket;     /* 0: free */
	struct entry *entry; /* NULL: given up; only the receipt is missing */
	uint32_t free_next;
	uint16_t batch;
	bool probe;
};

struct batch_slot {
	struct ob_batch *batch;
	uint32_t uses; /* entries and flights that point into it */
};

/* window.c. Ordinals `first` .. `next`-1 stand in the ring at ordinal % ring_size. */
struct window {
	struct entry *ring;
	uint32_t ring_size;
	uint64_t first;
	uint64_t next;
	uint64_t prefix; /* all before it are sent */
	struct entry *pool;
	struct entry **pool_free;
	uint32_t pool_size;
	uint32_t pool_free_count;
	struct batch_slot batches[OB_BATCHES_MAX];
	uint16_t batches_free[OB_BATCHES_MAX];
	uint32_t batches_free_count;
	uint64_t bytes;
	struct ob_try *tries; /* OB_ENTRY_TRIES for each slot; `ago_ms` holds the time of the try */
};

struct lanes {
	struct ob_map map;
	struct lane *all;
	uint32_t size;
	uint32_t used;
	struct ob_list empty; /* lanes that hold nothing, the longest so first */
	struct ob_list ready; /* entries that may be submitted, the longest waiting first */
};

struct parked_table {
	struct ob_map map;
	struct parked *all;
	uint32_t size;
	uint32_t used;
	struct parked *free;
	uint64_t rows, scheduled, dead;
	uint32_t shards;     /* that share the quotas */
	int64_t due_ms;      /* when a row may be due; NEVER: none */
	int64_t loaded_ms;   /* when the counts were last those of the store */
	bool unsure;         /* a settle or a person may have changed them since */
	struct ob_list ends; /* handed-out entries whose end the next settle tells */
	struct ob_list settling;
};

/* timers.c */
struct tries {
	struct entry **heap;
	uint32_t count;
};

/* recipient.c */
enum mood { MOOD_UP = 0, MOOD_DOWN, MOOD_RAMP, MOOD_BLOCKED };

/* A message that was handed out from the parked table, is to blame for something, and was forgotten. */
#define OB_SUSPECTS_MAX 16
struct suspect {
	int64_t position;
	uint64_t mark;
	uint8_t blames;
};

struct recipient {
	enum mood mood;
	bool storm; /* down by a storm of failures, not by its own word */
	bool probing;
	bool unproven; /* not taken for down any more, but nothing was sent since */
	int64_t probe_at_ms;
	int64_t pause_ms;
	uint64_t sent;
	uint32_t ramp;    /* the most in flight while MOOD_RAMP */
	uint64_t *streak; /* lanes that failed since the last one sent */
	uint32_t streak_count;
	uint32_t
	    deaths; /* messages given up since the last one sent, for want of anybody else to ask */
	int64_t death_at_ms; /* of the last of them; of the first failure, if there is none */
	bool doubted;        /* one more was not given up, as it may be the recipient */
	struct suspect suspects[OB_SUSPECTS_MAX];
	uint32_t suspect_count;
	struct ob_list verdicts;
	char code[OB_REASON_CODE_MAX];
	char text[OB_REASON_TEXT_MAX];
};

/* settle.c */
struct settling {
	struct ob_settle settle;
	struct ob_outcome *outcomes;
	uint32_t outcomes_size;
	struct ob_try *tries;
	uint32_t tries_count;
	bool under_way;
	bool is_void; /* the window it speaks of is gone: its answer means nothing */
	bool
	    wants_reload; /* it unparks rows of before a change: the counts are loaded again after it */
	int64_t retry_at_ms; /* BUSY: the same again then; NEVER: not waiting */
	uint32_t busy_count;
	int64_t due_ms; /* the next one; NEVER: nothing to tell */
	int64_t
	    passed_due_ms; /* rows were read past: told then at the latest, since it only saves reading them again */
	bool tells_passed;
	int64_t parked_due_ms; /* the first row that it parks is due then */
	struct parked *touched;
	uint32_t count;                /* of its outcomes, without those that are BACK */
	uint64_t bytes;                /* and of their rows */
	bool is_cut;                   /* there is more to tell than the store takes at once */
	int64_t rows, scheduled, dead; /* what it adds to each when it is confirmed */
	bool tight;                    /* the window cannot move without it */
	uint64_t
	    last_sent;    /* a drain that sends no more: all before it is put away; 0: nothing is */
	const char *full; /* the quota that stopped the last walk; NULL: none */
};

/* session.c */
enum hold { HOLD_NONE = 0, HOLD_CHANGING, HOLD_HELD };

struct session {
	enum hold hold;
	bool started, acquiring, standby, paused;
	bool cancelled; /* what is in flight was cancelled: that it is unknown then is no failure */
	bool retained;  /* rows sent before a change await their unpark */
	int64_t acquire_at_ms;
	int64_t lease_ends_ms;
	uint32_t failures;
	uint32_t number; /* of the window: what was fetched under another is void */
	enum ob_code failed;
	const char *failed_at;
	char owner[OB_OWNER_NAME_MAX];
};

struct fetching {
	bool under_way;
	bool may_wait;
	bool need_room; /* the next row is larger than what was left: wait until a batch is freed */
	bool was_empty;
	uint32_t session;
	uint32_t change; /* parked rows handed out before an acquire are forgotten */
	uint32_t parked_asked;
	uint64_t bytes_asked;  /* for rows of the log; 0: none were asked for */
	int64_t not_before_ms; /* the store was busy */
	int64_t
	    poll_at_ms; /* the store cannot be left to wait, as there is no room for what may come */
	int64_t settled_due_ms; /* of rows that were parked while it was under way */
	uint32_t busy_count;
};

struct submitting {
	struct ob_delivery *deliveries;
	struct flight **flights;
	uint32_t count; /* awaiting SUBMITTED */
	bool full;
	bool unflushed;
};

struct ob_engine {
	struct ob_engine_config config;
	int64_t now_ms;
	uint64_t random;

	struct window window;
	struct lanes lanes;
	struct parked_table parked;
	struct tries tries;
	struct recipient recipient;
	struct settling settling;
	struct session session;
	struct fetching fetching;
	struct submitting submitting;

	struct flight *flights;
	uint32_t flights_size, flights_free, flights_used;
	uint64_t ticket_next;
	uint32_t in_flight; /* with ghosts: what the sink holds */
	uint32_t ghosts;

	uint32_t changes; /* acquires so far */
	bool paused, draining, abandoned, drained;
	uint64_t
	    drain_end; /* draining: the last ordinal that was sent or in flight when it began */

	struct ob_state_report report;
	struct ob_engine_stats stats;

	int64_t wake_ms; /* as last asked for */
	struct ob_action actions[OB_BATCHES_MAX + 16];
	uint32_t action_count;
};

/* engine.c */
struct ob_action *ob_core_action(struct ob_engine *engine, enum ob_action_kind kind);
uint64_t ob_core_random(struct ob_engine *engine);
/* `ms`, more or less by at most `pct` percent. */
int64_t ob_core_jitter(struct ob_engine *engine, int64_t ms, uint32_t pct);
/* `first` doubled `times` times, at most `max`. */
int64_t ob_core_doubled(int64_t first, uint32_t times, int64_t max);

static inline int64_t
ob_core_later(int64_t now_ms, int64_t wait_ms)
{
	return wait_ms >= OB_NEVER - now_ms ? OB_NEVER : now_ms + wait_ms;
}

static inline int64_t
ob_core_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t
ob_core_max(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* window.c */
bool ob_window_init(struct ob_engine *engine);
void ob_window_free(struct ob_engine *engine);
/* Takes the batch over. `parked_too`: its parked rows are still ours to deliver. */
void ob_window_add_batch(struct ob_engine *engine, struct ob_batch *batch, bool parked_too);
void ob_window_give_back(struct ob_engine *engine, uint16_t batch);
/* One user of the batch less; gives it back after the last. */
static inline void
ob_window_unuse(struct ob_engine *engine, uint16_t batch)
{
	if (--engine->window.batches[batch].uses == 0)
		ob_window_give_back(engine, batch);
}
/* Everything through this ordinal is settled. */
void ob_window_pop(struct ob_engine *engine, uint64_t through);
void ob_window_free_parked(struct ob_engine *engine, struct entry *entry);
/* Forgets every entry; deliveries become ghosts. */
void ob_window_drop(struct ob_engine *engine);
/* Puts every entry of the log into the lane it belongs to, after the parked lanes were replaced. */
void ob_window_rebuild(struct ob_engine *engine);
/* Advances `prefix`. */
void ob_window_advance(struct ob_engine *engine);
/* Rows and bytes that there is room for, 0 unless it is a reasonable share. */
uint32_t ob_window_room(const struct ob_engine *engine);
uint64_t ob_window_room_bytes(const struct ob_engine *engine);

static inline struct entry *
ob_window_at(const struct window *window, uint64_t ordinal)
{
	return &window->ring[ordinal & (window->ring_size - 1)];
}

static inline uint32_t
ob_window_count(const struct window *window)
{
	return (uint32_t)(window->next - window->first);
}

static inline uint32_t
ob_window_handed(const struct window *window)
{
	return window->pool_size - window->pool_free_count;
}

/* lanes.c */
bool ob_lanes_init(struct ob_engine *engine);
void ob_lanes_free(struct ob_engine *engine);
/* Puts an entry that awaits TURN behind the others of its lane. */
void ob_lanes_add(struct ob_engine *engine, struct entry *entry);
/* The entry is resolved: takes it out of its lane, and lets the next one go. */
void ob_lanes_remove(struct ob_engine *engine, struct entry *entry);
/* Something about the lane changed: lists the entry, if there is one, that may go now. */
void ob_lanes_update(struct ob_engine *engine, struct lane *lane);
/* A lane that holds nothing may be forgotten. */
void ob_lanes_release(struct ob_engine *engine, struct lane *lane);
struct lane *ob_lanes_find(struct ob_engine *engine, uint64_t id);
void ob_lanes_clear(struct ob_engine *engine);
/* An entry that was not sent, and awaits its TURN again. */
void ob_lanes_turn(struct ob_engine *engine, struct entry *entry);
void ob_lanes_ready(struct ob_engine *engine, struct entry *entry);
static inline void
ob_lanes_unlist(struct entry *entry)
{
	if (!entry->listed)
		return;
	entry->listed = false;
	ob_list_remove(&entry->link);
	if (entry->lane != NULL && entry->lane->ready == entry)
		entry->lane->ready = NULL;
}

/* parked.c */
bool ob_parked_init(struct ob_engine *engine);
void ob_parked_free(struct ob_engine *engine);
void ob_parked_load(struct ob_engine *engine, const struct ob_acquired *acquired,
		    const struct ob_parked_lane *lanes);
void ob_parked_clear(struct ob_engine *engine);
struct parked *ob_parked_find(struct ob_engine *engine, uint64_t lane);
/* A record for a lane that has none. There must be room. */
struct parked *ob_parked_new(struct ob_engine *engine, uint64_t lane);
void ob_parked_delete(struct ob_engine *engine, struct parked *parked);
/* A handed-out entry came to its end: the next settle tells it. If it was not sent, the others of
   its run go back. */
void ob_parked_end(struct ob_engine *engine, struct entry *entry, enum end end);
/* Those that were handed out and did not have their turn go back. */
void ob_parked_give_back(struct ob_engine *engine);
/* The store knows of no row that is parked or due, ever: are there any by our count? */
void ob_parked_suspect(struct ob_engine *engine);
static inline int64_t
ob_parked_rows_after(const struct parked *parked)
{
	return (int64_t)parked->rows + parked->pending;
}

/* timers.c */
bool ob_tries_init(struct ob_engine *engine);
void ob_tries_add(struct ob_engine *engine, struct entry *entry);
void ob_tries_remove(struct ob_engine *engine, struct entry *entry);
void ob_timers_run(struct ob_engine *engine);
void ob_timers_wake_at(struct ob_engine *engine);

/* delivery.c */
bool ob_delivery_init(struct ob_engine *engine);
void ob_delivery_free(struct ob_engine *engine);
/* A drain begins: finds the last message that was sent. Those before it are sent, too, since none behind a gap
   can be settled, and what was sent and not settled arrives again (P4 allows that after a crash only). */
void ob_delivery_drain(struct ob_engine *engine);
bool ob_delivery_fills_gaps(const struct ob_engine *engine);
void ob_delivery_submit(struct ob_engine *engine);
void ob_delivery_submitted(struct ob_engine *engine, uint32_t accepted);
void ob_delivery_receipt(struct ob_engine *engine, const struct ob_receipt *receipt);
/* Nothing comes of this delivery but its receipt. */
void ob_delivery_give_up_all(struct ob_engine *engine);

/* retry.c */
/* A try failed, and counts. `charged`: though the recipient may be down, the message is to blame. */
void ob_retry_failed(struct ob_engine *engine, struct entry *entry,
		     const struct ob_receipt *receipt, bool charged);
/* Its verdict: it is given up; or its time is over and nothing was sent; or its last try is taken back. */
void ob_retry_believe(struct ob_engine *engine, struct entry *entry);
void ob_retry_doubt(struct ob_engine *engine, struct entry *entry);
void ob_retry_disbelieve(struct ob_engine *engine, struct entry *entry);
/* Dead without a try. */
void ob_retry_too_large(struct ob_engine *engine, struct entry *entry);
void ob_retry_dead(struct ob_engine *engine, struct entry *entry);

/* recipient.c */
bool ob_recipient_init(struct ob_engine *engine);
/* How many more may be submitted now. */
uint32_t ob_recipient_room(const struct ob_engine *engine);
void ob_recipient_sent(struct ob_engine *engine, bool probe);
/* Whether a failure (RETRY, REJECT, UNKNOWN) counts as a try of the message. */
enum blame {
	BLAME_NONE = 0,
	BLAME_MESSAGE, /* as any failure */
	BLAME_CHARGED, /* though the recipient is down */
};
enum blame ob_recipient_failed(struct ob_engine *engine, struct entry *entry,
			       const struct ob_receipt *receipt, bool probe);
/* Whether a message may be given up with nothing sent since it failed. */
bool ob_recipient_lets_die(struct ob_engine *engine, const struct entry *entry);
/* DOWN and BLOCKED. Whether the message is charged with a try. */
bool ob_recipient_down(struct ob_engine *engine, struct entry *entry,
		       const struct ob_receipt *receipt, bool probe);
/* A probe came back untried. */
void ob_recipient_untried(struct ob_engine *engine);
/* Those that await their verdict count as not tried: nobody will know. */
void ob_recipient_forget_verdicts(struct ob_engine *engine);
void ob_recipient_poke(struct ob_engine *engine);
/* What was known of it is out of date. */
void ob_recipient_forget(struct ob_engine *engine);
/* What a message that is forgotten, and handed out again, is to blame for. */
void ob_recipient_note_suspect(struct ob_engine *engine, const struct entry *entry);
void ob_recipient_recall_suspect(struct ob_engine *engine, struct entry *entry);
static inline bool
ob_recipient_is_down(const struct ob_engine *engine)
{
	return engine->recipient.mood == MOOD_DOWN || engine->recipient.mood == MOOD_BLOCKED;
}

/* settle.c */
bool ob_settling_init(struct ob_engine *engine);
void ob_settling_free(struct ob_engine *engine);
/* There is something to tell, at the latest then. */
static inline void
ob_settling_soon(struct ob_engine *engine, int64_t wait_ms)
{
	engine->settling.due_ms =
	    ob_core_min(engine->settling.due_ms, ob_core_later(engine->now_ms, wait_ms));
}
void ob_settling_advance(struct ob_engine *engine);
void ob_settling_answer(struct ob_engine *engine, enum ob_code code);
/* Takes back what the settle under way would have written: it was refused. */
void ob_settling_undo(struct ob_engine *engine);

/* walk.c: fills in the outcomes of the next settle, as many as the store takes; returns the ordinal that it may go
   through. */
uint64_t ob_walk_make(struct ob_engine *engine);

/* session.c */
void ob_session_advance(struct ob_engine *engine);
/* Asks for the lease when it is time; after all others had their say. */
void ob_session_acquire(struct ob_engine *engine);
void ob_session_acquired(struct ob_engine *engine, const struct ob_event *event);
void ob_session_renewed(struct ob_engine *engine, const struct ob_event *event);
/* Any call of the store answered with a code that is not OK and not BUSY. `at` names the call. */
void ob_session_failed(struct ob_engine *engine, enum ob_code code, const char *at);
void ob_session_reload(struct ob_engine *engine);

/* fetch.c */
void ob_fetching_advance(struct ob_engine *engine);
void ob_fetching_answer(struct ob_engine *engine, enum ob_code code, struct ob_batch *batch);
/* The window has no room for what is to be fetched. */
bool ob_fetching_starves(const struct ob_engine *engine);

/* state.c */
void ob_state_update(struct ob_engine *engine);

#endif
