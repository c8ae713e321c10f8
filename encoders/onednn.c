/* onednn.c - see onednn.h. */
#include "onednn.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Packed weights lie side by side in large chunks: for a short text, streaming them is all of the time. */
enum { CHUNK_BYTES = 16 << 20, CHUNK_ALIGNMENT = 64 };

typedef struct chunk {
    struct chunk *next;
    unsigned char *memory;
    size_t size, used;
} chunk;

struct onednn_device {
    dnnl_engine_t engine;
    dnnl_data_type_t type;
    bool int8;
    pthread_mutex_t lock; /* of the chunks: weights are packed by several threads */
    chunk *chunks;        /* the newest first */
};

struct onednn_queue {
    onednn_device *device;
    dnnl_stream_t stream;
    int threads;
    void *scratch;
    size_t scratch_bytes;
};

magpie_status onednn_fail(dnnl_status_t status, const char *what) {
    return magpie_fail(status == dnnl_out_of_memory ? MAGPIE_E_NO_MEMORY : MAGPIE_E_INTERNAL,
                       "oneDNN: %s failed with status %d", what, (int)status);
}

static bool has(dnnl_cpu_isa_t isa) { return (dnnl_get_effective_cpu_isa() & isa) == isa; }

bool onednn_native_bf16(void) { return has(dnnl_cpu_isa_avx512_core_bf16); }
bool onednn_vector_bf16(void) { return onednn_native_bf16() && !has(dnnl_cpu_isa_avx512_core_amx); }
size_t onednn_channel_block(void) { return has(dnnl_cpu_isa_avx512_core) ? 16 : 8; }

/* Without VNNI, products of 8 bits are added up in 16 that overflow. */
magpie_status onednn_check_int8(void) {
#if DNNL_VERSION_MAJOR >= 3
    return magpie_fail(MAGPIE_E_UNSUPPORTED, "int8 is written for oneDNN 2; this one is %d",
                       DNNL_VERSION_MAJOR);
#else
    if (has(dnnl_cpu_isa_avx512_core_vnni)) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_UNSUPPORTED, "int8 needs a CPU with AVX512_VNNI");
#endif
}

magpie_status onednn_device_create(bool bf16, bool int8, onednn_device **out) {
    onednn_device *device = magpie_alloc(1, sizeof *device);
    if (!device) return MAGPIE_E_NO_MEMORY;
    device->type = bf16 ? dnnl_bf16 : dnnl_f32;
    device->int8 = int8;
    pthread_mutex_init(&device->lock, NULL);
    dnnl_status_t status = dnnl_engine_create(&device->engine, dnnl_cpu, 0);
    if (status != dnnl_success) {
        free(device);
        return onednn_fail(status, "creating a CPU engine");
    }
    *out = device;
    return MAGPIE_OK;
}

void onednn_device_free(onednn_device *device) {
    if (!device) return;
    dnnl_engine_destroy(device->engine);
    pthread_mutex_destroy(&device->lock);
    for (chunk *c = device->chunks, *next; c; c = next) {
        next = c->next;
        free(c->memory);
        free(c);
    }
    free(device);
}

dnnl_engine_t onednn_engine(const onednn_device *device) { return device->engine; }
dnnl_data_type_t onednn_type(const onednn_device *device) { return device->type; }
bool onednn_int8(const onednn_device *device) { return device->int8; }

int onednn_use_threads(int threads) {
    int before = omp_get_max_threads();
    if (before != threads) omp_set_num_threads(threads);
    return before;
}

/* ---- memory ---- */

static chunk *add_chunk(onednn_device *device, size_t bytes) {
    chunk *c = magpie_alloc(1, sizeof *c);
    if (!c) return NULL;
    c->size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
    c->memory = magpie_alloc_large(c->size, 1);
    if (!c->memory) {
        free(c);
        return NULL;
    }
    c->next = device->chunks;
    return device->chunks = c;
}

static void *take_memory(onednn_device *device, size_t bytes) {
    bytes = (bytes + CHUNK_ALIGNMENT - 1) / CHUNK_ALIGNMENT * CHUNK_ALIGNMENT;
    pthread_mutex_lock(&device->lock);
    chunk *c = device->chunks;
    if (!c || c->size - c->used < bytes) c = add_chunk(device, bytes);
    void *memory = c ? c->memory + c->used : NULL;
    if (c) c->used += bytes;
    pthread_mutex_unlock(&device->lock);
    return memory;
}

dnnl_status_t onednn_weights_memory(onednn_device *device, md_t md, dnnl_memory_t *out) {
    void *memory = take_memory(device, dnnl_memory_desc_get_size(MD_ARGUMENT(md)));
    if (!memory) return dnnl_out_of_memory;
    return dnnl_memory_create(out, MD_ARGUMENT(md), device->engine, memory);
}

dnnl_status_t onednn_describe(md_t *md, int rank, const dnnl_dims_t dims, dnnl_data_type_t type,
                              dnnl_format_tag_t tag) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_tag(md, rank, dims, type, tag);
#else
    return dnnl_memory_desc_init_by_tag(md, rank, dims, type, tag);
#endif
}

dnnl_status_t onednn_describe_strides(md_t *md, int rank, const dnnl_dims_t dims, dnnl_data_type_t type,
                                      const dnnl_dims_t strides) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_strides(md, rank, dims, type, strides);
#else
    return dnnl_memory_desc_init_by_strides(md, rank, dims, type, strides);
#endif
}

dnnl_status_t onednn_describe_matmul(dnnl_engine_t engine, md_t x, md_t w, const md_t *bias, md_t y,
                                     dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(out, engine, x, w, bias ? *bias : NULL, y, attributes);
#else
    dnnl_matmul_desc_t operation;
    dnnl_status_t status = dnnl_matmul_desc_init(&operation, &x, &w, bias, &y);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(out, &operation, attributes, engine, NULL);
#endif
}

dnnl_status_t onednn_reorder(onednn_device *device, dnnl_memory_t from, md_t from_md, dnnl_memory_t to,
                             md_t to_md) {
    dnnl_engine_t engine = device->engine;
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

dnnl_status_t onednn_clone_weights_md(const_dnnl_primitive_desc_t descriptor, md_t *out) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_clone(out, dnnl_primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0));
#else
    *out = *dnnl_primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0);
    return dnnl_success;
#endif
}

/* ---- running ---- */

magpie_status onednn_queue_create(onednn_device *device, unsigned threads, onednn_queue **out) {
    onednn_queue *queue = magpie_alloc(1, sizeof *queue);
    if (!queue) return MAGPIE_E_NO_MEMORY;
    queue->device = device;
    queue->threads = (int)threads;
    dnnl_status_t status = dnnl_stream_create(&queue->stream, device->engine, dnnl_stream_default_flags);
    if (status != dnnl_success) {
        free(queue);
        return onednn_fail(status, "creating a stream");
    }
    *out = queue;
    return MAGPIE_OK;
}

void onednn_queue_free(onednn_queue *queue) {
    if (!queue) return;
    dnnl_stream_destroy(queue->stream);
    free(queue->scratch);
    free(queue);
}

onednn_device *onednn_queue_device(const onednn_queue *queue) { return queue->device; }
int onednn_queue_threads(const onednn_queue *queue) { return queue->threads; }

static magpie_status grow_scratch(onednn_queue *queue, const_dnnl_primitive_desc_t descriptor) {
    size_t bytes =
        dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(descriptor, dnnl_query_scratchpad_md, 0));
    if (bytes <= queue->scratch_bytes) return MAGPIE_OK;
    void *larger = magpie_alloc(bytes, 1);
    if (!larger) return MAGPIE_E_NO_MEMORY;
    free(queue->scratch);
    queue->scratch = larger;
    queue->scratch_bytes = bytes;
    return MAGPIE_OK;
}

/* What this descriptor's memory at `what` looks like, as a memory without data. */
static dnnl_status_t memory_of(const onednn_queue *queue, const_dnnl_primitive_desc_t descriptor,
                               dnnl_query_t what, dnnl_memory_t *out) {
    return dnnl_memory_create(out, dnnl_primitive_desc_query_md(descriptor, what, 0), queue->device->engine,
                              DNNL_MEMORY_NONE);
}

dnnl_status_t onednn_make_attributes(dnnl_post_ops_t operations, dnnl_primitive_attr_t *out) {
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&attributes);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && operations)
        status = dnnl_primitive_attr_set_post_ops(attributes, operations);
    if (status == dnnl_success)
        *out = attributes;
    else
        dnnl_primitive_attr_destroy(attributes);
    return status;
}

magpie_status onednn_compile(onednn_queue *queue, dnnl_primitive_desc_t descriptor, const char *what,
                             onednn_compiled *out) {
    onednn_compiled made = {0};
    dnnl_status_t status = dnnl_primitive_create(&made.primitive, descriptor);
    if (status == dnnl_success) status = memory_of(queue, descriptor, dnnl_query_src_md, &made.x);
    if (status == dnnl_success) status = memory_of(queue, descriptor, dnnl_query_dst_md, &made.y);
    if (status == dnnl_success)
        status = memory_of(queue, descriptor, dnnl_query_scratchpad_md, &made.scratchpad);
    magpie_status result =
        status == dnnl_success ? grow_scratch(queue, descriptor) : onednn_fail(status, what);
    dnnl_primitive_desc_destroy(descriptor);
    if (result == MAGPIE_OK)
        *out = made;
    else
        onednn_compiled_free(&made);
    return result;
}

void onednn_compiled_free(onednn_compiled *compiled) {
    if (compiled->primitive) dnnl_primitive_destroy(compiled->primitive);
    if (compiled->x) dnnl_memory_destroy(compiled->x);
    if (compiled->y) dnnl_memory_destroy(compiled->y);
    if (compiled->scratchpad) dnnl_memory_destroy(compiled->scratchpad);
}

magpie_status onednn_run(onednn_queue *queue, const onednn_compiled *compiled, dnnl_memory_t weights,
                         dnnl_memory_t bias, const void *x, void *y, const char *what) {
    dnnl_status_t status = dnnl_memory_set_data_handle(compiled->x, (void *)(uintptr_t)x);
    if (status == dnnl_success) status = dnnl_memory_set_data_handle(compiled->y, y);
    if (status == dnnl_success) status = dnnl_memory_set_data_handle(compiled->scratchpad, queue->scratch);
    if (status == dnnl_success) {
        dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, compiled->x},
                                       {DNNL_ARG_DST, compiled->y},
                                       {DNNL_ARG_SCRATCHPAD, compiled->scratchpad},
                                       {DNNL_ARG_WEIGHTS, weights},
                                       {DNNL_ARG_BIAS, bias}};
        status = dnnl_primitive_execute(compiled->primitive, queue->stream, weights ? 5 : 3, arguments);
    }
    if (status == dnnl_success) status = dnnl_stream_wait(queue->stream);
    return status == dnnl_success ? MAGPIE_OK : onednn_fail(status, what);
}
