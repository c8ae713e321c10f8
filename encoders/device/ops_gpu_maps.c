/* ops_gpu_maps.c - the operations on a GPU, on maps of pictures and spectrograms. */
#include "ops_gpu_maps.h"
#include "image_resize.h"
#include "ops_gpu.h"

#include <stdlib.h>

struct ops_conv {
    size_t in, out, side, stride, padding; /* in and out: channels as padded */
    size_t channels;                       /* out, not padded */
    bool relu, residual, has_scale;
    gpu_buffer weight, bias, scale, offset; /* [side^2 in, out] stream, [out] each */
    gpu_buffer stream_bias;                 /* for products of the driver's */
};

enum { PLACE_PADDED = 8 /* channels of what is loaded */, LARGEST_GROUPS = 64 };

/* ---- convolutions ---- */

/* Memory on the device is the device's, to its end. */
void ops_gpu_conv_free(ops_conv *conv) { free(conv); }

static magpie_status upload_weight(ops_device *device, const ops_conv_source *source, ops_conv *conv) {
    const size_t taps = source->kernel * source->kernel, elements = taps * conv->in * conv->out;
    float *packed = magpie_alloc(elements, sizeof *packed);
    if (!packed) return MAGPIE_E_NO_MEMORY;
    for (size_t o = 0; o < source->out; o++)
        for (size_t c = 0; c < source->in; c++)
            for (size_t t = 0; t < taps; t++)
                packed[(t * conv->in + c) * conv->out + o] = source->weight[(o * source->in + c) * taps + t];
    magpie_status status = ops_gpu_upload(device, packed, elements, true, &conv->weight);
    free(packed);
    return status;
}

/* values [channels] to [out], zeros behind; NULL: zeros. */
static magpie_status upload_channels(ops_device *device, const float *values, const ops_conv *conv,
                                     bool stream, gpu_buffer *out) {
    float *padded = magpie_alloc(conv->out, sizeof *padded);
    if (!padded) return MAGPIE_E_NO_MEMORY;
    for (size_t o = 0; values && o < conv->channels; o++) padded[o] = values[o];
    magpie_status status = ops_gpu_upload(device, padded, conv->out, stream, out);
    free(padded);
    return status;
}

/* A 1 x 1 convolution is a matrix product of places, which the driver may have. */
static bool is_product(const ops_device *device, const ops_conv *conv) {
    return device->driver->product && conv->side == 1 && conv->stride == 1 && conv->padding == 0 &&
           !conv->has_scale;
}

magpie_status ops_gpu_conv_create(ops_device *device, const ops_conv_source *source, ops_conv **out) {
    ops_conv *conv = magpie_alloc(1, sizeof *conv);
    if (!conv) return MAGPIE_E_NO_MEMORY;
    *conv = (ops_conv){.in = ops_gpu_padded(source->in),
                       .out = ops_gpu_padded(source->out),
                       .side = source->kernel,
                       .stride = source->stride,
                       .padding = source->padding,
                       .channels = source->out,
                       .relu = source->relu,
                       .residual = source->residual,
                       .has_scale = source->scale != NULL};
    magpie_status status = upload_weight(device, source, conv);
    if (status == MAGPIE_OK) status = upload_channels(device, source->bias, conv, false, &conv->bias);
    if (status == MAGPIE_OK) status = upload_channels(device, source->scale, conv, false, &conv->scale);
    if (status == MAGPIE_OK) status = upload_channels(device, source->offset, conv, false, &conv->offset);
    if (status == MAGPIE_OK && is_product(device, conv))
        status = upload_channels(device, source->bias, conv, true, &conv->stream_bias);
    if (status == MAGPIE_OK)
        *out = conv;
    else
        ops_gpu_conv_free(conv);
    return status;
}

/* ---- maps ---- */

static gpu_arg at(const ops_map *x) { return gpu_at(ops_gpu_buffer(x->handle)); }

static size_t places(const ops_map *x, size_t images) { return images * x->height * x->width; }

static size_t elements(const ops_map *x, size_t images) {
    return places(x, images) * ops_gpu_padded(x->channels);
}

magpie_status ops_gpu_map_create(ops_lane *lane, size_t count, ops_map *out) {
    *out = (ops_map){0};
    if (count > UINT32_MAX) return magpie_fail(MAGPIE_E_NO_MEMORY, "a map is too large");
    return ops_gpu_handle(lane, count * gpu_stream_bytes(lane->device->precision), &out->handle);
}

/* Host memory to the lane's scratch. */
static magpie_status stage(ops_lane *lane, const void *from, size_t bytes) {
    magpie_status status = ops_gpu_room(lane, &lane->sums, bytes);
    return status == MAGPIE_OK ? lane->device->driver->write(lane->queue, lane->sums, 0, from, bytes)
                               : status;
}

magpie_status ops_gpu_image_load(ops_lane *lane, const uint8_t *pixels, size_t images, size_t height,
                                 size_t width, const float mean[3], const float std[3], ops_map *y) {
    ops_map_shape(y, 3, height, width);
    magpie_status status = stage(lane, pixels, places(y, images) * 3);
    if (status != MAGPIE_OK) return status;
    return OPS_GPU_RUN(lane, GPU_image_load, 0, ops_gpu_blocks(places(y, images), 256), 1, 1,
                       gpu_at(lane->sums), at(y), gpu_uint(places(y, images)), gpu_float(mean[0]),
                       gpu_float(mean[1]), gpu_float(mean[2]), gpu_float(std[0]), gpu_float(std[1]),
                       gpu_float(std[2]));
}

/* Pictures behind each other into lane->sums, and where each begins, and what is between its passes, into
 * lane->ids. */
static magpie_status stage_pictures(ops_lane *lane, const image_packed *pictures, size_t images) {
    const gpu_driver *driver = lane->device->driver;
    size_t words = 0, between = 0;
    magpie_status status =
        magpie_grow((void **)&lane->staged, &lane->staged_capacity, 2 * images, sizeof *lane->staged);
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < images; i++) {
        lane->staged[2 * i] = (uint32_t)words;
        lane->staged[2 * i + 1] = (uint32_t)between;
        words += pictures[i].count;
        between += pictures[i].between;
    }
    if (words > UINT32_MAX || between > UINT32_MAX)
        return magpie_fail(MAGPIE_E_NO_MEMORY, "a batch of pictures is too large");
    status = ops_gpu_room(lane, &lane->sums, words * sizeof *lane->staged);
    if (status == MAGPIE_OK) status = ops_gpu_room(lane, &lane->between, between * 3);
    if (status == MAGPIE_OK) status = ops_gpu_room(lane, &lane->ids, 2 * images * sizeof *lane->staged);
    if (status == MAGPIE_OK)
        status = driver->write(lane->queue, lane->ids, 0, lane->staged, 2 * images * sizeof *lane->staged);
    for (size_t i = 0; i < images && status == MAGPIE_OK; i++)
        status = driver->write(lane->queue, lane->sums, lane->staged[2 * i] * sizeof *lane->staged,
                               pictures[i].words, pictures[i].count * sizeof *lane->staged);
    return status;
}

magpie_status ops_gpu_pictures_load(ops_lane *lane, const image_packed *pictures, size_t images, size_t side,
                                    const float mean[3], const float std[3], ops_map *y) {
    size_t most = 0; /* pixels between the passes of a picture */
    ops_map_shape(y, 3, side, side);
    for (size_t i = 0; i < images; i++)
        if (pictures[i].between > most) most = pictures[i].between;
    magpie_status status = stage_pictures(lane, pictures, images);
    if (status == MAGPIE_OK)
        status = OPS_GPU_RUN(lane, GPU_resize_across, 0, ops_gpu_blocks(most, 256), images, 1,
                             gpu_at(lane->sums), gpu_at(lane->ids), gpu_at(lane->between));
    if (status != MAGPIE_OK) return status;
    return OPS_GPU_RUN(lane, GPU_resize_down, 0, ops_gpu_blocks(side * side, 256), images, 1,
                       gpu_at(lane->sums), gpu_at(lane->ids), gpu_at(lane->between), at(y), gpu_uint(side),
                       gpu_float(mean[0]), gpu_float(mean[1]), gpu_float(mean[2]), gpu_float(std[0]),
                       gpu_float(std[1]), gpu_float(std[2]));
}

magpie_status ops_gpu_map_load(ops_lane *lane, const float *values, size_t images, size_t height,
                               size_t width, ops_map *y) {
    ops_map_shape(y, 1, height, width);
    magpie_status status = stage(lane, values, places(y, images) * sizeof *values);
    if (status != MAGPIE_OK) return status;
    return OPS_GPU_RUN(lane, GPU_map_load, 0, ops_gpu_blocks(places(y, images) * PLACE_PADDED, 256), 1, 1,
                       gpu_at(lane->sums), at(y), gpu_uint(places(y, images)));
}

static magpie_status conv_product(ops_lane *lane, const ops_conv *conv, const ops_map *x, size_t rows,
                                  ops_map *y) {
    const gpu_product product = {.x = ops_gpu_buffer(x->handle),
                                 .weight = conv->weight,
                                 .bias = conv->stream_bias,
                                 .y = ops_gpu_buffer(y->handle),
                                 .rows = rows,
                                 .columns = conv->out,
                                 .depth = conv->in,
                                 .padded = conv->out,
                                 .relu = conv->relu,
                                 .add = conv->residual};
    return lane->device->driver->product(lane->queue, &product);
}

/* Which kernel, and the tile that a group of it makes. Of Hopper's the widest takes 1.8 times as long as the next one
 * (an H100, 3 x 3 of 256), and may leave more multiprocessors without a group in the last round. */
static gpu_kernel conv_kernel(const gpu_base *base, size_t rows, size_t out, gpu_tile *tile) {
    static const gpu_tile hopper[] = {{128, 64, 256}, {128, 128, 256}, {128, 256, 256}};
    *tile = base->tile;
    if (!base->hopper) return GPU_conv;
    size_t rounds[3];
    for (int i = 0; i < 3; i++)
        rounds[i] = ops_gpu_blocks(
            ops_gpu_blocks(rows, hopper[i].rows) * ops_gpu_blocks(out, hopper[i].columns), base->hopper);
    const int i = out <= 64 ? 0 : 9 * rounds[2] < 5 * rounds[1] ? 2 : 1;
    *tile = hopper[i];
    return (gpu_kernel)(GPU_conv_hopper_64 + i);
}

magpie_status ops_gpu_conv(ops_lane *lane, const ops_conv *conv, const ops_map *x, size_t images,
                           ops_map *y) {
    ops_map_shape(y, conv->channels, ops_windows(x->height, conv->side, conv->stride, conv->padding),
                  ops_windows(x->width, conv->side, conv->stride, conv->padding));
    const size_t rows = places(y, images);
    if (is_product(lane->device, conv) && rows > 0) {
        magpie_status status = conv_product(lane, conv, x, rows, y);
        if (status != MAGPIE_E_UNSUPPORTED) return status;
    }
    gpu_tile tile;
    const gpu_kernel kernel = conv_kernel(gpu_base_of(lane->device->gpu), rows, conv->out, &tile);
    return OPS_GPU_RUN(
        lane, kernel, 0, ops_gpu_blocks(rows, tile.rows), ops_gpu_blocks(conv->out, tile.columns), 1, at(x),
        gpu_at(conv->weight), gpu_at(conv->bias), gpu_at(conv->scale), gpu_at(conv->offset), at(y),
        gpu_uint(rows), gpu_uint(conv->in), gpu_uint(conv->out), gpu_uint(x->height), gpu_uint(x->width),
        gpu_uint(y->height), gpu_uint(y->width), gpu_uint(conv->side), gpu_uint(conv->stride),
        gpu_uint(conv->padding), gpu_uint(conv->relu), gpu_uint(conv->residual), gpu_uint(conv->has_scale));
}

magpie_status ops_gpu_max_pool(ops_lane *lane, const ops_pool_window *window, const ops_map *x, size_t images,
                               ops_map *y) {
    ops_map_shape(y, x->channels, ops_windows(x->height, window->height, window->stride_down, window->border),
                  ops_windows(x->width, window->width, window->stride_across, window->border));
    return OPS_GPU_RUN(lane, GPU_max_pool, 0, ops_gpu_blocks(elements(y, images), 8 * 256), 1, 1, at(x),
                       at(y), gpu_uint(elements(y, images)), gpu_uint(ops_gpu_padded(x->channels)),
                       gpu_uint(x->height), gpu_uint(x->width), gpu_uint(y->height), gpu_uint(y->width),
                       gpu_uint(window->height), gpu_uint(window->width), gpu_uint(window->stride_down),
                       gpu_uint(window->stride_across), gpu_uint(window->border));
}

magpie_status ops_gpu_average_pool(ops_lane *lane, const ops_map *x, size_t images, ops_map *y) {
    ops_map_shape(y, x->channels, ops_windows(x->height, 2, 2, 0), ops_windows(x->width, 2, 2, 0));
    return OPS_GPU_RUN(lane, GPU_average_pool, 0, ops_gpu_blocks(elements(y, images), 256), 1, 1, at(x),
                       at(y), gpu_uint(elements(y, images)), gpu_uint(ops_gpu_padded(x->channels)),
                       gpu_uint(x->height), gpu_uint(x->width), gpu_uint(y->height), gpu_uint(y->width));
}

/* ---- results ---- */

static magpie_status fetch(ops_lane *lane, magpie_status status, void *out, size_t bytes) {
    return status == MAGPIE_OK ? lane->device->driver->read(lane->queue, lane->result, 0, out, bytes)
                               : status;
}

magpie_status ops_gpu_global_pool(ops_lane *lane, const ops_map *x, size_t images, bool unit, float *out) {
    const size_t bytes = images * x->channels * sizeof *out;
    magpie_status status = ops_gpu_room(lane, &lane->result, bytes);
    if (status == MAGPIE_OK)
        status = OPS_GPU_RUN(lane, GPU_global_pool, 0, images, 1, 1, at(x), gpu_at(lane->result),
                             gpu_uint(x->height * x->width), gpu_uint(x->channels),
                             gpu_uint(ops_gpu_padded(x->channels)), gpu_uint(unit));
    return fetch(lane, status, out, bytes);
}

magpie_status ops_gpu_map_rows(ops_lane *lane, const ops_map *x, size_t images, const tensor *position,
                               ops_tensor *y) {
    gpu_buffer table;
    magpie_status status = ops_gpu_table_of(lane->device, position, &table);
    if (status != MAGPIE_OK) return status;
    return OPS_GPU_RUN(lane, GPU_map_rows, 0, 1 + x->height * x->width, images, 1, at(x), gpu_at(table),
                       gpu_at(ops_gpu_buffer(y->handle)), gpu_uint(x->height * x->width),
                       gpu_uint(x->channels), gpu_uint(ops_gpu_padded(x->channels)));
}

magpie_status ops_gpu_map_read(ops_lane *lane, const ops_map *x, size_t images, float *out) {
    const size_t count = places(x, images) * x->channels, bytes = count * sizeof *out;
    magpie_status status = ops_gpu_room(lane, &lane->result, bytes);
    if (status == MAGPIE_OK)
        status =
            OPS_GPU_RUN(lane, GPU_map_read, 0, ops_gpu_blocks(count, 256), 1, 1, at(x), gpu_at(lane->result),
                        gpu_uint(count), gpu_uint(x->channels), gpu_uint(ops_gpu_padded(x->channels)));
    return fetch(lane, status, out, bytes);
}

magpie_status ops_gpu_map_largest(ops_lane *lane, const ops_map *x, size_t images, float *largest) {
    float of_groups[LARGEST_GROUPS];
    magpie_status status = ops_gpu_room(lane, &lane->result, sizeof of_groups);
    if (status == MAGPIE_OK)
        status = OPS_GPU_RUN(lane, GPU_map_largest, 0, LARGEST_GROUPS, 1, 1, at(x), gpu_at(lane->result),
                             gpu_uint(elements(x, images)), gpu_uint(LARGEST_GROUPS));
    status = fetch(lane, status, of_groups, sizeof of_groups);
    *largest = 0;
    for (int i = 0; i < LARGEST_GROUPS && status == MAGPIE_OK; i++)
        if (of_groups[i] > *largest) *largest = of_groups[i];
    return status;
}
