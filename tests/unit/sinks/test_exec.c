/* exec: what the end or the answer of a program means, and what it gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sink_trial.h"
#include "sinks.h"

#define BYTES(text)                    \
	{                              \
		text, sizeof(text) - 1 \
	}

static const struct ob_message plain = {
    .id = BYTES("id-1"), .topic = BYTES("t"), .payload = BYTES("p")};

static struct ob_receipt
receipt_of(const char *command, const char *const *options, const struct ob_message *message,
	   char text[128])
{
	struct trial trial;
	struct ob_receipt receipt;
	char url[512];
	static char code[64];

	snprintf(url, sizeof(url), "exec:%s", command);
	assert_int_equal(trial_open(&trial, &ob_sink_exec, url, options), OB_OK);
	receipt = trial_send(&trial, message);
	snprintf(text, 128, "%s", receipt.text == NULL ? "" : receipt.text);
	if (receipt.code != NULL) {
		snprintf(code, sizeof(code), "%s", receipt.code);
		receipt.code = code;
	}
	trial_close(&trial);
	return receipt;
}

static void
the_exit_code_is_the_receipt(void **state)
{
	static const struct {
		const char *command;
		enum ob_fate fate;
		const char *code, *text;
	} cases[] = {
	    {"cat > /dev/null", OB_FATE_SENT, NULL, ""},
	    {"exit 0", OB_FATE_SENT, NULL, ""},
	    {"echo first >&2; echo last >&2; exit 75", OB_FATE_RETRY, "exit_75", "last"},
	    {"exit 1", OB_FATE_RETRY, "exit_1", ""},
	    {"printf 'no line end' >&2; exit 65", OB_FATE_REJECT, "exit_65", "no line end"},
	    {"exit 69", OB_FATE_DOWN, "exit_69", ""},
	    {"exit 77", OB_FATE_BLOCKED, "exit_77", ""},
	    {"exit 78", OB_FATE_BLOCKED, "exit_78", ""},
	    {"/no/such/program", OB_FATE_BLOCKED, "exit_127", NULL},
	    {"/dev/null", OB_FATE_BLOCKED, "exit_126", NULL},
	    {"kill -9 $$", OB_FATE_UNKNOWN, "exec_signal", "ended by signal 9"},
	    {"printf 'esc \\033[31m\\377' >&2; exit 1", OB_FATE_RETRY, "exit_1", "esc ?[31m?"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[128];
		struct ob_receipt receipt = receipt_of(cases[i].command, NULL, &plain, text);

		assert_int_equal(receipt.fate, cases[i].fate);
		if (cases[i].code == NULL)
			assert_null(receipt.code);
		else
			assert_string_equal(receipt.code, cases[i].code);
		if (cases[i].text != NULL)
			assert_string_equal(text, cases[i].text);
	}
}

static void
the_message_is_in_the_environment(void **state)
{
	const struct ob_message full = {
	    .id = BYTES("id-1"),
	    .topic = BYTES("orders; touch x"),
	    .key = BYTES("$(touch x)"),
	    .type = BYTES("placed"),
	    .content_type = BYTES("text/plain"),
	    .headers = BYTES("{\"a\":\"b\"}"),
	};
	char text[128];

	(void)state;
	/* One from outside must not pose as the message's. */
	setenv("OUTBOX_TYPE", "from outside", 1);
	assert_int_equal(
	    receipt_of(
		"test \"$OUTBOX_ID|$OUTBOX_TOPIC|$OUTBOX_KEY|$OUTBOX_TYPE|$OUTBOX_CONTENT_TYPE|"
		"$OUTBOX_HEADERS|$OUTBOX_ATTEMPT|$OUTBOX_SUBSCRIPTION|$OUTBOX_TOMBSTONE|"
		"$OUTBOX_CREATED_AT\" = 'id-1|orders; touch x|$(touch x)|placed|text/plain|"
		"{\"a\":\"b\"}|3|trial|1|1970-01-01T00:00:00.000Z'",
		NULL, &full, text)
		.fate,
	    OB_FATE_SENT);
	assert_int_equal(
	    receipt_of("test -z \"${OUTBOX_TYPE+set}${OUTBOX_KEY+set}${OUTBOX_TOMBSTONE+set}\" "
		       "&& test \"$(cat)\" = p",
		       NULL, &plain, text)
		.fate,
	    OB_FATE_SENT);
	assert_int_not_equal(access("x", F_OK), 0);
	unsetenv("OUTBOX_TYPE");
}

static void
what_no_environment_can_hold_is_rejected(void **state)
{
	static char large[3 * 1024 * 1024];
	struct ob_message message = plain;
	struct ob_receipt receipt;
	char text[128];

	(void)state;
	message.key = (struct ob_bytes)BYTES("a\0b");
	receipt = receipt_of("exit 0", NULL, &message, text);
	assert_int_equal(receipt.fate, OB_FATE_REJECT);
	assert_string_equal(receipt.code, "exec_nul");
	memset(large, 'x', sizeof(large));
	for (size_t size = 200000; size <= sizeof(large); size *= 4) {
		message.key = (struct ob_bytes){large, size};
		receipt = receipt_of("exit 0", NULL, &message, text);
		assert_int_equal(receipt.fate, OB_FATE_REJECT);
		assert_string_equal(receipt.code, "exec_too_long");
	}
}

static void
a_program_past_its_time_is_ended(void **state)
{
	const char *const options[] = {"request-timeout=200ms", NULL};
	struct ob_receipt receipt;
	char text[128];

	(void)state;
	receipt = receipt_of("sleep 60", options, &plain, text);
	assert_int_equal(receipt.fate, OB_FATE_UNKNOWN);
	assert_string_equal(receipt.code, "exec_timeout");
	/* One that does not heed SIGTERM gets SIGKILL. */
	receipt = receipt_of("trap '' TERM; while :; do sleep 1; done", options, &plain, text);
	assert_int_equal(receipt.fate, OB_FATE_UNKNOWN);
	assert_string_equal(receipt.code, "exec_timeout");
	/* One that ends well after all has taken it. */
	receipt = receipt_of("trap 'exit 0' TERM; sleep 60 & wait", options, &plain, text);
	assert_int_equal(receipt.fate, OB_FATE_SENT);
}

static void
an_answered_line_is_the_receipt(void **state)
{
	static const struct {
		const char *command;
		enum ob_fate fate;
		const char *code, *text;
	} cases[] = {
	    {"read l; echo ok; cat > /dev/null", OB_FATE_SENT, NULL, ""},
	    {"read l; printf 'sent\\r\\n'; cat > /dev/null", OB_FATE_SENT, NULL, ""},
	    {"read l; echo retry it is slow; cat", OB_FATE_RETRY, "exec_answer", "it is slow"},
	    {"read l; echo reject; cat", OB_FATE_REJECT, "exec_answer", ""},
	    {"read l; echo '{\"id\":\"id-1\",\"fate\":\"blocked\",\"code\":\"no_right\",\"text\":\"ask\"}'; cat",
	     OB_FATE_BLOCKED, "no_right", "ask"},
	    {"read l; echo '{\"id\":\"id-2\",\"fate\":\"sent\"}'; cat", OB_FATE_UNKNOWN,
	     "exec_protocol", NULL},
	    {"read l; echo '{\"fate\":\"maybe\"}'; cat", OB_FATE_UNKNOWN, "exec_protocol", NULL},
	    {"read l; echo what; cat", OB_FATE_UNKNOWN, "exec_protocol", NULL},
	    {"read l; echo ok; echo ok; sleep 60", OB_FATE_SENT, NULL, ""},
	    {"read l; yes | tr -d '\\n'", OB_FATE_UNKNOWN, "exec_protocol", NULL},
	    {"read l; echo dying >&2; exit 3", OB_FATE_DOWN, "exec_ended", "dying"},
	    {"exit 3", OB_FATE_DOWN, "exec_ended", "the program ended with exit code 3"},
	    {"/no/such/program", OB_FATE_BLOCKED, "exec_ended", NULL},
	    {"read l; echo ok; exit 0", OB_FATE_SENT, NULL, ""},
	};
	const char *const options[] = {"mode=lines", NULL};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[128];
		struct ob_receipt receipt = receipt_of(cases[i].command, options, &plain, text);

		print_message("# %s\n", cases[i].command);
		assert_int_equal(receipt.fate, cases[i].fate);
		if (cases[i].code == NULL)
			assert_null(receipt.code);
		else
			assert_string_equal(receipt.code, cases[i].code);
		if (cases[i].text != NULL)
			assert_string_equal(text, cases[i].text);
	}
}

/* A program that ends after each message is started again for the next one. */
static void
a_program_that_ends_is_started_again(void **state)
{
	const char *const options[] = {"mode=lines", NULL};
	struct trial trial;

	(void)state;
	assert_int_equal(trial_open(&trial, &ob_sink_exec, "exec:read l; echo ok", options), OB_OK);
	for (int sent = 0, i = 0; sent < 5; i++) {
		assert_true(i < 50);
		sent += trial_send(&trial, &plain).fate == OB_FATE_SENT;
	}
	trial_close(&trial);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_exit_code_is_the_receipt),
	    cmocka_unit_test(the_message_is_in_the_environment),
	    cmocka_unit_test(what_no_environment_can_hold_is_rejected),
	    cmocka_unit_test(a_program_past_its_time_is_ended),
	    cmocka_unit_test(an_answered_line_is_the_receipt),
	    cmocka_unit_test(a_program_that_ends_is_started_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
