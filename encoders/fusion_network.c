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

bool fusion_has_bf16(void) { return fusion_training_kernels_level(0)->multiply[true]; }

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

/* Panels of a matrix, or turned ones of its transpose. */
static uint32_t *lay_out_panels(const fusion_network *net, magpie_block *block, size_t rows, size_t columns) {
    return magpie_carve(block, fusion_panels(net, columns) * net->kernels->panel * fusion_units(net, rows),
                        sizeof(uint32_t));
}

static void lay_out_view(fusion_network *net, size_t m, magpie_block *block) {
    fusion_view *view = &net->view[m];
    view->has = magpie_carve(block, net->most + FUSION_TILE, sizeof *view->has);
    view->x = lay_out_panels(net, block, rounded(net->most), net->layout.input[m]);
    net->rows += rounded(net->most);
    net->matrix[m] = lay_out_panels(net, block, net->layout.input[m], net->layout.dimension);
    if (net->layout.kind != FUSION_RESIDUAL) return;
    net->inner[m] = lay_out_panels(net, block, net->layout.dimension, net->layout.dimension);
    net->inner_back[m] = lay_out_panels(net, block, net->layout.dimension, net->layout.dimension);
}

static void lay_out_pair(fusion_network *net, fusion_pair *pair, magpie_block *block) {
    size_t n = net->most;
    pair->holes = magpie_carve(block, n, sizeof *pair->holes);
    pair->sums = magpie_carve(block, n, sizeof *pair->sums);
    pair->columns = magpie_carve(block, fusion_blocks(n, FUSION_ITEMS) * n, sizeof *pair->columns);
}

static void lay_out_rows(fusion_network *net, magpie_block *block) {
    size_t rows = net->rows, d = net->layout.dimension;
    net->y = magpie_carve(block, rows * d, sizeof *net->y);
    net->length = magpie_carve(block, rows, sizeof *net->length);
    net->z = lay_out_panels(net, block, rows, d);
    net->z_turned = lay_out_panels(net, block, d, rows);
    net->dy = magpie_carve(block, rows * fusion_units(net, d), sizeof *net->dy);
    net->gram = magpie_carve(block, rows * net->stride, sizeof *net->gram);
    if (net->layout.kind != FUSION_RESIDUAL) return;
    net->p = magpie_carve(block, rows * d, sizeof *net->p);
    net->g = lay_out_panels(net, block, rows, d);
    net->dp = magpie_carve(block, rows * fusion_units(net, d), sizeof *net->dp);
}

/* What threads work in: rows of a matrix; rows going into a head and coming out; slopes of an item's products,
 * a row of its logits and a block of items' slopes; panels of slopes. */
static void lay_out_scratch(fusion_network *net, magpie_block *block) {
    size_t d = net->layout.dimension, widest = d;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        if (widest < net->layout.input[m]) widest = net->layout.input[m];
    const size_t sizes[] = {net->kernels->panel * widest, FUSION_BLOCK * (widest + d),
                            MAGPIE_MODALITIES * (net->stride + FUSION_ITEMS * (net->rows + d)) + net->most +
                                FUSION_ITEMS * d,
                            FUSION_SUMMED * rounded(net->most)};
    net->scratch_size = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (net->scratch_size < sizes[i]) net->scratch_size = rounded(sizes[i]);
    net->scratch =
        magpie_carve(block, magpie_pool_threads(net->pool) * net->scratch_size, sizeof *net->scratch);
}

static void lay_out(fusion_network *net, magpie_block *block) {
    size_t n = net->most, blocks = fusion_blocks(n, FUSION_ITEMS);
    net->rows = 0;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        if (net->layout.input[m]) lay_out_view(net, m, block);
    net->stride = fusion_stride(net->rows);
    for (size_t i = 0; i < FUSION_PAIRS; i++)
        if (net->pair[i].a != net->pair[i].b) lay_out_pair(net, &net->pair[i], block);
    lay_out_rows(net, block);
    lay_out_scratch(net, block);
    net->same = magpie_carve(block, n, sizeof *net->same);
    net->last = magpie_carve(block, fusion_places(n), sizeof *net->last);
    net->sets = magpie_carve(block, n, sizeof *net->sets);
    net->items = magpie_carve(block, n, sizeof *net->items);
    net->place = magpie_carve(block, n, sizeof *net->place);
    net->fused_inverse = magpie_carve(block, n, sizeof *net->fused_inverse);
    net->fused_products = magpie_carve(block, n * MAGPIE_MODALITIES, sizeof *net->fused_products);
    net->shares = magpie_carve(block, n * MAGPIE_MODALITIES, sizeof *net->shares);
    net->losses = magpie_carve(block, blocks, sizeof *net->losses);
    net->scales = magpie_carve(block, blocks, sizeof *net->scales);
    net->weights = magpie_carve(block, blocks * MAGPIE_MODALITIES, sizeof *net->weights);
    net->biases =
        magpie_carve(block, blocks * MAGPIE_MODALITIES * 2 * net->layout.dimension, sizeof *net->biases);
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
    net->bf16 = bf16 && fusion_has_bf16();
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

void fusion_store(const fusion_network *net, const float *x, float scale, size_t n, uint32_t *row) {
    row[fusion_units(net, n) - 1] = 0;
    if (net->bf16)
        net->kernels->narrow(x, scale, n, (uint16_t *)row);
    else
        for (size_t i = 0; i < n; i++) ((float *)row)[i] = x[i] * scale;
}

/* ---- the stages ---- */

/* Outputs first .. of a matrix of parameters as numbers, in panels. */
static void pack_matrix(const fusion_network *net, size_t matrix, size_t input, size_t first,
                        uint32_t *turned, uint32_t *back, uint32_t *numbers) {
    size_t d = net->layout.dimension, panel = net->kernels->panel, n = fusion_least(d - first, panel),
           units = fusion_units(net, input);
    for (size_t i = 0; i < n; i++)
        fusion_store(net, net->parameters + matrix + (first + i) * input, 1, input, numbers + i * units);
    net->kernels->pack_turned(numbers, n, units, first, turned);
    if (back)
        net->kernels->pack[net->bf16](numbers, units * sizeof *numbers / net->number, n, input,
                                      fusion_units(net, d), back + fusion_units(net, first) * panel);
}

/* The plan, and beside it the matrices. */
static magpie_status begin_task(void *context, size_t task, unsigned worker) {
    fusion_network *net = context;
    const fusion_layout *l = &net->layout;
    if (task == 0) {
        fusion_plan(net);
        return MAGPIE_OK;
    }
    size_t panels = fusion_panels(net, l->dimension), m = (task - 1) / panels,
           first = (task - 1) % panels * net->kernels->panel;
    uint32_t *numbers = (uint32_t *)(net->scratch + worker * net->scratch_size);
    if (l->input[m]) pack_matrix(net, l->matrix[m], l->input[m], first, net->matrix[m], NULL, numbers);
    if (net->inner[m])
        pack_matrix(net, l->inner[m], l->dimension, first, net->inner[m], net->inner_back[m], numbers);
    return MAGPIE_OK;
}

magpie_status fusion_network_project(fusion_network *net, const fusion_batch *batch,
                                     const float *parameters) {
    net->batch = batch;
    net->parameters = parameters;
    net->scale = expf(parameters[net->layout.scale]);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) net->weight[m] = expf(parameters[net->layout.weight + m]);
    if (batch->n > net->most) return magpie_fail(MAGPIE_E_ARGUMENT, "a batch of %zu items", batch->n);
    magpie_status status = magpie_pool_run(
        net->pool, 1 + MAGPIE_MODALITIES * fusion_panels(net, net->layout.dimension), begin_task, net);
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
    if (status == MAGPIE_OK) status = fusion_contrast(network);
    return status == MAGPIE_OK ? fusion_backward(network, loss) : status;
}
