/* The check of a webhook's signature: nothing that was not signed passes, and one that was does beside any other. */
#include "fuzz.h"

#include <outbox/webhook.h>

#include "text.h"

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define RIGHT  "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
#define NOW_S  1614265330

int
ob_fuzz(const uint8_t *data, size_t size)
{
	const char *secrets[] = {SECRET};
	struct ob_webhook_request request = {
	    .id = ob_bytes_of_text("msg_p5jXN8AQM9LWM0D4loKWxJek"),
	    .timestamp = ob_bytes_of_text("1614265330"),
	    .signature = {data, size},
	    .body = ob_bytes_of_text("{\"test\": 2432232314}"),
	};
	char *text = fuzz_text(data, size), *list;
	const char *secret = text;

	/* Any secret, and any of the headers. */
	ob_webhook_verify(&secret, 1, &request, NOW_S, 300, NULL);
	if (memmem(data, size, RIGHT, sizeof(RIGHT) - 1) == NULL)
		FUZZ_CHECK(ob_webhook_verify(secrets, 1, &request, NOW_S, 300, NULL) != OB_OK);
	request.timestamp = (struct ob_bytes){data, size};
	ob_webhook_verify(secrets, 1, &request, NOW_S, 300, NULL);
	request.id = (struct ob_bytes){data, size};
	FUZZ_CHECK(ob_webhook_verify(secrets, 1, &request, NOW_S, 300, NULL) != OB_OK);
	/* A right one behind a few others counts. */
	request.id = ob_bytes_of_text("msg_p5jXN8AQM9LWM0D4loKWxJek");
	request.timestamp = ob_bytes_of_text("1614265330");
	list = malloc(strlen(text) + 1 + sizeof(RIGHT));
	FUZZ_CHECK(list != NULL);
	memcpy(list, text, strlen(text));
	list[strlen(text)] = ' ';
	memcpy(list + strlen(text) + 1, RIGHT, sizeof(RIGHT));
	request.signature = ob_bytes_of_text(list);
	if (strlen(text) < 32)
		FUZZ_CHECK(ob_webhook_verify(secrets, 1, &request, NOW_S, 300, NULL) == OB_OK);
	free(list);
	free(text);
	return 0;
}
