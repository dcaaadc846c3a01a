/* Running a subscription of the memory store: fetch, settle, wait, trim. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checks.h"
#include "memory_outbox.h"
#include "pattern.h"

/* How many rows of no interest one fetch reads past, and how many rows one trim takes away. */
#define SCAN_MAX 16384
#define TRIM_MAX 1024

/* ---- fetch ---- */

static bool
message_to_row(struct ob_batch *batch, struct ob_row *row, const struct ob_message *message,
	       uint64_t payload_max)
{
	struct ob_bytes payload = message->payload;

	if (payload.data != NULL && payload.size > payload_max) {
		row->oversize_bytes = payload.size;
		payload = (struct ob_bytes){0};
	}
	row->message.created_at_us = message->created_at_us;
	return ob_batch_copy(batch, message->id.data, message->id.size, &row->message.id) &&
	       ob_batch_copy(batch, message->topic.data, message->topic.size,
			     &row->message.topic) &&
	       ob_batch_copy(batch, message->key.data, message->key.size, &row->message.key) &&
	       ob_batch_copy(batch, message->type.data, message->type.size, &row->message.type) &&
	       ob_batch_copy(batch, message->content_type.data, message->content_type.size,
			     &row->message.content_type) &&
	       ob_batch_copy(batch, message->headers.data, message->headers.size,
			     &row->message.headers) &&
	       ob_batch_copy(batch, payload.data, payload.size, &row->message.payload);
}

/* What the row will count, its payload left out when it is too large. */
static uint32_t
message_bytes(const struct ob_message *message, uint64_t payload_max)
{
	struct ob_message counted = *message;

	if (counted.payload.size > payload_max)
		counted.payload = (struct ob_bytes){0};
	return ob_row_bytes(&counted);
}

static bool
is_own(const struct memory_store *store, const struct ob_message *message)
{
	return ob_shard_of(message, store->subscription->shard_count) == store->shard;
}

/* No fetch goes past the common position at which the old shards end. */
static int64_t
reading_to(const struct memory_store *store)
{
	const struct memory_subscription *subscription = store->subscription;
	int64_t to = ob_reading_to(&store->reading);

	return subscription->shards_next != 0 && to > subscription->common ? subscription->common
									   : to;
}

static int
no_memory(struct ob_error *error)
{
	return ob_error_set(error, OB_NOMEM, "out of memory for a message");
}

/* The log from the mark on. Ends at a limit of `fetch`, or after SCAN_MAX rows, with `more` set. */
static int
log_read(struct memory_store *store, const struct ob_fetch *fetch, struct ob_batch *batch,
	 struct ob_error *error)
{
	const struct memory_outbox *outbox = store->outbox;
	const struct memory_subscription *subscription = store->subscription;
	uint64_t payload_max = (uint64_t)store->options->message_bytes_max, bytes = 0;
	int64_t now_us = memory_now(&store->base);
	uint32_t given = 0, scanned = 0;

	for (;;) {
		size_t i = ob_memory_log_find(outbox, ob_reading_from(&store->reading));
		const struct memory_message *message =
		    i < outbox->log_count ? outbox->log[i] : NULL;
		struct ob_row *row;
		uint32_t size;

		if (message == NULL || message->position > reading_to(store)) {
			if (ob_reading_end(&store->reading))
				continue;
			return OB_OK;
		}
		batch->more = true;
		if (scanned++ == SCAN_MAX)
			return OB_OK;
		if (!ob_pattern_match(subscription->topics, message->message.topic) ||
		    !is_own(store, &message->message)) {
			ob_reading_pass(&store->reading, message->position);
			batch->more = false;
			continue;
		}
		size = message_bytes(&message->message, payload_max);
		if (given == fetch->count_max ||
		    (bytes + size > fetch->bytes_max && (given > 0 || !fetch->oversize_ok)))
			return OB_OK;
		row = ob_batch_add(batch);
		if (row == NULL)
			return OB_OK;
		if (!message_to_row(batch, row, &message->message, payload_max))
			return no_memory(error);
		row->replayed = ob_reading_replays(&store->reading);
		row->ordinal = ob_reading_add(&store->reading, message->position);
		if (row->ordinal == 0)
			return ob_error_set(error, OB_LIMIT, "too many messages are open");
		row->position = message->position;
		row->lane = ob_lane_of(&row->message, subscription->order_by);
		row->bytes = size;
		if (message->due_us > now_us)
			row->due_in_ms = (message->due_us - now_us + 999) / 1000;
		batch->bytes += size;
		bytes += size;
		given++;
		batch->more = false;
	}
}

static bool
is_handed(const struct memory_store *store, const struct memory_kept *kept)
{
	return ob_map_get(&store->handed, (uint64_t)kept->position) != NULL;
}

static int
parked_take(struct memory_store *store, struct memory_kept *kept, struct ob_batch *batch,
	    struct ob_error *error)
{
	uint64_t payload_max = (uint64_t)store->options->message_bytes_max;
	struct ob_row *row = ob_batch_add(batch);
	int64_t age_ms = (memory_now(&store->base) - kept->first_try_us) / 1000;

	if (!message_to_row(batch, row, &kept->message, payload_max))
		return no_memory(error);
	row->position = kept->position;
	row->lane = kept->lane;
	row->scheduled = kept->scheduled;
	row->attempts = kept->attempts;
	/* 0 would mean that it was never tried. */
	row->age_ms = !kept->tried ? 0 : age_ms < 1 ? 1 : age_ms;
	row->bytes = message_bytes(&kept->message, payload_max);
	batch->bytes += row->bytes;
	ob_map_put(&store->handed, (uint64_t)kept->position, kept);
	return OB_OK;
}

/* The head that is due first and not out; NULL when there is none. */
static struct memory_kept *
parked_first(const struct memory_store *store)
{
	const struct memory_rows *rows = &store->subscription->parked;
	struct memory_kept *first = NULL;

	for (size_t i = 0; i < rows->count; i++) {
		struct memory_kept *kept = rows->items[i];

		if (kept->head && !is_handed(store, kept) && is_own(store, &kept->message) &&
		    (first == NULL || kept->due_us < first->due_us))
			first = kept;
	}
	return first;
}

static bool
parked_full(const struct memory_store *store, const struct ob_fetch *fetch,
	    const struct ob_batch *batch)
{
	return batch->count == fetch->parked_max || batch->bytes >= fetch->bytes_max ||
	       batch->count == batch->capacity || store->handed.count == MEMORY_HANDED_MAX;
}

/* Due heads, each with the rows of its key right behind it. */
static int
parked_read(struct memory_store *store, const struct ob_fetch *fetch, struct ob_batch *batch,
	    struct ob_error *error)
{
	const struct memory_rows *rows = &store->subscription->parked;
	int64_t now_us = memory_now(&store->base);
	struct memory_kept *head = parked_first(store);
	int code = OB_OK;

	while (code == OB_OK && head != NULL && head->due_us <= now_us &&
	       !parked_full(store, fetch, batch)) {
		uint32_t run = 1;

		code = parked_take(store, head, batch, error);
		for (size_t i = 0; i < rows->count && code == OB_OK && head->lane != 0; i++) {
			struct memory_kept *kept = rows->items[i];

			if (kept->lane != head->lane || kept->scheduled ||
			    kept->position <= head->position)
				continue;
			if (run++ >= fetch->run_max || parked_full(store, fetch, batch) ||
			    is_handed(store, kept))
				break;
			code = parked_take(store, kept, batch, error);
		}
		head = parked_first(store);
	}
	if (code == OB_OK && head != NULL)
		batch->next_due_ms =
		    head->due_us <= now_us ? 0 : (head->due_us - now_us + 999) / 1000;
	return code;
}

int
ob_memory_fetch(struct ob_store *base, const struct ob_fetch *fetch, struct ob_batch *batch,
		struct ob_error *error)
{
	struct memory_store *store = memory_store_of(base);
	struct ob_reading_point point = ob_reading_point(&store->reading);
	int code;

	pthread_mutex_lock(&store->outbox->lock);
	code = ob_memory_fence(store, error);
	if (code == OB_OK)
		code = parked_read(store, fetch, batch, error);
	if (code == OB_OK && fetch->count_max > 0)
		code = log_read(store, fetch, batch, error);
	store->version_read = store->outbox->version;
	pthread_mutex_unlock(&store->outbox->lock);
	if (code == OB_OK) {
		batch->passed = ob_reading_passed(&store->reading);
		store->more = batch->more;
		return OB_OK;
	}
	/* A fetch that failed leaves no trace. */
	ob_reading_undo(&store->reading, point);
	for (uint32_t i = 0; i < batch->count; i++)
		if (batch->rows[i].ordinal == 0)
			ob_map_remove(&store->handed, (uint64_t)batch->rows[i].position);
	ob_batch_reset(batch);
	return code;
}

/* ---- settle ---- */

struct settling {
	struct memory_store *store;
	struct memory_subscription *subscription;
	int64_t now_us, wall_us;
};

static struct memory_kept *
kept_from_log(struct settling *s, const struct ob_outcome *outcome)
{
	const struct memory_outbox *outbox = s->store->outbox;
	int64_t position = ob_reading_position(&s->store->reading, outcome->ordinal);
	const struct memory_message *message =
	    outbox->log[ob_memory_log_find(outbox, position - 1)];
	struct memory_kept *kept =
	    ob_memory_kept_new(position, &message->message, message->created_us);

	if (kept != NULL && !ob_memory_kept_try(kept, outcome, s->now_us, s->wall_us)) {
		ob_memory_kept_free(kept);
		kept = NULL;
	}
	if (kept != NULL) {
		kept->lane = outcome->kind == OB_OUTCOME_SCHEDULE ? 0 : outcome->lane;
		kept->since_us = s->now_us;
	}
	return kept;
}

/*
 * A row of this position may be there already: a replay came by. A parked one keeps its place and is only
 * tried again if it is a head; a dead one dies anew.
 */
static bool
outcome_of_log(struct settling *s, const struct ob_outcome *outcome)
{
	bool dead = outcome->kind == OB_OUTCOME_DEAD || outcome->kind == OB_OUTCOME_DEAD_HOLD;
	struct memory_rows *rows = dead ? &s->subscription->dead : &s->subscription->parked;
	struct memory_kept *kept, *old;

	/* Settled before: there is nothing more to say about it. */
	if (ob_reading_position(&s->store->reading, outcome->ordinal) == 0)
		return true;
	kept = kept_from_log(s, outcome);
	if (kept == NULL)
		return false;
	kept->scheduled = outcome->kind == OB_OUTCOME_SCHEDULE;
	kept->holds_key = outcome->kind == OB_OUTCOME_DEAD_HOLD;
	kept->head = kept->has_due = !dead && outcome->kind != OB_OUTCOME_BEHIND;
	kept->due_us = s->now_us + outcome->due_in_ms * 1000;
	old = ob_memory_rows_find(rows, kept->position);
	if (old != NULL && !dead && (!old->head || !kept->head)) {
		ob_memory_kept_free(kept);
		return true;
	}
	if (old != NULL) {
		kept->scheduled = old->scheduled;
		kept->lane = old->lane;
		ob_memory_rows_take(rows, old);
		ob_memory_kept_free(old);
	}
	return ob_memory_rows_add(rows, kept);
}

static bool
outcome_of_parked(struct settling *s, const struct ob_outcome *outcome)
{
	struct memory_rows *parked = &s->subscription->parked, *dead = &s->subscription->dead;
	struct memory_kept *kept = ob_memory_rows_find(parked, outcome->position), *old;

	/* A person may have discarded it meanwhile. */
	if (kept == NULL || outcome->kind == OB_OUTCOME_BACK)
		return true;
	if (outcome->kind != OB_OUTCOME_UNPARK &&
	    !ob_memory_kept_try(kept, outcome, s->now_us, s->wall_us))
		return false;
	if (outcome->kind == OB_OUTCOME_REPARK) {
		kept->due_us = s->now_us + outcome->due_in_ms * 1000;
		kept->has_due = true;
		return true;
	}
	ob_memory_rows_take(parked, kept);
	if (outcome->kind == OB_OUTCOME_UNPARK) {
		ob_memory_kept_free(kept);
		return true;
	}
	kept->holds_key = outcome->kind == OB_OUTCOME_BURY_HOLD;
	kept->since_us = s->now_us;
	kept->head = kept->has_due = kept->scheduled = false;
	old = ob_memory_rows_find(dead, kept->position);
	if (old != NULL) {
		ob_memory_rows_take(dead, old);
		ob_memory_kept_free(old);
	}
	return ob_memory_rows_add(dead, kept);
}

static int
settle_write(struct settling *s, const struct ob_settle *settle, struct ob_error *error)
{
	struct memory_store *store = s->store;

	for (uint32_t i = 0; i < settle->outcome_count; i++) {
		const struct ob_outcome *outcome = &settle->outcomes[i];
		bool done = ob_outcome_is_of_log(outcome) ? outcome_of_log(s, outcome)
							  : outcome_of_parked(s, outcome);

		/* Memory that ends halfway leaves half a settle: only a database can take it back. */
		if (!done)
			return no_memory(error);
	}
	/* Lanes that lost their head get the next one only now, so that the outcomes of a run may come in
	   any order. */
	for (uint32_t i = 0; i < settle->outcome_count; i++) {
		const struct ob_outcome *outcome = &settle->outcomes[i];

		if (outcome->kind == OB_OUTCOME_UNPARK || outcome->kind == OB_OUTCOME_BURY)
			ob_memory_lane_promote(s->subscription, outcome->lane, outcome->position,
					       s->now_us);
		if (!ob_outcome_is_of_log(outcome))
			ob_map_remove(&store->handed, (uint64_t)outcome->position);
	}
	ob_reading_settled(&store->reading, settle->through);
	memory_shard_of(store)->checkpoint = store->reading.settled;
	return OB_OK;
}

int
ob_memory_settle(struct ob_store *base, const struct ob_settle *settle, struct ob_error *error)
{
	struct memory_store *store = memory_store_of(base);
	struct settling settling = {
	    .store = store,
	    .now_us = memory_now(base),
	    .wall_us = base->host->wall_us(base->host->context),
	};
	int code;

	pthread_mutex_lock(&store->outbox->lock);
	code = ob_memory_fence(store, error);
	if (code == OB_OK)
		code = ob_settle_check(base->ops, settle, &store->reading, error);
	settling.subscription = store->subscription;
	if (code == OB_OK)
		code = settle_write(&settling, settle, error);
	pthread_mutex_unlock(&store->outbox->lock);
	return code;
}

/* ---- wait, wake, trim ---- */

int
ob_memory_wait(struct ob_store *base, int64_t timeout_ms, struct ob_error *error)
{
	struct memory_store *store = memory_store_of(base);
	int64_t until_us = memory_now(base) + timeout_ms * 1000;
	struct pollfd fd = {.fd = store->wake_fd, .events = POLLIN};
	uint64_t count;

	(void)error;
	for (;;) {
		int64_t left_us = until_us - memory_now(base);
		bool changed;

		pthread_mutex_lock(&store->outbox->lock);
		changed = store->outbox->version != store->version_read;
		/* Who fetches nothing has seen the change by being told. */
		if (store->holder == 0)
			store->version_read = store->outbox->version;
		pthread_mutex_unlock(&store->outbox->lock);
		if (atomic_exchange(&store->woken, false) || changed || left_us <= 0 ||
		    (store->holder != 0 && store->more))
			return OB_OK;
		poll(&fd, 1, (int)((left_us + 999) / 1000));
		(void)!read(store->wake_fd, &count, sizeof(count));
	}
}

void
ob_memory_wake(struct ob_store *base)
{
	struct memory_store *store = memory_store_of(base);
	uint64_t one = 1;

	atomic_store(&store->woken, true);
	(void)!write(store->wake_fd, &one, sizeof(one));
}

int
ob_memory_trim(struct ob_store *base, uint64_t *rows, bool *again, struct ob_error *error)
{
	struct memory_store *store = memory_store_of(base);
	struct memory_outbox *outbox = store->outbox;
	int64_t limit = INT64_MAX;
	int64_t young_us = memory_now(base) - store->options->retention_ms * 1000;
	size_t count = 0;

	(void)error;
	pthread_mutex_lock(&outbox->lock);
	for (const struct memory_subscription *it = outbox->subscriptions; it != NULL;
	     it = it->next)
		for (uint32_t i = 0; i < it->shard_count; i++) {
			const struct ob_mark *checkpoint = &it->shards[i].checkpoint;

			if (checkpoint->log < limit)
				limit = checkpoint->log;
			if (checkpoint->replay != OB_NO_REPLAY && checkpoint->replay < limit)
				limit = checkpoint->replay;
		}
	if (outbox->subscriptions == NULL)
		limit = 0;
	while (count < outbox->log_count && count < TRIM_MAX &&
	       outbox->log[count]->position <= limit && outbox->log[count]->created_us <= young_us)
		free(outbox->log[count++]);
	outbox->log_count -= count;
	memmove(outbox->log, outbox->log + count, outbox->log_count * sizeof(outbox->log[0]));
	*rows = count;
	*again = count == TRIM_MAX;
	pthread_mutex_unlock(&outbox->lock);
	return OB_OK;
}
