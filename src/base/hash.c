#include "hash.h"

struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t
rotl(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void
sip_rounds(struct sip *s, int rounds)
{
	while (rounds-- > 0) {
		s->v0 += s->v1;
		s->v1 = rotl(s->v1, 13) ^ s->v0;
		s->v0 = rotl(s->v0, 32);
		s->v2 += s->v3;
		s->v3 = rotl(s->v3, 16) ^ s->v2;
		s->v0 += s->v3;
		s->v3 = rotl(s->v3, 21) ^ s->v0;
		s->v2 += s->v1;
		s->v1 = rotl(s->v1, 17) ^ s->v2;
		s->v2 = rotl(s->v2, 32);
	}
}

/* Up to eight bytes as a little-endian number. */
static uint64_t
load_le(const unsigned char *bytes, size_t size)
{
	uint64_t word = 0;

	for (size_t i = 0; i < size; i++)
		word |= (uint64_t)bytes[i] << (8 * i);
	return word;
}

static void
sip_absorb(struct sip *s, uint64_t word)
{
	s->v3 ^= word;
	sip_rounds(s, 2);
	s->v0 ^= word;
}

uint64_t
ob_hash(const unsigned char key[OB_HASH_KEY_SIZE], const void *data, size_t size)
{
	const unsigned char *bytes = data;
	uint64_t k0 = load_le(key, 8), k1 = load_le(key + 8, 8);
	struct sip s = {
	    .v0 = k0 ^ UINT64_C(0x736f6d6570736575),
	    .v1 = k1 ^ UINT64_C(0x646f72616e646f6d),
	    .v2 = k0 ^ UINT64_C(0x6c7967656e657261),
	    .v3 = k1 ^ UINT64_C(0x7465646279746573),
	};
	size_t at = 0;

	for (; size - at >= 8; at += 8)
		sip_absorb(&s, load_le(bytes + at, 8));
	/* The last word holds what is left, and the length modulo 256 in its highest byte. */
	sip_absorb(&s, load_le(size > at ? bytes + at : NULL, size - at) | (uint64_t)size << 56);
	s.v2 ^= 0xff;
	sip_rounds(&s, 4);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t
ob_hash_lane(const void *data, size_t size)
{
	static const unsigned char key[OB_HASH_KEY_SIZE] = {0, 1, 2,  3,  4,  5,  6,  7,
							    8, 9, 10, 11, 12, 13, 14, 15};

	return ob_hash(key, data, size);
}
