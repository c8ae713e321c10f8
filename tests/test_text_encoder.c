/* test_text_encoder.c - the text encoder against the framework's values, against its own reference backend, and
 * against itself: a batch is what its texts are. */
#include "test_gpu.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>

static magpie_text_encoder *open_encoder(magpie_backend backend, magpie_precision precision) {
    const magpie_encoder_options options = {.device = {backend, 0}, .precision = precision};
    magpie_text_encoder *encoder;
    const char *model = model_directory();
    if (!model) skip_loudly("no text model; ./test.sh fetches it");
    assert_ok(magpie_text_encoder_open(model, &options, &encoder));
    return encoder;
}

typedef struct golden {
    json_t *root; /* owns the texts */
    magpie_string *texts;
    size_t n;
} golden;

static golden read_golden(const char *path) {
    golden g = {.root = json_load_file(path, JSON_ALLOW_NUL, NULL)};
    assert_true(json_is_array(g.root));
    g.n = json_array_size(g.root);
    g.texts = calloc(g.n, sizeof *g.texts);
    assert_non_null(g.texts);
    for (size_t i = 0; i < g.n; i++) {
        const json_t *text = json_object_get(json_array_get(g.root, i), "text");
        g.texts[i] = (magpie_string){json_string_value(text), json_string_length(text)};
    }
    return g;
}

static void golden_free(golden *g) {
    free(g->texts);
    json_decref(g->root);
}

static float *encode(magpie_text_encoder *encoder, const magpie_string *texts, size_t n) {
    float *out = calloc(n, magpie_text_encoder_get_info(encoder)->dimension * sizeof *out);
    assert_non_null(out);
    assert_ok(magpie_text_encoder_encode(encoder, texts, n, MAGPIE_PASSAGE, out));
    return out;
}

static double largest_difference(const float *a, const float *b, size_t n) {
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)a[i] - (double)b[i]));
    return largest;
}

static double smallest_cosine(const float *a, const float *b, size_t n, size_t dimension) {
    double smallest = 1;
    for (size_t t = 0; t < n; t++) {
        double dot = 0, aa = 0, bb = 0;
        for (size_t j = t * dimension; j < (t + 1) * dimension; j++) {
            dot += (double)a[j] * (double)b[j];
            aa += (double)a[j] * (double)a[j];
            bb += (double)b[j] * (double)b[j];
        }
        smallest = fmin(smallest, dot / sqrt(aa * bb));
    }
    return smallest;
}

/* ../shared/golden: 64 texts, whole vectors. */
static void check_shared_golden(magpie_backend backend, magpie_precision precision) {
    char *texts = shared_golden("text.json"), *vectors = shared_golden("text_embeddings.emb.npy");
    if (!texts || !vectors) {
        free(texts);
        free(vectors);
        skip_loudly("no ../shared/golden beside the repository");
    }
    magpie_text_encoder *encoder = open_encoder(backend, precision);
    golden g = read_golden(texts);
    size_t d = magpie_text_encoder_get_info(encoder)->dimension;
    float *wanted = read_npy(vectors, g.n * d), *got = encode(encoder, g.texts, g.n);
    double difference = largest_difference(got, wanted, g.n * d),
           cosine = smallest_cosine(got, wanted, g.n, d);
    print_message("%s in %s against %zu golden vectors: largest difference %.2g, smallest cosine %.7f\n",
                  magpie_backend_name(backend), magpie_precision_name(precision), g.n, difference, cosine);
    if (precision == MAGPIE_PRECISION_F32) assert_true(difference < 1e-4);
    assert_true(cosine > 0.9995);
    free(got);
    free(wanted);
    golden_free(&g);
    magpie_text_encoder_close(encoder);
    free(texts);
    free(vectors);
}

static void shared_golden_f32(void **state) {
    (void)state;
    check_shared_golden(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32);
}

static void shared_golden_bf16(void **state) {
    (void)state;
    check_shared_golden(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_BF16);
}

static void shared_golden_gpu(void **state) {
    (void)state;
    need_gpu();
    check_shared_golden(tested_gpu(), MAGPIE_PRECISION_F32);
    check_shared_golden(tested_gpu(), MAGPIE_PRECISION_BF16);
    check_shared_golden(tested_gpu(), MAGPIE_PRECISION_F16);
}

/* Our own values: ten texts, the first coordinates. Every backend and precision. */
static void check_own_golden(magpie_backend backend, magpie_precision precision, double tolerance) {
    magpie_text_encoder *encoder = open_encoder(backend, precision);
    golden g = read_golden(MAGPIE_SOURCE_DIR "/tests/golden/text_embeddings.json");
    size_t d = magpie_text_encoder_get_info(encoder)->dimension;
    float *got = encode(encoder, g.texts, g.n);
    for (size_t t = 0; t < g.n; t++) {
        const json_t *wanted = json_object_get(json_array_get(g.root, t), "vector");
        double squares = 0;
        for (size_t j = 0; j < d; j++) squares += (double)got[t * d + j] * (double)got[t * d + j];
        assert_true(fabs(squares - 1) < 1e-5);
        for (size_t j = 0; j < json_array_size(wanted); j++)
            if (!(fabs(json_number_value(json_array_get(wanted, j)) - (double)got[t * d + j]) < tolerance))
                fail_msg("text %zu, coordinate %zu: %.7f instead of %.7f", t, j, (double)got[t * d + j],
                         json_number_value(json_array_get(wanted, j)));
    }
    free(got);
    golden_free(&g);
    magpie_text_encoder_close(encoder);
}

static void own_golden(void **state) {
    (void)state;
    check_own_golden(MAGPIE_BACKEND_REFERENCE, MAGPIE_PRECISION_F32, 2e-6);
    check_own_golden(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32, 1e-5);
    check_own_golden(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_BF16, 1e-2);
}

static void own_golden_gpu(void **state) {
    (void)state;
    need_gpu();
    check_own_golden(tested_gpu(), MAGPIE_PRECISION_F32, 1e-5);
    check_own_golden(tested_gpu(), MAGPIE_PRECISION_BF16, 1e-2);
    check_own_golden(tested_gpu(), MAGPIE_PRECISION_F16, 2e-3);
}

/* Texts of all lengths out of a small vocabulary, the same each time. */
static void make_texts(magpie_string *texts, char (*memory)[2048], size_t n) {
    static const char *const words[] = {"red",  "kettle", "of", "copper", "magpie", "nest",    "and",
                                        "blue", "shoes",  "42", "silent", "owl",    "Łódź",    "naïve",
                                        "the",  "river",  "-",  "chair",  "xyzzyq", "antique", "Ω"};
    random_state dice = {7};
    for (size_t i = 0; i < n; i++) {
        size_t count = i % 5 == 4 ? random_u64(&dice) % 200 : random_u64(&dice) % 20, size = 0;
        for (size_t w = 0; w < count; w++)
            size += (size_t)snprintf(memory[i] + size, sizeof memory[i] - size, "%s ",
                                     words[random_u64(&dice) % (sizeof words / sizeof *words)]);
        texts[i] = (magpie_string){memory[i], size};
    }
}

enum { TEXTS = 64 };
static char memory[TEXTS][2048];

/* Every text alone, and in batches of 1 to 64 in shuffled order, by teams of threads and without: the same vector. */
static void batch_is_single(void **state) {
    (void)state;
    const magpie_encoder_options alone = {.threads = 3, .no_teams = true};
    magpie_text_encoder *encoder = open_encoder(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32), *lone = NULL;
    assert_ok(magpie_text_encoder_open(model_directory(), &alone, &lone));
    size_t d = magpie_text_encoder_get_info(encoder)->dimension, order[TEXTS];
    magpie_string texts[TEXTS], shuffled[TEXTS];
    make_texts(texts, memory, TEXTS);
    float *single = calloc(TEXTS * d, sizeof *single);
    assert_non_null(single);
    for (size_t i = 0; i < TEXTS; i++) {
        assert_ok(magpie_text_encoder_encode(encoder, &texts[i], 1, MAGPIE_PASSAGE, single + i * d));
        order[i] = i;
    }
    const size_t sizes[] = {1, 2, 7, 64, 2, 7, 64};
    random_state dice = {11};
    double largest = 0;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t i = TEXTS - 1; i > 0; i--) { /* Fisher-Yates */
            size_t j = random_below(&dice, i + 1), swapped = order[i];
            order[i] = order[j];
            order[j] = swapped;
        }
        for (size_t i = 0; i < TEXTS; i++) shuffled[i] = texts[order[i]];
        for (size_t first = 0; first < TEXTS; first += sizes[s]) {
            size_t n = TEXTS - first < sizes[s] ? TEXTS - first : sizes[s];
            float *batch = encode(s < 4 ? lone : encoder, shuffled + first, n);
            for (size_t i = 0; i < n; i++)
                largest = fmax(largest, largest_difference(batch + i * d, single + order[first + i] * d, d));
            free(batch);
        }
    }
    print_message("batches against single texts: largest difference %.2g\n", largest);
    assert_true(largest < 1e-5);
    free(single);
    magpie_text_encoder_close(lone);
    magpie_text_encoder_close(encoder);
}

/* The cpu backend is the reference backend, on texts of every length; and the same call gives the same bytes. */
static void cpu_is_reference(void **state) {
    (void)state;
    enum { N = 10 };
    magpie_string texts[N];
    make_texts(texts, memory, N);
    magpie_text_encoder *reference = open_encoder(MAGPIE_BACKEND_REFERENCE, MAGPIE_PRECISION_F32);
    size_t d = magpie_text_encoder_get_info(reference)->dimension;
    float *wanted = encode(reference, texts, N);
    magpie_text_encoder_close(reference);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        magpie_text_encoder *cpu =
            open_encoder(MAGPIE_BACKEND_CPU, bf16 ? MAGPIE_PRECISION_BF16 : MAGPIE_PRECISION_F32);
        float *got = encode(cpu, texts, N), *again = encode(cpu, texts, N);
        assert_memory_equal(got, again, N * d * sizeof *got);
        if (!bf16) assert_true(largest_difference(got, wanted, N * d) < 1e-5);
        assert_true(smallest_cosine(got, wanted, N, d) > (bf16 ? 0.9995 : 0.999999));
        free(again);
        free(got);
        magpie_text_encoder_close(cpu);
    }
    free(wanted);
}

/* A prefix is the same as writing it into the text; long texts are cut; broken UTF-8 names its text. */
static void prefixes_and_limits(void **state) {
    (void)state;
    const char *model = model_directory();
    if (!model) skip_loudly("no text model; ./test.sh fetches it");
    const magpie_encoder_options options = {.query_prefix = "query: ", .threads = 1};
    magpie_text_encoder *encoder;
    assert_ok(magpie_text_encoder_open(model, &options, &encoder));
    size_t d = magpie_text_encoder_get_info(encoder)->dimension, count;
    const magpie_string texts[] = {{"copper kettle", 13}, {"query: copper kettle", 20}};
    float *vectors = calloc(2 * d, sizeof *vectors);
    assert_non_null(vectors);
    assert_ok(magpie_text_encoder_encode(encoder, &texts[0], 1, MAGPIE_QUERY, vectors));
    assert_ok(magpie_text_encoder_encode(encoder, &texts[1], 1, MAGPIE_PASSAGE, vectors + d));
    assert_memory_equal(vectors, vectors + d, d * sizeof *vectors);
    free(vectors);

    int32_t ids[256];
    assert_int_equal(magpie_text_encoder_get_info(encoder)->max_tokens, 256);
    memset(memory[0], 'a', sizeof memory[0]);
    for (size_t i = 1; i < sizeof memory[0]; i += 2) memory[0][i] = ' ';
    assert_ok(magpie_text_encoder_tokenize(encoder, (magpie_string){memory[0], sizeof memory[0]},
                                           MAGPIE_PASSAGE, ids, &count));
    assert_int_equal(count, 256);
    assert_int_equal(ids[255], 102);

    const magpie_string broken[] = {{"fine", 4}, {"bro\xffken", 7}};
    float out[2 * 384];
    assert_int_equal(magpie_text_encoder_encode(encoder, broken, 2, MAGPIE_PASSAGE, out), MAGPIE_E_INPUT);
    assert_non_null(strstr(magpie_error(), "text 1"));
    magpie_text_encoder_close(encoder);
}

/* ---- tokens ---- */

/* More than a block: short ones, and the longest that there are. */
enum { MANY = 1030, MANY_TOKENS = MANY * 8 + TEXTS * 256 };

typedef struct tokens {
    int32_t ids[MANY_TOKENS];
    size_t starts[MANY + 1];
} tokens;

static void tokenize_all(magpie_text_encoder *encoder, const magpie_string *texts, size_t n, tokens *out) {
    out->starts[0] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t count, first = out->starts[i];
        assert_true(first + 256 <= MANY_TOKENS);
        assert_ok(magpie_text_encoder_tokenize(encoder, texts[i], MAGPIE_QUERY, out->ids + first, &count));
        out->starts[i + 1] = first + count;
    }
}

/* What was tokenized has the vectors of its texts, to the bit, wherever it begins in the caller's array. */
static void tokens_are_texts(void **state) {
    (void)state;
    static tokens t;
    static magpie_string texts[MANY];
    magpie_text_encoder *encoder = open_encoder(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_AUTO);
    size_t d = magpie_text_encoder_get_info(encoder)->dimension;
    make_texts(texts, memory, TEXTS);
    for (size_t i = TEXTS; i < MANY; i++) texts[i] = i % 2 ? string_of("a nest") : string_of("");
    tokenize_all(encoder, texts, MANY, &t);
    float *wanted = calloc(MANY * d, sizeof *wanted), *got = calloc(MANY * d, sizeof *got);
    assert_true(wanted && got);
    const size_t ranges[][2] = {{0, MANY}, {3, 4}, {5, 12}};
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
        size_t first = ranges[r][0], n = ranges[r][1] - first;
        assert_ok(magpie_text_encoder_encode(encoder, texts + first, n, MAGPIE_QUERY, wanted));
        assert_ok(magpie_text_encoder_encode_tokens(encoder, t.ids, t.starts + first, n, got));
        assert_memory_equal(got, wanted, n * d * sizeof *got);
    }
    free(wanted);
    free(got);
    magpie_text_encoder_close(encoder);
}

static void wrong_tokens(void **state) {
    (void)state;
    magpie_text_encoder *encoder = open_encoder(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_AUTO);
    const magpie_text_encoder_info *info = magpie_text_encoder_get_info(encoder);
    int32_t ids[3 + 257] = {101, 102, 101};
    float out[2 * 384];
    const struct {
        size_t count;
        int32_t last;
        const char *words; /* NULL: they are fine */
    } cases[] = {
        {1, 102, NULL},
        {256, 102, NULL},
        {1, (int32_t)info->vocabulary - 1, NULL},
        {0, 0, "text 1: it has no tokens"},
        {257, 102, "text 1: 257 tokens; the model takes 256"},
        {2, -1, "text 1, token 1: -1 is"},
        {2, (int32_t)info->vocabulary, "text 1, token 1: 30522 is"},
        {2, INT32_MAX, "token 1: 2147483647 is"},
    };
    assert_int_equal(info->max_tokens, 256);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t starts[] = {0, 2, 2 + cases[i].count};
        for (size_t k = 2; k < starts[2]; k++) ids[k] = k + 1 == starts[2] ? cases[i].last : 101;
        magpie_status status = magpie_text_encoder_encode_tokens(encoder, ids, starts, 2, out);
        assert_int_equal(status, cases[i].words ? MAGPIE_E_INPUT : MAGPIE_OK);
        if (cases[i].words && !strstr(magpie_error(), cases[i].words)) fail_msg("%s", magpie_error());
    }
    magpie_text_encoder_close(encoder);
}

typedef struct tokenizing {
    magpie_text_encoder *encoder;
    tokens found;
} tokenizing;

static void *tokenize_thread(void *context) {
    tokenizing *t = context;
    magpie_string texts[TEXTS];
    for (size_t i = 0; i < TEXTS; i++) texts[i] = string_of(memory[i]);
    tokenize_all(t->encoder, texts, TEXTS, &t->found);
    return NULL;
}

/* Tokenizing needs nobody's turn: two threads do it while a third encodes. */
static void tokenizing_beside_encoding(void **state) {
    (void)state;
    static tokenizing threads[2];
    pthread_t started[2];
    magpie_string texts[TEXTS];
    magpie_text_encoder *encoder = open_encoder(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_AUTO);
    memset(memory, 0, sizeof memory);
    make_texts(texts, memory, TEXTS);
    for (size_t i = 0; i < 2; i++) {
        threads[i].encoder = encoder;
        assert_int_equal(pthread_create(&started[i], NULL, tokenize_thread, &threads[i]), 0);
    }
    float *vectors = encode(encoder, texts, TEXTS);
    for (size_t i = 0; i < 2; i++) assert_int_equal(pthread_join(started[i], NULL), 0);
    static tokens wanted;
    tokenize_all(encoder, texts, TEXTS, &wanted);
    for (size_t i = 0; i < 2; i++) {
        assert_memory_equal(threads[i].found.starts, wanted.starts, (TEXTS + 1) * sizeof *wanted.starts);
        assert_memory_equal(threads[i].found.ids, wanted.ids, wanted.starts[TEXTS] * sizeof *wanted.ids);
    }
    free(vectors);
    magpie_text_encoder_close(encoder);
}

/* ---- folders that are not a model ---- */

static void write_file(const char *folder, const char *name, const void *bytes, size_t size) {
    char *path = magpie_path_join(folder, name);
    magpie_atomic_file *file;
    assert_ok(magpie_atomic_open(path, &file));
    assert_int_equal(fwrite(bytes, 1, size, magpie_atomic_stream(file)), size);
    assert_ok(magpie_atomic_commit(file));
    free(path);
}

static void link_file(const char *folder, const char *name) {
    char *to = magpie_path_join(folder, name), *from = magpie_path_join(model_directory(), name);
    assert_int_equal(symlink(from, to), 0);
    free(from);
    free(to);
}

static void refused(const char *folder, magpie_status wanted, const char *words) {
    magpie_text_encoder *encoder;
    magpie_status status = magpie_text_encoder_open(folder, NULL, &encoder);
    if (status == MAGPIE_OK) magpie_text_encoder_close(encoder);
    if (status != wanted || !strstr(magpie_error(), words))
        fail_msg("wanted \"%s\" with \"%s\", got \"%s\": %s", magpie_status_name(wanted), words,
                 magpie_status_name(status), magpie_error());
}

#define CONFIG(hidden, heads, act)                                                                           \
    "{\"model_type\": \"bert\", \"hidden_act\": \"" act "\", \"hidden_size\": " hidden                       \
    ", \"num_attention_heads\": " heads ", \"num_hidden_layers\": 6, \"intermediate_size\": 1536, "          \
    "\"vocab_size\": 30522, \"max_position_embeddings\": 512}"

static void wrong_folders(void **state) {
    (void)state;
    if (!model_directory()) skip_loudly("no text model; ./test.sh fetches it");
    char folder[] = "/tmp/magpie-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    refused(folder, MAGPIE_E_NOT_FOUND, "config.json");
    static const struct {
        const char *config, *words;
        magpie_status status;
    } configs[] = {
        {"{", "config.json:1", MAGPIE_E_CORRUPT},
        {"[]", "not a JSON object", MAGPIE_E_CORRUPT},
        {"{\"model_type\": \"roberta\"}", "roberta", MAGPIE_E_UNSUPPORTED},
        {CONFIG("384", "12", "relu"), "relu", MAGPIE_E_UNSUPPORTED},
        {CONFIG("384", "7", "gelu"), "multiple", MAGPIE_E_CORRUPT},
        {CONFIG("-1", "12", "gelu"), "hidden_size", MAGPIE_E_CORRUPT},
        {CONFIG("1e9", "12", "gelu"), "hidden_size", MAGPIE_E_CORRUPT},
        {CONFIG("384", "12", "gelu"), "model.safetensors", MAGPIE_E_NOT_FOUND},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        write_file(folder, "config.json", configs[i].config, strlen(configs[i].config));
        refused(folder, configs[i].status, configs[i].words);
    }
    write_file(folder, "model.safetensors", "\x20\0\0\0\0\0\0\0{}", 10);
    refused(folder, MAGPIE_E_CORRUPT, "model.safetensors");
    char *path = magpie_path_join(folder, "model.safetensors");
    assert_int_equal(unlink(path), 0);
    free(path);
    link_file(folder, "model.safetensors");
    refused(folder, MAGPIE_E_NOT_FOUND, "vocab");
    link_file(folder, "vocab.txt");
    link_file(folder, "tokenizer_config.json");
    magpie_text_encoder *encoder;
    assert_ok(magpie_text_encoder_open(folder, NULL, &encoder)); /* what is optional is not missed */
    magpie_text_encoder_close(encoder);
    const char *other = CONFIG("768", "12", "gelu"); /* a config of another model */
    write_file(folder, "config.json", other, strlen(other));
    refused(folder, MAGPIE_E_MISMATCH, "embeddings.word_embeddings.weight");
    static const char *const names[] = {"config.json", "model.safetensors", "vocab.txt",
                                        "tokenizer_config.json"};
    for (size_t i = 0; i < 4; i++) {
        path = magpie_path_join(folder, names[i]);
        assert_int_equal(unlink(path), 0);
        free(path);
    }
    assert_int_equal(rmdir(folder), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_golden),
        cmocka_unit_test(shared_golden_f32),
        cmocka_unit_test(shared_golden_bf16),
        cmocka_unit_test(own_golden_gpu),
        cmocka_unit_test(shared_golden_gpu),
        cmocka_unit_test(batch_is_single),
        cmocka_unit_test(cpu_is_reference),
        cmocka_unit_test(prefixes_and_limits),
        cmocka_unit_test(tokens_are_texts),
        cmocka_unit_test(wrong_tokens),
        cmocka_unit_test(tokenizing_beside_encoding),
        cmocka_unit_test(wrong_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
