/*
 * exec: runs a program of the user's. COMMAND is what /bin/sh -c takes, since that is what people who write a
 * command expect; what a message holds is never part of it, but goes through the standard input and the environment.
 *
 * mode=each (each.c): the program is run once for each message, with the payload on its standard input and
 * OUTBOX_ID, OUTBOX_TOPIC, OUTBOX_KEY, OUTBOX_TYPE, OUTBOX_CONTENT_TYPE, OUTBOX_HEADERS (as stored),
 * OUTBOX_CREATED_AT, OUTBOX_ATTEMPT, OUTBOX_SUBSCRIPTION in its environment; what is absent is not set;
 * OUTBOX_TOMBSTONE=1 tells a tombstone from an empty payload. Its exit code is the receipt:
 *
 *	0          sent: the program keeps the message
 *	65         reject (EX_DATAERR): it never will
 *	69         down (EX_UNAVAILABLE): nothing works at present
 *	77, 78     blocked (EX_NOPERM, EX_CONFIG), and 126, 127, which are the shell's: a person must act
 *	others     retry, 75 (EX_TEMPFAIL) among them
 *	a signal   unknown, also the one that it gets when its time is up
 *
 * The last line on its standard error is the reason that people see. What it prints on its standard output goes nowhere.
 *
 * mode=lines (lines.c): one program for all messages, fed with lines of JSON.
 *
 * Kept: when the program says so. Duplicates: to be dropped by the id. Order: see each.c and lines.c.
 */
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exec_sink.h"
#include "sigpipe.h"
#include "sinks.h"

#define CONCURRENCY_MAX 256

struct exec_options {
	int mode;
	int64_t concurrency;
	int64_t in_flight;
	int64_t timeout_ms;
};

static const char *const exec_modes[] = {"each", "lines", NULL};
static const struct exec_way *const exec_ways[] = {&exec_each, &exec_lines};

static const struct ob_option exec_option_table[] = {
    {.name = "mode",
     .type = OB_OPTION_ENUM,
     .default_text = "each",
     .help =
	 "each: the program is run for each message; lines: one program is fed with lines of JSON.",
     .field = offsetof(struct exec_options, mode),
     .choices = exec_modes},
    {.name = "concurrency",
     .type = OB_OPTION_INT,
     .default_text = "4",
     .help = "The most programs at once, with mode=each.",
     .field = offsetof(struct exec_options, concurrency),
     .min = 1,
     .max = CONCURRENCY_MAX},
    {.name = "in-flight",
     .type = OB_OPTION_INT,
     .default_text = "256",
     .help = "The most messages that the program has not answered yet, with mode=lines.",
     .field = offsetof(struct exec_options, in_flight),
     .min = 1,
     .max = OB_SINK_IN_FLIGHT_MAX},
    {.name = "request-timeout",
     .type = OB_OPTION_DURATION,
     .default_text = "15s",
     .help =
	 "How long a message may take before the program gets SIGTERM, and SIGKILL a second later.",
     .field = offsetof(struct exec_options, timeout_ms),
     .min = 1,
     .max = 86400000},
    {0},
};

static bool
is_ours(const char *variable)
{
	for (size_t i = 0; exec_variables[i] != NULL; i++) {
		size_t size = strlen(exec_variables[i]);

		if (strncmp(variable, exec_variables[i], size) == 0 && variable[size] == '=')
			return true;
	}
	return false;
}

/* A copy of our environment, since the program around us may change it meanwhile. */
static bool
copy_environment(struct exec_sink *exec)
{
	size_t count = 0;

	while (environ != NULL && environ[count] != NULL)
		count++;
	exec->environment = calloc(count + 1, sizeof(exec->environment[0]));
	if (exec->environment == NULL)
		return false;
	for (size_t i = 0; i < count; i++) {
		char *copy;

		if (is_ours(environ[i]))
			continue;
		copy = strdup(environ[i]);
		if (copy == NULL)
			return false;
		exec->environment[exec->environment_count++] = copy;
	}
	return true;
}

static int
exec_open(struct ob_sink *sink, const struct ob_sink_config *config, struct ob_error *error)
{
	struct exec_sink *exec = (struct exec_sink *)sink;
	const struct exec_options *options = config->options;
	const char *command = config->url + strlen("exec:");
	int64_t in_flight = options->mode == 0 ? options->concurrency : options->in_flight;
	const struct exec_way *way = exec_ways[options->mode];

	if (command[strspn(command, " \t\n")] == '\0')
		return ob_error_set(error, OB_CONFIG,
				    "sink exec: has no command; write exec:COMMAND");
	exec->way = way;
	exec->timeout_us = options->timeout_ms * 1000;
	exec->command = strdup(command);
	exec->subscription = config->subscription == NULL ? NULL : strdup(config->subscription);
	exec->fds = calloc((size_t)(in_flight + 1) * way->watched_max + 1, sizeof(exec->fds[0]));
	if (exec->command == NULL || exec->fds == NULL || !copy_environment(exec) ||
	    !way->open(exec, (uint32_t)in_flight))
		return ob_error_set(error, OB_NOMEM, "sink exec: no memory");
	return ob_wake_open(&exec->wake, error);
}

static void
exec_close(struct ob_sink *sink)
{
	struct exec_sink *exec = (struct exec_sink *)sink;

	if (exec->way != NULL)
		exec->way->close(exec);
	ob_wake_close(&exec->wake);
	for (size_t i = 0; i < exec->environment_count; i++)
		free(exec->environment[i]);
	free(exec->environment);
	free(exec->command);
	free(exec->subscription);
	free(exec->fds);
	exec->way = NULL;
	exec->environment = NULL;
	exec->environment_count = 0;
	exec->command = exec->subscription = NULL;
	exec->fds = NULL;
}

static void
exec_limits(const struct ob_sink *sink, struct ob_sink_limits *limits)
{
	const struct exec_sink *exec = (const struct exec_sink *)sink;

	exec->way->limits(exec, limits);
}

static void
exec_submit(struct ob_sink *sink, const struct ob_delivery *deliveries, size_t count,
	    size_t *accepted)
{
	struct exec_sink *exec = (struct exec_sink *)sink;

	*accepted = exec->way->submit(exec, deliveries, count);
}

/* Waits until something happens, at most `until_us`; true when it was woken. */
static bool
exec_wait(struct exec_sink *exec, int64_t until_us)
{
	size_t count = exec->way->watch(exec, exec->fds, &until_us);
	int64_t left_ms = (until_us - exec_now_us(exec) + 999) / 1000;

	exec->fds[count] = (struct pollfd){.fd = exec->wake.fd, .events = POLLIN};
	if (left_ms < 0)
		left_ms = 0;
	if (poll(exec->fds, count + 1, left_ms < INT_MAX ? (int)left_ms : INT_MAX) <= 0)
		return false;
	if (exec->fds[count].revents == 0)
		return false;
	ob_wake_clear(&exec->wake);
	return true;
}

static size_t
exec_poll(struct ob_sink *sink, int timeout_ms, struct ob_receipt *receipts, size_t capacity)
{
	struct exec_sink *exec = (struct exec_sink *)sink;
	int64_t until_us = exec_now_us(exec) + (int64_t)timeout_ms * 1000;
	struct ob_sigpipe guard;

	ob_sigpipe_begin(&guard);
	if (!exec->way->has_receipt(exec))
		exec->way->work(exec);
	while (!exec->way->has_receipt(exec) && exec_now_us(exec) < until_us) {
		bool woken = exec_wait(exec, until_us);

		exec->way->work(exec);
		if (woken)
			break;
	}
	ob_sigpipe_end(&guard);
	return exec->way->take(exec, receipts, capacity);
}

static void
exec_wake(struct ob_sink *sink)
{
	ob_wake_ring(&((struct exec_sink *)sink)->wake);
}

static void
exec_cancel(struct ob_sink *sink)
{
	struct exec_sink *exec = (struct exec_sink *)sink;

	exec->way->cancel(exec);
}

static const char *const exec_schemes[] = {"exec", NULL};

const struct ob_sink_ops ob_sink_exec = {
    .contract = OB_SINK_CONTRACT,
    .name = "exec",
    .schemes = exec_schemes,
    .help = "exec:COMMAND: runs a program for each message, or feeds one program with lines",
    .options = exec_option_table,
    .options_size = sizeof(struct exec_options),
    .size = sizeof(struct exec_sink),
    .open = exec_open,
    .close = exec_close,
    .limits = exec_limits,
    .submit = exec_submit,
    .poll = exec_poll,
    .wake = exec_wake,
    .cancel = exec_cancel,
};
