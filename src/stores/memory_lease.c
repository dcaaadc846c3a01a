/* The leases of the memory store: the right to run a shard, and the epoch that each call of its owner is checked by. */
#include "memory_outbox.h"
#include "text.h"

static struct ob_parked_lane *
lane_of(const struct ob_lease_request *request, struct ob_acquired *acquired, uint64_t lane)
{
	for (uint32_t i = 0; i < acquired->lane_count; i++)
		if (request->lanes[i].lane == lane)
			return &request->lanes[i];
	if (acquired->lane_count == request->lanes_max)
		return NULL;
	request->lanes[acquired->lane_count] = (struct ob_parked_lane){.lane = lane};
	return &request->lanes[acquired->lane_count++];
}

/* The keys that wait: those with parked rows, and those held by a dead one that may have none. */
static int
lanes_fill(const struct memory_subscription *subscription, const struct ob_lease_request *request,
	   struct ob_acquired *acquired, struct ob_error *error)
{
	struct ob_parked_lane *lane = NULL;
	bool full = false;

	for (size_t i = 0; i < subscription->parked.count; i++) {
		const struct memory_kept *kept = subscription->parked.items[i];

		if (ob_shard_of(&kept->message, subscription->shard_count) != request->shard)
			continue;
		if (kept->scheduled)
			acquired->scheduled_rows++;
		else
			acquired->parked_rows++;
		if (kept->scheduled || kept->lane == 0)
			continue;
		lane = lane_of(request, acquired, kept->lane);
		if (lane != NULL)
			lane->rows++;
		full = full || lane == NULL;
	}
	for (size_t i = 0; i < subscription->dead.count; i++) {
		const struct memory_kept *kept = subscription->dead.items[i];

		if (ob_shard_of(&kept->message, subscription->shard_count) != request->shard)
			continue;
		acquired->dead_rows++;
		if (!kept->holds_key || kept->lane == 0)
			continue;
		lane = lane_of(request, acquired, kept->lane);
		if (lane != NULL)
			lane->held = true;
		full = full || lane == NULL;
	}
	return full ? ob_error_set(error, OB_LIMIT, "more than %u parked keys", request->lanes_max)
		    : OB_OK;
}

static void
store_forget(struct memory_store *store)
{
	store->holder = 0;
	ob_map_clear(&store->handed);
}

/* Whose it is instead. */
static void
lease_refuse(struct memory_store *store, const struct memory_shard *shard, int64_t now_us,
	     struct ob_acquired *acquired)
{
	store_forget(store);
	if (shard == NULL || shard->holder == 0 || shard->expires_us <= now_us)
		return;
	acquired->retry_in_ms = (shard->expires_us - now_us + 999) / 1000;
	ob_text_copy(acquired->owner, sizeof(acquired->owner), shard->owner);
}

static void
lease_begin(struct memory_store *store, struct memory_subscription *subscription,
	    struct memory_shard *shard)
{
	const struct ob_host *host = store->base.host;

	do {
		host->random(host->context, &store->holder, sizeof(store->holder));
	} while (store->holder == 0);
	store->subscription = subscription;
	store->shard = (uint32_t)(shard - subscription->shards);
	shard->epoch++;
	shard->holder = store->holder;
	ob_reading_start(&store->reading, shard->checkpoint, shard->replay_end);
}

static int
lease_take(struct memory_store *store, struct memory_subscription *subscription,
	   const struct ob_lease_request *request, struct ob_acquired *acquired,
	   struct ob_error *error)
{
	struct memory_shard *shard = request->shard < subscription->shard_count
					 ? &subscription->shards[request->shard]
					 : NULL;
	int64_t now_us = memory_now(&store->base);
	bool mine = shard != NULL && store->holder != 0 && shard->holder == store->holder;
	int code;

	acquired->shards = subscription->shard_count;
	acquired->changing = subscription->shards_next != 0;
	if (shard == NULL || (!mine && ((shard->holder != 0 && shard->expires_us > now_us) ||
					ob_memory_shards_ending(subscription)))) {
		lease_refuse(store, shard, now_us, acquired);
		return OB_OK;
	}
	code = lanes_fill(subscription, request, acquired, error);
	if (code != OB_OK)
		return code;
	acquired->goes_on = mine;
	if (mine)
		ob_reading_go_on(&store->reading, shard->checkpoint.replay, shard->replay_end);
	else
		lease_begin(store, subscription, shard);
	ob_map_clear(&store->handed);
	store->epoch = shard->epoch;
	store->more = true;
	shard->member = request->member;
	shard->lease_ms = request->lease_ms;
	shard->expires_us = now_us + request->lease_ms * 1000;
	ob_text_copy(shard->owner, sizeof(shard->owner),
		     request->owner == NULL ? "" : request->owner);
	acquired->held = true;
	acquired->epoch = store->epoch;
	acquired->paused = subscription->paused;
	return OB_OK;
}

int
ob_memory_acquire(struct ob_store *base, const struct ob_lease_request *request,
		  struct ob_acquired *acquired, struct ob_error *error)
{
	struct memory_store *store = memory_store_of(base);
	struct memory_subscription *subscription;
	int code;

	*acquired = (struct ob_acquired){0};
	pthread_mutex_lock(&store->outbox->lock);
	subscription = ob_memory_subscription(store->outbox, request->subscription);
	if (subscription == NULL) {
		code = ob_memory_subscription_missing(request->subscription, error);
	} else {
		ob_memory_shards_follow(store->outbox, subscription, memory_now(base));
		code = lease_take(store, subscription, request, acquired, error);
	}
	pthread_mutex_unlock(&store->outbox->lock);
	return code;
}

int
ob_memory_fence(struct memory_store *store, struct ob_error *error)
{
	if (store->holder == 0 || store->shard >= store->subscription->shard_count ||
	    memory_shard_of(store)->holder != store->holder) {
		store_forget(store);
		return ob_error_set(error, OB_STALE, "the lease is held by another relay");
	}
	if (memory_shard_of(store)->epoch != store->epoch)
		return ob_error_set(error, OB_CHANGED, "subscription '%s' was changed by a person",
				    store->subscription->name);
	return OB_OK;
}

int
ob_memory_renew(struct ob_store *base, const struct ob_relay_state *state, struct ob_error *error)
{
	struct memory_store *store = memory_store_of(base);
	int64_t now_us = memory_now(base);
	int code;

	pthread_mutex_lock(&store->outbox->lock);
	code = ob_memory_fence(store, error);
	if (code == OB_OK) {
		struct memory_shard *shard = memory_shard_of(store);

		shard->expires_us = now_us + shard->lease_ms * 1000;
		if (state != NULL) {
			ob_text_copy(shard->state, sizeof(shard->state), state->state);
			ob_text_copy(shard->code, sizeof(shard->code), state->code);
			ob_text_copy(shard->text, sizeof(shard->text), state->text);
			shard->state_since_us = now_us - state->since_ms * 1000;
		}
	}
	pthread_mutex_unlock(&store->outbox->lock);
	return code;
}

int
ob_memory_release(struct ob_store *base, struct ob_error *error)
{
	struct memory_store *store = memory_store_of(base);

	pthread_mutex_lock(&store->outbox->lock);
	if (ob_memory_fence(store, error) != OB_STALE) {
		struct memory_shard *shard = memory_shard_of(store);

		shard->holder = shard->member = 0;
		shard->expires_us = 0;
		shard->owner[0] = '\0';
		shard->state[0] = '\0';
		ob_memory_commit(store->outbox);
	}
	store_forget(store);
	pthread_mutex_unlock(&store->outbox->lock);
	return OB_OK;
}
