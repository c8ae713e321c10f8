/* simd_kernels.c - layer norm, GELU, attention and pooling in GCC's vector types, for the level of
 * instruction set that this file is compiled for (see simd.h and CMakeLists.txt).
 *
 * Attention is the one that matters: of a passage of 175 tokens it is 7% of the flops, and done naively half
 * of the time. A lane is a query, so neither the maximum nor the sum of a softmax ever crosses lanes: both
 * are taken row by row of a matrix [keys, queries], and only queries and results are transposed. Both
 * products (k q^T, v^T p) keep a tile of TILE x 2 vectors in registers. Where the CPU multiplies pairs of
 * bf16, keys, queries, values and the softmax's weights stay pairs and sums are f32: half the
 * multiplications. */
#include "simd.h"
#include "simd_bf16.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Rows of keys or coordinates a tile: few, since a text of one key more pays for a whole tile; 8 measured the
 * same otherwise. TILE x 2 accumulators hide the latency of a multiplication, and fit 16 registers. */
#define TILE 4

/* The lanes' numbers. */
#if VL == 16
#define LANES ((vi){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#elif VL == 8
#define LANES ((vi){0, 1, 2, 3, 4, 5, 6, 7})
#else
#define LANES ((vi){0, 1, 2, 3})
#endif

/* A pair of bf16 a lane, the first in the lower half. */
static inline vf pair_of(vf first, vf second) {
#if PAIRS
    return (vf)((vu)_mm512_cvtepu16_epi32((__m256i)narrow_all(first)) |
                (vu)_mm512_cvtepu16_epi32((__m256i)narrow_all(second)) << 16);
#else
    return (vf)(__builtin_convertvector(narrow_all(first), vu) |
                __builtin_convertvector(narrow_all(second), vu) << 16);
#endif
}

/* sum + both products of the lanes' pairs */
static inline vf add_pairs(vf sum, vf a, vf b) {
#if PAIRS
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#else
    const vu upper = (vu){0} + 0xffff0000;
    return sum + (vf)((vu)a << 16) * (vf)((vu)b << 16) + (vf)((vu)a & upper) * (vf)((vu)b & upper);
#endif
}

static inline vf load_any(const void *p, size_t i, bool bf16) {
    return bf16 ? load_bf16((const uint16_t *)p + i) : load((const float *)p + i);
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

/* Sums in CHAINS vectors side by side: one alone would wait for each of its additions. */
enum { CHAINS = 4 };

static inline float sum_of_chains(const vf sums[CHAINS]) {
    return sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

static void norm(const float *x, const float *gamma, const float *beta, float epsilon, size_t n, bool bf16,
                 void *y) {
    size_t whole = n / VL * VL, j = 0;
    vf totals[CHAINS] = {{0}}, squares[CHAINS] = {{0}};
    float total_rest = 0, squares_rest = 0;
    for (; j + CHAINS * VL <= n; j += CHAINS * VL)
        for (int c = 0; c < CHAINS; c++) totals[c] += load(x + j + c * VL);
    for (; j < whole; j += VL) totals[0] += load(x + j);
    for (; j < n; j++) total_rest += x[j];
    float mean = (sum_of_chains(totals) + total_rest) / (float)n;
    /* A second pass for the variance: E[x^2] - E[x]^2 cancels where the mean is large. */
    for (j = 0; j + CHAINS * VL <= n; j += CHAINS * VL)
        for (int c = 0; c < CHAINS; c++) {
            vf v = load(x + j + c * VL) - mean;
            squares[c] += v * v;
        }
    for (; j < whole; j += VL) {
        vf v = load(x + j) - mean;
        squares[0] += v * v;
    }
    for (; j < n; j++) squares_rest += (x[j] - mean) * (x[j] - mean);
    float scale = 1 / sqrtf((sum_of_chains(squares) + squares_rest) / (float)n + epsilon);
    for (j = 0; j < whole; j += VL)
        store_any(y, j, (load(x + j) - mean) * scale * load(gamma + j) + load(beta + j), bf16);
    for (; j < n; j++) set_any(y, j, (x[j] - mean) * scale * gamma[j] + beta[j], bf16);
}

/* ---- 2^x, GELU ---- */

/* 2^x to 2 ulp, for x up to 127; below -126 it is 2^-126. x = n + f with |f| <= 1/2; 2^f by a polynomial of
 * least relative error, 7.5e-8, times 2^n by adding n to the exponent. `rough`, for what becomes bf16:
 * 7.5e-5. */
INLINE vf exp2_of(vf x, bool rough) {
    const float magic = 12582912.0f; /* 1.5 x 2^23: adding it leaves a whole number in the lowest bits */
    x = vmax(x, splat(-126.0f));
    vf rounded = x + magic;
    vf f = x - (rounded - magic), p;
    if (rough) {
        p = f * 5.51693641e-2f + 2.42610943e-1f;
        p = p * f + 6.93261411e-1f;
        p = p * f + 9.99928096e-1f;
    } else {
        p = f * 1.32763815e-3f + 9.67554061e-3f;
        p = p * f + 5.55071351e-2f;
        p = p * f + 2.40221197e-1f;
        p = p * f + 6.93146967e-1f;
        p = p * f + 1.00000007f;
    }
    return (vf)((vi)p + ((vi)rounded << 23));
}

/* x Phi(x) = max(x, 0) - |x| Phi(-|x|), and log2 Phi(-y) is close to a parabola: a polynomial with -1 at 0,
 * fitted so that the product is right to 2e-7 of x (`rough`: 4e-5). Past 6 the product is nothing beside x.
 */
INLINE vf gelu_of(vf x, bool rough) {
    vf size = (vf)((vi)x & INT32_MAX), y = -vmax(-size, splat(-6.0f)), p;
    if (rough) {
        p = y * 4.47347457e-3f - 4.72073913e-2f;
        p = p * y - 4.62863764e-1f;
        p = p * y - 1.15039823f;
    } else {
        p = y * 6.46557500e-6f - 3.61659356e-5f;
        p = p * y - 4.79533544e-4f;
        p = p * y + 7.47766284e-3f;
        p = p * y - 5.27530251e-2f;
        p = p * y - 4.59136236e-1f;
        p = p * y - 1.15111166f;
    }
    return vmax(x, (vf){0}) - size * exp2_of(p * y - 1, rough);
}

INLINE void gelu_typed(void *x, size_t n, bool bf16) {
    size_t j = 0;
    for (; j + VL <= n; j += VL) store_any(x, j, gelu_of(load_any(x, j, bf16), bf16), bf16);
    for (; j < n; j++) set_any(x, j, gelu_of(splat(get_any(x, j, bf16)), bf16)[0], bf16);
}

static void gelu(void *x, size_t n, bool bf16) {
    if (bf16)
        gelu_typed(x, n, true);
    else
        gelu_typed(x, n, false);
}

/* ---- attention ---- */

/* What a lane of 32 bits holds of rows of queries, keys and values. */
typedef enum words { WORDS_F32, WORDS_WIDENED /* f32, stored as bf16 */, WORDS_PAIRS /* two bf16 */ } words;

/* Words i .. i+VL-1 of a row of n; 0 past it. */
INLINE vf load_words(const void *row, size_t i, size_t n, words form) {
    if (i + VL <= n)
        return form == WORDS_WIDENED ? load_bf16((const uint16_t *)row + i) : load((const char *)row + 4 * i);
    vf v = {0};
    for (size_t k = 0; i + k < n; k++) {
        float word;
        if (form == WORDS_WIDENED)
            word = widen(((const uint16_t *)row)[i + k]);
        else
            memcpy(&word, (const char *)row + 4 * (i + k), sizeof word);
        v[k] = word;
    }
    return v;
}

INLINE void store_words(void *row, size_t i, size_t n, vf v, words form) {
    if (i + VL <= n) {
        if (form == WORDS_WIDENED)
            store_bf16((uint16_t *)row + i, v);
        else
            store((char *)row + 4 * i, v);
        return;
    }
    for (size_t k = 0; i + k < n; k++) {
        float word = v[k];
        if (form == WORDS_WIDENED)
            ((uint16_t *)row)[i + k] = narrow(word);
        else
            memcpy((char *)row + 4 * (i + k), &word, sizeof word);
    }
}

/* Of row `row`, in bytes. */
INLINE size_t offset(size_t row, size_t stride, words form) {
    return row * stride * (form == WORDS_F32 ? sizeof(float) : sizeof(uint16_t));
}

INLINE const void *row_at(const void *x, size_t row, size_t stride, words form) {
    return (const char *)x + offset(row, stride, form);
}

/* out [n rounded up to VL, vectors x VL]: the words of `rows` queries, a query a lane. Lanes past the last
 * repeat it: they have to be numbers, and nobody reads what becomes of them. */
INLINE void queries_to_columns(const void *query, size_t stride, size_t rows, size_t n, int vectors,
                               words form, float *out) {
    for (int c = 0; c < vectors; c++) {
        for (size_t i = 0; i < n; i += VL) {
            vf block[VL];
            for (size_t r = 0; r < VL; r++) {
                size_t row = (size_t)c * VL + r;
                block[r] = load_words(row_at(query, row < rows ? row : rows - 1, stride, form), i, n, form);
            }
            transpose(block);
            for (size_t r = 0; r < VL; r++)
                store(out + ((i + r) * (size_t)vectors + (size_t)c) * VL, block[r]);
        }
    }
}

/* The reverse: y's rows of d coordinates, each lane's multiplied by its `scale`. */
INLINE void columns_to_rows(const float *columns, const vf scale[2], size_t rows, size_t d, int vectors,
                            words form, void *y, size_t y_stride) {
    size_t n = form == WORDS_PAIRS ? d / 2 : d, step = (size_t)vectors * VL;
    for (int c = 0; c < vectors; c++) {
        const float *column = columns + c * VL;
        for (size_t i = 0; i < n; i += VL) {
            vf block[VL];
            for (size_t r = 0; r < VL; r++) {
                if (form == WORDS_PAIRS)
                    block[r] = pair_of(load(column + 2 * (i + r) * step) * scale[c],
                                       load(column + (2 * (i + r) + 1) * step) * scale[c]);
                else
                    block[r] = load(column + (i + r) * step) * scale[c];
            }
            transpose(block);
            for (size_t r = 0; r < VL; r++) {
                size_t row = (size_t)c * VL + r;
                if (row < rows) store_words((char *)y + offset(row, y_stride, form), i, n, block[r], form);
            }
        }
    }
}

/* out [rows, wide]: rows of n words side by side, 0 past n and in the rows after `length`. */
INLINE void copy_rows(const void *x, size_t stride, size_t length, size_t rows, size_t n, size_t wide,
                      words form, float *out) {
    for (size_t j = 0; j < length; j++)
        for (size_t i = 0; i < wide; i += VL)
            store(out + j * wide + i, load_words(row_at(x, j, stride, form), i, n, form));
    memset(out + length * wide, 0, (rows - length) * wide * sizeof *out);
}

/* out [length / 2, wide]: word (j, c) is coordinate c of values 2j and 2j + 1. */
INLINE void pair_rows(const void *x, size_t stride, size_t length, size_t d, size_t wide, float *out) {
    for (size_t j = 0; j < length; j += 2)
        for (size_t i = 0; i < wide; i += VL) {
            vf even = load_words(row_at(x, j, stride, WORDS_PAIRS), i, d, WORDS_WIDENED), odd = {0};
            if (j + 1 < length) odd = load_words(row_at(x, j + 1, stride, WORDS_PAIRS), i, d, WORDS_WIDENED);
            store(out + j / 2 * wide + i, (vf)((vu)even >> 16 | (vu)odd));
        }
}

/* out [TILE, vectors x VL] = a b over `count` words. Rows of a are a_row apart and its columns a_step: the
 * keys, or the values' transpose. A row of b is a word of every lane. */
INLINE void multiply(const float *a, size_t a_row, size_t a_step, const float *b, size_t count, int vectors,
                     words form, float *out) {
    vf sums[TILE][2] = {{{0}}};
    for (size_t i = 0; i < count; i++) {
        vf columns[2];
        for (int c = 0; c < vectors; c++) columns[c] = load(b + (i * (size_t)vectors + (size_t)c) * VL);
        for (int r = 0; r < TILE; r++) {
            vf word = splat(a[(size_t)r * a_row + i * a_step]);
            for (int c = 0; c < vectors; c++)
                sums[r][c] = form == WORDS_PAIRS ? add_pairs(sums[r][c], word, columns[c])
                                                 : sums[r][c] + word * columns[c];
        }
    }
    for (int r = 0; r < TILE; r++)
        for (int c = 0; c < vectors; c++) store(out + (r * vectors + c) * VL, sums[r][c]);
}

/* s [length, vectors x VL] from scores to 2^(scale (s - largest of its lane)), as pairs of keys where `form`
 * says so; inverse: 1 / the sum of each lane. The first lane is query `first`. */
INLINE void softmax(float *s, size_t length, int vectors, float scale, bool causal, size_t first, words form,
                    vf inverse[2]) {
    size_t lanes = (size_t)vectors * VL;
    for (int c = 0; c < vectors; c++) {
        float *column = s + c * VL;
        vi query = LANES + (int32_t)(first + (size_t)c * VL);
        vf largest = splat(-FLT_MAX), sum = {0};
        for (size_t j = 0; j < length; j++) {
            vf score = load(column + j * lanes);
            if (causal) {
                vi seen = query >= (int32_t)j;
                score = (vf)(((vi)score & seen) | ((vi)splat(-FLT_MAX) & ~seen));
                store(column + j * lanes, score);
            }
            largest = vmax(largest, score);
        }
        largest *= scale;
        for (size_t j = 0, step = form == WORDS_PAIRS ? 2 : 1; j < length; j += step) {
            vf e = exp2_of(load(column + j * lanes) * scale - largest, form == WORDS_PAIRS);
            sum += e;
            if (form == WORDS_PAIRS) {
                vf odd = {0};
                if (j + 1 < length)
                    odd = exp2_of(load(column + (j + 1) * lanes) * scale - largest, form == WORDS_PAIRS);
                sum += odd;
                e = pair_of(e, odd);
            }
            store(column + j / step * lanes, e);
        }
        inverse[c] = 1 / sum;
    }
}

static size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

/* A head of a text: where its keys and values lie, and room for a block of queries, `lanes` of them. */
typedef struct head {
    size_t d, wide;           /* coordinates, and rounded up to whole vectors */
    size_t words;             /* of a query or key */
    float *keys, *values;     /* [length, wide] */
    float *queries, *s, *out; /* [wide, lanes], [length, lanes], [wide, lanes] */
} head;

/* Queries first .. first+rows-1 over the first `length` keys. */
INLINE void attend(const head *h, const void *query, size_t stride, size_t first, size_t rows, size_t length,
                   int vectors, bool causal, words form, void *y, size_t y_stride) {
    size_t lanes = (size_t)vectors * VL, summed = form == WORDS_PAIRS ? (length + 1) / 2 : length;
    float scale = 1.44269504088896341f / sqrtf((float)h->d); /* e^x = 2^(x log2 e) */
    vf inverse[2];
    queries_to_columns(row_at(query, first, stride, form), stride, rows, h->words, vectors, form, h->queries);
    for (size_t j = 0; j < length; j += TILE)
        multiply(h->keys + j * h->wide, h->wide, 1, h->queries, h->words, vectors, form, h->s + j * lanes);
    softmax(h->s, length, vectors, scale, causal, first, form, inverse);
    for (size_t c = 0; c < h->wide; c += TILE)
        multiply(h->values + c, 1, h->wide, h->s, summed, vectors, form, h->out + c * lanes);
    columns_to_rows(h->out, inverse, rows, h->d, vectors, form, (char *)y + offset(first, y_stride, form),
                    y_stride);
}

INLINE void attention_typed(const void *query, const void *key, const void *value, size_t stride,
                            size_t length, size_t d, bool causal, words form, float *scratch, void *y,
                            size_t y_stride) {
    head h = {.d = d, .wide = round_up(d, VL), .words = form == WORDS_PAIRS ? d / 2 : d};
    size_t padded = round_up(length, TILE);
    h.keys = scratch;
    h.values = h.keys + padded * h.wide;
    h.queries = h.values + padded * h.wide;
    h.out = h.queries + h.wide * 2 * VL;
    h.s = h.out + h.wide * 2 * VL;
    copy_rows(key, stride, length, padded, h.words, h.wide, form, h.keys);
    if (form == WORDS_PAIRS)
        pair_rows(value, stride, length, d, h.wide, h.values);
    else
        copy_rows(value, stride, length, length, d, h.wide, form, h.values);
    for (size_t first = 0, rows; first < length; first += rows) {
        rows = length - first < 2 * VL ? length - first : 2 * VL;
        size_t seen = causal ? first + rows : length;
        if (rows > VL)
            attend(&h, query, stride, first, rows, seen, 2, causal, form, y, y_stride);
        else
            attend(&h, query, stride, first, rows, seen, 1, causal, form, y, y_stride);
    }
}

static void attention(const void *query, const void *key, const void *value, size_t stride, size_t length,
                      size_t d, bool causal, bool bf16, float *scratch, void *y, size_t y_stride) {
    if (!bf16)
        attention_typed(query, key, value, stride, length, d, causal, WORDS_F32, scratch, y, y_stride);
    else if (PAIRS && d % 2 == 0)
        attention_typed(query, key, value, stride, length, d, causal, WORDS_PAIRS, scratch, y, y_stride);
    else
        attention_typed(query, key, value, stride, length, d, causal, WORDS_WIDENED, scratch, y, y_stride);
}

/* ---- pooling ---- */

INLINE void affine_typed(void *x, const float *scale, const float *offset, size_t rows, size_t n, bool bf16) {
    size_t whole = n - n % VL;
    for (size_t i = 0; i < rows; i++) {
        size_t row = i * n, j = 0;
        for (; j < whole; j += VL)
            store_any(x, row + j, load_any(x, row + j, bf16) * load(scale + j) + load(offset + j), bf16);
        for (; j < n; j++) set_any(x, row + j, get_any(x, row + j, bf16) * scale[j] + offset[j], bf16);
    }
}

static void affine(void *x, const float *scale, const float *offset, size_t rows, size_t n, bool bf16) {
    if (bf16)
        affine_typed(x, scale, offset, rows, n, true);
    else
        affine_typed(x, scale, offset, rows, n, false);
}

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

extern const simd_table SIMD_LEVEL(simd);
const simd_table SIMD_LEVEL(simd) = {SIMD_NAME, add, norm, gelu, attention, affine, mean, unit};
