/* products.h - the three products of a layer, by OpenBLAS: at these sizes it is near what the processor
 * can do. All matrices are row-major; weights are [in, out]. Call openblas only where OpenMP has one thread:
 * see neural_train.c. Private to ranker/. */
#ifndef MAGPIE_PRODUCTS_H
#define MAGPIE_PRODUCTS_H

#include <cblas.h>
#include <stddef.h>

/* y [n, out] = x [n, in] w [in, out] + plus y */
static inline void product(size_t n, size_t out, size_t in, const float *x, size_t x_stride, const float *w,
                           size_t w_stride, float plus, float *y, size_t y_stride) {
    if (n && in && out)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)out, (int)in, 1, x, (int)x_stride,
                    w, (int)w_stride, plus, y, (int)y_stride);
}

/* y [n, out] = x [n, in] w^T, w [out, in] */
static inline void product_turned(size_t n, size_t out, size_t in, const float *x, size_t x_stride,
                                  const float *w, size_t w_stride, float *y, size_t y_stride) {
    if (n && in && out)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)out, (int)in, 1, x, (int)x_stride,
                    w, (int)w_stride, 0, y, (int)y_stride);
}

/* dw [in, out] += x [n, in]^T dy [n, out] */
static inline void product_of_slopes(size_t n, size_t in, size_t out, const float *x, size_t x_stride,
                                     const float *dy, size_t dy_stride, float *dw, size_t dw_stride) {
    if (n && in && out)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)in, (int)out, (int)n, 1, x, (int)x_stride,
                    dy, (int)dy_stride, 1, dw, (int)dw_stride);
}

#endif
