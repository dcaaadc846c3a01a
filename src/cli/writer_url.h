/* Writing messages into the database of a URL: what `publish`, `bench` and `demo` need of a store. */
#ifndef OB_CLI_WRITER_URL_H
#define OB_CLI_WRITER_URL_H

#include <outbox/store_writer.h>

#include "command.h"
#include "handles.h"

struct ob_url_writer {
	struct ob_cli *cli;
	struct ob_store_handle handle; /* has the options; its store is not opened */
	const struct ob_writer_ops *ops;
	struct ob_writer *writer;
};

/* Opens an existing database; `options` are the store's, "NAME=VALUE", and may be NULL. cli->exit_status tells what kind of failure
   it was. Close it in any case. */
int ob_url_writer_open(struct ob_cli *cli, struct ob_url_writer *writer, const char *url,
		       const struct ob_strings *options, struct ob_error *error);
void ob_url_writer_close(struct ob_url_writer *writer);

/* As the functions of struct ob_writer_ops; a right that is missing ends the command as a failed open does. */
int ob_url_writer_begin(struct ob_url_writer *writer, struct ob_error *error);
int ob_url_writer_run(struct ob_url_writer *writer, const char *sql, struct ob_error *error);
int ob_url_writer_rows(struct ob_url_writer *writer, const char *sql,
		       void (*each)(void *context, const char *const *columns), void *context,
		       struct ob_error *error);
int ob_url_writer_publish(struct ob_url_writer *writer, const struct ob_new_message *messages,
			  size_t count, struct ob_message_id *ids, struct ob_error *error);

#endif
