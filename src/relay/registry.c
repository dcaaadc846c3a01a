#include "registry.h"

#include <string.h>

#include "modules.h"
#include "sinks.h"
#include "stores.h"
#include "text.h"

#define SCHEME_SIZE   33
#define SCHEMES_COUNT 64

/* One line for each store and each sink that is built in; see the build option `modules`. */
static const struct ob_store_ops *const registry_stores[] = {
#ifndef OB_WITHOUT_SQLITE
    &ob_store_sqlite,
#endif
#ifndef OB_WITHOUT_POSTGRES
    &ob_store_postgres,
#endif
    &ob_store_memory,
    NULL,
};

static const struct ob_sink_ops *const registry_sinks[] = {
#ifndef OB_WITHOUT_HTTP
    &ob_sink_http,
#endif
#ifndef OB_WITHOUT_FILE
    &ob_sink_file,
#endif
#ifndef OB_WITHOUT_EXEC
    &ob_sink_exec,
#endif
    &ob_sink_callback, &ob_sink_stdout, &ob_sink_null, NULL,
};

const struct ob_store_ops *const *
ob_registry_stores(void)
{
	return registry_stores;
}

const struct ob_sink_ops *const *
ob_registry_sinks(void)
{
	return registry_sinks;
}

/* What stands before the first colon, in lower case. False if there is none, or it is too long to be one. */
static bool
url_scheme(const char *url, char scheme[SCHEME_SIZE])
{
	size_t size = strcspn(url, ":");

	if (url[size] != ':' || size == 0 || size >= SCHEME_SIZE)
		return false;
	for (size_t i = 0; i < size; i++)
		scheme[i] = (char)(url[i] >= 'A' && url[i] <= 'Z' ? url[i] - 'A' + 'a' : url[i]);
	scheme[size] = '\0';
	return true;
}

static bool
schemes_hold(const char *const *schemes, const char *scheme)
{
	for (; *schemes != NULL; schemes++)
		if (strcmp(*schemes, scheme) == 0)
			return true;
	return false;
}

static const struct ob_store_ops *
stores_find(const struct ob_store_ops *const *stores, const char *scheme)
{
	for (; stores != NULL && *stores != NULL; stores++)
		if (schemes_hold((*stores)->schemes, scheme))
			return *stores;
	return NULL;
}

static const struct ob_sink_ops *
sinks_find(const struct ob_sink_ops *const *sinks, const char *scheme)
{
	for (; sinks != NULL && *sinks != NULL; sinks++)
		if (schemes_hold((*sinks)->schemes, scheme))
			return *sinks;
	return NULL;
}

static size_t
names_add(const char **names, size_t count, const char *const *schemes)
{
	for (; *schemes != NULL && count < SCHEMES_COUNT; schemes++)
		names[count++] = *schemes;
	return count;
}

/* "no sink serves kafak:...: did you mean kafka?" The rest of the URL is not shown: it may hold a password. */
static int
fail_unknown(const char *what, const char *scheme, const char *const *names, size_t count,
	     struct ob_error *error)
{
	const char *nearest = ob_text_nearest(scheme, names, count);

	if (nearest != NULL)
		return ob_error_set(error, OB_CONFIG, "no %s serves \"%s:\": did you mean \"%s:\"?",
				    what, scheme, nearest);
	return ob_error_set(
	    error, OB_CONFIG,
	    "no %s serves \"%s:\", and there is no module outbox_%s.so: `outbox version` lists what there is",
	    what, scheme, scheme);
}

static int
fail_no_scheme(const char *what, const char *example, struct ob_error *error)
{
	return ob_error_set(error, OB_CONFIG, "the %s must be a URL with a scheme, such as %s",
			    what, example);
}

int
ob_registry_find_store(const char *url, const struct ob_store_ops **ops, struct ob_error *error)
{
	const char *names[SCHEMES_COUNT];
	const struct ob_module *module;
	char scheme[SCHEME_SIZE];
	size_t count = 0;
	int code;

	if (!url_scheme(url, scheme))
		return fail_no_scheme("database", "sqlite:/srv/shop.db", error);
	*ops = stores_find(registry_stores, scheme);
	if (*ops != NULL)
		return OB_OK;
	code = ob_module_load(scheme, &module, error);
	if (code != OB_OK)
		return code;
	*ops = module != NULL ? stores_find(module->stores, scheme) : NULL;
	if (*ops != NULL)
		return OB_OK;
	for (size_t i = 0; registry_stores[i] != NULL; i++)
		count = names_add(names, count, registry_stores[i]->schemes);
	return fail_unknown("store", scheme, names, count, error);
}

int
ob_registry_find_sink(const char *url, const struct ob_sink_ops **ops, struct ob_error *error)
{
	const char *names[SCHEMES_COUNT];
	const struct ob_module *module;
	char scheme[SCHEME_SIZE];
	size_t count = 0;
	int code;

	if (!url_scheme(url, scheme))
		return fail_no_scheme("sink", "https://shipping.example/orders", error);
	*ops = sinks_find(registry_sinks, scheme);
	if (*ops != NULL)
		return OB_OK;
	code = ob_module_load(scheme, &module, error);
	if (code != OB_OK)
		return code;
	*ops = module != NULL ? sinks_find(module->sinks, scheme) : NULL;
	if (*ops != NULL)
		return OB_OK;
	for (size_t i = 0; registry_sinks[i] != NULL; i++)
		count = names_add(names, count, registry_sinks[i]->schemes);
	return fail_unknown("sink", scheme, names, count, error);
}
