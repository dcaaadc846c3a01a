/* Times as text, dates of HTTP, and Retry-After. */
#include "cm.h"

#include "rfc3339.h"

#include <stdio.h>

#include <string.h>

#define SECOND INT64_C(1000000)

static int64_t
parsed(const char *text)
{
	int64_t time_us = 0;

	assert_true(ob_rfc3339_parse(text, strlen(text), &time_us));
	return time_us;
}

static void
times_are_written(void **state)
{
	char out[OB_RFC3339_SIZE];

	(void)state;
	ob_rfc3339_format(out, 0);
	assert_string_equal(out, "1970-01-01T00:00:00.000Z");
	ob_rfc3339_format(out, -1);
	assert_string_equal(out, "1969-12-31T23:59:59.999Z");
	ob_rfc3339_format_us(out, INT64_C(951782400) * SECOND + 123456);
	assert_string_equal(out, "2000-02-29T00:00:00.123456Z");
	ob_rfc3339_format(out, INT64_MAX);
	assert_string_equal(out, "9999-12-31T23:59:59.999Z");
	ob_rfc3339_format(out, INT64_MIN);
	assert_string_equal(out, "0001-01-01T00:00:00.000Z");
}

/* Each day of more than 400 years, counted by hand. */
static void
each_day_is_read_as_it_was_written(void **state)
{
	static const int days_of[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int year = 1870, month = 1, day = 1;
	int64_t time_us = INT64_C(-3155673600) * SECOND;
	char out[OB_RFC3339_SIZE], wanted[40];

	(void)state;
	while (year < 2290) {
		bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

		snprintf(wanted, sizeof(wanted), "%04d-%02d-%02dT00:00:00.000Z", year, month, day);
		ob_rfc3339_format(out, time_us);
		assert_string_equal(out, wanted);
		assert_true(parsed(out) == time_us);
		if (++day > days_of[month - 1] + (month == 2 && leap)) {
			day = 1;
			if (++month > 12) {
				month = 1;
				year++;
			}
		}
		time_us += 86400 * SECOND;
	}
}

static void
all_forms_of_rfc_3339_are_read(void **state)
{
	(void)state;
	/* RFC 3339, 5.8. */
	assert_true(parsed("1985-04-12T23:20:50.52Z") == INT64_C(482196050520000));
	assert_true(parsed("1996-12-19T16:39:57-08:00") == parsed("1996-12-20T00:39:57Z"));
	assert_true(parsed("1990-12-31T23:59:60Z") == parsed("1991-01-01T00:00:00Z"));
	assert_true(parsed("1937-01-01T12:00:27.87+00:20") == parsed("1937-01-01 11:40:27.870z"));
	assert_true(parsed("2024-02-29t00:00:00.1234567Z") ==
		    parsed("2024-02-29T00:00:00.123456Z"));
}

static void
wrong_times_are_refused(void **state)
{
	static const char *const wrong[] = {"",
					    "2023-02-29T00:00:00Z",
					    "2024-13-01T00:00:00Z",
					    "2024-00-01T00:00:00Z",
					    "2024-01-32T00:00:00Z",
					    "2024-01-01T24:00:00Z",
					    "2024-01-01T00:60:00Z",
					    "2024-01-01T00:00:61Z",
					    "2024-01-01T00:00:00",
					    "2024-01-01T00:00:00.Z",
					    "2024-01-01T00:00:00Zx",
					    "2024-01-01T00:00:00+24:00",
					    "2024-01-01",
					    "1900-02-29T00:00:00Z",
					    "0000-01-01T00:00:00Z",
					    "0001-01-01T00:00:00+00:01"};
	int64_t time_us = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(ob_rfc3339_parse(wrong[i], strlen(wrong[i]), &time_us));
	assert_int_equal(time_us, 7);
}

/* RFC 9110, 5.6.7. */
static void
dates_of_http_have_three_forms(void **state)
{
	static const char *const same[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
					   "Sunday, 06-Nov-94 08:49:37 GMT",
					   "Sun Nov  6 08:49:37 1994"};
	static const char *const wrong[] = {"",
					    "Sun",
					    "Sun, 06 Nov 1994 08:49:37",
					    "sun, 06 Nov 1994 08:49:37 GMT",
					    "Sun, 06 Nov 1994 08:49:37 GMT ",
					    "Sun, 31 Feb 1994 08:49:37 GMT",
					    "Sun, 6 Nov 1994 08:49:37 GMT",
					    "Sun, 06 Nov 1994 08:49:37 EST"};
	int64_t now = parsed("2026-01-01T00:00:00Z"), time_us;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_true(ob_http_date_parse(same[i], strlen(same[i]), now, &time_us));
		assert_true(time_us == INT64_C(784111777) * SECOND);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(ob_http_date_parse(wrong[i], strlen(wrong[i]), now, &time_us));
	/* A year of two digits is the nearest that is not more than 50 years ahead. */
	assert_true(ob_http_date_parse("Thursday, 01-Jan-76 00:00:00 GMT", 32, now, &time_us));
	assert_true(time_us == parsed("2076-01-01T00:00:00Z"));
	assert_true(ob_http_date_parse("Thursday, 01-Jan-77 00:00:00 GMT", 32, now, &time_us));
	assert_true(time_us == parsed("1977-01-01T00:00:00Z"));
}

static int64_t
waits(const char *text)
{
	int64_t wait_ms = -1;

	if (!ob_retry_after_parse(text, strlen(text), parsed("1994-11-06T08:49:00Z"), 300000,
				  &wait_ms))
		return -1;
	return wait_ms;
}

static void
retry_after_is_clamped(void **state)
{
	(void)state;
	assert_int_equal(waits("0"), 0);
	assert_int_equal(waits("120"), 120000);
	assert_int_equal(waits("120 "), 120000);
	assert_int_equal(waits("301"), 300000);
	assert_int_equal(waits("99999999999999999999999999"), 300000);
	assert_int_equal(waits("Sun, 06 Nov 1994 08:49:37 GMT"), 37000);
	assert_int_equal(waits("Sun, 06 Nov 1994 08:48:37 GMT"), 0);
	assert_int_equal(waits("Sun, 06 Nov 2094 08:48:37 GMT"), 300000);
	assert_int_equal(waits("-1"), -1);
	assert_int_equal(waits("1.5"), -1);
	assert_int_equal(waits("soon"), -1);
	assert_int_equal(waits(""), -1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(times_are_written),
    cmocka_unit_test(each_day_is_read_as_it_was_written),
    cmocka_unit_test(all_forms_of_rfc_3339_are_read),
    cmocka_unit_test(wrong_times_are_refused),
    cmocka_unit_test(dates_of_http_have_three_forms),
    cmocka_unit_test(retry_after_is_clamped),
};

CM_MAIN(tests)
