/* What every store checks alike before it touches its database. */
#ifndef OB_STORES_CHECKS_H
#define OB_STORES_CHECKS_H

#include <outbox/store.h>

#include "reading.h"

/* OB_CONFIG when name or patterns are wrong, or it has too many shards for any; OB_UNSUPPORTED when it has more than `kind` runs. */
int ob_subscription_check(const struct ob_subscription *subscription, const char *kind,
			  uint32_t shards_max, struct ob_error *error);

/* OB_INVALID when it speaks of what was not read, of an outcome above `through`, which after a crash would stand above the
   checkpoint, or of more than the store says that it takes at once. */
int ob_settle_check(const struct ob_store_ops *ops, const struct ob_settle *settle,
		    const struct ob_reading *reading, struct ob_error *error);

/* It names a row of the log by its ordinal, not a parked row by its position. */
bool ob_outcome_is_of_log(const struct ob_outcome *outcome);

#endif
