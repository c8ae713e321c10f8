/* text_bench.c - throughput and latency of the text encoder, as ../shared/bench/text_bench.py measures its
 * peers: one JSON line a figure. Usage: text_bench MODEL DATA [f32|bf16] [threads] [reps]; DATA holds
 * titles.txt, passages.txt and queries.txt, one text a line. */
#include "encoders.h"

#include <stdlib.h>
#include <string.h>

static void die(void) {
    fprintf(stderr, "text_bench: %s\n", magpie_error());
    exit(1);
}

typedef struct corpus {
    char *memory;
    magpie_string *texts;
    size_t n;
} corpus;

static corpus read_corpus(const char *folder, const char *name) {
    corpus c = {0};
    size_t size, capacity = 0;
    char *path = magpie_path_join(folder, name);
    if (!path || magpie_file_read(path, (size_t)1 << 30, &c.memory, &size) != MAGPIE_OK) die();
    free(path);
    for (char *line = c.memory, *end; line < c.memory + size; line = end + 1) {
        end = strchr(line, '\n');
        if (!end) end = c.memory + size;
        if (magpie_grow((void **)&c.texts, &capacity, c.n + 1, sizeof *c.texts) != MAGPIE_OK) die();
        c.texts[c.n++] = (magpie_string){line, (size_t)(end - line)};
    }
    return c;
}

static void corpus_free(corpus *c) {
    free(c->memory);
    free(c->texts);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double *values, size_t n, double p) {
    qsort(values, n, sizeof *values, by_value);
    size_t i = (size_t)(p / 100 * (double)n);
    return values[i < n ? i : n - 1];
}

static void emit(const magpie_text_encoder_info *info, const char *workload, const char *metric,
                 double value) {
    printf("{\"bench\": \"text\", \"peer\": \"magpie-%s\", \"workload\": \"%s\", \"metric\": \"%s\", "
           "\"value\": %.4f, "
           "\"threads\": %u}\n",
           magpie_precision_name(info->precision), workload, metric, value, info->threads);
    fflush(stdout);
}

static void throughput(magpie_text_encoder *encoder, const char *data, const char *file, const char *workload,
                       size_t reps) {
    const magpie_text_encoder_info *info = magpie_text_encoder_get_info(encoder);
    corpus c = read_corpus(data, file);
    float *out = magpie_alloc(c.n * info->dimension, sizeof *out);
    double *rates = magpie_alloc(reps, sizeof *rates), tokens = 0;
    int32_t *ids = magpie_alloc(info->max_tokens, sizeof *ids);
    if (!out || !rates || !ids) die();
    for (size_t i = 0; i < c.n; i++) {
        size_t count;
        if (magpie_text_encoder_tokenize(encoder, c.texts[i], MAGPIE_PASSAGE, ids, &count) != MAGPIE_OK)
            die();
        tokens += (double)count;
    }
    for (size_t r = 0; r <= reps; r++) { /* the first is a warm-up */
        double start = magpie_seconds();
        if (magpie_text_encoder_encode(encoder, c.texts, c.n, MAGPIE_PASSAGE, out) != MAGPIE_OK) die();
        if (r) rates[r - 1] = (double)c.n / (magpie_seconds() - start);
    }
    double median = percentile(rates, reps, 50);
    /* Weights of the products alone, two operations each: what the peers' figures are compared at, too. */
    double flop = 2.0 * (double)info->layers *
                  (double)(4 * info->dimension * info->dimension + 2 * info->dimension * info->intermediate);
    emit(info, workload, "items_per_s", median);
    emit(info, workload, "gflop_per_s", median * tokens / (double)c.n * flop * 1e-9);
    free(ids);
    free(rates);
    free(out);
    corpus_free(&c);
}

static void latency(magpie_text_encoder *encoder, const char *data, size_t reps) {
    const magpie_text_encoder_info *info = magpie_text_encoder_get_info(encoder);
    corpus c = read_corpus(data, "queries.txt");
    float *out = magpie_alloc(info->dimension, sizeof *out);
    double *times = magpie_alloc(c.n, sizeof *times), *p50 = magpie_alloc(reps, sizeof *p50),
           *p99 = magpie_alloc(reps, sizeof *p99);
    if (!out || !times || !p50 || !p99) die();
    for (size_t r = 0; r <= reps; r++) {
        for (size_t i = 0; i < c.n; i++) {
            double start = magpie_seconds();
            if (magpie_text_encoder_encode(encoder, &c.texts[i], 1, MAGPIE_QUERY, out) != MAGPIE_OK) die();
            times[i] = (magpie_seconds() - start) * 1e3;
        }
        if (r) {
            p50[r - 1] = percentile(times, c.n, 50);
            p99[r - 1] = percentile(times, c.n, 99);
        }
    }
    emit(info, "query", "p50_ms", percentile(p50, reps, 50));
    emit(info, "query", "p99_ms", percentile(p99, reps, 50));
    free(p99);
    free(p50);
    free(times);
    free(out);
    corpus_free(&c);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: text_bench MODEL DATA [f32|bf16] [threads] [reps]\n");
        return 2;
    }
    magpie_encoder_options options = {.precision = MAGPIE_PRECISION_AUTO};
    magpie_text_encoder *encoder;
    if (argc > 3 && magpie_precision_parse(argv[3], &options.precision) != MAGPIE_OK) die();
    if (argc > 4) options.threads = (unsigned)strtoul(argv[4], NULL, 10);
    size_t reps = argc > 5 ? strtoul(argv[5], NULL, 10) : 5;
    if (!reps || magpie_text_encoder_open(argv[1], &options, &encoder) != MAGPIE_OK) die();
    throughput(encoder, argv[2], "titles.txt", "titles", reps);
    throughput(encoder, argv[2], "passages.txt", "passages", reps);
    latency(encoder, argv[2], reps);
    magpie_text_encoder_close(encoder);
    return 0;
}
