/* fused.c - see fused.h; and the fusion that a store means where no heads are given. */
#include "fused.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

magpie_space magpie_space_of_modality(magpie_modality modality) {
    static const magpie_space spaces[MAGPIE_MODALITIES] = {[MAGPIE_TEXT] = MAGPIE_SPACE_TEXT,
                                                           [MAGPIE_IMAGE] = MAGPIE_SPACE_IMAGE,
                                                           [MAGPIE_AUDIO] = MAGPIE_SPACE_AUDIO};
    return spaces[modality];
}

/* ---- weights as settings of the space ---- */

/* "text=1 image=0.5": of the heads that there are, to the last bit. */
static void write_weights(const magpie_fusion_info *info, char *out, size_t size) {
    size_t used = 0;
    *out = 0;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
        if (info->kind[m] && used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%s=%.9g", used ? " " : "",
                                     magpie_modality_name(m), (double)info->weights[m]);
}

/* Those that `settings` names. */
static void read_weights(const char *settings, float weights[MAGPIE_MODALITIES]) {
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        char name[16];
        snprintf(name, sizeof name, "%s=", magpie_modality_name(m));
        const char *at = strstr(settings, name);
        if (at) weights[m] = strtof(at + strlen(name), NULL);
    }
}

/* The weights of the store's fused vectors, where these heads made them. */
static magpie_status take_weights(magpie_fusion *fusion, const magpie_space_binding *fused) {
    const magpie_fusion_info *info = magpie_fusion_get_info(fusion);
    float own[MAGPIE_MODALITIES], stored[MAGPIE_MODALITIES];
    if (!*fused->settings || strcmp(info->fingerprint, fused->fingerprint) == 0) return MAGPIE_OK;
    memcpy(own, info->weights, sizeof own);
    memcpy(stored, own, sizeof stored);
    read_weights(fused->settings, stored);
    if (magpie_fusion_set_weights(fusion, stored) == MAGPIE_OK &&
        strcmp(info->fingerprint, fused->fingerprint) == 0)
        return MAGPIE_OK;
    return magpie_fusion_set_weights(fusion, own); /* they are some other heads' */
}

/* ---- opening ---- */

static magpie_status open_identity(const magpie_modality_source sources[MAGPIE_MODALITIES],
                                   const magpie_space_binding *fused, magpie_fusion **out) {
    const magpie_modality_source *text = &sources[MAGPIE_TEXT], *image = &sources[MAGPIE_IMAGE];
    magpie_modality_source used[MAGPIE_MODALITIES] = {[MAGPIE_TEXT] = *text};
    if (!text->dimension) return MAGPIE_OK;
    bool known = text->fingerprint && image->fingerprint;
    bool joint = known && image->dimension && strcmp(text->fingerprint, image->fingerprint) == 0;
    bool text_alone = known && fused && strcmp(fused->fingerprint, text->fingerprint) == 0;
    if (joint && !text_alone) used[MAGPIE_IMAGE] = *image;
    return magpie_fusion_create_identity(used, out);
}

magpie_status magpie_ingest_open_fusion(const char *directory,
                                        const magpie_modality_source sources[MAGPIE_MODALITIES],
                                        const magpie_space_binding *fused, magpie_fusion **out) {
    *out = NULL;
    if (!directory) return open_identity(sources, fused, out);
    magpie_status status = magpie_fusion_open(directory, out);
    if (status == MAGPIE_OK) status = magpie_fused_check(*out, sources);
    if (status == MAGPIE_OK && fused) status = take_weights(*out, fused);
    if (status == MAGPIE_OK) return MAGPIE_OK;
    magpie_fusion_close(*out);
    *out = NULL;
    return status;
}

magpie_status magpie_fused_check(const magpie_fusion *fusion,
                                 const magpie_modality_source sources[MAGPIE_MODALITIES]) {
    const magpie_fusion_info *info = magpie_fusion_get_info(fusion);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        if (!info->kind[m] || !sources[m].dimension) continue;
        magpie_status status = magpie_fusion_check(fusion, m, &sources[m]);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

void magpie_fused_sources(const magpie_store_stats *stats, magpie_modality_source out[MAGPIE_MODALITIES]) {
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        magpie_space space = magpie_space_of_modality(m);
        out[m] = (magpie_modality_source){stats->dimension[space], stats->fingerprint[space]};
    }
}

void magpie_fused_describe(const magpie_fusion *fusion, const magpie_store_stats *stats,
                           magpie_fused_model *out) {
    const magpie_fusion_info *info = magpie_fusion_get_info(fusion);
    bool is_text = strcmp(info->fingerprint, stats->fingerprint[MAGPIE_SPACE_TEXT]) == 0;
    out->model = (magpie_space_model){is_text ? stats->model[MAGPIE_SPACE_TEXT] : info->name,
                                      info->fingerprint, info->dimension, out->settings};
    write_weights(info, out->settings, sizeof out->settings);
}

/* ---- what a vector is made of ---- */

uint64_t magpie_fused_hash(const magpie_fusion *fusion, const uint64_t encoded_hash[MAGPIE_SPACES]) {
    const magpie_fusion_info *info = magpie_fusion_get_info(fusion);
    uint64_t words[1 + MAGPIE_MODALITIES] = {XXH3_64bits(info->fingerprint, strlen(info->fingerprint))};
    bool any = false;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        if (info->weights[m] > 0) words[1 + m] = encoded_hash[magpie_space_of_modality(m)];
        any |= words[1 + m] != 0;
    }
    const magpie_modality_source *text = &info->source[MAGPIE_TEXT];
    if (text->fingerprint && strcmp(info->fingerprint, text->fingerprint) == 0)
        return encoded_hash[MAGPIE_SPACE_TEXT];
    uint64_t hash = XXH3_64bits(words, sizeof words);
    return !any ? 0 : hash ? hash : 1;
}
