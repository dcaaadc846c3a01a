/*
 * A world for stories about the engine, in virtual time. The test plays the store and the sink, and reads what the
 * engine asks for as text:
 *
 *	acquire | fetch | parked fetch | submit a1 b1 | settle 3 park:a1 behind:a2 | cancel | flush | free |
 *	report down: refused | drained
 *
 * Messages are named by their key and a number ("a1"); a name that begins with '-' has no key. SUBMIT is accepted
 * at once, up to `accepts`.
 */
#ifndef ENGINE_WORLD_H
#define ENGINE_WORLD_H

#include "engine.h"

#define WORLD_FLIGHTS 8192

struct world_flight {
	char name[16];
	uint64_t ticket;
};

struct world {
	struct ob_engine_config config;
	struct ob_engine *engine;
	int64_t now_ms;
	int64_t wake_ms;
	uint64_t ordinal;
	bool more;
	bool passed;
	int64_t next_due_ms;
	struct ob_acquired acquired;
	int64_t acquire_at_ms; /* not before */
	struct ob_parked_lane lanes[16];
	struct ob_fetch fetch;
	uint32_t accepts;
	struct world_flight flights[WORLD_FLIGHTS];
	uint32_t flight_count;
	uint32_t batches; /* that the engine holds */
	char told[4096];
};

/* Small limits, no jitter; change w->config before world_start. */
void world_init(struct world *w);
/* START, ACQUIRED; nothing told is kept. */
void world_start(struct world *w);
void world_end(struct world *w);

/* The rows of the next FETCHED: log rows "a1 b1", parked rows "*a1" (with so many tries: "*a1/2", one that waited for its time: "*a1@"), and log rows that
   are due in some seconds "a1+5", that are too large "a1!", that a replay brings "a1~". "" for none. */
void world_fetched(struct world *w, const char *rows);
void world_receipt(struct world *w, const char *names, enum ob_fate fate);
/* One with all its fields. */
void world_receipt_as(struct world *w, const char *name, struct ob_receipt receipt);
void world_settled(struct world *w, enum ob_code code);
void world_fetch_failed(struct world *w, enum ob_code code);
void world_acquired(struct world *w, enum ob_code code);
void world_renewed(struct world *w, enum ob_code code);
void world_event(struct world *w, enum ob_event_kind kind);
/* So much time goes by; TIMER whenever the engine wants it. */
void world_wait(struct world *w, int64_t ms);

/* What was told since the last call is just that. */
void world_expect_at(struct world *w, const char *text, const char *file, int line);
#define world_expect(w, text) world_expect_at(w, text, __FILE__, __LINE__)
struct ob_engine_stats world_stats(struct world *w);

/* Called around each step of the engine; do nothing unless a test program has its own. */
void world_step_begins(void);
void world_step_ends(void);

#endif
