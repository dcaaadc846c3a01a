/*
 * A relay inside a program: it reads a shop's messages from SQLite and hands each to a function of this program.
 *
 *	outbox init sqlite:shop.db
 *	sqlite3 shop.db "INSERT INTO outbox_message (topic, partition_key, payload) VALUES ('orders', 'o-1', '{}')"
 *	cc embed.c -loutbox -o embed
 *	./embed sqlite:shop.db
 *
 * It prints each message and ends once there is nothing more to do. Leave out `until_idle` for one that runs on, and end
 * it by ob_relay_drain.
 */
#include <outbox/relay.h>
#include <stdio.h>

/* Runs on the relay's own thread. To answer OB_FATE_SENT is to promise that the message is kept. */
static enum ob_fate
deliver(void *context, struct ob_callback_delivery *delivery)
{
	const struct ob_message *message = delivery->message;
	unsigned long *delivered = context;

	printf("%.*s %.*s: %.*s\n", (int)message->topic.size, (const char *)message->topic.data,
	       (int)message->key.size,
	       message->key.data != NULL ? (const char *)message->key.data : "",
	       (int)message->payload.size,
	       message->payload.data != NULL ? (const char *)message->payload.data : "");
	if (fflush(stdout) != 0) {
		snprintf(delivery->code, sizeof(delivery->code), "output_closed");
		return OB_FATE_DOWN; /* it will be tried again, and uses up no attempt */
	}
	(*delivered)++;
	return OB_FATE_SENT;
}

static void
say(void *context, enum ob_log_level level, const char *text)
{
	(void)context;
	if (level <= OB_LOG_WARN)
		fprintf(stderr, "%s\n", text);
}

int
main(int argc, char **argv)
{
	struct ob_relay_config config = {.log = say, .until_idle = true};
	struct ob_relay_subscription shipping;
	struct ob_relay *relay = NULL;
	struct ob_error error = {0};
	unsigned long delivered = 0;
	int code;

	if (argc != 2) {
		fprintf(stderr, "usage: embed DATABASE\n");
		return 2;
	}
	ob_relay_subscription_defaults(&shipping);
	shipping.name = "shipping";
	shipping.store_url = argv[1];
	shipping.sink_url = "callback:";
	shipping.callback = (struct ob_callback){.context = &delivered, .deliver = deliver};

	code = ob_relay_new(&config, &relay, &error);
	if (code == OB_OK)
		code = ob_relay_add(relay, &shipping, &error);
	if (code == OB_OK)
		code = ob_relay_start(relay, &error);
	if (code == OB_OK)
		code = ob_relay_wait(relay, -1, &error);
	ob_relay_free(relay);
	if (code != OB_OK) {
		fprintf(stderr, "embed: %s\n", error.text);
		return 1;
	}
	fprintf(stderr, "%lu delivered\n", delivered);
	return 0;
}
