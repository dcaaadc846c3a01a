/* Stories about the engine: what is sent when, and what is written down. */
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

static void
test_one_of_a_key_at_a_time(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 a2 b3 a4");
	world_expect(w, "fetch\nsubmit a1 b3\n");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_expect(w, "submit a2\n");
	world_receipt(w, "a2", OB_FATE_RETRY);
	world_expect(w, "");
	world_wait(w, 1000);
	world_expect(w, "settle 1\nsubmit a2/2\n");
	world_receipt(w, "a2", OB_FATE_SENT);
	world_expect(w, "submit a4\n");
}

static void
test_order_always_sends_ahead_and_comes_back_in_order(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.sink.order = OB_ORDER_ALWAYS;
	world_start(w);
	world_fetched(w, "a1 a2 a3 a4");
	world_expect(w, "fetch\nsubmit a1 a2 a3 a4\n");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_receipt(w, "a2", OB_FATE_DOWN);
	world_expect(w, "report down: down\n");
	world_receipt(w, "a4 a3", OB_FATE_RETURNED);
	world_wait(w, 100);
	world_expect(w, "settle 1\n");
	world_settled(w, OB_OK);
	world_wait(w, 600);
	world_expect(w, "submit a2\n");
	world_receipt(w, "a2", OB_FATE_SENT);
	world_expect(w, "report running\nsubmit a3\n");
	world_receipt(w, "a3", OB_FATE_SENT);
	world_expect(w, "submit a4\n");
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
test_down_probes_go_round(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2 c3");
	world_receipt(w, "a1 b2 c3", OB_FATE_DOWN);
	world_expect(w, "fetch\nsubmit a1 b2 c3\nreport down: down\n");
	world_wait(w, 499);
	world_expect(w, "");
	world_wait(w, 1);
	world_expect(w, "submit a1\n");
	world_receipt(w, "a1", OB_FATE_DOWN);
	world_wait(w, 1000);
	world_expect(w, "submit b2\n");
	world_receipt(w, "b2", OB_FATE_DOWN);
	world_wait(w, 2000);
	world_expect(w, "submit c3\n");
	world_receipt(w, "c3", OB_FATE_SENT);
	world_expect(w, "report running\nsubmit a1\n");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_expect(w, "submit b2\n");
	assert_int_equal(world_stats(w).charged_downs, 0);
}

/* A message that brings the recipient down pays for it from the third time on. */
static void
test_poison_is_charged(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2 c3 d4");
	world_expect(w, "fetch\nsubmit a1 b2 c3 d4\n");
	world_receipt(w, "a1 b2 c3 d4", OB_FATE_DOWN);
	w->told[0] = '\0';
	world_wait(w, 500);
	world_receipt(w, "a1", OB_FATE_DOWN);
	world_wait(w, 1000);
	world_expect(w, "submit a1\nsubmit b2\n");
	world_receipt(w, "b2", OB_FATE_SENT);
	world_receipt(w, "c3", OB_FATE_SENT);
	world_expect(w, "report running\nsubmit c3\nsubmit d4 a1\n");
	world_receipt(w, "a1", OB_FATE_DOWN);
	world_expect(w, "report down: down\n");
	assert_int_equal(world_stats(w).charged_downs, 1);
}

static void
test_storm_of_rejects_is_down(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.storm_limit = 3;
	world_start(w);
	world_fetched(w, "a1 b2 c3 d4");
	world_receipt(w, "a1 b2 c3", OB_FATE_REJECT);
	world_expect(w, "fetch\nsubmit a1 b2 c3 d4\nreport down: reject\n");
	world_receipt(w, "d4", OB_FATE_REJECT);
	world_wait(w, 500);
	world_expect(w, "submit a1\n");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_expect(w, "report running\nsubmit b2\n");
	assert_int_equal(world_stats(w).dead, 0);
}

static void
test_reject_is_believed(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 a2 b3");
	world_receipt(w, "a1", OB_FATE_REJECT);
	world_wait(w, 100);
	world_expect(w, "fetch\nsubmit a1 b3\n");
	world_receipt(w, "b3", OB_FATE_SENT);
	world_wait(w, 100);
	/* Its successor waits until the death is written down. */
	world_expect(w, "settle 1 dead:1/1\n");
	world_settled(w, OB_OK);
	world_expect(w, "submit a2\n");
	assert_int_equal(world_stats(w).dead_rows_now, 1);
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
test_busy_settle_is_sent_again(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "fetch\nsubmit a1\nsettle 1\n");
	world_settled(w, OB_BUSY);
	world_expect(w, "");
	world_wait(w, 20);
	world_expect(w, "settle 1\n");
	world_settled(w, OB_OK);
	assert_int_equal(world_stats(w).settled_through, 1);
}

static void
test_unknown_settle_drops_the_window(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "fetch\nsubmit a1 b2\nsettle 1\n");
	world_settled(w, OB_AGAIN);
	world_expect(w, "cancel\nacquire\nreport store_failed: again\n");
	world_fetched(w, "");
	world_acquired(w, OB_OK);
	world_expect(w, "fetch\nreport running\n");
	/* What the sink still holds comes first, so that nothing is sent beside itself. */
	world_fetched(w, "a1 b2");
	world_expect(w, "fetch\n");
	assert_int_equal(w->batches, 2);
	world_receipt(w, "b2", OB_FATE_SENT);
	world_expect(w, "submit a1 b2\n");
	assert_int_equal(world_stats(w).late_receipts, 1);
	assert_int_equal(w->batches, 1);
}

static void
test_changed_keeps_the_window(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2 c3");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_expect(w, "fetch\nsubmit a1 b2 c3\n");
	world_renewed(w, OB_CHANGED);
	world_receipt(w, "b2", OB_FATE_SENT);
	world_expect(w, "");
	world_receipt(w, "c3", OB_FATE_RETRY);
	world_expect(w, "acquire\n");
	world_fetched(w, "");
	w->acquired.goes_on = true;
	world_acquired(w, OB_OK);
	world_expect(w, "settle 2\nfetch\n");
}

/* A parked row that was sent before the change is unparked before anything parked is fetched again. */
static void
test_changed_remembers_what_was_sent(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->acquired.parked_rows = 2;
	w->acquired.lane_count = 1;
	w->lanes[0] = (struct ob_parked_lane){.lane = 'a', .rows = 2};
	world_start(w);
	world_fetched(w, "*a1/1 *a2");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_renewed(w, OB_CHANGED);
	world_expect(w, "fetch\nsubmit a1/2\nsubmit a2\n");
	world_receipt(w, "a2", OB_FATE_RETRY);
	world_expect(w, "acquire\n");
	world_fetched(w, "");
	w->acquired.goes_on = true;
	world_acquired(w, OB_OK);
	world_expect(w, "settle 0 unpark:1/1\nfetch\n");
	assert_int_equal(w->fetch.parked_max, 0);
	world_settled(w, OB_OK);
	world_expect(w, "acquire\n");
	world_fetched(w, "");
	w->acquired.parked_rows = w->lanes[0].rows = 1;
	world_acquired(w, OB_OK);
	world_expect(w, "fetch\n");
	assert_int_equal(w->fetch.parked_max, 8);
}

static void
test_lease_runs_out(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 a2");
	world_expect(w, "fetch\nsubmit a1\n");
	world_wait(w, 10000);
	world_expect(w, "cancel\n");
	world_receipt(w, "a1", OB_FATE_UNKNOWN);
	world_expect(w, "acquire\n");
	w->acquired.held = false;
	w->acquired.retry_in_ms = 5000;
	world_acquired(w, OB_OK);
	world_expect(w, "acquire\nreport standby: lease_held\n");
	assert_int_equal(w->batches, 0);
}

static void
test_drain(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 a2 b3 a4");
	world_expect(w, "fetch\nsubmit a1 b3\n");
	world_event(w, OB_EVENT_DRAIN);
	world_expect(w, "report draining\n");
	/* a2 goes, too, or b3 could not be settled and would arrive twice; a4 stays for the next relay. */
	world_receipt(w, "a1", OB_FATE_SENT);
	world_expect(w, "submit a2\n");
	world_receipt(w, "b3", OB_FATE_SENT);
	world_receipt(w, "a2", OB_FATE_SENT);
	world_expect(w, "settle 3\n");
	world_settled(w, OB_OK);
	world_expect(w, "drained\nreport drained\n");
	world_fetched(w, "");
	assert_int_equal(w->batches, 1);
}

static void
test_abandon(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_event(w, OB_EVENT_DRAIN);
	world_expect(w, "fetch\nsubmit a1 b2\nreport draining\n");
	world_event(w, OB_EVENT_ABANDON);
	world_expect(w, "cancel\nsettle 1\n");
	world_settled(w, OB_OK);
	world_expect(w, "drained\nreport drained\n");
}

static void
test_full_sink(void **state)
{
	struct world *w = begin();

	(void)state;
	w->accepts = 1;
	world_fetched(w, "a1 b2 a3 c4");
	world_expect(w, "fetch\nsubmit a1 b2 c4\n");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_expect(w, "submit b2 c4 a3\n");
	world_event(w, OB_EVENT_SINK_FREE);
	world_expect(w, "submit c4 a3\n");
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

/* The successor was listed already when its predecessor was in flight alone. */
static void
test_a_reject_holds_back_what_may_go_ahead(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.sink.order = OB_ORDER_ALWAYS;
	w->config.in_flight_max = w->config.sink.in_flight_max = 2;
	world_start(w);
	world_fetched(w, "a1 b2 a3");
	world_expect(w, "fetch\nsubmit a1 b2\n");
	world_receipt(w, "a1", OB_FATE_REJECT);
	world_expect(w, "");
	world_receipt(w, "b2", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "settle 2 dead:1/1\n");
	world_settled(w, OB_OK);
	world_expect(w, "submit a3\n");
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

/* It would sleep on when there is room for parked rows again. */
static void
test_a_fetch_without_room_for_parked_rows_does_not_wait(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.parked_window_max = 1;
	w->acquired.parked_rows = 2;
	w->acquired.lane_count = 1;
	w->lanes[0] = (struct ob_parked_lane){.lane = 'a', .rows = 2};
	world_start(w);
	world_fetched(w, "*a1");
	world_expect(w, "fetch\nsubmit a1\n");
	assert_int_equal(w->fetch.parked_max, 0);
	world_fetched(w, "");
	world_wait(w, 49);
	world_expect(w, "");
	world_wait(w, 1);
	world_expect(w, "fetch\n");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_fetched(w, "");
	world_expect(w, "settle 0 unpark:1\n");
	world_settled(w, OB_OK);
	world_expect(w, "fetch\n");
	assert_int_equal(w->fetch.parked_max, 1);
}

/* Past its quota a key's messages get one try each, once the store has confirmed that it is full. */
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
	world_wait(w, 100);
	world_expect(w, "fetch\nsubmit b4\nsubmit a3\n");
	world_receipt(w, "b4", OB_FATE_SENT);
	world_receipt(w, "a3", OB_FATE_RETRY);
	world_wait(w, 100);
	world_expect(w, "settle 2 dead:3/1\n");
}

/* The next row does not fit: asking again and again would give the same. */
static void
test_waits_for_room_for_a_large_row(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.window_bytes_max = 1000;
	world_start(w);
	world_fetched(w, "a1");
	world_expect(w, "fetch\nsubmit a1\n");
	assert_false(w->fetch.oversize_ok);
	w->more = true;
	world_fetched(w, "");
	world_expect(w, "");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_expect(w, "settle 1\n");
	world_settled(w, OB_OK);
	world_expect(w, "fetch\n");
	assert_true(w->fetch.oversize_ok);
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
	    STORY(test_settles_no_further_than_the_first_open_one),
	    STORY(test_one_of_a_key_at_a_time),
	    STORY(test_order_always_sends_ahead_and_comes_back_in_order),
	    STORY(test_park_and_return),
	    STORY(test_a_run_goes_back_when_its_head_fails),
	    STORY(test_down_probes_go_round),
	    STORY(test_poison_is_charged),
	    STORY(test_storm_of_rejects_is_down),
	    STORY(test_reject_is_believed),
	    STORY(test_hold_key),
	    STORY(test_too_large_dies_at_its_turn),
	    STORY(test_deliver_after_holds_no_key),
	    STORY(test_busy_settle_is_sent_again),
	    STORY(test_unknown_settle_drops_the_window),
	    STORY(test_changed_keeps_the_window),
	    STORY(test_changed_remembers_what_was_sent),
	    STORY(test_lease_runs_out),
	    STORY(test_drain),
	    STORY(test_abandon),
	    STORY(test_full_sink),
	    STORY(test_quota_of_the_dead),
	    STORY(test_full_window_parks_what_blocks_it),
	    STORY(test_a_reject_holds_back_what_may_go_ahead),
	    STORY(test_a_run_goes_back_behind_a_dead_head),
	    STORY(test_a_fetch_without_room_for_parked_rows_does_not_wait),
	    STORY(test_quota_of_a_key),
	    STORY(test_waits_for_room_for_a_large_row),
	    cmocka_unit_test(test_config),
	};

	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
