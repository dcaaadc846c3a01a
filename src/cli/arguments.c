#include "arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "text.h"

/* ---- which command ---- */

static const struct ob_command *
command_named(const char *name)
{
	for (size_t i = 0; ob_commands[i] != NULL; i++)
		if (strcmp(ob_commands[i]->name, name) == 0)
			return ob_commands[i];
	return NULL;
}

/* Appends the second words of the commands that begin with this one. */
static void
second_words(const char *first, struct ob_buf *out)
{
	size_t size = strlen(first);

	for (size_t i = 0; ob_commands[i] != NULL; i++) {
		const char *name = ob_commands[i]->name;

		if (strncmp(name, first, size) == 0 && name[size] == ' ')
			ob_buf_appendf(out, "%s%s", out->size == 0 ? "" : ", ", name + size + 1);
	}
}

/* False if they do not fit, so are no command's name. */
static bool
both_join(char *out, size_t size, const char *first, const char *second)
{
	int length = snprintf(out, size, "%s %s", first, second);

	return length > 0 && (size_t)length < size;
}

size_t
ob_command_names(const char **names)
{
	size_t count = 0;

	for (; count < OB_COMMANDS_MAX && ob_commands[count] != NULL; count++)
		names[count] = ob_commands[count]->name;
	return count;
}

static int
command_unknown(const char *first, const char *second, struct ob_error *error)
{
	const char *names[OB_COMMANDS_MAX];
	const char *nearest;
	char both[64];
	size_t count = ob_command_names(names);
	struct ob_buf words;

	ob_buf_init(&words, 256);
	second_words(first, &words);
	if (words.size > 0 && second == NULL) {
		ob_error_set(error, OB_USAGE, "%s: one of %s must follow; see: outbox help", first,
			     ob_buf_text(&words));
		ob_buf_free(&words);
		return OB_USAGE;
	}
	bool grouped = words.size > 0;
	ob_buf_free(&words);
	(void)ob_text_copy(both, sizeof(both), first);
	if (grouped)
		(void)both_join(both, sizeof(both), first, second);
	nearest = ob_text_nearest(both, names, count);
	if (nearest != NULL)
		return ob_error_set(error, OB_USAGE,
				    "there is no command \"%s\"; did you mean \"%s\"?", both,
				    nearest);
	return ob_error_set(error, OB_USAGE, "there is no command \"%s\"; see: outbox help", both);
}

int
ob_command_find(int argc, char **argv, const struct ob_command **command, int *words,
		struct ob_error *error)
{
	const char *second = argc > 1 && argv[1][0] != '-' ? argv[1] : NULL;
	char both[64];

	*words = 1;
	*command = command_named(argv[0]);
	if (*command != NULL)
		return OB_OK;
	if (second != NULL && both_join(both, sizeof(both), argv[0], second)) {
		*words = 2;
		*command = command_named(both);
		if (*command != NULL)
			return OB_OK;
	}
	return command_unknown(argv[0], second, error);
}

/* ---- its options ---- */

/* Both tables of a command, each with its values. */
struct readers {
	struct ob_options items[2];
	size_t count;
};

static int
readers_begin(struct readers *readers, const struct ob_arguments *arguments, struct ob_error *error)
{
	const struct ob_command *command = arguments->command;
	const struct ob_option *const tables[2] = {command->options, command->more};
	void *const values[2] = {arguments->options, arguments->more};

	readers->count = 0;
	for (size_t i = 0; i < 2; i++) {
		int rc;

		if (tables[i] == NULL)
			continue;
		rc = ob_options_begin(&readers->items[readers->count], "", tables[i], values[i],
				      error);
		if (rc != OB_OK)
			return rc;
		readers->count++;
	}
	return OB_OK;
}

static const struct ob_option *
readers_find(struct readers *readers, const char *name, struct ob_options **reader)
{
	for (size_t i = 0; i < readers->count; i++) {
		const struct ob_option *row = ob_option_find(readers->items[i].table, name);

		*reader = &readers->items[i];
		if (row != NULL)
			return row;
	}
	return NULL;
}

static int
option_unknown(const struct readers *readers, const char *name, struct ob_error *error)
{
	const char *names[2 * OB_OPTIONS_MAX + 1];
	const char *nearest;
	size_t count = 0;

	for (size_t i = 0; i < readers->count; i++)
		for (const struct ob_option *row = readers->items[i].table;
		     row->type != OB_OPTION_END; row++)
			names[count++] = row->name;
	names[count++] = "help";
	nearest = ob_text_nearest(name, names, count);
	if (nearest != NULL)
		return ob_error_set(error, OB_USAGE,
				    "there is no option \"--%s\"; did you mean \"--%s\"?", name,
				    nearest);
	return ob_error_set(error, OB_USAGE, "there is no option \"--%s\"; see --help", name);
}

/* Adds a whole "NAME=VALUE" to a list. */
static int
pair_add(struct ob_strings *list, const char *pair, struct ob_error *error)
{
	char **items;

	if (list->count == OB_OPTION_LIST_MAX)
		return ob_error_set(error, OB_USAGE, "more than %d of them", OB_OPTION_LIST_MAX);
	items = realloc(list->items, (list->count + 1) * sizeof(*items));
	if (items == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	list->items = items;
	items[list->count] = strdup(pair);
	if (items[list->count] == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	list->count++;
	return OB_OK;
}

static bool
is_pair_option(const struct ob_option *row)
{
	size_t size = strlen(row->name);

	return row->type == OB_OPTION_LIST && size > 7 &&
	       strcmp(row->name + size - 7, "-option") == 0;
}

static int
option_set(struct ob_options *reader, const struct ob_option *row, const char *value,
	   struct ob_error *error)
{
	struct ob_error why = {.code = OB_OK, .text = ""};
	const char *text = why.text;
	int rc;

	if (is_pair_option(row))
		rc = pair_add((struct ob_strings *)(void *)((char *)reader->values + row->field),
			      value, &why);
	else
		rc = ob_options_set(reader, row->name, value, &why);
	if (rc == OB_OK)
		return OB_OK;
	/* The reader's texts begin with ": name: "; on a command line options have two hyphens. */
	if (strncmp(text, ": ", 2) == 0)
		text += 2;
	if (ob_text_starts_with(text, row->name) && strncmp(text + strlen(row->name), ": ", 2) == 0)
		text += strlen(row->name) + 2;
	return ob_error_set(error, rc == OB_NOMEM ? OB_NOMEM : OB_USAGE, "--%s: %s", row->name,
			    text);
}

/* Reads the option at argv[*at] and moves behind it and its value. */
static int
option_read(struct readers *readers, int argc, char **argv, int *at, struct ob_error *error)
{
	const char *word = argv[*at] + 2;
	const char *equals = strchr(word, '=');
	size_t size = equals == NULL ? strlen(word) : (size_t)(equals - word);
	const struct ob_option *row;
	struct ob_options *reader;
	char name[64];

	if (size == 0 || size >= sizeof(name))
		return ob_error_set(error, OB_USAGE, "there is no option \"--%.60s\"; see --help",
				    word);
	memcpy(name, word, size);
	name[size] = '\0';
	(*at)++;
	row = readers_find(readers, name, &reader);
	if (row == NULL && equals == NULL && strncmp(name, "no-", 3) == 0) {
		row = readers_find(readers, name + 3, &reader);
		if (row != NULL && row->type == OB_OPTION_BOOL)
			return option_set(reader, row, "false", error);
		row = NULL;
	}
	if (row == NULL)
		return option_unknown(readers, name, error);
	if (equals != NULL)
		return option_set(reader, row, equals + 1, error);
	if (row->type == OB_OPTION_BOOL)
		return option_set(reader, row, "true", error);
	if (*at == argc)
		return ob_error_set(error, OB_USAGE, "--%s needs a value", row->name);
	return option_set(reader, row, argv[(*at)++], error);
}

static int
rest_check(const struct ob_arguments *arguments, struct ob_error *error)
{
	const struct ob_command *command = arguments->command;

	if (arguments->rest_count < command->arguments_min)
		return ob_error_set(error, OB_USAGE,
				    "something is missing; it is written: outbox %s %s",
				    command->name, command->usage);
	if (arguments->rest_count > command->arguments_max)
		return ob_error_set(
		    error, OB_USAGE, "\"%s\" is too much; it is written: outbox %s %s",
		    arguments->rest[command->arguments_max], command->name, command->usage);
	return OB_OK;
}

static int
required_check(const struct readers *readers, struct ob_error *error)
{
	for (size_t i = 0; i < readers->count; i++) {
		const struct ob_options *reader = &readers->items[i];

		for (const struct ob_option *row = reader->table; row->type != OB_OPTION_END; row++)
			if ((row->flags & OB_OPTION_REQUIRED) != 0 &&
			    !ob_options_given(reader, row->name))
				return ob_error_set(error, OB_USAGE, "--%s is missing: %s",
						    row->name, row->help);
	}
	return OB_OK;
}

static int
words_read(struct ob_arguments *arguments, struct readers *readers, int argc, char **argv,
	   struct ob_error *error)
{
	bool options_ended = false;
	int rc = OB_OK;

	for (int at = 0; rc == OB_OK && at < argc;) {
		const char *word = argv[at];

		if (options_ended || word[0] != '-' || word[1] == '\0') {
			arguments->rest[arguments->rest_count++] = argv[at++];
		} else if (strcmp(word, "--") == 0) {
			options_ended = true;
			at++;
		} else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
			arguments->help = true;
			return OB_OK;
		} else if (word[1] != '-') {
			rc = ob_error_set(
			    error, OB_USAGE,
			    "there is no option \"%.40s\"; options have two hyphens, see --help",
			    word);
		} else {
			rc = option_read(readers, argc, argv, &at, error);
		}
	}
	return rc;
}

int
ob_arguments_read(struct ob_arguments *arguments, const struct ob_command *command, int argc,
		  char **argv, struct ob_error *error)
{
	struct readers readers;
	int rc;

	*arguments = (struct ob_arguments){.command = command};
	arguments->rest = calloc((size_t)argc + 1, sizeof(*arguments->rest));
	arguments->options = calloc(1, command->options_size + 1);
	arguments->more = calloc(1, command->more_size + 1);
	if (arguments->rest == NULL || arguments->options == NULL || arguments->more == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	rc = readers_begin(&readers, arguments, error);
	if (rc == OB_OK)
		rc = words_read(arguments, &readers, argc, argv, error);
	if (rc == OB_OK && !arguments->help)
		rc = rest_check(arguments, error);
	if (rc == OB_OK && !arguments->help)
		rc = required_check(&readers, error);
	return rc;
}

void
ob_arguments_free(struct ob_arguments *arguments)
{
	const struct ob_command *command = arguments->command;

	if (arguments->options != NULL && command->options != NULL)
		ob_options_free(command->options, arguments->options);
	if (arguments->more != NULL && command->more != NULL)
		ob_options_free(command->more, arguments->more);
	free(arguments->options);
	free(arguments->more);
	free(arguments->rest);
	*arguments = (struct ob_arguments){0};
}
