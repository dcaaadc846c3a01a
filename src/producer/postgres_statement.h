/*
 * The INSERT that writes messages into PostgreSQL: one statement with nine parameters, however many messages there are. One
 * message gives its values, several give nine arrays.
 */
#ifndef OB_PRODUCER_POSTGRES_STATEMENT_H
#define OB_PRODUCER_POSTGRES_STATEMENT_H

#include <libpq-fe.h>
#include <outbox/new_message.h>
#include <stdbool.h>

#include "buf.h"
#include "outgoing.h"

enum ob_pg_column {
	OB_PG_ID,
	OB_PG_TOPIC,
	OB_PG_KEY,
	OB_PG_TYPE,
	OB_PG_PAYLOAD,
	OB_PG_PAYLOAD_BYTES,
	OB_PG_CONTENT_TYPE,
	OB_PG_HEADERS,
	OB_PG_DELIVER_AFTER,
	OB_PG_COLUMN_COUNT,
};

/* The values of one message in binary form; absent: NULL. They point into the message or into this struct. */
struct ob_pg_row {
	struct ob_bytes values[OB_PG_COLUMN_COUNT];
	unsigned char id[16], deliver_after[8];
};

struct ob_pg_statement {
	struct ob_buf sql;
	bool decode; /* the connection's encoding is not UTF-8 */
	bool
	    ascii_only; /* of text that must keep its bytes: the database's encoding is not UTF-8 */
	struct ob_pg_row row;                     /* of the only message */
	struct ob_buf arrays[OB_PG_COLUMN_COUNT]; /* of several */
	/* As PQexecParams and PQsendQueryParams take them; all in binary form. */
	Oid types[OB_PG_COLUMN_COUNT];
	const char *values[OB_PG_COLUMN_COUNT];
	int lengths[OB_PG_COLUMN_COUNT];
	int formats[OB_PG_COLUMN_COUNT];
};

/* What every message must pass beyond ob_outgoing_check: OB_INVALID for what PostgreSQL could not keep. */
int ob_pg_check_all(const struct ob_new_message *messages, size_t count, struct ob_error *error);

/*
 * Makes the statement for `count` checked messages, at least one. Asks `conn` for its encodings alone. The messages must live
 * as long as the statement. Free it in any case. OB_LIMIT, OB_NOMEM, OB_INVALID (the schema is no text of the connection's
 * encoding), OB_FAILED.
 */
int ob_pg_statement_make(struct ob_pg_statement *statement, PGconn *conn, const char *schema,
			 const struct ob_new_message *messages, size_t count,
			 struct ob_message_id *ids, struct ob_error *error);
void ob_pg_statement_free(struct ob_pg_statement *statement);

#endif
