/*
 * Whether our tables are as they should be. What reading and settling rest on is checked before each start: the columns
 * and how xid and seq come about, the sequence, the indexes, the ring. Each finding names the statement that mends it.
 */
#include <string.h>

#include "postgres_store.h"

#define COPIED                                                                                                      \
	"id uuid, topic text, partition_key text, type text, payload text, payload_bytes bytea, content_type text," \
	" headers jsonb, created_at timestamp with time zone"

/* The columns that this program names, each with its type. */
static const struct {
	const char *table, *columns;
} tables[] = {
    {"message",
     "xid xid8, id uuid, topic text, partition_key text, type text, payload text, payload_bytes bytea,"
     " content_type text, headers jsonb, deliver_after timestamp with time zone,"
     " created_at timestamp with time zone, seq bigint"},
    {"subscription",
     "name text, topics text, order_by integer, sink text, hold_key boolean, paused boolean,"
     " shards integer, shards_next integer, common pg_snapshot, common_q bigint"},
    {"checkpoint",
     "subscription text, shard integer, epoch bigint, s1 pg_snapshot, q1 bigint, s2 pg_snapshot,"
     " q2 bigint, at bigint, beat bigint, replay_s1 pg_snapshot, replay_s2 pg_snapshot,"
     " replay_at bigint, replay_end bigint, replay_high bigint, system_identifier bigint,"
     " database_oid oid"},
    {"opening", "subscription text, shard integer, epoch bigint, snapshot pg_snapshot"},
    {"lease",
     "subscription text, shard integer, holder text, beat bigint, owner text, member bigint,"
     " lease_ms bigint, expires_at timestamp with time zone, state text, code text, text text,"
     " state_since timestamp with time zone, delivered bigint"},
    {"member", "subscription text, member bigint, owner text, beat bigint, live_ms bigint,"
	       " expires_at timestamp with time zone, joined_at timestamp with time zone"},
    {"parked",
     "subscription text, position bigint, shard integer, lane bigint, scheduled boolean, head boolean,"
     " due_at timestamp with time zone, attempts integer, first_try_at timestamp with time zone,"
     " parked_at timestamp with time zone, code text, text text, tries text, " COPIED},
    {"dead",
     "subscription text, position bigint, shard integer, lane bigint, holds_key boolean, attempts integer,"
     " first_try_at timestamp with time zone, dead_at timestamp with time zone, code text, text text,"
     " tries text, " COPIED},
};

/* What makes an index: this, the schema, and that. */
static const struct {
	const char *name, *before, *behind;
} indexes[] = {
    {"message_seq", "CREATE INDEX message_seq ON ", ".message (seq)"},
    {"message_xid", "CREATE INDEX message_xid ON ", ".message (xid, seq)"},
    {"subscription_pkey", "ALTER TABLE ", ".subscription ADD PRIMARY KEY (name)"},
    {"checkpoint_pkey", "ALTER TABLE ", ".checkpoint ADD PRIMARY KEY (subscription, shard)"},
    {"opening_pkey", "ALTER TABLE ", ".opening ADD PRIMARY KEY (subscription, shard)"},
    {"lease_pkey", "ALTER TABLE ", ".lease ADD PRIMARY KEY (subscription, shard)"},
    {"member_pkey", "ALTER TABLE ", ".member ADD PRIMARY KEY (subscription, member)"},
    {"parked_pkey", "ALTER TABLE ", ".parked ADD PRIMARY KEY (subscription, position)"},
    {"dead_pkey", "ALTER TABLE ", ".dead ADD PRIMARY KEY (subscription, position)"},
    {"parked_due", "CREATE INDEX parked_due ON ",
     ".parked (subscription, shard, due_at) WHERE head"},
    {"parked_head", "CREATE INDEX parked_head ON ",
     ".parked (subscription, lane) WHERE head AND NOT scheduled"},
    {"parked_lane", "CREATE INDEX parked_lane ON ",
     ".parked (subscription, lane, position) WHERE NOT scheduled"},
    {"dead_held", "CREATE INDEX dead_held ON ", ".dead (subscription, lane) WHERE holds_key"},
};

#define TABLE_COUNT (sizeof(tables) / sizeof(tables[0]))
#define INDEX_COUNT (sizeof(indexes) / sizeof(indexes[0]))

/* The answers of facts_ask, in their order. */
enum { FACT_VERSIONED, FACT_WRONG, FACT_MESSAGE, FACT_SEQUENCE, FACT_INDEXES, FACT_PARTITIONS };

/* Asks for the first column that is not there, or has another type. */
static void
wrong_append(struct postgres_store *store)
{
	ob_postgres_sql(
	    store,
	    "SELECT t.name, w.column_name, w.type, format_type(a.atttypid, a.atttypmod), c.oid IS NULL FROM (VALUES ");
	for (size_t i = 0; i < TABLE_COUNT; i++)
		ob_postgres_sql(store, "%s(%zu, '%s', '%s')", i > 0 ? "," : "", i, tables[i].table,
				tables[i].columns);
	ob_postgres_sql(
	    store,
	    ") AS t (place, name, columns) CROSS JOIN LATERAL (SELECT place, split_part(word, ' ', 1) AS"
	    " column_name, substr(word, strpos(word, ' ') + 1) AS type"
	    " FROM unnest(string_to_array(t.columns, ', ')) WITH ORDINALITY AS it (word, place)) AS w"
	    " LEFT JOIN (pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = '%s')"
	    " ON c.relname = t.name LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid"
	    " AND a.attname = w.column_name AND a.attnum > 0 AND NOT a.attisdropped"
	    " WHERE format_type(a.atttypid, a.atttypmod) IS DISTINCT FROM w.type"
	    " ORDER BY t.place, w.place LIMIT 1;",
	    store->options->schema);
}

static int
facts_ask(struct postgres_store *store, struct postgres_answers *answers, struct ob_error *error)
{
	const char *schema = store->options->schema;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store,
			"SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
			" WHERE n.nspname = '%s' AND c.relname = 'migration';",
			schema);
	wrong_append(store);
	ob_postgres_sql(
	    store,
	    "SELECT a.attname, a.attidentity, pg_get_expr(d.adbin, d.adrelid)"
	    " FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
	    " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
	    " LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum"
	    " WHERE n.nspname = '%s' AND c.relname = 'message' AND a.attname IN ('xid', 'seq')"
	    " ORDER BY a.attnum;"
	    "SELECT q.seqcache, q.seqincrement, q.seqcycle, q.seqmax < 9223372036854775807"
	    " FROM pg_sequence AS q JOIN pg_class AS c ON c.oid = q.seqrelid"
	    " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
	    " WHERE n.nspname = '%s' AND c.relname = 'message_seq_seq';"
	    "SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
	    " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
	    " WHERE n.nspname = '%s' AND i.indisvalid;",
	    schema, schema, schema);
	ob_postgres_sql(
	    store,
	    "SELECT count(*) FROM pg_inherits AS h JOIN pg_class AS p ON p.oid = h.inhparent"
	    " JOIN pg_class AS c ON c.oid = h.inhrelid"
	    " JOIN pg_namespace AS n ON n.oid = p.relnamespace"
	    " WHERE n.nspname = '%s' AND p.relname = 'message'"
	    " AND c.relname = ANY (SELECT 'message_' || i FROM generate_series(0, %d) AS i);",
	    schema, POSTGRES_PARTITIONS - 1);
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

/* Without it a column that is added anew would be NULL in what is written from then on. */
static const char *
default_of(const char *table, const char *column)
{
	static const struct {
		const char *column, *text;
	} defaults[] = {
	    {"xid", " NOT NULL DEFAULT pg_current_xact_id()"},
	    {"id", " NOT NULL DEFAULT gen_random_uuid()"},
	    {"created_at", " NOT NULL DEFAULT clock_timestamp()"},
	};

	for (size_t i = 0; strcmp(table, "message") == 0 && i < 3; i++)
		if (strcmp(column, defaults[i].column) == 0)
			return defaults[i].text;
	return "";
}

static int
wrong_check(struct postgres_store *store, const PGresult *wrong, struct ob_error *error)
{
	const char *table = ob_postgres_text(wrong, 0, 0), *column = ob_postgres_text(wrong, 0, 1);
	const char *type = ob_postgres_text(wrong, 0, 2), *present = ob_postgres_text(wrong, 0, 3);

	if (PQntuples(wrong) == 0)
		return OB_OK;
	if (ob_postgres_bool(wrong, 0, 4))
		return ob_error_set(
		    error, OB_SCHEMA,
		    "%s: the table %s.%s is not there; make it with the statement that "
		    "this shows: outbox migrate %s --print",
		    store->name, store->schema, table, store->name);
	if (*present == '\0')
		return ob_error_set(error, OB_SCHEMA,
				    "%s: %s.%s has no column %s; add it with: ALTER TABLE "
				    "%s.%s ADD COLUMN %s %s%s",
				    store->name, store->schema, table, column, store->schema, table,
				    column, type, default_of(table, column));
	return ob_error_set(error, OB_SCHEMA,
			    "%s: column %s of %s.%s has the type '%s'; change it with: ALTER TABLE "
			    "%s.%s ALTER COLUMN %s TYPE %s",
			    store->name, column, store->schema, table, present, store->schema,
			    table, column, type);
}

/* The transaction has its id before it draws the number. */
static int
message_check(struct postgres_store *store, const PGresult *columns, struct ob_error *error)
{
	if (strcmp(ob_postgres_text(columns, 0, 0), "xid") != 0)
		return ob_error_set(
		    error, OB_SCHEMA,
		    "%s: column xid of %s.message must stand before seq, as in the statement that "
		    "this shows: outbox migrate %s --print",
		    store->name, store->schema, store->name);
	if (strcmp(ob_postgres_text(columns, 0, 2), "pg_current_xact_id()") != 0)
		return ob_error_set(
		    error, OB_SCHEMA,
		    "%s: column xid of %s.message must have DEFAULT pg_current_xact_id(); mend it with: ALTER "
		    "TABLE %s.message ALTER COLUMN xid SET DEFAULT pg_current_xact_id()",
		    store->name, store->schema, store->schema);
	if (strcmp(ob_postgres_text(columns, 1, 1), "a") != 0)
		return ob_error_set(
		    error, OB_SCHEMA,
		    "%s: column seq of %s.message must be GENERATED ALWAYS; mend it with: ALTER "
		    "TABLE %s.message ALTER COLUMN seq SET GENERATED ALWAYS",
		    store->name, store->schema, store->schema);
	return OB_OK;
}

/* Numbers that were used must not be given out again: rows with low ones would be read as the late ones of long ago. */
static int
fail_no_sequence(struct postgres_store *store, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	const char *schema = store->schema;
	int64_t next;
	int code;

	ob_postgres_begin_read(store);
	ob_postgres_sql(
	    store,
	    "SELECT 1 + max(n) FROM (SELECT max(seq) FROM %s.message UNION ALL"
	    " SELECT max(greatest(q1, q2, at, replay_high)) FROM %s.checkpoint UNION ALL"
	    " SELECT max(common_q) FROM %s.subscription UNION ALL SELECT max(position) FROM"
	    " %s.parked UNION ALL SELECT max(position) FROM %s.dead UNION ALL SELECT 0) AS used (n);",
	    schema, schema, schema, schema, schema);
	code = ob_postgres_commit(store, "schema", &answers, error);
	if (code != OB_OK)
		return code;
	/* A stretch more: some may have been used and be forgotten. */
	next = ob_postgres_number(answers.items[0], 0, 0, 1) + POSTGRES_STRETCH;
	ob_postgres_answers_free(&answers);
	return ob_error_set(
	    error, OB_SCHEMA,
	    "%s: the sequence %s.message_seq_seq is not there; make it with: ALTER TABLE "
	    "%s.message ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME "
	    "%s.message_seq_seq START WITH %lld CACHE 1)",
	    store->name, schema, schema, schema, (long long)next);
}

/* Sessions that draw numbers in blocks use low ones late. */
static int
sequence_check(struct postgres_store *store, const PGresult *sequence, struct ob_error *error)
{
	if (PQntuples(sequence) == 0)
		return fail_no_sequence(store, error);
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

static bool
is_among(const PGresult *rows, const char *name)
{
	for (int i = 0; i < PQntuples(rows); i++)
		if (strcmp(ob_postgres_text(rows, i, 0), name) == 0)
			return true;
	return false;
}

static int
indexes_check(struct postgres_store *store, const PGresult *present, struct ob_error *error)
{
	for (size_t i = 0; i < INDEX_COUNT; i++)
		if (!is_among(present, indexes[i].name))
			return ob_error_set(error, OB_SCHEMA,
					    "%s: the index %s is missing; make it with: %s%s%s",
					    store->name, indexes[i].name, indexes[i].before,
					    store->schema, indexes[i].behind);
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
		code = wrong_check(store, facts.items[FACT_WRONG], error);
	if (code == OB_OK)
		code = sequence_check(store, facts.items[FACT_SEQUENCE], error);
	if (code == OB_OK)
		code = message_check(store, facts.items[FACT_MESSAGE], error);
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
