/* magpie.c - rows that are made of more than a table's row: of users' histories, and of items' content.
 *
 * A user's row, with V_j the history table's rows of the last likes, the most recent one first:
 *
 *     a_hj = exp(key_h . V_j + position_hj), over j of unit length       heads h, as many mixtures
 *     x    = P_u + [sum_j a_1j V_j, ..., sum_j a_Hj V_j] M + m
 *
 * Attention whose query is learned and not asked of the candidate (as in SASRec with one block and no
 * candidate, Kang and McAuley 2018; DIN asks the candidate, Zhou et al. 2018): so a user is one vector for all
 * items, and scoring stays as fast as NeuMF's. `position` is what makes order and recency count.
 *
 * An item's row, with c its content vector: y = Q_i + c C.
 *
 * In training P_u and Q_i are left out at random, each for itself, so that history and content learn to do
 * without them (as in DropoutNet, Volkovs et al. 2017): so users and items that nothing was learned of are
 * ranked too. */
#include "neural.h"

#include <math.h>
#include <string.h>

#include "products.h"

/* True for `share` of all numbers. */
static bool left_out(uint64_t *random, float share) {
    return share > 0 && (float)(ranker_random(random) >> 40) * 0x1p-24f < share;
}

/* ---- users ---- */

/* a [count] of one head; z [value]. */
static void attend(const neural *net, const neural_kernels *kernels, size_t head, const uint32_t *history,
                   size_t count, float *a, float *z) {
    const neural_shape *s = &net->shape;
    const float *w = net->dense.values, *key = w + s->key + head * s->value,
                *position = w + s->position + head * s->history, *table = net->table[TABLE_HISTORY].values;
    for (size_t j = 0; j < count; j++)
        a[j] = kernels->dot(key, table + history[j] * s->value, s->value) + position[j];
    (void)kernels->exponentials(a, count);
    const float length = sqrtf(kernels->dot(a, a, count));
    memset(z, 0, s->value * sizeof *z);
    for (size_t j = 0; j < count; j++) {
        a[j] /= length;
        kernels->add(z, table + history[j] * s->value, a[j], s->value);
    }
}

void magpie_mix_history(const neural *net, const uint32_t *history, size_t count, float *attention,
                        float *mixed) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    for (size_t h = 0; h < s->heads; h++)
        attend(net, kernels, h, history, count, attention + h * s->history, mixed + h * s->value);
}

/* The slopes of one head's mixture, to those of rows, key and positions: dz/dV_j = a_j, and through a_j. */
static void attend_back(const neural *net, const neural_kernels *kernels, neural_part *part, size_t head,
                        size_t g, const float *a, const float *dz) {
    const neural_shape *s = &net->shape;
    const neural_slots *slots = &part->slots[TABLE_HISTORY];
    const uint32_t *history = slots->of + g * s->history;
    const float *key = net->dense.values + s->key + head * s->value,
                *table = net->table[TABLE_HISTORY].values;
    float *dkey = part->dense + s->key + head * s->value,
          *dposition = part->dense + s->position + head * s->history;
    float da[NEURAL_HISTORY_MAX], mean = 0;
    for (size_t j = 0; j < part->history_count[g]; j++) {
        da[j] = kernels->dot(dz, table + history[j] * s->value, s->value);
        mean += a[j] * da[j];
    }
    for (size_t j = 0; j < part->history_count[g]; j++) {
        float slope = a[j] * (da[j] - a[j] * mean), *dv = slots->slopes + (g * s->history + j) * s->value;
        dposition[j] += slope;
        kernels->add(dkey, table + history[j] * s->value, slope, s->value);
        kernels->add(dv, dz, a[j], s->value);
        kernels->add(dv, key, slope, s->value);
    }
}

static void drop_out(float *x, size_t n, float share, uint64_t *random) {
    for (size_t i = 0; i < n && share > 0; i++) x[i] = left_out(random, share) ? 0 : x[i] / (1 - share);
}

/* ---- a part ---- */

/* Rows of a table that are left out: zeros. */
static void leave_out(const neural_slots *slots, size_t row, float share, uint64_t *random, float *rows,
                      uint8_t *kept) {
    for (size_t i = 0; i < slots->n; i++) {
        kept[i] = !left_out(random, share);
        if (!kept[i]) memset(rows + i * row, 0, row * sizeof *rows);
    }
}

void magpie_rows_forward(const neural *net, const neural_options *o, neural_part *part, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    const float *w = net->dense.values;
    size_t mixed = s->heads * s->value;
    uint64_t random = part->noise;
    leave_out(&part->slots[TABLE_USERS], s->row, o->drop_user, &random, x->user, x->kept);
    leave_out(&part->slots[TABLE_ITEMS], s->row, s->content ? o->drop_item : 0, &random, x->item,
              x->kept + part->likes);
    for (size_t g = 0; g < part->likes; g++) {
        magpie_mix_history(net, part->slots[TABLE_HISTORY].of + g * s->history, part->history_count[g],
                           x->attention + g * s->heads * s->history, x->mixed + g * mixed);
        kernels->add(x->user + g * s->row, w + s->mix_bias, 1, s->row);
    }
    drop_out(x->mixed, part->likes * mixed, o->dropout, &random);
    product(part->likes, s->row, mixed, x->mixed, mixed, w + s->mix, s->row, 1, x->user, s->row);
    for (size_t i = 0; i < part->slots[TABLE_ITEMS].n && s->content; i++) {
        uint32_t item = part->slots[TABLE_ITEMS].of[i];
        const float *row = item < o->content->items ? o->content->rows[item] : NULL;
        if (row)
            memcpy(x->content + i * s->content, row, s->content * sizeof *row);
        else
            memset(x->content + i * s->content, 0, s->content * sizeof *row);
    }
    product(part->slots[TABLE_ITEMS].n, s->row, s->content, x->content, s->content, w + s->project, s->row, 1,
            x->item, s->row);
}

/* Of rows that were left out, nothing is learned. */
static void forget_left_out(neural_slots *slots, const uint8_t *kept) {
    for (size_t i = 0; i < slots->n; i++)
        if (!kept[i]) slots->of[i] = MAGPIE_RANKER_NOBODY;
}

void magpie_rows_backward(const neural *net, const neural_options *o, neural_part *part, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    neural_slots *users = &part->slots[TABLE_USERS], *items = &part->slots[TABLE_ITEMS],
                 *history = &part->slots[TABLE_HISTORY];
    size_t mixed = s->heads * s->value;
    product_of_slopes(items->n, s->content, s->row, x->content, s->content, items->slopes, s->row,
                      part->dense + s->project, s->row);
    product_of_slopes(part->likes, mixed, s->row, x->mixed, mixed, users->slopes, s->row,
                      part->dense + s->mix, s->row);
    product_turned(part->likes, mixed, s->row, users->slopes, s->row, net->dense.values + s->mix, s->row,
                   x->mixed_slope, mixed);
    for (size_t i = 0; i < part->likes * mixed; i++)
        x->mixed_slope[i] = x->mixed[i] == 0 ? 0 : x->mixed_slope[i] / (1 - o->dropout);
    memset(history->slopes, 0, part->likes * s->history * s->value * sizeof(float));
    for (size_t g = 0; g < part->likes; g++) {
        kernels->add(part->dense + s->mix_bias, users->slopes + g * s->row, 1, s->row);
        for (size_t h = 0; h < s->heads; h++)
            attend_back(net, kernels, part, h, g, x->attention + (g * s->heads + h) * s->history,
                        x->mixed_slope + g * mixed + h * s->value);
        for (size_t j = part->history_count[g]; j < s->history; j++)
            history->of[g * s->history + j] = MAGPIE_RANKER_NOBODY;
    }
    history->n = part->likes * s->history;
    forget_left_out(users, x->kept);
    forget_left_out(items, x->kept + part->likes);
}
