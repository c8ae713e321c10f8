/* neural_setup.c - what a training of a network begins with: memory, and numbers drawn by its seed. */
#include "neural_gpu.h"
#include "neural_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- the first numbers ---- */

static double uniform(uint64_t *random) { return (double)(magpie_random(random) >> 11) * 0x1p-53; }

/* Two of Box and Muller 1958's. */
static void fill_normal(float *x, size_t n, double deviation, uint64_t seed) {
    const double turn = 6.28318530717958647692;
    for (size_t i = 0; i < n; i += 2) {
        double length = deviation * sqrt(-2 * log(1 - uniform(&seed))), angle = turn * uniform(&seed);
        x[i] = (float)(length * cos(angle));
        if (i + 1 < n) x[i + 1] = (float)(length * sin(angle));
    }
}

static void fill_uniform(float *x, size_t n, double most, uint64_t seed) {
    for (size_t i = 0; i < n; i++) x[i] = (float)(most * (2 * uniform(&seed) - 1));
}

/* Glorot and Bengio 2010. */
static void fill_weights(float *x, size_t in, size_t out, uint64_t seed) {
    fill_uniform(x, in * out, sqrt(6 / (double)(in + out)), seed);
}

/* Heads differ from the start in how far back they look. */
static void fill_positions(const neural_shape *s, double recency, float *x) {
    for (size_t h = 0; h < s->heads; h++)
        for (size_t j = 0; j < s->history; j++)
            x[h * s->history + j] = (float)(-recency * (double)j * pow(0.3, (double)h));
}

static void fill_tensor(const magpie_ranker *ranker, const ranker_tensor *t, uint64_t seed) {
    const neural *net = ranker->state;
    const neural_shape *s = &net->shape;
    const char *end = strrchr(t->name, '.');
    size_t fan = s->gmf + (s->layers ? s->width[s->layers - 1] : 0);
    if (!strcmp(end, ".bias")) return; /* zero, as it is */
    if (!strcmp(t->name, "history.position"))
        fill_positions(s, ranker->options.recency, t->values);
    else if (!strncmp(t->name, "out.", 4) && ranker->info.kind != MAGPIE_RANKER_MF &&
             strcmp(t->name, "out.base") != 0)
        fill_uniform(t->values, t->rows, sqrt(3 / (double)fan), seed);
    else if (!strncmp(t->name, "out.", 4))
        for (size_t i = 0; i < t->rows; i++) t->values[i] = 1;
    else
        fill_weights(t->values, t->rows, t->columns, seed);
}

/* Rows of users and items: those that nothing was taken for. Their biases begin as 0. */
static void fill_rows(const magpie_ranker *ranker, const ranker_tensor *t, bool had, uint64_t seed) {
    for (size_t row = 0; row < t->rows && t->columns; row++) {
        float *x = t->values + row * t->stride;
        if (!had || ranker_is_zero(x, t->columns))
            fill_normal(x, t->columns, ranker->options.init, magpie_seed(seed, row));
    }
}

/* NeuMF out of a GMF and an MLP (He et al. 2017, section 3.4.1): each has half a say. */
static void halve_out(neural *net) {
    const neural_shape *s = &net->shape;
    size_t last = s->layers ? s->width[s->layers - 1] : 0;
    for (size_t i = 0; i < s->gmf; i++) net->table[TABLE_DENSE].values[s->out_gmf + i] *= 0.5f;
    for (size_t i = 0; i < last; i++) net->table[TABLE_DENSE].values[s->out_mlp + i] *= 0.5f;
}

static void fill(const magpie_ranker *ranker, const ranker_training *training, const bool *has) {
    ranker_tensor tensors[RANKER_TENSORS_MAX];
    size_t n = ranker->model->tensors(ranker, tensors);
    for (size_t i = 0; i < n; i++) {
        uint64_t seed = magpie_seed(ranker->options.seed, i);
        if (tensors[i].values == ((const neural *)ranker->state)->base) continue; /* base.c's */
        if (tensors[i].of != ROWS_OTHER)
            fill_rows(ranker, &tensors[i], has[i], seed);
        else if (!has[i])
            fill_tensor(ranker, &tensors[i], seed);
    }
    if (ranker->info.kind == MAGPIE_RANKER_NEUMF && training->from == 2) halve_out(ranker->state);
}

/* ---- memory ---- */

static void lay_out_moments(neural *net, bool kept, magpie_block *block) {
    for (neural_table *t = net->table; t <= net->table + NEURAL_TABLES; t++) {
        size_t n = t->rows * t->columns;
        t->first = magpie_carve(block, n, sizeof(float));
        t->second = magpie_carve(block, n, sizeof(float));
        t->kept = kept ? magpie_carve(block, n, sizeof(float)) : NULL;
    }
}

static void lay_out(trainer *t, size_t parts, size_t threads, magpie_block *block) {
    const neural_shape *s = &t->net->shape;
    bool shared = s->heads > 0;
    size_t most = 0, entries = 1;
    t->parts = magpie_carve(block, parts, sizeof *t->parts);
    t->scratch = magpie_carve(block, threads, sizeof *t->scratch);
    t->owners = magpie_carve(block, threads, sizeof *t->owners);
    t->claimed = magpie_carve(block, parts > threads ? parts : threads, sizeof *t->claimed);
    t->landmarks = magpie_carve(block, (size_t)(t->likes >> t->landmark_shift) + 2, sizeof *t->landmarks);
    t->curve = magpie_carve(block, (size_t)t->options->epochs, sizeof *t->curve);
    const size_t slots[] = {t->part_likes, neural_item_slots(t->part_likes, t->pairs, shared),
                            t->part_likes * s->history};
    for (size_t i = 0; i < NEURAL_TABLES; i++) most = slots[i] * parts > most ? slots[i] * parts : most;
    while (entries < 2 * most) entries *= 2;
    for (size_t p = 0; p < parts; p++) {
        neural_part none = {0}, *part = t->parts ? &t->parts[p] : &none;
        neural_part_layout(s, t->part_likes, t->pairs, shared, part, block);
    }
    for (size_t i = 0; i < threads; i++) {
        neural_scratch none = {0}, *scratch = t->scratch ? &t->scratch[i] : &none;
        neural_scratch_layout(s, t->part_likes, t->pairs, shared, t->user_likes, scratch, block);
        owned *table = magpie_carve(block, entries, sizeof *table);
        owned_row *rows = magpie_carve(block, most, sizeof *rows);
        if (t->owners) t->owners[i] = (owner){.entries = table, .rows = rows, .mask = entries - 1};
    }
}

static magpie_status allocate(trainer *t, size_t parts, size_t threads, bool kept) {
    lay_out(t, parts, threads, &t->block);
    magpie_status status = magpie_block_alloc(&t->block);
    if (status != MAGPIE_OK) return status;
    lay_out(t, parts, threads, &t->block);
    lay_out_moments(t->net, kept, &t->moments);
    status = magpie_block_alloc(&t->moments);
    if (status == MAGPIE_OK) lay_out_moments(t->net, kept, &t->moments);
    return status;
}

/* About as many as users, so that between two of them there are few. */
static void set_landmarks(trainer *t) {
    const magpie_likes *likes = t->training->likes;
    size_t n = (size_t)(t->likes >> t->landmark_shift) + 2, user = 0;
    for (size_t i = 0; i < n; i++) {
        while (user + 1 < likes->users && likes->begin[user + 1] <= (uint64_t)i << t->landmark_shift) user++;
        t->landmarks[i] = (uint32_t)user;
    }
}

/* ---- the trainer ---- */

/* What decides how a training goes: likes, those set aside too, content, options, the device, and the
 * first numbers, which are the seed's and of models that it begins from. */
static uint64_t key_of(const magpie_ranker *ranker, const ranker_training *training) {
    const magpie_likes *likes = training->likes;
    const magpie_ranker_content *content = training->content;
    const neural *net = ranker->state;
    const magpie_ranker_options *o = &ranker->options;
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    XXH3_64bits_update(&hash, &o->seed, sizeof o->seed);
    if (o->device.backend != MAGPIE_BACKEND_CPU)
        XXH3_64bits_update(&hash, &o->device.backend, sizeof o->device.backend);
    XXH3_64bits_update(&hash, likes->begin, (likes->users + 1) * sizeof *likes->begin);
    XXH3_64bits_update(&hash, likes->item, likes->begin[likes->users] * sizeof *likes->item);
    if (training->validation)
        XXH3_64bits_update(&hash, training->validation, likes->users * sizeof *training->validation);
    for (size_t i = 0; content && i < content->items && i < likes->items; i++) {
        XXH3_64bits_update(&hash, &i, content->rows[i] ? sizeof i : 0);
        XXH3_64bits_update(&hash, content->rows[i],
                           content->rows[i] ? content->dimension * sizeof(float) : 0);
    }
    for (const magpie_ranker_parameter *p = magpie_ranker_parameters; p->name; p++) {
        const double value = magpie_ranker_parameter_of(o, p);
        XXH3_64bits_update(&hash, &value, p->kinds >> o->kind & 1 ? sizeof value : 0);
    }
    for (const neural_table *t = net->table; t <= net->table + NEURAL_TABLES; t++)
        XXH3_64bits_update(&hash, t->values, t->rows * t->columns * sizeof(float));
    return XXH3_64bits_digest(&hash);
}

static size_t at_least_one(size_t n) { return n ? n : 1; }

/* Cuts likes up into steps of about a batch, and a step into parts; returns how many parts it has at most. */
static size_t cut_up(trainer *t, bool shared) {
    const size_t batch = at_least_one((size_t)t->options->batch / (shared ? 1 : t->pairs)),
                 wanted = shared ? NEURAL_PART : (NEURAL_PAIRS + t->pairs - 1) / t->pairs;
    t->steps = at_least_one((size_t)(t->likes / batch));
    const size_t likes = (size_t)((t->likes + t->steps - 1) / t->steps),
                 parts = (likes + wanted - 1) / wanted;
    t->part_likes = (likes + parts - 1) / parts;
    return parts;
}

static size_t most_likes(const magpie_likes *likes) {
    uint64_t most = 0;
    for (size_t u = 0; u < likes->users; u++)
        if (likes->begin[u + 1] - likes->begin[u] > most) most = likes->begin[u + 1] - likes->begin[u];
    return (size_t)most;
}

magpie_status trainer_create(magpie_ranker *ranker, const ranker_training *training, const bool *has,
                             trainer **out) {
    const magpie_ranker_options *o = &ranker->options;
    trainer *t = magpie_alloc(1, sizeof *t);
    if (!t) return MAGPIE_E_NO_MEMORY;
    *t = (trainer){.ranker = ranker,
                   .net = ranker->state,
                   .training = training,
                   .options = o,
                   .likes = training->likes->begin[training->likes->users],
                   .user_likes = most_likes(training->likes),
                   .pairs = 1 + (size_t)o->negatives,
                   .fixed_out = ranker->info.kind == MAGPIE_RANKER_MF,
                   .owner_count = magpie_pool_threads(training->pool),
                   .began = magpie_seconds()};
    t->numbers = (neural_options){.loss = (magpie_ranker_loss)o->loss,
                                  .dropout = (float)o->dropout,
                                  .drop_user = (float)o->drop_user,
                                  .drop_item = (float)o->drop_item,
                                  .content = training->content};
    const size_t parts = cut_up(t, t->net->shape.heads > 0);
    while (t->likes >> t->landmark_shift > t->net->shape.users) t->landmark_shift++;
    magpie_status status = allocate(t, parts, t->owner_count, training->validation != NULL);
    if (status == MAGPIE_OK) {
        set_landmarks(t);
        fill(ranker, training, has);
        t->state.key = key_of(ranker, training);
        magpie_pool_be_eager(training->pool);
        *out = t;
    } else
        trainer_free(t);
    return status;
}

void trainer_free(trainer *t) {
    if (!t) return;
    neural_gpu_train_close(t->gpu);
    for (size_t i = 0; i <= NEURAL_TABLES; i++)
        t->net->table[i].first = t->net->table[i].second = t->net->table[i].kept = NULL;
    magpie_block_free(&t->moments);
    magpie_block_free(&t->block);
    free(t);
}
