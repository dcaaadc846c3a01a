#include "shard_stats.h"

#include <string.h>

/* How much it needs a person. */
static int
need(const struct ob_shard_stats *shard)
{
	if (!shard->held)
		return 2;
	return *shard->state != '\0' && strcmp(shard->state, "running") != 0;
}

void
ob_shard_stats_show(struct ob_subscription_stats *stats, const struct ob_shard_stats *shards,
		    uint32_t count)
{
	const struct ob_shard_stats *worst = &shards[0];

	for (uint32_t i = 1; i < count; i++)
		if (need(&shards[i]) > need(worst))
			worst = &shards[i];
	stats->held = worst->held;
	stats->owner = worst->owner;
	stats->lease_left_ms = worst->lease_left_ms;
	stats->epoch = worst->epoch;
	stats->state = worst->state;
	stats->code = worst->code;
	stats->text = worst->text;
	stats->state_since_ms = worst->state_since_ms;
	stats->shard = shards;
	stats->shards = count;
}
