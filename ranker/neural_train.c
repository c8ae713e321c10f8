/* neural_train.c - the training of the networks: which likes, with which negatives, and what is done with the
 * slopes.
 *
 * Likes come in an order that is a permutation of them, drawn for each epoch and computed place by place, so
 * that nothing as large as the likes is held. The user of a like is looked up in their offsets. */
#include "neural.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blas.h"
#include "neural_gpu.h"
#include "neural_train.h"

enum {
    STATE_SHARE = 20, /* training.state takes one second in as many */
    OWNED_ROWS = 16 /* of a table, one after another, that are one task's: lines of a cache have one writer */
};

/* ---- an order of likes ---- */

/* A permutation of 0 .. n-1: a Feistel network on as many bits as n has, asked again until it is below n
 * (Black and Rogaway 2002). */
static uint64_t permute(uint64_t i, uint64_t n, uint64_t seed) {
    unsigned half = 1;
    while (half < 32 && n > (uint64_t)1 << (2 * half)) half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        for (uint64_t round = 0; round < 4; round++) {
            uint64_t left = i >> half, right = i & mask, mixed = seed + round + (right << 8);
            i = right << half | ((left ^ magpie_random(&mixed)) & mask);
        }
    } while (i >= n);
    return i;
}

/* Whose like number i is. */
static uint32_t user_of(const trainer *t, uint64_t i) {
    const magpie_likes *likes = t->training->likes;
    const uint32_t *around = t->landmarks + (i >> t->landmark_shift);
    size_t low = around[0], high = (size_t)around[1] + 1;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (likes->begin[middle] <= i)
            low = middle;
        else
            high = middle;
    }
    return (uint32_t)low;
}

/* ---- negatives and histories ---- */

/* Items [n] that the user has not liked; after some tries, whatever comes (a user may have liked all). */
static void draw_negatives(const magpie_likes *likes, uint32_t user, uint64_t *random, size_t n,
                           uint32_t *out) {
    enum { MOST = 16 };
    const neural_kernels *kernels = neural_kernels_level(0);
    const uint32_t *liked = likes->item + likes->begin[user];
    const size_t likes_of = (size_t)(likes->begin[user + 1] - likes->begin[user]);
    bool found[MOST];
    for (size_t some; n; n -= some, out += some) {
        some = n < MOST ? n : MOST;
        for (size_t j = 0; j < some; j++) out[j] = ranker_draw(random, (uint32_t)likes->items);
        kernels->find(liked, likes_of, out, some, found);
        for (size_t j = 0; j < some; j++)
            for (int tries = 1; found[j] && tries < 100; tries++) {
                out[j] = ranker_draw(random, (uint32_t)likes->items);
                kernels->find(liked, likes_of, out + j, 1, found + j);
            }
    }
}

/* Those that all likes of a part have in common, and which of them the user of each like likes. */
static void draw_shared(const magpie_likes *likes, neural_part *part) {
    const size_t others = part->pairs - 1;
    uint32_t *out = part->slots[TABLE_ITEMS].of + part->likes;
    for (size_t j = 0; j < others; j++) out[j] = ranker_draw(&part->noise, (uint32_t)likes->items);
    for (size_t g = 0; g < part->likes; g++) {
        const uint64_t *of_user = likes->begin + part->slots[TABLE_USERS].of[g];
        neural_kernels_level(0)->find(likes->item + of_user[0], (size_t)(of_user[1] - of_user[0]), out,
                                      others, part->liked + g * others);
    }
}

/* The likes before like number i, or with `later` all others, most recent first; returns how many. */
static uint32_t history_of(const magpie_likes *likes, uint32_t user, uint64_t i, bool later, size_t most,
                           uint32_t *out) {
    uint32_t n = 0;
    for (uint64_t k = later ? likes->begin[user + 1] : i; k > likes->begin[user] && n < most; k--)
        if (k - 1 != i) out[n++] = likes->item[k - 1];
    return n;
}

/* The same likes, all of them, for base.c. */
static magpie_status solve_user(const trainer *t, uint32_t user, uint64_t i, neural_scratch *x, float *out) {
    const magpie_likes *likes = t->training->likes;
    size_t n = history_of(likes, user, i, t->options->later > 0, SIZE_MAX, x->others);
    return neural_base_user(t->ranker, x->others, n, x->solving, out);
}

static magpie_status fill_part(const trainer *t, size_t first, size_t likes, neural_part *part,
                               neural_scratch *x) {
    magpie_status status = MAGPIE_OK;
    const neural_shape *s = &t->net->shape;
    const magpie_likes *all = t->training->likes;
    uint64_t epoch = magpie_seed(t->options->seed, t->state.epoch + 1);
    neural_slots *users = &part->slots[TABLE_USERS], *items = &part->slots[TABLE_ITEMS],
                 *history = &part->slots[TABLE_HISTORY];
    part->likes = users->n = likes;
    items->n = neural_item_slots(likes, part->pairs, part->shared);
    history->n = likes * s->history;
    for (size_t g = 0; g < likes; g++) {
        uint64_t i = permute(first + g, t->likes, epoch), random = magpie_seed(epoch, first + g);
        uint32_t user = user_of(t, i);
        users->of[g] = user;
        items->of[neural_slot(part, g, 0)] = all->item[i];
        if (!part->shared)
            draw_negatives(all, user, &random, part->pairs - 1, items->of + neural_slot(part, g, 1));
        part->history_count[g] =
            history_of(all, user, i, t->options->later > 0, s->history, history->of + g * s->history);
        if (s->base && status == MAGPIE_OK) status = solve_user(t, user, i, x, part->base_user + g * s->base);
    }
    part->noise = magpie_seed(~epoch, first);
    if (part->shared) draw_shared(all, part);
    return status;
}

/* A task that nobody has taken, of as many as are asked for: the same worker's, step by step, as far as
 * possible, so that what it wrote is still in its cache. */
static size_t claim(trainer *t, size_t count, unsigned worker) {
    size_t task = worker % count, tried = 1;
    while (atomic_exchange_explicit(&t->claimed[task], true, memory_order_relaxed))
        task = tried++ < count ? (task + t->owner_count) % count : (task + 1) % count;
    return task;
}

static magpie_status run_claimed(trainer *t, size_t count, magpie_task task) {
    for (size_t i = 0; i < count; i++) atomic_store_explicit(&t->claimed[i], false, memory_order_relaxed);
    return magpie_pool_run(t->training->pool, count, task, t);
}

static magpie_status part_task(void *context, size_t task, unsigned worker) {
    trainer *t = context;
    task = claim(t, t->batch_parts, worker);
    (void)blas_alone();
    size_t first = task * t->batch_likes / t->batch_parts, end = (task + 1) * t->batch_likes / t->batch_parts;
    magpie_status status =
        fill_part(t, t->batch_first + first, end - first, &t->parts[task], &t->scratch[worker]);
    if (status == MAGPIE_OK && !t->gpu)
        neural_run_part(t->net, &t->numbers, &t->parts[task], &t->scratch[worker]);
    return status;
}

/* ---- slopes to rows ---- */

/* Where the slopes of row `key` in this step are, NULL at first. */
static float **slopes_of(owner *o, uint32_t key, uint32_t step) {
    uint64_t scrambled = key;
    for (size_t i = magpie_random(&scrambled) & o->mask;; i = (i + 1) & o->mask) {
        owned *entry = &o->entries[i];
        if (entry->step == step && entry->key != key) continue;
        if (entry->step != step) *entry = (owned){.step = step, .key = key};
        return &entry->slopes;
    }
}

/* What is far away, and will be wanted soon. */
static void prefetch(const void *from, size_t numbers) {
    for (size_t i = 0; i < numbers; i += 16) __builtin_prefetch((const float *)from + i);
}

static void move_rows(trainer *t, owner *o, size_t index, size_t owners, size_t which,
                      const neural_kernels *kernels, const neural_adam *numbers) {
    neural_table *table = &t->net->table[which];
    size_t n = 0, columns = table->columns;
    o->step++;
    for (size_t p = 0; p < t->batch_parts; p++) {
        const neural_slots *slots = &t->parts[p].slots[which];
        for (size_t i = 0; i < slots->n; i++) {
            uint32_t row = slots->of[i];
            if (row == MAGPIE_RANKER_NOBODY || row / OWNED_ROWS % owners != index) continue;
            float **sum = slopes_of(o, row, o->step);
            if (*sum)
                kernels->add(*sum, slots->slopes + i * columns, 1, columns);
            else {
                prefetch(*sum = slots->slopes + i * columns, columns);
                prefetch(table->values + row * columns, columns);
                prefetch(table->first + row * columns, columns);
                prefetch(table->second + row * columns, columns);
                o->rows[n++] = (owned_row){.row = row, .slopes = *sum};
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        size_t at = o->rows[i].row * columns;
        kernels->adam(table->values + at, table->first + at, table->second + at, o->rows[i].slopes, columns,
                      numbers);
    }
}

/* A share of the dense numbers. */
static void move_dense(trainer *t, size_t index, size_t owners, const neural_kernels *kernels,
                       const neural_adam *numbers) {
    neural_table *dense = &t->net->table[TABLE_DENSE];
    const neural_shape *s = &t->net->shape;
    size_t first = index * s->dense / owners, n = (index + 1) * s->dense / owners - first;
    float *sum = t->parts[0].dense;
    for (size_t p = 1; p < t->batch_parts; p++) kernels->add(sum + first, t->parts[p].dense + first, 1, n);
    if (t->fixed_out) /* mf's */
        for (size_t i = s->out_gmf; i < s->out_gmf + s->gmf; i++)
            if (i >= first && i < first + n) sum[i] = 0;
    kernels->adam(dense->values + first, dense->first + first, dense->second + first, sum + first, n,
                  numbers);
}

static magpie_status move_task(void *context, size_t task, unsigned worker) {
    trainer *t = context;
    task = claim(t, t->owner_count, worker);
    const neural_kernels *kernels = neural_kernels_level(0);
    neural_adam rows = t->adam;
    for (size_t which = 0; which < NEURAL_TABLES; which++)
        move_rows(t, &t->owners[task], task, t->owner_count, which, kernels, &rows);
    rows.decay = 0;
    move_dense(t, task, t->owner_count, kernels, &rows);
    return MAGPIE_OK;
}

/* ---- steps ---- */

static double rate_at(const trainer *t, uint64_t step) {
    const double pi = 3.14159265358979323846, warm = 0.05;
    double at = (double)step / (t->options->epochs * (double)t->steps);
    if (!(t->options->anneal > 0)) return t->options->rate;
    if (at < warm) return t->options->rate * at / warm;
    return t->options->rate * 0.5 * (1 + cos(pi * (at - warm) / (1 - warm)));
}

static magpie_status step(trainer *t, size_t index, double *loss) {
    uint64_t n = t->likes;
    t->batch_first = index * n / t->steps;
    t->batch_likes = (index + 1) * n / t->steps - t->batch_first;
    t->batch_parts = (t->batch_likes + t->part_likes - 1) / t->part_likes;
    double over = (double)t->batch_likes * (t->numbers.loss == MAGPIE_RANKER_BCE   ? (double)t->pairs
                                            : t->numbers.loss == MAGPIE_RANKER_BPR ? (double)t->pairs - 1
                                                                                   : 1);
    t->numbers.scale = 1 / over;
    magpie_status status = run_claimed(t, t->batch_parts, part_task);
    if (status != MAGPIE_OK) return status;
    t->state.step++;
    t->adam = (neural_adam){.rate = (float)rate_at(t, t->state.step),
                            .decay = (float)t->options->regularisation,
                            .correct_first = (float)(1 / (1 - pow(0.9, (double)t->state.step))),
                            .correct_second = (float)(1 / (1 - pow(0.999, (double)t->state.step)))};
    double sum = 0;
    if (t->gpu) status = neural_gpu_train_step(t->gpu, t->parts, t->batch_parts, &t->numbers, &t->adam, &sum);
    for (size_t p = 0; p < t->batch_parts && !t->gpu; p++) sum += t->parts[p].loss;
    *loss += sum / over * (double)t->batch_likes / (double)n;
    return t->gpu ? status : run_claimed(t, t->owner_count, move_task);
}

static double samples_per_second(const trainer *t, double share, double now) {
    return share * (double)t->likes * (double)t->pairs / fmax(now - t->epoch_began, 1e-9);
}

/* In the middle of an epoch. */
static magpie_status tell(trainer *t, size_t done, double loss) {
    double now = magpie_seconds(), share = (double)done / (double)t->steps;
    if (!t->training->callback || now - t->told < 0.2) return MAGPIE_OK;
    t->told = now;
    const magpie_ranker_progress progress = {.epoch = (size_t)t->state.epoch + 1,
                                             .epochs = (size_t)t->options->epochs,
                                             .done = share,
                                             .loss = loss / share,
                                             .samples_per_second = samples_per_second(t, share, now),
                                             .seconds = now - t->began,
                                             .hit_rate = t->hit_rate};
    return t->training->callback(t->training->context, &progress);
}

/* At the end of epoch `epoch`, or again. */
static magpie_status tell_epoch(trainer *t, size_t epoch, bool resumed) {
    const neural_epoch *e = &t->curve[epoch - 1];
    if (!t->training->callback) return MAGPIE_OK;
    if (!resumed) t->told = magpie_seconds();
    const magpie_ranker_progress progress = {.epoch = epoch,
                                             .epochs = (size_t)t->options->epochs,
                                             .done = 1,
                                             .loss = e->loss,
                                             .samples_per_second = e->samples_per_second,
                                             .seconds = e->seconds,
                                             .hit_rate = e->hit_rate,
                                             .epoch_ended = true,
                                             .best = e->best > 0,
                                             .resumed = resumed};
    return t->training->callback(t->training->context, &progress);
}

static magpie_status run_epoch(trainer *t, double *loss) {
    magpie_status status = MAGPIE_OK;
    *loss = 0;
    t->epoch_began = magpie_seconds();
    for (size_t i = 0; i < t->steps && status == MAGPIE_OK; i++) {
        status = step(t, i, loss);
        if (status == MAGPIE_OK) status = tell(t, i + 1, *loss);
    }
    if (status == MAGPIE_OK && t->gpu) status = neural_gpu_train_read(t->gpu, t->net);
    return status;
}

/* ---- the whole ---- */

/* Users and items that nothing was learned of are not what chance made of them. */
static magpie_status forget_unseen(neural *net, const magpie_likes *likes) {
    const neural_shape *s = &net->shape;
    bool *seen = magpie_alloc(s->items, 1);
    if (!seen) return MAGPIE_E_NO_MEMORY;
    for (uint64_t i = 0; i < likes->begin[likes->users]; i++) seen[likes->item[i]] = true;
    for (size_t i = 0; i < s->items; i++) {
        if (seen[i]) continue;
        memset(net->table[TABLE_ITEMS].values + i * s->row, 0, s->row * sizeof(float));
        if (s->value) memset(net->table[TABLE_HISTORY].values + i * s->value, 0, s->value * sizeof(float));
    }
    for (size_t u = 0; u < s->users; u++)
        if (likes->begin[u] == likes->begin[u + 1])
            memset(net->table[TABLE_USERS].values + u * s->row, 0, s->row * sizeof(float));
    free(seen);
    return MAGPIE_OK;
}

static bool goes_on(const trainer *t) {
    return t->state.epoch < (uint64_t)t->options->epochs &&
           (!t->training->validation || t->options->patience <= 0 ||
            (double)(t->state.epoch - t->state.best) < t->options->patience);
}

static void keep(neural *net) {
    for (neural_table *t = net->table; t <= net->table + NEURAL_TABLES; t++)
        memcpy(t->kept, t->values, t->rows * t->columns * sizeof(float));
}

static void take_kept(neural *net) {
    for (neural_table *t = net->table; t <= net->table + NEURAL_TABLES; t++)
        memcpy(t->values, t->kept, t->rows * t->columns * sizeof(float));
}

/* Whether one of those whom it learns from was forgotten since. */
static magpie_status find_forgotten(const ranker_training *g, bool *found) {
    uint32_t *gone;
    size_t n;
    magpie_status status = ranker_forgotten(g->directory, &gone, &n);
    *found = false;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++)
        if (gone[i] < g->likes->users && g->likes->begin[gone[i]] < g->likes->begin[gone[i] + 1])
            *found = true;
    free(gone);
    return status;
}

/* Nothing once somebody was forgotten: their likes are gone, so it could not be resumed. */
static magpie_status write_state(trainer *t) {
    const double begun = magpie_seconds();
    bool forgotten;
    int lock;
    magpie_status status = ranker_lock(t->training->directory, &lock);
    if (status != MAGPIE_OK) return status;
    status = find_forgotten(t->training, &forgotten);
    if (status == MAGPIE_OK && !forgotten)
        status = neural_state_write(t->net, &t->state, t->curve, t->training->state);
    close(lock);
    t->written = magpie_seconds();
    t->writing = t->written - begun;
    return status;
}

static void note_epoch(trainer *t, double loss, bool best) {
    const double now = magpie_seconds();
    t->curve[t->state.epoch - 1] =
        (neural_epoch){loss, t->hit_rate, samples_per_second(t, 1, now), now - t->began, best};
}

/* After an epoch: how good it is, whether it is kept, whether to go on. */
static magpie_status judge(trainer *t, magpie_ranker *ranker, double loss, bool *go_on) {
    const ranker_training *g = t->training;
    bool best = true;
    magpie_status status = MAGPIE_OK;
    t->state.epoch++;
    if (g->validation) {
        status = neural_prepare(ranker, g->content);
        if (status == MAGPIE_OK) status = ranker_validate(ranker, g, t->options->seed, &t->hit_rate);
        best = t->hit_rate > t->state.best_hit_rate || t->state.best == 0;
        if (status == MAGPIE_OK && best) keep(t->net);
    }
    if (status != MAGPIE_OK) return status;
    if (best) {
        t->state.best = t->state.epoch;
        t->state.best_hit_rate = t->hit_rate;
        t->state.best_loss = loss;
    }
    note_epoch(t, loss, best);
    *go_on = goes_on(t);
    const bool due = magpie_seconds() - t->written > STATE_SHARE * t->writing || !*go_on;
    if (due) status = write_state(t);
    if (status != MAGPIE_OK) return status;
    const magpie_status wanted = tell_epoch(t, (size_t)t->state.epoch, false);
    if (wanted == MAGPIE_OK || due) return wanted;
    status = write_state(t); /* so that this epoch is not lost */
    return status == MAGPIE_OK ? wanted : status;
}

/* Where there is a state: as it was left, its epochs told again. */
static magpie_status resume(trainer *t, bool *go_on) {
    bool found;
    magpie_status status = neural_state_read(t->net, &t->state, t->curve, (size_t)t->options->epochs,
                                             t->training->state, &found);
    if (status != MAGPIE_OK || !found) return status;
    *go_on = goes_on(t);
    t->hit_rate = t->curve[t->state.epoch - 1].hit_rate;
    for (size_t epoch = 1; epoch <= t->state.epoch && status == MAGPIE_OK; epoch++)
        status = tell_epoch(t, epoch, true);
    return status;
}

magpie_status neural_train(magpie_ranker *ranker, const ranker_training *training, const bool *had) {
    trainer *t = NULL;
    double loss;
    bool go_on = true;
    magpie_status status = trainer_create(ranker, training, had, &t);
    if (status != MAGPIE_OK) return status;
    const int threads_before = blas_alone(); /* of the caller, who is a worker too */
    if (t->net->shape.base) status = neural_base_fit(ranker, training);
    if (status == MAGPIE_OK && ranker->options.resume) status = resume(t, &go_on);
    if (status == MAGPIE_OK) /* with what was resumed; a step has so many likes at most */
        status = neural_gpu_train_open(t->net, ranker->options.device, (t->likes + t->steps - 1) / t->steps,
                                       t->pairs, t->fixed_out, &t->gpu);
    while (status == MAGPIE_OK && go_on) {
        status = run_epoch(t, &loss);
        if (status == MAGPIE_OK) status = judge(t, ranker, loss, &go_on);
    }
    if (status == MAGPIE_OK) {
        if (training->validation) take_kept(t->net);
        status = forget_unseen(t->net, training->likes);
        training->report->epochs = (size_t)t->state.epoch;
        training->report->best_epoch = (size_t)t->state.best;
        training->report->loss = t->state.best_loss;
        training->report->hit_rate = t->state.best_hit_rate;
    }
    blas_restore(threads_before);
    trainer_free(t);
    return status;
}
