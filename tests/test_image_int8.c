/* test_image_int8.c - 8-bit networks: how far they are from f32 ones on seeded weights, that whole numbers add up to the
 * same bytes however the work is shared out, and that nothing is computed by another model's calibration.
 *
 * Features of seeded networks all point nearly one way, so that a cosine flatters; the errors are held against the
 * distances between pictures, too. */
#include "support.h"

#include "encoders.h"
#include "seeded_model.h"

enum { PICTURES = SEEDED_PICTURES };

#define COSINE 0.9997
#define OF_DISTANCE 0.15 /* an error, of the distance to the nearest other picture */

/* ---- the model of this group ---- */

typedef struct subject {
    json_t *entry;
    char *folder;
    size_t side, dimension;
    uint8_t *pixels; /* [PICTURES, side, side, 3] */
    float *f32;      /* [PICTURES, dimension] */
} subject;

static const char *chosen; /* for the setup of a group, which takes no arguments */

static magpie_status open_as(const subject *s, magpie_encoder_options options, magpie_image_encoder **out) {
    options.raw = true;
    return magpie_image_encoder_open(s->folder, &options, out);
}

static magpie_image_encoder *open_precision(const subject *s, magpie_precision precision, unsigned threads) {
    magpie_image_encoder *encoder;
    assert_ok(open_as(s, (magpie_encoder_options){.precision = precision, .threads = threads}, &encoder));
    assert_int_equal(magpie_image_encoder_get_info(encoder)->precision, precision);
    return encoder;
}

static int subject_create(void **state) {
    subject *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->entry = seeded_entry(chosen);
    s->side = (size_t)json_integer_value(json_object_get(s->entry, "input_size"));
    s->dimension = (size_t)json_integer_value(json_object_get(s->entry, "dimension"));
    s->pixels = malloc(PICTURES * s->side * s->side * 3);
    s->f32 = malloc(PICTURES * s->dimension * sizeof *s->f32);
    assert_true(s->pixels && s->f32);
    seeded_pictures(s->pixels, s->side);
    s->folder = seeded_model(s->entry);
    magpie_image_encoder *encoder = open_precision(s, MAGPIE_PRECISION_F32, 0);
    assert_ok(magpie_image_encoder_calibrate_pixels(encoder, s->pixels, PICTURES));
    assert_ok(magpie_image_encoder_encode_pixels(encoder, s->pixels, PICTURES, s->f32));
    magpie_image_encoder_close(encoder);
    *state = s;
    return 0;
}

static int subject_free(void **state) {
    subject *s = *state;
    seeded_remove(s->folder);
    json_decref(s->entry);
    free(s->f32);
    free(s->pixels);
    free(s);
    return 0;
}

/* ---- how far apart ---- */

static double dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static double cosine(const float *a, const float *b, size_t n) {
    return dot(a, b, n) / sqrt(dot(a, a, n) * dot(b, b, n));
}

static double distance(const float *a, const float *b, size_t n) {
    return sqrt(fmax(0, dot(a, a, n) + dot(b, b, n) - 2 * dot(a, b, n)));
}

/* From picture p to the nearest other one. */
static double nearest(const subject *s, size_t p) {
    double least = INFINITY;
    for (size_t q = 0; q < PICTURES; q++)
        if (q != p)
            least = fmin(least, distance(s->f32 + p * s->dimension, s->f32 + q * s->dimension, s->dimension));
    return least;
}

static void close_to_f32(void **state) {
    const subject *s = *state;
    const size_t d = s->dimension;
    magpie_image_encoder *encoder = open_precision(s, MAGPIE_PRECISION_INT8, 0);
    float *got = calloc(PICTURES * d, sizeof *got);
    assert_non_null(got);
    assert_ok(magpie_image_encoder_encode_pixels(encoder, s->pixels, PICTURES, got));
    for (size_t p = 0; p < PICTURES; p++) {
        const float *vector = got + p * d, *wanted = s->f32 + p * d;
        double angle = cosine(vector, wanted, d), error = distance(vector, wanted, d) / nearest(s, p);
        print_message("%s, picture %zu: cosine %.6f, error %.4f of the distance to the next picture\n",
                      s->folder, p, angle, error);
        if (!(angle > COSINE && error < OF_DISTANCE)) fail_msg("picture %zu is too far from f32", p);
    }
    free(got);
    magpie_image_encoder_close(encoder);
}

/* ---- the same bytes ---- */

static void however_it_is_shared_out(void **state) {
    const subject *s = *state;
    const size_t d = s->dimension, picture = s->side * s->side * 3;
    float *wanted = calloc(PICTURES * d, sizeof *wanted), *got = calloc(PICTURES * d, sizeof *got);
    assert_true(wanted && got);
    for (unsigned threads = 1; threads <= 3; threads++) {
        magpie_image_encoder *encoder = open_precision(s, MAGPIE_PRECISION_INT8, threads);
        for (int again = 0; again < 2; again++) {
            float *out = threads == 1 && !again ? wanted : got;
            assert_ok(magpie_image_encoder_encode_pixels(encoder, s->pixels, PICTURES, out));
            if (out == got) assert_memory_equal(got, wanted, PICTURES * d * sizeof *got);
        }
        /* All threads at one large picture: more of them than CPUs wait for each other for seconds. */
        size_t alone = threads < 3 || s->side < SEEDED_SIDE ? PICTURES : 0;
        for (size_t p = 0; p < alone; p++) {
            assert_ok(magpie_image_encoder_encode_pixels(encoder, s->pixels + p * picture, 1, got));
            assert_memory_equal(got, wanted + p * d, d * sizeof *got);
        }
        magpie_image_encoder_close(encoder);
    }
    free(got);
    free(wanted);
}

/* ---- what is refused ---- */

static void check_refused(magpie_status status, magpie_status wanted, const char *words) {
    if (status != wanted || !strstr(magpie_error(), words))
        fail_msg("wanted \"%s\" with \"%s\", got \"%s\": %s", magpie_status_name(wanted), words,
                 magpie_status_name(status), status == MAGPIE_OK ? "" : magpie_error());
}

static void check_open_refused(const subject *s, magpie_backend backend, magpie_status wanted,
                               const char *words) {
    magpie_image_encoder *encoder;
    const magpie_encoder_options options = {.device = {backend, 0}, .precision = MAGPIE_PRECISION_INT8};
    check_refused(open_as(s, options, &encoder), wanted, words);
}

/* Its int8.json with `key` set to `value` (NULL: taken out). */
static void write_changed(const subject *s, const json_t *right, const char *key, json_t *value) {
    json_t *wrong = json_deep_copy(right);
    assert_int_equal(value ? json_object_set_new(wrong, key, value) : json_object_del(wrong, key), 0);
    seeded_write_file(s->folder, "int8.json", wrong);
    json_decref(wrong);
}

static void wrong_calibrations(void **state) {
    const subject *s = *state;
    char *path = magpie_path_join(s->folder, "int8.json");
    assert_non_null(path);
    json_t *right = json_load_file(path, 0, NULL), *largest = json_object_get(right, "largest");
    assert_non_null(right);
    json_t *values[] = {json_string("far"), json_real(-1), json_real(1e300), json_null()};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        json_t *changed = json_copy(largest);
        json_array_set_new(changed, 2, values[i]);
        write_changed(s, right, "largest", changed);
        check_open_refused(s, MAGPIE_BACKEND_CPU, MAGPIE_E_CORRUPT, "number 2");
    }
    json_t *shorter = json_copy(largest);
    json_array_remove(shorter, 0);
    write_changed(s, right, "largest", shorter);
    check_open_refused(s, MAGPIE_BACKEND_CPU, MAGPIE_E_CORRUPT, "largest");
    write_changed(s, right, "largest", NULL);
    check_open_refused(s, MAGPIE_BACKEND_CPU, MAGPIE_E_CORRUPT, "largest");
    write_changed(s, right, "format", json_integer(2));
    check_open_refused(s, MAGPIE_BACKEND_CPU, MAGPIE_E_CORRUPT, "format");
    write_changed(s, right, "fingerprint", json_integer(7));
    check_open_refused(s, MAGPIE_BACKEND_CPU, MAGPIE_E_CORRUPT, "fingerprint");
    write_changed(s, right, "fingerprint", json_string("0123456789abcdef"));
    check_open_refused(s, MAGPIE_BACKEND_CPU, MAGPIE_E_MISMATCH, "calibrate again");
    write_changed(s, right, "fingerprint", NULL);
    check_open_refused(s, MAGPIE_BACKEND_CPU, MAGPIE_E_MISMATCH, "calibrate again");
    json_t *garbage = json_string("\x7f"
                                  "ELF");
    seeded_write_file(s->folder, "int8.json", garbage);
    check_open_refused(s, MAGPIE_BACKEND_CPU, MAGPIE_E_CORRUPT, "int8.json:1");
    json_decref(garbage);
    assert_int_equal(unlink(path), 0);
    check_open_refused(s, MAGPIE_BACKEND_CPU, MAGPIE_E_NOT_FOUND, "magpie models calibrate");
    seeded_write_file(s->folder, "int8.json", right);
    magpie_image_encoder_close(open_precision(s, MAGPIE_PRECISION_INT8, 1));
    json_decref(right);
    free(path);
}

static void wrong_uses(void **state) {
    const subject *s = *state;
    check_open_refused(s, MAGPIE_BACKEND_REFERENCE, MAGPIE_E_UNSUPPORTED, "reference");
    const magpie_encoder_options options = {.precision = MAGPIE_PRECISION_INT8};
    magpie_text_encoder *text;
    check_refused(magpie_text_encoder_open(s->folder, &options, &text), MAGPIE_E_UNSUPPORTED,
                  "pictures alone");
    magpie_image_encoder *encoder = open_precision(s, MAGPIE_PRECISION_F32, 1);
    check_refused(magpie_image_encoder_calibrate_pixels(encoder, s->pixels, 0), MAGPIE_E_ARGUMENT,
                  "no pictures");
    const magpie_media none = {.path = "/nonexistent.jpg"};
    check_refused(magpie_image_encoder_calibrate(encoder, &none, 1), MAGPIE_E_NOT_FOUND, "nonexistent");
    magpie_image_encoder_close(encoder);
    encoder = open_precision(s, MAGPIE_PRECISION_INT8, 1);
    check_refused(magpie_image_encoder_calibrate_pixels(encoder, s->pixels, 1), MAGPIE_E_ARGUMENT, "in f32");
    magpie_image_encoder_close(encoder);
    magpie_precision precision;
    assert_ok(magpie_precision_parse("int8", &precision));
    assert_int_equal(precision, MAGPIE_PRECISION_INT8);
}

/* ---- groups ---- */

static int run_group(const char *name) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(close_to_f32),
                                       cmocka_unit_test(however_it_is_shared_out)};
    chosen = name;
    return cmocka_run_group_tests_name(name, tests, subject_create, subject_free);
}

static int run_refusals(const char *name) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(wrong_calibrations), cmocka_unit_test(wrong_uses)};
    chosen = name;
    return cmocka_run_group_tests_name("refused", tests, subject_create, subject_free);
}

/* Whether this machine has it at all: the smallest model, not calibrated, says which is missing first. */
static bool supported(void) {
    json_t *entry = seeded_entry("cifar-resnet20");
    char *folder = seeded_model(entry);
    const magpie_encoder_options options = {.precision = MAGPIE_PRECISION_INT8};
    magpie_image_encoder *encoder;
    magpie_status status = magpie_image_encoder_open(folder, &options, &encoder);
    assert_int_not_equal(status, MAGPIE_OK);
    seeded_remove(folder);
    json_decref(entry);
    return status != MAGPIE_E_UNSUPPORTED;
}

int main(void) {
    static const char *const models[] = {"resnet18", "resnet50", "cifar-resnet20", "clip-small"};
    int failed = 0;
    if (!supported()) {
        printf("SKIPPED: %s\n", magpie_error());
        return 0;
    }
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) failed += run_group(models[i]);
    return failed + run_refusals("cifar-resnet20");
}
