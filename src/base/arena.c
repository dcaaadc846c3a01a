#include "arena.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define CHUNK_SIZE_MIN 256

struct ob_arena_chunk {
	struct ob_arena_chunk *next;
	size_t size; /* of `bytes` */
	size_t used; /* of `bytes` */
	alignas(max_align_t) unsigned char bytes[];
};

void
ob_arena_init(struct ob_arena *arena, size_t chunk_size, size_t limit)
{
	OB_CHECK(chunk_size >= CHUNK_SIZE_MIN);
	*arena = (struct ob_arena){.chunk_size = chunk_size, .limit = limit};
}

/* The offset in the chunk at which `align` holds; its bytes start aligned for any type. */
static size_t
chunk_offset(const struct ob_arena_chunk *chunk, size_t align)
{
	return (chunk->used + align - 1) & ~(align - 1);
}

static bool
chunk_fits(const struct ob_arena_chunk *chunk, size_t size, size_t align)
{
	size_t offset = chunk_offset(chunk, align);

	return offset <= chunk->size && size <= chunk->size - offset;
}

static void
chunk_release(struct ob_arena *arena, struct ob_arena_chunk *chunk)
{
	arena->held -= sizeof(*chunk) + chunk->size;
	free(chunk);
}

static struct ob_arena_chunk *
chunk_new(struct ob_arena *arena, size_t size)
{
	struct ob_arena_chunk *chunk;
	size_t usual = arena->chunk_size - sizeof(*chunk);

	if (size <= usual && arena->spare != NULL) {
		chunk = arena->spare;
		arena->spare = chunk->next;
		chunk->used = 0;
		return chunk;
	}
	if (size < usual)
		size = usual;
	/* Spare chunks are worth less than a large message that would fit without them. */
	while (size > usual && arena->spare != NULL &&
	       size > arena->limit - arena->held - sizeof(*chunk)) {
		chunk = arena->spare;
		arena->spare = chunk->next;
		chunk_release(arena, chunk);
	}
	if (arena->limit - arena->held < sizeof(*chunk) ||
	    size > arena->limit - arena->held - sizeof(*chunk))
		return NULL;
	chunk = malloc(sizeof(*chunk) + size);
	if (chunk == NULL)
		return NULL;
	*chunk = (struct ob_arena_chunk){.size = size};
	arena->held += sizeof(*chunk) + size;
	return chunk;
}

static void *
arena_alloc(struct ob_arena *arena, size_t size, size_t align)
{
	struct ob_arena_chunk *chunk = arena->chunks;
	size_t offset;

	if (chunk == NULL || !chunk_fits(chunk, size, align)) {
		chunk = chunk_new(arena, size);
		if (chunk == NULL)
			return NULL;
		chunk->next = arena->chunks;
		arena->chunks = chunk;
	}
	offset = chunk_offset(chunk, align);
	arena->used += offset - chunk->used + size;
	chunk->used = offset + size;
	return chunk->bytes + offset;
}

void *
ob_arena_alloc(struct ob_arena *arena, size_t size)
{
	return arena_alloc(arena, size, alignof(max_align_t));
}

void *
ob_arena_alloc_bytes(struct ob_arena *arena, size_t size)
{
	return arena_alloc(arena, size, 1);
}

void *
ob_arena_zalloc(struct ob_arena *arena, size_t size)
{
	void *memory = ob_arena_alloc(arena, size);

	if (memory != NULL)
		memset(memory, 0, size);
	return memory;
}

char *
ob_arena_copy(struct ob_arena *arena, const void *data, size_t size)
{
	char *copy;

	if (size == SIZE_MAX)
		return NULL;
	copy = ob_arena_alloc_bytes(arena, size + 1);
	if (copy == NULL)
		return NULL;
	if (size > 0)
		memcpy(copy, data, size);
	copy[size] = '\0';
	return copy;
}

void
ob_arena_reset(struct ob_arena *arena)
{
	struct ob_arena_chunk *chunk, *next;

	for (chunk = arena->chunks; chunk != NULL; chunk = next) {
		next = chunk->next;
		if (sizeof(*chunk) + chunk->size > arena->chunk_size) {
			chunk_release(arena, chunk);
			continue;
		}
		chunk->next = arena->spare;
		arena->spare = chunk;
	}
	arena->chunks = NULL;
	arena->used = 0;
}

void
ob_arena_free(struct ob_arena *arena)
{
	struct ob_arena_chunk *chunk;

	ob_arena_reset(arena);
	while ((chunk = arena->spare) != NULL) {
		arena->spare = chunk->next;
		chunk_release(arena, chunk);
	}
}
