/* prenorm.c - see prenorm.h. */
#include "prenorm.h"

#include <stdarg.h>
#include <stdlib.h>

typedef struct layer {
    ops_linear *qkv, *attention_output, *intermediate, *output;
    ops_norm *attention_norm, *mlp_norm;
} layer;

struct prenorm {
    const ops_table *ops;
    prenorm_config config;
    layer *layers; /* [config.layers] */
    ops_norm *final_norm;
};

struct prenorm_lane {
    prenorm *network;
    ops_lane *lane;
    /* [rows, width], but qkv [rows, 3 width] and intermediate [rows, intermediate] */
    ops_tensor x, normal, qkv, context, intermediate, sum, last;
};

/* ---- weights ---- */

/* What making them takes. */
typedef struct source {
    prenorm *network;
    ops_device *device;
    const prenorm_names *names;
    const safetensors *file;
} source;

static magpie_status find(const source *s, size_t rank, size_t rows, size_t columns, const tensor **out,
                          const char *format, ...) MAGPIE_PRINTF(6, 7);

static magpie_status find(const source *s, size_t rank, size_t rows, size_t columns, const tensor **out,
                          const char *format, ...) {
    char name[256];
    const size_t shape[] = {rows, columns};
    int used = snprintf(name, sizeof name, "%s", s->names->prefix);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name + used, sizeof name - (size_t)used, format, arguments);
    va_end(arguments);
    return safetensors_expect(s->file, name, rank, shape, out);
}

/* Adds NAME.weight [out, in] and NAME.bias [out] of layer `i` to a linear layer's source. */
static magpie_status add_part(const source *s, size_t i, const char *name, size_t out, size_t in,
                              ops_linear_source *linear) {
    const char *layer = s->names->layer;
    size_t p = linear->parts++;
    magpie_status status = find(s, 2, out, in, &linear->weight[p], "%s.%zu.%s.weight", layer, i, name);
    return status == MAGPIE_OK ? find(s, 1, out, 0, &linear->bias[p], "%s.%zu.%s.bias", layer, i, name)
                               : status;
}

static magpie_status make_linear(const source *s, size_t i, const char *name, size_t out, size_t in,
                                 ops_activation activation, ops_storage output, ops_linear **made) {
    ops_linear_source linear = {.activation = activation, .output = output};
    magpie_status status = add_part(s, i, name, out, in, &linear);
    return status == MAGPIE_OK ? s->network->ops->linear_create(s->device, &linear, made) : status;
}

static magpie_status make_qkv(const source *s, size_t i, ops_linear **made) {
    const char *const *names = s->names->query_key_value, *layer = s->names->layer;
    size_t width = s->network->config.width;
    ops_linear_source linear = {.activation = OPS_IDENTITY, .output = OPS_STREAM};
    magpie_status status = MAGPIE_OK;
    if (names[0]) {
        for (int p = 0; p < 3 && status == MAGPIE_OK; p++)
            status = add_part(s, i, names[p], width, width, &linear);
    } else {
        linear.parts = 1;
        status = find(s, 2, 3 * width, width, &linear.weight[0], "%s.%zu.attn.in_proj_weight", layer, i);
        if (status == MAGPIE_OK)
            status = find(s, 1, 3 * width, 0, &linear.bias[0], "%s.%zu.attn.in_proj_bias", layer, i);
    }
    return status == MAGPIE_OK ? s->network->ops->linear_create(s->device, &linear, made) : status;
}

static magpie_status make_norm(const source *s, const char *name, ops_norm **made) {
    const prenorm *n = s->network;
    const tensor *gamma, *beta;
    magpie_status status = find(s, 1, n->config.width, 0, &gamma, "%s.weight", name);
    if (status == MAGPIE_OK) status = find(s, 1, n->config.width, 0, &beta, "%s.bias", name);
    return status == MAGPIE_OK ? n->ops->norm_create(s->device, gamma, beta, n->config.epsilon, made)
                               : status;
}

static magpie_status make_layer_norm(const source *s, size_t i, const char *name, ops_norm **made) {
    char full[128];
    snprintf(full, sizeof full, "%s.%zu.%s", s->names->layer, i, name);
    return make_norm(s, full, made);
}

/* A task of the pool: layers are packed side by side. */
static magpie_status make_layer(void *context, size_t i, unsigned worker) {
    (void)worker;
    const source *s = context;
    const prenorm_config *c = &s->network->config;
    const prenorm_names *names = s->names;
    layer *l = &s->network->layers[i];
    size_t width = c->width;
    magpie_status status = make_qkv(s, i, &l->qkv);
    if (status == MAGPIE_OK)
        status = make_linear(s, i, names->attention_output, width, width, OPS_IDENTITY, OPS_SUM,
                             &l->attention_output);
    if (status == MAGPIE_OK)
        status = make_linear(s, i, names->intermediate, c->intermediate, width, c->activation, OPS_STREAM,
                             &l->intermediate);
    if (status == MAGPIE_OK)
        status = make_linear(s, i, names->output, width, c->intermediate, OPS_IDENTITY, OPS_SUM, &l->output);
    if (status == MAGPIE_OK) status = make_layer_norm(s, i, names->attention_norm, &l->attention_norm);
    if (status == MAGPIE_OK) status = make_layer_norm(s, i, names->mlp_norm, &l->mlp_norm);
    return status;
}

magpie_status prenorm_create(const ops_table *ops, ops_device *device, const prenorm_config *config,
                             const prenorm_names *names, const safetensors *file, magpie_pool *pool,
                             prenorm **out) {
    prenorm *n = magpie_alloc(1, sizeof *n);
    if (!n) return MAGPIE_E_NO_MEMORY;
    *n = (prenorm){.ops = ops, .config = *config};
    source s = {n, device, names, file};
    n->layers = magpie_alloc(config->layers, sizeof *n->layers);
    magpie_status status = n->layers ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = make_norm(&s, names->final_norm, &n->final_norm);
    if (status == MAGPIE_OK) status = magpie_pool_run(pool, config->layers, make_layer, &s);
    if (status == MAGPIE_OK)
        *out = n;
    else
        prenorm_free(n);
    return status;
}

void prenorm_free(prenorm *n) {
    if (!n) return;
    for (size_t i = 0; n->layers && i < n->config.layers; i++) {
        layer *l = &n->layers[i];
        ops_linear *linears[] = {l->qkv, l->attention_output, l->intermediate, l->output};
        for (int k = 0; k < 4; k++) n->ops->linear_free(linears[k]);
        n->ops->norm_free(l->attention_norm);
        n->ops->norm_free(l->mlp_norm);
    }
    n->ops->norm_free(n->final_norm);
    free(n->layers);
    free(n);
}

/* ---- running ---- */

magpie_status prenorm_lane_create(prenorm *network, ops_lane *lane, size_t rows, prenorm_lane **out) {
    prenorm_lane *l = magpie_alloc(1, sizeof *l);
    if (!l) return MAGPIE_E_NO_MEMORY;
    l->network = network;
    l->lane = lane;
    const size_t width = network->config.width;
    const struct {
        ops_tensor *tensor;
        size_t columns;
        ops_storage storage;
    } wanted[] = {
        {&l->x, width, OPS_SUM},          {&l->normal, width, OPS_STREAM},
        {&l->qkv, 3 * width, OPS_STREAM}, {&l->context, width, OPS_STREAM},
        {&l->sum, width, OPS_SUM},        {&l->intermediate, network->config.intermediate, OPS_STREAM},
        {&l->last, width, OPS_SUM},
    };
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && status == MAGPIE_OK; i++)
        status =
            network->ops->tensor_create(lane, rows, wanted[i].columns, wanted[i].storage, wanted[i].tensor);
    if (status == MAGPIE_OK)
        *out = l;
    else
        prenorm_lane_free(l);
    return status;
}

void prenorm_lane_free(prenorm_lane *l) { free(l); }

ops_tensor *prenorm_input(prenorm_lane *l) { return &l->x; }

/* What follows attention in a layer: x += output(context), sum = mlp(norm(x)), which is yet to be added to
 * x. */
static magpie_status run_mlp(prenorm_lane *l, const layer *w, ops_tensor *x, const ops_tensor *context,
                             size_t rows) {
    const ops_table *ops = l->network->ops;
    magpie_status status = ops->linear(l->lane, w->attention_output, context, rows, &l->sum);
    if (status == MAGPIE_OK) status = ops->add_norm(l->lane, w->mlp_norm, x, &l->sum, rows, &l->normal);
    if (status == MAGPIE_OK)
        status = ops->linear(l->lane, w->intermediate, &l->normal, rows, &l->intermediate);
    return status == MAGPIE_OK ? ops->linear(l->lane, w->output, &l->intermediate, rows, &l->sum) : status;
}

magpie_status prenorm_run(prenorm_lane *l, const size_t *starts, size_t texts, const ops_tensor *added,
                          const size_t *wanted, size_t count, ops_tensor **out) {
    const prenorm *n = l->network;
    const ops_table *ops = n->ops;
    size_t rows = starts[texts], layers = n->config.layers;
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < layers && status == MAGPIE_OK; i++) {
        const layer *w = &n->layers[i];
        status = ops->add_norm(l->lane, w->attention_norm, &l->x, i ? &l->sum : added, rows, &l->normal);
        if (status == MAGPIE_OK) status = ops->linear(l->lane, w->qkv, &l->normal, rows, &l->qkv);
        if (status == MAGPIE_OK)
            status = ops->attention(l->lane, &l->qkv, starts, texts, n->config.heads, n->config.causal,
                                    &l->context);
        if (status == MAGPIE_OK && i + 1 < layers) status = run_mlp(l, w, &l->x, &l->context, rows);
    }
    if (status == MAGPIE_OK) status = ops->gather(l->lane, &l->x, wanted, count, &l->last);
    if (status == MAGPIE_OK) status = ops->gather(l->lane, &l->context, wanted, count, &l->normal);
    if (status == MAGPIE_OK) status = run_mlp(l, &n->layers[layers - 1], &l->last, &l->normal, count);
    if (status == MAGPIE_OK)
        status = ops->add_norm(l->lane, n->final_norm, &l->last, &l->sum, count, &l->normal);
    *out = &l->normal;
    return status;
}
