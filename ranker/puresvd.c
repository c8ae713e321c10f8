/* puresvd.c - Cremonesi et al. 2010: with V the first right singular vectors of the likes X (1 or 0: weights
 * do not count), a user's scores are x V V^T of the history x.
 *
 * V by subspace iteration from a random start (Halko et al. 2011): Q = orthonormal(X^T X Q), again and
 * again, a few columns wider than what is wanted; then the eigenvectors of Q^T X^T X Q turn Q into V.
 *
 *     item.factors [items, factors]: V, its columns orthonormal, the most important first */
#include "blas.h"
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OVERSAMPLE = 16, ITERATIONS = 8, ROWS_A_TASK = 64 };

/* More factors than items there are not. */
static size_t factors_of(const magpie_ranker *ranker) {
    const size_t wanted = (size_t)ranker->options.factors;
    return wanted < ranker->info.items ? wanted : ranker->info.items;
}

static magpie_status create(magpie_ranker *ranker) {
    ranker->state = magpie_alloc(ranker->info.items, factors_of(ranker) * sizeof(float));
    return ranker->state ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static size_t list(const magpie_ranker *ranker, ranker_tensor *out) {
    const size_t k = factors_of(ranker);
    *out = (ranker_tensor){"item.factors", ROWS_ITEMS, ranker->info.items, k, k, ranker->state};
    return 1;
}

/* ---- training ------------------------------------------------------------------------------------------ */

typedef struct product {
    const magpie_likes *x;
    const float *in; /* [x->items, width] */
    float *out;      /* [x->users, width] */
    size_t width;
} product;

static magpie_status multiply_rows(void *context, size_t task, unsigned worker) {
    (void)worker;
    const product *p = context;
    for (size_t row = task * ROWS_A_TASK; row < p->x->users && row < (task + 1) * ROWS_A_TASK; row++) {
        float *out = p->out + row * p->width;
        memset(out, 0, p->width * sizeof *out);
        for (uint64_t e = p->x->begin[row]; e < p->x->begin[row + 1]; e++) {
            const float *in = p->in + p->x->item[e] * p->width;
            for (size_t c = 0; c < p->width; c++) out[c] += in[c];
        }
    }
    return MAGPIE_OK;
}

/* out = X in, where `x` are the likes, or X^T in, where it is their transpose. */
static magpie_status multiply(const magpie_likes *x, const float *in, float *out, size_t width,
                              magpie_pool *pool) {
    product p = {x, in, out, width};
    return magpie_pool_run(pool, (x->users + ROWS_A_TASK - 1) / ROWS_A_TASK, multiply_rows, &p);
}

typedef struct subspace {
    magpie_likes x, xt;
    size_t items, width;
    magpie_pool *pool;
    magpie_block block;
    float *q, *next;     /* [items, width] */
    float *by_user;      /* [users, width] */
    float *gram, *turn;  /* [width, width] */
    float *scale, *work; /* [width], [work_size] */
    int work_size;
} subspace;

static void lay_out(subspace *s) {
    s->work_size = (int)s->width * 64; /* LAPACK's blocks are 32 or 64 wide */
    s->q = magpie_carve(&s->block, s->items, s->width * sizeof *s->q);
    s->next = magpie_carve(&s->block, s->items, s->width * sizeof *s->next);
    s->by_user = magpie_carve(&s->block, s->x.users, s->width * sizeof *s->by_user);
    s->gram = magpie_carve(&s->block, s->width, s->width * sizeof *s->gram);
    s->turn = magpie_carve(&s->block, s->width, s->width * sizeof *s->turn);
    s->scale = magpie_carve(&s->block, s->width, sizeof *s->scale);
    s->work = magpie_carve(&s->block, (size_t)s->work_size, sizeof *s->work);
}

static magpie_status check(int info, const char *what) {
    return info ? magpie_fail(MAGPIE_E_INTERNAL, "LAPACK's %s says %d", what, info) : MAGPIE_OK;
}

/* Orthonormal columns of q: as LAPACK counts, the rows of its transpose, so LQ. */
static magpie_status orthonormalise(subspace *s) {
    const int width = (int)s->width, items = (int)s->items;
    int info;
    sgelqf_(&width, &items, s->q, &width, s->scale, s->work, &s->work_size, &info);
    magpie_status status = check(info, "sgelqf");
    if (status != MAGPIE_OK) return status;
    sorglq_(&width, &items, &width, s->q, &width, s->scale, s->work, &s->work_size, &info);
    return check(info, "sorglq");
}

/* next = X^T X q */
static magpie_status apply(subspace *s) {
    magpie_status status = multiply(&s->x, s->q, s->by_user, s->width, s->pool);
    return status == MAGPIE_OK ? multiply(&s->xt, s->by_user, s->next, s->width, s->pool) : status;
}

static magpie_status iterate(subspace *s, uint64_t seed) {
    for (size_t i = 0; i < s->items * s->width; i++) s->q[i] = magpie_random(&seed) >> 63 ? 1 : -1;
    magpie_status status = orthonormalise(s);
    for (size_t i = 0; i < ITERATIONS && status == MAGPIE_OK; i++) {
        status = apply(s);
        float *next = s->next;
        s->next = s->q;
        s->q = next;
        if (status == MAGPIE_OK) status = orthonormalise(s);
    }
    return status == MAGPIE_OK ? apply(s) : status;
}

/* v [items, k] out of q and next = X^T X q */
static magpie_status turn(subspace *s, size_t k, float *v) {
    const int width = (int)s->width, items = (int)s->items, n = (int)k;
    int info;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, width, width, items, 1, s->q, width, s->next, width,
                0, s->gram, width);
    ssyev_("V", "U", &width, s->gram, &width, s->scale, s->work, &s->work_size, &info);
    magpie_status status = check(info, "ssyev");
    if (status != MAGPIE_OK) return status;
    for (size_t f = 0; f < k; f++) /* LAPACK's order is rising */
        memcpy(s->turn + f * s->width, s->gram + (s->width - 1 - f) * s->width, s->width * sizeof *s->turn);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, items, n, width, 1, s->q, width, s->turn, width, 0,
                v, n);
    return MAGPIE_OK;
}

static magpie_status train(magpie_ranker *ranker, const ranker_training *training, const bool *has) {
    (void)has;
    const size_t k = factors_of(ranker), items = ranker->info.items;
    magpie_block transposed = {0};
    subspace s = {.x = *training->likes,
                  .items = items,
                  .width = k + OVERSAMPLE < items ? k + OVERSAMPLE : items,
                  .pool = training->pool};
    const int before = blas_alone();
    magpie_status status = ranker_transpose(training->likes, &s.xt, &transposed);
    lay_out(&s);
    if (status == MAGPIE_OK) status = magpie_block_alloc(&s.block);
    if (status == MAGPIE_OK) {
        lay_out(&s);
        status = iterate(&s, ranker->options.seed);
    }
    if (status == MAGPIE_OK) status = turn(&s, k, ranker->state);
    blas_restore(before);
    magpie_block_free(&s.block);
    magpie_block_free(&transposed);
    return status;
}

/* ---- scoring ------------------------------------------------------------------------------------------- */

static magpie_status score(const magpie_ranker *ranker, const magpie_ranker_user *user, const uint32_t *items,
                           size_t n, float *scores) {
    const size_t known = ranker->info.items, k = factors_of(ranker);
    const float *v = ranker->state;
    float vector[RANKER_FACTORS_MOST] = {0};
    size_t used = 0;
    for (size_t h = 0; h < user->n; h++) {
        if (user->history[h] >= known) continue;
        used++;
        for (size_t f = 0; f < k; f++) vector[f] += v[user->history[h] * k + f];
    }
    if (!used) return ranker_fail_no_history();
    ranker_score_by_dot(vector, v, k, known, items, n, scores);
    return MAGPIE_OK;
}

const ranker_model ranker_puresvd = {create, free, list, train, NULL, NULL, score};
