/* Who else runs a subscription of the memory store, and how the number of its shards changes: see store.h. */
#include <stdlib.h>

#include "memory_outbox.h"

/* ---- the shards ---- */

bool
ob_memory_shards_make(struct memory_subscription *subscription, uint32_t count, int64_t log)
{
	struct memory_shard *shards = calloc(count, sizeof(*shards));
	uint64_t epoch = 0;

	if (shards == NULL)
		return false;
	for (uint32_t i = 0; i < subscription->shard_count; i++)
		if (subscription->shards[i].epoch > epoch)
			epoch = subscription->shards[i].epoch;
	for (uint32_t i = 0; i < count; i++) {
		shards[i].epoch = epoch + 1;
		shards[i].checkpoint = (struct ob_mark){.log = log, .replay = OB_NO_REPLAY};
	}
	free(subscription->shards);
	subscription->shards = shards;
	subscription->shard_count = count;
	subscription->shards_next = 0;
	return true;
}

void
ob_memory_shards_change(struct memory_outbox *outbox, struct memory_subscription *subscription,
			uint32_t count)
{
	bool was_changing = subscription->shards_next != 0;

	/* Back to what it is: the shards go on as they are. */
	subscription->shards_next = count == subscription->shard_count ? 0 : count;
	if (was_changing == (subscription->shards_next != 0))
		return;
	/* Nobody has read further than the log goes. */
	if (!was_changing)
		subscription->common = outbox->last_position;
	/* Whoever runs one is to know. */
	for (uint32_t i = 0; i < subscription->shard_count; i++)
		subscription->shards[i].epoch++;
	ob_memory_commit(outbox);
}

bool
ob_memory_shard_ended(const struct memory_subscription *subscription, uint32_t shard)
{
	const struct ob_mark *checkpoint = &subscription->shards[shard].checkpoint;

	return subscription->shards_next != 0 && checkpoint->log >= subscription->common &&
	       checkpoint->replay == OB_NO_REPLAY;
}

bool
ob_memory_shards_ending(const struct memory_subscription *subscription)
{
	for (uint32_t i = 0; i < subscription->shard_count; i++)
		if (!ob_memory_shard_ended(subscription, i))
			return false;
	return true;
}

static bool
shards_are_held(const struct memory_subscription *subscription, int64_t now_us)
{
	for (uint32_t i = 0; i < subscription->shard_count; i++)
		if (subscription->shards[i].holder != 0 &&
		    subscription->shards[i].expires_us > now_us)
			return true;
	return false;
}

void
ob_memory_shards_follow(struct memory_outbox *outbox, struct memory_subscription *subscription,
			int64_t now_us)
{
	if (subscription->shards_next == 0 || !ob_memory_shards_ending(subscription) ||
	    shards_are_held(subscription, now_us))
		return;
	/* Without memory the old ones stay, and the next call tries again. */
	if (ob_memory_shards_make(subscription, subscription->shards_next, subscription->common))
		ob_memory_commit(outbox);
}

/* ---- the members ---- */

void
ob_memory_members_free(struct memory_subscription *subscription)
{
	while (subscription->members != NULL) {
		struct memory_member *member = subscription->members;

		subscription->members = member->next;
		free(member);
	}
}

/* Takes out `member`, and whoever's time is up. */
static void
members_remove(struct memory_subscription *subscription, uint64_t member, int64_t now_us)
{
	struct memory_member **at = &subscription->members;

	while (*at != NULL) {
		struct memory_member *it = *at;

		if (it->member != member && it->expires_us > now_us) {
			at = &it->next;
			continue;
		}
		*at = it->next;
		free(it);
	}
}

static bool
members_add(struct memory_subscription *subscription, const struct ob_member *member,
	    int64_t now_us)
{
	int64_t expires_us = now_us + member->live_ms * 1000;
	struct memory_member **at = &subscription->members;

	for (; *at != NULL; at = &(*at)->next)
		if ((*at)->member == member->member)
			break;
	if (*at == NULL)
		*at = calloc(1, sizeof(**at));
	if (*at == NULL)
		return false;
	(*at)->member = member->member;
	(*at)->expires_us = expires_us;
	return true;
}

static void
crew_end(struct ob_crew *crew, int64_t left_us)
{
	int64_t left_ms = (left_us + 999) / 1000;

	if (crew->next_end_ms < 0 || left_ms < crew->next_end_ms)
		crew->next_end_ms = left_ms;
}

static void
crew_fill(const struct memory_subscription *subscription, uint64_t member, int64_t now_us,
	  struct ob_crew *crew)
{
	*crew = (struct ob_crew){
	    .shards = subscription->shard_count,
	    .shards_next = subscription->shards_next,
	    .ending = ob_memory_shards_ending(subscription),
	    .next_end_ms = -1,
	};
	for (uint32_t i = 0; i < subscription->shard_count; i++) {
		const struct memory_shard *shard = &subscription->shards[i];

		if (shard->holder == 0 || shard->expires_us <= now_us)
			continue;
		crew->leases[i] = (struct ob_shard_lease){.held = true, .member = shard->member};
		if (member == 0 || shard->member != member)
			crew_end(crew, shard->expires_us - now_us);
	}
	for (const struct memory_member *it = subscription->members;
	     it != NULL && crew->member_count < OB_MEMBERS_MAX; it = it->next) {
		crew->members[crew->member_count++] = it->member;
		if (it->member != member)
			crew_end(crew, it->expires_us - now_us);
	}
}

int
ob_memory_join(struct ob_store *base, const struct ob_member *member, struct ob_crew *crew,
	       struct ob_error *error)
{
	struct memory_outbox *outbox = memory_store_of(base)->outbox;
	struct memory_subscription *subscription;
	int64_t now_us = memory_now(base);
	int code = OB_OK;

	pthread_mutex_lock(&outbox->lock);
	subscription = ob_memory_subscription(outbox, member->subscription);
	if (subscription == NULL) {
		code = ob_memory_subscription_missing(member->subscription, error);
	} else if (member->member != 0 && !members_add(subscription, member, now_us)) {
		code = ob_error_set(error, OB_NOMEM, "out of memory");
	} else {
		members_remove(subscription, 0, now_us);
		ob_memory_shards_follow(outbox, subscription, now_us);
		crew_fill(subscription, member->member, now_us, crew);
	}
	pthread_mutex_unlock(&outbox->lock);
	return code;
}

int
ob_memory_leave(struct ob_store *base, const char *name, uint64_t member, struct ob_error *error)
{
	struct memory_outbox *outbox = memory_store_of(base)->outbox;
	struct memory_subscription *subscription;

	pthread_mutex_lock(&outbox->lock);
	subscription = ob_memory_subscription(outbox, name);
	if (subscription != NULL)
		members_remove(subscription, member, memory_now(base));
	pthread_mutex_unlock(&outbox->lock);
	return subscription != NULL ? OB_OK : ob_memory_subscription_missing(name, error);
}
