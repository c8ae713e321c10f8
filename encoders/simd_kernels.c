/* simd_kernels.c - layer norm, attention and pooling in GCC's vector types, for the level of instruction set
 * that this file is compiled for (see simd.h and CMakeLists.txt).
 *
 * Attention is the one that matters: of a passage of 175 tokens it is 7% of the flops, and done naively half
 * of the time. Per text and head, keys are transposed so that a vector holds one coordinate of VL keys; then
 * both products (q k^T, p v) keep a tile of ROWS x COLUMNS vectors in registers, which makes one load serve
 * several multiplications. Scores of ROWS queries stay in the first-level cache between the two. */
#include "simd.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if defined(__AVX512F__)
#define VL 16
#define TILE 4
#define SIMD_TABLE simd_v4
#define SIMD_NAME "x86-64-v4"
#elif defined(__AVX2__)
#define VL 8
#define TILE 2
#define SIMD_TABLE simd_v3
#define SIMD_NAME "x86-64-v3"
#else
#define VL 4
#define TILE 2
#define SIMD_TABLE simd_base
#define SIMD_NAME "baseline"
#endif

/* Queries a tile. ROWS x TILE accumulators, TILE keys and a broadcast fit the registers of every level. */
#define ROWS 6

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef uint32_t vu __attribute__((vector_size(VL * 4)));
typedef uint16_t vh __attribute__((vector_size(VL * 2)));

/* The lanes' numbers; and for shuffles of two vectors, lanes by turns, of their lower and of their upper
 * halves. */
#if VL == 16
#define LANES ((vi){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#define LOWER ((vi){0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23})
#elif VL == 8
#define LANES ((vi){0, 1, 2, 3, 4, 5, 6, 7})
#define LOWER ((vi){0, 8, 1, 9, 2, 10, 3, 11})
#else
#define LANES ((vi){0, 1, 2, 3})
#define LOWER ((vi){0, 4, 1, 5})
#endif
#define UPPER (LOWER + VL / 2)

static inline vf load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store(float *p, vf v) { memcpy(p, &v, sizeof v); }
static inline vf splat(float x) { return x - (vf){0}; }
static inline vf vmax(vf a, vf b) {
    vi m = a > b;
    return (vf)(((vi)a & m) | ((vi)b & ~m));
}

/* Over all lanes, by halves: each step folds the vector, turned by half of what is left, onto itself. */
static inline float sum_of(vf v) {
    for (int width = VL / 2; width > 0; width /= 2) v += __builtin_shuffle(v, (LANES + width) & (VL - 1));
    return v[0];
}

static inline float max_of(vf v) {
    for (int width = VL / 2; width > 0; width /= 2)
        v = vmax(v, __builtin_shuffle(v, (LANES + width) & (VL - 1)));
    return v[0];
}

/* ---- bf16: the upper half of an f32 ---- */

static inline float widen(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* To nearest, ties to even. A NaN stays one: its payload cannot carry into the exponent's bits twice. */
static inline uint16_t narrow(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return f != f ? 0x7fc0 : (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

static inline vf load_bf16(const uint16_t *p) {
    vh h;
    memcpy(&h, p, sizeof h);
    return (vf)(__builtin_convertvector(h, vu) << 16);
}

static inline void store_bf16(uint16_t *p, vf v) {
    vu u = (vu)v;
    vu rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    vu is_nan = (vu)(v != v);
    vh h = __builtin_convertvector((rounded & ~is_nan) | (0x7fc0 & is_nan), vh);
    memcpy(p, &h, sizeof h);
}

static inline vf load_any(const void *p, size_t i, bool bf16) {
    return bf16 ? load_bf16((const uint16_t *)p + i) : load((const float *)p + i);
}

static inline const void *row_of(const void *p, size_t i, bool bf16) {
    return bf16 ? (const void *)((const uint16_t *)p + i) : (const void *)((const float *)p + i);
}

static inline float get_any(const void *p, size_t i, bool bf16) {
    return bf16 ? widen(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

static inline void store_any(void *p, size_t i, vf v, bool bf16) {
    if (bf16)
        store_bf16((uint16_t *)p + i, v);
    else
        store((float *)p + i, v);
}

static inline void set_any(void *p, size_t i, float x, bool bf16) {
    if (bf16)
        ((uint16_t *)p)[i] = narrow(x);
    else
        ((float *)p)[i] = x;
}

/* ---- layer norm ---- */

static inline void add_typed(float *x, const void *residual, size_t n, bool bf16) {
    size_t j = 0;
    for (; j + VL <= n; j += VL) store(x + j, load(x + j) + load_any(residual, j, bf16));
    for (; j < n; j++) x[j] += get_any(residual, j, bf16);
}

static void add(float *x, const void *residual, size_t n, bool bf16) {
    if (bf16)
        add_typed(x, residual, n, true);
    else
        add_typed(x, residual, n, false);
}

static void norm(const float *x, const float *gamma, const float *beta, float epsilon, size_t n, bool bf16,
                 void *y) {
    size_t whole = n / VL * VL, j;
    vf total = {0}, squares = {0};
    float total_rest = 0, squares_rest = 0;
    for (j = 0; j < whole; j += VL) total += load(x + j);
    for (; j < n; j++) total_rest += x[j];
    float mean = (sum_of(total) + total_rest) / (float)n;
    /* A second pass for the variance: E[x^2] - E[x]^2 cancels where the mean is large. */
    for (j = 0; j < whole; j += VL) {
        vf v = load(x + j) - mean;
        squares += v * v;
    }
    for (; j < n; j++) squares_rest += (x[j] - mean) * (x[j] - mean);
    float scale = 1 / sqrtf((sum_of(squares) + squares_rest) / (float)n + epsilon);
    for (j = 0; j < whole; j += VL)
        store_any(y, j, (load(x + j) - mean) * scale * load(gamma + j) + load(beta + j), bf16);
    for (; j < n; j++) set_any(y, j, (x[j] - mean) * scale * gamma[j] + beta[j], bf16);
}

/* ---- attention ---- */

/* exp for x <= 0, to 2 ulp: x = n ln 2 + r with |r| <= ln(2)/2, e^r by the polynomial of Cephes' expf, times
 * 2^n. */
static inline vf exp_negative(vf x) {
    const float magic = 12582912.0f; /* 1.5 x 2^23: adding it rounds to a whole number */
    x = vmax(x, splat(-87.0f));
    vf n = (x * 1.44269504088896341f + magic) - magic;
    vf r = x - n * 0.693359375f - n * -2.12194440e-4f;
    vf p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    vi exponent = (__builtin_convertvector(n, vi) + 127) << 23;
    return p * (vf)exponent;
}

/* x as a matrix of VL x VL, transposed in place: log2(VL) perfect shuffles of its rows. */
static inline void transpose(vf x[VL]) {
    for (int width = 1; width < VL; width *= 2) {
        vf y[VL];
        for (int i = 0; i < VL / 2; i++) {
            y[2 * i] = __builtin_shuffle(x[i], x[i + VL / 2], LOWER);
            y[2 * i + 1] = __builtin_shuffle(x[i], x[i + VL / 2], UPPER);
        }
        memcpy(x, y, sizeof y);
    }
}

/* keys [d, padded] = the transpose of key [length, d], rows `stride` apart; 0 past `length`. */
static inline void transpose_keys(const void *key, size_t stride, size_t length, size_t d, size_t padded,
                                  bool bf16, float *keys) {
    for (size_t j = 0; j < padded; j += VL) {
        size_t count = length - j < VL ? length - j : VL, i = 0;
        for (; i + VL <= d; i += VL) {
            vf block[VL] = {{0}};
            for (size_t r = 0; r < count; r++) block[r] = load_any(key, (j + r) * stride + i, bf16);
            transpose(block);
            for (size_t r = 0; r < VL; r++) store(keys + (i + r) * padded + j, block[r]);
        }
        for (; i < d; i++)
            for (size_t r = 0; r < VL; r++)
                keys[i * padded + j + r] = r < count ? get_any(key, (j + r) * stride + i, bf16) : 0;
    }
}

/* out [rows, width] = scale x [rows, d], rows `stride` apart; 0 past `d`. */
static inline void copy_rows(const void *x, size_t stride, size_t rows, size_t d, size_t width, float scale,
                             bool bf16, float *out) {
    for (size_t r = 0; r < rows; r++) {
        size_t i = 0;
        for (; i + VL <= d; i += VL) store(out + r * width + i, load_any(x, r * stride + i, bf16) * scale);
        for (; i < width; i++) out[r * width + i] = i < d ? get_any(x, r * stride + i, bf16) * scale : 0;
    }
}

/* s[r][c VL ..] = q_r . k over `d` coordinates, for ROWS queries and `tile` vectors of keys. `tile` is a
 * constant wherever this is inlined. */
static inline void score_tile(const float *q, size_t q_stride, const float *keys, size_t key_stride, size_t d,
                              int tile, float *s, size_t s_stride) {
    vf sums[ROWS][TILE] = {{{0}}};
    for (size_t i = 0; i < d; i++) {
        vf k[TILE];
        for (int c = 0; c < tile; c++) k[c] = load(keys + i * key_stride + c * VL);
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < tile; c++) sums[r][c] += q[(size_t)r * q_stride + i] * k[c];
    }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < tile; c++) store(s + (size_t)r * s_stride + c * VL, sums[r][c]);
}

/* y[r][c VL ..] = sum over keys of p[r][j] v[j], for ROWS queries and `tile` vectors of coordinates. */
static inline void value_tile(const float *p, size_t p_stride, const float *v, size_t d, size_t length,
                              int tile, float *y) {
    vf sums[ROWS][TILE] = {{{0}}};
    for (size_t j = 0; j < length; j++) {
        vf value[TILE];
        for (int c = 0; c < tile; c++) value[c] = load(v + j * d + c * VL);
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < tile; c++) sums[r][c] += p[(size_t)r * p_stride + j] * value[c];
    }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < tile; c++) store(y + (size_t)r * d + c * VL, sums[r][c]);
}

/* exp(s - max) over the real keys, 0 past them up to the padded length; returns 1 / their sum. */
static inline float exponentials(float *s, size_t length, size_t padded) {
    for (size_t j = length; j < padded; j++) s[j] = -FLT_MAX;
    vf largest = load(s), sum = {0};
    for (size_t j = VL; j < padded; j += VL) largest = vmax(largest, load(s + j));
    float top = max_of(largest);
    for (size_t j = 0; j < padded; j += VL) {
        vf e = exp_negative(load(s + j) - top);
        store(s + j, e);
        sum += e;
    }
    float total = sum_of(sum);
    /* Past the end exp_negative gave e^-87, not 0: nothing beside a sum that is 1 at least. */
    return 1 / total;
}

static size_t padded_length(size_t length) { return (length + VL - 1) / VL * VL; }
static size_t padded_width(size_t d) { return (d + VL - 1) / VL * VL; }

static inline void attention_typed(const void *query, const void *key, const void *value, size_t stride,
                                   size_t length, size_t d, bool causal, bool bf16, float *scratch, void *y,
                                   size_t y_stride) {
    size_t padded = padded_length(length), width = padded_width(d);
    float *keys = scratch;              /* [d, padded] */
    float *values = keys + d * padded;  /* [length, width] */
    float *q = values + length * width; /* [ROWS, width] */
    float *s = q + ROWS * width;        /* [ROWS, padded] */
    float *out = s + ROWS * padded;     /* [ROWS, width] */
    transpose_keys(key, stride, length, d, padded, bf16, keys);
    copy_rows(value, stride, length, d, width, 1, bf16, values);

    float scale = 1 / sqrtf((float)d);
    memset(q, 0, ROWS * width * sizeof *q); /* rows past the last query of the last tile stay defined */
    for (size_t first = 0; first < length; first += ROWS) {
        size_t rows = length - first < ROWS ? length - first : ROWS, j = 0, c = 0;
        copy_rows(row_of(query, first * stride, bf16), stride, rows, d, width, scale, bf16, q);
        for (; j + TILE * VL <= padded; j += TILE * VL)
            score_tile(q, width, keys + j, padded, d, TILE, s + j, padded);
        for (; j < padded; j += VL) score_tile(q, width, keys + j, padded, d, 1, s + j, padded);
        float inverse[ROWS];
        for (size_t r = 0; r < rows; r++)
            inverse[r] = exponentials(s + r * padded, causal ? first + r + 1 : length, padded);
        for (; c + 2 * VL <= width; c += 2 * VL) value_tile(s, padded, values + c, width, length, 2, out + c);
        for (; c < width; c += VL) value_tile(s, padded, values + c, width, length, 1, out + c);
        for (size_t r = 0; r < rows; r++) {
            size_t i = 0, to = (first + r) * y_stride;
            for (; i + VL <= d; i += VL) store_any(y, to + i, load(out + r * width + i) * inverse[r], bf16);
            for (; i < d; i++) set_any(y, to + i, out[r * width + i] * inverse[r], bf16);
        }
    }
}

static void attention(const void *query, const void *key, const void *value, size_t stride, size_t length,
                      size_t d, bool causal, bool bf16, float *scratch, void *y, size_t y_stride) {
    if (bf16)
        attention_typed(query, key, value, stride, length, d, causal, true, scratch, y, y_stride);
    else
        attention_typed(query, key, value, stride, length, d, causal, false, scratch, y, y_stride);
}

/* ---- pooling ---- */

static void mean(const void *rows, size_t count, size_t n, bool bf16, float *out) {
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        size_t j = 0;
        for (; j + VL <= n; j += VL) store(out + j, load(out + j) + load_any(rows, i * n + j, bf16));
        for (; j < n; j++) out[j] += get_any(rows, i * n + j, bf16);
    }
    for (size_t j = 0; j < n; j++) out[j] /= (float)count;
}

static void unit(float *x, size_t n) {
    double squares = 0;
    for (size_t j = 0; j < n; j++) squares += (double)x[j] * (double)x[j];
    /* The floor is torch.nn.functional.normalize's. */
    float scale = (float)(1 / fmax(sqrt(squares), 1e-12));
    for (size_t j = 0; j < n; j++) x[j] *= scale;
}

extern const simd_table SIMD_TABLE;
const simd_table SIMD_TABLE = {SIMD_NAME, add, norm, attention, mean, unit};
