#include "store_world.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "options.h"

#define TEXT_MAX    65536
#define FETCHES_MAX 20

/* ---- the host ---- */

static int64_t
clock_us(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

/* How far the host's clock was put ahead of the system's. */
static int64_t ahead_us;

static int64_t
host_monotonic_us(void *context)
{
	(void)context;
	return clock_us(CLOCK_MONOTONIC) + ahead_us;
}

static int64_t
host_wall_us(void *context)
{
	(void)context;
	return clock_us(CLOCK_REALTIME);
}

static void
host_random(void *context, void *bytes, size_t size)
{
	(void)context;
	assert_int_equal(getrandom(bytes, size, 0), (ssize_t)size);
}

static void
host_log(void *context, enum ob_log_level level, const char *text)
{
	(void)context;
	(void)level;
	(void)text;
}

const struct ob_host world_host = {
    .monotonic_us = host_monotonic_us,
    .wall_us = host_wall_us,
    .random = host_random,
    .log = host_log,
};

int64_t
world_now_ms(void)
{
	return clock_us(CLOCK_MONOTONIC) / 1000;
}

void
world_sleep_ms(int64_t ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&time, NULL);
}

void
world_pass_ms(int64_t ms)
{
	ahead_us += ms * 1000;
}

void
world_expect(struct world *world, int want, int got, const char *call, const char *file, int line)
{
	if (got != want)
		print_error("%s\n  gave %s, not %s: %s\n", call, ob_code_name((enum ob_code)got),
			    ob_code_name((enum ob_code)want),
			    got == OB_OK ? "" : world->error.text);
	_assert_true(got == want, call, file, line);
}

/* ---- a world ---- */

void
world_options(struct world *world, const char *const *pairs)
{
	world->option_pairs = pairs;
}

void
world_open(struct world *world, unsigned i)
{
	const struct ob_store_ops *ops = world->kind->ops;
	struct world_instance *at = &world->at[i];
	struct ob_store_config config = {.url = world->url, .options = at->options, .create = true};
	struct ob_options options;

	assert_null(at->store);
	assert_true(ops->options_size <= sizeof(at->options));
	expect_ok(world,
		  ob_options_begin(&options, ops->name, ops->options, at->options, &world->error));
	for (const char *const *pair = world->kind->options; pair != NULL && *pair != NULL; pair++)
		expect_ok(world, ob_options_set_pair(&options, *pair, &world->error));
	if (world->option[0] != '\0')
		expect_ok(world, ob_options_set_pair(&options, world->option, &world->error));
	for (const char *const *pair = world->option_pairs; pair != NULL && *pair != NULL; pair++)
		expect_ok(world, ob_options_set_pair(&options, *pair, &world->error));
	at->store = calloc(1, ops->size);
	assert_non_null(at->store);
	at->store->ops = ops;
	at->store->host = &world_host;
	if (at->batch == NULL)
		at->batch = ob_batch_new(2048);
	expect_ok(world, ops->open(at->store, &config, &world->error));
}

void
world_close(struct world *world, unsigned i)
{
	struct world_instance *at = &world->at[i];

	if (at->store != NULL) {
		world->kind->ops->close(at->store);
		ob_options_free(world->kind->ops->options, at->options);
		memset(at->options, 0, sizeof(at->options));
	}
	free(at->store);
	at->store = NULL;
}

int
world_setup(void **state)
{
	const struct store_kind *kind = *state;
	struct world *world = calloc(1, sizeof(*world));

	if (world == NULL)
		return -1;
	world->kind = kind;
	*state = world;
	kind->make(world);
	world_open(world, 0);
	expect_ok(world, kind->ops->migrate(world->at[0].store, OB_MIGRATE_APPLY, NULL, NULL,
					    &world->error));
	return 0;
}

int
world_teardown(void **state)
{
	struct world *world = *state;

	for (unsigned i = 0; i < WORLD_INSTANCES; i++) {
		world_close(world, i);
		ob_batch_free(world->at[i].batch);
	}
	world->kind->drop(world);
	free(world);
	return 0;
}

/* ---- the application ---- */

static const char id_start[] = "00000000-0000-4000-8000-";

const char *
world_id(unsigned n)
{
	static char ids[8][40];
	static unsigned next;
	char *id = ids[next++ % 8];

	snprintf(id, sizeof(ids[0]), "%s%012u", id_start, n);
	return id;
}

unsigned
world_number(const struct ob_row *row)
{
	char digits[16] = "";
	size_t start = sizeof(id_start) - 1;

	assert_int_equal(row->message.id.size, 36);
	assert_memory_equal(row->message.id.data, id_start, start);
	memcpy(digits, (const char *)row->message.id.data + start, 12);
	return (unsigned)strtoul(digits, NULL, 10);
}

static struct ob_bytes
bytes(const char *text)
{
	return (struct ob_bytes){.data = text, .size = text == NULL ? 0 : strlen(text)};
}

static unsigned
append(struct world *world, const char *topic, const char *key, const char *payload,
       int64_t deliver_in_ms)
{
	struct ob_message message = {.id = bytes(world_id(++world->appended)),
				     .topic = bytes(topic),
				     .key = bytes(key),
				     .payload = bytes(payload)};

	world->kind->append(world, &message, deliver_in_ms);
	return world->appended;
}

unsigned
world_append(struct world *world, const char *topic, const char *key, const char *payload)
{
	return append(world, topic, key, payload, 0);
}

void
world_append_many(struct world *world, unsigned count, const char *topic, const char *key)
{
	if (world->kind->batch != NULL)
		world->kind->batch(world, true);
	for (unsigned i = 0; i < count; i++)
		append(world, topic, key, "{}", 0);
	if (world->kind->batch != NULL)
		world->kind->batch(world, false);
}

unsigned
world_schedule(struct world *world, const char *topic, const char *key, int64_t deliver_in_ms)
{
	return append(world, topic, key, "{}", deliver_in_ms);
}

/* ---- the relay ---- */

void
world_subscribe(struct world *world, const char *name, const char *topics)
{
	struct ob_subscription subscription = {.name = name, .topics = topics, .sink = "null:"};

	expect_ok(world,
		  world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
}

void
world_subscribe_shards(struct world *world, const char *name, uint32_t shards)
{
	struct ob_subscription subscription = {
	    .name = name, .topics = "*", .sink = "null:", .shards = shards};

	expect_ok(world,
		  world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
}

struct ob_acquired *
world_try_shard(struct world *world, unsigned i, const char *name, uint32_t shard, int64_t lease_ms)
{
	struct world_instance *at = &world->at[i];
	char owner[32];
	struct ob_lease_request request = {
	    .subscription = name,
	    .shard = shard,
	    .owner = owner,
	    .member = i + 1,
	    .lease_ms = lease_ms,
	    .lanes = at->lanes,
	    .lanes_max = WORLD_LANES,
	};

	snprintf(owner, sizeof(owner), "relay %u", i);
	expect_ok(world,
		  world->kind->ops->acquire(at->store, &request, &at->acquired, &world->error));
	return &at->acquired;
}

struct ob_acquired *
world_try_acquire(struct world *world, unsigned i, const char *name, int64_t lease_ms)
{
	return world_try_shard(world, i, name, 0, lease_ms);
}

struct ob_acquired *
world_acquire(struct world *world, unsigned i, const char *name)
{
	struct ob_acquired *acquired = world_try_acquire(world, i, name, 60000);

	assert_true(acquired->held);
	return acquired;
}

const struct ob_fetch world_fetch_all = {
    .count_max = 1024,
    .bytes_max = 16 * 1024 * 1024,
    .oversize_ok = true,
    .parked_max = 64,
    .run_max = 16,
};

struct ob_batch *
world_fetch_as(struct world *world, unsigned i, const struct ob_fetch *fetch)
{
	struct world_instance *at = &world->at[i];

	/* A fetch of a slow store may end before it has found what there is, and says so. */
	for (unsigned tries = 0; tries < FETCHES_MAX; tries++) {
		ob_batch_reset(at->batch);
		expect_ok(world,
			  world->kind->ops->fetch(at->store, fetch, at->batch, &world->error));
		if (at->batch->count > 0 || !at->batch->more)
			break;
	}
	return at->batch;
}

struct ob_batch *
world_fetch(struct world *world, unsigned i)
{
	return world_fetch_as(world, i, &world_fetch_all);
}

struct ob_batch *
world_fetch_some(struct world *world, unsigned i)
{
	int64_t until = world_now_ms() + 5000;
	struct ob_batch *batch;

	do {
		batch = world_fetch(world, i);
		if (batch->count > 0)
			return batch;
		world_sleep_ms(2);
	} while (world_now_ms() < until);
	fail_msg("nothing came within five seconds");
	return NULL;
}

void
world_settle_with(struct world *world, unsigned i, uint64_t through,
		  const struct ob_outcome *outcomes, uint32_t count)
{
	struct ob_settle settle = {
	    .through = through, .outcomes = outcomes, .outcome_count = count};

	expect_ok(world, world->kind->ops->settle(world->at[i].store, &settle, &world->error));
}

void
world_settle(struct world *world, unsigned i, uint64_t through)
{
	world_settle_with(world, i, through, NULL, 0);
}

int
world_change(struct world *world, unsigned i, enum ob_change_kind kind, const char *subscription,
	     enum ob_place place, uint64_t *count)
{
	struct ob_change change = {.kind = kind, .since_ms = -1};

	change.selection.subscription = subscription;
	change.selection.place = place;
	return world->kind->ops->change(world->at[i].store, &change, count, &world->error);
}

struct ob_outcome
world_outcome(const struct ob_row *row, enum ob_outcome_kind kind, int64_t due_in_ms)
{
	static const struct ob_try tried = {
	    .ago_ms = 1, .code = "failed", .text = "it said \"no\""};

	return (struct ob_outcome){
	    .kind = kind,
	    .ordinal = row->ordinal,
	    .position = row->position,
	    .lane = row->lane,
	    .due_in_ms = due_in_ms,
	    .attempts = kind == OB_OUTCOME_BEHIND || kind == OB_OUTCOME_SCHEDULE
			    ? row->attempts
			    : row->attempts + 1,
	    .age_ms = row->age_ms > 0 ? row->age_ms : 1,
	    .tries = &tried,
	    .try_count = kind == OB_OUTCOME_BEHIND || kind == OB_OUTCOME_SCHEDULE ? 0 : 1,
	};
}

/* ---- what came ---- */

static char text[TEXT_MAX];

static void text_add(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void
text_add(const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, sizeof(text) - used, format, args);
	va_end(args);
}

/* Ids of our own as "m3", others as they are. */
static void
text_add_id(struct ob_bytes id)
{
	const char *all = id.data;
	size_t start = sizeof(id_start) - 1;

	if (id.size == 36 && memcmp(all, id_start, start) == 0) {
		while (start < 35 && all[start] == '0')
			start++;
		text_add("m%.*s", (int)(36 - start), all + start);
	} else {
		text_add("%.*s", (int)id.size, all);
	}
}

const char *
world_ids(const struct ob_batch *batch)
{
	text[0] = '\0';
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct ob_row *row = &batch->rows[i];

		text_add("%s%s", i == 0 ? "" : " ", row->ordinal == 0 ? "[" : "");
		text_add_id(row->message.id);
		text_add(row->ordinal == 0 ? "]" : "");
	}
	return text;
}

static bool
listing_add(void *context, const struct ob_listed *row)
{
	(void)context;
	text_add("%s", *text == '\0' ? "" : " ");
	text_add_id(row->message.id);
	text_add("%s%s%s", row->head ? "(head)" : "", row->holds_key ? "(holds)" : "",
		 row->passed ? "(passed)" : "");
	return true;
}

const char *
world_listing(struct world *world, unsigned i, const struct ob_selection *selection)
{
	text[0] = '\0';
	expect_ok(world, world->kind->ops->list(world->at[i].store, selection, listing_add, NULL,
						&world->error));
	return text;
}

/* The store's texts are gone after the call, so they are copied; those of one call stand until the next. */
static void
stats_keep(void *context, const struct ob_subscription_stats *stats)
{
	static char texts[8][OB_REASON_TEXT_MAX];
	struct ob_subscription_stats *kept = context;
	const char **const fields[8] = {&kept->name,  &kept->topics,    &kept->sink,
					&kept->owner, &kept->state,     &kept->code,
					&kept->text,  &kept->blocked_by};

	*kept = *stats;
	kept->shard = NULL;
	for (int i = 0; i < 8; i++) {
		snprintf(texts[i], sizeof(texts[i]), "%s", *fields[i] == NULL ? "" : *fields[i]);
		*fields[i] = texts[i];
	}
}

struct ob_subscription_stats
world_stats(struct world *world, unsigned i, const char *name)
{
	struct ob_subscription_stats stats = {0};

	expect_ok(world, world->kind->ops->stats(world->at[i].store, name, stats_keep, &stats,
						 &world->error));
	return stats;
}
