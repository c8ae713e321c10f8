/* dnnl_gemm.h - a product of plain matrices on the calling thread. Private to encoders/.
 *
 * For training, where every matrix is another one each time. oneDNN has primitives that are told the sizes
 * when they run: of 96 rows and more, 109e9 multiplications a second where one compiled for the shape has 111
 * and the processor 117. So there is one for each form, and nothing to round up or to look up.
 *
 * One thread, always: whoever has several gives each a part of the result, so that how many there are does
 * not change how a sum is taken. */
#ifndef MAGPIE_DNNL_GEMM_H
#define MAGPIE_DNNL_GEMM_H

#include "core.h"

typedef enum gemm_form { GEMM_NT /* a b^T */, GEMM_NN /* a b */, GEMM_TN /* a^T b */ } gemm_form;

/* Rows `stride` numbers apart: f32, or bf16 where the product is of that. */
typedef struct gemm_matrix {
    const void *values;
    size_t stride;
} gemm_matrix;

/* Whether this CPU multiplies bf16 natively. */
bool gemm_has_bf16(void);

/* c [m, n], rows `stride` numbers apart, becomes the sum over k; sums are f32. */
MAGPIE_CHECK_RESULT magpie_status gemm(gemm_form form, bool bf16, size_t m, size_t n, size_t k, gemm_matrix a,
                                       gemm_matrix b, float *c, size_t stride);

#endif
