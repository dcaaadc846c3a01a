#include <stdio.h>

#include "changing.h"
#include "commands.h"
#include "database.h"

struct pause_options {
	struct ob_strings store_options;
};

static const struct ob_option pause_table[] = {
    OB_STORE_OPTION(struct pause_options, store_options),
    {0},
};

static int
paused_set(struct ob_cli *cli, enum ob_change_kind kind, struct ob_error *error)
{
	const struct pause_options *options = cli->options;
	const char *name = cli->arguments[1];
	const char *word = kind == OB_CHANGE_PAUSE ? "paused" : "resumed";
	struct ob_change change = {
	    .kind = kind, .selection = {.subscription = name}, .since_ms = -1};
	struct ob_store_handle handle;
	uint64_t count = 0;
	int rc = ob_database_open(cli, cli->arguments[0], &options->store_options,
				  OB_DATABASE_WRITE, &handle, error);

	if (rc == OB_OK)
		rc = ob_change_run(cli, handle.store, &change, NULL, &count, error);
	if (rc == OB_OK)
		(void)printf("%s: %s%s\n", name, count == 0 ? "already " : "", word);
	ob_store_handle_free(&handle);
	return rc;
}

static int
pause_run(struct ob_cli *cli, struct ob_error *error)
{
	return paused_set(cli, OB_CHANGE_PAUSE, error);
}

static int
resume_run(struct ob_cli *cli, struct ob_error *error)
{
	return paused_set(cli, OB_CHANGE_RESUME, error);
}

const struct ob_command ob_cmd_pause = {
    .name = "pause",
    .group = "Act",
    .summary = "Stop a subscription's deliveries; messages go on gathering.",
    .usage = "DATABASE SUBSCRIPTION",
    .examples = "outbox pause sqlite:shop.db shipping",
    .notes =
	"Takes effect on a running relay at once, and stays until it is resumed. Nothing is lost by it.",
    .arguments_min = 2,
    .arguments_max = 2,
    .options = pause_table,
    .options_size = sizeof(struct pause_options),
    .run = pause_run,
};

const struct ob_command ob_cmd_resume = {
    .name = "resume",
    .group = "Act",
    .summary = "Let a paused subscription go on.",
    .usage = "DATABASE SUBSCRIPTION",
    .examples = "outbox resume sqlite:shop.db shipping",
    .arguments_min = 2,
    .arguments_max = 2,
    .options = pause_table,
    .options_size = sizeof(struct pause_options),
    .run = resume_run,
};
