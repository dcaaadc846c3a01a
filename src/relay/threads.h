#ifndef OB_RELAY_THREADS_H
#define OB_RELAY_THREADS_H

#include <outbox/error.h>
#include <pthread.h>

/* Starts a thread with all signals blocked, which are for the program to heed, but those that tell of a fault of the
   thread's own: a fault whose signal is blocked ends the process without a word to a handler that it may have. */
int ob_thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument,
		    struct ob_error *error);

#endif
