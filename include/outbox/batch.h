/*
 * A batch: the rows of one fetch and the bytes they point to, in one arena, with exactly one owner at a
 * time (store while filling, then engine, then the relay that frees it).
 */
#ifndef OUTBOX_BATCH_H
#define OUTBOX_BATCH_H

#include <outbox/error.h>
#include <outbox/message.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One fetched message. It comes from the log (`ordinal` > 0) or from the parked table (`ordinal` == 0). */
struct ob_row {
	struct ob_message message;
	uint64_t
	    ordinal; /* place in the delivery order since the store was opened: 1, 2, 3 ... without a hole */
	int64_t
	    position; /* the store's own name of the row; the outcome of a parked row names it by this */
	uint64_t
	    lane; /* ob_lane_of(message); 0: no key. Parked rows: as it was parked, 0 when scheduled */
	uint32_t bytes;    /* what the row counts against limits: its fields and OB_ROW_OVERHEAD */
	uint32_t attempts; /* tries that were counted so far; 0 for rows of the log */
	int64_t
	    age_ms; /* parked rows: since the first try, by the store's clock; 0 if never tried */
	int64_t
	    due_in_ms; /* rows of the log: until `deliver_after`, by the store's clock; 0: due */
	uint64_t
	    oversize_bytes; /* > 0: the payload has so many bytes, more than a message may have, and was not read */
	bool
	    replayed; /* rows of the log: read for a replay, so that it may be parked or dead already */
	bool
	    scheduled; /* parked rows: by `deliver_after`, and counted as such, also after a try that failed */
};

#define OB_ROW_OVERHEAD 256

struct ob_batch {
	struct ob_row *rows;
	uint32_t count;
	uint32_t capacity;
	uint64_t bytes; /* sum of the rows' bytes */
	bool more;      /* the log has more rows right now */
	bool
	    passed; /* rows of no interest were read past: a settle, even of nothing, saves reading them again */
	int64_t next_due_ms; /* until the next parked head is due; -1: none */
	struct ob_batch_memory *memory;
};

/* A batch for at most `row_capacity` rows. It grows its bytes as needed; the fetch's limits bound them.
   NULL when there is no memory. */
OB_API struct ob_batch *ob_batch_new(uint32_t row_capacity);
OB_API void ob_batch_free(struct ob_batch *batch);
/* Empties it for the next fetch, keeping a modest amount of its memory. */
OB_API void ob_batch_reset(struct ob_batch *batch);
/* A zeroed row at the end, or NULL when the batch is full. `next_due_ms` of a reset batch is -1. */
OB_API struct ob_row *ob_batch_add(struct ob_batch *batch);
/* Copies bytes into the batch's arena. `data == NULL` gives an absent field. False when there is no memory. */
OB_API bool ob_batch_copy(struct ob_batch *batch, const void *data, size_t size,
			  struct ob_bytes *out);
/* Takes the last row back (the store noticed that it would pass a limit). */
OB_API void ob_batch_drop_last(struct ob_batch *batch);

/* The lane of a message: SipHash-2-4 of its key (or topic, NUL, key) under a constant key that is frozen with the
   schema, since shards and parked rows are stored by it; never 0. 0 when the message has no key. */
OB_API uint64_t ob_lane_of(const struct ob_message *message, enum ob_order_by order_by);
/* The shard of a message, of so many, by its key alone (ob_lane_of by key), by its id when it has none; frozen, too. */
OB_API uint32_t ob_shard_of(const struct ob_message *message, uint32_t shards);
/* What a message counts against limits: the sizes of its fields and OB_ROW_OVERHEAD. */
OB_API uint32_t ob_row_bytes(const struct ob_message *message);

#ifdef __cplusplus
}
#endif
#endif
