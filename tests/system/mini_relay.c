/* A relay with as little around it as there can be: the public API and signals. Used to test the relay apart from the commands. */
#include <outbox/relay.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handles.h"
#include "host.h"
#include "options.h"
#include "signals.h"

static void
say(void *context, enum ob_log_level level, const char *text)
{
	(void)context;
	if (level <= OB_LOG_INFO)
		fprintf(stderr, "%s\n", text);
}

static int
fail(const struct ob_error *error)
{
	fprintf(stderr, "mini_relay: %s: %s\n", ob_code_name(error->code), error->text);
	return 1;
}

static void
ignore_migration(void *context, const struct ob_migration *migration)
{
	(void)context;
	(void)migration;
}

static int
init(const char *url)
{
	struct ob_host_log log;
	struct ob_real_host host;
	struct ob_store_handle handle;
	struct ob_error error = {0};
	int code;

	ob_host_log_init(&log, say, NULL);
	ob_real_host_init(&host, &log, NULL);
	code = ob_store_handle_init(&handle, url, NULL, 0, &host.host, &error);
	if (code == OB_OK)
		code = ob_store_handle_open(&handle, true, false, &error);
	if (code == OB_OK)
		code = handle.ops->migrate(handle.store, OB_MIGRATE_APPLY, ignore_migration, NULL,
					   &error);
	ob_store_handle_free(&handle);
	return code == OB_OK ? 0 : fail(&error);
}

/* mini_relay init STORE; mini_relay STORE SINK [until-idle] [sink.NAME=VALUE | NAME=VALUE]... */
int
main(int argc, char **argv)
{
	struct ob_relay_config config = {.log = say};
	struct ob_relay_subscription it;
	struct ob_relay_stats stats;
	struct ob_signals signals;
	struct ob_options options;
	struct ob_error error = {0};
	struct ob_relay *relay;
	const char *sink_options[16];
	int killed_by;

	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "init") == 0)
		return init(argv[2]);
	ob_options_begin(&options, "relay", ob_relay_options, &it, &error);
	ob_relay_subscription_defaults(&it);
	it.name = "default";
	it.store_url = argv[1];
	it.sink_url = argv[2];
	it.sink_options = sink_options;
	for (int i = 3; i < argc; i++) {
		if (strcmp(argv[i], "until-idle") == 0)
			config.until_idle = true;
		else if (strncmp(argv[i], "sink.", 5) == 0)
			sink_options[it.sink_option_count++] = argv[i] + 5;
		else if (ob_options_set_pair(&options, argv[i], &error) != OB_OK)
			return fail(&error);
	}
	if (ob_signals_open(&signals, &error) != OB_OK ||
	    ob_relay_new(&config, &relay, &error) != OB_OK ||
	    ob_relay_add(relay, &it, &error) != OB_OK || ob_relay_start(relay, &error) != OB_OK)
		return fail(&error);
	if (ob_signals_run(&signals, relay, 10000, &killed_by, NULL, NULL, 0, &error) != OB_OK) {
		if (killed_by != 0)
			_exit(128 + killed_by);
		return fail(&error);
	}
	ob_relay_stats(relay, 0, &stats);
	fprintf(stderr, "sent %llu retried %llu dead %llu settles %llu\n",
		(unsigned long long)stats.sent, (unsigned long long)stats.retried,
		(unsigned long long)stats.dead, (unsigned long long)stats.settles);
	ob_relay_free(relay);
	return 0;
}
