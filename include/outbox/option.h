/*
 * Options as data. Each store, sink and command lists its options in one constant table, from which the
 * parser, `--help`, the manual pages and the reference are made.
 *
 * A value is written into a field of the owner's options struct at offset `field`:
 *
 *   type               C type of the field      text accepted
 *   OB_OPTION_BOOL     bool                     true, false, yes, no, on, off, 1, 0
 *   OB_OPTION_INT      int64_t                  decimal, within min..max
 *   OB_OPTION_SIZE     int64_t (bytes)          decimal, with KiB, MiB, GiB or none
 *   OB_OPTION_DURATION int64_t (milliseconds)   decimal with ms, s, m, h or d; plain 0
 *   OB_OPTION_STRING   char *                   any UTF-8 without NUL
 *   OB_OPTION_PATH     char *                   any file name
 *   OB_OPTION_ENUM     int                      one of `choices`; the index is stored
 *   OB_OPTION_LIST     struct ob_strings        given once for each item, or comma separated
 *
 * Strings and lists are owned by the options struct and released by the function that releases it.
 */
#ifndef OUTBOX_OPTION_H
#define OUTBOX_OPTION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ob_option_type {
	OB_OPTION_END = 0, /* ends a table */
	OB_OPTION_BOOL,
	OB_OPTION_INT,
	OB_OPTION_SIZE,
	OB_OPTION_DURATION,
	OB_OPTION_STRING,
	OB_OPTION_PATH,
	OB_OPTION_ENUM,
	OB_OPTION_LIST,
};

enum ob_option_flag {
	OB_OPTION_REQUIRED = 1, /* there is no default */
	OB_OPTION_REDACT = 2,   /* never shown: a secret, or may hold one */
};

struct ob_strings {
	char **items;
	size_t count;
};

struct ob_option {
	const char *name; /* lower case with hyphens, unit not in the name: "request-timeout" */
	enum ob_option_type type;
	const char *default_text;   /* as a user would write it; NULL: zero, absent or empty */
	const char *help;           /* one sentence */
	size_t field;               /* offsetof(struct its_options, its_field) */
	int64_t min, max;           /* for INT, SIZE, DURATION; both 0: 0..INT64_MAX */
	const char *const *choices; /* for ENUM: names, NULL at the end */
	unsigned flags;
};

#ifdef __cplusplus
}
#endif
#endif
