#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "commands.h"
#include "file.h"
#include "output.h"
#include "server.h"

#define SECRETS_SIZE_MAX 8192

struct receive_options {
	char *listen, *port_file, *log, *secret_file, *fail_key, *fail_id;
	int64_t status, fail_status, fail_every, fail_times, retry_after_s;
	int fail_with;
	int64_t delay_ms, count, idle_ms, down_after, down_for_ms, body_max;
	bool quiet;
};

/* In the order of enum receive_how. */
static const char *const receive_hows[] = {"status", "close", "garbage", "cut",
					   "slow",   "hang",  NULL};

#define FIELD(name) .field = offsetof(struct receive_options, name)

static const struct ob_option receive_table[] = {
    {.name = "listen",
     .type = OB_OPTION_STRING,
     .default_text = "127.0.0.1:8080",
     .help = "ADDRESS:PORT to listen on; port 0 takes a free one.",
     FIELD(listen)},
    {.name = "port-file",
     .type = OB_OPTION_PATH,
     .help = "Write the port to this file once it listens.",
     FIELD(port_file)},
    {.name = "log",
     .type = OB_OPTION_PATH,
     .help = "Append the lines to this file, too.",
     FIELD(log)},
    {.name = "quiet",
     .type = OB_OPTION_BOOL,
     .help = "Print no lines, only what came in all.",
     FIELD(quiet)},
    {.name = "count",
     .type = OB_OPTION_INT,
     .help = "End after so many messages were taken; 0: do not.",
     FIELD(count)},
    {.name = "until-idle",
     .type = OB_OPTION_DURATION,
     .help = "End when nothing came for so long; 0: do not.",
     FIELD(idle_ms)},
    {.name = "secret-file",
     .type = OB_OPTION_PATH,
     .help =
	 "Check the webhook signatures by the secrets in this file, one a line, and answer 401 to what "
	 "does not fit.",
     FIELD(secret_file)},
    {.name = "status",
     .type = OB_OPTION_INT,
     .default_text = "200",
     .help = "The status of what is taken (2xx).",
     FIELD(status),
     .min = 200,
     .max = 299},
    {.name = "fail-status",
     .type = OB_OPTION_INT,
     .default_text = "0",
     .help = "The status of what is to fail; 0 is 500. Alone, everything fails.",
     FIELD(fail_status),
     .min = 0,
     .max = 599},
    {.name = "fail-with",
     .type = OB_OPTION_ENUM,
     .default_text = "status",
     .help =
	 "How it fails: by a status; or the connection is closed, garbage is sent, the answer is cut, "
	 "comes byte by byte, or never.",
     FIELD(fail_with),
     .choices = receive_hows},
    {.name = "fail-every",
     .type = OB_OPTION_INT,
     .help = "Fail each such request: 3 is every third one.",
     FIELD(fail_every)},
    {.name = "fail-key",
     .type = OB_OPTION_STRING,
     .help = "Fail the messages of this key.",
     FIELD(fail_key)},
    {.name = "fail-id",
     .type = OB_OPTION_STRING,
     .help = "Fail the message of this id.",
     FIELD(fail_id)},
    {.name = "fail-times",
     .type = OB_OPTION_INT,
     .help = "Fail a message so many times, then take it; 0: always fail it.",
     FIELD(fail_times)},
    {.name = "retry-after",
     .type = OB_OPTION_INT,
     .default_text = "-1",
     .help = "Send Retry-After with so many seconds when failing; -1: do not.",
     FIELD(retry_after_s),
     .min = -1,
     .max = INT32_MAX},
    {.name = "delay",
     .type = OB_OPTION_DURATION,
     .help = "Wait so long before each answer.",
     FIELD(delay_ms)},
    {.name = "down-after",
     .type = OB_OPTION_INT,
     .default_text = "-1",
     .help =
	 "Once so many messages were taken, refuse connections for a while (--down-for); -1: do not.",
     FIELD(down_after),
     .min = -1,
     .max = INT32_MAX},
    {.name = "down-for",
     .type = OB_OPTION_DURATION,
     .default_text = "5s",
     .help = "How long it is down.",
     FIELD(down_for_ms)},
    {.name = "body-max",
     .type = OB_OPTION_SIZE,
     .default_text = "128MiB",
     .help = "The largest body; greater ones are answered with 413.",
     FIELD(body_max),
     .min = 1,
     .max = INT64_C(1) << 30},
    {0},
};

/* Splits the file's lines into secrets; what is neither empty nor a comment is one. They point into the buffer. */
static int
split_secrets(struct receive_config *config, char *text, struct ob_error *error)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\r\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\r\n", &rest)) {
		if (*line == '#')
			continue;
		if (config->secret_count == RECEIVE_SECRETS_MAX)
			return ob_error_set(error, OB_CONFIG, "--secret-file: more than %d secrets",
					    RECEIVE_SECRETS_MAX);
		config->secrets[config->secret_count++] = line;
	}
	if (config->secret_count == 0)
		return ob_error_set(error, OB_CONFIG, "--secret-file: there is no secret in it");
	return OB_OK;
}

static void
configure(struct receive_server *server, const struct receive_options *options)
{
	server->config = (struct receive_config){
	    .listen = options->listen,
	    .port_file = options->port_file,
	    .log = options->log,
	    .quiet = options->quiet,
	    .status = (unsigned)options->status,
	    .fail_status = options->fail_status == 0 ? 500 : (unsigned)options->fail_status,
	    .fail_with = (enum receive_how)options->fail_with,
	    .retry_after_s = options->retry_after_s,
	    .delay_ms = options->delay_ms,
	    .count = options->count,
	    .idle_ms = options->idle_ms,
	    .down_after = options->down_after,
	    .down_for_ms = options->down_for_ms,
	    .body_max = options->body_max,
	};
	server->plan = (struct receive_plan){
	    .every = options->fail_every,
	    .key = options->fail_key,
	    .id = options->fail_id,
	    .times = options->fail_times,
	    .all = options->fail_every == 0 && options->fail_key == NULL &&
		   options->fail_id == NULL &&
		   (options->fail_status != 0 || options->fail_with != RECEIVE_STATUS ||
		    options->fail_times != 0),
	};
}

static void
say_counts(const struct receive_counts *counts)
{
	int64_t took_us = counts->last_us - counts->first_us;

	ob_say(
	    "%llu messages taken (%llu of them duplicates), %llu requests: %llu failed on purpose, "
	    "%llu with a wrong signature, %llu not readable%s",
	    (unsigned long long)counts->taken, (unsigned long long)counts->duplicates,
	    (unsigned long long)counts->requests, (unsigned long long)counts->failed,
	    (unsigned long long)counts->unverified, (unsigned long long)counts->unreadable,
	    counts->requests > 1 && took_us > 0 ? "" : ".");
	if (counts->requests > 1 && took_us > 0)
		ob_say("%.0f requests a second from the first to the last",
		       (double)counts->requests * 1e6 / (double)took_us);
}

/* SIGTERM and SIGINT become readable here; writing to a closed pipe becomes an error. */
static int
open_signals(struct ob_error *error)
{
	sigset_t stop;
	int fd;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		ob_error_set(error, OB_FAILED, "signalfd failed");
	return fd;
}

static int
receive(struct ob_cli *cli, struct receive_server *server, struct ob_error *error)
{
	char url[128];
	int stop_fd, rc;

	stop_fd = open_signals(error);
	if (stop_fd < 0)
		return OB_FAILED;
	rc = receive_server_start(server, error);
	if (rc == OB_OK) {
		receive_server_url(server, url, sizeof(url));
		ob_say("listening on %s", url);
		rc = receive_server_run(server, stop_fd, error);
		say_counts(&server->counts);
	}
	if (rc == OB_OK && server->counts.taken < (uint64_t)server->config.count)
		cli->exit_status = OB_EXIT_PARTIAL;
	receive_server_stop(server);
	close(stop_fd);
	return rc;
}

static int
receive_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct receive_options *options = cli->options;
	struct receive_server server = {.host = cli->host, .log = -1};
	struct ob_buf secrets;
	int rc = OB_OK;

	ob_buf_init(&secrets, SECRETS_SIZE_MAX);
	configure(&server, options);
	if (options->secret_file != NULL) {
		rc = ob_file_read_secret(options->secret_file, &secrets, error);
		if (rc == OB_OK)
			rc = split_secrets(&server.config, secrets.data, error);
	}
	if (rc == OB_OK)
		rc = receive(cli, &server, error);
	ob_buf_wipe(&secrets);
	return rc;
}

const struct ob_command ob_cmd_receive = {
    .name = "receive",
    .group = "Run",
    .summary = "Be a local recipient: print what arrives, as lines of JSON.",
    .usage = "[options]",
    .examples =
	"outbox receive --listen 127.0.0.1:8181\n"
	"outbox receive --listen 127.0.0.1:0 --port-file port --count 100 --log arrived.jsonl --quiet\n"
	"outbox receive --fail-key carol --fail-status 422\n"
	"outbox receive --down-after 50 --down-for 10s",
    .notes =
	"Takes POST requests as the sinks send them: CloudEvents in binary, structured and batched mode, and raw. "
	"The first line on stderr says where it listens. A line is written before its request is answered; those of "
	"messages that were not taken have \"n\":null. SIGTERM ends it with status 0, or 7 when --count was not "
	"reached.",
    .arguments_min = 0,
    .arguments_max = 0,
    .options = receive_table,
    .options_size = sizeof(struct receive_options),
    .run = receive_run,
};
