/*
 * callback: hands each message to a function of the program that embeds the relay.
 *
 * Here is the form in which the function answers at once; for the one in which the program answers later
 * see callback_later.c.
 *
 * Kept: when the function says so (OB_FATE_SENT).
 * Duplicates: to be dropped by the message's id, best with the inbox in the function's own transaction.
 * Order: always. The function gets one message at a time; when one fails, those of its lane that were handed over
 * behind it are returned untried, and when nothing works at present, all are.
 *
 * The function runs inside poll, on the subscription's sending thread. Poll goes on to the next message until
 * SLICE_US have passed, so that a quick function costs no round through the engine for each message.
 */
#include <outbox/relay.h>
#include <outbox/sink.h>

#include <stdlib.h>
#include <string.h>

#include "callback_later.h"
#include "reason.h"
#include "sinks.h"
#include "tickets.h"
#include "wake.h"

#define SLICE_US 5000

struct callback_options {
	int64_t in_flight;
	int64_t timeout_ms;
};

/* What goes with a ticket, by its slot. Written by poll alone, so a receipt's texts stand until the next one. */
struct callback_detail {
	uint64_t lane;
	uint32_t attempt;
	bool skip; /* one before it in its lane failed, or nothing works */
};

struct callback_sink {
	struct ob_sink base;
	struct ob_callback callback;
	uint32_t in_flight;
	struct ob_tickets tickets;
	struct ob_wake wake;
	struct callback_detail *details; /* as many as tickets.slots */
	struct ob_reason *reasons;       /* the same */
	struct ob_later *later;          /* instead of all that, when the program answers later */
};

static const struct ob_option callback_option_table[] = {
    {.name = "in-flight",
     .type = OB_OPTION_INT,
     .default_text = "256",
     .help = "The most messages that wait for the function, or for its answers.",
     .field = offsetof(struct callback_options, in_flight),
     .min = 1,
     .max = OB_SINK_IN_FLIGHT_MAX},
    {.name = "request-timeout",
     .type = OB_OPTION_DURATION,
     .default_text = "15s",
     .help = "How long an answer that comes later may take.",
     .field = offsetof(struct callback_options, timeout_ms),
     .min = 1,
     .max = 86400000},
    {0},
};

static int
callback_open(struct ob_sink *sink, const struct ob_sink_config *config, struct ob_error *error)
{
	struct callback_sink *callback = (struct callback_sink *)sink;
	const struct callback_options *options = config->options;
	size_t slots;

	if (strcmp(config->url, "callback:") != 0)
		return ob_error_set(error, OB_CONFIG,
				    "sink %s: nothing may stand behind \"callback:\"", config->url);
	if (config->callback == NULL ||
	    (config->callback->deliver == NULL && config->callback->take == NULL))
		return ob_error_set(
		    error, OB_CONFIG,
		    "sink callback: there is no function to call; it is for programs that "
		    "embed the relay (outbox/relay.h)");
	callback->callback = *config->callback;
	callback->in_flight = (uint32_t)options->in_flight;
	if (callback->callback.take != NULL && callback->callback.deliver != NULL)
		return ob_error_set(
		    error, OB_CONFIG,
		    "sink callback: deliver answers at once, take later: give one of them");
	if (callback->callback.take != NULL)
		return ob_later_open(&callback->callback, sink->host, callback->in_flight,
				     options->timeout_ms, &callback->later, error);
	if (!ob_tickets_open(&callback->tickets, callback->in_flight))
		return ob_error_set(error, OB_NOMEM, "sink callback: no memory");
	slots = (size_t)callback->tickets.mask + 1;
	callback->details = calloc(slots, sizeof(callback->details[0]));
	callback->reasons = calloc(slots, sizeof(callback->reasons[0]));
	if (callback->details == NULL || callback->reasons == NULL)
		return ob_error_set(error, OB_NOMEM, "sink callback: no memory");
	return ob_wake_open(&callback->wake, error);
}

static void
callback_close(struct ob_sink *sink)
{
	struct callback_sink *callback = (struct callback_sink *)sink;

	ob_later_close(callback->later);
	callback->later = NULL;
	ob_wake_close(&callback->wake);
	ob_tickets_close(&callback->tickets);
	free(callback->details);
	free(callback->reasons);
	callback->details = NULL;
	callback->reasons = NULL;
}

static void
callback_limits(const struct ob_sink *sink, struct ob_sink_limits *limits)
{
	const struct callback_sink *callback = (const struct callback_sink *)sink;

	*limits = (struct ob_sink_limits){
	    .in_flight_max = callback->in_flight,
	    .order = callback->later != NULL ? OB_ORDER_NONE : OB_ORDER_ALWAYS,
	};
}

static void
callback_submit(struct ob_sink *sink, const struct ob_delivery *deliveries, size_t count,
		size_t *accepted)
{
	struct callback_sink *callback = (struct callback_sink *)sink;
	uint64_t first = callback->tickets.put;

	if (callback->later != NULL) {
		ob_later_submit(callback->later, deliveries, count, accepted);
		return;
	}
	*accepted = ob_tickets_put(&callback->tickets, deliveries, count);
	for (size_t i = 0; i < *accepted; i++)
		callback->details[(first + i) & callback->tickets.mask] = (struct callback_detail){
		    .lane = deliveries[i].lane,
		    .attempt = deliveries[i].attempt,
		};
}

/* After a failure: what stands behind it in its lane, or everything, is given back untried. */
static void
callback_skip(struct callback_sink *callback, uint64_t lane, bool all)
{
	const struct ob_tickets *tickets = &callback->tickets;

	for (uint64_t at = tickets->next; at != tickets->put; at++) {
		struct callback_detail *detail = &callback->details[at & tickets->mask];

		if (all || (lane != 0 && detail->lane == lane))
			detail->skip = true;
	}
}

/* Calls the function with the next message and answers its ticket. */
static void
callback_deliver(struct callback_sink *callback)
{
	uint64_t slot = callback->tickets.next & callback->tickets.mask;
	const struct callback_detail *detail = &callback->details[slot];
	struct ob_ticket *ticket = ob_tickets_next(&callback->tickets);
	struct ob_reason *reason = &callback->reasons[slot];
	struct ob_callback_delivery delivery = {.message = ticket->message,
						.attempt = detail->attempt};
	enum ob_fate fate = callback->callback.deliver(callback->callback.context, &delivery);

	if (fate == OB_FATE_SENT) {
		ob_tickets_answer(&callback->tickets, fate, true, NULL, NULL);
		return;
	}
	if (fate != OB_FATE_RETRY && fate != OB_FATE_REJECT && fate != OB_FATE_DOWN &&
	    fate != OB_FATE_BLOCKED)
		fate = OB_FATE_UNKNOWN;
	delivery.code[sizeof(delivery.code) - 1] = '\0';
	ob_reason_set_code(reason, delivery.code, "callback_failed");
	ob_reason_set_text(reason, delivery.text, strnlen(delivery.text, sizeof(delivery.text)));
	ticket->retry_after_ms = delivery.retry_after_ms;
	ob_tickets_answer(&callback->tickets, fate, false, reason->code, reason->text);
	callback_skip(callback, detail->lane, fate == OB_FATE_DOWN || fate == OB_FATE_BLOCKED);
}

static void
callback_work(struct callback_sink *callback, size_t capacity)
{
	const struct ob_host *host = callback->base.host;
	int64_t until_us = host->monotonic_us(host->context) + SLICE_US;

	do {
		const struct ob_tickets *tickets = &callback->tickets;

		if (ob_tickets_next(tickets) == NULL || ob_tickets_answered(tickets) >= capacity)
			return;
		if (callback->details[tickets->next & tickets->mask].skip)
			ob_tickets_answer(&callback->tickets, OB_FATE_RETURNED, false,
					  "after_failure", NULL);
		else
			callback_deliver(callback);
	} while (host->monotonic_us(host->context) < until_us);
}

static size_t
callback_poll(struct ob_sink *sink, int timeout_ms, struct ob_receipt *receipts, size_t capacity)
{
	struct callback_sink *callback = (struct callback_sink *)sink;

	if (callback->later != NULL)
		return ob_later_poll(callback->later, timeout_ms, receipts, capacity);
	if (ob_tickets_answered(&callback->tickets) == 0) {
		if (ob_tickets_next(&callback->tickets) != NULL)
			callback_work(callback, capacity);
		else if (timeout_ms != 0)
			ob_wake_wait(&callback->wake, timeout_ms);
	}
	return ob_tickets_take(&callback->tickets, receipts, capacity);
}

static void
callback_wake(struct ob_sink *sink)
{
	struct callback_sink *callback = (struct callback_sink *)sink;

	if (callback->later != NULL)
		ob_later_wake(callback->later);
	else
		ob_wake_ring(&callback->wake);
}

/* Between polls a ticket is either answered or the function never saw it. */
static void
callback_cancel(struct ob_sink *sink)
{
	struct callback_sink *callback = (struct callback_sink *)sink;

	if (callback->later != NULL)
		ob_later_cancel(callback->later);
	else
		ob_tickets_answer_all(&callback->tickets, OB_FATE_RETURNED, false, "cancelled",
				      NULL);
}

static const char *const callback_schemes[] = {"callback", NULL};

const struct ob_sink_ops ob_sink_callback = {
    .contract = OB_SINK_CONTRACT,
    .name = "callback",
    .schemes = callback_schemes,
    .help = "callback: calls a function of the program that embeds the relay",
    .options = callback_option_table,
    .options_size = sizeof(struct callback_options),
    .size = sizeof(struct callback_sink),
    .open = callback_open,
    .close = callback_close,
    .limits = callback_limits,
    .submit = callback_submit,
    .poll = callback_poll,
    .wake = callback_wake,
    .cancel = callback_cancel,
};
