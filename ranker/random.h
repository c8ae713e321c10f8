/* random.h - seeded random numbers. Private to ranker/, and to what draws for its evaluation. */
#ifndef MAGPIE_RANKER_RANDOM_H
#define MAGPIE_RANKER_RANDOM_H

#include <stdint.h>

/* splitmix64 (Steele et al. 2014). */
static inline uint64_t ranker_random(uint64_t *state) {
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* 0 .. n-1, n below 2^32 (Lemire 2019, without its rejection: off by less than n / 2^32). */
static inline uint32_t ranker_draw(uint64_t *state, uint32_t n) {
    return (uint32_t)(((ranker_random(state) >> 32) * n) >> 32);
}

/* A seed for what is numbered `b` of what is seeded by `a`. */
static inline uint64_t ranker_seed(uint64_t a, uint64_t b) {
    uint64_t first = ranker_random(&a) ^ b;
    return ranker_random(&first);
}

/* Where an item stands among others of its score, in a user's ranking: an order by chance, each user's own.
 * Not the order of numbers, since what is popular tends to be met, and numbered, first. One to one. */
static inline uint64_t ranker_tie(uint32_t user, uint32_t item) {
    uint64_t state = (uint64_t)user << 32 | item;
    return ranker_random(&state);
}

#endif
