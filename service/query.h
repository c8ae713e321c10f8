/* query.h - what is looked for: a mix of texts, pictures, sounds and items, wanted and unwanted, and how it
 * becomes one vector.
 *
 * IN THE FUSED SPACE every part is projected by the head of its modality (an item is where its fused vector
 * is), and the query is the unit sum of the parts (encoders.h, "one space"). A part weighs what its
 * modality does in items, times --weight; one that is not wanted, QUERY_UNWANTED times that. A single part
 * is its head's vector itself.
 *
 * IN ANOTHER SPACE a query is one part, encoded by the model of that space. Where that takes text and
 * pictures (CLIP), either goes with either. */
#ifndef MAGPIE_QUERY_H
#define MAGPIE_QUERY_H

#include "heads.h"
#include "index.h"
#include "model.h"

enum { QUERY_PARTS_MAX = 64 };

#define QUERY_UNWANTED (-0.5F)

/* --text, --image, --audio, --item, --not-text, --not-image, --not-audio, --not-item, --weight */
extern const option_row query_options[];

typedef enum query_kind { QUERY_TEXT, QUERY_IMAGE, QUERY_AUDIO, QUERY_ITEM, QUERY_KINDS } query_kind;

typedef struct query_part {
    query_kind kind;
    bool unwanted;
    const char *option; /* that gave it, "--not-text" */
    const char *value;
} query_part;

typedef struct query {
    const query_part *given; /* [count] */
    size_t count;
    model_folders folders;
    model_encoder encoders[SENSES]; /* those that the parts need */
    magpie_fusion *fusion;          /* NULL: not in the fused space, or not opened yet */
    float *vectors;                 /* [count, dimension], of the parts */
    magpie_fusion_part parts[QUERY_PARTS_MAX];
    float *vector; /* [dimension]: what is searched with */
} query;

/* What the command line says; EXIT_USAGE, in words that begin with the command's name, where that is no
 * query. `space` as --space says, MAGPIE_SPACES: nothing. */
exit_code query_begin(query *q, const char *command, magpie_space space);
void query_end(query *q);

/* Where this query is to be asked, when --space says nothing: the fused space, but a single picture or
 * sound among its own kind where the fused vectors are the texts'. */
magpie_space query_space(const query *q, const heads_store *store);

/* Opens the encoders that the parts need. */
MAGPIE_CHECK_RESULT magpie_status query_open_encoders(query *q, magpie_space space);
/* With the encoders open: the fusion, as the store means it; `explain`: it is needed for more than the
 * query. Fails where `bound`, what the searched vectors are of, is not what the query is of. */
MAGPIE_CHECK_RESULT magpie_status query_open_fusion(query *q, magpie_space space, const heads_store *store,
                                                    const magpie_space_binding *bound, bool explain);
/* The query's vector. *missing: an item that it names is not there, or has no vector. */
MAGPIE_CHECK_RESULT magpie_status query_make(query *q, magpie_space space, size_t dimension,
                                             magpie_snapshot *snapshot, bool *missing);

/* Whether it names this item: no answer then. */
bool query_names(const query *q, magpie_string id);
size_t query_items(const query *q); /* how many it names */

/* shares [count, MAGPIE_MODALITIES]: what each part has with each modality of the item at `row`; NAN where
 * it has none that counts. */
MAGPIE_CHECK_RESULT magpie_status query_explain(const query *q, magpie_snapshot *snapshot, uint64_t row,
                                                float *shares);

#endif
