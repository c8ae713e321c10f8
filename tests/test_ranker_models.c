/* test_ranker_models.c - each model that is had without gradients is what its formula says, by brute force in
 * doubles; what was saved is what is opened; any number of threads gives the same bytes; a list is scored as
 * all are; who is forgotten is zeros. */
#include "support.h"

#include "model.h"

#include <math.h>
#include <sys/stat.h>

enum { USERS = 60, ITEMS = 30, MOST = 12 };

/* LAPACK's, out of libopenblas. */
void dsyev_(const char *vectors, const char *triangle, const int *n, double *a, const int *stride,
            double *values, double *work, const int *work_size, int *info);

static const magpie_ranker_kind kinds[] = {MAGPIE_RANKER_POPULARITY, MAGPIE_RANKER_ITEMKNN,
                                           MAGPIE_RANKER_PURESVD, MAGPIE_RANKER_EASE, MAGPIE_RANKER_IALS};
enum { COUNT = sizeof kinds / sizeof *kinds };

static struct {
    uint64_t begin[USERS + 1];
    uint32_t item[USERS * MOST];
    float weight[USERS * MOST];
    int64_t time[USERS * MOST];
    double x[USERS][ITEMS], gram[ITEMS][ITEMS]; /* 1 or 0; X^T X */
    magpie_likes likes;
} data;

static char folder[] = "/tmp/magpie-ranker-XXXXXX";

static char *in_folder(const char *name) {
    char *path = magpie_path_join(folder, name);
    assert_non_null(path);
    return path;
}

/* Two kinds of taste, popular items and rare ones; user 7 likes nothing, and nobody likes the last item. */
static int make_data(void **state) {
    (void)state;
    random_state r = {5};
    for (size_t u = 0, at = 0; u < USERS; u++) {
        const size_t n = u == 7 ? 0 : 2 + random_below(&r, MOST - 2);
        for (size_t k = 0; k < n;) {
            size_t i = (size_t)(random_unit(&r) * random_unit(&r) * (ITEMS - 1));
            if (random_below(&r, 3)) i = i / 2 * 2 + u % 2;
            if (i >= ITEMS - 1 || data.x[u][i] > 0) {
                i = random_below(&r, ITEMS - 1);
                if (data.x[u][i] > 0) continue;
            }
            data.x[u][i] = 1;
            data.item[at + k] = (uint32_t)i;
            data.weight[at + k] = (float)(0.5 + random_unit(&r));
            data.time[at + k] = 86400000 * (int64_t)(10 * k + u);
            k++;
        }
        data.begin[u + 1] = at += n;
    }
    for (size_t u = 0; u < USERS; u++)
        for (size_t i = 0; i < ITEMS; i++)
            for (size_t j = 0; j < ITEMS; j++) data.gram[i][j] += data.x[u][i] * data.x[u][j];
    data.likes = (magpie_likes){USERS, ITEMS, data.begin, data.item, data.weight, data.time};
    return mkdtemp(folder) ? 0 : -1;
}

static magpie_ranker *train(const magpie_ranker_options *options, const char *name) {
    char *path = in_folder(name);
    magpie_ranker *ranker;
    assert_ok(magpie_ranker_train(&data.likes, NULL, options, path, NULL, NULL, NULL));
    assert_ok(magpie_ranker_open(path, NULL, &ranker));
    free(path);
    return ranker;
}

static magpie_ranker_user user_of(uint32_t u) {
    return (magpie_ranker_user){u, data.item + data.begin[u], data.begin[u + 1] - data.begin[u]};
}

/* What item j alone in the history says of all. */
static void score_one(const magpie_ranker *ranker, uint32_t j, float scores[ITEMS]) {
    const magpie_ranker_user user = {MAGPIE_RANKER_NOBODY, &j, 1};
    assert_ok(magpie_ranker_score(ranker, &user, NULL, ITEMS, scores));
}

/* The values of a tensor of the model. */
static const float *values_of(const magpie_ranker *ranker, const char *name) {
    ranker_tensor tensors[RANKER_TENSORS_MAX];
    for (size_t i = ranker->model->tensors(ranker, tensors); i-- > 0;)
        if (strcmp(tensors[i].name, name) == 0) return tensors[i].values;
    fail_msg("there is no %s", name);
    return NULL;
}

/* ---- the formulas ---- */

static void popularity_halves(void **state) {
    (void)state;
    magpie_ranker_options o = magpie_ranker_defaults(MAGPIE_RANKER_POPULARITY);
    o.half_life = 20;
    magpie_ranker *ranker = train(&o, "popularity");
    double wanted[ITEMS] = {0};
    int64_t newest = 0;
    float scores[ITEMS];
    for (size_t e = 0; e < data.begin[USERS]; e++) newest = data.time[e] > newest ? data.time[e] : newest;
    for (size_t e = 0; e < data.begin[USERS]; e++)
        wanted[data.item[e]] +=
            (double)data.weight[e] * pow(0.5, (double)(newest - data.time[e]) / 86400e3 / 20);
    score_one(ranker, 0, scores);
    for (size_t i = 0; i < ITEMS; i++) assert_true(fabs((double)scores[i] - wanted[i]) < 1e-5);
    magpie_ranker_close(ranker);
}

static double similarity(bool bm25, double shrink, size_t i, size_t j) {
    double sum = 0, mean = 0;
    for (size_t k = 0; k < ITEMS; k++) mean += data.gram[k][k] / ITEMS;
    if (!bm25) return data.gram[i][j] / (sqrt(data.gram[i][i] * data.gram[j][j]) + shrink);
    for (size_t u = 0; u < USERS; u++) {
        const double n = (double)(data.begin[u + 1] - data.begin[u]);
        sum += data.x[u][i] * data.x[u][j] * log(1 + (ITEMS - n + 0.5) / (n + 0.5));
    }
    return sum * 2.2 / (1 + 1.2 * (0.25 + 0.75 * data.gram[j][j] / mean));
}

/* The best `kept` of a row, where equals may be told apart by rounding. */
static void check_neighbours(const magpie_ranker *ranker, bool bm25, size_t i, size_t kept) {
    size_t found = 0, better;
    float scores[ITEMS];
    for (uint32_t j = 0; j < ITEMS; j++) {
        const double own = similarity(bm25, 3, i, j);
        better = 0;
        for (size_t k = 0; k < ITEMS; k++)
            better += k != i && k != j && similarity(bm25, 3, i, k) > own + 1e-6;
        score_one(ranker, j, scores);
        found += scores[i] > 0;
        if (scores[i] > 0) assert_true(better < kept && i != j && fabs((double)scores[i] - own) < 1e-5);
        if (better >= kept || i == j || own == 0) assert_true(scores[i] == 0);
    }
    better = 0;
    for (size_t j = 0; j < ITEMS; j++) better += j != i && data.gram[i][j] > 0;
    assert_int_equal(found, better < kept ? better : kept);
}

static void neighbours_are_the_most_similar(void **state) {
    (void)state;
    for (int bm25 = 0; bm25 < 2; bm25++) {
        magpie_ranker_options o = magpie_ranker_defaults(MAGPIE_RANKER_ITEMKNN);
        o.neighbours = 6;
        o.shrink = 3;
        o.bm25 = bm25;
        magpie_ranker *ranker = train(&o, "itemknn");
        float all[ITEMS], one[ITEMS], sum[ITEMS] = {0};
        const magpie_ranker_user user = user_of(3);
        for (size_t i = 0; i < ITEMS; i++) check_neighbours(ranker, bm25, i, 6);
        assert_ok(magpie_ranker_score(ranker, &user, NULL, ITEMS, all));
        for (size_t h = 0; h < user.n; h++) {
            score_one(ranker, user.history[h], one);
            for (size_t i = 0; i < ITEMS; i++) sum[i] += one[i];
        }
        for (size_t i = 0; i < ITEMS; i++) assert_true(fabsf(all[i] - sum[i]) < 1e-5f);
        magpie_ranker_close(ranker);
    }
}

/* The gradient of |X - X B|^2 + regularisation |B|^2 is zero off the diagonal, where B is zero. */
static void ease_is_where_its_gradient_is_zero(void **state) {
    (void)state;
    magpie_ranker_options o = magpie_ranker_defaults(MAGPIE_RANKER_EASE);
    o.regularisation = 5;
    magpie_ranker *ranker = train(&o, "ease");
    float b[ITEMS][ITEMS];
    for (uint32_t j = 0; j < ITEMS; j++) score_one(ranker, j, b[j]);
    for (size_t i = 0; i < ITEMS; i++)
        for (size_t j = 0; j < ITEMS; j++) {
            double gradient = 5 * (double)b[i][j] - data.gram[i][j];
            for (size_t k = 0; k < ITEMS; k++) gradient += data.gram[i][k] * (double)b[k][j];
            assert_true(i == j ? b[i][j] == 0 : fabs(gradient) < 1e-3);
        }
    magpie_ranker_close(ranker);
}

/* P = V V^T is a projection to `k` directions, those in which the likes are largest. */
static void puresvd_is_the_best_projection(void **state) {
    (void)state;
    enum { K = 5, WORK = 40 * ITEMS };
    magpie_ranker_options o = magpie_ranker_defaults(MAGPIE_RANKER_PURESVD);
    o.factors = K;
    magpie_ranker *ranker = train(&o, "puresvd");
    double values[ITEMS], vectors[ITEMS][ITEMS], work[WORK], trace = 0;
    const int n = ITEMS, work_size = WORK;
    int info;
    float p[ITEMS][ITEMS];
    memcpy(vectors, data.gram, sizeof vectors);
    dsyev_("V", "U", &n, vectors[0], &n, values, work, &work_size, &info);
    assert_int_equal(info, 0);
    for (uint32_t j = 0; j < ITEMS; j++) {
        score_one(ranker, j, p[j]);
        trace += (double)p[j][j];
        for (size_t i = 0; i < ITEMS; i++) {
            double wanted = 0;
            for (size_t f = ITEMS - K; f < ITEMS; f++) wanted += vectors[f][i] * vectors[f][j];
            assert_true(fabs((double)p[j][i] - wanted) < 1e-3);
        }
    }
    assert_true(fabs(trace - K) < 1e-4);
    magpie_ranker_close(ranker);
}

/* ---- iALS: where its gradient is zero ---- */

enum { D = 4 };

static const double alpha = 0.2, strength = 0.05;

static double dot(const float *x, const float *y) {
    double sum = 0;
    for (size_t f = 0; f < D; f++) sum += (double)x[f] * (double)y[f];
    return sum;
}

/* The objective; gradient [ITEMS, D] by items. */
static double objective(const float *users, const float *items, double gradient[ITEMS][D]) {
    double loss = 0, of_item[ITEMS] = {0};
    memset(gradient, 0, sizeof(double[ITEMS][D]));
    for (size_t u = 0; u < USERS; u++) {
        const float *x = users + u * D;
        double of_user = 0;
        for (size_t i = 0; i < ITEMS; i++) {
            const double score = dot(x, items + i * D);
            loss += alpha * score * score;
            for (size_t f = 0; f < D; f++) gradient[i][f] += 2 * alpha * score * (double)x[f];
        }
        for (uint64_t e = data.begin[u]; e < data.begin[u + 1]; e++) {
            const double weight = (double)data.weight[e], miss = dot(x, items + data.item[e] * D) - 1;
            loss += weight * miss * miss;
            for (size_t f = 0; f < D; f++) gradient[data.item[e]][f] += 2 * weight * miss * (double)x[f];
            of_user += weight;
            of_item[data.item[e]] += weight;
        }
        loss += strength * (of_user + alpha * ITEMS) * dot(x, x);
    }
    for (size_t i = 0; i < ITEMS; i++) {
        const double held = strength * (of_item[i] + alpha * USERS);
        loss += held * dot(items + i * D, items + i * D);
        for (size_t f = 0; f < D; f++) gradient[i][f] += 2 * held * (double)items[i * D + f];
    }
    return loss;
}

static magpie_status watch_loss(void *context, const magpie_ranker_progress *progress) {
    double *last = context;
    assert_true(progress->epoch == 1 || progress->loss <= *last + 1e-5);
    *last = progress->loss;
    return MAGPIE_OK;
}

static magpie_ranker_options ials_options(double sweeps) {
    magpie_ranker_options o = magpie_ranker_defaults(MAGPIE_RANKER_IALS);
    o.weighted = 1;
    o.factors = D;
    o.alpha = alpha;
    o.regularisation = strength;
    o.epochs = sweeps;
    return o;
}

static void ials_is_where_its_gradient_is_zero(void **state) {
    (void)state;
    const magpie_ranker_options o = ials_options(200);
    char *path = in_folder("ials");
    magpie_ranker *ranker;
    magpie_ranker_report report;
    double gradient[ITEMS][D], told = 0;
    assert_ok(magpie_ranker_train(&data.likes, NULL, &o, path, watch_loss, &told, &report));
    assert_ok(magpie_ranker_open(path, NULL, &ranker));
    const float *users = values_of(ranker, "user.factors");
    const double loss = objective(users, values_of(ranker, "item.factors"), gradient);
    assert_true(fabs(loss / (double)data.begin[USERS] - told) < 1e-4 && report.loss == told);
    for (size_t i = 0; i < ITEMS; i++)
        for (size_t f = 0; f < D; f++) assert_true(fabs(gradient[i][f]) < 1e-3);
    magpie_ranker_close(ranker);
    free(path);
}

/* Where weights are all 1, and nothing moves any more, a user's row is what their history gives. */
static void ials_knows_a_history_as_it_knows_a_row(void **state) {
    (void)state;
    const magpie_ranker_options o = ials_options(200);
    magpie_likes likes = data.likes;
    magpie_ranker *ranker;
    char *path = in_folder("ials-rows");
    likes.weight = NULL;
    assert_ok(magpie_ranker_train(&likes, NULL, &o, path, NULL, NULL, NULL));
    assert_ok(magpie_ranker_open(path, NULL, &ranker));
    for (uint32_t u = 0; u < USERS; u++) {
        const magpie_ranker_user by_row = {u, NULL, 0}, by_history = user_of(u);
        float row[ITEMS], history[ITEMS];
        if (u == 7) {
            assert_int_equal(magpie_ranker_score(ranker, &by_row, NULL, ITEMS, row), MAGPIE_E_NOT_FOUND);
            continue;
        }
        assert_ok(magpie_ranker_score(ranker, &by_row, NULL, ITEMS, row));
        assert_ok(magpie_ranker_score(ranker, &by_history, NULL, ITEMS, history));
        for (size_t i = 0; i < ITEMS; i++) assert_true(fabsf(row[i] - history[i]) < 1e-3f);
    }
    magpie_ranker_close(ranker);
    free(path);
}

/* ---- files ---- */

static void threads_change_no_byte(void **state) {
    (void)state;
    for (size_t k = 0; k < COUNT; k++) {
        magpie_ranker_options o = magpie_ranker_defaults(kinds[k]);
        char *one = in_folder("one"), *three = in_folder("three"), *again = in_folder("again");
        magpie_ranker *ranker;
        o.threads = 1;
        assert_ok(magpie_ranker_train(&data.likes, NULL, &o, one, NULL, NULL, NULL));
        o.threads = 3;
        assert_ok(magpie_ranker_train(&data.likes, NULL, &o, three, NULL, NULL, NULL));
        assert_same_model(one, three);
        assert_ok(ranker_load(one, &ranker)); /* and what is read is what is written */
        assert_true(mkdir(again, 0777) == 0 || k);
        assert_ok(ranker_save(ranker, again));
        assert_same_model(one, again);
        magpie_ranker_close(ranker);
        free(one);
        free(three);
        free(again);
    }
}

static void a_list_is_scored_as_all_are(void **state) {
    (void)state;
    static const uint32_t items[] = {29, 3, 3, ITEMS, 0, 17, 4000000000u, 8};
    enum { N = sizeof items / sizeof *items };
    for (size_t k = 0; k < COUNT; k++) {
        const magpie_ranker_options o = magpie_ranker_defaults(kinds[k]);
        magpie_ranker *ranker = train(&o, "lists");
        for (uint32_t u = 0; u < USERS; u++) {
            magpie_ranker_user user = user_of(u);
            float all[ITEMS + 2], some[N];
            if (u == 7 && k) { /* popularity asks for nothing */
                assert_int_equal(magpie_ranker_score(ranker, &user, NULL, ITEMS, all), MAGPIE_E_NOT_FOUND);
                continue;
            }
            assert_ok(magpie_ranker_score(ranker, &user, NULL, ITEMS + 2, all));
            assert_ok(magpie_ranker_score(ranker, &user, items, N, some));
            for (size_t i = 0; i < N; i++) {
                const float wanted = items[i] < ITEMS ? all[items[i]] : -INFINITY;
                assert_memory_equal(&some[i], &wanted, sizeof wanted);
            }
            assert_true(all[ITEMS] == -INFINITY && all[ITEMS + 1] == -INFINITY);
        }
        magpie_ranker_close(ranker);
    }
}

/* Two sweeps are one, and another that begins from it; also for more users and items than there were. */
static void ials_goes_on_from_another_model(void **state) {
    (void)state;
    char *two = in_folder("two"), *first = in_folder("first"), *second = in_folder("second");
    const char *from[] = {first, NULL};
    magpie_ranker_options o = ials_options(2);
    magpie_likes more = data.likes;
    uint64_t begin[USERS + 2];
    magpie_ranker *ranker;
    assert_ok(magpie_ranker_train(&data.likes, NULL, &o, two, NULL, NULL, NULL));
    o.epochs = 1;
    assert_ok(magpie_ranker_train(&data.likes, NULL, &o, first, NULL, NULL, NULL));
    o.from = from;
    assert_ok(magpie_ranker_train(&data.likes, NULL, &o, second, NULL, NULL, NULL));
    assert_same_file(two, second, "model.safetensors");
    memcpy(begin, data.begin, sizeof data.begin);
    begin[USERS + 1] = begin[USERS];
    more.begin = begin;
    more.users++;
    more.items++;
    assert_ok(magpie_ranker_train(&more, NULL, &o, second, NULL, NULL, NULL));
    assert_ok(magpie_ranker_open(second, NULL, &ranker));
    assert_int_equal(magpie_ranker_get_info(ranker)->parameters, (USERS + 1 + ITEMS + 1) * D);
    magpie_ranker_close(ranker);
    more.items = ITEMS - 1; /* fewer than there were: not this store's */
    assert_int_equal(magpie_ranker_train(&more, NULL, &o, second, NULL, NULL, NULL), MAGPIE_E_MISMATCH);
    o.factors = D + 1;
    assert_int_equal(magpie_ranker_train(&data.likes, NULL, &o, second, NULL, NULL, NULL), MAGPIE_E_MISMATCH);
    free(two);
    free(first);
    free(second);
}

static void the_forgotten_are_zeros(void **state) {
    (void)state;
    enum { WHO = 11 };
    char *path = in_folder("forget"), *rest = magpie_path_join(path, "training.state");
    const magpie_ranker_options o = ials_options(3);
    magpie_ranker *before = train(&o, "forget"), *after;
    const magpie_ranker_user user = {WHO, NULL, 0};
    float scores[ITEMS];
    FILE *file = fopen(rest, "w");
    assert_true(file && fclose(file) == 0);
    assert_ok(magpie_ranker_score(before, &user, NULL, ITEMS, scores));
    assert_ok(magpie_ranker_forget(path, WHO));
    assert_ok(magpie_ranker_forget(path, USERS)); /* of whom it has nothing */
    assert_false(magpie_path_exists(rest));
    assert_ok(magpie_ranker_open(path, NULL, &after));
    assert_int_equal(magpie_ranker_score(after, &user, NULL, ITEMS, scores), MAGPIE_E_NOT_FOUND);
    const float *was = values_of(before, "user.factors"), *is = values_of(after, "user.factors");
    for (size_t i = 0; i < USERS * D; i++) assert_true(is[i] == (i / D == WHO ? 0 : was[i]));
    assert_memory_equal(values_of(before, "item.factors"), values_of(after, "item.factors"),
                        ITEMS * D * sizeof *is);
    magpie_ranker_close(before);
    magpie_ranker_close(after);
    free(path);
    free(rest);
}

static void what_makes_no_sense_is_refused(void **state) {
    (void)state;
    char *path = in_folder("refused"), *other = in_folder("ease"), *config, *swapped;
    magpie_ranker_options o = magpie_ranker_defaults(MAGPIE_RANKER_EASE);
    magpie_likes likes = data.likes;
    magpie_ranker *ranker;
    o.regularisation = -1;
    assert_int_equal(magpie_ranker_train(&likes, NULL, &o, path, NULL, NULL, NULL), MAGPIE_E_ARGUMENT);
    o.regularisation = 7;
    likes.items = 20001;
    assert_int_equal(magpie_ranker_train(&likes, NULL, &o, path, NULL, NULL, NULL), MAGPIE_E_TOO_LARGE);
    likes.items = 10;
    assert_int_equal(magpie_ranker_train(&likes, NULL, &o, path, NULL, NULL, NULL), MAGPIE_E_ARGUMENT);
    assert_int_equal(magpie_ranker_open(path, NULL, &ranker), MAGPIE_E_NOT_FOUND);
    assert_ok(magpie_ranker_train(&data.likes, NULL, &o, path, NULL, NULL, NULL));
    config = magpie_path_join(path, "config.json");
    swapped = magpie_path_join(other, "config.json"); /* as if killed between the two files */
    assert_int_equal(rename(swapped, config), 0);
    assert_int_equal(magpie_ranker_open(path, NULL, &ranker), MAGPIE_E_CORRUPT);
    free(path);
    free(other);
    free(config);
    free(swapped);
}

/* ---- validation ---- */

static void validation_counts_ties_against(void **state) {
    (void)state;
    const magpie_ranker_options o = magpie_ranker_defaults(MAGPIE_RANKER_POPULARITY);
    magpie_ranker *ranker = train(&o, "validation");
    uint32_t aside[USERS];
    ranker_training training = {.likes = &data.likes, .validation = aside};
    float scores[ITEMS];
    double hit_rate;
    uint32_t most = 0;
    score_one(ranker, 0, scores);
    for (uint32_t i = 0; i < ITEMS; i++) most = scores[i] > scores[most] ? i : most;
    assert_ok(magpie_pool_create(2, &training.pool));
    for (size_t u = 0; u < USERS; u++) aside[u] = most; /* the first of all */
    assert_ok(ranker_validate(ranker, &training, 1, &hit_rate));
    assert_true(hit_rate == 1);
    for (size_t i = 0; i < ITEMS; i++) ((float *)ranker->state)[i] = 1; /* and now like all others */
    aside[0] = MAGPIE_RANKER_NOBODY;
    assert_ok(ranker_validate(ranker, &training, 1, &hit_rate));
    assert_true(hit_rate == 0);
    magpie_pool_free(training.pool);
    magpie_ranker_close(ranker);
}

static int remove_folder(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(popularity_halves),
        cmocka_unit_test(neighbours_are_the_most_similar),
        cmocka_unit_test(ease_is_where_its_gradient_is_zero),
        cmocka_unit_test(puresvd_is_the_best_projection),
        cmocka_unit_test(ials_is_where_its_gradient_is_zero),
        cmocka_unit_test(ials_knows_a_history_as_it_knows_a_row),
        cmocka_unit_test(threads_change_no_byte),
        cmocka_unit_test(a_list_is_scored_as_all_are),
        cmocka_unit_test(ials_goes_on_from_another_model),
        cmocka_unit_test(the_forgotten_are_zeros),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(validation_counts_ties_against),
    };
    return cmocka_run_group_tests(tests, make_data, remove_folder);
}
