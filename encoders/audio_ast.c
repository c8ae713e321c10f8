/* audio_ast.c - the Audio Spectrogram Transformer (Gong et al. 2021) as transformers' ASTModel has it: the
 * spectrogram cut into overlapping patches, each a row, two rows of the model's own in front of them, and
 * the layers of prenorm.c. The vector is the mean of these two rows, after the last norm (transformers'
 * pooler_output).
 *
 * Patches are numbered frequency first, time second, and a patch's values are, too. The convolution that
 * embeds them is a matrix product, for which they are laid out side by side: 2.5 values for one, at the
 * usual stride. */
#include "audio_architecture.h"
#include "prenorm.h"

#include <stdlib.h>
#include <string.h>

enum { WIDTH_MAX = 16384, LAYERS_MAX = 1024, PATCH_MAX = 256, ROWS_MAX = 1 << 16, OWN_ROWS = 2 };

typedef struct audio_ast_model {
    audio_model base;
    const safetensors *file;
    const char *prefix; /* of the tensors' names */
    size_t patch, stride_frequency, stride_time, bands, frames;
    size_t rows; /* patches and our own */
    prenorm_config layers;
    const ops_table *ops; /* NULL until the weights are packed */
    ops_device *device;
    ops_linear *embedding;
    float *positions; /* [rows, width]: what is added to the embedded patches; with our own rows in it */
    prenorm *network;
} audio_ast_model;

struct audio_lane {
    audio_ast_model *model;
    ops_lane *lane;
    prenorm_lane *layers;
    float *values;                 /* [windows, rows, patch x patch]; 0 for our own */
    ops_tensor patches, positions; /* of the same rows */
    size_t *starts, *own,
        *pairs; /* [windows + 1], [windows, OWN_ROWS], [windows + 1]: where windows begin, which rows
                                    * are our own, and where those of a window begin among them; one block */
};

/* ---- opening ---- */

static magpie_status read_config(const model_json *config, audio_ast_model *m) {
    const char *activation = "gelu";
    size_t bands = 128, frames = 1024;
    prenorm_config *c = &m->layers;
    const struct {
        const char *key;
        size_t least, most, *out;
    } sizes[] = {{"hidden_size", 1, WIDTH_MAX, &c->width},
                 {"num_hidden_layers", 1, LAYERS_MAX, &c->layers},
                 {"num_attention_heads", 1, WIDTH_MAX, &c->heads},
                 {"intermediate_size", 1, 4 * WIDTH_MAX, &c->intermediate},
                 {"patch_size", 1, PATCH_MAX, &m->patch},
                 {"frequency_stride", 1, PATCH_MAX, &m->stride_frequency},
                 {"time_stride", 1, PATCH_MAX, &m->stride_time},
                 {"num_mel_bins", 1, SPECTROGRAM_BANDS_MAX, &bands},
                 {"max_length", 1, SPECTROGRAM_FRAMES_MAX, &frames}};
    magpie_status status = model_json_string(config, "hidden_act", "gelu", &activation);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && status == MAGPIE_OK; i++)
        status = model_json_size(config, sizes[i].key, false, sizes[i].least, sizes[i].most, sizes[i].out);
    if (status != MAGPIE_OK) return status;
    const json_t *epsilon = json_object_get(config->root, "layer_norm_eps");
    const json_t *bias = json_object_get(config->root, "qkv_bias");
    c->epsilon = epsilon ? (float)json_number_value(epsilon) : 1e-12f;
    if (!(c->epsilon > 0 && c->epsilon < 1) || c->width % c->heads)
        return magpie_fail(
            MAGPIE_E_CORRUPT,
            "%s: \"layer_norm_eps\" should be between 0 and 1, and \"hidden_size\" a multiple of "
            "\"num_attention_heads\"",
            config->path);
    if (strcmp(activation, "gelu") != 0 || (bias && !json_is_true(bias)))
        return magpie_fail(MAGPIE_E_UNSUPPORTED,
                           "%s: a \"hidden_act\" other than gelu, or no \"qkv_bias\", is not supported",
                           config->path);
    if (bands != m->bands || frames != m->frames)
        return magpie_fail(MAGPIE_E_MISMATCH,
                           "%s: a window of %zu bands and %zu frames, and of %zu and %zu in "
                           "preprocessor_config.json",
                           config->path, bands, frames, m->bands, m->frames);
    return MAGPIE_OK;
}

static size_t steps(size_t side, size_t patch, size_t stride) { return ops_windows(side, patch, stride, 0); }

static void close_model(audio_model *base) {
    audio_ast_model *m = (audio_ast_model *)base;
    if (m->ops) m->ops->linear_free(m->embedding);
    prenorm_free(m->network);
    free(m->positions);
    free(m);
}

static magpie_status open_model(const model_json *config, const spectrogram_config *spectrogram,
                                const safetensors *file, audio_model **out) {
    audio_ast_model *m = magpie_alloc(1, sizeof *m);
    if (!m) return MAGPIE_E_NO_MEMORY;
    /* Their defaults, which their files leave out. Saved with a classifier on it, the encoder carries its
     * name. */
    bool bare = safetensors_find(file, "embeddings.cls_token") != NULL;
    *m = (audio_ast_model){
        .file = file,
        .prefix = bare ? "" : "audio_spectrogram_transformer.",
        .patch = 16,
        .stride_frequency = 10,
        .stride_time = 10,
        .bands = spectrogram_bands(spectrogram),
        .frames = spectrogram->frames,
        .layers = {.width = 768, .layers = 12, .heads = 12, .intermediate = 3072, .activation = OPS_GELU}};
    magpie_status status = read_config(config, m);
    if (status == MAGPIE_OK && (m->bands < m->patch || m->frames < m->patch))
        status = magpie_fail(MAGPIE_E_CORRUPT, "%s: a window smaller than a patch", config->path);
    if (status == MAGPIE_OK) {
        m->rows = OWN_ROWS +
                  steps(m->bands, m->patch, m->stride_frequency) * steps(m->frames, m->patch, m->stride_time);
        if (m->rows > ROWS_MAX)
            status = magpie_fail(MAGPIE_E_TOO_LARGE, "%s: %zu patches a window; the limit is %d",
                                 config->path, m->rows, ROWS_MAX);
    }
    m->base.layers = m->layers.layers;
    m->base.dimension = m->layers.width;
    if (status == MAGPIE_OK)
        *out = &m->base;
    else
        close_model(&m->base);
    return status;
}

/* ---- weights ---- */

static magpie_status find(const audio_ast_model *m, const char *name, size_t rank, const size_t *shape,
                          const tensor **out) {
    char full[128];
    snprintf(full, sizeof full, "%s%s", m->prefix, name);
    return safetensors_expect(m->file, full, rank, shape, out);
}

/* positions [rows, width]: those of the file, and in our own rows, where the product gives no more than
 * its bias, the tokens that stand there without it. */
static magpie_status make_positions(audio_ast_model *m, const tensor *bias) {
    size_t width = m->layers.width;
    const size_t shape[] = {1, m->rows, width}, one[] = {1, 1, width};
    const tensor *position, *own[OWN_ROWS];
    magpie_status status = find(m, "embeddings.position_embeddings", 3, shape, &position);
    if (status == MAGPIE_OK) status = find(m, "embeddings.cls_token", 3, one, &own[0]);
    if (status == MAGPIE_OK) status = find(m, "embeddings.distillation_token", 3, one, &own[1]);
    if (status != MAGPIE_OK) return status;
    m->positions = magpie_alloc(m->rows * width, sizeof *m->positions);
    float *values = magpie_alloc(2 * width, sizeof *values), *biases = values + width;
    if (!m->positions || !values) {
        free(values);
        return MAGPIE_E_NO_MEMORY;
    }
    tensor_read_f32(position, 0, m->rows * width, m->positions);
    tensor_read_f32(bias, 0, width, biases);
    for (size_t i = 0; i < OWN_ROWS; i++) {
        tensor_read_f32(own[i], 0, width, values);
        for (size_t j = 0; j < width; j++) m->positions[i * width + j] += values[j] - biases[j];
    }
    free(values);
    return MAGPIE_OK;
}

static magpie_status pack(audio_model *base, const ops_table *ops, ops_device *device, magpie_pool *pool) {
    audio_ast_model *m = (audio_ast_model *)base;
    const prenorm_names names = {.prefix = m->prefix,
                                 .layer = "encoder.layer",
                                 .attention_norm = "layernorm_before",
                                 .mlp_norm = "layernorm_after",
                                 .attention_output = "attention.output.dense",
                                 .intermediate = "intermediate.dense",
                                 .output = "output.dense",
                                 .query_key_value = {"attention.attention.query", "attention.attention.key",
                                                     "attention.attention.value"},
                                 .final_norm = "layernorm"};
    const size_t shape[] = {m->layers.width, 1, m->patch, m->patch};
    const tensor *kernel, *bias;
    m->ops = ops;
    m->device = device;
    magpie_status status = find(m, "embeddings.patch_embeddings.projection.weight", 4, shape, &kernel);
    if (status == MAGPIE_OK) status = find(m, "embeddings.patch_embeddings.projection.bias", 1, shape, &bias);
    if (status != MAGPIE_OK) return status;
    tensor flat = *kernel; /* the same values as a matrix [width, patch x patch] */
    flat.rank = 2;
    flat.shape[1] = m->patch * m->patch;
    const ops_linear_source source = {
        .parts = 1, .weight = {&flat}, .bias = {bias}, .activation = OPS_IDENTITY, .output = OPS_SUM};
    status = ops->linear_create(device, &source, &m->embedding);
    if (status == MAGPIE_OK) status = make_positions(m, bias);
    return status == MAGPIE_OK ? prenorm_create(ops, device, &m->layers, &names, m->file, pool, &m->network)
                               : status;
}

/* ---- running ---- */

static void lane_free(audio_lane *l) {
    if (!l) return;
    prenorm_lane_free(l->layers);
    l->model->ops->lane_free(l->lane);
    free(l->values);
    free(l->starts);
    free(l);
}

/* Every window has the same positions. */
static magpie_status load_positions(audio_lane *l, size_t windows) {
    const audio_ast_model *m = l->model;
    const size_t each = m->rows * m->layers.width;
    float *all = magpie_alloc(windows, each * sizeof *all);
    if (!all) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < windows; i++) memcpy(all + i * each, m->positions, each * sizeof *all);
    magpie_status status = m->ops->rows_load(l->lane, all, windows * m->rows, &l->positions);
    free(all);
    return status;
}

static magpie_status count_rows(audio_lane *l, size_t windows) {
    l->starts = magpie_alloc(2 * (windows + 1) + OWN_ROWS * windows, sizeof *l->starts);
    if (!l->starts) return MAGPIE_E_NO_MEMORY;
    l->pairs = l->starts + windows + 1;
    l->own = l->pairs + windows + 1;
    for (size_t i = 0; i <= windows; i++) l->starts[i] = i * l->model->rows, l->pairs[i] = i * OWN_ROWS;
    for (size_t i = 0; i < windows * OWN_ROWS; i++) l->own[i] = i / OWN_ROWS * l->model->rows + i % OWN_ROWS;
    return MAGPIE_OK;
}

static magpie_status lane_create(audio_model *base, unsigned threads, size_t windows, audio_lane **out) {
    audio_ast_model *m = (audio_ast_model *)base;
    const ops_table *ops = m->ops;
    size_t area = m->patch * m->patch, rows = windows * m->rows;
    audio_lane *l = magpie_alloc(1, sizeof *l);
    if (!l) return MAGPIE_E_NO_MEMORY;
    l->model = m;
    l->values = magpie_alloc(rows, area * sizeof *l->values);
    magpie_status status = l->values ? count_rows(l, windows) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = ops->lane_create(m->device, threads, &l->lane);
    if (status == MAGPIE_OK) status = prenorm_lane_create(m->network, l->lane, rows, &l->layers);
    if (status == MAGPIE_OK) status = ops->tensor_create(l->lane, rows, area, OPS_STREAM, &l->patches);
    if (status == MAGPIE_OK)
        status = ops->tensor_create(l->lane, rows, m->layers.width, OPS_SUM, &l->positions);
    if (status == MAGPIE_OK) status = load_positions(l, windows);
    if (status == MAGPIE_OK)
        *out = l;
    else
        lane_free(l);
    return status;
}

/* window [frames, bands] -> values: patches as rows, frequency before time in both. */
static void cut(const audio_ast_model *m, const float *window, float *values) {
    size_t down = steps(m->bands, m->patch, m->stride_frequency),
           across = steps(m->frames, m->patch, m->stride_time);
    float *to = values + OWN_ROWS * m->patch * m->patch;
    for (size_t p = 0; p < down * across; p++) {
        const float *corner =
            window + p % across * m->stride_time * m->bands + p / across * m->stride_frequency;
        for (size_t f = 0; f < m->patch; f++)
            for (size_t t = 0; t < m->patch; t++) *to++ = corner[t * m->bands + f];
    }
}

static magpie_status run(audio_lane *l, const float *windows, size_t n, float *out) {
    const audio_ast_model *m = l->model;
    const ops_table *ops = m->ops;
    const size_t rows = n * m->rows, each = m->rows * m->patch * m->patch;
    ops_tensor *last;
    for (size_t i = 0; i < n; i++) cut(m, windows + i * m->frames * m->bands, l->values + i * each);
    magpie_status status = ops->rows_load(l->lane, l->values, rows, &l->patches);
    if (status == MAGPIE_OK)
        status = ops->linear(l->lane, m->embedding, &l->patches, rows, prenorm_input(l->layers));
    if (status == MAGPIE_OK)
        status = prenorm_run(l->layers, l->starts, n, &l->positions, l->own, n * OWN_ROWS, &last);
    return status == MAGPIE_OK ? ops->pool(l->lane, last, l->pairs, n, OPS_POOL_MEAN, false, out) : status;
}

const audio_architecture audio_ast = {.name = "ast",
                                      .model_type = "audio-spectrogram-transformer",
                                      .open = open_model,
                                      .close = close_model,
                                      .pack = pack,
                                      .lane_create = lane_create,
                                      .lane_free = lane_free,
                                      .run = run};
