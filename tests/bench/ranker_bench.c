/* ranker_bench.c - trains a model on likes from a file and evaluates it; for ranker_compare and figures.
 * Usage: ranker_bench LIKES MODEL [NAME=VALUE]...; LIKES is u32 pairs of user and item, in order of time for
 * each user. The last like of each user is for test, among 99 that were drawn. One JSON line an epoch. */
#include "ranker.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die(void) {
    fprintf(stderr, "ranker_bench: %s\n", magpie_error());
    exit(1);
}

static magpie_status print(void *context, const magpie_ranker_progress *p) {
    (void)context;
    if (p->epoch_ended)
        printf("{\"epoch\": %zu, \"loss\": %.6f, \"hr\": %.4f, \"seconds\": %.3f, \"samples_per_second\": %.0f}\n", p->epoch,
               p->loss, p->hit_rate, p->seconds, p->samples_per_second);
    fflush(stdout);
    return MAGPIE_OK;
}

static magpie_likes read_likes(const char *path, uint32_t **last, uint64_t seed) {
    (void)seed;
    magpie_map map;
    if (magpie_map_open(path, &map) != MAGPIE_OK) die();
    const uint32_t *pairs = (const uint32_t *)(const void *)map.data;
    size_t n = map.size / 8;
    magpie_likes out = {0};
    for (size_t i = 0; i < n; i++) {
        if (pairs[2 * i] >= out.users) out.users = pairs[2 * i] + 1;
        if (pairs[2 * i + 1] >= out.items) out.items = pairs[2 * i + 1] + 1;
    }
    uint64_t *begin = magpie_alloc(out.users + 1, sizeof *begin);
    uint32_t *item = magpie_alloc(n, sizeof *item);
    *last = magpie_alloc(out.users, sizeof **last);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = pairs[2 * i];
        if (i + 1 == n || pairs[2 * i + 2] != u) (*last)[u] = pairs[2 * i + 1];
        else item[at++] = pairs[2 * i + 1];
        begin[u + 1] = at;
    }
    out.begin = begin;
    out.item = item;
    return out;
}

static bool has(const magpie_likes *l, uint32_t u, uint32_t item) {
    for (uint64_t i = l->begin[u]; i < l->begin[u + 1]; i++)
        if (l->item[i] == item) return true;
    return false;
}

int main(int argc, char **argv) {
    magpie_ranker_kind kind;
    uint32_t *last;
    if (argc < 3) return 2;
    if (magpie_ranker_kind_parse(argv[2], &kind) != MAGPIE_OK) die();
    magpie_ranker_options options = magpie_ranker_defaults(kind);
    for (int i = 3; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) return 2;
        *value++ = 0;
        if (strcmp(argv[i], "seed") == 0) options.seed = strtoul(value, NULL, 10);
        if (strcmp(argv[i], "threads") == 0) options.threads = (unsigned)strtoul(value, NULL, 10);
        for (const magpie_ranker_parameter *p = magpie_ranker_parameters; p->name; p++)
            if (strcmp(argv[i], p->name) == 0) *magpie_ranker_parameter_at(&options, p) = strtod(value, NULL);
    }
    magpie_likes likes = read_likes(argv[1], &last, 1);
    char dir[] = "/tmp/ranker-bench-XXXXXX";
    if (!mkdtemp(dir)) return 1;
    magpie_ranker_report report;
    magpie_ranker *ranker;
    if (magpie_ranker_train(&likes, NULL, &options, dir, print, NULL, &report) != MAGPIE_OK) die();
    if (magpie_ranker_open(dir, NULL, &ranker) != MAGPIE_OK) die();
    size_t hits = 0;
    double seconds = 0, ndcg = 0;
    float *scores = magpie_alloc(likes.items, sizeof *scores);
    uint64_t random = 99;
    for (uint32_t u = 0; u < likes.users; u++) {
        magpie_ranker_user user = {u, likes.item + likes.begin[u], likes.begin[u + 1] - likes.begin[u]};
        double t = magpie_seconds();
        if (magpie_ranker_score(ranker, &user, NULL, likes.items, scores) != MAGPIE_OK) die();
        seconds += magpie_seconds() - t;
        size_t rank = 0;
        for (int k = 0; k < 99;) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint32_t item = (uint32_t)((random >> 33) % likes.items);
            if (item == last[u] || has(&likes, u, item)) continue;
            rank += scores[item] >= scores[last[u]];
            k++;
        }
        hits += rank < 10;
        if (rank < 10) ndcg += 1 / __builtin_log2((double)rank + 2);
    }
    printf("{\"hr@10\": %.4f, \"ndcg@10\": %.4f, \"train_seconds\": %.2f, \"epochs\": %zu, \"best\": %zu, \"score_all_us\": %.1f}\n",
           (double)hits / (double)likes.users, ndcg / (double)likes.users, report.seconds, report.epochs, report.best_epoch,
           seconds / (double)likes.users * 1e6);
    return 0;
}
