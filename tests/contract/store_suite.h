/* The parts of the suite: each a list of tests, ended by an empty one. */
#ifndef STORE_SUITE_H
#define STORE_SUITE_H

struct store_test {
	const char *name;
	void (*run)(void **state);
};

extern const struct store_test store_reading_tests[];
extern const struct store_test store_lease_tests[];
extern const struct store_test store_settle_tests[];
extern const struct store_test store_parked_tests[];
extern const struct store_test store_people_tests[];
extern const struct store_test store_waiting_tests[];
extern const struct store_test store_shard_tests[];
extern const struct store_test store_crew_tests[];
extern const struct store_test store_barrier_tests[];

#endif
