/* labelling.c - see labelling.h. What a line does not have is told anew each time, from line and vectors
 * alone: so it does not matter what was told before, and the same models tell the same. */
#include "labelling.h"
#include "canonical.h"
#include "ingest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double DIGITS = 1e4; /* of a probability: more than a calibration knows */

static magpie_space find_space(const char *name) {
    magpie_space space = 0;
    while (space < MAGPIE_SPACES && strcmp(name, magpie_space_name(space)) != 0) space++;
    return space;
}

magpie_status magpie_labelling_check(const magpie_labelling *labelling,
                                     const magpie_modality_source sources[MAGPIE_SPACES]) {
    for (size_t i = 0; i < labelling->count; i++) {
        const magpie_labels_info *info = magpie_labels_get_info(labelling->models[i]);
        const magpie_space space = find_space(info->space);
        if (space == MAGPIE_SPACES)
            return magpie_fail(MAGPIE_E_CORRUPT, "labels %s: there is no space \"%s\"", info->name,
                               info->space);
        const magpie_modality_source *source = &sources[space];
        if (source->dimension == info->dimension && strcmp(source->fingerprint, info->fingerprint) == 0)
            continue;
        return magpie_fail(
            MAGPIE_E_MISMATCH,
            "labels %s were learned on other %s vectors (%s) than there are (%s): train them again",
            info->name, info->space, info->fingerprint, source->dimension ? source->fingerprint : "none");
    }
    return MAGPIE_OK;
}

/* ---- filling ------------------------------------------------------------------------------------------- */

static magpie_status parse(magpie_string attributes, json_t **out) {
    json_error_t error;
    *out = attributes.size ? json_loadb(attributes.data, attributes.size, 0, &error) : json_object();
    if (*out) return MAGPIE_OK;
    return attributes.size ? magpie_fail(MAGPIE_E_CORRUPT, "stored attributes: %s", error.text)
                           : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
}

static bool has(const json_t *attributes, const char *name) {
    const json_t *value = json_object_get(attributes, name);
    return value && !json_is_null(value);
}

static magpie_status name_probability(const char *attribute, magpie_text *out) {
    magpie_text_clear(out);
    magpie_text_printf(out, "%s" MAGPIE_PROBABILITY_SUFFIX, attribute);
    return magpie_text_status(out);
}

static magpie_status set(json_t *attributes, const char *name, json_t *value) {
    return json_object_set_new(attributes, name, value) == 0
               ? MAGPIE_OK
               : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
}

/* Of this name is there what the line says, and nothing that was told before. */
static magpie_status reset(json_t *attributes, const json_t *line, const char *name) {
    json_t *own = json_object_get(line, name);
    if (own) return set(attributes, name, json_incref(own));
    (void)json_object_del(attributes, name);
    return MAGPIE_OK;
}

/* *best is the likeliest label; of equal ones the first. */
static magpie_status predict(const magpie_labels *labels, const float *vector, size_t *best,
                             double *probability) {
    const size_t count = magpie_labels_get_info(labels)->count;
    float *probabilities = magpie_alloc(count, sizeof *probabilities);
    magpie_status status =
        probabilities ? magpie_labels_predict(labels, vector, 1, probabilities) : MAGPIE_E_NO_MEMORY;
    *best = 0;
    for (size_t k = 1; k < count && status == MAGPIE_OK; k++)
        if (probabilities[k] > probabilities[*best]) *best = k;
    *probability = status == MAGPIE_OK ? (double)probabilities[*best] : 0;
    free(probabilities);
    return status;
}

static magpie_status tell(const magpie_labels *labels, double least,
                          const float *const vectors[MAGPIE_SPACES], magpie_text *name, json_t *attributes) {
    const magpie_labels_info *info = magpie_labels_get_info(labels);
    const float *vector = vectors[find_space(info->space)];
    size_t best;
    double probability;
    if (!vector || has(attributes, info->attribute)) return MAGPIE_OK;
    magpie_status status = predict(labels, vector, &best, &probability);
    if (status != MAGPIE_OK || probability < least) return status;
    status = set(attributes, info->attribute, json_string(info->labels[best]));
    if (status == MAGPIE_OK) status = name_probability(info->attribute, name);
    if (status != MAGPIE_OK) return status;
    return set(attributes, name->data, json_real(round(probability * DIGITS) / DIGITS));
}

/* All is forgotten first: of several models for one attribute the first that is sure tells. */
static magpie_status tell_all(const magpie_labelling *l, const json_t *line,
                              const float *const vectors[MAGPIE_SPACES], json_t *attributes) {
    magpie_text name = {0};
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < l->count && status == MAGPIE_OK; i++) {
        const char *attribute = magpie_labels_get_info(l->models[i])->attribute;
        status = reset(attributes, line, attribute);
        if (status == MAGPIE_OK) status = name_probability(attribute, &name);
        if (status == MAGPIE_OK) status = reset(attributes, line, name.data);
    }
    for (size_t i = 0; i < l->count && status == MAGPIE_OK; i++)
        status = tell(l->models[i], l->least, vectors, &name, attributes);
    magpie_text_free(&name);
    return status;
}

magpie_status magpie_labelling_fill(magpie_labelling *l, magpie_string line, magpie_string before,
                                    const float *const vectors[MAGPIE_SPACES], magpie_string *out) {
    json_t *own = NULL, *filled = NULL;
    *out = before;
    if (!l->count) return MAGPIE_OK;
    magpie_status status = parse(line, &own);
    if (status == MAGPIE_OK) status = parse(before, &filled);
    if (status == MAGPIE_OK) status = tell_all(l, own, vectors, filled);
    magpie_text_clear(&l->attributes);
    if (status == MAGPIE_OK && json_object_size(filled))
        status = magpie_canonical_json(filled, MAGPIE_ATTRIBUTE_DEPTH_MAX, &l->attributes);
    *out = (magpie_string){l->attributes.data, l->attributes.size};
    json_decref(own);
    json_decref(filled);
    return status;
}
