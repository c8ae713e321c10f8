/* fusion_network.c - parameters and buffers of training, and the order of its stages. */
#include "fusion_network.h"
#include "simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

extern const fusion_training_kernels fusion_training_kernels_base;
#ifdef MAGPIE_SIMD_X86
extern const fusion_training_kernels fusion_training_kernels_v3, fusion_training_kernels_v4;
#endif

const fusion_training_kernels *fusion_training_kernels_level(size_t i) {
    const fusion_training_kernels *levels[3];
    size_t n = 0;
#ifdef MAGPIE_SIMD_X86
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
        out[i] = (float)(bound * (2 * (double)(fusion_random(&seed) >> 11) * 0x1p-53 - 1));
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
            fill_matrix(fusion_seed(seed, m), d, l->input[m], parameters + l->matrix[m]);
    }
    parameters[l->scale] = -logf(temperature);
}

/* ---- buffers ---- */

static void lay_out_panels(fusion_network *net, size_t v, magpie_block *block) {
    fusion_view *view = &net->view[v];
    size_t n = net->most, d = net->layout.dimension;
    if (!net->bf16) return;
    view->z_across = magpie_carve(block, gemm_panel_words(n, d), sizeof *view->z_across);
    view->z_along = magpie_carve(block, gemm_panel_words(d, n), sizeof *view->z_along);
    if (v == FUSION_FUSED) return;
    view->matrix = magpie_carve(block, gemm_panel_words(d, net->layout.input[v]), sizeof *view->matrix);
    view->x_along = magpie_carve(block, gemm_panel_words(net->layout.input[v], n), sizeof *view->x_along);
}

static void lay_out_view(fusion_network *net, size_t v, magpie_block *block) {
    fusion_view *view = &net->view[v];
    size_t n = net->most, d = net->layout.dimension;
    bool head = v < MAGPIE_MODALITIES, residual = head && net->layout.kind == FUSION_RESIDUAL;
    view->rows = magpie_carve(block, n, sizeof *view->rows);
    view->at = magpie_carve(block, n, sizeof *view->at);
    view->z = magpie_carve(block, n * d, sizeof *view->z);
    view->dz = magpie_carve(block, n * d, sizeof *view->dz);
    view->length = magpie_carve(block, n, sizeof *view->length);
    if (head) view->x = magpie_carve(block, n * net->layout.input[v], sizeof *view->x);
    view->p = magpie_carve(block, n * d, sizeof *view->p);
    lay_out_panels(net, v, block);
    if (residual) view->g = magpie_carve(block, n * d, sizeof *view->g);
    if (residual) view->h = magpie_carve(block, n * d, sizeof *view->h);
}

static void lay_out_pair(fusion_network *net, fusion_pair *pair, magpie_block *block) {
    size_t n = net->most, d = net->layout.dimension;
    pair->of = magpie_carve(block, n, sizeof *pair->of);
    pair->at = magpie_carve(block, n, sizeof *pair->at);
    pair->copy_a = magpie_carve(block, n * d, sizeof *pair->copy_a);
    pair->copy_b = magpie_carve(block, n * d, sizeof *pair->copy_b);
    pair->da = magpie_carve(block, n * d, sizeof *pair->da);
    pair->db = magpie_carve(block, n * d, sizeof *pair->db);
    pair->e = magpie_carve(block, n * n, sizeof *pair->e);
    pair->own = magpie_carve(block, n, sizeof *pair->own);
    pair->row = magpie_carve(block, n, sizeof *pair->row);
    pair->sums = magpie_carve(block, fusion_blocks(n) * n, sizeof *pair->sums);
}

static void lay_out(fusion_network *net, magpie_block *block) {
    size_t blocks = fusion_blocks(net->most);
    for (size_t v = 0; v < FUSION_VIEWS; v++)
        if (v == FUSION_FUSED || net->layout.input[v]) lay_out_view(net, v, block);
    for (size_t i = 0; i < FUSION_PAIRS; i++)
        if (net->pair[i].a != net->pair[i].b) lay_out_pair(net, &net->pair[i], block);
    net->same = magpie_carve(block, net->most, sizeof *net->same);
    net->items = magpie_carve(block, net->most, sizeof *net->items);
    net->weights = magpie_carve(block, blocks * MAGPIE_MODALITIES, sizeof *net->weights);
    net->losses = magpie_carve(block, blocks * FUSION_PAIRS, sizeof *net->losses);
    net->scales = magpie_carve(block, blocks * FUSION_PAIRS, sizeof *net->scales);
}

/* All pairs of views that there are heads for; the others stay 0, 0. */
static void name_pairs(fusion_network *net) {
    size_t i = 0;
    for (size_t a = 0; a < MAGPIE_MODALITIES; a++)
        for (size_t b = a + 1; b < FUSION_VIEWS; b++, i++)
            if (net->layout.input[a] && (b == FUSION_FUSED || net->layout.input[b])) {
                net->pair[i].a = a;
                net->pair[i].b = b;
            }
}

magpie_status fusion_network_create(const fusion_layout *layout, size_t most, bool bf16, magpie_pool *pool,
                                    fusion_network **out) {
    fusion_network *net = magpie_alloc(1, sizeof *net);
    if (!net) return MAGPIE_E_NO_MEMORY;
    net->layout = *layout;
    net->most = most;
    net->bf16 = bf16 && gemm_has_bf16();
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

/* ---- the stages ---- */

static magpie_status begin(fusion_network *net, const fusion_batch *batch, const float *parameters,
                           bool sorted) {
    net->batch = batch;
    net->parameters = parameters;
    net->scale = expf(parameters[net->layout.scale]);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) net->weight[m] = expf(parameters[net->layout.weight + m]);
    if (batch->n > net->most) return magpie_fail(MAGPIE_E_ARGUMENT, "a batch of %zu items", batch->n);
    magpie_status status = fusion_plan(net, sorted);
    if (status == MAGPIE_OK) status = fusion_pack_matrices(net);
    return status == MAGPIE_OK ? fusion_forward(net) : status;
}

magpie_status fusion_network_loss(fusion_network *network, const fusion_batch *batch, const float *parameters,
                                  float *gradient, double *loss) {
    magpie_status status = begin(network, batch, parameters, true);
    network->gradient = gradient;
    if (status == MAGPIE_OK) status = fusion_pack_views(network);
    if (status == MAGPIE_OK) status = fusion_contrast(network, loss);
    return status == MAGPIE_OK ? fusion_backward(network) : status;
}

magpie_status fusion_network_views(fusion_network *network, const fusion_batch *batch,
                                   const float *parameters, fusion_views *out) {
    magpie_status status = begin(network, batch, parameters, false);
    for (size_t v = 0; v < FUSION_VIEWS; v++) {
        out->n[v] = network->view[v].n;
        out->z[v] = network->view[v].z;
        out->rows[v] = network->view[v].rows;
    }
    return status;
}
