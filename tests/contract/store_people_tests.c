/* What people see and change: listing, retry, discard, replay, trimming. */
#include "store_world.h"

#include "skip.h"
#include "store_suite.h"

static const struct ob_selection logged = {.place = OB_PLACE_LOG};
static const struct ob_selection dead = {.subscription = "s", .place = OB_PLACE_DEAD};

/* A relay on "s" that has settled `count` messages of keys a and b in turns, all of them dead. */
static void
all_die(struct world *world, unsigned count)
{
	struct ob_outcome outcomes[64];
	struct ob_batch *batch;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	for (unsigned i = 0; i < count; i++)
		world_append(world, i % 2 == 0 ? "orders" : "bills", i % 2 == 0 ? "a" : "b", "{}");
	batch = world_fetch(world, 0);
	for (unsigned i = 0; i < count; i++)
		outcomes[i] = world_outcome(&batch->rows[i], OB_OUTCOME_DEAD, 0);
	world_settle_with(world, 0, count, outcomes, count);
}

static void
a_list_can_be_narrowed(void **state)
{
	struct world *world = *state;
	struct ob_selection selection = dead;

	all_die(world, 6);
	assert_string_equal(world_listing(world, 0, &selection), "m1 m2 m3 m4 m5 m6");
	selection.id = world_id(3);
	assert_string_equal(world_listing(world, 0, &selection), "m3");
	selection.id = NULL;
	selection.topic = "bill*";
	assert_string_equal(world_listing(world, 0, &selection), "m2 m4 m6");
	selection.topic = NULL;
	selection.key = "a";
	assert_string_equal(world_listing(world, 0, &selection), "m1 m3 m5");
	selection.code = "failed";
	assert_string_equal(world_listing(world, 0, &selection), "m1 m3 m5");
	selection.code = "other";
	assert_string_equal(world_listing(world, 0, &selection), "");
	selection.code = NULL;
	selection.type = "t";
	assert_string_equal(world_listing(world, 0, &selection), "");
	selection.type = NULL;
	selection.topic = "a,,b";
	expect_code(
	    world, OB_CONFIG,
	    world->kind->ops->list(world->at[0].store, &selection, NULL, NULL, &world->error));
}

static bool
position_keep(void *context, const struct ob_listed *row)
{
	*(int64_t *)context = row->position;
	return true;
}

static void
a_list_comes_in_pages(void **state)
{
	struct world *world = *state;
	struct ob_selection selection = dead;

	all_die(world, 7);
	selection.count_max = 3;
	assert_string_equal(world_listing(world, 0, &selection), "m1 m2 m3");
	expect_ok(world, world->kind->ops->list(world->at[0].store, &selection, position_keep,
						&selection.position_after, &world->error));
	assert_string_equal(world_listing(world, 0, &selection), "m4 m5 m6");
	expect_ok(world, world->kind->ops->list(world->at[0].store, &selection, position_keep,
						&selection.position_after, &world->error));
	assert_string_equal(world_listing(world, 0, &selection), "m7");
}

static void
the_log_says_what_was_passed(void **state)
{
	struct world *world = *state;

	world_subscribe(world, "s", "*");
	world_subscribe(world, "t", "*");
	world_open(world, 1);
	world_acquire(world, 0, "s");
	world_acquire(world, 1, "t");
	world_append_many(world, 3, "orders", NULL);
	world_fetch(world, 0);
	world_fetch(world, 1);
	world_settle(world, 0, 3);
	assert_string_equal(world_listing(world, 0, &logged), "m1 m2 m3");
	world_settle(world, 1, 2);
	assert_string_equal(world_listing(world, 0, &logged), "m1(passed) m2(passed) m3");
}

static void
a_message_is_found_wherever_it_is(void **state)
{
	struct world *world = *state;
	struct ob_selection selection = {.id = world_id(1)};

	all_die(world, 2);
	assert_string_equal(world_listing(world, 0, &selection), "m1(passed) m1");
	selection.id = world_id(3);
	assert_string_equal(world_listing(world, 0, &selection), "");
}

static void
a_dry_run_only_counts(void **state)
{
	struct world *world = *state;
	struct ob_change change = {.kind = OB_CHANGE_RETRY, .dry_run = true, .since_ms = -1};
	uint64_t count = 0;

	all_die(world, 6);
	change.selection = dead;
	change.selection.key = "a";
	expect_ok(world,
		  world->kind->ops->change(world->at[0].store, &change, &count, &world->error));
	assert_int_equal(count, 3);
	change.kind = OB_CHANGE_DISCARD;
	change.selection.key = NULL;
	expect_ok(world,
		  world->kind->ops->change(world->at[0].store, &change, &count, &world->error));
	assert_int_equal(count, 6);
	change.kind = OB_CHANGE_REPLAY;
	expect_ok(world,
		  world->kind->ops->change(world->at[0].store, &change, &count, &world->error));
	assert_int_equal(count, 6);
	change.kind = OB_CHANGE_PAUSE;
	expect_ok(world,
		  world->kind->ops->change(world->at[0].store, &change, &count, &world->error));
	assert_int_equal(count, 1);
	/* Nothing was changed: the owner is not even told. */
	assert_string_equal(world_listing(world, 0, &dead), "m1 m2 m3 m4 m5 m6");
	assert_int_equal(world_fetch(world, 0)->count, 0);
	assert_false(world_stats(world, 0, "s").paused);
}

static void
retried_dead_go_back_in_the_order_of_their_keys(void **state)
{
	struct world *world = *state;
	uint64_t count = 0;

	all_die(world, 6);
	expect_ok(world, world_change(world, 0, OB_CHANGE_RETRY, "s", OB_PLACE_DEAD, &count));
	assert_int_equal(count, 6);
	assert_string_equal(world_listing(world, 0, &dead), "");
	assert_true(world_acquire(world, 0, "s")->goes_on);
	assert_int_equal(world->at[0].acquired.lane_count, 2);
	assert_int_equal(world->at[0].acquired.parked_rows, 6);
	{
		const char *ids = world_ids(world_fetch(world, 0));

		assert_true(strcmp(ids, "[m1] [m3] [m5] [m2] [m4] [m6]") == 0 ||
			    strcmp(ids, "[m2] [m4] [m6] [m1] [m3] [m5]") == 0);
	}
}

static void
a_change_may_be_limited_and_selected(void **state)
{
	struct world *world = *state;
	struct ob_change change = {.kind = OB_CHANGE_DISCARD, .since_ms = -1};
	uint64_t count = 0;

	all_die(world, 6);
	change.selection = dead;
	change.selection.key = "a";
	change.selection.count_max = 2;
	expect_ok(world,
		  world->kind->ops->change(world->at[0].store, &change, &count, &world->error));
	assert_int_equal(count, 2);
	assert_string_equal(world_listing(world, 0, &dead), "m2 m4 m5 m6");
	change.selection.subscription = "nobody";
	expect_code(world, OB_NOT_FOUND,
		    world->kind->ops->change(world->at[0].store, &change, &count, &world->error));
}

static void
parked_heads_can_be_tried_at_once(void **state)
{
	struct world *world = *state;
	struct ob_outcome outcomes[2];
	struct ob_batch *batch;
	uint64_t count;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 2, "orders", "k");
	batch = world_fetch(world, 0);
	outcomes[0] = world_outcome(&batch->rows[0], OB_OUTCOME_PARK, 600000);
	outcomes[1] = world_outcome(&batch->rows[1], OB_OUTCOME_BEHIND, 0);
	world_settle_with(world, 0, 2, outcomes, 2);
	expect_ok(world, world_change(world, 0, OB_CHANGE_RETRY, "s", OB_PLACE_PARKED, &count));
	assert_int_equal(count, 1);
	assert_true(world_acquire(world, 0, "s")->goes_on);
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "[m1] [m2]");
	/* Discarded while it is out: its outcome finds nothing, and that is no error. */
	expect_ok(world, world_change(world, 0, OB_CHANGE_DISCARD, "s", OB_PLACE_PARKED, &count));
	assert_int_equal(count, 2);
	assert_true(world_acquire(world, 0, "s")->goes_on);
	outcomes[0] = world_outcome(&batch->rows[0], OB_OUTCOME_UNPARK, 0);
	outcomes[1] = world_outcome(&batch->rows[1], OB_OUTCOME_REPARK, 0);
	world_settle_with(world, 0, 0, outcomes, 2);
	assert_int_equal(world_stats(world, 0, "s").parked_rows, 0);
}

/* ---- replay ---- */

static void
a_replay_ends_at_the_checkpoint_and_the_log_goes_on(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;
	uint64_t count;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 6, "orders", "k");
	assert_int_equal(world_fetch(world, 0)->count, 6);
	world_settle(world, 0, 4);
	expect_ok(world, world_change(world, 0, OB_CHANGE_REPLAY, "s", 0, &count));
	assert_int_equal(count, 4);
	assert_true(world_stats(world, 0, "s").replaying);
	assert_true(world_acquire(world, 0, "s")->goes_on);
	world_append(world, "orders", "k", "7");
	/* m5 and m6 are in the window; m1 to m4 come again, then the log goes on behind m6. */
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "m1 m2 m3 m4 m7");
	assert_int_equal(batch->rows[0].ordinal, 7);
	for (uint32_t i = 0; i < batch->count; i++)
		assert_int_equal(batch->rows[i].replayed, i < 4);
	world_settle(world, 0, 8);
	/* A crash in the middle: the rest of the replay, and what was not settled. */
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	assert_false(world_acquire(world, 0, "s")->goes_on);
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "m3 m4 m7");
	world_settle(world, 0, 2);
	assert_int_equal(world_stats(world, 0, "s").pending_max, 1);
	world_settle(world, 0, 3);
	assert_false(world_stats(world, 0, "s").replaying);
	assert_int_equal(world_stats(world, 0, "s").pending_max, 0);
	assert_int_equal(world_fetch(world, 0)->count, 0);
}

static void
a_replay_may_begin_at_an_id_or_a_time(void **state)
{
	struct world *world = *state;
	struct ob_change change = {
	    .kind = OB_CHANGE_REPLAY, .since_ms = -1, .from_id = world_id(3)};
	uint64_t count = 0;

	change.selection.subscription = "s";
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 4, "orders", "k");
	world_fetch(world, 0);
	world_settle(world, 0, 4);
	expect_ok(world,
		  world->kind->ops->change(world->at[0].store, &change, &count, &world->error));
	assert_int_equal(count, 2);
	assert_true(world_acquire(world, 0, "s")->goes_on);
	assert_string_equal(world_ids(world_fetch(world, 0)), "m3 m4");
	world_settle(world, 0, 6);
	change.from_id = "nothing";
	expect_code(world, OB_NOT_FOUND,
		    world->kind->ops->change(world->at[0].store, &change, &count, &world->error));
	change.from_id = NULL;
	change.since_ms = 3600000;
	expect_ok(world,
		  world->kind->ops->change(world->at[0].store, &change, &count, &world->error));
	assert_int_equal(count, 4);
	assert_true(world_acquire(world, 0, "s")->goes_on);
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1 m2 m3 m4");
	world_settle(world, 0, 10);
	world_sleep_ms(5);
	change.since_ms = 0;
	expect_ok(world,
		  world->kind->ops->change(world->at[0].store, &change, &count, &world->error));
	assert_int_equal(count, 0);
}

static void
a_second_replay_takes_the_first_one_in(void **state)
{
	struct world *world = *state;
	struct ob_change change = {
	    .kind = OB_CHANGE_REPLAY, .since_ms = -1, .from_id = world_id(3)};
	struct ob_fetch fetch = world_fetch_all;
	uint64_t count = 0;

	change.selection.subscription = "s";
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 4, "orders", "k");
	world_fetch(world, 0);
	world_settle(world, 0, 4);
	expect_ok(world, world_change(world, 0, OB_CHANGE_REPLAY, "s", 0, &count));
	assert_true(world_acquire(world, 0, "s")->goes_on);
	fetch.count_max = 2;
	assert_string_equal(world_ids(world_fetch_as(world, 0, &fetch)), "m1 m2");
	world_settle(world, 0, 5);
	/* While m2 is open another replay, of what lies behind it. */
	expect_ok(world,
		  world->kind->ops->change(world->at[0].store, &change, &count, &world->error));
	assert_true(world_acquire(world, 0, "s")->goes_on);
	world_settle(world, 0, 6);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	world_acquire(world, 0, "s");
	/* m2 was settled; to get it once more is allowed, to miss m3 and m4 is not. */
	{
		const char *ids = world_ids(world_fetch(world, 0));

		assert_true(strcmp(ids, "m2 m3 m4") == 0 || strcmp(ids, "m3 m4") == 0);
	}
}

/* However often it is tried, a settle of before says nothing about the replay that was asked for meanwhile. */
static void
a_settle_in_flight_does_not_end_a_replay(void **state)
{
	struct world *world = *state;
	struct ob_settle settle = {.through = 6};
	struct ob_batch *batch;
	uint64_t count;

	world_subscribe(world, "s", "*");
	world_open(world, 1);
	world_acquire(world, 0, "s");
	world_append_many(world, 3, "orders", "k");
	world_fetch(world, 0);
	world_settle(world, 0, 3);
	expect_ok(world, world_change(world, 1, OB_CHANGE_REPLAY, "s", 0, &count));
	assert_true(world_acquire(world, 0, "s")->goes_on);
	assert_int_equal(world_fetch_some(world, 0)->count, 3);
	expect_ok(world, world_change(world, 1, OB_CHANGE_REPLAY, "s", 0, &count));
	for (unsigned tries = 0; tries < 3; tries++)
		(void)world->kind->ops->settle(world->at[0].store, &settle, &world->error);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	world_acquire(world, 1, "s");
	batch = world_fetch_some(world, 1);
	assert_string_equal(world_ids(batch), "m1 m2 m3");
}

/* ---- trimming ---- */

static uint64_t
trim(struct world *world, unsigned i)
{
	uint64_t rows, all = 0;
	bool again;

	do {
		expect_ok(world,
			  world->kind->ops->trim(world->at[i].store, &rows, &again, &world->error));
		all += rows;
	} while (again);
	return all;
}

static void
only_what_all_have_passed_is_trimmed(void **state)
{
	struct world *world = *state;
	unsigned left = 6;
	uint64_t count;

	world_append_many(world, 10, "orders", "k");
	assert_int_equal(trim(world, 0), 0);
	world_subscribe(world, "s", "*");
	world_subscribe(world, "t", "*");
	world_open(world, 1);
	world_acquire(world, 0, "s");
	world_acquire(world, 1, "t");
	world_fetch(world, 0);
	world_fetch(world, 1);
	world_settle(world, 0, 10);
	assert_int_equal(trim(world, 0), 0);
	world_settle(world, 1, 4);
	if (world->kind->trims_stretches) {
		/* A stretch that is not wholly passed stays, and goes as one. */
		assert_int_equal(trim(world, 0), 0);
		left = 10;
	} else {
		assert_int_equal(trim(world, 0), 4);
		assert_string_equal(world_listing(world, 0, &logged), "m5 m6 m7 m8 m9 m10");
	}
	/* What a replay still has to read stays. */
	world_settle(world, 1, 10);
	expect_ok(world, world_change(world, 0, OB_CHANGE_REPLAY, "s", 0, &count));
	assert_int_equal(count, left);
	assert_int_equal(trim(world, 0), 0);
	assert_true(world_acquire(world, 0, "s")->goes_on);
	assert_int_equal(world_fetch(world, 0)->count, left);
	world_settle(world, 0, 10 + left);
	assert_int_equal(trim(world, 0), left);
	/* Numbers are not given out again. */
	world_append(world, "orders", "k", "11");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m11");
	assert_string_equal(world_ids(world_fetch(world, 1)), "m11");
}

static void
a_retention_keeps_what_is_young(void **state)
{
	static const char *const pairs[] = {"retention=1h", NULL};
	struct world *world = *state;

	world_options(world, pairs);
	world_open(world, 1);
	world_subscribe(world, "s", "*");
	world_acquire(world, 1, "s");
	world_append_many(world, 3, "orders", "k");
	world_fetch(world, 1);
	world_settle(world, 1, 3);
	assert_int_equal(trim(world, 1), 0);
	assert_int_equal(trim(world, 0), 3);
}

static void
copies_outlive_the_log(void **state)
{
	struct world *world = *state;
	uint64_t count;

	all_die(world, 4);
	assert_int_equal(trim(world, 0), 4);
	expect_ok(world, world_change(world, 0, OB_CHANGE_RETRY, "s", OB_PLACE_DEAD, &count));
	assert_true(world_acquire(world, 0, "s")->goes_on);
	assert_int_equal(world_fetch(world, 0)->count, 4);
}

static void
a_large_log_is_trimmed_in_short_pieces(void **state)
{
	struct world *world = *state;
	uint64_t rows;
	bool again;

	if (world->kind->trims_stretches)
		OB_SKIP("the store gives back whole stretches of the log, whatever is in them");
	world_subscribe(world, "s", "other");
	world_acquire(world, 0, "s");
	world_append_many(world, 1500, "orders", NULL);
	while (world_fetch(world, 0)->more)
		;
	world_settle(world, 0, 0);
	expect_ok(world, world->kind->ops->trim(world->at[0].store, &rows, &again, &world->error));
	assert_true(rows < 1500);
	assert_true(again);
	assert_int_equal(rows + trim(world, 0), 1500);
}

static void
finding_ignore(void *context, const struct ob_finding *finding)
{
	assert_non_null(finding->code);
	assert_non_null(finding->what);
	assert_true(finding->level != OB_FINDING_FAIL);
	++*(unsigned *)context;
}

static void
a_check_finds_nothing_broken(void **state)
{
	struct world *world = *state;
	unsigned findings = 0;
	struct ob_report report = {.context = &findings, .add = finding_ignore};

	all_die(world, 2);
	expect_ok(world, world->kind->ops->check(world->at[0].store, &report, &world->error));
	assert_true(findings > 0);
}

static void
stats_tell_what_is_waiting(void **state)
{
	struct world *world = *state;
	struct ob_subscription_stats stats;

	world_subscribe(world, "s", "orders");
	expect_code(
	    world, OB_NOT_FOUND,
	    world->kind->ops->stats(world->at[0].store, "nobody", NULL, NULL, &world->error));
	world_append_many(world, 3, "other", NULL);
	stats = world_stats(world, 0, "s");
	assert_false(stats.pending);
	assert_false(stats.held);
	assert_int_equal(stats.pending_max, 3);
	world_append(world, "orders", NULL, "x");
	world_sleep_ms(20);
	stats = world_stats(world, 0, "s");
	assert_true(stats.pending);
	assert_true(stats.oldest_age_ms >= 15);
	assert_true(stats.oldest_age_ms < 20000);
	assert_int_equal(stats.pending_max, 4);
}

const struct store_test store_people_tests[] = {
    {"a list can be narrowed", a_list_can_be_narrowed},
    {"a list comes in pages", a_list_comes_in_pages},
    {"the log says what was passed", the_log_says_what_was_passed},
    {"a message is found wherever it is", a_message_is_found_wherever_it_is},
    {"a dry run only counts", a_dry_run_only_counts},
    {"retried dead go back in the order of their keys",
     retried_dead_go_back_in_the_order_of_their_keys},
    {"a change may be limited and selected", a_change_may_be_limited_and_selected},
    {"parked heads can be tried at once", parked_heads_can_be_tried_at_once},
    {"a replay ends at the checkpoint and the log goes on",
     a_replay_ends_at_the_checkpoint_and_the_log_goes_on},
    {"a replay may begin at an id or a time", a_replay_may_begin_at_an_id_or_a_time},
    {"a second replay takes the first one in", a_second_replay_takes_the_first_one_in},
    {"a settle in flight does not end a replay", a_settle_in_flight_does_not_end_a_replay},
    {"only what all have passed is trimmed", only_what_all_have_passed_is_trimmed},
    {"a retention keeps what is young", a_retention_keeps_what_is_young},
    {"copies outlive the log", copies_outlive_the_log},
    {"a large log is trimmed in short pieces", a_large_log_is_trimmed_in_short_pieces},
    {"a check finds nothing broken", a_check_finds_nothing_broken},
    {"stats tell what is waiting", stats_tell_what_is_waiting},
    {NULL, NULL},
};
