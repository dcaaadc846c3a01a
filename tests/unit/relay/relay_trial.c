#include "relay_trial.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cm.h"

#include "memory.h"

static struct ob_host_log nowhere;
struct ob_real_host trial_host;

static struct ob_bytes
bytes_of(const char *text)
{
	return (struct ob_bytes){.data = text, .size = strlen(text)};
}

void
trial_append(const char *outbox, unsigned number)
{
	char id[32], key[32];
	struct ob_message message = {.topic = bytes_of("orders"), .payload = bytes_of("{}")};
	struct ob_error error;

	snprintf(id, sizeof(id), "id-%u", number);
	snprintf(key, sizeof(key), "key-%u", number % 97);
	message.id = bytes_of(id);
	message.key = bytes_of(key);
	assert_int_equal(ob_memory_append(outbox, &trial_host.host, &message, 0, &error), OB_OK);
}

void *
trial_append_many(void *outbox)
{
	for (unsigned i = 0; i < MESSAGES; i++)
		trial_append(outbox, i);
	return NULL;
}

struct ob_relay_subscription
trial_subscription(const char *name, const char *store, const char *sink)
{
	struct ob_relay_subscription it;

	ob_relay_subscription_defaults(&it);
	it.name = name;
	it.store_url = store;
	it.sink_url = sink;
	return it;
}

struct ob_relay *
trial_relay(const struct ob_relay_config *config, const char *outbox, const char *sink,
	    unsigned count)
{
	struct ob_relay *relay;
	struct ob_error error;
	char name[16], url[64];

	snprintf(url, sizeof(url), "memory:%s", outbox);
	assert_int_equal(ob_relay_new(config, &relay, &error), OB_OK);
	for (unsigned i = 0; i < count; i++) {
		struct ob_relay_subscription it;

		snprintf(name, sizeof(name), "s%u", i);
		it = trial_subscription(name, url, sink);
		assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	}
	assert_int_equal(ob_relay_count(relay), count);
	return relay;
}

uint64_t
trial_sent_by(struct ob_relay *relay, size_t index)
{
	struct ob_relay_stats stats;

	assert_int_equal(ob_relay_stats(relay, index, &stats), OB_OK);
	return stats.sent;
}

void
trial_wait_for_sent(struct ob_relay *relay, unsigned count, uint64_t sent)
{
	int64_t until = ob_now_ms() + DEADLINE_MS;

	for (size_t i = 0; i < count; i++)
		while (trial_sent_by(relay, i) < sent) {
			assert_true(ob_now_ms() < until);
			usleep(1000);
		}
}

int
trial_set_up(void **state)
{
	(void)state;
	ob_host_log_init(&nowhere, NULL, NULL);
	ob_real_host_init(&trial_host, &nowhere, NULL);
	return 0;
}
