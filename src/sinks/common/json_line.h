/*
 * A message as one line of JSON, the form in which `stdout:`, `file:` and `exec:` with mode=lines
 *give it out.
 *
 *	{"id":"...","topic":"orders","key":"7","type":"placed","content_type":"application/json",
 *	 "headers":{"a":"b"},"created_at":"2026-01-31T12:00:00.000Z","payload":"..."}
 *
 * (on one line). id, topic, created_at and the payload are always there, the others when the
 *message has them. A tombstone has "payload":null. What is not valid UTF-8 is given as base64 under
 *the name with "_base64" behind it, "payload_base64" for one, so that no byte is lost; headers that
 *are not an object of strings are given as the text that they are, under "headers_text". The names
 *and their order are a promise to users.
 */
#ifndef OB_SINKS_JSON_LINE_H
#define OB_SINKS_JSON_LINE_H

#include <outbox/message.h>
#include <stdbool.h>

#include "buf.h"

/* The most bytes that a line may have in a sink's buffer: a payload of 16 MiB of control characters
 * and some. */
#define OB_JSON_LINE_MAX ((size_t)128 * 1024 * 1024)

/* Appends the line and its newline. `scratch` is for headers with escapes. False, with nothing
   appended, when there is no memory or `out` is full. */
bool ob_json_line(struct ob_buf *out, const struct ob_message *message, struct ob_buf *scratch);

/* Appends a JSON string in quotes; false, with nothing appended, when the bytes are not UTF-8 or
 * there is no room. */
bool ob_json_line_string(struct ob_buf *out, struct ob_bytes bytes);

#endif
