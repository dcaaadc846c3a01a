/* Join and leave: which relays are live, and who runs which shard. */
#include "store_world.h"

#include "store_suite.h"

static struct ob_crew crew;

static void
join(struct world *world, unsigned i, uint64_t member, int64_t live_ms)
{
	struct ob_member it = {
	    .subscription = "s", .member = member, .owner = "a relay", .live_ms = live_ms};

	expect_ok(world, world->kind->ops->join(world->at[i].store, &it, &crew, &world->error));
}

static void
a_crew_needs_its_subscription(void **state)
{
	struct world *world = *state;
	struct ob_member member = {.subscription = "nobody", .member = 1, .live_ms = 1000};

	expect_code(world, OB_NOT_FOUND,
		    world->kind->ops->join(world->at[0].store, &member, &crew, &world->error));
	expect_code(world, OB_NOT_FOUND,
		    world->kind->ops->leave(world->at[0].store, "nobody", 1, &world->error));
}

static void
those_who_join_are_told_of_each_other(void **state)
{
	struct world *world = *state;

	world_subscribe_shards(world, "s", 4);
	world_subscribe_shards(world, "t", 1);
	world_open(world, 1);
	join(world, 0, 77, 60000);
	assert_int_equal(crew.shards, 4);
	assert_int_equal(crew.shards_next, 0);
	assert_false(crew.ending);
	assert_int_equal(crew.member_count, 1);
	assert_true(crew.members[0] == 77);
	assert_int_equal(crew.next_end_ms, -1);
	/* The order is that of their joining, and stays so; numbers of 64 bits stay whole. */
	join(world, 1, UINT64_MAX, 60000);
	join(world, 0, 77, 60000);
	assert_int_equal(crew.member_count, 2);
	assert_true(crew.members[0] == 77);
	assert_true(crew.members[1] == UINT64_MAX);
	assert_true(crew.next_end_ms > 30000);
	assert_true(crew.next_end_ms <= 60000);
	/* Who only looks is no member. */
	join(world, 1, 0, 60000);
	assert_int_equal(crew.member_count, 2);
	expect_ok(world, world->kind->ops->leave(world->at[0].store, "t", 77, &world->error));
	expect_ok(world, world->kind->ops->leave(world->at[0].store, "s", 77, &world->error));
	expect_ok(world, world->kind->ops->leave(world->at[0].store, "s", 77, &world->error));
	join(world, 1, UINT64_MAX, 60000);
	assert_int_equal(crew.member_count, 1);
	assert_true(crew.members[0] == UINT64_MAX);
	assert_int_equal(world_stats(world, 0, "s").members, 1);
}

static void
a_member_that_is_silent_is_none_any_more(void **state)
{
	struct world *world = *state;
	int64_t until = world_now_ms() + 5000;

	world_subscribe_shards(world, "s", 4);
	world_open(world, 1);
	join(world, 0, 1, 200);
	do {
		assert_true(world_now_ms() < until);
		join(world, 1, 2, 60000);
		assert_true(crew.member_count == 1 || crew.next_end_ms <= 200);
		world_sleep_ms(5);
	} while (crew.member_count == 2);
	assert_true(crew.members[0] == 2);
	/* It may come back, as the last one. */
	join(world, 0, 1, 60000);
	assert_int_equal(crew.member_count, 2);
	assert_true(crew.members[1] == 1);
}

/* However often it joins, and whatever a store spares of that. */
static void
a_member_that_joins_again_in_time_stays(void **state)
{
	struct world *world = *state;
	int64_t until;

	world_subscribe_shards(world, "s", 4);
	world_open(world, 1);
	join(world, 0, 1, 900);
	until = world_now_ms() + 2000;
	while (world_now_ms() < until) {
		join(world, 0, 1, 900);
		join(world, 1, 2, 900);
		assert_int_equal(crew.member_count, 2);
		assert_true(crew.members[0] == 1);
		world_sleep_ms(40);
	}
}

static void
leases_say_whose_they_are(void **state)
{
	struct world *world = *state;

	world_subscribe_shards(world, "s", 3);
	world_open(world, 1);
	world_open(world, 2);
	join(world, 0, 1, 60000);
	assert_true(world_try_shard(world, 0, "s", 2, 60000)->held);
	assert_true(world_try_shard(world, 1, "s", 0, 30000)->held);
	/* An instance that holds a lease may join, too. */
	join(world, 0, 1, 60000);
	assert_true(crew.leases[0].held);
	assert_true(crew.leases[0].member == 2);
	assert_false(crew.leases[1].held);
	assert_true(crew.leases[2].held);
	assert_true(crew.leases[2].member == 1);
	assert_true(crew.next_end_ms > 15000);
	assert_true(crew.next_end_ms <= 30000);
	/* It holds on to its own, whether it is a member or not. */
	expect_ok(world, world->kind->ops->leave(world->at[0].store, "s", 1, &world->error));
	world_fetch(world, 0);
	expect_ok(world, world->kind->ops->release(world->at[1].store, &world->error));
	join(world, 2, 3, 60000);
	assert_false(crew.leases[0].held);
	assert_true(crew.leases[2].held);
}

static void
a_lease_that_ran_out_is_nobodys(void **state)
{
	struct world *world = *state;
	int64_t until = world_now_ms() + 5000;

	world_subscribe_shards(world, "s", 1);
	world_open(world, 1);
	assert_true(world_try_shard(world, 0, "s", 0, 100)->held);
	do {
		assert_true(world_now_ms() < until);
		world_sleep_ms(5);
		join(world, 1, 2, 60000);
	} while (crew.leases[0].held);
	assert_true(world_try_shard(world, 1, "s", 0, 60000)->held);
}

const struct store_test store_crew_tests[] = {
    {"a crew needs its subscription", a_crew_needs_its_subscription},
    {"those who join are told of each other", those_who_join_are_told_of_each_other},
    {"a member that is silent is none any more", a_member_that_is_silent_is_none_any_more},
    {"a member that joins again in time stays", a_member_that_joins_again_in_time_stays},
    {"leases say whose they are", leases_say_whose_they_are},
    {"a lease that ran out is nobody's", a_lease_that_ran_out_is_nobodys},
    {NULL, NULL},
};
