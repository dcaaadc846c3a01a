#include <inttypes.h>
#include <string.h>

#include "commands.h"
#include "database.h"
#include "log.h"
#include "output.h"

#define MEND_SIZE_MAX 16384

struct status_options {
	char *subscription;
	bool json, plain;
	struct ob_strings store_options;
};

static const struct ob_option status_table[] = {
    {.name = "subscription",
     .type = OB_OPTION_STRING,
     .help = "only this one",
     .field = offsetof(struct status_options, subscription)},
    {.name = "json",
     .type = OB_OPTION_BOOL,
     .help = "print one JSON object",
     .field = offsetof(struct status_options, json)},
    {.name = "plain",
     .type = OB_OPTION_BOOL,
     .help =
	 "a line each, between tabs: name, state, pending at most, age of the oldest in ms, parked, scheduled, dead, "
	 "relay, why, mend",
     .field = offsetof(struct status_options, plain)},
    OB_STORE_OPTION(struct status_options, store_options),
    {0},
};

struct status {
	struct ob_cli *cli;
	const char *url; /* as it may be shown */
	const struct ob_strings *options;
	struct ob_json json;
	bool as_json, as_plain;
	struct ob_error *error;
	int rc; /* of printing */
	unsigned count;
};

/* What the subscription does, in one word: what the relay wrote holds only while its lease does. */
static const char *
state_word(const struct ob_subscription_stats *it)
{
	if (it->paused && (it->held || it->state[0] == '\0'))
		return "paused";
	if (it->state[0] != '\0')
		return it->state;
	return it->held ? "running" : "no relay";
}

static enum ob_color
state_color(const struct ob_subscription_stats *it)
{
	const char *word = state_word(it);

	if (strcmp(word, "running") == 0)
		return OB_COLOR_GREEN;
	if (strcmp(word, "down") == 0 || strcmp(word, "blocked") == 0 ||
	    strcmp(word, "full") == 0 || strcmp(word, "store_failed") == 0)
		return OB_COLOR_RED;
	return OB_COLOR_YELLOW;
}

/* A command with its words, of which NULL ends the list, and the options of the database that it works on, if any. */
static void
command_append(struct ob_buf *mend, const struct ob_strings *options, const char *const *words)
{
	ob_buf_append_text(mend, "outbox");
	for (; *words != NULL; words++) {
		ob_buf_append_byte(mend, ' ');
		ob_print_argument(mend, *words);
	}
	if (options != NULL)
		ob_database_options_show(mend, options);
}

#define MEND(...) command_append(mend, status->options, (const char *const[]){__VA_ARGS__, NULL})

/* Of a relay that runs and says that not everything flows. */
static void
advise_running(const struct status *status, const struct ob_subscription_stats *it,
	       const char *word, struct ob_buf *why, struct ob_buf *mend)
{
	bool both = it->code[0] != '\0' && it->text[0] != '\0';

	ob_buf_appendf(why, "%s%s%s", it->code, both ? ": " : "", it->text);
	if (strcmp(word, "full") == 0 && strncmp(it->code, "dead", 4) == 0)
		MEND("dead", "list", status->url, "--subscription", it->name);
	else if (strcmp(word, "full") == 0 && strncmp(it->code, "scheduled", 9) == 0)
		MEND("dead", "list", status->url, "--subscription", it->name, "--place",
		     "scheduled");
	else if (strcmp(word, "full") == 0)
		MEND("dead", "list", status->url, "--subscription", it->name, "--place", "parked");
	else if (strcmp(word, "store_failed") == 0)
		MEND("doctor", status->url);
	else
		command_append(mend, NULL, (const char *const[]){"test-sink", it->sink, NULL});
}

/* Of a relay that takes no lease here until a person says that this database is meant. */
static void
advise_refused(const struct status *status, const struct ob_subscription_stats *it,
	       struct ob_buf *why, struct ob_buf *mend)
{
	bool is_foreign = strcmp(it->code, ob_code_name(OB_FOREIGN)) == 0;

	ob_buf_appendf(why, "the database is not what its relay left: %s", it->text);
	MEND("adopt", status->url, "--subscription", it->name,
	     is_foreign ? "--from-checkpoint" : "--from-beginning");
}

static bool
is_in_order(const char *word)
{
	static const char *const words[] = {"running", "starting", "standby", "draining",
					    "drained"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return false;
}

/* Why not everything flows, and the command that frees it. `why` is empty when all is well. */
static void
advise(const struct status *status, const struct ob_subscription_stats *it, struct ob_buf *why,
       struct ob_buf *mend)
{
	const char *word = state_word(it);

	if (!it->held && it->state[0] != '\0') {
		advise_refused(status, it, why, mend);
	} else if (it->paused) {
		ob_buf_append_text(why, "paused by a person");
		MEND("resume", status->url, it->name);
	} else if (!it->held && (it->pending || it->parked_rows > 0)) {
		ob_buf_appendf(why, "messages wait and %s",
			       it->blocked_by[0] != '\0' ? it->blocked_by
							 : "no relay runs this subscription");
		if (it->dead_rows > 0 && it->parked_rows > 0)
			ob_buf_append_text(
			    why, ", or a dead one holds them (hold-key): see outbox dead list");
		MEND("relay", status->url, "--to", it->sink[0] == '\0' ? "SINK" : it->sink,
		     "--subscription", it->name);
	} else if (it->held && !is_in_order(word)) {
		advise_running(status, it, word, why, mend);
	} else if (it->dead_rows > 0) {
		ob_buf_append_text(why, "messages were given up");
		MEND("dead", "list", status->url, "--subscription", it->name);
	} else if (it->parked_rows > 0) {
		ob_buf_append_text(why, "messages failed and wait for their next try");
		MEND("dead", "list", status->url, "--subscription", it->name, "--place", "parked");
	}
	if (why->size == 0 && it->blocked_by != NULL)
		ob_buf_append_text(why, it->blocked_by);
}

static void
line_print(const char *label, const char *text)
{
	struct ob_buf line;

	ob_buf_init(&line, 8192);
	ob_log_escape(&line, text, strlen(text));
	(void)printf("  %-10s %s\n", label, ob_buf_text(&line));
	ob_buf_free(&line);
}

static void
numbers_print(const struct ob_subscription_stats *it)
{
	char age[OB_TEXT_FIELD_MAX];

	ob_duration_print(age, it->oldest_age_ms);
	if (!it->pending)
		(void)printf("  %-10s nothing waits%s\n", "pending",
			     it->replaying ? "; a replay is under way" : "");
	else
		(void)printf("  %-10s at most %" PRIu64 ", the oldest for %s%s\n", "pending",
			     it->pending_max, age, it->replaying ? "; a replay is under way" : "");
	if (it->parked_rows > 0)
		(void)printf("  %-10s %" PRIu64 " wait for a retry, of %" PRIu64 " keys\n",
			     "parked", it->parked_rows, it->parked_keys);
	if (it->scheduled_rows > 0)
		(void)printf("  %-10s %" PRIu64 " wait for their time\n", "scheduled",
			     it->scheduled_rows);
	if (it->dead_rows > 0)
		(void)printf("  %-10s %" PRIu64 " given up\n", "dead", it->dead_rows);
}

static bool
has_shards(const struct ob_subscription_stats *it)
{
	return it->shards > 1 || it->shards_next > 0;
}

/* Who runs it, and what it says unless all is well. */
static void
shard_print(const struct ob_shard_stats *shard, uint32_t number)
{
	char label[32], lease[OB_TEXT_FIELD_MAX];
	struct ob_buf line;

	(void)snprintf(label, sizeof(label), "shard %" PRIu32, number);
	ob_buf_init(&line, 8192);
	if (shard->held) {
		ob_duration_print(lease, shard->lease_left_ms);
		ob_buf_appendf(&line, "%s, its lease holds for %s, epoch %" PRIu64, shard->owner,
			       lease, shard->epoch);
	} else {
		ob_buf_append_text(&line, "no relay");
	}
	if (shard->held && strcmp(shard->state, "running") != 0 && shard->state[0] != '\0')
		ob_buf_appendf(&line, "; %s%s%s", shard->state, shard->code[0] == '\0' ? "" : ": ",
			       shard->code);
	if (shard->ended)
		ob_buf_append_text(&line, "; has come to where the next ones begin");
	line_print(label, ob_buf_text(&line));
	ob_buf_free(&line);
}

static void
shards_print(const struct ob_subscription_stats *it)
{
	char next[64] = "";

	if (it->shards_next > 0)
		(void)snprintf(next, sizeof(next), ", which become %" PRIu32, it->shards_next);
	(void)printf("  %-10s %" PRIu32 "%s; %" PRIu32 " relays have joined\n", "shards",
		     it->shards, next, it->members);
	for (uint32_t i = 0; i < it->shards; i++)
		shard_print(&it->shard[i], i);
}

static void
relay_print(const struct ob_subscription_stats *it)
{
	char lease[OB_TEXT_FIELD_MAX];

	if (has_shards(it)) {
		shards_print(it);
	} else if (it->held) {
		ob_duration_print(lease, it->lease_left_ms);
		(void)printf("  %-10s %s, its lease holds for %s\n", "relay", it->owner, lease);
	} else if (it->owner[0] != '\0') {
		(void)printf("  %-10s %s, which takes no lease here\n", "relay", it->owner);
	}
}

static void
text_print(const struct status *status, const struct ob_subscription_stats *it, const char *why,
	   const char *mend)
{
	const struct ob_cli *cli = status->cli;
	char since[OB_TEXT_FIELD_MAX];

	(void)printf("%s%s%s%s  %s%s%s", status->count == 0 ? "" : "\n",
		     ob_color(cli, OB_COLOR_BOLD), it->name, ob_color(cli, OB_COLOR_PLAIN),
		     ob_color(cli, state_color(it)), state_word(it), ob_color(cli, OB_COLOR_PLAIN));
	if (it->state_since_ms > 0) {
		ob_duration_print(since, it->state_since_ms);
		(void)printf(" for %s", since);
	}
	(void)putchar('\n');
	line_print("topics", it->topics);
	line_print("sink", it->sink);
	numbers_print(it);
	relay_print(it);
	if (why[0] != '\0')
		line_print("why", why);
	if (mend[0] != '\0')
		line_print("mend", mend);
}

static void
json_add_shards(struct ob_json *json, const struct ob_subscription_stats *it)
{
	ob_json_open(json, "shards", '[');
	for (uint32_t i = 0; i < it->shards; i++) {
		const struct ob_shard_stats *shard = &it->shard[i];

		ob_json_open(json, NULL, '{');
		ob_json_number(json, "shard", i);
		ob_json_bool(json, "held", shard->held);
		ob_json_text(json, "owner", shard->owner);
		ob_json_number(json, "lease_left_ms", shard->lease_left_ms);
		ob_json_number(json, "epoch", (int64_t)shard->epoch);
		ob_json_text(json, "state", shard->state);
		ob_json_text(json, "code", shard->code);
		ob_json_text(json, "text", shard->text);
		ob_json_number(json, "state_since_ms", shard->state_since_ms);
		ob_json_bool(json, "ended", shard->ended);
		ob_json_close(json, '}');
	}
	ob_json_close(json, ']');
	ob_json_number(json, "shards_next", it->shards_next);
	ob_json_number(json, "relays_joined", it->members);
}

static void
json_add(struct ob_json *json, const struct ob_subscription_stats *it, const char *why,
	 const char *mend)
{
	ob_json_open(json, NULL, '{');
	ob_json_text(json, "name", it->name);
	ob_json_text(json, "state", state_word(it));
	ob_json_text(json, "code", it->code);
	ob_json_text(json, "text", it->text);
	ob_json_number(json, "state_since_ms", it->state_since_ms);
	ob_json_text(json, "topics", it->topics);
	ob_json_text(json, "sink", it->sink);
	ob_json_bool(json, "paused", it->paused);
	ob_json_bool(json, "held", it->held);
	ob_json_text(json, "owner", it->owner);
	ob_json_number(json, "lease_left_ms", it->lease_left_ms);
	ob_json_number(json, "epoch", (int64_t)it->epoch);
	json_add_shards(json, it);
	ob_json_bool(json, "pending", it->pending);
	ob_json_number(json, "pending_max", (int64_t)it->pending_max);
	ob_json_number(json, "oldest_age_ms", it->oldest_age_ms);
	ob_json_number(json, "parked", (int64_t)it->parked_rows);
	ob_json_number(json, "parked_keys", (int64_t)it->parked_keys);
	ob_json_number(json, "scheduled", (int64_t)it->scheduled_rows);
	ob_json_number(json, "dead", (int64_t)it->dead_rows);
	ob_json_bool(json, "replaying", it->replaying);
	ob_json_text(json, "why", why);
	ob_json_text(json, "mend", mend);
	ob_json_close(json, '}');
}

static int
plain_print(const struct ob_subscription_stats *it, const char *why, const char *mend,
	    struct ob_error *error)
{
	struct ob_buf line;
	int rc;

	ob_buf_init(&line, 65536);
	ob_plain_text(&line, it->name);
	ob_plain_text(&line, state_word(it));
	ob_plain_number(&line, it->pending ? (int64_t)it->pending_max : 0);
	ob_plain_number(&line, it->pending ? it->oldest_age_ms : 0);
	ob_plain_number(&line, (int64_t)it->parked_rows);
	ob_plain_number(&line, (int64_t)it->scheduled_rows);
	ob_plain_number(&line, (int64_t)it->dead_rows);
	ob_plain_text(&line, it->owner);
	ob_plain_text(&line, why);
	ob_plain_text(&line, mend);
	rc = ob_plain_print(&line, error);
	ob_buf_free(&line);
	return rc;
}

static void
subscription_print(void *context, const struct ob_subscription_stats *it)
{
	struct status *status = context;
	struct ob_buf why, mend;

	ob_buf_init(&why, 4096);
	ob_buf_init(&mend, MEND_SIZE_MAX);
	advise(status, it, &why, &mend);
	if (status->as_json)
		json_add(&status->json, it, ob_buf_text(&why), ob_buf_text(&mend));
	else if (!status->as_plain)
		text_print(status, it, ob_buf_text(&why), ob_buf_text(&mend));
	else if (status->rc == OB_OK)
		status->rc = plain_print(it, ob_buf_text(&why), ob_buf_text(&mend), status->error);
	ob_buf_free(&why);
	ob_buf_free(&mend);
	status->count++;
}

static void
none_print(const struct status *status)
{
	struct ob_buf buf, *mend = &buf;

	ob_buf_init(mend, MEND_SIZE_MAX);
	MEND("relay", status->url, "--to", "SINK", "--subscription", "NAME");
	(void)printf("There is no subscription yet. The first relay makes it:\n  %s\n",
		     ob_buf_text(mend));
	ob_buf_free(mend);
}

static int
status_run(struct ob_cli *cli, struct ob_error *error)
{
	const struct status_options *options = cli->options;
	struct status status = {
	    .cli = cli, .as_json = options->json, .as_plain = options->plain, .error = error};
	struct ob_store_handle handle;
	struct ob_buf shown;
	int rc = ob_one_form_check(options->json, false, options->plain, error);

	if (rc != OB_OK)
		return rc;
	status.url = ob_database_url_show(&shown, cli->arguments[0]);
	status.options = &options->store_options;
	rc = ob_database_open(cli, cli->arguments[0], &options->store_options, OB_DATABASE_READ,
			      &handle, error);
	ob_json_begin(&status.json);
	ob_json_open(&status.json, NULL, '{');
	ob_json_open(&status.json, "subscriptions", '[');
	if (rc == OB_OK)
		rc = handle.ops->stats(handle.store, options->subscription, subscription_print,
				       &status, error);
	if (rc == OB_OK)
		rc = status.rc;
	ob_json_close(&status.json, ']');
	ob_json_close(&status.json, '}');
	if (rc == OB_OK && options->json)
		rc = ob_json_print(&status.json, error);
	else if (rc == OB_OK && status.count == 0 && !options->plain)
		none_print(&status);
	ob_json_free(&status.json);
	ob_buf_free(&shown);
	ob_store_handle_free(&handle);
	return rc;
}

const struct ob_command ob_cmd_status = {
    .name = "status",
    .group = "Look",
    .summary = "Show where every subscription stands, and what frees one that is stuck.",
    .usage = "DATABASE [--subscription NAME] [--json | --plain]",
    .examples =
	"outbox status sqlite:shop.db\noutbox status sqlite:shop.db --subscription shipping --json",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = status_table,
    .options_size = sizeof(struct status_options),
    .run = status_run,
};
