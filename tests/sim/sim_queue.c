#include "sim_queue.h"

#include <stdlib.h>

void
sim_queue_init(struct sim_queue *queue)
{
	*queue = (struct sim_queue){0};
}

void
sim_queue_free(struct sim_queue *queue)
{
	free(queue->heap);
	sim_queue_init(queue);
}

void
sim_queue_clear(struct sim_queue *queue)
{
	queue->count = 0;
	queue->order = 0;
}

static bool
event_is_before(const struct sim_event *a, const struct sim_event *b)
{
	if (a->at_us != b->at_us)
		return a->at_us < b->at_us;
	return a->order < b->order;
}

void
sim_queue_put(struct sim_queue *queue, struct sim_event event)
{
	size_t at = queue->count;

	if (queue->count == queue->capacity) {
		queue->capacity = queue->capacity == 0 ? 1024 : queue->capacity * 2;
		queue->heap = realloc(queue->heap, queue->capacity * sizeof(*queue->heap));
		if (queue->heap == NULL)
			abort();
	}
	event.order = queue->order++;
	queue->count++;
	while (at > 0 && event_is_before(&event, &queue->heap[(at - 1) / 2])) {
		queue->heap[at] = queue->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	queue->heap[at] = event;
}

bool
sim_queue_take(struct sim_queue *queue, struct sim_event *event)
{
	struct sim_event last;
	size_t at = 0;

	if (queue->count == 0)
		return false;
	*event = queue->heap[0];
	last = queue->heap[--queue->count];
	for (size_t child = 1; child < queue->count; child = 2 * at + 1) {
		if (child + 1 < queue->count &&
		    event_is_before(&queue->heap[child + 1], &queue->heap[child]))
			child++;
		if (!event_is_before(&queue->heap[child], &last))
			break;
		queue->heap[at] = queue->heap[child];
		at = child;
	}
	if (queue->count > 0)
		queue->heap[at] = last;
	return true;
}
