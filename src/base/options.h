/*
 * Reading options by their tables (<outbox/option.h>).
 *
 *	struct ob_options options;
 *
 *	if (ob_options_begin(&options, "sink http", table, &its_options, error) != OB_OK ||
 *	    ob_options_set_pair(&options, "request-timeout=5s", error) != OB_OK ||
 *	    ob_options_finish(&options, error) != OB_OK)
 *		...
 *	ob_options_free(table, &its_options);
 *
 * Each error is OB_CONFIG and one line with what is wrong, where, and what would be right; it never
 * holds the value of an option that is redacted. A value that is refused leaves the field as it was.
 * An option given twice takes the later value; a list gathers all. Nothing here blocks.
 */
#ifndef OB_BASE_OPTIONS_H
#define OB_BASE_OPTIONS_H

#include <outbox/error.h>
#include <outbox/option.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define OB_OPTIONS_MAX      64    /* rows of a table */
#define OB_OPTION_VALUE_MAX 65536 /* bytes of a value */
#define OB_OPTION_LIST_MAX  256   /* items of a list */

struct ob_options {
	const char *owner; /* whose options they are, in errors: "sink http" */
	const struct ob_option *table;
	void *values;
	uint64_t given; /* bit i: row i was set by the user */
	const char *
	    shown_by; /* the command that lists them, for errors; NULL: none. To be set after begin */
};

/*
 * Clears the fields that the table names and sets their defaults. `values` holds no earlier values:
 * run ob_options_free on it first if it may. The strings and the table must outlive `options`.
 */
int ob_options_begin(struct ob_options *options, const char *owner, const struct ob_option *table,
		     void *values, struct ob_error *error);

/* Sets one option by name; an unknown name is answered with the nearest one. */
int ob_options_set(struct ob_options *options, const char *name, const char *value,
		   struct ob_error *error);

/* The same from "NAME=VALUE"; "NAME" alone turns a switch on. */
int ob_options_set_pair(struct ob_options *options, const char *pair, struct ob_error *error);

/* True if the user gave the option, and not only its default. */
bool ob_options_given(const struct ob_options *options, const char *name);

/* Checks that every required option was given. */
int ob_options_finish(const struct ob_options *options, struct ob_error *error);

/*
 * Checks numbers and choices of a struct that was filled without text, by a program. OB_CONFIG as
 * above, but without the owner.
 */
int ob_options_check(const struct ob_option *table, const void *values, struct ob_error *error);

/* Releases strings and lists and clears the fields. Safe twice, and on zeroed values. */
void ob_options_free(const struct ob_option *table, void *values);

/* The row of a name, or NULL. */
const struct ob_option *ob_option_find(const struct ob_option *table, const char *name);

/* "duration", "true or false", "one of a, b": what kind of value a row takes, for help. */
bool ob_option_describe(const struct ob_option *option, struct ob_buf *out);

/* Appends the value as a user would write it; "(hidden)" for a redacted one that is set. */
bool ob_option_show(const struct ob_option *option, const void *values, struct ob_buf *out);

/*
 * The parsers of single values, for command lines: all of the text must be the value. They return
 * NULL, or what would be right ("a duration such as 500ms, 10s, 5m or 24h").
 */
const char *ob_parse_bool(const char *text, bool *value);
const char *ob_parse_int(const char *text, int64_t *value);
const char *ob_parse_size(const char *text, int64_t *bytes);
const char *ob_parse_duration(const char *text, int64_t *duration_ms);

#endif
