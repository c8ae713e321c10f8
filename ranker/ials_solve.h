/* ials_solve.h - one step of iALS: the best row of one side, the other side being given (ials.c has the
 * formula). Private to ranker/. */
#ifndef MAGPIE_IALS_SOLVE_H
#define MAGPIE_IALS_SOLVE_H

#include "core.h"

/* What a row is solved against: the other side. */
typedef struct ials_side {
    const float *factors, *gram; /* [rows, d], d at most RANKER_FACTORS_MOST; [d, d]: ials_gram's */
    size_t rows, d;
    double alpha, regularisation;
} ials_side;

/* gram [d, d]: the upper triangle of factors^T factors */
void ials_gram(const float *factors, size_t rows, size_t d, float *gram);

size_t ials_scratch(size_t d); /* floats */

/* x [d] for the likes of a row, weights NULL: 1 each; zero where there are none. *loss is the row's share of
 * what is minimised, the other side's |y|^2 apart. MAGPIE_E_ARGUMENT: there is no such row without more
 * regularisation. */
MAGPIE_CHECK_RESULT magpie_status ials_solve(const ials_side *side, const uint32_t *liked,
                                             const float *weights, size_t n, float *scratch, float *x,
                                             double *loss);

#endif
