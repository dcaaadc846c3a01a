/* A recipient and the sink that is tried, with messages to send and all that is known of them. */
#ifndef OB_TESTS_RIG_H
#define OB_TESTS_RIG_H

#include "sink_suite.h"

#define RIG_MESSAGES_MAX 70000

struct rig_message {
	struct ob_message message;
	char id[16], key[16];
	uint64_t lane;
	bool accepted;
	unsigned receipts;
	enum ob_fate fate;
	char code[64], text[256];
	bool arrived;
	size_t arrived_at; /* its place among the arrivals */
};

struct rig {
	const struct sink_adapter *adapter;
	char directory[64];
	void *recipient;
	struct sink_setup setup;
	void *options;
	struct ob_sink *sink;
	struct ob_error error;
	struct rig_message *messages;
	size_t count; /* of messages */
	size_t owed;  /* accepted, without a receipt */
	struct sink_arrivals arrivals;
};

/* A recipient, and a sink that is not open. */
void rig_start(struct rig *rig, const struct sink_adapter *adapter);
int rig_open(struct rig *rig, const char *url);
void rig_stop(struct rig *rig);

/* A new message "mN" with this key ("": none) and a small payload. Its fields may be changed until it is submitted. */
struct rig_message *rig_message(struct rig *rig, const char *key);
/* Submits messages from the `first`-th on; how many were accepted. */
size_t rig_submit(struct rig *rig, size_t first, size_t count);
/* Polls once and notes the receipts, each of which must be the only one of a ticket that was accepted, with valid texts. */
size_t rig_poll(struct rig *rig, int timeout_ms);
/* Polls until nothing is owed, at most so long; asserts that nothing is owed then. */
void rig_settle(struct rig *rig, int deadline_ms);
/* Submits all and settles. */
void rig_send(struct rig *rig, size_t first, size_t count);
/* Looks what arrived; asserts that all that was sent has. */
void rig_look(struct rig *rig);
/* One more message goes through: the sink still works. */
void rig_prove_it_works(struct rig *rig);

int64_t rig_now_ms(void);

#endif
