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

#include "sink_cases.h"
#include "skip.h"

/* What two busy cores may add to any time. */
#define SLACK_MS 1000

static const struct sink_adapter *const adapters[] = {
    &sink_adapter_null,           &sink_adapter_stdout,     &sink_adapter_file,
    &sink_adapter_exec_each,      &sink_adapter_exec_lines, &sink_adapter_callback,
    &sink_adapter_callback_later, &sink_adapter_http,       &sink_adapter_http_batch,
};

struct rig sink_case_rig;

void
sink_case_start(void **state)
{
	rig_start(&sink_case_rig, *state);
	if (rig_open(&sink_case_rig, sink_case_rig.setup.url) != OB_OK)
		fail_msg("open: %s", sink_case_rig.error.text);
}

struct ob_sink_limits
sink_case_limits(void)
{
	struct ob_sink_limits limits = {0};

	sink_case_rig.adapter->ops->limits(sink_case_rig.sink, &limits);
	return limits;
}

/* ---- open and close ---- */

static void
a_wrong_url_is_refused(void **state)
{
	const struct sink_adapter *adapter = *state;

	if (adapter->wrong_url == NULL)
		OB_SKIP("this sink takes every URL of its scheme");
	rig_start(&sink_case_rig, adapter);
	assert_int_equal(rig_open(&sink_case_rig, adapter->wrong_url), OB_CONFIG);
	assert_int_equal(sink_case_rig.error.code, OB_CONFIG);
	assert_true(strlen(sink_case_rig.error.text) > 10);
	rig_stop(&sink_case_rig);
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

	rig_start(&sink_case_rig, *state);
	sink_case_rig.adapter->ops->close(sink_case_rig.sink);
	sink_case_rig.adapter->ops->close(sink_case_rig.sink);
	rig_stop(&sink_case_rig);

	sink_case_start(state);
	sink_case_rig.adapter->ops->close(sink_case_rig.sink);
	rig_stop(&sink_case_rig);

	sink_case_start(state);
	it = rig_message(&sink_case_rig, "k");
	rig_submit(&sink_case_rig, 0, 1);
	assert_true(it->accepted);
	rig_stop(&sink_case_rig);

	sink_case_start(state);
	rig_message(&sink_case_rig, "k");
	rig_submit(&sink_case_rig, 0, 1);
	rig_poll(&sink_case_rig, 0);
	rig_stop(&sink_case_rig);
}

static void
limits_make_sense(void **state)
{
	struct ob_sink_limits limits;

	sink_case_start(state);
	limits = sink_case_limits();
	assert_true(limits.in_flight_max >= 1);
	assert_true(limits.order <= OB_ORDER_ALWAYS);
	rig_stop(&sink_case_rig);
}

/* ---- sending ---- */

static void
each_ticket_gets_one_receipt(void **state)
{
	const size_t count = 300;
	char key[16];

	sink_case_start(state);
	for (size_t i = 0; i < count; i++) {
		snprintf(key, sizeof(key), "k%zu", i % 7);
		rig_message(&sink_case_rig, key);
	}
	rig_send(&sink_case_rig, 0, count);
	assert_int_equal(rig_poll(&sink_case_rig, 0), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(sink_case_rig.messages[i].fate, OB_FATE_SENT);
	rig_look(&sink_case_rig);
	rig_stop(&sink_case_rig);
}

static void
no_message_is_sent_before_it_arrived(void **state)
{
	sink_case_start(state);
	if (sink_case_rig.adapter->arrivals == NULL) {
		rig_stop(&sink_case_rig);
		OB_SKIP(sink_case_rig.adapter->why_no_arrivals);
	}
	for (size_t i = 0; i < 100; i++)
		rig_message(&sink_case_rig, "");
	for (size_t at = 0; at < 100 || sink_case_rig.owed > 0;) {
		at += at < 100 ? rig_submit(&sink_case_rig, at, 100 - at) : 0;
		rig_poll(&sink_case_rig, 1000);
		rig_look(&sink_case_rig);
	}
	assert_int_equal(sink_case_rig.arrivals.count, 100);
	rig_stop(&sink_case_rig);
}

static void
a_key_arrives_in_order(void **state)
{
	size_t last[3] = {0};

	sink_case_start(state);
	if (sink_case_rig.adapter->arrivals == NULL || sink_case_limits().order == OB_ORDER_NONE) {
		bool none = sink_case_rig.adapter->arrivals != NULL;

		rig_stop(&sink_case_rig);
		OB_SKIP(none ? "this sink declares no order"
			     : sink_case_rig.adapter->why_no_arrivals);
	}
	for (size_t i = 0; i < 200; i++)
		rig_message(&sink_case_rig, i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "c");
	rig_send(&sink_case_rig, 0, 200);
	rig_look(&sink_case_rig);
	for (size_t i = 0; i < 200; i++) {
		assert_true(i < 3 || sink_case_rig.messages[i].arrived_at > last[i % 3]);
		last[i % 3] = sink_case_rig.messages[i].arrived_at;
	}
	rig_stop(&sink_case_rig);
}

static void
more_than_the_limit_is_not_taken(void **state)
{
	uint32_t limit;
	size_t accepted;

	sink_case_start(state);
	limit = sink_case_limits().in_flight_max;
	assert_true(limit < RIG_MESSAGES_MAX);
	for (size_t i = 0; i <= limit; i++)
		rig_message(&sink_case_rig, "");
	accepted = rig_submit(&sink_case_rig, 0, (size_t)limit + 1);
	assert_true(accepted <= limit);
	assert_true(accepted >= 1);
	if (accepted == limit)
		assert_int_equal(rig_submit(&sink_case_rig, accepted, 1), 0);
	rig_settle(&sink_case_rig, 20000);
	rig_send(&sink_case_rig, accepted, (size_t)limit + 1 - accepted);
	rig_look(&sink_case_rig);
	rig_stop(&sink_case_rig);
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

	sink_case_start(state);
	if (sink_case_rig.adapter->arrivals == NULL) {
		rig_stop(&sink_case_rig);
		OB_SKIP(sink_case_rig.adapter->why_no_arrivals);
	}
	for (size_t i = 0; i < count; i++) {
		struct ob_message *message = &rig_message(&sink_case_rig, "")->message;

		message->payload = corpus[i].payload;
		message->key = corpus[i].key;
		message->type = corpus[i].type;
		message->content_type = corpus[i].content_type;
		message->headers = corpus[i].headers;
	}
	rig_send(&sink_case_rig, 0, count);
	rig_look(&sink_case_rig);
	for (size_t i = 0; i < count; i++) {
		const struct rig_message *it = &sink_case_rig.messages[i];
		const struct sink_arrival *arrival = &sink_case_rig.arrivals.items[it->arrived_at];

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
	rig_stop(&sink_case_rig);
}

static void
sixteen_mebibytes_arrive(void **state)
{
	const size_t size = (size_t)16 * 1024 * 1024;
	uint64_t limit;
	char *payload = malloc(size);
	struct rig_message *it;

	sink_case_start(state);
	if (sink_case_rig.adapter->arrivals == NULL) {
		free(payload);
		rig_stop(&sink_case_rig);
		OB_SKIP(sink_case_rig.adapter->why_no_arrivals);
	}
	assert_non_null(payload);
	for (size_t i = 0; i < size; i++)
		payload[i] = (char)(i * 2654435761u >> 13);
	/* A time-out of 300 ms is too short for so much on two busy cores. */
	for (size_t i = 0; i < 8; i++)
		if (strncmp(sink_case_rig.setup.options[i], "request-timeout=", 16) == 0)
			snprintf(sink_case_rig.setup.options[i],
				 sizeof(sink_case_rig.setup.options[i]), "request-timeout=15s");
	sink_case_rig.adapter->ops->close(sink_case_rig.sink);
	memset(sink_case_rig.sink, 0, sink_case_rig.adapter->ops->size);
	assert_int_equal(rig_open(&sink_case_rig, sink_case_rig.setup.url), OB_OK);
	it = rig_message(&sink_case_rig, "k");
	it->message.payload = (struct ob_bytes){payload, size};
	rig_send(&sink_case_rig, 0, 1);
	limit = sink_case_limits().message_bytes_max;
	rig_look(&sink_case_rig);
	if (limit != 0 && limit < size) {
		assert_int_equal(it->fate, OB_FATE_REJECT);
		assert_false(it->arrived);
	} else {
		if (it->fate != OB_FATE_SENT)
			fail_msg("%s %s", it->code, it->text);
		assert_int_equal(sink_case_rig.arrivals.items[0].payload_size, size);
		assert_memory_equal(sink_case_rig.arrivals.items[0].payload, payload, size);
	}
	rig_prove_it_works(&sink_case_rig);
	rig_stop(&sink_case_rig);
	free(payload);
}

/* ---- waiting ---- */

static void
poll_keeps_to_its_time(void **state)
{
	int64_t start_ms;

	sink_case_start(state);
	start_ms = rig_now_ms();
	assert_int_equal(rig_poll(&sink_case_rig, 0), 0);
	assert_true(rig_now_ms() - start_ms < SLACK_MS);
	start_ms = rig_now_ms();
	assert_int_equal(rig_poll(&sink_case_rig, 100), 0);
	assert_true(rig_now_ms() - start_ms >= 95);
	assert_true(rig_now_ms() - start_ms < 100 + SLACK_MS);
	rig_stop(&sink_case_rig);
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

	sink_case_start(state);
	/* One that waits. */
	assert_int_equal(pthread_create(&thread, NULL, wake_after_a_while, sink_case_rig.sink), 0);
	start_ms = rig_now_ms();
	assert_int_equal(rig_poll(&sink_case_rig, 30000), 0);
	assert_true(rig_now_ms() - start_ms < 10000);
	pthread_join(thread, NULL);
	/* The next one. */
	sink_case_rig.adapter->ops->wake(sink_case_rig.sink);
	start_ms = rig_now_ms();
	assert_int_equal(rig_poll(&sink_case_rig, 30000), 0);
	assert_true(rig_now_ms() - start_ms < 10000);
	/* And no other. */
	start_ms = rig_now_ms();
	assert_int_equal(rig_poll(&sink_case_rig, 50), 0);
	assert_true(rig_now_ms() - start_ms >= 45);
	rig_stop(&sink_case_rig);
}

static void
flush_changes_nothing_that_is_seen(void **state)
{
	sink_case_start(state);
	if (sink_case_rig.adapter->ops->flush == NULL) {
		rig_stop(&sink_case_rig);
		OB_SKIP("this sink batches nothing, so it has nothing to flush");
	}
	sink_case_rig.adapter->ops->flush(sink_case_rig.sink);
	rig_message(&sink_case_rig, "a");
	rig_message(&sink_case_rig, "b");
	assert_true(rig_submit(&sink_case_rig, 0, 2) >= 1);
	sink_case_rig.adapter->ops->flush(sink_case_rig.sink);
	rig_settle(&sink_case_rig, 20000);
	rig_look(&sink_case_rig);
	rig_stop(&sink_case_rig);
}

static void
reopen_loses_nothing(void **state)
{
	sink_case_start(state);
	if (sink_case_rig.adapter->ops->reopen == NULL) {
		rig_stop(&sink_case_rig);
		OB_SKIP("this sink has nothing to open again");
	}
	rig_prove_it_works(&sink_case_rig);
	sink_case_rig.adapter->ops->reopen(sink_case_rig.sink);
	rig_prove_it_works(&sink_case_rig);
	rig_message(&sink_case_rig, "k");
	rig_submit(&sink_case_rig, sink_case_rig.count - 1, 1);
	sink_case_rig.adapter->ops->reopen(sink_case_rig.sink);
	rig_settle(&sink_case_rig, 20000);
	assert_int_equal(sink_case_rig.messages[sink_case_rig.count - 1].fate, OB_FATE_SENT);
	rig_look(&sink_case_rig);
	rig_stop(&sink_case_rig);
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

	sink_case_start(state);
	if (sink_case_rig.adapter->ops->check == NULL) {
		rig_stop(&sink_case_rig);
		OB_SKIP("this sink has nothing to check");
	}
	assert_int_equal(sink_case_rig.adapter->ops->check(sink_case_rig.sink, 5000, &report,
							   &sink_case_rig.error),
			 OB_OK);
	assert_true(findings > 0);
	rig_look(&sink_case_rig);
	assert_int_equal(sink_case_rig.arrivals.count, 0);
	rig_stop(&sink_case_rig);
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
