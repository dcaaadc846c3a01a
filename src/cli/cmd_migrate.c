#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "database.h"
#include "output.h"

struct migrate_options {
	bool status, print, dry_run, json;
	char *schema;
	struct ob_strings store_options;
};

static const struct ob_option migrate_table[] = {
    {.name = "status",
     .type = OB_OPTION_BOOL,
     .help = "say which versions are there, change nothing",
     .field = offsetof(struct migrate_options, status)},
    {.name = "print",
     .type = OB_OPTION_BOOL,
     .help = "print the SQL of a fresh schema, for tools of your own",
     .field = offsetof(struct migrate_options, print)},
    {.name = "dry-run",
     .type = OB_OPTION_BOOL,
     .help = "say what would be done, change nothing",
     .field = offsetof(struct migrate_options, dry_run)},
    {.name = "json",
     .type = OB_OPTION_BOOL,
     .help = "print one JSON object",
     .field = offsetof(struct migrate_options, json)},
    OB_SCHEMA_OPTION(struct migrate_options, schema),
    OB_STORE_OPTION(struct migrate_options, store_options),
    {0},
};

struct migrating {
	const struct migrate_options *options;
	struct ob_strings store_options;
	struct ob_json json;
	unsigned missing;
};

static void
migration_tell(void *context, const struct ob_migration *migration)
{
	struct migrating *it = context;
	bool changes_nothing = it->options->status || it->options->dry_run;
	const char *word = migration->applied ? "there" : changes_nothing ? "missing" : "applied";

	if (!migration->applied)
		it->missing++;
	if (it->options->json) {
		ob_json_open(&it->json, NULL, '{');
		ob_json_number(&it->json, "version", migration->version);
		ob_json_text(&it->json, "name", migration->name);
		ob_json_bool(&it->json, "applied", migration->applied);
		ob_json_close(&it->json, '}');
		return;
	}
	(void)printf("%u  %-8s %s\n", migration->version, word, migration->name);
	if (it->options->dry_run && !migration->applied)
		(void)printf("%s\n", migration->sql);
}

static int
sql_print(struct ob_cli *cli, const struct ob_strings *store_options, struct ob_error *error)
{
	struct ob_store_handle handle;
	char *sql = NULL;
	const char *url = cli->arguments[0];
	int rc = ob_database_url_check(url, error);

	if (rc != OB_OK)
		return rc;
	rc = ob_store_handle_init(&handle, url, (const char *const *)store_options->items,
				  store_options->count, cli->host, error);
	if (rc == OB_OK) {
		sql = handle.ops->schema_sql(handle.options);
		if (sql == NULL)
			rc = ob_error_set(error, OB_NOMEM, "out of memory");
	}
	if (rc == OB_OK)
		(void)fputs(sql, stdout);
	free(sql);
	ob_store_handle_free(&handle);
	return rc;
}

/* Tells and changes nothing. */
static int
look(struct ob_cli *cli, enum ob_migrate_mode mode, struct migrating *it, struct ob_error *error)
{
	struct ob_store_handle handle;
	int rc = ob_database_open(cli, cli->arguments[0], &it->store_options, OB_DATABASE_READ,
				  &handle, error);

	if (rc == OB_OK)
		rc = handle.ops->migrate(handle.store, mode, migration_tell, it, error);
	ob_store_handle_free(&handle);
	return rc;
}

static int
migrate(struct ob_cli *cli, struct migrating *it, struct ob_error *error)
{
	const struct migrate_options *options = it->options;
	enum ob_migrate_mode mode = options->status    ? OB_MIGRATE_STATUS
				    : options->dry_run ? OB_MIGRATE_DRY_RUN
						       : OB_MIGRATE_APPLY;
	int rc;

	ob_json_begin(&it->json);
	ob_json_open(&it->json, NULL, '{');
	ob_json_open(&it->json, "migrations", '[');
	if (mode == OB_MIGRATE_APPLY)
		rc = ob_database_migrate(cli, cli->arguments[0], &it->store_options, false,
					 migration_tell, it, error);
	else
		rc = look(cli, mode, it, error);
	ob_json_close(&it->json, ']');
	ob_json_close(&it->json, '}');
	if (rc == OB_OK && options->json)
		rc = ob_json_print(&it->json, error);
	if (rc == OB_OK && options->status && it->missing > 0)
		cli->exit_status = OB_EXIT_SCHEMA;
	ob_json_free(&it->json);
	return rc;
}

static int
migrate_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct migrate_options *options = cli->options;
	struct migrating it = {.options = options};
	int rc =
	    ob_database_options(&options->store_options, options->schema, &it.store_options, error);

	if (rc == OB_OK)
		rc = options->print ? sql_print(cli, &it.store_options, error)
				    : migrate(cli, &it, error);
	ob_database_options_free(&it.store_options);
	return rc;
}

const struct ob_command ob_cmd_migrate = {
    .name = "migrate",
    .group = "Set up",
    .summary = "Bring the outbox tables to the version of this program.",
    .usage = "DATABASE [--status | --print | --dry-run]",
    .examples = "outbox migrate sqlite:shop.db\noutbox migrate sqlite:shop.db --status\n"
		"outbox migrate postgresql:///shop --print > outbox.sql",
    .notes = "Two at once are safe. --status ends with 6 when something is missing.",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = migrate_table,
    .options_size = sizeof(struct migrate_options),
    .run = migrate_run,
};
