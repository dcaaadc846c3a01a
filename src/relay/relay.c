/* The public face of the runners: see <outbox/relay.h>. */
#include <outbox/relay.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <outbox/store.h>

#include "host.h"
#include "options.h"
#include "shards.h"
#include "subscription_name.h"
#include "text.h"

/* A process that runs more than this is better split. */
#define SUBSCRIPTIONS_MAX 256
/* Each has two threads, a window, and connections of its own. */
#define RUNNERS_MAX 256

/* A subscription as it was added: copies of all that the caller gave. */
struct entry {
	struct ob_relay_subscription subscription;
	struct ob_shards *shards;
	char **strings; /* all copies, for their release */
	size_t string_count;
};

struct ob_relay {
	struct ob_host_log log;
	bool until_idle;
	bool started;
	char owner[OB_OWNER_NAME_MAX];
	struct entry *entries[SUBSCRIPTIONS_MAX];
	size_t count;
	atomic_uint runners;
	int ended_fd;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* some runner's phase did */
};

/* ---- copies ---- */

static const char *
entry_copy(struct entry *entry, const char *text)
{
	char *copy = text != NULL ? strdup(text) : NULL;

	if (copy != NULL)
		entry->strings[entry->string_count++] = copy;
	return copy;
}

static bool
entry_copy_list(struct entry *entry, const char *const **list, size_t count)
{
	const char **copy = calloc(count + 1, sizeof(*copy));

	if (copy == NULL)
		return false;
	for (size_t i = 0; i < count; i++) {
		copy[i] = entry_copy(entry, (*list)[i]);
		if (copy[i] == NULL) {
			free(copy);
			*list = NULL;
			return false;
		}
	}
	*list = copy;
	return true;
}

static void
entry_free(struct entry *entry)
{
	if (entry == NULL)
		return;
	ob_shards_free(entry->shards);
	for (size_t i = 0; i < entry->string_count; i++)
		free(entry->strings[i]);
	free(entry->strings);
	free((void *)(uintptr_t)entry->subscription.store_options);
	free((void *)(uintptr_t)entry->subscription.sink_options);
	free(entry);
}

static struct entry *
entry_new(const struct ob_relay_subscription *from)
{
	struct entry *entry = calloc(1, sizeof(*entry));
	struct ob_relay_subscription *it;
	bool good;

	if (entry == NULL)
		return NULL;
	entry->strings =
	    calloc(4 + from->store_option_count + from->sink_option_count, sizeof(char *));
	if (entry->strings == NULL) {
		free(entry);
		return NULL;
	}
	it = &entry->subscription;
	*it = *from;
	good = entry_copy_list(entry, &it->store_options, it->store_option_count);
	if (!good)
		it->sink_options = NULL;
	good = good && entry_copy_list(entry, &it->sink_options, it->sink_option_count);
	it->name = entry_copy(entry, from->name);
	it->store_url = entry_copy(entry, from->store_url);
	it->sink_url = entry_copy(entry, from->sink_url);
	it->topics = entry_copy(entry, from->topics != NULL ? from->topics : "*");
	if (good && it->name != NULL && it->store_url != NULL && it->sink_url != NULL &&
	    it->topics != NULL)
		return entry;
	entry_free(entry);
	return NULL;
}

/* ---- checks ---- */

static int
subscription_check(const struct ob_relay *relay, const struct ob_relay_subscription *it,
		   struct ob_error *error)
{
	int code;

	if (relay->started)
		return ob_error_set(error, OB_USAGE,
				    "a subscription can be added only before the start");
	if (relay->count == SUBSCRIPTIONS_MAX)
		return ob_error_set(error, OB_LIMIT, "at most %d subscriptions", SUBSCRIPTIONS_MAX);
	if (it->name == NULL || it->store_url == NULL || it->sink_url == NULL)
		return ob_error_set(error, OB_CONFIG,
				    "a subscription needs a name, a store and a sink");
	code = ob_subscription_name_check(it->name, error);
	if (code != OB_OK)
		return code;
	if (it->lease_ms <= 0 || it->window_count <= 0)
		return ob_error_set(
		    error, OB_CONFIG,
		    "subscription %s: fields are zero, begin with ob_relay_subscription_defaults",
		    it->name);
	code = ob_options_check(ob_relay_options, it, error);
	if (code != OB_OK) {
		ob_error_prefix(error, "subscription %s", it->name);
		return code;
	}
	for (size_t i = 0; i < relay->count; i++)
		if (strcmp(relay->entries[i]->subscription.name, it->name) == 0 &&
		    strcmp(relay->entries[i]->subscription.store_url, it->store_url) == 0)
			return ob_error_set(error, OB_CONFIG, "subscription %s: added twice",
					    it->name);
	return OB_OK;
}

/* ---- life ---- */

static void
on_shards_changed(void *context)
{
	struct ob_relay *relay = context;

	bool running = false;

	pthread_mutex_lock(&relay->lock);
	for (size_t i = 0; i < relay->count; i++)
		if (ob_shards_phase(relay->entries[i]->shards, NULL) < OB_RUNNER_ENDED)
			running = true;
	/* It stays readable from then on. It can only fail for being so already. */
	if (!running)
		(void)!eventfd_write(relay->ended_fd, 1);
	pthread_cond_broadcast(&relay->changed);
	pthread_mutex_unlock(&relay->lock);
}

static void
owner_fill(char owner[OB_OWNER_NAME_MAX], const char *wanted)
{
	char host[65] = "";

	if (wanted != NULL) {
		ob_text_copy(owner, OB_OWNER_NAME_MAX, wanted);
		return;
	}
	if (gethostname(host, sizeof(host) - 1) != 0)
		ob_text_copy(host, sizeof(host), "localhost");
	snprintf(owner, OB_OWNER_NAME_MAX, "%s:%ld", host, (long)getpid());
}

int
ob_relay_new(const struct ob_relay_config *config, struct ob_relay **out, struct ob_error *error)
{
	static const struct ob_relay_config none = {0};
	struct ob_relay *relay = calloc(1, sizeof(*relay));
	pthread_condattr_t attributes;

	*out = NULL;
	if (relay == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	if (config == NULL)
		config = &none;
	relay->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (relay->ended_fd < 0) {
		free(relay);
		return ob_error_set(error, OB_LIMIT, "cannot make an event descriptor: %s",
				    strerror(errno));
	}
	relay->until_idle = config->until_idle;
	owner_fill(relay->owner, config->owner);
	ob_host_log_init(&relay->log, config->log, config->log_context);
	pthread_mutex_init(&relay->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&relay->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	*out = relay;
	return OB_OK;
}

int
ob_relay_add(struct ob_relay *relay, const struct ob_relay_subscription *subscription,
	     struct ob_error *error)
{
	struct ob_shards_config config = {
	    .owner = relay->owner,
	    .log = &relay->log,
	    .until_idle = relay->until_idle,
	    .runners = &relay->runners,
	    .runners_max = RUNNERS_MAX,
	    .changed = on_shards_changed,
	    .context = relay,
	};
	struct entry *entry;
	int code = subscription_check(relay, subscription, error);

	if (code != OB_OK)
		return code;
	entry = entry_new(subscription);
	if (entry == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	config.subscription = &entry->subscription;
	code = ob_shards_new(&config, &entry->shards, error);
	if (code != OB_OK) {
		entry_free(entry);
		return code;
	}
	relay->entries[relay->count++] = entry;
	return OB_OK;
}

/* The first of those that ended by an error, where running is awaited of those that never ran; OB_OK if there is none.
   `*busy`: some are still in a phase before `phase`. */
static int
look(struct ob_relay *relay, enum ob_runner_phase phase, bool *busy, struct ob_error *error)
{
	struct ob_error first = {0};

	*busy = false;
	for (size_t i = 0; i < relay->count; i++) {
		struct ob_error its;
		enum ob_runner_phase at = ob_shards_phase(relay->entries[i]->shards, &its);

		if (at < phase)
			*busy = true;
		if (first.code == OB_OK &&
		    (at == OB_RUNNER_FAILED || (at == OB_RUNNER_ENDED && phase == at)))
			first = its;
	}
	if (first.code != OB_OK && error != NULL)
		*error = first;
	return first.code;
}

static bool
sleep_until(struct ob_relay *relay, int64_t until_ms)
{
	struct timespec at = {.tv_sec = (time_t)(until_ms / 1000),
			      .tv_nsec = (until_ms % 1000) * 1000000};

	if (until_ms == INT64_MAX)
		return pthread_cond_wait(&relay->changed, &relay->lock) == 0;
	return pthread_cond_timedwait(&relay->changed, &relay->lock, &at) != ETIMEDOUT;
}

/* Waits until all have come to `phase`. `*busy`: the time was up before. */
static int
await(struct ob_relay *relay, enum ob_runner_phase phase, int64_t until_ms, bool *busy,
      struct ob_error *error)
{
	int code;

	/* A runner tells of its new phase under this lock, and after it can be seen: none is missed. */
	pthread_mutex_lock(&relay->lock);
	for (;;) {
		code = look(relay, phase, busy, error);
		if (!*busy || !sleep_until(relay, until_ms))
			break;
	}
	pthread_mutex_unlock(&relay->lock);
	return code;
}

int
ob_relay_start(struct ob_relay *relay, struct ob_error *error)
{
	bool busy;
	int code = OB_OK;

	if (relay->started)
		return ob_error_set(error, OB_USAGE, "the relay was started already");
	if (relay->count == 0)
		return ob_error_set(error, OB_USAGE, "the relay has no subscription");
	relay->started = true;
	for (size_t i = 0; i < relay->count && code == OB_OK; i++)
		code = ob_shards_start(relay->entries[i]->shards, error);
	if (code == OB_OK)
		code = await(relay, OB_RUNNER_RUNNING, INT64_MAX, &busy, error);
	if (code == OB_OK)
		return OB_OK;
	for (size_t i = 0; i < relay->count; i++)
		ob_shards_stop(relay->entries[i]->shards);
	return code;
}

int
ob_relay_wait(struct ob_relay *relay, int64_t timeout_ms, struct ob_error *error)
{
	int64_t until = timeout_ms < 0 ? INT64_MAX : ob_later_ms(timeout_ms);
	bool busy;
	int code;

	if (!relay->started)
		return ob_error_set(error, OB_USAGE, "the relay was not started");
	code = await(relay, OB_RUNNER_ENDED, until, &busy, error);
	return busy ? ob_error_set(error, OB_BUSY, "the relay is still running") : code;
}

void
ob_relay_drain(struct ob_relay *relay, int64_t deadline_ms)
{
	for (size_t i = 0; i < relay->count; i++)
		ob_shards_drain(relay->entries[i]->shards, deadline_ms);
}

void
ob_relay_stop(struct ob_relay *relay)
{
	for (size_t i = 0; i < relay->count; i++)
		ob_shards_stop(relay->entries[i]->shards);
}

void
ob_relay_reopen(struct ob_relay *relay)
{
	for (size_t i = 0; i < relay->count; i++)
		ob_shards_reopen(relay->entries[i]->shards);
}

void
ob_relay_poke(struct ob_relay *relay, const char *subscription)
{
	for (size_t i = 0; i < relay->count; i++)
		if (subscription == NULL ||
		    strcmp(subscription, relay->entries[i]->subscription.name) == 0)
			ob_shards_poke(relay->entries[i]->shards);
}

int
ob_relay_fd(const struct ob_relay *relay)
{
	return relay->ended_fd;
}

void
ob_relay_free(struct ob_relay *relay)
{
	if (relay == NULL)
		return;
	ob_relay_stop(relay);
	/* A runner that ends looks at the others, so all have ended before the first one goes. */
	for (size_t i = 0; i < relay->count; i++)
		ob_shards_join(relay->entries[i]->shards);
	for (size_t i = 0; i < relay->count; i++)
		entry_free(relay->entries[i]);
	pthread_cond_destroy(&relay->changed);
	pthread_mutex_destroy(&relay->lock);
	ob_host_log_free(&relay->log);
	close(relay->ended_fd);
	free(relay);
}

size_t
ob_relay_count(const struct ob_relay *relay)
{
	size_t count = 0;

	for (size_t i = 0; i < relay->count; i++)
		count += ob_shards_count(relay->entries[i]->shards);
	return count;
}

int
ob_relay_stats(struct ob_relay *relay, size_t index, struct ob_relay_stats *stats)
{
	for (size_t i = 0; i < relay->count; i++) {
		struct ob_shards *shards = relay->entries[i]->shards;
		uint32_t count = ob_shards_count(shards);

		if (index < count) {
			ob_shards_stats(shards, (uint32_t)index, stats);
			return OB_OK;
		}
		index -= count;
	}
	return OB_NOT_FOUND;
}
