#include "host.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "check.h"
#include "text.h"

#define LINE_MAX_SIZE 1024

static int64_t
clock_us(clockid_t id)
{
	struct timespec at;

	OB_CHECK(clock_gettime(id, &at) == 0);
	return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

static int64_t
host_monotonic_us(void *context)
{
	(void)context;
	return clock_us(CLOCK_MONOTONIC);
}

static int64_t
host_wall_us(void *context)
{
	(void)context;
	return clock_us(CLOCK_REALTIME);
}

static void
host_random(void *context, void *bytes, size_t size)
{
	char *to = bytes;

	(void)context;
	while (size > 0) {
		ssize_t got = getrandom(to, size, 0);

		/* Only a signal can cut it short; without entropy there is no safe way on. */
		if (got < 0) {
			OB_CHECK(errno == EINTR);
			continue;
		}
		to += got;
		size -= (size_t)got;
	}
}

/* Under the log's lock. */
static void
line_write(struct ob_real_host *host, enum ob_log_level level, const char *text)
{
	char line[LINE_MAX_SIZE];

	if (host->name[0] != '\0') {
		snprintf(line, sizeof(line), "%s: %s", host->name, text);
		text = line;
	}
	host->log->write(host->log->context, level, text);
}

/* Under the log's lock. */
static void
sum_up(struct ob_real_host *host, int64_t now_ms, bool ends)
{
	char line[OB_REPEATS_SUMMARY_SIZE];
	enum ob_log_level level;

	while (ob_repeats_next(&host->repeats, now_ms, ends, &level, line))
		line_write(host, level, line);
}

static void
host_log(void *context, enum ob_log_level level, const char *text)
{
	struct ob_real_host *host = context;
	int64_t now_ms = ob_now_ms();

	if (host->log == NULL || host->log->write == NULL)
		return;
	pthread_mutex_lock(&host->log->lock);
	sum_up(host, now_ms, false);
	if (level == OB_LOG_DEBUG || ob_repeats_pass(&host->repeats, now_ms, level, text))
		line_write(host, level, text);
	pthread_mutex_unlock(&host->log->lock);
}

void
ob_real_host_sum_up(struct ob_real_host *host, bool ends)
{
	if (host->log == NULL || host->log->write == NULL)
		return;
	pthread_mutex_lock(&host->log->lock);
	sum_up(host, ob_now_ms(), ends);
	pthread_mutex_unlock(&host->log->lock);
}

void
ob_host_log_init(struct ob_host_log *log,
		 void (*write)(void *context, enum ob_log_level level, const char *text),
		 void *context)
{
	pthread_mutex_init(&log->lock, NULL);
	log->write = write;
	log->context = context;
}

void
ob_host_log_free(struct ob_host_log *log)
{
	pthread_mutex_destroy(&log->lock);
}

void
ob_real_host_init(struct ob_real_host *host, struct ob_host_log *log, const char *name)
{
	*host = (struct ob_real_host){.log = log};
	host->host = (struct ob_host){
	    .context = host,
	    .monotonic_us = host_monotonic_us,
	    .wall_us = host_wall_us,
	    .random = host_random,
	    .log = host_log,
	};
	ob_text_copy(host->name, sizeof(host->name), name != NULL ? name : "");
}

void
ob_real_host_rename(struct ob_real_host *host, const char *name)
{
	if (host->log == NULL)
		return;
	pthread_mutex_lock(&host->log->lock);
	ob_text_copy(host->name, sizeof(host->name), name);
	pthread_mutex_unlock(&host->log->lock);
}

void
ob_host_say(const struct ob_host *host, enum ob_log_level level, const char *format, ...)
{
	char line[LINE_MAX_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	host->log(host->context, level, line);
}

int64_t
ob_now_ms(void)
{
	return clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t
ob_later_ms(int64_t wait_ms)
{
	int64_t now = ob_now_ms();

	return wait_ms < INT64_MAX - now ? now + wait_ms : INT64_MAX;
}
