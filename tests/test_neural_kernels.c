/* test_neural_kernels.c - every level of SIMD of the ranker's kernels that this CPU has computes what the
 * loop in double says, at every length about a vector's, and writes nothing behind it. */
#include "support.h"

#include "neural.h"

#include <math.h>

enum {
    LENGTH_MAX = 70,
    ROWS = 37 /* two vectors and a part */,
    STRIDE = LENGTH_MAX + 3,
    ROOM = ROWS * STRIDE + 64
};

static const float guard = 12345;

/* Room for rows of numbers, a guard behind the last one and between rows. */
typedef struct numbers {
    float x[ROOM];
} numbers;

static numbers draw(random_state *r, size_t rows, size_t stride, size_t n, double most) {
    numbers out;
    for (size_t i = 0; i < ROOM; i++) out.x[i] = guard;
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < n; i++) out.x[row * stride + i] = (float)(most * (2 * random_unit(r) - 1));
    return out;
}

static void assert_near(const char *what, size_t level, size_t n, double got, double want) {
    if (!(fabs(got - want) <= 1e-5 * fmax(1, fabs(want))))
        fail_msg("%s of level %zu, n = %zu: %.9g instead of %.9g", what, level, n, got, want);
}

/* That all but the first n of each row are as they were. */
static void assert_guarded(const numbers *x, size_t rows, size_t stride, size_t n) {
    for (size_t i = 0; i < ROOM; i++)
        if (i / stride >= rows || i % stride >= n) assert_true(x->x[i] == guard);
}

static void check_rows(const neural_kernels *k, size_t level, random_state *r, size_t n) {
    const numbers x = draw(r, 1, STRIDE, n, 2), dense = draw(r, ROWS, n, n, 2),
                  y = draw(r, ROWS, STRIDE, n, 2), scales = draw(r, 1, STRIDE, ROWS, 2);
    numbers relu = dense, sums = x, plain = x, outer = y, dots = scales;
    double sum[ROWS] = {0};
    k->add_relu(x.x, relu.x, ROWS, n, relu.x);
    k->add_rows(sums.x, y.x, STRIDE, scales.x, ROWS, n);
    k->add_rows(plain.x, y.x, STRIDE, NULL, ROWS, n);
    k->add_outer(outer.x, STRIDE, scales.x, x.x, ROWS, n);
    k->dots(x.x, y.x, STRIDE, ROWS, n, dots.x);
    for (size_t i = 0; i < n; i++) {
        double scaled = x.x[i], added = x.x[i];
        for (size_t row = 0; row < ROWS; row++) {
            double each = y.x[row * STRIDE + i], scale = scales.x[row];
            scaled += scale * each;
            added += each;
            sum[row] += x.x[i] * each;
            assert_near("add_relu", level, n, relu.x[row * n + i],
                        fmax((double)x.x[i] + dense.x[row * n + i], 0));
            assert_near("add_outer", level, n, outer.x[row * STRIDE + i], each + scale * x.x[i]);
        }
        assert_near("add_rows", level, n, sums.x[i], scaled);
        assert_near("add_rows without scales", level, n, plain.x[i], added);
    }
    for (size_t row = 0; row < ROWS; row++) {
        assert_near("dots", level, n, dots.x[row], scales.x[row] + sum[row]);
        assert_near("dot", level, n, k->dot(x.x, y.x + row * STRIDE, n), sum[row]);
    }
    assert_guarded(&relu, 1, ROOM, ROWS * n);
    assert_guarded(&sums, 1, ROOM, n);
    assert_guarded(&outer, ROWS, STRIDE, n);
    assert_guarded(&dots, 1, ROOM, ROWS);
}

static void check_vectors(const neural_kernels *k, size_t level, random_state *r, size_t n) {
    const numbers x = draw(r, 1, STRIDE, n, 2), y = draw(r, 1, STRIDE, n, 2);
    numbers sum = x, product = x, h = y, slope = x;
    for (size_t i = 0; i < n; i += 3) h.x[i] = 0;
    for (size_t i = 0; i < n; i++) h.x[i] = fmaxf(h.x[i], 0);
    k->add(sum.x, y.x, 0.7f, n);
    k->multiply(x.x, y.x, n, product.x);
    k->relu_slope(h.x, n, slope.x);
    for (size_t i = 0; i < n; i++) {
        assert_near("add", level, n, sum.x[i], x.x[i] + (double)0.7f * y.x[i]);
        assert_near("multiply", level, n, product.x[i], (double)x.x[i] * y.x[i]);
        assert_true(slope.x[i] == (h.x[i] > 0 ? x.x[i] : 0));
    }
    assert_guarded(&sum, 1, ROOM, n);
    assert_guarded(&product, 1, ROOM, n);
    assert_guarded(&slope, 1, ROOM, n);
}

/* Of e^-x: the rounding of x / log 2 is part of it. Below 2^-125 it is as good as nothing. */
static void assert_close(const char *what, size_t level, size_t n, double got, double want) {
    if (!(fabs(got - want) <= 2e-7 * want * (1 + fabs(log(want + 0x1p-125))) + 0x1p-125))
        fail_msg("%s of level %zu, n = %zu: %.9g instead of %.9g", what, level, n, got, want);
}

static void check_exponentials(const neural_kernels *k, size_t level, random_state *r, size_t n) {
    const double ranges[] = {1, 20, 200};
    for (size_t range = 0; range < 3; range++) {
        numbers x = draw(r, 1, STRIDE, n, ranges[range]), e, sigmoid;
        if (n > 2) x.x[n / 2] = -INFINITY;
        e = sigmoid = x;
        double most = -INFINITY, sum = 0;
        for (size_t i = 0; i < n; i++) most = fmax(most, x.x[i]);
        float got = k->exponentials(e.x, n);
        k->sigmoid(sigmoid.x, n);
        for (size_t i = 0; i < n; i++) {
            sum += exp(x.x[i] - most);
            assert_close("exponentials", level, n, e.x[i], exp(x.x[i] - most));
            assert_close("sigmoid", level, n, sigmoid.x[i], 1 / (1 + exp(-x.x[i])));
        }
        assert_close("the sum of exponentials", level, n, got, sum);
        assert_guarded(&e, 1, ROOM, n);
        assert_guarded(&sigmoid, 1, ROOM, n);
    }
}

static void check_adam(const neural_kernels *k, size_t level, random_state *r, size_t n) {
    const neural_adam numbers_of = {
        .rate = 0.01f, .decay = 0.1f, .correct_first = 1.9f, .correct_second = 3.3f};
    const numbers x = draw(r, 1, STRIDE, n, 1), first = draw(r, 1, STRIDE, n, 0.1),
                  slope = draw(r, 1, STRIDE, n, 1);
    numbers second = draw(r, 1, STRIDE, n, 0.1), moved = x, m = first, v;
    for (size_t i = 0; i < n; i++) second.x[i] = fabsf(second.x[i]);
    v = second;
    k->adam(moved.x, m.x, v.x, slope.x, n, &numbers_of);
    for (size_t i = 0; i < n; i++) {
        double g = slope.x[i] + (double)numbers_of.decay * x.x[i];
        double want_m = 0.9 * first.x[i] + 0.1 * g, want_v = 0.999 * second.x[i] + 0.001 * g * g;
        assert_near("adam's mean", level, n, m.x[i], want_m);
        assert_near("adam's square", level, n, v.x[i], want_v);
        assert_near("adam", level, n, moved.x[i],
                    x.x[i] - (double)numbers_of.rate * numbers_of.correct_first * want_m /
                                 (sqrt(want_v * numbers_of.correct_second) + 1e-8));
    }
    assert_guarded(&moved, 1, ROOM, n);
    assert_guarded(&m, 1, ROOM, n);
    assert_guarded(&v, 1, ROOM, n);
}

static void check_layer(const neural_kernels *k, size_t level, random_state *r, size_t n) {
    enum { IN = 9 };
    const numbers x = draw(r, 1, STRIDE, ROWS * IN, 2), w = draw(r, 1, STRIDE, IN * n, 2),
                  b = draw(r, 1, STRIDE, n, 2);
    numbers out = draw(r, 0, STRIDE, 0, 0);
    k->layer(x.x, ROWS, IN, w.x, b.x, n, out.x);
    for (size_t row = 0; row < ROWS; row++)
        for (size_t i = 0; i < n; i++) {
            double sum = b.x[i];
            for (size_t j = 0; j < IN; j++) sum += (double)x.x[row * IN + j] * w.x[j * n + i];
            assert_near("layer", level, n, out.x[row * n + i], fmax(sum, 0));
        }
    assert_guarded(&out, 1, ROOM, ROWS * n);
}

static void check_find(const neural_kernels *k, size_t n) {
    uint32_t x[LENGTH_MAX + 1], wanted[LENGTH_MAX + 3] = {0, UINT32_MAX};
    bool found[LENGTH_MAX + 4];
    for (size_t i = 0; i <= n; i++) x[i] = wanted[i + 2] = (uint32_t)(7 * i + 1);
    found[n + 3] = true;
    k->find(x, n, wanted, n + 3, found);
    for (size_t i = 0; i < n + 3; i++) assert_true(found[i] == (i >= 2 && i < n + 2));
    k->find(x, n, wanted, 0, found);
    assert_true(found[n + 3]);
}

static void every_level(void **state) {
    (void)state;
    random_state r = {7};
    const neural_kernels *k;
    size_t level = 0;
    for (; (k = neural_kernels_level(level)); level++)
        for (size_t n = 0; n <= LENGTH_MAX; n++) {
            check_find(k, n);
            if (!n) continue;
            check_layer(k, level, &r, n);
            check_rows(k, level, &r, n);
            check_vectors(k, level, &r, n);
            check_exponentials(k, level, &r, n);
            check_adam(k, level, &r, n);
        }
    print_message("%zu levels\n", level);
    assert_true(level > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
