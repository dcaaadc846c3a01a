#include "sim_coverage.h"

#include <string.h>

#include "sim_store.h"

/* Events with what makes them different to the engine. */
enum pair_event {
	START = 0,
	ACQUIRED_HELD,
	ACQUIRED_GOES_ON,
	ACQUIRED_NOT,
	ACQUIRED_FAILED,
	RENEWED_OK,
	RENEWED_BUSY,
	RENEWED_AGAIN,
	RENEWED_STALE,
	RENEWED_CHANGED,
	FETCHED_ROWS,
	FETCHED_PARKED,
	FETCHED_NOTHING,
	FETCHED_FAILED,
	SUBMITTED,
	SINK_FREE,
	RECEIPT_UNKNOWN,
	RECEIPT_SENT,
	RECEIPT_RETRY,
	RECEIPT_REJECT,
	RECEIPT_DOWN,
	RECEIPT_BLOCKED,
	RECEIPT_RETURNED,
	SETTLED_OK,
	SETTLED_BUSY,
	SETTLED_AGAIN,
	SETTLED_STALE,
	SETTLED_CHANGED,
	TIMER,
	LIMITS,
	POKE,
	PAUSE,
	RESUME,
	DRAIN,
	ABANDON,
	PAIR_EVENTS
};

static const char *const event_names[PAIR_EVENTS] = {"start",
						     "acquired",
						     "acquired, goes on",
						     "acquired by another",
						     "acquire failed",
						     "renewed",
						     "renew busy",
						     "renew again",
						     "renew stale",
						     "renew changed",
						     "fetched rows",
						     "fetched parked",
						     "fetched nothing",
						     "fetch failed",
						     "submitted",
						     "sink free",
						     "receipt unknown",
						     "receipt sent",
						     "receipt retry",
						     "receipt reject",
						     "receipt down",
						     "receipt blocked",
						     "receipt returned",
						     "settled",
						     "settle busy",
						     "settle again",
						     "settle stale",
						     "settle changed",
						     "timer",
						     "limits",
						     "poke",
						     "pause",
						     "resume",
						     "drain",
						     "abandon"};

/* Facts: the store's counts first, then the engine's. */
static const char *const fact_names[] = {"parked",
					 "behind",
					 "scheduled",
					 "dead",
					 "dead, holds",
					 "unparked",
					 "reparked",
					 "back",
					 "buried",
					 "buried, holds",
					 "settles",
					 "refused as stale",
					 "refused as changed",
					 "replays",
					 "revived",
					 "discarded",
					 "sent",
					 "retried",
					 "rejected",
					 "unknown",
					 "down receipts",
					 "charged downs",
					 "late receipts"};

/* ---- counting ---- */

static enum pair_event
settled_code(enum ob_code code, enum pair_event ok)
{
	switch (code) {
	case OB_OK:
		return ok;
	case OB_BUSY:
		return ok + 1;
	case OB_STALE:
		return ok + 3;
	case OB_CHANGED:
		return ok + 4;
	default:
		return ok + 2;
	}
}

static enum pair_event
fetched(const struct ob_event *event)
{
	if (event->code != OB_OK)
		return FETCHED_FAILED;
	if (event->batch->count == 0)
		return FETCHED_NOTHING;
	return event->batch->rows[0].ordinal == 0 ? FETCHED_PARKED : FETCHED_ROWS;
}

static enum pair_event
acquired(const struct ob_event *event)
{
	if (event->code != OB_OK)
		return ACQUIRED_FAILED;
	if (!event->acquired->held)
		return ACQUIRED_NOT;
	return event->acquired->goes_on ? ACQUIRED_GOES_ON : ACQUIRED_HELD;
}

static enum pair_event
pair_of(const struct ob_event *event)
{
	switch (event->kind) {
	case OB_EVENT_START:
		return START;
	case OB_EVENT_ACQUIRED:
		return acquired(event);
	case OB_EVENT_RENEWED:
		return settled_code(event->code, RENEWED_OK);
	case OB_EVENT_FETCHED:
		return fetched(event);
	case OB_EVENT_SUBMITTED:
		return SUBMITTED;
	case OB_EVENT_SINK_FREE:
		return SINK_FREE;
	case OB_EVENT_RECEIPTS:
		return RECEIPT_UNKNOWN + (enum pair_event)event->receipts[0].fate;
	case OB_EVENT_SETTLED:
		return settled_code(event->code, SETTLED_OK);
	case OB_EVENT_TIMER:
		return TIMER;
	case OB_EVENT_LIMITS:
		return LIMITS;
	case OB_EVENT_POKE:
		return POKE;
	case OB_EVENT_PAUSE:
		return PAUSE;
	case OB_EVENT_RESUME:
		return RESUME;
	case OB_EVENT_DRAIN:
		return DRAIN;
	case OB_EVENT_ABANDON:
		return ABANDON;
	}
	return TIMER;
}

void
sim_coverage_event(struct sim_coverage *coverage, const struct ob_event *event, enum ob_state state)
{
	if (coverage != NULL)
		coverage->pairs[pair_of(event)][state]++;
}

void
sim_coverage_story(struct sim_coverage *coverage, uint32_t messages, uint32_t crashes,
		   uint32_t outages, const struct sim_store_counts *counts)
{
	const uint64_t values[] = {
	    counts->parked,          counts->behind,    counts->scheduled, counts->dead,
	    counts->dead_hold,       counts->unparked,  counts->reparked,  counts->back,
	    counts->buried,          counts->bury_hold, counts->settles,   counts->refused_stale,
	    counts->refused_changed, counts->replays,   counts->revived,   counts->discarded};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		coverage->facts[i] += values[i];
	coverage->stories++;
	coverage->messages[messages / 10 < 127 ? messages / 10 : 127]++;
	coverage->crashes[crashes < 31 ? crashes : 31]++;
	coverage->outages[outages < 31 ? outages : 31]++;
}

void
sim_coverage_engine(struct sim_coverage *coverage, const struct ob_engine_stats *stats)
{
	const uint64_t values[] = {stats->sent,         stats->retried,       stats->rejected,
				   stats->unknown,      stats->down_receipts, stats->charged_downs,
				   stats->late_receipts};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		coverage->facts[16 + i] += values[i];
}

void
sim_coverage_add(struct sim_coverage *coverage, const struct sim_coverage *other)
{
	uint64_t *to = (uint64_t *)(void *)coverage;
	const uint64_t *from = (const uint64_t *)(const void *)other;

	for (size_t i = 0; i < sizeof(*coverage) / sizeof(*to); i++)
		to[i] += from[i];
}

/* ---- printing, and the floors ---- */

static uint32_t
median(const uint64_t *histogram, size_t size, uint64_t total)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < size; i++) {
		sum += histogram[i];
		if (2 * sum >= total)
			return (uint32_t)i;
	}
	return 0;
}

static uint32_t
check_floor(FILE *out, const char *what, uint64_t reached, uint64_t floor)
{
	if (reached >= floor)
		return 0;
	fprintf(out, "below its floor: %s: %llu, at least %llu wanted\n", what,
		(unsigned long long)reached, (unsigned long long)floor);
	return 1;
}

#include "sim_floors.h"

static uint32_t
check_floors(const struct sim_coverage *coverage, FILE *out)
{
	uint32_t missed = 0;

	for (int event = 0; event < PAIR_EVENTS; event++) {
		for (int state = 0; state < SIM_COVERAGE_STATES; state++) {
			char what[80];

			snprintf(what, sizeof(what), "%s while %s", event_names[event],
				 ob_state_name((enum ob_state)state));
			missed +=
			    check_floor(out, what, coverage->pairs[event][state],
					pair_floors[event][state] * coverage->stories / 10000);
		}
	}
	for (size_t i = 0; i < sizeof(fact_names) / sizeof(fact_names[0]); i++)
		missed += check_floor(out, fact_names[i], coverage->facts[i],
				      fact_floors[i] * coverage->stories / 10000);
	return missed;
}

uint32_t
sim_coverage_print(const struct sim_coverage *coverage, FILE *out)
{
	uint32_t messages = median(coverage->messages, 128, coverage->stories) * 10;
	uint32_t crashes = median(coverage->crashes, 32, coverage->stories);
	uint32_t outages = median(coverage->outages, 32, coverage->stories);
	uint32_t missed = 0;

	fprintf(out, "%-20s", "event while");
	for (int state = 0; state < SIM_COVERAGE_STATES; state++)
		fprintf(out, " %12s", ob_state_name((enum ob_state)state));
	fputc('\n', out);
	for (int event = 0; event < PAIR_EVENTS; event++) {
		fprintf(out, "%-20s", event_names[event]);
		for (int state = 0; state < SIM_COVERAGE_STATES; state++)
			fprintf(out, " %12llu", (unsigned long long)coverage->pairs[event][state]);
		fputc('\n', out);
	}
	for (size_t i = 0; i < sizeof(fact_names) / sizeof(fact_names[0]); i++)
		fprintf(out, "%-20s %12llu\n", fact_names[i],
			(unsigned long long)coverage->facts[i]);
	fprintf(out, "medians: %u messages, %u crashes, %u outages\n", messages, crashes, outages);
	missed += check_floor(out, "messages at the median", messages, 300);
	missed += check_floor(out, "crashes at the median", crashes, 2);
	missed += check_floor(out, "outages at the median", outages, 1);
	return missed + check_floors(coverage, out);
}
