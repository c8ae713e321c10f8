/* test_pca.c - principal components against Jacobi's rotations in doubles, and what holds of them whatever x is. */
#include "support.h"

#include "encoders.h"

#include <math.h>

enum { N = 1500 /* more than are centred at a time */, D = 12, WANTED = 4 };

static double normal(random_state *r) {
    return sqrt(-2 * log(random_unit(r) + 0x1p-60)) * cos(6.283185307179586 * random_unit(r));
}

/* Directions that are not the axes, of different variance, far from the origin. */
static void make_points(float x[N][D], double smallest) {
    random_state r = {11};
    double mix[D][D];
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j < D; j++) mix[i][j] = normal(&r) * pow(smallest, (double)i / (D - 1));
    for (size_t n = 0; n < N; n++) {
        double z[D];
        for (size_t i = 0; i < D; i++) z[i] = normal(&r);
        for (size_t j = 0; j < D; j++) {
            double sum = 3 + (double)j;
            for (size_t i = 0; i < D; i++) sum += z[i] * mix[i][j];
            x[n][j] = (float)sum;
        }
    }
}

/* ---- the reference ---- */

static void covariance(float x[N][D], double mean[D], double c[D][D]) {
    for (size_t j = 0; j < D; j++) {
        mean[j] = 0;
        for (size_t n = 0; n < N; n++) mean[j] += (double)x[n][j] / N;
    }
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j < D; j++) {
            c[i][j] = 0;
            for (size_t n = 0; n < N; n++)
                c[i][j] += ((double)x[n][i] - mean[i]) * ((double)x[n][j] - mean[j]) / N;
        }
}

/* c becomes diagonal; v's columns are its eigenvectors (Jacobi 1846, cyclic). */
static void jacobi(double c[D][D], double v[D][D]) {
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j < D; j++) v[i][j] = i == j;
    for (size_t sweep = 0; sweep < 30; sweep++)
        for (size_t p = 0; p < D; p++)
            for (size_t q = p + 1; q < D; q++) {
                double angle = 0.5 * atan2(2 * c[p][q], c[q][q] - c[p][p]), s = sin(angle), t = cos(angle);
                for (size_t k = 0; k < D; k++) {
                    double a = c[k][p], b = c[k][q];
                    c[k][p] = t * a - s * b, c[k][q] = s * a + t * b;
                }
                for (size_t k = 0; k < D; k++) {
                    double a = c[p][k], b = c[q][k];
                    c[p][k] = t * a - s * b, c[q][k] = s * a + t * b;
                    a = v[k][p], b = v[k][q];
                    v[k][p] = t * a - s * b, v[k][q] = s * a + t * b;
                }
            }
}

/* The column of v with the largest value that is below `below`. */
static size_t next_largest(double c[D][D], double below) {
    size_t best = D;
    for (size_t i = 0; i < D; i++)
        if (c[i][i] < below && (best == D || c[i][i] > c[best][best])) best = i;
    return best;
}

static void equals_jacobi(void **state) {
    (void)state;
    static float x[N][D], out[N][WANTED], again[N][WANTED];
    double c[D][D], v[D][D], mean[D], explained[WANTED], trace = 0, below = INFINITY;
    make_points(x, 0.05);
    assert_ok(magpie_pca(*x, N, D, WANTED, *out, explained));
    covariance(x, mean, c);
    jacobi(c, v);
    for (size_t i = 0; i < D; i++) trace += c[i][i];
    for (size_t k = 0; k < WANTED; k++) {
        size_t column = next_largest(c, below), largest = 0;
        below = c[column][column];
        for (size_t j = 0; j < D; j++)
            if (fabs(v[j][column]) > fabs(v[largest][column])) largest = j;
        double sign = v[largest][column] < 0 ? -1 : 1;
        assert_true(fabs(explained[k] - below / trace) < 1e-5);
        for (size_t n = 0; n < N; n++) {
            double wanted = 0;
            for (size_t j = 0; j < D; j++) wanted += sign * v[j][column] * ((double)x[n][j] - mean[j]);
            if (!(fabs(wanted - (double)out[n][k]) < 1e-3))
                fail_msg("point %zu, component %zu: %g instead of %g", n, k, (double)out[n][k], wanted);
        }
    }
    assert_ok(magpie_pca(*x, N, D, WANTED, *again, explained));
    assert_memory_equal(out, again, sizeof out);
}

/* With all components nothing is lost: distances stay, and all variance is explained. */
static void all_components_keep_distances(void **state) {
    (void)state;
    static float x[N][D], out[N][D];
    double explained[D], sum = 0;
    make_points(x, 0.5);
    assert_ok(magpie_pca(*x, N, D, D, *out, explained));
    for (size_t k = 0; k < D; k++) {
        sum += explained[k];
        assert_true(k == 0 || explained[k] <= explained[k - 1]);
    }
    assert_true(fabs(sum - 1) < 1e-6);
    for (size_t n = 1; n < N; n++) {
        double before = 0, after = 0;
        for (size_t j = 0; j < D; j++) {
            before += pow((double)x[n][j] - (double)x[n - 1][j], 2);
            after += pow((double)out[n][j] - (double)out[n - 1][j], 2);
        }
        assert_true(fabs(before - after) < 1e-4 * before);
    }
}

static void of_nothing_much(void **state) {
    (void)state;
    const float same[3][2] = {{1, 2}, {1, 2}, {1, 2}};
    float out[3][2] = {{5, 5}, {5, 5}, {5, 5}};
    double explained[3] = {5, 5, 5};
    assert_ok(magpie_pca(NULL, 0, 2, 2, NULL, explained));
    assert_true(explained[0] == 0 && explained[1] == 0);
    assert_ok(magpie_pca(*same, 3, 2, 2, *out, explained));
    for (size_t i = 0; i < 6; i++) assert_true(fabsf(out[i / 2][i % 2]) < 1e-6F);
    assert_true(explained[0] == 0 && explained[1] == 0);
    assert_int_equal(magpie_pca(*same, 3, 2, 3, *out, explained), MAGPIE_E_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_jacobi),
        cmocka_unit_test(all_components_keep_distances),
        cmocka_unit_test(of_nothing_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
