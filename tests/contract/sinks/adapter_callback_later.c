/* callback, answered later: the recipient is two threads, which take from a queue. */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "list.h"
#include "sink_suite.h"
#include "sinks.h"

#define WORKERS 2

struct work {
	struct ob_list link;
	struct ob_callback_ticket *ticket;
	char id[64];
	char *payload;
	size_t payload_size;
};

struct recipient {
	pthread_t workers[WORKERS];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Below: under the lock. */
	struct ob_list queue;
	bool hangs, ends, down;
	const char *fails;
	struct sink_arrivals arrivals;
};

static void
later_take(void *context, const struct ob_callback_delivery *delivery,
	   struct ob_callback_ticket *ticket)
{
	struct recipient *it = context;
	const struct ob_message *message = delivery->message;
	struct work *work = calloc(1, sizeof(*work));

	assert(work != NULL);
	assert(delivery->attempt == 1);
	work->ticket = ticket;
	snprintf(work->id, sizeof(work->id), "%.*s", (int)message->id.size,
		 (const char *)message->id.data);
	work->payload_size = message->payload.size;
	if (message->payload.data != NULL) {
		work->payload = malloc(work->payload_size + 1);
		assert(work->payload != NULL);
		memcpy(work->payload, message->payload.data, work->payload_size);
	}
	pthread_mutex_lock(&it->lock);
	ob_list_push_back(&it->queue, &work->link);
	pthread_cond_signal(&it->changed);
	pthread_mutex_unlock(&it->lock);
}

/* Under the lock, so that an arrival that counts is seen with its receipt. */
static void
later_answer(struct recipient *it, struct work *work)
{
	if (it->down)
		ob_callback_answer(work->ticket, OB_FATE_DOWN, "closed_for_today",
				   "come back tomorrow", 0);
	else if (it->fails != NULL && strcmp(it->fails, work->id) == 0)
		ob_callback_answer(work->ticket, OB_FATE_RETRY, "No Code!",
				   "line\nnext\xff\x1b[31m", 0);
	else {
		sink_arrivals_add(&it->arrivals, work->id, work->payload, work->payload_size);
		ob_callback_answer(work->ticket, OB_FATE_SENT, NULL, NULL, 0);
	}
}

static void *
later_work(void *context)
{
	struct recipient *it = context;
	struct ob_list *first;

	pthread_mutex_lock(&it->lock);
	for (;;) {
		struct work *work;

		while (!it->ends && (it->hangs || ob_list_is_empty(&it->queue)))
			pthread_cond_wait(&it->changed, &it->lock);
		first = ob_list_pop_front(&it->queue);
		if (first == NULL)
			break;
		work = OB_CONTAINER_OF(first, struct work, link);
		later_answer(it, work);
		free(work->payload);
		free(work);
	}
	pthread_mutex_unlock(&it->lock);
	return NULL;
}

static void *
later_start(const char *directory)
{
	struct recipient *it = calloc(1, sizeof(*it));

	(void)directory;
	assert(it != NULL);
	pthread_mutex_init(&it->lock, NULL);
	pthread_cond_init(&it->changed, NULL);
	ob_list_init(&it->queue);
	for (int i = 0; i < WORKERS; i++)
		assert(pthread_create(&it->workers[i], NULL, later_work, it) == 0);
	return it;
}

static void
later_set(struct recipient *it, bool *flag, bool value)
{
	pthread_mutex_lock(&it->lock);
	*flag = value;
	pthread_cond_broadcast(&it->changed);
	pthread_mutex_unlock(&it->lock);
}

/* What is in the queue is still answered: the sink is closed by then. */
static void
later_stop(void *recipient)
{
	struct recipient *it = recipient;

	later_set(it, &it->ends, true);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(it->workers[i], NULL);
	pthread_cond_destroy(&it->changed);
	pthread_mutex_destroy(&it->lock);
	sink_arrivals_clear(&it->arrivals);
	free(it);
}

static void
later_configure(void *recipient, struct sink_setup *setup)
{
	snprintf(setup->url, sizeof(setup->url), "callback:");
	snprintf(setup->options[0], sizeof(setup->options[0]), "in-flight=100");
	setup->callback = (struct ob_callback){.context = recipient, .take = later_take};
}

static void
later_arrivals(void *recipient, struct sink_arrivals *arrivals)
{
	struct recipient *it = recipient;

	pthread_mutex_lock(&it->lock);
	for (size_t i = 0; i < it->arrivals.count; i++)
		sink_arrivals_add(arrivals, it->arrivals.items[i].id, it->arrivals.items[i].payload,
				  it->arrivals.items[i].payload_size);
	sink_arrivals_clear(&it->arrivals);
	pthread_mutex_unlock(&it->lock);
}

static void
later_fail(void *recipient, const char *id)
{
	struct recipient *it = recipient;

	pthread_mutex_lock(&it->lock);
	it->fails = id;
	pthread_mutex_unlock(&it->lock);
}

static void
later_down(void *recipient, bool down)
{
	later_set(recipient, &((struct recipient *)recipient)->down, down);
}

static void
later_hang(void *recipient, bool hang)
{
	later_set(recipient, &((struct recipient *)recipient)->hangs, hang);
}

const struct sink_adapter sink_adapter_callback_later = {
    .name = "callback-later",
    .ops = &ob_sink_callback,
    .wrong_url = "callback:something",
    .start = later_start,
    .stop = later_stop,
    .configure = later_configure,
    .arrivals = later_arrivals,
    .refuse = later_fail,
    .down = later_down,
    .hang = later_hang,
};
