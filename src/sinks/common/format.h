/*
 * The forms in which a message goes over the wire: pure functions from a message to header fields and a
 * body, shared by all sinks whose recipients know headers.
 *
 *	cloudevents             CloudEvents 1.0, binary mode: the payload as it is, attributes as fields
 *	cloudevents-structured  CloudEvents 1.0, JSON format: one JSON object with the payload in it
 *	raw                     the payload as it is, few fields
 *
 * Attributes: `id`; `source` as configured; `type`, the message's or else its topic; `time`; `subject` and
 * `partitionkey`, both the key; and the extension `topic`. The application's own headers become fields under
 * their own names in every format (`traceparent` is what tracers look for, not `ce-traceparent`).
 *
 * A tombstone (no payload) has an empty body and no content type. An empty payload has an empty body and a content
 * type: that is how a recipient tells them apart; in JSON it is the missing `data`.
 *
 * Bytes arrive as they were written. JSON payloads stand in the JSON format byte for byte, not parsed and
 * written again, so that no number loses digits.
 */
#ifndef OB_SINKS_FORMAT_H
#define OB_SINKS_FORMAT_H

#include <outbox/message.h>
#include <stdbool.h>

#include "buf.h"
#include "fields.h"

/* In the order of OB_FORMAT_NAMES. */
enum ob_format {
	OB_FORMAT_CLOUDEVENTS = 0,
	OB_FORMAT_CLOUDEVENTS_STRUCTURED,
	OB_FORMAT_RAW,
};

/* For the `choices` of an option. */
#define OB_FORMAT_NAMES "cloudevents", "cloudevents-structured", "raw"

#define OB_FORMAT_TYPE_JSON  "application/cloudevents+json"
#define OB_FORMAT_TYPE_BATCH "application/cloudevents-batch+json"

/* A JSON body may be six times as large as the payload it holds, when that is text of control characters. */
#define OB_FORMAT_BODY_MAX ((size_t)128 * 1024 * 1024)

struct ob_format_config {
	enum ob_format format;
	const char *source;       /* the attribute `source` */
	const char *content_type; /* of payloads that do not say theirs */
	const char *prefix;       /* of attributes in field names: "ce-" for HTTP and NATS */
	bool encode;              /* percent-encode attributes: HTTP and NATS */
};

struct ob_formatted {
	struct ob_fields fields;      /* all but the content type */
	struct ob_bytes content_type; /* absent: none is sent */
	struct ob_bytes body;         /* points to the message's payload or to `text` */
	struct ob_buf text, scratch;  /* bodies that are made here; headers with escapes */
	const char
	    *code; /* why the message cannot be sent, a constant: "bad_headers"; NULL: it can */
	const char *problem; /* the same for a person, a constant */
};

void ob_formatted_init(struct ob_formatted *out);
/* Safe on a zeroed struct. */
void ob_formatted_free(struct ob_formatted *out);

/* Makes fields and body of one message; what was in `out` is replaced. False when the message cannot be sent in
 * this form, ever: `code` and `problem` say why. The result points into the message. */
bool ob_format_message(struct ob_formatted *out, const struct ob_format_config *config,
		       const struct ob_message *message);

/*
 * A batch (application/cloudevents-batch+json): begin, add each message, end. Headers of single messages
 * cannot be fields of the request, so they become extension attributes, whose names may hold only a-z and 0-9. An
 * add that returns false has added nothing, and `code` and `problem` say why.
 */
void ob_format_batch_begin(struct ob_formatted *out);
bool ob_format_batch_add(struct ob_formatted *out, const struct ob_format_config *config,
			 const struct ob_message *message);
bool ob_format_batch_end(struct ob_formatted *out);

#endif
