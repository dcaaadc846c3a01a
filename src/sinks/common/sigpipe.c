#include "sigpipe.h"

#include <time.h>

void
ob_sigpipe_begin(struct ob_sigpipe *guard)
{
	sigset_t pipe;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, &guard->before);
}

void
ob_sigpipe_end(const struct ob_sigpipe *guard)
{
	const struct timespec now = {0};
	sigset_t pipe;

	/* One that was blocked before is somebody else's to see. */
	if (sigismember(&guard->before, SIGPIPE) == 1)
		return;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	while (sigtimedwait(&pipe, NULL, &now) == SIGPIPE)
		;
	pthread_sigmask(SIG_SETMASK, &guard->before, NULL);
}
