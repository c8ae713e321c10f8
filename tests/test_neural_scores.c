/* test_neural_scores.c - what a model of the networks' kinds answers, out of its folder: PyTorch's logits for
 * the same weights, and the plain formulas' for every kind, for users and items of all sorts. */
#include "test_neural.h"

/* Items enough for two turns of a tower of 24; `KNOWN` of them are the model's, the rest has content alone. */
enum { USERS = 6, KNOWN = 700, ITEMS = 730, HISTORY = 5, CONTENT = 9 };

static const double TOLERANCE = 1e-5;

static void assert_score(const char *what, size_t item, float got, double want) {
    if (!(fabs(got - want) <= TOLERANCE * fmax(1, fabs(want))))
        fail_msg("%s, item %zu: %.9g instead of %.9g", what, item, (double)got, want);
}

static void the_same_as_pytorch(void **state) {
    (void)state;
    json_t *entry = seeded_entry_in("ranker_neumf.json", "neumf"), *row;
    char *folder = seeded_model(entry);
    size_t u, i;
    magpie_ranker *ranker;
    assert_ok(magpie_ranker_open(folder, NULL, &ranker));
    const magpie_ranker_info *info = magpie_ranker_get_info(ranker);
    assert_int_equal(json_array_size(json_object_get(entry, "logits")), info->users);
    json_array_foreach(json_object_get(entry, "logits"), u, row) {
        const magpie_ranker_user user = {.number = (uint32_t)u};
        float scores[64];
        assert_ok(magpie_ranker_score(ranker, &user, NULL, info->items, scores));
        assert_int_equal(json_array_size(row), info->items);
        for (i = 0; i < info->items; i++)
            if (fabs(scores[i] - json_real_value(json_array_get(row, i))) > TOLERANCE)
                fail_msg("user %zu, item %zu: %.9g", u, i, (double)scores[i]);
    }
    magpie_ranker_close(ranker);
    seeded_remove(folder);
    json_decref(entry);
}

/* ---- the plain formulas ---- */

/* User 1 and item 3 were never seen in training, nor were the last 10 of those known as somebody's history. */
typedef struct fixture {
    magpie_ranker *made, *ranker; /* as it was made, and as it was opened */
    plain p;
    float *values;
    const float *rows[ITEMS];
    magpie_ranker_content content;
    char *folder;
} fixture;

static bool has_content(size_t item) { return item % 7 != 3; }

static void forget_rows(neural *net) {
    const neural_shape *s = &net->shape;
    memset(net->table[TABLE_USERS].values + 1 * s->row, 0, s->row * sizeof(float));
    memset(net->table[TABLE_ITEMS].values + 3 * s->row, 0, s->row * sizeof(float));
    if (s->value)
        memset(net->table[TABLE_HISTORY].values + (KNOWN - 10) * s->value, 0, 10 * s->value * sizeof(float));
}

static void make(fixture *f, magpie_ranker_kind kind, size_t content, random_state *r) {
    magpie_ranker_options options = magpie_ranker_defaults(kind);
    options.factors = 6;
    options.heads = 3;
    options.history = HISTORY;
    options.tower = 5;
    f->made = random_ranker(r, &options, USERS, KNOWN, content);
    forget_rows(f->made->state);
    f->p = plain_copy(f->made->state);
    f->values = random_new(r, ITEMS * CONTENT, 1);
    for (size_t i = 0; i < ITEMS; i++) f->rows[i] = has_content(i) ? f->values + i * CONTENT : NULL;
    f->content = (magpie_ranker_content){ITEMS, CONTENT, f->rows, NULL};
    f->folder = strdup("/tmp/magpie-scores-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    assert_ok(ranker_save(f->made, f->folder));
    assert_ok(magpie_ranker_open(f->folder, &f->content, &f->ranker));
}

static void clear(fixture *f) {
    plain_free(&f->p);
    free(f->values);
    magpie_ranker_close(f->made);
    magpie_ranker_close(f->ranker);
    seeded_remove(f->folder);
}

static double score_of(const fixture *f, const double *x, size_t item) {
    double y[PLAIN_MAX];
    bool known = item < KNOWN && item != 3, content = f->p.shape->content && has_content(item);
    if (!known && !content) return -INFINITY;
    plain_item(&f->p, known ? (uint32_t)item : MAGPIE_RANKER_NOBODY, content ? f->rows[item] : NULL, y);
    return plain_logit(&f->p, x, y);
}

/* All items, and some of them in an order by chance. */
static void check_user(const fixture *f, const magpie_ranker_user *user, const uint32_t *recent, size_t n,
                       random_state *r) {
    const char *kind = magpie_ranker_kind_name(f->made->info.kind);
    size_t items = f->p.shape->content ? ITEMS : KNOWN,
           some = random_below(r, 2) ? ITEMS : 5 + random_below(r, 600);
    uint32_t own = user->number < USERS && user->number != 1 ? user->number : MAGPIE_RANKER_NOBODY;
    uint32_t asked[ITEMS];
    float scores[ITEMS];
    double x[PLAIN_MAX];
    if (own == MAGPIE_RANKER_NOBODY && !n) {
        assert_int_equal(magpie_ranker_score(f->ranker, user, NULL, items, scores), MAGPIE_E_NOT_FOUND);
        return;
    }
    plain_user(&f->p, own, recent, n, NULL, x);
    assert_ok(magpie_ranker_score(f->ranker, user, NULL, items, scores));
    for (size_t i = 0; i < items; i++) {
        double want = score_of(f, x, i);
        if (isinf(want))
            assert_true(scores[i] == -INFINITY);
        else
            assert_score(kind, i, scores[i], want);
    }
    for (size_t i = 0; i < some; i++) asked[i] = (uint32_t)random_below(r, items);
    asked[2] = 3;
    float listed[ITEMS];
    assert_ok(magpie_ranker_score(f->ranker, user, asked, some, listed));
    for (size_t i = 0; i < some; i++)
        if (listed[i] != scores[asked[i]]) assert_score(kind, asked[i], listed[i], scores[asked[i]]);
    float before = listed[3], beyond[ITEMS + 3];
    asked[4] = (uint32_t)items; /* what the model knows nothing of */
    assert_ok(magpie_ranker_score(f->ranker, user, asked, some, listed));
    assert_true(listed[4] == -INFINITY && memcmp(&listed[3], &before, sizeof before) == 0);
    assert_ok(magpie_ranker_score(f->ranker, user, NULL, items + 3, beyond));
    assert_true(memcmp(beyond, scores, items * sizeof *scores) == 0);
    for (size_t i = items; i < items + 3; i++) assert_true(beyond[i] == -INFINITY);
}

/* Histories begin with what no longer counts, and have in between what the model has never seen. */
static void check_kind(magpie_ranker_kind kind, size_t content, random_state *r) {
    static const uint32_t history[] = {9,         8,  7, 6,         KNOWN + 5,      5,
                                       KNOWN - 3, 40, 3, KNOWN - 1, UINT32_MAX - 1, 2};
    static const uint32_t recent[] = {2, 3, 40, 5, 6};
    fixture f = {0};
    make(&f, kind, content, r);
    bool magpie = kind == MAGPIE_RANKER_MAGPIE;
    const uint32_t users[] = {0, 1, 4, USERS, MAGPIE_RANKER_NOBODY};
    for (size_t i = 0; i < 5; i++) {
        check_user(&f, &(magpie_ranker_user){users[i], NULL, 0}, NULL, 0, r);
        check_user(&f, &(magpie_ranker_user){users[i], history, 12}, recent, magpie ? HISTORY : 0, r);
        check_user(&f, &(magpie_ranker_user){users[i], history + 9, 3}, recent, magpie ? 1 : 0, r);
        check_user(&f, &(magpie_ranker_user){users[i], history + 9, 2}, recent, 0, r);
    }
    clear(&f);
}

static void the_plain_formulas(void **state) {
    (void)state;
    random_state r = {5};
    static const magpie_ranker_kind kinds[] = {MAGPIE_RANKER_MF, MAGPIE_RANKER_GMF, MAGPIE_RANKER_MLP,
                                               MAGPIE_RANKER_NEUMF, MAGPIE_RANKER_MAGPIE};
    for (size_t i = 0; i < 5; i++) check_kind(kinds[i], 0, &r);
    check_kind(MAGPIE_RANKER_MAGPIE, CONTENT, &r);
}

/* What is there to be scored may grow, shrink or be another's. */
static void other_content(void **state) {
    (void)state;
    random_state r = {6};
    fixture f = {0};
    make(&f, MAGPIE_RANKER_MAGPIE, CONTENT, &r);
    magpie_ranker *other;
    float scores[ITEMS];
    double x[PLAIN_MAX];
    plain_user(&f.p, 2, NULL, 0, NULL, x);
    f.content.items = 10;
    assert_ok(magpie_ranker_open(f.folder, &f.content, &other));
    assert_ok(magpie_ranker_score(other, &(magpie_ranker_user){2, NULL, 0}, NULL, KNOWN, scores));
    for (size_t i = 0; i < 10; i++) {
        double want = score_of(&f, x, i);
        if (!isinf(want)) assert_score("few", i, scores[i], want);
    }
    for (size_t i = 10; i < KNOWN; i++) {
        double y[PLAIN_MAX];
        plain_item(&f.p, (uint32_t)i, NULL, y);
        assert_score("without content", i, scores[i], plain_logit(&f.p, x, y));
    }
    magpie_ranker_close(other);
    f.content.dimension = CONTENT - 1;
    assert_int_equal(magpie_ranker_open(f.folder, &f.content, &other), MAGPIE_E_MISMATCH);
    clear(&f);
}

/* ---- base.c ---- */

/* x = matrix^-1 x, by elimination; the matrix is positive definite. */
static void solve(size_t d, double matrix[][8], double *x) {
    for (size_t k = 0; k < d; k++)
        for (size_t i = k + 1; i < d; i++) {
            const double times = matrix[i][k] / matrix[k][k];
            for (size_t j = k; j < d; j++) matrix[i][j] -= times * matrix[k][j];
            x[i] -= times * x[k];
        }
    for (size_t k = d; k-- > 0;) {
        for (size_t j = k + 1; j < d; j++) x[k] -= matrix[k][j] * x[j];
        x[k] /= matrix[k][k];
    }
}

/* What strength 1.5 adds to the scores of strength 0 is iALS's score, by its formula. */
static void what_it_stands_on(void **state) {
    (void)state;
    enum { BASE = 6 };
    random_state r = {12};
    magpie_ranker_options options = magpie_ranker_defaults(MAGPIE_RANKER_MAGPIE);
    const uint32_t history[] = {4, 7, 1, 9};
    const magpie_ranker_user user = {2, history, 4};
    const double strength = magpie_ranker_defaults(MAGPIE_RANKER_IALS).regularisation;
    float scores[2][KNOWN];
    double matrix[BASE][8] = {{0}}, x[BASE] = {0};
    options.base = BASE;
    magpie_ranker *ranker = random_ranker(&r, &options, USERS, KNOWN, 0);
    neural *net = ranker->state;
    random_fill(&r, net->base, (size_t)KNOWN * BASE, 0.5);
    for (int k = 0; k < 2; k++) {
        net->table[TABLE_DENSE].values[net->shape.out_base] = 1.5f * (float)k;
        assert_ok(ranker->model->prepare(ranker, NULL));
        assert_ok(magpie_ranker_score(ranker, &user, NULL, KNOWN, scores[k]));
    }
    for (size_t item = 0; item < KNOWN; item++)
        for (size_t i = 0; i < BASE; i++)
            for (size_t j = 0; j < BASE; j++)
                matrix[i][j] += options.alpha * net->base[item * BASE + i] * net->base[item * BASE + j];
    for (size_t k = 0; k < 4; k++)
        for (size_t i = 0; i < BASE; i++) {
            x[i] += net->base[history[k] * BASE + i];
            for (size_t j = 0; j < BASE; j++)
                matrix[i][j] += (double)net->base[history[k] * BASE + i] * net->base[history[k] * BASE + j];
        }
    for (size_t i = 0; i < BASE; i++) matrix[i][i] += strength * (4 + options.alpha * KNOWN);
    solve(BASE, matrix, x);
    for (size_t item = 0; item < KNOWN; item++) {
        double want = 0;
        for (size_t i = 0; i < BASE; i++) want += 1.5 * 10 * x[i] * net->base[item * BASE + i];
        assert_score("base", item, scores[1][item] - scores[0][item], want);
    }
    magpie_ranker_close(ranker);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_as_pytorch),
                                       cmocka_unit_test(the_plain_formulas),
                                       cmocka_unit_test(what_it_stands_on), cmocka_unit_test(other_content)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
