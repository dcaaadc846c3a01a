#include "rfc3339.h"

#include <stdio.h>
#include <string.h>

#define SECOND_US INT64_C(1000000)
#define DAY_S     INT64_C(86400)
#define TIME_MIN  (INT64_C(-62135596800) * SECOND_US) /* 0001-01-01T00:00:00Z */
#define TIME_MAX \
	(INT64_C(253402300799) * SECOND_US + SECOND_US - 1) /* 9999-12-31T23:59:59.999999Z */

struct civil {
	int year, month, day, hour, minute, second, us;
};

/*
 * Days since 1970-01-01 of a date in the proleptic Gregorian calendar. The year is taken to begin
 * in March, so that the leap day is its last; an era of 400 years has 146,097 days.
 */
static int64_t
days_from_civil(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = y / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void
civil_from_days(int64_t days, struct civil *out)
{
	int64_t shifted = days + 719468, era = shifted / 146097, of_era = shifted - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * of_year + 2) / 153;

	out->day = (int)(of_year - (153 * month + 2) / 5 + 1);
	out->month = (int)(month < 10 ? month + 3 : month - 9);
	out->year = (int)(year + era * 400 + (out->month <= 2));
}

static void
civil_of(int64_t time_us, struct civil *out)
{
	int64_t of_day;

	if (time_us < TIME_MIN)
		time_us = TIME_MIN;
	if (time_us > TIME_MAX)
		time_us = TIME_MAX;
	/* Counted from the first year, where nothing is negative and division rounds down. */
	time_us -= TIME_MIN;
	civil_from_days(time_us / (DAY_S * SECOND_US) + TIME_MIN / SECOND_US / DAY_S, out);
	of_day = time_us % (DAY_S * SECOND_US);
	out->us = (int)(of_day % SECOND_US);
	of_day /= SECOND_US;
	out->hour = (int)(of_day / 3600);
	out->minute = (int)(of_day / 60 % 60);
	out->second = (int)(of_day % 60);
}

static void
put_digits(char *out, int value, int count)
{
	while (count-- > 0) {
		out[count] = (char)('0' + value % 10);
		value /= 10;
	}
}

/* By hand, since it is done for each message that carries its time. */
static size_t
put_civil(char *out, const struct civil *c)
{
	memcpy(out, "0000-00-00T00:00:00.", 20);
	put_digits(out, c->year, 4);
	put_digits(out + 5, c->month, 2);
	put_digits(out + 8, c->day, 2);
	put_digits(out + 11, c->hour, 2);
	put_digits(out + 14, c->minute, 2);
	put_digits(out + 17, c->second, 2);
	return 20;
}

void
ob_rfc3339_format(char out[OB_RFC3339_SIZE], int64_t time_us)
{
	struct civil c;
	size_t at;

	civil_of(time_us, &c);
	at = put_civil(out, &c);
	put_digits(out + at, c.us / 1000, 3);
	memcpy(out + at + 3, "Z", 2);
}

void
ob_rfc3339_format_us(char out[OB_RFC3339_SIZE], int64_t time_us)
{
	struct civil c;
	size_t at;

	civil_of(time_us, &c);
	at = put_civil(out, &c);
	put_digits(out + at, c.us, 6);
	memcpy(out + at + 6, "Z", 2);
}

/* What is left to read. Every take_ function moves on only when it returns true. */
struct cursor {
	const char *at, *end;
};

static bool
take_number(struct cursor *in, int digits, int *value)
{
	int sum = 0;

	if (in->end - in->at < digits)
		return false;
	for (int i = 0; i < digits; i++) {
		if (in->at[i] < '0' || in->at[i] > '9')
			return false;
		sum = sum * 10 + (in->at[i] - '0');
	}
	in->at += digits;
	*value = sum;
	return true;
}

static bool
take_one_of(struct cursor *in, const char *set, char *taken)
{
	if (in->at == in->end || *in->at == '\0' || strchr(set, *in->at) == NULL)
		return false;
	if (taken != NULL)
		*taken = *in->at;
	in->at++;
	return true;
}

static bool
take_text(struct cursor *in, const char *text)
{
	size_t size = strlen(text);

	if ((size_t)(in->end - in->at) < size || memcmp(in->at, text, size) != 0)
		return false;
	in->at += size;
	return true;
}

static bool
take_clock(struct cursor *in, struct civil *c)
{
	return take_number(in, 2, &c->hour) && take_text(in, ":") &&
	       take_number(in, 2, &c->minute) && take_text(in, ":") &&
	       take_number(in, 2, &c->second);
}

static bool
take_fraction(struct cursor *in, int *us)
{
	int scale = 100000, digit;

	*us = 0;
	if (!take_text(in, "."))
		return true;
	if (!take_number(in, 1, &digit))
		return false;
	do {
		*us += digit * scale;
		scale /= 10;
	} while (take_number(in, 1, &digit));
	return true;
}

static bool
take_offset(struct cursor *in, int *minutes)
{
	char sign;
	int hours;

	*minutes = 0;
	if (take_one_of(in, "Zz", NULL))
		return true;
	if (!take_one_of(in, "+-", &sign) || !take_number(in, 2, &hours) || !take_text(in, ":") ||
	    !take_number(in, 2, minutes) || hours > 23 || *minutes > 59)
		return false;
	*minutes += hours * 60;
	if (sign == '-')
		*minutes = -*minutes;
	return true;
}

static int
month_days(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

/* A second of 60 is a leap second and taken for the next minute's first. */
static bool
civil_to_us(const struct civil *c, int offset_minutes, int64_t *time_us)
{
	int64_t seconds;

	if (c->year < 1 || c->month < 1 || c->month > 12 || c->day < 1 ||
	    c->day > month_days(c->year, c->month))
		return false;
	if (c->hour > 23 || c->minute > 59 || c->second > 60)
		return false;
	seconds = days_from_civil(c->year, c->month, c->day) * DAY_S + c->hour * INT64_C(3600) +
		  c->minute * INT64_C(60) + c->second - offset_minutes * INT64_C(60);
	seconds = seconds * SECOND_US + c->us;
	if (seconds < TIME_MIN || seconds > TIME_MAX)
		return false;
	*time_us = seconds;
	return true;
}

bool
ob_rfc3339_parse(const char *text, size_t size, int64_t *time_us)
{
	struct cursor in = {.at = text, .end = text + size};
	struct civil c = {0};
	int offset_minutes;

	return take_number(&in, 4, &c.year) && take_text(&in, "-") &&
	       take_number(&in, 2, &c.month) && take_text(&in, "-") &&
	       take_number(&in, 2, &c.day) && take_one_of(&in, "Tt ", NULL) &&
	       take_clock(&in, &c) && take_fraction(&in, &c.us) &&
	       take_offset(&in, &offset_minutes) && in.at == in.end &&
	       civil_to_us(&c, offset_minutes, time_us);
}

static bool
take_name(struct cursor *in, const char *const *names, int count, int *index)
{
	for (int i = 0; i < count; i++) {
		if (take_text(in, names[i])) {
			*index = i;
			return true;
		}
	}
	return false;
}

static bool
take_month(struct cursor *in, int *month)
{
	static const char *const names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

	if (!take_name(in, names, 12, month))
		return false;
	++*month;
	return true;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT": RFC 9110 wants a year 50 years ahead taken for a past one. */
static bool
take_rfc850(struct cursor *in, int64_t now_us, struct civil *c)
{
	struct civil now;

	if (!take_number(in, 2, &c->day) || !take_text(in, "-") || !take_month(in, &c->month) ||
	    !take_text(in, "-") || !take_number(in, 2, &c->year) || !take_text(in, " ") ||
	    !take_clock(in, c) || !take_text(in, " GMT"))
		return false;
	civil_of(now_us, &now);
	c->year += now.year / 100 * 100;
	if (c->year > now.year + 50)
		c->year -= 100;
	return true;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", the form of today. */
static bool
take_imf(struct cursor *in, struct civil *c)
{
	return take_number(in, 2, &c->day) && take_text(in, " ") && take_month(in, &c->month) &&
	       take_text(in, " ") && take_number(in, 4, &c->year) && take_text(in, " ") &&
	       take_clock(in, c) && take_text(in, " GMT");
}

/* "Sun Nov  6 08:49:37 1994", as asctime writes it. */
static bool
take_asctime(struct cursor *in, struct civil *c)
{
	return take_month(in, &c->month) && take_text(in, " ") &&
	       (take_number(in, 2, &c->day) ||
		(take_text(in, " ") && take_number(in, 1, &c->day))) &&
	       take_text(in, " ") && take_clock(in, c) && take_text(in, " ") &&
	       take_number(in, 4, &c->year);
}

bool
ob_http_date_parse(const char *text, size_t size, int64_t now_us, int64_t *time_us)
{
	static const char *const long_days[] = {"Monday, ",   "Tuesday, ", "Wednesday, ",
						"Thursday, ", "Friday, ",  "Saturday, ",
						"Sunday, "};
	static const char *const short_days[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
	struct cursor in = {.at = text, .end = text + size};
	struct civil c = {0};
	int weekday;
	bool taken;

	if (take_name(&in, long_days, 7, &weekday))
		taken = take_rfc850(&in, now_us, &c);
	else if (!take_name(&in, short_days, 7, &weekday))
		return false;
	else if (take_text(&in, ", "))
		taken = take_imf(&in, &c);
	else
		taken = take_text(&in, " ") && take_asctime(&in, &c);
	return taken && in.at == in.end && civil_to_us(&c, 0, time_us);
}

/* Digits alone; more of them than fit mean "longer than any limit". */
static bool
seconds_parse(const char *text, size_t size, int64_t max_ms, int64_t *wait_ms)
{
	int64_t sum = 0;

	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		if (sum <= max_ms / 1000)
			sum = sum * 10 + (text[i] - '0');
	}
	*wait_ms = sum > max_ms / 1000 ? max_ms : sum * 1000;
	return size > 0;
}

bool
ob_retry_after_parse(const char *text, size_t size, int64_t now_us, int64_t max_ms,
		     int64_t *wait_ms)
{
	int64_t date_us, wait;

	while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t'))
		size--;
	if (seconds_parse(text, size, max_ms, wait_ms))
		return true;
	if (!ob_http_date_parse(text, size, now_us, &date_us))
		return false;
	wait = date_us > now_us ? (date_us - now_us + 999) / 1000 : 0;
	*wait_ms = wait > max_ms ? max_ms : wait;
	return true;
}
