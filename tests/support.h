/* support.h - what tests share: where things are, a temporary folder, golden arrays, seeded randomness. */
#ifndef MAGPIE_TESTS_SUPPORT_H
#define MAGPIE_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core.h"

/* Fails the test with the library's own words. */
#define assert_ok(call)                                                                                      \
    do {                                                                                                     \
        if ((call) != MAGPIE_OK) fail_msg("%s: %s", #call, magpie_error());                                  \
    } while (0)

/* The text model's folder, or NULL: then the test is to be skipped, out loud. */
static inline const char *model_directory(void) {
    static char path[4096];
    const char *given = getenv("MAGPIE_MODEL_DIR"), *home = getenv("HOME");
    snprintf(path, sizeof path, "%s/.cache/magpie/models/all-MiniLM-L6-v2", home ? home : "");
    if (given) return given;
    return magpie_path_exists(path) ? path : NULL;
}

/* A file of ../shared/golden, as it is or (.npy) unpacked by the fixture; NULL where there is no ../shared.
 */
static inline char *shared_golden(const char *name) {
    bool array = strstr(name, ".npy") != NULL;
    char *path =
        magpie_path_join(array ? MAGPIE_GOLDEN_UNPACKED : MAGPIE_SOURCE_DIR "/../shared/golden", name);
    if (path && magpie_path_exists(path)) return path;
    free(path);
    return NULL;
}

/* The f32 data of a .npy file of `count` elements (version 1.0, C order), to be freed. */
static inline float *read_npy(const char *path, size_t count) {
    char *bytes;
    size_t size;
    assert_ok(magpie_file_read(path, (size_t)1 << 30, &bytes, &size));
    assert_true(size > 10 && memcmp(bytes, "\x93NUMPY\x01\x00", 8) == 0);
    size_t header = 10 + (unsigned char)bytes[8] + 256 * (size_t)(unsigned char)bytes[9];
    assert_non_null(strstr(bytes + 10, "'<f4'"));
    assert_int_equal(size - header, count * sizeof(float));
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    memcpy(values, bytes + header, count * sizeof *values);
    free(bytes);
    return values;
}

/* Of two folders. */
static inline void assert_same_file(const char *a, const char *b, const char *name) {
    char *paths[] = {magpie_path_join(a, name), magpie_path_join(b, name)};
    magpie_map maps[2];
    for (int i = 0; i < 2; i++) assert_ok(magpie_map_open(paths[i], &maps[i]));
    assert_int_equal(maps[0].size, maps[1].size);
    assert_memory_equal(maps[0].data, maps[1].data, maps[0].size);
    for (int i = 0; i < 2; i++) magpie_map_close(&maps[i]);
    for (int i = 0; i < 2; i++) free(paths[i]);
}

static inline void assert_same_model(const char *a, const char *b) {
    assert_same_file(a, b, "config.json");
    assert_same_file(a, b, "model.safetensors");
}

static inline void skip_loudly(const char *why) {
    print_message("SKIPPED: %s\n", why);
    skip();
}

/* splitmix64 (Steele et al. 2014): the same numbers everywhere. */
typedef struct random_state {
    uint64_t state;
} random_state;

static inline uint64_t random_u64(random_state *r) {
    uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
static inline size_t random_below(random_state *r, size_t n) { return (size_t)(random_u64(r) % n); }
static inline double random_unit(random_state *r) { return (double)(random_u64(r) >> 11) * 0x1p-53; }

static inline magpie_string string_of(const char *s) { return (magpie_string){s, strlen(s)}; }

#endif
