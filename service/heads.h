/* heads.h - the fusion by which a command meets a store. */
#ifndef MAGPIE_HEADS_H
#define MAGPIE_HEADS_H

#include "index.h"
#include "model.h"

/* --weight NAME=X: what the modalities of the items weigh. */
extern const option_row heads_weight_options[];

/* NAME=X, for an option's `parse`: X is a number, 0 or more. `names` ends with NULL; out [as many names]. */
magpie_status heads_parse_weight(const char *value, const char *const *names, float *out);

/* What a store knows of its spaces, at one moment. */
typedef struct heads_store {
    magpie_space_binding of[MAGPIE_SPACES];
} heads_store;

/* At the snapshot's moment. */
MAGPIE_CHECK_RESULT magpie_status heads_read(magpie_snapshot *snapshot, heads_store *out);
/* Now. */
MAGPIE_CHECK_RESULT magpie_status heads_read_store(magpie_store *store, heads_store *out);
/* Whether its fused vectors are its texts', or there are none: no heads are in play. */
bool heads_text_alone(const heads_store *store);

/* The heads of `folders`, else what the store means without: magpie_ingest_open_fusion. Sources are the
 * encoders that are open (`encoders` NULL: none is), else what the store's spaces are bound to. With
 * --weight these weights, else those that the store's vectors were made with (`anew`: that they are to be
 * made with, the heads' own). *out is NULL where there is nothing to fuse. */
MAGPIE_CHECK_RESULT magpie_status heads_open(const model_folders *folders, const model_encoder *encoders,
                                             const heads_store *store, bool anew, magpie_fusion **out);

#endif
