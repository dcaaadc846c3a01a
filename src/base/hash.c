#include "hash.h"

struct sip {
	uint64_t v0, v1, v2, v3;
	uint64_t tail; /* the bytes behind the last whole word, little-endian */
	size_t size;   /* of everything absorbed */
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

static void
sip_start(struct sip *s, const unsigned char key[OB_HASH_KEY_SIZE])
{
	uint64_t k0 = load_le(key, 8), k1 = load_le(key + 8, 8);

	*s = (struct sip){
	    .v0 = k0 ^ UINT64_C(0x736f6d6570736575),
	    .v1 = k1 ^ UINT64_C(0x646f72616e646f6d),
	    .v2 = k0 ^ UINT64_C(0x6c7967656e657261),
	    .v3 = k1 ^ UINT64_C(0x7465646279746573),
	};
}

static void
sip_add_byte(struct sip *s, unsigned char byte)
{
	s->tail |= (uint64_t)byte << (8 * (s->size % 8));
	if (++s->size % 8 == 0) {
		sip_absorb(s, s->tail);
		s->tail = 0;
	}
}

static void
sip_add(struct sip *s, const void *data, size_t size)
{
	const unsigned char *bytes = data;
	size_t at = 0;

	while (at < size && s->size % 8 != 0)
		sip_add_byte(s, bytes[at++]);
	for (; size - at >= 8; at += 8, s->size += 8)
		sip_absorb(s, load_le(bytes + at, 8));
	while (at < size)
		sip_add_byte(s, bytes[at++]);
}

static uint64_t
sip_end(struct sip *s)
{
	/* The last word holds what is left, and the length modulo 256 in its highest byte. */
	sip_absorb(s, s->tail | (uint64_t)s->size << 56);
	s->v2 ^= 0xff;
	sip_rounds(s, 4);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

uint64_t
ob_hash(const unsigned char key[OB_HASH_KEY_SIZE], const void *data, size_t size)
{
	struct sip s;

	sip_start(&s, key);
	sip_add(&s, data, size);
	return sip_end(&s);
}

static const unsigned char lane_key[OB_HASH_KEY_SIZE] = {0, 1, 2,  3,  4,  5,  6,  7,
							 8, 9, 10, 11, 12, 13, 14, 15};

uint64_t
ob_hash_lane(const void *data, size_t size)
{
	return ob_hash(lane_key, data, size);
}

uint64_t
ob_hash_lane_pair(const void *first, size_t first_size, const void *second, size_t second_size)
{
	struct sip s;

	sip_start(&s, lane_key);
	sip_add(&s, first, first_size);
	sip_add_byte(&s, 0);
	sip_add(&s, second, second_size);
	return sip_end(&s);
}
