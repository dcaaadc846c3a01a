#include "demo_stage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "database.h"
#include "demo_shop.h"
#include "text.h"

static const char *const file_names[] = {"shop.db",        "shop.db-wal", "shop.db-shm", "shop.log",
					 "received.jsonl", "relay.log",   "shipping.log"};

/* The store's options, as the functions that open a database take them. */
static struct ob_strings
options_of(const struct ob_stage *stage, char **item)
{
	*item = (char *)(uintptr_t)stage->store_option;
	return (struct ob_strings){.items = item, .count = stage->store_option != NULL};
}

int
ob_stage_writer(const struct ob_stage *stage, struct ob_url_writer *writer, struct ob_error *error)
{
	char *item;
	struct ob_strings options = options_of(stage, &item);

	return ob_url_writer_open(stage->cli, writer, stage->url, &options, error);
}

int
ob_stage_count(const struct ob_stage *stage, struct ob_demo_counts *counts, struct ob_error *error)
{
	struct ob_url_writer shop;
	int rc = ob_stage_writer(stage, &shop, error);

	if (rc == OB_OK)
		rc = ob_demo_count(&shop, stage->orders, stage->shop_log, stage->received, counts,
				   error);
	ob_url_writer_close(&shop);
	return rc;
}

/* ---- setting ---- */

static int
directory_make(struct ob_stage *stage, struct ob_error *error)
{
	const struct {
		char *path;
		const char *name;
	} files[] = {
	    {stage->shop_log, "shop.log"},
	    {stage->received, "received.jsonl"},
	    {stage->relay_log, "relay.log"},
	    {stage->shipping_log, "shipping.log"},
	};
	const char *parent = getenv("TMPDIR");
	int rc;

	(void)snprintf(stage->directory, sizeof(stage->directory), "%s/outbox-demo-XXXXXX",
		       parent == NULL || parent[0] == '\0' ? "/tmp" : parent);
	if (mkdtemp(stage->directory) == NULL) {
		rc = ob_error_set(error, OB_FAILED, "%s: %s", stage->directory, strerror(errno));
		stage->directory[0] = '\0';
		return rc;
	}
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		(void)snprintf(files[i].path, OB_STAGE_PATH_SIZE, "%s/%s", stage->directory,
			       files[i].name);
	(void)snprintf(stage->own_url, sizeof(stage->own_url), "sqlite:%s/shop.db",
		       stage->directory);
	return OB_OK;
}

static void
schema_note(void *context, const char *const *columns)
{
	(void)columns;
	*(bool *)context = true;
}

/* Whoever makes the schema may drop it in the end; one that is there is somebody else's. */
static int
schema_make(struct ob_stage *stage, struct ob_error *error)
{
	struct ob_url_writer writer;
	bool is_there = false;
	int rc = ob_stage_writer(stage, &writer, error);

	if (rc == OB_OK)
		rc = ob_url_writer_rows(
		    &writer,
		    "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = '" OB_STAGE_SCHEMA "'",
		    schema_note, &is_there, error);
	if (rc == OB_OK && is_there)
		rc = ob_error_set(
		    error, OB_CONFIG,
		    "the schema " OB_STAGE_SCHEMA
		    " is there already; if a demo has left it: DROP SCHEMA " OB_STAGE_SCHEMA
		    " CASCADE");
	if (rc == OB_OK) {
		rc = ob_url_writer_run(&writer, "CREATE SCHEMA " OB_STAGE_SCHEMA, error);
		stage->has_schema = rc == OB_OK;
		if (rc == OB_DENIED) {
			stage->cli->exit_status = ob_database_exit_of(stage->cli, rc);
			ob_error_prefix(
			    error,
			    "the demo needs the right to make a schema (GRANT CREATE ON DATABASE)");
		}
	}
	ob_url_writer_close(&writer);
	return rc;
}

static int
outbox_make(struct ob_stage *stage, struct ob_error *error)
{
	/* Roles would belong to the whole server, and the demo needs none. */
	char schema[] = "schema=" OB_STAGE_SCHEMA, roles[] = "roles=false";
	char *items[] = {schema, roles};
	const struct ob_strings options = {.items = items, .count = 2};

	return ob_database_migrate(stage->cli, stage->url, stage->has_schema ? &options : NULL,
				   true, NULL, NULL, error);
}

static int
orders_make(const struct ob_stage *stage, struct ob_error *error)
{
	struct ob_url_writer writer;
	char sql[256];
	int rc = ob_stage_writer(stage, &writer, error);

	(void)snprintf(sql, sizeof(sql), "CREATE TABLE %s " OB_SHOP_COLUMNS, stage->orders);
	if (rc == OB_OK && !stage->has_schema)
		rc = ob_url_writer_run(&writer, "PRAGMA journal_mode = WAL", error);
	if (rc == OB_OK)
		rc = ob_url_writer_run(&writer, sql, error);
	ob_url_writer_close(&writer);
	return rc;
}

int
ob_stage_set(struct ob_stage *stage, struct ob_cli *cli, const char *url, struct ob_error *error)
{
	int rc;

	*stage = (struct ob_stage){.cli = cli, .url = url, .orders = "orders"};
	if (url != NULL && !ob_text_starts_with(url, "postgres"))
		return ob_error_set(
		    error, OB_CONFIG,
		    "the demo plays in a PostgreSQL database, postgresql://..., or without "
		    "--database in an SQLite file of its own");
	rc = directory_make(stage, error);
	if (url == NULL) {
		stage->url = stage->own_url;
	} else {
		stage->store_option = "schema=" OB_STAGE_SCHEMA;
		stage->orders = OB_STAGE_SCHEMA ".orders";
	}
	if (rc == OB_OK && url != NULL)
		rc = schema_make(stage, error);
	if (rc == OB_OK)
		rc = outbox_make(stage, error);
	return rc == OB_OK ? orders_make(stage, error) : rc;
}

/* ---- clearing ---- */

static int
schema_drop(struct ob_stage *stage, struct ob_error *error)
{
	struct ob_url_writer writer;
	int rc = ob_stage_writer(stage, &writer, error);

	if (rc == OB_OK)
		rc = ob_url_writer_run(&writer, "DROP SCHEMA " OB_STAGE_SCHEMA " CASCADE", error);
	ob_url_writer_close(&writer);
	if (rc != OB_OK)
		ob_error_prefix(error, "the schema " OB_STAGE_SCHEMA " is still there");
	return rc;
}

int
ob_stage_clear(struct ob_stage *stage, bool keep, struct ob_error *error)
{
	char path[OB_STAGE_PATH_SIZE];
	int rc = OB_OK;

	if (keep && stage->directory[0] != '\0') {
		(void)printf("Kept: %s\n", stage->directory);
		if (stage->has_schema)
			(void)printf("Kept: the schema " OB_STAGE_SCHEMA
				     "; take it away with: DROP SCHEMA " OB_STAGE_SCHEMA
				     " CASCADE\n");
		return OB_OK;
	}
	if (stage->has_schema)
		rc = schema_drop(stage, error);
	if (stage->directory[0] == '\0')
		return rc;
	for (size_t i = 0; i < sizeof(file_names) / sizeof(file_names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", stage->directory, file_names[i]);
		(void)unlink(path);
	}
	(void)rmdir(stage->directory);
	return rc;
}
