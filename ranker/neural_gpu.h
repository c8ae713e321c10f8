/* neural_gpu.h - the networks of neural.h on a GPU, by the kernels of encoders/kernels/neumf.cl, all in
 * f32: scores of many users and items (neural_gpu.c), and steps of training (neural_gpu_train.c). Both are
 * what the CPU makes of the same numbers, but for rounding: sums are in another order, which is always the
 * same. Private to ranker/. */
#ifndef MAGPIE_NEURAL_GPU_H
#define MAGPIE_NEURAL_GPU_H

#include "neural.h"

#include "device/gpu.h"

/* ---- a queue, and what goes wrong in it ---- */

/* One thread's at a time. Once something has failed, what is asked of it does nothing. */
typedef struct neural_lane {
    gpu *device;
    gpu_queue *queue;
    gpu_arena arena;
    magpie_status status;
} neural_lane;

/* lane->device stays NULL where the device is the CPU. */
MAGPIE_CHECK_RESULT magpie_status neural_lane_open(magpie_device device, neural_lane *lane);
void neural_lane_close(neural_lane *lane);                       /* takes {0}, and one that has failed */
gpu_buffer neural_lane_take(neural_lane *lane, size_t elements); /* of 32 bits */
void neural_lane_write(neural_lane *lane, gpu_buffer to, size_t first, const void *from, size_t elements);
void neural_lane_read(neural_lane *lane, gpu_buffer from, void *to, size_t elements);

/* Puts a kernel in that has a thread for each of so many elements. */
#define NEURAL_RUN(lane, kernel, elements, ...)                                                              \
    do {                                                                                                     \
        if ((lane)->status == MAGPIE_OK)                                                                     \
            (lane)->status = GPU_RUN((lane)->queue, kernel, 0, ((elements) + 255) / 256, 1, 1, __VA_ARGS__); \
    } while (0)

/* Where a matrix begins in a buffer, and numbers from row to row and from column to column. */
typedef struct neural_matrix {
    gpu_buffer of;
    size_t at, down, across;
} neural_matrix;

typedef struct neural_product {
    neural_matrix a, b, c; /* c [rows, columns] = a [rows, depth] b [depth, columns]; c.across is 1 */
    size_t rows, columns, depth;
    size_t slices, c_slice; /* 0: one */
    /* then, as in neumf.cl: */
    gpu_buffer added;
    size_t added_at, every;
    bool relu;
    gpu_buffer mask;
} neural_product;

void neural_lane_product(neural_lane *lane, const neural_product *p);

/* ---- scores ---- */

typedef struct neural_gpu neural_gpu;

/* Takes in what neural_prepare has made of the items; *out is NULL where the device is the CPU. */
MAGPIE_CHECK_RESULT magpie_status neural_gpu_open(const neural *net, magpie_device device, neural_gpu **out);
void neural_gpu_close(neural_gpu *g); /* takes NULL */

/* Numbers of a user's vector: what is multiplied with [gmf | base] of an item, and what is added to all
 * scores. */
static inline size_t neural_gpu_vector(const neural_shape *s) { return s->gmf + s->base + 1; }

/* scores [users, each] of items [users, each], or of items 0 .. each - 1 where that is NULL; an item that
 * is not known scores -INFINITY. vectors [users, neural_gpu_vector]: x_gmf times a, base.c's times its
 * strength, the constant; halves [users, width 0]: x_mlp U + c_0. From any thread. */
MAGPIE_CHECK_RESULT magpie_status neural_gpu_score(neural_gpu *g, const float *vectors, const float *halves,
                                                   size_t users, const uint32_t *items, size_t each,
                                                   float *scores);

/* ---- training ---- */

typedef struct neural_gpu_training neural_gpu_training;

/* With tables and moments as the network has them, for steps of at most so many likes; *out is NULL where
 * the device is the CPU. MAGPIE_E_UNSUPPORTED: magpie, whose rows are made of more than tables.
 * `fixed_out`: out.gmf learns nothing (mf). */
MAGPIE_CHECK_RESULT magpie_status neural_gpu_train_open(const neural *net, magpie_device device, size_t likes,
                                                        size_t pairs, bool fixed_out,
                                                        neural_gpu_training **out);
void neural_gpu_train_close(neural_gpu_training *t); /* takes NULL */
/* Forwards, backwards, and Adam's move of all numbers, on the rows that the parts' slots name. */
MAGPIE_CHECK_RESULT magpie_status neural_gpu_train_step(neural_gpu_training *t, const neural_part *parts,
                                                        size_t count, const neural_options *options,
                                                        const neural_adam *adam, double *loss);
/* Tables and moments, back into the network. */
MAGPIE_CHECK_RESULT magpie_status neural_gpu_train_read(neural_gpu_training *t, neural *net);

#endif
