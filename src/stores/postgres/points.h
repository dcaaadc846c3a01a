/*
 * Snapshots, and the points between which a subscription reads: see interval.c for what they mean. Pure, but for memory.
 */
#ifndef OB_POSTGRES_POINTS_H
#define OB_POSTGRES_POINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/* How many intervals may be open at once; and how many earlier points are remembered to find where a late one begins. */
#define POSTGRES_POINTS_MAX  1024
#define POSTGRES_HISTORY_MAX 16

/* A pg_snapshot, "xmin:xmax:xip,xip,...". */
struct postgres_snapshot {
	char *text;
	uint64_t xmin; /* all below had ended */
	uint64_t xmax; /* it and all above had not */
	uint64_t *xip; /* in progress, ascending */
	size_t xip_count;
};

/* False when the text is none, or there is no memory; the snapshot is zeroed then. */
bool ob_postgres_snapshot_parse(struct postgres_snapshot *snapshot, const char *text);
void ob_postgres_snapshot_free(struct postgres_snapshot *snapshot);
/* The transaction had not ended when the snapshot was taken. */
bool ob_postgres_snapshot_in_progress(const struct postgres_snapshot *snapshot, uint64_t xid);

struct postgres_point {
	uint64_t number; /* the stretch (reading.h) that begins here */
	struct postgres_snapshot snapshot;
	int64_t q;    /* a number that was drawn before the snapshot was taken */
	int64_t high; /* no row that the snapshot sees has a higher one */
	uint64_t
	    own; /* a transaction of our own that began after q and ended before the snapshot; 0: not known */
};

struct postgres_points {
	struct postgres_point items[POSTGRES_POINTS_MAX];
	size_t head, count;
	struct {
		uint64_t own;
		int64_t q;
	} history[POSTGRES_HISTORY_MAX];
	size_t history_count; /* all that were ever remembered */
};

void ob_postgres_points_clear(struct postgres_points *points);
bool ob_postgres_points_full(const struct postgres_points *points);
/* Takes the snapshot, which is zeroed. False when it is full. */
bool ob_postgres_points_add(struct postgres_points *points, struct postgres_snapshot *snapshot,
			    uint64_t number, int64_t q, int64_t high, uint64_t own);
/* NULL if there is none of this number. */
const struct postgres_point *ob_postgres_points_get(const struct postgres_points *points,
						    uint64_t number);
/* The newest; there must be one. */
const struct postgres_point *ob_postgres_points_last(const struct postgres_points *points);
/* Forgets those below `number`. */
void ob_postgres_points_drop(struct postgres_points *points, uint64_t number);

/*
 * Writes the transactions that were in progress at `from` and had ended at `to` as an array's text, "{12,15}". Returns
 * the number at or below which none of the interval's rows stands; -1 when that is not known.
 */
int64_t ob_postgres_points_late(const struct postgres_points *points,
				const struct postgres_point *from,
				const struct postgres_snapshot *to, struct ob_buf *members);

#endif
