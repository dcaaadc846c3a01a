/*
 * The engine allocates nothing after ob_engine_new: malloc and its kin are wrapped and counted, while messages are sent,
 * fail, are parked, come back, die, and while the store and the recipient go down.
 */
#include "engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Volatile, since the compiler knows malloc, and that it does not look at them. */
static volatile bool counting;
static volatile unsigned allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *
__wrap_malloc(size_t size)
{
	allocations += counting;
	return __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	allocations += counting;
	return __real_calloc(count, size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	allocations += counting;
	return __real_realloc(old, size);
}

/* The world calls these around each step: what it allocates itself does not count. */
void
world_step_begins(void)
{
	counting = true;
}

void
world_step_ends(void)
{
	counting = false;
}

static struct world world;

static void
test_wrapping_counts(void **state)
{
	void *volatile memory; /* or the compiler leaves both calls out */

	(void)state;
	allocations = 0;
	counting = true;
	memory = malloc(1);
	counting = false;
	free(memory);
	assert_int_equal(allocations, 1);
}

static void
test_no_allocation_while_stepping(void **state)
{
	struct world *w = &world;

	(void)state;
	world_init(w);
	world_start(w);
	allocations = 0;
	for (int round = 0; round < 50; round++) {
		world_fetched(w, "a1 b2 -3 a4 c5! d6+60");
		world_receipt(w, "a1", OB_FATE_RETRY);
		world_receipt(w, "b2", OB_FATE_REJECT);
		world_receipt(w, "-3", OB_FATE_SENT);
		world_wait(w, 1000);
		world_receipt(w, "a1", OB_FATE_UNKNOWN);
		world_wait(w, 100);
		world_settled(w, OB_BUSY);
		world_wait(w, 100);
		world_settled(w, OB_OK);
		world_fetched(w, "*a1/2 *a4 e7 f8");
		world_receipt(w, "a1 e7 f8", OB_FATE_DOWN);
		world_wait(w, 500);
		world_receipt(w, "a1", OB_FATE_SENT);
		world_receipt(w, "e7 a4 f8", OB_FATE_SENT);
		world_settled(w, OB_OK);
		world_renewed(w, OB_AGAIN);
		world_fetched(w, "");
		world_acquired(w, OB_OK);
		w->told[0] = '\0';
	}
	assert_int_equal(allocations, 0);
	assert_int_equal(world_stats(w).unparked, 100);
	world_end(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_wrapping_counts),
	    cmocka_unit_test(test_no_allocation_while_stepping),
	};

	return cmocka_run_group_tests_name("engine-allocations", tests, NULL, NULL);
}
