/* outbox-sim: plays stories, one to be read or many to be counted. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim_world.h"

#define JOBS_MAX 64

/* What the processes that share the seeds tell each other. */
struct shared {
	struct sim_coverage coverage[JOBS_MAX];
	uint64_t played[JOBS_MAX];
	uint64_t failed_seed[JOBS_MAX];
	bool failed[JOBS_MAX];
	char promise[JOBS_MAX][12];
	char failure[JOBS_MAX][SIM_FAILURE_MAX];
};

struct options {
	uint64_t first, last;
	uint32_t jobs;
	bool one, coverage, tap, progress, all;
};

static const char usage[] =
    "usage: outbox-sim --seed N              play one story and tell it\n"
    "       outbox-sim --seeds A..B          play many, and stop at the first broken promise\n"
    "  --jobs N      in so many processes (1)\n"
    "  --coverage    print which event met which state, and fail below the floors\n"
    "  --all         do not stop at the first broken promise: print one line for each\n"
    "  --tap         print the result for a test harness\n";

static struct sim_world *
world_new(void)
{
	struct sim_world *world = calloc(1, sizeof(*world));

	if (world == NULL) {
		fputs("outbox-sim: out of memory\n", stderr);
		exit(2);
	}
	return world;
}

static int
play_one(uint64_t seed)
{
	struct sim_world *world = world_new();
	bool kept;

	world->story = stdout;
	kept = sim_world_play(world, seed);
	if (kept)
		printf("seed %" PRIu64 ": every promise was kept; %u messages, %" PRIu64
		       " crashes, %" PRIu64 " outages, %.0f s\n",
		       seed, world->plot.message_count, world->counts.crashes,
		       world->counts.outages, (double)world->now_us / 1e6);
	else
		printf("%10.3f  BROKEN %s: %s (seed %" PRIu64 ")\n", (double)world->now_us / 1e6,
		       world->ledger.promise, world->ledger.failure, seed);
	sim_world_free(world);
	free(world);
	return kept ? 0 : 1;
}

/* A job's share of the seeds: every `jobs`th. It writes the seed down first, so that one that
   ends the process can be named. */
static void
play_share(const struct options *options, struct shared *shared, uint32_t job, uint64_t from)
{
	struct sim_world *world = world_new();

	world->coverage = &shared->coverage[job];
	for (uint64_t seed = from; seed <= options->last; seed += options->jobs) {
		shared->failed_seed[job] = seed;
		if (sim_world_play(world, seed)) {
			shared->played[job]++;
			continue;
		}
		if (options->all) {
			printf("seed %" PRIu64 ": %s: %s\n", seed, world->ledger.promise,
			       world->ledger.failure);
			continue;
		}
		shared->failed[job] = true;
		memcpy(shared->promise[job], world->ledger.promise, sizeof(world->ledger.promise));
		memcpy(shared->failure[job], world->ledger.failure, sizeof(world->ledger.failure));
		break;
	}
	sim_world_free(world);
	free(world);
}

static pid_t
start_job(const struct options *options, struct shared *shared, uint32_t job, uint64_t from)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		play_share(options, shared, job, from);
		exit(0);
	}
	if (pid < 0) {
		perror("outbox-sim: fork");
		exit(2);
	}
	return pid;
}

static uint64_t
sum_played(const struct options *options, const struct shared *shared)
{
	uint64_t sum = 0;

	for (uint32_t job = 0; job < options->jobs; job++)
		sum += shared->played[job];
	return sum;
}

static void
show_progress(const struct options *options, const struct shared *shared)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " stories ",
			sum_played(options, shared), options->last - options->first + 1);
}

/* Waits for all jobs; the lowest seed that failed, or UINT32_MAX for none. */
static uint32_t
wait_for_jobs(const struct options *options, struct shared *shared, pid_t *pids)
{
	uint32_t worst = UINT32_MAX;
	uint32_t left = options->jobs;

	while (left > 0) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid == 0) {
			nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
			show_progress(options, shared);
			continue;
		}
		for (uint32_t job = 0; job < options->jobs; job++) {
			if (pids[job] != pid)
				continue;
			if ((!WIFEXITED(status) || WEXITSTATUS(status) != 0) && options->all) {
				printf("seed %" PRIu64 ": assert: the engine ended the process\n",
				       shared->failed_seed[job]);
				pids[job] = start_job(options, shared, job,
						      shared->failed_seed[job] + options->jobs);
				continue;
			}
			left--;
			if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
				shared->failed[job] = true;
				memcpy(shared->promise[job], "assert", 7);
				snprintf(shared->failure[job], SIM_FAILURE_MAX,
					 "the engine ended the process");
			}
		}
	}
	for (uint32_t job = 0; job < options->jobs; job++)
		if (shared->failed[job] &&
		    (worst == UINT32_MAX || shared->failed_seed[job] < shared->failed_seed[worst]))
			worst = job;
	return worst;
}

static int
report(const struct options *options, const struct shared *shared, uint32_t worst, double seconds)
{
	uint64_t played = sum_played(options, shared);
	uint32_t missed = 0;

	if (options->tap)
		printf("1..%d\n", options->coverage ? 2 : 1);
	if (worst != UINT32_MAX)
		printf("%sseed %" PRIu64
		       " breaks %s: %s\n%s  to read it: outbox-sim --seed %" PRIu64 "\n",
		       options->tap ? "not ok 1 - " : "", shared->failed_seed[worst],
		       shared->promise[worst], shared->failure[worst], options->tap ? "#" : "",
		       shared->failed_seed[worst]);
	else
		printf("%s%" PRIu64 " stories, every promise was kept (%.1f s, %.0f stories/s)\n",
		       options->tap ? "ok 1 - " : "", played, seconds, (double)played / seconds);
	if (options->coverage && worst == UINT32_MAX) {
		struct sim_coverage *all = calloc(1, sizeof(*all));

		for (uint32_t job = 0; all != NULL && job < options->jobs; job++)
			sim_coverage_add(all, &shared->coverage[job]);
		missed = all == NULL ? 1 : sim_coverage_print(all, options->tap ? stderr : stdout);
		free(all);
		if (options->tap)
			printf("%s 2 - coverage floors, %u missed\n", missed > 0 ? "not ok" : "ok",
			       missed);
	}
	return worst != UINT32_MAX || missed > 0 ||
	       (options->all && played < options->last - options->first + 1);
}

static int
play_many(const struct options *options)
{
	struct shared *shared =
	    mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[JOBS_MAX];
	struct timespec from, to;
	uint32_t worst;

	if (shared == MAP_FAILED) {
		perror("outbox-sim: mmap");
		return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (uint32_t job = 0; job < options->jobs; job++)
		pids[job] = start_job(options, shared, job, options->first + job);
	worst = wait_for_jobs(options, shared, pids);
	clock_gettime(CLOCK_MONOTONIC, &to);
	return report(options, shared, worst,
		      (double)(to.tv_sec - from.tv_sec) +
			  (double)(to.tv_nsec - from.tv_nsec) / 1e9);
}

static bool
parse_number(const char *text, char **end, uint64_t *number)
{
	errno = 0;
	*number = strtoull(text, end, 10);
	return errno == 0 && *end != text;
}

static bool
parse_seeds(const char *text, struct options *options)
{
	char *end;

	if (!parse_number(text, &end, &options->first))
		return false;
	options->last = options->first;
	if (*end == '\0')
		return true;
	if (strncmp(end, "..", 2) != 0)
		return false;
	return parse_number(end + 2, &end, &options->last) && *end == '\0' &&
	       options->first <= options->last;
}

static bool
parse_options(int argc, char **argv, struct options *options)
{
	static const struct option names[] = {{"seed", required_argument, NULL, 's'},
					      {"seeds", required_argument, NULL, 'S'},
					      {"jobs", required_argument, NULL, 'j'},
					      {"coverage", no_argument, NULL, 'c'},
					      {"all", no_argument, NULL, 'a'},
					      {"tap", no_argument, NULL, 't'},
					      {0}};
	uint64_t number;
	char *end;
	int option;
	bool has_seeds = false;

	options->jobs = 1;
	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 's':
		case 'S':
			options->one = options->one || option == 's';
			if (!parse_seeds(optarg, options))
				return false;
			has_seeds = true;
			break;
		case 'j':
			if (!parse_number(optarg, &end, &number) || number < 1 || number > JOBS_MAX)
				return false;
			options->jobs = (uint32_t)number;
			break;
		case 'c':
			options->coverage = true;
			break;
		case 'a':
			options->all = true;
			break;
		case 't':
			options->tap = true;
			break;
		default:
			return false;
		}
	}
	return has_seeds && optind == argc;
}

int
main(int argc, char **argv)
{
	struct options options = {0};

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!parse_options(argc, argv, &options)) {
		fputs(usage, stderr);
		return 2;
	}
	return options.one ? play_one(options.first) : play_many(&options);
}
