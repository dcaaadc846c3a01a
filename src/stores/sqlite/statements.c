/*
 * The statements of running a subscription, in the order of enum sqlite_statement.
 *
 * Parameters: ?1 is the subscription wherever one is named. MESSAGE_COLUMNS are what
 * ob_sqlite_read_message reads; the payload stands last in the table and here.
 */
#include "sqlite_store.h"

#define NOW "CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER)"
#define COPIED \
	"id, topic, partition_key, type, content_type, headers, created_at, payload_bytes, payload"
#define MESSAGE_COLUMNS "id, topic, partition_key, type, content_type, headers, created_at"
/* Milliseconds until deliver_after; NULL when there is none. SQLite's times are whole milliseconds. */
#define DUE_IN                                      \
	"CASE WHEN deliver_after IS NOT NULL THEN " \
	"CAST((julianday(deliver_after) - julianday('now')) * 86400000.0 + 0.5 AS INTEGER) END"
/* The payload of a parked row; one that was too large to copy is still in the log. */
#define KEPT_PAYLOAD                                                                \
	"CASE WHEN payload_bytes IS NULL THEN payload "                             \
	"WHEN payload_bytes <= ?2 THEN (SELECT m.payload FROM outbox_message AS m " \
	"WHERE m.seq = outbox_parked.position) END"
#define KEPT_COLUMNS                                                                                 \
	"position, lane, scheduled, attempts, first_try_at, payload_bytes, due_at, " MESSAGE_COLUMNS \
	", " KEPT_PAYLOAD

const char *const ob_sqlite_statement_texts[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN",
    [SQL_BEGIN_IMMEDIATE] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_DATA_VERSION] = "PRAGMA data_version",
    [SQL_NOW] = "SELECT " NOW,

    /* ?2 the last message that was seen. */
    [SQL_FENCE] = "SELECT l.holder, l.epoch, l.beat, c.position, " NOW ", " OB_SQLITE_LOG_COLUMNS(
	"?2") " FROM outbox_lease AS l JOIN outbox_checkpoint AS c USING (subscription)"
	      " WHERE l.subscription = ?1",

    /* ?1 from (without it), ?2 to (with it), ?3 how many. */
    [SQL_MESSAGES] = "SELECT seq, " DUE_IN ", " MESSAGE_COLUMNS ", payload FROM outbox_message"
		     " WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
    /* The same, without loading the payloads that are of no interest. */
    [SQL_MESSAGES_MATCHING] =
	"SELECT seq, " DUE_IN ", " MESSAGE_COLUMNS
	", CASE WHEN outbox_match(topic) THEN payload END"
	" FROM outbox_message WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
    [SQL_MESSAGE_WITHOUT_PAYLOAD] =
	"SELECT seq, " DUE_IN ", " MESSAGE_COLUMNS ", NULL FROM outbox_message"
	" WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT 1",

    /* ?2 greatest payload, ?3 now, ?4 how many. */
    [SQL_PARKED_DUE] = "SELECT " KEPT_COLUMNS " FROM outbox_parked"
		       " WHERE subscription = ?1 AND head = 1 AND due_at <= ?3"
		       " ORDER BY due_at LIMIT ?4",
    /* ?2 greatest payload, ?3 lane, ?4 behind this position, ?5 how many. */
    [SQL_PARKED_RUN] = "SELECT " KEPT_COLUMNS " FROM outbox_parked"
		       " WHERE subscription = ?1 AND scheduled = 0 AND lane = ?3 AND position > ?4"
		       " ORDER BY position LIMIT ?5",
    /* ?2 how many: those that are handed out are passed over by the caller. */
    [SQL_PARKED_NEXT_DUE] = "SELECT position, due_at FROM outbox_parked"
			    " WHERE subscription = ?1 AND head = 1 ORDER BY due_at LIMIT ?2",
    [SQL_LOG_END] = "SELECT seq, id FROM outbox_message ORDER BY seq DESC LIMIT 1",

    /*
     * ?2 position, ?3 lane, ?4 scheduled, ?5 head, ?6 due_at, ?7 attempts, ?8 first_try_at, ?9 now,
     * ?10 code, ?11 text, ?12 tries, ?13 payload_bytes. A row that is there already (a replay came by)
     * keeps its place; only one that holds no key is tried again.
     */
    [SQL_PARK] =
	"INSERT INTO outbox_parked (subscription, position, lane, scheduled, head, due_at, attempts,"
	" first_try_at, parked_at, code, text, tries, " COPIED ")"
	" SELECT ?1, seq, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, " MESSAGE_COLUMNS
	", ?13, CASE WHEN ?13 IS NULL THEN payload END FROM outbox_message WHERE seq = ?2"
	" ON CONFLICT (subscription, position) DO UPDATE SET due_at = excluded.due_at,"
	" attempts = excluded.attempts, first_try_at = excluded.first_try_at,"
	" code = excluded.code, text = excluded.text, tries = excluded.tries"
	" WHERE head = 1 AND excluded.head = 1",
    /* ?2 position, ?3 lane, ?4 holds_key, ?5 attempts, ?6 first_try_at, ?7 now, ?8 code, ?9 text,
       ?10 tries, ?11 payload_bytes. */
    [SQL_DEAD_FROM_LOG] =
	"INSERT INTO outbox_dead (subscription, position, lane, holds_key, attempts, first_try_at,"
	" dead_at, code, text, tries, " COPIED ")"
	" SELECT ?1, seq, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, " MESSAGE_COLUMNS
	", ?11, CASE WHEN ?11 IS NULL THEN payload END FROM outbox_message WHERE seq = ?2"
	" ON CONFLICT (subscription, position) DO UPDATE SET holds_key = excluded.holds_key,"
	" attempts = excluded.attempts, first_try_at = excluded.first_try_at,"
	" dead_at = excluded.dead_at, code = excluded.code, text = excluded.text,"
	" tries = excluded.tries",

    [SQL_PARKED_TRIES] = "SELECT tries, lane, scheduled, head FROM outbox_parked"
			 " WHERE subscription = ?1 AND position = ?2",
    /* ?2 position, ?3 due_at, ?4 attempts, ?5 first_try_at, ?6 code, ?7 text, ?8 tries. */
    [SQL_REPARK] = "UPDATE outbox_parked SET due_at = ?3, attempts = ?4, first_try_at = ?5,"
		   " code = ?6, text = ?7, tries = ?8 WHERE subscription = ?1 AND position = ?2",
    /* ?2 position, ?3 holds_key, ?4 attempts, ?5 first_try_at, ?6 now, ?7 code, ?8 text, ?9 tries. */
    [SQL_DEAD_FROM_PARKED] =
	"INSERT INTO outbox_dead (subscription, position, lane, holds_key, attempts, first_try_at,"
	" dead_at, code, text, tries, " COPIED ")"
	" SELECT subscription, position, lane, ?3, ?4, ?5, ?6, ?7, ?8, ?9, " COPIED
	" FROM outbox_parked WHERE subscription = ?1 AND position = ?2"
	" ON CONFLICT (subscription, position) DO UPDATE SET holds_key = excluded.holds_key,"
	" attempts = excluded.attempts, first_try_at = excluded.first_try_at,"
	" dead_at = excluded.dead_at, code = excluded.code, text = excluded.text,"
	" tries = excluded.tries",
    [SQL_UNPARK] = "DELETE FROM outbox_parked WHERE subscription = ?1 AND position = ?2",
    /*
     * ?2 lane, ?3 the position that went, ?4 now. The next row of the lane, or the first if there is
     * none behind, becomes its head; a lane that already has one, or waits for a person, stays as it is.
     */
    [SQL_PROMOTE] = "UPDATE outbox_parked SET head = 1, due_at = coalesce(due_at, ?4)"
		    " WHERE subscription = ?1 AND position = coalesce("
		    "  (SELECT min(position) FROM outbox_parked"
		    "   WHERE subscription = ?1 AND scheduled = 0 AND lane = ?2 AND position > ?3),"
		    "  (SELECT min(position) FROM outbox_parked"
		    "   WHERE subscription = ?1 AND scheduled = 0 AND lane = ?2))"
		    " AND NOT EXISTS (SELECT 1 FROM outbox_parked"
		    "  WHERE subscription = ?1 AND lane = ?2 AND head = 1 AND scheduled = 0)"
		    " AND NOT EXISTS (SELECT 1 FROM outbox_dead"
		    "  WHERE subscription = ?1 AND lane = ?2 AND holds_key = 1)",
    [SQL_CHECKPOINT] = "UPDATE outbox_checkpoint SET position = ?2, replay_position = ?3,"
		       " replay_end = CASE WHEN ?3 IS NULL THEN NULL ELSE replay_end END"
		       " WHERE subscription = ?1",
    /* Keeps a row from being promoted: its key waits for a person. ?2 lane. */
    [SQL_HOLD_BACK] = "UPDATE outbox_parked SET head = 0, due_at = NULL"
		      " WHERE subscription = ?1 AND scheduled = 0 AND lane = ?2 AND head = 1",
};
