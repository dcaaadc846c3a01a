/*
 * What libcurl can do at best: a bare multi loop that posts messages as fast as it can, with as many headers and bytes as
 * the relay sends, and nothing else. The relay's rate is measured against it.
 *
 * usage: bench-http-bare URL --count N [--connections N] [--payload BYTES]
 *
 * Prints "<messages> <seconds>". Ends with 1 at the first answer that is not 2xx.
 */
#include <curl/curl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONNECTIONS_MAX 256
#define HEADERS         13
#define HEADER_SIZE     96

struct transfer {
	CURL *easy;
	struct curl_slist list[HEADERS];
	char headers[HEADERS][HEADER_SIZE];
};

static struct {
	CURLM *multi;
	struct transfer transfers[CONNECTIONS_MAX];
	const char *url;
	char *payload;
	size_t payload_size;
	uint64_t count, started, done;
	unsigned connections;
} state = {.connections = 16, .payload_size = 300};

static int64_t
now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static size_t
body_drop(char *data, size_t size, size_t count, void *context)
{
	(void)data;
	(void)context;
	return size * count;
}

static void
transfer_init(struct transfer *t)
{
	t->easy = curl_easy_init();
	if (t->easy == NULL)
		exit(1);
	for (unsigned i = 0; i < HEADERS; i++) {
		t->list[i].data = t->headers[i];
		t->list[i].next = i + 1 < HEADERS ? &t->list[i + 1] : NULL;
	}
	curl_easy_setopt(t->easy, CURLOPT_URL, state.url);
	curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, 15000L);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, body_drop);
	curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, state.payload);
	curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)state.payload_size);
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->list);
	curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
}

static void
transfer_start(struct transfer *t)
{
	uint64_t number = state.started++;
	unsigned i = 0;

	snprintf(t->headers[i++], HEADER_SIZE, "Content-Type: application/json");
	snprintf(t->headers[i++], HEADER_SIZE, "ce-specversion: 1.0");
	snprintf(t->headers[i++], HEADER_SIZE, "ce-id: 00000000-0000-7000-8000-%012" PRIx64,
		 number);
	snprintf(t->headers[i++], HEADER_SIZE, "ce-source: /outbox");
	snprintf(t->headers[i++], HEADER_SIZE, "ce-type: bench");
	snprintf(t->headers[i++], HEADER_SIZE, "ce-time: 2026-01-01T00:00:00.000Z");
	snprintf(t->headers[i++], HEADER_SIZE, "ce-subject: key-%" PRIu64, number % 1000);
	snprintf(t->headers[i++], HEADER_SIZE, "ce-partitionkey: key-%" PRIu64, number % 1000);
	snprintf(t->headers[i++], HEADER_SIZE, "ce-topic: bench");
	snprintf(t->headers[i++], HEADER_SIZE, "User-Agent: outbox");
	snprintf(t->headers[i++], HEADER_SIZE, "webhook-id: 00000000-0000-7000-8000-%012" PRIx64,
		 number);
	snprintf(t->headers[i++], HEADER_SIZE, "webhook-timestamp: 1767225600");
	snprintf(t->headers[i++], HEADER_SIZE, "Expect:");
	curl_multi_add_handle(state.multi, t->easy);
}

static void
transfers_finish(void)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(state.multi, &left)) != NULL) {
		struct transfer *t;
		long status = 0;

		curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
		if (message->data.result != CURLE_OK || status / 100 != 2) {
			fprintf(stderr, "bench-http-bare: %s, status %ld\n",
				curl_easy_strerror(message->data.result), status);
			exit(1);
		}
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		curl_multi_remove_handle(state.multi, t->easy);
		state.done++;
		if (state.started < state.count)
			transfer_start(t);
	}
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"count", required_argument, NULL, 'c'},
						{"connections", required_argument, NULL, 'n'},
						{"payload", required_argument, NULL, 'p'},
						{0}};

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (option == 'c')
			state.count = strtoull(optarg, NULL, 10);
		else if (option == 'n')
			state.connections = (unsigned)strtoul(optarg, NULL, 10);
		else if (option == 'p')
			state.payload_size = strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	if (optind + 1 != argc || state.count == 0 || state.connections - 1 >= CONNECTIONS_MAX) {
		fprintf(stderr,
			"usage: bench-http-bare URL --count N [--connections N] [--payload N]\n");
		return 2;
	}
	state.url = argv[optind];
	state.payload = malloc(state.payload_size + 1);
	if (state.payload == NULL)
		return 1;
	memset(state.payload, 'x', state.payload_size);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	state.multi = curl_multi_init();

	int64_t started = now_ns();
	for (unsigned i = 0; i < state.connections && state.started < state.count; i++) {
		transfer_init(&state.transfers[i]);
		transfer_start(&state.transfers[i]);
	}
	while (state.done < state.count) {
		int running;

		curl_multi_perform(state.multi, &running);
		transfers_finish();
		if (state.done < state.count)
			curl_multi_poll(state.multi, NULL, 0, 100, NULL);
	}
	printf("%" PRIu64 " %.6f\n", state.done, (double)(now_ns() - started) / 1e9);
	for (unsigned i = 0; i < state.connections; i++)
		curl_easy_cleanup(state.transfers[i].easy);
	curl_multi_cleanup(state.multi);
	free(state.payload);
	return 0;
}
