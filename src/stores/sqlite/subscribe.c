/* Making a subscription, and changing what it is. */
#include <string.h>

#include "checks.h"
#include "sqlite_store.h"

/* Makes what is not there. */
static int
subscription_insert(struct sqlite_store *store, const struct ob_subscription *subscription,
		    struct ob_error *error)
{
	static const char *const texts[] = {
	    "INSERT OR IGNORE INTO outbox_subscription (name, topics, order_by, sink, hold_key)"
	    " VALUES (?1, ?2, ?3, ?4, ?5)",
	    "INSERT OR IGNORE INTO outbox_checkpoint (subscription, position) VALUES (?1, CASE WHEN ?6 THEN "
	    " max((SELECT coalesce(max(seq), 0) FROM outbox_message),"
	    " (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox_message'))"
	    " ELSE 0 END)",
	    "INSERT OR IGNORE INTO outbox_lease (subscription, epoch) VALUES (?1, 0)",
	};
	int code = OB_OK;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && code == OB_OK; i++) {
		sqlite3_stmt *statement;

		code = ob_sqlite_prepare_text(store, texts[i], &statement, error);
		if (code != OB_OK)
			break;
		ob_sqlite_bind_string(statement, 1, subscription->name);
		if (i == 0) {
			ob_sqlite_bind_string(statement, 2, subscription->topics);
			sqlite3_bind_int(statement, 3, (int)subscription->order_by);
			ob_sqlite_bind_string(statement, 4,
					      subscription->sink == NULL ? "" : subscription->sink);
			sqlite3_bind_int(statement, 5, subscription->hold_key);
		} else if (i == 1) {
			sqlite3_bind_int(statement, 6, subscription->from_now);
		}
		code = ob_sqlite_run(store, statement, "subscribe", error);
		sqlite3_finalize(statement);
	}
	return code;
}

static int
subscription_update(struct sqlite_store *store, const struct ob_subscription *subscription,
		    bool order_changed, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int64_t parked;
	int code;

	if (order_changed) {
		code = ob_sqlite_prepare_text(
		    store,
		    "SELECT 1 FROM outbox_parked WHERE subscription = ?1 AND lane <> 0"
		    " UNION ALL SELECT 1 FROM outbox_dead WHERE subscription = ?1"
		    " AND holds_key = 1 LIMIT 1",
		    &statement, error);
		if (code != OB_OK)
			return code;
		ob_sqlite_bind_string(statement, 1, subscription->name);
		code = ob_sqlite_number(store, statement, 0, &parked, error);
		sqlite3_finalize(statement);
		if (code != OB_OK)
			return code;
		if (parked != 0)
			return ob_error_set(
			    error, OB_CONFIG,
			    "subscription '%s': order_by cannot change while keys are parked",
			    subscription->name);
	}
	code = ob_sqlite_prepare_text(
	    store,
	    "UPDATE outbox_subscription SET topics = ?2, order_by = ?3, sink = ?4,"
	    " hold_key = ?5 WHERE name = ?1",
	    &statement, error);
	if (code != OB_OK)
		return code;
	ob_sqlite_bind_string(statement, 1, subscription->name);
	ob_sqlite_bind_string(statement, 2, subscription->topics);
	sqlite3_bind_int(statement, 3, (int)subscription->order_by);
	ob_sqlite_bind_string(statement, 4, subscription->sink == NULL ? "" : subscription->sink);
	sqlite3_bind_int(statement, 5, subscription->hold_key);
	code = ob_sqlite_run(store, statement, "subscribe", error);
	sqlite3_finalize(statement);
	return code;
}

static int
subscription_write(struct sqlite_store *store, const struct ob_subscription *subscription,
		   struct ob_error *error)
{
	sqlite3_stmt *statement;
	bool order_changed = false, same = true, whole = false;
	int code, rc;

	code = ob_sqlite_prepare_text(
	    store,
	    "SELECT topics, order_by, sink, hold_key,"
	    " EXISTS (SELECT 1 FROM outbox_lease WHERE subscription = ?1) AND"
	    " EXISTS (SELECT 1 FROM outbox_checkpoint WHERE subscription = ?1)"
	    " FROM outbox_subscription WHERE name = ?1",
	    &statement, error);
	if (code != OB_OK)
		return code;
	ob_sqlite_bind_string(statement, 1, subscription->name);
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW) {
		const char *sink = subscription->sink == NULL ? "" : subscription->sink;

		order_changed = sqlite3_column_int(statement, 1) != (int)subscription->order_by;
		same = !order_changed &&
		       strcmp((const char *)sqlite3_column_text(statement, 0),
			      subscription->topics) == 0 &&
		       strcmp((const char *)sqlite3_column_text(statement, 2), sink) == 0 &&
		       (sqlite3_column_int(statement, 3) != 0) == subscription->hold_key;
		whole = sqlite3_column_int(statement, 4) != 0;
	}
	sqlite3_finalize(statement);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return ob_sqlite_fail(store, rc, "subscribe", error);
	/* Somebody may have deleted a part of it, to free a lease for instance. */
	if (!whole)
		code = subscription_insert(store, subscription, error);
	if (code != OB_OK || same)
		return code;
	return subscription_update(store, subscription, order_changed, error);
}

int
ob_sqlite_subscribe(struct ob_store *base, const struct ob_subscription *subscription,
		    struct ob_error *error)
{
	struct sqlite_store *store = (struct sqlite_store *)(void *)base;
	int code = ob_subscription_check(subscription, "SQLite", 1, error);

	if (code == OB_OK)
		code = ob_sqlite_schema_check(store, error);
	if (code == OB_OK)
		code = ob_sqlite_begin_write(store, error);
	if (code != OB_OK)
		return code;
	return ob_sqlite_end(store, subscription_write(store, subscription, error), error);
}
