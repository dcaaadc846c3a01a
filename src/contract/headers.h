/*
 * The headers of a message: a JSON object of strings, as the application wrote it.
 *
 * Stores hand it on unchecked, so whoever reads it must expect anything. The reader here goes over
 *it once, allocates nothing while no name or value holds an escape, and stops at the first thing
 *that is not a member whose value is a string:
 *
 *	ob_headers_start(&reader, message->headers, &scratch);
 *	while (ob_headers_next(&reader, &header))
 *		...
 *	if (reader.problem != NULL)
 *		reject it, with the problem as the reason
 *
 * Members come in the order and as often as they were written. Bytes are not checked to be UTF-8.
 */
#ifndef OB_CONTRACT_HEADERS_H
#define OB_CONTRACT_HEADERS_H

#include <outbox/message.h>
#include <stdbool.h>

#include "buf.h"

struct ob_header {
	struct ob_bytes name,
	    value; /* point into the headers or the scratch; valid until the next call */
};

struct ob_headers_reader {
	const char *at, *end;
	struct ob_buf *scratch;
	bool begun;
	const char *problem; /* what is wrong, for a person; NULL as long as nothing is */
};

/* Starts at the first member. Absent headers are like "{}". `scratch` holds decoded strings, both
 * of one member at a time. */
void ob_headers_start(struct ob_headers_reader *reader, struct ob_bytes headers,
		      struct ob_buf *scratch);
/* The next member; false at the end and when there is a problem. */
bool ob_headers_next(struct ob_headers_reader *reader, struct ob_header *header);

#endif
