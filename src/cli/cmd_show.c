/* Where a message stands: `show` looks everywhere, `dead show` among those that were given up. */
#include <inttypes.h>

#include "commands.h"
#include "database.h"
#include "listing.h"

struct show_options {
	char *subscription;
	bool json;
	struct ob_strings store_options;
};

static const struct ob_option show_table[] = {
    {.name = "subscription",
     .type = OB_OPTION_STRING,
     .help = "only as this subscription sees it",
     .field = offsetof(struct show_options, subscription)},
    {.name = "json",
     .type = OB_OPTION_BOOL,
     .help = "print one JSON object",
     .field = offsetof(struct show_options, json)},
    OB_STORE_OPTION(struct show_options, store_options),
    {0},
};

struct showing {
	const struct ob_cli *cli;
	struct ob_json json;
	bool as_json;
	uint64_t count;
};

static bool
row_show(void *context, const struct ob_listed *row)
{
	struct showing *it = context;

	if (it->as_json)
		ob_listed_json(it->cli, &it->json, row);
	else {
		(void)fputs(it->count == 0 ? "" : "\n", stdout);
		ob_listed_print(it->cli, row, true);
	}
	it->count++;
	return true;
}

static int
show_place(struct ob_cli *cli, enum ob_place place, const char *missing, struct ob_error *error)
{
	const struct show_options *options = cli->options;
	const struct ob_selection selection = {
	    .subscription = options->subscription, .id = cli->arguments[1], .place = place};
	struct showing it = {.cli = cli, .as_json = options->json};
	struct ob_store_handle handle;
	int rc = ob_database_open(cli, cli->arguments[0], &options->store_options, OB_DATABASE_READ,
				  &handle, error);

	ob_json_begin(&it.json);
	ob_json_open(&it.json, NULL, '{');
	ob_json_open(&it.json, "found", '[');
	if (rc == OB_OK)
		rc = handle.ops->list(handle.store, &selection, row_show, &it, error);
	ob_json_close(&it.json, ']');
	ob_json_close(&it.json, '}');
	if (rc == OB_OK && it.count == 0)
		rc = ob_error_set(error, OB_NOT_FOUND, "%s: %s", cli->arguments[1], missing);
	else if (rc == OB_OK && options->json)
		rc = ob_json_print(&it.json, error);
	ob_json_free(&it.json);
	ob_store_handle_free(&handle);
	return rc;
}

static int
show_run(struct ob_cli *cli, struct ob_error *error)
{
	return show_place(
	    cli, (enum ob_place)0,
	    "no message with this id is in the outbox: it was delivered and trimmed, or never committed",
	    error);
}

static int
dead_show_run(struct ob_cli *cli, struct ob_error *error)
{
	return show_place(cli, OB_PLACE_DEAD,
			  "no dead message has this id; outbox show looks everywhere", error);
}

const struct ob_command ob_cmd_show = {
    .name = "show",
    .group = "Look",
    .summary = "Show a message and where it stands.",
    .usage = "DATABASE ID [--json]",
    .examples = "outbox show sqlite:shop.db 01990b3c-7f00-7000-8000-000000000001",
    .notes = "Finding an id in the log reads the log.",
    .arguments_min = 2,
    .arguments_max = 2,
    .options = show_table,
    .options_size = sizeof(struct show_options),
    .run = show_run,
};

const struct ob_command ob_cmd_dead_show = {
    .name = "dead show",
    .group = "Act",
    .summary = "Show a dead message whole, with its tries.",
    .usage = "DATABASE ID [--subscription NAME] [--json]",
    .examples = "outbox dead show sqlite:shop.db 01990b3c-7f00-7000-8000-000000000001",
    .arguments_min = 2,
    .arguments_max = 2,
    .options = show_table,
    .options_size = sizeof(struct show_options),
    .run = dead_show_run,
};
