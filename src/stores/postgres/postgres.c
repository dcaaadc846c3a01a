/* The table of the PostgreSQL store. See postgres_store.h for what stands where. */
#include <stddef.h>
#include <stdio.h>

#include "postgres_store.h"
#include "stores.h"

static const char *const schemes[] = {"postgresql", "postgres", NULL};

static const struct ob_option options[] = {
    {.name = "schema",
     .type = OB_OPTION_STRING,
     .default_text = "outbox",
     .help = "The schema of the outbox's tables",
     .field = offsetof(struct postgres_options, schema)},
    {.name = "roles",
     .type = OB_OPTION_BOOL,
     .default_text = "true",
     .help =
	 "Whether a migration makes the roles outbox_owner, outbox_app, outbox_relay and outbox_monitor, where it "
	 "may, and gives them their rights",
     .field = offsetof(struct postgres_options, roles)},
    {.name = "instance-name",
     .type = OB_OPTION_STRING,
     .help =
	 "Refuse a server of another name: its setting outbox.instance_name, or cluster_name where that is not set. A "
	 "copy of the server's disks is told from the original by nothing else",
     .field = offsetof(struct postgres_options, instance_name)},
    {.name = "standby-flushed",
     .type = OB_OPTION_BOOL,
     .default_text = "false",
     .help =
	 "Deliver only what a standby has flushed, so that nothing was sent that a failover loses; needs "
	 "synchronous_standby_names, also where applications commit with synchronous_commit = local",
     .field = offsetof(struct postgres_options, standby_flushed)},
    {.name = "poll-max",
     .type = OB_OPTION_DURATION,
     .default_text = "50ms",
     .help = "The longest pause between two looks of a relay that has found nothing for a while",
     .field = offsetof(struct postgres_options, poll_max_ms),
     .min = 1,
     .max = 60000},
    {.name = "notify",
     .type = OB_OPTION_BOOL,
     .default_text = "false",
     .help =
	 "Have outbox.publish wake a relay that sleeps; for applications whose role has SET outbox.notify = on, and "
	 "not through a proxy that pools transactions",
     .field = offsetof(struct postgres_options, notify)},
    {.name = "retention",
     .type = OB_OPTION_DURATION,
     .default_text = "0",
     .help = "How long messages stay in the log after every subscription has passed them",
     .field = offsetof(struct postgres_options, retention_ms)},
    {.name = "connect-timeout",
     .type = OB_OPTION_DURATION,
     .default_text = "5s",
     .help = "How long to wait for a connection to one host",
     .field = offsetof(struct postgres_options, connect_timeout_ms),
     .min = 100,
     .max = 600000},
    {.name = "timeout",
     .type = OB_OPTION_DURATION,
     .default_text = "20s",
     .help = "How long to wait for the answer to one transaction before the connection is given up",
     .field = offsetof(struct postgres_options, timeout_ms),
     .min = 100,
     .max = 600000},
    {.name = "message-bytes-max",
     .type = OB_OPTION_SIZE,
     .default_text = "16MiB",
     .help = "The greatest payload; larger ones are not read and go to the dead messages",
     .field = offsetof(struct postgres_options, message_bytes_max),
     .min = 1024,
     .max = 1000000000},
    {.name = "turn-age",
     .type = OB_OPTION_DURATION,
     .default_text = "1h",
     .help =
	 "How long the newest partition stays so, before numbers are burnt to empty it when all is delivered",
     .field = offsetof(struct postgres_options, turn_age_ms)},
    {.name = "turn-size",
     .type = OB_OPTION_SIZE,
     .default_text = "256MiB",
     .help =
	 "The size at which the newest partition gives way to the next one before its numbers are used up",
     .field = offsetof(struct postgres_options, turn_bytes),
     .min = 1048576,
     .max = INT64_MAX},
    {0},
};

static const char *
postgres_library_version(void)
{
	static char text[16];
	int version = PQlibVersion();

	snprintf(text, sizeof(text), "%d.%d", version / 10000, version % 10000);
	return text;
}

const struct ob_store_ops ob_store_postgres = {
    .contract = OB_STORE_CONTRACT,
    .name = "postgres",
    .schemes = schemes,
    .help = "A PostgreSQL database, postgresql://USER@HOST/DATABASE",
    .options = options,
    .options_size = sizeof(struct postgres_options),
    .size = sizeof(struct postgres_store),
    .capabilities = OB_STORE_DURABLE | OB_STORE_MANY | OB_STORE_SHARDS,
    .library = "libpq",
    .library_version = postgres_library_version,
    .open = ob_postgres_open,
    .close = ob_postgres_close,
    .migrate = ob_postgres_migrate,
    .schema_sql = ob_postgres_schema_sql,
    .subscribe = ob_postgres_subscribe,
    .acquire = ob_postgres_acquire,
    .renew = ob_postgres_renew,
    .release = ob_postgres_release,
    .join = ob_postgres_join,
    .leave = ob_postgres_leave,
    .fetch = ob_postgres_fetch,
    .settle = ob_postgres_settle,
    .wait = ob_postgres_wait,
    .wake = ob_postgres_wake,
    .trim = ob_postgres_trim,
    .stats = ob_postgres_stats,
    .list = ob_postgres_list,
    .change = ob_postgres_change,
    .check = ob_postgres_check,
    .writer = &ob_postgres_writer,
};
