/*
 * What arrived in one request: its messages, read out of any of the forms in which the sinks send them, and the line of
 * JSON that tells of each.
 *
 *	{"n":1,"id":"...","duplicate":false,"status":200,"topic":"orders","key":"7","type":"placed","source":"/outbox",
 *	 "time":"...","content_type":"application/json","headers":{"traceparent":"..."},"verified":true,"payload":"..."}
 *
 * on one line. "n" counts the messages that were taken (status 2xx) and is null for the others. What is not there is left
 * out; a tombstone has "payload":null; a payload that is not UTF-8 stands in "payload_base64". In the JSON forms of
 * CloudEvents a payload that is JSON is written anew; all others stand as they came.
 */
#ifndef OB_CLI_ARRIVAL_H
#define OB_CLI_ARRIVAL_H

#include <outbox/message.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"

#define RECEIVE_EVENTS_MAX 10000 /* of one request */

struct receive_event {
	struct ob_bytes id, topic, key, type, source, time, content_type, payload;
};

/* A header field: the name in lower case. */
struct receive_field {
	struct ob_bytes name, value;
};

struct receive_arrival {
	struct ob_arena arena; /* of all that follows */
	struct receive_field *fields;
	size_t field_count;
	struct receive_event *events;
	size_t event_count;
	const char *problem; /* why it could not be read; NULL: it could */
};

void receive_arrival_init(struct receive_arrival *arrival);
void receive_arrival_free(struct receive_arrival *arrival);
/* Empty, for the next request. */
void receive_arrival_reset(struct receive_arrival *arrival);
/* Notes a field of the request. False when there are too many. */
bool receive_arrival_field(struct receive_arrival *arrival, const char *name, const char *value);
/* A field by its name in lower case; absent when there is none. */
struct ob_bytes receive_arrival_find(const struct receive_arrival *arrival, const char *name);
/* Reads the messages; the payloads may point into the body. False with `problem`. */
bool receive_arrival_read(struct receive_arrival *arrival, struct ob_bytes body);

/* What the line says beside the message. */
struct receive_line {
	uint64_t number; /* 0: none, it was not taken */
	bool duplicate;
	unsigned status; /* 0: none was given */
	bool checked, verified;
};

/* Appends the line, with its newline. */
bool receive_line_write(struct ob_buf *out, const struct receive_arrival *arrival,
			const struct receive_event *event, const struct receive_line *line);

#endif
