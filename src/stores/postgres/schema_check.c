/*
 * Whether our tables are as they should be. What reading rests on is checked before each start: the columns and how
 * xid and seq come about, the sequence, both indexes, the ring. Each finding names the statement that mends it.
 */
#include <string.h>

#include "postgres_store.h"

/* What applications write to must be as we made it. */
static const struct {
	const char *name, *type;
} message_columns[] = {
    {"xid", "xid8"},
    {"id", "uuid"},
    {"topic", "text"},
    {"partition_key", "text"},
    {"type", "text"},
    {"payload", "text"},
    {"payload_bytes", "bytea"},
    {"content_type", "text"},
    {"headers", "jsonb"},
    {"deliver_after", "timestamp with time zone"},
    {"created_at", "timestamp with time zone"},
    {"seq", "bigint"},
};

#define COLUMN_COUNT (sizeof(message_columns) / sizeof(message_columns[0]))

/* The answers of facts_ask, in their order. */
enum { FACT_VERSIONED, FACT_COLUMNS, FACT_SEQUENCE, FACT_INDEXES, FACT_PARTITIONS };

static int
facts_ask(struct postgres_store *store, struct postgres_answers *answers, struct ob_error *error)
{
	const char *schema = store->options->schema;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store,
			"SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
			" WHERE n.nspname = '%s' AND c.relname = 'migration';"
			"SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attidentity,"
			" pg_get_expr(d.adbin, d.adrelid)"
			" FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
			" JOIN pg_namespace AS n ON n.oid = c.relnamespace"
			" LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum"
			" WHERE n.nspname = '%s' AND c.relname = 'message' AND a.attnum > 0"
			" AND NOT a.attisdropped ORDER BY a.attnum;",
			schema, schema);
	ob_postgres_sql(
	    store,
	    "SELECT q.seqcache, q.seqincrement, q.seqcycle, q.seqmax < 9223372036854775807"
	    " FROM pg_sequence AS q JOIN pg_class AS c ON c.oid = q.seqrelid"
	    " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
	    " WHERE n.nspname = '%s' AND c.relname = 'message_seq_seq';"
	    "SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
	    " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
	    " WHERE n.nspname = '%s' AND i.indisvalid"
	    " AND c.relname IN ('message_seq', 'message_xid');"
	    "SELECT count(*) FROM pg_inherits AS h JOIN pg_class AS p ON p.oid = h.inhparent"
	    " JOIN pg_class AS c ON c.oid = h.inhrelid"
	    " JOIN pg_namespace AS n ON n.oid = p.relnamespace"
	    " WHERE n.nspname = '%s' AND p.relname = 'message'"
	    " AND c.relname = ANY (SELECT 'message_' || i FROM generate_series(0, %d) AS i);",
	    schema, schema, schema, POSTGRES_PARTITIONS - 1);
	return ob_postgres_commit(store, "schema", answers, error);
}

static int
version_check(struct postgres_store *store, bool versioned, struct ob_error *error)
{
	int64_t version = 0;
	int code = OB_OK;

	if (versioned)
		code = ob_postgres_schema_version(store, &version, error);
	if (code != OB_OK)
		return code;
	if (version > ob_postgres_schema_known())
		return ob_postgres_schema_newer(store, version, error);
	if (version < ob_postgres_schema_known())
		return ob_error_set(error, OB_SCHEMA, "%s: %s; run: outbox %s %s", store->name,
				    version == 0 ? "the outbox tables are not there"
						 : "the outbox tables are of an older version",
				    version == 0 ? "init" : "migrate", store->name);
	return OB_OK;
}

static int
column_find(const PGresult *columns, const char *name)
{
	for (int i = 0; i < PQntuples(columns); i++)
		if (strcmp(ob_postgres_text(columns, i, 0), name) == 0)
			return i;
	return -1;
}

static int
columns_check(struct postgres_store *store, const PGresult *columns, struct ob_error *error)
{
	int xid, seq;

	if (PQntuples(columns) == 0)
		return ob_error_set(
		    error, OB_SCHEMA,
		    "%s: the table %s.message is not there; make it with the statement that "
		    "this shows: outbox migrate %s --print",
		    store->name, store->schema, store->name);
	for (size_t i = 0; i < COLUMN_COUNT; i++) {
		const char *name = message_columns[i].name, *want = message_columns[i].type;
		int at = column_find(columns, name);

		if (at < 0)
			return ob_error_set(
			    error, OB_SCHEMA,
			    "%s: %s.message has no column %s; add it with: ALTER TABLE "
			    "%s.message ADD COLUMN %s %s",
			    store->name, store->schema, name, store->schema, name, want);
		if (strcmp(ob_postgres_text(columns, at, 1), want) != 0)
			return ob_error_set(
			    error, OB_SCHEMA,
			    "%s: column %s of %s.message has the type '%s'; change it with: ALTER TABLE "
			    "%s.message ALTER COLUMN %s TYPE %s",
			    store->name, name, store->schema, ob_postgres_text(columns, at, 1),
			    store->schema, name, want);
	}
	/* The transaction has its id before it draws the number. */
	xid = column_find(columns, "xid");
	seq = column_find(columns, "seq");
	if (xid > seq || strcmp(ob_postgres_text(columns, xid, 3), "pg_current_xact_id()") != 0)
		return ob_error_set(
		    error, OB_SCHEMA,
		    "%s: column xid of %s.message must have DEFAULT pg_current_xact_id() and stand before "
		    "seq; mend it with: ALTER TABLE %s.message ALTER COLUMN xid SET DEFAULT "
		    "pg_current_xact_id()",
		    store->name, store->schema, store->schema);
	if (strcmp(ob_postgres_text(columns, seq, 2), "a") != 0)
		return ob_error_set(
		    error, OB_SCHEMA,
		    "%s: column seq of %s.message must be GENERATED ALWAYS; mend it with: ALTER "
		    "TABLE %s.message ALTER COLUMN seq SET GENERATED ALWAYS",
		    store->name, store->schema, store->schema);
	return OB_OK;
}

static int
sequence_check(struct postgres_store *store, const PGresult *sequence, struct ob_error *error)
{
	if (PQntuples(sequence) == 0)
		return ob_error_set(
		    error, OB_SCHEMA,
		    "%s: the sequence %s.message_seq_seq is not there; make it with: ALTER TABLE "
		    "%s.message ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME "
		    "%s.message_seq_seq CACHE 1)",
		    store->name, store->schema, store->schema, store->schema);
	/* Sessions that draw numbers in blocks use low ones late. */
	if (ob_postgres_number(sequence, 0, 0, 0) != 1 ||
	    ob_postgres_number(sequence, 0, 1, 0) != 1 || ob_postgres_bool(sequence, 0, 2) ||
	    ob_postgres_bool(sequence, 0, 3))
		return ob_error_set(
		    error, OB_SCHEMA,
		    "%s: the sequence %s.message_seq_seq has CACHE %s and INCREMENT %s, so that its numbers are "
		    "not the order of the messages; mend it with: ALTER SEQUENCE %s.message_seq_seq CACHE 1 "
		    "INCREMENT 1 NO CYCLE NO MAXVALUE",
		    store->name, store->schema, ob_postgres_text(sequence, 0, 0),
		    ob_postgres_text(sequence, 0, 1), store->schema);
	return OB_OK;
}

static int
indexes_check(struct postgres_store *store, const PGresult *indexes, struct ob_error *error)
{
	static const struct {
		const char *name, *columns;
	} wanted[] = {{"message_seq", "seq"}, {"message_xid", "xid, seq"}};

	for (size_t i = 0; i < 2; i++)
		if (column_find(indexes, wanted[i].name) < 0)
			return ob_error_set(
			    error, OB_SCHEMA,
			    "%s: the index %s is missing; make it with: CREATE INDEX %s ON %s.message (%s)",
			    store->name, wanted[i].name, wanted[i].name, store->schema,
			    wanted[i].columns);
	return OB_OK;
}

int
ob_postgres_schema_check(struct postgres_store *store, struct ob_error *error)
{
	struct postgres_answers facts = {0};
	int code = facts_ask(store, &facts, error);

	if (code != OB_OK)
		return code;
	code = version_check(store, PQntuples(facts.items[FACT_VERSIONED]) > 0, error);
	if (code == OB_OK)
		code = columns_check(store, facts.items[FACT_COLUMNS], error);
	if (code == OB_OK)
		code = sequence_check(store, facts.items[FACT_SEQUENCE], error);
	if (code == OB_OK)
		code = indexes_check(store, facts.items[FACT_INDEXES], error);
	if (code == OB_OK &&
	    ob_postgres_number(facts.items[FACT_PARTITIONS], 0, 0, 0) != POSTGRES_PARTITIONS)
		code = ob_error_set(
		    error, OB_SCHEMA,
		    "%s: %s.message has not the partitions message_0 to message_%d; outbox "
		    "migrate %s --print shows how they are made",
		    store->name, store->schema, POSTGRES_PARTITIONS - 1, store->name);
	ob_postgres_answers_free(&facts);
	return code;
}
