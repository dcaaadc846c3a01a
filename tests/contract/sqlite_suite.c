/* What the contract suite cannot ask of every store: SQLite's files, its writers, and bad input.
   `sqlite-suite MODE [PART]` runs one mode ("sqlite, WAL mode"), and one part of it by its number. */
#include "sqlite_tests.h"

#define TESTS_MAX 128

int
main(int argc, char **argv)
{
	static const struct store_kind *const kinds[] = {&store_kind_sqlite_wal,
							 &store_kind_sqlite_rollback};
	static const struct store_test *const parts[] = {sqlite_input_tests, sqlite_file_tests,
							 sqlite_writer_tests, sqlite_power_tests,
							 sqlite_restore_tests};
	static struct CMUnitTest tests[TESTS_MAX];
	static char names[TESTS_MAX][128];
	size_t count = 0;

	for (size_t k = 0; k < 2; k++) {
		if (argc > 1 && strcmp(argv[1], kinds[k]->name) != 0)
			continue;
		for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
			if (argc > 2 && argv[2][0] != (char)('0' + i))
				continue;
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
	return count == 0 ? 1 : _cmocka_run_group_tests("sqlite", tests, count, NULL, NULL);
}
