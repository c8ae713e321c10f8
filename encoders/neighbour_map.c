/* neighbour_map.c - a plane on which neighbours stay neighbours: UMAP (McInnes, Healy and Melville 2018),
 * plainer.
 *
 * Each point has springs to its nearest ones in the space, and pushes off some that are drawn by chance, by
 * stochastic gradient descent. Left out is what tells near neighbours from less near ones (edges all weigh
 * the same), which changes the picture little (Damrich and Hamprecht 2021), and the choice of a curve: of two
 * points at distance d, 1 / (1 + d^2) says how likely they are neighbours, as in t-SNE and LargeVis (Tang et
 * al. 2016). Added is a pull to the middle: without it groups that no spring holds drift off, and leave the
 * plane empty. On 6,506 items of text and pictures 32% of the ten nearest are kept, where principal
 * components keep 5%.
 *
 * What lies where on the whole comes from the start, the two principal components, for the descent sees
 * neighbours alone (Kobak and Linderman 2021). One thread and a seeded sequence: the same points, the same
 * map. */
#include "blas.h"
#include "encoders.h"

#include <math.h>
#include <stdlib.h>

enum {
    NEIGHBOURS = 15,
    ROUNDS = 100, /* through all edges */
    PUSHES = 6,   /* for each edge; even, since a random number makes two */
    ROWS = 256,   /* points whose neighbours are looked for at once, */
    COLUMNS = 512 /* among so many: their scores stay in the second cache */
};

static const float start_size = 10, /* half the width at the start */
    gravity = 0.2F,                 /* share of the way to the middle that the first round takes back */
    step_most = 4,                  /* of a coordinate, for one edge */
    softness = 1e-3F;               /* of the push of two points in one place */

typedef struct neighbour_map {
    const float *x;
    size_t n, dimension, k; /* neighbours of each */
    float *out;             /* [n, 2] */
    float *start;           /* [n, 2] principal components */
    float *scores;          /* [ROWS, COLUMNS] */
    float *best;            /* [ROWS, k] the neighbours' scores, descending */
    uint32_t *neighbours;   /* [n, k] */
    uint64_t random;
} neighbour_map;

/* ---- neighbours ---------------------------------------------------------------------------------------- */

/* Of equal ones the first stays. */
static void insert(float *best, uint32_t *neighbours, size_t k, float score, size_t candidate) {
    size_t at = k - 1;
    for (; at && score > best[at - 1]; at--) {
        best[at] = best[at - 1];
        neighbours[at] = neighbours[at - 1];
    }
    best[at] = score;
    neighbours[at] = (uint32_t)candidate;
}

static void find_some(const neighbour_map *m, size_t first, size_t rows) {
    const size_t d = m->dimension, k = m->k;
    for (size_t i = 0; i < rows * k; i++) m->best[i] = -INFINITY;
    for (size_t begin = 0; begin < m->n; begin += COLUMNS) {
        const size_t columns = m->n - begin < COLUMNS ? m->n - begin : COLUMNS;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)columns, (int)d, 1,
                    m->x + first * d, (int)d, m->x + begin * d, (int)d, 0, m->scores, COLUMNS);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < columns; j++)
                if (m->scores[i * COLUMNS + j] > m->best[i * k + k - 1] && begin + j != first + i)
                    insert(m->best + i * k, m->neighbours + (first + i) * k, k, m->scores[i * COLUMNS + j],
                           begin + j);
    }
}

static void find_neighbours(const neighbour_map *m) {
    for (size_t first = 0; first < m->n && m->k; first += ROWS)
        find_some(m, first, m->n - first < ROWS ? m->n - first : ROWS);
}

/* ---- the descent --------------------------------------------------------------------------------------- */

/* The step along one coordinate. */
static float limit(float step) {
    return step > step_most ? step_most : step < -step_most ? -step_most : step;
}

/* Down the gradient of -log(q), q = 1 / (1 + d^2): -2 q (a - b). */
static void pull(float *a, float *b, float rate) {
    const float dx = a[0] - b[0], dy = a[1] - b[1], factor = 2 / (1 + dx * dx + dy * dy);
    const float sx = rate * limit(factor * dx), sy = rate * limit(factor * dy);
    a[0] -= sx, a[1] -= sy;
    b[0] += sx, b[1] += sy;
}

/* Down that of -log(1 - q): 2 q (a - b) / d^2. */
static void push(float *a, const float *b, float rate) {
    const float dx = a[0] - b[0], dy = a[1] - b[1], square = dx * dx + dy * dy;
    const float factor = 2 / ((softness + square) * (1 + square));
    a[0] += rate * limit(factor * dx);
    a[1] += rate * limit(factor * dy);
}

static void push_off(neighbour_map *m, float *point, float rate) {
    for (size_t i = 0; i < PUSHES; i += 2) {
        const uint64_t two = magpie_random(&m->random);
        push(point, m->out + 2 * ((two >> 32) * m->n >> 32), rate);
        push(point, m->out + 2 * ((two & UINT32_MAX) * m->n >> 32), rate);
    }
}

static void descend(neighbour_map *m) {
    for (size_t round = 0; round < ROUNDS; round++) {
        const float rate = 1 - (float)round / ROUNDS;
        for (size_t edge = 0; edge < m->n * m->k; edge++) {
            float *point = m->out + 2 * (edge / m->k);
            pull(point, m->out + 2 * (size_t)m->neighbours[edge], rate);
            push_off(m, point, rate);
        }
        for (size_t i = 0; i < 2 * m->n; i++) m->out[i] *= 1 - gravity * rate;
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static magpie_status start(const neighbour_map *m, double *explained) {
    const size_t components = m->dimension < 2 ? m->dimension : 2;
    float most = 0;
    explained[0] = explained[1] = 0;
    magpie_status status = magpie_pca(m->x, m->n, m->dimension, components, m->start, explained);
    for (size_t i = 0; i < m->n * components; i++) most = fmaxf(most, fabsf(m->start[i]));
    for (size_t i = 0; i < m->n; i++)
        for (size_t c = 0; c < 2; c++)
            m->out[2 * i + c] =
                c < components && most > 0 ? m->start[i * components + c] * (start_size / most) : 0;
    return status;
}

static void layout(neighbour_map *m, magpie_block *block) {
    m->start = magpie_carve(block, 2 * m->n, sizeof *m->start);
    m->scores = magpie_carve(block, (size_t)ROWS * COLUMNS, sizeof *m->scores);
    m->best = magpie_carve(block, ROWS * m->k, sizeof *m->best);
    m->neighbours = magpie_carve(block, m->n * m->k, sizeof *m->neighbours);
}

magpie_status magpie_neighbour_map(const float *x, size_t n, size_t dimension, float *out,
                                   double *explained) {
    neighbour_map m = {.x = x, .n = n, .dimension = dimension, .out = out, .random = 1};
    magpie_block block = {0};
    if (n > UINT32_MAX) return magpie_fail(MAGPIE_E_ARGUMENT, "%zu points are too many for a map", n);
    m.k = n > NEIGHBOURS ? NEIGHBOURS : n ? n - 1 : 0;
    layout(&m, &block);
    magpie_status status = magpie_block_alloc(&block);
    if (status != MAGPIE_OK) return status;
    layout(&m, &block);
    const int before = blas_alone();
    status = start(&m, explained);
    if (status == MAGPIE_OK) {
        find_neighbours(&m);
        descend(&m);
    }
    blas_restore(before);
    magpie_block_free(&block);
    return status;
}
