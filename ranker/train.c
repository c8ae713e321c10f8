/* train.c - magpie_ranker_train: what all models' training has in common. */
#include "model.h"
#include "trained_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VALIDATION_USERS = 10000 };

static magpie_status check_options(const magpie_ranker_options *options) {
    magpie_status status = MAGPIE_OK;
    for (const magpie_ranker_parameter *p = magpie_ranker_parameters; p->name && status == MAGPIE_OK; p++)
        if (p->kinds >> options->kind & 1)
            status = magpie_ranker_parameter_check(p, magpie_ranker_parameter_of(options, p));
    return status;
}

/* Where it trains: what there are no kernels for stays on the CPU. */
static magpie_status choose_device(const magpie_ranker_options *options, magpie_device *out) {
    const magpie_ranker_kind kind = options->kind;
    const magpie_backend backend = options->device.backend;
    const bool able = kind == MAGPIE_RANKER_MF || kind == MAGPIE_RANKER_GMF || kind == MAGPIE_RANKER_MLP ||
                      kind == MAGPIE_RANKER_NEUMF;
    *out = (magpie_device){MAGPIE_BACKEND_CPU, 0};
    if (able) *out = backend == MAGPIE_BACKEND_AUTO ? magpie_device_choose() : options->device;
    if (able || (backend != MAGPIE_BACKEND_OPENCL && backend != MAGPIE_BACKEND_CUDA)) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_UNSUPPORTED,
                       "%s is trained on the CPU alone; mf, gmf, mlp and neumf on %s too",
                       magpie_ranker_kind_name(kind), magpie_backend_name(backend));
}

static magpie_status check_likes(const magpie_likes *likes) {
    if (likes->users > RANKER_NUMBERS_MOST || likes->items > RANKER_NUMBERS_MOST)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%zu users and %zu items; of each there may be %d",
                           likes->users, likes->items, RANKER_NUMBERS_MOST);
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

/* Marks the last like of as many users as are to be validated on; aside [users] says which items those are. */
static void mark_last(const magpie_likes *likes, bool *marks, uint32_t *aside) {
    size_t able = 0;
    for (size_t u = 0; u < likes->users; u++) able += likes->begin[u + 1] - likes->begin[u] > 1;
    const size_t every = (able + VALIDATION_USERS - 1) / VALIDATION_USERS;
    able = 0;
    for (size_t u = 0; u < likes->users; u++) {
        const uint64_t end = likes->begin[u + 1];
        aside[u] = MAGPIE_RANKER_NOBODY;
        if (end - likes->begin[u] < 2 || able++ % every) continue;
        marks[end - 1] = true;
        aside[u] = likes->item[end - 1];
    }
}

/* `rest` in a block that the caller frees, as *aside; without times, where nobody asks for more than order. */
static magpie_status set_aside(const magpie_likes *likes, bool timed, uint32_t **aside, magpie_likes *rest,
                               magpie_block *block) {
    magpie_likes all = *likes;
    bool *marks = magpie_alloc(likes->begin[likes->users], sizeof *marks);
    *aside = magpie_alloc(likes->users, sizeof **aside);
    magpie_status status = marks && *aside ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (!timed) all.time = NULL;
    if (status == MAGPIE_OK) {
        mark_last(likes, marks, *aside);
        status = magpie_likes_select(&all, marks, false, rest, block);
    }
    free(marks);
    return status;
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
    uint32_t *aside = NULL;
    magpie_likes rest;
    magpie_block block = {0};
    magpie_status status = MAGPIE_OK;
    if ((options->epochs > 0 && options->patience > 0) || options->validate) {
        status = set_aside(all, options->kind == MAGPIE_RANKER_POPULARITY, &aside, &rest, &block);
        if (status == MAGPIE_OK &&
            rest.begin[rest.users] < all->begin[all->users]) { /* else nobody has two */
            training->likes = &rest;
            training->validation = aside;
        }
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
    magpie_block_free(&block);
    free(aside);
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
                       ranker_columns(&tensors[i]) * sizeof *tensors[i].values);
    if (status == MAGPIE_OK) status = ranker_save(ranker, directory);
    close(lock);
    free(gone);
    return status;
}

static magpie_status train_into(const char *directory, magpie_ranker *ranker, ranker_training *training,
                                const magpie_ranker_options *options) {
    char *state = magpie_path_join(directory, "training.state");
    magpie_status status = state ? trained_make_folder(directory) : MAGPIE_E_NO_MEMORY;
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
    magpie_ranker_info info = {.kind = options->kind,
                               .users = likes->users,
                               .items = likes->items,
                               .content = known ? known->dimension : 0};
    snprintf(info.space, sizeof info.space, "%s", known && known->space ? known->space : "");
    magpie_status status = check_options(options);
    if (status == MAGPIE_OK) status = check_likes(likes);
    if (status == MAGPIE_OK) status = check_content(known);
    if (status == MAGPIE_OK) status = ranker_create(&info, options, &ranker);
    if (status == MAGPIE_OK) status = choose_device(options, &ranker->options.device);
    if (status == MAGPIE_OK) status = train_into(directory, ranker, &training, options);
    if (status == MAGPIE_OK) own.parameters = ranker->info.parameters;
    own.seconds = magpie_seconds() - begun;
    if (status == MAGPIE_OK && report) *report = own;
    magpie_ranker_close(ranker);
    return status;
}
