#include "help.h"

#include <string.h>

#include "buf.h"
#include "options.h"

/* What an option means begins behind this column; no line is longer than that. */
enum { NAME_WIDTH = 28, LINE_WIDTH = 100 };

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
	(void)fputs("\nExit status\n"
		    "  0   done\n"
		    "  1   it failed, or there is no such thing\n"
		    "  2   the command line is wrong\n"
		    "  3   the configuration, a URL or an option of a store or sink is wrong\n"
		    "  4   the database cannot be reached\n"
		    "  5   the recipient cannot be reached\n"
		    "  6   the outbox tables are missing, altered or newer than the program\n"
		    "  7   a part was done\n"
		    "  75  not now: try again\n"
		    "\nMore: outbox help COMMAND, outbox help stores, outbox help sinks\n",
		    out);
}

/* What a value is, where the name of the option tells more than its type. */
static const char *
value_name(const struct ob_option *row)
{
	static const struct {
		const char *option, *value;
	} names[] = {
	    {"code", "CODE"},
	    {"content-type", "TYPE"},
	    {"deliver-after", "TIME"},
	    {"fail-id", "ID"},
	    {"fail-key", "KEY"},
	    {"format", "NAME"},
	    {"from", "ID"},
	    {"header", "LINE"},
	    {"headers", "JSON"},
	    {"id", "ID"},
	    {"key", "KEY"},
	    {"listen", "ADDRESS:PORT"},
	    {"proxy", "URL"},
	    {"schema", "NAME"},
	    {"secret-file", "FILE"},
	    {"since", "TIME"},
	    {"source", "URI"},
	    {"subscription", "NAME"},
	    {"to", "SINK"},
	    {"topic", "TOPIC"},
	    {"type", "TYPE"},
	    {"down-statuses", "STATUS"},
	    {"retry-statuses", "STATUS"},
	    {"reject-statuses", "STATUS"},
	    {"blocked-statuses", "STATUS"},
	};
	static const char *const words[] = {
	    [OB_OPTION_END] = "",      [OB_OPTION_BOOL] = "",         [OB_OPTION_INT] = "N",
	    [OB_OPTION_SIZE] = "SIZE", [OB_OPTION_DURATION] = "TIME", [OB_OPTION_STRING] = "TEXT",
	    [OB_OPTION_PATH] = "FILE", [OB_OPTION_ENUM] = "",         [OB_OPTION_LIST] = "ITEM",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i].option, row->name) == 0 &&
		    (row->type == OB_OPTION_STRING || row->type == OB_OPTION_LIST))
			return names[i].value;
	return words[row->type];
}

/* The placeholder of a value: NAME, N, SIZE ... or the choices. */
static void
placeholder_append(const struct ob_option *row, struct ob_buf *out)
{
	const char *name = value_name(row);
	size_t size = strlen(row->name);

	if (row->type == OB_OPTION_ENUM) {
		for (size_t i = 0; row->choices[i] != NULL; i++)
			ob_buf_appendf(out, "%s%s", i == 0 ? " " : "|", row->choices[i]);
		return;
	}
	if (row->type == OB_OPTION_LIST && size > 7 && strcmp(row->name + size - 7, "-option") == 0)
		ob_buf_append_text(out, " NAME=VALUE");
	else
		ob_buf_appendf(out, "%s%s%s", *name == '\0' ? "" : " ", name,
			       row->type == OB_OPTION_LIST ? ",..." : "");
}

/* Prints words from a column on; what comes after the end of the line goes below, from the same column on. */
static void
words_print(FILE *out, const char *text, size_t column)
{
	size_t at = column;

	while (*text != '\0') {
		size_t size = strcspn(text, " \n");

		if (at > column && at + 1 + size > LINE_WIDTH) {
			(void)fprintf(out, "\n%*s", (int)column, "");
			at = column;
		} else if (at > column) {
			(void)fputc(' ', out);
			at++;
		}
		(void)fprintf(out, "%.*s", (int)size, text);
		at += size;
		text += size;
		text += strspn(text, " \n");
	}
	(void)fputc('\n', out);
}

static void
option_print(FILE *out, const char *prefix, const struct ob_option *row)
{
	struct ob_buf left, right;

	ob_buf_init(&left, 1024);
	ob_buf_init(&right, 4096);
	ob_buf_appendf(&left, "%s%s", prefix, row->name);
	placeholder_append(row, &left);
	ob_buf_append_text(&right, row->help);
	if ((row->flags & OB_OPTION_REQUIRED) != 0)
		ob_buf_append_text(&right, " (required)");
	else if (row->default_text != NULL && row->type != OB_OPTION_BOOL &&
		 *row->default_text != '\0')
		ob_buf_appendf(&right, " [%s]", row->default_text);
	else if (row->default_text != NULL && strcmp(row->default_text, "true") == 0)
		ob_buf_append_text(&right, " [on]");
	(void)fprintf(out, "  %-*s", NAME_WIDTH, ob_buf_text(&left));
	if (left.size > NAME_WIDTH)
		(void)fprintf(out, "\n%*s", NAME_WIDTH + 2, "");
	(void)fputc(' ', out);
	words_print(out, ob_buf_text(&right), NAME_WIDTH + 3);
	ob_buf_free(&left);
	ob_buf_free(&right);
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
	if (command->notes == NULL)
		return;
	(void)fputc('\n', out);
	words_print(out, command->notes, 0);
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
