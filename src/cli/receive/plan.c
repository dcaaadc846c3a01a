#include "plan.h"

#include <string.h>

#include "hash.h"
#include "text.h"

#define SEEN_FIRST 4096
#define SEEN_MAX   ((size_t)1 << 24)

/* How often an id was taken and how often it failed, in one value that is never NULL. */
#define COUNT_TAKEN  ((uintptr_t)2)
#define COUNT_FAILED ((uintptr_t)1 << 32)
#define COUNT_NONE   ((uintptr_t)1)

bool
receive_plan_open(struct receive_plan *plan, const unsigned char random[16])
{
	memcpy(plan->hash_key, random, sizeof(plan->hash_key));
	return ob_map_init(&plan->seen, SEEN_FIRST);
}

void
receive_plan_close(struct receive_plan *plan)
{
	ob_map_free(&plan->seen);
}

static bool
grow(struct ob_map *map)
{
	struct ob_map larger;
	size_t at = 0;
	uint64_t key;
	void *value;

	if (map->capacity >= SEEN_MAX || !ob_map_init(&larger, 2 * map->capacity))
		return false;
	while (ob_map_next(map, &at, &key, &value))
		ob_map_put(&larger, key, value);
	ob_map_free(map);
	*map = larger;
	return true;
}

/* Adds to the counts of an id and returns what they were; past SEEN_MAX ids new ones are not remembered. */
static uintptr_t
count_up(struct receive_plan *plan, struct ob_bytes id, uintptr_t by)
{
	uint64_t hash = ob_hash(plan->hash_key, id.data, id.size);
	uintptr_t counts = (uintptr_t)ob_map_get(&plan->seen, hash);

	if (counts == 0)
		counts = COUNT_NONE;
	if (plan->seen.count == plan->seen.capacity)
		(void)grow(&plan->seen);
	(void)ob_map_put(&plan->seen, hash, (void *)(counts + by));
	return counts;
}

bool
receive_plan_request(struct receive_plan *plan)
{
	plan->requests++;
	return plan->all || (plan->every > 0 && plan->requests % (uint64_t)plan->every == 0);
}

bool
receive_plan_fails(struct receive_plan *plan, struct ob_bytes id, struct ob_bytes key,
		   bool by_number)
{
	bool fails = by_number || (plan->key != NULL && ob_bytes_equal_text(key, plan->key)) ||
		     (plan->id != NULL && ob_bytes_equal_text(id, plan->id));

	if (!fails || plan->times == 0 || id.data == NULL)
		return fails;
	return (int64_t)(count_up(plan, id, COUNT_FAILED) / COUNT_FAILED) < plan->times;
}

bool
receive_plan_taken(struct receive_plan *plan, struct ob_bytes id)
{
	if (id.data == NULL)
		return false;
	return count_up(plan, id, COUNT_TAKEN) % COUNT_FAILED >= COUNT_TAKEN;
}
