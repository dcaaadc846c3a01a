/* Parked and dead rows: arrays in the order of their positions. */
#include <stdlib.h>
#include <string.h>

#include "memory_outbox.h"
#include "text.h"
#include "tries.h"

struct memory_kept *
ob_memory_kept_new(int64_t position, const struct ob_message *message, int64_t created_us)
{
	struct ob_message sizes;
	struct memory_kept *kept =
	    calloc(1, sizeof(*kept) + ob_memory_message_copy(&sizes, message, NULL));

	if (kept == NULL)
		return NULL;
	ob_memory_message_copy(&kept->message, message, (char *)(kept + 1));
	kept->position = position;
	kept->created_us = created_us;
	return kept;
}

void
ob_memory_kept_free(struct memory_kept *kept)
{
	if (kept != NULL)
		free(kept->tries);
	free(kept);
}

/* The index of the first row at or above `position`. */
static size_t
rows_index(const struct memory_rows *rows, int64_t position)
{
	size_t low = 0, high = rows->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (rows->items[middle]->position < position)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct memory_kept *
ob_memory_rows_find(const struct memory_rows *rows, int64_t position)
{
	size_t i = rows_index(rows, position);

	return i < rows->count && rows->items[i]->position == position ? rows->items[i] : NULL;
}

bool
ob_memory_rows_add(struct memory_rows *rows, struct memory_kept *kept)
{
	size_t i = rows_index(rows, kept->position);

	if (rows->count == rows->capacity) {
		size_t capacity = rows->capacity == 0 ? 64 : 2 * rows->capacity;
		struct memory_kept **items = realloc(rows->items, capacity * sizeof(items[0]));

		if (items == NULL)
			return false;
		rows->items = items;
		rows->capacity = capacity;
	}
	memmove(rows->items + i + 1, rows->items + i, (rows->count - i) * sizeof(rows->items[0]));
	rows->items[i] = kept;
	rows->count++;
	return true;
}

void
ob_memory_rows_take(struct memory_rows *rows, struct memory_kept *kept)
{
	size_t i = rows_index(rows, kept->position);

	rows->count--;
	memmove(rows->items + i, rows->items + i + 1, (rows->count - i) * sizeof(rows->items[0]));
}

void
ob_memory_rows_free(struct memory_rows *rows)
{
	for (size_t i = 0; i < rows->count; i++)
		ob_memory_kept_free(rows->items[i]);
	free(rows->items);
	*rows = (struct memory_rows){0};
}

bool
ob_memory_lane_is_held(const struct memory_subscription *subscription, uint64_t lane)
{
	for (size_t i = 0; i < subscription->dead.count; i++)
		if (subscription->dead.items[i]->holds_key &&
		    subscription->dead.items[i]->lane == lane)
			return true;
	return false;
}

void
ob_memory_lane_promote(struct memory_subscription *subscription, uint64_t lane, int64_t gone,
		       int64_t now_us)
{
	const struct memory_rows *rows = &subscription->parked;
	struct memory_kept *first = NULL, *behind = NULL;

	if (lane == 0 || ob_memory_lane_is_held(subscription, lane))
		return;
	for (size_t i = 0; i < rows->count; i++) {
		struct memory_kept *kept = rows->items[i];

		if (kept->lane != lane || kept->scheduled)
			continue;
		if (kept->head)
			return;
		if (first == NULL)
			first = kept;
		if (behind == NULL && kept->position > gone)
			behind = kept;
	}
	if (behind == NULL)
		behind = first;
	if (behind == NULL)
		return;
	behind->head = true;
	/* One that failed within the run of its key keeps the time of its own next try. */
	if (!behind->has_due)
		behind->due_us = now_us;
	behind->has_due = true;
}

bool
ob_memory_kept_try(struct memory_kept *kept, const struct ob_outcome *outcome, int64_t now_us,
		   int64_t wall_us)
{
	struct ob_buf buf;
	char *tries;

	ob_buf_init(&buf, OB_TRIES_TEXT_MAX);
	ob_tries_append(&buf, kept->tries, outcome->tries, outcome->try_count, wall_us);
	tries = ob_buf_take(&buf, NULL);
	if (tries == NULL)
		return false;
	free(kept->tries);
	kept->tries = tries;
	if (outcome->try_count > 0) {
		const struct ob_try *last = &outcome->tries[outcome->try_count - 1];

		ob_text_copy(kept->code, sizeof(kept->code), last->code);
		ob_text_copy(kept->text, sizeof(kept->text), last->text);
	}
	kept->attempts = outcome->attempts;
	kept->tried = outcome->attempts > 0 || outcome->age_ms > 0;
	kept->first_try_us = now_us - outcome->age_ms * 1000;
	return true;
}
