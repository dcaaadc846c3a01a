#include "threads.h"

#include <signal.h>
#include <string.h>

int
ob_thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument,
		struct ob_error *error)
{
	static const int faults[] = {SIGBUS, SIGSEGV, SIGILL, SIGFPE};
	sigset_t blocked, before;
	int failed;

	sigfillset(&blocked);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&blocked, faults[i]);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	failed = pthread_create(thread, NULL, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed != 0)
		return ob_error_set(error, OB_LIMIT, "cannot start a thread: %s", strerror(failed));
	return OB_OK;
}
