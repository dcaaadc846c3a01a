#include <outbox/batch.h>

#include "hash.h"

uint64_t
ob_lane_of(const struct ob_message *message, enum ob_order_by order_by)
{
	uint64_t lane;

	if (message->key.data == NULL)
		return 0;
	if (order_by == OB_ORDER_BY_TOPIC_AND_KEY)
		lane = ob_hash_lane_pair(message->topic.data, message->topic.size,
					 message->key.data, message->key.size);
	else
		lane = ob_hash_lane(message->key.data, message->key.size);
	/* Zero means "no key"; the one key in 2^64 that hashes to it shares a lane with another. */
	return lane == 0 ? 1 : lane;
}

uint32_t
ob_shard_of(const struct ob_message *message, uint32_t shards)
{
	uint64_t hash = ob_lane_of(message, OB_ORDER_BY_KEY);

	if (hash == 0)
		hash = ob_hash_lane(message->id.data, message->id.size);
	return shards > 1 ? (uint32_t)(hash % shards) : 0;
}

uint32_t
ob_row_bytes(const struct ob_message *message)
{
	const struct ob_bytes *fields[] = {
	    &message->id,      &message->topic,        &message->key,     &message->type,
	    &message->payload, &message->content_type, &message->headers,
	};
	uint64_t bytes = OB_ROW_OVERHEAD;

	/* Each field is far below 2^32, so the sum cannot overflow; it is cut where the result
	 * would. */
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (fields[i]->data != NULL)
			bytes += fields[i]->size < UINT32_MAX ? fields[i]->size : UINT32_MAX;
	return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}
