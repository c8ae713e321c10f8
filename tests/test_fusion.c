/* test_fusion.c - heads against the formula, sums against their shares, folders against what may be wrong
 * with them. */
#include "test_fusion.h"

enum { DIMENSION = 48, TEXT = 40, IMAGE = 67, AUDIO = 48 };

static char folder[64]; /* of the test that is running */

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/magpie-fusion-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    remove_fusion(folder);
    return 0;
}

static fusion_heads three_heads(uint64_t seed, const float weights[MAGPIE_MODALITIES]) {
    random_state random = {seed};
    fusion_heads heads = {
        .dimension = DIMENSION,
        .temperature = 0.0625f,
        .head = {{.kind = FUSION_RESIDUAL, .input = TEXT, .weight = weights[0], .encoder = "abc"},
                 {.kind = FUSION_LINEAR, .input = IMAGE, .weight = weights[1]},
                 {.kind = FUSION_IDENTITY, .input = AUDIO, .weight = weights[2]}}};
    random_heads(&random, &heads);
    return heads;
}

static magpie_fusion *open_three(uint64_t seed, const float weights[MAGPIE_MODALITIES], bool half) {
    fusion_heads heads = three_heads(seed, weights);
    magpie_fusion *fusion;
    assert_ok(fusion_files_write(folder, &heads, half));
    assert_ok(magpie_fusion_open(folder, &fusion));
    fusion_heads_free(&heads);
    return fusion;
}

/* The formulas of encoders.h, in double. */
static void head_of(const fusion_heads *heads, magpie_modality m, const float *x, double *z) {
    const fusion_head *h = &heads->head[m];
    double p[DIMENSION], squares = 0;
    for (size_t i = 0; i < DIMENSION; i++) {
        p[i] = h->matrix ? (double)h->bias[i] : (double)x[i];
        for (size_t k = 0; h->matrix && k < h->input; k++)
            p[i] += (double)h->matrix[i * h->input + k] * (double)x[k] * sqrt((double)h->input);
    }
    for (size_t i = 0; i < DIMENSION; i++) {
        z[i] = p[i] + (h->inner ? (double)h->inner_bias[i] : 0);
        for (size_t k = 0; h->inner && k < DIMENSION; k++)
            z[i] += (double)h->inner[i * DIMENSION + k] * p[k] * 0.5 * (1 + erf(p[k] / sqrt(2)));
        squares += z[i] * z[i];
    }
    for (size_t i = 0; i < DIMENSION; i++) z[i] /= sqrt(squares);
}

static void heads_are_the_formula(void **state) {
    (void)state;
    const float weights[] = {1, 0.5f, 2};
    for (int half = 0; half < 2; half++) {
        fusion_heads heads = three_heads(7, weights);
        magpie_fusion *fusion = open_three(7, weights, half);
        random_state random = {5};
        for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
            float x[IMAGE], z[DIMENSION];
            double wanted[DIMENSION];
            random_rows(&random, x, 1, heads.head[m].input);
            assert_ok(magpie_fusion_project(fusion, m, x, 1, z));
            head_of(&heads, m, x, wanted);
            for (size_t i = 0; i < DIMENSION; i++)
                assert_true(fabs((double)z[i] - wanted[i]) < (half ? 2e-3 : 2e-6));
        }
        magpie_fusion_close(fusion);
        fusion_heads_free(&heads);
    }
}

/* Whatever the level of instructions. */
static void a_row_is_alone(void **state) {
    (void)state;
    enum { ROWS = 39 };
    random_state random = {3};
    float x[ROWS * IMAGE], w[DIMENSION * IMAGE], b[DIMENSION], all[ROWS * DIMENSION], one[DIMENSION];
    random_values(&random, x, ROWS * IMAGE, 1);
    random_values(&random, w, DIMENSION * IMAGE, 1);
    random_values(&random, b, DIMENSION, 1);
    const fusion_kernels *k;
    for (size_t level = 0; (k = fusion_kernels_level(level)) != NULL; level++)
        for (size_t out = 1; out <= DIMENSION; out += 6) {
            k->product(x, ROWS, w, b, IMAGE, out, all);
            for (size_t i = 0; i < ROWS; i++) {
                k->product(x + i * IMAGE, 1, w, b, IMAGE, out, one);
                assert_memory_equal(one, all + i * out, out * sizeof *one);
                for (size_t j = 0; j < out; j++)
                    assert_true(fabs((double)one[j] - dot(x + i * IMAGE, w + j * IMAGE, IMAGE) -
                                     (double)b[j]) < 1e-4);
            }
        }
}

static void a_batch_is_its_rows(void **state) {
    (void)state;
    enum { ROWS = 37 };
    const float weights[] = {1, 1, 1};
    magpie_fusion *fusion = open_three(1, weights, false);
    random_state random = {2};
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        size_t input = magpie_fusion_get_info(fusion)->source[m].dimension;
        float x[ROWS * IMAGE], all[ROWS * DIMENSION], one[DIMENSION], mixed[DIMENSION];
        random_rows(&random, x, ROWS, input);
        assert_ok(magpie_fusion_project(fusion, m, x, ROWS, all));
        for (size_t i = 0; i < ROWS; i++) {
            const magpie_fusion_part part = {one, 0.3f};
            assert_ok(magpie_fusion_project(fusion, m, x + i * input, 1, one));
            assert_memory_equal(one, all + i * DIMENSION, sizeof one);
            assert_ok(magpie_fusion_mix(fusion, &part, 1, mixed));
            assert_memory_equal(one, mixed, sizeof one);
        }
    }
    magpie_fusion_close(fusion);
}

/* Over random heads, weights (very large and small ones too), parts and items. */
static void shares_sum_to_the_score(void **state) {
    (void)state;
    random_state random = {11};
    for (uint64_t round = 0; round < 60; round++) {
        float weights[MAGPIE_MODALITIES], x[MAGPIE_MODALITIES][IMAGE], z[6][DIMENSION];
        const float *features[MAGPIE_MODALITIES] = {0};
        magpie_fusion_part parts[6];
        double scale = round % 3 ? 1 : 1e-20;
        for (int m = 0; m < MAGPIE_MODALITIES; m++)
            weights[m] = (float)(scale * (0.1 + random_unit(&random)));
        if (round % 5 == 0) weights[random_below(&random, MAGPIE_MODALITIES)] = 0;
        magpie_fusion *fusion = open_three(round, weights, false);
        size_t n = 1 + random_below(&random, 6), present = random_below(&random, 8);
        for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
            random_rows(&random, x[m], 1, magpie_fusion_get_info(fusion)->source[m].dimension);
            if (present & (1u << m)) features[m] = x[m];
        }
        for (size_t i = 0; i < n; i++) {
            random_rows(&random, z[i], 1, DIMENSION);
            parts[i] = (magpie_fusion_part){z[i], (float)(random_unit(&random) - 0.5) * 3};
        }
        float shares[6 * MAGPIE_MODALITIES], score, query[DIMENSION], item[DIMENSION];
        double sum = 0;
        bool any;
        assert_ok(magpie_fusion_mix(fusion, parts, n, query));
        assert_ok(magpie_fusion_fuse(fusion, features, item, &any));
        assert_ok(magpie_fusion_explain(fusion, parts, n, features, shares, &score));
        for (size_t i = 0; i < n * MAGPIE_MODALITIES; i++) {
            const float *feature = features[i % MAGPIE_MODALITIES];
            if (!feature || weights[i % MAGPIE_MODALITIES] <= 0) assert_true(shares[i] == 0);
            sum += (double)shares[i];
        }
        assert_true(fabs(sum - (double)score) < 1e-5);
        assert_true(fabs(dot(query, item, DIMENSION) - (double)score) < 1e-5);
        assert_true(fabs(dot(query, query, DIMENSION) - 1) < 1e-5);
        assert_true(fabs(dot(item, item, DIMENSION) - (any ? 1 : 0)) < 1e-5);
        magpie_fusion_close(fusion);
    }
}

/* One modality's item is its vector, to the bit; one of nothing that counts is nothing. */
static void single_and_none(void **state) {
    (void)state;
    const float weights[] = {0.25f, 3, 0};
    magpie_fusion *fusion = open_three(9, weights, true);
    random_state random = {4};
    float x[IMAGE], z[DIMENSION], fused[DIMENSION];
    bool any;
    random_rows(&random, x, 1, IMAGE);
    const float *const image[MAGPIE_MODALITIES] = {NULL, x, NULL}, *const audio[MAGPIE_MODALITIES] = {
                                                                       NULL, NULL, x};
    assert_ok(magpie_fusion_project(fusion, MAGPIE_IMAGE, x, 1, z));
    assert_ok(magpie_fusion_fuse(fusion, image, fused, &any));
    assert_true(any);
    assert_memory_equal(z, fused, sizeof z);
    assert_ok(magpie_fusion_fuse(fusion, audio, fused, &any)); /* its weight is 0 */
    assert_false(any);
    for (size_t i = 0; i < DIMENSION; i++) assert_true(fused[i] == 0);
    const magpie_fusion_part cancel[] = {{z, 2}, {z, -2}};
    assert_int_equal(magpie_fusion_mix(fusion, cancel, 2, fused), MAGPIE_E_INPUT);
    const magpie_fusion_part negative = {z, -2};
    assert_ok(magpie_fusion_mix(fusion, &negative, 1, fused));
    assert_true(fabs(dot(z, fused, DIMENSION) + 1) < 1e-5);
    magpie_fusion_close(fusion);
}

static void identities(void **state) {
    (void)state;
    magpie_fusion *one, *two, *again;
    const magpie_modality_source text[MAGPIE_MODALITIES] = {{DIMENSION, "0123456789abcdef"}};
    const magpie_modality_source both[MAGPIE_MODALITIES] = {{DIMENSION, "aa"}, {DIMENSION, "aa"}};
    const magpie_modality_source uneven[MAGPIE_MODALITIES] = {{DIMENSION, "aa"}, {DIMENSION + 1, "aa"}};
    const magpie_modality_source none[MAGPIE_MODALITIES] = {{0}};
    random_state random = {6};
    float x[DIMENSION], out[DIMENSION];
    const float *const features[MAGPIE_MODALITIES] = {x}, weights[] = {0.3f, 0, 0}, other[] = {1, 2, 0};
    bool any;
    random_rows(&random, x, 1, DIMENSION);
    assert_ok(magpie_fusion_create_identity(text, &one));
    assert_string_equal(magpie_fusion_get_info(one)->fingerprint, "0123456789abcdef");
    assert_ok(magpie_fusion_fuse(one, features, out, &any));
    assert_memory_equal(x, out, sizeof x);
    assert_ok(magpie_fusion_set_weights(one, weights)); /* which changes no vector */
    assert_string_equal(magpie_fusion_get_info(one)->fingerprint, "0123456789abcdef");
    assert_ok(magpie_fusion_create_identity(both, &two));
    assert_string_not_equal(magpie_fusion_get_info(two)->fingerprint, "aa");
    assert_ok(magpie_fusion_create_identity(both, &again));
    assert_string_equal(magpie_fusion_get_info(two)->fingerprint, magpie_fusion_get_info(again)->fingerprint);
    assert_ok(magpie_fusion_set_weights(again, other));
    assert_string_not_equal(magpie_fusion_get_info(two)->fingerprint,
                            magpie_fusion_get_info(again)->fingerprint);
    assert_string_equal(magpie_fusion_get_info(two)->kind[MAGPIE_IMAGE], "identity");
    assert_null(magpie_fusion_get_info(two)->kind[MAGPIE_AUDIO]);
    magpie_fusion_close(again);
    assert_int_equal(magpie_fusion_create_identity(uneven, &again), MAGPIE_E_MISMATCH);
    assert_int_equal(magpie_fusion_create_identity(none, &again), MAGPIE_E_ARGUMENT);
    magpie_fusion_close(one);
    magpie_fusion_close(two);
}

static void sources_and_weights_are_checked(void **state) {
    (void)state;
    const float weights[] = {1, 1, 1};
    magpie_fusion *fusion = open_three(2, weights, false);
    const magpie_modality_source right = {TEXT, "abc"}, unknown = {TEXT, NULL}, wrong = {TEXT, "xyz"},
                                 narrow = {TEXT - 1, "abc"}, image = {IMAGE, "whatever"};
    const float none[] = {0, 0, 0}, negative[] = {1, -1, 0}, text[] = {2, 0, 0};
    char before[MAGPIE_FINGERPRINT_MAX];
    strcpy(before, magpie_fusion_get_info(fusion)->fingerprint);
    assert_ok(magpie_fusion_check(fusion, MAGPIE_TEXT, &right));
    assert_ok(magpie_fusion_check(fusion, MAGPIE_TEXT, &unknown));
    assert_ok(magpie_fusion_check(fusion, MAGPIE_IMAGE, &image));
    assert_int_equal(magpie_fusion_check(fusion, MAGPIE_TEXT, &wrong), MAGPIE_E_MISMATCH);
    assert_non_null(strstr(magpie_error(), "abc"));
    assert_non_null(strstr(magpie_error(), "xyz"));
    assert_int_equal(magpie_fusion_check(fusion, MAGPIE_TEXT, &narrow), MAGPIE_E_MISMATCH);
    assert_int_equal(magpie_fusion_set_weights(fusion, none), MAGPIE_E_ARGUMENT);
    assert_int_equal(magpie_fusion_set_weights(fusion, negative), MAGPIE_E_ARGUMENT);
    assert_string_equal(magpie_fusion_get_info(fusion)->fingerprint, before);
    assert_ok(magpie_fusion_set_weights(fusion, text));
    assert_string_not_equal(magpie_fusion_get_info(fusion)->fingerprint, before);
    assert_ok(magpie_fusion_set_weights(fusion, weights));
    assert_string_equal(magpie_fusion_get_info(fusion)->fingerprint, before);
    magpie_fusion_close(fusion);
}

/* ---- folders ---- */

static void read_config(magpie_text *out) {
    char *path = magpie_path_join(folder, "config.json");
    magpie_map map;
    assert_ok(magpie_map_open(path, &map));
    magpie_text_append(out, map.data, map.size);
    magpie_map_close(&map);
    free(path);
}

static void write_config(const char *text) {
    char *path = magpie_path_join(folder, "config.json");
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    free(path);
}

/* config.json with the first `old` in it replaced. */
static void edit_config(const char *whole, const char *old, const char *new) {
    magpie_text text = {0};
    const char *at = strstr(whole, old);
    assert_non_null(at);
    magpie_text_append(&text, whole, (size_t)(at - whole));
    magpie_text_printf(&text, "%s%s", new, at + strlen(old));
    write_config(text.data);
    magpie_text_free(&text);
}

static void bad_folders(void **state) {
    (void)state;
    static const struct {
        const char *old, *new, *words;
        magpie_status status;
    } cases[] = {
        {"\"dimension\": 48", "\"dimension\": 0", "dimension", MAGPIE_E_CORRUPT},
        {"\"dimension\": 48", "\"dimension\": 47", "identity", MAGPIE_E_CORRUPT},
        {"\"magpie-fusion\"", "\"bert\"", "bert", MAGPIE_E_UNSUPPORTED},
        {"0.0625", "-1", "temperature", MAGPIE_E_CORRUPT},
        {"0.0625", "\"hot\"", "temperature", MAGPIE_E_CORRUPT},
        {"\"residual\"", "\"cubic\"", "kind", MAGPIE_E_CORRUPT},
        {"\"input\": 40", "\"input\": 41", "text.weight", MAGPIE_E_MISMATCH},
        {"\"linear\"", "\"residual\"", "image.inner.weight", MAGPIE_E_NOT_FOUND},
        {"\"weight\": 1", "\"weight\": -1", "weight", MAGPIE_E_CORRUPT},
        {"\"weight\": 1", "\"weight\": 1e99", "weight", MAGPIE_E_CORRUPT},
        {"\"encoder\": \"abc\"", "\"encoder\": 3", "encoder", MAGPIE_E_CORRUPT},
        {"\"image\": {", "\"smell\": {", "smell", MAGPIE_E_CORRUPT},
        {"\"weights\": \"", "\"weights\": \"0", "train again", MAGPIE_E_CORRUPT},
        {"{", "[", "config.json", MAGPIE_E_CORRUPT},
    };
    const float weights[] = {1, 1, 1};
    magpie_fusion *fusion = open_three(3, weights, false);
    magpie_fusion_close(fusion);
    magpie_text config = {0};
    read_config(&config);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        edit_config(config.data, cases[i].old, cases[i].new);
        assert_int_equal(magpie_fusion_open(folder, &fusion), cases[i].status);
        assert_non_null(strstr(magpie_error(), folder));
        if (!strstr(magpie_error(), cases[i].words)) fail_msg("%s", magpie_error());
    }
    write_config("{\"model_type\": \"magpie-fusion\", \"dimension\": 4, \"temperature\": 1, \"heads\": {}}");
    assert_int_equal(magpie_fusion_open(folder, &fusion), MAGPIE_E_CORRUPT);
    magpie_text_free(&config);
    fusion_heads heads = three_heads(3, weights);
    assert_ok(fusion_files_write(folder, &heads, false)); /* without the weights' file */
    char *path = magpie_path_join(folder, "model.safetensors");
    unlink(path);
    assert_int_equal(magpie_fusion_open(folder, &fusion), MAGPIE_E_NOT_FOUND);
    heads.head[0].bias[3] = NAN;
    assert_int_equal(fusion_files_write(folder, &heads, false), MAGPIE_E_INPUT);
    heads.head[0].bias[3] = 70000;
    assert_int_equal(fusion_files_write(folder, &heads, true), MAGPIE_E_INPUT);
    fusion_heads_free(&heads);
    free(path);
}

/* A file of NaNs that is sound otherwise. */
static void not_a_number(void **state) {
    (void)state;
    static const char header[] =
        "{\"text.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]},"
        "\"text.bias\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}";
    const float values[] = {1, NAN};
    const uint64_t size = sizeof header - 1;
    char *path = magpie_path_join(folder, "model.safetensors");
    FILE *file = fopen(path, "wb");
    magpie_fusion *fusion;
    assert_non_null(file);
    fwrite(&size, sizeof size, 1, file);
    fwrite(header, 1, size, file);
    fwrite(values, sizeof values, 1, file);
    fclose(file);
    write_config("{\"model_type\": \"magpie-fusion\", \"dimension\": 1, \"temperature\": 1, "
                 "\"heads\": {\"text\": {\"kind\": \"linear\", \"input\": 1}}}");
    assert_int_equal(magpie_fusion_open(folder, &fusion), MAGPIE_E_CORRUPT);
    assert_non_null(strstr(magpie_error(), "text.bias"));
    assert_non_null(strstr(magpie_error(), path));
    free(path);
}

/* f16 to nearest, by the oracle of trying: every value of f16 comes back, and what lies between goes to
 * the nearer. */
static void halves(void **state) {
    (void)state;
    enum { INPUT = 9 };
    static const float values[INPUT] = {0.333251953125f, 0x1p-24f,     0x1.8p-25f,     -0x1.ff8p-15f, 65504,
                                        -0.0f,           1 + 0x1p-11f, 1 + 0x1.8p-10f, 1 + 0x1.1p-11f};
    static const float wanted[INPUT] = {0.333251953125f, 0x1p-24f, 0x1p-24f,    -0x1.ff8p-15f, 65504,
                                        -0.0f,           1,        1 + 0x1p-9f, 1 + 0x1p-10f};
    fusion_heads heads = {.dimension = 1,
                          .temperature = 1,
                          .head = {{.kind = FUSION_LINEAR, .input = INPUT, .weight = 1}}},
                 read;
    assert_ok(fusion_heads_alloc(&heads));
    memcpy(heads.head[0].matrix, values, sizeof values);
    assert_ok(fusion_files_write(folder, &heads, true));
    assert_ok(fusion_files_read(folder, &read));
    assert_memory_equal(read.head[0].matrix, wanted, sizeof wanted);
    fusion_heads_free(&read);
    fusion_heads_free(&heads);
}

static void senses(void **state) {
    (void)state;
    const float weights[] = {1, 1, 1};
    magpie_model_senses has;
    magpie_text_encoder *encoder;
    magpie_fusion_close(open_three(3, weights, false));
    assert_ok(magpie_model_get_senses(folder, &has));
    assert_false(has.text || has.image || has.audio);
    assert_int_not_equal(magpie_text_encoder_open(folder, NULL, &encoder), MAGPIE_OK);
}

/* ---- titles ---- */

/* Hashes by starter/train/common.py. */
static void titles(void **state) {
    (void)state;
    static const struct {
        const char *title;
        uint64_t hash;
    } known[] = {
        {"A cow.", UINT64_C(0x71b06d0889eb34ab)},
        {"a  COW 2", UINT64_C(0x71b06d0889eb34ab)},
        {"123 !", UINT64_C(0xe59ec4883c3251e0)},
        {"", UINT64_C(0xcbf29ce484222325)},
        {"--", UINT64_C(0x07d01707b497e58f)},
        {"\303\204pfel & Birnen", UINT64_C(0x57f49663fcecfbf5)},
        {"one-two_three4five", UINT64_C(0x1ccef3afab767b5b)},
        {"\346\227\245\346\234\254 \350\252\236x", UINT64_C(0x166aee367e28d4af)},
        {"  lead", UINT64_C(0x24ad82ada202056f)},
        {"trail  ", UINT64_C(0xdee793a6c5086ea3)},
        {" 7 ", UINT64_C(0xc362e817ce70c2e8)},
        {"x", UINT64_C(0xaf63f54c86021707)},
        {"Zebra crossing", UINT64_C(0x040728b3db92e305)},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_true(magpie_title_hash(string_of(known[i].title)) == known[i].hash);
        assert_true(magpie_title_held_out(known[i].hash) == (known[i].hash % 5 == 0));
    }
    assert_true(magpie_title_hash(string_of("A cow (2)")) == magpie_title_hash(string_of("  a COW-17")));
    assert_true(magpie_title_hash(string_of("a cow")) != magpie_title_hash(string_of("acow")));
    assert_true(magpie_title_hash((magpie_string){0}) == UINT64_C(0xCBF29CE484222325));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(heads_are_the_formula, make_folder, remove_folder),
        cmocka_unit_test(a_row_is_alone),
        cmocka_unit_test_setup_teardown(a_batch_is_its_rows, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(shares_sum_to_the_score, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(single_and_none, make_folder, remove_folder),
        cmocka_unit_test(identities),
        cmocka_unit_test_setup_teardown(sources_and_weights_are_checked, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_folders, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(not_a_number, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(halves, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(senses, make_folder, remove_folder),
        cmocka_unit_test(titles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
