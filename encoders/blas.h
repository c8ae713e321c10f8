/* blas.h - BLAS and LAPACK on the calling thread alone: sums do not depend on the number of threads then,
 * and what is parallel is so by the pool. OpenBLAS with OpenMP asks the calling thread's setting. Private to
 * encoders/ and ranker/. */
#ifndef MAGPIE_BLAS_H
#define MAGPIE_BLAS_H

#include <cblas.h>
#include <omp.h>

/* Returns what blas_restore is to be given. */
static inline int blas_alone(void) {
    const int before = omp_get_max_threads();
    if (before != 1) omp_set_num_threads(1);
    return before;
}

static inline void blas_restore(int before) {
    if (before != 1) omp_set_num_threads(before);
}

/* LAPACK's, which libopenblas has and declares nowhere: column-major, everything by pointer, *info 0 is
 * well. */
void spotrf_(const char *triangle, const int *n, float *a, const int *stride, int *info);
void spotri_(const char *triangle, const int *n, float *a, const int *stride, int *info);
void spotrs_(const char *triangle, const int *n, const int *columns, const float *a, const int *stride,
             float *b, const int *b_stride, int *info);
void sgelqf_(const int *rows, const int *columns, float *a, const int *stride, float *scale, float *work,
             const int *work_size, int *info);
void sorglq_(const int *rows, const int *columns, const int *reflectors, float *a, const int *stride,
             const float *scale, float *work, const int *work_size, int *info);
void ssyev_(const char *vectors, const char *triangle, const int *n, float *a, const int *stride,
            float *values, float *work, const int *work_size, int *info);
void ssyevd_(const char *vectors, const char *triangle, const int *n, float *a, const int *stride,
             float *values, float *work, const int *work_size, int *whole, const int *whole_size, int *info);

#endif
