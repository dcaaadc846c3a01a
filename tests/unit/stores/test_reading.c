/* What ordinals stand for: marks, rows of no interest, replays, fetches that are undone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reading.h"

static void
mark_expect(struct ob_mark got, int64_t log, int64_t replay)
{
	assert_int_equal(got.log, log);
	assert_int_equal(got.replay, replay);
}

static void
a_mark_covers_what_was_read_past_before_it(void **state)
{
	struct ob_reading reading = {0};

	(void)state;
	ob_reading_start(&reading, (struct ob_mark){.log = 10, .replay = OB_NO_REPLAY}, 0);
	assert_int_equal(ob_reading_from(&reading), 10);
	assert_int_equal(ob_reading_to(&reading), INT64_MAX);
	ob_reading_pass(&reading, 12);
	assert_true(ob_reading_passed(&reading));
	assert_int_equal(ob_reading_add(&reading, 13), 1);
	ob_reading_pass(&reading, 17);
	assert_int_equal(ob_reading_add(&reading, 20), 2);
	ob_reading_pass(&reading, 30);
	assert_false(ob_reading_passed(&reading));
	assert_int_equal(ob_reading_position(&reading, 1), 13);
	assert_int_equal(ob_reading_position(&reading, 3), 0);
	mark_expect(ob_reading_mark(&reading, 0), 10, OB_NO_REPLAY);
	mark_expect(ob_reading_mark(&reading, 1), 13, OB_NO_REPLAY);
	/* Nothing is open behind the last one: what was read past is covered, too. */
	mark_expect(ob_reading_mark(&reading, 2), 30, OB_NO_REPLAY);
	ob_reading_settled(&reading, 1);
	assert_int_equal(ob_reading_position(&reading, 1), 0);
	mark_expect(reading.settled, 13, OB_NO_REPLAY);
	ob_reading_settled(&reading, 2);
	mark_expect(reading.settled, 30, OB_NO_REPLAY);
	ob_reading_free(&reading);
}

static void
a_fetch_that_failed_is_undone(void **state)
{
	struct ob_reading reading = {0};
	struct ob_reading_point point;

	(void)state;
	ob_reading_start(&reading, (struct ob_mark){.log = 0, .replay = OB_NO_REPLAY}, 0);
	ob_reading_add(&reading, 1);
	point = ob_reading_point(&reading);
	for (int64_t i = 2; i < 5000; i++)
		ob_reading_add(&reading, i);
	ob_reading_undo(&reading, point);
	assert_int_equal(ob_reading_from(&reading), 1);
	assert_int_equal(ob_reading_add(&reading, 2), 2);
	assert_int_equal(ob_reading_position(&reading, 1), 1);
	assert_int_equal(ob_reading_position(&reading, 2), 2);
	ob_reading_free(&reading);
}

static void
a_replay_comes_first_and_ends(void **state)
{
	struct ob_reading reading = {0};

	(void)state;
	ob_reading_start(&reading, (struct ob_mark){.log = 50, .replay = 9}, 20);
	assert_int_equal(ob_reading_from(&reading), 9);
	assert_int_equal(ob_reading_to(&reading), 20);
	assert_int_equal(ob_reading_add(&reading, 10), 1);
	assert_int_equal(ob_reading_add(&reading, 15), 2);
	assert_true(ob_reading_end(&reading));
	assert_false(ob_reading_end(&reading));
	assert_int_equal(ob_reading_from(&reading), 50);
	assert_int_equal(ob_reading_add(&reading, 51), 3);
	mark_expect(ob_reading_mark(&reading, 1), 50, 10);
	mark_expect(ob_reading_mark(&reading, 2), 50, 15);
	mark_expect(ob_reading_mark(&reading, 3), 51, OB_NO_REPLAY);
	ob_reading_free(&reading);
}

static void
marks_of_an_earlier_replay_say_nothing_about_a_new_one(void **state)
{
	struct ob_reading reading = {0};

	(void)state;
	ob_reading_start(&reading, (struct ob_mark){.log = 50, .replay = 9}, 20);
	ob_reading_add(&reading, 10);
	ob_reading_add(&reading, 20);
	ob_reading_end(&reading);
	ob_reading_add(&reading, 51);
	ob_reading_go_on(&reading, 4, 50);
	/* The old rows settle; the new replay stands where it was. */
	ob_reading_settled(&reading, 2);
	mark_expect(reading.settled, 50, 4);
	assert_int_equal(ob_reading_from(&reading), 4);
	assert_int_equal(ob_reading_add(&reading, 5), 4);
	mark_expect(ob_reading_mark(&reading, 3), 51, 4);
	mark_expect(ob_reading_mark(&reading, 4), 51, 5);
	/* The same replay again, as every acquire tells it, changes nothing. */
	ob_reading_settled(&reading, 3);
	ob_reading_go_on(&reading, 4, 50);
	assert_int_equal(ob_reading_from(&reading), 5);
	ob_reading_free(&reading);
}

static void
the_ring_turns_and_grows_up_to_its_limit(void **state)
{
	struct ob_reading reading = {0};
	uint64_t given = 0, settled = 0;

	(void)state;
	ob_reading_start(&reading, (struct ob_mark){.log = 0, .replay = OB_NO_REPLAY}, 0);
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 37 + round; i++) {
			given++;
			assert_int_equal(ob_reading_add(&reading, (int64_t)(10 * given)), given);
		}
		settled += 31;
		ob_reading_settled(&reading, settled);
		assert_int_equal(reading.settled.log, 10 * settled);
		assert_int_equal(ob_reading_position(&reading, settled), 0);
		assert_int_equal(ob_reading_position(&reading, settled + 1), 10 * (settled + 1));
		assert_int_equal(ob_reading_position(&reading, given), 10 * given);
	}
	while (ob_reading_add(&reading, (int64_t)(10 * (given + 1))) != 0)
		given++;
	assert_int_equal(given - settled, OB_READING_OPEN_MAX);
	ob_reading_free(&reading);
}

static void
stretches_follow_each_other(void **state)
{
	struct ob_reading reading = {0};
	struct ob_mark mark;

	(void)state;
	ob_reading_start(&reading,
			 (struct ob_mark){.stretch = 7, .log = 50, .replay = OB_NO_REPLAY}, 0);
	assert_int_equal(ob_reading_add(&reading, 60), 1);
	ob_reading_next_stretch(&reading);
	assert_int_equal(ob_reading_from(&reading), 0);
	/* The numbers of the next one may be lower. */
	assert_int_equal(ob_reading_add(&reading, 55), 2);
	mark = ob_reading_mark(&reading, 1);
	assert_int_equal(mark.stretch, 7);
	assert_int_equal(mark.log, 60);
	mark = ob_reading_mark(&reading, 2);
	assert_int_equal(mark.stretch, 8);
	assert_int_equal(mark.log, 55);
	ob_reading_next_stretch(&reading);
	ob_reading_settled(&reading, 2);
	/* All of stretch 8 is done. */
	assert_int_equal(reading.settled.stretch, 9);
	assert_int_equal(reading.settled.log, 0);
	assert_false(ob_reading_passed(&reading));
	ob_reading_next_stretch(&reading);
	assert_true(ob_reading_passed(&reading));
	ob_reading_free(&reading);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_mark_covers_what_was_read_past_before_it),
	    cmocka_unit_test(a_fetch_that_failed_is_undone),
	    cmocka_unit_test(a_replay_comes_first_and_ends),
	    cmocka_unit_test(marks_of_an_earlier_replay_say_nothing_about_a_new_one),
	    cmocka_unit_test(the_ring_turns_and_grows_up_to_its_limit),
	    cmocka_unit_test(stretches_follow_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
