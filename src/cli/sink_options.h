/* The options of a sink as a command line has them: --sink-option NAME=VALUE, and --format, which is one of them by a name of its
   own. */
#ifndef OB_CLI_SINK_OPTIONS_H
#define OB_CLI_SINK_OPTIONS_H

#include <outbox/error.h>
#include <outbox/option.h>

#include "options.h"

struct ob_sink_options {
	const char *items[OB_OPTION_LIST_MAX + 1]; /* "NAME=VALUE" */
	size_t count;
	char format[128];
};

/* `format` may be NULL. What `given` holds must outlive it. OB_CONFIG when the sink of this URL has no formats. */
int ob_sink_options_fill(struct ob_sink_options *out, const char *url,
			 const struct ob_strings *given, const char *format,
			 struct ob_error *error);

#endif
