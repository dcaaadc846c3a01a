/* What the contract suite cannot ask of every store: who begins, draws, commits, locks and turns between two steps of the PostgreSQL
   store, each forced. `postgres-suite [postgres [PATTERN]]` runs the tests whose names match. */
#include "postgres_tests.h"

#include <stdarg.h>

#define TESTS_MAX   64
#define SQL_MAX     1024
#define WAIT_MS_MAX 10000

/* ---- applications ---- */

static PGresult *app_result(PGconn *app, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static PGresult *
app_result(PGconn *app, const char *format, va_list args)
{
	char sql[SQL_MAX];
	PGresult *result;
	ExecStatusType status;

	assert_in_range(vsnprintf(sql, sizeof(sql), format, args), 0, SQL_MAX - 1);
	result = PQexec(app, sql);
	status = PQresultStatus(result);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(app));
	return result;
}

void
app_run(PGconn *app, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	PQclear(app_result(app, format, args));
	va_end(args);
}

const char *
app_ask(PGconn *app, const char *format, ...)
{
	static char value[SQL_MAX];
	PGresult *result;
	va_list args;

	va_start(args, format);
	result = app_result(app, format, args);
	va_end(args);
	assert_int_equal(PQntuples(result), 1);
	snprintf(value, sizeof(value), "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	return value;
}

PGconn *
app_connect(const struct world *world)
{
	const char *direct = getenv("OUTBOX_TEST_POSTGRES_DIRECT");
	PGconn *app = PQconnectdb(direct != NULL ? direct : world->url);

	if (PQstatus(app) != CONNECTION_OK)
		fail_msg("%s", PQerrorMessage(app));
	app_run(app, "SET search_path = %s", world->option + strlen("schema="));
	return app;
}

void
app_insert(struct world *world, PGconn *app, const char *key)
{
	app_run(
	    app,
	    "INSERT INTO message (id, topic, partition_key, payload) VALUES ('%s', 't', '%s', '{}')",
	    world_id(++world->appended), key);
}

/* ---- errands ---- */

static void *
fetch_thread(void *context)
{
	struct errand *errand = context;
	struct world *world = errand->world;
	struct world_instance *at = &world->at[errand->i];

	errand->code =
	    world->kind->ops->fetch(at->store, &world_fetch_all, at->batch, &world->error);
	atomic_store(&errand->done, true);
	return NULL;
}

static void *
trim_thread(void *context)
{
	struct errand *errand = context;
	struct world *world = errand->world;
	uint64_t rows;
	bool again;

	errand->code =
	    world->kind->ops->trim(world->at[errand->i].store, &rows, &again, &world->error);
	atomic_store(&errand->done, true);
	return NULL;
}

static void *
run_thread(void *context)
{
	struct errand *errand = context;
	PGresult *result = PQexec(errand->app, errand->sql);
	ExecStatusType status = PQresultStatus(result);

	errand->code = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? OB_OK : OB_FAILED;
	PQclear(result);
	atomic_store(&errand->done, true);
	return NULL;
}

static void
errand_begin(struct errand *errand, void *(*run)(void *context))
{
	atomic_init(&errand->done, false);
	assert_int_equal(pthread_create(&errand->thread, NULL, run, errand), 0);
}

void
errand_fetch(struct errand *errand, struct world *world, unsigned i)
{
	*errand = (struct errand){.world = world, .i = i};
	ob_batch_reset(world->at[i].batch);
	errand_begin(errand, fetch_thread);
}

void
errand_trim(struct errand *errand, struct world *world, unsigned i)
{
	*errand = (struct errand){.world = world, .i = i};
	errand_begin(errand, trim_thread);
}

void
errand_run(struct errand *errand, PGconn *app, const char *sql)
{
	*errand = (struct errand){.app = app, .sql = sql};
	errand_begin(errand, run_thread);
}

bool
errand_waits(const struct errand *errand, PGconn *app, const char *kind)
{
	int64_t until = world_now_ms() + WAIT_MS_MAX;

	while (!atomic_load(&errand->done)) {
		if (*app_ask(app, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND %s",
			     kind) == 't')
			return true;
		if (world_now_ms() > until)
			fail_msg("nobody waits for a lock with %s", kind);
		world_sleep_ms(1);
	}
	return false;
}

void
errand_end(struct errand *errand)
{
	pthread_join(errand->thread, NULL);
	if (errand->code != OB_OK)
		fail_msg("%s", errand->app != NULL ? PQerrorMessage(errand->app)
						   : errand->world->error.text);
}

/* ---- what is read ---- */

static char all_read[SQL_MAX];

static void
batch_add(const struct ob_batch *batch)
{
	size_t used = strlen(all_read);

	snprintf(all_read + used, sizeof(all_read) - used, "%s%s",
		 used > 0 && batch->count > 0 ? " " : "", world_ids(batch));
}

/* A fetch may end before it found anything, since it keeps to a time. */
static const char *
rest_read(struct world *world, unsigned i)
{
	const struct ob_batch *batch;

	do {
		batch = world_fetch(world, i);
		batch_add(batch);
	} while (batch->count > 0 || batch->more);
	return all_read;
}

const char *
app_read(struct world *world, unsigned i)
{
	all_read[0] = '\0';
	return rest_read(world, i);
}

const char *
app_read_some(struct world *world, unsigned i, uint32_t count)
{
	struct ob_fetch fetch = world_fetch_all;
	const struct ob_batch *batch;

	all_read[0] = '\0';
	for (fetch.count_max = count; fetch.count_max > 0; fetch.count_max -= batch->count) {
		batch = world_fetch_as(world, i, &fetch);
		assert_true(batch->count > 0 || batch->more);
		batch_add(batch);
	}
	return all_read;
}

const char *
errand_read(const struct errand *errand)
{
	all_read[0] = '\0';
	batch_add(errand->world->at[errand->i].batch);
	return rest_read(errand->world, errand->i);
}

/* ---- the suite ---- */

int
main(int argc, char **argv)
{
	static const struct store_test *const parts[] = {postgres_order_tests,
							 postgres_space_tests};
	static struct CMUnitTest tests[TESTS_MAX];
	static char names[TESTS_MAX][128];
	size_t count = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		for (const struct store_test *test = parts[i]; test->run != NULL; test++) {
			if (count == TESTS_MAX)
				return 1;
			snprintf(names[count], sizeof(names[count]), "postgres: %s", test->name);
			tests[count] = (struct CMUnitTest){
			    .name = names[count],
			    .test_func = test->run,
			    .setup_func = world_setup,
			    .teardown_func = world_teardown,
			    .initial_state = (void *)(uintptr_t)store_kinds[0],
			};
			count++;
		}
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return _cmocka_run_group_tests("postgres", tests, count, NULL, NULL);
}
