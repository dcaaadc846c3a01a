/*
 * SipHash-2-4 with a result of 64 bits (Aumasson and Bernstein, "SipHash: a fast short-input PRF",
 * 2012).
 *
 * Pure; the result is the same on every machine, whatever its byte order.
 */
#ifndef OB_BASE_HASH_H
#define OB_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define OB_HASH_KEY_SIZE 16

/* The keyed hash of `size` bytes. `data` may be NULL if `size` is 0. */
uint64_t ob_hash(const unsigned char key[OB_HASH_KEY_SIZE], const void *data, size_t size);

/*
 * The hash that assigns a message's key to its lane and shard: SipHash-2-4 under the key
 * 00 01 02 ... 0f. It is FROZEN WITH THE SCHEMA: stores keep its results (a parked key, a shard's
 * range), so another relay, today or in ten years, must compute the same.
 * tests/unit/base/test_text.c holds its vectors. To change it, raise the schema's version and
 * migrate everything that is stored under it.
 */
uint64_t ob_hash_lane(const void *data, size_t size);

/* The same of `first`, a NUL, and `second`, as if they stood together; frozen with it. */
uint64_t ob_hash_lane_pair(const void *first, size_t first_size, const void *second,
			   size_t second_size);

#endif
