/* heads.c - see heads.h. */
#include "heads.h"
#include "ingest.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)SENSE_TEXT == (int)MAGPIE_TEXT && (int)SENSE_IMAGE == (int)MAGPIE_IMAGE &&
                   (int)SENSE_AUDIO == (int)MAGPIE_AUDIO,
               "a sense is the modality that it fills");

/* ---- weights ---- */

static float weights[MAGPIE_MODALITIES] = {-1, -1, -1}; /* below 0: not said */

static magpie_status misnamed(const char *const *names, const char *value) {
    magpie_text list = {0};
    for (size_t i = 0; names[i]; i++) magpie_text_printf(&list, "%s%s", i ? ", " : "", names[i]);
    magpie_status status = magpie_text_status(&list);
    if (status == MAGPIE_OK)
        status = magpie_fail(MAGPIE_E_ARGUMENT, "NAME=NUMBER is wanted, NAME one of %s, not \"%s\"",
                             list.data, value);
    magpie_text_free(&list);
    return status;
}

magpie_status heads_parse_weight(const char *value, const char *const *names, float *out) {
    const char *equals = strchr(value, '=');
    size_t size = equals ? (size_t)(equals - value) : 0, i = 0;
    while (names[i] && !(strlen(names[i]) == size && memcmp(names[i], value, size) == 0)) i++;
    if (!equals || !names[i]) return misnamed(names, value);
    double weight;
    if (!option_read_real(equals + 1, &weight) || weight > FLT_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a number from 0 on is wanted, not \"%s\"", equals + 1);
    out[i] = (float)weight;
    return MAGPIE_OK;
}

static magpie_status parse_item_weight(const char *value, void *target) {
    static const char *const names[] = {"text", "image", "audio", NULL};
    return heads_parse_weight(value, names, target);
}

const option_row heads_weight_options[] = {
    {.name = "weight",
     .argument = "NAME=X",
     .parse = parse_item_weight,
     .target = weights,
     .help = "what text, image or audio count in an item (default: what the fusion model says)"},
    {0}};

static magpie_status take_weights(magpie_fusion *fusion) {
    const magpie_fusion_info *info = magpie_fusion_get_info(fusion);
    float wanted[MAGPIE_MODALITIES];
    bool any = false;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        bool said = weights[m] >= 0;
        if (said && !info->kind[m])
            return magpie_fail(MAGPIE_E_ARGUMENT, "--weight %s: the fusion model %s has no head for that",
                               magpie_modality_name(m), info->name);
        wanted[m] = said ? weights[m] : info->weights[m];
        any |= said;
    }
    return any ? magpie_fusion_set_weights(fusion, wanted) : MAGPIE_OK;
}

/* ---- opening ---- */

magpie_status heads_read(magpie_snapshot *snapshot, heads_store *out) {
    magpie_status status = MAGPIE_OK;
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++)
        status = magpie_snapshot_get_binding(snapshot, s, &out->of[s]);
    return status;
}

magpie_status heads_read_store(magpie_store *store, heads_store *out) {
    magpie_snapshot *snapshot;
    magpie_status status = magpie_snapshot_open(store, &snapshot);
    if (status != MAGPIE_OK) return status;
    status = heads_read(snapshot, out);
    magpie_snapshot_close(snapshot);
    return status;
}

bool heads_text_alone(const heads_store *store) {
    const magpie_space_binding *fused = &store->of[MAGPIE_SPACE_FUSED];
    return !fused->dimension || strcmp(fused->fingerprint, store->of[MAGPIE_SPACE_TEXT].fingerprint) == 0;
}

static magpie_modality_source source_of(const model_encoder *encoder, const magpie_space_binding *space) {
    if (encoder && encoder->name) return (magpie_modality_source){encoder->dimension, encoder->fingerprint};
    return (magpie_modality_source){space->dimension, space->fingerprint};
}

/* Heads that are not given are missing where the store has been fused by some. */
static magpie_status check_given(const model_folders *folders, const heads_store *store,
                                 const magpie_fusion *fusion) {
    const magpie_space_binding *fused = &store->of[MAGPIE_SPACE_FUSED];
    bool same = fusion && strcmp(magpie_fusion_get_info(fusion)->fingerprint, fused->fingerprint) == 0;
    if (folders->fusion || same || heads_text_alone(store)) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT,
                       "no fusion model is given, and the fused space was made by %s: name it by "
                       "--fusion-model DIR",
                       fused->model);
}

magpie_status heads_open(const model_folders *folders, const model_encoder *encoders,
                         const heads_store *store, bool anew, magpie_fusion **out) {
    magpie_modality_source sources[MAGPIE_MODALITIES];
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
        sources[m] = source_of(encoders ? &encoders[m] : NULL, &store->of[magpie_space_of_modality(m)]);
    magpie_status status = magpie_ingest_open_fusion(folders->fusion, sources,
                                                     anew ? NULL : &store->of[MAGPIE_SPACE_FUSED], out);
    if (status == MAGPIE_OK && *out) status = take_weights(*out);
    return status == MAGPIE_OK && !anew ? check_given(folders, store, *out) : status;
}
