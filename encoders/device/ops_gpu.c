/* ops_gpu.c - the operations on a GPU, on rows of tokens: kernels of ours (encoders/kernels/), and matrix
 * products by the device's library where the driver has one. */
#include "ops_gpu.h"
#include "ops_gpu_maps.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROWS_MAX = 1 << 24,
    HEAD_MAX = 64,
    BIAS_GROUP = 256 * 8, /* elements: kernels/matmul.cl */
    NORM_ROWS = 4         /* of a group: kernels/norm.cl */
};

/* ---- devices ---- */

static void device_free(ops_device *device) {
    if (!device) return;
    if (device->loader) device->driver->queue_free(device->loader);
    gpu_arena_free(&device->arena);
    device->driver->close(device->gpu);
    pthread_mutex_destroy(&device->lock);
    free(device->tables);
    free(device);
}

static magpie_status device_create(const ops_table *table, magpie_precision precision, size_t index,
                                   ops_device **out) {
    if (precision == MAGPIE_PRECISION_AUTO) precision = MAGPIE_PRECISION_BF16;
    if (precision == MAGPIE_PRECISION_INT8)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: int8 is for the CPU; GPUs have f32, bf16 and f16",
                           table->driver->name);
    gpu *g;
    magpie_status status = table->driver->open(index, precision, &g);
    if (status != MAGPIE_OK) return status;
    ops_device *device = magpie_alloc(1, sizeof *device);
    if (!device) return table->driver->close(g), MAGPIE_E_NO_MEMORY;
    device->table = table;
    device->gpu = g;
    device->driver = table->driver;
    device->precision = precision;
    device->arena.device = g;
    pthread_mutex_init(&device->lock, NULL);
    status = device->driver->queue_create(g, &device->loader);
    if (status == MAGPIE_OK)
        *out = device;
    else
        device_free(device);
    return status;
}

static magpie_precision device_precision(const ops_device *device) { return device->precision; }

/* ---- memory ---- */

static uint16_t bf16_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

/* To nearest, ties to even; what is too large becomes infinite. IEEE 754's binary16. */
static uint16_t f16_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    const uint32_t sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffff;
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below its smallest normal number: a multiple of 2^-24 */
        float scaled;
        memcpy(&scaled, &magnitude, sizeof scaled);
        return (uint16_t)(sign | (uint32_t)__builtin_rintf(scaled * 0x1p24f));
    }
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13));
}

/* Of weights, which are finite. */
static void *to_stream(magpie_precision precision, const float *values, size_t elements) {
    uint16_t *narrow = magpie_alloc(elements, sizeof *narrow);
    for (size_t i = 0; narrow && i < elements; i++)
        narrow[i] = precision == MAGPIE_PRECISION_BF16 ? bf16_of(values[i]) : f16_of(values[i]);
    return narrow;
}

magpie_status ops_gpu_upload(ops_device *device, const float *values, size_t elements, bool stream,
                             gpu_buffer *out) {
    const bool narrow = stream && device->precision != MAGPIE_PRECISION_F32;
    const size_t bytes = elements * (narrow ? sizeof(uint16_t) : sizeof(float));
    void *narrowed = narrow ? to_stream(device->precision, values, elements) : NULL;
    if (narrow && !narrowed) return MAGPIE_E_NO_MEMORY;
    pthread_mutex_lock(&device->lock);
    magpie_status status = gpu_arena_take(&device->arena, bytes, out);
    if (status == MAGPIE_OK)
        status = device->driver->write(device->loader, *out, 0, narrow ? narrowed : values, bytes);
    if (status == MAGPIE_OK)
        status = device->driver->finish(device->loader); /* other queues do not wait for it */
    pthread_mutex_unlock(&device->lock);
    free(narrowed);
    return status;
}

static bool find_table(const ops_device *device, const tensor *source, gpu_buffer *out) {
    for (size_t i = 0; i < device->count; i++)
        if (device->tables[i].source == source) return *out = device->tables[i].buffer, true;
    return false;
}

magpie_status ops_gpu_table_of(ops_device *device, const tensor *source, gpu_buffer *out) {
    pthread_mutex_lock(&device->lock);
    const bool found = find_table(device, source, out);
    pthread_mutex_unlock(&device->lock);
    if (found) return MAGPIE_OK;
    float *values = magpie_alloc(source->elements, sizeof *values);
    if (!values) return MAGPIE_E_NO_MEMORY;
    tensor_read_f32(source, 0, source->elements, values);
    magpie_status status = ops_gpu_upload(device, values, source->elements, false, out);
    free(values);
    if (status != MAGPIE_OK) return status;
    pthread_mutex_lock(&device->lock); /* two lanes may have uploaded it: one too many, once */
    status =
        magpie_grow((void **)&device->tables, &device->capacity, device->count + 1, sizeof *device->tables);
    if (status == MAGPIE_OK) device->tables[device->count++] = (struct ops_gpu_table){source, *out};
    pthread_mutex_unlock(&device->lock);
    return status;
}

magpie_status ops_gpu_room(ops_lane *lane, gpu_buffer *buffer, size_t bytes) {
    if (buffer->bytes >= bytes && buffer->handle) return MAGPIE_OK;
    /* The old one stays in the arena: twice as much, and all old ones together are no more than the new. */
    if (bytes < 2 * buffer->bytes) bytes = 2 * buffer->bytes;
    return gpu_arena_take(&lane->arena, bytes, buffer);
}

magpie_status ops_gpu_handle(ops_lane *lane, size_t bytes, void **handle) {
    gpu_buffer buffer;
    magpie_status status = gpu_arena_take(&lane->arena, bytes, &buffer);
    if (status != MAGPIE_OK) return status;
    gpu_buffer *kept = magpie_alloc(1, sizeof *kept);
    if (!kept) return MAGPIE_E_NO_MEMORY;
    *kept = buffer;
    status = magpie_grow((void **)&lane->handles, &lane->handle_capacity, lane->handle_count + 1,
                         sizeof *lane->handles);
    if (status != MAGPIE_OK) return free(kept), status;
    *handle = lane->handles[lane->handle_count++] = kept;
    return MAGPIE_OK;
}

/* ---- what outlives a batch ---- */

struct ops_linear {
    size_t in, out, padded;
    ops_activation activation;
    gpu_buffer weight, bias; /* [in, padded] stream, [out] */
    gpu_buffer stream_bias;  /* for products of the driver's */
};

struct ops_norm {
    size_t columns;
    float epsilon;
    gpu_buffer gamma, beta; /* [columns] */
};

/* Memory on the device is the device's, to its end. */
static void linear_free(ops_linear *linear) { free(linear); }

static void norm_free(ops_norm *norm) { free(norm); }

/* As [in, padded], `values` being zero. */
static magpie_status pack_part(const ops_linear_source *source, size_t part, size_t first,
                               const ops_linear *linear, float *values) {
    const tensor *weight = source->weight[part];
    const size_t in = linear->in, out = weight->elements / in;
    float *row = magpie_alloc(weight->elements, sizeof *row);
    if (!row) return MAGPIE_E_NO_MEMORY;
    tensor_read_f32(weight, 0, weight->elements, row);
    for (size_t i = 0; i < in; i++)
        for (size_t o = 0; o < out; o++)
            values[i * linear->padded + first + o] = row[source->transposed ? i * out + o : o * in + i];
    free(row);
    return MAGPIE_OK;
}

static magpie_status fill_linear(ops_device *device, const ops_linear_source *source, ops_linear *linear) {
    float *weight = magpie_alloc(linear->in * linear->padded, sizeof *weight),
          *bias = magpie_alloc(linear->out, sizeof *bias);
    magpie_status status = weight && bias ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t p = 0, first = 0; p < source->parts && status == MAGPIE_OK; p++) {
        status = pack_part(source, p, first, linear, weight);
        if (source->bias[p]) tensor_read_f32(source->bias[p], 0, source->bias[p]->elements, bias + first);
        first += source->weight[p]->elements / linear->in;
    }
    if (status == MAGPIE_OK)
        status = ops_gpu_upload(device, weight, linear->in * linear->padded, true, &linear->weight);
    if (status == MAGPIE_OK) status = ops_gpu_upload(device, bias, linear->out, false, &linear->bias);
    if (status == MAGPIE_OK && device->driver->product)
        status = ops_gpu_upload(device, bias, linear->out, true, &linear->stream_bias);
    free(weight);
    free(bias);
    return status;
}

static magpie_status linear_create(ops_device *device, const ops_linear_source *source, ops_linear **out) {
    ops_linear *linear = magpie_alloc(1, sizeof *linear);
    if (!linear) return MAGPIE_E_NO_MEMORY;
    linear->in = source->weight[0]->shape[source->transposed ? 0 : 1];
    for (size_t p = 0; p < source->parts; p++) linear->out += source->weight[p]->elements / linear->in;
    linear->padded = ops_gpu_padded(linear->out);
    linear->activation = source->activation;
    magpie_status status = fill_linear(device, source, linear);
    if (status == MAGPIE_OK)
        *out = linear;
    else
        linear_free(linear);
    return status;
}

static magpie_status norm_create(ops_device *device, const tensor *gamma, const tensor *beta, float epsilon,
                                 ops_norm **out) {
    ops_norm *norm = magpie_alloc(1, sizeof *norm);
    if (!norm) return MAGPIE_E_NO_MEMORY;
    norm->columns = gamma->elements;
    norm->epsilon = epsilon;
    magpie_status status = ops_gpu_table_of(device, gamma, &norm->gamma);
    if (status == MAGPIE_OK) status = ops_gpu_table_of(device, beta, &norm->beta);
    if (status == MAGPIE_OK)
        *out = norm;
    else
        norm_free(norm);
    return status;
}

/* ---- lanes ---- */

static void lane_free(ops_lane *lane) {
    if (!lane) return;
    if (lane->queue) lane->device->driver->queue_free(lane->queue);
    gpu_arena_free(&lane->arena);
    for (size_t i = 0; i < lane->handle_count; i++) free(lane->handles[i]);
    free(lane->handles);
    free(lane->starts);
    free(lane->staged);
    free(lane);
}

static magpie_status lane_create(ops_device *device, unsigned threads, ops_lane **out) {
    (void)threads;
    ops_lane *lane = magpie_alloc(1, sizeof *lane);
    if (!lane) return MAGPIE_E_NO_MEMORY;
    lane->device = device;
    lane->arena.device = device->gpu;
    magpie_status status = device->driver->queue_create(device->gpu, &lane->queue);
    if (status == MAGPIE_OK)
        *out = lane;
    else
        lane_free(lane);
    return status;
}

static magpie_status tensor_create(ops_lane *lane, size_t rows, size_t columns, ops_storage storage,
                                   ops_tensor *out) {
    size_t elements;
    if (rows > ROWS_MAX || !magpie_size_mul(rows, columns, &elements) || elements > UINT32_MAX)
        return magpie_fail(MAGPIE_E_NO_MEMORY, "a tensor is too large");
    *out = (ops_tensor){NULL, rows, columns, storage};
    return ops_gpu_handle(
        lane, elements * (storage == OPS_SUM ? sizeof(float) : gpu_stream_bytes(lane->device->precision)),
        &out->handle);
}

static gpu_arg at(const ops_tensor *x) { return gpu_at(ops_gpu_buffer(x->handle)); }

/* What a batch's texts are, to the device, where they are not those of the last operation. */
static magpie_status set_starts(ops_lane *lane, const size_t *starts, size_t texts) {
    if (lane->texts == texts && lane->starts &&
        memcmp(lane->starts, starts, (texts + 1) * sizeof *starts) == 0)
        return MAGPIE_OK;
    const size_t rows = starts[texts], all = texts + 1 > rows ? texts + 1 : rows;
    const gpu_driver *driver = lane->device->driver;
    lane->texts = 0;
    magpie_status status =
        magpie_grow((void **)&lane->starts, &lane->starts_capacity, texts + 1, sizeof *lane->starts);
    if (status == MAGPIE_OK)
        status = magpie_grow((void **)&lane->staged, &lane->staged_capacity, all, sizeof *lane->staged);
    if (status == MAGPIE_OK)
        status = ops_gpu_room(lane, &lane->device_starts, (texts + 1) * sizeof(uint32_t));
    if (status == MAGPIE_OK) status = ops_gpu_room(lane, &lane->first, rows * sizeof(uint32_t));
    if (status == MAGPIE_OK) status = ops_gpu_room(lane, &lane->end, rows * sizeof(uint32_t));
    if (status != MAGPIE_OK) return status;
    for (size_t t = 0; t <= texts; t++) lane->staged[t] = (uint32_t)starts[t];
    status =
        driver->write(lane->queue, lane->device_starts, 0, lane->staged, (texts + 1) * sizeof *lane->staged);
    for (size_t t = 0; t < texts; t++)
        for (size_t r = starts[t]; r < starts[t + 1]; r++) lane->staged[r] = (uint32_t)starts[t];
    if (status == MAGPIE_OK)
        status = driver->write(lane->queue, lane->first, 0, lane->staged, rows * sizeof *lane->staged);
    for (size_t t = 0; t < texts; t++)
        for (size_t r = starts[t]; r < starts[t + 1]; r++) lane->staged[r] = (uint32_t)starts[t + 1];
    if (status == MAGPIE_OK)
        status = driver->write(lane->queue, lane->end, 0, lane->staged, rows * sizeof *lane->staged);
    if (status != MAGPIE_OK) return status;
    memcpy(lane->starts, starts, (texts + 1) * sizeof *starts);
    lane->texts = texts;
    return MAGPIE_OK;
}

/* ---- operations ---- */

static magpie_status rows_load(ops_lane *lane, const float *values, size_t count, ops_tensor *y) {
    const size_t elements = count * y->columns;
    magpie_status status = ops_gpu_room(lane, &lane->sums, elements * sizeof *values);
    if (status == MAGPIE_OK)
        status = lane->device->driver->write(lane->queue, lane->sums, 0, values, elements * sizeof *values);
    if (status != MAGPIE_OK) return status;
    return OPS_GPU_RUN(lane, GPU_rows_load, 0, ops_gpu_blocks(elements, 128), 1, 1, gpu_at(lane->sums), at(y),
                       gpu_uint(elements), gpu_uint(y->storage));
}

static magpie_status embed(ops_lane *lane, const ops_embedding *embedding, const int32_t *ids,
                           const size_t *starts, size_t texts, ops_tensor *y) {
    ops_device *device = lane->device;
    const ops_norm *norm = embedding->norm;
    const size_t rows = starts[texts];
    gpu_buffer word, position, type = {0}, none = {0};
    magpie_status status = ops_gpu_table_of(device, embedding->word, &word);
    if (status == MAGPIE_OK) status = ops_gpu_table_of(device, embedding->position, &position);
    if (status == MAGPIE_OK && embedding->type) status = ops_gpu_table_of(device, embedding->type, &type);
    if (status == MAGPIE_OK) status = set_starts(lane, starts, texts);
    if (status == MAGPIE_OK) status = ops_gpu_room(lane, &lane->ids, rows * sizeof *ids);
    if (status == MAGPIE_OK)
        status = device->driver->write(lane->queue, lane->ids, 0, ids, rows * sizeof *ids);
    if (status == MAGPIE_OK && norm)
        status = ops_gpu_room(lane, &lane->sums, rows * y->columns * sizeof(float));
    if (status != MAGPIE_OK) return status;
    return OPS_GPU_RUN(lane, GPU_embed, 0, ops_gpu_blocks(rows, NORM_ROWS), 1, 1, gpu_at(word),
                       gpu_at(position), gpu_at(type), gpu_at(lane->ids), gpu_at(lane->first),
                       norm ? gpu_at(lane->sums) : at(y), at(y), gpu_at(norm ? norm->gamma : none),
                       gpu_at(norm ? norm->beta : none), gpu_float(norm ? norm->epsilon : 0), gpu_uint(rows),
                       gpu_uint(y->columns), gpu_uint(embedding->type != NULL), gpu_uint(norm != NULL),
                       gpu_uint(y->storage));
}

/* By the driver's product, which can do all but GELU: cuBLASLt's is the approximation by tanh, as PyTorch
 * knows (aten/src/ATen/native/cuda/Blas.cpp applies gelu "tanh" where that epilogue is not to be had); ours
 * is exact. Behind a stream of 16 bits that is one rounding more, as in PyTorch's own bf16. */
static magpie_status linear_product(ops_lane *lane, const ops_linear *l, const ops_tensor *x, size_t rows,
                                    ops_tensor *y) {
    const gpu_driver *driver = lane->device->driver;
    const bool is_sum = y->storage == OPS_SUM,
               is_all = l->activation == OPS_IDENTITY || l->activation == OPS_RELU;
    const gpu_product product = {.x = ops_gpu_buffer(x->handle),
                                 .weight = l->weight,
                                 .bias = !is_all  ? (gpu_buffer){0}
                                         : is_sum ? l->bias
                                                  : l->stream_bias,
                                 .y = ops_gpu_buffer(y->handle),
                                 .rows = rows,
                                 .columns = l->out,
                                 .depth = l->in,
                                 .padded = l->padded,
                                 .y_is_sum = is_sum,
                                 .relu = l->activation == OPS_RELU};
    if (!driver->product || rows == 0) return MAGPIE_E_UNSUPPORTED;
    magpie_status status = driver->product(lane->queue, &product);
    if (status != MAGPIE_OK || is_all) return status;
    return OPS_GPU_RUN(lane, GPU_bias_activate, 0, ops_gpu_blocks(rows * l->out, BIAS_GROUP), 1, 1, at(y),
                       gpu_at(l->bias), gpu_uint(rows * l->out), gpu_uint(l->out), gpu_uint(l->activation),
                       gpu_uint(is_sum));
}

static magpie_status linear(ops_lane *lane, const ops_linear *l, const ops_tensor *x, size_t rows,
                            ops_tensor *y) {
    const gpu_tile tile = gpu_base_of(lane->device->gpu)->tile;
    magpie_status status = linear_product(lane, l, x, rows, y);
    if (status != MAGPIE_E_UNSUPPORTED) return status;
    return OPS_GPU_RUN(lane, GPU_matmul, 0, ops_gpu_blocks(rows, tile.rows),
                       ops_gpu_blocks(l->out, tile.columns), 1, at(x), gpu_at(l->weight), gpu_at(l->bias),
                       at(y), gpu_uint(rows), gpu_uint(l->out), gpu_uint(l->in), gpu_uint(l->padded),
                       gpu_uint(l->activation), gpu_uint(y->storage == OPS_SUM));
}

static magpie_status add_norm(ops_lane *lane, const ops_norm *norm, ops_tensor *x, const ops_tensor *residual,
                              size_t rows, ops_tensor *y) {
    return OPS_GPU_RUN(lane, GPU_add_norm, 0, ops_gpu_blocks(rows, NORM_ROWS), 1, 1, at(x),
                       residual ? at(residual) : gpu_at((gpu_buffer){0}), at(y), gpu_at(norm->gamma),
                       gpu_at(norm->beta), gpu_float(norm->epsilon), gpu_uint(rows), gpu_uint(norm->columns),
                       gpu_uint(residual != NULL), gpu_uint(residual ? residual->storage : 0),
                       gpu_uint(y->storage), gpu_uint(residual && residual->handle != y->handle));
}

static magpie_status attention(ops_lane *lane, const ops_tensor *qkv, const size_t *starts, size_t texts,
                               size_t heads, bool causal, ops_tensor *y) {
    const size_t rows = starts[texts], d = y->columns / heads;
    if (d > HEAD_MAX)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: heads of %zu numbers; up to %d there are kernels for",
                           lane->device->driver->name, d, HEAD_MAX);
    magpie_status status = set_starts(lane, starts, texts);
    if (status != MAGPIE_OK || rows == 0) return status;
    return OPS_GPU_RUN(lane, GPU_attention, d <= 32 ? 32 : 64, ops_gpu_blocks(rows, 64), heads, 1, at(qkv),
                       gpu_at(lane->first), gpu_at(lane->end), at(y), gpu_uint(rows), gpu_uint(heads),
                       gpu_uint(d), gpu_uint(causal), gpu_float(1 / __builtin_sqrtf((float)d)));
}

static magpie_status gather(ops_lane *lane, const ops_tensor *x, const size_t *rows, size_t count,
                            ops_tensor *y) {
    magpie_status status =
        magpie_grow((void **)&lane->staged, &lane->staged_capacity, count, sizeof *lane->staged);
    if (status == MAGPIE_OK) status = ops_gpu_room(lane, &lane->ids, count * sizeof(uint32_t));
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < count; i++) lane->staged[i] = (uint32_t)rows[i];
    status =
        lane->device->driver->write(lane->queue, lane->ids, 0, lane->staged, count * sizeof *lane->staged);
    if (status != MAGPIE_OK) return status;
    return OPS_GPU_RUN(lane, GPU_gather, 0, count, 1, 1, at(x), gpu_at(lane->ids), at(y),
                       gpu_uint(x->columns), gpu_uint(x->storage));
}

static magpie_status pool(ops_lane *lane, const ops_tensor *x, const size_t *starts, size_t texts,
                          ops_pooling pooling, bool unit, float *out) {
    const size_t bytes = texts * x->columns * sizeof *out;
    magpie_status status = set_starts(lane, starts, texts);
    if (status == MAGPIE_OK) status = ops_gpu_room(lane, &lane->result, bytes);
    if (status == MAGPIE_OK)
        status = OPS_GPU_RUN(lane, GPU_pool, 0, texts, 1, 1, at(x), gpu_at(lane->device_starts),
                             gpu_at(lane->result), gpu_uint(x->columns), gpu_uint(x->storage),
                             gpu_uint(pooling == OPS_POOL_MEAN), gpu_uint(unit));
    return status == MAGPIE_OK ? lane->device->driver->read(lane->queue, lane->result, 0, out, bytes)
                               : status;
}

static magpie_status unit_rows(ops_lane *lane, const ops_tensor *x, const ops_tensor *residual, size_t rows,
                               float *out) {
    const size_t bytes = rows * x->columns * sizeof *out;
    magpie_status status = ops_gpu_room(lane, &lane->result, bytes);
    if (status == MAGPIE_OK)
        status = OPS_GPU_RUN(lane, GPU_unit_rows, 0, ops_gpu_blocks(rows, NORM_ROWS), 1, 1, at(x),
                             residual ? at(residual) : gpu_at((gpu_buffer){0}), gpu_at(lane->result),
                             gpu_uint(rows), gpu_uint(x->columns), gpu_uint(residual != NULL));
    return status == MAGPIE_OK ? lane->device->driver->read(lane->queue, lane->result, 0, out, bytes)
                               : status;
}

#define OPS_GPU(the_driver)                                                                                  \
    {                                                                                                        \
        .driver = the_driver, .device_create = device_create, .device_free = device_free,                    \
        .device_precision = device_precision, .linear_create = linear_create, .linear_free = linear_free,    \
        .norm_create = norm_create, .norm_free = norm_free, .lane_create = lane_create,                      \
        .lane_free = lane_free, .tensor_create = tensor_create, .conv_create = ops_gpu_conv_create,          \
        .conv_free = ops_gpu_conv_free, .map_create = ops_gpu_map_create, .rows_load = rows_load,            \
        .embed = embed, .linear = linear, .add_norm = add_norm, .attention = attention, .gather = gather,    \
        .pool = pool, .unit_rows = unit_rows, .image_load = ops_gpu_image_load,                              \
        .pictures_load = ops_gpu_pictures_load, .map_load = ops_gpu_map_load, .conv = ops_gpu_conv,          \
        .max_pool = ops_gpu_max_pool, .average_pool = ops_gpu_average_pool,                                  \
        .global_pool = ops_gpu_global_pool, .map_rows = ops_gpu_map_rows, .map_read = ops_gpu_map_read,      \
        .map_largest = ops_gpu_map_largest,                                                                  \
    }

const ops_table ops_opencl = OPS_GPU(&gpu_opencl);
#ifdef MAGPIE_CUDA
const ops_table ops_cuda = OPS_GPU(&gpu_cuda);
#endif
