/* image_encoder.c - a picture encoder: what its folder says about it, and how many pictures become few
 * batches.
 *
 * A worker decodes its own pictures and runs them through the network alone, on one thread: decoding
 * overlaps with arithmetic without a queue, and there is not one barrier. It does so two at a time (not in
 * f32), which read the last stage's weights, more than fit the cache, once. One picture is run by all threads
 * together. On a GPU workers decode alone, and what runs is a batch (image_batches.h). */
#include "clip_config.h"
#include "encoders.h"
#include "image_batches.h"
#include "image_calibration.h"
#include "model_files.h"
#include "resnet.h"
#include "turns.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* A task's pictures go through the network together: two are 5% faster than one (ResNet-50, bf16), and four no
 * more. Not in f32, where oneDNN's algorithm, and so the last bits, depend on how many there are. */
enum { A_TURN = 8 /* pictures a thread, in one turn */, A_TASK = 2 /* pictures */ };

struct magpie_image_encoder {
    turns turns; /* for network, pool, lanes and workers */
    magpie_image_encoder_info info;
    char *name, *directory;
    bool raw, full_decode, no_teams; /* options */
    size_t picture_bytes;            /* likewise */
    resnet_config config;
    image_preprocess preprocess;
    float *largest; /* int8: the calibration */
    safetensors *file;
    const ops_table *ops;
    ops_device *device;
    resnet *network; /* NULL until the weights are packed */
    magpie_pool *pool;
    image_batches *batches; /* of a GPU, with the network; else NULL */
    resnet_lane *together;  /* all threads */
    struct worker {         /* [threads]; what is in them is made when first needed */
        resnet_lane *lane;
        image_decoder *decoder;
        image_resizer *resizer;
        uint8_t *pixels; /* [A_TASK, side, side, 3] */
    } * workers;
};

/* ---- opening ---- */

static const char *architecture(const resnet_config *config) {
    return config->family == RESNET_CIFAR  ? "cifar-resnet"
           : config->family == RESNET_CLIP ? "clip-resnet"
                                           : "resnet";
}

static magpie_status fill_fingerprint(magpie_image_encoder *e, const char *directory) {
    uint64_t value;
    if (e->config.family == RESNET_CLIP) {
        clip_config clip;
        magpie_status status = clip_config_read(directory, &clip);
        if (status != MAGPIE_OK) return status;
        value = clip_fingerprint(e->file, &clip);
    } else {
        const image_geometry *g = &e->preprocess.geometry;
        const uint64_t parts[] = {safetensors_fingerprint(e->file), g->shortest, g->side, g->filter,
                                  XXH3_64bits(e->preprocess.mean, 2 * sizeof e->preprocess.mean)};
        value = XXH3_64bits(parts, sizeof parts);
    }
    snprintf(e->info.fingerprint, sizeof e->info.fingerprint, "%016llx", (unsigned long long)value);
    return MAGPIE_OK;
}

static void fill_info(magpie_image_encoder *e) {
    e->info.name = e->name;
    e->info.architecture = architecture(&e->config);
    e->info.dimension = resnet_dimension(&e->config);
    e->info.input_size = e->preprocess.geometry.side;
    e->info.layers = resnet_layers(&e->config);
    for (size_t i = 0; i < safetensors_count(e->file); i++)
        if (safetensors_at(e->file, i)->type != TENSOR_OTHER)
            e->info.parameters += safetensors_at(e->file, i)->elements;
    e->info.filter = e->preprocess.geometry.filter == IMAGE_BICUBIC ? "bicubic" : "bilinear";
    memcpy(e->info.mean, e->preprocess.mean, sizeof e->info.mean);
    memcpy(e->info.std, e->preprocess.std, sizeof e->info.std);
    e->info.precision = e->ops->device_precision(e->device);
    e->info.threads = magpie_pool_threads(e->pool);
}

static magpie_status open_weights(magpie_image_encoder *e, const char *directory) {
    if (e->config.family == RESNET_CLIP) return clip_weights_open(directory, &e->file);
    char *path = magpie_path_join(directory, "model.safetensors");
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = safetensors_open(path, &e->file);
    free(path);
    return status;
}

static magpie_status need_batches(magpie_image_encoder *e) {
    magpie_device_info info;
    if (!e->ops->driver || e->batches) return MAGPIE_OK;
    magpie_status status = magpie_device_describe(e->info.device, &info);
    return status == MAGPIE_OK
               ? image_batches_create(e->network, &e->preprocess, e->pool, info.memory, !e->raw, &e->batches)
               : status;
}

static magpie_status need_network(magpie_image_encoder *e) {
    if (e->network) return need_batches(e);
    resnet_calibration calibration = {ops_picture_range(e->preprocess.mean, e->preprocess.std), e->largest};
    magpie_status status = resnet_create(e->ops, e->device, &e->config, e->file,
                                         e->largest ? &calibration : NULL, e->pool, &e->network);
    safetensors_release(e->file);
    return status == MAGPIE_OK ? need_batches(e) : status;
}

static magpie_status read_calibration(magpie_image_encoder *e) {
    size_t count = resnet_ranges(&e->config);
    if (e->info.precision != MAGPIE_PRECISION_INT8) return MAGPIE_OK;
    e->largest = magpie_alloc(count, sizeof *e->largest);
    if (!e->largest) return MAGPIE_E_NO_MEMORY;
    return image_calibration_read(e->directory, e->info.fingerprint, e->largest, count);
}

magpie_status magpie_image_encoder_open(const char *directory, const magpie_encoder_options *options,
                                        magpie_image_encoder **out) {
    static const magpie_encoder_options defaults = {.precision = MAGPIE_PRECISION_AUTO};
    if (!options) options = &defaults;
    magpie_image_encoder *e = magpie_alloc(1, sizeof *e);
    if (!e) return MAGPIE_E_NO_MEMORY;
    turns_init(&e->turns);
    e->raw = options->raw;
    e->no_teams = options->no_teams;
    e->full_decode = options->full_decode;
    e->picture_bytes = options->picture_bytes;
    e->info.device = options->device;
    magpie_status status = resnet_config_read(directory, &e->config, &e->preprocess);
    if (status == MAGPIE_OK) status = model_name(directory, &e->name);
    if (status == MAGPIE_OK && !(e->directory = strdup(directory)))
        status = magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    if (status == MAGPIE_OK) status = open_weights(e, directory);
    if (status == MAGPIE_OK) status = magpie_pool_create(options->threads, &e->pool);
    if (status == MAGPIE_OK) status = ops_open(&e->info.device, options->precision, &e->ops, &e->device);
    if (status == MAGPIE_OK) {
        fill_info(e);
        status = fill_fingerprint(e, directory);
        e->workers = magpie_alloc(e->info.threads, sizeof *e->workers);
        if (!e->workers) status = MAGPIE_E_NO_MEMORY;
    }
    if (status == MAGPIE_OK) status = read_calibration(e);
    if (status == MAGPIE_OK && !options->defer_weights) status = need_network(e);
    if (status == MAGPIE_OK)
        *out = e;
    else
        magpie_image_encoder_close(e);
    return status;
}

void magpie_image_encoder_close(magpie_image_encoder *e) {
    if (!e) return;
    for (unsigned i = 0; e->workers && i < e->info.threads; i++) {
        struct worker *w = &e->workers[i];
        resnet_lane_free(w->lane);
        image_decoder_free(w->decoder);
        image_resizer_free(w->resizer);
        free(w->pixels);
    }
    free(e->workers);
    resnet_lane_free(e->together);
    image_batches_free(e->batches);
    resnet_free(e->network);
    if (e->device) e->ops->device_free(e->device);
    safetensors_close(e->file);
    magpie_pool_free(e->pool);
    free(e->largest);
    free(e->directory);
    free(e->name);
    turns_destroy(&e->turns);
    free(e);
}

const magpie_image_encoder_info *magpie_image_encoder_get_info(const magpie_image_encoder *e) {
    return &e->info;
}

/* ---- pictures to pixels ---- */

static magpie_status load_picture(const magpie_image_encoder *e, image_decoder *decoder,
                                  const magpie_media *image, image_pixels *picture) {
    const image_geometry *geometry = &e->preprocess.geometry;
    /* What does not keep its ratio may not be made smaller by one side's measure; the crop's side is the
     * bound. */
    size_t shortest = geometry->shortest ? geometry->shortest : geometry->side;
    if (e->full_decode) shortest = 0;
    return image->path ? image_decode_file(decoder, image->path, shortest, picture)
                       : image_decode(decoder, image->bytes, shortest, picture);
}

static magpie_status load_pixels(const magpie_image_encoder *e, image_decoder *decoder,
                                 image_resizer *resizer, const magpie_media *image, uint8_t *pixels) {
    image_pixels picture;
    magpie_status status = load_picture(e, decoder, image, &picture);
    return status == MAGPIE_OK ? image_resize(resizer, &picture, &e->preprocess.geometry, pixels) : status;
}

static magpie_status load_packed(const magpie_image_encoder *e, image_decoder *decoder,
                                 image_resizer *resizer, const magpie_media *image, image_packed *packed) {
    image_pixels picture;
    magpie_status status = load_picture(e, decoder, image, &picture);
    return status == MAGPIE_OK ? image_pack(resizer, &picture, &e->preprocess.geometry, packed) : status;
}

static magpie_status create_decoder(const magpie_image_encoder *e, image_decoder **out) {
    magpie_status status = image_decoder_create(out);
    if (status == MAGPIE_OK) image_decoder_limit(*out, e->picture_bytes);
    return status;
}

magpie_status magpie_image_encoder_pixels(magpie_image_encoder *e, const magpie_media *image,
                                          uint8_t *pixels) {
    image_decoder *decoder = NULL;
    image_resizer *resizer = NULL;
    magpie_status status = create_decoder(e, &decoder);
    if (status == MAGPIE_OK) status = image_resizer_create(&resizer);
    if (status == MAGPIE_OK) status = load_pixels(e, decoder, resizer, image, pixels);
    image_resizer_free(resizer);
    image_decoder_free(decoder);
    return status;
}

magpie_status magpie_image_encoder_check(magpie_image_encoder *e, const magpie_media *image) {
    const size_t side = e->info.input_size;
    uint8_t *pixels = magpie_alloc(side * side * 3, 1);
    magpie_status status = pixels ? magpie_image_encoder_pixels(e, image, pixels) : MAGPIE_E_NO_MEMORY;
    free(pixels);
    return status;
}

/* ---- pixels to vectors ---- */

/* What the tasks of one call share. */
typedef struct call {
    magpie_image_encoder *encoder;
    const magpie_media *images; /* [n], or NULL: */
    const uint8_t *pixels;      /* [n, side, side, 3] */
    size_t n;
    size_t first, end, task;  /* of this turn; task: how many at a time */
    float *out;               /* [n, dimension] */
    magpie_outcome *outcomes; /* [n] or NULL */
    float *largest;           /* [threads, resnet_ranges], to be recorded; NULL: not */
} call;

static size_t pixel_bytes(const magpie_image_encoder *e) {
    return e->info.input_size * e->info.input_size * 3;
}

static magpie_status prepare_worker(const magpie_image_encoder *e, struct worker *w) {
    magpie_status status = MAGPIE_OK;
    if (!w->decoder) status = create_decoder(e, &w->decoder);
    if (status == MAGPIE_OK && !w->resizer) status = image_resizer_create(&w->resizer);
    if (!w->pixels) w->pixels = magpie_alloc(A_TASK, pixel_bytes(e));
    return status == MAGPIE_OK && !w->pixels ? MAGPIE_E_NO_MEMORY : status;
}

/* Whether a failure is the picture's own, and the next one may be fine. */
static bool is_of_the_picture(magpie_status status) {
    return status != MAGPIE_E_NO_MEMORY && status != MAGPIE_E_INTERNAL;
}

/* Picture i into `packed` or, if that is NULL, the worker's pixels, as the k-th of them; *fine false where it
 * has its outcome instead. */
static magpie_status decode(const call *c, struct worker *w, size_t i, size_t k, image_packed *packed,
                            bool *fine) {
    const magpie_image_encoder *e = c->encoder;
    magpie_status status = prepare_worker(e, w);
    if (status != MAGPIE_OK) return status;
    magpie_status loaded =
        packed ? load_packed(e, w->decoder, w->resizer, &c->images[i], packed)
               : load_pixels(e, w->decoder, w->resizer, &c->images[i], w->pixels + k * pixel_bytes(e));
    *fine = loaded == MAGPIE_OK;
    if (!*fine && !(c->outcomes && is_of_the_picture(loaded)))
        return magpie_fail(loaded, "picture %zu: %s", i, magpie_error());
    if (c->outcomes) c->outcomes[i] = (magpie_outcome){.status = loaded};
    if (!*fine) {
        snprintf(c->outcomes[i].reason, sizeof c->outcomes[i].reason, "%s", magpie_error());
        memset(c->out + i * e->info.dimension, 0, e->info.dimension * sizeof(float));
    }
    return MAGPIE_OK;
}

/* n vectors at `out` are those of pictures `at`, rising: to their places, and zeros where none is. */
static void spread(float *out, size_t dimension, const size_t *at, size_t n) {
    while (n-- > 0)
        if (at[n] != n) {
            memcpy(out + at[n] * dimension, out + n * dimension, dimension * sizeof *out);
            memset(out + n * dimension, 0, dimension * sizeof *out);
        }
}

/* n pictures, A_TASK at most, from i on. */
static magpie_status run(const call *c, resnet_lane *lane, struct worker *w, size_t i, size_t n) {
    const magpie_image_encoder *e = c->encoder;
    float *out = c->out + i * e->info.dimension;
    size_t at[A_TASK], count = 0;
    magpie_status status = MAGPIE_OK;
    if (c->pixels) return resnet_run(lane, c->pixels + i * pixel_bytes(e), n, &e->preprocess, !e->raw, out);
    for (size_t k = 0; k < n && status == MAGPIE_OK; k++) {
        bool fine = false;
        status = decode(c, w, i + k, count, NULL, &fine);
        if (fine) at[count++] = k;
    }
    if (status == MAGPIE_OK && count > 0)
        status = resnet_run(lane, w->pixels, count, &e->preprocess, !e->raw, out);
    if (status == MAGPIE_OK) spread(out, e->info.dimension, at, count);
    return status;
}

static size_t task_most(const magpie_image_encoder *e) {
    return e->info.precision == MAGPIE_PRECISION_F32 ? 1 : A_TASK;
}

static magpie_status run_task(void *context, size_t task, unsigned worker) {
    const call *c = context;
    struct worker *w = &c->encoder->workers[worker];
    const size_t i = c->first + task * c->task, left = c->end - i;
    magpie_status status =
        w->lane ? MAGPIE_OK : resnet_lane_create(c->encoder->network, 1, task_most(c->encoder), &w->lane);
    if (status != MAGPIE_OK) return status;
    resnet_lane_record(w->lane, c->largest ? c->largest + worker * resnet_ranges(&c->encoder->config) : NULL);
    return run(c, w->lane, w, i, left < c->task ? left : c->task);
}

/* n pictures from c->first on, each by one thread. */
static magpie_status run_apart(call *c, size_t n) {
    const magpie_image_encoder *e = c->encoder;
    c->end = c->first + n;
    c->task = n < (size_t)e->info.threads * A_TASK ? 1 : task_most(e);
    return magpie_pool_run(e->pool, (n + c->task - 1) / c->task, run_task, c);
}

static magpie_status run_together(const call *c) {
    magpie_image_encoder *e = c->encoder;
    magpie_status status = MAGPIE_OK;
    if (!e->together) status = resnet_lane_create(e->network, e->info.threads, 1, &e->together);
    return status == MAGPIE_OK ? run(c, e->together, &e->workers[0], 0, 1) : status;
}

static magpie_status decode_for_batch(void *context, size_t i, unsigned worker, image_packed *out,
                                      bool *fine) {
    const call *c = context;
    return decode(c, &c->encoder->workers[worker], c->first + i, 0, out, fine);
}

/* n pictures from c->first on, on a GPU. */
static magpie_status run_batches(call *c, size_t n) {
    const magpie_image_encoder *e = c->encoder;
    float *out = c->out + c->first * e->info.dimension;
    return c->pixels ? image_batches_run_pixels(e->batches, c->pixels + c->first * pixel_bytes(e), n, out)
                     : image_batches_run(e->batches, decode_for_batch, c, n, out);
}

static magpie_status run_turn(call *c, size_t n) {
    const magpie_image_encoder *e = c->encoder;
    if (e->batches) return run_batches(c, n);
    return c->n == 1 && !e->no_teams ? run_together(c) : run_apart(c, n);
}

static magpie_status encode(call *c) {
    magpie_image_encoder *e = c->encoder;
    magpie_status status = MAGPIE_OK;
    for (size_t n = 0; c->first < c->n && status == MAGPIE_OK; c->first += n) {
        turns_take(&e->turns);
        status = need_network(e);
        const size_t most = e->batches ? image_batches_turn(e->batches) : (size_t)e->info.threads * A_TURN;
        n = c->n - c->first < most ? c->n - c->first : most;
        if (status == MAGPIE_OK) status = run_turn(c, n);
        turns_give(&e->turns);
    }
    return status;
}

magpie_status magpie_image_encoder_encode(magpie_image_encoder *e, const magpie_media *images, size_t n,
                                          float *out, magpie_outcome *outcomes) {
    return encode(&(call){.encoder = e, .images = images, .n = n, .out = out, .outcomes = outcomes});
}

magpie_status magpie_image_encoder_encode_pixels(magpie_image_encoder *e, const uint8_t *pixels, size_t n,
                                                 float *out) {
    return encode(&(call){.encoder = e, .pixels = pixels, .n = n, .out = out});
}

/* ---- calibration ---- */

/* The vectors are not wanted, only what is seen on the way to them. */
static magpie_status calibrate(call c) {
    magpie_image_encoder *e = c.encoder;
    size_t count = resnet_ranges(&e->config);
    if (e->info.precision != MAGPIE_PRECISION_F32)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%s: is calibrated in f32, not in %s", e->directory,
                           magpie_precision_name(e->info.precision));
    if (c.n == 0) return magpie_fail(MAGPIE_E_ARGUMENT, "%s: no pictures to calibrate by", e->directory);
    c.out = magpie_alloc(c.n * e->info.dimension, sizeof *c.out);
    c.largest = magpie_alloc(e->info.threads * count, sizeof *c.largest);
    turns_take(&e->turns);
    magpie_status status = c.out && c.largest ? need_network(e) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = run_apart(&c, c.n);
    turns_give(&e->turns);
    if (status == MAGPIE_OK) {
        for (size_t i = count; i < e->info.threads * count; i++)
            if (c.largest[i] > c.largest[i % count]) c.largest[i % count] = c.largest[i];
        status = image_calibration_write(e->directory, e->info.fingerprint, c.n, c.largest, count);
    }
    free(c.largest);
    free(c.out);
    return status;
}

magpie_status magpie_image_encoder_calibrate(magpie_image_encoder *e, const magpie_media *images, size_t n) {
    return calibrate((call){.encoder = e, .images = images, .n = n});
}

magpie_status magpie_image_encoder_calibrate_pixels(magpie_image_encoder *e, const uint8_t *pixels,
                                                    size_t n) {
    return calibrate((call){.encoder = e, .pixels = pixels, .n = n});
}
