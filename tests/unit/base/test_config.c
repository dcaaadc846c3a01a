/* Options by their tables, URLs, and files that hold secrets. */
#include "cm.h"

#include "file.h"
#include "options.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct values {
	bool verify;
	int64_t count, size, timeout_ms;
	char *source, *secret;
	int format;
	struct ob_strings topics;
};

static const char *const formats[] = {"cloudevents", "raw", NULL};
#define FIELD(name) offsetof(struct values, name)
static const struct ob_option table[] = {
    {"verify", OB_OPTION_BOOL, "true", "Checks.", FIELD(verify), 0, 0, NULL, 0},
    {"count", OB_OPTION_INT, "3", "How many.", FIELD(count), 1, 10, NULL, 0},
    {"size", OB_OPTION_SIZE, "16MiB", "How large.", FIELD(size), 0, 0, NULL, 0},
    {"request-timeout", OB_OPTION_DURATION, "15s", "How long.", FIELD(timeout_ms), 1, 600000, NULL,
     0},
    {"source", OB_OPTION_STRING, "/outbox", "Whence.", FIELD(source), 0, 0, NULL, 0},
    {"secret", OB_OPTION_STRING, NULL, "Hidden.", FIELD(secret), 0, 0, NULL, OB_OPTION_REDACT},
    {"format", OB_OPTION_ENUM, "raw", "Form.", FIELD(format), 0, 0, formats, 0},
    {"topic", OB_OPTION_LIST, "a,b", "Which.", FIELD(topics), 0, 0, NULL, 0},
    {.type = OB_OPTION_END},
};

static struct values values;
static struct ob_options options;
static struct ob_error error;

static int
setup(void **state)
{
	(void)state;
	error = (struct ob_error){0};
	return ob_options_begin(&options, "sink http", table, &values, &error);
}

static int
teardown(void **state)
{
	(void)state;
	ob_options_free(table, &values);
	ob_options_free(table, &values);
	return 0;
}

static void
sets(const char *pair)
{
	if (ob_options_set_pair(&options, pair, &error) != OB_OK)
		fail_msg("%s: %s", pair, error.text);
}

static void
refuses(const char *pair, const char *text)
{
	error = (struct ob_error){0};
	assert_int_equal(ob_options_set_pair(&options, pair, &error), OB_CONFIG);
	assert_string_equal(error.text, text);
}

static void
defaults_are_set(void **state)
{
	(void)state;
	assert_true(values.verify);
	assert_int_equal(values.count, 3);
	assert_int_equal(values.size, 16 << 20);
	assert_int_equal(values.timeout_ms, 15000);
	assert_string_equal(values.source, "/outbox");
	assert_null(values.secret);
	assert_int_equal(values.format, 1);
	assert_int_equal(values.topics.count, 2);
	assert_false(ob_options_given(&options, "count"));
}

static void
values_are_read_by_type(void **state)
{
	(void)state;
	sets("verify=off");
	sets("count=10");
	sets("size=64KiB");
	sets("request-timeout=2m");
	sets("source=a=b c");
	sets("format=cloudevents");
	sets("topic=x, y");
	sets("topic=z");
	assert_false(values.verify);
	assert_int_equal(values.count, 10);
	assert_int_equal(values.size, 65536);
	assert_int_equal(values.timeout_ms, 120000);
	assert_string_equal(values.source, "a=b c");
	assert_int_equal(values.format, 0);
	assert_int_equal(values.topics.count, 3);
	assert_string_equal(values.topics.items[1], "y");
	assert_true(ob_options_given(&options, "count"));
	sets("verify");
	assert_true(values.verify);
	sets("size=1");
	assert_int_equal(values.size, 1);
}

static void
wrong_values_get_one_clear_line(void **state)
{
	(void)state;
	refuses("cuont=1", "sink http: there is no option \"cuont\"; did you mean \"count\"?");
	refuses("zzz=1", "sink http: there is no option \"zzz\"");
	refuses("count=11", "sink http: count: 11 is out of range; allowed is 1 to 10");
	refuses("count=ten", "sink http: count: \"ten\" is not a whole number");
	refuses("size=16MB",
		"sink http: size: \"16MB\" is not a size such as 512, 64KiB, 16MiB or 1GiB");
	refuses(
	    "request-timeout=5",
	    "sink http: request-timeout: \"5\" is not a duration such as 500ms, 10s, 5m, 24h or 7d");
	refuses("request-timeout=1h",
		"sink http: request-timeout: 1h is out of range; allowed is 1ms to 10m");
	refuses("verify=maybe", "sink http: verify: \"maybe\" is not true or false");
	refuses("format=xml", "sink http: format: \"xml\" is not one of cloudevents, raw");
	refuses("topic=a,,b", "sink http: topic: an empty item in the list");
	refuses("count", "sink http: count needs a value: write count=VALUE");
	refuses("=x", "sink http: an option is written NAME=VALUE");
	refuses("source=\xff", "sink http: source: not valid UTF-8");
	refuses("secret=\xff", "sink http: secret: the value is not right (it is not shown)");
	refuses(
	    "size=99999999999GiB",
	    "sink http: size: \"99999999999GiB\" is not a size such as 512, 64KiB, 16MiB or 1GiB");
	assert_int_equal(values.count, 3);
}

static void
what_is_required_must_be_given(void **state)
{
	static const struct ob_option required[] = {
	    {"source", OB_OPTION_STRING, NULL, "Whence they come.", FIELD(source), 0, 0, NULL,
	     OB_OPTION_REQUIRED},
	    {.type = OB_OPTION_END},
	};
	struct values mine = {0};

	(void)state;
	assert_int_equal(ob_options_begin(&options, "x", required, &mine, &error), OB_OK);
	assert_int_equal(ob_options_finish(&options, &error), OB_CONFIG);
	assert_string_equal(error.text, "x: the option \"source\" is missing: Whence they come.");
	sets("source=a");
	assert_int_equal(ob_options_finish(&options, &error), OB_OK);
	ob_options_free(required, &mine);
}

static void
values_are_shown_as_written_and_secrets_are_not(void **state)
{
	static const char *const shown[] = {"true",    "3",        "16MiB", "15s",
					    "/outbox", "(hidden)", "raw",   "a,b"};
	struct ob_buf buf;

	(void)state;
	sets("secret=hush");
	ob_buf_init(&buf, 1000);
	for (size_t i = 0; table[i].type != OB_OPTION_END; i++) {
		ob_buf_reset(&buf);
		assert_true(ob_option_show(&table[i], &values, &buf));
		assert_string_equal(ob_buf_text(&buf), shown[i]);
	}
	ob_buf_free(&buf);
}

static void
urls_are_taken_apart(void **state)
{
	struct ob_url url;

	(void)state;
	assert_int_equal(
	    ob_url_parse(&url, "HTTPS://us%40er:p%3ass@h.example:8443/a%20b?x=1&y=%26&z", &error),
	    OB_OK);
	assert_string_equal(url.scheme, "https");
	assert_string_equal(url.user, "us@er");
	assert_string_equal(url.password, "p:ss");
	assert_string_equal(url.host, "h.example");
	assert_int_equal(url.port, 8443);
	assert_string_equal(url.path, "/a b");
	assert_string_equal(ob_url_query(&url, "y"), "&");
	assert_string_equal(ob_url_query(&url, "z"), "");
	assert_null(ob_url_query(&url, "w"));
	ob_url_free(&url);
	assert_int_equal(ob_url_parse(&url, "http://[::1]:80", &error), OB_OK);
	assert_string_equal(url.host, "::1");
	assert_int_equal(url.port, 80);
	assert_string_equal(url.path, "");
	assert_null(url.user);
	ob_url_free(&url);
	assert_int_equal(ob_url_parse(&url, "sqlite:/srv/a%20?#b.db", &error), OB_OK);
	assert_string_equal(url.rest, "/srv/a%20?#b.db");
	assert_null(url.host);
	assert_null(url.path);
	ob_url_free(&url);
	ob_url_free(&url);
}

static void
wrong_urls_are_refused_without_showing_them(void **state)
{
	static const char *const wrong[] = {"",
					    "shop.db",
					    "://x",
					    "1a:b",
					    "http://h:0/",
					    "http://h:65536/",
					    "http://h:x/",
					    "http://[::1/",
					    "http://[::1]x/",
					    "http://[zz]/",
					    "http://h/%zz",
					    "http://h/%00",
					    "http://a b/",
					    "http://h/#f",
					    "http://u:hush/more@h/",
					    "http://h/?=1",
					    "http://h/\n",
					    "http://h%2fx/"};
	struct ob_url url;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		error = (struct ob_error){0};
		assert_int_equal(ob_url_parse(&url, wrong[i], &error), OB_CONFIG);
		assert_memory_equal(error.text, "URL: ", 5);
		assert_null(strstr(error.text, "hush"));
		assert_null(url.memory);
	}
}

static void
urls_are_shown_without_their_secrets(void **state)
{
	static const char *const pairs[][2] = {
	    {"postgresql://app:hush@db1:5432/shop", "postgresql://app:***@db1:5432/shop"},
	    {"postgres://app:hu/s?h@db1/shop", "postgres://app:***@db1/shop"},
	    {"http://h/x?format=raw&API_Token=hush&a=b", "http://h/x?format=raw&API_Token=***&a=b"},
	    {"http://h:80/x?mail=a@b&password=hush", "http://h:***@b&password=***"},
	    {"http://h/x?p%61ss=hush", "http://h/x?p%61ss=***"},
	    {"https://h.example:8443/in", "https://h.example:8443/in"},
	    {"https://hush@h.example/in", "https://***@h.example/in"},
	    {"HTTPS://hush:@h.example", "HTTPS://***@h.example"},
	    {"http://app:@hu/sh@h.example", "http://***@h.example"},
	    {"http://me@corp.com:hu/sh@h.example/x", "http://***@h.example/x"},
	    {"http://hush:@h.example/x?to=a@b", "http://***@b"},
	    {"http://hush@h.example/x?to=a@b", "http://***@h.example/x?to=a@b"},
	    {"https://h.example/@in?token=hush", "https://h.example/@in?token=***"},
	    {"postgresql://app@db1/shop", "postgresql://app@db1/shop"},
	    {"sqlite:/srv/shop.db", "sqlite:/srv/shop.db"},
	    {"null:\n\x1b", "null:??"},
	};
	struct ob_buf buf;

	(void)state;
	ob_buf_init(&buf, 1000);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		ob_buf_reset(&buf);
		assert_true(ob_url_redact(&buf, pairs[i][0]));
		assert_string_equal(ob_buf_text(&buf), pairs[i][1]);
	}
	ob_buf_free(&buf);
}

static void
secrets_are_read_from_private_files(void **state)
{
	char path[] = "/tmp/outbox-test-XXXXXX";
	int fd = mkstemp(path);
	struct ob_buf buf;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "whsec_abc\r\n", 11), 11);
	ob_buf_init(&buf, 100);
	assert_int_equal(ob_file_read_secret(path, &buf, &error), OB_OK);
	assert_string_equal(ob_buf_text(&buf), "whsec_abc");
	ob_buf_reset(&buf);
	assert_int_equal(ob_file_read(path, &buf, &error), OB_OK);
	assert_int_equal(buf.size, 11);
	buf.limit = 15;
	assert_int_equal(ob_file_read(path, &buf, &error), OB_LIMIT);
	assert_int_equal(fchmod(fd, 0644), 0);
	ob_buf_reset(&buf);
	assert_int_equal(ob_file_read_secret(path, &buf, &error), OB_CONFIG);
	assert_non_null(strstr(error.text, "chmod 600"));
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(fchmod(fd, 0640), 0);
	assert_int_equal(ob_file_read_secret(path, &buf, &error), OB_CONFIG);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ob_file_read_secret(path, &buf, &error), OB_NOT_FOUND);
	assert_int_equal(ob_file_read("/tmp", &buf, &error), OB_CONFIG);
	close(fd);
	ob_buf_wipe(&buf);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(defaults_are_set, setup, teardown),
    cmocka_unit_test_setup_teardown(values_are_read_by_type, setup, teardown),
    cmocka_unit_test_setup_teardown(wrong_values_get_one_clear_line, setup, teardown),
    cmocka_unit_test(what_is_required_must_be_given),
    cmocka_unit_test_setup_teardown(values_are_shown_as_written_and_secrets_are_not, setup,
				    teardown),
    cmocka_unit_test(urls_are_taken_apart),
    cmocka_unit_test(wrong_urls_are_refused_without_showing_them),
    cmocka_unit_test(urls_are_shown_without_their_secrets),
    cmocka_unit_test(secrets_are_read_from_private_files),
};

CM_MAIN(tests)
