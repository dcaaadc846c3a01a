#include "map.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

#define CAPACITY_MAX ((size_t)1 << 30)

/* The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every bit of the key reaches every bit. */
static uint64_t
key_mix(uint64_t key)
{
	key ^= key >> 30;
	key *= UINT64_C(0xbf58476d1ce4e5b9);
	key ^= key >> 27;
	key *= UINT64_C(0x94d049bb133111eb);
	return key ^ key >> 31;
}

bool
ob_map_init(struct ob_map *map, size_t capacity)
{
	size_t slots = 8;

	OB_CHECK(capacity <= CAPACITY_MAX);
	while (slots < capacity * 2)
		slots *= 2;
	*map = (struct ob_map){0};
	map->entries = calloc(slots, sizeof(*map->entries));
	if (map->entries == NULL)
		return false;
	map->mask = slots - 1;
	map->capacity = capacity;
	return true;
}

/* The slot that holds the key, or the free one where it would go. There is always a free one. */
static size_t
map_find(const struct ob_map *map, uint64_t key)
{
	size_t at = (size_t)key_mix(key) & map->mask;

	while (map->entries[at].value != NULL && map->entries[at].key != key)
		at = (at + 1) & map->mask;
	return at;
}

bool
ob_map_put(struct ob_map *map, uint64_t key, void *value)
{
	size_t at;

	OB_CHECK(value != NULL);
	if (map->entries == NULL)
		return false;
	at = map_find(map, key);
	if (map->entries[at].value == NULL) {
		if (map->count == map->capacity)
			return false;
		map->count++;
	}
	map->entries[at] = (struct ob_map_entry){.key = key, .value = value};
	return true;
}

void *
ob_map_get(const struct ob_map *map, uint64_t key)
{
	return map->entries == NULL ? NULL : map->entries[map_find(map, key)].value;
}

/*
 * Moves later entries of the run into the hole at `hole`: each that does not stand between its own
 * slot and the hole, seen round the end of the table (Knuth, volume 3, 6.4, algorithm R).
 */
static void
map_close_hole(struct ob_map *map, size_t hole)
{
	size_t at = hole, home;

	for (;;) {
		at = (at + 1) & map->mask;
		if (map->entries[at].value == NULL)
			break;
		home = (size_t)key_mix(map->entries[at].key) & map->mask;
		if (((at - home) & map->mask) < ((at - hole) & map->mask))
			continue;
		map->entries[hole] = map->entries[at];
		hole = at;
	}
	map->entries[hole].value = NULL;
}

void *
ob_map_remove(struct ob_map *map, uint64_t key)
{
	size_t at;
	void *value;

	if (map->entries == NULL)
		return NULL;
	at = map_find(map, key);
	value = map->entries[at].value;
	if (value == NULL)
		return NULL;
	map_close_hole(map, at);
	map->count--;
	return value;
}

bool
ob_map_next(const struct ob_map *map, size_t *at, uint64_t *key, void **value)
{
	for (; map->entries != NULL && *at <= map->mask; (*at)++) {
		if (map->entries[*at].value == NULL)
			continue;
		*key = map->entries[*at].key;
		*value = map->entries[*at].value;
		(*at)++;
		return true;
	}
	return false;
}

void
ob_map_clear(struct ob_map *map)
{
	if (map->count > 0)
		memset(map->entries, 0, (map->mask + 1) * sizeof(*map->entries));
	map->count = 0;
}

void
ob_map_free(struct ob_map *map)
{
	free(map->entries);
	*map = (struct ob_map){0};
}
