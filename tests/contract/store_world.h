/*
 * What the contract tests of stores stand on: one outbox of some kind, up to three instances (connections)
 * on it, and short ways to do what the relay and the application do.
 *
 * A kind of store gives four functions and is one line in store_kinds.c. Every helper fails the test when
 * the store does not answer as expected.
 */
#ifndef STORE_WORLD_H
#define STORE_WORLD_H

#include <outbox/store.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORLD_INSTANCES 3
#define WORLD_LANES     64
#define WORLD_OPTIONS   512

struct world;

struct store_kind {
	const char *name; /* as it stands in the tests' names */
	const struct ob_store_ops *ops;
	/* Prepares an outbox that does not exist yet and sets world->url. */
	void (*make)(struct world *world);
	/* Commits one message as an application would, outside the store. */
	void (*append)(struct world *world, const struct ob_message *message,
		       int64_t deliver_in_ms);
	/* Around many appends, so that they are one transaction; may be NULL. */
	void (*batch)(struct world *world, bool begin);
	void (*drop)(struct world *world);
	bool strict_text;   /* text is UTF-8 without NUL, an id is a UUID */
	bool rewrites_json; /* headers come back as the database writes JSON */
	bool
	    trims_stretches; /* space comes back by whole stretches of the log, not message by message */
	const char *const
	    *options; /* for every open, "name1=value1" ..., NULL at the end; may be NULL */
};

extern const struct store_kind *const store_kinds[]; /* NULL at the end */
extern const struct store_kind store_kind_sqlite_wal;
extern const struct store_kind store_kind_sqlite_rollback;

struct world_instance {
	struct ob_store *store; /* NULL: not open */
	char options[WORLD_OPTIONS];
	uint64_t epoch;
	struct ob_acquired acquired;
	struct ob_parked_lane lanes[WORLD_LANES];
	struct ob_batch *batch;
};

struct world {
	const struct store_kind *kind;
	char directory[64], url[128];
	struct world_instance at[WORLD_INSTANCES];
	unsigned appended; /* messages so far, called m1, m2 ... here: see world_id */
	struct ob_error error;
	char option[64]; /* "name=value" for every open, from make(); may be empty */
	const char *const *option_pairs; /* for the next open; NULL at the end */
};

extern const struct ob_host world_host;

/* Milliseconds that only rise. */
int64_t world_now_ms(void);
void world_sleep_ms(int64_t ms);
/* Puts the host's clock forward, where the store asks only that: no other thread may be in a store. */
void world_pass_ms(int64_t ms);

/* A world with migrated tables and instance 0 open; the test's state. */
int world_setup(void **state);
int world_teardown(void **state);
void world_open(struct world *world, unsigned i);
void world_close(struct world *world, unsigned i);
/* "name1=value1" ... for the instances that are opened from now on; NULL at the end. */
void world_options(struct world *world, const char *const *pairs);

/* Checks a code, and shows the error text if it is another. */
#define expect_code(world, want, call) \
	world_expect((world), (want), (call), #call, __FILE__, __LINE__)
#define expect_ok(world, call) expect_code(world, OB_OK, call)
void world_expect(struct world *world, int want, int got, const char *call, const char *file,
		  int line);

/* The id of message n, a UUID, until the eighth call after. */
const char *world_id(unsigned n);
/* Which message this is. */
unsigned world_number(const struct ob_row *row);

/* Appends message n with these fields; key NULL: none. Returns n. */
unsigned world_append(struct world *world, const char *topic, const char *key, const char *payload);
void world_append_many(struct world *world, unsigned count, const char *topic, const char *key);
unsigned world_schedule(struct world *world, const char *topic, const char *key,
			int64_t deliver_in_ms);

void world_subscribe(struct world *world, const char *name, const char *topics);
/* Of all topics, with so many shards. */
void world_subscribe_shards(struct world *world, const char *name, uint32_t shards);
/* Acquires with a lease of a minute and expects to get it. */
struct ob_acquired *world_acquire(struct world *world, unsigned i, const char *name);
/* The same with any lease, and without any expectation but OB_OK. */
struct ob_acquired *world_try_acquire(struct world *world, unsigned i, const char *name,
				      int64_t lease_ms);
/* The same of any shard. The member is i + 1. */
struct ob_acquired *world_try_shard(struct world *world, unsigned i, const char *name,
				    uint32_t shard, int64_t lease_ms);
/* Everything a relay would fetch by default: 1,024 rows, 16 MiB, 64 parked rows, runs of 16. */
extern const struct ob_fetch world_fetch_all;
struct ob_batch *world_fetch(struct world *world, unsigned i);
struct ob_batch *world_fetch_as(struct world *world, unsigned i, const struct ob_fetch *fetch);
/* Fetches until a parked row or a row of the log comes, or fails after five seconds. */
struct ob_batch *world_fetch_some(struct world *world, unsigned i);
void world_settle(struct world *world, unsigned i, uint64_t through);
void world_settle_with(struct world *world, unsigned i, uint64_t through,
		       const struct ob_outcome *outcomes, uint32_t count);
int world_change(struct world *world, unsigned i, enum ob_change_kind kind,
		 const char *subscription, enum ob_place place, uint64_t *count);

/* The outcome of a fetched row, with one try of code "failed". */
struct ob_outcome world_outcome(const struct ob_row *row, enum ob_outcome_kind kind,
				int64_t due_in_ms);
/* The ids of a batch, "m1 m2 m3"; parked rows stand in brackets. */
const char *world_ids(const struct ob_batch *batch);
/* The listing of a place, one row after another: "m3(head) m4". */
const char *world_listing(struct world *world, unsigned i, const struct ob_selection *selection);
/* The first subscription's stats; strings and shards are not kept. */
struct ob_subscription_stats world_stats(struct world *world, unsigned i, const char *name);

#endif
