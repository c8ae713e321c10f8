/* ials_solve.c - see ials_solve.h. */
#include "ials_solve.h"
#include "blas.h"
#include "model.h"

#include <math.h>
#include <string.h>

enum { GATHERED = 128 };

void ials_gram(const float *factors, size_t rows, size_t d, float *gram) {
    const int before = blas_alone();
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)d, (int)rows, 1, factors, (int)d, 0, gram,
                (int)d);
    blas_restore(before);
}

size_t ials_scratch(size_t d) { return d * d + d * GATHERED; }

/* matrix += weight y y^T, target += weight y, for the likes of a row; returns the sum of weights. Weights
 * that are not above 0 are no likes. */
static double gather(const ials_side *s, const uint32_t *liked, const float *weights, size_t n, float *matrix,
                     float *rows, float *target) {
    const size_t d = s->d;
    double sum = 0;
    for (size_t i = 0, filled = 0; i < n; i++) {
        const float weight = weights ? weights[i] : 1, root = sqrtf(weight > 0 ? weight : 0);
        if (liked[i] < s->rows && weight > 0) {
            const float *y = s->factors + liked[i] * d;
            for (size_t f = 0; f < d; f++) rows[filled * d + f] = root * y[f];
            for (size_t f = 0; f < d; f++) target[f] += weight * y[f];
            sum += (double)weight;
            filled++;
        }
        if (filled < GATHERED && i + 1 < n) continue;
        cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)d, (int)filled, 1, rows, (int)d, 1, matrix,
                    (int)d);
        filled = 0;
    }
    return sum;
}

/* x = matrix^-1 x; rows' upper triangle is columns' lower one. */
static magpie_status divide(float *matrix, int d, float *x) {
    const int one = 1;
    int info;
    spotrf_("L", &d, matrix, &d, &info);
    if (info != 0)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "ials: a row cannot be solved for; regularisation is too small");
    spotrs_("L", &d, &one, matrix, &d, x, &d, &info);
    return MAGPIE_OK;
}

magpie_status ials_solve(const ials_side *s, const uint32_t *liked, const float *weights, size_t n,
                         float *scratch, float *x, double *loss) {
    const size_t d = s->d;
    const int before = blas_alone();
    float *matrix = scratch, target[RANKER_FACTORS_MOST] = {0};
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < d * d; i++) matrix[i] = (float)s->alpha * s->gram[i];
    const double sum = gather(s, liked, weights, n, matrix, scratch + d * d, target);
    const double strength = s->regularisation * (sum + s->alpha * (double)s->rows);
    for (size_t f = 0; f < d; f++) matrix[f * d + f] += (float)strength;
    memcpy(x, target, d * sizeof *x); /* zero where nothing is liked */
    if (sum > 0) status = divide(matrix, (int)d, x);
    blas_restore(before);
    *loss = sum;
    for (size_t f = 0; f < d; f++) *loss -= (double)target[f] * (double)x[f];
    return status;
}
