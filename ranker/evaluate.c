/* evaluate.c - how well a model ranks: the right item among given others, or all items.
 *
 * A user is scored in one call and writes figures into a row of their own; rows are summed up in order of
 * users, and what is counted by item are whole numbers. So neither blocks nor threads change a bit. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bootstrap.h"
#include "random.h"

enum { USERS_A_TASK = 16, BOOTSTRAP_SEED = 1 };

static double discount(size_t place) { return 1 / log2((double)place + 2); } /* place from 0 */

static size_t tasks_of(size_t n) { return (n + USERS_A_TASK - 1) / USERS_A_TASK; }

static size_t end_of(size_t task, size_t n) {
    const size_t end = (task + 1) * USERS_A_TASK;
    return end < n ? end : n;
}

static size_t count_true(const bool *flags, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += flags[i];
    return count;
}

/* Who is not known is not served; *status is MAGPIE_OK then. */
static bool was_served(magpie_status *status) {
    const bool served = *status == MAGPIE_OK;
    if (*status == MAGPIE_E_NOT_FOUND) *status = MAGPIE_OK;
    return served;
}

/* ---- one among negatives ------------------------------------------------------------------------------- */

enum { ONE_HIT_RATE, ONE_NDCG, ONE_FIGURES };

typedef struct one {
    const magpie_scorer *scorer;
    const magpie_one_case *cases;
    size_t n, k, room; /* items of the longest case */
    uint32_t *items;   /* [threads, room] */
    float *scores;     /* the same */
    double *values;    /* [n, ONE_FIGURES] */
    bool *served;      /* [n] */
} one;

/* The right item's is the first score. */
static void judge_one(const float *scores, size_t n, size_t k, double *values) {
    size_t place = 0;
    if (!isfinite(scores[0])) return;
    for (size_t i = 1; i < n; i++) place += isfinite(scores[i]) && scores[i] >= scores[0];
    if (place >= k) return;
    values[ONE_HIT_RATE] = 1;
    values[ONE_NDCG] = discount(place);
}

static magpie_status evaluate_some(void *context, size_t task, unsigned worker) {
    const one *e = context;
    uint32_t *items = e->items + worker * e->room;
    float *scores = e->scores + worker * e->room;
    for (size_t i = task * USERS_A_TASK; i < end_of(task, e->n); i++) {
        const magpie_one_case *c = &e->cases[i];
        items[0] = c->item;
        for (size_t j = 0; j < c->n; j++) items[j + 1] = c->negatives[j];
        magpie_status status = e->scorer->score(e->scorer->context, c->user, items, c->n + 1, scores);
        e->served[i] = was_served(&status);
        if (status != MAGPIE_OK) return status;
        if (e->served[i]) judge_one(scores, c->n + 1, e->k, e->values + i * ONE_FIGURES);
    }
    return MAGPIE_OK;
}

static void layout_one(one *e, unsigned threads, magpie_block *block) {
    e->items = magpie_carve(block, threads, e->room * sizeof *e->items);
    e->scores = magpie_carve(block, threads, e->room * sizeof *e->scores);
    e->values = magpie_carve(block, e->n, ONE_FIGURES * sizeof *e->values);
    e->served = magpie_carve(block, e->n, sizeof *e->served);
}

static magpie_status evaluate_one(one *e, magpie_pool *pool, magpie_one_figures *out) {
    magpie_block block = {0};
    magpie_figure figures[ONE_FIGURES];
    layout_one(e, magpie_pool_threads(pool), &block);
    magpie_status status = magpie_block_alloc(&block);
    if (status != MAGPIE_OK) return status;
    layout_one(e, magpie_pool_threads(pool), &block);
    status = magpie_pool_run(pool, tasks_of(e->n), evaluate_some, e);
    if (status == MAGPIE_OK)
        status = ranker_bootstrap(pool, e->values, e->n, ONE_FIGURES, BOOTSTRAP_SEED, figures);
    if (status == MAGPIE_OK)
        *out =
            (magpie_one_figures){e->n, count_true(e->served, e->n), figures[ONE_HIT_RATE], figures[ONE_NDCG]};
    magpie_block_free(&block);
    return status;
}

magpie_status magpie_evaluate_one(const magpie_scorer *scorer, const magpie_one_case *cases, size_t n,
                                  size_t k, unsigned threads, magpie_one_figures *out) {
    one e = {.scorer = scorer, .cases = cases, .n = n, .k = k};
    magpie_pool *pool = NULL;
    for (size_t i = 0; i < n; i++)
        if (e.room <= cases[i].n) e.room = cases[i].n + 1;
    if (n > UINT32_MAX) return magpie_fail(MAGPIE_E_TOO_LARGE, "%zu cases are too many", n);
    magpie_status status = magpie_pool_create(threads, &pool);
    if (status == MAGPIE_OK) status = evaluate_one(&e, pool, out);
    magpie_pool_free(pool);
    return status;
}

/* ---- all items ----------------------------------------------------------------------------------------- */

enum { ALL_PRECISION, ALL_RECALL, ALL_NDCG, ALL_MAP, ALL_MRR, ALL_HIT_RATE, ALL_FIGURES };

typedef struct ranked {
    float score;
    uint32_t item, user; /* whose ranking it is: ranker_tie */
} ranked;

typedef struct all {
    const magpie_scorer *scorer;
    const magpie_likes *seen, *test;
    size_t items, n, k;             /* users with a test */
    uint32_t *users;                /* [n] */
    float *scores;                  /* [threads, items] */
    ranked *first;                  /* [threads, min(k, items)] */
    double *values;                 /* [n, ALL_FIGURES] */
    bool *served;                   /* [n] */
    _Atomic(uint32_t) *recommended; /* [items]: to how many */
    uint32_t *seen_by;              /* [items] */
} all;

static bool is_before(ranked a, ranked b) {
    return a.score > b.score ||
           (a.score == b.score && ranker_tie(a.user, a.item) < ranker_tie(b.user, b.item));
}

/* heap [n]: the last in rank is at the top, and what is new may have to go further down. */
static void sift_down(ranked *heap, size_t n, size_t at) {
    const ranked moved = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_before(heap[child], heap[child + 1])) child++;
        if (!is_before(moved, heap[child])) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static int compare_ranked(const void *a, const void *b) {
    return is_before(*(const ranked *)a, *(const ranked *)b) ? -1 : 1;
}

/* The first k of those with a score, in order; returns how many there are. */
static size_t select_first(const float *scores, size_t items, uint32_t user, size_t k, ranked *first) {
    size_t n = 0;
    for (size_t i = 0; i < items && k; i++) {
        const ranked r = {scores[i], (uint32_t)i, user};
        if (!isfinite(r.score)) continue;
        if (n < k) {
            first[n++] = r;
            for (size_t at = n / 2; n == k && at-- > 0;) sift_down(first, n, at);
        } else if (is_before(r, first[0])) {
            first[0] = r;
            sift_down(first, n, 0);
        }
    }
    qsort(first, n, sizeof *first, compare_ranked);
    return n;
}

static void judge_all(const all *e, uint32_t user, const ranked *first, size_t n, double *values) {
    const size_t right = e->test->begin[user + 1] - e->test->begin[user];
    double gain = 0, ideal = 0, precisions = 0;
    size_t hits = 0;
    for (size_t place = 0; place < n; place++) {
        if (!magpie_likes_has(e->test, user, first[place].item)) continue;
        if (!hits++) values[ALL_MRR] = 1 / (double)(place + 1);
        gain += discount(place);
        precisions += (double)hits / (double)(place + 1);
    }
    for (size_t place = 0; place < right && place < e->k; place++) ideal += discount(place);
    values[ALL_PRECISION] = (double)hits / (double)e->k;
    values[ALL_RECALL] = (double)hits / (double)right;
    values[ALL_NDCG] = gain / ideal;
    values[ALL_MAP] = precisions / (double)right;
    values[ALL_HIT_RATE] = hits > 0;
}

static magpie_status rank_some(void *context, size_t task, unsigned worker) {
    const all *e = context;
    float *scores = e->scores + worker * e->items;
    ranked *first = e->first + worker * (e->k < e->items ? e->k : e->items);
    for (size_t i = task * USERS_A_TASK; i < end_of(task, e->n); i++) {
        const uint32_t user = e->users[i];
        magpie_status status = e->scorer->score(e->scorer->context, user, NULL, e->items, scores);
        e->served[i] = was_served(&status);
        if (status != MAGPIE_OK) return status;
        if (!e->served[i]) continue;
        if (user < e->seen->users)
            for (uint64_t s = e->seen->begin[user]; s < e->seen->begin[user + 1]; s++)
                scores[e->seen->item[s]] = -INFINITY;
        const size_t n = select_first(scores, e->items, user, e->k, first);
        judge_all(e, user, first, n, e->values + i * ALL_FIGURES);
        for (size_t place = 0; place < n; place++)
            atomic_fetch_add_explicit(&e->recommended[first[place].item], 1, memory_order_relaxed);
    }
    return MAGPIE_OK;
}

static void layout_all(all *e, unsigned threads, magpie_block *block) {
    e->users = magpie_carve(block, e->n, sizeof *e->users);
    e->scores = magpie_carve(block, threads, e->items * sizeof *e->scores);
    e->first = magpie_carve(block, threads, (e->k < e->items ? e->k : e->items) * sizeof *e->first);
    e->values = magpie_carve(block, e->n, ALL_FIGURES * sizeof *e->values);
    e->served = magpie_carve(block, e->n, sizeof *e->served);
    e->recommended = magpie_carve(block, e->items, sizeof *e->recommended);
    e->seen_by = magpie_carve(block, e->items, sizeof *e->seen_by);
}

/* Users with a test; into `users` where that is not NULL. */
static size_t list_users(const magpie_likes *test, uint32_t *users) {
    size_t n = 0;
    for (size_t u = 0; u < test->users; u++) {
        if (test->begin[u] == test->begin[u + 1]) continue;
        if (users) users[n] = (uint32_t)u;
        n++;
    }
    return n;
}

/* What is told of items: what was recommended, not to whom. */
static void judge_items(const all *e, magpie_all_figures *out) {
    size_t users = 0, recommended = 0, covered = 0;
    double novelty = 0, popularity = 0, popularity_of_test = 0;
    for (size_t u = 0; u < e->seen->users; u++) users += e->seen->begin[u] < e->seen->begin[u + 1];
    for (uint64_t i = 0; i < e->seen->begin[e->seen->users]; i++) e->seen_by[e->seen->item[i]]++;
    for (size_t i = 0; i < e->items; i++) {
        const uint32_t times = e->recommended[i], by = e->seen_by[i];
        if (!times) continue;
        covered++;
        recommended += times;
        novelty += times * log2((double)(users ? users : 1) / (by ? by : 1));
        popularity += (double)times * by;
    }
    for (uint64_t i = 0; i < e->test->begin[e->test->users]; i++)
        if (e->test->item[i] < e->items) popularity_of_test += e->seen_by[e->test->item[i]];
    out->coverage = e->items ? (double)covered / (double)e->items : 0;
    if (!recommended) return;
    out->novelty = novelty / (double)recommended;
    out->popularity =
        popularity_of_test > 0
            ? popularity / (double)recommended / (popularity_of_test / (double)e->test->begin[e->test->users])
            : 0;
}

static magpie_status evaluate_all(all *e, magpie_pool *pool, magpie_all_figures *out) {
    magpie_block block = {0};
    magpie_figure f[ALL_FIGURES];
    layout_all(e, magpie_pool_threads(pool), &block);
    magpie_status status = magpie_block_alloc(&block);
    if (status != MAGPIE_OK) return status;
    layout_all(e, magpie_pool_threads(pool), &block);
    list_users(e->test, e->users);
    status = magpie_pool_run(pool, tasks_of(e->n), rank_some, e);
    if (status == MAGPIE_OK) status = ranker_bootstrap(pool, e->values, e->n, ALL_FIGURES, BOOTSTRAP_SEED, f);
    if (status == MAGPIE_OK) {
        *out = (magpie_all_figures){.users = e->n,
                                    .served = count_true(e->served, e->n),
                                    .precision = f[ALL_PRECISION],
                                    .recall = f[ALL_RECALL],
                                    .ndcg = f[ALL_NDCG],
                                    .map = f[ALL_MAP],
                                    .mrr = f[ALL_MRR],
                                    .hit_rate = f[ALL_HIT_RATE]};
        judge_items(e, out);
    }
    magpie_block_free(&block);
    return status;
}

magpie_status magpie_evaluate_all(const magpie_scorer *scorer, const magpie_likes *seen,
                                  const magpie_likes *test, size_t k, unsigned threads,
                                  magpie_all_figures *out) {
    all e = {.scorer = scorer, .seen = seen, .test = test, .n = list_users(test, NULL), .k = k};
    magpie_pool *pool = NULL;
    e.items = seen->items > test->items ? seen->items : test->items;
    if (!k) return magpie_fail(MAGPIE_E_ARGUMENT, "the first k of nothing: k is 1 at least");
    magpie_status status = magpie_pool_create(threads, &pool);
    if (status == MAGPIE_OK) status = evaluate_all(&e, pool, out);
    magpie_pool_free(pool);
    return status;
}
