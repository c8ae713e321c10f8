/* ops_reference_maps.c - the operations on maps of pictures as the formulas have them: NCHW, f32, sums in
 * double. See ops_reference.c. */
#include "ops_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ops_conv {
    size_t in, out, kernel, stride, padding;
    bool relu, residual;
    float *weight;         /* [out, in, kernel, kernel] */
    float *bias;           /* [out] */
    float *scale, *offset; /* [out] */
};

magpie_status ops_reference_conv_create(ops_device *device, const ops_conv_source *source, ops_conv **out) {
    (void)device;
    ops_conv *conv = magpie_alloc(1, sizeof *conv);
    if (!conv) return MAGPIE_E_NO_MEMORY;
    size_t elements = source->out * source->in * source->kernel * source->kernel;
    *conv = (ops_conv){source->in,
                       source->out,
                       source->kernel,
                       source->stride,
                       source->padding,
                       source->relu,
                       source->residual,
                       magpie_alloc(elements, sizeof(float)),
                       magpie_alloc(source->out, sizeof(float)),
                       magpie_alloc(source->out, sizeof(float)),
                       magpie_alloc(source->out, sizeof(float))};
    if (!conv->weight || !conv->bias || !conv->scale || !conv->offset) {
        ops_reference_conv_free(conv);
        return MAGPIE_E_NO_MEMORY;
    }
    memcpy(conv->weight, source->weight, elements * sizeof(float));
    memcpy(conv->bias, source->bias, source->out * sizeof(float));
    for (size_t o = 0; o < source->out; o++) {
        conv->scale[o] = source->scale ? source->scale[o] : 1;
        conv->offset[o] = source->offset ? source->offset[o] : 0;
    }
    *out = conv;
    return MAGPIE_OK;
}

void ops_reference_conv_free(ops_conv *conv) {
    if (!conv) return;
    free(conv->weight);
    free(conv->bias);
    free(conv->scale);
    free(conv->offset);
    free(conv);
}

/* Plane `channel` of image `image`. */
static float *plane(const ops_map *x, size_t image, size_t channel) {
    return (float *)x->handle + (image * x->channels + channel) * x->height * x->width;
}

magpie_status ops_reference_image_load(ops_lane *lane, const uint8_t *pixels, size_t images, size_t height,
                                       size_t width, const float mean[3], const float std[3], ops_map *y) {
    (void)lane;
    ops_map_shape(y, 3, height, width);
    for (size_t i = 0; i < images; i++)
        for (size_t c = 0; c < 3; c++)
            for (size_t p = 0; p < height * width; p++)
                plane(y, i, c)[p] =
                    ((float)pixels[(i * height * width + p) * 3 + c] / 255 - mean[c]) / std[c];
    return MAGPIE_OK;
}

magpie_status ops_reference_map_load(ops_lane *lane, const float *values, size_t images, size_t height,
                                     size_t width, ops_map *y) {
    (void)lane;
    ops_map_shape(y, 1, height, width);
    memcpy(y->handle, values, images * height * width * sizeof *values);
    return MAGPIE_OK;
}

/* One output: the kernel's window at (row, column) of the output, over all input channels. */
static double window(const ops_conv *conv, const ops_map *x, size_t image, const float *weight, size_t row,
                     size_t column) {
    double sum = 0;
    for (size_t c = 0; c < conv->in; c++)
        for (size_t i = 0; i < conv->kernel; i++)
            for (size_t j = 0; j < conv->kernel; j++) {
                size_t h = row * conv->stride + i, w = column * conv->stride + j;
                if (h < conv->padding || w < conv->padding) continue;
                h -= conv->padding, w -= conv->padding;
                if (h < x->height && w < x->width)
                    sum += (double)plane(x, image, c)[h * x->width + w] *
                           (double)weight[(c * conv->kernel + i) * conv->kernel + j];
            }
    return sum;
}

magpie_status ops_reference_conv(ops_lane *lane, const ops_conv *conv, const ops_map *x, size_t images,
                                 ops_map *y) {
    (void)lane;
    ops_map_shape(y, conv->out, ops_windows(x->height, conv->kernel, conv->stride, conv->padding),
                  ops_windows(x->width, conv->kernel, conv->stride, conv->padding));
    for (size_t i = 0; i < images; i++)
        for (size_t o = 0; o < conv->out; o++) {
            const float *weight = conv->weight + o * conv->in * conv->kernel * conv->kernel;
            float *out = plane(y, i, o);
            for (size_t h = 0; h < y->height; h++)
                for (size_t w = 0; w < y->width; w++) {
                    size_t at = h * y->width + w;
                    double sum = window(conv, x, i, weight, h, w) + (double)conv->bias[o];
                    if (conv->residual) sum += (double)out[at];
                    if (conv->relu) sum = fmax(sum, 0);
                    out[at] = (float)((double)conv->scale[o] * sum + (double)conv->offset[o]);
                }
        }
    return MAGPIE_OK;
}

/* The largest of x's plane `in` in the window at (row, column) of the output. */
static float largest_in(const ops_map *x, const float *in, const ops_pool_window *window, size_t row,
                        size_t column) {
    size_t top = row * window->stride_down, left = column * window->stride_across;
    float largest = -INFINITY;
    for (size_t r = top; r < top + window->height; r++)
        for (size_t c = left; c < left + window->width; c++) {
            if (r < window->border || c < window->border) continue;
            size_t h = r - window->border, w = c - window->border;
            if (h < x->height && w < x->width) largest = fmaxf(largest, in[h * x->width + w]);
        }
    return largest;
}

magpie_status ops_reference_max_pool(ops_lane *lane, const ops_pool_window *window, const ops_map *x,
                                     size_t images, ops_map *y) {
    (void)lane;
    ops_map_shape(y, x->channels, ops_windows(x->height, window->height, window->stride_down, window->border),
                  ops_windows(x->width, window->width, window->stride_across, window->border));
    for (size_t i = 0; i < images * x->channels; i++)
        for (size_t h = 0; h < y->height; h++)
            for (size_t w = 0; w < y->width; w++)
                plane(y, 0, i)[h * y->width + w] = largest_in(x, plane(x, 0, i), window, h, w);
    return MAGPIE_OK;
}

magpie_status ops_reference_average_pool(ops_lane *lane, const ops_map *x, size_t images, ops_map *y) {
    (void)lane;
    ops_map_shape(y, x->channels, ops_windows(x->height, 2, 2, 0), ops_windows(x->width, 2, 2, 0));
    for (size_t i = 0; i < images * x->channels; i++) {
        const float *in = plane(x, 0, i);
        for (size_t h = 0; h < y->height; h++)
            for (size_t w = 0; w < y->width; w++) {
                const float *corner = in + 2 * h * x->width + 2 * w;
                plane(y, 0, i)[h * y->width + w] =
                    (corner[0] + corner[1] + corner[x->width] + corner[x->width + 1]) / 4;
            }
    }
    return MAGPIE_OK;
}

static float mean_of_plane(const ops_map *x, size_t image, size_t channel) {
    double sum = 0;
    for (size_t p = 0; p < x->height * x->width; p++) sum += (double)plane(x, image, channel)[p];
    return (float)(sum / (double)(x->height * x->width));
}

magpie_status ops_reference_global_pool(ops_lane *lane, const ops_map *x, size_t images, bool unit,
                                        float *out) {
    (void)lane;
    for (size_t i = 0; i < images; i++) {
        for (size_t c = 0; c < x->channels; c++) out[i * x->channels + c] = mean_of_plane(x, i, c);
        if (unit) ops_reference_unit(out + i * x->channels, x->channels);
    }
    return MAGPIE_OK;
}

magpie_status ops_reference_map_rows(ops_lane *lane, const ops_map *x, size_t images, const tensor *position,
                                     ops_tensor *y) {
    (void)lane;
    size_t rows = 1 + x->height * x->width, n = x->channels;
    float *out = y->handle;
    for (size_t i = 0; i < images; i++)
        for (size_t r = 0; r < rows; r++, out += n) {
            tensor_read_f32(position, r * n, n, out);
            for (size_t c = 0; c < n; c++) out[c] += r ? plane(x, i, c)[r - 1] : mean_of_plane(x, i, c);
        }
    return MAGPIE_OK;
}

magpie_status ops_reference_map_read(ops_lane *lane, const ops_map *x, size_t images, float *out) {
    (void)lane;
    size_t places = x->height * x->width;
    for (size_t i = 0; i < images; i++)
        for (size_t p = 0; p < places; p++)
            for (size_t c = 0; c < x->channels; c++) *out++ = plane(x, i, c)[p];
    return MAGPIE_OK;
}

magpie_status ops_reference_map_largest(ops_lane *lane, const ops_map *x, size_t images, float *largest) {
    (void)lane;
    *largest = 0;
    for (size_t i = 0; i < images * x->channels * x->height * x->width; i++) {
        float value = ((const float *)x->handle)[i];
        value = isnan(value) ? INFINITY : fabsf(value);
        if (value > *largest) *largest = value;
    }
    return MAGPIE_OK;
}
