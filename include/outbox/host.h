/*
 * What a store or a sink may ask of the process that runs it. Stores and sinks read no clock, draw no
 * randomness and start no thread of their own; they ask here. That is what lets the same code run under
 * a test's clock.
 *
 * All functions may be called from the thread that calls the store or sink, at any time between open and
 * close; `log` from any thread. None of them blocks.
 */
#ifndef OUTBOX_HOST_H
#define OUTBOX_HOST_H

#include <outbox/api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ob_log_level { OB_LOG_ERROR = 0, OB_LOG_WARN, OB_LOG_INFO, OB_LOG_DEBUG };

struct ob_host {
	void *context;
	/* Microseconds that only rise, from an unknown start. */
	int64_t (*monotonic_us)(void *context);
	/* Microseconds since 1970 UTC; may jump. For time stamps that others read, never for waiting. */
	int64_t (*wall_us)(void *context);
	/* Fills `size` bytes from the system's entropy. Cannot fail (the process ends if there is none). */
	void (*random)(void *context, void *bytes, size_t size);
	/* One line, without a newline. Never a payload, never a secret. */
	void (*log)(void *context, enum ob_log_level level, const char *text);
};

#ifdef __cplusplus
}
#endif
#endif
