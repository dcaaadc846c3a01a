/* A host with the clock of the system, and a way to open a sink with options given as text. */
#ifndef OB_TESTS_SINK_HOST_H
#define OB_TESTS_SINK_HOST_H

#include <outbox/relay.h>
#include <outbox/sink.h>

struct trial {
	struct ob_sink *sink;
	void *options;
	struct ob_error error;
};

/* How many lines sinks have logged, and the last one. */
extern unsigned trial_logged;
extern char trial_log[512];

/* Opens a sink; `options` are "NAME=VALUE", NULL at the end, or NULL. Returns what open did. */
int trial_open(struct trial *trial, const struct ob_sink_ops *ops, const char *url,
	       const char *const *options);
void trial_close(struct trial *trial);
/* The same of `callback:`. */
int trial_open_callback(struct trial *trial, const struct ob_callback *callback,
			const char *const *options);
/* Submits one message, polls until its receipt is there (ten seconds at most) and returns it. */
struct ob_receipt trial_send(struct trial *trial, const struct ob_message *message);

#endif
