/*
 * A message that is about to be written, whoever hands it over (C API, SQL function), and the checks that it passes
 * before a database is touched. Pure.
 */
#ifndef OB_PRODUCER_OUTGOING_H
#define OB_PRODUCER_OUTGOING_H

#include <outbox/error.h>
#include <outbox/message.h>
#include <outbox/new_message.h>

#include "rfc3339.h"

struct ob_outgoing {
	struct ob_bytes id; /* absent: to be made */
	struct ob_bytes topic, key, type, payload, content_type, headers;
	struct ob_bytes deliver_after; /* absent, or as the table keeps it: UTC with milliseconds */
};

/* The bytes stay where they are; `time` must live as long as `out` does. */
void ob_outgoing_fill(struct ob_outgoing *out, const struct ob_new_message *message,
		      char time[OB_RFC3339_SIZE]);

/* OB_INVALID, or OB_LIMIT for what is too large; the text names the field and says what to do. */
int ob_outgoing_check(const struct ob_outgoing *message, struct ob_error *error);

/* The same for all that a publish function was given; the text names the function and which message it is. */
int ob_outgoing_check_all(const struct ob_new_message *messages, size_t count,
			  struct ob_error *error);

/* Puts "publish" and, if there are several, which one is meant before the text. Returns `rc`. */
int ob_outgoing_fail_at(struct ob_error *error, size_t index, size_t count, int rc);

/* OB_INVALID unless the bytes are a JSON object (RFC 8259) whose values are strings. */
int ob_headers_check(struct ob_bytes headers, struct ob_error *error);

#endif
