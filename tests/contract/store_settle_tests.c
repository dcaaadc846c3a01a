/* Settling: checkpoints, copies of what is parked, buried and scheduled, and that a settle is all or nothing. */
#include "store_world.h"

#include "store_suite.h"

static const struct ob_selection parked = {.subscription = "s", .place = OB_PLACE_PARKED};
static const struct ob_selection scheduled = {.subscription = "s", .place = OB_PLACE_SCHEDULED};
static const struct ob_selection dead = {.subscription = "s", .place = OB_PLACE_DEAD};

/* A relay on "s" that has fetched `count` messages of key k. */
static struct ob_batch *
relay_begin(struct world *world, unsigned count)
{
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, count, "orders", "k");
	return world_fetch(world, 0);
}

static struct ob_acquired *
acquire_anew(struct world *world)
{
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	return world_acquire(world, 0, "s");
}

static void
a_checkpoint_moves_and_stays(void **state)
{
	struct world *world = *state;

	relay_begin(world, 6);
	world_settle(world, 0, 2);
	world_settle(world, 0, 2);
	world_settle(world, 0, 0);
	world_settle(world, 0, 5);
	world_settle(world, 0, 3);
	acquire_anew(world);
	assert_string_equal(world_ids(world_fetch(world, 0)), "m6");
}

static void
what_was_not_fetched_cannot_be_settled(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch = relay_begin(world, 3);
	struct ob_settle settle = {.through = 4};
	struct ob_outcome outcome = world_outcome(&batch->rows[2], OB_OUTCOME_DEAD, 0);

	expect_code(world, OB_INVALID,
		    world->kind->ops->settle(world->at[0].store, &settle, &world->error));
	/* An outcome above `through` would stand above the checkpoint after a crash. */
	settle = (struct ob_settle){.through = 2, .outcomes = &outcome, .outcome_count = 1};
	expect_code(world, OB_INVALID,
		    world->kind->ops->settle(world->at[0].store, &settle, &world->error));
	assert_string_equal(world_listing(world, 0, &dead), "");
	acquire_anew(world);
	assert_int_equal(world_fetch(world, 0)->count, 3);
}

static void
outcomes_are_kept_with_a_copy(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;
	struct ob_outcome outcomes[4];
	struct ob_acquired *acquired;

	batch = relay_begin(world, 5);
	outcomes[0] = world_outcome(&batch->rows[0], OB_OUTCOME_PARK, 60000);
	outcomes[1] = world_outcome(&batch->rows[1], OB_OUTCOME_BEHIND, 0);
	outcomes[2] = world_outcome(&batch->rows[2], OB_OUTCOME_SCHEDULE, 60000);
	outcomes[3] = world_outcome(&batch->rows[3], OB_OUTCOME_DEAD, 0);
	world_settle_with(world, 0, 5, outcomes, 4);
	assert_string_equal(world_listing(world, 0, &parked), "m1(head) m2");
	assert_string_equal(world_listing(world, 0, &scheduled), "m3(head)");
	assert_string_equal(world_listing(world, 0, &dead), "m4");
	acquired = acquire_anew(world);
	assert_int_equal(acquired->parked_rows, 2);
	assert_int_equal(acquired->scheduled_rows, 1);
	assert_int_equal(acquired->dead_rows, 1);
	assert_int_equal(acquired->lane_count, 1);
	assert_int_equal(world->at[0].lanes[0].rows, 2);
	assert_true(world->at[0].lanes[0].lane == outcomes[0].lane);
	assert_false(world->at[0].lanes[0].held);
	batch = world_fetch(world, 0);
	assert_int_equal(batch->count, 0);
	assert_true(batch->next_due_ms > 50000);
	assert_true(batch->next_due_ms <= 60000);
}

static void
a_stale_settle_writes_nothing(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch = relay_begin(world, 2);
	struct ob_outcome outcome = world_outcome(&batch->rows[0], OB_OUTCOME_DEAD, 0);
	struct ob_settle settle = {.through = 2, .outcomes = &outcome, .outcome_count = 1};
	uint64_t count;

	world_open(world, 1);
	expect_ok(world, world_change(world, 1, OB_CHANGE_PAUSE, "s", 0, &count));
	expect_code(world, OB_CHANGED,
		    world->kind->ops->settle(world->at[0].store, &settle, &world->error));
	assert_string_equal(world_listing(world, 1, &dead), "");
	assert_int_equal(world_stats(world, 1, "s").pending_max, 2);
	/* The same settle under the new epoch is done. */
	assert_true(world_acquire(world, 0, "s")->goes_on);
	world_settle_with(world, 0, 2, &outcome, 1);
	assert_string_equal(world_listing(world, 1, &dead), "m1");
}

static void
a_settle_that_is_done_may_be_tried_again(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch = relay_begin(world, 3);
	struct ob_outcome outcomes[2] = {world_outcome(&batch->rows[0], OB_OUTCOME_PARK, 60000),
					 world_outcome(&batch->rows[1], OB_OUTCOME_DEAD, 0)};

	world_settle_with(world, 0, 2, outcomes, 2);
	world_settle_with(world, 0, 3, outcomes, 2);
	assert_string_equal(world_listing(world, 0, &parked), "m1(head)");
	assert_string_equal(world_listing(world, 0, &dead), "m2");
	assert_int_equal(world_stats(world, 0, "s").pending_max, 0);
}

static void
a_second_death_is_no_conflict(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch = relay_begin(world, 2);
	struct ob_outcome outcomes[2] = {world_outcome(&batch->rows[0], OB_OUTCOME_DEAD, 0),
					 world_outcome(&batch->rows[1], OB_OUTCOME_PARK, 60000)};
	uint64_t count;

	world_settle_with(world, 0, 2, outcomes, 2);
	/* A replay brings both once more. */
	expect_ok(world, world_change(world, 0, OB_CHANGE_REPLAY, "s", 0, &count));
	assert_int_equal(count, 2);
	acquire_anew(world);
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "m1 m2");
	outcomes[0] = world_outcome(&batch->rows[0], OB_OUTCOME_DEAD, 0);
	outcomes[1] = world_outcome(&batch->rows[1], OB_OUTCOME_BEHIND, 0);
	world_settle_with(world, 0, 2, outcomes, 2);
	assert_string_equal(world_listing(world, 0, &dead), "m1");
	/* It is still the head of its key: behind itself it would wait for ever. */
	assert_string_equal(world_listing(world, 0, &parked), "m2(head)");
}

static bool
tries_keep(void *context, const struct ob_listed *row)
{
	snprintf(context, 8192, "%u %s|%s|%s", row->attempts, row->code, row->text, row->tries);
	return true;
}

static void
the_last_tries_are_kept(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch = relay_begin(world, 1);
	struct ob_try tries[3] = {{.ago_ms = 3000, .code = "first", .text = "a\"b\n\xff"},
				  {.ago_ms = 2000, .code = "second", .text = ""},
				  {.ago_ms = 1000, .code = "third", .text = "{\"at\":\"x\"}"}};
	struct ob_outcome outcome = world_outcome(&batch->rows[0], OB_OUTCOME_PARK, 0);
	char shown[8192] = "";
	unsigned count = 0;

	outcome.tries = tries;
	outcome.try_count = 3;
	outcome.attempts = 3;
	world_settle_with(world, 0, 1, &outcome, 1);
	expect_ok(world, world->kind->ops->list(world->at[0].store, &parked, tries_keep, shown,
						&world->error));
	assert_ptr_equal(strstr(shown, "3 third|{\"at\":\"x\"}|[{\"at\":\"2"), shown);
	assert_non_null(strstr(shown, "\"code\":\"first\",\"text\":\"a\\\"b\\n\xef\xbf\xbd\"}"));
	assert_non_null(strstr(shown, "\"code\":\"third\",\"text\":\"{\\\"at\\\":\\\"x\\\"}\"}]"));
	for (unsigned i = 0; i < 30; i++) {
		batch = world_fetch_some(world, 0);
		assert_int_equal(batch->count, 1);
		assert_int_equal(batch->rows[0].attempts, 3 + i);
		assert_true(batch->rows[0].age_ms > 0);
		outcome = world_outcome(&batch->rows[0], OB_OUTCOME_REPARK, 0);
		world_settle_with(world, 0, 1, &outcome, 1);
	}
	expect_ok(world, world->kind->ops->list(world->at[0].store, &parked, tries_keep, shown,
						&world->error));
	for (const char *at = shown; (at = strstr(at, "{\"at\":")) != NULL; at++)
		count++;
	assert_int_equal(count, OB_TRIES_KEPT);
	assert_null(strstr(shown, "third"));
	assert_ptr_equal(strstr(shown, "33 failed|it said \"no\"|[{"), shown);
}

static void
the_order_cannot_change_while_keys_wait(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch = relay_begin(world, 1);
	struct ob_outcome outcome = world_outcome(&batch->rows[0], OB_OUTCOME_PARK, 60000);
	struct ob_subscription subscription = {
	    .name = "s", .topics = "*", .order_by = OB_ORDER_BY_TOPIC_AND_KEY};
	uint64_t count;

	world_settle_with(world, 0, 1, &outcome, 1);
	expect_code(world, OB_CONFIG,
		    world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
	expect_ok(world, world_change(world, 0, OB_CHANGE_DISCARD, "s", OB_PLACE_PARKED, &count));
	expect_ok(world,
		  world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
}

static void
deliver_after_is_told_with_the_row(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_schedule(world, "orders", "k", 60000);
	world_schedule(world, "orders", "k", -60000);
	batch = world_fetch(world, 0);
	assert_int_equal(batch->count, 2);
	assert_true(batch->rows[0].due_in_ms > 50000);
	assert_true(batch->rows[0].due_in_ms <= 60000);
	assert_int_equal(batch->rows[1].due_in_ms, 0);
}

const struct store_test store_settle_tests[] = {
    {"a checkpoint moves and stays", a_checkpoint_moves_and_stays},
    {"what was not fetched cannot be settled", what_was_not_fetched_cannot_be_settled},
    {"outcomes are kept with a copy", outcomes_are_kept_with_a_copy},
    {"a stale settle writes nothing", a_stale_settle_writes_nothing},
    {"a settle that is done may be tried again", a_settle_that_is_done_may_be_tried_again},
    {"a second death is no conflict", a_second_death_is_no_conflict},
    {"the last tries are kept", the_last_tries_are_kept},
    {"the order cannot change while keys wait", the_order_cannot_change_while_keys_wait},
    {"deliver_after is told with the row", deliver_after_is_told_with_the_row},
    {NULL, NULL},
};
