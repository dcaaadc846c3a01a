/*
 * The store thread of a subscription: makes the blocking calls to its store, so that the loop thread never waits for the
 * database, and keeps the lease alive meanwhile.
 *
 * The loop thread places orders, at most one of each kind at a time as the engine asks for them, and takes answers. There
 * is one slot for each kind, so the mailbox is bounded by its nature. A whole batch or a whole settle changes hands at
 * once; nothing here is paid for each message.
 *
 * Orders are done in this order: settle, acquire, renew, fetch, trim. While a fetch that may wait has found nothing
 * the thread sleeps in the store's own `wait`; a new order ends that at once. So it does while the lease is held and there is
 * no fetch to do (paused, no room): then it only looks whether a person has changed something, which is told like a
 * renewal that failed.
 *
 * After an answer that leaves the connection in doubt the next acquire connects anew, within the store; until then that answers
 * every other order with a failure, without asking. (The instance lives on, since it knows what it left in the database.)
 */
#ifndef OB_RELAY_STORE_THREAD_H
#define OB_RELAY_STORE_THREAD_H

#include <outbox/store.h>

struct ob_store_thread;

struct ob_store_thread_config {
	const char *url;
	const char *const *options;
	size_t option_count;
	const struct ob_host *host;
	struct ob_subscription subscription;
	bool subscribed; /* it was made already, by another thread of this relay */
	uint32_t shard;
	uint64_t member; /* see ob_lease_request */
	const char *owner;
	int64_t lease_ms;
	uint32_t lanes_max;
	/* Do not sit on an empty fetch for long: the answer is what tells that there is nothing more. */
	bool until_idle;
	/* Called on the store thread after each answer: wakes the loop. */
	void (*notify)(void *context);
	void *context;
};

enum ob_store_answer_kind {
	OB_STORE_OPENED = 1, /* once, first: code. Anything but OB_OK is final */
	OB_STORE_AWAITED,    /* once, before OPENED, where it takes its time: why */
	OB_STORE_ACQUIRED,
	OB_STORE_RENEWED,
	OB_STORE_FETCHED,
	OB_STORE_SETTLED,
};

struct ob_store_answer {
	enum ob_store_answer_kind kind;
	enum ob_code code;
	int64_t asked_at_ms;          /* ACQUIRED, RENEWED: when the call was begun */
	struct ob_acquired acquired;  /* ACQUIRED */
	struct ob_batch *batch;       /* FETCHED */
	char text[OB_ERROR_TEXT_MAX]; /* why, when code is not OB_OK */
};

#define OB_STORE_ANSWERS_MAX 4

/* All strings must outlive the thread. Checks URL and options; starts nothing. */
int ob_store_thread_new(const struct ob_store_thread_config *config,
			struct ob_store_thread **thread, struct ob_error *error);
/* Starts the thread, which opens the store and makes the subscription, then answers OPENED. */
int ob_store_thread_start(struct ob_store_thread *thread, struct ob_error *error);
/* Ends the thread after the call under way, releasing the lease if `release`, and waits for it. */
void ob_store_thread_end(struct ob_store_thread *thread, bool release);
void ob_store_thread_free(struct ob_store_thread *thread);

/* Orders. Each is answered once. */
void ob_store_thread_acquire(struct ob_store_thread *thread, int64_t not_before_ms);
/* `batch` is the thread's until FETCHED. */
void ob_store_thread_fetch(struct ob_store_thread *thread, const struct ob_fetch *fetch,
			   bool may_wait, struct ob_batch *batch);
/* `settle` must stand until SETTLED. */
void ob_store_thread_settle(struct ob_store_thread *thread, const struct ob_settle *settle);
/* A fetch that waits is answered now, with nothing. `from_now_on`: so are all later ones. */
void ob_store_thread_stop_waiting(struct ob_store_thread *thread, bool from_now_on);

/* What others are to read in the store: written with the next renewal, at once when the state has changed. `since_ms` is by
   the monotonic clock. Strings are copied. */
struct ob_store_thread_state {
	char state[16];
	char code[32];
	char text[96];
	int64_t since_ms;
	uint64_t delivered;
};
void ob_store_thread_report(struct ob_store_thread *thread,
			    const struct ob_store_thread_state *state);

/* The answers that came since the last call, oldest first; at most OB_STORE_ANSWERS_MAX. */
size_t ob_store_thread_take(struct ob_store_thread *thread, struct ob_store_answer *answers);

/* The parked lanes that the last acquire gave: stands until the next ob_store_thread_acquire. */
const struct ob_parked_lane *ob_store_thread_lanes(const struct ob_store_thread *thread);

/* What the store is, and takes at once; from any thread. */
const struct ob_store_ops *ob_store_thread_ops(const struct ob_store_thread *thread);

struct ob_store_thread_stats {
	uint64_t errors, reconnects, trimmed;
};
void ob_store_thread_stats(struct ob_store_thread *thread, struct ob_store_thread_stats *stats);

#endif
