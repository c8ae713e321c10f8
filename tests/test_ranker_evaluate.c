/* test_ranker_evaluate.c - figures are what the definitions say, computed by sorting everything; splits are
 * what they are said to be; threads change no bit. */
#include "support.h"

#include "bootstrap.h"
#include "model.h"

#include <math.h>

enum { USERS_MAX = 60, ITEMS_MAX = 50, THREADS_MAX = 3, NEGATIVES_MAX = 20 };

/* ---- likes and scores by chance ------------------------------------------------------------------------ */

typedef struct world {
    size_t users, items;
    float scores[USERS_MAX][ITEMS_MAX]; /* few values, so that ties are many; some are none */
    bool known[USERS_MAX];
    uint64_t begin[2][USERS_MAX + 1];
    uint32_t item[2][USERS_MAX * ITEMS_MAX];
    float weight[USERS_MAX * ITEMS_MAX];
    int64_t time[USERS_MAX * ITEMS_MAX];
    magpie_likes seen, test;
} world;

static world w;

static magpie_status score(void *context, uint32_t user, const uint32_t *items, size_t n, float *scores) {
    (void)context;
    if (user >= w.users || !w.known[user]) return magpie_fail(MAGPIE_E_NOT_FOUND, "user %u", user);
    for (size_t i = 0; i < n; i++) scores[i] = w.scores[user][items ? items[i] : i];
    return MAGPIE_OK;
}

static const magpie_scorer scorer = {score, NULL};

static float random_score(random_state *r) {
    static const float odd[] = {NAN, -INFINITY, INFINITY, -0.0f};
    return random_below(r, 6) ? (float)random_below(r, 9) - 4 : odd[random_below(r, 4)];
}

/* Each like is seen, or for test, or neither. In order of time, not of items. */
static void random_world(random_state *r, size_t users, size_t items) {
    w.users = users;
    w.items = items;
    uint64_t n[2] = {0};
    for (size_t u = 0; u < users; u++) {
        const size_t rounds = random_below(r, items + 1);
        bool liked[ITEMS_MAX] = {false};
        w.known[u] = random_below(r, 5) > 0;
        for (size_t i = 0; i < items; i++) w.scores[u][i] = random_score(r);
        for (size_t p = 0; p < 2; p++) w.begin[p][u] = n[p];
        for (size_t i = 0; i < rounds; i++) {
            const size_t part = random_below(r, 2), item = random_below(r, items);
            if (liked[item]) continue;
            liked[item] = true;
            w.item[part][n[part]++] = (uint32_t)item;
        }
    }
    for (size_t p = 0; p < 2; p++) w.begin[p][users] = n[p];
    for (size_t i = 0; i < n[0]; i++) {
        w.weight[i] = (float)random_unit(r);
        w.time[i] = (int64_t)random_below(r, 40) - 5;
    }
    w.seen = (magpie_likes){users, items, w.begin[0], w.item[0], w.weight, w.time};
    w.test = (magpie_likes){users, items, w.begin[1], w.item[1], NULL, NULL};
}

static bool has(const magpie_likes *likes, size_t user, size_t item) {
    for (uint64_t i = likes->begin[user]; i < likes->begin[user + 1]; i++)
        if (likes->item[i] == item) return true;
    return false;
}

/* ---- all items ----------------------------------------------------------------------------------------- */

typedef struct expected {
    double precision, recall, ndcg, map, mrr, hit_rate;
    size_t n, recommended[ITEMS_MAX];
} expected;

/* The place of an item is the number of those before it. */
static size_t place_of(size_t user, size_t item) {
    size_t place = 0;
    const float own = w.scores[user][item];
    for (size_t i = 0; i < w.items; i++) {
        const float other = w.scores[user][i];
        if (isfinite(other) && !has(&w.seen, user, i))
            place += other > own || (other == own && ranker_tie((uint32_t)user, (uint32_t)i) <
                                                         ranker_tie((uint32_t)user, (uint32_t)item));
    }
    return place;
}

static void expect_user(size_t user, size_t k, expected *e) {
    const size_t right = w.begin[1][user + 1] - w.begin[1][user];
    bool hit[ITEMS_MAX] = {false};
    size_t hits = 0, first = ITEMS_MAX;
    double gain = 0, ideal = 0, precisions = 0;
    for (size_t i = 0; i < w.items && w.known[user]; i++) {
        const size_t place = place_of(user, i);
        if (!isfinite(w.scores[user][i]) || has(&w.seen, user, i) || place >= k) continue;
        e->recommended[i]++;
        hit[place] = has(&w.test, user, i);
    }
    for (size_t place = 0; place < w.items; place++) {
        if (!hit[place]) continue;
        hits++;
        if (first == ITEMS_MAX) first = place;
        gain += log(2) / log((double)place + 2);
        precisions += (double)hits / (double)(place + 1);
    }
    for (size_t place = 0; place < k && place < right; place++) ideal += log(2) / log((double)place + 2);
    e->n++;
    e->precision += (double)hits / (double)k;
    e->recall += (double)hits / (double)right;
    e->ndcg += gain / ideal;
    e->map += precisions / (double)right;
    e->mrr += hits ? 1 / (double)(first + 1) : 0;
    e->hit_rate += hits > 0;
}

static void assert_figure(magpie_figure f, double sum, size_t n) {
    assert_float_equal(f.mean, n ? sum / (double)n : 0, 1e-12);
    assert_true(f.low <= f.mean && f.mean <= f.high);
}

static void assert_items(const expected *e, const magpie_all_figures *f) {
    size_t covered = 0, recommended = 0, users = 0, in_test = w.begin[1][w.users];
    double novelty = 0, popularity = 0, of_test = 0;
    for (size_t u = 0; u < w.users; u++) users += w.begin[0][u] < w.begin[0][u + 1];
    for (size_t i = 0; i < w.items; i++) {
        size_t by = 0, tests = 0;
        for (size_t u = 0; u < w.users; u++) {
            by += has(&w.seen, u, i);
            tests += has(&w.test, u, i);
        }
        covered += e->recommended[i] > 0;
        recommended += e->recommended[i];
        if (e->recommended[i])
            novelty -= (double)e->recommended[i] * log2((by ? (double)by : 1) / (users ? (double)users : 1));
        popularity += (double)(e->recommended[i] * by);
        of_test += (double)(tests * by);
    }
    assert_float_equal(f->coverage, (double)covered / (double)w.items, 1e-12);
    assert_float_equal(f->novelty, recommended ? novelty / (double)recommended : 0, 1e-9);
    const bool comparable = recommended && of_test > 0;
    assert_float_equal(f->popularity,
                       comparable ? popularity / (double)recommended / of_test * (double)in_test : 0, 1e-9);
}

static void check_all(size_t k, unsigned threads) {
    expected e = {0};
    magpie_all_figures f, other;
    size_t served = 0;
    for (size_t u = 0; u < w.users; u++) {
        if (w.begin[1][u] == w.begin[1][u + 1]) continue;
        expect_user(u, k, &e);
        served += w.known[u];
    }
    assert_ok(magpie_evaluate_all(&scorer, &w.seen, &w.test, k, threads, &f));
    assert_int_equal(f.users, e.n);
    assert_int_equal(f.served, served);
    assert_figure(f.precision, e.precision, e.n);
    assert_figure(f.recall, e.recall, e.n);
    assert_figure(f.ndcg, e.ndcg, e.n);
    assert_figure(f.map, e.map, e.n);
    assert_figure(f.mrr, e.mrr, e.n);
    assert_figure(f.hit_rate, e.hit_rate, e.n);
    assert_items(&e, &f);
    assert_ok(magpie_evaluate_all(&scorer, &w.seen, &w.test, k, 1, &other));
    assert_memory_equal(&f, &other, sizeof f);
}

static void test_all(void **state) {
    (void)state;
    random_state r = {1};
    for (unsigned i = 0; i < 60; i++) {
        random_world(&r, 1 + random_below(&r, USERS_MAX), 1 + random_below(&r, ITEMS_MAX));
        check_all(1 + random_below(&r, ITEMS_MAX + 20), 1 + (unsigned)random_below(&r, THREADS_MAX));
    }
    magpie_all_figures f;
    assert_int_equal(magpie_evaluate_all(&scorer, &w.seen, &w.test, 0, 1, &f), MAGPIE_E_ARGUMENT);
}

/* Who is in the test may be nobody that was seen, and may like what nobody has. */
static void test_all_of_strangers(void **state) {
    (void)state;
    random_state r = {2};
    random_world(&r, USERS_MAX, ITEMS_MAX);
    for (size_t u = 0; u <= USERS_MAX; u++) w.begin[0][u] = 0;
    check_all(7, 2);
    magpie_all_figures all, half;
    const magpie_likes nobody = {0, 0, w.begin[0], NULL, NULL, NULL};
    assert_ok(magpie_evaluate_all(&scorer, &w.seen, &w.test, 7, 2, &all));
    assert_ok(magpie_evaluate_all(&scorer, &nobody, &w.test, 7, 2, &half));
    assert_memory_equal(&all, &half, sizeof all);
}

/* The first items are everybody's: whoever cannot tell items apart must not find them by their numbers. */
static void test_all_alike_is_chance(void **state) {
    (void)state;
    static const uint64_t none[USERS_MAX + 1] = {0};
    w.users = USERS_MAX;
    memset(w.scores, 0, sizeof w.scores);
    for (size_t u = 0; u < USERS_MAX; u++) {
        w.known[u] = true;
        w.begin[1][u + 1] = 5 * (u + 1);
        for (uint32_t i = 0; i < 5; i++) w.item[1][5 * u + i] = i;
    }
    const magpie_likes seen = {USERS_MAX, ITEMS_MAX, none, NULL, NULL, NULL},
                       test = {USERS_MAX, ITEMS_MAX, w.begin[1], w.item[1], NULL, NULL};
    magpie_all_figures f;
    assert_ok(magpie_evaluate_all(&scorer, &seen, &test, 10, 2, &f));
    const double found = f.recall.mean * USERS_MAX * 5;
    const double chance = USERS_MAX * 5 * 10.0 / ITEMS_MAX;
    assert_true(fabs(found - chance) < 4 * sqrt(chance * (1 - 10.0 / ITEMS_MAX)));
    assert_true(f.coverage == 1);
}

/* Reckoned by hand: three users, k 2, one of them without a hit. */
static void test_all_by_hand(void **state) {
    (void)state;
    static const uint64_t none[] = {0, 0, 0, 0}, begin[] = {0, 3, 4, 6};
    static const uint32_t right[] = {0, 2, 4, 1, 3, 0};
    static const float by_user[3][5] = {{9, 8, 7, 6, 5}, {5, 4, 9, 8, 7}, {1, 2, 3, 9, 8}};
    w.users = 3;
    for (size_t u = 0; u < 3; u++) {
        w.known[u] = true;
        memcpy(w.scores[u], by_user[u], sizeof by_user[u]);
    }
    const magpie_likes seen = {3, 5, none, NULL, NULL, NULL}, test = {3, 5, begin, right, NULL, NULL};
    magpie_all_figures f;
    assert_ok(magpie_evaluate_all(&scorer, &seen, &test, 2, 1, &f));
    const double best = 1 + 1 / log2(3);
    assert_float_equal(f.precision.mean, (0.5 + 0 + 0.5) / 3, 1e-12);
    assert_float_equal(f.recall.mean, (1.0 / 3 + 0 + 1.0 / 2) / 3, 1e-12);
    assert_float_equal(f.ndcg.mean, (1 / best + 0 + 1 / best) / 3, 1e-12);
    assert_float_equal(f.map.mean, (1.0 / 3 + 0 + 1.0 / 2) / 3, 1e-12);
    assert_float_equal(f.mrr.mean, 2.0 / 3, 1e-12);
    assert_float_equal(f.coverage, 1, 1e-12); /* 0 and 1, 2 and 3, 3 and 4 */
}

/* ---- one among negatives ------------------------------------------------------------------------------- */

static void check_one(random_state *r, size_t n, size_t k, unsigned threads) {
    static uint32_t negatives[USERS_MAX * 2][NEGATIVES_MAX];
    static magpie_one_case cases[USERS_MAX * 2];
    double hits = 0, ndcg = 0;
    size_t served = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t user = (uint32_t)random_below(r, w.users + 1),
                       item = (uint32_t)random_below(r, w.items);
        const size_t others = random_below(r, NEGATIVES_MAX);
        const float own = user < w.users ? w.scores[user][item] : 0;
        size_t rank = 1;
        cases[i] = (magpie_one_case){user, item, negatives[i], others};
        for (size_t j = 0; j < others; j++) {
            negatives[i][j] = (uint32_t)random_below(r, w.items);
            const float other = user < w.users ? w.scores[user][negatives[i][j]] : 0;
            rank += isfinite(other) && !(other < own);
        }
        if (user >= w.users || !w.known[user]) continue;
        served++;
        hits += isfinite(own) && rank <= k;
        ndcg += isfinite(own) && rank <= k ? log(2) / log((double)rank + 1) : 0;
    }
    magpie_one_figures f, other;
    assert_ok(magpie_evaluate_one(&scorer, cases, n, k, threads, &f));
    assert_int_equal(f.cases, n);
    assert_int_equal(f.served, served);
    assert_figure(f.hit_rate, hits, n);
    assert_figure(f.ndcg, ndcg, n);
    assert_ok(magpie_evaluate_one(&scorer, cases, n, k, 1, &other));
    assert_memory_equal(&f, &other, sizeof f);
}

static void test_one(void **state) {
    (void)state;
    random_state r = {3};
    for (unsigned i = 0; i < 60; i++) {
        random_world(&r, 1 + random_below(&r, USERS_MAX), 1 + random_below(&r, ITEMS_MAX));
        check_one(&r, random_below(&r, USERS_MAX * 2), random_below(&r, NEGATIVES_MAX + 5),
                  1 + (unsigned)random_below(&r, THREADS_MAX));
    }
}

static magpie_status refuse_three(void *context, uint32_t user, const uint32_t *items, size_t n,
                                  float *scores) {
    if (user != 3) return score(context, user, items, n, scores);
    return magpie_fail(MAGPIE_E_CORRUPT, "user 3 has no row");
}

static void test_failures_come_through(void **state) {
    (void)state;
    random_state r = {4};
    random_world(&r, USERS_MAX, ITEMS_MAX);
    const magpie_one_case cases[] = {{1, 2, NULL, 0}, {3, 4, NULL, 0}};
    const magpie_scorer failing = {refuse_three, NULL};
    magpie_one_figures f;
    assert_int_equal(magpie_evaluate_one(&failing, cases, 2, 10, 2, &f), MAGPIE_E_CORRUPT);
    assert_string_equal(magpie_error(), "user 3 has no row");
}

/* ---- the interval -------------------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void test_bootstrap(void **state) {
    (void)state;
    enum { N = 400, FIGURES = 3 };
    static double values[N][FIGURES], means[FIGURES][1000];
    random_state r = {5};
    magpie_pool *pool;
    magpie_figure f[FIGURES];
    for (size_t i = 0; i < N; i++) {
        values[i][0] = random_unit(&r);
        values[i][1] = random_unit(&r) < 0.3;
        values[i][2] = 1 - values[i][0];
    }
    assert_ok(magpie_pool_create(2, &pool));
    assert_ok(ranker_bootstrap(pool, values[0], N, FIGURES, 77, f));
    magpie_pool_free(pool);
    for (size_t s = 0; s < 1000; s++) {
        uint64_t random = magpie_seed(77, s);
        for (size_t i = 0; i < N; i++) {
            const size_t drawn = ranker_draw(&random, N);
            for (size_t j = 0; j < FIGURES; j++) means[j][s] += values[drawn][j] / N;
        }
    }
    for (size_t j = 0; j < FIGURES; j++) {
        double mean = 0, variance = 0;
        for (size_t i = 0; i < N; i++) mean += values[i][j] / N;
        for (size_t i = 0; i < N; i++) variance += (values[i][j] - mean) * (values[i][j] - mean) / N;
        qsort(means[j], 1000, sizeof(double), compare_doubles);
        assert_float_equal(f[j].mean, mean, 1e-12);
        assert_float_equal(f[j].low, means[j][24], 1e-12);
        assert_float_equal(f[j].high, means[j][975], 1e-12);
        assert_float_equal(f[j].high - f[j].low, 2 * 1.96 * sqrt(variance / N),
                           0.15 * (f[j].high - f[j].low));
    }
}

/* ---- splits -------------------------------------------------------------------------------------------- */

static size_t tests_of(const bool *test, size_t user) {
    size_t count = 0;
    for (uint64_t i = w.begin[0][user]; i < w.begin[0][user + 1]; i++) count += test[i];
    return count;
}

/* How many of what is liked are in the test, and nothing is in both. */
static size_t cold(const bool *test, bool items, size_t *of) {
    bool in[2][USERS_MAX] = {{false}}; /* as many as ITEMS_MAX at least */
    size_t count = 0;
    *of = 0;
    for (size_t u = 0; u < w.users; u++)
        for (uint64_t i = w.begin[0][u]; i < w.begin[0][u + 1]; i++)
            in[test[i]][items ? w.item[0][i] : u] = true;
    for (size_t i = 0; i < USERS_MAX; i++) {
        assert_false(in[0][i] && in[1][i]);
        count += in[1][i];
        *of += in[0][i] || in[1][i];
    }
    return count;
}

static void check_split_by_time(const bool *test, double share) {
    const size_t n = w.begin[0][w.users];
    int64_t last = INT64_MIN, first = INT64_MAX;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (test[i] && w.time[i] < first) first = w.time[i];
        if (!test[i] && w.time[i] > last) last = w.time[i];
        count += test[i];
    }
    assert_true(last <= first);
    assert_int_equal(count, n - (size_t)nearbyint((1 - share) * (double)n));
}

static void test_splits(void **state) {
    (void)state;
    random_state r = {6};
    static bool test[USERS_MAX * ITEMS_MAX], again[USERS_MAX * ITEMS_MAX];
    for (unsigned i = 0; i < 200; i++) {
        random_world(&r, 2 + random_below(&r, USERS_MAX - 1), 2 + random_below(&r, ITEMS_MAX - 1));
        const double share = (double)random_below(&r, 21) / 20;
        const uint64_t seed = random_u64(&r);
        size_t of;
        assert_ok(magpie_ranker_split_likes(&w.seen, MAGPIE_SPLIT_LAST, share, seed, test));
        for (size_t u = 0; u < w.users; u++) {
            const size_t n = w.begin[0][u + 1] - w.begin[0][u];
            assert_int_equal(tests_of(test, u), n > 1);
            if (n > 1) assert_true(test[w.begin[0][u + 1] - 1]);
        }
        assert_ok(magpie_ranker_split_likes(&w.seen, MAGPIE_SPLIT_RANDOM, share, seed, test));
        assert_ok(magpie_ranker_split_likes(&w.seen, MAGPIE_SPLIT_RANDOM, share, seed, again));
        assert_memory_equal(test, again, w.begin[0][w.users]);
        for (size_t u = 0; u < w.users; u++) {
            const size_t n = w.begin[0][u + 1] - w.begin[0][u];
            assert_int_equal(tests_of(test, u), n - (size_t)nearbyint((1 - share) * (double)n));
        }
        if (magpie_ranker_split_likes(&w.seen, MAGPIE_SPLIT_TIME, share, seed, test) == MAGPIE_OK)
            check_split_by_time(test, share);
        for (unsigned items = 0; items < 2; items++) {
            assert_ok(magpie_ranker_split_likes(
                &w.seen, items ? MAGPIE_SPLIT_COLD_ITEMS : MAGPIE_SPLIT_COLD_USERS, share, seed, test));
            const size_t count = cold(test, items, &of);
            assert_int_equal(count, of - (size_t)nearbyint((1 - share) * (double)of));
        }
    }
    assert_int_equal(magpie_ranker_split_likes(&w.seen, MAGPIE_SPLIT_RANDOM, 1.5, 1, test),
                     MAGPIE_E_ARGUMENT);
    w.seen.time = NULL;
    assert_int_equal(magpie_ranker_split_likes(&w.seen, MAGPIE_SPLIT_TIME, 0.5, 1, test), MAGPIE_E_ARGUMENT);
}

/* Every like of a user is for test as often as every other, and seeds differ. */
static void test_split_is_by_chance(void **state) {
    (void)state;
    enum { N = 8, ROUNDS = 4000 };
    static const uint64_t begin[] = {0, N};
    static const uint32_t item[N] = {0, 1, 2, 3, 4, 5, 6, 7};
    const magpie_likes likes = {1, N, begin, item, NULL, NULL};
    size_t counts[N] = {0};
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        bool test[N];
        assert_ok(magpie_ranker_split_likes(&likes, MAGPIE_SPLIT_RANDOM, 0.25, seed, test));
        for (size_t i = 0; i < N; i++) counts[i] += test[i];
    }
    const double mean = ROUNDS * 0.25, deviation = sqrt(ROUNDS * 0.25 * 0.75);
    for (size_t i = 0; i < N; i++) assert_true(fabs((double)counts[i] - mean) < 4 * deviation);
}

static void test_select(void **state) {
    (void)state;
    random_state r = {7};
    for (unsigned round = 0; round < 50; round++) {
        static bool test[USERS_MAX * ITEMS_MAX];
        random_world(&r, 1 + random_below(&r, USERS_MAX), 1 + random_below(&r, ITEMS_MAX));
        for (size_t i = 0; i < w.begin[0][w.users]; i++) test[i] = random_below(&r, 3) == 0;
        magpie_likes parts[2];
        magpie_block blocks[2];
        uint64_t at[2] = {0};
        for (unsigned p = 0; p < 2; p++)
            assert_ok(magpie_likes_select(&w.seen, test, p, &parts[p], &blocks[p]));
        for (size_t u = 0; u < w.users; u++) {
            for (unsigned p = 0; p < 2; p++) assert_int_equal(parts[p].begin[u], at[p]);
            for (uint64_t i = w.begin[0][u]; i < w.begin[0][u + 1]; i++) {
                const magpie_likes *part = &parts[test[i]];
                const uint64_t j = at[test[i]]++;
                assert_int_equal(part->item[j], w.item[0][i]);
                assert_true(part->weight[j] == w.weight[i] && part->time[j] == w.time[i]);
            }
        }
        for (unsigned p = 0; p < 2; p++) {
            assert_int_equal(parts[p].begin[w.users], at[p]);
            assert_true(parts[p].users == w.users && parts[p].items == w.items);
            magpie_block_free(&blocks[p]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_all_of_strangers),
        cmocka_unit_test(test_all_alike_is_chance),
        cmocka_unit_test(test_all_by_hand),
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_failures_come_through),
        cmocka_unit_test(test_bootstrap),
        cmocka_unit_test(test_splits),
        cmocka_unit_test(test_split_is_by_chance),
        cmocka_unit_test(test_select),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
