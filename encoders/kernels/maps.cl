/* maps.cl - what is done to feature maps between convolutions, and what becomes of them. Maps are channels-last, their
 * channels padded to eight with zeros. Bound by memory: every element is read and written once (max_pool reads each as
 * often as windows overlap, out of the cache). */
enum { MAPS_THREADS = 256 };

#define MAPS_ELEMENT ((size_t)GROUP(0) * MAPS_THREADS + THREAD)

/* y = (pixels / 255 - mean) / std, of three channels; pixels [places, 3], y [places, 8]. A thread a place. */
KERNEL(image_load, 256)
(GLOBAL const u8 *pixels, GLOBAL stream *y, uint places, float mean_r, float mean_g, float mean_b, float std_r,
 float std_g, float std_b) {
    const size_t i = MAPS_ELEMENT;
    if (i >= places) return;
    const float values[8] = {((float)pixels[3 * i] / 255 - mean_r) / std_r,
                             ((float)pixels[3 * i + 1] / 255 - mean_g) / std_g,
                             ((float)pixels[3 * i + 2] / 255 - mean_b) / std_b,
                             0, 0, 0, 0, 0};
    store8(y, 8 * i, f8_of(values));
}

/* values [places], one channel; y [places, 8]. */
KERNEL(map_load, 256)(GLOBAL const float *values, GLOBAL stream *y, uint places) {
    const size_t i = MAPS_ELEMENT;
    if (i < (size_t)places * 8) store(y, i, i % 8 == 0 ? values[i / 8] : 0);
}

/* The largest of each window of down x across; the border is never it. elements: of y, eight a thread. */
KERNEL(max_pool, 256)
(GLOBAL const stream *x, GLOBAL stream *y, uint elements, uint channels, uint height, uint width, uint out_height,
 uint out_width, uint down, uint across, uint stride_down, uint stride_across, uint border) {
    const size_t i = MAPS_ELEMENT * 8;
    if (i >= elements) return;
    const uint c = i % channels, place = i / channels, ow = place % out_width, oh = place / out_width % out_height;
    const size_t image = place / out_width / out_height;
    float largest[8], values[8];
    UNROLL for (int k = 0; k < 8; k++) largest[k] = -INFINITY;
    for (uint r = 0; r < down; r++)
        for (uint s = 0; s < across; s++) {
            const uint h = oh * stride_down + r - border, w = ow * stride_across + s - border; /* huge: outside */
            if (h >= height || w >= width) continue;
            f8_get(load8(x, ((image * height + h) * width + w) * channels + c), values);
            UNROLL for (int k = 0; k < 8; k++) largest[k] = fmax(largest[k], values[k]);
        }
    store8(y, i, f8_of(largest));
}

/* The mean of each 2 x 2. elements: of y. */
KERNEL(average_pool, 256)
(GLOBAL const stream *x, GLOBAL stream *y, uint elements, uint channels, uint height, uint width, uint out_height,
 uint out_width) {
    const size_t i = MAPS_ELEMENT;
    if (i >= elements) return;
    const uint c = i % channels, place = i / channels, w = place % out_width * 2, h = place / out_width % out_height * 2;
    const size_t image = place / out_width / out_height, at = ((image * height + h) * width + w) * channels + c;
    store(y, i,
          (load(x, at) + load(x, at + channels) + load(x, at + (size_t)width * channels) +
           load(x, at + ((size_t)width + 1) * channels)) /
              4);
}

FUNCTION float mean_of_channel(GLOBAL const stream *x, uint image, uint c, uint places, uint padded) {
    float sum = 0;
    for (uint p = 0; p < places; p++) sum += load(x, ((size_t)image * places + p) * padded + c);
    return sum / (float)places;
}

/* out [images, channels]: the mean over the map, divided by its Euclidean length where `unit` says so, which is 1e-12
 * at least (torch.nn.functional.normalize). A group an image. */
KERNEL(global_pool, 256)
(GLOBAL const stream *x, GLOBAL float *out, uint places, uint channels, uint padded, uint unit) {
    LOCAL float scratch[MAPS_THREADS];
    const size_t to = (size_t)GROUP(0) * channels;
    float squares = 0;
    EACH(c, channels, MAPS_THREADS) {
        const float mean = mean_of_channel(x, GROUP(0), c, places, padded);
        out[to + c] = mean;
        squares += mean * mean;
    }
    if (!unit) return;
    const float length = fmax(sqrt(group_sum(scratch, MAPS_THREADS, squares)), 1e-12f);
    EACH(c, channels, MAPS_THREADS) out[to + c] /= length;
}

/* y [images, 1 + places, channels]: the mean over the map, then its places, each plus its row of position. A group a
 * row: images in dimension 1. */
KERNEL(map_rows, 256)
(GLOBAL const stream *x, GLOBAL const float *position, GLOBAL stream *y, uint places, uint channels, uint padded) {
    const uint row = GROUP(0), image = GROUP(1);
    EACH(c, channels, MAPS_THREADS) {
        const float value = row ? load(x, ((size_t)image * places + row - 1) * padded + c)
                                : mean_of_channel(x, image, c, places, padded);
        store(y, ((size_t)image * (1 + places) + row) * channels + c, value + position[(size_t)row * channels + c]);
    }
}

/* out [places, channels] = x [places, padded]; elements: of out. */
KERNEL(map_read, 256)(GLOBAL const stream *x, GLOBAL float *out, uint elements, uint channels, uint padded) {
    const size_t i = MAPS_ELEMENT;
    if (i < elements) out[i] = load(x, i / channels * padded + i % channels);
}

/* out [groups]: the largest absolute value that the group sees; infinite where one is not a number. */
KERNEL(map_largest, 256)(GLOBAL const stream *x, GLOBAL float *out, uint elements, uint groups) {
    LOCAL float scratch[MAPS_THREADS];
    float largest = 0;
    for (size_t begin = (size_t)GROUP(0) * MAPS_THREADS; begin < elements; begin += (size_t)groups * MAPS_THREADS) {
        const float value = begin + THREAD < elements ? load(x, begin + THREAD) : 0;
        largest = fmax(largest, value != value ? INFINITY : fabs(value));
    }
    largest = group_largest(scratch, MAPS_THREADS, largest);
    if (THREAD == 0) out[GROUP(0)] = largest;
}
