/*
 * null: takes everything and keeps nothing. Measures how fast the rest is, and is the one to read
 * before writing a sink: nothing here but what each sink must do.
 */
#include <outbox/sink.h>

#include <string.h>

#include "sinks.h"
#include "tickets.h"
#include "wake.h"

struct null_options {
	int64_t in_flight;
};

struct null_sink {
	struct ob_sink base; /* first: the relay knows the instance by it */
	struct ob_tickets tickets;
	struct ob_wake wake;
};

static const struct ob_option null_option_table[] = {
    {.name = "in-flight",
     .type = OB_OPTION_INT,
     .default_text = "4096",
     .help = "The most messages at once.",
     .field = offsetof(struct null_options, in_flight),
     .min = 1,
     .max = OB_SINK_IN_FLIGHT_MAX},
    {0},
};

static int
null_open(struct ob_sink *sink, const struct ob_sink_config *config, struct ob_error *error)
{
	struct null_sink *null = (struct null_sink *)sink;
	const struct null_options *options = config->options;

	if (strcmp(config->url, "null:") != 0)
		return ob_error_set(error, OB_CONFIG, "sink %s: nothing may stand behind \"null:\"",
				    config->url);
	if (!ob_tickets_open(&null->tickets, (uint32_t)options->in_flight))
		return ob_error_set(error, OB_NOMEM, "sink null: no memory");
	return ob_wake_open(&null->wake, error);
}

static void
null_close(struct ob_sink *sink)
{
	struct null_sink *null = (struct null_sink *)sink;

	ob_wake_close(&null->wake);
	ob_tickets_close(&null->tickets);
}

/* Nothing fails here, so nothing arrives behind one that failed: the order is always kept. */
static void
null_limits(const struct ob_sink *sink, struct ob_sink_limits *limits)
{
	const struct null_sink *null = (const struct null_sink *)sink;

	*limits = (struct ob_sink_limits){
	    .in_flight_max = null->tickets.capacity,
	    .order = OB_ORDER_ALWAYS,
	};
}

/* Taking a message is all it takes to send it to nowhere. */
static void
null_submit(struct ob_sink *sink, const struct ob_delivery *deliveries, size_t count,
	    size_t *accepted)
{
	struct null_sink *null = (struct null_sink *)sink;

	*accepted = ob_tickets_put(&null->tickets, deliveries, count);
	ob_tickets_answer_all(&null->tickets, OB_FATE_SENT, true, NULL, NULL);
}

static size_t
null_poll(struct ob_sink *sink, int timeout_ms, struct ob_receipt *receipts, size_t capacity)
{
	struct null_sink *null = (struct null_sink *)sink;

	/* A call from another thread cannot bring a receipt, so one wait is enough. */
	if (ob_tickets_answered(&null->tickets) == 0 && timeout_ms != 0)
		ob_wake_wait(&null->wake, timeout_ms);
	return ob_tickets_take(&null->tickets, receipts, capacity);
}

static void
null_wake(struct ob_sink *sink)
{
	ob_wake_ring(&((struct null_sink *)sink)->wake);
}

/* Every ticket has its answer already: the next polls give them out. */
static void
null_cancel(struct ob_sink *sink)
{
	(void)sink;
}

static const char *const null_schemes[] = {"null", NULL};

const struct ob_sink_ops ob_sink_null = {
    .contract = OB_SINK_CONTRACT,
    .name = "null",
    .schemes = null_schemes,
    .help = "null: takes every message and keeps none",
    .options = null_option_table,
    .options_size = sizeof(struct null_options),
    .size = sizeof(struct null_sink),
    .open = null_open,
    .close = null_close,
    .limits = null_limits,
    .submit = null_submit,
    .poll = null_poll,
    .wake = null_wake,
    .cancel = null_cancel,
};
