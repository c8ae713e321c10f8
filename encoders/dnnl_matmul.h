/* dnnl_matmul.h - y = activation(x W^T + b) by oneDNN: packed weights, fused epilogue. Private to the cpu
 * backend.
 *
 * The only place that knows oneDNN: v3's C API, and v2's in the same lines where Debian 12 has it.
 *
 * A primitive of oneDNN is compiled for one shape. Heights (rows) are therefore rounded up to one of some
 * tens, so that a lane meets few; rows past the real ones are computed and ignored. Weights are packed once,
 * in the layout that the primitive for a high matrix prefers, and all heights use it. */
#ifndef MAGPIE_DNNL_MATMUL_H
#define MAGPIE_DNNL_MATMUL_H

#include "ops.h"

typedef struct matmul_engine matmul_engine;   /* one a device; owns the memory of its weights */
typedef struct matmul_weights matmul_weights; /* immutable once made; shared by lanes */
typedef struct matmul_lane matmul_lane;       /* primitives and scratch of one lane */

/* Whether this CPU multiplies bf16 natively (AVX512_BF16 or AMX). */
bool matmul_native_bf16(void);

MAGPIE_CHECK_RESULT magpie_status matmul_engine_create(bool bf16, matmul_engine **out);
void matmul_engine_free(matmul_engine *engine);

/* weights [n, k] row-major f32, bias [n]; x is of the engine's type, y too or f32. Thread-safe. */
MAGPIE_CHECK_RESULT magpie_status matmul_weights_create(matmul_engine *engine, size_t n, size_t k,
                                                        const float *weights, const float *bias,
                                                        ops_activation activation, bool f32_output,
                                                        matmul_weights **out);
void matmul_weights_free(matmul_weights *weights);
size_t matmul_weights_inputs(const matmul_weights *weights);
size_t matmul_weights_outputs(const matmul_weights *weights);

/* `threads` of OpenMP are what a product of this lane uses. */
MAGPIE_CHECK_RESULT magpie_status matmul_lane_create(matmul_engine *engine, unsigned threads,
                                                     matmul_lane **out);
void matmul_lane_free(matmul_lane *lane);

/* x [matmul_height(rows), k], y [matmul_height(rows), n]: both have room for the rounded height. */
size_t matmul_height(size_t rows);
MAGPIE_CHECK_RESULT magpie_status matmul_run(matmul_lane *lane, const matmul_weights *weights, const void *x,
                                             size_t rows, void *y);

#endif
