/* golden_vectors.h - vectors against what the golden files keep of them: their length, their start, and
 * sums over all of them with seeded signs (tests/golden/README.md). */
#ifndef MAGPIE_TESTS_GOLDEN_VECTORS_H
#define MAGPIE_TESTS_GOLDEN_VECTORS_H

#include "seeded_model.h"

/* ---- how far apart ---- */

/* max |a - b| / max |b|; infinite for what is not a number. */
static inline double relative_difference(const float *a, const float *b, size_t n) {
    double difference = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i])) return INFINITY;
        difference = fmax(difference, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    return difference / largest;
}

static inline double cosine(const float *a, const float *b, size_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

static inline double length(const float *a, size_t n) {
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += (double)a[i] * (double)a[i];
    return sqrt(squares);
}

/* ---- golden values ---- */

#define BF16_COSINE 0.999

enum { FIRST = 64, SUMS = 32 };

/* seeded.py's sums(): every element is in them, so that what the file holds of a vector covers all of it. */
static inline void signed_sums(const float *vector, size_t dimension, float *sums) {
    double sum[SUMS] = {0};
    random_state signs = {fnv1a64("signs")};
    for (size_t j = 0; j < dimension; j++) {
        uint64_t bits = random_u64(&signs);
        for (size_t k = 0; k < SUMS; k++) sum[k] += bits >> k & 1 ? -(double)vector[j] : (double)vector[j];
    }
    for (size_t k = 0; k < SUMS; k++) sums[k] = (float)sum[k];
}

static inline void read_numbers(const json_t *array, float *out, size_t n) {
    assert_int_equal(json_array_size(array), n);
    for (size_t i = 0; i < n; i++) out[i] = (float)json_number_value(json_array_get(array, i));
}

/* A vector against {"norm", "first", "sums"}: within `tolerance`, relative to the largest value; 0: as
 * near as bf16 gets. */
static inline void check_vector(const char *what, size_t index, const json_t *wanted, const float *vector,
                                size_t dimension, double tolerance) {
    size_t n = dimension < FIRST ? dimension : FIRST;
    float first[FIRST], wanted_sums[SUMS], sums[SUMS];
    read_numbers(json_object_get(wanted, "first"), first, n);
    read_numbers(json_object_get(wanted, "sums"), wanted_sums, SUMS);
    signed_sums(vector, dimension, sums);
    double norm = json_number_value(json_object_get(wanted, "norm"));
    double of_norm = fabs(length(vector, dimension) - norm) / norm;
    double of_first = relative_difference(vector, first, n);
    double of_sums = relative_difference(sums, wanted_sums, SUMS);
    double cosine_first = cosine(vector, first, n), cosine_sums = cosine(sums, wanted_sums, SUMS);
    bool right = tolerance == 0 ? cosine_first > BF16_COSINE && cosine_sums > BF16_COSINE && of_norm < 0.02
                                : of_first < tolerance && of_sums < tolerance && of_norm < tolerance;
    if (right) {
        print_message("%s %zu: off by %.1e, cosine %.6f\n", what, index, fmax(of_first, of_sums),
                      fmin(cosine_first, cosine_sums));
        return;
    }
    fail_msg("%s %zu: off by %.2g in its first %zu, %.2g in sums over all, %.2g in length; cosines %.6f, "
             "%.6f; begins "
             "%.6g %.6g %.6g instead of %.6g %.6g %.6g",
             what, index, of_first, n, of_sums, of_norm, cosine_first, cosine_sums, (double)vector[0],
             (double)vector[1], (double)vector[2], (double)first[0], (double)first[1], (double)first[2]);
}

#endif
