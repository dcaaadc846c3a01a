#include "tickets.h"

#include <stdlib.h>

#include "check.h"

bool
ob_tickets_open(struct ob_tickets *tickets, uint32_t capacity)
{
	size_t slots = 1;

	OB_CHECK(capacity > 0);
	OB_CHECK(capacity <= 1u << 20);
	while (slots < capacity)
		slots *= 2;
	tickets->slots = calloc(slots, sizeof(tickets->slots[0]));
	tickets->mask = slots - 1;
	tickets->capacity = capacity;
	return tickets->slots != NULL;
}

void
ob_tickets_close(struct ob_tickets *tickets)
{
	free(tickets->slots);
	*tickets = (struct ob_tickets){0};
}

size_t
ob_tickets_put(struct ob_tickets *tickets, const struct ob_delivery *deliveries, size_t count)
{
	size_t room = tickets->capacity - (size_t)(tickets->put - tickets->taken);

	if (count > room)
		count = room;
	for (size_t i = 0; i < count; i++)
		tickets->slots[tickets->put++ & tickets->mask] = (struct ob_ticket){
		    .ticket = deliveries[i].ticket,
		    .message = deliveries[i].message,
		};
	return count;
}

size_t
ob_tickets_take(struct ob_tickets *tickets, struct ob_receipt *receipts, size_t capacity)
{
	uint64_t answered = ob_tickets_answered(tickets);
	size_t count = answered < capacity ? (size_t)answered : capacity;

	for (size_t i = 0; i < count; i++) {
		const struct ob_ticket *slot = &tickets->slots[tickets->taken++ & tickets->mask];

		receipts[i] = (struct ob_receipt){
		    .ticket = slot->ticket,
		    .fate = slot->fate,
		    .reached = slot->reached,
		    .retry_after_ms = slot->retry_after_ms,
		    .code = slot->code,
		    .text = slot->text,
		};
	}
	return count;
}

void
ob_tickets_answer(struct ob_tickets *tickets, enum ob_fate fate, bool reached, const char *code,
		  const char *text)
{
	struct ob_ticket *slot = ob_tickets_next(tickets);

	OB_CHECK(slot != NULL);
	slot->fate = fate;
	slot->reached = reached;
	slot->code = code;
	slot->text = text;
	tickets->next++;
}

void
ob_tickets_answer_all(struct ob_tickets *tickets, enum ob_fate fate, bool reached, const char *code,
		      const char *text)
{
	while (tickets->next != tickets->put)
		ob_tickets_answer(tickets, fate, reached, code, text);
}
