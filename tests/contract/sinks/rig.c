#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "options.h"
#include "utf8.h"

#define SETTLE_MS 20000

static int64_t
monotonic_us(void *context)
{
	struct timespec now;

	(void)context;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t
wall_us(void *context)
{
	struct timespec now;

	(void)context;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
host_random(void *context, void *bytes, size_t size)
{
	(void)context;
	memset(bytes, 7, size);
}

static void
host_log(void *context, enum ob_log_level level, const char *text)
{
	(void)context;
	(void)level;
	print_message("# log: %s\n", text);
}

static const struct ob_host host = {
    .monotonic_us = monotonic_us, .wall_us = wall_us, .random = host_random, .log = host_log};

int64_t
rig_now_ms(void)
{
	return monotonic_us(NULL) / 1000;
}

void
rig_start(struct rig *rig, const struct sink_adapter *adapter)
{
	*rig = (struct rig){.adapter = adapter};
	snprintf(rig->directory, sizeof(rig->directory), "/tmp/outbox-sink-XXXXXX");
	assert_non_null(mkdtemp(rig->directory));
	rig->recipient = adapter->start(rig->directory);
	rig->messages = calloc(RIG_MESSAGES_MAX, sizeof(rig->messages[0]));
	rig->options = calloc(1, adapter->ops->options_size);
	rig->sink = calloc(1, adapter->ops->size);
	assert_non_null(rig->messages);
	assert_non_null(rig->options);
	assert_non_null(rig->sink);
	adapter->configure(rig->recipient, &rig->setup);
}

int
rig_open(struct rig *rig, const char *url)
{
	const struct ob_sink_ops *ops = rig->adapter->ops;
	struct ob_sink_config config = {.url = url,
					.options = rig->options,
					.subscription = "suite",
					.callback = &rig->setup.callback};
	struct ob_options options;

	/* A case may open again under other options. */
	ob_options_free(ops->options, rig->options);
	assert_int_equal(
	    ob_options_begin(&options, ops->name, ops->options, rig->options, &rig->error), OB_OK);
	for (size_t i = 0; i < sizeof(rig->setup.options) / sizeof(rig->setup.options[0]); i++)
		if (rig->setup.options[i][0] != '\0')
			assert_int_equal(
			    ob_options_set_pair(&options, rig->setup.options[i], &rig->error),
			    OB_OK);
	assert_int_equal(ob_options_finish(&options, &rig->error), OB_OK);
	rig->sink->ops = ops;
	rig->sink->host = &host;
	return ops->open(rig->sink, &config, &rig->error);
}

void
rig_stop(struct rig *rig)
{
	char command[128];

	rig->adapter->ops->close(rig->sink);
	ob_options_free(rig->adapter->ops->options, rig->options);
	rig->adapter->stop(rig->recipient);
	sink_arrivals_clear(&rig->arrivals);
	free(rig->messages);
	free(rig->options);
	free(rig->sink);
	snprintf(command, sizeof(command), "rm -rf %s", rig->directory);
	assert_int_equal(system(command), 0);
}

struct rig_message *
rig_message(struct rig *rig, const char *key)
{
	struct rig_message *it = &rig->messages[rig->count];

	assert_true(rig->count < RIG_MESSAGES_MAX);
	snprintf(it->id, sizeof(it->id), "m%zu", rig->count++);
	snprintf(it->key, sizeof(it->key), "%s", key);
	it->message = (struct ob_message){
	    .id = {it->id, strlen(it->id)},
	    .topic = {"orders", 6},
	    .payload = {it->id, strlen(it->id)},
	    .created_at_us = wall_us(NULL),
	};
	if (*key != '\0')
		it->message.key = (struct ob_bytes){it->key, strlen(it->key)};
	it->lane = ob_lane_of(&it->message, OB_ORDER_BY_KEY);
	return it;
}

size_t
rig_submit(struct rig *rig, size_t first, size_t count)
{
	struct ob_delivery *deliveries = calloc(count, sizeof(deliveries[0]));
	size_t accepted = SIZE_MAX;

	assert_non_null(deliveries);
	for (size_t i = 0; i < count; i++)
		deliveries[i] = (struct ob_delivery){.ticket = first + i + 1,
						     .message = &rig->messages[first + i].message,
						     .lane = rig->messages[first + i].lane,
						     .attempt = 1};
	rig->adapter->ops->submit(rig->sink, deliveries, count, &accepted);
	assert_true(accepted <= count);
	/* The array is the caller's: a sink that kept a pointer to it reads garbage from here on. */
	memset(deliveries, 0xff, count * sizeof(deliveries[0]));
	free(deliveries);
	for (size_t i = 0; i < accepted; i++)
		rig->messages[first + i].accepted = true;
	rig->owed += accepted;
	return accepted;
}

static void
check_receipt(const struct ob_receipt *receipt)
{
	assert_true(receipt->fate <= OB_FATE_RETURNED);
	if (receipt->fate == OB_FATE_SENT) {
		assert_null(receipt->code);
		return;
	}
	if (receipt->fate != OB_FATE_DOWN)
		assert_non_null(receipt->code);
	if (receipt->code != NULL) {
		size_t size = strspn(receipt->code, "abcdefghijklmnopqrstuvwxyz0123456789_");

		assert_true(size > 0);
		assert_true(size < OB_REASON_CODE_MAX);
		assert_int_equal(receipt->code[size], '\0');
	}
	if (receipt->text == NULL)
		return;
	assert_true(ob_utf8_valid(receipt->text, strlen(receipt->text)));
	for (const char *at = receipt->text; *at != '\0'; at++) {
		assert_true((unsigned char)*at >= 0x20);
		assert_true(*at != 0x7f);
	}
}

size_t
rig_poll(struct rig *rig, int timeout_ms)
{
	struct ob_receipt receipts[64];
	size_t count = rig->adapter->ops->poll(rig->sink, timeout_ms, receipts, 64);

	assert_true(count <= 64);
	for (size_t i = 0; i < count; i++) {
		struct rig_message *it;

		assert_true(receipts[i].ticket >= 1);
		assert_true(receipts[i].ticket <= rig->count);
		it = &rig->messages[receipts[i].ticket - 1];
		assert_true(it->accepted);
		assert_int_equal(it->receipts++, 0);
		check_receipt(&receipts[i]);
		it->fate = receipts[i].fate;
		snprintf(it->code, sizeof(it->code), "%s",
			 receipts[i].code ? receipts[i].code : "");
		snprintf(it->text, sizeof(it->text), "%s",
			 receipts[i].text ? receipts[i].text : "");
		/* From here on the message's bytes may go: a sink that still reads them reads garbage. */
		rig->owed--;
	}
	if (rig->adapter->pump != NULL)
		rig->adapter->pump(rig->recipient);
	return count;
}

void
rig_settle(struct rig *rig, int deadline_ms)
{
	int64_t until_ms = rig_now_ms() + deadline_ms;

	while (rig->owed > 0 && rig_now_ms() < until_ms)
		rig_poll(rig, 20);
	assert_int_equal(rig->owed, 0);
}

void
rig_send(struct rig *rig, size_t first, size_t count)
{
	int64_t until_ms = rig_now_ms() + SETTLE_MS;

	while (count > 0 && rig_now_ms() < until_ms) {
		size_t accepted = rig_submit(rig, first, count < 500 ? count : 500);

		first += accepted;
		count -= accepted;
		if (count > 0)
			rig_poll(rig, 20);
	}
	assert_int_equal(count, 0);
	rig_settle(rig, SETTLE_MS);
}

void
rig_look(struct rig *rig)
{
	size_t seen = rig->arrivals.count;

	if (rig->adapter->arrivals == NULL)
		return;
	rig->adapter->arrivals(rig->recipient, &rig->arrivals);
	for (; seen < rig->arrivals.count; seen++) {
		const char *id = rig->arrivals.items[seen].id;
		size_t number = strtoul(id + 1, NULL, 10);

		assert_int_equal(id[0], 'm');
		assert_true(number < rig->count);
		if (rig->messages[number].arrived)
			continue;
		rig->messages[number].arrived = true;
		rig->messages[number].arrived_at = seen;
	}
	for (size_t i = 0; i < rig->count; i++)
		if (rig->messages[i].receipts > 0 && rig->messages[i].fate == OB_FATE_SENT)
			assert_true(rig->messages[i].arrived);
}

void
rig_prove_it_works(struct rig *rig)
{
	int64_t until_ms = rig_now_ms() + SETTLE_MS;
	struct rig_message *it;

	/* The first after a failure may still meet what is left of it, a program that is being ended for one. */
	do {
		it = rig_message(rig, "");
		rig_send(rig, rig->count - 1, 1);
	} while (it->fate != OB_FATE_SENT && rig_now_ms() < until_ms);
	assert_int_equal(it->fate, OB_FATE_SENT);
	rig_look(rig);
}
