/*
 * Memory that is released all at once.
 *
 * A batch of messages lives in one arena: its rows are allocated one after another, none is freed
 * alone, and the batch's end resets the arena. Memory comes from the system in chunks; a request
 * that is larger than a chunk gets one of its own. The limit counts what is taken from the system,
 * so it holds however the requests fall.
 *
 * An arena belongs to one thread at a time. Nothing blocks.
 */
#ifndef OB_BASE_ARENA_H
#define OB_BASE_ARENA_H

#include <stddef.h>

struct ob_arena_chunk;

struct ob_arena {
	struct ob_arena_chunk *chunks; /* in use, the newest first */
	struct ob_arena_chunk *spare;  /* kept by a reset, all of the usual size */
	size_t chunk_size;             /* the usual size of a chunk, its head included */
	size_t limit;                  /* greatest `held` */
	size_t held;                   /* bytes taken from the system, spare chunks included */
	size_t used;                   /* bytes given out since the last reset, padding included */
};

/* `chunk_size` is at least 256. Allocates nothing; a limit below `chunk_size` allows nothing. */
void ob_arena_init(struct ob_arena *arena, size_t chunk_size, size_t limit);

/*
 * `size` bytes with undefined content, aligned for any type; ob_arena_zalloc clears them. NULL when
 * the limit would be passed or there is no memory; what was given out before stays good. A size of
 * 0 gives a pointer that must not be read through.
 */
void *ob_arena_alloc(struct ob_arena *arena, size_t size);
void *ob_arena_zalloc(struct ob_arena *arena, size_t size);

/* The same with an alignment of 1, for bytes and text that stand close together. */
void *ob_arena_alloc_bytes(struct ob_arena *arena, size_t size);

/* A copy of `size` bytes, followed by a NUL that is not counted; NULL as above. `data` may be NULL
 * if `size` is 0. */
char *ob_arena_copy(struct ob_arena *arena, const void *data, size_t size);

/* Takes back everything given out. Chunks of the usual size are kept for the next use, larger ones
 * freed. */
void ob_arena_reset(struct ob_arena *arena);

/* Frees everything. Safe on a zeroed arena and twice; the arena can be used again. */
void ob_arena_free(struct ob_arena *arena);

#endif
