/*
 * The memory store: outboxes that live in this process, by name ("memory:NAME"). For tests, demonstrations
 * and as the contract in its plainest form; nothing outlives the process.
 *
 * Instances with the same name share an outbox, as connections share a database, also across threads. An
 * outbox stays when its last instance is closed, until ob_memory_drop.
 */
#ifndef OB_STORES_MEMORY_H
#define OB_STORES_MEMORY_H

#include <outbox/store.h>

/*
 * What an application's committed transaction would add: one message, copied, at the end of the log. Makes
 * the outbox if it is not there. A `created_at_us` of 0 is the host's time; `deliver_in_ms` 0 is at once.
 * OB_INVALID without a topic, OB_LIMIT when the log is full. From any thread.
 */
int ob_memory_append(const char *name, const struct ob_host *host, const struct ob_message *message,
		     int64_t deliver_in_ms, struct ob_error *error);
/* Frees the outbox, which no instance may use any more. */
void ob_memory_drop(const char *name);

#endif
