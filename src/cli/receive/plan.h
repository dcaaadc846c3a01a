/*
 * What a recipient that misbehaves on purpose does to which message, and what it remembers of the ids that it saw.
 */
#ifndef OB_CLI_PLAN_H
#define OB_CLI_PLAN_H

#include <outbox/error.h>
#include <outbox/message.h>
#include <stdbool.h>
#include <stdint.h>

#include "map.h"

enum receive_how {
	RECEIVE_STATUS = 0, /* an answer with the status that fails */
	RECEIVE_CLOSE,      /* no answer: the connection is closed */
	RECEIVE_GARBAGE,    /* an answer that is no HTTP */
	RECEIVE_CUT,        /* half an answer of status 200, then closed */
	RECEIVE_SLOW,       /* an answer of status 200 that takes for ever, byte by byte */
	RECEIVE_HANG,       /* no answer, the connection stays */
};

struct receive_plan {
	int64_t every;     /* each such request fails; 0: none */
	const char *key;   /* messages of this key fail */
	const char *id;    /* the message of this id fails */
	int64_t times;     /* each message only so often; 0: always */
	bool all;          /* everything fails */
	uint64_t requests; /* so far */
	unsigned char hash_key[16];
	struct ob_map seen; /* by the hash of the id: how often it was taken and failed */
};

/* `random` are bytes that a sender cannot guess. */
bool receive_plan_open(struct receive_plan *plan, const unsigned char random[16]);
void receive_plan_close(struct receive_plan *plan);

/* A new request; true when it is to fail by its number alone. */
bool receive_plan_request(struct receive_plan *plan);
/* True when this message is to fail, which is counted. */
bool receive_plan_fails(struct receive_plan *plan, struct ob_bytes id, struct ob_bytes key,
			bool by_number);
/* Notes that a message was taken; true when it was before. An absent id is never a duplicate. */
bool receive_plan_taken(struct receive_plan *plan, struct ob_bytes id);

#endif
