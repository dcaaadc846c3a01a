/* What ob_subscription_stats says of its shards, for the stores that have some. */
#ifndef OB_STORES_SHARD_STATS_H
#define OB_STORES_SHARD_STATS_H

#include <outbox/store.h>

/* Hangs `count` shards, 1 at least, into `stats` and fills in the fields that are those of one of them. */
void ob_shard_stats_show(struct ob_subscription_stats *stats, const struct ob_shard_stats *shards,
			 uint32_t count);

#endif
