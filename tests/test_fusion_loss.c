/* test_fusion_loss.c - the loss of training against its definition in double, its gradient against
 * differences of that, and the kernels against the formulas. */
#include "test_fusion.h"

#include "fusion_training.h"

enum { ITEMS = 300, MANY = 290 /* more than a block */, SPACE = 12 };

static const size_t inputs[MAGPIE_MODALITIES] = {12, 9, 7};

typedef struct problem {
    float values[MAGPIE_MODALITIES][ITEMS][12];
    const float *pointers[MAGPIE_MODALITIES][ITEMS];
    uint64_t titles[ITEMS];
    uint32_t order[ITEMS];
    fusion_items items;
    fusion_batch batch;
    fusion_layout layout;
    float *parameters; /* [count] */
} problem;

/* Items of two or three modalities, of titles that some share; parameters that are nowhere special. */
static void make_problem(problem *p, fusion_kind kind, const size_t input[MAGPIE_MODALITIES], size_t n,
                         bool missing, uint64_t seed) {
    random_state random = {seed};
    *p = (problem){.layout = fusion_layout_of(kind, SPACE, input)};
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        for (size_t i = 0; i < ITEMS && input[m]; i++) {
            random_rows(&random, p->values[m][i], 1, input[m]);
            if (!missing || i % 4 != m + 1) p->pointers[m][i] = p->values[m][i];
        }
        p->items.features[m] = p->pointers[m];
    }
    for (size_t i = 0; i < ITEMS; i++) {
        p->titles[i] = random_below(&random, ITEMS / 2);
        p->order[i] = (uint32_t)((i * 7 + 3) % ITEMS); /* 7 and 300 have no divisor in common */
    }
    p->items.titles = p->titles;
    p->batch = (fusion_batch){.of = &p->items, .items = p->order, .n = n};
    p->parameters = magpie_alloc(p->layout.count, sizeof *p->parameters);
    assert_non_null(p->parameters);
    random_values(&random, p->parameters, p->layout.count, 0.4);
    p->parameters[p->layout.scale] = 1.7f;
}

/* ---- the definition ---- */

typedef struct oracle {
    const problem *p;
    double *parameters;                   /* [count] */
    double z[FUSION_VIEWS][ITEMS][SPACE]; /* of the items of the batch */
    bool has[FUSION_VIEWS][ITEMS];
} oracle;

static void make_unit(double *x) {
    double squares = 0;
    for (size_t i = 0; i < SPACE; i++) squares += x[i] * x[i];
    for (size_t i = 0; i < SPACE; i++) x[i] /= sqrt(squares);
}

static void head(const oracle *o, size_t m, const float *x, double *z) {
    const fusion_layout *l = &o->p->layout;
    double p[SPACE];
    for (size_t i = 0; i < SPACE; i++) {
        p[i] = o->parameters[l->bias[m] + i];
        for (size_t k = 0; k < l->input[m]; k++)
            p[i] +=
                o->parameters[l->matrix[m] + i * l->input[m] + k] * (double)x[k] * sqrt((double)l->input[m]);
    }
    for (size_t i = 0; i < SPACE; i++) {
        z[i] = p[i];
        if (l->kind != FUSION_RESIDUAL) continue;
        z[i] += o->parameters[l->inner_bias[m] + i];
        for (size_t k = 0; k < SPACE; k++)
            z[i] += o->parameters[l->inner[m] + i * SPACE + k] * p[k] * 0.5 * (1 + erf(p[k] / sqrt(2)));
    }
    make_unit(z);
}

static void views(oracle *o) {
    const fusion_batch *batch = &o->p->batch;
    memset(o->z, 0, sizeof o->z);
    for (size_t i = 0; i < batch->n; i++) {
        o->has[FUSION_FUSED][i] = true;
        for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
            const float *x = o->p->pointers[m][batch->items[i]];
            o->has[m][i] = x != NULL;
            if (!x) continue;
            head(o, m, x, o->z[m][i]);
            for (size_t j = 0; j < SPACE; j++)
                o->z[FUSION_FUSED][i][j] += exp(o->parameters[o->p->layout.weight + m]) * o->z[m][i][j];
        }
        make_unit(o->z[FUSION_FUSED][i]);
    }
}

static double logit(const oracle *o, size_t a, size_t i, size_t b, size_t j) {
    double sum = 0;
    for (size_t k = 0; k < SPACE; k++) sum += o->z[a][i][k] * o->z[b][j][k];
    return exp(o->parameters[o->p->layout.scale]) * sum;
}

/* -log of the share of item i of view b among the items of view b, searched for by view a. */
static double cross_entropy(const oracle *o, size_t a, size_t b, size_t i) {
    const fusion_batch *batch = &o->p->batch;
    double sum = 0;
    for (size_t j = 0; j < batch->n; j++) {
        bool same = o->p->titles[batch->items[i]] == o->p->titles[batch->items[j]];
        if (o->has[a][j] && o->has[b][j] && (j == i || !same)) sum += exp(logit(o, a, i, b, j));
    }
    return log(sum) - logit(o, a, i, b, i);
}

static double defined_loss(oracle *o) {
    double sum = 0;
    size_t examples = 0;
    views(o);
    for (size_t a = 0; a < MAGPIE_MODALITIES; a++)
        for (size_t b = a + 1; b < FUSION_VIEWS; b++)
            for (size_t i = 0; i < o->p->batch.n; i++)
                if (o->has[a][i] && o->has[b][i]) {
                    sum += 0.5 * (cross_entropy(o, a, b, i) + cross_entropy(o, b, a, i));
                    examples++;
                }
    return sum / (double)examples;
}

/* ---- the gradient ---- */

static double difference(oracle *o, size_t at) {
    const double step = 1e-5;
    double kept = o->parameters[at], up, down;
    o->parameters[at] = kept + step;
    up = defined_loss(o);
    o->parameters[at] = kept - step;
    down = defined_loss(o);
    o->parameters[at] = kept;
    return (up - down) / (2 * step);
}

/* Differences of a loss of about 5 in double, at steps of 1e-5, are right to 1e-9; what is allowed is for
 * the gradient, whose sums are f32 (a millionth of the largest slope of its kind, times the number of
 * terms' root, and then some), or whose numbers are bf16, each rounded by up to 0.4%. */
static void check_kind(const char *name, oracle *o, const float *gradient, size_t first, size_t n,
                       double tolerance) {
    double largest = 1e-3, worst = 0;
    size_t step = n / (o->p->batch.n == MANY ? 2 : 12) + 1; /* the definition takes its time */
    for (size_t i = first; i < first + n; i++) largest = fmax(largest, fabs((double)gradient[i]));
    for (size_t i = first; i < first + n; i += step) {
        double wanted = difference(o, i);
        worst = fmax(worst, fabs(wanted - (double)gradient[i]));
    }
    if (worst > tolerance * largest) fail_msg("%s: %g off, of %g", name, worst, largest);
}

static void check_problem(fusion_kind kind, const size_t input[MAGPIE_MODALITIES], size_t n, bool missing,
                          bool bf16, uint64_t seed) {
    problem *p = malloc(sizeof *p);
    oracle *o = malloc(sizeof *o);
    magpie_pool *pool;
    fusion_network *network;
    double loss, tolerance = bf16 ? 0.03 : 3e-5;
    assert_non_null(p);
    assert_non_null(o);
    make_problem(p, kind, input, n, missing, seed);
    const fusion_layout *l = &p->layout;
    float *gradient = magpie_alloc(l->count, sizeof *gradient);
    o->p = p;
    o->parameters = magpie_alloc(l->count, sizeof *o->parameters);
    for (size_t i = 0; i < l->count; i++) o->parameters[i] = (double)p->parameters[i];
    assert_ok(magpie_pool_create(2, &pool));
    assert_ok(fusion_network_create(l, ITEMS, bf16, pool, &network));
    for (int round = 0; round < 2; round++) /* what one call leaves behind does not disturb the next */
        assert_ok(fusion_network_loss(network, &p->batch, p->parameters, gradient, &loss));
    assert_true(fabs(loss - defined_loss(o)) < (bf16 ? 1e-2 : 2e-6) * loss);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        if (!input[m]) continue;
        check_kind("matrix", o, gradient, l->matrix[m], SPACE * input[m], tolerance);
        check_kind("bias", o, gradient, l->bias[m], SPACE, tolerance);
        if (kind == FUSION_RESIDUAL)
            check_kind("inner matrix", o, gradient, l->inner[m], SPACE * SPACE, tolerance);
        if (kind == FUSION_RESIDUAL)
            check_kind("inner bias", o, gradient, l->inner_bias[m], SPACE, tolerance);
        check_kind("weight", o, gradient, l->weight + m, 1, tolerance);
    }
    check_kind("scale", o, gradient, l->scale, 1, tolerance);
    fusion_network_free(network);
    magpie_pool_free(pool);
    free(o->parameters);
    free(gradient);
    free(p->parameters);
    free(o);
    free(p);
}

static void gradients(void **state) {
    (void)state;
    static const size_t two[MAGPIE_MODALITIES] = {12, 9, 0}, others[MAGPIE_MODALITIES] = {0, 9, 7};
    check_problem(FUSION_LINEAR, inputs, 40, false, false, 1);
    check_problem(FUSION_RESIDUAL, inputs, 40, false, false, 2);
    check_problem(FUSION_LINEAR, two, 33, false, false, 4);
    check_problem(FUSION_RESIDUAL, others, 33, false, false, 5);
    check_problem(FUSION_LINEAR, inputs, 50, true, false, 3);
    check_problem(FUSION_RESIDUAL, inputs, 50, true, false, 6);
    check_problem(FUSION_LINEAR, inputs, MANY, true, false, 7);
    check_problem(FUSION_RESIDUAL, inputs, MANY, true, true, 8);
    check_problem(FUSION_LINEAR, two, 33, false, true, 9);
}

/* What heads are given, made ready: of a problem and for it. */
static void make_ready(problem *p) {
    static uint16_t numbers[MAGPIE_MODALITIES][ITEMS][12], *rows[MAGPIE_MODALITIES][ITEMS];
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        for (size_t i = 0; i < ITEMS; i++) {
            rows[m][i] = numbers[m][i];
            fusion_training_kernels_level(0)->narrow(
                p->values[m][i], fusion_enlarged(inputs[m], p->batch.dropout), inputs[m], numbers[m][i]);
        }
        p->items.numbers[m] = rows[m];
    }
}

/* The same bytes whatever the number of threads, and whenever features became bf16. */
static void check_threads(fusion_kind kind) {
    problem *p = malloc(sizeof *p);
    assert_non_null(p);
    make_problem(p, kind, inputs, MANY, true, 8);
    size_t count = p->layout.count;
    float *gradients[6];
    double loss[6];
    p->batch.dropout = 0.25f;
    p->batch.noise = 77;
    for (unsigned i = 0; i < 6; i++) {
        unsigned first = i / 3 * 3; /* three in f32, three in bf16 */
        magpie_pool *pool;
        fusion_network *network;
        gradients[i] = magpie_alloc(count, sizeof **gradients);
        if (i == 4 && fusion_has_bf16()) make_ready(p);
        assert_ok(magpie_pool_create(1 + 2 * (i % 3), &pool));
        assert_ok(fusion_network_create(&p->layout, ITEMS, i >= 3, pool, &network));
        assert_ok(fusion_network_loss(network, &p->batch, p->parameters, gradients[i], &loss[i]));
        assert_true(loss[i] == loss[first]);
        assert_memory_equal(gradients[i], gradients[first], count * sizeof **gradients);
        fusion_network_free(network);
        magpie_pool_free(pool);
    }
    for (unsigned i = 0; i < 6; i++) free(gradients[i]);
    free(p->parameters);
    free(p);
}

static void threads(void **state) {
    (void)state;
    check_threads(FUSION_LINEAR);
    check_threads(FUSION_RESIDUAL);
}

/* ---- kernels ---- */

static void kernels(void **state) {
    (void)state;
    enum { N = 67 };
    const fusion_training_kernels *k;
    random_state random = {9};
    for (size_t level = 0; (k = fusion_training_kernels_level(level)) != NULL; level++)
        for (size_t n = 1; n <= N; n += 3) {
            float x[N], y[N], e[N], columns[N], before[N], alone[N];
            double sum = 0, wanted = 0;
            random_values(&random, x, n, 0.5);
            random_values(&random, y, n, 1);
            random_values(&random, columns, n, 1);
            memcpy(before, columns, sizeof before);
            memcpy(e, x, sizeof e);
            if (n > 2) e[1] = -INFINITY;
            double got = (double)k->exponentials(e, n, 20, -3, columns);
            memcpy(alone, e, sizeof e);
            memset(e, 0, sizeof e);
            (void)k->exponentials(alone, n, 20, -3, e);
            for (size_t i = 0; i < n; i++) {
                double one = n > 2 && i == 1 ? 0 : exp(20.0 * (double)x[i] - 3);
                assert_true(fabs((double)e[i] - one) <=
                            2e-5 * one); /* of an argument of 35, an f32 keeps 2e-6 */
                assert_true(columns[i] == before[i] + e[i]);
                sum += one;
                wanted += (double)x[i] * (double)y[i];
            }
            assert_true(fabs(got - sum) <= 1e-5 * sum);
            assert_true(fabs((double)k->dot(x, y, n) - wanted) < 1e-4);
            random_values(&random, x, n, 2);
            memcpy(e, y, sizeof e);
            k->gelu(x, before, n);
            k->gelu_slope(x, e, n);
            for (size_t i = 0; i < n; i++) {
                double v = (double)x[i], phi = 0.5 * (1 + erf(v / sqrt(2))),
                       density = exp(-v * v / 2) / sqrt(2 * acos(-1));
                assert_true(fabs((double)before[i] - v * phi) < 2e-6);
                assert_true(fabs((double)e[i] - (double)y[i] * (phi + v * density)) < 1e-5);
            }
        }
}

/* To nearest, ties to even. */
static float narrowed(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    u = (u + 0x7FFF + ((u >> 16) & 1)) & 0xFFFF0000;
    memcpy(&x, &u, sizeof x);
    return x;
}

static float widened(uint16_t x) {
    uint32_t u = (uint32_t)x << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Of n columns: a row that is added to others, and its products with some. */
static void spread_rows(void **state) {
    (void)state;
    enum { N = 67 };
    const fusion_training_kernels *k;
    random_state random = {12};
    for (size_t level = 0; (k = fusion_training_kernels_level(level)) != NULL; level++)
        for (size_t n = 1; n <= N; n++)
            for (size_t count = 0; count <= MAGPIE_MODALITIES; count++) {
                float rows[7][N], kept[7][N], dots[3];
                const float scale[3] = {0.5f, -2, 3};
                random_values(&random, rows[0], sizeof rows / sizeof rows[0][0], 1);
                memcpy(kept, rows, sizeof rows);
                k->spread(rows[0], n, count, scale, (const float *[]){rows[1], rows[2], rows[3]},
                          (float *[]){rows[4], rows[5], rows[6]}, dots);
                assert_memory_equal(rows, kept, 4 * sizeof rows[0]);
                for (size_t j = 0; j < 3; j++) {
                    double sum = 0;
                    for (size_t i = 0; i < N; i++) {
                        float more = i < n && j < count ? scale[j] * kept[0][i] : 0;
                        assert_true(fabsf(rows[4 + j][i] - (kept[4 + j][i] + more)) < 1e-5f);
                        sum += i < n ? (double)kept[0][i] * (double)kept[1 + j][i] : 0;
                    }
                    assert_true(j >= count || fabs((double)dots[j] - sum) < 1e-4);
                }
            }
}

/* Of n columns, weighed and mixed; of matrices, narrowed and mirrored. */
static void rows_and_matrices(void **state) {
    (void)state;
    enum { N = 4 * FUSION_TILE, STRIDE = N + 7, ROWS = 3 * FUSION_TILE };
    static float x[N * STRIDE], kept[N * STRIDE];
    static uint16_t narrow[N * STRIDE];
    const fusion_training_kernels *k;
    random_state random = {11};
    for (size_t level = 0; (k = fusion_training_kernels_level(level)) != NULL; level++) {
        for (size_t n = 1; n <= N; n++)
            for (size_t count = 1; count <= FUSION_VIEWS; count++) {
                const float *const rows[] = {x, x + STRIDE, x + 2 * STRIDE, x + 3 * STRIDE},
                                   scale[] = {0.5f, -2, 3, 0.1f};
                random_values(&random, x, (size_t)4 * STRIDE, 1);
                memcpy(kept, x, sizeof kept);
                const float *times = count % 2 ? NULL : kept + 2 * STRIDE;
                k->mix(x, rows, scale, count, n, STRIDE);
                k->weigh(x + 3 * STRIDE, n, 4, -1, times, 0.25f, x + STRIDE, x + 3 * STRIDE);
                for (size_t i = 0; i < STRIDE; i++) {
                    double mixed = 0, factor = times ? (double)times[i] : 1,
                           e = factor * exp(4 * factor * (double)kept[3 * STRIDE + i] - 1);
                    for (size_t j = 0; j < count; j++)
                        mixed += (double)kept[j * STRIDE + i] * (double)scale[j];
                    assert_true(fabs((double)x[i] - (i < n ? mixed : (double)kept[i])) < 1e-5);
                    e *= (double)kept[STRIDE + i] + 0.25;
                    assert_true(fabs((double)x[3 * STRIDE + i] - (i < n ? e : (double)kept[3 * STRIDE + i])) <
                                1e-5 * (1 + fabs(e)));
                }
            }
        random_values(&random, x, sizeof x / sizeof *x, 1);
        memcpy(kept, x, sizeof kept);
        k->narrow(x, 3, sizeof x / sizeof *x, narrow);
        for (size_t i = 0; i < sizeof x / sizeof *x; i++)
            assert_true(widened(narrow[i]) == narrowed(3 * x[i]));
        k->mirror(x, STRIDE, FUSION_TILE, ROWS - FUSION_TILE, ROWS, N - ROWS);
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j < STRIDE; j++) {
                bool mirrored = i >= ROWS && j >= FUSION_TILE && j < ROWS;
                assert_true(x[i * STRIDE + j] == kept[mirrored ? j * STRIDE + i : i * STRIDE + j]);
            }
    }
}

/* Against the paper's algorithm 2, line for line, in double. */
static void adam(void **state) {
    (void)state;
    enum { ROUNDS = 5 };
    static const size_t two[MAGPIE_MODALITIES] = {12, 9, 0};
    const fusion_layout l = fusion_layout_of(FUSION_LINEAR, SPACE, two);
    random_state random = {10};
    magpie_pool *pool;
    assert_ok(magpie_pool_create(2, &pool));
    float *memory = magpie_alloc(4 * l.count, sizeof *memory), *p = memory, *g = p + l.count;
    double *wanted = magpie_alloc(3 * l.count, sizeof *wanted), *m = wanted + l.count, *v = m + l.count;
    fusion_adam adam = {.first = g + l.count, .second = g + 2 * l.count};
    random_values(&random, p, l.count, 1);
    for (size_t i = 0; i < l.count; i++) wanted[i] = (double)p[i];
    for (int t = 1; t <= ROUNDS; t++) {
        double length, squares = 0, rate = 0.01 * t, decay = 0.3, clip = t == 2 ? 1e9 : 0.5;
        random_values(&random, g, l.count, 1);
        for (size_t i = 0; i < l.count; i++) squares += (double)g[i] * (double)g[i];
        assert_ok(fusion_adam_step(&adam, &l, pool, rate, decay, clip, g, p, &length));
        assert_true(fabs(length - sqrt(squares)) < 1e-4);
        for (size_t i = 0; i < l.count; i++) {
            double slope = (double)g[i] * fmin(1, clip / sqrt(squares));
            m[i] = 0.9 * m[i] + 0.1 * slope;
            v[i] = 0.999 * v[i] + 0.001 * slope * slope;
            double step = m[i] / (1 - pow(0.9, t)) / (sqrt(v[i] / (1 - pow(0.999, t))) + 1e-8);
            wanted[i] -= rate * step + (i < l.decayed ? rate * decay * wanted[i] : 0);
            assert_true(fabs(wanted[i] - (double)p[i]) < 1e-5);
        }
    }
    free(wanted);
    free(memory);
    magpie_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kernels),     cmocka_unit_test(rows_and_matrices),
                                       cmocka_unit_test(spread_rows), cmocka_unit_test(gradients),
                                       cmocka_unit_test(threads),     cmocka_unit_test(adam)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
