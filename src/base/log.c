#include "log.h"

#include <string.h>

#include "json.h"
#include "rfc3339.h"
#include "utf8.h"

static const char *const level_names[] = {
    [OB_LOG_ERROR] = "error",
    [OB_LOG_WARN] = "warn",
    [OB_LOG_INFO] = "info",
    [OB_LOG_DEBUG] = "debug",
};

const char *
ob_log_level_name(enum ob_log_level level)
{
	return (size_t)level < 4 ? level_names[level] : "error";
}

/* The length of a harmless run at `at`: printable ASCII, or characters beyond it that are no C1
 * control. */
static size_t
harmless_run(const unsigned char *bytes, size_t at, size_t valid_end)
{
	size_t start = at;

	while (at < valid_end) {
		if (bytes[at] < 0x20 || bytes[at] == 0x7f)
			break;
		/* U+0080 to U+009F are c2 80 to c2 9f: terminals take them for escapes. */
		if (bytes[at] == 0xc2 && bytes[at + 1] < 0xa0)
			break;
		at++;
	}
	return at - start;
}

bool
ob_log_escape(struct ob_buf *out, const void *data, size_t size)
{
	const unsigned char *bytes = data;
	size_t at = 0, valid_end = ob_utf8_valid_prefix(bytes, size);

	while (at < size) {
		size_t run = harmless_run(bytes, at, valid_end), wrong = 1;

		if (!ob_buf_append(out, bytes + at, run))
			return false;
		at += run;
		if (at == size)
			break;
		if (at < valid_end && bytes[at] == 0xc2)
			wrong = 2;
		for (; wrong > 0; wrong--, at++)
			if (!ob_buf_appendf(out, "\\x%02x", bytes[at]))
				return false;
		if (at > valid_end)
			valid_end = at + ob_utf8_valid_prefix(bytes + at, size - at);
	}
	return true;
}

static bool
append_value(struct ob_buf *out, enum ob_log_format format, const char *text, size_t size)
{
	if (format == OB_LOG_TEXT)
		return ob_log_escape(out, text, size);
	return ob_json_append_string(out, text, size);
}

bool
ob_log_line(struct ob_buf *out, enum ob_log_format format, int64_t wall_us, enum ob_log_level level,
	    const char *text)
{
	const char *name = ob_log_level_name(level);
	size_t size = strnlen(text, OB_LOG_LINE_MAX + 1);
	/* Escapes make a text up to six times as long: cut by what comes out. */
	struct ob_buf value;
	char when[OB_RFC3339_SIZE];
	bool done;

	ob_buf_init(&value, 8 * OB_LOG_LINE_MAX);
	ob_rfc3339_format(when, wall_us);
	while (append_value(&value, format, text, size) && value.size > OB_LOG_LINE_MAX) {
		ob_buf_reset(&value);
		size = size / 2;
		while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
			size--;
	}
	if (text[size] != '\0' && format == OB_LOG_TEXT)
		ob_buf_append_text(&value, "...");
	if (format == OB_LOG_JSON)
		done = ob_buf_appendf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"text\":%s}\n", when,
				      name, ob_buf_text(&value));
	else if (format == OB_LOG_LOGFMT)
		done = ob_buf_appendf(out, "time=%s level=%s text=%s\n", when, name,
				      ob_buf_text(&value));
	else
		done = ob_buf_appendf(out, "%s %-5s %s\n", when, name, ob_buf_text(&value));
	ob_buf_free(&value);
	return done;
}
