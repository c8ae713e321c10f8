/* products.h - the three products of a layer, by OpenBLAS: at these sizes it is at 90% of what the processor
 * can do. All matrices are row-major; weights are [in, out]. Call openblas only where OpenMP has one thread:
 * see neural_train.c. Private to ranker/. */
#ifndef MAGPIE_PRODUCTS_H
#define MAGPIE_PRODUCTS_H

#include <cblas.h>
#include <stddef.h>

/* y [n, out] = x [n, in] w, or that added to it */
static inline void product(size_t n, size_t out, size_t in, const float *x, size_t stride, const float *w,
                           float plus, float *y, size_t y_stride) {
    if (n && in && out)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)out, (int)in, 1, x, (int)stride, w,
                    (int)out, plus, y, (int)y_stride);
}

/* dx [n, in] = dy [n, out] w^T, or that added to it */
static inline void product_back(size_t n, size_t in, size_t out, const float *dy, size_t stride, const float *w,
                                float plus, float *dx, size_t dx_stride) {
    if (n && in && out)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)in, (int)out, 1, dy, (int)stride, w,
                    (int)out, plus, dx, (int)dx_stride);
}

/* dw [in, out] += x^T dy */
static inline void product_of_slopes(size_t n, size_t in, size_t out, const float *x, size_t stride,
                                     const float *dy, size_t dy_stride, float *dw) {
    if (n && in && out)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)in, (int)out, (int)n, 1, x, (int)stride, dy,
                    (int)dy_stride, 1, dw, (int)out);
}

#endif
