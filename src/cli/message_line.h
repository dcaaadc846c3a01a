/* A message as a line of JSON, which `publish --json-lines` reads. */
#ifndef OB_CLI_MESSAGE_LINE_H
#define OB_CLI_MESSAGE_LINE_H

#include <outbox/error.h>
#include <outbox/new_message.h>

#include "buf.h"

/* The message points into the memory of the line, until it is freed. */
struct ob_message_line {
	struct ob_new_message message;
	void *document;
	char *headers;
	struct ob_buf payload;
};

/*
 * Reads an object with the members topic, key (or partition_key), type, payload (a string, written as its bytes; any other
 * value as the JSON that it is, without the space between; null: a tombstone) or payload_base64, content_type, headers (an object), deliver_after, id.
 * OB_INVALID for anything else. Free it in any case.
 */
int ob_message_line_read(struct ob_message_line *line, const char *text, size_t size,
			 struct ob_error *error);
void ob_message_line_free(struct ob_message_line *line);

#endif
