#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "outgoing.h"
#include "text.h"

/* The bytes stand at the end of their own allocation, so that a checker of memory sees one read too far. */
static bool
is_accepted(const char *text)
{
	size_t size = strlen(text);
	char *bytes = malloc(size + (size == 0));

	assert_non_null(bytes);
	memcpy(bytes, text, size);
	struct ob_error error = {0};
	int rc = ob_headers_check((struct ob_bytes){bytes, size}, &error);
	free(bytes);
	if (rc != OB_OK) {
		assert_int_equal(rc, OB_INVALID);
		assert_int_equal(strncmp(error.text, "headers: ", 9), 0);
	}
	return rc == OB_OK;
}

static void
test_takes_objects_of_strings(void **state)
{
	static const char *const good[] = {"{}",
					   " { } ",
					   "{\"a\":\"b\"}",
					   "{\"\":\"\"}",
					   "\t{\n\"a\" : \"b\" , \"c\":\"d\"\r} ",
					   "{\"a\":\"\\u00e9\\n\\\"\\\\\\/\\b\\f\\r\\t\"}",
					   "{\"a\":\"\\ud83d\\ude00\"}",
					   "{\"a\":\"\xc3\xa9 {[]}\"}"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (!is_accepted(good[i]))
			fail_msg("refused: %s", good[i]);
}

static void
test_refuses_everything_else(void **state)
{
	static const char *const bad[] = {"",
					  " ",
					  "null",
					  "[]",
					  "\"a\"",
					  "1",
					  "{",
					  "}",
					  "{}}",
					  "{} x",
					  "{\"a\"}",
					  "{\"a\":}",
					  "{\"a\":1}",
					  "{\"a\":null}",
					  "{\"a\":true}",
					  "{\"a\":{}}",
					  "{\"a\":[]}",
					  "{\"a\":\"b\",}",
					  "{,}",
					  "{a:\"b\"}",
					  "{'a':'b'}",
					  "{\"a\":\"b\" \"c\":\"d\"}",
					  "{\"a\":\"b",
					  "{\"a\":\"b\\",
					  "{\"a\":\"b\\\"}",
					  "{\"a\":\"\\x\"}",
					  "{\"a\":\"\\u12\"}",
					  "{\"a\":\"\\u12g4\"}",
					  "{\"a\":\"\\ud83d\"}",
					  "{\"a\":\"\\ud83d\\n\"}",
					  "{\"a\":\"\\ud83d\\ud83d\"}",
					  "{\"a\":\"\\ude00\"}",
					  "{\"a\":\"\n\"}",
					  "{\"a\":\"b\"",
					  "{\"a\\",
					  "\xef\xbb\xbf{}"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (is_accepted(bad[i]))
			fail_msg("taken: %s", bad[i]);
}

static void
test_says_where_and_how_to_mend_it(void **state)
{
	struct ob_error error = {0};

	(void)state;
	assert_int_equal(ob_headers_check(ob_bytes_of_text("{\"a\":1}"), &error), OB_INVALID);
	assert_string_equal(error.text,
			    "headers: every value must be a string in quotes at byte 5; "
			    "write them as {\"name\": \"value\"}");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_takes_objects_of_strings),
	    cmocka_unit_test(test_refuses_everything_else),
	    cmocka_unit_test(test_says_where_and_how_to_mend_it),
	};

	return cmocka_run_group_tests_name("headers", tests, NULL, NULL);
}
