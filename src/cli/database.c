#include "database.h"

#include <string.h>

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
