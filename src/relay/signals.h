/*
 * The signals of a program that is a relay: SIGTERM and SIGINT drain, a second one ends at once, SIGHUP opens the
 * sinks' files again. For the command line alone; an embedded relay leaves signals to its program.
 */
#ifndef OB_RELAY_SIGNALS_H
#define OB_RELAY_SIGNALS_H

#include <outbox/relay.h>

struct ob_signals {
	int fd;
};

/* Blocks the four signals (SIGPIPE with them) in this thread and all that it makes: to be called before any other thread starts. */
int ob_signals_open(struct ob_signals *signals, struct ob_error *error);
void ob_signals_close(struct ob_signals *signals);

/*
 * Waits for the relay's end and heeds signals meanwhile. Returns as ob_relay_wait does. On a second SIGTERM or SIGINT it
 * returns OB_BUSY and sets `*killed_by` to the signal: the caller ends the process by _exit without freeing
 * the relay. `tick`, if not NULL, is called every `tick_ms` (progress, status).
 */
int ob_signals_run(struct ob_signals *signals, struct ob_relay *relay, int64_t drain_ms,
		   int *killed_by, void (*tick)(void *context), void *context, int tick_ms,
		   struct ob_error *error);

#endif
