#include "help.h"

#include <string.h>

#include "buf.h"
#include "options.h"

enum { NAME_WIDTH = 28, NAME_WIDTH_MAX = 40 };

static void
group_print(FILE *out, const char *group)
{
	(void)fprintf(out, "\n%s\n", group);
	for (size_t i = 0; ob_commands[i] != NULL; i++)
		if (strcmp(ob_commands[i]->group, group) == 0)
			(void)fprintf(out, "  %-14s %s\n", ob_commands[i]->name,
				      ob_commands[i]->summary);
}

void
ob_help_overview(FILE *out)
{
	static const char *const groups[] = {"Set up", "Run", "Look", "Act", "Help"};

	(void)fputs(
	    "Outbox delivers the messages that an application writes in the transaction of its data.\n\n"
	    "  outbox init sqlite:shop.db\n"
	    "  outbox publish sqlite:shop.db --topic orders.placed --key alice --payload '{\"order\": 1}'\n"
	    "  outbox relay sqlite:shop.db --to https://shipping.example/orders\n",
	    out);
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		group_print(out, groups[i]);
	(void)fputs("\nMore: outbox help COMMAND, outbox help stores, outbox help sinks\n", out);
}

/* The placeholder of a value: NAME, N, SIZE ... or the choices. */
static void
placeholder_append(const struct ob_option *row, struct ob_buf *out)
{
	static const char *const words[] = {
	    [OB_OPTION_END] = "",           [OB_OPTION_BOOL] = "",
	    [OB_OPTION_INT] = " N",         [OB_OPTION_SIZE] = " SIZE",
	    [OB_OPTION_DURATION] = " TIME", [OB_OPTION_STRING] = " TEXT",
	    [OB_OPTION_PATH] = " FILE",     [OB_OPTION_ENUM] = "",
	    [OB_OPTION_LIST] = " ITEM...",
	};
	size_t size = strlen(row->name);

	if (row->type == OB_OPTION_ENUM) {
		for (size_t i = 0; row->choices[i] != NULL; i++)
			ob_buf_appendf(out, "%s%s", i == 0 ? " " : "|", row->choices[i]);
		return;
	}
	if (row->type == OB_OPTION_LIST && size > 7 && strcmp(row->name + size - 7, "-option") == 0)
		ob_buf_append_text(out, " NAME=VALUE");
	else
		ob_buf_append_text(out, words[row->type]);
}

static void
option_print(FILE *out, const char *prefix, const struct ob_option *row)
{
	struct ob_buf left;

	ob_buf_init(&left, 1024);
	ob_buf_appendf(&left, "%s%s", prefix, row->name);
	placeholder_append(row, &left);
	if (left.size > NAME_WIDTH_MAX)
		(void)fprintf(out, "  %s\n  %-*s", ob_buf_text(&left), NAME_WIDTH, "");
	else
		(void)fprintf(out, "  %-*s", NAME_WIDTH, ob_buf_text(&left));
	(void)fprintf(out, " %s", row->help);
	if ((row->flags & OB_OPTION_REQUIRED) != 0)
		(void)fputs(" (required)", out);
	else if (row->default_text != NULL && row->type != OB_OPTION_BOOL &&
		 *row->default_text != '\0')
		(void)fprintf(out, " [%s]", row->default_text);
	else if (row->default_text != NULL && strcmp(row->default_text, "true") == 0)
		(void)fputs(" [on]", out);
	(void)fputc('\n', out);
	ob_buf_free(&left);
}

void
ob_help_options(FILE *out, const char *heading, const char *prefix, const struct ob_option *table)
{
	if (table == NULL || table->type == OB_OPTION_END)
		return;
	(void)fprintf(out, "\n%s\n", heading);
	for (; table->type != OB_OPTION_END; table++)
		option_print(out, prefix, table);
}

void
ob_help_command(FILE *out, const struct ob_command *command)
{
	const char *line = command->examples;

	(void)fprintf(out, "%s\n\nExamples\n", command->summary);
	while (*line != '\0') {
		int size = (int)strcspn(line, "\n");

		(void)fprintf(out, "  %.*s\n", size, line);
		line += size + (line[size] == '\n');
	}
	(void)fprintf(out, "\nUsage\n  outbox %s %s\n", command->name, command->usage);
	ob_help_options(out, "Options", "--", command->options);
	ob_help_options(out, "More options", "--", command->more);
	if (command->notes != NULL)
		(void)fprintf(out, "\n%s\n", command->notes);
}

static bool
is_of_group(const struct ob_command *command, const char *word)
{
	size_t size = strlen(word);

	return strncmp(command->name, word, size) == 0 && command->name[size] == ' ';
}

bool
ob_help_group(FILE *out, const char *word)
{
	static const char *const headings[] = {"Examples", "\nUsage", "\nCommands"};
	bool is_group = false;

	for (size_t i = 0; ob_commands[i] != NULL && !is_group; i++)
		is_group = is_of_group(ob_commands[i], word);
	for (int part = 0; is_group && part < 3; part++) {
		(void)fprintf(out, "%s\n", headings[part]);
		for (size_t i = 0; ob_commands[i] != NULL; i++) {
			const struct ob_command *it = ob_commands[i];

			if (!is_of_group(it, word))
				continue;
			if (part == 0)
				(void)fprintf(out, "  %.*s\n", (int)strcspn(it->examples, "\n"),
					      it->examples);
			else if (part == 1)
				(void)fprintf(out, "  outbox %s %s\n", it->name, it->usage);
			else
				(void)fprintf(out, "  %-14s %s\n", it->name, it->summary);
		}
	}
	return is_group;
}
