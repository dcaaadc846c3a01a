#include <string.h>

#include "commands.h"
#include "database.h"
#include "output.h"
#include "text.h"

#define NEXT_SIZE_MAX 16384

struct init_options {
	struct ob_strings store_options;
	char *schema;
	bool quiet;
};

static const struct ob_option init_table[] = {
    {.name = "quiet",
     .type = OB_OPTION_BOOL,
     .help = "say nothing when all is well",
     .field = offsetof(struct init_options, quiet)},
    OB_SCHEMA_OPTION(struct init_options, schema),
    OB_STORE_OPTION(struct init_options, store_options),
    {0},
};

static void
missing_note(void *context, const struct ob_migration *migration)
{
	if (!migration->applied)
		*(bool *)context = true;
}

/* The tables of this program's version are there already. */
static bool
is_up_to_date(struct ob_cli *cli, const char *url, const struct ob_strings *options)
{
	struct ob_store_handle handle;
	bool missing = false;
	int rc = ob_database_open(cli, url, options, OB_DATABASE_READ, &handle, NULL);

	if (rc == OB_OK)
		rc = handle.ops->migrate(handle.store, OB_MIGRATE_STATUS, missing_note, &missing,
					 NULL);
	ob_store_handle_free(&handle);
	/* What is wrong is said by what follows. */
	cli->exit_status = 0;
	return rc == OB_OK && !missing;
}

/* What stands before the names of the tables: by the kind of database, and by the last that was given. */
static void
prefix_append(struct ob_buf *out, const char *url, const struct ob_strings *store_options)
{
	static const char name[] = "schema=";
	const char *schema = "outbox";

	for (size_t i = 0; i < store_options->count; i++)
		if (ob_text_starts_with(store_options->items[i], name))
			schema = store_options->items[i] + strlen(name);
	ob_buf_appendf(out, "%s%s", schema, ob_text_starts_with(url, "postgres") ? "." : "_");
}

static void
next_steps(const char *url, const struct ob_strings *store_options, bool was_there)
{
	struct ob_buf shown, prefix, options;

	url = ob_database_url_show(&shown, url);
	ob_buf_init(&prefix, NEXT_SIZE_MAX);
	ob_buf_init(&options, NEXT_SIZE_MAX);
	prefix_append(&prefix, url, store_options);
	ob_database_options_show(&options, store_options);
	if (was_there)
		(void)printf("The outbox in %s was already there and is up to date.\n", url);
	else
		(void)printf(
		    "The outbox is in %s.\n\n"
		    "Write a message in the transaction of your data, from any language:\n\n"
		    "  INSERT INTO %smessage (topic, partition_key, payload)\n"
		    "  VALUES ('orders.placed', 'alice', '{\"order\": 1}');\n\n"
		    "Then deliver what was committed:\n\n"
		    "  outbox relay %s --to https://shipping.example/orders%s\n",
		    url, ob_buf_text(&prefix), url, ob_buf_text(&options));
	ob_buf_free(&options);
	ob_buf_free(&prefix);
	ob_buf_free(&shown);
}

static int
init_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct init_options *options = cli->options;
	const char *url = cli->arguments[0];
	struct ob_strings store_options;
	bool was_there;
	int rc =
	    ob_database_options(&options->store_options, options->schema, &store_options, error);

	if (rc == OB_OK) {
		was_there = is_up_to_date(cli, url, &store_options);
		rc = ob_database_migrate(cli, url, &store_options, true, NULL, NULL, error);
	}
	if (rc == OB_OK && !options->quiet)
		next_steps(url, &store_options, was_there);
	ob_database_options_free(&store_options);
	return rc;
}

const struct ob_command ob_cmd_init = {
    .name = "init",
    .group = "Set up",
    .summary = "Make the outbox tables in a new or an existing database.",
    .usage = "DATABASE",
    .examples = "outbox init sqlite:shop.db\noutbox init postgresql://app@db1/shop",
    .notes = "The application's own tables are not touched. May be run again: what is there stays.",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = init_table,
    .options_size = sizeof(struct init_options),
    .run = init_run,
};
