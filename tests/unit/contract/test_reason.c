/* Foreign reasons: whatever a program or recipient says, what is kept can be shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "reason.h"
#include "utf8.h"

static void
codes_are_checked(void **state)
{
	struct ob_reason reason;

	(void)state;
	ob_reason_set_code(&reason, "http_422", "other");
	assert_string_equal(reason.code, "http_422");
	ob_reason_set_code(&reason, "", "other");
	assert_string_equal(reason.code, "other");
	ob_reason_set_code(&reason, "No Code!", "other");
	assert_string_equal(reason.code, "other");
	ob_reason_set_code(&reason, "a_code_that_is_longer_than_it_may_be", "other");
	assert_string_equal(reason.code, "other");
}

static void
texts_lose_what_cannot_be_shown(void **state)
{
	static const struct {
		const char *text, *kept;
	} cases[] = {
	    {"", ""},
	    {"plain", "plain"},
	    {"caf\xc3\xa9 \xf0\x9f\x98\x80", "caf\xc3\xa9 \xf0\x9f\x98\x80"},
	    {"a\r\nb\t\x1b[31m\x7f", "a??b??[31m?"},
	    {"\xff\xfe"
	     "a\xc3",
	     "??a?"},
	    {"\xc2\x85\xc2\x9f\xc2\xa0", "????\xc2\xa0"},
	};
	struct ob_reason reason;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ob_reason_set_text(&reason, cases[i].text, strlen(cases[i].text));
		assert_string_equal(reason.text, cases[i].kept);
	}
	ob_reason_set_text(&reason, "a\0b", 3);
	assert_string_equal(reason.text, "a?b");
	ob_reason_print(&reason, "%s %d", "exit", 3);
	assert_string_equal(reason.text, "exit 3");
}

static void
long_texts_are_cut(void **state)
{
	struct ob_reason reason;
	char text[300];

	(void)state;
	for (size_t at = 0; at < sizeof(text); at += 3)
		memcpy(text + at, "\xe2\x82\xac", 3);
	for (size_t size = 90; size < sizeof(text); size++) {
		ob_reason_set_text(&reason, text, size);
		assert_true(strlen(reason.text) < sizeof(reason.text));
		assert_true(ob_utf8_valid(reason.text, strlen(reason.text)));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(codes_are_checked),
	    cmocka_unit_test(texts_lose_what_cannot_be_shown),
	    cmocka_unit_test(long_texts_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
