/* neural_part.c - some likes and their negatives, forwards and backwards. The formulas are in neural.h. */
#include "neural.h"

#include <math.h>
#include <string.h>

#include "products.h"

/* ---- memory ---- */

static size_t slots_of_items(size_t likes, size_t pairs, bool shared) {
    return shared ? likes + pairs - 1 : likes * pairs;
}

void neural_part_layout(const neural_shape *s, size_t likes, size_t pairs, bool shared, neural_part *part,
                        magpie_block *block) {
    const size_t slots[NEURAL_TABLES] = {likes, slots_of_items(likes, pairs, shared), likes * s->history};
    const size_t columns[NEURAL_TABLES] = {s->row, s->row, s->value};
    part->pairs = pairs;
    part->shared = shared;
    part->history_count = magpie_carve(block, likes, sizeof *part->history_count);
    for (size_t t = 0; t < NEURAL_TABLES; t++) {
        part->slots[t].of = magpie_carve(block, slots[t], sizeof *part->slots[t].of);
        part->slots[t].slopes = magpie_carve(block, slots[t] * columns[t], sizeof *part->slots[t].slopes);
    }
    part->dense = magpie_carve(block, s->dense, sizeof *part->dense);
}

void neural_scratch_layout(const neural_shape *s, size_t likes, size_t pairs, bool shared, neural_scratch *out,
                           magpie_block *block) {
    size_t slots = slots_of_items(likes, pairs, shared), all = likes * pairs, first = s->layers ? s->width[0] : 0;
    out->user = magpie_carve(block, likes * s->row, sizeof(float));
    out->item = magpie_carve(block, slots * s->row, sizeof(float));
    out->user_half = magpie_carve(block, likes * first, sizeof(float));
    out->item_half = magpie_carve(block, slots * first, sizeof(float));
    out->user_half_slope = magpie_carve(block, likes * first, sizeof(float));
    out->item_half_slope = magpie_carve(block, slots * first, sizeof(float));
    for (size_t l = 0; l < s->layers; l++) {
        out->hidden[l] = magpie_carve(block, all * s->width[l], sizeof(float));
        out->hidden_slope[l] = magpie_carve(block, all * s->width[l], sizeof(float));
    }
    out->logits = magpie_carve(block, all, sizeof(float));
    out->temporary = magpie_carve(block, s->row, sizeof(float));
    out->attention = magpie_carve(block, likes * s->heads * s->history, sizeof(float));
    out->mixed = magpie_carve(block, likes * s->heads * s->value, sizeof(float));
    out->mixed_slope = magpie_carve(block, likes * s->heads * s->value, sizeof(float));
    out->content = magpie_carve(block, slots * s->content, sizeof(float));
    out->kept = magpie_carve(block, likes + slots, sizeof *out->kept);
}

/* ---- rows ---- */

static void gather(const neural_table *table, const neural_slots *slots, float *out) {
    size_t n = table->columns;
    for (size_t i = 0; i < slots->n; i++)
        memcpy(out + i * n, table->values + slots->of[i] * n, n * sizeof *out);
}

/* ---- forwards ---- */

static void run_tower(const neural *net, const neural_part *part, const neural_kernels *kernels,
                      neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const float *w = net->dense.values;
    size_t width = s->width[0], pairs = part->pairs, all = part->likes * pairs;
    product(part->likes, width, s->mlp, x->user + s->gmf, s->row, w + s->first_user, 0, x->user_half, width);
    product(part->slots[TABLE_ITEMS].n, width, s->mlp, x->item + s->gmf, s->row, w + s->first_item, 0,
            x->item_half, width);
    for (size_t g = 0; g < part->likes; g++) {
        float *half = x->user_half + g * width;
        kernels->add(half, w + s->layer_bias[0], 1, width);
        for (size_t j = 0; j < pairs; j++)
            kernels->add_relu(half, x->item_half + neural_slot(part, g, j) * width, width,
                              x->hidden[0] + (g * pairs + j) * width);
    }
    for (size_t l = 1; l < s->layers; l++) {
        size_t in = s->width[l - 1], out = s->width[l];
        product(all, out, in, x->hidden[l - 1], in, w + s->layer[l], 0, x->hidden[l], out);
        for (size_t p = 0; p < all; p++) {
            float *h = x->hidden[l] + p * out;
            kernels->add_relu(h, w + s->layer_bias[l], out, h);
        }
    }
}

static void run_logits(const neural *net, const neural_part *part, const neural_kernels *kernels,
                       neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const float *w = net->dense.values;
    size_t last = s->layers ? s->width[s->layers - 1] : 0;
    for (size_t g = 0; g < part->likes; g++) {
        const float *user = x->user + g * s->row;
        float constant = w[s->out_bias] + (s->bias ? user[s->row - 1] : 0);
        kernels->multiply(user, w + s->out_gmf, s->gmf, x->temporary);
        for (size_t j = 0; j < part->pairs; j++) {
            size_t p = g * part->pairs + j;
            const float *item = x->item + neural_slot(part, g, j) * s->row;
            float logit = constant + (s->bias ? item[s->row - 1] : 0);
            if (s->gmf) logit += kernels->dot(x->temporary, item, s->gmf);
            if (last) logit += kernels->dot(x->hidden[s->layers - 1] + p * last, w + s->out_mlp, last);
            x->logits[p] = logit;
        }
    }
}

/* ---- the loss: logits become its slopes ---- */

static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }

static double binary_loss(const neural_part *part, const neural_kernels *kernels, float scale, float *logits) {
    double loss = 0;
    for (size_t p = 0; p < part->likes * part->pairs; p++)
        loss += softplus(p % part->pairs ? (double)logits[p] : -(double)logits[p]);
    kernels->sigmoid(logits, part->likes * part->pairs);
    for (size_t p = 0; p < part->likes * part->pairs; p += part->pairs) logits[p] -= 1;
    for (size_t p = 0; p < part->likes * part->pairs; p++) logits[p] *= scale;
    return loss;
}

/* -log sigma(l_0 - l_j) of every negative j. */
static double ranking_loss(const neural_part *part, const neural_kernels *kernels, float scale, float *logits) {
    double loss = 0;
    for (float *l = logits; l < logits + part->likes * part->pairs; l += part->pairs) {
        float own = 0;
        for (size_t j = 1; j < part->pairs; j++) {
            l[j] -= l[0];
            loss += softplus((double)l[j]);
        }
        kernels->sigmoid(l + 1, part->pairs - 1);
        for (size_t j = 1; j < part->pairs; j++) own += l[j] *= scale;
        l[0] = -own;
    }
    return loss;
}

/* -log of the share of the like among it and its negatives. Negatives are drawn evenly, so log q is the same
 * for all of them, log(drawn / items): each stands for items / drawn others. What the like itself is drawn
 * for does not count. */
static double softmax_loss(const neural *net, const neural_part *part, const neural_kernels *kernels,
                           float scale, float *logits) {
    const uint32_t *items = part->slots[TABLE_ITEMS].of;
    float less = logf((float)net->shape.items / (float)(part->pairs - 1));
    double loss = 0;
    for (size_t g = 0; g < part->likes; g++) {
        float *l = logits + g * part->pairs, own = l[0];
        for (size_t j = 1; j < part->pairs; j++)
            l[j] = items[neural_slot(part, g, j)] == items[neural_slot(part, g, 0)] ? -INFINITY : l[j] + less;
        float most = own;
        for (size_t j = 1; j < part->pairs; j++) most = fmaxf(most, l[j]);
        float sum = kernels->exponentials(l, part->pairs);
        loss += log((double)sum) + (double)(most - own);
        for (size_t j = 0; j < part->pairs; j++) l[j] *= scale / sum;
        l[0] -= scale;
    }
    return loss;
}

static double loss_of(const neural *net, const neural_options *o, const neural_part *part,
                      const neural_kernels *kernels, float *logits) {
    float scale = (float)o->scale;
    switch (o->loss) {
    case MAGPIE_RANKER_BPR: return ranking_loss(part, kernels, scale, logits);
    case MAGPIE_RANKER_SOFTMAX: return softmax_loss(net, part, kernels, scale, logits);
    default: return binary_loss(part, kernels, scale, logits);
    }
}

/* ---- backwards ---- */

/* Slopes of what is not the tower: user's row, items' rows, a, c. Rows' slopes begin here, at 0. */
static void slope_of_logits(const neural *net, neural_part *part, const neural_kernels *kernels,
                            neural_scratch *x) {
    const neural_shape *s = &net->shape;
    float *users = part->slots[TABLE_USERS].slopes, *items = part->slots[TABLE_ITEMS].slopes, *dense = part->dense;
    const float *a = net->dense.values + s->out_gmf;
    memset(users, 0, part->likes * s->row * sizeof *users);
    memset(items, 0, part->slots[TABLE_ITEMS].n * s->row * sizeof *items);
    for (size_t g = 0; g < part->likes; g++) {
        float *du = users + g * s->row, sum = 0;
        const float *user = x->user + g * s->row;
        kernels->multiply(user, a, s->gmf, x->temporary);
        for (size_t j = 0; j < part->pairs; j++) {
            float slope = x->logits[g * part->pairs + j];
            size_t slot = neural_slot(part, g, j);
            float *di = items + slot * s->row;
            sum += slope;
            if (s->bias) di[s->row - 1] += slope;
            kernels->add(di, x->temporary, slope, s->gmf);
            kernels->add(du, x->item + slot * s->row, slope, s->gmf);
        }
        if (s->bias) du[s->row - 1] = sum;
        dense[s->out_bias] += sum;
        kernels->multiply(du, user, s->gmf, x->temporary);
        kernels->add(dense + s->out_gmf, x->temporary, 1, s->gmf);
        kernels->multiply(du, a, s->gmf, du);
    }
}

static void slope_of_tower(const neural *net, neural_part *part, const neural_kernels *kernels,
                           neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const float *w = net->dense.values;
    size_t pairs = part->pairs, all = part->likes * pairs, last = s->layers - 1, width = s->width[0];
    for (size_t p = 0; p < all; p++) {
        float *d = x->hidden_slope[last] + p * s->width[last];
        const float *h = x->hidden[last] + p * s->width[last];
        kernels->add(part->dense + s->out_mlp, h, x->logits[p], s->width[last]);
        memset(d, 0, s->width[last] * sizeof *d);
        kernels->add(d, w + s->out_mlp, x->logits[p], s->width[last]);
    }
    for (size_t l = last;; l--) {
        kernels->relu_slope(x->hidden[l], all * s->width[l], x->hidden_slope[l]);
        if (!l) break;
        size_t in = s->width[l - 1], out = s->width[l];
        for (size_t p = 0; p < all; p++)
            kernels->add(part->dense + s->layer_bias[l], x->hidden_slope[l] + p * out, 1, out);
        product_of_slopes(all, in, out, x->hidden[l - 1], in, x->hidden_slope[l], out, part->dense + s->layer[l]);
        product_back(all, in, out, x->hidden_slope[l], out, w + s->layer[l], 0, x->hidden_slope[l - 1], in);
    }
    memset(x->user_half_slope, 0, part->likes * width * sizeof(float));
    memset(x->item_half_slope, 0, part->slots[TABLE_ITEMS].n * width * sizeof(float));
    for (size_t g = 0; g < part->likes; g++) {
        float *du = x->user_half_slope + g * width;
        for (size_t j = 0; j < pairs; j++) {
            const float *d = x->hidden_slope[0] + (g * pairs + j) * width;
            kernels->add(du, d, 1, width);
            kernels->add(x->item_half_slope + neural_slot(part, g, j) * width, d, 1, width);
        }
        kernels->add(part->dense + s->layer_bias[0], du, 1, width);
    }
    const struct {
        const float *row, *half_slope;
        size_t first, n;
        float *slopes;
    } sides[2] = {{x->user, x->user_half_slope, s->first_user, part->likes, part->slots[TABLE_USERS].slopes},
                  {x->item, x->item_half_slope, s->first_item, part->slots[TABLE_ITEMS].n,
                   part->slots[TABLE_ITEMS].slopes}};
    for (size_t i = 0; i < 2; i++) {
        product_of_slopes(sides[i].n, s->mlp, width, sides[i].row + s->gmf, s->row, sides[i].half_slope, width,
                          part->dense + sides[i].first);
        product_back(sides[i].n, s->mlp, width, sides[i].half_slope, width, w + sides[i].first, 0,
                     sides[i].slopes + s->gmf, s->row);
    }
}

void neural_run_part(const neural *net, const neural_options *o, neural_part *part, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    memset(part->dense, 0, s->dense * sizeof *part->dense);
    gather(&net->table[TABLE_USERS], &part->slots[TABLE_USERS], x->user);
    gather(&net->table[TABLE_ITEMS], &part->slots[TABLE_ITEMS], x->item);
    if (s->history) magpie_rows_forward(net, o, part, x);
    if (s->layers) run_tower(net, part, kernels, x);
    run_logits(net, part, kernels, x);
    part->loss = loss_of(net, o, part, kernels, x->logits);
    slope_of_logits(net, part, kernels, x);
    if (s->layers) slope_of_tower(net, part, kernels, x);
    if (s->history) magpie_rows_backward(net, o, part, x);
}
