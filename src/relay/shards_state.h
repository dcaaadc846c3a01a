/* The insides of a subscription's runners, shared by what is called from outside (shards.c) and by the thread that
   spreads the shards (shards_spread.c). */
#ifndef OB_RELAY_SHARDS_STATE_H
#define OB_RELAY_SHARDS_STATE_H

#include <pthread.h>

#include "handles.h"
#include "shards.h"
#include "share.h"

struct ob_shard_slot {
	struct ob_runner *runner;   /* NULL: not run here */
	bool gives_up;              /* it drains, so that another relay can have it */
	bool done;                  /* until idle: it was run until nothing was left */
	struct ob_relay_stats past; /* what the runners did that it had before: counts alone */
};

struct ob_shards {
	struct ob_shards_config config;
	const struct ob_store_ops *ops;
	struct ob_real_host host;
	uint64_t member; /* this relay, for this subscription */
	pthread_t thread;
	bool started;

	/* The thread's own. */
	struct ob_store_handle handle;
	bool is_open;
	uint32_t seen_shards; /* by the runner of shard 0: as ob_runner_shards */
	bool seen_changing;
	bool is_member;              /* the store was told so */
	uint32_t failures;           /* of starts, in a row */
	int64_t start_not_before_ms; /* one failed: others may have more luck with what is free */
	int64_t look_at_ms;
	struct ob_crew crew; /* as of the last look */
	struct ob_share share;
	uint32_t told_shards, told_next, told_members, told_target; /* in the last lines about it */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Below: under the lock. */
	struct ob_shard_slot
	    *slots;     /* OB_SHARDS_MAX of them, or one where the store knows no shards */
	uint32_t count; /* of shards, as last seen */
	bool news;
	bool joined; /* it looks; else it runs one shard, or stands by, and waits for news */
	bool draining;
	enum ob_runner_phase phase; /* where there is a thread */
	struct ob_error error;      /* what ended it */
};

void ob_shards_counts_add(struct ob_relay_stats *to, const struct ob_relay_stats *from);

/* The thread: `argument` is the shards. */
void *ob_shards_main(void *argument);

/* Makes a runner and puts it into its slot. `start`: starts it, too, and it is not the first, which makes the subscription.
   When it is asked to end meanwhile there is none, which is no error. */
int ob_shards_add(struct ob_shards *shards, uint32_t shard, bool start, struct ob_error *error);

#endif
