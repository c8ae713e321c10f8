/* validate.c - see ranker_validate in model.h. Who is drawn, and against what, depends on the seed and the
 * user's number alone: one epoch compares with the other. */
#include "model.h"

#include <stdlib.h>

enum { NEGATIVES = 99, FIRST = 10, TRIES = 20 * NEGATIVES, USERS_A_TASK = 16 };

typedef struct validating {
    const magpie_ranker *ranker;
    const ranker_training *training;
    uint64_t seed;
    uint32_t *users; /* [count], that have a like set aside */
    bool *hit;       /* [count] */
    size_t count;
} validating;

/* Items that the user does not like, as far as is known, behind the one that is right. Somebody who likes
 * nearly everything has fewer. */
static size_t draw(const validating *v, uint32_t user, uint32_t items[1 + NEGATIVES]) {
    const magpie_likes *likes = v->training->likes;
    uint64_t random = magpie_seed(v->seed, user);
    size_t n = 1;
    items[0] = v->training->validation[user];
    for (size_t i = 0; i < TRIES && n <= NEGATIVES; i++) {
        items[n] = ranker_draw(&random, (uint32_t)likes->items);
        n += items[n] != items[0] && !magpie_likes_has(likes, user, items[n]);
    }
    return n;
}

static magpie_status validate_user(const validating *v, uint32_t user, bool *hit) {
    const magpie_likes *likes = v->training->likes;
    const magpie_ranker_user who = {user, likes->item + likes->begin[user],
                                    likes->begin[user + 1] - likes->begin[user]};
    uint32_t items[1 + NEGATIVES];
    float scores[1 + NEGATIVES];
    const size_t n = draw(v, user, items);
    magpie_status status = v->ranker->model->score(v->ranker, &who, items, n, scores);
    if (status != MAGPIE_OK) return status == MAGPIE_E_NOT_FOUND ? MAGPIE_OK : status;
    size_t rank = 0;
    for (size_t i = 1; i < n; i++) rank += !(scores[i] < scores[0]); /* ties and NaN are against it */
    *hit = isfinite(scores[0]) && rank < FIRST;
    return MAGPIE_OK;
}

static magpie_status validate_some(void *context, size_t task, unsigned worker) {
    (void)worker;
    const validating *v = context;
    magpie_status status = MAGPIE_OK;
    for (size_t i = task * USERS_A_TASK; i < v->count && i < (task + 1) * USERS_A_TASK; i++)
        if (status == MAGPIE_OK) status = validate_user(v, v->users[i], &v->hit[i]);
    return status;
}

magpie_status ranker_validate(const magpie_ranker *ranker, const ranker_training *training, uint64_t seed,
                              double *hit_rate) {
    const size_t users = training->likes->users;
    validating v = {.ranker = ranker, .training = training, .seed = seed};
    magpie_status status = MAGPIE_E_NO_MEMORY;
    size_t hits = 0;
    v.users = magpie_alloc(users, sizeof *v.users);
    v.hit = magpie_alloc(users, sizeof *v.hit);
    if (v.users && v.hit) {
        for (uint32_t u = 0; u < users; u++)
            if (training->validation[u] != MAGPIE_RANKER_NOBODY) v.users[v.count++] = u;
        status =
            magpie_pool_run(training->pool, (v.count + USERS_A_TASK - 1) / USERS_A_TASK, validate_some, &v);
    }
    for (size_t i = 0; i < v.count && status == MAGPIE_OK; i++) hits += v.hit[i];
    *hit_rate = v.count ? (double)hits / (double)v.count : 0;
    free(v.users);
    free(v.hit);
    return status;
}
