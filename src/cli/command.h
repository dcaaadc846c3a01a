/*
 * What a command is: one constant table and one function, in a file of its own (cmd_*.c). Commands are listed in
 * commands.c; main.c finds the one that is meant, reads its options by their table, runs it, and turns what it
 * returns into the one line of an error and the exit status. A command only does its work.
 */
#ifndef OB_CLI_COMMAND_H
#define OB_CLI_COMMAND_H

#include <outbox/error.h>
#include <outbox/host.h>
#include <outbox/option.h>
#include <stdbool.h>
#include <stddef.h>

/* Exit statuses, a promise to scripts. */
enum ob_exit {
	OB_EXIT_OK = 0,
	OB_EXIT_FAILURE = 1,
	OB_EXIT_USAGE = 2,
	OB_EXIT_CONFIG = 3,
	OB_EXIT_DATABASE = 4, /* cannot be reached */
	OB_EXIT_SINK = 5,     /* cannot be reached */
	OB_EXIT_SCHEMA = 6,
	OB_EXIT_PARTIAL = 7, /* some of it was done */
	OB_EXIT_TEMPORARY = 75,
};

/* One run of the program. */
struct ob_cli {
	const struct ob_command *command;
	const void *options; /* the command's options struct */
	const void *more;    /* the struct of its second table */
	char **arguments;    /* what stood on the command line and was no option */
	int argument_count;
	const struct ob_host *host; /* clocks and entropy; its log goes to stderr */
	bool color;                 /* stdout shows colour */
	bool terminal;              /* a person watches stderr */
	bool interactive;           /* a person can answer: stdin and stderr are a terminal */
	int exit_status;            /* a command may set it; else it follows from the code */
	bool asked_sink;            /* what could not be reached was the sink, not the database */
};

struct ob_command {
	const char *name;     /* "relay", or two words: "dead list" */
	const char *group;    /* the heading under which help lists it */
	const char *summary;  /* one line */
	const char *usage;    /* what follows the name: "DATABASE [options]" */
	const char *examples; /* lines, shown first */
	const char *notes;    /* paragraphs after the options; may be NULL */
	int arguments_min, arguments_max;
	const struct ob_option *options; /* may be NULL */
	size_t options_size;
	const struct ob_option *more; /* a second table with a struct of its own; may be NULL */
	size_t more_size;
	/* A code, and why. On OB_OK the exit status is cli->exit_status. */
	int (*run)(struct ob_cli *cli, struct ob_error *error);
};

#define OB_COMMANDS_MAX 64

/* All commands in the order of the help, NULL at the end. */
extern const struct ob_command *const ob_commands[];

/* The exit status that tells a script what a code means. */
int ob_exit_of(const struct ob_cli *cli, enum ob_code code);

#endif
