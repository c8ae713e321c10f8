/* itemknn.c - neighbours of items (Sarwar et al. 2001): each item keeps those most similar to it, and its
 * score is the sum of their similarities that are in the history. Weights of likes do not count. With n(i)
 * who like i and n(i, j) who like both, item j of the history speaks for item i by
 *
 *     cosine   n(i, j) / (sqrt(n(i) n(j)) + shrink)
 *     BM25     i is the query, whoever likes it a term, j the document (Robertson and Zaragoza 2009): the sum
 *              over those who like both of idf(user) (K1 + 1) / (1 + K1 (1 - B + B n(j) / mean n)),
 *              idf = log(1 + (items - likes + 1/2) / (likes + 1/2))
 *
 * The tensors, a row an item, most similar first, equals by number; the rest is zeros:
 *     item.neighbours [items, neighbours]: item numbers, which f32 holds up to 2^24
 *     item.similarities [items, neighbours] */
#include "model.h"

#include <math.h>
#include <stdlib.h>

enum { ITEMS_MOST = 1 << 24 };

static const double K1 = 1.2, B = 0.75; /* as the paper has them */

typedef struct itemknn {
    size_t width;                     /* neighbours of an item */
    float *neighbours, *similarities; /* [items, width] */
    /* For scoring, by item of the history: users are the items that have it for a neighbour. */
    magpie_likes speaks_for;
    magpie_block block;
} itemknn;

static void free_state(void *state) {
    itemknn *s = state;
    if (!s) return;
    free(s->neighbours);
    free(s->similarities);
    magpie_block_free(&s->block);
    free(s);
}

static magpie_status create(magpie_ranker *ranker) {
    const size_t items = ranker->info.items, wanted = (size_t)ranker->options.neighbours;
    if (items > ITEMS_MOST)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "itemknn takes %d items at most, not %zu", ITEMS_MOST, items);
    itemknn *s = ranker->state = magpie_alloc(1, sizeof *s);
    if (!s) return MAGPIE_E_NO_MEMORY;
    s->width = wanted < items ? wanted : items;
    s->neighbours = magpie_alloc(items, s->width * sizeof *s->neighbours);
    s->similarities = magpie_alloc(items, s->width * sizeof *s->similarities);
    return s->neighbours && s->similarities ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static size_t list(const magpie_ranker *ranker, ranker_tensor *out) {
    const itemknn *s = ranker->state;
    const size_t items = ranker->info.items;
    out[0] = (ranker_tensor){"item.neighbours", ROWS_ITEMS, items, s->width, s->width, s->neighbours};
    out[1] = (ranker_tensor){"item.similarities", ROWS_ITEMS, items, s->width, s->width, s->similarities};
    return 2;
}

/* ---- training ------------------------------------------------------------------------------------------ */

typedef struct counting {
    const magpie_likes *likes, *by_item;
    const magpie_ranker_options *options;
    itemknn *out;
    double *idf;     /* [users]: what a user counts; 1 for the cosine */
    float *sums;     /* [threads, items], zero between tasks */
    uint32_t *found; /* [threads, items]: where a sum is not zero */
} counting;

static size_t likes_of(const magpie_likes *likes, size_t row) {
    return (size_t)(likes->begin[row + 1] - likes->begin[row]);
}

static float similarity(const counting *c, float sum, size_t i, size_t j) {
    const double ni = (double)likes_of(c->by_item, i), nj = (double)likes_of(c->by_item, j);
    if (c->options->bm25 == 0) return (float)((double)sum / (sqrt(ni * nj) + c->options->shrink));
    const double mean = (double)c->by_item->begin[c->by_item->users] / (double)c->by_item->users;
    return (float)((double)sum * (K1 + 1) / (1 + K1 * (1 - B + B * nj / mean)));
}

/* Items that somebody likes who likes `i`, with what those count. */
static size_t count_together(const counting *c, size_t i, float *sums, uint32_t *found) {
    size_t n = 0;
    for (uint64_t e = c->by_item->begin[i]; e < c->by_item->begin[i + 1]; e++) {
        const size_t user = c->by_item->item[e];
        for (uint64_t f = c->likes->begin[user]; f < c->likes->begin[user + 1]; f++) {
            const uint32_t j = c->likes->item[f];
            if (sums[j] == 0) found[n++] = j;
            sums[j] += (float)c->idf[user];
        }
    }
    return n;
}

/* Whether item j comes before what is at `at` of a row. */
static bool is_before(float value, uint32_t j, const float *values, const float *numbers, size_t at) {
    return value > values[at] || (value == values[at] && (float)j < numbers[at]);
}

static magpie_status find_neighbours(void *context, size_t i, unsigned worker) {
    const counting *c = context;
    const size_t items = c->likes->items, width = c->out->width;
    float *sums = c->sums + worker * items;
    float *numbers = c->out->neighbours + i * width, *values = c->out->similarities + i * width;
    uint32_t *found = c->found + worker * items;
    const size_t n = count_together(c, i, sums, found);
    size_t kept = 0;
    for (size_t k = 0; k < n; k++) {
        const uint32_t j = found[k];
        const float value = similarity(c, sums[j], i, j);
        sums[j] = 0;
        if (j == i || (kept == width && !is_before(value, j, values, numbers, width - 1))) continue;
        size_t at = kept < width ? kept++ : width - 1;
        for (; at && is_before(value, j, values, numbers, at - 1); at--) {
            values[at] = values[at - 1];
            numbers[at] = numbers[at - 1];
        }
        values[at] = value;
        numbers[at] = (float)j;
    }
    return MAGPIE_OK;
}

static void weigh_users(const counting *c) {
    for (size_t u = 0; u < c->likes->users; u++) {
        const double n = (double)likes_of(c->likes, u);
        c->idf[u] = c->options->bm25 == 0 ? 1 : log(1 + ((double)c->likes->items - n + 0.5) / (n + 0.5));
    }
}

static magpie_status train(magpie_ranker *ranker, const ranker_training *training, const bool *has) {
    (void)has;
    const size_t items = ranker->info.items, threads = magpie_pool_threads(training->pool);
    magpie_likes by_item;
    magpie_block block = {0};
    counting c = {training->likes, &by_item, &ranker->options, ranker->state, NULL, NULL, NULL};
    magpie_status status = ranker_transpose(training->likes, &by_item, &block);
    c.idf = magpie_alloc(training->likes->users, sizeof *c.idf);
    c.sums = magpie_alloc(threads, items * sizeof *c.sums);
    c.found = magpie_alloc(threads, items * sizeof *c.found);
    if (!c.idf || !c.sums || !c.found) status = MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) weigh_users(&c);
    if (status == MAGPIE_OK) status = magpie_pool_run(training->pool, items, find_neighbours, &c);
    free(c.idf);
    free(c.sums);
    free(c.found);
    magpie_block_free(&block);
    return status;
}

/* ---- scoring ------------------------------------------------------------------------------------------- */

/* The tables as likes: each item likes its neighbours. */
static magpie_status lay_rows(const magpie_ranker *ranker, uint64_t *begin, uint32_t *numbers) {
    const itemknn *s = ranker->state;
    const size_t items = ranker->info.items;
    for (size_t i = 0; i <= items; i++) begin[i] = i * s->width;
    for (size_t k = 0; k < items * s->width; k++) {
        const float number = s->neighbours[k];
        if (!(number >= 0 && number < (float)items))
            return magpie_fail(MAGPIE_E_CORRUPT, "item.neighbours: number %zu is no item", k);
        numbers[k] = (uint32_t)number;
    }
    return MAGPIE_OK;
}

static magpie_status prepare(magpie_ranker *ranker, const magpie_ranker_content *content) {
    (void)content;
    itemknn *s = ranker->state;
    const size_t items = ranker->info.items;
    uint64_t *begin = magpie_alloc(items + 1, sizeof *begin);
    uint32_t *numbers = magpie_alloc(items, s->width * sizeof *numbers);
    const magpie_likes rows = {items, items, begin, numbers, s->similarities, NULL};
    magpie_status status = begin && numbers ? lay_rows(ranker, begin, numbers) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = ranker_transpose(&rows, &s->speaks_for, &s->block);
    free(begin);
    free(numbers);
    return status;
}

/* sums [items], zero */
static magpie_status add_up(const magpie_ranker *ranker, const magpie_ranker_user *user, float *sums) {
    const magpie_likes *to = &((const itemknn *)ranker->state)->speaks_for;
    size_t used = 0;
    for (size_t h = 0; h < user->n; h++) {
        const size_t j = user->history[h];
        if (j >= ranker->info.items) continue;
        used++;
        for (uint64_t e = to->begin[j]; e < to->begin[j + 1]; e++) sums[to->item[e]] += to->weight[e];
    }
    return used ? MAGPIE_OK : ranker_fail_no_history();
}

static magpie_status score(const magpie_ranker *ranker, const magpie_ranker_user *user, const uint32_t *items,
                           size_t n, float *scores) {
    const size_t known = ranker->info.items;
    float *sums = magpie_alloc(known, sizeof *sums);
    if (!sums) return MAGPIE_E_NO_MEMORY;
    magpie_status status = add_up(ranker, user, sums);
    for (size_t k = 0; k < n; k++) {
        const size_t item = items ? items[k] : k;
        scores[k] = item < known ? sums[item] : -INFINITY;
    }
    free(sums);
    return status;
}

const ranker_model ranker_itemknn = {create, free_state, list, train, prepare, NULL, score};
