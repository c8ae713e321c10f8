/* ops_cpu_maps.c - the operations on maps of pictures: convolutions and poolings by oneDNN, what is at their
 * two ends by hand. */
#include "ops_cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ops_conv {
    conv_weights *weights;
    float *scale, *offset; /* [out, rounded up to a block], one block that begins at scale; NULL: none */
};

enum { BLOCK_MAX = 16 /* channels side by side */ };

static magpie_status copy_scale(const ops_conv_source *source, ops_conv *conv) {
    size_t n = (source->out + BLOCK_MAX - 1) / BLOCK_MAX * BLOCK_MAX;
    conv->scale = magpie_alloc(2 * n, sizeof *conv->scale);
    if (!conv->scale) return MAGPIE_E_NO_MEMORY;
    conv->offset = conv->scale + n;
    memcpy(conv->scale, source->scale, source->out * sizeof *conv->scale);
    memcpy(conv->offset, source->offset, source->out * sizeof *conv->offset);
    return MAGPIE_OK;
}

magpie_status ops_cpu_conv_create(ops_device *device, const ops_conv_source *source, ops_conv **out) {
    ops_conv *conv = magpie_alloc(1, sizeof *conv);
    if (!conv) return MAGPIE_E_NO_MEMORY;
    magpie_status status = conv_weights_create(device->onednn, source, &conv->weights);
    if (status == MAGPIE_OK && source->scale) status = copy_scale(source, conv);
    if (status == MAGPIE_OK)
        *out = conv;
    else
        ops_cpu_conv_free(conv);
    return status;
}

void ops_cpu_conv_free(ops_conv *conv) {
    if (!conv) return;
    conv_weights_free(conv->weights);
    free(conv->scale);
    free(conv);
}

static void scale_channels(const ops_lane *lane, const ops_conv *conv, size_t images, ops_map *y) {
    size_t block = conv_map_block(lane->device->onednn, y), blocks = (y->channels + block - 1) / block;
    size_t places = y->height * y->width, bytes = places * block * ops_cpu_element(lane, OPS_STREAM);
    for (size_t i = 0; i < images * blocks; i++)
        lane->device->simd->affine((unsigned char *)y->handle + i * bytes, conv->scale + i % blocks * block,
                                   conv->offset + i % blocks * block, places, block, lane->device->bf16);
}

magpie_status ops_cpu_conv(ops_lane *lane, const ops_conv *conv, const ops_map *x, size_t images,
                           ops_map *y) {
    magpie_status status = conv_run(lane->conv, conv->weights, x, images, y);
    if (status == MAGPIE_OK && conv->scale) scale_channels(lane, conv, images, y);
    return status;
}

magpie_status ops_cpu_max_pool(ops_lane *lane, const ops_pool_window *window, const ops_map *x, size_t images,
                               ops_map *y) {
    return conv_pool(lane->conv, (conv_pooling){.window = *window}, x, images, y);
}

magpie_status ops_cpu_average_pool(ops_lane *lane, const ops_map *x, size_t images, ops_map *y) {
    return conv_pool(lane->conv, (conv_pooling){.mean = true, .window = {2, 2, 2, 2, 0}}, x, images, y);
}

/* ---- bf16 ---- */

static float widen(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* ---- in ---- */

/* Places of 3 channels, as the pixels are. */
static void load_int8(const uint8_t *pixels, size_t places, float table[3][256], ops_map *y) {
    float step = ops_range_step(y->range);
    int8_t rounded[3][256];
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) rounded[c][v] = (int8_t)lrintf(table[c][v] / step);
    for (size_t p = 0; p < places; p++)
        for (size_t c = 0; c < 3; c++) ((int8_t *)y->handle)[p * 3 + c] = rounded[c][pixels[p * 3 + c]];
}

/* A pixel has 256 values, so a table a channel is the whole arithmetic. */
magpie_status ops_cpu_image_load(ops_lane *lane, const uint8_t *pixels, size_t images, size_t height,
                                 size_t width, const float mean[3], const float std[3], ops_map *y) {
    size_t places = height * width;
    float table[3][256];
    uint16_t narrowed[3][256];
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) {
            table[c][v] = ((float)v / 255 - mean[c]) / std[c];
            narrowed[c][v] = ops_cpu_narrow(table[c][v]);
        }
    ops_map_shape(y, 3, height, width);
    y->range = ops_picture_range(mean, std);
    if (lane->device->int8) {
        load_int8(pixels, images * places, table, y);
        return MAGPIE_OK;
    }
    for (size_t i = 0; i < images; i++)
        for (size_t c = 0; c < 3; c++) {
            const uint8_t *from = pixels + i * places * 3 + c;
            size_t to = (i * 3 + c) * places; /* pictures are planes */
            if (lane->device->bf16)
                for (size_t p = 0; p < places; p++)
                    ((uint16_t *)y->handle)[to + p] = narrowed[c][from[p * 3]];
            else
                for (size_t p = 0; p < places; p++) ((float *)y->handle)[to + p] = table[c][from[p * 3]];
        }
    return MAGPIE_OK;
}

magpie_status ops_cpu_map_load(ops_lane *lane, const float *values, size_t images, size_t height,
                               size_t width, ops_map *y) {
    size_t n = images * height * width;
    ops_map_shape(y, 1, height, width);
    if (lane->device->bf16)
        for (size_t i = 0; i < n; i++) ((uint16_t *)y->handle)[i] = ops_cpu_narrow(values[i]);
    else
        memcpy(y->handle, values, n * sizeof *values);
    return MAGPIE_OK;
}

/* ---- out ---- */

static void read_int8(const ops_map *x, size_t from, size_t count, float *out) {
    float step = ops_range_step(x->range);
    for (size_t k = 0; k < count; k++)
        out[k] = step * (x->range.negative ? (float)((const int8_t *)x->handle)[from + k]
                                           : (float)((const uint8_t *)x->handle)[from + k]);
}

/* out [channels]: one place of one image. */
static void read_place(const ops_lane *lane, const ops_map *x, size_t image, size_t place, float *out) {
    size_t block = conv_map_block(lane->device->onednn, x), places = x->height * x->width;
    size_t blocks = (x->channels + block - 1) / block;
    for (size_t b = 0; b < blocks; b++) {
        size_t from = ((image * blocks + b) * places + place) * block, first = b * block;
        size_t count = x->channels - first < block ? x->channels - first : block;
        if (lane->device->int8)
            read_int8(x, from, count, out + first);
        else if (lane->device->bf16)
            for (size_t k = 0; k < count; k++)
                out[first + k] = widen(((const uint16_t *)x->handle)[from + k]);
        else
            memcpy(out + first, (const float *)x->handle + from, count * sizeof *out);
    }
}

/* out [channels]: the mean over the places of one image; scratch [channels]. */
static void mean_of_places(const ops_lane *lane, const ops_map *x, size_t image, float *scratch, float *out) {
    size_t places = x->height * x->width;
    memset(out, 0, x->channels * sizeof *out);
    for (size_t p = 0; p < places; p++) {
        read_place(lane, x, image, p, scratch);
        for (size_t c = 0; c < x->channels; c++) out[c] += scratch[c];
    }
    for (size_t c = 0; c < x->channels; c++) out[c] /= (float)places;
}

magpie_status ops_cpu_global_pool(ops_lane *lane, const ops_map *x, size_t images, bool unit, float *out) {
    float *scratch = magpie_alloc(x->channels, sizeof *scratch);
    if (!scratch) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < images; i++) {
        mean_of_places(lane, x, i, scratch, out + i * x->channels);
        if (unit) lane->device->simd->unit(out + i * x->channels, x->channels);
    }
    free(scratch);
    return MAGPIE_OK;
}

/* y[to] = row + position[i] */
static void put_row(const ops_lane *lane, const float *row, const tensor *position, size_t i, float *scratch,
                    ops_tensor *y, size_t to) {
    size_t n = y->columns;
    void *out = ops_cpu_at(lane, y, to, 0);
    tensor_read_f32(position, i * n, n, scratch);
    for (size_t c = 0; c < n; c++) scratch[c] += row[c];
    if (ops_cpu_bf16(lane, y->storage))
        for (size_t c = 0; c < n; c++) ((uint16_t *)out)[c] = ops_cpu_narrow(scratch[c]);
    else
        memcpy(out, scratch, n * sizeof *scratch);
}

magpie_status ops_cpu_map_rows(ops_lane *lane, const ops_map *x, size_t images, const tensor *position,
                               ops_tensor *y) {
    size_t places = x->height * x->width, n = x->channels;
    float *row = magpie_alloc(2 * n, sizeof *row), *scratch = row + n;
    if (!row) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < images; i++) {
        size_t to = i * (places + 1);
        mean_of_places(lane, x, i, scratch, row);
        put_row(lane, row, position, 0, scratch, y, to);
        for (size_t p = 0; p < places; p++) {
            read_place(lane, x, i, p, row);
            put_row(lane, row, position, p + 1, scratch, y, to + p + 1);
        }
    }
    free(row);
    return MAGPIE_OK;
}

magpie_status ops_cpu_map_read(ops_lane *lane, const ops_map *x, size_t images, float *out) {
    size_t places = x->height * x->width;
    for (size_t i = 0; i < images; i++)
        for (size_t p = 0; p < places; p++, out += x->channels) read_place(lane, x, i, p, out);
    return MAGPIE_OK;
}

magpie_status ops_cpu_map_largest(ops_lane *lane, const ops_map *x, size_t images, float *largest) {
    size_t places = x->height * x->width;
    float *row = magpie_alloc(x->channels, sizeof *row);
    if (!row) return MAGPIE_E_NO_MEMORY;
    *largest = 0;
    for (size_t i = 0; i < images * places; i++) {
        read_place(lane, x, i / places, i % places, row);
        for (size_t c = 0; c < x->channels; c++) {
            float value = isnan(row[c]) ? INFINITY : fabsf(row[c]);
            if (value > *largest) *largest = value;
        }
    }
    free(row);
    return MAGPIE_OK;
}
