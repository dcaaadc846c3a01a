/* From the command line to the exit status: find the command, read its options, run it, say what went wrong. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "cli_main.h"
#include "help.h"
#include "host.h"
#include "log.h"
#include "output.h"

int
ob_exit_of(const struct ob_cli *cli, enum ob_code code)
{
	switch (code) {
	case OB_OK:
		return OB_EXIT_OK;
	case OB_USAGE:
		return OB_EXIT_USAGE;
	case OB_CONFIG:
		return OB_EXIT_CONFIG;
	case OB_UNREACHABLE:
		return cli->asked_sink ? OB_EXIT_SINK : OB_EXIT_DATABASE;
	case OB_SCHEMA:
		return OB_EXIT_SCHEMA;
	case OB_BUSY:
	case OB_AGAIN:
	case OB_STALE:
	case OB_CHANGED:
		return OB_EXIT_TEMPORARY;
	case OB_DENIED:
		return cli->asked_sink ? OB_EXIT_FAILURE : OB_EXIT_DATABASE;
	case OB_INVALID:
	case OB_NOT_FOUND:
	case OB_LIMIT:
	case OB_FOREIGN:
	case OB_UNSUPPORTED:
	case OB_NOMEM:
	case OB_FAILED:
		break;
	}
	return OB_EXIT_FAILURE;
}

/* The one line of a failure. What others wrote (a path, an answer) must not move a terminal's cursor. */
static void
failure_print(const struct ob_command *command, const struct ob_error *error)
{
	bool color = isatty(STDERR_FILENO) != 0 && getenv("NO_COLOR") == NULL;
	struct ob_buf line;

	ob_buf_init(&line, 8 * OB_ERROR_TEXT_MAX);
	(void)ob_log_escape(&line, error->text, strlen(error->text));
	(void)fprintf(stderr, "%soutbox: %s%s%s%s\n", color ? "\033[31m" : "",
		      command == NULL ? "" : command->name, command == NULL ? "" : ": ",
		      color ? "\033[0m" : "", ob_buf_text(&line));
	ob_buf_free(&line);
}

static void
log_write(void *context, enum ob_log_level level, const char *text)
{
	const struct ob_host *host = context;
	struct ob_buf line;

	ob_buf_init(&line, 4 * OB_LOG_LINE_MAX);
	if (ob_log_line(&line, OB_LOG_TEXT, host->wall_us(host->context), level, text))
		(void)fwrite(ob_buf_text(&line), 1, line.size, stderr);
	ob_buf_free(&line);
}

static int
command_run(const struct ob_arguments *arguments, struct ob_error *error)
{
	struct ob_real_host clock, host;
	struct ob_host_log log;
	struct ob_cli cli = {
	    .command = arguments->command,
	    .options = arguments->options,
	    .more = arguments->more,
	    .arguments = arguments->rest,
	    .argument_count = arguments->rest_count,
	    .color = isatty(STDOUT_FILENO) != 0 && getenv("NO_COLOR") == NULL,
	    .terminal = isatty(STDERR_FILENO) != 0,
	    .interactive = isatty(STDIN_FILENO) != 0 && isatty(STDERR_FILENO) != 0,
	};
	int rc;

	ob_real_host_init(&clock, NULL, NULL);
	ob_host_log_init(&log, log_write, &clock.host);
	ob_real_host_init(&host, &log, NULL);
	cli.host = &host.host;
	rc = arguments->command->run(&cli, error);
	ob_host_log_free(&log);
	if (rc == OB_OK && (fflush(stdout) != 0 || ferror(stdout) != 0)) {
		(void)ob_error_set(error, OB_FAILED, "the output cannot be written: %s",
				   strerror(errno));
		rc = OB_FAILED;
	}
	(void)fflush(stdout);
	if (rc != OB_OK)
		failure_print(arguments->command, error);
	return rc == OB_OK || cli.exit_status != 0 ? cli.exit_status
						   : ob_exit_of(&cli, (enum ob_code)rc);
}

static bool
is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int
ob_cli_main(int argc, char **argv)
{
	static char version[] = "version", help[] = "help";
	struct ob_arguments arguments = {0};
	const struct ob_command *command = NULL;
	struct ob_error error = {0};
	int words = 0;
	int status;
	int rc;

	if (argc < 2) {
		ob_help_overview(stderr);
		return OB_EXIT_USAGE;
	}
	argc--;
	argv++;
	if (strcmp(argv[0], "--version") == 0)
		argv[0] = version;
	else if (is_help(argv[0]))
		argv[0] = help;
	else if (argc == 2 && is_help(argv[1]) && ob_help_group(stdout, argv[0]))
		return OB_EXIT_OK;
	rc = ob_command_find(argc, argv, &command, &words, &error);
	if (rc == OB_OK)
		rc = ob_arguments_read(&arguments, command, argc - words, argv + words, &error);
	if (rc != OB_OK) {
		failure_print(command, &error);
		status = ob_exit_of(&(struct ob_cli){0}, (enum ob_code)rc);
	} else if (arguments.help) {
		ob_help_command(stdout, command);
		status = OB_EXIT_OK;
	} else {
		status = command_run(&arguments, &error);
	}
	if (command != NULL)
		ob_arguments_free(&arguments);
	return status;
}
