/* dnnl_matmul.c - see dnnl_matmul.h. */
#include "dnnl_matmul.h"

#include <stdlib.h>
#include <string.h>

/* Matrices this high and higher are what the packed layout is chosen for. */
enum { PACKING_ROWS = 256 };

/* What a primitive depends on besides its height. */
typedef struct shape {
    size_t n, k;
    ops_activation activation;
    bool f32_output;
} shape;

struct matmul_weights {
    onednn_device *device;
    shape shape;
    md_t packed_md;
    dnnl_memory_t packed, bias;
};

typedef struct product {
    shape shape;
    size_t height;
    onednn_compiled compiled;
} product;

struct matmul_lane {
    onednn_queue *queue;
    product *products;
    size_t count, capacity;
};

/* ---- descriptors ---- */

static dnnl_status_t describe(md_t *md, size_t rows, size_t columns, dnnl_data_type_t type,
                              dnnl_format_tag_t tag) {
    const dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    return onednn_describe(md, 2, dims, type, tag);
}

/* oneDNN's swish is x sigmoid(alpha x), its ReLU's alpha the slope below 0. */
static dnnl_status_t append_activation(dnnl_post_ops_t operations, ops_activation activation) {
    bool quick = activation == OPS_QUICK_GELU;
    dnnl_alg_kind_t kind = quick ? dnnl_eltwise_swish : dnnl_eltwise_relu;
    float alpha = quick ? 1.702f : 0;
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_eltwise(operations, kind, alpha, 0);
#else
    return dnnl_post_ops_append_eltwise(operations, 1, kind, alpha, 0);
#endif
}

static dnnl_status_t make_attributes(ops_activation activation, dnnl_primitive_attr_t *out) {
    dnnl_post_ops_t operations = NULL;
    if (activation == OPS_IDENTITY) return onednn_make_attributes(NULL, out);
    dnnl_status_t status = dnnl_post_ops_create(&operations);
    if (status == dnnl_success) status = append_activation(operations, activation);
    if (status == dnnl_success) status = onednn_make_attributes(operations, out);
    dnnl_post_ops_destroy(operations);
    return status;
}

/* The product of `rows` x k with k x n. `packed` NULL: in whatever layout of W oneDNN likes best. */
static dnnl_status_t describe_product(const onednn_device *device, const shape *shape, size_t rows,
                                      const md_t *packed, dnnl_primitive_desc_t *out) {
    md_t x = {0}, w = {0}, b = {0}, y = {0};
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_data_type_t y_type = shape->f32_output ? dnnl_f32 : onednn_type(device);
    dnnl_status_t status = describe(&x, rows, shape->k, onednn_type(device), dnnl_ab);
    if (status == dnnl_success && !packed)
        status = describe(&w, shape->k, shape->n, onednn_type(device), dnnl_format_tag_any);
    if (status == dnnl_success) status = describe(&b, 1, shape->n, dnnl_f32, dnnl_ab);
    if (status == dnnl_success) status = describe(&y, rows, shape->n, y_type, dnnl_ab);
    if (status == dnnl_success) status = make_attributes(shape->activation, &attributes);
    if (status == dnnl_success)
        status =
            onednn_describe_matmul(onednn_engine(device), x, packed ? *packed : w, &b, y, attributes, out);
    dnnl_primitive_attr_destroy(attributes);
    MD_FREE(x);
    if (!packed) MD_FREE(w);
    MD_FREE(b);
    MD_FREE(y);
    return status;
}

/* ---- weights ---- */

static dnnl_status_t pack(matmul_weights *weights, const float *values) {
    const shape *shape = &weights->shape;
    onednn_device *device = weights->device;
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_memory_t plain = NULL;
    md_t plain_md = {0};
    dnnl_status_t status = describe_product(weights->device, shape, PACKING_ROWS, NULL, &descriptor);
    if (status == dnnl_success) status = onednn_clone_weights_md(descriptor, &weights->packed_md);
    /* W^T of [n, k] row-major is [k, n] column-major. */
    if (status == dnnl_success) status = describe(&plain_md, shape->k, shape->n, dnnl_f32, dnnl_ba);
    if (status == dnnl_success)
        status = dnnl_memory_create(&plain, MD_ARGUMENT(plain_md), onednn_engine(device),
                                    (void *)(uintptr_t)values);
    if (status == dnnl_success) status = onednn_weights_memory(device, weights->packed_md, &weights->packed);
    if (status == dnnl_success)
        status = onednn_reorder(device, plain, plain_md, weights->packed, weights->packed_md);
    if (plain) dnnl_memory_destroy(plain);
    MD_FREE(plain_md);
    if (descriptor) dnnl_primitive_desc_destroy(descriptor);
    return status;
}

static dnnl_status_t copy_bias(matmul_weights *weights, const float *bias) {
    md_t md = {0};
    void *data = NULL;
    dnnl_status_t status = describe(&md, 1, weights->shape.n, dnnl_f32, dnnl_ab);
    if (status == dnnl_success)
        status = dnnl_memory_create(&weights->bias, MD_ARGUMENT(md), onednn_engine(weights->device),
                                    DNNL_MEMORY_ALLOCATE);
    if (status == dnnl_success) status = dnnl_memory_get_data_handle(weights->bias, &data);
    if (status == dnnl_success) memcpy(data, bias, weights->shape.n * sizeof *bias);
    MD_FREE(md);
    return status;
}

magpie_status matmul_weights_create(onednn_device *device, size_t n, size_t k, const float *values,
                                    const float *bias, ops_activation activation, bool f32_output,
                                    matmul_weights **out) {
    matmul_weights *weights = magpie_alloc(1, sizeof *weights);
    if (!weights) return MAGPIE_E_NO_MEMORY;
    weights->device = device;
    weights->shape = (shape){n, k, activation, f32_output};
    /* Layers are packed side by side by threads that would each raise a team of their own; and with more threads than
     * CPUs about, libgomp stops spinning between the products of a short text, which doubles its latency. */
    int before = onednn_use_threads(1);
    dnnl_status_t status = pack(weights, values);
    (void)onednn_use_threads(before);
    if (status == dnnl_success) status = copy_bias(weights, bias);
    if (status != dnnl_success) {
        matmul_weights_free(weights);
        return onednn_fail(status, "packing weights");
    }
    *out = weights;
    return MAGPIE_OK;
}

void matmul_weights_free(matmul_weights *weights) {
    if (!weights) return;
    if (weights->packed) dnnl_memory_destroy(weights->packed);
    if (weights->bias) dnnl_memory_destroy(weights->bias);
    MD_FREE(weights->packed_md);
    free(weights);
}

size_t matmul_weights_inputs(const matmul_weights *weights) { return weights->shape.k; }
size_t matmul_weights_outputs(const matmul_weights *weights) { return weights->shape.n; }

/* ---- products ---- */

magpie_status matmul_lane_create(onednn_queue *queue, matmul_lane **out) {
    matmul_lane *lane = magpie_alloc(1, sizeof *lane);
    if (!lane) return MAGPIE_E_NO_MEMORY;
    lane->queue = queue;
    *out = lane;
    return MAGPIE_OK;
}

void matmul_lane_free(matmul_lane *lane) {
    if (!lane) return;
    for (size_t i = 0; i < lane->count; i++) onednn_compiled_free(&lane->products[i].compiled);
    free(lane->products);
    free(lane);
}

/* Steps of 4 up to 256 rows, and of a 64th to a 32nd of the height beyond: 1% of the work on the average, for
 * heights that cost half a millisecond each to compile once. */
size_t matmul_height(size_t rows) {
    size_t step = 4;
    while (step * 128 <= rows) step *= 2;
    return (rows + step - 1) / step * step;
}

static magpie_status compile(matmul_lane *lane, const matmul_weights *weights, size_t height, product *out) {
    dnnl_primitive_desc_t descriptor = NULL;
    *out = (product){.shape = weights->shape, .height = height};
    dnnl_status_t status =
        describe_product(weights->device, &weights->shape, height, &weights->packed_md, &descriptor);
    if (status != dnnl_success) return onednn_fail(status, "describing a matrix product");
    return onednn_compile(lane->queue, descriptor, "compiling a matrix product", &out->compiled);
}

static bool same_shape(const shape *a, const shape *b) {
    return a->n == b->n && a->k == b->k && a->activation == b->activation && a->f32_output == b->f32_output;
}

static magpie_status find_product(matmul_lane *lane, const matmul_weights *weights, size_t height,
                                  product **out) {
    for (size_t i = 0; i < lane->count; i++) {
        product *candidate = &lane->products[i];
        if (candidate->height == height && same_shape(&candidate->shape, &weights->shape)) {
            *out = candidate;
            return MAGPIE_OK;
        }
    }
    magpie_status status =
        magpie_grow((void **)&lane->products, &lane->capacity, lane->count + 1, sizeof *lane->products);
    if (status == MAGPIE_OK) status = compile(lane, weights, height, &lane->products[lane->count]);
    if (status == MAGPIE_OK) *out = &lane->products[lane->count++];
    return status;
}

magpie_status matmul_run(matmul_lane *lane, const matmul_weights *weights, const void *x, size_t rows,
                         void *y) {
    product *product;
    int before = onednn_use_threads(onednn_queue_threads(lane->queue));
    magpie_status status = find_product(lane, weights, matmul_height(rows), &product);
    if (status == MAGPIE_OK)
        status = onednn_run(lane->queue, &product->compiled, weights->packed, weights->bias, x, y,
                            "a matrix product");
    (void)onednn_use_threads(before);
    return status;
}
