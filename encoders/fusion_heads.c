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

enum { AHEAD = 4 /* items whose features are fetched */ };

/* Rows of what a head is given. What dropout leaves is enlarged by what it leaves out, so that sums stay as
 * they are on the average. */
static void gather(const fusion_network *net, const fusion_piece *p, uint32_t *x) {
    const fusion_batch *batch = net->batch;
    size_t m = p->modality, input = net->layout.input[m], units = fusion_units(net, input);
    for (size_t i = p->item; i < p->item + p->n; i++, x += units) {
        x[units - 1] = 0;
        if (!net->view[m].has[i]) memset(x, 0, units * sizeof *x);
        if (!net->view[m].has[i]) continue;
        for (size_t k = 0; batch->of->numbers[m] && k < units && i + AHEAD < batch->n; k += FUSION_TILE)
            __builtin_prefetch((const uint32_t *)batch->of->numbers[m][net->items[i + AHEAD]] + k);
        if (batch->of->numbers[m])
            memcpy(x, batch->of->numbers[m][net->items[i]], input * sizeof(uint16_t));
        else
            fusion_store(net, batch->of->features[m][net->items[i]], fusion_enlarged(input, batch->dropout),
                         input, x);
        if (batch->dropout > 0)
            drop_out(x, net->number, input, batch->dropout,
                     magpie_seed(batch->noise, i * MAGPIE_MODALITIES + m));
    }
}

/* c [m, n] becomes rows a [m, inputs] times panels of the same depth. */
static void multiply_rows(const fusion_network *net, const uint32_t *a, size_t m, size_t inputs,
                          const uint32_t *panels, size_t n, float *c) {
    size_t units = fusion_units(net, inputs);
    net->kernels->multiply[net->bf16](&(fusion_product){.m = m,
                                                        .n = n,
                                                        .units = units,
                                                        .a = a,
                                                        .row = units,
                                                        .b = panels,
                                                        .depth = units,
                                                        .c = c,
                                                        .stride = n});
}

/* Rows of numbers [n, columns] as rows row .. of panels of `rows`. */
static void pack(const fusion_network *net, const uint32_t *x, size_t n, size_t columns, size_t row,
                 size_t rows, uint32_t *panels) {
    net->kernels->pack[net->bf16](x, fusion_units(net, columns) * sizeof *x / net->number, n, columns,
                                  fusion_units(net, rows),
                                  panels + fusion_units(net, row) * net->kernels->panel);
}

/* A y of nothing has no direction, and stays nothing. z: room for rows of numbers. */
static void make_units(const fusion_network *net, const fusion_piece *p, const float *bias, uint32_t *z) {
    size_t d = net->layout.dimension, units = fusion_units(net, d);
    for (size_t k = 0; k < p->n; k++) {
        float *y = net->y + (p->row + k) * d;
        net->kernels->add(y, bias, 1, d);
        if (!net->view[p->modality].has[p->item + k]) {
            memset(y, 0, d * sizeof *y);
            memset(net->dy + (p->row + k) * units, 0, units * sizeof *net->dy);
            if (net->dp) memset(net->dp + (p->row + k) * units, 0, units * sizeof *net->dp);
        }
        float length = fmaxf(sqrtf(net->kernels->dot(y, y, d)), 1e-12f);
        net->length[p->row + k] = length;
        fusion_store(net, y, 1 / length, d, z + k * units);
    }
    net->kernels->pack_turned(z, p->n, units, p->row, net->z_turned);
    pack(net, z, p->n, d, p->row, net->rows, net->z);
}

static magpie_status forward_task(void *context, size_t task, unsigned worker) {
    fusion_network *net = context;
    const fusion_layout *l = &net->layout;
    const fusion_piece at = fusion_piece_of(net, task);
    const fusion_view *v = &net->view[at.modality];
    size_t d = l->dimension, m = at.modality, input = l->input[m], first = at.row * d;
    bool residual = l->kind == FUSION_RESIDUAL;
    float *y = net->y + first, *p = residual ? net->p + first : y;
    uint32_t *x = (uint32_t *)(net->scratch + worker * net->scratch_size),
             *numbers = x + FUSION_BLOCK * fusion_units(net, input);
    gather(net, &at, x);
    pack(net, x, at.n, input, at.item - v->first, v->n, v->x);
    multiply_rows(net, x, at.n, input, net->matrix[m], d, p);
    if (residual) {
        for (size_t i = 0; i < at.n; i++) {
            net->kernels->add(p + i * d, net->parameters + l->bias[m], 1, d);
            net->kernels->gelu(p + i * d, y + i * d, d);
            fusion_store(net, y + i * d, 1, d, numbers + i * fusion_units(net, d));
        }
        pack(net, numbers, at.n, d, at.row, net->rows, net->g);
        multiply_rows(net, numbers, at.n, d, net->inner[m], d, y);
        net->kernels->add(y, p, 1, at.n * d);
    }
    make_units(net, &at, net->parameters + (residual ? l->inner_bias[m] : l->bias[m]), numbers);
    return MAGPIE_OK;
}

magpie_status fusion_forward(fusion_network *net) {
    return magpie_pool_run(net->pool, fusion_count_pieces(net), forward_task, net);
}

/* ---- backwards ---- */

/* Of a block of items, the rows of a view. */
typedef struct block_rows {
    size_t count, item[FUSION_ITEMS];
    uint32_t *slopes; /* units of rows: where those of the next one's products with all go */
    float *dz;        /* [count, dimension]: of themselves, later of y times its length */
} block_rows;

/* From the slopes of a row of z, of item i, to those of y, times its length. A cosine has a slope times itself
 * in both of its vectors: the sum of z . dz is twice that of logits times their slopes, which is the slope of
 * log s. */
static void slopes_of_row(fusion_network *net, size_t m, size_t i, float *dz, double *scale, double *weight) {
    size_t d = net->layout.dimension, row = fusion_row(net, m, i);
    float inverse = net->fused_inverse[i], own = net->weight[m] * inverse;
    const double *shares = net->shares + i * MAGPIE_MODALITIES;
    double all = shares[MAGPIE_TEXT] + shares[MAGPIE_IMAGE] + shares[MAGPIE_AUDIO];
    float along = net->kernels->dot(net->y + row * d, dz, d) / net->length[row],
          along_f = net->fused_products[i * MAGPIE_MODALITIES + m], from_f = -(float)all * own * inverse,
          scales[FUSION_VIEWS] = {1};
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
    *weight += shares[m] - all * (double)(own * along_f * inverse);
    net->kernels->mix(dz, vectors, scales, count, d, d);
}

/* Of residual heads, from the slopes of y to those of p. dp: room for those of all rows from the block's first
 * to its last. */
static void slopes_of_inner(fusion_network *net, size_t m, const block_rows *block, float *dp, float *bias) {
    const fusion_training_kernels *k = net->kernels;
    size_t d = net->layout.dimension, units = fusion_units(net, d),
           first = fusion_row(net, m, block->item[0]),
           last = fusion_row(net, m, block->item[block->count - 1]);
    multiply_rows(net, net->dy + first * units, last + 1 - first, d, net->inner_back[m], d, dp);
    for (size_t i = 0; i < block->count; i++) {
        size_t row = fusion_row(net, m, block->item[i]);
        float *slopes = dp + (row - first) * d;
        k->gelu_slope(net->p + row * d, slopes, d);
        k->add(slopes, block->dz + i * d, 1 / net->length[row], d);
        k->add(bias, slopes, 1, d);
        fusion_store(net, slopes, 1, d, net->dp + row * units);
    }
}

static void slopes_of_block(fusion_network *net, size_t task, size_t m, const block_rows *block, float *dp) {
    size_t d = net->layout.dimension;
    float *bias = net->biases + (task * MAGPIE_MODALITIES + m) * 2 * d;
    memset(bias, 0, 2 * d * sizeof *bias);
    net->weights[task * MAGPIE_MODALITIES + m] = 0;
    for (size_t i = 0; i < block->count; i++) {
        size_t row = fusion_row(net, m, block->item[i]);
        float *dz = block->dz + i * d, inverse = 1 / net->length[row];
        slopes_of_row(net, m, block->item[i], dz, &net->scales[task],
                      &net->weights[task * MAGPIE_MODALITIES + m]);
        net->kernels->add(bias, dz, inverse, d);
        fusion_store(net, dz, inverse, d, net->dy + row * fusion_units(net, d));
    }
    if (net->layout.kind == FUSION_RESIDUAL && block->count) slopes_of_inner(net, m, block, dp, bias + d);
}

/* The slopes of a block of items: of their products, of their vectors, of what heads put out. */
static magpie_status backward_task(void *context, size_t task, unsigned worker) {
    fusion_network *net = context;
    size_t d = net->layout.dimension, units = fusion_units(net, net->rows), first = task * FUSION_ITEMS,
           end = fusion_least(first + FUSION_ITEMS, net->batch->n), count = 0;
    float *slopes = net->scratch + worker * net->scratch_size,
          *row = slopes + MAGPIE_MODALITIES * net->stride, *dp = row + net->most, *dz = dp + FUSION_ITEMS * d;
    uint32_t *numbers = (uint32_t *)(dz + MAGPIE_MODALITIES * FUSION_ITEMS * d);
    block_rows blocks[MAGPIE_MODALITIES];
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        blocks[m] = (block_rows){.slopes = numbers + count * units, .dz = dz + count * d};
        for (size_t i = first; i < end; i++)
            if (fusion_has(net, m, i)) blocks[m].item[blocks[m].count++] = i;
        count += blocks[m].count;
    }
    net->losses[task] = net->scales[task] = 0;
    for (size_t i = first; i < end; i++) {
        net->losses[task] += fusion_slopes(net, i, slopes, row);
        for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
            if (!fusion_has(net, m, i)) continue;
            fusion_store(net, slopes + m * net->stride, 1, net->rows, blocks[m].slopes);
            blocks[m].slopes += units;
        }
    }
    multiply_rows(net, numbers, count, net->rows, net->z, d, dz);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) slopes_of_block(net, task, m, &blocks[m], dp);
    return MAGPIE_OK;
}

/* Rows of a matrix of parameters: the sum over the batch, slope by slope, of what went in. */
static magpie_status sum_task(void *context, size_t task, unsigned worker) {
    fusion_network *net = context;
    const fusion_layout *l = &net->layout;
    size_t d = l->dimension, blocks = fusion_blocks(d, FUSION_SUMMED), m = task / blocks % MAGPIE_MODALITIES,
           first = task % blocks * FUSION_SUMMED, n = fusion_least(d - first, FUSION_SUMMED);
    const fusion_view *v = &net->view[m];
    if (!v->n) return MAGPIE_OK;
    bool inner = task >= blocks * MAGPIE_MODALITIES, outer_of_two = !inner && l->kind == FUSION_RESIDUAL;
    size_t input = inner ? d : l->input[m], units = fusion_units(net, v->n), row = fusion_units(net, d);
    uint32_t *slopes = (uint32_t *)(net->scratch + worker * net->scratch_size);
    const uint32_t *all = (outer_of_two ? net->dp : net->dy) + v->row * row;
    net->kernels->pack[net->bf16]((const char *)all + first * net->number, row * sizeof *all / net->number,
                                  v->n, n, units, slopes);
    net->kernels->multiply[net->bf16](
        &(fusion_product){.m = n,
                          .n = input,
                          .units = units,
                          .a = slopes,
                          .b = inner ? net->g + fusion_units(net, v->row) * net->kernels->panel : v->x,
                          .depth = inner ? fusion_units(net, net->rows) : units,
                          .c = net->gradient + (inner ? l->inner[m] : l->matrix[m]) + first * input,
                          .stride = input});
    return MAGPIE_OK;
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

magpie_status fusion_backward(fusion_network *net, double *loss) {
    const fusion_layout *l = &net->layout;
    size_t blocks = fusion_blocks(net->batch->n, FUSION_ITEMS), layers = l->kind == FUSION_RESIDUAL ? 2 : 1,
           d = l->dimension;
    memset(net->gradient + l->decayed, 0, (l->count - l->decayed) * sizeof *net->gradient);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) forget_matrices(net, m);
    *loss = 0;
    if (!net->examples) return MAGPIE_OK;
    magpie_status status = magpie_pool_run(net->pool, blocks, backward_task, net);
    if (status == MAGPIE_OK)
        status = magpie_pool_run(net->pool, layers * MAGPIE_MODALITIES * fusion_blocks(d, FUSION_SUMMED),
                                 sum_task, net);
    for (size_t i = 0; i < blocks && status == MAGPIE_OK; i++) {
        *loss += net->losses[i] / (double)net->examples;
        net->gradient[l->scale] += (float)net->scales[i];
        for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
            const float *bias = net->biases + (i * MAGPIE_MODALITIES + m) * 2 * d;
            if (!l->input[m]) continue;
            net->gradient[l->weight + m] += (float)net->weights[i * MAGPIE_MODALITIES + m];
            net->kernels->add(net->gradient + (layers == 2 ? l->inner_bias[m] : l->bias[m]), bias, 1, d);
            if (layers == 2) net->kernels->add(net->gradient + l->bias[m], bias + d, 1, d);
        }
    }
    return status;
}
