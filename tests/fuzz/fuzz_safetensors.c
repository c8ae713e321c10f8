/* fuzz_safetensors.c - any bytes as a .safetensors file: refused in words, or readable to the last element.
 */
#include "fuzz.h"
#include "safetensors.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEADER(size) size "\0\0\0\0\0\0\0"

fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED(HEADER("\2") "{}"),
    FUZZ_SEED(HEADER("\x38") "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]}}12345678"),
    FUZZ_SEED(HEADER("\xC3") "{\"__metadata__\":{\"format\":\"pt\"},"
                             "\"a\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[2,10]},"
                             "\"b\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]},"
                             "\"c\":{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[10,11]}}12345678901"),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof *fuzz_seeds;

/* Reads every element, in two halves; an element outside of the map is the sanitizer's or the kernel's to
 * report. */
static void read_all(const tensor *t) {
    if (t->type == TENSOR_OTHER || t->elements > 1 << 20) return;
    float *out = malloc(t->elements * sizeof *out + 1);
    if (!out) abort();
    tensor_read_f32(t, 0, t->elements / 2, out);
    tensor_read_f32(t, t->elements / 2, t->elements - t->elements / 2, out + t->elements / 2);
    free(out);
}

static void check(const safetensors *file) {
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const tensor *t = safetensors_at(file, i), *same;
        if (safetensors_find(file, t->name) != t) abort();
        if (i && strcmp(safetensors_at(file, i - 1)->name, t->name) >= 0) abort();
        magpie_status status = safetensors_expect(file, t->name, t->rank, t->shape, &same);
        if (status != (t->type == TENSOR_OTHER ? MAGPIE_E_UNSUPPORTED : MAGPIE_OK)) abort();
        read_all(t);
    }
    if (safetensors_fingerprint(file) != safetensors_fingerprint(file)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    char path[64];
    safetensors *file;
    if (fd < 0) fd = memfd_create("fuzz.safetensors", 0);
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (safetensors_open(path, &file) != MAGPIE_OK)
        return strlen(magpie_error()) > strlen(path) ? 0 : (abort(), 0);
    check(file);
    safetensors_close(file);
    return 0;
}
