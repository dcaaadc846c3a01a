#include "reason.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

static bool
is_code(const char *code)
{
	size_t size = strspn(code, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return size > 0 && size < OB_REASON_CODE_MAX && code[size] == '\0';
}

void
ob_reason_set_code(struct ob_reason *reason, const char *code, const char *otherwise)
{
	snprintf(reason->code, sizeof(reason->code), "%s", is_code(code) ? code : otherwise);
}

void
ob_reason_set_text(struct ob_reason *reason, const void *text, size_t size)
{
	size_t at, valid;

	if (size >= sizeof(reason->text))
		size = sizeof(reason->text) - 1;
	if (size > 0)
		memcpy(reason->text, text, size);
	reason->text[size] = '\0';
	for (at = 0; at < size; at = valid) {
		valid = at + ob_utf8_valid_prefix(reason->text + at, size - at);
		if (valid < size)
			reason->text[valid++] = '?';
	}
	for (at = 0; at < size; at++) {
		unsigned char c = (unsigned char)reason->text[at];

		/* C1 controls (U+0080 to U+009F) are c2 80 to c2 9f; the next byte is there, it is valid. */
		if (c < 0x20 || c == 0x7f)
			reason->text[at] = '?';
		else if (c == 0xc2 && (unsigned char)reason->text[at + 1] < 0xa0)
			reason->text[at] = reason->text[at + 1] = '?';
	}
}

void
ob_reason_print(struct ob_reason *reason, const char *format, ...)
{
	char text[4 * OB_REASON_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	ob_reason_set_text(reason, text, strlen(text));
}
