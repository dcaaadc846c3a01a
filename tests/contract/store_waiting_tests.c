/* Waiting: a commit, a wake and the time each end it. */
#include "store_world.h"

#include <pthread.h>

#include "store_suite.h"

struct later {
	struct world *world;
	int64_t after_ms;
	void (*act)(struct world *world);
	pthread_t thread;
};

static void *
later_run(void *context)
{
	struct later *later = context;

	world_sleep_ms(later->after_ms);
	later->act(later->world);
	return NULL;
}

/* How long a wait of at most ten seconds takes when `act` happens after `after_ms`. */
static int64_t
wait_for(struct world *world, int64_t after_ms, void (*act)(struct world *world))
{
	struct later later = {.world = world, .after_ms = after_ms, .act = act};
	int64_t began = world_now_ms(), took;

	assert_int_equal(pthread_create(&later.thread, NULL, later_run, &later), 0);
	expect_ok(world, world->kind->ops->wait(world->at[0].store, 10000, &world->error));
	took = world_now_ms() - began;
	pthread_join(later.thread, NULL);
	return took;
}

static void
one_append(struct world *world)
{
	world_append(world, "orders", "k", "late");
}

static void
one_wake(struct world *world)
{
	world->kind->ops->wake(world->at[0].store);
}

static void
one_pause(struct world *world)
{
	uint64_t count;

	expect_ok(world, world_change(world, 1, OB_CHANGE_PAUSE, "s", 0, &count));
}

static void
relay_begin(struct world *world)
{
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 2, "orders", "k");
	assert_int_equal(world_fetch(world, 0)->count, 2);
	assert_int_equal(world_fetch(world, 0)->count, 0);
	world_settle(world, 0, 2);
	assert_int_equal(world_fetch(world, 0)->count, 0);
}

static void
a_commit_ends_a_wait(void **state)
{
	struct world *world = *state;
	int64_t took;

	relay_begin(world);
	took = wait_for(world, 100, one_append);
	assert_true(took >= 95);
	assert_true(took < 1000);
	/* The commit may show a moment after it was written. */
	assert_string_equal(world_ids(world_fetch_some(world, 0)), "m3");
}

static void
a_commit_since_the_last_fetch_ends_the_next_wait(void **state)
{
	struct world *world = *state;
	int64_t began;

	relay_begin(world);
	world_append(world, "orders", "k", "3");
	began = world_now_ms();
	expect_ok(world, world->kind->ops->wait(world->at[0].store, 10000, &world->error));
	assert_true(world_now_ms() - began < 500);
}

static void
a_wake_ends_a_wait_or_the_next(void **state)
{
	struct world *world = *state;
	int64_t began, took;

	relay_begin(world);
	took = wait_for(world, 100, one_wake);
	assert_true(took >= 95);
	assert_true(took < 1000);
	world->kind->ops->wake(world->at[0].store);
	began = world_now_ms();
	expect_ok(world, world->kind->ops->wait(world->at[0].store, 10000, &world->error));
	assert_true(world_now_ms() - began < 500);
}

static void
the_time_ends_a_wait(void **state)
{
	struct world *world = *state;
	int64_t began, took;

	relay_begin(world);
	expect_ok(world, world->kind->ops->renew(world->at[0].store, NULL, &world->error));
	began = world_now_ms();
	expect_ok(world, world->kind->ops->wait(world->at[0].store, 150, &world->error));
	took = world_now_ms() - began;
	/* What the owner itself wrote is nothing to wake up for. */
	assert_true(took >= 148);
	assert_true(took < 1000);
}

static void
a_persons_change_ends_a_wait(void **state)
{
	struct world *world = *state;
	int64_t took;

	world_open(world, 1);
	relay_begin(world);
	took = wait_for(world, 100, one_pause);
	assert_true(took >= 95);
	assert_true(took < 1000);
}

static void
a_fetch_of_nothing_looks_for_a_change(void **state)
{
	static const struct ob_fetch nothing = {0};
	struct world *world = *state;
	struct world_instance *at = &world->at[0];
	int64_t began;

	world_open(world, 1);
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 3, "orders", "k");
	/* Rows that are left, and commits, are looked at once: then there is nothing to wake up for. */
	assert_int_equal(world_fetch_as(world, 0, &nothing)->count, 0);
	began = world_now_ms();
	expect_ok(world, world->kind->ops->wait(at->store, 150, &world->error));
	assert_true(world_now_ms() - began >= 148);
	one_pause(world);
	ob_batch_reset(at->batch);
	expect_code(world, OB_CHANGED,
		    world->kind->ops->fetch(at->store, &nothing, at->batch, &world->error));
	/* What was there is there to be read. */
	world_acquire(world, 0, "s");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1 m2 m3");
}

static void
a_wait_does_not_sleep_on_rows_that_are_left(void **state)
{
	struct world *world = *state;
	struct ob_fetch fetch = world_fetch_all;
	int64_t began;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 5, "orders", "k");
	fetch.count_max = 2;
	assert_true(world_fetch_as(world, 0, &fetch)->more);
	began = world_now_ms();
	expect_ok(world, world->kind->ops->wait(world->at[0].store, 10000, &world->error));
	assert_true(world_now_ms() - began < 500);
}

static void
who_fetches_nothing_is_told_of_a_commit_once(void **state)
{
	struct world *world = *state;
	int64_t began;

	world_append(world, "orders", "k", "1");
	expect_ok(world, world->kind->ops->wait(world->at[0].store, 5000, &world->error));
	began = world_now_ms();
	expect_ok(world, world->kind->ops->wait(world->at[0].store, 150, &world->error));
	assert_true(world_now_ms() - began >= 148);
	assert_true(wait_for(world, 100, one_append) >= 95);
}

const struct store_test store_waiting_tests[] = {
    {"who fetches nothing is told of a commit once", who_fetches_nothing_is_told_of_a_commit_once},
    {"a commit ends a wait", a_commit_ends_a_wait},
    {"a commit since the last fetch ends the next wait",
     a_commit_since_the_last_fetch_ends_the_next_wait},
    {"a wake ends a wait or the next", a_wake_ends_a_wait_or_the_next},
    {"the time ends a wait", the_time_ends_a_wait},
    {"a person's change ends a wait", a_persons_change_ends_a_wait},
    {"a fetch of nothing looks for a change", a_fetch_of_nothing_looks_for_a_change},
    {"a wait does not sleep on rows that are left", a_wait_does_not_sleep_on_rows_that_are_left},
    {NULL, NULL},
};
