/*
 * Which messages go together, when several share a request (option batch).
 *
 * Messages wait, in the order in which they came, until there are enough for a request, or the first has lingered long
 * enough, or the caller flushes. Order within a key is always kept (OB_ORDER_ALWAYS), by three rules:
 *
 *	1. A request holds a key's messages in their order, and no second request with that key is under way.
 *	2. When a request fails, all its messages fail, and those of its keys that wait behind it are returned.
 *	3. Messages of such a key that come later are returned too, until the caller has had the receipts of all that
 *	   it handed over before; only then does it know of the failure.
 *
 * A message that was tried before goes alone: so the one at fault in a refused batch is found, and its neighbours arrive.
 */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "hex.h"
#include "http_sink.h"

int
http_batch_open(struct http_sink *http, struct ob_error *error)
{
	size_t count = http->connections * http->batch;

	http->waiting = calloc(count, sizeof(*http->waiting));
	http->lane_memory = calloc(count, sizeof(*http->lane_memory));
	if (http->waiting == NULL || http->lane_memory == NULL || !ob_map_init(&http->lanes, count))
		return ob_error_set(error, OB_NOMEM, "sink http: no memory");
	for (size_t i = 0; i < count; i++) {
		http->lane_memory[i].next_free = http->lane_free;
		http->lane_free = &http->lane_memory[i];
	}
	return OB_OK;
}

void
http_batch_close(struct http_sink *http)
{
	free(http->waiting);
	free(http->lane_memory);
	ob_map_free(&http->lanes);
	http->waiting = NULL;
	http->lane_memory = NULL;
}

static struct http_lane *
lane_hold(struct http_sink *http, uint64_t number)
{
	struct http_lane *lane = ob_map_get(&http->lanes, number);

	if (lane == NULL) {
		/* There are as many as tickets, and each lane in use holds one at least. */
		lane = http->lane_free;
		http->lane_free = lane->next_free;
		*lane = (struct http_lane){.number = number};
		ob_map_put(&http->lanes, number, lane);
	}
	lane->held++;
	return lane;
}

void
http_batch_forget(struct http_sink *http, struct http_lane *lane)
{
	if (lane == NULL || --lane->held > 0)
		return;
	ob_map_remove(&http->lanes, lane->number);
	lane->next_free = http->lane_free;
	http->lane_free = lane;
}

static void
give_back(struct http_sink *http, const struct http_item *item)
{
	struct ob_reason reason;

	ob_reason_set_code(&reason, "returned", "returned");
	ob_reason_set_text(&reason, "", 0);
	http_done_put(http, item, OB_FATE_RETURNED, false, &reason);
}

void
http_batch_take(struct http_sink *http, const struct ob_delivery *delivery)
{
	struct http_item item = {.ticket = delivery->ticket,
				 .message = delivery->message,
				 .attempt = delivery->attempt,
				 .taken_us = http_now_us(http)};
	const char *code, *problem = http_message_problem(http, delivery->message, &code);

	if (delivery->lane != 0)
		item.lane = lane_hold(http, delivery->lane);
	http->is_flushed = false;
	if (item.lane != NULL && item.lane->has_failed)
		give_back(http, &item);
	else if (problem != NULL)
		http_reject(http, &item, code, problem);
	else
		http->waiting[http->waiting_count++] = item;
}

/* Tries to put a waiting message into the request. True: it waits no longer. */
static bool
gather_one(struct http_sink *http, struct http_request *request, const struct http_item *item,
	   bool *is_full)
{
	struct http_lane *lane = item->lane;
	struct ob_formatted *content = &request->content;
	size_t before = content->text.size;

	if (lane != NULL && lane->has_failed) {
		give_back(http, item);
		return true;
	}
	if (*is_full || (item->attempt > 1 && request->count > 0) ||
	    (lane != NULL && lane->passed == http->gathering) ||
	    (lane != NULL && lane->sending > 0 && lane->gathered != http->gathering)) {
		if (lane != NULL)
			lane->passed = http->gathering;
		return false;
	}
	if (!ob_format_batch_add(content, &http->format, item->message)) {
		http_reject(http, item, content->code, content->problem);
		return true;
	}
	if (request->count > 0 && content->text.size > (uint64_t)http->options->batch_bytes_max) {
		ob_buf_truncate(&content->text, before);
		*is_full = true;
		if (lane != NULL)
			lane->passed = http->gathering;
		return false;
	}
	if (lane != NULL) {
		lane->sending++;
		lane->gathered = http->gathering;
	}
	request->items[request->count++] = *item;
	*is_full = request->count == http->batch || item->attempt > 1;
	return true;
}

static void
gather(struct http_sink *http, struct http_request *request)
{
	size_t kept = 0;
	bool is_full = false;

	http->gathering++;
	request->count = 0;
	ob_format_batch_begin(&request->content);
	for (size_t i = 0; i < http->waiting_count; i++) {
		struct http_item item = http->waiting[i];

		if (!gather_one(http, request, &item, &is_full))
			http->waiting[kept++] = item;
	}
	http->waiting_count = kept;
}

/* Stands for just these messages in just this order, so that a recipient may drop a second delivery of the same batch by
 * it. Single messages are known by the ids of their events. */
static struct ob_bytes
batch_id(struct http_request *request)
{
	struct ob_buf *text = &request->content.scratch;
	unsigned char digest[32];
	size_t size = 0;

	ob_buf_reset(text);
	for (size_t i = 0; i < request->count; i++) {
		const struct ob_message *message = request->items[i].message;

		ob_buf_append(text, message->id.data, message->id.size);
		ob_buf_append_byte(text, '\n');
	}
	if (text->failed ||
	    EVP_Q_digest(NULL, "SHA256", NULL, text->data, text->size, digest, &size) != 1)
		return request->items[0].message->id;
	ob_buf_reset(text);
	ob_buf_append_text(text, "batch_");
	ob_hex_encode(text, digest, 16);
	return (struct ob_bytes){text->data, text->size};
}

static bool
is_time(const struct http_sink *http, int64_t now_us)
{
	return http->waiting_count >= http->batch || http->is_flushed ||
	       now_us - http->waiting[0].taken_us >= http->options->batch_linger_ms * 1000;
}

int
http_batch_send(struct http_sink *http, int64_t now_us)
{
	while (http->waiting_count > 0 && !ob_list_is_empty(&http->idle) && !http->must_renew) {
		struct http_request *request =
		    OB_CONTAINER_OF(ob_list_first(&http->idle), struct http_request, link);

		if (!is_time(http, now_us)) {
			int64_t left_us = http->waiting[0].taken_us +
					  http->options->batch_linger_ms * 1000 - now_us;

			return (int)((left_us + 999) / 1000);
		}
		gather(http, request);
		/* All that wait are behind others of their keys: the end of a request brings us back. */
		if (request->count == 0)
			break;
		ob_format_batch_end(&request->content);
		http_request_start(request, batch_id(request));
	}
	return -1;
}

void
http_batch_fail(struct http_sink *http, const struct http_request *request)
{
	size_t kept = 0;

	for (size_t i = 0; i < request->count; i++)
		if (request->items[i].lane != NULL)
			request->items[i].lane->has_failed = true;
	for (size_t i = 0; i < http->waiting_count; i++) {
		struct http_item item = http->waiting[i];

		if (item.lane != NULL && item.lane->has_failed)
			give_back(http, &item);
		else
			http->waiting[kept++] = item;
	}
	http->waiting_count = kept;
}

void
http_batch_cancel(struct http_sink *http)
{
	for (size_t i = 0; i < http->waiting_count; i++)
		give_back(http, &http->waiting[i]);
	http->waiting_count = 0;
}
