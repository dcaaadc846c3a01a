#include <outbox/batch.h>

#include <stdint.h>
#include <stdlib.h>

#include "arena.h"
#include "check.h"

/* Chunks are small against a window of 16 MiB and large against a message of 300 bytes. */
#define CHUNK_SIZE (64 * 1024)
/* What an emptied batch may keep for its next use. A fetch of 1,024 small messages fits; after a
   fetch of large ones the memory goes back, since several batches wait at the same time. */
#define KEPT_MAX (1024 * 1024)

/* Far above any fetch_count_max; keeps the size of the rows within size_t on every machine. */
#define ROWS_MAX (1u << 20)

struct ob_batch_memory {
	struct ob_arena arena;
};

/* The batch, its memory and its rows: one allocation, so that they can only live and die together.
 */
struct batch_block {
	struct ob_batch batch;
	struct ob_batch_memory memory;
	struct ob_row rows[];
};

struct ob_batch *
ob_batch_new(uint32_t row_capacity)
{
	struct batch_block *block;

	OB_CHECK(row_capacity <= ROWS_MAX);
	block = malloc(sizeof(*block) + row_capacity * sizeof(block->rows[0]));
	if (block == NULL)
		return NULL;
	block->batch = (struct ob_batch){
	    .rows = block->rows,
	    .capacity = row_capacity,
	    .next_due_ms = -1,
	    .memory = &block->memory,
	};
	ob_arena_init(&block->memory.arena, CHUNK_SIZE, SIZE_MAX);
	return &block->batch;
}

void
ob_batch_free(struct ob_batch *batch)
{
	if (batch == NULL)
		return;
	ob_arena_free(&batch->memory->arena);
	/* The batch is its block's first member. */
	free(batch);
}

void
ob_batch_reset(struct ob_batch *batch)
{
	struct ob_arena *arena = &batch->memory->arena;

	ob_arena_reset(arena);
	if (arena->held > KEPT_MAX)
		ob_arena_free(arena);
	batch->count = 0;
	batch->bytes = 0;
	batch->more = false;
	batch->passed = false;
	batch->next_due_ms = -1;
}

struct ob_row *
ob_batch_add(struct ob_batch *batch)
{
	struct ob_row *row;

	OB_CHECK(batch->count <= batch->capacity);
	if (batch->count == batch->capacity)
		return NULL;
	row = &batch->rows[batch->count++];
	*row = (struct ob_row){0};
	return row;
}

bool
ob_batch_copy(struct ob_batch *batch, const void *data, size_t size, struct ob_bytes *out)
{
	char *copy;

	if (data == NULL) {
		*out = (struct ob_bytes){0};
		return true;
	}
	copy = ob_arena_copy(&batch->memory->arena, data, size);
	if (copy == NULL)
		return false;
	*out = (struct ob_bytes){.data = copy, .size = size};
	return true;
}

/* Its bytes stay in the arena until the reset: a store that asks for sizes before it copies wastes
 * none. */
void
ob_batch_drop_last(struct ob_batch *batch)
{
	OB_CHECK(batch->count > 0);
	batch->count--;
}
