/* Help, made from the tables of commands, stores and sinks. */
#ifndef OB_CLI_HELP_H
#define OB_CLI_HELP_H

#include <stdio.h>

#include "command.h"

/* What the program is and which commands there are. */
void ob_help_overview(FILE *out);

/* A command: examples first, then its options. */
void ob_help_command(FILE *out, const struct ob_command *command);

/* The commands whose names begin with this word; false if there are none. */
bool ob_help_group(FILE *out, const char *word);

/* The options of a table, under a heading. `prefix` stands before each name. */
void ob_help_options(FILE *out, const char *heading, const char *prefix,
		     const struct ob_option *table);

#endif
