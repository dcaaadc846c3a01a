/* Reading headers: what an application may write, and all that it should not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "headers.h"

/* "name=value;" of each member; then "!" and the problem if there is one. */
static const char *
read_all(const char *text, size_t size)
{
	static char story[512];
	struct ob_buf scratch;
	struct ob_headers_reader reader;
	struct ob_header header;
	size_t at = 0;

	ob_buf_init(&scratch, 1024);
	ob_headers_start(&reader, (struct ob_bytes){text, size}, &scratch);
	while (ob_headers_next(&reader, &header))
		at += (size_t)snprintf(story + at, sizeof(story) - at, "%.*s=%.*s;",
				       (int)header.name.size, (const char *)header.name.data,
				       (int)header.value.size, (const char *)header.value.data);
	snprintf(story + at, sizeof(story) - at, "%s%s", reader.problem == NULL ? "" : "!",
		 reader.problem == NULL ? "" : reader.problem);
	assert_false(ob_headers_next(&reader, &header));
	ob_buf_free(&scratch);
	return story;
}

static void
objects_of_strings_are_read(void **state)
{
	static const struct {
		const char *text, *story;
	} cases[] = {
	    {"{}", ""},
	    {" { } \n", ""},
	    {"{\"a\":\"b\"}", "a=b;"},
	    {"{\"a\":\"\",\"\":\"b\"}", "a=;=b;"},
	    {"\r\n{ \"a\" : \"b\" ,\t\"a\":\"c\" }", "a=b;a=c;"},
	    {"{\"q\\\"\\\\\":\"\\/\\b\\f\\n\\r\\t.\"}", "q\"\\=/\b\f\n\r\t.;"},
	    {"{\"\\u0041\":\"x\\u00e9\\u20ac\\ud83d\\ude00y\"}",
	     "A=x\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80y;"},
	    {"{\"a\\n\":\"b\",\"c\":\"d\\n\"}", "a\n=b;c=d\n;"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(read_all(cases[i].text, strlen(cases[i].text)), cases[i].story);
	assert_string_equal(read_all(NULL, 0), "");
}

static void
anything_else_is_a_problem(void **state)
{
	static const struct {
		const char *text, *story;
	} cases[] = {
	    {"", "!headers: not a JSON object"},
	    {"   ", "!headers: not a JSON object"},
	    {"[]", "!headers: not a JSON object"},
	    {"null", "!headers: not a JSON object"},
	    {"{", "!headers: a member has no name in quotes"},
	    {"{\"a\":\"b\"", "a=b;!headers: the object does not end"},
	    {"{\"a\":\"b\",", "a=b;!headers: a member has no name in quotes"},
	    {"{\"a\":\"b\",}", "a=b;!headers: a member has no name in quotes"},
	    {"{\"a\":\"b\" \"c\":\"d\"}", "a=b;!headers: no comma between members"},
	    {"{\"a\"}", "!headers: no colon behind a name"},
	    {"{\"a\":1}", "!headers: a value is not a string"},
	    {"{\"a\":null}", "!headers: a value is not a string"},
	    {"{\"a\":{\"b\":\"c\"}}", "!headers: a value is not a string"},
	    {"{\"a\":\"b", "!headers: a string does not end"},
	    {"{\"a\":\"b\\", "!headers: a string does not end"},
	    {"{\"a\":\"b\nc\"}", "!headers: a control character in a string"},
	    {"{\"a\":\"\\x\"}", "!headers: an unknown escape"},
	    {"{\"a\":\"\\u12\"}", "!headers: \\u without four hex digits"},
	    {"{\"a\":\"\\ud800\"}", "!headers: half a surrogate pair"},
	    {"{\"a\":\"\\udc00\\ud800\"}", "!headers: half a surrogate pair"},
	    {"{} x", "!headers: something behind the object"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(read_all(cases[i].text, strlen(cases[i].text)), cases[i].story);
}

/* Every beginning of valid headers is read without a look behind its end (valgrind and ASan see to
 * that). */
static void
cut_headers_do_no_harm(void **state)
{
	static const char text[] = "{\"a\\u00e9\":\"b\\ud83d\\ude00\", \"c\" : \"d\"}";

	(void)state;
	for (size_t size = 0; size < sizeof(text) - 1; size++) {
		char copy[sizeof(text)];

		memcpy(copy, text, size);
		assert_non_null(strchr(read_all(copy, size), '!'));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(objects_of_strings_are_read),
	    cmocka_unit_test(anything_else_is_a_problem),
	    cmocka_unit_test(cut_headers_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
