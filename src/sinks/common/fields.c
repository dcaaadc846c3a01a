#include "fields.h"

#include <string.h>
#include <strings.h>

#include "percent.h"

void
ob_fields_init(struct ob_fields *fields)
{
	memset(fields, 0, sizeof(*fields));
	ob_buf_init(&fields->text, OB_FIELDS_SIZE_MAX);
}

void
ob_fields_reset(struct ob_fields *fields)
{
	ob_buf_reset(&fields->text);
	fields->count = 0;
	fields->full = false;
}

void
ob_fields_free(struct ob_fields *fields)
{
	ob_buf_free(&fields->text);
	fields->count = 0;
}

/* Writes "name: "; the caller writes the value. */
static struct ob_field *
field_begin(struct ob_fields *fields, struct ob_bytes prefix, struct ob_bytes name)
{
	struct ob_field *field = &fields->items[fields->count];
	size_t size = prefix.size + name.size;
	char *at;

	if (fields->count == OB_FIELDS_MAX)
		return NULL;
	at = ob_buf_reserve(&fields->text, size + 2);
	if (at == NULL)
		return NULL;
	field->at = (uint32_t)fields->text.size;
	field->name_size = (uint32_t)size;
	memcpy(at, prefix.data, prefix.size);
	memcpy(at + prefix.size, name.data, name.size);
	memcpy(at + size, ": ", 2);
	ob_buf_commit(&fields->text, size + 2);
	return field;
}

static void
field_end(struct ob_fields *fields, struct ob_field *field, bool is_whole)
{
	if (!is_whole || !ob_buf_append_byte(&fields->text, '\0')) {
		fields->full = true;
		return;
	}
	field->value_size = (uint32_t)(fields->text.size - 1 - field->at - field->name_size - 2);
	fields->count++;
}

static void
field_add(struct ob_fields *fields, struct ob_bytes prefix, struct ob_bytes name,
	  struct ob_bytes value)
{
	struct ob_field *field = field_begin(fields, prefix, name);

	if (field == NULL)
		fields->full = true;
	else
		field_end(fields, field, ob_buf_append(&fields->text, value.data, value.size));
}

void
ob_fields_add(struct ob_fields *fields, const char *prefix, const char *name, struct ob_bytes value)
{
	field_add(fields, (struct ob_bytes){prefix, strlen(prefix)},
		  (struct ob_bytes){name, strlen(name)}, value);
}

/* Most values have nothing to encode, and are told so by one look at each byte. */
static bool
needs_encoding(struct ob_bytes value)
{
	const unsigned char *at = value.data;
	bool needs = false;

	for (size_t i = 0; i < value.size; i++)
		needs |= at[i] <= 0x20 || at[i] >= 0x7f || at[i] == '"' || at[i] == '%';
	return needs;
}

void
ob_fields_add_encoded(struct ob_fields *fields, const char *prefix, const char *name,
		      struct ob_bytes value)
{
	struct ob_field *field;

	if (!needs_encoding(value)) {
		ob_fields_add(fields, prefix, name, value);
		return;
	}
	field = field_begin(fields, (struct ob_bytes){prefix, strlen(prefix)},
			    (struct ob_bytes){name, strlen(name)});
	if (field == NULL)
		fields->full = true;
	else
		field_end(fields, field,
			  ob_percent_encode_header(&fields->text, value.data, value.size));
}

bool
ob_field_is(const struct ob_fields *fields, const struct ob_field *field, const char *name)
{
	return field->name_size == strlen(name) &&
	       strncasecmp(fields->text.data + field->at, name, field->name_size) == 0;
}

bool
ob_fields_have(const struct ob_fields *fields, const char *name)
{
	for (uint32_t i = 0; i < fields->count; i++)
		if (ob_field_is(fields, &fields->items[i], name))
			return true;
	return false;
}

/* RFC 9110, 5.6.2: token. */
static bool
is_token_byte(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/*
 * Names that an application must not set: those that frame the message or steer the connection (a wrong one
 * smuggles requests), those that libcurl or the sink write themselves, and our own.
 */
static bool
is_reserved(struct ob_bytes name)
{
	static const char *const names[] = {
	    "authorization",  "connection",   "content-encoding",
	    "content-length", "content-type", "expect",
	    "host",           "keep-alive",   "te",
	    "trailer",        "upgrade",      "transfer-encoding",
	};
	static const char *const prefixes[] = {"ce-", "x-outbox-", "webhook-", "proxy-",
					       "cloudevents:"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == name.size &&
		    strncasecmp(names[i], name.data, name.size) == 0)
			return true;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strlen(prefixes[i]) <= name.size &&
		    strncasecmp(prefixes[i], name.data, strlen(prefixes[i])) == 0)
			return true;
	return false;
}

const char *
ob_field_name_problem(struct ob_bytes name)
{
	const unsigned char *at = name.data;

	if (name.size == 0)
		return "a header's name is empty";
	if (name.size > 255)
		return "a header's name has more than 255 bytes";
	for (size_t i = 0; i < name.size; i++)
		if (!is_token_byte(at[i]))
			return "a header's name holds a character that none may have";
	return NULL;
}

const char *
ob_field_value_problem(struct ob_bytes value)
{
	const unsigned char *at = value.data;

	for (size_t i = 0; i < value.size; i++)
		if ((at[i] < 0x20 && at[i] != '\t') || at[i] == 0x7f)
			return "a header's value holds a control character";
	return NULL;
}

const char *
ob_fields_add_foreign(struct ob_fields *fields, struct ob_bytes name, struct ob_bytes value)
{
	const char *problem = ob_field_name_problem(name);

	if (problem == NULL)
		problem = ob_field_value_problem(value);
	if (problem == NULL && is_reserved(name))
		problem = "a header has a name that only the relay may set";
	if (problem == NULL)
		field_add(fields, (struct ob_bytes){"", 0}, name, value);
	return problem;
}
