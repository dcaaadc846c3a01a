/*
 * The ring of partitions: what nobody needs is emptied, and the ring turned, while applications write. What the short cuts of
 * both lose is forced here; mutants/ has a store for each.
 */
#include "postgres_tests.h"

struct apps {
	PGconn *a, *b;
};

/* A subscription that is run and has settled m1, so that nothing in the first partition is left to be read. */
static struct apps
apps_begin(struct world *world)
{
	struct apps it = {app_connect(world), app_connect(world)};

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	app_insert(world, it.a, "a");
	expect_read(world, "m1");
	world_settle(world, 0, 1);
	return it;
}

static void
apps_end(struct apps it)
{
	PQfinish(it.a);
	PQfinish(it.b);
}

/* As much as there is to trim. */
static void
trim_all(struct world *world)
{
	uint64_t rows;
	bool again;

	do {
		expect_ok(world,
			  world->kind->ops->trim(world->at[0].store, &rows, &again, &world->error));
	} while (again);
}

/* What another turner would: the next number lies in the next stretch. */
static void
numbers_burn(PGconn *app)
{
	app_run(app, "SELECT count(nextval('message_seq_seq')) FROM generate_series(1, 100000)");
}

/* Below the newest snapshot and in progress in it: its partition is needed, though all numbers around it are done. */
static void
a_partition_is_kept_for_a_transaction_in_progress(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);

	app_run(it.a, "BEGIN");
	app_insert(world, it.a, "a");
	app_insert(world, it.b, "b");
	expect_read(world, "m3");
	world_settle(world, 0, 2);
	app_run(it.a, "COMMIT");
	numbers_burn(it.b);
	app_insert(world, it.b, "b");
	trim_all(world);
	expect_read(world, "m2 m4");
	apps_end(it);
}

/* The others have passed everything. */
static void
a_partition_is_kept_for_the_last_subscription(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);

	world_subscribe(world, "other", "*");
	numbers_burn(it.b);
	app_insert(world, it.b, "b");
	trim_all(world);
	world_open(world, 1);
	world_acquire(world, 1, "other");
	assert_string_equal(app_read(world, 1), "m1 m2");
	apps_end(it);
}

static void
a_partition_is_kept_for_a_replay(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	uint64_t count;

	app_insert(world, it.a, "a");
	expect_read(world, "m2");
	world_settle(world, 0, 2);
	expect_ok(world, world_change(world, 0, OB_CHANGE_REPLAY, "s", OB_PLACE_LOG, &count));
	numbers_burn(it.b);
	app_insert(world, it.b, "b");
	trim_all(world);
	world_acquire(world, 0, "s");
	expect_read(world, "m1 m2 m3");
	apps_end(it);
}

/* The ring has gone round: m2 stands where m1 did. */
static void
a_partition_is_kept_for_what_a_later_round_left_in_it(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);

	app_run(it.a, "SELECT setval('message_seq_seq', 1600000)");
	app_insert(world, it.a, "a");
	app_insert(world, it.a, "a");
	expect_read(world, "m2 m3");
	world_settle(world, 0, 2);
	numbers_burn(it.b);
	trim_all(world);
	app_insert(world, it.b, "b");
	world_open(world, 1);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	world_acquire(world, 1, "s");
	assert_string_equal(app_read(world, 1), "m3 m4");
	apps_end(it);
}

/* A look at a snapshot from before the lock is none. */
static void
a_partition_is_emptied_in_read_committed_alone(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	PGresult *result;

	app_run(it.a, "BEGIN");
	app_insert(world, it.a, "a");
	numbers_burn(it.b);
	app_run(it.b, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT");
	app_run(it.a, "COMMIT");
	result = PQexec(it.b, "SELECT empty(0, '0')");
	PQclear(result);
	app_run(it.b, "COMMIT");
	expect_read(world, "m2");
	apps_end(it);
}

/* Whatever the role's default is: while the store waits for the lock, A commits. */
static void
a_commit_while_a_partition_is_locked_keeps_it(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	struct errand errand;
	bool met = false;
	char ids[16];

	numbers_burn(it.b);
	app_run(it.b,
		"ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'repeatable read'");
	world_open(world, 1);
	app_run(it.b, "ALTER ROLE CURRENT_USER RESET default_transaction_isolation");
	for (unsigned tries = 0; tries < 10 && !met; tries++) {
		app_run(it.a, "BEGIN");
		app_run(it.b, "SELECT setval('message_seq_seq', %u)", 1 + tries);
		app_insert(world, it.a, "a");
		numbers_burn(it.b);
		errand_trim(&errand, world, 1);
		met = errand_waits(&errand, it.b, ON_TABLE("message_0"));
		app_run(it.a, "COMMIT");
		errand_end(&errand);
		snprintf(ids, sizeof(ids), "m%u", world->appended);
		expect_read(world, ids);
		world_pass_ms(10000);
	}
	assert_true(met);
	apps_end(it);
}

/* Between the look at the last number and the burning of the rest of its stretch others draw far beyond it. */
static void
the_ring_never_turns_backwards(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	struct errand errand;

	app_run(it.b, "BEGIN; LOCK TABLE checkpoint IN ACCESS EXCLUSIVE MODE");
	errand_trim(&errand, world, 0);
	assert_true(errand_waits(&errand, it.a, ON_TABLE("checkpoint")));
	numbers_burn(it.a);
	app_insert(world, it.a, "k");
	app_run(it.b, "COMMIT");
	errand_end(&errand);
	app_insert(world, it.a, "k");
	expect_read(world, "m2 m3");
	apps_end(it);
}

/* Where counting would take long, the length of the log serves: once, and not for each shard. */
static void
a_long_backlog_is_told_once(void **state)
{
	struct world *world = *state;
	PGconn *app = app_connect(world);

	world_subscribe_shards(world, "s", 4);
	app_run(app, "INSERT INTO message (topic) SELECT 'a' FROM generate_series(1, 50000)");
	assert_in_range(world_stats(world, 0, "s").pending_max, 50000, 50100);
	PQfinish(app);
}

const struct store_test postgres_space_tests[] = {
    {"a partition is kept for a transaction in progress",
     a_partition_is_kept_for_a_transaction_in_progress},
    {"a partition is kept for the last subscription",
     a_partition_is_kept_for_the_last_subscription},
    {"a partition is kept for a replay", a_partition_is_kept_for_a_replay},
    {"a partition is kept for what a later round left in it",
     a_partition_is_kept_for_what_a_later_round_left_in_it},
    {"a partition is emptied in READ COMMITTED alone",
     a_partition_is_emptied_in_read_committed_alone},
    {"a commit while a partition is locked keeps it",
     a_commit_while_a_partition_is_locked_keeps_it},
    {"the ring never turns backwards", the_ring_never_turns_backwards},
    {"a long backlog is told once", a_long_backlog_is_told_once},
    {NULL, NULL},
};
