/* neural_part.c - some likes and their negatives, forwards and backwards. The formulas are in neural.h. */
#include "neural.h"

#include <math.h>
#include <string.h>

#include "ials_solve.h"
#include "products.h"

/* ---- memory ---- */

void neural_part_layout(const neural_shape *s, size_t likes, size_t pairs, bool shared, neural_part *part,
                        magpie_block *block) {
    const size_t slots[NEURAL_TABLES] = {likes, neural_item_slots(likes, pairs, shared), likes * s->history};
    const size_t columns[NEURAL_TABLES] = {s->row, s->row, s->value};
    part->pairs = pairs;
    part->shared = shared;
    part->history_count = magpie_carve(block, likes, sizeof *part->history_count);
    for (size_t t = 0; t < NEURAL_TABLES; t++) {
        part->slots[t].of = magpie_carve(block, slots[t], sizeof *part->slots[t].of);
        part->slots[t].slopes = magpie_carve(block, slots[t] * columns[t], sizeof *part->slots[t].slopes);
    }
    part->base_user = magpie_carve(block, likes * s->base, sizeof *part->base_user);
    part->liked = magpie_carve(block, shared ? likes * (pairs - 1) : 0, sizeof *part->liked);
    part->dense = magpie_carve(block, s->dense, sizeof *part->dense);
}

void neural_scratch_layout(const neural_shape *s, size_t likes, size_t pairs, bool shared, size_t user_likes,
                           neural_scratch *out, magpie_block *block) {
    size_t slots = neural_item_slots(likes, pairs, shared), first = s->layers ? s->width[0] : 0;
    out->chunk = (NEURAL_PAIRS + pairs - 1) / pairs;
    size_t all = (out->chunk < likes ? out->chunk : likes) * pairs;
    out->user = magpie_carve(block, likes * s->row, sizeof(float));
    out->item = magpie_carve(block, slots * s->row, sizeof(float));
    out->user_half = magpie_carve(block, likes * first, sizeof(float));
    out->item_half = magpie_carve(block, slots * first, sizeof(float));
    out->user_half_slope = magpie_carve(block, likes * first, sizeof(float));
    out->item_half_slope = magpie_carve(block, slots * first, sizeof(float));
    for (size_t l = 0; l < s->layers; l++) {
        out->hidden[l] = magpie_carve(block, all * s->width[l], sizeof(float));
        out->hidden_slope[l] = l || shared ? magpie_carve(block, all * s->width[l], sizeof(float)) : NULL;
    }
    out->logits = magpie_carve(block, all, sizeof(float));
    out->scaled = magpie_carve(block, likes * s->gmf, sizeof(float));
    out->shared = magpie_carve(block, shared ? likes * (pairs - 1) : 0, sizeof(float));
    out->base_item = magpie_carve(block, slots * s->base, sizeof(float));
    out->base = magpie_carve(block, s->base ? likes * pairs : 0, sizeof(float));
    out->solving = magpie_carve(block, s->base ? ials_scratch(s->base) : 0, sizeof(float));
    out->others = magpie_carve(block, s->base ? user_likes : 0, sizeof *out->others);
    out->temporary = magpie_carve(block, s->row, sizeof(float));
    out->attention = magpie_carve(block, likes * s->heads * s->history, sizeof(float));
    out->values = magpie_carve(block, s->history * s->value, sizeof(float));
    out->attention_slope = magpie_carve(block, s->heads * s->history, sizeof(float));
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

/* Those that are summed up in place; the tower's are written over. */
static void clear_slopes(const neural_shape *s, neural_slots *slots) {
    for (size_t i = 0; i < slots->n; i++) {
        float *x = slots->slopes + i * s->row;
        memset(x, 0, s->gmf * sizeof *x);
        if (s->bias) x[s->row - 1] = 0;
    }
}

/* ---- forwards: likes first .. first+n-1 ---- */

static void run_tower(const neural *net, const neural_part *part, size_t first, size_t n, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    const float *w = net->table[TABLE_DENSE].values;
    size_t width = s->width[0], pairs = part->pairs;
    for (size_t g = first; g < first + n; g++) {
        const float *half = x->user_half + g * width;
        float *h = x->hidden[0] + (g - first) * pairs * width;
        kernels->add_relu(half, x->item_half + neural_slot(part, g, 0) * width, 1, width, h);
        kernels->add_relu(half, x->item_half + neural_slot(part, g, 1) * width, pairs - 1, width, h + width);
    }
    for (size_t l = 1; l < s->layers; l++) {
        size_t in = s->width[l - 1], out = s->width[l];
        kernels->layer(x->hidden[l - 1], n * pairs, in, w + s->layer[l], w + s->layer_bias[l], out,
                       x->hidden[l]);
    }
}

static void run_logits(const neural *net, const neural_part *part, size_t first, size_t n,
                       neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    const float *w = net->table[TABLE_DENSE].values;
    size_t pairs = part->pairs, others = pairs - 1;
    for (size_t g = first; g < first + n; g++) {
        const float *scaled = x->scaled + g * s->gmf, *own = x->item + neural_slot(part, g, 0) * s->row,
                    *other = x->item + neural_slot(part, g, 1) * s->row;
        float *logits = x->logits + (g - first) * pairs;
        float constant = w[s->out_bias] + (s->bias ? x->user[(g + 1) * s->row - 1] : 0);
        for (size_t j = 0; j < pairs; j++)
            logits[j] = constant + (s->bias ? (j ? other + (j - 1) * s->row : own)[s->row - 1] : 0);
        kernels->dots(scaled, own, s->row, 1, s->gmf, logits);
        if (part->shared)
            kernels->add(logits + 1, x->shared + g * others, 1, others);
        else
            kernels->dots(scaled, other, s->row, others, s->gmf, logits + 1);
    }
    if (s->base) kernels->add(x->logits, x->base + first * pairs, w[s->out_base], n * pairs);
    if (!s->layers) return;
    size_t last = s->width[s->layers - 1];
    kernels->dots(w + s->out_mlp, x->hidden[s->layers - 1], last, n * pairs, last, x->logits);
}

/* ---- the loss of n likes: logits become its slopes ---- */

/* The sum of log(1 + e^x) of n numbers, which become sigma(x): max(x, 0) less the logarithm of the larger of
 * sigma(x) and sigma(-x). Without a logarithm for each: a double holds the product of 512 halves. */
static double softplus(float *x, size_t n) {
    double loss = 0;
    for (size_t i = 0; i < n; i++) loss += x[i] > 0 ? (double)x[i] : 0;
    neural_kernels_level(0)->sigmoid(x, n);
    for (size_t i = 0; i < n;) {
        double all = 1;
        for (size_t end = i + 512 < n ? i + 512 : n; i < end; i++)
            all *= x[i] > 0.5f ? (double)x[i] : 1 - (double)x[i];
        loss -= log(all);
    }
    return loss;
}

/* -log sigma(l_0), which is log(1 + e^l_0) - l_0, and -log sigma(-l_j) of every negative j. */
static double binary_loss(size_t n, size_t pairs, float scale, float *logits) {
    double own = 0;
    for (size_t g = 0; g < n; g++) own += (double)logits[g * pairs];
    const double loss = softplus(logits, n * pairs) - own;
    for (float *l = logits; l < logits + n * pairs; l += pairs) {
        l[0] -= 1;
        for (size_t j = 0; j < pairs; j++) l[j] *= scale;
    }
    return loss;
}

/* -log sigma(l_0 - l_j) of every negative j. */
static double ranking_loss(size_t n, size_t pairs, float scale, float *logits) {
    double loss = 0;
    for (float *l = logits; l < logits + n * pairs; l += pairs) {
        float own = 0;
        for (size_t j = 1; j < pairs; j++) l[j] -= l[0];
        loss += softplus(l + 1, pairs - 1);
        for (size_t j = 1; j < pairs; j++) own += l[j] *= scale;
        l[0] = -own;
    }
    return loss;
}

/* -log of the share of the like among it and its negatives. Negatives are drawn evenly, so log q is the same
 * for all of them, log(drawn / items): each stands for items / drawn others. What the like itself is drawn
 * for does not count. */
static double softmax_loss(size_t items, size_t n, size_t pairs, float scale, float *logits) {
    float less = logf((float)items / (float)(pairs - 1));
    double loss = 0;
    for (size_t g = 0; g < n; g++, logits += pairs) {
        float own = logits[0], most = own;
        for (size_t j = 1; j < pairs; j++) {
            logits[j] += less;
            most = logits[j] > most ? logits[j] : most;
        }
        float sum = neural_kernels_level(0)->exponentials(logits, pairs);
        loss += log((double)sum) + (double)(most - own);
        for (size_t j = 0; j < pairs; j++) logits[j] *= scale / sum;
        logits[0] -= scale;
    }
    return loss;
}

/* ---- backwards ---- */

/* Slopes of what is not the tower: biases; items' rows and, before they are times a, the users'. */
static void slope_of_logits(const neural *net, neural_part *part, size_t first, size_t n, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    float *items = part->slots[TABLE_ITEMS].slopes;
    size_t others = part->pairs - 1;
    if (s->base)
        part->dense[s->out_base] += kernels->dot(x->logits, x->base + first * part->pairs, n * part->pairs);
    for (size_t g = first; g < first + n; g++) {
        const float *slopes = x->logits + (g - first) * part->pairs, *scaled = x->scaled + g * s->gmf;
        float *du = part->slots[TABLE_USERS].slopes + g * s->row, sum = 0;
        size_t own = neural_slot(part, g, 0) * s->row, other = neural_slot(part, g, 1) * s->row;
        for (size_t j = 0; j < part->pairs; j++) {
            sum += slopes[j];
            if (s->bias) items[(j ? other + (j - 1) * s->row : own) + s->row - 1] += slopes[j];
        }
        if (s->bias) du[s->row - 1] = sum;
        part->dense[s->out_bias] += sum;
        kernels->add(items + own, scaled, slopes[0], s->gmf);
        kernels->add(du, x->item + own, slopes[0], s->gmf);
        if (part->shared) {
            memcpy(x->shared + g * others, slopes + 1, others * sizeof *slopes);
            continue;
        }
        kernels->add_outer(items + other, s->row, slopes + 1, scaled, others, s->gmf);
        kernels->add_rows(du, x->item + other, s->row, slopes + 1, others, s->gmf);
    }
}

/* Slopes of the tower's layers, and of both halves of the first: an item's is the pair's, where it is in no
 * other. */
static void slope_of_tower(const neural *net, neural_part *part, size_t first, size_t n, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    const float *w = net->table[TABLE_DENSE].values;
    float *dense = part->dense;
    size_t pairs = part->pairs, all = n * pairs, l = s->layers - 1, width = s->width[0];
    if (!part->shared) x->hidden_slope[0] = x->item_half_slope + first * pairs * width;
    kernels->add_rows(dense + s->out_mlp, x->hidden[l], s->width[l], x->logits, all, s->width[l]);
    memset(x->hidden_slope[l], 0, all * s->width[l] * sizeof(float));
    kernels->add_outer(x->hidden_slope[l], s->width[l], x->logits, w + s->out_mlp, all, s->width[l]);
    for (; l > 0; l--) {
        size_t in = s->width[l - 1], out = s->width[l];
        kernels->relu_slope(x->hidden[l], all * out, x->hidden_slope[l]);
        kernels->add_rows(dense + s->layer_bias[l], x->hidden_slope[l], out, NULL, all, out);
        product_of_slopes(all, in, out, x->hidden[l - 1], in, x->hidden_slope[l], out, dense + s->layer[l],
                          out);
        product_turned(all, in, out, x->hidden_slope[l], out, w + s->layer[l], out, x->hidden_slope[l - 1],
                       in);
    }
    kernels->relu_slope(x->hidden[0], all * width, x->hidden_slope[0]);
    for (size_t g = first; g < first + n; g++) {
        const float *d = x->hidden_slope[0] + (g - first) * pairs * width;
        kernels->add_rows(x->user_half_slope + g * width, d, width, NULL, pairs, width);
        if (!part->shared) continue;
        kernels->add(x->item_half_slope + neural_slot(part, g, 0) * width, d, 1, width);
        kernels->add(x->item_half_slope + neural_slot(part, g, 1) * width, d + width, 1, (pairs - 1) * width);
    }
}

/* ---- a part ---- */

/* Users' rows times a; and with negatives that are the part's, all that these two make, in one product. */
static void begin_gmf(const neural *net, const neural_part *part, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    for (size_t g = 0; g < part->likes; g++)
        neural_kernels_level(0)->multiply(x->user + g * s->row, net->table[TABLE_DENSE].values + s->out_gmf,
                                          s->gmf, x->scaled + g * s->gmf);
    if (part->shared)
        product_turned(part->likes, part->pairs - 1, s->gmf, x->scaled, s->gmf,
                       x->item + part->likes * s->row, s->row, x->shared, part->pairs - 1);
}

static void end_gmf(const neural *net, neural_part *part, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    size_t others = part->pairs - 1;
    float *users = part->slots[TABLE_USERS].slopes;
    if (part->shared) {
        product(part->likes, s->gmf, others, x->shared, others, x->item + part->likes * s->row, s->row, 1,
                users, s->row);
        product_of_slopes(part->likes, others, s->gmf, x->shared, others, x->scaled, s->gmf,
                          part->slots[TABLE_ITEMS].slopes + part->likes * s->row, s->row);
    }
    for (size_t g = 0; g < part->likes; g++) {
        float *du = users + g * s->row;
        kernels->multiply(du, x->user + g * s->row, s->gmf, x->temporary);
        kernels->add(part->dense + s->out_gmf, x->temporary, 1, s->gmf);
        kernels->multiply(du, net->table[TABLE_DENSE].values + s->out_gmf, s->gmf, du);
    }
}

static void begin_tower(const neural *net, const neural_part *part, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const float *w = net->table[TABLE_DENSE].values;
    size_t width = s->width[0], slots = part->slots[TABLE_ITEMS].n;
    for (size_t g = 0; g < part->likes; g++)
        memcpy(x->user_half + g * width, w + s->layer_bias[0], width * sizeof *w);
    product(part->likes, width, s->mlp, x->user + s->gmf, s->row, w + s->first_user, width, 1, x->user_half,
            width);
    product(slots, width, s->mlp, x->item + s->gmf, s->row, w + s->first_item, width, 0, x->item_half, width);
    memset(x->user_half_slope, 0, part->likes * width * sizeof(float));
    if (part->shared) memset(x->item_half_slope, 0, slots * width * sizeof(float));
}

static void end_tower(const neural *net, neural_part *part, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const float *w = net->table[TABLE_DENSE].values;
    size_t width = s->width[0], users = part->likes, items = part->slots[TABLE_ITEMS].n;
    float *dense = part->dense;
    neural_kernels_level(0)->add_rows(dense + s->layer_bias[0], x->user_half_slope, width, NULL, users,
                                      width);
    product_of_slopes(users, s->mlp, width, x->user + s->gmf, s->row, x->user_half_slope, width,
                      dense + s->first_user, width);
    product_of_slopes(items, s->mlp, width, x->item + s->gmf, s->row, x->item_half_slope, width,
                      dense + s->first_item, width);
    product_turned(users, s->mlp, width, x->user_half_slope, width, w + s->first_user, width,
                   part->slots[TABLE_USERS].slopes + s->gmf, s->row);
    product_turned(items, s->mlp, width, x->item_half_slope, width, w + s->first_item, width,
                   part->slots[TABLE_ITEMS].slopes + s->gmf, s->row);
}

/* Shared negatives that the user likes are none. */
static void leave_out_liked(const neural_part *part, size_t first, size_t n, float *logits) {
    size_t others = part->pairs - 1;
    for (size_t g = 0; g < n && part->shared; g++)
        for (size_t j = 0; j < others; j++)
            if (part->liked[(first + g) * others + j]) logits[g * part->pairs + 1 + j] = -INFINITY;
}

static double loss_of(const neural *net, const neural_options *o, const neural_part *part, size_t first,
                      size_t n, float *logits) {
    float scale = (float)o->scale;
    leave_out_liked(part, first, n, logits);
    switch (o->loss) {
    case MAGPIE_RANKER_BPR: return ranking_loss(n, part->pairs, scale, logits);
    case MAGPIE_RANKER_SOFTMAX: return softmax_loss(net->shape.items, n, part->pairs, scale, logits);
    default: return binary_loss(n, part->pairs, scale, logits);
    }
}

void neural_run_part(const neural *net, const neural_options *o, neural_part *part, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    neural_slots *users = &part->slots[TABLE_USERS], *items = &part->slots[TABLE_ITEMS];
    memset(part->dense, 0, s->dense * sizeof *part->dense);
    clear_slopes(s, users);
    clear_slopes(s, items);
    gather(&net->table[TABLE_USERS], users, x->user);
    gather(&net->table[TABLE_ITEMS], items, x->item);
    if (s->history) magpie_rows_forward(net, o, part, x);
    if (s->base) neural_base_forward(net, part, x);
    if (s->gmf) begin_gmf(net, part, x);
    if (s->layers) begin_tower(net, part, x);
    part->loss = 0;
    for (size_t first = 0; first < part->likes; first += x->chunk) {
        size_t n = part->likes - first < x->chunk ? part->likes - first : x->chunk;
        if (s->layers) run_tower(net, part, first, n, x);
        run_logits(net, part, first, n, x);
        part->loss += loss_of(net, o, part, first, n, x->logits);
        slope_of_logits(net, part, first, n, x);
        if (s->layers) slope_of_tower(net, part, first, n, x);
    }
    if (s->gmf) end_gmf(net, part, x);
    if (s->layers) end_tower(net, part, x);
    if (s->history) magpie_rows_backward(net, o, part, x);
}
