/* lru.h - what was computed lately, by a hash of what it was computed from: vectors of queries, whole answers.
 * People ask the same again. */
#ifndef MAGPIE_LRU_H
#define MAGPIE_LRU_H

#include "core.h"

typedef struct lru lru;

/* 128 bits: two keys are never alike by chance. */
typedef struct lru_key {
    uint64_t of[2];
} lru_key;

/* `kind` tells apart what has the same bytes and is not the same. */
lru_key lru_hash(uint64_t kind, magpie_string bytes);

/* Values of at most `bytes` in all; the one that was used longest ago goes. 0: none is kept. Safe from all
 * threads. */
MAGPIE_CHECK_RESULT magpie_status lru_create(size_t bytes, lru **out);
void lru_free(lru *cache);
/* Copies the value to `out` where there is one of that size. */
bool lru_read(lru *cache, lru_key key, void *out, size_t size);
/* Appends it to `out`. */
bool lru_append(lru *cache, lru_key key, magpie_text *out);
/* Where memory is short it is not kept. */
void lru_put(lru *cache, lru_key key, const void *value, size_t size);

typedef struct lru_counts {
    uint64_t hits, misses;
    size_t values, bytes;
} lru_counts;

void lru_count(lru *cache, lru_counts *out);

#endif
