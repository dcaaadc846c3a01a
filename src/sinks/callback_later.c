/*
 * Messages that the program takes now and answers later, from any of its threads.
 *
 *	free ─submit─▶ waiting ─poll─▶ with the program ─answer─▶ answered ─poll─▶ free
 *	                                     │ too late, or cancelled
 *	                                     └────────▶ answered (unknown) ─poll─▶ with the program, for nothing ─answer─▶ free
 *
 * A ticket is the program's until it answers, whatever the relay has made of the message meanwhile. So one that was given up still
 * takes its place among those that may be out: a program that is overrun is not given more. And it keeps all of this in
 * memory, past the end of the relay, so that an answer may come at any time.
 *
 * The lock is over everything. It is not held while the program's function runs, which may answer at once.
 */
#include "callback_later.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "list.h"
#include "reason.h"
#include "wake.h"

#define SLICE_US 5000

struct ob_callback_ticket {
	struct ob_list link; /* in one of the lists below; in none: with the program, for nothing */
	struct ob_later *later;
	const struct ob_message *message; /* until its receipt */
	struct ob_receipt receipt;
	struct ob_reason reason;
	uint32_t attempt;
	int64_t until_us; /* the program has so long */
	bool held;        /* by the program */
	bool given_up;    /* its answer is not awaited any more */
};

struct ob_later {
	struct ob_callback callback;
	const struct ob_host *host;
	int64_t timeout_us;
	struct ob_callback_ticket *tickets;

	pthread_mutex_t lock;
	/* Below: under the lock. */
	struct ob_wake wake;
	bool closed;
	uint32_t held_count;
	bool told; /* that the program keeps all that was given up */
	struct ob_list unused, waiting, awaited, answered;
};

static int64_t
now_us(const struct ob_later *later)
{
	return later->host->monotonic_us(later->host->context);
}

static struct ob_callback_ticket *
ticket_at(struct ob_list *link)
{
	return link == NULL ? NULL : OB_CONTAINER_OF(link, struct ob_callback_ticket, link);
}

static void
later_free(struct ob_later *later)
{
	ob_wake_close(&later->wake);
	pthread_mutex_destroy(&later->lock);
	free(later->tickets);
	free(later);
}

int
ob_later_open(const struct ob_callback *callback, const struct ob_host *host, uint32_t capacity,
	      int64_t timeout_ms, struct ob_later **out, struct ob_error *error)
{
	struct ob_later *later = calloc(1, sizeof(*later));
	int code;

	*out = NULL;
	if (later == NULL)
		return ob_error_set(error, OB_NOMEM, "sink callback: no memory");
	later->callback = *callback;
	later->host = host;
	later->timeout_us = timeout_ms * 1000;
	pthread_mutex_init(&later->lock, NULL);
	ob_list_init(&later->unused);
	ob_list_init(&later->waiting);
	ob_list_init(&later->awaited);
	ob_list_init(&later->answered);
	later->tickets = calloc(capacity, sizeof(later->tickets[0]));
	code = later->tickets == NULL ? ob_error_set(error, OB_NOMEM, "sink callback: no memory")
				      : ob_wake_open(&later->wake, error);
	if (code != OB_OK) {
		later_free(later);
		return code;
	}
	for (uint32_t i = 0; i < capacity; i++) {
		later->tickets[i].later = later;
		ob_list_push_back(&later->unused, &later->tickets[i].link);
	}
	*out = later;
	return OB_OK;
}

void
ob_later_close(struct ob_later *later)
{
	bool last;

	if (later == NULL)
		return;
	pthread_mutex_lock(&later->lock);
	later->closed = true;
	ob_wake_close(&later->wake);
	last = later->held_count == 0;
	pthread_mutex_unlock(&later->lock);
	if (last)
		later_free(later);
}

/* Under the lock: nothing can be taken, since the program keeps all that there may be, and nothing is awaited. */
static bool
is_starved(const struct ob_later *later)
{
	return ob_list_is_empty(&later->unused) && ob_list_is_empty(&later->waiting) &&
	       ob_list_is_empty(&later->awaited) && ob_list_is_empty(&later->answered);
}

void
ob_later_submit(struct ob_later *later, const struct ob_delivery *deliveries, size_t count,
		size_t *accepted)
{
	struct ob_callback_ticket *ticket;
	bool tell;

	*accepted = 0;
	pthread_mutex_lock(&later->lock);
	tell = is_starved(later) && !later->told;
	later->told = later->told || tell;
	while (*accepted < count &&
	       (ticket = ticket_at(ob_list_pop_front(&later->unused))) != NULL) {
		const struct ob_delivery *delivery = &deliveries[(*accepted)++];

		ticket->message = delivery->message;
		ticket->attempt = delivery->attempt;
		ticket->receipt = (struct ob_receipt){.ticket = delivery->ticket};
		ticket->given_up = false;
		ob_list_push_back(&later->waiting, &ticket->link);
	}
	pthread_mutex_unlock(&later->lock);
	/* It could be for ever. */
	if (tell)
		later->host->log(later->host->context, OB_LOG_WARN,
				 "sink callback: messages that were given up are all still with "
				 "the program, which gets no other before it answers one");
}

/* Under the lock: the ticket, which waits or is awaited, has its receipt. */
static void
settle_for(struct ob_callback_ticket *ticket, enum ob_fate fate, const char *code)
{
	struct ob_later *later = ticket->later;

	ticket->receipt.fate = fate;
	ticket->receipt.code = code;
	ticket->given_up = ticket->held;
	ob_list_remove(&ticket->link);
	ob_list_push_back(&later->answered, &ticket->link);
}

static void
give_up_late_ones(struct ob_later *later)
{
	struct ob_callback_ticket *ticket;
	int64_t now = now_us(later);

	while ((ticket = ticket_at(ob_list_first(&later->awaited))) != NULL &&
	       ticket->until_us <= now)
		settle_for(ticket, OB_FATE_UNKNOWN, "no_answer");
}

/* Under the lock, which is let go while the function runs. */
static void
hand_over(struct ob_later *later, struct ob_callback_ticket *ticket)
{
	const struct ob_callback_delivery delivery = {.message = ticket->message,
						      .attempt = ticket->attempt};

	ticket->held = true;
	ticket->until_us = now_us(later) + later->timeout_us;
	later->held_count++;
	ob_list_push_back(&later->awaited, &ticket->link);
	pthread_mutex_unlock(&later->lock);
	later->callback.take(later->callback.context, &delivery, ticket);
	pthread_mutex_lock(&later->lock);
}

/* Under the lock, as above: hands over what waits, for a while. */
static void
hand_over_all(struct ob_later *later)
{
	int64_t until_us = now_us(later) + SLICE_US;
	struct ob_callback_ticket *ticket;

	while ((ticket = ticket_at(ob_list_pop_front(&later->waiting))) != NULL) {
		hand_over(later, ticket);
		if (now_us(later) >= until_us)
			return;
	}
}

/* Under the lock: no longer than until the next answer is late. */
static int
wait_ms(const struct ob_later *later, int timeout_ms)
{
	const struct ob_callback_ticket *ticket = ticket_at(ob_list_first(&later->awaited));
	int64_t left_ms;

	if (ticket == NULL)
		return timeout_ms;
	left_ms = (ticket->until_us - now_us(later) + 999) / 1000;
	left_ms = left_ms > 0 ? left_ms : 0;
	return left_ms < timeout_ms ? (int)left_ms : timeout_ms;
}

static size_t
receipts_take(struct ob_later *later, struct ob_receipt *receipts, size_t capacity)
{
	struct ob_callback_ticket *ticket;
	size_t count = 0;

	while (count < capacity &&
	       (ticket = ticket_at(ob_list_pop_front(&later->answered))) != NULL) {
		receipts[count++] = ticket->receipt;
		if (!ticket->held)
			ob_list_push_back(&later->unused, &ticket->link);
	}
	return count;
}

size_t
ob_later_poll(struct ob_later *later, int timeout_ms, struct ob_receipt *receipts, size_t capacity)
{
	size_t count;

	pthread_mutex_lock(&later->lock);
	hand_over_all(later);
	give_up_late_ones(later);
	if (timeout_ms != 0 && ob_list_is_empty(&later->answered) &&
	    ob_list_is_empty(&later->waiting)) {
		int time = wait_ms(later, timeout_ms);

		/* An answer that comes from here on rings. */
		pthread_mutex_unlock(&later->lock);
		ob_wake_wait(&later->wake, time);
		pthread_mutex_lock(&later->lock);
		give_up_late_ones(later);
	}
	count = receipts_take(later, receipts, capacity);
	pthread_mutex_unlock(&later->lock);
	return count;
}

void
ob_later_wake(struct ob_later *later)
{
	ob_wake_ring(&later->wake);
}

void
ob_later_cancel(struct ob_later *later)
{
	struct ob_callback_ticket *ticket;

	pthread_mutex_lock(&later->lock);
	while ((ticket = ticket_at(ob_list_first(&later->waiting))) != NULL)
		settle_for(ticket, OB_FATE_RETURNED, "cancelled");
	while ((ticket = ticket_at(ob_list_first(&later->awaited))) != NULL)
		settle_for(ticket, OB_FATE_UNKNOWN, "cancelled");
	pthread_mutex_unlock(&later->lock);
}

/* ---- the program's side ---- */

static enum ob_fate
fate_of_answer(enum ob_fate fate)
{
	switch (fate) {
	case OB_FATE_SENT:
	case OB_FATE_RETRY:
	case OB_FATE_REJECT:
	case OB_FATE_DOWN:
	case OB_FATE_BLOCKED:
		return fate;
	case OB_FATE_UNKNOWN:
	case OB_FATE_RETURNED:
		break;
	}
	return OB_FATE_UNKNOWN;
}

/* Under the lock: the answer, in the form of a receipt. */
static void
receipt_fill(struct ob_callback_ticket *ticket, enum ob_fate fate, const char *code,
	     const char *text, uint32_t retry_after_ms)
{
	struct ob_reason *reason = &ticket->reason;

	settle_for(ticket, fate_of_answer(fate), NULL);
	if (fate == OB_FATE_SENT)
		return;
	ob_reason_set_code(reason, code != NULL ? code : "", "callback_failed");
	ob_reason_set_text(reason, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
	ticket->receipt.code = reason->code;
	ticket->receipt.text = reason->text;
	ticket->receipt.retry_after_ms = retry_after_ms;
}

bool
ob_callback_answer(struct ob_callback_ticket *ticket, enum ob_fate fate, const char *code,
		   const char *text, uint32_t retry_after_ms)
{
	struct ob_later *later = ticket->later;
	bool counts, last;

	pthread_mutex_lock(&later->lock);
	OB_CHECK(ticket->held);
	ticket->held = false;
	later->held_count--;
	counts = !ticket->given_up && !later->closed;
	if (counts) {
		receipt_fill(ticket, fate, code, text, retry_after_ms);
		ob_wake_ring(&later->wake);
	} else if (ob_list_is_empty(&ticket->link)) {
		ob_list_push_back(&later->unused, &ticket->link);
		later->told = false;
	}
	last = later->closed && later->held_count == 0;
	pthread_mutex_unlock(&later->lock);
	if (last)
		later_free(later);
	return counts;
}
