/* model_files.c - see model_files.h. */
#include "model_files.h"

#include <stdlib.h>
#include <string.h>

magpie_status model_json_open(const char *directory, const char *name, bool optional, model_json *out) {
    *out = (model_json){.path = magpie_path_join(directory, name)};
    if (!out->path) return MAGPIE_E_NO_MEMORY;
    if (optional && !magpie_path_exists(out->path)) return MAGPIE_OK;
    char *text;
    size_t size;
    json_error_t error;
    magpie_status status = magpie_file_read(out->path, MODEL_JSON_MAX, &text, &size);
    if (status == MAGPIE_OK) {
        out->root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
        free(text);
        if (!out->root)
            status = magpie_fail(MAGPIE_E_CORRUPT, "%s:%d: %s", out->path, error.line, error.text);
        else if (!json_is_object(out->root))
            status = magpie_fail(MAGPIE_E_CORRUPT, "%s: not a JSON object", out->path);
    }
    if (status != MAGPIE_OK) model_json_close(out);
    return status;
}

void model_json_close(model_json *file) {
    json_decref(file->root);
    free(file->path);
    *file = (model_json){0};
}

magpie_status model_json_size(const model_json *file, const char *key, bool required, size_t least,
                              size_t most, size_t *out) {
    const json_t *value = json_object_get(file->root, key);
    if (!value && !required) return MAGPIE_OK;
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (size_t)number < least || (size_t)number > most)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"%s\" should be a whole number from %zu to %zu",
                           file->path, key, least, most);
    *out = (size_t)number;
    return MAGPIE_OK;
}

magpie_status model_json_string(const model_json *file, const char *key, const char *fallback,
                                const char **out) {
    const json_t *value = json_object_get(file->root, key);
    *out = fallback;
    if (!value || json_is_null(value)) return MAGPIE_OK;
    if (!json_is_string(value))
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"%s\" should be a string", file->path, key);
    *out = json_string_value(value);
    return MAGPIE_OK;
}

bool model_json_true(const model_json *file, const char *key) {
    return json_is_true(json_object_get(file->root, key));
}

magpie_status model_name(const char *directory, char **out) {
    char *real = realpath(directory, NULL);
    const char *slash = real ? strrchr(real, '/') : NULL;
    *out = strdup(slash && slash[1] ? slash + 1 : directory);
    free(real);
    return *out ? MAGPIE_OK : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
}
