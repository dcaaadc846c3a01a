/* The forms of messages: what tests/contract/http sees on the wire is not repeated here, but the edges are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "format.h"
#include "json_check.h"
#include "text.h"

static struct ob_formatted formatted;

static struct ob_message
message_of(const char *payload)
{
	return (struct ob_message){.id = ob_bytes_of_text("m1"),
				   .topic = ob_bytes_of_text("orders"),
				   .payload = ob_bytes_of_text(payload),
				   .created_at_us = INT64_C(1767225600000000)};
}

static struct ob_format_config
config_of(enum ob_format format)
{
	return (struct ob_format_config){.format = format,
					 .source = "/outbox",
					 .content_type = "application/json",
					 .prefix = "ce-",
					 .encode = true};
}

static int
setup(void **state)
{
	(void)state;
	ob_formatted_init(&formatted);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	ob_formatted_free(&formatted);
	return 0;
}

static const char *
value_of(const char *name)
{
	for (uint32_t i = 0; i < formatted.fields.count; i++) {
		const struct ob_field *field = &formatted.fields.items[i];
		const char *line = ob_fields_line(&formatted.fields, i);

		assert_int_equal(strlen(line), field->name_size + 2 + field->value_size);
		if (strncmp(line, name, field->name_size) == 0 && name[field->name_size] == '\0')
			return line + field->name_size + 2;
	}
	return NULL;
}

static void
binary_mode(void **state)
{
	struct ob_format_config config = config_of(OB_FORMAT_CLOUDEVENTS);
	struct ob_message message = message_of("{}");

	(void)state;
	assert_true(ob_format_message(&formatted, &config, &message));
	assert_string_equal(value_of("ce-type"), "orders");
	assert_string_equal(value_of("ce-topic"), "orders");
	assert_string_equal(value_of("ce-time"), "2026-01-01T00:00:00.000Z");
	assert_null(value_of("ce-subject"));
	assert_ptr_equal(formatted.body.data, message.payload.data);
	/* The example of the specification: CloudEvents HTTP binding 1.0.2, 3.1.3.2. */
	message.key = ob_bytes_of_text("Euro \xe2\x82\xac \xf0\x9f\x98\x80");
	assert_true(ob_format_message(&formatted, &config, &message));
	assert_string_equal(value_of("ce-subject"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
	assert_string_equal(value_of("ce-partitionkey"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
	message.key = (struct ob_bytes){"a\0b", 3};
	assert_true(ob_format_message(&formatted, &config, &message));
	assert_string_equal(value_of("ce-subject"), "a%00b");
	/* For a recipient that takes bytes as they are. */
	config.encode = false;
	config.prefix = "ce_";
	message.key = ob_bytes_of_text("a b");
	assert_true(ob_format_message(&formatted, &config, &message));
	assert_string_equal(value_of("ce_subject"), "a b");
}

static void
structured_to_the_byte(void **state)
{
	struct ob_format_config config = config_of(OB_FORMAT_CLOUDEVENTS_STRUCTURED);
	struct ob_message message = message_of("{ \"n\" : 1.00000000000000000001 }");

	(void)state;
	message.key = ob_bytes_of_text("7");
	message.type = ob_bytes_of_text("placed");
	assert_true(ob_format_message(&formatted, &config, &message));
	assert_int_equal(formatted.body.size, strlen(formatted.body.data));
	assert_string_equal(
	    formatted.body.data,
	    "{\"specversion\":\"1.0\",\"id\":\"m1\",\"source\":\"/outbox\",\"type\":\"placed\","
	    "\"time\":\"2026-01-01T00:00:00.000Z\",\"subject\":\"7\",\"partitionkey\":\"7\","
	    "\"topic\":\"orders\",\"datacontenttype\":\"application/json\","
	    "\"data\":{ \"n\" : 1.00000000000000000001 }}");
}

static void
data_by_its_content_type(void **state)
{
	static const struct {
		const char *type, *payload, *ends;
	} cases[] = {
	    {"application/json", "[1]", "\"data\":[1]}"},
	    {"Application/JSON; charset=utf-8", "null", "\"data\":null}"},
	    {"application/vnd.shop.order+json", "\"x\"", "\"data\":\"x\"}"},
	    {"text/json", "1e5", "\"data\":1e5}"},
	    {"application/json", "[1", "\"data_base64\":\"WzE=\"}"},
	    {"application/json", "", "\"data_base64\":\"\"}"},
	    {"text/plain", "[1", "\"data\":\"[1\"}"},
	    {"text/plain", "", "\"data\":\"\"}"},
	    {"text/plain", "\xff", "\"data_base64\":\"/w==\"}"},
	    {"application/jsonx", "[1]", "\"data\":\"[1]\"}"},
	    {"+json", "[1]", "\"data\":\"[1]\"}"},
	};
	struct ob_format_config config = config_of(OB_FORMAT_CLOUDEVENTS_STRUCTURED);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ob_message message = message_of(cases[i].payload);
		const char *body;

		message.content_type = ob_bytes_of_text(cases[i].type);
		assert_true(ob_format_message(&formatted, &config, &message));
		body = formatted.body.data;
		if (strstr(body, cases[i].ends) == NULL ||
		    strcmp(strstr(body, cases[i].ends), cases[i].ends) != 0)
			fail_msg("%s %s: %s", cases[i].type, cases[i].payload, body);
		assert_true(ob_json_is_valid(body, formatted.body.size));
	}
}

static void
a_refused_message_leaves_the_batch_whole(void **state)
{
	struct ob_format_config config = config_of(OB_FORMAT_CLOUDEVENTS);
	struct ob_message good = message_of("{}"), bad = message_of("{}");

	(void)state;
	bad.headers = ob_bytes_of_text("{\"ok\":\"1\",\"Not-Ok\":\"2\"}");
	ob_format_batch_begin(&formatted);
	assert_false(ob_format_batch_add(&formatted, &config, &bad));
	assert_string_equal(formatted.code, "bad_header");
	assert_true(ob_format_batch_add(&formatted, &config, &good));
	assert_false(ob_format_batch_add(&formatted, &config, &bad));
	assert_true(ob_format_batch_add(&formatted, &config, &good));
	assert_true(ob_format_batch_end(&formatted));
	assert_true(ob_json_is_valid(formatted.body.data, formatted.body.size));
	assert_null(strstr(formatted.body.data, "Not-Ok"));
	assert_string_equal(formatted.content_type.data, OB_FORMAT_TYPE_BATCH);
}

static void
headers_have_limits(void **state)
{
	struct ob_format_config config = config_of(OB_FORMAT_RAW);
	struct ob_message message = message_of("x");
	char headers[8192] = "{\"h0\":\"v\"";
	size_t at = strlen(headers);

	(void)state;
	for (int i = 1; i < 99; i++)
		at += (size_t)snprintf(headers + at, sizeof(headers) - at, ",\"h%d\":\"v\"", i);
	snprintf(headers + at, sizeof(headers) - at, "}");
	message.headers = ob_bytes_of_text(headers);
	assert_true(ob_format_message(&formatted, &config, &message));
	snprintf(headers + at, sizeof(headers) - at, ",\"a\":\"v\",\"b\":\"v\"}");
	message.headers = ob_bytes_of_text(headers);
	assert_false(ob_format_message(&formatted, &config, &message));
	assert_string_equal(formatted.code, "headers_too_large");
	message.headers = (struct ob_bytes){0};
	assert_true(ob_format_message(&formatted, &config, &message));
}

static void
what_is_json(void **state)
{
	static const char *const right[] = {
	    "0",
	    "-0",
	    "1.5e-10",
	    "\"\"",
	    "null",
	    "true",
	    "false",
	    "[]",
	    "{}",
	    " [ ] ",
	    "{\"a\":{\"b\":[1,2,{}]},\"a\":1}",
	    "\"\\u00e4\\n\\/\"",
	    "[[[]]]",
	    "\t\r\n1\n",
	};
	static const char *const wrong[] = {
	    "",          " ",         "01",     "1.",         ".5",   "+1",
	    "1e",        "-",         "nul",    "nullx",      "'a'",  "\"",
	    "\"\\x\"",   "\"\\u12\"", "\"\n\"", "[1,]",       "[,1]", "[1 2]",
	    "{\"a\"}",   "{\"a\":}",  "{a:1}",  "{\"a\":1,}", "{,}",  "[}",
	    "{]",        "[",         "]",      "{",          "}",    "1 2",
	    "[]]",       "[1",        "\xff",   "\"\xff\"",   "NaN",  "\xef\xbb\xbf{}",
	    "{\"a\" 1}", "\"\\",
	};
	char deep[2 * OB_JSON_DEPTH_MAX + 4];

	(void)state;
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		if (!ob_json_is_valid(right[i], strlen(right[i])))
			fail_msg("%s", right[i]);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (ob_json_is_valid(wrong[i], strlen(wrong[i])))
			fail_msg("%s", wrong[i]);
	assert_false(ob_json_is_valid("1\0", 2));
	memset(deep, '[', OB_JSON_DEPTH_MAX);
	memset(deep + OB_JSON_DEPTH_MAX, ']', OB_JSON_DEPTH_MAX);
	assert_true(ob_json_is_valid(deep, 2 * (size_t)OB_JSON_DEPTH_MAX));
	memset(deep, '[', OB_JSON_DEPTH_MAX + 1);
	memset(deep + OB_JSON_DEPTH_MAX + 1, ']', OB_JSON_DEPTH_MAX + 1);
	assert_false(ob_json_is_valid(deep, 2 * (size_t)OB_JSON_DEPTH_MAX + 2));
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(binary_mode),
	    CASE(structured_to_the_byte),
	    CASE(data_by_its_content_type),
	    CASE(a_refused_message_leaves_the_batch_whole),
	    CASE(headers_have_limits),
	    CASE(what_is_json),
	};

	return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}
