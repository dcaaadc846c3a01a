/* What only PostgreSQL has to stand: each file of tests, and what they share. */
#ifndef POSTGRES_TESTS_H
#define POSTGRES_TESTS_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

#include "store_suite.h"
#include "store_world.h"

extern const struct store_test postgres_order_tests[];
extern const struct store_test postgres_space_tests[];

/* A connection of an application's own, past any proxy; our tables need no schema there. To be finished. */
PGconn *app_connect(const struct world *world);
void app_run(PGconn *app, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One value; stands until the next call. */
const char *app_ask(PGconn *app, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define app_number(...) strtol(app_ask(__VA_ARGS__), NULL, 10)
/* Inserts the next message in whatever transaction is open. */
void app_insert(struct world *world, PGconn *app, const char *key);

/* A call of the store, or a statement, that may have to wait for somebody: made by a thread. */
struct errand {
	struct world *world;
	unsigned i;  /* the instance */
	PGconn *app; /* or whose the statement is */
	const char *sql;
	int code;
	atomic_bool done;
	pthread_t thread;
};
void errand_fetch(struct errand *errand, struct world *world, unsigned i);
void errand_trim(struct errand *errand, struct world *world, unsigned i);
void errand_run(struct errand *errand, PGconn *app, const char *sql);
/* Until somebody waits for a lock of this kind, a condition on pg_locks, or the errand is done: false then. */
bool errand_waits(const struct errand *errand, PGconn *app, const char *kind);
#define ON_TABLE(name) "relation = '" name "'::regclass"
/* Until the errand is done, which must have succeeded. */
void errand_end(struct errand *errand);
/* What a fetch that is done has brought, and all there is now behind it: "m1 m2". */
const char *errand_read(const struct errand *errand);

/* Fetches all there is, and settles nothing: "m1 m2". */
const char *app_read(struct world *world, unsigned i);
/* So many of it. */
const char *app_read_some(struct world *world, unsigned i, uint32_t count);
#define expect_read(world, ids) assert_string_equal(app_read((world), 0), (ids))

#endif
