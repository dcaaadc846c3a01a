/*
 * Whose turn it is among the sinks of a process that write to the same descriptor, as those of a subscription's shards do.
 * Who has begun something that must not be broken keeps the turn until it is whole.
 *
 * Nobody waits here: who is told to wait asks again. Who has had the turn lets those first who asked meanwhile. Each call
 * may come from another thread than those of the other sinks.
 */
#ifndef OB_SINKS_TURN_H
#define OB_SINKS_TURN_H

#include <stdbool.h>

struct ob_turn {
	struct ob_turn *next;
	int fd;
	bool is_open;
	bool is_ours;
	bool waits; /* it asked and did not get it */
};

/* `turn` stays where it is until it is closed. */
void ob_turn_open(struct ob_turn *turn, int fd);
/* Safe on a zeroed struct; gives the turn back. */
void ob_turn_close(struct ob_turn *turn);
/* Whether it is ours, now or already. */
bool ob_turn_take(struct ob_turn *turn);
/* Gives it back, or asks no more. */
void ob_turn_end(struct ob_turn *turn);

#endif
