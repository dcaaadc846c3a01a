/* `dead retry` and `dead discard`: by ids, or all that match the filters. */
#include <inttypes.h>
#include <string.h>

#include "changing.h"
#include "commands.h"
#include "database.h"
#include "output.h"
#include "selection.h"

enum { IDS_MAX = 1000 };

static const struct ob_option change_table[] = {
    OB_SELECTION_ROWS,
    {.name = "all-matching",
     .type = OB_OPTION_BOOL,
     .help = "all messages that match the filters, without naming ids",
     .field = offsetof(struct ob_selection_options, all_matching)},
    {.name = "dry-run",
     .type = OB_OPTION_BOOL,
     .help = "only count",
     .field = offsetof(struct ob_selection_options, dry_run)},
    {.name = "yes",
     .type = OB_OPTION_BOOL,
     .help = "do not ask",
     .field = offsetof(struct ob_selection_options, yes)},
    {.name = "no-input",
     .type = OB_OPTION_BOOL,
     .help = "do not ask, and do nothing without --yes",
     .field = offsetof(struct ob_selection_options, no_input)},
    {.name = "json",
     .type = OB_OPTION_BOOL,
     .help = "print one JSON object",
     .field = offsetof(struct ob_selection_options, json)},
    OB_STORE_OPTION(struct ob_selection_options, store_options),
    {0},
};

struct changing {
	struct ob_cli *cli;
	const struct ob_selection_options *options;
	struct ob_store_handle handle;
	struct ob_change change;
	const char *verb; /* "retry" */
	const char *done; /* "will be tried again" */
	uint64_t count;
};

/* Counts what matches where a person is there who can say no or wants to know how long it takes. */
static int
all_confirm(struct changing *it, uint64_t *expected, struct ob_error *error)
{
	const struct ob_selection_options *options = it->options;
	int rc;

	*expected = 0;
	if (options->dry_run || (options->yes && !it->cli->terminal))
		return OB_OK;
	it->change.dry_run = true;
	rc = ob_change_run(it->cli, it->handle.store, &it->change, NULL, expected, error);
	it->change.dry_run = false;
	if (rc != OB_OK || *expected == 0 || options->yes)
		return rc;
	if (!it->cli->interactive || options->no_input)
		return ob_error_set(error, OB_USAGE,
				    "%" PRIu64 " messages match; add --yes to %s them all",
				    *expected, it->verb);
	if (!ob_confirm(it->cli, "%s %" PRIu64 " messages?", it->verb, *expected))
		return ob_error_set(error, OB_FAILED, "nothing was changed");
	return OB_OK;
}

static int
all_change(struct changing *it, struct ob_error *error)
{
	struct ob_progress progress;
	uint64_t expected;
	int rc = all_confirm(it, &expected, error);

	if (rc != OB_OK)
		return rc;
	ob_progress_begin(&progress, it->cli, expected);
	rc = ob_change_run(it->cli, it->handle.store, &it->change, &progress, &it->count, error);
	ob_progress_end(&progress);
	return rc;
}

static int
ids_change(struct changing *it, struct ob_error *error)
{
	int rc = OB_OK;

	for (int i = 1; rc == OB_OK && i < it->cli->argument_count; i++) {
		uint64_t count = 0;

		it->change.selection.id = it->cli->arguments[i];
		rc = ob_change_run(it->cli, it->handle.store, &it->change, NULL, &count, error);
		it->count += count;
		if (rc == OB_OK && count == 0)
			rc = ob_error_set(
			    error, OB_NOT_FOUND, "%s: there is no such message among the %s ones",
			    it->cli->arguments[i], ob_selection_places[it->options->place]);
		if (rc != OB_OK && it->count > 0 && !it->options->dry_run)
			it->cli->exit_status = OB_EXIT_PARTIAL;
	}
	return rc;
}

static int
arguments_check(const struct changing *it, struct ob_error *error)
{
	if (it->cli->argument_count > 1 && it->options->all_matching)
		return ob_error_set(error, OB_USAGE, "give ids or --all-matching, not both");
	if (it->cli->argument_count == 1 && !it->options->all_matching)
		return ob_error_set(
		    error, OB_USAGE,
		    "which ones? give their ids, or --all-matching for all that match the filters");
	return OB_OK;
}

static int
result_print(const struct changing *it, struct ob_error *error)
{
	if (it->options->json)
		return ob_change_print(it->count, it->options->dry_run, error);
	(void)printf("%" PRIu64 " %s %s%s\n", it->count, it->count == 1 ? "message" : "messages",
		     it->options->dry_run ? "would be meant by: " : it->done,
		     it->options->dry_run ? it->verb : "");
	return OB_OK;
}

static int
change_run(struct changing *it, struct ob_error *error)
{
	const struct ob_selection_options *options = it->options;
	int rc = arguments_check(it, error);

	if (rc != OB_OK)
		return rc;
	ob_selection_fill(options, &it->change.selection);
	it->change.since_ms = -1;
	it->change.dry_run = options->dry_run;
	rc = ob_database_open(it->cli, it->cli->arguments[0], &options->store_options,
			      OB_DATABASE_WRITE, &it->handle, error);
	if (rc == OB_OK && !options->all_matching)
		rc = ids_change(it, error);
	if (rc == OB_OK && options->all_matching)
		rc = all_change(it, error);
	if (rc == OB_OK)
		rc = result_print(it, error);
	ob_store_handle_free(&it->handle);
	return rc;
}

static int
retry_run(struct ob_cli *cli, struct ob_error *error)
{
	struct changing it = {.cli = cli,
			      .options = cli->options,
			      .change = {.kind = OB_CHANGE_RETRY},
			      .verb = "retry",
			      .done = "will be tried again"};

	return change_run(&it, error);
}

static int
discard_run(struct ob_cli *cli, struct ob_error *error)
{
	struct changing it = {.cli = cli,
			      .options = cli->options,
			      .change = {.kind = OB_CHANGE_DISCARD},
			      .verb = "discard",
			      .done = "discarded"};

	return change_run(&it, error);
}

const struct ob_command ob_cmd_dead_retry = {
    .name = "dead retry",
    .group = "Act",
    .summary = "Try dead messages again, in the order of their keys.",
    .usage = "DATABASE (ID... | --all-matching [filters]) [--dry-run] [--yes]",
    .examples = "outbox dead retry sqlite:shop.db 01990b3c-7f00-7000-8000-000000000001\n"
		"outbox dead retry sqlite:shop.db --all-matching --code http_503 --dry-run\n"
		"outbox dead retry sqlite:shop.db --all-matching --subscription shipping --yes",
    .notes =
	"Takes effect on a running relay at once. With --place parked: those that wait are due now.",
    .arguments_min = 1,
    .arguments_max = IDS_MAX,
    .options = change_table,
    .options_size = sizeof(struct ob_selection_options),
    .run = retry_run,
};

const struct ob_command ob_cmd_dead_discard = {
    .name = "dead discard",
    .group = "Act",
    .summary = "Delete dead messages for good.",
    .usage = "DATABASE (ID... | --all-matching [filters]) [--dry-run] [--yes]",
    .examples = "outbox dead discard sqlite:shop.db 01990b3c-7f00-7000-8000-000000000001\n"
		"outbox dead discard sqlite:shop.db --all-matching --topic 'test.*' --dry-run",
    .notes = "They are gone then. With --place parked or scheduled: those that wait, undelivered.",
    .arguments_min = 1,
    .arguments_max = IDS_MAX,
    .options = change_table,
    .options_size = sizeof(struct ob_selection_options),
    .run = discard_run,
};
