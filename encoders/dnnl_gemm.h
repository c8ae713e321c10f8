/* dnnl_gemm.h - a product of plain f32 matrices on the calling thread. Private to encoders/.
 *
 * For training, where every matrix is another one each time, so that there is nothing to pack or to
 * compile beforehand. One thread, always: whoever has several gives each a part of the result, so that how
 * many there are does not change how a sum is taken. */
#ifndef MAGPIE_DNNL_GEMM_H
#define MAGPIE_DNNL_GEMM_H

#include "core.h"

typedef enum gemm_form { GEMM_NT /* a b^T */, GEMM_NN /* a b */, GEMM_TN /* a^T b */ } gemm_form;

bool gemm_has_bf16(void);
/* c [m, n] = scale * the product over k; a is [m, k] or, of GEMM_TN, [k, m]; rows are `a_stride`, `b_stride`,
 * `c_stride` numbers apart. With `bf16`, where gemm_has_bf16, the numbers of a and b are rounded
 * to bf16, and sums are f32. */
MAGPIE_CHECK_RESULT magpie_status gemm(gemm_form form, size_t m, size_t n, size_t k, float scale,
                                       const float *a, size_t a_stride, const float *b, size_t b_stride,
                                       float *c, size_t c_stride, bool bf16);

#endif
