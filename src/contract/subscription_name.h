/* What a subscription may be called. The same everywhere, since the name stands in tables, logs and on command lines. */
#ifndef OB_CONTRACT_SUBSCRIPTION_NAME_H
#define OB_CONTRACT_SUBSCRIPTION_NAME_H

#include <outbox/error.h>

/* OB_CONFIG, with the rule, when `name` is none; see OB_SUBSCRIPTION_NAME_MAX. */
int ob_subscription_name_check(const char *name, struct ob_error *error);

#endif
