/* Several relays in one process, on one subscription in several shards of the memory store. Run under the thread sanitizer, too. */
#include <outbox/relay.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cm.h"

#include "host.h"
#include "memory.h"

#define MESSAGES_MAX 200000
#define KEYS         53
#define RELAYS_MAX   8
#define LEASE_MS     1500
/* Long enough for any machine; nothing waits for it when all is well. */
#define DEADLINE_MS 60000

static struct ob_host_log nowhere;
static struct ob_real_host host;

/* ---- what was written, and what came ---- */

static struct {
	pthread_mutex_t lock;
	unsigned written;
	unsigned times[MESSAGES_MAX];
	unsigned last_of_key[KEYS];
	unsigned fail_every; /* so many messages fail at their first try; 0: none */
	unsigned overtaken, twice, received;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct ob_bytes
bytes_of(const char *text)
{
	return (struct ob_bytes){.data = text, .size = strlen(text)};
}

/* Message n is of key n modulo KEYS. */
static void
append(const char *outbox, unsigned count)
{
	char id[32], key[32];
	struct ob_message message = {.topic = bytes_of("orders"), .payload = bytes_of("{}")};
	struct ob_error error;

	while (count-- > 0) {
		unsigned n = all.written;

		assert_true(n < MESSAGES_MAX);
		snprintf(id, sizeof(id), "id-%u", n);
		snprintf(key, sizeof(key), "key-%u", n % KEYS);
		message.id = bytes_of(id);
		message.key = bytes_of(key);
		assert_int_equal(ob_memory_append(outbox, &host.host, &message, 0, &error), OB_OK);
		pthread_mutex_lock(&all.lock);
		all.written++;
		pthread_mutex_unlock(&all.lock);
	}
}

static void
receive(unsigned n)
{
	unsigned *last = &all.last_of_key[n % KEYS];

	all.received++;
	if (all.times[n]++ > 0) {
		all.twice++;
		return;
	}
	/* The one before it of its key must have come: `last` is the next one awaited. */
	if (n != *last)
		all.overtaken++;
	*last = n + KEYS;
}

static enum ob_fate
deliver(void *context, struct ob_callback_delivery *delivery)
{
	char text[32] = "";
	unsigned n;

	(void)context;
	memcpy(text, delivery->message->id.data, delivery->message->id.size);
	n = (unsigned)strtoul(text + 3, NULL, 10);
	if (all.fail_every > 0 && n % all.fail_every == 0 && delivery->attempt == 1)
		return OB_FATE_RETRY;
	pthread_mutex_lock(&all.lock);
	receive(n);
	pthread_mutex_unlock(&all.lock);
	return OB_FATE_SENT;
}

static void
all_begin(unsigned fail_every)
{
	all.written = all.overtaken = all.twice = all.received = 0;
	all.fail_every = fail_every;
	memset(all.times, 0, sizeof(all.times));
	for (unsigned k = 0; k < KEYS; k++)
		all.last_of_key[k] = k;
}

static unsigned
missing(void)
{
	unsigned count = 0;

	pthread_mutex_lock(&all.lock);
	for (unsigned n = 0; n < all.written; n++)
		count += all.times[n] == 0;
	pthread_mutex_unlock(&all.lock);
	return count;
}

static void
expect_all(unsigned twice_max)
{
	int64_t until = ob_now_ms() + DEADLINE_MS;
	unsigned overtaken, twice;

	while (missing() > 0) {
		if (ob_now_ms() > until)
			fail_msg("%u of %u are missing", missing(), all.written);
		usleep(2000);
	}
	/* Some may still come twice. */
	pthread_mutex_lock(&all.lock);
	overtaken = all.overtaken;
	twice = all.twice;
	pthread_mutex_unlock(&all.lock);
	assert_int_equal(overtaken, 0);
	assert_in_range(twice, 0, twice_max);
}

/* ---- relays ---- */

static void
log_line(void *context, enum ob_log_level level, const char *text)
{
	(void)level;
	if (getenv("OB_TEST_LOG") != NULL)
		fprintf(stderr, "# %8lld %s: %s\n", (long long)ob_now_ms() % 10000000,
			(const char *)context, text);
}

static struct ob_relay *
relay_begin(const char *name, const char *store, int64_t shards, bool until_idle)
{
	struct ob_relay_config config = {.owner = name,
					 .log = log_line,
					 .log_context = (void *)(uintptr_t)name,
					 .until_idle = until_idle};
	struct ob_relay_subscription it;
	struct ob_relay *relay;
	struct ob_error error;

	ob_relay_subscription_defaults(&it);
	it.name = "s";
	it.store_url = store;
	it.sink_url = "callback:";
	it.callback.deliver = deliver;
	it.shards = shards;
	it.lease_ms = LEASE_MS;
	it.retry_first_ms = 20;
	it.park_after_ms = 1;
	it.storm_limit = 0;
	it.window_count = 256;
	assert_int_equal(ob_relay_new(&config, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_OK);
	assert_int_equal(ob_relay_start(relay, &error), OB_OK);
	return relay;
}

static void
relay_drain(struct ob_relay *relay)
{
	struct ob_error error;

	ob_relay_drain(relay, DEADLINE_MS);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	ob_relay_free(relay);
}

/* How many shards it runs; `*shards`: of how many. */
static unsigned
runs(struct ob_relay *relay, size_t *shards)
{
	struct ob_relay_stats stats;
	unsigned count = 0;

	*shards = ob_relay_count(relay);
	for (size_t i = 0; ob_relay_stats(relay, i, &stats) == OB_OK; i++)
		count += strcmp(stats.state, "running") == 0;
	return count;
}

/* Waits until the relays run all shards, evenly, and returns how long that took. */
static int64_t
await_even(struct ob_relay *const *relays, unsigned count, size_t shards)
{
	int64_t began = ob_now_ms();

	for (;;) {
		unsigned sum = 0, least = 1000, most = 0;
		size_t seen = 0;
		bool right = true;

		for (unsigned i = 0; i < count; i++) {
			unsigned it = runs(relays[i], &seen);

			right = right && seen == shards;
			sum += it;
			least = it < least ? it : least;
			most = it > most ? it : most;
		}
		if (right && sum == shards && most - least <= 1)
			return ob_now_ms() - began;
		if (ob_now_ms() - began > DEADLINE_MS)
			fail_msg("%u relays run %u of %zu shards, %u to %u each", count, sum, seen,
				 least, most);
		usleep(1000);
	}
}

/* ---- the tests ---- */

static void
shards_are_spread_and_taken_over(void **state)
{
	struct ob_relay *relays[3];
	int64_t took;

	(void)state;
	all_begin(0);
	append("spread", 1000);
	relays[0] = relay_begin("a", "memory:spread", 6, false);
	await_even(relays, 1, 6);
	relays[1] = relay_begin("b", "memory:spread", 0, false);
	await_even(relays, 2, 6);
	relays[2] = relay_begin("c", "memory:spread", 0, false);
	await_even(relays, 3, 6);
	append("spread", 1000);
	relay_drain(relays[0]);
	took = await_even(relays + 1, 2, 6);
	assert_in_range(took, 0, 1000);
	append("spread", 1000);
	/* Without a drain the leases are given up, too. */
	ob_relay_free(relays[1]);
	took = await_even(relays + 2, 1, 6);
	assert_in_range(took, 0, 1000);
	expect_all(MESSAGES_MAX);
	relay_drain(relays[2]);
	ob_memory_drop("spread");
}

static atomic_bool writing;

static void *
write_on(void *outbox)
{
	while (atomic_load(&writing) && all.written < MESSAGES_MAX - 100) {
		append(outbox, 20);
		usleep(1000);
	}
	return NULL;
}

/* Without a crash nothing comes twice, whatever moves and changes. */
static void
the_number_of_shards_changes_under_load(void **state)
{
	static const int64_t numbers[] = {7, 2, 1, 5};
	struct ob_relay *relays[3], *other;
	pthread_t writer;

	(void)state;
	all_begin(97);
	append("change", 500);
	relays[0] = relay_begin("a", "memory:change", 4, false);
	relays[1] = relay_begin("b", "memory:change", 0, false);
	atomic_store(&writing, true);
	assert_int_equal(pthread_create(&writer, NULL, write_on, "change"), 0);
	await_even(relays, 2, 4);
	for (unsigned i = 0; i < 4; i++) {
		/* The last relay that names a number decides; this one then goes again. */
		other = relay_begin("c", "memory:change", numbers[i], false);
		relay_drain(other);
		if (numbers[i] > 1)
			await_even(relays, 2, (size_t)numbers[i]);
	}
	atomic_store(&writing, false);
	pthread_join(writer, NULL);
	expect_all(0);
	relay_drain(relays[0]);
	relay_drain(relays[1]);
	assert_int_equal(missing(), 0);
	ob_memory_drop("change");
}

/* Who runs none when only one shard is left stands by for that one, and runs its part when there are several again. */
static void
the_last_shard_is_stood_by_for(void **state)
{
	struct ob_relay *relays[2], *other;
	unsigned first;
	size_t shards;

	(void)state;
	all_begin(0);
	append("last", 500);
	relays[0] = relay_begin("a", "memory:last", 4, false);
	relays[1] = relay_begin("b", "memory:last", 0, false);
	await_even(relays, 2, 4);
	other = relay_begin("c", "memory:last", 1, false);
	relay_drain(other);
	await_even(relays, 2, 1);
	other = relay_begin("d", "memory:last", 4, false);
	relay_drain(other);
	await_even(relays, 2, 4);
	other = relay_begin("e", "memory:last", 1, false);
	relay_drain(other);
	await_even(relays, 2, 1);
	first = runs(relays[0], &shards) == 1 ? 0 : 1;
	relay_drain(relays[first]);
	await_even(&relays[1 - first], 1, 1);
	append("last", 500);
	expect_all(0);
	relay_drain(relays[1 - first]);
	ob_memory_drop("last");
}

static void
relays_come_and_go_under_load(void **state)
{
	static char names[40][8];
	struct ob_relay *relays[RELAYS_MAX];
	unsigned count = 1, stops = 0;
	uint32_t dice = 7;
	pthread_t writer;

	(void)state;
	all_begin(89);
	append("come", 500);
	relays[0] = relay_begin("first", "memory:come", 5, false);
	atomic_store(&writing, true);
	assert_int_equal(pthread_create(&writer, NULL, write_on, "come"), 0);
	for (unsigned i = 0; i < 40; i++) {
		dice = dice * 1664525 + 1013904223;
		snprintf(names[i], sizeof(names[i]), "r%u", i);
		if (count < RELAYS_MAX && (count == 1 || dice >> 30 < 2)) {
			relays[count++] = relay_begin(names[i], "memory:come", 0, false);
		} else {
			unsigned at = (dice >> 8) % count;

			if (dice >> 30 == 3)
				relay_drain(relays[at]);
			else
				ob_relay_free(relays[at]);
			stops += dice >> 30 != 3;
			relays[at] = relays[--count];
		}
		usleep(dice >> 15);
	}
	await_even(relays, count, 5);
	atomic_store(&writing, false);
	pthread_join(writer, NULL);
	/* What was in flight when a relay was stopped without a drain. */
	expect_all(stops * 5 * 256);
	while (count > 0)
		relay_drain(relays[--count]);
	ob_memory_drop("come");
}

static void
until_idle_runs_every_shard_to_its_end(void **state)
{
	struct ob_relay *relay;
	struct ob_error error;

	(void)state;
	all_begin(101);
	append("idle", 2000);
	relay = relay_begin("a", "memory:idle", 4, true);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	ob_relay_free(relay);
	assert_int_equal(missing(), 0);
	append("idle", 2000);
	/* What is left goes to the old shards, or to the new ones. */
	relay = relay_begin("b", "memory:idle", 3, true);
	assert_int_equal(ob_relay_wait(relay, DEADLINE_MS, &error), OB_OK);
	assert_int_equal(ob_relay_count(relay), 3);
	ob_relay_free(relay);
	assert_int_equal(missing(), 0);
	assert_int_equal(all.twice, 0);
	assert_int_equal(all.overtaken, 0);
	ob_memory_drop("idle");
}

/* It works, but moves nothing. */
static void
until_idle_beside_another_takes_what_is_free(void **state)
{
	struct ob_relay *relay, *idle;
	struct ob_error error;
	size_t shards;

	(void)state;
	all_begin(0);
	append("beside", 10);
	relay = relay_begin("a", "memory:beside", 3, false);
	await_even(&relay, 1, 3);
	idle = relay_begin("b", "memory:beside", 0, true);
	append("beside", 1000);
	expect_all(0);
	assert_int_equal(ob_relay_wait(idle, 300, &error), OB_BUSY);
	assert_int_equal(runs(relay, &shards), 3);
	relay_drain(relay);
	assert_int_equal(ob_relay_wait(idle, DEADLINE_MS, &error), OB_OK);
	ob_relay_free(idle);
	ob_memory_drop("beside");
}

static void
stats_add_up_over_moves(void **state)
{
	struct ob_relay *relays[2];
	struct ob_relay_stats stats;
	uint64_t sent = 0;

	(void)state;
	all_begin(0);
	append("stats", 3000);
	relays[0] = relay_begin("a", "memory:stats", 4, false);
	expect_all(0);
	relays[1] = relay_begin("b", "memory:stats", 0, false);
	await_even(relays, 2, 4);
	for (size_t i = 0; ob_relay_stats(relays[0], i, &stats) == OB_OK; i++) {
		assert_int_equal(stats.shard, i);
		assert_int_equal(stats.shards, 4);
		assert_string_equal(stats.name, "s");
		sent += stats.sent;
	}
	assert_int_equal(sent, 3000);
	relay_drain(relays[0]);
	relay_drain(relays[1]);
	ob_memory_drop("stats");
}

static void
a_store_without_shards_says_so(void **state)
{
	struct ob_relay_subscription it;
	struct ob_relay *relay;
	struct ob_error error;

	(void)state;
	ob_relay_subscription_defaults(&it);
	it.name = "s";
	it.store_url = "sqlite:/nonexistent/shop.db";
	it.sink_url = "null:";
	it.shards = 2;
	assert_int_equal(ob_relay_new(NULL, &relay, &error), OB_OK);
	assert_int_equal(ob_relay_add(relay, &it, &error), OB_CONFIG);
	assert_non_null(
	    strstr(error.text, "subscription s: sqlite runs a subscription as a whole"));
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
	    cmocka_unit_test(shards_are_spread_and_taken_over),
	    cmocka_unit_test(the_number_of_shards_changes_under_load),
	    cmocka_unit_test(the_last_shard_is_stood_by_for),
	    cmocka_unit_test(relays_come_and_go_under_load),
	    cmocka_unit_test(until_idle_runs_every_shard_to_its_end),
	    cmocka_unit_test(until_idle_beside_another_takes_what_is_free),
	    cmocka_unit_test(stats_add_up_over_moves),
	    cmocka_unit_test(a_store_without_shards_says_so),
	};

	return cmocka_run_group_tests_name("many relays", tests, set_up, NULL);
}
