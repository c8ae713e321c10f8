/* vector_input.c - whose vectors a file has is known before the job begins, since the store's spaces are
 * bound to their models first, and a pipe cannot be read twice: so the input is opened before the job, and
 * keeps the line that it has looked at. */
#include "vector_input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct magpie_vector_input {
    magpie_vector_header header;
    magpie_ingest_options from; /* the files, as a job reads them */
    magpie_sources *sources;
    magpie_entry first; /* that was read ahead */
    bool have_first;
    bool normalise;
    magpie_npy npy[MAGPIE_SPACES];
};

/* ---- opening -------------------------------------------------------------------------------------------- */

static magpie_status open_sources(magpie_vector_input *input, size_t file, uint64_t offset, size_t after) {
    magpie_sources_close(input->sources);
    input->sources = NULL;
    input->have_first = false;
    return magpie_sources_open(&input->from, file, offset, after, &input->sources);
}

/* Row n is line n, so there are as many. */
static magpie_status count_lines(magpie_vector_input *input, size_t *out) {
    magpie_entry entry;
    bool got;
    *out = 0;
    if (input->from.catalogue_count > 1 || strcmp(input->from.catalogues[0], "-") == 0)
        return magpie_fail(MAGPIE_E_ARGUMENT, "rows of a .npy belong to the lines of one file");
    magpie_status status = open_sources(input, 0, 0, 0);
    while (status == MAGPIE_OK && (status = magpie_sources_next(input->sources, &entry, &got)) == MAGPIE_OK &&
           got)
        *out = entry.line.number;
    return status;
}

static magpie_status open_npy(magpie_vector_input *input, const char *const paths[MAGPIE_SPACES]) {
    size_t lines = 0;
    bool any = false;
    magpie_status status = MAGPIE_OK;
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) any |= paths[s] != NULL;
    if (any) status = count_lines(input, &lines);
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++) {
        magpie_npy *npy = &input->npy[s];
        if (!paths[s]) continue;
        status = magpie_npy_open(paths[s], npy);
        if (status == MAGPIE_OK && npy->rows != lines)
            status = magpie_fail(MAGPIE_E_MISMATCH, "%s has %zu rows, and %s has %zu lines", paths[s],
                                 npy->rows, input->from.catalogues[0], lines);
        if (status == MAGPIE_OK && (npy->dimension < 1 || npy->dimension > MAGPIE_DIMENSION_MAX))
            status = magpie_fail(MAGPIE_E_TOO_LARGE, "%s: %zu dimensions; 1 to %d are possible", paths[s],
                                 npy->dimension, MAGPIE_DIMENSION_MAX);
        input->header.of[s].dimension = npy->dimension;
    }
    return status;
}

/* Dimensions by the line's vectors. */
static magpie_status measure(magpie_vector_input *input, magpie_space space) {
    json_t *root = NULL;
    magpie_status status =
        magpie_catalogue_load(input->first.line.data, input->first.line.size, MAGPIE_DATA_LINE_MAX, &root);
    json_t *vector = json_object_get(json_object_get(root, "vectors"), magpie_space_name(space));
    size_t size = json_array_size(vector), characters = json_string_length(vector);
    if (json_is_string(vector) && characters > 1)
        size = (magpie_base64_room(characters) - (json_string_value(vector)[characters - 1] == '=') -
                (json_string_value(vector)[characters - 2] == '=')) /
               sizeof(float);
    json_decref(root);
    if (status == MAGPIE_OK && (!size || size > MAGPIE_DIMENSION_MAX))
        status =
            magpie_fail(MAGPIE_E_INPUT, "the first line should have a %s vector, which tells its dimension",
                        magpie_space_name(space));
    input->header.of[space].dimension = size;
    return status;
}

static magpie_status name_models(magpie_vector_input *input, const magpie_vector_input_options *options) {
    magpie_status status = MAGPIE_OK;
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++) {
        magpie_vector_source *source = &input->header.of[s];
        const char *name = options->names[s];
        if (options->npy[s] && !name)
            status = magpie_fail(MAGPIE_E_ARGUMENT, "whose are the vectors? --model-name %s=NAME says it",
                                 magpie_space_name(s));
        if (status != MAGPIE_OK || !name) continue;
        if (strlen(name) >= sizeof source->model)
            return magpie_fail(MAGPIE_E_ARGUMENT, "%.40s... is too long", name);
        strcpy(source->model, name);
        strcpy(source->fingerprint, name);
        if (!source->dimension) status = measure(input, s);
    }
    return status;
}

/* The header, or what there is in place of one. */
static magpie_status read_header(magpie_vector_input *input, const magpie_vector_input_options *options) {
    const magpie_line *line = &input->first.line;
    magpie_vector_header found;
    bool named = false, is_header = false;
    magpie_status status = magpie_sources_next(input->sources, &input->first, &input->have_first);
    const bool readable = status == MAGPIE_OK && input->have_first && !input->first.bad;
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) named |= options->names[s] || options->npy[s];
    if (readable) status = magpie_vector_header_parse(line->data, line->size, &found, &is_header);
    if (status != MAGPIE_OK) return status;
    if (is_header && named)
        return magpie_fail(MAGPIE_E_ARGUMENT, "the file has a header that names its models");
    if (is_header) return input->header = found, MAGPIE_OK;
    if (named && readable) return name_models(input, options);
    return magpie_fail(MAGPIE_E_INPUT,
                       "its first line is no header of vectors: magpie encode --items writes one, "
                       "--model-name text=NAME does without");
}

magpie_status magpie_vector_input_open(const magpie_vector_input_options *options,
                                       magpie_vector_input **out) {
    magpie_vector_input *input = magpie_alloc(1, sizeof *input);
    if (!input) return MAGPIE_E_NO_MEMORY;
    const char *name = options->from->catalogues[0];
    input->normalise = options->normalise;
    input->from = *options->from;
    input->from.line_max = MAGPIE_DATA_LINE_MAX;
    magpie_status status = open_npy(input, options->npy);
    if (status == MAGPIE_OK) status = open_sources(input, 0, 0, 0);
    if (status == MAGPIE_OK && (status = read_header(input, options)) != MAGPIE_OK)
        status =
            magpie_fail(status, "%s: %s", strcmp(name, "-") == 0 ? "standard input" : name, magpie_error());
    if (status == MAGPIE_OK)
        *out = input;
    else
        magpie_vector_input_close(input);
    return status;
}

const magpie_vector_header *magpie_vector_input_get_header(const magpie_vector_input *input) {
    return &input->header;
}

void magpie_vector_input_close(magpie_vector_input *input) {
    if (!input) return;
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) magpie_npy_close(&input->npy[s]);
    magpie_sources_close(input->sources);
    free(input);
}

/* ---- lines ---------------------------------------------------------------------------------------------- */

const magpie_ingest_options *magpie_vector_input_from(const magpie_vector_input *input) {
    return &input->from;
}

magpie_status magpie_vector_input_start(magpie_vector_input *input, const char *media_base,
                                        const magpie_checkpoint *at, magpie_sources **sources) {
    input->from.media_base = media_base;
    if (media_base) input->first.origin.base = media_base;
    magpie_status status =
        at->lines ? open_sources(input, (size_t)at->file, at->offset, (size_t)at->line) : MAGPIE_OK;
    *sources = input->sources;
    return status;
}

magpie_status magpie_vector_input_next(magpie_vector_input *input, magpie_entry *entry, bool *got) {
    if (!input->have_first) return magpie_sources_next(input->sources, entry, got);
    input->have_first = false;
    *entry = input->first;
    *got = true;
    return MAGPIE_OK;
}

magpie_status magpie_vector_input_check(magpie_vector_input *input, const magpie_entry *entry,
                                        bool *is_header) {
    magpie_vector_header header;
    *is_header = false;
    if (entry->bad) return MAGPIE_OK;
    magpie_status status = magpie_vector_header_parse(entry->line.data, entry->line.size, &header, is_header);
    if (status == MAGPIE_OK && *is_header && !magpie_vector_header_same(&header, &input->header))
        status = magpie_fail(MAGPIE_E_MISMATCH, "its vectors are of other models than those before");
    return status == MAGPIE_OK ? status
                               : magpie_fail(status, "%s, line %zu: %s", entry->origin.catalogue,
                                             entry->line.number, magpie_error());
}

static magpie_status take_row(magpie_vector_input *input, magpie_space space, size_t row, float *out,
                              magpie_line_vectors *vectors) {
    const magpie_npy *npy = &input->npy[space];
    size_t missing = 0;
    magpie_npy_read(npy, row, out);
    for (size_t i = 0; i < npy->dimension; i++) missing += isnan(out[i]);
    if (missing == npy->dimension) return MAGPIE_OK;
    vectors->values[space] = out;
    return magpie_vector_check(magpie_space_name(space), out, npy->dimension, input->normalise);
}

magpie_status magpie_vector_input_parse(magpie_vector_input *input, const magpie_line *line,
                                        magpie_catalogue_line *out, magpie_line_vectors *vectors) {
    magpie_status status =
        magpie_vector_line_parse(line->data, line->size, &input->header, input->normalise, out, vectors);
    float *at = vectors->memory;
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++) {
        if (input->npy[s].rows) status = take_row(input, s, line->number - 1, at, vectors);
        at += input->header.of[s].dimension + 1;
    }
    return status == MAGPIE_OK ? magpie_line_vectors_check(&out->item, vectors) : status;
}
