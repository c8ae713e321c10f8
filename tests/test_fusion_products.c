/* test_fusion_products.c - products of packed matrices against loops in double: of every form, on every level
 * of the instruction set, of f32 and of bf16. */
#include "support.h"

#include "fusion_training.h"

#include <math.h>

enum { MOST = 110, LONG = 1100, GAP = 3 };

/* Room for any of the matrices: their numbers, in units where these are packed. */
static float a[MOST * LONG], b[MOST * LONG], c[MOST * (MOST + GAP)];
static uint32_t rows[2 * MOST * LONG], packed[2 * MOST * LONG], packed_rows[2 * MOST * LONG];

/* To nearest, ties to even. */
static uint16_t narrowed(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (uint16_t)((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
}

static void fill(random_state *random, float *x, size_t n, bool bf16) {
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(2 * random_unit(random) - 1);
        uint32_t u = (uint32_t)narrowed(x[i]) << 16;
        if (bf16) memcpy(x + i, &u, sizeof u);
    }
}

static size_t units_of(size_t n, bool bf16) { return bf16 ? (n + 1) / 2 : n; }

/* x [n, columns] as rows of units. */
static void make_rows(const float *x, size_t n, size_t columns, bool bf16) {
    size_t units = units_of(columns, bf16);
    memset(rows, 0, n * units * sizeof *rows);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < columns; k++)
            if (bf16)
                ((uint16_t *)(rows + i * units))[k] = narrowed(x[i * columns + k]);
            else
                memcpy(rows + i * units + k, x + i * columns + k, sizeof *rows);
}

/* Packs in two steps, the second from a tile on, as tasks do. */
static void pack(const fusion_training_kernels *k, const float *x, size_t n, size_t columns, bool turned,
                 bool bf16, uint32_t *panels) {
    size_t units = units_of(columns, bf16), depth = units_of(n, bf16),
           first = n > FUSION_TILE ? FUSION_TILE : n, at = bf16 ? first / 2 : first;
    make_rows(x, n, columns, bf16);
    if (turned) {
        k->pack_turned(rows, first, units, 0, panels);
        k->pack_turned(rows + first * units, n - first, units, first, panels);
    } else {
        size_t stride = bf16 ? 2 * units : units;
        k->pack[bf16](rows, stride, first, columns, depth, panels);
        k->pack[bf16](rows + first * units, stride, n - first, columns, depth, panels + at * k->panel);
    }
}

/* Inputs are bf16 already where that is tested: what is left are the f32 sums. */
static void check(const fusion_training_kernels *kernels, size_t m, size_t n, size_t k, bool bf16,
                  random_state *random) {
    bool turned_a = random_below(random, 2), turned_b = random_below(random, 2);
    size_t units = units_of(k, bf16), stride = n + GAP;
    fill(random, a, m * k, bf16);
    fill(random, b, n * k, bf16); /* [n, k] where it is turned, else [k, n] */
    for (size_t i = 0; i < m * stride; i++) c[i] = 77;
    pack(kernels, b, turned_b ? n : k, turned_b ? k : n, turned_b, bf16, packed);
    if (turned_a)
        pack(kernels, a, m, k, true, bf16, packed_rows);
    else
        make_rows(a, m, k, bf16);
    kernels->multiply[bf16](&(fusion_product){.m = m,
                                              .n = n,
                                              .units = units,
                                              .a = turned_a ? packed_rows : rows,
                                              .row = turned_a ? 0 : units,
                                              .b = packed,
                                              .depth = units,
                                              .c = c,
                                              .stride = stride});
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < stride; j++) {
            double sum = 0;
            for (size_t p = 0; p < k && j < n; p++)
                sum += (double)a[i * k + p] * (double)b[turned_b ? j * k + p : p * n + j];
            if (j >= n) assert_true(c[i * stride + j] == 77); /* it stays within its columns */
            if (j < n && !(fabs((double)c[i * stride + j] - sum) < 1e-5 * sqrt((double)k) * 5))
                fail_msg("%s, %zu x %zu x %zu, %s, turned %d %d, at %zu, %zu: %g, not %g", kernels->name, m,
                         n, k, bf16 ? "bf16" : "f32", turned_a, turned_b, i, j, (double)c[i * stride + j],
                         sum);
        }
}

static void products(void **state) {
    (void)state;
    random_state random = {1};
    const fusion_training_kernels *k;
    if (!fusion_has_bf16()) print_message("no bf16 on this CPU: f32 is tested alone\n");
    for (size_t level = 0; (k = fusion_training_kernels_level(level)) != NULL; level++)
        for (int bf16 = 0; bf16 < 2 && k->multiply[bf16]; bf16++) {
            for (int round = 0; round < 60; round++)
                check(k, 1 + random_below(&random, MOST), 1 + random_below(&random, MOST),
                      1 + random_below(&random, 100), bf16, &random);
            check(k, 13, 33, 512, bf16, &random);
            check(k, 12, 32, 513, bf16, &random);
            check(k, 25, 40, 1099, bf16, &random);
            check(k, 1, 1, 1, bf16, &random);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
