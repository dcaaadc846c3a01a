/*
 * Drives the HTTP sink for tests/contract/http/test_http.py: reads commands from stdin, a line each, and prints receipts.
 *
 * usage: sink-driver URL [OPTION=VALUE...]
 *
 *	send ID KEY LANE ATTEMPT TYPE HEADERS PAYLOAD	fields in hexadecimal, "-": absent; LANE and ATTEMPT decimal
 *	flush | cancel | reopen
 *	poll		polls for a moment
 *	wait N		polls until N receipts were given out in all, at most 30 s
 *
 * Prints "open CODE TEXT" if it cannot open, "log ...", and for each receipt
 * "ID FATE CODE REACHED RETRY_AFTER_MS TEXT" with "-" for what is absent.
 */
#include <assert.h>
#include <inttypes.h>
#include <outbox/sink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hex.h"
#include "options.h"
#include "sinks.h"

#define MESSAGES_MAX 4096
#define FIELDS       5

struct driven {
	struct ob_message message;
	struct ob_buf fields[FIELDS]; /* id, key, type, headers, payload */
};

static struct driven messages[MESSAGES_MAX];
static size_t sent_count, receipt_count;
static struct ob_sink *sink;

static int64_t
clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t
host_monotonic(void *context)
{
	(void)context;
	return clock_us(CLOCK_MONOTONIC);
}

static int64_t
host_wall(void *context)
{
	(void)context;
	return clock_us(CLOCK_REALTIME);
}

static void
host_random(void *context, void *bytes, size_t size)
{
	(void)context;
	memset(bytes, 9, size);
}

static void
host_log(void *context, enum ob_log_level level, const char *text)
{
	(void)context;
	(void)level;
	printf("log %s\n", text);
}

static struct ob_bytes
field_of(struct ob_buf *buf, const char *text)
{
	if (strcmp(text, "-") == 0)
		return (struct ob_bytes){NULL, 0};
	ob_buf_init(buf, (size_t)64 * 1024 * 1024);
	assert(strcmp(text, ".") == 0 || ob_hex_decode(buf, text, strlen(text)));
	return (struct ob_bytes){ob_buf_text(buf), buf->size};
}

static void
poll_once(int timeout_ms)
{
	struct ob_receipt receipts[64];
	size_t count = sink->ops->poll(sink, timeout_ms, receipts, 64);

	for (size_t i = 0; i < count; i++) {
		const struct ob_message *message = &messages[receipts[i].ticket].message;

		for (size_t at = 0; at < message->id.size; at++) {
			unsigned char c = ((const unsigned char *)message->id.data)[at];

			putchar(c > 0x20 && c < 0x7f ? c : '?');
		}
		printf(" %s %s %d %" PRIu32 " %s\n", ob_fate_name(receipts[i].fate),
		       receipts[i].code != NULL ? receipts[i].code : "-", receipts[i].reached,
		       receipts[i].retry_after_ms,
		       receipts[i].text != NULL ? receipts[i].text : "-");
	}
	receipt_count += count;
	fflush(stdout);
}

static void
do_send(char *line)
{
	struct driven *it = &messages[sent_count];
	const char *words[7];
	struct ob_delivery delivery = {.ticket = sent_count, .message = &it->message};
	size_t accepted = 0;

	assert(sent_count < MESSAGES_MAX);
	for (size_t i = 0; i < 7; i++) {
		words[i] = strsep(&line, " ");
		assert(words[i] != NULL);
	}
	it->message =
	    (struct ob_message){.topic = {"orders", 6}, .created_at_us = INT64_C(1767225600000000)};
	it->message.id = field_of(&it->fields[0], words[0]);
	it->message.key = field_of(&it->fields[1], words[1]);
	it->message.type = field_of(&it->fields[2], words[4]);
	it->message.headers = field_of(&it->fields[3], words[5]);
	it->message.payload = field_of(&it->fields[4], words[6]);
	delivery.lane = strtoull(words[2], NULL, 10);
	delivery.attempt = (uint32_t)strtoul(words[3], NULL, 10);
	sent_count++;
	while (accepted == 0) {
		sink->ops->submit(sink, &delivery, 1, &accepted);
		if (accepted == 0)
			poll_once(50);
	}
}

static void
do_wait(size_t count)
{
	int64_t until_us = clock_us(CLOCK_MONOTONIC) + 30000000;

	while (receipt_count < count && clock_us(CLOCK_MONOTONIC) < until_us)
		poll_once(100);
	printf("waited %zu\n", receipt_count);
	fflush(stdout);
}

static void
do_line(char *line)
{
	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, "send ", 5) == 0)
		do_send(line + 5);
	else if (strncmp(line, "wait ", 5) == 0)
		do_wait(strtoul(line + 5, NULL, 10));
	else if (strcmp(line, "poll") == 0)
		poll_once(50);
	else if (strcmp(line, "flush") == 0)
		sink->ops->flush(sink);
	else if (strcmp(line, "cancel") == 0)
		sink->ops->cancel(sink);
	else if (strcmp(line, "reopen") == 0)
		sink->ops->reopen(sink);
	else
		abort();
}

int
main(int argc, char **argv)
{
	static const struct ob_host host = {.monotonic_us = host_monotonic,
					    .wall_us = host_wall,
					    .random = host_random,
					    .log = host_log};
	const struct ob_sink_ops *ops = &ob_sink_http;
	struct ob_error error = {0};
	struct ob_options options;
	void *values = calloc(1, ops->options_size);
	struct ob_sink_config config = {.options = values, .subscription = "test"};
	char *line = NULL;
	size_t size = 0;
	int code;

	sink = calloc(1, ops->size);
	assert(argc >= 2);
	assert(sink != NULL && values != NULL);
	sink->ops = ops;
	sink->host = &host;
	config.url = argv[1];
	code = ob_options_begin(&options, "sink http", ops->options, values, &error);
	for (int i = 2; i < argc && code == OB_OK; i++)
		code = ob_options_set_pair(&options, argv[i], &error);
	if (code == OB_OK)
		code = ops->open(sink, &config, &error);
	if (code == OB_OK) {
		while (getline(&line, &size, stdin) > 0)
			do_line(line);
	} else {
		printf("open %s %s\n", ob_code_name((enum ob_code)code), error.text);
	}
	ops->close(sink);
	ob_options_free(ops->options, values);
	for (size_t i = 0; i < sent_count; i++)
		for (size_t field = 0; field < FIELDS; field++)
			ob_buf_free(&messages[i].fields[field]);
	free(values);
	free(sink);
	free(line);
	return 0;
}
