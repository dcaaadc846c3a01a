#include "arrival.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base64.h"
#include "json.h"
#include "json_text.h"
#include "percent.h"
#include "text.h"
#include "utf8.h"

#define FIELDS_MAX  200
#define ARENA_CHUNK (16 * 1024)
#define ARENA_MAX   ((size_t)512 * 1024 * 1024)

void
receive_arrival_init(struct receive_arrival *arrival)
{
	*arrival = (struct receive_arrival){0};
	ob_arena_init(&arrival->arena, ARENA_CHUNK, ARENA_MAX);
}

void
receive_arrival_free(struct receive_arrival *arrival)
{
	ob_arena_free(&arrival->arena);
}

void
receive_arrival_reset(struct receive_arrival *arrival)
{
	struct ob_arena arena = arrival->arena;

	ob_arena_reset(&arena);
	*arrival = (struct receive_arrival){.arena = arena};
}

bool
receive_arrival_field(struct receive_arrival *arrival, const char *name, const char *value)
{
	size_t size = strlen(name);
	struct receive_field *field;
	char *lower;

	if (arrival->fields == NULL)
		arrival->fields =
		    ob_arena_alloc(&arrival->arena, FIELDS_MAX * sizeof(arrival->fields[0]));
	if (arrival->fields == NULL || arrival->field_count == FIELDS_MAX)
		return false;
	field = &arrival->fields[arrival->field_count];
	lower = ob_arena_copy(&arrival->arena, name, size);
	field->value.size = value == NULL ? 0 : strlen(value);
	field->value.data =
	    ob_arena_copy(&arrival->arena, value == NULL ? "" : value, field->value.size);
	if (lower == NULL || field->value.data == NULL)
		return false;
	for (size_t i = 0; i < size; i++)
		if (lower[i] >= 'A' && lower[i] <= 'Z')
			lower[i] = (char)(lower[i] - 'A' + 'a');
	field->name = (struct ob_bytes){lower, size};
	arrival->field_count++;
	return true;
}

struct ob_bytes
receive_arrival_find(const struct receive_arrival *arrival, const char *name)
{
	for (size_t i = 0; i < arrival->field_count; i++)
		if (ob_bytes_equal_text(arrival->fields[i].name, name))
			return arrival->fields[i].value;
	return (struct ob_bytes){0};
}

static bool
fail(struct receive_arrival *arrival, const char *problem)
{
	arrival->problem = problem;
	return false;
}

/* ---- one message in header fields ---- */

/* The value of a field that is percent-encoded. What is wrongly encoded stays as it came. */
static struct ob_bytes
find_decoded(struct receive_arrival *arrival, const char *name)
{
	struct ob_bytes value = receive_arrival_find(arrival, name);
	struct ob_buf decoded;
	char *copy;

	if (value.data == NULL || memchr(value.data, '%', value.size) == NULL)
		return value;
	ob_buf_init(&decoded, value.size);
	if (ob_percent_decode(&decoded, value.data, value.size)) {
		copy = ob_arena_copy(&arrival->arena, ob_buf_text(&decoded), decoded.size);
		if (copy != NULL)
			value = (struct ob_bytes){copy, decoded.size};
	}
	ob_buf_free(&decoded);
	return value;
}

static struct ob_bytes
first_of(struct ob_bytes one, struct ob_bytes other)
{
	return one.data != NULL ? one : other;
}

static bool
read_fields(struct receive_arrival *arrival, struct ob_bytes body)
{
	struct receive_event *event = ob_arena_zalloc(&arrival->arena, sizeof(*event));

	if (event == NULL)
		return fail(arrival, "no memory");
	event->id =
	    first_of(find_decoded(arrival, "ce-id"), receive_arrival_find(arrival, "webhook-id"));
	event->topic =
	    first_of(find_decoded(arrival, "ce-topic"), find_decoded(arrival, "x-outbox-topic"));
	event->key = first_of(
	    find_decoded(arrival, "ce-partitionkey"),
	    first_of(find_decoded(arrival, "ce-subject"), find_decoded(arrival, "x-outbox-key")));
	event->type =
	    first_of(find_decoded(arrival, "ce-type"), find_decoded(arrival, "x-outbox-type"));
	event->source = find_decoded(arrival, "ce-source");
	event->time = find_decoded(arrival, "ce-time");
	event->content_type = receive_arrival_find(arrival, "content-type");
	/* Without a body and without a content type it is a tombstone. */
	if (body.size > 0 || event->content_type.data != NULL)
		event->payload = (struct ob_bytes){body.size > 0 ? body.data : "", body.size};
	arrival->events = event;
	arrival->event_count = 1;
	return true;
}

/* ---- messages in JSON ---- */

static struct ob_bytes
member(struct receive_arrival *arrival, const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);
	size_t size = json_string_length(value);
	char *copy;

	if (!json_is_string(value))
		return (struct ob_bytes){0};
	copy = ob_arena_copy(&arrival->arena, json_string_value(value), size);
	return (struct ob_bytes){copy, copy == NULL ? 0 : size};
}

static bool
is_json_type(struct ob_bytes type)
{
	static const char json[] = "json";

	return type.data == NULL || memmem(type.data, type.size, json, sizeof(json) - 1) != NULL;
}

/* Appends what a member's value looks like in the text of its object. */
static bool
append_member(struct ob_buf *out, json_t *object, struct ob_bytes text, const json_t *member)
{
	const char *at = (const char *)memchr(text.data, '{', text.size) + 1;
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value)
	{
		struct ob_bytes json = ob_json_member_next(&at);

		if (value == member)
			return ob_json_compact(out, json);
	}
	return false;
}

static bool
read_data(struct receive_arrival *arrival, json_t *object, struct ob_bytes text,
	  struct receive_event *event)
{
	const json_t *data = json_object_get(object, "data");
	struct ob_bytes code = member(arrival, object, "data_base64");
	struct ob_buf bytes;
	char *copy;
	bool done;

	if (code.data != NULL) {
		ob_buf_init(&bytes, code.size);
		if (!ob_base64_decode(&bytes, code.data, code.size)) {
			ob_buf_free(&bytes);
			return fail(arrival, "data_base64 is not base64");
		}
		copy = ob_arena_copy(&arrival->arena, ob_buf_text(&bytes), bytes.size);
		event->payload = (struct ob_bytes){copy, bytes.size};
		ob_buf_free(&bytes);
	} else if (json_is_string(data) && !is_json_type(event->content_type)) {
		event->payload = member(arrival, object, "data");
	} else if (data != NULL) {
		ob_buf_init(&bytes, text.size);
		done = append_member(&bytes, object, text, data);
		copy = ob_arena_copy(&arrival->arena, ob_buf_text(&bytes), bytes.size);
		event->payload = (struct ob_bytes){copy, bytes.size};
		ob_buf_free(&bytes);
		if (!done || copy == NULL)
			return fail(arrival, "no memory");
	}
	return true;
}

static bool
read_object(struct receive_arrival *arrival, json_t *object, struct ob_bytes text,
	    struct receive_event *event)
{
	if (!json_is_object(object))
		return fail(arrival, "an event is not a JSON object");
	*event = (struct receive_event){
	    .id = member(arrival, object, "id"),
	    .topic = member(arrival, object, "topic"),
	    .key = first_of(member(arrival, object, "partitionkey"),
			    member(arrival, object, "subject")),
	    .type = member(arrival, object, "type"),
	    .source = member(arrival, object, "source"),
	    .time = member(arrival, object, "time"),
	    .content_type = member(arrival, object, "datacontenttype"),
	};
	return read_data(arrival, object, text, event);
}

static bool
read_json(struct receive_arrival *arrival, struct ob_bytes body, bool batch)
{
	json_t *json =
	    json_loadb(body.size > 0 ? body.data : "", body.size,
		       JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
	const char *at = NULL;
	size_t count = batch ? json_array_size(json) : 1;
	bool ok = true;

	if (json == NULL || (batch && !json_is_array(json))) {
		json_decref(json);
		return fail(arrival,
			    json == NULL ? "the body is not JSON" : "the batch is no array");
	}
	if (count <= RECEIVE_EVENTS_MAX)
		arrival->events =
		    ob_arena_zalloc(&arrival->arena, (count + 1) * sizeof(arrival->events[0]));
	if (arrival->events == NULL)
		ok = fail(arrival, "too many events");
	if (batch)
		at = (const char *)memchr(body.data, '[', body.size) + 1;
	for (size_t i = 0; ok && i < count; i++)
		ok = read_object(arrival, batch ? json_array_get(json, i) : json,
				 batch ? ob_json_item_next(&at) : body, &arrival->events[i]);
	arrival->event_count = ok ? count : 0;
	json_decref(json);
	return ok;
}

bool
receive_arrival_read(struct receive_arrival *arrival, struct ob_bytes body)
{
	static const char batch[] = "application/cloudevents-batch",
			  one[] = "application/cloudevents";
	struct ob_bytes type = receive_arrival_find(arrival, "content-type");

	if (type.size >= sizeof(batch) - 1 && strncasecmp(type.data, batch, sizeof(batch) - 1) == 0)
		return read_json(arrival, body, true);
	if (type.size >= sizeof(one) - 1 && strncasecmp(type.data, one, sizeof(one) - 1) == 0)
		return read_json(arrival, body, false);
	return read_fields(arrival, body);
}

/* ---- the line ---- */

static void
write_member(struct ob_buf *out, const char *name, struct ob_bytes value)
{
	if (value.data == NULL)
		return;
	ob_buf_appendf(out, ",\"%s\":", name);
	ob_json_append_string(out, value.data, value.size);
}

/* What the transport or the format adds is told apart from what the application sent along. */
static bool
is_plumbing(struct ob_bytes name)
{
	static const char *const exact[] = {
	    "host",       "accept",         "user-agent", "content-type",
	    "connection", "content-length", "expect",     "transfer-encoding",
	    "upgrade",    "http2-settings", NULL};
	static const char *const prefixes[] = {"ce-", "webhook-", "x-outbox-", NULL};

	for (size_t i = 0; exact[i] != NULL; i++)
		if (ob_bytes_equal_text(name, exact[i]))
			return true;
	for (size_t i = 0; prefixes[i] != NULL; i++)
		if (ob_text_starts_with(name.data, prefixes[i]))
			return true;
	return false;
}

static void
write_headers(struct ob_buf *out, const struct receive_arrival *arrival)
{
	const char *before = ",\"headers\":{";

	for (size_t i = 0; i < arrival->field_count; i++) {
		const struct receive_field *field = &arrival->fields[i];

		if (is_plumbing(field->name))
			continue;
		ob_buf_append_text(out, before);
		ob_json_append_string(out, field->name.data, field->name.size);
		ob_buf_append_byte(out, ':');
		ob_json_append_string(out, field->value.data, field->value.size);
		before = ",";
	}
	if (before[1] == '\0')
		ob_buf_append_byte(out, '}');
}

static void
write_payload(struct ob_buf *out, struct ob_bytes payload)
{
	if (payload.data == NULL) {
		ob_buf_append_text(out, ",\"payload\":null");
	} else if (ob_utf8_valid(payload.data, payload.size)) {
		write_member(out, "payload", payload);
	} else {
		ob_buf_append_text(out, ",\"payload_base64\":\"");
		ob_base64_encode(out, payload.data, payload.size);
		ob_buf_append_byte(out, '"');
	}
}

bool
receive_line_write(struct ob_buf *out, const struct receive_arrival *arrival,
		   const struct receive_event *event, const struct receive_line *line)
{
	if (line->number > 0)
		ob_buf_appendf(out, "{\"n\":%llu", (unsigned long long)line->number);
	else
		ob_buf_append_text(out, "{\"n\":null");
	write_member(out, "id", event->id);
	ob_buf_appendf(out, ",\"duplicate\":%s,\"status\":%u", line->duplicate ? "true" : "false",
		       line->status);
	write_member(out, "topic", event->topic);
	write_member(out, "key", event->key);
	write_member(out, "type", event->type);
	write_member(out, "source", event->source);
	write_member(out, "time", event->time);
	write_member(out, "content_type", event->content_type);
	write_headers(out, arrival);
	if (line->checked)
		ob_buf_appendf(out, ",\"verified\":%s", line->verified ? "true" : "false");
	write_payload(out, event->payload);
	ob_buf_append_text(out, "}\n");
	return !out->failed;
}
