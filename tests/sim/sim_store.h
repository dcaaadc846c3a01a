/*
 * A database that keeps what include/outbox/store.h says, in memory and in virtual time. It is one for all
 * relays of a story; each relay has a session with it. It never fails by itself: who calls it
 * (sim_relay.c) decides which calls are lost, doubted or late.
 *
 * The log is read in the order of `order`: messages are appended to it when a fetch has come to its end, all
 * that are committed by then, by their commits or (by_intervals) by their positions. A checkpoint is an
 * index into it. With intervals, what lies beyond the interval of the checkpoint is formed anew by each
 * session, as a relay that starts again takes a new snapshot.
 *
 * Everything that it is told to write down goes to the ledger.
 */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include "sim_ledger.h"

#define SIM_ORDINALS_MAX    8192
#define SIM_CHAIN_KEYLESS   SIM_KEYS_MAX
#define SIM_CHAIN_SCHEDULED (SIM_KEYS_MAX + 1)
#define SIM_CHAINS          (SIM_KEYS_MAX + 2)

struct sim_parked {
	int64_t due_us;
	int64_t first_try_us; /* 0: never tried */
	uint32_t attempts;
	int16_t next; /* in its chain, by position; -1 */
	int8_t chain; /* -1: not parked */
	bool out;     /* handed out */
	bool has_reason;
};

struct sim_entry {
	uint16_t at;    /* in the order */
	uint8_t replay; /* 0: of the log; else the number of the replay it was read for */
};

struct sim_session {
	uint64_t token;
	uint64_t epoch;
	uint32_t
	    number; /* counted over the story; a new one for each acquire that does not go on */
	bool acquired, doubt;
	bool draining; /* its relay was asked to end */
	int32_t cursor;
	uint8_t replay;
	int32_t replay_cursor;
	uint64_t replay_done; /* once this ordinal is settled, the replay is over */
	uint64_t ordinals, settled;
	struct sim_entry entries[SIM_ORDINALS_MAX];
};

struct sim_store_counts {
	uint64_t parked, behind, scheduled, dead, dead_hold, unparked, reparked, back, buried,
	    bury_hold;
	uint64_t settles, refused_stale, refused_changed, replays, revived, discarded;
};

struct sim_store {
	struct sim_ledger *ledger;
	const struct sim_plot *plot;
	int64_t now_us; /* the database's clock is the world's; who calls sets it */

	uint16_t order[SIM_MESSAGES_MAX];
	uint16_t interval_end[SIM_MESSAGES_MAX];
	int32_t order_count;
	uint16_t pending[SIM_MESSAGES_MAX]; /* committed and not in the order yet */
	uint32_t pending_count;

	int32_t checkpoint;
	uint8_t replay; /* its number, counted over the story */
	int32_t replay_from, replay_to;
	bool paused;
	uint64_t lease_token, epoch;
	int64_t lease_expires_us;
	uint32_t sessions;

	struct sim_parked parked[SIM_MESSAGES_MAX];
	int16_t chain_first[SIM_CHAINS];
	uint16_t chain_rows[SIM_CHAINS];
	uint16_t chain_out[SIM_CHAINS];
	bool dead[SIM_MESSAGES_MAX];
	int16_t holder[SIM_KEYS_MAX]; /* the dead message that holds its key; -1 */
	uint64_t parked_rows, scheduled_rows, dead_rows;
	uint64_t excess; /* rows that a person brought back, beyond any quota */
	struct sim_store_counts counts;
};

void sim_store_begin(struct sim_store *store, const struct sim_plot *plot,
		     struct sim_ledger *ledger);
void sim_session_begin(struct sim_session *session, uint64_t token);

void sim_store_commit(struct sim_store *store, uint32_t message);
enum ob_code sim_store_acquire(struct sim_store *store, struct sim_session *session,
			       struct ob_lease_request *request, struct ob_acquired *acquired);
enum ob_code sim_store_renew(struct sim_store *store, struct sim_session *session,
			     int64_t lease_ms);
void sim_store_release(struct sim_store *store, struct sim_session *session);
enum ob_code sim_store_fetch(struct sim_store *store, struct sim_session *session,
			     const struct ob_fetch *fetch, struct ob_batch *batch);
enum ob_code sim_store_settle(struct sim_store *store, struct sim_session *session,
			      const struct ob_settle *settle);
/* May a fetch find something now; if not, when will something be due (INT64_MAX: nothing waits). */
bool sim_store_has_news(const struct sim_store *store, const struct sim_session *session,
			const struct ob_fetch *fetch, int64_t *due_us);
/* Nothing is left to do for anyone. */
bool sim_store_is_empty(const struct sim_store *store);

/* What people do. Each returns how many messages it touched. */
void sim_store_pause(struct sim_store *store, bool paused);
uint32_t sim_store_retry(struct sim_store *store, bool parked, bool dead, uint32_t most);
uint32_t sim_store_discard(struct sim_store *store, bool parked, bool only_oversize, uint32_t most);
uint32_t sim_store_replay(struct sim_store *store, int32_t from);

/* The chains, for those above (sim_parked.c). */
void sim_chain_add(struct sim_store *store, uint32_t message, int chain);
void sim_chain_remove(struct sim_store *store, uint32_t message);
int sim_chain_of(const struct sim_store *store, uint32_t message);
void sim_parked_hand_out(struct sim_store *store, const struct ob_fetch *fetch,
			 struct ob_batch *batch);
int64_t sim_parked_next_due(const struct sim_store *store);
void sim_store_row(const struct sim_store *store, uint32_t message, struct ob_row *row);
uint64_t sim_lane_of_key(int32_t key);

#endif
