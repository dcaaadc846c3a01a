/*
 * The one source of chance of a story: everything that is drawn, is drawn here, so the same seed tells the
 * same story. SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
 */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct sim_rng {
	uint64_t state;
};

static inline uint64_t
sim_rng_next(struct sim_rng *rng)
{
	uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* 0 .. n-1; 0 when n is 0. */
static inline uint64_t
sim_rng_below(struct sim_rng *rng, uint64_t n)
{
	if (n == 0)
		return 0;
	return (uint64_t)(((unsigned __int128)sim_rng_next(rng) * n) >> 64);
}

/* low .. high, both of them possible. */
static inline int64_t
sim_rng_between(struct sim_rng *rng, int64_t low, int64_t high)
{
	return low + (int64_t)sim_rng_below(rng, (uint64_t)(high - low) + 1);
}

/* True `per_thousand` times of a thousand. */
static inline bool
sim_rng_chance(struct sim_rng *rng, uint32_t per_thousand)
{
	return sim_rng_below(rng, 1000) < per_thousand;
}

/* low .. high, each doubling as likely as the next: sizes and delays that range over magnitudes. */
static inline int64_t
sim_rng_spread(struct sim_rng *rng, int64_t low, int64_t high)
{
	int64_t top = low;
	uint32_t doublings = 0;

	for (int64_t at = low < 1 ? 1 : low; at < high; at *= 2)
		doublings++;
	for (uint64_t n = sim_rng_below(rng, doublings + 1u); n > 0 && top < high; n--)
		top = top < 1 ? 1 : top * 2;
	return sim_rng_between(rng, low, top > high ? high : top);
}

#endif
