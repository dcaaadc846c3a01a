/* The number of shards changes: what is left goes to the old ones, up to one position, and what comes to the new ones. */
#include "store_world.h"

#include "store_suite.h"

#define KEYS     10
#define SENT_MAX 4096

/* ---- small relays: what each instance has fetched, sent and settled ---- */

struct runner {
	bool held;
	uint32_t shard;
	uint64_t through, last; /* settled; fetched */
	unsigned ids[SENT_MAX];
	unsigned count, sent; /* of ids, by the ordinal that follows `through` */
};

struct reader {
	struct world *world;
	struct runner runners[WORLD_INSTANCES];
	unsigned times[SENT_MAX]; /* how often message n was sent */
	unsigned last_of_key[KEYS + 1];
};

static struct reader reader;

static void
reader_begin(struct world *world)
{
	memset(&reader, 0, sizeof(reader));
	reader.world = world;
}

/* Message n is of key n modulo KEYS + 1, of which the last means none. */
static void
append(unsigned count)
{
	struct world *world = reader.world;
	char key[8];

	if (world->kind->batch != NULL)
		world->kind->batch(world, true);
	for (unsigned i = 0; i < count; i++) {
		unsigned k = (world->appended + 1) % (KEYS + 1);

		snprintf(key, sizeof(key), "k%u", k);
		world_append(world, "orders", k == KEYS ? NULL : key, "{}");
	}
	if (world->kind->batch != NULL)
		world->kind->batch(world, false);
}

/* The first time each message is sent is in the order of its key. */
static void
send(unsigned n)
{
	unsigned k = n % (KEYS + 1);

	assert_in_range(n, 1, SENT_MAX - 1);
	if (reader.times[n]++ > 0 || k == KEYS)
		return;
	if (reader.last_of_key[k] > n)
		fail_msg("m%u came after m%u", n, reader.last_of_key[k]);
	for (unsigned before = k == 0 ? KEYS + 1 : k; before < n; before += KEYS + 1)
		if (reader.times[before] == 0)
			fail_msg("m%u came before m%u", n, before);
	reader.last_of_key[k] = n;
}

static void
begin(unsigned i, uint32_t shard)
{
	reader.runners[i] = (struct runner){.held = true, .shard = shard};
}

/* Everything that was fetched is void when the store says so. */
static bool
stands(unsigned i, int code)
{
	struct runner *it = &reader.runners[i];

	if (code == OB_OK)
		return true;
	if (code != OB_STALE && code != OB_CHANGED)
		fail_msg("%s: %s", ob_code_name((enum ob_code)code), reader.world->error.text);
	if (code == OB_STALE)
		it->held = false;
	return false;
}

/* After a change of a person's: goes on, begins anew, or has lost it. */
static void
again(unsigned i, int64_t lease_ms)
{
	struct runner *it = &reader.runners[i];
	struct ob_acquired *acquired = world_try_shard(reader.world, i, "s", it->shard, lease_ms);

	if (!acquired->held)
		it->held = false;
	else if (!acquired->goes_on)
		begin(i, it->shard);
}

/* `passed`: another fetch may find what this one did not, or came to an end of its time before. */
static bool
try_fetch(unsigned i, uint32_t rows, bool *passed)
{
	struct world *world = reader.world;
	struct runner *it = &reader.runners[i];
	struct ob_batch *batch = world->at[i].batch;
	struct ob_fetch fetch = world_fetch_all;
	int code;

	fetch.count_max = rows;
	fetch.parked_max = 0;
	ob_batch_reset(batch);
	code = world->kind->ops->fetch(world->at[i].store, &fetch, batch, &world->error);
	if (!stands(i, code))
		return false;
	for (uint32_t r = 0; r < batch->count; r++) {
		assert_true(batch->rows[r].ordinal == ++it->last);
		it->ids[it->count++] = world_number(&batch->rows[r]);
	}
	*passed = batch->passed || batch->more;
	return true;
}

static bool
try_settle(unsigned i)
{
	struct world *world = reader.world;
	struct runner *it = &reader.runners[i];
	struct ob_settle settle = {.through = it->through + it->sent};
	int code = world->kind->ops->settle(world->at[i].store, &settle, &world->error);

	if (!stands(i, code))
		return false;
	memmove(it->ids, it->ids + it->sent, (it->count - it->sent) * sizeof(it->ids[0]));
	it->through += it->sent;
	it->count -= it->sent;
	it->sent = 0;
	return true;
}

static void
send_some(unsigned i, unsigned count)
{
	struct runner *it = &reader.runners[i];

	while (count-- > 0 && it->sent < it->count)
		send(it->ids[it->sent++]);
}

/* Sends and settles all that there is for it. */
static void
finish(unsigned i)
{
	struct runner *it = &reader.runners[i];
	bool passed;
	unsigned had;

	do {
		had = it->count;
		assert_true(try_fetch(i, 1024, &passed));
		had = it->count - had;
		send_some(i, it->count);
		assert_true(try_settle(i));
	} while (had > 0 || passed);
}

static void
release(unsigned i)
{
	struct world *world = reader.world;

	expect_ok(world, world->kind->ops->release(world->at[i].store, &world->error));
	reader.runners[i].held = false;
}

static void
take(unsigned i, uint32_t shard)
{
	assert_true(world_try_shard(reader.world, i, "s", shard, 60000)->held);
	begin(i, shard);
}

static struct ob_crew
look(void)
{
	static struct ob_crew crew;
	struct ob_member member = {.subscription = "s"};
	struct world *world = reader.world;

	expect_ok(world, world->kind->ops->join(world->at[0].store, &member, &crew, &world->error));
	return crew;
}

static void
all_were_sent(unsigned from, unsigned to, unsigned times_max)
{
	for (unsigned n = from; n <= to; n++)
		if (reader.times[n] < 1 || reader.times[n] > times_max)
			fail_msg("m%u was sent %u times", n, reader.times[n]);
}

/* ---- step by step ---- */

static void
two_shards_with_a_backlog(struct world *world)
{
	reader_begin(world);
	world_subscribe_shards(world, "s", 2);
	world_open(world, 1);
	world_open(world, 2);
	append(60);
	for (unsigned i = 0; i < 2; i++) {
		bool passed;

		take(i, i);
		assert_true(try_fetch(i, 10, &passed));
		send_some(i, 5);
		assert_true(try_settle(i));
	}
}

static void
old_shards_end_where_new_ones_begin(void **state)
{
	struct world *world = *state;
	uint64_t epoch;
	struct ob_crew crew;

	two_shards_with_a_backlog(world);
	epoch = world->at[0].acquired.epoch;
	world_subscribe_shards(world, "s", 3);
	append(40);
	crew = look();
	assert_int_equal(crew.shards, 2);
	assert_int_equal(crew.shards_next, 3);
	assert_false(crew.ending);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(world->kind->ops->renew(world->at[i].store, NULL, &world->error),
				 OB_CHANGED);
		again(i, 60000);
		assert_true(world->at[i].acquired.goes_on);
		assert_true(world->at[i].acquired.changing);
		assert_int_equal(world->at[i].acquired.shards, 2);
	}
	finish(0);
	assert_false(look().ending);
	/* One that has ended may still be given up and taken again: its parked rows go on. */
	release(0);
	take(2, 0);
	finish(2);
	finish(1);
	assert_true(look().ending);
	all_were_sent(1, 60, 1);
	assert_int_equal(reader.times[61], 0);
	/* Whoever holds one keeps it; nobody else gets one. */
	expect_ok(world, world->kind->ops->renew(world->at[2].store, NULL, &world->error));
	release(2);
	assert_false(world_try_shard(world, 0, "s", 0, 60000)->held);
	assert_true(look().ending);
	release(1);
	crew = look();
	assert_int_equal(crew.shards, 3);
	assert_int_equal(crew.shards_next, 0);
	assert_false(crew.ending);
	for (unsigned i = 0; i < 3; i++) {
		take(i, i);
		assert_false(world->at[i].acquired.changing);
		assert_true(world->at[i].acquired.epoch > epoch);
		finish(i);
	}
	all_were_sent(1, 100, 1);
}

static void
a_change_waits_for_the_lease_of_one_who_died(void **state)
{
	struct world *world = *state;
	int64_t until = world_now_ms() + 5000;

	reader_begin(world);
	world_subscribe_shards(world, "s", 2);
	world_open(world, 1);
	append(20);
	world_subscribe_shards(world, "s", 1);
	take(1, 1);
	finish(1);
	release(1);
	take(0, 0);
	finish(0);
	again(0, 300);
	while (!world_try_shard(world, 1, "s", 0, 60000)->held) {
		assert_int_equal(world->at[1].acquired.shards, 2);
		assert_true(world_now_ms() < until);
		world_sleep_ms(5);
	}
	assert_int_equal(world->at[1].acquired.shards, 1);
	assert_false(world->at[1].acquired.goes_on);
	/* It was only asleep. */
	assert_int_equal(world->kind->ops->renew(world->at[0].store, NULL, &world->error),
			 OB_STALE);
	assert_false(try_settle(0));
	append(20);
	begin(1, 0);
	finish(1);
	all_were_sent(1, 40, 1);
}

static void
a_change_may_be_changed_and_taken_back(void **state)
{
	struct world *world = *state;

	two_shards_with_a_backlog(world);
	world_subscribe_shards(world, "s", 5);
	world_subscribe_shards(world, "s", 3);
	world_subscribe(world, "s", "*");
	assert_int_equal(look().shards_next, 3);
	world_subscribe_shards(world, "s", 2);
	assert_int_equal(look().shards_next, 0);
	append(20);
	for (unsigned i = 0; i < 2; i++) {
		again(i, 60000);
		assert_true(world->at[i].acquired.goes_on);
		finish(i);
	}
	all_were_sent(1, 80, 1);
}

static void
a_replay_comes_before_the_end(void **state)
{
	struct world *world = *state;
	struct ob_change replay = {.kind = OB_CHANGE_REPLAY, .since_ms = -1};
	uint64_t count;

	two_shards_with_a_backlog(world);
	world_subscribe_shards(world, "s", 3);
	append(20);
	for (unsigned i = 0; i < 2; i++) {
		again(i, 60000);
		finish(i);
		release(i);
	}
	replay.selection.subscription = "s";
	/* The new shards were not made yet, since nobody asked for one. */
	expect_ok(world,
		  world->kind->ops->change(world->at[0].store, &replay, &count, &world->error));
	assert_int_equal(count, 60);
	assert_int_equal(look().shards, 2);
	for (unsigned i = 0; i < 2; i++) {
		take(i, i);
		finish(i);
		release(i);
	}
	all_were_sent(1, 60, 2);
	for (unsigned i = 0; i < 3; i++) {
		take(i, i);
		finish(i);
	}
	all_were_sent(1, 80, 2);
}

/* Parks every row: the first of a key as its head, the others behind it. */
static void
park_all(struct world *world, unsigned i)
{
	static struct ob_outcome outcomes[64];
	struct ob_batch *batch = world_fetch(world, i);
	uint32_t count = 0;

	for (; count < batch->count; count++) {
		const struct ob_row *row = &batch->rows[count];
		enum ob_outcome_kind kind = OB_OUTCOME_PARK;

		for (uint32_t j = 0; j < count && row->lane != 0; j++)
			if (batch->rows[j].lane == row->lane)
				kind = OB_OUTCOME_BEHIND;
		outcomes[count] = world_outcome(row, kind, 0);
	}
	world_settle_with(world, i, count, outcomes, count);
	world_fetch(world, i);
	world_settle(world, i, count);
}

static void
parked_rows_go_to_the_shard_of_their_key(void **state)
{
	struct world *world = *state;
	int of[2 * (KEYS + 1) + 1] = {0};
	unsigned parked = 0;

	reader_begin(world);
	world_subscribe_shards(world, "s", 2);
	append(KEYS + 1);
	for (unsigned i = 0; i < 2; i++) {
		take(0, i);
		park_all(world, 0);
		release(0);
	}
	world_subscribe_shards(world, "s", 3);
	/* A store may find by itself that there is nothing left before the common position. */
	for (unsigned i = 0; i < 2 && look().shards == 2; i++) {
		take(0, i);
		finish(0);
		release(0);
	}
	assert_int_equal(look().shards, 3);
	append(KEYS + 1);
	for (uint32_t shard = 0; shard < 3; shard++) {
		const struct ob_batch *batch;

		take(0, shard);
		do {
			batch = world_fetch_some(world, 0);
			for (uint32_t r = 0; r < batch->count; r++) {
				unsigned n = world_number(&batch->rows[r]);

				assert_in_range(n, 1, 2 * (KEYS + 1));
				assert_int_equal(of[n], 0);
				assert_int_equal(batch->rows[r].ordinal == 0, n <= KEYS + 1);
				parked += batch->rows[r].ordinal == 0;
				of[n] = (int)shard + 1;
			}
		} while (batch->more);
		release(0);
	}
	assert_int_equal(parked, KEYS + 1);
	for (unsigned n = 1; n <= KEYS + 1; n++) {
		assert_int_not_equal(of[n], 0);
		if (n % (KEYS + 1) != KEYS)
			assert_int_equal(of[n], of[n + KEYS + 1]);
	}
}

/* ---- at random ---- */

static uint64_t dice;

static unsigned
roll(unsigned sides)
{
	dice = dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(dice >> 33) % sides;
}

static void
walk_step(unsigned i, int64_t lease_ms)
{
	struct runner *it = &reader.runners[i];
	bool passed;

	if (!it->held) {
		uint32_t shard = roll(look().shards);

		if (world_try_shard(reader.world, i, "s", shard, lease_ms)->held)
			begin(i, shard);
		return;
	}
	switch (roll(6)) {
	case 0:
	case 1:
		if (it->count < 100 && !try_fetch(i, 1 + roll(20), &passed) && it->held)
			again(i, lease_ms);
		break;
	case 2:
	case 3:
		send_some(i, roll(12));
		break;
	case 4:
		if (!try_settle(i) && it->held)
			again(i, lease_ms);
		break;
	default:
		/* A drain: what is sent is settled first. */
		if (roll(3) == 0 && try_settle(i))
			release(i);
	}
}

/* Ends with everything sent; `lease_ms` says whether somebody may be taken for dead meanwhile. */
static void
walk(struct world *world, uint64_t seed, int64_t lease_ms)
{
	static const uint32_t shards[] = {1, 2, 3, 5, 4};

	dice = seed;
	reader_begin(world);
	world_subscribe_shards(world, "s", 2);
	world_open(world, 1);
	world_open(world, 2);
	for (unsigned step = 0; step < 1500; step++) {
		if (roll(8) == 0)
			append(1 + roll(8));
		if (roll(60) == 0)
			world_subscribe_shards(world, "s", shards[roll(5)]);
		walk_step(roll(WORLD_INSTANCES), lease_ms);
	}
	for (unsigned i = 0; i < WORLD_INSTANCES; i++)
		release(i);
	/* A change that is under way may take two rounds: the rest for the old shards, and then for the new ones. */
	for (unsigned round = 0; round < 2; round++) {
		uint32_t count = look().shards;

		for (uint32_t shard = 0; shard < count; shard++) {
			take(0, shard);
			finish(0);
			release(0);
		}
	}
	assert_int_equal(look().shards_next, 0);
}

static void
nothing_is_lost_or_sent_twice(void **state)
{
	walk(*state, 20240601, 600000);
	all_were_sent(1, reader.world->appended, 1);
}

static void
nothing_is_lost_or_overtaken_when_leases_run_out(void **state)
{
	walk(*state, 20240602, 1);
	all_were_sent(1, reader.world->appended, SENT_MAX);
}

const struct store_test store_barrier_tests[] = {
    {"old shards end where new ones begin", old_shards_end_where_new_ones_begin},
    {"a change waits for the lease of one who died", a_change_waits_for_the_lease_of_one_who_died},
    {"a change may be changed and taken back", a_change_may_be_changed_and_taken_back},
    {"a replay comes before the end", a_replay_comes_before_the_end},
    {"parked rows go to the shard of their key", parked_rows_go_to_the_shard_of_their_key},
    {"nothing is lost or sent twice", nothing_is_lost_or_sent_twice},
    {"nothing is lost or overtaken when leases run out",
     nothing_is_lost_or_overtaken_when_leases_run_out},
    {NULL, NULL},
};
