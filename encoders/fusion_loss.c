/* fusion_loss.c - the symmetric cross entropy of pairs of views (InfoNCE; Radford et al. 2021), and its
 * slopes.
 *
 * With logits l_ij = s a_i . b_j, of a pair's n items: the sum over i of -l_ii + 1/2 log sum_j exp l_ij +
 * 1/2 log sum_j exp l_ji. Items of the same title are left out of the sums.
 *
 * GRAM PRODUCTS are all that there is to multiply. A fused vector is f_i = sum_m w_m z_mi / |sum_m w_m z_mi|,
 * so that its products with a view's are sums of those among the views, and the slopes of its logits are
 * slopes of theirs. They are symmetric: half of them is computed, by blocks of rows, and the rest mirrored.
 * Of two views, that and the way back are 6.3 products of all items with all items; with products of fused
 * vectors themselves there were 9.
 *
 * NOTHING ELSE IS KEPT: one pass over them sums up exponentials, the next computes them again and puts slopes
 * where the products were. Exponentials cost less than memory.
 *
 * ONE EXPONENTIAL serves both directions, since no maximum is subtracted: cosines are at most 1, so that
 * exp(l - s + headroom) is within a float whatever s is, and loses what is 2 cosines below the best only
 * where s is past 70. Then e_ij (1 / sum of row i + 1 / sum of column j) / 2 is the slope. */
#include "fusion_network.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* e^60 of as many as a batch has is within a float. */
static const float headroom = 60;
/* A cosine whose exponential is 0; finite, since it is multiplied with that. */
static const float masked = -1e9f;

/* ---- products ---- */

/* The blocks of rows that have most to multiply come first. */
static magpie_status products_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    size_t d = net->layout.dimension, rows = net->rows;
    const fusion_piece p = fusion_piece_of(net, task);
    const gemm_matrix z = {net->z, d};
    float *gram = net->gram + p.row * net->stride + p.row;
    magpie_status status =
        fusion_multiply(net, GEMM_NT, p.n, rows - p.row, d, z, p.row * d, z, p.row * d, gram, net->stride);
    net->kernels->mirror(net->gram, net->stride, p.row, p.n, rows);
    return status;
}

/* ---- logits ---- */

/* Of what is fused of item i before its length is made 1: that length, and its products with the views. */
static void fuse(const fusion_network *net, size_t i) {
    float squares = 0;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        float *product = &net->fused_products[i * MAGPIE_MODALITIES + m];
        *product = 0;
        if (!fusion_has(net, m, i)) continue;
        const float *gram = net->gram + fusion_row(net, m, i) * net->stride;
        for (size_t k = 0; k < MAGPIE_MODALITIES; k++)
            if (fusion_has(net, k, i)) *product += net->weight[k] * gram[fusion_row(net, k, i)];
        squares += net->weight[m] * *product;
    }
    net->fused_length[i] = sqrtf(fmaxf(squares, 1e-24f));
}

/* What is fused of item i, of length 1, times n columns of the Gram products. */
static void mix(const fusion_network *net, size_t i, size_t column, size_t n, float *out) {
    const float *rows[FUSION_VIEWS];
    float weights[FUSION_VIEWS];
    size_t count = 0;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        if (fusion_has(net, m, i)) {
            rows[count] = net->gram + fusion_row(net, m, i) * net->stride + column;
            weights[count++] = net->weight[m] / net->fused_length[i];
        }
    net->kernels->mix(out, rows, weights, count, n);
}

/* Of item i of the first view, or of what is fused: its cosines [n] with those of the second one, where they
 * count. Mostly all do, and those of two views are where they were; or they are put into `own` [n]. */
static const float *take_row(const fusion_network *net, const fusion_pair *p, size_t i, float *own) {
    size_t column = fusion_row(net, p->b, p->first);
    if (p->a == FUSION_FUSED) {
        mix(net, i, column, p->n, own);
    } else {
        const float *gram = net->gram + fusion_row(net, p->a, i) * net->stride + column;
        if (!p->hole_count && (size_t)net->same[i] == i) return gram;
        memcpy(own, gram, p->n * sizeof *own);
    }
    for (size_t k = 0; k < p->hole_count; k++) own[p->holes[k]] = masked;
    for (size_t other = (size_t)net->same[i]; other != i; other = (size_t)net->same[other])
        if (other >= p->first && other < p->first + p->n) own[other - p->first] = masked;
    return own;
}

/* Rows are far apart, which the processor does not foresee. */
static void fetch_ahead(const fusion_network *net, size_t i) {
    for (size_t m = 0; m < MAGPIE_MODALITIES && i < net->batch->n; m++)
        for (size_t k = 0; fusion_has(net, m, i) && k < net->rows; k += FUSION_TILE)
            __builtin_prefetch(net->gram + fusion_row(net, m, i) * net->stride + k);
}

static bool has_both(const fusion_network *net, const fusion_pair *p, size_t i) {
    return p->n && i >= p->first && i < p->first + p->n && net->view[p->b].has[i] &&
           (p->a == FUSION_FUSED || net->view[p->a].has[i]);
}

/* The sums of exponentials of a block of rows, of all pairs. */
static magpie_status sums_task(void *context, size_t task, unsigned worker) {
    fusion_network *net = context;
    float *row = net->scratch + worker * net->scratch_size, shift = headroom - net->scale;
    size_t first = task * FUSION_ITEMS, end = fusion_least(first + FUSION_ITEMS, net->batch->n);
    for (size_t i = first; i < end; i++) fuse(net, i);
    for (size_t k = 0; k < FUSION_PAIRS; k++) {
        fusion_pair *p = &net->pair[k];
        float *columns = p->columns + task * net->most;
        if (!p->n) continue;
        memset(columns, 0, p->n * sizeof *columns);
        for (size_t i = first; i < end; i++) {
            if (!has_both(net, p, i)) continue;
            p->sums[i - p->first] =
                net->kernels->exponentials(take_row(net, p, i, row), p->n, net->scale, shift, columns);
        }
    }
    return MAGPIE_OK;
}

/* ---- slopes ---- */

/* What the columns of a pair are multiplied with, where the sums of the first block were: half of 1 / all
 * sums. It is some microseconds for one thread, as much as it would be for each task. */
static void weigh_columns(const fusion_network *net, const fusion_pair *p) {
    float half = 0.5f / (float)net->examples;
    for (size_t b = 1; b < fusion_blocks(net->batch->n, FUSION_ITEMS) && p->n; b++)
        net->kernels->add(p->columns, p->columns + b * net->most, 1, p->n);
    for (size_t i = 0; i < p->n; i++) p->columns[i] = half / (p->columns[i] + FLT_MIN);
}

/* row [n] becomes the slopes of the logits of item i; returns its part of the loss. */
static double slopes_of_row(const fusion_network *net, const fusion_pair *p, size_t i, float *row) {
    size_t own = i - p->first;
    float half = 0.5f / (float)net->examples, weight = half / fmaxf(p->sums[own], FLT_MIN),
          shift = headroom - net->scale;
    const float *cosines = take_row(net, p, i, row);
    double logit = (double)(net->scale * cosines[own] + shift);
    net->kernels->weigh(cosines, p->n, net->scale, shift, weight, p->columns, row);
    row[own] -= 2 * half;
    return -0.5 * log((double)weight / (double)half * ((double)p->columns[own] / (double)half)) - logit;
}

/* Slopes of logits, of item i, to those of Gram products: slopes [MAGPIE_MODALITIES, stride]. */
static void fold_in(const fusion_network *net, const fusion_pair *p, size_t i, const float *row,
                    float *slopes) {
    size_t column = fusion_row(net, p->b, p->first), count = 0, views[MAGPIE_MODALITIES];
    const float *grams[MAGPIE_MODALITIES];
    float *outs[MAGPIE_MODALITIES], weights[MAGPIE_MODALITIES], dots[MAGPIE_MODALITIES];
    if (p->a != FUSION_FUSED) net->kernels->add(slopes + p->a * net->stride + column, row, net->scale, p->n);
    for (size_t m = 0; m < MAGPIE_MODALITIES && p->a == FUSION_FUSED; m++) {
        if (!fusion_has(net, m, i)) continue;
        weights[count] = net->scale * net->weight[m] / net->fused_length[i];
        grams[count] = net->gram + fusion_row(net, m, i) * net->stride + column;
        outs[count] = slopes + m * net->stride + column;
        views[count++] = m;
    }
    net->kernels->spread(row, p->n, count, weights, grams, outs, dots);
    for (size_t k = 0; k < count; k++)
        net->shares[i * MAGPIE_MODALITIES + views[k]] += (double)(weights[k] * dots[k]);
}

/* The slopes of an item's Gram products go, as numbers, to where these were, which nobody else reads. */
static double slopes_of_item(fusion_network *net, size_t i, float *slopes, float *row) {
    double loss = 0;
    fetch_ahead(net, i + 1);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        net->shares[i * MAGPIE_MODALITIES + m] = 0;
        if (fusion_has(net, m, i)) memset(slopes + m * net->stride, 0, net->rows * sizeof *slopes);
    }
    for (size_t k = 0; k < FUSION_PAIRS; k++) {
        const fusion_pair *p = &net->pair[k];
        if (!has_both(net, p, i)) continue;
        loss += slopes_of_row(net, p, i, row);
        fold_in(net, p, i, row, slopes);
    }
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        if (fusion_has(net, m, i))
            fusion_store(net, slopes + m * net->stride, 1, net->rows, net->gram,
                         fusion_row(net, m, i) * fusion_slopes_stride(net));
    return loss;
}

static magpie_status slopes_task(void *context, size_t task, unsigned worker) {
    fusion_network *net = context;
    float *slopes = net->scratch + worker * net->scratch_size,
          *row = slopes + MAGPIE_MODALITIES * net->stride;
    size_t first = task * FUSION_ITEMS, end = fusion_least(first + FUSION_ITEMS, net->batch->n);
    net->losses[task] = 0;
    for (size_t i = first; i < end; i++) net->losses[task] += slopes_of_item(net, i, slopes, row);
    return MAGPIE_OK;
}

magpie_status fusion_contrast(fusion_network *net, double *loss) {
    size_t blocks = fusion_blocks(net->batch->n, FUSION_ITEMS), pieces = fusion_count_pieces(net);
    *loss = 0;
    if (!net->examples) return MAGPIE_OK;
    magpie_status status = magpie_pool_run(net->pool, pieces, products_task, net);
    if (status == MAGPIE_OK) status = magpie_pool_run(net->pool, blocks, sums_task, net);
    for (size_t k = 0; k < FUSION_PAIRS && status == MAGPIE_OK; k++) weigh_columns(net, &net->pair[k]);
    if (status == MAGPIE_OK) status = magpie_pool_run(net->pool, blocks, slopes_task, net);
    for (size_t i = 0; i < blocks && status == MAGPIE_OK; i++)
        *loss += net->losses[i] / (double)net->examples;
    return status;
}
