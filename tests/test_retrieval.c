/* test_retrieval.c - ranks and their figures are what a loop that sorts everything finds, ties included;
 * what cannot tell things apart comes out at chance. */
#include "support.h"

#include "encoders.h"
#include "panel.h"

#include <math.h>

/* Few values, so that ties are many; products of these are exact in any order. */
static void random_vectors(random_state *r, size_t n, size_t dimension, float *out) {
    for (size_t i = 0; i < n * dimension; i++) out[i] = (float)random_below(r, 3) - 1;
}

static double score_of(const float *a, const float *b, size_t dimension) {
    double sum = 0;
    for (size_t t = 0; t < dimension; t++) sum += (double)a[t] * b[t];
    return sum;
}

enum { N_MAX = 130, M_MAX = 140, D_MAX = 40 };

static float queries[N_MAX * D_MAX], candidates[M_MAX * D_MAX];
static size_t own[M_MAX];
static magpie_rank ranks[N_MAX];

static void check_ranks(random_state *r, size_t n, size_t m, size_t dimension, unsigned threads) {
    random_vectors(r, n, dimension, queries);
    random_vectors(r, m, dimension, candidates);
    for (size_t i = 0; i < n; i++) own[i] = random_below(r, m);
    assert_ok(magpie_retrieval_rank(queries, n, candidates, m, dimension, own, threads, ranks));
    for (size_t i = 0; i < n; i++) {
        size_t higher = 0, equal = 0;
        const float *query = queries + i * dimension;
        const double right = score_of(query, candidates + own[i] * dimension, dimension);
        for (size_t c = 0; c < m; c++) {
            const double score = score_of(query, candidates + c * dimension, dimension);
            higher += score > right;
            equal += score == right && c != own[i];
        }
        assert_int_equal(ranks[i].higher, higher);
        assert_int_equal(ranks[i].equal, equal);
    }
}

static void test_ranks(void **state) {
    (void)state;
    random_state r = {1};
    for (unsigned i = 0; i < 200; i++)
        check_ranks(&r, 1 + random_below(&r, N_MAX), 1 + random_below(&r, M_MAX), 1 + random_below(&r, D_MAX),
                    1 + (unsigned)random_below(&r, 3));
    check_ranks(&r, N_MAX, M_MAX, 3, 2);
}

/* Vectors like a network's, whose products are not exact: what is equal is still tied, wherever it stands. */
static void test_doubles_are_ties(void **state) {
    (void)state;
    random_state r = {2};
    for (size_t i = 0; i < M_MAX * D_MAX; i++) candidates[i] = (float)random_unit(&r) - 0.5f;
    for (size_t i = 0; i < D_MAX; i++) queries[i] = (float)random_unit(&r) - 0.5f;
    const size_t places[] = {0, 1, 7, 15, 16, 17, 100, M_MAX - 1};
    const size_t count = sizeof places / sizeof *places;
    for (size_t i = 1; i < count; i++)
        memcpy(candidates + places[i] * D_MAX, candidates, D_MAX * sizeof *candidates);
    for (size_t i = 0; i < count; i++) {
        own[0] = places[i];
        assert_ok(magpie_retrieval_rank(queries, 1, candidates, M_MAX, D_MAX, own, 1, ranks));
        assert_int_equal(ranks[0].equal, count - 1);
    }
}

/* ---- figures ---- */

/* By drawing out every order of the ties: figures are means over all places. */
static void check_figures(const magpie_rank *given, size_t n) {
    double recall[3] = {0}, mrr = 0, middle[N_MAX];
    const size_t at[] = {1, 5, 10};
    magpie_retrieval_figures figures;
    for (size_t i = 0; i < n; i++) {
        const size_t places = given[i].equal + 1;
        double sum = 0;
        for (size_t p = 0; p < places; p++) {
            const size_t rank = given[i].higher + 1 + p;
            for (size_t k = 0; k < 3; k++) recall[k] += (rank <= at[k]) / (double)places / (double)n;
            mrr += 1.0 / (double)rank / (double)places / (double)n;
            sum += (double)rank;
        }
        middle[i] = sum / (double)places;
    }
    assert_ok(magpie_retrieval_summarise(given, n, &figures));
    for (size_t k = 0; k < 3; k++) assert_true(fabs(figures.recall[k] - recall[k]) < 1e-12);
    assert_true(fabs(figures.mrr - mrr) < 1e-12);
    size_t below = 0, above = 0;
    for (size_t i = 0; i < n; i++) {
        below += middle[i] < figures.median_rank;
        above += middle[i] > figures.median_rank;
    }
    assert_true(below <= n / 2 && above <= n / 2);
}

static void test_figures(void **state) {
    (void)state;
    random_state r = {3};
    for (unsigned turn = 0; turn < 200; turn++) {
        const size_t n = 1 + random_below(&r, N_MAX);
        for (size_t i = 0; i < n; i++)
            ranks[i] = (magpie_rank){(uint32_t)random_below(&r, 15),
                                     random_below(&r, 2) ? (uint32_t)random_below(&r, 20) : 0};
        check_figures(ranks, n);
    }
    magpie_retrieval_figures none;
    assert_ok(magpie_retrieval_summarise(NULL, 0, &none));
    assert_true(none.mrr == 0 && none.median_rank == 0);
    const magpie_rank two[] = {{0, 0}, {9, 0}};
    assert_ok(magpie_retrieval_summarise(two, 2, &none));
    assert_true(none.median_rank == 5.5 && none.recall[0] == 0.5 && none.recall[2] == 1);
}

/* A model that gives everything one vector is one that guesses. */
static void test_chance(void **state) {
    (void)state;
    for (size_t m = 1; m < M_MAX; m += m < 12 ? 1 : 17) {
        magpie_retrieval_figures chance, constant;
        double mrr = 0;
        for (size_t i = 0; i < m * 2; i++) candidates[i] = 0.5f;
        for (size_t i = 0; i < m; i++) own[i] = i;
        const size_t n = m < N_MAX ? m : N_MAX;
        assert_ok(magpie_retrieval_rank(candidates, n, candidates, m, 2, own, 1, ranks));
        assert_ok(magpie_retrieval_summarise(ranks, n, &constant));
        magpie_retrieval_chance(m, &chance);
        for (size_t rank = 1; rank <= m; rank++) mrr += 1.0 / (double)rank / (double)m;
        assert_true(fabs(chance.mrr - mrr) < 1e-12);
        assert_true(fabs(chance.recall[1] - (m < 5 ? 1 : 5.0 / (double)m)) < 1e-12);
        assert_true(fabs(constant.mrr - chance.mrr) < 1e-12);
        for (size_t k = 0; k < 3; k++) assert_true(fabs(constant.recall[k] - chance.recall[k]) < 1e-12);
        assert_true(constant.median_rank == chance.median_rank);
    }
}

static void test_refused(void **state) {
    (void)state;
    const float good[] = {1, 0}, bad[] = {0, NAN};
    const size_t first = 0, second = 1;
    assert_int_equal(magpie_retrieval_rank(bad, 1, good, 1, 2, &first, 1, ranks), MAGPIE_E_INPUT);
    assert_non_null(strstr(magpie_error(), "query 0: component 1"));
    assert_int_equal(magpie_retrieval_rank(good, 1, bad, 1, 2, &first, 1, ranks), MAGPIE_E_INPUT);
    assert_int_equal(magpie_retrieval_rank(good, 1, good, 1, 2, &second, 1, ranks), MAGPIE_E_ARGUMENT);
    assert_ok(magpie_retrieval_rank(good, 0, good, 1, 2, NULL, 1, ranks));
}

/* ---- the kernel ---- */

static void check_product(const panel_kernels *kernels, random_state *r, size_t rows, size_t steps,
                          bool across) {
    double a[PANEL_ROWS * 50], panel[50 * PANEL_LANES_MAX], out[(PANEL_ROWS + 1) * PANEL_LANES_MAX];
    const size_t row = across ? 1 : steps, step = across ? rows : 1, lanes = kernels->lanes;
    for (size_t i = 0; i < rows * steps; i++) a[i] = random_unit(r) - 0.5;
    for (size_t i = 0; i < steps * lanes; i++) panel[i] = random_unit(r) - 0.5;
    for (size_t i = 0; i < (PANEL_ROWS + 1) * PANEL_LANES_MAX; i++) out[i] = 7;
    kernels->product(a, row, step, rows, steps, panel, out);
    for (size_t i = 0; i < rows; i++)
        for (size_t lane = 0; lane < lanes; lane++) {
            double sum = 0;
            for (size_t t = 0; t < steps; t++) sum += a[i * row + t * step] * panel[t * lanes + lane];
            assert_true(fabs(out[i * lanes + lane] - sum) < 1e-13);
        }
    assert_true(out[rows * lanes] == 7); /* and nothing behind */
}

static void test_kernels(void **state) {
    (void)state;
    random_state r = {4};
    const panel_kernels *kernels;
    for (size_t level = 0; (kernels = panel_kernels_level(level)); level++)
        for (size_t rows = 1; rows <= PANEL_ROWS; rows++)
            for (size_t steps = 0; steps < 50; steps += 7)
                for (int across = 0; across < 2; across++) check_product(kernels, &r, rows, steps, across);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels),          cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_doubles_are_ties), cmocka_unit_test(test_figures),
        cmocka_unit_test(test_chance),           cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
