#include "sink_trial.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "options.h"
#include "sinks.h"

unsigned trial_logged;
char trial_log[512];

static int64_t
clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t
monotonic_us(void *context)
{
	(void)context;
	return clock_us(CLOCK_MONOTONIC);
}

static int64_t
wall_us(void *context)
{
	(void)context;
	return clock_us(CLOCK_REALTIME);
}

static void
log_note(void *context, enum ob_log_level level, const char *text)
{
	(void)context;
	(void)level;
	trial_logged++;
	snprintf(trial_log, sizeof(trial_log), "%s", text);
}

static const struct ob_host host = {
    .monotonic_us = monotonic_us, .wall_us = wall_us, .log = log_note};

static int
sink_open(struct trial *trial, const struct ob_sink_ops *ops, const char *url,
	  const struct ob_callback *callback, const char *const *pairs)
{
	struct ob_sink_config config = {.url = url, .subscription = "trial", .callback = callback};
	struct ob_options options;

	*trial =
	    (struct trial){.sink = calloc(1, ops->size), .options = calloc(1, ops->options_size)};
	assert(trial->sink != NULL);
	assert(trial->options != NULL);
	trial->sink->ops = ops;
	trial->sink->host = &host;
	config.options = trial->options;
	assert(ob_options_begin(&options, ops->name, ops->options, trial->options, NULL) == OB_OK);
	for (; pairs != NULL && *pairs != NULL; pairs++)
		assert(ob_options_set_pair(&options, *pairs, NULL) == OB_OK);
	return ops->open(trial->sink, &config, &trial->error);
}

int
trial_open(struct trial *trial, const struct ob_sink_ops *ops, const char *url,
	   const char *const *options)
{
	return sink_open(trial, ops, url, NULL, options);
}

int
trial_open_callback(struct trial *trial, const struct ob_callback *callback,
		    const char *const *options)
{
	return sink_open(trial, &ob_sink_callback, "callback:", callback, options);
}

void
trial_close(struct trial *trial)
{
	trial->sink->ops->close(trial->sink);
	ob_options_free(trial->sink->ops->options, trial->options);
	free(trial->options);
	free(trial->sink);
}

struct ob_receipt
trial_send(struct trial *trial, const struct ob_message *message)
{
	struct ob_delivery delivery = {.ticket = 1, .message = message, .attempt = 3};
	struct ob_receipt receipt = {0};
	int64_t until_us = clock_us(CLOCK_MONOTONIC) + 10000000;
	size_t accepted;

	trial->sink->ops->submit(trial->sink, &delivery, 1, &accepted);
	assert(accepted == 1);
	while (trial->sink->ops->poll(trial->sink, 100, &receipt, 1) == 0)
		assert(clock_us(CLOCK_MONOTONIC) < until_us);
	assert(receipt.ticket == 1);
	return receipt;
}
