/* test_neural_gradients.c - the loss of a part is that of the plain formulas, and its slopes are the plain
 * loss's differences: tensor by tensor, along random directions, for every network and every loss. */
#include "test_neural.h"

enum { USERS = 12, ITEMS = 40, LIKES = 30, CONTENT = 7, HISTORY = 4, DIRECTIONS = 3 };

/* Of an f32 forwards and backwards, relative to the norm of the slopes; a wrong formula is off by a tenth. */
static const double TOLERANCE = 2e-5, DIFFERENCE = 1e-8;

typedef struct setting {
    magpie_ranker_kind kind;
    double layers, tower;
    size_t pairs, content;
    float dropout, drop_user, drop_item;
    double base;
} setting;

static const setting settings[] = {
    {MAGPIE_RANKER_MF, 1, 0, 5, 0, 0, 0, 0, 0},
    {MAGPIE_RANKER_GMF, 1, 0, 5, 0, 0, 0, 0, 0},
    {MAGPIE_RANKER_MLP, 3, 0, 5, 0, 0, 0, 0, 0},
    {MAGPIE_RANKER_MLP, 1, 0, 2, 0, 0, 0, 0, 0},
    {MAGPIE_RANKER_NEUMF, 2, 0, 5, 0, 0, 0, 0, 0},
    {MAGPIE_RANKER_NEUMF, 2, 0, 150, 0, 0, 0, 0, 0},
    {MAGPIE_RANKER_MAGPIE, 2, 3, 9, 0, 0, 0, 0, 0},
    {MAGPIE_RANKER_MAGPIE, 2, 0, 9, CONTENT, 0, 0, 0, 0},
    {MAGPIE_RANKER_MAGPIE, 2, 0, 9, 0, 0.5f, 0, 0, 0},
    {MAGPIE_RANKER_MAGPIE, 2, 0, 9, 0, 0, 0, 0, 5},
    {MAGPIE_RANKER_MAGPIE, 1, 0, 9, CONTENT, 0.3f, 0.5f, 0.4f, 0},
};

/* A part, and of what it is made: slots' rows as they were, for the backwards pass forgets those left out. */
typedef struct fixture {
    const setting *setting;
    magpie_ranker *ranker;
    neural *net;
    neural_options options;
    neural_part part;
    neural_scratch scratch;
    magpie_block block;
    const float *rows[ITEMS]; /* content; some have none */
    float *values;
    magpie_ranker_content content;
    uint32_t *of[NEURAL_TABLES];
} fixture;

static void lay_out(fixture *f, bool shared) {
    neural_part_layout(&f->net->shape, LIKES, f->setting->pairs, shared, &f->part, &f->block);
    neural_scratch_layout(&f->net->shape, LIKES, f->setting->pairs, shared, 0, &f->scratch, &f->block);
}

/* Rows come more than once; a shared negative may be a like's own item; histories are of all lengths. */
static void name_rows(fixture *f, random_state *r) {
    neural_part *part = &f->part;
    const size_t n[] = {LIKES, part->shared ? LIKES + part->pairs - 1 : LIKES * part->pairs,
                        LIKES * f->net->shape.history};
    part->likes = LIKES;
    part->noise = 11;
    for (size_t t = 0; t < NEURAL_TABLES; t++) {
        part->slots[t].n = n[t];
        f->of[t] = calloc(n[t] + 1, sizeof *f->of[t]);
        assert_non_null(f->of[t]);
        for (size_t i = 0; i < n[t]; i++)
            f->of[t][i] = part->slots[t].of[i] = (uint32_t)random_below(r, t == TABLE_USERS ? USERS : ITEMS);
    }
    for (size_t i = 0; i < LIKES * (part->pairs - 1) && part->shared; i++)
        part->liked[i] = random_below(r, 4) == 0;
    for (size_t g = 0; g < LIKES; g++) part->history_count[g] = (uint32_t)(g % (HISTORY + 1));
}

static void make(fixture *f, const setting *setting, magpie_ranker_loss loss, random_state *r) {
    magpie_ranker_options options = magpie_ranker_defaults(setting->kind);
    *f = (fixture){.setting = setting};
    options.factors = 6;
    options.layers = setting->layers;
    options.tower = setting->tower;
    options.heads = 2;
    options.history = HISTORY;
    options.base = setting->base;
    f->ranker = random_ranker(r, &options, USERS, ITEMS, setting->content);
    f->net = f->ranker->state;
    f->values = random_new(r, ITEMS * CONTENT, 1);
    for (size_t i = 0; i < ITEMS; i++) f->rows[i] = i % 5 ? f->values + i * CONTENT : NULL;
    f->content = (magpie_ranker_content){ITEMS, setting->content, f->rows, NULL};
    f->options = (neural_options){loss,
                                  0.37,
                                  setting->dropout,
                                  setting->drop_user,
                                  setting->drop_item,
                                  setting->content ? &f->content : NULL};
    lay_out(f, setting->kind == MAGPIE_RANKER_MAGPIE);
    assert_ok(magpie_block_alloc(&f->block));
    lay_out(f, setting->kind == MAGPIE_RANKER_MAGPIE);
    name_rows(f, r);
    random_fill(r, f->net->base, ITEMS * f->net->shape.base, 1);
    random_fill(r, f->part.base_user, LIKES * f->net->shape.base, 1);
}

static void clear(fixture *f) {
    for (size_t t = 0; t < NEURAL_TABLES; t++) free(f->of[t]);
    free(f->values);
    magpie_block_free(&f->block);
    magpie_ranker_close(f->ranker);
}

/* ---- the loss, plainly ---- */

/* What was left out by chance is the part's to say. */
static void user_of_like(const fixture *f, const plain *p, size_t g, double *x) {
    const neural_shape *s = p->shape;
    double times[PLAIN_MAX];
    for (size_t i = 0; i < s->heads * s->value; i++)
        times[i] =
            f->scratch.mixed[g * s->heads * s->value + i] == 0 ? 0 : 1 / (1 - (double)f->options.dropout);
    uint32_t user = f->of[TABLE_USERS][g];
    plain_user(p, s->heads && !f->scratch.kept[g] ? MAGPIE_RANKER_NOBODY : user,
               f->of[TABLE_HISTORY] + g * s->history, s->heads ? f->part.history_count[g] : 0, times, x);
}

static void item_of_slot(const fixture *f, const plain *p, size_t slot, double *y) {
    uint32_t item = f->of[TABLE_ITEMS][slot];
    bool kept = !p->shape->heads || f->scratch.kept[LIKES + slot];
    plain_item(p, kept ? item : MAGPIE_RANKER_NOBODY, f->options.content ? f->rows[item] : NULL, y);
}

static double base_logit(const fixture *f, const plain *p, size_t g, size_t j) {
    const neural_shape *s = p->shape;
    const float *x = f->part.base_user + g * s->base,
                *y = f->net->base + f->of[TABLE_ITEMS][neural_slot(&f->part, g, j)] * s->base;
    double sum = 0;
    for (size_t i = 0; i < s->base; i++) sum += (double)x[i] * (double)y[i];
    return s->base ? p->of[NEURAL_TABLES][s->out_base] * sum : 0;
}

static double loss_of(const fixture *f, const plain *p) {
    double x[PLAIN_MAX], y[PLAIN_MAX], logits[256], loss = 0;
    for (size_t g = 0; g < LIKES; g++) {
        user_of_like(f, p, g, x);
        for (size_t j = 0; j < f->part.pairs; j++) {
            item_of_slot(f, p, neural_slot(&f->part, g, j), y);
            const bool liked = f->part.shared && j && f->part.liked[g * (f->part.pairs - 1) + j - 1];
            logits[j] = liked ? -INFINITY : plain_logit(p, x, y) + base_logit(f, p, g, j);
        }
        loss += plain_loss(f->options.loss, ITEMS, logits, f->part.pairs);
    }
    return loss;
}

/* ---- slopes against differences ---- */

/* Slopes of slots summed up by rows, but for rows that are to learn nothing. */
static plain slopes_of(const fixture *f) {
    plain out = plain_copy(f->net);
    for (size_t t = 0; t < NEURAL_TABLES; t++) {
        const neural_table *table = &f->net->table[t];
        const neural_slots *slots = &f->part.slots[t];
        for (size_t i = 0; i < table->rows * table->columns; i++) out.of[t][i] = 0;
        for (size_t i = 0; i < slots->n && table->columns; i++)
            for (size_t k = 0; k < table->columns && slots->of[i] != MAGPIE_RANKER_NOBODY; k++)
                out.of[t][slots->of[i] * table->columns + k] += slots->slopes[i * table->columns + k];
    }
    for (size_t i = 0; i < f->net->shape.dense; i++) out.of[NEURAL_TABLES][i] = f->part.dense[i];
    return out;
}

/* Which table a tensor lies in, and from where on. */
static size_t find(neural *net, const ranker_tensor *tensor, size_t *first) {
    for (size_t t = 0; t <= NEURAL_TABLES; t++) {
        const neural_table *table = &net->table[t];
        uintptr_t at = (uintptr_t)tensor->values - (uintptr_t)table->values;
        *first = at / sizeof(float);
        if (table->values && (uintptr_t)tensor->values >= (uintptr_t)table->values &&
            *first < table->rows * table->columns)
            return t;
    }
    fail_msg("tensor %s is nowhere", tensor->name);
    return 0;
}

static void step_along(double *x, const ranker_tensor *t, const float *direction, double length) {
    size_t columns = t->columns ? t->columns : 1;
    for (size_t i = 0; i < t->rows * columns; i++)
        x[i / columns * t->stride + i % columns] += length * direction[i];
}

static void check_tensor(const fixture *f, plain *p, const plain *slopes, const ranker_tensor *t,
                         random_state *r) {
    size_t first, which = find(f->net, t, &first), columns = t->columns ? t->columns : 1;
    double *x = p->of[which] + first;
    const double *g = slopes->of[which] + first;
    for (size_t k = 0; k < DIRECTIONS; k++) {
        float *direction = random_new(r, t->rows * columns, 1);
        double got = 0, squares = 0, want;
        for (size_t i = 0; i < t->rows * columns; i++) {
            double slope = g[i / columns * t->stride + i % columns];
            got += slope * direction[i];
            squares += slope * slope;
        }
        step_along(x, t, direction, DIFFERENCE);
        want = loss_of(f, p);
        step_along(x, t, direction, -2 * DIFFERENCE);
        want = (want - loss_of(f, p)) / (2 * DIFFERENCE) * f->options.scale;
        step_along(x, t, direction, DIFFERENCE);
        bool still = f->options.loss != MAGPIE_RANKER_BCE &&
                     (strcmp(t->name, "out.bias") == 0 || strcmp(t->name, "user.bias") == 0);
        if (!(fabs(got - want) <= TOLERANCE * sqrt(squares) + 3e-8 * f->part.loss) || (squares == 0) > still)
            fail_msg("%s of %s, loss %d, %zu pairs: the slope is %.9g, the difference %.9g", t->name,
                     magpie_ranker_kind_name(f->setting->kind), (int)f->options.loss, f->part.pairs, got,
                     want);
        free(direction);
    }
}

static void check(const setting *setting, magpie_ranker_loss loss, random_state *r) {
    ranker_tensor tensors[RANKER_TENSORS_MAX];
    fixture f;
    make(&f, setting, loss, r);
    neural_run_part(f.net, &f.options, &f.part, &f.scratch);
    plain p = plain_copy(f.net), slopes = slopes_of(&f);
    double want = loss_of(&f, &p);
    if (!(fabs(f.part.loss - want) <= 2e-6 * want))
        fail_msg("%s, loss %d: %.9g instead of %.9g", magpie_ranker_kind_name(setting->kind), (int)loss,
                 f.part.loss, want);
    size_t n = f.ranker->model->tensors(f.ranker, tensors);
    for (size_t i = 0; i < n; i++)
        if (tensors[i].values != f.net->base) check_tensor(&f, &p, &slopes, &tensors[i], r);
    plain_free(&p);
    plain_free(&slopes);
    clear(&f);
}

static void slopes_are_differences(void **state) {
    (void)state;
    random_state r = {3};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        for (int loss = 0; loss <= MAGPIE_RANKER_SOFTMAX; loss++)
            check(&settings[i], (magpie_ranker_loss)loss, &r);
}

/* About as much is left out as was asked for, the same for the same seed. */
static void what_is_left_out(void **state) {
    (void)state;
    random_state r = {4};
    const setting *s = &settings[sizeof settings / sizeof *settings - 1];
    size_t users = 0, items = 0, mixed = 0, rounds = 40, last[2] = {0};
    for (size_t round = 0; round < rounds; round++) {
        fixture f;
        make(&f, s, MAGPIE_RANKER_SOFTMAX, &r);
        f.part.noise = round / 2;
        neural_run_part(f.net, &f.options, &f.part, &f.scratch);
        size_t before[] = {users, mixed}, width = f.net->shape.heads * f.net->shape.value;
        for (size_t g = 0; g < LIKES; g++) {
            users += !f.scratch.kept[g];
            for (size_t i = 0; i < width && f.part.history_count[g]; i++)
                mixed += f.scratch.mixed[g * width + i] == 0;
        }
        for (size_t i = 0; i < f.part.slots[TABLE_ITEMS].n; i++) items += !f.scratch.kept[LIKES + i];
        if (round % 2) assert_true(users - before[0] == last[0] && mixed - before[1] == last[1]);
        last[0] = users - before[0];
        last[1] = mixed - before[1];
        clear(&f);
    }
    double n = (double)(rounds * LIKES);
    assert_true(fabs((double)users / n - s->drop_user) < 0.06);
    assert_true(fabs((double)items / (n + (double)(rounds * (s->pairs - 1))) - s->drop_item) < 0.06);
    assert_true(fabs((double)mixed / (n * 0.8 * 12) - s->dropout) < 0.04);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(slopes_are_differences),
                                       cmocka_unit_test(what_is_left_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
