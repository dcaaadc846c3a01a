/*
 * What `status` shows. Nothing here scans the log: what is waiting is counted up to a limit, along the indexes; behind that
 * its numbers give an upper bound.
 */
#include <stdlib.h>
#include <string.h>

#include "pattern.h"
#include "postgres_store.h"
#include "shard_stats.h"

/* How far the messages that are waiting are counted; and how far the first of interest is looked for. */
#define COUNT_ROWS 10000
#define LOOK_ROWS  1000
/* What outbox_monitor may see. */
#define WAITING "m.seq, m.topic, m.created_at"

struct stats_read {
	struct postgres_store *store;
	const PGresult *list; /* a row for each shard, those of a subscription together */
	int row;
	int64_t value; /* the sequence's last */
	struct ob_subscription_stats stats;
	struct ob_shard_stats shards[OB_SHARDS_MAX];
	uint32_t count;
	int64_t waiting; /* counted in all shards */
	int64_t least;   /* the number up to which the one furthest behind has settled */
	bool cut;        /* a count was cut short */
	bool foreign;    /* what its checkpoints say is of another database */
};

enum {
	STAT_NAME,
	STAT_TOPICS,
	STAT_SINK,
	STAT_PAUSED,
	STAT_EPOCH,
	STAT_OWNER,
	STAT_LEFT_MS,
	STAT_STATE,
	STAT_CODE,
	STAT_TEXT,
	STAT_SINCE_MS,
	STAT_S1,
	STAT_Q1,
	STAT_S2,
	STAT_AT,
	STAT_REPLAY_S1,
	STAT_REPLAY_S2,
	STAT_REPLAY_AT,
	STAT_REPLAY_END,
	STAT_REPLAY_HIGH,
	STAT_DEAD,
	STAT_PARKED,
	STAT_SCHEDULED,
	STAT_KEYS,
	STAT_SHARD,
	STAT_SHARDS,
	STAT_SHARDS_NEXT,
	STAT_ENDED,
	STAT_MEMBERS,
	STAT_IS_HERE,
};

static int
list_ask(struct postgres_store *store, const char *subscription, struct postgres_answers *answers,
	 struct ob_error *error)
{
	const char *schema = store->schema;

	ob_postgres_begin_read(store);
	ob_postgres_sql(
	    store,
	    "SELECT s.name, s.topics, s.sink, s.paused, c.epoch, l.owner, CASE WHEN l.holder <> '' THEN"
	    " (extract(epoch FROM l.expires_at - clock_timestamp()) * 1000)::bigint ELSE 0 END,"
	    " l.state, l.code, l.text,"
	    " (extract(epoch FROM clock_timestamp() - l.state_since) * 1000)::bigint,"
	    " c.s1::text, c.q1, c.s2::text, c.at, c.replay_s1::text, c.replay_s2::text, c.replay_at,"
	    " c.replay_end, c.replay_high, p.dead, p.parked, p.scheduled, p.keys, c.shard, s.shards,"
	    " s.shards_next, c.s1::text = s.common::text AND c.s2 IS NULL AND c.replay_s1 IS NULL, p.members,"
	    " c.system_identifier = i.system_identifier AND c.database_oid ="
	    " (SELECT oid FROM pg_database WHERE datname = current_database())");
	ob_postgres_sql(
	    store,
	    " FROM %s.subscription AS s JOIN %s.checkpoint AS c ON c.subscription = s.name"
	    " JOIN %s.lease AS l ON l.subscription = s.name AND l.shard = c.shard"
	    " CROSS JOIN pg_control_system() AS i LEFT JOIN LATERAL"
	    " (SELECT count(*) FILTER (WHERE NOT scheduled) AS parked,"
	    " count(*) FILTER (WHERE scheduled) AS scheduled,"
	    " count(DISTINCT lane) FILTER (WHERE NOT scheduled AND lane <> 0) AS keys,"
	    " (SELECT count(*) FROM %s.dead WHERE subscription = s.name) AS dead, (SELECT count(*) FROM"
	    " %s.member WHERE subscription = s.name AND expires_at > clock_timestamp()) AS members"
	    " FROM %s.parked WHERE subscription = s.name) AS p ON c.shard = 0",
	    schema, schema, schema, schema, schema, schema);
	if (subscription != NULL) {
		ob_postgres_sql(store, " WHERE s.name = ");
		ob_postgres_literal(store, subscription);
	}
	ob_postgres_sql(store,
			" ORDER BY s.name, c.shard;"
			"SELECT coalesce(pg_sequence_last_value('%s.message_seq_seq'), 0);",
			schema);
	return ob_postgres_commit(store, "stats", answers, error);
}

static const char *
text_of(const struct stats_read *read, int column)
{
	return ob_postgres_text(read->list, read->row, column);
}

static int64_t
number_of(const struct stats_read *read, int column)
{
	return ob_postgres_number(read->list, read->row, column, 0);
}

/* What the subscription's first row says of all of it. */
static void
first_read(struct stats_read *read)
{
	read->count = 0;
	read->waiting = 0;
	read->least = INT64_MAX;
	read->cut = false;
	read->foreign = false;
	read->stats = (struct ob_subscription_stats){
	    .name = text_of(read, STAT_NAME),
	    .topics = text_of(read, STAT_TOPICS),
	    .sink = text_of(read, STAT_SINK),
	    .paused = ob_postgres_bool(read->list, read->row, STAT_PAUSED),
	    .dead_rows = (uint64_t)number_of(read, STAT_DEAD),
	    .parked_rows = (uint64_t)number_of(read, STAT_PARKED),
	    .scheduled_rows = (uint64_t)number_of(read, STAT_SCHEDULED),
	    .parked_keys = (uint64_t)number_of(read, STAT_KEYS),
	    .shards_next = (uint32_t)number_of(read, STAT_SHARDS_NEXT),
	    .members = (uint32_t)number_of(read, STAT_MEMBERS),
	};
}

static void
shard_read(struct stats_read *read)
{
	int64_t left_ms = number_of(read, STAT_LEFT_MS), since_ms = number_of(read, STAT_SINCE_MS);
	struct ob_shard_stats *shard = &read->shards[read->count++];
	bool is_here = ob_postgres_bool(read->list, read->row, STAT_IS_HERE);
	bool held = left_ms > 0 && is_here; /* the lease was copied, too */

	read->foreign = read->foreign || !is_here;
	*shard = (struct ob_shard_stats){
	    .held = held,
	    .owner = held ? text_of(read, STAT_OWNER) : "",
	    .lease_left_ms = held ? left_ms : 0,
	    .epoch = (uint64_t)number_of(read, STAT_EPOCH),
	    .state = held ? text_of(read, STAT_STATE) : "",
	    .code = held ? text_of(read, STAT_CODE) : "",
	    .text = held ? text_of(read, STAT_TEXT) : "",
	    .ended = ob_postgres_bool(read->list, read->row, STAT_ENDED),
	};
	if (*shard->state != '\0' && since_ms > 0)
		shard->state_since_ms = since_ms;
}

static void
own_append(struct stats_read *read)
{
	ob_postgres_shard_append(read->store, (uint32_t)number_of(read, STAT_SHARDS),
				 (uint32_t)number_of(read, STAT_SHARD));
}

/*
 * Appends, as a table m, the rows of the shard that are not settled: those behind q1, or behind `at` within an interval, and those of the
 * transactions that were in progress at s1. A few of later intervals with numbers below `at` are left out.
 */
static int
waiting_append(struct stats_read *read, int rows, struct ob_error *error)
{
	struct postgres_store *store = read->store;
	bool within = *text_of(read, STAT_S2) != '\0';
	int64_t at = within ? number_of(read, STAT_AT) : 0, q1 = number_of(read, STAT_Q1);
	struct postgres_snapshot s1;

	if (!ob_postgres_snapshot_parse(&s1, text_of(read, STAT_S1)))
		return ob_postgres_no_memory(store, error);
	ob_postgres_sql(store,
			"((SELECT " WAITING " FROM %s.message AS m WHERE m.seq > %lld"
			" AND NOT pg_visible_in_snapshot(m.xid, '%s')",
			store->schema, (long long)(at > q1 ? at : q1), s1.text);
	own_append(read);
	ob_postgres_sql(store, " ORDER BY m.seq LIMIT %d)", rows);
	if (s1.xip_count > 0) {
		ob_postgres_sql(
		    store,
		    " UNION ALL (SELECT m.* FROM pg_snapshot_xip('%s') AS late (xid), LATERAL"
		    " (SELECT " WAITING
		    " FROM %s.message AS m WHERE (m.xid, m.seq) > (late.xid, %lld)"
		    " AND (m.xid, m.seq) <= (late.xid, %lld)",
		    s1.text, store->schema, (long long)at, (long long)(at > q1 ? at : q1));
		own_append(read);
		ob_postgres_sql(store, " ORDER BY m.xid, m.seq LIMIT %d) AS m)", rows);
	}
	ob_postgres_sql(store, ") AS m");
	ob_postgres_snapshot_free(&s1);
	return OB_OK;
}

static void
replay_append(struct stats_read *read)
{
	struct postgres_store *store = read->store;
	const char *s2 = text_of(read, STAT_REPLAY_S2);

	ob_postgres_sql(
	    store,
	    "SELECT count(*) FROM (SELECT FROM %s.message AS m WHERE m.seq > %lld AND m.seq <= %lld"
	    " AND (pg_visible_in_snapshot(m.xid, '%s')",
	    store->schema, (long long)number_of(read, STAT_REPLAY_AT),
	    (long long)number_of(read, STAT_REPLAY_HIGH), text_of(read, STAT_REPLAY_S1));
	if (*s2 != '\0')
		ob_postgres_sql(store,
				" OR (m.seq <= %lld AND pg_visible_in_snapshot(m.xid, '%s'))",
				(long long)number_of(read, STAT_REPLAY_END), s2);
	ob_postgres_sql(store, ")");
	own_append(read);
	ob_postgres_sql(store, " LIMIT %d) AS m;", COUNT_ROWS);
}

/* The first of interest, and its age. */
static void
first_find(struct stats_read *read, const PGresult *rows)
{
	struct ob_subscription_stats *stats = &read->stats;

	for (int i = 0; i < PQntuples(rows); i++) {
		struct ob_bytes topic = {.data = PQgetvalue(rows, i, 0),
					 .size = (size_t)PQgetlength(rows, i, 0)};
		int64_t age_ms = ob_postgres_number(rows, i, 1, 0);

		if (!ob_pattern_match(stats->topics, topic))
			continue;
		stats->pending = true;
		if (age_ms > stats->oldest_age_ms)
			stats->oldest_age_ms = age_ms;
		return;
	}
	if (PQntuples(rows) == LOOK_ROWS)
		stats->pending = true;
}

/* A count that was cut short gives way to a bound. */
static uint64_t
at_most(int64_t count, bool cut, int64_t bound)
{
	return (uint64_t)(cut && bound > count ? bound : count);
}

static int
shard_waiting(struct stats_read *read, struct ob_error *error)
{
	struct postgres_store *store = read->store;
	struct ob_subscription_stats *stats = &read->stats;
	bool replaying = *text_of(read, STAT_REPLAY_S1) != '\0';
	int64_t at = number_of(read, STAT_AT), q1 = number_of(read, STAT_Q1), count;
	/* The shards share a log: each walks past the rows of all others. */
	int rows = (int)(COUNT_ROWS / number_of(read, STAT_SHARDS)) + 1;
	struct postgres_answers answers = {0};
	int code;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "SELECT count(*) FROM ");
	code = waiting_append(read, rows, error);
	ob_postgres_sql(store,
			";SELECT m.topic, (extract(epoch FROM clock_timestamp() - m.created_at)"
			" * 1000)::bigint FROM ");
	if (code == OB_OK)
		code = waiting_append(read, LOOK_ROWS, error);
	ob_postgres_sql(store, " ORDER BY m.seq LIMIT %d;", LOOK_ROWS);
	if (replaying)
		replay_append(read);
	if (code == OB_OK)
		code = ob_postgres_commit(store, "stats", &answers, error);
	if (code != OB_OK)
		return code;
	count = ob_postgres_number(answers.items[0], 0, 0, 0);
	read->waiting += count;
	read->cut = read->cut || count >= rows;
	read->least = (at > q1 ? at : q1) < read->least ? (at > q1 ? at : q1) : read->least;
	first_find(read, answers.items[1]);
	if (replaying) {
		stats->replaying = stats->pending = true;
		count = ob_postgres_number(answers.items[2], 0, 0, 0);
		stats->pending_max +=
		    at_most(count, count >= COUNT_ROWS,
			    number_of(read, STAT_REPLAY_HIGH) - number_of(read, STAT_REPLAY_AT));
	}
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

static void
stats_end(struct stats_read *read)
{
	struct ob_subscription_stats *stats = &read->stats;

	stats->pending_max += at_most(read->waiting, read->cut, read->value - read->least);
	ob_shard_stats_show(stats, read->shards, read->count);
	stats->blocked_by = "";
	if (read->foreign) {
		stats->state = "store_failed";
		stats->code = ob_code_name(OB_FOREIGN);
		stats->text = "the outbox was copied into this database from another one";
	}
	if (stats->paused && stats->pending_max > 0)
		stats->blocked_by = "paused by a person: outbox resume";
	else if (!stats->held && stats->pending_max > 0)
		stats->blocked_by = read->count > 1 ? "no relay runs one of its shards"
						    : "no relay runs this subscription";
}

/* The subscription whose rows begin here; goes on behind them. */
static int
subscription_read(struct stats_read *read, struct ob_error *error)
{
	int code = OB_OK;

	first_read(read);
	while (code == OB_OK && read->row < PQntuples(read->list) && read->count < OB_SHARDS_MAX &&
	       strcmp(text_of(read, STAT_NAME), read->stats.name) == 0) {
		shard_read(read);
		code = shard_waiting(read, error);
		read->row++;
	}
	return code;
}

int
ob_postgres_stats(struct ob_store *base, const char *subscription,
		  void (*each)(void *context, const struct ob_subscription_stats *stats),
		  void *context, struct ob_error *error)
{
	struct stats_read read = {.store = postgres_store_of(base)};
	struct postgres_answers answers = {0};
	int code = ob_postgres_schema_check(read.store, error);

	if (code == OB_OK)
		code = list_ask(read.store, subscription, &answers, error);
	if (code != OB_OK)
		return code;
	read.list = answers.items[0];
	read.value = ob_postgres_number(answers.items[1], 0, 0, 0);
	if (subscription != NULL && PQntuples(read.list) == 0)
		code = ob_error_set(error, OB_NOT_FOUND, "%s: there is no subscription '%s'",
				    read.store->name, subscription);
	while (code == OB_OK && read.row < PQntuples(read.list)) {
		code = subscription_read(&read, error);
		if (code != OB_OK)
			break;
		stats_end(&read);
		each(context, &read.stats);
	}
	ob_postgres_answers_free(&answers);
	return code;
}
