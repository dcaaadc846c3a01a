/* The INSERT that writes a message, and what SQLite's errors mean to who publishes. */
#ifndef OB_PRODUCER_WRITER_H
#define OB_PRODUCER_WRITER_H

#include <stdbool.h>

#include "outgoing.h"
#include "sqlite_api.h"

/* Prepares the INSERT. `kept`: it will be used for long. */
int ob_writer_prepare(sqlite3 *db, bool kept, sqlite3_stmt **statement, struct ob_error *error);

/*
 * Writes one checked message, whose id must be there. `payload_value`, if not NULL, is bound in place of
 * message->payload. The message's bytes need only live for the call. Nothing of the transaction changes on
 * failure, unless SQLite ended it, which the error's text then says.
 */
int ob_writer_insert(sqlite3_stmt *statement, const struct ob_outgoing *message,
		     sqlite3_value *payload_value, struct ob_error *error);

/* Fills `error` from the connection's last error `rc`. `was_open`: a transaction was open before the call. */
int ob_writer_error(sqlite3 *db, int rc, bool was_open, struct ob_error *error);

#endif
