/* dnnl_matmul.c - see dnnl_matmul.h. */
#include "dnnl_matmul.h"

#include <dnnl.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* v2 passes memory descriptors by value and has operation descriptors, v3 has opaque handles and neither. */
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t md_t;
#define MD_ARGUMENT(md) (md)
#define MD_FREE(md) dnnl_memory_desc_destroy(md)
#else
typedef dnnl_memory_desc_t md_t;
#define MD_ARGUMENT(md) (&(md))
#define MD_FREE(md) ((void)(md))
#endif

/* Matrices this high and higher are what the packed layout is chosen for. */
enum { PACKING_ROWS = 256 };

/* Packed weights lie side by side in large chunks: for a short text, streaming them is all of the time. */
enum { CHUNK_BYTES = 16 << 20, CHUNK_ALIGNMENT = 64 };

typedef struct chunk {
    struct chunk *next;
    unsigned char *memory;
    size_t size, used;
} chunk;

struct matmul_engine {
    dnnl_engine_t engine;
    dnnl_data_type_t type; /* of x and W */
    pthread_mutex_t lock;  /* of the chunks: weights are packed by several threads */
    chunk *chunks;         /* the newest first */
};

/* What a primitive depends on besides its height. */
typedef struct shape {
    size_t n, k;
    ops_activation activation;
    bool f32_output;
} shape;

struct matmul_weights {
    matmul_engine *engine;
    shape shape;
    md_t packed_md;
    dnnl_memory_t packed, bias;
};

typedef struct product {
    shape shape;
    size_t height;
    dnnl_primitive_t primitive;
    dnnl_memory_t x, y, scratchpad; /* x and y are pointed at the caller's rows anew for each run */
} product;

struct matmul_lane {
    matmul_engine *engine;
    dnnl_stream_t stream;
    unsigned threads;
    product *products;
    size_t count, capacity;
    void *scratch; /* shared by all products: one runs at a time */
    size_t scratch_bytes;
};

static magpie_status fail(dnnl_status_t status, const char *what) {
    return magpie_fail(status == dnnl_out_of_memory ? MAGPIE_E_NO_MEMORY : MAGPIE_E_INTERNAL,
                       "oneDNN: %s failed with status %d", what, (int)status);
}

bool matmul_native_bf16(void) {
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

magpie_status matmul_engine_create(bool bf16, matmul_engine **out) {
    matmul_engine *engine = magpie_alloc(1, sizeof *engine);
    if (!engine) return MAGPIE_E_NO_MEMORY;
    engine->type = bf16 ? dnnl_bf16 : dnnl_f32;
    pthread_mutex_init(&engine->lock, NULL);
    dnnl_status_t status = dnnl_engine_create(&engine->engine, dnnl_cpu, 0);
    if (status != dnnl_success) {
        free(engine);
        return fail(status, "creating a CPU engine");
    }
    *out = engine;
    return MAGPIE_OK;
}

void matmul_engine_free(matmul_engine *engine) {
    if (!engine) return;
    dnnl_engine_destroy(engine->engine);
    pthread_mutex_destroy(&engine->lock);
    for (chunk *c = engine->chunks, *next; c; c = next) {
        next = c->next;
        free(c->memory);
        free(c);
    }
    free(engine);
}

static chunk *add_chunk(matmul_engine *engine, size_t bytes) {
    chunk *c = magpie_alloc(1, sizeof *c);
    if (!c) return NULL;
    c->size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
    c->memory = magpie_alloc_large(c->size, 1);
    if (!c->memory) {
        free(c);
        return NULL;
    }
    c->next = engine->chunks;
    return engine->chunks = c;
}

/* Memory that lives as long as the engine; NULL where there is none. */
static void *take_memory(matmul_engine *engine, size_t bytes) {
    bytes = (bytes + CHUNK_ALIGNMENT - 1) / CHUNK_ALIGNMENT * CHUNK_ALIGNMENT;
    pthread_mutex_lock(&engine->lock);
    chunk *c = engine->chunks;
    if (!c || c->size - c->used < bytes) c = add_chunk(engine, bytes);
    void *memory = c ? c->memory + c->used : NULL;
    if (c) c->used += bytes;
    pthread_mutex_unlock(&engine->lock);
    return memory;
}

/* ---- descriptors ---- */

static dnnl_status_t describe(md_t *md, size_t rows, size_t columns, dnnl_data_type_t type,
                              dnnl_format_tag_t tag) {
    const dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_tag(md, 2, dims, type, tag);
#else
    return dnnl_memory_desc_init_by_tag(md, 2, dims, type, tag);
#endif
}

static dnnl_status_t append_activation(dnnl_post_ops_t operations, ops_activation activation) {
    bool quick = activation == OPS_QUICK_GELU; /* swish is x sigmoid(alpha x) */
    dnnl_alg_kind_t kind = quick ? dnnl_eltwise_swish : dnnl_eltwise_gelu_erf;
    float alpha = quick ? 1.702f : 0;
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_eltwise(operations, kind, alpha, 0);
#else
    return dnnl_post_ops_append_eltwise(operations, 1, kind, alpha, 0);
#endif
}

static dnnl_status_t make_attributes(ops_activation activation, dnnl_primitive_attr_t *out) {
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_post_ops_t operations = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&attributes);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && activation != OPS_IDENTITY) {
        status = dnnl_post_ops_create(&operations);
        if (status == dnnl_success) status = append_activation(operations, activation);
        if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(attributes, operations);
        dnnl_post_ops_destroy(operations);
    }
    if (status == dnnl_success)
        *out = attributes;
    else
        dnnl_primitive_attr_destroy(attributes);
    return status;
}

static dnnl_status_t matmul_descriptor(const matmul_engine *engine, md_t x, md_t w, md_t b, md_t y,
                                       dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(out, engine->engine, x, w, b, y, attributes);
#else
    dnnl_matmul_desc_t operation;
    dnnl_status_t status = dnnl_matmul_desc_init(&operation, &x, &w, &b, &y);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(out, &operation, attributes, engine->engine, NULL);
#endif
}

/* The product of `rows` x k with k x n. `packed` NULL: in whatever layout of W oneDNN likes best. */
static dnnl_status_t describe_product(const matmul_engine *engine, const shape *shape, size_t rows,
                                      const md_t *packed, dnnl_primitive_desc_t *out) {
    md_t x = {0}, w = {0}, b = {0}, y = {0};
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_data_type_t y_type = shape->f32_output ? dnnl_f32 : engine->type;
    dnnl_status_t status = describe(&x, rows, shape->k, engine->type, dnnl_ab);
    if (status == dnnl_success && !packed)
        status = describe(&w, shape->k, shape->n, engine->type, dnnl_format_tag_any);
    if (status == dnnl_success) status = describe(&b, 1, shape->n, dnnl_f32, dnnl_ab);
    if (status == dnnl_success) status = describe(&y, rows, shape->n, y_type, dnnl_ab);
    if (status == dnnl_success) status = make_attributes(shape->activation, &attributes);
    if (status == dnnl_success)
        status = matmul_descriptor(engine, x, packed ? *packed : w, b, y, attributes, out);
    dnnl_primitive_attr_destroy(attributes);
    MD_FREE(x);
    if (!packed) MD_FREE(w);
    MD_FREE(b);
    MD_FREE(y);
    return status;
}

static dnnl_status_t clone_weights_md(const_dnnl_primitive_desc_t descriptor, md_t *out) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_clone(out, dnnl_primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0));
#else
    *out = *dnnl_primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0);
    return dnnl_success;
#endif
}

/* ---- weights ---- */

static dnnl_status_t reorder(dnnl_engine_t engine, dnnl_memory_t from, md_t from_md, dnnl_memory_t to,
                             md_t to_md) {
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_status_t status = dnnl_reorder_primitive_desc_create(&descriptor, MD_ARGUMENT(from_md), engine,
                                                              MD_ARGUMENT(to_md), engine, NULL);
    if (status == dnnl_success) status = dnnl_primitive_create(&primitive, descriptor);
    if (status == dnnl_success) status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    if (status == dnnl_success) {
        dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
        status = dnnl_primitive_execute(primitive, stream, 2, arguments);
    }
    if (status == dnnl_success) status = dnnl_stream_wait(stream);
    if (stream) dnnl_stream_destroy(stream);
    if (primitive) dnnl_primitive_destroy(primitive);
    if (descriptor) dnnl_primitive_desc_destroy(descriptor);
    return status;
}

static dnnl_status_t memory_of_weights(matmul_weights *weights) {
    void *memory = take_memory(weights->engine, dnnl_memory_desc_get_size(MD_ARGUMENT(weights->packed_md)));
    if (!memory) return dnnl_out_of_memory;
    return dnnl_memory_create(&weights->packed, MD_ARGUMENT(weights->packed_md), weights->engine->engine,
                              memory);
}

static dnnl_status_t pack(matmul_weights *weights, const float *values) {
    const shape *shape = &weights->shape;
    dnnl_engine_t engine = weights->engine->engine;
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_memory_t plain = NULL;
    md_t plain_md = {0};
    dnnl_status_t status = describe_product(weights->engine, shape, PACKING_ROWS, NULL, &descriptor);
    if (status == dnnl_success) status = clone_weights_md(descriptor, &weights->packed_md);
    /* W^T of [n, k] row-major is [k, n] column-major. */
    if (status == dnnl_success) status = describe(&plain_md, shape->k, shape->n, dnnl_f32, dnnl_ba);
    if (status == dnnl_success)
        status = dnnl_memory_create(&plain, MD_ARGUMENT(plain_md), engine, (void *)(uintptr_t)values);
    if (status == dnnl_success) status = memory_of_weights(weights);
    if (status == dnnl_success)
        status = reorder(engine, plain, plain_md, weights->packed, weights->packed_md);
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
        status = dnnl_memory_create(&weights->bias, MD_ARGUMENT(md), weights->engine->engine,
                                    DNNL_MEMORY_ALLOCATE);
    if (status == dnnl_success) status = dnnl_memory_get_data_handle(weights->bias, &data);
    if (status == dnnl_success) memcpy(data, bias, weights->shape.n * sizeof *bias);
    MD_FREE(md);
    return status;
}

/* OpenMP's number of threads is a setting of the calling thread; returns what it was. */
static int use_threads(int threads) {
    int before = omp_get_max_threads();
    if (before != threads) omp_set_num_threads(threads);
    return before;
}

magpie_status matmul_weights_create(matmul_engine *engine, size_t n, size_t k, const float *values,
                                    const float *bias, ops_activation activation, bool f32_output,
                                    matmul_weights **out) {
    matmul_weights *weights = magpie_alloc(1, sizeof *weights);
    if (!weights) return MAGPIE_E_NO_MEMORY;
    weights->engine = engine;
    weights->shape = (shape){n, k, activation, f32_output};
    /* Layers are packed side by side by threads that would each raise a team of their own; and with more threads than
     * CPUs about, libgomp stops spinning between the products of a short text, which doubles its latency. */
    int before = use_threads(1);
    dnnl_status_t status = pack(weights, values);
    (void)use_threads(before);
    if (status == dnnl_success) status = copy_bias(weights, bias);
    if (status != dnnl_success) {
        matmul_weights_free(weights);
        return fail(status, "packing weights");
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

magpie_status matmul_lane_create(matmul_engine *engine, unsigned threads, matmul_lane **out) {
    matmul_lane *lane = magpie_alloc(1, sizeof *lane);
    if (!lane) return MAGPIE_E_NO_MEMORY;
    lane->engine = engine;
    lane->threads = threads;
    dnnl_status_t status = dnnl_stream_create(&lane->stream, engine->engine, dnnl_stream_default_flags);
    if (status != dnnl_success) {
        free(lane);
        return fail(status, "creating a stream");
    }
    *out = lane;
    return MAGPIE_OK;
}

static void product_free(product *product) {
    if (product->primitive) dnnl_primitive_destroy(product->primitive);
    if (product->x) dnnl_memory_destroy(product->x);
    if (product->y) dnnl_memory_destroy(product->y);
    if (product->scratchpad) dnnl_memory_destroy(product->scratchpad);
}

void matmul_lane_free(matmul_lane *lane) {
    if (!lane) return;
    for (size_t i = 0; i < lane->count; i++) product_free(&lane->products[i]);
    free(lane->products);
    free(lane->scratch);
    dnnl_stream_destroy(lane->stream);
    free(lane);
}

/* Steps of 4 up to 256 rows, and of a 64th to a 32nd of the height beyond: 1% of the work on the average, for
 * heights that cost half a millisecond each to compile once. */
size_t matmul_height(size_t rows) {
    size_t step = 4;
    while (step * 128 <= rows) step *= 2;
    return (rows + step - 1) / step * step;
}

/* What this descriptor's memory at `what` looks like, as a memory without data. */
static dnnl_status_t memory_of(const matmul_engine *engine, const_dnnl_primitive_desc_t descriptor,
                               dnnl_query_t what, dnnl_memory_t *out) {
    return dnnl_memory_create(out, dnnl_primitive_desc_query_md(descriptor, what, 0), engine->engine,
                              DNNL_MEMORY_NONE);
}

static size_t scratch_size(const_dnnl_primitive_desc_t descriptor) {
    return dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(descriptor, dnnl_query_scratchpad_md, 0));
}

static magpie_status grow_scratch(matmul_lane *lane, size_t bytes) {
    if (bytes <= lane->scratch_bytes) return MAGPIE_OK;
    void *larger = magpie_alloc(bytes, 1);
    if (!larger) return MAGPIE_E_NO_MEMORY;
    free(lane->scratch);
    lane->scratch = larger;
    lane->scratch_bytes = bytes;
    return MAGPIE_OK;
}

static magpie_status compile(matmul_lane *lane, const matmul_weights *weights, size_t height, product *out) {
    matmul_engine *engine = lane->engine;
    dnnl_primitive_desc_t descriptor = NULL;
    product made = {.shape = weights->shape, .height = height};
    dnnl_status_t status =
        describe_product(engine, &weights->shape, height, &weights->packed_md, &descriptor);
    if (status == dnnl_success) status = dnnl_primitive_create(&made.primitive, descriptor);
    if (status == dnnl_success) status = memory_of(engine, descriptor, dnnl_query_src_md, &made.x);
    if (status == dnnl_success) status = memory_of(engine, descriptor, dnnl_query_dst_md, &made.y);
    if (status == dnnl_success)
        status = memory_of(engine, descriptor, dnnl_query_scratchpad_md, &made.scratchpad);
    magpie_status result = status == dnnl_success ? grow_scratch(lane, scratch_size(descriptor))
                                                  : fail(status, "compiling a matrix product");
    if (descriptor) dnnl_primitive_desc_destroy(descriptor);
    if (result != MAGPIE_OK)
        product_free(&made);
    else
        *out = made;
    return result;
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

static dnnl_status_t execute(matmul_lane *lane, const product *product, const matmul_weights *weights,
                             const void *x, void *y) {
    dnnl_status_t status = dnnl_memory_set_data_handle(product->x, (void *)(uintptr_t)x);
    if (status == dnnl_success) status = dnnl_memory_set_data_handle(product->y, y);
    if (status == dnnl_success) status = dnnl_memory_set_data_handle(product->scratchpad, lane->scratch);
    if (status != dnnl_success) return status;
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, product->x},
                                   {DNNL_ARG_WEIGHTS, weights->packed},
                                   {DNNL_ARG_BIAS, weights->bias},
                                   {DNNL_ARG_DST, product->y},
                                   {DNNL_ARG_SCRATCHPAD, product->scratchpad}};
    status = dnnl_primitive_execute(product->primitive, lane->stream, 5, arguments);
    return status == dnnl_success ? dnnl_stream_wait(lane->stream) : status;
}

magpie_status matmul_run(matmul_lane *lane, const matmul_weights *weights, const void *x, size_t rows,
                         void *y) {
    product *product;
    /* The primitive has to be made and run with the same number. */
    int before = use_threads((int)lane->threads);
    magpie_status status = find_product(lane, weights, matmul_height(rows), &product);
    if (status == MAGPIE_OK) {
        dnnl_status_t executed = execute(lane, product, weights, x, y);
        if (executed != dnnl_success) status = fail(executed, "a matrix product");
    }
    (void)use_threads(before);
    return status;
}
