/*
 * An application that writes orders and their messages to a database, for benchmarks.
 *
 * usage: bench-writer URL [--count N | --seconds S] [--rate N] [--batch N] [--keys N]
 * [--payload BYTES]
 *                     [--synchronous WORD] [--log FILE]
 *
 * Each transaction updates the key's row in `account` and inserts --batch messages of topic
 * "bench". With --rate it begins so many transactions a second, else as many as it can. --log
 * writes "<id> <CLOCK_MONOTONIC ns>" for each message at once, the time at which COMMIT returned. Prints
 * "<transactions> <seconds> <longest transaction in ms>". The outbox must be there (outbox init).
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "writer.h"

#ifdef HAVE_POSTGRES
static const struct writer_driver *const drivers[] = {&writer_sqlite, &writer_postgres};
#else
static const struct writer_driver *const drivers[] = {&writer_sqlite};
#endif

static struct {
	const struct writer_driver *driver;
	struct writer_message *messages;
	uint64_t count, keys;
	double seconds, rate;
	uint32_t batch;
	size_t payload_size;
	const char *url, *synchronous, *log_path;
	FILE *log;
	char *payload;
} state = {.keys = 1000, .batch = 1, .payload_size = 300};

static int64_t
now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static void
die(const char *what)
{
	fprintf(stderr, "bench-writer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
id_make(char id[48], uint64_t transaction, uint32_t row)
{
	snprintf(id, sizeof(state.messages->id), "%08x-0000-7000-8000-%08" PRIx32 "%04x",
		 (unsigned)getpid(), (uint32_t)transaction, (unsigned)row);
}

/* One transaction; the order's row is changed before the message is inserted. */
static int64_t
transaction_run(uint64_t number)
{
	uint64_t key = number % state.keys;

	for (uint32_t row = 0; row < state.batch; row++) {
		struct writer_message *message = &state.messages[row];

		id_make(message->id, number, row);
		snprintf(message->key, sizeof(message->key), "key-%" PRIu64,
			 state.batch > 1 ? (number + row) % state.keys : key);
	}
	state.driver->transaction(key, state.messages, state.batch);
	return now_ns();
}

static void
log_add(uint64_t number, int64_t at_ns)
{
	char id[sizeof(state.messages->id)];

	if (state.log == NULL)
		return;
	for (uint32_t row = 0; row < state.batch; row++) {
		id_make(id, number, row);
		fprintf(state.log, "%s %" PRId64 "\n", id, at_ns);
	}
}

static void
pace(int64_t started_ns, uint64_t number)
{
	int64_t at = started_ns + (int64_t)((double)number * 1e9 / state.rate);
	struct timespec until = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void
write_all(void)
{
	int64_t started = now_ns(), longest = 0, ended = started;
	uint64_t number = 0;

	for (; state.count == 0 || number < state.count; number++) {
		if (state.seconds > 0 && (double)(ended - started) / 1e9 >= state.seconds)
			break;
		if (state.rate > 0)
			pace(started, number);
		int64_t before = now_ns();
		ended = transaction_run(number);
		log_add(number, ended);
		if (ended - before > longest)
			longest = ended - before;
	}
	printf("%" PRIu64 " %.6f %.3f\n", number, (double)(ended - started) / 1e9,
	       (double)longest / 1e6);
}

static void
arguments_read(int argc, char **argv)
{
	static const struct option options[] = {{"count", required_argument, NULL, 'c'},
						{"seconds", required_argument, NULL, 's'},
						{"rate", required_argument, NULL, 'r'},
						{"batch", required_argument, NULL, 'b'},
						{"keys", required_argument, NULL, 'k'},
						{"payload", required_argument, NULL, 'p'},
						{"synchronous", required_argument, NULL, 'y'},
						{"log", required_argument, NULL, 'l'},
						{0}};

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (option) {
		case 'c':
			state.count = strtoull(optarg, NULL, 10);
			break;
		case 's':
			state.seconds = strtod(optarg, NULL);
			break;
		case 'r':
			state.rate = strtod(optarg, NULL);
			break;
		case 'b':
			state.batch = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'k':
			state.keys = strtoull(optarg, NULL, 10);
			break;
		case 'p':
			state.payload_size = strtoul(optarg, NULL, 10);
			break;
		case 'y':
			state.synchronous = optarg;
			break;
		case 'l':
			state.log_path = optarg;
			break;
		default:
			exit(2);
		}
	}
	if (optind + 1 == argc)
		state.url = argv[optind];
	for (size_t i = 0; state.url != NULL && i < sizeof(drivers) / sizeof(drivers[0]); i++)
		if (strncmp(state.url, drivers[i]->scheme, strlen(drivers[i]->scheme)) == 0)
			state.driver = drivers[i];
	if (state.driver == NULL || state.keys == 0 || state.batch == 0 ||
	    (state.count == 0 && state.seconds <= 0)) {
		fprintf(stderr, "usage: bench-writer URL --count N | --seconds S [...]\n");
		exit(2);
	}
}

static void
messages_make(void)
{
	state.payload = malloc(state.payload_size + 1);
	state.messages = calloc(state.batch, sizeof(state.messages[0]));
	if (state.payload == NULL || state.messages == NULL)
		die("memory");
	memset(state.payload, 'x', state.payload_size);
	state.payload[state.payload_size] = '\0';
	for (uint32_t row = 0; row < state.batch; row++) {
		state.messages[row].payload = state.payload;
		state.messages[row].payload_size = state.payload_size;
	}
}

int
main(int argc, char **argv)
{
	arguments_read(argc, argv);
	messages_make();
	if (state.log_path != NULL && (state.log = fopen(state.log_path, "w")) == NULL)
		die(state.log_path);
	if (state.log != NULL)
		setvbuf(state.log, NULL, _IOLBF, BUFSIZ);
	state.driver->open(state.url, state.synchronous);
	write_all();
	if (state.log != NULL && fclose(state.log) != 0)
		die(state.log_path);
	state.driver->close();
	free(state.messages);
	free(state.payload);
	return 0;
}
