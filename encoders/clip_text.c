/* clip_text.c - CLIP's text transformer: which tensors it has, and in which order the operations run.
 *
 * Pre-norm: x += attention(norm(x)), x += mlp(norm(x)), so x is a sum from the first layer to the last and is
 * kept in f32; what an addition and the norm behind it do is one operation. Attention is causal: a text knows
 * itself only at its end, and of the last layer nothing but that row is wanted. It is picked out behind the
 * last attention, and what comes after runs on one row a text. */
#include "clip_text.h"

#include <stdlib.h>
#include <string.h>

typedef struct layer {
    ops_linear *qkv, *attention_output, *intermediate, *output;
    ops_norm *attention_norm, *mlp_norm;
} layer;

struct clip_text {
    const ops_table *ops;
    ops_device *device;
    clip_config config;
    const safetensors *file;
    const struct naming *naming;
    ops_embedding embedding;
    ops_norm *final_norm;
    ops_linear *projection;
    layer *layers; /* [config.text.layers] */
};

struct clip_text_lane {
    clip_text *network;
    ops_lane *lane;
    /* [rows, width]; [rows, width]; [rows, 3 width]; [rows, width]; [rows, intermediate]; [rows, width] */
    ops_tensor x, normal, qkv, context, intermediate, sum;
    ops_tensor last, features; /* [rows, width], [rows, embed], of which one row a text is used */
    size_t *ends;              /* [rows]: each text's last row */
    size_t *singles;           /* [rows + 1]: starts of texts of one row each */
};

/* ---- names ---- */

/* How a family of programs calls the tensors; PREFIX.layer.I.NAME.weight, NAME.bias. */
static const struct naming {
    const char *prefix, *token, *position, *final_norm, *projection;
    bool projection_transposed;
    const char *layer, *attention_norm, *mlp_norm, *attention_output, *intermediate, *output;
    const char *query_key_value[3]; /* apart; NULL: stacked, as attn.in_proj_weight */
} namings[] = {
    {"",
     "token_embedding.weight",
     "positional_embedding",
     "ln_final",
     "text_projection",
     true,
     "transformer.resblocks",
     "ln_1",
     "ln_2",
     "attn.out_proj",
     "mlp.c_fc",
     "mlp.c_proj",
     {0}},
    {"text.",
     "token_embedding.weight",
     "positional_embedding",
     "ln_final",
     "text_projection",
     true,
     "transformer.resblocks",
     "ln_1",
     "ln_2",
     "attn.out_proj",
     "mlp.c_fc",
     "mlp.c_proj",
     {0}},
    {"",
     "text_model.embeddings.token_embedding.weight",
     "text_model.embeddings.position_embedding.weight",
     "text_model.final_layer_norm",
     "text_projection.weight",
     false,
     "text_model.encoder.layers",
     "layer_norm1",
     "layer_norm2",
     "self_attn.out_proj",
     "mlp.fc1",
     "mlp.fc2",
     {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}},
};

/* The first whose embedding is there; else OpenAI's, whose name the error will have. */
static const struct naming *find_naming(const safetensors *file) {
    for (size_t i = 0; i < sizeof namings / sizeof *namings; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", namings[i].prefix, namings[i].token);
        if (safetensors_find(file, name)) return &namings[i];
    }
    return &namings[0];
}

/* ---- weights ---- */

static magpie_status find(const clip_text *c, size_t rank, size_t rows, size_t columns, const tensor **out,
                          const char *format, ...) MAGPIE_PRINTF(6, 7);

static magpie_status find(const clip_text *c, size_t rank, size_t rows, size_t columns, const tensor **out,
                          const char *format, ...) {
    char name[256];
    const size_t shape[] = {rows, columns};
    int used = snprintf(name, sizeof name, "%s", c->naming->prefix);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name + used, sizeof name - (size_t)used, format, arguments);
    va_end(arguments);
    return safetensors_expect(c->file, name, rank, shape, out);
}

/* Adds NAME.weight [out, in] and NAME.bias [out] of layer `i` to a linear layer's source. */
static magpie_status add_part(const clip_text *c, size_t i, const char *name, size_t out, size_t in,
                              ops_linear_source *source) {
    const char *layer = c->naming->layer;
    size_t p = source->parts++;
    magpie_status status = find(c, 2, out, in, &source->weight[p], "%s.%zu.%s.weight", layer, i, name);
    return status == MAGPIE_OK ? find(c, 1, out, 0, &source->bias[p], "%s.%zu.%s.bias", layer, i, name)
                               : status;
}

static magpie_status make_linear(const clip_text *c, size_t i, const char *name, size_t out, size_t in,
                                 ops_activation activation, ops_storage output, ops_linear **made) {
    ops_linear_source source = {.activation = activation, .output = output};
    magpie_status status = add_part(c, i, name, out, in, &source);
    return status == MAGPIE_OK ? c->ops->linear_create(c->device, &source, made) : status;
}

static magpie_status make_qkv(const clip_text *c, size_t i, ops_linear **made) {
    const char *const *names = c->naming->query_key_value, *layer = c->naming->layer;
    size_t width = c->config.text.width;
    ops_linear_source source = {.activation = OPS_IDENTITY, .output = OPS_STREAM};
    magpie_status status = MAGPIE_OK;
    if (names[0]) {
        for (int p = 0; p < 3 && status == MAGPIE_OK; p++)
            status = add_part(c, i, names[p], width, width, &source);
    } else {
        source.parts = 1;
        status = find(c, 2, 3 * width, width, &source.weight[0], "%s.%zu.attn.in_proj_weight", layer, i);
        if (status == MAGPIE_OK)
            status = find(c, 1, 3 * width, 0, &source.bias[0], "%s.%zu.attn.in_proj_bias", layer, i);
    }
    return status == MAGPIE_OK ? c->ops->linear_create(c->device, &source, made) : status;
}

static magpie_status make_norm(const clip_text *c, const char *name, ops_norm **made) {
    const tensor *gamma, *beta;
    size_t width = c->config.text.width;
    magpie_status status = find(c, 1, width, 0, &gamma, "%s.weight", name);
    if (status == MAGPIE_OK) status = find(c, 1, width, 0, &beta, "%s.bias", name);
    return status == MAGPIE_OK ? c->ops->norm_create(c->device, gamma, beta, c->config.text.epsilon, made)
                               : status;
}

static magpie_status make_layer_norm(const clip_text *c, size_t i, const char *name, ops_norm **made) {
    char full[128];
    snprintf(full, sizeof full, "%s.%zu.%s", c->naming->layer, i, name);
    return make_norm(c, full, made);
}

/* A task of the pool: layers are packed side by side. */
static magpie_status make_layer(void *context, size_t i, unsigned worker) {
    (void)worker;
    clip_text *c = context;
    layer *l = &c->layers[i];
    const struct naming *naming = c->naming;
    size_t width = c->config.text.width, intermediate = c->config.text.intermediate;
    ops_activation activation = c->config.quick_gelu ? OPS_QUICK_GELU : OPS_GELU;
    magpie_status status = make_qkv(c, i, &l->qkv);
    if (status == MAGPIE_OK)
        status = make_linear(c, i, naming->attention_output, width, width, OPS_IDENTITY, OPS_SUM,
                             &l->attention_output);
    if (status == MAGPIE_OK)
        status = make_linear(c, i, naming->intermediate, intermediate, width, activation, OPS_STREAM,
                             &l->intermediate);
    if (status == MAGPIE_OK)
        status = make_linear(c, i, naming->output, width, intermediate, OPS_IDENTITY, OPS_SUM, &l->output);
    if (status == MAGPIE_OK) status = make_layer_norm(c, i, naming->attention_norm, &l->attention_norm);
    if (status == MAGPIE_OK) status = make_layer_norm(c, i, naming->mlp_norm, &l->mlp_norm);
    return status;
}

static magpie_status make_projection(clip_text *c) {
    size_t width = c->config.text.width, embed = c->config.embed;
    ops_linear_source source = {.parts = 1,
                                .transposed = c->naming->projection_transposed,
                                .activation = OPS_IDENTITY,
                                .output = OPS_SUM};
    size_t rows = source.transposed ? width : embed, columns = source.transposed ? embed : width;
    magpie_status status = find(c, 2, rows, columns, &source.weight[0], "%s", c->naming->projection);
    return status == MAGPIE_OK ? c->ops->linear_create(c->device, &source, &c->projection) : status;
}

static magpie_status make_ends(clip_text *c) {
    const clip_text_config *t = &c->config.text;
    magpie_status status = find(c, 2, t->vocabulary, t->width, &c->embedding.word, "%s", c->naming->token);
    if (status == MAGPIE_OK)
        status = find(c, 2, t->context, t->width, &c->embedding.position, "%s", c->naming->position);
    if (status == MAGPIE_OK) status = make_norm(c, c->naming->final_norm, &c->final_norm);
    return status == MAGPIE_OK ? make_projection(c) : status;
}

magpie_status clip_text_create(const ops_table *ops, ops_device *device, const clip_config *config,
                               const safetensors *file, magpie_pool *pool, clip_text **out) {
    clip_text *c = magpie_alloc(1, sizeof *c);
    if (!c) return MAGPIE_E_NO_MEMORY;
    *c = (clip_text){
        .ops = ops, .device = device, .config = *config, .file = file, .naming = find_naming(file)};
    c->layers = magpie_alloc(config->text.layers, sizeof *c->layers);
    magpie_status status = c->layers ? make_ends(c) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = magpie_pool_run(pool, config->text.layers, make_layer, c);
    if (status == MAGPIE_OK)
        *out = c;
    else
        clip_text_free(c);
    return status;
}

void clip_text_free(clip_text *c) {
    if (!c) return;
    for (size_t i = 0; c->layers && i < c->config.text.layers; i++) {
        layer *l = &c->layers[i];
        ops_linear *linears[] = {l->qkv, l->attention_output, l->intermediate, l->output};
        for (int k = 0; k < 4; k++) c->ops->linear_free(linears[k]);
        c->ops->norm_free(l->attention_norm);
        c->ops->norm_free(l->mlp_norm);
    }
    c->ops->linear_free(c->projection);
    c->ops->norm_free(c->final_norm);
    free(c->layers);
    free(c);
}

/* ---- running ---- */

static magpie_status create_tensors(clip_text_lane *l, size_t rows) {
    const clip_text_config *t = &l->network->config.text;
    const struct {
        ops_tensor *tensor;
        size_t columns;
        ops_storage storage;
    } wanted[] = {
        {&l->x, t->width, OPS_SUM},          {&l->normal, t->width, OPS_STREAM},
        {&l->qkv, 3 * t->width, OPS_STREAM}, {&l->context, t->width, OPS_STREAM},
        {&l->sum, t->width, OPS_SUM},        {&l->intermediate, t->intermediate, OPS_STREAM},
        {&l->last, t->width, OPS_SUM},       {&l->features, l->network->config.embed, OPS_SUM},
    };
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && status == MAGPIE_OK; i++)
        status = l->network->ops->tensor_create(l->lane, rows, wanted[i].columns, wanted[i].storage,
                                                wanted[i].tensor);
    return status;
}

magpie_status clip_text_lane_create(clip_text *c, unsigned threads, size_t rows, clip_text_lane **out) {
    clip_text_lane *l = magpie_alloc(1, sizeof *l);
    if (!l) return MAGPIE_E_NO_MEMORY;
    l->network = c;
    l->ends = magpie_alloc(rows, sizeof *l->ends);
    l->singles = magpie_alloc(rows + 1, sizeof *l->singles);
    magpie_status status = l->ends && l->singles ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; status == MAGPIE_OK && i <= rows; i++) l->singles[i] = i;
    if (status == MAGPIE_OK) status = c->ops->lane_create(c->device, threads, &l->lane);
    if (status == MAGPIE_OK) status = create_tensors(l, rows);
    if (status == MAGPIE_OK)
        *out = l;
    else
        clip_text_lane_free(l);
    return status;
}

void clip_text_lane_free(clip_text_lane *l) {
    if (!l) return;
    l->network->ops->lane_free(l->lane);
    free(l->ends);
    free(l->singles);
    free(l);
}

/* Where each text has its largest id first. A text may have the end's token inside of it: then it ends there.
 */
static void find_ends(const int32_t *ids, const size_t *starts, size_t texts, size_t *ends) {
    for (size_t t = 0; t < texts; t++) {
        ends[t] = starts[t];
        for (size_t i = starts[t]; i < starts[t + 1]; i++)
            if (ids[i] > ids[ends[t]]) ends[t] = i;
    }
}

/* What follows attention in a layer: x += output(context), sum = mlp(norm(x)), which is yet to be added to x.
 */
static magpie_status run_mlp(clip_text_lane *l, const layer *w, ops_tensor *x, const ops_tensor *context,
                             size_t rows) {
    const ops_table *ops = l->network->ops;
    magpie_status status = ops->linear(l->lane, w->attention_output, context, rows, &l->sum);
    if (status == MAGPIE_OK) status = ops->add_norm(l->lane, w->mlp_norm, x, &l->sum, rows, &l->normal);
    if (status == MAGPIE_OK)
        status = ops->linear(l->lane, w->intermediate, &l->normal, rows, &l->intermediate);
    return status == MAGPIE_OK ? ops->linear(l->lane, w->output, &l->intermediate, rows, &l->sum) : status;
}

magpie_status clip_text_run(clip_text_lane *l, const int32_t *ids, const size_t *starts, size_t texts,
                            bool unit, float *out) {
    const clip_text *c = l->network;
    const ops_table *ops = c->ops;
    size_t rows = starts[texts], heads = c->config.text.heads, layers = c->config.text.layers;
    magpie_status status = ops->embed(l->lane, &c->embedding, ids, starts, texts, &l->x);
    for (size_t i = 0; i < layers && status == MAGPIE_OK; i++) {
        const layer *w = &c->layers[i];
        status = ops->add_norm(l->lane, w->attention_norm, &l->x, i ? &l->sum : NULL, rows, &l->normal);
        if (status == MAGPIE_OK) status = ops->linear(l->lane, w->qkv, &l->normal, rows, &l->qkv);
        if (status == MAGPIE_OK)
            status = ops->attention(l->lane, &l->qkv, starts, texts, heads, true, &l->context);
        if (status == MAGPIE_OK && i + 1 < layers) status = run_mlp(l, w, &l->x, &l->context, rows);
    }
    find_ends(ids, starts, texts, l->ends);
    if (status == MAGPIE_OK) status = ops->gather(l->lane, &l->x, l->ends, texts, &l->last);
    if (status == MAGPIE_OK) status = ops->gather(l->lane, &l->context, l->ends, texts, &l->normal);
    if (status == MAGPIE_OK) status = run_mlp(l, &c->layers[layers - 1], &l->last, &l->normal, texts);
    if (status == MAGPIE_OK)
        status = ops->add_norm(l->lane, c->final_norm, &l->last, &l->sum, texts, &l->normal);
    if (status == MAGPIE_OK) status = ops->linear(l->lane, c->projection, &l->normal, texts, &l->features);
    return status == MAGPIE_OK
               ? ops->pool(l->lane, &l->features, l->singles, texts, OPS_POOL_FIRST, unit, out)
               : status;
}
