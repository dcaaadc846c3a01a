#include <inttypes.h>
#include <string.h>

#include "commands.h"
#include "database.h"
#include "listing.h"
#include "log.h"
#include "selection.h"

enum { PAGE = 500, LIMIT_OF_PEOPLE = 100 };

static const struct ob_option list_table[] = {
    OB_SELECTION_ROWS,
    {.name = "json",
     .type = OB_OPTION_BOOL,
     .help = "print one JSON object",
     .field = offsetof(struct ob_selection_options, json)},
    {.name = "json-lines",
     .type = OB_OPTION_BOOL,
     .help = "print a JSON object a line",
     .field = offsetof(struct ob_selection_options, json_lines)},
    {.name = "plain",
     .type = OB_OPTION_BOOL,
     .help =
	 "a line each, between tabs: since, subscription, place, id, topic, key, type, tries, code, text",
     .field = offsetof(struct ob_selection_options, plain)},
    OB_STORE_OPTION(struct ob_selection_options, store_options),
    {0},
};

struct listing {
	const struct ob_cli *cli;
	const struct ob_selection_options *options;
	struct ob_json json;
	struct ob_error *error;
	uint64_t count, limit;
	int64_t position; /* of the last row */
	uint32_t page;    /* rows of this page */
	int rc;
};

/* A line for a person: since when, which message, why. */
static void
line_print(const struct listing *it, const struct ob_listed *row)
{
	char since[OB_TEXT_FIELD_MAX];
	struct ob_buf line;

	ob_time_ago(it->cli, since, row->since_ms);
	ob_buf_init(&line, 8192);
	ob_buf_appendf(&line, "%.19sZ  %s  ", since, row->subscription);
	ob_print_bytes(&line, row->message.id, 64);
	ob_buf_append_text(&line, "  ");
	ob_print_bytes(&line, row->message.topic, 40);
	ob_buf_append_text(&line, "  ");
	ob_print_bytes(&line, row->message.key, 24);
	ob_buf_appendf(&line, "  %" PRIu32 " %s  %s", row->attempts,
		       row->attempts == 1 ? "try" : "tries", row->code);
	if (row->text[0] != '\0') {
		ob_buf_append_text(&line, ": ");
		ob_print_bytes(&line, (struct ob_bytes){row->text, strlen(row->text)}, 96);
	}
	(void)printf("%s\n", ob_buf_text(&line));
	ob_buf_free(&line);
}

static int
plain_print(const struct listing *it, const struct ob_listed *row)
{
	char since[OB_TEXT_FIELD_MAX];
	struct ob_buf line;
	int rc;

	ob_time_ago(it->cli, since, row->since_ms);
	ob_buf_init(&line, 65536);
	ob_plain_text(&line, since);
	ob_plain_text(&line, row->subscription);
	ob_plain_text(&line, ob_place_name(row->place));
	ob_plain_bytes(&line, row->message.id);
	ob_plain_bytes(&line, row->message.topic);
	ob_plain_bytes(&line, row->message.key);
	ob_plain_bytes(&line, row->message.type);
	ob_plain_number(&line, row->attempts);
	ob_plain_text(&line, row->code);
	ob_plain_text(&line, row->text);
	rc = ob_plain_print(&line, it->error);
	ob_buf_free(&line);
	return rc;
}

static bool
row_print(void *context, const struct ob_listed *row)
{
	struct listing *it = context;

	if (it->count == it->limit)
		return false;
	it->count++;
	it->page++;
	it->position = row->position;
	if (it->options->plain) {
		it->rc = plain_print(it, row);
		return it->rc == OB_OK;
	}
	if (!it->options->json && !it->options->json_lines) {
		line_print(it, row);
		return true;
	}
	ob_listed_json(it->cli, &it->json, row);
	if (it->options->json_lines)
		it->rc = ob_json_print(&it->json, it->error);
	return it->rc == OB_OK;
}

/* Reads page after page, so that a long list needs no memory. One that is not full is not the last: rows go away meanwhile. */
static int
pages_print(struct listing *it, const struct ob_store_handle *handle, struct ob_error *error)
{
	struct ob_selection selection;
	int rc;

	ob_selection_fill(it->options, &selection);
	selection.count_max = PAGE;
	do {
		it->page = 0;
		rc = handle->ops->list(handle->store, &selection, row_print, it, error);
		selection.position_after = it->position;
		if (rc == OB_OK)
			rc = it->rc;
	} while (rc == OB_OK && it->page > 0 && it->count < it->limit);
	return rc;
}

static int
list_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct ob_selection_options *options = cli->options;
	bool for_people = !options->json && !options->json_lines && !options->plain;
	struct listing it = {.cli = cli, .options = options, .error = error, .rc = OB_OK};
	struct ob_store_handle handle;
	int rc = ob_one_form_check(options->json, options->json_lines, options->plain, error);

	if (rc != OB_OK)
		return rc;
	rc = ob_database_open(cli, cli->arguments[0], &options->store_options, OB_DATABASE_READ,
			      &handle, error);
	it.limit = options->limit > 0 ? (uint64_t)options->limit
		   : for_people       ? LIMIT_OF_PEOPLE
				      : UINT64_MAX;
	ob_json_begin(&it.json);
	if (options->json) {
		ob_json_open(&it.json, NULL, '{');
		ob_json_open(&it.json, "messages", '[');
	}
	if (rc == OB_OK)
		rc = pages_print(&it, &handle, error);
	if (rc == OB_OK && options->json) {
		ob_json_close(&it.json, ']');
		ob_json_close(&it.json, '}');
		rc = ob_json_print(&it.json, error);
	}
	if (rc == OB_OK && for_people) {
		if (it.count == 0)
			(void)printf("There is no such message.\n");
		else if (it.count == it.limit)
			ob_say("The first %" PRIu64 "; more with --limit N.", it.limit);
	}
	ob_json_free(&it.json);
	ob_store_handle_free(&handle);
	return rc;
}

const struct ob_command ob_cmd_dead_list = {
    .name = "dead list",
    .group = "Act",
    .summary = "List messages that were given up, with their reasons.",
    .usage = "DATABASE [filters] [--json | --json-lines | --plain]",
    .examples =
	"outbox dead list sqlite:shop.db\n"
	"outbox dead list sqlite:shop.db --subscription shipping --code http_422 --json-lines\n"
	"outbox dead list sqlite:shop.db --place parked",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = list_table,
    .options_size = sizeof(struct ob_selection_options),
    .run = list_run,
};
