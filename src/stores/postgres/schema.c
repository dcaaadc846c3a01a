/*
 * Migrations: numbered SQL files that are embedded at build.
 *
 * To change the schema: add a file 00N_what.sql, its line in `migrations` and in meson.build, and never touch
 * an old one. A change must leave the tables usable by the release before it (add first, remove a release
 * later), since relays and applications are not stopped together. What ob_postgres_schema_check
 * demands goes with it.
 *
 * In the files {schema} stands for the schema as an identifier, {schema_name} for its name inside a literal, and {roles}
 * for whether roles are made and granted to. All that is missing is done in one transaction under an advisory lock, so
 * a second migration finds it done; a short lock_timeout keeps it from queueing before the application.
 */
#include <stdlib.h>
#include <string.h>

#include "crash.h"
#include "postgres_store.h"
#include "text.h"

extern const char ob_postgres_sql_001[];

struct migration {
	uint32_t version;
	const char *name;
	const char *sql;
};

static const struct migration migrations[] = {
    {1, "outbox", ob_postgres_sql_001},
};

#define MIGRATION_COUNT (sizeof(migrations) / sizeof(migrations[0]))
#define VERSION_KNOWN   (migrations[MIGRATION_COUNT - 1].version)
#define SCHEMA_SQL_MAX  (1024 * 1024)
#define SCHEMA_NAME_MAX 63

/* "outbox" in ASCII: tells our advisory lock from those of the application. Behind it the schema's hash. */
#define LOCK_CLASS 0x6f757462

char *
ob_postgres_schema_name(const struct postgres_options *options, struct ob_error *error)
{
	const char *name = options->schema;
	struct ob_buf quoted;
	char *text;

	if (strlen(name) == 0 || strlen(name) > SCHEMA_NAME_MAX ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name) ||
	    (*name >= '0' && *name <= '9') || ob_text_starts_with(name, "pg_")) {
		ob_error_set(error, OB_CONFIG,
			     "schema '%s': use up to 63 lower case letters, digits and _, without "
			     "pg_ or a digit at the start",
			     name);
		return NULL;
	}
	ob_buf_init(&quoted, SCHEMA_NAME_MAX + 2);
	/* It may be a word of SQL's; ours is none. */
	if (strcmp(name, "outbox") == 0)
		ob_buf_append_text(&quoted, name);
	else
		ob_buf_appendf(&quoted, "\"%s\"", name);
	text = ob_buf_take(&quoted, NULL);
	if (text == NULL)
		ob_error_set(error, OB_NOMEM, "out of memory");
	return text;
}

/* ---- the text of a migration ---- */

struct words {
	const char *schema, *schema_name;
	bool roles;
};

static void
text_expand(struct ob_buf *out, const char *text, const struct words *words)
{
	const struct {
		const char *word, *value;
	} values[] = {
	    {"{schema}", words->schema},
	    {"{schema_name}", words->schema_name},
	    {"{roles}", words->roles ? "true" : "false"},
	};

	while (*text != '\0') {
		size_t plain = strcspn(text, "{");
		bool known = false;

		ob_buf_append(out, text, plain);
		text += plain;
		for (size_t i = 0; i < sizeof(values) / sizeof(values[0]) && !known; i++) {
			known = ob_text_starts_with(text, values[i].word);
			if (!known)
				continue;
			ob_buf_append_text(out, values[i].value);
			text += strlen(values[i].word);
		}
		if (!known && *text != '\0')
			ob_buf_append_byte(out, *text++);
	}
}

/* Everything that belongs to the schema is made by its owner, whoever runs the migration. */
static const char as_owner[] =
    "SELECT set_config('role', r.rolname, true) FROM pg_namespace AS n JOIN pg_roles AS r ON r.oid = n.nspowner"
    " WHERE n.nspname = '{schema_name}' AND r.rolname = 'outbox_owner'"
    " AND pg_has_role(current_user, r.oid, 'MEMBER');\n";

static void
migration_append(struct ob_buf *out, const struct migration *migration, const struct words *words)
{
	if (migration->version > 1)
		text_expand(out, as_owner, words);
	text_expand(out, migration->sql, words);
	ob_buf_appendf(out, "INSERT INTO %s.migration (version, name) VALUES (%u, '%s');\n",
		       words->schema, migration->version, migration->name);
}

static void
lock_append(struct ob_buf *out, const struct words *words)
{
	ob_buf_appendf(out, "SELECT pg_advisory_xact_lock(%d, hashtext('%s'));\n", LOCK_CLASS,
		       words->schema_name);
}

char *
ob_postgres_schema_sql(const void *options)
{
	const struct postgres_options *own = options;
	struct words words = {.schema_name = own->schema, .roles = own->roles};
	char *schema = ob_postgres_schema_name(own, NULL);
	struct ob_buf buf;

	ob_buf_init(&buf, SCHEMA_SQL_MAX);
	words.schema = schema;
	if (schema != NULL) {
		ob_buf_appendf(
		    &buf,
		    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;\nSET LOCAL lock_timeout = %d;\n",
		    POSTGRES_LOCK_TIMEOUT_MS);
		lock_append(&buf, &words);
		for (size_t i = 0; i < MIGRATION_COUNT; i++) {
			ob_buf_append_byte(&buf, '\n');
			migration_append(&buf, &migrations[i], &words);
		}
		ob_buf_append_text(&buf, "COMMIT;\n");
	}
	free(schema);
	return ob_buf_take(&buf, NULL);
}

/* ---- what the database has ---- */

/* Asks the catalog's tables: to_regclass() answers from a cache that a wait for an advisory lock does not renew. */
static void
there_append(struct postgres_store *store)
{
	ob_postgres_sql(store,
			"SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
			" WHERE n.nspname = '%s' AND c.relname = 'migration';",
			store->options->schema);
}

int
ob_postgres_schema_version(struct postgres_store *store, int64_t *version, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	bool there;
	int code;

	ob_postgres_begin_read(store);
	there_append(store);
	code = ob_postgres_commit(store, "schema", &answers, error);
	if (code != OB_OK)
		return code;
	there = PQntuples(answers.items[0]) > 0;
	ob_postgres_answers_free(&answers);
	*version = 0;
	if (!there)
		return OB_OK;
	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "SELECT max(version) FROM %s.migration;", store->schema);
	code = ob_postgres_commit(store, "schema", &answers, error);
	if (code == OB_OK)
		*version = ob_postgres_number(answers.items[0], 0, 0, 0);
	ob_postgres_answers_free(&answers);
	return code;
}

uint32_t
ob_postgres_schema_known(void)
{
	return VERSION_KNOWN;
}

int
ob_postgres_schema_newer(struct postgres_store *store, int64_t version, struct ob_error *error)
{
	return ob_error_set(
	    error, OB_SCHEMA,
	    "%s: its tables have version %lld, this program knows %u: use the newer program",
	    store->name, (long long)version, VERSION_KNOWN);
}

/* ---- migrating ---- */

/*
 * One transaction. Another migration may have been at work since the version was read, and it is read again under the
 * lock; so the lock is taken in one message and the rest sent in another, with the transaction left open between.
 */
static int
migrations_apply(struct postgres_store *store, const struct words *words, int64_t *version,
		 struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code;

	ob_postgres_begin_write(store);
	lock_append(&store->sql, words);
	there_append(store);
	code = ob_postgres_run(store, "migrate", &answers, error);
	if (code == OB_OK && PQntuples(answers.items[1]) > 0) {
		ob_postgres_answers_free(&answers);
		ob_buf_reset(&store->sql);
		ob_postgres_sql(store, "SELECT max(version) FROM %s.migration", words->schema);
		code = ob_postgres_run(store, "migrate", &answers, error);
		if (code == OB_OK)
			*version = ob_postgres_number(answers.items[0], 0, 0, 0);
	}
	ob_postgres_answers_free(&answers);
	if (code != OB_OK)
		return code;
	ob_buf_reset(&store->sql);
	for (size_t i = 0; i < MIGRATION_COUNT; i++)
		if (migrations[i].version > *version)
			migration_append(&store->sql, &migrations[i], words);
	code = ob_postgres_run(store, "migrate", NULL, error);
	OB_CRASH_POINT("C12");
	ob_buf_reset(&store->sql);
	if (code == OB_OK)
		code = ob_postgres_commit(store, "migrate", NULL, error);
	return code;
}

static void
migration_tell(const struct migration *from, const struct words *words, int64_t version,
	       void (*each)(void *context, const struct ob_migration *migration), void *context)
{
	struct ob_migration migration = {
	    .version = from->version,
	    .name = from->name,
	    .applied = from->version <= version,
	};
	struct ob_buf sql;

	ob_buf_init(&sql, SCHEMA_SQL_MAX);
	text_expand(&sql, from->sql, words);
	migration.sql = ob_buf_text(&sql);
	each(context, &migration);
	ob_buf_free(&sql);
}

int
ob_postgres_migrate(struct ob_store *base, enum ob_migrate_mode mode,
		    void (*each)(void *context, const struct ob_migration *migration),
		    void *context, struct ob_error *error)
{
	struct postgres_store *store = (struct postgres_store *)(void *)base;
	const struct words words = {
	    .schema = store->schema,
	    .schema_name = store->options->schema,
	    .roles = store->options->roles,
	};
	int64_t version;
	int code = ob_postgres_schema_version(store, &version, error);

	if (code != OB_OK)
		return code;
	if (version > VERSION_KNOWN)
		return ob_postgres_schema_newer(store, version, error);
	if (mode == OB_MIGRATE_APPLY && version < VERSION_KNOWN)
		code = migrations_apply(store, &words, &version, error);
	for (size_t i = 0; i < MIGRATION_COUNT && code == OB_OK && each != NULL; i++)
		migration_tell(&migrations[i], &words, version, each, context);
	return code;
}
