/* labels.c - a model of labels: made, asked, and judged. */
#include "labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOP = 3, RANGES = 15 };

/* ---- making -------------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static magpie_status check_labels(const magpie_labels_info *about) {
    const char **sorted = magpie_alloc(about->count, sizeof *sorted);
    magpie_status status = sorted ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < about->count && status == MAGPIE_OK; i++) {
        sorted[i] = about->labels[i];
        if (strlen(sorted[i]) > MAGPIE_LABEL_BYTES_MAX)
            status = magpie_fail(MAGPIE_E_TOO_LARGE, "label %zu has %zu bytes; the limit is %d", i,
                                 strlen(sorted[i]), MAGPIE_LABEL_BYTES_MAX);
    }
    if (status == MAGPIE_OK) qsort(sorted, about->count, sizeof *sorted, compare_names);
    for (size_t i = 1; i < about->count && status == MAGPIE_OK; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            status = magpie_fail(MAGPIE_E_ARGUMENT, "label \"%s\" is there twice", sorted[i]);
    free(sorted);
    return status;
}

static magpie_status check_about(const magpie_labels_info *about) {
    if (about->count < 2 || about->count > MAGPIE_LABELS_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%zu labels; from 2 to %d are possible", about->count,
                           MAGPIE_LABELS_MAX);
    if (!about->dimension || about->dimension > LABELS_DIMENSION_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a dimension of %zu; from 1 to %d are possible",
                           about->dimension, LABELS_DIMENSION_MAX);
    if (about->level > MAGPIE_LABELS_LEVEL_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "level %zu; from 0 to %d are possible", about->level,
                           MAGPIE_LABELS_LEVEL_MAX);
    return check_labels(about);
}

static const char *copy_string(magpie_block *memory, const char *string) {
    const size_t size = strlen(string) + 1;
    char *copy = magpie_carve(memory, size, 1);
    return copy ? memcpy(copy, string, size) : NULL;
}

static void layout(magpie_labels *l, const magpie_labels_info *about) {
    const char **names = magpie_carve(&l->memory, about->count, sizeof *names);
    l->weight = magpie_carve(&l->memory, about->count, about->dimension * sizeof *l->weight);
    l->bias = magpie_carve(&l->memory, about->count, sizeof *l->bias);
    l->info.name = copy_string(&l->memory, about->name);
    l->info.weights = copy_string(&l->memory, about->weights);
    l->info.attribute = copy_string(&l->memory, about->attribute);
    l->info.space = copy_string(&l->memory, about->space);
    l->info.fingerprint = copy_string(&l->memory, about->fingerprint);
    for (size_t i = 0; i < about->count; i++) {
        const char *name = copy_string(&l->memory, about->labels[i]);
        if (names) names[i] = name;
    }
    l->info.labels = names;
}

magpie_status labels_create(const magpie_labels_info *about, magpie_labels **out) {
    *out = NULL;
    magpie_status status = check_about(about);
    if (status != MAGPIE_OK) return status;
    magpie_labels *l = magpie_alloc(1, sizeof *l);
    if (!l) return MAGPIE_E_NO_MEMORY;
    l->info = *about;
    layout(l, about);
    status = magpie_block_alloc(&l->memory);
    if (status != MAGPIE_OK) return free(l), status;
    layout(l, about);
    *out = l;
    return MAGPIE_OK;
}

void magpie_labels_close(magpie_labels *labels) {
    if (!labels) return;
    magpie_block_free(&labels->memory);
    free(labels);
}

const magpie_labels_info *magpie_labels_get_info(const magpie_labels *labels) { return &labels->info; }

/* ---- asking -------------------------------------------------------------------------------------------- */

void labels_score(const magpie_labels *labels, const float *vector, double *out) {
    const size_t d = labels->info.dimension;
    const double scale = sqrt((double)d);
    for (size_t k = 0; k < labels->info.count; k++) {
        const float *weight = labels->weight + k * d;
        double sum = 0;
        for (size_t t = 0; t < d; t++) sum += (double)weight[t] * vector[t];
        out[k] = scale * sum + labels->bias[k];
    }
}

double labels_softmax(double *scores, size_t count, double temperature) {
    double most = -INFINITY, sum = 0;
    for (size_t k = 0; k < count; k++) most = fmax(most, scores[k] /= temperature);
    for (size_t k = 0; k < count; k++) sum += scores[k] = exp(scores[k] - most);
    for (size_t k = 0; k < count; k++) scores[k] /= sum;
    return most + log(sum);
}

magpie_status magpie_labels_predict(const magpie_labels *labels, const float *vectors, size_t n, float *out) {
    const magpie_labels_info *info = &labels->info;
    double *scores = magpie_alloc(info->count, sizeof *scores);
    if (!scores) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        labels_score(labels, vectors + i * info->dimension, scores);
        (void)labels_softmax(scores, info->count, (double)info->temperature);
        for (size_t k = 0; k < info->count; k++) out[i * info->count + k] = (float)scores[k];
    }
    free(scores);
    return MAGPIE_OK;
}

/* ---- judging ------------------------------------------------------------------------------------------- */

/* The examples of one range of confidence. */
typedef struct range {
    size_t n, right;
    double confidence;
} range;

/* How many labels are likelier than k; of equal ones the first is taken to be. */
static size_t place_of(const float *probabilities, size_t count, size_t k) {
    size_t before = 0;
    for (size_t j = 0; j < count; j++)
        before += probabilities[j] > probabilities[k] || (probabilities[j] == probabilities[k] && j < k);
    return before;
}

static size_t likeliest(const float *probabilities, size_t count) {
    size_t best = 0;
    for (size_t k = 1; k < count; k++)
        if (probabilities[k] > probabilities[best]) best = k;
    return best;
}

static void take(range ranges[RANGES], float confidence, bool right) {
    size_t at = (size_t)(confidence * RANGES);
    range *r = &ranges[at < RANGES ? at : RANGES - 1];
    r->n++;
    r->right += right;
    r->confidence += confidence;
}

static double calibration_error(const range ranges[RANGES], size_t n) {
    double sum = 0;
    for (size_t i = 0; i < RANGES; i++) sum += fabs(ranges[i].confidence - (double)ranges[i].right);
    return n ? sum / (double)n : 0;
}

magpie_status magpie_labels_evaluate(const magpie_labels *labels, const magpie_labels_examples *examples,
                                     size_t *confusion, magpie_labels_report *out) {
    const magpie_labels_info *info = &labels->info;
    range ranges[RANGES] = {0};
    size_t right = 0, near = 0;
    *out = (magpie_labels_report){.n = examples->n};
    memset(confusion, 0, info->count * info->count * sizeof *confusion);
    float *probabilities = magpie_alloc(info->count, sizeof *probabilities);
    magpie_status status = probabilities ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < examples->n && status == MAGPIE_OK; i++) {
        const size_t truth = examples->labels[i];
        status = magpie_labels_predict(labels, examples->vectors + i * info->dimension, 1, probabilities);
        const size_t answer = likeliest(probabilities, info->count);
        confusion[truth * info->count + answer]++;
        right += answer == truth;
        near += place_of(probabilities, info->count, truth) < TOP;
        out->log_loss -= log(fmax((double)probabilities[truth], 1e-37));
        take(ranges, probabilities[answer], answer == truth);
    }
    free(probabilities);
    if (!examples->n || status != MAGPIE_OK) return status;
    out->accuracy = (double)right / (double)examples->n;
    out->top3 = (double)near / (double)examples->n;
    out->log_loss /= (double)examples->n;
    out->calibration_error = calibration_error(ranges, examples->n);
    return MAGPIE_OK;
}
