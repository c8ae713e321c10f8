/* fused.h - the fused space of a store: who fills it, and what an item's vector in it is made of. Private to
 * ingest/. */
#ifndef MAGPIE_FUSED_H
#define MAGPIE_FUSED_H

#include "ingest.h"

/* What the fused space is bound to. It points into the fusion, the stats and `settings`. */
typedef struct magpie_fused_model {
    magpie_space_model model;
    char settings[128]; /* the weights: see magpie_ingest_open_fusion */
} magpie_fused_model;

/* `stats` of the store: where the fused vector is the text's, the space is called as the text's is. */
void magpie_fused_describe(const magpie_fusion *fusion, const magpie_store_stats *stats,
                           magpie_fused_model *out);

/* What the modalities are filled with, by the store's spaces. */
void magpie_fused_sources(const magpie_store_stats *stats, magpie_modality_source out[MAGPIE_MODALITIES]);

/* That each head takes what its modality is filled with; `sources` of dimension 0 are not known. */
MAGPIE_CHECK_RESULT magpie_status magpie_fused_check(const magpie_fusion *fusion,
                                                     const magpie_modality_source sources[MAGPIE_MODALITIES]);

/* What an item's fused vector is made of, out of the hashes of its modalities; 0: of nothing. Where it is
 * the text's, the text's own, as it was before there was fusion. */
uint64_t magpie_fused_hash(const magpie_fusion *fusion, const uint64_t encoded_hash[MAGPIE_SPACES]);

#endif
