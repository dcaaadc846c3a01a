#include "changing.h"

#include <stdlib.h>
#include <string.h>

#include "output.h"

#define NAMES_MAX  10000
#define SLICE_ROWS 2000

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

/* How many rows one call may change, where the next call would go on behind them: between calls there is a word on the
   progress. */
static uint32_t
slice_of(const struct ob_change *change)
{
	bool leaves_list =
	    change->kind == OB_CHANGE_DISCARD ||
	    (change->kind == OB_CHANGE_RETRY && change->selection.place == OB_PLACE_DEAD);

	return leaves_list && !change->dry_run ? SLICE_ROWS : UINT32_MAX;
}

/* Of the subscription that is selected, up to the limit (0: none). */
static int
change_one(struct ob_store *store, struct ob_change *change, uint32_t limit,
	   struct ob_progress *progress, uint64_t *count, struct ob_error *error)
{
	uint32_t slice = slice_of(change);
	uint64_t changed;
	int rc;

	do {
		uint32_t left = limit == 0 ? UINT32_MAX : limit - (uint32_t)*count;

		change->selection.count_max = left < slice ? left : slice;
		changed = 0;
		rc = store->ops->change(store, change, &changed, error);
		*count += changed;
		if (progress != NULL)
			ob_progress_tell(progress, *count);
	} while (rc == OB_OK && changed == slice && (limit == 0 || *count < limit));
	return rc;
}

static int
change_all(struct ob_store *store, struct ob_change *change, uint32_t limit,
	   const struct names *names, struct ob_progress *progress, uint64_t *count,
	   struct ob_error *error)
{
	int rc = OB_OK;

	for (size_t i = 0; rc == OB_OK && i < names->count && (limit == 0 || *count < limit); i++) {
		change->selection.subscription = names->items[i];
		rc = change_one(store, change, limit, progress, count, error);
	}
	change->selection.subscription = NULL;
	return rc;
}

int
ob_change_run(struct ob_cli *cli, struct ob_store *store, struct ob_change *change,
	      struct ob_progress *progress, uint64_t *count, struct ob_error *error)
{
	uint32_t limit = change->selection.count_max;
	struct names names = {0};
	int rc;

	*count = 0;
	if (change->selection.subscription != NULL) {
		rc = change_one(store, change, limit, progress, count, error);
	} else {
		rc = store->ops->stats(store, NULL, name_add, &names, error);
		if (rc == OB_OK && names.failed)
			rc = ob_error_set(error, OB_NOMEM, "out of memory");
		if (rc == OB_OK)
			rc = change_all(store, change, limit, &names, progress, count, error);
		names_free(&names);
	}
	change->selection.count_max = limit;
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
