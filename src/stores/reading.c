#include "reading.h"

#include <stdlib.h>

#include "check.h"

#define CAPACITY_FIRST 1024

bool
ob_mark_equal(struct ob_mark a, struct ob_mark b)
{
	return a.stretch == b.stretch && a.log == b.log && a.replay == b.replay;
}

void
ob_reading_start(struct ob_reading *reading, struct ob_mark checkpoint, int64_t replay_end)
{
	reading->settled = reading->read = checkpoint;
	reading->replay_end = replay_end;
	reading->replays++;
	reading->last_ordinal = 0;
	reading->head = reading->count = 0;
}

void
ob_reading_go_on(struct ob_reading *reading, int64_t replay, int64_t replay_end)
{
	if (replay == reading->settled.replay && replay_end == reading->replay_end)
		return;
	reading->settled.replay = reading->read.replay = replay;
	reading->replay_end = replay_end;
	reading->replays++;
}

void
ob_reading_free(struct ob_reading *reading)
{
	free(reading->items);
	*reading = (struct ob_reading){0};
}

int64_t
ob_reading_from(const struct ob_reading *reading)
{
	return reading->read.replay != OB_NO_REPLAY ? reading->read.replay : reading->read.log;
}

int64_t
ob_reading_to(const struct ob_reading *reading)
{
	return reading->read.replay != OB_NO_REPLAY ? reading->replay_end : INT64_MAX;
}

bool
ob_reading_replays(const struct ob_reading *reading)
{
	return reading->read.replay != OB_NO_REPLAY;
}

void
ob_reading_pass(struct ob_reading *reading, int64_t position)
{
	if (reading->read.replay != OB_NO_REPLAY)
		reading->read.replay = position;
	else
		reading->read.log = position;
}

static struct ob_ordinal *
reading_item(const struct ob_reading *reading, size_t index)
{
	return &reading->items[(reading->head + index) & (reading->capacity - 1)];
}

/* Makes room for one more, keeping the order; false at the limit or without memory. */
static bool
reading_grow(struct ob_reading *reading)
{
	size_t capacity = reading->capacity == 0 ? CAPACITY_FIRST : 2 * reading->capacity;
	struct ob_ordinal *items;

	if (capacity > OB_READING_OPEN_MAX)
		return false;
	items = malloc(capacity * sizeof(*items));
	if (items == NULL)
		return false;
	for (size_t i = 0; i < reading->count; i++)
		items[i] = *reading_item(reading, i);
	free(reading->items);
	reading->items = items;
	reading->capacity = capacity;
	reading->head = 0;
	return true;
}

uint64_t
ob_reading_add(struct ob_reading *reading, int64_t position)
{
	if (reading->count == reading->capacity && !reading_grow(reading))
		return 0;
	ob_reading_pass(reading, position);
	*reading_item(reading, reading->count++) = (struct ob_ordinal){
	    .position = position,
	    .after = reading->read,
	    .replays = reading->replays,
	};
	return ++reading->last_ordinal;
}

void
ob_reading_next_stretch(struct ob_reading *reading)
{
	reading->read.stretch++;
	reading->read.log = 0;
}

bool
ob_reading_end(struct ob_reading *reading)
{
	if (reading->read.replay == OB_NO_REPLAY)
		return false;
	reading->read.replay = OB_NO_REPLAY;
	return true;
}

struct ob_reading_point
ob_reading_point(const struct ob_reading *reading)
{
	return (struct ob_reading_point){
	    .read = reading->read,
	    .last_ordinal = reading->last_ordinal,
	    .count = reading->count,
	};
}

void
ob_reading_undo(struct ob_reading *reading, struct ob_reading_point point)
{
	reading->read = point.read;
	reading->last_ordinal = point.last_ordinal;
	reading->count = point.count;
}

static const struct ob_ordinal *
reading_find(const struct ob_reading *reading, uint64_t ordinal)
{
	uint64_t before = reading->last_ordinal - reading->count;

	if (ordinal <= before || ordinal > reading->last_ordinal)
		return NULL;
	return reading_item(reading, (size_t)(ordinal - before - 1));
}

int64_t
ob_reading_position(const struct ob_reading *reading, uint64_t ordinal)
{
	const struct ob_ordinal *item = reading_find(reading, ordinal);

	return item == NULL ? 0 : item->position;
}

struct ob_mark
ob_reading_mark(const struct ob_reading *reading, uint64_t ordinal)
{
	const struct ob_ordinal *item;
	struct ob_mark mark;

	/* With no ordinal left open everything that was read is done, what was read past with it. */
	if (ordinal >= reading->last_ordinal || reading->count == 0)
		return reading->read;
	item = reading_find(reading, ordinal);
	if (item == NULL)
		return reading->settled;
	mark = item->after;
	if (item->replays != reading->replays)
		mark.replay = reading->settled.replay;
	return mark;
}

void
ob_reading_settled(struct ob_reading *reading, uint64_t ordinal)
{
	uint64_t before = reading->last_ordinal - reading->count;

	OB_CHECK(ordinal <= reading->last_ordinal);
	reading->settled = ob_reading_mark(reading, ordinal);
	if (ordinal <= before)
		return;
	reading->head = (reading->head + (size_t)(ordinal - before)) & (reading->capacity - 1);
	reading->count -= (size_t)(ordinal - before);
}

bool
ob_reading_passed(const struct ob_reading *reading)
{
	return reading->count == 0 && !ob_mark_equal(reading->read, reading->settled);
}
