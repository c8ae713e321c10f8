/* gallery.h - items of a store in the one space: what things are found among, and asked with. */
#ifndef MAGPIE_GALLERY_H
#define MAGPIE_GALLERY_H

#include "features.h"
#include "model.h"

enum { GALLERY_FUSED = MAGPIE_MODALITIES, GALLERY_KINDS };

typedef struct gallery {
    features features;
    magpie_fusion *fusion;
    size_t dimension;
    /* By modality, and fused: [n, dimension], zeros where has [n] is false; NULL where the store or the
     * fusion has nothing of the kind. */
    float *vectors[GALLERY_KINDS];
    bool *has[GALLERY_KINDS];
} gallery;

const char *gallery_kind_name(size_t kind); /* "text", "image", "audio", "fused" */

/* The fusion is the heads that are named, with the weights that the store's fused vectors were made with where
 * they were by these; else texts and pictures of one joint model need none. To be closed whatever is
 * returned. */
MAGPIE_CHECK_RESULT magpie_status gallery_open(magpie_store *store, features_split split, const char *ids,
                                               const model_folders *folders, gallery *out);
void gallery_close(gallery *gallery);

#endif
