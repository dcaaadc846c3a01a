/*
 * One request: from messages to a transfer, and from its end to receipts.
 *
 * An easy handle, its list of headers and its buffers are made once and used again, so that a message costs no
 * allocation of ours; the payload is sent from where the store put it.
 *
 * libcurl sends a request a second time by itself when a connection that it used before turns out to be closed before any byte
 * of an answer came. That is the usual end of an idle connection and cannot be switched off; the message has the same id
 * both times, and nothing of its key has gone past it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "crash.h"
#include "http_sink.h"
#include "rfc3339.h"
#include "text.h"

/* How often a request goes out within one try. */
#define SENDS_MAX 2

struct http_done *
http_done_put(struct http_sink *http, const struct http_item *item, enum ob_fate fate, bool reached,
	      const struct ob_reason *reason)
{
	struct http_done *done =
	    &http->done[(http->done_first + http->done_count) % http->done_size];

	http->done_count++;
	done->lane = item->lane;
	done->receipt =
	    (struct ob_receipt){.ticket = item->ticket, .fate = fate, .reached = reached};
	if (fate != OB_FATE_SENT && reason != NULL) {
		done->reason = *reason;
		done->receipt.code = done->reason.code;
		done->receipt.text = done->reason.text[0] != '\0' ? done->reason.text : NULL;
	}
	return done;
}

void
http_reject(struct http_sink *http, const struct http_item *item, const char *code,
	    const char *problem)
{
	struct ob_reason reason;

	ob_reason_set_code(&reason, code, "bad_message");
	ob_reason_set_text(&reason, problem, strlen(problem));
	if (item->lane != NULL)
		item->lane->has_failed = true;
	http_done_put(http, item, OB_FATE_REJECT, false, &reason);
}

/* ---- the answer ---- */

static size_t
on_head(char *line, size_t size, size_t count, void *context)
{
	static const char name[] = "retry-after:";
	struct http_request *request = context;
	size_t length = size * count;

	request->head_bytes += length;
	if (request->head_bytes > HTTP_HEAD_MAX)
		return 0;
	if (length > sizeof(name) && (line[0] | 0x20) == 'r' &&
	    strncasecmp(line, name, sizeof(name) - 1) == 0) {
		struct ob_bytes value = ob_bytes_trim(
		    (struct ob_bytes){line + sizeof(name) - 1, length - (sizeof(name) - 1)});

		if (value.size < sizeof(request->retry_after)) {
			memcpy(request->retry_after, value.data, value.size);
			request->retry_after[value.size] = '\0';
		}
	}
	return length;
}

static size_t
on_body(char *data, size_t size, size_t count, void *context)
{
	struct http_request *request = context;
	size_t length = size * count, room = HTTP_ANSWER_MAX - request->answer_kept;

	if (room > 0) {
		size_t kept = length < room ? length : room;

		memcpy(request->answer + request->answer_kept, data, kept);
		request->answer_kept += kept;
	}
	request->answer_bytes += length;
	if (request->answer_bytes > (uint64_t)request->http->options->answer_bytes_max) {
		request->is_cut = true;
		return 0;
	}
	return length;
}

static uint32_t
retry_after_ms(const struct http_request *request)
{
	const struct ob_host *host = request->http->base.host;
	int64_t wait_ms;

	if (request->retry_after[0] == '\0' ||
	    !ob_retry_after_parse(request->retry_after, strlen(request->retry_after),
				  host->wall_us(host->context),
				  request->http->options->retry_after_max_ms, &wait_ms))
		return 0;
	return (uint32_t)wait_ms;
}

/* The first line of the answer, or a note that it repeats the token: what a recipient echoes ends up in lists. */
static void
reason_of_answer(struct ob_reason *reason, const struct http_request *request, long status)
{
	const struct http_sink *http = request->http;
	char line[HTTP_ANSWER_MAX + 1];
	size_t size = 0;

	if (http->token.size >= 4 && memmem(request->answer, request->answer_kept, http->token.data,
					    http->token.size) != NULL) {
		ob_reason_print(reason, "answered %ld (its text repeats the bearer token)", status);
		return;
	}
	while (size < request->answer_kept && request->answer[size] != '\n' &&
	       request->answer[size] != '\r' && request->answer[size] != '\0')
		size++;
	memcpy(line, request->answer, size);
	line[size] = '\0';
	ob_reason_print(reason, "answered %ld%s%s", status, size > 0 ? ": " : "", line);
}

/*
 * A status from 300 on stands even if the rest of the answer is lost: it was said. A 2xx counts only when the whole answer
 * came, since many recipients send it first and break off when they fail after all; but not when it was cut by us.
 */
static void
outcome_of(struct http_request *request, CURLcode result, struct http_outcome *outcome,
	   struct ob_reason *reason)
{
	struct http_sink *http = request->http;
	long status = 0, sent = 0, os_errno = 0;
	bool is_final;

	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	is_final = status >= 200 && request->head_bytes <= HTTP_HEAD_MAX;
	if (is_final && (result == CURLE_OK || request->is_cut || status >= 300)) {
		http_outcome_of_status(outcome, &http->policy, status);
		if (outcome->fate == OB_FATE_SENT)
			return;
		ob_reason_set_code(reason, outcome->code, "http");
		reason_of_answer(reason, request, status);
		return;
	}
	if (result == CURLE_ABORTED_BY_CALLBACK) {
		result = CURLE_GOT_NOTHING;
		snprintf(request->problem, sizeof(request->problem),
			 "closed %d connections, one after the other, without an answer",
			 SENDS_MAX);
	}
	curl_easy_getinfo(request->easy, CURLINFO_REQUEST_SIZE, &sent);
	curl_easy_getinfo(request->easy, CURLINFO_OS_ERRNO, &os_errno);
	http_outcome_of_error(outcome, result == CURLE_OK ? CURLE_WEIRD_SERVER_REPLY : result,
			      sent > 0, os_errno);
	if (is_final && result != CURLE_OPERATION_TIMEDOUT) {
		outcome->fate = OB_FATE_UNKNOWN;
		ob_text_copy(outcome->code, sizeof(outcome->code), "answer_cut");
	}
	ob_reason_set_code(reason, outcome->code, "http");
	ob_reason_print(reason, "%s",
			request->problem[0] != '\0' ? request->problem
						    : curl_easy_strerror(result));
}

/*
 * A batch that is refused says nothing about which of its messages is at fault. Each is tried once more, alone (see
 * batch.c), and only what is refused then is rejected.
 */
static void
soften_for_batch(const struct http_request *request, struct http_outcome *outcome,
		 struct ob_reason *reason)
{
	if (request->count < 2 || outcome->fate != OB_FATE_REJECT)
		return;
	outcome->fate = OB_FATE_RETRY;
	ob_reason_print(reason, "a batch of %zu was refused; each is tried alone", request->count);
}

/* A body that was built for one large message must not stay for ever, and that for each connection. */
static void
shrink(struct ob_buf *buf)
{
	if (buf->capacity > HTTP_KEPT_MAX)
		ob_buf_free(buf);
}

static void
request_release(struct http_request *request)
{
	request->count = 0;
	shrink(&request->content.text);
	shrink(&request->content.fields.text);
	shrink(&request->content.scratch);
	shrink(&request->http->keys.scratch);
	ob_list_remove(&request->link);
	ob_list_push_front(&request->http->idle, &request->link);
}

static void
request_finish(struct http_request *request, CURLcode result)
{
	struct http_sink *http = request->http;
	struct http_outcome outcome;
	struct ob_reason reason;
	uint32_t after_ms = 0;

	outcome_of(request, result, &outcome, &reason);
	curl_multi_remove_handle(http->loop.multi, request->easy);
	if (outcome.fate != OB_FATE_SENT) {
		soften_for_batch(request, &outcome, &reason);
		after_ms = retry_after_ms(request);
	}
	for (size_t i = 0; i < request->count; i++) {
		struct http_done *done =
		    http_done_put(http, &request->items[i], outcome.fate, outcome.reached, &reason);

		done->receipt.retry_after_ms = after_ms;
	}
	if (http->batch > 1) {
		if (outcome.fate != OB_FATE_SENT)
			http_batch_fail(http, request);
		for (size_t i = 0; i < request->count; i++)
			if (request->items[i].lane != NULL)
				request->items[i].lane->sending--;
	}
	request_release(request);
	http_connection_doubt(http, request, result);
}

void
http_requests_collect(struct http_sink *http)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(http->loop.multi, &left)) != NULL) {
		struct http_request *request = NULL;
		CURLcode result = message->data.result;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&request);
		request_finish(request, result);
	}
}

void
http_requests_cancel(struct http_sink *http)
{
	struct ob_reason reason;

	ob_reason_set_code(&reason, "cancelled", "cancelled");
	ob_reason_set_text(&reason, "", 0);
	OB_LIST_FOR_EACH_SAFE(it, &http->active)
	{
		struct http_request *request = OB_CONTAINER_OF(it, struct http_request, link);
		long sent = 0;

		curl_easy_getinfo(request->easy, CURLINFO_REQUEST_SIZE, &sent);
		curl_multi_remove_handle(http->loop.multi, request->easy);
		for (size_t i = 0; i < request->count; i++) {
			http_done_put(http, &request->items[i],
				      sent > 0 ? OB_FATE_UNKNOWN : OB_FATE_RETURNED, sent > 0,
				      &reason);
			if (request->items[i].lane != NULL)
				request->items[i].lane->sending--;
		}
		request_release(request);
	}
}

/* ---- the request ---- */

const char *
http_message_problem(const struct http_sink *http, const struct ob_message *message,
		     const char **code)
{
	const char *problem = ob_webhook_id_problem(message->id);

	*code = "bad_id";
	if (problem != NULL)
		return problem;
	*code = "too_large";
	if (http->options->message_bytes_max > 0 &&
	    message->payload.size > (uint64_t)http->options->message_bytes_max)
		return "its payload is larger than the option message-bytes-max allows";
	return NULL;
}

static void
copy_constant(struct ob_fields *to, const struct ob_fields *from)
{
	bool has_agent = ob_fields_have(to, HTTP_USER_AGENT);

	for (uint32_t i = 0; i < from->count; i++) {
		const struct ob_field *field = &from->items[i];
		size_t size = field->name_size + 2 + field->value_size + 1;

		/* Of this there may be only one (RFC 9110, 5.3). */
		if (has_agent && ob_field_is(from, field, HTTP_USER_AGENT))
			continue;
		if (to->count == OB_FIELDS_MAX) {
			to->full = true;
			return;
		}
		to->items[to->count] = *field;
		to->items[to->count].at = (uint32_t)to->text.size;
		if (!ob_buf_append(&to->text, from->text.data + field->at, size))
			to->full = true;
		else
			to->count++;
	}
}

/* The headers that are ours: who, when, and that it is us. */
static bool
add_own(struct http_request *request, struct ob_bytes webhook_id)
{
	struct http_sink *http = request->http;
	const struct ob_host *host = http->base.host;
	struct ob_fields *fields = &request->content.fields;
	char digits[24];
	struct ob_bytes timestamp = {digits, 0};

	timestamp.size = (size_t)snprintf(digits, sizeof(digits), "%" PRId64,
					  host->wall_us(host->context) / 1000000);
	ob_fields_add(fields, "", "webhook-id", webhook_id);
	ob_fields_add(fields, "", "webhook-timestamp", timestamp);
	if (http->keys.count > 0) {
		ob_buf_reset(&request->signature);
		if (!ob_webhook_sign(&http->keys, webhook_id, timestamp, request->content.body,
				     &request->signature))
			return false;
		ob_fields_add(fields, "", "webhook-signature",
			      (struct ob_bytes){request->signature.data, request->signature.size});
	}
	if (request->content.content_type.data != NULL)
		ob_fields_add(fields, "", "Content-Type", request->content.content_type);
	copy_constant(fields, &http->constant);
	return !fields->full;
}

/* Makes libcurl's list of the fields, in place. */
static void
list_headers(struct http_request *request)
{
	/* libcurl would wait for "100 Continue", and give a POST a form's content type. */
	static char no_expect[] = "Expect:", no_type[] = "Content-Type:";
	struct ob_fields *fields = &request->content.fields;
	size_t count = 0;

	for (uint32_t i = 0; i < fields->count; i++) {
		char *line = ob_fields_line(fields, i);
		const struct ob_field *field = &fields->items[i];

		/* A name without a value would take the header away; "name;" sends it empty. */
		if (strspn(line + field->name_size + 2, " \t") == field->value_size) {
			line[field->name_size] = ';';
			line[field->name_size + 1] = '\0';
		}
		request->nodes[count++].data = line;
	}
	request->nodes[count++].data = no_expect;
	if (request->content.content_type.data == NULL)
		request->nodes[count++].data = no_type;
	for (size_t i = 0; i < count; i++)
		request->nodes[i].next = i + 1 < count ? &request->nodes[i + 1] : NULL;
}

static void
request_fail(struct http_request *request, enum ob_fate fate, const char *code, const char *text)
{
	struct ob_reason reason;

	ob_reason_set_code(&reason, code, code);
	ob_reason_set_text(&reason, text, strlen(text));
	for (size_t i = 0; i < request->count; i++) {
		struct http_lane *lane = request->items[i].lane;

		http_done_put(request->http, &request->items[i], fate, false, &reason);
		if (lane != NULL) {
			lane->sending--;
			lane->has_failed = true;
		}
	}
	if (request->http->batch > 1)
		http_batch_fail(request->http, request);
	request_release(request);
}

#if LIBCURL_VERSION_NUM >= 0x075000

/*
 * A connection that was kept open may be closed just as a request goes out on it, so libcurl sends a request again by itself that
 * got no byte of an answer there. But what crashes its recipient looks the same, and libcurl would go on through all the connections
 * that it keeps: five times, before anybody hears of it.
 */
static int
on_send(void *context, char *to, char *from, int to_port, int from_port)
{
	struct http_request *request = context;

	(void)to;
	(void)from;
	(void)to_port;
	(void)from_port;
	return request->sends++ < SENDS_MAX ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static void
limit_sends(struct http_request *request)
{
	curl_easy_setopt(request->easy, CURLOPT_PREREQFUNCTION, on_send);
	curl_easy_setopt(request->easy, CURLOPT_PREREQDATA, request);
}

#else

static void
limit_sends(struct http_request *request)
{
	(void)request;
}

#endif

#ifdef OB_CRASH_POINTS

/* In builds for tests the body goes out in two halves, so that the process can die between them. */
static size_t
on_read(char *to, size_t size, size_t count, void *context)
{
	struct http_request *request = context;
	struct ob_bytes body = request->content.body;
	size_t part = body.size - request->body_given;

	if (request->body_given > 0 && part > 0)
		OB_CRASH_POINT("C4");
	if (request->body_given == 0 && part > 1)
		part = body.size / 2;
	if (part > size * count)
		part = size * count;
	if (part > 0)
		memcpy(to, (const char *)body.data + request->body_given, part);
	request->body_given += part;
	return part;
}

static int
on_seek(void *context, curl_off_t offset, int origin)
{
	struct http_request *request = context;

	if (origin != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	request->body_given = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

static void
set_body(struct http_request *request)
{
	request->body_given = 0;
	curl_easy_setopt(request->easy, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(request->easy, CURLOPT_READDATA, request);
	curl_easy_setopt(request->easy, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(request->easy, CURLOPT_SEEKDATA, request);
	curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE,
			 (curl_off_t)request->content.body.size);
}

#else

static void
set_body(struct http_request *request)
{
	/* Not copied, and not read beyond its size; an absent body is an empty one. */
	curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS,
			 (const char *)request->content.body.data);
	curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE,
			 (curl_off_t)request->content.body.size);
}

#endif

void
http_request_start(struct http_request *request, struct ob_bytes webhook_id)
{
	struct http_sink *http = request->http;
	CURLMcode code;

	ob_list_remove(&request->link);
	ob_list_push_back(&http->active, &request->link);
	if (!add_own(request, webhook_id)) {
		request_fail(request, OB_FATE_REJECT, "headers_too_large",
			     "more than 100 headers, or more than 256 KiB of them");
		return;
	}
	list_headers(request);
	request->answer_kept = 0;
	request->answer_bytes = 0;
	request->head_bytes = 0;
	request->is_cut = false;
	request->retry_after[0] = '\0';
	request->problem[0] = '\0';
	request->sends = 0;
	set_body(request);
	curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, request->nodes);
	code = curl_multi_add_handle(http->loop.multi, request->easy);
	if (code != CURLM_OK)
		request_fail(request, OB_FATE_DOWN, "no_memory", curl_multi_strerror(code));
}

void
http_request_single(struct http_request *request, const struct http_item *item)
{
	struct http_sink *http = request->http;
	const char *code, *problem = http_message_problem(http, item->message, &code);

	if (problem == NULL &&
	    !ob_format_message(&request->content, &http->format, item->message)) {
		code = request->content.code;
		problem = request->content.problem;
	}
	if (problem != NULL) {
		http_reject(http, item, code, problem);
		return;
	}
	request->items[0] = *item;
	request->count = 1;
	http_request_start(request, item->message->id);
}

int
http_request_open(struct http_sink *http, struct http_request *request, struct ob_error *error)
{
	CURL *easy = curl_easy_init();

	request->http = http;
	ob_formatted_init(&request->content);
	ob_buf_init(&request->signature, 4096);
	ob_list_init(&request->link);
	request->easy = easy;
	if (easy == NULL)
		return ob_error_set(error, OB_NOMEM, "sink http: no memory");
	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->problem);
	limit_sends(request);
	http_setup_easy(http, easy);
	http_loop_setup_easy(http, easy);
	ob_list_push_back(&http->idle, &request->link);
	return OB_OK;
}

void
http_request_close(struct http_request *request)
{
	if (request->http == NULL)
		return;
	if (request->easy != NULL) {
		if (request->http->loop.multi != NULL)
			curl_multi_remove_handle(request->http->loop.multi, request->easy);
		curl_easy_cleanup(request->easy);
	}
	ob_formatted_free(&request->content);
	ob_buf_free(&request->signature);
	request->http = NULL;
	request->easy = NULL;
}
