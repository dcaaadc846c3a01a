/* Lines that repeat themselves. */
#include <stdio.h>
#include <string.h>

#include "cm.h"

#include "repeats.h"

#define WHILE OB_REPEATS_WHILE_MS

static struct ob_repeats repeats;

static int
forget(void **state)
{
	(void)state;
	repeats = (struct ob_repeats){0};
	return 0;
}

static bool
pass(int64_t now_ms, const char *line)
{
	return ob_repeats_pass(&repeats, now_ms, OB_LOG_WARN, line);
}

static void
expect_sum(int64_t now_ms, bool ends, const char *line)
{
	char out[OB_REPEATS_SUMMARY_SIZE];
	enum ob_log_level level = OB_LOG_ERROR;

	if (line == NULL) {
		assert_false(ob_repeats_next(&repeats, now_ms, ends, &level, out));
		return;
	}
	assert_true(ob_repeats_next(&repeats, now_ms, ends, &level, out));
	assert_string_equal(out, line);
	assert_int_equal(level, OB_LOG_WARN);
}

static void
few_lines_pass(void **state)
{
	(void)state;
	for (int i = 0; i < OB_REPEATS_OF_KIND; i++)
		assert_true(pass(1000 + i, "down: connect_refused: nobody listens"));
	assert_true(pass(1010, "down: http_503: busy"));
	expect_sum(1000 + WHILE, false, NULL);
	expect_sum(1000 + WHILE, true, NULL);
}

static void
what_is_held_back_is_summed_up_after_a_while(void **state)
{
	(void)state;
	for (int i = 0; i < 417; i++)
		assert_int_equal(
		    pass(1000 + i, i % 2 == 0 ? "down: refused: by a" : "down: refused: by b"),
		    i < OB_REPEATS_OF_KIND);
	expect_sum(1000 + WHILE - 1, false, NULL);
	/* The last one is the one that is told. */
	expect_sum(1000 + WHILE, false,
		   "down: refused: by a (the last of 412 more like this in 60 s)");
	expect_sum(1000 + WHILE, false, NULL);
	/* One of a kind that flooded passes in the next while. */
	assert_true(pass(1001 + WHILE, "down: refused: by a"));
	assert_false(pass(1002 + WHILE, "down: refused: by a"));
	expect_sum(1000 + 2 * WHILE, false,
		   "down: refused: by a (the last of 1 more like this in 60 s)");
	expect_sum(1000 + 2 * WHILE, false, NULL);
	/* After a while without any it is as if there had been none. */
	expect_sum(1000 + 3 * WHILE, false, NULL);
	few_lines_pass(state);
}

static void
what_is_said_last_is_what_is_so(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		pass(i, "running");
		pass(i, "down: refused: x");
	}
	pass(30, "running");
	expect_sum(WHILE, false, "down: refused: x (the last of 15 more like this in 60 s)");
	expect_sum(WHILE, false, "running (the last of 16 more like this in 60 s)");
	expect_sum(WHILE, false, NULL);
}

static void
the_end_does_not_wait(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++)
		pass(i * 500, "store: busy: locked");
	expect_sum(4000, false, NULL);
	expect_sum(4000, true, "store: busy: locked (the last of 3 more like this in 4 s)");
	expect_sum(4000, true, NULL);
}

static void
many_kinds_and_long_lines_have_a_limit(void **state)
{
	char line[2 * OB_REPEATS_LINE_SIZE];
	unsigned passed = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(line, sizeof(line), "kind %d: code: text", i);
		passed += pass(1, line);
	}
	assert_int_equal(passed, OB_REPEATS_KINDS_MAX + OB_REPEATS_OF_KIND - 1);
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	forget(NULL);
	for (int i = 0; i < 100; i++)
		assert_int_equal(pass(1, line), i < OB_REPEATS_OF_KIND);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(few_lines_pass, forget),
	    cmocka_unit_test_setup(what_is_held_back_is_summed_up_after_a_while, forget),
	    cmocka_unit_test_setup(what_is_said_last_is_what_is_so, forget),
	    cmocka_unit_test_setup(the_end_does_not_wait, forget),
	    cmocka_unit_test_setup(many_kinds_and_long_lines_have_a_limit, forget),
	};

	return cmocka_run_group_tests_name("repeats", tests, NULL, NULL);
}
