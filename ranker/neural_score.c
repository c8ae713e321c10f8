/* neural_score.c - scores of items for a user. The items' halves of the first layer are computed once, when
 * the model is opened; the user's half once for all items that are scored. */
#include "neural.h"
#include "neural_gpu.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blas.h"
#include "ials_solve.h"
#include "products.h"

/* ---- items ---- */

static void lay_out(neural *net, size_t items, magpie_block *block) {
    const neural_shape *s = &net->shape;
    net->item_half = magpie_carve(block, items * (s->layers ? s->width[0] : 0), sizeof(float));
    net->item_row = magpie_carve(block, items * s->row, sizeof(float));
    net->known = magpie_carve(block, items, sizeof *net->known);
}

static void prepare_rows(neural *net, const magpie_ranker_content *content, size_t items) {
    const neural_shape *s = &net->shape;
    memcpy(net->item_row, net->table[TABLE_ITEMS].values, s->items * s->row * sizeof(float));
    memset(net->item_row + s->items * s->row, 0, (items - s->items) * s->row * sizeof(float));
    for (size_t i = 0; i < items; i++) {
        const float *c = s->content && content && i < content->items ? content->rows[i] : NULL;
        float *row = net->item_row + i * s->row;
        net->known[i] = c || !ranker_is_zero(row, s->row);
        if (c)
            product(1, s->row, s->content, c, s->content, net->table[TABLE_DENSE].values + s->project, s->row,
                    1, row, s->row);
    }
}

magpie_status neural_prepare(magpie_ranker *ranker, const magpie_ranker_content *content) {
    neural *net = ranker->state;
    const neural_shape *s = &net->shape;
    size_t items = content && content->items > s->items && s->content ? content->items : s->items;
    if (items != net->prepared) {
        magpie_block_free(&net->ready);
        net->ready = (magpie_block){0};
        net->prepared = 0;
        lay_out(net, items, &net->ready);
        magpie_status status = magpie_block_alloc(&net->ready);
        if (status != MAGPIE_OK) return status;
        lay_out(net, items, &net->ready);
        net->prepared = items;
    }
    int before = blas_alone();
    prepare_rows(net, content, items);
    neural_base_prepare(net);
    if (s->layers)
        product(items, s->width[0], s->mlp, net->item_row + s->gmf, s->row,
                net->table[TABLE_DENSE].values + s->first_item, s->width[0], 0, net->item_half, s->width[0]);
    blas_restore(before);
    return MAGPIE_OK;
}

/* ---- the user ---- */

/* The most recent first, and of those only what the model has seen; returns how many. */
static size_t recent(const neural *net, const magpie_ranker_user *user, uint32_t *out) {
    const neural_shape *s = &net->shape;
    size_t n = 0;
    for (size_t i = user->n; i > 0 && n < s->history; i--) {
        uint32_t item = user->history[i - 1];
        if (item < s->items && !ranker_is_zero(net->table[TABLE_HISTORY].values + item * s->value, s->value))
            out[n++] = item;
    }
    return n;
}

static magpie_status user_row(const neural *net, const magpie_ranker_user *user, float *row, bool *any) {
    const neural_shape *s = &net->shape;
    const float *own =
        user->number < s->users ? net->table[TABLE_USERS].values + user->number * s->row : NULL;
    uint32_t history[NEURAL_HISTORY_MAX];
    size_t n = s->heads ? recent(net, user, history) : 0;
    *any = n > 0 || (own && !ranker_is_zero(own, s->row));
    if (own)
        memcpy(row, own, s->row * sizeof *row);
    else
        memset(row, 0, s->row * sizeof *row);
    if (!s->heads || !*any) return MAGPIE_OK;
    float *mixed = magpie_alloc(s->heads * (s->value + s->history) + n * s->value, sizeof *mixed);
    if (!mixed) return MAGPIE_E_NO_MEMORY;
    float *attention = mixed + s->heads * s->value, *rows = attention + s->heads * s->history;
    magpie_mix_history(net, history, n, rows, attention, mixed);
    neural_kernels_level(0)->add(row, net->table[TABLE_DENSE].values + s->mix_bias, 1, s->row);
    product(1, s->row, s->heads * s->value, mixed, s->heads * s->value,
            net->table[TABLE_DENSE].values + s->mix, s->row, 1, row, s->row);
    free(mixed);
    return MAGPIE_OK;
}

/* ---- scores ---- */

/* What is the same for all items. */
typedef struct asked {
    const float *user_half; /* [width 0], with the layer's bias */
    const float *user_gmf;  /* [gmf], times a */
    const float *base;      /* [base], times the strength; NULL: there is none */
    float constant;
    size_t step; /* items at a time */
} asked;

/* Where item number i of those asked for lies; beyond all items, that of another, whose score is not kept. */
static size_t place_of(const neural *net, const uint32_t *items, size_t i) {
    const size_t item = items ? items[i] : i;
    return item < net->prepared ? item : 0;
}

static const float *row_of(const neural *net, const uint32_t *items, size_t i) {
    return net->item_row + place_of(net, items, i) * net->shape.row;
}

static bool is_known(const neural *net, const uint32_t *items, size_t i) {
    const size_t item = items ? items[i] : i;
    return item < net->prepared && net->known[item];
}

static void score_tower(const neural *net, const asked *q, const uint32_t *items, size_t first, size_t n,
                        float *scores) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    const float *w = net->table[TABLE_DENSE].values;
    float scratch[2][NEURAL_WIDTH_MAX], *h = scratch[0], *next = scratch[1], *old;
    size_t width = s->width[0];
    if (!items) kernels->add_relu(q->user_half, net->item_half + first * width, n, width, h);
    for (size_t i = 0; i < n && items; i++)
        kernels->add_relu(q->user_half, net->item_half + place_of(net, items, first + i) * width, 1, width,
                          h + i * width);
    for (size_t l = 1; l < s->layers; l++, old = h, h = next, next = old) {
        kernels->layer(h, n, s->width[l - 1], w + s->layer[l], w + s->layer_bias[l], s->width[l], next);
    }
    size_t last = s->width[s->layers - 1];
    kernels->dots(w + s->out_mlp, h, last, n, last, scores);
}

static void score_some(const neural *net, const asked *q, const uint32_t *items, size_t first, size_t n,
                       float *scores) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    for (size_t i = 0; i < n; i++)
        scores[i] = q->constant + (s->bias ? row_of(net, items, first + i)[s->row - 1] : 0);
    if (!items) kernels->dots(q->user_gmf, net->item_row + first * s->row, s->row, n, s->gmf, scores);
    for (size_t i = 0; i < n && items; i++)
        scores[i] += kernels->dot(q->user_gmf, row_of(net, items, first + i), s->gmf);
    for (size_t i = 0; i < n && q->base; i++) {
        const size_t item = items ? items[first + i] : first + i;
        if (item < s->items) scores[i] += kernels->dot(q->base, net->base + item * s->base, s->base);
    }
    if (s->layers) score_tower(net, q, items, first, n, scores);
    for (size_t i = 0; i < n; i++)
        if (!is_known(net, items, first + i)) scores[i] = -INFINITY;
}

/* Items whose hidden layers stay in the first cache. */
static size_t at_a_time(size_t width) {
    enum { NUMBERS = 1 << 12 };
    return width < NUMBERS ? NUMBERS / width : 1;
}

/* The user's side of all scores, in `memory`: [row + width 0 + base + ials_scratch(base)]. */
static magpie_status ask(const magpie_ranker *ranker, const magpie_ranker_user *user, size_t n, float *memory,
                         asked *out) {
    const neural *net = ranker->state;
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    const float *w = net->table[TABLE_DENSE].values;
    size_t width = s->layers ? s->width[0] : 0;
    float *row = memory, *half = row + s->row, *base = half + width;
    bool any;
    magpie_status status = user_row(net, user, row, &any);
    if (status == MAGPIE_OK && !any)
        status = magpie_fail(MAGPIE_E_NOT_FOUND, "the model knows nothing of the user");
    if (status == MAGPIE_OK && s->base)
        status = neural_base_user(ranker, user->history, user->n, base + s->base, base);
    if (status != MAGPIE_OK) return status;
    *out = (asked){.user_half = half,
                   .user_gmf = row,
                   .base = s->base ? base : NULL,
                   .constant = w[s->out_bias] + (s->bias ? row[s->row - 1] : 0),
                   .step = width ? at_a_time(width) : n};
    for (size_t f = 0; f < s->base; f++) base[f] *= w[s->out_base];
    if (width) product(1, width, s->mlp, row + s->gmf, s->row, w + s->first_user, width, 0, half, width);
    if (width) kernels->add(half, w + s->layer_bias[0], 1, width);
    kernels->multiply(row, w + s->out_gmf, s->gmf, row);
    return MAGPIE_OK;
}

/* The same on a device. */
static magpie_status score_there(const neural *net, const asked *q, const uint32_t *items, size_t n,
                                 float *scores) {
    const neural_shape *s = &net->shape;
    float *vector = magpie_alloc(neural_gpu_vector(s), sizeof *vector);
    if (!vector) return MAGPIE_E_NO_MEMORY;
    memcpy(vector, q->user_gmf, s->gmf * sizeof *vector);
    if (q->base) memcpy(vector + s->gmf, q->base, s->base * sizeof *vector);
    vector[s->gmf + s->base] = q->constant;
    magpie_status status = neural_gpu_score(net->gpu, vector, q->user_half, 1, items, n, scores);
    free(vector);
    return status;
}

magpie_status neural_use_device(magpie_ranker *ranker, magpie_device device) {
    neural *net = ranker->state;
    neural_gpu_close(net->gpu);
    return neural_gpu_open(net, device, &net->gpu);
}

magpie_status neural_score(const magpie_ranker *ranker, const magpie_ranker_user *user, const uint32_t *items,
                           size_t n, float *scores) {
    const neural *net = ranker->state;
    const neural_shape *s = &net->shape;
    asked q;
    float *memory =
        magpie_alloc(s->row + (s->layers ? s->width[0] : 0) + (s->base ? s->base + ials_scratch(s->base) : 0),
                     sizeof *memory);
    if (!memory) return MAGPIE_E_NO_MEMORY;
    for (; !items && n > net->prepared; n--) scores[n - 1] = -INFINITY;
    int before = blas_alone();
    magpie_status status = ask(ranker, user, n, memory, &q);
    if (status == MAGPIE_OK && net->gpu) {
        status = score_there(net, &q, items, n, scores);
        n = 0;
    }
    for (size_t first = 0; first < n && status == MAGPIE_OK; first += q.step)
        score_some(net, &q, items, first, n - first < q.step ? n - first : q.step, scores + first);
    blas_restore(before);
    free(memory);
    return status;
}
