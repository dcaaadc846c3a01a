#include <outbox/error.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What the analyzer sees in its place. */
#undef ob_error_set

int
ob_error_set(struct ob_error *error, enum ob_code code, const char *format, ...)
{
	char text[OB_ERROR_TEXT_MAX];
	va_list args;

	if (error == NULL)
		return code;
	/* By way of a copy, since the arguments may point to the text that is replaced. */
	va_start(args, format);
	if (vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = '\0';
	va_end(args);
	error->code = code;
	memcpy(error->text, text, strlen(text) + 1);
	return code;
}

void
ob_error_prefix(struct ob_error *error, const char *format, ...)
{
	char text[OB_ERROR_TEXT_MAX];
	va_list args;
	size_t length, rest;

	if (error == NULL)
		return;
	va_start(args, format);
	if (vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = '\0';
	va_end(args);
	length = strlen(text);
	rest = sizeof(text) - length;
	if (snprintf(text + length, rest, ": %s", error->text) < 0)
		text[length] = '\0';
	memcpy(error->text, text, strlen(text) + 1);
}

const char *
ob_code_name(enum ob_code code)
{
	static const char *const names[] = {
	    [OB_OK] = "ok",
	    [OB_BUSY] = "busy",
	    [OB_AGAIN] = "again",
	    [OB_UNREACHABLE] = "unreachable",
	    [OB_STALE] = "stale",
	    [OB_CHANGED] = "changed",
	    [OB_USAGE] = "usage",
	    [OB_CONFIG] = "config",
	    [OB_SCHEMA] = "schema",
	    [OB_DENIED] = "denied",
	    [OB_INVALID] = "invalid",
	    [OB_NOT_FOUND] = "not_found",
	    [OB_LIMIT] = "limit",
	    [OB_FOREIGN] = "foreign",
	    [OB_UNSUPPORTED] = "unsupported",
	    [OB_NOMEM] = "no_memory",
	    [OB_FAILED] = "failed",
	};

	if ((size_t)code >= sizeof(names) / sizeof(names[0]))
		return "failed";
	return names[code];
}
