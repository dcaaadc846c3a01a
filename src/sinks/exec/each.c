/*
 * A program for each message: a run is started, gets the payload on its standard input, and its end is the answer.
 *
 *	FREE ─▶ QUEUED ─▶ RUNNING ─▶ ANSWERED ─▶ FREE       the receipt was fetched
 *	                     │  cancel, or it does not end by its time
 *	                     └──────▶ ANSWERED, and the process has yet to be reaped
 *
 * A run that was answered before its process ended stays taken until it has, so there are never more processes
 * than runs.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "check.h"
#include "exec_sink.h"
#include "rfc3339.h"

#define ENVIRONMENT_MAX (1024 * 1024)
#define VARIABLES_MAX   16

enum run_state { RUN_FREE = 0, RUN_QUEUED, RUN_RUNNING, RUN_ANSWERED, RUN_GIVEN };

struct exec_run {
	enum run_state state;
	struct ob_child child;
	uint64_t ticket;
	const struct ob_message *message;
	uint32_t attempt;
	size_t written;     /* of the payload */
	int64_t term_at_us; /* when it gets SIGTERM; then, when it gets SIGKILL */
	bool terminated;
	enum ob_fate fate;
	struct ob_reason reason;
};

const char *const exec_variables[] = {
    "OUTBOX_ID",
    "OUTBOX_TOPIC",
    "OUTBOX_KEY",
    "OUTBOX_TYPE",
    "OUTBOX_CONTENT_TYPE",
    "OUTBOX_HEADERS",
    "OUTBOX_CREATED_AT",
    "OUTBOX_ATTEMPT",
    "OUTBOX_SUBSCRIPTION",
    "OUTBOX_TOMBSTONE",
    NULL,
};

static bool
each_open(struct exec_sink *exec, uint32_t in_flight)
{
	struct exec_runs *runs = &exec->runs;

	ob_buf_init(&runs->environment, ENVIRONMENT_MAX);
	runs->items = calloc(in_flight, sizeof(runs->items[0]));
	runs->pointers =
	    calloc(exec->environment_count + VARIABLES_MAX + 1, sizeof(runs->pointers[0]));
	if (runs->items == NULL || runs->pointers == NULL)
		return false;
	runs->count = in_flight;
	return true;
}

/* Signals all, so that the wait for one is the wait for all, and waits for at most OB_EXEC_GRACE_US. */
static void
end_all(struct exec_sink *exec, int number)
{
	int64_t until_us = exec_now_us(exec) + OB_EXEC_GRACE_US;

	for (uint32_t i = 0; i < exec->runs.count; i++)
		ob_child_signal(&exec->runs.items[i].child, number);
	for (uint32_t i = 0; i < exec->runs.count; i++) {
		int64_t left_ms = (until_us - exec_now_us(exec)) / 1000;

		ob_child_wait(&exec->runs.items[i].child, left_ms > 0 ? (int)left_ms : 0);
	}
}

static void
each_close(struct exec_sink *exec)
{
	struct exec_runs *runs = &exec->runs;

	end_all(exec, SIGTERM);
	end_all(exec, SIGKILL);
	free(runs->items);
	free(runs->pointers);
	ob_buf_free(&runs->environment);
	*runs = (struct exec_runs){0};
}

/* Programs run side by side and end when they like. */
static void
each_limits(const struct exec_sink *exec, struct ob_sink_limits *limits)
{
	*limits = (struct ob_sink_limits){
	    .in_flight_max = exec->runs.count,
	    .order = OB_ORDER_NONE,
	};
}

static size_t
each_submit(struct exec_sink *exec, const struct ob_delivery *deliveries, size_t count)
{
	struct exec_runs *runs = &exec->runs;
	size_t accepted = 0;

	for (uint32_t i = 0; i < runs->count && accepted < count; i++) {
		if (runs->items[i].state != RUN_FREE)
			continue;
		runs->items[i] = (struct exec_run){
		    .state = RUN_QUEUED,
		    .ticket = deliveries[accepted].ticket,
		    .message = deliveries[accepted].message,
		    .attempt = deliveries[accepted].attempt,
		};
		accepted++;
	}
	return accepted;
}

static void
run_answer(struct exec_run *run, enum ob_fate fate, const char *code)
{
	run->fate = fate;
	ob_reason_set_code(&run->reason, code, "exec_failed");
	run->state = RUN_ANSWERED;
}

/* What the end of a program says about its message. The numbers are those of sysexits.h and of the shell. */
static void
run_judge(struct exec_run *run, int status)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	char number[32];

	ob_reason_set_text(&run->reason, run->child.said, run->child.said_size);
	if (status == -1) {
		run_answer(run, OB_FATE_UNKNOWN, "exec_status_lost");
		return;
	}
	if (!WIFEXITED(status)) {
		if (run->child.said_size == 0)
			ob_reason_print(&run->reason, "ended by signal %d", WTERMSIG(status));
		run_answer(run, OB_FATE_UNKNOWN, run->terminated ? "exec_timeout" : "exec_signal");
		return;
	}
	snprintf(number, sizeof(number), "exit_%d", code);
	switch (code) {
	case 0:
		run_answer(run, OB_FATE_SENT, "");
		break;
	case EX_DATAERR:
		run_answer(run, OB_FATE_REJECT, number);
		break;
	case EX_UNAVAILABLE:
		run_answer(run, OB_FATE_DOWN, number);
		break;
	case EX_NOPERM:
	case EX_CONFIG:
	case 126: /* the shell: found, but cannot be run */
	case 127: /* the shell: not found */
		run_answer(run, OB_FATE_BLOCKED, number);
		break;
	default: /* EX_TEMPFAIL among them */
		run_answer(run, OB_FATE_RETRY, number);
		break;
	}
}

/* ---- starting ---- */

/* Adds NAME=VALUE; false when the value holds a NUL, which no variable can. */
static bool
add_variable(struct ob_buf *environment, const char *name, struct ob_bytes value)
{
	if (value.data == NULL)
		return true;
	if (memchr(value.data, '\0', value.size) != NULL)
		return false;
	ob_buf_append_text(environment, name);
	ob_buf_append_byte(environment, '=');
	ob_buf_append(environment, value.data, value.size);
	ob_buf_append_byte(environment, '\0');
	return true;
}

/* Fills the environment of a run; the name of what cannot be in one, or NULL. */
static const char *
make_environment(struct exec_sink *exec, const struct exec_run *run)
{
	struct ob_buf *environment = &exec->runs.environment;
	const struct ob_message *message = run->message;
	char attempt[16], time[OB_RFC3339_SIZE];
	struct ob_bytes values[] = {
	    message->id,
	    message->topic,
	    message->key,
	    message->type,
	    message->content_type,
	    message->headers,
	    {time, 0},
	    {attempt, (size_t)snprintf(attempt, sizeof(attempt), "%u", run->attempt)},
	    {exec->subscription, exec->subscription == NULL ? 0 : strlen(exec->subscription)},
	    {message->payload.data == NULL ? "1" : NULL, 1},
	};
	size_t count = exec->environment_count;

	ob_rfc3339_format(time, message->created_at_us);
	values[6].size = strlen(time);
	ob_buf_reset(environment);
	for (size_t i = 0; exec_variables[i] != NULL; i++)
		if (!add_variable(environment, exec_variables[i], values[i]))
			return exec_variables[i];
	/* Only now does the buffer stand still. */
	if (count > 0)
		memcpy(exec->runs.pointers, exec->environment,
		       count * sizeof(exec->environment[0]));
	for (size_t at = 0; at < environment->size; at += strlen(environment->data + at) + 1) {
		OB_CHECK(count < exec->environment_count + VARIABLES_MAX);
		exec->runs.pointers[count++] = environment->data + at;
	}
	exec->runs.pointers[count] = NULL;
	return NULL;
}

static void
run_start(struct exec_sink *exec, struct exec_run *run)
{
	const char *bad = make_environment(exec, run);
	int number = 0;

	if (bad != NULL) {
		ob_reason_print(&run->reason, "%s would hold a NUL byte, which no variable can",
				bad);
		run_answer(run, OB_FATE_REJECT, "exec_nul");
		return;
	}
	number = exec->runs.environment.failed
		     ? E2BIG
		     : ob_child_start(&run->child, exec->command, exec->runs.pointers, false);
	if (number == E2BIG) {
		ob_reason_print(&run->reason,
				"the fields are too long for the environment of a program");
		run_answer(run, OB_FATE_REJECT, "exec_too_long");
	} else if (number != 0) {
		ob_reason_print(&run->reason, "cannot start a program: %s", strerror(number));
		run_answer(run, OB_FATE_DOWN, "exec_start");
	} else {
		run->state = RUN_RUNNING;
		run->term_at_us = exec_now_us(exec) + exec->timeout_us;
	}
}

/* ---- running ---- */

/* A program that reads its input to no end, or not at all, is no failure: its exit code tells. */
static void
run_write(struct exec_run *run)
{
	const struct ob_bytes *payload = &run->message->payload;

	while (run->child.in >= 0 && run->written < payload->size) {
		ssize_t size = write(run->child.in, (const char *)payload->data + run->written,
				     payload->size - run->written);

		if (size < 0 && errno == EAGAIN)
			return;
		if (size < 0 && errno != EINTR)
			break;
		if (size > 0)
			run->written += (size_t)size;
	}
	ob_child_close_in(&run->child);
}

/* SIGTERM when its time is up, SIGKILL and an answer when that did not help. */
static void
run_hurry(struct exec_sink *exec, struct exec_run *run)
{
	if (exec_now_us(exec) < run->term_at_us)
		return;
	ob_child_signal(&run->child, run->terminated ? SIGKILL : SIGTERM);
	if (run->terminated && run->state == RUN_RUNNING) {
		ob_reason_print(&run->reason, "it had not ended after %lld ms and was killed",
				(long long)(exec->timeout_us / 1000));
		run_answer(run, OB_FATE_UNKNOWN, "exec_timeout");
	}
	run->terminated = true;
	run->term_at_us += OB_EXEC_GRACE_US;
}

static void
run_work(struct exec_sink *exec, struct exec_run *run)
{
	int status;

	if (run->state == RUN_QUEUED)
		run_start(exec, run);
	if (!run->child.is_running)
		return;
	if (run->state == RUN_RUNNING)
		run_write(run);
	else
		ob_child_close_in(&run->child);
	ob_child_listen(&run->child);
	if (!ob_child_ended(&run->child, &status))
		run_hurry(exec, run);
	else if (run->state == RUN_RUNNING)
		run_judge(run, status);
	else if (run->state == RUN_GIVEN)
		run->state = RUN_FREE;
}

static void
each_work(struct exec_sink *exec)
{
	for (uint32_t i = 0; i < exec->runs.count; i++)
		if (exec->runs.items[i].state != RUN_FREE)
			run_work(exec, &exec->runs.items[i]);
}

static bool
each_has_receipt(const struct exec_sink *exec)
{
	for (uint32_t i = 0; i < exec->runs.count; i++)
		if (exec->runs.items[i].state == RUN_ANSWERED)
			return true;
	return false;
}

static size_t
each_take(struct exec_sink *exec, struct ob_receipt *receipts, size_t capacity)
{
	size_t count = 0;

	for (uint32_t i = 0; i < exec->runs.count && count < capacity; i++) {
		struct exec_run *run = &exec->runs.items[i];
		bool sent = run->fate == OB_FATE_SENT;

		if (run->state != RUN_ANSWERED)
			continue;
		receipts[count++] = (struct ob_receipt){
		    .ticket = run->ticket,
		    .fate = run->fate,
		    .reached = run->fate == OB_FATE_DOWN && run->term_at_us != 0,
		    .code = sent ? NULL : run->reason.code,
		    .text = sent || run->reason.text[0] == '\0' ? NULL : run->reason.text,
		};
		run->state = run->child.is_running ? RUN_GIVEN : RUN_FREE;
	}
	return count;
}

static size_t
each_watch(const struct exec_sink *exec, struct pollfd *fds, int64_t *until_us)
{
	size_t count = 0;

	for (uint32_t i = 0; i < exec->runs.count; i++) {
		const struct exec_run *run = &exec->runs.items[i];
		int64_t due_us = run->term_at_us;

		if (!run->child.is_running)
			continue;
		if (run->state == RUN_RUNNING && run->child.in >= 0)
			fds[count++] = (struct pollfd){.fd = run->child.in, .events = POLLOUT};
		if (run->child.err >= 0)
			fds[count++] = (struct pollfd){.fd = run->child.err, .events = POLLIN};
		if (run->child.exit_fd >= 0)
			fds[count++] = (struct pollfd){.fd = run->child.exit_fd, .events = POLLIN};
		else
			due_us = exec_now_us(exec) + 10000;
		if (due_us < *until_us)
			*until_us = due_us;
	}
	return count;
}

static void
each_cancel(struct exec_sink *exec)
{
	for (uint32_t i = 0; i < exec->runs.count; i++) {
		struct exec_run *run = &exec->runs.items[i];

		if (run->state == RUN_QUEUED) {
			run_answer(run, OB_FATE_RETURNED, "cancelled");
		} else if (run->state == RUN_RUNNING) {
			run_answer(run, OB_FATE_UNKNOWN, "cancelled");
			/* The next work sends SIGTERM. */
			run->term_at_us = exec_now_us(exec);
		}
	}
}

const struct exec_way exec_each = {
    .open = each_open,
    .close = each_close,
    .limits = each_limits,
    .submit = each_submit,
    .work = each_work,
    .take = each_take,
    .has_receipt = each_has_receipt,
    .watch = each_watch,
    .watched_max = 3,
    .cancel = each_cancel,
};
