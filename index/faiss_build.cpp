/* faiss_build.cpp - building HNSW over narrow copies of the vectors (see faiss_bridge.h).
 *
 * A build looks at some thousands of vectors for each that it adds, and what takes the time is to bring them from memory.
 * So while it lasts they are compared as bf16, half as many bytes; the flat storage gets the vectors as they are, for
 * searches. Rounding moves an inner product by some 1e-4 of the lengths: links between neighbours that are that much alike
 * may change places. */
#include "faiss_bridge.h"

#include <cstring>
#include <exception>
#include <memory>
#include <vector>

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/impl/FaissAssert.h>

namespace {

float widened(uint16_t narrow) {
    const uint32_t bits = static_cast<uint32_t>(narrow) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}

/* To nearest, ties to even; numbers are finite. */
uint16_t narrowed(float wide) {
    uint32_t bits;
    std::memcpy(&bits, &wide, sizeof bits);
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float inner_product(const float *a, const uint16_t *b, size_t d) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < d; i++) sum += a[i] * widened(b[i]);
    return sum;
}

struct NarrowComputer : faiss::DistanceComputer {
    const uint16_t *codes;
    size_t d;
    const float *query = nullptr;
    std::vector<float> other;

    NarrowComputer(const uint16_t *codes, size_t d) : codes(codes), d(d), other(d) {}
    void set_query(const float *x) override { query = x; }
    float operator()(idx_t i) override { return inner_product(query, codes + i * d, d); }
    float symmetric_dis(idx_t i, idx_t j) override {
        for (size_t k = 0; k < d; k++) other[k] = widened(codes[i * d + k]);
        return inner_product(other.data(), codes + j * d, d);
    }
};

/* HNSW's storage, while it is built. */
struct NarrowStorage : faiss::Index {
    faiss::Index *flat; /* not its own */
    std::vector<uint16_t> codes;

    explicit NarrowStorage(faiss::Index *flat) : faiss::Index(flat->d, flat->metric_type), flat(flat) {}
    void add(idx_t n, const float *x) override {
        flat->add(n, x);
        const size_t first = codes.size(), more = static_cast<size_t>(n) * d;
        codes.resize(first + more);
        for (size_t i = 0; i < more; i++) codes[first + i] = narrowed(x[i]);
        ntotal = flat->ntotal;
    }
    void search(idx_t, const float *, idx_t, float *, idx_t *,
                const faiss::SearchParameters *) const override {
        FAISS_THROW_MSG("nobody searches an index that is being built");
    }
    void reset() override { FAISS_THROW_MSG("nobody empties an index that is being built"); }
    faiss::DistanceComputer *get_distance_computer() const override {
        return new NarrowComputer(codes.data(), d);
    }
};

} // namespace

void magpie_faiss_build_begin(FaissIndex *index, size_t expected) {
    auto *hnsw = dynamic_cast<faiss::IndexHNSW *>(reinterpret_cast<faiss::Index *>(index));
    if (!hnsw || hnsw->ntotal > 0 || hnsw->metric_type != faiss::METRIC_INNER_PRODUCT) return;
    try {
        auto narrow = std::make_unique<NarrowStorage>(hnsw->storage);
        narrow->codes.reserve(expected * hnsw->d);
        hnsw->storage = narrow.release();
    } catch (const std::exception &) { /* no memory for copies: without */
    }
}

void magpie_faiss_build_end(FaissIndex *index) {
    auto *hnsw = dynamic_cast<faiss::IndexHNSW *>(reinterpret_cast<faiss::Index *>(index));
    std::unique_ptr<NarrowStorage> narrow(hnsw ? dynamic_cast<NarrowStorage *>(hnsw->storage) : nullptr);
    if (narrow) hnsw->storage = narrow->flat;
}
