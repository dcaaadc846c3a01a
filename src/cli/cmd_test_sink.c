#include <outbox/uuid.h>
#include <string.h>

#include "commands.h"
#include "database.h"
#include "log.h"
#include "mend.h"
#include "output.h"
#include "sink_options.h"

struct test_sink_options {
	char *topic, *key, *format;
	int64_t timeout_ms;
	bool json;
	struct ob_strings sink_options;
};

#define FIELD(field_) .field = offsetof(struct test_sink_options, field_)

static const struct ob_option test_sink_table[] = {
    {.name = "topic",
     .type = OB_OPTION_STRING,
     .default_text = "outbox.test",
     .help = "of the test message",
     FIELD(topic)},
    {.name = "key", .type = OB_OPTION_STRING, .help = "of the test message", FIELD(key)},
    {.name = "format",
     .type = OB_OPTION_STRING,
     .help = "how it is written, where the recipient can choose",
     FIELD(format)},
    {.name = "timeout",
     .type = OB_OPTION_DURATION,
     .default_text = "20s",
     .max = 600000,
     .help = "how long to wait for its answer",
     FIELD(timeout_ms)},
    {.name = "json", .type = OB_OPTION_BOOL, .help = "print one JSON object", FIELD(json)},
    {.name = "sink-option",
     .type = OB_OPTION_LIST,
     .help = "an option of the recipient; see: outbox help sinks",
     FIELD(sink_options)},
    {0},
};

/* What each outcome means for who set the recipient up. */
static const struct {
	const char *words;
	int exit_status;
} verdicts[] = {
    [OB_FATE_UNKNOWN] = {"It may or may not have arrived: there was no answer that tells.",
			 OB_EXIT_SINK},
    [OB_FATE_SENT] = {"It was accepted. The relay would count it as delivered.", OB_EXIT_OK},
    [OB_FATE_RETRY] = {"It was not accepted this time; the relay would try it again later.",
		       OB_EXIT_FAILURE},
    [OB_FATE_REJECT] = {"It was rejected for good; the relay would put it among the dead.",
			OB_EXIT_FAILURE},
    [OB_FATE_DOWN] =
	{"It was not delivered: the recipient is down. The relay would wait and try again.",
	 OB_EXIT_SINK},
    [OB_FATE_BLOCKED] = {"It was not delivered: nothing will be accepted until a person acts.",
			 OB_EXIT_SINK},
    [OB_FATE_RETURNED] = {"It was not tried within the time.", OB_EXIT_SINK},
};

static int64_t
now_ms(const struct ob_cli *cli)
{
	return cli->host->monotonic_us(cli->host->context) / 1000;
}

static int
sink_open(struct ob_cli *cli, struct ob_sink_handle *handle, struct ob_error *error)
{
	const struct test_sink_options *options = cli->options;
	struct ob_sink_options items;
	int rc = ob_sink_options_fill(&items, cli->arguments[0], &options->sink_options,
				      options->format, error);

	if (rc != OB_OK)
		return rc;
	rc = ob_sink_handle_init(handle, cli->arguments[0], items.items, items.count, cli->host,
				 error);
	if (rc == OB_OK)
		rc = ob_sink_handle_open(handle, "outbox-test", NULL, error);
	return rc;
}

/* Waits for the one receipt; what is not answered in time is given up and stays unknown. */
static void
receipt_await(struct ob_cli *cli, struct ob_sink *sink, struct ob_receipt *receipt)
{
	const struct test_sink_options *options = cli->options;
	int64_t end_ms = now_ms(cli) + options->timeout_ms;
	bool cancelled = false;

	if (sink->ops->flush != NULL)
		sink->ops->flush(sink);
	for (int rounds = 0; rounds < 100;) {
		int64_t left_ms = end_ms - now_ms(cli);

		if (left_ms <= 0 && !cancelled) {
			sink->ops->cancel(sink);
			cancelled = true;
		}
		rounds += cancelled;
		if (sink->ops->poll(sink, left_ms > 0 ? (int)left_ms : 10, receipt, 1) == 1)
			return;
	}
	*receipt = (struct ob_receipt){.code = "no_answer"};
}

static int
test_send(struct ob_cli *cli, struct ob_sink *sink, char id[OB_UUID_TEXT_SIZE],
	  struct ob_receipt *receipt, struct ob_error *error)
{
	static const char payload[] =
	    "{\"test\":true,\"text\":\"A test message of outbox test-sink\"}";
	static const char headers[] = "{\"outbox-test\":\"true\"}", json[] = "application/json",
			  type[] = "outbox.test";
	const struct test_sink_options *options = cli->options;
	struct ob_message message = {.topic = {options->topic, strlen(options->topic)},
				     .type = {type, sizeof(type) - 1},
				     .payload = {payload, sizeof(payload) - 1},
				     .content_type = {json, sizeof(json) - 1},
				     .headers = {headers, sizeof(headers) - 1},
				     .created_at_us = cli->host->wall_us(cli->host->context)};
	struct ob_delivery delivery = {.ticket = 1, .message = &message, .attempt = 1};
	size_t accepted = 0;
	int rc = ob_uuid7(id, error);

	if (rc != OB_OK)
		return rc;
	message.id = (struct ob_bytes){id, OB_UUID_TEXT_SIZE - 1};
	if (options->key != NULL)
		message.key = (struct ob_bytes){options->key, strlen(options->key)};
	sink->ops->submit(sink, &delivery, 1, &accepted);
	if (accepted != 1)
		return ob_error_set(error, OB_FAILED, "the sink takes no message");
	receipt_await(cli, sink, receipt);
	return OB_OK;
}

static int
verdict_print(struct ob_cli *cli, const char *id, const struct ob_receipt *receipt,
	      struct ob_error *error)
{
	const struct test_sink_options *options = cli->options;
	const char *code = receipt->code == NULL ? "" : receipt->code;
	const char *text = receipt->text == NULL ? "" : receipt->text;
	const char *mend = ob_mend_of(code);
	struct ob_json json;
	struct ob_buf why;
	int rc;

	cli->exit_status = verdicts[receipt->fate].exit_status;
	if (!options->json) {
		ob_buf_init(&why, 4096);
		(void)ob_log_escape(&why, text, strlen(text));
		(void)printf("Test message %s\n%s\n", id, verdicts[receipt->fate].words);
		if (code[0] != '\0')
			(void)printf("Reason: %s%s%s\n", code, why.size > 0 ? ": " : "",
				     ob_buf_text(&why));
		if (mend != NULL)
			(void)printf("Mend:   %s\n", mend);
		ob_buf_free(&why);
		return OB_OK;
	}
	ob_json_begin(&json);
	ob_json_open(&json, NULL, '{');
	ob_json_text(&json, "id", id);
	ob_json_text(&json, "outcome", ob_fate_name(receipt->fate));
	ob_json_text(&json, "code", code);
	ob_json_text(&json, "text", text);
	ob_json_text(&json, "meaning", verdicts[receipt->fate].words);
	ob_json_text(&json, "mend", mend);
	ob_json_close(&json, '}');
	rc = ob_json_print(&json, error);
	ob_json_free(&json);
	return rc;
}

static int
test_sink_run(struct ob_cli *cli, struct ob_error *error)
{
	struct ob_sink_handle handle = {0};
	struct ob_receipt receipt = {0};
	char id[OB_UUID_TEXT_SIZE];
	int rc = sink_open(cli, &handle, error);

	cli->asked_sink = true;
	if (rc == OB_OK)
		rc = test_send(cli, handle.sink, id, &receipt, error);
	if (rc == OB_OK)
		rc = verdict_print(cli, id, &receipt, error);
	ob_sink_handle_free(&handle);
	return rc;
}

const struct ob_command ob_cmd_test_sink = {
    .name = "test-sink",
    .group = "Set up",
    .summary = "Send one marked test message to a recipient and say what happened.",
    .usage = "SINK [--sink-option NAME=VALUE]...",
    .examples =
	"outbox test-sink https://shipping.example/orders\n"
	"outbox test-sink https://hooks.example/in --sink-option bearer-token-file=/etc/outbox/token",
    .notes =
	"The message has the type outbox.test and the header outbox-test: true. Ends with 0 when it was accepted, with 5\n"
	"when the recipient cannot be reached, with 1 when it said no.",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = test_sink_table,
    .options_size = sizeof(struct test_sink_options),
    .run = test_sink_run,
};
