// faiss_flat.cpp - one flat search at a time over 100,000 x 384, printed as milliseconds (median). faiss_compare builds
// it twice, with the distribution's libfaiss.a and with ours, and runs both in turn.
#include <faiss/IndexFlat.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

int main() {
    constexpr size_t n = 100000, d = 384, queries = 60, k = 10;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> base(n * d), query(queries * d), times;
    for (float &x : base) x = normal(random);
    for (float &x : query) x = normal(random);
    faiss::IndexFlatIP index(d);
    index.add(n, base.data());
    std::vector<float> scores(k);
    std::vector<faiss::Index::idx_t> ids(k);
    long long sum = 0;
    for (size_t i = 0; i < queries; i++) {
        auto start = std::chrono::steady_clock::now();
        index.search(1, query.data() + i * d, k, scores.data(), ids.data());
        times.push_back(std::chrono::duration<float, std::milli>(std::chrono::steady_clock::now() - start).count());
        for (auto id : ids) sum += id;
    }
    std::sort(times.begin(), times.end());
    std::printf("%.3f %lld\n", times[queries / 2], sum);
}
