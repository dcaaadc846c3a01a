/*
 * A map from 64-bit numbers to pointers, with room for a number of entries that is set at init and
 * never grows: nothing is allocated afterwards.
 *
 * Open addressing with linear probing; removal shifts the followers back, so there are no
 * tombstones and a map that lives for years is as fast as a new one. The keys are mixed before use,
 * so ordinals may be keys. Keys that a stranger chooses must be hashed with a secret first
 * (hash.h).
 */
#ifndef OB_BASE_MAP_H
#define OB_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ob_map_entry {
	uint64_t key;
	void *value; /* NULL: the slot is free */
};

struct ob_map {
	struct ob_map_entry *entries;
	size_t mask;     /* number of slots - 1; the slots are a power of two, at least twice the
			    capacity */
	size_t count;    /* entries in use */
	size_t capacity; /* greatest count */
};

/* Room for `capacity` entries (at most 2^30). False if there is no memory; the map is zeroed then.
 */
bool ob_map_init(struct ob_map *map, size_t capacity);

/* Sets the value, not NULL, of a key, new or not. False if the key is new and the map full. */
bool ob_map_put(struct ob_map *map, uint64_t key, void *value);

/* The value of a key, NULL if it is not there. */
void *ob_map_get(const struct ob_map *map, uint64_t key);

/* Removes a key and returns its value, NULL if it was not there. */
void *ob_map_remove(struct ob_map *map, uint64_t key);

/*
 * Walks all entries in no order: start with *at = 0 and go on until it returns false. The map must
 * not change meanwhile, but for values that are replaced.
 */
bool ob_map_next(const struct ob_map *map, size_t *at, uint64_t *key, void **value);

/* Removes all entries. */
void ob_map_clear(struct ob_map *map);

/* Frees the memory. Safe on a zeroed map and twice. */
void ob_map_free(struct ob_map *map);

#endif
