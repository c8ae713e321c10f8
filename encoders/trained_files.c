/* trained_files.c - see trained_files.h. */
#include "trained_files.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char config_name[] = "config.json", weights_name[] = "model.safetensors";

static void print_fingerprint(uint64_t fingerprint, char out[MAGPIE_FINGERPRINT_MAX]) {
    snprintf(out, MAGPIE_FINGERPRINT_MAX, "%016llx", (unsigned long long)fingerprint);
}

/* ---- writing ---- */

magpie_status trained_make_folder(const char *directory) {
    if (mkdir(directory, 0777) == 0 || errno == EEXIST) return MAGPIE_OK;
    return magpie_fail_errno(errno, "cannot make %s", directory);
}

magpie_status trained_write_weights(const char *directory, const tensor_values *tensors, size_t n, bool half,
                                    char fingerprint[MAGPIE_FINGERPRINT_MAX]) {
    uint64_t written;
    char *path = magpie_path_join(directory, weights_name);
    magpie_status status = path ? safetensors_write(path, tensors, n, half, &written) : MAGPIE_E_NO_MEMORY;
    free(path);
    if (status == MAGPIE_OK) print_fingerprint(written, fingerprint);
    return status;
}

magpie_status trained_begin_config(const char *directory, magpie_atomic_file **out) {
    char *path = magpie_path_join(directory, config_name);
    magpie_status status = path ? magpie_atomic_open(path, out) : MAGPIE_E_NO_MEMORY;
    free(path);
    return status;
}

/* ---- reading ---- */

magpie_status trained_open_config(const char *directory, const char *type, model_json *out) {
    const char *found;
    magpie_status status = model_json_open(directory, config_name, false, out);
    if (status != MAGPIE_OK) return status;
    status = model_json_string(out, "model_type", "", &found);
    if (status == MAGPIE_OK && strcmp(found, type) != 0)
        status = magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: \"model_type\" is \"%s\", not \"%s\"", out->path,
                             found, type);
    if (status != MAGPIE_OK) model_json_close(out);
    return status;
}

static magpie_status check_weights(const model_json *config, const safetensors *file) {
    char found[MAGPIE_FINGERPRINT_MAX];
    const char *wanted;
    magpie_status status = model_json_string(config, "weights", NULL, &wanted);
    if (status != MAGPIE_OK || !wanted) return status;
    print_fingerprint(safetensors_fingerprint(file), found);
    if (strcmp(found, wanted) == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: it was written with the weights %s, and %s are %s: train again",
                       config->path, wanted, safetensors_path(file), found);
}

magpie_status trained_open_weights(const char *directory, const model_json *config, safetensors **out) {
    char *path = magpie_path_join(directory, weights_name);
    *out = NULL;
    magpie_status status = path ? safetensors_open(path, out) : MAGPIE_E_NO_MEMORY;
    free(path);
    return status == MAGPIE_OK ? check_weights(config, *out) : status;
}

magpie_status trained_read_tensor(const safetensors *file, const char *name, size_t rows, size_t columns,
                                  float *out) {
    const size_t shape[] = {rows, columns};
    const tensor *t;
    magpie_status status = safetensors_expect(file, name, columns ? 2 : 1, shape, &t);
    if (status != MAGPIE_OK) return status;
    tensor_read_f32(t, 0, t->elements, out);
    for (size_t i = 0; i < t->elements; i++)
        if (!isfinite(out[i]))
            return magpie_fail(MAGPIE_E_CORRUPT, "%s: tensor %s: number %zu is not finite",
                               safetensors_path(file), name, i);
    return MAGPIE_OK;
}
