/* query.c - see query.h. */
#include "query.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Modalities, senses and kinds of parts begin alike; so do the spaces behind the fused one. */
_Static_assert((int)QUERY_TEXT == (int)MAGPIE_TEXT && (int)QUERY_IMAGE == (int)MAGPIE_IMAGE &&
                   (int)QUERY_AUDIO == (int)MAGPIE_AUDIO && (int)QUERY_AUDIO == (int)SENSE_AUDIO &&
                   (int)MAGPIE_SPACE_TEXT == 1 + (int)MAGPIE_TEXT &&
                   (int)MAGPIE_SPACE_AUDIO == 1 + (int)MAGPIE_AUDIO,
               "the order is the same");

static bool is_encoded(const query_part *part) { return part->kind < QUERY_ITEM; }

static magpie_space space_of(query_kind kind) { return (magpie_space)(1 + kind); }

void query_free(query *q) {
    free(q->vectors);
    free(q->vector);
    q->vectors = q->vector = NULL;
}

bool query_is_single(const query *q) { return q->count == 1 && q->parts->weight > 0; }

magpie_space query_space(const query *q, const heads_store *store) {
    if (!query_is_single(q) || (q->parts->kind != QUERY_IMAGE && q->parts->kind != QUERY_AUDIO) ||
        !heads_text_alone(store))
        return MAGPIE_SPACE_FUSED;
    return space_of(q->parts->kind);
}

bool query_names(const query *q, magpie_string id) {
    for (size_t i = 0; i < q->count; i++)
        if (q->parts[i].kind == QUERY_ITEM && q->parts[i].value.size == id.size &&
            memcmp(q->parts[i].value.data, id.data, id.size) == 0)
            return true;
    return false;
}

size_t query_items(const query *q) {
    size_t n = 0;
    for (size_t i = 0; i < q->count; i++) n += q->parts[i].kind == QUERY_ITEM;
    return n;
}

bool query_needs_encoder(const query *q) {
    for (size_t i = 0; i < q->count; i++)
        if (is_encoded(&q->parts[i])) return true;
    return false;
}

/* ---- whether it can be asked --------------------------------------------------------------------------- */

static magpie_status check_bound(const char *name, const char *fingerprint, size_t dimension,
                                 magpie_space space, const magpie_space_binding *bound) {
    if (bound->dimension == dimension && strcmp(bound->fingerprint, fingerprint) == 0) return MAGPIE_OK;
    return magpie_fail(
        MAGPIE_E_MISMATCH,
        "the %s space was made by the model %s (%zu dimensions, fingerprint %s), not by %s (%zu, %s)%s",
        magpie_space_name(space), bound->model, bound->dimension, bound->fingerprint, name, dimension,
        fingerprint, space == MAGPIE_SPACE_FUSED ? ": use that, or make its vectors anew (magpie fuse)" : "");
}

magpie_status query_open_mixer(const magpie_space_binding *bound, magpie_fusion **out) {
    const magpie_modality_source sources[MAGPIE_MODALITIES] = {{bound->dimension, bound->fingerprint}};
    return magpie_fusion_create_identity(sources, out);
}

magpie_status query_check(const query *q, magpie_space space, const model_encoder *encoders,
                          const magpie_space_binding *bound) {
    if (space != MAGPIE_SPACE_FUSED && !query_needs_encoder(q)) return MAGPIE_OK;
    if (space != MAGPIE_SPACE_FUSED) {
        const model_encoder *encoder = &encoders[q->parts->kind];
        return check_bound(encoder->name, encoder->fingerprint, encoder->dimension, space, bound);
    }
    if (!q->fusion) return magpie_fail(MAGPIE_E_NOT_FOUND, "nothing fills the fused space");
    const magpie_fusion_info *info = magpie_fusion_get_info(q->fusion);
    for (size_t i = 0; i < q->count; i++)
        if (is_encoded(&q->parts[i]) && !info->kind[q->parts[i].kind])
            return magpie_fail(MAGPIE_E_UNSUPPORTED,
                               "%s: the fused space has no head for %s: that takes a fusion model "
                               "(--fusion-model DIR) that the store was fused by (magpie fuse)",
                               q->parts[i].name, model_sense_things((model_sense)q->parts[i].kind));
    const model_encoder *text = &encoders[SENSE_TEXT];
    bool is_text = text->name && strcmp(text->fingerprint, info->fingerprint) == 0;
    return check_bound(is_text ? text->name : info->name, info->fingerprint, info->dimension, space, bound);
}

/* ---- vectors ------------------------------------------------------------------------------------------- */

static magpie_status find_item(const query_part *part, magpie_space space, size_t dimension,
                               magpie_snapshot *snapshot, bool *missing, float *out) {
    magpie_item item;
    const float *vector = NULL;
    magpie_status status = magpie_snapshot_get(snapshot, part->value, &item);
    if (status == MAGPIE_E_NOT_FOUND)
        (void)magpie_fail(status, "there is no item \"%.*s\"", (int)part->value.size, part->value.data);
    if (status == MAGPIE_OK) status = magpie_snapshot_vector(snapshot, space, item.row, &vector);
    if (status == MAGPIE_OK && !vector)
        status =
            magpie_fail(MAGPIE_E_NOT_FOUND, "item \"%.*s\" has no vector in the %s space to compare with",
                        (int)part->value.size, part->value.data, magpie_space_name(space));
    *missing |= status == MAGPIE_E_NOT_FOUND;
    if (status == MAGPIE_OK) memcpy(out, vector, dimension * sizeof *out);
    return status;
}

static magpie_status make_part(const query *q, const query_part *part, magpie_space space, size_t dimension,
                               magpie_snapshot *snapshot, bool *missing, float *out) {
    if (part->kind == QUERY_ITEM) return find_item(part, space, dimension, snapshot, missing, out);
    if (space == MAGPIE_SPACE_FUSED && is_encoded(part))
        return magpie_fusion_project(q->fusion, (magpie_modality)part->kind, part->feature, 1, out);
    memcpy(out, part->feature, dimension * sizeof *out);
    return MAGPIE_OK;
}

/* What the store counts for nothing in items may be asked by all the same. */
static float weight_of(const query *q, const query_part *part) {
    float learned = 1;
    if (q->fusion && is_encoded(part)) learned = magpie_fusion_get_info(q->fusion)->weights[part->kind];
    return (learned > 0 ? learned : 1) * part->weight;
}

magpie_status query_make(query *q, magpie_space space, size_t dimension, magpie_snapshot *snapshot,
                         bool *missing, size_t *fault) {
    magpie_status status = MAGPIE_OK;
    *missing = false;
    q->vectors = magpie_alloc(q->count * dimension, sizeof *q->vectors);
    q->vector = magpie_alloc(dimension, sizeof *q->vector);
    if (!q->vectors || !q->vector) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < q->count; i++) {
        float *vector = q->vectors + i * dimension;
        if (fault) *fault = i;
        status = make_part(q, &q->parts[i], space, dimension, snapshot, missing, vector);
        if (status != MAGPIE_OK) return magpie_fail(status, "%s: %s", q->parts[i].name, magpie_error());
        q->mixed[i] = (magpie_fusion_part){vector, weight_of(q, &q->parts[i])};
    }
    if (space == MAGPIE_SPACE_FUSED) return magpie_fusion_mix(q->fusion, q->mixed, q->count, q->vector);
    memcpy(q->vector, q->vectors, dimension * sizeof *q->vector); /* the only one */
    return MAGPIE_OK;
}

/* ---- explaining ---------------------------------------------------------------------------------------- */

magpie_status query_explain(const query *q, magpie_snapshot *snapshot, uint64_t row, float *shares) {
    const magpie_fusion_info *info = magpie_fusion_get_info(q->fusion);
    const float *features[MAGPIE_MODALITIES] = {0};
    float score;
    magpie_status status = MAGPIE_OK;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && status == MAGPIE_OK; m++)
        if (info->weights[m] > 0)
            status = magpie_snapshot_vector(snapshot, space_of((query_kind)m), row, &features[m]);
    if (status == MAGPIE_OK)
        status = magpie_fusion_explain(q->fusion, q->mixed, q->count, features, shares, &score);
    for (size_t i = 0; i < q->count * MAGPIE_MODALITIES && status == MAGPIE_OK; i++)
        if (!features[i % MAGPIE_MODALITIES]) shares[i] = NAN;
    return status;
}
