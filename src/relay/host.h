/*
 * The real world behind struct ob_host: the system's clocks, its entropy, and where lines for people go. Only this
 * folder (and the producers, for ids) reads a clock or draws randomness; everyone else asks a host.
 */
#ifndef OB_RELAY_HOST_H
#define OB_RELAY_HOST_H

#include <outbox/host.h>
#include <outbox/store.h>
#include <pthread.h>

#include "repeats.h"

/* Where lines go. Any number of hosts may share it, on any threads: it lets one line through at a time, and of those that
   repeat themselves only some (see repeats.h; not at level debug, which is asked for). */
struct ob_host_log {
	pthread_mutex_t lock;
	void (*write)(void *context, enum ob_log_level level, const char *text); /* NULL: nowhere */
	void *context;
};

/* A host whose lines begin with "<name>: ". */
struct ob_real_host {
	struct ob_host host;
	struct ob_host_log *log;
	/* Below: under the log's lock. */
	char name[OB_SUBSCRIPTION_NAME_MAX + 8];
	struct ob_repeats repeats;
};

void ob_host_log_init(struct ob_host_log *log,
		      void (*write)(void *context, enum ob_log_level level, const char *text),
		      void *context);
void ob_host_log_free(struct ob_host_log *log);

/* `log` must outlive the host and may be NULL; `name` is copied, NULL: no prefix. */
void ob_real_host_init(struct ob_real_host *host, struct ob_host_log *log, const char *name);

/* From now on its lines begin so. On any thread. */
void ob_real_host_rename(struct ob_real_host *host, const char *name);

/* Writes a line through the host. */
void ob_host_say(const struct ob_host *host, enum ob_log_level level, const char *format, ...)
    OB_PRINTF(3, 4);

/* Says what is to be said of lines that were held back: to be called now and then, and at the end with `ends`. */
void ob_real_host_sum_up(struct ob_real_host *host, bool ends);

/* Milliseconds that only rise. */
int64_t ob_now_ms(void);
/* So long from now, and INT64_MAX, which is never, at most. */
int64_t ob_later_ms(int64_t wait_ms);

#endif
