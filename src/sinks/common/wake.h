/* What ends a poll that waits: a bell that any thread may ring. All but the ring belongs to the
 * sink's thread. */
#ifndef OB_SINKS_WAKE_H
#define OB_SINKS_WAKE_H

#include <outbox/error.h>
#include <stdbool.h>

struct ob_wake {
	int fd; /* readable when it was rung */
	bool is_open;
};

int ob_wake_open(struct ob_wake *wake, struct ob_error *error);
/* Safe on a zeroed struct. */
void ob_wake_close(struct ob_wake *wake);
/* From any thread, between open and close; elsewhere it does nothing. */
void ob_wake_ring(struct ob_wake *wake);
/* Waits until it was rung, or the time is up; takes the ring away. */
void ob_wake_wait(struct ob_wake *wake, int timeout_ms);
/* Takes the ring away, for those that wait for `fd` among others. */
void ob_wake_clear(struct ob_wake *wake);

#endif
