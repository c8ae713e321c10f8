/* test_clip_text.c - CLIP's text side against open_clip's values, against its reference backend, against itself, and
 * under the names of other programs.
 *
 * The model is tiny and made here: its weights are computed from their names (golden/clip_text.py does the same), its
 * vocabulary is golden/clip. */
#include "test_gpu.h"

#include "clip_config.h"
#include "encoders.h"

#include <jansson.h>
#include <math.h>

enum { WIDTH = 64, LAYERS = 3, EMBED = 48, CONTEXT = 77, VOCABULARY = 2514, END = 2513, PATH_BYTES = 256 };

#define GOLDEN MAGPIE_SOURCE_DIR "/tests/golden/"
#define TEXT_CFG                                                                                             \
    "\"text_cfg\": {\"context_length\": 77, \"vocab_size\": 2514, \"width\": 64, \"heads\": 4, \"layers\": " \
    "3"
#define VISION_CFG                                                                                           \
    "\"vision_cfg\": {\"image_size\": 32, \"layers\": [1, 2, 3, 4], \"width\": 8, \"patch_size\": null}"
#define MODEL_CFG(quick) "{\"embed_dim\": 48, \"quick_gelu\": " quick ", " VISION_CFG ", " TEXT_CFG "}}"
#define OPEN_CLIP(quick) "{\"model_cfg\": " MODEL_CFG(quick) ", \"preprocess_cfg\": {}}"
#define HUGGING_FACE                                                                                         \
    "{\"model_type\": \"clip\", \"projection_dim\": 48, \"vision_config\": {\"image_size\": 32}, "           \
    "\"text_config\": "                                                                                      \
    "{\"hidden_size\": 64, \"intermediate_size\": 256, \"num_attention_heads\": 4, \"num_hidden_layers\": "  \
    "3, "                                                                                                    \
    "\"vocab_size\": 2514, \"hidden_act\": \"quick_gelu\"}}"

/* ---- weights ---- */

/* The recipe of ../shared/golden/README.md: element i is made of splitmix64's output i from the hash of the name. */
static float *make_values(const char *name, size_t rank, const size_t *shape) {
    char full[PATH_BYTES];
    size_t n = rank == 2 ? shape[0] * shape[1] : shape[0], size = strlen(name);
    float *values = malloc(n * sizeof *values);
    assert_non_null(values);
    snprintf(full, sizeof full, "clip-tiny.%s", name);
    random_state random = {UINT64_C(0xCBF29CE484222325)};
    for (const char *c = full; *c; c++)
        random.state = (random.state ^ (unsigned char)*c) * UINT64_C(0x100000001B3);
    bool bias = size > 4 && strcmp(name + size - 4, "bias") == 0;
    for (size_t i = 0; i < n; i++) {
        double u = (double)(random_u64(&random) >> 40) / (1 << 24);
        if (rank == 2) u = (2 * u - 1) * sqrt(6.0 / (double)shape[1]);
        values[i] = (float)(rank == 2 ? u : bias ? 0.2 * u - 0.1 : 0.5 + 0.5 * u);
    }
    return values;
}

/* A .safetensors file in the making. */
typedef struct builder {
    magpie_text header, data;
} builder;

static void add(builder *b, const char *name, size_t rank, const size_t *shape, const float *values) {
    size_t n = (rank == 2 ? shape[0] * shape[1] : shape[0]) * sizeof *values, begin = b->data.size;
    magpie_text_append(&b->data, values, n);
    magpie_text_printf(&b->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu", b->header.size ? "," : "{",
                       name, shape[0]);
    if (rank == 2) magpie_text_printf(&b->header, ",%zu", shape[1]);
    magpie_text_printf(&b->header, "],\"data_offsets\":[%zu,%zu]}", begin, begin + n);
}

typedef enum naming { OPENAI, PREFIXED, RENAMED } naming;

/* The tensor that OpenAI calls `name`, as the naming has it. */
static void add_named(builder *b, naming naming, const char *name, const char *renamed, size_t rank,
                      size_t rows, size_t columns) {
    const size_t shape[] = {rows, columns};
    char full[PATH_BYTES];
    float *values = make_values(name, rank, shape);
    snprintf(full, sizeof full, "%s%s", naming == PREFIXED ? "text." : "",
             naming == RENAMED ? renamed : name);
    add(b, full, rank, shape, values);
    free(values);
}

static void add_both(builder *b, naming naming, const char *name, const char *renamed, size_t rank,
                     size_t rows, size_t columns) {
    char weight[2][128], bias[2][128];
    snprintf(weight[0], 128, "%s.weight", name);
    snprintf(weight[1], 128, "%s.weight", renamed);
    snprintf(bias[0], 128, "%s.bias", name);
    snprintf(bias[1], 128, "%s.bias", renamed);
    add_named(b, naming, weight[0], weight[1], rank, rows, columns);
    add_named(b, naming, bias[0], bias[1], 1, rows, 0);
}

/* Hugging Face has query, key and value apart. */
static void add_attention_apart(builder *b, size_t layer) {
    const size_t shape[] = {3 * WIDTH, WIDTH}, part[] = {WIDTH, WIDTH};
    char name[128];
    snprintf(name, sizeof name, "transformer.resblocks.%zu.attn.in_proj_weight", layer);
    float *weight = make_values(name, 2, shape);
    snprintf(name, sizeof name, "transformer.resblocks.%zu.attn.in_proj_bias", layer);
    float *bias = make_values(name, 1, shape);
    for (size_t p = 0; p < 3; p++) {
        snprintf(name, sizeof name, "text_model.encoder.layers.%zu.self_attn.%c_proj.weight", layer,
                 "qkv"[p]);
        add(b, name, 2, part, weight + p * WIDTH * WIDTH);
        snprintf(name, sizeof name, "text_model.encoder.layers.%zu.self_attn.%c_proj.bias", layer, "qkv"[p]);
        add(b, name, 1, part, bias + p * WIDTH);
    }
    free(bias);
    free(weight);
}

static void add_layer(builder *b, naming naming, size_t layer) {
    static const struct {
        const char *name, *renamed;
        size_t rank, rows, columns;
    } parts[] = {
        {"ln_1", "layer_norm1", 1, WIDTH, 0},
        {"ln_2", "layer_norm2", 1, WIDTH, 0},
        {"attn.out_proj", "self_attn.out_proj", 2, WIDTH, WIDTH},
        {"mlp.c_fc", "mlp.fc1", 2, 4 * WIDTH, WIDTH},
        {"mlp.c_proj", "mlp.fc2", 2, WIDTH, 4 * WIDTH},
    };
    char name[100], renamed[100];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(name, sizeof name, "transformer.resblocks.%zu.%s", layer, parts[i].name);
        snprintf(renamed, sizeof renamed, "text_model.encoder.layers.%zu.%s", layer, parts[i].renamed);
        add_both(b, naming, name, renamed, parts[i].rank, parts[i].rows, parts[i].columns);
    }
    if (naming == RENAMED) {
        add_attention_apart(b, layer);
        return;
    }
    snprintf(name, sizeof name, "transformer.resblocks.%zu.attn.in_proj_weight", layer);
    add_named(b, naming, name, NULL, 2, 3 * WIDTH, WIDTH);
    snprintf(name, sizeof name, "transformer.resblocks.%zu.attn.in_proj_bias", layer);
    add_named(b, naming, name, NULL, 1, 3 * WIDTH, 0);
}

/* Hugging Face keeps the projection as [embed, width]. */
static void add_projection(builder *b, naming naming) {
    const size_t shape[] = {WIDTH, EMBED}, turned[] = {EMBED, WIDTH};
    float *values = make_values("text_projection", 2, shape), other[EMBED * WIDTH];
    for (size_t i = 0; i < WIDTH; i++)
        for (size_t j = 0; j < EMBED; j++) other[j * WIDTH + i] = values[i * EMBED + j];
    if (naming == RENAMED)
        add(b, "text_projection.weight", 2, turned, other);
    else
        add(b, naming == PREFIXED ? "text.text_projection" : "text_projection", 2, shape, values);
    free(values);
}

/* ---- folders ---- */

static char folder[64]; /* of the test that is running */

static void write_file(const char *name, const void *bytes, size_t size) {
    char *path = magpie_path_join(folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static void write_text(const char *name, const char *text) { write_file(name, text, strlen(text)); }

static void remove_file(const char *name) {
    char *path = magpie_path_join(folder, name);
    unlink(path);
    free(path);
}

static void copy_golden(const char *name) {
    char path[4096], *text;
    size_t size;
    snprintf(path, sizeof path, GOLDEN "clip/%s", name);
    assert_ok(magpie_file_read(path, 1 << 24, &text, &size));
    write_file(name, text, size);
    free(text);
}

static void write_weights(const char *file, naming naming) {
    builder b = {0};
    for (size_t i = 0; i < LAYERS; i++) add_layer(&b, naming, i);
    add_named(&b, naming, "token_embedding.weight", "text_model.embeddings.token_embedding.weight", 2,
              VOCABULARY, WIDTH);
    add_named(&b, naming, "positional_embedding", "text_model.embeddings.position_embedding.weight", 2,
              CONTEXT, WIDTH);
    add_both(&b, naming, "ln_final", "text_model.final_layer_norm", 1, WIDTH, 0);
    add_projection(&b, naming);
    magpie_text_append(&b.header, "}", 1);
    uint64_t size = b.header.size;
    magpie_text whole = {0};
    magpie_text_append(&whole, &size, sizeof size);
    magpie_text_append(&whole, b.header.data, b.header.size);
    magpie_text_append(&whole, b.data.data, b.data.size);
    assert_ok(magpie_text_status(&whole));
    write_file(file, whole.data, whole.size);
    magpie_text_free(&whole);
    magpie_text_free(&b.header);
    magpie_text_free(&b.data);
}

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/magpie-clip-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    copy_golden("vocab.json");
    copy_golden("merges.txt");
    write_text("open_clip_config.json", OPEN_CLIP("true"));
    write_weights("open_clip_model.safetensors", OPENAI);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"vocab.json",
                                        "merges.txt",
                                        "open_clip_config.json",
                                        "config.json",
                                        "open_clip_model.safetensors",
                                        "model.safetensors",
                                        "tokenizer.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) remove_file(names[i]);
    return rmdir(folder);
}

/* ---- helpers ---- */

static magpie_text_encoder *open_encoder(magpie_backend backend, magpie_precision precision, bool raw) {
    const magpie_encoder_options options = {
        .device = {backend, 0}, .precision = precision, .threads = 2, .raw = raw};
    magpie_text_encoder *encoder;
    assert_ok(magpie_text_encoder_open(folder, &options, &encoder));
    return encoder;
}

static float *encode(magpie_text_encoder *encoder, const magpie_string *texts, size_t n) {
    float *out = calloc(n, EMBED * sizeof *out);
    assert_non_null(out);
    assert_ok(magpie_text_encoder_encode(encoder, texts, n, MAGPIE_PASSAGE, out));
    return out;
}

static double largest_difference(const float *a, const float *b, size_t n) {
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)a[i] - (double)b[i]));
    return largest;
}

static double cosine(const float *a, const float *b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < EMBED; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

enum { MANY = 60, LETTERS = 160 };
static char memory[MANY][LETTERS];

/* Texts of every length, of letters, spaces and what the tokenizer splits at. */
static void make_texts(magpie_string *texts) {
    static const char letters[] = "etaoin srhld 'scum fwgp, b1";
    random_state random = {11};
    for (size_t i = 0; i < MANY; i++) {
        size_t size = i < 3 ? i : random_below(&random, LETTERS);
        for (size_t k = 0; k < size; k++) memory[i][k] = letters[random_below(&random, sizeof letters - 1)];
        texts[i] = (magpie_string){memory[i], size};
    }
}

/* ---- against open_clip ---- */

static void check_golden(const char *activation, magpie_backend backend, magpie_precision precision,
                         double *difference, double *angle) {
    json_t *root = json_load_file(GOLDEN "clip_text.json", 0, NULL),
           *rows = json_object_get(root, activation);
    magpie_text_encoder *encoder = open_encoder(backend, precision, true);
    *difference = 0;
    *angle = 1;
    assert_true(json_array_size(rows) >= 4);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *text = json_object_get(row, "text");
        const magpie_string string = {json_string_value(text), json_string_length(text)};
        float wanted[EMBED], *got = encode(encoder, &string, 1);
        for (size_t k = 0; k < EMBED; k++)
            wanted[k] = (float)json_number_value(json_array_get(json_object_get(row, "vector"), k));
        *difference = fmax(*difference, largest_difference(got, wanted, EMBED));
        *angle = fmin(*angle, cosine(got, wanted));
        free(got);
    }
    magpie_text_encoder_close(encoder);
    json_decref(root);
    print_message("%s, %s, %s: largest difference %.2g, smallest cosine %.7f\n", activation,
                  magpie_backend_name(backend), magpie_precision_name(precision), *difference, *angle);
}

static void golden_gpu(void **state) {
    (void)state;
    need_gpu();
    double difference, angle;
    write_text("open_clip_config.json", OPEN_CLIP("true"));
    check_golden("quick_gelu", tested_gpu(), MAGPIE_PRECISION_F32, &difference, &angle);
    assert_true(difference < 1e-4);
    check_golden("quick_gelu", tested_gpu(), MAGPIE_PRECISION_BF16, &difference, &angle);
    assert_true(angle > 0.999);
}

static void golden(void **state) {
    (void)state;
    static const char *const activations[] = {"quick_gelu", "gelu"};
    static const char *const configs[] = {OPEN_CLIP("true"), OPEN_CLIP("false")};
    double difference, angle;
    for (int i = 0; i < 2; i++) {
        write_text("open_clip_config.json", configs[i]);
        check_golden(activations[i], MAGPIE_BACKEND_REFERENCE, MAGPIE_PRECISION_F32, &difference, &angle);
        assert_true(difference < 1e-4);
        check_golden(activations[i], MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32, &difference, &angle);
        assert_true(difference < 1e-4);
        check_golden(activations[i], MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_BF16, &difference, &angle);
        assert_true(angle > 0.999);
    }
    check_golden("quick_gelu", MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32, &difference, &angle);
    assert_true(difference > 1e-2); /* it does make a difference which of them it is */
}

/* The same weights as open_clip's CustomTextCLIP and as Hugging Face name, part and turn them; the same configuration
 * in a bare config.json, and in Hugging Face's. */
static void other_names(void **state) {
    (void)state;
    magpie_string texts[MANY];
    make_texts(texts);
    magpie_text_encoder *encoder = open_encoder(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32, false);
    float *wanted = encode(encoder, texts, MANY);
    magpie_text_encoder_close(encoder);
    remove_file("open_clip_config.json");
    remove_file("open_clip_model.safetensors");
    static const char *const configs[] = {MODEL_CFG("true"), HUGGING_FACE};
    for (int i = 0; i < 2; i++) {
        write_text("config.json", configs[i]);
        write_weights("model.safetensors", i ? RENAMED : PREFIXED);
        encoder = open_encoder(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32, false);
        float *got = encode(encoder, texts, MANY);
        assert_memory_equal(got, wanted, MANY * EMBED * sizeof *got);
        free(got);
        magpie_text_encoder_close(encoder);
    }
    free(wanted);
}

/* ---- against itself ---- */

static void cpu_is_reference(void **state) {
    (void)state;
    magpie_string texts[MANY];
    make_texts(texts);
    magpie_text_encoder *reference = open_encoder(MAGPIE_BACKEND_REFERENCE, MAGPIE_PRECISION_F32, false);
    float *wanted = encode(reference, texts, MANY);
    magpie_text_encoder_close(reference);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        magpie_text_encoder *cpu =
            open_encoder(MAGPIE_BACKEND_CPU, bf16 ? MAGPIE_PRECISION_BF16 : MAGPIE_PRECISION_F32, false);
        float *got = encode(cpu, texts, MANY), *again = encode(cpu, texts, MANY);
        double difference = largest_difference(got, wanted, MANY * EMBED), angle = 1;
        for (size_t i = 0; i < MANY; i++) angle = fmin(angle, cosine(got + i * EMBED, wanted + i * EMBED));
        print_message("cpu, %s, against reference: largest difference %.2g, smallest cosine %.7f\n",
                      bf16 ? "bf16" : "f32", difference, angle);
        assert_memory_equal(got, again, MANY * EMBED * sizeof *got);
        assert_true(bf16 ? angle > 0.999 : difference < 1e-5);
        free(again);
        free(got);
        magpie_text_encoder_close(cpu);
    }
    free(wanted);
}

static void batch_is_single(void **state) {
    (void)state;
    magpie_string texts[MANY];
    make_texts(texts);
    magpie_text_encoder *encoder = open_encoder(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32, false);
    float *batch = encode(encoder, texts, MANY);
    double largest = 0;
    for (size_t i = 0; i < MANY; i++) {
        float *single = encode(encoder, &texts[i], 1);
        largest = fmax(largest, largest_difference(single, batch + i * EMBED, EMBED));
        assert_true(fabs(cosine(single, single) - 1) < 1e-6);
        double squares = 0;
        for (size_t k = 0; k < EMBED; k++) squares += (double)single[k] * (double)single[k];
        assert_true(fabs(squares - 1) < 1e-5);
        free(single);
    }
    print_message("a batch against single texts: largest difference %.2g\n", largest);
    assert_true(largest < 1e-5);
    free(batch);
    magpie_text_encoder_close(encoder);
}

/* Long texts are cut with the end kept; a text that has the end inside of it is what stands before it. */
static void ends(void **state) {
    (void)state;
    magpie_text_encoder *encoder = open_encoder(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32, false);
    int32_t ids[CONTEXT];
    size_t count;
    memset(memory[0], 'a', LETTERS);
    for (size_t i = 1; i < LETTERS; i += 2) memory[0][i] = ' ';
    assert_ok(magpie_text_encoder_tokenize(encoder, (magpie_string){memory[0], LETTERS}, MAGPIE_QUERY, ids,
                                           &count));
    assert_int_equal(count, CONTEXT);
    assert_int_equal(ids[CONTEXT - 1], END);
    const magpie_string texts[] = {string_of("a cat"), string_of("a cat<|endoftext|>and a dog")};
    float *vectors = encode(encoder, texts, 2);
    assert_true(largest_difference(vectors, vectors + EMBED, EMBED) < 1e-6);
    free(vectors);
    magpie_text_encoder_close(encoder);
}

/* ---- configuration ---- */

static void info_and_config(void **state) {
    (void)state;
    magpie_text_encoder *encoder = open_encoder(MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32, false);
    const magpie_text_encoder_info *info = magpie_text_encoder_get_info(encoder);
    assert_string_equal(info->architecture, "clip");
    assert_string_equal(info->pooling, "eot");
    assert_int_equal(info->dimension, EMBED);
    assert_int_equal(info->layers, LAYERS);
    assert_int_equal(info->intermediate, 4 * WIDTH);
    assert_int_equal(info->max_tokens, CONTEXT);
    clip_config config;
    safetensors *file;
    char fingerprint[MAGPIE_FINGERPRINT_MAX];
    assert_ok(clip_config_read(folder, &config));
    assert_ok(clip_weights_open(folder, &file));
    snprintf(fingerprint, sizeof fingerprint, "%016llx", (unsigned long long)clip_fingerprint(file, &config));
    assert_string_equal(info->fingerprint, fingerprint);
    assert_true(config.vision.is_resnet && config.quick_gelu);
    assert_int_equal(config.vision.layers[3], 4);
    assert_int_equal(config.vision.heads, 4); /* 8 x 32 / 64 */
    assert_int_equal(config.vision.image_size, 32);
    config.quick_gelu = false;
    assert_true(clip_fingerprint(file, &config) != strtoull(fingerprint, NULL, 16));
    safetensors_close(file);
    magpie_text_encoder_close(encoder);
}

static void refused(magpie_status wanted, const char *words) {
    magpie_text_encoder *encoder;
    magpie_status status = magpie_text_encoder_open(folder, NULL, &encoder);
    if (status == MAGPIE_OK) magpie_text_encoder_close(encoder);
    if (status != wanted || !strstr(magpie_error(), words))
        fail_msg("wanted \"%s\" with \"%s\", got \"%s\": %s", magpie_status_name(wanted), words,
                 magpie_status_name(status), magpie_error());
}

static void wrong_folders(void **state) {
    (void)state;
    static const struct {
        const char *config, *words;
        magpie_status status;
    } configs[] = {
        {"{", "open_clip_config.json:1", MAGPIE_E_CORRUPT},
        {"{}", "model_cfg", MAGPIE_E_CORRUPT},
        {"{\"model_cfg\": {\"embed_dim\": 48}}", "text_cfg", MAGPIE_E_CORRUPT},
        {"{\"model_cfg\": {\"text_cfg\": {}, \"vision_cfg\": {}}}", "embed_dim", MAGPIE_E_CORRUPT},
        {"{\"model_cfg\": {\"embed_dim\": 48, \"multimodal_cfg\": {}}}", "CoCa", MAGPIE_E_UNSUPPORTED},
        {"{\"model_cfg\": {\"embed_dim\": 48, " VISION_CFG ", " TEXT_CFG ", \"hf_model_name\": \"x\"}}}",
         "hf_model_name", MAGPIE_E_UNSUPPORTED},
        {"{\"model_cfg\": {\"embed_dim\": 48, " VISION_CFG ", " TEXT_CFG ", \"no_causal_mask\": true}}}",
         "no_causal_mask", MAGPIE_E_UNSUPPORTED},
        {"{\"model_cfg\": {\"embed_dim\": 48, " VISION_CFG ", " TEXT_CFG ", \"pool_type\": \"last\"}}}",
         "pool_type", MAGPIE_E_UNSUPPORTED},
        {"{\"model_cfg\": {\"embed_dim\": 48, " VISION_CFG ", \"text_cfg\": {\"heads\": 7}}}", "multiple",
         MAGPIE_E_CORRUPT},
        {"{\"model_cfg\": {\"embed_dim\": 48, " VISION_CFG ", " TEXT_CFG ", \"mlp_ratio\": 1e300}}}",
         "mlp_ratio", MAGPIE_E_CORRUPT},
        {"{\"model_cfg\": {\"embed_dim\": 48, \"vision_cfg\": {\"layers\": [1, 2]}, " TEXT_CFG "}}}",
         "layers", MAGPIE_E_CORRUPT},
        {"{\"model_cfg\": {\"embed_dim\": 47, " VISION_CFG ", " TEXT_CFG "}}}", "text_projection",
         MAGPIE_E_MISMATCH},
        {"{\"model_cfg\": {\"embed_dim\": 48, " VISION_CFG ", \"text_cfg\": {\"vocab_size\": 99}}}",
         "2514 tokens", MAGPIE_E_CORRUPT},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        write_text("open_clip_config.json", configs[i].config);
        refused(configs[i].status, configs[i].words);
    }
    write_text("open_clip_config.json", OPEN_CLIP("true"));
    remove_file("merges.txt");
    refused(MAGPIE_E_NOT_FOUND, "merges.txt");
    remove_file("vocab.json");
    refused(MAGPIE_E_NOT_FOUND, "vocab.json");
    remove_file("open_clip_model.safetensors");
    refused(MAGPIE_E_NOT_FOUND, "model.safetensors");
    remove_file("open_clip_config.json");
    refused(MAGPIE_E_NOT_FOUND, "config.json");
    write_text("config.json", "{\"model_type\": \"resnet\"}");
    refused(MAGPIE_E_UNSUPPORTED, "no text");
}

static void senses(void **state) {
    (void)state;
    static const struct {
        const char *config;
        bool text, image;
    } known[] = {
        {"{\"model_type\": \"bert\"}", true, false},
        {"{\"hidden_size\": 384}", true, false},
        {MODEL_CFG("true"), true, true},
        {HUGGING_FACE, true, true},
        {"{\"model_type\": \"resnet\"}", false, true},
        {"{\"model_type\": \"cifar-resnet\"}", false, true},
        {"{\"architecture\": \"resnet50\", \"num_classes\": 1000}", false, true},
    };
    magpie_model_senses got;
    assert_ok(magpie_model_get_senses(folder, &got));
    assert_true(got.text && got.image);
    remove_file("open_clip_config.json");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        write_text("config.json", known[i].config);
        assert_ok(magpie_model_get_senses(folder, &got));
        assert_true(got.text == known[i].text && got.image == known[i].image);
    }
    static const char *const unknown[][2] = {{"{\"model_type\": \"whisper\"}", "whisper"},
                                             {"{\"architecture\": \"resnet50d\"}", "resnet50d"},
                                             {"{}", "model_type"}};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        write_text("config.json", unknown[i][0]);
        assert_int_equal(magpie_model_get_senses(folder, &got), MAGPIE_E_UNSUPPORTED);
        assert_non_null(strstr(magpie_error(), unknown[i][1]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(golden, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(golden_gpu, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(other_names, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(cpu_is_reference, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(batch_is_single, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(ends, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(info_and_config, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(wrong_folders, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(senses, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
