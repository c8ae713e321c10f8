/* query.h - what is looked for: a mix of texts, pictures, sounds, items and vectors, wanted and unwanted, and
 * how it becomes one vector.
 *
 * IN THE FUSED SPACE every part is projected by the head of its modality (an item is where its fused vector
 * is), and the query is the unit sum of the parts (encoders.h, "one space"). A part weighs what its
 * modality does in items, times its own weight, which is below 0 for what is not wanted. A single part that is
 * wanted is its head's vector itself.
 *
 * IN ANOTHER SPACE a query is one part, encoded by the model of that space. Where that takes text and
 * pictures (CLIP), either goes with either.
 *
 * Encoding is the caller's: the command does it at once (query_line.h), the service many queries together
 * (http/batcher.h). */
#ifndef MAGPIE_QUERY_H
#define MAGPIE_QUERY_H

#include "heads.h"
#include "index.h"

enum { QUERY_PARTS_MAX = 64 };

typedef enum query_kind { QUERY_TEXT, QUERY_IMAGE, QUERY_AUDIO, QUERY_ITEM, QUERY_VECTOR } query_kind;

typedef struct query_part {
    query_kind kind;
    float weight;         /* 1 as a rule, below 0: it is not wanted; never 0 */
    const char *name;     /* in messages: "--not-text", "query[1]" */
    magpie_string value;  /* a text, an item's id; of a picture or sound for people to see, or empty */
    const float *feature; /* of a text, picture or sound: as encoded; a vector: itself, in the space */
} query_part;

typedef struct query {
    const query_part *parts; /* [count]; the caller's */
    size_t count;
    const magpie_fusion *fusion; /* the caller's; NULL: not in the fused space */
    /* Made by query_make: */
    float *vectors;                            /* [count, dimension], of the parts */
    magpie_fusion_part mixed[QUERY_PARTS_MAX]; /* [count] of them, and what they weigh */
    float *vector;                             /* [dimension]: what is searched with */
} query;

void query_free(query *q); /* what query_make made */

/* Whether it is one thing that is wanted: only that can be asked for outside of the fused space. */
bool query_is_single(const query *q);
/* Where this query is to be asked when nobody says: the fused space, but a single picture or sound among its
 * own kind where the fused vectors are the texts'. */
magpie_space query_space(const query *q, const heads_store *store);

/* That it can be asked in `space`, whose vectors are `bound`: there are heads for its parts, and what made the
 * query made the vectors. `encoders` [SENSES] as they are open; q->fusion are heads, for the fused space. */
MAGPIE_CHECK_RESULT magpie_status query_check(const query *q, magpie_space space,
                                              const model_encoder *encoders,
                                              const magpie_space_binding *bound);
/* Items and vectors alone need no heads: any fusion mixes what is in the space already. */
MAGPIE_CHECK_RESULT magpie_status query_open_mixer(const magpie_space_binding *bound, magpie_fusion **out);

/* The query's vector, out of the features of its parts. *missing: an item that it names is not there, or has
 * no vector. The message begins with the name of the part that is at fault; *fault (may be NULL) is its
 * number. */
MAGPIE_CHECK_RESULT magpie_status query_make(query *q, magpie_space space, size_t dimension,
                                             magpie_snapshot *snapshot, bool *missing, size_t *fault);

/* Whether it names this item: no answer then. */
bool query_names(const query *q, magpie_string id);
size_t query_items(const query *q);       /* how many it names */
bool query_needs_encoder(const query *q); /* whether a part is a text, a picture or a sound */

/* shares [count, MAGPIE_MODALITIES]: what each part has with each modality of the item at `row`; NAN where
 * it has none that counts. */
MAGPIE_CHECK_RESULT magpie_status query_explain(const query *q, magpie_snapshot *snapshot, uint64_t row,
                                                float *shares);

#endif
