/*
 * Deliveries: what is handed to the sink, and its receipts.
 *
 * Each delivery in flight has a slot and a ticket: the slot's number and, above it, a number that never
 * comes again. So a receipt that comes after its delivery was given up, for whatever has the slot by then,
 * is known as late: it is counted and nothing is concluded from it. A delivery that is given up keeps its slot,
 * and its batch, until its receipt comes (a ghost), since the sink may still read the bytes.
 */
#include <stdlib.h>

#include "core.h"

#define SLOT_BITS        20
#define SLOT_NONE        UINT32_MAX
#define RETURNED_WAIT_MS 20

bool
ob_delivery_init(struct ob_engine *engine)
{
	struct submitting *submitting = &engine->submitting;
	uint32_t most = engine->config.submit_count_max;

	engine->flights_size = engine->config.in_flight_max;
	engine->flights = calloc(engine->flights_size, sizeof(*engine->flights));
	engine->flights_free = SLOT_NONE;
	engine->ticket_next = 1;
	submitting->deliveries = calloc(most, sizeof(*submitting->deliveries));
	submitting->flights = calloc(most, sizeof(struct flight *));
	return engine->flights != NULL && submitting->deliveries != NULL &&
	       submitting->flights != NULL;
}

void
ob_delivery_free(struct ob_engine *engine)
{
	free(engine->flights);
	free(engine->submitting.deliveries);
	free(engine->submitting.flights);
}

static struct flight *
flight_new(struct ob_engine *engine, struct entry *entry)
{
	uint32_t at = engine->flights_free;
	struct flight *flight;

	if (at != SLOT_NONE)
		engine->flights_free = engine->flights[at].free_next;
	else
		at = engine->flights_used++;
	OB_CHECK(at < engine->flights_size);
	flight = &engine->flights[at];
	flight->ticket = engine->ticket_next++ << SLOT_BITS | at;
	flight->entry = entry;
	flight->batch = entry->batch;
	flight->probe = false;
	engine->in_flight++;
	return flight;
}

static void
flight_free(struct ob_engine *engine, struct flight *flight)
{
	flight->ticket = 0;
	flight->entry = NULL;
	flight->free_next = engine->flights_free;
	engine->flights_free = (uint32_t)(flight - engine->flights);
	engine->in_flight--;
}

/* But for the room that the sink has. */
static bool
may_send(const struct ob_engine *engine)
{
	const struct session *session = &engine->session;

	/* Ghosts are of a window that was given up, and may still arrive: what is read anew waits for them. */
	return session->hold == HOLD_HELD && !session->paused && !engine->paused &&
	       !engine->abandoned && engine->ghosts == 0 && engine->now_ms < session->lease_ends_ms;
}

static bool
may_submit(const struct ob_engine *engine)
{
	return may_send(engine) && engine->submitting.count == 0 && !engine->submitting.full;
}

/* What keeps a drain from settling what was sent: it stands before the last one that was, and is not being put away. */
static bool
fills_gap(const struct ob_engine *engine, const struct entry *entry)
{
	return entry->awaits == AWAITS_TURN && !entry->parked &&
	       entry->row->ordinal < engine->drain_end;
}

/* The entry goes: the next of its lane may follow, where the sink keeps the order. */
static void
entry_submit(struct ob_engine *engine, struct entry *entry)
{
	struct submitting *submitting = &engine->submitting;
	struct ob_delivery *delivery = &submitting->deliveries[submitting->count];
	struct flight *flight = flight_new(engine, entry);
	struct lane *lane = entry->lane;

	ob_lanes_unlist(entry);
	entry->awaits = AWAITS_RECEIPT;
	if (ob_recipient_is_down(engine)) {
		engine->recipient.probing = true;
		flight->probe = true;
	}
	*delivery = (struct ob_delivery){
	    .ticket = flight->ticket,
	    .message = &entry->row->message,
	    .lane = entry->scheduled ? 0 : entry->row->lane,
	    .attempt = entry->attempts + 1,
	};
	submitting->flights[submitting->count++] = flight;
	if (lane == NULL)
		return;
	lane->in_flight++;
	/* A second try goes alone: what has failed once may fail again, and nothing may be under way behind it then. */
	if (entry->attempts > 0)
		lane->failed = true;
	if (entry->parked)
		return;
	lane->next = entry->chain.next == &lane->log
			 ? NULL
			 : OB_CONTAINER_OF(entry->chain.next, struct entry, chain);
	if (lane->next != NULL && engine->config.sink.order == OB_ORDER_ALWAYS)
		ob_lanes_update(engine, lane);
}

void
ob_delivery_drain(struct ob_engine *engine)
{
	const struct window *window = &engine->window;

	engine->parked.unsure = true;
	engine->drain_end = 0;
	for (uint64_t at = window->first; at < window->next; at++) {
		const struct entry *entry = ob_window_at(window, at);

		if (entry->awaits == AWAITS_RECEIPT || entry->awaits == AWAITS_SETTLE)
			engine->drain_end = at;
	}
}

bool
ob_delivery_fills_gaps(const struct ob_engine *engine)
{
	if (!may_send(engine) || ob_recipient_is_down(engine))
		return false;
	OB_LIST_FOR_EACH(it, &engine->lanes.ready)
	if (fills_gap(engine, OB_CONTAINER_OF(it, struct entry, link)))
		return true;
	return false;
}

/* The next one to submit, NULL if there is none. A drain only finishes what is begun. */
static struct entry *
entry_next(const struct ob_engine *engine)
{
	OB_LIST_FOR_EACH(it, &engine->lanes.ready)
	{
		struct entry *entry = OB_CONTAINER_OF(it, struct entry, link);

		if (!engine->draining || fills_gap(engine, entry))
			return entry;
	}
	return NULL;
}

void
ob_delivery_submit(struct ob_engine *engine)
{
	struct submitting *submitting = &engine->submitting;
	struct ob_action *action;
	struct entry *entry;
	uint32_t room;

	if (!may_submit(engine) || (engine->draining && ob_recipient_is_down(engine)))
		return;
	room = ob_recipient_room(engine);
	if (room > engine->config.submit_count_max)
		room = engine->config.submit_count_max;
	while (submitting->count < room && (entry = entry_next(engine)) != NULL)
		entry_submit(engine, entry);
	if (submitting->count > 0) {
		action = ob_core_action(engine, OB_ACTION_SUBMIT);
		action->deliveries = submitting->deliveries;
		action->delivery_count = submitting->count;
		submitting->unflushed = true;
	} else if (submitting->unflushed) {
		submitting->unflushed = false;
		ob_core_action(engine, OB_ACTION_FLUSH);
	}
}

/* The sink had no room for it: as if it had not been tried to submit it. */
static void
entry_unsubmit(struct ob_engine *engine, struct flight *flight)
{
	struct entry *entry = flight->entry;
	struct lane *lane;

	if (flight->probe)
		engine->recipient.probing = false;
	flight_free(engine, flight);
	/* The window may have been given up between SUBMIT and SUBMITTED. */
	if (entry == NULL) {
		engine->ghosts--;
		ob_window_unuse(engine, flight->batch);
		return;
	}
	lane = entry->lane;
	entry->awaits = AWAITS_TURN;
	if (lane != NULL) {
		lane->in_flight--;
		if (!entry->parked)
			lane->next = entry;
		if (lane->ready != NULL)
			ob_lanes_unlist(lane->ready);
		lane->ready = entry;
	}
	entry->listed = true;
	ob_list_push_front(&engine->lanes.ready, &entry->link);
}

void
ob_delivery_submitted(struct ob_engine *engine, uint32_t accepted)
{
	struct submitting *submitting = &engine->submitting;

	OB_CHECK(submitting->count > 0);
	OB_CHECK(accepted <= submitting->count);
	if (accepted < submitting->count)
		submitting->full = true;
	/* From the last one, so that they stand in the old order again. */
	while (submitting->count > accepted)
		entry_unsubmit(engine, submitting->flights[--submitting->count]);
	submitting->count = 0;
}

void
ob_delivery_give_up_all(struct ob_engine *engine)
{
	for (uint32_t i = 0; i < engine->flights_used; i++) {
		struct flight *flight = &engine->flights[i];

		if (flight->ticket == 0 || flight->entry == NULL)
			continue;
		if (flight->probe)
			ob_recipient_untried(engine);
		flight->probe = false;
		flight->entry = NULL;
		engine->window.batches[flight->batch].uses++;
		engine->ghosts++;
	}
}

static void
entry_sent(struct ob_engine *engine, struct entry *entry, bool probe)
{
	engine->stats.sent++;
	engine->stats.retried += entry->tried;
	if (entry->parked) {
		ob_parked_end(engine, entry, END_SENT);
	} else {
		entry->awaits = AWAITS_SETTLE;
		entry->end = END_SENT;
		ob_lanes_remove(engine, entry);
		ob_settling_soon(engine, engine->config.settle_every_ms);
	}
	ob_recipient_sent(engine, probe);
}

/* It was tried, and was not sent. */
static void
entry_tried(struct ob_engine *engine, struct entry *entry)
{
	engine->stats.retried += entry->tried;
	entry->tried = true;
}

static void
entry_down(struct ob_engine *engine, struct entry *entry, const struct ob_receipt *receipt,
	   bool probe)
{
	entry_tried(engine, entry);
	engine->stats.down_receipts++;
	if (ob_recipient_down(engine, entry, receipt, probe)) {
		engine->stats.charged_downs++;
		ob_retry_failed(engine, entry, receipt, true);
	} else {
		ob_lanes_turn(engine, entry);
	}
}

static void
entry_failed(struct ob_engine *engine, struct entry *entry, const struct ob_receipt *receipt,
	     bool probe)
{
	enum blame blame;

	entry_tried(engine, entry);
	if (receipt->fate == OB_FATE_REJECT)
		engine->stats.rejected++;
	else if (receipt->fate != OB_FATE_RETRY)
		engine->stats.unknown++;
	if (receipt->fate == OB_FATE_UNKNOWN && (engine->session.cancelled || engine->abandoned)) {
		if (probe)
			ob_recipient_untried(engine);
		ob_lanes_turn(engine, entry);
		return;
	}
	blame = ob_recipient_failed(engine, entry, receipt, probe);
	if (blame == BLAME_NONE)
		ob_lanes_turn(engine, entry);
	else
		ob_retry_failed(engine, entry, receipt, blame == BLAME_CHARGED);
}

/* Because of one before it, or of a cancel; then it just awaits its turn. If it is neither, the same would happen at
   once again, and again. */
static void
entry_returned(struct ob_engine *engine, struct entry *entry, bool probe)
{
	const struct lane *lane = entry->lane;
	bool behind = lane != NULL &&
		      (lane->in_flight > 0 || entry->parked || entry->chain.prev != &lane->log);

	if (probe)
		ob_recipient_untried(engine);
	if (behind || engine->session.hold != HOLD_HELD || engine->draining ||
	    ob_recipient_is_down(engine)) {
		ob_lanes_turn(engine, entry);
		return;
	}
	entry->awaits = AWAITS_TRY;
	entry->due_ms = ob_core_later(engine->now_ms, RETURNED_WAIT_MS);
	ob_tries_add(engine, entry);
	if (entry->lane != NULL)
		ob_lanes_update(engine, entry->lane);
}

static void
entry_receipt(struct ob_engine *engine, struct entry *entry, const struct ob_receipt *receipt,
	      bool probe)
{
	struct lane *lane = entry->lane;

	if (lane != NULL) {
		lane->in_flight--;
		if (receipt->fate != OB_FATE_SENT)
			lane->failed = true;
	}
	switch (receipt->fate) {
	case OB_FATE_SENT:
		entry_sent(engine, entry, probe);
		break;
	case OB_FATE_DOWN:
	case OB_FATE_BLOCKED:
		entry_down(engine, entry, receipt, probe);
		break;
	case OB_FATE_RETURNED:
		entry_returned(engine, entry, probe);
		break;
	case OB_FATE_UNKNOWN:
	case OB_FATE_RETRY:
	case OB_FATE_REJECT:
	default: /* what we do not know may have happened: zero is the safe value */
		entry_failed(engine, entry, receipt, probe);
		break;
	}
}

void
ob_delivery_receipt(struct ob_engine *engine, const struct ob_receipt *receipt)
{
	uint64_t slot = receipt->ticket & ((UINT64_C(1) << SLOT_BITS) - 1);
	struct flight *flight;
	struct entry *entry;
	bool probe;

	if (receipt->ticket == 0 || slot >= engine->flights_used ||
	    engine->flights[slot].ticket != receipt->ticket) {
		engine->stats.late_receipts++;
		return;
	}
	engine->submitting.full = false;
	flight = &engine->flights[slot];
	entry = flight->entry;
	probe = flight->probe;
	if (probe)
		engine->recipient.probing = false;
	flight_free(engine, flight);
	if (entry == NULL) {
		engine->stats.late_receipts++;
		engine->ghosts--;
		ob_window_unuse(engine, flight->batch);
		return;
	}
	entry_receipt(engine, entry, receipt, probe);
}
