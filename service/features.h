/* features.h - the vectors that a store has of its items, for what is measured or fitted on many of them at
 * once: nothing is encoded. */
#ifndef MAGPIE_FEATURES_H
#define MAGPIE_FEATURES_H

#include "heads.h"

typedef enum features_split { FEATURES_ALL, FEATURES_HELD_OUT, FEATURES_TRAINING } features_split;

typedef struct features_item {
    magpie_item item;                   /* its strings and its vectors are in the store */
    uint64_t title;                     /* its hash */
    const float *of[MAGPIE_MODALITIES]; /* [the space's dimension], unit length; NULL: it has none */
} features_item;

typedef struct features { /* not to be moved: it points into itself */
    magpie_snapshot *snapshot;
    heads_store spaces;                               /* what fills them */
    magpie_modality_source source[MAGPIE_MODALITIES]; /* of them, by modality; dimension 0: there is none */
    features_item *items;                             /* [n], in order of row */
    size_t n;
} features;

/* The items of one side of the split; or, with `ids`, those that this file names, one a line, of either side:
 * MAGPIE_E_INPUT, naming the line, for one that is not there, or twice. To be closed whatever is returned. */
MAGPIE_CHECK_RESULT magpie_status features_open(magpie_store *store, features_split split, const char *ids,
                                                features *out);
void features_close(features *features);

/* The items in the one space, by all threads: out [n, the fusion's dimension], has [n]; zeros where has is
 * false. */
MAGPIE_CHECK_RESULT magpie_status features_project(const features *features, const magpie_fusion *fusion,
                                                   magpie_modality modality, float *out, bool *has);
/* Fused, out of what features_project has given; NULL for a modality that was not asked for. Vectors are
 * those of magpie_fusion_fuse, to the bit. */
MAGPIE_CHECK_RESULT magpie_status features_fuse(const features *features, const magpie_fusion *fusion,
                                                const float *const projected[MAGPIE_MODALITIES],
                                                const bool *const projected_has[MAGPIE_MODALITIES],
                                                float *out, bool *has);

#endif
