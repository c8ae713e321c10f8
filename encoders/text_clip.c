/* text_clip.c - CLIP's text side as a sentence encoder: its configuration, its tokenizer, its fingerprint. */
#include "bpe.h"
#include "clip_text.h"
#include "text_architecture.h"

#include <stdlib.h>

typedef struct clip_model {
    text_model base;
    clip_config config;
    bpe *tokenizer;
    clip_text *network; /* NULL until the weights are packed */
} clip_model;

static void close_model(text_model *model) {
    clip_model *m = (clip_model *)model;
    if (!m) return;
    clip_text_free(m->network);
    bpe_close(m->tokenizer);
    safetensors_close(m->base.file);
    free(m);
}

/* The fingerprint is that of the image side as well, so the tokenizer, which it has not, is not in it. */
static void describe(clip_model *m) {
    const clip_text_config *t = &m->config.text;
    text_model *base = &m->base;
    base->pooling = "eot";
    base->dimension = m->config.embed;
    base->layers = t->layers;
    base->heads = t->heads;
    base->intermediate = t->intermediate;
    base->vocabulary = t->vocabulary;
    base->max_tokens = t->context;
    base->fingerprint = clip_fingerprint(base->file, &m->config);
}

static magpie_status open_model(const char *directory, text_model **out) {
    clip_model *m = magpie_alloc(1, sizeof *m);
    if (!m) return MAGPIE_E_NO_MEMORY;
    m->base.architecture = &text_clip;
    magpie_status status = clip_config_read(directory, &m->config);
    if (status == MAGPIE_OK) status = clip_weights_open(directory, &m->base.file);
    if (status == MAGPIE_OK) status = bpe_open(directory, &m->tokenizer);
    if (status == MAGPIE_OK)
        status =
            text_model_check_ids(directory, bpe_vocabulary_size(m->tokenizer), m->config.text.vocabulary);
    if (status != MAGPIE_OK) {
        close_model(&m->base);
        return status;
    }
    describe(m);
    *out = &m->base;
    return MAGPIE_OK;
}

static magpie_status tokenize(const text_model *model, magpie_string prefix, magpie_string text,
                              size_t max_ids, int32_t *ids, size_t *count) {
    return bpe_encode(((const clip_model *)model)->tokenizer, prefix, text, max_ids, ids, count);
}

static magpie_status pack(text_model *model, const ops_table *ops, ops_device *device, magpie_pool *pool) {
    clip_model *m = (clip_model *)model;
    return clip_text_create(ops, device, &m->config, m->base.file, pool, &m->network);
}

/* This network's lane needs nothing around it: a text_lane is one. */
static magpie_status lane_create(text_model *model, unsigned threads, size_t rows, text_lane **out) {
    clip_text_lane *lane;
    magpie_status status = clip_text_lane_create(((clip_model *)model)->network, threads, rows, &lane);
    if (status == MAGPIE_OK) *out = (text_lane *)lane;
    return status;
}

static void lane_free(text_lane *lane) { clip_text_lane_free((clip_text_lane *)lane); }

static magpie_status run(text_lane *lane, const int32_t *ids, const size_t *starts, size_t texts, bool unit,
                         float *out) {
    return clip_text_run((clip_text_lane *)lane, ids, starts, texts, unit, out);
}

const text_architecture text_clip = {
    .name = "clip",
    .open = open_model,
    .close = close_model,
    .tokenize = tokenize,
    .pack = pack,
    .lane_create = lane_create,
    .lane_free = lane_free,
    .run = run,
};
