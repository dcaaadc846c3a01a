#include <string.h>

#include "arguments.h"
#include "commands.h"
#include "help.h"
#include "modules.h"
#include "registry.h"
#include "text.h"

static void
schemes_print(const char *const *schemes)
{
	for (size_t i = 0; schemes[i] != NULL; i++)
		(void)printf("%s%s:", i == 0 ? "" : ", ", schemes[i]);
}

static void
stores_show(const struct ob_store_ops *const *stores)
{
	for (; stores != NULL && *stores != NULL; stores++) {
		(void)putchar('\n');
		schemes_print((*stores)->schemes);
		(void)printf("  %s\n", (*stores)->help);
		ob_help_options(stdout, "  Options", "  ", (*stores)->options);
	}
}

static void
sinks_show(const struct ob_sink_ops *const *sinks)
{
	for (; sinks != NULL && *sinks != NULL; sinks++) {
		(void)putchar('\n');
		schemes_print((*sinks)->schemes);
		(void)printf("  %s\n", (*sinks)->help);
		ob_help_options(stdout, "  Options", "  ", (*sinks)->options);
	}
}

/* What is a module is used like what is built in, and has its options as well. */
static void
module_stores_show(void *context, const struct ob_module *module)
{
	(void)context;
	stores_show(module->stores);
}

static void
module_sinks_show(void *context, const struct ob_module *module)
{
	(void)context;
	sinks_show(module->sinks);
}

static void
stores_print(void)
{
	(void)fputs(
	    "Databases by their URLs. An option is given as --store-option NAME=VALUE, as often as needed.\n",
	    stdout);
	stores_show(ob_registry_stores());
	ob_modules_each(module_stores_show, NULL);
}

static void
sinks_print(void)
{
	(void)fputs(
	    "Recipients by their URLs. An option is given as --sink-option NAME=VALUE, as often as needed.\n",
	    stdout);
	sinks_show(ob_registry_sinks());
	ob_modules_each(module_sinks_show, NULL);
}

static const struct {
	const char *name;
	void (*print)(void);
} lists[] = {{"stores", stores_print}, {"sinks", sinks_print}};

#define LISTS_COUNT (sizeof(lists) / sizeof(lists[0]))

/* What is no command either: a list is suggested where no command's name is nearer. */
static int
word_unknown(const char *word, int rc, struct ob_error *error)
{
	const char *names[OB_COMMANDS_MAX + LISTS_COUNT], *nearest;
	size_t count = ob_command_names(names);

	for (size_t i = 0; i < LISTS_COUNT; i++)
		names[count++] = lists[i].name;
	nearest = ob_text_nearest(word, names, count);
	for (size_t i = 0; i < LISTS_COUNT; i++)
		if (nearest == lists[i].name)
			return ob_error_set(error, OB_USAGE,
					    "there is no help on \"%s\"; did you mean \"%s\"?",
					    word, nearest);
	return rc;
}

static int
help_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct ob_command *command;
	int words;
	int rc;

	if (cli->argument_count == 0) {
		ob_help_overview(stdout);
		return OB_OK;
	}
	for (size_t i = 0; i < LISTS_COUNT; i++) {
		if (strcmp(cli->arguments[0], lists[i].name) == 0) {
			lists[i].print();
			return OB_OK;
		}
	}
	if (cli->argument_count == 1 && ob_help_group(stdout, cli->arguments[0]))
		return OB_OK;
	rc = ob_command_find(cli->argument_count, cli->arguments, &command, &words, error);
	if (rc != OB_OK)
		return word_unknown(cli->arguments[0], rc, error);
	ob_help_command(stdout, command);
	return OB_OK;
}

const struct ob_command ob_cmd_help = {
    .name = "help",
    .group = "Help",
    .summary = "Show what a command does, or the options of databases and recipients.",
    .usage = "[COMMAND | stores | sinks]",
    .examples = "outbox help relay\noutbox help dead retry\noutbox help sinks",
    .arguments_max = 2,
    .run = help_run,
};
