/*
 * stdout: prints each message as a line of JSON.
 *
 * Kept: when the whole line was given to the descriptor. A pipe confirms nothing, so this is all
 * that can be known: what the reader does with the line is the reader's. Where that is not enough,
 * use `exec:`, which is told. Duplicates: to be dropped by the line's "id". Order: always. There is
 * one stream, and what comes behind a line that failed was not written. (Unless the reader goes
 * away and another one takes its place on the same descriptor, which then begins anew.)
 *
 * A reader that has gone (`| head -1`) does not come back, so it ends the subscription, also while
 * there is nothing to write.
 *
 * Writing never waits, though the descriptor may be a blocking one that we share with others: a
 * pipe takes PIPE_BUF bytes without waiting when poll says that it is writable (POSIX, write).
 *
 * A line that was begun is always ended before anything else is written, also after a cancel or
 * when its message got another receipt meanwhile; it then comes twice, but never in halves. Nor does
 * another shard of the same relay write meanwhile: it awaits its turn.
 */
#include <outbox/sink.h>
#include <outbox/store.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json_line.h"
#include "sigpipe.h"
#include "sinks.h"
#include "tickets.h"
#include "turn.h"
#include "wake.h"

/* How often a sink asks whether its turn has come. */
#define TURN_EVERY_MS 1
#define FORMAT_SIZE   (64 * 1024)

struct stdout_options {
	int64_t in_flight;
	int64_t timeout_ms;
	int64_t fd;
};

/* Positions in the stream count bytes since open. A ticket's mark is the position behind its line.
 */
struct stdout_sink {
	struct ob_sink base;
	int fd;
	bool is_file; /* takes any size at once */
	int64_t timeout_ms;
	struct ob_tickets tickets;
	struct ob_wake wake;
	struct ob_buf lines, scratch;
	size_t lines_at;        /* how much of `lines` is written */
	uint64_t written;       /* position */
	uint64_t line_start;    /* where the line begins in which `written` is */
	uint64_t formatted;     /* position behind the last line in `lines` */
	uint64_t to_format;     /* how many of the waiting tickets are in `lines` */
	int64_t progress_at_us; /* when something was written last, or began to wait */
	bool gone;              /* nobody can read what is written */
	bool failed;            /* the last write did: the next submit tries again */
	struct ob_turn turn;    /* kept within a line */
	bool awaits_turn;
	char text[OB_REASON_TEXT_MAX];
};

static const struct ob_option stdout_option_table[] = {
    {.name = "in-flight",
     .type = OB_OPTION_INT,
     .default_text = "4096",
     .help = "The most messages that wait to be printed.",
     .field = offsetof(struct stdout_options, in_flight),
     .min = 1,
     .max = OB_SINK_IN_FLIGHT_MAX},
    {.name = "request-timeout",
     .type = OB_OPTION_DURATION,
     .default_text = "15s",
     .help = "How long a reader may take nothing before it counts as down.",
     .field = offsetof(struct stdout_options, timeout_ms),
     .min = 1,
     .max = 86400000},
    {.name = "descriptor",
     .type = OB_OPTION_INT,
     .default_text = "1",
     .help = "The descriptor to write to; 1 is the standard output.",
     .field = offsetof(struct stdout_options, fd),
     .min = 0,
     .max = INT_MAX},
    {0},
};

static int64_t
stdout_now_us(const struct stdout_sink *out)
{
	return out->base.host->monotonic_us(out->base.host->context);
}

static void
stdout_answer_written(struct stdout_sink *out)
{
	const struct ob_ticket *ticket;

	while (out->to_format > 0) {
		ticket = ob_tickets_next(&out->tickets);
		if (ticket->mark > out->written)
			break;
		out->line_start = ticket->mark;
		ob_tickets_answer(&out->tickets, OB_FATE_SENT, true, NULL, NULL);
		out->to_format--;
	}
}

/*
 * Gives every waiting ticket an answer. What was not begun is forgotten; of a line that was begun
 * the rest stays, to be written before anything else.
 */
static void
stdout_give_up(struct stdout_sink *out, enum ob_fate begun, enum ob_fate others, const char *code,
	       const char *text)
{
	const struct ob_ticket *ticket = ob_tickets_next(&out->tickets);

	if (out->to_format > 0 && out->written > out->line_start) {
		ob_buf_truncate(&out->lines, out->lines_at + (size_t)(ticket->mark - out->written));
		out->formatted = out->line_start = ticket->mark;
		ob_tickets_answer(&out->tickets, begun, true, code, text);
	} else if (out->to_format > 0) {
		/* Before the first waiting line there may be the rest of one that was given up
		 * earlier. */
		ob_buf_truncate(&out->lines,
				out->lines_at + (size_t)(out->line_start - out->written));
		out->formatted = out->line_start;
	}
	out->to_format = 0;
	if (out->written == out->line_start)
		ob_turn_end(&out->turn);
	ob_tickets_answer_all(&out->tickets, others, false, code, text);
}

static void
stdout_fail(struct stdout_sink *out, int number)
{
	bool gone = number == EPIPE || number == EBADF;
	bool full = number == ENOSPC || number == EDQUOT;
	enum ob_fate fate = gone ? OB_FATE_BLOCKED : OB_FATE_DOWN;

	out->gone = gone;
	out->failed = true;
	snprintf(out->text, sizeof(out->text), "%s",
		 number == EPIPE ? "nobody reads the output any more" : strerror(number));
	stdout_give_up(out, fate, fate,
		       gone   ? "stdout_closed"
		       : full ? "disk_full"
			      : "stdout_error",
		       out->text);
}

/* Formats as long as there is something and the buffer is not full; false when there is no memory.
 */
static bool
stdout_format(struct stdout_sink *out)
{
	struct ob_ticket *ticket;

	if (out->lines_at < out->lines.size)
		return true;
	if (out->lines.capacity > 4 * FORMAT_SIZE)
		ob_buf_free(&out->lines);
	ob_buf_reset(&out->lines);
	out->lines_at = 0;
	while (out->lines.size < FORMAT_SIZE &&
	       (ticket = ob_tickets_at(&out->tickets, out->to_format)) != NULL) {
		size_t before = out->lines.size;

		if (!ob_json_line(&out->lines, ticket->message, &out->scratch))
			return out->to_format > 0;
		out->formatted += out->lines.size - before;
		ticket->mark = out->formatted;
		out->to_format++;
	}
	return true;
}

/* Writes as much as goes without waiting. True when everything is written. */
static bool
stdout_write(struct stdout_sink *out)
{
	struct pollfd fd = {.fd = out->fd, .events = POLLOUT};

	for (;;) {
		size_t size;
		ssize_t done;

		if (!stdout_format(out)) {
			stdout_fail(out, ENOMEM);
			return true;
		}
		size = out->lines.size - out->lines_at;
		if (size == 0)
			return true;
		out->awaits_turn = !ob_turn_take(&out->turn);
		if (out->awaits_turn) {
			/* How long the reader takes is for who writes to tell. */
			out->progress_at_us = stdout_now_us(out);
			return false;
		}
		if (!out->is_file) {
			if (poll(&fd, 1, 0) <= 0 ||
			    (fd.revents & (POLLOUT | POLLERR | POLLNVAL)) == 0)
				return false;
			size = size < PIPE_BUF ? size : PIPE_BUF;
		}
		done = write(out->fd, out->lines.data + out->lines_at, size);
		if (done < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (done < 0) {
			stdout_fail(out, errno);
			return true;
		}
		out->lines_at += (size_t)done;
		out->written += (uint64_t)done;
		out->gone = out->failed = false;
		out->progress_at_us = stdout_now_us(out);
		stdout_answer_written(out);
		if (out->written == out->line_start)
			ob_turn_end(&out->turn);
	}
}

/* Waits until the descriptor takes more, or it may be our turn, for at most `until_us`. */
static void
stdout_wait(struct stdout_sink *out, int64_t until_us)
{
	int64_t left_ms = (until_us - stdout_now_us(out) + 999) / 1000;
	struct pollfd fds[] = {{.fd = out->wake.fd, .events = POLLIN},
			       {.fd = out->fd, .events = POLLOUT}};

	if (out->awaits_turn && left_ms > TURN_EVERY_MS)
		left_ms = TURN_EVERY_MS;
	if (left_ms > 0)
		poll(fds, out->awaits_turn ? 1 : 2, left_ms < INT_MAX ? (int)left_ms : INT_MAX);
}

/* True when it rang; takes the ring away. */
static bool
stdout_was_woken(struct stdout_sink *out)
{
	struct pollfd fd = {.fd = out->wake.fd, .events = POLLIN};

	if (poll(&fd, 1, 0) <= 0)
		return false;
	ob_wake_clear(&out->wake);
	return true;
}

/* Writes until there is a receipt, somebody wakes us or the time is up. */
static void
stdout_work(struct stdout_sink *out, int timeout_ms)
{
	int64_t now_us = stdout_now_us(out), until_us = now_us + (int64_t)timeout_ms * 1000,
		stalls_at_us;

	while (!stdout_write(out) && ob_tickets_answered(&out->tickets) == 0) {
		now_us = stdout_now_us(out);
		/* Of a line whose message was given up nobody is told any more. */
		stalls_at_us = ob_tickets_next(&out->tickets) == NULL
				   ? INT64_MAX
				   : out->progress_at_us + out->timeout_ms * 1000;
		if (now_us >= stalls_at_us) {
			stdout_give_up(out, OB_FATE_UNKNOWN, OB_FATE_DOWN, "stdout_stalled",
				       "nobody has read the output for too long");
			return;
		}
		if (now_us >= until_us || stdout_was_woken(out))
			return;
		stdout_wait(out, until_us < stalls_at_us ? until_us : stalls_at_us);
	}
}

/* With nothing to write: waits until somebody wakes us, the reader goes away or the time is up. */
static void
stdout_idle(struct stdout_sink *out, int timeout_ms)
{
	struct pollfd fds[] = {{.fd = out->wake.fd, .events = POLLIN}, {.fd = out->fd}};

	if (out->gone) {
		ob_wake_wait(&out->wake, timeout_ms);
		return;
	}
	if (poll(fds, 2, timeout_ms) <= 0)
		return;
	if ((fds[0].revents & POLLIN) != 0)
		ob_wake_clear(&out->wake);
	out->gone = (fds[1].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

static int
stdout_open(struct ob_sink *sink, const struct ob_sink_config *config, struct ob_error *error)
{
	struct stdout_sink *out = (struct stdout_sink *)sink;
	const struct stdout_options *options = config->options;
	struct stat status;
	int flags;

	ob_buf_init(&out->lines, OB_JSON_LINE_MAX);
	ob_buf_init(&out->scratch, OB_JSON_LINE_MAX);
	out->fd = (int)options->fd;
	out->timeout_ms = options->timeout_ms;
	if (strcmp(config->url, "stdout:") != 0)
		return ob_error_set(error, OB_CONFIG,
				    "sink %s: nothing may stand behind \"stdout:\"", config->url);
	flags = fcntl(out->fd, F_GETFL);
	if (flags < 0 || fstat(out->fd, &status) != 0)
		return ob_error_set(error, OB_CONFIG, "sink stdout: descriptor %d: %s", out->fd,
				    strerror(errno));
	if ((flags & O_ACCMODE) == O_RDONLY)
		return ob_error_set(error, OB_CONFIG,
				    "sink stdout: descriptor %d is closed, or open only for "
				    "reading: give the output somewhere to go",
				    out->fd);
	out->is_file = S_ISREG(status.st_mode);
	if (!ob_tickets_open(&out->tickets, (uint32_t)options->in_flight))
		return ob_error_set(error, OB_NOMEM, "sink stdout: no memory");
	ob_turn_open(&out->turn, out->fd);
	return ob_wake_open(&out->wake, error);
}

static void
stdout_close(struct ob_sink *sink)
{
	struct stdout_sink *out = (struct stdout_sink *)sink;

	ob_turn_close(&out->turn);
	ob_wake_close(&out->wake);
	ob_tickets_close(&out->tickets);
	ob_buf_free(&out->lines);
	ob_buf_free(&out->scratch);
}

static void
stdout_limits(const struct ob_sink *sink, struct ob_sink_limits *limits)
{
	const struct stdout_sink *out = (const struct stdout_sink *)sink;

	*limits = (struct ob_sink_limits){
	    .in_flight_max = out->tickets.capacity,
	    .order = OB_ORDER_ALWAYS,
	};
}

static void
stdout_submit(struct ob_sink *sink, const struct ob_delivery *deliveries, size_t count,
	      size_t *accepted)
{
	struct stdout_sink *out = (struct stdout_sink *)sink;

	/* The reader's time runs from when there is something for it to read. */
	if (ob_tickets_next(&out->tickets) == NULL)
		out->progress_at_us = stdout_now_us(out);
	*accepted = ob_tickets_put(&out->tickets, deliveries, count);
}

static size_t
stdout_poll(struct ob_sink *sink, int timeout_ms, struct ob_receipt *receipts, size_t capacity)
{
	struct stdout_sink *out = (struct stdout_sink *)sink;
	struct ob_sigpipe guard;

	if (ob_tickets_answered(&out->tickets) == 0) {
		/* The rest of a line whose message was given up is written, too: others wait for it. After a failure it
		   waits for the next submit. */
		if (ob_tickets_next(&out->tickets) == NULL && (!out->turn.is_ours || out->failed)) {
			if (timeout_ms != 0)
				stdout_idle(out, timeout_ms);
		} else {
			ob_sigpipe_begin(&guard);
			stdout_work(out, timeout_ms);
			ob_sigpipe_end(&guard);
		}
	}
	return ob_tickets_take(&out->tickets, receipts, capacity);
}

static void
stdout_wake(struct ob_sink *sink)
{
	ob_wake_ring(&((struct stdout_sink *)sink)->wake);
}

static void
stdout_cancel(struct ob_sink *sink)
{
	stdout_give_up((struct stdout_sink *)sink, OB_FATE_UNKNOWN, OB_FATE_RETURNED, "cancelled",
		       NULL);
}

static int
stdout_gone(const struct ob_sink *sink, struct ob_error *error)
{
	if (!((const struct stdout_sink *)sink)->gone)
		return OB_OK;
	return ob_error_set(error, OB_UNREACHABLE,
			    "sink stdout: nobody reads the output any more; what it did not take "
			    "is kept for the next relay");
}

static const char *const stdout_schemes[] = {"stdout", NULL};

const struct ob_sink_ops ob_sink_stdout = {
    .contract = OB_SINK_CONTRACT,
    .name = "stdout",
    .schemes = stdout_schemes,
    .help = "stdout: prints each message as a line of JSON; ends when nobody reads them any more",
    .options = stdout_option_table,
    .options_size = sizeof(struct stdout_options),
    .size = sizeof(struct stdout_sink),
    .open = stdout_open,
    .close = stdout_close,
    .limits = stdout_limits,
    .submit = stdout_submit,
    .poll = stdout_poll,
    .wake = stdout_wake,
    .cancel = stdout_cancel,
    .gone = stdout_gone,
};
