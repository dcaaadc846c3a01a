/* `replay` reads a stretch of the log once more; `adopt` says that a restored file is meant. */
#include <inttypes.h>
#include <string.h>

#include "changing.h"
#include "commands.h"
#include "database.h"
#include "options.h"
#include "output.h"
#include "rfc3339.h"

struct replay_options {
	char *since, *from, *subscription;
	bool from_beginning, from_now, from_checkpoint, dry_run, yes, no_input, json;
	struct ob_strings store_options;
};

static const struct ob_option replay_table[] = {
    {.name = "since",
     .type = OB_OPTION_STRING,
     .help = "what was created since then: a time, or a duration ago such as 2h",
     .field = offsetof(struct replay_options, since)},
    {.name = "from",
     .type = OB_OPTION_STRING,
     .help = "from the message with this id",
     .field = offsetof(struct replay_options, from)},
    {.name = "from-beginning",
     .type = OB_OPTION_BOOL,
     .help = "all that the log still holds",
     .field = offsetof(struct replay_options, from_beginning)},
    {.name = "dry-run",
     .type = OB_OPTION_BOOL,
     .help = "only count",
     .field = offsetof(struct replay_options, dry_run)},
    {.name = "json",
     .type = OB_OPTION_BOOL,
     .help = "print one JSON object",
     .field = offsetof(struct replay_options, json)},
    OB_STORE_OPTION(struct replay_options, store_options),
    {0},
};

static const struct ob_option adopt_table[] = {
    {.name = "subscription",
     .type = OB_OPTION_STRING,
     .help = "only this one; the others go on waiting for a word",
     .field = offsetof(struct replay_options, subscription)},
    {.name = "from-checkpoint",
     .type = OB_OPTION_BOOL,
     .help = "go on where this database says that its relay was",
     .field = offsetof(struct replay_options, from_checkpoint)},
    {.name = "from",
     .type = OB_OPTION_STRING,
     .help = "go on with the message that has this id",
     .field = offsetof(struct replay_options, from)},
    {.name = "from-beginning",
     .type = OB_OPTION_BOOL,
     .help = "send all that the log holds",
     .field = offsetof(struct replay_options, from_beginning)},
    {.name = "from-now",
     .type = OB_OPTION_BOOL,
     .help = "send only what is written from now on",
     .field = offsetof(struct replay_options, from_now)},
    {.name = "yes",
     .type = OB_OPTION_BOOL,
     .help = "do not ask",
     .field = offsetof(struct replay_options, yes)},
    {.name = "no-input",
     .type = OB_OPTION_BOOL,
     .help = "do not ask, and do nothing without --yes",
     .field = offsetof(struct replay_options, no_input)},
    OB_STORE_OPTION(struct replay_options, store_options),
    {0},
};

/* "2h", or a time, which must be past. */
static int
since_read(const struct ob_cli *cli, const char *text, int64_t *ago_ms, struct ob_error *error)
{
	int64_t time_us;

	if (ob_parse_duration(text, ago_ms) == NULL)
		return OB_OK;
	if (!ob_rfc3339_parse(text, strlen(text), &time_us))
		return ob_error_set(
		    error, OB_USAGE,
		    "--since: \"%s\" is neither a time such as 2030-01-31T12:00:00Z nor a duration "
		    "such as 2h",
		    text);
	*ago_ms = (cli->host->wall_us(cli->host->context) - time_us) / 1000;
	if (*ago_ms < 0)
		return ob_error_set(error, OB_USAGE, "--since: %s is still to come", text);
	return OB_OK;
}

static int
replay_print(const struct ob_cli *cli, uint64_t count, struct ob_error *error)
{
	const struct replay_options *options = cli->options;

	if (options->json)
		return ob_change_print(count, options->dry_run, error);
	if (count == 0)
		(void)printf(
		    "%s: there is nothing to replay; the log keeps no message from then that it has passed\n",
		    cli->arguments[1]);
	else
		(void)printf("%s: at most %" PRIu64 " %s %s sent again, under %s\n",
			     cli->arguments[1], count, count == 1 ? "message" : "messages",
			     options->dry_run ? "would be"
			     : count == 1     ? "is"
					      : "are",
			     count == 1 ? "its id" : "their ids");
	return OB_OK;
}

static int
replay_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct replay_options *options = cli->options;
	struct ob_change change = {.kind = OB_CHANGE_REPLAY,
				   .selection = {.subscription = cli->arguments[1]},
				   .since_ms = -1,
				   .from_id = options->from,
				   .dry_run = options->dry_run};
	int given = (options->since != NULL) + (options->from != NULL) + options->from_beginning;
	struct ob_store_handle handle = {0};
	uint64_t count = 0;
	int rc = OB_OK;

	if (given != 1)
		return ob_error_set(error, OB_USAGE,
				    "give one of --since TIME, --from ID and --from-beginning");
	if (options->since != NULL)
		rc = since_read(cli, options->since, &change.since_ms, error);
	if (rc == OB_OK)
		rc = ob_database_open(cli, cli->arguments[0], &options->store_options,
				      OB_DATABASE_WRITE, &handle, error);
	if (rc == OB_OK)
		rc = ob_change_run(cli, handle.store, &change, NULL, &count, error);
	if (rc == OB_OK)
		rc = replay_print(cli, count, error);
	ob_store_handle_free(&handle);
	return rc;
}

static int
adopt_confirm(const struct ob_cli *cli, const struct replay_options *options, const char *shown,
	      struct ob_error *error)
{
	bool asks = cli->interactive && !options->no_input;

	if (options->yes || (asks && ob_confirm(cli, "Go on with %s as it is now?", shown)))
		return OB_OK;
	if (asks)
		return ob_error_set(error, OB_FAILED, "nothing was changed");
	return ob_error_set(error, OB_USAGE, "add --yes if %s is the database that is meant",
			    shown);
}

static int
adopt_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct replay_options *options = cli->options;
	struct ob_change change = {.kind = OB_CHANGE_ADOPT,
				   .selection = {.subscription = options->subscription},
				   .since_ms = -1,
				   .from_id = options->from,
				   .from_now = options->from_now,
				   .from_checkpoint = options->from_checkpoint};
	int given = options->from_now + options->from_checkpoint + (options->from != NULL) +
		    options->from_beginning;
	struct ob_store_handle handle = {0};
	struct ob_buf buf;
	const char *shown;
	uint64_t count = 0;
	int rc;

	if (given != 1)
		return ob_error_set(
		    error, OB_USAGE,
		    "where to go on? give one of --from-checkpoint, --from-now, --from ID and "
		    "--from-beginning");
	shown = ob_database_url_show(&buf, cli->arguments[0]);
	rc = adopt_confirm(cli, options, shown, error);
	if (rc == OB_OK)
		rc = ob_database_open(cli, cli->arguments[0], &options->store_options,
				      OB_DATABASE_WRITE, &handle, error);
	if (rc == OB_OK)
		rc = handle.ops->change(handle.store, &change, &count, error);
	if (rc == OB_OK && options->subscription != NULL)
		(void)printf("%s is adopted for subscription %s; its relay goes on\n", shown,
			     options->subscription);
	else if (rc == OB_OK)
		(void)printf("%s is adopted for %" PRIu64 " subscription%s; the relays go on\n",
			     shown, count, count == 1 ? "" : "s");
	ob_buf_free(&buf);
	ob_store_handle_free(&handle);
	return rc;
}

const struct ob_command ob_cmd_replay = {
    .name = "replay",
    .group = "Act",
    .summary = "Send a stretch of the log to a subscription once more.",
    .usage =
	"DATABASE SUBSCRIPTION (--since TIME | --from ID | --from-beginning) [--dry-run] [--json]",
    .examples = "outbox replay sqlite:shop.db shipping --since 2h --dry-run\n"
		"outbox replay sqlite:shop.db shipping --since 2030-01-31T12:00:00Z\n"
		"outbox replay sqlite:shop.db shipping --from 01990b3c-7f00-7000-8000-000000000001",
    .notes =
	"Only what the log still holds: see the database's option \"retention\". The recipient gets the same ids.",
    .arguments_min = 2,
    .arguments_max = 2,
    .options = replay_table,
    .options_size = sizeof(struct replay_options),
    .run = replay_run,
};

const struct ob_command ob_cmd_adopt = {
    .name = "adopt",
    .group = "Act",
    .summary = "Go on with a database that was restored or replaced.",
    .usage =
	"DATABASE (--from-checkpoint | --from-now | --from ID | --from-beginning) [--subscription NAME] [--yes]",
    .examples = "outbox adopt sqlite:shop.db --from-checkpoint\n"
		"outbox adopt sqlite:shop.db --from-now --subscription shipping\n"
		"outbox adopt sqlite:shop.db --from-beginning --yes",
    .notes =
	"A relay stops when its database is not what it was, since only a person can tell what was meant.",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = adopt_table,
    .options_size = sizeof(struct replay_options),
    .run = adopt_run,
};
