/*
 * How far a subscription was read, and what each ordinal stands for: what the stores whose log is read by
 * numbers have in common.
 *
 * The log is read upwards from the checkpoint. A replay is one more reading of an old stretch that comes
 * first: from `replay` up to and with `replay_end`, and then the log goes on where it was. A mark
 * says how far both are; the checkpoint is the mark behind the last settled ordinal.
 *
 * Each row that is handed out gets the next ordinal, and the mark that holds once it is settled. Rows
 * of no interest only move the mark, so they are covered by the ordinal behind them, or by a settle
 * when no ordinal is left open.
 *
 * A store whose order is not that of the numbers alone reads the log in stretches (PostgreSQL's snapshot intervals), one
 * after another and each upwards. For all others there is one stretch, 0.
 *
 * Positions are above 0. Pure; used by the store's one thread.
 */
#ifndef OB_STORES_READING_H
#define OB_STORES_READING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB_NO_REPLAY (-1)

struct ob_mark {
	int64_t log;    /* everything up to here, but for what the replay still has to read again */
	int64_t replay; /* everything up to here was read again; OB_NO_REPLAY: there is none */
	uint64_t stretch; /* that `log` lies in; all of those before it */
};

bool ob_mark_equal(struct ob_mark a, struct ob_mark b);

struct ob_ordinal {
	int64_t position;
	struct ob_mark after; /* once this one and all before it are settled */
	uint32_t replays;     /* the replay that `after` speaks of */
};

struct ob_reading {
	struct ob_mark settled; /* as the store has it */
	struct ob_mark read;
	int64_t replay_end;
	uint32_t replays; /* counts replays: marks of an earlier one say nothing about this one */
	uint64_t last_ordinal;
	/* The open ordinals, a ring that grows to the limit. */
	struct ob_ordinal *items;
	size_t capacity, head, count;
};

/* The greatest number of open ordinals: far above any window. */
#define OB_READING_OPEN_MAX (1u << 20)

/* Begins anew at the checkpoint that the store has; ordinals start at 1. */
void ob_reading_start(struct ob_reading *reading, struct ob_mark checkpoint, int64_t replay_end);
/* A person may have asked for a replay meanwhile; open ordinals stand. */
void ob_reading_go_on(struct ob_reading *reading, int64_t replay, int64_t replay_end);
void ob_reading_free(struct ob_reading *reading);

/* The position behind which to read, and up to which (INT64_MAX: no end). */
int64_t ob_reading_from(const struct ob_reading *reading);
int64_t ob_reading_to(const struct ob_reading *reading);
/* What is read next is read for a replay. */
bool ob_reading_replays(const struct ob_reading *reading);
/* The row at `position` was read and is handed out: its ordinal; 0 when too many are open. */
uint64_t ob_reading_add(struct ob_reading *reading, int64_t position);
/* The row at `position` was read and is of no interest. */
void ob_reading_pass(struct ob_reading *reading, int64_t position);
/* Nothing is left of the stretch: reading goes on at the beginning of the next. */
void ob_reading_next_stretch(struct ob_reading *reading);
/* Nothing is left between from and to. True if that ended a replay, so that there may be more behind it. */
bool ob_reading_end(struct ob_reading *reading);

/* Where a fetch began, so that one that fails halfway leaves no trace. */
struct ob_reading_point {
	struct ob_mark read;
	uint64_t last_ordinal;
	size_t count;
};
struct ob_reading_point ob_reading_point(const struct ob_reading *reading);
void ob_reading_undo(struct ob_reading *reading, struct ob_reading_point point);

/* The position of an open ordinal, 0 if it is not open. */
int64_t ob_reading_position(const struct ob_reading *reading, uint64_t ordinal);
/* The checkpoint that a settle through `ordinal` would write. */
struct ob_mark ob_reading_mark(const struct ob_reading *reading, uint64_t ordinal);
/* That settle was done. */
void ob_reading_settled(struct ob_reading *reading, uint64_t ordinal);
/* Rows were read past that a settle, even of nothing new, would save from being read again. */
bool ob_reading_passed(const struct ob_reading *reading);

#endif
