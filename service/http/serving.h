/* serving.h - what requests are answered with: the store, its indexes, the models, the recommender; and the
 * thread that keeps them fresh.
 *
 * EACH IS REPLACED WHOLE. Models, indexes and recommender do not change once they are made; a new one takes
 * the place of the old for the requests that come, and the old one goes when the last request that has it is
 * answered. So SIGHUP, a rebuild or a new ranker drop no request.
 *
 * FRESHNESS. One thread wakes up when something has been written here, and some times a second to see whether another
 * process has written: then the indexes take it in. Another opens the recommender anew (not more often than is cheap)
 * and saves the index files every minute with changes. None of it stops an answer. */
#ifndef MAGPIE_SERVING_H
#define MAGPIE_SERVING_H

#include "batcher.h"
#include "heads.h"
#include "recommender.h"
#include "storage.h"
#include "lru.h"

/* Models as they were opened at one time. */
typedef struct served_models {
    atomic_size_t uses;
    uint64_t number; /* another one for each that is opened */
    int64_t opened;  /* milliseconds since 1970 */
    model_folders folders;
    model_encoder encoders[SENSES]; /* name NULL: there is none */
    batcher *batchers[SENSES];      /* NULL likewise: the way to the encoders for requests */
    heads_store spaces;             /* of the store, when it was opened */
    magpie_fusion *fusion;          /* NULL: nothing fills the fused space */
    lru *vectors;                   /* of queries that were encoded */
} served_models;

typedef struct served_index {
    atomic_size_t uses;
    magpie_index *index;
    magpie_fusion *mixer; /* of vectors of the space, as the index is bound to it */
} served_index;

typedef struct served_recommender {
    atomic_size_t uses;
    recommender *recommender;
} served_recommender;

/* What one request has, from its beginning to its end. */
typedef struct serving {
    magpie_store *store;
    served_models *models;
    served_index *index[MAGPIE_SPACES]; /* NULL: that space has none */
    served_recommender *recommender;    /* NULL: there is none yet */
} serving;

typedef struct serving_source serving_source;

typedef struct serving_options {
    unsigned batch_texts;        /* most of a batch, of each sense; 1: no batching */
    double batch_wait;           /* seconds */
    const atomic_size_t *coming; /* this and the next: see batcher.h */
    void (*batched)(model_sense sense, size_t n);
    size_t vector_bytes; /* of queries that are remembered */
    /* What had to be said of the work behind requests; from another thread. */
    void (*log)(const char *level, const char *message);
} serving_options;

/* Opens all, with the options of storage.h and model.h as they are, the store in `mode`. Models are not needed: without them
 * items and vectors can be searched for, and users recommended to. */
MAGPIE_CHECK_RESULT magpie_status serving_open(const serving_options *options, storage_mode mode,
                                               serving_source **out);
/* After every serving was given back; saves the indexes. */
void serving_close(serving_source *source);
void serving_take(serving_source *source, serving *out);
void serving_give_back(serving *view);

/* Something was written to the store: the indexes are to take it in, soon. */
void serving_wrote(serving_source *source);
/* Waits until the indexes have taken in what was committed before the call. Not on a connection's thread. */
MAGPIE_CHECK_RESULT magpie_status serving_catch_up(serving_source *source);
/* Until the first recommender has been opened, or has failed to be: MAGPIE_E_BUSY. */
MAGPIE_CHECK_RESULT magpie_status serving_wait_for_recommender(serving_source *source);
/* Opens models and recommender anew, in the background; where that fails the old ones stay, and the log has
 * why. Safe in a signal's thread, not in its handler. */
void serving_reload(serving_source *source);

#endif
