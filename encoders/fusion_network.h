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

#include "fusion_training.h"

typedef struct fusion_view {
    size_t first, n; /* items first .. first+n-1 of the batch; n is a multiple of FUSION_TILE */
    size_t row;      /* of the first of them */
    bool *has;       /* [most + FUSION_TILE], by item: false for holes, and for what is not in the range */
    uint32_t *x;     /* panels of [n, input]: what the head is given */
} fusion_view;

typedef struct fusion_pair {
    size_t a, b;     /* a may be FUSION_FUSED */
    size_t first, n; /* items; n 0: fewer than two, of which there is nothing to tell them from */
    uint32_t *holes; /* [hole_count]: places within the range that do not count */
    size_t hole_count;
    float *sums; /* [n]: of the exponentials of each row's logits; later, weights */
    float
        *columns; /* [item blocks, most]: of each column's, by block of rows; later, in the first, weights */
} fusion_pair;

/* "Numbers" are bf16 or f32, `number` bytes each: what products are of. A row of n numbers is as many units
 * (fusion_training.h) as fusion_units says, the last filled up with 0. */
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
    int32_t *last;   /* [fusion_places(most)]: for that */
    uint8_t *sets;   /* [n]: modalities, bits, of the batch's items in its order */
    uint32_t *items; /* [n]: the batch's, those that have the same modalities side by side */
    uint32_t *place; /* [n]: where the batch's items went */
    uint32_t *matrix[MAGPIE_MODALITIES], *inner[MAGPIE_MODALITIES]; /* turned panels of heads' matrices */
    uint32_t *inner_back[MAGPIE_MODALITIES];                        /* panels of these */
    /* By row. */
    float *y;               /* [rows, dimension]: what heads put out */
    float *length;          /* [rows]: of these */
    uint32_t *z, *z_turned; /* panels of these, of length 1, [rows, dimension], and turned ones */
    uint32_t *dy;           /* [rows, units of dimension]: slopes of y */
    float *gram;            /* [rows, stride]: products of all z */
    float *p;               /* [rows, dimension], of residual heads: what the first layer puts out */
    uint32_t *g;            /* panels of that as the second is given it */
    uint32_t *dp;           /* [rows, units of dimension]: slopes of p */
    /* By item. */
    float *fused_inverse;  /* [n]: 1 / the length of the fused vector, before it was made 1 */
    float *fused_products; /* [n, MAGPIE_MODALITIES]: of that with the vectors of views */
    double *shares; /* [n, MAGPIE_MODALITIES]: a modality's in the fused vector's logits, times slopes */
    float *scratch; /* [threads, scratch_size] */
    size_t scratch_size;
    /* By block of items. */
    double *losses, *scales; /* slopes of the scale's logarithm */
    double *weights;         /* [blocks, MAGPIE_MODALITIES]: those of views' weights */
    float *biases; /* [blocks, MAGPIE_MODALITIES, 2, dimension]: those of biases, the first layer's last */
    float weight[MAGPIE_MODALITIES], scale;
    magpie_block block;
    /* Of the call that is running. */
    const fusion_batch *batch;
    const float *parameters;
    float *gradient;
};

enum { FUSION_SUMMED = 64 /* rows of a matrix of parameters that a task sums up: panels */ };

static inline size_t fusion_blocks(size_t n, size_t block) { return (n + block - 1) / block; }
/* An odd number of cache lines, or columns of a matrix would be in a few sets of the cache. */
static inline size_t fusion_stride(size_t rows) { return (rows / FUSION_TILE | 1) * FUSION_TILE; }
/* Of a table of n things: a power of two, at least half of them empty. */
static inline size_t fusion_places(size_t n) {
    size_t places = 2;
    while (places < 2 * n) places *= 2;
    return places;
}
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

static inline size_t fusion_units(const fusion_network *net, size_t n) { return net->bf16 ? (n + 1) / 2 : n; }
static inline size_t fusion_panels(const fusion_network *net, size_t columns) {
    return fusion_blocks(columns, net->kernels->panel);
}

/* x [n] times scale becomes a row of numbers. */
void fusion_store(const fusion_network *network, const float *x, float scale, size_t n, uint32_t *row);

/* Which views, pairs and rows the batch has. */
void fusion_plan(fusion_network *network);
/* Features to unit vectors, of all views. */
MAGPIE_CHECK_RESULT magpie_status fusion_forward(fusion_network *network);
/* All that the loss is made of. */
MAGPIE_CHECK_RESULT magpie_status fusion_contrast(fusion_network *network);
/* An item's part of the loss (times examples); slopes [MAGPIE_MODALITIES, stride] becomes the slopes of the
 * products of its vectors with all, counted from both sides. row [most] is for work. */
double fusion_slopes(fusion_network *network, size_t item, float *slopes, float *row);
/* From there to the gradient of the parameters. */
MAGPIE_CHECK_RESULT magpie_status fusion_backward(fusion_network *network, double *loss);

#endif
