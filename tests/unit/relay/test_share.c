/* Which relay runs which shard: that all are run, evenly, with no more moves than it takes, whatever happens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cm.h"

#include "share.h"

#define RELAYS_MAX  10
#define LEASE_MS    10000
#define PATIENCE_MS 1000

/* ---- a store and relays, in virtual time ---- */

struct relay {
	bool alive, joined;
	struct ob_share share;
	int64_t drains_until[OB_SHARDS_MAX];
	int64_t tries_at[OB_SHARDS_MAX]; /* a runner asks for its lease */
	int64_t looks_at, expires, joined_at;
	unsigned gave, took;
};

static struct {
	int64_t now;
	uint32_t shards;
	struct relay relays[RELAYS_MAX];
	int holder[OB_SHARDS_MAX]; /* -1: nobody */
	int64_t expires[OB_SHARDS_MAX];
	uint64_t dice;
} w;

static unsigned
roll(unsigned sides)
{
	w.dice = w.dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(w.dice >> 33) % sides;
}

static void
world_begin(uint32_t shards, uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	w.shards = shards;
	w.dice = seed;
	for (uint32_t i = 0; i < OB_SHARDS_MAX; i++)
		w.holder[i] = -1;
}

static void
relay_begin(unsigned r)
{
	/* It is another one than before, if there was one. */
	for (uint32_t i = 0; i < OB_SHARDS_MAX; i++)
		if (w.holder[i] == (int)r)
			w.holder[i] = -1;
	w.relays[r] = (struct relay){.alive = true, .looks_at = w.now};
	w.relays[r].share.member = 100 + r;
	w.relays[r].share.patience_ms = PATIENCE_MS;
}

/* Dies, and leaves its leases and its membership behind; or stops as it should. */
static void
relay_end(unsigned r, bool properly)
{
	struct relay *relay = &w.relays[r];

	relay->alive = false;
	if (!properly)
		return;
	relay->joined = false;
	for (uint32_t i = 0; i < w.shards; i++)
		if (w.holder[i] == (int)r)
			w.holder[i] = -1;
}

static void
crew_fill(struct ob_crew *crew)
{
	memset(crew, 0, sizeof(*crew));
	crew->shards = w.shards;
	for (;;) {
		int first = -1;

		for (int r = 0; r < RELAYS_MAX; r++) {
			const struct relay *it = &w.relays[r];
			bool listed = false;

			for (uint32_t i = 0; i < crew->member_count; i++)
				listed = listed || crew->members[i] == 100 + (uint64_t)r;
			if (it->joined && it->expires > w.now && !listed &&
			    (first < 0 || it->joined_at < w.relays[first].joined_at))
				first = r;
		}
		if (first < 0)
			break;
		crew->members[crew->member_count++] = 100 + (uint64_t)first;
	}
	for (uint32_t i = 0; i < w.shards; i++)
		if (w.holder[i] >= 0 && w.expires[i] > w.now)
			crew->leases[i] =
			    (struct ob_shard_lease){true, 100 + (uint64_t)w.holder[i]};
}

static void
relay_look(unsigned r)
{
	struct relay *relay = &w.relays[r];
	struct ob_crew crew;

	if (!relay->joined || relay->expires <= w.now)
		relay->joined_at = w.now;
	relay->joined = true;
	relay->expires = w.now + LEASE_MS;
	crew_fill(&crew);
	ob_share_decide(&relay->share, &crew, w.now);
	for (uint32_t i = 0; i < OB_SHARDS_MAX; i++) {
		if (relay->share.give[i]) {
			assert_true(relay->share.runs[i]);
			assert_false(relay->share.take[i]);
			relay->share.runs[i] = false;
			relay->share.gives_up[i] = true;
			relay->drains_until[i] = w.now + (w.holder[i] == (int)r ? roll(2000) : 0);
			relay->gave += w.holder[i] == (int)r;
		}
		if (relay->share.take[i]) {
			assert_false(relay->share.runs[i]);
			assert_false(relay->share.gives_up[i]);
			relay->share.runs[i] = true;
			relay->tries_at[i] = w.now + 1 + roll(50);
		}
	}
	relay->looks_at = w.now + 400 + roll(200);
}

static void
relay_turn(unsigned r)
{
	struct relay *relay = &w.relays[r];

	for (uint32_t i = 0; i < OB_SHARDS_MAX; i++) {
		bool mine = w.holder[i] == (int)r;

		if (relay->share.gives_up[i] && relay->drains_until[i] <= w.now) {
			relay->share.gives_up[i] = false;
			if (mine)
				w.holder[i] = -1;
		} else if (mine) {
			w.expires[i] = w.now + LEASE_MS;
		} else if (relay->share.runs[i] && relay->tries_at[i] <= w.now && i < w.shards) {
			relay->tries_at[i] = w.now + 1000;
			if (w.holder[i] < 0 || w.expires[i] <= w.now) {
				w.holder[i] = (int)r;
				w.expires[i] = w.now + LEASE_MS;
				relay->took++;
			}
		}
	}
	if (relay->looks_at <= w.now)
		relay_look(r);
}

static void
pass(int64_t ms)
{
	for (int64_t until = w.now + ms; w.now < until; w.now += 10)
		for (unsigned r = 0; r < RELAYS_MAX; r++)
			if (w.relays[r].alive)
				relay_turn(r);
}

static unsigned
held_by(unsigned r)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < w.shards; i++)
		count += w.holder[i] == (int)r && w.expires[i] > w.now;
	return count;
}

/* Every shard is run, by those who live, and as evenly as can be. */
static void
expect_even(void)
{
	unsigned least = OB_SHARDS_MAX, most = 0, all = 0;

	for (unsigned r = 0; r < RELAYS_MAX; r++) {
		unsigned held = held_by(r);

		if (!w.relays[r].alive)
			continue;
		all += held;
		least = held < least ? held : least;
		most = held > most ? held : most;
	}
	assert_int_equal(all, w.shards);
	assert_true(most - least <= 1);
}

static unsigned
moves(void)
{
	unsigned count = 0;

	for (unsigned r = 0; r < RELAYS_MAX; r++) {
		count += w.relays[r].gave + w.relays[r].took;
		w.relays[r].gave = w.relays[r].took = 0;
	}
	return count;
}

/* ---- the tests ---- */

static void
one_relay_runs_all(void **state)
{
	(void)state;
	world_begin(256, 1);
	relay_begin(0);
	pass(1200);
	assert_int_equal(held_by(0), 256);
}

/* Relays come one by one and go one by one. What moves is what the newcomer gets, or what the leaver had. */
static void
no_shard_moves_in_vain(void **state)
{
	(void)state;
	for (uint32_t shards = 1; shards <= 24; shards++) {
		world_begin(shards, shards);
		for (unsigned r = 0; r < 8; r++) {
			relay_begin(r);
			pass(8000);
			expect_even();
			if (r > 0)
				assert_int_equal(moves(), 2 * held_by(r));
			else
				assert_int_equal(moves(), shards);
		}
		for (unsigned r = 0; r < 7; r++) {
			unsigned held = held_by(r);

			relay_end(r, true);
			pass(1500);
			expect_even();
			assert_int_equal(moves(), held);
		}
	}
}

static void
one_that_dies_is_replaced_within_its_lease(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		unsigned held;

		world_begin(7, seed);
		for (unsigned r = 0; r < 3; r++)
			relay_begin(r);
		pass(10000);
		expect_even();
		moves();
		held = held_by(1);
		relay_end(1, false);
		/* What a look takes, and what a runner takes to ask. */
		pass(LEASE_MS + 700);
		expect_even();
		assert_int_equal(moves(), held);
	}
}

static void
one_that_only_flickers_moves_nothing(void **state)
{
	(void)state;
	world_begin(8, 3);
	relay_begin(0);
	relay_begin(1);
	pass(10000);
	expect_even();
	moves();
	for (unsigned i = 0; i < 20; i++) {
		relay_begin(2);
		pass(300);
		relay_end(2, true);
		pass(700);
	}
	assert_int_equal(moves(), 0);
}

static void
random_event(void)
{
	unsigned r = roll(RELAYS_MAX);
	struct relay *relay = &w.relays[r];

	switch (roll(4)) {
	case 0:
		if (!relay->alive && (!relay->joined || relay->expires <= w.now) && held_by(r) == 0)
			relay_begin(r);
		break;
	case 1:
		if (relay->alive)
			relay_end(r, roll(2) == 0);
		break;
	case 2: /* stopped for a while: looks and renews late */
		if (relay->alive)
			relay->looks_at = w.now + roll(15000);
		break;
	default:
		break;
	}
}

static void
whatever_happens_it_comes_to_rest(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 150; seed++) {
		world_begin(1 + (uint32_t)(seed % 23), seed);
		relay_begin(9);
		for (unsigned i = 0; i < 40; i++) {
			random_event();
			pass(10 * roll(300));
		}
		if (!w.relays[9].alive)
			for (unsigned r = 0; r < RELAYS_MAX; r++)
				if (!w.relays[r].alive && held_by(r) == 0 &&
				    w.relays[r].expires <= w.now) {
					relay_begin(r);
					break;
				}
		pass(2 * LEASE_MS + 8000);
		expect_even();
		moves();
		pass(3 * LEASE_MS);
		assert_int_equal(moves(), 0);
	}
}

static void
a_stranger_and_what_is_no_shard_are_given_up(void **state)
{
	struct ob_share share = {.member = 1};
	struct ob_crew crew = {.shards = 2, .member_count = 1, .members = {1}};

	(void)state;
	share.runs[0] = share.runs[1] = share.runs[5] = true;
	crew.leases[0] = (struct ob_shard_lease){.held = true, .member = 7};
	crew.leases[1] = (struct ob_shard_lease){.held = true, .member = 1};
	ob_share_decide(&share, &crew, 0);
	assert_true(share.give[0]);
	assert_false(share.give[1]);
	assert_true(share.give[5]);
	/* Nothing is taken while it is still being given up, nor what is anybody's. */
	share.runs[0] = false;
	share.gives_up[0] = true;
	crew.leases[0].held = false;
	ob_share_decide(&share, &crew, 0);
	assert_false(share.take[0]);
	share.gives_up[0] = false;
	ob_share_decide(&share, &crew, 0);
	assert_true(share.take[0]);
}

static void
all_is_given_up_when_the_shards_end(void **state)
{
	struct ob_share share = {.member = 1};
	struct ob_crew crew = {.shards = 2, .ending = true, .member_count = 1, .members = {1}};

	(void)state;
	share.runs[1] = true;
	crew.leases[1] = (struct ob_shard_lease){.held = true, .member = 1};
	ob_share_decide(&share, &crew, 0);
	assert_true(share.give[1]);
	assert_false(share.take[0]);
}

static void
who_has_not_joined_takes_only_what_is_free(void **state)
{
	struct ob_share share = {.member = 1, .only_what_is_free = true};
	struct ob_crew crew = {.shards = 3, .member_count = 1, .members = {2}};

	(void)state;
	crew.leases[0] = (struct ob_shard_lease){.held = true, .member = 2};
	ob_share_decide(&share, &crew, 0);
	assert_false(share.take[0]);
	assert_true(share.take[1]);
	assert_true(share.take[2]);
}

/* More relays than the store tells of: those that are not told of wait. */
static void
who_is_not_told_of_waits(void **state)
{
	struct ob_share share = {.member = 1};
	struct ob_crew crew = {.shards = 3, .member_count = 1, .members = {2}};

	(void)state;
	share.runs[0] = true;
	ob_share_decide(&share, &crew, 0);
	assert_true(share.give[0]);
	assert_false(share.take[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_relay_runs_all),
	    cmocka_unit_test(no_shard_moves_in_vain),
	    cmocka_unit_test(one_that_dies_is_replaced_within_its_lease),
	    cmocka_unit_test(one_that_only_flickers_moves_nothing),
	    cmocka_unit_test(whatever_happens_it_comes_to_rest),
	    cmocka_unit_test(a_stranger_and_what_is_no_shard_are_given_up),
	    cmocka_unit_test(all_is_given_up_when_the_shards_end),
	    cmocka_unit_test(who_has_not_joined_takes_only_what_is_free),
	    cmocka_unit_test(who_is_not_told_of_waits),
	};

	return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
