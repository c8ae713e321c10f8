/* dnnl_gemm.c - see dnnl_gemm.h. */
#include "dnnl_gemm.h"
#include "gemm_kernels.h"
#include "onednn.h"

bool gemm_has_bf16(void) {
#ifdef MAGPIE_SIMD_X86
    return onednn_native_bf16();
#else
    return false;
#endif
}

magpie_status gemm(gemm_form form, size_t m, size_t n, size_t k, float scale, const float *a, size_t a_stride,
                   const float *b, size_t b_stride, float *c, size_t c_stride, bool bf16) {
#ifdef MAGPIE_SIMD_X86
    if (bf16 && gemm_has_bf16()) {
        gemm_bf16_v4_bf16(form, m, n, k, scale, a, a_stride, b, b_stride, c, c_stride);
        return MAGPIE_OK;
    }
#else
    (void)bf16;
#endif
    int before = onednn_use_threads(1);
    dnnl_status_t status = dnnl_sgemm(form == GEMM_TN ? 'T' : 'N', form == GEMM_NT ? 'T' : 'N', (dnnl_dim_t)m,
                                      (dnnl_dim_t)n, (dnnl_dim_t)k, scale, a, (dnnl_dim_t)a_stride, b,
                                      (dnnl_dim_t)b_stride, 0, c, (dnnl_dim_t)c_stride);
    (void)onednn_use_threads(before);
    return status == dnnl_success ? MAGPIE_OK : onednn_fail(status, "a matrix product");
}
