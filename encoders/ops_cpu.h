/* ops_cpu.h - what the halves of the cpu backend share: ops_cpu.c (rows of tokens) and ops_cpu_maps.c (maps of
 * pictures). Private to the cpu backend. */
#ifndef MAGPIE_OPS_CPU_H
#define MAGPIE_OPS_CPU_H

#include "dnnl_conv.h"
#include "dnnl_matmul.h"
#include "simd.h"

#include <string.h>

struct ops_device {
    const ops_table *table;
    onednn_device *onednn;
    const simd_table *simd;
    bool bf16;
    bool int8; /* maps; tensors are f32 then */
};

struct ops_linear {
    matmul_weights *weights;
    bool gelu; /* follows the product, by ours: oneDNN's, fused, takes twice as long */
};

struct ops_norm {
    size_t columns;
    float epsilon;
    float *gamma, *beta; /* [columns] each, one block that begins at gamma */
};

struct ops_lane {
    ops_device *device;
    onednn_queue *queue;
    matmul_lane *matmul;
    conv_lane *conv;
    void **memory; /* of every tensor and map given out */
    size_t count, capacity;
    float *scratch; /* of attention and embedding */
    size_t scratch_floats;
};

/* Streams are stored in the precision of the device, sums in f32. */
static inline bool ops_cpu_bf16(const ops_lane *lane, ops_storage storage) {
    return storage == OPS_STREAM && lane->device->bf16;
}

/* Bytes. */
static inline size_t ops_cpu_element(const ops_lane *lane, ops_storage storage) {
    return ops_cpu_bf16(lane, storage) ? sizeof(uint16_t) : sizeof(float);
}

/* Element `column` of row `row`. */
static inline void *ops_cpu_at(const ops_lane *lane, const ops_tensor *x, size_t row, size_t column) {
    return (unsigned char *)x->handle + (row * x->columns + column) * ops_cpu_element(lane, x->storage);
}

/* To bf16, to nearest, ties to even; of finite values. */
static inline uint16_t ops_cpu_narrow(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

/* ops_cpu_maps.c: as ops_table has them. */
magpie_status ops_cpu_conv_create(ops_device *device, const ops_conv_source *source, ops_conv **out);
void ops_cpu_conv_free(ops_conv *conv);
magpie_status ops_cpu_image_load(ops_lane *lane, const uint8_t *pixels, size_t images, size_t height,
                                 size_t width, const float mean[3], const float std[3], ops_map *y);
magpie_status ops_cpu_map_load(ops_lane *lane, const float *values, size_t images, size_t height,
                               size_t width, ops_map *y);
magpie_status ops_cpu_conv(ops_lane *lane, const ops_conv *conv, const ops_map *x, size_t images, ops_map *y);
magpie_status ops_cpu_max_pool(ops_lane *lane, const ops_pool_window *window, const ops_map *x, size_t images,
                               ops_map *y);
magpie_status ops_cpu_average_pool(ops_lane *lane, const ops_map *x, size_t images, ops_map *y);
magpie_status ops_cpu_global_pool(ops_lane *lane, const ops_map *x, size_t images, bool unit, float *out);
magpie_status ops_cpu_map_rows(ops_lane *lane, const ops_map *x, size_t images, const tensor *position,
                               ops_tensor *y);
magpie_status ops_cpu_map_read(ops_lane *lane, const ops_map *x, size_t images, float *out);
magpie_status ops_cpu_map_largest(ops_lane *lane, const ops_map *x, size_t images, float *largest);

#endif
