/* folder.c - a model's folder, read and written.
 *
 * config.json is written last and names the weights that it belongs to, so that after a crash two that do
 * not go together are an error. What names them is a hash of all tensors but the users': those a user may be
 * forgotten from (forget.c) without config.json having to follow. Weights of elsewhere need no such name. */
#include "model.h"
#include "safetensors.h"
#include "trained_files.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { FINGERPRINT_BYTES = 17, DIMENSION_MOST = 16384 };

static const char model_type[] = "magpie-ranker", config_name[] = "config.json",
                  weights_name[] = "model.safetensors";

static void print_fingerprint(const magpie_ranker *ranker, char out[FINGERPRINT_BYTES]) {
    ranker_tensor tensors[RANKER_TENSORS_MAX];
    const size_t n = ranker->model->tensors(ranker, tensors);
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    for (size_t i = 0; i < n; i++) {
        const ranker_tensor *t = &tensors[i];
        if (t->of == ROWS_USERS) continue;
        XXH3_64bits_update(&hash, t->name, strlen(t->name));
        for (size_t row = 0; row < t->rows; row++)
            XXH3_64bits_update(&hash, t->values + row * t->stride, ranker_columns(t) * sizeof *t->values);
    }
    snprintf(out, FINGERPRINT_BYTES, "%016llx", (unsigned long long)XXH3_64bits_digest(&hash));
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static magpie_status read_options(const model_json *file, magpie_ranker_options *out) {
    const json_t *given = json_object_get(file->root, "options");
    for (const magpie_ranker_parameter *p = magpie_ranker_parameters; p->name; p++) {
        const json_t *value = json_object_get(given, p->name);
        if (!(p->kinds >> out->kind & 1) || !value) continue;
        *magpie_ranker_parameter_at(out, p) = json_is_number(value) ? json_number_value(value) : (double)NAN;
        if (magpie_ranker_parameter_check(p, *magpie_ranker_parameter_at(out, p)) != MAGPIE_OK)
            return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"options\": %s", file->path, magpie_error());
    }
    return MAGPIE_OK;
}

static magpie_status read_config(const model_json *file, magpie_ranker_info *info,
                                 magpie_ranker_options *options) {
    const char *name, *space;
    magpie_status status = model_json_string(file, "model", "", &name);
    if (status == MAGPIE_OK && magpie_ranker_kind_parse(name, &info->kind) != MAGPIE_OK)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: %s", file->path, magpie_error());
    if (status == MAGPIE_OK)
        status = model_json_size(file, "users", true, 0, RANKER_NUMBERS_MOST, &info->users);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "items", true, 1, RANKER_NUMBERS_MOST, &info->items);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "content", true, 0, DIMENSION_MOST, &info->content);
    if (status == MAGPIE_OK) status = model_json_string(file, "space", "", &space);
    if (status != MAGPIE_OK) return status;
    snprintf(info->space, sizeof info->space, "%s", space);
    *options = magpie_ranker_defaults(info->kind);
    return read_options(file, options);
}

/* The first `rows` of a tensor that has been checked to be of `to`'s columns. */
static magpie_status read_rows(const safetensors *file, const tensor *from, size_t rows,
                               const ranker_tensor *to) {
    const size_t n = ranker_columns(to);
    for (size_t row = 0; row < rows; row++) {
        float *values = to->values + row * to->stride;
        tensor_read_f32(from, row * n, n, values);
        for (size_t i = 0; i < n; i++)
            if (!isfinite(values[i]))
                return magpie_fail(MAGPIE_E_CORRUPT, "%s: tensor %s: number %zu is not finite",
                                   safetensors_path(file), to->name, row * n + i);
    }
    return MAGPIE_OK;
}

static magpie_status open_weights(const char *directory, safetensors **out) {
    char *path = magpie_path_join(directory, weights_name);
    magpie_status status = path ? safetensors_open(path, out) : MAGPIE_E_NO_MEMORY;
    free(path);
    return status;
}

static magpie_status read_weights(const char *directory, magpie_ranker *ranker) {
    ranker_tensor tensors[RANKER_TENSORS_MAX];
    const size_t n = ranker->model->tensors(ranker, tensors);
    safetensors *file = NULL;
    magpie_status status = open_weights(directory, &file);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        const size_t shape[] = {tensors[i].rows, tensors[i].columns};
        const tensor *t;
        status = safetensors_expect(file, tensors[i].name, tensors[i].columns ? 2 : 1, shape, &t);
        if (status == MAGPIE_OK) status = read_rows(file, t, tensors[i].rows, &tensors[i]);
    }
    safetensors_close(file);
    return status;
}

static magpie_status check_weights(const model_json *config, const magpie_ranker *ranker) {
    char found[FINGERPRINT_BYTES];
    const char *wanted;
    magpie_status status = model_json_string(config, "weights", NULL, &wanted);
    if (status != MAGPIE_OK || !wanted) return status;
    print_fingerprint(ranker, found);
    if (strcmp(found, wanted) == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s was written with other weights than are in %s: train again",
                       config->path, weights_name);
}

magpie_status ranker_load(const char *directory, magpie_ranker **out) {
    model_json file;
    magpie_ranker_info info = {0};
    magpie_ranker_options options;
    *out = NULL;
    magpie_status status = trained_open_config(directory, model_type, &file);
    if (status != MAGPIE_OK) return status;
    status = read_config(&file, &info, &options);
    if (status == MAGPIE_OK) status = ranker_create(&info, &options, out);
    if (status == MAGPIE_OK) status = read_weights(directory, *out);
    if (status == MAGPIE_OK) status = check_weights(&file, *out);
    model_json_close(&file);
    if (status != MAGPIE_OK) {
        magpie_ranker_close(*out);
        *out = NULL;
    }
    return status;
}

/* ---- beginning from another ---------------------------------------------------------------------------- */

static magpie_status take_tensor(const safetensors *file, const tensor *from, const ranker_tensor *to) {
    const bool fits = from->rank == (to->columns ? 2 : 1) &&
                      (!to->columns || from->shape[1] == to->columns) && from->shape[0] <= to->rows &&
                      (to->of != ROWS_OTHER || from->shape[0] == to->rows);
    if (!fits || from->type == TENSOR_OTHER)
        return magpie_fail(MAGPIE_E_MISMATCH,
                           "%s: tensor %s is not of the shape that is wanted here, [%zu, %zu]: train without "
                           "beginning from it",
                           safetensors_path(file), to->name, to->rows, ranker_columns(to));
    return read_rows(file, from, from->shape[0], to);
}

magpie_status ranker_take(magpie_ranker *ranker, const char *directory, bool *has) {
    ranker_tensor tensors[RANKER_TENSORS_MAX];
    const size_t n = ranker->model->tensors(ranker, tensors);
    safetensors *file = NULL;
    magpie_status status = open_weights(directory, &file);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        const tensor *from = safetensors_find(file, tensors[i].name);
        if (!from) continue;
        status = take_tensor(file, from, &tensors[i]);
        has[i] = true;
    }
    safetensors_close(file);
    return status;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static void print_config(const magpie_ranker *ranker, magpie_text *out) {
    const magpie_ranker_info *info = &ranker->info;
    char fingerprint[FINGERPRINT_BYTES];
    print_fingerprint(ranker, fingerprint);
    magpie_text_printf(out,
                       "{\"model_type\": \"%s\", \"model\": \"%s\", \"users\": %zu, \"items\": %zu, "
                       "\"content\": %zu, \"weights\": \"%s\",\n ",
                       model_type, magpie_ranker_kind_name(info->kind), info->users, info->items,
                       info->content, fingerprint);
    if (*info->space) {
        magpie_text_printf(out, "\"space\": ");
        magpie_text_json_string(out, info->space, strlen(info->space));
        magpie_text_printf(out, ",\n ");
    }
    magpie_text_printf(out, "\"options\": ");
    magpie_ranker_parameters_print(&ranker->options, out);
    magpie_text_append(out, "}\n", 2);
}

static magpie_status write_config(const magpie_ranker *ranker, const char *path) {
    magpie_text out = {0};
    print_config(ranker, &out);
    magpie_status status = magpie_atomic_write(path, &out);
    magpie_text_free(&out);
    return status;
}

static magpie_status write_weights(const magpie_ranker *ranker, const char *path) {
    ranker_tensor tensors[RANKER_TENSORS_MAX];
    tensor_values values[RANKER_TENSORS_MAX];
    const size_t n = ranker->model->tensors(ranker, tensors);
    uint64_t fingerprint;
    for (size_t i = 0; i < n; i++) {
        const ranker_tensor *t = &tensors[i];
        values[i] = (tensor_values){t->name, t->rows, t->columns, t->values, t->stride};
    }
    return safetensors_write(path, values, n, false, &fingerprint);
}

magpie_status ranker_save(const magpie_ranker *ranker, const char *directory) {
    char *weights = magpie_path_join(directory, weights_name);
    char *config = magpie_path_join(directory, config_name);
    magpie_status status = weights && config ? write_weights(ranker, weights) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = write_config(ranker, config);
    free(weights);
    free(config);
    return status;
}
