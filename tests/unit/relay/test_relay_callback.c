/* The relay with a function of the program for a recipient. Run under the thread sanitizer, too. */
#include <outbox/relay.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cm.h"

#include "host.h"
#include "memory.h"
#include "relay_trial.h"

/* What the function below has seen. Only the relay's thread writes it, and it has ended when the test reads. */
struct seen {
	unsigned calls, sent;
	unsigned last_of_key[97];
	bool out_of_order;
};

static enum ob_fate
every_tenth_fails_once(void *context, struct ob_callback_delivery *delivery)
{
	struct seen *seen = context;
	char text[32] = "";
	unsigned number;

	seen->calls++;
	memcpy(text, delivery->message->id.data, delivery->message->id.size);
	number = (unsigned)strtoul(text + 3, NULL, 10);
	if (number % 10 == 0 && delivery->attempt == 1) {
		snprintf(delivery->code, sizeof(delivery->code), "not_yet");
		return OB_FATE_RETRY;
	}
	if (number < seen->last_of_key[number % 97])
		seen->out_of_order = true;
	seen->last_of_key[number % 97] = number;
	seen->sent++;
	return OB_FATE_SENT;
}

static void
a_function_gets_all_in_order_though_some_fail_at_first(void **state)
{
	const struct ob_relay_config config = {.until_idle = true};
	struct ob_relay_subscription it = trial_subscription("calls", "memory:calls", "callback:");
	struct seen seen = {0};
	struct ob_relay_stats stats;
	struct ob_relay *relay;
	struct ob_error error;

	(void)state;
	trial_append_many("calls");
	it.callback = (struct ob_callback){.context = &seen, .deliver = every_tenth_fails_once};
	it.retry_first_ms = 10;
	it.storm_limit = 0; /* all keys fail at their first message: that is no storm here */
	assert_int_equal(ob_relay_new(&config, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	assert_int_equal(ob_relay_stats(relay, 0, &stats), OB_OK);
	ob_relay_free(relay);
	assert_int_equal(seen.sent, MESSAGES);
	assert_int_equal(seen.calls, MESSAGES + MESSAGES / 10);
	assert_int_equal(stats.retried, MESSAGES / 10);
	assert_false(seen.out_of_order);
	ob_memory_drop("calls");
}

/* A program that answers from threads of its own. */
struct desk {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct {
		struct ob_callback_ticket *ticket;
		unsigned number;
		uint32_t attempt;
	} queue[2 * MESSAGES];
	unsigned put, got;
	bool closed;
	struct seen seen; /* under the lock */
};

static void
desk_take(void *context, const struct ob_callback_delivery *delivery,
	  struct ob_callback_ticket *ticket)
{
	struct desk *desk = context;
	char text[32] = "";

	memcpy(text, delivery->message->id.data, delivery->message->id.size);
	pthread_mutex_lock(&desk->lock);
	assert_true(desk->put < sizeof(desk->queue) / sizeof(desk->queue[0]));
	desk->queue[desk->put].ticket = ticket;
	desk->queue[desk->put].number = (unsigned)strtoul(text + 3, NULL, 10);
	desk->queue[desk->put++].attempt = delivery->attempt;
	pthread_cond_signal(&desk->changed);
	pthread_mutex_unlock(&desk->lock);
}

/* As every_tenth_fails_once, of what another thread took; the answer comes outside the lock. */
static void *
desk_work(void *context)
{
	struct desk *desk = context;

	pthread_mutex_lock(&desk->lock);
	for (;;) {
		unsigned at, number;
		bool fails;

		while (desk->got == desk->put && !desk->closed)
			pthread_cond_wait(&desk->changed, &desk->lock);
		if (desk->got == desk->put)
			break;
		at = desk->got++;
		number = desk->queue[at].number;
		fails = number % 10 == 0 && desk->queue[at].attempt == 1;
		desk->seen.calls++;
		if (!fails) {
			if (number < desk->seen.last_of_key[number % 97])
				desk->seen.out_of_order = true;
			desk->seen.last_of_key[number % 97] = number;
			desk->seen.sent++;
		}
		pthread_mutex_unlock(&desk->lock);
		assert_true(fails ? ob_callback_answer(desk->queue[at].ticket, OB_FATE_RETRY,
						       "not_yet", NULL, 0)
				  : ob_callback_answer(desk->queue[at].ticket, OB_FATE_SENT, NULL,
						       NULL, 0));
		pthread_mutex_lock(&desk->lock);
	}
	pthread_mutex_unlock(&desk->lock);
	return NULL;
}

static void
answers_from_other_threads_keep_the_order_of_keys(void **state)
{
	static struct desk desk = {.lock = PTHREAD_MUTEX_INITIALIZER,
				   .changed = PTHREAD_COND_INITIALIZER};
	const struct ob_relay_config config = {.until_idle = true};
	struct ob_relay_subscription it = trial_subscription("later", "memory:later", "callback:");
	struct ob_relay_stats stats;
	struct ob_relay *relay;
	struct ob_error error;
	pthread_t workers[4];

	(void)state;
	trial_append_many("later");
	it.callback = (struct ob_callback){.context = &desk, .take = desk_take};
	it.retry_first_ms = 10;
	it.storm_limit = 0;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&workers[i], NULL, desk_work, &desk), 0);
	assert_int_equal(ob_relay_new(&config, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	assert_int_equal(ob_relay_stats(relay, 0, &stats), OB_OK);
	ob_relay_free(relay);
	pthread_mutex_lock(&desk.lock);
	desk.closed = true;
	pthread_cond_broadcast(&desk.changed);
	pthread_mutex_unlock(&desk.lock);
	for (int i = 0; i < 4; i++)
		pthread_join(workers[i], NULL);
	assert_int_equal(desk.seen.sent, MESSAGES);
	assert_int_equal(desk.seen.calls, MESSAGES + MESSAGES / 10);
	assert_int_equal(stats.retried, MESSAGES / 10);
	assert_false(desk.seen.out_of_order);
	ob_memory_drop("later");
}

static void
a_drain_waits_for_answers_until_its_deadline(void **state)
{
	static struct desk desk = {.lock = PTHREAD_MUTEX_INITIALIZER,
				   .changed = PTHREAD_COND_INITIALIZER};
	struct ob_relay_subscription it =
	    trial_subscription("awaits", "memory:awaits", "callback:");
	int64_t until = ob_now_ms() + DEADLINE_MS;
	struct ob_relay *relay;
	struct ob_error error;
	unsigned put = 0;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		trial_append("awaits", i);
	it.callback = (struct ob_callback){.context = &desk, .take = desk_take};
	assert_int_equal(ob_relay_new(NULL, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	while (put < 3) {
		assert_true(ob_now_ms() < until);
		usleep(1000);
		pthread_mutex_lock(&desk.lock);
		put = desk.put;
		pthread_mutex_unlock(&desk.lock);
	}
	/* As long as it takes; a later call shortens that. */
	ob_relay_drain(relay, INT64_MAX);
	assert_int_equal(ob_relay_wait(relay, 50, &error), OB_BUSY);
	ob_relay_drain(relay, 200);
	assert_true(ob_callback_answer(desk.queue[0].ticket, OB_FATE_SENT, NULL, NULL, 0));
	assert_int_equal(ob_relay_wait(relay, INT64_MAX, &error), OB_OK);
	assert_int_equal(trial_sent_by(relay, 0), 1);
	assert_false(ob_callback_answer(desk.queue[1].ticket, OB_FATE_SENT, NULL, NULL, 0));
	ob_relay_free(relay);
	assert_false(ob_callback_answer(desk.queue[2].ticket, OB_FATE_SENT, NULL, NULL, 0));
	/* What was answered in time is settled; the rest comes again. */
	relay = trial_relay(NULL, "awaits", "null:", 0);
	it.sink_url = "null:";
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	trial_wait_for_sent(relay, 1, 2);
	ob_relay_drain(relay, DEADLINE_MS);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	assert_int_equal(trial_sent_by(relay, 0), 2);
	ob_relay_free(relay);
	ob_memory_drop("awaits");
}

/* Goes down and comes up by turns, and counts the lines that were written of it. */
struct flapping {
	unsigned calls, lines;
	char last[256];
};

static enum ob_fate
flap(void *context, struct ob_callback_delivery *delivery)
{
	struct flapping *it = context;

	(void)delivery;
	return ++it->calls % 2 == 0 ? OB_FATE_SENT : OB_FATE_DOWN;
}

static void
line_count(void *context, enum ob_log_level level, const char *text)
{
	struct flapping *it = context;

	(void)level;
	it->lines++;
	snprintf(it->last, sizeof(it->last), "%s", text);
}

static void
a_recipient_that_flaps_does_not_flood_the_log(void **state)
{
	struct flapping it = {0};
	const struct ob_relay_config config = {
	    .log = line_count, .log_context = &it, .until_idle = true};
	struct ob_relay_subscription flapping =
	    trial_subscription("flapping", "memory:flapping", "callback:");
	struct ob_relay *relay;
	struct ob_error error;

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		trial_append("flapping", i);
	flapping.callback = (struct ob_callback){.context = &it, .deliver = flap};
	flapping.probe_first_ms = 1;
	assert_int_equal(ob_relay_new(&config, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &flapping, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	ob_relay_free(relay);
	assert_true(it.calls >= 200);
	/* Five each of "running" and "down", what sums them up, and the drain. */
	assert_in_range(it.lines, 10, 16);
	assert_non_null(strstr(it.last, "more like this in"));
	ob_memory_drop("flapping");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_function_gets_all_in_order_though_some_fail_at_first),
	    cmocka_unit_test(answers_from_other_threads_keep_the_order_of_keys),
	    cmocka_unit_test(a_drain_waits_for_answers_until_its_deadline),
	    cmocka_unit_test(a_recipient_that_flaps_does_not_flood_the_log),
	};

	return cmocka_run_group_tests_name("relay-callback", tests, trial_set_up, NULL);
}
