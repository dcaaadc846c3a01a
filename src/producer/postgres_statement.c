#include "postgres_statement.h"

#include <outbox/uuid.h>
#include <stdio.h>
#include <string.h>

#include "hex.h"
#include "postgres_connection.h"
#include "utf8.h"

/* A parameter is a length of 32 bits, and a message of the protocol at most a gigabyte. */
#define STATEMENT_BYTES_MAX ((size_t)1000 * 1000 * 1000)

#define EPOCH_US INT64_C(946684800000000) /* 2000-01-01, from which PostgreSQL counts */

enum { SQL_SIZE_MAX = 16 * 1024 };

/* Of src/include/catalog/pg_type.dat; they never change. */
enum {
	OID_BYTEA = 17,
	OID_TEXT = 25,
	OID_BYTEA_ARRAY = 1001,
	OID_TEXT_ARRAY = 1009,
	OID_TIMESTAMPTZ = 1184,
	OID_TIMESTAMPTZ_ARRAY = 1185,
	OID_UUID = 2950,
	OID_UUID_ARRAY = 2951,
};

static const struct column {
	const char *name;
	Oid type, array;
	const char *cast; /* of a text */
} columns[OB_PG_COLUMN_COUNT] = {
    [OB_PG_ID] = {"id", OID_UUID, OID_UUID_ARRAY, ""},
    [OB_PG_TOPIC] = {"topic", OID_TEXT, OID_TEXT_ARRAY, ""},
    [OB_PG_KEY] = {"partition_key", OID_TEXT, OID_TEXT_ARRAY, ""},
    [OB_PG_TYPE] = {"type", OID_TEXT, OID_TEXT_ARRAY, ""},
    [OB_PG_PAYLOAD] = {"payload", OID_TEXT, OID_TEXT_ARRAY, ""},
    [OB_PG_PAYLOAD_BYTES] = {"payload_bytes", OID_BYTEA, OID_BYTEA_ARRAY, ""},
    [OB_PG_CONTENT_TYPE] = {"content_type", OID_TEXT, OID_TEXT_ARRAY, ""},
    [OB_PG_HEADERS] = {"headers", OID_TEXT, OID_TEXT_ARRAY, "::pg_catalog.jsonb"},
    [OB_PG_DELIVER_AFTER] = {"deliver_after", OID_TIMESTAMPTZ, OID_TIMESTAMPTZ_ARRAY, ""},
};

static const size_t id_hyphens[] = {8, 13, 18, 23};

/* ---- checks ---- */

/* Reads the text form of a UUID (RFC 9562, 4). */
static bool
uuid_read(unsigned char out[16], const char *text)
{
	size_t hyphens = 0, digits = 0;

	for (size_t i = 0; text[i] != '\0'; i++) {
		int digit = ob_hex_digit(text[i]);

		if (hyphens < 4 && i == id_hyphens[hyphens]) {
			hyphens++;
			if (text[i] != '-')
				return false;
		} else if (digit < 0 || digits == 32) {
			return false;
		} else {
			out[digits / 2] = (unsigned char)(out[digits / 2] << 4 | digit);
			digits++;
		}
	}
	return digits == 32;
}

/* jsonb is made of text, which holds no NUL: https://www.postgresql.org/docs/current/datatype-json.html */
static bool
has_escaped_nul(const char *headers)
{
	for (const char *at = headers; (at = strchr(at, '\\')) != NULL; at += 2) {
		if (strncmp(at, "\\u0000", 6) == 0)
			return true;
		if (at[1] == '\0')
			break;
	}
	return false;
}

int
ob_pg_check_all(const struct ob_new_message *messages, size_t count, struct ob_error *error)
{
	unsigned char id[16];

	for (size_t i = 0; i < count; i++) {
		int rc = OB_OK;

		if (messages[i].id != NULL && !uuid_read(id, messages[i].id))
			rc = ob_error_set(
			    error, OB_INVALID,
			    "id: not a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91");
		else if (messages[i].headers != NULL && has_escaped_nul(messages[i].headers))
			rc = ob_error_set(error, OB_INVALID,
					  "headers: \\u0000 cannot be kept as jsonb");
		if (rc != OB_OK)
			return ob_outgoing_fail_at(error, i, count, rc);
	}
	return OB_OK;
}

/* ---- values ---- */

/*
 * A payload that is text is kept as text, so that people and SQL's JSON functions can read it; the bytes are the same.
 * A database in another encoding converts text, so there only ASCII is surely text.
 */
static bool
payload_is_text(struct ob_bytes payload, bool ascii_only)
{
	const unsigned char *bytes = payload.data;

	if (payload.size > 0 && memchr(bytes, 0, payload.size) != NULL)
		return false;
	if (!ascii_only)
		return ob_utf8_valid(bytes, payload.size);
	for (size_t i = 0; i < payload.size; i++)
		if (bytes[i] > 0x7f)
			return false;
	return true;
}

static void
number_write(unsigned char *out, uint64_t number, int size)
{
	for (int i = 0; i < size; i++)
		out[i] = (unsigned char)(number >> 8 * (size - 1 - i));
}

/* Reads or makes the id, and tells it to the caller as the table will have it. */
static int
row_id(struct ob_pg_row *row, const struct ob_new_message *message, struct ob_message_id *id,
       struct ob_error *error)
{
	char text[OB_UUID_TEXT_SIZE];
	int rc = OB_OK;

	if (message->id == NULL)
		rc = ob_uuid7(text, error);
	else
		memcpy(text, message->id, sizeof(text));
	if (rc != OB_OK)
		return rc;
	(void)uuid_read(row->id, text);
	row->values[OB_PG_ID] = (struct ob_bytes){row->id, sizeof(row->id)};
	if (id == NULL)
		return OB_OK;
	for (size_t i = 0; i < sizeof(text); i++)
		id->text[i] =
		    (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] + 'a' - 'A' : text[i]);
	return OB_OK;
}

static int
row_make(struct ob_pg_row *row, const struct ob_new_message *message, bool ascii_only,
	 struct ob_message_id *id, struct ob_error *error)
{
	char time[OB_RFC3339_SIZE];
	struct ob_outgoing out;

	ob_outgoing_fill(&out, message, time);
	*row = (struct ob_pg_row){.values = {
				      [OB_PG_TOPIC] = out.topic,
				      [OB_PG_KEY] = out.key,
				      [OB_PG_TYPE] = out.type,
				      [OB_PG_CONTENT_TYPE] = out.content_type,
				      [OB_PG_HEADERS] = out.headers,
				  }};
	if (out.payload.data != NULL)
		row->values[payload_is_text(out.payload, ascii_only) ? OB_PG_PAYLOAD
								     : OB_PG_PAYLOAD_BYTES] =
		    out.payload;
	if (message->deliver_after_us != 0) {
		number_write(row->deliver_after, (uint64_t)(message->deliver_after_us - EPOCH_US),
			     sizeof(row->deliver_after));
		row->values[OB_PG_DELIVER_AFTER] =
		    (struct ob_bytes){row->deliver_after, sizeof(row->deliver_after)};
	}
	return row_id(row, message, id, error);
}

/* ---- arrays: src/backend/utils/adt/arrayfuncs.c, array_recv() ---- */

static bool
array_number(struct ob_buf *array, size_t number)
{
	unsigned char bytes[4];

	number_write(bytes, number, sizeof(bytes));
	return ob_buf_append(array, bytes, sizeof(bytes));
}

static void
array_begin(struct ob_buf *array, Oid type, size_t count)
{
	(void)array_number(array, 1); /* dimension */
	(void)array_number(array, 1); /* there may be NULLs */
	(void)array_number(array, type);
	(void)array_number(array, count);
	(void)array_number(array, 1); /* the first index */
}

static void
array_add(struct ob_buf *array, struct ob_bytes value)
{
	(void)array_number(array, value.data == NULL ? UINT32_MAX : value.size);
	(void)ob_buf_append(array, value.data, value.size);
}

/* ---- the statement ---- */

/* Every function and type is named with its schema: the search path is the application's. */
static void
expression_add(struct ob_buf *sql, const char *value, const struct column *column, bool decode)
{
	if (decode && column->type == OID_TEXT)
		(void)ob_buf_appendf(sql, "pg_catalog.convert_from(%s, 'UTF8')%s", value,
				     column->cast);
	else
		(void)ob_buf_appendf(sql, "%s%s", value, column->cast);
}

static void
sql_make(struct ob_buf *sql, const char *schema, bool several, bool decode)
{
	(void)ob_buf_appendf(sql, "INSERT INTO %s.message (", schema);
	for (int i = 0; i < OB_PG_COLUMN_COUNT; i++)
		(void)ob_buf_appendf(sql, "%s%s", i == 0 ? "" : ", ", columns[i].name);
	(void)ob_buf_append_text(sql, several ? ") SELECT " : ") VALUES (");
	for (int i = 0; i < OB_PG_COLUMN_COUNT; i++) {
		char value[16];

		(void)snprintf(value, sizeof(value), several ? "m.c%d" : "$%d", i + 1);
		(void)ob_buf_append_text(sql, i == 0 ? "" : ", ");
		expression_add(sql, value, &columns[i], decode);
	}
	if (!several) {
		(void)ob_buf_append_text(sql, ")");
		return;
	}
	/* Its rows come in the order of the arrays, and each draws its number as it is inserted. The parser turns an unnest of
	   several arrays into that of pg_catalog. */
	(void)ob_buf_append_text(sql, " FROM unnest(");
	for (int i = 0; i < OB_PG_COLUMN_COUNT; i++)
		(void)ob_buf_appendf(sql, "%s$%d", i == 0 ? "" : ", ", i + 1);
	(void)ob_buf_append_text(sql, ") AS m (");
	for (int i = 0; i < OB_PG_COLUMN_COUNT; i++)
		(void)ob_buf_appendf(sql, "%sc%d", i == 0 ? "" : ", ", i + 1);
	(void)ob_buf_append_text(sql, ")");
}

/* What a column's parameter is made of. */
static const struct column *
parameter_of(const struct ob_pg_statement *statement, int i)
{
	bool as_bytes = statement->decode && columns[i].type == OID_TEXT;

	return &columns[as_bytes ? OB_PG_PAYLOAD_BYTES : i];
}

static int
one_fill(struct ob_pg_statement *statement, const struct ob_new_message *message,
	 struct ob_message_id *id, struct ob_error *error)
{
	int rc = row_make(&statement->row, message, statement->ascii_only, id, error);

	for (int i = 0; rc == OB_OK && i < OB_PG_COLUMN_COUNT; i++) {
		statement->types[i] = parameter_of(statement, i)->type;
		statement->values[i] = statement->row.values[i].data;
		statement->lengths[i] = (int)statement->row.values[i].size;
	}
	return rc;
}

static int
row_add(struct ob_pg_statement *statement, const struct ob_pg_row *row, size_t *size,
	struct ob_error *error)
{
	for (int i = 0; i < OB_PG_COLUMN_COUNT; i++) {
		*size += sizeof(uint32_t) + row->values[i].size;
		if (*size > STATEMENT_BYTES_MAX)
			return ob_error_set(
			    error, OB_LIMIT,
			    "a statement takes at most %zu bytes; write fewer messages at once",
			    STATEMENT_BYTES_MAX);
		array_add(&statement->arrays[i], row->values[i]);
		if (statement->arrays[i].failed)
			return ob_error_set(error, OB_NOMEM, "out of memory");
	}
	return OB_OK;
}

static int
several_fill(struct ob_pg_statement *statement, const struct ob_new_message *messages, size_t count,
	     struct ob_message_id *ids, struct ob_error *error)
{
	size_t size = 0;
	int rc = OB_OK;

	for (int i = 0; i < OB_PG_COLUMN_COUNT; i++) {
		ob_buf_init(&statement->arrays[i], STATEMENT_BYTES_MAX + 64);
		array_begin(&statement->arrays[i], parameter_of(statement, i)->type, count);
		statement->types[i] = parameter_of(statement, i)->array;
	}
	for (size_t n = 0; rc == OB_OK && n < count; n++) {
		struct ob_pg_row row;

		rc = row_make(&row, &messages[n], statement->ascii_only,
			      ids == NULL ? NULL : &ids[n], error);
		if (rc == OB_OK)
			rc = row_add(statement, &row, &size, error);
	}
	for (int i = 0; i < OB_PG_COLUMN_COUNT; i++) {
		statement->values[i] = statement->arrays[i].data;
		statement->lengths[i] = (int)statement->arrays[i].size;
	}
	return rc;
}

int
ob_pg_statement_make(struct ob_pg_statement *statement, PGconn *conn, const char *schema,
		     const struct ob_new_message *messages, size_t count, struct ob_message_id *ids,
		     struct ob_error *error)
{
	const char *server_encoding = PQparameterStatus(conn, "server_encoding");
	char *quoted = NULL;
	int rc;

	*statement = (struct ob_pg_statement){
	    .decode = !ob_pg_takes_utf8(conn),
	    .ascii_only = server_encoding == NULL || strcmp(server_encoding, "UTF8") != 0,
	};
	ob_buf_init(&statement->sql, SQL_SIZE_MAX);
	for (int i = 0; i < OB_PG_COLUMN_COUNT; i++)
		statement->formats[i] = 1;
	rc = ob_pg_schema_quote(conn, schema, &quoted, error);
	if (rc != OB_OK)
		return rc;
	sql_make(&statement->sql, quoted, count > 1, statement->decode);
	PQfreemem(quoted);
	if (statement->sql.failed)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	if (count == 1)
		return one_fill(statement, messages, ids, error);
	return several_fill(statement, messages, count, ids, error);
}

void
ob_pg_statement_free(struct ob_pg_statement *statement)
{
	ob_buf_free(&statement->sql);
	for (int i = 0; i < OB_PG_COLUMN_COUNT; i++)
		ob_buf_free(&statement->arrays[i]);
}
