/* PostgreSQL for the contract suite, on the server of OUTBOX_TEST_POSTGRES (scripts/with-server), which may be behind a proxy. Each
   world has a schema of its own, since a database takes longer to make. */
#include <libpq-fe.h>

#include "store_world.h"
#include "stores.h"

/* Of the world that is: the application's connection, and the schema's name. */
static PGconn *writer;
static char schema[32];

static PGconn *
connect_to(const char *url)
{
	PGconn *connection = PQconnectdb(url);

	if (PQstatus(connection) != CONNECTION_OK)
		fail_msg("%s: %s", url, PQerrorMessage(connection));
	return connection;
}

static void
run(PGconn *connection, const char *sql)
{
	PGresult *result = PQexec(connection, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(connection));
	PQclear(result);
}

static void
postgres_make(struct world *world)
{
	static unsigned made;
	const char *url = getenv("OUTBOX_TEST_POSTGRES");

	if (url == NULL)
		fail_msg("run it by scripts/with-server postgres -- PROGRAM");
	snprintf(world->url, sizeof(world->url), "%s", url);
	snprintf(schema, sizeof(schema), "contract_%u", ++made);
	snprintf(world->option, sizeof(world->option), "schema=%s", schema);
}

static void
postgres_batch(struct world *world, bool begin)
{
	if (writer == NULL)
		writer = connect_to(world->url);
	run(writer, begin ? "BEGIN" : "COMMIT");
}

/* Whether the bytes can be text in a database in UTF-8. */
static bool
is_text(struct ob_bytes bytes)
{
	for (size_t i = 0; i < bytes.size; i++)
		if (((const unsigned char *)bytes.data)[i] - 1u >= 0x7e)
			return false;
	return true;
}

static void
postgres_append(struct world *world, const struct ob_message *message, int64_t deliver_in_ms)
{
	static const char format[] =
	    "INSERT INTO %s.message (id, topic, partition_key, type, payload, payload_bytes,"
	    " content_type, headers, deliver_after) VALUES ($1::text::uuid, $2, $3, $4, $5, $6, $7, $8::text::jsonb,"
	    " clock_timestamp() + nullif($9::text, '0')::int8 * interval '1 ms')";
	char sql[sizeof(format) + sizeof(schema)];
	/* Payloads of odd length go where bytes go, if they are text, too. */
	bool as_bytes = message->payload.size % 2 == 1 || !is_text(message->payload);
	struct ob_bytes nothing = {0}, payload = message->payload;
	struct ob_bytes fields[] = {message->id,
				    message->topic,
				    message->key,
				    message->type,
				    as_bytes ? nothing : payload,
				    as_bytes ? payload : nothing,
				    message->content_type,
				    message->headers,
				    nothing};
	enum { COUNT = sizeof(fields) / sizeof(fields[0]) };
	static const int formats[COUNT] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
	const char *values[COUNT];
	int sizes[COUNT];
	char deliver[24];
	PGresult *result;

	snprintf(sql, sizeof(sql), format, schema);
	snprintf(deliver, sizeof(deliver), "%lld", (long long)deliver_in_ms);
	fields[COUNT - 1] = (struct ob_bytes){.data = deliver, .size = strlen(deliver)};
	for (size_t i = 0; i < COUNT; i++) {
		values[i] = fields[i].data;
		sizes[i] = (int)fields[i].size;
	}
	if (writer == NULL)
		writer = connect_to(world->url);
	result = PQexecParams(writer, sql, COUNT, NULL, values, sizes, formats, 0);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail_msg("insert: %s", PQerrorMessage(writer));
	PQclear(result);
}

static void
postgres_drop(struct world *world)
{
	(void)world;
	PQfinish(writer);
	writer = NULL;
}

/* The ring is turned as soon as everything is delivered, or no test would live to see it. */
static const char *const options[] = {"turn-age=0", NULL};

static const struct store_kind postgres = {
    .name = "postgres",
    .ops = &ob_store_postgres,
    .make = postgres_make,
    .append = postgres_append,
    .batch = postgres_batch,
    .drop = postgres_drop,
    .strict_text = true,
    .rewrites_json = true,
    .trims_stretches = true,
    .options = options,
};

const struct store_kind *const store_kinds[] = {&postgres, NULL};
