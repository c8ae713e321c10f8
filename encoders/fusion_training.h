/* fusion_training.h - what the training of heads is made of: the loss and its gradient, kernels, recall,
 * the state on disk. Private to encoders/fusion*.
 *
 * DETERMINISM. What is summed is cut up by constants, never by the number of threads: a task is a block of
 * FUSION_BLOCK rows (or of a matrix's rows), each product runs on one thread, and what tasks have summed
 * is added up in order of task. So the same seed gives the same bytes on the same machine, with any number
 * of threads. */
#ifndef MAGPIE_FUSION_TRAINING_H
#define MAGPIE_FUSION_TRAINING_H

#include "fusion.h"

#include <math.h>

enum {
    FUSION_VIEWS = MAGPIE_MODALITIES + 1, /* the modalities, and what is fused out of them */
    FUSION_FUSED = MAGPIE_MODALITIES,
    FUSION_PAIRS = MAGPIE_MODALITIES * (MAGPIE_MODALITIES - 1) / 2 + MAGPIE_MODALITIES,
    FUSION_BLOCK = 32, /* rows of a task that has a look at each */
    FUSION_ITEMS = 16, /* items of such a task */
    FUSION_TILE = 16,  /* what rows of matrices are rounded up to: a vector of the widest kind */
    FUSION_BATCH_MAX = 4096
};

/* ---- parameters ---- */

/* Where each parameter lies in one array: matrices first, which decay, then the rest, which does not. */
typedef struct fusion_layout {
    fusion_kind kind;                           /* FUSION_LINEAR or FUSION_RESIDUAL, of all heads */
    size_t dimension, input[MAGPIE_MODALITIES]; /* 0: no head */
    size_t matrix[MAGPIE_MODALITIES], inner[MAGPIE_MODALITIES];
    size_t decayed; /* of so many numbers, from the first */
    size_t bias[MAGPIE_MODALITIES], inner_bias[MAGPIE_MODALITIES];
    size_t weight; /* [MAGPIE_MODALITIES]: logarithms of the modalities' weights */
    size_t scale;  /* logarithm of 1 / temperature */
    size_t count;
} fusion_layout;

fusion_layout fusion_layout_of(fusion_kind kind, size_t dimension, const size_t input[MAGPIE_MODALITIES]);
/* Heads that begin as those of a text encoder, where dimensions agree, and at random. parameters [count] */
void fusion_initialise(const fusion_layout *layout, uint64_t seed, float temperature, float *parameters);

/* ---- the loss ---- */

/* What a batch is drawn from. features[m] [items] points to unit vectors, NULL where an item has none. */
typedef struct fusion_items {
    const float *const *features[MAGPIE_MODALITIES];
    /* NULL, or what heads are given where it has been made ready: in bf16, times the root of the dimension and
     * what dropout enlarges by. numbers[m] [items], where features are. */
    uint16_t **numbers[MAGPIE_MODALITIES];
    const uint64_t *titles;
} fusion_items;

typedef struct fusion_batch {
    const fusion_items *of;
    const uint32_t *items; /* [n], each with two modalities at least */
    size_t n;
    float dropout;  /* the share of numbers that are left out */
    uint64_t noise; /* seed of which */
} fusion_batch;

/* What features are multiplied with before they are given to a head. */
static inline float fusion_enlarged(size_t input, float dropout) {
    return sqrtf((float)input) / (1 - dropout);
}

/* Whether this CPU multiplies bf16 natively. */
bool fusion_has_bf16(void);

/* Buffers for batches of up to `most` items; with `bf16`, products are of that where the CPU has them. */
typedef struct fusion_network fusion_network;

MAGPIE_CHECK_RESULT magpie_status fusion_network_create(const fusion_layout *layout, size_t most, bool bf16,
                                                        magpie_pool *pool, fusion_network **out);
void fusion_network_free(fusion_network *network);
size_t fusion_network_dimension(const fusion_network *network),
    fusion_network_most(const fusion_network *network);

/* The mean over all pairs of views that items of the batch have, and over the items that have both, of the
 * symmetric cross entropy; 0 where there are none. gradient [count] of it. */
MAGPIE_CHECK_RESULT magpie_status fusion_network_loss(fusion_network *network, const fusion_batch *batch,
                                                      const float *parameters, float *gradient, double *loss);

/* The heads' vectors of a batch, for measuring: features without dropout. They are read by
 * fusion_network_vector: of item `i` of the batch, out [dimension]; false where it has no such modality. */
MAGPIE_CHECK_RESULT magpie_status fusion_network_project(fusion_network *network, const fusion_batch *batch,
                                                         const float *parameters);
bool fusion_network_vector(const fusion_network *network, magpie_modality modality, size_t i, float *out);

/* ---- recall ---- */

/* Of all searches for an item by one of its modalities among others' vectors of another one, the share
 * that find it among the ten best; what has the item's title is neither right nor wrong. 0 where there are
 * no searches. */
MAGPIE_CHECK_RESULT magpie_status fusion_recall(fusion_network *network, const fusion_items *of,
                                                const uint32_t *items, size_t n, const float *parameters,
                                                magpie_pool *pool, double *out);

/* ---- steps ---- */

typedef struct fusion_adam {
    float *first, *second; /* moments, [count] */
    uint64_t step;         /* taken */
} fusion_adam;

/* AdamW (Loshchilov and Hutter 2019), with betas of 0.9 and 0.999, behind a gradient that is scaled down
 * to a length of `clip` where it is longer. *length: what it was. */
MAGPIE_CHECK_RESULT magpie_status fusion_adam_step(fusion_adam *adam, const fusion_layout *layout,
                                                   magpie_pool *pool, double rate, double decay, double clip,
                                                   const float *gradient, float *parameters, double *length);

/* ---- the state ---- */

/* All that a training goes on from; the rest follows from its seed and the epoch's number. */
typedef struct fusion_state {
    uint64_t key; /* hash of vectors and options: what it is a state of */
    size_t count; /* parameters */
    size_t epoch; /* that were run */
    size_t best;  /* the epoch that is kept; 0: none yet */
    double first_recall;
    fusion_adam adam;
    float *parameters, *kept;   /* [count] */
    magpie_fusion_epoch *curve; /* [epochs]: of those that were run */
    size_t epochs;
    magpie_block block;
} fusion_state;

/* Zeroed, for count and epochs. */
MAGPIE_CHECK_RESULT magpie_status fusion_state_create(uint64_t key, size_t count, size_t epochs,
                                                      fusion_state *out);
void fusion_state_free(fusion_state *state);
/* All or nothing. */
MAGPIE_CHECK_RESULT magpie_status fusion_state_write(const fusion_state *state, const char *path);
/* Into a state that was created for the same. MAGPIE_E_MISMATCH where the file is of another key,
 * MAGPIE_E_CORRUPT where it is damaged; the state is as it was then. */
MAGPIE_CHECK_RESULT magpie_status fusion_state_read(fusion_state *state, const char *path);

/* ---- products ----
 *
 * Every matrix is another one each time, and most are multiplied with again and again by one task after the
 * other, so what they are packed for is done once, by whoever makes them. A UNIT is 32 bits: one f32, or two
 * bf16 that follow each other along the sum. PANELS are of so many columns as two vectors of f32 have lanes,
 * [depth] units of each side by side: [columns / panel, depth, panel].
 *
 * With that, a loop over eight rows of a panel reaches the processor's peak (117.5e9 multiplications a second
 * of bf16 on Zen 4, of 118). It does so with 16 rows as with 1,000, hence tasks are small and share out
 * evenly. It knows nothing of AMX, where oneDNN's products would be several times as fast. */
typedef struct fusion_product {
    size_t m, n, units;
    const uint32_t
        *a; /* rows, `row` units apart; or, where that is 0, their turned panels of depth `units` */
    size_t row;
    const uint32_t *b; /* panels */
    size_t depth;      /* of these */
    float *c;          /* [m, n], rows `stride` apart: becomes the sum over units of a times b */
    size_t stride;
} fusion_product;

/* ---- kernels ---- */

struct fusion_adam_numbers {
    float scale; /* of the gradient */
    float rate, decay /* the rate's share counted in */, correct_first,
        correct_second /* 1 / (1 - beta^step) */;
};

typedef struct fusion_training_kernels {
    const char *name;
    float (*dot)(const float *a, const float *b, size_t n);
    void (*add)(float *x, const float *y, float scale, size_t n); /* x += scale y */
    /* out [n] = the sum over `count`, up to FUSION_VIEWS, of x [n] times scale; x may be out. What lies `ahead`
     * of each x is fetched. */
    void (*mix)(float *out, const float *const x[], const float scale[], size_t count, size_t n,
                size_t ahead);
    /* For each k: out[k] [n] += scale[k] x, and dots[k] becomes x . y[k] [n]. */
    void (*spread)(const float *x, size_t n, size_t count, const float scale[3], const float *const y[3],
                   float *const out[3], float dots[3]);
    /* The sum of exp(scale x + shift), of x [n], which is added to columns [n] too. Of what is far below 0 it
     * is 0. */
    float (*exponentials)(const float *x, size_t n, float scale, float shift, float *columns);
    /* out [n] = times exp(scale times x + shift) (row + columns [n]), times [n] or NULL for ones; x [n] may be
     * out. */
    void (*weigh)(const float *x, size_t n, float scale, float shift, const float *times, float row,
                  const float *columns, float *out);
    /* out [n]: x times scale in bf16, to nearest, ties to even. */
    void (*narrow)(const float *x, float scale, size_t n, uint16_t *out);
    /* Of x, a symmetric matrix: some rows of some columns become those columns of these rows. All are multiples
     * of a vector's lanes. */
    void (*mirror)(float *x, size_t stride, size_t row, size_t rows, size_t column, size_t columns);
    size_t panel; /* columns of one */
    /* [bf16]: NULL where the CPU does not multiply these. */
    void (*multiply[2])(const fusion_product *product);
    /* [bf16]: x [rows, columns], rows `stride` numbers apart, as the beginning of panels; an odd row of bf16
     * is followed by zeros. */
    void (*pack[2])(const void *x, size_t stride, size_t rows, size_t columns, size_t depth,
                    uint32_t *panels);
    /* x [rows, units], its rows as columns first .. of panels of that depth. first: a multiple of
     * FUSION_TILE. */
    void (*pack_turned)(const uint32_t *x, size_t rows, size_t units, size_t first, uint32_t *panels);
    /* y [n] = x Phi(x) */
    void (*gelu)(const float *x, float *y, size_t n);
    /* d [n] *= the slope of x Phi(x) */
    void (*gelu_slope)(const float *x, float *d, size_t n);
    /* One step of AdamW for n numbers. */
    void (*adam)(float *p, float *m, float *v, const float *g, size_t n,
                 const struct fusion_adam_numbers *numbers);
} fusion_training_kernels;

const fusion_training_kernels *fusion_training_kernels_level(size_t i); /* as fusion_kernels_level */

#endif
