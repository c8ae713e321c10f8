/* test_simd.c - every level of SIMD kernels that this CPU has computes what the formula says, at every length
 * about a vector's and a tile's: none of them is only ever run on somebody else's machine. */
#include "support.h"

#include "image_kernels.h"
#include "simd.h"
#include "spectrogram_kernels.h"

#include <math.h>
#include <stdbool.h>

/* Of values up to 4. bf16 has 8 bits, and two roundings on the way: of weights and of what is stored. */
static const double TOLERANCE_F32 = 1e-5, TOLERANCE_BF16 = 0.01;

static float widened(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* n numbers of -range to range, exact in bf16; as f32, and in `stored` as the kernel gets them. */
static void random_values(random_state *r, size_t n, double range, bool bf16, float *values, void *stored) {
    for (size_t i = 0; i < n; i++) {
        float f = (float)((random_unit(r) * 2 - 1) * range);
        uint32_t u;
        memcpy(&u, &f, sizeof u);
        values[i] = widened((uint16_t)(u >> 16));
        if (bf16)
            ((uint16_t *)stored)[i] = (uint16_t)(u >> 16);
        else
            ((float *)stored)[i] = values[i];
    }
}

static double value_at(const void *stored, size_t i, bool bf16) {
    return bf16 ? widened(((const uint16_t *)stored)[i]) : ((const float *)stored)[i];
}

static void assert_near(const char *what, const simd_table *simd, size_t n, bool bf16, double got,
                        double want) {
    double tolerance = (bf16 ? TOLERANCE_BF16 : TOLERANCE_F32) * fmax(1, fabs(want));
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s of %s, n = %zu, %s: %.9g instead of %.9g", what, simd->name, n, bf16 ? "bf16" : "f32",
                 got, want);
}

/* ---- attention ---- */

enum { LENGTH_MAX = 80, STRIDE = 300, Y_STRIDE = 100, GUARD = 0x5a };

static void check_attention(const simd_table *simd, random_state *r, size_t length, size_t d, bool causal,
                            bool bf16) {
    static float values[LENGTH_MAX * STRIDE], stored[LENGTH_MAX * STRIDE], y[LENGTH_MAX * Y_STRIDE];
    size_t size = bf16 ? 2 : 4, floats = simd_attention_scratch(length, d);
    random_values(r, length * STRIDE, 4, bf16, values, stored);
    memset(y, GUARD, sizeof y);
    unsigned char *scratch = magpie_alloc_large(floats * sizeof(float) + 64, 1);
    assert_non_null(scratch);
    memset(scratch, 0xff, floats * sizeof(float)); /* NaN: what was never written is not read */
    memset(scratch + floats * sizeof(float), GUARD, 64);
    const unsigned char *q = (const unsigned char *)stored;
    simd->attention(q, q + d * size, q + 2 * d * size, STRIDE, length, d, causal, bf16,
                    (float *)(void *)scratch, y, Y_STRIDE);
    for (size_t i = 0; i < 64; i++) assert_int_equal(scratch[floats * sizeof(float) + i], GUARD);
    free(scratch);
    for (size_t i = 0; i < length; i++) {
        double weights[LENGTH_MAX], total = 0, largest = -INFINITY;
        size_t seen = causal ? i + 1 : length;
        for (size_t j = 0; j < seen; j++) {
            weights[j] = 0;
            for (size_t c = 0; c < d; c++)
                weights[j] += (double)values[i * STRIDE + c] * values[j * STRIDE + d + c];
            weights[j] /= sqrt((double)d);
            largest = fmax(largest, weights[j]);
        }
        for (size_t j = 0; j < seen; j++) total += weights[j] = exp(weights[j] - largest);
        for (size_t c = 0; c < d; c++) {
            double want = 0;
            for (size_t j = 0; j < seen; j++) want += weights[j] / total * values[j * STRIDE + 2 * d + c];
            assert_near(causal ? "causal attention" : "attention", simd, length, bf16,
                        value_at(y, i * Y_STRIDE + c, bf16), want);
        }
        for (size_t b = d * size; b < Y_STRIDE * size; b++) /* beside the head, nothing is written */
            assert_int_equal(((unsigned char *)y)[i * Y_STRIDE * size + b], GUARD);
    }
}

static void attention_is_the_formula(void **state) {
    (void)state;
    static const size_t widths[] = {1, 6, 7, 16, 24, 32, 33, 64, 100};
    random_state r = {7};
    for (size_t l = 0; simd_level(l); l++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
            for (size_t length = 1; length <= LENGTH_MAX; length += widths[w] == 32 ? 1 : 7)
                for (int flags = 0; flags < 4; flags++)
                    check_attention(simd_level(l), &r, length, widths[w], flags & 1, flags & 2);
}

/* ---- rows ---- */

enum { COLUMNS_MAX = 100 };

static void check_gelu(const simd_table *simd, random_state *r, size_t n, bool bf16) {
    float values[COLUMNS_MAX], stored[COLUMNS_MAX];
    random_values(r, n, 1, bf16, values, stored);
    simd->gelu(stored, n, bf16);
    for (size_t i = 0; i < n; i++)
        assert_near("GELU", simd, n, bf16, value_at(stored, i, bf16),
                    values[i] * 0.5 * erfc(-values[i] / sqrt(2)));
}

static void check_norm(const simd_table *simd, random_state *r, size_t n, bool bf16) {
    float x[COLUMNS_MAX], residual[COLUMNS_MAX], kept[COLUMNS_MAX], gamma[COLUMNS_MAX], beta[COLUMNS_MAX];
    float sum[COLUMNS_MAX], y[COLUMNS_MAX];
    double mean = 0, variance = 0;
    random_values(r, n, 1, false, gamma, y);
    random_values(r, n, 1, false, beta, y);
    random_values(r, n, 1, bf16, residual, kept);
    random_values(r, n, 1, false, x, sum);
    simd->add(sum, kept, n, bf16);
    for (size_t i = 0; i < n; i++) {
        assert_true(sum[i] == x[i] + residual[i]);
        mean += sum[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) variance += (sum[i] - mean) * (sum[i] - mean) / (double)n;
    simd->norm(sum, gamma, beta, 1e-5f, n, bf16, y);
    for (size_t i = 0; i < n; i++)
        assert_near("norm", simd, n, bf16, value_at(y, i, bf16),
                    (sum[i] - mean) / sqrt(variance + (double)1e-5f) * gamma[i] + beta[i]);
}

static void check_pooling(const simd_table *simd, random_state *r, size_t n, bool bf16) {
    enum { ROWS = 5 };
    float values[ROWS * COLUMNS_MAX], stored[ROWS * COLUMNS_MAX], out[COLUMNS_MAX];
    double squares = 0;
    random_values(r, ROWS * n, 1, bf16, values, stored);
    simd->mean(stored, ROWS, n, bf16, out);
    for (size_t i = 0; i < n; i++) {
        double want = 0;
        for (size_t k = 0; k < ROWS; k++) want += values[k * n + i] / (double)ROWS;
        assert_near("mean", simd, n, false, out[i], want);
    }
    simd->unit(out, n);
    for (size_t i = 0; i < n; i++) squares += (double)out[i] * out[i];
    assert_near("length", simd, n, false, squares, 1);
}

static void rows_are_the_formula(void **state) {
    (void)state;
    random_state r = {8};
    for (size_t l = 0; simd_level(l); l++)
        for (size_t n = 2; n <= COLUMNS_MAX; n++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                check_gelu(simd_level(l), &r, n, bf16);
                check_norm(simd_level(l), &r, n, bf16);
                check_pooling(simd_level(l), &r, n, bf16);
            }
}

/* Relative to x, over all sizes: below 2e-7, what oneDNN's own is right to. */
static void gelu_is_close_everywhere(void **state) {
    (void)state;
    for (size_t l = 0; simd_level(l); l++) {
        double worst = 0;
        for (double size = 1e-30; size < 1e30; size *= 1.0001) {
            float x[2] = {(float)size, -(float)size}, y[2] = {x[0], x[1]};
            simd_level(l)->gelu(y, 2, false);
            for (int i = 0; i < 2; i++)
                worst = fmax(worst, fabs(y[i] - x[i] * 0.5 * erfc(-x[i] / sqrt(2))) / size);
        }
        print_message("%s: GELU to %.2g of x\n", simd_level(l)->name, worst);
        assert_true(worst < 2e-7);
    }
}

static void check_affine(const simd_table *simd, random_state *r, size_t n, bool bf16) {
    enum { ROWS = 5 };
    float values[ROWS * COLUMNS_MAX], stored[ROWS * COLUMNS_MAX], scale[COLUMNS_MAX], offset[COLUMNS_MAX];
    float kept[COLUMNS_MAX];
    random_values(r, ROWS * n, 4, bf16, values, stored);
    random_values(r, n, 1, false, scale, kept);
    random_values(r, n, 1, false, offset, kept);
    simd->affine(stored, scale, offset, ROWS, n, bf16);
    for (size_t i = 0; i < ROWS * n; i++)
        assert_near("affine", simd, n, bf16, value_at(stored, i, bf16),
                    (double)values[i] * (double)scale[i % n] + (double)offset[i % n]);
}

static void channels_are_scaled(void **state) {
    (void)state;
    random_state r = {9};
    for (size_t l = 0; simd_level(l); l++)
        for (size_t n = 1; n <= COLUMNS_MAX; n++)
            for (int bf16 = 0; bf16 < 2; bf16++) check_affine(simd_level(l), &r, n, bf16);
}

/* Each table of kernels is picked on its own; all have to be of this CPU's widest level. (One went by a name once that no
 * longer matched, and ran at baseline.) */
static void all_tables_are_of_the_widest_level(void **state) {
    (void)state;
    const char *widest = simd_level(0)->name;
    assert_memory_equal(image_kernels(0)->name, widest, strlen(image_kernels(0)->name));
    assert_memory_equal(spectrogram_kernels_level(0)->name, widest,
                        strlen(spectrogram_kernels_level(0)->name));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_is_the_formula),           cmocka_unit_test(rows_are_the_formula),
        cmocka_unit_test(gelu_is_close_everywhere),           cmocka_unit_test(channels_are_scaled),
        cmocka_unit_test(all_tables_are_of_the_widest_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
