/* Buffers, arenas, lists and maps: what they hold, and that their limits hold. */
#include "cm.h"

#include "arena.h"
#include "buf.h"
#include "list.h"
#include "map.h"

#include <stdlib.h>
#include <string.h>

static void
buf_holds_what_was_appended(void **state)
{
	struct ob_buf buf;

	(void)state;
	ob_buf_init(&buf, 1000);
	assert_string_equal(ob_buf_text(&buf), "");
	assert_true(ob_buf_append(&buf, "a\0b", 3));
	assert_true(ob_buf_append(&buf, NULL, 0));
	assert_true(ob_buf_append_byte(&buf, '-'));
	assert_true(ob_buf_appendf(&buf, "%d %s", 42, "x"));
	for (int i = 0; i < 300; i++)
		assert_true(ob_buf_append_byte(&buf, '.'));
	assert_int_equal(buf.size, 3 + 1 + 4 + 300);
	assert_memory_equal(buf.data, "a\0b-42 x....", 12);
	assert_int_equal(buf.data[buf.size], 0);
	ob_buf_truncate(&buf, 2);
	assert_memory_equal(buf.data, "a\0", 3);
	ob_buf_free(&buf);
	ob_buf_free(&buf);
}

static void
buf_refuses_what_passes_its_limit(void **state)
{
	struct ob_buf buf;

	(void)state;
	ob_buf_init(&buf, 10);
	assert_true(ob_buf_append_text(&buf, "0123456789"));
	assert_false(ob_buf_append_byte(&buf, 'x'));
	assert_true(buf.failed);
	assert_string_equal(ob_buf_text(&buf), "0123456789");
	assert_null(ob_buf_take(&buf, NULL));
	ob_buf_reset(&buf);
	assert_false(buf.failed);
	assert_false(ob_buf_appendf(&buf, "%011d", 1));
	assert_int_equal(buf.size, 0);
	ob_buf_reset(&buf);
	assert_null(ob_buf_reserve(&buf, SIZE_MAX));
	assert_true(buf.capacity <= 11);
	ob_buf_free(&buf);
}

static void
buf_gives_its_memory_away(void **state)
{
	struct ob_buf buf;
	size_t size = 99;
	char *text;

	(void)state;
	ob_buf_init(&buf, 10);
	text = ob_buf_take(&buf, &size);
	assert_string_equal(text, "");
	assert_int_equal(size, 0);
	free(text);
	memcpy(ob_buf_reserve(&buf, 5), "hello", 5);
	ob_buf_commit(&buf, 4);
	text = ob_buf_take(&buf, &size);
	assert_string_equal(text, "hell");
	assert_int_equal(size, 4);
	assert_int_equal(buf.size, 0);
	free(text);
	ob_buf_wipe(&buf);
}

static void
arena_gives_aligned_memory_up_to_its_limit(void **state)
{
	struct ob_arena arena;
	size_t given = 0;
	char *bytes;

	(void)state;
	ob_arena_init(&arena, 1024, 4096);
	assert_non_null(ob_arena_alloc_bytes(&arena, 3));
	assert_int_equal((uintptr_t)ob_arena_alloc(&arena, 1) % _Alignof(max_align_t), 0);
	assert_string_equal(ob_arena_copy(&arena, "hello!", 5), "hello");
	bytes = ob_arena_zalloc(&arena, 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(bytes[i], 0);
	while (ob_arena_alloc(&arena, 100) != NULL)
		given += 100;
	assert_true(given > 3000);
	assert_true(arena.held <= 4096);
	assert_true(arena.used >= given);
	assert_null(ob_arena_alloc(&arena, SIZE_MAX - 8));
	assert_null(ob_arena_copy(&arena, "", SIZE_MAX));
	ob_arena_free(&arena);
	assert_int_equal(arena.held, 0);
}

static void
arena_keeps_usual_chunks_over_a_reset(void **state)
{
	struct ob_arena arena;
	void *first;

	(void)state;
	ob_arena_init(&arena, 1024, 100000);
	first = ob_arena_alloc(&arena, 10);
	memset(ob_arena_alloc(&arena, 50000), 1, 50000);
	assert_true(arena.held > 51000);
	ob_arena_reset(&arena);
	assert_int_equal(arena.held, 1024);
	assert_int_equal(arena.used, 0);
	assert_ptr_equal(ob_arena_alloc(&arena, 10), first);
	ob_arena_reset(&arena);
	/* A request that fits only without the spare chunk takes its room. */
	assert_non_null(ob_arena_alloc(&arena, 99900));
	assert_true(arena.held <= 100000);
	ob_arena_free(&arena);
	ob_arena_free(&arena);
}

struct element {
	int number;
	struct ob_list link;
};

static void
list_keeps_its_order(void **state)
{
	struct element e[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
	struct ob_list list;
	int sum = 0;

	(void)state;
	ob_list_init(&list);
	assert_null(ob_list_pop_front(&list));
	ob_list_push_back(&list, &e[1].link);
	ob_list_push_back(&list, &e[2].link);
	ob_list_push_front(&list, &e[0].link);
	ob_list_push_back(&list, &e[3].link);
	OB_LIST_FOR_EACH(it, &list)
	sum = sum * 10 + OB_CONTAINER_OF(it, struct element, link)->number;
	assert_int_equal(sum, 123);
	OB_LIST_FOR_EACH_SAFE(it, &list)
	if (OB_CONTAINER_OF(it, struct element, link)->number % 2 == 0)
		ob_list_remove(it);
	assert_true(ob_list_is_empty(&e[2].link));
	assert_ptr_equal(ob_list_first(&list), &e[1].link);
	assert_ptr_equal(ob_list_last(&list), &e[3].link);
	assert_ptr_equal(ob_list_pop_front(&list), &e[1].link);
}

/* Against a plain array, over a long run of puts and removals in a full table. */
static void
map_agrees_with_an_array(void **state)
{
	static char values[64];
	void *plain[64] = {NULL}, *value;
	struct ob_map map;
	uint64_t random = 1, key;
	size_t count = 0, at = 0;

	(void)state;
	assert_true(ob_map_init(&map, 40));
	for (int i = 0; i < 20000; i++) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		key = random >> 58;
		if ((random >> 40 & 1) != 0) {
			bool fits = plain[key] != NULL || count < 40;

			assert_int_equal(ob_map_put(&map, key, &values[key]), fits);
			count += fits && plain[key] == NULL;
			if (fits)
				plain[key] = &values[key];
		} else {
			assert_ptr_equal(ob_map_remove(&map, key), plain[key]);
			count -= plain[key] != NULL;
			plain[key] = NULL;
		}
		for (uint64_t k = 0; k < 64; k++)
			assert_ptr_equal(ob_map_get(&map, k), plain[k]);
	}
	assert_int_equal(map.count, count);
	while (ob_map_next(&map, &at, &key, &value)) {
		assert_ptr_equal(value, plain[key]);
		count--;
	}
	assert_int_equal(count, 0);
	ob_map_clear(&map);
	assert_null(ob_map_get(&map, 1));
	ob_map_free(&map);
	ob_map_free(&map);
	assert_null(ob_map_get(&map, 1));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(buf_holds_what_was_appended),
    cmocka_unit_test(buf_refuses_what_passes_its_limit),
    cmocka_unit_test(buf_gives_its_memory_away),
    cmocka_unit_test(arena_gives_aligned_memory_up_to_its_limit),
    cmocka_unit_test(arena_keeps_usual_chunks_over_a_reset),
    cmocka_unit_test(list_keeps_its_order),
    cmocka_unit_test(map_agrees_with_an_array),
};

CM_MAIN(tests)
