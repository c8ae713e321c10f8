/* test_gemm.c - products of plain matrices against loops in double, of every form, in f32 and in bf16. */
#include "support.h"

#include "dnnl_gemm.h"

#include <math.h>

enum { MOST = 110, LONG = 1100, GAP = 3 };

static float a[LONG * (LONG + GAP)], b[LONG * (LONG + GAP)], c[MOST * (MOST + GAP)];

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

/* Inputs are bf16 already where that is tested: what is left are the f32 sums. */
static void check(gemm_form form, size_t m, size_t n, size_t k, bool bf16, bool packed,
                  random_state *random) {
    size_t a_stride = (form == GEMM_TN ? m : k) + GAP, b_stride = (form == GEMM_NT ? k : n) + GAP,
           c_stride = n + GAP;
    fill(random, a, (form == GEMM_TN ? k : m) * a_stride, bf16);
    fill(random, b, (form == GEMM_NT ? n : k) * b_stride, bf16);
    for (size_t i = 0; i < m * c_stride; i++) c[i] = 77;
    gemm_right right = {.form = form, .n = n, .k = k, .values = b, .stride = b_stride};
    uint32_t *panels = NULL;
    if (packed) { /* and more of the same matrix than this product is of */
        panels = malloc(gemm_panel_words(n, k) * sizeof *panels);
        assert_non_null(panels);
        for (size_t first = 0; first * GEMM_PANEL < n; first++) gemm_pack(&right, first, 1, panels);
        right.panels = panels;
        right.k_packed = k;
        right.n = n = 1 + random_below(random, n);
        if (form != GEMM_NT) right.k = k = 1 + random_below(random, k);
    }
    assert_ok(gemm(m, 1.5f, a, a_stride, &right, c, c_stride, bf16));
    free(panels);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < c_stride; j++) {
            double sum = 0;
            for (size_t p = 0; p < k && j < n; p++)
                sum += (double)a[form == GEMM_TN ? p * a_stride + i : i * a_stride + p] *
                       (double)b[form == GEMM_NT ? j * b_stride + p : p * b_stride + j];
            if (j >= n) assert_true(c[i * c_stride + j] == 77); /* it stays within its columns */
            if (j < n && !(fabs((double)c[i * c_stride + j] - 1.5 * sum) < 1e-5 * sqrt((double)k) * 5))
                fail_msg("form %d, %zu x %zu x %zu, %s, at %zu, %zu: %g, not %g", (int)form, m, n, k,
                         bf16 ? "bf16" : "f32", i, j, (double)c[i * c_stride + j], 1.5 * sum);
        }
}

static void products(void **state) {
    (void)state;
    random_state random = {1};
    if (!gemm_has_bf16()) print_message("no bf16 on this CPU: f32 is tested alone\n");
    for (int way = 0; way <= 2 * gemm_has_bf16(); way++)
        for (gemm_form form = GEMM_NT; form <= GEMM_TN; form++) {
            const bool bf16 = way > 0, packed = way > 1;
            for (int round = 0; round < 60; round++)
                check(form, 1 + random_below(&random, MOST), 1 + random_below(&random, MOST),
                      1 + random_below(&random, 100), bf16, packed, &random);
            check(form, 13, 33, 512, bf16, packed, &random);
            check(form, 12, 32, 513, bf16, packed, &random);
            check(form, 25, 40, 1099, bf16, packed, &random);
            check(form, 1, 1, 1, bf16, packed, &random);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
