/*
 * Migrations: numbered SQL files that are embedded at build.
 *
 * To change the schema: add a file 00N_what.sql, its line in `migrations` and in meson.build, and never touch
 * an old one. A change must leave the tables usable by the release before it (add first, remove a release
 * later), since relays and applications are not stopped together. What ob_sqlite_schema_check
 * demands goes with it.
 */
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "crash.h"
#include "sqlite_store.h"

extern const char ob_sqlite_sql_001[], ob_sqlite_sql_002[];

struct migration {
	uint32_t version;
	const char *name;
	const char *sql;
};

static const struct migration migrations[] = {
    {1, "outbox", ob_sqlite_sql_001},
    {2, "adoption", ob_sqlite_sql_002},
};

#define MIGRATION_COUNT (sizeof(migrations) / sizeof(migrations[0]))
#define VERSION_KNOWN   (migrations[MIGRATION_COUNT - 1].version)
#define SCHEMA_SQL_MAX  (1024 * 1024)

static const char version_table[] =
    "CREATE TABLE IF NOT EXISTS outbox_schema (\n"
    "    version INTEGER PRIMARY KEY,\n"
    "    name TEXT NOT NULL,\n"
    "    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))\n"
    ");\n";

char *
ob_sqlite_schema_sql(const void *options)
{
	struct ob_buf buf;

	(void)options;
	ob_buf_init(&buf, SCHEMA_SQL_MAX);
	ob_buf_append_text(&buf, "BEGIN IMMEDIATE;\n");
	ob_buf_append_text(&buf, version_table);
	for (size_t i = 0; i < MIGRATION_COUNT; i++) {
		ob_buf_appendf(&buf, "\n%s", migrations[i].sql);
		ob_buf_appendf(&buf,
			       "INSERT INTO outbox_schema (version, name) VALUES (%u, '%s');\n",
			       migrations[i].version, migrations[i].name);
	}
	ob_buf_append_text(&buf, "COMMIT;\n");
	return ob_buf_take(&buf, NULL);
}

/* The version that the database has, 0 when our tables are not there. */
static int
schema_version(struct sqlite_store *store, int64_t *version, struct ob_error *error)
{
	int64_t tables;
	int code = ob_sqlite_number_text(
	    store,
	    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'outbox_schema'",
	    &tables, error);

	*version = 0;
	if (code != OB_OK || tables == 0)
		return code;
	return ob_sqlite_number_text(store, "SELECT max(version) FROM outbox_schema", version,
				     error);
}

static int
schema_newer(struct sqlite_store *store, int64_t version, struct ob_error *error)
{
	return ob_error_set(
	    error, OB_SCHEMA,
	    "%s: its tables have version %lld, this program knows %u: use the newer program",
	    store->name, (long long)version, VERSION_KNOWN);
}

static int
migration_apply(struct sqlite_store *store, const struct migration *migration,
		struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_run_text(store, migration->sql, error);

	OB_CRASH_POINT("C12");
	if (code != OB_OK)
		return code;
	code = ob_sqlite_prepare_text(
	    store, "INSERT INTO outbox_schema (version, name) VALUES (?1, ?2)", &statement, error);
	if (code != OB_OK)
		return code;
	sqlite3_bind_int64(statement, 1, migration->version);
	ob_sqlite_bind_string(statement, 2, migration->name);
	code = ob_sqlite_run(store, statement, "migrate", error);
	sqlite3_finalize(statement);
	return code;
}

/* All that is missing in one transaction, whose lock lets a second migration find it done. */
static int
migrations_apply(struct sqlite_store *store, int64_t *version, struct ob_error *error)
{
	int code = ob_sqlite_begin_write(store, error);

	if (code != OB_OK)
		return code;
	code = schema_version(store, version, error);
	if (code == OB_OK && *version == 0)
		code = ob_sqlite_run_text(store, version_table, error);
	for (size_t i = 0; i < MIGRATION_COUNT && code == OB_OK; i++)
		if (migrations[i].version > *version)
			code = migration_apply(store, &migrations[i], error);
	if (code == OB_SCHEMA && error != NULL)
		ob_error_prefix(error,
				"a table of another program may have the name of one of ours");
	return ob_sqlite_end(store, code, error);
}

int
ob_sqlite_migrate(struct ob_store *base, enum ob_migrate_mode mode,
		  void (*each)(void *context, const struct ob_migration *migration), void *context,
		  struct ob_error *error)
{
	struct sqlite_store *store = (struct sqlite_store *)(void *)base;
	int64_t version;
	int code = schema_version(store, &version, error);

	if (code != OB_OK)
		return code;
	if (version > VERSION_KNOWN)
		return schema_newer(store, version, error);
	if (mode == OB_MIGRATE_APPLY && version < VERSION_KNOWN)
		code = migrations_apply(store, &version, error);
	if (code == OB_OK && mode == OB_MIGRATE_APPLY)
		code = ob_sqlite_schema_check(store, error);
	for (size_t i = 0; i < MIGRATION_COUNT && code == OB_OK && each != NULL; i++) {
		struct ob_migration migration = {
		    .version = migrations[i].version,
		    .name = migrations[i].name,
		    .sql = migrations[i].sql,
		    .applied = migrations[i].version <= version,
		};

		each(context, &migration);
	}
	return code;
}

/* What applications write to must be as we made it: column, type, and why it matters. */
static const struct {
	const char *name, *type;
} message_columns[] = {
    {"seq", "INTEGER"},     {"id", "TEXT"},
    {"topic", "TEXT"},      {"partition_key", "TEXT"},
    {"type", "TEXT"},       {"content_type", "TEXT"},
    {"headers", "TEXT"},    {"deliver_after", "TEXT"},
    {"created_at", "TEXT"}, {"payload", ""},
};

static int
column_check(struct sqlite_store *store, sqlite3_stmt *statement, size_t i, struct ob_error *error)
{
	const char *name = message_columns[i].name, *want = message_columns[i].type, *type;
	int code = OB_OK, rc;

	sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
	rc = sqlite3_step(statement);
	if (rc == SQLITE_DONE && i == 0)
		code = ob_error_set(
		    error, OB_SCHEMA,
		    "%s: the table outbox_message is not there, or has no column seq; make it "
		    "with the statement that this shows: outbox migrate %s --print",
		    store->name, store->name);
	else if (rc == SQLITE_DONE)
		code = ob_error_set(error, OB_SCHEMA,
				    "%s: outbox_message has no column %s; add it with: ALTER TABLE "
				    "outbox_message ADD COLUMN %s %s",
				    store->name, name, name, want);
	else if (rc != SQLITE_ROW)
		code = ob_sqlite_fail(store, rc, "read", error);
	else {
		type = (const char *)sqlite3_column_text(statement, 0);
		if (sqlite3_stricmp(type == NULL ? "" : type, want) != 0)
			code = ob_error_set(
			    error, OB_SCHEMA,
			    "%s: column %s of outbox_message has the type '%s', not '%s'; rename the table, "
			    "run: outbox migrate %s, and copy its rows back in the order of seq",
			    store->name, name, type == NULL ? "" : type, want, store->name);
	}
	sqlite3_reset(statement);
	return code;
}

static int
tables_check(struct sqlite_store *store, struct ob_error *error)
{
	static const char *const names[] = {"outbox_instance",   "outbox_subscription",
					    "outbox_checkpoint", "outbox_lease",
					    "outbox_parked",     "outbox_dead"};
	sqlite3_stmt *statement;
	int64_t found = 1;
	int code = ob_sqlite_prepare_text(
	    store, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1", &statement,
	    error);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && code == OB_OK; i++) {
		sqlite3_bind_text(statement, 1, names[i], -1, SQLITE_STATIC);
		code = ob_sqlite_number(store, statement, 0, &found, error);
		if (code == OB_OK && found == 0)
			code = ob_error_set(
			    error, OB_SCHEMA,
			    "%s: the table %s is not there; make it with the statements that this "
			    "shows: outbox migrate %s --print",
			    store->name, names[i], store->name);
	}
	sqlite3_finalize(statement);
	if (code == OB_OK)
		code = ob_sqlite_number_text(store, "SELECT count(*) FROM outbox_instance", &found,
					     error);
	if (code == OB_OK && found == 0)
		code = ob_error_set(
		    error, OB_SCHEMA,
		    "%s: outbox_instance, which tells one outbox from another, is empty; fill it "
		    "with: INSERT INTO outbox_instance (one, id) VALUES (1, hex(randomblob(16)))",
		    store->name);
	return code;
}

int
ob_sqlite_schema_check(struct sqlite_store *store, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int64_t version, found;
	int code = schema_version(store, &version, error);

	if (code != OB_OK)
		return code;
	if (version > VERSION_KNOWN)
		return schema_newer(store, version, error);
	if (version < VERSION_KNOWN)
		return ob_error_set(error, OB_SCHEMA, "%s: %s; run: outbox %s %s", store->name,
				    version == 0 ? "the outbox tables are not there"
						 : "the outbox tables are of an older version",
				    version == 0 ? "init" : "migrate", store->name);
	code = ob_sqlite_prepare_text(
	    store, "SELECT type FROM pragma_table_info('outbox_message') WHERE name = ?1",
	    &statement, error);
	if (code != OB_OK)
		return code;
	for (size_t i = 0;
	     i < sizeof(message_columns) / sizeof(message_columns[0]) && code == OB_OK; i++)
		code = column_check(store, statement, i, error);
	sqlite3_finalize(statement);
	if (code != OB_OK)
		return code;
	/* Without it a number can be given out twice, and the order of the log means nothing. */
	code = ob_sqlite_number_text(store,
				     "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND "
				     "name = 'outbox_message' AND sql LIKE '%AUTOINCREMENT%'",
				     &found, error);
	if (code == OB_OK && found == 0)
		code = ob_error_set(
		    error, OB_SCHEMA,
		    "%s: seq of outbox_message is no INTEGER PRIMARY KEY AUTOINCREMENT; rename "
		    "the table, make it anew with the statement that this shows: outbox migrate %s "
		    "--print, and copy its rows back in the order of seq",
		    store->name, store->name);
	return code == OB_OK ? tables_check(store, error) : code;
}
