/* npy.c - NumPy's .npy of floats: the file's magic and version, the size of its header, the header (a
 * Python dictionary that names type, order and shape), then the numbers. Read with versions 1.0 and 2.0,
 * written as 1.0.
 *
 * The header is looked at for the three things that it has to say, in whatever order, and not parsed as
 * Python. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "floats are written as they lie in memory");

enum { START_1 = 10, START_2 = 12, HEADER_MAX = 1 << 16 };

void magpie_npy_header(uint64_t rows, size_t dimension, char out[MAGPIE_NPY_HEADER]) {
    char words[MAGPIE_NPY_HEADER];
    int used =
        snprintf(words, sizeof words, "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %zu), }",
                 (unsigned long long)rows, dimension);
    memset(out, ' ', MAGPIE_NPY_HEADER);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = MAGPIE_NPY_HEADER - START_1; /* little-endian, two bytes */
    out[9] = 0;
    memcpy(out + START_1, words, (size_t)used);
    out[MAGPIE_NPY_HEADER - 1] = '\n';
}

/* What follows 'key': in the header; NULL: the key is not there. */
static const char *value_of(const char *header, const char *key) {
    const char *at = strstr(header, key);
    if (!at) return NULL;
    at += strlen(key);
    return at + strspn(at, " ");
}

static bool read_shape(const char *at, size_t *rows, size_t *dimension) {
    int end = 0;
    unsigned long long n, d;
    if (!at || sscanf(at, "( %20llu , %20llu )%n", &n, &d, &end) != 2 || !end || n > SIZE_MAX || d > SIZE_MAX)
        return false;
    *rows = (size_t)n, *dimension = (size_t)d;
    return true;
}

static magpie_status read_header(const char *path, magpie_npy *npy) {
    const unsigned char *data = npy->map.data;
    size_t size = npy->map.size, start = 0, length = 0, bytes;
    if (size >= START_2 && memcmp(data, "\x93NUMPY", 6) == 0) {
        start = data[6] == 1 ? START_1 : data[6] == 2 ? START_2 : 0;
        length = (size_t)data[8] | (size_t)data[9] << 8;
        if (start == START_2) length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    }
    if (!start || length > HEADER_MAX || length > size - start)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s is no .npy file", path);
    char *header = strndup((const char *)data + start, length);
    if (!header) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    const char *type = value_of(header, "'descr':"), *order = value_of(header, "'fortran_order':");
    bool fits = type && strncmp(type, "'<f4'", 5) == 0 && order && strncmp(order, "False", 5) == 0 &&
                read_shape(value_of(header, "'shape':"), &npy->rows, &npy->dimension);
    free(header);
    if (!fits)
        return magpie_fail(MAGPIE_E_UNSUPPORTED,
                           "%s: rows of float32 are wanted, two dimensions in C's order", path);
    if (!magpie_size_mul(npy->rows, npy->dimension, &bytes) ||
        !magpie_size_mul(bytes, sizeof(float), &bytes) || bytes != size - start - length)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s has %zu bytes of numbers, and not %zu x %zu floats", path,
                           size - start - length, npy->rows, npy->dimension);
    npy->data = data + start + length;
    return MAGPIE_OK;
}

magpie_status magpie_npy_open(const char *path, magpie_npy *out) {
    *out = (magpie_npy){0};
    magpie_status status = magpie_map_open(path, &out->map);
    if (status == MAGPIE_OK) status = read_header(path, out);
    if (status != MAGPIE_OK) magpie_npy_close(out);
    return status;
}

void magpie_npy_read(const magpie_npy *npy, size_t row, float *out) {
    size_t bytes = npy->dimension * sizeof *out;
    memcpy(out, npy->data + row * bytes, bytes);
}

void magpie_npy_close(magpie_npy *npy) {
    magpie_map_close(&npy->map);
    *npy = (magpie_npy){0};
}
