/* The memory store's data, shared by its files: memory.c has outboxes, memory_lease.c the leases, memory_crew.c who
   else runs and how the number of shards changes, memory_run.c fetches and settles, memory_kept.c keeps parked and dead
   rows, memory_admin.c is what people see and change. */
#ifndef OB_STORES_MEMORY_OUTBOX_H
#define OB_STORES_MEMORY_OUTBOX_H

#include <outbox/store.h>
#include <pthread.h>
#include <stdatomic.h>

#include "map.h"
#include "reading.h"

#define MEMORY_NAME_MAX   128
#define MEMORY_LOG_MAX    10000000
#define MEMORY_HANDED_MAX 4096

struct memory_options {
	int64_t retention_ms;
	int64_t message_bytes_max;
};

/* A message of the log. Times are the host's monotonic clock: it is the clock of this database. */
struct memory_message {
	int64_t position;
	int64_t created_us;
	int64_t due_us;            /* 0: at once */
	struct ob_message message; /* its bytes stand behind this struct */
};

/* A parked or dead row, with its copy of the message. */
struct memory_kept {
	int64_t position;
	uint64_t lane;
	bool scheduled, head, has_due, tried;
	bool holds_key; /* dead */
	int64_t due_us, first_try_us, since_us, created_us;
	uint32_t attempts;
	char code[OB_REASON_CODE_MAX], text[OB_REASON_TEXT_MAX];
	char *tries;               /* JSON, see tries.h */
	struct ob_message message; /* its bytes stand behind this struct */
};

/* Rows in the order of their positions. */
struct memory_rows {
	struct memory_kept **items;
	size_t count, capacity;
};

struct memory_shard {
	struct ob_mark checkpoint;
	int64_t replay_end;
	uint64_t epoch;
	uint64_t holder; /* random; 0: nobody */
	uint64_t member;
	char owner[OB_OWNER_NAME_MAX];
	int64_t lease_ms, expires_us;
	char state[OB_REASON_CODE_MAX], code[OB_REASON_CODE_MAX], text[OB_REASON_TEXT_MAX];
	int64_t state_since_us;
};

/* A relay that joined; in the order in which they did. */
struct memory_member {
	uint64_t member;
	int64_t expires_us;
	struct memory_member *next;
};

struct memory_subscription {
	char name[OB_SUBSCRIPTION_NAME_MAX + 1];
	char *topics, *sink;
	enum ob_order_by order_by;
	bool hold_key, paused;
	struct memory_shard *shards;
	uint32_t shard_count;
	uint32_t shards_next; /* 0: their number is not being changed */
	int64_t common;       /* while it is: the position at which the old shards end */
	struct memory_member *members;
	struct memory_rows parked, dead;
	struct memory_subscription *next; /* by name */
};

struct memory_outbox {
	char name[MEMORY_NAME_MAX];
	pthread_mutex_t lock;        /* over everything below */
	struct memory_message **log; /* in the order of positions */
	size_t log_count, log_capacity;
	int64_t last_position;
	uint64_t version; /* rises with each commit */
	bool migrated;
	struct memory_subscription *subscriptions;
	struct memory_store *instances;
	struct memory_outbox *next;
};

struct memory_store {
	struct ob_store base; /* first: the contract's part */
	const struct memory_options *options;
	struct memory_outbox *outbox;
	struct memory_store *next;
	int wake_fd;
	atomic_bool woken;
	/* The subscription and its shard that are run. */
	struct memory_subscription *subscription;
	uint32_t shard;
	uint64_t holder, epoch;
	struct ob_reading reading;
	struct ob_map handed; /* parked positions that await their outcome */
	uint64_t version_read;
	bool more;
};

static inline struct memory_store *
memory_store_of(struct ob_store *base)
{
	return (struct memory_store *)(void *)base;
}

/* Of the instance that holds, or held, a lease. */
static inline struct memory_shard *
memory_shard_of(const struct memory_store *store)
{
	return &store->subscription->shards[store->shard];
}

static inline int64_t
memory_now(const struct ob_store *base)
{
	return base->host->monotonic_us(base->host->context);
}

/* ---- memory.c ---- */

/* The index of the first message above `position`. */
size_t ob_memory_log_find(const struct memory_outbox *outbox, int64_t position);
struct memory_subscription *ob_memory_subscription(struct memory_outbox *outbox, const char *name);
int ob_memory_subscription_missing(const char *name, struct ob_error *error);
/* Somebody committed: whoever sleeps should look. */
void ob_memory_commit(struct memory_outbox *outbox);
/* The bytes of a message one behind the other at `bytes`; returns how many, also for NULL. */
size_t ob_memory_message_copy(struct ob_message *to, const struct ob_message *from, char *bytes);

/* ---- memory_lease.c ---- */

int ob_memory_acquire(struct ob_store *base, const struct ob_lease_request *request,
		      struct ob_acquired *acquired, struct ob_error *error);
int ob_memory_renew(struct ob_store *base, const struct ob_relay_state *state,
		    struct ob_error *error);
int ob_memory_release(struct ob_store *base, struct ob_error *error);
/* Every call of an owner begins here, under the lock. OB_STALE, OB_CHANGED. */
int ob_memory_fence(struct memory_store *store, struct ob_error *error);

/* ---- memory_crew.c ---- */

int ob_memory_join(struct ob_store *base, const struct ob_member *member, struct ob_crew *crew,
		   struct ob_error *error);
int ob_memory_leave(struct ob_store *base, const char *subscription, uint64_t member,
		    struct ob_error *error);
/* The shards that a new subscription begins with, or that follow others; false without memory. */
bool ob_memory_shards_make(struct memory_subscription *subscription, uint32_t count, int64_t log);
/* There is to be another number of shards: see store.h. */
void ob_memory_shards_change(struct memory_outbox *outbox, struct memory_subscription *subscription,
			     uint32_t count);
bool ob_memory_shard_ended(const struct memory_subscription *subscription, uint32_t shard);
/* Every shard has come to the common position. */
bool ob_memory_shards_ending(const struct memory_subscription *subscription);
/* Makes the new shards if the old ones have ended and nobody holds one. */
void ob_memory_shards_follow(struct memory_outbox *outbox, struct memory_subscription *subscription,
			     int64_t now_us);
void ob_memory_members_free(struct memory_subscription *subscription);

/* ---- memory_run.c ---- */

int ob_memory_fetch(struct ob_store *base, const struct ob_fetch *fetch, struct ob_batch *batch,
		    struct ob_error *error);
int ob_memory_settle(struct ob_store *base, const struct ob_settle *settle, struct ob_error *error);
int ob_memory_wait(struct ob_store *base, int64_t timeout_ms, struct ob_error *error);
void ob_memory_wake(struct ob_store *base);
int ob_memory_trim(struct ob_store *base, uint64_t *rows, bool *again, struct ob_error *error);

/* ---- memory_kept.c ---- */

/* A row with a copy of `message`, or NULL. Freed by ob_memory_kept_free. */
struct memory_kept *ob_memory_kept_new(int64_t position, const struct ob_message *message,
				       int64_t created_us);
void ob_memory_kept_free(struct memory_kept *kept);
/* The row at this position, or NULL. */
struct memory_kept *ob_memory_rows_find(const struct memory_rows *rows, int64_t position);
/* Puts a row at its place, where none is; false without memory. */
bool ob_memory_rows_add(struct memory_rows *rows, struct memory_kept *kept);
/* Takes a row out, which is the caller's then. */
void ob_memory_rows_take(struct memory_rows *rows, struct memory_kept *kept);
void ob_memory_rows_free(struct memory_rows *rows);
/* A dead row makes its key wait for a person. */
bool ob_memory_lane_is_held(const struct memory_subscription *subscription, uint64_t lane);
/* Makes the row behind `gone` (or the first) the head of its lane, unless it has one or is held. */
void ob_memory_lane_promote(struct memory_subscription *subscription, uint64_t lane, int64_t gone,
			    int64_t now_us);
/* The last tries of an outcome, added to those the row has; false without memory. */
bool ob_memory_kept_try(struct memory_kept *kept, const struct ob_outcome *outcome, int64_t now_us,
			int64_t wall_us);

/* ---- memory_admin.c ---- */

int ob_memory_stats(struct ob_store *base, const char *subscription,
		    void (*each)(void *context, const struct ob_subscription_stats *stats),
		    void *context, struct ob_error *error);
int ob_memory_list(struct ob_store *base, const struct ob_selection *selection,
		   bool (*each)(void *context, const struct ob_listed *row), void *context,
		   struct ob_error *error);
int ob_memory_change(struct ob_store *base, const struct ob_change *change, uint64_t *count,
		     struct ob_error *error);
int ob_memory_check(struct ob_store *base, const struct ob_report *report, struct ob_error *error);

#endif
