/*
 * What is going to happen, in the order of virtual time: a binary heap of events. Events of one moment come
 * in the order in which they were put in, so a story has no chance in it but its PRNG's.
 */
#ifndef SIM_QUEUE_H
#define SIM_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sim_what {
	/* The world's. */
	SIM_COMMIT = 1,   /* a: first message, b: one past the last */
	SIM_FAULT,        /* a: number in the plot */
	SIM_FAULT_ENDS,   /* a: number in the plot */
	SIM_WATCH,        /* look at everything once a second */
	SIM_PERSON,       /* somebody does something */
	SIM_RECIPIENT_UP, /* a poison's crash is over; a: generation */
	SIM_LATE_ARRIVAL, /* a: message; b: session; what was held up in the network arrives after all */
	SIM_HEAL,         /* the faults are over; poison loses its force */
	/* A relay's. `relay` and `life` say whose; they are dropped when that life is over. */
	SIM_RELAY_START,
	SIM_RELAY_TIMER,  /* a: generation */
	SIM_STORE_EFFECT, /* the call under way does what it does in the database */
	SIM_STORE_ANSWER, /* its answer reaches the relay */
	SIM_STORE_WAKE,   /* a: generation; a waiting fetch looks again */
	SIM_RENEW,        /* a: generation */
	SIM_ACQUIRE,      /* the time before which acquire must not be called has come */
	SIM_ARRIVAL,      /* a: slot of the delivery, b: its ticket's low bits */
	SIM_RECEIPT,      /* a, b as above: its receipt is ready to be polled */
	SIM_POLL,
	SIM_SINK_FREE,
	SIM_ABANDON,
};

struct sim_event {
	int64_t at_us;
	uint64_t order;
	uint8_t what;
	uint8_t relay;
	uint16_t life;
	uint32_t a;
	uint64_t b;
};

struct sim_queue {
	struct sim_event *heap;
	size_t count;
	size_t capacity;
	uint64_t order;
};

void sim_queue_init(struct sim_queue *queue);
void sim_queue_free(struct sim_queue *queue);
void sim_queue_clear(struct sim_queue *queue);
/* Aborts the process when there is no memory: a simulator has nobody to tell. */
void sim_queue_put(struct sim_queue *queue, struct sim_event event);
/* False when nothing is left to happen. */
bool sim_queue_take(struct sim_queue *queue, struct sim_event *event);

#endif
