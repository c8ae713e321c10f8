/* test_fusion_train.c - training finds what is there to be found, the same to the bit each time, stopped
 * or not. */
#include "test_fusion.h"

enum { ITEMS = 900, HIDDEN = 24, TEXT = 32, IMAGE = 48, AUDIO = 20 };

static const size_t inputs[MAGPIE_MODALITIES] = {TEXT, IMAGE, AUDIO};

/* Things of HIDDEN qualities, each seen by every modality in its own mixture, with noise. */
typedef struct world {
    float *values[MAGPIE_MODALITIES];
    const float *rows[MAGPIE_MODALITIES][ITEMS];
    uint64_t titles[ITEMS];
    magpie_fusion_data data;
} world;

static void see(random_state *random, const float *thing, const float *mixture, size_t n, float *out) {
    double squares = 0;
    for (size_t k = 0; k < n; k++) {
        out[k] = (float)dot(thing, mixture + k * HIDDEN, HIDDEN) + 0.3f * random_normal(random);
        squares += (double)out[k] * (double)out[k];
    }
    for (size_t k = 0; k < n; k++) out[k] = (float)((double)out[k] / sqrt(squares));
}

static world *make_world(bool missing) {
    world *w = calloc(1, sizeof *w);
    random_state random = {12};
    float mixture[IMAGE * HIDDEN], thing[HIDDEN];
    assert_non_null(w);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        random_state things = {99};
        w->values[m] = calloc(ITEMS * inputs[m], sizeof *w->values[m]);
        assert_non_null(w->values[m]);
        random_values(&random, mixture, inputs[m] * HIDDEN, 1);
        for (size_t i = 0; i < ITEMS; i++) {
            random_values(&things, thing, HIDDEN, 1);
            see(&random, thing, mixture, inputs[m], w->values[m] + i * inputs[m]);
            if (!missing || i % 5 != m) w->rows[m][i] = w->values[m] + i * inputs[m];
        }
        w->data.source[m] = (magpie_modality_source){inputs[m], m == 1 ? NULL : "0123"};
        w->data.features[m] = w->rows[m];
    }
    for (size_t i = 0; i < ITEMS; i++) w->titles[i] = random_u64(&random) >> 8;
    w->data.n = ITEMS;
    w->data.titles = w->titles;
    return w;
}

static void free_world(world *w) {
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) free(w->values[m]);
    free(w);
}

static magpie_fusion_train_options quick(const char *kind) {
    magpie_fusion_train_options options = magpie_fusion_train_defaults();
    options.kind = kind;
    options.dimension = TEXT;
    options.epochs = 30;
    options.batch = 128;
    options.rate = 0.01;
    options.threads = 2;
    return options;
}

/* ---- folders ---- */

static char folder[64], other[80]; /* of the test that is running */

static int make_folders(void **state) {
    (void)state;
    strcpy(folder, "/tmp/magpie-train-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(other, sizeof other, "%s-2", folder);
    return 0;
}

static int remove_folders(void **state) {
    (void)state;
    remove_fusion(folder);
    remove_fusion(other);
    return 0;
}

/* ---- what is found ---- */

/* The share of held-out items whose text finds their picture among the first ten, by the public functions. */
static double held_out_recall(const world *w, const magpie_fusion *fusion) {
    size_t d = magpie_fusion_get_info(fusion)->dimension, n = 0, found = 0;
    float *text = calloc(ITEMS * d, sizeof *text), *image = calloc(ITEMS * d, sizeof *image);
    for (size_t i = 0; i < ITEMS; i++) {
        if (!magpie_title_held_out(w->titles[i])) continue;
        assert_ok(
            magpie_fusion_project(fusion, MAGPIE_TEXT, w->values[MAGPIE_TEXT] + i * TEXT, 1, text + n * d));
        assert_ok(magpie_fusion_project(fusion, MAGPIE_IMAGE, w->values[MAGPIE_IMAGE] + i * IMAGE, 1,
                                        image + n * d));
        n++;
    }
    assert_true(n > 100);
    for (size_t i = 0; i < n; i++) {
        size_t before = 0;
        for (size_t j = 0; j < n; j++)
            before += j != i && dot(text + i * d, image + j * d, d) >= dot(text + i * d, image + i * d, d);
        found += before < 10;
    }
    free(text);
    free(image);
    return (double)found / (double)n;
}

/* Chance is 10 of some 180 items. */
static void finds_what_was_never_seen(void **state) {
    (void)state;
    static const char *const kinds[] = {"linear", "residual"};
    for (size_t k = 0; k < 2; k++) {
        world *w = make_world(k == 1);
        magpie_fusion_train_options options = quick(kinds[k]);
        magpie_fusion_report report;
        magpie_fusion *fusion;
        assert_ok(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, &report));
        assert_ok(magpie_fusion_open(folder, &fusion));
        double recall = held_out_recall(w, fusion);
        const magpie_fusion_info *info = magpie_fusion_get_info(fusion);
        print_message("%s: recall@10 %.3f for validation, %.3f held out\n", kinds[k], report.recall, recall);
        assert_true(report.first_recall < 0.3 && report.recall > 0.95 && recall > 0.9);
        assert_string_equal(info->kind[MAGPIE_AUDIO], kinds[k]);
        assert_string_equal(info->source[MAGPIE_TEXT].fingerprint, "0123");
        assert_null(info->source[MAGPIE_IMAGE].fingerprint);
        assert_true(info->temperature < 0.07f); /* the task is easy, so it has become sure */
        magpie_fusion_close(fusion);
        free_world(w);
    }
}

/* Pictures come to the texts where texts stay where they are. */
static void texts_are_kept(void **state) {
    (void)state;
    static const char *const kinds[] = {"linear", "residual"};
    for (size_t k = 0; k < 2; k++) {
        world *w = make_world(false);
        magpie_fusion_train_options options = quick(kinds[k]);
        magpie_fusion *fusion;
        float out[TEXT];
        options.keep_text = true;
        assert_ok(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, NULL));
        assert_ok(magpie_fusion_open(folder, &fusion));
        assert_string_equal(magpie_fusion_get_info(fusion)->kind[MAGPIE_TEXT], "identity");
        assert_ok(magpie_fusion_project(fusion, MAGPIE_TEXT, w->values[MAGPIE_TEXT], 1, out));
        for (size_t i = 0; i < TEXT; i++) assert_true(fabsf(out[i] - w->values[MAGPIE_TEXT][i]) < 1e-6f);
        double recall = held_out_recall(w, fusion);
        print_message("%s: recall@10 %.3f held out\n", kinds[k], recall);
        assert_true(recall > 0.9);
        magpie_fusion_close(fusion);
        options.dimension = TEXT + 1;
        assert_int_equal(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, NULL),
                         MAGPIE_E_ARGUMENT);
        free_world(w);
    }
}

/* What is held out, and what has one modality alone, changes nothing; what is trained on does. */
static void held_out_titles_are_not_seen(void **state) {
    (void)state;
    world *w = make_world(false), *changed = make_world(false);
    magpie_fusion_train_options options = quick("linear");
    magpie_fusion_report report;
    size_t trained = 0;
    options.epochs = 4;
    for (size_t i = 0; i < ITEMS; i++) {
        float *image = changed->values[MAGPIE_IMAGE] + i * IMAGE;
        if (magpie_title_held_out(w->titles[i])) image[0] = -image[0];
        if (w->titles[i] % 10 != 1 && !magpie_title_held_out(w->titles[i])) trained = i;
    }
    for (size_t m = 1; m < MAGPIE_MODALITIES; m++) w->rows[m][trained] = changed->rows[m][trained] = NULL;
    changed->values[MAGPIE_TEXT][trained * TEXT] *= -1;
    assert_ok(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, &report));
    assert_ok(magpie_fusion_train(&changed->data, &options, other, NULL, NULL, NULL));
    assert_same_model(folder, other);
    options.all = true;
    size_t without = report.training;
    assert_ok(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, &report));
    assert_true(report.held_out == 0 && report.training > without);
    free_world(w);
    free_world(changed);
}

/* ---- the same again ---- */

static magpie_status stop_at(void *context, const magpie_fusion_epoch *epoch) {
    size_t *left = context;
    if (epoch->resumed) return MAGPIE_OK;
    return --*left ? MAGPIE_OK : magpie_fail(MAGPIE_E_CANCELLED, "that is enough");
}

static void the_same_bytes(void **state) {
    (void)state;
    world *w = make_world(true);
    magpie_fusion_train_options options = quick("residual");
    options.epochs = 12;
    assert_ok(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, NULL));
    options.threads = 5;
    assert_ok(magpie_fusion_train(&w->data, &options, other, NULL, NULL, NULL));
    assert_same_model(folder, other);
    for (size_t round = 1;; round++) { /* stopped after every other epoch */
        size_t left = 2;
        options.resume = round > 1;
        magpie_status status = magpie_fusion_train(&w->data, &options, other, stop_at, &left, NULL);
        if (status == MAGPIE_OK) break;
        assert_int_equal(status, MAGPIE_E_CANCELLED);
        assert_string_equal(magpie_error(), "that is enough");
        assert_true(round < 8);
    }
    assert_same_model(folder, other);
    free_world(w);
}

/* A state that is damaged, or of something else, is refused; without `resume` it is no hindrance. */
static void bad_states(void **state) {
    (void)state;
    world *w = make_world(false);
    magpie_fusion_train_options options = quick("linear");
    size_t left = 2;
    options.epochs = 5;
    char *path = magpie_path_join(folder, "training.state"), *bytes;
    size_t size;
    assert_int_equal(magpie_fusion_train(&w->data, &options, folder, stop_at, &left, NULL),
                     MAGPIE_E_CANCELLED);
    assert_ok(magpie_file_read(path, 1 << 26, &bytes, &size));
    options.resume = true;
    options.rate *= 2;
    assert_int_equal(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, NULL), MAGPIE_E_MISMATCH);
    options.rate /= 2;
    float kept = w->values[0][TEXT * 3];
    w->values[0][TEXT * 3] += 0.01f;
    assert_int_equal(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, NULL), MAGPIE_E_MISMATCH);
    w->values[0][TEXT * 3] = kept;
    const size_t cuts[] = {0, 5, 100, size / 2, size - 1};
    for (size_t i = 0; i < 5 + 40; i++) {
        FILE *file = fopen(path, "wb");
        size_t at = i < 5 ? 0 : (i - 5) * (size - 1) / 39;
        assert_non_null(file);
        bytes[at] ^= i < 5 ? 0 : 4;
        fwrite(bytes, 1, i < 5 ? cuts[i] : size, file);
        bytes[at] ^= i < 5 ? 0 : 4;
        fclose(file);
        assert_int_not_equal(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, NULL), MAGPIE_OK);
        assert_non_null(strstr(magpie_error(), "training.state"));
    }
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(bytes, 1, size, file);
    fclose(file);
    assert_ok(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, NULL));
    assert_false(magpie_path_exists(path));
    free(bytes);
    free(path);
    free_world(w);
}

static void patience(void **state) {
    (void)state;
    world *w = make_world(false);
    magpie_fusion_train_options options = quick("linear");
    magpie_fusion_report report;
    options.epochs = 500;
    options.patience = 3;
    assert_ok(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, &report));
    assert_int_equal(report.epochs, report.best_epoch + 3);
    options.rate = 2;
    assert_int_equal(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, NULL), MAGPIE_E_ARGUMENT);
    w->data.n = 1;
    assert_int_equal(
        magpie_fusion_train(&w->data, &(magpie_fusion_train_options){0}, folder, NULL, NULL, NULL),
        MAGPIE_E_ARGUMENT);
    options.rate = 0.01;
    assert_int_equal(magpie_fusion_train(&w->data, &options, folder, NULL, NULL, NULL), MAGPIE_E_INPUT);
    free_world(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_what_was_never_seen, make_folders, remove_folders),
        cmocka_unit_test_setup_teardown(texts_are_kept, make_folders, remove_folders),
        cmocka_unit_test_setup_teardown(held_out_titles_are_not_seen, make_folders, remove_folders),
        cmocka_unit_test_setup_teardown(the_same_bytes, make_folders, remove_folders),
        cmocka_unit_test_setup_teardown(bad_states, make_folders, remove_folders),
        cmocka_unit_test_setup_teardown(patience, make_folders, remove_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
