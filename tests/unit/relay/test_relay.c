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
#include "relay_trial.h"
#include "text.h"

static void
several_subscriptions_send_all_while_a_writer_writes(void **state)
{
	struct ob_relay *relay = trial_relay(NULL, "many", "null:", 3);
	struct ob_error error;
	pthread_t writer;

	(void)state;
	trial_append("many", MESSAGES); /* makes the outbox */
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	assert_int_equal(pthread_create(&writer, NULL, trial_append_many, "many"), 0);
	trial_wait_for_sent(relay, 3, MESSAGES + 1);
	pthread_join(writer, NULL);
	ob_relay_reopen(relay);
	ob_relay_poke(relay, NULL);
	assert_int_equal(ob_relay_wait(relay, 0, &error), OB_BUSY);
	ob_relay_drain(relay, DEADLINE_MS);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(trial_sent_by(relay, i), MESSAGES + 1);
	ob_relay_free(relay);
	ob_memory_drop("many");
}

static void
until_idle_ends_by_itself_with_all_settled(void **state)
{
	const struct ob_relay_config config = {.until_idle = true};
	struct ob_relay *relay = trial_relay(&config, "idle", "null:", 1);
	struct ob_relay_stats stats;
	struct ob_error error;

	(void)state;
	trial_append_many("idle");
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	assert_int_equal(ob_relay_stats(relay, 0, &stats), OB_OK);
	assert_int_equal(stats.sent, MESSAGES);
	assert_int_equal(stats.window_rows, 0);
	assert_string_equal(stats.state, "ended");
	ob_relay_free(relay);

	/* A second one finds nothing to do, and the lease free. */
	relay = trial_relay(&config, "idle", "null:", 1);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	assert_int_equal(ob_relay_wait(relay, 2000, &error), OB_OK);
	assert_int_equal(trial_sent_by(relay, 0), 0);
	ob_relay_free(relay);
	ob_memory_drop("idle");
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
	struct ob_relay_subscription down = trial_subscription("down", "memory:both", "callback:");
	struct ob_relay_subscription up = trial_subscription("up", "memory:both", "null:");
	struct ob_relay_stats stats;
	struct ob_relay *relay;
	struct ob_error error;

	(void)state;
	trial_append_many("both");
	down.callback.deliver = is_down;
	assert_int_equal(ob_relay_new(NULL, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &up, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &down, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	trial_wait_for_sent(relay, 1, MESSAGES);
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
	struct ob_relay_subscription piped = trial_subscription("piped", "memory:piped", "stdout:");
	struct ob_relay_subscription other = trial_subscription("other", "memory:piped", "null:");
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
	trial_append_many("piped");
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
	struct ob_relay *relay = trial_relay(NULL, "stop", "null:", 1);
	struct ob_error error;
	int64_t began;

	(void)state;
	trial_append_many("stop");
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	trial_wait_for_sent(relay, 1, 1);
	began = ob_now_ms();
	ob_relay_free(relay);
	relay = trial_relay(NULL, "stop", "null:", 1);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	trial_append("stop", MESSAGES);
	trial_wait_for_sent(relay, 1, 1);
	/* Well below the lease of ten seconds. */
	assert_true(ob_now_ms() - began < 5000);
	ob_relay_free(relay);
	ob_memory_drop("stop");
}

static void
of_two_relays_one_stands_by(void **state)
{
	struct ob_relay *first = trial_relay(NULL, "two", "null:", 1);
	struct ob_relay *second = trial_relay(NULL, "two", "null:", 1);
	struct ob_relay_stats stats = {0};
	struct ob_error error;
	int64_t until = ob_now_ms() + DEADLINE_MS;

	(void)state;
	trial_append("two", 0);
	assert_int_equal(ob_relay_start(first, &error), OB_OK);
	trial_wait_for_sent(first, 1, 1);
	assert_int_equal(ob_relay_start(second, &error), OB_OK);
	while (strcmp(stats.state, "standby") != 0) {
		assert_true(ob_now_ms() < until);
		usleep(1000);
		assert_int_equal(ob_relay_stats(second, 0, &stats), OB_OK);
	}
	trial_append("two", 1);
	trial_wait_for_sent(first, 1, 2);
	assert_int_equal(trial_sent_by(second, 0), 0);
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

	assert_int_equal(ob_store_handle_init(&store, url, NULL, 0, &trial_host.host, &error),
			 OB_OK);
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
	struct ob_relay_subscription it = trial_subscription("s", "memory:heard", "null:");
	struct ob_relay *relay;

	(void)state;
	trial_append("heard", 0);
	relay = relay_that_renews_late(&it);
	trial_wait_for_sent(relay, 1, 1);
	/* When it is idle, and when it reads nothing. */
	person("memory:heard", "running", OB_CHANGE_PAUSE);
	trial_append("heard", 1);
	person("memory:heard", "paused", OB_CHANGE_RESUME);
	trial_wait_for_sent(relay, 1, 2);
	ob_relay_free(relay);
	ob_memory_drop("heard");
}

static void
a_persons_change_is_heard_while_there_is_no_room(void **state)
{
	struct ob_relay_subscription it = trial_subscription("s", "memory:room", "callback:");
	struct ob_relay *relay;

	(void)state;
	it.callback.deliver = is_down;
	it.window_count = 1;
	trial_append("room", 0);
	trial_append("room", 1);
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
	it = trial_subscription("Bad Name", "memory:x", "null:");
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	it = trial_subscription("good", "memry:x", "null:");
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	assert_non_null(strstr(error.text, "subscription good"));
	assert_non_null(strstr(error.text, "did you mean \"memory:\"?"));
	it = trial_subscription("good", "memory:x", "null:");
	it.sink_options = (const char *const[]){"no-such-option=1"};
	it.sink_option_count = 1;
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	it.sink_option_count = 0;
	it.lease_ms = 0;
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	it = trial_subscription("good", "memory:x", "null:");
	it.lease_ms = 50;
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	assert_string_equal(error.text,
			    "subscription good: lease: 50ms is out of range; allowed is "
			    "200ms to 1h");
	/* Numbers that the engine would cut, or refuse only once it runs. */
	it = trial_subscription("good", "memory:x", "null:");
	it.attempts_max = (int64_t)1 << 32;
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	it = trial_subscription("good", "memory:x", "null:");
	it.storm_limit = 1001;
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	it = trial_subscription("good", "memory:x", "null:");
	it.order_by = 2;
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	assert_non_null(strstr(error.text, "order-by: 2 is none of the 2 choices"));
	it = trial_subscription("good", "memory:x", "null:");
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	ob_relay_free(relay);
	ob_memory_drop("x");
}

/* To a program that embeds the relay, which may read no log. */
static void
a_database_that_is_gone_is_told_with_its_reason(void **state)
{
	char directory[] = "/tmp/outbox-relay-XXXXXX", path[64], url[80];
	struct ob_relay_stats stats = {0};
	struct ob_store_handle store;
	struct ob_relay_subscription it;
	struct ob_relay *relay;
	struct ob_error error;
	int64_t until = ob_now_ms() + DEADLINE_MS;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/shop.db", directory);
	snprintf(url, sizeof(url), "sqlite:%s", path);
	assert_int_equal(ob_store_handle_init(&store, url, NULL, 0, &trial_host.host, &error),
			 OB_OK);
	assert_int_equal(ob_store_handle_open(&store, true, false, &error), OB_OK);
	assert_int_equal(store.ops->migrate(store.store, OB_MIGRATE_APPLY, NULL, NULL, &error),
			 OB_OK);
	ob_store_handle_free(&store);
	it = trial_subscription("s", url, "null:");
	assert_int_equal(ob_relay_new(NULL, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	while (strcmp(stats.state, "store_failed") != 0) {
		assert_true(ob_now_ms() < until);
		usleep(1000);
		assert_int_equal(ob_relay_stats(relay, 0, &stats), OB_OK);
		if (strcmp(stats.state, "running") == 0)
			unlink(path);
	}
	/* "foreign", or "not_found" once it was asked again. */
	if (!ob_text_starts_with(stats.text, url))
		fail_msg("%s: %s", stats.code, stats.text);
	ob_relay_free(relay);
	for (int i = 0; i < 3; i++) {
		snprintf(url, sizeof(url), "%s%s", path, i == 0 ? "-wal" : i == 1 ? "-shm" : "");
		unlink(url);
	}
	assert_int_equal(rmdir(directory), 0);
}

static void
a_database_that_is_not_there_fails_the_start(void **state)
{
	struct ob_relay_subscription it =
	    trial_subscription("s", "sqlite:/nonexistent/shop.db", "null:");
	struct ob_relay *relay;
	struct ob_error error;

	(void)state;
	assert_int_equal(ob_relay_new(NULL, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	assert_int_not_equal(ob_relay_start(relay, &error), OB_OK);
	assert_non_null(strstr(error.text, "/nonexistent/shop.db"));
	ob_relay_free(relay);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(several_subscriptions_send_all_while_a_writer_writes),
	    cmocka_unit_test(until_idle_ends_by_itself_with_all_settled),
	    cmocka_unit_test(a_recipient_that_is_down_holds_back_only_its_own_subscription),
	    cmocka_unit_test(a_reader_that_is_gone_ends_its_own_subscription),
	    cmocka_unit_test(a_stop_ends_at_once_and_gives_up_the_lease),
	    cmocka_unit_test(of_two_relays_one_stands_by),
	    cmocka_unit_test(a_persons_change_is_heard_before_the_next_renewal),
	    cmocka_unit_test(a_persons_change_is_heard_while_there_is_no_room),
	    cmocka_unit_test(wrong_configuration_is_told_before_anything_runs),
	    cmocka_unit_test(a_database_that_is_gone_is_told_with_its_reason),
	    cmocka_unit_test(a_database_that_is_not_there_fails_the_start),
	};

	return cmocka_run_group_tests_name("relay", tests, trial_set_up, NULL);
}
