/* test_labels.c - a fit of labels is where its loss is least: the gradient is that of finite differences and
 * is zero at the end, the temperature is the best of a grid; a model that was saved answers the same; what
 * is reported is what a plain loop counts. */
#include "support.h"

#include "encoders.h"
#include "labels_loss.h"
#include "lbfgs.h"
#include "safetensors.h"

#include <math.h>
#include <sys/stat.h>

enum { D = 7, COUNT = 5, N = 211, V = 97 };

static const char *const names[COUNT] = {"animals", "food & \"drink\"", "things", "\xc3\xa4pfel", "z"};

static const magpie_labels_info about = {.attribute = "category",
                                         .level = 1,
                                         .space = "fused",
                                         .fingerprint = "f-1",
                                         .dimension = D,
                                         .count = COUNT,
                                         .labels = names};

typedef struct data {
    float vectors[N * D];
    uint32_t labels[N];
    magpie_labels_examples examples;
} data;

/* Clouds about a place for each label, wide enough to overlap. */
static void make(data *out, uint64_t seed, size_t n) {
    random_state places = {99}, r = {seed};
    float centres[COUNT * D];
    for (size_t i = 0; i < COUNT * D; i++) centres[i] = (float)random_unit(&places) - 0.5f;
    for (size_t i = 0; i < n; i++) {
        float *x = out->vectors + i * D, squares = 0;
        const uint32_t label = out->labels[i] = (uint32_t)random_below(&r, COUNT);
        for (size_t t = 0; t < D; t++) {
            x[t] = centres[label * D + t] + (float)(random_unit(&r) - 0.5) * 1.2f;
            squares += x[t] * x[t];
        }
        for (size_t t = 0; t < D; t++) x[t] /= sqrtf(squares);
    }
    out->examples = (magpie_labels_examples){out->vectors, out->labels, n};
}

/* ---- the loss ---- */

/* By the formula; parameters [D + 1, COUNT]; `mean` [D] is taken off the examples. */
static double loss_of(const data *given, const double *mean, const double *parameters, double strength) {
    double loss = 0, squares = 0;
    for (size_t i = 0; i < given->examples.n; i++) {
        double scores[COUNT], sum = 0;
        for (size_t k = 0; k < COUNT; k++) {
            scores[k] = parameters[D * COUNT + k];
            for (size_t t = 0; t < D; t++)
                scores[k] +=
                    parameters[t * COUNT + k] * (sqrt(D) * (double)given->vectors[i * D + t] - mean[t]);
            sum += exp(scores[k]);
        }
        loss -= scores[given->labels[i]] - log(sum);
    }
    for (size_t i = 0; i < D * COUNT; i++) squares += parameters[i] * parameters[i];
    return loss / (double)given->examples.n + strength / 2 * squares;
}

static void test_gradient(void **state) {
    (void)state;
    static data given;
    double parameters[(D + 1) * COUNT], gradient[(D + 1) * COUNT], again[(D + 1) * COUNT], value, other;
    random_state r = {5};
    const double step = 1e-5;
    double mean[D] = {0};
    make(&given, 1, N);
    for (size_t i = 0; i < N * D; i++) mean[i % D] += sqrt(D) * (double)given.vectors[i] / N;
    for (unsigned threads = 1; threads <= 3; threads++) {
        magpie_pool *pool;
        labels_loss *loss;
        assert_ok(magpie_pool_create(threads, &pool));
        assert_ok(labels_loss_create(&given.examples, D, COUNT, pool, &loss));
        labels_loss_set_strength(loss, 0.05);
        assert_int_equal(labels_loss_parameters(loss), (D + 1) * COUNT);
        if (threads == 1) {
            for (size_t i = 0; i < (D + 1) * COUNT; i++) parameters[i] = (random_unit(&r) - 0.5) * 2;
            assert_ok(labels_loss_compute(loss, parameters, &value, gradient));
            assert_true(fabs(value - loss_of(&given, mean, parameters, 0.05)) < 1e-12);
            for (size_t i = 0; i < (D + 1) * COUNT; i++) {
                const double kept = parameters[i];
                parameters[i] = kept + step;
                const double above = loss_of(&given, mean, parameters, 0.05);
                parameters[i] = kept - step;
                const double below = loss_of(&given, mean, parameters, 0.05);
                parameters[i] = kept;
                assert_true(fabs(gradient[i] - (above - below) / (2 * step)) < 1e-8);
            }
        }
        assert_ok(labels_loss_compute(loss, parameters, &other, again));
        assert_memory_equal(&value, &other, sizeof value);
        assert_memory_equal(gradient, again, sizeof gradient);
        labels_loss_free(loss);
        magpie_pool_free(pool);
    }
}

/* More labels than a panel has lanes, and a number of examples that fills nothing. */
static void test_many_labels(void **state) {
    (void)state;
    enum { MANY = 37, FEW = 23 };
    float vectors[FEW * 3];
    uint32_t labels[FEW];
    double parameters[4 * MANY], gradient[4 * MANY], value, above, below, scratch[4 * MANY];
    random_state r = {6};
    for (size_t i = 0; i < FEW * 3; i++) vectors[i] = (float)random_unit(&r) - 0.5f;
    for (size_t i = 0; i < FEW; i++) labels[i] = (uint32_t)random_below(&r, MANY);
    for (size_t i = 0; i < 4 * MANY; i++) parameters[i] = random_unit(&r) - 0.5;
    magpie_pool *pool;
    labels_loss *loss;
    assert_ok(magpie_pool_create(2, &pool));
    assert_ok(labels_loss_create(&(magpie_labels_examples){vectors, labels, FEW}, 3, MANY, pool, &loss));
    labels_loss_set_strength(loss, 0.1);
    assert_ok(labels_loss_compute(loss, parameters, &value, gradient));
    for (size_t i = 0; i < 4 * MANY; i++) {
        const double kept = parameters[i];
        parameters[i] = kept + 1e-5;
        assert_ok(labels_loss_compute(loss, parameters, &above, scratch));
        parameters[i] = kept - 1e-5;
        assert_ok(labels_loss_compute(loss, parameters, &below, scratch));
        parameters[i] = kept;
        assert_true(fabs(gradient[i] - (above - below) / 2e-5) < 1e-8);
    }
    labels_loss_free(loss);
    magpie_pool_free(pool);
}

/* ---- the minimum ---- */

typedef struct bowl {
    const double *middle, *curvature;
    size_t n;
} bowl;

static magpie_status compute_bowl(void *context, const double *x, double *value, double *gradient) {
    const bowl *b = context;
    *value = 0;
    for (size_t i = 0; i < b->n; i++) {
        const double away = x[i] - b->middle[i];
        *value += b->curvature[i] * (away * away / 2 + away * away * away * away);
        gradient[i] = b->curvature[i] * (away + 4 * away * away * away);
    }
    return MAGPIE_OK;
}

static void test_lbfgs(void **state) {
    (void)state;
    double x[50] = {0}, middle[50], curvature[50];
    random_state r = {7};
    for (size_t i = 0; i < 50; i++) {
        middle[i] = (random_unit(&r) - 0.5) * 10;
        curvature[i] = pow(10, random_unit(&r) * 4 - 2);
    }
    bowl b = {middle, curvature, 50};
    lbfgs_result result;
    lbfgs_options options = {1e-9, 1000};
    assert_ok(lbfgs_minimise(compute_bowl, &b, 50, &options, x, &result));
    assert_true(result.gradient <= 1e-9 && result.iterations > 3);
    for (size_t i = 0; i < 50; i++) assert_true(fabs(x[i] - middle[i]) < 1e-6);
    memset(x, 0, sizeof x);
    options.iterations = 3;
    assert_int_equal(lbfgs_minimise(compute_bowl, &b, 50, &options, x, &result), MAGPIE_E_UNSUPPORTED);
    assert_non_null(strstr(magpie_error(), "not converged: after 3"));
}

/* ---- the fit ---- */

static void fit(const data *training, const data *validation, unsigned threads,
                magpie_labels_fit_report *report, magpie_labels **out) {
    assert_ok(magpie_labels_fit(&about, &training->examples, &validation->examples, threads, report, out));
}

/* Mean log loss of what a model says, at another temperature. */
static double loss_at(const magpie_labels *labels, const data *given, double temperature) {
    double loss = 0;
    const double was = (double)magpie_labels_get_info(labels)->temperature;
    for (size_t i = 0; i < given->examples.n; i++) {
        float p[COUNT];
        double sum = 0;
        assert_ok(magpie_labels_predict(labels, given->vectors + i * D, 1, p));
        for (size_t k = 0; k < COUNT; k++) sum += pow((double)p[k], was / temperature);
        loss -= log(pow((double)p[given->labels[i]], was / temperature) / sum);
    }
    return loss / (double)given->examples.n;
}

static void test_fit(void **state) {
    (void)state;
    static data training, validation;
    magpie_labels *labels;
    magpie_labels_fit_report report;
    make(&training, 1, N);
    make(&validation, 2, V);
    fit(&training, &validation, 1, &report, &labels);
    const magpie_labels_info *info = magpie_labels_get_info(labels);
    assert_true(report.gradient <= 1e-5 && report.iterations > 0);
    assert_true(report.log_loss <= report.log_loss_before);
    const double temperature = (double)info->temperature;
    assert_true(fabs(loss_at(labels, &validation, temperature) - report.log_loss) < 1e-5);
    assert_true(fabs(loss_at(labels, &validation, 1) - report.log_loss_before) < 1e-5);
    for (double factor = 0.25; factor < 4; factor *= 1.1)
        assert_true(loss_at(labels, &validation, temperature * factor) > report.log_loss - 1e-6);
    assert_string_equal(info->name, "");
    magpie_labels_close(labels);
}

/* ---- the folder ---- */

static char *inside(const char *folder, const char *name) {
    char *path = magpie_path_join(folder, name);
    assert_non_null(path);
    return path;
}

/* *out is to be freed. */
static void read_whole(const char *folder, const char *name, char **out, size_t *size) {
    char *path = inside(folder, name);
    assert_ok(magpie_file_read(path, 1 << 20, out, size));
    free(path);
}

static void write_whole(const char *folder, const char *name, const char *bytes, size_t size) {
    char *path = inside(folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
    free(path);
}

static const char *const files[] = {"config.json", "model.safetensors"};

static void remove_folder(char *folder) {
    for (unsigned f = 0; f < 2; f++) {
        char *path = inside(folder, files[f]);
        assert_int_equal(unlink(path), 0);
        free(path);
    }
    assert_int_equal(rmdir(folder), 0);
    free(folder);
}

static void assert_about(const magpie_labels_info *info, const char *name) {
    assert_string_equal(info->name, name);
    assert_string_equal(info->attribute, "category");
    assert_string_equal(info->space, "fused");
    assert_string_equal(info->fingerprint, "f-1");
    assert_int_equal(info->level, 1);
    assert_int_equal(info->dimension, D);
    assert_int_equal(info->count, COUNT);
    for (size_t k = 0; k < COUNT; k++) assert_string_equal(info->labels[k], names[k]);
}

/* The same bytes whatever the threads, and the same answers from what was saved. */
static void test_folder(void **state) {
    (void)state;
    static data training, validation, other;
    static float said[N * COUNT], again[N * COUNT];
    char root[] = "/tmp/magpie-labels-XXXXXX";
    assert_non_null(mkdtemp(root));
    char *folders[2] = {inside(root, "one"), inside(root, "two")};
    magpie_labels *labels[2], *opened;
    make(&training, 5, N);
    make(&validation, 6, V);
    make(&other, 7, N);
    for (unsigned i = 0; i < 2; i++) {
        fit(&training, &validation, i + 1, NULL, &labels[i]);
        assert_ok(magpie_labels_save(labels[i], folders[i]));
    }
    assert_same_model(folders[0], folders[1]);
    assert_ok(magpie_labels_open(folders[0], &opened));
    assert_about(magpie_labels_get_info(opened), "one");
    assert_ok(magpie_labels_predict(labels[0], other.vectors, N, said));
    assert_ok(magpie_labels_predict(opened, other.vectors, N, again));
    assert_memory_equal(said, again, sizeof said);
    for (size_t i = 0; i < N; i++) {
        double sum = 0;
        for (size_t k = 0; k < COUNT; k++) sum += (double)said[i * COUNT + k];
        assert_true(fabs(sum - 1) < 1e-6);
    }
    magpie_labels_close(opened);
    for (unsigned i = 0; i < 2; i++) {
        magpie_labels_close(labels[i]);
        remove_folder(folders[i]);
    }
    assert_int_equal(rmdir(root), 0);
}

static void assert_refused(const char *folder, const char *words) {
    magpie_labels *labels;
    assert_int_not_equal(magpie_labels_open(folder, &labels), MAGPIE_OK);
    assert_non_null(strstr(magpie_error(), words));
    assert_null(labels);
}

/* Weights of another fit, and configurations that say what cannot be. */
static void test_folder_that_is_none(void **state) {
    (void)state;
    static const struct {
        const char *was, *is;
    } edits[] = {{"magpie-labels", "magpie-fusion"},
                 {"\"level\": 1", "\"level\": -1"},
                 {"\"dimension\": 7", "\"dimension\": 8"},
                 {"\"z\"", "\"things\""},
                 {", \"z\"", ""},
                 {"\"z\"", "7"},
                 {"\"temperature\": ", "\"temperature\": -"},
                 {"\"fused\"", "null"},
                 {"\"attribute\"", "\"attributes\""},
                 {"\"strength\": ", "\"strength\": \"a\", \"b\": "}};
    static data training, validation, other;
    char root[] = "/tmp/magpie-labels-XXXXXX";
    size_t size, weights_size;
    magpie_labels *labels;
    assert_non_null(mkdtemp(root));
    char *folder = inside(root, "it"), *config, *weights;
    make(&training, 5, N);
    make(&validation, 6, V);
    make(&other, 7, N);
    fit(&other, &validation, 1, NULL, &labels);
    assert_ok(magpie_labels_save(labels, folder));
    magpie_labels_close(labels);
    read_whole(folder, files[1], &weights, &weights_size);
    fit(&training, &validation, 1, NULL, &labels);
    assert_ok(magpie_labels_save(labels, folder));
    magpie_labels_close(labels);
    read_whole(folder, files[0], &config, &size);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        magpie_text text = {0};
        const char *at = strstr(config, edits[i].was);
        assert_non_null(at);
        magpie_text_append(&text, config, (size_t)(at - config));
        magpie_text_printf(&text, "%s%s", edits[i].is, at + strlen(edits[i].was));
        write_whole(folder, files[0], text.data, text.size);
        assert_refused(folder, "it/");
        magpie_text_free(&text);
    }
    write_whole(folder, files[0], config, size);
    assert_ok(magpie_labels_open(folder, &labels));
    magpie_labels_close(labels);
    write_whole(folder, files[1], weights, weights_size);
    assert_refused(folder, "train again");
    free(config);
    free(weights);
    remove_folder(folder);
    assert_int_equal(rmdir(root), 0);
}

/* The optimum, from outside: at the saved weights the loss is flat in every direction. */
static void test_optimum(void **state) {
    (void)state;
    static data training, validation;
    char root[] = "/tmp/magpie-labels-XXXXXX";
    magpie_labels *labels;
    make(&training, 3, N);
    make(&validation, 4, V);
    fit(&training, &validation, 2, NULL, &labels);
    assert_non_null(mkdtemp(root));
    char *folder = inside(root, "it");
    assert_ok(magpie_labels_save(labels, folder));
    char *path = inside(folder, "model.safetensors");
    safetensors *file;
    float weight[COUNT * D], bias[COUNT];
    assert_ok(safetensors_open(path, &file));
    tensor_read_f32(safetensors_find(file, "weight"), 0, COUNT * D, weight);
    tensor_read_f32(safetensors_find(file, "bias"), 0, COUNT, bias);
    safetensors_close(file);
    double parameters[(D + 1) * COUNT];
    const double mean[D] = {0}; /* what is kept is for vectors as they are */
    for (size_t k = 0; k < COUNT; k++) {
        for (size_t t = 0; t < D; t++) parameters[t * COUNT + k] = (double)weight[k * D + t];
        parameters[D * COUNT + k] = (double)bias[k];
    }
    const double strength = magpie_labels_get_info(labels)->strength;
    for (size_t i = 0; i < (D + 1) * COUNT; i++) {
        const double kept = parameters[i];
        parameters[i] = kept + 1e-4;
        const double above = loss_of(&training, mean, parameters, strength);
        parameters[i] = kept - 1e-4;
        const double below = loss_of(&training, mean, parameters, strength);
        parameters[i] = kept;
        assert_true(fabs(above - below) / 2e-4 < 5e-5);
    }
    magpie_labels_close(labels);
    free(path);
    remove_folder(folder);
    assert_int_equal(rmdir(root), 0);
}

/* ---- the report ---- */

static void test_report(void **state) {
    (void)state;
    static data training, validation, judged;
    static float said[N * COUNT];
    magpie_labels *labels;
    magpie_labels_report report;
    size_t confusion[COUNT * COUNT], counted[COUNT * COUNT] = {0}, right = 0, top3 = 0;
    double loss = 0, error = 0;
    make(&training, 8, N);
    make(&validation, 9, V);
    make(&judged, 10, N);
    fit(&training, &validation, 1, NULL, &labels);
    assert_ok(magpie_labels_evaluate(labels, &judged.examples, confusion, &report));
    assert_ok(magpie_labels_predict(labels, judged.vectors, N, said));
    size_t answers[N];
    for (size_t i = 0; i < N; i++) {
        const float *p = said + i * COUNT;
        const size_t truth = judged.labels[i];
        size_t best = 0, likelier = 0;
        for (size_t k = 0; k < COUNT; k++) {
            if (p[k] > p[best]) best = k;
            likelier += p[k] > p[truth];
        }
        answers[i] = best;
        counted[truth * COUNT + best]++;
        right += best == truth;
        top3 += likelier < 3;
        loss -= log((double)p[truth]) / N;
    }
    for (unsigned range = 0; range < 15; range++) {
        double confidence = 0, hits = 0;
        for (size_t i = 0; i < N; i++) {
            const float sure = said[i * COUNT + answers[i]];
            if (!((double)sure * 15 >= range && ((double)sure * 15 < range + 1 || range == 14))) continue;
            confidence += (double)sure;
            hits += answers[i] == judged.labels[i];
        }
        error += fabs(confidence - hits) / N;
    }
    assert_memory_equal(confusion, counted, sizeof confusion);
    assert_int_equal(report.n, N);
    assert_true(fabs(report.accuracy - (double)right / N) < 1e-12);
    assert_true(fabs(report.top3 - (double)top3 / N) < 1e-12);
    assert_true(fabs(report.log_loss - loss) < 1e-6);
    assert_true(fabs(report.calibration_error - error) < 1e-6);
    assert_true(report.accuracy > 0.5 && report.accuracy < 1); /* clouds that overlap */
    magpie_labels_close(labels);
}

static void test_refused(void **state) {
    (void)state;
    static data training, validation;
    magpie_labels *labels;
    make(&training, 1, N);
    make(&validation, 2, V);
    magpie_labels_info bad = about;
    magpie_labels_examples none = {0};
    bad.count = 1;
    assert_int_equal(magpie_labels_fit(&bad, &training.examples, &validation.examples, 1, NULL, &labels),
                     MAGPIE_E_ARGUMENT);
    bad = about;
    bad.count = 4; /* and examples have five */
    assert_int_equal(magpie_labels_fit(&bad, &training.examples, &validation.examples, 1, NULL, &labels),
                     MAGPIE_E_ARGUMENT);
    assert_null(labels);
    assert_int_equal(magpie_labels_fit(&about, &training.examples, &none, 1, NULL, &labels),
                     MAGPIE_E_ARGUMENT);
    assert_non_null(strstr(magpie_error(), "no examples for validation"));
    training.vectors[3] = INFINITY;
    assert_int_equal(magpie_labels_fit(&about, &training.examples, &validation.examples, 1, NULL, &labels),
                     MAGPIE_E_INPUT);
    assert_non_null(strstr(magpie_error(), "example 0 for training"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradient),
                                       cmocka_unit_test(test_many_labels),
                                       cmocka_unit_test(test_lbfgs),
                                       cmocka_unit_test(test_fit),
                                       cmocka_unit_test(test_optimum),
                                       cmocka_unit_test(test_folder),
                                       cmocka_unit_test(test_folder_that_is_none),
                                       cmocka_unit_test(test_report),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
