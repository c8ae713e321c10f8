/* bert.c - BERT's encoder: which tensors it has, and in which order the operations run.
 *
 * Post-norm, as the paper and every sentence encoder of the family have it: x = norm(x + attention(x)),
 * x = norm(x + ffn(x)). Query, key and value are one product. There is no padding and so no mask. */
#include "bert.h"
#include "model_files.h"

#include <stdlib.h>
#include <string.h>

/* Bounds on what a config may ask for, far above any BERT: they keep products of them within size_t. */
enum { HIDDEN_MAX = 16384, LAYERS_MAX = 1024, VOCABULARY_MAX = 1 << 24, POSITIONS_MAX = 1 << 20 };

typedef struct layer {
    ops_linear *qkv, *attention_output, *intermediate, *output;
    ops_norm *attention_norm, *output_norm;
} layer;

struct bert {
    const ops_table *ops;
    ops_device *device;
    bert_config config;
    const safetensors *file;
    const char *prefix; /* of the tensors' names */
    ops_embedding embedding;
    ops_norm *embedding_norm;
    layer *layers; /* [config.layers] */
};

struct bert_lane {
    bert *network;
    ops_lane *lane;
    size_t rows;
    /* [rows, hidden], [rows, 3 hidden], [rows, hidden], [rows, intermediate], [rows, hidden] */
    ops_tensor x, qkv, context, intermediate, sum;
};

/* ---- configuration ---- */

static magpie_status expect_string(const model_json *file, const char *key, const char *fallback,
                                   const char *wanted) {
    const char *value;
    magpie_status status = model_json_string(file, key, fallback, &value);
    if (status == MAGPIE_OK && strcmp(value, wanted) != 0)
        status = magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: \"%s\" is \"%s\"; this network is \"%s\"", file->path,
                             key, value, wanted);
    return status;
}

static magpie_status read_config(const model_json *file, bert_config *c) {
    magpie_status status = expect_string(file, "model_type", "bert", "bert");
    if (status == MAGPIE_OK) status = expect_string(file, "hidden_act", "gelu", "gelu");
    if (status == MAGPIE_OK) status = expect_string(file, "position_embedding_type", "absolute", "absolute");
    if (status == MAGPIE_OK) status = model_json_size(file, "hidden_size", true, 1, HIDDEN_MAX, &c->hidden);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "num_hidden_layers", true, 1, LAYERS_MAX, &c->layers);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "num_attention_heads", true, 1, HIDDEN_MAX, &c->heads);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "intermediate_size", true, 1, 4 * HIDDEN_MAX, &c->intermediate);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "vocab_size", true, 1, VOCABULARY_MAX, &c->vocabulary);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "max_position_embeddings", true, 2, POSITIONS_MAX, &c->positions);
    if (status == MAGPIE_OK) status = model_json_size(file, "type_vocab_size", false, 1, 1024, &c->types);
    if (status != MAGPIE_OK) return status;
    if (c->hidden % c->heads)
        return magpie_fail(MAGPIE_E_CORRUPT,
                           "%s: hidden_size %zu is not a multiple of num_attention_heads %zu", file->path,
                           c->hidden, c->heads);
    const json_t *epsilon = json_object_get(file->root, "layer_norm_eps");
    c->epsilon = epsilon ? (float)json_number_value(epsilon) : 1e-12f;
    if (!(c->epsilon > 0 && c->epsilon < 1))
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"layer_norm_eps\" should be a number between 0 and 1",
                           file->path);
    return MAGPIE_OK;
}

magpie_status bert_config_read(const char *directory, bert_config *out) {
    model_json file;
    magpie_status status = model_json_open(directory, "config.json", false, &file);
    if (status != MAGPIE_OK) return status;
    *out = (bert_config){.types = 2};
    status = read_config(&file, out);
    model_json_close(&file);
    return status;
}

/* ---- weights ---- */

static magpie_status find(const bert *b, size_t rank, size_t rows, size_t columns, const tensor **out,
                          const char *format, ...) MAGPIE_PRINTF(6, 7);

static magpie_status find(const bert *b, size_t rank, size_t rows, size_t columns, const tensor **out,
                          const char *format, ...) {
    char name[256];
    const size_t shape[] = {rows, columns};
    int used = snprintf(name, sizeof name, "%s", b->prefix);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name + used, sizeof name - (size_t)used, format, arguments);
    va_end(arguments);
    return safetensors_expect(b->file, name, rank, shape, out);
}

/* Adds NAME.weight [out, in] and NAME.bias [out] of layer `i` to a linear layer's source. */
static magpie_status add_part(const bert *b, size_t i, const char *name, size_t out, size_t in,
                              ops_linear_source *source) {
    size_t p = source->parts++;
    magpie_status status = find(b, 2, out, in, &source->weight[p], "encoder.layer.%zu.%s.weight", i, name);
    if (status == MAGPIE_OK)
        status = find(b, 1, out, 0, &source->bias[p], "encoder.layer.%zu.%s.bias", i, name);
    return status;
}

static magpie_status make_linear(const bert *b, size_t i, const char *name, size_t out, size_t in,
                                 ops_activation activation, ops_storage output, ops_linear **made) {
    ops_linear_source source = {.activation = activation, .output = output};
    magpie_status status = add_part(b, i, name, out, in, &source);
    return status == MAGPIE_OK ? b->ops->linear_create(b->device, &source, made) : status;
}

static magpie_status make_qkv(const bert *b, size_t i, ops_linear **made) {
    static const char *const names[] = {"attention.self.query", "attention.self.key", "attention.self.value"};
    size_t hidden = b->config.hidden;
    ops_linear_source source = {.activation = OPS_IDENTITY, .output = OPS_STREAM};
    magpie_status status = MAGPIE_OK;
    for (int p = 0; p < 3 && status == MAGPIE_OK; p++)
        status = add_part(b, i, names[p], hidden, hidden, &source);
    return status == MAGPIE_OK ? b->ops->linear_create(b->device, &source, made) : status;
}

static magpie_status make_norm(const bert *b, const char *name, ops_norm **made) {
    const tensor *gamma, *beta;
    magpie_status status = find(b, 1, b->config.hidden, 0, &gamma, "%s.weight", name);
    if (status == MAGPIE_OK) status = find(b, 1, b->config.hidden, 0, &beta, "%s.bias", name);
    return status == MAGPIE_OK ? b->ops->norm_create(b->device, gamma, beta, b->config.epsilon, made)
                               : status;
}

static magpie_status make_layer_norm(const bert *b, size_t i, const char *name, ops_norm **made) {
    char full[128];
    snprintf(full, sizeof full, "encoder.layer.%zu.%s", i, name);
    return make_norm(b, full, made);
}

/* A task of the pool: layers are packed side by side. */
static magpie_status make_layer(void *context, size_t i, unsigned worker) {
    (void)worker;
    bert *b = context;
    layer *l = &b->layers[i];
    size_t hidden = b->config.hidden, intermediate = b->config.intermediate;
    magpie_status status = make_qkv(b, i, &l->qkv);
    if (status == MAGPIE_OK)
        status = make_linear(b, i, "attention.output.dense", hidden, hidden, OPS_IDENTITY, OPS_SUM,
                             &l->attention_output);
    if (status == MAGPIE_OK)
        status = make_linear(b, i, "intermediate.dense", intermediate, hidden, OPS_GELU, OPS_STREAM,
                             &l->intermediate);
    if (status == MAGPIE_OK)
        status = make_linear(b, i, "output.dense", hidden, intermediate, OPS_IDENTITY, OPS_SUM, &l->output);
    if (status == MAGPIE_OK) status = make_layer_norm(b, i, "attention.output.LayerNorm", &l->attention_norm);
    if (status == MAGPIE_OK) status = make_layer_norm(b, i, "output.LayerNorm", &l->output_norm);
    return status;
}

static magpie_status make_embedding(bert *b) {
    const bert_config *c = &b->config;
    ops_embedding *e = &b->embedding;
    magpie_status status =
        find(b, 2, c->vocabulary, c->hidden, &e->word, "embeddings.word_embeddings.weight");
    if (status == MAGPIE_OK)
        status = find(b, 2, c->positions, c->hidden, &e->position, "embeddings.position_embeddings.weight");
    if (status == MAGPIE_OK)
        status = find(b, 2, c->types, c->hidden, &e->type, "embeddings.token_type_embeddings.weight");
    if (status == MAGPIE_OK) status = make_norm(b, "embeddings.LayerNorm", &b->embedding_norm);
    e->norm = b->embedding_norm;
    return status;
}

magpie_status bert_create(const ops_table *ops, ops_device *device, const bert_config *config,
                          const safetensors *file, magpie_pool *pool, bert **out) {
    bert *b = magpie_alloc(1, sizeof *b);
    if (!b) return MAGPIE_E_NO_MEMORY;
    /* Saved from a model with a head on it (masked language model, say), the encoder's tensors carry its
     * name. */
    bool bare = safetensors_find(file, "embeddings.word_embeddings.weight") != NULL;
    *b = (bert){.ops = ops, .device = device, .config = *config, .file = file, .prefix = bare ? "" : "bert."};
    b->layers = magpie_alloc(config->layers, sizeof *b->layers);
    magpie_status status = b->layers ? make_embedding(b) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = magpie_pool_run(pool, config->layers, make_layer, b);
    if (status == MAGPIE_OK)
        *out = b;
    else
        bert_free(b);
    return status;
}

void bert_free(bert *b) {
    if (!b) return;
    for (size_t i = 0; b->layers && i < b->config.layers; i++) {
        layer *l = &b->layers[i];
        ops_linear *linears[] = {l->qkv, l->attention_output, l->intermediate, l->output};
        for (int k = 0; k < 4; k++) b->ops->linear_free(linears[k]);
        b->ops->norm_free(l->attention_norm);
        b->ops->norm_free(l->output_norm);
    }
    b->ops->norm_free(b->embedding_norm);
    free(b->layers);
    free(b);
}

/* ---- running ---- */

magpie_status bert_lane_create(bert *b, unsigned threads, size_t rows, bert_lane **out) {
    const ops_table *ops = b->ops;
    size_t hidden = b->config.hidden;
    bert_lane *l = magpie_alloc(1, sizeof *l);
    if (!l) return MAGPIE_E_NO_MEMORY;
    *l = (bert_lane){.network = b, .rows = rows};
    magpie_status status = ops->lane_create(b->device, threads, &l->lane);
    if (status == MAGPIE_OK) status = ops->tensor_create(l->lane, rows, hidden, OPS_STREAM, &l->x);
    if (status == MAGPIE_OK) status = ops->tensor_create(l->lane, rows, 3 * hidden, OPS_STREAM, &l->qkv);
    if (status == MAGPIE_OK) status = ops->tensor_create(l->lane, rows, hidden, OPS_STREAM, &l->context);
    if (status == MAGPIE_OK)
        status = ops->tensor_create(l->lane, rows, b->config.intermediate, OPS_STREAM, &l->intermediate);
    if (status == MAGPIE_OK) status = ops->tensor_create(l->lane, rows, hidden, OPS_SUM, &l->sum);
    if (status == MAGPIE_OK)
        *out = l;
    else
        bert_lane_free(l);
    return status;
}

void bert_lane_free(bert_lane *l) {
    if (!l) return;
    l->network->ops->lane_free(l->lane);
    free(l);
}

magpie_status bert_run(bert_lane *l, const int32_t *ids, const size_t *starts, size_t texts,
                       ops_pooling pooling, bool unit, float *out) {
    const bert *b = l->network;
    const ops_table *ops = b->ops;
    size_t rows = starts[texts], heads = b->config.heads;
    magpie_status status = ops->embed(l->lane, &b->embedding, ids, starts, texts, &l->x);
    for (size_t i = 0; i < b->config.layers && status == MAGPIE_OK; i++) {
        const layer *w = &b->layers[i];
        status = ops->linear(l->lane, w->qkv, &l->x, rows, &l->qkv);
        if (status == MAGPIE_OK)
            status = ops->attention(l->lane, &l->qkv, starts, texts, heads, false, &l->context);
        if (status == MAGPIE_OK)
            status = ops->linear(l->lane, w->attention_output, &l->context, rows, &l->sum);
        if (status == MAGPIE_OK)
            status = ops->add_norm(l->lane, w->attention_norm, &l->sum, &l->x, rows, &l->x);
        if (status == MAGPIE_OK)
            status = ops->linear(l->lane, w->intermediate, &l->x, rows, &l->intermediate);
        if (status == MAGPIE_OK) status = ops->linear(l->lane, w->output, &l->intermediate, rows, &l->sum);
        if (status == MAGPIE_OK) status = ops->add_norm(l->lane, w->output_norm, &l->sum, &l->x, rows, &l->x);
    }
    return status == MAGPIE_OK ? ops->pool(l->lane, &l->x, starts, texts, pooling, unit, out) : status;
}
