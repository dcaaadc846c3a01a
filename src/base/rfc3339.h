/*
 * Times as text: RFC 3339 in UTC, and the dates of HTTP. Pure functions; no clock, no time zone, no
 * locale.
 *
 * A time is microseconds since 1970-01-01T00:00:00Z without leap seconds, within the years 0001 to
 * 9999.
 */
#ifndef OB_BASE_RFC3339_H
#define OB_BASE_RFC3339_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB_RFC3339_SIZE 28 /* "YYYY-MM-DDTHH:MM:SS.ssssssZ" and its NUL */

/* Writes "YYYY-MM-DDTHH:MM:SS.sssZ" (milliseconds, cut off); a time beyond the years is set to the
 * nearest. */
void ob_rfc3339_format(char out[OB_RFC3339_SIZE], int64_t time_us);

/* The same with microseconds. */
void ob_rfc3339_format_us(char out[OB_RFC3339_SIZE], int64_t time_us);

/*
 * Reads an RFC 3339 time that fills the whole text: 'T', 't' or a space between, a fraction of any
 * length (what is finer than microseconds is cut off), 'Z', 'z' or an offset. False, with
 * `*time_us` untouched, if it is wrong.
 */
bool ob_rfc3339_parse(const char *text, size_t size, int64_t *time_us);

/*
 * Reads a date of HTTP in any of its three forms (RFC 9110, 5.6.7); `now_us` resolves the year of
 * two digits (not more than 50 years ahead). False if it is wrong.
 */
bool ob_http_date_parse(const char *text, size_t size, int64_t now_us, int64_t *time_us);

/*
 * Reads the value of Retry-After (RFC 9110, 10.2.3), seconds or a date, as milliseconds from now: 0
 * for a date that is past, at most `max_ms` whatever it says. False if it is neither.
 */
bool ob_retry_after_parse(const char *text, size_t size, int64_t now_us, int64_t max_ms,
			  int64_t *wait_ms);

#endif
