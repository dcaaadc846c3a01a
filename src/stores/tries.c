#include "tries.h"

#include <string.h>

#include "json.h"
#include "rfc3339.h"

/* How each element begins. It cannot stand inside a string, where its quotes would be escaped. */
static const char element_start[] = "{\"at\":";

static uint32_t
elements_count(const char *array)
{
	uint32_t count = 0;

	for (const char *at = array; (at = strstr(at, element_start)) != NULL; at++)
		count++;
	return count;
}

/* Appends the elements of `kept` without the brackets and without the first `skip`. */
static void
elements_append(struct ob_buf *out, const char *kept, uint32_t skip)
{
	const char *at = strstr(kept, element_start), *end = strrchr(kept, ']');

	for (; skip > 0 && at != NULL; skip--)
		at = strstr(at + 1, element_start);
	if (at != NULL && end != NULL && end > at)
		ob_buf_append(out, at, (size_t)(end - at));
}

bool
ob_tries_append(struct ob_buf *out, const char *kept, const struct ob_try *tries, uint32_t count,
		int64_t now_us)
{
	uint32_t before = kept == NULL ? 0 : elements_count(kept), first = 0;
	char at[OB_RFC3339_SIZE];

	ob_buf_reset(out);
	ob_buf_append_byte(out, '[');
	if (count > OB_TRIES_KEPT)
		first = count - OB_TRIES_KEPT;
	if (before > 0 && count < OB_TRIES_KEPT) {
		uint32_t room = OB_TRIES_KEPT - count;

		elements_append(out, kept, before > room ? before - room : 0);
	}
	for (uint32_t i = first; i < count; i++) {
		ob_rfc3339_format(at, now_us - tries[i].ago_ms * 1000);
		ob_buf_appendf(out, "%s%s\"%s\",\"code\":", out->size > 1 ? "," : "", element_start,
			       at);
		ob_json_append_string(out, tries[i].code, strlen(tries[i].code));
		ob_buf_append_text(out, ",\"text\":");
		ob_json_append_string(out, tries[i].text, strlen(tries[i].text));
		ob_buf_append_byte(out, '}');
	}
	return ob_buf_append_byte(out, ']') && !out->failed;
}
