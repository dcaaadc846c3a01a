#include "changing.h"

#include <stdlib.h>
#include <string.h>

#include "output.h"

#define NAMES_MAX 10000

struct names {
	char **items;
	size_t count;
	bool failed;
};

static void
name_add(void *context, const struct ob_subscription_stats *stats)
{
	struct names *names = context;
	char **items;

	if (names->failed || names->count == NAMES_MAX)
		return;
	items = realloc(names->items, (names->count + 1) * sizeof(*items));
	names->failed = items == NULL;
	if (items == NULL)
		return;
	names->items = items;
	items[names->count] = strdup(stats->name);
	names->failed = items[names->count] == NULL;
	if (!names->failed)
		names->count++;
}

static void
names_free(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->items[i]);
	free(names->items);
}

static int
change_all(struct ob_store *store, struct ob_change *change, const struct names *names,
	   uint64_t *count, struct ob_error *error)
{
	int rc = OB_OK;

	for (size_t i = 0; rc == OB_OK && i < names->count; i++) {
		uint64_t changed = 0;

		change->selection.subscription = names->items[i];
		rc = store->ops->change(store, change, &changed, error);
		*count += changed;
	}
	change->selection.subscription = NULL;
	return rc;
}

int
ob_change_run(struct ob_cli *cli, struct ob_store *store, struct ob_change *change, uint64_t *count,
	      struct ob_error *error)
{
	struct names names = {0};
	int rc;

	*count = 0;
	if (change->selection.subscription != NULL) {
		rc = store->ops->change(store, change, count, error);
	} else {
		rc = store->ops->stats(store, NULL, name_add, &names, error);
		if (rc == OB_OK && names.failed)
			rc = ob_error_set(error, OB_NOMEM, "out of memory");
		if (rc == OB_OK)
			rc = change_all(store, change, &names, count, error);
		names_free(&names);
	}
	if (rc != OB_OK && *count > 0 && !change->dry_run)
		cli->exit_status = OB_EXIT_PARTIAL;
	return rc;
}

int
ob_change_print(uint64_t count, bool dry_run, struct ob_error *error)
{
	struct ob_json json;
	int rc;

	ob_json_begin(&json);
	ob_json_open(&json, NULL, '{');
	ob_json_number(&json, "count", (int64_t)count);
	ob_json_bool(&json, "dry_run", dry_run);
	ob_json_close(&json, '}');
	rc = ob_json_print(&json, error);
	ob_json_free(&json);
	return rc;
}
