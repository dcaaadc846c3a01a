/*
 * Writing to a pipe whose reader is gone must be an error code, not the end of the program. The
 * relay's own threads block all signals, but an embedding program may call from a thread that does
 * not.
 */
#ifndef OB_SINKS_SIGPIPE_H
#define OB_SINKS_SIGPIPE_H

#include <signal.h>

struct ob_sigpipe {
	sigset_t before; /* the thread's mask */
};

/* Holds SIGPIPE back in this thread, until `end` discards what came meanwhile. Not nested. */
void ob_sigpipe_begin(struct ob_sigpipe *guard);
void ob_sigpipe_end(const struct ob_sigpipe *guard);

#endif
