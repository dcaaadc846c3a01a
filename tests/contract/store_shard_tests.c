/* Shards: which message is whose, and that each has a checkpoint, a lease and parked rows of its own. */
#include "store_world.h"

#include "store_suite.h"

#define KEYS   12
#define SHARDS 3

/* Twelve messages of twelve keys, then twelve more, then six without a key. */
static void
append_all(struct world *world)
{
	char key[8];

	for (unsigned i = 0; i < 2 * KEYS; i++) {
		snprintf(key, sizeof(key), "k%u", i % KEYS);
		world_append(world, i % 3 == 0 ? "orders" : "bills", key, "{}");
	}
	for (unsigned i = 0; i < KEYS / 2; i++)
		world_append(world, "orders", NULL, "{}");
}

/* Which shard gives which message: `of[n]` for message n. */
static void
shards_read(struct world *world, uint32_t shards, int of[2 * KEYS + KEYS / 2 + 1])
{
	for (unsigned n = 0; n <= 2 * KEYS + KEYS / 2; n++)
		of[n] = -1;
	for (uint32_t shard = 0; shard < shards; shard++) {
		struct ob_batch *batch;
		unsigned last = 0;

		assert_true(world_try_shard(world, 0, "s", shard, 60000)->held);
		assert_int_equal(world->at[0].acquired.shards, shards);
		assert_false(world->at[0].acquired.changing);
		batch = world_fetch(world, 0);
		for (uint32_t i = 0; i < batch->count; i++) {
			unsigned n = world_number(&batch->rows[i]);

			assert_int_equal(of[n], -1);
			assert_true(n > last);
			assert_int_equal(batch->rows[i].ordinal, i + 1);
			of[n] = (int)shard;
			last = n;
		}
		expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	}
}

static void
every_message_is_one_shards_and_a_key_stays_with_it(void **state)
{
	struct world *world = *state;
	int of[2 * KEYS + KEYS / 2 + 1];
	unsigned used = 0;

	world_subscribe_shards(world, "s", SHARDS);
	append_all(world);
	shards_read(world, SHARDS, of);
	for (unsigned n = 1; n <= 2 * KEYS + KEYS / 2; n++) {
		assert_int_not_equal(of[n], -1);
		used |= 1u << of[n];
		if (n > KEYS && n <= 2 * KEYS)
			assert_int_equal(of[n], of[n - KEYS]);
	}
	/* That twelve keys leave a shard without any would be a hash of one in thousands. */
	assert_int_equal(used, (1u << SHARDS) - 1);
}

static void
a_shard_settles_for_itself(void **state)
{
	struct world *world = *state;
	uint32_t first, second;
	struct ob_batch *batch;

	world_subscribe_shards(world, "s", 2);
	world_open(world, 1);
	world_open(world, 2);
	append_all(world);
	assert_true(world_try_shard(world, 0, "s", 0, 60000)->held);
	assert_true(world_try_shard(world, 1, "s", 1, 60000)->held);
	assert_false(world_try_shard(world, 2, "s", 1, 60000)->held);
	assert_string_equal(world->at[2].acquired.owner, "relay 1");
	first = world_fetch(world, 0)->count;
	second = world_fetch(world, 1)->count;
	assert_int_equal(first + second, 2 * KEYS + KEYS / 2);
	world_settle(world, 0, first);
	world_settle(world, 1, 1);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	expect_ok(world, world->kind->ops->release(world->at[1].store, &world->error));
	assert_true(world_try_shard(world, 2, "s", 0, 60000)->held);
	batch = world_fetch(world, 2);
	assert_int_equal(batch->count, 0);
	assert_false(batch->more);
	expect_ok(world, world->kind->ops->release(world->at[2].store, &world->error));
	assert_true(world_try_shard(world, 2, "s", 1, 60000)->held);
	assert_int_equal(world_fetch(world, 2)->count, second - 1);
}

static void
a_shard_that_is_not_there_is_nobodys(void **state)
{
	struct world *world = *state;

	world_subscribe_shards(world, "s", 2);
	assert_false(world_try_shard(world, 0, "s", 2, 60000)->held);
	assert_int_equal(world->at[0].acquired.shards, 2);
	assert_string_equal(world->at[0].acquired.owner, "");
	assert_true(world_try_shard(world, 0, "s", 1, 60000)->held);
}

static void
too_many_shards_are_refused(void **state)
{
	struct world *world = *state;
	struct ob_subscription subscription = {
	    .name = "s", .topics = "*", .shards = OB_SHARDS_MAX + 1};

	expect_code(world, OB_CONFIG,
		    world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
	subscription.shards = OB_SHARDS_MAX;
	expect_ok(world,
		  world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
	assert_true(world_try_shard(world, 0, "s", OB_SHARDS_MAX - 1, 60000)->held);
}

static void
a_subscription_that_names_no_number_keeps_its_own(void **state)
{
	struct world *world = *state;

	world_subscribe_shards(world, "s", 3);
	world_subscribe(world, "s", "*");
	assert_true(world_try_shard(world, 0, "s", 2, 60000)->held);
	assert_false(world->at[0].acquired.changing);
	world_subscribe(world, "t", "*");
	assert_false(world_try_shard(world, 0, "t", 1, 60000)->held);
	assert_int_equal(world->at[0].acquired.shards, 1);
}

/* Parks the first message of every key, and makes the others wait behind it. */
static void
park_all(struct world *world, unsigned i, const struct ob_batch *batch)
{
	static struct ob_outcome outcomes[64];
	uint64_t lanes[KEYS];
	uint32_t lane_count = 0, count = 0;

	for (uint32_t r = 0; r < batch->count; r++) {
		const struct ob_row *row = &batch->rows[r];
		enum ob_outcome_kind kind = OB_OUTCOME_PARK;

		for (uint32_t j = 0; j < lane_count; j++)
			if (lanes[j] == row->lane)
				kind = OB_OUTCOME_BEHIND;
		if (row->lane != 0 && kind == OB_OUTCOME_PARK)
			lanes[lane_count++] = row->lane;
		outcomes[count++] = world_outcome(row, kind, 0);
	}
	world_settle_with(world, i, batch->count, outcomes, count);
}

static void
a_shard_gets_its_own_parked_rows(void **state)
{
	struct world *world = *state;
	int of[2 * KEYS + KEYS / 2 + 1];
	uint64_t rows = 0;
	uint32_t lanes = 0;

	world_subscribe_shards(world, "s", SHARDS);
	append_all(world);
	shards_read(world, SHARDS, of);
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		assert_true(world_try_shard(world, 0, "s", shard, 60000)->held);
		assert_int_equal(world->at[0].acquired.parked_rows, 0);
		park_all(world, 0, world_fetch(world, 0));
		expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	}
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		struct ob_acquired *acquired = world_try_shard(world, 0, "s", shard, 60000);
		uint64_t lane_rows = 0;
		struct ob_batch *batch;

		assert_true(acquired->held);
		rows += acquired->parked_rows;
		lanes += acquired->lane_count;
		for (uint32_t i = 0; i < acquired->lane_count; i++)
			lane_rows += world->at[0].lanes[i].rows;
		batch = world_fetch_some(world, 0);
		assert_true(lane_rows <= batch->count);
		assert_int_equal(batch->count, acquired->parked_rows);
		for (uint32_t i = 0; i < batch->count; i++)
			assert_int_equal(of[world_number(&batch->rows[i])], shard);
		expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	}
	assert_int_equal(rows, 2 * KEYS + KEYS / 2);
	assert_int_equal(lanes, KEYS);
}

static void
a_persons_change_is_about_all_shards(void **state)
{
	struct world *world = *state;
	struct ob_change replay = {.kind = OB_CHANGE_REPLAY, .since_ms = -1};
	uint64_t count;

	world_subscribe_shards(world, "s", 2);
	world_open(world, 1);
	append_all(world);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(world_try_shard(world, i, "s", i, 60000)->held);
		world_settle(world, i, world_fetch(world, i)->count);
	}
	expect_ok(world, world_change(world, 0, OB_CHANGE_PAUSE, "s", 0, &count));
	assert_int_equal(count, 1);
	for (unsigned i = 0; i < 2; i++) {
		expect_code(world, OB_CHANGED,
			    world->kind->ops->renew(world->at[i].store, NULL, &world->error));
		assert_true(world_try_shard(world, i, "s", i, 60000)->goes_on);
		assert_true(world->at[i].acquired.paused);
	}
	replay.selection.subscription = "s";
	expect_ok(world,
		  world->kind->ops->change(world->at[0].store, &replay, &count, &world->error));
	assert_int_equal(count, 2 * KEYS + KEYS / 2);
	assert_true(world_stats(world, 0, "s").replaying);
	count = 0;
	for (unsigned i = 0; i < 2; i++) {
		assert_true(world_try_shard(world, i, "s", i, 60000)->goes_on);
		count += world_fetch(world, i)->count;
	}
	assert_int_equal(count, 2 * KEYS + KEYS / 2);
}

/* What stats say while they are told; afterwards the strings are gone. */
struct told {
	uint32_t shards, held, members;
	char owners[64], worst[32], state[32];
};

static void
stats_tell(void *context, const struct ob_subscription_stats *stats)
{
	struct told *told = context;

	*told = (struct told){.shards = stats->shards, .members = stats->members};
	for (uint32_t i = 0; i < stats->shards; i++) {
		size_t used = strlen(told->owners);

		told->held += stats->shard[i].held;
		snprintf(told->owners + used, sizeof(told->owners) - used, "[%s]",
			 stats->shard[i].owner);
	}
	snprintf(told->worst, sizeof(told->worst), "%s", stats->owner);
	snprintf(told->state, sizeof(told->state), "%s", stats->state);
}

static struct told
stats_of(struct world *world)
{
	struct told told = {0};

	expect_ok(world, world->kind->ops->stats(world->at[0].store, "s", stats_tell, &told,
						 &world->error));
	return told;
}

static void
stats_tell_of_each_shard(void **state)
{
	struct world *world = *state;
	struct ob_relay_state running = {.state = "running", .code = "", .text = ""};
	struct ob_relay_state down = {.state = "down", .code = "refused", .text = "no"};
	struct told told;

	world_subscribe_shards(world, "s", 2);
	world_open(world, 1);
	assert_true(world_try_shard(world, 0, "s", 0, 60000)->held);
	told = stats_of(world);
	assert_int_equal(told.shards, 2);
	assert_string_equal(told.owners, "[relay 0][]");
	assert_string_equal(told.worst, "");
	assert_true(world_try_shard(world, 1, "s", 1, 60000)->held);
	expect_ok(world, world->kind->ops->renew(world->at[0].store, &running, &world->error));
	expect_ok(world, world->kind->ops->renew(world->at[1].store, &down, &world->error));
	told = stats_of(world);
	assert_int_equal(told.held, 2);
	assert_string_equal(told.owners, "[relay 0][relay 1]");
	assert_string_equal(told.worst, "relay 1");
	assert_string_equal(told.state, "down");
}

const struct store_test store_shard_tests[] = {
    {"every message is one shard's and a key stays with it",
     every_message_is_one_shards_and_a_key_stays_with_it},
    {"a shard settles for itself", a_shard_settles_for_itself},
    {"a shard that is not there is nobody's", a_shard_that_is_not_there_is_nobodys},
    {"too many shards are refused", too_many_shards_are_refused},
    {"a subscription that names no number keeps its own",
     a_subscription_that_names_no_number_keeps_its_own},
    {"a shard gets its own parked rows", a_shard_gets_its_own_parked_rows},
    {"a person's change is about all shards", a_persons_change_is_about_all_shards},
    {"stats tell of each shard", stats_tell_of_each_shard},
    {NULL, NULL},
};
