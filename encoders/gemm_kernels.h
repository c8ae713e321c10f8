/* gemm_kernels.h - the product of dnnl_gemm.h with numbers rounded to bf16 on the way in, sums in f32,
 * where the processor multiplies those natively. Private to encoders/dnnl_gemm.c. */
#ifndef MAGPIE_GEMM_KERNELS_H
#define MAGPIE_GEMM_KERNELS_H

#include "dnnl_gemm.h"

/* Only where onednn_native_bf16() says so. */
void gemm_bf16_v4_bf16(gemm_form form, size_t m, size_t n, size_t k, float scale, const float *a,
                       size_t a_stride, const float *b, size_t b_stride, float *c, size_t c_stride);

#endif
