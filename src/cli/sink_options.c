#include "sink_options.h"

#include <stdio.h>

#include "registry.h"

static int
format_add(struct ob_sink_options *out, const char *url, const char *format, struct ob_error *error)
{
	const struct ob_sink_ops *ops;
	int size;
	int rc = ob_registry_find_sink(url, &ops, error);

	if (rc != OB_OK)
		return rc;
	if (ob_option_find(ops->options, "format") == NULL)
		return ob_error_set(error, OB_CONFIG,
				    "--format: %s: writes messages in one way only", ops->name);
	size = snprintf(out->format, sizeof(out->format), "format=%s", format);
	if (size < 0 || (size_t)size >= sizeof(out->format))
		return ob_error_set(error, OB_USAGE, "--format is too long");
	out->items[out->count++] = out->format;
	return OB_OK;
}

int
ob_sink_options_fill(struct ob_sink_options *out, const char *url, const struct ob_strings *given,
		     const char *format, struct ob_error *error)
{
	if (given->count > OB_OPTION_LIST_MAX)
		return ob_error_set(error, OB_USAGE, "more than %d --sink-option",
				    OB_OPTION_LIST_MAX);
	for (out->count = 0; out->count < given->count; out->count++)
		out->items[out->count] = given->items[out->count];
	return format == NULL ? OB_OK : format_add(out, url, format, error);
}
