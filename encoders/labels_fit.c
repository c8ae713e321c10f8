/* labels_fit.c - the search for weights, their strength and their temperature. */
#include "labels.h"
#include "labels_loss.h"
#include "lbfgs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* From hardly anything but the labels' shares to hardly held back at all; x is of length sqrt(dimension). */
static const double strengths[] = {1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001};
enum { STRENGTHS = sizeof strengths / sizeof *strengths, ITERATIONS = 5000 };

static const double TOLERANCE = 1e-5, COOLEST = 0.01, HOTTEST = 100;

typedef struct fit {
    magpie_labels *labels; /* the best so far */
    labels_loss *loss;
    const magpie_labels_examples *validation;
    double *parameters; /* [dimension + 1, count] */
    double *scores;     /* [validation, count] */
    double *row;        /* [count] */
    bool worse;         /* the last strength was, than the one before */
    magpie_labels_fit_report report;
} fit;

/* ---- temperature --------------------------------------------------------------------------------------- */

/* The mean log loss over the examples for validation; *slope: its derivative by 1 / temperature, which grows
 * with it. */
static double log_loss_at(fit *f, double temperature, double *slope) {
    const size_t n = f->validation->n, count = f->labels->info.count;
    double loss = 0;
    *slope = 0;
    for (size_t i = 0; i < n; i++) {
        const double *scores = f->scores + i * count;
        const double own = scores[f->validation->labels[i]];
        memcpy(f->row, scores, count * sizeof *scores);
        loss += labels_softmax(f->row, count, temperature) - own / temperature;
        for (size_t k = 0; k < count; k++) *slope += f->row[k] * scores[k];
        *slope -= own;
    }
    *slope /= (double)n;
    return loss / (double)n;
}

/* By halving, for the loss is convex in 1 / temperature. Rounded to a float, as it is kept. */
static float find_temperature(fit *f) {
    double cold = log(COOLEST), hot = log(HOTTEST), slope;
    for (unsigned i = 0; i < 40; i++) {
        const double middle = (cold + hot) / 2;
        (void)log_loss_at(f, exp(middle), &slope);
        if (slope > 0)
            cold = middle; /* 1 / temperature is too large */
        else
            hot = middle;
    }
    return (float)exp((cold + hot) / 2);
}

/* ---- strength ------------------------------------------------------------------------------------------ */

/* The parameters as they would be kept: floats, a label a row, and for vectors that are not centred. */
static void read_parameters(const fit *f, float *weight, float *bias) {
    const size_t d = f->labels->info.dimension, count = f->labels->info.count;
    const double *mean = labels_loss_mean(f->loss);
    for (size_t k = 0; k < count; k++) {
        double moved = f->parameters[d * count + k];
        for (size_t t = 0; t < d; t++) {
            weight[k * d + t] = (float)f->parameters[t * count + k];
            moved -= f->parameters[t * count + k] * mean[t];
        }
        bias[k] = (float)moved;
    }
}

static void score_validation(fit *f, magpie_labels *candidate) {
    const magpie_labels_info *info = &candidate->info;
    read_parameters(f, candidate->weight, candidate->bias);
    for (size_t i = 0; i < f->validation->n; i++)
        labels_score(candidate, f->validation->vectors + i * info->dimension, f->scores + i * info->count);
}

static magpie_status try_strength(fit *f, double strength, magpie_labels *candidate) {
    const lbfgs_options options = {.tolerance = TOLERANCE, .iterations = ITERATIONS};
    lbfgs_result result;
    double slope;
    labels_loss_set_strength(f->loss, strength);
    magpie_status status = lbfgs_minimise(labels_loss_compute, f->loss, labels_loss_parameters(f->loss),
                                          &options, f->parameters, &result);
    f->report.iterations += result.iterations;
    f->worse = true;
    if (status != MAGPIE_OK) return magpie_fail(status, "strength %g: %s", strength, magpie_error());
    score_validation(f, candidate);
    const float temperature = find_temperature(f);
    const double loss = log_loss_at(f, (double)temperature, &slope);
    if (!(loss < f->report.log_loss)) return MAGPIE_OK;
    f->worse = false;
    f->report.log_loss = loss;
    f->report.log_loss_before = log_loss_at(f, 1, &slope);
    f->report.gradient = result.gradient;
    f->labels->info.temperature = temperature;
    f->labels->info.strength = strength;
    read_parameters(f, f->labels->weight, f->labels->bias);
    return MAGPIE_OK;
}

static magpie_status try_all(fit *f, const magpie_labels_info *about) {
    magpie_labels *candidate;
    magpie_status status = labels_create(about, &candidate);
    f->report.log_loss = INFINITY;
    for (size_t i = 0; i < STRENGTHS && !f->worse && status == MAGPIE_OK; i++)
        status = try_strength(f, strengths[i], candidate);
    magpie_labels_close(candidate);
    return status;
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static magpie_status check(const magpie_labels_info *about, const magpie_labels_examples *examples,
                           const char *what) {
    if (!examples->n) return magpie_fail(MAGPIE_E_ARGUMENT, "there are no examples for %s", what);
    for (size_t i = 0; i < examples->n; i++)
        if (examples->labels[i] >= about->count)
            return magpie_fail(MAGPIE_E_ARGUMENT, "example %zu for %s: there is no label %u", i, what,
                               (unsigned)examples->labels[i]);
    for (size_t i = 0; i < examples->n * about->dimension; i++)
        if (!isfinite(examples->vectors[i]))
            return magpie_fail(MAGPIE_E_INPUT, "example %zu for %s is not finite", i / about->dimension,
                               what);
    return MAGPIE_OK;
}

static magpie_status prepare(fit *f, const magpie_labels_info *about, const magpie_labels_examples *training,
                             magpie_pool *pool) {
    size_t scores;
    if (!magpie_size_mul(f->validation->n, about->count, &scores))
        return magpie_fail(MAGPIE_E_TOO_LARGE, "too many examples");
    magpie_status status = labels_loss_create(training, about->dimension, about->count, pool, &f->loss);
    if (status != MAGPIE_OK) return status;
    f->parameters = magpie_alloc(labels_loss_parameters(f->loss), sizeof *f->parameters);
    f->scores = magpie_alloc(scores, sizeof *f->scores);
    f->row = magpie_alloc(about->count, sizeof *f->row);
    return f->parameters && f->scores && f->row ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

magpie_status magpie_labels_fit(const magpie_labels_info *about, const magpie_labels_examples *training,
                                const magpie_labels_examples *validation, unsigned threads,
                                magpie_labels_fit_report *report, magpie_labels **out) {
    fit f = {.validation = validation};
    magpie_labels_info nameless = *about;
    magpie_pool *pool = NULL;
    nameless.name = nameless.weights = "";
    nameless.temperature = 1;
    magpie_status status = labels_create(&nameless, &f.labels);
    if (status == MAGPIE_OK) status = check(about, training, "training");
    if (status == MAGPIE_OK) status = check(about, validation, "validation");
    if (status == MAGPIE_OK) status = magpie_pool_create(threads, &pool);
    if (status == MAGPIE_OK) status = prepare(&f, &nameless, training, pool);
    if (status == MAGPIE_OK) status = try_all(&f, &nameless);
    labels_loss_free(f.loss);
    magpie_pool_free(pool);
    free(f.parameters);
    free(f.scores);
    free(f.row);
    if (status != MAGPIE_OK) {
        magpie_labels_close(f.labels);
        f.labels = NULL;
    }
    if (report) *report = f.report;
    *out = f.labels;
    return status;
}
