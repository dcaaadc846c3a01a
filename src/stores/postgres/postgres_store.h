/*
 * The PostgreSQL store, shared by its files. One connection, one thread.
 *
 *	connection.c  connecting to the writable one of several hosts, and which database it is
 *	query.c       sending statements with a deadline, and what an error of the server means
 *	schema.c      migrations
 *	schema_check.c  whether our tables are as they should be
 *
 * Everything works through a proxy that gives a connection of the server's for a transaction only: nothing is kept in
 * the server's session, no statement is prepared by name, and each transaction is sent as one message that begins
 * with a BEGIN of its own.
 *
 * Functions return an ob_code and fill `error`.
 */
#ifndef OB_POSTGRES_STORE_H
#define OB_POSTGRES_STORE_H

#include <libpq-fe.h>
#include <outbox/store.h>

#include "buf.h"

/* Frozen with the schema; see 001_outbox.sql. */
#define POSTGRES_STRETCH    100000
#define POSTGRES_PARTITIONS 16

#define POSTGRES_VERSION_MIN 140000
#define POSTGRES_SQL_MAX     (64 * 1024 * 1024)
#define POSTGRES_ANSWERS_MAX 8
/* How long a transaction of ours waits for a lock: it stands in a queue, and the application's behind it. */
#define POSTGRES_LOCK_TIMEOUT_MS 2000

struct postgres_options {
	char *schema;
	bool roles;
	int64_t connect_timeout_ms;
	int64_t timeout_ms;
	int64_t retention_ms;
	int64_t message_bytes_max;
};

struct postgres_store {
	struct ob_store base; /* first: the contract's part */
	const struct postgres_options *options;
	char *url;
	char *name;   /* the URL without secrets, for errors */
	char *schema; /* as it stands in statements */
	bool read_only;

	PGconn *conn;
	bool in_doubt;     /* an error after which only a new connection can be believed */
	bool unconfirmed;  /* a COMMIT did not wait for the synchronous standby to the end */
	struct ob_buf sql; /* the message that is being made */
	int wake_fd;
};

/* ---- connection.c ---- */

int ob_postgres_open(struct ob_store *base, const struct ob_store_config *config,
		     struct ob_error *error);
void ob_postgres_close(struct ob_store *base);
/* Closes and opens the connection anew, after an error that left it in doubt. */
int ob_postgres_reconnect(struct postgres_store *store, struct ob_error *error);

/* ---- query.c ---- */

/* The results with rows of one message, in their order. */
struct postgres_answers {
	PGresult *items[POSTGRES_ANSWERS_MAX];
	size_t count;
	/* Takes each row of a COPY ... TO STDOUT; may be NULL. */
	int (*copied)(void *context, const char *row, size_t size, struct ob_error *error);
	void *context;
};

/*
 * Sends statements as one message and waits for all of it. `answers` may be NULL; else it is filled on success and must
 * be freed. After a failure no transaction is open. OB_AGAIN when the outcome is unknown.
 */
int ob_postgres_run(struct postgres_store *store, const char *what, const char *sql,
		    struct postgres_answers *answers, struct ob_error *error);
/* What libpq calls with each notice of the server. */
void ob_postgres_notice(void *context, const PGresult *notice);
void ob_postgres_answers_free(struct postgres_answers *answers);
/* Begins a message in store->sql: with a transaction that writes durably, or one that only reads. */
void ob_postgres_begin_write(struct postgres_store *store);
void ob_postgres_begin_read(struct postgres_store *store);
/* The end of the message that was begun: COMMIT, and runs it. */
int ob_postgres_commit(struct postgres_store *store, const char *what,
		       struct postgres_answers *answers, struct ob_error *error);
/* One number; `if_none` when there is no row or it is NULL. */
int64_t ob_postgres_number(const PGresult *result, int row, int column, int64_t if_none);
/* True when it is; false for NULL. */
bool ob_postgres_bool(const PGresult *result, int row, int column);
/* Text, "" for NULL; lives as long as the result. */
const char *ob_postgres_text(const PGresult *result, int row, int column);
/* A literal of any text, NULL too, appended to store->sql. */
void ob_postgres_literal(struct postgres_store *store, const char *text);
/* What an error with this SQLSTATE means to the caller. */
enum ob_code ob_postgres_code_of(const char *sqlstate);

/* ---- schema.c ---- */

int ob_postgres_migrate(struct ob_store *base, enum ob_migrate_mode mode,
			void (*each)(void *context, const struct ob_migration *migration),
			void *context, struct ob_error *error);
char *ob_postgres_schema_sql(const void *options);
/* The version that the database has, 0 when our tables are not there; and that which this program knows. */
int ob_postgres_schema_version(struct postgres_store *store, int64_t *version,
			       struct ob_error *error);
uint32_t ob_postgres_schema_known(void);
int ob_postgres_schema_newer(struct postgres_store *store, int64_t version, struct ob_error *error);
/* The schema's name as it stands in statements, NULL with `error` filled when it can be none. To be freed. */
char *ob_postgres_schema_name(const struct postgres_options *options, struct ob_error *error);

/* ---- write.c ---- */

extern const struct ob_writer_ops ob_postgres_writer;

#endif
