/*
 * A story: what the plot says is put on the queue, and then it happens, one event after another. After the
 * faults have ended it goes on until everything is delivered or dead, and then a little longer: an engine
 * that has nothing to do must do nothing.
 */
#include "sim_world.h"

#include <stdarg.h>
#include <string.h>

#define SEC INT64_C(1000000)
/* How long it is watched when it has nothing to do, and how many steps it may take then. */
#define IDLE_US    (30 * SEC)
#define IDLE_STEPS 60
/* For how many seconds it may be seen doing nothing while something is there to be read. */
#define IDLE_S_MAX 15

void
sim_tell(struct sim_world *world, const char *format, ...)
{
	va_list args;

	fprintf(world->story, "%10.3f  ", (double)world->now_us / 1e6);
	va_start(args, format);
	vfprintf(world->story, format, args);
	va_end(args);
	fputc('\n', world->story);
}

int64_t
sim_duration(struct sim_world *world, int64_t usual_us, bool may_be_slow)
{
	int64_t us = usual_us / 2 + (int64_t)sim_rng_below(&world->rng, (uint64_t)usual_us + 1);

	if (may_be_slow && world->plot.slow > 0 && sim_rng_chance(&world->rng, world->plot.slow))
		us *= 20;
	return us;
}

bool
sim_faults_last(const struct sim_world *world)
{
	return world->now_us < world->plot.faults_end_us;
}

/* ---- once a second ---- */

/* Deliveries that will never be answered hold up what waits for their window, their key or its quota, until
   they time out. */
static bool
is_clogged(const struct sim_relay *relay)
{
	uint32_t unanswered = 0;

	for (uint32_t i = 0; i < SIM_SLOTS_MAX; i++)
		unanswered += relay->sink.slots[i].state == SIM_ANSWERED &&
			      relay->sink.slots[i].receipt.fate == OB_FATE_UNKNOWN;
	return unanswered > 0;
}

/* Nothing is wrong, and has not been for long enough to have got over it. */
static bool
is_calm(struct sim_world *world)
{
	const struct ob_engine_config *config = &world->plot.config;
	bool someone_works = false, clogged = false;
	int64_t margin_us = (config->probe_max_ms * 2 + config->lease_ms * 2 + 5000) * 1000;
	bool trouble = world->faults_active > 0 ||
		       world->now_us < world->recipient.crashed_until_us || world->store.paused;

	for (uint32_t i = 0; i < world->plot.relay_count; i++) {
		const struct sim_relay *relay = &world->relays[i];

		trouble |=
		    !relay->alive || relay->frozen_until_us > world->now_us || relay->down_seen;
		clogged |= relay->alive && relay->sink.count > 0 && is_clogged(relay);
		someone_works |=
		    relay->alive && relay->holds && relay->report.state == OB_STATE_RUNNING;
	}
	if (trouble)
		world->trouble_until_us = world->now_us + margin_us;
	return someone_works && !clogged && world->now_us >= world->trouble_until_us;
}

static bool
is_quiet(const struct sim_world *world)
{
	bool anyone_idle = false;

	if (world->now_us < world->plot.heal_us || !sim_store_is_empty(&world->store))
		return false;
	if (world->plot.config.retry.hold_key && world->store.dead_rows > 0)
		return false;
	for (uint32_t i = 0; i < world->plot.relay_count; i++) {
		if (world->relays[i].sink.count > 0)
			return false;
		anyone_idle |= world->relays[i].holds && sim_relay_is_idle(&world->relays[i]);
	}
	return anyone_idle;
}

static void
watch_quiet(struct sim_world *world)
{
	if (!is_quiet(world)) {
		world->quiet_since_us = -1;
		return;
	}
	if (world->quiet_since_us < 0) {
		world->quiet_since_us = world->now_us;
		for (uint32_t i = 0; i < world->plot.relay_count; i++)
			world->relays[i].steps_at_quiet = world->relays[i].steps;
	}
	if (world->now_us - world->quiet_since_us < IDLE_US)
		return;
	world->over = true;
	for (uint32_t i = 0; i < world->plot.relay_count; i++) {
		const struct sim_relay *relay = &world->relays[i];
		uint64_t renewals =
		    (uint64_t)(IDLE_US / 1000 / world->plot.config.lease_ms * 3 + 1);

		if (relay->steps - relay->steps_at_quiet > IDLE_STEPS + renewals)
			sim_ledger_fail(&world->ledger, "P6",
					"relay %u took %llu steps with nothing to do", relay->index,
					(unsigned long long)(relay->steps - relay->steps_at_quiet));
		/* One that is down and has nothing left to probe with cannot know better. */
		if (relay->holds && !relay->unproven && relay->report.state != OB_STATE_RUNNING)
			sim_ledger_fail(&world->ledger, "P8",
					"relay %u says \"%s\" though all is well", relay->index,
					ob_state_name(relay->report.state));
	}
}

/* Something could be read, nothing is in flight, no call is under way, second after second. */
static void
watch_idleness(struct sim_world *world, bool calm)
{
	static const struct ob_fetch anything = {.count_max = 1, .parked_max = 1};

	for (uint32_t i = 0; i < world->plot.relay_count; i++) {
		struct sim_relay *relay = &world->relays[i];
		bool is_busy = relay->sink.count > 0 || (relay->in_call && !relay->waiting);
		uint32_t out = 0;
		int64_t due_us;

		if (!relay->alive || !relay->holds)
			continue;
		/* What is handed out is settled in its time. */
		for (int chain = 0; chain < SIM_CHAINS; chain++)
			out += world->store.chain_out[chain];
		world->store.now_us = world->now_us;
		if (!calm || out > 0 ||
		    !sim_store_has_news(&world->store, &relay->session, &anything, &due_us))
			relay->idle_s = 0;
		else if (!is_busy)
			relay->idle_s++;
		if (relay->idle_s > IDLE_S_MAX)
			sim_ledger_fail(&world->ledger, "P5",
					"relay %u does nothing though there are messages for it",
					i);
	}
}

static void
watch(struct sim_world *world)
{
	bool calm = is_calm(world);

	for (uint32_t i = 0; i < world->plot.relay_count; i++)
		sim_relay_watch(&world->relays[i]);
	sim_ledger_watch(&world->ledger, world->now_us, calm);
	watch_idleness(world, calm);
	watch_quiet(world);
	if (world->now_us > world->deadline_us && !world->over) {
		const struct sim_store *store = &world->store;

		sim_ledger_fail(
		    &world->ledger, "P2",
		    "all is well, but it never ends: checkpoint %d of %d, %llu parked, %llu scheduled, "
		    "%llu dead; relay 0 says \"%s\" %s",
		    store->checkpoint, store->order_count, (unsigned long long)store->parked_rows,
		    (unsigned long long)store->scheduled_rows, (unsigned long long)store->dead_rows,
		    ob_state_name(world->relays[0].report.state), world->relays[0].report.code);
	}
	sim_queue_put(&world->queue,
		      (struct sim_event){.at_us = world->now_us + SEC, .what = SIM_WATCH});
}

/* ---- what happens ---- */

static void
commit(struct sim_world *world, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		SIM_TELL(world, "%u is committed (position %lld, key %d%s%s)", i,
			 (long long)world->plot.messages[i].position, world->plot.messages[i].key,
			 world->plot.messages[i].matches ? "" : ", does not match",
			 world->plot.messages[i].poison != SIM_HARMLESS ? ", poison" : "");
		sim_store_commit(&world->store, i);
	}
	sim_calls_news(world);
}

static void
world_happens(struct sim_world *world, const struct sim_event *event)
{
	switch ((enum sim_what)event->what) {
	case SIM_COMMIT:
		commit(world, event->a, (uint32_t)event->b);
		break;
	case SIM_FAULT:
		sim_fault_begins(world, &world->plot.faults[event->a]);
		break;
	case SIM_FAULT_ENDS:
		sim_fault_ends(world, &world->plot.faults[event->a]);
		break;
	case SIM_WATCH:
		watch(world);
		break;
	case SIM_PERSON:
		sim_person_acts(world);
		break;
	case SIM_LATE_ARRIVAL:
		sim_recipient_late(world, event->a, (uint32_t)event->b);
		break;
	case SIM_RELAY_START:
		sim_relay_start(&world->relays[event->relay]);
		break;
	default:
		break;
	}
}

static void
happens(struct sim_world *world, const struct sim_event *event)
{
	struct sim_relay *relay = &world->relays[event->relay];

	if (event->what <= SIM_RELAY_START) {
		world_happens(world, event);
		return;
	}
	if (event->life != relay->life || !relay->alive)
		return;
	/* What is on the wire does not care whether its sender sleeps; all else waits for it. */
	if (relay->frozen_until_us > world->now_us && event->what != SIM_ARRIVAL) {
		struct sim_event later = *event;

		later.at_us = relay->frozen_until_us;
		sim_queue_put(&world->queue, later);
		return;
	}
	sim_relay_happens(relay, event);
}

/* ---- from beginning to end ---- */

static void
put_plot(struct sim_world *world)
{
	const struct sim_plot *plot = &world->plot;
	struct sim_queue *queue = &world->queue;

	for (uint32_t from = 0, to; from < plot->message_count; from = to) {
		for (to = from + 1;
		     to < plot->message_count &&
		     plot->messages[to].committed_us == plot->messages[from].committed_us;)
			to++;
		sim_queue_put(queue, (struct sim_event){.at_us = plot->messages[from].committed_us,
							.what = SIM_COMMIT,
							.a = from,
							.b = to});
	}
	for (uint32_t i = 0; i < plot->fault_count; i++)
		sim_queue_put(
		    queue,
		    (struct sim_event){.at_us = plot->faults[i].at_us, .what = SIM_FAULT, .a = i});
	for (uint32_t i = 0; i < plot->relay_count; i++)
		sim_queue_put(queue,
			      (struct sim_event){.at_us = i * sim_rng_between(&world->rng, 0, SEC),
						 .what = SIM_RELAY_START,
						 .relay = (uint8_t)i});
	sim_queue_put(queue, (struct sim_event){.at_us = SEC, .what = SIM_WATCH});
	sim_queue_put(queue, (struct sim_event){.at_us = plot->person_often_ms > 0
							     ? plot->person_often_ms * INT64_C(1000)
							     : plot->faults_end_us,
						.what = SIM_PERSON});
}

static void
tell_plot(struct sim_world *world)
{
	static const char *const orders[] = {"none", "unless_failure", "always"};
	const struct sim_plot *plot = &world->plot;
	const struct ob_engine_config *config = &plot->config;
	const struct ob_retry_policy *retry = &config->retry;
	const struct ob_quotas *quotas = &config->quotas;

	SIM_TELL(world, "seed %llu: %u messages, %u faults, %u relays, read by %s, lease %lld ms",
		 (unsigned long long)plot->seed, plot->message_count, plot->fault_count,
		 plot->relay_count, plot->by_intervals ? "intervals" : "commit",
		 (long long)config->lease_ms);
	SIM_TELL(
	    world,
	    "window %u, %llu bytes; fetch %u; parked window %u; in flight %u, sink %u; submit %u",
	    config->window_count_max, (unsigned long long)config->window_bytes_max,
	    config->fetch_count_max, config->parked_window_max, config->in_flight_max,
	    config->sink.in_flight_max, config->submit_count_max);
	SIM_TELL(world,
		 "order %s, %s; retry after %lld to %lld ms, %u attempts, %lld ms; rejects %s",
		 orders[config->sink.order], retry->hold_key ? "hold_key" : "dead_letter",
		 (long long)retry->first_ms, (long long)retry->max_ms, retry->attempts_max,
		 (long long)retry->age_max_ms, retry->reject_retries ? "are retried" : "kill");
	SIM_TELL(
	    world,
	    "settle every %lld ms, at most %u and %llu bytes; park after %lld ms, probe %lld to %lld ms, storm %u, verdict %lld ms",
	    (long long)config->settle_every_ms, config->settle_count_max,
	    (unsigned long long)config->settle_bytes_max, (long long)config->park_after_ms,
	    (long long)config->probe_first_ms, (long long)config->probe_max_ms, config->storm_limit,
	    (long long)config->verdict_ms);
	SIM_TELL(world, "quotas: %llu parked, %u of a key, %u keys, %llu scheduled, %llu dead",
		 (unsigned long long)quotas->parked_rows, quotas->parked_rows_of_key,
		 quotas->parked_keys, (unsigned long long)quotas->scheduled_rows,
		 (unsigned long long)quotas->dead_rows);
}

static void
begin(struct sim_world *world, uint64_t seed)
{
	world->rng.state = seed * UINT64_C(0xd1342543de82ef95) + 1;
	(void)sim_rng_next(&world->rng);
	sim_plot_draw(&world->plot, seed, &world->rng);
	sim_queue_clear(&world->queue);
	sim_ledger_begin(&world->ledger, &world->plot);
	sim_store_begin(&world->store, &world->plot, &world->ledger);
	memset(&world->recipient, 0, sizeof(world->recipient));
	memset(&world->counts, 0, sizeof(world->counts));
	world->now_us = 0;
	world->trouble_until_us = 0;
	world->quiet_since_us = -1;
	world->faults_active = 0;
	world->over = false;
	world->deadline_us = world->plot.heal_us + (world->ledger.calm_limit_s + 1200) * SEC;
	for (uint32_t i = 0; i < SIM_RELAYS_MAX; i++) {
		struct sim_relay *relay = &world->relays[i];

		relay->world = world;
		relay->index = (uint8_t)i;
		relay->alive = false;
		relay->life = 0;
		relay->holds = false;
		relay->steps = 0;
		relay->idle_s = 0;
		relay->struck = NULL;
		relay->sink.count = 0;
		relay->crowd = 0;
		relay->crowd_at_ms = -1;
	}
}

bool
sim_world_play(struct sim_world *world, uint64_t seed)
{
	struct sim_event event;

	begin(world, seed);
	tell_plot(world);
	put_plot(world);
	while (!world->over && !world->ledger.failed && sim_queue_take(&world->queue, &event)) {
		world->now_us = event.at_us;
		happens(world, &event);
	}
	if (!world->ledger.failed)
		sim_ledger_end(&world->ledger);
	for (uint32_t i = 0; i < SIM_RELAYS_MAX; i++) {
		if (world->relays[i].alive)
			sim_relay_crash(&world->relays[i]);
		sim_relay_free(&world->relays[i]);
	}
	if (world->coverage != NULL && !world->ledger.failed)
		sim_coverage_story(world->coverage, world->plot.message_count,
				   (uint32_t)world->counts.crashes, (uint32_t)world->counts.outages,
				   &world->store.counts);
	return !world->ledger.failed;
}

void
sim_world_free(struct sim_world *world)
{
	for (uint32_t i = 0; i < SIM_RELAYS_MAX; i++)
		sim_relay_free(&world->relays[i]);
	sim_queue_free(&world->queue);
}
