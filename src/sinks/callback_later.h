/*
 * callback, where the program answers later: see callback.c, and <outbox/relay.h> for the program's side.
 *
 * What a sink does, by the functions of the same names of struct ob_sink_ops; their rules hold here. The order is none: with
 * several of one key at the program nobody could say which it handles first, so the engine hands it one after the other.
 */
#ifndef OB_SINKS_CALLBACK_LATER_H
#define OB_SINKS_CALLBACK_LATER_H

#include <outbox/relay.h>
#include <outbox/sink.h>

struct ob_later;

int ob_later_open(const struct ob_callback *callback, const struct ob_host *host, uint32_t capacity,
		  int64_t timeout_ms, struct ob_later **later, struct ob_error *error);
/* What the program has not answered yet stays in memory until it does. */
void ob_later_close(struct ob_later *later);
void ob_later_submit(struct ob_later *later, const struct ob_delivery *deliveries, size_t count,
		     size_t *accepted);
size_t ob_later_poll(struct ob_later *later, int timeout_ms, struct ob_receipt *receipts,
		     size_t capacity);
void ob_later_wake(struct ob_later *later);
void ob_later_cancel(struct ob_later *later);

#endif
