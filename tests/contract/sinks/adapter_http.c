/* http: the recipient is a server on the loopback. Once with a message a request, once with batches. */
#include <assert.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "http_recipient.h"
#include "sink_suite.h"
#include "sinks.h"

struct recipient {
	struct http_recipient *server;
	pthread_mutex_t lock;
	char refused[64];
	struct sink_arrivals arrivals;
};

static int
http_arrived(void *context, const struct http_arrived *arrived)
{
	struct recipient *it = context;
	int status = 204;

	pthread_mutex_lock(&it->lock);
	if (it->refused[0] != '\0' && strcmp(it->refused, arrived->id) == 0)
		status = 422;
	else
		/* No content type: a tombstone. */
		sink_arrivals_add(&it->arrivals, arrived->id,
				  arrived->has_type ? arrived->body : NULL, arrived->size);
	pthread_mutex_unlock(&it->lock);
	return status;
}

/* The sink writes `data` last, and JSON as it was: so these bytes stand between "data": and the event's end. */
static void
add_json(struct recipient *it, const char *id, const char *body)
{
	const char *event = strstr(body, id), *data, *end;

	assert(event != NULL);
	data = strstr(event, ",\"data\":");
	assert(data != NULL);
	data += strlen(",\"data\":");
	end = strstr(data, "},{\"specversion\"");
	if (end == NULL)
		end = data + strlen(data) - 2;
	sink_arrivals_add(&it->arrivals, id, data, (size_t)(end - data));
}

static void
add_event(struct recipient *it, const json_t *event, const char *body)
{
	const char *id = json_string_value(json_object_get(event, "id"));
	const json_t *data = json_object_get(event, "data");
	const json_t *base64 = json_object_get(event, "data_base64");
	const char *type = json_string_value(json_object_get(event, "datacontenttype"));

	if (base64 != NULL) {
		struct ob_buf bytes;

		ob_buf_init(&bytes, 64 * 1024 * 1024);
		assert(ob_base64_decode(&bytes, json_string_value(base64),
					json_string_length(base64)));
		sink_arrivals_add(&it->arrivals, id, ob_buf_text(&bytes), bytes.size);
		ob_buf_free(&bytes);
	} else if (data != NULL && strcmp(type, "application/json") == 0) {
		add_json(it, id, body);
	} else {
		sink_arrivals_add(&it->arrivals, id, json_string_value(data),
				  json_string_length(data));
	}
}

static int
batch_arrived(void *context, const struct http_arrived *arrived)
{
	struct recipient *it = context;
	json_t *events = json_loadb(arrived->body, arrived->size, JSON_ALLOW_NUL, NULL);
	size_t index;
	json_t *event;

	if (!json_is_array(events)) {
		json_decref(events);
		return 400;
	}
	pthread_mutex_lock(&it->lock);
	json_array_foreach(events, index, event) add_event(it, event, arrived->body);
	pthread_mutex_unlock(&it->lock);
	json_decref(events);
	return 204;
}

static void *
start(http_arrived_fn arrived)
{
	struct recipient *it = calloc(1, sizeof(*it));

	assert(it != NULL);
	pthread_mutex_init(&it->lock, NULL);
	it->server = http_recipient_start(arrived, it);
	return it;
}

static void *
http_start(const char *directory)
{
	(void)directory;
	return start(http_arrived);
}

static void *
batch_start(const char *directory)
{
	(void)directory;
	return start(batch_arrived);
}

static void
http_stop(void *recipient)
{
	struct recipient *it = recipient;

	http_recipient_stop(it->server);
	pthread_mutex_destroy(&it->lock);
	sink_arrivals_clear(&it->arrivals);
	free(it);
}

static void
http_configure(void *recipient, struct sink_setup *setup)
{
	struct recipient *it = recipient;

	snprintf(setup->url, sizeof(setup->url), "http://127.0.0.1:%d/orders",
		 http_recipient_port(it->server));
	snprintf(setup->options[0], sizeof(setup->options[0]), "connections=8");
}

static void
batch_configure(void *recipient, struct sink_setup *setup)
{
	http_configure(recipient, setup);
	snprintf(setup->options[0], sizeof(setup->options[0]), "connections=3");
	snprintf(setup->options[1], sizeof(setup->options[1]), "batch=7");
	snprintf(setup->options[2], sizeof(setup->options[2]),
		 "content-type=application/octet-stream");
}

static void
http_arrivals(void *recipient, struct sink_arrivals *arrivals)
{
	struct recipient *it = recipient;

	pthread_mutex_lock(&it->lock);
	for (size_t i = 0; i < it->arrivals.count; i++)
		sink_arrivals_add(arrivals, it->arrivals.items[i].id, it->arrivals.items[i].payload,
				  it->arrivals.items[i].payload_size);
	sink_arrivals_clear(&it->arrivals);
	pthread_mutex_unlock(&it->lock);
}

static void
http_refuse(void *recipient, const char *id)
{
	struct recipient *it = recipient;

	pthread_mutex_lock(&it->lock);
	snprintf(it->refused, sizeof(it->refused), "%s", id == NULL ? "" : id);
	pthread_mutex_unlock(&it->lock);
}

static void
http_down(void *recipient, bool down)
{
	http_recipient_down(((struct recipient *)recipient)->server, down);
}

static void
http_hang(void *recipient, bool hang)
{
	http_recipient_hang(((struct recipient *)recipient)->server, hang);
}

const struct sink_adapter sink_adapter_http = {
    .name = "http",
    .ops = &ob_sink_http,
    .wrong_url = "http://",
    .start = http_start,
    .stop = http_stop,
    .configure = http_configure,
    .arrivals = http_arrivals,
    .refuse = http_refuse,
    .down = http_down,
    .hang = http_hang,
    .grace_ms = 100,
};

const struct sink_adapter sink_adapter_http_batch = {
    .name = "http-batch",
    .ops = &ob_sink_http,
    .wrong_url = "https://user@:0x/",
    .start = batch_start,
    .stop = http_stop,
    .configure = batch_configure,
    .arrivals = http_arrivals,
    .why_no_refusal = "a batch is refused as a whole (tests/contract/http has that case)",
    .down = http_down,
    .hang = http_hang,
    .grace_ms = 100,
};
