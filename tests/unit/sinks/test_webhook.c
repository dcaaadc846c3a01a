/* Signatures of Standard Webhooks: vectors, and everything that must not pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <outbox/webhook.h>

#include "text.h"
#include "webhook.h"

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define OTHER  "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define ID     "msg_p5jXN8AQM9LWM0D4loKWxJek"
#define TIME   1614265330
#define BODY   "{\"test\": 2432232314}"
#define RIGHT  "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
#define WRONG  "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
/* RFC 8032, 7.1, test 1. */
#define ED_SEED "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
#define ED_PAIR \
	"whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg=="
#define ED_PUBLIC "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

static struct ob_webhook_request
request_of(const char *signature)
{
	return (struct ob_webhook_request){.id = ob_bytes_of_text(ID),
					   .timestamp = ob_bytes_of_text("1614265330"),
					   .signature = ob_bytes_of_text(signature),
					   .body = ob_bytes_of_text(BODY)};
}

static int
verify(const char *secret, const struct ob_webhook_request *request, int64_t now_s,
       struct ob_error *error)
{
	return ob_webhook_verify(&secret, 1, request, now_s, OB_WEBHOOK_TOLERANCE_S, error);
}

static void
refused(const struct ob_webhook_request *request, int64_t now_s, const char *why)
{
	struct ob_error error = {0};

	assert_int_equal(verify(SECRET, request, now_s, &error), OB_INVALID);
	if (strstr(error.text, why) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", error.text, why);
}

/* The vector of the libraries that Standard Webhooks grew out of. */
static void
a_known_signature_is_made_and_passes(void **state)
{
	struct ob_webhook_request request = request_of(RIGHT);
	struct ob_webhook_keys keys;
	struct ob_buf made;

	(void)state;
	assert_int_equal(verify(SECRET, &request, TIME, NULL), OB_OK);
	ob_webhook_keys_init(&keys);
	ob_buf_init(&made, 1000);
	assert_int_equal(ob_webhook_keys_add(&keys, SECRET, NULL), OB_OK);
	/* Twice: a key is used again and again. */
	for (int i = 0; i < 2; i++) {
		ob_buf_reset(&made);
		assert_true(
		    ob_webhook_sign(&keys, request.id, request.timestamp, request.body, &made));
		assert_string_equal(ob_buf_text(&made), RIGHT);
	}
	ob_webhook_keys_free(&keys);
	ob_buf_free(&made);
}

static void
one_of_several_signatures_is_enough(void **state)
{
	const char *secrets[] = {OTHER, SECRET};
	struct ob_webhook_request request = request_of(WRONG " v2,what v1, v1,zz " RIGHT);

	(void)state;
	assert_int_equal(verify(SECRET, &request, TIME, NULL), OB_OK);
	request = request_of(RIGHT);
	assert_int_equal(
	    ob_webhook_verify(secrets, 2, &request, TIME, OB_WEBHOOK_TOLERANCE_S, NULL), OB_OK);
	assert_int_equal(verify(OTHER, &request, TIME, NULL), OB_INVALID);
	assert_int_equal(ob_webhook_verify(secrets, 0, &request, TIME, 300, NULL), OB_INVALID);
}

static void
what_was_changed_does_not_pass(void **state)
{
	struct ob_webhook_request request;

	(void)state;
	for (size_t i = 0; i < strlen(BODY); i++) {
		char body[] = BODY;

		body[i] ^= 1;
		request = request_of(RIGHT);
		request.body = ob_bytes_of_text(body);
		refused(&request, TIME, "no signature");
	}
	request = request_of(RIGHT);
	request.body.size--;
	refused(&request, TIME, "no signature");
	request = request_of(RIGHT);
	request.timestamp = ob_bytes_of_text("1614265331");
	refused(&request, TIME, "no signature");
	request = request_of(RIGHT);
	request.id = ob_bytes_of_text("msg_p5jXN8AQM9LWM0D4loKWxJel");
	refused(&request, TIME, "no signature");
	request = request_of("v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
	refused(&request, TIME, "no signature");
	request = request_of("g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
	refused(&request, TIME, "no signature");
	/* The same bytes in another spelling of base64. */
	request = request_of("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF=");
	refused(&request, TIME, "no signature");
	refused(&(struct ob_webhook_request){0}, TIME, "webhook-id is missing");
}

/* Moving a '.' moves bytes between id and body: that is why no id may hold one. */
static void
an_id_with_a_dot_does_not_pass(void **state)
{
	struct ob_webhook_request request = request_of(RIGHT);

	(void)state;
	request.id = ob_bytes_of_text("a.b");
	refused(&request, TIME, "'.'");
	assert_non_null(ob_webhook_id_problem(ob_bytes_of_text("a.b")));
	assert_non_null(ob_webhook_id_problem(ob_bytes_of_text("a b")));
	assert_non_null(ob_webhook_id_problem(ob_bytes_of_text("a\n")));
	assert_non_null(ob_webhook_id_problem(ob_bytes_of_text("\xc3\xa4")));
	assert_non_null(ob_webhook_id_problem(ob_bytes_of_text("")));
	assert_null(ob_webhook_id_problem(ob_bytes_of_text("018f-Az_9~")));
}

static void
old_and_early_ones_do_not_pass(void **state)
{
	struct ob_webhook_request request = request_of(RIGHT);
	static const char *const bad[] = {"",  "-1614265330",         "1614265330.0", " 1614265330",
					  "x", "99999999999999999999"};

	(void)state;
	assert_int_equal(verify(SECRET, &request, TIME + 300, NULL), OB_OK);
	assert_int_equal(verify(SECRET, &request, TIME - 300, NULL), OB_OK);
	refused(&request, TIME + 301, "too old");
	refused(&request, TIME - 301, "future");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		request.timestamp = ob_bytes_of_text(bad[i]);
		refused(&request, TIME, "webhook-timestamp");
	}
}

static void
what_is_missing_is_named(void **state)
{
	struct ob_webhook_request request = request_of(RIGHT);

	(void)state;
	request.id = (struct ob_bytes){0};
	refused(&request, TIME, "webhook-id is missing");
	request = request_of(RIGHT);
	request.timestamp = (struct ob_bytes){0};
	refused(&request, TIME, "webhook-timestamp is missing");
	request = request_of(RIGHT);
	request.signature = (struct ob_bytes){0};
	refused(&request, TIME, "webhook-signature is missing");
}

static void
ed25519_signs_and_checks(void **state)
{
	struct ob_webhook_request request = request_of("");
	struct ob_webhook_keys keys;
	struct ob_buf made;

	(void)state;
	ob_webhook_keys_init(&keys);
	ob_buf_init(&made, 1000);
	assert_int_equal(ob_webhook_keys_add(&keys, SECRET, NULL), OB_OK);
	assert_int_equal(ob_webhook_keys_add(&keys, ED_SEED, NULL), OB_OK);
	assert_int_equal(ob_webhook_keys_add(&keys, ED_PUBLIC, NULL), OB_OK);
	assert_true(ob_webhook_sign(&keys, request.id, request.timestamp, request.body, &made));
	/* A public key signs nothing, so there are two. */
	assert_memory_equal(made.data, RIGHT " v1a,", strlen(RIGHT) + 5);
	assert_null(strchr(made.data + strlen(RIGHT) + 1, ' '));
	request.signature = (struct ob_bytes){made.data, made.size};
	assert_int_equal(verify(ED_PUBLIC, &request, TIME, NULL), OB_OK);
	assert_int_equal(verify(ED_SEED, &request, TIME, NULL), OB_OK);
	assert_int_equal(verify(ED_PAIR, &request, TIME, NULL), OB_OK);
	assert_int_equal(verify(SECRET, &request, TIME, NULL), OB_OK);
	request.body = ob_bytes_of_text("{}");
	assert_int_equal(verify(ED_PUBLIC, &request, TIME, NULL), OB_INVALID);
	ob_webhook_keys_free(&keys);
	ob_buf_free(&made);
}

/* Made by `openssl pkeyutl -sign -rawin` of 3.0 with the same seed. */
static void
ed25519_signs_as_openssl_does(void **state)
{
	static const char made[] =
	    "v1a,ye5GQkdPF9K89lM4xWHk0Kz1xuXwfd1th/iEmlAsK9RvqPjiy5SfDvrGWA4V85IAWCwJbNv2DW7IDo2/PScXCQ==";
	struct ob_webhook_request request = {.id = ob_bytes_of_text("msg_1"),
					     .timestamp = ob_bytes_of_text("1614265330"),
					     .signature = ob_bytes_of_text(made),
					     .body = ob_bytes_of_text("{\"a\":1}")};

	(void)state;
	assert_int_equal(verify(ED_PUBLIC, &request, TIME, NULL), OB_OK);
}

static void
what_is_no_secret_is_refused_and_not_repeated(void **state)
{
	static const char *const bad[] = {
	    "",
	    "hunter2hunter2hunter2hunter2hunter2",
	    "whsec_",
	    "whsec_hunter2!",
	    "whsec_aHVudGVyMg==", /* 7 bytes */
	    "whsk_aHVudGVyMg==",
	    "whpk_aHVudGVyMg==",
	    "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
	};
	struct ob_webhook_request request = request_of(RIGHT);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ob_error error = {0};

		assert_int_equal(verify(bad[i], &request, TIME, &error), OB_CONFIG);
		assert_null(strstr(error.text, "hunter2"));
		assert_null(strstr(error.text, "aHVudGVyMg"));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_known_signature_is_made_and_passes),
	    cmocka_unit_test(one_of_several_signatures_is_enough),
	    cmocka_unit_test(what_was_changed_does_not_pass),
	    cmocka_unit_test(an_id_with_a_dot_does_not_pass),
	    cmocka_unit_test(old_and_early_ones_do_not_pass),
	    cmocka_unit_test(what_is_missing_is_named),
	    cmocka_unit_test(ed25519_signs_and_checks),
	    cmocka_unit_test(ed25519_signs_as_openssl_does),
	    cmocka_unit_test(what_is_no_secret_is_refused_and_not_repeated),
	};

	return cmocka_run_group_tests_name("webhook", tests, NULL, NULL);
}
