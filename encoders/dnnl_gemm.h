/* dnnl_gemm.h - a product of plain f32 matrices on the calling thread. Private to encoders/.
 *
 * For training, where every matrix is another one each time, so that there is nothing to compile
 * beforehand. One thread, always: whoever has several gives each a part of the result, so that how many
 * there are does not change how a sum is taken.
 *
 * PANELS. In bf16 the second matrix has to be rounded and brought into another order. Where several parts
 * of a result have it in common, that is done once, by gemm_pack, in shares. */
#ifndef MAGPIE_DNNL_GEMM_H
#define MAGPIE_DNNL_GEMM_H

#include "core.h"

typedef enum gemm_form { GEMM_NT /* a b^T */, GEMM_NN /* a b */, GEMM_TN /* a^T b */ } gemm_form;

enum { GEMM_PANEL = 32 /* columns of a panel */ };

/* The second matrix: [k, n], rows `stride` numbers apart, or [n, k] for GEMM_NT. */
typedef struct gemm_right {
    gemm_form form;
    size_t n, k;
    const float *values;
    size_t stride;
    /* Where it is packed, or NULL; and the k of what was packed there, which may have been more of the
     * same matrix: further columns, or further rows behind. */
    const uint32_t *panels;
    size_t k_packed;
} gemm_right;

bool gemm_has_bf16(void);
/* Words of the panels of a matrix of up to these sizes. */
size_t gemm_panel_words(size_t n, size_t k);
/* Panels first .. first+count-1 of GEMM_PANEL columns each; only where gemm_has_bf16. */
void gemm_pack(const gemm_right *right, size_t first, size_t count, uint32_t *out);

/* c [m, n] = scale * the product over k; a is [m, k] or, of GEMM_TN, [k, m]; rows are `a_stride` and
 * `c_stride` numbers apart. With `bf16`, where gemm_has_bf16, the numbers of both are rounded to bf16, and
 * sums are f32. */
MAGPIE_CHECK_RESULT magpie_status gemm(size_t m, float scale, const float *a, size_t a_stride,
                                       const gemm_right *b, float *c, size_t c_stride, bool bf16);

#endif
