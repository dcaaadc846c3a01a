/*
 * The world of one story: one database, one recipient, the relays, people, and what is going to happen.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdio.h>

#include "sim_coverage.h"
#include "sim_ledger.h"
#include "sim_plot.h"
#include "sim_queue.h"
#include "sim_store.h"

#define SIM_SLOTS_MAX 160
#define SIM_SPARE_MAX 8

struct sim_world;

/* ---- the recipient ---- */

struct sim_recipient {
	uint8_t faults[SIM_FAULT_KINDS]; /* how many of each kind last just now */
	uint32_t fault_number;           /* of the last one that began */
	int64_t crashed_until_us;        /* by a poison */
	/* How often it was knocked at since it refuses, or rejects all, and what may excuse that. */
	struct sim_knocking {
		uint64_t count, excuses;
		int64_t since_us;
	} refused, rejected;
	uint16_t seen[SIM_MESSAGES_MAX];    /* how often each message arrived */
	uint32_t cut_session[SIM_KEYS_MAX]; /* what comes late of this session and key is lost */
};

/* ---- a sink: one relay's way to it ---- */

enum sim_delivery_state { SIM_FREE = 0, SIM_ON_ITS_WAY, SIM_ANSWERED, SIM_READY };

struct sim_delivery {
	uint64_t ticket;
	uint64_t serial;
	const struct ob_message *memory; /* must stand until its receipt */
	uint64_t lane;
	int64_t arrives_us;
	uint32_t session;
	uint16_t message;
	uint8_t state;
	bool cancelled;
	struct ob_receipt receipt;
};

/* At which moment a fault strikes a relay: the worst are in the middle of something. */
enum sim_moment {
	SIM_AT_ONCE = 0,
	SIM_BEFORE_SETTLE, /* a settle is under way, and not done */
	SIM_AFTER_SETTLE,  /* it is done, and not answered */
	SIM_BEFORE_RECEIPT,
	SIM_MOMENTS
};

struct sim_sink {
	struct sim_delivery slots[SIM_SLOTS_MAX];
	struct ob_sink_limits limits;
	uint32_t count;     /* in flight, those with the receipt not yet polled with them */
	uint32_t cancelled; /* of them */
	uint64_t serial;
	bool polling;
};

/* ---- a relay: one process ---- */

enum sim_call {
	SIM_CALL_NONE = 0,
	SIM_CALL_ACQUIRE,
	SIM_CALL_FETCH,
	SIM_CALL_SETTLE,
	SIM_CALL_RENEW
};

struct sim_relay {
	struct sim_world *world;
	uint8_t index;
	uint16_t life;
	bool alive, draining, abandoned, paused_locally;
	bool busy_at_end; /* abandoned, and the database had no time for the last settle */
	struct ob_engine *engine;
	struct sim_session session;
	struct sim_sink sink;
	int64_t frozen_until_us;
	uint32_t timers, wakes, renewals; /* generations of events: older ones are void */

	/* The thread that talks to the store. */
	enum sim_call calls[4]; /* the first is under way, if `in_call`; the others wait */
	uint32_t call_count;
	bool in_call, waiting, has_effect;
	enum ob_code call_code;
	int64_t asked_at_ms;
	bool acquiring, fetching, settling;
	struct ob_fetch fetch;
	bool fetch_may_wait;
	const struct ob_settle *settle;
	struct ob_batch *batch;
	struct ob_acquired acquired;
	struct ob_parked_lane lanes[SIM_KEYS_MAX * 2];
	struct ob_batch *spare[SIM_SPARE_MAX];
	uint32_t spare_count;

	/* What an onlooker knows of it. */
	struct ob_state_report report;
	uint32_t session_seen;
	bool holds;             /* acquired, and no refusal since */
	int64_t lease_until_ms; /* by its own clock */
	uint64_t confirmed;     /* the ordinal up to which settles were confirmed */
	uint64_t bytes_held;
	uint64_t steps, steps_at_quiet;
	int64_t crowd_at_ms; /* steps of one moment */
	uint32_t crowd;
	bool down_seen;        /* a receipt said so, and nothing was sent since */
	bool unproven;         /* the same, but only "sent" ends it */
	uint32_t failed_calls; /* in this second */
	uint32_t idle_s;       /* seconds of doing nothing though there was something */
	uint32_t wrong_s;      /* seconds of saying "running" though it is down */
	int64_t drain_deadline_us;
	const struct sim_fault *struck; /* waits for its moment */
};

/* ---- the story ---- */

struct sim_story_counts {
	uint64_t pokes, starts;
	uint64_t steps, submitted, crashes, outages, probes, cancels, incidents;
};

struct sim_world {
	struct sim_plot plot;
	struct sim_rng rng;
	struct sim_queue queue;
	struct sim_ledger ledger;
	struct sim_store store;
	struct sim_recipient recipient;
	struct sim_relay relays[SIM_RELAYS_MAX];
	struct sim_coverage *coverage;
	struct sim_story_counts counts;
	FILE *story; /* NULL: quiet */
	int64_t now_us;
	int64_t trouble_until_us;
	int64_t quiet_since_us; /* -1: not quiet */
	int64_t deadline_us;
	uint32_t faults_active;
	bool over;
};

/* Plays the story of one seed; false if a promise was broken (ledger.promise, ledger.failure). */
bool sim_world_play(struct sim_world *world, uint64_t seed);
void sim_world_free(struct sim_world *world);

/* A line of the story. */
#define SIM_TELL(world, ...)                          \
	do {                                          \
		if ((world)->story != NULL)           \
			sim_tell(world, __VA_ARGS__); \
	} while (0)
void sim_tell(struct sim_world *world, const char *format, ...) OB_PRINTF(2, 3);

/* About `usual`, sometimes much more. */
int64_t sim_duration(struct sim_world *world, int64_t usual_us, bool may_be_slow);
/* The moment has come: a fault that waits for it strikes. True if the relay is dead or stopped now. */
bool sim_world_moment(struct sim_relay *relay, enum sim_moment moment);
bool sim_faults_last(const struct sim_world *world);

/* sim_faults.c */
void sim_fault_begins(struct sim_world *world, const struct sim_fault *fault);
void sim_fault_ends(struct sim_world *world, const struct sim_fault *fault);

/* sim_relay.c */
void sim_relay_start(struct sim_relay *relay);
void sim_relay_crash(struct sim_relay *relay);
void sim_relay_drain(struct sim_relay *relay);
void sim_relay_freeze(struct sim_relay *relay, int64_t until_us);
void sim_relay_step(struct sim_relay *relay, struct ob_event *event);
void sim_relay_happens(struct sim_relay *relay, const struct sim_event *event);
void sim_relay_watch(struct sim_relay *relay);
void sim_relay_free(struct sim_relay *relay);
int64_t sim_relay_now_ms(const struct sim_relay *relay);
void sim_relay_put(struct sim_relay *relay, enum sim_what what, int64_t delay_us, uint32_t a,
		   uint64_t b);
bool sim_relay_is_idle(const struct sim_relay *relay);

/* sim_calls.c: the thread that talks to the store */
void sim_calls_add(struct sim_relay *relay, enum sim_call call);
void sim_calls_effect(struct sim_relay *relay);
void sim_calls_answer(struct sim_relay *relay);
/* Ends a waiting fetch. */
void sim_calls_wake(struct sim_relay *relay);
void sim_calls_news(struct sim_world *world);
struct ob_batch *sim_batch_take(struct sim_relay *relay);
void sim_batch_give(struct sim_relay *relay, struct ob_batch *batch);

/* sim_sink.c */
void sim_sink_open(struct sim_relay *relay);
uint32_t sim_sink_submit(struct sim_relay *relay, const struct ob_delivery *deliveries,
			 uint32_t count);
void sim_sink_cancel(struct sim_relay *relay);
void sim_sink_close(struct sim_relay *relay);
void sim_sink_arrival(struct sim_relay *relay, uint32_t slot, uint64_t serial);
void sim_sink_receipt(struct sim_relay *relay, uint32_t slot, uint64_t serial);
void sim_sink_poll(struct sim_relay *relay);
void sim_recipient_late(struct sim_world *world, uint32_t message, uint32_t session);
void sim_recipient_crash(struct sim_world *world);

/* sim_person.c */
void sim_person_acts(struct sim_world *world);

#endif
