/* The demo's reckoning must see what it claims to look for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "database.h"
#include "demo_count.h"
#include "host.h"

struct scene {
	char directory[64];
	char url[128], shop_log[128], received[128];
	struct ob_real_host host;
	struct ob_cli cli;
	struct ob_url_writer shop;
};

static int
scene_make(void **state)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	FILE *log;

	assert_non_null(scene);
	(void)snprintf(scene->directory, sizeof(scene->directory), "/tmp/ob-count-XXXXXX");
	assert_non_null(mkdtemp(scene->directory));
	(void)snprintf(scene->url, sizeof(scene->url), "sqlite:%s/shop.db", scene->directory);
	(void)snprintf(scene->shop_log, sizeof(scene->shop_log), "%s/shop.log", scene->directory);
	(void)snprintf(scene->received, sizeof(scene->received), "%s/received", scene->directory);
	ob_real_host_init(&scene->host, NULL, NULL);
	scene->cli.host = &scene->host.host;
	assert_int_equal(ob_database_migrate(&scene->cli, scene->url, NULL, true, NULL, NULL, NULL),
			 OB_OK);
	assert_int_equal(ob_url_writer_open(&scene->cli, &scene->shop, scene->url, NULL, NULL),
			 OB_OK);
	assert_int_equal(
	    ob_url_writer_run(
		&scene->shop,
		"CREATE TABLE orders (number INTEGER PRIMARY KEY, customer, message_id);"
		"INSERT INTO orders VALUES (1, 'alice', 'a1'), (2, 'bob', 'b2'),"
		" (3, 'alice', 'a3'), (4, 'alice', 'a4')",
		NULL),
	    OB_OK);
	log = fopen(scene->shop_log, "w");
	assert_non_null(log);
	assert_true(
	    fputs("committed a1\nrolled_back x9\ncommitted b2\ncommitted a3\ncommitted a4\n",
		  log) >= 0);
	assert_int_equal(fclose(log), 0);
	*state = scene;
	return 0;
}

static int
scene_remove(void **state)
{
	struct scene *scene = *state;

	ob_url_writer_close(&scene->shop);
	(void)unlink(strchr(scene->url, ':') + 1);
	(void)unlink(scene->shop_log);
	(void)unlink(scene->received);
	(void)rmdir(scene->directory);
	free(scene);
	return 0;
}

/* Counts the arrivals of these ids, in this order. An id in brackets came, but was not taken. */
static struct ob_demo_counts
count_of(struct scene *scene, const char *const *ids)
{
	FILE *file = fopen(scene->received, "w");
	struct ob_demo_counts counts;

	assert_non_null(file);
	for (int n = 1; *ids != NULL; ids++) {
		if (**ids == '[')
			(void)fprintf(file, "{\"n\":null,\"id\":\"%.2s\"}\n", *ids + 1);
		else
			(void)fprintf(file, "{\"n\":%d,\"id\":\"%s\"}\n", n++, *ids);
	}
	assert_int_equal(fclose(file), 0);
	assert_int_equal(
	    ob_demo_count(&scene->shop, "orders", scene->shop_log, scene->received, &counts, NULL),
	    0);
	assert_int_equal(counts.committed, 4);
	assert_int_equal(counts.rolled_back, 1);
	return counts;
}

static void
test_all_is_well(void **state)
{
	struct ob_demo_counts counts =
	    count_of(*state, (const char *const[]){"b2", "a1", "a3", "a4", NULL});

	assert_int_equal(counts.delivered, 4);
	assert_int_equal(counts.duplicates + counts.lost + counts.phantoms + counts.out_of_order,
			 0);
}

static void
test_sees_what_is_lost(void **state)
{
	struct ob_demo_counts counts =
	    count_of(*state, (const char *const[]){"a1", "[b2]", "a3", NULL});

	assert_int_equal(counts.delivered, 2);
	assert_int_equal(counts.lost, 2);
}

static void
test_a_duplicate_is_no_disorder(void **state)
{
	struct ob_demo_counts counts =
	    count_of(*state, (const char *const[]){"a1", "a3", "a1", "b2", "a3", "a4", NULL});

	assert_int_equal(counts.delivered, 4);
	assert_int_equal(counts.duplicates, 2);
	assert_int_equal(counts.out_of_order, 0);
}

static void
test_sees_disorder_within_a_customer(void **state)
{
	struct ob_demo_counts counts =
	    count_of(*state, (const char *const[]){"a4", "b2", "a1", "a3", NULL});

	assert_int_equal(counts.out_of_order, 2);
	assert_int_equal(counts.lost, 0);
}

static void
test_sees_what_was_never_committed(void **state)
{
	struct ob_demo_counts counts =
	    count_of(*state, (const char *const[]){"a1", "x9", "b2", "a3", "a4", NULL});

	assert_int_equal(counts.phantoms, 1);
	assert_int_equal(counts.delivered, 4);
}

int
main(void)
{
#define IN_SCENE(test) cmocka_unit_test_setup_teardown(test, scene_make, scene_remove)
	const struct CMUnitTest tests[] = {
	    IN_SCENE(test_all_is_well),
	    IN_SCENE(test_sees_what_is_lost),
	    IN_SCENE(test_a_duplicate_is_no_disorder),
	    IN_SCENE(test_sees_disorder_within_a_customer),
	    IN_SCENE(test_sees_what_was_never_committed),
	};

	return cmocka_run_group_tests_name("demo-count", tests, NULL, NULL);
}
