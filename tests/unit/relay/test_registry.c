#include <pthread.h>
#include <string.h>

#include "cm.h"

#include "modules.h"
#include "registry.h"

static void
built_in_ones_are_found_by_scheme(void **state)
{
	const struct ob_store_ops *store;
	const struct ob_sink_ops *sink;
	struct ob_error error;

	(void)state;
	assert_int_equal(ob_registry_find_store("sqlite:/srv/shop.db", &store, &error), OB_OK);
	assert_string_equal(store->name, "sqlite");
	assert_int_equal(ob_registry_find_store("memory:x", &store, &error), OB_OK);
	assert_string_equal(store->name, "memory");
	assert_int_equal(ob_registry_find_sink("NULL:", &sink, &error), OB_OK);
	assert_string_equal(sink->name, "null");
}

static void
every_built_in_one_has_this_version_of_its_contract(void **state)
{
	const struct ob_store_ops *const *stores = ob_registry_stores();
	const struct ob_sink_ops *const *sinks = ob_registry_sinks();

	(void)state;
	for (; *stores != NULL; stores++)
		assert_int_equal((*stores)->contract, OB_STORE_CONTRACT);
	for (; *sinks != NULL; sinks++)
		assert_int_equal((*sinks)->contract, OB_SINK_CONTRACT);
}

static void
an_unknown_scheme_is_answered_with_the_nearest(void **state)
{
	const struct ob_store_ops *store;
	const struct ob_sink_ops *sink;
	struct ob_error error;

	(void)state;
	assert_int_equal(ob_registry_find_store("sqlit:shop.db", &store, &error), OB_CONFIG);
	assert_non_null(strstr(error.text, "did you mean \"sqlite:\"?"));
	assert_int_equal(ob_registry_find_sink("nul:", &sink, &error), OB_CONFIG);
	assert_non_null(strstr(error.text, "did you mean \"null:\"?"));
	assert_int_equal(ob_registry_find_sink("zzzzzzz://user:secret@h", &sink, &error),
			 OB_CONFIG);
	assert_non_null(strstr(error.text, "outbox_zzzzzzz.so"));
	assert_null(strstr(error.text, "secret"));
}

static void
a_url_needs_a_scheme(void **state)
{
	static const char *const wrong[] = {"", "shop.db", ":", "./a/b", "../outbox_x.so:"};
	const struct ob_store_ops *store;
	struct ob_error error;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(ob_registry_find_store(wrong[i], &store, &error), OB_CONFIG);
}

static void
a_module_is_loaded_when_its_scheme_is_used(void **state)
{
	const struct ob_module *module, *again;
	struct ob_error error;

	(void)state;
	assert_int_equal(ob_module_load_from("/nowhere:" MODULES_GOOD, "pigeon", &module, &error),
			 OB_OK);
	assert_non_null(module);
	assert_string_equal(module->sinks[0]->name, "pigeon");
	assert_int_equal(ob_module_load_from(MODULES_GOOD, "pigeon", &again, &error), OB_OK);
	assert_ptr_equal(module, again);
}

static void
a_scheme_without_a_module_is_no_error(void **state)
{
	const struct ob_module *module;
	struct ob_error error;

	(void)state;
	assert_int_equal(ob_module_load_from(MODULES_GOOD, "raven", &module, &error), OB_OK);
	assert_null(module);
	assert_int_equal(ob_module_load_from(NULL, "pigeon", &module, &error), OB_OK);
	assert_null(module);
	/* What could name a file elsewhere is never looked for. */
	assert_int_equal(ob_module_load_from(MODULES_GOOD, "x/../pigeon", &module, &error), OB_OK);
	assert_null(module);
}

static void *
look_for_a_module(void *unused)
{
	const struct ob_module *module;

	for (int i = 0; i < 100; i++)
		assert_int_equal(ob_module_load("raven", &module, NULL), OB_OK);
	return unused;
}

/* Each subscription opens its store on a thread of its own. For the thread sanitizer. */
static void
several_threads_may_look_for_modules(void **state)
{
	pthread_t threads[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, look_for_a_module, NULL), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static void
a_module_of_another_version_is_refused(void **state)
{
	const struct ob_module *module;
	struct ob_error error;

	(void)state;
	assert_int_equal(ob_module_load_from(MODULES_OLD, "pigeon", &module, &error), OB_CONFIG);
	assert_non_null(strstr(error.text, "version 99 of the module contract"));
	assert_int_equal(ob_module_load_from(MODULES_OLD_SINK, "pigeon", &module, &error),
			 OB_CONFIG);
	assert_non_null(
	    strstr(error.text, "sink pigeon is made for version 98 of the sink contract"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(built_in_ones_are_found_by_scheme),
	    cmocka_unit_test(every_built_in_one_has_this_version_of_its_contract),
	    cmocka_unit_test(an_unknown_scheme_is_answered_with_the_nearest),
	    cmocka_unit_test(a_url_needs_a_scheme),
	    cmocka_unit_test(a_module_is_loaded_when_its_scheme_is_used),
	    cmocka_unit_test(a_scheme_without_a_module_is_no_error),
	    cmocka_unit_test(several_threads_may_look_for_modules),
	    cmocka_unit_test(a_module_of_another_version_is_refused),
	};

	return cmocka_run_group_tests_name("relay-registry", tests, NULL, NULL);
}
