/* What `outbox doctor` says of the database: each finding with the command that mends it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "sqlite_store.h"

#define TEXT_MAX 512
/* SQLite from 3.7.0 on can corrupt a database when two connections write and checkpoint at once. */
#define VERSION_MENDED 3051003
#define NFS_MAGIC      0x6969
#define CIFS_MAGIC     0xff534d42u
#define SMB2_MAGIC     0xfe534d42u

struct examination {
	struct sqlite_store *store;
	const struct ob_report *report;
};

static void find(struct examination *e, enum ob_finding_level level, const char *code,
		 const char *mend, const char *format, ...) OB_PRINTF(5, 6);

static void
find(struct examination *e, enum ob_finding_level level, const char *code, const char *mend,
     const char *format, ...)
{
	char text[TEXT_MAX];
	struct ob_finding finding = {.level = level, .code = code, .what = text, .mend = mend};
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	e->report->add(e->report->context, &finding);
}

static void
examine_library(struct examination *e)
{
	if (e->store->wal && sqlite3_libversion_number() < VERSION_MENDED)
		find(
		    e, OB_FINDING_NOTE, "sqlite_wal_reset_bug",
		    "use SQLite 3.51.3 or later in every program that writes this database",
		    "SQLite %s can, very rarely, corrupt a database in WAL mode when two connections write and "
		    "checkpoint at once; the relay avoids its part in it",
		    sqlite3_libversion());
	else
		find(e, OB_FINDING_OK, "sqlite_version", NULL, "SQLite %s", sqlite3_libversion());
}

static void
examine_mode(struct examination *e)
{
	int64_t size = ob_sqlite_wal_size(e->store);

	if (!e->store->wal)
		find(
		    e, OB_FINDING_NOTE, "rollback_mode", "PRAGMA journal_mode = WAL",
		    "the database is in rollback mode: a reader holds up a writer's commit, for up to 20 ms "
		    "while the relay reads");
	else if (size > e->store->options->wal_limit_bytes)
		find(
		    e, OB_FINDING_WARN, "wal_too_large", "PRAGMA wal_checkpoint(TRUNCATE)",
		    "the write-ahead log has %lld MiB: nobody checkpoints it, or a reader holds it back",
		    (long long)(size >> 20));
	else
		find(e, OB_FINDING_OK, "journal_mode", NULL,
		     "WAL mode, the write-ahead log has %lld KiB", (long long)(size >> 10));
}

static void
examine_disk(struct examination *e)
{
	struct statvfs space;
	struct statfs fs;

	if (statfs(e->store->path, &fs) == 0 &&
	    ((unsigned long)fs.f_type == NFS_MAGIC || (unsigned long)fs.f_type == CIFS_MAGIC ||
	     (unsigned long)fs.f_type == SMB2_MAGIC))
		find(e, OB_FINDING_WARN, "network_file_system", "move the database to a local disk",
		     "the database is on a network file system, whose locks SQLite cannot rely on");
	if (statvfs(e->store->path, &space) == 0 && space.f_blocks > 0 &&
	    space.f_bavail < space.f_blocks / 20)
		find(e, OB_FINDING_WARN, "disk_nearly_full", "free some space",
		     "less than 5 %% of the disk is free (%llu MiB)",
		     (unsigned long long)space.f_bavail * space.f_frsize >> 20);
}

static int
examine_indexes(struct examination *e, struct ob_error *error)
{
	static const char *const names[] = {
	    "outbox_parked_position", "outbox_parked_due", "outbox_parked_head",
	    "outbox_parked_lane",     "outbox_parked_log", "outbox_dead_position",
	    "outbox_dead_held",       "outbox_dead_log",
	};
	sqlite3_stmt *statement;
	int64_t found;
	int code = ob_sqlite_prepare_text(
	    e->store, "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?1", &statement,
	    error);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && code == OB_OK; i++) {
		sqlite3_bind_text(statement, 1, names[i], -1, SQLITE_STATIC);
		code = ob_sqlite_number(e->store, statement, 0, &found, error);
		if (code == OB_OK && found == 0)
			find(e, OB_FINDING_FAIL, "index_missing",
			     "make it anew; outbox migrate --print shows the statement",
			     "the index %s is missing", names[i]);
	}
	sqlite3_finalize(statement);
	return code;
}

/* A part of a subscription that is not there: a relay does not find it, and status does not show it. */
static int
examine_parts(struct examination *e, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code =
	    ob_sqlite_prepare_text(e->store,
				   "SELECT name FROM outbox_subscription"
				   " WHERE name NOT IN (SELECT subscription FROM outbox_lease)"
				   " OR name NOT IN (SELECT subscription FROM outbox_checkpoint)",
				   &statement, error);
	int rc;

	if (code != OB_OK)
		return code;
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
		find(e, OB_FINDING_FAIL, "subscription_not_whole",
		     "start its relay anew, which makes what is not there",
		     "the lease or the checkpoint of subscription %s is not there",
		     (const char *)sqlite3_column_text(statement, 0));
	if (rc != SQLITE_DONE)
		code = ob_sqlite_fail(e->store, rc, "examine", error);
	sqlite3_finalize(statement);
	return code;
}

static int
examine_triggers(struct examination *e, struct ob_error *error)
{
	int64_t count;
	int code = ob_sqlite_number_text(
	    e->store,
	    "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'outbox_message'",
	    &count, error);

	if (code == OB_OK && count > 0)
		find(e, OB_FINDING_NOTE, "triggers", NULL,
		     "outbox_message has %lld triggers; they run in the application's transaction",
		     (long long)count);
	return code;
}

static void
examine_lock(struct examination *e)
{
	struct ob_error error = {0};
	int code;

	if (e->store->read_only)
		return;
	code = ob_sqlite_begin_write(e->store, &error);
	if (code == OB_OK) {
		ob_sqlite_end(e->store, OB_BUSY, NULL);
		return;
	}
	if (code == OB_BUSY)
		find(e, OB_FINDING_WARN, "no_write_lock",
		     "look for a program that keeps a write transaction open", "%s", error.text);
	else
		find(e, OB_FINDING_FAIL, "not_writable", NULL, "%s", error.text);
}

static void
examine_subscription(void *context, const struct ob_subscription_stats *stats)
{
	struct examination *e = context;
	char mend[TEXT_MAX];

	if (stats->paused) {
		snprintf(mend, sizeof(mend), "outbox resume %s %s", e->store->name, stats->name);
		find(e, OB_FINDING_NOTE, "paused", mend, "subscription %s is paused", stats->name);
	}
	if (!stats->held && *stats->state != '\0') {
		snprintf(mend, sizeof(mend), "outbox adopt %s --subscription %s %s", e->store->name,
			 stats->name,
			 strcmp(stats->code, ob_code_name(OB_FOREIGN)) == 0 ? "--from-checkpoint"
									    : "--from-beginning");
		find(e, OB_FINDING_FAIL, stats->code, mend,
		     "the relay of subscription %s refuses this database: %s", stats->name,
		     stats->text);
	} else if (!stats->held && stats->pending) {
		find(e, OB_FINDING_WARN, "no_relay", "start its relay",
		     "subscription %s has messages waiting and %s", stats->name, stats->blocked_by);
	}
	if (stats->dead_rows > 0) {
		snprintf(mend, sizeof(mend), "outbox dead list %s", e->store->name);
		find(e, OB_FINDING_WARN, "dead_messages", mend,
		     "subscription %s has %llu dead messages", stats->name,
		     (unsigned long long)stats->dead_rows);
	}
	if (stats->held && *stats->code != '\0')
		find(e, OB_FINDING_WARN, stats->code, NULL, "subscription %s is %s: %s",
		     stats->name, stats->state, stats->text);
}

int
ob_sqlite_check(struct ob_store *base, const struct ob_report *report, struct ob_error *error)
{
	struct sqlite_store *store = (struct sqlite_store *)(void *)base;
	struct examination e = {.store = store, .report = report};
	struct ob_error schema = {0};
	int code;

	examine_library(&e);
	examine_mode(&e);
	examine_disk(&e);
	examine_lock(&e);
	code = ob_sqlite_schema_check(store, &schema);
	if (code != OB_OK) {
		find(&e, OB_FINDING_FAIL, "schema", NULL, "%s", schema.text);
		return OB_OK;
	}
	find(&e, OB_FINDING_OK, "schema", NULL, "the tables are those that this program knows");
	code = examine_indexes(&e, error);
	if (code == OB_OK)
		code = examine_parts(&e, error);
	if (code == OB_OK)
		code = examine_triggers(&e, error);
	if (code == OB_OK)
		code = ob_sqlite_stats(base, NULL, examine_subscription, &e, error);
	return code;
}
