#include "format.h"

#include <string.h>

#include "format_json.h"
#include "headers.h"
#include "rfc3339.h"
#include "text.h"

void
ob_formatted_init(struct ob_formatted *out)
{
	memset(out, 0, sizeof(*out));
	ob_fields_init(&out->fields);
	ob_buf_init(&out->text, OB_FORMAT_BODY_MAX);
	ob_buf_init(&out->scratch, OB_FIELDS_SIZE_MAX);
}

void
ob_formatted_free(struct ob_formatted *out)
{
	ob_fields_free(&out->fields);
	ob_buf_free(&out->text);
	ob_buf_free(&out->scratch);
}

bool
ob_format_refuse(struct ob_formatted *out, const char *code, const char *problem)
{
	out->code = code;
	out->problem = problem;
	return false;
}

static void
formatted_reset(struct ob_formatted *out)
{
	ob_fields_reset(&out->fields);
	ob_buf_reset(&out->text);
	out->content_type = (struct ob_bytes){0};
	out->body = (struct ob_bytes){"", 0};
	out->code = NULL;
	out->problem = NULL;
}

static void
add_attribute(struct ob_formatted *out, const struct ob_format_config *config, const char *name,
	      struct ob_bytes value)
{
	/* CloudEvents knows no empty attribute: it is left out, as an absent one is. */
	if (value.size == 0)
		return;
	if (config->encode)
		ob_fields_add_encoded(&out->fields, config->prefix, name, value);
	else
		ob_fields_add(&out->fields, config->prefix, name, value);
}

static void
add_attributes(struct ob_formatted *out, const struct ob_format_config *config,
	       const struct ob_message *message)
{
	char time[OB_RFC3339_SIZE];

	ob_fields_add(&out->fields, config->prefix, "specversion", (struct ob_bytes){"1.0", 3});
	add_attribute(out, config, "id", message->id);
	add_attribute(out, config, "source", ob_bytes_of_text(config->source));
	add_attribute(out, config, "type", message->type.size > 0 ? message->type : message->topic);
	ob_rfc3339_format(time, message->created_at_us);
	ob_fields_add(&out->fields, config->prefix, "time", ob_bytes_of_text(time));
	add_attribute(out, config, "subject", message->key);
	add_attribute(out, config, "partitionkey", message->key);
	add_attribute(out, config, "topic", message->topic);
}

/* Without CloudEvents there are three names of our own, so that a recipient can tell what it got. */
static void
add_raw(struct ob_formatted *out, const struct ob_message *message)
{
	ob_fields_add_encoded(&out->fields, "x-outbox-", "topic", message->topic);
	if (message->key.data != NULL)
		ob_fields_add_encoded(&out->fields, "x-outbox-", "key", message->key);
	if (message->type.data != NULL)
		ob_fields_add_encoded(&out->fields, "x-outbox-", "type", message->type);
}

static bool
add_headers(struct ob_formatted *out, struct ob_bytes headers)
{
	struct ob_headers_reader reader;
	struct ob_header header;

	if (headers.data == NULL)
		return true;
	ob_headers_start(&reader, headers, &out->scratch);
	while (ob_headers_next(&reader, &header)) {
		const char *problem =
		    ob_fields_add_foreign(&out->fields, header.name, header.value);

		if (problem != NULL)
			return ob_format_refuse(out, "bad_header", problem);
	}
	return reader.problem == NULL || ob_format_refuse(out, "bad_headers", reader.problem);
}

bool
ob_format_content_type(struct ob_formatted *out, const struct ob_format_config *config,
		       const struct ob_message *message, struct ob_bytes *type)
{
	*type = message->content_type.size > 0 ? message->content_type
					       : ob_bytes_of_text(config->content_type);
	if (ob_field_value_problem(*type) != NULL)
		return ob_format_refuse(out, "bad_content_type",
					"the content type holds a control character");
	return true;
}

bool
ob_format_message(struct ob_formatted *out, const struct ob_format_config *config,
		  const struct ob_message *message)
{
	formatted_reset(out);
	if (config->format == OB_FORMAT_CLOUDEVENTS_STRUCTURED) {
		if (!ob_format_event(out, config, message, false))
			return false;
		out->body = (struct ob_bytes){ob_buf_text(&out->text), out->text.size};
		out->content_type = ob_bytes_of_text(OB_FORMAT_TYPE_JSON);
	} else {
		if (config->format == OB_FORMAT_RAW)
			add_raw(out, message);
		else
			add_attributes(out, config, message);
		if (message->payload.data != NULL) {
			out->body = message->payload;
			if (!ob_format_content_type(out, config, message, &out->content_type))
				return false;
		}
	}
	if (!add_headers(out, message->headers))
		return false;
	return !out->fields.full ||
	       ob_format_refuse(out, "headers_too_large",
				"more than 100 headers, or more than 256 KiB of them");
}

void
ob_format_batch_begin(struct ob_formatted *out)
{
	formatted_reset(out);
	ob_buf_append_byte(&out->text, '[');
}

bool
ob_format_batch_add(struct ob_formatted *out, const struct ob_format_config *config,
		    const struct ob_message *message)
{
	size_t before = out->text.size;

	out->code = NULL;
	out->problem = NULL;
	if (before > 1)
		ob_buf_append_byte(&out->text, ',');
	if (ob_format_event(out, config, message, true))
		return true;
	ob_buf_truncate(&out->text, before);
	out->text.failed = false;
	return false;
}

bool
ob_format_batch_end(struct ob_formatted *out)
{
	bool is_whole = ob_buf_append_byte(&out->text, ']');

	out->body = (struct ob_bytes){ob_buf_text(&out->text), out->text.size};
	out->content_type = ob_bytes_of_text(OB_FORMAT_TYPE_BATCH);
	return is_whole;
}
