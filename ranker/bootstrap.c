/* bootstrap.c - a sample is a task, with a seed of its own: so threads change nothing. */
#include "bootstrap.h"

#include <stdlib.h>

#include "model.h"

enum { SAMPLES = 1000, TAIL = SAMPLES / 40 /* 2.5% on either side */ };

typedef struct bootstrap {
    const double *values; /* [n, figures] */
    size_t n, figures;
    uint64_t seed;
    double *means; /* [figures, SAMPLES] */
} bootstrap;

static magpie_status sample(void *context, size_t task, unsigned worker) {
    (void)worker;
    const bootstrap *b = context;
    uint64_t random = magpie_seed(b->seed, task);
    double sums[RANKER_FIGURES_MAX] = {0};
    for (size_t i = 0; i < b->n; i++) {
        const double *row = b->values + ranker_draw(&random, (uint32_t)b->n) * b->figures;
        for (size_t f = 0; f < b->figures; f++) sums[f] += row[f];
    }
    for (size_t f = 0; f < b->figures; f++) b->means[f * SAMPLES + task] = sums[f] / (double)b->n;
    return MAGPIE_OK;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

magpie_status ranker_bootstrap(magpie_pool *pool, const double *values, size_t n, size_t figures,
                               uint64_t seed, magpie_figure *out) {
    bootstrap b = {values, n, figures, seed, magpie_alloc(figures, SAMPLES * sizeof *b.means)};
    for (size_t f = 0; f < figures; f++) out[f] = (magpie_figure){0};
    if (!b.means) return MAGPIE_E_NO_MEMORY;
    magpie_status status = n ? magpie_pool_run(pool, SAMPLES, sample, &b) : MAGPIE_OK;
    for (size_t f = 0; f < figures && n && status == MAGPIE_OK; f++) {
        double *means = b.means + f * SAMPLES, sum = 0;
        qsort(means, SAMPLES, sizeof *means, compare_doubles);
        for (size_t i = 0; i < n; i++) sum += values[i * figures + f];
        out[f] = (magpie_figure){sum / (double)n, means[TAIL - 1], means[SAMPLES - TAIL]};
    }
    free(b.means);
    return status;
}
