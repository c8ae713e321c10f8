/* lbfgs.h - the least value of a smooth convex function, by L-BFGS (Liu and Nocedal 1989). Private to
 * encoders/. */
#ifndef MAGPIE_LBFGS_H
#define MAGPIE_LBFGS_H

#include "core.h"

/* The value at x [n], and its gradient [n]. */
typedef magpie_status (*lbfgs_function)(void *context, const double *x, double *value, double *gradient);

typedef struct lbfgs_options {
    double tolerance;  /* done when no component of the gradient is beyond */
    size_t iterations; /* at most; more are an error */
} lbfgs_options;

typedef struct lbfgs_result {
    size_t iterations;
    double value, gradient; /* the gradient's largest component */
} lbfgs_result;

/* From x [n] to the least point, in x. MAGPIE_E_UNSUPPORTED, in words, where that takes more iterations, or
 * where the function no longer falls although its gradient is beyond the tolerance: it is not smooth, not
 * convex, or not computed precisely enough. */
MAGPIE_CHECK_RESULT magpie_status lbfgs_minimise(lbfgs_function function, void *context, size_t n,
                                                 const lbfgs_options *options, double *x,
                                                 lbfgs_result *result);

#endif
