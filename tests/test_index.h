/* test_index.h - what the tests of index/ share: a folder of their own, random numbers that are the same
 * everywhere, vectors in clusters, and puts in one line. */
#ifndef TEST_INDEX_H
#define TEST_INDEX_H

#include "support.h"

#include <math.h>
#include <stdio.h>

#include "index.h"

#define assert_status(call, expected)                                                                        \
    do {                                                                                                     \
        magpie_status assert_status_ = (call);                                                               \
        if (assert_status_ != (expected))                                                                    \
            fail_msg("%s: \"%s\" in place of \"%s\": %s", #call, magpie_status_name(assert_status_),         \
                     magpie_status_name(expected), magpie_error());                                          \
    } while (0)

/* A test folder; removed with everything in it by remove_folder. */
static inline char *make_folder(void) {
    const char *base = getenv("TMPDIR");
    char *path = malloc(4096);
    snprintf(path, 4096, "%s/magpie-test.XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(path)) fail_msg("cannot make a folder like %s", path);
    return path;
}

static inline void remove_folder(char *path) {
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (system(command) != 0) fail_msg("cannot remove %s", path);
    free(path);
}

static inline float random_normal(random_state *r) {
    double u = random_unit(r), v = random_unit(r);
    return (float)(sqrt(-2 * log(u + 1e-300)) * cos(6.283185307179586 * v));
}

static inline void normalise(float *vector, size_t dimension) {
    double square = 0;
    for (size_t i = 0; i < dimension; i++) square += (double)vector[i] * vector[i];
    for (size_t i = 0; i < dimension; i++) vector[i] = (float)(vector[i] / sqrt(square));
}

static inline void random_vector(random_state *r, size_t dimension, float *out) {
    for (size_t i = 0; i < dimension; i++) out[i] = random_normal(r);
    normalise(out, dimension);
}

/* Near one of `clusters` centres, as embeddings of a catalogue are; the centres come from the seed alone. */
static inline void clustered_vector(random_state *r, size_t clusters, float spread, size_t dimension,
                                    float *out) {
    random_state centre = {1000003 * (random_below(r, clusters) + 1)};
    random_vector(&centre, dimension, out);
    for (size_t i = 0; i < dimension; i++) out[i] += spread * random_normal(r) / sqrtf((float)dimension);
    normalise(out, dimension);
}

static inline magpie_store *open_store(const char *folder) {
    magpie_store *store;
    assert_ok(magpie_store_open(folder, &(magpie_store_options){.create = true}, &store));
    return store;
}

static inline void bind_space(magpie_store *store, magpie_space space, size_t dimension) {
    assert_ok(
        magpie_store_bind(store, space, &(magpie_space_model){"test model", "fingerprint", dimension, NULL}));
}

/* Puts an item with a fused vector (NULL: none) into a batch. */
static inline void put_item(magpie_batch *batch, const char *id, const char *attributes, const float *vector,
                            size_t dimension) {
    const float *vectors[MAGPIE_SPACES] = {[MAGPIE_SPACE_FUSED] = vector};
    size_t dimensions[MAGPIE_SPACES] = {[MAGPIE_SPACE_FUSED] = dimension};
    magpie_item item = {.id = string_of(id), .text = string_of(id), .timestamp = INT64_MIN};
    if (attributes) item.attributes = string_of(attributes);
    assert_ok(magpie_batch_put(batch, &item, vectors, dimensions));
}

static inline void print_problem(void *context, const char *problem) {
    (void)context;
    print_error("check: %s\n", problem);
}

/* Fails where check() finds anything. `index` is of the fused space; NULL: the store alone. */
static inline magpie_check_report assert_clean(magpie_store *store, magpie_index *index) {
    magpie_check_report report;
    magpie_index *const indexes[MAGPIE_SPACES] = {[MAGPIE_SPACE_FUSED] = index};
    assert_ok(magpie_store_check(store, indexes, print_problem, NULL, &report));
    assert_int_equal(report.problems, 0);
    return report;
}

#endif
