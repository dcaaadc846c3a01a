/* The table of the SQLite store. See sqlite_store.h for what stands where. */
#include <stddef.h>

#include "sqlite_store.h"
#include "stores.h"

static const char *const schemes[] = {"sqlite", NULL};

static const struct ob_option options[] = {
    {.name = "retention",
     .type = OB_OPTION_DURATION,
     .default_text = "0",
     .help = "How long messages stay in the log after every subscription has passed them",
     .field = offsetof(struct sqlite_options, retention_ms)},
    {.name = "busy-timeout",
     .type = OB_OPTION_DURATION,
     .default_text = "2s",
     .help = "How long to wait for the application's write transaction before trying again later",
     .field = offsetof(struct sqlite_options, busy_timeout_ms),
     .min = 1,
     .max = 600000},
    {.name = "message-bytes-max",
     .type = OB_OPTION_SIZE,
     .default_text = "16MiB",
     .help = "The greatest payload; larger ones are not read and go to the dead messages",
     .field = offsetof(struct sqlite_options, message_bytes_max),
     .min = 1024,
     .max = 1000000000},
    {.name = "wal-limit",
     .type = OB_OPTION_SIZE,
     .default_text = "64MiB",
     .help = "The relay checkpoints a write-ahead log above this size when nobody else writes",
     .field = offsetof(struct sqlite_options, wal_limit_bytes)},
    {0},
};

const struct ob_store_ops ob_store_sqlite = {
    .contract = OB_STORE_CONTRACT,
    .name = "sqlite",
    .schemes = schemes,
    .help = "An SQLite database file, sqlite:PATH",
    .options = options,
    .options_size = sizeof(struct sqlite_options),
    .size = sizeof(struct sqlite_store),
    .capabilities = OB_STORE_DURABLE,
    .settle_count_max = 256,
    .settle_bytes_max = 1024 * 1024,
    .open = ob_sqlite_open,
    .close = ob_sqlite_close,
    .migrate = ob_sqlite_migrate,
    .schema_sql = ob_sqlite_schema_sql,
    .subscribe = ob_sqlite_subscribe,
    .acquire = ob_sqlite_acquire,
    .renew = ob_sqlite_renew,
    .release = ob_sqlite_release,
    .fetch = ob_sqlite_fetch,
    .settle = ob_sqlite_settle,
    .wait = ob_sqlite_wait,
    .wake = ob_sqlite_wake,
    .trim = ob_sqlite_trim,
    .stats = ob_sqlite_stats,
    .list = ob_sqlite_list,
    .change = ob_sqlite_change,
    .check = ob_sqlite_check,
    .writer = &ob_sqlite_writer,
};
