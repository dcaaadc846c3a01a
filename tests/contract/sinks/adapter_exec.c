/* exec: the recipient is a shell script for each message, or a program that is fed with lines (lines_recipient.c). */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sink_suite.h"
#include "sinks.h"

/* The files "hang", "down" and "fail" (with the id in it) are its switches. */
static const char script[] =
    "cd \"$1\" || exit 78\n"
    "if [ -e hang ]; then sleep 60; fi\n"
    "if [ -e down ]; then echo nothing works >&2; exit 69; fi\n"
    "if [ -e fail ] && [ \"$(cat fail)\" = \"$OUTBOX_ID\" ]; then echo 'it does not go' >&2; exit 75; fi\n"
    "cat > \"got.$OUTBOX_ID\"\n"
    "echo \"$OUTBOX_ID ${OUTBOX_TOMBSTONE:-0}\" >> log\n";

struct recipient {
	char directory[128];
	long at;
};

static void *
exec_start(const char *directory)
{
	struct recipient *it = calloc(1, sizeof(*it));

	assert(it != NULL);
	snprintf(it->directory, sizeof(it->directory), "%s", directory);
	sink_test_write_file(directory, "script", script);
	return it;
}

static void
exec_stop(void *recipient)
{
	free(recipient);
}

static void
each_configure(void *recipient, struct sink_setup *setup)
{
	const struct recipient *it = recipient;

	snprintf(setup->url, sizeof(setup->url), "exec:sh %s/script %s", it->directory,
		 it->directory);
	snprintf(setup->options[0], sizeof(setup->options[0]), "request-timeout=15s");
}

static void
each_arrivals(void *recipient, struct sink_arrivals *arrivals)
{
	struct recipient *it = recipient;
	char path[512], id[64];
	size_t size;
	char *log, *line, *rest;

	snprintf(path, sizeof(path), "%s/log", it->directory);
	log = sink_test_read_file(path, &it->at, &size);
	if (log == NULL)
		return;
	for (line = strtok_r(log, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
		long at = 0;
		char *payload;
		int tombstone;

		assert(sscanf(line, "%63s %d", id, &tombstone) == 2);
		snprintf(path, sizeof(path), "%s/got.%s", it->directory, id);
		payload = sink_test_read_file(path, &at, &size);
		sink_arrivals_add(arrivals, id, tombstone ? NULL : payload, size);
		free(payload);
	}
	free(log);
}

static void
exec_fail(void *recipient, const char *id)
{
	const struct recipient *it = recipient;

	if (id == NULL)
		sink_test_switch(it->directory, "fail", false);
	else
		sink_test_write_file(it->directory, "fail", id);
}

static void
exec_down(void *recipient, bool down)
{
	sink_test_switch(((struct recipient *)recipient)->directory, "down", down);
}

static void
exec_hang(void *recipient, bool hang)
{
	sink_test_switch(((struct recipient *)recipient)->directory, "hang", hang);
}

static void
lines_configure(void *recipient, struct sink_setup *setup)
{
	const struct recipient *it = recipient;

	/* Set by meson test, and by nobody else. */
	assert(getenv("LINES_RECIPIENT") != NULL);
	snprintf(setup->url, sizeof(setup->url), "exec:exec %s %s", getenv("LINES_RECIPIENT"),
		 it->directory);
	snprintf(setup->options[0], sizeof(setup->options[0]), "request-timeout=15s");
	snprintf(setup->options[1], sizeof(setup->options[1]), "mode=lines");
	snprintf(setup->options[2], sizeof(setup->options[2]), "in-flight=100");
}

static void
lines_arrivals(void *recipient, struct sink_arrivals *arrivals)
{
	struct recipient *it = recipient;
	char path[512];
	size_t size, done;
	char *log;

	snprintf(path, sizeof(path), "%s/log", it->directory);
	log = sink_test_read_file(path, &it->at, &size);
	if (log == NULL)
		return;
	done = sink_arrivals_add_lines(arrivals, log, size);
	it->at -= (long)(size - done);
	free(log);
}

const struct sink_adapter sink_adapter_exec_each = {
    .name = "exec-each",
    .ops = &ob_sink_exec,
    .wrong_url = "exec: ",
    .start = exec_start,
    .stop = exec_stop,
    .configure = each_configure,
    .arrivals = each_arrivals,
    .refuse = exec_fail,
    .down = exec_down,
    .hang = exec_hang,
    .grace_ms = 2500,
};

const struct sink_adapter sink_adapter_exec_lines = {
    .name = "exec-lines",
    .ops = &ob_sink_exec,
    .wrong_url = "exec: ",
    .start = exec_start,
    .stop = exec_stop,
    .configure = lines_configure,
    .arrivals = lines_arrivals,
    .refuse = exec_fail,
    .down = exec_down,
    .hang = exec_hang,
    .grace_ms = 2500,
};
