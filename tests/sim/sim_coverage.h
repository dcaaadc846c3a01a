/*
 * What the stories reached: which event met the engine in which state, and which kinds of outcome were
 * written. A promise that holds over states that are never reached says nothing, so floors are held.
 */
#ifndef SIM_COVERAGE_H
#define SIM_COVERAGE_H

#include "engine.h"

#include <stdio.h>

#define SIM_COVERAGE_EVENTS 36
#define SIM_COVERAGE_STATES (OB_STATE_DRAINED + 1)
#define SIM_COVERAGE_FACTS  32

struct sim_store_counts;

struct sim_coverage {
	uint64_t pairs[SIM_COVERAGE_EVENTS][SIM_COVERAGE_STATES];
	uint64_t facts[SIM_COVERAGE_FACTS];
	uint64_t stories;
	/* For the medians: how many stories had so many messages (by tens), crashes, outages. */
	uint64_t messages[128], crashes[32], outages[32];
};

void sim_coverage_event(struct sim_coverage *coverage, const struct ob_event *event,
			enum ob_state state);
void sim_coverage_story(struct sim_coverage *coverage, uint32_t messages, uint32_t crashes,
			uint32_t outages, const struct sim_store_counts *counts);
void sim_coverage_engine(struct sim_coverage *coverage, const struct ob_engine_stats *stats);
void sim_coverage_add(struct sim_coverage *coverage, const struct sim_coverage *other);
/* Prints the table; returns how many floors, reckoned for the number of stories, were not reached. */
uint32_t sim_coverage_print(const struct sim_coverage *coverage, FILE *out);

#endif
