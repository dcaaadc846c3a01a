/* stdout: the recipient is a pipe that is read after each poll. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "buf.h"
#include "sink_suite.h"
#include "sinks.h"

struct recipient {
	int in; /* the sink's descriptor */
	int out;
	bool hangs;
	struct ob_buf text;
};

static void
make_pipe(struct recipient *it, bool first)
{
	int fds[2];

	assert(pipe(fds) == 0);
	assert(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
	/* It is read only between polls, so what it holds is what a poll can write. */
	(void)fcntl(fds[1], F_SETPIPE_SZ, 1 << 20);
	it->out = fds[0];
	if (first) {
		it->in = fds[1];
		return;
	}
	assert(dup2(fds[1], it->in) == it->in);
	close(fds[1]);
}

static void *
stdout_start(const char *directory)
{
	struct recipient *it = calloc(1, sizeof(*it));

	(void)directory;
	assert(it != NULL);
	ob_buf_init(&it->text, (size_t)256 * 1024 * 1024);
	make_pipe(it, true);
	return it;
}

static void
stdout_stop(void *recipient)
{
	struct recipient *it = recipient;

	close(it->in);
	close(it->out);
	ob_buf_free(&it->text);
	free(it);
}

static void
stdout_configure(void *recipient, struct sink_setup *setup)
{
	const struct recipient *it = recipient;

	snprintf(setup->url, sizeof(setup->url), "stdout:");
	snprintf(setup->options[0], sizeof(setup->options[0]), "in-flight=100");
	snprintf(setup->options[1], sizeof(setup->options[1]), "descriptor=%d", it->in);
}

static void
stdout_pump(void *recipient)
{
	struct recipient *it = recipient;
	char bytes[65536];
	ssize_t size;

	if (it->out < 0 || it->hangs)
		return;
	while ((size = read(it->out, bytes, sizeof(bytes))) > 0)
		assert(ob_buf_append(&it->text, bytes, (size_t)size));
}

static void
stdout_arrivals(void *recipient, struct sink_arrivals *arrivals)
{
	struct recipient *it = recipient;
	struct ob_buf rest;
	size_t done;

	stdout_pump(it);
	done = sink_arrivals_add_lines(arrivals, ob_buf_text(&it->text), it->text.size);
	ob_buf_init(&rest, it->text.limit);
	ob_buf_append(&rest, ob_buf_text(&it->text) + done, it->text.size - done);
	ob_buf_free(&it->text);
	it->text = rest;
}

static void
stdout_down(void *recipient, bool down)
{
	struct recipient *it = recipient;

	if (down) {
		stdout_pump(it);
		close(it->out);
		it->out = -1;
	} else {
		make_pipe(it, false);
	}
}

static void
stdout_hang(void *recipient, bool hang)
{
	((struct recipient *)recipient)->hangs = hang;
}

const struct sink_adapter sink_adapter_stdout = {
    .name = "stdout",
    .ops = &ob_sink_stdout,
    .wrong_url = "stdout:something",
    .start = stdout_start,
    .stop = stdout_stop,
    .configure = stdout_configure,
    .pump = stdout_pump,
    .arrivals = stdout_arrivals,
    .why_no_refusal = "a stream takes one message like another",
    .down = stdout_down,
    .hang = stdout_hang,
    .grace_ms = 500,
};
