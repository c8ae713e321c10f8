/* fusion_training_kernels.c - see fusion_training.h; compiled for each level of the instruction set. */
#include "fusion_training.h"
#include "simd_vectors.h"

typedef uint16_t vh __attribute__((vector_size(VL * 2)));

static float dot(const float *a, const float *b, size_t n) {
    vf sums[4] = {{0}};
    size_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (size_t k = 0; k < 4; k++) sums[k] += load(a + i + k * VL) * load(b + i + k * VL);
    for (; i + VL <= n; i += VL) sums[0] += load(a + i) * load(b + i);
    if (i < n) sums[1] += load_part(a + i, n - i) * load_part(b + i, n - i);
    return sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

static void add(float *x, const float *y, float scale, size_t n) {
    size_t i = 0;
    for (; i + VL <= n; i += VL) store(x + i, load(x + i) + load(y + i) * splat(scale));
    for (; i < n; i++) x[i] += y[i] * scale;
}

static void mix(float *out, const float *const x[], const float scale[], size_t count, size_t n) {
    for (size_t i = 0; i < n; i += VL) {
        size_t lanes = n - i < VL ? n - i : VL;
        vf sum = {0};
        for (size_t k = 0; k < count; k++)
            sum += (lanes == VL ? load(x[k] + i) : load_part(x[k] + i, lanes)) * splat(scale[k]);
        if (lanes == VL)
            store(out + i, sum);
        else
            store_part(out + i, sum, lanes);
    }
}

static void spread(const float *x, size_t n, size_t count, const float scale[3], const float *const y[3],
                   float *const out[3], float dots[3]) {
    vf sums[3] = {{0}};
    size_t i = 0;
    for (; i + VL <= n; i += VL)
        for (size_t k = 0; k < count; k++) {
            store(out[k] + i, load(out[k] + i) + load(x + i) * splat(scale[k]));
            sums[k] += load(x + i) * load(y[k] + i);
        }
    for (size_t k = 0; k < count; k++) {
        if (i < n)
            store_part(out[k] + i, load_part(out[k] + i, n - i) + load_part(x + i, n - i) * splat(scale[k]),
                       n - i);
        if (i < n) sums[k] += load_part(x + i, n - i) * load_part(y[k] + i, n - i);
        dots[k] = sum_of(sums[k]);
    }
}

/* ---- exponentials ---- */

/* 2^x for x up to 127: the whole part into the exponent, the rest (-0.5 to 0.5) by a polynomial
 * whose largest relative error is the least there is, 2^-23.4 (Lawson's method). Below -126.5 it is 0. */
INLINE vf exp2_of(vf x) {
    const vf magic = splat(0x1.8p23f);
    vf y = vmax(x, splat(-127.0f)), whole = y + magic, r = y - (whole - magic), p;
    vi exponent = ((vi)whole - (vi)magic + 127) << 23;
    p = r * 1.3264727197e-3f + 9.6715126396e-3f;
    p = p * r + 5.5507337433e-2f;
    p = p * r + 2.4022242085e-1f;
    p = p * r + 6.9314697760e-1f;
    return (p * r + 1.0f) * (vf)exponent;
}

static float exponentials(const float *x, size_t n, float scale, float shift, float *columns) {
    const float log2_e = 1.44269504089f;
    const vf times = splat(scale * log2_e), plus = splat(shift * log2_e);
    vf sums[2] = {{0}};
    size_t i = 0;
    for (; i + VL <= n; i += VL) {
        vf e = exp2_of(load(x + i) * times + plus);
        store(columns + i, load(columns + i) + e);
        sums[0] += e;
    }
    if (i < n) {
        vf e = exp2_of(load_part(x + i, n - i) * times + plus);
        for (size_t k = n - i; k < VL; k++) e[k] = 0;
        store_part(columns + i, load_part(columns + i, n - i) + e, n - i);
        sums[1] += e;
    }
    return sum_of(sums[0] + sums[1]);
}

static void weigh(const float *x, size_t n, float scale, float shift, float row, const float *columns,
                  float *out) {
    const float log2_e = 1.44269504089f;
    const vf times = splat(scale * log2_e), plus = splat(shift * log2_e);
    size_t i = 0;
    for (; i + VL <= n; i += VL)
        store(out + i, exp2_of(load(x + i) * times + plus) * (load(columns + i) + splat(row)));
    if (i == n) return;
    vf e = exp2_of(load_part(x + i, n - i) * times + plus) * (load_part(columns + i, n - i) + splat(row));
    store_part(out + i, e, n - i);
}

/* ---- matrices ---- */

/* To nearest, ties to even. */
INLINE vh narrowed(vf x) {
#ifdef __AVX512BF16__
    return (vh)_mm512_cvtneps_pbh(x); /* one instruction for seven; what is below 2^-126 becomes 0 */
#endif
    vu u = (vu)x;
    return __builtin_convertvector((u + 0x7FFF + ((u >> 16) & 1)) >> 16, vh);
}

static void narrow(const float *x, float scale, size_t n, uint16_t *out) {
    size_t i = 0;
    for (; i + VL <= n; i += VL) {
        vh narrow = narrowed(load(x + i) * splat(scale));
        memcpy(out + i, &narrow, sizeof narrow);
    }
    if (i == n) return;
    vh narrow = narrowed(load_part(x + i, n - i) * splat(scale));
    memcpy(out + i, &narrow, (n - i) * sizeof *out);
}

static void mirror(float *x, size_t stride, size_t row, size_t rows, size_t n) {
    for (size_t j = row + rows; j < n; j += VL)
        for (size_t i = row; i < row + rows; i += VL) {
            vf tile[VL];
            for (size_t k = 0; k < VL; k++) tile[k] = load(x + (i + k) * stride + j);
            transpose(tile);
            for (size_t k = 0; k < VL; k++) store(x + (j + k) * stride + i, tile[k]);
        }
}

INLINE vf load_number(const void *x, size_t at, bool bf16) {
    vh narrow;
    if (!bf16) return load((const float *)x + at);
    memcpy(&narrow, (const uint16_t *)x + at, sizeof narrow);
    return (vf)(__builtin_convertvector(narrow, vu) << 16);
}

INLINE void store_number(void *x, size_t at, vf value, bool bf16) {
    vh narrow = narrowed(value);
    if (bf16)
        memcpy((uint16_t *)x + at, &narrow, sizeof narrow);
    else
        store((float *)x + at, value);
}

INLINE void fold(const void *x, size_t stride, size_t row, size_t rows, size_t n, void *out, bool bf16) {
    for (size_t j = 0; j < n; j += VL)
        for (size_t i = 0; i < rows; i += VL) {
            vf tile[VL];
            for (size_t k = 0; k < VL; k++) tile[k] = load_number(x, (j + k) * stride + row + i, bf16);
            transpose(tile);
            for (size_t k = 0; k < VL; k++)
                store_number(out, (i + k) * n + j, tile[k] + load_number(x, (row + i + k) * stride + j, bf16),
                             bf16);
        }
}

static void fold_f32(const void *x, size_t stride, size_t row, size_t rows, size_t n, void *out) {
    fold(x, stride, row, rows, n, out, false);
}

/* Numbers are transposed by twos, as if these were floats: half as much of it. */
static void fold_bf16(const void *x, size_t stride, size_t row, size_t rows, size_t n, void *out) {
    size_t paired = rows / (2 * VL) * 2 * VL;
    const uint16_t *numbers = x;
    for (size_t j = 0; j < n; j += VL)
        for (size_t i = 0; i < paired; i += 2 * VL) {
            vf tile[VL];
            for (size_t k = 0; k < VL; k++) {
                tile[k] = load(numbers + (j + k) * stride + row + i);
                __builtin_prefetch(numbers + (j + VL + k) * stride + row + i);
            }
            if (j % (2 * VL) == 0)
                for (size_t k = 0; k < 2 * VL; k++)
                    __builtin_prefetch(numbers + (row + i + k) * stride + j + 2 * VL);
            transpose(tile);
            for (size_t k = 0; k < 2 * VL; k++) {
                vu two = (vu)tile[k / 2];
                vf one = (vf)(k % 2 ? two >> 16 << 16 : two << 16);
                store_number(out, (i + k) * n + j, one + load_number(x, (row + i + k) * stride + j, true),
                             true);
            }
        }
    fold(x, stride, row + paired, rows - paired, n, (uint16_t *)out + paired * n, true);
}

/* ---- GELU ---- */

/* Phi(-|x|), by the polynomial of simd_kernels.c's GELU: 2^(y q(y) - 1) with y = |x| up to 6. */
INLINE vf tail_of(vf x) {
    vf y = (vf)((vi)x & INT32_MAX), p;
    y = -vmax(-y, splat(-6.0f));
    p = y * 6.46557500e-6f - 3.61659356e-5f;
    p = p * y - 4.79533544e-4f;
    p = p * y + 7.47766284e-3f;
    p = p * y - 5.27530251e-2f;
    p = p * y - 4.59136236e-1f;
    p = p * y - 1.15111166f;
    return exp2_of(p * y - 1);
}

INLINE vf gelu_of(vf x) { return vmax(x, (vf){0}) - (vf)((vi)x & INT32_MAX) * tail_of(x); }

/* Phi(x) + x phi(x) */
INLINE vf slope_of(vf x) {
    vf tail = tail_of(x);
    vi negative = x < 0;
    vf phi = splat(0.398942280401f) * exp2_of(x * x * splat(-0.721347520444f));
    return (vf)(((vi)tail & negative) | ((vi)(1.0f - tail) & ~negative)) + x * phi;
}

static void gelu(const float *x, float *y, size_t n) {
    size_t i = 0;
    for (; i + VL <= n; i += VL) store(y + i, gelu_of(load(x + i)));
    if (i < n) store_part(y + i, gelu_of(load_part(x + i, n - i)), n - i);
}

static void gelu_slope(const float *x, float *d, size_t n) {
    size_t i = 0;
    for (; i + VL <= n; i += VL) store(d + i, load(d + i) * slope_of(load(x + i)));
    if (i < n) store_part(d + i, load_part(d + i, n - i) * slope_of(load_part(x + i, n - i)), n - i);
}

/* ---- AdamW ---- */

INLINE void adam_part(float *p, float *m, float *v, const float *g, size_t n,
                      const struct fusion_adam_numbers *k) {
    vf gradient = load_part(g, n) * splat(k->scale);
    vf first = load_part(m, n) * 0.9f + gradient * 0.1f;
    vf second = load_part(v, n) * 0.999f + gradient * gradient * 0.001f;
    vf step = first * splat(k->correct_first) / (vsqrt(second * splat(k->correct_second)) + 1e-8f);
    store_part(m, first, n);
    store_part(v, second, n);
    store_part(p, load_part(p, n) * splat(1 - k->decay) - step * splat(k->rate), n);
}

static void adam(float *p, float *m, float *v, const float *g, size_t n,
                 const struct fusion_adam_numbers *numbers) {
    size_t i = 0;
    for (; i + VL <= n; i += VL) adam_part(p + i, m + i, v + i, g + i, VL, numbers);
    if (i < n) adam_part(p + i, m + i, v + i, g + i, n - i, numbers);
}

extern const fusion_training_kernels SIMD_LEVEL(fusion_training_kernels);
const fusion_training_kernels SIMD_LEVEL(fusion_training_kernels) = {
    SIMD_NAME, dot,    add,      mix,       spread, exponentials, weigh,
    narrow,    mirror, fold_f32, fold_bf16, gelu,   gelu_slope,   adam};
