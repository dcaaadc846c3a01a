/*
 * The checker. It knows nothing of the engine: it is told what was committed, what people changed, what went to
 * the recipient and came back, and what the database was told to write down, and compares that with the
 * promises (DESIGN.md, "The promises"). The first broken one ends the story.
 *
 * How each is checked:
 *   P1  a message that the recipient accepts was committed before, and matches the subscription.
 *   P2  a message that is settled as sent was accepted, and its receipt given; at the end each one was accepted, is
 *       dead with a reason, or was discarded by a person.
 *   P3  when a message is accepted for the first time, every earlier one of its key was accepted, or is dead in the
 *       database and the key goes on, or was discarded; and no earlier one of its key failed and waits for
 *       its next try. Out of it are messages with `deliver_after`, and dead ones that a person tries again.
 *   P4  nothing is submitted whose receipt "sent" the same session has seen, or which the database knew as sent
 *       when the session began, or which is in flight already, unless a person asked for it.
 *   P5  no more tries are counted than failed (a recipient that is down uses up none), nothing dies without
 *       a cause, few messages die one after the other with none sent between (it may be the recipient), and while
 *       nothing is wrong, healthy messages arrive in time.
 * A session is what a relay does between two acquires of which the second does not go on.
 */
#ifndef SIM_LEDGER_H
#define SIM_LEDGER_H

#include "sim_plot.h"

#define SIM_FAILURE_MAX 400

struct sim_ledger_message {
	int64_t first_try_us;
	int64_t calm_at_commit;
	int64_t failed_us;      /* when the last try that counts came back */
	uint32_t failed_change; /* how many changes people had made by then */
	uint32_t failed_session, attempt;
	uint64_t failed_mark; /* how many were told as sent by then */
	uint32_t
	    crashes; /* times that it took the recipient down though others had been accepted since */
	uint64_t crash_mark;
	uint32_t accepts;
	uint32_t fails, rejects, downs_reached;
	uint32_t sent_session; /* the session that saw its receipt "sent" */
	uint32_t
	    settled_session; /* the session that settled it as sent; 0: none since a person asked for it again */
	uint32_t out_session;  /* the session that has it in flight */
	uint32_t open_session; /* the session that saw its last try fail */
	uint32_t at_in_key;
	bool committed;
	bool owed; /* to be accepted (again) */
	bool dead, ever_dead, discarded, ever_discarded;
	bool replayed;
	bool
	    loose; /* twice in reading or in the database by replays: how often it is sent says nothing */
};

struct sim_ledger_key {
	uint16_t messages[SIM_MESSAGES_MAX];
	uint32_t count;
	uint32_t done; /* all before this one are done with */
	int32_t open;  /* the first message that failed and waits for its next try; -1: none */
	uint32_t
	    twice;   /* messages that a replay may have parked again: an engine counts them twice */
	bool failed; /* one of its messages failed: its latency says nothing */
};

struct sim_ledger {
	const struct sim_plot *plot;
	struct sim_ledger_message messages[SIM_MESSAGES_MAX];
	struct sim_ledger_key keys[SIM_KEYS_MAX];
	uint32_t oldest; /* all before it were accepted or do not count for latency */
	int64_t calm_s;  /* seconds in which nothing was wrong */
	int64_t calm_limit_s;
	uint64_t accepted, told_sent, first_accepted, unknowns, asked_again, dead, incidents;
	uint32_t changes;        /* by people, and acquires, which follow them */
	bool drains;             /* what is written down is of a relay that was asked to end */
	uint32_t unproven;       /* messages that died since one was sent */
	int64_t unproven_us;     /* since when none was, in this session */
	uint64_t duplicates_max; /* that one incident may cause */
	bool failed;
	char promise[12];
	char failure[SIM_FAILURE_MAX];
};

void sim_ledger_begin(struct sim_ledger *ledger, const struct sim_plot *plot);
/* The first call counts. `promise`: "P1" ... or "contract" when a caller of an interface broke it. */
void sim_ledger_fail(struct sim_ledger *ledger, const char *promise, const char *format, ...)
    OB_PRINTF(3, 4);

void sim_ledger_commit(struct sim_ledger *ledger, uint32_t message);
/* A person asked for it again; `kept`: a parked or dead row of it stands beside the log. */
void sim_ledger_replayed(struct sim_ledger *ledger, uint32_t message, bool kept);
void sim_ledger_revived(struct sim_ledger *ledger, uint32_t message);
void sim_ledger_discarded(struct sim_ledger *ledger, uint32_t message);

void sim_ledger_submitted(struct sim_ledger *ledger, int64_t now_us, uint32_t session,
			  uint32_t message, uint32_t attempt);
/* It took the recipient down by itself. */
void sim_ledger_crashed(struct sim_ledger *ledger, uint32_t message);
void sim_ledger_accepted(struct sim_ledger *ledger, int64_t now_us, uint32_t session,
			 uint32_t message);
void sim_ledger_receipt(struct sim_ledger *ledger, int64_t now_us, uint32_t session,
			uint32_t message, const struct ob_receipt *receipt, bool cancelled);
/* A session begins: what the one before knew is forgotten. */
void sim_ledger_session(struct sim_ledger *ledger, int64_t now_us);
/* A crash, a lost lease, an outcome unknown: what was in flight may come again. */
void sim_ledger_incident(struct sim_ledger *ledger);

void sim_ledger_settled_sent(struct sim_ledger *ledger, uint32_t session, uint32_t message);
/* `key_rows`: parked rows of its key after it was written. */
void sim_ledger_settled(struct sim_ledger *ledger, int64_t now_us, uint32_t message,
			const struct ob_outcome *outcome, uint32_t key_rows, bool has_reason);

/* Once a second; `calm`: for the last second nothing was wrong. */
void sim_ledger_watch(struct sim_ledger *ledger, int64_t now_us, bool calm);
void sim_ledger_end(struct sim_ledger *ledger);

#endif
