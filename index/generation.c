/* generation.c - making and filling what an index holds (see generation.h). */
#include "generation.h"

#include <faiss/c_api/AutoTune_c.h>
#include <faiss/c_api/IndexIVF_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/index_factory_c.h>
#include <math.h>

#include "faiss_bridge.h"
#include "faiss_gpu.h"

static magpie_status faiss_failed(const char *what) {
    return magpie_fail(MAGPIE_E_INTERNAL, "FAISS cannot %s: %s", what, faiss_get_last_error());
}

size_t magpie_ivf_lists(size_t n) {
    size_t lists = (size_t)(4 * sqrt((double)n));
    return lists ? lists : 1;
}

static magpie_status set_ef_construction(FaissIndex *faiss, unsigned ef_construction) {
    FaissParameterSpace *space;
    if (faiss_ParameterSpace_new(&space)) return faiss_failed("make a parameter space");
    int failed = faiss_ParameterSpace_set_index_parameter(space, faiss, "efConstruction", ef_construction);
    faiss_ParameterSpace_free(space);
    return failed ? faiss_failed("set efConstruction") : MAGPIE_OK;
}

magpie_status magpie_generation_make(magpie_index_kind kind, size_t dimension, unsigned m,
                                     unsigned ef_construction, size_t expected, magpie_generation **out) {
    char description[64] = "Flat";
    *out = NULL;
    magpie_generation *generation = magpie_alloc(1, sizeof *generation);
    if (!generation) return MAGPIE_E_NO_MEMORY;
    *generation = (magpie_generation){.kind = kind, .dimension = dimension};
    if (kind == MAGPIE_INDEX_HNSW) {
        generation->m = m;
        generation->ef_construction = ef_construction;
        snprintf(description, sizeof description, "HNSW%u,Flat", m);
    } else if (kind == MAGPIE_INDEX_IVF) {
        snprintf(description, sizeof description, "IVF%zu,Flat", magpie_ivf_lists(expected));
    }
    magpie_status status = MAGPIE_OK;
    if (faiss_index_factory(&generation->faiss, (int)dimension, description, METRIC_INNER_PRODUCT))
        status = faiss_failed("make an index");
    if (status == MAGPIE_OK && kind == MAGPIE_INDEX_HNSW)
        status = set_ef_construction(generation->faiss, ef_construction);
    if (status != MAGPIE_OK) {
        magpie_generation_free(generation);
        return status;
    }
    *out = generation;
    return MAGPIE_OK;
}

void magpie_generation_free(magpie_generation *generation) {
    if (!generation) return;
    magpie_faiss_gpu_free(&generation->on_gpu);
    if (generation->faiss) faiss_Index_free(generation->faiss);
    free(generation->rows);
    free(generation->live.words);
    free(generation);
}

magpie_status magpie_generation_train(magpie_generation *generation, size_t n, const float *vectors,
                                      unsigned threads) {
    if (!magpie_faiss_train_quietly(generation->faiss)) return MAGPIE_OK;
    int before = magpie_faiss_set_threads((int)threads);
    int failed = faiss_Index_train(generation->faiss, (idx_t)n, vectors);
    magpie_faiss_set_threads(before);
    if (failed) return faiss_failed("train the lists");
    /* so that vectors can be read back by ordinal */
    return faiss_IndexIVF_make_direct_map(generation->faiss, 1) ? faiss_failed("map the lists") : MAGPIE_OK;
}

static magpie_status reserve(magpie_generation *g, size_t count) {
    magpie_status status = magpie_grow((void **)&g->rows, &g->capacity, count, sizeof *g->rows);
    if (status != MAGPIE_OK) return status;
    return magpie_grow((void **)&g->live.words, &g->live_capacity, magpie_bitmap_words(count),
                       sizeof *g->live.words);
}

magpie_status magpie_generation_append(magpie_generation *g, size_t n, const uint64_t *rows,
                                       const float *vectors, unsigned threads) {
    magpie_status status = reserve(g, g->count + n);
    if (status != MAGPIE_OK) return status;
    int before = magpie_faiss_set_threads((int)threads);
    int failed = faiss_Index_add(g->faiss, (idx_t)n, vectors);
    magpie_faiss_set_threads(before);
    if (failed) return faiss_failed("add vectors");
    magpie_faiss_gpu_append(&g->on_gpu, n, vectors);
    memcpy(g->rows + g->count, rows, n * sizeof *rows);
    size_t words = magpie_bitmap_words(g->count);
    memset(g->live.words + words, 0, (magpie_bitmap_words(g->count + n) - words) * sizeof *g->live.words);
    g->live.size = g->count + n;
    for (size_t i = g->count; i < g->count + n; i++) magpie_bitmap_set(&g->live, i);
    g->count += n;
    return MAGPIE_OK;
}

size_t magpie_generation_find(const magpie_generation *g, uint64_t row) {
    size_t low = 0, high = g->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (g->rows[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < g->count && g->rows[low] == row ? low : SIZE_MAX;
}

bool magpie_generation_bury(magpie_generation *g, uint64_t row) {
    size_t ordinal = magpie_generation_find(g, row);
    if (ordinal == SIZE_MAX || !magpie_bitmap_get(&g->live, ordinal)) return false;
    magpie_bitmap_clear(&g->live, ordinal);
    g->dead++;
    return true;
}

size_t magpie_generation_built_for(const magpie_generation *g) {
    size_t quarter = faiss_IndexIVF_nlist(faiss_IndexIVF_cast(g->faiss)) / 4 + 1;
    return quarter * quarter;
}

bool magpie_generation_sound(const magpie_generation *g) {
    return (size_t)faiss_Index_ntotal(g->faiss) == g->count;
}

magpie_status magpie_generation_vector(const magpie_generation *g, size_t ordinal, float *out) {
    return faiss_Index_reconstruct(g->faiss, (idx_t)ordinal, out) ? faiss_failed("read a vector back")
                                                                  : MAGPIE_OK;
}

uint64_t magpie_generation_bytes(const magpie_generation *g) {
    uint64_t each = g->dimension * sizeof(float) + sizeof *g->rows;
    /* HNSW: twice m links of 4 bytes on the ground level and a tenth more above; IVF: an id and a place in
     * its list. */
    if (g->kind == MAGPIE_INDEX_HNSW) each += g->m * 2 * sizeof(int32_t) * 11 / 10 + 12;
    if (g->kind == MAGPIE_INDEX_IVF) each += 16;
    return g->count * each;
}
