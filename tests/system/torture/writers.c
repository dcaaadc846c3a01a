/*
 * Applications that do to an outbox what real ones do at their worst, each on a connection of its
 * own: transactions that are numbered early and commit late, savepoints and whole transactions
 * rolled back, two-phase commits decided by somebody else, commits that do not wait for the disk,
 * batches of one to ten thousand messages, connections that vanish. Keys are shared by all writers
 * under a row's lock (driver.h).
 *
 * usage: torture-writers URL [--messages N] [--seconds S] [--writers N] [--keys N] [--seed N]
 *                            [--large PERMILLE] [--lazy PERMILLE]
 *
 * Ends when about N messages are committed, which takes at least S seconds, or at SIGTERM. A server
 * that goes away is waited for. Prints what was done as a line of JSON. The tables must be there.
 */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "driver.h"

#define WRITERS_MAX 256
#define PARTS_MAX   5 /* writes of one transaction */
#define BATCH_MAX   10000

static const struct driver *const drivers[] = {&torture_postgres};

static struct {
	const struct driver *driver;
	const char *url;
	uint64_t messages, seed;
	double seconds;
	unsigned writers, keys, large_permille, lazy_permille;
	int64_t began_ms;
} options = {.messages = 50000,
	     .writers = 16,
	     .keys = 200,
	     .seed = 1,
	     .large_permille = 1,
	     .lazy_permille = 500};

/* What was done, for the line at the end. */
static struct {
	_Atomic uint64_t messages, transactions, rolled_back, to_savepoint, prepared, early, lazy,
	    refused, broken, vanished, batches, largest, isolated, decided;
} done;

static atomic_bool stopping;

static void
on_term(int number)
{
	(void)number;
	atomic_store(&stopping, true);
}

static int64_t
now_ms(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (int64_t)at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

static void
pause_us(uint64_t us)
{
	struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

	nanosleep(&time, NULL);
}

/* splitmix64: small, and good enough to draw a story from. */
static uint64_t
draw(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static bool
chance(uint64_t *state, unsigned permille)
{
	return draw(state) % 1000 < permille;
}

static uint64_t
below(uint64_t *state, uint64_t limit)
{
	return draw(state) % limit;
}

int64_t
nonces_of(const struct messages *messages)
{
	int64_t all = 0;

	for (uint32_t i = 1; i <= messages->count; i++)
		all ^= messages->base + i;
	return all;
}

/* ---- What a transaction will do ---- */

struct plan {
	struct messages parts[PARTS_MAX];
	unsigned count;
	bool undone[PARTS_MAX]; /* written behind a savepoint, and rolled back to it */
	enum isolation isolation;
	bool lazy_commit, early;
	enum { END_COMMIT, END_ROLLBACK, END_PREPARE, END_VANISH } end;
};

static uint32_t
batch_size(uint64_t *random)
{
	static const uint64_t limits[] = {30, 100, 300, 1000, 3000, BATCH_MAX};

	if (chance(random, options.large_permille))
		return (uint32_t)(1 + below(random, limits[below(random, 6)]));
	return chance(random, 850) ? 1 : (uint32_t)(2 + below(random, 9));
}

static void
part_draw(struct messages *part, uint64_t *random)
{
	/* Every tenth goes to one of three keys that everybody wants. */
	*part = (struct messages){
	    .key = (unsigned)(chance(random, 100) ? below(random, 3) : below(random, options.keys)),
	    .count = batch_size(random),
	    .base = (int64_t)(draw(random) >> 3),
	    .padding = (unsigned)(chance(random, 2) ? 20000 : below(random, 300)),
	    .way = (enum way)below(random, WAYS),
	};
	if (part->count > 100)
		part->padding = 100;
	if (part->way == WAY_VALUES && part->count > WAY_VALUES_MAX)
		part->way = WAY_TWO_STATEMENTS;
	if ((part->way == WAY_FUNCTION || part->way == WAY_PUBLISH) && part->count > 1)
		part->way = WAY_ONE_STATEMENT;
}

static int
by_key(const void *a, const void *b)
{
	const struct messages *left = a, *right = b;

	return left->key < right->key ? -1 : left->key > right->key;
}

static void
plan_draw(struct plan *plan, uint64_t *random)
{
	uint64_t end = below(random, 1000);

	*plan = (struct plan){
	    .count = chance(random, 700) ? 1 : (unsigned)(1 + below(random, PARTS_MAX)),
	    .isolation =
		chance(random, 900) ? READ_COMMITTED : (enum isolation)(1 + below(random, 2)),
	    .lazy_commit = chance(random, options.lazy_permille),
	    .early = chance(random, 300),
	    .end = end < 60    ? END_ROLLBACK
		   : end < 110 ? END_PREPARE
		   : end < 115 ? END_VANISH
			       : END_COMMIT,
	};
	for (unsigned i = 0; i < plan->count; i++) {
		part_draw(&plan->parts[i], random);
		plan->undone[i] = chance(random, 80);
	}
	/* Locks in one order, but for some that may run into each other. */
	if (!chance(random, 20))
		qsort(plan->parts, plan->count, sizeof(plan->parts[0]), by_key);
}

/* ---- Doing it ---- */

struct writer {
	struct session session;
	pthread_t thread;
	unsigned number;
	uint64_t random, named;
};

static void
dawdle(struct writer *writer)
{
	uint64_t kind = below(&writer->random, 1000);

	if (kind >= 700 && kind < 960)
		pause_us(below(&writer->random, 3000));
	else if (kind >= 960 && kind < 995)
		pause_us(below(&writer->random, 30000));
	else if (kind >= 995)
		pause_us(below(&writer->random, 500000));
}

static enum outcome
part_write(struct writer *writer, const struct messages *part, bool undone)
{
	const struct driver *driver = options.driver;
	enum outcome outcome = OUTCOME_DONE;

	if (undone)
		outcome = driver->savepoint(&writer->session);
	if (outcome == OUTCOME_DONE)
		outcome = driver->write(&writer->session, part);
	if (outcome == OUTCOME_DONE && undone) {
		outcome = driver->rollback_to_savepoint(&writer->session);
		atomic_fetch_add(&done.to_savepoint, 1);
	}
	return outcome;
}

static uint64_t
plan_messages(const struct plan *plan)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < plan->count; i++)
		count += plan->undone[i] ? 0 : plan->parts[i].count;
	return count;
}

static void
count_committed(const struct plan *plan)
{
	uint64_t count = plan_messages(plan), largest = atomic_load(&done.largest);

	atomic_fetch_add(&done.messages, count);
	atomic_fetch_add(&done.batches, count > 1);
	while (count > largest && !atomic_compare_exchange_weak(&done.largest, &largest, count))
		;
}

static enum outcome
plan_end(struct writer *writer, const struct plan *plan)
{
	const struct driver *driver = options.driver;
	enum outcome outcome;
	char name[64];

	switch (plan->end) {
	case END_ROLLBACK:
		atomic_fetch_add(&done.rolled_back, 1);
		return driver->rollback(&writer->session);
	case END_VANISH:
		atomic_fetch_add(&done.vanished, 1);
		driver->close(&writer->session, true);
		return OUTCOME_BROKEN;
	case END_PREPARE:
		snprintf(name, sizeof(name), "%" PRIu64 "-%u-%" PRIu64, options.seed,
			 writer->number, writer->named++);
		outcome = driver->prepare(&writer->session, name);
		atomic_fetch_add(&done.prepared, outcome == OUTCOME_DONE);
		return outcome;
	default:
		outcome = driver->commit(&writer->session);
		if (outcome == OUTCOME_DONE)
			count_committed(plan);
		return outcome;
	}
}

static enum outcome
transaction(struct writer *writer, const struct plan *plan)
{
	const struct driver *driver = options.driver;
	enum outcome outcome = driver->begin(&writer->session, plan->isolation, plan->lazy_commit);

	if (outcome == OUTCOME_DONE && plan->early) {
		outcome = driver->number_early(&writer->session);
		atomic_fetch_add(&done.early, 1);
		dawdle(writer);
	}
	for (unsigned i = 0; i < plan->count && outcome == OUTCOME_DONE; i++) {
		outcome = part_write(writer, &plan->parts[i], plan->undone[i]);
		dawdle(writer);
	}
	if (outcome == OUTCOME_DONE)
		outcome = plan_end(writer, plan);
	if (outcome == OUTCOME_REFUSED) {
		atomic_fetch_add(&done.refused, 1);
		outcome = driver->rollback(&writer->session);
	}
	return outcome;
}

static bool
reopen(struct session *session)
{
	options.driver->close(session, false);
	while (!atomic_load(&stopping)) {
		if (options.driver->open(session) == OUTCOME_DONE)
			return true;
		pause_us(20000);
	}
	return false;
}

/* Spreads the messages over the time that was asked for: a large batch is followed by a silence. */
static void
keep_pace(uint64_t *random)
{
	double share;

	while (!atomic_load(&stopping) && options.seconds > 0) {
		share = (double)(now_ms() - options.began_ms) / 1000 / options.seconds;
		if ((double)atomic_load(&done.messages) <= share * (double)options.messages)
			break;
		pause_us(200 + below(random, 4000));
	}
}

static void *
write_until_done(void *argument)
{
	struct writer *writer = argument;
	struct plan plan;

	if (!reopen(&writer->session))
		return NULL;
	while (!atomic_load(&stopping) && atomic_load(&done.messages) < options.messages) {
		plan_draw(&plan, &writer->random);
		atomic_fetch_add(&done.transactions, 1);
		atomic_fetch_add(&done.lazy, plan.lazy_commit);
		atomic_fetch_add(&done.isolated, plan.isolation != READ_COMMITTED);
		if (transaction(writer, &plan) == OUTCOME_BROKEN) {
			atomic_fetch_add(&done.broken, plan.end != END_VANISH);
			if (!reopen(&writer->session))
				break;
		}
		keep_pace(&writer->random);
	}
	options.driver->close(&writer->session, false);
	return NULL;
}

/* Whoever decides over prepared transactions is somebody else than who prepared them. */
static atomic_bool writers_ended;

static void *
decide_until_done(void *argument)
{
	struct writer *writer = argument;
	enum outcome outcome = OUTCOME_BROKEN;
	bool last, found;

	do {
		last = atomic_load(&writers_ended);
		found = false;
		while (outcome == OUTCOME_BROKEN &&
		       options.driver->open(&writer->session) != OUTCOME_DONE)
			pause_us(20000);
		outcome = options.driver->decide(&writer->session, chance(&writer->random, 600),
						 last, &found);
		atomic_fetch_add(&done.decided, found);
		if (outcome == OUTCOME_BROKEN)
			options.driver->close(&writer->session, false);
		if (!found)
			pause_us(10000);
	} while (!last || found || outcome == OUTCOME_BROKEN);
	options.driver->close(&writer->session, false);
	return NULL;
}

static void
report(void)
{
	const struct {
		const char *name;
		uint64_t value;
	} lines[] = {
	    {"messages", done.messages},
	    {"transactions", done.transactions},
	    {"rolled_back", done.rolled_back},
	    {"to_savepoint", done.to_savepoint},
	    {"prepared", done.prepared},
	    {"decided", done.decided},
	    {"early", done.early},
	    {"lazy", done.lazy},
	    {"isolated", done.isolated},
	    {"refused", done.refused},
	    {"broken", done.broken},
	    {"vanished", done.vanished},
	    {"batches", done.batches},
	    {"largest", done.largest},
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		printf("%s\"%s\": %" PRIu64, i > 0 ? ", " : "{", lines[i].name, lines[i].value);
	printf("}\n");
}

static bool
options_read(int argc, char **argv)
{
	static const struct option known[] = {
	    {"messages", required_argument, NULL, 'm'}, {"seconds", required_argument, NULL, 's'},
	    {"writers", required_argument, NULL, 'w'},  {"keys", required_argument, NULL, 'k'},
	    {"seed", required_argument, NULL, 'r'},     {"large", required_argument, NULL, 'l'},
	    {"lazy", required_argument, NULL, 'a'},     {0}};

	for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		switch (option) {
		case 'm':
			options.messages = strtoull(optarg, NULL, 10);
			break;
		case 's':
			options.seconds = strtod(optarg, NULL);
			break;
		case 'w':
			options.writers = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'k':
			options.keys = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			options.seed = strtoull(optarg, NULL, 10);
			break;
		case 'l':
			options.large_permille = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'a':
			options.lazy_permille = (unsigned)strtoul(optarg, NULL, 10);
			break;
		default:
			return false;
		}
	}
	if (optind + 1 != argc || options.writers == 0 || options.writers > WRITERS_MAX ||
	    options.keys < 3)
		return false;
	options.url = argv[optind];
	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
		if (strncmp(options.url, drivers[i]->scheme, strlen(drivers[i]->scheme)) == 0)
			options.driver = drivers[i];
	return options.driver != NULL;
}

int
main(int argc, char **argv)
{
	static struct writer writers[WRITERS_MAX + 1];
	struct sigaction term = {.sa_handler = on_term};

	if (!options_read(argc, argv)) {
		fprintf(stderr, "usage: torture-writers URL [--messages N] [--seconds S]"
				" [--writers N] [--keys N] [--seed N] [--large PERMILLE]"
				" [--lazy PERMILLE]\n");
		return 2;
	}
	sigaction(SIGTERM, &term, NULL);
	signal(SIGPIPE, SIG_IGN);
	options.began_ms = now_ms();
	for (unsigned i = 0; i <= options.writers; i++) {
		writers[i] = (struct writer){
		    .session.url = options.url,
		    .number = i,
		    .random = options.seed * 1000003 + i,
		};
		if (pthread_create(&writers[i].thread, NULL,
				   i == 0 ? decide_until_done : write_until_done, &writers[i]) != 0)
			return 1;
	}
	for (unsigned i = 1; i <= options.writers; i++)
		pthread_join(writers[i].thread, NULL);
	atomic_store(&writers_ended, true);
	pthread_join(writers[0].thread, NULL);
	report();
	return 0;
}
