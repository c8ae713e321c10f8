/* audio_encoder.c - an audio encoder: what its folder says about it, and how a file of any length becomes one
 * vector.
 *
 * A worker decodes its own sounds, block by block, and runs a window through the network as soon as its
 * frames are there: what is in memory is a block, a window and the activations, for a second as for ten
 * hours. One sound is run by all threads together.
 *
 * On a GPU workers decode and make windows, of several sounds one after another, and run them in batches
 * on one of two lanes that they share: while one batch runs, others fill theirs. */
#include "audio_architecture.h"
#include "audio_decode.h"
#include "encoders.h"
#include "turns.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    BLOCK = 8192, /* samples: of the model's rate, a fifth to half a second */
    A_TURN = 2,   /* tasks a thread, in one turn */
    LANES = 2,    /* of a GPU */
    A_BATCH = 16, /* windows, on a GPU; else one at a time */
    A_TASK = 16   /* sounds at most, likewise */
};

/* A lane of a GPU, which workers share. */
typedef struct shared_lane {
    audio_lane *lane;
    pthread_mutex_t lock;
} shared_lane;

/* What a thread needs for the sounds of a task; made when first needed. A sound's place is its number in
 * the task. */
typedef struct worker {
    audio_lane *lane;
    shared_lane *shared; /* whose lane it is; NULL: its own */
    audio_decoder *decoder;
    spectrogram *frames;
    float *block;   /* [BLOCK] */
    size_t waiting; /* windows that are full and yet to be run */
    float *windows; /* [batch, frames, bands] */
    float *vectors; /* [batch, dimension] */
    size_t *places; /* [batch]: of whose sound they are */
    float *chances; /* [tags], of a window */
    double *sums;   /* [sounds, dimension or tags]: over the windows of each */
    size_t *counts; /* [sounds]: of windows */
} worker;

struct magpie_audio_encoder {
    turns turns; /* for pool and workers, and packing the weights */
    magpie_audio_encoder_info info;
    char *name;
    bool raw, no_teams; /* options */
    safetensors *file;
    audio_model *model;
    spectrogram_plan *plan;
    const ops_table *ops;
    ops_device *device;
    bool packed;
    magpie_pool *pool;
    shared_lane lanes[LANES]; /* of a GPU, when the weights are packed */
    size_t batch, task;       /* windows and sounds that a worker has room for */
    worker together;          /* all threads */
    worker *workers;          /* [threads] */
};

/* ---- opening ---- */

static magpie_status find_architecture(const model_json *config, const audio_architecture **out) {
    static const audio_architecture *const known[] = {&audio_resnet, &audio_vgg, &audio_ast};
    const char *type;
    magpie_status status = model_json_string(config, "model_type", "", &type);
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(type, known[i]->model_type) == 0) return *out = known[i], MAGPIE_OK;
    return magpie_fail(MAGPIE_E_UNSUPPORTED,
                       "%s: a \"model_type\" of \"%s\" is not that of an audio encoder that is supported",
                       config->path, type);
}

static uint64_t hash_json(const json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
    uint64_t hash = text ? XXH3_64bits(text, strlen(text)) : 0;
    free(text);
    return hash;
}

/* Of the weights and of all that both files of configuration say: what is of no consequence in them is
 * little. */
static magpie_status fill_fingerprint(magpie_audio_encoder *e, const char *directory,
                                      const model_json *config) {
    model_json preprocessor;
    magpie_status status = model_json_open(directory, "preprocessor_config.json", false, &preprocessor);
    if (status != MAGPIE_OK) return status;
    const uint64_t parts[] = {safetensors_fingerprint(e->file), hash_json(config->root),
                              hash_json(preprocessor.root)};
    model_json_close(&preprocessor);
    snprintf(e->info.fingerprint, sizeof e->info.fingerprint, "%016llx",
             (unsigned long long)XXH3_64bits(parts, sizeof parts));
    return MAGPIE_OK;
}

static magpie_status open_model(magpie_audio_encoder *e, const char *directory) {
    const audio_architecture *architecture = NULL;
    spectrogram_config frames;
    model_json config;
    magpie_status status = model_json_open(directory, "config.json", false, &config);
    if (status != MAGPIE_OK) return status;
    char *path = magpie_path_join(directory, "model.safetensors");
    status = path ? find_architecture(&config, &architecture) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = spectrogram_config_read(directory, &frames);
    if (status == MAGPIE_OK) status = spectrogram_plan_create(&frames, &e->plan);
    if (status == MAGPIE_OK) status = safetensors_open(path, &e->file);
    if (status == MAGPIE_OK) status = architecture->open(&config, &frames, e->file, &e->model);
    if (status == MAGPIE_OK) {
        e->model->architecture = architecture;
        status = fill_fingerprint(e, directory, &config);
    }
    free(path);
    model_json_close(&config);
    return status;
}

static void fill_info(magpie_audio_encoder *e, double seconds) {
    const spectrogram_config *c = &e->plan->config;
    magpie_audio_encoder_info *info = &e->info;
    info->name = e->name;
    info->architecture = e->model->architecture->name;
    info->dimension = e->model->dimension;
    info->sample_rate = c->rate;
    info->bands = e->plan->bands;
    info->frames = c->frames;
    info->window_seconds = (double)(c->frames * c->hop) / (double)c->rate;
    info->audio_seconds = seconds > 0 ? seconds : MAGPIE_AUDIO_SECONDS;
    info->layers = e->model->layers;
    for (size_t i = 0; i < safetensors_count(e->file); i++)
        if (safetensors_at(e->file, i)->type != TENSOR_OTHER)
            info->parameters += safetensors_at(e->file, i)->elements;
    info->tags = e->model->tags;
    info->precision = e->ops->device_precision(e->device);
    info->threads = magpie_pool_threads(e->pool);
}

static magpie_status need_network(magpie_audio_encoder *e) {
    const audio_architecture *a = e->model->architecture;
    magpie_status status = MAGPIE_OK;
    if (!e->packed) {
        status = a->pack(e->model, e->ops, e->device, e->pool);
        safetensors_release(e->file);
    }
    e->packed = status == MAGPIE_OK;
    for (size_t i = 0; e->ops->driver && i < LANES && status == MAGPIE_OK; i++)
        if (!e->lanes[i].lane) status = a->lane_create(e->model, 1, e->batch, &e->lanes[i].lane);
    return status;
}

magpie_status magpie_audio_encoder_open(const char *directory, const magpie_encoder_options *options,
                                        magpie_audio_encoder **out) {
    static const magpie_encoder_options defaults = {.precision = MAGPIE_PRECISION_AUTO};
    if (!options) options = &defaults;
    if (options->precision == MAGPIE_PRECISION_INT8)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: int8 is for models of pictures alone", directory);
    magpie_audio_encoder *e = magpie_alloc(1, sizeof *e);
    if (!e) return MAGPIE_E_NO_MEMORY;
    turns_init(&e->turns);
    for (int i = 0; i < LANES; i++) pthread_mutex_init(&e->lanes[i].lock, NULL);
    e->raw = options->raw;
    e->no_teams = options->no_teams;
    e->info.device = options->device;
    magpie_status status = open_model(e, directory);
    if (status == MAGPIE_OK) status = model_name(directory, &e->name);
    if (status == MAGPIE_OK) status = magpie_pool_create(options->threads, &e->pool);
    if (status == MAGPIE_OK) status = ops_open(&e->info.device, options->precision, &e->ops, &e->device);
    if (status == MAGPIE_OK) {
        e->batch = e->ops->driver ? A_BATCH : 1;
        e->task = e->ops->driver ? A_TASK : 1;
        fill_info(e, options->audio_seconds);
        e->workers = magpie_alloc(e->info.threads, sizeof *e->workers);
        if (!e->workers) status = MAGPIE_E_NO_MEMORY;
    }
    if (status == MAGPIE_OK && !options->defer_weights) status = need_network(e);
    if (status == MAGPIE_OK)
        *out = e;
    else
        magpie_audio_encoder_close(e);
    return status;
}

static void clear_worker(const magpie_audio_encoder *e, worker *w) {
    if (w->lane && !w->shared) e->model->architecture->lane_free(w->lane);
    audio_decoder_free(w->decoder);
    spectrogram_free(w->frames);
    free(w->block);
    free(w->windows);
    free(w->vectors);
    free(w->places);
    free(w->chances);
    free(w->sums);
    free(w->counts);
}

void magpie_audio_encoder_close(magpie_audio_encoder *e) {
    if (!e) return;
    for (unsigned i = 0; e->workers && i < e->info.threads; i++) clear_worker(e, &e->workers[i]);
    free(e->workers);
    clear_worker(e, &e->together);
    for (int i = 0; i < LANES; i++) {
        if (e->lanes[i].lane) e->model->architecture->lane_free(e->lanes[i].lane);
        pthread_mutex_destroy(&e->lanes[i].lock);
    }
    if (e->model) e->model->architecture->close(e->model);
    if (e->device) e->ops->device_free(e->device);
    spectrogram_plan_free(e->plan);
    safetensors_close(e->file);
    magpie_pool_free(e->pool);
    free(e->name);
    turns_destroy(&e->turns);
    free(e);
}

const magpie_audio_encoder_info *magpie_audio_encoder_get_info(const magpie_audio_encoder *e) {
    return &e->info;
}

const char *magpie_audio_encoder_tag(const magpie_audio_encoder *e, size_t i) { return e->model->tag[i]; }

/* ---- a sound ---- */

/* Where the samples come from. */
typedef struct source {
    const magpie_media *sound; /* NULL: samples [left] */
    const float *samples;
    size_t left;
} source;

/* A lane of its own, of `threads`, but on a GPU number `index` of those that are shared. */
static magpie_status prepare_worker(magpie_audio_encoder *e, worker *w, unsigned threads, unsigned index) {
    const magpie_audio_encoder_info *info = &e->info;
    w->waiting = 0;
    if (w->lane) return MAGPIE_OK;
    size_t widest = info->tags > info->dimension ? info->tags : info->dimension;
    clear_worker(e, w); /* of an attempt that failed in the middle */
    *w = (worker){.shared = e->ops->driver ? &e->lanes[index % LANES] : NULL,
                  .block = magpie_alloc(BLOCK, sizeof *w->block),
                  .windows = magpie_alloc(e->batch, info->frames * info->bands * sizeof *w->windows),
                  .vectors = magpie_alloc(e->batch, info->dimension * sizeof *w->vectors),
                  .places = magpie_alloc(e->batch, sizeof *w->places),
                  .chances = magpie_alloc(info->tags, sizeof *w->chances),
                  .sums = magpie_alloc(e->task, widest * sizeof *w->sums),
                  .counts = magpie_alloc(e->task, sizeof *w->counts)};
    if (!w->block || !w->windows || !w->vectors || !w->places || !w->chances || !w->sums || !w->counts)
        return MAGPIE_E_NO_MEMORY;
    magpie_status status = audio_decoder_create(info->sample_rate, &w->decoder);
    if (status == MAGPIE_OK) status = spectrogram_create(e->plan, &w->frames);
    if (status != MAGPIE_OK) return status;
    if (w->shared) return w->lane = w->shared->lane, MAGPIE_OK;
    return e->model->architecture->lane_create(e->model, threads, e->batch, &w->lane);
}

static size_t sum_size(const magpie_audio_encoder *e, bool tags) {
    return tags ? e->info.tags : e->info.dimension;
}

/* Runs the windows that wait and adds their vectors, or their tags, to the sums of their sounds. */
static magpie_status hear_waiting(const magpie_audio_encoder *e, worker *w, bool tags) {
    const audio_architecture *a = e->model->architecture;
    const size_t n = sum_size(e, tags);
    if (w->waiting == 0) return MAGPIE_OK;
    if (w->shared) pthread_mutex_lock(&w->shared->lock);
    magpie_status status = a->run(w->lane, w->windows, w->waiting, w->vectors);
    for (size_t k = 0; k < w->waiting && status == MAGPIE_OK; k++) {
        const float *vector = w->vectors + k * e->info.dimension, *of_window = tags ? w->chances : vector;
        double *sum = w->sums + w->places[k] * n;
        if (tags) status = a->tell(w->lane, vector, w->chances);
        for (size_t i = 0; i < n && status == MAGPIE_OK; i++) sum[i] += (double)of_window[i];
    }
    if (w->shared) pthread_mutex_unlock(&w->shared->lock);
    w->waiting = 0;
    return status;
}

/* The window of the first `count` frames, of the sound at `place`. */
static magpie_status hear_window(const magpie_audio_encoder *e, worker *w, const float *frames, size_t count,
                                 bool tags, size_t place) {
    spectrogram_window(e->plan, frames, count, w->windows + w->waiting * e->info.frames * e->info.bands);
    w->places[w->waiting++] = place;
    w->counts[place]++;
    return w->waiting == e->batch ? hear_waiting(e, w, tags) : MAGPIE_OK;
}

/* All whole windows that are ready. */
static magpie_status hear_ready(const magpie_audio_encoder *e, worker *w, bool tags, size_t place) {
    magpie_status status = MAGPIE_OK;
    size_t ready, used = 0, each = e->info.frames;
    const float *frames = spectrogram_ready(w->frames, &ready);
    for (; ready - used >= each && status == MAGPIE_OK; used += each)
        status = hear_window(e, w, frames + used * e->info.bands, each, tags, place);
    if (used) spectrogram_drop(w->frames, used);
    return status;
}

static magpie_status read_block(worker *w, source *s, const float **samples, size_t *count) {
    *samples = s->sound ? w->block : s->samples;
    if (s->sound) return audio_decoder_read(w->decoder, w->block, BLOCK, count);
    *count = s->left < BLOCK ? s->left : BLOCK;
    s->samples += *count;
    s->left -= *count;
    return MAGPIE_OK;
}

static magpie_status hear_samples(const magpie_audio_encoder *e, worker *w, source *s, bool tags,
                                  size_t place) {
    const float *samples;
    size_t count;
    for (;;) {
        magpie_status status = read_block(w, s, &samples, &count);
        if (status != MAGPIE_OK) return status;
        if (count == 0) break;
        status = spectrogram_push(w->frames, samples, count);
        if (status == MAGPIE_OK) status = hear_ready(e, w, tags, place);
        if (status != MAGPIE_OK) return status;
    }
    magpie_status status = spectrogram_finish(w->frames);
    return status == MAGPIE_OK ? hear_ready(e, w, tags, place) : status;
}

/* A sound's windows; some of them may wait. */
static magpie_status listen(const magpie_audio_encoder *e, worker *w, source s, bool tags, size_t place) {
    size_t rest, n = sum_size(e, tags);
    memset(w->sums + place * n, 0, n * sizeof *w->sums);
    w->counts[place] = 0;
    spectrogram_begin(w->frames);
    magpie_status status =
        s.sound ? audio_decoder_open(w->decoder, s.sound, e->info.audio_seconds) : MAGPIE_OK;
    if (status == MAGPIE_OK) status = hear_samples(e, w, &s, tags, place);
    if (status != MAGPIE_OK || w->counts[place] > 0) return status;
    const float *frames = spectrogram_ready(w->frames, &rest);
    if (rest == 0) return magpie_fail(MAGPIE_E_INPUT, "no samples");
    return hear_window(e, w, frames, rest, tags, place);
}

/* The mean over a sound's windows, none of which waits, into out [dimension], or with `tags` [tags]. */
static magpie_status conclude(const magpie_audio_encoder *e, const worker *w, bool tags, size_t place,
                              float *out) {
    const size_t n = sum_size(e, tags);
    const double *sum = w->sums + place * n;
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        double mean = sum[i] / (double)w->counts[place];
        if (!isfinite(mean)) return magpie_fail(MAGPIE_E_INPUT, "its samples are beyond all measure");
        squares += mean * mean;
        out[i] = (float)mean;
    }
    /* The floor is torch.nn.functional.normalize's. */
    double length = tags || e->raw ? 1 : fmax(sqrt(squares), 1e-12);
    for (size_t i = 0; i < n; i++) out[i] = (float)((double)out[i] / length);
    return MAGPIE_OK;
}

/* ---- many sounds ---- */

typedef struct call {
    magpie_audio_encoder *encoder;
    const magpie_media *sounds;
    size_t first, count, each; /* of this turn, and of one of its tasks */
    float *out;
    magpie_outcome *outcomes;
} call;

/* Whether a failure is the sound's own, and the next one may be fine. */
static bool is_of_the_sound(magpie_status status) {
    return status != MAGPIE_E_NO_MEMORY && status != MAGPIE_E_INTERNAL;
}

/* What has become of sound i so far. */
static magpie_status note(const call *c, size_t i, magpie_status status) {
    const magpie_audio_encoder *e = c->encoder;
    if (c->outcomes) c->outcomes[i] = (magpie_outcome){.status = status};
    if (status == MAGPIE_OK) return status;
    if (!c->outcomes || !is_of_the_sound(status))
        return magpie_fail(status, "sound %zu: %s", i, magpie_error());
    snprintf(c->outcomes[i].reason, sizeof c->outcomes[i].reason, "%s", magpie_error());
    memset(c->out + i * e->info.dimension, 0, e->info.dimension * sizeof *c->out);
    return MAGPIE_OK;
}

/* `n` sounds from number `first` on. */
static magpie_status encode_some(const call *c, size_t first, size_t n, worker *w) {
    const magpie_audio_encoder *e = c->encoder;
    magpie_status status = MAGPIE_OK;
    for (size_t k = 0; k < n && status == MAGPIE_OK; k++)
        status = note(c, first + k, listen(e, w, (source){.sound = &c->sounds[first + k]}, false, k));
    if (status == MAGPIE_OK) status = hear_waiting(e, w, false);
    for (size_t i = first; i < first + n && status == MAGPIE_OK; i++)
        if (!c->outcomes || c->outcomes[i].status == MAGPIE_OK)
            status = note(c, i, conclude(e, w, false, i - first, c->out + i * e->info.dimension));
    return status;
}

static magpie_status encode_task(void *context, size_t task, unsigned index) {
    const call *c = context;
    worker *w = &c->encoder->workers[index];
    const size_t from = task * c->each, n = c->count - from < c->each ? c->count - from : c->each;
    magpie_status status = prepare_worker(c->encoder, w, 1, index);
    return status == MAGPIE_OK ? encode_some(c, c->first + from, n, w) : status;
}

/* The worker that all threads are. */
static magpie_status need_together(magpie_audio_encoder *e) {
    magpie_status status = need_network(e);
    return status == MAGPIE_OK ? prepare_worker(e, &e->together, e->info.threads, 0) : status;
}

/* One sound, by all threads together. */
static magpie_status hear_together(magpie_audio_encoder *e, source s, bool tags, float *out) {
    turns_take(&e->turns);
    magpie_status status = need_together(e);
    if (status == MAGPIE_OK) status = listen(e, &e->together, s, tags, 0);
    if (status == MAGPIE_OK) status = hear_waiting(e, &e->together, tags);
    if (status == MAGPIE_OK) status = conclude(e, &e->together, tags, 0, out);
    turns_give(&e->turns);
    return status;
}

magpie_status magpie_audio_encoder_encode(magpie_audio_encoder *e, const magpie_media *sounds, size_t n,
                                          float *out, magpie_outcome *outcomes) {
    call c = {.encoder = e, .sounds = sounds, .out = out, .outcomes = outcomes};
    const size_t threads = e->info.threads, most = threads * A_TURN * e->task;
    const bool together = n == 1 && !e->no_teams;
    magpie_status status = MAGPIE_OK;
    for (; c.first < n && status == MAGPIE_OK; c.first += c.count) {
        c.count = n - c.first < most ? n - c.first : most;
        c.each = (c.count + threads - 1) / threads; /* all threads have some */
        if (c.each > e->task) c.each = e->task;
        turns_take(&e->turns);
        status = together ? need_together(e) : need_network(e);
        if (status == MAGPIE_OK)
            status = together ? encode_some(&c, 0, 1, &e->together)
                              : magpie_pool_run(e->pool, (c.count + c.each - 1) / c.each, encode_task, &c);
        turns_give(&e->turns);
    }
    return status;
}

magpie_status magpie_audio_encoder_encode_samples(magpie_audio_encoder *e, const float *samples, size_t count,
                                                  float *out) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(samples[i])) return magpie_fail(MAGPIE_E_INPUT, "sample %zu is not a finite number", i);
    return hear_together(e, (source){.samples = samples, .left = count}, false, out);
}

magpie_status magpie_audio_encoder_tags(magpie_audio_encoder *e, const magpie_media *sound, float *out) {
    if (!e->info.tags)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s has no tags: it makes vectors alone", e->info.name);
    return hear_together(e, (source){.sound = sound}, true, out);
}

magpie_status magpie_audio_encoder_check(magpie_audio_encoder *e, const magpie_media *sound) {
    audio_decoder *decoder = NULL;
    float *block = magpie_alloc(BLOCK, sizeof *block);
    size_t count, all = 0;
    magpie_status status = block ? audio_decoder_create(e->info.sample_rate, &decoder) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = audio_decoder_open(decoder, sound, e->info.audio_seconds);
    while (status == MAGPIE_OK && (status = audio_decoder_read(decoder, block, BLOCK, &count)) == MAGPIE_OK &&
           count)
        all += count;
    if (status == MAGPIE_OK && !all) status = magpie_fail(MAGPIE_E_INPUT, "no samples");
    audio_decoder_free(decoder);
    free(block);
    return status;
}
