/* What goes wrong from outside: each fault begins and ends, and what only it can show is checked when it does. */
#include "sim_world.h"

static void
pause_locally(struct sim_world *world, uint32_t relay_index, bool paused)
{
	struct sim_relay *relay = &world->relays[relay_index];
	struct ob_event event = {.kind = paused ? OB_EVENT_PAUSE : OB_EVENT_RESUME};

	if (!relay->alive || relay->paused_locally == paused)
		return;
	relay->paused_locally = paused;
	sim_calls_wake(relay);
	sim_relay_step(relay, &event);
}

static void
change_limits(struct sim_world *world, uint32_t in_flight_max)
{
	for (uint32_t i = 0; i < world->plot.relay_count; i++) {
		struct sim_relay *relay = &world->relays[i];
		struct ob_event event = {.kind = OB_EVENT_LIMITS};

		if (!relay->alive)
			continue;
		relay->sink.limits.in_flight_max = in_flight_max;
		event.sink_limits = relay->sink.limits;
		sim_relay_step(relay, &event);
	}
}

static void
end_relay(struct sim_world *world, struct sim_relay *relay, int64_t start_again_us)
{
	if (!relay->alive)
		return;
	SIM_TELL(world, "relay %u is killed", relay->index);
	relay->struck = NULL;
	world->counts.crashes++;
	sim_relay_crash(relay);
	sim_queue_put(&world->queue, (struct sim_event){.at_us = start_again_us,
							.what = SIM_RELAY_START,
							.relay = relay->index});
}

static void
strike(struct sim_relay *relay, const struct sim_fault *fault)
{
	struct sim_world *world = relay->world;

	if (fault->kind == SIM_FAULT_CRASH)
		end_relay(world, relay, world->now_us + fault->lasts_us);
	else
		sim_relay_freeze(relay, world->now_us + fault->lasts_us);
}

bool
sim_world_moment(struct sim_relay *relay, enum sim_moment moment)
{
	const struct sim_fault *fault = relay->struck;

	if (fault == NULL || fault->number % SIM_MOMENTS != (uint32_t)moment)
		return false;
	relay->struck = NULL;
	strike(relay, fault);
	return true;
}

static uint64_t
knocking_excuses(const struct sim_world *world)
{
	return world->ledger.incidents + world->counts.pokes + world->counts.starts;
}

static void
knocking_begins(const struct sim_world *world, struct sim_knocking *knocking)
{
	*knocking =
	    (struct sim_knocking){.since_us = world->now_us, .excuses = knocking_excuses(world)};
}

/* How often one message may be tried in that time by the policy. */
static uint64_t
tries_within(const struct ob_retry_policy *retry, int64_t time_ms)
{
	int64_t wait_ms = retry->first_ms * (100 - retry->jitter_pct) / 100 + 1;
	uint64_t tries = 1;

	for (; time_ms > wait_ms; tries++) {
		time_ms -= wait_ms;
		if (wait_ms * 2 <= retry->max_ms * (100 - retry->jitter_pct) / 100)
			wait_ms *= 2;
	}
	return tries;
}

/* Each relay may try once what it has in flight; then only probes, further and further apart. */
static void
knocking_ends(struct sim_world *world, const struct sim_knocking *knocking, const char *what,
	      uint64_t more)
{
	const struct ob_engine_config *config = &world->plot.config;
	uint64_t bursts = 1 + world->plot.relay_count + knocking_excuses(world) - knocking->excuses;
	int64_t lasted_ms = (world->now_us - knocking->since_us) / 1000;
	uint64_t most = bursts * (config->in_flight_max + 12) +
			(uint64_t)(lasted_ms * 10 / (config->probe_max_ms * 6)) + more;

	if (knocking->count > most)
		sim_ledger_fail(&world->ledger, "P6",
				"a recipient that %s was asked %llu times in %lld ms", what,
				(unsigned long long)knocking->count, (long long)lasted_ms);
}

static void
refusal_begins(struct sim_world *world)
{
	if (world->recipient.faults[SIM_FAULT_REFUSES] == 1)
		knocking_begins(world, &world->recipient.refused);
}

static void
refusal_ends(struct sim_world *world)
{
	if (world->recipient.faults[SIM_FAULT_REFUSES] == 0)
		knocking_ends(world, &world->recipient.refused, "refuses", 0);
}

/* That it is down is only known when so many keys have failed; as long as there are fewer each is tried again by the
   policy. */
static void
storm_ends(struct sim_world *world)
{
	const struct ob_engine_config *config = &world->plot.config;
	int64_t lasted_ms = (world->now_us - world->recipient.rejected.since_us) / 1000;

	if (config->storm_limit > 0)
		knocking_ends(world, &world->recipient.rejected, "rejects all",
			      config->storm_limit * tries_within(&config->retry, lasted_ms));
}

void
sim_fault_begins(struct sim_world *world, const struct sim_fault *fault)
{
	struct sim_relay *relay = &world->relays[fault->relay];
	int64_t end_us = world->now_us + fault->lasts_us;

	SIM_TELL(world, "begins: %s, for %.3f s", sim_fault_name(fault->kind),
		 (double)fault->lasts_us / 1e6);
	world->faults_active++;
	world->recipient.faults[fault->kind]++;
	world->recipient.fault_number = fault->number;
	switch ((enum sim_fault_kind)fault->kind) {
	case SIM_FAULT_CRASH:
	case SIM_FAULT_FREEZE:
		if (fault->number % SIM_MOMENTS == SIM_AT_ONCE)
			strike(relay, fault);
		else
			relay->struck = fault;
		break;
	case SIM_FAULT_DRAIN:
		sim_relay_drain(relay);
		break;
	case SIM_FAULT_REFUSES:
		world->counts.outages++;
		refusal_begins(world);
		break;
	case SIM_FAULT_REJECTS:
		world->counts.outages++;
		knocking_begins(world, &world->recipient.rejected);
		break;
	case SIM_FAULT_PAUSE:
		sim_store_pause(&world->store, true);
		break;
	case SIM_FAULT_LOCAL_PAUSE:
		if (relay->frozen_until_us <= world->now_us)
			pause_locally(world, fault->relay, true);
		break;
	case SIM_FAULT_LIMITS:
		change_limits(world, 1 + fault->number % 40);
		break;
	default:
		world->counts.outages +=
		    fault->kind >= SIM_FAULT_REFUSES && fault->kind <= SIM_FAULT_BLOCKS;
		break;
	}
	sim_queue_put(&world->queue,
		      (struct sim_event){.at_us = end_us,
					 .what = SIM_FAULT_ENDS,
					 .a = (uint32_t)(fault - world->plot.faults)});
}

void
sim_fault_ends(struct sim_world *world, const struct sim_fault *fault)
{
	struct sim_relay *relay = &world->relays[fault->relay];

	SIM_TELL(world, "ends: %s", sim_fault_name(fault->kind));
	world->faults_active--;
	world->recipient.faults[fault->kind]--;
	switch ((enum sim_fault_kind)fault->kind) {
	case SIM_FAULT_CRASH:
	case SIM_FAULT_FREEZE:
		/* Its moment did not come. */
		if (relay->struck == fault) {
			relay->struck = NULL;
			strike(relay, fault);
		}
		break;
	case SIM_FAULT_DRAIN:
		/* A supervisor waits no longer. */
		if (relay->alive && relay->draining)
			end_relay(world, relay, world->now_us + 1000);
		else
			sim_relay_start(relay);
		break;
	case SIM_FAULT_REFUSES:
		refusal_ends(world);
		break;
	case SIM_FAULT_REJECTS:
		storm_ends(world);
		break;
	case SIM_FAULT_PAUSE:
		if (world->recipient.faults[SIM_FAULT_PAUSE] == 0)
			sim_store_pause(&world->store, false);
		break;
	case SIM_FAULT_LOCAL_PAUSE:
		pause_locally(world, fault->relay, false);
		break;
	case SIM_FAULT_LIMITS:
		change_limits(world, world->plot.config.sink.in_flight_max);
		break;
	default:
		break;
	}
}
