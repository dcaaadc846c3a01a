/*
 * What the torture's writers need of a database. One constant table a kind; everything else is the
 * story that writers.c draws from its seed.
 *
 * The business table, `account`, has a row for each key: the number of its last message, and the
 * exclusive or of the nonces of all its messages. A writer takes its numbers while it holds that
 * row's lock, so the table is the truth: per key 1, 2, 3 ... in the order of the commits.
 */
#ifndef TORTURE_DRIVER_H
#define TORTURE_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

enum outcome {
	OUTCOME_DONE,
	OUTCOME_REFUSED, /* the transaction cannot go on: a deadlock, a serialization failure */
	OUTCOME_BROKEN, /* there is no connection any more; what was asked last may have been done */
};

/* How messages are written. A driver that lacks a way does it by another. */
enum way {
	WAY_TWO_STATEMENTS, /* take the numbers, then insert */
	WAY_ONE_STATEMENT,  /* the update feeds the insert */
	WAY_VALUES,         /* several rows of VALUES, up to WAY_VALUES_MAX */
	WAY_FUNCTION,       /* one row, with a function in VALUES that takes the number */
	WAY_PUBLISH,        /* one row, by the product's own function */
	WAYS
};
#define WAY_VALUES_MAX 8

struct messages {
	unsigned key;
	uint32_t count;
	int64_t base; /* the nonces are base + 1 ... base + count, none below 0 */
	unsigned padding;
	enum way way;
};

struct session {
	const char *url;
	void *handle;
	char error[512]; /* what the database said last */
};

enum isolation { READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE };

struct driver {
	const char *scheme;
	enum outcome (*open)(struct session *session);
	/* Ends the connection; `rudely` in the middle of whatever it is in, without a word. */
	void (*close)(struct session *session, bool rudely);
	enum outcome (*begin)(struct session *session, enum isolation isolation, bool lazy_commit);
	/* Makes the database number the transaction before it touches anything that matters. */
	enum outcome (*number_early)(struct session *session);
	enum outcome (*write)(struct session *session, const struct messages *messages);
	enum outcome (*savepoint)(struct session *session);
	enum outcome (*rollback_to_savepoint)(struct session *session);
	enum outcome (*commit)(struct session *session);
	enum outcome (*rollback)(struct session *session);
	/* The first half of a two-phase commit, under a name of its own. */
	enum outcome (*prepare)(struct session *session, const char *name);
	/* The second half, for one prepared transaction that has waited for a while; commits it if
	 * `commit`. `*found` tells whether there was one. With `all` none has to have waited. */
	enum outcome (*decide)(struct session *session, bool commit, bool all, bool *found);
};

extern const struct driver torture_postgres;

/* The exclusive or of base + 1 ... base + count. */
int64_t nonces_of(const struct messages *messages);

#endif
