#include "sqlite_store.h"

int
ob_sqlite_list(struct ob_store *base, const struct ob_selection *selection,
	       bool (*each)(void *context, const struct ob_listed *row), void *context,
	       struct ob_error *error)
{
	(void)base, (void)selection, (void)each, (void)context;
	return ob_error_set(error, OB_UNSUPPORTED, "not yet");
}
