/*
 * `outbox demo`: a shop, a recipient that is down, a relay that is killed twice, and what arrives in the end.
 *
 * Everything is a real process of this program and a real database, see demo_stage.h. The figures at the end are counted from the shop's
 * own table and the recipient's own output, see demo_count.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "commands.h"
#include "demo_count.h"
#include "demo_shop.h"
#include "demo_stage.h"
#include "output.h"
#include "process.h"

enum { STEP_MS = 50, TELL_EVERY_MS = 1500, SETTLE_MS = 9000 };

struct demo_options {
	char *database;
	bool keep;
};

static const struct ob_option demo_table[] = {
    {.name = "database",
     .type = OB_OPTION_STRING,
     .help =
	 "play in this PostgreSQL database instead of an SQLite file, in a schema " OB_STAGE_SCHEMA
	 " that is dropped in the end",
     .field = offsetof(struct demo_options, database)},
    {.name = "keep",
     .type = OB_OPTION_BOOL,
     .help = "keep the directory with the database and the logs; of PostgreSQL the schema",
     .field = offsetof(struct demo_options, keep)},
    {0},
};

struct demo {
	struct ob_cli *cli;
	struct ob_stage stage;
	char address[64], recipient[96];
	struct ob_process shop, shipping, relay;
	struct ob_url_writer stranger;
	int64_t began_ms, told_ms;
};

static volatile sig_atomic_t demo_ends;

static void
end_ask(int signal)
{
	(void)signal;
	demo_ends = 1;
}

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
	return ob_demo_lines(demo->stage.shop_log, "committed ");
}

static uint64_t
received_count(const struct demo *demo)
{
	return ob_demo_lines(demo->stage.received, "{");
}

static void
counts_tell(struct demo *demo)
{
	demo_tell(demo, "",
		  "%" PRIu64 " orders placed, %" PRIu64 " taken back, %" PRIu64
		  " messages received",
		  committed_count(demo), ob_demo_lines(demo->stage.shop_log, "rolled_back "),
		  received_count(demo));
}

/*
 * Lets time pass until `done`, if given, says so or the time is up; tells the counts now and then. OB_FAILED when a signal
 * asks to end: then everything is taken away first.
 */
static int
time_pass(struct demo *demo, int64_t for_ms, bool (*done)(const struct demo *demo),
	  struct ob_error *error)
{
	int64_t end_ms = now_ms(demo) + for_ms;

	while (now_ms(demo) < end_ms) {
		if (demo_ends != 0)
			return ob_error_set(error, OB_FAILED, "ended by a signal");
		if (done != NULL && done(demo))
			return OB_OK;
		(void)poll(NULL, 0, STEP_MS);
		if (now_ms(demo) - demo->told_ms >= TELL_EVERY_MS)
			counts_tell(demo);
	}
	return OB_OK;
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

	if (received_count(demo) < committed_count(demo))
		return false;
	if (ob_stage_count(&demo->stage, &counts, NULL) == OB_OK)
		return counts.lost == 0;
	/* It is asked again; this is not how the demo ends. */
	demo->cli->exit_status = 0;
	return false;
}

/* ---- the actors ---- */

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
relay_start(struct demo *demo, const char *why, struct ob_error *error)
{
	/* Short times, so that the story fits into a few seconds; the defaults are for real life. */
	const char *const words[] = {"relay",
				     demo->stage.url,
				     "--to",
				     demo->recipient,
				     "--subscription",
				     "shipping",
				     "--lease",
				     "1s",
				     "--probe-max",
				     "500ms",
				     demo->stage.store_option == NULL ? NULL : "--store-option",
				     demo->stage.store_option,
				     NULL};
	int rc = ob_process_start(&demo->relay, words, NULL, demo->stage.relay_log, error);

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
	const char *const words[] = {"receive", "--listen", demo->address, "--delay", "20ms", NULL};
	int rc = ob_process_start(&demo->shipping, words, demo->stage.received,
				  demo->stage.shipping_log, error);

	if (rc == OB_OK)
		demo_tell(demo, "shipping", "is up, listens at %s", demo->address);
	return rc;
}

static int
shop_start(struct demo *demo, struct ob_shop *shop, struct ob_error *error)
{
	*shop = (struct ob_shop){.stage = &demo->stage, .every_ms = 10};
	demo_tell(demo, "shop",
		  "opens: each order and its message are one transaction, some are rolled back");
	return ob_process_fork(&demo->shop, ob_shop_run, shop, error);
}

/*
 * Somebody whose transaction has an id, and stays open: no message may wait for it. In SQLite it would be a writer, and all
 * others would wait.
 */
static int
stranger_start(struct demo *demo, struct ob_error *error)
{
	int rc;

	if (!demo->stage.has_schema)
		return OB_OK;
	rc = ob_stage_writer(&demo->stage, &demo->stranger, error);
	if (rc == OB_OK)
		rc = ob_url_writer_begin(&demo->stranger, error);
	if (rc == OB_OK)
		rc = ob_url_writer_run(&demo->stranger, "SELECT pg_current_xact_id()", error);
	if (rc == OB_OK)
		demo_tell(demo, "stranger",
			  "begins a transaction of its own, and leaves it open to the end");
	return rc;
}

static void
all_end(struct demo *demo, int signal)
{
	ob_process_end(&demo->shop, signal);
	ob_process_end(&demo->relay, signal);
	ob_process_end(&demo->shipping, signal);
	ob_url_writer_close(&demo->stranger);
}

/* ---- the story ---- */

static int
shipping_is_down(struct demo *demo, struct ob_shop *shop, struct ob_error *error)
{
	int rc = stranger_start(demo, error);

	if (rc == OB_OK)
		rc = shop_start(demo, shop, error);
	if (rc == OB_OK)
		rc = relay_start(demo, "starts; shipping is down", error);
	if (rc == OB_OK)
		rc = time_pass(demo, 2500, NULL, error);
	if (rc != OB_OK)
		return rc;
	relay_kill(demo, "while shipping is still down");
	rc = time_pass(demo, 1000, NULL, error);
	if (rc == OB_OK)
		rc = relay_start(demo, "starts again", error);
	return rc == OB_OK ? time_pass(demo, 1500, NULL, error) : rc;
}

static int
shipping_is_up(struct demo *demo, struct ob_error *error)
{
	int rc = shipping_start(demo, error);

	if (rc == OB_OK)
		rc = time_pass(demo, 3000, some_arrived, error);
	if (rc != OB_OK)
		return rc;
	relay_kill(demo, "in the middle of its deliveries");
	rc = time_pass(demo, 500, NULL, error);
	if (rc == OB_OK)
		rc = relay_start(demo, "starts once more", error);
	return rc == OB_OK ? time_pass(demo, 2500, NULL, error) : rc;
}

static int
story_play(struct demo *demo, struct ob_error *error)
{
	struct ob_shop shop;
	int rc = shipping_is_down(demo, &shop, error);

	if (rc == OB_OK)
		rc = shipping_is_up(demo, error);
	if (rc != OB_OK)
		return rc;
	ob_process_end(&demo->shop, SIGTERM);
	demo_tell(demo, "shop", "closes");
	rc = time_pass(demo, SETTLE_MS, all_arrived, error);
	if (rc != OB_OK)
		return rc;
	if (all_arrived(demo))
		demo_tell(demo, "shipping", "has every order");
	else
		demo_tell(demo, "", "not everything has arrived in time");
	/* SIGTERM lets the relay write down what was confirmed, and all end in good order. */
	all_end(demo, SIGTERM);
	return OB_OK;
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
	int rc = ob_stage_count(&demo->stage, &counts, error);

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
	const struct demo_options *options = cli->options;
	const struct sigaction action = {.sa_handler = end_ask};
	struct demo demo = {.cli = cli};
	struct ob_error left = {0};
	int rc, clear_rc;

	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	demo.began_ms = demo.told_ms = now_ms(&demo);
	rc = ob_stage_set(&demo.stage, cli, options->database, error);
	if (rc == OB_OK)
		rc = address_choose(&demo, error);
	if (rc == OB_OK)
		rc = story_play(&demo, error);
	if (rc == OB_OK)
		rc = reckoning(&demo, error);
	all_end(&demo, SIGKILL);
	clear_rc = ob_stage_clear(&demo.stage, options->keep, &left);
	if (clear_rc == OB_OK)
		return rc;
	return rc == OB_OK ? ob_error_set(error, left.code, "%s", left.text)
			   : ob_error_set(error, error->code, "%s; and %s", error->text, left.text);
}

const struct ob_command ob_cmd_demo = {
    .name = "demo",
    .group = "Set up",
    .summary =
	"Play a shop, a recipient that is down and a relay that is killed; count what arrives.",
    .usage = "[--database URL] [--keep]",
    .examples = "outbox demo\noutbox demo --database postgresql:///shop\noutbox demo --keep",
    .notes =
	"Takes about 15 seconds, in a directory of its own and an SQLite file in it. With --database it plays in a schema\n"
	"of its own, " OB_STAGE_SCHEMA
	", refuses to begin where there is one, touches nothing else in that database, makes no\n"
	"roles, and drops the schema in the end. Ends with 1 when anything was lost or out of order.",
    .options = demo_table,
    .options_size = sizeof(struct demo_options),
    .run = demo_run,
};
