/*
 * Lines that are said again and again: a recipient that comes and goes, a store that fails each second. Each kind of line is
 * let pass a few times in a while; what is held back is counted, and at the end of the while the last of each kind is said with the
 * count, in the order in which they came last, so that what is said last is what is so.
 *
 * Lines are of one kind when they begin alike up to the second ": ": "down: connect_refused: " and whatever follows.
 *
 * Pure: the caller has the clock and says the lines.
 */
#ifndef OB_BASE_REPEATS_H
#define OB_BASE_REPEATS_H

#include <outbox/host.h>
#include <stdbool.h>

#define OB_REPEATS_WHILE_MS     60000
#define OB_REPEATS_OF_KIND      5 /* pass in the first while; one does in each that follows */
#define OB_REPEATS_KINDS_MAX    16
#define OB_REPEATS_LINE_SIZE    512
#define OB_REPEATS_SUMMARY_SIZE (OB_REPEATS_LINE_SIZE + 64)

struct ob_repeat {
	char line[OB_REPEATS_LINE_SIZE]; /* the first one; once some are held back, the last one */
	enum ob_log_level level;
	unsigned passed, held;
	uint64_t held_at; /* a count, for the order */
};

/* Zeroed: nothing was said. */
struct ob_repeats {
	struct ob_repeat kinds[OB_REPEATS_KINDS_MAX];
	unsigned count;
	int64_t since_ms; /* when the while began, if count > 0 */
	uint64_t clock;
};

/* Whether the line is to be said. What ob_repeats_next gives must have been taken before. */
bool ob_repeats_pass(struct ob_repeats *repeats, int64_t now_ms, enum ob_log_level level,
		     const char *line);

/* Once the while is over (or at once, if `ends`): the next line that sums up what was held back. False: there is none, and
   a new while begins. `out` has OB_REPEATS_SUMMARY_SIZE bytes. */
bool ob_repeats_next(struct ob_repeats *repeats, int64_t now_ms, bool ends,
		     enum ob_log_level *level, char *out);

#endif
