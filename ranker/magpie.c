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
    return share > 0 && (float)(magpie_random(random) >> 40) * 0x1p-24f < share;
}

/* ---- users ---- */

static void gather_history(const neural *net, const uint32_t *history, size_t count, float *rows) {
    const size_t n = net->shape.value;
    for (size_t j = 0; j < count; j++)
        memcpy(rows + j * n, net->table[TABLE_HISTORY].values + history[j] * n, n * sizeof *rows);
}

/* a [count] of one head; z [value]. */
static void attend(const neural *net, const neural_kernels *kernels, size_t head, const float *rows,
                   size_t count, float *a, float *z) {
    const neural_shape *s = &net->shape;
    const float *w = net->table[TABLE_DENSE].values;
    memcpy(a, w + s->position + head * s->history, count * sizeof *a);
    kernels->dots(w + s->key + head * s->value, rows, s->value, count, s->value, a);
    (void)kernels->exponentials(a, count);
    const float length = sqrtf(kernels->dot(a, a, count));
    for (size_t j = 0; j < count; j++) a[j] /= length;
    memset(z, 0, s->value * sizeof *z);
    kernels->add_rows(z, rows, s->value, a, count, s->value);
}

void magpie_mix_history(const neural *net, const uint32_t *history, size_t count, float *rows,
                        float *attention, float *mixed) {
    const neural_shape *s = &net->shape;
    const neural_kernels *kernels = neural_kernels_level(0);
    gather_history(net, history, count, rows);
    for (size_t h = 0; h < s->heads; h++)
        attend(net, kernels, h, rows, count, attention + h * s->history, mixed + h * s->value);
}

/* The slopes of one like's mixtures dz [heads, value], to those of rows, keys and positions: dz/dV_j = a_j, and
 * through a_j. */
static void attend_back(const neural *net, const neural_kernels *kernels, neural_part *part, size_t g,
                        const float *attention, const float *dz, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const size_t n = part->history_count[g];
    const float *keys = net->table[TABLE_DENSE].values + s->key;
    float *dv = part->slots[TABLE_HISTORY].slopes + g * s->history * s->value;
    gather_history(net, part->slots[TABLE_HISTORY].of + g * s->history, n, x->values);
    for (size_t h = 0; h < s->heads; h++) {
        const float *a = attention + h * s->history;
        float *slopes = x->attention_slope + h * s->history;
        memset(slopes, 0, n * sizeof *slopes);
        kernels->dots(dz + h * s->value, x->values, s->value, n, s->value, slopes);
        const float mean = kernels->dot(a, slopes, n);
        for (size_t j = 0; j < n; j++) slopes[j] = a[j] * (slopes[j] - a[j] * mean);
        kernels->add(part->dense + s->position + h * s->history, slopes, 1, n);
        kernels->add_rows(part->dense + s->key + h * s->value, x->values, s->value, slopes, n, s->value);
    }
    memset(dv, 0, n * s->value * sizeof *dv);
    product_of_slopes(s->heads, n, s->value, attention, s->history, dz, s->value, dv, s->value);
    product_of_slopes(s->heads, n, s->value, x->attention_slope, s->history, keys, s->value, dv, s->value);
}

/* Sixteen bits of chance for each number. */
static void drop_out(float *x, size_t n, float share, uint64_t *random) {
    const uint64_t below = (uint64_t)(share * 0x1p16f);
    const float scale = 1 / (1 - share);
    uint64_t bits = 0;
    for (size_t i = 0; i < n && share > 0; i++, bits >>= 16) {
        if (i % 4 == 0) bits = magpie_random(random);
        x[i] = (bits & 0xFFFF) < below ? 0 : x[i] * scale;
    }
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
    const float *w = net->table[TABLE_DENSE].values;
    size_t mixed = s->heads * s->value;
    uint64_t random = part->noise;
    leave_out(&part->slots[TABLE_USERS], s->row, o->drop_user, &random, x->user, x->kept);
    leave_out(&part->slots[TABLE_ITEMS], s->row, s->content ? o->drop_item : 0, &random, x->item,
              x->kept + part->likes);
    for (size_t g = 0; g < part->likes; g++) {
        magpie_mix_history(net, part->slots[TABLE_HISTORY].of + g * s->history, part->history_count[g],
                           x->values, x->attention + g * s->heads * s->history, x->mixed + g * mixed);
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
    product_turned(part->likes, mixed, s->row, users->slopes, s->row, net->table[TABLE_DENSE].values + s->mix,
                   s->row, x->mixed_slope, mixed);
    const float scale =
        1 / (1 - o->dropout); /* what is 0 was left out: rows begin at random, and never at 0 */
    for (size_t i = 0; i < part->likes * mixed; i++)
        x->mixed_slope[i] = x->mixed[i] == 0 ? 0 : x->mixed_slope[i] * scale;
    for (size_t g = 0; g < part->likes; g++) {
        kernels->add(part->dense + s->mix_bias, users->slopes + g * s->row, 1, s->row);
        attend_back(net, kernels, part, g, x->attention + g * s->heads * s->history,
                    x->mixed_slope + g * mixed, x);
        for (size_t j = part->history_count[g]; j < s->history; j++)
            history->of[g * s->history + j] = MAGPIE_RANKER_NOBODY;
    }
    history->n = part->likes * s->history;
    forget_left_out(users, x->kept);
    forget_left_out(items, x->kept + part->likes);
}
