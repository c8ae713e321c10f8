/* vector_input.c - whose vectors a file has is known before the job begins, since the store's spaces are bound to
 * their models first, and a pipe cannot be read twice: so the input is opened before the job, and keeps the line that it
 * has looked at. */
#include "vector_input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct magpie_vector_input {
    magpie_vector_header header;
    magpie_lines *lines;
    magpie_line first; /* that was read ahead */
    bool have_first;
    bool normalise;
    char *path;
    magpie_npy npy[MAGPIE_SPACES];
};

/* ---- opening -------------------------------------------------------------------------------------------- */

static magpie_status open_lines(magpie_vector_input *input, uint64_t offset, size_t number) {
    magpie_lines_close(input->lines);
    input->lines = NULL;
    input->have_first = false;
    return magpie_lines_open(input->path, MAGPIE_DATA_LINE_MAX, offset, number, &input->lines);
}

/* Row n is line n, so there are as many. */
static magpie_status count_lines(magpie_vector_input *input, size_t *out) {
    magpie_line line;
    bool got;
    *out = 0;
    magpie_status status = open_lines(input, 0, 0);
    while (status == MAGPIE_OK && (status = magpie_lines_next(input->lines, &line, &got)) == MAGPIE_OK && got)
        *out = line.number;
    return status;
}

static magpie_status open_npy(magpie_vector_input *input, const magpie_vector_input_options *options) {
    size_t lines = 0;
    bool any = false;
    magpie_status status = MAGPIE_OK;
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) any |= options->npy[s] != NULL;
    if (any && strcmp(input->path, "-") == 0)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "rows of a .npy belong to the lines of a file, not of standard input");
    if (any) status = count_lines(input, &lines);
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++) {
        magpie_npy *npy = &input->npy[s];
        if (!options->npy[s]) continue;
        status = magpie_npy_open(options->npy[s], npy);
        if (status == MAGPIE_OK && npy->rows != lines)
            status = magpie_fail(MAGPIE_E_MISMATCH, "%s has %zu rows, and %s has %zu lines", options->npy[s],
                                 npy->rows, input->path, lines);
        if (status == MAGPIE_OK && (npy->dimension < 1 || npy->dimension > MAGPIE_DIMENSION_MAX))
            status = magpie_fail(MAGPIE_E_TOO_LARGE, "%s: %zu dimensions; 1 to %d are possible",
                                 options->npy[s], npy->dimension, MAGPIE_DIMENSION_MAX);
        input->header.of[s].dimension = npy->dimension;
    }
    return status;
}

/* Dimensions by the line's vectors. */
static magpie_status measure(magpie_vector_input *input, magpie_space space) {
    json_t *root = NULL;
    magpie_status status =
        magpie_catalogue_load(input->first.data, input->first.size, MAGPIE_DATA_LINE_MAX, &root);
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
    magpie_vector_header found;
    bool named = false, is_header = false;
    magpie_status status = magpie_lines_next(input->lines, &input->first, &input->have_first);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) named |= options->names[s] || options->npy[s];
    if (status == MAGPIE_OK && input->have_first && input->first.data)
        status = magpie_vector_header_parse(input->first.data, input->first.size, &found, &is_header);
    if (status != MAGPIE_OK) return status;
    if (is_header && named)
        return magpie_fail(MAGPIE_E_ARGUMENT, "the file has a header that names its models");
    if (is_header) return input->header = found, MAGPIE_OK;
    if (named && input->first.data) return name_models(input, options);
    return magpie_fail(MAGPIE_E_INPUT,
                       "its first line is no header of vectors: magpie encode --items writes one, "
                       "--model-name text=NAME does without");
}

magpie_status magpie_vector_input_open(const magpie_vector_input_options *options,
                                       magpie_vector_input **out) {
    magpie_vector_input *input = magpie_alloc(1, sizeof *input);
    if (!input) return MAGPIE_E_NO_MEMORY;
    input->normalise = options->normalise;
    input->path = strdup(options->path);
    magpie_status status = input->path ? MAGPIE_OK : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    if (status == MAGPIE_OK) status = open_npy(input, options);
    if (status == MAGPIE_OK) status = open_lines(input, 0, 0);
    if (status == MAGPIE_OK && (status = read_header(input, options)) != MAGPIE_OK)
        status = magpie_fail(status, "%s: %s", strcmp(input->path, "-") == 0 ? "standard input" : input->path,
                             magpie_error());
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
    magpie_lines_close(input->lines);
    free(input->path);
    free(input);
}

/* ---- lines ---------------------------------------------------------------------------------------------- */

magpie_status magpie_vector_input_start(magpie_vector_input *input, uint64_t offset, size_t number,
                                        magpie_lines **lines) {
    magpie_status status = offset ? open_lines(input, offset, number) : MAGPIE_OK;
    *lines = input->lines;
    return status;
}

magpie_status magpie_vector_input_next(magpie_vector_input *input, magpie_line *line, bool *got) {
    if (!input->have_first) return magpie_lines_next(input->lines, line, got);
    input->have_first = false;
    *line = input->first;
    *got = true;
    return MAGPIE_OK;
}

magpie_status magpie_vector_input_check(magpie_vector_input *input, const magpie_line *line,
                                        bool *is_header) {
    magpie_vector_header header;
    magpie_status status = magpie_vector_header_parse(line->data, line->size, &header, is_header);
    if (status == MAGPIE_OK && *is_header && !magpie_vector_header_same(&header, &input->header))
        status = magpie_fail(MAGPIE_E_MISMATCH, "its vectors are of other models than those before");
    return status == MAGPIE_OK
               ? status
               : magpie_fail(status, "%s, line %zu: %s", input->path, line->number, magpie_error());
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
