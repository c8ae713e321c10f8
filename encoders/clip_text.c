/* clip_text.c - CLIP's text side: its embedding and its projection around the layers of prenorm.c. Attention is causal, so
 * a text knows itself only at its end, and of the last layer nothing but that row is wanted. */
#include "clip_text.h"
#include "prenorm.h"

#include <stdlib.h>

struct clip_text {
    const ops_table *ops;
    ops_device *device;
    clip_config config;
    ops_embedding embedding;
    prenorm *layers;
    ops_linear *projection;
};

struct clip_text_lane {
    clip_text *network;
    ops_lane *lane;
    prenorm_lane *layers;
    ops_tensor features; /* [rows, embed], of which one row a text is used */
    size_t *ends;        /* [rows]: each text's last row */
    size_t *singles;     /* [rows + 1]: starts of texts of one row each */
};

/* ---- weights ---- */

/* How a family of programs calls the tensors, without the prefix. */
typedef struct naming {
    const char *token, *position, *projection;
    bool projection_transposed;
    prenorm_names layers;
} naming;

static const naming openai = {.token = "token_embedding.weight",
                              .position = "positional_embedding",
                              .projection = "text_projection",
                              .projection_transposed = true,
                              .layers = {.layer = "transformer.resblocks",
                                         .attention_norm = "ln_1",
                                         .mlp_norm = "ln_2",
                                         .attention_output = "attn.out_proj",
                                         .intermediate = "mlp.c_fc",
                                         .output = "mlp.c_proj",
                                         .final_norm = "ln_final"}};

static const naming hugging_face = {
    .token = "text_model.embeddings.token_embedding.weight",
    .position = "text_model.embeddings.position_embedding.weight",
    .projection = "text_projection.weight",
    .layers = {.layer = "text_model.encoder.layers",
               .attention_norm = "layer_norm1",
               .mlp_norm = "layer_norm2",
               .attention_output = "self_attn.out_proj",
               .intermediate = "mlp.fc1",
               .output = "mlp.fc2",
               .query_key_value = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
               .final_norm = "text_model.final_layer_norm"}};

/* The first whose embedding is there; else OpenAI's, whose name the error will have. */
static naming find_naming(const safetensors *file) {
    const struct {
        const naming *naming;
        const char *prefix;
    } known[] = {{&openai, ""}, {&openai, "text."}, {&hugging_face, ""}};
    naming found = openai;
    found.layers.prefix = "";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", known[i].prefix, known[i].naming->token);
        if (!safetensors_find(file, name)) continue;
        found = *known[i].naming;
        found.layers.prefix = known[i].prefix;
        break;
    }
    return found;
}

static magpie_status find(const safetensors *file, const naming *names, const char *name, size_t rows,
                          size_t columns, const tensor **out) {
    char full[256];
    snprintf(full, sizeof full, "%s%s", names->layers.prefix, name);
    return safetensors_expect(file, full, 2, (const size_t[]){rows, columns}, out);
}

static magpie_status make_projection(clip_text *c, const safetensors *file, const naming *names) {
    size_t width = c->config.text.width, embed = c->config.embed;
    ops_linear_source source = {.parts = 1,
                                .transposed = names->projection_transposed,
                                .activation = OPS_IDENTITY,
                                .output = OPS_SUM};
    size_t rows = source.transposed ? width : embed, columns = source.transposed ? embed : width;
    magpie_status status = find(file, names, names->projection, rows, columns, &source.weight[0]);
    return status == MAGPIE_OK ? c->ops->linear_create(c->device, &source, &c->projection) : status;
}

magpie_status clip_text_create(const ops_table *ops, ops_device *device, const clip_config *config,
                               const safetensors *file, magpie_pool *pool, clip_text **out) {
    const clip_text_config *t = &config->text;
    const prenorm_config layers = {.width = t->width,
                                   .layers = t->layers,
                                   .heads = t->heads,
                                   .intermediate = t->intermediate,
                                   .epsilon = t->epsilon,
                                   .activation = config->quick_gelu ? OPS_QUICK_GELU : OPS_GELU,
                                   .causal = true};
    const naming names = find_naming(file);
    clip_text *c = magpie_alloc(1, sizeof *c);
    if (!c) return MAGPIE_E_NO_MEMORY;
    *c = (clip_text){.ops = ops, .device = device, .config = *config};
    magpie_status status = find(file, &names, names.token, t->vocabulary, t->width, &c->embedding.word);
    if (status == MAGPIE_OK)
        status = find(file, &names, names.position, t->context, t->width, &c->embedding.position);
    if (status == MAGPIE_OK)
        status = prenorm_create(ops, device, &layers, &names.layers, file, pool, &c->layers);
    if (status == MAGPIE_OK) status = make_projection(c, file, &names);
    if (status == MAGPIE_OK)
        *out = c;
    else
        clip_text_free(c);
    return status;
}

void clip_text_free(clip_text *c) {
    if (!c) return;
    prenorm_free(c->layers);
    c->ops->linear_free(c->projection);
    free(c);
}

/* ---- running ---- */

magpie_status clip_text_lane_create(clip_text *c, unsigned threads, size_t rows, clip_text_lane **out) {
    clip_text_lane *l = magpie_alloc(1, sizeof *l);
    if (!l) return MAGPIE_E_NO_MEMORY;
    l->network = c;
    l->ends = magpie_alloc(rows, sizeof *l->ends);
    l->singles = magpie_alloc(rows + 1, sizeof *l->singles);
    magpie_status status = l->ends && l->singles ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; status == MAGPIE_OK && i <= rows; i++) l->singles[i] = i;
    if (status == MAGPIE_OK) status = c->ops->lane_create(c->device, threads, &l->lane);
    if (status == MAGPIE_OK) status = prenorm_lane_create(c->layers, l->lane, rows, &l->layers);
    if (status == MAGPIE_OK)
        status = c->ops->tensor_create(l->lane, rows, c->config.embed, OPS_SUM, &l->features);
    if (status == MAGPIE_OK)
        *out = l;
    else
        clip_text_lane_free(l);
    return status;
}

void clip_text_lane_free(clip_text_lane *l) {
    if (!l) return;
    prenorm_lane_free(l->layers);
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

magpie_status clip_text_run(clip_text_lane *l, const int32_t *ids, const size_t *starts, size_t texts,
                            bool unit, float *out) {
    const clip_text *c = l->network;
    const ops_table *ops = c->ops;
    ops_tensor *last;
    magpie_status status = ops->embed(l->lane, &c->embedding, ids, starts, texts, prenorm_input(l->layers));
    find_ends(ids, starts, texts, l->ends);
    if (status == MAGPIE_OK) status = prenorm_run(l->layers, starts, texts, NULL, l->ends, texts, &last);
    if (status == MAGPIE_OK) status = ops->linear(l->lane, c->projection, last, texts, &l->features);
    return status == MAGPIE_OK
               ? ops->pool(l->lane, &l->features, l->singles, texts, OPS_POOL_FIRST, unit, out)
               : status;
}
