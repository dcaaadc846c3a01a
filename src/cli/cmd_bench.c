/* `outbox bench`: writes messages into a database of its own and drains them, on this machine and disk. */
#include <errno.h>
#include <inttypes.h>
#include <outbox/relay.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "database.h"
#include "output.h"
#include "writer_url.h"

enum { BATCH = 100, PATH_SIZE = 512 };

struct bench_options {
	int64_t messages, payload_bytes, keys, deadline_ms;
	char *to, *directory;
	bool json;
	struct ob_strings sink_options;
};

#define FIELD(field_) .field = offsetof(struct bench_options, field_)

static const struct ob_option bench_table[] = {
    {.name = "messages",
     .type = OB_OPTION_INT,
     .default_text = "50000",
     .min = 1,
     .max = 10000000,
     .help = "how many",
     FIELD(messages)},
    {.name = "payload",
     .type = OB_OPTION_SIZE,
     .default_text = "300",
     .max = 1048576,
     .help = "bytes of each",
     FIELD(payload_bytes)},
    {.name = "keys",
     .type = OB_OPTION_INT,
     .default_text = "1000",
     .min = 1,
     .max = 1000000,
     .help = "how many keys they share",
     FIELD(keys)},
    {.name = "to",
     .type = OB_OPTION_STRING,
     .default_text = "null:",
     .help = "where they go",
     FIELD(to)},
    {.name = "directory",
     .type = OB_OPTION_PATH,
     .help = "for the database, on the disk to be measured; else TMPDIR or /tmp",
     FIELD(directory)},
    {.name = "deadline",
     .type = OB_OPTION_DURATION,
     .default_text = "10m",
     .help = "give up draining after so long",
     FIELD(deadline_ms)},
    {.name = "json", .type = OB_OPTION_BOOL, .help = "print one JSON object", FIELD(json)},
    {.name = "sink-option",
     .type = OB_OPTION_LIST,
     .help = "an option of the recipient; see: outbox help sinks",
     FIELD(sink_options)},
    {0},
};

struct bench {
	struct ob_cli *cli;
	const struct bench_options *options;
	char directory[PATH_SIZE - 64];
	char url[PATH_SIZE];
	double write_s, drain_s;
};

static double
now_s(const struct bench *it)
{
	return (double)it->cli->host->monotonic_us(it->cli->host->context) / 1e6;
}

static int
database_make(struct bench *it, struct ob_error *error)
{
	const char *parent =
	    it->options->directory != NULL ? it->options->directory : getenv("TMPDIR");
	int rc;

	(void)snprintf(it->directory, sizeof(it->directory), "%s/outbox-bench-XXXXXX",
		       parent == NULL || parent[0] == '\0' ? "/tmp" : parent);
	if (mkdtemp(it->directory) == NULL) {
		rc = ob_error_set(error, OB_CONFIG, "%s: %s", it->directory, strerror(errno));
		it->directory[0] = '\0';
		return rc;
	}
	(void)snprintf(it->url, sizeof(it->url), "sqlite:%s/bench.db", it->directory);
	return ob_database_migrate(it->cli, it->url, NULL, true, NULL, NULL, error);
}

static void
database_remove(struct bench *it)
{
	static const char *const names[] = {"bench.db", "bench.db-wal", "bench.db-shm",
					    "bench.db-journal"};
	char path[PATH_SIZE];

	if (it->directory[0] == '\0')
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", it->directory, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(it->directory);
}

static int
batch_write(const struct bench *it, struct ob_url_writer *writer, const char *payload,
	    int64_t first, int64_t count, struct ob_error *error)
{
	struct ob_new_message messages[BATCH];
	char keys[BATCH][32];

	for (int64_t i = 0; i < count; i++) {
		(void)snprintf(keys[i], sizeof(keys[i]), "key-%" PRId64,
			       (first + i) % it->options->keys);
		messages[i] =
		    (struct ob_new_message){.topic = "bench",
					    .key = keys[i],
					    .payload = payload,
					    .payload_size = (size_t)it->options->payload_bytes};
	}
	return ob_url_writer_publish(writer, messages, (size_t)count, NULL, error);
}

static int
messages_write(struct bench *it, struct ob_error *error)
{
	char *payload = malloc((size_t)it->options->payload_bytes + 1);
	struct ob_url_writer writer = {0};
	double began = now_s(it);
	int rc;

	if (payload == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	memset(payload, 'x', (size_t)it->options->payload_bytes);
	rc = ob_url_writer_open(it->cli, &writer, it->url, NULL, error);
	if (rc == OB_OK)
		rc = ob_url_writer_run(
		    &writer, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL", error);
	for (int64_t done = 0; rc == OB_OK && done < it->options->messages;) {
		int64_t left = it->options->messages - done;
		int64_t count = left < BATCH ? left : BATCH;

		rc = batch_write(it, &writer, payload, done, count, error);
		done += count;
	}
	ob_url_writer_close(&writer);
	free(payload);
	it->write_s = now_s(it) - began;
	return rc;
}

static int
messages_drain(struct bench *it, struct ob_error *error)
{
	const struct ob_relay_config config = {.until_idle = true};
	struct ob_relay_subscription subscription;
	struct ob_relay_stats stats = {0};
	struct ob_relay *relay = NULL;
	double began;
	int rc = ob_relay_new(&config, &relay, error);

	ob_relay_subscription_defaults(&subscription);
	subscription.name = "bench";
	subscription.store_url = it->url;
	subscription.sink_url = it->options->to;
	subscription.sink_options = (const char *const *)it->options->sink_options.items;
	subscription.sink_option_count = it->options->sink_options.count;
	if (rc == OB_OK)
		rc = ob_relay_add(relay, &subscription, error);
	began = now_s(it);
	if (rc == OB_OK)
		rc = ob_relay_start(relay, error);
	if (rc == OB_OK)
		rc = ob_relay_wait(relay, it->options->deadline_ms, error);
	it->drain_s = now_s(it) - began;
	if (rc == OB_OK)
		rc = ob_relay_stats(relay, 0, &stats);
	if (rc == OB_OK && stats.sent < (uint64_t)it->options->messages)
		rc = ob_error_set(error, OB_FAILED,
				  "only %" PRIu64 " of %" PRId64 " messages were accepted",
				  stats.sent, it->options->messages);
	ob_relay_free(relay);
	return rc;
}

static int
result_print(const struct bench *it, struct ob_error *error)
{
	double count = (double)it->options->messages;
	struct ob_json json;
	int rc;

	if (!it->options->json) {
		(void)printf("%" PRId64 " messages of %" PRId64 " bytes\n", it->options->messages,
			     it->options->payload_bytes);
		(void)printf("  written   %10.0f a second, %d a transaction (%.2f s)\n",
			     count / it->write_s, BATCH, it->write_s);
		(void)printf("  delivered %10.0f a second to %s (%.2f s)\n", count / it->drain_s,
			     it->options->to, it->drain_s);
		return OB_OK;
	}
	ob_json_begin(&json);
	ob_json_open(&json, NULL, '{');
	ob_json_number(&json, "messages", it->options->messages);
	ob_json_number(&json, "payload_bytes", it->options->payload_bytes);
	ob_json_number(&json, "written_per_second", (int64_t)(count / it->write_s));
	ob_json_number(&json, "delivered_per_second", (int64_t)(count / it->drain_s));
	ob_json_close(&json, '}');
	rc = ob_json_print(&json, error);
	ob_json_free(&json);
	return rc;
}

static int
bench_run(struct ob_cli *cli, struct ob_error *error)
{
	struct bench it = {.cli = cli, .options = cli->options};
	int rc = database_make(&it, error);

	if (rc == OB_OK)
		rc = messages_write(&it, error);
	if (rc == OB_OK)
		rc = messages_drain(&it, error);
	if (rc == OB_OK)
		rc = result_print(&it, error);
	database_remove(&it);
	return rc;
}

const struct ob_command ob_cmd_bench = {
    .name = "bench",
    .group = "Set up",
    .summary = "Measure writing and delivering on this machine, in a database of its own.",
    .usage = "[--messages N] [--to SINK] [--directory PATH]",
    .examples = "outbox bench\noutbox bench --messages 200000 --payload 1KiB --directory /srv",
    .notes = "The repository's bench/ holds the measurements that the documentation cites.",
    .options = bench_table,
    .options_size = sizeof(struct bench_options),
    .run = bench_run,
};
