#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "commands.h"
#include "database.h"
#include "output.h"

enum { DESCRIPTORS_WANTED = 1024, SINK_TIMEOUT_MS = 15000 };

struct doctor_options {
	char *to;
	bool json, plain;
	struct ob_strings sink_options, store_options;
};

static const struct ob_option doctor_table[] = {
    {.name = "to",
     .type = OB_OPTION_STRING,
     .help = "examine this recipient too",
     .field = offsetof(struct doctor_options, to)},
    {.name = "json",
     .type = OB_OPTION_BOOL,
     .help = "print one JSON object",
     .field = offsetof(struct doctor_options, json)},
    {.name = "plain",
     .type = OB_OPTION_BOOL,
     .help = "a line each, between tabs: level, code, what, mend",
     .field = offsetof(struct doctor_options, plain)},
    {.name = "sink-option",
     .type = OB_OPTION_LIST,
     .help = "an option of the recipient; see: outbox help sinks",
     .field = offsetof(struct doctor_options, sink_options)},
    OB_STORE_OPTION(struct doctor_options, store_options),
    {0},
};

static void
descriptors_examine(struct ob_findings *findings)
{
	struct rlimit limit;
	char text[160];

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	(void)snprintf(text, sizeof(text), "this process may open %llu files",
		       (unsigned long long)limit.rlim_cur);
	if (limit.rlim_cur < DESCRIPTORS_WANTED)
		ob_finding_add(findings, OB_FINDING_WARN, "descriptor_limit", text,
			       "ulimit -n 4096, or LimitNOFILE=4096 in the service");
	else
		ob_finding_add(findings, OB_FINDING_OK, "descriptor_limit", text, NULL);
}

/* What keeps the examination from going on is a finding, too. */
static int
failure_note(struct ob_cli *cli, struct ob_findings *findings, const struct ob_error *error,
	     int status)
{
	ob_finding_add(findings, OB_FINDING_FAIL, ob_code_name(error->code), error->text, NULL);
	cli->exit_status = status;
	return OB_OK;
}

static int
database_examine(struct ob_cli *cli, struct ob_findings *findings, const struct ob_report *report)
{
	const struct doctor_options *options = cli->options;
	struct ob_store_handle handle;
	struct ob_error error = {0};
	int rc = ob_database_open(cli, cli->arguments[0], &options->store_options,
				  OB_DATABASE_WRITE, &handle, &error);

	/* A database that may only be read can be examined all the same. */
	if (rc == OB_DENIED) {
		struct ob_error denied = error;

		ob_store_handle_free(&handle);
		rc = ob_database_open(cli, cli->arguments[0], &options->store_options,
				      OB_DATABASE_READ, &handle, &error);
		if (rc == OB_OK)
			ob_finding_add(findings, OB_FINDING_FAIL, "read_only", denied.text, NULL);
	}
	cli->exit_status = 0;
	if (rc == OB_OK)
		rc = handle.ops->check(handle.store, report, &error);
	if (rc != OB_OK)
		(void)failure_note(cli, findings, &error, ob_database_exit_of(cli, rc));
	ob_store_handle_free(&handle);
	return rc;
}

static void
sink_examine(struct ob_cli *cli, struct ob_findings *findings, const struct ob_report *report)
{
	const struct doctor_options *options = cli->options;
	struct ob_sink_handle handle = {0};
	struct ob_error error = {0};
	int rc = ob_sink_handle_init(&handle, options->to,
				     (const char *const *)options->sink_options.items,
				     options->sink_options.count, cli->host, &error);

	if (rc == OB_OK)
		rc = ob_sink_handle_open(&handle, "outbox-doctor", NULL, &error);
	if (rc == OB_OK && handle.ops->check != NULL)
		rc = handle.ops->check(handle.sink, SINK_TIMEOUT_MS, report, &error);
	cli->asked_sink = true;
	if (rc != OB_OK)
		(void)failure_note(cli, findings, &error, ob_exit_of(cli, (enum ob_code)rc));
	ob_sink_handle_free(&handle);
}

static int
doctor_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct doctor_options *options = cli->options;
	struct ob_json json;
	struct ob_findings findings = {
	    .cli = cli, .json = options->json ? &json : NULL, .plain = options->plain};
	struct ob_report report = ob_findings_report(&findings);
	int rc = ob_one_form_check(options->json, false, options->plain, error);

	if (rc == OB_OK)
		rc = ob_database_url_check(cli->arguments[0], error);
	if (rc != OB_OK)
		return rc;
	ob_json_begin(&json);
	ob_json_open(&json, NULL, '{');
	ob_json_open(&json, "findings", '[');
	(void)database_examine(cli, &findings, &report);
	if (options->to != NULL)
		sink_examine(cli, &findings, &report);
	descriptors_examine(&findings);
	ob_json_close(&json, ']');
	ob_json_number(&json, "warnings", findings.warnings);
	ob_json_number(&json, "failures", findings.failures);
	ob_json_close(&json, '}');
	if (options->json)
		rc = ob_json_print(&json, error);
	else if (!options->plain)
		(void)printf("%s\n", findings.failures > 0   ? "Something is broken."
				     : findings.warnings > 0 ? "It works, but see the warnings."
							     : "All is well.");
	ob_json_free(&json);
	if (rc == OB_OK && findings.failures > 0 && cli->exit_status == 0)
		cli->exit_status = OB_EXIT_FAILURE;
	return rc;
}

const struct ob_command ob_cmd_doctor = {
    .name = "doctor",
    .group = "Set up",
    .summary = "Examine a database, and a recipient, and say what mends each finding.",
    .usage = "DATABASE [--to SINK] [--json | --plain]",
    .examples =
	"outbox doctor sqlite:shop.db\noutbox doctor sqlite:shop.db --to https://shipping.example/orders",
    .notes =
	"Sends nothing. Ends with 1 when something is broken, with 4, 5 or 6 when a part cannot be examined.",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = doctor_table,
    .options_size = sizeof(struct doctor_options),
    .run = doctor_run,
};
