/* test_neighbour_map.c - neighbours in the space are neighbours on the map, by brute force, and far more
 * of them than on a plane of principal components, whose coarse shape it keeps. */
#include "support.h"

#include "encoders.h"

#include <math.h>

enum { GROUPS = 30, EACH = 25, N = GROUPS * EACH, D = 40, NEAREST = 10 };

static float points[N][D], map[N][2], plane[N][2];

static double normal(random_state *r) {
    return sqrt(-2 * log(random_unit(r) + 0x1p-60)) * cos(6.283185307179586 * random_unit(r));
}

static void make_unit(const double *from, float *out) {
    double square = 0;
    for (size_t j = 0; j < D; j++) square += from[j] * from[j];
    for (size_t j = 0; j < D; j++) out[j] = (float)(from[j] / sqrt(square));
}

/* Thirty groups in forty dimensions, of which a plane can keep few apart. Point i is of group i % GROUPS. */
static void make_points(void) {
    random_state r = {5};
    static double centres[GROUPS][D];
    for (size_t g = 0; g < GROUPS; g++)
        for (size_t j = 0; j < D; j++) centres[g][j] = normal(&r) * (j < 2 ? 2 : 1);
    for (size_t i = 0; i < N; i++) {
        double point[D];
        for (size_t j = 0; j < D; j++) point[j] = centres[i % GROUPS][j] + 0.5 * normal(&r);
        make_unit(point, points[i]);
    }
}

static double distance(const float *a, const float *b, size_t d) {
    double sum = 0;
    for (size_t j = 0; j < d; j++) sum += pow((double)a[j] - (double)b[j], 2);
    return sum;
}

/* Of x [N, d]: the points nearest to one, the nearest first. */
static void find_nearest(const float *x, size_t d, size_t one, size_t nearest[NEAREST]) {
    bool taken[N] = {false};
    taken[one] = true;
    for (size_t k = 0; k < NEAREST; k++) {
        size_t best = N;
        for (size_t i = 0; i < N; i++)
            if (!taken[i] &&
                (best == N || distance(x + i * d, x + one * d, d) < distance(x + best * d, x + one * d, d)))
                best = i;
        taken[best] = true;
        nearest[k] = best;
    }
}

/* Which share of each point's nearest ones in the space are among its nearest on the plane; *grouped: for
 * how many points the nearest is of their group. */
static double keeps(const float *on_plane, double *grouped) {
    size_t kept = 0, same = 0;
    for (size_t i = 0; i < N; i++) {
        size_t wanted[NEAREST], got[NEAREST];
        find_nearest(*points, D, i, wanted);
        find_nearest(on_plane, 2, i, got);
        for (size_t k = 0; k < NEAREST * NEAREST; k++) kept += wanted[k / NEAREST] == got[k % NEAREST];
        same += got[0] % GROUPS == i % GROUPS;
    }
    *grouped = (double)same / N;
    return (double)kept / (N * NEAREST);
}

static double correlation(float x[N][2], float y[N][2], size_t c) {
    double sx = 0, sy = 0, xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < N; i++) {
        const double a = (double)x[i][c], b = (double)y[i][c];
        sx += a, sy += b, xx += a * a, yy += b * b, xy += a * b;
    }
    return (xy - sx * sy / N) / sqrt((xx - sx * sx / N) * (yy - sy * sy / N));
}

static int make_maps(void **state) {
    double explained[2], pca_explained[2];
    (void)state;
    make_points();
    assert_ok(magpie_neighbour_map(*points, N, D, *map, explained));
    assert_ok(magpie_pca(*points, N, D, 2, *plane, pca_explained));
    assert_memory_equal(explained, pca_explained, sizeof explained);
    return 0;
}

static void neighbours_stay(void **state) {
    (void)state;
    double grouped, pca_grouped;
    const double kept = keeps(*map, &grouped), pca_kept = keeps(*plane, &pca_grouped);
    if (!(kept > 0.4 && kept > 2 * pca_kept && grouped > 0.95 && pca_grouped < 0.5))
        fail_msg("%.3f of the neighbours, by PCA %.3f; %.3f and %.3f beside one of their group", kept,
                 pca_kept, grouped, pca_grouped);
}

static void shape_stays(void **state) {
    (void)state;
    for (size_t c = 0; c < 2; c++)
        if (!(correlation(map, plane, c) > 0.5)) fail_msg("axis %zu: %.3f", c, correlation(map, plane, c));
}

static void is_the_same_again(void **state) {
    (void)state;
    static float again[N][2];
    double explained[2];
    assert_ok(magpie_neighbour_map(*points, N, D, *again, explained));
    assert_memory_equal(map, again, sizeof map);
}

static void of_nothing_much(void **state) {
    (void)state;
    static float alike[40][D], out[40][2];
    double explained[2] = {5, 5};
    assert_ok(magpie_neighbour_map(NULL, 0, 0, NULL, explained));
    assert_true(explained[0] == 0 && explained[1] == 0);
    for (size_t n = 1; n <= 17; n++) {
        assert_ok(magpie_neighbour_map(*points, n, D, *out, explained));
        for (size_t i = 0; i < n; i++) assert_true(isfinite(out[i][0]) && isfinite(out[i][1]));
        assert_true(n == 1 || out[0][0] != out[1][0]);
    }
    for (size_t i = 0; i < 40; i++) memcpy(alike[i], points[0], sizeof alike[i]);
    assert_ok(magpie_neighbour_map(*alike, 40, D, *out, explained));
    for (size_t i = 0; i < 40; i++) assert_true(isfinite(out[i][0]) && isfinite(out[i][1]));
    const float line[4] = {1, -1, 1, -1};
    assert_ok(magpie_neighbour_map(line, 4, 1, *out, explained));
    assert_true(isfinite(out[0][0]) && (out[0][0] - out[1][0]) * (out[2][0] - out[3][0]) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_stay),
        cmocka_unit_test(shape_stays),
        cmocka_unit_test(is_the_same_again),
        cmocka_unit_test(of_nothing_much),
    };
    return cmocka_run_group_tests(tests, make_maps, NULL);
}
