/*
 * The contract of a store: a kind of database that holds outboxes.
 *
 * A store is one constant table `struct ob_store_ops` and one instance struct that begins with
 * `struct ob_store`. An instance is one connection, used by one thread; `wake` alone may come from another. Calls
 * may block, `wait` for the time it is given, the others for no longer than the store's own time-out.
 *
 * Only durations cross this contract, never absolute times: leases, due times and ages are reckoned by the
 * database's clock. (`created_at_us` is data to show, not to reckon with.)
 *
 * How a subscription is run:
 *
 *     acquire ─▶ fetch, fetch, settle, fetch ... renew ... ─▶ release
 *
 * `fetch` gives the committed messages that match the subscription's topics, each once, in commit order, numbered
 * by ordinals, and the parked rows that are due. `settle` writes what became of them in one transaction, fenced
 * by the epoch. No transaction is open between calls.
 *
 * After OB_AGAIN, OB_STALE or OB_FOREIGN from any call nothing that was fetched is valid any more: the caller forgets it
 * and acquires again; ordinals then start anew. The instance outlives its connection: acquire connects anew where it must, and
 * compares what it finds with what it left there. After OB_CHANGED the caller acquires again, and if that says
 * `goes_on`, ordinals and unsettled rows still stand. OB_BUSY means: certainly not done, call again.
 *
 * Where the store declares OB_STORE_SHARDS a subscription consists of shards 0, 1, 2 ..., each with a checkpoint, an epoch
 * and a lease of its own. A message belongs to one of them by its key alone (by its id when it has none), whatever
 * `order_by` says, by a hash that is frozen with the schema: `ob_shard_of`, or one that the database can reckon. Fetch,
 * settle and acquire are about one shard; what people see and change is about the subscription, so about all of them.
 *
 * The number of shards is changed by a barrier, since a key that moved from a shard behind to a shard ahead would be lost:
 *
 *     subscribe(another number) ─▶ the old shards go on up to one common position ─▶ each has ended ─▶ all are
 *     given up ─▶ the new shards begin at that position
 *
 * - `subscribe` fixes the common position, at or behind everything that any shard has read, and raises the epochs. No
 *   fetch goes past it from then on. Another `subscribe` before the end changes only the number to come.
 * - A shard has ended once its checkpoint is at the common position and no replay is left to it. It must be run to come
 *   there, also when it has no rows before it, and goes on to be run for its parked rows.
 * - Once all have ended they are `ending`: acquire gives none to anybody who does not hold it, while renew, settle,
 *   fetch and release serve its owner as ever. A replay that a person asks for now makes them go on.
 * - When they are ending and no lease is live any more, the next acquire, join or subscribe makes the new shards in one
 *   transaction: their checkpoints at the common position, their epochs above all that were, parked and dead rows
 *   theirs by key.
 */
#ifndef OUTBOX_STORE_H
#define OUTBOX_STORE_H

#include <outbox/batch.h>
#include <outbox/error.h>
#include <outbox/host.h>
#include <outbox/option.h>
#include <outbox/report.h>
#include <outbox/store_writer.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OB_STORE_CONTRACT        1
#define OB_SUBSCRIPTION_NAME_MAX 64 /* [a-z0-9][a-z0-9_.-]* */
#define OB_OWNER_NAME_MAX        128
#define OB_SHARDS_MAX            256 /* of a subscription */
#define OB_MEMBERS_MAX           256 /* that `join` tells of; any number may join */

enum ob_store_capability {
	OB_STORE_SHARDS = 1,  /* more than one shard a subscription; join and leave */
	OB_STORE_MANY = 2,    /* relays on several machines */
	OB_STORE_DURABLE = 4, /* what is settled outlives the process */
};

struct ob_store {
	const struct ob_store_ops *ops;
	const struct ob_host *host;
};

struct ob_store_config {
	const char *url;
	const void *options; /* the store's options struct, filled from its table */
	bool create;         /* the database may be made (init) */
	bool read_only;      /* only list, find, stats, check will be called */
};

/* ---- schema ---- */

enum ob_migrate_mode {
	OB_MIGRATE_APPLY = 0,
	OB_MIGRATE_DRY_RUN, /* say what would be done */
	OB_MIGRATE_STATUS,  /* say which version is there and which this program knows */
};

struct ob_migration {
	uint32_t version;
	const char *name;
	const char *sql;
	bool applied; /* before the call */
};

/* ---- running a subscription ---- */

struct ob_subscription {
	const char *name;
	const char *topics; /* comma separated patterns: "orders.*,invoices"; "*" for all */
	enum ob_order_by order_by;
	bool from_now; /* a new subscription starts behind what is there; else at the beginning */
	const char *sink; /* for people: the recipient's URL without secrets */
	uint32_t shards;  /* 0: as many as it has, and one of a new one */
	bool hold_key; /* for people and for `dead`: what happens to a key whose message is dead */
};

struct ob_lease_request {
	const char *subscription;
	uint32_t shard;
	const char *owner; /* for people: host and process id */
	uint64_t member;   /* as given to join, so that the others know whose it is; 0: nobody's */
	int64_t lease_ms;
	/* Room for the parked keys; acquire fails with OB_LIMIT if there are more. */
	struct ob_parked_lane *lanes;
	uint32_t lanes_max;
};

struct ob_parked_lane {
	uint64_t lane;
	uint32_t rows; /* waiting, the head with them */
	bool held;     /* its head is dead under `hold_key`: nothing goes on until a person acts */
};

struct ob_acquired {
	bool
	    held; /* false: another owner has it, there is no such shard, or the shards are ending */
	int64_t retry_in_ms;           /* when not held: until its lease runs out; 0: unknown */
	char owner[OB_OWNER_NAME_MAX]; /* when not held: whose it is, or "" */
	uint32_t shards;               /* how many there are; 0 counts as one */
	bool changing;                 /* their number is being changed */
	uint64_t epoch;
	bool paused; /* by a person */
	bool
	    goes_on; /* the same owner again, and no doubt since: ordinals and unsettled rows stand */
	uint64_t parked_rows; /* of this shard, as are the next two; without the scheduled ones */
	uint64_t scheduled_rows;
	uint64_t dead_rows;
	uint32_t lane_count; /* of request->lanes */
};

/*
 * A relay that is ready to run shards of a subscription says so, again and again, and is told who else is. Who runs which
 * shard is for the relays to agree on by what they are told; only a lease gives the right to. A store need not write at
 * each call, only when a third of `live_ms` has passed since it last did.
 */
struct ob_member {
	const char *subscription;
	uint64_t member;   /* a random number; 0: only looks */
	const char *owner; /* for people: host and process id */
	int64_t live_ms;   /* how long it counts as live from now on */
};

struct ob_shard_lease {
	bool held;       /* the lease is live */
	uint64_t member; /* whose; 0: of somebody who did not say */
};

struct ob_crew {
	uint32_t shards;      /* how many there are */
	uint32_t shards_next; /* how many there will be; 0: their number is not being changed */
	bool ending;          /* see at the head */
	/* Those that are live, in the order in which they joined. */
	uint32_t member_count;
	uint64_t members[OB_MEMBERS_MAX];
	struct ob_shard_lease leases[OB_SHARDS_MAX];
	/* Until the first lease or membership of anybody else runs out, unless it is renewed; -1: there is none. */
	int64_t next_end_ms;
};

struct ob_fetch {
	uint32_t count_max; /* rows of the log; 0: none wanted */
	uint64_t
	    bytes_max; /* rows of the log together; the first row is given even when it is larger, if `oversize_ok` */
	bool oversize_ok;
	uint32_t
	    parked_max; /* due parked rows; 0: none wanted. They may pass bytes_max by one row */
	uint32_t
	    run_max; /* how many rows of one parked key at most: its head and the rows right behind it */
};

/* One try of a message, as kept in parked and dead rows (the last OB_TRIES_KEPT of them). */
#define OB_TRIES_KEPT      20
#define OB_REASON_CODE_MAX 32
#define OB_REASON_TEXT_MAX 96
struct ob_try {
	int64_t ago_ms; /* at the time of the call */
	char code[OB_REASON_CODE_MAX];
	char text[OB_REASON_TEXT_MAX];
};

enum ob_outcome_kind {
	/* For rows of the log, all of them at or below `through`. The store copies the message out of the log. */
	OB_OUTCOME_PARK = 1,  /* head of its key (or keyless): next try in due_in_ms */
	OB_OUTCOME_BEHIND,    /* its key is parked: waits behind it */
	OB_OUTCOME_SCHEDULE,  /* deliver_after: due in due_in_ms, holds no key */
	OB_OUTCOME_DEAD,      /* given up; the key goes on */
	OB_OUTCOME_DEAD_HOLD, /* given up; the key waits for a person */
	/* For parked rows, named by position. */
	OB_OUTCOME_UNPARK, /* sent: the row goes, the next one of its key becomes its head, due at once */
	OB_OUTCOME_REPARK,    /* failed: next try in due_in_ms */
	OB_OUTCOME_BACK,      /* handed out but not tried: as it was */
	OB_OUTCOME_BURY,      /* dead: the next one of its key becomes head, due at once */
	OB_OUTCOME_BURY_HOLD, /* dead, its key waits for a person */
};

struct ob_outcome {
	enum ob_outcome_kind kind;
	uint64_t ordinal; /* rows of the log */
	int64_t position; /* parked rows */
	uint64_t lane;    /* as fetched; 0: none, or scheduled */
	int64_t due_in_ms;
	uint32_t attempts;          /* counted so far, all told */
	int64_t age_ms;             /* since the first try; 0 if never tried */
	const struct ob_try *tries; /* those since the row was fetched, oldest first */
	uint32_t try_count;
};

/*
 * "Everything up to ordinal `through` is settled", plus what became of the exceptions. One transaction: refused as a whole with
 * OB_STALE or OB_CHANGED when the epoch is not the one that acquire gave. Parked and dead rows are written as upserts by
 * (subscription, position): a settle that was done and is tried again by a later owner is no conflict.
 */
struct ob_settle {
	uint64_t through;                  /* 0 or the same as before: no progress in the log */
	const struct ob_outcome *outcomes; /* in ordinal order, parked rows anywhere */
	uint32_t outcome_count;
};

/* What the relay wants known by whoever looks into the database. Written with renew when it changed. */
struct ob_relay_state {
	const char *state;  /* "running", "down", "blocked", "full", "paused", "draining" */
	const char *code;   /* why: a reason code, or "" */
	const char *text;   /* why, for people, or "" */
	int64_t since_ms;   /* ago */
	uint64_t delivered; /* messages sent since this relay started */
};

/* ---- what people see and change ---- */

enum ob_place { OB_PLACE_LOG = 1, OB_PLACE_PARKED, OB_PLACE_SCHEDULED, OB_PLACE_DEAD };

struct ob_selection {
	const char *subscription; /* NULL: all */
	enum ob_place place;      /* which table; 0: wherever */
	const char *id;           /* NULL: any */
	const char *topic;        /* a pattern; NULL: any */
	const char *key;          /* exact; NULL: any */
	const char *type;         /* exact; NULL: any */
	const char *code;         /* reason code; NULL: any */
	int64_t
	    position_after; /* paging: rows behind this one of `subscription_after`; 0 from the start */
	uint32_t count_max; /* 0: the store's own limit of 1,000 */
};

struct ob_listed {
	const char *subscription; /* NULL for rows of the log */
	enum ob_place place;
	bool passed;    /* of the log: every subscription's checkpoint is past it */
	bool head;      /* parked: first of its key */
	bool holds_key; /* dead under hold_key */
	int64_t position;
	struct ob_message message;
	uint32_t attempts;
	int64_t age_ms;    /* since created */
	int64_t due_in_ms; /* parked, scheduled */
	int64_t since_ms;  /* parked or dead for so long */
	const char *code;  /* last reason, or "" */
	const char *text;
	const char *tries; /* JSON array of {"at":RFC 3339,"code":...,"text":...}, oldest first */
};

enum ob_change_kind {
	OB_CHANGE_PAUSE = 1,
	OB_CHANGE_RESUME,
	OB_CHANGE_RETRY, /* parked heads: due at once. Dead rows: back to parked, in the order of their keys */
	OB_CHANGE_DISCARD, /* dead or parked rows are deleted; the next of the key becomes its head */
	OB_CHANGE_REPLAY, /* one more, bounded reading of the log from since_ms ago, from id, or from the beginning */
	OB_CHANGE_ADOPT, /* the database was replaced or restored, and this is meant: go on from its checkpoint, from now, from an id,
			    or from the beginning. Of one subscription or, when none is named, of each */
};

/* Every change raises the epoch, so that no settle in flight writes over it. */
struct ob_change {
	enum ob_change_kind kind;
	struct ob_selection selection; /* selection.subscription is required but for ADOPT */
	int64_t since_ms;     /* REPLAY: from what was created that long ago; -1: not given */
	const char *from_id;  /* REPLAY, ADOPT */
	bool from_now;        /* ADOPT */
	bool from_checkpoint; /* ADOPT: where the database's own checkpoint is */
	bool dry_run;         /* only count */
};

/* Who runs a shard, and how it goes: as the fields of the same names in ob_subscription_stats. */
struct ob_shard_stats {
	bool held;
	const char *owner;
	int64_t lease_left_ms;
	uint64_t epoch;
	const char *state, *code, *text;
	int64_t state_since_ms;
	bool
	    ended; /* their number is being changed, and this one has come to the common position */
};

struct ob_subscription_stats {
	const char *name;
	const char *topics;
	const char *sink;
	bool paused;
	/* Of several shards, of the one that needs a person most: the first that nobody runs, else the first that says
	   anything but "running", else the first. */
	bool held;         /* a relay holds a live lease */
	const char *owner; /* "" when not held; of one that refuses the database, that relay */
	int64_t lease_left_ms;
	uint64_t epoch;
	/* As the relay last wrote them; "" when none. One that may not hold the lease, since only a person can say that this
	   database is meant, writes "store_failed" and why. */
	const char *state, *code, *text;
	int64_t state_since_ms;
	/* Each of them. */
	const struct ob_shard_stats *shard;
	uint32_t shards;      /* 0: the store has none */
	uint32_t shards_next; /* 0: their number is not being changed */
	uint32_t members;     /* relays that have joined */
	/* Of all of them. */
	uint64_t
	    pending_max; /* rows behind the checkpoint, at most: an upper bound that costs no scan */
	bool pending;    /* there is at least one matching row behind the checkpoint */
	int64_t oldest_age_ms; /* of the first such row; 0 when none */
	uint64_t parked_rows, parked_keys, scheduled_rows, dead_rows;
	bool replaying;
	const char *
	    blocked_by; /* what keeps the log from being trimmed or read, for people; "" when nothing */
};

struct ob_store_ops {
	unsigned contract; /* OB_STORE_CONTRACT */
	const char *name;
	const char *const *schemes;
	const char *help;
	const struct ob_option *options;
	size_t options_size;
	size_t size; /* of the instance, which is zeroed before open */
	unsigned capabilities;
	/* The most outcomes of one settle, but for those that are BACK, and of their rows' bytes, so that one transaction
	   of them is short enough; one row may be larger. 0: any. The caller makes several settles of more. */
	uint32_t settle_count_max;
	uint64_t settle_bytes_max;

	/* Connects. OB_NOT_FOUND, OB_UNREACHABLE, OB_DENIED, OB_CONFIG. Does not look at our tables. */
	int (*open)(struct ob_store *store, const struct ob_store_config *config,
		    struct ob_error *error);
	/* Safe at any point. Releases no lease. */
	void (*close)(struct ob_store *store);
	/* Idempotent and versioned; takes a lock so that two may run at once. Calls `each` for each migration there is. */
	int (*migrate)(struct ob_store *store, enum ob_migrate_mode mode,
		       void (*each)(void *context, const struct ob_migration *migration),
		       void *context, struct ob_error *error);
	/* All the SQL of a fresh schema, for people who run migrations by their own tool. Needs no open; `options` as in
	   ob_store_config. The caller frees it with free(); NULL when there is no memory. */
	char *(*schema_sql)(const void *options);

	/* Makes the subscription or updates it. A new pattern holds for what is read from now on. OB_CONFIG when `order_by`
	   changed while rows are parked, or with more than OB_SHARDS_MAX shards; OB_UNSUPPORTED with more than one where
	   there is no OB_STORE_SHARDS. */
	int (*subscribe)(struct ob_store *store, const struct ob_subscription *subscription,
			 struct ob_error *error);
	/* OB_SCHEMA when our tables are not there, altered or newer. */
	int (*acquire)(struct ob_store *store, const struct ob_lease_request *request,
		       struct ob_acquired *acquired, struct ob_error *error);
	/* Extends the lease. `state` may be NULL. OB_STALE, OB_CHANGED. */
	int (*renew)(struct ob_store *store, const struct ob_relay_state *state,
		     struct ob_error *error);
	/* Gives the lease up so that the next owner need not wait. Does nothing when it is not held. */
	int (*release)(struct ob_store *store, struct ob_error *error);
	/* Both NULL without OB_STORE_SHARDS; on an instance of its own, or one that holds a lease. OB_NOT_FOUND when there is
	   no such subscription. */
	int (*join)(struct ob_store *store, const struct ob_member *member, struct ob_crew *crew,
		    struct ob_error *error);
	/* Is no member any more. Its leases are not touched. */
	int (*leave)(struct ob_store *store, const char *subscription, uint64_t member,
		     struct ob_error *error);
	/* Adds rows to an empty batch; no rows is no error. Parked rows come first and are not handed out again until a settle
	   told their outcome. Rows of one parked key come in order, its head first. One that wants nothing only asks whether a
	   person has changed something; what was committed before it ends no `wait` after it. */
	int (*fetch)(struct ob_store *store, const struct ob_fetch *fetch, struct ob_batch *batch,
		     struct ob_error *error);
	int (*settle)(struct ob_store *store, const struct ob_settle *settle,
		      struct ob_error *error);
	/* Sleeps until there may be something to fetch, `wake`, or the time is up. Returns OB_OK for all three. */
	int (*wait)(struct ob_store *store, int64_t timeout_ms, struct ob_error *error);
	/* Ends a wait, or the next one, at once. From any thread. */
	void (*wake)(struct ob_store *store);
	/* Gives back space of what every subscription has passed and whose retention is over; a short piece of work at a
	   time. `*again`: there is more to do now. */
	int (*trim)(struct ob_store *store, uint64_t *rows, bool *again, struct ob_error *error);

	int (*stats)(struct ob_store *store, const char *subscription,
		     void (*each)(void *context, const struct ob_subscription_stats *stats),
		     void *context, struct ob_error *error);
	/* Rows in the order of their position, until `each` returns false. Those that go away meanwhile are left out: that a
	   page is not full does not mean that it is the last. */
	int (*list)(struct ob_store *store, const struct ob_selection *selection,
		    bool (*each)(void *context, const struct ob_listed *row), void *context,
		    struct ob_error *error);
	int (*change)(struct ob_store *store, const struct ob_change *change, uint64_t *count,
		      struct ob_error *error);
	int (*check)(struct ob_store *store, const struct ob_report *report,
		     struct ob_error *error);

	/* Writing messages, for the commands that do; NULL: it takes none. See <outbox/store_writer.h>. */
	const struct ob_writer_ops *writer;

	/* The client library that it runs with, by name and version. NULL: it has none that is its own. */
	const char *library;
	const char *(*library_version)(void);
};

#ifdef __cplusplus
}
#endif
#endif
