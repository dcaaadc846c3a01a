/* Loading modules; see <outbox/module.h> for what one is and where it is looked for. */
#ifndef OB_RELAY_MODULES_H
#define OB_RELAY_MODULES_H

#include <outbox/module.h>

/* `*module` is NULL when there is no module for this scheme. OB_CONFIG when there is one that cannot be used: it does not
   load, is no module, or has another version of a contract. */
int ob_module_load(const char *scheme, const struct ob_module **module, struct ob_error *error);

/* Calls `each` for every module that there is and that can be used, each by the name of its own once. Loads them. */
void ob_modules_each(void (*each)(void *context, const struct ob_module *module), void *context);

/* The same from `directories`, colon separated (NULL: none), before the module directory. */
int ob_module_load_from(const char *directories, const char *scheme,
			const struct ob_module **module, struct ob_error *error);

/* OB_CONFIG, with both versions, unless the module and all in it have the versions of this program. */
int ob_module_check(const struct ob_module *module, const char *path, struct ob_error *error);

#endif
