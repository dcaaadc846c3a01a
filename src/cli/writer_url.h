/* Writing messages into the database of a URL: what `publish`, `bench` and `demo` need of a producer library. */
#ifndef OB_CLI_WRITER_URL_H
#define OB_CLI_WRITER_URL_H

#include <outbox/sqlite.h>
#include <sqlite3.h>

#include "command.h"

struct ob_url_writer {
	sqlite3 *db;
	struct ob_sqlite_publisher *publisher;
};

/* Opens an existing database. cli->exit_status tells what kind of failure it was. Close it in any case. */
int ob_url_writer_open(struct ob_cli *cli, struct ob_url_writer *writer, const char *url,
		       struct ob_error *error);
void ob_url_writer_close(struct ob_url_writer *writer);

/* Runs SQL of our own. */
int ob_url_writer_run(struct ob_url_writer *writer, const char *sql, struct ob_error *error);

#endif
