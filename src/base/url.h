/*
 * The URLs of databases and sinks.
 *
 * Two forms are read:
 *
 *	scheme://user:password@host:port/path?name=value&...	(RFC 3986, with IPv6 hosts in
 * brackets)
 *	scheme:anything						sqlite:PATH, file:PATH, exec:COMMAND,
 * null:
 *
 * In the first, user, password, host, path, names and values are percent-decoded and must not hold
 * a NUL. In the second nothing is decoded, since file names and commands may hold any character: all
 * stands in `rest`. A URL may hold a password: show it only through ob_url_redact. No error text
 * holds the URL.
 */
#ifndef OB_BASE_URL_H
#define OB_BASE_URL_H

#include <outbox/error.h>
#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

#define OB_URL_SIZE_MAX  8192
#define OB_URL_QUERY_MAX 32

struct ob_url_pair {
	const char *name;
	const char *value; /* "" when there is no '=' */
};

struct ob_url {
	const char *scheme;   /* lower case */
	const char *rest;     /* all behind the first colon, as it was written */
	bool has_authority;   /* the first form: there is a "//" behind the colon */
	const char *user;     /* NULL: none */
	const char *password; /* NULL: none */
	const char *host;     /* without the brackets, "" if empty; NULL in the second form */
	int port;             /* 0: none */
	const char *path;     /* with its slash, "" if there is none; NULL in the second form */
	struct ob_url_pair query[OB_URL_QUERY_MAX];
	size_t query_count;
	char *memory; /* what the others point into */
	size_t memory_size;
};

/*
 * Reads a URL. OB_CONFIG with what is wrong and where; `url` is zeroed then. The result owns its
 * memory until ob_url_free, which clears it.
 */
int ob_url_parse(struct ob_url *url, const char *text, struct ob_error *error);

/* The value of a name in the query, NULL if it is not there. */
const char *ob_url_query(const struct ob_url *url, const char *name);

/* Clears and frees. Safe on a zeroed URL and twice. */
void ob_url_free(struct ob_url *url);

/*
 * Appends the URL, or what was meant to be one, without its secrets: the password, the user of a URL for HTTP that has no
 * password, and values in the query whose names speak of a password, secret, token, key or signature, become "***";
 * control characters become '?'. When in doubt it hides more. False as an append to the buffer.
 */
bool ob_url_redact(struct ob_buf *out, const char *text);

#endif
