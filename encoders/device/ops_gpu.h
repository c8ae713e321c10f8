/* ops_gpu.h - what the halves of the backend for GPUs share: ops_gpu.c (rows of tokens) and ops_gpu_maps.c (maps of
 * pictures). Private to that backend, which is one for all drivers.
 *
 * A device has the weights in one arena, a lane its tensors in another, and a queue: operations are put into it and
 * return; only those with results in host memory wait. Streams are f32, bf16 or f16, sums f32. Maps are channels-last
 * with channels padded to eight, and the padding is zero: so no kernel has to look where one pixel ends. */
#ifndef MAGPIE_OPS_GPU_H
#define MAGPIE_OPS_GPU_H

#include "gpu.h"
#include "ops.h"

#include <pthread.h>

struct ops_device {
    const ops_table *table;
    gpu *gpu;
    const gpu_driver *driver;
    magpie_precision precision;
    pthread_mutex_t lock; /* of what follows */
    gpu_arena arena;
    gpu_queue *loader;
    struct ops_gpu_table {
        const tensor *source;
        gpu_buffer buffer;
    } * tables; /* of embeddings, where they were uploaded */
    size_t count, capacity;
};

struct ops_lane {
    ops_device *device;
    gpu_queue *queue;
    gpu_arena arena;
    gpu_buffer **handles; /* of tensors and maps given out */
    size_t handle_count, handle_capacity;
    /* Of the last batch: starts [texts + 1] as the host has them, and on the device; for each row, the first of its
     * text and the end of it. */
    size_t *starts;
    size_t texts, starts_capacity;
    uint32_t *staged;
    size_t staged_capacity;
    gpu_buffer device_starts, first, end, ids, sums, result, between;
    struct {
        gpu_buffer window, turns, filters, weights, bins;
    } spectrogram;
};

/* Puts a kernel into the queue of a lane. */
#define OPS_GPU_RUN(lane, kernel, head, ...) GPU_RUN((lane)->queue, kernel, head, __VA_ARGS__)

static inline size_t ops_gpu_blocks(size_t n, size_t block) { return (n + block - 1) / block; }

static inline size_t ops_gpu_padded(size_t channels) { return (channels + 7) / 8 * 8; }

/* Tensors and maps keep their buffer behind a pointer. */
static inline gpu_buffer ops_gpu_buffer(const void *handle) { return *(const gpu_buffer *)handle; }

/* `values` [elements] to a new buffer of the device's, as a stream or in f32. Thread-safe. */
MAGPIE_CHECK_RESULT magpie_status ops_gpu_upload(ops_device *device, const float *values, size_t elements,
                                                 bool stream, gpu_buffer *out);
/* Room for `bytes` in the lane's memory; keeps what it has where that is enough. */
MAGPIE_CHECK_RESULT magpie_status ops_gpu_room(ops_lane *lane, gpu_buffer *buffer, size_t bytes);
/* Memory for a tensor or map, whose handle it becomes. */
MAGPIE_CHECK_RESULT magpie_status ops_gpu_handle(ops_lane *lane, size_t bytes, void **handle);
/* A tensor of the model's file, in f32; uploaded when it is first asked for. Thread-safe. */
MAGPIE_CHECK_RESULT magpie_status ops_gpu_table_of(ops_device *device, const tensor *source, gpu_buffer *out);

#endif
