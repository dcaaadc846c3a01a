/*
 * The suite that every sink passes, unchanged: tests/contract/sinks/sink_suite.c. A sink gives it an adapter, which makes a
 * recipient and knows what arrived there. What an adapter cannot do it leaves NULL and says why: the cases that
 * need it show up as skipped with this reason.
 *
 * To add a sink: an adapter_NAME.c, its name in `adapters` of sink_suite.c, and a line in meson.build.
 */
#ifndef OB_TESTS_SINK_SUITE_H
#define OB_TESTS_SINK_SUITE_H

#include <outbox/relay.h>
#include <outbox/sink.h>
#include <outbox/store.h>
#include <stdbool.h>
#include <stddef.h>

struct sink_setup {
	char url[512];
	char options[8][128]; /* "NAME=VALUE"; empty ones are passed over */
	struct ob_callback callback;
};

struct sink_arrival {
	char id[64];
	char *payload; /* NULL: a tombstone */
	size_t payload_size;
};

struct sink_arrivals {
	struct sink_arrival *items;
	size_t count;
};

struct sink_adapter {
	const char *name;
	const struct ob_sink_ops *ops;
	const char *wrong_url; /* open must refuse it; NULL: there is none */
	/* Makes a recipient; it may use the directory, which is its own. */
	void *(*start)(const char *directory);
	void (*stop)(void *recipient);
	void (*configure)(void *recipient, struct sink_setup *setup);
	/* Called after each poll, for a recipient that runs in this thread. May be NULL. */
	void (*pump)(void *recipient);
	/* Adds all that arrived since the last call, in order, by sink_arrivals_add. */
	void (*arrivals)(void *recipient, struct sink_arrivals *arrivals);
	const char *why_no_arrivals;
	/* The message of this id fails from now on, all others do not; NULL: none. */
	void (*refuse)(void *recipient, const char *id);
	const char *why_no_refusal;
	/* Nothing works, or everything does again. */
	void (*down)(void *recipient, bool down);
	const char *why_no_down;
	/* Nothing is answered, or everything is again. */
	void (*hang)(void *recipient, bool hang);
	const char *why_no_hang;
	/* How long after its time-out the sink may still take to give a ticket back. */
	int grace_ms;
};

extern const struct sink_adapter sink_adapter_callback;
extern const struct sink_adapter sink_adapter_callback_later;
extern const struct sink_adapter sink_adapter_exec_each;
extern const struct sink_adapter sink_adapter_exec_lines;
extern const struct sink_adapter sink_adapter_file;
extern const struct sink_adapter sink_adapter_http;
extern const struct sink_adapter sink_adapter_http_batch;
extern const struct sink_adapter sink_adapter_null;
extern const struct sink_adapter sink_adapter_stdout;

/* Notes an arrival; the payload is copied. */
void sink_arrivals_add(struct sink_arrivals *arrivals, const char *id, const void *payload,
		       size_t size);
/* Notes those of whole lines of JSON (see json_line.h); returns how many bytes these took. */
size_t sink_arrivals_add_lines(struct sink_arrivals *arrivals, const char *text, size_t size);
void sink_arrivals_clear(struct sink_arrivals *arrivals);

/* A file's content from `*at` on, to be freed, and moves `*at` to its end; NULL if there is no such file. */
char *sink_test_read_file(const char *path, long *at, size_t *size);
/* Makes an empty file, or removes it. */
void sink_test_switch(const char *directory, const char *name, bool on);
void sink_test_write_file(const char *directory, const char *name, const char *text);

#endif
