/* A small HTTP/1.1 server for tests: threads of its own, on a free port of the loopback. */
#ifndef OB_TESTS_HTTP_RECIPIENT_H
#define OB_TESTS_HTTP_RECIPIENT_H

#include <stdbool.h>
#include <stddef.h>

struct http_recipient;

struct http_arrived {
	char id[256];     /* webhook-id */
	bool has_type;    /* there was a Content-Type */
	const char *body; /* for the duration of the call */
	size_t size;
};

/* Called for each whole request, under a lock; returns the status to answer with. */
typedef int (*http_arrived_fn)(void *context, const struct http_arrived *arrived);

struct http_recipient *http_recipient_start(http_arrived_fn arrived, void *context);
void http_recipient_stop(struct http_recipient *it);
int http_recipient_port(const struct http_recipient *it);
/* Refuses connections and ends those that stand; then takes them again, on the same port. */
void http_recipient_down(struct http_recipient *it, bool down);
/* Reads nothing and answers nothing; then goes on. */
void http_recipient_hang(struct http_recipient *it, bool hang);

#endif
