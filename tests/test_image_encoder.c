/* test_image_encoder.c - every family of image networks, on seeded weights, against the framework's values;
 * the backends against each other; and an encoder against itself: a batch is what its pictures are. One group
 * of tests a model, so that its folder is written once and its failures stand together. */
#include "test_gpu.h"

#include "golden_images.h"
#include "golden_vectors.h"
#include "seeded_model.h"

/* Pictures in the golden file, their size, and the largest batch, which repeats them. */
enum { PICTURES = SEEDED_PICTURES, SIDE = SEEDED_SIDE, BATCH = 9 };

/* The framework's own f32 is within 1e-6 of its f64; an epsilon of batch norm forgotten shows at 4e-5. */
#define F32_TOLERANCE 2e-5

static json_t *golden; /* image_features.json */
static json_t *files;  /* images.json: [name, base64, ...] */

/* ---- the model of this group ---- */

typedef struct subject {
    const json_t *entry;
    char *folder;
    size_t side, dimension;
    uint8_t *pixels;           /* [PICTURES, side, side, 3] */
    magpie_image_encoder *cpu; /* f32; opened by the first test that wants it */
} subject;

static const char *chosen; /* for the setup of a group, which takes no arguments */

static int subject_create(void **state) {
    subject *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->entry = json_object_get(golden, chosen);
    assert_non_null(s->entry);
    s->side = (size_t)json_integer_value(json_object_get(s->entry, "input_size"));
    s->dimension = (size_t)json_integer_value(json_object_get(s->entry, "dimension"));
    s->pixels = malloc(PICTURES * s->side * s->side * 3);
    assert_non_null(s->pixels);
    seeded_pictures(s->pixels, s->side);
    s->folder = seeded_model(s->entry);
    *state = s;
    return 0;
}

static int subject_free(void **state) {
    subject *s = *state;
    magpie_image_encoder_close(s->cpu);
    seeded_remove(s->folder);
    free(s->pixels);
    free(s);
    return 0;
}

static magpie_image_encoder *open_encoder(const subject *s, magpie_encoder_options options) {
    magpie_image_encoder *encoder;
    assert_ok(magpie_image_encoder_open(s->folder, &options, &encoder));
    assert_int_equal(magpie_image_encoder_get_info(encoder)->dimension, s->dimension);
    assert_int_equal(magpie_image_encoder_get_info(encoder)->input_size, s->side);
    return encoder;
}

static magpie_image_encoder *open_raw(const subject *s, magpie_backend backend, magpie_precision precision) {
    return open_encoder(
        s, (magpie_encoder_options){.device = {backend, 0}, .precision = precision, .raw = true});
}

enum { MANY_THREADS = 16 }; /* a team of them has a single picture, on however few CPUs */

static magpie_image_encoder *open_bf16(const subject *s, unsigned threads) {
    const magpie_encoder_options options = {.device = {MAGPIE_BACKEND_CPU, 0},
                                            .precision = MAGPIE_PRECISION_BF16,
                                            .threads = threads,
                                            .raw = true};
    return open_encoder(s, options);
}

static magpie_image_encoder *cpu_of(subject *s) {
    if (!s->cpu) s->cpu = open_raw(s, MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32);
    return s->cpu;
}

/* The first n golden pictures' vectors, to be freed. */
static float *encode(const subject *s, magpie_image_encoder *encoder, size_t n) {
    float *out = calloc(n, s->dimension * sizeof *out);
    assert_non_null(out);
    assert_ok(magpie_image_encoder_encode_pixels(encoder, s->pixels, n, out));
    return out;
}

/* ---- golden values ---- */

static void check_golden(const subject *s, magpie_image_encoder *encoder, size_t pictures) {
    const json_t *features = json_object_get(s->entry, "features");
    bool bf16 = magpie_image_encoder_get_info(encoder)->precision == MAGPIE_PRECISION_BF16;
    float *got = encode(s, encoder, pictures);
    for (size_t p = 0; p < pictures; p++)
        check_vector("picture", p, json_array_get(features, p), got + p * s->dimension, s->dimension,
                     bf16 ? 0 : F32_TOLERANCE);
    free(got);
}

static void golden_f32(void **state) {
    subject *s = *state;
    check_golden(s, cpu_of(s), PICTURES);
}

static void golden_bf16(void **state) {
    subject *s = *state;
    magpie_image_encoder *encoder = open_raw(s, MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_BF16);
    assert_int_equal(magpie_image_encoder_get_info(encoder)->precision, MAGPIE_PRECISION_BF16);
    check_golden(s, encoder, PICTURES);
    magpie_image_encoder_close(encoder);
}

/* How many pictures PoCL, a GPU by name alone, gets through in a few seconds. */
static size_t pictures_for_gpu(const subject *s) {
    const json_t *layers = json_object_get(s->entry, "layers");
    return s->side < SIDE || json_integer_value(layers) < 50 ? PICTURES : 1;
}

/* The same values, in both precisions. */
static void golden_gpu(void **state) {
    static const magpie_precision precisions[] = {MAGPIE_PRECISION_F32, MAGPIE_PRECISION_BF16};
    subject *s = *state;
    need_gpu();
    for (int i = 0; i < 2; i++) {
        magpie_image_encoder *encoder = open_raw(s, tested_gpu(), precisions[i]);
        assert_int_equal(magpie_image_encoder_get_info(encoder)->device.backend, tested_gpu());
        check_golden(s, encoder, pictures_for_gpu(s));
        magpie_image_encoder_close(encoder);
    }
}

/* Pictures of every kind and size, more than one batch has and some of them broken, are decoded for
 * batches as one by one: the CPU's vectors, outcomes and words, and for each alone the same bytes. */
static void gpu_batches(void **state) {
    subject *s = *state;
    need_gpu();
    const size_t d = s->dimension, kinds = json_array_size(files), n = 2 * kinds;
    magpie_media *media = calloc(n, sizeof *media);
    magpie_outcome *outcomes[2];
    float *out[2], *alone = calloc(d, sizeof *alone);
    assert_true(media && alone);
    for (size_t i = 0; i < n; i++) {
        media[i].bytes = from_base64(golden_string(json_array_get(files, i % kinds), 1));
        if (i % 7 == 3 || i == n - 1) media[i].bytes.size /= 2;
    }
    magpie_image_encoder *gpu = open_raw(s, tested_gpu(), MAGPIE_PRECISION_F32);
    for (int k = 0; k < 2; k++) {
        out[k] = malloc(n * d * sizeof *out[k]);
        outcomes[k] = calloc(n, sizeof *outcomes[k]);
        assert_true(out[k] && outcomes[k]);
        for (size_t i = 0; i < n * d; i++) out[k][i] = NAN;
        assert_ok(magpie_image_encoder_encode(k ? gpu : cpu_of(s), media, n, out[k], outcomes[k]));
    }
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(outcomes[1][i].status, outcomes[0][i].status);
        assert_string_equal(outcomes[1][i].reason, outcomes[0][i].reason);
        if (outcomes[0][i].status != MAGPIE_OK) {
            assert_memory_equal(out[1] + i * d, out[0] + i * d, d * sizeof *out[0]); /* zeros */
            continue;
        }
        double difference = relative_difference(out[1] + i * d, out[0] + i * d, d);
        if (!(difference < F32_TOLERANCE)) fail_msg("picture %zu: off by %.2g", i, difference);
        assert_ok(magpie_image_encoder_encode(gpu, &media[i], 1, alone, NULL));
        assert_memory_equal(alone, out[1] + i * d, d * sizeof *alone);
    }
    assert_int_equal(magpie_image_encoder_encode(gpu, media, n, out[1], NULL), outcomes[0][3].status);
    assert_non_null(strstr(magpie_error(), outcomes[0][3].reason));
    magpie_image_encoder_close(gpu);
    gpu = open_raw(s, tested_gpu(), MAGPIE_PRECISION_BF16);
    assert_ok(magpie_image_encoder_encode(gpu, media, n, out[1], outcomes[1]));
    for (size_t i = 0; i < n; i++) {
        if (outcomes[1][i].status != MAGPIE_OK) continue;
        assert_ok(magpie_image_encoder_encode(gpu, &media[i], 1, alone, NULL));
        assert_memory_equal(alone, out[1] + i * d, d * sizeof *alone);
    }
    magpie_image_encoder_close(gpu);
    for (int k = 0; k < 2; k++) {
        free(out[k]);
        free(outcomes[k]);
    }
    for (size_t i = 0; i < n; i++) free((char *)(uintptr_t)media[i].bytes.data);
    free(alone);
    free(media);
}

/* ../shared/golden: whole vectors of two of the networks, of the same recipe and the same pictures. */
static void shared_vectors(void **state) {
    subject *s = *state;
    char name[64];
    snprintf(name, sizeof name, "resnet.%s_pooled.npy", json_string_value(json_object_get(s->entry, "seed")));
    char *path = shared_golden(name);
    if (!path) skip_loudly("no ../shared/golden beside the repository");
    float *wanted = read_npy(path, PICTURES * s->dimension), *got = encode(s, cpu_of(s), PICTURES);
    double difference = relative_difference(got, wanted, PICTURES * s->dimension);
    if (!(difference < F32_TOLERANCE)) fail_msg("off by %.2g", difference);
    free(got);
    free(wanted);
    free(path);
}

/* CLIP's other side, out of the same folder. */
static void texts(void **state) {
    subject *s = *state;
    const json_t *cases = json_object_get(s->entry, "texts");
    const magpie_encoder_options options = {.precision = MAGPIE_PRECISION_F32, .raw = true};
    magpie_text_encoder *encoder;
    assert_ok(magpie_text_encoder_open(s->folder, &options, &encoder));
    const magpie_text_encoder_info *info = magpie_text_encoder_get_info(encoder);
    assert_int_equal(info->dimension, s->dimension);
    assert_string_equal(info->fingerprint, magpie_image_encoder_get_info(cpu_of(s))->fingerprint);

    size_t n = json_array_size(cases), count;
    magpie_string *strings = calloc(n, sizeof *strings);
    float *got = calloc(n, s->dimension * sizeof *got);
    int32_t *ids = calloc(info->max_tokens, sizeof *ids);
    assert_true(strings && got && ids);
    for (size_t t = 0; t < n; t++) {
        const json_t *wanted = json_object_get(json_array_get(cases, t), "ids");
        strings[t] = string_of(json_string_value(json_object_get(json_array_get(cases, t), "text")));
        assert_ok(magpie_text_encoder_tokenize(encoder, strings[t], MAGPIE_PASSAGE, ids, &count));
        for (size_t i = 0; i < count && i < json_array_size(wanted); i++)
            if (ids[i] != json_integer_value(json_array_get(wanted, i)))
                fail_msg("text %zu, token %zu: %d instead of %d", t, i, (int)ids[i],
                         (int)json_integer_value(json_array_get(wanted, i)));
        assert_int_equal(count, json_array_size(wanted));
    }
    assert_ok(magpie_text_encoder_encode(encoder, strings, n, MAGPIE_PASSAGE, got));
    for (size_t t = 0; t < n; t++)
        check_vector("text", t, json_array_get(cases, t), got + t * s->dimension, s->dimension,
                     F32_TOLERANCE);
    free(ids);
    free(got);
    free(strings);
    magpie_text_encoder_close(encoder);
}

/* ---- an encoder against itself and the reference ---- */

static void describes_itself(void **state) {
    subject *s = *state;
    const magpie_image_encoder_info *info = magpie_image_encoder_get_info(cpu_of(s));
    const json_t *files = json_object_get(s->entry, "files"), *layers = json_object_get(s->entry, "layers");
    const json_t *pixels = json_object_get(files, "preprocessor_config.json");
    const json_t *joint = json_object_get(json_object_get(files, "open_clip_config.json"), "preprocess_cfg");
    assert_string_equal(info->architecture, json_string_value(json_object_get(s->entry, "architecture")));
    if (layers) assert_int_equal(info->layers, json_integer_value(layers));
    assert_int_equal(info->device.backend, MAGPIE_BACKEND_CPU);
    assert_int_equal(info->precision, MAGPIE_PRECISION_F32);
    assert_true(info->threads > 0 && info->parameters > 0 && info->fingerprint[0]);
    bool bilinear = json_integer_value(json_object_get(pixels, "resample")) == 2; /* as PIL numbers them */
    assert_string_equal(info->filter, bilinear ? "bilinear" : "bicubic");
    float mean[3], std[3];
    read_numbers(pixels ? json_object_get(pixels, "image_mean") : json_object_get(joint, "mean"), mean, 3);
    read_numbers(pixels ? json_object_get(pixels, "image_std") : json_object_get(joint, "std"), std, 3);
    assert_memory_equal(info->mean, mean, sizeof mean);
    assert_memory_equal(info->std, std, sizeof std);
}

/* Pictures alone, and in batches of 2, 5 and 9 in shuffled order: the same vectors; in bf16 to the bit. */
static void check_batches(const subject *s, magpie_image_encoder *encoder, double most) {
    const size_t d = s->dimension, picture = s->side * s->side * 3, sizes[] = {2, 5, BATCH};
    uint8_t *batch = malloc(BATCH * picture);
    float *single = calloc(PICTURES * d, sizeof *single), *got = calloc(BATCH * d, sizeof *got);
    assert_true(batch && single && got);
    for (size_t p = 0; p < PICTURES; p++)
        assert_ok(magpie_image_encoder_encode_pixels(encoder, s->pixels + p * picture, 1, single + p * d));
    random_state dice = {11};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        size_t which[BATCH];
        for (size_t i = 0; i < sizes[k]; i++) {
            which[i] = random_below(&dice, PICTURES);
            memcpy(batch + i * picture, s->pixels + which[i] * picture, picture);
        }
        assert_ok(magpie_image_encoder_encode_pixels(encoder, batch, sizes[k], got));
        for (size_t i = 0; i < sizes[k]; i++) {
            double difference = relative_difference(got + i * d, single + which[i] * d, d);
            if (!(difference <= most)) fail_msg("place %zu of %zu: off by %.2g", i, sizes[k], difference);
        }
    }
    free(got);
    free(single);
    free(batch);
}

static void batch_is_single(void **state) {
    subject *s = *state;
    check_batches(s, cpu_of(s), 1e-5);
    for (unsigned threads = 0; threads <= MANY_THREADS; threads += MANY_THREADS) {
        magpie_image_encoder *bf16 = open_bf16(s, threads);
        check_batches(s, bf16, 0);
        magpie_image_encoder_close(bf16);
    }
}

static void same_bytes_again(void **state) {
    subject *s = *state;
    float *once = encode(s, cpu_of(s), PICTURES), *again = encode(s, cpu_of(s), PICTURES);
    assert_memory_equal(once, again, PICTURES * s->dimension * sizeof *once);
    free(again);
    free(once);
}

/* The reference is right, and so cpu is; of large pictures one, since plain loops take their time. */
static void cpu_is_reference(void **state) {
    subject *s = *state;
    size_t pictures = s->side < SIDE ? PICTURES : 1;
    magpie_image_encoder *reference = open_raw(s, MAGPIE_BACKEND_REFERENCE, MAGPIE_PRECISION_F32);
    check_golden(s, reference, pictures);
    float *wanted = encode(s, reference, pictures), *got = encode(s, cpu_of(s), pictures);
    double difference = relative_difference(got, wanted, pictures * s->dimension);
    if (!(difference < F32_TOLERANCE)) fail_msg("off by %.2g", difference);
    free(got);
    free(wanted);
    magpie_image_encoder_close(reference);
}

/* What options say changes when and by whom a vector is computed, and its length, not where it points. */
static void options_agree(void **state) {
    subject *s = *state;
    const size_t d = s->dimension;
    const magpie_encoder_options all[] = {
        {.precision = MAGPIE_PRECISION_F32, .raw = true, .threads = 1},
        {.precision = MAGPIE_PRECISION_F32, .raw = true, .threads = 3},
        {.precision = MAGPIE_PRECISION_F32, .raw = true, .defer_weights = true},
        {.precision = MAGPIE_PRECISION_F32},
    };
    float *wanted = encode(s, cpu_of(s), PICTURES);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        magpie_image_encoder *encoder = open_encoder(s, all[i]);
        float *got = encode(s, encoder, PICTURES);
        for (size_t p = 0; p < PICTURES; p++) {
            float *vector = got + p * d;
            if (!all[i].raw) {
                assert_true(fabs(length(vector, d) - 1) < 1e-5);
                float scale = (float)length(wanted + p * d, d);
                for (size_t j = 0; j < d; j++) vector[j] *= scale;
            }
            double difference = relative_difference(vector, wanted + p * d, d);
            if (!(difference < 1e-5)) fail_msg("options %zu, picture %zu: off by %.2g", i, p, difference);
        }
        /* One picture alone is run by all threads together. */
        float *alone = encode(s, encoder, 1);
        double difference = all[i].raw ? relative_difference(alone, wanted, d) : 0;
        if (!(difference < 1e-5)) fail_msg("options %zu, alone: off by %.2g", i, difference);
        free(alone);
        free(got);
        magpie_image_encoder_close(encoder);
    }
    free(wanted);
}

/* ---- folders that are not a model: the smallest, with one thing changed ---- */

/* `words`, and the name of the file that is to blame. */
static void check_refused(const char *folder, magpie_status wanted, const char *file, const char *words) {
    magpie_image_encoder *encoder;
    magpie_status status = magpie_image_encoder_open(folder, NULL, &encoder);
    if (status == MAGPIE_OK) magpie_image_encoder_close(encoder);
    if (status != wanted || !strstr(magpie_error(), file) || !strstr(magpie_error(), words))
        fail_msg("wanted \"%s\" with \"%s\" and \"%s\", got \"%s\": %s", magpie_status_name(wanted), file,
                 words, magpie_status_name(status), status == MAGPIE_OK ? "" : magpie_error());
}

#define HF_CONFIG(layer, act, sizes)                                                                         \
    "{\"model_type\": \"resnet\", \"layer_type\": \"" layer "\", \"hidden_act\": \"" act                     \
    "\", \"depths\": [2, 2, 2, 2], \"hidden_sizes\": " sizes ", \"embedding_size\": 64}"

static void wrong_configurations(void **state) {
    static const struct {
        const char *config, *words;
        magpie_status status;
    } cases[] = {
        {"{", "config.json:1", MAGPIE_E_CORRUPT},
        {"[]", "not a JSON object", MAGPIE_E_CORRUPT},
        {"{\"model_type\": \"vit\"}", "vit", MAGPIE_E_UNSUPPORTED},
        {"{\"model_type\": \"cifar-resnet\"}", "depth", MAGPIE_E_CORRUPT},
        {"{\"model_type\": \"cifar-resnet\", \"depth\": 21}", "depth", MAGPIE_E_CORRUPT}, /* not 6n + 2 */
        {"{\"model_type\": \"cifar-resnet\", \"depth\": 2}", "depth", MAGPIE_E_CORRUPT},
        {"{\"model_type\": \"cifar-resnet\", \"depth\": -4}", "depth", MAGPIE_E_CORRUPT},
        {"{\"model_type\": \"cifar-resnet\", \"depth\": \"20\"}", "depth", MAGPIE_E_CORRUPT},
        {"{\"model_type\": \"cifar-resnet\", \"depth\": 6000000002}", "depth", MAGPIE_E_CORRUPT},
        {"{\"model_type\": \"torchvision-resnet\"}", "architecture", MAGPIE_E_CORRUPT},
        {"{\"model_type\": \"torchvision-resnet\", \"architecture\": \"resnext50_32x4d\"}", "resnext50_32x4d",
         MAGPIE_E_UNSUPPORTED},
        {HF_CONFIG("squeezed", "relu", "[64, 128, 256, 512]"), "squeezed", MAGPIE_E_UNSUPPORTED},
        {HF_CONFIG("basic", "gelu", "[64, 128, 256, 512]"), "gelu", MAGPIE_E_UNSUPPORTED},
        {HF_CONFIG("basic", "relu", "[64, 128, 256]"), "hidden_sizes", MAGPIE_E_CORRUPT},
        {HF_CONFIG("basic", "relu", "[64, 128, 256, -1]"), "hidden_sizes", MAGPIE_E_CORRUPT},
        {HF_CONFIG("basic", "relu", "64"), "hidden_sizes", MAGPIE_E_CORRUPT},
    };
    const char *folder = ((const subject *)*state)->folder;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *config = json_string(cases[i].config);
        seeded_write_file(folder, "config.json", config);
        json_decref(config);
        check_refused(folder, cases[i].status, "config.json", cases[i].words);
    }
}

/* The weights, but with `line` (NULL: nothing) in place of the manifest's line that begins with `tensor`. */
static void write_changed(const subject *s, const char *tensor, const char *line) {
    json_t *entry = json_deep_copy(s->entry), *manifest = json_object_get(entry, "manifest");
    size_t i = 0;
    while (i < json_array_size(manifest) &&
           strncmp(json_string_value(json_array_get(manifest, i)), tensor, strlen(tensor)) != 0)
        i++;
    assert_in_range(i, 0, json_array_size(manifest) - 1);
    assert_int_equal(
        line ? json_array_set_new(manifest, i, json_string(line)) : json_array_remove(manifest, i), 0);
    seeded_write_weights(s->folder, entry);
    json_decref(entry);
}

static void wrong_weights(void **state) {
    static const struct {
        const char *tensor, *line, *words;
        magpie_status status;
    } cases[] = {
        {"conv1.weight", NULL, "conv1.weight", MAGPIE_E_NOT_FOUND},
        {"layer2.1.conv2.weight", NULL, "layer2.1.conv2.weight", MAGPIE_E_NOT_FOUND},
        {"layer3.2.bn1.*", NULL, "layer3.2.bn1", MAGPIE_E_NOT_FOUND},
        {"layer3.0.conv1.weight", "layer3.0.conv1.weight 64 32 5 5", "layer3.0.conv1.weight",
         MAGPIE_E_MISMATCH},
        {"layer1.0.conv1.weight", "layer1.0.conv1.weight 16 144", "layer1.0.conv1.weight", MAGPIE_E_MISMATCH},
        {"layer1.0.bn1.*", "layer1.0.bn1.* 17", "layer1.0.bn1", MAGPIE_E_MISMATCH},
    };
    const subject *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_changed(s, cases[i].tensor, cases[i].line);
        check_refused(s->folder, cases[i].status, "model.safetensors", cases[i].words);
    }
    write_changed(s, "linear.weight", NULL); /* a classifier is not what an encoder needs */
    magpie_image_encoder *encoder;
    assert_ok(magpie_image_encoder_open(s->folder, NULL, &encoder));
    magpie_image_encoder_close(encoder);

    /* A deeper network than the weights are for. */
    seeded_write_weights(s->folder, s->entry);
    json_t *config = json_string("{\"model_type\": \"cifar-resnet\", \"depth\": 26}");
    seeded_write_file(s->folder, "config.json", config);
    json_decref(config);
    check_refused(s->folder, MAGPIE_E_NOT_FOUND, "model.safetensors", "layer1.3");
}

static void missing_files(void **state) {
    const char *folder = ((const subject *)*state)->folder;
    static const char *const names[] = {"model.safetensors", "config.json"};
    for (size_t i = 0; i < 2; i++) {
        char *path = magpie_path_join(folder, names[i]);
        assert_int_equal(unlink(path), 0);
        free(path);
        check_refused(folder, MAGPIE_E_NOT_FOUND, names[i], "");
    }
}

/* ---- which tests for which model ---- */

enum { BF16 = 1, ITSELF = 2, REFERENCE = 4, OPTIONS = 8, SHARED = 16, TEXTS = 32, GPU = 64, BATCHES = 128 };

/* Golden values for all; what else, as far as time allows. */
static const struct {
    const char *name;
    unsigned tests;
} models[] = {
    {"cifar-resnet20", BF16 | ITSELF | REFERENCE | OPTIONS | GPU | BATCHES},
    {"cifar-resnet32", GPU},
    {"cifar-resnet44", GPU},
    {"cifar-resnet56", BF16 | ITSELF | REFERENCE | GPU},
    {"resnet18", BF16 | ITSELF | REFERENCE | SHARED | GPU},
    {"resnet34", GPU},
    {"resnet50", BF16 | ITSELF | SHARED | GPU},
    {"resnet101", GPU},
    {"resnet152", GPU},
    {"hf-resnet-18", GPU},
    {"hf-resnet-50", BF16 | GPU},
    {"clip-small", BF16 | ITSELF | REFERENCE | OPTIONS | TEXTS | GPU},
    {"clip-RN50", BF16 | ITSELF | TEXTS | GPU},
    {"clip-RN101", TEXTS | GPU},
};

static int run_model(const char *name, unsigned wanted) {
    static const struct {
        unsigned kind; /* 0: for all */
        struct CMUnitTest test;
    } all[] = {
        {0, cmocka_unit_test(describes_itself)},
        {0, cmocka_unit_test(golden_f32)},
        {BF16, cmocka_unit_test(golden_bf16)},
        {GPU, cmocka_unit_test(golden_gpu)},
        {BATCHES, cmocka_unit_test(gpu_batches)},
        {SHARED, cmocka_unit_test(shared_vectors)},
        {ITSELF, cmocka_unit_test(batch_is_single)},
        {ITSELF, cmocka_unit_test(same_bytes_again)},
        {OPTIONS, cmocka_unit_test(options_agree)},
        {REFERENCE, cmocka_unit_test(cpu_is_reference)},
        {TEXTS, cmocka_unit_test(texts)},
    };
    struct CMUnitTest tests[sizeof all / sizeof *all] = {{0}}; /* cmocka passes over the empty ones */
    char names[sizeof all / sizeof *all][64];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if ((all[i].kind & wanted) == all[i].kind) {
            tests[i] = all[i].test;
            snprintf(names[i], sizeof names[i], "%s %s", name, all[i].test.name);
            tests[i].name = names[i];
        }
    }
    chosen = name;
    return cmocka_run_group_tests_name(name, tests, subject_create, subject_free);
}

int main(void) {
    golden = json_load_file(MAGPIE_SOURCE_DIR "/tests/golden/image_features.json", 0, NULL);
    if (!golden) {
        print_error("tests/golden/image_features.json cannot be read\n");
        return 1;
    }
    files = golden_images("pictures");
    int failed = 0;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        failed += run_model(models[i].name, models[i].tests);
    const struct CMUnitTest folders[] = {
        cmocka_unit_test_setup_teardown(missing_files, subject_create, subject_free),
        cmocka_unit_test_setup_teardown(wrong_configurations, subject_create, subject_free),
        cmocka_unit_test_setup_teardown(wrong_weights, subject_create, subject_free),
    };
    chosen = "cifar-resnet20";
    failed += cmocka_run_group_tests_name("wrong folders", folders, NULL, NULL);
    json_decref(files);
    json_decref(golden);
    return failed;
}
