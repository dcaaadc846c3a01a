/* What `status` shows. Nothing here scans the log: bounds come from its ends, counts from indexes. */
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "pattern.h"
#include "rfc3339.h"
#include "sqlite_store.h"

/* How far the first message that is waiting is looked for; behind that one is taken for granted. */
#define LOOK_ROWS 1000
#define TEXTS_MAX (64 * 1024)
/* A relay that refuses the database looks at it again every seven seconds or so. */
#define REFUSAL_MS 30000

struct stats_row {
	struct ob_subscription_stats stats;
	struct ob_arena texts;
	struct ob_mark checkpoint;
	int64_t replay_end, log_end, now_ms;
	const char *lost_owner; /* whose lease ran out; "": it was given up */
	int64_t lost_at_ms;
};

/* A copy of a column that lives until the next row. */
static const char *
row_text(struct stats_row *row, sqlite3_stmt *statement, int column)
{
	const char *text = (const char *)sqlite3_column_text(statement, column), *copy = NULL;

	if (text != NULL)
		copy = ob_arena_copy(&row->texts, text, strlen(text));
	return copy == NULL ? "" : copy;
}

/* A relay that refuses the database holds no lease in it; what it says holds for as long as it keeps looking. */
static void
row_refusal(struct stats_row *row, sqlite3_stmt *statement)
{
	struct ob_subscription_stats *stats = &row->stats;
	int64_t since = row->now_ms - sqlite3_column_int64(statement, 21);

	if (stats->held || row->now_ms - sqlite3_column_int64(statement, 22) > REFUSAL_MS)
		return;
	stats->owner = row_text(row, statement, 18);
	stats->state = "store_failed";
	stats->code = row_text(row, statement, 19);
	stats->text = row_text(row, statement, 20);
	stats->state_since_ms = since < 0 ? 0 : since;
}

static void
row_read(struct stats_row *row, sqlite3_stmt *statement)
{
	struct ob_subscription_stats *stats = &row->stats;
	int64_t left, since;

	stats->name = row_text(row, statement, 0);
	stats->topics = row_text(row, statement, 1);
	stats->sink = row_text(row, statement, 2);
	stats->paused = sqlite3_column_int(statement, 3) != 0;
	stats->epoch = (uint64_t)sqlite3_column_int64(statement, 4);
	row->now_ms = sqlite3_column_int64(statement, 16);
	left = sqlite3_column_int64(statement, 6) - row->now_ms;
	stats->held = *(const char *)sqlite3_column_text(statement, 17) != '\0' && left > 0;
	row->lost_at_ms = sqlite3_column_int64(statement, 6);
	row->lost_owner = row->lost_at_ms > 0 ? row_text(row, statement, 5) : "";
	stats->owner = stats->held ? row_text(row, statement, 5) : "";
	stats->lease_left_ms = stats->held ? left : 0;
	stats->state = stats->held ? row_text(row, statement, 7) : "";
	stats->code = stats->held ? row_text(row, statement, 8) : "";
	stats->text = stats->held ? row_text(row, statement, 9) : "";
	since = row->now_ms - sqlite3_column_int64(statement, 10);
	stats->state_since_ms = *stats->state == '\0' || since < 0 ? 0 : since;
	row_refusal(row, statement);
	row->checkpoint.log = sqlite3_column_int64(statement, 11);
	row->checkpoint.replay = sqlite3_column_int64(statement, 12);
	row->replay_end = sqlite3_column_int64(statement, 13);
	row->log_end = sqlite3_column_int64(statement, 14);
	stats->replaying = row->checkpoint.replay != OB_NO_REPLAY;
	if (row->log_end > row->checkpoint.log)
		stats->pending_max = (uint64_t)(row->log_end - row->checkpoint.log);
	if (stats->replaying && row->replay_end > row->checkpoint.replay)
		stats->pending_max += (uint64_t)(row->replay_end - row->checkpoint.replay);
	stats->dead_rows = (uint64_t)sqlite3_column_int64(statement, 15);
}

static int
row_parked(struct sqlite_store *store, struct stats_row *row, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int rc;
	int code = ob_sqlite_prepare_text(
	    store,
	    "SELECT count(*) FILTER (WHERE scheduled = 0), count(*) FILTER (WHERE scheduled = 1),"
	    " count(DISTINCT CASE WHEN scheduled = 0 AND lane <> 0 THEN lane END)"
	    " FROM outbox_parked WHERE subscription = ?1",
	    &statement, error);

	if (code != OB_OK)
		return code;
	ob_sqlite_bind_string(statement, 1, row->stats.name);
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW) {
		row->stats.parked_rows = (uint64_t)sqlite3_column_int64(statement, 0);
		row->stats.scheduled_rows = (uint64_t)sqlite3_column_int64(statement, 1);
		row->stats.parked_keys = (uint64_t)sqlite3_column_int64(statement, 2);
	} else {
		code = ob_sqlite_fail(store, rc, "stats", error);
	}
	sqlite3_finalize(statement);
	return code;
}

/* The first matching message behind the checkpoint, and its age. */
static int
row_pending(struct sqlite_store *store, struct stats_row *row, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int64_t created_us, age_ms;
	int code, rc = SQLITE_DONE, rows = 0;

	if (row->stats.pending_max == 0)
		return OB_OK;
	code = ob_sqlite_prepare_text(store,
				      "SELECT topic, created_at FROM outbox_message WHERE seq > ?1"
				      " ORDER BY seq LIMIT ?2",
				      &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_int64(statement, 1, row->checkpoint.log);
	sqlite3_bind_int64(statement, 2, LOOK_ROWS);
	while (!row->stats.pending && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
		struct ob_bytes created = ob_sqlite_column(store, statement, 1);

		rows++;
		if (!ob_pattern_match(row->stats.topics, ob_sqlite_column(store, statement, 0)))
			continue;
		row->stats.pending = true;
		if (ob_rfc3339_parse(created.data, created.size, &created_us)) {
			age_ms = row->now_ms - created_us / 1000;
			row->stats.oldest_age_ms = age_ms > 0 ? age_ms : 0;
		}
	}
	if (rows == LOOK_ROWS || row->stats.replaying)
		row->stats.pending = true;
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		code = ob_sqlite_fail(store, rc, "stats", error);
	sqlite3_finalize(statement);
	return code;
}

/* A relay that ended properly gave its lease up; another may live and be kept from writing. */
static const char *
row_no_relay(struct stats_row *row)
{
	char since[OB_RFC3339_SIZE], text[OB_OWNER_NAME_MAX + 160];
	const char *copy;

	if (*row->lost_owner == '\0')
		return "no relay runs this subscription";
	ob_rfc3339_format(since, row->lost_at_ms * 1000);
	snprintf(text, sizeof(text),
		 "the lease of its relay, %s, ran out at %s: it was killed, or cannot write into "
		 "this database (its log tells)",
		 row->lost_owner, since);
	copy = ob_arena_copy(&row->texts, text, strlen(text));
	return copy == NULL ? "" : copy;
}

static void
row_blocked_by(struct stats_row *row)
{
	struct ob_subscription_stats *stats = &row->stats;

	stats->blocked_by = "";
	if (!stats->held && *stats->state != '\0')
		stats->blocked_by = "its relay refuses this database: outbox adopt";
	else if (stats->paused && stats->pending_max > 0)
		stats->blocked_by = "paused by a person: outbox resume";
	else if (!stats->held && stats->pending_max > 0)
		stats->blocked_by = row_no_relay(row);
}

static int
stats_each(struct sqlite_store *store, const char *subscription,
	   void (*each)(void *context, const struct ob_subscription_stats *stats), void *context,
	   struct ob_error *error)
{
	static const char sql[] =
	    "SELECT s.name, s.topics, s.sink, s.paused, l.epoch, l.owner, l.expires_at, l.state, l.code,"
	    " l.text, l.state_since, c.position, coalesce(c.replay_position, -1),"
	    " coalesce(c.replay_end, 0), coalesce((SELECT max(seq) FROM outbox_message), 0),"
	    " (SELECT count(*) FROM outbox_dead WHERE subscription = s.name),"
	    " CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER), l.holder,"
	    " l.refused_by, l.refused_code, l.refused_text, l.refused_since, l.refused_at"
	    " FROM outbox_subscription AS s JOIN outbox_lease AS l ON l.subscription = s.name"
	    " JOIN outbox_checkpoint AS c ON c.subscription = s.name"
	    " WHERE s.name > ?1 AND (?2 IS NULL OR s.name = ?2) ORDER BY s.name LIMIT 1";
	struct stats_row row = {0};
	sqlite3_stmt *statement;
	int code, rc;

	code = ob_sqlite_prepare_text(store, sql, &statement, error);
	if (code != OB_OK)
		return code;
	ob_arena_init(&row.texts, 4096, TEXTS_MAX);
	/* One subscription at a time, and no statement is open while the caller looks at it. */
	ob_sqlite_bind_string(statement, 1, "");
	ob_sqlite_bind_string(statement, 2, subscription);
	while (code == OB_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
		row.stats = (struct ob_subscription_stats){0};
		ob_arena_reset(&row.texts);
		row_read(&row, statement);
		sqlite3_reset(statement);
		code = row_parked(store, &row, error);
		if (code == OB_OK)
			code = row_pending(store, &row, error);
		if (code != OB_OK)
			break;
		row_blocked_by(&row);
		each(context, &row.stats);
		ob_sqlite_bind_string(statement, 1, row.stats.name);
	}
	if (code == OB_OK && rc != SQLITE_DONE)
		code = ob_sqlite_fail(store, rc, "stats", error);
	sqlite3_finalize(statement);
	if (code == OB_OK && subscription != NULL && row.stats.name == NULL)
		code = ob_error_set(error, OB_NOT_FOUND, "%s: there is no subscription '%s'",
				    store->name, subscription);
	ob_arena_free(&row.texts);
	return code;
}

int
ob_sqlite_stats(struct ob_store *base, const char *subscription,
		void (*each)(void *context, const struct ob_subscription_stats *stats),
		void *context, struct ob_error *error)
{
	struct sqlite_store *store = (struct sqlite_store *)(void *)base;
	int code = ob_sqlite_schema_check(store, error);

	return code != OB_OK ? code : stats_each(store, subscription, each, context, error);
}
