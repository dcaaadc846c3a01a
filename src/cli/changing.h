/* What the commands share that change something for one subscription or for all of them. */
#ifndef OB_CLI_CHANGING_H
#define OB_CLI_CHANGING_H

#include <outbox/store.h>

#include "command.h"
#include "progress.h"

/*
 * Makes a change for selection.subscription, or for each subscription in turn if that is NULL; `*count` is the sum
 * of what was changed, and selection.count_max its limit. `progress` (begun; may be NULL) is told what is done. When it
 * fails after some was done, cli->exit_status says partial.
 */
int ob_change_run(struct ob_cli *cli, struct ob_store *store, struct ob_change *change,
		  struct ob_progress *progress, uint64_t *count, struct ob_error *error);

/* What a change came to, as {"count", "dry_run"}. */
int ob_change_print(uint64_t count, bool dry_run, struct ob_error *error);

#endif
