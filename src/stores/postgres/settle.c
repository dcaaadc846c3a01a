/*
 * Writing outcomes: one transaction, guarded.
 *
 * Nothing is copied through this program: parked and dead rows take their copy of the message from the log by
 * INSERT ... SELECT. With most settles only the checkpoint's row changes, and that is one message. Others take two: the first
 * moves the checkpoint and so proves the guard, the second writes what became of the exceptions and commits.
 *
 * The checkpoint names the interval that the settled ordinal lies in: the points at its two ends, and the number up to
 * which it is done. The relay may be intervals ahead; of those nothing need be written, since another owner opens
 * his own. See interval.c.
 *
 * The row leaves a dead version behind with each settle, which no vacuum can take away while anybody holds an old snapshot. So
 * it is found by its place and not by its key, which would have to walk over all of them.
 *
 * The order inside: rows are parked and buried first and rows that are done go; only then the lanes that lost their head
 * get a new one, so that the outcomes of one run may come in any order.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "checks.h"
#include "crash.h"
#include "postgres_store.h"
#include "text.h"
#include "tries.h"

struct settling {
	struct postgres_store *store;
	const struct ob_settle *settle;
	const PGresult *kept; /* position and tries of the parked rows that are changed */
	int64_t now_us;
	struct ob_buf tries;
};

/* The position of an outcome; 0 when it was done by a settle before. */
static int64_t
position_of(const struct settling *s, const struct ob_outcome *outcome)
{
	if (!ob_outcome_is_of_log(outcome))
		return outcome->position;
	return ob_reading_position(&s->store->reading, outcome->ordinal);
}

static bool
is_done(const struct settling *s, const struct ob_outcome *outcome)
{
	return outcome->kind == OB_OUTCOME_BACK || position_of(s, outcome) == 0;
}

/* ---- lists of outcomes in SQL ---- */

static const char *
tries_kept(const struct settling *s, int64_t position)
{
	for (int i = 0; i < PQntuples(s->kept); i++)
		if (ob_postgres_number(s->kept, i, 0, 0) == position)
			return ob_postgres_text(s->kept, i, 1);
	return NULL;
}

/* position, place, lane, due_in_ms, attempts, age_ms, code, text, tries */
#define OUTCOME_COLUMNS \
	"position, place, lane, kind, due_in_ms, attempts, age_ms, code, text, tries"

static void
outcome_append(struct settling *s, const struct ob_outcome *outcome, uint32_t place, bool first)
{
	struct postgres_store *store = s->store;
	int64_t position = position_of(s, outcome);
	const struct ob_try *last =
	    outcome->try_count == 0 ? NULL : &outcome->tries[outcome->try_count - 1];
	const char *kept = ob_outcome_is_of_log(outcome) ? NULL : tries_kept(s, position);

	if (!ob_tries_append(&s->tries, kept, outcome->tries, outcome->try_count, s->now_us))
		store->sql.failed = true;
	ob_postgres_sql(store, "%s(%lld::bigint, %u, %lld::bigint, %d, %lld::bigint, %u, ",
			first ? "" : ",", (long long)position, place, (long long)outcome->lane,
			(int)outcome->kind, (long long)outcome->due_in_ms, outcome->attempts);
	if (outcome->age_ms > 0 || outcome->attempts > 0)
		ob_postgres_sql(store, "%lld::bigint, ", (long long)outcome->age_ms);
	else
		ob_postgres_sql(store, "NULL::bigint, ");
	ob_postgres_literal(store, last == NULL ? "" : last->code);
	ob_postgres_sql(store, ", ");
	ob_postgres_literal(store, last == NULL ? "" : last->text);
	ob_postgres_sql(store, ", ");
	ob_postgres_literal(store, ob_buf_text(&s->tries));
	ob_postgres_sql(store, ")");
}

static unsigned
kind_bit(enum ob_outcome_kind kind)
{
	return 1u << kind;
}

#define KINDS_PARK    (1u << OB_OUTCOME_PARK | 1u << OB_OUTCOME_BEHIND | 1u << OB_OUTCOME_SCHEDULE)
#define KINDS_DEAD    (1u << OB_OUTCOME_DEAD | 1u << OB_OUTCOME_DEAD_HOLD)
#define KINDS_BURY    (1u << OB_OUTCOME_BURY | 1u << OB_OUTCOME_BURY_HOLD)
#define KINDS_GONE    (1u << OB_OUTCOME_UNPARK | KINDS_BURY)
#define KINDS_KEPT    (1u << OB_OUTCOME_REPARK | KINDS_BURY)
#define ANY_PARTITION POSTGRES_PARTITIONS

static bool
is_meant(const struct settling *s, const struct ob_outcome *outcome, unsigned kinds,
	 unsigned partition)
{
	int64_t stretch;

	if ((kind_bit(outcome->kind) & kinds) == 0 || is_done(s, outcome))
		return false;
	stretch = position_of(s, outcome) / POSTGRES_STRETCH;
	return partition == ANY_PARTITION || stretch % POSTGRES_PARTITIONS == partition;
}

/*
 * Appends a table v of the outcomes of these kinds, or nothing and returns false when there are none. One position may come
 * twice, when a replay was asked for again while its rows were out: the first counts.
 */
static bool
outcomes_append(struct settling *s, unsigned kinds, unsigned partition, const char *before)
{
	bool any = false;

	for (uint32_t i = 0; i < s->settle->outcome_count; i++) {
		const struct ob_outcome *outcome = &s->settle->outcomes[i];

		if (!is_meant(s, outcome, kinds, partition))
			continue;
		if (!any)
			ob_postgres_sql(
			    s->store, "%s (SELECT DISTINCT ON (position) * FROM (VALUES ", before);
		outcome_append(s, outcome, i, !any);
		any = true;
	}
	if (any)
		ob_postgres_sql(s->store,
				") AS v (" OUTCOME_COLUMNS ") ORDER BY position, place) AS v");
	return any;
}

/* The positions of these kinds as an array's text. */
static void
positions_append(struct settling *s, unsigned kinds)
{
	bool first = true;

	ob_postgres_sql(s->store, "'{");
	for (uint32_t i = 0; i < s->settle->outcome_count; i++) {
		if (!is_meant(s, &s->settle->outcomes[i], kinds, ANY_PARTITION))
			continue;
		ob_postgres_sql(s->store, "%s%lld", first ? "" : ",",
				(long long)position_of(s, &s->settle->outcomes[i]));
		first = false;
	}
	ob_postgres_sql(s->store, "}'::bigint[]");
}

static unsigned
kinds_present(const struct settling *s)
{
	unsigned kinds = 0;

	for (uint32_t i = 0; i < s->settle->outcome_count; i++)
		if (!is_done(s, &s->settle->outcomes[i]))
			kinds |= kind_bit(s->settle->outcomes[i].kind);
	return kinds;
}

/* ---- what becomes of the exceptions ---- */

#define COPIED \
	"id, topic, partition_key, type, payload, payload_bytes, content_type, headers, created_at"
#define COPIED_FROM_M                                                                         \
	"m.id, m.topic, m.partition_key, m.type, m.payload, m.payload_bytes, m.content_type," \
	" m.headers, m.created_at"
#define FIRST_TRY "clock_timestamp() - v.age_ms * interval '1 ms'"

/* A row that is there already (a replay came by) keeps its place; only one that holds no key is tried again. */
static void
parks_append(struct settling *s, unsigned partition)
{
	struct postgres_store *store = s->store;
	char before[1024];

	snprintf(
	    before, sizeof(before),
	    "INSERT INTO %s.parked AS p (subscription, position, shard, lane, scheduled, head, due_at,"
	    " attempts, first_try_at, parked_at, code, text, tries, " COPIED ")"
	    " SELECT '%s', m.seq, %u, CASE v.kind WHEN %d THEN 0 ELSE v.lane END, v.kind = %d,"
	    " v.kind <> %d, CASE WHEN v.kind <> %d THEN clock_timestamp() + v.due_in_ms * interval"
	    " '1 ms' END, v.attempts, " FIRST_TRY ", clock_timestamp(), v.code, v.text, v.tries,"
	    " " COPIED_FROM_M " FROM",
	    store->schema, store->subscription, store->shard, OB_OUTCOME_SCHEDULE,
	    OB_OUTCOME_SCHEDULE, OB_OUTCOME_BEHIND, OB_OUTCOME_BEHIND);
	if (!outcomes_append(s, KINDS_PARK, partition, before))
		return;
	ob_postgres_sql(
	    store,
	    " JOIN %s.message_%u AS m ON m.seq = v.position"
	    " ON CONFLICT (subscription, position) DO UPDATE SET due_at = excluded.due_at,"
	    " attempts = excluded.attempts, first_try_at = excluded.first_try_at,"
	    " code = excluded.code, text = excluded.text, tries = excluded.tries"
	    " WHERE p.head AND excluded.head;",
	    store->schema, partition);
}

#define DEAD_COLUMNS                                                                       \
	"subscription, position, shard, lane, holds_key, attempts, first_try_at, dead_at," \
	" code, text, tries, " COPIED
#define DEAD_AGAIN                                                                            \
	" ON CONFLICT (subscription, position) DO UPDATE SET holds_key = excluded.holds_key," \
	" attempts = excluded.attempts, first_try_at = excluded.first_try_at,"                \
	" dead_at = excluded.dead_at, code = excluded.code, text = excluded.text,"            \
	" tries = excluded.tries;"

static void
deaths_append(struct settling *s, unsigned partition)
{
	struct postgres_store *store = s->store;
	char before[1024];

	snprintf(before, sizeof(before),
		 "INSERT INTO %s.dead (" DEAD_COLUMNS
		 ") SELECT '%s', m.seq, %u, v.lane, v.kind = %d,"
		 " v.attempts, " FIRST_TRY
		 ", clock_timestamp(), v.code, v.text, v.tries, " COPIED_FROM_M " FROM",
		 store->schema, store->subscription, store->shard, OB_OUTCOME_DEAD_HOLD);
	if (outcomes_append(s, KINDS_DEAD, partition, before))
		ob_postgres_sql(store, " JOIN %s.message_%u AS m ON m.seq = v.position" DEAD_AGAIN,
				store->schema, partition);
}

static void
burials_append(struct settling *s)
{
	struct postgres_store *store = s->store;
	char before[1024];

	snprintf(before, sizeof(before),
		 "INSERT INTO %s.dead (" DEAD_COLUMNS
		 ") SELECT m.subscription, m.position, m.shard, m.lane,"
		 " v.kind = %d, v.attempts, " FIRST_TRY
		 ", clock_timestamp(), v.code, v.text, v.tries,"
		 " " COPIED_FROM_M " FROM",
		 store->schema, OB_OUTCOME_BURY_HOLD);
	if (outcomes_append(s, KINDS_BURY, ANY_PARTITION, before))
		ob_postgres_sql(
		    store,
		    " JOIN %s.parked AS m ON m.subscription = '%s' AND m.position = v.position" DEAD_AGAIN,
		    store->schema, store->subscription);
}

static void
reparks_append(struct settling *s)
{
	struct postgres_store *store = s->store;
	char before[512];

	snprintf(
	    before, sizeof(before),
	    "UPDATE %s.parked AS p SET due_at = clock_timestamp() + v.due_in_ms * interval '1 ms',"
	    " attempts = v.attempts, first_try_at = " FIRST_TRY
	    ", code = v.code, text = v.text, tries = v.tries FROM",
	    store->schema);
	if (outcomes_append(s, kind_bit(OB_OUTCOME_REPARK), ANY_PARTITION, before))
		ob_postgres_sql(store, " WHERE p.subscription = '%s' AND p.position = v.position;",
				store->subscription);
}

void
ob_postgres_promote(struct postgres_store *store, const char *subscription, const char *lanes)
{
	const char *schema = store->schema, *name = subscription;

	/*
	 * The next row of the lane, or the first if there is none behind, becomes its head; a lane that already has
	 * one, or waits for a person, stays as it is.
	 */
	ob_postgres_sql(
	    store,
	    "UPDATE %s.parked AS p SET head = true, due_at = coalesce(p.due_at, clock_timestamp())"
	    " FROM (SELECT lane, min(gone) AS gone FROM (VALUES %s) AS g (lane, gone) GROUP BY lane) AS l"
	    " WHERE p.subscription = '%s' AND p.position = coalesce("
	    "(SELECT min(n.position) FROM %s.parked AS n WHERE n.subscription = '%s' AND NOT n.scheduled"
	    " AND n.lane = l.lane AND n.position > l.gone),"
	    " (SELECT min(n.position) FROM %s.parked AS n WHERE n.subscription = '%s' AND NOT n.scheduled"
	    " AND n.lane = l.lane))",
	    schema, lanes, name, schema, name, schema, name);
	ob_postgres_sql(store,
			" AND NOT EXISTS (SELECT FROM %s.parked AS h WHERE h.subscription = '%s'"
			" AND h.lane = l.lane AND h.head AND NOT h.scheduled)"
			" AND NOT EXISTS (SELECT FROM %s.dead AS d WHERE d.subscription = '%s'"
			" AND d.lane = l.lane AND d.holds_key);",
			schema, name, schema, name);
}

/* The lanes that lost a row. */
static void
promotions_append(struct settling *s)
{
	struct ob_buf lanes;

	ob_buf_init(&lanes, POSTGRES_SQL_MAX);
	for (uint32_t i = 0; i < s->settle->outcome_count; i++) {
		const struct ob_outcome *outcome = &s->settle->outcomes[i];

		if ((outcome->kind == OB_OUTCOME_UNPARK || outcome->kind == OB_OUTCOME_BURY) &&
		    outcome->lane != 0)
			ob_buf_appendf(&lanes, "%s(%lld::bigint, %lld::bigint)",
				       lanes.size > 0 ? ", " : "", (long long)outcome->lane,
				       (long long)outcome->position);
	}
	if (lanes.failed)
		s->store->sql.failed = true;
	else if (lanes.size > 0)
		ob_postgres_promote(s->store, s->store->subscription, ob_buf_text(&lanes));
	ob_buf_free(&lanes);
}

static void
exceptions_append(struct settling *s, unsigned kinds)
{
	struct postgres_store *store = s->store;

	for (unsigned partition = 0; partition < POSTGRES_PARTITIONS; partition++) {
		if ((kinds & KINDS_PARK) != 0)
			parks_append(s, partition);
		if ((kinds & KINDS_DEAD) != 0)
			deaths_append(s, partition);
	}
	if ((kinds & kind_bit(OB_OUTCOME_REPARK)) != 0)
		reparks_append(s);
	if ((kinds & KINDS_BURY) != 0)
		burials_append(s);
	if ((kinds & KINDS_GONE) != 0) {
		ob_postgres_sql(store,
				"DELETE FROM %s.parked WHERE subscription = '%s'"
				" AND position = ANY (",
				store->schema, store->subscription);
		positions_append(s, KINDS_GONE);
		ob_postgres_sql(store, ");");
		promotions_append(s);
	}
}

/* ---- the checkpoint ---- */

static void
point_append(struct postgres_store *store, const struct postgres_point *point, const char *name)
{
	if (point == NULL)
		ob_postgres_sql(store, ", s%s = NULL, q%s = NULL", name, name);
	else
		ob_postgres_sql(store, ", s%s = '%s', q%s = %lld", name, point->snapshot.text, name,
				(long long)point->q);
}

/* Moves the checkpoint to `mark`, if the guard holds; gives the row's new place, and the time. */
static void
checkpoint_append(struct postgres_store *store, struct ob_mark mark)
{
	const struct postgres_point *from = ob_postgres_points_get(&store->points, mark.stretch);
	const struct postgres_point *to =
	    mark.log == 0 ? NULL : ob_postgres_points_get(&store->points, mark.stretch + 1);

	OB_CHECK(from != NULL);
	ob_postgres_sql(store, "UPDATE %s.checkpoint AS c SET beat = c.beat + 1", store->schema);
	point_append(store, from, "1");
	point_append(store, to, "2");
	ob_postgres_sql(store, ", at = %lld", (long long)(to == NULL ? 0 : mark.log));
	if (mark.replay != OB_NO_REPLAY)
		ob_postgres_sql(store, ", replay_at = %lld", (long long)mark.replay);
	else if (store->reading.settled.replay != OB_NO_REPLAY)
		ob_postgres_sql(store, ", replay_s1 = NULL, replay_s2 = NULL, replay_at = NULL,"
				       " replay_end = NULL, replay_high = NULL");
	ob_postgres_sql(store, " WHERE ");
	ob_postgres_guard(store);
	ob_postgres_sql(
	    store, " RETURNING c.ctid, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;");
}

/* ---- the call ---- */

/* A settle that would write nothing only passes the guard. */
static int
settle_nothing(struct postgres_store *store, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	bool guarded;
	int code;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "SELECT FROM %s.checkpoint AS c WHERE ", store->schema);
	ob_postgres_guard(store);
	ob_postgres_sql(store, ";");
	code = ob_postgres_commit(store, "settle", &answers, error);
	if (code != OB_OK)
		return code;
	guarded = PQntuples(answers.items[0]) > 0;
	ob_postgres_answers_free(&answers);
	return guarded ? OB_OK : ob_postgres_unguarded(store, error);
}

/* The second message: the exceptions and the commit. */
static int
exceptions_write(struct settling *s, unsigned kinds, struct ob_error *error)
{
	if ((kinds & KINDS_PARK) != 0)
		OB_CRASH_POINT("C9");
	if ((kinds & (KINDS_DEAD | KINDS_BURY)) != 0)
		OB_CRASH_POINT("C10");
	ob_buf_reset(&s->store->sql);
	/* Rows are found by their numbers, however few the planner thinks that there are. */
	ob_postgres_sql(s->store,
			"SET LOCAL enable_hashjoin = off;SET LOCAL enable_mergejoin = off;"
			"SET LOCAL enable_seqscan = off;SET LOCAL jit = off;");
	exceptions_append(s, kinds);
	return ob_postgres_commit(s->store, "settle", NULL, error);
}

static int
settle_write(struct settling *s, struct ob_mark mark, unsigned kinds, char ctid[POSTGRES_CTID_SIZE],
	     struct ob_error *error)
{
	struct postgres_store *store = s->store;
	struct postgres_answers answers = {0};
	int code;

	ob_postgres_begin_write(store);
	checkpoint_append(store, mark);
	if (kinds == 0) {
		code = ob_postgres_commit(store, "settle", &answers, error);
	} else {
		ob_postgres_sql(store,
				"SELECT position, tries FROM %s.parked WHERE subscription = '%s'"
				" AND position = ANY (",
				store->schema, store->subscription);
		positions_append(s, KINDS_KEPT);
		ob_postgres_sql(store, ")");
		code = ob_postgres_run(store, "settle", &answers, error);
	}
	if (code != OB_OK)
		return code;
	if (PQntuples(answers.items[0]) == 0) {
		ob_postgres_answers_free(&answers);
		code = ob_postgres_rollback(store, OB_OK);
		return code == OB_OK ? ob_postgres_unguarded(store, error) : code;
	}
	ob_text_copy(ctid, POSTGRES_CTID_SIZE, ob_postgres_text(answers.items[0], 0, 0));
	s->now_us = ob_postgres_number(answers.items[0], 0, 1, 0);
	if (kinds != 0) {
		s->kept = answers.items[1];
		code = exceptions_write(s, kinds, error);
	}
	ob_postgres_answers_free(&answers);
	return code;
}

/* What a settle that was done changes in memory. */
static void
settle_done(struct settling *s, unsigned kinds, const char *ctid)
{
	struct postgres_store *store = s->store;

	store->lease.beat++;
	ob_text_copy(store->lease.checkpoint_at, sizeof(store->lease.checkpoint_at), ctid);
	store->may_be_parked = store->may_be_parked || (kinds & KINDS_PARK) != 0;
	ob_reading_settled(&store->reading, s->settle->through);
	ob_postgres_points_drop(&store->points, store->reading.settled.stretch);
}

static void
handed_back(struct settling *s)
{
	for (uint32_t i = 0; i < s->settle->outcome_count; i++)
		if (!ob_outcome_is_of_log(&s->settle->outcomes[i]))
			ob_map_remove(&s->store->handed, (uint64_t)s->settle->outcomes[i].position);
}

int
ob_postgres_settle(struct ob_store *base, const struct ob_settle *settle, struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	struct settling s = {.store = store, .settle = settle};
	char ctid[POSTGRES_CTID_SIZE];
	struct ob_mark mark;
	unsigned kinds;
	int code = ob_postgres_lease_look(store, error);

	if (code == OB_OK)
		code = ob_settle_check(base->ops, settle, &store->reading, error);
	if (code != OB_OK)
		return code;
	mark = ob_reading_mark(&store->reading, settle->through);
	kinds = kinds_present(&s);
	if (kinds == 0 && ob_mark_equal(mark, store->reading.settled)) {
		code = settle_nothing(store, error);
	} else {
		ob_buf_init(&s.tries, OB_TRIES_TEXT_MAX);
		code = settle_write(&s, mark, kinds, ctid, error);
		ob_buf_free(&s.tries);
		if (code == OB_OK) {
			OB_CRASH_POINT("C7");
			settle_done(&s, kinds, ctid);
		}
	}
	if (code == OB_OK)
		handed_back(&s);
	return code;
}
