/* ops_gpu_maps.h - ops_gpu_maps.c: as ops_table has them. Private to the backend for GPUs. */
#ifndef MAGPIE_OPS_GPU_MAPS_H
#define MAGPIE_OPS_GPU_MAPS_H

#include "ops.h"

magpie_status ops_gpu_conv_create(ops_device *device, const ops_conv_source *source, ops_conv **out);
void ops_gpu_conv_free(ops_conv *conv);
magpie_status ops_gpu_map_create(ops_lane *lane, size_t elements, ops_map *out);
magpie_status ops_gpu_image_load(ops_lane *lane, const uint8_t *pixels, size_t images, size_t height,
                                 size_t width, const float mean[3], const float std[3], ops_map *y);
magpie_status ops_gpu_pictures_load(ops_lane *lane, const struct image_packed *pictures, size_t images,
                                    size_t side, const float mean[3], const float std[3], ops_map *y);
magpie_status ops_gpu_map_load(ops_lane *lane, const float *values, size_t images, size_t height,
                               size_t width, ops_map *y);
magpie_status ops_gpu_conv(ops_lane *lane, const ops_conv *conv, const ops_map *x, size_t images, ops_map *y);
magpie_status ops_gpu_max_pool(ops_lane *lane, const ops_pool_window *window, const ops_map *x, size_t images,
                               ops_map *y);
magpie_status ops_gpu_average_pool(ops_lane *lane, const ops_map *x, size_t images, ops_map *y);
magpie_status ops_gpu_global_pool(ops_lane *lane, const ops_map *x, size_t images, bool unit, float *out);
magpie_status ops_gpu_map_rows(ops_lane *lane, const ops_map *x, size_t images, const tensor *position,
                               ops_tensor *y);
magpie_status ops_gpu_map_read(ops_lane *lane, const ops_map *x, size_t images, float *out);
magpie_status ops_gpu_map_largest(ops_lane *lane, const ops_map *x, size_t images, float *largest);

#endif
