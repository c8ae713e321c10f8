/* image_kernels.c - see image_kernels.h; compiled for each level of the instruction set, as simd_kernels.c
 * is.
 *
 * Bytes are never widened: a lane is four of them, as they lie in memory, and each is shifted and masked
 * out when its sum needs it. That is cheaper than the shuffles of widening and of narrowing again, and
 * needs none that a level might lack. Down a column the four are neighbours in a row. Across, they are a
 * pixel, and a lane is a row: three bytes a pixel fit no vector, so sixteen rows are brought side by side
 * first, at one load and one store a pixel. */
#include "image_kernels.h"

#include <string.h>

#if defined(__AVX512BW__)
#define VL 16
#define IMAGE_TABLE image_v4
#define IMAGE_NAME "x86-64-v4"
#elif defined(__AVX2__)
#define VL 8
#define IMAGE_TABLE image_v3
#define IMAGE_NAME "x86-64-v3"
#else
#define VL 4
#define IMAGE_TABLE image_base
#define IMAGE_NAME "baseline"
#endif

enum { PARTS = RESIZE_ROWS / VL, LANE = 4, COLUMN = RESIZE_ROWS * LANE };

typedef int32_t vi __attribute__((vector_size(VL * 4)));

static inline vi load(const uint8_t *p) {
    vi v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store(uint8_t *p, vi v) { memcpy(p, &v, sizeof v); }
static inline vi splat(int32_t x) { return x - (vi){0}; }
static inline vi half(void) { return splat(1 << (RESIZE_BITS - 1)); }

/* A sum, rounded to a whole number and cut to 0 .. 255. */
static inline vi to_byte(vi sum) {
    sum >>= RESIZE_BITS;
    sum &= ~(sum >> 31);
    return (sum | (255 - sum) >> 31) & 255; /* all ones where it is over */
}

static void interleave(const uint8_t *const *rows, size_t n, uint8_t *columns) {
    for (size_t x = 0; x + 1 < n; x++, columns += COLUMN)
        for (size_t r = 0; r < RESIZE_ROWS; r++)
            memcpy(columns + LANE * r, rows[r] + 3 * x, LANE); /* the fourth is ignored */
    for (size_t r = 0; r < RESIZE_ROWS; r++) memcpy(columns + LANE * r, rows[r] + 3 * (n - 1), 3);
}

/* `taps` is a constant wherever this is inlined, but for the last. */
static inline void across_taps(const uint8_t *columns, const resize_axis *axis, size_t taps,
                               uint8_t *const *out) {
    for (size_t i = 0; i < axis->count; i++) {
        const uint8_t *from = columns + (size_t)axis->first[i] * COLUMN;
        const int32_t *k = axis->coefficients + i * taps;
        uint8_t pixels[COLUMN];
        for (size_t p = 0; p < PARTS; p++) {
            vi red = half(), green = half(), blue = half();
            for (size_t t = 0; t < taps; t++) {
                vi lanes = load(from + t * COLUMN + p * sizeof(vi));
                red += (lanes & 255) * k[t];
                green += (lanes >> 8 & 255) * k[t];
                blue += (lanes >> 16 & 255) * k[t];
            }
            store(pixels + p * sizeof(vi), to_byte(red) | to_byte(green) << 8 | to_byte(blue) << 16);
        }
        /* Four bytes for three: the next pixel overwrites the fourth. */
        for (size_t r = 0; r < RESIZE_ROWS; r++) memcpy(out[r] + 3 * i, pixels + LANE * r, LANE);
    }
}

static void across(const uint8_t *columns, const resize_axis *axis, uint8_t *const *out) {
    switch (axis->taps) {
    case 2: across_taps(columns, axis, 2, out); break;
    case 4: across_taps(columns, axis, 4, out); break;
    case 6: across_taps(columns, axis, 6, out); break;
    case 8: across_taps(columns, axis, 8, out); break;
    default: across_taps(columns, axis, axis->taps, out);
    }
}

static void down(const uint8_t *const *rows, const int32_t *coefficients, size_t taps, size_t n,
                 uint8_t *out) {
    size_t i = 0;
    for (; i + sizeof(vi) <= n; i += sizeof(vi)) {
        vi a = half(), b = half(), c = half(), d = half();
        for (size_t t = 0; t < taps; t++) {
            vi lanes = load(rows[t] + i);
            int32_t k = coefficients[t];
            a += (lanes & 255) * k;
            b += (lanes >> 8 & 255) * k;
            c += (lanes >> 16 & 255) * k;
            d += (lanes >> 24 & 255) * k;
        }
        store(out + i, to_byte(a) | to_byte(b) << 8 | to_byte(c) << 16 | to_byte(d) << 24);
    }
    for (; i < n; i++) {
        int32_t sum = 1 << (RESIZE_BITS - 1);
        for (size_t t = 0; t < taps; t++) sum += rows[t][i] * coefficients[t];
        sum >>= RESIZE_BITS;
        out[i] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}

extern const image_table IMAGE_TABLE;
const image_table IMAGE_TABLE = {IMAGE_NAME, interleave, across, down};
