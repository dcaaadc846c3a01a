#include "sim_plot.h"

#include <stdio.h>
#include <string.h>

#define MS  INT64_C(1000)
#define SEC INT64_C(1000000)

static const char *const fault_names[SIM_FAULT_KINDS] = {
    [SIM_FAULT_CRASH] = "crash",
    [SIM_FAULT_FREEZE] = "freeze",
    [SIM_FAULT_DRAIN] = "drain",
    [SIM_FAULT_REFUSES] = "recipient refuses",
    [SIM_FAULT_RESETS] = "recipient resets",
    [SIM_FAULT_HANGS] = "recipient hangs",
    [SIM_FAULT_BUSY] = "recipient is busy",
    [SIM_FAULT_REJECTS] = "recipient rejects all",
    [SIM_FAULT_BLOCKS] = "recipient blocks",
    [SIM_FAULT_SINK_FULL] = "sink full",
    [SIM_FAULT_STORE_DOWN] = "store down",
    [SIM_FAULT_STORE_BUSY] = "store busy",
    [SIM_FAULT_PAUSE] = "pause",
    [SIM_FAULT_LOCAL_PAUSE] = "local pause",
    [SIM_FAULT_LIMITS] = "limits change",
};

const char *
sim_fault_name(enum sim_fault_kind kind)
{
	return fault_names[kind];
}

/* ---- what the engine is told ---- */

static void
draw_quotas(struct ob_quotas *quotas, struct sim_rng *rng)
{
	*quotas = (struct ob_quotas){
	    .parked_rows = 2000,
	    .parked_rows_of_key = 1000,
	    .parked_keys = 64,
	    .scheduled_rows = 2000,
	    .dead_rows = 2000,
	};
	if (sim_rng_chance(rng, 200))
		quotas->parked_rows = (uint64_t)sim_rng_between(rng, 5, 60);
	if (sim_rng_chance(rng, 120))
		quotas->parked_rows_of_key = (uint32_t)sim_rng_between(rng, 2, 12);
	if (sim_rng_chance(rng, 200))
		quotas->parked_keys = (uint32_t)sim_rng_between(rng, 2, 8);
	if (sim_rng_chance(rng, 200))
		quotas->scheduled_rows = (uint64_t)sim_rng_between(rng, 2, 10);
	if (sim_rng_chance(rng, 200))
		quotas->dead_rows = (uint64_t)sim_rng_between(rng, 2, 12);
	if (quotas->parked_rows_of_key > quotas->parked_rows)
		quotas->parked_rows_of_key = (uint32_t)quotas->parked_rows;
}

static void
draw_retry(struct ob_retry_policy *retry, struct sim_rng *rng)
{
	static const int64_t ages_ms[] = {5000, 30000, 300000};

	retry->first_ms = sim_rng_spread(rng, 50, 2000);
	retry->max_ms = retry->first_ms * sim_rng_between(rng, 1, 16);
	if (retry->max_ms > 20000)
		retry->max_ms = 20000;
	retry->jitter_pct = (uint32_t)sim_rng_between(rng, 0, 3) * 10;
	retry->attempts_max = sim_rng_chance(rng, 600) ? (uint32_t)sim_rng_spread(rng, 1, 8) : 0;
	retry->age_max_ms = sim_rng_chance(rng, 600) ? ages_ms[sim_rng_below(rng, 3)] : 0;
	retry->hold_key = sim_rng_chance(rng, 350);
	retry->reject_retries = sim_rng_chance(rng, 150);
}

static void
draw_config(struct sim_plot *plot, struct sim_rng *rng)
{
	struct ob_engine_config *config = &plot->config;

	ob_engine_config_defaults(config);
	config->window_count_max = (uint32_t)sim_rng_spread(rng, 1, 128);
	config->window_bytes_max = sim_rng_chance(rng, 300)
				       ? (uint64_t)sim_rng_spread(rng, 2000, 60000)
				       : UINT64_C(1) << 20;
	config->fetch_count_max = (uint32_t)sim_rng_spread(rng, 1, config->window_count_max);
	config->parked_window_max = (uint32_t)sim_rng_spread(rng, 1, 32);
	config->in_flight_max = (uint32_t)sim_rng_spread(rng, 1, 48);
	config->submit_count_max = (uint32_t)sim_rng_spread(rng, 1, 32);
	config->settle_every_ms = sim_rng_spread(rng, 1, 500);
	config->park_after_ms = sim_rng_spread(rng, 10, 3000);
	config->probe_first_ms = sim_rng_spread(rng, 50, 1000);
	config->probe_max_ms = config->probe_first_ms * sim_rng_between(rng, 1, 16);
	config->storm_limit = sim_rng_chance(rng, 250) ? 0 : (uint32_t)sim_rng_between(rng, 3, 20);
	config->verdict_ms = sim_rng_spread(rng, 50, 1000);
	config->lease_ms = sim_rng_between(rng, 2, 10) * 1000;
	config->seed = sim_rng_next(rng);
	config->sink.message_bytes_max = 0;
	config->sink.in_flight_max = (uint32_t)sim_rng_spread(rng, 1, 64);
	config->sink.order = (enum ob_sink_order)sim_rng_below(rng, 3);
	draw_retry(&config->retry, rng);
	draw_quotas(&config->quotas, rng);
}

/* How much the store takes at once. Drawn by itself, so that the stories of before stay what they were. */
static void
draw_settles(struct ob_engine_config *config, uint64_t seed)
{
	struct sim_rng rng = {.state = ~seed};

	(void)sim_rng_next(&rng);
	if (sim_rng_chance(&rng, 500))
		config->settle_count_max = (uint32_t)sim_rng_spread(&rng, 1, 24);
	if (sim_rng_chance(&rng, 300))
		config->settle_bytes_max = (uint64_t)sim_rng_spread(&rng, 1, 20000);
}

/* ---- who writes what, and when ---- */

static uint8_t
draw_poison(struct sim_rng *rng, uint32_t kinds)
{
	uint8_t poison = (uint8_t)sim_rng_between(rng, SIM_REJECTED, SIM_UNANSWERED);

	return (kinds & (1u << poison)) != 0 ? poison : SIM_HARMLESS;
}

static void
draw_message(struct sim_plot *plot, struct sim_rng *rng, struct sim_message *message,
	     uint32_t kinds, uint32_t poison_chance, uint32_t scheduled_chance,
	     uint32_t unmatched_chance)
{
	message->payload_bytes = (uint32_t)sim_rng_spread(rng, 0, 2000);
	message->bytes = OB_ROW_OVERHEAD + message->payload_bytes;
	message->matches = !sim_rng_chance(rng, unmatched_chance);
	message->oversize = sim_rng_chance(rng, 2);
	if (sim_rng_chance(rng, scheduled_chance))
		message->deliver_at_us =
		    message->committed_us + sim_rng_spread(rng, 100, 40000) * MS;
	if (sim_rng_chance(rng, poison_chance)) {
		message->poison = draw_poison(rng, kinds);
		message->poison_times = (uint16_t)sim_rng_between(rng, 1, 6);
	}
	(void)plot;
}

/* Writers of one key serialise: nobody draws a number for a key whose last transaction is still open. */
static void
draw_transactions(struct sim_plot *plot, struct sim_rng *rng, int64_t last_us)
{
	int64_t busy_until[SIM_KEYS_MAX] = {0};
	uint32_t target = (uint32_t)sim_rng_between(rng, 250, 640);
	uint32_t keys = (uint32_t)sim_rng_spread(rng, 2, SIM_KEYS_MAX);
	uint32_t keyless = sim_rng_chance(rng, 600) ? (uint32_t)sim_rng_between(rng, 20, 400) : 0;
	uint32_t hot = sim_rng_chance(rng, 400) ? 400 : 0;
	uint32_t kinds = (uint32_t)sim_rng_below(rng, 32) & (uint32_t)~1;
	uint32_t poison = sim_rng_chance(rng, 750) ? (uint32_t)sim_rng_spread(rng, 4, 60) : 0;
	uint32_t scheduled = sim_rng_chance(rng, 450) ? (uint32_t)sim_rng_spread(rng, 10, 120) : 0;
	uint32_t unmatched = sim_rng_chance(rng, 400) ? (uint32_t)sim_rng_spread(rng, 20, 500) : 0;
	uint32_t rolled_back = sim_rng_chance(rng, 500) ? 60 : 0;
	int64_t step_us = last_us / target;
	int64_t open_us = plot->by_intervals ? sim_rng_spread(rng, 1, 3000) * MS : MS;
	uint32_t backlog = sim_rng_chance(rng, 300) ? target / 2 : 0;
	int64_t now_us = 0;

	for (uint32_t n = 0; n < target;) {
		uint32_t size = (uint32_t)sim_rng_spread(rng, 1, 6);
		bool gone = sim_rng_chance(rng, rolled_back);
		int64_t end_us;

		if (n > backlog)
			now_us += sim_rng_between(rng, 0, 2 * step_us * size);
		end_us = now_us + sim_rng_spread(rng, 1, open_us);
		if (!plot->by_intervals)
			end_us = now_us + 1 + n % 7;
		for (uint32_t i = 0; i < size && n < target; i++, n++) {
			struct sim_message *message = &plot->messages[n];
			int32_t key =
			    (int32_t)sim_rng_below(rng, sim_rng_chance(rng, hot) ? 1 : keys);

			if (sim_rng_chance(rng, keyless) || busy_until[key] >= now_us)
				key = SIM_NO_KEY;
			*message = (struct sim_message){
			    .position = (int64_t)n + 1,
			    .committed_us = end_us,
			    .key = key,
			    .rolled_back = gone,
			};
			draw_message(plot, rng, message, kinds, poison, scheduled, unmatched);
		}
		/* Its keys are busy until it ends; within it the same key may come again, in order. */
		for (uint32_t i = 1; i <= size && i <= n; i++) {
			int32_t key = plot->messages[n - i].key;

			if (key != SIM_NO_KEY && plot->messages[n - i].committed_us == end_us)
				busy_until[key] = end_us;
		}
		plot->message_count = n;
	}
}

static bool
message_is_before(const struct sim_message *a, const struct sim_message *b)
{
	if (a->rolled_back != b->rolled_back)
		return b->rolled_back;
	if (a->committed_us != b->committed_us)
		return a->committed_us < b->committed_us;
	return a->position < b->position;
}

/* Into the order of their commits. They are nearly so, by insertion. */
static void
sort_messages(struct sim_plot *plot)
{
	for (uint32_t i = 1; i < plot->message_count; i++) {
		struct sim_message moved = plot->messages[i];
		uint32_t at = i;

		if (!message_is_before(&moved, &plot->messages[i - 1]))
			continue;
		for (; at > 0 && message_is_before(&moved, &plot->messages[at - 1]); at--)
			plot->messages[at] = plot->messages[at - 1];
		plot->messages[at] = moved;
	}
	for (uint32_t i = 0; i < plot->message_count; i++) {
		plot->rolled_back_count += plot->messages[i].rolled_back;
		plot->at_position[plot->messages[i].position] = (uint16_t)i;
		memcpy(plot->messages[i].id, "m-", 2);
		for (uint32_t at = 0, n = i; at < 5; at++, n /= 10)
			plot->messages[i].id[6 - at] = (char)('0' + n % 10);
	}
	plot->message_count -= plot->rolled_back_count;
}

/* ---- what goes wrong ---- */

static void
add_fault(struct sim_plot *plot, struct sim_rng *rng, enum sim_fault_kind kind, int64_t longest_ms)
{
	struct sim_fault *fault;

	if (plot->fault_count == SIM_FAULTS_MAX)
		return;
	fault = &plot->faults[plot->fault_count++];
	*fault = (struct sim_fault){
	    .kind = (uint8_t)kind,
	    .relay = (uint8_t)sim_rng_below(rng, plot->relay_count),
	    .at_us = sim_rng_between(rng, 0, plot->faults_end_us * 9 / 10),
	    .lasts_us = sim_rng_spread(rng, 10, longest_ms) * MS,
	    .number = (uint32_t)sim_rng_next(rng),
	};
	/* Most of those who are stopped have lost their lease when they go on. */
	if (kind == SIM_FAULT_FREEZE && sim_rng_chance(rng, 700))
		fault->lasts_us += plot->config.lease_ms * MS;
	if (fault->at_us + fault->lasts_us > plot->faults_end_us)
		fault->lasts_us = plot->faults_end_us - fault->at_us;
	plot->crash_count += kind == SIM_FAULT_CRASH;
	plot->outage_count += kind >= SIM_FAULT_REFUSES && kind <= SIM_FAULT_BLOCKS;
}

static void
draw_faults(struct sim_plot *plot, struct sim_rng *rng)
{
	static const struct {
		enum sim_fault_kind kind;
		uint32_t chance; /* that there are any */
		int64_t most;
		int64_t longest_ms;
	} kinds[] = {
	    {SIM_FAULT_CRASH, 850, 5, 8000},       {SIM_FAULT_FREEZE, 350, 3, 20000},
	    {SIM_FAULT_DRAIN, 350, 2, 5000},       {SIM_FAULT_REFUSES, 500, 2, 30000},
	    {SIM_FAULT_RESETS, 400, 3, 10000},     {SIM_FAULT_HANGS, 250, 1, 10000},
	    {SIM_FAULT_BUSY, 250, 1, 10000},       {SIM_FAULT_REJECTS, 250, 1, 10000},
	    {SIM_FAULT_BLOCKS, 200, 1, 10000},     {SIM_FAULT_SINK_FULL, 250, 2, 5000},
	    {SIM_FAULT_STORE_DOWN, 300, 2, 10000}, {SIM_FAULT_STORE_BUSY, 250, 2, 5000},
	    {SIM_FAULT_PAUSE, 250, 2, 8000},       {SIM_FAULT_LOCAL_PAUSE, 150, 1, 5000},
	    {SIM_FAULT_LIMITS, 250, 3, 5000},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		int64_t count;

		if (!sim_rng_chance(rng, kinds[i].chance))
			continue;
		count =
		    sim_rng_between(rng, kinds[i].kind == SIM_FAULT_CRASH ? 2 : 1, kinds[i].most);
		for (; count > 0; count--)
			add_fault(plot, rng, kinds[i].kind, kinds[i].longest_ms);
	}
}

/* A chance that half of the stories have, and then small. */
static uint32_t
some(struct sim_rng *rng, uint32_t of_stories, int64_t most)
{
	return sim_rng_chance(rng, of_stories) ? (uint32_t)sim_rng_spread(rng, 1, most) : 0;
}

static void
draw_world(struct sim_plot *plot, struct sim_rng *rng)
{
	plot->store_call_us = sim_rng_spread(rng, 100, 50000);
	plot->store_busy = some(rng, 300, 60);
	plot->store_again = some(rng, 400, 30);
	plot->store_unreachable = some(rng, 200, 100);
	plot->send_us = sim_rng_spread(rng, 200, 100000);
	plot->answer_us = sim_rng_spread(rng, 200, 100000);
	plot->slow = some(rng, 400, 60);
	plot->request_timeout_us = sim_rng_between(rng, 1000, 8000) * MS;
	plot->lost = some(rng, 300, 30);
	plot->unanswered = some(rng, 300, 40);
	plot->retried = some(rng, 300, 40);
	plot->rejected = some(rng, 150, 10);
	plot->down = some(rng, 150, 10);
	plot->arrives_late = sim_rng_chance(rng, 300) ? 300 : 0;
	plot->sink_partial = some(rng, 250, 200);
	plot->person_often_ms =
	    sim_rng_chance(rng, 400) ? (uint32_t)sim_rng_between(rng, 1000, 15000) : 0;
	plot->person_retries = sim_rng_chance(rng, 700);
	plot->person_discards = sim_rng_chance(rng, 500);
	plot->person_replays = sim_rng_chance(rng, 500);
	plot->person_pokes = sim_rng_chance(rng, 300);
	for (uint32_t i = 0; i < SIM_RELAYS_MAX; i++) {
		plot->relay_offset_ms[i] = sim_rng_between(rng, 1, 1000000);
		plot->relay_ppm[i] = (int32_t)sim_rng_between(rng, -2000, 2000);
	}
}

void
sim_plot_draw(struct sim_plot *plot, uint64_t seed, struct sim_rng *rng)
{
	memset(plot, 0, offsetof(struct sim_plot, messages));
	memset(&plot->message_count, 0, sizeof(*plot) - offsetof(struct sim_plot, message_count));
	plot->seed = seed;
	plot->relay_count = sim_rng_chance(rng, 500) ? 2 : 1;
	plot->by_intervals = sim_rng_chance(rng, 400);
	plot->faults_end_us = sim_rng_between(rng, 30, 120) * SEC;
	plot->heal_us = plot->faults_end_us + sim_rng_between(rng, 0, 60) * SEC;
	draw_config(plot, rng);
	draw_settles(&plot->config, seed);
	draw_world(plot, rng);
	draw_transactions(plot, rng, plot->faults_end_us * 8 / 10);
	sort_messages(plot);
	draw_faults(plot, rng);
}
