/* fusion_network.c - parameters and buffers of training, and the order of its stages. */
#include "fusion_network.h"
#include "simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

extern const fusion_training_kernels fusion_training_kernels_base;
#ifdef MAGPIE_SIMD_X86
extern const fusion_training_kernels fusion_training_kernels_v3, fusion_training_kernels_v4,
    fusion_training_kernels_v4_bf16;
#endif

const fusion_training_kernels *fusion_training_kernels_level(size_t i) {
    const fusion_training_kernels *levels[4];
    size_t n = 0;
#ifdef MAGPIE_SIMD_X86
    if (simd_runs_v4_bf16()) levels[n++] = &fusion_training_kernels_v4_bf16;
    if (simd_runs_v4()) levels[n++] = &fusion_training_kernels_v4;
    if (simd_runs_v3()) levels[n++] = &fusion_training_kernels_v3;
#endif
    levels[n++] = &fusion_training_kernels_base;
    return i < n ? levels[i] : NULL;
}

/* ---- parameters ---- */

/* Takes `n` numbers; what is not there takes none. */
static size_t take(size_t *used, bool there, size_t n) {
    size_t at = *used;
    if (there) *used += n;
    return at;
}

fusion_layout fusion_layout_of(fusion_kind kind, size_t dimension, const size_t input[MAGPIE_MODALITIES]) {
    fusion_layout l = {.kind = kind, .dimension = dimension};
    size_t d = dimension, used = 0;
    bool residual = kind == FUSION_RESIDUAL;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        l.input[m] = input[m];
        l.matrix[m] = take(&used, input[m], d * input[m]);
        l.inner[m] = take(&used, input[m] && residual, d * d);
    }
    l.decayed = used;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        l.bias[m] = take(&used, input[m], d);
        l.inner_bias[m] = take(&used, input[m] && residual, d);
    }
    l.weight = take(&used, true, MAGPIE_MODALITIES);
    l.scale = take(&used, true, 1);
    l.count = used;
    return l;
}

/* Flat, of variance 1 / inputs, so that a component of y is about 1 as those of x are. */
static void fill_matrix(uint64_t seed, size_t outputs, size_t inputs, float *out) {
    double bound = sqrt(3 / (double)inputs);
    for (size_t i = 0; i < outputs * inputs; i++)
        out[i] = (float)(bound * (2 * (double)(magpie_random(&seed) >> 11) * 0x1p-53 - 1));
}

/* Texts are what people search by, and their encoder is good at it: its space is where the others are led
 * to, if it has the dimension. The second layer begins with nothing to add. */
void fusion_initialise(const fusion_layout *l, uint64_t seed, float temperature, float *parameters) {
    size_t d = l->dimension;
    memset(parameters, 0, l->count * sizeof *parameters);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        if (!l->input[m]) continue;
        if (m == MAGPIE_TEXT && l->input[m] == d)
            for (size_t i = 0; i < d; i++) parameters[l->matrix[m] + i * d + i] = 1;
        else
            fill_matrix(magpie_seed(seed, m), d, l->input[m], parameters + l->matrix[m]);
    }
    parameters[l->scale] = -logf(temperature);
}

/* ---- buffers ---- */

static size_t rounded(size_t n) { return fusion_blocks(n, FUSION_TILE) * FUSION_TILE; }

static void lay_out_view(fusion_network *net, size_t m, magpie_block *block) {
    fusion_view *view = &net->view[m];
    view->has = magpie_carve(block, net->most + FUSION_TILE, sizeof *view->has);
    view->x = magpie_carve(block, rounded(net->most) * net->layout.input[m], net->number);
    net->rows += rounded(net->most);
}

static void lay_out_pair(fusion_network *net, fusion_pair *pair, magpie_block *block) {
    size_t n = net->most;
    pair->holes = magpie_carve(block, n, sizeof *pair->holes);
    pair->sums = magpie_carve(block, n, sizeof *pair->sums);
    pair->columns = magpie_carve(block, fusion_blocks(n, FUSION_ITEMS) * n, sizeof *pair->columns);
}

static void lay_out_rows(fusion_network *net, magpie_block *block) {
    size_t rows = net->rows, d = net->layout.dimension;
    bool residual = net->layout.kind == FUSION_RESIDUAL;
    net->y = magpie_carve(block, rows * d, sizeof *net->y);
    net->length = magpie_carve(block, rows, sizeof *net->length);
    net->z = magpie_carve(block, rows * d, net->number);
    net->dz = magpie_carve(block, residual ? rows * d : magpie_pool_threads(net->pool) * FUSION_BLOCK * d,
                           sizeof *net->dz);
    net->dy = magpie_carve(block, rows * d, net->number);
    net->gram = magpie_carve(block, rows * net->stride, sizeof *net->gram);
    if (!residual) return;
    net->p = magpie_carve(block, rows * d, sizeof *net->p);
    net->g = magpie_carve(block, rows * d, net->number);
    net->dp = magpie_carve(block, rows * d, sizeof *net->dp);
    net->dp_numbers = magpie_carve(block, rows * d, net->number);
}

/* What threads work in: a row's slopes and its logits; or a block of slopes. */
static void lay_out_scratch(fusion_network *net, magpie_block *block) {
    size_t row = MAGPIE_MODALITIES * net->stride + net->most, slopes = FUSION_BLOCK * net->stride;
    if (net->scratch_size < row) net->scratch_size = row;
    if (net->scratch_size < slopes) net->scratch_size = slopes;
    net->scratch_size = rounded(net->scratch_size);
    net->scratch =
        magpie_carve(block, magpie_pool_threads(net->pool) * net->scratch_size, sizeof *net->scratch);
}

static void lay_out(fusion_network *net, magpie_block *block) {
    size_t n = net->most, blocks = fusion_blocks(n, FUSION_ITEMS),
           pieces = MAGPIE_MODALITIES * fusion_blocks(rounded(n), FUSION_BLOCK);
    net->rows = net->scratch_size = 0;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        if (net->layout.input[m]) lay_out_view(net, m, block);
    net->stride = fusion_stride(net->rows);
    for (size_t i = 0; i < FUSION_PAIRS; i++)
        if (net->pair[i].a != net->pair[i].b) lay_out_pair(net, &net->pair[i], block);
    lay_out_rows(net, block);
    lay_out_scratch(net, block);
    net->same = magpie_carve(block, n, sizeof *net->same);
    net->items = magpie_carve(block, n, sizeof *net->items);
    net->place = magpie_carve(block, n, sizeof *net->place);
    net->matrices = magpie_carve(block, net->layout.decayed, net->number);
    net->fused_length = magpie_carve(block, n, sizeof *net->fused_length);
    net->fused_products = magpie_carve(block, n * MAGPIE_MODALITIES, sizeof *net->fused_products);
    net->shares = magpie_carve(block, n * MAGPIE_MODALITIES, sizeof *net->shares);
    net->losses = magpie_carve(block, blocks, sizeof *net->losses);
    net->biases = magpie_carve(block, 2 * pieces * net->layout.dimension, sizeof *net->biases);
    net->scales = magpie_carve(block, pieces, sizeof *net->scales);
    net->weights = magpie_carve(block, pieces, sizeof *net->weights);
}

/* All pairs of views that there are heads for; the others stay 0, 0. */
static void name_pairs(fusion_network *net) {
    fusion_pair *pair = net->pair;
    for (size_t b = 0; b < MAGPIE_MODALITIES; b++)
        for (size_t a = 0; a <= FUSION_FUSED; a++)
            if (net->layout.input[b] && (a == FUSION_FUSED || (a < b && net->layout.input[a])))
                *pair++ = (fusion_pair){.a = a, .b = b};
}

magpie_status fusion_network_create(const fusion_layout *layout, size_t most, bool bf16, magpie_pool *pool,
                                    fusion_network **out) {
    fusion_network *net = magpie_alloc(1, sizeof *net);
    if (!net) return MAGPIE_E_NO_MEMORY;
    net->layout = *layout;
    net->most = most;
    net->bf16 = bf16 && gemm_has_bf16();
    net->number = net->bf16 ? sizeof(uint16_t) : sizeof(float);
    net->pool = pool;
    net->kernels = fusion_training_kernels_level(0);
    name_pairs(net);
    lay_out(net, &net->block);
    magpie_status status = magpie_block_alloc(&net->block);
    if (status != MAGPIE_OK) {
        free(net);
        return status;
    }
    lay_out(net, &net->block);
    *out = net;
    return MAGPIE_OK;
}

void fusion_network_free(fusion_network *network) {
    if (!network) return;
    magpie_block_free(&network->block);
    free(network);
}

size_t fusion_network_dimension(const fusion_network *network) { return network->layout.dimension; }
size_t fusion_network_most(const fusion_network *network) { return network->most; }

/* ---- numbers ---- */

void fusion_store(const fusion_network *net, const float *x, float scale, size_t n, void *numbers,
                  size_t at) {
    if (net->bf16)
        net->kernels->narrow(x, scale, n, (uint16_t *)numbers + at);
    else
        for (size_t i = 0; i < n; i++) ((float *)numbers)[at + i] = x[i] * scale;
}

magpie_status fusion_multiply(const fusion_network *net, gemm_form form, size_t m, size_t n, size_t k,
                              gemm_matrix a, size_t a_at, gemm_matrix b, size_t b_at, float *c,
                              size_t stride) {
    a.values = (const char *)a.values + a_at * net->number;
    b.values = (const char *)b.values + b_at * net->number;
    return gemm(form, net->bf16, m, n, k, a, b, c, stride);
}

/* ---- the stages ---- */

enum { SHARE = 16384 /* parameters a task */ };

/* The plan, and beside it the matrices as numbers. */
static magpie_status begin_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    fusion_network *net = context;
    if (task == 0) return fusion_plan(net);
    size_t at = (task - 1) * SHARE;
    fusion_store(net, net->parameters + at, 1, fusion_least(net->layout.decayed - at, SHARE), net->matrices,
                 at);
    return MAGPIE_OK;
}

magpie_status fusion_network_project(fusion_network *net, const fusion_batch *batch,
                                     const float *parameters) {
    net->batch = batch;
    net->parameters = parameters;
    net->scale = expf(parameters[net->layout.scale]);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) net->weight[m] = expf(parameters[net->layout.weight + m]);
    if (batch->n > net->most) return magpie_fail(MAGPIE_E_ARGUMENT, "a batch of %zu items", batch->n);
    magpie_status status =
        magpie_pool_run(net->pool, 1 + fusion_blocks(net->layout.decayed, SHARE), begin_task, net);
    return status == MAGPIE_OK ? fusion_forward(net) : status;
}

bool fusion_network_vector(const fusion_network *net, magpie_modality modality, size_t i, float *out) {
    size_t d = net->layout.dimension, item = net->place[i];
    if (!fusion_has(net, modality, item)) return false;
    size_t row = fusion_row(net, modality, item);
    for (size_t j = 0; j < d; j++) out[j] = net->y[row * d + j] / net->length[row];
    return true;
}

magpie_status fusion_network_loss(fusion_network *network, const fusion_batch *batch, const float *parameters,
                                  float *gradient, double *loss) {
    magpie_status status = fusion_network_project(network, batch, parameters);
    network->gradient = gradient;
    if (status == MAGPIE_OK) status = fusion_contrast(network, loss);
    return status == MAGPIE_OK ? fusion_backward(network) : status;
}
