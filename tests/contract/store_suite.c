/* The contract of <outbox/store.h>, over every kind of store in store_kinds.c. `store_suite NAME` runs one. */
#include "store_world.h"

#include "store_suite.h"

#define TESTS_MAX 512

int
main(int argc, char **argv)
{
	static const struct store_test *const parts[] = {
	    store_reading_tests, store_lease_tests,  store_settle_tests,
	    store_parked_tests,  store_people_tests, store_waiting_tests,
	};
	static struct CMUnitTest tests[TESTS_MAX];
	static char names[TESTS_MAX][128];
	size_t count = 0;

	for (const struct store_kind *const *kind = store_kinds; *kind != NULL; kind++) {
		if (argc > 1 && strcmp(argv[1], (*kind)->name) != 0)
			continue;
		for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
			for (const struct store_test *test = parts[i]; test->run != NULL; test++) {
				if (count == TESTS_MAX)
					return 1;
				snprintf(names[count], sizeof(names[count]), "%s: %s",
					 (*kind)->name, test->name);
				tests[count] = (struct CMUnitTest){
				    .name = names[count],
				    .test_func = test->run,
				    .setup_func = world_setup,
				    .teardown_func = world_teardown,
				    .initial_state = (void *)(uintptr_t)*kind,
				};
				count++;
			}
		}
	}
	return count == 0 ? 1 : _cmocka_run_group_tests("stores", tests, count, NULL, NULL);
}
