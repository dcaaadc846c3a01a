/*
 * The plot of a story: everything that is decided before it begins. Each seed switches some kinds of trouble
 * on and others off and draws its own sizes (swarm testing: a story with every trouble at once would hide
 * what only few of them together bring about).
 */
#ifndef SIM_PLOT_H
#define SIM_PLOT_H

#include "engine.h"
#include "sim_rng.h"

#define SIM_MESSAGES_MAX 1024
#define SIM_KEYS_MAX     48
#define SIM_FAULTS_MAX   40
#define SIM_RELAYS_MAX   2
#define SIM_NO_KEY       (-1)

/* What a message does to its recipient while the story's faults last. */
enum sim_poison {
	SIM_HARMLESS = 0,
	SIM_REJECTED,  /* always rejected */
	SIM_RETRIED,   /* "later" so many times, then accepted */
	SIM_CRASHES,   /* takes the recipient down each time it arrives */
	SIM_UNANSWERED /* accepted, but the answer is lost, so many times */
};

struct sim_message {
	int64_t
	    position; /* the number that was drawn for it, in order of inserts, not of commits */
	int64_t committed_us;  /* when its transaction commits */
	int64_t deliver_at_us; /* 0: at once */
	int32_t key;           /* SIM_NO_KEY, or its number */
	uint32_t bytes;        /* what its row counts */
	uint32_t payload_bytes;
	bool rolled_back; /* its transaction never commits: nobody may ever see it */
	bool matches;     /* of the subscription's topics */
	bool oversize;    /* the store does not read its payload */
	uint8_t poison;
	uint16_t poison_times;
	char id[12];
};

enum sim_fault_kind {
	SIM_FAULT_CRASH = 1, /* a relay is killed and started again later */
	SIM_FAULT_FREEZE,    /* a relay is stopped and goes on later, as by SIGSTOP and SIGCONT */
	SIM_FAULT_DRAIN,     /* a relay ends in an orderly way and is started again */
	SIM_FAULT_REFUSES,   /* the recipient is down: nothing reaches it */
	SIM_FAULT_RESETS,    /* the same, and what is on its way is cut off */
	SIM_FAULT_HANGS, /* the recipient takes everything, answers nothing, and keeps some of it */
	SIM_FAULT_BUSY,  /* the recipient says "retry" to everything, with a time */
	SIM_FAULT_REJECTS,     /* a bad deployment: everything is rejected */
	SIM_FAULT_BLOCKS,      /* a right is missing: nothing works until a person acts */
	SIM_FAULT_SINK_FULL,   /* the sinks take less than they are offered */
	SIM_FAULT_STORE_DOWN,  /* the database does not answer */
	SIM_FAULT_STORE_BUSY,  /* BUSY for a while */
	SIM_FAULT_PAUSE,       /* a person pauses the subscription, and resumes it */
	SIM_FAULT_LOCAL_PAUSE, /* the relay itself is paused */
	SIM_FAULT_LIMITS,      /* the sink's limits change */
	SIM_FAULT_KINDS
};

struct sim_fault {
	uint8_t kind;
	uint8_t relay;
	int64_t at_us;
	int64_t lasts_us;
	uint32_t number; /* what else the kind needs */
};

/* Chances are per thousand. */
struct sim_plot {
	uint64_t seed;
	struct ob_engine_config config;
	struct sim_message
	    messages[SIM_MESSAGES_MAX]; /* in the order of their commits; rolled back ones last */
	uint16_t at_position[SIM_MESSAGES_MAX + 1]; /* which message has that position */
	uint32_t message_count;
	uint32_t rolled_back_count;
	struct sim_fault faults[SIM_FAULTS_MAX];
	uint32_t fault_count;
	uint32_t crash_count, outage_count;
	uint32_t relay_count;
	int64_t faults_end_us; /* from then on everybody is well, and nothing more is written */
	int64_t heal_us;       /* from then on poison is harmless too */

	bool
	    by_intervals; /* the log is read in intervals, as on PostgreSQL; else in order of commit */
	int64_t relay_offset_ms[SIM_RELAYS_MAX];
	int32_t relay_ppm[SIM_RELAYS_MAX]; /* how much faster its clock runs than the database's */

	/* The database. */
	int64_t store_call_us;                               /* usual time of a call */
	uint32_t store_busy, store_again, store_unreachable; /* chances of a call */

	/* The recipient and the way to it. */
	int64_t send_us, answer_us; /* usual times */
	uint32_t slow;              /* chance that one takes twenty times as long */
	int64_t request_timeout_us;
	uint32_t lost, unanswered, retried, rejected, down; /* chances of a delivery */
	uint32_t arrives_late;                              /* of a lost one */
	uint32_t sink_partial; /* chance that the sink takes fewer than offered */

	/* People. */
	uint32_t person_often_ms; /* 0: nobody does anything while the faults last */
	bool person_retries, person_discards, person_replays, person_pokes;
};

void sim_plot_draw(struct sim_plot *plot, uint64_t seed, struct sim_rng *rng);
const char *sim_fault_name(enum sim_fault_kind kind);

#endif
