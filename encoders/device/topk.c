/* topk.c - see topk.h. */
#include "topk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE = 1 << 13 /* scores of a group's: some hundred groups for a few queries of a large block */ };

static size_t blocks_of(size_t n, size_t block) { return (n + block - 1) / block; }

magpie_status gpu_topk_room(gpu_arena *arena, size_t queries, size_t block, size_t k, gpu_topk *out) {
    if (k == 0 || k > GPU_TOPK_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "the first %zu: 1 to %d can be found on a device", k,
                           GPU_TOPK_MAX);
    if (queries > UINT16_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%zu queries at a time: %d at most", queries, UINT16_MAX);
    *out = (gpu_topk){.queries = queries, .block = block, .k = k, .slices = blocks_of(block, SLICE)};
    magpie_status status = gpu_arena_take(arena, queries * block * sizeof(float), &out->scores);
    if (status == MAGPIE_OK)
        status = gpu_arena_take(arena, queries * out->slices * k * sizeof(uint64_t), &out->keys);
    if (status == MAGPIE_OK) status = gpu_arena_take(arena, queries * k * sizeof(uint64_t), &out->best);
    return status;
}

magpie_status gpu_topk_begin(gpu_queue *q, const gpu_topk *search) {
    return gpu_driver_of(q)->fill(q, search->best, 0);
}

magpie_status gpu_topk_add(gpu_queue *q, const gpu_topk *search, gpu_buffer queries, size_t n,
                           gpu_buffer vectors, size_t count, size_t d, size_t first) {
    const gpu_tile tile = gpu_of(q)->tile;
    const size_t slices = search->slices;
    if (n > search->queries || count > search->block || first + count > UINT32_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%zu queries, %zu vectors: there is room for %zu and %zu", n,
                           count, search->queries, search->block);
    if (n == 0 || count == 0) return MAGPIE_OK;
    magpie_status status = GPU_RUN(q, GPU_topk_scores, 0, blocks_of(count, tile.columns),
                                   blocks_of(n, tile.rows), 1, gpu_at(queries), gpu_at(vectors),
                                   gpu_at(search->scores), gpu_uint(n), gpu_uint(count), gpu_uint(d));
    if (status == MAGPIE_OK) /* of all slices, so that none keeps another block's */
        status =
            GPU_RUN(q, GPU_topk_select, 0, slices, n, 1, gpu_at(search->scores), gpu_at(search->keys),
                    gpu_uint(count), gpu_uint(first), gpu_uint(SLICE), gpu_uint(slices), gpu_uint(search->k));
    if (status == MAGPIE_OK)
        status = GPU_RUN(q, GPU_topk_merge, 0, n, 1, 1, gpu_at(search->best), gpu_at(search->keys),
                         gpu_uint(slices), gpu_uint(search->k));
    return status;
}

/* topk.cl's topk_key, backwards. */
static void unpack(uint64_t key, uint32_t *row, float *score) {
    const uint32_t bits = (uint32_t)(key >> 32), plain = bits & 0x80000000u ? bits & 0x7fffffffu : ~bits;
    *row = key ? ~(uint32_t)key : GPU_TOPK_NONE;
    *score = -INFINITY;
    if (key) memcpy(score, &plain, sizeof *score);
}

magpie_status gpu_topk_end(gpu_queue *q, const gpu_topk *search, size_t n, uint32_t *rows, float *scores) {
    const size_t all = n * search->k;
    uint64_t *keys = magpie_alloc(all, sizeof *keys);
    if (!keys) return MAGPIE_E_NO_MEMORY;
    magpie_status status = gpu_driver_of(q)->read(q, search->best, 0, keys, all * sizeof *keys);
    for (size_t i = 0; i < all && status == MAGPIE_OK; i++) unpack(keys[i], &rows[i], &scores[i]);
    free(keys);
    return status;
}
