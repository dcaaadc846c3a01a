/*
 * The memory store: the contract of store.h in its plainest form. Read this one first.
 *
 * The log is an array in the order of the commits, which here is the order of the appends: whoever appends
 * holds the lock, so nothing can ever appear behind what was read. A position is a message's number. The
 * checkpoint is the number up to which everything is settled; reading.h keeps what each ordinal stands for.
 *
 * Here are the outboxes, their appends and the subscriptions; memory_lease.c has the leases, memory_run.c fetches and settles.
 *
 * Every call takes the outbox's lock, passes the fence, does its work and lets go: that is a transaction.
 */
#include "memory.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "checks.h"
#include "memory_outbox.h"
#include "stores.h"
#include "text.h"

static pthread_mutex_t outboxes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct memory_outbox *outboxes;

/* ---- the outboxes ---- */

static struct memory_outbox *
outbox_get(const char *name, bool create)
{
	struct memory_outbox *outbox;

	pthread_mutex_lock(&outboxes_lock);
	for (outbox = outboxes; outbox != NULL; outbox = outbox->next)
		if (strcmp(outbox->name, name) == 0)
			break;
	if (outbox == NULL && create) {
		outbox = calloc(1, sizeof(*outbox));
		if (outbox != NULL) {
			pthread_mutex_init(&outbox->lock, NULL);
			ob_text_copy(outbox->name, sizeof(outbox->name), name);
			outbox->next = outboxes;
			outboxes = outbox;
		}
	}
	pthread_mutex_unlock(&outboxes_lock);
	return outbox;
}

void
ob_memory_drop(const char *name)
{
	struct memory_outbox *outbox = outbox_get(name, false);

	if (outbox == NULL)
		return;
	pthread_mutex_lock(&outboxes_lock);
	for (struct memory_outbox **at = &outboxes; *at != NULL; at = &(*at)->next) {
		if (*at == outbox) {
			*at = outbox->next;
			break;
		}
	}
	pthread_mutex_unlock(&outboxes_lock);
	for (struct memory_subscription *it = outbox->subscriptions, *next; it != NULL; it = next) {
		next = it->next;
		ob_memory_rows_free(&it->parked);
		ob_memory_rows_free(&it->dead);
		ob_memory_members_free(it);
		free(it->shards);
		free(it->topics);
		free(it->sink);
		free(it);
	}
	for (size_t i = 0; i < outbox->log_count; i++)
		free(outbox->log[i]);
	free(outbox->log);
	pthread_mutex_destroy(&outbox->lock);
	free(outbox);
}

size_t
ob_memory_message_copy(struct ob_message *to, const struct ob_message *from, char *bytes)
{
	struct ob_bytes *fields[7] = {&to->id,           &to->topic,   &to->key,    &to->type,
				      &to->content_type, &to->headers, &to->payload};
	size_t size = 0;

	*to = *from;
	for (size_t i = 0; i < 7; i++) {
		if (fields[i]->data == NULL)
			continue;
		if (bytes != NULL) {
			memcpy(bytes + size, fields[i]->data, fields[i]->size);
			fields[i]->data = bytes + size;
		}
		/* One byte more, so that an empty field still has an address of its own. */
		size += fields[i]->size + 1;
	}
	return size;
}

void
ob_memory_commit(struct memory_outbox *outbox)
{
	uint64_t one = 1;

	outbox->version++;
	for (struct memory_store *it = outbox->instances; it != NULL; it = it->next)
		(void)!write(it->wake_fd, &one, sizeof(one));
}

static int
log_append(struct memory_outbox *outbox, struct memory_message *message)
{
	if (outbox->log_count == MEMORY_LOG_MAX)
		return OB_LIMIT;
	if (outbox->log_count == outbox->log_capacity) {
		size_t capacity = outbox->log_capacity == 0 ? 1024 : 2 * outbox->log_capacity;
		struct memory_message **log = realloc(outbox->log, capacity * sizeof(log[0]));

		if (log == NULL)
			return OB_NOMEM;
		outbox->log = log;
		outbox->log_capacity = capacity;
	}
	message->position = ++outbox->last_position;
	outbox->log[outbox->log_count++] = message;
	ob_memory_commit(outbox);
	return OB_OK;
}

int
ob_memory_append(const char *name, const struct ob_host *host, const struct ob_message *message,
		 int64_t deliver_in_ms, struct ob_error *error)
{
	struct memory_outbox *outbox = outbox_get(name, true);
	struct memory_message *copy;
	struct ob_message sizes;
	int code;

	if (message->topic.size == 0)
		return ob_error_set(error, OB_INVALID, "a message needs a topic");
	copy = calloc(1, sizeof(*copy) + ob_memory_message_copy(&sizes, message, NULL));
	if (outbox == NULL || copy == NULL) {
		free(copy);
		return ob_error_set(error, OB_NOMEM, "out of memory");
	}
	ob_memory_message_copy(&copy->message, message, (char *)(copy + 1));
	copy->created_us = host->monotonic_us(host->context);
	copy->due_us = deliver_in_ms == 0 ? 0 : copy->created_us + deliver_in_ms * 1000;
	if (copy->message.created_at_us == 0)
		copy->message.created_at_us = host->wall_us(host->context);
	pthread_mutex_lock(&outbox->lock);
	code = log_append(outbox, copy);
	pthread_mutex_unlock(&outbox->lock);
	if (code == OB_OK)
		return OB_OK;
	free(copy);
	return ob_error_set(error, (enum ob_code)code, "memory:%s: the log is full", name);
}

size_t
ob_memory_log_find(const struct memory_outbox *outbox, int64_t position)
{
	size_t low = 0, high = outbox->log_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (outbox->log[middle]->position <= position)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct memory_subscription *
ob_memory_subscription(struct memory_outbox *outbox, const char *name)
{
	for (struct memory_subscription *it = outbox->subscriptions; it != NULL; it = it->next)
		if (strcmp(it->name, name) == 0)
			return it;
	return NULL;
}

int
ob_memory_subscription_missing(const char *name, struct ob_error *error)
{
	return ob_error_set(error, OB_NOT_FOUND, "there is no subscription '%s'", name);
}

/* ---- open, close, migrate ---- */

static int
memory_open(struct ob_store *base, const struct ob_store_config *config, struct ob_error *error)
{
	struct memory_store *store = memory_store_of(base);
	const char *name = config->url;

	store->wake_fd = -1;
	if (ob_text_starts_with(name, "memory:"))
		name += 7;
	if (*name == '\0' || strlen(name) >= MEMORY_NAME_MAX)
		return ob_error_set(error, OB_CONFIG, "%s: give a name, as in memory:test",
				    config->url);
	store->options = config->options;
	store->outbox = outbox_get(name, config->create);
	if (store->outbox == NULL)
		return ob_error_set(error, OB_NOT_FOUND, "memory:%s: there is no such outbox",
				    name);
	store->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (store->wake_fd < 0 || !ob_map_init(&store->handed, MEMORY_HANDED_MAX)) {
		if (store->wake_fd >= 0)
			close(store->wake_fd);
		store->wake_fd = -1;
		store->outbox = NULL;
		return ob_error_set(error, OB_NOMEM, "memory:%s: %s", name, strerror(errno));
	}
	pthread_mutex_lock(&store->outbox->lock);
	store->next = store->outbox->instances;
	store->outbox->instances = store;
	pthread_mutex_unlock(&store->outbox->lock);
	return OB_OK;
}

static void
memory_close(struct ob_store *base)
{
	struct memory_store *store = memory_store_of(base);

	if (store->outbox == NULL)
		return;
	pthread_mutex_lock(&store->outbox->lock);
	for (struct memory_store **at = &store->outbox->instances; *at != NULL; at = &(*at)->next) {
		if (*at == store) {
			*at = store->next;
			break;
		}
	}
	pthread_mutex_unlock(&store->outbox->lock);
	close(store->wake_fd);
	ob_map_free(&store->handed);
	ob_reading_free(&store->reading);
	store->outbox = NULL;
}

static int
memory_migrate(struct ob_store *base, enum ob_migrate_mode mode,
	       void (*each)(void *context, const struct ob_migration *migration), void *context,
	       struct ob_error *error)
{
	struct memory_outbox *outbox = memory_store_of(base)->outbox;
	struct ob_migration migration = {.version = 1, .name = "outbox", .sql = ""};

	(void)error;
	pthread_mutex_lock(&outbox->lock);
	migration.applied = outbox->migrated || mode == OB_MIGRATE_APPLY;
	outbox->migrated = migration.applied;
	pthread_mutex_unlock(&outbox->lock);
	if (each != NULL)
		each(context, &migration);
	return OB_OK;
}

static char *
memory_schema_sql(const void *options)
{
	(void)options;
	return strdup("");
}

/* ---- subscribe ---- */

static bool
subscription_has_waiting_keys(const struct memory_subscription *subscription)
{
	for (size_t i = 0; i < subscription->parked.count; i++)
		if (subscription->parked.items[i]->lane != 0)
			return true;
	for (size_t i = 0; i < subscription->dead.count; i++)
		if (subscription->dead.items[i]->holds_key)
			return true;
	return false;
}

/* Finds it or makes it, in the order of the names. */
static struct memory_subscription *
subscription_make(struct memory_outbox *outbox, const struct ob_subscription *wanted)
{
	struct memory_subscription **at = &outbox->subscriptions, *made;

	while (*at != NULL && strcmp((*at)->name, wanted->name) < 0)
		at = &(*at)->next;
	if (*at != NULL && strcmp((*at)->name, wanted->name) == 0)
		return *at;
	made = calloc(1, sizeof(*made));
	if (made == NULL)
		return NULL;
	ob_text_copy(made->name, sizeof(made->name), wanted->name);
	made->order_by = wanted->order_by;
	if (!ob_memory_shards_make(made, wanted->shards == 0 ? 1 : wanted->shards,
				   wanted->from_now ? outbox->last_position : 0)) {
		free(made);
		return NULL;
	}
	made->next = *at;
	*at = made;
	return made;
}

static int
memory_subscribe(struct ob_store *base, const struct ob_subscription *wanted,
		 struct ob_error *error)
{
	struct memory_outbox *outbox = memory_store_of(base)->outbox;
	struct memory_subscription *subscription;
	char *topics, *sink;
	int code = ob_subscription_check(wanted, "memory", OB_SHARDS_MAX, error);

	if (code != OB_OK)
		return code;
	topics = strdup(wanted->topics);
	sink = strdup(wanted->sink == NULL ? "" : wanted->sink);
	pthread_mutex_lock(&outbox->lock);
	subscription = subscription_make(outbox, wanted);
	if (subscription == NULL || topics == NULL || sink == NULL) {
		code = ob_error_set(error, OB_NOMEM, "out of memory");
	} else if (subscription->order_by != wanted->order_by &&
		   subscription_has_waiting_keys(subscription)) {
		code =
		    ob_error_set(error, OB_CONFIG,
				 "subscription '%s': order_by cannot change while keys are parked",
				 wanted->name);
	} else {
		free(subscription->topics);
		free(subscription->sink);
		subscription->topics = topics;
		subscription->sink = sink;
		subscription->order_by = wanted->order_by;
		subscription->hold_key = wanted->hold_key;
		topics = sink = NULL;
		ob_memory_shards_follow(outbox, subscription, memory_now(base));
		if (wanted->shards != 0)
			ob_memory_shards_change(outbox, subscription, wanted->shards);
	}
	pthread_mutex_unlock(&outbox->lock);
	free(topics);
	free(sink);
	return code;
}

static const char *const schemes[] = {"memory", NULL};

static const struct ob_option options[] = {
    {.name = "retention",
     .type = OB_OPTION_DURATION,
     .default_text = "0",
     .help = "How long messages stay in the log after every subscription has passed them",
     .field = offsetof(struct memory_options, retention_ms)},
    {.name = "message-bytes-max",
     .type = OB_OPTION_SIZE,
     .default_text = "16MiB",
     .help = "The greatest payload; larger ones are not read and go to the dead messages",
     .field = offsetof(struct memory_options, message_bytes_max),
     .min = 1,
     .max = 1000000000},
    {0},
};

const struct ob_store_ops ob_store_memory = {
    .contract = OB_STORE_CONTRACT,
    .name = "memory",
    .schemes = schemes,
    .help = "An outbox in this process, memory:NAME; for tests and demonstrations",
    .options = options,
    .options_size = sizeof(struct memory_options),
    .size = sizeof(struct memory_store),
    .capabilities = OB_STORE_SHARDS,
    .open = memory_open,
    .close = memory_close,
    .migrate = memory_migrate,
    .schema_sql = memory_schema_sql,
    .subscribe = memory_subscribe,
    .acquire = ob_memory_acquire,
    .renew = ob_memory_renew,
    .release = ob_memory_release,
    .join = ob_memory_join,
    .leave = ob_memory_leave,
    .fetch = ob_memory_fetch,
    .settle = ob_memory_settle,
    .wait = ob_memory_wait,
    .wake = ob_memory_wake,
    .trim = ob_memory_trim,
    .stats = ob_memory_stats,
    .list = ob_memory_list,
    .change = ob_memory_change,
    .check = ob_memory_check,
};
