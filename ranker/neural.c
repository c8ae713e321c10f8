/* neural.c - the networks' shapes, tensors and memory. Names of tensors, and shapes, row-major:
 *
 *     user.gmf [users, gmf], user.mlp [users, mlp], user.bias [users]; item.* likewise
 *     tower.N.weight [in, out], tower.N.bias [out]; the first layer's input is user.mlp, then item.mlp
 *     out.gmf [gmf], out.mlp [last width], out.bias [1]
 *     history.items [items, value], history.key [heads, value], history.position [heads, likes],
 *     base.items [items, base], out.base [1]: base.c
 *     history.mix [heads x value, row], history.bias [row], content.mix [content, row]
 *
 * which are a Keras model's, layer by layer: ranker/import_ncf.py takes those of the paper's authors. */
#include "neural.h"
#include "neural_gpu.h"

#include <stdlib.h>

#include "simd.h"

extern const neural_kernels neural_kernels_base;
#ifdef MAGPIE_SIMD_X86
extern const neural_kernels neural_kernels_v3, neural_kernels_v4;
#endif

const neural_kernels *neural_kernels_level(size_t i) {
    const neural_kernels *levels[3];
    size_t n = 0;
#ifdef MAGPIE_SIMD_X86
    if (simd_runs_v4()) levels[n++] = &neural_kernels_v4;
    if (simd_runs_v3()) levels[n++] = &neural_kernels_v3;
#endif
    levels[n++] = &neural_kernels_base;
    return i < n ? levels[i] : NULL;
}

/* ---- shape ---- */

static size_t take(neural_shape *s, size_t n) {
    size_t at = s->dense;
    s->dense += n;
    return at;
}

static void lay_out_dense(neural_shape *s) {
    size_t last = s->layers ? s->width[s->layers - 1] : 0;
    s->first_user = take(s, s->mlp * (s->layers ? s->width[0] : 0));
    s->first_item = take(s, s->mlp * (s->layers ? s->width[0] : 0));
    for (size_t l = 0; l < s->layers; l++) {
        if (l) s->layer[l] = take(s, s->width[l - 1] * s->width[l]);
        s->layer_bias[l] = take(s, s->width[l]);
    }
    s->out_gmf = take(s, s->gmf);
    s->out_mlp = take(s, last);
    s->out_bias = take(s, 1);
    s->key = take(s, s->heads * s->value);
    s->position = take(s, s->heads * s->history);
    s->mix = take(s, s->heads * s->value * s->row);
    s->mix_bias = take(s, s->heads ? s->row : 0);
    s->out_base = take(s, s->base > 0);
    s->project = take(s, s->content * s->row);
}

void neural_shape_of(const magpie_ranker_info *info, const magpie_ranker_options *o, neural_shape *out) {
    bool magpie = info->kind == MAGPIE_RANKER_MAGPIE, mf = info->kind == MAGPIE_RANKER_MF;
    size_t factors = (size_t)o->factors, last = magpie && o->tower > 0 ? (size_t)o->tower : factors;
    neural_shape s = {.users = info->users, .items = info->items};
    s.gmf = info->kind == MAGPIE_RANKER_MLP ? 0 : factors;
    s.layers = mf || info->kind == MAGPIE_RANKER_GMF ? 0 : (size_t)o->layers;
    for (size_t l = 0; l < s.layers; l++) s.width[l] = last << (s.layers - 1 - l);
    s.mlp = s.layers ? s.width[0] : 0;
    s.bias = magpie || mf;
    s.row = s.gmf + s.mlp + s.bias;
    if (magpie) {
        s.heads = (size_t)o->heads;
        s.history = (size_t)o->history;
        s.value = factors;
        s.base = (size_t)o->base;
        s.content = info->content;
    }
    lay_out_dense(&s);
    *out = s;
}

/* ---- memory ---- */

static void lay_out(neural *net, magpie_block *block) {
    const neural_shape *s = &net->shape;
    const neural_table tables[NEURAL_TABLES + 1] = {{.rows = s->users, .columns = s->row},
                                                    {.rows = s->items, .columns = s->row},
                                                    {.rows = s->value ? s->items : 0, .columns = s->value},
                                                    {.rows = 1, .columns = s->dense}};
    for (size_t t = 0; t <= NEURAL_TABLES; t++) {
        net->table[t] = tables[t];
        net->table[t].values = magpie_carve(block, tables[t].rows * tables[t].columns, sizeof(float));
    }
    net->base = magpie_carve(block, s->items * s->base, sizeof(float));
    net->base_gram = magpie_carve(block, s->base * s->base, sizeof(float));
}

static void free_network(void *state) {
    neural *net = state;
    if (!net) return;
    neural_gpu_close(net->gpu);
    magpie_block_free(&net->block);
    magpie_block_free(&net->ready);
    free(net);
}

static magpie_status create(magpie_ranker *ranker) {
    neural_shape shape;
    neural_shape_of(&ranker->info, &ranker->options, &shape);
    if (shape.layers && shape.width[0] > NEURAL_WIDTH_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "the tower's first layer would be %zu wide, of %d at most",
                           shape.width[0], NEURAL_WIDTH_MAX);
    neural *net = magpie_alloc(1, sizeof *net);
    if (!net) return MAGPIE_E_NO_MEMORY;
    net->shape = shape;
    lay_out(net, &net->block);
    magpie_status status = magpie_block_alloc(&net->block);
    if (status == MAGPIE_OK) lay_out(net, &net->block);
    if (status != MAGPIE_OK) {
        free_network(net);
        return status;
    }
    ranker->state = net;
    return MAGPIE_OK;
}

/* ---- tensors ---- */

typedef struct lister {
    ranker_tensor *out;
    size_t n;
} lister;

static void list(lister *l, const char *name, ranker_rows of, size_t rows, size_t columns, size_t stride,
                 float *values) {
    if (rows && values)
        l->out[l->n++] = (ranker_tensor){
            .name = name, .of = of, .rows = rows, .columns = columns, .stride = stride, .values = values};
}

static size_t tensors(const magpie_ranker *ranker, ranker_tensor *out) {
    static const char *const weight[NEURAL_LAYERS_MAX] = {
        "tower.0.weight", "tower.1.weight", "tower.2.weight", "tower.3.weight",
        "tower.4.weight", "tower.5.weight", "tower.6.weight", "tower.7.weight"};
    static const char *const bias[NEURAL_LAYERS_MAX] = {"tower.0.bias", "tower.1.bias", "tower.2.bias",
                                                        "tower.3.bias", "tower.4.bias", "tower.5.bias",
                                                        "tower.6.bias", "tower.7.bias"};
    static const char *const rows[2][3] = {{"user.gmf", "user.mlp", "user.bias"},
                                           {"item.gmf", "item.mlp", "item.bias"}};
    const neural *net = ranker->state;
    const neural_shape *s = &net->shape;
    float *dense = net->table[TABLE_DENSE].values;
    size_t last = s->layers ? s->width[s->layers - 1] : 0;
    lister l = {.out = out};
    for (size_t t = 0; t < 2; t++) {
        const neural_table *table = &net->table[t];
        ranker_rows of = t == TABLE_USERS ? ROWS_USERS : ROWS_ITEMS;
        if (s->gmf) list(&l, rows[t][0], of, table->rows, s->gmf, s->row, table->values);
        if (s->mlp) list(&l, rows[t][1], of, table->rows, s->mlp, s->row, table->values + s->gmf);
        if (s->bias) list(&l, rows[t][2], of, table->rows, 0, s->row, table->values + s->row - 1);
    }
    for (size_t i = 0; i < s->layers; i++) {
        size_t in = i ? s->width[i - 1] : 2 * s->mlp, at = i ? s->layer[i] : s->first_user;
        list(&l, weight[i], ROWS_OTHER, in, s->width[i], s->width[i], dense + at);
        list(&l, bias[i], ROWS_OTHER, s->width[i], 0, 1, dense + s->layer_bias[i]);
    }
    list(&l, "out.gmf", ROWS_OTHER, s->gmf, 0, 1, dense + s->out_gmf);
    list(&l, "out.mlp", ROWS_OTHER, last, 0, 1, dense + s->out_mlp);
    list(&l, "out.bias", ROWS_OTHER, 1, 0, 1, dense + s->out_bias);
    if (s->heads) {
        list(&l, "history.items", ROWS_ITEMS, s->items, s->value, s->value, net->table[TABLE_HISTORY].values);
        list(&l, "history.key", ROWS_OTHER, s->heads, s->value, s->value, dense + s->key);
        list(&l, "history.position", ROWS_OTHER, s->heads, s->history, s->history, dense + s->position);
        list(&l, "history.mix", ROWS_OTHER, s->heads * s->value, s->row, s->row, dense + s->mix);
        list(&l, "history.bias", ROWS_OTHER, s->row, 0, 1, dense + s->mix_bias);
    }
    if (s->base) {
        list(&l, "base.items", ROWS_ITEMS, s->items, s->base, s->base, net->base);
        list(&l, "out.base", ROWS_OTHER, 1, 0, 1, dense + s->out_base);
    }
    list(&l, "content.mix", ROWS_OTHER, s->content, s->row, s->row, dense + s->project);
    return l.n;
}

const ranker_model ranker_neural = {.create = create,
                                    .free = free_network,
                                    .tensors = tensors,
                                    .train = neural_train,
                                    .prepare = neural_prepare,
                                    .use_device = neural_use_device,
                                    .score = neural_score};
