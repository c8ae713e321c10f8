/* fusion_loss.c - the symmetric cross entropy of pairs of views (InfoNCE; Radford et al. 2021), and its
 * slopes.
 *
 * With logits l_ij = s a_i . b_j, of a pair's n items: the sum over i of -l_ii + 1/2 log sum_j exp l_ij +
 * 1/2 log sum_j exp l_ji. Items of the same title are left out of the sums.
 *
 * GRAM PRODUCTS are all that there is to multiply. A fused vector is f_i = sum_m w_m z_mi / |sum_m w_m z_mi|,
 * so that its products with a view's are sums of those among the views, and the slopes of its logits are
 * slopes of theirs. They are symmetric: half of them is computed, by squares, and the rest mirrored. Of two
 * views, that and the way back are 6.1 products of all items with all items; with products of fused vectors
 * themselves there were 9.
 *
 * NOTHING ELSE IS KEPT: one pass over them sums up exponentials, the next computes them again. The slope of a
 * product is that of logits from either side, and for an item both are made of its own rows of products; so
 * its slopes are complete at once, in a row that is near, and go from there into the slopes of its vectors.
 * Exponentials cost less than memory.
 *
 * ONE EXPONENTIAL serves both directions of the softmax, since no maximum is subtracted: cosines are at most 1, so that
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

enum { SQUARE = 128 /* rows and columns of a task */ };

/* Some rows, from the first of a panel on, of some columns, and the same mirrored from column `rest` on. */
static void multiply(const fusion_network *net, size_t row, size_t m, size_t column, size_t n, size_t rest) {
    size_t units = fusion_units(net, net->layout.dimension);
    net->kernels->multiply[net->bf16](&(fusion_product){.m = m,
                                                        .n = n,
                                                        .units = units,
                                                        .a = net->z_turned + row * units,
                                                        .b = net->z_turned + column * units,
                                                        .depth = units,
                                                        .c = net->gram + row * net->stride + column,
                                                        .stride = net->stride});
    net->kernels->mirror(net->gram, net->stride, row, m, rest, column + n - rest);
}

/* A square right of the diagonal; or of one that lies on it, from there on, a panel of rows after the other. */
static magpie_status products_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    size_t across = 0, down = task;
    for (; down > across; across++) down -= across + 1;
    size_t row = down * SQUARE, column = across * SQUARE, end = fusion_least(net->rows, column + SQUARE),
           most = row == column ? net->kernels->panel : SQUARE;
    for (size_t last = fusion_least(net->rows, row + SQUARE); row < last; row += most) {
        size_t m = fusion_least(last - row, most);
        if (down == across) column = row;
        multiply(net, row, m, column, end - column, down == across ? row + m : column);
    }
    return MAGPIE_OK;
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
    net->fused_inverse[i] = 1 / sqrtf(fmaxf(squares, 1e-24f));
}

/* What is fused of item i, of length 1, times n columns of the Gram products. */
static void mix(const fusion_network *net, size_t i, size_t column, size_t n, float *out) {
    const float *rows[FUSION_VIEWS];
    float weights[FUSION_VIEWS];
    size_t count = 0;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        if (fusion_has(net, m, i)) {
            rows[count] = net->gram + fusion_row(net, m, i) * net->stride + column;
            weights[count++] = net->weight[m] * net->fused_inverse[i];
        }
    net->kernels->mix(out, rows, weights, count, n, net->stride); /* of the next item */
}

/* The part of a pair's items that are in the range of a view. */
static size_t shared(const fusion_network *net, const fusion_pair *p, size_t m, size_t *first) {
    const fusion_view *v = &net->view[m];
    size_t end = fusion_least(v->first + v->n, p->first + p->n);
    *first = v->first > p->first ? v->first : p->first;
    return v->n && *first < end ? end - *first : 0;
}

/* Columns of a row of Gram products, mixed as the items of a pair are fused, but of the length they have
 * before that is made 1: out [n]. */
static void mix_columns(const fusion_network *net, const fusion_pair *p, const float *gram, float *out) {
    const float *whole[MAGPIE_MODALITIES];
    float weights[MAGPIE_MODALITIES];
    size_t count = 0, first;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        if (shared(net, p, m, &first) < p->n) continue;
        whole[count] = gram + fusion_row(net, m, first);
        weights[count++] = net->weight[m];
    }
    net->kernels->mix(out, whole, weights, count, p->n, 0);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        size_t n = shared(net, p, m, &first);
        if (n && n < p->n)
            net->kernels->add(out + first - p->first, gram + fusion_row(net, m, first), net->weight[m], n);
    }
}

/* Of item i of the first view, or of what is fused: its cosines [n] with those of the second one, where they
 * count; or, `back`, of the second view with the first, where what is fused has the length that it has.
 * Mostly all count, and those of two views are where they were; or they are put into `own` [n]. */
static const float *take_row(const fusion_network *net, const fusion_pair *p, size_t i, bool back,
                             float *own) {
    size_t from = back ? p->b : p->a, to = back ? p->a : p->b;
    const float *gram = from == FUSION_FUSED ? NULL : net->gram + fusion_row(net, from, i) * net->stride;
    if (!gram) {
        mix(net, i, fusion_row(net, to, p->first), p->n, own);
    } else if (to == FUSION_FUSED) {
        mix_columns(net, p, gram, own);
    } else {
        gram += fusion_row(net, to, p->first);
        if (!p->hole_count && (size_t)net->same[i] == i) return gram;
        memcpy(own, gram, p->n * sizeof *own);
    }
    for (size_t k = 0; k < p->hole_count; k++) own[p->holes[k]] = masked;
    for (size_t other = (size_t)net->same[i]; other != i; other = (size_t)net->same[other])
        if (other >= p->first && other < p->first + p->n) own[other - p->first] = masked;
    return own;
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
                net->kernels->exponentials(take_row(net, p, i, false, row), p->n, net->scale, shift, columns);
        }
    }
    return MAGPIE_OK;
}

/* ---- slopes ---- */

/* What the rows and columns of a pair are multiplied with, where their sums were (those of columns where the
 * first block's were): half of 1 / all sums. It is some microseconds for one thread. */
static void weigh_pair(const fusion_network *net, const fusion_pair *p) {
    float half = 0.5f / (float)net->examples;
    for (size_t b = 1; b < fusion_blocks(net->batch->n, FUSION_ITEMS) && p->n; b++)
        net->kernels->add(p->columns, p->columns + b * net->most, 1, p->n);
    for (size_t k = 0; k < p->hole_count; k++) p->sums[p->holes[k]] = 1; /* times 0 */
    for (size_t i = 0; i < p->n; i++) {
        p->columns[i] = half / (p->columns[i] + FLT_MIN);
        p->sums[i] = half / (p->sums[i] + FLT_MIN);
    }
}

/* row [n] becomes the slopes of the logits of item i, which it has with all of a pair, or, `back`, all with
 * it; returns its part of the loss, once. */
static double slopes_of_row(const fusion_network *net, const fusion_pair *p, size_t i, bool back,
                            float *row) {
    size_t own = i - p->first;
    float half = 0.5f / (float)net->examples, shift = headroom - net->scale,
          weight = (back ? p->columns : p->sums)[own], other = (back ? p->sums : p->columns)[own];
    const float *cosines = take_row(net, p, i, back, row),
                *times = back && p->a == FUSION_FUSED ? net->fused_inverse + p->first : NULL;
    double logit = (double)(net->scale * cosines[own] + shift); /* row may become what cosines are */
    net->kernels->weigh(cosines, p->n, net->scale, shift, times, weight, back ? p->sums : p->columns, row);
    row[own] -= 2 * half * (times ? times[own] : 1);
    return back ? 0 : -0.5 * log((double)weight / (double)half * ((double)other / (double)half)) - logit;
}

/* Slopes of the logits of what is fused of item i to those of Gram products. */
static void spread(const fusion_network *net, const fusion_pair *p, size_t i, const float *row,
                   float *slopes) {
    size_t column = fusion_row(net, p->b, p->first), count = 0, views[MAGPIE_MODALITIES];
    const float *grams[MAGPIE_MODALITIES];
    float *outs[MAGPIE_MODALITIES], weights[MAGPIE_MODALITIES], dots[MAGPIE_MODALITIES];
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        if (!fusion_has(net, m, i)) continue;
        weights[count] = net->scale * net->weight[m] * net->fused_inverse[i];
        grams[count] = net->gram + fusion_row(net, m, i) * net->stride + column;
        outs[count] = slopes + m * net->stride + column;
        views[count++] = m;
    }
    net->kernels->spread(row, p->n, count, weights, grams, outs, dots);
    for (size_t k = 0; k < count; k++)
        net->shares[i * MAGPIE_MODALITIES + views[k]] += (double)(weights[k] * dots[k]);
}

double fusion_slopes(fusion_network *net, size_t i, float *slopes, float *row) {
    const fusion_training_kernels *kernels = net->kernels;
    double loss = 0;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        net->shares[i * MAGPIE_MODALITIES + m] = 0;
        if (fusion_has(net, m, i)) memset(slopes + m * net->stride, 0, net->rows * sizeof *slopes);
    }
    for (const fusion_pair *p = net->pair; p < net->pair + FUSION_PAIRS; p++) {
        float *b = slopes + p->b * net->stride;
        if (!has_both(net, p, i)) continue;
        loss += slopes_of_row(net, p, i, false, row);
        if (p->a == FUSION_FUSED)
            spread(net, p, i, row, slopes);
        else
            kernels->add(slopes + p->a * net->stride + fusion_row(net, p->b, p->first), row, net->scale,
                         p->n);
        (void)slopes_of_row(net, p, i, true, row);
        for (size_t m = 0, first; m < MAGPIE_MODALITIES; m++) {
            size_t n = p->a == FUSION_FUSED || p->a == m ? shared(net, p, m, &first) : 0;
            float weight = p->a == m ? 1 : net->weight[m];
            if (n)
                kernels->add(b + fusion_row(net, m, first), row + first - p->first, net->scale * weight, n);
        }
    }
    return loss;
}

magpie_status fusion_contrast(fusion_network *net) {
    if (!net->examples) return MAGPIE_OK;
    size_t squares = fusion_blocks(net->rows, SQUARE);
    magpie_status status = magpie_pool_run(net->pool, squares * (squares + 1) / 2, products_task, net);
    if (status == MAGPIE_OK)
        status = magpie_pool_run(net->pool, fusion_blocks(net->batch->n, FUSION_ITEMS), sums_task, net);
    for (size_t k = 0; k < FUSION_PAIRS && status == MAGPIE_OK; k++) weigh_pair(net, &net->pair[k]);
    return status;
}
