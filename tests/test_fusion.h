/* test_fusion.h - seeded heads, and a folder for them. */
#ifndef MAGPIE_TEST_FUSION_H
#define MAGPIE_TEST_FUSION_H

#include "support.h"

#include "fusion.h"

#include <math.h>

/* About normal: the sum of four numbers of a flat distribution, of variance 1. */
static inline float random_normal(random_state *r) {
    double sum = 0;
    for (int i = 0; i < 4; i++) sum += random_unit(r) - 0.5;
    return (float)(sum * sqrt(3));
}

static inline void random_values(random_state *r, float *out, size_t n, double scale) {
    for (size_t i = 0; i < n; i++) out[i] = (float)(scale * (double)random_normal(r));
}

/* out [n, d], each row of unit length */
static inline void random_rows(random_state *r, float *out, size_t n, size_t d) {
    random_values(r, out, n * d, 1);
    for (size_t i = 0; i < n; i++) {
        double squares = 0;
        for (size_t j = 0; j < d; j++) squares += (double)out[i * d + j] * (double)out[i * d + j];
        for (size_t j = 0; j < d; j++) out[i * d + j] = (float)((double)out[i * d + j] / sqrt(squares));
    }
}

/* Random matrices for kinds, inputs and dimension that are set. */
static inline void random_heads(random_state *r, fusion_heads *heads) {
    size_t d = heads->dimension;
    assert_ok(fusion_heads_alloc(heads));
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        fusion_head *h = &heads->head[m];
        if (h->matrix) random_values(r, h->matrix, d * h->input, 1 / sqrt((double)h->input));
        if (h->bias) random_values(r, h->bias, d, 0.1);
        if (h->inner) random_values(r, h->inner, d * d, 1 / sqrt((double)d));
        if (h->inner_bias) random_values(r, h->inner_bias, d, 0.1);
    }
}

static inline double dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static inline void remove_fusion(const char *folder) {
    static const char *const names[] = {"config.json", "model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        char *path = magpie_path_join(folder, names[i]);
        unlink(path);
        free(path);
    }
    rmdir(folder);
}

#endif
