/* safetensors_write.c - see safetensors.h. The header is filled up with spaces, so that the numbers lie as a
 * processor likes them. */
#include "safetensors.h"

#include <math.h>
#include <string.h>

enum { ALIGNMENT = 8, BLOCK = 4096 };

static const float F16_MOST = 65504;

static size_t columns_of(const tensor_values *t) { return t->columns ? t->columns : 1; }

static size_t elements_of(const tensor_values *t) { return t->rows * columns_of(t); }

static size_t bytes_of(const tensor_values *t, bool half) {
    return elements_of(t) * (half ? sizeof(uint16_t) : sizeof(float));
}

static const float *row_of(const tensor_values *t, size_t row) {
    return t->values + row * (t->stride ? t->stride : columns_of(t));
}

static magpie_status check_values(const char *path, const tensor_values *t, bool half) {
    const size_t n = columns_of(t);
    for (size_t row = 0; row < t->rows; row++) {
        const float *values = row_of(t, row);
        for (size_t i = 0; i < n; i++)
            if (!isfinite(values[i]) || (half && fabsf(values[i]) > F16_MOST))
                return magpie_fail(MAGPIE_E_INPUT, "%s: tensor %s: number %zu is %g", path, t->name,
                                   row * n + i, (double)values[i]);
    }
    return MAGPIE_OK;
}

static void append_header(const tensor_values *t, bool half, size_t begin, magpie_text *header) {
    magpie_text_printf(header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu", header->size ? "," : "{", t->name,
                       half ? "F16" : "F32", t->rows);
    if (t->columns) magpie_text_printf(header, ",%zu", t->columns);
    magpie_text_printf(header, "],\"data_offsets\":[%zu,%zu]}", begin, begin + bytes_of(t, half));
}

/* To nearest, ties to even. Exponents are moved from bias 127 to 15; below 2^-14 a half is m x 2^-24, which
 * is what adding 0.5 leaves in the last bits of a float. `f` is within f16. */
static uint16_t narrow_f16(float f) {
    uint32_t u;
    float size = fabsf(f);
    memcpy(&u, &size, sizeof u);
    if (size < 0x1p-14f) {
        float shifted = size + 0.5f;
        memcpy(&u, &shifted, sizeof u);
        u -= 0x3F000000;
    } else {
        u = (u - (112u << 23) + 0xFFF + ((u >> 13) & 1)) >> 13;
    }
    return (uint16_t)(u | (signbit(f) ? 0x8000u : 0));
}

static void write_halves(FILE *stream, const float *values, size_t n) {
    uint16_t block[BLOCK];
    for (size_t begin = 0, size; begin < n; begin += size) {
        for (size = 0; size < BLOCK && begin + size < n; size++)
            block[size] = narrow_f16(values[begin + size]);
        fwrite(block, sizeof *block, size, stream);
    }
}

static void write_values(FILE *stream, const tensor_values *t, bool half) {
    const bool together = !t->stride || t->stride == columns_of(t);
    const size_t rows = together ? 1 : t->rows, n = together ? elements_of(t) : columns_of(t);
    for (size_t row = 0; row < rows; row++) {
        if (half)
            write_halves(stream, row_of(t, row), n);
        else
            fwrite(row_of(t, row), sizeof *t->values, n, stream);
    }
}

static magpie_status write_file(const char *path, const magpie_text *header, const tensor_values *tensors,
                                size_t n, bool half) {
    magpie_atomic_file *file;
    magpie_status status = magpie_atomic_open(path, &file);
    if (status != MAGPIE_OK) return status;
    FILE *stream = magpie_atomic_stream(file);
    const uint64_t size = header->size;
    fwrite(&size, sizeof size, 1, stream);
    fwrite(header->data, 1, header->size, stream);
    for (size_t i = 0; i < n; i++) write_values(stream, &tensors[i], half);
    return magpie_atomic_commit(file);
}

magpie_status safetensors_write(const char *path, const tensor_values *tensors, size_t n, bool half,
                                uint64_t *fingerprint) {
    magpie_text header = {0};
    safetensors *written;
    magpie_status status = MAGPIE_OK;
    size_t begin = 0;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        status = check_values(path, &tensors[i], half);
        append_header(&tensors[i], half, begin, &header);
        begin += bytes_of(&tensors[i], half);
    }
    magpie_text_append(&header, "}", 1);
    while (!header.failed && header.size % ALIGNMENT) magpie_text_append(&header, " ", 1);
    if (status == MAGPIE_OK) status = magpie_text_status(&header);
    if (status == MAGPIE_OK) status = write_file(path, &header, tensors, n, half);
    magpie_text_free(&header);
    if (status == MAGPIE_OK) status = safetensors_open(path, &written);
    if (status != MAGPIE_OK) return status;
    *fingerprint = safetensors_fingerprint(written);
    safetensors_close(written);
    return MAGPIE_OK;
}
