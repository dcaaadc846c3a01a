#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "database.h"
#include "file.h"
#include "options.h"
#include "output.h"
#include "publish_lines.h"
#include "rfc3339.h"

struct publish_options {
	char *topic, *key, *type, *payload, *payload_file, *content_type, *headers, *deliver_after,
	    *id;
	char *schema;
	struct ob_strings store_options;
	bool tombstone, json_lines, json, quiet;
	int64_t batch;
};

#define ROW(name_, type_, field_, help_)                           \
	{                                                          \
		.name = (name_), .type = (type_), .help = (help_), \
		.field = offsetof(struct publish_options, field_)  \
	}

static const struct ob_option publish_table[] = {
    ROW("topic", OB_OPTION_STRING, topic, "the topic; required but with --json-lines"),
    ROW("key", OB_OPTION_STRING, key, "messages with one key keep their order"),
    ROW("type", OB_OPTION_STRING, type, "what kind of event; the topic serves when left out"),
    ROW("payload", OB_OPTION_STRING, payload, "the payload"),
    ROW("payload-file", OB_OPTION_PATH, payload_file,
	"the payload is what this file holds; -: stdin"),
    ROW("tombstone", OB_OPTION_BOOL, tombstone, "no payload at all"),
    ROW("content-type", OB_OPTION_STRING, content_type, "of the payload"),
    ROW("headers", OB_OPTION_STRING, headers, "a JSON object of strings"),
    ROW("deliver-after", OB_OPTION_STRING, deliver_after,
	"a time, or a duration from now such as 10m"),
    ROW("id", OB_OPTION_STRING, id, "an id of your own; else one is made"),
    ROW("json-lines", OB_OPTION_BOOL, json_lines, "read messages from stdin, a JSON object a line"),
    {.name = "batch",
     .type = OB_OPTION_INT,
     .default_text = "500",
     .min = 1,
     .max = 100000,
     .help = "lines of a transaction",
     .field = offsetof(struct publish_options, batch)},
    ROW("json", OB_OPTION_BOOL, json, "print one JSON object"),
    ROW("quiet", OB_OPTION_BOOL, quiet, "print no ids"),
    OB_SCHEMA_OPTION(struct publish_options, schema),
    OB_STORE_OPTION(struct publish_options, store_options),
    {0},
};

static int
stdin_read(struct ob_buf *out, struct ob_error *error)
{
	for (;;) {
		char *room = ob_buf_reserve(out, 1 << 16);
		ssize_t got = room == NULL ? 0 : read(STDIN_FILENO, room, 1 << 16);

		if (room == NULL)
			return ob_error_set(error, OB_LIMIT,
					    "the payload on stdin is larger than %d bytes",
					    OB_PAYLOAD_BYTES_MAX);
		if (got < 0)
			return ob_error_set(error, OB_FAILED, "stdin cannot be read");
		if (got == 0)
			return OB_OK;
		ob_buf_commit(out, (size_t)got);
	}
}

/* From --payload, --payload-file, --tombstone, or stdin when none of them was given. */
static int
payload_read(const struct ob_cli *cli, struct ob_new_message *message, struct ob_buf *bytes,
	     struct ob_error *error)
{
	const struct publish_options *options = cli->options;
	int given =
	    (options->payload != NULL) + (options->payload_file != NULL) + options->tombstone;
	int rc;

	if (given > 1)
		return ob_error_set(error, OB_USAGE,
				    "give one of --payload, --payload-file and --tombstone");
	if (options->tombstone)
		return OB_OK;
	if (options->payload != NULL) {
		message->payload = options->payload;
		message->payload_size = strlen(options->payload);
		return OB_OK;
	}
	if (given == 0 && cli->interactive)
		return ob_error_set(error, OB_USAGE,
				    "give the payload with --payload, --payload-file or on stdin");
	if (given == 0 || strcmp(options->payload_file, "-") == 0)
		rc = stdin_read(bytes, error);
	else
		rc = ob_file_read(options->payload_file, bytes, error);
	message->payload = ob_buf_text(bytes);
	message->payload_size = bytes->size;
	return rc;
}

static int
deliver_after_read(const struct ob_cli *cli, int64_t *time_us, struct ob_error *error)
{
	const struct publish_options *options = cli->options;
	const char *text = options->deliver_after;
	int64_t in_ms;

	if (text == NULL)
		return OB_OK;
	if (ob_parse_duration(text, &in_ms) == NULL)
		*time_us = cli->host->wall_us(cli->host->context) + in_ms * 1000;
	else if (!ob_rfc3339_parse(text, strlen(text), time_us))
		return ob_error_set(
		    error, OB_USAGE,
		    "--deliver-after: \"%s\" is neither a time such as 2030-01-31T12:00:00Z nor a "
		    "duration such as 10m",
		    text);
	return OB_OK;
}

static int
id_print(const struct publish_options *options, const char *id, struct ob_error *error)
{
	struct ob_json json;
	int rc;

	if (!options->json) {
		if (!options->quiet)
			(void)printf("%s\n", id);
		return OB_OK;
	}
	ob_json_begin(&json);
	ob_json_open(&json, NULL, '{');
	ob_json_text(&json, "id", id);
	ob_json_close(&json, '}');
	rc = ob_json_print(&json, error);
	ob_json_free(&json);
	return rc;
}

static int
one_publish(struct ob_cli *cli, const struct ob_strings *store_options, struct ob_error *error)
{
	const struct publish_options *options = cli->options;
	struct ob_new_message message = {.topic = options->topic,
					 .key = options->key,
					 .type = options->type,
					 .content_type = options->content_type,
					 .headers = options->headers,
					 .id = options->id};
	struct ob_url_writer writer = {0};
	struct ob_message_id id;
	struct ob_buf bytes;
	int rc;

	if (options->topic == NULL)
		return ob_error_set(error, OB_USAGE, "--topic is missing; every message needs one");
	ob_buf_init(&bytes, OB_PAYLOAD_BYTES_MAX + (1 << 16));
	rc = ob_url_writer_open(cli, &writer, cli->arguments[0], store_options, error);
	if (rc == OB_OK)
		rc = payload_read(cli, &message, &bytes, error);
	if (rc == OB_OK)
		rc = deliver_after_read(cli, &message.deliver_after_us, error);
	if (rc == OB_OK)
		rc = ob_url_writer_publish(&writer, &message, 1, &id, error);
	if (rc == OB_OK)
		rc = id_print(options, id.text, error);
	ob_url_writer_close(&writer);
	ob_buf_free(&bytes);
	return rc;
}

static int
publish_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct publish_options *options = cli->options;
	struct ob_strings store_options;
	int rc;

	if (options->json_lines && (options->topic != NULL || options->payload != NULL ||
				    options->payload_file != NULL || options->tombstone))
		return ob_error_set(error, OB_USAGE,
				    "with --json-lines topic and payload stand in the lines");
	rc = ob_database_options(&options->store_options, options->schema, &store_options, error);
	if (rc == OB_OK && options->json_lines)
		rc = ob_publish_lines(cli, &store_options, options->batch, options->json,
				      options->quiet, error);
	else if (rc == OB_OK)
		rc = one_publish(cli, &store_options, error);
	ob_database_options_free(&store_options);
	return rc;
}

const struct ob_command ob_cmd_publish = {
    .name = "publish",
    .group = "Run",
    .summary = "Write messages into the outbox.",
    .usage = "DATABASE (--topic TOPIC [--payload TEXT] ... | --json-lines)",
    .examples =
	"outbox publish sqlite:shop.db --topic orders.placed --key alice --payload '{\"order\": 1}'\n"
	"outbox publish sqlite:shop.db --topic reports --payload-file report.pdf --content-type application/pdf\n"
	"outbox publish postgresql://shop@db/shop --json-lines < messages.jsonl",
    .notes =
	"Prints the id of each message. With --json-lines a batch is written whole or not at all; the first bad line\n"
	"stops it with the number of the line, and 7 when something was written before.",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = publish_table,
    .options_size = sizeof(struct publish_options),
    .run = publish_run,
};
