/* `outbox relay`: a relay with one subscription, until it is told to end. */
#include <inttypes.h>
#include <outbox/relay.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "database.h"
#include "host.h"
#include "log.h"
#include "output.h"
#include "signals.h"
#include "sink_options.h"

struct relay_options {
	char *to, *subscription, *format;
	struct ob_strings topics, sink_options, store_options;
	bool until_idle, quiet;
	int64_t drain_deadline_ms;
	int log_format, log_level;
};

static const char *const log_formats[] = {"text", "json", "logfmt", NULL};
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};

#define FIELD(field_) .field = offsetof(struct relay_options, field_)

static const struct ob_option relay_table[] = {
    {.name = "to",
     .type = OB_OPTION_STRING,
     .help =
	 "the recipient: http(s)://..., file:PATH, exec:COMMAND, stdout: ...; see: outbox help sinks",
     .flags = OB_OPTION_REQUIRED,
     FIELD(to)},
    {.name = "subscription",
     .type = OB_OPTION_STRING,
     .default_text = "default",
     .help = "its name; each has a checkpoint of its own",
     FIELD(subscription)},
    {.name = "topic",
     .type = OB_OPTION_LIST,
     .default_text = "*",
     .help = "only these topics: patterns such as orders.*",
     FIELD(topics)},
    {.name = "format",
     .type = OB_OPTION_STRING,
     .help = "how messages are written, where the recipient can choose",
     FIELD(format)},
    {.name = "until-idle",
     .type = OB_OPTION_BOOL,
     .help = "end with 0 once everything committed is settled",
     FIELD(until_idle)},
    {.name = "drain-deadline",
     .type = OB_OPTION_DURATION,
     .default_text = "10s",
     .help = "after SIGTERM: how long to finish what is in flight",
     FIELD(drain_deadline_ms)},
    {.name = "sink-option",
     .type = OB_OPTION_LIST,
     .help = "an option of the recipient; see: outbox help sinks",
     FIELD(sink_options)},
    {.name = "store-option",
     .type = OB_OPTION_LIST,
     .help = "an option of the database; see: outbox help stores",
     FIELD(store_options)},
    {.name = "log-format",
     .type = OB_OPTION_ENUM,
     .choices = log_formats,
     .default_text = "text",
     .help = "of the lines on stderr",
     FIELD(log_format)},
    {.name = "log-level",
     .type = OB_OPTION_ENUM,
     .choices = log_levels,
     .default_text = "info",
     .help = "the least that is said",
     FIELD(log_level)},
    {0},
};

/* Where the relay's lines go. */
struct relay_log {
	const struct ob_cli *cli;
	enum ob_log_format format;
	enum ob_log_level level;
};

static void
line_write(void *context, enum ob_log_level level, const char *text)
{
	const struct relay_log *log = context;
	const struct ob_host *host = log->cli->host;
	struct ob_buf line;

	if (level > log->level)
		return;
	ob_buf_init(&line, 4 * OB_LOG_LINE_MAX);
	if (ob_log_line(&line, log->format, host->wall_us(host->context), level, text))
		(void)!write(STDERR_FILENO, ob_buf_text(&line), line.size);
	ob_buf_free(&line);
}

/* What the tables hold, put together as the embedded relay takes it. */
struct relay_parts {
	struct ob_relay_subscription subscription;
	struct ob_buf topics;
	struct ob_sink_options sink_options;
};

static int
parts_fill(struct relay_parts *parts, const struct ob_cli *cli, struct ob_error *error)
{
	const struct relay_options *options = cli->options;
	struct ob_relay_subscription *it = &parts->subscription;
	int rc = ob_sink_options_fill(&parts->sink_options, options->to, &options->sink_options,
				      options->format, error);

	if (rc != OB_OK)
		return rc;
	ob_buf_init(&parts->topics, 65536);
	for (size_t i = 0; i < options->topics.count; i++)
		ob_buf_appendf(&parts->topics, "%s%s", i == 0 ? "" : ",", options->topics.items[i]);
	if (parts->topics.failed)
		return ob_error_set(error, OB_USAGE, "--topic is too long");
	/* The second table has filled the fields that it names. */
	*it = *(const struct ob_relay_subscription *)cli->more;
	it->name = options->subscription;
	it->store_url = cli->arguments[0];
	it->store_options = (const char *const *)options->store_options.items;
	it->store_option_count = options->store_options.count;
	it->sink_url = options->to;
	it->sink_options = parts->sink_options.items;
	it->sink_option_count = parts->sink_options.count;
	it->topics = ob_buf_text(&parts->topics);
	return OB_OK;
}

static void
parts_free(struct relay_parts *parts)
{
	ob_buf_free(&parts->topics);
}

static void
summary_say(const struct relay_log *log, const char *name, struct ob_relay *relay)
{
	struct ob_relay_stats stats, all = {0};
	char text[256];

	for (size_t i = 0; ob_relay_stats(relay, i, &stats) == OB_OK; i++) {
		all.sent += stats.sent;
		all.retried += stats.retried;
		all.parked += stats.parked;
		all.dead += stats.dead;
	}
	(void)snprintf(text, sizeof(text),
		       "%s: ended; %" PRIu64 " sent, %" PRIu64 " retried, %" PRIu64
		       " parked, %" PRIu64 " dead",
		       name, all.sent, all.retried, all.parked, all.dead);
	line_write((void *)(uintptr_t)log, OB_LOG_INFO, text);
}

static int
relay_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct relay_options *options = cli->options;
	struct relay_log log = {cli, (enum ob_log_format)options->log_format,
				(enum ob_log_level)options->log_level};
	const struct ob_relay_config config = {
	    .log = line_write, .log_context = &log, .until_idle = options->until_idle};
	struct relay_parts parts = {0};
	struct ob_relay *relay = NULL;
	struct ob_signals signals = {.fd = -1};
	int killed_by = 0;
	int rc = ob_database_url_check(cli->arguments[0], error);

	if (rc == OB_OK)
		rc = parts_fill(&parts, cli, error);
	if (rc == OB_OK)
		rc = ob_relay_new(&config, &relay, error);
	if (rc == OB_OK)
		rc = ob_relay_add(relay, &parts.subscription, error);
	/* Before any thread is made, so that all of them have the signals blocked. */
	if (rc == OB_OK)
		rc = ob_signals_open(&signals, error);
	if (rc == OB_OK)
		rc = ob_relay_start(relay, error);
	if (rc != OB_OK) {
		cli->exit_status = ob_database_exit_of(cli, rc);
	} else {
		rc = ob_signals_run(&signals, relay, options->drain_deadline_ms, &killed_by, NULL,
				    NULL, 0, error);
		/* Asked twice: what is in flight is unknown and will be sent again under its id. */
		if (killed_by != 0)
			_exit(128 + killed_by);
		/* A database that cannot be reached any more is waited for. */
		cli->exit_status =
		    rc == OB_UNREACHABLE ? OB_EXIT_SINK : ob_database_exit_of(cli, rc);
		summary_say(&log, options->subscription, relay);
	}
	ob_signals_close(&signals);
	ob_relay_free(relay);
	parts_free(&parts);
	return rc;
}

const struct ob_command ob_cmd_relay = {
    .name = "relay",
    .group = "Run",
    .summary = "Deliver committed messages to a recipient until told to end.",
    .usage = "DATABASE --to SINK [options]",
    .examples =
	"outbox relay sqlite:shop.db --to https://shipping.example/orders\n"
	"outbox relay sqlite:shop.db --to http://127.0.0.1:8080/ --subscription shipping --topic 'orders.*'\n"
	"outbox relay sqlite:shop.db --to file:messages.jsonl --subscription archive --until-idle",
    .notes =
	"SIGTERM and SIGINT finish what is in flight and end; a second one ends at once. SIGHUP opens files and\n"
	"certificates again.",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = relay_table,
    .options_size = sizeof(struct relay_options),
    .more = ob_relay_options,
    .more_size = sizeof(struct ob_relay_subscription),
    .run = relay_run,
};
