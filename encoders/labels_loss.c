/* labels_loss.c - see labels_loss.h.
 *
 * Both products, examples with parameters and examples with what is wrong about their probabilities, are
 * those of panel.h, with labels for columns. The first wants an example's components side by side, the
 * second a component's examples, so the examples are kept both ways. */
#include "labels_loss.h"
#include "panel.h"

#include <math.h>
#include <stdlib.h>

enum { ROWS_A_TASK = 16 * PANEL_ROWS };

struct labels_loss {
    magpie_block memory;
    magpie_pool *pool;
    const panel_kernels *kernels;
    size_t n, dimension, count, panels; /* of labels: count, rounded up to panels */
    double strength;
    double *examples, *components; /* [n, dimension]; [dimension, n] */
    double *mean;                  /* [dimension] */
    uint32_t *labels;              /* [n] */
    double *weights;               /* [panels, dimension, lanes]: the parameters in hand */
    double *errors;                /* [panels, n, lanes]: probabilities, minus 1 for the true one; over n */
    double *losses;                /* [tasks]: of their rows */
    const double *parameters;      /* in hand */
    double *gradient;
};

static void layout(labels_loss *l) {
    const size_t lanes = l->kernels->lanes, tasks = (l->n + ROWS_A_TASK - 1) / ROWS_A_TASK;
    l->mean = magpie_carve(&l->memory, l->dimension, sizeof *l->mean);
    l->labels = magpie_carve(&l->memory, l->n, sizeof *l->labels);
    l->losses = magpie_carve(&l->memory, tasks, sizeof *l->losses);
    l->examples = magpie_carve(&l->memory, l->n, l->dimension * sizeof *l->examples);
    l->components = magpie_carve(&l->memory, l->n, l->dimension * sizeof *l->components);
    l->weights = magpie_carve(&l->memory, l->panels * lanes, l->dimension * sizeof *l->weights);
    l->errors = magpie_carve(&l->memory, l->n, l->panels * lanes * sizeof *l->errors);
}

static void take_examples(labels_loss *l, const magpie_labels_examples *examples) {
    const double scale = sqrt((double)l->dimension);
    for (size_t i = 0; i < l->n; i++)
        for (size_t t = 0; t < l->dimension; t++)
            l->mean[t] += scale * examples->vectors[i * l->dimension + t] / (double)l->n;
    for (size_t i = 0; i < l->n; i++) {
        l->labels[i] = examples->labels[i];
        for (size_t t = 0; t < l->dimension; t++) {
            const double x = scale * examples->vectors[i * l->dimension + t] - l->mean[t];
            l->examples[i * l->dimension + t] = l->components[t * l->n + i] = x;
        }
    }
}

magpie_status labels_loss_create(const magpie_labels_examples *examples, size_t dimension, size_t count,
                                 magpie_pool *pool, labels_loss **out) {
    labels_loss *l = *out = magpie_alloc(1, sizeof *l);
    if (!l) return MAGPIE_E_NO_MEMORY;
    l->pool = pool;
    l->kernels = panel_kernels_level(0);
    l->n = examples->n;
    l->dimension = dimension;
    l->count = count;
    l->panels = (count + l->kernels->lanes - 1) / l->kernels->lanes;
    layout(l);
    magpie_status status = magpie_block_alloc(&l->memory);
    if (status == MAGPIE_OK) {
        layout(l);
        take_examples(l, examples);
    }
    return status;
}

void labels_loss_free(labels_loss *l) {
    if (!l) return;
    magpie_block_free(&l->memory);
    free(l);
}

void labels_loss_set_strength(labels_loss *l, double strength) { l->strength = strength; }

size_t labels_loss_parameters(const labels_loss *l) { return (l->dimension + 1) * l->count; }

const double *labels_loss_mean(const labels_loss *l) { return l->mean; }

static void pack_weights(labels_loss *l) {
    const size_t lanes = l->kernels->lanes;
    for (size_t t = 0; t < l->dimension; t++)
        for (size_t k = 0; k < l->count; k++)
            l->weights[(k / lanes * l->dimension + t) * lanes + k % lanes] = l->parameters[t * l->count + k];
}

/* ---- examples to errors -------------------------------------------------------------------------------- */

static double *error_at(const labels_loss *l, size_t row, size_t k) {
    const size_t lanes = l->kernels->lanes;
    return &l->errors[(k / lanes * l->n + row) * lanes + k % lanes];
}

/* Scores become errors, in place; returns the row's loss. */
static double turn_into_errors(const labels_loss *l, size_t row) {
    const double *bias = l->parameters + l->dimension * l->count;
    double most = -INFINITY, sum = 0;
    for (size_t k = 0; k < l->count; k++) {
        double *score = error_at(l, row, k);
        *score += bias[k];
        most = fmax(most, *score);
    }
    const double own = *error_at(l, row, l->labels[row]) - most;
    for (size_t k = 0; k < l->count; k++) {
        double *score = error_at(l, row, k);
        sum += *score = exp(*score - most);
    }
    for (size_t k = 0; k < l->count; k++) {
        double *error = error_at(l, row, k);
        *error = (*error / sum - (k == l->labels[row])) / (double)l->n;
    }
    return log(sum) - own;
}

static magpie_status compute_errors(void *context, size_t task, unsigned worker) {
    (void)worker;
    labels_loss *l = context;
    const size_t first = task * ROWS_A_TASK, lanes = l->kernels->lanes;
    const size_t end = first + ROWS_A_TASK < l->n ? first + ROWS_A_TASK : l->n;
    for (size_t p = 0; p < l->panels; p++)
        for (size_t i = first; i < end; i += PANEL_ROWS) {
            const size_t rows = end - i < PANEL_ROWS ? end - i : PANEL_ROWS;
            l->kernels->product(l->examples + i * l->dimension, l->dimension, 1, rows, l->dimension,
                                l->weights + p * l->dimension * lanes, l->errors + (p * l->n + i) * lanes);
        }
    l->losses[task] = 0;
    for (size_t i = first; i < end; i++) l->losses[task] += turn_into_errors(l, i);
    return MAGPIE_OK;
}

/* ---- errors to the gradient ---------------------------------------------------------------------------- */

/* Of PANEL_ROWS components. */
static magpie_status compute_gradient(void *context, size_t task, unsigned worker) {
    (void)worker;
    labels_loss *l = context;
    const size_t first = task * PANEL_ROWS, lanes = l->kernels->lanes;
    const size_t rows = l->dimension - first < PANEL_ROWS ? l->dimension - first : PANEL_ROWS;
    double sums[PANEL_ROWS * PANEL_LANES_MAX];
    for (size_t p = 0; p < l->panels; p++) {
        const size_t before = p * lanes, columns = l->count - before < lanes ? l->count - before : lanes;
        l->kernels->product(l->components + first * l->n, l->n, 1, rows, l->n, l->errors + before * l->n,
                            sums);
        for (size_t r = 0; r < rows; r++)
            for (size_t k = 0; k < columns; k++) {
                const size_t at = (first + r) * l->count + before + k;
                l->gradient[at] = sums[r * lanes + k] + l->strength * l->parameters[at];
            }
    }
    return MAGPIE_OK;
}

static void compute_bias_gradient(labels_loss *l) {
    for (size_t k = 0; k < l->count; k++) {
        double sum = 0;
        for (size_t i = 0; i < l->n; i++) sum += *error_at(l, i, k);
        l->gradient[l->dimension * l->count + k] = sum;
    }
}

magpie_status labels_loss_compute(void *context, const double *parameters, double *value, double *gradient) {
    labels_loss *l = context;
    const size_t tasks = (l->n + ROWS_A_TASK - 1) / ROWS_A_TASK;
    double loss = 0, squares = 0;
    l->parameters = parameters;
    l->gradient = gradient;
    pack_weights(l);
    magpie_status status = magpie_pool_run(l->pool, tasks, compute_errors, l);
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < tasks; i++) loss += l->losses[i];
    for (size_t i = 0; i < l->dimension * l->count; i++) squares += parameters[i] * parameters[i];
    *value = loss / (double)l->n + l->strength / 2 * squares;
    compute_bias_gradient(l);
    return magpie_pool_run(l->pool, (l->dimension + PANEL_ROWS - 1) / PANEL_ROWS, compute_gradient, l);
}
