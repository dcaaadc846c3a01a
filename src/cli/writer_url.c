#include "writer_url.h"

#include <stdlib.h>

#include "database.h"

static int
writer_open(struct ob_cli *cli, struct ob_url_writer *writer, const char *url,
	    const struct ob_strings *options, struct ob_error *error)
{
	const char *const *items = options == NULL ? NULL : (const char *const *)options->items;
	size_t count = options == NULL ? 0 : options->count;
	int rc = ob_database_url_check(url, error);

	if (rc == OB_OK)
		rc = ob_store_handle_init(&writer->handle, url, items, count, cli->host, error);
	if (rc != OB_OK)
		return rc;
	writer->ops = writer->handle.ops->writer;
	if (writer->ops == NULL)
		return ob_error_set(error, OB_UNSUPPORTED,
				    "messages cannot be published into a store of the kind \"%s\"",
				    writer->handle.ops->name);
	writer->writer = calloc(1, writer->ops->size);
	if (writer->writer == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	writer->writer->ops = writer->ops;
	writer->writer->host = cli->host;
	const struct ob_store_config config = {.url = url, .options = writer->handle.options};
	return writer->ops->open(writer->writer, &config, error);
}

int
ob_url_writer_open(struct ob_cli *cli, struct ob_url_writer *writer, const char *url,
		   const struct ob_strings *options, struct ob_error *error)
{
	int rc;

	*writer = (struct ob_url_writer){.cli = cli};
	rc = writer_open(cli, writer, url, options, error);
	if (rc != OB_OK)
		cli->exit_status = ob_database_exit_of(cli, rc);
	return rc;
}

void
ob_url_writer_close(struct ob_url_writer *writer)
{
	if (writer->writer != NULL)
		writer->ops->close(writer->writer);
	free(writer->writer);
	ob_store_handle_free(&writer->handle);
	*writer = (struct ob_url_writer){0};
}

int
ob_url_writer_begin(struct ob_url_writer *writer, struct ob_error *error)
{
	return writer->ops->run(writer->writer, writer->ops->begin, error);
}

int
ob_url_writer_run(struct ob_url_writer *writer, const char *sql, struct ob_error *error)
{
	return writer->ops->run(writer->writer, sql, error);
}

int
ob_url_writer_rows(struct ob_url_writer *writer, const char *sql,
		   void (*each)(void *context, const char *const *columns), void *context,
		   struct ob_error *error)
{
	return writer->ops->rows(writer->writer, sql, each, context, error);
}

int
ob_url_writer_publish(struct ob_url_writer *writer, const struct ob_new_message *messages,
		      size_t count, struct ob_message_id *ids, struct ob_error *error)
{
	int rc = writer->ops->publish(writer->writer, messages, count, ids, error);

	if (rc == OB_DENIED)
		writer->cli->exit_status = ob_database_exit_of(writer->cli, rc);
	return rc;
}
