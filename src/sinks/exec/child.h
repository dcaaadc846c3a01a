/*
 * A process that was started by /bin/sh -c, with pipes to its standard streams, in a process group of its own.
 *
 * Everything belongs to one thread. Only the group of a process that was started here and not yet reaped is ever
 * signalled, so its number cannot have passed to another process.
 */
#ifndef OB_SINKS_CHILD_H
#define OB_SINKS_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* How much of the last line on its standard error is kept. */
#define OB_CHILD_SAID_MAX 256

struct ob_child {
	bool is_running; /* started, not reaped; the fields below count only then */
	pid_t pid;
	int exit_fd; /* readable when it ended (pidfd); -1 where the system has none: ask now and then */
	int in, out, err; /* our ends, non-blocking; -1 when closed */
	char said
	    [OB_CHILD_SAID_MAX]; /* the last line of its standard error that is not empty; kept after the end */
	size_t said_size;
	bool said_ended; /* the next byte begins a new line */
};

/* Starts `command`. With `with_out` its standard output comes to `out`, else to nowhere. 0 or an errno. */
int ob_child_start(struct ob_child *child, const char *command, char *const *environment,
		   bool with_out);
/* Reads what it said on its standard error. */
void ob_child_listen(struct ob_child *child);
/* True when it ended: it is reaped, `status` is as from waitpid (-1 if somebody else reaped it), the pipes to and from it
   but `out` are closed. Does not wait. */
bool ob_child_ended(struct ob_child *child, int *status);
/* Sends a signal to its group. */
void ob_child_signal(const struct ob_child *child, int number);
/* Waits at most `pause_ms` for its end; true when it has ended and is reaped. */
bool ob_child_wait(struct ob_child *child, int pause_ms);
void ob_child_close_in(struct ob_child *child);
void ob_child_close_out(struct ob_child *child);
/* Closes its input, then SIGTERM, then SIGKILL, with a pause of at most `pause_ms` between; reaps it. Safe on a zeroed struct. */
void ob_child_stop(struct ob_child *child, int pause_ms);

#endif
