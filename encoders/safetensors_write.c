/* safetensors_write.c - see safetensors.h. The header is filled up with spaces, so that the numbers are
 * aligned in the file as they are in memory. */
#include "safetensors.h"

#include <math.h>

enum { ALIGNMENT = 64 };

static size_t elements_of(const tensor_values *t) { return t->columns ? t->rows * t->columns : t->rows; }

static void append_header(magpie_text *header, const tensor_values *t, size_t begin) {
    magpie_text_printf(header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu", header->size ? "," : "{",
                       t->name, t->rows);
    if (t->columns) magpie_text_printf(header, ",%zu", t->columns);
    magpie_text_printf(header, "],\"data_offsets\":[%zu,%zu]}", begin,
                       begin + elements_of(t) * sizeof *t->values);
}

static magpie_status check(const char *path, const tensor_values *t) {
    for (size_t i = 0; i < elements_of(t); i++)
        if (!isfinite(t->values[i]))
            return magpie_fail(MAGPIE_E_INPUT, "%s: tensor %s: number %zu is not finite", path, t->name, i);
    return MAGPIE_OK;
}

static magpie_status write_file(const char *path, magpie_text *header, const tensor_values *tensors,
                                size_t n) {
    magpie_atomic_file *file;
    magpie_status status = magpie_atomic_open(path, &file);
    if (status != MAGPIE_OK) return status;
    FILE *stream = magpie_atomic_stream(file);
    const uint64_t size = header->size;
    fwrite(&size, sizeof size, 1, stream);
    fwrite(header->data, 1, header->size, stream);
    for (size_t i = 0; i < n; i++)
        fwrite(tensors[i].values, sizeof *tensors[i].values, elements_of(&tensors[i]), stream);
    return magpie_atomic_commit(file);
}

magpie_status safetensors_write(const char *path, const tensor_values *tensors, size_t n) {
    magpie_text header = {0};
    magpie_status status = MAGPIE_OK;
    size_t begin = 0;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        status = check(path, &tensors[i]);
        append_header(&header, &tensors[i], begin);
        begin += elements_of(&tensors[i]) * sizeof *tensors[i].values;
    }
    magpie_text_append(&header, "}", 1);
    while (!header.failed && (header.size + sizeof(uint64_t)) % ALIGNMENT)
        magpie_text_append(&header, " ", 1);
    if (status == MAGPIE_OK) status = magpie_text_status(&header);
    if (status == MAGPIE_OK) status = write_file(path, &header, tensors, n);
    magpie_text_free(&header);
    return status;
}
