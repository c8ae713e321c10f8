/* test_neural_gpu.c - a device scores as the CPU does, and what it makes of a step of training are the
 * CPU's slopes, moments and moves, over random networks and batches; and the same bytes, when asked again.
 * MAGPIE_KERNEL_CHECKS: how many networks (8; some seconds by PoCL). MAGPIE_KERNEL_FIRST: the first one's
 * number, which a failure says. */
#include "test_gpu.h"
#include "test_neural.h"

#include "neural_gpu.h"

static size_t number; /* of the check that runs */

enum { FULL = 8 /* checks; the first ones are of small sizes, fit for an interpreter (scripts/oclgrind) */ };

static size_t random_size(random_state *r, size_t most) {
    return random_below(r, number < FULL ? most * (number + 1) / FULL : most);
}

static random_state random_of(uint64_t seed, size_t check) {
    number = check;
    return (random_state){seed + ((uint64_t)check << 8)};
}

/* Widths, numbers of layers and of factors of all kinds, odd ones too. */
static magpie_ranker_options random_options(random_state *r, magpie_ranker_kind kind) {
    magpie_ranker_options o = magpie_ranker_defaults(kind);
    o.factors = 1 + (double)random_below(r, 20);
    o.layers = 1 + (double)random_below(r, 3);
    o.tower = (double)random_below(r, 10);
    o.heads = 2;
    o.history = 4;
    o.base = (double)random_below(r, 2) * 5;
    return o;
}

static void assert_close(const char *what, size_t i, double got, double want, double scale) {
    if (isinf(want) ? got != want : !(fabs(got - want) <= 3e-5 * scale))
        fail_msg("check %zu: %s, number %zu: %.9g instead of %.9g", number, what, i, got, want);
}

/* Open for as long as a test opens others: it is the first and the last of a device that CUDA takes its time for. */
static gpu *keep_device(void) { return test_gpu_open(MAGPIE_PRECISION_F32); }

/* ---- scores ---- */

/* Of one user, by everything around it. */
static void check_ranker(random_state *r, magpie_ranker_kind kind) {
    enum { USERS_OF = 9 };
    const size_t items = 2 + random_size(r, 300), content = kind == MAGPIE_RANKER_MAGPIE ? 3 : 0;
    const magpie_ranker_options o = random_options(r, kind);
    magpie_ranker *ranker = random_ranker(r, &o, USERS_OF, items, content);
    neural *net = ranker->state;
    float *vectors = random_new(r, (items + 7) * 3, 1), *want = random_new(r, items + 9, 1),
          *got = random_new(r, items + 9, 1);
    const float **rows = calloc(items + 7, sizeof *rows);
    uint32_t *asked = calloc(items, sizeof *asked), history[4];
    assert_true(rows && asked);
    for (size_t i = 0; i < items + 7; i++) rows[i] = i % 3 ? vectors + 3 * i : NULL;
    const magpie_ranker_content given = {items + 7, 3, rows, NULL};
    random_fill(r, net->base, items * net->shape.base, 0.5);
    memset(net->table[TABLE_ITEMS].values, 0, net->shape.row * sizeof(float)); /* item 0 */
    assert_ok(ranker->model->prepare(ranker, content ? &given : NULL));
    for (size_t i = 0; i < 4; i++) history[i] = (uint32_t)random_below(r, items);
    for (size_t i = 0; i < items; i++) asked[i] = (uint32_t)random_below(r, items + 20);
    for (int listed = 0; listed < 2; listed++) {
        const magpie_ranker_user user = {(uint32_t)random_below(r, USERS_OF), history, 4};
        const size_t n = listed ? items : items + 9;
        assert_ok(magpie_ranker_use_device(ranker, (magpie_device){MAGPIE_BACKEND_CPU, 0}));
        assert_ok(magpie_ranker_score(ranker, &user, listed ? asked : NULL, n, want));
        assert_ok(magpie_ranker_use_device(ranker, test_gpu_device()));
        assert_ok(magpie_ranker_score(ranker, &user, listed ? asked : NULL, n, got));
        for (size_t i = 0; i < n; i++)
            assert_close(magpie_ranker_kind_name(kind), i, (double)got[i], (double)want[i],
                         1 + fabs((double)want[i]));
    }
    assert_int_equal(magpie_ranker_score(ranker, &(magpie_ranker_user){USERS_OF, NULL, 0}, NULL, items, got),
                     MAGPIE_E_NOT_FOUND);
    free(vectors);
    free(want);
    free(got);
    free(rows);
    free(asked);
    magpie_ranker_close(ranker);
}

static double plain_score(const neural *net, const float *vector, const float *half, uint32_t item) {
    const neural_shape *s = &net->shape;
    const float *w = net->table[TABLE_DENSE].values, *row = net->item_row + item * s->row;
    double h[2][PLAIN_MAX], score = vector[s->gmf + s->base] + (s->bias ? row[s->row - 1] : 0);
    for (size_t i = 0; i < s->gmf; i++) score += (double)vector[i] * (double)row[i];
    for (size_t i = 0; i < s->base; i++)
        score += (double)vector[s->gmf + i] * (double)net->base[item * s->base + i];
    for (size_t l = 0; l < s->layers; l++)
        for (size_t o = 0; o < s->width[l]; o++) {
            double sum = l ? w[s->layer_bias[l] + o] : half[o] + net->item_half[item * s->width[0] + o];
            for (size_t i = 0; l && i < s->width[l - 1]; i++)
                sum += h[(l - 1) % 2][i] * (double)w[s->layer[l] + i * s->width[l] + o];
            h[l % 2][o] = fmax(sum, 0);
        }
    for (size_t i = 0; s->layers && i < s->width[s->layers - 1]; i++)
        score += (double)w[s->out_mlp + i] * h[(s->layers - 1) % 2][i];
    return score;
}

/* Of many users at once, twice; what lies behind their scores stays. */
static void check_many(random_state *r, magpie_ranker_kind kind, size_t users, size_t each) {
    const size_t items = each + random_below(r, 40) + 1, guard = 5;
    const magpie_ranker_options o = random_options(r, kind);
    magpie_ranker *ranker = random_ranker(r, &o, 1, items, 0);
    neural *net = ranker->state;
    neural_gpu *g;
    random_fill(r, net->base, items * net->shape.base, 0.5);
    assert_ok(ranker->model->prepare(ranker, NULL));
    assert_ok(neural_gpu_open(net, test_gpu_device(), &g));
    const size_t n = neural_gpu_vector(&net->shape), width = net->shape.layers ? net->shape.width[0] : 0;
    float *vectors = random_new(r, users * n, 0.5), *halves = random_new(r, users * width, 0.5);
    float *scores[2];
    uint32_t *asked = calloc(users * each + 1, sizeof *asked);
    assert_non_null(asked);
    for (size_t i = 0; i < users * each; i++) asked[i] = (uint32_t)random_below(r, items);
    for (int listed = 0; listed < 2; listed++) {
        for (int again = 0; again < 2; again++) {
            scores[again] = malloc((users * each + guard) * sizeof(float));
            assert_non_null(scores[again]);
            memset(scores[again], 0xff, (users * each + guard) * sizeof(float));
            assert_ok(
                neural_gpu_score(g, vectors, halves, users, listed ? asked : NULL, each, scores[again]));
        }
        assert_memory_equal(scores[0], scores[1], (users * each + guard) * sizeof(float));
        for (size_t i = 0; i < users * each; i++) {
            const double want = plain_score(net, vectors + i / each * n, halves + i / each * width,
                                            listed ? asked[i] : (uint32_t)(i % each));
            assert_close(magpie_ranker_kind_name(kind), i, (double)scores[0][i], want, 1 + fabs(want));
        }
        for (size_t i = users * each; i < users * each + guard; i++) assert_true(isnan(scores[0][i]));
        free(scores[0]);
        free(scores[1]);
    }
    neural_gpu_close(g);
    free(vectors);
    free(halves);
    free(asked);
    magpie_ranker_close(ranker);
}

static void scores(void **state) {
    (void)state;
    gpu *kept = keep_device();
    static const magpie_ranker_kind kinds[] = {MAGPIE_RANKER_MF, MAGPIE_RANKER_GMF, MAGPIE_RANKER_MLP,
                                               MAGPIE_RANKER_NEUMF, MAGPIE_RANKER_MAGPIE};
    const size_t begin = test_gpu_first(), end = begin + test_gpu_checks(8);
    random_state r;
    for (size_t i = begin; i < end; i++) {
        r = random_of(41, i);
        check_ranker(&r, kinds[i % 5]);
        check_many(&r, kinds[(i + 2) % 5], random_size(&r, 40), random_size(&r, 70));
    }
    r = random_of(41, end);
    if (end >= FULL)
        check_many(&r, MAGPIE_RANKER_NEUMF, 1030, 70); /* more users, and pairs, than at a time */
    gpu_base_of(kept)->driver->close(kept);
}

/* ---- a step ---- */

typedef struct batch {
    magpie_ranker *ranker;
    neural *net;
    neural_part parts[3];
    size_t count, pairs, most; /* parts; likes of a part */
    neural_scratch scratch;
    neural_options options;
    magpie_block block;
    float *memory[NEURAL_TABLES + 1]; /* moments */
} batch;

static void lay_out(batch *b) {
    for (size_t p = 0; p < b->count; p++)
        neural_part_layout(&b->net->shape, b->most, b->pairs, false, &b->parts[p], &b->block);
    neural_scratch_layout(&b->net->shape, b->most, b->pairs, false, 0, &b->scratch, &b->block);
}

/* Whether what goes into a unit of the tower is 0 but for rounding: on which side of the relu it falls differs
 * between devices, and the slopes with it, by as much as they are. */
static bool at_a_kink(const plain *p, uint32_t user, uint32_t item) {
    const double margin = 2e-5; /* rounding has come to 7e-6 */
    const neural_shape *s = p->shape;
    double h[NEURAL_LAYERS_MAX][PLAIN_MAX];
    plain_tower(p, p->of[TABLE_USERS] + user * s->row, p->of[TABLE_ITEMS] + item * s->row, h);
    for (size_t l = 0; l < s->layers; l++)
        for (size_t o = 0; o < s->width[l]; o++)
            if (fabs(h[l][o]) < margin) return true;
    return false;
}

/* A like with its pairs; returns whether the network has slopes there. */
static bool name_like(const plain *p, random_state *r, size_t pairs, uint32_t *user, uint32_t *items) {
    bool smooth = true;
    *user = (uint32_t)random_below(r, p->shape->users);
    for (size_t j = 0; j < pairs; j++) {
        items[j] = (uint32_t)random_below(r, p->shape->items);
        smooth = smooth && !at_a_kink(p, *user, items[j]);
    }
    return smooth;
}

static void name_rows(batch *b, random_state *r) {
    plain p = plain_copy(b->net);
    for (size_t i = 0; i < b->count; i++) {
        neural_part *part = &b->parts[i];
        neural_slots *users = &part->slots[TABLE_USERS], *items = &part->slots[TABLE_ITEMS];
        part->likes = users->n = 1 + random_below(r, b->most);
        items->n = part->likes * b->pairs;
        for (size_t g = 0; g < part->likes; g++)
            while (!name_like(&p, r, b->pairs, users->of + g, items->of + g * b->pairs)) continue;
    }
    plain_free(&p);
}

static void make(batch *b, random_state *r, magpie_ranker_kind kind, magpie_ranker_loss loss) {
    const magpie_ranker_options o = random_options(r, kind);
    *b = (batch){
        .count = 1 + random_below(r, 3), .pairs = 2 + random_below(r, 9), .most = 1 + random_size(r, 70)};
    /* Of one item alone, losses that compare learn nothing but rounding. */
    b->ranker = random_ranker(r, &o, 1 + random_below(r, 50), 2 + random_below(r, 199), 0);
    b->net = b->ranker->state;
    b->options = (neural_options){.loss = loss, .scale = 0.21};
    lay_out(b);
    assert_ok(magpie_block_alloc(&b->block));
    lay_out(b);
    for (size_t t = 0; t <= NEURAL_TABLES; t++) {
        neural_table *table = &b->net->table[t];
        const size_t n = table->rows * table->columns;
        table->first = b->memory[t] = calloc(2 * n + 1, sizeof(float));
        assert_non_null(table->first);
        table->second = table->first + n;
    }
}

static void clear(batch *b) {
    for (size_t t = 0; t <= NEURAL_TABLES; t++) {
        free(b->memory[t]);
        b->net->table[t].first = b->net->table[t].second = NULL;
    }
    magpie_block_free(&b->block);
    magpie_ranker_close(b->ranker);
}

static double loss_of(const batch *b) {
    const neural_shape *s = &b->net->shape;
    double logits[16], loss = 0;
    plain p = plain_copy(b->net);
    for (size_t i = 0; i < b->count; i++)
        for (size_t g = 0; g < b->parts[i].likes; g++) {
            const uint32_t user = b->parts[i].slots[TABLE_USERS].of[g],
                           *items = b->parts[i].slots[TABLE_ITEMS].of + g * b->pairs;
            for (size_t j = 0; j < b->pairs; j++)
                logits[j] =
                    plain_logit(&p, p.of[TABLE_USERS] + user * s->row, p.of[TABLE_ITEMS] + items[j] * s->row);
            loss += plain_loss(b->options.loss, s->items, logits, b->pairs);
        }
    plain_free(&p);
    return loss;
}

/* The CPU's slopes, summed up by rows; returns the loss. */
static double run_on_cpu(batch *b, bool fixed_out, float *slopes[]) {
    const neural_shape *s = &b->net->shape;
    double loss = 0;
    for (size_t p = 0; p < b->count; p++) {
        neural_part *part = &b->parts[p];
        neural_run_part(b->net, &b->options, part, &b->scratch);
        loss += part->loss;
        for (size_t t = 0; t < 2; t++)
            for (size_t i = 0; i < part->slots[t].n * s->row; i++)
                slopes[t][part->slots[t].of[i / s->row] * s->row + i % s->row] += part->slots[t].slopes[i];
        for (size_t i = 0; i < s->dense; i++)
            if (!fixed_out || i < s->out_gmf || i >= s->out_gmf + s->gmf)
                slopes[TABLE_DENSE][i] += part->dense[i];
    }
    return loss;
}

/* Slopes by what the first moment has become; the second moment and the move by Adam's formula of these. What is
 * summed up, numbers of 1 or so, may come to nothing but rounding: `least`, by how many they are. */
static void assert_moved(const char *name, const neural_table *table, const float *before, const float *first,
                         const float *second, const float *slopes, const bool *touched,
                         const neural_adam *adam, double least) {
    const size_t n = table->rows * table->columns;
    double most = least; /* also of the slopes that the moments remember */
    for (size_t i = 0; i < n; i++) most = fmax(most, fmax(fabs((double)slopes[i]), fabs((double)first[i])));
    for (size_t i = 0; i < n; i++) {
        if (touched && !touched[i / table->columns]) {
            assert_true(table->values[i] == before[i] && table->first[i] == first[i] &&
                        table->second[i] == second[i]);
            continue;
        }
        const double slope = (double)slopes[i] + (touched ? (double)adam->decay * (double)before[i] : 0);
        const double got = ((double)table->first[i] - 0.9 * (double)first[i]) / 0.1;
        const double v = 0.999 * (double)second[i] + 0.001 * got * got;
        const double move = (double)adam->rate * (double)adam->correct_first * (double)table->first[i] /
                            (sqrt((double)table->second[i] * (double)adam->correct_second) + 1e-8);
        assert_close(name, i, got, slope, most);
        assert_close("second moment", i, (double)table->second[i], v, most * most * 1e-2);
        assert_close("move", i, (double)table->values[i], (double)before[i] - move, 0.1);
    }
}

static float *copy(const float *x, size_t n) {
    float *out = malloc((n + 1) * sizeof *out);
    assert_non_null(out);
    if (n) memcpy(out, x, n * sizeof *out);
    return out;
}

/* One step from where the network is, on the device and on the CPU. */
static void check_step(batch *b, neural_gpu_training *t, size_t step, bool fixed_out) {
    float *before[NEURAL_TABLES + 1], *first[NEURAL_TABLES + 1], *second[NEURAL_TABLES + 1],
        *slopes[NEURAL_TABLES + 1];
    const double want = loss_of(b);
    double loss;
    size_t pairs = 0;
    for (size_t p = 0; p < b->count; p++) pairs += b->parts[p].likes * b->pairs;
    const neural_adam adam = {.rate = 0.01f,
                              .decay = step % 2 ? 0.05f : 0,
                              .correct_first = 1 / (1 - powf(0.9f, (float)step)),
                              .correct_second = 1 / (1 - powf(0.999f, (float)step))};
    for (size_t i = 0; i <= NEURAL_TABLES; i++) {
        const neural_table *table = &b->net->table[i];
        const size_t n = table->rows * table->columns;
        before[i] = copy(table->values, n);
        first[i] = copy(table->first, n);
        second[i] = copy(table->second, n);
        slopes[i] = calloc(n + 1, sizeof(float));
        assert_non_null(slopes[i]);
    }
    assert_close("the CPU's loss", 0, run_on_cpu(b, fixed_out, slopes), want, 1 + want);
    assert_ok(neural_gpu_train_step(t, b->parts, b->count, &b->options, &adam, &loss));
    assert_ok(neural_gpu_train_read(t, b->net));
    assert_close("loss", 0, loss, want, 1 + want);
    for (size_t i = 0; i <= NEURAL_TABLES; i++) {
        static const char *const names[] = {"users", "items", "history", "dense"};
        bool *touched = i == TABLE_DENSE ? NULL : calloc(b->net->table[i].rows + 1, sizeof *touched);
        for (size_t p = 0; p < b->count && i < TABLE_HISTORY; p++)
            for (size_t k = 0; k < b->parts[p].slots[i].n; k++) touched[b->parts[p].slots[i].of[k]] = true;
        assert_moved(names[i], &b->net->table[i], before[i], first[i], second[i], slopes[i], touched, &adam,
                     i == TABLE_DENSE ? 0.1 + 1e-3 * (double)pairs : 0.1);
        free(touched);
        free(before[i]);
        free(first[i]);
        free(second[i]);
        free(slopes[i]);
    }
}

static void check_steps(random_state *r, magpie_ranker_kind kind, magpie_ranker_loss loss) {
    batch b;
    neural_gpu_training *t;
    const bool fixed_out = kind == MAGPIE_RANKER_MF;
    make(&b, r, kind, loss);
    assert_ok(neural_gpu_train_open(b.net, test_gpu_device(), b.count * b.most, b.pairs, fixed_out, &t));
    for (size_t step = 1; step <= 3; step++) {
        name_rows(&b, r);
        check_step(&b, t, step, fixed_out);
    }
    neural_gpu_train_close(t);
    clear(&b);
}

static void steps(void **state) {
    (void)state;
    gpu *kept = keep_device();
    static const magpie_ranker_kind kinds[] = {MAGPIE_RANKER_NEUMF, MAGPIE_RANKER_MF, MAGPIE_RANKER_GMF,
                                               MAGPIE_RANKER_MLP};
    static const magpie_ranker_loss losses[] = {MAGPIE_RANKER_BCE, MAGPIE_RANKER_BPR, MAGPIE_RANKER_SOFTMAX};
    const size_t begin = test_gpu_first(), end = begin + 2 * test_gpu_checks(8);
    for (size_t i = begin; i < end; i++) {
        random_state r = random_of(57, i);
        check_steps(&r, kinds[i % 4], losses[i % 3]);
    }
    gpu_base_of(kept)->driver->close(kept);
}

/* Two trainings by the same seed. */
static void the_same_bytes(void **state) {
    (void)state;
    batch b[2];
    const neural_adam adam = {.rate = 0.01f, .correct_first = 10, .correct_second = 1000};
    double loss[2];
    (void)test_gpu_device();
    for (int again = 0; again < 2; again++) {
        random_state r = random_of(47, 0);
        neural_gpu_training *t;
        make(&b[again], &r, MAGPIE_RANKER_NEUMF, MAGPIE_RANKER_BCE);
        assert_ok(neural_gpu_train_open(b[again].net, test_gpu_device(), b[again].count * b[again].most,
                                        b[again].pairs, false, &t));
        for (int step = 0; step < 4; step++) {
            name_rows(&b[again], &r);
            assert_ok(neural_gpu_train_step(t, b[again].parts, b[again].count, &b[again].options, &adam,
                                            &loss[again]));
        }
        assert_ok(neural_gpu_train_read(t, b[again].net));
        neural_gpu_train_close(t);
    }
    assert_memory_equal(&loss[0], &loss[1], sizeof *loss);
    for (size_t i = 0; i <= NEURAL_TABLES; i++) {
        const neural_table *x = &b[0].net->table[i], *y = &b[1].net->table[i];
        assert_memory_equal(x->values, y->values, x->rows * x->columns * sizeof(float));
        assert_memory_equal(x->first, y->first, 2 * x->rows * x->columns * sizeof(float));
    }
    clear(&b[0]);
    clear(&b[1]);
}

static void what_is_not_there(void **state) {
    (void)state;
    batch b;
    random_state r = random_of(53, 0);
    neural_gpu_training *t;
    (void)test_gpu_device();
    make(&b, &r, MAGPIE_RANKER_MAGPIE, MAGPIE_RANKER_SOFTMAX);
    assert_int_equal(neural_gpu_train_open(b.net, test_gpu_device(), 8, 2, false, &t), MAGPIE_E_UNSUPPORTED);
    assert_ok(neural_gpu_train_open(b.net, (magpie_device){MAGPIE_BACKEND_CPU, 0}, 8, 2, false, &t));
    assert_null(t);
    assert_int_equal(magpie_ranker_use_device(b.ranker, (magpie_device){test_gpu_device().backend, 999}),
                     MAGPIE_E_NOT_FOUND);
    clear(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(scores), cmocka_unit_test(steps),
                                       cmocka_unit_test(the_same_bytes), cmocka_unit_test(what_is_not_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
