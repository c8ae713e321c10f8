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

size_t gemm_panel_words(size_t n, size_t k) {
    return (n + GEMM_PANEL - 1) / GEMM_PANEL * GEMM_PANEL * ((k + 1) / 2);
}

void gemm_pack(const gemm_right *right, size_t first, size_t count, uint32_t *out) {
#ifdef MAGPIE_SIMD_X86
    gemm_pack_v4_bf16(right, first, count, out);
#else
    (void)right, (void)first, (void)count, (void)out;
#endif
}

magpie_status gemm(size_t m, float scale, const float *a, size_t a_stride, const gemm_right *b, float *c,
                   size_t c_stride, bool bf16) {
#ifdef MAGPIE_SIMD_X86
    if (bf16 && gemm_has_bf16()) {
        gemm_bf16_v4_bf16(b->form == GEMM_TN, m, scale, a, a_stride, b, b->panels, c, c_stride);
        return MAGPIE_OK;
    }
#else
    (void)bf16;
#endif
    int before = onednn_use_threads(1);
    dnnl_status_t status =
        dnnl_sgemm(b->form == GEMM_TN ? 'T' : 'N', b->form == GEMM_NT ? 'T' : 'N', (dnnl_dim_t)m,
                   (dnnl_dim_t)b->n, (dnnl_dim_t)b->k, scale, a, (dnnl_dim_t)a_stride, b->values,
                   (dnnl_dim_t)b->stride, 0, c, (dnnl_dim_t)c_stride);
    (void)onednn_use_threads(before);
    return status == dnnl_success ? MAGPIE_OK : onednn_fail(status, "a matrix product");
}
