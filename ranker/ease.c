/* ease.c - Steck 2019, "Embarrassingly Shallow Autoencoders": the item-item matrix B, its diagonal zero,
 * that minimises |X - X B|^2 + regularisation |B|^2 over the likes X (1 or 0: weights do not count). In
 * closed form: P = inverse of X^T X + regularisation; B[i, j] = -P[i, j] / P[j, j]. A user's score is the
 * sum of the rows of B of the history.
 *
 *     item.weights [items, items]: B */
#include "blas.h"
#include "model.h"

#include <stdlib.h>

enum { ITEMS_MOST = 20000 };

static magpie_status create(magpie_ranker *ranker) {
    const size_t n = ranker->info.items;
    if (n > ITEMS_MOST)
        return magpie_fail(
            MAGPIE_E_TOO_LARGE,
            "ease keeps a matrix of items by items: %zu are more than %d; itemknn, puresvd and "
            "ials take any number",
            n, ITEMS_MOST);
    ranker->state = magpie_alloc(n, n * sizeof(float));
    return ranker->state ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static size_t list(const magpie_ranker *ranker, ranker_tensor *out) {
    const size_t n = ranker->info.items;
    *out = (ranker_tensor){"item.weights", ROWS_ITEMS, n, n, n, ranker->state};
    return 1;
}

typedef struct gram {
    const magpie_likes *likes, *by_item;
    double regularisation;
    float *matrix; /* [items, items] */
} gram;

/* Row `item` of X^T X: counts, so no order matters. */
static magpie_status count_row(void *context, size_t item, unsigned worker) {
    (void)worker;
    const gram *g = context;
    const magpie_likes *likes = g->likes, *by_item = g->by_item;
    float *row = g->matrix + item * likes->items;
    for (uint64_t e = by_item->begin[item]; e < by_item->begin[item + 1]; e++) {
        const size_t user = by_item->item[e];
        for (uint64_t f = likes->begin[user]; f < likes->begin[user + 1]; f++) row[likes->item[f]]++;
    }
    row[item] += (float)g->regularisation;
    return MAGPIE_OK;
}

/* The upper triangle of the rows; LAPACK calls it the lower one of columns. */
static magpie_status invert(float *matrix, int n) {
    int info = 0;
    const int before = blas_alone();
    spotrf_("L", &n, matrix, &n, &info);
    if (info == 0) spotri_("L", &n, matrix, &n, &info);
    blas_restore(before);
    if (info == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "ease: the matrix cannot be inverted; regularisation is too small");
}

static magpie_status divide(float *matrix, size_t n) {
    float *factor = magpie_alloc(n, sizeof *factor);
    if (!factor) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) factor[i] = -1 / matrix[i * n + i];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) matrix[i * n + j] = matrix[j * n + i];
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) matrix[i * n + j] *= factor[j];
        matrix[i * n + i] = 0;
    }
    free(factor);
    return MAGPIE_OK;
}

static magpie_status train(magpie_ranker *ranker, const ranker_training *training, const bool *has) {
    (void)has;
    const size_t n = ranker->info.items;
    magpie_likes by_item;
    magpie_block block = {0};
    gram g = {training->likes, &by_item, ranker->options.regularisation, ranker->state};
    magpie_status status = ranker_transpose(training->likes, &by_item, &block);
    if (status == MAGPIE_OK) status = magpie_pool_run(training->pool, n, count_row, &g);
    if (status == MAGPIE_OK) status = invert(ranker->state, (int)n);
    if (status == MAGPIE_OK) status = divide(ranker->state, n);
    magpie_block_free(&block);
    return status;
}

static magpie_status score(const magpie_ranker *ranker, const magpie_ranker_user *user, const uint32_t *items,
                           size_t n, float *scores) {
    const size_t known = ranker->info.items;
    const float *weights = ranker->state;
    const size_t in_order = items ? 0 : n < known ? n : known; /* one plain loop, which gets vectors */
    size_t used = 0;
    for (size_t k = 0; k < n; k++) scores[k] = (items ? items[k] : k) < known ? 0 : -INFINITY;
    for (size_t h = 0; h < user->n; h++) {
        if (user->history[h] >= known) continue;
        const float *row = weights + user->history[h] * known;
        used++;
        for (size_t k = 0; k < in_order; k++) scores[k] += row[k];
        for (size_t k = 0; items && k < n; k++)
            if (items[k] < known) scores[k] += row[items[k]];
    }
    return used ? MAGPIE_OK : ranker_fail_no_history();
}

const ranker_model ranker_ease = {create, free, list, train, NULL, NULL, score};
