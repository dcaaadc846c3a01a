/* callback: the recipient is a function. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sink_suite.h"
#include "sinks.h"

struct recipient {
	const char *fails;
	bool down;
	struct sink_arrivals arrivals;
};

static enum ob_fate
callback_deliver(void *context, struct ob_callback_delivery *delivery)
{
	struct recipient *it = context;
	const struct ob_message *message = delivery->message;
	char id[64];

	assert(delivery->attempt == 1);
	snprintf(id, sizeof(id), "%.*s", (int)message->id.size, (const char *)message->id.data);
	if (it->down) {
		snprintf(delivery->code, sizeof(delivery->code), "closed_for_today");
		snprintf(delivery->text, sizeof(delivery->text), "come back tomorrow");
		return OB_FATE_DOWN;
	}
	if (it->fails != NULL && strcmp(it->fails, id) == 0) {
		/* What a function says may be nonsense. */
		snprintf(delivery->code, sizeof(delivery->code), "No Code!");
		memcpy(delivery->text, "line\nnext\xff\x1b[31m", 15);
		return OB_FATE_RETRY;
	}
	sink_arrivals_add(&it->arrivals, id, message->payload.data, message->payload.size);
	return OB_FATE_SENT;
}

static void *
callback_start(const char *directory)
{
	struct recipient *it = calloc(1, sizeof(*it));

	(void)directory;
	assert(it != NULL);
	return it;
}

static void
callback_stop(void *recipient)
{
	struct recipient *it = recipient;

	sink_arrivals_clear(&it->arrivals);
	free(it);
}

static void
callback_configure(void *recipient, struct sink_setup *setup)
{
	snprintf(setup->url, sizeof(setup->url), "callback:");
	snprintf(setup->options[0], sizeof(setup->options[0]), "in-flight=100");
	setup->callback = (struct ob_callback){.context = recipient, .deliver = callback_deliver};
}

static void
callback_arrivals(void *recipient, struct sink_arrivals *arrivals)
{
	struct recipient *it = recipient;

	for (size_t i = 0; i < it->arrivals.count; i++)
		sink_arrivals_add(arrivals, it->arrivals.items[i].id, it->arrivals.items[i].payload,
				  it->arrivals.items[i].payload_size);
	sink_arrivals_clear(&it->arrivals);
}

static void
callback_fail(void *recipient, const char *id)
{
	((struct recipient *)recipient)->fails = id;
}

static void
callback_down(void *recipient, bool down)
{
	((struct recipient *)recipient)->down = down;
}

const struct sink_adapter sink_adapter_callback = {
    .name = "callback",
    .ops = &ob_sink_callback,
    .wrong_url = "callback:something",
    .start = callback_start,
    .stop = callback_stop,
    .configure = callback_configure,
    .arrivals = callback_arrivals,
    .refuse = callback_fail,
    .down = callback_down,
    .why_no_hang = "the function runs inside poll, which waits for it",
};
