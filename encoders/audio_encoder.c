/* audio_encoder.c - an audio encoder: what its folder says about it, and how a file of any length becomes
 * one vector.
 *
 * A worker decodes its own sounds, block by block, and runs a window through the network as soon as its
 * frames are there: what is in memory is a block, a window and the activations, for a second as for ten
 * hours. One sound is run by all threads together. */
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
    A_TURN = 2    /* sounds a thread, in one turn */
};

/* What a thread needs for one sound at a time; made when first needed. */
typedef struct worker {
    audio_lane *lane;
    audio_decoder *decoder;
    spectrogram *frames;
    float *block;   /* [BLOCK] */
    float *window;  /* [frames, bands] */
    float *vector;  /* [dimension], of a window */
    float *chances; /* [tags], of a window */
    double *sum;    /* [dimension or tags], over the windows */
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
    worker together; /* all threads */
    worker *workers; /* [threads] */
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
    if (e->packed) return MAGPIE_OK;
    magpie_status status = e->model->architecture->pack(e->model, e->ops, e->device, e->pool);
    e->packed = status == MAGPIE_OK;
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
    e->raw = options->raw;
    e->no_teams = options->no_teams;
    e->info.device = options->device;
    magpie_status status = open_model(e, directory);
    if (status == MAGPIE_OK) status = model_name(directory, &e->name);
    if (status == MAGPIE_OK) status = magpie_pool_create(options->threads, &e->pool);
    if (status == MAGPIE_OK) status = ops_open(&e->info.device, options->precision, &e->ops, &e->device);
    if (status == MAGPIE_OK) {
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
    if (w->lane) e->model->architecture->lane_free(w->lane);
    audio_decoder_free(w->decoder);
    spectrogram_free(w->frames);
    free(w->block);
    free(w->window);
    free(w->vector);
    free(w->chances);
    free(w->sum);
}

void magpie_audio_encoder_close(magpie_audio_encoder *e) {
    if (!e) return;
    for (unsigned i = 0; e->workers && i < e->info.threads; i++) clear_worker(e, &e->workers[i]);
    free(e->workers);
    clear_worker(e, &e->together);
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

static magpie_status prepare_worker(const magpie_audio_encoder *e, worker *w, unsigned threads) {
    const magpie_audio_encoder_info *info = &e->info;
    if (w->lane) return MAGPIE_OK;
    size_t widest = info->tags > info->dimension ? info->tags : info->dimension;
    clear_worker(e, w); /* of an attempt that failed in the middle */
    *w = (worker){.block = magpie_alloc(BLOCK, sizeof *w->block),
                  .window = magpie_alloc(info->frames * info->bands, sizeof *w->window),
                  .vector = magpie_alloc(info->dimension, sizeof *w->vector),
                  .chances = magpie_alloc(info->tags, sizeof *w->chances),
                  .sum = magpie_alloc(widest, sizeof *w->sum)};
    if (!w->block || !w->window || !w->vector || !w->chances || !w->sum) return MAGPIE_E_NO_MEMORY;
    magpie_status status = audio_decoder_create(info->sample_rate, &w->decoder);
    if (status == MAGPIE_OK) status = spectrogram_create(e->plan, &w->frames);
    return status == MAGPIE_OK ? e->model->architecture->lane_create(e->model, threads, &w->lane) : status;
}

/* Runs the window of the first `count` frames and adds its vector, or its tags, to the sum. */
static magpie_status hear_window(const magpie_audio_encoder *e, worker *w, const float *frames, size_t count,
                                 bool tags) {
    const audio_architecture *a = e->model->architecture;
    spectrogram_window(e->plan, frames, count, w->window);
    magpie_status status = a->run(w->lane, w->window, w->vector);
    if (status == MAGPIE_OK && tags) status = a->tell(w->lane, w->vector, w->chances);
    const float *of_window = tags ? w->chances : w->vector;
    size_t n = tags ? e->info.tags : e->info.dimension;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) w->sum[i] += (double)of_window[i];
    return status;
}

/* All whole windows that are ready. */
static magpie_status hear_ready(const magpie_audio_encoder *e, worker *w, bool tags, size_t *windows) {
    magpie_status status = MAGPIE_OK;
    size_t ready, used = 0, each = e->info.frames;
    const float *frames = spectrogram_ready(w->frames, &ready);
    for (; ready - used >= each && status == MAGPIE_OK; used += each, ++*windows)
        status = hear_window(e, w, frames + used * e->info.bands, each, tags);
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
                                  size_t *windows) {
    const float *samples;
    size_t count;
    for (;;) {
        magpie_status status = read_block(w, s, &samples, &count);
        if (status != MAGPIE_OK) return status;
        if (count == 0) break;
        status = spectrogram_push(w->frames, samples, count);
        if (status == MAGPIE_OK) status = hear_ready(e, w, tags, windows);
        if (status != MAGPIE_OK) return status;
    }
    magpie_status status = spectrogram_finish(w->frames);
    return status == MAGPIE_OK ? hear_ready(e, w, tags, windows) : status;
}

/* The mean over the windows into out [dimension], or with `tags` [tags]. */
static magpie_status hear(const magpie_audio_encoder *e, worker *w, source s, bool tags, float *out) {
    size_t windows = 0, rest, n = tags ? e->info.tags : e->info.dimension;
    memset(w->sum, 0, n * sizeof *w->sum);
    spectrogram_begin(w->frames);
    magpie_status status =
        s.sound ? audio_decoder_open(w->decoder, s.sound, e->info.audio_seconds) : MAGPIE_OK;
    if (status == MAGPIE_OK) status = hear_samples(e, w, &s, tags, &windows);
    if (status == MAGPIE_OK && windows == 0) {
        const float *frames = spectrogram_ready(w->frames, &rest);
        if (rest == 0) return magpie_fail(MAGPIE_E_INPUT, "no samples");
        status = hear_window(e, w, frames, rest, tags);
        windows = 1;
    }
    double squares = 0;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        double mean = w->sum[i] / (double)windows;
        if (!isfinite(mean)) return magpie_fail(MAGPIE_E_INPUT, "its samples are beyond all measure");
        squares += mean * mean;
        out[i] = (float)mean;
    }
    /* The floor is torch.nn.functional.normalize's. */
    double length = tags || e->raw ? 1 : fmax(sqrt(squares), 1e-12);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) out[i] = (float)((double)out[i] / length);
    return status;
}

/* ---- many sounds ---- */

typedef struct call {
    magpie_audio_encoder *encoder;
    const magpie_media *sounds;
    size_t first; /* of this turn */
    float *out;
    magpie_outcome *outcomes;
} call;

/* Whether a failure is the sound's own, and the next one may be fine. */
static bool is_of_the_sound(magpie_status status) {
    return status != MAGPIE_E_NO_MEMORY && status != MAGPIE_E_INTERNAL;
}

static magpie_status encode_one(const call *c, size_t i, worker *w) {
    const magpie_audio_encoder *e = c->encoder;
    float *out = c->out + i * e->info.dimension;
    magpie_status status = hear(e, w, (source){.sound = &c->sounds[i]}, false, out);
    if (c->outcomes) c->outcomes[i] = (magpie_outcome){.status = status};
    if (status == MAGPIE_OK) return status;
    if (!c->outcomes || !is_of_the_sound(status))
        return magpie_fail(status, "sound %zu: %s", i, magpie_error());
    snprintf(c->outcomes[i].reason, sizeof c->outcomes[i].reason, "%s", magpie_error());
    memset(out, 0, e->info.dimension * sizeof *out);
    return MAGPIE_OK;
}

static magpie_status encode_task(void *context, size_t task, unsigned index) {
    const call *c = context;
    worker *w = &c->encoder->workers[index];
    magpie_status status = prepare_worker(c->encoder, w, 1);
    return status == MAGPIE_OK ? encode_one(c, c->first + task, w) : status;
}

/* The worker that all threads are. */
static magpie_status need_together(magpie_audio_encoder *e) {
    magpie_status status = need_network(e);
    return status == MAGPIE_OK ? prepare_worker(e, &e->together, e->info.threads) : status;
}

/* One sound, by all threads together. */
static magpie_status hear_together(magpie_audio_encoder *e, source s, bool tags, float *out) {
    turns_take(&e->turns);
    magpie_status status = need_together(e);
    if (status == MAGPIE_OK) status = hear(e, &e->together, s, tags, out);
    turns_give(&e->turns);
    return status;
}

magpie_status magpie_audio_encoder_encode(magpie_audio_encoder *e, const magpie_media *sounds, size_t n,
                                          float *out, magpie_outcome *outcomes) {
    call c = {e, sounds, 0, out, outcomes};
    size_t most = (size_t)e->info.threads * A_TURN, count;
    const bool together = n == 1 && !e->no_teams;
    magpie_status status = MAGPIE_OK;
    for (; c.first < n && status == MAGPIE_OK; c.first += count) {
        count = n - c.first < most ? n - c.first : most;
        turns_take(&e->turns);
        status = together ? need_together(e) : need_network(e);
        if (status == MAGPIE_OK)
            status =
                together ? encode_one(&c, 0, &e->together) : magpie_pool_run(e->pool, count, encode_task, &c);
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
