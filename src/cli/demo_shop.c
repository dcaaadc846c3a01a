#include "demo_shop.h"

#include <inttypes.h>
#include <outbox/uuid.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "writer_url.h"

static volatile sig_atomic_t shop_closes;

static void
close_ask(int signal)
{
	(void)signal;
	shop_closes = 1;
}

struct order {
	char id[OB_UUID_TEXT_SIZE];
	int64_t number;
	const char *customer;
	int total;
};

/* Nothing in it needs quoting. */
static int
order_insert(struct ob_url_writer *writer, const struct order *order, const char *orders,
	     struct ob_error *error)
{
	char sql[256];
	int rc;

	(void)snprintf(sql, sizeof(sql),
		       "INSERT INTO %s (number, customer, total, message_id) VALUES (%" PRId64
		       ", '%s', %d, '%s')",
		       orders, order->number, order->customer, order->total, order->id);
	rc = ob_url_writer_run(writer, sql, error);
	if (rc != OB_OK)
		ob_error_prefix(error, "orders");
	return rc;
}

/* The order and its message in one transaction, which is what this is all about. */
static int
order_place(struct ob_url_writer *writer, const struct order *order, const char *orders,
	    bool changes_mind, struct ob_error *error)
{
	char payload[128];
	struct ob_new_message message = {.id = order->id,
					 .topic = "orders.placed",
					 .key = order->customer,
					 .content_type = "application/json",
					 .payload = payload};
	int rc = ob_url_writer_begin(writer, error);

	if (rc != OB_OK)
		return rc;
	rc = order_insert(writer, order, orders, error);
	(void)snprintf(payload, sizeof(payload),
		       "{\"order\":%" PRId64 ",\"customer\":\"%s\",\"total\":%d}", order->number,
		       order->customer, order->total);
	message.payload_size = strlen(payload);
	if (rc == OB_OK)
		rc = ob_url_writer_publish(writer, &message, 1, NULL, error);
	if (rc == OB_OK && !changes_mind)
		return ob_url_writer_run(writer, "COMMIT", error);
	(void)ob_url_writer_run(writer, "ROLLBACK", NULL);
	return rc;
}

static uint32_t
random_below(const struct ob_host *host, uint32_t bound)
{
	uint32_t value;

	host->random(host->context, &value, sizeof(value));
	return value % bound;
}

static int
orders_place(const struct ob_shop *shop, struct ob_url_writer *writer, FILE *log,
	     struct ob_error *error)
{
	static const char *const customers[OB_SHOP_CUSTOMERS] = {
	    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"};
	const struct ob_host *host = shop->stage->cli->host;
	int64_t number = 0;
	int rc = OB_OK;

	while (rc == OB_OK && shop_closes == 0) {
		struct order order = {.number = ++number,
				      .customer = customers[random_below(host, OB_SHOP_CUSTOMERS)],
				      .total = (int)random_below(host, 500) + 1};
		bool changes_mind = random_below(host, 5) == 0;

		rc = ob_uuid7(order.id, error);
		if (rc == OB_OK)
			rc = order_place(writer, &order, shop->stage->orders, changes_mind, error);
		if (rc == OB_OK) {
			(void)fprintf(log, "%s %s\n", changes_mind ? "rolled_back" : "committed",
				      order.id);
			(void)fflush(log);
			(void)poll(NULL, 0, (int)random_below(host, (uint32_t)shop->every_ms * 2));
		}
	}
	return rc;
}

int
ob_shop_run(void *context)
{
	const struct ob_shop *shop = context;
	struct sigaction action = {.sa_handler = close_ask};
	struct ob_url_writer writer = {0};
	struct ob_error error = {0};
	FILE *log = fopen(shop->stage->shop_log, "a");
	int rc;

	/* Without SA_RESTART, so that the pause between two orders ends at once. */
	(void)sigaction(SIGTERM, &action, NULL);
	if (log == NULL)
		return OB_EXIT_FAILURE;
	rc = ob_stage_writer(shop->stage, &writer, &error);
	if (rc == OB_OK)
		rc = orders_place(shop, &writer, log, &error);
	if (rc != OB_OK)
		(void)fprintf(stderr, "shop: %s\n", error.text);
	ob_url_writer_close(&writer);
	(void)fclose(log);
	return rc == OB_OK ? OB_EXIT_OK : OB_EXIT_FAILURE;
}
