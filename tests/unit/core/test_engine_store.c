/* Stories about the engine and its store: the lease, failures, a person's changes, room, pause and drain. */
#include "engine_world.h"

#include <setjmp.h>
#include <stdarg.h>

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

/* That rows were read past is told again when the settle that told it was refused. */
static void
test_changed_remembers_what_was_passed(void **state)
{
	struct world *w = begin();

	(void)state;
	w->passed = true;
	world_fetched(w, "");
	w->passed = false;
	world_wait(w, 1000);
	world_expect(w, "fetch\nsettle 0\n");
	world_settled(w, OB_CHANGED);
	world_fetched(w, "");
	world_expect(w, "acquire\n");
	w->acquired.goes_on = true;
	world_acquired(w, OB_OK);
	world_expect(w, "settle 0\nfetch\n");
}

/* It makes nobody wait who ends when all is settled: a drain tells it. */
static void
test_drain_tells_what_was_passed(void **state)
{
	struct world *w = begin();

	(void)state;
	w->passed = true;
	world_fetched(w, "");
	world_expect(w, "fetch\n");
	assert_true(world_stats(w).idle);
	world_event(w, OB_EVENT_DRAIN);
	world_expect(w, "settle 0\nreport draining\n");
	world_settled(w, OB_OK);
	world_expect(w, "drained\nreport drained\n");
}

static void
test_drain_waits_for_the_verdict(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2");
	world_receipt(w, "b2", OB_FATE_SENT);
	world_event(w, OB_EVENT_DRAIN);
	world_receipt(w, "a1", OB_FATE_REJECT);
	world_expect(w, "fetch\nsubmit a1 b2\nreport draining\n");
	world_wait(w, 1000);
	world_expect(w, "settle 2 dead:1/1\n");
	world_settled(w, OB_OK);
	world_expect(w, "drained\nreport drained\n");
}

static void
test_lease_runs_out(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 a2");
	world_expect(w, "fetch\nsubmit a1\n");
	world_wait(w, 10000);
	world_expect(w, "cancel\nreport store_failed: lease_over\n");
	world_receipt(w, "a1", OB_FATE_UNKNOWN);
	world_expect(w, "acquire\n");
	w->acquired.held = false;
	w->acquired.retry_in_ms = 5000;
	world_acquired(w, OB_OK);
	world_expect(w, "acquire\nreport standby: lease_held\n");
	assert_int_equal(w->batches, 0);
}

/* A relay that ends gives its lease up early; who stands by has it within a second, whatever the jitter. */
static void
test_standby_asks_in_time(void **state)
{
	struct world *w = begin();

	(void)state;
	world_renewed(w, OB_STALE);
	world_expect(w, "acquire\nreport starting\n");
	w->acquired.held = false;
	w->acquired.retry_in_ms = 10000;
	world_acquired(w, OB_OK);
	world_expect(w, "acquire\nreport standby: lease_held\n");
	for (int i = 0; i < 50; i++) {
		assert_in_range(w->acquire_at_ms - w->now_ms, 500, 950);
		world_acquired(w, OB_OK);
		world_expect(w, "acquire\n");
	}
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

/* P4: c3 was sent; a1 and b2 cannot be, so they are put away to let the checkpoint pass it, with no try counted. */
static void
test_drain_while_the_recipient_is_down(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2 c3 a4 -5");
	world_expect(w, "fetch\nsubmit a1 b2 c3 -5\n");
	world_receipt(w, "a1 b2", OB_FATE_DOWN);
	world_receipt(w, "c3 -5", OB_FATE_SENT);
	world_expect(w, "report down: down\n");
	world_event(w, OB_EVENT_DRAIN);
	world_expect(w, "settle 5 park:1 park:2 behind:4\nreport draining\n");
	world_settled(w, OB_OK);
	world_expect(w, "drained\nreport drained\n");
}

/* What stands behind the last one that was sent stays in the log. */
static void
test_drain_puts_away_no_more_than_it_must(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 c2 a3 b4");
	world_receipt(w, "a1", OB_FATE_DOWN);
	world_receipt(w, "c2", OB_FATE_SENT);
	world_receipt(w, "b4", OB_FATE_DOWN);
	world_event(w, OB_EVENT_DRAIN);
	world_expect(w, "fetch\nsubmit a1 c2 b4\nreport down: down\n"
			"settle 2 park:1\nreport draining\n");
	world_settled(w, OB_OK);
	world_expect(w, "drained\nreport drained\n");
}

static void
test_drain_without_room_to_put_away(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->config.quotas.parked_rows = 1;
	world_start(w);
	world_fetched(w, "a1 b2 c3");
	world_receipt(w, "a1 b2", OB_FATE_DOWN);
	world_receipt(w, "c3", OB_FATE_SENT);
	world_event(w, OB_EVENT_DRAIN);
	world_expect(w, "fetch\nsubmit a1 b2 c3\nreport down: down\n"
			"settle 1 park:1\nreport draining\n");
	world_settled(w, OB_OK);
	/* Is it really full? */
	world_expect(w, "acquire\n");
	w->acquired.goes_on = true;
	w->acquired.parked_rows = w->acquired.lane_count = 1;
	w->lanes[0] = (struct ob_parked_lane){.lane = 'a', .rows = 1};
	world_acquired(w, OB_OK);
	world_expect(w, "drained\nreport drained\n");
}

/* Nothing goes while a person has paused it; and what is being put away goes no more when that ends meanwhile, or it would be sent
   from two places, and out of memory that is given back. */
static void
test_drain_sends_nothing_that_it_puts_away(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 a2 b3");
	world_event(w, OB_EVENT_PAUSE);
	world_receipt(w, "a1 b3", OB_FATE_SENT);
	world_event(w, OB_EVENT_DRAIN);
	world_expect(w, "fetch\nsubmit a1 b3\nreport paused: paused_here\n"
			"settle 3 park:2\nreport draining\n");
	world_event(w, OB_EVENT_RESUME);
	world_expect(w, "");
	world_settled(w, OB_OK);
	world_expect(w, "drained\nreport drained\n");
}

/* A sink that is full has room again soon. */
static void
test_drain_waits_for_room_in_the_sink(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 a2 b3");
	world_receipt(w, "b3", OB_FATE_SENT);
	world_event(w, OB_EVENT_DRAIN);
	w->accepts = 0;
	world_receipt(w, "a1", OB_FATE_SENT);
	world_expect(w, "fetch\nsubmit a1 b3\nreport draining\nsubmit a2\n");
	w->accepts = 1;
	world_event(w, OB_EVENT_SINK_FREE);
	world_expect(w, "submit a2\n");
	world_receipt(w, "a2", OB_FATE_SENT);
	world_expect(w, "settle 3\n");
}

/* A reject that nobody has confirmed when the time is up is taken back; what was given up at the sink is not settled
   as anything. */
static void
test_abandon_takes_back_what_is_undecided(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 b2 c3 d4");
	world_receipt(w, "c3", OB_FATE_SENT);
	world_receipt(w, "a1", OB_FATE_REJECT);
	world_event(w, OB_EVENT_DRAIN);
	world_expect(w, "fetch\nsubmit a1 b2 c3 d4\nreport draining\n");
	world_event(w, OB_EVENT_ABANDON);
	world_expect(w, "cancel\n");
	world_receipt(w, "b2", OB_FATE_REJECT);
	world_expect(w, "");
	world_receipt(w, "d4", OB_FATE_UNKNOWN);
	world_expect(w, "settle 3 park:1 park:2\n");
	world_settled(w, OB_OK);
	world_expect(w, "drained\nreport drained\n");
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
	world_expect(w, "");
	world_receipt(w, "b2", OB_FATE_UNKNOWN);
	world_expect(w, "drained\nreport drained\n");
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
test_paused_finishes_what_is_in_flight(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "a1 a2");
	world_event(w, OB_EVENT_PAUSE);
	world_expect(w, "fetch\nsubmit a1\nreport paused: paused_here\n");
	world_receipt(w, "a1", OB_FATE_SENT);
	world_fetched(w, "b3");
	world_wait(w, 100);
	world_expect(w, "settle 1\n");
	world_settled(w, OB_OK);
	world_event(w, OB_EVENT_RESUME);
	world_expect(w, "fetch\nreport running\nsubmit a2 b3\n");
}

static void
test_paused_by_a_person(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->acquired.paused = true;
	world_start(w);
	world_wait(w, 3000);
	world_expect(w, "");
	world_renewed(w, OB_CHANGED);
	world_expect(w, "acquire\n");
	w->acquired.paused = false;
	w->acquired.goes_on = true;
	world_acquired(w, OB_OK);
	world_expect(w, "fetch\nreport running\n");
}

static void
test_schema_failure_is_asked_about_slowly(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	w->engine = ob_engine_new(&w->config);
	world_event(w, OB_EVENT_START);
	world_acquired(w, OB_SCHEMA);
	world_expect(w, "acquire\nacquire\nreport store_failed: schema\n");
	world_acquired(w, OB_OK);
	world_expect(w, "fetch\nreport running\n");
}

/* A parked row of a key that nobody parked: a person brought a dead message back. */
static void
test_an_unknown_parked_key_is_a_change(void **state)
{
	struct world *w = begin();

	(void)state;
	world_fetched(w, "*z1/3 a2");
	world_expect(w, "acquire\n");
	w->acquired.goes_on = true;
	w->acquired.parked_rows = w->acquired.lane_count = 1;
	w->lanes[0] = (struct ob_parked_lane){.lane = 'z', .rows = 1};
	world_acquired(w, OB_OK);
	world_expect(w, "fetch\nsubmit a2\n");
	world_fetched(w, "*z1/3");
	world_expect(w, "fetch\nsubmit z1/4\n");
}

#define STORY(name) cmocka_unit_test_teardown(name, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    STORY(test_busy_settle_is_sent_again),
	    STORY(test_unknown_settle_drops_the_window),
	    STORY(test_changed_keeps_the_window),
	    STORY(test_changed_remembers_what_was_sent),
	    STORY(test_changed_remembers_what_was_passed),
	    STORY(test_drain_tells_what_was_passed),
	    STORY(test_drain_waits_for_the_verdict),
	    STORY(test_lease_runs_out),
	    STORY(test_standby_asks_in_time),
	    STORY(test_drain),
	    STORY(test_drain_while_the_recipient_is_down),
	    STORY(test_drain_puts_away_no_more_than_it_must),
	    STORY(test_drain_without_room_to_put_away),
	    STORY(test_drain_sends_nothing_that_it_puts_away),
	    STORY(test_drain_waits_for_room_in_the_sink),
	    STORY(test_abandon),
	    STORY(test_abandon_takes_back_what_is_undecided),
	    STORY(test_a_fetch_without_room_for_parked_rows_does_not_wait),
	    STORY(test_waits_for_room_for_a_large_row),
	    STORY(test_paused_finishes_what_is_in_flight),
	    STORY(test_paused_by_a_person),
	    STORY(test_schema_failure_is_asked_about_slowly),
	    STORY(test_an_unknown_parked_key_is_a_change),
	};

	return cmocka_run_group_tests_name("engine-store", tests, NULL, NULL);
}
