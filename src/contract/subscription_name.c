#include "subscription_name.h"

#include <outbox/store.h>
#include <string.h>

int
ob_subscription_name_check(const char *name, struct ob_error *error)
{
	size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-");

	if (size > 0 && size <= OB_SUBSCRIPTION_NAME_MAX && name[size] == '\0' &&
	    strchr("_.-", name[0]) == NULL)
		return OB_OK;
	return ob_error_set(
	    error, OB_CONFIG,
	    "subscription \"%s\": a name has 1 to %d of a-z 0-9 _ . - and begins with a letter or digit",
	    name, OB_SUBSCRIPTION_NAME_MAX);
}
