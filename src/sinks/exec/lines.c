/*
 * One program for all messages: it reads a line of JSON for each message and answers each, in the same order, by a
 * line on its standard output:
 *
 *	ok                                                  or sent
 *	retry the card service is slow                      and so: reject, down, blocked, unknown
 *	{"id":"...","fate":"retry","code":"slow","text":"the card service is slow"}
 *
 * With an id it is checked that both speak of the same message. The program is started with the first message, and
 * again with the next one after it has ended.
 *
 * Order: kept unless something fails. The program gets a key's messages in order, but those behind one that it fails
 * are in its hands already. (in-flight=1 gives it one at a time.)
 *
 * A program that ends with answers owing takes the recipient down with it: DOWN, and `reached` for all that it was given,
 * so that a message that ends it again and again is found out. One that does not answer in time, or answers
 * what is no answer, is ended and started anew, since nobody knows any more which answer belongs to which line.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "exec_sink.h"
#include "json_line.h"

#define FORMAT_SIZE (64 * 1024)
#define ANSWER_MAX  (64 * 1024)

static bool
lines_open(struct exec_sink *exec, uint32_t in_flight)
{
	struct exec_stream *stream = &exec->stream;

	ob_buf_init(&stream->lines, OB_JSON_LINE_MAX);
	ob_buf_init(&stream->scratch, OB_JSON_LINE_MAX);
	ob_buf_init(&stream->answers, ANSWER_MAX);
	stream->child = (struct ob_child){.exit_fd = -1, .in = -1, .out = -1, .err = -1};
	if (!ob_tickets_open(&stream->tickets, in_flight))
		return false;
	stream->reasons = calloc((size_t)stream->tickets.mask + 1, sizeof(stream->reasons[0]));
	return stream->reasons != NULL;
}

static void
lines_close(struct exec_sink *exec)
{
	struct exec_stream *stream = &exec->stream;

	ob_child_stop(&stream->child, 1000);
	ob_tickets_close(&stream->tickets);
	free(stream->reasons);
	stream->reasons = NULL;
	ob_buf_free(&stream->lines);
	ob_buf_free(&stream->scratch);
	ob_buf_free(&stream->answers);
}

static void
lines_limits(const struct exec_sink *exec, struct ob_sink_limits *limits)
{
	*limits = (struct ob_sink_limits){
	    .in_flight_max = exec->stream.tickets.capacity,
	    .order = OB_ORDER_UNLESS_FAILURE,
	};
}

static size_t
lines_submit(struct exec_sink *exec, const struct ob_delivery *deliveries, size_t count)
{
	if (ob_tickets_next(&exec->stream.tickets) == NULL)
		exec->stream.progress_at_us = exec_now_us(exec);
	return ob_tickets_put(&exec->stream.tickets, deliveries, count);
}

static void
answer_next(struct exec_stream *stream, enum ob_fate fate, const struct ob_reason *reason)
{
	struct ob_reason *kept = &stream->reasons[stream->tickets.next & stream->tickets.mask];
	const struct ob_ticket *ticket = ob_tickets_next(&stream->tickets);
	bool begun = stream->to_format > 0 && stream->written + ticket->line_size > ticket->mark;

	*kept = *reason;
	if (stream->to_format > 0)
		stream->to_format--;
	ob_tickets_answer(&stream->tickets, fate, begun, fate == OB_FATE_SENT ? NULL : kept->code,
			  fate == OB_FATE_SENT || kept->text[0] == '\0' ? NULL : kept->text);
}

static void
forget_lines(struct exec_stream *stream)
{
	ob_buf_reset(&stream->lines);
	stream->lines_at = 0;
	stream->to_format = 0;
}

/* Gives each waiting ticket an answer: `begun` to those of which the program has seen something, RETURNED to the others. */
static void
give_up(struct exec_stream *stream, enum ob_fate begun, const struct ob_reason *reason)
{
	const struct ob_ticket *ticket;

	while ((ticket = ob_tickets_next(&stream->tickets)) != NULL) {
		bool seen =
		    stream->to_format > 0 && stream->written + ticket->line_size > ticket->mark;

		answer_next(stream, seen ? begun : OB_FATE_RETURNED, reason);
	}
	forget_lines(stream);
}

/* ---- ending the program ---- */

/* Asks the program to end; nothing is written to it or heard from it any more. */
static void
stop_program(struct exec_sink *exec)
{
	struct exec_stream *stream = &exec->stream;

	if (!stream->child.is_running || stream->kill_at_us != 0)
		return;
	ob_child_close_in(&stream->child);
	ob_child_close_out(&stream->child);
	ob_child_signal(&stream->child, SIGTERM);
	stream->kill_at_us = exec_now_us(exec) + OB_EXEC_GRACE_US;
	stream->killed = false;
}

static void
fail_and_stop(struct exec_sink *exec, const char *code, const char *text)
{
	struct ob_reason reason;

	ob_reason_set_code(&reason, code, "");
	ob_reason_set_text(&reason, text, strlen(text));
	stop_program(exec);
	give_up(&exec->stream, OB_FATE_UNKNOWN, &reason);
}

/* The program has ended, and all that it answered was read. */
static void
judge_end(struct exec_stream *stream, int status)
{
	bool missing = status != -1 && WIFEXITED(status) &&
		       (WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127);
	struct ob_reason reason = {.code = "exec_ended"};

	if (stream->child.said_size > 0)
		ob_reason_set_text(&reason, stream->child.said, stream->child.said_size);
	else if (status != -1 && WIFEXITED(status))
		ob_reason_print(&reason, "the program ended with exit code %d",
				WEXITSTATUS(status));
	else
		ob_reason_print(&reason, "the program ended");
	ob_child_close_out(&stream->child);
	/* One that we ended ourselves left nothing open; what waits came later, for the next one. So it is with one that
	   worked and then ended between two messages. */
	if (stream->kill_at_us == 0 && (stream->to_format > 0 || !stream->has_answered))
		while (ob_tickets_next(&stream->tickets) != NULL)
			answer_next(stream, missing ? OB_FATE_BLOCKED : OB_FATE_DOWN, &reason);
	stream->kill_at_us = 0;
	forget_lines(stream);
}

/* ---- answers ---- */

static const struct {
	const char *word;
	enum ob_fate fate;
} words[] = {
    {"ok", OB_FATE_SENT},         {"sent", OB_FATE_SENT}, {"retry", OB_FATE_RETRY},
    {"reject", OB_FATE_REJECT},   {"down", OB_FATE_DOWN}, {"blocked", OB_FATE_BLOCKED},
    {"unknown", OB_FATE_UNKNOWN},
};

static bool
fate_of_word(const char *word, size_t size, enum ob_fate *fate)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i].word) == size && memcmp(words[i].word, word, size) == 0) {
			*fate = words[i].fate;
			return true;
		}
	return false;
}

static bool
read_json_answer(const struct ob_message *message, const char *line, size_t size,
		 enum ob_fate *fate, struct ob_reason *reason)
{
	json_t *answer = json_loadb(line, size, 0, NULL);
	const json_t *id = json_object_get(answer, "id"), *text = json_object_get(answer, "text");
	const char *word = json_string_value(json_object_get(answer, "fate"));
	const char *code = json_string_value(json_object_get(answer, "code"));
	bool ok = word != NULL && fate_of_word(word, strlen(word), fate);

	if (ok && json_is_string(id))
		ok = json_string_length(id) == message->id.size &&
		     memcmp(json_string_value(id), message->id.data, message->id.size) == 0;
	if (ok && code != NULL)
		ob_reason_set_code(reason, code, "exec_answer");
	if (ok && json_is_string(text))
		ob_reason_set_text(reason, json_string_value(text), json_string_length(text));
	json_decref(answer);
	return ok;
}

/* False when the line is no answer. */
static bool
read_answer(struct exec_sink *exec, const char *line, size_t size)
{
	struct exec_stream *stream = &exec->stream;
	const struct ob_ticket *ticket = ob_tickets_next(&stream->tickets);
	const char *space = memchr(line, ' ', size);
	size_t word = space == NULL ? size : (size_t)(space - line);
	struct ob_reason reason = {.code = "exec_answer"};
	enum ob_fate fate;

	/* An answer to a line that it cannot have read yet is none. */
	if (ticket == NULL || stream->to_format == 0 || ticket->mark > stream->written)
		return false;
	if (size > 0 && line[0] == '{') {
		if (!read_json_answer(ticket->message, line, size, &fate, &reason))
			return false;
	} else {
		if (!fate_of_word(line, word, &fate))
			return false;
		if (space != NULL)
			ob_reason_set_text(&reason, space + 1, size - word - 1);
	}
	stream->progress_at_us = exec_now_us(exec);
	stream->has_answered = true;
	answer_next(stream, fate, &reason);
	return true;
}

static bool
split_answers(struct exec_sink *exec)
{
	struct ob_buf *answers = &exec->stream.answers;
	size_t at = 0;
	const char *end;

	while (at < answers->size &&
	       (end = memchr(answers->data + at, '\n', answers->size - at)) != NULL) {
		const char *line = answers->data + at;
		size_t size = (size_t)(end - line);

		at += size + 1;
		if (size > 0 && line[size - 1] == '\r')
			size--;
		if (!read_answer(exec, line, size))
			return false;
	}
	if (at > 0) {
		memmove(answers->data, answers->data + at, answers->size - at);
		ob_buf_truncate(answers, answers->size - at);
	}
	return answers->size < ANSWER_MAX / 2;
}

static void
lines_read(struct exec_sink *exec)
{
	struct exec_stream *stream = &exec->stream;

	while (stream->child.out >= 0) {
		char *room = ob_buf_reserve(&stream->answers, ANSWER_MAX / 4);
		ssize_t size;

		if (room == NULL) {
			fail_and_stop(exec, "exec_memory", "no memory for answers");
			return;
		}
		size = read(stream->child.out, room, ANSWER_MAX / 4);
		if (size < 0)
			return;
		if (size == 0) {
			ob_child_close_out(&stream->child);
			return;
		}
		ob_buf_commit(&stream->answers, (size_t)size);
		if (!split_answers(exec)) {
			fail_and_stop(
			    exec, "exec_protocol",
			    "the program printed what is no answer: see the manual of exec:");
			return;
		}
	}
}

/* ---- lines ---- */

static bool
lines_start(struct exec_sink *exec)
{
	struct exec_stream *stream = &exec->stream;
	struct ob_reason reason = {.code = "exec_start"};
	int number = ob_child_start(&stream->child, exec->command, exec->environment, true);

	stream->written = stream->formatted = 0;
	stream->has_answered = false;
	forget_lines(stream);
	ob_buf_reset(&stream->answers);
	stream->progress_at_us = exec_now_us(exec);
	if (number == 0)
		return true;
	ob_reason_print(&reason, "cannot start a program: %s", strerror(number));
	while (ob_tickets_next(&stream->tickets) != NULL)
		answer_next(stream, OB_FATE_DOWN, &reason);
	return false;
}

static bool
lines_format(struct exec_stream *stream)
{
	struct ob_ticket *ticket;

	if (stream->lines_at < stream->lines.size)
		return true;
	if (stream->lines.capacity > 4 * FORMAT_SIZE)
		ob_buf_free(&stream->lines);
	ob_buf_reset(&stream->lines);
	stream->lines_at = 0;
	while (stream->lines.size < FORMAT_SIZE &&
	       (ticket = ob_tickets_at(&stream->tickets, stream->to_format)) != NULL) {
		size_t before = stream->lines.size;

		if (!ob_json_line(&stream->lines, ticket->message, &stream->scratch))
			return stream->to_format > 0;
		ticket->line_size = stream->lines.size - before;
		stream->formatted += ticket->line_size;
		ticket->mark = stream->formatted;
		stream->to_format++;
	}
	return true;
}

static void
lines_write(struct exec_sink *exec)
{
	struct exec_stream *stream = &exec->stream;

	while (stream->child.in >= 0) {
		ssize_t size;

		if (!lines_format(stream)) {
			fail_and_stop(exec, "exec_memory", "no memory for a line");
			return;
		}
		if (stream->lines_at == stream->lines.size)
			return;
		size = write(stream->child.in, stream->lines.data + stream->lines_at,
			     stream->lines.size - stream->lines_at);
		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0 && errno == EAGAIN)
			return;
		if (size < 0) {
			/* It reads no more; its end will say why. */
			ob_child_close_in(&stream->child);
			return;
		}
		stream->lines_at += (size_t)size;
		stream->written += (uint64_t)size;
	}
}

/* Whether the program, which is running, has to be ended or killed by now. */
static void
lines_hurry(struct exec_sink *exec)
{
	struct exec_stream *stream = &exec->stream;
	int64_t now_us = exec_now_us(exec);

	if (stream->kill_at_us != 0) {
		if (now_us >= stream->kill_at_us && !stream->killed) {
			ob_child_signal(&stream->child, SIGKILL);
			stream->killed = true;
		}
	} else if (ob_tickets_next(&stream->tickets) != NULL &&
		   now_us >= stream->progress_at_us + exec->timeout_us) {
		fail_and_stop(exec, "exec_timeout",
			      "the program did not answer in time and was ended");
	}
}

/* Reaps the program if it has ended. What it printed until then is all there, and read first. */
static void
lines_reap(struct exec_sink *exec)
{
	int status;

	if (!ob_child_ended(&exec->stream.child, &status))
		return;
	lines_read(exec);
	judge_end(&exec->stream, status);
}

static void
lines_work(struct exec_sink *exec)
{
	struct exec_stream *stream = &exec->stream;

	/* First of all, so that nothing is written to one that has ended. */
	lines_reap(exec);
	if (!stream->child.is_running && ob_tickets_next(&stream->tickets) != NULL &&
	    !lines_start(exec))
		return;
	if (!stream->child.is_running)
		return;
	if (stream->kill_at_us == 0)
		lines_write(exec);
	ob_child_listen(&stream->child);
	lines_read(exec);
	lines_hurry(exec);
}

static bool
lines_has_receipt(const struct exec_sink *exec)
{
	return ob_tickets_answered(&exec->stream.tickets) > 0;
}

static size_t
lines_take(struct exec_sink *exec, struct ob_receipt *receipts, size_t capacity)
{
	return ob_tickets_take(&exec->stream.tickets, receipts, capacity);
}

static size_t
lines_watch(const struct exec_sink *exec, struct pollfd *fds, int64_t *until_us)
{
	const struct exec_stream *stream = &exec->stream;
	int64_t due_us = INT64_MAX;
	size_t count = 0;

	if (!stream->child.is_running)
		return 0;
	if (stream->child.in >= 0 && stream->lines_at < stream->lines.size)
		fds[count++] = (struct pollfd){.fd = stream->child.in, .events = POLLOUT};
	if (stream->child.out >= 0)
		fds[count++] = (struct pollfd){.fd = stream->child.out, .events = POLLIN};
	if (stream->child.err >= 0)
		fds[count++] = (struct pollfd){.fd = stream->child.err, .events = POLLIN};
	if (stream->kill_at_us != 0 && !stream->killed)
		due_us = stream->kill_at_us;
	else if (ob_tickets_next(&stream->tickets) != NULL)
		due_us = stream->progress_at_us + exec->timeout_us;
	if (stream->child.exit_fd >= 0)
		fds[count++] = (struct pollfd){.fd = stream->child.exit_fd, .events = POLLIN};
	else
		due_us = exec_now_us(exec) + 10000;
	if (due_us < *until_us)
		*until_us = due_us;
	return count;
}

/* The program goes on with what it was given, so later answers would belong to nobody: it is ended. */
static void
lines_cancel(struct exec_sink *exec)
{
	const struct ob_reason reason = {.code = "cancelled"};

	if (ob_tickets_next(&exec->stream.tickets) == NULL)
		return;
	if (exec->stream.written > 0)
		stop_program(exec);
	give_up(&exec->stream, OB_FATE_UNKNOWN, &reason);
}

const struct exec_way exec_lines = {
    .open = lines_open,
    .close = lines_close,
    .limits = lines_limits,
    .submit = lines_submit,
    .work = lines_work,
    .take = lines_take,
    .has_receipt = lines_has_receipt,
    .watch = lines_watch,
    .watched_max = 4,
    .cancel = lines_cancel,
};
