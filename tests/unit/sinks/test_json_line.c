/* A message as a line of JSON: the form is a promise to users, and no byte may be lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "json_line.h"
#include "text.h"

#define BYTES(text)                    \
	{                              \
		text, sizeof(text) - 1 \
	}

static const char *
line_of(const struct ob_message *message)
{
	static struct ob_buf line, scratch;

	ob_buf_free(&line);
	ob_buf_init(&line, 1024);
	ob_buf_init(&scratch, 1024);
	assert_true(ob_json_line(&line, message, &scratch));
	ob_buf_free(&scratch);
	return ob_buf_text(&line);
}

static void
every_field_has_its_place(void **state)
{
	struct ob_message message = {
	    .id = BYTES("1"),
	    .topic = BYTES("orders"),
	    .key = BYTES("7"),
	    .type = BYTES("placed"),
	    .payload = BYTES("{\"n\":1}"),
	    .content_type = BYTES("application/json"),
	    .headers = BYTES("{ \"a\":\n\"b\" }"),
	    .created_at_us = INT64_C(1769860800123456),
	};

	(void)state;
	assert_string_equal(
	    line_of(&message),
	    "{\"id\":\"1\",\"topic\":\"orders\",\"key\":\"7\",\"type\":\"placed\","
	    "\"content_type\":\"application/json\",\"headers\":{\"a\":\"b\"},"
	    "\"created_at\":\"2026-01-31T12:00:00.123Z\",\"payload\":\"{\\\"n\\\":1}\"}\n");
}

static void
what_is_absent_is_left_out(void **state)
{
	struct ob_message message = {.id = BYTES("1"), .topic = BYTES("t")};

	(void)state;
	assert_string_equal(line_of(&message), "{\"id\":\"1\",\"topic\":\"t\","
					       "\"created_at\":\"1970-01-01T00:00:00.000Z\","
					       "\"payload\":null}\n");
	message.payload = (struct ob_bytes)BYTES("");
	message.key = (struct ob_bytes)BYTES("");
	message.headers = (struct ob_bytes)BYTES("{}");
	assert_string_equal(line_of(&message),
			    "{\"id\":\"1\",\"topic\":\"t\",\"key\":\"\",\"headers\":{},"
			    "\"created_at\":\"1970-01-01T00:00:00.000Z\","
			    "\"payload\":\"\"}\n");
}

static void
no_byte_is_lost(void **state)
{
	struct ob_message message = {
	    .id = BYTES("\xff"),
	    .topic = BYTES("\0\x1f\x7f\r\n\t\b\f\"\\/\xc3\xa9\xf0\x9f\x98\x80"),
	    .payload = BYTES("a\x80"),
	    .headers = BYTES("{\"a\":1}"),
	};

	(void)state;
	assert_string_equal(
	    line_of(&message),
	    "{\"id_base64\":\"/w==\","
	    "\"topic\":\"\\u0000\\u001f\x7f\\r\\n\\t\\b\\f\\\"\\\\/\xc3\xa9\xf0\x9f\x98\x80\","
	    "\"headers_text\":\"{\\\"a\\\":1}\","
	    "\"created_at\":\"1970-01-01T00:00:00.000Z\",\"payload_base64\":\"YYA=\"}\n");
	message.headers = (struct ob_bytes)BYTES("{\"a\":\"\xff\"}");
	assert_non_null(strstr(line_of(&message), ",\"headers_text_base64\":\"eyJhIjoi/yJ9\","));
}

static void
a_line_that_does_not_fit_leaves_nothing(void **state)
{
	struct ob_message message = {.id = BYTES("1"),
				     .topic = BYTES("orders"),
				     .payload = BYTES("\x80 0123456789"),
				     .headers = BYTES("{\"a\":\"b\"}")};
	struct ob_buf line, scratch;
	size_t limit = 0;

	(void)state;
	ob_buf_init(&scratch, 1024);
	for (;; limit++) {
		bool ok;

		ob_buf_init(&line, limit + 1);
		ob_buf_append_byte(&line, 'x');
		ok = ob_json_line(&line, &message, &scratch);
		if (!ok)
			assert_string_equal(ob_buf_text(&line), "x");
		ob_buf_free(&line);
		if (ok)
			break;
	}
	assert_int_equal(limit, strlen(line_of(&message)));
	ob_buf_free(&scratch);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_field_has_its_place),
	    cmocka_unit_test(what_is_absent_is_left_out),
	    cmocka_unit_test(no_byte_is_lost),
	    cmocka_unit_test(a_line_that_does_not_fit_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
