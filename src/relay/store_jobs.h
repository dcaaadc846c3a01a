/* The insides of a store thread, shared by the thread (store_thread.c) and its jobs (store_jobs.c). */
#ifndef OB_RELAY_STORE_JOBS_H
#define OB_RELAY_STORE_JOBS_H

#include <pthread.h>

#include "handles.h"
#include "store_thread.h"

/* A renewal or a trim that found the store busy is tried again so soon. */
#define BUSY_PAUSE_MS 100
#define NEVER         INT64_MAX

struct fetch_order {
	bool placed;
	bool may_wait;
	bool found_nothing; /* was tried; now waits */
	int64_t try_at_ms;  /* a parked head is due then */
	struct ob_fetch fetch;
	struct ob_batch *batch;
};

struct ob_store_thread {
	struct ob_store_thread_config config;
	struct ob_store_handle handle;
	struct ob_parked_lane *lanes;
	pthread_t thread;
	bool started;

	/* The store thread's own. */
	bool connected;
	bool subscribed;
	bool held;
	int64_t renew_at_ms;
	int64_t reported_at_ms;
	int64_t trim_at_ms;
	int64_t look_at_ms;          /* not sooner for a person's change */
	struct ob_batch *look_batch; /* for fetches of nothing */
	bool passed_told; /* the engine knows that rows of no interest await their settle */
	uint64_t settled_through;
	bool trim_wanted;
	unsigned empty_fetches;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Below: under the lock. */
	bool end;
	bool release;
	bool acquire;
	int64_t acquire_at_ms;
	const struct ob_settle *settle;
	struct fetch_order fetch;
	bool stop_waiting; /* once */
	bool never_wait;   /* from now on */
	bool in_wait;      /* the thread is in the store's wait, or about to be */
	bool state_changed;
	struct ob_store_thread_state state;
	struct ob_store_answer answers[OB_STORE_ANSWERS_MAX];
	size_t answer_count;
	struct ob_store_thread_stats stats;
};

/* The jobs: each makes one call to the store, posts its answer and remembers what follows from it. */
int ob_store_job_connect(struct ob_store_thread *thread, struct ob_error *error);
void ob_store_job_acquire(struct ob_store_thread *thread);
void ob_store_job_renew(struct ob_store_thread *thread);
void ob_store_job_settle(struct ob_store_thread *thread);
void ob_store_job_fetch(struct ob_store_thread *thread);
/* Answers the fetch with what its batch holds. */
void ob_store_job_hand_back(struct ob_store_thread *thread, int code, const struct ob_error *error);
void ob_store_job_trim(struct ob_store_thread *thread);
/* Has a person changed something? */
void ob_store_job_look(struct ob_store_thread *thread);
/* Sleeps in the store; `timeout_ms` at most. Returns the store's code. */
int ob_store_job_wait(struct ob_store_thread *thread, int64_t timeout_ms, struct ob_error *error);
/* What nobody has asked for has failed: the engine hears of it as of a renewal. */
void ob_store_job_post_failed(struct ob_store_thread *thread, int code,
			      const struct ob_error *error);
/* AWAITED: the code of the first try. */
void ob_store_job_post_awaited(struct ob_store_thread *thread, int code,
			       const struct ob_error *error);
/* OPENED, with its code. */
void ob_store_job_post_opened(struct ob_store_thread *thread, int code,
			      const struct ob_error *error);

#endif
