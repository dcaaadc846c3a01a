/* What people see and change in the memory store. */
#include <stdlib.h>
#include <string.h>

#include "memory_outbox.h"
#include "pattern.h"
#include "shard_stats.h"
#include "text.h"

#define LIST_MAX 1000

/* ---- stats ---- */

static const struct memory_shard *
shard_of(const struct memory_subscription *subscription, const struct ob_message *message)
{
	return &subscription->shards[ob_shard_of(message, subscription->shard_count)];
}

static void
stats_pending(const struct memory_outbox *outbox, const struct memory_subscription *subscription,
	      int64_t now_us, struct ob_subscription_stats *stats)
{
	int64_t from = outbox->last_position;

	for (uint32_t i = 0; i < subscription->shard_count; i++) {
		const struct memory_shard *shard = &subscription->shards[i];

		if (shard->checkpoint.log < from)
			from = shard->checkpoint.log;
		if (shard->checkpoint.replay == OB_NO_REPLAY)
			continue;
		stats->replaying = stats->pending = true;
		stats->pending_max += (uint64_t)(shard->replay_end - shard->checkpoint.replay);
	}
	stats->pending_max += (uint64_t)(outbox->last_position - from);
	for (size_t i = ob_memory_log_find(outbox, from); i < outbox->log_count; i++) {
		const struct memory_message *message = outbox->log[i];

		if (message->position <=
			shard_of(subscription, &message->message)->checkpoint.log ||
		    !ob_pattern_match(subscription->topics, message->message.topic))
			continue;
		stats->pending = true;
		stats->oldest_age_ms = (now_us - message->created_us) / 1000;
		break;
	}
}

static void
stats_parked(const struct memory_subscription *subscription, struct ob_subscription_stats *stats)
{
	const struct memory_rows *rows = &subscription->parked;

	for (size_t i = 0; i < rows->count; i++) {
		const struct memory_kept *kept = rows->items[i];
		bool first = kept->lane != 0;

		if (kept->scheduled) {
			stats->scheduled_rows++;
			continue;
		}
		stats->parked_rows++;
		for (size_t j = 0; j < i && first; j++)
			first = rows->items[j]->scheduled || rows->items[j]->lane != kept->lane;
		stats->parked_keys += first;
	}
	stats->dead_rows = subscription->dead.count;
}

static void
stats_shards(const struct memory_subscription *subscription, int64_t now_us,
	     struct ob_shard_stats shards[OB_SHARDS_MAX], struct ob_subscription_stats *stats)
{
	for (uint32_t i = 0; i < subscription->shard_count; i++) {
		const struct memory_shard *shard = &subscription->shards[i];
		bool held = shard->holder != 0 && shard->expires_us > now_us;

		shards[i] = (struct ob_shard_stats){
		    .held = held,
		    .owner = held ? shard->owner : "",
		    .lease_left_ms = held ? (shard->expires_us - now_us) / 1000 : 0,
		    .epoch = shard->epoch,
		    .state = held ? shard->state : "",
		    .code = held ? shard->code : "",
		    .text = held ? shard->text : "",
		    .ended = ob_memory_shard_ended(subscription, i),
		};
		if (*shards[i].state != '\0')
			shards[i].state_since_ms = (now_us - shard->state_since_us) / 1000;
	}
	for (const struct memory_member *it = subscription->members; it != NULL; it = it->next)
		stats->members += it->expires_us > now_us;
	stats->shards_next = subscription->shards_next;
	ob_shard_stats_show(stats, shards, subscription->shard_count);
}

int
ob_memory_stats(struct ob_store *base, const char *subscription,
		void (*each)(void *context, const struct ob_subscription_stats *stats),
		void *context, struct ob_error *error)
{
	struct memory_outbox *outbox = memory_store_of(base)->outbox;
	struct ob_shard_stats shards[OB_SHARDS_MAX];
	int64_t now_us = memory_now(base);
	bool found = subscription == NULL;

	pthread_mutex_lock(&outbox->lock);
	for (struct memory_subscription *it = outbox->subscriptions; it != NULL; it = it->next) {
		struct ob_subscription_stats stats = {
		    .name = it->name,
		    .topics = it->topics,
		    .sink = it->sink,
		    .paused = it->paused,
		    .blocked_by = "",
		};

		if (subscription != NULL && strcmp(it->name, subscription) != 0)
			continue;
		found = true;
		stats_shards(it, now_us, shards, &stats);
		stats_pending(outbox, it, now_us, &stats);
		stats_parked(it, &stats);
		if (it->paused && stats.pending)
			stats.blocked_by = "paused by a person: outbox resume";
		else if (!stats.held && stats.pending)
			stats.blocked_by = it->shard_count > 1 ? "no relay runs one of its shards"
							       : "no relay runs this subscription";
		each(context, &stats);
	}
	pthread_mutex_unlock(&outbox->lock);
	return found ? OB_OK : ob_memory_subscription_missing(subscription, error);
}

/* ---- list ---- */

struct listing {
	const struct ob_selection *selection;
	bool (*each)(void *context, const struct ob_listed *row);
	void *context;
	int64_t now_us;
	uint64_t given, max;
	int64_t last_position;
	bool stop;
};

static bool
message_is_meant(const struct ob_selection *selection, const struct ob_message *message)
{
	return (selection->id == NULL || ob_bytes_equal_text(message->id, selection->id)) &&
	       (selection->topic == NULL || ob_pattern_match(selection->topic, message->topic)) &&
	       (selection->key == NULL || ob_bytes_equal_text(message->key, selection->key)) &&
	       (selection->type == NULL || ob_bytes_equal_text(message->type, selection->type));
}

static bool
kept_is_meant(const struct ob_selection *selection, enum ob_place place,
	      const struct memory_kept *kept)
{
	return (selection->place == 0 || selection->place == place) &&
	       kept->position > selection->position_after &&
	       (selection->code == NULL || strcmp(selection->code, kept->code) == 0) &&
	       message_is_meant(selection, &kept->message);
}

static void
list_show(struct listing *l, const struct ob_listed *row)
{
	/* Rows of one position are never torn apart, since paging is by position. */
	if (l->stop || (l->given >= l->max && row->position != l->last_position)) {
		l->stop = true;
		return;
	}
	l->given++;
	l->last_position = row->position;
	l->stop = !l->each(l->context, row);
}

static void
list_kept(struct listing *l, const struct memory_subscription *subscription, enum ob_place place,
	  const struct memory_kept *kept)
{
	struct ob_listed row = {
	    .subscription = subscription->name,
	    .place = place,
	    .head = kept->head,
	    .holds_key = kept->holds_key,
	    .position = kept->position,
	    .message = kept->message,
	    .attempts = kept->attempts,
	    .age_ms = (l->now_us - kept->created_us) / 1000,
	    .since_ms = (l->now_us - kept->since_us) / 1000,
	    .code = kept->code,
	    .text = kept->text,
	    .tries = kept->tries == NULL ? "[]" : kept->tries,
	};

	if (kept->has_due && kept->due_us > l->now_us)
		row.due_in_ms = (kept->due_us - l->now_us) / 1000;
	list_show(l, &row);
}

static void
list_log(struct listing *l, const struct memory_outbox *outbox,
	 const struct memory_message *message)
{
	struct ob_listed row = {
	    .place = OB_PLACE_LOG,
	    .passed = true,
	    .position = message->position,
	    .message = message->message,
	    .age_ms = (l->now_us - message->created_us) / 1000,
	    .code = "",
	    .text = "",
	    .tries = "[]",
	};

	if ((l->selection->place != 0 && l->selection->place != OB_PLACE_LOG) ||
	    (l->selection->place == 0 && l->selection->subscription != NULL) ||
	    l->selection->code != NULL || !message_is_meant(l->selection, &message->message))
		return;
	for (const struct memory_subscription *it = outbox->subscriptions; it != NULL;
	     it = it->next)
		row.passed = row.passed &&
			     shard_of(it, &message->message)->checkpoint.log >= message->position;
	row.passed = row.passed && outbox->subscriptions != NULL;
	if (message->due_us > l->now_us)
		row.due_in_ms = (message->due_us - l->now_us) / 1000;
	list_show(l, &row);
}

/* Everything that stands at one position: in the log, then parked, then dead. */
static void
list_position(struct listing *l, const struct memory_outbox *outbox, int64_t position)
{
	size_t at = ob_memory_log_find(outbox, position - 1);

	if (at < outbox->log_count && outbox->log[at]->position == position)
		list_log(l, outbox, outbox->log[at]);
	for (const struct memory_subscription *it = outbox->subscriptions; it != NULL;
	     it = it->next) {
		const struct memory_kept *parked = ob_memory_rows_find(&it->parked, position);
		const struct memory_kept *dead = ob_memory_rows_find(&it->dead, position);
		enum ob_place place =
		    parked != NULL && parked->scheduled ? OB_PLACE_SCHEDULED : OB_PLACE_PARKED;

		if (l->selection->subscription != NULL &&
		    strcmp(l->selection->subscription, it->name) != 0)
			continue;
		if (parked != NULL && kept_is_meant(l->selection, place, parked))
			list_kept(l, it, place, parked);
		if (dead != NULL && kept_is_meant(l->selection, OB_PLACE_DEAD, dead))
			list_kept(l, it, OB_PLACE_DEAD, dead);
	}
}

int
ob_memory_list(struct ob_store *base, const struct ob_selection *selection,
	       bool (*each)(void *context, const struct ob_listed *row), void *context,
	       struct ob_error *error)
{
	struct memory_outbox *outbox = memory_store_of(base)->outbox;
	struct listing l = {
	    .selection = selection,
	    .each = each,
	    .context = context,
	    .now_us = memory_now(base),
	    .max = selection->count_max == 0 || selection->count_max > LIST_MAX
		       ? LIST_MAX
		       : selection->count_max,
	};
	int code = selection->topic == NULL ? OB_OK : ob_pattern_check(selection->topic, error);

	if (code != OB_OK)
		return code;
	pthread_mutex_lock(&outbox->lock);
	for (int64_t at = selection->position_after + 1; at <= outbox->last_position && !l.stop;
	     at++)
		list_position(&l, outbox, at);
	pthread_mutex_unlock(&outbox->lock);
	return OB_OK;
}

/* ---- change ---- */

struct changing {
	struct memory_store *store;
	struct memory_subscription *subscription;
	const struct ob_change *change;
	int64_t now_us;
	uint64_t count;
};

static bool
change_is_full(const struct changing *c)
{
	return c->change->selection.count_max != 0 && c->count >= c->change->selection.count_max;
}

static void
parked_change(struct changing *c, struct memory_kept *kept)
{
	c->count++;
	if (c->change->dry_run)
		return;
	if (c->change->kind == OB_CHANGE_RETRY) {
		kept->due_us = c->now_us;
		return;
	}
	ob_memory_rows_take(&c->subscription->parked, kept);
	ob_memory_lane_promote(c->subscription, kept->lane, kept->position, c->now_us);
	ob_memory_kept_free(kept);
}

/* Back to parked, with its tries shown but not counted; the lowest position of its key becomes the head. */
static void
dead_retry(struct changing *c, struct memory_kept *kept)
{
	struct memory_rows *parked = &c->subscription->parked;

	ob_memory_rows_take(&c->subscription->dead, kept);
	kept->holds_key = kept->tried = kept->scheduled = false;
	kept->attempts = 0;
	kept->since_us = kept->due_us = c->now_us;
	kept->head = kept->has_due = kept->lane == 0;
	for (size_t i = 0; i < parked->count && kept->lane != 0; i++)
		if (parked->items[i]->lane == kept->lane && !parked->items[i]->scheduled)
			parked->items[i]->head = parked->items[i]->has_due = false;
	if (ob_memory_rows_find(parked, kept->position) != NULL)
		ob_memory_kept_free(kept);
	else if (ob_memory_rows_add(parked, kept))
		ob_memory_lane_promote(c->subscription, kept->lane, INT64_MAX, c->now_us);
}

static void
dead_change(struct changing *c, struct memory_kept *kept)
{
	c->count++;
	if (c->change->dry_run)
		return;
	if (c->change->kind == OB_CHANGE_RETRY) {
		dead_retry(c, kept);
		return;
	}
	ob_memory_rows_take(&c->subscription->dead, kept);
	ob_memory_lane_promote(c->subscription, kept->lane, kept->position, c->now_us);
	ob_memory_kept_free(kept);
}

static void
rows_change(struct changing *c)
{
	const struct ob_selection *selection = &c->change->selection;
	struct memory_rows *parked = &c->subscription->parked, *dead = &c->subscription->dead;

	/* Downwards, since a change takes rows out; of a key all or none is meant, or only its head. */
	for (size_t i = 0; i < parked->count && !change_is_full(c);) {
		struct memory_kept *kept = parked->items[i];
		enum ob_place place = kept->scheduled ? OB_PLACE_SCHEDULED : OB_PLACE_PARKED;
		size_t before = parked->count;

		if (kept_is_meant(selection, place, kept) &&
		    (c->change->kind == OB_CHANGE_DISCARD || kept->head))
			parked_change(c, kept);
		i += parked->count == before;
	}
	for (size_t i = 0; i < dead->count && !change_is_full(c);) {
		size_t before = dead->count;

		if (kept_is_meant(selection, OB_PLACE_DEAD, dead->items[i]))
			dead_change(c, dead->items[i]);
		i += dead->count == before;
	}
}

/* From where: the index in the log of the first message that is meant. */
static int
replay_from(const struct changing *c, size_t *first, struct ob_error *error)
{
	const struct memory_outbox *outbox = c->store->outbox;
	const struct ob_change *change = c->change;
	size_t at = 0;

	if (change->from_id != NULL) {
		while (at < outbox->log_count &&
		       !ob_bytes_equal_text(outbox->log[at]->message.id, change->from_id))
			at++;
		if (at == outbox->log_count)
			return ob_error_set(error, OB_NOT_FOUND,
					    "no message in the log has the id '%s'",
					    change->from_id);
	} else if (change->since_ms >= 0) {
		while (at < outbox->log_count &&
		       outbox->log[at]->created_us < c->now_us - change->since_ms * 1000)
			at++;
	}
	*first = at;
	return OB_OK;
}

static int
change_replay(struct changing *c, struct ob_error *error)
{
	const struct memory_outbox *outbox = c->store->outbox;
	struct memory_subscription *subscription = c->subscription;
	size_t first = 0;
	int code = replay_from(c, &first, error);

	if (code != OB_OK)
		return code;
	/* Each shard as far as its own checkpoint. */
	for (size_t i = first; i < outbox->log_count; i++)
		c->count += outbox->log[i]->position <=
			    shard_of(subscription, &outbox->log[i]->message)->checkpoint.log;
	if (c->count == 0 || c->change->dry_run)
		return OB_OK;
	for (uint32_t i = 0; i < subscription->shard_count; i++) {
		struct memory_shard *shard = &subscription->shards[i];
		int64_t from = outbox->log[first]->position - 1;

		if (from >= shard->checkpoint.log)
			continue;
		if (shard->checkpoint.replay == OB_NO_REPLAY || shard->checkpoint.replay > from)
			shard->checkpoint.replay = from;
		shard->replay_end = shard->checkpoint.log;
	}
	return OB_OK;
}

static void
change_paused(struct changing *c, bool paused)
{
	if (c->subscription->paused == paused)
		return;
	c->count = 1;
	if (!c->change->dry_run)
		c->subscription->paused = paused;
}

static int
change_apply(struct changing *c, struct ob_error *error)
{
	int code = OB_OK;

	switch (c->change->kind) {
	case OB_CHANGE_PAUSE:
	case OB_CHANGE_RESUME:
		change_paused(c, c->change->kind == OB_CHANGE_PAUSE);
		break;
	case OB_CHANGE_RETRY:
	case OB_CHANGE_DISCARD:
		rows_change(c);
		break;
	case OB_CHANGE_REPLAY:
		code = change_replay(c, error);
		break;
	case OB_CHANGE_ADOPT:
		return ob_error_set(error, OB_UNSUPPORTED,
				    "memory has no file that could be replaced");
	}
	if (code == OB_OK && c->count > 0 && !c->change->dry_run) {
		for (uint32_t i = 0; i < c->subscription->shard_count; i++)
			c->subscription->shards[i].epoch++;
		ob_memory_commit(c->store->outbox);
	}
	return code;
}

int
ob_memory_change(struct ob_store *base, const struct ob_change *change, uint64_t *count,
		 struct ob_error *error)
{
	struct changing c = {
	    .store = memory_store_of(base), .change = change, .now_us = memory_now(base)};
	const char *name = change->selection.subscription;
	int code = OB_OK;

	*count = 0;
	if (change->selection.topic != NULL)
		code = ob_pattern_check(change->selection.topic, error);
	if (code != OB_OK)
		return code;
	if (name == NULL && change->kind != OB_CHANGE_ADOPT)
		return ob_error_set(error, OB_INVALID, "a subscription must be named");
	pthread_mutex_lock(&c.store->outbox->lock);
	c.subscription = name == NULL ? NULL : ob_memory_subscription(c.store->outbox, name);
	if (name != NULL && c.subscription == NULL)
		code = ob_memory_subscription_missing(name, error);
	else
		code = change_apply(&c, error);
	pthread_mutex_unlock(&c.store->outbox->lock);
	*count = c.count;
	return code;
}

int
ob_memory_check(struct ob_store *base, const struct ob_report *report, struct ob_error *error)
{
	struct ob_finding finding = {
	    .level = OB_FINDING_NOTE,
	    .code = "memory",
	    .what = "this outbox lives in memory and ends with the process",
	};

	(void)base;
	(void)error;
	report->add(report->context, &finding);
	return OB_OK;
}
