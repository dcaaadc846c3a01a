/*
 * The contract of a sink: a kind of recipient.
 *
 * A sink is one constant table `struct ob_sink_ops` and one instance struct that begins with
 * `struct ob_sink`. All calls come from one thread, but `wake`, which any thread may make. Nothing but
 * `open`, `poll`, `check` and `close` may block, and these no longer than the time they are given (close:
 * five seconds).
 *
 * The life of a delivery: `submit` hands over a message under a ticket; the sink holds on to it and `poll`
 * gives back exactly one receipt for that ticket, at some time and in any order. Message and bytes stay valid
 * until its receipt was given back. The sink does not retry by itself, it reorders nothing that its
 * declared order forbids, and it says "sent" only once the recipient confirmed that it keeps the
 * message (DESIGN: nothing less counts). Zero is the safe value: a receipt left at zero is "unknown".
 *
 * What happens when things fail: whatever the recipient or its client library does, each accepted ticket gets
 * its receipt by its deadline (the sink's request time-out) or, after `cancel`, by the next polls. After
 * `close` no receipt comes and every ticket's outcome is unknown.
 */
#ifndef OUTBOX_SINK_H
#define OUTBOX_SINK_H

#include <outbox/error.h>
#include <outbox/host.h>
#include <outbox/message.h>
#include <outbox/option.h>
#include <outbox/report.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OB_SINK_CONTRACT 2

enum ob_fate {
	OB_FATE_UNKNOWN = 0, /* may or may not have arrived; retried, counts as a try */
	OB_FATE_SENT,        /* the recipient confirmed that it keeps the message */
	OB_FATE_RETRY,       /* this message may work later; counts as a try */
	OB_FATE_REJECT,      /* this message never will */
	OB_FATE_DOWN,        /* nothing works at present; uses up no try */
	OB_FATE_BLOCKED,     /* nothing will work until a person acts: a missing topic, a right */
	OB_FATE_RETURNED, /* not tried: given back by cancel, or because an earlier one of its key failed */
};

struct ob_receipt {
	uint64_t ticket;
	enum ob_fate fate;
	/* With DOWN: the message had been handed over when the recipient went away, so it may be the cause.
	   False: it never left (connection refused, name not found). */
	bool reached;
	/* What the recipient asked for (Retry-After), already clamped by the sink; 0: nothing. */
	uint32_t retry_after_ms;
	/* Stable reason, lower case: "http_422", "connect_refused". NULL with SENT. Lists are grouped by it. */
	const char *code;
	/* One line for a person, no secrets, UTF-8 without control characters; may be NULL. `code` and `text`
	   live until the next call of poll, cancel or close. */
	const char *text;
};

/* How far a key's order is kept with several of its messages in flight. */
enum ob_sink_order {
	OB_ORDER_NONE = 0,
	OB_ORDER_UNLESS_FAILURE, /* kept, but a message whose predecessor fails may arrive all the same */
	OB_ORDER_ALWAYS, /* kept also when one fails: its successors in flight fail or are returned */
};

struct ob_sink_limits {
	uint64_t
	    message_bytes_max; /* of the payload; 0: none known. A greater one is rejected by submit's receipt */
	uint32_t in_flight_max; /* the most tickets at once; at least 1 */
	enum ob_sink_order order;
};

struct ob_delivery {
	uint64_t ticket;
	const struct ob_message *message;
	uint64_t lane;    /* equal for messages that must keep their order; 0: none */
	uint32_t attempt; /* 1 for the first try */
};

struct ob_sink {
	const struct ob_sink_ops *ops;
	const struct ob_host *host;
};

struct ob_sink_config {
	const char *url;          /* as the user wrote it */
	const void *options;      /* the sink's options struct, filled from its table */
	const char *subscription; /* its name, for sinks that tell the recipient */
	/* For `callback:` alone: the embedding program's function, see <outbox/relay.h>; else NULL. */
	const struct ob_callback *callback;
};

struct ob_sink_ops {
	unsigned contract; /* OB_SINK_CONTRACT */
	const char *name;
	const char *const *schemes; /* URL schemes without the colon, NULL at the end */
	const char *help;           /* one line, with the form of the URL */
	const struct ob_option *options;
	size_t options_size;
	size_t size; /* of the instance, which is zeroed before open */

	/* Checks URL and options and gets ready; need not reach the recipient (that it is down is no error here).
	   OB_CONFIG with what, where and how to mend it. After a failed open, close is still called. */
	int (*open)(struct ob_sink *sink, const struct ob_sink_config *config,
		    struct ob_error *error);
	/* Safe at any point, also after a failed or no open. */
	void (*close)(struct ob_sink *sink);
	void (*limits)(const struct ob_sink *sink, struct ob_sink_limits *limits);
	/* Takes the first `*accepted` of `count` deliveries, in order, and returns at once; fewer than count
	   means full at present. A message that this sink cannot carry is accepted and gets a REJECT receipt. */
	void (*submit)(struct ob_sink *sink, const struct ob_delivery *deliveries, size_t count,
		       size_t *accepted);
	/* Waits until there is a receipt, `wake` was called, or `timeout_ms` have passed (0: does not wait), and writes at
	   most `capacity` receipts. Also does the sink's own work: call it even when nothing is in flight.
	   Returns the number of receipts written. */
	size_t (*poll)(struct ob_sink *sink, int timeout_ms, struct ob_receipt *receipts,
		       size_t capacity);
	/* Ends a poll that waits, or the next one, at once. From any thread. */
	void (*wake)(struct ob_sink *sink);
	/* No more submits will come for now: send at once what waits to be batched. May be NULL. */
	void (*flush)(struct ob_sink *sink);
	/* Give up everything: the next polls return a receipt for every ticket without waiting, RETURNED for
	   what was never handed over, UNKNOWN for what may have been. */
	void (*cancel)(struct ob_sink *sink);
	/* Says what is wrong with the recipient's set-up; sends no message. May be NULL. */
	int (*check)(struct ob_sink *sink, int timeout_ms, const struct ob_report *report,
		     struct ob_error *error);
	/* Open files and certificates again (SIGHUP). May be NULL. */
	void (*reopen)(struct ob_sink *sink);
	/* Whether the recipient went away for good, as of the last poll: whoever reads a pipe that was inherited does not
	   come back. The relay then settles what is known and ends the subscription, with this code and text. OB_OK: no.
	   NULL: a recipient that is away may always come back. */
	int (*gone)(const struct ob_sink *sink, struct ob_error *error);
};

/* "sent", "retry" ... Never NULL. */
OB_API const char *ob_fate_name(enum ob_fate fate);

#ifdef __cplusplus
}
#endif
#endif
