/* fusion_heads.c - the heads of training, forwards and backwards, and what is fused out of them.
 *
 *     z = y / |y|            dL/dy = (dL/dz - z (z . dL/dz)) / |y|
 *     f = unit(sum w z)      the same, and dL/dz = w dL/dsum, dL/dlog w = w z . dL/dsum
 *     y = p + V gelu(p) + c  dL/dp = dL/dy + gelu'(p) (V^T dL/dy) */
#include "fusion_network.h"

#include <math.h>
#include <string.h>

/* A task of a stage that runs over blocks of the rows of all views. */
typedef struct piece {
    fusion_view *view;
    size_t modality, first, n; /* rows */
} piece;

static size_t count_pieces(const fusion_network *net) {
    size_t count = 0;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) count += fusion_blocks(net->view[m].n);
    return count;
}

static piece piece_of(fusion_network *net, size_t task) {
    size_t m = 0;
    while (task >= fusion_blocks(net->view[m].n)) task -= fusion_blocks(net->view[m++].n);
    return (piece){&net->view[m], m, task * FUSION_BLOCK, fusion_block_rows(task, net->view[m].n)};
}

/* ---- forwards ---- */

/* What is left of each number is enlarged by what is left out, so that sums stay as they are on the
 * average. 16 bits decide about a number: a seed makes four decisions. */
static void drop_out(float *x, size_t n, float share, uint64_t seed) {
    uint64_t bits = 0;
    uint32_t least = (uint32_t)lrintf(share * 65536);
    float scale = 1 / (1 - share);
    for (size_t k = 0; k < n; k++, bits >>= 16) {
        if (k % 4 == 0) bits = fusion_random(&seed);
        x[k] = (bits & 0xFFFF) < least ? 0 : x[k] * scale;
    }
}

static void gather(const fusion_network *net, const piece *p) {
    const fusion_batch *batch = net->batch;
    size_t input = net->layout.input[p->modality];
    float scale = sqrtf((float)input);
    for (size_t i = p->first; i < p->first + p->n; i++) {
        uint32_t row = p->view->rows[i];
        const float *from = batch->of->features[p->modality][net->items[row]];
        float *x = p->view->x + i * input;
        for (size_t k = 0; k < input; k++) x[k] = scale * from[k];
        if (batch->dropout > 0)
            drop_out(x, input, batch->dropout,
                     fusion_seed(batch->noise, row * MAGPIE_MODALITIES + p->modality));
    }
}

/* z = y / length; a y of nothing has no direction, and stays nothing. */
static void make_unit(const fusion_network *net, const float *y, float *z, float *length) {
    size_t d = net->layout.dimension;
    *length = fmaxf(sqrtf(net->kernels->dot(y, y, d)), 1e-12f);
    const float scale = 1 / *length;
    for (size_t j = 0; j < d; j++) z[j] = y[j] * scale;
}

static magpie_status forward_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    const fusion_layout *l = &net->layout;
    const piece at = piece_of(net, task);
    size_t d = l->dimension, m = at.modality, input = l->input[m];
    fusion_view *v = at.view;
    float *p = v->p + at.first * d;
    bool residual = l->kind == FUSION_RESIDUAL;
    gather(net, &at);
    const gemm_right matrix = {.form = GEMM_NT,
                               .n = d,
                               .k = input,
                               .values = net->parameters + l->matrix[m],
                               .stride = input,
                               .panels = v->matrix,
                               .k_packed = input};
    const gemm_right inner = {
        .form = GEMM_NT, .n = d, .k = d, .values = net->parameters + l->inner[m], .stride = d};
    magpie_status status = gemm(at.n, 1, v->x + at.first * input, input, &matrix, p, d, net->bf16);
    for (size_t i = 0; i < at.n; i++) net->kernels->add(p + i * d, net->parameters + l->bias[m], 1, d);
    if (residual && status == MAGPIE_OK) {
        net->kernels->gelu(p, v->g + at.first * d, at.n * d);
        status = gemm(at.n, 1, v->g + at.first * d, d, &inner, v->h + at.first * d, d, net->bf16);
    }
    for (size_t i = at.first; i < at.first + at.n; i++) {
        float *y = residual ? v->h + i * d : v->p + i * d;
        if (residual) net->kernels->add(y, v->p + i * d, 1, d);
        if (residual) net->kernels->add(y, net->parameters + l->inner_bias[m], 1, d);
        make_unit(net, y, v->z + i * d, &v->length[i]);
    }
    return status;
}

static magpie_status fuse_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    fusion_view *fused = &net->view[FUSION_FUSED];
    size_t d = net->layout.dimension, first = task * FUSION_BLOCK,
           rows = fusion_block_rows(task, net->batch->n);
    for (size_t i = first; i < first + rows; i++) {
        float *sum = fused->p + i * d;
        memset(sum, 0, d * sizeof *sum);
        for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
            if (net->view[m].n && net->view[m].at[i] >= 0)
                net->kernels->add(sum, net->view[m].z + (size_t)net->view[m].at[i] * d, net->weight[m], d);
        make_unit(net, sum, fused->z + i * d, &fused->length[i]);
    }
    return MAGPIE_OK;
}

magpie_status fusion_forward(fusion_network *net) {
    magpie_status status = magpie_pool_run(net->pool, count_pieces(net), forward_task, net);
    if (status != MAGPIE_OK) return status;
    return magpie_pool_run(net->pool, fusion_blocks(net->batch->n), fuse_task, net);
}

/* ---- backwards ---- */

/* dz becomes dL/dy. */
static void through_unit(const fusion_network *net, const float *z, float length, float *dz) {
    size_t d = net->layout.dimension;
    float along = net->kernels->dot(z, dz, d);
    const float scale = 1 / length;
    for (size_t j = 0; j < d; j++) dz[j] = (dz[j] - along * z[j]) * scale;
}

/* out [d] = the slope of view v's vector of item i, from all pairs. */
static void collect(const fusion_network *net, size_t v, size_t i, float *out) {
    size_t d = net->layout.dimension;
    bool any = false;
    for (size_t k = 0; k < FUSION_PAIRS; k++) {
        const fusion_pair *pair = &net->pair[k];
        if (!pair->n || (pair->a != v && pair->b != v) || pair->at[i] < 0) continue;
        const float *slope = (pair->a == v ? pair->da : pair->db) + (size_t)pair->at[i] * d;
        if (any)
            net->kernels->add(out, slope, 1, d);
        else
            memcpy(out, slope, d * sizeof *out);
        any = true;
    }
    if (!any) memset(out, 0, d * sizeof *out);
}

/* Of a block of items: the slopes of fused vectors, then those of the modalities, which the fused ones add
 * to. */
static magpie_status collect_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    const fusion_view *fused = &net->view[FUSION_FUSED];
    size_t d = net->layout.dimension, first = task * FUSION_BLOCK,
           rows = fusion_block_rows(task, net->batch->n);
    double *weights = net->weights + task * MAGPIE_MODALITIES;
    memset(weights, 0, MAGPIE_MODALITIES * sizeof *weights);
    for (size_t i = first; i < first + rows; i++) {
        float *df = fused->dz + i * d;
        collect(net, FUSION_FUSED, i, df);
        through_unit(net, fused->z + i * d, fused->length[i], df);
        for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
            fusion_view *v = &net->view[m];
            if (!v->n || v->at[i] < 0) continue;
            size_t row = (size_t)v->at[i];
            float *z = v->z + row * d, *dz = v->dz + row * d;
            collect(net, m, i, dz);
            net->kernels->add(dz, df, net->weight[m], d);
            weights[m] += (double)(net->weight[m] * net->kernels->dot(z, df, d));
            through_unit(net, z, v->length[row], dz);
        }
    }
    return MAGPIE_OK;
}

/* The slope of p, where it is not that of y. */
static magpie_status inner_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    const piece at = piece_of(net, task);
    size_t d = net->layout.dimension;
    float *h = at.view->h + at.first * d, *dy = at.view->dz + at.first * d;
    const gemm_right inner = {.form = GEMM_NN,
                              .n = d,
                              .k = d,
                              .values = net->parameters + net->layout.inner[at.modality],
                              .stride = d};
    magpie_status status = gemm(at.n, 1, dy, d, &inner, h, d, net->bf16);
    net->kernels->gelu_slope(at.view->p + at.first * d, h, at.n * d);
    net->kernels->add(h, dy, 1, at.n * d);
    return status;
}

/* Rows of a matrix of parameters, and of its bias: the sum over the batch, slope by slope, of what went
 * in. */
static magpie_status sum_up(const fusion_network *net, const float *slope, const gemm_right *in, size_t block,
                            size_t matrix, size_t bias) {
    size_t d = net->layout.dimension, first = block * FUSION_BLOCK, rows = fusion_block_rows(block, d);
    float *b = net->gradient + bias + first;
    for (size_t i = 0; i < in->k; i++) net->kernels->add(b, slope + i * d + first, 1, rows);
    return gemm(rows, 1, slope + first, d, in, net->gradient + matrix + first * in->n, in->n, net->bf16);
}

static magpie_status sum_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    const fusion_layout *l = &net->layout;
    size_t blocks = fusion_blocks(l->dimension), m = task / blocks % MAGPIE_MODALITIES, block = task % blocks;
    const fusion_view *v = &net->view[m];
    bool inner = task >= blocks * MAGPIE_MODALITIES;
    size_t input = inner ? l->dimension : l->input[m];
    const gemm_right in = {.form = GEMM_TN,
                           .n = input,
                           .k = v->n,
                           .values = inner ? v->g : v->x,
                           .stride = input,
                           .panels = inner ? NULL : v->x_along,
                           .k_packed = v->n};
    if (!v->n) return MAGPIE_OK;
    if (inner) return sum_up(net, v->dz, &in, block, l->inner[m], l->inner_bias[m]);
    return sum_up(net, l->kind == FUSION_RESIDUAL ? v->h : v->dz, &in, block, l->matrix[m], l->bias[m]);
}

/* What nothing is summed up for. */
static void forget_matrices(const fusion_network *net, size_t m) {
    const fusion_layout *l = &net->layout;
    size_t d = l->dimension;
    if (net->view[m].n && net->examples) return;
    memset(net->gradient + l->matrix[m], 0, d * l->input[m] * sizeof *net->gradient);
    if (l->kind == FUSION_RESIDUAL && l->input[m])
        memset(net->gradient + l->inner[m], 0, d * d * sizeof *net->gradient);
}

magpie_status fusion_backward(fusion_network *net) {
    const fusion_layout *l = &net->layout;
    size_t blocks = fusion_blocks(net->batch->n), layers = l->kind == FUSION_RESIDUAL ? 2 : 1;
    memset(net->gradient + l->decayed, 0, (l->count - l->decayed) * sizeof *net->gradient);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) forget_matrices(net, m);
    if (!net->examples) return MAGPIE_OK;
    net->gradient[l->scale] = (float)net->scale_slope;
    magpie_status status = magpie_pool_run(net->pool, blocks, collect_task, net);
    if (status == MAGPIE_OK && layers == 2)
        status = magpie_pool_run(net->pool, count_pieces(net), inner_task, net);
    if (status == MAGPIE_OK)
        status = magpie_pool_run(net->pool, layers * MAGPIE_MODALITIES * fusion_blocks(l->dimension),
                                 sum_task, net);
    for (size_t i = 0; i < blocks; i++)
        for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
            net->gradient[l->weight + m] += (float)net->weights[i * MAGPIE_MODALITIES + m];
    return status;
}
