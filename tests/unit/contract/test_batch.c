/* Batches: rows up to the capacity, bytes that stay where they are, a reset that gives large memory
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <outbox/batch.h>

static void
rows_come_zeroed_up_to_the_capacity(void **state)
{
	struct ob_batch *batch = ob_batch_new(2);
	struct ob_row *row;

	(void)state;
	assert_non_null(batch);
	assert_int_equal(batch->next_due_ms, -1);
	row = ob_batch_add(batch);
	row->ordinal = 7;
	row = ob_batch_add(batch);
	row->ordinal = 8;
	assert_null(ob_batch_add(batch));
	assert_int_equal(batch->count, 2);
	ob_batch_drop_last(batch);
	assert_int_equal(batch->count, 1);
	row = ob_batch_add(batch);
	assert_int_equal(row->ordinal, 0);
	assert_int_equal(batch->rows[0].ordinal, 7);
	ob_batch_free(batch);
}

static void
copied_bytes_stand_while_more_are_copied(void **state)
{
	struct ob_batch *batch = ob_batch_new(1);
	struct ob_bytes absent = {"x", 1}, empty = {0}, first, later;

	(void)state;
	assert_true(ob_batch_copy(batch, NULL, 0, &absent));
	assert_null(absent.data);
	assert_int_equal(absent.size, 0);
	assert_true(ob_batch_copy(batch, "", 0, &empty));
	assert_non_null(empty.data);
	assert_int_equal(empty.size, 0);
	assert_true(ob_batch_copy(batch, "a\0b", 3, &first));
	for (int i = 0; i < 10000; i++)
		assert_true(ob_batch_copy(batch, "0123456789abcdef", 16, &later));
	assert_int_equal(first.size, 3);
	assert_memory_equal(first.data, "a\0b", 3);
	ob_batch_free(batch);
}

static void
a_reset_batch_is_as_new(void **state)
{
	static char large[3 * 1024 * 1024];
	struct ob_batch *batch = ob_batch_new(4);
	struct ob_bytes bytes;

	(void)state;
	for (int round = 0; round < 3; round++) {
		assert_non_null(ob_batch_add(batch));
		assert_true(ob_batch_copy(batch, large, sizeof(large), &bytes));
		for (int i = 0; i < 100; i++)
			assert_true(ob_batch_copy(batch, large, 40000, &bytes));
		batch->bytes = 1;
		batch->more = batch->passed = true;
		batch->next_due_ms = 5;
		ob_batch_reset(batch);
		assert_int_equal(batch->count, 0);
		assert_int_equal(batch->bytes, 0);
		assert_false(batch->more);
		assert_false(batch->passed);
		assert_int_equal(batch->next_due_ms, -1);
	}
	ob_batch_free(batch);
	ob_batch_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rows_come_zeroed_up_to_the_capacity),
	    cmocka_unit_test(copied_bytes_stand_while_more_are_copied),
	    cmocka_unit_test(a_reset_batch_is_as_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
