/*
 * Running a relay inside a program: it reads committed messages from a store and hands them to a
 * sink, with the same code and the same promises as the command `outbox relay`.
 *
 *	struct ob_relay_subscription it;
 *	struct ob_relay *relay;
 *	struct ob_error error;
 *
 *	if (ob_relay_new(NULL, &relay, &error) != OB_OK) ...
 *	ob_relay_subscription_defaults(&it);
 *	it.name = "shipping";
 *	it.store_url = "sqlite:/srv/shop.db";
 *	it.sink_url = "https://shipping.example/orders";
 *	if (ob_relay_add(relay, &it, &error) != OB_OK || ob_relay_start(relay, &error) != OB_OK) ...
 *	... the program's own work ...
 *	ob_relay_drain(relay, 10000);
 *	ob_relay_wait(relay, -1, &error);
 *	ob_relay_free(relay);
 *
 * Threads: start makes two threads for each subscription (one that sends, one that talks to the
 * database) with all signals blocked but those of faults (SIGSEGV ...); where the store can split a
 * subscription into shards there is a third one, and two for each shard that is run here. Nothing in
 * here touches the process's signal handlers. drain, stop, reopen, poke, stats and wait may be called
 * from any thread between start and free, ob_callback_answer from any thread at any time, the others
 * from one thread at a time; none from a signal handler.
 *
 * fork: a child process must not touch a relay that its parent made, nor free it: it has none of
 * its threads, and an open database does not survive a fork. Fork before ob_relay_new, or exec in
 * the child.
 *
 * Memory: strings given to ob_relay_add are copied. Errors are told as in <outbox/error.h>.
 */
#ifndef OUTBOX_RELAY_H
#define OUTBOX_RELAY_H

#include <outbox/error.h>
#include <outbox/host.h>
#include <outbox/message.h>
#include <outbox/option.h>
#include <outbox/sink.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ob_relay;

/* ---- the sink `callback:`, a function of the program ---- */

/* One message, as the callback gets it. Everything lives for the duration of the call. */
struct ob_callback_delivery {
	const struct ob_message *message;
	uint32_t attempt; /* 1 for the first try */
	/* `deliver` fills these when its answer is not OB_FATE_SENT: a stable reason
	   ("stock_locked"), a line for people, and how long to wait at least (0: as the policy
	   says). Empty: "callback_failed". */
	char code[32];
	char text[96];
	uint32_t retry_after_ms;
};

/* A message that the program has taken and owes an answer to. */
struct ob_callback_ticket;

/*
 * One of the two functions, by when the program answers. Both are called on the subscription's
 * sending thread; of one with several shards each shard has a thread of its own, and calls overlap.
 *
 * An answer is OB_FATE_SENT: the program keeps the message; OB_FATE_UNKNOWN or OB_FATE_RETRY: it is
 * to come again; OB_FATE_REJECT: it never will be taken; OB_FATE_DOWN: nothing can be taken at
 * present; OB_FATE_BLOCKED: a person must act.
 */
struct ob_callback {
	void *context;
	/* Answers at once: one message at a time, in the order of each key. It may block, but while
	   it does nothing else of its subscription moves; longer than the lease, and another relay
	   may send the same. */
	enum ob_fate (*deliver)(void *context, struct ob_callback_delivery *delivery);
	/* Takes the message and returns soon; the answer comes by ob_callback_answer, for which
	   there is the sink's option request-timeout: a message without an answer by then is tried
	   again. Many messages may be out at once (option in-flight), but of one key only one: the
	   next is handed over once it was answered. What of the message is needed after the call must
	   be copied. */
	void (*take)(void *context, const struct ob_callback_delivery *delivery,
		     struct ob_callback_ticket *ticket);
};

/*
 * Answers a message that `take` got: once for each ticket, from any thread, also from within `take`,
 * and at any time, also after ob_relay_free; the ticket is gone then. Never blocks for long. `code`
 * and `text` are copied, may be NULL, and mean with `retry_after_ms` what they mean above.
 *
 * False: the answer came too late, and the message comes again or has come again, maybe in another
 * process: its time was up, the relay has ended or lost its lease. So work that must not be done
 * twice needs the message's id, as with any recipient; see <outbox/inbox.h>.
 *
 * A ticket that is never answered is kept for ever, and counts among those that may be out.
 */
OB_API bool ob_callback_answer(struct ob_callback_ticket *ticket, enum ob_fate fate,
			       const char *code, const char *text, uint32_t retry_after_ms);

/* ---- configuration ---- */

struct ob_relay_config {
	/* For people who look into the database; NULL: HOST:PID. */
	const char *owner;
	/* One line for people, no newline, no payload, no secret. From any of the relay's threads,
	   one at a time. NULL: nothing is said. It must not call into the relay. */
	void (*log)(void *context, enum ob_log_level level, const char *text);
	void *log_context;
	/* End by itself once everything that was committed is settled. Messages that wait for a
	   retry are waited for; dead ones, those of a key that is held until a person acts, and
	   scheduled ones (deliver_after) are not. */
	bool until_idle;
};

/* Fill it by ob_relay_subscription_defaults first, then change what is to be different. */
struct ob_relay_subscription {
	const char *name;                 /* as OB_SUBSCRIPTION_NAME_MAX says; required */
	const char *store_url;            /* required */
	const char *const *store_options; /* "NAME=VALUE" */
	size_t store_option_count;
	const char *sink_url;            /* required; "callback:" for a function of the program */
	const char *const *sink_options; /* "NAME=VALUE" */
	size_t sink_option_count;
	struct ob_callback callback; /* for "callback:" alone */
	const char *topics;          /* comma separated patterns; "*": all */

	/* From here on each field has an option of the same name in ob_relay_options. */
	int order_by; /* enum ob_order_by */
	int64_t
	    shards; /* into how many it is split by key; 0: as many as it has, one if it is new */
	bool from_now;       /* a new subscription starts behind what is there */
	bool hold_key;       /* a dead message holds its key until a person acts */
	bool reject_retries; /* what the recipient rejects is tried again like any failure */
	int64_t retry_first_ms;
	int64_t retry_max_ms;
	int64_t retry_jitter; /* percent */
	int64_t attempts_max; /* 0: not limited by number */
	int64_t age_max_ms;   /* 0: not limited by age */
	int64_t lease_ms;
	int64_t window_count;
	int64_t window_bytes;
	int64_t in_flight; /* the sink's own limit holds, too */
	int64_t settle_every_ms;
	int64_t park_after_ms;
	int64_t probe_first_ms;
	int64_t probe_max_ms;
	int64_t storm_limit; /* failures in a row that count as down; 0: never */
	int64_t parked_max;
	int64_t parked_of_key_max;
	int64_t parked_keys_max;
	int64_t scheduled_max;
	int64_t dead_max;
};

/* The options of a subscription as data, with fields of struct ob_relay_subscription:
 * "retry-first", "lease" ... */
OB_API extern const struct ob_option ob_relay_options[];

OB_API void ob_relay_subscription_defaults(struct ob_relay_subscription *subscription);

/* ---- running ---- */

/* `config` may be NULL. Starts nothing. */
OB_API int ob_relay_new(const struct ob_relay_config *config, struct ob_relay **relay,
			struct ob_error *error);

/* Before start. Checks what can be checked without asking anyone: OB_CONFIG, OB_USAGE. */
OB_API int ob_relay_add(struct ob_relay *relay, const struct ob_relay_subscription *subscription,
			struct ob_error *error);

/* Opens all sinks and stores and starts to work. Returns when each store has answered; whether a
   recipient is there is no condition. A store that is busy, or cannot be used for the moment, is
   waited for by the relay itself, which says so in its log, and in its stats ("starting", with why);
   with `until_idle` for five seconds only, and then that is a failure. On failure nothing runs and
   the relay can only be freed. */
OB_API int ob_relay_start(struct ob_relay *relay, struct ob_error *error);

/* Reads no more, finishes what is in flight within `deadline_ms`, settles what is known, gives up
   the leases, so that the next relay need not wait, and ends. Returns at once: see ob_relay_wait. A
   later call can only shorten the deadline. */
OB_API void ob_relay_drain(struct ob_relay *relay, int64_t deadline_ms);

/* Ends as soon as the calls under way return. What was in flight may be sent again by the next
 * relay. */
OB_API void ob_relay_stop(struct ob_relay *relay);

/* Opens files and certificates of the sinks again (what SIGHUP asks for). */
OB_API void ob_relay_reopen(struct ob_relay *relay);

/* The recipient is mended: try it now instead of waiting for the next probe. NULL: of all
 * subscriptions. */
OB_API void ob_relay_poke(struct ob_relay *relay, const char *subscription);

/* Waits until all subscriptions have ended, at most `timeout_ms` (-1: for ever). OB_OK, OB_BUSY
   when the time is up, or the code and text of the first subscription that ended by an error
   (OB_UNREACHABLE: its recipient is gone for good, as the reader of `stdout:` may be). */
OB_API int ob_relay_wait(struct ob_relay *relay, int64_t timeout_ms, struct ob_error *error);

/* A descriptor that becomes readable when all subscriptions have ended, for programs with a loop of
   their own. It belongs to the relay: only poll it. */
OB_API int ob_relay_fd(const struct ob_relay *relay);

/* Stops what still runs, waits for it, releases everything. `relay` may be NULL. */
OB_API void ob_relay_free(struct ob_relay *relay);

/* What a shard of a subscription does, as of a few milliseconds ago. */
struct ob_relay_stats {
	char name[65];
	uint32_t shard;  /* 0, 1, 2 ... */
	uint32_t shards; /* of the subscription; 0: not known yet */
	char state[16]; /* "starting", "standby", "running", "paused", "down", "blocked", "full" ...
			   "ended" */
	char code[32];  /* why; "" when there is nothing to explain */
	char text[96];
	int64_t state_since_ms; /* ago */
	/* Counts since start. */
	uint64_t retried; /* tries of what had been tried before, whatever came of either */
	uint64_t fetched, sent, rejected, unknown, parked, unparked, scheduled, dead, settles;
	uint64_t late_receipts, store_errors, reconnects, trimmed;
	/* At present. */
	uint64_t window_rows, window_bytes, in_flight, parked_rows, scheduled_rows, dead_rows;
};

/* The number of shards of all subscriptions, of most of which there is one, and the `index`th one's stats: first those of
   the first subscription. Of a subscription that is split among several relays all shards are listed; those that others
   run are "standby", with the counts of what this relay did for them. The number changes when that of a subscription's
   shards does. OB_NOT_FOUND past the end. */
OB_API size_t ob_relay_count(const struct ob_relay *relay);
OB_API int ob_relay_stats(struct ob_relay *relay, size_t index, struct ob_relay_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
