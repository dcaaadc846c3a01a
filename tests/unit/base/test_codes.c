/* Percent-encoding, base64, hex, UTF-8 and JSON strings: vectors, and what must be refused. */
#include "cm.h"

#include "base64.h"
#include "hex.h"
#include "json.h"
#include "percent.h"
#include "utf8.h"

#include <string.h>

static struct ob_buf buf;

/* The buffer's text, which is emptied at the next call. */
static const char *
taken(bool done)
{
	static char text[1024];

	assert_true(done);
	assert_true(buf.size < sizeof(text));
	memcpy(text, ob_buf_text(&buf), buf.size + 1);
	ob_buf_reset(&buf);
	return text;
}

/* RFC 4648, 10. */
static void
base64_has_the_vectors_of_its_rfc(void **state)
{
	static const char *const pairs[][2] = {
	    {"", ""},
	    {"f", "Zg=="},
	    {"fo", "Zm8="},
	    {"foo", "Zm9v"},
	    {"foob", "Zm9vYg=="},
	    {"fooba", "Zm9vYmE="},
	    {"foobar", "Zm9vYmFy"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const char *plain = pairs[i][0], *code = pairs[i][1];

		assert_string_equal(taken(ob_base64_encode(&buf, plain, strlen(plain))), code);
		assert_string_equal(taken(ob_base64_decode(&buf, code, strlen(code))), plain);
		assert_int_equal(ob_base64_size(strlen(plain)), strlen(code));
	}
	assert_string_equal(taken(ob_base64_encode(&buf, "\xfb\xff\xfe", 3)), "+//+");
}

static void
base64_has_one_code_for_each_text(void **state)
{
	static const char *const wrong[] = {
	    "Zg=",  "Zg",   "Z",    "Zh==",   "Zm9=", "Zg==Zg==",
	    "====", "Z===", "Zm 9", "Zm9v\n", "Zm-_", "\xc3\xa9\xc3\xa9",
	    "Zg=v", "="};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_false(ob_base64_decode(&buf, wrong[i], strlen(wrong[i])));
		assert_int_equal(buf.size, 0);
	}
}

static void
hex_reads_both_cases(void **state)
{
	(void)state;
	assert_string_equal(taken(ob_hex_encode(&buf, "\x00\xff\x1a", 3)), "00ff1a");
	assert_string_equal(taken(ob_hex_decode(&buf, "4fA", 2)), "O");
	assert_string_equal(taken(ob_hex_decode(&buf, "6A6a", 4)), "jj");
	assert_false(ob_hex_decode(&buf, "4fA", 3));
	assert_false(ob_hex_decode(&buf, "4g", 2));
	assert_int_equal(buf.size, 0);
}

/* The example of the CloudEvents HTTP binding 1.0.2, 3.1.3.2, and what must never be in a header. */
static void
percent_encodes_headers_as_cloudevents_say(void **state)
{
	const char *euro = "Euro \xe2\x82\xac \xf0\x9f\x98\x80";

	(void)state;
	assert_string_equal(taken(ob_percent_encode_header(&buf, euro, strlen(euro))),
			    "Euro%20%E2%82%AC%20%F0%9F%98%80");
	assert_string_equal(taken(ob_percent_encode_header(&buf, "a\r\nb\0\"%\x7f!~", 10)),
			    "a%0D%0Ab%00%22%25%7F!~");
}

static void
percent_decodes_what_is_a_code(void **state)
{
	(void)state;
	assert_string_equal(taken(ob_percent_encode(&buf, "a/b c~", 6)), "a%2Fb%20c~");
	assert_string_equal(taken(ob_percent_decode(&buf, "a%2fb+%25", 9)), "a/b+%");
	assert_false(ob_percent_decode(&buf, "%4", 2));
	ob_buf_reset(&buf);
	assert_false(ob_percent_decode(&buf, "%", 1));
	ob_buf_reset(&buf);
	assert_false(ob_percent_decode(&buf, "%g0", 3));
	ob_buf_reset(&buf);
	assert_string_equal(taken(ob_percent_decode(&buf, "", 0)), "");
}

static void
utf8_is_strict(void **state)
{
	static const char *const good[] = {"",
					   "plain ascii text of more than eight bytes",
					   "\xc2\x80",
					   "\xdf\xbf",
					   "\xe0\xa0\x80",
					   "\xed\x9f\xbf",
					   "\xee\x80\x80",
					   "\xef\xbf\xbf",
					   "\xf0\x90\x80\x80",
					   "\xf4\x8f\xbf\xbf"};
	static const char *const bad[] = {"\x80",
					  "\xc0\x80",
					  "\xc1\xbf",
					  "\xc2",
					  "\xe0\x9f\xbf",
					  "\xed\xa0\x80",
					  "\xe2\x82",
					  "\xf0\x8f\xbf\xbf",
					  "\xf4\x90\x80\x80",
					  "\xf5\x80\x80\x80",
					  "\xff",
					  "\xc2\x41"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(ob_utf8_valid(good[i], strlen(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(ob_utf8_valid(bad[i], strlen(bad[i])));
	assert_true(ob_utf8_valid("a\0b", 3));
	assert_int_equal(ob_utf8_valid_prefix("12345678\xc3\xa9x\xff", 12), 11);
	assert_int_equal(ob_utf8_valid_prefix(NULL, 0), 0);
}

static void
json_strings_are_valid_whatever_goes_in(void **state)
{
	(void)state;
	assert_string_equal(taken(ob_json_append_string(&buf, NULL, 0)), "\"\"");
	assert_string_equal(taken(ob_json_append_string(&buf, "a\"b\\\n\t\r\x01\x7f/", 10)),
			    "\"a\\\"b\\\\\\n\\t\\r\\u0001\\u007f/\"");
	assert_string_equal(taken(ob_json_append_string(&buf, "\xc3\xa9\xff\xe2\x82z\0y", 8)),
			    "\"\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\\u0000y\"");
}

static void
codes_respect_the_limit(void **state)
{
	struct ob_buf small;

	(void)state;
	ob_buf_init(&small, 4);
	assert_false(ob_base64_encode(&small, "abcd", 4));
	assert_false(ob_hex_encode(&small, "abc", 3));
	assert_false(ob_percent_encode(&small, "  ", 2));
	assert_false(ob_json_append_string(&small, "abc", 3));
	assert_true(small.size <= 4);
	ob_buf_free(&small);
}

static int
setup(void **state)
{
	(void)state;
	ob_buf_init(&buf, 1000);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	ob_buf_free(&buf);
	return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(base64_has_the_vectors_of_its_rfc),
    cmocka_unit_test(base64_has_one_code_for_each_text),
    cmocka_unit_test(hex_reads_both_cases),
    cmocka_unit_test(percent_encodes_headers_as_cloudevents_say),
    cmocka_unit_test(percent_decodes_what_is_a_code),
    cmocka_unit_test(utf8_is_strict),
    cmocka_unit_test(json_strings_are_valid_whatever_goes_in),
    cmocka_unit_test(codes_respect_the_limit),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, setup, teardown);
}
