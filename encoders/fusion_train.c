/* fusion_train.c - the training of heads, epoch after epoch (encoders.h, "training the heads"). */
#include "fusion_training.h"
#include "trained_files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static const double state_seconds = 2; /* between writings of the state: a part of what an epoch takes */

enum { SHUFFLING = 1, DROPPING = 2 /* streams of seeded numbers */, HIGHEST_SCALE = 100 /* as of CLIP */ };

typedef struct training {
    const magpie_fusion_data *data;
    const magpie_fusion_train_options *options;
    magpie_fusion_progress progress;
    void *context;
    fusion_layout layout;
    fusion_items items, ready;            /* ready: the same with numbers, of what is trained on */
    uint16_t *numbers;                    /* of all of these */
    uint32_t *train, *validation, *order; /* order: train, as this epoch has it */
    size_t train_count, validation_count, held_out;
    size_t batches; /* of an epoch */
    bool bf16;
    magpie_pool *pool;
    fusion_network *network;
    fusion_state state;
    float *gradient;
    char *state_path;
    double written; /* when the state was */
} training;

magpie_fusion_train_options magpie_fusion_train_defaults(void) {
    return (magpie_fusion_train_options){.kind = "linear",
                                         .dimension = 384,
                                         .epochs = 60,
                                         .batch = 512,
                                         .patience = 12,
                                         .rate = 1e-3,
                                         .weight_decay = 0.1,
                                         .dropout = 0.1,
                                         .clip = 1,
                                         .temperature = 0.07,
                                         .warm_up = 0.05,
                                         .precision = MAGPIE_PRECISION_AUTO,
                                         .seed = 1,
                                         .validation = 10};
}

/* ---- what is trained on ---- */

static magpie_status check_options(const magpie_fusion_train_options *o) {
    static const char *const kinds[] = {"linear", "residual"};
    if (!o->kind) return magpie_fail(MAGPIE_E_ARGUMENT, "heads of no kind: begin with the defaults");
    if (strcmp(o->kind, kinds[0]) != 0 && strcmp(o->kind, kinds[1]) != 0)
        return magpie_fail(MAGPIE_E_ARGUMENT, "heads are linear or residual, not \"%s\"", o->kind);
    if (o->dimension < 1 || o->dimension > FUSION_DIMENSION_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a space of %zu dimensions", o->dimension);
    if (o->epochs < 1 || o->batch < 2 || o->batch > FUSION_BATCH_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%zu epochs of batches of %zu items (2 to %d)", o->epochs,
                           o->batch, FUSION_BATCH_MAX);
    if (o->precision != MAGPIE_PRECISION_AUTO && o->precision != MAGPIE_PRECISION_F32)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "heads are trained in f32, or in what is automatic");
    if (o->validation % 5 != 0)
        return magpie_fail(MAGPIE_E_ARGUMENT, "one title in %zu for validation: a multiple of 5 is wanted",
                           o->validation);
    if (!(o->rate > 0 && o->rate <= 1) || !(o->weight_decay >= 0 && o->weight_decay * o->rate < 1) ||
        !(o->dropout >= 0 && o->dropout < 1) || !(o->clip > 0) || !(o->warm_up >= 0 && o->warm_up <= 1) ||
        !(o->temperature >= 1.0 / HIGHEST_SCALE && o->temperature <= 100))
        return magpie_fail(
            MAGPIE_E_ARGUMENT,
            "a rate of %g (up to 1), a weight decay of %g, a dropout of %g (below 1), a gradient's length "
            "of %g, a warm-up of %g (up to 1) or a temperature of %g (0.01 to 100) makes no sense",
            o->rate, o->weight_decay, o->dropout, o->clip, o->warm_up, o->temperature);
    return MAGPIE_OK;
}

static size_t modalities_of(const training *t, size_t item) {
    size_t count = 0;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        count += t->items.features[m] && t->items.features[m][item];
    return count;
}

/* Who is trained on, who is for validation. */
static magpie_status part_items(training *t) {
    const magpie_fusion_train_options *o = t->options;
    size_t n = t->data->n;
    t->train = magpie_alloc(3 * n, sizeof *t->train);
    if (!t->train) return MAGPIE_E_NO_MEMORY;
    t->validation = t->train + n;
    t->order = t->validation + n;
    for (size_t i = 0; i < n; i++) {
        uint64_t title = t->data->titles[i];
        if (modalities_of(t, i) < 2) continue;
        if (o->validation && title % o->validation == 1)
            t->validation[t->validation_count++] = (uint32_t)i;
        else if (o->all || !magpie_title_held_out(title))
            t->train[t->train_count++] = (uint32_t)i;
        else
            t->held_out++;
    }
    t->batches = (t->train_count + o->batch - 1) / o->batch;
    if (t->train_count >= 2) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_INPUT,
                       "%zu items with two modalities or more to train on: there is nothing to align",
                       t->train_count);
}

static magpie_status take_data(training *t) {
    size_t input[MAGPIE_MODALITIES] = {0};
    fusion_kind kind = strcmp(t->options->kind, "linear") == 0 ? FUSION_LINEAR : FUSION_RESIDUAL;
    if (t->data->n > INT32_MAX) return magpie_fail(MAGPIE_E_TOO_LARGE, "%zu items to train on", t->data->n);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        if (!t->data->features[m]) continue;
        input[m] = t->data->source[m].dimension;
        if (input[m] < 1 || input[m] > FUSION_DIMENSION_MAX)
            return magpie_fail(MAGPIE_E_ARGUMENT, "%s: vectors of %zu numbers",
                               magpie_modality_name((magpie_modality)m), input[m]);
        t->items.features[m] = t->data->features[m];
    }
    t->items.titles = t->data->titles;
    t->bf16 = t->options->precision == MAGPIE_PRECISION_AUTO && fusion_has_bf16();
    t->layout = fusion_layout_of(kind, t->options->dimension, input);
    if (t->options->keep_text && input[MAGPIE_TEXT] != t->options->dimension)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "texts can be kept as they are in a space of their own %zu dimensions, not of %zu",
                           input[MAGPIE_TEXT], t->options->dimension);
    return part_items(t);
}

/* Features do not change from epoch to epoch: bf16 is made of them once. */
static magpie_status make_numbers(training *t) {
    const fusion_training_kernels *kernels = fusion_training_kernels_level(0);
    size_t size = 0;
    t->ready = t->items;
    if (!t->bf16) return MAGPIE_OK;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        for (size_t i = 0; i < t->train_count && t->layout.input[m]; i++)
            if (t->items.features[m][t->train[i]]) size += t->layout.input[m];
    t->numbers = magpie_alloc_large(size, sizeof *t->numbers);
    if (!t->numbers) return MAGPIE_E_NO_MEMORY;
    uint16_t *next = t->numbers;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        size_t input = t->layout.input[m];
        if (!input) continue;
        t->ready.numbers[m] = magpie_alloc(t->data->n, sizeof *t->ready.numbers[m]);
        if (!t->ready.numbers[m]) return MAGPIE_E_NO_MEMORY;
        for (size_t i = 0; i < t->train_count; i++) {
            const float *x = t->items.features[m][t->train[i]];
            if (!x) continue;
            kernels->narrow(x, fusion_enlarged(input, (float)t->options->dropout), input, next);
            t->ready.numbers[m][t->train[i]] = next;
            next += input;
        }
    }
    return MAGPIE_OK;
}

/* What a state is a state of: everything that the result depends on. */
static uint64_t key_of(const training *t) {
    const magpie_fusion_train_options *o = t->options;
    const double numbers[] = {o->rate, o->weight_decay, o->dropout, o->clip, o->temperature, o->warm_up};
    const uint64_t counts[] = {t->layout.kind, o->dimension, o->epochs, o->batch,   o->patience, o->seed,
                               o->validation,  o->all,       t->bf16,   t->data->n, o->keep_text};
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    XXH3_64bits_update(&hash, numbers, sizeof numbers);
    XXH3_64bits_update(&hash, counts, sizeof counts);
    XXH3_64bits_update(&hash, t->layout.input, sizeof t->layout.input);
    XXH3_64bits_update(&hash, t->data->titles, t->data->n * sizeof *t->data->titles);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        for (size_t i = 0; t->layout.input[m] && i < t->data->n; i++) {
            const float *x = t->items.features[m][i];
            XXH3_64bits_update(&hash, x ? (const void *)x : (const void *)&m,
                               x ? t->layout.input[m] * sizeof *x : 1);
        }
    return XXH3_64bits_digest(&hash);
}

/* ---- an epoch ---- */

static void shuffle(training *t, size_t epoch) {
    uint64_t state = magpie_seed(magpie_seed(t->options->seed, SHUFFLING), epoch);
    memcpy(t->order, t->train, t->train_count * sizeof *t->order);
    for (size_t i = t->train_count; i > 1; i--) {
        size_t other = (size_t)(magpie_random(&state) % i);
        uint32_t kept = t->order[i - 1];
        t->order[i - 1] = t->order[other];
        t->order[other] = kept;
    }
}

static double rate_at(const training *t, uint64_t step) {
    double steps = (double)(t->batches * t->options->epochs), warm = fmax(1, t->options->warm_up * steps),
           at = (double)step;
    if (at < warm) return t->options->rate * (at + 1) / warm;
    return t->options->rate * 0.5 * (1 + cos(acos(-1) * (at - warm) / fmax(1, steps - warm)));
}

/* Adam moves nothing whose gradient was always 0; what decays is drawn in by one factor, which is no other
 * direction. */
static void leave_texts(const training *t) {
    const fusion_layout *l = &t->layout;
    size_t d = l->dimension;
    memset(t->gradient + l->matrix[MAGPIE_TEXT], 0, d * d * sizeof *t->gradient);
    memset(t->gradient + l->bias[MAGPIE_TEXT], 0, d * sizeof *t->gradient);
    if (l->kind != FUSION_RESIDUAL) return;
    memset(t->gradient + l->inner[MAGPIE_TEXT], 0, d * d * sizeof *t->gradient);
    memset(t->gradient + l->inner_bias[MAGPIE_TEXT], 0, d * sizeof *t->gradient);
}

static magpie_status run_step(training *t, const fusion_batch *batch, double *loss) {
    fusion_state *s = &t->state;
    double length;
    magpie_status status = fusion_network_loss(t->network, batch, s->parameters, t->gradient, loss);
    if (status != MAGPIE_OK) return status;
    if (t->options->keep_text) leave_texts(t);
    status =
        fusion_adam_step(&s->adam, &t->layout, t->pool, rate_at(t, s->adam.step), t->options->weight_decay,
                         t->options->clip, t->gradient, s->parameters, &length);
    if (status != MAGPIE_OK) return status;
    float *scale = &s->parameters[t->layout.scale], highest = logf(HIGHEST_SCALE);
    if (*scale > highest) *scale = highest;
    if (isfinite(*loss) && isfinite(length)) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_INPUT,
                       "the training has run away in step %llu (a loss of %g): a lower rate may help",
                       (unsigned long long)s->adam.step, *loss);
}

static magpie_status run_batches(training *t, size_t epoch, double *loss) {
    *loss = 0;
    shuffle(t, epoch);
    for (size_t b = 0; b < t->batches; b++) {
        size_t first = b * t->train_count / t->batches, end = (b + 1) * t->train_count / t->batches;
        const fusion_batch batch = {
            .of = &t->ready,
            .items = t->order + first,
            .n = end - first,
            .dropout = (float)t->options->dropout,
            .noise = magpie_seed(magpie_seed(t->options->seed, DROPPING), t->state.adam.step)};
        double one;
        magpie_status status = run_step(t, &batch, &one);
        if (status != MAGPIE_OK) return status;
        *loss += one * (double)batch.n / (double)t->train_count;
    }
    return MAGPIE_OK;
}

static magpie_status measure(training *t, double *recall) {
    *recall = 0;
    if (!t->validation_count) return MAGPIE_OK;
    return fusion_recall(t->network, &t->items, t->validation, t->validation_count, t->state.parameters,
                         t->pool, recall);
}

/* The weights of modalities as they are written: the largest is 1. */
static void weights_of(const training *t, const float *parameters, float weights[MAGPIE_MODALITIES]) {
    const float *logs = parameters + t->layout.weight;
    float largest = -INFINITY;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        if (t->layout.input[m]) largest = fmaxf(largest, logs[m]);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        weights[m] = t->layout.input[m] ? expf(logs[m] - largest) : 0;
}

static magpie_status run_epoch(training *t) {
    fusion_state *s = &t->state;
    magpie_fusion_epoch *e = &s->curve[s->epoch];
    double start = magpie_seconds();
    memset(e, 0, sizeof *e); /* its padding is written to the state, too */
    e->epoch = s->epoch + 1;
    e->epochs = s->epochs;
    e->rate = rate_at(t, s->adam.step + t->batches - 1);
    magpie_status status = run_batches(t, e->epoch, &e->loss);
    if (status == MAGPIE_OK) status = measure(t, &e->recall);
    if (status != MAGPIE_OK) return status;
    e->temperature = exp(-(double)s->parameters[t->layout.scale]);
    weights_of(t, s->parameters, e->weights);
    e->best = !t->validation_count || !s->best || e->recall > s->curve[s->best - 1].recall;
    if (e->best) memcpy(s->kept, s->parameters, s->count * sizeof *s->kept);
    if (e->best) s->best = e->epoch;
    s->epoch++;
    e->seconds = magpie_seconds() - start;
    return MAGPIE_OK;
}

/* ---- all of them ---- */

static magpie_status write_state(training *t) {
    t->written = magpie_seconds();
    return fusion_state_write(&t->state, t->state_path);
}

static magpie_status tell(const training *t, size_t epoch, bool resumed) {
    magpie_fusion_epoch e = t->state.curve[epoch];
    e.resumed = resumed;
    return t->progress ? t->progress(t->context, &e) : MAGPIE_OK;
}

static bool is_over(const training *t) {
    const fusion_state *s = &t->state;
    size_t patience = t->validation_count ? t->options->patience : 0;
    return s->epoch == s->epochs || (patience && s->best && s->epoch - s->best >= patience);
}

static magpie_status begin(training *t) {
    fusion_state *s = &t->state;
    if (t->options->resume && magpie_path_exists(t->state_path)) {
        magpie_status status = fusion_state_read(s, t->state_path);
        for (size_t i = 0; i < s->epoch && status == MAGPIE_OK; i++) status = tell(t, i, true);
        return status;
    }
    fusion_initialise(&t->layout, t->options->seed, (float)t->options->temperature, s->parameters);
    return measure(t, &s->first_recall);
}

/* Where the caller stops it, it can go on later: the state is written before that is passed on, in the
 * words of the caller. */
static magpie_status stop(training *t, magpie_status status) {
    char *words = strdup(magpie_error());
    magpie_status written = write_state(t);
    if (written == MAGPIE_OK) written = magpie_fail(status, "%s", words ? words : "");
    free(words);
    return written;
}

static magpie_status run_all(training *t) {
    magpie_status status = begin(t);
    t->written = magpie_seconds();
    while (status == MAGPIE_OK && !is_over(t)) {
        status = run_epoch(t);
        if (status != MAGPIE_OK) break;
        status = tell(t, t->state.epoch - 1, false);
        if (status != MAGPIE_OK) return stop(t, status);
        if (magpie_seconds() - t->written > state_seconds) status = write_state(t);
    }
    return status;
}

/* ---- what has come of it ---- */

static void copy_heads(const training *t, const float *p, fusion_heads *heads) {
    const fusion_layout *l = &t->layout;
    size_t d = l->dimension;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        fusion_head *h = &heads->head[m];
        if (h->matrix) memcpy(h->matrix, p + l->matrix[m], d * l->input[m] * sizeof *p);
        if (h->bias) memcpy(h->bias, p + l->bias[m], d * sizeof *p);
        if (h->inner) memcpy(h->inner, p + l->inner[m], d * d * sizeof *p);
        if (h->inner_bias) memcpy(h->inner_bias, p + l->inner_bias[m], d * sizeof *p);
    }
}

static magpie_status write_model(const training *t, const char *directory) {
    const float *p = t->state.kept;
    float weights[MAGPIE_MODALITIES];
    fusion_heads heads = {.dimension = t->layout.dimension, .temperature = expf(-p[t->layout.scale])};
    weights_of(t, p, weights);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        const char *fingerprint = t->data->source[m].fingerprint;
        if (!t->layout.input[m]) continue;
        bool kept = t->options->keep_text && m == MAGPIE_TEXT;
        heads.head[m] = (fusion_head){.kind = kept ? FUSION_IDENTITY : t->layout.kind,
                                      .input = t->layout.input[m],
                                      .weight = weights[m]};
        if (fingerprint) snprintf(heads.head[m].encoder, sizeof heads.head[m].encoder, "%s", fingerprint);
    }
    magpie_status status = fusion_heads_alloc(&heads);
    if (status == MAGPIE_OK) {
        copy_heads(t, p, &heads);
        status = fusion_files_write(directory, &heads, !t->options->f32);
    }
    fusion_heads_free(&heads);
    return status;
}

static void report_on(const training *t, magpie_fusion_report *out) {
    const fusion_state *s = &t->state;
    *out = (magpie_fusion_report){.training = t->train_count,
                                  .validation = t->validation_count,
                                  .held_out = t->held_out,
                                  .epochs = s->epoch,
                                  .best_epoch = s->best,
                                  .loss = s->curve[s->best - 1].loss,
                                  .recall = s->curve[s->best - 1].recall,
                                  .first_recall = s->first_recall,
                                  .parameters = s->count};
}

static magpie_status prepare(training *t, const char *directory) {
    size_t most = t->options->batch < t->train_count ? t->options->batch : t->train_count;
    magpie_status status = trained_make_folder(directory);
    if (status != MAGPIE_OK) return status;
    t->state_path = magpie_path_join(directory, "training.state");
    t->gradient = magpie_alloc_large(t->layout.count, sizeof *t->gradient);
    if (!t->state_path || !t->gradient) return MAGPIE_E_NO_MEMORY;
    status = make_numbers(t);
    if (status == MAGPIE_OK)
        status = fusion_state_create(key_of(t), t->layout.count, t->options->epochs, &t->state);
    if (status == MAGPIE_OK) status = magpie_pool_create(t->options->threads, &t->pool);
    if (status == MAGPIE_OK) magpie_pool_be_eager(t->pool);
    return status == MAGPIE_OK ? fusion_network_create(&t->layout, most, t->bf16, t->pool, &t->network)
                               : status;
}

magpie_status magpie_fusion_train(const magpie_fusion_data *data, const magpie_fusion_train_options *options,
                                  const char *directory, magpie_fusion_progress progress, void *context,
                                  magpie_fusion_report *report) {
    training t = {.data = data, .options = options, .progress = progress, .context = context};
    magpie_status status = check_options(options);
    if (status == MAGPIE_OK) status = take_data(&t);
    if (status == MAGPIE_OK) status = prepare(&t, directory);
    if (status == MAGPIE_OK) status = run_all(&t);
    if (status == MAGPIE_OK) status = write_model(&t, directory);
    if (status == MAGPIE_OK) unlink(t.state_path);
    if (status == MAGPIE_OK && report) report_on(&t, report);
    fusion_network_free(t.network);
    magpie_pool_free(t.pool);
    fusion_state_free(&t.state);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) free(t.ready.numbers[m]);
    free(t.numbers);
    free(t.state_path);
    free(t.gradient);
    free(t.train);
    return status;
}
