/* faiss_bridge.h - the little that the C API of FAISS 1.7.3 lacks. Private to index/.
 *
 * Its faiss_Index_search takes no parameters: no efSearch or nprobe of one query (setting them on the index
 * would race with other searches) and no selector of ids. Everything else goes through the C API. No C++
 * exception leaves it. */
#ifndef MAGPIE_FAISS_BRIDGE_H
#define MAGPIE_FAISS_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <faiss/c_api/Index_c.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct magpie_faiss_query {
    size_t n, k;
    const float *queries;    /* [n, dimension] */
    const uint64_t *members; /* a bit for each id that may be found, NULL: all may */
    size_t member_words;
    bool exact;       /* HNSW: search its flat storage; IVF: visit every list */
    size_t ef_search; /* HNSW. At most k: see faiss_bridge.cpp */
    size_t nprobe;    /* IVF */
    unsigned threads; /* at most; one query takes one */
} magpie_faiss_query;

/* scores, labels: [n, k]; a label of -1 where fewer were found. false, with why in `message`, where FAISS
 * threw. */
bool magpie_faiss_search(const FaissIndex *index, const magpie_faiss_query *query, float *scores,
                         int64_t *labels, char *message, size_t message_size);

/* The flat index that has the vectors, itself or HNSW's storage; NULL: IVF has none. */
const FaissIndex *magpie_faiss_flat(const FaissIndex *index);

/* Keeps the training of an IVF index from printing that it has few points. False: it is no IVF index. */
bool magpie_faiss_train_quietly(FaissIndex *index);

/* An empty HNSW index between these two compares vectors in bf16, of which it has copies meanwhile, half as large as the
 * vectors; nothing is done with it but adding. Others are left alone, and so is one for whose `expected` vectors there is
 * no memory. */
void magpie_faiss_build_begin(FaissIndex *index, size_t expected);
void magpie_faiss_build_end(FaissIndex *index);

/* Sets OpenMP's number of threads for the calling thread; returns what it was. */
int magpie_faiss_set_threads(int threads);

#ifdef __cplusplus
}
#endif
#endif
