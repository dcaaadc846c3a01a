/*
 * The order in which transactions begin, take their ids, draw their numbers and commit, forced into what the short cuts of
 * reading lose or reorder. interval.c has the argument; mutants/ has a store for each short cut.
 */
#include "postgres_tests.h"

#include <signal.h>

struct apps {
	PGconn *a, *b, *c;
};

/* A subscription that is run, and applications. */
static struct apps
apps_begin(struct world *world)
{
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	return (struct apps){app_connect(world), app_connect(world), app_connect(world)};
}

static void
apps_end(struct apps it)
{
	PQfinish(it.a);
	PQfinish(it.b);
	PQfinish(it.c);
}

static void
a_lower_number_may_be_committed_later(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);

	app_run(it.a, "BEGIN");
	app_insert(world, it.a, "a");
	app_insert(world, it.b, "b");
	expect_read(world, "m2");
	app_insert(world, it.b, "b");
	expect_read(world, "m3");
	app_run(it.a, "COMMIT");
	expect_read(world, "m1");
	apps_end(it);
}

static void
a_prepared_transaction_comes_when_it_is_decided(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	static unsigned made;
	unsigned n = ++made;

	for (unsigned i = 0; i < 2; i++) {
		app_run(it.a, "BEGIN");
		app_insert(world, it.a, "a");
		app_run(it.a, "PREPARE TRANSACTION 'order %u %u'", n, i);
	}
	app_insert(world, it.b, "b");
	expect_read(world, "m3");
	world_settle(world, 0, 1);
	app_run(it.b, "ROLLBACK PREPARED 'order %u 0'", n);
	expect_read(world, "");
	app_run(it.b, "COMMIT PREPARED 'order %u 1'", n);
	expect_read(world, "m2");
	apps_end(it);
}

static void
what_is_rolled_back_to_a_savepoint_never_was(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);

	app_run(it.a, "BEGIN; SAVEPOINT one");
	app_insert(world, it.a, "a");
	app_run(it.a, "ROLLBACK TO one");
	app_insert(world, it.a, "a");
	app_run(it.a, "SAVEPOINT two");
	app_insert(world, it.a, "a");
	app_run(it.a, "RELEASE two");
	app_insert(world, it.b, "b");
	expect_read(world, "m4");
	app_run(it.a, "COMMIT");
	expect_read(world, "m2 m3");
	apps_end(it);
}

/* A has the earlier id, B the earlier commit. C, between, is a stranger who never ends. */
static void
the_order_is_not_that_of_the_transaction_ids(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);

	app_run(it.a, "BEGIN; SELECT pg_current_xact_id()");
	app_run(it.c, "BEGIN; SELECT pg_current_xact_id()");
	app_insert(world, it.b, "k");
	app_insert(world, it.a, "k");
	app_run(it.a, "COMMIT");
	expect_read(world, "m1 m2");
	apps_end(it);
}

/* A's id is above all that have ended, so no snapshot lists it, and its number below the last one. */
static void
who_is_above_all_that_have_ended_is_not_lost(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);

	app_run(it.b, "BEGIN");
	app_insert(world, it.b, "b");
	app_run(it.a, "BEGIN");
	app_insert(world, it.a, "a");
	app_run(it.b, "COMMIT");
	expect_read(world, "m1");
	app_run(it.a, "COMMIT");
	expect_read(world, "m2");
	apps_end(it);
}

/* The same where a subscription begins. */
static void
who_is_in_progress_when_a_subscription_begins_comes(void **state)
{
	struct world *world = *state;
	struct ob_subscription subscription = {.name = "late", .topics = "*", .from_now = true};
	struct apps it = {app_connect(world), app_connect(world), app_connect(world)};

	app_run(it.b, "BEGIN");
	app_insert(world, it.b, "b");
	app_run(it.a, "BEGIN");
	app_insert(world, it.a, "a");
	app_run(it.b, "COMMIT");
	expect_ok(world,
		  world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
	world_acquire(world, 0, "late");
	expect_read(world, "");
	app_run(it.a, "COMMIT");
	expect_read(world, "m2");
	apps_end(it);
}

/* And where the shards of now end and the next ones begin. */
static void
who_is_in_progress_when_shards_end_comes_behind(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	char ids[64];

	world_open(world, 1);
	app_run(it.b, "BEGIN");
	app_insert(world, it.b, "b");
	app_run(it.a, "BEGIN");
	app_insert(world, it.a, "a");
	app_run(it.b, "COMMIT");
	world_subscribe_shards(world, "s", 2);
	app_run(it.a, "COMMIT");
	app_insert(world, it.b, "b");
	world_acquire(world, 0, "s");
	expect_read(world, "m1");
	world_settle(world, 0, 1);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	for (unsigned i = 0; i < 2; i++)
		assert_true(world_try_shard(world, i, "s", i, 60000)->held);
	snprintf(ids, sizeof(ids), "%s", app_read(world, 0));
	snprintf(ids + strlen(ids), sizeof(ids) - strlen(ids), " %s", app_read(world, 1));
	assert_non_null(strstr(ids, "m2"));
	assert_non_null(strstr(ids, "m3"));
	apps_end(it);
}

/* While an interval is opened, behind its q and before its snapshot, A draws a number and B draws one and commits. */
static void
what_is_drawn_while_an_interval_is_opened_comes(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	struct errand errand;

	app_insert(world, it.a, "a");
	app_run(it.c, "BEGIN; LOCK TABLE opening IN SHARE MODE");
	errand_fetch(&errand, world, 0);
	assert_true(errand_waits(&errand, it.b, ON_TABLE("opening")));
	app_run(it.a, "BEGIN");
	app_insert(world, it.a, "a");
	app_insert(world, it.b, "b");
	app_run(it.c, "COMMIT");
	errand_end(&errand);
	assert_string_equal(errand_read(&errand), "m1 m3");
	app_run(it.a, "COMMIT");
	expect_read(world, "m2");
	apps_end(it);
}

/* A commits when the interval is open, but not yet read to its end. */
static void
an_interval_is_what_its_own_snapshot_sees(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);

	app_insert(world, it.b, "b");
	app_run(it.a, "BEGIN");
	app_insert(world, it.a, "a");
	app_insert(world, it.b, "b");
	app_run(it.a, "SAVEPOINT one");
	app_insert(world, it.a, "a");
	assert_string_equal(app_read_some(world, 0, 1), "m1");
	app_run(it.a, "COMMIT");
	expect_read(world, "m3 m2 m4");
	expect_read(world, "");
	apps_end(it);
}

/* Between the id and the insertion of its row a writer stands still, here at a lock that gives no id. */
static void
a_writer_that_stops_within_its_row_is_not_lost(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	struct errand errand;
	char sql[256];

	/* Only every thirty-third number that is drawn gives an id by itself. */
	app_insert(world, it.b, "b");
	expect_read(world, "m1");
	app_run(it.c, "SELECT pg_advisory_lock(22)");
	snprintf(
	    sql, sizeof(sql),
	    "INSERT INTO message (id, topic, payload) VALUES ('%s', 't', pg_advisory_lock(22)::text)",
	    world_id(++world->appended));
	errand_run(&errand, it.a, sql);
	assert_true(errand_waits(&errand, it.b, "locktype = 'advisory'"));
	app_insert(world, it.b, "b");
	expect_read(world, "m3");
	app_run(it.c, "SELECT pg_advisory_unlock(22)");
	errand_end(&errand);
	expect_read(world, "m2");
	apps_end(it);
}

/* The key's lock is taken while the row is made: the number must be drawn behind it. */
static void
the_number_is_drawn_under_the_lock_of_the_key(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	struct errand errand;
	char sql[256];

	app_run(it.a, "CREATE TABLE account (n int); INSERT INTO account VALUES (0);"
		      "CREATE FUNCTION take() RETURNS text LANGUAGE sql VOLATILE AS"
		      " 'UPDATE account SET n = n + 1 RETURNING n::text'");
	app_run(it.b, "BEGIN; SELECT take()");
	snprintf(
	    sql, sizeof(sql),
	    "INSERT INTO message (id, topic, partition_key, payload) VALUES ('%s', 't', 'k', take())",
	    world_id(2));
	errand_run(&errand, it.a, sql);
	assert_true(errand_waits(&errand, it.c, "locktype = 'transactionid'"));
	app_insert(world, it.b, "k");
	app_run(it.b, "COMMIT");
	errand_end(&errand);
	expect_read(world, "m1 m2");
	apps_end(it);
}

/* ---- the moment at which the sequence is ahead ---- */

/* So many of this database's processes wait within the server. */
static bool
are_held(PGconn *app, int count)
{
	return app_number(app,
			  "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
			  " AND wait_event_type = 'LWLock'") >= count;
}

static bool
await_held(PGconn *app, int count)
{
	int64_t until = world_now_ms() + 10000;

	while (!are_held(app, count)) {
		if (world_now_ms() > until)
			return false;
		world_sleep_ms(1);
	}
	return true;
}

static void
app_finish(PGconn *app)
{
	PGresult *result;

	while ((result = PQgetResult(app)) != NULL)
		PQclear(result);
}

/*
 * Stops a process of the server, `filler`'s, while it fills up the rest of a segment of the log, so that nothing can be added to it
 * until it goes on; `probe` is the first who tries. Returns its id.
 */
static pid_t
log_freeze(PGconn *filler, PGconn *probe, PGconn *app)
{
	pid_t pid = (pid_t)app_number(filler, "SELECT pg_backend_pid()");

	for (unsigned tries = 0; tries < 60; tries++) {
		assert_int_equal(PQsendQuery(filler,
					     "SELECT pg_logical_emit_message(false, '', '');"
					     "SELECT pg_switch_wal()"),
				 1);
		world_sleep_ms(1 + tries % 8);
		assert_int_equal(kill(pid, SIGSTOP), 0);
		assert_int_equal(
		    PQsendQuery(probe, "SELECT pg_logical_emit_message(false, '', '')"), 1);
		do {
			if (are_held(app, 1))
				return pid;
			assert_int_equal(PQconsumeInput(probe), 1);
		} while (PQisBusy(probe) != 0);
		assert_int_equal(kill(pid, SIGCONT), 0);
		app_finish(probe);
		app_finish(filler);
	}
	fail_msg("the log was not caught being filled up");
	return 0;
}

/*
 * nextval() sets the sequence up to 32 numbers ahead, writes that to the log and sets it back. Whoever reads it without its lock
 * meets that. Here it cannot be written for a while; a reader that pauses does so at advisory lock 22.
 */
static void
the_last_number_is_read_under_its_lock(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	PGconn *filler = app_connect(world), *probe = app_connect(world);
	struct errand reading, drawing;
	bool pauses, held;
	pid_t pid;
	char ids[16];

	app_run(it.c, "SELECT pg_advisory_lock(22)");
	app_insert(world, it.a, "a");
	errand_fetch(&reading, world, 0);
	pauses = errand_waits(&reading, it.a, "locktype = 'advisory'");
	if (!pauses) {
		errand_end(&reading);
		assert_string_equal(errand_read(&reading), "m1");
		app_insert(world, it.a, "a");
	}
	while (app_number(it.b, "SELECT log_cnt FROM message_seq_seq") > 0)
		app_run(it.b, "SELECT nextval('message_seq_seq')");
	pid = log_freeze(filler, probe, it.c);
	errand_run(&drawing, it.b, "SELECT nextval('message_seq_seq')");
	held = await_held(it.c, 2);
	if (!pauses)
		errand_fetch(&reading, world, 0);
	app_run(it.c, "SELECT pg_advisory_unlock(22)");
	held = held && await_held(it.c, 3);
	/* Before anything can fail, or the server could not be stopped. */
	assert_int_equal(kill(pid, SIGCONT), 0);
	assert_true(held);
	errand_end(&drawing);
	errand_end(&reading);
	app_insert(world, it.a, "a");
	snprintf(ids, sizeof(ids), "m%u m%u", world->appended - 1, world->appended);
	assert_string_equal(errand_read(&reading), ids);
	app_finish(probe);
	app_finish(filler);
	PQfinish(probe);
	PQfinish(filler);
	apps_end(it);
}

/* ---- what may be believed ---- */

/* The log is written out by those who commit alone, so what others left unwritten must be by the store. */
static void
only_what_is_durable_is_handed_out(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	int64_t began_ms;
	char wal[32], ids[8];

	app_run(it.c, "ALTER SYSTEM SET wal_writer_delay = '3s'");
	app_run(it.c, "SELECT pg_reload_conf()");
	app_run(it.a, "SET synchronous_commit = off");
	for (unsigned i = 1; i <= 10; i++) {
		app_insert(world, it.a, "a");
		snprintf(wal, sizeof(wal), "%s",
			 app_ask(it.b, "SELECT pg_current_wal_insert_lsn()"));
		snprintf(ids, sizeof(ids), "m%u", i);
		began_ms = world_now_ms();
		expect_read(world, ids);
		assert_in_range(world_now_ms() - began_ms, 0, 2000);
		assert_string_equal(app_ask(it.b, "SELECT pg_current_wal_flush_lsn() >= '%s'", wal),
				    "t");
	}
	app_run(it.c, "ALTER SYSTEM RESET wal_writer_delay");
	app_run(it.c, "SELECT pg_reload_conf()");
	apps_end(it);
}

/* Two intervals are open, and the first is settled. */
static void
what_was_opened_ahead_is_read_again_by_the_next_owner(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);

	app_insert(world, it.a, "a");
	app_insert(world, it.a, "a");
	expect_read(world, "m1 m2");
	app_insert(world, it.b, "b");
	expect_read(world, "m3");
	world_settle(world, 0, 1);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	world_acquire(world, 0, "s");
	expect_read(world, "m2 m3");
	apps_end(it);
}

/* A standby that was promoted without it, or a server that crashed unseen: nothing may be written there. */
static void
a_settle_on_a_server_without_the_snapshot_writes_nothing(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	struct ob_settle settle = {.through = 1};
	char before[512], opened[256];

	app_insert(world, it.a, "a");
	snprintf(opened, sizeof(opened), "%s", app_ask(it.a, "SELECT snapshot FROM opening"));
	expect_read(world, "m1");
	app_run(it.a, "UPDATE opening SET snapshot = '%s'", opened);
	snprintf(before, sizeof(before), "%s",
		 app_ask(it.a, "SELECT c::text FROM checkpoint AS c"));
	expect_code(world, OB_AGAIN,
		    world->kind->ops->settle(world->at[0].store, &settle, &world->error));
	assert_string_equal(app_ask(it.a, "SELECT c::text FROM checkpoint AS c"), before);
	apps_end(it);
}

static void
a_server_without_the_snapshot_is_not_read(void **state)
{
	struct world *world = *state;
	struct apps it = apps_begin(world);
	struct ob_fetch fetch = world_fetch_all;
	char opened[256];

	for (unsigned i = 0; i < 3; i++)
		app_insert(world, it.a, "a");
	snprintf(opened, sizeof(opened), "%s", app_ask(it.a, "SELECT snapshot FROM opening"));
	assert_string_equal(app_read_some(world, 0, 1), "m1");
	fetch.count_max = 1;
	app_run(it.a, "UPDATE opening SET snapshot = '%s'", opened);
	ob_batch_reset(world->at[0].batch);
	expect_code(
	    world, OB_AGAIN,
	    world->kind->ops->fetch(world->at[0].store, &fetch, world->at[0].batch, &world->error));
	assert_int_equal(world->at[0].batch->count, 0);
	apps_end(it);
}

const struct store_test postgres_order_tests[] = {
    {"a lower number may be committed later", a_lower_number_may_be_committed_later},
    {"a prepared transaction comes when it is decided",
     a_prepared_transaction_comes_when_it_is_decided},
    {"what is rolled back to a savepoint never was", what_is_rolled_back_to_a_savepoint_never_was},
    {"the order is not that of the transaction ids", the_order_is_not_that_of_the_transaction_ids},
    {"who is above all that have ended is not lost", who_is_above_all_that_have_ended_is_not_lost},
    {"who is in progress when a subscription begins comes",
     who_is_in_progress_when_a_subscription_begins_comes},
    {"who is in progress when shards end comes behind",
     who_is_in_progress_when_shards_end_comes_behind},
    {"what is drawn while an interval is opened comes",
     what_is_drawn_while_an_interval_is_opened_comes},
    {"an interval is what its own snapshot sees", an_interval_is_what_its_own_snapshot_sees},
    {"a writer that stops within its row is not lost",
     a_writer_that_stops_within_its_row_is_not_lost},
    {"the number is drawn under the lock of the key",
     the_number_is_drawn_under_the_lock_of_the_key},
    {"the last number is read under its lock", the_last_number_is_read_under_its_lock},
    {"only what is durable is handed out", only_what_is_durable_is_handed_out},
    {"a settle on a server without the snapshot writes nothing",
     a_settle_on_a_server_without_the_snapshot_writes_nothing},
    {"what was opened ahead is read again by the next owner",
     what_was_opened_ahead_is_read_again_by_the_next_owner},
    {"a server without the snapshot is not read", a_server_without_the_snapshot_is_not_read},
    {NULL, NULL},
};
