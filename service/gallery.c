/* gallery.c - see gallery.h. */
#include "gallery.h"

#include <stdlib.h>
#include <string.h>

const char *gallery_kind_name(size_t kind) {
    return kind == GALLERY_FUSED ? "fused" : magpie_modality_name((magpie_modality)kind);
}

static magpie_status open_fusion(const features *f, const model_folders *folders, magpie_fusion **out) {
    magpie_status status = heads_open(folders, NULL, &f->spaces, !folders->fusion, out);
    if (status != MAGPIE_OK || *out) return status;
    return magpie_fail(MAGPIE_E_NOT_FOUND,
                       "nothing is in one space: it takes heads, named by --fusion-model DIR and "
                       "made by magpie train fusion");
}

static magpie_status make_room(gallery *g, size_t kind) {
    g->vectors[kind] = magpie_alloc(g->features.n, g->dimension * sizeof(float));
    g->has[kind] = magpie_alloc(g->features.n, sizeof(bool));
    return g->vectors[kind] && g->has[kind] ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static magpie_status project_all(gallery *g) {
    const magpie_fusion_info *info = magpie_fusion_get_info(g->fusion);
    magpie_status status = MAGPIE_OK;
    g->dimension = info->dimension;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && status == MAGPIE_OK; m++) {
        if (!g->features.source[m].dimension || !info->kind[m]) continue;
        status = make_room(g, m);
        if (status == MAGPIE_OK)
            status = features_project(&g->features, g->fusion, m, g->vectors[m], g->has[m]);
    }
    if (status == MAGPIE_OK) status = make_room(g, GALLERY_FUSED);
    if (status == MAGPIE_OK)
        status = features_fuse(&g->features, g->fusion, (const float *const *)g->vectors,
                               (const bool *const *)g->has, g->vectors[GALLERY_FUSED], g->has[GALLERY_FUSED]);
    return status;
}

magpie_status gallery_open(magpie_store *store, features_split split, const char *ids,
                           const model_folders *folders, gallery *out) {
    *out = (gallery){0};
    magpie_status status = features_open(store, split, ids, &out->features);
    if (status == MAGPIE_OK && !out->features.n)
        status = magpie_fail(MAGPIE_E_NOT_FOUND, ids                          ? "no ids are named"
                                                 : split == FEATURES_HELD_OUT ? "no item has a held-out title"
                                                                              : "there are no items");
    if (status == MAGPIE_OK) status = open_fusion(&out->features, folders, &out->fusion);
    return status == MAGPIE_OK ? project_all(out) : status;
}

void gallery_close(gallery *g) {
    for (size_t kind = 0; kind < GALLERY_KINDS; kind++) {
        free(g->vectors[kind]);
        free(g->has[kind]);
    }
    magpie_fusion_close(g->fusion);
    features_close(&g->features);
    *g = (gallery){0};
}
