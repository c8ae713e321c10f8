/* faiss_bridge.cpp - searches with parameters (see faiss_bridge.h for why this exists).
 *
 * A trap in FAISS 1.7.3: SearchParametersHNSW::efSearch only ends the walk, the queue of candidates is as
 * long as the larger of k and the index's own efSearch. A higher ef of one query therefore has to come as k,
 * and the caller takes the best of what it gets: hence k >= ef_search. */
#include "faiss_bridge.h"

#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <exception>

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/IDSelector.h>

namespace {

void search(const faiss::Index &index, const magpie_faiss_query &q, float *scores, int64_t *labels) {
    faiss::IDSelectorBitmap members(q.member_words * sizeof(uint64_t),
                                    reinterpret_cast<const uint8_t *>(q.members));
    faiss::IDSelector *selector = q.members ? &members : nullptr;
    if (auto *ivf = dynamic_cast<const faiss::IndexIVF *>(&index)) {
        faiss::SearchParametersIVF parameters;
        parameters.nprobe = q.exact ? ivf->nlist : std::min(q.nprobe, ivf->nlist);
        parameters.sel = selector;
        ivf->search(q.n, q.queries, q.k, scores, labels, &parameters);
        return;
    }
    auto *hnsw = dynamic_cast<const faiss::IndexHNSW *>(&index);
    if (hnsw && !q.exact) {
        faiss::SearchParametersHNSW parameters;
        parameters.efSearch = static_cast<int>(q.ef_search);
        parameters.sel = selector;
        hnsw->search(q.n, q.queries, q.k, scores, labels, &parameters);
        return;
    }
    faiss::SearchParameters parameters;
    parameters.sel = selector;
    (hnsw ? *hnsw->storage : index).search(q.n, q.queries, q.k, scores, labels, &parameters);
}

} // namespace

int magpie_faiss_set_threads(int threads) {
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    return before;
}

bool magpie_faiss_search(const FaissIndex *index, const magpie_faiss_query *query, float *scores,
                         int64_t *labels, char *message, size_t message_size) {
    size_t threads = std::max<size_t>(1, std::min<size_t>(query->threads, query->n));
    int before = magpie_faiss_set_threads(static_cast<int>(threads));
    bool good = true;
    try {
        search(*reinterpret_cast<const faiss::Index *>(index), *query, scores, labels);
    } catch (const std::exception &e) {
        std::snprintf(message, message_size, "%s", e.what());
        good = false;
    } catch (...) {
        std::snprintf(message, message_size, "an unknown exception");
        good = false;
    }
    omp_set_num_threads(before);
    return good;
}

const FaissIndex *magpie_faiss_flat(const FaissIndex *index) {
    auto *any = reinterpret_cast<const faiss::Index *>(index);
    if (auto *hnsw = dynamic_cast<const faiss::IndexHNSW *>(any)) any = hnsw->storage;
    return dynamic_cast<const faiss::IndexFlat *>(any) ? reinterpret_cast<const FaissIndex *>(any) : nullptr;
}

bool magpie_faiss_train_quietly(FaissIndex *index) {
    auto *ivf = dynamic_cast<faiss::IndexIVF *>(reinterpret_cast<faiss::Index *>(index));
    if (ivf) ivf->cp.min_points_per_centroid = 1;
    return ivf != nullptr;
}
