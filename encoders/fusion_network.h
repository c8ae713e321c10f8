/* fusion_network.h - the buffers of fusion_network_loss and the stages that fill them one after the other.
 * Private to encoders/fusion_network.c, _plan.c, _heads.c and _loss.c.
 *
 * A VIEW is a modality, or what is fused: a matrix of unit vectors, a row for each item of the batch that
 * has it. A PAIR is two views and the items that have both, whose rows are copied side by side where these
 * are not all. */
#ifndef MAGPIE_FUSION_NETWORK_H
#define MAGPIE_FUSION_NETWORK_H

#include "dnnl_gemm.h"
#include "fusion_training.h"

typedef struct fusion_view {
    size_t n;
    uint32_t *rows; /* [n]: the item of the batch of each row */
    int32_t *at;    /* [most]: the row of each item of the batch, or -1 */
    float *x;       /* [n, input]: what the head is given */
    float *p;       /* [n, dimension]: what the first layer puts out */
    float *g;       /* [n, dimension]: gelu(p); of residual heads */
    float *h;       /* [n, dimension]: what the second layer adds; later the slope of p */
    float *z;       /* [n, dimension] */
    float *length;  /* [n], before it was made 1 */
    float *dz;      /* [n, dimension]: the slope of z, then of what z was before its length was made 1 */
    /* In bf16, panels: of z for products along the dimension and along the rows; of the head's matrix; of
     * x. */
    uint32_t *z_across, *z_along, *matrix, *x_along;
} fusion_view;

typedef struct fusion_pair {
    size_t a, b, n;         /* views; items that have both */
    uint32_t *of;           /* [n]: which items of the batch */
    int32_t *at;            /* [most]: where an item is in `of`, or -1 */
    const float *za, *zb;   /* [n, dimension] */
    float *copy_a, *copy_b; /* where those lie where they are not the views' own */
    float *da, *db;         /* [n, dimension]: their slopes */
    float *e;               /* [n, n]: exponentials of logits, then the slopes of the logits */
    float *own;             /* [n]: logits of those that belong together, shifted as the exponentials are */
    float *row;             /* [n]: sums of e */
    float *sums;            /* [blocks, most]: of the columns of e, by block of rows */
} fusion_pair;

struct fusion_network {
    fusion_layout layout;
    const fusion_training_kernels *kernels;
    magpie_pool *pool;
    size_t most; /* items of a batch */
    bool bf16;   /* products */
    fusion_view view[FUSION_VIEWS];
    fusion_pair pair[FUSION_PAIRS];
    size_t examples; /* of all pairs */
    int32_t *same;   /* [most]: the next item of the batch of the same title, round in a ring */
    uint32_t *items; /* [n]: the batch's, those that have the same modalities side by side */
    double *
        weights; /* [blocks, MAGPIE_MODALITIES]: slopes of the logarithms of the weights, by block of items */
    double *losses,
        *scales; /* [blocks of all pairs]: the loss, and the slope of the logarithm of the scale */
    float weight[MAGPIE_MODALITIES], scale;
    double scale_slope; /* of the scale's logarithm */
    magpie_block block;
    /* Of the call that is running. */
    const fusion_batch *batch;
    const float *parameters;
    float *gradient;
};

static inline size_t fusion_blocks(size_t n) { return (n + FUSION_BLOCK - 1) / FUSION_BLOCK; }

/* Rows first .. first+count-1 of n are those of block i. */
static inline size_t fusion_block_rows(size_t i, size_t n) {
    return n - i * FUSION_BLOCK < FUSION_BLOCK ? n - i * FUSION_BLOCK : FUSION_BLOCK;
}

/* Which views, pairs and rows the batch has. `sorted`: items may change places, so that pairs are parts of
 * views. */
MAGPIE_CHECK_RESULT magpie_status fusion_plan(fusion_network *network, bool sorted);
/* In bf16: the panels of the heads' matrices; those of what the heads were given and put out. */
MAGPIE_CHECK_RESULT magpie_status fusion_pack_matrices(fusion_network *network);
MAGPIE_CHECK_RESULT magpie_status fusion_pack_views(fusion_network *network);
/* Features to unit vectors, of all views. */
MAGPIE_CHECK_RESULT magpie_status fusion_forward(fusion_network *network);
/* The loss, and the slopes of the pairs' vectors. */
MAGPIE_CHECK_RESULT magpie_status fusion_contrast(fusion_network *network, double *loss);
/* From there to the gradient of the parameters. */
MAGPIE_CHECK_RESULT magpie_status fusion_backward(fusion_network *network);

#endif
