/*
 * One subscription of a relay: the runners of those of its shards that are run here.
 *
 * Each begins with one runner, of shard 0, and for most that is all: other relays of the same subscription stand by. When
 * the store says that there are several shards, or that their number is being changed, the relay joins those that run the
 * subscription. From then on a thread looks every now and then who else is there and who holds what (share.h decides by
 * it), starts runners, and drains those of shards that others are to have. With one shard left it goes back to how it began.
 *
 * Shards that are given up are finished first: what is in flight, then the settle, then the lease is released.
 *
 * The commands may be given from any thread between start and free.
 */
#ifndef OB_RELAY_SHARDS_H
#define OB_RELAY_SHARDS_H

#include <stdatomic.h>

#include "runner.h"

struct ob_shards;

struct ob_shards_config {
	const struct ob_relay_subscription *subscription; /* and its strings: must outlive it */
	const char *owner;
	struct ob_host_log *log;
	bool until_idle;
	/* Runners at work, shared by all subscriptions of a process, and how many there may be. */
	atomic_uint *runners;
	unsigned runners_max;
	/* Called on some thread of its own whenever its phase may have changed. */
	void (*changed)(void *context);
	void *context;
};

/* Checks what can be checked without asking anyone. */
int ob_shards_new(const struct ob_shards_config *config, struct ob_shards **shards,
		  struct ob_error *error);
int ob_shards_start(struct ob_shards *shards, struct ob_error *error);
/* Stops it if it runs, and waits for its threads. */
void ob_shards_join(struct ob_shards *shards);
/* Joins and releases. May be NULL. */
void ob_shards_free(struct ob_shards *shards);

/* As of a runner. `error` may be NULL. */
enum ob_runner_phase ob_shards_phase(struct ob_shards *shards, struct ob_error *error);
/* How many there are, and what each does. */
uint32_t ob_shards_count(struct ob_shards *shards);
void ob_shards_stats(struct ob_shards *shards, uint32_t shard, struct ob_relay_stats *stats);

void ob_shards_drain(struct ob_shards *shards, int64_t deadline_ms);
void ob_shards_stop(struct ob_shards *shards);
void ob_shards_reopen(struct ob_shards *shards);
void ob_shards_poke(struct ob_shards *shards);

#endif
