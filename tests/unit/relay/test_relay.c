/* The relay through its public API, from the memory store. Run under the thread sanitizer, too. */
#include <outbox/relay.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cm.h"

#include "handles.h"
#include "host.h"
#include "memory.h"

#define MESSAGES 5000
/* Long enough for any machine; nothing waits for it when all is well. */
#define DEADLINE_MS 30000

static struct ob_host_log nowhere;
static struct ob_real_host host;

static struct ob_bytes
bytes_of(const char *text)
{
	return (struct ob_bytes){.data = text, .size = strlen(text)};
}

static void
append(const char *outbox, unsigned number)
{
	char id[32], key[32];
	struct ob_message message = {.topic = bytes_of("orders"), .payload = bytes_of("{}")};
	struct ob_error error;

	snprintf(id, sizeof(id), "id-%u", number);
	snprintf(key, sizeof(key), "key-%u", number % 97);
	message.id = bytes_of(id);
	message.key = bytes_of(key);
	assert_int_equal(ob_memory_append(outbox, &host.host, &message, 0, &error), OB_OK);
}

static void *
append_many(void *outbox)
{
	for (unsigned i = 0; i < MESSAGES; i++)
		append(outbox, i);
	return NULL;
}

static struct ob_relay_subscription
subscription(const char *name, const char *store, const char *sink)
{
	struct ob_relay_subscription it;

	ob_relay_subscription_defaults(&it);
	it.name = name;
	it.store_url = store;
	it.sink_url = sink;
	return it;
}

static struct ob_relay *
relay_of(const struct ob_relay_config *config, const char *outbox, const char *sink, unsigned count)
{
	struct ob_relay *relay;
	struct ob_error error;
	char name[16], url[64];

	snprintf(url, sizeof(url), "memory:%s", outbox);
	assert_int_equal(ob_relay_new(config, &relay, &error), OB_OK);
	for (unsigned i = 0; i < count; i++) {
		struct ob_relay_subscription it;

		snprintf(name, sizeof(name), "s%u", i);
		it = subscription(name, url, sink);
		assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	}
	assert_int_equal(ob_relay_count(relay), count);
	return relay;
}

static uint64_t
sent_by(struct ob_relay *relay, size_t index)
{
	struct ob_relay_stats stats;

	assert_int_equal(ob_relay_stats(relay, index, &stats), OB_OK);
	return stats.sent;
}

static void
wait_for_sent(struct ob_relay *relay, unsigned count, uint64_t sent)
{
	int64_t until = ob_now_ms() + DEADLINE_MS;

	for (size_t i = 0; i < count; i++)
		while (sent_by(relay, i) < sent) {
			assert_true(ob_now_ms() < until);
			usleep(1000);
		}
}

static void
several_subscriptions_send_all_while_a_writer_writes(void **state)
{
	struct ob_relay *relay = relay_of(NULL, "many", "null:", 3);
	struct ob_error error;
	pthread_t writer;

	(void)state;
	append("many", MESSAGES); /* makes the outbox */
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	assert_int_equal(pthread_create(&writer, NULL, append_many, "many"), 0);
	wait_for_sent(relay, 3, MESSAGES + 1);
	pthread_join(writer, NULL);
	ob_relay_reopen(relay);
	ob_relay_poke(relay, NULL);
	assert_int_equal(ob_relay_wait(relay, 0, &error), OB_BUSY);
	ob_relay_drain(relay, DEADLINE_MS);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(sent_by(relay, i), MESSAGES + 1);
	ob_relay_free(relay);
	ob_memory_drop("many");
}

static void
until_idle_ends_by_itself_with_all_settled(void **state)
{
	const struct ob_relay_config config = {.until_idle = true};
	struct ob_relay *relay = relay_of(&config, "idle", "null:", 1);
	struct ob_relay_stats stats;
	struct ob_error error;

	(void)state;
	append_many("idle");
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	assert_int_equal(ob_relay_stats(relay, 0, &stats), OB_OK);
	assert_int_equal(stats.sent, MESSAGES);
	assert_int_equal(stats.window_rows, 0);
	assert_string_equal(stats.state, "ended");
	ob_relay_free(relay);

	/* A second one finds nothing to do, and the lease free. */
	relay = relay_of(&config, "idle", "null:", 1);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	assert_int_equal(ob_relay_wait(relay, 2000, &error), OB_OK);
	assert_int_equal(sent_by(relay, 0), 0);
	ob_relay_free(relay);
	ob_memory_drop("idle");
}

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
	struct ob_relay_subscription it = subscription("calls", "memory:calls", "callback:");
	struct seen seen = {0};
	struct ob_relay_stats stats;
	struct ob_relay *relay;
	struct ob_error error;

	(void)state;
	append_many("calls");
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
	struct ob_relay_subscription it = subscription("later", "memory:later", "callback:");
	struct ob_relay_stats stats;
	struct ob_relay *relay;
	struct ob_error error;
	pthread_t workers[4];

	(void)state;
	append_many("later");
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
	struct ob_relay_subscription it = subscription("awaits", "memory:awaits", "callback:");
	int64_t until = ob_now_ms() + DEADLINE_MS;
	struct ob_relay *relay;
	struct ob_error error;
	unsigned put = 0;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		append("awaits", i);
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
	ob_relay_drain(relay, 200);
	assert_true(ob_callback_answer(desk.queue[0].ticket, OB_FATE_SENT, NULL, NULL, 0));
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	assert_int_equal(sent_by(relay, 0), 1);
	assert_false(ob_callback_answer(desk.queue[1].ticket, OB_FATE_SENT, NULL, NULL, 0));
	ob_relay_free(relay);
	assert_false(ob_callback_answer(desk.queue[2].ticket, OB_FATE_SENT, NULL, NULL, 0));
	/* What was answered in time is settled; the rest comes again. */
	relay = relay_of(NULL, "awaits", "null:", 0);
	it.sink_url = "null:";
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	wait_for_sent(relay, 1, 2);
	ob_relay_drain(relay, DEADLINE_MS);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	assert_int_equal(sent_by(relay, 0), 2);
	ob_relay_free(relay);
	ob_memory_drop("awaits");
}

static enum ob_fate
is_down(void *context, struct ob_callback_delivery *delivery)
{
	(void)context;
	snprintf(delivery->code, sizeof(delivery->code), "closed");
	return OB_FATE_DOWN;
}

static void
a_recipient_that_is_down_holds_back_only_its_own_subscription(void **state)
{
	struct ob_relay_subscription down = subscription("down", "memory:both", "callback:");
	struct ob_relay_subscription up = subscription("up", "memory:both", "null:");
	struct ob_relay_stats stats;
	struct ob_relay *relay;
	struct ob_error error;

	(void)state;
	append_many("both");
	down.callback.deliver = is_down;
	assert_int_equal(ob_relay_new(NULL, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &up, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &down, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	wait_for_sent(relay, 1, MESSAGES);
	ob_relay_drain(relay, DEADLINE_MS);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	assert_int_equal(ob_relay_stats(relay, 1, &stats), OB_OK);
	assert_int_equal(stats.sent, 0);
	assert_int_equal(stats.parked, 0);
	assert_int_equal(stats.dead, 0);
	ob_relay_free(relay);
	ob_memory_drop("both");
}

static void
a_reader_that_is_gone_ends_its_own_subscription(void **state)
{
	struct ob_relay_subscription piped = subscription("piped", "memory:piped", "stdout:");
	struct ob_relay_subscription other = subscription("other", "memory:piped", "null:");
	struct ob_relay_stats stats;
	struct ob_relay *relay;
	struct ob_error error;
	char option[32];
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	snprintf(option, sizeof(option), "descriptor=%d", fds[1]);
	piped.sink_options = (const char *const[]){option};
	piped.sink_option_count = 1;
	append_many("piped");
	assert_int_equal(ob_relay_new(NULL, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &piped, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &other, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	do {
		assert_int_equal(ob_relay_stats(relay, 0, &stats), OB_OK);
		usleep(1000);
	} while (strcmp(stats.state, "ended") != 0);
	assert_int_equal(stats.sent, 0);
	assert_int_equal(ob_relay_stats(relay, 1, &stats), OB_OK);
	assert_string_not_equal(stats.state, "ended");
	ob_relay_drain(relay, DEADLINE_MS);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_UNREACHABLE);
	assert_non_null(strstr(error.text, "subscription piped: sink stdout: nobody reads"));
	ob_relay_free(relay);
	close(fds[1]);
	ob_memory_drop("piped");
}

static void
a_stop_ends_at_once_and_gives_up_the_lease(void **state)
{
	struct ob_relay *relay = relay_of(NULL, "stop", "null:", 1);
	struct ob_error error;
	int64_t began;

	(void)state;
	append_many("stop");
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	wait_for_sent(relay, 1, 1);
	began = ob_now_ms();
	ob_relay_free(relay);
	relay = relay_of(NULL, "stop", "null:", 1);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	append("stop", MESSAGES);
	wait_for_sent(relay, 1, 1);
	/* Well below the lease of ten seconds. */
	assert_true(ob_now_ms() - began < 5000);
	ob_relay_free(relay);
	ob_memory_drop("stop");
}

static void
of_two_relays_one_stands_by(void **state)
{
	struct ob_relay *first = relay_of(NULL, "two", "null:", 1);
	struct ob_relay *second = relay_of(NULL, "two", "null:", 1);
	struct ob_relay_stats stats = {0};
	struct ob_error error;
	int64_t until = ob_now_ms() + DEADLINE_MS;

	(void)state;
	append("two", 0);
	assert_int_equal(ob_relay_start(first, &error), OB_OK);
	wait_for_sent(first, 1, 1);
	assert_int_equal(ob_relay_start(second, &error), OB_OK);
	while (strcmp(stats.state, "standby") != 0) {
		assert_true(ob_now_ms() < until);
		usleep(1000);
		assert_int_equal(ob_relay_stats(second, 0, &stats), OB_OK);
	}
	append("two", 1);
	wait_for_sent(first, 1, 2);
	assert_int_equal(sent_by(second, 0), 0);
	ob_relay_free(second);
	ob_relay_free(first);
	ob_memory_drop("two");
}

static void
state_copy(void *context, const struct ob_subscription_stats *stats)
{
	snprintf(context, 16, "%s", stats->state);
}

/* What a person sees and does from another process. */
static void
person(const char *url, const char *awaits_state, enum ob_change_kind then)
{
	const struct ob_change change = {.kind = then, .selection = {.subscription = "s"}};
	int64_t until = ob_now_ms() + DEADLINE_MS;
	struct ob_store_handle store;
	struct ob_error error;
	char state[16] = "";
	uint64_t count;

	assert_int_equal(ob_store_handle_init(&store, url, NULL, 0, &host.host, &error), OB_OK);
	assert_int_equal(ob_store_handle_open(&store, false, false, &error), OB_OK);
	/* Once it is written, nothing more is until the next renewal. */
	while (strcmp(state, awaits_state) != 0) {
		assert_true(ob_now_ms() < until);
		usleep(1000);
		assert_int_equal(store.ops->stats(store.store, "s", state_copy, state, &error),
				 OB_OK);
	}
	assert_int_equal(store.ops->change(store.store, &change, &count, &error), OB_OK);
	assert_int_equal(count, 1);
	ob_store_handle_free(&store);
}

static struct ob_relay *
relay_that_renews_late(struct ob_relay_subscription *it)
{
	struct ob_relay *relay;
	struct ob_error error;

	/* Renewed after three tenths of it, long after what is waited for below. */
	it->lease_ms = (int64_t)20 * DEADLINE_MS;
	assert_int_equal(ob_relay_new(NULL, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, it, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	return relay;
}

static void
a_persons_change_is_heard_before_the_next_renewal(void **state)
{
	struct ob_relay_subscription it = subscription("s", "memory:heard", "null:");
	struct ob_relay *relay;

	(void)state;
	append("heard", 0);
	relay = relay_that_renews_late(&it);
	wait_for_sent(relay, 1, 1);
	/* When it is idle, and when it reads nothing. */
	person("memory:heard", "running", OB_CHANGE_PAUSE);
	append("heard", 1);
	person("memory:heard", "paused", OB_CHANGE_RESUME);
	wait_for_sent(relay, 1, 2);
	ob_relay_free(relay);
	ob_memory_drop("heard");
}

static void
a_persons_change_is_heard_while_there_is_no_room(void **state)
{
	struct ob_relay_subscription it = subscription("s", "memory:room", "callback:");
	struct ob_relay *relay;

	(void)state;
	it.callback.deliver = is_down;
	it.window_count = 1;
	append("room", 0);
	append("room", 1);
	relay = relay_that_renews_late(&it);
	person("memory:room", "down", OB_CHANGE_PAUSE);
	person("memory:room", "paused", OB_CHANGE_RESUME);
	person("memory:room", "down", OB_CHANGE_PAUSE);
	ob_relay_free(relay);
	ob_memory_drop("room");
}

static void
wrong_configuration_is_told_before_anything_runs(void **state)
{
	struct ob_relay_subscription it;
	struct ob_relay *relay;
	struct ob_error error;

	(void)state;
	assert_int_equal(ob_relay_new(NULL, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_USAGE);
	it = subscription("Bad Name", "memory:x", "null:");
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	it = subscription("good", "memry:x", "null:");
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	assert_non_null(strstr(error.text, "subscription good"));
	assert_non_null(strstr(error.text, "did you mean \"memory:\"?"));
	it = subscription("good", "memory:x", "null:");
	it.sink_options = (const char *const[]){"no-such-option=1"};
	it.sink_option_count = 1;
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	it.sink_option_count = 0;
	it.lease_ms = 0;
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	it = subscription("good", "memory:x", "null:");
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	ob_relay_free(relay);
	ob_memory_drop("x");
}

static void
a_database_that_is_not_there_fails_the_start(void **state)
{
	struct ob_relay_subscription it = subscription("s", "sqlite:/nonexistent/shop.db", "null:");
	struct ob_relay *relay;
	struct ob_error error;

	(void)state;
	assert_int_equal(ob_relay_new(NULL, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	assert_int_not_equal(ob_relay_start(relay, &error), OB_OK);
	assert_non_null(strstr(error.text, "/nonexistent/shop.db"));
	ob_relay_free(relay);
}

static int
set_up(void **state)
{
	(void)state;
	ob_host_log_init(&nowhere, NULL, NULL);
	ob_real_host_init(&host, &nowhere, NULL);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(several_subscriptions_send_all_while_a_writer_writes),
	    cmocka_unit_test(until_idle_ends_by_itself_with_all_settled),
	    cmocka_unit_test(a_function_gets_all_in_order_though_some_fail_at_first),
	    cmocka_unit_test(answers_from_other_threads_keep_the_order_of_keys),
	    cmocka_unit_test(a_drain_waits_for_answers_until_its_deadline),
	    cmocka_unit_test(a_recipient_that_is_down_holds_back_only_its_own_subscription),
	    cmocka_unit_test(a_reader_that_is_gone_ends_its_own_subscription),
	    cmocka_unit_test(a_stop_ends_at_once_and_gives_up_the_lease),
	    cmocka_unit_test(of_two_relays_one_stands_by),
	    cmocka_unit_test(a_persons_change_is_heard_before_the_next_renewal),
	    cmocka_unit_test(a_persons_change_is_heard_while_there_is_no_room),
	    cmocka_unit_test(wrong_configuration_is_told_before_anything_runs),
	    cmocka_unit_test(a_database_that_is_not_there_fails_the_start),
	};

	return cmocka_run_group_tests_name("relay", tests, set_up, NULL);
}
