/* train.c - magpie_ranker_train: what all models' training has in common. */
#include "model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VALIDATION_USERS = 10000, NUMBERS_MOST = INT32_MAX };

static magpie_status check_likes(const magpie_likes *likes) {
    if (likes->users > NUMBERS_MOST || likes->items > NUMBERS_MOST)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%zu users and %zu items; of each there may be %d",
                           likes->users, likes->items, NUMBERS_MOST);
    for (size_t u = 0; u < likes->users; u++)
        if (likes->begin[u] > likes->begin[u + 1])
            return magpie_fail(MAGPIE_E_ARGUMENT, "user %zu's likes end before they begin", u);
    if (!likes->begin[likes->users])
        return magpie_fail(MAGPIE_E_ARGUMENT, "there are no likes to learn from");
    for (uint64_t i = 0; i < likes->begin[likes->users]; i++)
        if (likes->item[i] >= likes->items)
            return magpie_fail(MAGPIE_E_ARGUMENT, "like %llu is of item %u of %zu", (unsigned long long)i,
                               likes->item[i], likes->items);
    return MAGPIE_OK;
}

static magpie_status check_content(const magpie_ranker_content *content) {
    for (size_t i = 0; content && i < content->items; i++)
        for (size_t k = 0; content->rows[i] && k < content->dimension; k++)
            if (!isfinite(content->rows[i][k]))
                return magpie_fail(MAGPIE_E_INPUT,
                                   "the content vector of item %zu has a number that is not finite", i);
    return MAGPIE_OK;
}

/* ---- validation ---------------------------------------------------------------------------------------- */

/* The likes without those that are set aside. */
typedef struct validation {
    magpie_block block;
    uint64_t *begin;
    uint32_t *item;
    float *weight;
    int64_t *time;   /* NULL where nobody asks: the order is enough for most */
    uint32_t *aside; /* [users] */
} validation;

static void lay_out(validation *v, const magpie_likes *likes, bool timed) {
    v->begin = magpie_carve(&v->block, likes->users + 1, sizeof *v->begin);
    const size_t n = likes->begin[likes->users];
    v->time = timed && likes->time ? magpie_carve(&v->block, n, sizeof *v->time) : NULL;
    v->item = magpie_carve(&v->block, n, sizeof *v->item);
    v->weight = likes->weight ? magpie_carve(&v->block, n, sizeof *v->weight) : NULL;
    v->aside = magpie_carve(&v->block, likes->users, sizeof *v->aside);
}

static void set_aside(validation *v, const magpie_likes *likes) {
    size_t able = 0, at = 0;
    for (size_t u = 0; u < likes->users; u++) able += likes->begin[u + 1] - likes->begin[u] > 1;
    const size_t every = (able + VALIDATION_USERS - 1) / VALIDATION_USERS;
    able = 0;
    for (size_t u = 0; u < likes->users; u++) {
        const uint64_t from = likes->begin[u];
        size_t n = likes->begin[u + 1] - from;
        v->aside[u] = MAGPIE_RANKER_NOBODY;
        if (n > 1 && able++ % every == 0) v->aside[u] = likes->item[from + --n];
        v->begin[u] = at;
        memcpy(v->item + at, likes->item + from, n * sizeof *v->item);
        if (v->time) memcpy(v->time + at, likes->time + from, n * sizeof *v->time);
        if (v->weight) memcpy(v->weight + at, likes->weight + from, n * sizeof *v->weight);
        at += n;
    }
    v->begin[likes->users] = at;
}

static magpie_status validation_create(const magpie_likes *likes, bool timed, validation *out,
                                       magpie_likes *rest) {
    lay_out(out, likes, timed);
    magpie_status status = magpie_block_alloc(&out->block);
    if (status != MAGPIE_OK) return status;
    lay_out(out, likes, timed);
    set_aside(out, likes);
    *rest = (magpie_likes){likes->users, likes->items, out->begin, out->item, out->weight, out->time};
    return MAGPIE_OK;
}

static magpie_status measure(magpie_ranker *ranker, const ranker_training *training, uint64_t seed) {
    magpie_status status = MAGPIE_OK;
    if (ranker->model->prepare) status = ranker->model->prepare(ranker, training->content);
    return status == MAGPIE_OK ? ranker_validate(ranker, training, seed, &training->report->hit_rate)
                               : status;
}

/* ---- training ------------------------------------------------------------------------------------------ */

static magpie_status run(magpie_ranker *ranker, ranker_training *training,
                         const magpie_ranker_options *options) {
    const magpie_likes *all = training->likes;
    bool has[RANKER_TENSORS_MAX] = {false};
    validation v = {0};
    magpie_likes rest;
    magpie_status status = MAGPIE_OK;
    if ((options->epochs > 0 && options->patience > 0) || options->validate) {
        status = validation_create(all, options->kind == MAGPIE_RANKER_POPULARITY, &v, &rest);
        training->likes = &rest;
        training->validation = v.aside;
    }
    /* What is had in one step has no use for a beginning. */
    for (const char *const *from = options->from; options->epochs > 0 && from && *from; from++)
        if (status == MAGPIE_OK) {
            status = ranker_take(ranker, *from, has);
            training->from++;
        }
    if (status == MAGPIE_OK) status = ranker->model->train(ranker, training, has);
    /* Networks have measured after each epoch. */
    if (status == MAGPIE_OK && training->validation && ranker->model != &ranker_neural)
        status = measure(ranker, training, options->seed);
    training->likes = all;
    magpie_block_free(&v.block);
    return status;
}

/* Not those who were forgotten since the likes were read. */
static magpie_status save(magpie_ranker *ranker, const char *directory) {
    ranker_tensor tensors[RANKER_TENSORS_MAX];
    const size_t count = ranker->model->tensors(ranker, tensors);
    uint32_t *gone = NULL;
    size_t n = 0;
    int lock;
    magpie_status status = ranker_lock(directory, &lock);
    if (status != MAGPIE_OK) return status;
    status = ranker_forgotten(directory, &gone, &n);
    for (size_t i = 0; i < count && status == MAGPIE_OK; i++)
        for (size_t k = 0; k < n && tensors[i].of == ROWS_USERS; k++)
            if (gone[k] < tensors[i].rows)
                memset(tensors[i].values + gone[k] * tensors[i].stride, 0,
                       (tensors[i].columns ? tensors[i].columns : 1) * sizeof *tensors[i].values);
    if (status == MAGPIE_OK) status = ranker_save(ranker, directory);
    close(lock);
    free(gone);
    return status;
}

static magpie_status train_into(const char *directory, magpie_ranker *ranker, ranker_training *training,
                                const magpie_ranker_options *options) {
    char *state = magpie_path_join(directory, "training.state");
    magpie_status status = state ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK && mkdir(directory, 0777) != 0 && errno != EEXIST)
        status = magpie_fail_errno(errno, "cannot make %s", directory);
    training->directory = directory;
    training->state = state;
    if (status == MAGPIE_OK) status = magpie_pool_create(options->threads, &training->pool);
    if (status == MAGPIE_OK) status = run(ranker, training, options);
    if (status == MAGPIE_OK) status = save(ranker, directory);
    if (status == MAGPIE_OK && unlink(state) != 0 && errno != ENOENT)
        status = magpie_fail_errno(errno, "cannot remove %s", state);
    magpie_pool_free(training->pool);
    free(state);
    return status;
}

magpie_status magpie_ranker_train(const magpie_likes *likes, const magpie_ranker_content *content,
                                  const magpie_ranker_options *options, const char *directory,
                                  magpie_ranker_callback callback, void *context,
                                  magpie_ranker_report *report) {
    const double begun = magpie_seconds();
    magpie_ranker_report own = {0};
    magpie_ranker *ranker = NULL;
    /* The others must open in a store whose content is of another space by now. */
    const bool reads = options->kind == MAGPIE_RANKER_MAGPIE && content && content->dimension;
    const magpie_ranker_content *known = reads ? content : NULL;
    ranker_training training = {
        .likes = likes, .content = known, .callback = callback, .context = context, .report = &own};
    const magpie_ranker_info info = {.kind = options->kind,
                                     .users = likes->users,
                                     .items = likes->items,
                                     .content = known ? known->dimension : 0};
    magpie_status status = ranker_check_options(options);
    if (status == MAGPIE_OK) status = check_likes(likes);
    if (status == MAGPIE_OK) status = check_content(known);
    if (status == MAGPIE_OK) status = ranker_create(&info, options, &ranker);
    if (status == MAGPIE_OK) status = train_into(directory, ranker, &training, options);
    if (status == MAGPIE_OK) own.parameters = ranker->info.parameters;
    own.seconds = magpie_seconds() - begun;
    if (status == MAGPIE_OK && report) *report = own;
    magpie_ranker_close(ranker);
    return status;
}
