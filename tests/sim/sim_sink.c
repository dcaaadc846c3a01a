/*
 * The way to the recipient, and the recipient. A delivery is on its way, arrives (or does not), is answered (or
 * is not), and its receipt waits to be polled. What the sink declares about order it keeps:
 *   none            each arrives when it arrives;
 *   unless_failure  those of one lane arrive in order; one that fails stops no other;
 *   always          once one of a lane fails, those behind it are given back until its receipt was polled.
 */
#include <string.h>

#include "sim_world.h"

void
sim_sink_open(struct sim_relay *relay)
{
	memset(relay->sink.slots, 0, sizeof(relay->sink.slots));
	relay->sink.count = 0;
	relay->sink.cancelled = 0;
	relay->sink.polling = false;
	relay->sink.limits = relay->world->plot.config.sink;
}

static uint32_t
message_number(const struct ob_message *message)
{
	const char *id = message->id.data;
	uint32_t number = 0;

	if (message->id.size != 7 || id == NULL)
		return UINT32_MAX;
	for (int i = 2; i < 7; i++)
		number = number * 10 + (uint32_t)(id[i] - '0');
	return number;
}

/* Receipts wait for the next poll. */
static void
make_ready(struct sim_relay *relay, struct sim_delivery *delivery)
{
	delivery->state = SIM_READY;
	if (relay->sink.polling)
		return;
	relay->sink.polling = true;
	sim_relay_put(relay, SIM_POLL, sim_rng_between(&relay->world->rng, 0, 2000), 0, 0);
}

static void
answer(struct sim_relay *relay, struct sim_delivery *delivery, enum ob_fate fate, const char *code,
       int64_t delay_us)
{
	uint32_t slot = (uint32_t)(delivery - relay->sink.slots);

	delivery->receipt.ticket = delivery->ticket;
	delivery->receipt.fate = fate;
	delivery->receipt.code = code;
	delivery->receipt.text = code;
	delivery->state = SIM_ANSWERED;
	sim_relay_put(relay, SIM_RECEIPT, delay_us, slot, delivery->serial);
}

/* ---- submit ---- */

static bool
lane_is_broken(const struct sim_sink *sink, uint64_t lane)
{
	for (uint32_t i = 0; i < SIM_SLOTS_MAX; i++) {
		const struct sim_delivery *it = &sink->slots[i];

		if (it->state >= SIM_ANSWERED && it->lane == lane &&
		    it->receipt.fate != OB_FATE_SENT)
			return true;
	}
	return false;
}

static int64_t
arrival_time(const struct sim_relay *relay, uint64_t lane)
{
	const struct sim_sink *sink = &relay->sink;
	int64_t at_us =
	    relay->world->now_us + sim_duration(relay->world, relay->world->plot.send_us, true);

	if (lane == 0 || sink->limits.order == OB_ORDER_NONE)
		return at_us;
	for (uint32_t i = 0; i < SIM_SLOTS_MAX; i++) {
		const struct sim_delivery *it = &sink->slots[i];

		if (it->state == SIM_ON_ITS_WAY && it->lane == lane && it->arrives_us >= at_us)
			at_us = it->arrives_us + 1;
	}
	return at_us;
}

static void
send_one(struct sim_relay *relay, const struct ob_delivery *given)
{
	struct sim_world *world = relay->world;
	struct sim_sink *sink = &relay->sink;
	struct sim_delivery *delivery = NULL;
	uint32_t message = message_number(given->message);

	for (uint32_t i = 0; i < SIM_SLOTS_MAX; i++) {
		if (sink->slots[i].state == SIM_FREE)
			delivery = delivery == NULL ? &sink->slots[i] : delivery;
		else if (sink->slots[i].ticket == given->ticket)
			sim_ledger_fail(&world->ledger, "contract",
					"ticket %llu was submitted twice",
					(unsigned long long)given->ticket);
		else if (sink->slots[i].message == message &&
			 !world->ledger.messages[message].loose)
			sim_ledger_fail(
			    &world->ledger, "P4",
			    "message %u was submitted while an earlier delivery of it is out",
			    message);
	}
	if (message >= world->plot.message_count) {
		sim_ledger_fail(&world->ledger, "P1",
				"something was submitted that was never committed");
		return;
	}
	if (world->plot.messages[message].oversize)
		sim_ledger_fail(&world->ledger, "P1", "message %u was sent without its payload",
				message);
	*delivery = (struct sim_delivery){
	    .ticket = given->ticket,
	    .serial = ++sink->serial,
	    .memory = given->message,
	    .lane = given->lane,
	    .session = relay->session.number,
	    .message = (uint16_t)message,
	};
	sink->count++;
	world->counts.submitted++;
	SIM_TELL(world, "relay %u submits %u (key %d, try %u)", relay->index, message,
		 world->plot.messages[message].key, given->attempt);
	sim_ledger_submitted(&world->ledger, world->now_us, relay->session.number, message,
			     given->attempt);
	if (sink->limits.order == OB_ORDER_ALWAYS && given->lane != 0 &&
	    lane_is_broken(sink, given->lane)) {
		answer(relay, delivery, OB_FATE_RETURNED, "predecessor_failed", 10);
		return;
	}
	delivery->arrives_us = arrival_time(relay, given->lane);
	delivery->state = SIM_ON_ITS_WAY;
	sim_relay_put(relay, SIM_ARRIVAL, delivery->arrives_us - world->now_us,
		      (uint32_t)(delivery - sink->slots), delivery->serial);
}

uint32_t
sim_sink_submit(struct sim_relay *relay, const struct ob_delivery *deliveries, uint32_t count)
{
	struct sim_world *world = relay->world;
	struct sim_sink *sink = &relay->sink;
	uint32_t in_flight = sink->count - sink->cancelled;
	uint32_t most = sink->limits.in_flight_max;
	uint32_t accepted = count;

	if (most > world->plot.config.in_flight_max)
		most = world->plot.config.in_flight_max;
	if (in_flight + count > most)
		sim_ledger_fail(&world->ledger, "P6",
				"%u in flight and %u more submitted, %u may be", in_flight, count,
				most);
	if (count > world->plot.config.submit_count_max || count == 0)
		sim_ledger_fail(&world->ledger, "P6", "%u submitted at once, %u may be", count,
				world->plot.config.submit_count_max);
	if (sink->count + accepted > SIM_SLOTS_MAX)
		accepted = SIM_SLOTS_MAX - sink->count;
	if (sim_faults_last(world) && (world->recipient.faults[SIM_FAULT_SINK_FULL] > 0 ||
				       sim_rng_chance(&world->rng, world->plot.sink_partial)))
		accepted = (uint32_t)sim_rng_below(&world->rng, accepted + 1);
	for (uint32_t i = 0; i < accepted && !world->ledger.failed; i++)
		send_one(relay, &deliveries[i]);
	if (accepted < count)
		sim_relay_put(relay, SIM_SINK_FREE, sim_rng_between(&world->rng, 1000, 50000), 0,
			      0);
	return accepted;
}

/* ---- what the recipient does ---- */

struct verdict {
	enum ob_fate fate;
	bool accepts;
	bool reached;
	bool times_out; /* the receipt comes by the request's time-out only */
	uint32_t retry_after_ms;
	const char *code;
};

static bool
verdict_of_fault(struct sim_world *world, struct verdict *verdict)
{
	const struct sim_recipient *recipient = &world->recipient;
	const uint8_t *faults = recipient->faults;
	bool odd = recipient->fault_number % 2 != 0;

	if (faults[SIM_FAULT_BLOCKS] > 0)
		*verdict = (struct verdict){.fate = OB_FATE_BLOCKED, .code = "no_right"};
	else if (faults[SIM_FAULT_REFUSES] > 0 || world->now_us < recipient->crashed_until_us)
		*verdict = (struct verdict){.fate = OB_FATE_DOWN, .code = "connect_refused"};
	else if (faults[SIM_FAULT_RESETS] > 0)
		*verdict = (struct verdict){.fate = OB_FATE_DOWN,
					    .reached = sim_rng_chance(&world->rng, 500),
					    .code = "connection_reset"};
	else if (faults[SIM_FAULT_HANGS] > 0)
		*verdict = (struct verdict){.accepts = sim_rng_chance(&world->rng, 300),
					    .times_out = true,
					    .code = "timed_out"};
	else if (faults[SIM_FAULT_BUSY] > 0)
		*verdict = (struct verdict){.fate = odd ? OB_FATE_RETRY : OB_FATE_DOWN,
					    .retry_after_ms = recipient->fault_number % 3 * 700,
					    .code = "http_503"};
	else if (faults[SIM_FAULT_REJECTS] > 0)
		*verdict = (struct verdict){.fate = OB_FATE_REJECT, .code = "http_400"};
	else
		return false;
	if (verdict->reached)
		verdict->accepts = sim_rng_chance(&world->rng, 300);
	return true;
}

static bool
verdict_of_poison(struct sim_world *world, uint32_t message, struct verdict *verdict)
{
	const struct sim_message *it = &world->plot.messages[message];

	if (world->now_us >= world->plot.heal_us)
		return false;
	switch ((enum sim_poison)it->poison) {
	case SIM_HARMLESS:
		return false;
	case SIM_REJECTED:
		*verdict = (struct verdict){.fate = OB_FATE_REJECT, .code = "http_422"};
		return true;
	case SIM_RETRIED:
		*verdict = (struct verdict){.fate = OB_FATE_RETRY, .code = "http_500"};
		return world->recipient.seen[message] <= it->poison_times;
	case SIM_CRASHES:
		*verdict = (struct verdict){
		    .fate = OB_FATE_DOWN, .reached = true, .code = "connection_reset"};
		sim_recipient_crash(world);
		sim_ledger_crashed(&world->ledger, message);
		return true;
	case SIM_UNANSWERED:
		*verdict =
		    (struct verdict){.accepts = true, .times_out = true, .code = "timed_out"};
		return world->recipient.seen[message] <= it->poison_times;
	}
	return false;
}

static bool
verdict_of_chance(struct sim_world *world, struct verdict *verdict)
{
	const struct sim_plot *plot = &world->plot;
	struct sim_rng *rng = &world->rng;

	if (!sim_faults_last(world))
		return false;
	if (sim_rng_chance(rng, plot->lost))
		*verdict = (struct verdict){.times_out = true, .code = "timed_out"};
	else if (sim_rng_chance(rng, plot->unanswered))
		*verdict =
		    (struct verdict){.accepts = true, .times_out = true, .code = "timed_out"};
	else if (sim_rng_chance(rng, plot->retried))
		*verdict = (struct verdict){.fate = OB_FATE_RETRY, .code = "http_500"};
	else if (sim_rng_chance(rng, plot->rejected))
		*verdict = (struct verdict){.fate = OB_FATE_REJECT, .code = "http_400"};
	else if (sim_rng_chance(rng, plot->down))
		*verdict = (struct verdict){.fate = OB_FATE_DOWN,
					    .reached = sim_rng_chance(rng, 500),
					    .code = "connection_reset"};
	else
		return false;
	return true;
}

/* A poison takes the recipient down, and cuts off all that is on its way. */
void
sim_recipient_crash(struct sim_world *world)
{
	int64_t until_us = world->now_us + sim_rng_spread(&world->rng, 10, 800) * 1000;

	if (until_us > world->recipient.crashed_until_us)
		world->recipient.crashed_until_us = until_us;
	SIM_TELL(world, "the recipient crashes, until %.3f", (double)until_us / 1e6);
}

/* In time order, all after one moment are lost: so none arrives whose predecessor of its key did not. */
static void
cut_off(struct sim_relay *relay)
{
	struct sim_world *world = relay->world;
	int64_t until_us = world->now_us + sim_rng_between(&world->rng, 0, 2 * world->plot.send_us);

	for (uint32_t i = 0; i < SIM_SLOTS_MAX; i++) {
		struct sim_delivery *it = &relay->sink.slots[i];

		if (it->state == SIM_ON_ITS_WAY && it->arrives_us <= until_us)
			sim_queue_put(&world->queue, (struct sim_event){.at_us = it->arrives_us,
									.what = SIM_LATE_ARRIVAL,
									.a = it->message,
									.b = it->session});
	}
}

void
sim_recipient_late(struct sim_world *world, uint32_t message, uint32_t session)
{
	struct verdict verdict = {.accepts = true};
	int32_t key = world->plot.messages[message].key;

	if (key != SIM_NO_KEY && world->recipient.cut_session[key] == session)
		return;
	world->recipient.seen[message]++;
	if (verdict_of_fault(world, &verdict) || verdict_of_poison(world, message, &verdict))
		if (!verdict.accepts && key != SIM_NO_KEY)
			world->recipient.cut_session[key] = session;
	if (!verdict.accepts)
		return;
	SIM_TELL(world, "%u arrives late", message);
	sim_ledger_accepted(&world->ledger, world->now_us, session, message);
}

/* What "always" means: those behind it in its lane do not arrive. */
static void
give_back_successors(struct sim_relay *relay, const struct sim_delivery *failed)
{
	for (uint32_t i = 0; i < SIM_SLOTS_MAX; i++) {
		struct sim_delivery *it = &relay->sink.slots[i];

		if (it->state == SIM_ON_ITS_WAY && it->lane == failed->lane &&
		    it->serial > failed->serial)
			answer(relay, it, OB_FATE_RETURNED, "predecessor_failed", 10);
	}
}

static void
lose(struct sim_relay *relay, const struct sim_delivery *delivery)
{
	struct sim_world *world = relay->world;

	if (relay->sink.limits.order != OB_ORDER_NONE ||
	    !sim_rng_chance(&world->rng, world->plot.arrives_late))
		return;
	sim_queue_put(&world->queue,
		      (struct sim_event){.at_us = world->now_us +
						  sim_rng_spread(&world->rng, 1, 20000) * 1000,
					 .what = SIM_LATE_ARRIVAL,
					 .a = delivery->message,
					 .b = delivery->session});
}

/* Message and bytes stay valid until the receipt was given. */
static void
check_memory(struct sim_relay *relay, const struct sim_delivery *delivery)
{
	if (message_number(delivery->memory) != delivery->message)
		sim_ledger_fail(&relay->world->ledger, "P1",
				"the memory of message %u was given back while it is sent",
				delivery->message);
}

void
sim_sink_arrival(struct sim_relay *relay, uint32_t slot, uint64_t serial)
{
	struct sim_world *world = relay->world;
	struct sim_delivery *delivery = &relay->sink.slots[slot];
	struct verdict verdict = {.fate = OB_FATE_SENT, .accepts = true};
	uint32_t message = delivery->message;
	int64_t delay_us;

	if (delivery->state != SIM_ON_ITS_WAY || delivery->serial != serial)
		return;
	check_memory(relay, delivery);
	world->recipient.seen[message]++;
	if (!verdict_of_fault(world, &verdict) && !verdict_of_poison(world, message, &verdict))
		(void)verdict_of_chance(world, &verdict);
	world->recipient.refused.count += verdict.fate == OB_FATE_DOWN && !verdict.reached;
	world->recipient.rejected.count +=
	    verdict.fate == OB_FATE_REJECT && world->recipient.faults[SIM_FAULT_REJECTS] > 0;
	SIM_TELL(world, "%u arrives: %s%s", message, ob_fate_name(verdict.fate),
		 verdict.accepts ? ", accepted" : "");
	if (verdict.accepts)
		sim_ledger_accepted(&world->ledger, world->now_us, delivery->session, message);
	else if (verdict.times_out)
		lose(relay, delivery);
	delivery->receipt.reached = verdict.reached;
	delivery->receipt.retry_after_ms = verdict.retry_after_ms;
	delay_us = verdict.times_out ? world->plot.request_timeout_us
				     : sim_duration(world, world->plot.answer_us, true);
	if (verdict.fate != OB_FATE_SENT && delivery->lane != 0 &&
	    relay->sink.limits.order == OB_ORDER_ALWAYS)
		give_back_successors(relay, delivery);
	answer(relay, delivery, verdict.fate, verdict.code, delay_us);
}

/* ---- receipts ---- */

void
sim_sink_receipt(struct sim_relay *relay, uint32_t slot, uint64_t serial)
{
	struct sim_delivery *delivery = &relay->sink.slots[slot];

	if (delivery->state == SIM_ANSWERED && delivery->serial == serial)
		make_ready(relay, delivery);
}

static void
note_receipt(struct sim_relay *relay, const struct sim_delivery *delivery)
{
	struct sim_world *world = relay->world;

	check_memory(relay, delivery);
	SIM_TELL(world, "relay %u learns of %u: %s %s%s", relay->index, delivery->message,
		 ob_fate_name(delivery->receipt.fate),
		 delivery->receipt.code == NULL ? "" : delivery->receipt.code,
		 delivery->receipt.reached ? " (reached)" : "");
	sim_ledger_receipt(&world->ledger, world->now_us, delivery->session, delivery->message,
			   &delivery->receipt, delivery->cancelled);
	if (delivery->session != relay->session.number)
		return;
	if (delivery->receipt.fate == OB_FATE_DOWN || delivery->receipt.fate == OB_FATE_BLOCKED)
		relay->down_seen = relay->unproven = true;
	/* Whoever answers is there. */
	if (delivery->receipt.fate == OB_FATE_SENT || delivery->receipt.fate == OB_FATE_REJECT ||
	    delivery->receipt.fate == OB_FATE_RETRY)
		relay->down_seen = false;
	if (delivery->receipt.fate == OB_FATE_SENT)
		relay->unproven = false;
}

void
sim_sink_poll(struct sim_relay *relay)
{
	struct ob_receipt receipts[SIM_SLOTS_MAX];
	struct sim_sink *sink = &relay->sink;
	struct ob_event event = {.kind = OB_EVENT_RECEIPTS, .receipts = receipts};

	if (sim_world_moment(relay, SIM_BEFORE_RECEIPT)) {
		if (relay->alive)
			sim_relay_put(relay, SIM_POLL, 1, 0, 0);
		return;
	}
	sink->polling = false;
	for (uint32_t i = 0; i < SIM_SLOTS_MAX; i++) {
		struct sim_delivery *it = &sink->slots[i];

		if (it->state != SIM_READY)
			continue;
		note_receipt(relay, it);
		receipts[event.receipt_count++] = it->receipt;
		it->state = SIM_FREE;
		sink->count--;
		sink->cancelled -= it->cancelled;
	}
	if (event.receipt_count > 0)
		sim_relay_step(relay, &event);
}

/* The next polls give all back: what was on its way may have arrived, or may yet. */
void
sim_sink_cancel(struct sim_relay *relay)
{
	struct sim_world *world = relay->world;

	world->counts.cancels++;
	cut_off(relay);
	/* Sometimes the thread that polls is held up: then a new window may be there before the old receipts. */
	if (!relay->sink.polling && sim_rng_chance(&world->rng, 300)) {
		relay->sink.polling = true;
		sim_relay_put(relay, SIM_POLL, sim_rng_spread(&world->rng, 1, 2000) * 1000, 0, 0);
	}
	for (uint32_t i = 0; i < SIM_SLOTS_MAX; i++) {
		struct sim_delivery *it = &relay->sink.slots[i];

		if (it->state == SIM_FREE)
			continue;
		relay->sink.cancelled += !it->cancelled;
		it->cancelled = true;
		if (it->state == SIM_ON_ITS_WAY)
			answer(relay, it, OB_FATE_UNKNOWN, "cancelled", 0);
		else if (it->state == SIM_ANSWERED && sim_rng_chance(&world->rng, 500))
			answer(relay, it, OB_FATE_UNKNOWN, "cancelled", 0);
		if (it->state == SIM_ANSWERED)
			make_ready(relay, it);
	}
}

void
sim_sink_close(struct sim_relay *relay)
{
	cut_off(relay);
	relay->sink.count = 0;
}
