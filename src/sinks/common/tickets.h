/*
 * The tickets of a sink that serves them in the order in which they came: a ring of fixed size.
 *
 *	taken ... answered, receipt not yet fetched ... next to serve ... put
 *
 * `ob_tickets_next` is the first one without an answer; answering it makes the one behind it the
 *next. Belongs to the sink's thread.
 */
#ifndef OB_SINKS_TICKETS_H
#define OB_SINKS_TICKETS_H

#include <outbox/sink.h>

struct ob_ticket {
	uint64_t ticket;
	const struct ob_message *message;
	const char *code; /* constant text */
	const char *text; /* the sink's; it must not change it before `ob_tickets_answered` is 0 */
	uint64_t mark;    /* the sink's own: how far its output is once this one is written */
	uint64_t line_size; /* the sink's own: how much of it is this one's */
	uint32_t retry_after_ms;
	enum ob_fate fate;
	bool reached;
};

struct ob_tickets {
	struct ob_ticket *slots;
	uint64_t mask;             /* number of slots - 1: a power of two */
	uint32_t capacity;         /* tickets at once */
	uint64_t taken, next, put; /* counts since open; slots are counts modulo the size */
};

bool ob_tickets_open(struct ob_tickets *tickets, uint32_t capacity);
/* Safe on a zeroed struct. */
void ob_tickets_close(struct ob_tickets *tickets);
/* Takes as many deliveries as there is room for, and says how many. */
size_t ob_tickets_put(struct ob_tickets *tickets, const struct ob_delivery *deliveries,
		      size_t count);
/* Writes receipts for answered tickets, at most `capacity`, and forgets them. */
size_t ob_tickets_take(struct ob_tickets *tickets, struct ob_receipt *receipts, size_t capacity);
/* Answers the next one. */
void ob_tickets_answer(struct ob_tickets *tickets, enum ob_fate fate, bool reached,
		       const char *code, const char *text);
/* Answers all that are waiting. */
void ob_tickets_answer_all(struct ob_tickets *tickets, enum ob_fate fate, bool reached,
			   const char *code, const char *text);

/* The `index`-th one without an answer, NULL if there are not so many. */
static inline struct ob_ticket *
ob_tickets_at(const struct ob_tickets *tickets, uint64_t index)
{
	if (index >= tickets->put - tickets->next)
		return NULL;
	return &tickets->slots[(tickets->next + index) & tickets->mask];
}

static inline struct ob_ticket *
ob_tickets_next(const struct ob_tickets *tickets)
{
	return ob_tickets_at(tickets, 0);
}

/* Answered, and the receipt not yet fetched. */
static inline uint64_t
ob_tickets_answered(const struct ob_tickets *tickets)
{
	return tickets->next - tickets->taken;
}

#endif
