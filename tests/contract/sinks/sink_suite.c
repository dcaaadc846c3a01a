/* What every sink must do: see include/outbox/sink.h. The first argument is the name of an adapter. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"
#include "skip.h"

#define TRIED_TIMEOUT_MS 300
/* What two busy cores may add to any time. */
#define SLACK_MS 1000

static const struct sink_adapter *const adapters[] = {
    &sink_adapter_null,       &sink_adapter_stdout,   &sink_adapter_file, &sink_adapter_exec_each,
    &sink_adapter_exec_lines, &sink_adapter_callback, &sink_adapter_http, &sink_adapter_http_batch,
};

static struct rig rig;

static void
start_open(void **state)
{
	rig_start(&rig, *state);
	if (rig_open(&rig, rig.setup.url) != OB_OK)
		fail_msg("open: %s", rig.error.text);
}

static struct ob_sink_limits
limits_of(void)
{
	struct ob_sink_limits limits = {0};

	rig.adapter->ops->limits(rig.sink, &limits);
	return limits;
}

/* ---- open and close ---- */

static void
a_wrong_url_is_refused(void **state)
{
	const struct sink_adapter *adapter = *state;

	if (adapter->wrong_url == NULL)
		OB_SKIP("this sink takes every URL of its scheme");
	rig_start(&rig, adapter);
	assert_int_equal(rig_open(&rig, adapter->wrong_url), OB_CONFIG);
	assert_int_equal(rig.error.code, OB_CONFIG);
	assert_true(strlen(rig.error.text) > 10);
	rig_stop(&rig);
}

static void
the_table_is_whole(void **state)
{
	const struct ob_sink_ops *ops = ((const struct sink_adapter *)*state)->ops;

	assert_int_equal(ops->contract, OB_SINK_CONTRACT);
	assert_non_null(ops->name);
	assert_non_null(ops->help);
	assert_non_null(ops->schemes[0]);
	assert_true(ops->size >= sizeof(struct ob_sink));
	for (const struct ob_option *it = ops->options; it->type != OB_OPTION_END; it++) {
		assert_non_null(it->help);
		assert_int_equal(strspn(it->name, "abcdefghijklmnopqrstuvwxyz0123456789-"),
				 strlen(it->name));
	}
}

static void
close_is_safe_at_any_point(void **state)
{
	struct rig_message *it;

	rig_start(&rig, *state);
	rig.adapter->ops->close(rig.sink);
	rig.adapter->ops->close(rig.sink);
	rig_stop(&rig);

	start_open(state);
	rig.adapter->ops->close(rig.sink);
	rig_stop(&rig);

	start_open(state);
	it = rig_message(&rig, "k");
	rig_submit(&rig, 0, 1);
	assert_true(it->accepted);
	rig_stop(&rig);

	start_open(state);
	rig_message(&rig, "k");
	rig_submit(&rig, 0, 1);
	rig_poll(&rig, 0);
	rig_stop(&rig);
}

static void
limits_make_sense(void **state)
{
	struct ob_sink_limits limits;

	start_open(state);
	limits = limits_of();
	assert_true(limits.in_flight_max >= 1);
	assert_true(limits.order <= OB_ORDER_ALWAYS);
	rig_stop(&rig);
}

/* ---- sending ---- */

static void
each_ticket_gets_one_receipt(void **state)
{
	const size_t count = 300;
	char key[16];

	start_open(state);
	for (size_t i = 0; i < count; i++) {
		snprintf(key, sizeof(key), "k%zu", i % 7);
		rig_message(&rig, key);
	}
	rig_send(&rig, 0, count);
	assert_int_equal(rig_poll(&rig, 0), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(rig.messages[i].fate, OB_FATE_SENT);
	rig_look(&rig);
	rig_stop(&rig);
}

static void
no_message_is_sent_before_it_arrived(void **state)
{
	start_open(state);
	if (rig.adapter->arrivals == NULL) {
		rig_stop(&rig);
		OB_SKIP(rig.adapter->why_no_arrivals);
	}
	for (size_t i = 0; i < 100; i++)
		rig_message(&rig, "");
	for (size_t at = 0; at < 100 || rig.owed > 0;) {
		at += at < 100 ? rig_submit(&rig, at, 100 - at) : 0;
		rig_poll(&rig, 1000);
		rig_look(&rig);
	}
	assert_int_equal(rig.arrivals.count, 100);
	rig_stop(&rig);
}

static void
a_key_arrives_in_order(void **state)
{
	size_t last[3] = {0};

	start_open(state);
	if (rig.adapter->arrivals == NULL || limits_of().order == OB_ORDER_NONE) {
		bool none = rig.adapter->arrivals != NULL;

		rig_stop(&rig);
		OB_SKIP(none ? "this sink declares no order" : rig.adapter->why_no_arrivals);
	}
	for (size_t i = 0; i < 200; i++)
		rig_message(&rig, i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "c");
	rig_send(&rig, 0, 200);
	rig_look(&rig);
	for (size_t i = 0; i < 200; i++) {
		assert_true(i < 3 || rig.messages[i].arrived_at > last[i % 3]);
		last[i % 3] = rig.messages[i].arrived_at;
	}
	rig_stop(&rig);
}

static void
more_than_the_limit_is_not_taken(void **state)
{
	uint32_t limit;
	size_t accepted;

	start_open(state);
	limit = limits_of().in_flight_max;
	assert_true(limit < RIG_MESSAGES_MAX);
	for (size_t i = 0; i <= limit; i++)
		rig_message(&rig, "");
	accepted = rig_submit(&rig, 0, (size_t)limit + 1);
	assert_true(accepted <= limit);
	assert_true(accepted >= 1);
	if (accepted == limit)
		assert_int_equal(rig_submit(&rig, accepted, 1), 0);
	rig_settle(&rig, 20000);
	rig_send(&rig, accepted, (size_t)limit + 1 - accepted);
	rig_look(&rig);
	rig_stop(&rig);
}

/* ---- bytes ---- */

#define BYTES(text)                    \
	{                              \
		text, sizeof(text) - 1 \
	}

static const struct nasty {
	struct ob_bytes payload, key, type, content_type, headers;
} corpus[] = {
    {.payload = BYTES("")},
    {.payload = {NULL, 0}},
    {.payload = BYTES("\0")},
    {.payload = BYTES("a\0b\0")},
    {.payload = BYTES("\xff\xfe\x80 no UTF-8 \xc3")},
    {.payload = BYTES("\xed\xa0\x80 half a pair \xc0\x80 overlong")},
    {.payload = BYTES("line\r\nline\n\n\r")},
    {.payload = BYTES("{\"json\": \"\\u0000 \\\\ \\\"\"}"),
     .content_type = BYTES("application/json")},
    {.payload = BYTES("\x01\x02\x1b[31m\x7f \xc2\x85 \xe2\x80\xa8 \xf0\x9f\x98\x80")},
    {.payload = BYTES("p"), .key = BYTES("")},
    {.payload = BYTES("p"), .key = BYTES("k\r\nevil: 1")},
    {.payload = BYTES("p"), .key = BYTES("k\0k")},
    {.payload = BYTES("p"), .key = BYTES("\xff\xfe")},
    {.payload = BYTES("p"), .type = BYTES("t\nt")},
    {.payload = BYTES("p"), .content_type = BYTES("text/plain\r\nx: y")},
    {.payload = BYTES("p"), .headers = BYTES("{}")},
    {.payload = BYTES("p"), .headers = BYTES("{ \"a\" :\n \"\\u00e9\\n\" }")},
    {.payload = BYTES("p"), .headers = BYTES("[1]")},
    {.payload = BYTES("p"), .headers = BYTES("{\"a\": 1}")},
    {.payload = BYTES("p"), .headers = BYTES("\xff not JSON\0at all")},
    {.payload = BYTES("p"), .headers = BYTES("{\"x\\r\\ny\":\"z\\r\\nz\"}")},
    {.payload = BYTES("$(touch pwned); `touch pwned` '\"\\"),
     .key = BYTES("$(touch pwned)';touch pwned;'")},
};

/* Everything arrives as it was, or is rejected with a reason and does not arrive at all. Payloads always arrive. */
static void
bytes_arrive_as_they_were(void **state)
{
	const size_t count = sizeof(corpus) / sizeof(corpus[0]);

	start_open(state);
	if (rig.adapter->arrivals == NULL) {
		rig_stop(&rig);
		OB_SKIP(rig.adapter->why_no_arrivals);
	}
	for (size_t i = 0; i < count; i++) {
		struct ob_message *message = &rig_message(&rig, "")->message;

		message->payload = corpus[i].payload;
		message->key = corpus[i].key;
		message->type = corpus[i].type;
		message->content_type = corpus[i].content_type;
		message->headers = corpus[i].headers;
	}
	rig_send(&rig, 0, count);
	rig_look(&rig);
	for (size_t i = 0; i < count; i++) {
		const struct rig_message *it = &rig.messages[i];
		const struct sink_arrival *arrival = &rig.arrivals.items[it->arrived_at];

		if (it->fate == OB_FATE_REJECT && (i > 8 || corpus[i].content_type.data != NULL)) {
			assert_false(it->arrived);
			continue;
		}
		if (it->fate != OB_FATE_SENT)
			fail_msg("corpus[%zu]: %s %s", i, it->code, it->text);
		assert_true((arrival->payload == NULL) == (it->message.payload.data == NULL));
		assert_int_equal(arrival->payload_size, it->message.payload.size);
		if (arrival->payload != NULL)
			assert_memory_equal(arrival->payload, it->message.payload.data,
					    arrival->payload_size);
	}
	assert_int_not_equal(access("pwned", F_OK), 0);
	rig_stop(&rig);
}

static void
sixteen_mebibytes_arrive(void **state)
{
	const size_t size = (size_t)16 * 1024 * 1024;
	uint64_t limit;
	char *payload = malloc(size);
	struct rig_message *it;

	start_open(state);
	if (rig.adapter->arrivals == NULL) {
		free(payload);
		rig_stop(&rig);
		OB_SKIP(rig.adapter->why_no_arrivals);
	}
	assert_non_null(payload);
	for (size_t i = 0; i < size; i++)
		payload[i] = (char)(i * 2654435761u >> 13);
	/* A time-out of 300 ms is too short for so much on two busy cores. */
	for (size_t i = 0; i < 8; i++)
		if (strncmp(rig.setup.options[i], "request-timeout=", 16) == 0)
			snprintf(rig.setup.options[i], sizeof(rig.setup.options[i]),
				 "request-timeout=15s");
	rig.adapter->ops->close(rig.sink);
	memset(rig.sink, 0, rig.adapter->ops->size);
	assert_int_equal(rig_open(&rig, rig.setup.url), OB_OK);
	it = rig_message(&rig, "k");
	it->message.payload = (struct ob_bytes){payload, size};
	rig_send(&rig, 0, 1);
	limit = limits_of().message_bytes_max;
	rig_look(&rig);
	if (limit != 0 && limit < size) {
		assert_int_equal(it->fate, OB_FATE_REJECT);
		assert_false(it->arrived);
	} else {
		if (it->fate != OB_FATE_SENT)
			fail_msg("%s %s", it->code, it->text);
		assert_int_equal(rig.arrivals.items[0].payload_size, size);
		assert_memory_equal(rig.arrivals.items[0].payload, payload, size);
	}
	rig_prove_it_works(&rig);
	rig_stop(&rig);
	free(payload);
}

/* ---- waiting ---- */

static void
poll_keeps_to_its_time(void **state)
{
	int64_t start_ms;

	start_open(state);
	start_ms = rig_now_ms();
	assert_int_equal(rig_poll(&rig, 0), 0);
	assert_true(rig_now_ms() - start_ms < SLACK_MS);
	start_ms = rig_now_ms();
	assert_int_equal(rig_poll(&rig, 100), 0);
	assert_true(rig_now_ms() - start_ms >= 95);
	assert_true(rig_now_ms() - start_ms < 100 + SLACK_MS);
	rig_stop(&rig);
}

static void *
wake_after_a_while(void *sink)
{
	usleep(50000);
	((struct ob_sink *)sink)->ops->wake(sink);
	return NULL;
}

static void
wake_ends_a_poll(void **state)
{
	pthread_t thread;
	int64_t start_ms;

	start_open(state);
	/* One that waits. */
	assert_int_equal(pthread_create(&thread, NULL, wake_after_a_while, rig.sink), 0);
	start_ms = rig_now_ms();
	assert_int_equal(rig_poll(&rig, 30000), 0);
	assert_true(rig_now_ms() - start_ms < 10000);
	pthread_join(thread, NULL);
	/* The next one. */
	rig.adapter->ops->wake(rig.sink);
	start_ms = rig_now_ms();
	assert_int_equal(rig_poll(&rig, 30000), 0);
	assert_true(rig_now_ms() - start_ms < 10000);
	/* And no other. */
	start_ms = rig_now_ms();
	assert_int_equal(rig_poll(&rig, 50), 0);
	assert_true(rig_now_ms() - start_ms >= 45);
	rig_stop(&rig);
}

static void
flush_changes_nothing_that_is_seen(void **state)
{
	start_open(state);
	if (rig.adapter->ops->flush == NULL) {
		rig_stop(&rig);
		OB_SKIP("this sink batches nothing, so it has nothing to flush");
	}
	rig.adapter->ops->flush(rig.sink);
	rig_message(&rig, "a");
	rig_message(&rig, "b");
	assert_true(rig_submit(&rig, 0, 2) >= 1);
	rig.adapter->ops->flush(rig.sink);
	rig_settle(&rig, 20000);
	rig_look(&rig);
	rig_stop(&rig);
}

/* ---- failures ---- */

static void
cancel_returns_every_ticket(void **state)
{
	int64_t start_ms;
	size_t accepted;

	start_open(state);
	if (rig.adapter->hang != NULL)
		rig.adapter->hang(rig.recipient, true);
	for (size_t i = 0; i < 20; i++)
		rig_message(&rig, "k");
	accepted = rig_submit(&rig, 0, 20);
	/* Some are then under way. */
	if (rig.adapter->hang != NULL)
		rig_poll(&rig, 50);
	rig.adapter->ops->cancel(rig.sink);
	start_ms = rig_now_ms();
	while (rig.owed > 0 && rig_now_ms() - start_ms < 5000)
		assert_true(rig_poll(&rig, 5000) > 0);
	assert_int_equal(rig.owed, 0);
	for (size_t i = 0; i < accepted; i++) {
		enum ob_fate fate = rig.messages[i].fate;

		assert_true(fate == OB_FATE_RETURNED || fate == OB_FATE_UNKNOWN ||
			    fate == OB_FATE_SENT);
	}
	rig.adapter->ops->cancel(rig.sink);
	assert_int_equal(rig_poll(&rig, 0), 0);
	if (rig.adapter->hang != NULL)
		rig.adapter->hang(rig.recipient, false);
	rig_look(&rig);
	for (size_t i = 0; i < accepted; i++)
		if (rig.messages[i].fate == OB_FATE_RETURNED)
			assert_false(rig.messages[i].arrived);
	rig_prove_it_works(&rig);
	rig_stop(&rig);
}

static void
a_failed_message_is_followed_as_declared(void **state)
{
	enum ob_sink_order order;

	start_open(state);
	order = limits_of().order;
	if (rig.adapter->refuse == NULL) {
		rig_stop(&rig);
		OB_SKIP(rig.adapter->why_no_refusal);
	}
	for (size_t i = 0; i < 4; i++)
		rig_message(&rig, i == 3 ? "other" : "k");
	rig.adapter->refuse(rig.recipient, "m1");
	rig_send(&rig, 0, 4);
	rig_look(&rig);
	assert_int_equal(rig.messages[0].fate, OB_FATE_SENT);
	assert_int_not_equal(rig.messages[1].fate, OB_FATE_SENT);
	assert_false(rig.messages[1].arrived);
	assert_true(strlen(rig.messages[1].code) > 0);
	assert_int_equal(rig.messages[3].fate, OB_FATE_SENT);
	if (order == OB_ORDER_ALWAYS) {
		assert_int_not_equal(rig.messages[2].fate, OB_FATE_SENT);
		assert_false(rig.messages[2].arrived);
	}
	rig.adapter->refuse(rig.recipient, NULL);
	rig_prove_it_works(&rig);
	rig_stop(&rig);
}

static void
a_recipient_that_is_down_is_told(void **state)
{
	start_open(state);
	if (rig.adapter->down == NULL) {
		rig_stop(&rig);
		OB_SKIP(rig.adapter->why_no_down);
	}
	rig_prove_it_works(&rig);
	rig.adapter->down(rig.recipient, true);
	for (size_t i = 1; i < 4; i++) {
		struct rig_message *it = rig_message(&rig, "k");

		rig_send(&rig, i, 1);
		assert_true(it->fate == OB_FATE_DOWN || it->fate == OB_FATE_BLOCKED);
		assert_true(strlen(it->code) > 0);
		assert_true(strlen(it->text) > 0);
		assert_false(it->arrived);
	}
	rig.adapter->down(rig.recipient, false);
	rig_prove_it_works(&rig);
	rig_stop(&rig);
}

static void
a_recipient_that_hangs_is_given_up(void **state)
{
	int64_t start_ms;
	char large[200000];
	size_t accepted;

	start_open(state);
	if (rig.adapter->hang == NULL) {
		rig_stop(&rig);
		OB_SKIP(rig.adapter->why_no_hang);
	}
	for (size_t i = 0; i < 8; i++)
		if (strncmp(rig.setup.options[i], "request-timeout=", 16) == 0 ||
		    rig.setup.options[i][0] == '\0') {
			snprintf(rig.setup.options[i], sizeof(rig.setup.options[i]),
				 "request-timeout=%dms", TRIED_TIMEOUT_MS);
			break;
		}
	rig.adapter->ops->close(rig.sink);
	memset(rig.sink, 0, rig.adapter->ops->size);
	assert_int_equal(rig_open(&rig, rig.setup.url), OB_OK);
	rig.adapter->hang(rig.recipient, true);
	memset(large, 'x', sizeof(large));
	for (size_t i = 0; i < 3; i++)
		rig_message(&rig, "k")->message.payload = (struct ob_bytes){large, sizeof(large)};
	start_ms = rig_now_ms();
	accepted = rig_submit(&rig, 0, 3);
	while (rig.owed > 0 && rig_now_ms() - start_ms < 20000) {
		int64_t poll_ms = rig_now_ms();

		rig_poll(&rig, 50);
		assert_true(rig_now_ms() - poll_ms < 50 + SLACK_MS);
	}
	assert_int_equal(rig.owed, 0);
	assert_true(rig_now_ms() - start_ms < TRIED_TIMEOUT_MS + rig.adapter->grace_ms + SLACK_MS);
	for (size_t i = 0; i < accepted; i++)
		assert_int_not_equal(rig.messages[i].fate, OB_FATE_SENT);
	rig.adapter->hang(rig.recipient, false);
	rig_prove_it_works(&rig);
	rig_stop(&rig);
}

static void
reopen_loses_nothing(void **state)
{
	start_open(state);
	if (rig.adapter->ops->reopen == NULL) {
		rig_stop(&rig);
		OB_SKIP("this sink has nothing to open again");
	}
	rig_prove_it_works(&rig);
	rig.adapter->ops->reopen(rig.sink);
	rig_prove_it_works(&rig);
	rig_message(&rig, "k");
	rig_submit(&rig, rig.count - 1, 1);
	rig.adapter->ops->reopen(rig.sink);
	rig_settle(&rig, 20000);
	assert_int_equal(rig.messages[rig.count - 1].fate, OB_FATE_SENT);
	rig_look(&rig);
	rig_stop(&rig);
}

static void
count_finding(void *context, const struct ob_finding *finding)
{
	assert_non_null(finding->code);
	assert_non_null(finding->what);
	++*(int *)context;
}

static void
check_finds_something_to_say(void **state)
{
	int findings = 0;
	struct ob_report report = {.context = &findings, .add = count_finding};

	start_open(state);
	if (rig.adapter->ops->check == NULL) {
		rig_stop(&rig);
		OB_SKIP("this sink has nothing to check");
	}
	assert_int_equal(rig.adapter->ops->check(rig.sink, 5000, &report, &rig.error), OB_OK);
	assert_true(findings > 0);
	rig_look(&rig);
	assert_int_equal(rig.arrivals.count, 0);
	rig_stop(&rig);
}

#define CASE(function)                                                                             \
	{                                                                                          \
		.name = #function, .test_func = function, .initial_state = (void *)(size_t)adapter \
	}

int
main(int argc, char **argv)
{
	const struct sink_adapter *adapter = NULL;

	for (size_t i = 0; argc == 2 && i < sizeof(adapters) / sizeof(adapters[0]); i++)
		if (strcmp(adapters[i]->name, argv[1]) == 0)
			adapter = adapters[i];
	if (adapter == NULL) {
		fprintf(stderr, "usage: %s ADAPTER\n", argv[0]);
		return 2;
	}
	const struct CMUnitTest tests[] = {
	    CASE(a_wrong_url_is_refused),
	    CASE(the_table_is_whole),
	    CASE(close_is_safe_at_any_point),
	    CASE(limits_make_sense),
	    CASE(each_ticket_gets_one_receipt),
	    CASE(no_message_is_sent_before_it_arrived),
	    CASE(a_key_arrives_in_order),
	    CASE(more_than_the_limit_is_not_taken),
	    CASE(bytes_arrive_as_they_were),
	    CASE(sixteen_mebibytes_arrive),
	    CASE(poll_keeps_to_its_time),
	    CASE(wake_ends_a_poll),
	    CASE(flush_changes_nothing_that_is_seen),
	    CASE(cancel_returns_every_ticket),
	    CASE(a_failed_message_is_followed_as_declared),
	    CASE(a_recipient_that_is_down_is_told),
	    CASE(a_recipient_that_hangs_is_given_up),
	    CASE(reopen_loses_nothing),
	    CASE(check_finds_something_to_say),
	};

	return cmocka_run_group_tests_name(adapter->name, tests, NULL, NULL);
}
