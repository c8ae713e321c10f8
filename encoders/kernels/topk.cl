/* topk.cl - of a block of vectors, the k whose inner products with a query are largest, for some queries, exactly: by
 * score, then by the lower row, as index/ and FAISS's flat index have it. Behind product.h.
 *
 * topk_scores makes all scores, a matrix product; topk_select keeps the best k of each query and slice of the block;
 * topk_merge those of the slices and of the blocks before. What is kept is sorted: a candidate is one number of 64
 * bits, the score's above the row's, so no two are alike, and neither threads nor slices decide anything. 0 is none,
 * and what a score that is not a number counts as.
 *
 * Flops: 2 queries vectors dimension. Bytes: vectors once for every TILE_ROWS queries, each score written and read. */
enum { TOPK_THREADS = 256, TOPK_BEST = 1024, TOPK_WAITING = 4, TOPK_ALL = 2048 /* BEST + WAITING * THREADS */ };

FUNCTION void topk_bring(LOCAL_PTR tile_element *to, uint stride, GLOBAL const stream *from, uint row, uint rows,
                         uint depth, uint k) {
    for (uint j = 0; j < 8; j++) {
        if (row < rows && k + j < depth)
            tile_element_put(to + j * stride, from, (size_t)row * depth + k + j);
        else
            to[j * stride] = 0;
    }
}

/* scores [queries, count]; vectors [count, depth]. Groups of vectors in dimension 0, of queries in 1. A tile's rows
 * are as many as its columns, so one chunk's place serves both. */
KERNEL(topk_scores, TILE_THREADS)
(GLOBAL const stream *queries, GLOBAL const stream *vectors, GLOBAL float *scores, uint query_count, uint count,
 uint depth) {
    LOCAL tile_element a[TILE_STAGES][TILE_ROWS][TILE_A], b[TILE_STAGES][TILE_DEPTH][TILE_B];
    LOCAL float scratch[TILE_SCRATCH];
    const uint top = GROUP(1) * TILE_ROWS, left = GROUP(0) * TILE_COLUMNS;
    tile_sums sums;
    tile_clear(&sums);
    TILE_STEPS(depth, a, b, sums, {
        for (uint i = 0; i < TILE_A_CHUNKS; i++) {
            const uint r = TILE_A_ROW(i);
            topk_bring(&to_a[r][TILE_A_DEPTH], 1, queries, top + r, query_count, depth, first + TILE_A_DEPTH);
            topk_bring(&to_b[TILE_A_DEPTH][r], TILE_B, vectors, left + r, count, depth, first + TILE_A_DEPTH);
        }
    })
    TILE_PUT(sums, scratch, r, c, value, {
        if (top + r < query_count && left + c < count) scores[(size_t)(top + r) * count + left + c] = value;
    })
}

/* Rises with the score, and falls with the row. */
FUNCTION u64 topk_key(float score, uint row) {
    if (score != score) return 0;
    const uint bits = FLOAT_AS_UINT(score == 0 ? 0.0f : score); /* -0 is 0 */
    return (u64)(bits & 0x80000000u ? ~bits : bits | 0x80000000u) << 32 | (uint)~row;
}

/* Descending (Batcher 1968). */
FUNCTION void topk_sort(LOCAL_PTR u64 *keys) {
    for (uint size = 2; size <= TOPK_ALL; size *= 2)
        for (uint step = size / 2; step > 0; step /= 2) {
            BARRIER();
            EACH(i, TOPK_ALL / 2, TOPK_THREADS) {
                const uint at = 2 * i - (i & (step - 1));
                const u64 one = keys[at], other = keys[at + step];
                if ((one < other) == ((at & size) == 0)) {
                    keys[at] = other;
                    keys[at + step] = one;
                }
            }
        }
    BARRIER();
}

FUNCTION void topk_begin(LOCAL_PTR u64 *keys, LOCAL_PTR uint *full) {
    EACH(i, TOPK_ALL, TOPK_THREADS) keys[i] = 0;
    if (THREAD == 0) *full = 0;
    BARRIER();
}

/* What is above the k-th best so far waits; once a thread has no more room, and in the end, those that wait are taken
 * in. All threads come here together; returns how many of the thread's wait. */
FUNCTION uint topk_offer(LOCAL_PTR u64 *keys, LOCAL_PTR uint *full, uint waiting, u64 key, uint k, uint is_last) {
    if (key > keys[k - 1]) keys[TOPK_BEST + waiting++ * TOPK_THREADS + THREAD] = key;
    if (waiting == TOPK_WAITING || is_last) *full = 1;
    BARRIER();
    if (*full) {
        topk_sort(keys);
        EACH(i, TOPK_WAITING * TOPK_THREADS, TOPK_THREADS) keys[TOPK_BEST + i] = 0;
        if (THREAD == 0) *full = 0;
        waiting = 0;
    }
    BARRIER();
    return waiting;
}

/* keys [queries, slices, k], of scores [queries, count] of rows `first` on. Slices in dimension 0, queries in 1; a
 * slice that begins past the end has none. */
KERNEL(topk_select, 256)
(GLOBAL const float *scores, GLOBAL u64 *keys, uint count, uint first, uint slice, uint slices, uint k) {
    LOCAL u64 best[TOPK_ALL];
    LOCAL uint full;
    const uint begin = GROUP(0) * slice, end = begin + slice < count ? begin + slice : count;
    const size_t to = ((size_t)GROUP(1) * slices + GROUP(0)) * k, from = (size_t)GROUP(1) * count;
    uint waiting = 0;
    topk_begin(best, &full);
    for (uint at = begin; at < end + TOPK_THREADS; at += TOPK_THREADS) { /* and once more, of none */
        const uint i = at + THREAD;
        const u64 key = i < end ? topk_key(scores[from + i], first + i) : 0;
        waiting = topk_offer(best, &full, waiting, key, k, at >= end);
    }
    EACH(i, k, TOPK_THREADS) keys[to + i] = best[i];
}

/* best [queries, k]: of what it has, from blocks before, and of keys [queries, slices, k]. Queries in dimension 0. */
KERNEL(topk_merge, 256)(GLOBAL u64 *best, GLOBAL const u64 *keys, uint slices, uint k) {
    LOCAL u64 merged[TOPK_ALL];
    LOCAL uint full;
    const size_t to = (size_t)GROUP(0) * k, from = to * slices;
    const uint all = (1 + slices) * k;
    uint waiting = 0;
    topk_begin(merged, &full);
    for (uint at = 0; at < all + TOPK_THREADS; at += TOPK_THREADS) {
        const uint i = at + THREAD;
        const u64 key = i < k ? best[to + i] : i < all ? keys[from + i - k] : 0;
        waiting = topk_offer(merged, &full, waiting, key, k, at >= all);
    }
    EACH(i, k, TOPK_THREADS) best[to + i] = merged[i];
}
