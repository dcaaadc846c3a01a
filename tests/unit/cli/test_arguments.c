#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "arguments.h"

struct plain {
	bool json, loud;
	int64_t limit;
	char *topic;
	struct ob_strings items, sink_options;
};

struct more {
	int64_t lease_ms;
};

static const struct ob_option plain_table[] = {
    {.name = "json", .type = OB_OPTION_BOOL, .help = "", .field = offsetof(struct plain, json)},
    {.name = "loud",
     .type = OB_OPTION_BOOL,
     .default_text = "true",
     .help = "",
     .field = offsetof(struct plain, loud)},
    {.name = "limit",
     .type = OB_OPTION_INT,
     .default_text = "7",
     .max = 100,
     .help = "",
     .field = offsetof(struct plain, limit)},
    {.name = "topic", .type = OB_OPTION_STRING, .help = "", .field = offsetof(struct plain, topic)},
    {.name = "items", .type = OB_OPTION_LIST, .help = "", .field = offsetof(struct plain, items)},
    {.name = "sink-option",
     .type = OB_OPTION_LIST,
     .help = "",
     .field = offsetof(struct plain, sink_options)},
    {0},
};

static const struct ob_option more_table[] = {
    {.name = "lease",
     .type = OB_OPTION_DURATION,
     .default_text = "10s",
     .help = "",
     .field = offsetof(struct more, lease_ms)},
    {0},
};

static const struct ob_command command = {
    .name = "try",
    .usage = "ONE [TWO]",
    .arguments_min = 1,
    .arguments_max = 2,
    .options = plain_table,
    .options_size = sizeof(struct plain),
    .more = more_table,
    .more_size = sizeof(struct more),
};

/* Reads a command line; the words end with NULL. */
static int
read_words(struct ob_arguments *arguments, const char *const *words, struct ob_error *error)
{
	static char copies[16][64];
	static char *argv[16];
	int argc = 0;

	for (; words[argc] != NULL; argc++) {
		assert_true(strlen(words[argc]) < sizeof(copies[0]));
		memcpy(copies[argc], words[argc], strlen(words[argc]) + 1);
		argv[argc] = copies[argc];
	}
	return ob_arguments_read(arguments, &command, argc, argv, error);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
test_reads_options_in_all_their_forms(void **state)
{
	struct ob_arguments arguments;
	const struct plain *plain;

	(void)state;
	assert_int_equal(
	    read_words(&arguments,
		       WORDS("db", "--json", "--limit=9", "--topic", "a,b", "--no-loud", "--items",
			     "x,y", "--items=z", "--lease", "3s", "more"),
		       NULL),
	    OB_OK);
	plain = arguments.options;
	assert_true(plain->json);
	assert_false(plain->loud);
	assert_int_equal(plain->limit, 9);
	assert_string_equal(plain->topic, "a,b");
	assert_int_equal(plain->items.count, 3);
	assert_int_equal(((const struct more *)arguments.more)->lease_ms, 3000);
	assert_int_equal(arguments.rest_count, 2);
	assert_string_equal(arguments.rest[1], "more");
	ob_arguments_free(&arguments);
}

static void
test_what_is_not_given_has_its_default(void **state)
{
	struct ob_arguments arguments;
	const struct plain *plain;

	(void)state;
	assert_int_equal(read_words(&arguments, WORDS("db"), NULL), OB_OK);
	plain = arguments.options;
	assert_true(plain->loud);
	assert_int_equal(plain->limit, 7);
	assert_null(plain->topic);
	assert_int_equal(((const struct more *)arguments.more)->lease_ms, 10000);
	ob_arguments_free(&arguments);
}

static void
test_the_commas_of_a_pair_belong_to_its_value(void **state)
{
	struct ob_arguments arguments;
	const struct plain *plain;

	(void)state;
	assert_int_equal(
	    read_words(&arguments,
		       WORDS("db", "--sink-option", "header=Accept: a, b", "--sink-option=x=1,2"),
		       NULL),
	    OB_OK);
	plain = arguments.options;
	assert_int_equal(plain->sink_options.count, 2);
	assert_string_equal(plain->sink_options.items[0], "header=Accept: a, b");
	assert_string_equal(plain->sink_options.items[1], "x=1,2");
	ob_arguments_free(&arguments);
}

static void
test_after_two_hyphens_nothing_is_an_option(void **state)
{
	struct ob_arguments arguments;

	(void)state;
	assert_int_equal(read_words(&arguments, WORDS("--json", "--", "--json", "-"), NULL), OB_OK);
	assert_int_equal(arguments.rest_count, 2);
	assert_string_equal(arguments.rest[0], "--json");
	ob_arguments_free(&arguments);
}

static void
test_help_needs_nothing_else(void **state)
{
	struct ob_arguments arguments;

	(void)state;
	assert_int_equal(read_words(&arguments, WORDS("--help"), NULL), OB_OK);
	assert_true(arguments.help);
	ob_arguments_free(&arguments);
}

static void
test_refuses_with_one_clear_line(void **state)
{
	static const struct {
		const char *words[4];
		const char *says;
	} refusals[] = {
	    {{"db", "--limt", "3"}, "there is no option \"--limt\"; did you mean \"--limit\"?"},
	    {{"db", "--leese=3s"}, "there is no option \"--leese\"; did you mean \"--lease\"?"},
	    {{"db", "--zzzzzzzzz"}, "there is no option \"--zzzzzzzzz\"; see --help"},
	    {{"db", "--no-topic"}, "there is no option"},
	    {{"db", "--limit"}, "--limit needs a value"},
	    {{"db", "--limit", "many"}, "--limit: \"many\" is not"},
	    {{"db", "--limit=101"}, "--limit: 101 is out of range"},
	    {{"db", "--json=perhaps"}, "--json: \"perhaps\" is not"},
	    {{"db", "-j"}, "options have two hyphens"},
	    {{"db", "--=x"}, "there is no option"},
	    {{"--json"}, "something is missing; it is written: outbox try ONE [TWO]"},
	    {{"a", "b", "c"}, "\"c\" is too much"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct ob_arguments arguments;
		struct ob_error error = {0};

		assert_int_equal(read_words(&arguments, refusals[i].words, &error), OB_USAGE);
		if (strstr(error.text, refusals[i].says) == NULL)
			fail_msg("%s: %s", refusals[i].says, error.text);
		ob_arguments_free(&arguments);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reads_options_in_all_their_forms),
	    cmocka_unit_test(test_what_is_not_given_has_its_default),
	    cmocka_unit_test(test_the_commas_of_a_pair_belong_to_its_value),
	    cmocka_unit_test(test_after_two_hyphens_nothing_is_an_option),
	    cmocka_unit_test(test_help_needs_nothing_else),
	    cmocka_unit_test(test_refuses_with_one_clear_line),
	};

	return cmocka_run_group_tests_name("arguments", tests, NULL, NULL);
}
