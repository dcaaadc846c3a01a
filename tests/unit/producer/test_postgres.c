/* What is found wrong before a server is asked. tests/contract/postgres_producer.c meets real ones. */
#include "cm.h"

#include <outbox/postgres.h>
#include <string.h>

static const char id[] = "0190163d-8694-739b-aea5-966c26f8ad91";

struct refusal {
	struct ob_new_message message;
	enum ob_code code;
	const char *says;
};

static void
test_checks_before_it_asks_the_server(void **state)
{
	static char large[OB_PAYLOAD_BYTES_MAX + 1];
	const struct refusal refusals[] = {
	    {{.topic = NULL}, OB_INVALID, "topic: missing"},
	    {{.topic = "a\nb"}, OB_INVALID, "topic: holds the control character 0x0a at byte 1"},
	    {{.topic = "t", .key = "\xff"}, OB_INVALID, "key: not UTF-8 at byte 0"},
	    {{.topic = "t", .headers = "[]"}, OB_INVALID, "headers: not a JSON object"},
	    {{.topic = "t", .headers = "{\"a\":\"\\u0000\"}"}, OB_INVALID, "headers: \\u0000"},
	    {{.topic = "t", .headers = "{\"a\\\\\\u0000\":\"b\"}"}, OB_INVALID, "headers: \\u0000"},
	    {{.topic = "t", .payload = large, .payload_size = sizeof(large)},
	     OB_LIMIT,
	     "payload: 16777217 bytes"},
	    {{.topic = "t", .payload_size = 1}, OB_INVALID, "payload: a size of 1 without bytes"},
	    {{.topic = "t", .deliver_after_us = -1}, OB_INVALID, "deliver_after"},
	    {{.topic = "t", .id = "order-1"}, OB_INVALID, "id: not a UUID"},
	    {{.topic = "t", .id = "0190163d8694739baea5966c26f8ad91"},
	     OB_INVALID,
	     "id: not a UUID"},
	    {{.topic = "t", .id = "0190163d-8694-739b-aea5-966c26f8ad9"}, OB_INVALID, "not a UUID"},
	    {{.topic = "t", .id = "0190163d-8694-739b-aea5-966c26f8ad911"},
	     OB_INVALID,
	     "not a UUID"},
	    {{.topic = "t", .id = "0190163d-8694-739b-aea5-966c26f8ad9-"},
	     OB_INVALID,
	     "not a UUID"},
	    {{.topic = "t", .id = "0190163d-8694-739b-aea5-966c26f8ad9g"},
	     OB_INVALID,
	     "not a UUID"},
	};
	struct ob_new_message pair[2] = {{.topic = "t", .id = id}};

	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct ob_error error = {0};

		pair[1] = refusals[i].message;
		/* There is no connection: it must not be asked. */
		assert_int_equal(ob_postgres_publish(NULL, NULL, pair, 2, NULL, &error),
				 refusals[i].code);
		if (strncmp(error.text, "publish: message 2 of 2: ", 25) != 0 ||
		    strstr(error.text, refusals[i].says) == NULL)
			fail_msg("%s: %s", refusals[i].says, error.text);
		assert_int_equal(ob_postgres_send(NULL, NULL, pair + 1, 1, NULL, &error),
				 refusals[i].code);
	}
}

static void
test_without_a_connection_or_a_result(void **state)
{
	const struct ob_new_message message = {
	    .topic = "t", .id = id, .headers = "{\"a\\\\u0000\":\"\\\\\"}"};
	struct ob_error error;

	(void)state;
	assert_int_equal(ob_postgres_publish(NULL, NULL, &message, 0, NULL, &error), OB_OK);
	assert_int_equal(ob_postgres_send(NULL, NULL, &message, 0, NULL, &error), OB_OK);
	assert_int_equal(ob_postgres_publish(NULL, NULL, &message, 1, NULL, &error),
			 OB_UNREACHABLE);
	assert_string_equal(error.text, "publish: the connection is closed");
	assert_int_equal(ob_postgres_send(NULL, NULL, &message, 1, NULL, &error), OB_UNREACHABLE);
	assert_int_equal(ob_postgres_result(NULL, &error), OB_USAGE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_checks_before_it_asks_the_server),
	    cmocka_unit_test(test_without_a_connection_or_a_result),
	};

	return cmocka_run_group_tests_name("producer-postgres", tests, NULL, NULL);
}
