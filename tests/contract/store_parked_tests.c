/* Parked rows: heads, runs, who comes next, keys that wait for a person. */
#include "store_world.h"

#include "store_suite.h"

static const struct ob_selection parked = {.subscription = "s", .place = OB_PLACE_PARKED};
static const struct ob_selection dead = {.subscription = "s", .place = OB_PLACE_DEAD};

/* Fetches `count` messages of key k and parks them: the first is the head, due in `due_in_ms`. */
static void
key_park(struct world *world, unsigned count, enum ob_outcome_kind first, int64_t due_in_ms)
{
	struct ob_outcome outcomes[32];
	struct ob_batch *batch;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, count, "orders", "k");
	batch = world_fetch(world, 0);
	assert_int_equal(batch->count, count);
	for (unsigned i = 0; i < count; i++)
		outcomes[i] =
		    world_outcome(&batch->rows[i], i == 0 ? first : OB_OUTCOME_BEHIND, due_in_ms);
	world_settle_with(world, 0, count, outcomes, count);
}

static void
outcome_settle(struct world *world, const struct ob_row *row, enum ob_outcome_kind kind,
	       int64_t due_in_ms)
{
	struct ob_outcome outcome = world_outcome(row, kind, due_in_ms);

	world_settle_with(world, 0, 0, &outcome, 1);
}

static void
a_due_head_comes_with_its_run(void **state)
{
	struct world *world = *state;
	struct ob_fetch fetch = world_fetch_all;
	struct ob_batch *batch;
	uint64_t lane;

	key_park(world, 5, OB_OUTCOME_PARK, 0);
	fetch.run_max = 3;
	batch = world_fetch_as(world, 0, &fetch);
	assert_string_equal(world_ids(batch), "[m1] [m2] [m3]");
	lane = batch->rows[0].lane;
	assert_true(lane != 0);
	assert_true(batch->rows[2].lane == lane);
	assert_int_equal(batch->rows[0].attempts, 1);
	assert_int_equal(batch->rows[1].attempts, 0);
	assert_int_equal(batch->rows[1].age_ms > 0, 1);
	assert_int_equal(batch->next_due_ms, -1);
	/* Not handed out again until their outcome is told. */
	assert_int_equal(world_fetch_as(world, 0, &fetch)->count, 0);
}

static void
the_next_of_a_key_becomes_its_head(void **state)
{
	struct world *world = *state;
	struct ob_fetch fetch = world_fetch_all;
	struct ob_batch *batch;

	key_park(world, 3, OB_OUTCOME_PARK, 0);
	fetch.run_max = 1;
	batch = world_fetch_as(world, 0, &fetch);
	assert_string_equal(world_ids(batch), "[m1]");
	outcome_settle(world, &batch->rows[0], OB_OUTCOME_UNPARK, 0);
	assert_string_equal(world_listing(world, 0, &parked), "m2(head) m3");
	batch = world_fetch_as(world, 0, &fetch);
	assert_string_equal(world_ids(batch), "[m2]");
	outcome_settle(world, &batch->rows[0], OB_OUTCOME_BURY, 0);
	assert_string_equal(world_listing(world, 0, &parked), "m3(head)");
	assert_string_equal(world_listing(world, 0, &dead), "m2");
	batch = world_fetch_as(world, 0, &fetch);
	assert_string_equal(world_ids(batch), "[m3]");
	outcome_settle(world, &batch->rows[0], OB_OUTCOME_UNPARK, 0);
	assert_string_equal(world_listing(world, 0, &parked), "");
	assert_int_equal(world_stats(world, 0, "s").parked_rows, 0);
}

static void
a_run_may_end_in_the_middle_in_any_order(void **state)
{
	struct world *world = *state;
	struct ob_outcome outcomes[4];
	struct ob_batch *batch;

	key_park(world, 4, OB_OUTCOME_PARK, 0);
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "[m1] [m2] [m3] [m4]");
	outcomes[0] = world_outcome(&batch->rows[3], OB_OUTCOME_BACK, 0);
	outcomes[1] = world_outcome(&batch->rows[2], OB_OUTCOME_REPARK, 60000);
	outcomes[2] = world_outcome(&batch->rows[1], OB_OUTCOME_UNPARK, 0);
	outcomes[3] = world_outcome(&batch->rows[0], OB_OUTCOME_UNPARK, 0);
	world_settle_with(world, 0, 0, outcomes, 4);
	assert_string_equal(world_listing(world, 0, &parked), "m3(head) m4");
	/* The new head waits for its own next try, which is not due. */
	batch = world_fetch(world, 0);
	assert_int_equal(batch->count, 0);
	assert_true(batch->next_due_ms > 50000);
}

static void
a_head_that_failed_is_due_later(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;
	int64_t began;

	key_park(world, 2, OB_OUTCOME_PARK, 0);
	batch = world_fetch(world, 0);
	began = world_now_ms();
	{
		struct ob_outcome outcomes[2] = {
		    world_outcome(&batch->rows[0], OB_OUTCOME_REPARK, 700),
		    world_outcome(&batch->rows[1], OB_OUTCOME_BACK, 0)};

		world_settle_with(world, 0, 0, outcomes, 2);
	}
	batch = world_fetch(world, 0);
	assert_int_equal(batch->count, 0);
	assert_true(batch->next_due_ms > 0);
	assert_true(batch->next_due_ms <= 700);
	batch = world_fetch_some(world, 0);
	assert_true(world_now_ms() - began >= 690);
	assert_string_equal(world_ids(batch), "[m1] [m2]");
	assert_int_equal(batch->rows[0].attempts, 2);
}

static void
what_is_given_back_comes_again_at_once(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;
	struct ob_outcome outcomes[2];

	key_park(world, 2, OB_OUTCOME_PARK, 0);
	batch = world_fetch(world, 0);
	outcomes[0] = world_outcome(&batch->rows[0], OB_OUTCOME_BACK, 0);
	outcomes[1] = world_outcome(&batch->rows[1], OB_OUTCOME_BACK, 0);
	world_settle_with(world, 0, 0, outcomes, 2);
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "[m1] [m2]");
	assert_int_equal(batch->rows[0].attempts, 1);
}

static void
messages_without_a_key_hold_nobody(void **state)
{
	struct world *world = *state;
	struct ob_outcome outcomes[2];
	struct ob_batch *batch;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 2, "orders", NULL);
	batch = world_fetch(world, 0);
	outcomes[0] = world_outcome(&batch->rows[0], OB_OUTCOME_PARK, 60000);
	outcomes[1] = world_outcome(&batch->rows[1], OB_OUTCOME_PARK, 0);
	world_settle_with(world, 0, 2, outcomes, 2);
	assert_string_equal(world_listing(world, 0, &parked), "m1(head) m2(head)");
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "[m2]");
	assert_true(batch->rows[0].lane == 0);
	assert_false(batch->rows[0].scheduled);
	assert_true(batch->next_due_ms > 50000);
	assert_int_equal(world_stats(world, 0, "s").parked_keys, 0);
}

static void
scheduled_rows_come_when_they_are_due(void **state)
{
	struct world *world = *state;
	struct ob_outcome outcome;
	struct ob_batch *batch;
	int64_t began;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_schedule(world, "orders", "k", 700);
	began = world_now_ms();
	batch = world_fetch(world, 0);
	assert_true(batch->rows[0].due_in_ms > 0);
	outcome = world_outcome(&batch->rows[0], OB_OUTCOME_SCHEDULE, batch->rows[0].due_in_ms);
	outcome.attempts = 0;
	outcome.age_ms = 0;
	world_settle_with(world, 0, 1, &outcome, 1);
	/* Its key is free meanwhile. */
	world_append(world, "orders", "k", "2");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m2");
	batch = world_fetch_some(world, 0);
	assert_string_equal(world_ids(batch), "[m1]");
	assert_true(world_now_ms() - began >= 690);
	assert_true(batch->rows[0].lane == 0);
	assert_int_equal(batch->rows[0].attempts, 0);
	assert_int_equal(batch->rows[0].age_ms, 0);
	assert_true(batch->rows[0].scheduled);
	/* It counts as such also while it waits for another try. */
	outcome_settle(world, &batch->rows[0], OB_OUTCOME_REPARK, 0);
	batch = world_fetch_some(world, 0);
	assert_string_equal(world_ids(batch), "[m1]");
	assert_true(batch->rows[0].scheduled);
	assert_int_equal(world_stats(world, 0, "s").scheduled_rows, 1);
	outcome_settle(world, &batch->rows[0], OB_OUTCOME_UNPARK, 0);
	assert_int_equal(world_stats(world, 0, "s").scheduled_rows, 0);
}

static void
a_key_that_is_held_waits_for_a_person(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;
	uint64_t count;

	key_park(world, 3, OB_OUTCOME_DEAD_HOLD, 0);
	assert_string_equal(world_listing(world, 0, &dead), "m1(holds)");
	assert_string_equal(world_listing(world, 0, &parked), "m2 m3");
	batch = world_fetch(world, 0);
	assert_int_equal(batch->count, 0);
	assert_int_equal(batch->next_due_ms, -1);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	assert_int_equal(world_acquire(world, 0, "s")->lane_count, 1);
	assert_true(world->at[0].lanes[0].held);
	assert_int_equal(world->at[0].lanes[0].rows, 2);
	expect_ok(world, world_change(world, 0, OB_CHANGE_RETRY, "s", OB_PLACE_DEAD, &count));
	assert_int_equal(count, 1);
	assert_true(world_acquire(world, 0, "s")->goes_on);
	assert_false(world->at[0].lanes[0].held);
	assert_int_equal(world->at[0].lanes[0].rows, 3);
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "[m1] [m2] [m3]");
	/* Its tries are not counted again, or its age would bury it at once. */
	assert_int_equal(batch->rows[0].attempts, 0);
	assert_int_equal(batch->rows[0].age_ms, 0);
}

/* Sent, given up, not tried: the rest of the run waits for a person. */
static void
a_run_may_end_in_a_dead_one_that_holds_its_key(void **state)
{
	struct world *world = *state;
	struct ob_outcome outcomes[3];
	struct ob_batch *batch;

	key_park(world, 3, OB_OUTCOME_PARK, 0);
	batch = world_fetch(world, 0);
	outcomes[0] = world_outcome(&batch->rows[0], OB_OUTCOME_UNPARK, 0);
	outcomes[1] = world_outcome(&batch->rows[1], OB_OUTCOME_BURY_HOLD, 0);
	outcomes[2] = world_outcome(&batch->rows[2], OB_OUTCOME_BACK, 0);
	world_settle_with(world, 0, 0, outcomes, 3);
	assert_string_equal(world_listing(world, 0, &dead), "m2(holds)");
	assert_string_equal(world_listing(world, 0, &parked), "m3");
	assert_int_equal(world_fetch(world, 0)->count, 0);
}

static void
a_held_key_goes_on_when_its_dead_is_discarded(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;
	uint64_t count;

	key_park(world, 3, OB_OUTCOME_PARK, 0);
	batch = world_fetch(world, 0);
	{
		struct ob_outcome outcomes[3] = {
		    world_outcome(&batch->rows[0], OB_OUTCOME_BURY_HOLD, 0),
		    world_outcome(&batch->rows[1], OB_OUTCOME_BACK, 0),
		    world_outcome(&batch->rows[2], OB_OUTCOME_BACK, 0)};

		world_settle_with(world, 0, 0, outcomes, 3);
	}
	assert_string_equal(world_listing(world, 0, &dead), "m1(holds)");
	assert_int_equal(world_fetch(world, 0)->count, 0);
	expect_ok(world, world_change(world, 0, OB_CHANGE_DISCARD, "s", OB_PLACE_DEAD, &count));
	assert_int_equal(count, 1);
	assert_true(world_acquire(world, 0, "s")->goes_on);
	assert_string_equal(world_ids(world_fetch(world, 0)), "[m2] [m3]");
}

static void
a_held_key_without_rows_is_told_too(void **state)
{
	struct world *world = *state;

	key_park(world, 1, OB_OUTCOME_DEAD_HOLD, 0);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	assert_int_equal(world_acquire(world, 0, "s")->lane_count, 1);
	assert_true(world->at[0].lanes[0].held);
	assert_int_equal(world->at[0].lanes[0].rows, 0);
}

static void
more_parked_keys_than_there_is_room_for_is_a_limit(void **state)
{
	struct world *world = *state;
	struct ob_parked_lane lanes[2];
	struct ob_lease_request request = {
	    .subscription = "s", .owner = "x", .lease_ms = 1000, .lanes = lanes, .lanes_max = 2};
	struct ob_outcome outcomes[3];
	struct ob_acquired acquired;
	struct ob_batch *batch;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append(world, "orders", "a", "1");
	world_append(world, "orders", "b", "1");
	world_append(world, "orders", "c", "1");
	batch = world_fetch(world, 0);
	for (unsigned i = 0; i < 3; i++)
		outcomes[i] = world_outcome(&batch->rows[i], OB_OUTCOME_PARK, 60000);
	world_settle_with(world, 0, 3, outcomes, 3);
	assert_int_equal(world_stats(world, 0, "s").parked_keys, 3);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	expect_code(
	    world, OB_LIMIT,
	    world->kind->ops->acquire(world->at[0].store, &request, &acquired, &world->error));
	assert_false(acquired.held);
	assert_int_equal(world_acquire(world, 0, "s")->lane_count, 3);
}

static void
parked_rows_are_handed_out_to_the_next_owner(void **state)
{
	struct world *world = *state;

	key_park(world, 2, OB_OUTCOME_PARK, 0);
	assert_string_equal(world_ids(world_fetch(world, 0)), "[m1] [m2]");
	world_open(world, 1);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	world_acquire(world, 1, "s");
	assert_string_equal(world_ids(world_fetch(world, 1)), "[m1] [m2]");
}

static void
few_parked_rows_are_wanted_at_once(void **state)
{
	struct world *world = *state;
	struct ob_fetch fetch = world_fetch_all;
	struct ob_outcome outcomes[10];
	struct ob_batch *batch;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 10, "orders", NULL);
	batch = world_fetch(world, 0);
	for (unsigned i = 0; i < 10; i++)
		outcomes[i] = world_outcome(&batch->rows[i], OB_OUTCOME_PARK, 0);
	world_settle_with(world, 0, 10, outcomes, 10);
	world_append(world, "orders", NULL, "11");
	fetch.parked_max = 4;
	batch = world_fetch_as(world, 0, &fetch);
	assert_int_equal(batch->count, 5);
	assert_int_equal(batch->rows[4].ordinal, 11);
	assert_int_equal(batch->next_due_ms, 0);
	fetch.parked_max = 0;
	batch = world_fetch_as(world, 0, &fetch);
	assert_int_equal(batch->count, 0);
	assert_int_equal(batch->next_due_ms, 0);
	fetch.parked_max = 100;
	assert_int_equal(world_fetch_as(world, 0, &fetch)->count, 6);
}

const struct store_test store_parked_tests[] = {
    {"a due head comes with its run", a_due_head_comes_with_its_run},
    {"the next of a key becomes its head", the_next_of_a_key_becomes_its_head},
    {"a run may end in the middle, in any order", a_run_may_end_in_the_middle_in_any_order},
    {"a head that failed is due later", a_head_that_failed_is_due_later},
    {"what is given back comes again at once", what_is_given_back_comes_again_at_once},
    {"messages without a key hold nobody", messages_without_a_key_hold_nobody},
    {"scheduled rows come when they are due", scheduled_rows_come_when_they_are_due},
    {"a key that is held waits for a person", a_key_that_is_held_waits_for_a_person},
    {"a run may end in a dead one that holds its key",
     a_run_may_end_in_a_dead_one_that_holds_its_key},
    {"a held key goes on when its dead is discarded",
     a_held_key_goes_on_when_its_dead_is_discarded},
    {"a held key without rows is told too", a_held_key_without_rows_is_told_too},
    {"more parked keys than there is room for is a limit",
     more_parked_keys_than_there_is_room_for_is_a_limit},
    {"parked rows are handed out to the next owner", parked_rows_are_handed_out_to_the_next_owner},
    {"few parked rows are wanted at once", few_parked_rows_are_wanted_at_once},
    {NULL, NULL},
};
