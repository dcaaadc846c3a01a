#include <inttypes.h>
#include <poll.h>

#include "commands.h"
#include "database.h"
#include "listing.h"
#include "rfc3339.h"

enum { PAGE = 200, FOLLOW_EVERY_MS = 100 };

/* A message of 16 MiB whose every byte is escaped as \\xXX, and its other fields. */
#define PLAIN_SIZE_MAX ((size_t)80 * 1024 * 1024)

struct tail_options {
	int64_t count;
	char *topic, *key, *type;
	bool follow, json, json_lines, plain;
	struct ob_strings store_options;
};

static const struct ob_option tail_table[] = {
    {.name = "count",
     .type = OB_OPTION_INT,
     .default_text = "10",
     .max = 1000000,
     .help = "of the latest messages",
     .field = offsetof(struct tail_options, count)},
    {.name = "follow",
     .type = OB_OPTION_BOOL,
     .help = "go on and show each message as it is committed",
     .field = offsetof(struct tail_options, follow)},
    {.name = "topic",
     .type = OB_OPTION_STRING,
     .help = "only topics that match this pattern",
     .field = offsetof(struct tail_options, topic)},
    {.name = "key",
     .type = OB_OPTION_STRING,
     .help = "only of this key",
     .field = offsetof(struct tail_options, key)},
    {.name = "type",
     .type = OB_OPTION_STRING,
     .help = "only of this type",
     .field = offsetof(struct tail_options, type)},
    {.name = "json",
     .type = OB_OPTION_BOOL,
     .help = "print one JSON object",
     .field = offsetof(struct tail_options, json)},
    {.name = "json-lines",
     .type = OB_OPTION_BOOL,
     .help = "print a JSON object a line",
     .field = offsetof(struct tail_options, json_lines)},
    {.name = "plain",
     .type = OB_OPTION_BOOL,
     .help = "a line each, between tabs: created at, id, topic, key, type, payload",
     .field = offsetof(struct tail_options, plain)},
    OB_STORE_OPTION(struct tail_options, store_options),
    {0},
};

struct tailing {
	const struct ob_cli *cli;
	const struct tail_options *options;
	struct ob_json json;
	struct ob_error *error;
	int64_t position, last; /* how far it is, and how far the log was at the start */
	uint32_t rows;
	int rc; /* of printing */
};

static bool
position_note(void *context, const struct ob_listed *row)
{
	struct tailing *it = context;

	it->position = row->position;
	it->rows++;
	return false;
}

static int
plain_print(const char *created, const struct ob_message *message, struct ob_error *error)
{
	struct ob_buf line;
	int rc;

	ob_buf_init(&line, PLAIN_SIZE_MAX);
	ob_plain_text(&line, created);
	ob_plain_bytes(&line, message->id);
	ob_plain_bytes(&line, message->topic);
	ob_plain_bytes(&line, message->key);
	ob_plain_bytes(&line, message->type);
	ob_plain_bytes(&line, message->payload);
	rc = ob_plain_print(&line, error);
	ob_buf_free(&line);
	return rc;
}

static bool
row_print(void *context, const struct ob_listed *row)
{
	struct tailing *it = context;
	char created[OB_RFC3339_SIZE];
	struct ob_buf line;

	it->position = row->position;
	it->rows++;
	if (it->options->json || it->options->json_lines) {
		ob_listed_json(it->cli, &it->json, row);
		if (it->options->json_lines)
			it->rc = ob_json_print(&it->json, it->error);
		return it->rc == OB_OK;
	}
	ob_rfc3339_format(created, row->message.created_at_us);
	if (it->options->plain) {
		it->rc = plain_print(created, &row->message, it->error);
		return it->rc == OB_OK;
	}
	ob_buf_init(&line, 8192);
	ob_buf_appendf(&line, "%s  ", created);
	ob_print_bytes(&line, row->message.id, 64);
	ob_buf_append_text(&line, "  ");
	ob_print_bytes(&line, row->message.topic, 64);
	ob_buf_append_text(&line, "  ");
	ob_print_bytes(&line, row->message.key, 32);
	ob_buf_append_text(&line, "  ");
	ob_print_bytes(&line, row->message.payload, 120);
	(void)printf("%s\n", ob_buf_text(&line));
	ob_buf_free(&line);
	return true;
}

/* The position of the last message: by halving, since a store lists upwards alone. */
static int
last_position(const struct ob_store_handle *handle, int64_t *last, struct ob_error *error)
{
	int64_t high = INT64_MAX;
	int rc = OB_OK;

	*last = 0;
	for (int64_t step = 1; rc == OB_OK && *last < high;) {
		struct ob_selection selection = {.place = OB_PLACE_LOG, .count_max = 1};
		struct tailing found = {0};
		int64_t probe = high == INT64_MAX ? *last + step : *last + (high - *last) / 2;

		selection.position_after = probe;
		rc = handle->ops->list(handle->store, &selection, position_note, &found, error);
		if (found.rows > 0) {
			*last = found.position;
			step = step > INT64_MAX / 4 ? step : step * 2;
		} else {
			high = probe;
		}
	}
	return rc;
}

static int
pages_print(struct tailing *it, const struct ob_store_handle *handle, struct ob_error *error)
{
	const struct tail_options *options = it->options;
	struct ob_selection selection = {.place = OB_PLACE_LOG,
					 .topic = options->topic,
					 .key = options->key,
					 .type = options->type,
					 .count_max = PAGE};
	int rc;

	do {
		it->rows = 0;
		selection.position_after = it->position;
		rc = handle->ops->list(handle->store, &selection, row_print, it, error);
		if (rc == OB_OK)
			rc = it->rc;
		/* A page that is not full is not the last: messages go away meanwhile. */
	} while (rc == OB_OK && it->rows > 0 && (it->rows >= PAGE || it->position < it->last));
	return rc;
}

static int
tail_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct tail_options *options = cli->options;
	struct tailing it = {.cli = cli, .options = options, .error = error, .rc = OB_OK};
	struct ob_store_handle handle;
	int rc;

	if (options->follow && options->json)
		return ob_error_set(error, OB_USAGE,
				    "what is followed never ends: use --json-lines, not --json");
	rc = ob_one_form_check(options->json, options->json_lines, options->plain, error);
	if (rc != OB_OK)
		return rc;
	rc = ob_database_open(cli, cli->arguments[0], &options->store_options, OB_DATABASE_READ,
			      &handle, error);
	ob_json_begin(&it.json);
	if (options->json) {
		ob_json_open(&it.json, NULL, '{');
		ob_json_open(&it.json, "messages", '[');
	}
	if (rc == OB_OK)
		rc = last_position(&handle, &it.last, error);
	it.position = it.last > options->count ? it.last - options->count : 0;
	if (rc == OB_OK)
		rc = pages_print(&it, &handle, error);
	if (rc == OB_OK && options->json) {
		ob_json_close(&it.json, ']');
		ob_json_close(&it.json, '}');
		rc = ob_json_print(&it.json, error);
	}
	while (rc == OB_OK && options->follow) {
		(void)fflush(stdout);
		(void)poll(NULL, 0, FOLLOW_EVERY_MS);
		rc = pages_print(&it, &handle, error);
		/* The application writes: look again. */
		if (rc == OB_BUSY)
			rc = OB_OK;
	}
	ob_json_free(&it.json);
	ob_store_handle_free(&handle);
	return rc;
}

const struct ob_command ob_cmd_tail = {
    .name = "tail",
    .group = "Look",
    .summary = "Show the latest messages of the log, and follow it.",
    .usage = "DATABASE [--count N] [--follow] [--json | --json-lines | --plain]",
    .examples =
	"outbox tail sqlite:shop.db\noutbox tail sqlite:shop.db --follow --topic 'orders.*'\n"
	"outbox tail sqlite:shop.db --count 1000 --json-lines",
    .notes =
	"Messages as they were committed, whether delivered or not; the log keeps what some subscription has not\n"
	"passed yet, and longer with the database's option \"retention\". A filter looks at the latest N alone.",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = tail_table,
    .options_size = sizeof(struct tail_options),
    .run = tail_run,
};
