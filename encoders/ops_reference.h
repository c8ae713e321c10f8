/* ops_reference.h - what the halves of the reference backend share: ops_reference.c (rows of tokens) and
 * ops_reference_maps.c (maps of pictures). Private to the reference backend. */
#ifndef MAGPIE_OPS_REFERENCE_H
#define MAGPIE_OPS_REFERENCE_H

#include "ops.h"

struct ops_device {
    const ops_table *table;
};

struct ops_linear {
    size_t in, out;
    ops_activation activation;
    float *weight; /* [out, in] */
    float *bias;   /* [out] */
};

struct ops_norm {
    size_t columns;
    double epsilon;
    float *gamma, *beta; /* [columns] each */
};

struct ops_lane {
    ops_device *device;
    void **memory; /* of every tensor and map given out */
    size_t count, capacity;
};

/* x [n] divided by its Euclidean length. */
void ops_reference_unit(float *x, size_t n);

/* ops_reference_maps.c: as ops_table has them. */
magpie_status ops_reference_conv_create(ops_device *device, const ops_conv_source *source, ops_conv **out);
void ops_reference_conv_free(ops_conv *conv);
magpie_status ops_reference_image_load(ops_lane *lane, const uint8_t *pixels, size_t images, size_t height,
                                       size_t width, const float mean[3], const float std[3], ops_map *y);
magpie_status ops_reference_map_load(ops_lane *lane, const float *values, size_t images, size_t height,
                                     size_t width, ops_map *y);
magpie_status ops_reference_conv(ops_lane *lane, const ops_conv *conv, const ops_map *x, size_t images,
                                 ops_map *y);
magpie_status ops_reference_max_pool(ops_lane *lane, const ops_pool_window *window, const ops_map *x,
                                     size_t images, ops_map *y);
magpie_status ops_reference_average_pool(ops_lane *lane, const ops_map *x, size_t images, ops_map *y);
magpie_status ops_reference_global_pool(ops_lane *lane, const ops_map *x, size_t images, bool unit,
                                        float *out);
magpie_status ops_reference_map_rows(ops_lane *lane, const ops_map *x, size_t images, const tensor *position,
                                     ops_tensor *y);
magpie_status ops_reference_map_read(ops_lane *lane, const ops_map *x, size_t images, float *out);
magpie_status ops_reference_map_largest(ops_lane *lane, const ops_map *x, size_t images, float *largest);

#endif
