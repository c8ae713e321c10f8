/* ops_reference.c - the operations as the formulas have them, in plain C and f32.
 *
 * Nobody waits for this backend. It is what the others are tested against, so it is written to be seen to be
 * right: one loop nest an operation, sums in double. */
#include "ops_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static magpie_status device_create(const ops_table *table, magpie_precision precision, size_t index,
                                   ops_device **out) {
    (void)index;
    if (precision != MAGPIE_PRECISION_F32 && precision != MAGPIE_PRECISION_AUTO)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "the reference backend computes in f32 alone");
    ops_device *device = magpie_alloc(1, sizeof *device);
    if (!device) return MAGPIE_E_NO_MEMORY;
    device->table = table;
    *out = device;
    return MAGPIE_OK;
}

static void device_free(ops_device *device) { free(device); }

static magpie_precision device_precision(const ops_device *device) {
    (void)device;
    return MAGPIE_PRECISION_F32;
}

static void linear_free(ops_linear *linear) {
    if (!linear) return;
    free(linear->weight);
    free(linear->bias);
    free(linear);
}

static magpie_status linear_create(ops_device *device, const ops_linear_source *source, ops_linear **out) {
    (void)device;
    ops_linear *linear = magpie_alloc(1, sizeof *linear);
    if (!linear) return MAGPIE_E_NO_MEMORY;
    size_t across = source->transposed ? 1 : 0; /* which dimension of a weight goes over the outputs */
    linear->in = source->weight[0]->shape[1 - across];
    linear->activation = source->activation;
    for (size_t p = 0; p < source->parts; p++) linear->out += source->weight[p]->shape[across];
    linear->weight = magpie_alloc(linear->out * linear->in, sizeof(float));
    linear->bias = magpie_alloc(linear->out, sizeof(float));
    if (!linear->weight || !linear->bias) {
        linear_free(linear);
        return MAGPIE_E_NO_MEMORY;
    }
    size_t row = 0;
    for (size_t p = 0; p < source->parts; p++) {
        const tensor *weight = source->weight[p], *bias = source->bias[p];
        size_t outputs = weight->shape[across];
        for (size_t o = 0; o < outputs; o++)
            for (size_t i = 0; i < linear->in; i++)
                tensor_read_f32(weight, source->transposed ? i * outputs + o : o * linear->in + i, 1,
                                linear->weight + (row + o) * linear->in + i);
        if (bias) tensor_read_f32(bias, 0, outputs, linear->bias + row);
        row += outputs;
    }
    *out = linear;
    return MAGPIE_OK;
}

static void norm_free(ops_norm *norm) {
    if (!norm) return;
    free(norm->gamma);
    free(norm->beta);
    free(norm);
}

static magpie_status norm_create(ops_device *device, const tensor *gamma, const tensor *beta, float epsilon,
                                 ops_norm **out) {
    (void)device;
    ops_norm *norm = magpie_alloc(1, sizeof *norm);
    if (!norm) return MAGPIE_E_NO_MEMORY;
    *norm = (ops_norm){gamma->elements, (double)epsilon, magpie_alloc(gamma->elements, sizeof(float)),
                       magpie_alloc(beta->elements, sizeof(float))};
    if (!norm->gamma || !norm->beta) {
        norm_free(norm);
        return MAGPIE_E_NO_MEMORY;
    }
    tensor_read_f32(gamma, 0, gamma->elements, norm->gamma);
    tensor_read_f32(beta, 0, beta->elements, norm->beta);
    *out = norm;
    return MAGPIE_OK;
}

static magpie_status lane_create(ops_device *device, unsigned threads, ops_lane **out) {
    (void)threads;
    ops_lane *lane = magpie_alloc(1, sizeof *lane);
    if (!lane) return MAGPIE_E_NO_MEMORY;
    lane->device = device;
    *out = lane;
    return MAGPIE_OK;
}

static void lane_free(ops_lane *lane) {
    if (!lane) return;
    for (size_t i = 0; i < lane->count; i++) free(lane->memory[i]);
    free(lane->memory);
    free(lane);
}

static magpie_status take_memory(ops_lane *lane, size_t elements, void **out) {
    magpie_status status =
        magpie_grow((void **)&lane->memory, &lane->capacity, lane->count + 1, sizeof *lane->memory);
    if (status != MAGPIE_OK) return status;
    float *data = magpie_alloc(elements, sizeof *data);
    if (!data) return MAGPIE_E_NO_MEMORY;
    *out = lane->memory[lane->count++] = data;
    return MAGPIE_OK;
}

static magpie_status tensor_create(ops_lane *lane, size_t rows, size_t columns, ops_storage storage,
                                   ops_tensor *out) {
    size_t elements;
    if (!magpie_size_mul(rows, columns, &elements))
        return magpie_fail(MAGPIE_E_NO_MEMORY, "a tensor is too large");
    *out = (ops_tensor){NULL, rows, columns, storage};
    return take_memory(lane, elements, &out->handle);
}

static magpie_status map_create(ops_lane *lane, size_t elements, ops_map *out) {
    *out = (ops_map){0};
    return take_memory(lane, elements, &out->handle);
}

/* y = gamma (x - mean) / sqrt(variance + epsilon) + beta, in place. Ba et al. 2016, eq. 4. */
static void normalise(const ops_norm *norm, float *x) {
    size_t n = norm->columns;
    double mean = 0, variance = 0;
    for (size_t j = 0; j < n; j++) mean += (double)x[j];
    mean /= (double)n;
    for (size_t j = 0; j < n; j++) variance += ((double)x[j] - mean) * ((double)x[j] - mean);
    double scale = 1 / sqrt(variance / (double)n + norm->epsilon);
    for (size_t j = 0; j < n; j++)
        x[j] = (float)(((double)x[j] - mean) * scale * (double)norm->gamma[j] + (double)norm->beta[j]);
}

static magpie_status rows_load(ops_lane *lane, const float *values, size_t count, ops_tensor *y) {
    (void)lane;
    memcpy(y->handle, values, count * y->columns * sizeof *values);
    return MAGPIE_OK;
}

static magpie_status embed(ops_lane *lane, const ops_embedding *embedding, const int32_t *ids,
                           const size_t *starts, size_t texts, ops_tensor *y) {
    (void)lane;
    size_t hidden = y->columns;
    float *part = magpie_alloc(hidden, sizeof *part);
    if (!part) return MAGPIE_E_NO_MEMORY;
    for (size_t t = 0; t < texts; t++) {
        for (size_t i = starts[t]; i < starts[t + 1]; i++) {
            float *row = (float *)y->handle + i * hidden;
            const tensor *tables[] = {embedding->word, embedding->position, embedding->type};
            const size_t rows[] = {(size_t)ids[i], i - starts[t], 0};
            memset(row, 0, hidden * sizeof *row);
            for (int k = 0; k < 3 && tables[k]; k++) {
                tensor_read_f32(tables[k], rows[k] * hidden, hidden, part);
                for (size_t j = 0; j < hidden; j++) row[j] += part[j];
            }
            if (embedding->norm) normalise(embedding->norm, row);
        }
    }
    free(part);
    return MAGPIE_OK;
}

static double activate(ops_activation activation, double x) {
    switch (activation) {
    case OPS_RELU: return fmax(x, 0);
    case OPS_GELU: return x * 0.5 * (1 + erf(x / sqrt(2)));
    case OPS_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    default: return x;
    }
}

static double dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static magpie_status linear(ops_lane *lane, const ops_linear *linear, const ops_tensor *x, size_t rows,
                            ops_tensor *y) {
    (void)lane;
    const float *in = x->handle;
    float *out = y->handle;
    for (size_t i = 0; i < rows; i++)
        for (size_t o = 0; o < linear->out; o++)
            out[i * linear->out + o] = (float)activate(
                linear->activation, dot(in + i * linear->in, linear->weight + o * linear->in, linear->in) +
                                        (double)linear->bias[o]);
    return MAGPIE_OK;
}

static magpie_status add_norm(ops_lane *lane, const ops_norm *norm, ops_tensor *x, const ops_tensor *residual,
                              size_t rows, ops_tensor *y) {
    (void)lane;
    size_t n = rows * norm->columns;
    float *sum = x->handle, *out = y->handle;
    for (size_t i = 0; residual && i < n; i++) sum[i] += ((const float *)residual->handle)[i];
    memcpy(out, sum, n * sizeof *out);
    for (size_t i = 0; i < rows; i++) normalise(norm, out + i * norm->columns);
    return MAGPIE_OK;
}

/* In place; the largest is taken off first, which changes nothing but keeps exp in range. */
static void softmax(double *x, size_t n) {
    double largest = x[0], sum = 0;
    for (size_t i = 1; i < n; i++) largest = fmax(largest, x[i]);
    for (size_t i = 0; i < n; i++) sum += x[i] = exp(x[i] - largest);
    for (size_t i = 0; i < n; i++) x[i] /= sum;
}

static magpie_status attention(ops_lane *lane, const ops_tensor *qkv, const size_t *starts, size_t texts,
                               size_t heads, bool causal, ops_tensor *y) {
    (void)lane;
    size_t hidden = y->columns, d = hidden / heads, stride = 3 * hidden;
    size_t longest = 0;
    for (size_t t = 0; t < texts; t++)
        if (starts[t + 1] - starts[t] > longest) longest = starts[t + 1] - starts[t];
    double *p = magpie_alloc(longest, sizeof *p);
    if (!p) return MAGPIE_E_NO_MEMORY;
    for (size_t t = 0; t < texts; t++) {
        size_t length = starts[t + 1] - starts[t];
        for (size_t h = 0; h < heads; h++) {
            const float *q = (const float *)qkv->handle + starts[t] * stride + h * d, *k = q + hidden,
                        *v = k + hidden;
            float *out = (float *)y->handle + starts[t] * hidden + h * d;
            for (size_t i = 0; i < length; i++) {
                size_t seen = causal ? i + 1 : length;
                for (size_t j = 0; j < seen; j++)
                    p[j] = dot(q + i * stride, k + j * stride, d) / sqrt((double)d);
                softmax(p, seen);
                for (size_t c = 0; c < d; c++) {
                    double sum = 0;
                    for (size_t j = 0; j < seen; j++) sum += p[j] * (double)v[j * stride + c];
                    out[i * hidden + c] = (float)sum;
                }
            }
        }
    }
    free(p);
    return MAGPIE_OK;
}

static magpie_status gather(ops_lane *lane, const ops_tensor *x, const size_t *rows, size_t count,
                            ops_tensor *y) {
    (void)lane;
    const float *from = x->handle;
    float *to = y->handle;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < x->columns; j++) to[i * x->columns + j] = from[rows[i] * x->columns + j];
    return MAGPIE_OK;
}

void ops_reference_unit(float *x, size_t n) {
    double squares = 0;
    for (size_t j = 0; j < n; j++) squares += (double)x[j] * (double)x[j];
    /* The floor is torch.nn.functional.normalize's. */
    double length = fmax(sqrt(squares), 1e-12);
    for (size_t j = 0; j < n; j++) x[j] = (float)((double)x[j] / length);
}

static magpie_status pool(ops_lane *lane, const ops_tensor *x, const size_t *starts, size_t texts,
                          ops_pooling pooling, bool unit, float *out) {
    (void)lane;
    size_t n = x->columns;
    for (size_t t = 0; t < texts; t++) {
        const float *rows = (const float *)x->handle + starts[t] * n;
        size_t count = pooling == OPS_POOL_FIRST ? 1 : starts[t + 1] - starts[t];
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t i = 0; i < count; i++) sum += (double)rows[i * n + j];
            out[t * n + j] = (float)(sum / (double)count);
        }
        if (unit) ops_reference_unit(out + t * n, n);
    }
    return MAGPIE_OK;
}

static magpie_status unit_rows(ops_lane *lane, const ops_tensor *x, const ops_tensor *residual, size_t rows,
                               float *out) {
    (void)lane;
    const size_t n = x->columns;
    const float *a = x->handle, *b = residual ? residual->handle : NULL;
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = i * n; j < (i + 1) * n; j++) out[j] = a[j] + (b ? b[j] : 0);
        ops_reference_unit(out + i * n, n);
    }
    return MAGPIE_OK;
}

const ops_table ops_reference = {
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
    .conv_create = ops_reference_conv_create,
    .conv_free = ops_reference_conv_free,
    .map_create = map_create,
    .rows_load = rows_load,
    .embed = embed,
    .linear = linear,
    .add_norm = add_norm,
    .attention = attention,
    .gather = gather,
    .pool = pool,
    .unit_rows = unit_rows,
    .image_load = ops_reference_image_load,
    .map_load = ops_reference_map_load,
    .conv = ops_reference_conv,
    .max_pool = ops_reference_max_pool,
    .average_pool = ops_reference_average_pool,
    .global_pool = ops_reference_global_pool,
    .map_rows = ops_reference_map_rows,
    .map_read = ops_reference_map_read,
    .map_largest = ops_reference_map_largest,
};
