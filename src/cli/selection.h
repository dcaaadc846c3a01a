/* The filters that choose messages, shared by the commands that list or change them. */
#ifndef OB_CLI_SELECTION_H
#define OB_CLI_SELECTION_H

#include <outbox/store.h>

#include "command.h"

struct ob_selection_options {
	char *subscription, *topic, *key, *type, *code;
	int place; /* an index into the names below */
	int64_t limit;
	bool json, json_lines, plain, all_matching, yes, no_input, dry_run;
	struct ob_strings store_options;
};

/* Rows of a table of options with struct ob_selection_options. */
#define OB_SELECTION_ROWS                                                                    \
	{.name = "subscription",                                                             \
	 .type = OB_OPTION_STRING,                                                           \
	 .help = "only of this subscription",                                                \
	 .field = offsetof(struct ob_selection_options, subscription)},                      \
	    {.name = "topic",                                                                \
	     .type = OB_OPTION_STRING,                                                       \
	     .help = "only topics that match this pattern",                                  \
	     .field = offsetof(struct ob_selection_options, topic)},                         \
	    {.name = "key",                                                                  \
	     .type = OB_OPTION_STRING,                                                       \
	     .help = "only of this key",                                                     \
	     .field = offsetof(struct ob_selection_options, key)},                           \
	    {.name = "type",                                                                 \
	     .type = OB_OPTION_STRING,                                                       \
	     .help = "only of this type",                                                    \
	     .field = offsetof(struct ob_selection_options, type)},                          \
	    {.name = "code",                                                                 \
	     .type = OB_OPTION_STRING,                                                       \
	     .help = "only with this reason, such as http_422",                              \
	     .field = offsetof(struct ob_selection_options, code)},                          \
	    {.name = "place",                                                                \
	     .type = OB_OPTION_ENUM,                                                         \
	     .choices = ob_selection_places,                                                 \
	     .default_text = "dead",                                                         \
	     .help = "which list: given up, waiting for a retry, or waiting for their time", \
	     .field = offsetof(struct ob_selection_options, place)},                         \
	{                                                                                    \
		.name = "limit", .type = OB_OPTION_INT,                                      \
		.help = "at most so many; 0: all that match", .max = 1000000000,             \
		.field = offsetof(struct ob_selection_options, limit)                        \
	}

extern const char *const ob_selection_places[];

void ob_selection_fill(const struct ob_selection_options *options, struct ob_selection *selection);

#endif
