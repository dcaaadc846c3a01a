/*
 * Errors: a code that says what the caller can do, and a text that says what went wrong, where, and
 * how to mend it.
 *
 * Every fallible function of Outbox returns an `enum ob_code` and, where it takes a
 * `struct ob_error *`, fills it on failure. The pointer may be NULL. The text grows by prefixes on
 * its way up: "settle: sqlite:/srv/shop.db: disk is full". On success the error is left untouched.
 */
#ifndef OUTBOX_ERROR_H
#define OUTBOX_ERROR_H

#include <outbox/api.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OB_ERROR_TEXT_MAX 512

enum ob_code {
	OB_OK = 0,
	/* Certainly not done, everything held in memory stands: the same call may be made again soon. */
	OB_BUSY,
	/* The outcome is unknown or the connection is in doubt: believe nothing held in memory, reconnect,
	   load again. */
	OB_AGAIN,
	/* The other side cannot be reached at present: wait, then try again. */
	OB_UNREACHABLE,
	/* Somebody else holds the lease now: stop sending, acquire again. */
	OB_STALE,
	/* A person changed the subscription: acquire again; what was fetched still stands. */
	OB_CHANGED,
	/* The command line is wrong. */
	OB_USAGE,
	/* The configuration or a URL is wrong. */
	OB_CONFIG,
	/* Our tables are missing, altered, or newer than this program. */
	OB_SCHEMA,
	/* A right is missing. */
	OB_DENIED,
	/* This argument or message is not valid; another one may be. */
	OB_INVALID,
	/* There is no such thing. */
	OB_NOT_FOUND,
	/* A limit that was set at open, or the disk, is full. */
	OB_LIMIT,
	/* What is stored is not what was there before (file replaced or restored): a person must decide. */
	OB_FOREIGN,
	/* This kind of store or sink cannot do that. */
	OB_UNSUPPORTED,
	OB_NOMEM,
	/* Anything else; the text says what. */
	OB_FAILED,
};

struct ob_error {
	enum ob_code code;
	char text[OB_ERROR_TEXT_MAX]; /* NUL-terminated; cut, never overrun */
};

/* Sets code and text; returns `code`, so that `return ob_error_set(...)` reads well. `error` may be NULL. */
OB_API int ob_error_set(struct ob_error *error, enum ob_code code, const char *format, ...)
    OB_PRINTF(3, 4);

#ifdef __clang_analyzer__
/* The analyzer does not see that the code comes back, and would take it for OB_OK. */
#define ob_error_set(error, code, ...) ((void)ob_error_set(error, code, __VA_ARGS__), (int)(code))
#endif

/* Puts "<prefix>: " before the text; keeps the code. `error` may be NULL. */
OB_API void ob_error_prefix(struct ob_error *error, const char *format, ...) OB_PRINTF(2, 3);

/* The stable lower-case name of a code: "busy", "unreachable" ... Never NULL. */
OB_API const char *ob_code_name(enum ob_code code);

#ifdef __cplusplus
}
#endif
#endif
