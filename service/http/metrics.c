/* metrics.c - see metrics.h. */
#include "metrics.h"
#include "server.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double bounds[METRICS_BUCKETS] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
static const size_t batch_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};

enum { ROUTES_MAX = 48, CLASSES = 6 /* of a status: its hundreds */, BATCH_BUCKETS = 9 };

struct metrics {
    double started;
    atomic_uint_fast64_t requests[ROUTES_MAX + 1][CLASSES]; /* the last: no route */
    metrics_histogram whole[ROUTES_MAX + 1];
    metrics_histogram stages[HTTP_STAGES];
    atomic_uint_fast64_t batches[SENSES][BATCH_BUCKETS + 1], batched[SENSES];
    atomic_uint_fast64_t answer_hits, answer_misses;
};

magpie_status metrics_create(metrics **out) {
    *out = magpie_alloc(1, sizeof **out);
    if (!*out) return MAGPIE_E_NO_MEMORY;
    (*out)->started = magpie_seconds();
    return MAGPIE_OK;
}

void metrics_free(metrics *m) { free(m); }

static void add(atomic_uint_fast64_t *counter, uint64_t n) {
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t read_counter(const atomic_uint_fast64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void observe(metrics_histogram *h, double seconds) {
    size_t i = 0;
    while (i < METRICS_BUCKETS && seconds > bounds[i]) i++;
    add(&h->buckets[i], 1);
    add(&h->nanoseconds, (uint64_t)(seconds * 1e9));
}

static size_t number_of(const http_route *route) {
    return route ? (size_t)(route - http_routes) : ROUTES_MAX;
}

void metrics_request(metrics *m, const http_request *r, double seconds) {
    const size_t route = number_of(r->route);
    add(&m->requests[route][r->status / 100 % CLASSES], 1);
    observe(&m->whole[route], seconds);
    for (unsigned i = 0; i < HTTP_STAGES; i++)
        if (r->stage[i] > 0) observe(&m->stages[i], r->stage[i]);
}

void metrics_batch(metrics *m, model_sense sense, size_t size) {
    size_t i = 0;
    while (i < BATCH_BUCKETS && size > batch_bounds[i]) i++;
    add(&m->batches[sense][i], 1);
    add(&m->batched[sense], size);
}

void metrics_answer_cache(metrics *m, bool hit) { add(hit ? &m->answer_hits : &m->answer_misses, 1); }

/* ---- Prometheus' text format --------------------------------------------------------------------------- */

static void head(magpie_text *out, const char *name, const char *type, const char *help) {
    magpie_text_printf(out, "# HELP magpie_%s %s\n# TYPE magpie_%s %s\n", name, help, name, type);
}

static void gauge(magpie_text *out, const char *name, const char *help, double value) {
    head(out, name, "gauge", help);
    magpie_text_printf(out, "magpie_%s %.17g\n", name, value);
}

static void write_histogram(magpie_text *out, const char *name, const char *labels,
                            const metrics_histogram *h) {
    uint64_t sum = 0;
    for (size_t i = 0; i <= METRICS_BUCKETS; i++) {
        sum += read_counter(&h->buckets[i]);
        magpie_text_printf(out, "magpie_%s_bucket{%s,le=\"", name, labels);
        if (i < METRICS_BUCKETS)
            magpie_text_printf(out, "%g\"} %llu\n", bounds[i], (unsigned long long)sum);
        else
            magpie_text_printf(out, "+Inf\"} %llu\n", (unsigned long long)sum);
    }
    magpie_text_printf(out, "magpie_%s_sum{%s} %.9g\nmagpie_%s_count{%s} %llu\n", name, labels,
                       (double)read_counter(&h->nanoseconds) / 1e9, name, labels, (unsigned long long)sum);
}

static uint64_t requests_of(const metrics *m, size_t route) {
    uint64_t sum = 0;
    for (size_t c = 0; c < CLASSES; c++) sum += read_counter(&m->requests[route][c]);
    return sum;
}

static void label_route(char *out, size_t size, size_t route) {
    if (route < ROUTES_MAX)
        snprintf(out, size, "method=\"%s\",path=\"%s\"", http_routes[route].method, http_routes[route].path);
    else
        snprintf(out, size, "method=\"\",path=\"\"");
}

static void write_requests(const metrics *m, magpie_text *out) {
    char labels[128];
    head(out, "requests_total", "counter", "Requests that were answered.");
    for (size_t r = 0; r <= ROUTES_MAX; r++)
        for (size_t c = 0; c < CLASSES; c++) {
            const uint64_t n = read_counter(&m->requests[r][c]);
            if (!n) continue;
            label_route(labels, sizeof labels, r);
            magpie_text_printf(out, "magpie_requests_total{%s,status=\"%zuxx\"} %llu\n", labels, c,
                               (unsigned long long)n);
        }
    head(out, "request_seconds", "histogram", "From the end of a request's header to the end of its answer.");
    for (size_t r = 0; r <= ROUTES_MAX; r++) {
        if (!requests_of(m, r)) continue;
        label_route(labels, sizeof labels, r);
        write_histogram(out, "request_seconds", labels, &m->whole[r]);
    }
}

static void write_stages(const metrics *m, magpie_text *out) {
    static const char *const names[HTTP_STAGES] = {"stage=\"queue\"", "stage=\"encode\"", "stage=\"search\"",
                                                   "stage=\"rank\""};
    head(out, "stage_seconds", "histogram",
         "Of a request: waiting for a turn, encoding, searching, ranking.");
    for (unsigned i = 0; i < HTTP_STAGES; i++) write_histogram(out, "stage_seconds", names[i], &m->stages[i]);
}

static void write_batches(const metrics *m, magpie_text *out) {
    head(out, "batch_size", "histogram", "Texts, pictures or sounds that were encoded together.");
    for (model_sense s = 0; s < SENSES; s++) {
        const char *name = model_sense_name(s);
        uint64_t sum = 0;
        for (size_t i = 0; i < BATCH_BUCKETS; i++) {
            sum += read_counter(&m->batches[s][i]);
            magpie_text_printf(out, "magpie_batch_size_bucket{sense=\"%s\",le=\"%zu\"} %llu\n", name,
                               batch_bounds[i], (unsigned long long)sum);
        }
        sum += read_counter(&m->batches[s][BATCH_BUCKETS]);
        magpie_text_printf(
            out,
            "magpie_batch_size_bucket{sense=\"%s\",le=\"+Inf\"} %llu\n"
            "magpie_batch_size_sum{sense=\"%s\"} %llu\nmagpie_batch_size_count{sense=\"%s\"} %llu\n",
            name, (unsigned long long)sum, name, (unsigned long long)read_counter(&m->batched[s]), name,
            (unsigned long long)sum);
    }
}

static void write_cache(magpie_text *out, const char *name, uint64_t hits, uint64_t misses) {
    magpie_text_printf(out,
                       "magpie_cache_lookups_total{cache=\"%s\",outcome=\"hit\"} %llu\n"
                       "magpie_cache_lookups_total{cache=\"%s\",outcome=\"miss\"} %llu\n",
                       name, (unsigned long long)hits, name, (unsigned long long)misses);
}

static magpie_status write_store(const serving *view, magpie_text *out) {
    magpie_store_stats stats;
    magpie_status status = magpie_store_get_stats(view->store, &stats);
    if (status != MAGPIE_OK) return status;
    gauge(out, "items", "Items in the store.", (double)stats.items);
    gauge(out, "interactions", "Interactions in the store.", (double)stats.interactions);
    gauge(out, "store_bytes", "Bytes used of data.mdb.", (double)stats.file_bytes);
    gauge(out, "tombstones", "Rows that died and whose index has not been saved since.",
          (double)stats.tombstones);
    static const char *const names[][2] = {{"index_vectors", "Vectors that an index holds."},
                                           {"index_dead", "Of these, hidden by tombstones."},
                                           {"index_bytes", "Memory of vectors and graph, about."}};
    for (size_t n = 0; n < 3; n++) {
        head(out, names[n][0], "gauge", names[n][1]);
        for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
            magpie_index_stats index;
            if (!view->index[s]) continue;
            magpie_index_get_stats(view->index[s]->index, &index);
            const uint64_t values[] = {index.vectors, index.dead, index.bytes};
            magpie_text_printf(out, "magpie_%s{space=\"%s\"} %llu\n", names[n][0], magpie_space_name(s),
                               (unsigned long long)values[n]);
        }
    }
    return MAGPIE_OK;
}

magpie_status metrics_write(metrics *m, const serving *view, size_t in_flight, size_t queued,
                            size_t connections, magpie_text *out) {
    lru_counts vectors;
    write_requests(m, out);
    write_stages(m, out);
    write_batches(m, out);
    lru_count(view->models->vectors, &vectors);
    head(out, "cache_lookups_total", "counter", "Lookups of remembered query vectors and whole answers.");
    write_cache(out, "vectors", vectors.hits, vectors.misses);
    write_cache(out, "answers", read_counter(&m->answer_hits), read_counter(&m->answer_misses));
    gauge(out, "requests_in_flight", "Requests that are being answered.", (double)in_flight);
    gauge(out, "queue_depth", "Requests, writes and parts of queries that wait for a turn.", (double)queued);
    gauge(out, "connections", "Open connections.", (double)connections);
    gauge(out, "resident_bytes", "Resident memory of the process.", (double)metrics_resident());
    gauge(out, "uptime_seconds", "Since the start.", metrics_uptime(m));
    magpie_status status = write_store(view, out);
    return status == MAGPIE_OK ? magpie_text_status(out) : status;
}

uint64_t metrics_requests(const metrics *m) {
    uint64_t sum = 0;
    for (size_t r = 0; r <= ROUTES_MAX; r++) sum += requests_of(m, r);
    return sum;
}

double metrics_uptime(const metrics *m) { return magpie_seconds() - m->started; }

size_t metrics_resident(void) {
    FILE *file = fopen("/proc/self/statm", "re");
    size_t all, resident = 0;
    if (!file) return 0;
    if (fscanf(file, "%zu %zu", &all, &resident) != 2) resident = 0;
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}
