/* Stories about the engine: what is sent when, what is parked, and what is written down. */
#include "engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct world world;

static struct world *
begin(void)
{
	world_init(&world);
	world_start(&world);
	return &world;
}

static int
end(void **state)
{
	(void)state;
	world_end(&world);
	return 0;
}

static void
test_happy_path(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2 -3");
	world_expect(w, "fetch\nsubmit a1 b2 -3\n");
	world_receipt(w, "b2 a1 -3", OB_FATE_SENT);
	world_expect(w, "");
	world_wait(w, 100);
	world_expect(w, "settle 3\n");
	assert_int_equal(w->batches, 1);
	world_settled(w, OB_OK);
	world_expect(w, "");
	assert_int_equal(w->batches, 0);
	assert_int_equal(world_stats(w).settled_through, 3);
	assert_false(world_stats(w).idle);
	world_fetched(w, "");
	world_expect(w, "fetch\n");
	assert_true(world_stats(w).idle);
}

/* A fetch of parked rows alone did not look at the log: that it found nothing does not make the engine idle. */
static void
test_idle_is_what_the_log_says(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->acquired.parked_rows = 1;
	w->acquired.lane_count = 1;
	w->lanes[0] = (struct ob_parked_lane){.lane = 'z', .rows = 1};
	world_start(w);
	w->more = true;
	w->next_due_ms = 50;
	world_fetched(w, "a1 b2 c3 d4 e5 f6 g7 h8");
	world_fetched(w, "i9 j10 k11 l12 m13 n14 o15 p16");
	world_wait(w, 60);
	world_expect(
	    w,
	    "fetch\nsubmit a1 b2 c3 d4 e5 f6 g7 h8\nsubmit i9 j10 k11 l12 m13 n14 o15 p16\nparked fetch\n");
	w->more = false;
	w->next_due_ms = 5000;
	world_fetched(w, "");
	world_receipt(w, "a1 b2 c3 d4 e5 f6 g7 h8 i9 j10 k11 l12 m13 n14 o15 p16", OB_FATE_SENT);
	while (world_stats(w).settled_through < 16)
		world_settled(w, OB_OK);
	assert_false(world_stats(w).idle);
	world_fetched(w, "");
	assert_true(world_stats(w).idle);
}

/* P2: nothing is settled past a message whose fate is open. */
static void
test_settles_no_further_than_the_first_open_one(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2 c3");
	world_receipt(w, "a1 c3", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "fetch\nsubmit a1 b2 c3\nsettle 1\n");
	world_settled(w, OB_OK);
	world_wait(w, 1000);
	world_expect(w, "");
}

/* The second try is two seconds away: too long for the window. */
static void
test_park_and_return(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2 a3");
	world_expect(w, "fetch\nsubmit a1 b2\n");
	world_receipt(w, "b2", OB_FATE_SENT);
	world_receipt(w, "a1", OB_FATE_RETRY);
	world_wait(w, 1000);
	world_expect(w, "submit a1/2\n");
	world_receipt(w, "a1", OB_FATE_RETRY);
	world_wait(w, 100);
	world_expect(w, "settle 3 park:1/2+1900 behind:3\n");
	/* While that is under way nothing of the key goes. */
	world_fetched(w, "a4 c5");
	world_expect(w, "fetch\nsubmit c5\n");
	world_receipt(w, "c5", OB_FATE_SENT);
	world_settled(w, OB_OK);
	world_wait(w, 100);
	world_expect(w, "settle 5 behind:4\n");
	world_settled(w, OB_OK);
	assert_int_equal(world_stats(w).parked_rows_now, 3);
	world_expect(w, "");
	/* The run comes back, one after the other, and the key is free. */
	world_fetched(w, "*a1/2 *a3 *a4 a6");
	world_expect(w, "fetch\nsubmit a1/3\n");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_receipt(w, "a3", OB_FATE_SENT);
	world_expect(w, "submit a3\nsubmit a4\n");
	world_receipt(w, "a4", OB_FATE_SENT);
	world_expect(w, "settle 5 unpark:1/2 unpark:3 unpark:4\n");
	world_settled(w, OB_OK);
	world_expect(w, "submit a6\n");
	assert_int_equal(world_stats(w).parked_keys_now, 0);
}

static void
test_a_run_goes_back_when_its_head_fails(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->acquired.parked_rows = 2;
	w->acquired.lane_count = 1;
	w->lanes[0] = (struct ob_parked_lane){.lane = 'a', .rows = 2};
	world_start(w);
	world_fetched(w, "*a1/1 *a2 a3");
	world_expect(w, "fetch\nsubmit a1/2\n");
	world_receipt(w, "a1", OB_FATE_RETRY);
	world_expect(w, "settle 1 repark:1/2+2000 back:2 behind:3\n");
}

static void
test_hold_key(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.retry.hold_key = true;
	world_start(w);
	world_fetched(w, "a1 a2 b3");
	world_receipt(w, "a1", OB_FATE_REJECT);
	world_receipt(w, "b3", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "fetch\nsubmit a1 b3\nsettle 3 dead_hold:1/1 behind:2\n");
}

static void
test_too_large_dies_at_its_turn(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 a2! a3");
	world_expect(w, "fetch\nsubmit a1\n");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "settle 2 dead:2\n");
	world_settled(w, OB_OK);
	world_expect(w, "submit a3\n");
}

static void
test_deliver_after_holds_no_key(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1+60 a2");
	world_expect(w, "fetch\nsubmit a2\n");
	world_wait(w, 100);
	world_expect(w, "settle 1 schedule:1+59900\n");
	assert_int_equal(world_stats(w).scheduled, 0);
	world_settled(w, OB_OK);
	assert_int_equal(world_stats(w).scheduled_rows_now, 1);
}

static void
test_quota_of_the_dead(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.quotas.dead_rows = 1;
	world_start(w);
	world_fetched(w, "a1! b2! c3");
	world_receipt(w, "c3", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "fetch\nsubmit c3\nsettle 1 dead:1\nreport full: dead_rows_full\n");
}

/* Neither count may be too high, or a quota would look full that is not. */
static void
test_rows_without_a_key_are_counted_as_they_wait(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->acquired.parked_rows = w->acquired.scheduled_rows = 3;
	world_start(w);
	world_fetched(w, "*-1/1 *-2@ *c3@");
	world_expect(w, "fetch\nsubmit -1/2 -2 c3\n");
	world_receipt(w, "-1 -2 c3", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "settle 0 unpark:1/1 unpark:2 unpark:3\n");
	world_settled(w, OB_OK);
	assert_int_equal(world_stats(w).parked_rows_now, 2);
	assert_int_equal(world_stats(w).scheduled_rows_now, 1);
}

/* Of four shards each may have a quarter, and one at least. */
static void
test_shards_share_the_quotas(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.quotas.dead_rows = 8;
	w->acquired.shards = 4;
	world_start(w);
	world_fetched(w, "a1! b2! c3!");
	world_wait(w, 100);
	world_expect(w, "fetch\nsettle 2 dead:1 dead:2\nreport full: dead_rows_full\n");
	world_end(w);
	world_init(w);
	w->config.quotas.dead_rows = 2;
	w->acquired.shards = 4;
	world_start(w);
	world_fetched(w, "a1! b2!");
	world_wait(w, 100);
	world_expect(w, "fetch\nsettle 1 dead:1\nreport full: dead_rows_full\n");
}

static void
test_full_window_parks_what_blocks_it(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.window_count_max = 4;
	w->config.fetch_count_max = 4;
	world_start(w);
	world_fetched(w, "a1 b2 c3 d4");
	world_expect(w, "submit a1 b2 c3 d4\n");
	world_receipt(w, "a1", OB_FATE_RETRY);
	world_receipt(w, "b2 c3 d4", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "settle 4 park:1/1+900\n");
	world_settled(w, OB_OK);
	world_expect(w, "fetch\n");
}

static void
test_a_run_goes_back_behind_a_dead_head(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->acquired.parked_rows = 3;
	w->acquired.lane_count = 1;
	w->lanes[0] = (struct ob_parked_lane){.lane = 'a', .rows = 3};
	world_start(w);
	world_fetched(w, "*a1! *a2 *a3");
	world_expect(w, "settle 0 bury:1 back:2 back:3\nfetch\n");
}

/* Past its quota a key's messages are dead without a try: P3 forbids to send them before those that wait. */
static void
test_quota_of_a_key(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.quotas.parked_rows_of_key = 2;
	w->acquired.parked_rows = 2;
	w->acquired.lane_count = 1;
	w->lanes[0] = (struct ob_parked_lane){.lane = 'a', .rows = 2};
	world_start(w);
	world_fetched(w, "a3 b4");
	world_expect(w, "fetch\nsubmit b4\n");
	world_receipt(w, "b4", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "settle 2 dead:3\n");
	world_settled(w, OB_OK);
	/* When one of them is done there is room for the next. */
	world_fetched(w, "*a1/1 a5 a6");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "fetch\nsubmit a1/2\nsettle 4 unpark:1/1 behind:5 dead:6\n");
}

/* The store takes so much at once: the rest follows at once, in the same order, and sent ones are free. */
static void
test_a_settle_is_as_large_as_the_store_takes(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.settle_count_max = 2;
	w->acquired.parked_rows = 3;
	w->acquired.lane_count = 1;
	w->lanes[0] = (struct ob_parked_lane){.lane = 'z', .rows = 3};
	world_start(w);
	world_fetched(w, "a1! b2 c3! *z4/1 *z5 *z6");
	world_receipt(w, "b2", OB_FATE_SENT);
	world_expect(w, "fetch\nsubmit b2 z4/2\n");
	/* Those that go back with the head write nothing, and stay with it. */
	world_receipt(w, "z4", OB_FATE_RETRY);
	world_expect(w, "settle 2 repark:4/2+2000 back:5 back:6 dead:1\n");
	world_settled(w, OB_OK);
	world_expect(w, "settle 3 dead:3\n");
	world_settled(w, OB_OK);
	world_expect(w, "");
}

/* And of bytes; one that is larger goes alone. */
static void
test_a_settle_has_as_many_bytes_as_the_store_takes(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.settle_bytes_max = 650;
	world_start(w);
	world_fetched(w, "a1! b2! c3! d4!");
	world_wait(w, 100);
	world_expect(w, "fetch\nsettle 2 dead:1 dead:2\n");
	world_settled(w, OB_OK);
	world_expect(w, "settle 4 dead:3 dead:4\n");
}

/* A count that a replay may have made too high kills nothing; nor does a recipient that is down. */
static void
test_quota_of_a_key_is_looked_at_again(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.quotas.parked_rows_of_key = 2;
	w->acquired.parked_rows = 1;
	w->acquired.lane_count = 1;
	w->lanes[0] = (struct ob_parked_lane){.lane = 'a', .rows = 1};
	world_start(w);
	world_fetched(w, "a2~ a3");
	world_wait(w, 100);
	world_expect(w, "fetch\nsettle 1 behind:2\n");
	world_settled(w, OB_OK);
	world_expect(w, "acquire\n");
	w->acquired.goes_on = true;
	w->acquired.parked_rows = w->lanes[0].rows = 2;
	world_acquired(w, OB_OK);
	world_expect(w, "settle 2 dead:3\n");
}

static void
test_config(void **state)
{
	struct ob_engine_config config = {0};
	struct ob_error error;

	(void)state;
	assert_int_equal(ob_engine_config_check(&config, &error), OB_CONFIG);
	ob_engine_config_defaults(&config);
	assert_int_equal(ob_engine_config_check(&config, &error), OB_OK);
	config.retry.max_ms = 10;
	assert_int_equal(ob_engine_config_check(&config, &error), OB_CONFIG);
	assert_non_null(strstr(error.text, "retry.max_ms"));
}

#define STORY(name) cmocka_unit_test_teardown(name, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    STORY(test_happy_path),
	    STORY(test_idle_is_what_the_log_says),
	    STORY(test_settles_no_further_than_the_first_open_one),
	    STORY(test_park_and_return),
	    STORY(test_a_run_goes_back_when_its_head_fails),
	    STORY(test_hold_key),
	    STORY(test_too_large_dies_at_its_turn),
	    STORY(test_deliver_after_holds_no_key),
	    STORY(test_quota_of_the_dead),
	    STORY(test_rows_without_a_key_are_counted_as_they_wait),
	    STORY(test_shards_share_the_quotas),
	    STORY(test_full_window_parks_what_blocks_it),
	    STORY(test_a_run_goes_back_behind_a_dead_head),
	    STORY(test_quota_of_a_key),
	    STORY(test_quota_of_a_key_is_looked_at_again),
	    STORY(test_a_settle_is_as_large_as_the_store_takes),
	    STORY(test_a_settle_has_as_many_bytes_as_the_store_takes),
	    cmocka_unit_test(test_config),
	};

	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
