/* image_calibration.c - see image_calibration.h. */
#include "image_calibration.h"

#include "model_files.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1 };

static const char file_name[] = "int8.json";

magpie_status image_calibration_write(const char *directory, const char *fingerprint, size_t pictures,
                                      const float *largest, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(largest[i]))
            return magpie_fail(MAGPIE_E_CORRUPT, "%s: map %zu of the network is not finite", directory, i);
    char *path = magpie_path_join(directory, file_name);
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_atomic_file *file;
    magpie_status status = magpie_atomic_open(path, &file);
    free(path);
    if (status != MAGPIE_OK) return status;
    FILE *stream = magpie_atomic_stream(file);
    fprintf(stream, "{\"format\": %d, \"fingerprint\": \"%s\", \"pictures\": %zu, \"largest\": [", FORMAT,
            fingerprint, pictures);
    for (size_t i = 0; i < count; i++) fprintf(stream, "%s%.9g", i ? ", " : "", (double)largest[i]);
    fprintf(stream, "]}\n");
    return magpie_atomic_commit(file);
}

static magpie_status read_largest(const model_json *file, float *largest, size_t count) {
    const json_t *values = json_object_get(file->root, "largest");
    if (!json_is_array(values) || json_array_size(values) != count)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"largest\" should be an array of %zu numbers", file->path,
                           count);
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(values, i);
        double number = json_number_value(value);
        if (!json_is_number(value) || !(number >= 0 && number <= FLT_MAX))
            return magpie_fail(MAGPIE_E_CORRUPT, "%s: number %zu of \"largest\" is none, or negative",
                               file->path, i);
        largest[i] = (float)number;
    }
    return MAGPIE_OK;
}

static magpie_status check(const model_json *file, const char *fingerprint) {
    const char *of;
    size_t format;
    magpie_status status = model_json_size(file, "format", true, FORMAT, FORMAT, &format);
    if (status == MAGPIE_OK) status = model_json_string(file, "fingerprint", "", &of);
    if (status != MAGPIE_OK || strcmp(of, fingerprint) == 0) return status;
    return magpie_fail(
        MAGPIE_E_MISMATCH,
        "%s: made for the model %s, and this one is %s: calibrate again (magpie models calibrate)",
        file->path, of, fingerprint);
}

magpie_status image_calibration_read(const char *directory, const char *fingerprint, float *largest,
                                     size_t count) {
    model_json file;
    magpie_status status = model_json_open(directory, file_name, true, &file);
    if (status != MAGPIE_OK) return status;
    if (!file.root)
        status =
            magpie_fail(MAGPIE_E_NOT_FOUND,
                        "%s is not there: int8 wants a calibration (magpie models calibrate)", file.path);
    if (status == MAGPIE_OK) status = check(&file, fingerprint);
    if (status == MAGPIE_OK) status = read_largest(&file, largest, count);
    model_json_close(&file);
    return status;
}
