/* What the tests of the relay share: messages in the memory store, and relays on them. Each asserts that it succeeds. */
#ifndef OB_TESTS_RELAY_TRIAL_H
#define OB_TESTS_RELAY_TRIAL_H

#include <outbox/relay.h>

#include "host.h"

#define MESSAGES 5000
/* Long enough for any machine; nothing waits for it when all is well. */
#define DEADLINE_MS 30000

extern struct ob_real_host trial_host;

/* For the group of tests. */
int trial_set_up(void **state);

/* One message, with the key of its number modulo 97. */
void trial_append(const char *outbox, unsigned number);
/* MESSAGES of them, from 0 on; a thread may run it. */
void *trial_append_many(void *outbox);

struct ob_relay_subscription trial_subscription(const char *name, const char *store,
						const char *sink);
/* A relay with `count` subscriptions "s0", "s1" ... */
struct ob_relay *trial_relay(const struct ob_relay_config *config, const char *outbox,
			     const char *sink, unsigned count);
uint64_t trial_sent_by(struct ob_relay *relay, size_t index);
/* Waits until each of the first `count` subscriptions has sent so many. */
void trial_wait_for_sent(struct ob_relay *relay, unsigned count, uint64_t sent);

#endif
