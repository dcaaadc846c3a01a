/* Text, numbers, errors, patterns, log lines and the lane hash. */
#include "cm.h"

#include <outbox/error.h>

#include "hash.h"
#include "log.h"
#include "pattern.h"
#include "text.h"

#include <string.h>

static void
bytes_tell_absent_from_empty(void **state)
{
	struct ob_bytes absent = {0}, empty = ob_bytes_of_text("");

	(void)state;
	assert_false(ob_bytes_equal(absent, empty));
	assert_true(ob_bytes_equal(absent, ob_bytes_of_text(NULL)));
	assert_true(ob_bytes_equal_text(ob_bytes_trim(ob_bytes_of_text(" \ta b\r\n")), "a b"));
	assert_true(ob_bytes_equal_text(ob_bytes_trim(ob_bytes_of_text("  ")), ""));
}

static void
numbers_are_read_whole_or_not_at_all(void **state)
{
	static const char *const wrong[] = {"",
					    "-",
					    "+1",
					    " 1",
					    "1 ",
					    "1x",
					    "0x1",
					    "9223372036854775808",
					    "-9223372036854775809",
					    "99999999999999999999"};
	int64_t value = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(ob_text_to_int64(wrong[i], &value));
	assert_int_equal(value, 7);
	assert_true(ob_text_to_int64("9223372036854775807", &value));
	assert_true(value == INT64_MAX);
	assert_true(ob_text_to_int64("-9223372036854775808", &value));
	assert_true(value == INT64_MIN);
	assert_true(ob_text_to_int64("007", &value));
	assert_int_equal(value, 7);
}

static void
a_copy_is_cut_between_characters(void **state)
{
	char out[5];

	(void)state;
	assert_true(ob_text_copy(out, sizeof(out), "abcd"));
	assert_string_equal(out, "abcd");
	assert_false(ob_text_copy(out, sizeof(out), "abc\xc3\xa9"));
	assert_string_equal(out, "abc");
	assert_false(ob_text_copy(out, 1, "x"));
	assert_string_equal(out, "");
}

static void
the_nearest_name_is_found(void **state)
{
	static const char *const names[] = {"topic", "timeout", "to", NULL, "format"};

	(void)state;
	assert_int_equal(ob_text_distance("tpoic", "topic"), 1);
	assert_int_equal(ob_text_distance("kitten", "sitting"), 3);
	assert_int_equal(ob_text_distance("", "abc"), 3);
	assert_string_equal(ob_text_nearest("tpoic", names, 5), "topic");
	assert_string_equal(ob_text_nearest("time-out", names, 5), "timeout");
	assert_null(ob_text_nearest("x", names, 5));
	assert_null(ob_text_nearest("subscription", names, 5));
	assert_null(ob_text_nearest("", names, 5));
}

static void
errors_grow_by_prefixes_and_are_cut(void **state)
{
	struct ob_error error = {0};
	char large[2 * OB_ERROR_TEXT_MAX];

	(void)state;
	assert_int_equal(ob_error_set(&error, OB_UNREACHABLE, "%s", "refused"), OB_UNREACHABLE);
	ob_error_prefix(&error, "connect %s", "db1");
	assert_string_equal(error.text, "connect db1: refused");
	ob_error_set(&error, OB_DENIED, "again: %s", error.text);
	assert_string_equal(error.text, "again: connect db1: refused");
	assert_int_equal(error.code, OB_DENIED);
	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	ob_error_prefix(&error, "%s", large);
	assert_int_equal(strlen(error.text), OB_ERROR_TEXT_MAX - 1);
	ob_error_prefix(&error, "again");
	assert_int_equal(strlen(error.text), OB_ERROR_TEXT_MAX - 1);
	assert_memory_equal(error.text, "again: xxx", 10);
	assert_int_equal(ob_error_set(NULL, OB_LIMIT, "x"), OB_LIMIT);
	ob_error_prefix(NULL, "x");
}

static void
codes_have_names(void **state)
{
	(void)state;
	for (int i = 0; i <= OB_FAILED; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(ob_code_name((enum ob_code)i),
						ob_code_name((enum ob_code)j));
	assert_string_equal(ob_code_name(OB_UNREACHABLE), "unreachable");
	assert_string_equal(ob_code_name((enum ob_code)999), "failed");
}

static bool
matches(const char *list, const char *topic)
{
	return ob_pattern_match(list, ob_bytes_of_text(topic));
}

static void
patterns_match_topics(void **state)
{
	(void)state;
	assert_true(matches("orders", "orders"));
	assert_false(matches("orders", "orders.placed"));
	assert_true(matches("orders.*", "orders.placed"));
	assert_true(matches("orders.*", "orders."));
	assert_false(matches("orders.*", "orders"));
	assert_true(matches("*", ""));
	assert_true(matches("a, b.* ,c", "b.x"));
	assert_false(matches("a,b", "a,b"));
	assert_true(matches("*a*b*", "xxaxxbxx"));
	assert_false(matches("*a*b", "xxaxxbxx"));
	assert_true(matches("*aab", "aaaab"));
	assert_false(matches("", "x"));
	assert_true(ob_pattern_match("a*c", (struct ob_bytes){.data = "a\0c", .size = 3}));
	/* Would take years if each star were tried at each place. */
	assert_false(
	    matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b",
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void
wrong_patterns_are_refused(void **state)
{
	struct ob_error error;

	(void)state;
	assert_int_equal(ob_pattern_check("orders.*, x", &error), OB_OK);
	assert_int_equal(ob_pattern_check("", &error), OB_CONFIG);
	assert_int_equal(ob_pattern_check("a,,b", &error), OB_CONFIG);
	assert_non_null(strstr(error.text, "use * for all"));
	assert_int_equal(ob_pattern_check("a\nb", &error), OB_CONFIG);
	assert_int_equal(ob_pattern_check("a\xff", &error), OB_CONFIG);
}

static const char *
line(enum ob_log_format format, const char *text)
{
	static char out[4 * OB_LOG_LINE_MAX];
	struct ob_buf buf;

	ob_buf_init(&buf, sizeof(out));
	assert_true(ob_log_line(&buf, format, INT64_C(1767225600123456), OB_LOG_WARN, text));
	memcpy(out, buf.data, buf.size + 1);
	ob_buf_free(&buf);
	return out;
}

static void
log_lines_have_their_form(void **state)
{
	(void)state;
	assert_string_equal(line(OB_LOG_TEXT, "down"), "2026-01-01T00:00:00.123Z warn  down\n");
	assert_string_equal(
	    line(OB_LOG_JSON, "a \"b\""),
	    "{\"time\":\"2026-01-01T00:00:00.123Z\",\"level\":\"warn\",\"text\":\"a \\\"b\\\"\"}\n");
	assert_string_equal(line(OB_LOG_LOGFMT, "a b"),
			    "time=2026-01-01T00:00:00.123Z level=warn text=\"a b\"\n");
}

static void
log_lines_cannot_lead_a_terminal_astray(void **state)
{
	static char large[100000];

	(void)state;
	assert_string_equal(
	    line(OB_LOG_TEXT, "\x1b[31m\r\n\xc2\x9b\xff\xc3\xa9\\"),
	    "2026-01-01T00:00:00.123Z warn  \\x1b[31m\\x0d\\x0a\\xc2\\x9b\\xff\xc3\xa9\\\n");
	memset(large, '\x1b', sizeof(large) - 1);
	assert_true(strlen(line(OB_LOG_TEXT, large)) < OB_LOG_LINE_MAX + 64);
	assert_true(strlen(line(OB_LOG_JSON, large)) < OB_LOG_LINE_MAX + 128);
}

static void
log_levels_have_names(void **state)
{
	(void)state;
	assert_string_equal(ob_log_level_name(OB_LOG_DEBUG), "debug");
	assert_string_equal(ob_log_level_name((enum ob_log_level)99), "error");
}

/*
 * FROZEN WITH THE SCHEMA. The vectors of the paper's reference implementation for the key 00 .. 0f and the
 * input 00 01 02 ...: appendix A gives the one of 15 bytes.
 */
static void
the_lane_hash_is_frozen(void **state)
{
	unsigned char input[64];

	(void)state;
	for (unsigned char i = 0; i < 64; i++)
		input[i] = i;
	assert_true(ob_hash_lane(NULL, 0) == UINT64_C(0x726fdb47dd0e0e31));
	assert_true(ob_hash_lane(input, 1) == UINT64_C(0x74f839c593dc67fd));
	assert_true(ob_hash_lane(input, 8) == UINT64_C(0x93f5f5799a932462));
	assert_true(ob_hash_lane(input, 15) == UINT64_C(0xa129ca6149be45e5));
	assert_true(ob_hash_lane(input, 63) == UINT64_C(0x958a324ceb064572));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bytes_tell_absent_from_empty),
    cmocka_unit_test(numbers_are_read_whole_or_not_at_all),
    cmocka_unit_test(a_copy_is_cut_between_characters),
    cmocka_unit_test(the_nearest_name_is_found),
    cmocka_unit_test(errors_grow_by_prefixes_and_are_cut),
    cmocka_unit_test(codes_have_names),
    cmocka_unit_test(patterns_match_topics),
    cmocka_unit_test(wrong_patterns_are_refused),
    cmocka_unit_test(log_lines_have_their_form),
    cmocka_unit_test(log_lines_cannot_lead_a_terminal_astray),
    cmocka_unit_test(log_levels_have_names),
    cmocka_unit_test(the_lane_hash_is_frozen),
};

CM_MAIN(tests)
