/* neural.h - the networks: matrix factorisation, GMF, MLP, NeuMF and magpie are one network, of which each
 * has a part. Private to ranker/neural*.c, magpie.c and base.c.
 *
 * A user's row and an item's row are [gmf | mlp | bias], each part as wide as the kind has it. Of a user's row
 * x and an item's y,
 *
 *     h_0   = relu(x_mlp U + y_mlp V + c_0)              U, V: a half each of the first layer's weights
 *     h_l   = relu(h_l-1 W_l + c_l)
 *     logit = a . (x_gmf * y_gmf) + b . h_last + x_bias + y_bias + c
 *
 * (He et al. 2017, equations 11 and 12, without the sigmoid, which ranks nothing.) mf: a is 1 and stays so.
 * gmf: no tower. mlp: no gmf. magpie: rows that are made of more than a table's row, see magpie.c.
 *
 * A STEP is two stages over a pool. In the first, each block of likes draws its negatives, gathers rows, goes
 * forwards and backwards, and leaves behind the slopes of its rows and its share of the dense slopes. In the
 * second, whoever owns a row sums up its slopes, in the order of blocks, and moves it by Adam. Blocks are cut
 * by constants, so nothing depends on the number of threads. */
#ifndef MAGPIE_NEURAL_H
#define MAGPIE_NEURAL_H

#include "model.h"

enum {
    NEURAL_LAYERS_MAX = 8,
    NEURAL_HISTORY_MAX = 1024,
    NEURAL_WIDTH_MAX = 1 << 14, /* numbers of hidden layers at a time: what stays in the first cache */
    NEURAL_PART = 64,           /* likes of a part, at most */
    NEURAL_PAIRS = 128          /* pairs that a product is worth its call for, about */
};

typedef struct neural_shape {
    size_t users, items;
    size_t gmf, mlp, bias, row; /* numbers of each part of a row, and of all */
    size_t layers, width[NEURAL_LAYERS_MAX];
    size_t heads, history, content; /* magpie: of attention, of likes, of the content vectors; else 0 */
    size_t value;                   /* magpie: numbers of a row of the history's table */
    size_t base;                    /* magpie: of iALS's factors, see base.c */
    /* Where in the dense numbers: */
    size_t first_user, first_item;                                  /* U, V [mlp, width 0] */
    size_t layer[NEURAL_LAYERS_MAX], layer_bias[NEURAL_LAYERS_MAX]; /* W_l [width l-1, width l]; c_l */
    size_t out_gmf, out_mlp, out_bias;
    /* magpie: [heads, value], [heads, history], [heads value, row], [row]; base.c's strength; [content, row] */
    size_t key, position, mix, mix_bias, out_base, project;
    size_t dense; /* how many there are */
} neural_shape;

/* Rows that are learned; what is beside `values` is NULL but in training. */
typedef struct neural_table {
    float *values, *first, *second, *kept; /* [rows, columns]; kept: the best epoch's values */
    size_t rows, columns;
} neural_table;

enum { TABLE_USERS, TABLE_ITEMS, TABLE_HISTORY, NEURAL_TABLES, TABLE_DENSE = NEURAL_TABLES };

typedef struct neural {
    neural_shape shape;
    neural_table table[NEURAL_TABLES + 1]; /* the last one: the dense numbers, one row */
    float *base, *base_gram;               /* [items, base], [base, base]: base.c */
    /* What scoring reads, by item: see neural_score.c. NULL before it is prepared. */
    float *item_half, *item_row; /* [prepared, width 0], [prepared, row] */
    bool *known;                 /* whether there is anything to score it by */
    size_t prepared;             /* items */
    struct neural_gpu *gpu;      /* that scores them, neural_gpu.h; NULL: the CPU does */
    magpie_block block, ready;
} neural;

/* ---- kernels, by level of the instruction set ---- */

typedef struct neural_adam {
    float rate, decay, correct_first, correct_second; /* decay: of weights, added to slopes */
} neural_adam;

typedef struct neural_kernels {
    /* out [rows, n] = relu(x [n] + y [rows, n]); out may be y */
    void (*add_relu)(const float *x, const float *y, size_t rows, size_t n, float *out);
    /* x [n] becomes 0 where h is */
    void (*relu_slope)(const float *h, size_t n, float *x);
    float (*dot)(const float *x, const float *y, size_t n);
    /* out [rows] += x [n] . y's rows */
    void (*dots)(const float *x, const float *y, size_t stride, size_t rows, size_t n, float *out);
    /* out [rows, n] = relu(x [rows, in] w [in, n] + b [n]) */
    void (*layer)(const float *x, size_t rows, size_t in, const float *w, const float *b, size_t n,
                  float *out);
    void (*add)(float *x, const float *y, float scale, size_t n); /* x [n] += scale y */
    /* x's rows += scales [rows] y [n] */
    void (*add_outer)(float *x, size_t stride, const float *scales, const float *y, size_t rows, size_t n);
    /* x [n] += the sum of y's rows, times scales [rows] unless NULL */
    void (*add_rows)(float *x, const float *y, size_t stride, const float *scales, size_t rows, size_t n);
    /* found [count]: which of `wanted` are among x [n] */
    void (*find)(const uint32_t *x, size_t n, const uint32_t *wanted, size_t count, bool *found);
    void (*multiply)(const float *x, const float *y, size_t n, float *out);
    /* x [n] = exp(x - max x); returns the sum */
    float (*exponentials)(float *x, size_t n);
    /* x [n] = 1 / (1 + exp(-x)) */
    void (*sigmoid)(float *x, size_t n);
    void (*adam)(float *values, float *first, float *second, const float *slope, size_t n,
                 const neural_adam *numbers);
} neural_kernels;

const neural_kernels *neural_kernels_level(size_t i); /* widest first; NULL past those that this CPU runs */

/* ---- a batch ---- */

/* Gathered rows of one table and their slopes: slot by slot, the same row as often as it is used. */
typedef struct neural_slots {
    uint32_t *of;  /* [n]: the table's row */
    float *slopes; /* [n, columns] */
    size_t n;
} neural_slots;

/* Some likes, their negatives, and what was found out about them. `pairs` items are compared for each like:
 * its own first. */
typedef struct neural_part {
    size_t likes, pairs;
    bool shared;             /* negatives are the block's, else each like's own */
    uint32_t *history_count; /* magpie: [likes] of slots[TABLE_HISTORY], `history` places each */
    neural_slots slots[NEURAL_TABLES];
    float *base_user; /* [likes, base]: base.c */
    bool *liked;      /* shared negatives that a like's user likes: [likes, pairs - 1] */
    float *dense;     /* slopes of the dense numbers */
    double loss;      /* sum */
    uint64_t noise;   /* seed of what is left out */
} neural_part;

/* Slots of items in a part. */
static inline size_t neural_item_slots(size_t likes, size_t pairs, bool shared) {
    return shared ? likes + pairs - 1 : likes * pairs;
}

/* Slot of an item in a part: of like g, number j of its pairs. */
static inline size_t neural_slot(const neural_part *part, size_t g, size_t j) {
    if (!part->shared) return g * part->pairs + j;
    return j ? part->likes + j - 1 : g;
}

/* What a worker computes in. */
typedef struct neural_scratch {
    float *user, *item;           /* rows [likes, row], [slots, row] */
    float *user_half, *item_half; /* [likes, width 0], [slots, width 0] and their slopes: */
    float *user_half_slope, *item_half_slope;
    size_t chunk; /* likes that go forwards and backwards together: */
    float *hidden[NEURAL_LAYERS_MAX], *hidden_slope[NEURAL_LAYERS_MAX]; /* [chunk * pairs, width] */
    float *logits;                                                      /* [chunk * pairs], then slopes */
    float *attention, *mixed, *mixed_slope;                             /* magpie.c */
    float *values, *attention_slope; /* of a like: [history, value], [heads, history] */
    float *content;                  /* magpie.c: [slots, content] */
    float *scaled;                   /* [likes, gmf]: x_gmf a */
    float *shared;                   /* [likes, pairs - 1]: its products with shared negatives, then slopes */
    float *base_item, *base;         /* base.c: [slots, base], [likes, pairs] */
    float *solving;                  /* ials_scratch */
    uint32_t *others;                /* the likes of a user, but for one */
    float *temporary;                /* [row] */
    uint8_t *kept;                   /* magpie.c */
} neural_scratch;

typedef struct neural_options {
    magpie_ranker_loss loss;
    double scale; /* of slopes: 1 over how many the batch's mean is over */
    float dropout, drop_user, drop_item;
    const magpie_ranker_content *content;
} neural_options;

void neural_shape_of(const magpie_ranker_info *info, const magpie_ranker_options *options, neural_shape *out);
/* Carves a part and a scratch for at most `likes` likes. */
void neural_part_layout(const neural_shape *shape, size_t likes, size_t pairs, bool shared, neural_part *part,
                        magpie_block *block);
void neural_scratch_layout(const neural_shape *shape, size_t likes, size_t pairs, bool shared,
                           size_t user_likes, neural_scratch *scratch, magpie_block *block);
/* Forwards and backwards: slots' rows are named, slopes are left behind. */
void neural_run_part(const neural *net, const neural_options *options, neural_part *part,
                     neural_scratch *scratch);

/* ---- base.c ---- */

MAGPIE_CHECK_RESULT magpie_status neural_base_fit(magpie_ranker *ranker, const ranker_training *training);
void neural_base_prepare(neural *net); /* once the factors are there */
/* x [base] of a history, zero where there is none; scratch: ials_scratch(base) floats */
MAGPIE_CHECK_RESULT magpie_status neural_base_user(const magpie_ranker *ranker, const uint32_t *history,
                                                   size_t n, float *scratch, float *x);
/* What is added to logits, at strength 1. */
void neural_base_forward(const neural *net, const neural_part *part, neural_scratch *scratch);

/* ---- magpie.c ---- */

/* Of `count` likes, the most recent one first: their rows [count, value], attention [heads, shape.history],
 * mixed [heads, value]. */
void magpie_mix_history(const neural *net, const uint32_t *history, size_t count, float *rows,
                        float *attention, float *mixed);

/* Users' and items' rows out of tables, history and content; and the slopes of these out of those of rows. */
void magpie_rows_forward(const neural *net, const neural_options *options, neural_part *part,
                         neural_scratch *scratch);
void magpie_rows_backward(const neural *net, const neural_options *options, neural_part *part,
                          neural_scratch *scratch);

/* ---- neural_train.c, neural_state.c, neural_score.c: see model.h ---- */

magpie_status neural_train(magpie_ranker *ranker, const ranker_training *training, const bool *has);
magpie_status neural_prepare(magpie_ranker *ranker, const magpie_ranker_content *content);
magpie_status neural_use_device(magpie_ranker *ranker, magpie_device device);
magpie_status neural_score(const magpie_ranker *ranker, const magpie_ranker_user *user, const uint32_t *items,
                           size_t n, float *scores);

/* A training on disk, between two epochs. */
typedef struct neural_state {
    uint64_t key; /* of likes, options and shape: another one's is refused */
    uint64_t epoch, best, step;
    double best_hit_rate, best_loss;
} neural_state;

/* How an epoch was, to be told again. */
typedef struct neural_epoch {
    double loss, hit_rate, samples_per_second, seconds, best; /* best: 1 or 0 */
} neural_epoch;

/* curve [state->epoch] */
MAGPIE_CHECK_RESULT magpie_status neural_state_write(const neural *net, const neural_state *state,
                                                     const neural_epoch *curve, const char *path);
/* curve [epochs], as many as the training may have. *found is false where there is none; MAGPIE_E_MISMATCH,
 * in words, for that of another training. */
MAGPIE_CHECK_RESULT magpie_status neural_state_read(neural *net, neural_state *state, neural_epoch *curve,
                                                    size_t epochs, const char *path, bool *found);

#endif
