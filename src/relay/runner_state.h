/* The insides of a runner, shared by its loop (runner.c) and by what is called from outside (runner_control.c). */
#ifndef OB_RELAY_RUNNER_STATE_H
#define OB_RELAY_RUNNER_STATE_H

#include <pthread.h>

#include "engine.h"
#include "handles.h"
#include "runner.h"
#include "store_thread.h"

#define RECEIPTS_MAX 1024
/* Empty batches kept for the next fetch: as many as a full window of large ones needs. */
#define BATCHES_KEPT 4

/* What was asked of the runner from outside. Under the lock. */
struct commands {
	bool drain, stop, reopen, poke;
	int64_t deadline_at_ms;
};

struct ob_runner {
	struct ob_runner_config config;
	struct ob_real_host host;
	struct ob_sink_handle sink;
	char sink_shown[256]; /* its URL without secrets */
	struct ob_store_thread *store;
	pthread_t thread;
	bool started;

	/* The loop thread's own. */
	struct ob_engine *engine;
	struct ob_engine_stats engine_stats;
	struct ob_state_report report;
	struct ob_receipt receipts[RECEIPTS_MAX];
	struct ob_batch *kept[BATCHES_KEPT];
	size_t kept_count;
	size_t batches_out;
	uint32_t fetch_rows;
	bool
	    fetch_was_cut; /* the fetch under way asks for no rows of the log, for want of batches */
	bool log_unread;   /* the last fetch was such a one */
	bool sink_full;
	bool draining, drained, failed;
	int64_t wake_at_ms;
	int64_t abandon_at_ms, give_up_at_ms;
	int64_t sum_up_at_ms;
	struct ob_error store_error; /* the last one, for people */

	pthread_mutex_t lock;
	/* Below: under the lock. */
	enum ob_runner_phase phase;
	bool wakeable; /* the sink is open */
	struct commands commands;
	struct ob_error error;       /* what ended it */
	struct ob_relay_stats stats; /* `shards` 0: not known yet */
	bool shards_changing;
	int64_t state_since_ms;
};

/* Sink, engine and store, in this order; waits for the store to answer. OB_OK and `drained`: it was asked to end meanwhile. */
int ob_runner_open(struct ob_runner *runner, struct ob_error *error);
/* And tells of it. */
void ob_runner_set_phase(struct ob_runner *runner, enum ob_runner_phase phase);
/* Whatever of it is open. Releases the lease. */
void ob_runner_close(struct ob_runner *runner);
/* The loop thread: `argument` is the runner. */
void *ob_runner_main(void *argument);

#endif
