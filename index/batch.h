/* batch.h - changes that wait for their commit. Private to index/. */
#ifndef MAGPIE_BATCH_H
#define MAGPIE_BATCH_H

#include "index.h"
#include "interactions.h"
#include "postings.h"

typedef enum magpie_change_kind {
    MAGPIE_CHANGE_PUT,
    MAGPIE_CHANGE_VECTOR,
    MAGPIE_CHANGE_DELETE,
    MAGPIE_CHANGE_CHECKPOINT,
    MAGPIE_CHANGE_INTERACTIONS,
    MAGPIE_CHANGE_DELETE_USER
} magpie_change_kind;

/* One change, with all that it speaks of, in one block of memory but for the posting keys. Those are made
 * when the change is, so that no JSON is parsed while the writers' turn is held. */
typedef struct magpie_change {
    magpie_change_kind kind;
    magpie_block memory;
    /* Of a put. A delete has its id alone, of a user too, a checkpoint its job's name there, a vector id, row
     * and the hash of its space. */
    magpie_item item;
    magpie_string checkpoint;      /* of a checkpoint; empty: remove it */
    bool keep_vectors;             /* a put that keeps its row */
    magpie_space space;            /* of a vector */
    float *vectors[MAGPIE_SPACES]; /* [dimensions[s]], NULL: none */
    size_t dimensions[MAGPIE_SPACES];
    magpie_posting_set postings;
    magpie_interaction_group *group; /* of interactions: all that were put one after the other */
} magpie_change;

struct magpie_batch {
    magpie_change *changes; /* [count], in the order in which they were asked for */
    size_t count, capacity;
    size_t checkpoints, groups;        /* of the count */
    size_t interactions;               /* in the groups */
    char expected[MAGPIE_SPACES][128]; /* fingerprints; "": any */
};

/* A copy in memory of its own, but for the postings, which are taken over. */
MAGPIE_CHECK_RESULT magpie_status magpie_change_copy(const magpie_change *given, magpie_change *out);

bool magpie_valid_utf8(magpie_string s);

#endif
