/*
 * http: and https: one POST for each message, or for several.
 *
 * When does the recipient keep a message? When it answers 2xx, and all of that answer came (outcome.h has the table). By which slot can
 * it drop a duplicate? `webhook-id`, and `ce-id` or the event's `id`: the message's id, the same at every try. How far
 * is a key's order kept with several in flight? Not at all with one message a request: requests on different connections
 * overtake each other, and even on one HTTP/2 connection the recipient may handle them in any order. With batches always:
 * see batch.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_sink.h"
#include "sinks.h"
#include "text.h"

static const char *const format_names[] = {OB_FORMAT_NAMES, NULL};
static const char *const http2_names[] = {"auto", "off", "always", NULL};

#define FIELD(name) .field = offsetof(struct http_options, name)

static const struct ob_option http_option_table[] = {
    {"format", OB_OPTION_ENUM, "cloudevents", "How a message is written into a request.",
     FIELD(format), .choices = format_names},
    {"source", OB_OPTION_STRING, "/outbox", "CloudEvents' attribute source.", FIELD(source)},
    {"content-type", OB_OPTION_STRING, "application/json",
     "The content type of payloads that do not say theirs.", FIELD(content_type)},
    {"header", OB_OPTION_LIST, NULL,
     "A header of every request, \"Name: value\", without commas; others stand in header-file.",
     FIELD(headers), .flags = OB_OPTION_REDACT},
    {"header-file", OB_OPTION_PATH, NULL,
     "A file with headers of every request, a line each, that only its owner may read.",
     FIELD(header_file)},
    {"bearer-token-file", OB_OPTION_PATH, NULL,
     "A file with the token for \"Authorization: Bearer\".", FIELD(bearer_token_file)},
    {"secret-file", OB_OPTION_LIST, NULL,
     "A file with a secret that signs (whsec_ or whsk_); several while one is being replaced.",
     FIELD(secret_files)},
    {"connections", OB_OPTION_INT, "16",
     "The most requests at once; with HTTP/2 they share connections.", FIELD(connections), .min = 1,
     .max = 1024},
    {"http2", OB_OPTION_ENUM, "auto",
     "HTTP/2: where https offers it, never, or always, over plain http too.", FIELD(http2),
     .choices = http2_names},
    {"request-timeout", OB_OPTION_DURATION, "15s",
     "How long a request may take from its start to the end of the answer.",
     FIELD(request_timeout_ms), .min = 1, .max = 86400000},
    {"connect-timeout", OB_OPTION_DURATION, "5s",
     "How long a connection may take, with name look-up and TLS.", FIELD(connect_timeout_ms),
     .min = 1, .max = 86400000},
    {"low-speed-limit", OB_OPTION_SIZE, "0",
     "Give up when fewer bytes a second move for low-speed-time; 0: never.",
     FIELD(low_speed_limit)},
    {"low-speed-time", OB_OPTION_DURATION, "10s", "See low-speed-limit.", FIELD(low_speed_time_ms),
     .min = 1000, .max = 86400000},
    {"answer-bytes-max", OB_OPTION_SIZE, "20000", "Read no more of an answer's body than this.",
     FIELD(answer_bytes_max), .min = 1, .max = 16777216},
    {"message-bytes-max", OB_OPTION_SIZE, "0",
     "Reject messages with a larger payload; 0: no limit of the recipient is known.",
     FIELD(message_bytes_max)},
    {"retry-after-max", OB_OPTION_DURATION, "1h", "The longest Retry-After that is believed.",
     FIELD(retry_after_max_ms), .min = 0, .max = 604800000},
    {"batch", OB_OPTION_INT, "1",
     "The most messages in a request, as application/cloudevents-batch+json.", FIELD(batch),
     .min = 1, .max = 1000},
    {"batch-bytes", OB_OPTION_SIZE, "1MiB", "The largest body of a batch of several.",
     FIELD(batch_bytes_max), .min = 1, .max = 67108864},
    {"batch-linger", OB_OPTION_DURATION, "5ms",
     "How long a message may wait for others to share its request.", FIELD(batch_linger_ms),
     .min = 0, .max = 60000},
    {"ca-file", OB_OPTION_PATH, NULL, "Certificates to trust, in PEM, instead of the system's.",
     FIELD(ca_file)},
    {"cert-file", OB_OPTION_PATH, NULL, "Our own certificate, in PEM.", FIELD(cert_file)},
    {"key-file", OB_OPTION_PATH, NULL, "The key of our own certificate, in PEM.", FIELD(key_file)},
    {"insecure-tls", OB_OPTION_BOOL, "false",
     "Do not verify the recipient's certificate: anybody may read and change what is sent.",
     FIELD(is_insecure)},
    {"proxy", OB_OPTION_STRING, NULL, "The proxy to go through; the environment is not asked.",
     FIELD(proxy), .flags = OB_OPTION_REDACT},
    {"down-statuses", OB_OPTION_LIST, NULL,
     "Statuses that mean \"nothing works at present\", such as 503, 500-599 or 5xx.", FIELD(down)},
    {"retry-statuses", OB_OPTION_LIST, NULL, "Statuses that mean \"this message later\".",
     FIELD(retry)},
    {"reject-statuses", OB_OPTION_LIST, NULL, "Statuses that mean \"this message never\".",
     FIELD(reject)},
    {"blocked-statuses", OB_OPTION_LIST, NULL,
     "Statuses that mean \"nothing until a person acts\".", FIELD(blocked)},
    {0},
};

static int
open_policy(struct http_sink *http, struct ob_error *error)
{
	const struct http_options *options = http->options;
	struct http_policy *policy = &http->policy;
	int code;

	http_policy_init(policy);
	code = http_policy_set(policy, "down-statuses", &options->down, OB_FATE_DOWN, error);
	if (code == OB_OK)
		code = http_policy_set(policy, "retry-statuses", &options->retry, OB_FATE_RETRY,
				       error);
	if (code == OB_OK)
		code = http_policy_set(policy, "reject-statuses", &options->reject, OB_FATE_REJECT,
				       error);
	if (code == OB_OK)
		code = http_policy_set(policy, "blocked-statuses", &options->blocked,
				       OB_FATE_BLOCKED, error);
	return code;
}

static int
open_format(struct http_sink *http, struct ob_error *error)
{
	const struct http_options *options = http->options;

	if (ob_field_value_problem(ob_bytes_of_text(options->content_type)) != NULL)
		return ob_error_set(error, OB_CONFIG,
				    "sink http: option content-type holds a control character");
	if (options->source == NULL || options->source[0] == '\0')
		return ob_error_set(error, OB_CONFIG, "sink http: option source must not be empty");
	if (options->batch > 1 && options->format == OB_FORMAT_RAW)
		return ob_error_set(error, OB_CONFIG,
				    "sink http: option batch needs format=cloudevents: raw "
				    "messages cannot share a request");
	http->format = (struct ob_format_config){.format = (enum ob_format)options->format,
						 .source = options->source,
						 .content_type = options->content_type,
						 .prefix = "ce-",
						 .encode = true};
	return OB_OK;
}

static int
open_requests(struct http_sink *http, struct ob_error *error)
{
	int code = http_loop_open(http, error);

	for (size_t i = 0; i < http->connections && code == OB_OK; i++)
		code = http_request_open(http, &http->requests[i], error);
	return code;
}

static void
close_requests(struct http_sink *http)
{
	for (size_t i = 0; http->requests != NULL && i < http->connections; i++)
		http_request_close(&http->requests[i]);
	http_loop_close(&http->loop);
	ob_list_init(&http->idle);
	ob_list_init(&http->active);
}

static int
open_memory(struct http_sink *http, struct ob_error *error)
{
	size_t tickets;

	http->connections = (size_t)http->options->connections;
	http->batch = (size_t)http->options->batch;
	tickets = http->connections * http->batch;
	if (tickets > OB_SINK_IN_FLIGHT_MAX)
		return ob_error_set(error, OB_CONFIG,
				    "sink http: connections times batch is more than %d messages",
				    OB_SINK_IN_FLIGHT_MAX);
	http->done_size = 2 * tickets;
	http->requests = calloc(http->connections, sizeof(*http->requests));
	http->items = calloc(tickets, sizeof(*http->items));
	http->done = calloc(http->done_size, sizeof(*http->done));
	if (http->requests == NULL || http->items == NULL || http->done == NULL)
		return ob_error_set(error, OB_NOMEM, "sink http: no memory");
	for (size_t i = 0; i < http->connections; i++)
		http->requests[i].items = http->items + i * http->batch;
	return http->batch > 1 ? http_batch_open(http, error) : OB_OK;
}

static int
http_open(struct ob_sink *sink, const struct ob_sink_config *config, struct ob_error *error)
{
	struct http_sink *http = (struct http_sink *)sink;
	const struct ob_host *host = sink->host;
	int code;

	http->options = config->options;
	http->loop.epoll_fd = -1;
	ob_list_init(&http->idle);
	ob_list_init(&http->active);
	http->is_open = true;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return ob_error_set(error, OB_NOMEM, "sink http: libcurl cannot start");
	http->has_curl = true;
	if ((code = http_setup_url(http, config->url, error)) != OB_OK ||
	    (code = open_policy(http, error)) != OB_OK ||
	    (code = open_format(http, error)) != OB_OK ||
	    (code = http_setup_files(http, error)) != OB_OK ||
	    (code = http_setup_read(http, error)) != OB_OK ||
	    (code = open_memory(http, error)) != OB_OK ||
	    (code = open_requests(http, error)) != OB_OK)
		return code;
	http->files_checked_us = http_now_us(http);
	if (http->options->is_insecure)
		host->log(host->context, OB_LOG_WARN,
			  "sink http: insecure-tls is on: the recipient's certificate is not "
			  "verified, anybody in between can read and change what is sent");
	return OB_OK;
}

static void
http_close(struct ob_sink *sink)
{
	struct http_sink *http = (struct http_sink *)sink;

	if (!http->is_open)
		return;
	close_requests(http);
	ob_wake_close(&http->loop.wake);
	http_batch_close(http);
	free(http->requests);
	free(http->items);
	free(http->done);
	http->requests = NULL;
	http->items = NULL;
	http->done = NULL;
	http_setup_free(http);
	if (http->has_curl)
		curl_global_cleanup();
	http->has_curl = false;
	http->is_open = false;
}

static void
http_limits(const struct ob_sink *sink, struct ob_sink_limits *limits)
{
	const struct http_sink *http = (const struct http_sink *)sink;

	*limits = (struct ob_sink_limits){
	    .message_bytes_max = (uint64_t)http->options->message_bytes_max,
	    .in_flight_max = (uint32_t)(http->connections * http->batch),
	    .order = http->batch > 1 ? OB_ORDER_ALWAYS : OB_ORDER_NONE,
	};
}

/*
 * New certificates count for new connections, and libcurl keeps old ones: so everything is made anew, once no request is
 * under way. Until then none is begun, which takes a request's time-out at most.
 */
static void
renew(struct http_sink *http)
{
	const struct ob_host *host = http->base.host;
	struct ob_error error;

	if (!http->must_renew || !ob_list_is_empty(&http->active))
		return;
	close_requests(http);
	if (open_requests(http, &error) == OB_OK) {
		http->must_renew = false;
		return;
	}
	host->log(host->context, OB_LOG_ERROR, error.text);
}

/*
 * A connection that requests share outlives the failure of one, also where the connection itself is broken: the network
 * has forgotten it, or one of its two ends is confused. All that comes later would go to it again, for a quarter of an hour
 * until the system gives it up. So connections are made anew when a request fails that was the only one under
 * way, as a probe is, or as many in a row as there can be at once.
 */
void
http_connection_doubt(struct http_sink *http, const struct http_request *request, CURLcode result)
{
	long made = 0;

	if (!http->shares_connections)
		return;
	curl_easy_getinfo(request->easy, CURLINFO_NUM_CONNECTS, &made);
	/* An answer that we cut came over it all the same. */
	if (result == CURLE_OK || request->is_cut)
		http->failed_on_shared = 0;
	else if (made == 0)
		http->failed_on_shared++;
	if (http->failed_on_shared == 0 ||
	    (!ob_list_is_empty(&http->active) && http->failed_on_shared < http->connections))
		return;
	http->failed_on_shared = 0;
	http->must_renew = true;
}

static void
http_submit(struct ob_sink *sink, const struct ob_delivery *deliveries, size_t count,
	    size_t *accepted)
{
	struct http_sink *http = (struct http_sink *)sink;
	size_t tickets = http->connections * http->batch, i;

	http_setup_refresh(http, http_now_us(http));
	renew(http);
	for (i = 0; i < count && http->in_flight < tickets && !http->must_renew; i++) {
		struct http_item item = {.ticket = deliveries[i].ticket,
					 .message = deliveries[i].message};

		if (http->batch > 1) {
			http_batch_take(http, &deliveries[i]);
		} else {
			/* As many requests as tickets: one is idle. */
			struct ob_list *first = ob_list_first(&http->idle);

			http_request_single(OB_CONTAINER_OF(first, struct http_request, link),
					    &item);
		}
		http->in_flight++;
	}
	*accepted = i;
}

static size_t
give(struct http_sink *http, struct ob_receipt *receipts, size_t capacity)
{
	size_t count = http->done_count < capacity ? http->done_count : capacity;

	for (size_t i = 0; i < count; i++) {
		struct http_done *done = &http->done[http->done_first];

		receipts[i] = done->receipt;
		http_batch_forget(http, done->lane);
		http->done_first = (http->done_first + 1) % http->done_size;
	}
	http->done_count -= count;
	http->in_flight -= count;
	return count;
}

static size_t
http_poll(struct ob_sink *sink, int timeout_ms, struct ob_receipt *receipts, size_t capacity)
{
	struct http_sink *http = (struct http_sink *)sink;
	int64_t now_us = http_now_us(http);
	int64_t deadline_us = now_us + (int64_t)(timeout_ms > 0 ? timeout_ms : 0) * 1000;

	for (;;) {
		int64_t wait_ms = (deadline_us - now_us + 999) / 1000;
		int linger_ms;

		renew(http);
		if (http->loop.multi == NULL) {
			/* Out of descriptors, say: again at the next poll, but not at once. */
			ob_wake_wait(&http->loop.wake, wait_ms < 1000 ? (int)wait_ms : 1000);
			break;
		}
		linger_ms = http->batch > 1 ? http_batch_send(http, now_us) : -1;
		if (linger_ms >= 0 && linger_ms < wait_ms)
			wait_ms = linger_ms;
		http_loop_run(http, http->done_count > 0 ? 0 : (int)wait_ms);
		if (http->done_count > 0 || http->loop.was_woken || timeout_ms <= 0)
			break;
		now_us = http_now_us(http);
		if (now_us >= deadline_us)
			break;
	}
	http->loop.was_woken = false;
	return give(http, receipts, capacity);
}

static void
http_wake(struct ob_sink *sink)
{
	ob_wake_ring(&((struct http_sink *)sink)->loop.wake);
}

static void
http_flush(struct ob_sink *sink)
{
	struct http_sink *http = (struct http_sink *)sink;

	http->is_flushed = true;
}

static void
http_cancel(struct ob_sink *sink)
{
	struct http_sink *http = (struct http_sink *)sink;

	http_batch_cancel(http);
	http_requests_cancel(http);
}

static void
http_reopen(struct ob_sink *sink)
{
	struct http_sink *http = (struct http_sink *)sink;

	http->must_reload = true;
	http->must_renew = true;
}

/* Connects, with TLS and all, and says goodbye: nothing is asked of the recipient. */
static int
http_check(struct ob_sink *sink, int timeout_ms, const struct ob_report *report,
	   struct ob_error *error)
{
	struct http_sink *http = (struct http_sink *)sink;
	CURL *easy = curl_easy_init();
	char problem[CURL_ERROR_SIZE] = "", what[CURL_ERROR_SIZE + 300];
	struct http_outcome outcome = {.code = "reachable"};
	struct ob_finding finding = {.code = outcome.code, .what = what};
	CURLcode result;
	long os_errno = 0;

	if (easy == NULL)
		return ob_error_set(error, OB_NOMEM, "sink http: no memory");
	http_setup_easy(http, easy);
	curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, problem);
	result = curl_easy_perform(easy);
	if (result == CURLE_OK) {
		snprintf(what, sizeof(what), "%s can be reached.", http->shown);
	} else {
		curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_errno);
		http_outcome_of_error(&outcome, result, false, os_errno);
		snprintf(what, sizeof(what), "%s cannot be reached: %s.", http->shown,
			 problem[0] != '\0' ? problem : curl_easy_strerror(result));
		finding.level = OB_FINDING_FAIL;
		finding.mend = "check the URL, that the recipient runs, and its certificate";
	}
	report->add(report->context, &finding);
	curl_easy_cleanup(easy);
	return OB_OK;
}

static const char *const http_schemes[] = {"http", "https", NULL};

const struct ob_sink_ops ob_sink_http = {
    .contract = OB_SINK_CONTRACT,
    .name = "http",
    .schemes = http_schemes,
    .help = "http://HOST/PATH, https://HOST/PATH: a POST for each message, CloudEvents by default",
    .options = http_option_table,
    .options_size = sizeof(struct http_options),
    .size = sizeof(struct http_sink),
    .open = http_open,
    .close = http_close,
    .limits = http_limits,
    .submit = http_submit,
    .poll = http_poll,
    .wake = http_wake,
    .flush = http_flush,
    .cancel = http_cancel,
    .check = http_check,
    .reopen = http_reopen,
};
