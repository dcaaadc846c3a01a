/* The database that a command works on. */
#ifndef OB_CLI_DATABASE_H
#define OB_CLI_DATABASE_H

#include <outbox/store.h>

#include "buf.h"
#include "command.h"
#include "handles.h"

enum ob_database_use { OB_DATABASE_READ, OB_DATABASE_WRITE, OB_DATABASE_CREATE };

/*
 * Opens the store of a URL; `options` are its "NAME=VALUE". On failure cli->exit_status tells what kind it was and the text
 * how to mend it. Free the handle in any case.
 */
int ob_database_open(struct ob_cli *cli, const char *url, const struct ob_strings *options,
		     enum ob_database_use use, struct ob_store_handle *handle,
		     struct ob_error *error);

/*
 * Opens (and makes, when `create`) the database and brings our tables up to date. Waits for others that do the same, for as
 * long as OB_DATABASE_PATIENCE_MS. `each` as in store.h; may be NULL.
 */
#define OB_DATABASE_PATIENCE_MS 15000
int ob_database_migrate(struct ob_cli *cli, const char *url, const struct ob_strings *options,
			bool create,
			void (*each)(void *context, const struct ob_migration *migration),
			void *context, struct ob_error *error);

/* OB_CONFIG, with what was probably meant, unless the text has a scheme. */
int ob_database_url_check(const char *url, struct ob_error *error);

/* The URL as people and logs may see it, without a password. It stands in `shown`, which is to be freed. */
const char *ob_database_url_show(struct ob_buf *shown, const char *url);

/* What a failed open means for the exit status. */
int ob_database_exit_of(const struct ob_cli *cli, int code);

/* A copy of `given` with "schema=NAME" behind it, unless `schema` is NULL. To be freed, after a failure too. */
int ob_database_options(const struct ob_strings *given, const char *schema, struct ob_strings *out,
			struct ob_error *error);
void ob_database_options_free(struct ob_strings *options);

/* Appends the options to a command that a person may copy. */
void ob_database_options_show(struct ob_buf *out, const struct ob_strings *options);

#define OB_SCHEMA_OPTION(type_, field_)                                             \
	{                                                                           \
		.name = "schema", .type = OB_OPTION_STRING,                         \
		.help = "the schema of the tables, where the database has schemas", \
		.field = offsetof(type_, field_)                                    \
	}
/* The options that every command with a database has. */
#define OB_STORE_OPTION(type_, field_)                                        \
	{                                                                     \
		.name = "store-option", .type = OB_OPTION_LIST,               \
		.help = "an option of the database, see: outbox help stores", \
		.field = offsetof(type_, field_)                              \
	}

#endif
