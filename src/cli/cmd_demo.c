/*
 * `outbox demo`: a shop, a recipient that is down, a relay that is killed twice, and what arrives in the end.
 *
 * Everything is a real process of this program and a real database file. The figures at the end are counted from the shop's
 * own table and the recipient's own output, see demo_count.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "commands.h"
#include "database.h"
#include "demo_count.h"
#include "demo_shop.h"
#include "output.h"
#include "process.h"
#include "writer_url.h"

enum { PATH_SIZE = 512, STEP_MS = 50, TELL_EVERY_MS = 1500, SETTLE_MS = 9000 };

struct demo_options {
	bool keep;
};

static const struct ob_option demo_table[] = {
    {.name = "keep",
     .type = OB_OPTION_BOOL,
     .help = "keep the directory with the database and the logs",
     .field = offsetof(struct demo_options, keep)},
    {0},
};

struct demo {
	struct ob_cli *cli;
	char directory[PATH_SIZE - 64];
	char database[PATH_SIZE], url[PATH_SIZE + 16], shop_log[PATH_SIZE], received[PATH_SIZE],
	    relay_log[PATH_SIZE];
	char shipping_log[PATH_SIZE], address[64], recipient[96];
	struct ob_process shop, shipping, relay;
	int64_t began_ms, told_ms;
};

/* ---- time and talk ---- */

static int64_t
now_ms(const struct demo *demo)
{
	return demo->cli->host->monotonic_us(demo->cli->host->context) / 1000;
}

static void demo_tell(struct demo *demo, const char *who, const char *format, ...) OB_PRINTF(3, 4);

static void
demo_tell(struct demo *demo, const char *who, const char *format, ...)
{
	const struct ob_cli *cli = demo->cli;
	va_list args;

	(void)printf("%s%5.1f s%s  %s%-9s%s ", ob_color(cli, OB_COLOR_DIM),
		     (double)(now_ms(demo) - demo->began_ms) / 1000, ob_color(cli, OB_COLOR_PLAIN),
		     ob_color(cli, OB_COLOR_BOLD), who, ob_color(cli, OB_COLOR_PLAIN));
	va_start(args, format);
	(void)vprintf(format, args);
	va_end(args);
	(void)putchar('\n');
	(void)fflush(stdout);
	demo->told_ms = now_ms(demo);
}

static uint64_t
committed_count(const struct demo *demo)
{
	return ob_demo_lines(demo->shop_log, "committed ");
}

static uint64_t
received_count(const struct demo *demo)
{
	return ob_demo_lines(demo->received, "{");
}

static void
counts_tell(struct demo *demo)
{
	demo_tell(demo, "",
		  "%" PRIu64 " orders placed, %" PRIu64 " taken back, %" PRIu64
		  " messages received",
		  committed_count(demo), ob_demo_lines(demo->shop_log, "rolled_back "),
		  received_count(demo));
}

/* Lets time pass until `done`, if given, says so or the time is up; tells the counts now and then. */
static bool
time_pass(struct demo *demo, int64_t for_ms, bool (*done)(const struct demo *demo))
{
	int64_t end_ms = now_ms(demo) + for_ms;

	while (now_ms(demo) < end_ms) {
		if (done != NULL && done(demo))
			return true;
		(void)poll(NULL, 0, STEP_MS);
		if (now_ms(demo) - demo->told_ms >= TELL_EVERY_MS)
			counts_tell(demo);
	}
	return done != NULL && done(demo);
}

static bool
some_arrived(const struct demo *demo)
{
	return received_count(demo) >= 20;
}

static bool
all_arrived(const struct demo *demo)
{
	struct ob_demo_counts counts;

	return received_count(demo) >= committed_count(demo) &&
	       ob_demo_count(demo->database, demo->shop_log, demo->received, &counts, NULL) ==
		   OB_OK &&
	       counts.lost == 0;
}

/* ---- the stage ---- */

/* A port that is free now and has nobody listening, since shipping is down at first. */
static int
address_choose(struct demo *demo, struct ob_error *error)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int failed = fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 ||
		     getsockname(fd, (struct sockaddr *)&address, &size) != 0;

	if (fd >= 0)
		(void)close(fd);
	if (failed)
		return ob_error_set(error, OB_FAILED, "no free port on the loopback: %s",
				    strerror(errno));
	(void)snprintf(demo->address, sizeof(demo->address), "127.0.0.1:%d",
		       ntohs(address.sin_port));
	(void)snprintf(demo->recipient, sizeof(demo->recipient), "http://%s/orders", demo->address);
	return OB_OK;
}

static int
database_make(struct demo *demo, struct ob_error *error)
{
	struct ob_url_writer writer = {0};
	int rc = ob_database_migrate(demo->cli, demo->url, NULL, true, NULL, NULL, error);

	if (rc == OB_OK)
		rc = ob_url_writer_open(demo->cli, &writer, demo->url, NULL, error);
	if (rc == OB_OK)
		rc = ob_url_writer_run(&writer, "PRAGMA journal_mode = WAL", error);
	if (rc == OB_OK)
		rc = ob_url_writer_run(&writer, OB_SHOP_SQL, error);
	ob_url_writer_close(&writer);
	return rc;
}

static int
stage_set(struct demo *demo, struct ob_error *error)
{
	const char *parent = getenv("TMPDIR");
	int rc;

	(void)snprintf(demo->directory, sizeof(demo->directory), "%s/outbox-demo-XXXXXX",
		       parent == NULL || parent[0] == '\0' ? "/tmp" : parent);
	if (mkdtemp(demo->directory) == NULL) {
		rc = ob_error_set(error, OB_FAILED, "%s: %s", demo->directory, strerror(errno));
		demo->directory[0] = '\0';
		return rc;
	}
	(void)snprintf(demo->database, sizeof(demo->database), "%s/shop.db", demo->directory);
	(void)snprintf(demo->url, sizeof(demo->url), "sqlite:%s", demo->database);
	(void)snprintf(demo->shop_log, sizeof(demo->shop_log), "%s/shop.log", demo->directory);
	(void)snprintf(demo->received, sizeof(demo->received), "%s/received.jsonl",
		       demo->directory);
	(void)snprintf(demo->relay_log, sizeof(demo->relay_log), "%s/relay.log", demo->directory);
	(void)snprintf(demo->shipping_log, sizeof(demo->shipping_log), "%s/shipping.log",
		       demo->directory);
	rc = address_choose(demo, error);
	return rc == OB_OK ? database_make(demo, error) : rc;
}

static void
stage_clear(struct demo *demo)
{
	static const char *const names[] = {"shop.db",     "shop.db-wal",    "shop.db-shm",
					    "shop.log",    "received.jsonl", "relay.log",
					    "shipping.log"};
	const struct demo_options *options = demo->cli->options;
	char path[PATH_SIZE];

	ob_process_end(&demo->shop, SIGKILL);
	ob_process_end(&demo->relay, SIGKILL);
	ob_process_end(&demo->shipping, SIGKILL);
	if (demo->directory[0] == '\0')
		return;
	if (options->keep) {
		(void)printf("Kept: %s\n", demo->directory);
		return;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", demo->directory, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(demo->directory);
}

/* ---- the actors ---- */

static int
relay_start(struct demo *demo, const char *why, struct ob_error *error)
{
	/* Short times, so that the story fits into a few seconds; the defaults are for real life. */
	char *const words[] = {"relay",          demo->url,  "--to",    demo->recipient,
			       "--subscription", "shipping", "--lease", "1s",
			       "--probe-max",    "500ms",    NULL};
	int rc = ob_process_start(&demo->relay, words, NULL, demo->relay_log, error);

	if (rc == OB_OK)
		demo_tell(demo, "relay", "%s (process %d)", why, (int)demo->relay.pid);
	return rc;
}

static void
relay_kill(struct demo *demo, const char *when)
{
	pid_t pid = demo->relay.pid;

	ob_process_end(&demo->relay, SIGKILL);
	demo_tell(demo, "relay", "%skill -9 %d%s, %s", ob_color(demo->cli, OB_COLOR_RED), (int)pid,
		  ob_color(demo->cli, OB_COLOR_PLAIN), when);
}

static int
shipping_start(struct demo *demo, struct ob_error *error)
{
	char *const words[] = {"receive", "--listen", demo->address, "--delay", "20ms", NULL};
	int rc =
	    ob_process_start(&demo->shipping, words, demo->received, demo->shipping_log, error);

	if (rc == OB_OK)
		demo_tell(demo, "shipping", "is up, listens at %s", demo->address);
	return rc;
}

static int
shop_start(struct demo *demo, struct ob_shop *shop, struct ob_error *error)
{
	*shop = (struct ob_shop){
	    .cli = demo->cli, .url = demo->url, .log_path = demo->shop_log, .every_ms = 10};
	demo_tell(demo, "shop",
		  "opens: each order and its message are one transaction, some are rolled back");
	return ob_process_fork(&demo->shop, ob_shop_run, shop, error);
}

/* ---- the story ---- */

static int
story_play(struct demo *demo, struct ob_error *error)
{
	struct ob_shop shop;
	int rc = shop_start(demo, &shop, error);

	if (rc == OB_OK)
		rc = relay_start(demo, "starts; shipping is down", error);
	(void)time_pass(demo, 2500, NULL);
	if (rc == OB_OK) {
		relay_kill(demo, "while shipping is still down");
		(void)time_pass(demo, 1000, NULL);
		rc = relay_start(demo, "starts again", error);
	}
	(void)time_pass(demo, 1500, NULL);
	if (rc == OB_OK)
		rc = shipping_start(demo, error);
	(void)time_pass(demo, 3000, some_arrived);
	if (rc == OB_OK) {
		relay_kill(demo, "in the middle of its deliveries");
		(void)time_pass(demo, 500, NULL);
		rc = relay_start(demo, "starts once more", error);
	}
	(void)time_pass(demo, 2500, NULL);
	ob_process_end(&demo->shop, SIGTERM);
	demo_tell(demo, "shop", "closes");
	if (rc == OB_OK && !time_pass(demo, SETTLE_MS, all_arrived))
		demo_tell(demo, "", "not everything has arrived in time");
	else if (rc == OB_OK)
		demo_tell(demo, "shipping", "has every order");
	/* SIGTERM lets the relay write down what was confirmed, and both end in good order. */
	ob_process_end(&demo->relay, SIGTERM);
	ob_process_end(&demo->shipping, SIGTERM);
	return rc;
}

static void
count_print(const struct demo *demo, const char *label, uint64_t count, bool is_bad,
	    const char *note)
{
	const struct ob_cli *cli = demo->cli;

	(void)printf("  %-15s %s%6" PRIu64 "%s  %s\n", label,
		     is_bad && count > 0 ? ob_color(cli, OB_COLOR_RED)
		     : is_bad            ? ob_color(cli, OB_COLOR_GREEN)
					 : "",
		     count, is_bad ? ob_color(cli, OB_COLOR_PLAIN) : "", note);
}

static int
reckoning(struct demo *demo, struct ob_error *error)
{
	struct ob_demo_counts counts;
	int rc = ob_demo_count(demo->database, demo->shop_log, demo->received, &counts, error);

	if (rc != OB_OK)
		return rc;
	(void)printf("\nCounted from the shop's own table and what shipping wrote down:\n\n");
	count_print(demo, "committed", counts.committed, false, "orders in the shop's table");
	count_print(demo, "rolled back", counts.rolled_back, false, "orders that never were");
	count_print(demo, "delivered", counts.delivered, false, "orders that shipping has");
	count_print(demo, "duplicates", counts.duplicates, false,
		    "in flight when the relay was killed: sent again, with the same id");
	count_print(demo, "lost", counts.lost, true, "");
	count_print(demo, "out of order", counts.out_of_order, true, "within a customer's orders");
	count_print(demo, "never committed", counts.phantoms, true,
		    "rolled back, and sent all the same");
	(void)putchar('\n');
	if (counts.lost > 0 || counts.out_of_order > 0 || counts.phantoms > 0)
		return ob_error_set(error, OB_FAILED,
				    "a promise was broken; run it with --keep and see the logs");
	if (counts.committed == 0)
		return ob_error_set(
		    error, OB_FAILED,
		    "the shop placed no order; run it with --keep and see the logs");
	return OB_OK;
}

static int
demo_run(struct ob_cli *cli, struct ob_error *error)
{
	struct demo demo = {.cli = cli};
	int rc;

	demo.began_ms = demo.told_ms = now_ms(&demo);
	rc = stage_set(&demo, error);
	if (rc == OB_OK)
		rc = story_play(&demo, error);
	if (rc == OB_OK)
		rc = reckoning(&demo, error);
	stage_clear(&demo);
	return rc;
}

const struct ob_command ob_cmd_demo = {
    .name = "demo",
    .group = "Set up",
    .summary =
	"Play a shop, a recipient that is down and a relay that is killed; count what arrives.",
    .usage = "[--keep]",
    .examples = "outbox demo\noutbox demo --keep",
    .notes =
	"Takes about 15 seconds, in a directory of its own. Ends with 1 when anything was lost or out of order.",
    .options = demo_table,
    .options_size = sizeof(struct demo_options),
    .run = demo_run,
};
