#include "sqlite_store.h"

int
ob_sqlite_change(struct ob_store *base, const struct ob_change *change, uint64_t *count,
		 struct ob_error *error)
{
	(void)base, (void)change, (void)count;
	return ob_error_set(error, OB_UNSUPPORTED, "not yet");
}
