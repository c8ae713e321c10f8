/* query.c - see query.h. */
#include "query.h"
#include "output.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Modalities, senses and kinds of parts begin alike; so do the spaces behind the fused one. */
_Static_assert((int)QUERY_TEXT == (int)MAGPIE_TEXT && (int)QUERY_IMAGE == (int)MAGPIE_IMAGE &&
                   (int)QUERY_AUDIO == (int)MAGPIE_AUDIO && (int)QUERY_AUDIO == (int)SENSE_AUDIO &&
                   (int)MAGPIE_SPACE_TEXT == 1 + (int)MAGPIE_TEXT &&
                   (int)MAGPIE_SPACE_AUDIO == 1 + (int)MAGPIE_AUDIO,
               "the order is the same");

/* ---- what is given ------------------------------------------------------------------------------------- */

static query_part given[QUERY_PARTS_MAX];
static size_t given_count;
static float weights[QUERY_KINDS] = {1, 1, 1, 1};

/* An option is a template of the parts that it gives. */
static const query_part templates[] = {
    {QUERY_TEXT, false, "--text", NULL},      {QUERY_IMAGE, false, "--image", NULL},
    {QUERY_AUDIO, false, "--audio", NULL},    {QUERY_ITEM, false, "--item", NULL},
    {QUERY_TEXT, true, "--not-text", NULL},   {QUERY_IMAGE, true, "--not-image", NULL},
    {QUERY_AUDIO, true, "--not-audio", NULL}, {QUERY_ITEM, true, "--not-item", NULL}};

static magpie_status parse_part(const char *value, void *target) {
    if (!*value) return magpie_fail(MAGPIE_E_ARGUMENT, "it is empty");
    if (given_count == QUERY_PARTS_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a query has at most %d parts", QUERY_PARTS_MAX);
    given[given_count] = *(const query_part *)target;
    given[given_count++].value = value;
    return MAGPIE_OK;
}

static magpie_status parse_weight(const char *value, void *target) {
    static const char *const names[] = {"text", "image", "audio", "item", NULL};
    magpie_status status = heads_parse_weight(value, names, target);
    for (size_t i = 0; i < QUERY_KINDS && status == MAGPIE_OK; i++)
        if (!(weights[i] > 0))
            status =
                magpie_fail(MAGPIE_E_ARGUMENT, "a number above 0 is wanted: leave out what is not to count");
    return status;
}

#define PART(i) .parse = parse_part, .target = (void *)(uintptr_t)&templates[i]

const option_row query_options[] = {
    {.name = "text", .letter = 't', .argument = "TEXT", PART(0), .help = "what to look for, in words"},
    {.name = "image", .letter = 'i', .argument = "FILE", PART(1), .help = "a picture, a JPEG or PNG"},
    {.name = "audio",
     .letter = 'a',
     .argument = "FILE",
     PART(2),
     .help = "a sound, a WAV, FLAC, Ogg, MP3 or AIFF"},
    {.name = "item", .argument = "ID", PART(3), .help = "an item, whose neighbours are wanted"},
    {.name = "not-text", .argument = "TEXT", PART(4), .help = "what is not wanted, in words"},
    {.name = "not-image", .argument = "FILE", PART(5), .help = "a picture of it"},
    {.name = "not-audio", .argument = "FILE", PART(6), .help = "a sound of it"},
    {.name = "not-item", .argument = "ID", PART(7), .help = "an item that it is"},
    {.name = "weight",
     .argument = "NAME=X",
     .parse = parse_weight,
     .target = weights,
     .help = "what the text, image, audio or item parts of the query count, times what such a modality does"},
    {0}};

static magpie_space space_of(query_kind kind) {
    return kind == QUERY_ITEM ? MAGPIE_SPACE_FUSED : (magpie_space)(1 + kind);
}

static model_sense sense_of_space(magpie_space space) {
    return space == MAGPIE_SPACE_FUSED ? SENSE_TEXT : (model_sense)(space - 1);
}

static bool is_single(const query *q) { return q->count == 1 && !q->given->unwanted; }

exit_code query_begin(query *q, const char *command, magpie_space space) {
    *q = (query){.given = given, .count = given_count};
    if (!q->count) {
        print_error("%s: --text, --image, --audio or --item is needed, one or several; see magpie %s --help",
                    command, command);
        return EXIT_USAGE;
    }
    if (space == MAGPIE_SPACES || space == MAGPIE_SPACE_FUSED || is_single(q)) return EXIT_FINE;
    print_error("%s: the %s space takes one thing that is wanted; a mix is for the fused space", command,
                magpie_space_name(space));
    return EXIT_USAGE;
}

void query_end(query *q) {
    for (size_t i = 0; i < SENSES; i++) model_close(&q->encoders[i]);
    magpie_fusion_close(q->fusion);
    free(q->vectors);
    free(q->vector);
}

magpie_space query_space(const query *q, const heads_store *store) {
    if (!is_single(q) || q->given->kind == QUERY_TEXT || !heads_text_alone(store)) return MAGPIE_SPACE_FUSED;
    return space_of(q->given->kind);
}

bool query_names(const query *q, magpie_string id) {
    for (size_t i = 0; i < q->count; i++)
        if (q->given[i].kind == QUERY_ITEM && strlen(q->given[i].value) == id.size &&
            memcmp(q->given[i].value, id.data, id.size) == 0)
            return true;
    return false;
}

size_t query_items(const query *q) {
    size_t n = 0;
    for (size_t i = 0; i < q->count; i++) n += q->given[i].kind == QUERY_ITEM;
    return n;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* The model of the space, by the side of it that takes the part. */
static magpie_status find_side(const query *q, magpie_space space, model_sense sense, const char **folder) {
    magpie_model_senses senses;
    magpie_status status = model_require(&q->folders, sense_of_space(space), folder);
    if (status != MAGPIE_OK)
        return magpie_fail(status, "the %s space cannot be searched: %s", magpie_space_name(space),
                           magpie_error());
    status = magpie_model_get_senses(*folder, &senses);
    if (status != MAGPIE_OK || model_has_sense(&senses, sense)) return status;
    return magpie_fail(MAGPIE_E_UNSUPPORTED,
                       "%s takes no %s, so the %s space cannot be searched by it: that takes a joint model",
                       *folder, model_sense_things(sense), magpie_space_name(space));
}

magpie_status query_open_encoders(query *q, magpie_space space) {
    magpie_status status = q->count == query_items(q) ? model_find_any(&q->folders) : model_find(&q->folders);
    bool in_one = space != MAGPIE_SPACES && space != MAGPIE_SPACE_FUSED;
    for (size_t i = 0; i < q->count && status == MAGPIE_OK; i++) {
        model_sense sense = (model_sense)q->given[i].kind;
        const char *folder;
        if (q->given[i].kind == QUERY_ITEM || q->encoders[sense].name) continue;
        status = in_one ? find_side(q, space, sense, &folder) : model_require(&q->folders, sense, &folder);
        if (status == MAGPIE_OK) status = model_open(folder, sense, false, &q->encoders[sense]);
        if (status != MAGPIE_OK) status = magpie_fail(status, "%s: %s", q->given[i].option, magpie_error());
    }
    return status;
}

/* That what made the query made the vectors. */
static magpie_status check_bound(const char *name, const char *fingerprint, size_t dimension,
                                 magpie_space space, const magpie_space_binding *bound) {
    if (bound->dimension == dimension && strcmp(bound->fingerprint, fingerprint) == 0) return MAGPIE_OK;
    return magpie_fail(
        MAGPIE_E_MISMATCH,
        "the %s space was made by the model %s (%zu dimensions, fingerprint %s), not by %s (%zu, %s)%s",
        magpie_space_name(space), bound->model, bound->dimension, bound->fingerprint, name, dimension,
        fingerprint, space == MAGPIE_SPACE_FUSED ? ": use that, or make its vectors anew (magpie fuse)" : "");
}

/* Items alone need no heads: any fusion mixes what is in the space already. */
static magpie_status open_mixer(const magpie_space_binding *bound, magpie_fusion **out) {
    const magpie_modality_source sources[MAGPIE_MODALITIES] = {{bound->dimension, bound->fingerprint}};
    return magpie_fusion_create_identity(sources, out);
}

magpie_status query_open_fusion(query *q, magpie_space space, const heads_store *store,
                                const magpie_space_binding *bound, bool explain) {
    bool items_alone = query_items(q) == q->count;
    if (space != MAGPIE_SPACE_FUSED && items_alone) return MAGPIE_OK;
    if (space != MAGPIE_SPACE_FUSED) {
        const model_encoder *encoder = &q->encoders[q->given->kind];
        return check_bound(encoder->name, encoder->fingerprint, encoder->dimension, space, bound);
    }
    if (items_alone && !explain) return open_mixer(bound, &q->fusion);
    magpie_status status = heads_open(&q->folders, q->encoders, store, false, &q->fusion);
    if (status != MAGPIE_OK) return status;
    if (!q->fusion) return magpie_fail(MAGPIE_E_NOT_FOUND, "nothing fills the fused space");
    const magpie_fusion_info *info = magpie_fusion_get_info(q->fusion);
    for (size_t i = 0; i < q->count; i++)
        if (q->given[i].kind != QUERY_ITEM && !info->kind[q->given[i].kind])
            return magpie_fail(MAGPIE_E_UNSUPPORTED,
                               "%s: the fused space has no head for %s: that takes a fusion model "
                               "(--fusion-model DIR) that the store was fused by (magpie fuse)",
                               q->given[i].option, model_sense_things((model_sense)q->given[i].kind));
    const model_encoder *text = &q->encoders[SENSE_TEXT];
    bool is_text = text->name && strcmp(text->fingerprint, info->fingerprint) == 0;
    return check_bound(is_text ? text->name : info->name, info->fingerprint, info->dimension, space, bound);
}

/* ---- vectors ------------------------------------------------------------------------------------------- */

static magpie_status encode(const query *q, const query_part *part, float *out) {
    const model_encoder *encoder = &q->encoders[part->kind];
    const magpie_media file = {.path = part->value};
    const magpie_string text = magpie_string_of(part->value);
    if (part->kind != QUERY_TEXT) return model_encode_files(encoder, &file, 1, out, NULL);
    magpie_status status = magpie_utf8_check(text);
    return status == MAGPIE_OK ? magpie_text_encoder_encode(encoder->text, &text, 1, MAGPIE_QUERY, out)
                               : status;
}

static magpie_status find_item(const query_part *part, magpie_space space, size_t dimension,
                               magpie_snapshot *snapshot, bool *missing, float *out) {
    magpie_item item;
    const float *vector = NULL;
    magpie_status status = magpie_snapshot_get(snapshot, magpie_string_of(part->value), &item);
    if (status == MAGPIE_OK) status = magpie_snapshot_vector(snapshot, space, item.row, &vector);
    if (status == MAGPIE_OK && !vector)
        status = magpie_fail(MAGPIE_E_NOT_FOUND, "item \"%s\" has no vector in the %s space to compare with",
                             part->value, magpie_space_name(space));
    *missing |= status == MAGPIE_E_NOT_FOUND;
    if (status == MAGPIE_OK) memcpy(out, vector, dimension * sizeof *out);
    return status;
}

static magpie_status make_part(const query *q, const query_part *part, magpie_space space, size_t dimension,
                               magpie_snapshot *snapshot, bool *missing, float *out) {
    if (part->kind == QUERY_ITEM) return find_item(part, space, dimension, snapshot, missing, out);
    if (space != MAGPIE_SPACE_FUSED) return encode(q, part, out);
    float *feature = magpie_alloc(q->encoders[part->kind].dimension, sizeof *feature);
    magpie_status status = feature ? encode(q, part, feature) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK)
        status = magpie_fusion_project(q->fusion, (magpie_modality)part->kind, feature, 1, out);
    free(feature);
    return status;
}

/* What the store counts for nothing in items may be asked by all the same. */
static float weight_of(const query *q, const query_part *part) {
    float learned = 1;
    if (q->fusion && part->kind != QUERY_ITEM)
        learned = magpie_fusion_get_info(q->fusion)->weights[part->kind];
    return (learned > 0 ? learned : 1) * weights[part->kind] * (part->unwanted ? QUERY_UNWANTED : 1);
}

magpie_status query_make(query *q, magpie_space space, size_t dimension, magpie_snapshot *snapshot,
                         bool *missing) {
    magpie_status status = MAGPIE_OK;
    *missing = false;
    q->vectors = magpie_alloc(q->count * dimension, sizeof *q->vectors);
    q->vector = magpie_alloc(dimension, sizeof *q->vector);
    if (!q->vectors || !q->vector) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < q->count; i++) {
        float *vector = q->vectors + i * dimension;
        status = make_part(q, &q->given[i], space, dimension, snapshot, missing, vector);
        if (status != MAGPIE_OK) return magpie_fail(status, "%s: %s", q->given[i].option, magpie_error());
        q->parts[i] = (magpie_fusion_part){vector, weight_of(q, &q->given[i])};
    }
    if (space == MAGPIE_SPACE_FUSED) return magpie_fusion_mix(q->fusion, q->parts, q->count, q->vector);
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
        status = magpie_fusion_explain(q->fusion, q->parts, q->count, features, shares, &score);
    for (size_t i = 0; i < q->count * MAGPIE_MODALITIES && status == MAGPIE_OK; i++)
        if (!features[i % MAGPIE_MODALITIES]) shares[i] = NAN;
    return status;
}
