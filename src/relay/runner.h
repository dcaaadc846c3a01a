/*
 * One shard of a subscription at work (of most subscriptions there is one shard alone): its loop thread, which runs the engine and the sink, and its store thread (store_thread.h).
 *
 * The loop sleeps in the sink's poll. What has news for it (the store thread, a command from outside) leaves it
 * where the loop will look and wakes the sink.
 *
 * The commands may be given from any thread between start and free.
 */
#ifndef OB_RELAY_RUNNER_H
#define OB_RELAY_RUNNER_H

#include <outbox/relay.h>

#include "host.h"

struct ob_runner;

struct ob_runner_config {
	const struct ob_relay_subscription
	    *subscription; /* and its strings: must outlive the runner */
	uint32_t shard;
	uint64_t member;    /* as its lease is to say; 0: nobody's */
	bool is_subscribed; /* the subscription was made already, by another runner of this relay */
	const char *owner;
	struct ob_host_log *log;
	bool until_idle;
	/* Called on the loop thread: when the start is decided, when ob_runner_shards changes, at the end. */
	void (*changed)(void *context);
	void *context;
};

enum ob_runner_phase {
	OB_RUNNER_NEW = 0,
	OB_RUNNER_STARTING,
	OB_RUNNER_RUNNING,
	OB_RUNNER_ENDED,  /* after it ran, however short */
	OB_RUNNER_FAILED, /* ended before it ran */
};

/* Checks what can be checked without asking anyone. */
int ob_runner_new(const struct ob_runner_config *config, struct ob_runner **runner,
		  struct ob_error *error);
int ob_runner_start(struct ob_runner *runner, struct ob_error *error);
/* Stops it if it runs, and waits for its threads. */
void ob_runner_join(struct ob_runner *runner);
/* Joins and releases. May be NULL. */
void ob_runner_free(struct ob_runner *runner);

/* `error` gets what ended it, code OB_OK when it ended well; only meaningful once ended. May be NULL. */
enum ob_runner_phase ob_runner_phase(struct ob_runner *runner, struct ob_error *error);
void ob_runner_stats(struct ob_runner *runner, struct ob_relay_stats *stats);
/* How many shards the subscription has, as the store last said; 0: it has not yet. `*changing`: that is being changed. */
uint32_t ob_runner_shards(struct ob_runner *runner, bool *changing);

void ob_runner_drain(struct ob_runner *runner, int64_t deadline_ms);
void ob_runner_stop(struct ob_runner *runner);
void ob_runner_reopen(struct ob_runner *runner);
void ob_runner_poke(struct ob_runner *runner);

#endif
