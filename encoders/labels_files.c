/* labels_files.c - a model of labels as a folder. */
#include "labels.h"
#include "trained_files.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

static const char model_type[] = "magpie-labels";

/* ---- reading ------------------------------------------------------------------------------------------- */

static magpie_status read_number(const model_json *file, const char *key, double least, double *out) {
    const json_t *value = json_object_get(file->root, key);
    *out = json_number_value(value);
    if (json_is_number(value) && *out >= least && *out <= FLT_MAX) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"%s\" should be a number, %g or more", file->path, key, least);
}

static magpie_status read_string(const model_json *file, const char *key, const char **out) {
    magpie_status status = model_json_string(file, key, NULL, out);
    if (status != MAGPIE_OK || *out) return status;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"%s\" is missing", file->path, key);
}

/* *names [count] is to be freed, its strings are the file's. */
static magpie_status read_labels(const model_json *file, const char ***names, size_t *count) {
    const json_t *array = json_object_get(file->root, "labels");
    *count = json_array_size(array);
    if (!(*names = magpie_alloc(*count, sizeof **names))) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < *count; i++)
        if (!((*names)[i] = json_string_value(json_array_get(array, i))))
            return magpie_fail(MAGPIE_E_CORRUPT, "%s: label %zu is not a string", file->path, i);
    return MAGPIE_OK;
}

static magpie_status read_about(const model_json *file, magpie_labels_info *about, const char ***names) {
    double temperature;
    magpie_status status = read_string(file, "attribute", &about->attribute);
    if (status == MAGPIE_OK) status = read_string(file, "space", &about->space);
    if (status == MAGPIE_OK) status = read_string(file, "fingerprint", &about->fingerprint);
    if (status == MAGPIE_OK) status = read_string(file, "weights", &about->weights);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "level", true, 0, MAGPIE_LABELS_LEVEL_MAX, &about->level);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "dimension", true, 1, LABELS_DIMENSION_MAX, &about->dimension);
    if (status == MAGPIE_OK) status = read_number(file, "temperature", FLT_MIN, &temperature);
    if (status == MAGPIE_OK) status = read_number(file, "strength", 0, &about->strength);
    if (status == MAGPIE_OK) status = read_labels(file, names, &about->count);
    about->labels = *names;
    about->temperature = status == MAGPIE_OK ? (float)temperature : 1;
    return status;
}

static magpie_status read_weights(const char *directory, const model_json *config, magpie_labels *labels) {
    const magpie_labels_info *info = &labels->info;
    safetensors *file;
    magpie_status status = trained_open_weights(directory, config, &file);
    if (status == MAGPIE_OK)
        status = trained_read_tensor(file, "weight", info->count, info->dimension, labels->weight);
    if (status == MAGPIE_OK) status = trained_read_tensor(file, "bias", info->count, 0, labels->bias);
    safetensors_close(file);
    return status;
}

magpie_status magpie_labels_open(const char *directory, magpie_labels **out) {
    model_json file;
    magpie_labels_info about = {0};
    const char **names = NULL;
    char *name = NULL;
    *out = NULL;
    magpie_status status = trained_open_config(directory, model_type, &file);
    if (status != MAGPIE_OK) return status;
    status = read_about(&file, &about, &names);
    if (status == MAGPIE_OK) status = model_name(directory, &name);
    about.name = name;
    if (status == MAGPIE_OK && (status = labels_create(&about, out)) != MAGPIE_OK)
        status = magpie_fail(status == MAGPIE_E_NO_MEMORY ? status : MAGPIE_E_CORRUPT, "%s: %s", file.path,
                             magpie_error());
    if (status == MAGPIE_OK) status = read_weights(directory, &file, *out);
    model_json_close(&file);
    free(names);
    free(name);
    if (status != MAGPIE_OK) {
        magpie_labels_close(*out);
        *out = NULL;
    }
    return status;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static void append_member(magpie_text *out, const char *key, const char *value) {
    magpie_text_printf(out, ",\n \"%s\": ", key);
    magpie_text_json_string(out, value, strlen(value));
}

static magpie_status write_config(const magpie_labels_info *info, const char *weights,
                                  const char *directory) {
    magpie_text out = {0};
    magpie_atomic_file *file;
    magpie_text_printf(&out, "{\"model_type\": \"%s\"", model_type);
    append_member(&out, "attribute", info->attribute);
    magpie_text_printf(&out, ",\n \"level\": %zu", info->level);
    append_member(&out, "space", info->space);
    append_member(&out, "fingerprint", info->fingerprint);
    magpie_text_printf(&out, ",\n \"dimension\": %zu,\n \"temperature\": %.9g,\n \"strength\": %.17g",
                       info->dimension, (double)info->temperature, info->strength);
    append_member(&out, "weights", weights);
    magpie_text_printf(&out, ",\n \"labels\": [");
    for (size_t i = 0; i < info->count; i++) {
        magpie_text_printf(&out, "%s", i ? ", " : "");
        magpie_text_json_string(&out, info->labels[i], strlen(info->labels[i]));
    }
    magpie_text_printf(&out, "]}\n");
    magpie_status status = magpie_text_status(&out);
    if (status == MAGPIE_OK) status = trained_begin_config(directory, &file);
    if (status == MAGPIE_OK) {
        fwrite(out.data, 1, out.size, magpie_atomic_stream(file));
        status = magpie_atomic_commit(file);
    }
    magpie_text_free(&out);
    return status;
}

magpie_status magpie_labels_save(const magpie_labels *labels, const char *directory) {
    const magpie_labels_info *info = &labels->info;
    const tensor_values tensors[] = {{"weight", info->count, info->dimension, labels->weight, 0},
                                     {"bias", info->count, 0, labels->bias, 0}};
    char fingerprint[MAGPIE_FINGERPRINT_MAX];
    magpie_status status = trained_make_folder(directory);
    if (status == MAGPIE_OK) status = trained_write_weights(directory, tensors, 2, false, fingerprint);
    return status == MAGPIE_OK ? write_config(info, fingerprint, directory) : status;
}
