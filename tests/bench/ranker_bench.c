/* ranker_bench.c - trains a model on likes from a file and evaluates it, for ranker_compare and for trials.
 * Usage: ranker_bench LIKES MODEL [NAME=VALUE]...; LIKES is u32 pairs of user and item, each user's in order of
 * time. test=FILE: pairs that are ranked among all items; else the last like of each user is held out, among 99
 * items that were drawn. content=FILE,DIMENSION: f32 rows by item. seed, threads, draw (of the 99), and the
 * model's parameters. One JSON line an epoch, one at the end. */
#include "ranker.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BEST = 10, SOME = 1000, ASKED = 1000 };

static void die(void) {
    fprintf(stderr, "ranker_bench: %s\n", magpie_error());
    exit(1);
}

static magpie_status print(void *context, const magpie_ranker_progress *p) {
    (void)context;
    if (p->epoch_ended)
        printf("{\"epoch\": %zu, \"loss\": %.6f, \"hr\": %.4f, \"seconds\": %.3f, \"samples_per_second\": "
               "%.0f}\n",
               p->epoch, p->loss, p->hit_rate, p->seconds, p->samples_per_second);
    fflush(stdout);
    return MAGPIE_OK;
}

static magpie_map map_file(const char *path) {
    magpie_map map;
    if (magpie_map_open(path, &map) != MAGPIE_OK) die();
    return map;
}

static magpie_likes read_likes(const char *path, size_t users, size_t items) {
    magpie_map map = map_file(path);
    const uint32_t *pairs = (const uint32_t *)(const void *)map.data;
    size_t n = map.size / 8, at = 0;
    magpie_likes out = {.users = users, .items = items};
    for (size_t i = 0; i < n; i++) {
        if (pairs[2 * i] >= out.users) out.users = pairs[2 * i] + 1;
        if (pairs[2 * i + 1] >= out.items) out.items = pairs[2 * i + 1] + 1;
    }
    uint64_t *begin = magpie_alloc(out.users + 1, sizeof *begin);
    uint32_t *item = magpie_alloc(n, sizeof *item);
    if (!begin || !item) die();
    for (uint32_t u = 0; u < out.users; u++) {
        while (at < n && pairs[2 * at] == u) {
            item[at] = pairs[2 * at + 1];
            at++;
        }
        begin[u + 1] = at;
    }
    out.begin = begin;
    out.item = item;
    return out;
}

typedef struct asked {
    const magpie_ranker *ranker;
    const magpie_likes *likes;
    uint32_t best[BEST];
} asked;

static magpie_status score(void *context, uint32_t user, const uint32_t *items, size_t n, float *scores) {
    const asked *a = context;
    const magpie_ranker_user who = {user, a->likes->item + a->likes->begin[user],
                                    (size_t)(a->likes->begin[user + 1] - a->likes->begin[user])};
    return magpie_ranker_score(a->ranker, &who, items, n, scores);
}

static void evaluate_one(const magpie_scorer *scorer, const magpie_likes *all, const magpie_likes *test,
                         uint64_t random) {
    magpie_one_case *cases = magpie_alloc(all->users, sizeof *cases);
    uint32_t *negatives = magpie_alloc(all->users * 99, sizeof *negatives);
    magpie_one_figures f;
    if (!cases || !negatives) die();
    for (uint32_t u = 0; u < all->users; u++) {
        for (size_t k = 0; k < 99;) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint32_t item = (uint32_t)((random >> 33) % all->items);
            if (!magpie_likes_has(all, u, item)) negatives[u * 99 + k++] = item;
        }
        cases[u] = (magpie_one_case){u, test->item[test->begin[u]], negatives + u * 99, 99};
    }
    if (magpie_evaluate_one(scorer, cases, all->users, 10, 0, &f) != MAGPIE_OK) die();
    printf("{\"hr@10\": %.4f, \"ndcg@10\": %.4f", f.hit_rate.mean, f.ndcg.mean);
}

static void evaluate_all(const magpie_scorer *scorer, const magpie_likes *seen, const magpie_likes *test) {
    magpie_all_figures f;
    if (magpie_evaluate_all(scorer, seen, test, 10, 0, &f) != MAGPIE_OK) die();
    printf("{\"ndcg@10\": %.4f, \"map@10\": %.4f, \"precision@10\": %.4f, \"recall@10\": %.4f, \"coverage\": "
           "%.3f",
           f.ndcg.mean, f.map.mean, f.precision.mean, f.recall.mean, f.coverage);
}

/* ---- scoring ---- */

/* The places of the highest scores, the highest first. */
static void pick_best(const float *scores, size_t n, uint32_t *out) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept == BEST && !(scores[i] > scores[out[BEST - 1]])) continue;
        size_t at = kept < BEST ? kept++ : BEST - 1;
        for (; at > 0 && scores[i] > scores[out[at - 1]]; at--) out[at] = out[at - 1];
        out[at] = (uint32_t)i;
    }
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of users, each scored and the best picked once. */
static double median_ms(asked *a, const uint32_t *items, size_t n, float *scores) {
    static double taken[ASKED];
    size_t users = a->likes->users < ASKED ? a->likes->users : ASKED;
    for (uint32_t u = 0; u < users; u++) {
        double begun = magpie_seconds();
        if (score(a, u, items, n, scores) != MAGPIE_OK) die();
        pick_best(scores, n, a->best);
        taken[u] = (magpie_seconds() - begun) * 1e3;
    }
    qsort(taken, users, sizeof *taken, compare_doubles);
    return taken[users / 2];
}

static void measure_scoring(asked *a, size_t items) {
    float *scores = magpie_alloc(items + SOME, sizeof *scores);
    uint32_t some[SOME];
    uint64_t random = 3;
    if (!scores) die();
    for (size_t i = 0; i < SOME; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        some[i] = (uint32_t)((random >> 33) % items);
    }
    double all_ms = median_ms(a, NULL, items, scores), some_ms = median_ms(a, some, SOME, scores);
    printf(", \"all_ms\": %.4f, \"some_ms\": %.4f}\n", all_ms, some_ms);
    free(scores);
}

int main(int argc, char **argv) {
    magpie_ranker_kind kind;
    magpie_ranker_content content = {0};
    const char *test_path = NULL;
    uint64_t draw = 99;
    if (argc < 3) return 2;
    if (magpie_ranker_kind_parse(argv[2], &kind) != MAGPIE_OK) die();
    magpie_ranker_options options = magpie_ranker_defaults(kind);
    for (int i = 3; i < argc; i++) {
        char *value = strchr(argv[i], '='), *comma;
        if (!value) return 2;
        *value++ = 0;
        if (strcmp(argv[i], "seed") == 0) options.seed = strtoul(value, NULL, 10);
        if (strcmp(argv[i], "draw") == 0) draw = strtoul(value, NULL, 10);
        if (strcmp(argv[i], "threads") == 0) options.threads = (unsigned)strtoul(value, NULL, 10);
        if (strcmp(argv[i], "test") == 0) test_path = value;
        if (strcmp(argv[i], "content") == 0 && (comma = strchr(value, ',')) != NULL) {
            *comma = 0;
            content.dimension = strtoul(comma + 1, NULL, 10);
            magpie_map map = map_file(value);
            content.items = map.size / 4 / content.dimension;
            const float **rows = magpie_alloc(content.items, sizeof *rows);
            if (!rows) die();
            for (size_t k = 0; k < content.items; k++)
                rows[k] = (const float *)(const void *)map.data + k * content.dimension;
            content.rows = rows;
        }
        for (const magpie_ranker_parameter *p = magpie_ranker_parameters; p->name; p++)
            if (strcmp(argv[i], p->name) == 0) *magpie_ranker_parameter_at(&options, p) = strtod(value, NULL);
    }
    magpie_likes all = read_likes(argv[1], 0, content.items), train = all, test = {0};
    magpie_block block[2] = {{0}};
    if (test_path)
        test = read_likes(test_path, all.users, all.items);
    else {
        bool *last = magpie_alloc((size_t)all.begin[all.users], 1);
        if (!last || magpie_ranker_split_likes(&all, MAGPIE_SPLIT_LAST, 0, 1, last) != MAGPIE_OK ||
            magpie_likes_select(&all, last, false, &train, &block[0]) != MAGPIE_OK ||
            magpie_likes_select(&all, last, true, &test, &block[1]) != MAGPIE_OK)
            die();
    }
    char folder[] = "/tmp/ranker-bench-XXXXXX";
    magpie_ranker_report report;
    magpie_ranker *ranker;
    if (!mkdtemp(folder)) return 1;
    if (magpie_ranker_train(&train, &content, &options, folder, print, NULL, &report) != MAGPIE_OK) die();
    if (magpie_ranker_open(folder, &content, &ranker) != MAGPIE_OK) die();
    asked a = {.ranker = ranker, .likes = &train};
    const magpie_scorer scorer = {score, &a};
    if (test_path)
        evaluate_all(&scorer, &train, &test);
    else
        evaluate_one(&scorer, &all, &test, draw);
    printf(", \"epochs\": %zu, \"best\": %zu, \"hr\": %.4f, \"train_seconds\": %.2f", report.epochs,
           report.best_epoch, report.hit_rate, report.seconds);
    measure_scoring(&a, all.items);
    return 0;
}
