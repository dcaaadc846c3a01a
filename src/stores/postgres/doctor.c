/* What `outbox doctor` says of the database: each finding with the command that mends it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "postgres_store.h"

#define TEXT_MAX 512
/* Transactions that are open for longer keep dead rows of all tables from being cleaned up. */
#define LONG_S 300

struct examination {
	struct postgres_store *store;
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

/* ---- the server ---- */

static void
settings_tell(struct examination *e, const PGresult *row)
{
	find(e, OB_FINDING_OK, "server", NULL, "PostgreSQL %s, user %s",
	     ob_postgres_text(row, 0, 0), PQuser(e->store->conn));
	if (!ob_postgres_bool(row, 0, 1))
		find(e, OB_FINDING_WARN, "fsync_off", "ALTER SYSTEM SET fsync = on",
		     "the server runs with fsync = off: what a relay took for durable can vanish");
	if (!ob_postgres_bool(row, 0, 2))
		find(e, OB_FINDING_WARN, "full_page_writes_off",
		     "ALTER SYSTEM SET full_page_writes = on",
		     "the server runs with full_page_writes = off: a crash can tear pages");
	if (ob_postgres_bool(row, 0, 3))
		find(e, OB_FINDING_NOTE, "superuser",
		     "give the relay a login of its own: GRANT "
		     "outbox_relay TO that login",
		     "this user is a superuser, which a relay need not be");
	if (e->store->options->notify &&
	    ob_postgres_is_pooled(e->store, ob_postgres_number(row, 0, 6, 0)))
		find(
		    e, OB_FINDING_WARN, "notify_through_proxy",
		    "give the relay a URL that leads past the proxy, or leave the option notify out",
		    "a proxy stands before the server, so that no notification arrives");
	if (!ob_postgres_bool(row, 0, 4)) {
		char mend[TEXT_MAX];

		snprintf(mend, sizeof(mend), "GRANT pg_read_all_stats TO %s",
			 PQuser(e->store->conn));
		find(e, OB_FINDING_NOTE, "transactions_hidden", mend,
		     "this user does not see how long the transactions of others are open");
	}
}

/* Where commits do not wait for the disk, or not for the standby that is to take over: the server's setting, and those of roles and
   databases. */
static void
commits_tell(struct examination *e, const PGresult *rows)
{
	char mend[TEXT_MAX];

	for (int i = 0; i < PQntuples(rows); i++) {
		snprintf(mend, sizeof(mend), "%s SET synchronous_commit = on",
			 ob_postgres_text(rows, i, 1));
		find(
		    e, OB_FINDING_NOTE, "asynchronous_commit", mend,
		    "%s commits with synchronous_commit = %s: a message whose commit was told can be gone after "
		    "a crash or a failover, and then is never sent",
		    ob_postgres_text(rows, i, 0), ob_postgres_text(rows, i, 2));
	}
}

/* By our own clock against the server's. */
static void
clock_tell(struct examination *e, const PGresult *row)
{
	const struct ob_host *host = e->store->base.host;
	int64_t skew_ms = (ob_postgres_number(row, 0, 5, 0) - host->wall_us(host->context)) / 1000;

	if (skew_ms > 2000 || skew_ms < -2000)
		find(
		    e, OB_FINDING_NOTE, "clock_skew", "let both machines follow one time server",
		    "the server's clock is %lld ms ahead of this machine's; leases go by the server's alone, "
		    "but times that are shown may puzzle",
		    (long long)skew_ms);
}

static int
examine_server(struct examination *e, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code;

	ob_postgres_begin_read(e->store);
	ob_postgres_sql(
	    e->store,
	    "SELECT current_setting('server_version'),"
	    " current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',"
	    " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),"
	    " pg_has_role('pg_read_all_stats', 'USAGE'),"
	    " (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, pg_backend_pid();"
	    "SELECT who, mend, value FROM (SELECT 1 AS place, 'whoever writes' AS who, 'ALTER SYSTEM' AS mend,"
	    " setting AS value FROM pg_settings WHERE name = 'synchronous_commit'"
	    " AND source NOT IN ('user', 'database', 'database user') UNION ALL"
	    " SELECT 2, CASE WHEN d.setrole = 0 THEN 'whoever writes to this database' ELSE 'user ' ||"
	    " r.rolname END, CASE WHEN d.setrole = 0 THEN 'ALTER DATABASE ' || quote_ident(current_database())"
	    " ELSE 'ALTER ROLE ' || quote_ident(r.rolname) || CASE WHEN d.setdatabase = 0 THEN '' ELSE"
	    " ' IN DATABASE ' || quote_ident(current_database()) END END, split_part(s.setting, '=', 2)"
	    " FROM pg_db_role_setting AS d LEFT JOIN pg_roles AS r ON r.oid = d.setrole,"
	    " unnest(d.setconfig) AS s (setting) WHERE s.setting LIKE 'synchronous_commit=%%' AND d.setdatabase"
	    " IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))) AS found"
	    " WHERE value IN ('off', 'false', 'no', '0') OR (value = 'local' AND current_setting('synchronous_standby_names') <> '')"
	    " ORDER BY place, who LIMIT 10;");
	code = ob_postgres_commit(e->store, "doctor", &answers, error);
	if (code != OB_OK)
		return code;
	settings_tell(e, answers.items[0]);
	commits_tell(e, answers.items[1]);
	clock_tell(e, answers.items[0]);
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

/* Nothing waits for them but the cleaning up of old rows. */
static int
examine_transactions(struct examination *e, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	const PGresult *rows;
	char mend[TEXT_MAX];
	int code;

	ob_postgres_begin_read(e->store);
	ob_postgres_sql(
	    e->store,
	    "SELECT pid::text, coalesce(usename, ''), coalesce(application_name, ''),"
	    " extract(epoch FROM clock_timestamp() - xact_start)::bigint FROM pg_stat_activity"
	    " WHERE xact_start < clock_timestamp() - interval '%d s' AND backend_type = 'client backend'"
	    " ORDER BY xact_start LIMIT 5;"
	    "SELECT gid, owner::text, '', extract(epoch FROM clock_timestamp() - prepared)::bigint"
	    " FROM pg_prepared_xacts WHERE database = current_database()"
	    " AND prepared < clock_timestamp() - interval '%d s' ORDER BY prepared LIMIT 5;",
	    LONG_S, LONG_S);
	code = ob_postgres_commit(e->store, "doctor", &answers, error);
	if (code != OB_OK)
		return code;
	rows = answers.items[0];
	for (int i = 0; i < PQntuples(rows); i++) {
		snprintf(mend, sizeof(mend), "SELECT pg_terminate_backend(%s)",
			 ob_postgres_text(rows, i, 0));
		find(
		    e, OB_FINDING_NOTE, "long_transaction", mend,
		    "process %s of user %s (%s) has a transaction open for %s s: messages are read past it, but "
		    "no table can be cleaned up meanwhile",
		    ob_postgres_text(rows, i, 0), ob_postgres_text(rows, i, 1),
		    ob_postgres_text(rows, i, 2), ob_postgres_text(rows, i, 3));
	}
	rows = answers.items[1];
	for (int i = 0; i < PQntuples(rows); i++) {
		snprintf(mend, sizeof(mend), "COMMIT PREPARED or ROLLBACK PREPARED '%s'",
			 ob_postgres_text(rows, i, 0));
		find(
		    e, OB_FINDING_NOTE, "prepared_transaction", mend,
		    "the prepared transaction %s of user %s waits for %s s; its messages come when it is "
		    "committed",
		    ob_postgres_text(rows, i, 0), ob_postgres_text(rows, i, 1),
		    ob_postgres_text(rows, i, 3));
	}
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

/* ---- our tables ---- */

/*
 * What the relay must be allowed to do, each with what gives the right. Asked by the oids of the catalog: by its name nobody finds a
 * table in a schema that he may not use.
 */
static int
examine_rights(struct examination *e, bool *missing, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	const char *schema = e->store->options->schema;
	const PGresult *rows;
	char mend[TEXT_MAX];
	int code;

	ob_postgres_begin_read(e->store);
	ob_postgres_sql(
	    e->store,
	    "SELECT 'USAGE', 'SCHEMA ' || quote_ident(nspname) FROM pg_namespace WHERE nspname = '%s'"
	    " AND NOT has_schema_privilege(oid, 'USAGE') UNION ALL"
	    " SELECT t.wanted, t.kind || quote_ident(n.nspname) || '.' || t.name FROM (VALUES"
	    " ('message', 'SELECT', ''), ('message_0', 'SELECT', ''), ('migration', 'SELECT', ''),"
	    " ('message_seq_seq', 'SELECT', 'SEQUENCE '),"
	    " ('subscription', 'SELECT, INSERT, UPDATE, DELETE', ''),"
	    " ('checkpoint', 'SELECT, INSERT, UPDATE, DELETE', ''),"
	    " ('opening', 'SELECT, INSERT, UPDATE, DELETE', ''),"
	    " ('lease', 'SELECT, INSERT, UPDATE, DELETE', ''),"
	    " ('member', 'SELECT, INSERT, UPDATE, DELETE', ''),"
	    " ('parked', 'SELECT, INSERT, UPDATE, DELETE', ''),"
	    " ('dead', 'SELECT, INSERT, UPDATE, DELETE', '')) AS t (name, wanted, kind)"
	    " JOIN pg_class AS c ON c.relname = t.name"
	    " JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = '%s'"
	    " WHERE EXISTS (SELECT FROM unnest(string_to_array(t.wanted, ', ')) AS one (wanted)"
	    " WHERE CASE WHEN t.kind = '' THEN NOT has_table_privilege(c.oid, one.wanted)"
	    " ELSE NOT has_sequence_privilege(c.oid, one.wanted) END) UNION ALL"
	    " SELECT 'EXECUTE', 'FUNCTION ' || quote_ident(n.nspname) || '.' || quote_ident(p.proname) || '(' ||"
	    " pg_get_function_identity_arguments(p.oid) || ')'"
	    " FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace AND n.nspname = '%s'"
	    " WHERE p.proname IN ('empty', 'turn', 'is_needed', 'stamp_anew', 'shard_of')"
	    " AND NOT has_function_privilege(p.oid, 'EXECUTE');",
	    schema, schema, schema);
	code = ob_postgres_commit(e->store, "doctor", &answers, error);
	if (code != OB_OK)
		return code;
	rows = answers.items[0];
	*missing = PQntuples(rows) > 0;
	for (int i = 0; i < PQntuples(rows); i++) {
		snprintf(mend, sizeof(mend), "GRANT %s ON %s TO %s", ob_postgres_text(rows, i, 0),
			 ob_postgres_text(rows, i, 1), PQuser(e->store->conn));
		find(e, OB_FINDING_FAIL, "right_missing", mend,
		     "user %s has not the right %s on %s", PQuser(e->store->conn),
		     ob_postgres_text(rows, i, 0), ob_postgres_text(rows, i, 1));
	}
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

static int
examine_tables(struct examination *e, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	const char *schema = e->store->schema;
	int64_t triggers, bytes;
	int code;

	ob_postgres_begin_read(e->store);
	ob_postgres_sql(
	    e->store,
	    "SELECT count(*) FROM pg_trigger WHERE tgrelid = '%s.message'::regclass AND NOT tgisinternal;"
	    "SELECT sum(pg_total_relation_size('%s.message_' || i))::bigint"
	    " FROM generate_series(0, %d) AS i;"
	    "SELECT attname FROM pg_attribute WHERE attrelid = '%s.message'::regclass AND attnum > 0"
	    " AND NOT attisdropped AND attnum > (SELECT attnum FROM pg_attribute"
	    " WHERE attrelid = '%s.message'::regclass AND attname = 'seq');",
	    schema, schema, POSTGRES_PARTITIONS - 1, schema, schema);
	code = ob_postgres_commit(e->store, "doctor", &answers, error);
	if (code != OB_OK)
		return code;
	triggers = ob_postgres_number(answers.items[0], 0, 0, 0);
	bytes = ob_postgres_number(answers.items[1], 0, 0, 0);
	if (triggers > 0)
		find(e, OB_FINDING_NOTE, "triggers", NULL,
		     "%s.message has %lld triggers; they run in the application's transaction",
		     schema, (long long)triggers);
	if (PQntuples(answers.items[2]) > 0)
		find(
		    e, OB_FINDING_NOTE, "columns_behind_seq", NULL,
		    "column %s of %s.message stands behind seq: an expression for it that takes a lock is "
		    "computed after the number was drawn; take locks in a statement before",
		    ob_postgres_text(answers.items[2], 0, 0), schema);
	find(e, OB_FINDING_OK, "log_size", NULL, "the log has %lld KiB", (long long)(bytes >> 10));
	ob_postgres_answers_free(&answers);
	return OB_OK;
}

/* The command that runs it. What a shell would read as something else is left to the reader. */
static void
relay_command(const struct examination *e, const struct ob_subscription_stats *stats, char *out,
	      size_t size)
{
	bool is_plain =
	    *stats->sink != '\0' && strpbrk(stats->sink, " '\"\\$`!*?&|;<>()#~\n") == NULL;

	snprintf(out, size, "outbox relay %s --to %s --subscription %s", e->store->name,
		 is_plain ? stats->sink : "SINK", stats->name);
}

/* "1, 5 and 7" of those that nobody runs; returns how many there are. */
static uint32_t
unowned_list(const struct ob_subscription_stats *stats, struct ob_buf *list)
{
	uint32_t count = 0, left;

	for (uint32_t i = 0; i < stats->shards; i++)
		count += !stats->shard[i].held;
	left = count;
	for (uint32_t i = 0; i < stats->shards; i++)
		if (!stats->shard[i].held) {
			ob_buf_appendf(list, "%s%u",
				       left == count ? ""
				       : left == 1   ? " and "
						     : ", ",
				       i);
			left--;
		}
	return count;
}

static void
examine_owners(struct examination *e, const struct ob_subscription_stats *stats)
{
	char mend[TEXT_MAX];
	struct ob_buf list;
	uint32_t count;

	ob_buf_init(&list, TEXT_MAX);
	count = unowned_list(stats, &list);
	relay_command(e, stats, mend, sizeof(mend));
	if (count == stats->shards && stats->members == 0) {
		if (stats->pending)
			find(e, OB_FINDING_WARN, "no_relay", mend,
			     "subscription %s has messages waiting and no relay runs it",
			     stats->name);
	} else if (count > 0) {
		find(
		    e, OB_FINDING_WARN, "shard_without_relay", mend,
		    "of the %u shards of subscription %s nobody runs %s, though %u relays have joined: why they "
		    "do not stands in their logs; one more takes its share",
		    stats->shards, stats->name, ob_buf_text(&list), stats->members);
	}
	ob_buf_free(&list);
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
		snprintf(mend, sizeof(mend), "outbox adopt %s --subscription %s --from-checkpoint",
			 e->store->name, stats->name);
		find(e, OB_FINDING_FAIL, stats->code, mend,
		     "the relay of subscription %s refuses this database: %s", stats->name,
		     stats->text);
	} else {
		examine_owners(e, stats);
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
ob_postgres_check(struct ob_store *base, const struct ob_report *report, struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	struct examination e = {.store = store, .report = report};
	struct ob_error schema = {0};
	bool missing = false;
	int code = examine_server(&e, error);

	if (code == OB_OK)
		code = examine_transactions(&e, error);
	if (code == OB_OK)
		code = examine_rights(&e, &missing, error);
	if (code != OB_OK)
		return code;
	code = ob_postgres_schema_check(store, &schema);
	if (code == OB_DENIED && missing)
		return OB_OK;
	if (code != OB_OK) {
		find(&e, OB_FINDING_FAIL, "schema", NULL, "%s", schema.text);
		return OB_OK;
	}
	find(&e, OB_FINDING_OK, "schema", NULL, "the tables are those that this program knows");
	if (missing)
		return OB_OK;
	code = examine_tables(&e, error);
	if (code == OB_OK)
		code = ob_postgres_stats(base, NULL, examine_subscription, &e, error);
	return code;
}
