/* recall_bench.c - recall@10 of forced HNSW at the default settings on a real store, against brute force:
 * without a filter, with filters of 50%, 5% and 0.5%, and all of it again after a random sixth and a third
 * were deleted. Usage: recall_bench STORE [efSearch [M [efConstruction]]]. The store is copied (its fused
 * vectors, each with a random attribute to filter by) into a temporary folder. Queries lie half-way between
 * two random items. A hit counts if its score is among the ten best: a catalogue has equal texts, and which
 * of two equals comes first is nobody's mistake. */
#include "index.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUERIES = 500, K = 10, BUCKETS = 1000 };

typedef struct copy {
    magpie_snapshot *from;
    magpie_batch *batch;
    size_t dimension, n;
    float *vectors; /* [n, dimension] */
    char (*ids)[24];
} copy;

static void check(magpie_status status) {
    if (status == MAGPIE_OK) return;
    fprintf(stderr, "recall_bench: %s\n", magpie_error());
    exit(1);
}

static uint64_t random_next(void) { /* splitmix64 (Steele et al. 2014) */
    static uint64_t state = 1;
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static magpie_status copy_item(void *context, const magpie_item *item) {
    copy *c = context;
    const float *vector;
    char attributes[64];
    magpie_status status = magpie_snapshot_vector(c->from, MAGPIE_SPACE_FUSED, item->row, &vector);
    if (status != MAGPIE_OK || !vector) return status;
    memcpy(c->vectors + c->n * c->dimension, vector, c->dimension * sizeof *vector);
    snprintf(c->ids[c->n], sizeof c->ids[c->n], "%zu", c->n);
    snprintf(attributes, sizeof attributes, "{\"bucket\": %d}", (int)(random_next() % BUCKETS));
    const float *vectors[MAGPIE_SPACES] = {[MAGPIE_SPACE_FUSED] = vector};
    const size_t dimensions[MAGPIE_SPACES] = {[MAGPIE_SPACE_FUSED] = c->dimension};
    const magpie_item made = {.id = {c->ids[c->n], strlen(c->ids[c->n])},
                              .attributes = {attributes, strlen(attributes)},
                              .timestamp = INT64_MIN};
    c->n++;
    return magpie_batch_put(c->batch, &made, vectors, dimensions);
}

static float *make_queries(const copy *c) {
    float *queries = magpie_alloc(QUERIES * c->dimension, sizeof *queries);
    if (!queries) check(MAGPIE_E_NO_MEMORY);
    for (size_t q = 0; q < QUERIES; q++) {
        const float *a = c->vectors + random_next() % c->n * c->dimension;
        const float *b = c->vectors + random_next() % c->n * c->dimension;
        double squares = 0;
        for (size_t i = 0; i < c->dimension; i++) squares += pow((double)(a[i] + b[i]), 2);
        for (size_t i = 0; i < c->dimension; i++)
            queries[q * c->dimension + i] = (float)((double)(a[i] + b[i]) / sqrt(squares));
    }
    return queries;
}

/* Recall of `mode` against the exact search, and the milliseconds of a query. */
static double recall(magpie_index *index, const float *queries, size_t dimension, const magpie_filter *filter,
                     int mode, double *ms) {
    static magpie_hit exact[QUERIES * K], found[QUERIES * K];
    static size_t exact_counts[QUERIES], counts[QUERIES];
    const magpie_search_options all = {.mode = MAGPIE_SEARCH_EXACT};
    magpie_search_options asked = {0};
    asked.mode = mode;
    check(magpie_index_search(index, QUERIES, queries, K, filter, &all, exact, exact_counts));
    double start = magpie_seconds();
    for (size_t q = 0; q < QUERIES; q++)
        check(magpie_index_search(index, 1, queries + q * dimension, K, filter, &asked, found + q * K,
                                  &counts[q]));
    *ms = (magpie_seconds() - start) / QUERIES * 1e3;
    size_t right = 0, wanted = 0;
    for (size_t q = 0; q < QUERIES; q++) {
        wanted += exact_counts[q];
        if (!exact_counts[q]) continue;
        float least = exact[q * K + exact_counts[q] - 1].score - 1e-6f;
        for (size_t i = 0; i < counts[q]; i++) right += found[q * K + i].score >= least;
    }
    return (double)right / (double)wanted;
}

static void measure(magpie_store *store, magpie_index *index, const float *queries, size_t dimension,
                    const char *state) {
    const char *const filters[] = {NULL, "{\"must\": [{\"key\": \"bucket\", \"range\": {\"lt\": 500}}]}",
                                   "{\"must\": [{\"key\": \"bucket\", \"range\": {\"lt\": 50}}]}",
                                   "{\"must\": [{\"key\": \"bucket\", \"range\": {\"lt\": 5}}]}"};
    const char *const names[] = {"none", "50%", "5%", "0.5%"};
    for (size_t f = 0; f < 4; f++) {
        magpie_filter *filter = NULL;
        magpie_snapshot *snapshot;
        magpie_store_stats stats;
        check(magpie_store_get_stats(store, &stats));
        uint64_t members = stats.items;
        if (filters[f]) {
            check(magpie_filter_parse(filters[f], strlen(filters[f]), &filter));
            check(magpie_snapshot_open(store, &snapshot));
            check(magpie_filter_count(filter, snapshot, &members));
            magpie_snapshot_close(snapshot);
        }
        double by_graph_ms, automatic_ms;
        double by_graph = recall(index, queries, dimension, filter, MAGPIE_SEARCH_APPROXIMATE, &by_graph_ms);
        double automatic = recall(index, queries, dimension, filter, MAGPIE_SEARCH_AUTO, &automatic_ms);
        printf("| %s | %s | %llu | %.4f (%.2f ms) | %.4f (%.2f ms) |\n", state, names[f],
               (unsigned long long)members, by_graph, by_graph_ms, automatic, automatic_ms);
        magpie_filter_free(filter);
    }
}

/* Deletes each item with a probability of one in `parts`. */
static void delete_some(magpie_store *store, magpie_index *index, const copy *c, unsigned parts) {
    magpie_batch_clear(c->batch);
    for (size_t i = 0; i < c->n; i++)
        if (random_next() % parts == 0)
            check(magpie_batch_delete(c->batch, (magpie_string){c->ids[i], strlen(c->ids[i])}));
    check(magpie_store_commit(store, c->batch, NULL));
    check(magpie_index_refresh(index));
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 5) {
        fprintf(stderr, "usage: recall_bench STORE [efSearch [M [efConstruction]]]\n");
        return 2;
    }
    magpie_store *from, *store;
    magpie_index *index;
    magpie_store_stats stats;
    copy c = {0};
    check(magpie_store_open(argv[1], &(magpie_store_options){.read_only = true}, &from));
    check(magpie_store_get_stats(from, &stats));
    c.dimension = stats.dimension[MAGPIE_SPACE_FUSED];
    c.vectors = magpie_alloc(stats.items * c.dimension, sizeof *c.vectors);
    c.ids = magpie_alloc(stats.items, sizeof *c.ids);
    check(c.vectors && c.ids ? MAGPIE_OK : MAGPIE_E_NO_MEMORY);
    check(magpie_batch_create(&c.batch));
    check(magpie_snapshot_open(from, &c.from));
    check(magpie_snapshot_each(c.from, 0, copy_item, &c));

    char folder[] = "/tmp/magpie-recall-XXXXXX";
    if (!mkdtemp(folder)) check(magpie_fail(MAGPIE_E_IO, "cannot make %s", folder));
    check(magpie_store_open(folder, &(magpie_store_options){.create = true}, &store));
    check(magpie_store_bind(store, MAGPIE_SPACE_FUSED,
                            &(magpie_space_model){"copy", "copy", c.dimension, NULL}));
    check(magpie_store_commit(store, c.batch, NULL));
    double start = magpie_seconds();
    unsigned settings[3] = {0}; /* 0: the default */
    for (int i = 2; i < argc; i++) settings[i - 2] = (unsigned)strtoul(argv[i], NULL, 10);
    const magpie_index_options options = {.kind = MAGPIE_INDEX_HNSW,
                                          .ef_search = settings[0],
                                          .m = settings[1],
                                          .ef_construction = settings[2]};
    check(magpie_index_open(store, MAGPIE_SPACE_FUSED, &options, &index));
    printf("HNSW of %zu vectors built in %.1f s\n\n| | filter | members | by the graph | as chosen "
           "|\n|---|---|---|---|---|\n",
           c.n, magpie_seconds() - start);
    float *queries = make_queries(&c);
    measure(store, index, queries, c.dimension, "all");
    delete_some(store, index, &c, 6); /* short of a fifth, where refreshing rebuilds */
    measure(store, index, queries, c.dimension, "a sixth deleted: tombstones");
    delete_some(store, index, &c, 5); /* of 5/6: a third in all */
    measure(store, index, queries, c.dimension, "a third deleted: rebuilt");

    free(queries);
    magpie_index_close(index);
    magpie_store_close(store);
    magpie_snapshot_close(c.from);
    magpie_store_close(from);
    magpie_batch_free(c.batch);
    free(c.ids);
    free(c.vectors);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) != 0;
}
