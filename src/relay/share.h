/*
 * Which shards of a subscription a relay should run, by what it is told of the crew.
 *
 * Every relay decides for itself, from its own look at the store; none tells another what to do. With N shards and M
 * members each should hold N / M of them, and N % M of them one more, those first who hold that many already: so that no
 * shard moves but to make the numbers even. Who holds too many gives some up, by a drain, and who holds
 * too few takes what nobody holds; only a lease gives the right to, so two who take the same are told apart by the store,
 * and a look that is out of date costs one move, not the order.
 *
 * What is too many must have been so for some time, so that a relay which joins and is gone again moves nothing. What
 * is free is taken at once.
 *
 * Pure: no clock, no I/O.
 */
#ifndef OB_RELAY_SHARE_H
#define OB_RELAY_SHARE_H

#include <outbox/store.h>

struct ob_share {
	uint64_t member; /* this relay, as its leases say */
	bool
	    only_what_is_free; /* it has not joined: takes whatever nobody holds, and moves nothing */
	int64_t patience_ms;   /* how long it may hold too many before it gives some up */
	/* What it runs now, whether it got the lease already or not, and what it has begun to give up. Filled in by the
	   caller before each decision. */
	bool runs[OB_SHARDS_MAX];
	bool gives_up[OB_SHARDS_MAX];
	/* The decision: of what it runs, what to give up now; and what to begin to run. */
	bool give[OB_SHARDS_MAX];
	bool take[OB_SHARDS_MAX];
	/* How many it should run, and since when it has been running more; the decision's own. */
	uint32_t target;
	bool has_too_many;
	int64_t too_many_since_ms;
};

void ob_share_decide(struct ob_share *share, const struct ob_crew *crew, int64_t now_ms);

#endif
