/* What people do: while the faults last anything, afterwards what frees whatever waits for them. */
#include "sim_world.h"

static bool
any_is_full(const struct sim_world *world)
{
	for (uint32_t i = 0; i < world->plot.relay_count; i++)
		if (world->relays[i].alive && world->relays[i].report.state == OB_STATE_FULL)
			return true;
	return false;
}

static void
retry(struct sim_world *world, uint32_t most)
{
	uint32_t count = sim_store_retry(&world->store, true, true, most);

	SIM_TELL(world, "a person tries %u messages again", count);
}

static void
discard(struct sim_world *world, bool parked, bool only_oversize, uint32_t most)
{
	uint32_t count = sim_store_discard(&world->store, parked, only_oversize, most);

	SIM_TELL(world, "a person discards %u messages", count);
}

static void
replay(struct sim_world *world)
{
	struct sim_store *store = &world->store;
	int32_t back = (int32_t)sim_rng_spread(&world->rng, 1, 100);
	uint32_t count;

	if (store->counts.replays >= 3 || store->checkpoint == 0)
		return;
	count = sim_store_replay(store, store->checkpoint > back ? store->checkpoint - back : 0);
	SIM_TELL(world, "a person replays %u messages", count);
}

static void
poke(struct sim_world *world)
{
	struct sim_relay *relay =
	    &world->relays[sim_rng_below(&world->rng, world->plot.relay_count)];
	struct ob_event event = {.kind = OB_EVENT_POKE};

	if (!relay->alive || relay->frozen_until_us > world->now_us)
		return;
	world->counts.pokes++;
	SIM_TELL(world, "a person says that the recipient is mended");
	sim_relay_step(relay, &event);
}

static void
act_at_random(struct sim_world *world)
{
	const struct sim_plot *plot = &world->plot;

	switch (sim_rng_below(&world->rng, 5)) {
	case 0:
		if (plot->person_retries)
			retry(world, (uint32_t)sim_rng_between(&world->rng, 0, 10));
		break;
	case 1:
		if (plot->person_discards)
			discard(world, sim_rng_chance(&world->rng, 300), false,
				(uint32_t)sim_rng_between(&world->rng, 1, 5));
		break;
	case 2:
		if (plot->person_replays)
			replay(world);
		break;
	case 3:
		if (plot->person_pokes)
			poke(world);
		break;
	default:
		break;
	}
}

/* The poison is healed by now, so what is dead is tried again where it holds a key, or where it is full. */
static void
free_what_waits(struct sim_world *world)
{
	if (world->store.dead_rows == 0)
		return;
	if (world->plot.config.retry.hold_key && world->now_us >= world->plot.heal_us) {
		discard(world, false, true, 1000);
		retry(world, 1000);
	}
	if (world->store.dead_rows > 0 && any_is_full(world))
		discard(world, false, false, 1000);
}

void
sim_person_acts(struct sim_world *world)
{
	int64_t again_us = 5 * INT64_C(1000000);

	world->store.now_us = world->now_us;
	if (sim_faults_last(world)) {
		act_at_random(world);
		again_us =
		    sim_rng_between(&world->rng, 1, 2 * (int64_t)world->plot.person_often_ms) *
		    1000;
	} else {
		free_what_waits(world);
	}
	sim_calls_news(world);
	sim_queue_put(&world->queue,
		      (struct sim_event){.at_us = world->now_us + again_us, .what = SIM_PERSON});
}
