/*
 * Listing messages wherever they stand, in the order of their positions.
 *
 * First the keys of a page are read (no payload is touched, so sorting is cheap), then one row after another,
 * each copied before it is shown: no statement is open while the caller prints, however long that takes.
 */
#include <stdlib.h>
#include <string.h>

#include "sqlite_store.h"
#include "text.h"

#define LIST_MAX 1000
/* Rows of one position are never torn apart, since paging is by position: so many may come on top. */
#define LIST_TIES_MAX 1000

struct list_key {
	enum ob_place place;
	int64_t position, rowid;
};

struct listing {
	struct sqlite_store *store;
	const struct ob_selection *selection;
	struct list_key *keys;
	size_t key_count;
	struct ob_batch *batch;      /* the bytes of the row that is shown */
	sqlite3_stmt *statements[6]; /* of row_texts */
};

#define IN_ORDER " ORDER BY position, subscription LIMIT ?3"
#define KEPT_WHERE \
	" WHERE (?1 IS NULL OR subscription = ?1) AND position > ?2 AND " OB_SQLITE_SELECTED

/* The log is listed for no subscription and no reason. */
static const char log_keys[] =
    "SELECT seq, '', seq FROM outbox_message WHERE seq > ?2 AND (?4 IS NULL OR id = ?4)"
    " AND (?5 IS NULL OR outbox_topic(topic, ?5)) AND (?6 IS NULL OR partition_key = ?6)"
    " AND (?7 IS NULL OR type = ?7) AND ?8 IS NULL ORDER BY seq LIMIT ?3";
static const char parked_keys[] =
    "SELECT position, subscription, rowid FROM outbox_parked" KEPT_WHERE
    " AND scheduled = 0" IN_ORDER;
static const char scheduled_keys[] =
    "SELECT position, subscription, rowid FROM outbox_parked" KEPT_WHERE
    " AND scheduled = 1" IN_ORDER;
static const char dead_keys[] =
    "SELECT position, subscription, rowid FROM outbox_dead" KEPT_WHERE IN_ORDER;

static int
keys_read(struct listing *l, enum ob_place place, const char *sql, int64_t limit,
	  struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare_text(l->store, sql, &statement, error), rc;

	if (code != OB_OK)
		return code;
	ob_sqlite_selection_bind(statement, l->selection, l->selection->position_after, limit);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		l->keys[l->key_count++] = (struct list_key){
		    .place = place,
		    .position = sqlite3_column_int64(statement, 0),
		    .rowid = sqlite3_column_int64(statement, 2),
		};
	}
	if (rc != SQLITE_DONE)
		code = ob_sqlite_fail(l->store, rc, "list", error);
	sqlite3_finalize(statement);
	return code;
}

static int
key_compare(const void *a, const void *b)
{
	const struct list_key *x = a, *y = b;

	if (x->position != y->position)
		return x->position < y->position ? -1 : 1;
	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return x->rowid < y->rowid ? -1 : x->rowid > y->rowid;
}

static bool
place_is_wanted(const struct ob_selection *selection, enum ob_place place)
{
	/* What is in the log belongs to no subscription. */
	if (place == OB_PLACE_LOG && selection->subscription != NULL && selection->place == 0)
		return false;
	return selection->place == 0 || selection->place == place;
}

static int
page_read(struct listing *l, struct ob_error *error)
{
	static const struct {
		enum ob_place place;
		const char *sql;
	} places[] = {
	    {OB_PLACE_LOG, log_keys},
	    {OB_PLACE_PARKED, parked_keys},
	    {OB_PLACE_SCHEDULED, scheduled_keys},
	    {OB_PLACE_DEAD, dead_keys},
	};
	size_t wanted = l->selection->count_max, limit;
	int code = OB_OK;

	if (wanted == 0 || wanted > LIST_MAX)
		wanted = LIST_MAX;
	limit = wanted + LIST_TIES_MAX;
	l->keys = malloc(4 * limit * sizeof(l->keys[0]));
	if (l->keys == NULL)
		return ob_error_set(error, OB_NOMEM, "%s: out of memory", l->store->name);
	for (size_t i = 0; i < 4 && code == OB_OK; i++)
		if (place_is_wanted(l->selection, places[i].place))
			code = keys_read(l, places[i].place, places[i].sql, (int64_t)limit, error);
	if (code != OB_OK)
		return code;
	qsort(l->keys, l->key_count, sizeof(l->keys[0]), key_compare);
	if (l->key_count > wanted) {
		size_t end = wanted;

		while (end < l->key_count && l->keys[end].position == l->keys[wanted - 1].position)
			end++;
		l->key_count = end;
	}
	return OB_OK;
}

/* ---- one row ---- */

#define NOW     "CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER)"
#define MESSAGE "id, topic, partition_key, type, content_type, headers, created_at"

/*
 * Columns: 0 subscription, 1 position, 2 flag (passed, head or holds_key), 3 attempts, 4 due_at, 5 since,
 * 6 code, 7 text, 8 tries, 9 now, then the message. ?1 rowid.
 */
#define LOG_ROW(payload)                                                                          \
	"SELECT NULL, seq, seq <= coalesce((SELECT min(position) FROM outbox_checkpoint), 0), 0," \
	" CASE WHEN deliver_after IS NOT NULL THEN"                                               \
	" CAST((julianday(deliver_after) - 2440587.5) * 86400000.0 AS INTEGER) END, NULL,"        \
	" '', '', '[]', " NOW ", " MESSAGE ", " payload " FROM outbox_message WHERE seq = ?1"
#define PARKED_ROW(payload)                                                                         \
	"SELECT subscription, position, head, attempts, due_at, parked_at, code, text, tries, " NOW \
	", " MESSAGE ", " payload " FROM outbox_parked WHERE rowid = ?1"
#define DEAD_ROW(payload)                                                                            \
	"SELECT subscription, position, holds_key, attempts, NULL, dead_at, code, text, tries, " NOW \
	", " MESSAGE ", " payload " FROM outbox_dead WHERE rowid = ?1"

/* By kind of row; behind them the same without payloads, for those that are too large to read. */
enum { LOG = 0, PARKED, DEAD, KINDS };
static const char *const row_texts[2 * KINDS] = {
    LOG_ROW("payload"), PARKED_ROW("payload"), DEAD_ROW("payload"),
    LOG_ROW("NULL"),    PARKED_ROW("NULL"),    DEAD_ROW("NULL"),
};

static const char *
text_copy(struct ob_batch *batch, sqlite3_stmt *statement, int column)
{
	struct ob_bytes copy;
	const char *text = (const char *)sqlite3_column_text(statement, column);

	/* Copied with its NUL. */
	if (text == NULL || !ob_batch_copy(batch, text, strlen(text) + 1, &copy))
		return "";
	return copy.data;
}

static int64_t
since(sqlite3_stmt *statement, int column, int64_t now_ms)
{
	int64_t ms = now_ms - sqlite3_column_int64(statement, column);

	return sqlite3_column_type(statement, column) == SQLITE_NULL || ms < 0 ? 0 : ms;
}

static int
row_fill(struct listing *l, const struct list_key *key, sqlite3_stmt *statement,
	 struct ob_listed *row, struct ob_error *error)
{
	int64_t now_ms = sqlite3_column_int64(statement, 9);
	bool flag = sqlite3_column_int(statement, 2) != 0;
	int code = ob_sqlite_read_message(l->store, statement, 10, l->batch, &row->message, error);

	if (code != OB_OK)
		return code;
	row->place = key->place;
	row->subscription = key->place == OB_PLACE_LOG ? NULL : text_copy(l->batch, statement, 0);
	row->position = sqlite3_column_int64(statement, 1);
	row->passed = key->place == OB_PLACE_LOG && flag;
	row->head = (key->place == OB_PLACE_PARKED || key->place == OB_PLACE_SCHEDULED) && flag;
	row->holds_key = key->place == OB_PLACE_DEAD && flag;
	row->attempts = (uint32_t)sqlite3_column_int64(statement, 3);
	row->age_ms = now_ms - row->message.created_at_us / 1000;
	if (row->age_ms < 0)
		row->age_ms = 0;
	if (sqlite3_column_type(statement, 4) != SQLITE_NULL)
		row->due_in_ms = sqlite3_column_int64(statement, 4) - now_ms;
	if (row->due_in_ms < 0)
		row->due_in_ms = 0;
	row->since_ms = since(statement, 5, now_ms);
	row->code = text_copy(l->batch, statement, 6);
	row->text = text_copy(l->batch, statement, 7);
	row->tries = text_copy(l->batch, statement, 8);
	return OB_OK;
}

/* Reads one row; `*rc` is SQLITE_DONE when it went away since the page was read. */
static int
row_read(struct listing *l, const struct list_key *key, size_t text, struct ob_listed *row, int *rc,
	 struct ob_error *error)
{
	sqlite3_stmt **statement = &l->statements[text];
	int code = OB_OK;

	if (*statement == NULL)
		code = ob_sqlite_prepare_text(l->store, row_texts[text], statement, error);
	if (code != OB_OK)
		return code;
	ob_batch_reset(l->batch);
	sqlite3_bind_int64(*statement, 1, key->rowid);
	*rc = sqlite3_step(*statement);
	if (*rc == SQLITE_ROW)
		code = row_fill(l, key, *statement, row, error);
	else if (*rc != SQLITE_DONE && *rc != SQLITE_TOOBIG)
		code = ob_sqlite_fail(l->store, *rc, "list", error);
	sqlite3_reset(*statement);
	return code;
}

static int
page_show(struct listing *l, bool (*each)(void *context, const struct ob_listed *row),
	  void *context, struct ob_error *error)
{
	bool go_on = true;
	int code = OB_OK;

	for (size_t i = 0; i < l->key_count && code == OB_OK && go_on; i++) {
		const struct list_key *key = &l->keys[i];
		size_t kind = key->place == OB_PLACE_LOG    ? LOG
			      : key->place == OB_PLACE_DEAD ? DEAD
							    : PARKED;
		struct ob_listed row = {0};
		int rc;

		code = row_read(l, key, kind, &row, &rc, error);
		if (code == OB_OK && rc == SQLITE_TOOBIG)
			code = row_read(l, key, KINDS + kind, &row, &rc, error);
		if (code == OB_OK && rc == SQLITE_ROW)
			go_on = each(context, &row);
	}
	for (size_t i = 0; i < 2 * KINDS; i++)
		sqlite3_finalize(l->statements[i]);
	return code;
}

int
ob_sqlite_list(struct ob_store *base, const struct ob_selection *selection,
	       bool (*each)(void *context, const struct ob_listed *row), void *context,
	       struct ob_error *error)
{
	struct listing l = {.store = (struct sqlite_store *)(void *)base, .selection = selection};
	int code = ob_sqlite_schema_check(l.store, error);

	if (code == OB_OK)
		code = ob_sqlite_selection_check(selection, error);
	if (code != OB_OK)
		return code;
	l.batch = ob_batch_new(1);
	if (l.batch == NULL)
		return ob_error_set(error, OB_NOMEM, "%s: out of memory", l.store->name);
	code = page_read(&l, error);
	if (code == OB_OK)
		code = page_show(&l, each, context, error);
	free(l.keys);
	ob_batch_free(l.batch);
	return code;
}
