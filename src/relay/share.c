#include "share.h"

#include <string.h>

/* Where `member` stands among those that are told of; `member_count` when it is not one of them. */
static uint32_t
place_of(const struct ob_crew *crew, uint64_t member)
{
	uint32_t i = 0;

	while (i < crew->member_count && crew->members[i] != member)
		i++;
	return i;
}

/* How many each member holds, by the leases. */
static void
count_leases(const struct ob_crew *crew, uint32_t held[OB_MEMBERS_MAX])
{
	memset(held, 0, OB_MEMBERS_MAX * sizeof(held[0]));
	for (uint32_t i = 0; i < crew->shards; i++) {
		uint32_t at = place_of(crew, crew->leases[i].member);

		if (crew->leases[i].held && at < crew->member_count)
			held[at]++;
	}
}

/*
 * How many each should hold. Who gets one more must not depend on how far others have come with giving up: two that both
 * hold too many would change places while they do. So all who hold enough for it are alike, and the order of joining
 * tells them apart.
 */
static void
targets_fill(const struct ob_crew *crew, const uint32_t held[], uint32_t targets[])
{
	uint32_t each, rest;

	if (crew->member_count == 0)
		return;
	each = crew->shards / crew->member_count;
	rest = crew->shards % crew->member_count;
	for (int first = 1; first >= 0; first--)
		for (uint32_t i = 0; i < crew->member_count; i++) {
			if ((held[i] > each) != first)
				continue;
			targets[i] = each + (rest > 0);
			rest -= rest > 0;
		}
}

static bool
is_anothers(const struct ob_share *share, const struct ob_crew *crew, uint32_t shard)
{
	return crew->leases[shard].held && crew->leases[shard].member != share->member;
}

/* Out of what is not, or no more, its own: what another has got, what is no shard any more, and all when they end. */
static void
give_strange(struct ob_share *share, const struct ob_crew *crew)
{
	for (uint32_t i = 0; i < OB_SHARDS_MAX; i++)
		share->give[i] = share->runs[i] &&
				 (i >= crew->shards || crew->ending || is_anothers(share, crew, i));
}

static uint32_t
count_kept(const struct ob_share *share)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < OB_SHARDS_MAX; i++)
		count += share->runs[i] && !share->give[i];
	return count;
}

/* Those first for which it has no lease yet: they cost nothing. */
static void
give_surplus(struct ob_share *share, const struct ob_crew *crew, uint32_t count)
{
	for (int with_lease = 0; with_lease < 2; with_lease++)
		for (uint32_t i = crew->shards; i-- > 0 && count > 0;) {
			if (!share->runs[i] || share->give[i] ||
			    (with_lease == 0 && crew->leases[i].held))
				continue;
			share->give[i] = true;
			count--;
		}
}

/* From the one on that those before it leave to it, so that those who take at the same time do not meet. */
static void
take_free(struct ob_share *share, const struct ob_crew *crew, uint32_t skip, uint32_t count)
{
	uint32_t free[OB_SHARDS_MAX], free_count = 0;

	for (uint32_t i = 0; i < crew->shards; i++)
		if (!crew->leases[i].held && !share->runs[i] && !share->gives_up[i])
			free[free_count++] = i;
	for (uint32_t n = 0; n < free_count && n < count; n++)
		share->take[free[(skip + n) % free_count]] = true;
}

void
ob_share_decide(struct ob_share *share, const struct ob_crew *crew, int64_t now_ms)
{
	uint32_t held[OB_MEMBERS_MAX], targets[OB_MEMBERS_MAX];
	uint32_t place = place_of(crew, share->member), kept, skip = 0;
	bool had_too_many = share->has_too_many;

	memset(share->take, 0, sizeof(share->take));
	give_strange(share, crew);
	count_leases(crew, held);
	targets_fill(crew, held, targets);
	share->target = share->only_what_is_free     ? crew->shards
			: place < crew->member_count ? targets[place]
						     : 0;
	kept = count_kept(share);
	share->has_too_many = kept > share->target;
	if (!had_too_many)
		share->too_many_since_ms = now_ms;
	if (share->has_too_many && now_ms - share->too_many_since_ms >= share->patience_ms)
		give_surplus(share, crew, kept - share->target);
	for (uint32_t i = 0; i < place && i < crew->member_count; i++)
		skip += targets[i] > held[i] ? targets[i] - held[i] : 0;
	if (kept < share->target && !crew->ending)
		take_free(share, crew, skip, share->target - kept);
}
