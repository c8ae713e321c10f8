/* gemm_kernels.h - the products of dnnl_gemm.h with numbers rounded to bf16 on the way in, sums in f32, where
 * the processor multiplies those natively: gemm_has_bf16. Private to encoders/dnnl_gemm.c. */
#ifndef MAGPIE_GEMM_KERNELS_H
#define MAGPIE_GEMM_KERNELS_H

#include "dnnl_gemm.h"

/* Panels first .. first+count-1 of the second matrix. */
void gemm_pack_v4_bf16(const gemm_right *right, size_t first, size_t count, uint32_t *out);
/* `turned`: a is [k, m]. `panels` NULL: the second matrix is packed on the way. */
void gemm_bf16_v4_bf16(bool turned, size_t m, float scale, const float *a, size_t a_stride,
                       const gemm_right *right, const uint32_t *panels, float *c, size_t c_stride);

#endif
