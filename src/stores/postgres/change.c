/*
 * What a person changes. Each change raises the epoch in the transaction that makes it, so that no settle in flight writes
 * over it; the checkpoint's row is taken first, as by a settle.
 *
 * Many rows are changed some at a time. A retry or discard of a whole list can so end halfway; what is done is done,
 * and the same call again does the rest.
 */
#include <stdio.h>
#include <string.h>

#include "postgres_store.h"

#define CHUNK_ROWS 256

#define COPIED                                                                           \
	"id, topic, partition_key, type, payload, payload_bytes, content_type, headers," \
	" created_at"

struct changing {
	struct postgres_store *store;
	const struct ob_change *change;
	uint64_t count;
};

static const char *
subscription_of(const struct changing *c)
{
	return c->change->selection.subscription;
}

/* The name was found in the table, so it is one. */
static void
epoch_append(struct changing *c)
{
	ob_postgres_sql(c->store,
			"UPDATE %s.checkpoint SET epoch = epoch + 1 WHERE subscription = '%s';",
			c->store->schema, subscription_of(c));
}

/* Runs what was made so far and gives one number of its last answer. */
static int
number_ask(struct changing *c, int64_t if_none, int64_t *value, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code = ob_postgres_commit(c->store, "change", &answers, error);

	if (code != OB_OK)
		return code;
	*value = ob_postgres_number(answers.items[answers.count - 1], 0, 0, if_none);
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

/* ---- retry and discard ---- */

/* The rows of a table, m, that are meant, behind a position. */
struct action {
	const char *table, *where;
	/* Appends what is done to the positions and lanes that were chosen. */
	void (*apply)(struct changing *c, const PGresult *rows);
};

static void
positions_append(struct changing *c, const PGresult *rows)
{
	ob_postgres_sql(c->store, " subscription = '%s' AND position = ANY ('{",
			subscription_of(c));
	for (int i = 0; i < PQntuples(rows); i++)
		ob_postgres_sql(c->store, "%s%s", i > 0 ? "," : "", ob_postgres_text(rows, i, 0));
	ob_postgres_sql(c->store, "}'::bigint[])");
}

/* The lanes that lost rows; `gone` NULL: the lowest row of each becomes its head. */
static void
lanes_promote(struct changing *c, const PGresult *rows, const char *gone)
{
	struct ob_buf lanes;

	ob_buf_init(&lanes, POSTGRES_SQL_MAX);
	for (int i = 0; i < PQntuples(rows); i++)
		if (ob_postgres_number(rows, i, 1, 0) != 0)
			ob_buf_appendf(&lanes, "%s(%s::bigint, %s::bigint)",
				       lanes.size > 0 ? ", " : "", ob_postgres_text(rows, i, 1),
				       gone == NULL ? ob_postgres_text(rows, i, 0) : gone);
	if (lanes.failed)
		c->store->sql.failed = true;
	else if (lanes.size > 0)
		ob_postgres_promote(c->store, subscription_of(c), ob_buf_text(&lanes));
	ob_buf_free(&lanes);
}

static void
parked_retry(struct changing *c, const PGresult *rows)
{
	ob_postgres_sql(c->store, "UPDATE %s.parked SET due_at = clock_timestamp() WHERE",
			c->store->schema);
	positions_append(c, rows);
	ob_postgres_sql(c->store, ";");
}

/*
 * A dead row goes back with its tries shown but not counted, or age would bury it at once. In its key it
 * takes its old place: the lowest position becomes the head.
 */
static void
dead_retry(struct changing *c, const PGresult *rows)
{
	struct postgres_store *store = c->store;
	const char *name = subscription_of(c);

	ob_postgres_sql(store, "WITH risen AS (DELETE FROM %s.dead WHERE", store->schema);
	positions_append(c, rows);
	ob_postgres_sql(
	    store,
	    " RETURNING *) INSERT INTO %s.parked (subscription, position, shard, lane, scheduled, head, due_at,"
	    " attempts, first_try_at, parked_at, code, text, tries, " COPIED ")"
	    " SELECT subscription, position, shard, lane, false, lane = 0, clock_timestamp(), 0, NULL,"
	    " clock_timestamp(), code, text, tries, " COPIED " FROM risen ON CONFLICT DO NOTHING;",
	    store->schema);
	ob_postgres_sql(store,
			"UPDATE %s.parked SET head = false, due_at = NULL WHERE subscription = '%s'"
			" AND head AND NOT scheduled AND lane <> 0 AND lane = ANY ('{",
			store->schema, name);
	for (int i = 0; i < PQntuples(rows); i++)
		ob_postgres_sql(store, "%s%s", i > 0 ? "," : "", ob_postgres_text(rows, i, 1));
	ob_postgres_sql(store, "}'::bigint[]);");
	lanes_promote(c, rows, "9223372036854775807");
}

static void
parked_discard(struct changing *c, const PGresult *rows)
{
	ob_postgres_sql(c->store, "DELETE FROM %s.parked WHERE", c->store->schema);
	positions_append(c, rows);
	ob_postgres_sql(c->store, ";");
	lanes_promote(c, rows, NULL);
}

static void
dead_discard(struct changing *c, const PGresult *rows)
{
	ob_postgres_sql(c->store, "DELETE FROM %s.dead WHERE", c->store->schema);
	positions_append(c, rows);
	ob_postgres_sql(c->store, ";");
	lanes_promote(c, rows, NULL);
}

static const struct action retry_waiting = {"parked", "m.head AND NOT m.scheduled", parked_retry};
static const struct action retry_scheduled = {"parked", "m.scheduled", parked_retry};
static const struct action retry_dead = {"dead", "true", dead_retry};
static const struct action discard_waiting = {"parked", "NOT m.scheduled", parked_discard};
static const struct action discard_scheduled = {"parked", "m.scheduled", parked_discard};
static const struct action discard_dead = {"dead", "true", dead_discard};

/* How many more rows the selection allows. */
static int64_t
rows_left(const struct changing *c)
{
	uint32_t max = c->change->selection.count_max;

	return max == 0 ? INT64_MAX : (int64_t)max - (int64_t)c->count;
}

static void
from_append(struct changing *c, const struct action *action, int64_t after)
{
	ob_postgres_sql(c->store, " FROM %s.%s AS m WHERE m.position > %lld AND %s",
			c->store->schema, action->table, (long long)after, action->where);
	ob_postgres_selection_append(c->store, &c->change->selection, false);
}

/* One transaction's worth. `*after` moves on; `*done` when nothing is left. */
static int
chunk_apply(struct changing *c, const struct action *action, int64_t *after, bool *done,
	    struct ob_error *error)
{
	int64_t limit = rows_left(c) < CHUNK_ROWS ? rows_left(c) : CHUNK_ROWS;
	struct postgres_answers answers = {0};
	const PGresult *rows;
	int count, code;

	ob_postgres_begin_write(c->store);
	epoch_append(c);
	ob_postgres_sql(c->store, "SELECT m.position, m.lane");
	from_append(c, action, *after);
	ob_postgres_sql(c->store, " ORDER BY m.position LIMIT %lld", (long long)limit);
	code = ob_postgres_run(c->store, "change", &answers, error);
	if (code != OB_OK)
		return code;
	rows = answers.items[0];
	count = PQntuples(rows);
	*done = count < CHUNK_ROWS;
	if (count > 0) {
		*after = ob_postgres_number(rows, count - 1, 0, 0);
		ob_buf_reset(&c->store->sql);
		action->apply(c, rows);
		code = ob_postgres_commit(c->store, "change", NULL, error);
	} else {
		code = ob_postgres_rollback(c->store, OB_OK);
	}
	ob_postgres_answers_free(&answers);
	if (code == OB_OK)
		c->count += (uint64_t)count;
	return code;
}

static int
action_count(struct changing *c, const struct action *action, struct ob_error *error)
{
	int64_t count = 0;
	int code;

	ob_postgres_begin_read(c->store);
	ob_postgres_sql(c->store, "SELECT count(*)");
	from_append(c, action, c->change->selection.position_after);
	ob_postgres_sql(c->store, ";");
	code = number_ask(c, 0, &count, error);
	if (count > rows_left(c))
		count = rows_left(c);
	c->count += (uint64_t)count;
	return code;
}

static int
action_run(struct changing *c, const struct action *action, struct ob_error *error)
{
	int64_t after = c->change->selection.position_after;
	bool done = false;
	int code = OB_OK;

	if (c->change->dry_run)
		return action_count(c, action, error);
	while (code == OB_OK && !done && rows_left(c) > 0)
		code = chunk_apply(c, action, &after, &done, error);
	return code;
}

static int
change_rows(struct changing *c, const struct action *waiting, const struct action *scheduled,
	    const struct action *dead, struct ob_error *error)
{
	enum ob_place place = c->change->selection.place;
	int code = OB_OK;

	if (place == 0 || place == OB_PLACE_PARKED)
		code = action_run(c, waiting, error);
	if (code == OB_OK && (place == 0 || place == OB_PLACE_SCHEDULED))
		code = action_run(c, scheduled, error);
	if (code == OB_OK && (place == 0 || place == OB_PLACE_DEAD))
		code = action_run(c, dead, error);
	return code;
}

/* ---- pause, replay, adopt ---- */

static int
change_paused(struct changing *c, bool paused, struct ob_error *error)
{
	const char *schema = c->store->schema, *name = subscription_of(c);
	const char *word = paused ? "true" : "false";
	int64_t count = 0;
	int code;

	if (c->change->dry_run) {
		ob_postgres_begin_read(c->store);
		ob_postgres_sql(
		    c->store,
		    "SELECT count(*) FROM %s.subscription WHERE name = '%s' AND paused <> %s;",
		    schema, name, word);
	} else {
		ob_postgres_begin_write(c->store);
		ob_postgres_sql(
		    c->store,
		    "WITH changed AS (UPDATE %s.subscription SET paused = %s WHERE name = '%s'"
		    " AND paused <> %s RETURNING name), raised AS (UPDATE %s.checkpoint AS c"
		    " SET epoch = c.epoch + 1 FROM changed WHERE c.subscription = changed.name)"
		    " SELECT count(*) FROM changed;",
		    schema, word, name, word, schema);
	}
	code = number_ask(c, 0, &count, error);
	c->count = (uint64_t)count;
	return code;
}

/* The first message with this id; the log has no index on ids, so this reads it. */
static int
position_of_id(struct changing *c, const char *id, int64_t *position, struct ob_error *error)
{
	int code;

	ob_postgres_begin_read(c->store);
	ob_postgres_sql(c->store,
			"SELECT min(m.seq) FROM %s.message AS m WHERE m.id::text = lower(",
			c->store->schema);
	ob_postgres_literal(c->store, id);
	ob_postgres_sql(c->store, ");");
	code = number_ask(c, 0, position, error);
	if (code == OB_OK && *position == 0)
		code =
		    ob_error_set(error, OB_NOT_FOUND, "%s: no message in the log has the id '%s'",
				 c->store->name, id);
	return code;
}

/*
 * The first message that was created in the last `since_ms`, found by halving: created_at rises
 * with seq, but for clocks that were set, where the answer is about right.
 */
static int
position_since(struct changing *c, int64_t since_ms, int64_t *position, struct ob_error *error)
{
	int64_t low = 0, high = 0, is_young = 0;
	int code;

	ob_postgres_begin_read(c->store);
	ob_postgres_sql(c->store, "SELECT min(seq) FROM %s.message;", c->store->schema);
	code = number_ask(c, 0, &low, error);
	if (code != OB_OK)
		return code;
	ob_postgres_begin_read(c->store);
	ob_postgres_sql(c->store, "SELECT max(seq) + 1 FROM %s.message;", c->store->schema);
	code = number_ask(c, 0, &high, error);
	while (code == OB_OK && low < high) {
		int64_t middle = low + (high - low) / 2;

		ob_postgres_begin_read(c->store);
		ob_postgres_sql(
		    c->store,
		    "SELECT (created_at >= clock_timestamp() - interval '%lld ms')::integer"
		    " FROM %s.message WHERE seq >= %lld ORDER BY seq LIMIT 1;",
		    (long long)since_ms, c->store->schema, (long long)middle);
		code = number_ask(c, 1, &is_young, error);
		if (is_young != 0)
			high = middle;
		else
			low = middle + 1;
	}
	*position = low;
	return code;
}

static int
change_replay(struct changing *c, struct ob_error *error)
{
	const char *schema = c->store->schema, *name = subscription_of(c);
	int64_t from = 1, count = 0;
	int code = OB_OK;

	if (c->change->from_id != NULL)
		code = position_of_id(c, c->change->from_id, &from, error);
	else if (c->change->since_ms >= 0)
		code = position_since(c, c->change->since_ms, &from, error);
	if (code != OB_OK)
		return code;
	if (c->change->dry_run)
		ob_postgres_begin_read(c->store);
	else
		ob_postgres_begin_write(c->store);
	/* What is settled stands; a replay that is not over yet is taken in. */
	if (!c->change->dry_run)
		ob_postgres_sql(
		    c->store,
		    "UPDATE %s.checkpoint SET epoch = epoch + 1, replay_s1 = s1, replay_s2 = s2,"
		    " replay_end = at, replay_at = least(replay_at, %lld),"
		    " replay_high = pg_sequence_last_value('%s.message_seq_seq')"
		    " WHERE subscription = '%s' AND EXISTS (SELECT FROM %s.message WHERE seq >= %lld);",
		    schema, (long long)from - 1, schema, name, schema, (long long)from);
	ob_postgres_sql(
	    c->store,
	    "SELECT count(*) FROM %s.checkpoint AS c JOIN %s.subscription AS s ON s.name = c.subscription"
	    " JOIN %s.message AS m ON m.seq >= %lld AND (pg_visible_in_snapshot(m.xid, c.s1) OR"
	    " (m.seq <= c.at AND pg_visible_in_snapshot(m.xid, c.s2)))"
	    " WHERE c.subscription = '%s' AND (s.shards = 1"
	    " OR c.shard = %s.shard_of(m.partition_key, m.id, s.shards));",
	    schema, schema, schema, (long long)from, name, schema);
	code = number_ask(c, 0, &count, error);
	c->count = (uint64_t)count;
	return code;
}

/* The condition on whose rows an adoption changes. */
static void
adopted_append(struct changing *c, const char *column)
{
	if (subscription_of(c) == NULL)
		return;
	ob_postgres_sql(c->store, " WHERE %s = '%s'", column, subscription_of(c));
}

#define OID_HERE    "(SELECT oid FROM pg_database WHERE datname = current_database())"
#define SYSTEM_HERE "(pg_control_system()).system_identifier"

/*
 * Checkpoints that came with a copy are told in numbers, which mean the same here: settled is what stands before the first row
 * that was not, and is visible now. What was settled behind that row comes once more. So does what s1 sees above q1: of a row
 * that was written here meanwhile the number alone tells that it is none of those, since s1 seems to see its id. All are
 * changed, adopted or not, as the rows' ids are about to be. The statement's own snapshot is the point's, with a
 * number that was drawn before it: what commits later is in no doubt. A replay is forgotten.
 */
static void
copied_append(struct changing *c, int64_t drawn)
{
	const char *schema = c->store->schema;

	ob_postgres_sql(
	    c->store,
	    "UPDATE %s.checkpoint AS c SET s1 = '3:3:', q1 = 0, s2 = pg_current_snapshot(), q2 = %lld,"
	    " at = coalesce((SELECT m.seq - 1 FROM %s.message AS m"
	    " WHERE NOT (m.seq <= c.q1 AND pg_visible_in_snapshot(m.xid, c.s1) OR coalesce(m.seq <= c.at"
	    " AND pg_visible_in_snapshot(m.xid, c.s2), false))"
	    " AND (s.shards = 1 OR c.shard = %s.shard_of(m.partition_key, m.id, s.shards))"
	    " ORDER BY m.seq LIMIT 1), %lld), replay_s1 = NULL, replay_s2 = NULL, replay_at = NULL,"
	    " replay_end = NULL, replay_high = NULL"
	    " FROM %s.subscription AS s WHERE s.name = c.subscription"
	    " AND (c.system_identifier <> " SYSTEM_HERE " OR c.database_oid <> " OID_HERE ");",
	    schema, (long long)drawn, schema, schema, (long long)drawn, schema);
}

/* A number, with a transaction of our own behind it: the beginning of a point. */
static int
drawn_ask(struct changing *c, int64_t *drawn, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code;

	ob_buf_reset(&c->store->sql);
	ob_postgres_opening_begin(c->store);
	code = ob_postgres_commit(c->store, "adopt", &answers, error);
	if (code != OB_OK)
		return code;
	*drawn = ob_postgres_number(answers.items[0], 0, 0, 0);
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

/*
 * Says that this very database is meant, and where to go on in it. A change of the number of shards that was under way there is
 * forgotten: its point means nothing here. First the rows get ids of here; then, in another transaction, a
 * point is made whose snapshot sees all of them. From the beginning: nothing is settled. From now: everything is. From an
 * id: what stands before it. From the checkpoint: what it says, as it is if it is of here.
 */
static int
change_adopt(struct changing *c, struct ob_error *error)
{
	struct postgres_store *store = c->store;
	const char *schema = store->schema;
	int64_t position = 1, drawn = 0, count = 0;
	bool from_now = c->change->from_now && c->change->from_id == NULL;
	int code = OB_OK;

	if (c->change->from_id != NULL)
		code = position_of_id(c, c->change->from_id, &position, error);
	if (code != OB_OK)
		return code;
	if (c->change->dry_run) {
		ob_postgres_begin_read(store);
		ob_postgres_sql(store, "SELECT count(*) FROM %s.subscription", schema);
		adopted_append(c, "name");
		ob_postgres_sql(store, ";");
		code = number_ask(c, 0, &count, error);
		c->count = (uint64_t)count;
		return code;
	}
	code = drawn_ask(c, &drawn, error);
	if (code != OB_OK)
		return code;
	ob_postgres_begin_write(store);
	ob_postgres_sql(store, "SET LOCAL statement_timeout = 0;");
	copied_append(c, drawn);
	ob_postgres_sql(store, "SELECT %s.stamp_anew();", schema);
	code = ob_postgres_commit(store, "adopt", NULL, error);
	if (code == OB_OK)
		code = drawn_ask(c, &drawn, error);
	if (code != OB_OK)
		return code;
	ob_postgres_begin_write(store);
	ob_postgres_sql(store,
			"UPDATE %s.checkpoint SET epoch = epoch + 1, beat = beat + 1,"
			" system_identifier = " SYSTEM_HERE ", database_oid = " OID_HERE,
			schema);
	if (!c->change->from_checkpoint)
		ob_postgres_sql(
		    store,
		    ", s1 = %s, q1 = %lld, s2 = %s, q2 = %s%lld, at = %lld, replay_s1 = NULL,"
		    " replay_s2 = NULL, replay_at = NULL, replay_end = NULL, replay_high = NULL",
		    from_now ? "pg_current_snapshot()" : "'3:3:'",
		    (long long)(from_now ? drawn : 0),
		    position > 1 ? "pg_current_snapshot()" : "NULL", position > 1 ? "" : "NULL + ",
		    (long long)drawn, (long long)(position > 1 ? position - 1 : 0));
	adopted_append(c, "subscription");
	ob_postgres_sql(
	    store, ";UPDATE %s.opening SET epoch = epoch + 1, snapshot = pg_current_snapshot()",
	    schema);
	adopted_append(c, "subscription");
	ob_postgres_sql(store, ";UPDATE %s.lease SET holder = '', owner = '', expires_at = 'epoch'",
			schema);
	adopted_append(c, "subscription");
	ob_postgres_sql(
	    store, ";UPDATE %s.subscription SET shards_next = 0, common = NULL, common_q = NULL",
	    schema);
	adopted_append(c, "name");
	ob_postgres_sql(store, ";SELECT count(*) FROM %s.subscription", schema);
	adopted_append(c, "name");
	ob_postgres_sql(store, ";");
	code = number_ask(c, 0, &count, error);
	c->count = (uint64_t)count;
	return code;
}

/* ---- the call ---- */

static int
subscription_exists(struct changing *c, struct ob_error *error)
{
	const char *name = subscription_of(c);
	int64_t found = 0;
	int code;

	if (name == NULL)
		return c->change->kind == OB_CHANGE_ADOPT
			   ? OB_OK
			   : ob_error_set(error, OB_INVALID, "a subscription must be named");
	ob_postgres_begin_read(c->store);
	ob_postgres_sql(c->store, "SELECT 1 FROM %s.subscription WHERE name = ", c->store->schema);
	ob_postgres_literal(c->store, name);
	ob_postgres_sql(c->store, ";");
	code = number_ask(c, 0, &found, error);
	if (code == OB_OK && found == 0)
		code = ob_error_set(error, OB_NOT_FOUND, "%s: there is no subscription '%s'",
				    c->store->name, name);
	return code;
}

int
ob_postgres_change(struct ob_store *base, const struct ob_change *change, uint64_t *count,
		   struct ob_error *error)
{
	struct changing c = {.store = postgres_store_of(base), .change = change};
	int code = ob_postgres_schema_check(c.store, error);

	if (code == OB_OK)
		code = ob_postgres_selection_check(&change->selection, error);
	if (code == OB_OK)
		code = subscription_exists(&c, error);
	if (code != OB_OK)
		return code;
	switch (change->kind) {
	case OB_CHANGE_PAUSE:
	case OB_CHANGE_RESUME:
		code = change_paused(&c, change->kind == OB_CHANGE_PAUSE, error);
		break;
	case OB_CHANGE_RETRY:
		code = change_rows(&c, &retry_waiting, &retry_scheduled, &retry_dead, error);
		break;
	case OB_CHANGE_DISCARD:
		code = change_rows(&c, &discard_waiting, &discard_scheduled, &discard_dead, error);
		break;
	case OB_CHANGE_REPLAY:
		code = change_replay(&c, error);
		break;
	case OB_CHANGE_ADOPT:
		code = change_adopt(&c, error);
		break;
	}
	*count = c.count;
	return code;
}
