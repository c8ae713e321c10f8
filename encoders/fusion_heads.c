/* fusion_heads.c - the heads of training, forwards and backwards, and what is fused out of them.
 *
 *     z = y / |y|            dL/dy = (dL/dz - z (z . dL/dz)) / |y|
 *     f = unit(sum w z)      with its length L: dL/dz = w dL/dsum, dL/dlog w = w z . dL/dsum
 *     y = p + V gelu(p) + c  dL/dp = dL/dy + gelu'(p) (V^T dL/dy)
 *
 * Of the vectors that are fused, the slopes of their logits have gone to those of the products they are sums
 * of, with w / L as it is (fusion_loss.c). What remains is L itself: with the share h_m that modality m has
 * in all logits of f, times their slopes, the slope of log L is -h, h = sum h_m, so that dL/dz has -h w f / L
 * more, and dL/dlog w is h_m - h w z . f / L. */
#include "fusion_network.h"

#include <math.h>
#include <string.h>

/* ---- forwards ---- */

/* 16 bits decide about a number: a seed makes four decisions. */
static void drop_out(void *x, size_t number, size_t n, float share, uint64_t seed) {
    uint64_t bits = 0;
    uint32_t least = (uint32_t)lrintf(share * 65536);
    for (size_t k = 0; k < n; k++, bits >>= 16) {
        if (k % 4 == 0) bits = magpie_random(&seed);
        bool out = (bits & 0xFFFF) < least;
        if (number == sizeof(float))
            ((float *)x)[k] = out ? 0 : ((float *)x)[k];
        else
            ((uint16_t *)x)[k] = out ? 0 : ((uint16_t *)x)[k];
    }
}

/* What dropout leaves is enlarged by what it leaves out, so that sums stay as they are on the average. */
static void gather(const fusion_network *net, const fusion_piece *p) {
    const fusion_batch *batch = net->batch;
    const fusion_view *view = &net->view[p->modality];
    size_t m = p->modality, input = net->layout.input[m];
    for (size_t i = p->item; i < p->item + p->n; i++) {
        size_t at = (i - view->first) * input;
        if (!view->has[i]) continue; /* whatever is there is finite, and its vector is a hole */
        if (batch->of->numbers[m])
            memcpy((uint16_t *)view->x + at, batch->of->numbers[m][net->items[i]], input * sizeof(uint16_t));
        else
            fusion_store(net, batch->of->features[m][net->items[i]], fusion_enlarged(input, batch->dropout),
                         input, view->x, at);
        if (batch->dropout > 0)
            drop_out((char *)view->x + at * net->number, net->number, input, batch->dropout,
                     magpie_seed(batch->noise, i * MAGPIE_MODALITIES + m));
    }
}

/* A y of nothing has no direction, and stays nothing. */
static void make_units(const fusion_network *net, const fusion_piece *p, const float *bias) {
    size_t d = net->layout.dimension;
    for (size_t k = 0; k < p->n; k++) {
        float *y = net->y + (p->row + k) * d;
        net->kernels->add(y, bias, 1, d);
        if (!net->view[p->modality].has[p->item + k]) memset(y, 0, d * sizeof *y);
        float length = fmaxf(sqrtf(net->kernels->dot(y, y, d)), 1e-12f);
        net->length[p->row + k] = length;
        fusion_store(net, y, 1 / length, d, net->z, (p->row + k) * d);
    }
}

static magpie_status forward_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    const fusion_layout *l = &net->layout;
    const fusion_piece at = fusion_piece_of(net, task);
    const fusion_view *v = &net->view[at.modality];
    size_t d = l->dimension, m = at.modality, input = l->input[m], first = at.row * d;
    bool residual = l->kind == FUSION_RESIDUAL;
    float *y = net->y + first, *p = residual ? net->p + first : y;
    const gemm_matrix x = {v->x, input}, matrix = {net->matrices, input}, g = {net->g, d},
                      inner = {net->matrices, d};
    gather(net, &at);
    magpie_status status = fusion_multiply(net, GEMM_NT, at.n, d, input, x, (at.item - v->first) * input,
                                           matrix, l->matrix[m], p, d);
    if (residual && status == MAGPIE_OK) {
        for (size_t i = 0; i < at.n; i++) net->kernels->add(p + i * d, net->parameters + l->bias[m], 1, d);
        net->kernels->gelu(p, y, at.n * d);
        fusion_store(net, y, 1, at.n * d, net->g, first);
        status = fusion_multiply(net, GEMM_NT, at.n, d, d, g, first, inner, l->inner[m], y, d);
        net->kernels->add(y, p, 1, at.n * d);
    }
    make_units(net, &at, net->parameters + (residual ? l->inner_bias[m] : l->bias[m]));
    return status;
}

magpie_status fusion_forward(fusion_network *net) {
    return magpie_pool_run(net->pool, fusion_count_pieces(net), forward_task, net);
}

/* ---- backwards ---- */

/* The slopes of a block of rows of z: those of Gram products, and of their transposes, times z. */
static magpie_status multiply_slopes(const fusion_network *net, const fusion_piece *p, void *folded,
                                     float *dz) {
    size_t d = net->layout.dimension, rows = net->rows;
    (net->bf16 ? net->kernels->fold_bf16 : net->kernels->fold_f32)(net->gram, fusion_slopes_stride(net),
                                                                   p->row, p->n, rows, folded);
    return fusion_multiply(net, GEMM_NN, p->n, d, rows, (gemm_matrix){folded, rows}, 0,
                           (gemm_matrix){net->z, d}, 0, dz, d);
}

/* From the slopes of a row of z, of item i, to those of y. A cosine has a slope times itself in both of its
 * vectors: the sum of z . dz is twice that of logits times their slopes, which is the slope of log s. */
static void slopes_of_row(fusion_network *net, size_t m, size_t i, size_t row, float *dz, double *scale,
                          double *weight, float *bias) {
    const fusion_training_kernels *k = net->kernels;
    size_t d = net->layout.dimension;
    float *y = net->y + row * d, length = net->length[row], whole = net->fused_length[i],
          own = net->weight[m] / whole;
    const double *shares = net->shares + i * MAGPIE_MODALITIES;
    double all = shares[MAGPIE_TEXT] + shares[MAGPIE_IMAGE] + shares[MAGPIE_AUDIO];
    float along = k->dot(y, dz, d) / length, along_f = net->fused_products[i * MAGPIE_MODALITIES + m],
          from_f = -(float)all * own / whole, scales[FUSION_VIEWS] = {1};
    const float *vectors[FUSION_VIEWS] = {dz};
    size_t count = 1;
    for (size_t j = 0; j < MAGPIE_MODALITIES; j++) {
        if (!fusion_has(net, j, i)) continue;
        size_t other = fusion_row(net, j, i);
        float times = from_f * net->weight[j] - (j == m ? along + from_f * along_f : 0);
        vectors[count] = net->y + other * d;
        scales[count++] = times / net->length[other];
    }
    *scale += 0.5 * (double)along;
    *weight += shares[m] - all * (double)(own * along_f / whole);
    k->mix(dz, vectors, scales, count, d);
    k->add(bias, dz, 1 / length, d);
    fusion_store(net, dz, 1 / length, d, net->dy, row * d);
}

static magpie_status backward_task(void *context, size_t task, unsigned worker) {
    fusion_network *net = context;
    const fusion_piece p = fusion_piece_of(net, task);
    size_t d = net->layout.dimension;
    bool residual = net->layout.kind == FUSION_RESIDUAL;
    float *bias = net->biases + task * d, *dz = net->dz + (residual ? p.row : worker * FUSION_BLOCK) * d;
    magpie_status status = multiply_slopes(net, &p, net->scratch + worker * net->scratch_size, dz);
    memset(bias, 0, d * sizeof *bias);
    net->scales[task] = net->weights[task] = 0;
    for (size_t i = 0; i < p.n; i++)
        if (net->view[p.modality].has[p.item + i])
            slopes_of_row(net, p.modality, p.item + i, p.row + i, dz + i * d, &net->scales[task],
                          &net->weights[task], bias);
        else /* of which all slopes are 0 */
            fusion_store(net, dz + i * d, 1, d, net->dy, (p.row + i) * d);
    return status;
}

/* The slopes of p, where they are not those of y. */
static magpie_status inner_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    const fusion_piece at = fusion_piece_of(net, task);
    size_t d = net->layout.dimension, first = at.row * d;
    float *dp = net->dp + first, *bias = net->biases + (fusion_count_pieces(net) + task) * d;
    magpie_status status =
        fusion_multiply(net, GEMM_NN, at.n, d, d, (gemm_matrix){net->dy, d}, first,
                        (gemm_matrix){net->matrices, d}, net->layout.inner[at.modality], dp, d);
    net->kernels->gelu_slope(net->p + first, dp, at.n * d);
    memset(bias, 0, d * sizeof *bias);
    for (size_t i = 0; i < at.n; i++) {
        net->kernels->add(dp + i * d, net->dz + first + i * d, 1 / net->length[at.row + i], d);
        net->kernels->add(bias, dp + i * d, 1, d);
    }
    fusion_store(net, dp, 1, at.n * d, net->dp_numbers, first);
    return status;
}

/* Rows of a matrix of parameters, the sum over the batch, slope by slope, of what went in. */
static magpie_status sum_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    const fusion_layout *l = &net->layout;
    size_t d = l->dimension, blocks = fusion_blocks(d, FUSION_BLOCK), m = task / blocks % MAGPIE_MODALITIES,
           first = task % blocks * FUSION_BLOCK, n = fusion_least(d - first, FUSION_BLOCK);
    const fusion_view *v = &net->view[m];
    if (!v->n) return MAGPIE_OK;
    bool inner = task >= blocks * MAGPIE_MODALITIES, outer_of_two = !inner && l->kind == FUSION_RESIDUAL;
    size_t input = inner ? d : l->input[m], at = v->row * d;
    float *matrix = net->gradient + (inner ? l->inner[m] : l->matrix[m]) + first * input;
    const gemm_matrix slopes = {outer_of_two ? net->dp_numbers : net->dy, d},
                      in = {inner ? net->g : v->x, input};
    return fusion_multiply(net, GEMM_TN, n, input, v->n, slopes, at + first, in, inner ? at : 0, matrix,
                           input);
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
    size_t pieces = fusion_count_pieces(net), layers = l->kind == FUSION_RESIDUAL ? 2 : 1;
    memset(net->gradient + l->decayed, 0, (l->count - l->decayed) * sizeof *net->gradient);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) forget_matrices(net, m);
    if (!net->examples) return MAGPIE_OK;
    magpie_status status = magpie_pool_run(net->pool, pieces, backward_task, net);
    if (status == MAGPIE_OK && layers == 2) status = magpie_pool_run(net->pool, pieces, inner_task, net);
    if (status == MAGPIE_OK)
        status = magpie_pool_run(
            net->pool, layers * MAGPIE_MODALITIES * fusion_blocks(l->dimension, FUSION_BLOCK), sum_task, net);
    for (size_t i = 0; i < pieces; i++) {
        size_t m = fusion_piece_of(net, i).modality, d = l->dimension;
        net->gradient[l->scale] += (float)net->scales[i];
        net->gradient[l->weight + m] += (float)net->weights[i];
        net->kernels->add(net->gradient + (layers == 2 ? l->inner_bias[m] : l->bias[m]), net->biases + i * d,
                          1, d);
        if (layers == 2) net->kernels->add(net->gradient + l->bias[m], net->biases + (pieces + i) * d, 1, d);
    }
    return status;
}
