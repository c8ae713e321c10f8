/* faiss_gpu.h - a copy of an index's vectors on a GPU, for exact searches, where magpie is built with MAGPIE_FAISS_GPU;
 * without it these do nothing. Private to index/.
 *
 * FAISS 1.7.3 has flat and IVF indexes on a GPU, no HNSW, and its flat one takes no notice of a selector: it would find what
 * a filter excludes. So a copy answers what is searched exactly and whole; all else is the CPU's. All copies share one
 * workspace and take turns, since a search of FAISS's on a GPU is one thread's at a time. */
#ifndef MAGPIE_FAISS_GPU_H
#define MAGPIE_FAISS_GPU_H

#include "faiss_bridge.h"

#ifdef MAGPIE_FAISS_GPU
/* As magpie_faiss_search, by *copy, which is made where it is NULL. False: the CPU is to do it; where that is for lack of
 * a GPU, the log says so, once. Thread-safe. */
bool magpie_faiss_gpu_search(FaissIndex **copy, const FaissIndex *index, const magpie_faiss_query *query,
                             float *scores, int64_t *labels);
/* What the index was given goes into *copy as well, where there is one. */
void magpie_faiss_gpu_append(FaissIndex **copy, size_t n, const float *vectors);
/* *copy becomes NULL. */
void magpie_faiss_gpu_free(FaissIndex **copy);
#else
static inline bool magpie_faiss_gpu_search(FaissIndex **copy, const FaissIndex *index,
                                           const magpie_faiss_query *query, float *scores, int64_t *labels) {
    (void)copy, (void)index, (void)query, (void)scores, (void)labels;
    return false;
}
static inline void magpie_faiss_gpu_append(FaissIndex **copy, size_t n, const float *vectors) {
    (void)copy, (void)n, (void)vectors;
}
static inline void magpie_faiss_gpu_free(FaissIndex **copy) { (void)copy; }
#endif

#endif
