/*
 * An application that writes orders and their messages to SQLite, for benchmarks.
 *
 * usage: bench-writer DATABASE [--count N | --seconds S] [--rate N] [--batch N] [--keys N]
 * [--payload BYTES]
 *                     [--synchronous normal|full|off] [--log FILE]
 *
 * Each transaction updates the key's row in `account` and inserts --batch messages of topic
 * "bench". With --rate it begins so many transactions a second, else as many as it can. --log
 * writes "<id> <CLOCK_MONOTONIC ns>" for each message, the time at which COMMIT returned. Prints
 * "<transactions> <seconds> <longest transaction in ms>". The outbox must be there (outbox init).
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ID_SIZE 48

static struct {
	sqlite3 *db;
	sqlite3_stmt *begin, *update, *insert, *commit;
	uint64_t count, keys;
	double seconds, rate;
	uint32_t batch;
	size_t payload_size;
	const char *synchronous, *log_path;
	FILE *log;
	char *payload;
} state = {.keys = 1000, .batch = 1, .payload_size = 300, .synchronous = "normal"};

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
	fprintf(stderr, "bench-writer: %s: %s\n", what,
		state.db != NULL ? sqlite3_errmsg(state.db) : strerror(errno));
	exit(1);
}

static void
execute(const char *sql)
{
	if (sqlite3_exec(state.db, sql, NULL, NULL, NULL) != SQLITE_OK)
		die(sql);
}

static sqlite3_stmt *
prepare(const char *sql)
{
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v3(state.db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) !=
	    SQLITE_OK)
		die(sql);
	return statement;
}

static void
step(sqlite3_stmt *statement)
{
	if (sqlite3_step(statement) != SQLITE_DONE)
		die(sqlite3_sql(statement));
	sqlite3_reset(statement);
}

static void
database_open(const char *path)
{
	char pragma[64];

	if (sqlite3_open_v2(path, &state.db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		die(path);
	sqlite3_busy_timeout(state.db, 10000);
	snprintf(pragma, sizeof(pragma), "PRAGMA synchronous = %s", state.synchronous);
	execute(pragma);
	execute(
	    "CREATE TABLE IF NOT EXISTS account (key INTEGER PRIMARY KEY, changes INTEGER NOT NULL)");
	state.begin = prepare("BEGIN IMMEDIATE");
	state.update = prepare("INSERT INTO account (key, changes) VALUES (?1, 1) "
			       "ON CONFLICT (key) DO UPDATE SET changes = changes + 1");
	state.insert = prepare("INSERT INTO outbox_message (id, topic, partition_key, payload) "
			       "VALUES (?1, 'bench', ?2, ?3)");
	state.commit = prepare("COMMIT");
}

static void
id_make(char id[ID_SIZE], uint64_t transaction, uint32_t row)
{
	snprintf(id, ID_SIZE, "%08x-0000-7000-8000-%08" PRIx32 "%04x", (unsigned)getpid(),
		 (uint32_t)transaction, (unsigned)row);
}

/* One transaction; the order's row is changed before the message is inserted. */
static int64_t
transaction_run(uint64_t number)
{
	uint64_t key = number % state.keys;
	char id[ID_SIZE], name[32];

	step(state.begin);
	sqlite3_bind_int64(state.update, 1, (sqlite3_int64)key);
	step(state.update);
	snprintf(name, sizeof(name), "key-%" PRIu64, key);
	for (uint32_t row = 0; row < state.batch; row++) {
		if (state.batch > 1)
			snprintf(name, sizeof(name), "key-%" PRIu64, (number + row) % state.keys);
		id_make(id, number, row);
		sqlite3_bind_text(state.insert, 1, id, -1, SQLITE_TRANSIENT);
		sqlite3_bind_text(state.insert, 2, name, -1, SQLITE_TRANSIENT);
		sqlite3_bind_text(state.insert, 3, state.payload, (int)state.payload_size,
				  SQLITE_STATIC);
		step(state.insert);
	}
	step(state.commit);
	return now_ns();
}

static void
log_add(uint64_t number, int64_t at_ns)
{
	char id[ID_SIZE];

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
	if (optind + 1 != argc || state.keys == 0 || (state.count == 0 && state.seconds <= 0)) {
		fprintf(stderr, "usage: bench-writer DATABASE --count N | --seconds S [...]\n");
		exit(2);
	}
}

int
main(int argc, char **argv)
{
	arguments_read(argc, argv);
	state.payload = malloc(state.payload_size + 1);
	if (state.payload == NULL)
		die("memory");
	memset(state.payload, 'x', state.payload_size);
	if (state.log_path != NULL && (state.log = fopen(state.log_path, "w")) == NULL)
		die(state.log_path);
	database_open(argv[optind]);
	write_all();
	if (state.log != NULL && fclose(state.log) != 0)
		die(state.log_path);
	sqlite3_finalize(state.begin);
	sqlite3_finalize(state.update);
	sqlite3_finalize(state.insert);
	sqlite3_finalize(state.commit);
	sqlite3_close(state.db);
	free(state.payload);
	return 0;
}
