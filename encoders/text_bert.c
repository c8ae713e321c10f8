/* text_bert.c - BERT as a sentence encoder: the folder that sentence-transformers writes, WordPiece, pooling.
 */
#include "bert.h"
#include "model_files.h"
#include "text_architecture.h"
#include "wordpiece.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct bert_model {
    text_model base;
    bert_config config;
    ops_pooling pooling;
    wordpiece *tokenizer;
    bert *network; /* NULL until the weights are packed */
} bert_model;

/* The network's lane, with what a run of it is told besides. */
struct text_lane {
    bert_lane *lane;
    ops_pooling pooling;
};

/* ---- what the folder says ---- */

/* modules.json lists what a sentence encoder is made of: what comes after pooling must be normalisation or
 * nothing. */
static magpie_status check_modules(const char *directory) {
    char *path = magpie_path_join(directory, "modules.json"), *text;
    size_t size, i;
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = MAGPIE_OK;
    if (magpie_path_exists(path) &&
        (status = magpie_file_read(path, MODEL_JSON_MAX, &text, &size)) == MAGPIE_OK) {
        json_t *modules = json_loadb(text, size, 0, NULL), *module;
        free(text);
        if (!json_is_array(modules)) status = magpie_fail(MAGPIE_E_CORRUPT, "%s: not a JSON array", path);
        json_array_foreach(modules, i, module) {
            const char *type = json_string_value(json_object_get(module, "type"));
            const char *last = type ? strrchr(type, '.') : NULL;
            last = last ? last + 1 : "(none)";
            if (strcmp(last, "Transformer") && strcmp(last, "Pooling") && strcmp(last, "Normalize") &&
                status == MAGPIE_OK)
                status = magpie_fail(
                    MAGPIE_E_UNSUPPORTED,
                    "%s: module %zu is a \"%s\"; Transformer, Pooling and Normalize are supported", path, i,
                    last);
        }
        json_decref(modules);
    }
    free(path);
    return status;
}

static magpie_status read_pooling(const char *directory, ops_pooling *out) {
    model_json file;
    magpie_status status = model_json_open(directory, "1_Pooling/config.json", true, &file);
    if (status != MAGPIE_OK) return status;
    *out = OPS_POOL_MEAN; /* what sentence-transformers does where nothing is said */
    if (file.root) {
        bool mean = model_json_true(&file, "pooling_mode_mean_tokens");
        bool cls = model_json_true(&file, "pooling_mode_cls_token");
        if (mean == cls || model_json_true(&file, "pooling_mode_max_tokens") ||
            model_json_true(&file, "pooling_mode_mean_sqrt_len_tokens"))
            status = magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: pooling should be either mean or cls", file.path);
        if (cls) *out = OPS_POOL_FIRST;
    }
    model_json_close(&file);
    return status;
}

static magpie_status read_max_tokens(const char *directory, size_t positions, size_t *out) {
    model_json file;
    magpie_status status = model_json_open(directory, "sentence_bert_config.json", true, &file);
    if (status != MAGPIE_OK) return status;
    *out = positions;
    if (file.root && !json_is_null(json_object_get(file.root, "max_seq_length")))
        status = model_json_size(&file, "max_seq_length", false, 2, SIZE_MAX >> 1, out);
    if (*out > positions) *out = positions;
    model_json_close(&file);
    return status;
}

/* ---- opening ---- */

static void close_model(text_model *model) {
    bert_model *m = (bert_model *)model;
    if (!m) return;
    bert_free(m->network);
    wordpiece_close(m->tokenizer);
    safetensors_close(m->base.file);
    free(m);
}

static void describe(bert_model *m) {
    const bert_config *c = &m->config;
    text_model *base = &m->base;
    const uint64_t parts[] = {safetensors_fingerprint(base->file), wordpiece_fingerprint(m->tokenizer),
                              c->heads, m->pooling, base->max_tokens};
    base->pooling = m->pooling == OPS_POOL_FIRST ? "cls" : "mean";
    base->dimension = c->hidden;
    base->layers = c->layers;
    base->heads = c->heads;
    base->intermediate = c->intermediate;
    base->vocabulary = c->vocabulary;
    base->fingerprint = XXH3_64bits(parts, sizeof parts);
}

static magpie_status open_files(bert_model *m, const char *directory) {
    char *path = magpie_path_join(directory, "model.safetensors");
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = safetensors_open(path, &m->base.file);
    free(path);
    if (status == MAGPIE_OK) status = wordpiece_open(directory, &m->tokenizer);
    return status == MAGPIE_OK ? text_model_check_ids(directory, wordpiece_vocabulary_size(m->tokenizer),
                                                      m->config.vocabulary)
                               : status;
}

static magpie_status open_model(const char *directory, text_model **out) {
    bert_model *m = magpie_alloc(1, sizeof *m);
    if (!m) return MAGPIE_E_NO_MEMORY;
    m->base.architecture = &text_bert;
    magpie_status status = bert_config_read(directory, &m->config);
    if (status == MAGPIE_OK) status = check_modules(directory);
    if (status == MAGPIE_OK) status = read_pooling(directory, &m->pooling);
    if (status == MAGPIE_OK) status = read_max_tokens(directory, m->config.positions, &m->base.max_tokens);
    if (status == MAGPIE_OK) status = open_files(m, directory);
    if (status != MAGPIE_OK) {
        close_model(&m->base);
        return status;
    }
    describe(m);
    *out = &m->base;
    return MAGPIE_OK;
}

/* ---- using ---- */

static magpie_status tokenize(const text_model *model, magpie_string prefix, magpie_string text,
                              size_t max_ids, int32_t *ids, size_t *count) {
    return wordpiece_encode(((const bert_model *)model)->tokenizer, prefix, text, max_ids, ids, count);
}

static magpie_status pack(text_model *model, const ops_table *ops, ops_device *device, magpie_pool *pool) {
    bert_model *m = (bert_model *)model;
    return bert_create(ops, device, &m->config, m->base.file, pool, &m->network);
}

static void lane_free(text_lane *lane) {
    if (!lane) return;
    bert_lane_free(lane->lane);
    free(lane);
}

static magpie_status lane_create(text_model *model, unsigned threads, size_t rows, text_lane **out) {
    bert_model *m = (bert_model *)model;
    text_lane *lane = magpie_alloc(1, sizeof *lane);
    if (!lane) return MAGPIE_E_NO_MEMORY;
    lane->pooling = m->pooling;
    magpie_status status = bert_lane_create(m->network, threads, rows, &lane->lane);
    if (status == MAGPIE_OK)
        *out = lane;
    else
        lane_free(lane);
    return status;
}

static magpie_status run(text_lane *lane, const int32_t *ids, const size_t *starts, size_t texts, bool unit,
                         float *out) {
    return bert_run(lane->lane, ids, starts, texts, lane->pooling, unit, out);
}

const text_architecture text_bert = {
    .name = "bert",
    .open = open_model,
    .close = close_model,
    .tokenize = tokenize,
    .pack = pack,
    .lane_create = lane_create,
    .lane_free = lane_free,
    .run = run,
};
