/* search.c - k nearest neighbours among those that live and pass a filter.
 *
 * EXACT OR BY THE GRAPH. HNSW's walk meets members of a filter about as often as they are: to meet ef of them
 * it must meet ef / s vectors, s being the part of all vectors that are members (alive, and passing). Each
 * step of the walk costs several scalar products of far-apart vectors, and keeping its queue costs more the
 * longer that is; the scan costs one product a member, in order of memory. See walk_cost for the figures. */
#include <math.h>

#include "faiss_gpu.h"
#include "filter.h"
#include "vectors.h"

enum { CHUNK_RESULTS = 1 << 20 /* scores asked of FAISS at once */ };

typedef struct plan {
    bool exact;
    size_t ef;     /* HNSW */
    size_t nprobe; /* IVF */
    size_t ask;    /* results a query to ask of FAISS: k, or ef (see faiss_bridge.cpp) */
} plan;

/* What a walk with `ef` among n vectors costs, in scalar products of a scan. Measured with M 32 and 384 dimensions on
 * 20k vectors in loose clusters (a scan's product takes 43 to 62 ns): a step of the walk opens up to 64 neighbours,
 * some 220 products with their cache misses; no more than all n can be opened, at about 4 each; and FAISS 1.7.3 keeps
 * its queue as an array that every step searches, ef * ef / 40. */
static double walk_cost(double ef, double n) { return fmin(220 * ef, 4 * n) + ef * ef / 40; }

static plan make_plan(const magpie_index *index, const magpie_generation *g, size_t k, size_t members,
                      const magpie_search_options *options) {
    double selectivity = (double)members / (double)g->count;
    double ef = options->ef_search ? options->ef_search : index->options.ef_search;
    double nprobe = options->nprobe ? options->nprobe : index->options.nprobe;
    if (ef < k) ef = k;
    ef = fmin(ceil(ef / selectivity), (double)g->count);
    plan p = {.exact = options->mode == MAGPIE_SEARCH_EXACT || g->kind == MAGPIE_INDEX_FLAT, .ask = k};
    p.ef = (size_t)ef;
    p.nprobe = (size_t)fmin(ceil(nprobe / selectivity), (double)g->count);
    if (options->mode == MAGPIE_SEARCH_AUTO && g->kind == MAGPIE_INDEX_HNSW)
        p.exact = (double)members <= walk_cost(ef, (double)g->count);
    if (!p.exact && g->kind == MAGPIE_INDEX_HNSW) p.ask = p.ef;
    return p;
}

static int compare_hits(const void *a, const void *b) {
    const magpie_hit *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return (x->row > y->row) - (x->row < y->row);
}

/* One query's labels [ask] to its hits [k]. */
static size_t collect(const magpie_generation *g, const plan *p, size_t k, const float *scores,
                      const int64_t *labels, magpie_hit *hits) {
    size_t count = 0;
    for (size_t i = 0; i < p->ask && count < k; i++)
        if (labels[i] >= 0 && (size_t)labels[i] < g->count)
            hits[count++] = (magpie_hit){g->rows[labels[i]], scores[i]};
    qsort(hits, count, sizeof *hits, compare_hits);
    return count;
}

static magpie_status search_chunk(const magpie_index *index, const plan *p, size_t n, const float *queries,
                                  size_t k, const magpie_bitmap *members, float *scores, int64_t *labels,
                                  magpie_hit *hits, size_t *counts, size_t stride) {
    char message[256];
    const magpie_faiss_query query = {.n = n,
                                      .k = p->ask,
                                      .queries = queries,
                                      .members = members->words,
                                      .member_words = magpie_bitmap_words(members->size),
                                      .exact = p->exact,
                                      .ef_search = p->ef,
                                      .nprobe = p->nprobe,
                                      .threads = index->options.threads};
    magpie_generation *g = index->held;
    if (!magpie_faiss_gpu_search(&g->on_gpu, g->faiss, &query, scores, labels) &&
        !magpie_faiss_search(g->faiss, &query, scores, labels, message, sizeof message))
        return magpie_fail(MAGPIE_E_INTERNAL, "%s: FAISS cannot search: %s", index->path, message);
    for (size_t q = 0; q < n; q++)
        counts[q] = collect(g, p, k, scores + q * p->ask, labels + q * p->ask, hits + q * stride);
    return MAGPIE_OK;
}

static magpie_status search_all(const magpie_index *index, const plan *p, size_t n, const float *queries,
                                size_t k, const magpie_bitmap *members, magpie_hit *hits, size_t *counts,
                                size_t stride) {
    size_t chunk = CHUNK_RESULTS / p->ask;
    if (chunk < 1) chunk = 1;
    if (chunk > n) chunk = n;
    float *scores = magpie_alloc(chunk * p->ask, sizeof *scores);
    int64_t *labels = magpie_alloc(chunk * p->ask, sizeof *labels);
    magpie_status status = scores && labels ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t q = 0; q < n && status == MAGPIE_OK; q += chunk)
        status = search_chunk(index, p, n - q < chunk ? n - q : chunk, queries + q * index->owner.dimension,
                              k, members, scores, labels, hits + q * stride, counts + q, stride);
    free(scores);
    free(labels);
    return status;
}

/* The ordinals that may be found; words NULL where all may. */
static magpie_status find_members(magpie_index *index, const magpie_filter *filter, magpie_bitmap *out) {
    const magpie_generation *g = index->held;
    magpie_snapshot *snapshot;
    *out = (magpie_bitmap){0};
    if (!filter && !g->dead) return MAGPIE_OK;
    if (!filter) {
        magpie_status status = magpie_bitmap_make(g->count, out);
        if (status == MAGPIE_OK)
            memcpy(out->words, g->live.words, magpie_bitmap_words(g->count) * sizeof(uint64_t));
        return status;
    }
    magpie_status status = magpie_snapshot_open(index->store, &snapshot);
    if (status != MAGPIE_OK) return status;
    status = magpie_filter_evaluate(filter, snapshot, g->rows, g->count, out);
    magpie_snapshot_close(snapshot);
    if (status == MAGPIE_OK) magpie_bitmap_and(out, &g->live);
    return status;
}

static magpie_status validate_search(const magpie_index *index, size_t n, const float *queries, size_t k,
                                     const magpie_search_options *options) {
    if (!k || k > MAGPIE_SEARCH_K_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a search for %zu hits: 1 to %d are possible", k,
                           MAGPIE_SEARCH_K_MAX);
    if ((unsigned)options->mode > MAGPIE_SEARCH_APPROXIMATE)
        return magpie_fail(MAGPIE_E_ARGUMENT, "there is no search of mode %d", (int)options->mode);
    if (options->ef_search > 65536 || options->nprobe > 65536)
        return magpie_fail(MAGPIE_E_ARGUMENT, "efSearch and nprobe go to 65,536");
    size_t floats, results;
    if (!magpie_size_mul(n, index->owner.dimension, &floats) || !magpie_size_mul(n, k, &results))
        return magpie_fail(MAGPIE_E_ARGUMENT, "%zu queries are too many", n);
    for (size_t i = 0; i < floats; i++)
        if (!isfinite(queries[i]))
            return magpie_fail(MAGPIE_E_INPUT, "query %zu is not finite at %zu", i / index->owner.dimension,
                               i % index->owner.dimension);
    return MAGPIE_OK;
}

magpie_status magpie_index_search(magpie_index *index, size_t n, const float *queries, size_t k,
                                  const magpie_filter *filter, const magpie_search_options *options,
                                  magpie_hit *hits, size_t *counts) {
    const magpie_search_options given = options ? *options : (magpie_search_options){0};
    magpie_bitmap members;
    magpie_status status = validate_search(index, n, queries, k, &given);
    if (status != MAGPIE_OK || !n) return status;
    memset(counts, 0, n * sizeof *counts);
    pthread_rwlock_rdlock(&index->lock);
    status = find_members(index, filter, &members);
    size_t count = members.words ? magpie_bitmap_count(&members) : index->held->count;
    if (status == MAGPIE_OK && count) {
        size_t wanted = k < count ? k : count;
        plan p = make_plan(index, index->held, wanted, count, &given);
        status = search_all(index, &p, n, queries, wanted, &members, hits, counts, k);
    }
    pthread_rwlock_unlock(&index->lock);
    magpie_bitmap_free(&members);
    return status;
}
