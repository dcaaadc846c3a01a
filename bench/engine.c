/*
 * The engine alone: a store and a sink that take no time hand it batches again and again. Prints messages a
 * second; bench/engine runs it and counts the instructions of a message.
 *
 *   bench-engine [MESSAGES [KEYS [BATCH]]]      keys 0: messages without a key
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine.h"

#define BATCHES  16
#define RECEIPTS 256

struct bench {
	struct ob_engine *engine;
	struct ob_batch *free[BATCHES];
	uint32_t free_count;
	uint64_t ordinal, total, keys;
	uint32_t batch_size;
	int64_t now_ms;
	struct ob_receipt receipts[4096];
	uint32_t receipt_count;
	/* What is to be answered once the actions of this step are done. */
	bool acquire, fetch, settle;
	uint32_t submitted;
	struct ob_fetch asked;
};

static struct ob_batch *
batch_fill(struct bench *bench)
{
	struct ob_batch *batch = bench->free[--bench->free_count];

	ob_batch_reset(batch);
	while (batch->count < bench->asked.count_max && bench->ordinal < bench->total) {
		struct ob_row *row = ob_batch_add(batch);

		if (row == NULL)
			break;
		row->ordinal = ++bench->ordinal;
		row->position = (int64_t)row->ordinal;
		row->lane = bench->keys == 0 ? 0 : 1 + row->ordinal % bench->keys;
		row->bytes = 600;
		batch->bytes += row->bytes;
	}
	batch->more = bench->ordinal < bench->total;
	return batch;
}

static void
take_actions(struct bench *bench, const struct ob_actions *actions)
{
	for (uint32_t i = 0; i < actions->count; i++) {
		const struct ob_action *action = &actions->items[i];

		switch (action->kind) {
		case OB_ACTION_ACQUIRE:
			bench->acquire = true;
			break;
		case OB_ACTION_FETCH:
			bench->fetch = true;
			bench->asked = action->fetch;
			break;
		case OB_ACTION_SETTLE:
			bench->settle = true;
			break;
		case OB_ACTION_SUBMIT:
			bench->submitted = action->delivery_count;
			for (uint32_t at = 0; at < action->delivery_count; at++)
				bench->receipts[bench->receipt_count++] = (struct ob_receipt){
				    .ticket = action->deliveries[at].ticket, .fate = OB_FATE_SENT};
			break;
		case OB_ACTION_FREE_BATCH:
			bench->free[bench->free_count++] = action->batch;
			break;
		default:
			break;
		}
	}
}

static bool
next_event(struct bench *bench, struct ob_event *event, struct ob_receipt *receipts)
{
	static struct ob_acquired acquired = {.held = true, .epoch = 1};

	*event = (struct ob_event){.now_ms = bench->now_ms, .asked_at_ms = bench->now_ms};
	event->acquired = &acquired;
	if (bench->acquire) {
		bench->acquire = false;
		event->kind = OB_EVENT_ACQUIRED;
	} else if (bench->submitted > 0) {
		event->kind = OB_EVENT_SUBMITTED;
		event->accepted = bench->submitted;
		bench->submitted = 0;
	} else if (bench->settle) {
		bench->settle = false;
		event->kind = OB_EVENT_SETTLED;
	} else if (bench->receipt_count > 0) {
		uint32_t count = bench->receipt_count < RECEIPTS ? bench->receipt_count : RECEIPTS;

		for (uint32_t i = 0; i < count; i++)
			receipts[i] = bench->receipts[--bench->receipt_count];
		event->kind = OB_EVENT_RECEIPTS;
		event->receipts = receipts;
		event->receipt_count = count;
	} else if (bench->fetch && bench->free_count > 0 && bench->ordinal < bench->total) {
		bench->fetch = false;
		event->kind = OB_EVENT_FETCHED;
		event->batch = batch_fill(bench);
	} else {
		return false;
	}
	return true;
}

/* malloc and its kin are wrapped: what the engine allocates while it steps is counted. */
static volatile bool stepping;
static volatile unsigned long allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *
__wrap_malloc(size_t size)
{
	allocations += stepping;
	return __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	allocations += stepping;
	return __real_calloc(count, size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	allocations += stepping;
	return __real_realloc(old, size);
}

static void
run(struct bench *bench)
{
	static struct ob_receipt receipts[RECEIPTS];
	struct ob_event event = {.kind = OB_EVENT_START};
	struct ob_actions actions;
	struct ob_engine_stats stats;
	int64_t renewed_ms = 0;

	for (;;) {
		stepping = true;
		ob_engine_step(bench->engine, &event, &actions);
		stepping = false;
		take_actions(bench, &actions);
		if (next_event(bench, &event, receipts))
			continue;
		ob_engine_stats(bench->engine, &stats);
		if (stats.settled_through == bench->total)
			return;
		bench->now_ms++;
		event = (struct ob_event){.kind = OB_EVENT_TIMER, .now_ms = bench->now_ms};
		if (bench->now_ms - renewed_ms > 1000) {
			renewed_ms = bench->now_ms;
			event.kind = OB_EVENT_RENEWED;
			event.asked_at_ms = bench->now_ms;
		}
	}
}

int
main(int argc, char **argv)
{
	static struct bench bench;
	struct ob_engine_config config = {0};
	struct timespec begin, end;
	double seconds;

	bench.total = argc > 1 ? strtoull(argv[1], NULL, 10) : 5 * 1000 * 1000;
	bench.keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
	bench.batch_size = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 1024;
	config.fetch_count_max = bench.batch_size;
	ob_engine_config_defaults(&config);
	bench.engine = ob_engine_new(&config);
	for (uint32_t i = 0; i < BATCHES; i++)
		bench.free[bench.free_count++] = ob_batch_new(bench.batch_size);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	run(&bench);
	clock_gettime(CLOCK_MONOTONIC, &end);
	seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
	printf("engine: %llu messages, %llu keys, %lu allocations, %.1f million a second\n",
	       (unsigned long long)bench.total, (unsigned long long)bench.keys, allocations,
	       (double)bench.total / seconds / 1e6);
	ob_engine_free(bench.engine);
	while (bench.free_count > 0)
		ob_batch_free(bench.free[--bench.free_count]);
	return 0;
}
