/* query_line.c - see query_line.h. */
#include "query_line.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>

enum { LINE_KINDS = QUERY_ITEM + 1 };

static const float unwanted_weight = -0.5F;

static query_part given[QUERY_PARTS_MAX];
static size_t given_count;
static float weights[LINE_KINDS] = {1, 1, 1, 1};

/* An option is a template of the parts that it gives. */
static const query_part templates[] = {
    {.kind = QUERY_TEXT, .weight = 1, .name = "--text"},
    {.kind = QUERY_IMAGE, .weight = 1, .name = "--image"},
    {.kind = QUERY_AUDIO, .weight = 1, .name = "--audio"},
    {.kind = QUERY_ITEM, .weight = 1, .name = "--item"},
    {.kind = QUERY_TEXT, .weight = unwanted_weight, .name = "--not-text"},
    {.kind = QUERY_IMAGE, .weight = unwanted_weight, .name = "--not-image"},
    {.kind = QUERY_AUDIO, .weight = unwanted_weight, .name = "--not-audio"},
    {.kind = QUERY_ITEM, .weight = unwanted_weight, .name = "--not-item"}};

static magpie_status parse_part(const char *value, void *target) {
    if (!*value) return magpie_fail(MAGPIE_E_ARGUMENT, "it is empty");
    if (given_count == QUERY_PARTS_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a query has at most %d parts", QUERY_PARTS_MAX);
    given[given_count] = *(const query_part *)target;
    given[given_count++].value = magpie_string_of(value);
    return MAGPIE_OK;
}

static magpie_status parse_weight(const char *value, void *target) {
    static const char *const names[] = {"text", "image", "audio", "item", NULL};
    magpie_status status = heads_parse_weight(value, names, target);
    for (size_t i = 0; i < LINE_KINDS && status == MAGPIE_OK; i++)
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

exit_code query_line_begin(query_line *l, const char *command, magpie_space space) {
    for (size_t i = 0; i < given_count; i++) given[i].weight *= weights[given[i].kind];
    *l = (query_line){.query = {.parts = given, .count = given_count}};
    if (!given_count) {
        print_error("%s: --text, --image, --audio or --item is needed, one or several; see magpie %s --help",
                    command, command);
        return EXIT_USAGE;
    }
    if (space == MAGPIE_SPACES || space == MAGPIE_SPACE_FUSED || query_is_single(&l->query)) return EXIT_FINE;
    print_error("%s: the %s space takes one thing that is wanted; a mix is for the fused space", command,
                magpie_space_name(space));
    return EXIT_USAGE;
}

void query_line_end(query_line *l) {
    for (size_t i = 0; i < SENSES; i++) model_close(&l->encoders[i]);
    query_free(&l->query);
    magpie_fusion_close(l->fusion);
    free(l->features);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static model_sense sense_of_space(magpie_space space) {
    return space == MAGPIE_SPACE_FUSED ? SENSE_TEXT : (model_sense)(space - 1);
}

/* The model of the space, by the side of it that takes the part. */
static magpie_status find_side(const query_line *l, magpie_space space, model_sense sense,
                               const char **folder) {
    magpie_model_senses senses;
    magpie_status status = model_require(&l->folders, sense_of_space(space), folder);
    if (status != MAGPIE_OK)
        return magpie_fail(status, "the %s space cannot be searched: %s", magpie_space_name(space),
                           magpie_error());
    status = magpie_model_get_senses(*folder, &senses);
    if (status != MAGPIE_OK || model_has_sense(&senses, sense)) return status;
    return magpie_fail(MAGPIE_E_UNSUPPORTED,
                       "%s takes no %s, so the %s space cannot be searched by it: that takes a joint model",
                       *folder, model_sense_things(sense), magpie_space_name(space));
}

magpie_status query_line_open_encoders(query_line *l, magpie_space space) {
    magpie_status status =
        query_needs_encoder(&l->query) ? model_find(&l->folders) : model_find_any(&l->folders);
    bool in_one = space != MAGPIE_SPACES && space != MAGPIE_SPACE_FUSED;
    for (size_t i = 0; i < given_count && status == MAGPIE_OK; i++) {
        model_sense sense = (model_sense)given[i].kind;
        const char *folder;
        if (given[i].kind == QUERY_ITEM || l->encoders[sense].name) continue;
        status = in_one ? find_side(l, space, sense, &folder) : model_require(&l->folders, sense, &folder);
        if (status == MAGPIE_OK) status = model_open(folder, sense, false, &l->encoders[sense]);
        if (status != MAGPIE_OK) status = magpie_fail(status, "%s: %s", given[i].name, magpie_error());
    }
    return status;
}

magpie_status query_line_open_fusion(query_line *l, magpie_space space, const heads_store *store,
                                     const magpie_space_binding *bound, bool explain) {
    magpie_status status = MAGPIE_OK;
    bool mixer = space == MAGPIE_SPACE_FUSED && !explain && !query_needs_encoder(&l->query);
    if (mixer)
        status = query_open_mixer(bound, &l->fusion);
    else if (space == MAGPIE_SPACE_FUSED)
        status = heads_open(&l->folders, l->encoders, store, false, &l->fusion);
    l->query.fusion = l->fusion;
    return status == MAGPIE_OK && !mixer ? query_check(&l->query, space, l->encoders, bound) : status;
}

/* ---- encoding ------------------------------------------------------------------------------------------ */

static magpie_status encode(const query_line *l, const query_part *part, float *out) {
    const model_encoder *encoder = &l->encoders[part->kind];
    const magpie_media file = {.path = part->value.data};
    if (part->kind != QUERY_TEXT) return model_encode_files(encoder, &file, 1, out, NULL);
    magpie_status status = magpie_utf8_check(part->value);
    return status == MAGPIE_OK ? magpie_text_encoder_encode(encoder->text, &part->value, 1, MAGPIE_QUERY, out)
                               : status;
}

magpie_status query_line_make(query_line *l, magpie_space space, size_t dimension, magpie_snapshot *snapshot,
                              bool *missing) {
    size_t widest = 1;
    for (size_t i = 0; i < SENSES; i++)
        if (l->encoders[i].dimension > widest) widest = l->encoders[i].dimension;
    l->features = magpie_alloc(given_count * widest, sizeof *l->features);
    magpie_status status = l->features ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < given_count && status == MAGPIE_OK; i++) {
        if (given[i].kind == QUERY_ITEM) continue;
        given[i].feature = l->features + i * widest;
        status = encode(l, &given[i], l->features + i * widest);
        if (status != MAGPIE_OK) status = magpie_fail(status, "%s: %s", given[i].name, magpie_error());
    }
    return status == MAGPIE_OK ? query_make(&l->query, space, dimension, snapshot, missing, NULL) : status;
}
