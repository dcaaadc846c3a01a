#include "sqlite_store.h"

int
ob_sqlite_check(struct ob_store *base, const struct ob_report *report, struct ob_error *error)
{
	(void)base, (void)report;
	return ob_error_set(error, OB_UNSUPPORTED, "not yet");
}
