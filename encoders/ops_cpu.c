/* ops_cpu.c - the operations on the CPU: matrix products by oneDNN, everything between them by our SIMD
 * kernels.
 *
 * Streams of activations are f32 or bf16, sums are f32; maps of pictures may be of 8 bits (dnnl_conv.h). A lane is one
 * worker thread with operations of one thread each (throughput: no barriers at all), or one caller whose matrix
 * products use all threads (latency of a short text, which is the time that the weights take to come out of memory; the
 * rest is too small to share). */
#include "ops_cpu.h"

#include <stdlib.h>
#include <string.h>

enum { CACHE_LINE = 64, PREFETCH_BYTES = 256 << 10 /* of a text; half a second-level cache at the most */ };

static magpie_precision resolve(magpie_precision wanted) {
    if (wanted != MAGPIE_PRECISION_AUTO) return wanted;
    return onednn_native_bf16() ? MAGPIE_PRECISION_BF16 : MAGPIE_PRECISION_F32;
}

static magpie_status device_create(const ops_table *table, magpie_precision precision, size_t index,
                                   ops_device **out) {
    (void)index;
    if (precision == MAGPIE_PRECISION_F16)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "f16 is for GPUs; the CPU has f32 and bf16");
    bool int8 = precision == MAGPIE_PRECISION_INT8;
    magpie_status status = int8 ? onednn_check_int8() : MAGPIE_OK;
    if (status != MAGPIE_OK) return status;
    ops_device *device = magpie_alloc(1, sizeof *device);
    if (!device) return MAGPIE_E_NO_MEMORY;
    device->table = table;
    device->simd = simd_kernels();
    device->bf16 = resolve(precision) == MAGPIE_PRECISION_BF16;
    device->int8 = int8;
    status = onednn_device_create(device->bf16, int8, &device->onednn);
    if (status == MAGPIE_OK)
        *out = device;
    else
        free(device);
    return status;
}

static void device_free(ops_device *device) {
    if (!device) return;
    onednn_device_free(device->onednn);
    free(device);
}

static magpie_precision device_precision(const ops_device *device) {
    return device->int8 ? MAGPIE_PRECISION_INT8 : device->bf16 ? MAGPIE_PRECISION_BF16 : MAGPIE_PRECISION_F32;
}

/* ---- what outlives a batch ---- */

static void linear_free(ops_linear *linear) {
    if (!linear) return;
    matmul_weights_free(linear->weights);
    free(linear);
}

static bool readable_in_place(const tensor *tensor) {
    return tensor->type == TENSOR_F32 && (uintptr_t)tensor->data % _Alignof(float) == 0;
}

/* Part `p` as rows of [columns_out, columns_in]. */
static void read_rows(const ops_linear_source *source, size_t p, size_t k, float *rows) {
    const tensor *weight = source->weight[p];
    if (!source->transposed) {
        tensor_read_f32(weight, 0, weight->elements, rows);
        return;
    }
    size_t n = weight->shape[1];
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < n; j++) tensor_read_f32(weight, i * n + j, 1, rows + j * k + i);
}

static magpie_status linear_create(ops_device *device, const ops_linear_source *source, ops_linear **out) {
    size_t across = source->transposed ? 1 : 0; /* which dimension of a weight goes over the outputs */
    size_t n = 0, k = source->weight[0]->shape[1 - across], row = 0;
    for (size_t p = 0; p < source->parts; p++) n += source->weight[p]->shape[across];
    bool gelu = source->activation == OPS_GELU;
    /* oneDNN packs out of the map itself, unless rows have to be stacked, turned or widened first. */
    bool in_place = source->parts == 1 && !source->transposed && readable_in_place(source->weight[0]);
    float *stacked = in_place ? NULL : magpie_alloc(n * k, sizeof *stacked);
    float *bias = magpie_alloc(n, sizeof *bias);
    ops_linear *linear = magpie_alloc(1, sizeof *linear);
    magpie_status status = bias && linear && (in_place || stacked) ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t p = 0; status == MAGPIE_OK && p < source->parts; p++) {
        if (stacked) read_rows(source, p, k, stacked + row * k);
        if (source->bias[p]) tensor_read_f32(source->bias[p], 0, source->bias[p]->elements, bias + row);
        row += source->weight[p]->shape[across];
    }
    if (status == MAGPIE_OK)
        status = matmul_weights_create(device->onednn, n, k, in_place ? source->weight[0]->data : stacked,
                                       bias, gelu ? OPS_IDENTITY : source->activation,
                                       source->output == OPS_SUM, &linear->weights);
    free(stacked);
    free(bias);
    if (linear) linear->gelu = gelu;
    if (status == MAGPIE_OK)
        *out = linear;
    else
        linear_free(linear);
    return status;
}

static void norm_free(ops_norm *norm) {
    if (!norm) return;
    free(norm->gamma);
    free(norm);
}

static magpie_status norm_create(ops_device *device, const tensor *gamma, const tensor *beta, float epsilon,
                                 ops_norm **out) {
    (void)device;
    size_t n = gamma->elements;
    ops_norm *norm = magpie_alloc(1, sizeof *norm);
    if (!norm) return MAGPIE_E_NO_MEMORY;
    *norm = (ops_norm){.columns = n, .epsilon = epsilon, .gamma = magpie_alloc(2 * n, sizeof(float))};
    if (!norm->gamma) {
        norm_free(norm);
        return MAGPIE_E_NO_MEMORY;
    }
    norm->beta = norm->gamma + n;
    tensor_read_f32(gamma, 0, n, norm->gamma);
    tensor_read_f32(beta, 0, n, norm->beta);
    *out = norm;
    return MAGPIE_OK;
}

/* ---- lanes ---- */

static void lane_free(ops_lane *lane) {
    if (!lane) return;
    for (size_t i = 0; i < lane->count; i++) free(lane->memory[i]);
    free(lane->memory);
    free(lane->scratch);
    matmul_lane_free(lane->matmul);
    conv_lane_free(lane->conv);
    onednn_queue_free(lane->queue);
    free(lane);
}

static magpie_status lane_create(ops_device *device, unsigned threads, ops_lane **out) {
    ops_lane *lane = magpie_alloc(1, sizeof *lane);
    if (!lane) return MAGPIE_E_NO_MEMORY;
    lane->device = device;
    magpie_status status = onednn_queue_create(device->onednn, threads, &lane->queue);
    if (status == MAGPIE_OK) status = matmul_lane_create(lane->queue, &lane->matmul);
    if (status == MAGPIE_OK) status = conv_lane_create(lane->queue, &lane->conv);
    if (status == MAGPIE_OK)
        *out = lane;
    else
        lane_free(lane);
    return status;
}

static magpie_status take_memory(ops_lane *lane, size_t elements, size_t size, void **out) {
    magpie_status status =
        magpie_grow((void **)&lane->memory, &lane->capacity, lane->count + 1, sizeof *lane->memory);
    if (status != MAGPIE_OK) return status;
    void *data = magpie_alloc_large(elements, size);
    if (!data) return MAGPIE_E_NO_MEMORY;
    memset(data, 0, elements * size); /* rows that only round the height are numbers, too */
    *out = lane->memory[lane->count++] = data;
    return MAGPIE_OK;
}

static magpie_status tensor_create(ops_lane *lane, size_t rows, size_t columns, ops_storage storage,
                                   ops_tensor *out) {
    size_t elements;
    if (!magpie_size_mul(matmul_height(rows), columns, &elements))
        return magpie_fail(MAGPIE_E_NO_MEMORY, "a tensor is too large");
    *out = (ops_tensor){NULL, rows, columns, storage};
    return take_memory(lane, elements, ops_cpu_element(lane, storage), &out->handle);
}

static magpie_status map_create(ops_lane *lane, size_t elements, ops_map *out) {
    *out = (ops_map){0};
    size_t size = lane->device->int8 ? 1 : ops_cpu_element(lane, OPS_STREAM);
    return take_memory(lane, elements, size, &out->handle);
}

static magpie_status need_scratch(ops_lane *lane, size_t floats) {
    if (floats <= lane->scratch_floats) return MAGPIE_OK;
    float *larger = magpie_alloc(floats, sizeof *larger);
    if (!larger) return MAGPIE_E_NO_MEMORY;
    free(lane->scratch);
    lane->scratch = larger;
    lane->scratch_floats = floats;
    return MAGPIE_OK;
}

/* ---- operations ---- */

static magpie_status rows_load(ops_lane *lane, const float *values, size_t count, ops_tensor *y) {
    size_t n = count * y->columns;
    if (ops_cpu_bf16(lane, y->storage))
        for (size_t i = 0; i < n; i++) ((uint16_t *)y->handle)[i] = ops_cpu_narrow(values[i]);
    else
        memcpy(y->handle, values, n * sizeof *values);
    return MAGPIE_OK;
}

static magpie_status embed(ops_lane *lane, const ops_embedding *embedding, const int32_t *ids,
                           const size_t *starts, size_t texts, ops_tensor *y) {
    size_t n = y->columns;
    const ops_norm *norm = embedding->norm;
    magpie_status status = need_scratch(lane, 3 * n);
    if (status != MAGPIE_OK) return status;
    float *row = lane->scratch, *part = row + n, *type = part + n;
    memset(type, 0, n * sizeof *type);
    if (embedding->type) tensor_read_f32(embedding->type, 0, n, type);
    for (size_t t = 0; t < texts; t++) {
        for (size_t i = starts[t]; i < starts[t + 1]; i++) {
            float *sum = norm ? row : ops_cpu_at(lane, y, i, 0);
            tensor_read_f32(embedding->word, (size_t)ids[i] * n, n, sum);
            tensor_read_f32(embedding->position, (i - starts[t]) * n, n, part);
            for (size_t j = 0; j < n; j++) sum[j] = sum[j] + part[j] + type[j];
            if (norm)
                lane->device->simd->norm(sum, norm->gamma, norm->beta, norm->epsilon, n, lane->device->bf16,
                                         ops_cpu_at(lane, y, i, 0));
        }
    }
    return MAGPIE_OK;
}

static magpie_status linear(ops_lane *lane, const ops_linear *linear, const ops_tensor *x, size_t rows,
                            ops_tensor *y) {
    magpie_status status = matmul_run(lane->matmul, linear->weights, x->handle, rows, y->handle);
    if (status == MAGPIE_OK && linear->gelu)
        lane->device->simd->gelu(y->handle, rows * y->columns, ops_cpu_bf16(lane, y->storage));
    return status;
}

static magpie_status add_norm(ops_lane *lane, const ops_norm *norm, ops_tensor *x, const ops_tensor *residual,
                              size_t rows, ops_tensor *y) {
    const simd_table *simd = lane->device->simd;
    for (size_t i = 0; i < rows; i++) {
        float *sum = ops_cpu_at(lane, x, i, 0);
        if (residual)
            simd->add(sum, ops_cpu_at(lane, residual, i, 0), norm->columns,
                      ops_cpu_bf16(lane, residual->storage));
        simd->norm(sum, norm->gamma, norm->beta, norm->epsilon, norm->columns, ops_cpu_bf16(lane, y->storage),
                   ops_cpu_at(lane, y, i, 0));
    }
    return MAGPIE_OK;
}

/* Heads read narrow columns of rows that are far apart, which the CPU does not foresee: it is told. */
static void prefetch(const char *from, const char *end) {
    if (end - from > PREFETCH_BYTES) end = from + PREFETCH_BYTES;
    for (; from < end; from += CACHE_LINE) __builtin_prefetch(from, 0, 2);
}

static magpie_status attention(ops_lane *lane, const ops_tensor *qkv, const size_t *starts, size_t texts,
                               size_t heads, bool causal, ops_tensor *y) {
    size_t hidden = y->columns, d = hidden / heads, longest = 0;
    for (size_t t = 0; t < texts; t++)
        if (starts[t + 1] - starts[t] > longest) longest = starts[t + 1] - starts[t];
    magpie_status status = need_scratch(lane, simd_attention_scratch(longest, d));
    if (status != MAGPIE_OK) return status;
    for (size_t t = 0; t < texts; t++) {
        prefetch(ops_cpu_at(lane, qkv, starts[t], 0), ops_cpu_at(lane, qkv, starts[t + 1], 0));
        for (size_t h = 0; h < heads; h++)
            lane->device->simd->attention(
                ops_cpu_at(lane, qkv, starts[t], h * d), ops_cpu_at(lane, qkv, starts[t], hidden + h * d),
                ops_cpu_at(lane, qkv, starts[t], 2 * hidden + h * d), qkv->columns, starts[t + 1] - starts[t],
                d, causal, lane->device->bf16, lane->scratch, ops_cpu_at(lane, y, starts[t], h * d), hidden);
    }
    return MAGPIE_OK;
}

static magpie_status gather(ops_lane *lane, const ops_tensor *x, const size_t *rows, size_t count,
                            ops_tensor *y) {
    size_t bytes = x->columns * ops_cpu_element(lane, x->storage);
    for (size_t i = 0; i < count; i++)
        memcpy(ops_cpu_at(lane, y, i, 0), ops_cpu_at(lane, x, rows[i], 0), bytes);
    return MAGPIE_OK;
}

static magpie_status pool(ops_lane *lane, const ops_tensor *x, const size_t *starts, size_t texts,
                          ops_pooling pooling, bool unit, float *out) {
    const simd_table *simd = lane->device->simd;
    size_t n = x->columns;
    for (size_t t = 0; t < texts; t++) {
        simd->mean(ops_cpu_at(lane, x, starts[t], 0),
                   pooling == OPS_POOL_FIRST ? 1 : starts[t + 1] - starts[t], n,
                   ops_cpu_bf16(lane, x->storage), out + t * n);
        if (unit) simd->unit(out + t * n, n);
    }
    return MAGPIE_OK;
}

const ops_table ops_cpu = {
    .device_create = device_create,
    .device_free = device_free,
    .device_precision = device_precision,
    .linear_create = linear_create,
    .linear_free = linear_free,
    .norm_create = norm_create,
    .norm_free = norm_free,
    .lane_create = lane_create,
    .lane_free = lane_free,
    .tensor_create = tensor_create,
    .conv_create = ops_cpu_conv_create,
    .conv_free = ops_cpu_conv_free,
    .map_create = map_create,
    .rows_load = rows_load,
    .embed = embed,
    .linear = linear,
    .add_norm = add_norm,
    .attention = attention,
    .gather = gather,
    .pool = pool,
    .image_load = ops_cpu_image_load,
    .map_load = ops_cpu_map_load,
    .conv = ops_cpu_conv,
    .max_pool = ops_cpu_max_pool,
    .average_pool = ops_cpu_average_pool,
    .global_pool = ops_cpu_global_pool,
    .map_rows = ops_cpu_map_rows,
    .map_read = ops_cpu_map_read,
    .map_largest = ops_cpu_map_largest,
};
