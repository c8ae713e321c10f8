/* ials.c - Hu et al. 2008, in the form of Rendle et al. 2022 ("Revisiting the Performance of iALS"): user
 * and item factors x, y that minimise
 *
 *     sum over likes  weight (x.y - 1)^2  +  alpha  sum over all users and items  (x.y)^2
 *     + regularisation (sum over users  m |x|^2  +  sum over items  m |y|^2),
 *     m = the weights of the row's likes + alpha times the number of rows on the other side
 *
 * by solving for all users, then for all items, and so on. Weights are 1 unless `weighted` says otherwise:
 * ratings as weights made it worse on MovieLens. A user with a history is solved for anew at
 * scoring, so that what was liked since counts.
 *
 *     user.factors [users, factors], item.factors [items, factors] */
#include "ials_solve.h"
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_A_TASK = 16 };

static const double INIT = 0.1; /* over sqrt(factors): the paper's */

typedef struct ials {
    float *user, *item; /* [users, factors], [items, factors] */
    float *gram;        /* [factors, factors]: of the items, for scoring */
} ials;

static void free_state(void *state) {
    ials *s = state;
    if (!s) return;
    free(s->user);
    free(s->item);
    free(s->gram);
    free(s);
}

static magpie_status create(magpie_ranker *ranker) {
    const size_t d = (size_t)ranker->options.factors;
    ials *s = ranker->state = magpie_alloc(1, sizeof *s);
    if (!s) return MAGPIE_E_NO_MEMORY;
    s->user = magpie_alloc(ranker->info.users, d * sizeof *s->user);
    s->item = magpie_alloc(ranker->info.items, d * sizeof *s->item);
    s->gram = magpie_alloc(d, d * sizeof *s->gram);
    return s->user && s->item && s->gram ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static size_t list(const magpie_ranker *ranker, ranker_tensor *out) {
    const ials *s = ranker->state;
    const size_t d = (size_t)ranker->options.factors;
    out[0] = (ranker_tensor){"user.factors", ROWS_USERS, ranker->info.users, d, d, s->user};
    out[1] = (ranker_tensor){"item.factors", ROWS_ITEMS, ranker->info.items, d, d, s->item};
    return 2;
}

/* ---- training ------------------------------------------------------------------------------------------ */

typedef struct sweep {
    const magpie_likes *likes; /* by row of what is solved for */
    ials_side against;
    float *factors; /* [likes->users, d] */
    double *losses; /* [likes->users] */
    float *scratch; /* [threads, scratch_floats] */
} sweep;

static magpie_status solve_rows(void *context, size_t task, unsigned worker) {
    const sweep *w = context;
    const magpie_likes *likes = w->likes;
    const size_t d = w->against.d;
    float *scratch = w->scratch + worker * ials_scratch(d);
    magpie_status status = MAGPIE_OK;
    for (size_t r = task * ROWS_A_TASK; r < likes->users && r < (task + 1) * ROWS_A_TASK; r++) {
        const uint64_t from = likes->begin[r], n = likes->begin[r + 1] - from;
        if (status == MAGPIE_OK)
            status = ials_solve(&w->against, likes->item + from, likes->weight ? likes->weight + from : NULL,
                                n, scratch, w->factors + r * d, &w->losses[r]);
    }
    return status;
}

typedef struct alternation {
    ials *state;
    const ranker_training *training;
    magpie_likes by_item;
    size_t d;
    double alpha, regularisation;
    float *gram, *scratch;
    double *losses; /* [users or items, whichever are more] */
} alternation;

/* Solves for all rows of one side; *loss is the sum over them. */
static magpie_status solve_side(alternation *a, const magpie_likes *likes, const float *fixed, float *factors,
                                double *loss) {
    sweep w = {likes,
               {fixed, a->gram, likes->items, a->d, a->alpha, a->regularisation},
               factors,
               a->losses,
               a->scratch};
    ials_gram(fixed, likes->items, a->d, a->gram);
    magpie_status status =
        magpie_pool_run(a->training->pool, (likes->users + ROWS_A_TASK - 1) / ROWS_A_TASK, solve_rows, &w);
    *loss = 0;
    for (size_t r = 0; r < likes->users && status == MAGPIE_OK; r++) *loss += a->losses[r];
    return status;
}

/* What is held back of the users, which is constant while the items are solved for. */
static double users_share(const alternation *a) {
    const magpie_likes *likes = a->training->likes;
    double sum = 0;
    for (size_t u = 0; u < likes->users; u++) {
        double weights = 0, squares = 0;
        for (uint64_t e = likes->begin[u]; e < likes->begin[u + 1]; e++)
            weights += likes->weight ? fmax((double)likes->weight[e], 0) : 1;
        for (size_t f = 0; f < a->d; f++)
            squares += (double)a->state->user[u * a->d + f] * (double)a->state->user[u * a->d + f];
        sum += (weights + a->alpha * (double)likes->items) * squares;
    }
    return a->regularisation * sum;
}

static magpie_status tell(const alternation *a, magpie_ranker_progress *p, double begun) {
    const uint64_t likes = a->training->likes->begin[a->training->likes->users];
    p->done = 1;
    p->seconds = magpie_seconds() - begun;
    p->samples_per_second = (double)likes * (double)p->epoch / p->seconds;
    p->epoch_ended = true;
    p->best = p->epoch == p->epochs; /* the last one is kept */
    return a->training->callback ? a->training->callback(a->training->context, p) : MAGPIE_OK;
}

static magpie_status alternate(alternation *a, size_t epochs) {
    const magpie_likes *likes = a->training->likes;
    const double begun = magpie_seconds(), n = (double)likes->begin[likes->users];
    magpie_ranker_progress p = {.epochs = epochs};
    magpie_status status = MAGPIE_OK;
    double loss;
    for (p.epoch = 1; p.epoch <= epochs && status == MAGPIE_OK; p.epoch++) {
        status = solve_side(a, likes, a->state->item, a->state->user, &loss);
        if (status == MAGPIE_OK) status = solve_side(a, &a->by_item, a->state->user, a->state->item, &loss);
        if (status != MAGPIE_OK) break;
        p.loss = (loss + users_share(a)) / n;
        status = tell(a, &p, begun);
    }
    a->training->report->epochs = a->training->report->best_epoch = epochs;
    a->training->report->loss = p.loss;
    return status;
}

/* Rows that are zero are new, or of what nobody liked: those stay so. */
static void begin_items(float *factors, const magpie_likes *by_item, size_t d, uint64_t seed) {
    for (size_t i = 0; i < by_item->users; i++) {
        uint64_t random = magpie_seed(seed, i);
        float *row = factors + i * d;
        if (by_item->begin[i] == by_item->begin[i + 1] || !ranker_is_zero(row, d)) continue;
        for (size_t f = 0; f < d; f++) { /* even, as wide as a normal one */
            const double unit = (double)(magpie_random(&random) >> 11) * 0x1p-53;
            row[f] = (float)((unit * 2 - 1) * sqrt(3) * INIT / sqrt((double)d));
        }
    }
}

static magpie_status train(magpie_ranker *ranker, const ranker_training *training, const bool *has) {
    (void)has;
    const magpie_ranker_options *o = &ranker->options;
    const size_t users = ranker->info.users, items = ranker->info.items, d = (size_t)o->factors;
    magpie_block block = {0};
    magpie_likes likes = *training->likes;
    ranker_training own = *training;
    own.likes = &likes;
    if (!(o->weighted > 0)) likes.weight = NULL;
    alternation a = {ranker->state, &own, {0}, d, o->alpha, o->regularisation, NULL, NULL, NULL};
    a.gram = magpie_alloc(d, d * sizeof *a.gram);
    a.losses = magpie_alloc(users > items ? users : items, sizeof *a.losses);
    a.scratch = magpie_alloc(magpie_pool_threads(training->pool), ials_scratch(d) * sizeof *a.scratch);
    magpie_status status = a.gram && a.losses && a.scratch ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = ranker_transpose(&likes, &a.by_item, &block);
    if (status == MAGPIE_OK) {
        begin_items(a.state->item, &a.by_item, d, o->seed);
        status = alternate(&a, (size_t)o->epochs);
    }
    free(a.gram);
    free(a.losses);
    free(a.scratch);
    magpie_block_free(&block);
    return status;
}

/* ---- scoring ------------------------------------------------------------------------------------------- */

static magpie_status prepare(magpie_ranker *ranker, const magpie_ranker_content *content) {
    (void)content;
    const ials *s = ranker->state;
    ials_gram(s->item, ranker->info.items, (size_t)ranker->options.factors, s->gram);
    return MAGPIE_OK;
}

/* x [d]: out of the history, else the user's row. */
static magpie_status user_vector(const magpie_ranker *ranker, const magpie_ranker_user *user, float *x) {
    const ials *s = ranker->state;
    const magpie_ranker_options *o = &ranker->options;
    const size_t d = (size_t)o->factors;
    const ials_side against = {s->item, s->gram, ranker->info.items, d, o->alpha, o->regularisation};
    double loss;
    memset(x, 0, d * sizeof *x);
    if (user->n) {
        float *scratch = magpie_alloc(ials_scratch(d), sizeof *scratch);
        if (!scratch) return MAGPIE_E_NO_MEMORY;
        magpie_status status = ials_solve(&against, user->history, NULL, user->n, scratch, x, &loss);
        free(scratch);
        if (status != MAGPIE_OK) return status;
    }
    if (ranker_is_zero(x, d) && user->number < ranker->info.users)
        memcpy(x, s->user + user->number * d, d * sizeof *x);
    return ranker_is_zero(x, d) ? ranker_fail_no_history() : MAGPIE_OK;
}

static magpie_status score(const magpie_ranker *ranker, const magpie_ranker_user *user, const uint32_t *items,
                           size_t n, float *scores) {
    const ials *s = ranker->state;
    const size_t d = (size_t)ranker->options.factors;
    float x[RANKER_FACTORS_MOST];
    magpie_status status = user_vector(ranker, user, x);
    if (status == MAGPIE_OK) ranker_score_by_dot(x, s->item, d, ranker->info.items, items, n, scores);
    return status;
}

const ranker_model ranker_ials = {create, free_state, list, train, prepare, NULL, score};
