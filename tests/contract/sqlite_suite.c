/* What the contract suite cannot ask of every store: SQLite's files, its writers, and bad input. */
#include "sqlite_tests.h"

#define TESTS_MAX 128

int
main(void)
{
	static const struct store_kind *const kinds[] = {&store_kind_sqlite_wal,
							 &store_kind_sqlite_rollback};
	static const struct store_test *const parts[] = {sqlite_input_tests, sqlite_file_tests,
							 sqlite_writer_tests, sqlite_power_tests};
	static struct CMUnitTest tests[TESTS_MAX];
	static char names[TESTS_MAX][128];
	size_t count = 0;

	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
			for (const struct store_test *test = parts[i]; test->run != NULL; test++) {
				if (count == TESTS_MAX)
					return 1;
				snprintf(names[count], sizeof(names[count]), "%s: %s",
					 kinds[k]->name, test->name);
				tests[count] = (struct CMUnitTest){
				    .name = names[count],
				    .test_func = test->run,
				    .setup_func = world_setup,
				    .teardown_func = world_teardown,
				    .initial_state = (void *)(uintptr_t)kinds[k],
				};
				count++;
			}
		}
	}
	return _cmocka_run_group_tests("sqlite", tests, count, NULL, NULL);
}
