/* generation.h - what a vector index holds: FAISS's index, and what its labels mean. Private to index/.
 *
 * FAISS gives the vectors that are added the labels 0, 1, 2 ...: we call them ordinals. rows[ordinal] is the
 * row of the store, ascending, since rows are added in order; so a row is found by binary search, and a
 * filter's bitmap over ordinals is FAISS's selector as it is. Nothing is ever removed: a bit in `live` is
 * cleared. A rebuild makes a new generation beside the old one. None of this locks: see vectors.c. */
#ifndef MAGPIE_GENERATION_H
#define MAGPIE_GENERATION_H

#include <faiss/c_api/Index_c.h>

#include "bitmap.h"
#include "index.h"

typedef struct magpie_generation {
    FaissIndex *faiss;
    FaissIndex *on_gpu;     /* a copy (faiss_gpu.h); NULL: none */
    magpie_index_kind kind; /* never AUTO */
    size_t dimension;
    unsigned m, ef_construction; /* of HNSW; otherwise 0 */
    uint64_t *rows;              /* [count] */
    size_t count, capacity;
    magpie_bitmap live;   /* of size count */
    size_t live_capacity; /* words */
    size_t dead;          /* count - popcount(live) */
    uint64_t sequence;    /* of the store, up to which it holds everything */
} magpie_generation;

enum {
    MAGPIE_IVF_AT_LEAST = 1000 /* vectors; below, an IVF index is kept flat: there is nothing to train on */
};

/* Lists of an IVF index of n vectors: 4 sqrt(n). */
size_t magpie_ivf_lists(size_t n);

/* An empty one. `expected` vectors decide the number of IVF's lists; IVF must be trained before it is added
 * to. */
MAGPIE_CHECK_RESULT magpie_status magpie_generation_make(magpie_index_kind kind, size_t dimension, unsigned m,
                                                         unsigned ef_construction, size_t expected,
                                                         magpie_generation **out);
void magpie_generation_free(magpie_generation *generation);

/* vectors: [n, dimension]. A FAISS index is then ready to be added to. */
MAGPIE_CHECK_RESULT magpie_status magpie_generation_train(magpie_generation *generation, size_t n,
                                                          const float *vectors, unsigned threads);
/* rows [n] ascend and are above all that it holds; vectors [n, dimension]. */
MAGPIE_CHECK_RESULT magpie_status magpie_generation_append(magpie_generation *generation, size_t n,
                                                           const uint64_t *rows, const float *vectors,
                                                           unsigned threads);
/* The ordinal of a row, or SIZE_MAX. */
size_t magpie_generation_find(const magpie_generation *generation, uint64_t row);
/* Hides a row. False where it is not held, or is hidden already. */
bool magpie_generation_bury(magpie_generation *generation, uint64_t row);
/* How many vectors an IVF index was made for. */
size_t magpie_generation_built_for(const magpie_generation *generation);
/* Whether FAISS holds what we think: an addition that failed half-way leaves it otherwise. */
bool magpie_generation_sound(const magpie_generation *generation);
/* out: [dimension] */
MAGPIE_CHECK_RESULT magpie_status magpie_generation_vector(const magpie_generation *generation,
                                                           size_t ordinal, float *out);
uint64_t magpie_generation_bytes(const magpie_generation *generation); /* in memory, about */

#endif
