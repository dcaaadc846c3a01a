#include "writer_url.h"

#include "database.h"
#include "text.h"

enum { BUSY_TIMEOUT_MS = 10000 };

int
ob_url_writer_run(struct ob_url_writer *writer, const char *sql, struct ob_error *error)
{
	int rc = sqlite3_exec(writer->db, sql, NULL, NULL, NULL);

	if (rc == SQLITE_OK)
		return OB_OK;
	if ((rc & 0xff) == SQLITE_BUSY)
		return ob_error_set(error, OB_BUSY,
				    "another connection writes for too long; try again");
	if ((rc & 0xff) == SQLITE_FULL)
		return ob_error_set(error, OB_LIMIT, "%s", sqlite3_errmsg(writer->db));
	return ob_error_set(error, OB_FAILED, "%s", sqlite3_errmsg(writer->db));
}

int
ob_url_writer_open(struct ob_cli *cli, struct ob_url_writer *writer, const char *url,
		   struct ob_error *error)
{
	struct ob_store_handle handle;
	const char *path;
	int rc;

	*writer = (struct ob_url_writer){0};
	/* The store says in words what is wrong with a path or with our tables. */
	rc = ob_database_open(cli, url, NULL, OB_DATABASE_WRITE, &handle, error);
	if (rc == OB_OK && !ob_text_starts_with(url, "sqlite:")) {
		rc = ob_error_set(error, OB_UNSUPPORTED,
				  "%s: messages can be published into sqlite: alone", url);
	} else if (rc == OB_OK) {
		const struct ob_selection none = {
		    .place = OB_PLACE_DEAD, .subscription = "-", .count_max = 1};

		rc = handle.ops->list(handle.store, &none, NULL, NULL, error);
	}
	ob_store_handle_free(&handle);
	if (rc != OB_OK)
		return rc;
	path = url + sizeof("sqlite:") - 1;
	if (ob_text_starts_with(path, "///"))
		path += 2;
	if (sqlite3_open_v2(path, &writer->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
		cli->exit_status = OB_EXIT_DATABASE;
		return ob_error_set(error, OB_UNREACHABLE, "%s: %s", url,
				    sqlite3_errmsg(writer->db));
	}
	(void)sqlite3_busy_timeout(writer->db, BUSY_TIMEOUT_MS);
	return ob_sqlite_publisher_new(writer->db, &writer->publisher, error);
}

void
ob_url_writer_close(struct ob_url_writer *writer)
{
	ob_sqlite_publisher_free(writer->publisher);
	(void)sqlite3_close(writer->db);
	*writer = (struct ob_url_writer){0};
}
