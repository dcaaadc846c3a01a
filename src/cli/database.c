#include "database.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "url.h"

#define URL_SHOWN_MAX 16384

int
ob_database_url_check(const char *url, struct ob_error *error)
{
	size_t size =
	    strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");

	if (size > 0 && url[size] == ':')
		return OB_OK;
	return ob_error_set(error, OB_CONFIG,
			    "\"%s\" does not say which kind of database; write sqlite:%s", url,
			    *url == '\0' ? "PATH" : url);
}

const char *
ob_database_url_show(struct ob_buf *shown, const char *url)
{
	ob_buf_init(shown, URL_SHOWN_MAX);
	return ob_url_redact(shown, url) ? ob_buf_text(shown) : "DATABASE";
}

int
ob_database_exit_of(const struct ob_cli *cli, int code)
{
	switch (code) {
	case OB_NOT_FOUND:
	case OB_DENIED:
	case OB_UNREACHABLE:
		return OB_EXIT_DATABASE;
	default:
		return ob_exit_of(cli, (enum ob_code)code);
	}
}

int
ob_database_open(struct ob_cli *cli, const char *url, const struct ob_strings *options,
		 enum ob_database_use use, struct ob_store_handle *handle, struct ob_error *error)
{
	const char *const *items = options == NULL ? NULL : (const char *const *)options->items;
	size_t count = options == NULL ? 0 : options->count;
	int rc = ob_database_url_check(url, error);

	*handle = (struct ob_store_handle){0};
	if (rc == OB_OK)
		rc = ob_store_handle_init(handle, url, items, count, cli->host, error);
	if (rc == OB_OK)
		rc = ob_store_handle_open(handle, use == OB_DATABASE_CREATE,
					  use == OB_DATABASE_READ, error);
	if (rc != OB_OK)
		cli->exit_status = ob_database_exit_of(cli, rc);
	return rc;
}

int
ob_database_migrate(struct ob_cli *cli, const char *url, const struct ob_strings *options,
		    bool create, void (*each)(void *context, const struct ob_migration *migration),
		    void *context, struct ob_error *error)
{
	enum ob_database_use use = create ? OB_DATABASE_CREATE : OB_DATABASE_WRITE;
	int64_t began_us = cli->host->monotonic_us(cli->host->context);
	struct ob_store_handle handle;
	int rc;

	for (;;) {
		rc = ob_database_open(cli, url, options, use, &handle, error);
		if (rc == OB_OK)
			rc = handle.ops->migrate(handle.store, OB_MIGRATE_APPLY, each, context,
						 error);
		ob_store_handle_free(&handle);
		/* Busy: certainly not done. Two that make one database get in each other's way for a moment. */
		if (rc != OB_BUSY || cli->host->monotonic_us(cli->host->context) - began_us >
					 (int64_t)OB_DATABASE_PATIENCE_MS * 1000)
			break;
		(void)poll(NULL, 0, 20);
		cli->exit_status = 0;
	}
	if (rc != OB_OK && cli->exit_status == 0)
		cli->exit_status = ob_database_exit_of(cli, rc);
	return rc;
}

int
ob_database_options(const struct ob_strings *given, const char *schema, struct ob_strings *out,
		    struct ob_error *error)
{
	bool copied = true;

	*out = (struct ob_strings){0};
	out->items = calloc(given->count + 1, sizeof(out->items[0]));
	for (size_t i = 0; i < given->count && out->items != NULL && copied; i++) {
		out->items[out->count] = strdup(given->items[i]);
		copied = out->items[out->count++] != NULL;
	}
	if (schema != NULL && out->items != NULL && copied)
		copied = asprintf(&out->items[out->count++], "schema=%s", schema) >= 0;
	return out->items != NULL && copied ? OB_OK
					    : ob_error_set(error, OB_NOMEM, "out of memory");
}

void
ob_database_options_show(struct ob_buf *out, const struct ob_strings *options)
{
	for (size_t i = 0; i < options->count; i++) {
		ob_buf_append_text(out, " --store-option ");
		ob_print_argument(out, options->items[i]);
	}
}

void
ob_database_options_free(struct ob_strings *options)
{
	for (size_t i = 0; i < options->count; i++)
		free(options->items[i]);
	free(options->items);
	*options = (struct ob_strings){0};
}
