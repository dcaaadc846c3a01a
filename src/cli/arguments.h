/* The command line: options by their tables, and what is left. */
#ifndef OB_CLI_ARGUMENTS_H
#define OB_CLI_ARGUMENTS_H

#include "command.h"

struct ob_arguments {
	const struct ob_command *command;
	void *options;
	void *more;
	char **rest; /* what is no option, in its order; points into argv */
	int rest_count;
	bool help; /* --help was given */
};

/*
 * Reads what follows the command's name. `--name value`, `--name=value`, `--switch`, `--no-switch`; everything
 * after `--` is no option. The value of an option whose name ends in "-option" is a pair NAME=VALUE, whose commas belong to
 * the value. OB_USAGE with what is wrong and the nearest option there is. Free it in any case.
 */
int ob_arguments_read(struct ob_arguments *arguments, const struct ob_command *command, int argc,
		      char **argv, struct ob_error *error);
void ob_arguments_free(struct ob_arguments *arguments);

/* The command that the words mean and how many of them (1 or 2) are its name; OB_USAGE with the nearest one. */
int ob_command_find(int argc, char **argv, const struct ob_command **command, int *words,
		    struct ob_error *error);

/* The names of all commands, at most OB_COMMANDS_MAX; returns how many. */
size_t ob_command_names(const char **names);

#endif
