/* The contract of <outbox/store.h>, over every kind of store in store_kinds.c. `store_suite NAME` runs one. */
#include "store_world.h"

#include "skip.h"
#include "store_suite.h"

#define TESTS_MAX 512

static const struct part {
	const struct store_test *tests;
	unsigned needs; /* what the store must declare */
} parts[] = {
    {store_reading_tests, 0},
    {store_lease_tests, 0},
    {store_settle_tests, 0},
    {store_parked_tests, 0},
    {store_people_tests, 0},
    {store_waiting_tests, 0},
    {store_shard_tests, OB_STORE_SHARDS},
    {store_crew_tests, OB_STORE_SHARDS},
    {store_barrier_tests, OB_STORE_SHARDS},
};

static void
it_has_no_shards(void **state)
{
	(void)state;
	OB_SKIP("the store does not declare OB_STORE_SHARDS");
}

static const struct store_test without_shards[] = {{"shards", it_has_no_shards}, {NULL, NULL}};

static struct CMUnitTest tests[TESTS_MAX];
static size_t count;

static bool
add(const struct store_kind *kind, const struct store_test *list)
{
	static char names[TESTS_MAX][128];

	for (const struct store_test *test = list; test->run != NULL; test++) {
		if (count == TESTS_MAX)
			return false;
		snprintf(names[count], sizeof(names[count]), "%s: %s", kind->name, test->name);
		tests[count] = (struct CMUnitTest){
		    .name = names[count],
		    .test_func = test->run,
		    .setup_func = world_setup,
		    .teardown_func = world_teardown,
		    .initial_state = (void *)(uintptr_t)kind,
		};
		count++;
	}
	return true;
}

int
main(int argc, char **argv)
{
	bool all = true;

	for (const struct store_kind *const *kind = store_kinds; *kind != NULL; kind++) {
		unsigned has = (*kind)->ops->capabilities;

		if (argc > 1 && strcmp(argv[1], (*kind)->name) != 0)
			continue;
		for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
			if ((parts[i].needs & ~has) == 0)
				all = add(*kind, parts[i].tests) && all;
		if ((has & OB_STORE_SHARDS) == 0)
			all = add(*kind, without_shards) && all;
	}
	if (argc > 2) /* a pattern of names, such as "*topics*" */
		cmocka_set_test_filter(argv[2]);
	return count == 0 || !all ? 1 : _cmocka_run_group_tests("stores", tests, count, NULL, NULL);
}
