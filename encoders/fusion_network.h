/* fusion_network.h - the buffers of fusion_network_loss and the stages that fill them one after the other.
 * Private to encoders/fusion_network.c, _plan.c, _heads.c and _loss.c.
 *
 * A VIEW is a modality of the batch: of each item that has it, a unit vector. The batch is sorted by what
 * items have, so that a view is a range of it. Where an item within that range has none all the same
 * (fusion_plan.c), and where a range was made longer to be whole tiles, there is a HOLE: a vector of zeros,
 * which no sum counts. The rows of all views lie below each other, [rows, dimension], and so do their GRAM
 * products, [rows, rows]. A PAIR is two views, or what is fused and a view, and the range of the items that
 * have both. */
#ifndef MAGPIE_FUSION_NETWORK_H
#define MAGPIE_FUSION_NETWORK_H

#include "dnnl_gemm.h"
#include "fusion_training.h"

typedef struct fusion_view {
    size_t first, n; /* items first .. first+n-1 of the batch; n is a multiple of FUSION_TILE */
    size_t row;      /* of the first of them */
    bool *has;       /* [most + FUSION_TILE], by item: false for holes, and for what is not in the range */
    void *x;         /* [n, input]: what the head is given */
} fusion_view;

typedef struct fusion_pair {
    size_t a, b;     /* a may be FUSION_FUSED */
    size_t first, n; /* items; n 0: fewer than two, of which there is nothing to tell them from */
    uint32_t *holes; /* [hole_count]: places within the range that do not count */
    size_t hole_count;
    float *sums; /* [n]: of the exponentials of each row's logits */
    float
        *columns; /* [item blocks, most]: of each column's, by block of rows; later, in the first, weights */
} fusion_pair;

/* "Numbers" are bf16 or f32, `number` bytes each: what products are of. */
struct fusion_network {
    fusion_layout layout;
    const fusion_training_kernels *kernels;
    magpie_pool *pool;
    size_t most; /* items of a batch */
    bool bf16;
    size_t number;
    fusion_view view[MAGPIE_MODALITIES];
    fusion_pair pair[FUSION_PAIRS];
    size_t stride;   /* of a row of products: fusion_stride(rows) */
    size_t rows;     /* of all views of this batch */
    size_t examples; /* of all pairs */
    int32_t *same;   /* [most]: the next item of the batch of the same title, round in a ring */
    uint32_t *items; /* [n]: the batch's, those that have the same modalities side by side */
    uint32_t *place; /* [n]: where the batch's items went */
    void *matrices;  /* numbers: the parameters that decay */
    /* By row. */
    float *y;      /* [rows, dimension]: what heads put out */
    float *length; /* [rows]: of these */
    void *z;       /* numbers [rows, dimension]: of length 1 */
    float *dz;     /* slopes of z, later those of y, times its length: [rows, dimension] of residual heads,
                    * which need them again; or [threads, FUSION_BLOCK, dimension], near at hand */
    void *dy;      /* numbers [rows, dimension]: slopes of y */
    float *gram;   /* [rows, stride]: products of all z; later the slopes of these */
    /* Of residual heads, by row: what the first layer puts out, that as the second is given it, and its
     * slopes. */
    float *p, *dp;
    void *g, *dp_numbers;
    /* By item. */
    float *fused_length;   /* [n]: of the fused vector, before it was made 1 */
    float *fused_products; /* [n, MAGPIE_MODALITIES]: of that with the vectors of views */
    double *shares; /* [n, MAGPIE_MODALITIES]: a modality's in the fused vector's logits, times slopes */
    /* By task. */
    float *scratch; /* [threads, scratch_size] */
    size_t scratch_size;
    double *losses;           /* by block of items */
    float *biases;            /* [layers, pieces, dimension]: slopes of biases, the last layer's first */
    double *scales, *weights; /* by piece: slopes of the logarithms of the scale and of the view's weight */
    float weight[MAGPIE_MODALITIES], scale;
    magpie_block block;
    /* Of the call that is running. */
    const fusion_batch *batch;
    const float *parameters;
    float *gradient;
};

static inline size_t fusion_blocks(size_t n, size_t block) { return (n + block - 1) / block; }
/* An odd number of cache lines, or columns of a matrix would be in a few sets of the cache. */
static inline size_t fusion_stride(size_t rows) { return (rows / FUSION_TILE | 1) * FUSION_TILE; }
static inline size_t fusion_least(size_t a, size_t b) { return a < b ? a : b; }

/* A part of the stages that run over the rows of all views: FUSION_BLOCK rows of one. */
typedef struct fusion_piece {
    size_t modality, row, n; /* rows row .. row+n-1 */
    size_t item;             /* of the first */
} fusion_piece;

size_t fusion_count_pieces(const fusion_network *network);
fusion_piece fusion_piece_of(const fusion_network *network, size_t task);

/* Whether an item of the batch has a modality, and its row then. */
static inline bool fusion_has(const fusion_network *net, size_t modality, size_t item) {
    return net->view[modality].n && net->view[modality].has[item];
}
static inline size_t fusion_row(const fusion_network *net, size_t modality, size_t item) {
    return net->view[modality].row + item - net->view[modality].first;
}

/* Slopes of products lie where these did, a row of numbers at the beginning of each: from one to the next. */
static inline size_t fusion_slopes_stride(const fusion_network *net) {
    return net->stride * sizeof *net->gram / net->number;
}

/* x [n] times scale becomes numbers `at` .. of an array of them. */
void fusion_store(const fusion_network *network, const float *x, float scale, size_t n, void *numbers,
                  size_t at);
/* c [m, n] becomes a product of numbers that begin at a_at and b_at. */
MAGPIE_CHECK_RESULT magpie_status fusion_multiply(const fusion_network *network, gemm_form form, size_t m,
                                                  size_t n, size_t k, gemm_matrix a, size_t a_at,
                                                  gemm_matrix b, size_t b_at, float *c, size_t stride);

/* Which views, pairs and rows the batch has. */
MAGPIE_CHECK_RESULT magpie_status fusion_plan(fusion_network *network);
/* Features to unit vectors, of all views. */
MAGPIE_CHECK_RESULT magpie_status fusion_forward(fusion_network *network);
/* The loss, and the slopes of the Gram products. */
MAGPIE_CHECK_RESULT magpie_status fusion_contrast(fusion_network *network, double *loss);
/* From there to the gradient of the parameters. */
MAGPIE_CHECK_RESULT magpie_status fusion_backward(fusion_network *network);

#endif
