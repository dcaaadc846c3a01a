/*
 * The part of a store that writes messages: what the commands `publish`, `bench` and `demo` need. Applications write on
 * their own connection, with plain SQL or with the library of their database (<outbox/sqlite.h>, <outbox/postgres.h>).
 *
 *     open ─▶ run(begin), publish, publish ..., run("COMMIT") ─▶ close
 *
 * A writer is a connection of its own, used by one thread. Calls block. `close` takes back what was not committed.
 */
#ifndef OUTBOX_STORE_WRITER_H
#define OUTBOX_STORE_WRITER_H

#include <outbox/error.h>
#include <outbox/host.h>
#include <outbox/new_message.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ob_store_config;

struct ob_writer {
	const struct ob_writer_ops *ops;
	const struct ob_host *host;
};

struct ob_writer_ops {
	size_t
	    size; /* of the instance, which begins with a struct ob_writer and is zeroed before open */
	const char *begin; /* the SQL that begins a transaction in which messages are written */

	/* Connects to a database that has an outbox. Codes as ob_store_ops.open, and OB_SCHEMA. */
	int (*open)(struct ob_writer *writer, const struct ob_store_config *config,
		    struct ob_error *error);
	/* Safe at any point. */
	void (*close)(struct ob_writer *writer);
	/* Runs SQL: `begin`, "COMMIT", "ROLLBACK", and statements of the demo's application. */
	int (*run)(struct ob_writer *writer, const char *sql, struct ob_error *error);
	/* Runs one query of the demo's and hands over each row, its columns as texts; NULL stands for a NULL. */
	int (*rows)(struct ob_writer *writer, const char *sql,
		    void (*each)(void *context, const char *const *columns), void *context,
		    struct ob_error *error);
	/* What is wrong with a message. Needs no open. OB_INVALID, OB_LIMIT. */
	int (*check)(const struct ob_new_message *message, struct ob_error *error);
	/* Writes messages, all or none; outside a transaction it is one of its own. `ids` may be NULL. */
	int (*publish)(struct ob_writer *writer, const struct ob_new_message *messages,
		       size_t count, struct ob_message_id *ids, struct ob_error *error);
};

#ifdef __cplusplus
}
#endif
#endif
