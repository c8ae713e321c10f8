/* lbfgs.c - see lbfgs.h.
 *
 * The line search brackets and halves until a step satisfies the weak Wolfe conditions (Lewis and Overton
 * 2013): the function has fallen, and its slope has flattened, so that the step tells of curvature. The first
 * step tried is the whole one, which is nearly always taken. */
#include "lbfgs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 10 /* steps that are remembered */, TRIES = 60 };

static const double FALL = 1e-4, FLATTENING = 0.9; /* the conditions' constants */

typedef struct search {
    magpie_block memory;
    lbfgs_function function;
    void *context;
    size_t n, count;              /* of the pairs, that are there; the newest is count - 1, modulo PAIRS */
    double *x, *gradient;         /* where it is */
    double *next, *next_gradient; /* where it goes */
    double *direction;
    double *steps[PAIRS], *turns[PAIRS]; /* differences of x, and of the gradient */
    double inverse[PAIRS];               /* 1 / (step . turn) */
    double value;
} search;

static void layout(search *s) {
    double **arrays[] = {&s->gradient, &s->next, &s->next_gradient, &s->direction};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        *arrays[i] = magpie_carve(&s->memory, s->n, sizeof(double));
    for (size_t i = 0; i < PAIRS; i++) {
        s->steps[i] = magpie_carve(&s->memory, s->n, sizeof(double));
        s->turns[i] = magpie_carve(&s->memory, s->n, sizeof(double));
    }
}

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void add(double *x, double factor, const double *y, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] += factor * y[i];
}

static double largest(const double *x, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
    return most;
}

/* The two loops of the paper: the remembered curvature's inverse, times the gradient, downhill. */
static void choose_direction(search *s) {
    double alpha[PAIRS];
    const size_t kept = s->count < PAIRS ? s->count : PAIRS;
    for (size_t i = 0; i < s->n; i++) s->direction[i] = -s->gradient[i];
    for (size_t i = 0; i < kept; i++) {
        const size_t at = (s->count - 1 - i) % PAIRS;
        alpha[at] = s->inverse[at] * dot(s->steps[at], s->direction, s->n);
        add(s->direction, -alpha[at], s->turns[at], s->n);
    }
    if (kept) {
        const size_t newest = (s->count - 1) % PAIRS;
        const double scale = 1 / (s->inverse[newest] * dot(s->turns[newest], s->turns[newest], s->n));
        for (size_t i = 0; i < s->n; i++) s->direction[i] *= scale;
    }
    for (size_t i = kept; i-- > 0;) {
        const size_t at = (s->count - 1 - i) % PAIRS;
        const double beta = s->inverse[at] * dot(s->turns[at], s->direction, s->n);
        add(s->direction, alpha[at] - beta, s->steps[at], s->n);
    }
}

/* Finds x + step direction; *found is false where the function does not fall. */
static magpie_status search_line(search *s, double step, double *value, bool *found) {
    double low = 0, high = INFINITY;
    const double slope = dot(s->gradient, s->direction, s->n);
    *found = false;
    for (size_t i = 0; i < TRIES && slope < 0; i++) {
        memcpy(s->next, s->x, s->n * sizeof *s->x);
        add(s->next, step, s->direction, s->n);
        magpie_status status = s->function(s->context, s->next, value, s->next_gradient);
        if (status != MAGPIE_OK) return status;
        if (!(*value <= s->value + FALL * step * slope))
            high = step;
        else if (dot(s->next_gradient, s->direction, s->n) < FLATTENING * slope)
            low = step;
        else
            return *found = true, MAGPIE_OK;
        step = isinf(high) ? 2 * low : (low + high) / 2;
    }
    return MAGPIE_OK;
}

static void move(search *s, double value) {
    const size_t at = s->count % PAIRS;
    for (size_t i = 0; i < s->n; i++) {
        s->steps[at][i] = s->next[i] - s->x[i];
        s->turns[at][i] = s->next_gradient[i] - s->gradient[i];
    }
    const double curvature = dot(s->steps[at], s->turns[at], s->n);
    if (curvature > 0) {
        s->inverse[at] = 1 / curvature;
        s->count++;
    }
    s->value = value;
    memcpy(s->x, s->next, s->n * sizeof *s->x);
    memcpy(s->gradient, s->next_gradient, s->n * sizeof *s->x);
}

static magpie_status descend(search *s, const lbfgs_options *options, lbfgs_result *result) {
    magpie_status status = s->function(s->context, s->x, &s->value, s->gradient);
    for (*result = (lbfgs_result){0}; status == MAGPIE_OK; result->iterations++) {
        double value;
        bool found;
        result->value = s->value;
        result->gradient = largest(s->gradient, s->n);
        if (result->gradient <= options->tolerance) return MAGPIE_OK;
        if (result->iterations == options->iterations)
            return magpie_fail(MAGPIE_E_UNSUPPORTED,
                               "the fit has not converged: after %zu iterations the gradient is %.3g",
                               result->iterations, result->gradient);
        choose_direction(s);
        status = search_line(s, s->count ? 1 : fmin(1, 1 / result->gradient), &value, &found);
        if (status == MAGPIE_OK && !found)
            return magpie_fail(
                MAGPIE_E_UNSUPPORTED,
                "the fit has not converged: its value %.9g does not fall although the gradient "
                "is %.3g",
                s->value, result->gradient);
        if (status == MAGPIE_OK) move(s, value);
    }
    return status;
}

magpie_status lbfgs_minimise(lbfgs_function function, void *context, size_t n, const lbfgs_options *options,
                             double *x, lbfgs_result *result) {
    search s = {.function = function, .context = context, .n = n, .x = x};
    layout(&s);
    magpie_status status = magpie_block_alloc(&s.memory);
    if (status != MAGPIE_OK) return status;
    layout(&s);
    status = descend(&s, options, result);
    magpie_block_free(&s.memory);
    return status;
}
