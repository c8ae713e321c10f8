/* dnnl_matmul.h - y = activation(x W^T + b) by oneDNN: packed weights, fused epilogue. Private to the cpu
 * backend.
 *
 * A primitive of oneDNN is compiled for one shape. Heights (rows) are therefore rounded up to one of some
 * tens, so that a lane meets few; rows past the real ones are computed and ignored. Weights are packed once,
 * in the layout that the primitive for a high matrix prefers, and all heights use it. */
#ifndef MAGPIE_DNNL_MATMUL_H
#define MAGPIE_DNNL_MATMUL_H

#include "onednn.h"
#include "ops.h"

typedef struct matmul_weights matmul_weights; /* immutable once made; shared by lanes */
typedef struct matmul_lane matmul_lane;       /* primitives of one lane */

/* weights [n, k] row-major f32, bias [n]; x is of the device's type, y too or f32. OPS_GELU is not fused: it is the
 * caller's. Thread-safe. */
MAGPIE_CHECK_RESULT magpie_status matmul_weights_create(onednn_device *device, size_t n, size_t k,
                                                        const float *weights, const float *bias,
                                                        ops_activation activation, bool f32_output,
                                                        matmul_weights **out);
void matmul_weights_free(matmul_weights *weights);

/* The queue must outlive the lane. */
MAGPIE_CHECK_RESULT magpie_status matmul_lane_create(onednn_queue *queue, matmul_lane **out);
void matmul_lane_free(matmul_lane *lane);

/* x [matmul_height(rows), k], y [matmul_height(rows), n]: both have room for the rounded height. */
size_t matmul_height(size_t rows);
MAGPIE_CHECK_RESULT magpie_status matmul_run(matmul_lane *lane, const matmul_weights *weights, const void *x,
                                             size_t rows, void *y);

#endif
