/* retrieval.c - where the right answer stands among all candidates, by brute force.
 *
 * Scores are never kept: a query's own is computed first, and every other one is compared as it comes. All
 * of them come out of one kernel whose sums do not depend on what is beside them (panel.h), so a tie is a
 * tie. */
#include "encoders.h"
#include "panel.h"

#include <math.h>
#include <stdlib.h>

enum { QUERIES_A_TASK = 8 * PANEL_ROWS /* they stay in the second cache while the candidates go by */ };

const size_t magpie_recall_at[MAGPIE_RECALLS] = {1, 5, 10};

/* ---- ranking ------------------------------------------------------------------------------------------- */

typedef struct ranking {
    const panel_kernels *kernels;
    const double *queries, *panels; /* [n, dimension]; [ceil(m / lanes), dimension, lanes] */
    const size_t *own;
    size_t n, m, dimension;
    magpie_rank *out;
} ranking;

static double own_score(const ranking *r, size_t query) {
    double scores[PANEL_LANES_MAX];
    size_t lanes = r->kernels->lanes, own = r->own[query];
    r->kernels->product(r->queries + query * r->dimension, r->dimension, 1, 1, r->dimension,
                        r->panels + own / lanes * lanes * r->dimension, scores);
    return scores[own % lanes];
}

static void count(const double *scores, size_t lanes, double own, magpie_rank *rank) {
    for (size_t lane = 0; lane < lanes; lane++) {
        rank->higher += scores[lane] > own;
        rank->equal += scores[lane] == own;
    }
}

static magpie_status rank_some(void *context, size_t task, unsigned worker) {
    (void)worker;
    const ranking *r = context;
    const size_t lanes = r->kernels->lanes, first = task * QUERIES_A_TASK;
    const size_t end = first + QUERIES_A_TASK < r->n ? first + QUERIES_A_TASK : r->n;
    double own[QUERIES_A_TASK], scores[PANEL_ROWS * PANEL_LANES_MAX];
    for (size_t i = first; i < end; i++) {
        own[i - first] = own_score(r, i);
        r->out[i] = (magpie_rank){0};
    }
    for (size_t c = 0; c < r->m; c += lanes) {
        const double *panel = r->panels + c * r->dimension;
        const size_t candidates = r->m - c < lanes ? r->m - c : lanes;
        for (size_t i = first; i < end; i += PANEL_ROWS) {
            const size_t rows = end - i < PANEL_ROWS ? end - i : PANEL_ROWS;
            r->kernels->product(r->queries + i * r->dimension, r->dimension, 1, rows, r->dimension, panel,
                                scores);
            for (size_t row = 0; row < rows; row++)
                count(scores + row * lanes, candidates, own[i + row - first], &r->out[i + row]);
        }
    }
    for (size_t i = first; i < end; i++) r->out[i].equal--; /* itself */
    return MAGPIE_OK;
}

static magpie_status check(const float *vectors, size_t n, size_t dimension, const char *what) {
    for (size_t i = 0; i < n * dimension; i++)
        if (!isfinite(vectors[i]))
            return magpie_fail(MAGPIE_E_INPUT, "%s %zu: component %zu is not finite", what, i / dimension,
                               i % dimension);
    return MAGPIE_OK;
}

static magpie_status check_all(const float *queries, size_t n, const float *candidates, size_t m,
                               size_t dimension, const size_t *own) {
    for (size_t i = 0; i < n; i++)
        if (own[i] >= m)
            return magpie_fail(MAGPIE_E_ARGUMENT, "query %zu: there is no candidate %zu", i, own[i]);
    magpie_status status = check(queries, n, dimension, "query");
    return status == MAGPIE_OK ? check(candidates, m, dimension, "candidate") : status;
}

magpie_status magpie_retrieval_rank(const float *queries, size_t n, const float *candidates, size_t m,
                                    size_t dimension, const size_t *own, unsigned threads, magpie_rank *out) {
    const panel_kernels *kernels = panel_kernels_level(0);
    size_t query_doubles, panel_doubles;
    if (m > UINT32_MAX || !magpie_size_mul(n, dimension, &query_doubles) ||
        !panel_size(kernels, m, dimension, &panel_doubles))
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%zu queries and %zu candidates are too many", n, m);
    magpie_status status = check_all(queries, n, candidates, m, dimension, own);
    if (status != MAGPIE_OK || !n) return status;
    double *rows = magpie_alloc_large(query_doubles, sizeof *rows);
    double *panels = magpie_alloc_large(panel_doubles, sizeof *panels);
    magpie_pool *pool = NULL;
    status = rows && panels ? magpie_pool_create(threads, &pool) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) {
        ranking r = {kernels, rows, panels, own, n, m, dimension, out};
        for (size_t i = 0; i < query_doubles; i++) rows[i] = queries[i];
        panel_pack(kernels, candidates, m, dimension, panels);
        status = magpie_pool_run(pool, (n + QUERIES_A_TASK - 1) / QUERIES_A_TASK, rank_some, &r);
    }
    magpie_pool_free(pool);
    free(rows);
    free(panels);
    return status;
}

/* ---- figures ------------------------------------------------------------------------------------------- */

/* The sum of 1/rank over ranks first .. last. */
static double reciprocals(size_t first, size_t last) {
    double sum = 0;
    for (size_t rank = last; rank >= first; rank--) sum += 1 / (double)rank;
    return sum;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n) {
    qsort(values, n, sizeof *values, compare_doubles);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

magpie_status magpie_retrieval_summarise(const magpie_rank *ranks, size_t n, magpie_retrieval_figures *out) {
    *out = (magpie_retrieval_figures){0};
    if (!n) return MAGPIE_OK;
    double *middles = magpie_alloc(n, sizeof *middles);
    if (!middles) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const size_t first = ranks[i].higher + (size_t)1, places = ranks[i].equal + (size_t)1;
        for (size_t k = 0; k < MAGPIE_RECALLS; k++) {
            const size_t at = magpie_recall_at[k], within = at < first ? 0 : at - first + 1;
            out->recall[k] += (double)(within < places ? within : places) / (double)places;
        }
        out->mrr += reciprocals(first, first + places - 1) / (double)places;
        middles[i] = (double)first + (double)(places - 1) / 2;
    }
    for (size_t k = 0; k < MAGPIE_RECALLS; k++) out->recall[k] /= (double)n;
    out->mrr /= (double)n;
    out->median_rank = median(middles, n);
    free(middles);
    return MAGPIE_OK;
}

void magpie_retrieval_chance(size_t candidates, magpie_retrieval_figures *out) {
    *out = (magpie_retrieval_figures){0};
    if (!candidates) return;
    for (size_t k = 0; k < MAGPIE_RECALLS; k++) {
        const size_t at = magpie_recall_at[k];
        out->recall[k] = (double)(at < candidates ? at : candidates) / (double)candidates;
    }
    out->mrr = reciprocals(1, candidates) / (double)candidates;
    out->median_rank = ((double)candidates + 1) / 2;
}
