/* fusion_loss.c - the symmetric cross entropy of pairs of views (InfoNCE; Radford et al. 2021), and its
 * slopes.
 *
 * With logits l_ij = s a_i . b_j, of a pair's n items: the sum over i of -l_ii + 1/2 log sum_j exp l_ij +
 * 1/2 log sum_j exp l_ji. Items of the same title are left out of the sums.
 *
 * ONE EXPONENTIAL serves both directions, since no maximum is subtracted: cosines are at most 1, so that
 * exp(l - s + HEADROOM) is within a float whatever s is, and loses what is 2 cosines below the best only
 * where s is past 70. Then e_ij (1 / sum of row i + 1 / sum of column j) / 2 is the slope, one more pass.
 * And sum_ij slope_ij l_ij, the slope of log s, is sum_i a_i . (s sum_j slope_ij b_j), which is the slope
 * of a_i, multiplied with a_i: nothing to keep. */
#include "fusion_network.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* e^60 of as many as a batch has is within a float. */
static const float headroom = 60;

/* A task of a stage that runs over blocks of the rows of all pairs. */
typedef struct piece {
    fusion_pair *pair;
    size_t block, first, n;
} piece;

static size_t count_pieces(const fusion_network *net) {
    size_t count = 0;
    for (size_t k = 0; k < FUSION_PAIRS; k++) count += fusion_blocks(net->pair[k].n);
    return count;
}

static piece piece_of(fusion_network *net, size_t task) {
    size_t k = 0;
    while (task >= fusion_blocks(net->pair[k].n)) task -= fusion_blocks(net->pair[k++].n);
    return (piece){&net->pair[k], task, task * FUSION_BLOCK, fusion_block_rows(task, net->pair[k].n)};
}

static void copy_rows(const fusion_network *net, const fusion_pair *pair, const fusion_view *view,
                      float *to) {
    size_t d = net->layout.dimension;
    for (size_t i = 0; i < pair->n; i++)
        memcpy(to + i * d, view->z + (size_t)view->at[pair->of[i]] * d, d * sizeof *to);
}

static magpie_status copy_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    fusion_pair *pair = &net->pair[task / 2];
    if (!pair->n) return MAGPIE_OK;
    if (task % 2 == 0 && pair->za == pair->copy_a) copy_rows(net, pair, &net->view[pair->a], pair->copy_a);
    if (task % 2 == 1 && pair->zb == pair->copy_b) copy_rows(net, pair, &net->view[pair->b], pair->copy_b);
    return MAGPIE_OK;
}

/* Of row i, those that are called like it. */
static void mask(const fusion_network *net, const fusion_pair *pair, size_t i, float *row) {
    int32_t item = (int32_t)pair->of[i];
    for (int32_t other = net->same[item]; other != item; other = net->same[other])
        if (pair->at[other] >= 0) row[pair->at[other]] = -INFINITY;
}

/* The pair's rows of a view as the second matrix of a product, in panels where they are the view's first
 * ones. */
static gemm_right right_of(const fusion_network *net, const fusion_pair *p, size_t view, gemm_form form) {
    const fusion_view *v = &net->view[view];
    size_t d = net->layout.dimension;
    bool across = form == GEMM_NT;
    const float *z = view == p->a ? p->za : p->zb;
    return (gemm_right){.form = form,
                        .n = across ? p->n : d,
                        .k = across ? d : p->n,
                        .values = z,
                        .stride = d,
                        .panels = z != v->z ? NULL
                                  : across  ? v->z_across
                                            : v->z_along,
                        .k_packed = across ? d : v->n};
}

/* Exponentials of a block of rows, the rows' sums, and what the columns' sums get from them. */
static magpie_status exponentials_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    const piece at = piece_of(net, task);
    fusion_pair *p = at.pair;
    size_t d = net->layout.dimension, n = p->n;
    const gemm_right right = right_of(net, p, p->b, GEMM_NT);
    float *e = p->e + at.first * n, *sums = p->sums + at.block * net->most, shift = headroom - net->scale;
    memset(sums, 0, n * sizeof *sums);
    magpie_status status = gemm(at.n, 1, p->za + at.first * d, d, &right, e, n, net->bf16);
    for (size_t i = at.first; i < at.first + at.n; i++, e += n) {
        p->own[i] = net->scale * e[i] + shift;
        mask(net, p, i, e);
        p->row[i] = net->kernels->exponentials(e, n, net->scale, shift, sums);
    }
    return status;
}

/* What the columns of a pair are multiplied with: half of 1 / their sums. Every task works it out for
 * itself, which costs less than to wait for one that does it for all. */
static void weigh_columns(const fusion_network *net, const fusion_pair *p, float half, float *out) {
    memset(out, 0, p->n * sizeof *out);
    for (size_t b = 0; b < fusion_blocks(p->n); b++) net->kernels->add(out, p->sums + b * net->most, 1, p->n);
    for (size_t i = 0; i < p->n; i++) out[i] = half / fmaxf(out[i], FLT_MIN);
}

/* The slopes of a block of rows of logits, of the vectors of the first view, and of log s; the loss. */
static magpie_status rows_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    const piece at = piece_of(net, task);
    fusion_pair *p = at.pair;
    float columns[FUSION_BATCH_MAX], half = 0.5f / (float)net->examples;
    size_t d = net->layout.dimension, n = p->n;
    const gemm_right right = right_of(net, p, p->b, GEMM_NN);
    double loss = 0, slope = 0;
    weigh_columns(net, p, half, columns);
    for (size_t i = at.first; i < at.first + at.n; i++) {
        float row = half / fmaxf(p->row[i], FLT_MIN);
        loss += log((double)half) - 0.5 * (log((double)row) + log((double)columns[i])) - (double)p->own[i];
        net->kernels->weigh(p->e + i * n, n, row, columns);
        p->e[i * n + i] -= 2 * half;
    }
    magpie_status status =
        gemm(at.n, net->scale, p->e + at.first * n, n, &right, p->da + at.first * d, d, net->bf16);
    for (size_t i = at.first; i < at.first + at.n; i++)
        slope += (double)net->kernels->dot(p->za + i * d, p->da + i * d, d);
    net->losses[task] = loss;
    net->scales[task] = slope;
    return status;
}

/* The slopes of the vectors of the second view. */
static magpie_status columns_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    const piece at = piece_of(net, task);
    fusion_pair *p = at.pair;
    size_t d = net->layout.dimension;
    const gemm_right right = right_of(net, p, p->a, GEMM_TN);
    return gemm(at.n, net->scale, p->e + at.first, p->n, &right, p->db + at.first * d, d, net->bf16);
}

static bool copies_any(const fusion_network *net) {
    for (size_t k = 0; k < FUSION_PAIRS; k++) {
        const fusion_pair *p = &net->pair[k];
        if (p->n && (p->za == p->copy_a || p->zb == p->copy_b)) return true;
    }
    return false;
}

magpie_status fusion_contrast(fusion_network *net, double *loss) {
    size_t pieces = count_pieces(net);
    magpie_status status = MAGPIE_OK;
    if (copies_any(net)) status = magpie_pool_run(net->pool, (size_t)2 * FUSION_PAIRS, copy_task, net);
    if (status == MAGPIE_OK) status = magpie_pool_run(net->pool, pieces, exponentials_task, net);
    if (status == MAGPIE_OK) status = magpie_pool_run(net->pool, pieces, rows_task, net);
    if (status == MAGPIE_OK) status = magpie_pool_run(net->pool, pieces, columns_task, net);
    *loss = net->scale_slope = 0;
    for (size_t i = 0; i < pieces && status == MAGPIE_OK; i++) {
        *loss += net->losses[i] / (double)net->examples;
        net->scale_slope += net->scales[i];
    }
    return status;
}
