/* random.h - seeded random numbers. Private to ranker/, and to what draws for its evaluation. */
#ifndef MAGPIE_RANKER_RANDOM_H
#define MAGPIE_RANKER_RANDOM_H

#include "core.h"

/* 0 .. n-1, n below 2^32 (Lemire 2019, without its rejection: off by less than n / 2^32). */
static inline uint32_t ranker_draw(uint64_t *state, uint32_t n) {
    return (uint32_t)(((magpie_random(state) >> 32) * n) >> 32);
}

/* Where an item stands among others of its score, in a user's ranking: an order by chance, each user's own.
 * Not the order of numbers, since what is popular tends to be met, and numbered, first. One to one. */
static inline uint64_t ranker_tie(uint32_t user, uint32_t item) {
    uint64_t state = (uint64_t)user << 32 | item;
    return magpie_random(&state);
}

#endif
