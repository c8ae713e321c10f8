/* test_gemm.c - products of plain matrices against loops in double, of every form, in f32 and in bf16. */
#include "support.h"

#include "dnnl_gemm.h"

#include <math.h>

enum { MOST = 110, LONG = 1100, GAP = 3 };

static float a[LONG * (LONG + GAP)], b[LONG * (LONG + GAP)], c[MOST * (MOST + GAP)];
static uint16_t narrow_a[LONG * (LONG + GAP)], narrow_b[LONG * (LONG + GAP)];

/* To nearest, ties to even. */
static float narrowed(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    u = (u + 0x7FFF + ((u >> 16) & 1)) & 0xFFFF0000;
    memcpy(&x, &u, sizeof x);
    return x;
}

static void fill(random_state *random, float *x, size_t n, bool bf16) {
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(2 * random_unit(random) - 1);
        if (bf16) x[i] = narrowed(x[i]);
    }
}

/* What a product is given: f32, or the same in bf16. */
static gemm_matrix matrix_of(const float *x, size_t n, size_t stride, bool bf16, uint16_t *narrow) {
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        narrow[i] = (uint16_t)(u >> 16);
    }
    return (gemm_matrix){bf16 ? (const void *)narrow : x, stride};
}

/* Inputs are bf16 already where that is tested: what is left are the f32 sums. */
static void check(gemm_form form, size_t m, size_t n, size_t k, bool bf16, random_state *random) {
    size_t a_stride = (form == GEMM_TN ? m : k) + GAP, b_stride = (form == GEMM_NT ? k : n) + GAP,
           c_stride = n + GAP, a_size = (form == GEMM_TN ? k : m) * a_stride,
           b_size = (form == GEMM_NT ? n : k) * b_stride;
    fill(random, a, a_size, bf16);
    fill(random, b, b_size, bf16);
    for (size_t i = 0; i < m * c_stride; i++) c[i] = 77;
    assert_ok(gemm(form, bf16, m, n, k, matrix_of(a, a_size, a_stride, bf16, narrow_a),
                   matrix_of(b, b_size, b_stride, bf16, narrow_b), c, c_stride));
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < c_stride; j++) {
            double sum = 0;
            for (size_t p = 0; p < k && j < n; p++)
                sum += (double)a[form == GEMM_TN ? p * a_stride + i : i * a_stride + p] *
                       (double)b[form == GEMM_NT ? j * b_stride + p : p * b_stride + j];
            if (j >= n) assert_true(c[i * c_stride + j] == 77); /* it stays within its columns */
            if (j < n && !(fabs((double)c[i * c_stride + j] - sum) < 1e-5 * sqrt((double)k) * 5))
                fail_msg("form %d, %zu x %zu x %zu, %s, at %zu, %zu: %g, not %g", (int)form, m, n, k,
                         bf16 ? "bf16" : "f32", i, j, (double)c[i * c_stride + j], sum);
        }
}

static void products(void **state) {
    (void)state;
    random_state random = {1};
    if (!gemm_has_bf16()) print_message("no bf16 on this CPU: f32 is tested alone\n");
    for (int bf16 = 0; bf16 <= gemm_has_bf16(); bf16++)
        for (gemm_form form = GEMM_NT; form <= GEMM_TN; form++) {
            for (int round = 0; round < 60; round++)
                check(form, 1 + random_below(&random, MOST), 1 + random_below(&random, MOST),
                      1 + random_below(&random, 100), bf16, &random);
            check(form, 13, 33, 512, bf16, &random);
            check(form, 12, 32, 513, bf16, &random);
            check(form, 25, 40, 1099, bf16, &random);
            check(form, 1, 1, 1, bf16, &random);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
