#include <string.h>

#include "commands.h"
#include "database.h"
#include "output.h"
#include "text.h"

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

/* The table that applications write to, by the kind of database. */
static void
next_steps(const char *url, const char *schema, bool was_there)
{
	bool has_schemas = ob_text_starts_with(url, "postgres");

	(void)printf(was_there ? "The outbox in %s was already there and is up to date.\n"
			       : "The outbox is in %s.\n",
		     url);
	if (was_there)
		return;
	(void)printf("\nWrite a message in the transaction of your data, from any language:\n\n"
		     "  INSERT INTO %s%smessage (topic, partition_key, payload)\n"
		     "  VALUES ('orders.placed', 'alice', '{\"order\": 1}');\n\n"
		     "Then deliver what was committed:\n\n"
		     "  outbox relay %s --to https://shipping.example/orders\n",
		     schema == NULL ? "outbox" : schema, has_schemas ? "." : "_", url);
}

static int
init_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct init_options *options = cli->options;
	const char *url = cli->arguments[0];
	struct ob_strings store_options;
	struct ob_buf shown;
	bool was_there;
	int rc =
	    ob_database_options(&options->store_options, options->schema, &store_options, error);

	if (rc == OB_OK) {
		was_there = is_up_to_date(cli, url, &store_options);
		rc = ob_database_migrate(cli, url, &store_options, true, NULL, NULL, error);
	}
	ob_database_options_free(&store_options);
	if (rc == OB_OK && !options->quiet) {
		next_steps(ob_database_url_show(&shown, url), options->schema, was_there);
		ob_buf_free(&shown);
	}
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
