/* topk.h - on a device, the k vectors of a block that are nearest to each of some queries by inner product
 * (kernels/topk.cl): exact, by score, then by the lower row. A search goes over as many blocks as there are:
 *
 *     gpu_topk_room(&arena, queries, block, k, &search);            once
 *     gpu_topk_begin(q, &search);
 *     gpu_topk_add(q, &search, queries, n, vectors, count, d, first);    for each block
 *     gpu_topk_end(q, &search, n, rows, scores);                    waits
 *
 * What is not a number is never found. Private to encoders/. */
#ifndef MAGPIE_GPU_TOPK_H
#define MAGPIE_GPU_TOPK_H

#include "gpu.h"

enum { GPU_TOPK_MAX = 1024, GPU_TOPK_NONE = UINT32_MAX };

typedef struct gpu_topk {
    size_t queries, block, k, slices;
    gpu_buffer scores;     /* [queries, block] */
    gpu_buffer keys, best; /* topk.cl: [queries, slices, k], [queries, k] */
} gpu_topk;

/* For `queries` queries at most (65,535), of `block` vectors at a time. MAGPIE_E_ARGUMENT: k is 0 or above
 * GPU_TOPK_MAX. */
MAGPIE_CHECK_RESULT magpie_status gpu_topk_room(gpu_arena *arena, size_t queries, size_t block, size_t k,
                                                gpu_topk *out);
MAGPIE_CHECK_RESULT magpie_status gpu_topk_begin(gpu_queue *q, const gpu_topk *search);
/* queries [n, d] and vectors [count, d] in the precision of the device's streams; rows are first ..
 * first+count-1, below UINT32_MAX. */
MAGPIE_CHECK_RESULT magpie_status gpu_topk_add(gpu_queue *q, const gpu_topk *search, gpu_buffer queries,
                                               size_t n, gpu_buffer vectors, size_t count, size_t d,
                                               size_t first);
/* rows [n, k], scores [n, k], best first; past the end of what there is GPU_TOPK_NONE and -INFINITY. */
MAGPIE_CHECK_RESULT magpie_status gpu_topk_end(gpu_queue *q, const gpu_topk *search, size_t n, uint32_t *rows,
                                               float *scores);

#endif
