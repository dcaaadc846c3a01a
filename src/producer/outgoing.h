/*
 * A message that is about to be written, whoever hands it over (C API, SQL function), and the checks that it passes
 * before a database is touched. Pure.
 */
#ifndef OB_PRODUCER_OUTGOING_H
#define OB_PRODUCER_OUTGOING_H

#include <outbox/error.h>
#include <outbox/message.h>

struct ob_outgoing {
	struct ob_bytes id; /* absent: to be made */
	struct ob_bytes topic, key, type, payload, content_type, headers;
	struct ob_bytes deliver_after; /* absent, or as the table keeps it: UTC with milliseconds */
};

/* OB_INVALID, or OB_LIMIT for what is too large; the text names the field and says what to do. */
int ob_outgoing_check(const struct ob_outgoing *message, struct ob_error *error);

/* OB_INVALID unless the bytes are a JSON object (RFC 8259) whose values are strings. */
int ob_headers_check(struct ob_bytes headers, struct ob_error *error);

#endif
