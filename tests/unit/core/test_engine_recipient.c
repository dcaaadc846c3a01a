/* Stories about the engine and its recipient: order, failures, being down, and what is believed. */
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

/* Also when it was handed out, and everything handed out is forgotten meanwhile, since a person changes something. */
static void
test_poison_that_is_parked_is_charged(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->acquired.goes_on = true;
	w->acquired.parked_rows = w->acquired.lane_count = 1;
	w->lanes[0] = (struct ob_parked_lane){.lane = 'a', .rows = 1};
	world_start(w);
	world_fetched(w, "*a1 b2");
	world_receipt(w, "a1", OB_FATE_DOWN);
	world_receipt(w, "b2", OB_FATE_SENT);
	world_wait(w, 100);
	world_settled(w, OB_OK);
	world_renewed(w, OB_CHANGED);
	world_fetched(w, "");
	world_acquired(w, OB_OK);
	world_expect(w, "fetch\nsubmit a1 b2\nreport down: down\nsettle 1\nacquire\nfetch\n");
	world_fetched(w, "*a1 c2");
	world_wait(w, 1000);
	world_receipt(w, "a1", OB_FATE_DOWN);
	world_wait(w, 2000);
	world_receipt(w, "c2", OB_FATE_SENT);
	world_receipt(w, "a1", OB_FATE_DOWN);
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
test_blocked_until_somebody_says_it_is_mended(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1");
	world_receipt(w, "a1", OB_FATE_BLOCKED);
	world_expect(w, "fetch\nsubmit a1\nreport blocked: blocked\n");
	for (int i = 0; i < 5; i++) {
		world_wait(w, 5000);
		world_renewed(w, OB_OK);
	}
	world_expect(w, "");
	world_event(w, OB_EVENT_POKE);
	world_expect(w, "submit a1\n");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_expect(w, "report running\n");
}

/* A sink that keeps the order no longer, since it is connected elsewhere. */
static void
test_limits_change(void **state)
{
	struct world *w = &world;
	struct ob_event event = {.kind = OB_EVENT_LIMITS};
	struct ob_actions actions;

	(void)state;
	world_init(w);
	w->config.sink.order = OB_ORDER_ALWAYS;
	w->config.in_flight_max = w->config.sink.in_flight_max = 2;
	world_start(w);
	world_fetched(w, "a1 a2 a3 b4");
	world_expect(w, "fetch\nsubmit a1 b4\n");
	event.sink_limits = (struct ob_sink_limits){.in_flight_max = 8};
	ob_engine_step(w->engine, &event, &actions);
	assert_int_equal(actions.count, 0);
	world_receipt(w, "b4", OB_FATE_SENT);
	world_expect(w, "");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_expect(w, "submit a2\n");
}

static void
test_age_and_attempts(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.retry.attempts_max = 2;
	world_start(w);
	world_fetched(w, "a1");
	world_receipt(w, "a1", OB_FATE_UNKNOWN);
	world_wait(w, 1000);
	world_receipt(w, "a1", OB_FATE_RETRY);
	world_expect(w, "fetch\nsubmit a1\nsubmit a1/2\n");
	world_wait(w, 1100);
	world_expect(w, "settle 1 dead:1/2\n");
	world_settled(w, OB_OK);
	/* Proof that the recipient is there spares the wait. */
	world_fetched(w, "a2/1 b3");
	world_receipt(w, "a2", OB_FATE_RETRY);
	world_receipt(w, "b3", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "fetch\nsubmit a2/2 b3\nsettle 3 dead:2/2\n");
}

/* Every try after the first counts, whatever came of the one before; what was given back was not tried. */
static void
test_every_further_try_counts(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2 c3 d4");
	world_receipt(w, "a1", OB_FATE_RETRY);
	world_receipt(w, "b2", OB_FATE_UNKNOWN);
	world_receipt(w, "d4", OB_FATE_RETURNED);
	assert_int_equal(world_stats(w).retried, 0);
	world_wait(w, 1000);
	world_receipt(w, "a1 b2 d4", OB_FATE_SENT);
	assert_int_equal(world_stats(w).retried, 2);
	world_receipt(w, "c3", OB_FATE_DOWN);
	world_wait(w, 500);
	world_receipt(w, "c3", OB_FATE_DOWN);
	assert_int_equal(world_stats(w).retried, 3);
	world_fetched(w, "");
}

/* What was down when another relay took over may be well long since. */
static void
test_who_stood_by_asks_anew(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1");
	world_receipt(w, "a1", OB_FATE_DOWN);
	world_renewed(w, OB_STALE);
	world_fetch_failed(w, OB_STALE);
	w->told[0] = '\0';
	w->acquired.held = false;
	w->acquired.retry_in_ms = 1000;
	world_acquired(w, OB_OK);
	w->acquired.held = true;
	world_acquired(w, OB_OK);
	world_expect(w, "acquire\nreport standby: lease_held\nfetch\nreport running\n");
}

/* A bad deployment, and one key: the first messages die as poison would, and then no more. */
static void
test_one_key_does_not_pour_into_the_dead(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.storm_limit = 6;
	world_start(w);
	world_fetched(w, "a1 a2 a3 a4 a5");
	for (int i = 1; i <= 3; i++) {
		char name[3] = {'a', (char)('0' + i)};

		world_receipt(w, name, OB_FATE_REJECT);
		world_wait(w, 1100);
		world_settled(w, OB_OK);
	}
	world_expect(w, "fetch\nsubmit a1\nsettle 1 dead:1/1\nsubmit a2\nsettle 2 dead:2/1\n"
			"submit a3\nsettle 3 dead:3/1\nsubmit a4\n");
	world_receipt(w, "a4", OB_FATE_REJECT);
	world_wait(w, 1000);
	world_expect(w, "report down: reject\n");
	/* It waits like any that failed: for its pause, which grows, and parked with its key behind it. */
	world_wait(w, 1000);
	world_expect(w, "submit a4/2\n");
	world_receipt(w, "a4", OB_FATE_REJECT);
	world_wait(w, 1100);
	world_expect(w, "settle 5 park:4/2+1900 behind:5\n");
	world_settled(w, OB_OK);
	world_fetched(w, "*a4/2");
	world_receipt(w, "a4", OB_FATE_SENT);
	world_expect(w, "fetch\nsubmit a4/3\nsettle 5 unpark:4/2\nreport running\n");
	assert_int_equal(world_stats(w).dead, 3);
}

/* Several keys, and all that there are fail at once: none dies, though they are fewer than a storm takes. */
static void
test_few_keys_do_not_pour_into_the_dead(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.storm_limit = 7;
	world_start(w);
	world_fetched(w, "a1 b2 c3 d4 -5 a6");
	world_receipt(w, "a1 b2 c3 d4 -5", OB_FATE_REJECT);
	world_expect(w, "fetch\nsubmit a1 b2 c3 d4 -5\n");
	world_wait(w, 1000);
	world_expect(w, "report down: reject\n");
	world_wait(w, 1000);
	world_expect(w, "submit a1/2 -5/2 d4/2 c3/2 b2/2\n");
	/* As soon as one is sent the others are to blame themselves. */
	world_receipt(w, "a1 b2", OB_FATE_REJECT);
	world_receipt(w, "c3", OB_FATE_SENT);
	world_expect(w, "report running\n");
	world_receipt(w, "d4 -5", OB_FATE_SENT);
	world_wait(w, 100);
	world_expect(w, "settle 5 dead:1/2 dead:2/2\n");
	world_settled(w, OB_OK);
	world_expect(w, "submit a6\n");
}

/* Tries that are used up are no proof either. */
static void
test_attempts_do_not_pour_into_the_dead(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.retry.attempts_max = 1;
	w->config.storm_limit = 6;
	world_start(w);
	world_fetched(w, "a1 b2 c3 d4");
	world_receipt(w, "a1 b2 c3 d4", OB_FATE_RETRY);
	world_wait(w, 1000);
	world_expect(w, "fetch\nsubmit a1 b2 c3 d4\nreport down: retry\n");
	assert_int_equal(world_stats(w).dead, 0);
}

/* A long run of poison is got over all the same: one in each longest pause is given up. */
static void
test_one_is_given_up_now_and_then(void **state)
{
	struct world *w = &world;
	int tries = 0;

	(void)state;
	world_init(w);
	w->config.retry.max_ms = 4000;
	w->config.storm_limit = 6;
	w->config.park_after_ms = 10000;
	world_start(w);
	world_fetched(w, "a1 b2 c3 d4");
	world_receipt(w, "a1 b2 c3 d4", OB_FATE_REJECT);
	world_wait(w, 2000);
	world_receipt(w, "a1 b2 c3 d4", OB_FATE_REJECT);
	for (; world_stats(w).dead == 0 && tries < 10; tries++) {
		world_renewed(w, OB_OK);
		world_wait(w, 4000);
		world_receipt(w, "a1 b2 c3 d4", OB_FATE_REJECT);
		world_wait(w, 1100);
		if (strstr(w->told, "dead") != NULL)
			break;
	}
	assert_true(tries < 3);
	assert_non_null(strstr(w->told, "settle 1 dead:1/3\n"));
}

/* One key, one poison: nobody else can be asked, and it is got over in a second. */
static void
test_a_single_poison_is_got_over(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 a2");
	world_receipt(w, "a1", OB_FATE_REJECT);
	world_wait(w, 1100);
	world_expect(w, "fetch\nsubmit a1\nsettle 1 dead:1/1\n");
	world_settled(w, OB_OK);
	world_expect(w, "submit a2\n");
}

#define STORY(name) cmocka_unit_test_teardown(name, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    STORY(test_one_of_a_key_at_a_time),
	    STORY(test_order_always_sends_ahead_and_comes_back_in_order),
	    STORY(test_down_probes_go_round),
	    STORY(test_poison_is_charged),
	    STORY(test_poison_that_is_parked_is_charged),
	    STORY(test_storm_of_rejects_is_down),
	    STORY(test_reject_is_believed),
	    STORY(test_full_sink),
	    STORY(test_a_reject_holds_back_what_may_go_ahead),
	    STORY(test_blocked_until_somebody_says_it_is_mended),
	    STORY(test_limits_change),
	    STORY(test_age_and_attempts),
	    STORY(test_every_further_try_counts),
	    STORY(test_who_stood_by_asks_anew),
	    STORY(test_one_key_does_not_pour_into_the_dead),
	    STORY(test_few_keys_do_not_pour_into_the_dead),
	    STORY(test_attempts_do_not_pour_into_the_dead),
	    STORY(test_one_is_given_up_now_and_then),
	    STORY(test_a_single_poison_is_got_over),
	};

	return cmocka_run_group_tests_name("engine-recipient", tests, NULL, NULL);
}
