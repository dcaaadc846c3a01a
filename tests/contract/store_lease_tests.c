/* Leases and epochs: one owner at a time, take-over, stale owners, a person's change. */
#include "store_world.h"

#include "skip.h"
#include "store_suite.h"

static int
settle_code(struct world *world, unsigned i, uint64_t through)
{
	struct ob_settle settle = {.through = through};

	return world->kind->ops->settle(world->at[i].store, &settle, &world->error);
}

static int
fetch_code(struct world *world, unsigned i)
{
	ob_batch_reset(world->at[i].batch);
	return world->kind->ops->fetch(world->at[i].store, &world_fetch_all, world->at[i].batch,
				       &world->error);
}

static void
a_subscription_must_be_there(void **state)
{
	struct world *world = *state;
	struct ob_acquired acquired;
	struct ob_lease_request request = {.subscription = "nobody", .lease_ms = 1000};

	expect_code(
	    world, OB_NOT_FOUND,
	    world->kind->ops->acquire(world->at[0].store, &request, &acquired, &world->error));
	assert_false(acquired.held);
}

static void
a_subscription_needs_a_name_and_patterns(void **state)
{
	static const char *const names[] = {"", "Upper", "-x", "a b", "a/b", "\xc3\xa4"};
	struct world *world = *state;
	struct ob_subscription subscription = {.topics = "*"};

	for (size_t i = 0; i < 6; i++) {
		subscription.name = names[i];
		expect_code(
		    world, OB_CONFIG,
		    world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
	}
	subscription.name = "ok-1_2.3";
	subscription.topics = "a,,b";
	expect_code(world, OB_CONFIG,
		    world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
	subscription.topics = "a,b";
	expect_ok(world,
		  world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
}

static void
one_owner_at_a_time(void **state)
{
	struct world *world = *state;
	struct ob_acquired *second;

	world_subscribe(world, "s", "*");
	world_open(world, 1);
	world_acquire(world, 0, "s");
	second = world_try_acquire(world, 1, "s", 60000);
	assert_false(second->held);
	assert_true(second->retry_in_ms > 50000);
	assert_true(second->retry_in_ms <= 60000);
	assert_string_equal(second->owner, "relay 0");
	expect_code(world, OB_STALE, fetch_code(world, 1));
	expect_code(world, OB_STALE,
		    world->kind->ops->renew(world->at[1].store, NULL, &world->error));
	world_fetch(world, 0);
}

static void
a_released_lease_is_free_at_once(void **state)
{
	struct world *world = *state;
	uint64_t epoch;

	world_subscribe(world, "s", "*");
	world_open(world, 1);
	epoch = world_acquire(world, 0, "s")->epoch;
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	assert_true(world_acquire(world, 1, "s")->epoch > epoch);
}

static void
a_lease_runs_out_and_the_stale_owner_is_refused(void **state)
{
	struct world *world = *state;
	int64_t until;
	uint64_t epoch;

	world_subscribe(world, "s", "*");
	world_append_many(world, 3, "orders", "k");
	world_open(world, 1);
	epoch = world_try_acquire(world, 0, "s", 150)->epoch;
	assert_int_equal(world_fetch(world, 0)->count, 3);
	until = world_now_ms() + 5000;
	while (!world_try_acquire(world, 1, "s", 60000)->held && world_now_ms() < until)
		world_sleep_ms(world->at[1].acquired.retry_in_ms < 5 ? 5 : 20);
	assert_true(world->at[1].acquired.held);
	assert_true(world->at[1].acquired.epoch > epoch);
	expect_code(world, OB_STALE, settle_code(world, 0, 3));
	expect_code(world, OB_STALE, fetch_code(world, 0));
	expect_code(world, OB_STALE,
		    world->kind->ops->renew(world->at[0].store, NULL, &world->error));
	/* Nothing of the refused settle was written. */
	assert_string_equal(world_ids(world_fetch(world, 1)), "m1 m2 m3");
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	world_settle(world, 1, 1);
}

static void
a_renewed_lease_does_not_run_out(void **state)
{
	struct world *world = *state;
	int64_t until;

	world_subscribe(world, "s", "*");
	world_open(world, 1);
	assert_true(world_try_acquire(world, 0, "s", 900)->held);
	until = world_now_ms() + 1300;
	while (world_now_ms() < until) {
		expect_ok(world, world->kind->ops->renew(world->at[0].store, NULL, &world->error));
		assert_false(world_try_acquire(world, 1, "s", 60000)->held);
		world_sleep_ms(40);
	}
}

static void
the_owner_goes_on_when_nobody_took_an_expired_lease(void **state)
{
	struct world *world = *state;

	world_subscribe(world, "s", "*");
	world_append_many(world, 2, "orders", NULL);
	assert_true(world_try_acquire(world, 0, "s", 1)->held);
	world_sleep_ms(20);
	assert_int_equal(world_fetch(world, 0)->count, 2);
	world_settle(world, 0, 1);
	expect_ok(world, world->kind->ops->renew(world->at[0].store, NULL, &world->error));
}

static void
the_state_that_is_renewed_is_shown(void **state)
{
	struct world *world = *state;
	struct ob_relay_state relay = {
	    .state = "down", .code = "refused", .text = "connection refused", .since_ms = 5000};
	struct ob_subscription_stats stats;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	expect_ok(world, world->kind->ops->renew(world->at[0].store, &relay, &world->error));
	stats = world_stats(world, 0, "s");
	assert_true(stats.held);
	assert_true(stats.lease_left_ms > 50000);
	assert_true(stats.state_since_ms >= 5000);
	assert_true(stats.state_since_ms < 10000);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	assert_false(world_stats(world, 0, "s").held);
}

static void
after_a_change_the_window_stands(void **state)
{
	struct world *world = *state;
	struct ob_acquired *again;
	struct ob_batch *batch;
	uint64_t count, epoch;

	world_subscribe(world, "s", "*");
	world_open(world, 1);
	world_append_many(world, 4, "orders", "k");
	epoch = world_acquire(world, 0, "s")->epoch;
	assert_int_equal(world_fetch(world, 0)->count, 4);
	world_settle(world, 0, 1);
	expect_ok(world, world_change(world, 1, OB_CHANGE_PAUSE, "s", 0, &count));
	assert_int_equal(count, 1);
	expect_code(world, OB_CHANGED, settle_code(world, 0, 3));
	expect_code(world, OB_CHANGED, fetch_code(world, 0));
	expect_code(world, OB_CHANGED,
		    world->kind->ops->renew(world->at[0].store, NULL, &world->error));
	again = world_acquire(world, 0, "s");
	assert_true(again->goes_on);
	assert_true(again->paused);
	assert_true(again->epoch > epoch);
	world_settle(world, 0, 3);
	world_append(world, "orders", "k", "5");
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "m5");
	assert_int_equal(batch->rows[0].ordinal, 5);
	/* What is paused already does not change again. */
	expect_ok(world, world_change(world, 1, OB_CHANGE_PAUSE, "s", 0, &count));
	assert_int_equal(count, 0);
	world_settle(world, 0, 5);
	expect_ok(world, world_change(world, 1, OB_CHANGE_RESUME, "s", 0, &count));
	assert_int_equal(count, 1);
	assert_true(world_acquire(world, 0, "s")->goes_on);
	assert_false(world->at[0].acquired.paused);
}

static void
another_owner_does_not_go_on(void **state)
{
	struct world *world = *state;

	world_subscribe(world, "s", "*");
	world_open(world, 1);
	world_append_many(world, 2, "orders", "k");
	assert_false(world_acquire(world, 0, "s")->goes_on);
	world_fetch(world, 0);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	assert_false(world_acquire(world, 1, "s")->goes_on);
	expect_ok(world, world->kind->ops->release(world->at[1].store, &world->error));
	assert_false(world_acquire(world, 0, "s")->goes_on);
	assert_int_equal(world_fetch(world, 0)->rows[0].ordinal, 1);
}

static void
migrating_twice_changes_nothing(void **state)
{
	struct world *world = *state;

	world_subscribe(world, "s", "*");
	world_append(world, "orders", NULL, "1");
	world_open(world, 1);
	for (unsigned i = 0; i < 4; i++)
		expect_ok(world, world->kind->ops->migrate(world->at[i % 2].store, OB_MIGRATE_APPLY,
							   NULL, NULL, &world->error));
	world_acquire(world, 1, "s");
	assert_string_equal(world_ids(world_fetch(world, 1)), "m1");
}

static void
shards_are_refused_where_there_are_none(void **state)
{
	struct world *world = *state;
	struct ob_subscription subscription = {.name = "s", .topics = "*", .shards = 2};

	if ((world->kind->ops->capabilities & OB_STORE_SHARDS) != 0)
		OB_SKIP("the store declares OB_STORE_SHARDS");
	expect_code(world, OB_UNSUPPORTED,
		    world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
}

const struct store_test store_lease_tests[] = {
    {"a subscription must be there", a_subscription_must_be_there},
    {"a subscription needs a name and patterns", a_subscription_needs_a_name_and_patterns},
    {"one owner at a time", one_owner_at_a_time},
    {"a released lease is free at once", a_released_lease_is_free_at_once},
    {"a lease runs out and the stale owner is refused",
     a_lease_runs_out_and_the_stale_owner_is_refused},
    {"a renewed lease does not run out", a_renewed_lease_does_not_run_out},
    {"the owner goes on when nobody took an expired lease",
     the_owner_goes_on_when_nobody_took_an_expired_lease},
    {"the state that is renewed is shown", the_state_that_is_renewed_is_shown},
    {"after a change the window stands", after_a_change_the_window_stands},
    {"another owner does not go on", another_owner_does_not_go_on},
    {"migrating twice changes nothing", migrating_twice_changes_nothing},
    {"shards are refused where there are none", shards_are_refused_where_there_are_none},
    {NULL, NULL},
};
