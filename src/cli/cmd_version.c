#include <string.h>

#include "commands.h"
#include "libraries.h"
#include "options.h"
#include "output.h"
#include "registry.h"

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

static void
stores_add(struct ob_json *json)
{
	ob_json_open(json, "stores", '[');
	for (const struct ob_store_ops *const *it = ob_registry_stores(); *it != NULL; it++)
		ob_json_text(json, NULL, (*it)->name);
	ob_json_close(json, ']');
}

static void
sinks_add(struct ob_json *json)
{
	ob_json_open(json, "sinks", '[');
	for (const struct ob_sink_ops *const *it = ob_registry_sinks(); *it != NULL; it++)
		ob_json_text(json, NULL, (*it)->name);
	ob_json_close(json, ']');
}

static int
json_print(const struct ob_library *libraries, size_t count, struct ob_error *error)
{
	struct ob_json json;
	int rc;

	ob_json_begin(&json);
	ob_json_open(&json, NULL, '{');
	ob_json_text(&json, "version", OB_VERSION);
	stores_add(&json);
	sinks_add(&json);
	ob_json_open(&json, "libraries", '{');
	for (size_t i = 0; i < count; i++)
		ob_json_text(&json, libraries[i].name, libraries[i].version);
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
	struct ob_library libraries[OB_LIBRARIES_MAX];
	size_t count = ob_libraries(libraries);

	if (options->json)
		return json_print(libraries, count, error);
	(void)printf("outbox %s\nstores:", OB_VERSION);
	for (const struct ob_store_ops *const *it = ob_registry_stores(); *it != NULL; it++)
		(void)printf(" %s", (*it)->name);
	(void)printf("\nsinks:");
	for (const struct ob_sink_ops *const *it = ob_registry_sinks(); *it != NULL; it++)
		(void)printf(" %s", (*it)->name);
	(void)printf("\nlibraries:");
	for (size_t i = 0; i < count; i++)
		(void)printf("%s %s %s", i == 0 ? "" : ",", libraries[i].name,
			     libraries[i].version);
	(void)putchar('\n');
	return OB_OK;
}

const struct ob_command ob_cmd_version = {
    .name = "version",
    .group = "Help",
    .summary = "Show the version and what is built in.",
    .usage = "[--json]",
    .examples = "outbox version\noutbox version --json",
    .options = version_table,
    .options_size = sizeof(struct version_options),
    .run = version_run,
};
