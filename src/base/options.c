#include "options.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"
#include "utf8.h"

static void *
field_of(const struct ob_option *row, void *values)
{
	return (char *)values + row->field;
}

static size_t
table_count(const struct ob_option *table)
{
	size_t count = 0;

	while (table[count].type != OB_OPTION_END)
		count++;
	assert(count <= OB_OPTIONS_MAX);
	return count;
}

const struct ob_option *
ob_option_find(const struct ob_option *table, const char *name)
{
	for (; table->type != OB_OPTION_END; table++)
		if (strcmp(table->name, name) == 0)
			return table;
	return NULL;
}

static void
strings_free(struct ob_strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
	*strings = (struct ob_strings){0};
}

/* Puts the text into the field in place of what was there. */
static int
store_string(char **field, const char *text, struct ob_error *error)
{
	char *copy = strdup(text);

	if (copy == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	free(*field);
	*field = copy;
	return OB_OK;
}

static int
strings_add(struct ob_strings *strings, struct ob_bytes item, struct ob_error *error)
{
	char **items;

	if (item.size == 0)
		return ob_error_set(error, OB_CONFIG, "an empty item in the list");
	if (strings->count == OB_OPTION_LIST_MAX)
		return ob_error_set(error, OB_CONFIG, "more than %d items", OB_OPTION_LIST_MAX);
	items = reallocarray(strings->items, strings->count + 1, sizeof(*items));
	if (items == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	strings->items = items;
	items[strings->count] = strndup(item.data, item.size);
	if (items[strings->count] == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	strings->count++;
	return OB_OK;
}

static int
store_list(struct ob_strings *field, const char *text, struct ob_error *error)
{
	struct ob_strings added = *field;
	size_t before = field->count;
	int code = OB_OK;

	for (const char *at = text; at != NULL && code == OB_OK;) {
		size_t size = strcspn(at, ",");
		struct ob_bytes item = {.data = at, .size = size};

		code = strings_add(&added, ob_bytes_trim(item), error);
		at = at[size] == ',' ? at + size + 1 : NULL;
	}
	while (code != OB_OK && added.count > before)
		free(added.items[--added.count]);
	*field = added;
	return code;
}

/* Numbers of all kinds: what is wrong, or NULL. */
static const char *
parse_number(const struct ob_option *row, const char *text, int64_t *value)
{
	if (row->type == OB_OPTION_SIZE)
		return ob_parse_size(text, value);
	if (row->type == OB_OPTION_DURATION)
		return ob_parse_duration(text, value);
	return ob_parse_int(text, value);
}

static void
show_number(const struct ob_option *row, int64_t value, struct ob_buf *out)
{
	static const struct {
		enum ob_option_type type;
		const char *unit;
		int64_t factor;
	} units[] = {
	    {OB_OPTION_SIZE, "GiB", INT64_C(1) << 30}, {OB_OPTION_SIZE, "MiB", INT64_C(1) << 20},
	    {OB_OPTION_SIZE, "KiB", INT64_C(1) << 10}, {OB_OPTION_DURATION, "d", 86400000},
	    {OB_OPTION_DURATION, "h", 3600000},        {OB_OPTION_DURATION, "m", 60000},
	    {OB_OPTION_DURATION, "s", 1000},           {OB_OPTION_DURATION, "ms", 1},
	};

	for (size_t i = 0; value != 0 && i < sizeof(units) / sizeof(units[0]); i++) {
		if (units[i].type == row->type && value % units[i].factor == 0) {
			ob_buf_appendf(out, "%" PRId64 "%s", value / units[i].factor,
				       units[i].unit);
			return;
		}
	}
	ob_buf_appendf(out, "%" PRId64, value);
}

/* `text` is the value as it was written. */
static int
check_number(const struct ob_option *row, int64_t value, const char *text, struct ob_error *error)
{
	bool bounded = row->min != 0 || row->max != 0;
	int64_t min = row->min, max = bounded ? row->max : INT64_MAX;
	struct ob_buf range;

	if (value >= min && value <= max)
		return OB_OK;
	ob_buf_init(&range, 256);
	show_number(row, min, &range);
	if (max != INT64_MAX) {
		ob_buf_append_text(&range, " to ");
		show_number(row, max, &range);
	} else {
		ob_buf_append_text(&range, " or more");
	}
	ob_error_set(error, OB_CONFIG, "%s is out of range; allowed is %s", text,
		     ob_buf_text(&range));
	ob_buf_free(&range);
	return OB_CONFIG;
}

static int
store_number(const struct ob_option *row, int64_t *field, const char *text, struct ob_error *error)
{
	int64_t value = 0;
	const char *right = parse_number(row, text, &value);
	int code;

	if (right != NULL)
		return ob_error_set(error, OB_CONFIG, "\"%s\" is not %s", text, right);
	code = check_number(row, value, text, error);
	if (code == OB_OK)
		*field = value;
	return code;
}

static int
store_enum(const struct ob_option *row, int *field, const char *text, struct ob_error *error)
{
	struct ob_buf names;

	for (int i = 0; row->choices[i] != NULL; i++) {
		if (strcmp(row->choices[i], text) == 0) {
			*field = i;
			return OB_OK;
		}
	}
	ob_buf_init(&names, OB_ERROR_TEXT_MAX);
	ob_option_describe(row, &names);
	ob_error_set(error, OB_CONFIG, "\"%s\" is not %s", text, ob_buf_text(&names));
	ob_buf_free(&names);
	return OB_CONFIG;
}

static int
store_value(const struct ob_option *row, void *field, const char *text, struct ob_error *error)
{
	const char *right;

	if (strlen(text) > OB_OPTION_VALUE_MAX)
		return ob_error_set(error, OB_CONFIG, "longer than %d bytes", OB_OPTION_VALUE_MAX);
	if (row->type != OB_OPTION_PATH && !ob_utf8_valid(text, strlen(text)))
		return ob_error_set(error, OB_CONFIG, "not valid UTF-8");
	switch (row->type) {
	case OB_OPTION_BOOL:
		right = ob_parse_bool(text, field);
		if (right == NULL)
			return OB_OK;
		return ob_error_set(error, OB_CONFIG, "\"%s\" is not %s", text, right);
	case OB_OPTION_INT:
	case OB_OPTION_SIZE:
	case OB_OPTION_DURATION:
		return store_number(row, field, text, error);
	case OB_OPTION_ENUM:
		return store_enum(row, field, text, error);
	case OB_OPTION_PATH:
		if (*text == '\0')
			return ob_error_set(error, OB_CONFIG, "the file name is empty");
		return store_string(field, text, error);
	case OB_OPTION_STRING:
		return store_string(field, text, error);
	case OB_OPTION_LIST:
		return store_list(field, text, error);
	case OB_OPTION_END:
		break;
	}
	return ob_error_set(error, OB_FAILED, "bad type in the option table");
}

static void
field_clear(const struct ob_option *row, void *field)
{
	switch (row->type) {
	case OB_OPTION_BOOL:
		*(bool *)field = false;
		break;
	case OB_OPTION_INT:
	case OB_OPTION_SIZE:
	case OB_OPTION_DURATION:
		*(int64_t *)field = 0;
		break;
	case OB_OPTION_ENUM:
		*(int *)field = 0;
		break;
	case OB_OPTION_STRING:
	case OB_OPTION_PATH:
		*(char **)field = NULL;
		break;
	case OB_OPTION_LIST:
		*(struct ob_strings *)field = (struct ob_strings){0};
		break;
	case OB_OPTION_END:
		break;
	}
}

int
ob_options_begin(struct ob_options *options, const char *owner, const struct ob_option *table,
		 void *values, struct ob_error *error)
{
	size_t count = table_count(table);
	int code;

	*options = (struct ob_options){.owner = owner, .table = table, .values = values};
	for (size_t i = 0; i < count; i++)
		field_clear(&table[i], field_of(&table[i], values));
	for (size_t i = 0; i < count; i++) {
		if (table[i].default_text == NULL)
			continue;
		code = store_value(&table[i], field_of(&table[i], values), table[i].default_text,
				   error);
		if (code != OB_OK) {
			ob_error_prefix(error, "%s: default of %s", owner, table[i].name);
			return code;
		}
	}
	return OB_OK;
}

static int
unknown_option(const struct ob_options *options, const char *name, struct ob_error *error)
{
	const char *names[OB_OPTIONS_MAX], *nearest;
	size_t count = table_count(options->table);

	for (size_t i = 0; i < count; i++)
		names[i] = options->table[i].name;
	nearest = ob_text_nearest(name, names, count);
	if (nearest != NULL)
		return ob_error_set(error, OB_CONFIG,
				    "%s: there is no option \"%s\"; did you mean \"%s\"?",
				    options->owner, name, nearest);
	return ob_error_set(error, OB_CONFIG, "%s: there is no option \"%s\"%s%s", options->owner,
			    name, options->shown_by != NULL ? "; see: " : "",
			    options->shown_by != NULL ? options->shown_by : "");
}

int
ob_options_set(struct ob_options *options, const char *name, const char *value,
	       struct ob_error *error)
{
	const struct ob_option *row = ob_option_find(options->table, name);
	uint64_t bit;
	void *field;
	int code;

	if (row == NULL)
		return unknown_option(options, name, error);
	bit = UINT64_C(1) << (row - options->table);
	field = field_of(row, options->values);
	/* The user's list takes the place of the default one, and then grows. */
	if (row->type == OB_OPTION_LIST && (options->given & bit) == 0)
		strings_free(field);
	code = store_value(row, field, value, error);
	if (code == OB_OK)
		options->given |= bit;
	else if ((row->flags & OB_OPTION_REDACT) != 0 && code == OB_CONFIG)
		ob_error_set(error, OB_CONFIG, "%s: %s: the value is not right (it is not shown)",
			     options->owner, name);
	else
		ob_error_prefix(error, "%s: %s", options->owner, name);
	return code;
}

int
ob_options_set_pair(struct ob_options *options, const char *pair, struct ob_error *error)
{
	const char *equals = strchr(pair, '=');
	const struct ob_option *row;
	char name[128];
	size_t size = equals == NULL ? strlen(pair) : (size_t)(equals - pair);

	if (size == 0 || size >= sizeof(name))
		return ob_error_set(error, OB_CONFIG, "%s: an option is written NAME=VALUE",
				    options->owner);
	memcpy(name, pair, size);
	name[size] = '\0';
	if (equals != NULL)
		return ob_options_set(options, name, equals + 1, error);
	row = ob_option_find(options->table, name);
	if (row == NULL)
		return unknown_option(options, name, error);
	if (row->type != OB_OPTION_BOOL)
		return ob_error_set(error, OB_CONFIG, "%s: %s needs a value: write %s=VALUE",
				    options->owner, name, name);
	return ob_options_set(options, name, "true", error);
}

bool
ob_options_given(const struct ob_options *options, const char *name)
{
	const struct ob_option *row = ob_option_find(options->table, name);

	return row != NULL && (options->given >> (row - options->table) & 1) != 0;
}

int
ob_options_finish(const struct ob_options *options, struct ob_error *error)
{
	const struct ob_option *row = options->table;

	for (; row->type != OB_OPTION_END; row++)
		if ((row->flags & OB_OPTION_REQUIRED) != 0 && !ob_options_given(options, row->name))
			return ob_error_set(error, OB_CONFIG,
					    "%s: the option \"%s\" is missing: %s", options->owner,
					    row->name, row->help);
	return OB_OK;
}

static int
check_choice(const struct ob_option *row, int index, struct ob_error *error)
{
	int count = 0;

	while (row->choices[count] != NULL)
		count++;
	return index >= 0 && index < count
		   ? OB_OK
		   : ob_error_set(error, OB_CONFIG, "%d is none of the %d choices", index, count);
}

int
ob_options_check(const struct ob_option *table, const void *values, struct ob_error *error)
{
	int code = OB_OK;

	for (; table->type != OB_OPTION_END; table++) {
		const void *field = (const char *)values + table->field;
		char text[64] = "";
		struct ob_buf shown;

		if (table->type == OB_OPTION_ENUM)
			code = check_choice(table, *(const int *)field, error);
		if (table->type == OB_OPTION_INT || table->type == OB_OPTION_SIZE ||
		    table->type == OB_OPTION_DURATION) {
			ob_buf_init(&shown, sizeof(text) - 1);
			show_number(table, *(const int64_t *)field, &shown);
			ob_text_copy(text, sizeof(text), ob_buf_text(&shown));
			ob_buf_free(&shown);
			code = check_number(table, *(const int64_t *)field, text, error);
		}
		if (code != OB_OK) {
			ob_error_prefix(error, "%s", table->name);
			return code;
		}
	}
	return OB_OK;
}

void
ob_options_free(const struct ob_option *table, void *values)
{
	for (; table->type != OB_OPTION_END; table++) {
		void *field = field_of(table, values);

		if (table->type == OB_OPTION_STRING || table->type == OB_OPTION_PATH) {
			char *text = *(char **)field;

			if (text != NULL && (table->flags & OB_OPTION_REDACT) != 0)
				explicit_bzero(text, strlen(text));
			free(text);
		} else if (table->type == OB_OPTION_LIST) {
			strings_free(field);
		}
		field_clear(table, field);
	}
}

bool
ob_option_describe(const struct ob_option *option, struct ob_buf *out)
{
	static const char *const kinds[] = {
	    [OB_OPTION_BOOL] = "true or false", [OB_OPTION_INT] = "number",
	    [OB_OPTION_SIZE] = "size",          [OB_OPTION_DURATION] = "duration",
	    [OB_OPTION_STRING] = "text",        [OB_OPTION_PATH] = "file",
	    [OB_OPTION_LIST] = "list",
	};

	if (option->type != OB_OPTION_ENUM)
		return ob_buf_append_text(out, kinds[option->type]);
	ob_buf_append_text(out, "one of ");
	for (int i = 0; option->choices[i] != NULL; i++)
		ob_buf_appendf(out, i == 0 ? "%s" : ", %s", option->choices[i]);
	return !out->failed;
}

bool
ob_option_show(const struct ob_option *option, const void *values, struct ob_buf *out)
{
	const void *field = (const char *)values + option->field;
	const struct ob_strings *strings = field;
	const char *text;

	switch (option->type) {
	case OB_OPTION_BOOL:
		return ob_buf_append_text(out, *(const bool *)field ? "true" : "false");
	case OB_OPTION_INT:
	case OB_OPTION_SIZE:
	case OB_OPTION_DURATION:
		show_number(option, *(const int64_t *)field, out);
		return !out->failed;
	case OB_OPTION_ENUM:
		return ob_buf_append_text(out, option->choices[*(const int *)field]);
	case OB_OPTION_STRING:
	case OB_OPTION_PATH:
		text = *(char *const *)field;
		if (text != NULL && (option->flags & OB_OPTION_REDACT) != 0)
			text = "(hidden)";
		return ob_buf_append_text(out, text == NULL ? "" : text);
	case OB_OPTION_LIST:
		if (strings->count > 0 && (option->flags & OB_OPTION_REDACT) != 0)
			return ob_buf_append_text(out, "(hidden)");
		for (size_t i = 0; i < strings->count; i++)
			ob_buf_appendf(out, i == 0 ? "%s" : ",%s", strings->items[i]);
		return !out->failed;
	case OB_OPTION_END:
		break;
	}
	return false;
}
