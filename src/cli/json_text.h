/*
 * The text of values in JSON that a parser took already: a tree of values rounds numbers, and this is for showing and
 * writing them as they stand there. A parser that keeps their order, and refuses a name that stands twice, goes beside it.
 */
#ifndef OB_CLI_JSON_TEXT_H
#define OB_CLI_JSON_TEXT_H

#include <outbox/message.h>
#include <stdbool.h>

#include "buf.h"

/* The value of an object's next member; `*at` is behind its '{' at first. */
struct ob_bytes ob_json_member_next(const char **at);
/* An array's next item; `*at` is behind its '[' at first. */
struct ob_bytes ob_json_item_next(const char **at);

/* Appends a value without the space between its tokens. False as an append to the buffer. */
bool ob_json_compact(struct ob_buf *out, struct ob_bytes json);

#endif
