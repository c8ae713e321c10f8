/* test_neural_train.c - training the networks: what is drawn, the same bytes whatever happens on the way, and data
 * that is odd or bad.
 *
 * test_neural_train KILLS: as many kills of a training, at random moments, of a random seed. test_neural_train
 * train FOLDER KIND: the training that is killed. */
#include "test_gpu.h"
#include "test_neural.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

/* What is drawn is static there. */
#define neural_train neural_train_of_test
magpie_status neural_train(magpie_ranker *ranker, const ranker_training *training, const bool *had);
#include "neural_train.c"
#undef neural_train

enum { USERS = 70, ITEMS = 50, MOST = 20, CONTENT = 6 };

/* Users of four tastes, each with some of the items of its own. The last user likes nothing, the one before
 * all but one item; the last item is liked by that one alone, the one before by nobody. */
typedef struct world {
    magpie_likes likes;
    uint64_t begin[USERS + 1];
    uint32_t item[USERS * MOST + ITEMS];
    float values[ITEMS * CONTENT];
    const float *rows[ITEMS];
    magpie_ranker_content content;
} world;

static bool likes_it(const world *w, size_t user, uint32_t item) {
    for (uint64_t i = w->begin[user]; i < w->begin[user + 1]; i++)
        if (w->item[i] == item) return true;
    return false;
}

static void like(world *w, size_t user, uint32_t item) {
    if (likes_it(w, user, item)) return;
    w->item[w->begin[user + 1]++] = item;
}

static world *make_world(void) {
    random_state r = {8};
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    for (size_t u = 0; u < USERS; u++) {
        w->begin[u + 1] = w->begin[u];
        for (size_t n = 1 + random_below(&r, MOST); n && u < USERS - 2; n--)
            like(w, u, (uint32_t)(random_below(&r, 12) * 4 + u % 4));
        for (uint32_t i = 0; i < ITEMS && u == USERS - 2; i++)
            if (i != ITEMS - 2) like(w, u, i);
    }
    random_fill(&r, w->values, ITEMS * CONTENT, 1);
    for (size_t i = 0; i < ITEMS; i++) w->rows[i] = i % 9 ? w->values + i * CONTENT : NULL;
    w->content = (magpie_ranker_content){ITEMS, CONTENT, w->rows, NULL};
    w->likes = (magpie_likes){.users = USERS, .items = ITEMS, .begin = w->begin, .item = w->item};
    return w;
}

static magpie_ranker_options quick(magpie_ranker_kind kind) {
    magpie_ranker_options o = magpie_ranker_defaults(kind);
    bool magpie = kind == MAGPIE_RANKER_MAGPIE;
    o.factors = 6;
    o.layers = 2;
    o.history = 5;
    o.heads = 2;
    o.negatives = magpie ? 12 : 4;
    o.batch = magpie ? 90 : 350; /* several parts of a step, and several steps */
    o.epochs = 8;
    o.rate = 0.01;
    o.threads = 2;
    return o;
}

static char folder[64], other[80]; /* of the test that is running */

static int make_folders(void **state) {
    (void)state;
    strcpy(folder, "/tmp/magpie-neural-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(other, sizeof other, "%s-2", folder);
    return mkdir(other, 0777);
}

static int remove_folders(void **state) {
    (void)state;
    seeded_remove(strdup(folder));
    seeded_remove(strdup(other));
    return 0;
}

static void empty_folders(void) {
    remove_folders(NULL);
    assert_int_equal(mkdir(folder, 0777) | mkdir(other, 0777), 0);
}

static bool exists(const char *directory, const char *name) {
    char *path = magpie_path_join(directory, name);
    bool there = magpie_path_exists(path);
    free(path);
    return there;
}

static void assert_same_ends(void) {
    assert_same_model(folder, other);
    assert_false(exists(folder, "training.state") || exists(other, "training.state"));
}

/* ---- what is drawn ---- */

/* How often each like was visited and each pair of user and item was a negative, over all epochs so far. */
typedef struct counts {
    size_t likes[USERS * MOST + ITEMS], negatives[USERS][ITEMS];
} counts;

static void check_history(const world *w, const neural_part *part, size_t g, uint64_t i, uint32_t user,
                          bool later, size_t most) {
    const uint32_t *history = part->slots[TABLE_HISTORY].of + g * most;
    size_t n = 0;
    for (uint64_t k = w->begin[user + 1]; k-- > w->begin[user];)
        if (n < most && (later ? k != i : k < i)) assert_int_equal(history[n++], w->item[k]);
    assert_int_equal(part->history_count[g], n);
}

static void count_part(const world *w, const trainer *t, const neural_part *part, counts *c) {
    for (size_t g = 0; g < part->likes; g++) {
        uint32_t user = part->slots[TABLE_USERS].of[g],
                 own = part->slots[TABLE_ITEMS].of[neural_slot(part, g, 0)];
        uint64_t i = w->begin[user];
        while (i < w->begin[user + 1] && w->item[i] != own) i++;
        assert_true(i < w->begin[user + 1]);
        c->likes[i]++;
        check_history(w, part, g, i, user, t->options->later > 0, t->net->shape.history);
        for (size_t j = 1; j < part->pairs; j++)
            c->negatives[user][part->slots[TABLE_ITEMS].of[neural_slot(part, g, j)]]++;
    }
}

static void draw_epochs(const world *w, magpie_ranker_options *o, size_t epochs, counts *c) {
    const magpie_ranker_info info = {.kind = o->kind, .users = USERS, .items = ITEMS};
    const bool has[RANKER_TENSORS_MAX] = {false};
    ranker_training training = {.likes = &w->likes};
    magpie_ranker *ranker;
    trainer *t;
    assert_ok(magpie_pool_create(1, &training.pool));
    assert_ok(ranker_create(&info, o, &ranker));
    assert_ok(trainer_create(ranker, &training, has, &t));
    uint32_t orders[2] = {0};
    for (; t->state.epoch < epochs; t->state.epoch++) {
        for (size_t first = 0; first < t->likes; first += t->part_likes) {
            size_t n = t->likes - first < t->part_likes ? (size_t)t->likes - first : t->part_likes;
            assert_ok(fill_part(t, first, n, &t->parts[0], &t->scratch[0]));
            count_part(w, t, &t->parts[0], c);
            for (size_t g = 0; g < n && t->state.epoch < 2; g++)
                orders[t->state.epoch] = orders[t->state.epoch] * 31 + t->parts[0].slots[TABLE_USERS].of[g];
        }
        for (uint64_t i = 0; i < t->likes; i++) assert_int_equal(c->likes[i], t->state.epoch + 1);
    }
    assert_int_not_equal(orders[0], orders[1]);
    trainer_free(t);
    magpie_ranker_close(ranker);
    magpie_pool_free(training.pool);
}

static void negatives_are_not_liked(void **state) {
    (void)state;
    enum { EPOCHS = 40 };
    world *w = make_world();
    magpie_ranker_options o = quick(MAGPIE_RANKER_NEUMF);
    counts *c = calloc(1, sizeof *c);
    draw_epochs(w, &o, EPOCHS, c);
    for (size_t u = 0; u < USERS - 2; u++) {
        size_t n = (size_t)(w->begin[u + 1] - w->begin[u]);
        double expected = (double)(n * EPOCHS) * o.negatives / (double)(ITEMS - n);
        for (uint32_t i = 0; i < ITEMS; i++) {
            double got = (double)c->negatives[u][i];
            if (likes_it(w, u, i))
                assert_true(got == 0);
            else /* six deviations of as many as are expected */
                assert_true(fabs(got - expected) < 6 * sqrt(expected) + 1);
        }
    }
    free(c);
    free(w);
}

/* magpie's negatives are all items alike, and all likes' of a part. */
static void shared_negatives_and_histories(void **state) {
    (void)state;
    world *w = make_world();
    magpie_ranker_options o = quick(MAGPIE_RANKER_MAGPIE);
    for (int later = 0; later < 2; later++) {
        counts *c = calloc(1, sizeof *c);
        size_t seen[ITEMS] = {0};
        o.later = later;
        draw_epochs(w, &o, 10, c);
        for (size_t u = 0; u < USERS; u++)
            for (size_t i = 0; i < ITEMS; i++) seen[i] += c->negatives[u][i];
        for (size_t i = 0; i < ITEMS; i++) assert_true(seen[i] > 0);
        free(c);
    }
    free(w);
}

/* ---- the same bytes ---- */

static const magpie_ranker_kind all_kinds[] = {MAGPIE_RANKER_MF, MAGPIE_RANKER_GMF, MAGPIE_RANKER_MLP,
                                               MAGPIE_RANKER_NEUMF, MAGPIE_RANKER_MAGPIE};

static magpie_status train(const world *w, const magpie_ranker_options *o, const char *directory) {
    return magpie_ranker_train(&w->likes, &w->content, o, directory, NULL, NULL, NULL);
}

/* And OpenMP's setting of the thread that calls, which FAISS goes by, is as it was. */
static void any_number_of_threads(void **state) {
    (void)state;
    world *w = make_world();
    omp_set_num_threads(3);
    for (size_t k = 0; k < 5; k++)
        for (unsigned threads = 2; threads <= 3; threads++) {
            magpie_ranker_options o = quick(all_kinds[k]);
            o.threads = 1;
            assert_ok(train(w, &o, folder));
            o.threads = threads;
            assert_ok(train(w, &o, other));
            assert_same_ends();
            assert_int_equal(omp_get_max_threads(), 3);
        }
    free(w);
}

/* In the middle of an epoch, where it has been told of nothing for a while, or at an epoch's end. */
typedef struct stopper {
    size_t calls;
    bool middle;
} stopper;

static magpie_status stop(void *context, const magpie_ranker_progress *progress) {
    stopper *s = context;
    if (progress->resumed || progress->epoch_ended == s->middle || s->calls--) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CANCELLED, "that is enough");
}

static void check_stopped(const world *w, magpie_ranker_options o) {
    magpie_status status = MAGPIE_E_CANCELLED;
    size_t rounds = 0;
    assert_ok(train(w, &o, folder));
    for (; status == MAGPIE_E_CANCELLED; rounds++) {
        stopper s = {rounds % 4 == 1, rounds % 3 == 2};
        status = magpie_ranker_train(&w->likes, &w->content, &o, other, stop, &s, NULL);
        o.resume = true;
        assert_true(rounds < 50);
    }
    assert_ok(status);
    assert_true(rounds > 3);
    assert_same_ends();
    empty_folders();
}

static void stopped_and_resumed(void **state) {
    (void)state;
    world *w = make_world();
    for (size_t k = 0; k < 5; k++) check_stopped(w, quick(all_kinds[k]));
    free(w);
}

/* The same there, and what is learned is the CPU's, about; another device does not go on with it. */
static void on_a_device(void **state) {
    (void)state;
    const magpie_device device = test_gpu_device();
    world *w = make_world();
    for (size_t k = 0; k < 4; k++) {
        magpie_ranker_options o = quick(all_kinds[k]);
        magpie_ranker_report there, here;
        o.patience = 0;
        assert_ok(magpie_ranker_train(&w->likes, NULL, &o, folder, NULL, NULL, &here));
        o.device = device;
        assert_ok(magpie_ranker_train(&w->likes, NULL, &o, folder, NULL, NULL, &there));
        assert_true(fabs(there.loss - here.loss) < 0.01 * here.loss);
        o = quick(all_kinds[k]);
        o.device = device;
        check_stopped(w, o);
    }
    magpie_ranker_options o = quick(MAGPIE_RANKER_NEUMF);
    stopper s = {1, false};
    assert_int_equal(magpie_ranker_train(&w->likes, &w->content, &o, other, stop, &s, NULL),
                     MAGPIE_E_CANCELLED);
    o.device = device;
    o.resume = true;
    assert_int_equal(train(w, &o, other), MAGPIE_E_MISMATCH);
    o = quick(MAGPIE_RANKER_MAGPIE);
    o.device = device;
    assert_int_equal(train(w, &o, other), MAGPIE_E_UNSUPPORTED);
    free(w);
}

/* What is told at the ends of epochs; stopped at the end of epoch number `last`, 0: not. */
typedef struct witness {
    magpie_ranker_progress of[64];
    size_t n, last;
} witness;

static magpie_status note(void *context, const magpie_ranker_progress *progress) {
    witness *w = context;
    if (!progress->epoch_ended) return MAGPIE_OK;
    assert_true(w->n < 64);
    w->of[w->n++] = *progress;
    return progress->resumed || progress->epoch != w->last ? MAGPIE_OK
                                                           : magpie_fail(MAGPIE_E_CANCELLED, "stop");
}

/* Who resumes sees the whole curve, and no epoch at whose end it was stopped is run again. */
static void told_again(void **state) {
    (void)state;
    world *w = make_world();
    magpie_ranker_options o = quick(MAGPIE_RANKER_NEUMF);
    witness whole = {.last = 0};
    assert_ok(magpie_ranker_train(&w->likes, &w->content, &o, folder, note, &whole, NULL));
    assert_true(whole.n > 3);
    o.resume = true;
    for (size_t last = 1; last <= whole.n; last++) {
        witness now = {.last = last < whole.n ? last : 0};
        assert_int_equal(magpie_ranker_train(&w->likes, &w->content, &o, other, note, &now, NULL),
                         now.last ? MAGPIE_E_CANCELLED : MAGPIE_OK);
        assert_int_equal(now.n, last);
        for (size_t i = 0; i < now.n; i++) {
            assert_true(now.of[i].loss == whole.of[i].loss && now.of[i].hit_rate == whole.of[i].hit_rate);
            assert_true(now.of[i].best == whole.of[i].best && now.of[i].epoch == i + 1);
            assert_true(now.of[i].resumed == (i + 1 < last));
        }
    }
    assert_same_ends();
    free(w);
}

/* Forgets a user at the end of the first epoch; stops at the end of the third where `stops`. */
typedef struct forgetter {
    uint32_t user;
    bool stops;
} forgetter;

static magpie_status forget_meanwhile(void *context, const magpie_ranker_progress *progress) {
    const forgetter *f = context;
    if (progress->epoch_ended && progress->epoch == 1) assert_ok(magpie_ranker_forget(other, f->user));
    return progress->epoch_ended && progress->epoch == 3 && f->stops ? magpie_fail(MAGPIE_E_CANCELLED, "stop")
                                                                     : MAGPIE_OK;
}

/* A training that has begun before does not bring them back, be it stopped or not; nor does a later one. */
static void forgotten_meanwhile(void **state) {
    (void)state;
    world *w = make_world();
    const magpie_ranker_kind kinds[] = {MAGPIE_RANKER_MAGPIE, MAGPIE_RANKER_MF, MAGPIE_RANKER_IALS};
    for (size_t k = 0; k < 3; k++) {
        magpie_ranker_options o =
            kinds[k] == MAGPIE_RANKER_IALS ? magpie_ranker_defaults(kinds[k]) : quick(kinds[k]);
        forgetter f = {7, true};
        magpie_ranker *ranker;
        float scores[ITEMS];
        assert_int_equal(magpie_ranker_train(&w->likes, &w->content, &o, other, forget_meanwhile, &f, NULL),
                         MAGPIE_E_CANCELLED);
        assert_false(exists(other, "training.state"));
        for (f.stops = false; f.user < 9; f.user++) {
            assert_ok(magpie_ranker_train(&w->likes, &w->content, &o, other, forget_meanwhile, &f, NULL));
            assert_ok(magpie_ranker_open(other, &w->content, &ranker));
            for (uint32_t u = 5; u < 11; u++) {
                const magpie_ranker_user user = {u, NULL, 0};
                assert_int_equal(magpie_ranker_score(ranker, &user, NULL, ITEMS, scores),
                                 u >= 7 && u <= f.user ? MAGPIE_E_NOT_FOUND : MAGPIE_OK);
            }
            magpie_ranker_close(ranker);
        }
        empty_folders();
    }
    free(w);
}

/* A state of other likes, content or options, or one that is damaged, is refused and says so. */
static void bad_states(void **state) {
    (void)state;
    world *w = make_world();
    magpie_ranker_options o = quick(MAGPIE_RANKER_MAGPIE);
    stopper s = {2, false};
    char *path = magpie_path_join(folder, "training.state"), *bytes;
    size_t size;
    assert_int_equal(magpie_ranker_train(&w->likes, &w->content, &o, folder, stop, &s, NULL),
                     MAGPIE_E_CANCELLED);
    assert_ok(magpie_file_read(path, 1 << 26, &bytes, &size));
    o.resume = true;
    double *numbers[] = {&o.rate, &o.dropout, &o.negatives, &o.loss, &o.later};
    for (size_t i = 0; i < 5; i++) {
        double kept = *numbers[i];
        *numbers[i] = i < 2 ? kept / 2 : 1;
        assert_int_equal(train(w, &o, folder), MAGPIE_E_MISMATCH);
        *numbers[i] = kept;
    }
    o.seed++;
    assert_int_equal(train(w, &o, folder), MAGPIE_E_MISMATCH);
    o.seed--;
    float value = w->values[CONTENT];
    w->values[CONTENT] += 0.5f;
    assert_int_equal(train(w, &o, folder), MAGPIE_E_MISMATCH);
    w->values[CONTENT] = value;
    uint32_t first = w->item[0];
    w->item[0] = ITEMS - 2;
    assert_int_equal(train(w, &o, folder), MAGPIE_E_MISMATCH);
    w->item[0] = first;
    for (size_t i = 0; i <= 20; i++) { /* the last time it is whole */
        FILE *file = fopen(path, "wb");
        size_t at = i * (size - 1) / 20;
        assert_non_null(file);
        bytes[at] ^= i < 20 ? 4 : 0;
        fwrite(bytes, 1, i % 4 || i == 20 ? size : at, file);
        bytes[at] ^= i < 20 ? 4 : 0;
        fclose(file);
        assert_int_equal(train(w, &o, folder), i < 20 ? MAGPIE_E_CORRUPT : MAGPIE_OK);
        assert_true(i == 20 || strstr(magpie_error(), "training.state"));
    }
    free(bytes);
    free(path);
    free(w);
}

/* What was set aside decides which epoch is kept. */
static void a_state_of_another_validation(void **state) {
    (void)state;
    world *w = make_world();
    magpie_ranker_options o = quick(MAGPIE_RANKER_NEUMF);
    stopper s = {2, false};
    uint32_t *last = &w->item[w->begin[USERS - 1] - 1], kept = *last;
    assert_int_equal(magpie_ranker_train(&w->likes, &w->content, &o, folder, stop, &s, NULL),
                     MAGPIE_E_CANCELLED);
    o.resume = true;
    *last = ITEMS - 2;
    assert_int_equal(train(w, &o, folder), MAGPIE_E_MISMATCH);
    *last = kept;
    assert_ok(train(w, &o, folder));
    free(w);
}

/* ---- killed ---- */

static size_t kills = 4;
static uint64_t kill_seed = 1;

static int train_in_child(const char *directory, const char *kind) {
    magpie_ranker_options o;
    world *w = make_world();
    if (magpie_ranker_kind_parse(kind, &o.kind) != MAGPIE_OK) return 2;
    o = quick(o.kind);
    o.epochs = 60;
    o.patience = 60;
    o.resume = true;
    magpie_status status = train(w, &o, directory);
    if (status != MAGPIE_OK) fprintf(stderr, "%s\n", magpie_error());
    free(w);
    return status != MAGPIE_OK;
}

static pid_t start_child(const char *directory, const char *kind) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child) return child;
    execl("/proc/self/exe", "test_neural_train", "train", directory, kind, (char *)NULL);
    _exit(3);
}

/* A training in `other`, killed until it is through, from 0 to twice as often as not. */
static void killed_round(const char *kind, double whole, random_state *r, size_t *with_state) {
    for (bool again = true; again; again = random_unit(r) < 0.5) {
        int how;
        pid_t child = start_child(other, kind);
        usleep((useconds_t)(random_unit(r) * whole * 1e6));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how) || WEXITSTATUS(how) == 0);
        *with_state += exists(other, "training.state");
    }
    assert_int_equal(train_in_child(other, kind), 0);
    assert_same_ends();
}

static void killed_and_resumed(void **state) {
    (void)state;
    random_state r = {kill_seed};
    size_t with_state = 0;
    for (size_t i = 0; i < kills; i++) {
        const char *kind = i % 2 ? "magpie" : "neumf";
        int how;
        double begun = magpie_seconds();
        pid_t child = start_child(folder, kind);
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_int_equal(how, 0);
        killed_round(kind, magpie_seconds() - begun, &r, &with_state);
        empty_folders();
    }
    print_message("%zu trainings were killed, %zu times with a state to go on from\n", kills, with_state);
    assert_true(with_state > 0);
}

/* ---- odd and bad ---- */

/* Whether a user likes it but as the last of some, which is set aside where there is validation. */
static bool learned_from(const world *w, size_t user, uint32_t item, bool aside) {
    uint64_t end = w->begin[user + 1], n = end - w->begin[user];
    return likes_it(w, user, item) && !(aside && n > 1 && w->item[end - 1] == item);
}

/* All scores of those who were there are numbers; nobody and nothing is made out of chance. */
static void assert_sound(const world *w, const char *directory, magpie_ranker_kind kind, bool aside) {
    bool magpie = kind == MAGPIE_RANKER_MAGPIE;
    magpie_ranker *ranker;
    float scores[ITEMS];
    assert_ok(magpie_ranker_open(directory, &w->content, &ranker));
    for (uint32_t u = 0; u < w->likes.users; u++) {
        magpie_ranker_user user = {u, NULL, 0};
        magpie_status status = magpie_ranker_score(ranker, &user, NULL, w->likes.items, scores);
        assert_int_equal(status, w->begin[u] == w->begin[u + 1] ? MAGPIE_E_NOT_FOUND : MAGPIE_OK);
        for (uint32_t i = 0; i < w->likes.items && status == MAGPIE_OK; i++) {
            bool known = magpie && w->rows[i];
            for (size_t k = 0; k < w->likes.users && !known; k++) known = learned_from(w, k, i, aside);
            assert_true(known ? isfinite(scores[i]) : scores[i] == -INFINITY);
        }
    }
    magpie_ranker_close(ranker);
}

/* Few users, few items, batches of everything, of one like, of more than there is; nothing set aside. */
static void odd_data(void **state) {
    (void)state;
    world *w = make_world(), *one = make_world();
    magpie_ranker_report report;
    one->likes.users = 1;
    one->begin[1] = 1;
    for (size_t k = 0; k < 5; k++)
        for (int loss = 0; loss <= MAGPIE_RANKER_SOFTMAX; loss++) {
            magpie_ranker_options o = quick(all_kinds[k]);
            o.epochs = 2;
            o.loss = loss;
            assert_ok(train(w, &o, folder));
            assert_sound(w, folder, o.kind, true);
            o.patience = 0;
            o.batch = 1 << 20;
            o.negatives = 300;
            assert_ok(train(w, &o, folder));
            assert_sound(w, folder, o.kind, false);
            o.batch = o.negatives = 1;
            assert_ok(train(one, &o, other));
            assert_sound(one, other, o.kind, false);
            o.epochs = 4;
            o.patience = 1; /* which has nothing to go by where nobody likes two */
            assert_ok(magpie_ranker_train(&one->likes, NULL, &o, other, NULL, NULL, &report));
            assert_true(report.epochs == 4 && report.best_epoch == 4);
        }
    free(w);
    free(one);
}

static void bad_data(void **state) {
    (void)state;
    world *w = make_world();
    magpie_ranker_options o = quick(MAGPIE_RANKER_MAGPIE);
    w->values[5 * CONTENT + 1] = NAN;
    assert_int_equal(train(w, &o, folder), MAGPIE_E_INPUT);
    assert_non_null(strstr(magpie_error(), "item 5"));
    w->values[5 * CONTENT + 1] = 0;
    w->content.items = ITEMS / 2; /* the others have none */
    const float *stray = w->rows[ITEMS - 1];
    w->rows[ITEMS - 1] = (const float *)16;
    assert_ok(train(w, &o, folder));
    w->rows[ITEMS - 1] = stray;
    o.factors = 1024; /* a tower that begins with more than it has room for */
    o.tower = 0;
    o.layers = 8;
    assert_int_equal(train(w, &o, folder), MAGPIE_E_ARGUMENT);
    o = quick(MAGPIE_RANKER_NEUMF);
    o.rate = 10; /* may come to nothing, but says so */
    magpie_status status = train(w, &o, folder);
    assert_true(status == MAGPIE_OK || status == MAGPIE_E_INPUT);
    memset(w->begin, 0, sizeof w->begin);
    assert_int_equal(train(w, &o, folder), MAGPIE_E_ARGUMENT);
    free(w);
}

/* Vectors of as many numbers, but of another model, mean something else. */
static void content_of_another_space(void **state) {
    (void)state;
    world *w = make_world();
    magpie_ranker_options o = quick(MAGPIE_RANKER_MAGPIE);
    static const char *const spaces[] = {"one \"space\"", "another", NULL};
    w->content.space = spaces[0];
    o.epochs = 1;
    assert_ok(train(w, &o, folder));
    for (size_t i = 0; i < 3; i++) {
        magpie_ranker *ranker;
        w->content.space = spaces[i];
        assert_int_equal(magpie_ranker_open(folder, &w->content, &ranker),
                         i == 1 ? MAGPIE_E_MISMATCH : MAGPIE_OK);
        magpie_ranker_close(ranker);
    }
    free(w);
}

/* What it is all for: tastes are found. */
static void tastes_are_found(void **state) {
    (void)state;
    world *w = make_world();
    for (size_t k = 0; k < 5; k++) {
        magpie_ranker_options o = quick(all_kinds[k]);
        magpie_ranker *ranker;
        size_t right = 0, all = 0;
        float scores[ITEMS];
        o.epochs = 60;
        o.patience = 0;
        assert_ok(train(w, &o, folder));
        assert_ok(magpie_ranker_open(folder, &w->content, &ranker));
        for (uint32_t u = 0; u < USERS - 2; u++) {
            magpie_ranker_user user = {u, w->item + w->begin[u], (size_t)(w->begin[u + 1] - w->begin[u])};
            assert_ok(magpie_ranker_score(ranker, &user, NULL, 48, scores));
            for (size_t i = 0; i < 48; i++)
                for (size_t other_taste = 0; other_taste < 48 && i % 4 == u % 4; other_taste++)
                    if (other_taste % 4 != u % 4) {
                        all++;
                        right += scores[i] > scores[other_taste];
                    }
        }
        print_message("%s: %.3f of pairs\n", magpie_ranker_kind_name(o.kind), (double)right / (double)all);
        assert_true((double)right > 0.9 * (double)all);
        magpie_ranker_close(ranker);
    }
    free(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folders, remove_folders)

int main(int argc, char **argv) {
    if (argc == 4) return train_in_child(argv[2], argv[3]);
    if (argc == 2) {
        const struct CMUnitTest test[] = {TEST(killed_and_resumed)};
        kills = strtoul(argv[1], NULL, 10);
        kill_seed = (uint64_t)(magpie_seconds() * 1e6);
        return cmocka_run_group_tests(test, NULL, NULL);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(negatives_are_not_liked),
        cmocka_unit_test(shared_negatives_and_histories),
        TEST(any_number_of_threads),
        TEST(stopped_and_resumed),
        TEST(on_a_device),
        TEST(told_again),
        TEST(forgotten_meanwhile),
        TEST(bad_states),
        TEST(a_state_of_another_validation),
        TEST(killed_and_resumed),
        TEST(odd_data),
        TEST(bad_data),
        TEST(content_of_another_space),
        TEST(tastes_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
