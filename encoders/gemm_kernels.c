/* gemm_kernels.c - see gemm_kernels.h. Compiled for AVX512 with bf16 alone.
 *
 * oneDNN compiles a primitive for one shape, and training has another one with every batch: hence our own.
 * Two bf16 that follow each other along the sum are one word, which is what the processor multiplies and
 * adds at once. Both matrices are brought into panels of such words: ROWS rows of the first, COLUMNS
 * columns of the second, word by word along the sum, so that ROWS x COLUMNS of the result stay in
 * registers. 90% of the peak at 500 x 500 x 384. */
#include "gemm_kernels.h"
#include "simd_vectors.h"

#if VL == 16 && defined(__AVX512BF16__)

enum {
    ROWS = 12,
    COLUMNS = 2 * VL,
    HEIGHT = 16 * ROWS, /* of the first matrix that is packed at a time */
    DEPTH = 512,
    WORDS = DEPTH / 2 /* of a sum that is taken at a time */
};

/* An operand: element i of the result's rows or columns, k along the sum. */
typedef struct operand {
    const float *values;
    size_t stride;
    bool along; /* elements with the same i are side by side; else those with the same k */
} operand;

INLINE __m512i pairs_of(vf even, vf odd) { return (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even); }

INLINE __mmask16 first_lanes(size_t n) { return (__mmask16)(n < VL ? (1u << n) - 1 : 0xFFFF); }

/* Numbers k and k + 1 of `from`, k + 2 and k + 3, ...: VL words, 0 past `left` numbers. */
INLINE vf words_of(const float *from, size_t left) {
    if (left >= (size_t)2 * VL) return (vf)pairs_of(load(from), load(from + VL));
    vf low = (vf)_mm512_maskz_loadu_ps(first_lanes(left), from);
    vf high = (vf)_mm512_maskz_loadu_ps(left > VL ? first_lanes(left - VL) : 0, from + (left > VL ? VL : 0));
    return (vf)pairs_of(low, high);
}

/* Elements i .. i+lanes-1 (lanes up to VL; 0 past `n`), numbers k .. k+depth-1, as words of a panel of
 * `width`. */
INLINE void pack_along(const operand *from, size_t i, size_t n, size_t k, size_t depth, size_t lanes,
                       size_t width, uint32_t *out) {
    for (size_t p = 0; p < depth; p += (size_t)2 * VL) {
        vf words[VL];
        for (size_t j = 0; j < VL; j++)
            words[j] = j < n ? words_of(from->values + (i + j) * from->stride + k + p, depth - p) : (vf){0};
        transpose(words);
        size_t rows = (depth - p + 1) / 2 < VL ? (depth - p + 1) / 2 : VL;
        for (size_t j = 0; j < rows; j++)
            _mm512_mask_storeu_epi32(out + (p / 2 + j) * width, first_lanes(lanes), (__m512i)words[j]);
    }
}

INLINE void pack_across(const operand *from, size_t i, size_t n, size_t k, size_t depth, size_t lanes,
                        size_t width, uint32_t *out) {
    const __m512i turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                           7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (size_t p = 0; p < depth; p += 2) {
        const float *row = from->values + (k + p) * from->stride + i;
        vf even = (vf)_mm512_maskz_loadu_ps(first_lanes(n), row);
        vf odd = p + 1 < depth ? (vf)_mm512_maskz_loadu_ps(first_lanes(n), row + from->stride) : (vf){0};
        _mm512_mask_storeu_epi32(out + p / 2 * width, first_lanes(lanes),
                                 _mm512_permutexvar_epi16(turns, pairs_of(even, odd)));
    }
}

INLINE void pack(const operand *from, size_t i, size_t end, size_t k, size_t depth, size_t lanes,
                 size_t width, uint32_t *out) {
    size_t n = i >= end ? 0 : end - i < lanes ? end - i : lanes;
    if (from->along)
        pack_along(from, n ? i : 0, n, k, depth, lanes, width, out);
    else
        pack_across(from, n ? i : 0, n, k, depth, lanes, width, out);
}

/* c [rows, columns] = scale * product, or that added to it. */
INLINE void multiply(const uint32_t *a, const uint32_t *b, size_t words, float scale, bool first, size_t rows,
                     size_t columns, float *c, size_t stride) {
    __m512 sums[ROWS][2];
    for (int i = 0; i < ROWS; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    for (size_t p = 0; p < words; p++, a += ROWS, b += COLUMNS) {
        const __m512bh left = (__m512bh)_mm512_loadu_si512(b), right = (__m512bh)_mm512_loadu_si512(b + VL);
#pragma GCC unroll 12
        for (int i = 0; i < ROWS; i++) {
            const __m512bh one = (__m512bh)_mm512_set1_epi32((int)a[i]);
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], one, left);
            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], one, right);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++)
        for (size_t half = 0; half < 2; half++) {
            if ((size_t)i >= rows || half * VL >= columns) continue;
            float *to = c + (size_t)i * stride + half * VL;
            __mmask16 lanes = first_lanes(columns - half * VL);
            __m512 value = _mm512_mul_ps(sums[i][half], _mm512_set1_ps(scale));
            if (!first) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(lanes, to));
            _mm512_mask_storeu_ps(to, lanes, value);
        }
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

void gemm_pack_v4_bf16(const gemm_right *right, size_t first, size_t count, uint32_t *out) {
    const operand from = {right->values, right->stride, right->form == GEMM_NT};
    size_t words = (right->k + 1) / 2;
    for (size_t panel = first; panel < first + count; panel++)
        for (size_t half = 0; half < 2; half++)
            pack(&from, panel * COLUMNS + half * VL, right->n, 0, right->k, VL, COLUMNS,
                 out + panel * COLUMNS * words + half * VL);
}

/* The panels of rows `from` .. `end` by all columns, numbers at .. at+depth-1 of the sum. `panels` NULL:
 * packed here. */
static void multiply_rows(const uint32_t *rows, size_t from, size_t end, size_t at, size_t depth, float scale,
                          const gemm_right *right, const uint32_t *panels, float *c, size_t c_stride) {
    _Alignas(64) uint32_t columns[COLUMNS * WORDS];
    const operand operand = {right->values, right->stride, right->form == GEMM_NT};
    size_t words = (depth + 1) / 2, all = (right->k_packed + 1) / 2;
    for (size_t j = 0; j < right->n; j += COLUMNS) {
        const uint32_t *panel = panels ? panels + j * all + at / 2 * COLUMNS : columns;
        for (size_t half = 0; half < 2 && !panels; half++)
            pack(&operand, j + half * VL, right->n, at, depth, VL, COLUMNS, columns + half * VL);
        for (size_t r = from; r < end; r += ROWS)
            multiply(rows + (r - from) * words, panel, words, scale, at == 0, least(end - r, ROWS),
                     least(right->n - j, COLUMNS), c + r * c_stride + j, c_stride);
    }
}

void gemm_bf16_v4_bf16(bool turned, size_t m, float scale, const float *a, size_t a_stride,
                       const gemm_right *right, const uint32_t *panels, float *c, size_t c_stride) {
    _Alignas(64) uint32_t rows[HEIGHT * WORDS];
    const operand left = {a, a_stride, !turned};
    for (size_t at = 0; at < right->k; at += DEPTH)
        for (size_t i = 0; i < m; i += HEIGHT) {
            size_t depth = least(right->k - at, DEPTH), end = least(m, i + HEIGHT);
            for (size_t r = i; r < end; r += ROWS)
                pack(&left, r, end, at, depth, ROWS, ROWS, rows + (r - i) * ((depth + 1) / 2));
            multiply_rows(rows, i, end, at, depth, scale, right, panels, c, c_stride);
        }
}

#endif
