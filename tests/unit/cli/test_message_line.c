#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "message_line.h"

/* The bytes end with their own allocation, so that a checker of memory sees one read too far. */
static int
line_read(struct ob_message_line *line, const char *text, struct ob_error *error)
{
	size_t size = strlen(text);
	char *bytes = malloc(size + 1);

	assert_non_null(bytes);
	memcpy(bytes, text, size);
	int rc = ob_message_line_read(line, bytes, size, error);
	free(bytes);
	return rc;
}

static void
test_reads_every_member(void **state)
{
	struct ob_message_line line;
	const struct ob_new_message *message = &line.message;

	(void)state;
	assert_int_equal(
	    line_read(
		&line,
		"{\"topic\":\"t\",\"key\":\"k\",\"type\":\"y\",\"payload\":\"a\\u0000b\",\"id\":\"i\","
		"\"content_type\":\"c\",\"headers\":{\"a\":\"b\"},\"deliver_after\":\"1970-01-01T00:00:01Z\"}",
		NULL),
	    OB_OK);
	assert_string_equal(message->topic, "t");
	assert_string_equal(message->key, "k");
	assert_string_equal(message->type, "y");
	assert_string_equal(message->id, "i");
	assert_string_equal(message->content_type, "c");
	assert_string_equal(message->headers, "{\"a\":\"b\"}");
	assert_int_equal(message->deliver_after_us, 1000000);
	assert_int_equal(message->payload_size, 3);
	assert_memory_equal(message->payload, "a\0b", 3);
	ob_message_line_free(&line);
}

static void
test_a_payload_takes_many_forms(void **state)
{
	static const struct {
		const char *line, *payload;
	} forms[] = {
	    {"{\"topic\":\"t\",\"payload\":{\"b\": 1, \"a\": [true, null]}}",
	     "{\"b\":1,\"a\":[true,null]}"},
	    {"{\"topic\":\"t\",\"payload\":3}", "3"},
	    /* Numbers stay as they are written. */
	    {"{\"topic\":\"t\",\"payload\":{\"price\": 19.99, \"rate\": 1.10}}",
	     "{\"price\":19.99,\"rate\":1.10}"},
	    {"{\"payload\" : 0.1 , \"topic\" : \"t\"}", "0.1"},
	    {"{\"topic\":\"t\",\"payload\":12345678901234567890123}", "12345678901234567890123"},
	    {" { \"type\" : \"a\\\"b:,\", \"payload\" : [ \"c, d]\\\\\" , { } ] }\n",
	     "[\"c, d]\\\\\",{}]"},
	    {"{\"topic\":\"t\",\"payload\":\"\"}", ""},
	    {"{\"topic\":\"t\",\"payload_base64\":\"aGk=\"}", "hi"},
	    {"{\"topic\":\"t\",\"payload_base64\":\"\"}", ""},
	    {"{\"topic\":\"t\",\"payload\":null}", NULL},
	    {"{\"topic\":\"t\"}", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct ob_message_line line;

		assert_int_equal(line_read(&line, forms[i].line, NULL), OB_OK);
		if (forms[i].payload == NULL) {
			assert_null(line.message.payload);
		} else {
			assert_non_null(line.message.payload);
			assert_int_equal(line.message.payload_size, strlen(forms[i].payload));
			assert_memory_equal(line.message.payload, forms[i].payload,
					    line.message.payload_size);
		}
		ob_message_line_free(&line);
	}
}

static void
test_refuses_what_is_no_message(void **state)
{
	static const struct {
		const char *line, *says;
	} refusals[] = {
	    {"", "not JSON"},
	    {"{", "not JSON"},
	    {"[]", "not a JSON object"},
	    {"{\"topic\":\"t\"} {}", "not JSON"},
	    {"{\"topic\":\"\xff\"}", "not JSON"},
	    {"{\"topic\":1}", "topic: must be a string"},
	    {"{\"topic\":\"a\\u0000\"}", "topic: holds a NUL"},
	    {"{\"topic\":\"t\",\"payload_base64\":\"a\"}", "payload_base64"},
	    {"{\"topic\":\"t\",\"payload_base64\":7}", "payload_base64"},
	    {"{\"topic\":\"t\",\"payload\":\"a\",\"payload_base64\":\"aGk=\"}", "payload"},
	    {"{\"topic\":\"t\",\"payload_base64\":\"\",\"payload\":{}}", "payload"},
	    {"{\"topic\":\"t\",\"key\":\"a\",\"partition_key\":\"b\"}", "key"},
	    {"{\"topic\":\"t\",\"deliver_after\":\"soon\"}", "deliver_after"},
	    {"{\"topik\":\"t\"}", "did you mean \"topic\"?"},
	    {"{\"topic\":\"t\",\"topic\":\"u\"}", "not JSON"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct ob_message_line line;
		struct ob_error error = {0};

		assert_int_equal(line_read(&line, refusals[i].line, &error), OB_INVALID);
		if (strstr(error.text, refusals[i].says) == NULL)
			fail_msg("%s: %s", refusals[i].line, error.text);
		ob_message_line_free(&line);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reads_every_member),
	    cmocka_unit_test(test_a_payload_takes_many_forms),
	    cmocka_unit_test(test_refuses_what_is_no_message),
	};

	return cmocka_run_group_tests_name("message-line", tests, NULL, NULL);
}
