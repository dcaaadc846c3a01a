#include <string.h>

#include "commands.h"
#include "libraries.h"
#include "modules.h"
#include "options.h"
#include "output.h"
#include "registry.h"

#define PARTS_MAX 64

struct version_options {
	bool json;
};

static const struct ob_option version_table[] = {
    {.name = "json",
     .type = OB_OPTION_BOOL,
     .help = "print one JSON object",
     .field = offsetof(struct version_options, json)},
    {0},
};

/* What there is: built in, and in modules. */
struct parts {
	const struct ob_store_ops *stores[PARTS_MAX];
	const struct ob_sink_ops *sinks[PARTS_MAX];
	size_t store_count, sink_count;
	struct ob_library libraries[OB_LIBRARIES_MAX + PARTS_MAX];
	size_t library_count;
};

static void
stores_gather(struct parts *parts, const struct ob_store_ops *const *stores)
{
	for (; stores != NULL && *stores != NULL && parts->store_count < PARTS_MAX; stores++) {
		parts->stores[parts->store_count++] = *stores;
		if ((*stores)->library_version != NULL)
			parts->libraries[parts->library_count++] =
			    (struct ob_library){(*stores)->library, (*stores)->library_version()};
	}
}

static void
sinks_gather(struct parts *parts, const struct ob_sink_ops *const *sinks)
{
	for (; sinks != NULL && *sinks != NULL && parts->sink_count < PARTS_MAX; sinks++)
		parts->sinks[parts->sink_count++] = *sinks;
}

static void
module_gather(void *context, const struct ob_module *module)
{
	stores_gather(context, module->stores);
	sinks_gather(context, module->sinks);
}

static void
parts_gather(struct parts *parts)
{
	parts->library_count = ob_libraries(parts->libraries);
	stores_gather(parts, ob_registry_stores());
	sinks_gather(parts, ob_registry_sinks());
	ob_modules_each(module_gather, parts);
}

static int
json_print(const struct parts *parts, struct ob_error *error)
{
	struct ob_json json;
	int rc;

	ob_json_begin(&json);
	ob_json_open(&json, NULL, '{');
	ob_json_text(&json, "version", OB_VERSION);
	ob_json_open(&json, "stores", '[');
	for (size_t i = 0; i < parts->store_count; i++)
		ob_json_text(&json, NULL, parts->stores[i]->name);
	ob_json_close(&json, ']');
	ob_json_open(&json, "sinks", '[');
	for (size_t i = 0; i < parts->sink_count; i++)
		ob_json_text(&json, NULL, parts->sinks[i]->name);
	ob_json_close(&json, ']');
	ob_json_open(&json, "libraries", '{');
	for (size_t i = 0; i < parts->library_count; i++)
		ob_json_text(&json, parts->libraries[i].name, parts->libraries[i].version);
	ob_json_close(&json, '}');
	ob_json_close(&json, '}');
	rc = ob_json_print(&json, error);
	ob_json_free(&json);
	return rc;
}

static int
version_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct version_options *options = cli->options;
	struct parts parts = {0};

	parts_gather(&parts);
	if (options->json)
		return json_print(&parts, error);
	(void)printf("outbox %s\nstores:", OB_VERSION);
	for (size_t i = 0; i < parts.store_count; i++)
		(void)printf(" %s", parts.stores[i]->name);
	(void)printf("\nsinks:");
	for (size_t i = 0; i < parts.sink_count; i++)
		(void)printf(" %s", parts.sinks[i]->name);
	(void)printf("\nlibraries:");
	for (size_t i = 0; i < parts.library_count; i++)
		(void)printf("%s %s %s", i == 0 ? "" : ",", parts.libraries[i].name,
			     parts.libraries[i].version);
	(void)putchar('\n');
	return OB_OK;
}

const struct ob_command ob_cmd_version = {
    .name = "version",
    .group = "Help",
    .summary = "Show the version, and which stores and sinks there are.",
    .usage = "[--json]",
    .examples = "outbox version\noutbox version --json",
    .options = version_table,
    .options_size = sizeof(struct version_options),
    .run = version_run,
};
