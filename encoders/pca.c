/* pca.c - principal components, by all eigenvectors of the covariance.
 *
 * The covariance costs n d^2 once and its eigenvectors d^3. An iteration for two of them would cost less where
 * it converges, which with the eigenvalues of embeddings (each a tenth below the one before) takes it some
 * twenty passes over x: no less time, and no exact answer. */
#include "blas.h"
#include "encoders.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1024 /* rows that are centred at a time */ };

typedef struct pca {
    const float *x;
    size_t n, dimension;
    float *mean;    /* [dimension] */
    float *centred; /* [BLOCK, dimension] */
    float *
        covariance; /* [dimension, dimension]; of its triangle's eigenvectors, once they are found, a row each */
    float *values; /* [dimension] eigenvalues, ascending */
} pca;

static void find_mean(const pca *p, double *sums) {
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->dimension; j++) sums[j] += (double)p->x[i * p->dimension + j];
    for (size_t j = 0; j < p->dimension; j++) p->mean[j] = (float)(sums[j] / (double)p->n);
}

/* Rows first .. to p->centred; how many there are, BLOCK at most. */
static size_t centre(const pca *p, size_t first) {
    size_t n = p->n - first < BLOCK ? p->n - first : BLOCK, d = p->dimension;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++) p->centred[i * d + j] = p->x[(first + i) * d + j] - p->mean[j];
    return n;
}

static magpie_status find_components(const pca *p) {
    const int d = (int)p->dimension;
    for (size_t first = 0; first < p->n; first += BLOCK)
        cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, d, (int)centre(p, first), 1 / (float)p->n,
                    p->centred, d, 1, p->covariance, d);
    /* What is the upper triangle by rows is the lower by columns. */
    float size, *work;
    int whole_size, info, ask = -1, work_size = -1;
    ssyevd_("V", "L", &d, p->covariance, &d, p->values, &size, &work_size, &whole_size, &ask, &info);
    work_size = (int)size;
    work = magpie_alloc((size_t)work_size, sizeof *work);
    int *whole = magpie_alloc((size_t)whole_size, sizeof *whole);
    if (work && whole)
        ssyevd_("V", "L", &d, p->covariance, &d, p->values, work, &work_size, whole, &whole_size, &info);
    magpie_status status = !work || !whole ? MAGPIE_E_NO_MEMORY : MAGPIE_OK;
    if (status == MAGPIE_OK && info)
        status = magpie_fail(MAGPIE_E_INTERNAL, "no principal components were found (ssyevd: %d)", info);
    free(whole);
    free(work);
    return status;
}

static void fix_sign(float *component, size_t dimension) {
    size_t largest = 0;
    for (size_t j = 1; j < dimension; j++)
        if (fabsf(component[j]) > fabsf(component[largest])) largest = j;
    if (component[largest] < 0)
        for (size_t j = 0; j < dimension; j++) component[j] = -component[j];
}

/* The eigenvectors ascend by their values: the last ones are wanted, in the other order. */
static void project(const pca *p, size_t components, float *out, double *explained) {
    const size_t d = p->dimension;
    double trace = 0;
    for (size_t j = 0; j < d; j++) trace += fmax(p->values[j], 0);
    for (size_t c = 0; c < components; c++) {
        explained[c] = trace > 0 ? fmax(p->values[d - 1 - c], 0) / trace : 0;
        fix_sign(p->covariance + (d - 1 - c) * d, d);
    }
    for (size_t first = 0; first < p->n; first += BLOCK) {
        size_t n = centre(p, first);
        for (size_t c = 0; c < components; c++)
            cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)n, (int)d, 1, p->centred, (int)d,
                        p->covariance + (d - 1 - c) * d, 1, 0, out + first * components + c, (int)components);
    }
}

static void layout(pca *p, double **sums, magpie_block *block) {
    p->mean = magpie_carve(block, p->dimension, sizeof *p->mean);
    p->centred = magpie_carve(block, BLOCK * p->dimension, sizeof *p->centred);
    p->covariance = magpie_carve(block, p->dimension * p->dimension, sizeof *p->covariance);
    p->values = magpie_carve(block, p->dimension, sizeof *p->values);
    *sums = magpie_carve(block, p->dimension, sizeof **sums);
}

magpie_status magpie_pca(const float *x, size_t n, size_t dimension, size_t components, float *out,
                         double *explained) {
    pca p = {.x = x, .n = n, .dimension = dimension};
    double *sums;
    magpie_block block = {0};
    if (components > dimension || dimension > MAGPIE_PCA_DIMENSION_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%zu components of %zu dimensions; these are %d at most",
                           components, dimension, MAGPIE_PCA_DIMENSION_MAX);
    if (!n || !dimension) {
        for (size_t c = 0; c < components; c++) explained[c] = 0;
        return MAGPIE_OK;
    }
    layout(&p, &sums, &block);
    magpie_status status = magpie_block_alloc(&block);
    if (status != MAGPIE_OK) return status;
    layout(&p, &sums, &block);
    const int before = blas_alone();
    find_mean(&p, sums);
    status = find_components(&p);
    if (status == MAGPIE_OK) project(&p, components, out, explained);
    blas_restore(before);
    magpie_block_free(&block);
    return status;
}
