/* Retry-After, dates of HTTP and RFC 3339: a wait stays in its bounds, a time can be written and read again. */
#include "fuzz.h"

#include "rfc3339.h"

#define NOW_US  INT64_C(1767225600000000)
#define WAIT_MS INT64_C(300000)

int
ob_fuzz(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	char written[OB_RFC3339_SIZE];
	int64_t wait_ms, time_us, again_us;

	if (ob_retry_after_parse(text, size, NOW_US, WAIT_MS, &wait_ms)) {
		FUZZ_CHECK(wait_ms >= 0);
		FUZZ_CHECK(wait_ms <= WAIT_MS);
	}
	if (ob_http_date_parse(text, size, NOW_US, &time_us) ||
	    ob_rfc3339_parse(text, size, &time_us)) {
		ob_rfc3339_format_us(written, time_us);
		FUZZ_CHECK(ob_rfc3339_parse(written, strlen(written), &again_us));
		FUZZ_CHECK(again_us == time_us);
	}
	return 0;
}
