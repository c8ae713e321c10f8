/* neural_kernels.c - see neural.h; compiled for each level of the instruction set. */
#include "neural.h"
#include "simd_vectors.h"

#include <float.h>

#if VL == 16
INLINE __mmask16 lanes(size_t n) { return (__mmask16)(n < VL ? (1u << n) - 1 : 0xFFFF); }
INLINE vf get(const float *x, size_t n) { return (vf)_mm512_maskz_loadu_ps(lanes(n), x); }
INLINE void put(float *x, vf v, size_t n) { _mm512_mask_storeu_ps(x, lanes(n), (__m512)v); }
#else
INLINE vf get(const float *x, size_t n) { return load_part(x, n); }
INLINE void put(float *x, vf v, size_t n) { store_part(x, v, n); }
#endif

/* BODY(how many lanes) over n numbers: whole vectors, then what is left. */
#define OVER(n, BODY)                                                                                        \
    size_t i = 0;                                                                                            \
    for (; i + VL <= (n); i += VL) {                                                                         \
        BODY(VL);                                                                                            \
    }                                                                                                        \
    if (i < (n)) {                                                                                           \
        BODY((n)-i);                                                                                         \
    }

static void add_relu(const float *x, const float *y, size_t rows, size_t n, float *out) {
    for (size_t row = 0; row < rows; row++, y += n, out += n) {
#define BODY(left) put(out + i, vmax(get(x + i, left) + get(y + i, left), (vf){0}), left)
        OVER(n, BODY)
#undef BODY
    }
}

static void relu_slope(const float *h, size_t n, float *x) {
#define BODY(left) put(x + i, (vf)((vi)get(x + i, left) & (get(h + i, left) > 0.0f)), left)
    OVER(n, BODY)
#undef BODY
}

#if VL == 16
#define SUM(v) _mm512_reduce_add_ps((__m512)(v))
#else
#define SUM(v) sum_of(v)
#endif

static float dot(const float *x, const float *y, size_t n) {
    vf sum = {0};
#define BODY(left) sum += get(x + i, left) * get(y + i, left)
    OVER(n, BODY)
#undef BODY
    return SUM(sum);
}

#define HALVE(width)                                                                                         \
    _Pragma("GCC unroll 8") for (int i = 0; i < (width); i++) v[i] =                                         \
        __builtin_shuffle(v[i], v[i + (width)], (vi){LOWER}) +                                               \
        __builtin_shuffle(v[i], v[i + (width)], (vi){UPPER})

/* The sums of VL vectors' lanes, one after another, each added up in the order of SUM. */
INLINE vf sums_of(vf *v) {
#if VL == 16
    HALVE(8);
#endif
#if VL >= 8
    HALVE(4);
#endif
    HALVE(2);
    HALVE(1);
    return v[0];
}

/* Some rows at a time share their sums; what is left over comes to the same bits one by one. */
static void dots(const float *x, const float *y, size_t stride, size_t rows, size_t n, float *out) {
    size_t row = 0;
    for (; row + VL <= rows; row += VL) {
        const float *from = y + row * stride;
        vf sums[VL] = {{0}};
#define BODY(left)                                                                                           \
    do {                                                                                                     \
        const vf each = get(x + i, left);                                                                    \
        _Pragma("GCC unroll 16") for (size_t k = 0; k < VL; k++) sums[k] +=                                  \
            each * get(from + k * stride + i, left);                                                         \
    } while (0)
        OVER(n, BODY)
#undef BODY
        put(out + row, get(out + row, VL) + sums_of(sums), VL);
    }
    for (; row < rows; row++) out[row] += dot(x, y + row * stride, n);
}

/* `rows` rows, a constant, of a vector's columns. */
INLINE void layer_block(const float *x, size_t in, const float *w, const float *b, size_t n, size_t rows,
                        size_t left, float *out) {
    vf sums[8];
    for (size_t row = 0; row < rows; row++) sums[row] = get(b, left);
    for (size_t k = 0; k < in; k++) {
        const vf each = get(w + k * n, left);
        for (size_t row = 0; row < rows; row++) sums[row] += splat(x[row * in + k]) * each;
    }
    for (size_t row = 0; row < rows; row++) put(out + row * n, vmax(sums[row], (vf){0}), left);
}

static void layer(const float *x, size_t rows, size_t in, const float *w, const float *b, size_t n,
                  float *out) {
    size_t row = 0;
#define BODY(left) layer_block(x + row * in, in, w + i, b + i, n, 8, left, out + row * n + i)
    for (; row + 8 <= rows; row += 8) {
        OVER(n, BODY)
    }
#undef BODY
#define BODY(left) layer_block(x + row * in, in, w + i, b + i, n, 1, left, out + row * n + i)
    for (; row < rows; row++) {
        OVER(n, BODY)
    }
#undef BODY
}

static void add(float *x, const float *y, float scale, size_t n) {
#define BODY(left) put(x + i, get(x + i, left) + get(y + i, left) * splat(scale), left)
    OVER(n, BODY)
#undef BODY
}

static void add_outer(float *x, size_t stride, const float *scales, const float *y, size_t rows, size_t n) {
    for (size_t row = 0; row < rows; row++) add(x + row * stride, y, scales[row], n);
}

/* Four sums at a time, so that one addition need not wait for the one before. */
INLINE void add_some_rows(float *x, const float *y, size_t stride, const float *scales, size_t rows,
                          size_t left) {
    vf sums[4] = {get(x, left), {0}, {0}, {0}};
    size_t row = 0;
    for (; row + 4 <= rows; row += 4, y += 4 * stride)
        for (size_t k = 0; k < 4; k++)
            sums[k] += get(y + k * stride, left) * (scales ? splat(scales[row + k]) : splat(1));
    for (; row < rows; row++, y += stride) sums[0] += get(y, left) * (scales ? splat(scales[row]) : splat(1));
    put(x, (sums[0] + sums[1]) + (sums[2] + sums[3]), left);
}

static void add_rows(float *x, const float *y, size_t stride, const float *scales, size_t rows, size_t n) {
#define BODY(left)                                                                                           \
    if (scales)                                                                                              \
        add_some_rows(x + i, y + i, stride, scales, rows, left);                                             \
    else                                                                                                     \
        add_some_rows(x + i, y + i, stride, NULL, rows, left)
    OVER(n, BODY)
#undef BODY
}

/* `count`, a constant, at a time, so that what is searched is read once for all. */
INLINE void find_some(const uint32_t *x, size_t n, const uint32_t *wanted, size_t count, bool *found) {
    vi hits[4] = {{0}};
    size_t i = 0;
    for (; i + VL <= n; i += VL) {
        vu some;
        memcpy(&some, x + i, sizeof some);
        for (size_t k = 0; k < count; k++) hits[k] |= some == wanted[k] - (vu){0};
    }
    for (size_t k = 0; k < count; k++) {
        int any = 0;
        for (int lane = 0; lane < VL; lane++) any |= hits[k][lane];
        for (size_t rest = i; rest < n; rest++) any |= x[rest] == wanted[k];
        found[k] = any != 0;
    }
}

static void find(const uint32_t *x, size_t n, const uint32_t *wanted, size_t count, bool *found) {
    size_t k = 0;
    for (; k + 4 <= count; k += 4) find_some(x, n, wanted + k, 4, found + k);
    for (; k < count; k++) find_some(x, n, wanted + k, 1, found + k);
}

static void multiply(const float *x, const float *y, size_t n, float *out){
#define BODY(left) put(out + i, get(x + i, left) * get(y + i, left), left)
    OVER(n, BODY)
#undef BODY
}

/* e^x for x at most 0 (below -87 it is 0, about): 2^(x log2 e), the whole part into the exponent, the rest,
 * -0.5 to 0.5, by the series of the exponential to the 6th power, which is right to 2^-23. */
INLINE vf exp_of(vf x) {
    const vf magic = splat(0x1.8p23f);
    vf y = vmax(x * 1.44269504089f, splat(-126.0f)), whole = y + magic, r = y - (whole - magic), p;
    vi exponent = ((vi)whole - (vi)magic + 127) << 23;
    p = r * 1.5403530393e-4f + 1.3333558146e-3f;
    p = p * r + 9.6181291076e-3f;
    p = p * r + 5.5504108665e-2f;
    p = p * r + 2.4022650696e-1f;
    p = p * r + 6.9314718056e-1f;
    return (p * r + 1.0f) * (vf)exponent;
}

static float exponentials(float *x, size_t n) {
    float most = -FLT_MAX, sum = 0;
    for (size_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
#define BODY(left) put(x + i, exp_of(get(x + i, left) - splat(most)), left)
    OVER(n, BODY)
#undef BODY
    for (size_t k = 0; k < n; k++) sum += x[k];
    return sum;
}

/* 1 / (1 + e^-|x|) of the absolute value, and 1 less that where x is below 0. */
static void sigmoid(float *x, size_t n) {
#define BODY(left)                                                                                           \
    do {                                                                                                     \
        vf v = get(x + i, left), e = exp_of(-vmax(v, -v)), p = 1.0f / (1.0f + e);                            \
        vi below = v < 0.0f;                                                                                 \
        put(x + i, (vf)(((vi)(e * p) & below) | ((vi)p & ~below)), left);                                    \
    } while (0)
    OVER(n, BODY)
#undef BODY
}

/* Kingma and Ba 2015, algorithm 1. */
static void adam(float *values, float *first, float *second, const float *slope, size_t n,
                 const neural_adam *numbers) {
#define BODY(left)                                                                                           \
    do {                                                                                                     \
        vf x = get(values + i, left), g = get(slope + i, left) + x * splat(numbers->decay);                  \
        vf m = get(first + i, left) * 0.9f + g * 0.1f;                                                       \
        vf v = get(second + i, left) * 0.999f + g * g * 0.001f;                                              \
        put(first + i, m, left);                                                                             \
        put(second + i, v, left);                                                                            \
        v = vsqrt(v * splat(numbers->correct_second)) + 1e-8f;                                               \
        put(values + i, x - m * splat(numbers->rate * numbers->correct_first) / v, left);                    \
    } while (0)
    OVER(n, BODY)
#undef BODY
}

extern const neural_kernels SIMD_LEVEL(neural_kernels);
const neural_kernels SIMD_LEVEL(neural_kernels) = {.add_relu = add_relu,
                                                   .relu_slope = relu_slope,
                                                   .dot = dot,
                                                   .dots = dots,
                                                   .layer = layer,
                                                   .add = add,
                                                   .add_outer = add_outer,
                                                   .add_rows = add_rows,
                                                   .find = find,
                                                   .multiply = multiply,
                                                   .exponentials = exponentials,
                                                   .sigmoid = sigmoid,
                                                   .adam = adam};
