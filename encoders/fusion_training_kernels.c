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

static void mix(float *out, const float *const x[], const float scale[], size_t count, size_t n,
                size_t ahead) {
    for (size_t i = 0; i < n; i += VL) {
        size_t lanes = n - i < VL ? n - i : VL;
        vf sum = {0};
        for (size_t k = 0; k < count; k++) {
            sum += (lanes == VL ? load(x[k] + i) : load_part(x[k] + i, lanes)) * splat(scale[k]);
            __builtin_prefetch(x[k] + ahead + i);
        }
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
 * whose largest relative error is the least there is, 2^-23.4 (Lawson's method). Below -150 it is 0, or below
 * -126.5 where there is no instruction for the exponent. */
INLINE vf exp2_of(vf x) {
#if VL == 16
    vf y = vmax(x, splat(-200.0f)), whole = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT), r = y - whole,
       p;
#else
    const vf magic = splat(0x1.8p23f);
    vf y = vmax(x, splat(-127.0f)), whole = y + magic, r = y - (whole - magic), p;
    vi exponent = ((vi)whole - (vi)magic + 127) << 23;
#endif
    p = r * 1.3264727197e-3f + 9.6715126396e-3f;
    p = p * r + 5.5507337433e-2f;
    p = p * r + 2.4022242085e-1f;
    p = p * r + 6.9314697760e-1f;
    p = p * r + 1.0f;
#if VL == 16
    return _mm512_scalef_ps(p, whole);
#else
    return p * (vf)exponent;
#endif
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

INLINE void weigh_any(const float *x, size_t n, float scale, float shift, const float *times, float row,
                      const float *columns, float *out) {
    const float log2_e = 1.44269504089f;
    const vf by = splat(scale * log2_e), plus = splat(shift * log2_e), one = splat(1);
    for (size_t i = 0; i < n; i += VL) {
        size_t lanes = n - i < VL ? n - i : VL;
        bool whole = lanes == VL;
        vf factor = !times ? one : whole ? load(times + i) : load_part(times + i, lanes);
        vf e = exp2_of((whole ? load(x + i) : load_part(x + i, lanes)) * factor * by + plus) * factor *
               ((whole ? load(columns + i) : load_part(columns + i, lanes)) + splat(row));
        if (whole)
            store(out + i, e);
        else
            store_part(out + i, e, lanes);
    }
}

static void weigh(const float *x, size_t n, float scale, float shift, const float *times, float row,
                  const float *columns, float *out) {
    if (times)
        weigh_any(x, n, scale, shift, times, row, columns, out);
    else
        weigh_any(x, n, scale, shift, NULL, row, columns, out);
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

static void mirror(float *x, size_t stride, size_t row, size_t rows, size_t column, size_t columns) {
    for (size_t j = column; j < column + columns; j += VL)
        for (size_t i = row; i < row + rows; i += VL) {
            vf tile[VL];
            for (size_t k = 0; k < VL; k++) tile[k] = load(x + (i + k) * stride + j);
            transpose(tile);
            for (size_t k = 0; k < VL; k++) store(x + (j + k) * stride + i, tile[k]);
        }
}

/* ---- products ---- */

enum { WIDTH = 2 * VL, ROWS = VL == 16 ? 8 : 4 /* what registers hold, and what hides the latency */ };

/* One of a's units times VL of b's, added to sums. */
INLINE vf multiply_add(vf sums, uint32_t one, vf other, bool bf16) {
    vu all = one - (vu){0};
#ifdef __AVX512BF16__
    if (bf16) return _mm512_dpbf16_ps(sums, (__m512bh)other, (__m512bh)all);
#endif
    (void)bf16;
    return sums + (vf)all * other;
}

/* Rows i .. i+rows-1 of a panel of the product. */
INLINE void multiply_tile(const fusion_product *p, size_t i, size_t j, int rows, bool turned, bool bf16) {
    const uint32_t *a = p->a + (turned ? i / WIDTH * p->units * WIDTH + i % WIDTH : i * p->row),
                   *b = p->b + j * p->depth;
    size_t row = turned ? 1 : p->row, step = turned ? WIDTH : 1;
    float *c = p->c + i * p->stride + j;
    vf sums[ROWS][2] = {{{0}}};
    for (int r = 0; r < rows; r++) /* what is written to is not near: 5% */
        for (size_t v = 0; v < 2; v++) __builtin_prefetch(c + (size_t)r * p->stride + v * VL, 1);
    for (size_t k = 0; k < p->units; k++, a += step, b += WIDTH) {
        vf b0 = load(b), b1 = load(b + VL);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            uint32_t one;
            memcpy(&one, a + (size_t)r * row, sizeof one);
            sums[r][0] = multiply_add(sums[r][0], one, b0, bf16);
            sums[r][1] = multiply_add(sums[r][1], one, b1, bf16);
        }
    }
    size_t left = p->n - j;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++, c += p->stride)
        for (size_t v = 0; v < 2; v++)
            if (left >= (v + 1) * VL)
                store(c + v * VL, sums[r][v]);
            else if (left > v * VL)
                store_part(c + v * VL, sums[r][v], left - v * VL);
}

/* A panel stays where it is near while rows pass by. */
INLINE void multiply(const fusion_product *p, bool turned, bool bf16) {
    for (size_t j = 0; j < p->n; j += WIDTH) {
        size_t i = 0;
        for (; i + ROWS <= p->m; i += ROWS) multiply_tile(p, i, j, ROWS, turned, bf16);
        for (; i < p->m; i++) multiply_tile(p, i, j, 1, turned, bf16);
    }
}

static void multiply_f32(const fusion_product *p) {
    if (p->row)
        multiply(p, false, false);
    else
        multiply(p, true, false);
}

#ifdef __AVX512BF16__
static void multiply_bf16(const fusion_product *p) {
    if (p->row)
        multiply(p, false, true);
    else
        multiply(p, true, true);
}
#else
#define multiply_bf16 NULL
#endif

static void pack_turned(const uint32_t *x, size_t rows, size_t units, size_t first, uint32_t *panels) {
    for (size_t i = 0; i < rows; i += VL)
        for (size_t k = 0; k < units; k += VL) {
            uint32_t *out = panels + ((first + i) / WIDTH * units + k) * WIDTH + (first + i) % WIDTH;
            size_t lanes = units - k < VL ? units - k : VL;
            vf tile[VL];
            for (size_t r = 0; r < VL; r++)
                tile[r] = i + r >= rows ? (vf){0}
                          : lanes == VL ? load(x + (i + r) * units + k)
                                        : load_part((const float *)(x + (i + r) * units + k), lanes);
            transpose(tile);
            for (size_t r = 0; r < lanes; r++) store(out + r * WIDTH, tile[r]);
        }
}

/* n numbers of a row, each in the lower half of a unit. */
INLINE vu halves(const uint16_t *x, size_t n) {
    vh narrow = {0};
    if (n == VL)
        memcpy(&narrow, x, sizeof narrow);
    else
        memcpy(&narrow, x, n * sizeof *x);
    return __builtin_convertvector(narrow, vu);
}

/* A panel after the other, since the rows are near. */
INLINE void pack(const void *x, size_t stride, size_t rows, size_t columns, size_t depth, uint32_t *panels,
                 bool bf16) {
    for (size_t j = 0; j < columns; j += VL) {
        uint32_t *out = panels + j / WIDTH * depth * WIDTH + j % WIDTH;
        size_t n = columns - j < VL ? columns - j : VL;
        for (size_t k = 0; k < rows; k += bf16 ? 2 : 1, out += WIDTH) {
            const uint16_t *numbers = (const uint16_t *)x + k * stride + j;
            vu units = bf16 ? halves(numbers, n) : (vu)load_part((const float *)x + k * stride + j, n);
            if (bf16 && k + 1 < rows) units |= halves(numbers + stride, n) << 16;
            store(out, (vf)units);
        }
    }
}

static void pack_f32(const void *x, size_t stride, size_t rows, size_t columns, size_t depth,
                     uint32_t *panels) {
    pack(x, stride, rows, columns, depth, panels, false);
}

static void pack_bf16(const void *x, size_t stride, size_t rows, size_t columns, size_t depth,
                      uint32_t *panels) {
    pack(x, stride, rows, columns, depth, panels, true);
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
const fusion_training_kernels SIMD_LEVEL(fusion_training_kernels) = {SIMD_NAME,
                                                                     dot,
                                                                     add,
                                                                     mix,
                                                                     spread,
                                                                     exponentials,
                                                                     weigh,
                                                                     narrow,
                                                                     mirror,
                                                                     WIDTH,
                                                                     {multiply_f32, multiply_bf16},
                                                                     {pack_f32, pack_bf16},
                                                                     pack_turned,
                                                                     gelu,
                                                                     gelu_slope,
                                                                     adam};
